//! The command line.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use coap_core::{BlockSize, Code, ContentFormat, Scheme, Token};
use coap_driver::BindAddr;

use crate::exit::{Exit, Failure};
use crate::input::RawOption;
use crate::serve::Extra;

const EXIT_CODES: &str = "\
Exit codes: 0 a 2.xx response, 4 a 4.xx response, 5 a 5.xx response, 1 output that cannot be written or a check that failed,
2 usage (also a bad URI, option or payload file), 3 a check that is inconclusive, 6 timeout, 7 network or name, 8 security, 130 interrupted.

`coap -m METHOD URI` and `coap URI` work too: they are `coap request`.";

/// CoAP (RFC 7252) for the terminal: a client, a server, and tools.
#[derive(Debug, Parser)]
#[command(name = "coap", version, after_help = EXIT_CODES, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read a resource.
    Get(RequestArgs),
    /// Create or replace a resource.
    Put(RequestArgs),
    /// Give content to a resource to process.
    Post(RequestArgs),
    /// Delete a resource.
    Delete(RequestArgs),
    /// Read what the payload asks for (RFC 8132).
    Fetch(RequestArgs),
    /// Change a part of a resource (RFC 8132).
    Patch(RequestArgs),
    /// Change a part of a resource; twice is the same as once (RFC 8132).
    Ipatch(RequestArgs),
    /// Send a request with any method.
    Request(AnyRequestArgs),
    /// Follow a resource: each new state as it comes (RFC 7641).
    Observe(ObserveArgs),
    /// Ask whether a CoAP endpoint is there, and how long its answer takes.
    Ping(PingArgs),
    /// Ask a server what it has (RFC 6690), and show it as a tree.
    Discover(DiscoverArgs),
    /// Run the test list of the ETSI plugtests against a server.
    Check(CheckArgs),
    /// Run a server with a few resources, or with the files of a folder.
    Serve(ServeArgs),
    /// Run a server and a client on this machine, and show what they say to each other.
    Demo,
    /// Take datagrams apart: one in hex on each line of standard input.
    Decode(DecodeArgs),
    /// Take URIs apart, strictly: one on each line of standard input.
    Uri(UriArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AnyRequestArgs {
    /// get, put, post, delete, fetch, patch, ipatch, or a code such as 0.01.
    #[arg(short, long, value_name = "METHOD", default_value = "get", value_parser = method)]
    pub(crate) method: Code,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
}

/// What is asked, and how.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// Where: coap://HOST:PORT/PATH?QUERY. The scheme, the port and all that follows may be left out.
    pub(crate) uri: String,

    /// The payload: this text as it is, the content of @FILE, or standard input (@-).
    #[arg(short = 'e', long, value_name = "TEXT", group = "content", allow_hyphen_values = true)]
    pub(crate) payload: Option<String>,
    /// The payload: the content of a file, or standard input (-). It is read while it is sent.
    #[arg(short = 'f', long, value_name = "FILE", group = "content")]
    pub(crate) payload_file: Option<PathBuf>,
    /// The payload: bytes in hexadecimal.
    #[arg(long, value_name = "HEX", group = "content", value_parser = hex)]
    pub(crate) payload_hex: Option<Bytes>,

    /// What the payload is: a media type, a number, or text, link, xml, binary, exi, json, cbor.
    #[arg(short = 't', long, value_name = "FORMAT")]
    pub(crate) content_format: Option<ContentFormat>,
    /// What the response should be; as --content-format.
    #[arg(short = 'A', long, value_name = "FORMAT")]
    pub(crate) accept: Option<ContentFormat>,
    /// Send it Non-confirmable: once, not repeated.
    #[arg(short = 'N', long)]
    pub(crate) non: bool,
    /// Transfer what is longer in blocks of so many bytes: 16, 32, 64, 128, 256, 512 or 1024; 0 lets the server choose, as it
    /// does without this. With a number from 1 before it, only that block of the response is asked for.
    #[arg(short = 'b', long, value_name = "[NUM,]SIZE", value_parser = block)]
    pub(crate) block: Option<BlockArg>,
    /// Add an option by name or number: NAME=VALUE, NUMBER=VALUE or NUMBER,VALUE. A value that begins with 0x is bytes
    /// in hexadecimal; the value of a numeric option is a number. Repeatable.
    #[arg(short = 'O', long = "option", value_name = "NAME=VALUE")]
    pub(crate) options: Vec<RawOption>,
    /// Let the request pass so many proxies, 1 to 255 (Hop-Limit: RFC 8768). Without it each of them begins with 16.
    #[arg(short = 'H', long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) hop_limit: Option<u8>,
    /// Do not send the Uri-Host option when the URI has a name.
    #[arg(short = 'U', long)]
    pub(crate) no_set_hostname: bool,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Use this token of up to 8 bytes: hexadecimal after 0x, or the text as it is. Without it, a random one.
    #[arg(short = 'T', long, value_name = "0xHEX", value_parser = token)]
    pub(crate) token: Option<Token>,
    /// Write the payload of a 2.xx response to a file instead of standard output (or -). It is FILE.part until it is
    /// complete, and 2.03 leaves it as it is.
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Note in this file how far the download has come, and go on from there if it is run again.
    #[arg(long, value_name = "FILE", requires = "output", conflicts_with = "newline")]
    pub(crate) resume: Option<PathBuf>,
    /// Write a newline after the payload.
    #[arg(short = 'w', long)]
    pub(crate) newline: bool,
    /// Print the response, of any code, as one JSON object instead of its payload.
    #[arg(long, conflicts_with_all = ["output", "newline"])]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ObserveArgs {
    /// get, or fetch for a part of the resource (RFC 8132).
    #[arg(short, long, value_name = "METHOD", default_value = "get", value_parser = observing_method)]
    pub(crate) method: Code,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// End after this time.
    #[arg(short, long, value_name = "SECS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) seconds: Option<Duration>,
    /// End after so many states.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Run this command of the shell for each state, which is its standard input, instead of printing it. COAP_URI, COAP_CODE
    /// and COAP_FORMAT are in its environment.
    #[arg(long, alias = "observe-exec", value_name = "CMD")]
    pub(crate) exec: Option<String>,
    /// Draw a line of the numbers in the states: on a terminal as they come, else at the end.
    #[arg(long)]
    pub(crate) plot: bool,
    /// Print each state, and whatever else happens, as one JSON object.
    #[arg(long, conflicts_with = "exec")]
    pub(crate) json: bool,
}

