//! One request or ping, and what becomes of it.

use core::pin::pin;
use std::io::{self, Write};

use coap_core::{Block, Code, Config, ConfigBuilder, OptionNumber, TransmissionParameters, Uri};
use coap_driver::{Error, Resume, Runtime};
use coap_dtls::ClientSecurity;
use coap_tokio::{Client, RequestBuilder, SocketOptions, TokioRuntime};
use serde_json::json;

use crate::args::{AskArgs, BlockArg, GroupArgs, NoiseArgs, PatienceArgs, PingArgs, RequestArgs};
use crate::exit::{Exit, Failure};
use crate::input::{Payload, RawOption};
use crate::progress::Bar;
use crate::receive::{Response, Way};
use crate::save::{Note, Saving};
use crate::{group, ignore_gone, input, say, security, show, stop, trace};

/// What `--json` prints is in memory as a whole.
const MOST_WHOLE: usize = 16 << 20;

/// Sends a request, and writes what comes back.
pub(crate) async fn request(method: Code, args: RequestArgs) -> Result<Exit, Failure> {
    let ask = &args.ask;
    let uri = parse(&ask.uri)?;
    let security = security::for_uri(&ask.security, &uri, ask.noise.quiet, ask.patience.timeout)?;
    let transmission = transmission(ask.patience)?;
    let (note, resume) = note(method, &uri, &args)?;
    let block = block_option(method, ask)?;
    let to_group = group::is_group(&uri);
    if to_group {
        group::check(&args)?;
    } else {
        group::check_unused(&uri, &ask.group)?;
    }
    if let Some(file) = &args.output {
        Saving::check(file)?;
    }
    let payload = input::payload(ask).await?;
    let client = client(ask, security).await?;

    let mut sending = client.request(method, &uri);
    match payload {
        Payload::Whole(content) => sending = sending.payload(content),
        Payload::Stream { reader, size } => {
            sending = sending.body(reader);
            if let Some(size) = size {
                sending = sending.body_size(size);
            }
        }
    }
    sending = with_options(sending, ask);
    if let Some(token) = args.token.clone() {
        sending = sending.token(token);
    }
    if let Some(transmission) = transmission {
        sending = sending.transmission(transmission);
    }
    if let Some(resume) = resume.clone() {
        sending = sending.resume(resume);
    }
    if to_group {
        return group::run(sending, &args).await;
    }
    let bar = bar(ask.noise);
    if let Some(mover) = bar.mover() {
        sending = sending.on_progress(mover);
    }

    let mut stop = pin!(stop::told_to());
    let answer = async {
        if let Some(block) = &block {
            return sending.option(OptionNumber::BLOCK2, block).await.map(Response::Whole);
        }
        if args.json {
            return sending.max_body(MOST_WHOLE).await.map(Response::Whole);
        }
        sending.download().await.map(Response::Parts)
    };
    let response = tokio::select! {
        response = answer => response,
        () = stop.as_mut() => return Err(Failure::interrupted()),
    };
    let mut response = response.map_err(|error| {
        bar.clear();
        security::failure(&ask.security, error)
    })?;
    match &mut response {
        Response::Whole(reply) => reply.from = show::address(&client, reply.from),
        Response::Parts(download) => download.from = show::address(&client, download.from),
    }
    if let (true, Response::Whole(reply)) = (args.json, &response) {
        bar.clear();
        print(show::json_line(&show::reply_json(reply)).as_bytes())?;
        return Ok(Exit::for_code(reply.code));
    }
    if let (Some(resume), Response::Parts(download)) = (&resume, &response)
        && resume.offset() > 0
        && download.offset == 0
        && download.is_success()
        && !ask.noise.quiet
    {
        say("coap: the content is another now: it is received from its start");
    }
    Way { args: &args, asked: &uri, note, bar, stop }.take(response).await
}

/// All that the command line says about a request, its payload aside.
fn with_options(mut sending: RequestBuilder, ask: &AskArgs) -> RequestBuilder {
    if let Some(hops) = ask.hop_limit {
        sending = sending.hop_limit(hops);
    }
    if ask.no_set_hostname {
        sending = sending.no_uri_host();
    }
    if let Some(format) = ask.content_format {
        sending = sending.content_format(format);
    }
    if let Some(format) = ask.accept {
        sending = sending.accept(format);
    }
    if let Some(BlockArg::Size(Some(size))) = ask.block {
        sending = sending.block_size(size);
    }
    for RawOption { number, value } in &ask.options {
        sending = sending.option(*number, value);
    }
    if ask.non {
        sending = sending.non_confirmable();
    }
    if let Some(timeout) = ask.patience.timeout {
        sending = sending.timeout(timeout);
    }
    sending
}

/// The Block2 option of `-b NUM,SIZE`.
fn block_option(method: Code, ask: &AskArgs) -> Result<Option<Vec<u8>>, Failure> {
    let Some(BlockArg::One(number, size)) = ask.block else { return Ok(None) };
    if !is_read(method) {
        return Err(Failure::usage("--block NUM,SIZE asks for one block, as only get and fetch can"));
    }
    let block = Block::new(number, false, size.szx()).map_or(0, Block::value);
    // RFC 7252 §3.2: as short as possible.
    Ok(Some(block.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()))
}

