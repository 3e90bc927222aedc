//! `coap demo --secure`: sessions with a pre-shared key and with certificates, all of which are made for this one run.

use core::net::SocketAddr;
use core::time::Duration;
use std::time::SystemTime;

use coap_core::{Code, SessionEnd};
use coap_driver::Error;
use coap_dtls::keygen::{Authority, Issued, Validity};
use coap_dtls::{
    Backend, CertConfig, CertifiedKey, ClientAuth, ClientPsk, ClientSecurity, PskTable, SecurityConfig, ServerSecurity,
    WebPkiVerifier, certificates_from_pem,
};
use coap_tokio::{Client, Server};
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};

use super::{Ask, Expected, Heard, PATIENCE, Stage, bow, lamp, runtime};
use crate::exit::{Exit, Failure};
use crate::serve;

/// A handshake that has not ended by then does not end: here nothing is lost on the way.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// What secures one listener and its client, and what somebody has who is not let in.
struct Part {
    title: &'static str,
    server: ServerSecurity,
    client: ClientSecurity,
    stranger_title: &'static str,
    stranger: ClientSecurity,
}

/// Runs the demonstration. Its end is a success only if every exchange was what it should be.
pub(super) async fn run() -> Result<Exit, Failure> {
    let mut rng = StdRng::try_from_rng(&mut SysRng).map_err(Failure::local)?;
    let parts = [by_key(&mut rng).map_err(Failure::local)?, by_certificate(&mut rng).map_err(Failure::local)?];
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut builder = Server::builder(runtime()?);
    for part in &parts {
        builder = builder.secure(loopback, part.server.clone());
    }
    let server = builder.server().await?;
    let addresses = server.local_addrs().to_vec();
    let stop = server.shutdown_handle();
    let serving = tokio::spawn(server.serve(serve::router(None, &serve::Clock::new())));

    let (mut number, mut failed) = (0, 0);
    for (part, address) in parts.iter().zip(addresses) {
        let heard = Heard::default();
        let builder = Client::builder(runtime()?).bind(loopback).security(part.client.clone());
        let client = builder.on_message(heard.watch()).client().await?;
        let mut stage = Stage { client, server: format!("coaps://{address}"), heard, number, failed };
        stage.show(format_args!("A server listens on coaps://{address}. {}\n", part.title))?;
        play(&mut stage).await?;
        let stranger = Client::builder(runtime()?).bind(loopback).security(part.stranger.clone()).client().await?;
        stage.refused(part.stranger_title, &stranger).await?;
        (number, failed) = (stage.number, stage.failed);
    }

    stop.shutdown(Duration::from_secs(1));
    let ended = serving.await.map_err(|error| Failure::new(Exit::Local, error))?;
    ended?;
    bow(number, failed)
}

/// What is shown in each session.
async fn play(stage: &mut Stage) -> Result<(), Failure> {
    let hello = Expected::new(Code::CONTENT).payload("Hello from coap-cli!");
    stage
        .exchange("read a resource: the first request opens the session", Ask::new(Code::GET, "/hello"), hello)
        .await?;
    let book = "A page of a secret book. ".repeat(1_200);
    let write = Ask::new(Code::PUT, "/store/book").text(book.clone());
    let blocks = u32::try_from(book.len().div_ceil(1_024)).unwrap_or_default();
    stage.exchange("write what is long: block by block", write, Expected::new(Code::CREATED).blocks(blocks)).await?;
    let whole = Expected::new(Code::CONTENT).payload(book).blocks(blocks);
    stage.exchange("read it: block by block, and whole", Ask::new(Code::GET, "/store/book"), whole).await?;
    stage.exchange("delete it", Ask::new(Code::DELETE, "/store/book"), Expected::new(Code::DELETED)).await?;
    let off = lamp().json(r#"{"on":false}"#);
    stage.exchange("create a lamp", off, Expected::new(Code::CREATED)).await?;
    let states = [r#"{"on":true,"level":90}"#, r#"{"on":true,"level":5}"#];
    stage.observe("observe the lamp while it changes", lamp, states).await?;
    stage.exchange("delete it", Ask::new(Code::DELETE, "/store/lamp"), Expected::new(Code::DELETED)).await?;
    Ok(())
}

impl Stage {
    /// Asks as somebody who is not let in.
    async fn refused(&mut self, title: &str, stranger: &Client) -> Result<(), Failure> {
        let uri = format!("{}/hello", self.server);
        self.announce(title, "GET", &uri)?;
        match stranger.get(&uri).timeout(PATIENCE).await {
            Err(Error::Session { why, .. }) if why != SessionEnd::NoAnswer => self.show(format_args!("   <- {why}\n")),
            Err(error) => self.fails(&error),
            Ok(reply) => {
                self.failed += 1;
                self.show(format_args!("   !! {}: nobody should be answered without a session\n", reply.code))
            }
        }
    }
}

type Made<T> = Result<T, Box<dyn core::error::Error + Send + Sync>>;

fn by_key(rng: &mut StdRng) -> Made<Part> {
    let mut draw = || {
        let mut key = [0; 16];
        rng.fill_bytes(&mut key);
        key
    };
    let (key, other) = (draw(), draw());
    let client = |key: [u8; 16]| -> Made<_> {
        let client = SecurityConfig::client(ClientPsk::new("demo", key)?);
        Ok(client.handshake_timer(Duration::from_secs(1), HANDSHAKE).build()?)
    };
    Ok(Part {
        title: "Whoever wants a session with it has the key of the identity \"demo\".",
        server: SecurityConfig::server().psk(PskTable::new().with("demo", key)?).build()?,
        client: client(key)?,
        stranger_title: "ask with another key: there is no session, and no answer",
        stranger: client(other)?,
    })
}

fn by_certificate(rng: &mut StdRng) -> Made<Part> {
    let validity = Validity::days_from(SystemTime::now(), 1);
    let authority = Authority::new("coap demo", validity, rng)?;
    let trust = WebPkiVerifier::new(certificates_from_pem(authority.certificate()?)?)?;
    let server = own(&authority.server(&["127.0.0.1"], validity, rng)?)?;
    let own = own(&authority.client("client", validity, rng)?)?;
    let other = Authority::new("somebody else", validity, rng)?;
    let distrust = WebPkiVerifier::new(certificates_from_pem(other.certificate()?)?)?;
    let client = |trust: WebPkiVerifier| {
        let client = SecurityConfig::client(CertConfig::new(trust).own(own.clone())).backend(Backend::WebrtcDtls);
        client.handshake_timer(Duration::from_secs(1), HANDSHAKE).build()
    };
    Ok(Part {
        title: "It has a certificate for 127.0.0.1, and wants to see one of each client, of the same authority.",
        server: SecurityConfig::server()
            .certificate(server)
            .client_auth(ClientAuth::Required)
            .verifier(trust.clone())
            .backend(Backend::WebrtcDtls)
            .build()?,
        client: client(trust)?,
        stranger_title: "ask as a client that trusts another authority: it does not take this server for the right one",
        stranger: client(distrust)?,
    })
}

fn own(issued: &Issued) -> Made<CertifiedKey> {
    Ok(CertifiedKey::from_pem(&issued.certificates, issued.key.as_bytes(), None)?)
}