/// `-b`: the size of blocks, or one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockArg {
    /// The size of all of them; `None`: the server chooses.
    Size(Option<BlockSize>),
    /// This one alone, counted from 0 in blocks of this size.
    One(u32, BlockSize),
}

/// How datagrams to a group leave.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct GroupArgs {
    /// Ask a group on this network interface, where its address has no zone; by name or number.
    #[arg(long, value_name = "IF")]
    pub(crate) interface: Option<String>,
    /// Let what is sent to a group take so many hops (1: no router lets it through).
    #[arg(long, value_name = "N")]
    pub(crate) hops: Option<u8>,
}

/// How long to wait, and how often to repeat.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct PatienceArgs {
    /// Give up after this time, all included. Without it, after 93 s or what the parameters below give.
    #[arg(short = 'B', long, value_name = "SECS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Option<Duration>,
    /// First timeout of a Confirmable message (2). Below 1 only on networks of your own (RFC 7252 §4.8.1).
    #[arg(long, value_name = "SECS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) ack_timeout: Option<Duration>,
    /// How often a Confirmable message is repeated, 0 to 20 (4).
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) max_retransmit: Option<u8>,
    /// The first timeout is spread by up to this factor, 1.0 to 100.0 (1.5).
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    pub(crate) random_factor: Option<f64>,
}