/// The note of `--resume`, and what to go on with.
fn note(method: Code, uri: &Uri, args: &RequestArgs) -> Result<(Option<Note>, Option<Resume>), Failure> {
    let (Some(path), Some(output)) = (&args.resume, &args.output) else { return Ok((None, None)) };
    if !is_read(method) {
        return Err(Failure::usage("--resume goes on with what get or fetch receives, and with nothing else"));
    }
    let (note, resume) = Note::about(path, &uri.to_string(), output)?;
    // Somebody may have taken the part away, but not the note.
    let resume = resume.filter(|resume| resume.offset() <= Saving::so_far(output));
    Ok((Some(note), resume))
}

const fn is_read(method: Code) -> bool {
    matches!(method, Code::GET | Code::FETCH)
}

/// Messages and a bar would tear each other apart.
fn bar(noise: NoiseArgs) -> Bar {
    if noise.quiet || noise.shows_messages() { Bar::none() } else { Bar::on_terminal() }
}

/// Pings, and says how long the answer took.
pub(crate) async fn ping(args: PingArgs) -> Result<Exit, Failure> {
    let uri = parse(&args.uri)?;
    if group::is_group(&uri) {
        return Err(Failure::usage("a group cannot be pinged: ping each of its members"));
    }
    let transmission = transmission(args.patience)?;
    let security = security::for_uri(&args.security, &uri, args.noise.quiet, args.patience.timeout)?;
    let client = connect_for(args.noise, [], &GroupArgs::default(), security).await?;
    let mut ping = client.ping(&uri);
    if let Some(transmission) = transmission {
        ping = ping.transmission(transmission);
    }
    if let Some(timeout) = args.patience.timeout {
        ping = ping.timeout(timeout);
    }
    let round_trip = ping.await.map_err(|error| security::failure(&args.security, error))?;
    if args.json {
        let line = json!({ "ok": true, "milliseconds": show::millis(round_trip) });
        print(format!("{line}\n").as_bytes())?;
    } else if !args.noise.quiet {
        say(format_args!("pong from {}://{}:{}, {}", uri.scheme(), uri.host(), uri.port(), show::Millis(round_trip)));
    }
    Ok(Exit::Success)
}

pub(crate) fn parse(text: &str) -> Result<Uri, Failure> {
    Ok(Uri::from_input(text).map_err(Error::Uri)?)
}

/// `None`: those of the RFC.
pub(crate) fn transmission(args: PatienceArgs) -> Result<Option<TransmissionParameters>, Failure> {
    let PatienceArgs { ack_timeout, max_retransmit, random_factor, .. } = args;
    if ack_timeout.is_none() && max_retransmit.is_none() && random_factor.is_none() {
        return Ok(None);
    }
    // Who asks for less than a second in so many words has been told where that is allowed.
    let mut builder = TransmissionParameters::builder().accept_congestion_risk();
    if let Some(span) = ack_timeout {
        builder = builder.ack_timeout(span);
    }
    if let Some(times) = max_retransmit {
        builder = builder.max_retransmit(times);
    }
    if let Some(factor) = random_factor {
        builder = builder.ack_random_factor(factor);
    }
    builder.build().map(Some).map_err(Failure::usage)
}

/// A client for what is asked.
pub(crate) async fn client(ask: &AskArgs, security: Option<ClientSecurity>) -> Result<Client, Failure> {
    // Who sends an option by its number knows what it means in a response: some servers echo it.
    let understood = ask.options.iter().map(|option| option.number).filter(|number| number.is_critical());
    connect_for(ask.noise, understood, &ask.group, security).await
}

/// A client that may send to groups, or to `coaps`.
pub(crate) async fn connect_for(
    noise: NoiseArgs,
    understood: impl IntoIterator<Item = OptionNumber>,
    group: &GroupArgs,
    security: Option<ClientSecurity>,
) -> Result<Client, Failure> {
    let runtime = TokioRuntime::current().map_err(|error| Failure::new(Exit::Local, error))?;
    let config = Config::builder().max_transfer_bytes(2 * MOST_WHOLE);
    let config = understood.into_iter().fold(config, ConfigBuilder::understands);
    let mut options = SocketOptions::default();
    options.multicast_hops = group.hops;
    if let Some(name) = &group.interface {
        let index = runtime.interface_index(name).ok_or_else(|| {
            Failure::new(Exit::Network, format_args!("no interface {name:?} on this machine: check --interface"))
        })?;
        options.multicast_interface = Some(index);
    }
    let builder = Client::builder(runtime).socket_options(options);
    let mut builder = builder.config(config.build().map_err(Failure::usage)?);
    if let Some(security) = security {
        builder = builder.security(security);
    }
    if noise.shows_messages() {
        builder = builder.on_message(trace::since_start());
    }
    Ok(builder.client().await?)
}

pub(crate) fn print(content: &[u8]) -> Result<(), Failure> {
    write(content).or_else(ignore_gone)
}

/// Writes to standard output.
///
/// # Errors
///
/// It cannot be written, or nobody reads it any more.
pub(crate) fn write(content: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(content).and_then(|()| out.flush())
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn what_is_no_uri_is_a_mistake_of_the_user() {
        assert_eq!(parse("http://localhost/").unwrap_err().exit, Exit::Usage);
        assert!(parse("localhost").is_ok());
    }

    #[test]
    fn transmission_parameters_are_checked() {
        assert!(transmission(PatienceArgs::default()).unwrap().is_none());
        let short = PatienceArgs { ack_timeout: Some(Duration::from_millis(50)), ..PatienceArgs::default() };
        assert_eq!(transmission(short).unwrap().unwrap().ack_timeout(), Duration::from_millis(50));
        let wrong = PatienceArgs { random_factor: Some(f64::NAN), ..PatienceArgs::default() };
        assert_eq!(transmission(wrong).unwrap_err().exit, Exit::Usage);
    }
}
