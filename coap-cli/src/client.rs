//! One request or ping, and what becomes of it.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use coap_core::{Code, Config, ConfigBuilder, OptionNumber, Scheme, TransmissionParameters, Uri};
use coap_driver::{Error, Reply};
use coap_tokio::{Client, TokioRuntime};
use serde_json::json;

use crate::args::{NoiseArgs, PatienceArgs, PingArgs, RequestArgs};
use crate::exit::{Exit, Failure, reason};
use crate::input::RawOption;
use crate::{ignore_gone, input, say, show, trace};

/// Sends a request, and writes what comes back.
pub(crate) async fn request(method: Code, args: RequestArgs) -> Result<Exit, Failure> {
    let uri = parse(&args.uri)?;
    let transmission = transmission(args.patience)?;
    let payload = input::payload(&args)?;
    // Who sends an option by its number knows what it means in a response: some servers echo it.
    let understood = args.options.iter().map(|option| option.number).filter(|number| number.is_critical());
    let client = client(args.noise, understood).await?;
    let mut sending = client.request(method, &uri).payload(payload);
    if args.no_set_hostname {
        sending = sending.no_uri_host();
    }
    if let Some(format) = args.content_format {
        sending = sending.content_format(format);
    }
    if let Some(format) = args.accept {
        sending = sending.accept(format);
    }
    for RawOption { number, value } in &args.options {
        sending = sending.option(*number, value);
    }
    if args.non {
        sending = sending.non_confirmable();
    }
    if let Some(token) = args.token.clone() {
        sending = sending.token(token);
    }
    if let Some(transmission) = transmission {
        sending = sending.transmission(transmission);
    }
    if let Some(timeout) = args.patience.timeout {
        sending = sending.timeout(timeout);
    }
    let reply = sending.await?;
    report(&reply, &uri, &args)?;
    Ok(Exit::for_code(reply.code))
}

/// Pings, and says how long the answer took.
pub(crate) async fn ping(args: PingArgs) -> Result<Exit, Failure> {
    let uri = parse(&args.uri)?;
    let transmission = transmission(args.patience)?;
    let client = client(args.noise, []).await?;
    let mut ping = client.ping(&uri);
    if let Some(transmission) = transmission {
        ping = ping.transmission(transmission);
    }
    if let Some(timeout) = args.patience.timeout {
        ping = ping.timeout(timeout);
    }
    let round_trip = ping.await?;
    if args.json {
        let line = json!({ "ok": true, "milliseconds": show::millis(round_trip) });
        print(format!("{line}\n").as_bytes())?;
    } else if !args.noise.quiet {
        say(format_args!("pong from {}://{}:{}, {}", uri.scheme(), uri.host(), uri.port(), show::Millis(round_trip)));
    }
    Ok(Exit::Success)
}

fn parse(text: &str) -> Result<Uri, Failure> {
    let uri = Uri::from_input(text).map_err(Error::Uri)?;
    // Before a payload is read or a name looked up.
    if uri.scheme() == Scheme::Coaps {
        return Err(Error::Security.into());
    }
    Ok(uri)
}

/// `None`: those of the RFC.
fn transmission(args: PatienceArgs) -> Result<Option<TransmissionParameters>, Failure> {
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

async fn client(noise: NoiseArgs, understood: impl IntoIterator<Item = OptionNumber>) -> Result<Client, Failure> {
    let runtime = TokioRuntime::current().map_err(|error| Failure::new(Exit::Local, error))?;
    let config = understood.into_iter().fold(Config::builder(), ConfigBuilder::understands);
    let mut builder = Client::builder(runtime).config(config.build().map_err(Failure::usage)?);
    if noise.shows_messages() {
        builder = builder.on_message(trace::since_start());
    }
    Ok(builder.client().await?)
}

/// A success goes to standard output; an error response is not what was asked for, and goes to standard error, so that
/// a script never takes it for content.
fn report(reply: &Reply, uri: &Uri, args: &RequestArgs) -> Result<(), Failure> {
    if args.json {
        return print(format!("{}\n", show::reply_json(reply)).as_bytes());
    }
    if !args.noise.quiet {
        say(show::summary(reply));
        if let Some(location) = show::location(reply, uri) {
            say(format_args!("Location: {location}"));
        }
    }
    if !reply.is_success() {
        let text = show::diagnostic(reply);
        // What failed is said even to those who want to hear nothing else.
        if args.noise.quiet {
            say(format_args!("coap: {}", Error::Status(Box::new(reply.clone()))));
        } else if let Some(text) = text {
            say(text);
        }
        return Ok(());
    }
    match &args.output {
        Some(file) => save(file, reply, args.newline),
        None => {
            let mut body = show::body(reply, io::stdout().is_terminal()).into_owned();
            if args.newline && !(body.ends_with(b"\n") && io::stdout().is_terminal()) {
                body.push(b'\n');
            }
            print(&body)
        }
    }
}

fn save(file: &Path, reply: &Reply, newline: bool) -> Result<(), Failure> {
    let mut content = reply.payload.to_vec();
    if newline {
        content.push(b'\n');
    }
    fs::write(file, content).map_err(|error| {
        let text = format!("the response came, but {} cannot be written: {}", file.display(), reason(&error));
        Failure::new(Exit::Local, text)
    })
}

fn print(content: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(content).and_then(|()| out.flush()).or_else(ignore_gone)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn a_secure_uri_is_never_sent_in_the_clear() {
        assert_eq!(parse("coaps://localhost/").unwrap_err().exit, Exit::Security);
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