/// How much to say on standard error.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct NoiseArgs {
    /// Print every message in and out. May be repeated, or followed by a level.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// What `-v LEVEL` becomes.
    #[arg(long, hide = true, value_name = "LEVEL")]
    verbosity: Option<u8>,
    /// Say nothing but what failed.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl NoiseArgs {
    pub(crate) fn shows_messages(self) -> bool {
        self.verbosity.unwrap_or(self.verbose) > 0
    }
}

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// Whom: HOST or HOST:PORT, with or without coap:// before it.
    pub(crate) uri: String,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
    /// Print the outcome as one JSON object on standard output.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiscoverArgs {
    /// Whom: HOST or HOST:PORT, with or without coap:// before it. Without a path it is /.well-known/core; a query such as
    /// ?rt=light or ?href=/lamps* selects.
    #[arg(required_unless_present = "multicast")]
    pub(crate) uri: Option<String>,
    /// Ask a group instead, and show who answers within --timeout (6 s): 224.0.1.187 and `[ff02::fd]` without a GROUP, which may
    /// have a zone ([ff02::fd%eth0]), a port and a query.
    #[arg(long, value_name = "GROUP", num_args = 0..=1, conflicts_with = "uri")]
    pub(crate) multicast: Option<Option<String>>,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
    /// Print one JSON object with all links.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Whom: HOST or HOST:PORT, with or without coap:// before it. Its tests change what is there: see the list.
    pub(crate) uri: String,
    /// Run this test alone, such as CORE_01, or these, such as OBS. Repeatable.
    #[arg(short = 't', long = "test", value_name = "ID", value_delimiter = ',')]
    pub(crate) tests: Vec<String>,
    /// Print each outcome as one JSON object, and the counts as another.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Listen here; without it at all addresses. An address without a port has that of --port. Repeatable.
    #[arg(long, value_name = "ADDR[:PORT]", default_value = "[::]", value_parser = bind)]
    bind: Vec<BindArg>,
    /// The port to listen at where --bind names none (5683). Port 0 takes a free one and prints it.
    #[arg(short = 'p', long, value_name = "PORT")]
    port: Option<u16>,
    /// Join this group, and answer what is asked there: 224.0.1.187, ff02::fd or another, with the interface after a %. Repeatable.
    #[arg(long, value_name = "GROUP[%IF]", value_parser = join)]
    pub(crate) join: Vec<JoinArg>,
    /// Serve this folder under /files/. Hidden files (.name) are left out.
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
    /// Let peers create, replace and delete files in that folder.
    #[arg(long, requires = "files")]
    pub(crate) write: bool,
    /// Serve the resources of the ETSI plugtests instead, for the test suites of others.
    #[arg(long, conflicts_with = "files")]
    pub(crate) plugtest: bool,
    /// Serve this as well, without listing it: create2, create3, link4 or secure. Repeatable.
    #[arg(long = "with", value_name = "NAME", requires = "plugtest", value_delimiter = ',', value_parser = Extra::parse)]
    pub(crate) extras: Vec<Extra>,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
}

impl ServeArgs {
    /// Where to listen.
    ///
    /// # Errors
    /// There is a port for everything, and `--port` besides.
    pub(crate) fn bind(&self) -> Result<Vec<BindAddr>, Failure> {
        let is_whole = |arg: &BindArg| matches!(arg, BindArg::Whole(_));
        if let Some(port) = self.port
            && self.bind.iter().all(is_whole)
        {
            return Err(Failure::usage(format_args!("--port {port} is for nothing: --bind names ports already")));
        }
        let port = self.port.unwrap_or_else(|| Scheme::Coap.default_port());
        Ok(self.bind.iter().map(|arg| arg.at(port)).collect())
    }
}

/// `--bind`: with a port or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BindArg {
    Whole(BindAddr),
    Address(IpAddr),
}

impl BindArg {
    fn at(&self, port: u16) -> BindAddr {
        match self {
            Self::Whole(addr) => addr.clone(),
            Self::Address(ip) => (*ip, port).into(),
        }
    }
}

/// `--join`: a group, and the interface that it is joined on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinArg {
    pub(crate) group: IpAddr,
    pub(crate) interface: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    /// One JSON object for each datagram.
    #[arg(long)]
    pub(crate) json: bool,
    /// Datagrams in hexadecimal, instead of those on standard input.
    #[arg(value_name = "HEX")]
    pub(crate) datagrams: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UriArgs {
    /// One JSON object for each URI.
    #[arg(long)]
    pub(crate) json: bool,
    /// URIs, instead of those on standard input.
    #[arg(value_name = "URI")]
    pub(crate) uris: Vec<String>,
}

// A name of its own: a field of type `Vec` would be taken for a repeatable argument.
type Bytes = bytes::Bytes;

