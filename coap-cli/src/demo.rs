//! `coap demo`: a server and a client on this machine, and what they say to each other.

mod secure;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use coap_core::{Code, ContentFormat, Type, Uri};
use coap_driver::{Direction, Error, Observed, Reply, Traffic};
use coap_tokio::{Client, Observation, Server, TokioRuntime};

use crate::args::DemoArgs;
use crate::exit::{Exit, Failure};
use crate::show::{self, Millis};
use crate::{ignore_gone, serve};

/// Nothing here leaves this machine: what takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the demonstration. Its end is a success only if every exchange was what it should be.
pub(crate) async fn run(args: DemoArgs) -> Result<Exit, Failure> {
    if args.secure {
        return secure::run().await;
    }
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::builder(runtime()?).bind(loopback).server().await?;
    let address = server.local_addr().unwrap_or(loopback);
    let stop = server.shutdown_handle();
    let serving = tokio::spawn(server.serve(serve::router(None, &serve::Clock::new())));

    let heard = Heard::default();
    let client = Client::builder(runtime()?).bind(loopback).on_message(heard.watch()).client().await?;
    let mut stage = Stage { client, server: format!("coap://{address}"), heard, number: 0, failed: 0 };
    stage.show(format_args!("A CoAP server listens on coap://{address}, and a client talks to it.\n"))?;
    play(&mut stage).await?;

    stop.shutdown(Duration::from_secs(1));
    let ended = serving.await.map_err(|error| Failure::new(Exit::Local, error))?;
    ended?;
    bow(stage.number, stage.failed)
}

fn runtime() -> Result<TokioRuntime, Failure> {
    TokioRuntime::current().map_err(|error| Failure::new(Exit::Local, error))
}

