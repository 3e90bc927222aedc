//! Two engines and a wire between them, in the virtual time of tokio.

mod attacks;
mod handshakes;
mod plain;

use core::time::Duration;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use coap_core::{Instant, SessionEnd, UdpAddr};
use hex_literal::hex;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::runtime::Handle;
use tokio::time::{self, sleep};

use crate::attempts::Attempts;
use crate::authorities::WebPkiVerifier;
use crate::builder::{ClientEnd, SecurityBuilder, SecurityConfig, ServerEnd};
use crate::config::{Backend, CertConfig, ClientAuth, ClientSecurity, ServerSecurity};
use crate::credentials::{CertifiedKey, ClientPsk, PskTable};
use crate::engine::{Engine, Kickers, Output};
use crate::files::certificates_from_pem;
use crate::hello::ClientHello;
use crate::identity::PeerIdentity;
use crate::keygen::{Authority, Issued, Validity};
use crate::table::Path;
use crate::verify::ServerName;

const NOW: Instant = Instant::from_secs(1);

/// Some hello: what it says is read when it is handed in.
const HELLO: [u8; 67] = hex!(
    "16 feff 0000 000000000000 0036 01 00002a 0000 000000 00002a"
    "fefd 101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f 00 00 0002 c0a8 01 00"
);

fn addr() -> UdpAddr {
    UdpAddr::new("192.0.2.1:5684".parse().unwrap())
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// One end, and what it has told.
struct End {
    engine: Box<dyn Engine>,
    identity: Option<PeerIdentity>,
    got: Vec<Vec<u8>>,
    ended: Option<SessionEnd>,
    proven: bool,
    /// All that it has sent, and when.
    sent: Vec<(Duration, Vec<u8>)>,
    buf: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Client,
    Server,
}

/// What arrives in place of a datagram: the how manieth of its end it is, from 0.
type Fate = Box<dyn FnMut(From, usize, &[u8]) -> Vec<Vec<u8>>>;

struct Pair {
    client: End,
    server: End,
    fate: Fate,
    start: time::Instant,
}

impl End {
    fn new(engine: Box<dyn Engine>) -> Self {
        Self {
            engine,
            identity: None,
            got: Vec::new(),
            ended: None,
            proven: false,
            sent: Vec::new(),
            buf: vec![0; 65_535],
        }
    }

    fn connect(security: &ClientSecurity, name: Option<&ServerName>) -> Self {
        Self::new(security.0.connector.connect(NOW, addr(), name, Kickers::default().kick(1)))
    }

    fn accept(security: &ServerSecurity) -> Self {
        let hello = ClientHello::parse(&HELLO).unwrap();
        let attempt = Attempts::default().on(Path { socket: 0, addr: addr() }, 0);
        Self::new(security.0.acceptor.accept(NOW, addr(), &hello, attempt, Kickers::default().kick(2)).unwrap())
    }

    /// Polls all that there is, and hands out what is to be sent.
    fn poll(&mut self, at: Duration) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        while let Some(output) = self.engine.poll(NOW, &mut self.buf) {
            match output {
                Output::Datagram(datagram) => datagrams.push(datagram.to_vec()),
                Output::Proven => self.proven = true,
                Output::Established(identity) => {
                    assert!(self.identity.is_none() && self.got.is_empty(), "told once, and first");
                    self.identity = Some(identity);
                }
                Output::Plaintext(plaintext) => {
                    assert!(self.identity.is_some(), "nothing is handed up before the session stands");
                    self.got.push(plaintext.to_vec());
                }
                Output::Ended(why) => {
                    assert_eq!(self.ended, None, "told once");
                    self.ended = Some(why);
                }
            }
        }
        self.sent.extend(datagrams.iter().map(|datagram| (at, datagram.clone())));
        datagrams
    }

    fn is_open(&self) -> bool {
        self.identity.is_some() && self.ended.is_none()
    }

    fn bytes_sent(&self) -> usize {
        self.sent.iter().map(|(_, datagram)| datagram.len()).sum()
    }
}

impl Pair {
    fn new(client: &ClientSecurity, server: &ServerSecurity) -> Self {
        Self::named(client, server, None)
    }

    fn named(client: &ClientSecurity, server: &ServerSecurity, name: Option<&ServerName>) -> Self {
        let fate: Fate = Box::new(|_, _, datagram| vec![datagram.to_vec()]);
        Self { client: End::connect(client, name), server: End::accept(server), fate, start: time::Instant::now() }
    }

    fn fate(mut self, fate: impl FnMut(From, usize, &[u8]) -> Vec<Vec<u8>> + 'static) -> Self {
        self.fate = Box::new(fate);
        self
    }