fn method(text: &str) -> Result<Code, String> {
    match text.parse::<Code>() {
        Ok(code) if code.is_request() => Ok(code),
        _ => Err("not a method: get, put, post, delete, fetch, patch, ipatch, or a code from 0.01 to 0.31".to_owned()),
    }
}

fn observing_method(text: &str) -> Result<Code, String> {
    method(text)
        .ok()
        .filter(|code| [Code::GET, Code::FETCH].contains(code))
        .ok_or_else(|| "only get and fetch can observe".to_owned())
}

/// The largest number that a block can have, in the 20 bits of RFC 7959 §2.2.
const LAST_BLOCK: u32 = (1 << 20) - 1;

fn block(text: &str) -> Result<BlockArg, String> {
    let (number, size) = match text.split_once(',') {
        Some((number, size)) => (number.parse().ok().filter(|number| *number <= LAST_BLOCK), size),
        None => (Some(0), text),
    };
    let bytes: Option<usize> = size.parse().ok();
    match (number, bytes, bytes.and_then(BlockSize::new)) {
        (Some(0), Some(0), _) => Ok(BlockArg::Size(None)),
        (Some(0), _, Some(size)) => Ok(BlockArg::Size(Some(size))),
        (Some(number), _, Some(size)) => Ok(BlockArg::One(number, size)),
        (None, ..) => Err(format!("a block has a number from 0 to {LAST_BLOCK}")),
        _ => Err("the size of a block is 16, 32, 64, 128, 256, 512 or 1024, or 0: the server chooses".to_owned()),
    }
}

fn hex(text: &str) -> Result<Bytes, String> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    crate::hex::decode(text.as_bytes()).map(Bytes::from).ok_or_else(|| "not pairs of hexadecimal digits".to_owned())
}

fn token(text: &str) -> Result<Token, String> {
    let bytes = match text.strip_prefix("0x") {
        Some(digits) => hex(digits)?,
        None => Bytes::copy_from_slice(text.as_bytes()),
    };
    Token::new(&bytes).ok_or_else(|| format!("{} bytes: a token has 8 at most", bytes.len()))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let span = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.filter(|span| !span.is_zero()).ok_or_else(|| "not a number of seconds above 0, such as 2 or 0.5".to_owned())
}

fn bind(text: &str) -> Result<BindArg, String> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        Ok(BindArg::Whole(addr.into()))
    } else if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(BindArg::Address(ip))
    } else if text.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok()) {
        Ok(BindArg::Whole(text.into()))
    } else {
        Err("not ADDR:PORT, such as [::]:5683, 127.0.0.1:0 or localhost:5683".to_owned())
    }
}

fn join(text: &str) -> Result<JoinArg, String> {
    let inner = text.trim_start_matches('[').trim_end_matches(']');
    let (group, interface) = match inner.split_once('%') {
        // As in a URI (RFC 6874 §2).
        Some((group, zone)) => (group, Some(zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone))),
        None => (inner, None),
    };
    match group.parse::<IpAddr>() {
        Ok(group) if group.is_multicast() && interface != Some("") => {
            Ok(JoinArg { group, interface: interface.map(str::to_owned) })
        }
        _ => Err("not a group: a multicast address such as 224.0.1.187, or ff02::fd%eth0 on one interface".to_owned()),
    }
}

/// Reads the command line.
///
/// # Errors
///
/// What to print instead of carrying anything out.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Refusal> {
    Cli::try_parse_from(arrange(args.into_iter().collect())).map_err(Refusal)
}

/// Help that was asked for, or a command line that is wrong.
#[derive(Debug)]
pub(crate) struct Refusal(clap::Error);

impl Refusal {
    /// Prints help; what is wrong is a failure of one line.
    pub(crate) fn settle(&self) -> Result<Exit, Failure> {
        match self.0.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                // Whoever closed standard output does not want to read it.
                let _ = self.0.print();
                Ok(Exit::Success)
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                let _ = self.0.print();
                Ok(Exit::Usage)
            }
            _ => Err(Failure::usage(format_args!("{}; see coap --help", self.line()))),
        }
    }

    fn line(&self) -> String {
        let text = self.0.to_string();
        let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
        let lines: Vec<_> =
            lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
        let line = lines.join(" ");
        line.strip_prefix("error: ").unwrap_or(&line).to_owned()
    }
}