/// What is shown, in its order.
async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.ping("is anybody there?").await?;
    let hello = Expected::new(Code::CONTENT).payload("Hello from coap-cli!");
    stage.exchange("read a resource", Ask::new(Code::GET, "/hello"), hello).await?;
    let links = Ask::new(Code::GET, "/.well-known/core");
    stage.exchange("ask what there is", links, Expected::new(Code::CONTENT)).await?;

    let state = r#"{"on":true,"level":70}"#;
    let write = lamp().json(state);
    stage.exchange("create a resource with a name of our own", write, Expected::new(Code::CREATED)).await?;
    let read = Ask::new(Code::GET, "/store/lamp");
    stage.exchange("read it back", read, Expected::new(Code::CONTENT).payload(state)).await?;
    let darker = lamp().json(r#"{"on":true,"level":5}"#);
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

    let book = "A page of a long book. ".repeat(130);
    let write = Ask::new(Code::PUT, "/store/book").text(book.clone());
    stage.exchange("write what is long: block by block", write, Expected::new(Code::CREATED).blocks(3)).await?;
    let read = Ask::new(Code::GET, "/store/book");
    let whole = Expected::new(Code::CONTENT).payload(book).blocks(3);
    stage.exchange("read it: block by block, and whole", read, whole).await?;

    stage.observe("observe the lamp while it changes", lamp, [r#"{"on":true,"level":90}"#, r#"{"on":false}"#]).await
}

/// What is observed.
const fn lamp() -> Ask<'static> {
    Ask::new(Code::PUT, "/store/lamp")
}

struct Stage {
    client: Client,
    /// The start of its URIs.
    server: String,
    heard: Heard,
    number: u32,
    failed: u32,
}

/// A request.
struct Ask<'a> {
    method: Code,
    /// A path with its query, or a URI.
    at: &'a str,
    content: Option<(ContentFormat, Cow<'static, str>)>,
}

impl<'a> Ask<'a> {
    const fn new(method: Code, at: &'a str) -> Self {
        Self { method, at, content: None }
    }

    fn json(self, content: &'static str) -> Self {
        Self { content: Some((ContentFormat::JSON, content.into())), ..self }
    }

    fn text(self, content: impl Into<Cow<'static, str>>) -> Self {
        Self { content: Some((ContentFormat::TEXT_PLAIN, content.into())), ..self }
    }
}

/// What should come back.
struct Expected {
    code: Code,
    payload: Option<Cow<'static, str>>,
    separate: bool,
    /// So many blocks, in one direction.
    blocks: u32,
}

impl Expected {
    const fn new(code: Code) -> Self {
        Self { code, payload: None, separate: false, blocks: 0 }
    }

    fn payload(self, payload: impl Into<Cow<'static, str>>) -> Self {
        Self { payload: Some(payload.into()), ..self }
    }

    fn separate(self) -> Self {
        Self { separate: true, ..self }
    }

    fn blocks(self, blocks: u32) -> Self {
        Self { blocks, ..self }
    }

    fn is_met(&self, reply: &Reply, heard: &Heard) -> bool {
        reply.code == self.code
            && self.payload.as_ref().is_none_or(|payload| reply.text() == Some(payload))
            && (self.separate, self.blocks) == (heard.acknowledgement(), heard.blocks())
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
            self.show(format_args!("      {}  ({format})", short(&content)))?;
            request = request.content_format(format).payload(content.into_owned());
        }
        self.heard.forget();
        let reply = match request.await {
            Ok(reply) => reply,
            Err(error) => return self.fails(&error).map(|()| None),
        };
        if self.heard.acknowledgement() {
            self.show("   <- empty acknowledgement: \"got it, the answer takes a moment\"")?;
        }
        let repeated = match reply.timing.attempts {
            0 | 1 => "no retransmission".to_owned(),
            attempts => format!("{} retransmissions", attempts - 1),
        };
        let how = match self.heard.blocks() {
            0 => repeated,
            blocks => format!("{blocks} blocks"),
        };
        let round_trip = Millis(reply.timing.round_trip.unwrap_or(reply.timing.elapsed));
        self.show(format_args!("   <- {}, {round_trip}, {how}", reply.code))?;
        let location = show::location((&reply).into(), &uri);
        if let Some(location) = &location {
            self.show(format_args!("      Location: {location}"))?;
        }
        if let Some(text) = reply.text().filter(|text| !text.is_empty()) {
            let format = reply.content_format().map(|format| format!("  ({format})")).unwrap_or_default();
            self.show(format_args!("      {}{format}", short(text)))?;
        }
        if !expected.is_met(&reply, &self.heard) {
            self.failed += 1;
            let how = match (expected.separate, expected.blocks) {
                (true, _) => ", separately".to_owned(),
                (false, 0) => String::new(),
                (false, blocks) => format!(" in {blocks} blocks"),
            };
            self.show(format_args!("   !! this should have been {}{how}", expected.code))?;
        }
        self.show("")?;
        Ok(location)
    }

    /// Observes what `put` changes to each of `states`, and shows what is notified.
    async fn observe(
        &mut self,
        title: &str,
        put: impl Fn() -> Ask<'static>,
        states: [&'static str; 2],
    ) -> Result<(), Failure> {
        let uri = format!("{}{}", self.server, put().at);
        self.announce(title, "GET, and every change of", &uri)?;
        let mut observation = match self.client.observe(&uri).timeout(PATIENCE).await {
            Ok(observation) => observation,
            Err(error) => return self.fails(&error),
        };
        self.notified(&mut observation, None).await?;
        for state in states {
            self.show(format_args!("   -> PUT {uri}\n      {state}"))?;
            if let Err(error) = self.client.put(&uri, state).content_format(ContentFormat::JSON).timeout(PATIENCE).await
            {
                return self.fails(&error);
            }
            self.notified(&mut observation, Some(state)).await?;
        }
        observation.cancel().await;
        self.show("   -> enough: the server forgets the observer\n")
    }

    /// Shows the next state, and compares.
    async fn notified(&mut self, observation: &mut Observation, expected: Option<&str>) -> Result<(), Failure> {
        let next = tokio::time::timeout(PATIENCE, observation.next()).await;
        let Ok(Some(Observed::Notification(state))) = &next else {
            self.failed += 1;
            return self.show(format_args!("   !! no state came, but {next:?}"));
        };
        let text = state.text().unwrap_or_default();
        let what = if expected.is_some() { "notification: " } else { "" };
        self.show(format_args!("   <- {what}{}\n      {}", state.code, short(text)))?;
        if expected.is_some_and(|expected| expected != text) {
            self.failed += 1;
            self.show("   !! this should have been what was put")?;
        }
        Ok(())
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
}

/// The last line.
fn bow(number: u32, failed: u32) -> Result<Exit, Failure> {
    if failed > 0 {
        return Err(Failure::new(
            Exit::Local,
            format_args!("{failed} of {number} exchanges were not what they should be"),
        ));
    }
    writeln!(io::stdout().lock(), "All {number} exchanges were what they should be.").or_else(ignore_gone)?;
    Ok(Exit::Success)
}

/// A text, or its start and how long it is.
fn short(text: &str) -> String {
    /// What fits into a line or two.
    const SHOWN: usize = 240;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => {
            let start = text.get(..end.min(60)).unwrap_or_default();
            format!("{}… ({} bytes)", show::one_line(start), text.len())
        }
        None => show::one_line(text),
    }
}

/// What came besides the response.
#[derive(Default)]
struct Heard(Arc<Noted>);

#[derive(Default)]
struct Noted {
    /// An empty acknowledgement: the sign of a separate response (RFC 7252 §5.2.2).
    acknowledgement: AtomicBool,
    /// Answers with Block1 or Block2 (RFC 7959).
    blocks: AtomicU32,
}

impl Heard {
    fn watch(&self) -> impl Fn(&Traffic) + Send + Sync + 'static {
        let noted = self.0.clone();
        move |traffic| {
            let (Direction::Received, Ok(message)) = (traffic.direction, &traffic.message) else { return };
            if message.kind == Type::Acknowledgement && message.code == Code::EMPTY {
                noted.acknowledgement.store(true, Ordering::Relaxed);
            }
            if message.options.block1().or_else(|| message.options.block2()).is_some() {
                noted.blocks.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn forget(&self) {
        self.0.acknowledgement.store(false, Ordering::Relaxed);
        self.0.blocks.store(0, Ordering::Relaxed);
    }

    fn acknowledgement(&self) -> bool {
        self.0.acknowledgement.load(Ordering::Relaxed)
    }

    fn blocks(&self) -> u32 {
        self.0.blocks.load(Ordering::Relaxed)
    }
}
