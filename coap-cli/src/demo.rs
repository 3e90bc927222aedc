//! `coap demo`: a server and a client on this machine, and what they say to each other.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, Write};
use std::sync::Arc;

use coap_core::{Code, ContentFormat, Type, Uri};
use coap_driver::{Direction, Error, Reply, Traffic};
use coap_tokio::{Client, Server, TokioRuntime};

use crate::exit::{Exit, Failure};
use crate::show::{self, Millis};
use crate::{ignore_gone, serve};

/// Nothing here leaves this machine: what takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the demonstration. Its end is a success only if every exchange was what it should be.
pub(crate) async fn run() -> Result<Exit, Failure> {
    let runtime = || TokioRuntime::current().map_err(|error| Failure::new(Exit::Local, error));
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::builder(runtime()?).bind(loopback).server().await?;
    let address = server.local_addr().unwrap_or(loopback);
    let stop = server.shutdown_handle();
    let serving = tokio::spawn(server.serve(serve::router(None, &serve::Clock::new())));

    let acknowledged = Acknowledged::default();
    let client = Client::builder(runtime()?).bind(loopback).on_message(acknowledged.watch()).client().await?;
    let mut stage = Stage { client, server: format!("coap://{address}"), acknowledged, number: 0, failed: 0 };
    stage.show(format_args!("A CoAP server listens on coap://{address}, and a client talks to it.\n"))?;
    play(&mut stage).await?;

    stop.shutdown(Duration::from_secs(1));
    let ended = serving.await.map_err(|error| Failure::new(Exit::Local, error))?;
    ended?;
    stage.bow()
}

/// What is shown, in its order.
async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.ping("is anybody there?").await?;
    let hello = Expected::new(Code::CONTENT).payload("Hello from coap-cli!");
    stage.exchange("read a resource", Ask::new(Code::GET, "/hello"), hello).await?;
    let links = Ask::new(Code::GET, "/.well-known/core");
    stage.exchange("ask what there is", links, Expected::new(Code::CONTENT)).await?;

    let lamp = r#"{"on":true,"level":70}"#;
    let put = || Ask::new(Code::PUT, "/store/lamp");
    let write = put().json(lamp);
    stage.exchange("create a resource with a name of our own", write, Expected::new(Code::CREATED)).await?;
    let read = Ask::new(Code::GET, "/store/lamp");
    stage.exchange("read it back", read, Expected::new(Code::CONTENT).payload(lamp)).await?;
    let darker = put().json(r#"{"on":true,"level":5}"#);
    stage.exchange("change it", darker, Expected::new(Code::CHANGED)).await?;

    let post = Ask::new(Code::POST, "/store").text("a note");
    let created = stage.exchange("let the server choose the name", post, Expected::new(Code::CREATED)).await?;
    let Some(note) = created else { return Ok(()) };
    let read = Ask::new(Code::GET, &note);
    stage.exchange("read what was created", read, Expected::new(Code::CONTENT).payload("a note")).await?;
    let delete = Ask::new(Code::DELETE, &note);
    stage.exchange("delete it", delete, Expected::new(Code::DELETED)).await?;
    let gone = Ask::new(Code::GET, &note);
    stage.exchange("read it again: it is gone", gone, Expected::new(Code::NOT_FOUND)).await?;

    let slow = Ask::new(Code::GET, "/slow?ms=600");
    let later = Expected::new(Code::CONTENT).payload("That took 600 ms.").separate();
    stage.exchange("ask for what takes time: a separate response", slow, later).await?;
    Ok(())
}

struct Stage {
    client: Client,
    /// The start of its URIs.
    server: String,
    acknowledged: Acknowledged,
    number: u32,
    failed: u32,
}

/// A request.
struct Ask<'a> {
    method: Code,
    /// A path with its query, or a URI.
    at: &'a str,
    content: Option<(ContentFormat, &'static str)>,
}

impl<'a> Ask<'a> {
    const fn new(method: Code, at: &'a str) -> Self {
        Self { method, at, content: None }
    }

    const fn json(self, content: &'static str) -> Self {
        Self { content: Some((ContentFormat::JSON, content)), ..self }
    }

    const fn text(self, content: &'static str) -> Self {
        Self { content: Some((ContentFormat::TEXT_PLAIN, content)), ..self }
    }
}

/// What should come back.
struct Expected {
    code: Code,
    payload: Option<&'static str>,
    separate: bool,
}

impl Expected {
    const fn new(code: Code) -> Self {
        Self { code, payload: None, separate: false }
    }