/// Makes what other programs accept fit the grammar here: `-v LEVEL`, and a request without a sub-command.
fn arrange(args: Vec<OsString>) -> Vec<OsString> {
    let mut arranged = Vec::with_capacity(args.len() + 1);
    let mut args = args.into_iter().peekable();
    arranged.extend(args.next());
    // `coap -v get URI`: the sub-command must come first here.
    let mut noise: Vec<_> = core::iter::from_fn(|| args.next_if(|arg| is_noise(arg))).collect();
    if args.peek().is_some_and(|next| is_command(next)) {
        arranged.extend(args.next());
    } else if noise.first().or_else(|| args.peek()).is_some_and(|first| is_bare_request(first)) {
        arranged.push("request".into());
    }
    arranged.append(&mut noise);
    while let Some(arg) = args.next() {
        if arg == "--" {
            arranged.push(arg);
            break;
        }
        let text = arg.to_str().unwrap_or_default();
        if matches!(text, "-e" | "--payload") {
            // Whatever follows is content, even if it looks like a flag.
            arranged.push(arg);
            arranged.extend(args.next());
            continue;
        }
        let attached =
            text.strip_prefix("--verbose=").or_else(|| text.strip_prefix("-v")).filter(|level| is_level(level));
        let follows =
            matches!(text, "-v" | "--verbose") && args.peek().and_then(|next| next.to_str()).is_some_and(is_level);
        if let Some(level) = attached {
            arranged.push(format!("--verbosity={level}").into());
        } else if follows {
            arranged.push("--verbosity".into());
            arranged.extend(args.next());
        } else {
            arranged.push(arg);
        }
    }
    arranged.extend(args);
    arranged
}

fn is_level(text: &str) -> bool {
    matches!(text.as_bytes(), [b'0'..=b'9'])
}

fn is_noise(arg: &OsStr) -> bool {
    matches!(arg.to_str(), Some("-v" | "-vv" | "-vvv" | "--verbose" | "-q" | "--quiet"))
}

fn is_command(arg: &OsStr) -> bool {
    Cli::command().get_subcommands().any(|command| arg == command.get_name())
}