    /// Lets time pass.
    async fn run(&mut self, span: Duration) {
        let end = time::Instant::now() + span;
        loop {
            let at = self.start.elapsed();
            let mut moved = false;
            let before = [self.client.sent.len(), self.server.sent.len()];
            for (number, datagram) in self.client.poll(at).into_iter().enumerate() {
                moved = true;
                for arriving in (self.fate)(From::Client, before[0] + number, &datagram) {
                    self.server.engine.handle(NOW, &arriving);
                }
            }
            for (number, datagram) in self.server.poll(at).into_iter().enumerate() {
                moved = true;
                for arriving in (self.fate)(From::Server, before[1] + number, &datagram) {
                    self.client.engine.handle(NOW, &arriving);
                }
            }
            if !moved && time::Instant::now() >= end {
                return;
            }
            if !moved {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Lets time pass until both have said something decisive, or for so long.
    async fn settle(&mut self) {
        self.run(Duration::from_millis(200)).await;
    }

    fn is_open(&self) -> bool {
        self.client.is_open() && self.server.is_open()
    }

    /// A message each way arrives.
    async fn works(&mut self) -> bool {
        let before = (self.client.got.len(), self.server.got.len());
        let sent = self.client.engine.send(NOW, b"ping").is_ok() && self.server.engine.send(NOW, b"pong").is_ok();
        self.settle().await;
        sent && self.server.got[before.1..] == [b"ping"] && self.client.got[before.0..] == [b"pong"]
    }
}

/// Waits until the tasks that were told to end have done so, and counts the others.
async fn tasks() -> usize {
    sleep(Duration::from_millis(5)).await;
    Handle::current().metrics().num_alive_tasks()
}

fn psk_client(identity: &str, key: &str) -> SecurityBuilder<ClientEnd> {
    SecurityConfig::client(ClientPsk::new(identity, key).unwrap()).backend(Backend::WebrtcDtls)
}

fn psk_server() -> SecurityBuilder<ServerEnd> {
    let keys = PskTable::new().with("client", "the key of the client").unwrap();
    SecurityConfig::server().psk(keys).backend(Backend::WebrtcDtls)
}

fn psk() -> Pair {
    Pair::new(&psk_client("client", "the key of the client").build().unwrap(), &psk_server().build().unwrap())
}

/// An authority, what it has signed, and another authority.
struct Certificates {
    trusted: Authority,
    server: CertifiedKey,
    client: CertifiedKey,
    stranger: Authority,
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

fn valid() -> Validity {
    Validity::days_from(SystemTime::now(), 30)
}

fn own(issued: &Issued) -> CertifiedKey {
    CertifiedKey::from_pem(&issued.certificates, issued.key.as_bytes(), None).unwrap()
}

fn trust(authority: &Authority) -> WebPkiVerifier {
    WebPkiVerifier::new(certificates_from_pem(authority.certificate().unwrap()).unwrap()).unwrap()
}

impl Certificates {
    /// The server's is below an intermediate authority.
    fn new() -> Self {
        let rng = &mut rng();
        let trusted = Authority::new("Authority", valid(), rng).unwrap();
        let between = trusted.intermediate("Intermediate", valid(), rng).unwrap();
        let server = own(&between.server(&["server.example"], valid(), rng).unwrap());
        let client = own(&trusted.client("client", valid(), rng).unwrap());
        let stranger = Authority::new("Stranger", valid(), rng).unwrap();
        Self { trusted, server, client, stranger }
    }

    fn client(&self) -> SecurityBuilder<ClientEnd> {
        SecurityConfig::client(CertConfig::new(trust(&self.trusted)).own(self.client.clone()))
            .backend(Backend::WebrtcDtls)
    }

    /// Shows nothing.
    fn anonymous(&self) -> SecurityBuilder<ClientEnd> {
        SecurityConfig::client(CertConfig::new(trust(&self.trusted))).backend(Backend::WebrtcDtls)
    }

    fn server(&self, clients: ClientAuth) -> SecurityBuilder<ServerEnd> {
        let server = SecurityConfig::server().certificate(self.server.clone()).backend(Backend::WebrtcDtls);
        match clients {
            ClientAuth::None => server,
            _ => server.client_auth(clients).verifier(trust(&self.trusted)),
        }
    }
}

fn name() -> ServerName {
    ServerName::dns("server.example").unwrap()
}

/// What has been told to a key log.
fn log() -> (Arc<Mutex<Vec<String>>>, impl Fn(&str) + Send + Sync + 'static) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    (lines, move |line: &str| sink.lock().unwrap().push(line.to_owned()))
}
