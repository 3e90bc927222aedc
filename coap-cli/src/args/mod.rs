//! The command line: a room for each sub-command, or for those that are alike.

mod arrange;
mod ask;
mod observe;
mod probe;
mod refusal;
mod request;
mod security;
mod serve;
mod shared;
mod tools;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use self::arrange::{arrange, is_command};
pub(crate) use self::ask::{AskArgs, BlockArg};
pub(crate) use self::observe::ObserveArgs;
pub(crate) use self::probe::{CheckArgs, DiscoverArgs, PingArgs};
pub(crate) use self::refusal::Refusal;
use self::refusal::Why;
pub(crate) use self::request::{AnyRequestArgs, RequestArgs};
pub(crate) use self::security::{Credentials, LibraryArgs, Listener, SecurityArgs};
pub(crate) use self::serve::{JoinArg, ServeArgs};
pub(crate) use self::shared::{GroupArgs, NoiseArgs, PatienceArgs};
pub(crate) use self::tools::{DecodeArgs, DemoArgs, KeygenArgs, TlsInfoArgs, UriArgs};

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
    Demo(DemoArgs),
    /// Take datagrams apart: one in hex on each line of standard input.
    Decode(DecodeArgs),
    /// Take URIs apart, strictly: one on each line of standard input.
    Uri(UriArgs),
    /// Make an authority and certificates for trying out coaps://.
    Keygen(KeygenArgs),
    /// List what the secure sessions of this build can do.
    TlsInfo(TlsInfoArgs),
}

/// Reads the command line.
///
/// # Errors
///
/// What to print instead of carrying anything out.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Refusal> {
    let args = arrange(args.into_iter().collect());
    let command = args.get(1).filter(|word| is_command(word)).map(|word| word.to_string_lossy().into_owned());
    let refusal = |why| Refusal { command: command.clone(), why };
    let cli = Cli::try_parse_from(args).map_err(|error| refusal(Why::Grammar(error)))?;
    cli.command.check().map_err(|rule| refusal(Why::Rule(rule.to_owned())))?;
    Ok(cli)
}

impl Command {
    /// What flags need of each other: said of the flag that was given, as the grammar would not.
    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Get(args)
            | Self::Put(args)
            | Self::Post(args)
            | Self::Delete(args)
            | Self::Fetch(args)
            | Self::Patch(args)
            | Self::Ipatch(args) => args.check(),
            Self::Request(args) => args.request.check(),
            Self::Serve(args) => args.check(),
            Self::Observe(args) => args.ask.security.check(),
            Self::Ping(args) => args.security.check(),
            Self::Discover(args) => args.security.check(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use clap::CommandFactory;
    use coap_core::{BlockSize, Code, ContentFormat};

    use super::*;
    use crate::exit::Exit;

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
            ("coap get --max-retransmit -1 h", "from 0 to 20"),
            ("coap get -e a -f b h", "--payload-file"),
            ("coap -m eat h", "not a method"),
            ("coap serve --bind nowhere", "not ADDR:PORT"),
            ("coap serve --write", "--files"),
            ("coap serve --plugtest --files .", "--files"),
            ("coap serve --with create2", "--plugtest"),
            ("coap serve --plugtest --with create1", "/create2, /create3, /link4, /secure"),
            ("coap serve --port 65536", "65536"),
            ("coap serve --limit-unproven some", "all, groups and off"),
            ("coap get --observe h", "--observe"),
            ("coap get -b 100 h", "16, 32, 64"),
            ("coap get -b 1048576,16 h", "1048575"),
            ("coap get -b 1,0 h", "16, 32, 64"),
            ("coap get --resume state h", "--output"),
            ("coap observe -m put h", "get and fetch"),
            ("coap observe --count 0 h", "from 1 on"),
        ] {
            let failure = parse_line(line).unwrap_err().settle().unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            let text = failure.to_string();
            assert!(text.contains(part) && !text.contains('\n') && !text.contains("\\n"), "{line}: {text}");
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
}