/// The first argument is an option of a request, or a URI. A word alone is left to be a sub-command, so that a
/// mistyped one is called so.
fn is_bare_request(first: &OsStr) -> bool {
    let Some(first) = first.to_str() else { return false };
    if matches!(first, "-h" | "--help" | "-V" | "--version") {
        return false;
    }
    first.contains(['-', ':', '/', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Cli, Refusal> {
        parse(line.split(' ').map(OsString::from))
    }

    fn request(line: &str) -> RequestArgs {
        match parse_line(line).unwrap().command {
            Command::Get(args) | Command::Put(args) | Command::Post(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_grammar_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_libcoap_are_understood() {
        let args = request("coap put -e hi -t json -A 60 -N -O 2050,x -T 0x0102 -U -B 1.5 -w -b 64 coap://h/");
        assert_eq!(args.token.unwrap().as_bytes(), [1, 2]);
        assert!(args.newline);
        let ask = args.ask;
        assert_eq!(ask.payload.as_deref(), Some("hi"));
        assert_eq!(ask.content_format, Some(ContentFormat::JSON));
        assert_eq!(ask.accept, Some(ContentFormat::CBOR));
        assert!(ask.non && ask.no_set_hostname);
        assert_eq!(ask.block, Some(BlockArg::Size(BlockSize::new(64))));
        assert_eq!(ask.patience.timeout, Some(Duration::from_millis(1_500)));
        assert_eq!(request("coap get -T abc h").token.unwrap().as_bytes(), b"abc");
    }

    #[test]
    fn verbosity_is_counted_or_given() {
        for (line, shows) in [
            ("coap get h", false),
            ("coap get -v h", true),
            ("coap get -vv h", true),
            ("coap get -v 0 h", false),
            ("coap get -v 7 h", true),
            ("coap get -v7 h", true),
            ("coap get --verbose=0 h", false),
            ("coap get -v -- 5", true),
            ("coap -v get h", true),
            ("coap get -e -v h", false),
        ] {
            assert_eq!(request(line).ask.noise.shows_messages(), shows, "{line}");
        }
    }

    #[test]
    fn a_request_needs_no_sub_command() {
        for (line, method) in [
            ("coap -m put -e x coap://h/", Code::PUT),
            ("coap coap://h/", Code::GET),
            ("coap -N localhost", Code::GET),
            ("coap -v localhost", Code::GET),
            ("coap request -m 0.05 h", Code::FETCH),
        ] {
            match parse_line(line).unwrap().command {
                Command::Request(args) => assert_eq!(args.method, method, "{line}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_a_line() {
        for (line, part) in [
            ("coap gte coap://h/", "'gte'"),
            ("coap get", "<URI>"),
            ("coap get -t nonsense h", "nonsense"),
            ("coap get -T 0x010203040506070809 h", "9 bytes"),
            ("coap get -B 0 h", "above 0"),
            ("coap get -B -1 h", "above 0"),
            ("coap get --max-retransmit -1 h", "-1 is not in 0..=255"),
            ("coap get -e a -f b h", "--payload-file"),
            ("coap -m eat h", "not a method"),
            ("coap serve --bind nowhere", "not ADDR:PORT"),
            ("coap serve --write", "--files"),
            ("coap serve --plugtest --files .", "--files"),
            ("coap serve --with create2", "--plugtest"),
            ("coap serve --plugtest --with create1", "/create2, /create3, /link4, /secure"),
            ("coap serve --port 65536", "65536"),
            ("coap get --observe h", "--observe"),
            ("coap get -b 100 h", "16, 32, 64"),
            ("coap get -b 1048576,16 h", "1048575"),
            ("coap get -b 1,0 h", "16, 32, 64"),
            ("coap get --resume state h", "--output"),
            ("coap observe -m put h", "get and fetch"),
            ("coap observe --count 0 h", "0 is not in"),
        ] {
            let failure = parse_line(line).unwrap_err().settle().unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            let text = failure.to_string();
            assert!(text.contains(part) && !text.contains('\n') && !text.contains("\\n"), "{line}: {text}");
        }
    }

    #[test]
    fn a_block_is_a_size_or_one_of_a_size() {
        let size = BlockSize::new(256).unwrap();
        assert_eq!(block("0"), Ok(BlockArg::Size(None)));
        assert_eq!((block("256"), block("0,256")), (Ok(BlockArg::Size(Some(size))), Ok(BlockArg::Size(Some(size)))));
        assert_eq!(block("3,256"), Ok(BlockArg::One(3, size)));
        for bad in ["", ",", "1,", ",16", "-1,16", "2048", "24", "16,16,16"] {
            assert!(block(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_observation_has_an_end_if_it_is_given_one() {
        match parse_line("coap observe -s 1.5 --count 3 --observe-exec date --plot -m fetch -e x h").unwrap().command {
            Command::Observe(args) => {
                assert_eq!((args.seconds, args.count), (Some(Duration::from_millis(1_500)), Some(3)));
                assert_eq!((args.exec.as_deref(), args.plot, args.method), (Some("date"), true, Code::FETCH));
                assert_eq!(args.ask.payload.as_deref(), Some("x"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_address_alone_is_bound_at_the_default_port() {
        let at = |line: &str| match parse_line(line).unwrap().command {
            Command::Serve(args) => args.bind().unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(at("coap serve"), [BindAddr::from("[::]:5683")]);
        assert_eq!(at("coap serve --port 0"), [BindAddr::from("[::]:0")]);
        assert_eq!(at("coap serve --bind ::1"), [BindAddr::from("[::1]:5683")]);
        let two = at("coap serve --bind [::1] --bind 127.0.0.1:0 -p 7");
        assert_eq!(two, [BindAddr::from("[::1]:7"), BindAddr::from("127.0.0.1:0")]);
        let Command::Serve(args) = parse_line("coap serve --bind [::1]:1 --port 7").unwrap().command else { panic!() };
        assert!(args.bind().unwrap_err().to_string().contains("--port 7"));
        assert!(bind("localhost:5683").is_ok() && bind(":5683").is_err() && bind("host").is_err());
    }
}