    const fn payload(self, payload: &'static str) -> Self {
        Self { payload: Some(payload), ..self }
    }

    const fn separate(self) -> Self {
        Self { separate: true, ..self }
    }

    fn is_met(&self, reply: &Reply, acknowledged: bool) -> bool {
        reply.code == self.code
            && self.payload.is_none_or(|payload| reply.text() == Some(payload))
            && self.separate == acknowledged
    }
}

impl Stage {
    async fn ping(&mut self, title: &str) -> Result<(), Failure> {
        self.announce(title, "ping", &self.server.clone())?;
        match self.client.ping(self.server.as_str()).timeout(PATIENCE).await {
            Ok(round_trip) => self.show(format_args!("   <- pong, {}\n", Millis(round_trip))),
            Err(error) => self.fails(&error),
        }
    }

    /// Sends, shows what comes back, and compares. What was created is returned as the URI of it.
    async fn exchange(&mut self, title: &str, ask: Ask<'_>, expected: Expected) -> Result<Option<String>, Failure> {
        let uri = if ask.at.starts_with('/') { format!("{}{}", self.server, ask.at) } else { ask.at.to_owned() };
        let uri = Uri::parse(&uri).map_err(Error::Uri)?;
        self.announce(title, &ask.method.to_string(), &uri.to_string())?;
        let mut request = self.client.request(ask.method, &uri).timeout(PATIENCE);
        if let Some((format, content)) = ask.content {
            self.show(format_args!("      {content}  ({format})"))?;
            request = request.content_format(format).payload(content);
        }
        self.acknowledged.forget();
        let reply = match request.await {
            Ok(reply) => reply,
            Err(error) => return self.fails(&error).map(|()| None),
        };
        let acknowledged = self.acknowledged.seen();
        if acknowledged {
            self.show("   <- empty acknowledgement: \"got it, the answer takes a moment\"")?;
        }
        let repeated = match reply.timing.attempts {
            0 | 1 => "no retransmission".to_owned(),
            attempts => format!("{} retransmissions", attempts - 1),
        };
        let round_trip = Millis(reply.timing.round_trip.unwrap_or(reply.timing.elapsed));
        self.show(format_args!("   <- {}, {round_trip}, {repeated}", reply.code))?;
        let location = show::location((&reply).into(), &uri);
        if let Some(location) = &location {
            self.show(format_args!("      Location: {location}"))?;
        }
        if let Some(text) = reply.text().filter(|text| !text.is_empty()) {
            let format = reply.content_format().map(|format| format!("  ({format})")).unwrap_or_default();
            self.show(format_args!("      {}{format}", show::one_line(text)))?;
        }
        if !expected.is_met(&reply, acknowledged) {
            self.failed += 1;
            let separate = if expected.separate { ", separately" } else { "" };
            self.show(format_args!("   !! this should have been {}{separate}", expected.code))?;
        }
        self.show("")?;
        Ok(location)
    }

    fn announce(&mut self, title: &str, method: &str, uri: &str) -> Result<(), Failure> {
        self.number += 1;
        self.show(format_args!("{}. {title}\n   -> {method} {uri}", self.number))
    }

    fn fails(&mut self, error: &Error) -> Result<(), Failure> {
        self.failed += 1;
        self.show(format_args!("   !! {error}\n"))
    }

    fn show(&self, line: impl core::fmt::Display) -> Result<(), Failure> {
        writeln!(io::stdout().lock(), "{line}").or_else(ignore_gone)
    }

    fn bow(&self) -> Result<Exit, Failure> {
        if self.failed > 0 {
            let text = format!("{} of {} exchanges were not what they should be", self.failed, self.number);
            return Err(Failure::new(Exit::Local, text));
        }
        self.show(format_args!("All {} exchanges were what they should be.", self.number))?;
        Ok(Exit::Success)
    }
}

/// Whether an empty acknowledgement came: the sign of a separate response (RFC 7252 §5.2.2).
#[derive(Default)]
struct Acknowledged(Arc<AtomicBool>);

impl Acknowledged {
    fn watch(&self) -> impl Fn(&Traffic) + Send + Sync + 'static {
        let seen = self.0.clone();
        move |traffic| {
            if let (Direction::Received, Ok(message)) = (traffic.direction, &traffic.message)
                && message.kind == Type::Acknowledgement
                && message.code == Code::EMPTY
            {
                seen.store(true, Ordering::Relaxed);
            }
        }
    }

    fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn seen(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
