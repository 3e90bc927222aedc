//! Endpoints with secure sessions on a wire in virtual time: what each of them sends is in a log, and can be lost, changed,
//! kept and sent again.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.
#![allow(dead_code, reason = "each test uses a part of it")]

use core::time::Duration;
use std::collections::VecDeque;
use std::time::SystemTime;

use bytes::Bytes;
use coap_core::{
    Body, Code, Config, Datagram, Endpoint, Event, Failure, Instant, Local, Peer, Request, RequestId, RequestOptions,
    Response, SessionId, UdpAddr,
};
use coap_dtls::{
    CertConfig, CertificateDer, CertificateError, CertifiedKey, ClientAuth, ClientPsk, ClientSecurity, Limits,
    PeerVerifier, PskTable, Role, SecureEndpoint, SecurityConfig, ServerName, ServerSecurity, Versions,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// One way through the wire.
pub(crate) const LATENCY: Duration = Duration::from_millis(10);

pub(crate) fn udp(text: &str) -> UdpAddr {
    UdpAddr::new(text.parse().unwrap())
}

/// A client with the identity "client" and its key.
pub(crate) fn psk_client() -> ClientSecurity {
    SecurityConfig::client(ClientPsk::new("client", "the key of the client").unwrap()).build().unwrap()
}

/// A server that knows it.
pub(crate) fn psk_server() -> ServerSecurity {
    SecurityConfig::server().psk(PskTable::new().with("client", "the key of the client").unwrap()).build().unwrap()
}

/// How both ends know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Psk,
    /// Both ends show certificates.
    Certificates,
    /// Both ends show certificates, and speak DTLS 1.3.
    Dtls13,
}

pub(crate) const MODES: [Mode; 3] = [Mode::Psk, Mode::Certificates, Mode::Dtls13];

/// Accepts the certificates that it was made for.
pub(crate) struct Only(pub(crate) Vec<CertificateDer<'static>>);

impl PeerVerifier for Only {
    fn verify(
        &self,
        chain: &[CertificateDer<'static>],
        _role: Role,
        _name: Option<&ServerName>,
        _now: SystemTime,
    ) -> Result<(), CertificateError> {
        let known = chain.first().is_some_and(|shown| self.0.contains(shown));
        known.then_some(()).ok_or(CertificateError::UnknownAuthority)
    }
}

/// A certificate of the authority of the tests, with its key.
pub(crate) fn certificate() -> CertifiedKey {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/");
    CertifiedKey::from_files(format!("{data}server.pem"), format!("{data}pkcs8.pem"), None).unwrap()
}

/// A client and a server that know each other.
pub(crate) fn pair(mode: Mode) -> (ClientSecurity, ServerSecurity) {
    let versions = match mode {
        Mode::Psk => return (psk_client(), psk_server()),
        Mode::Certificates => Versions::V12,
        Mode::Dtls13 => Versions::V12AndV13,
    };
    let known = || Only(certificate().chain().to_vec());
    let client = SecurityConfig::client(CertConfig::new(known()).own(certificate())).versions(versions);
    let server = SecurityConfig::server().certificate(certificate()).client_auth(ClientAuth::Required);
    (client.build().unwrap(), server.verifier(known()).versions(versions).build().unwrap())
}

/// An endpoint with sessions, and what has happened to it.
pub(crate) struct Node {
    pub(crate) endpoint: SecureEndpoint,
    pub(crate) addr: UdpAddr,
    /// How many requests it has answered, and who asked.
    pub(crate) served: Vec<Peer>,
    pub(crate) answers: Vec<(RequestId, Code)>,
    pub(crate) failures: Vec<(RequestId, Failure)>,
    pub(crate) other: usize,
}

/// A datagram, from one address to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flying {
    pub(crate) at: Instant,
    pub(crate) from: UdpAddr,
    pub(crate) to: UdpAddr,
    pub(crate) bytes: Vec<u8>,
}

/// What becomes of a datagram: what arrives in its place.
pub(crate) type Fate = Box<dyn FnMut(&Flying) -> Vec<Vec<u8>>>;

pub(crate) struct Wire {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    pub(crate) flying: VecDeque<Flying>,
    /// All that was sent.
    pub(crate) log: Vec<Flying>,
    pub(crate) fate: Option<Fate>,
    /// How much longer each datagram takes.
    pub(crate) delay: Option<Box<dyn FnMut() -> Duration>>,
}

pub(crate) const CLIENT: usize = 0;
pub(crate) const SERVER: usize = 1;

impl Wire {
    /// A client at 192.0.2.1:1000 and a server at 192.0.2.9:5684, which listens.
    pub(crate) fn new(server: &ServerSecurity) -> Self {
        let mut wire = Self::empty();
        wire.add("192.0.2.1:1000", Limits::default());
        let server_node = wire.add("192.0.2.9:5684", Limits::default());
        wire.nodes[server_node].endpoint.listen(0, server).unwrap();
        wire
    }

    pub(crate) fn empty() -> Self {
        let (nodes, flying, log) = (Vec::new(), VecDeque::new(), Vec::new());
        Self { now: Instant::from_secs(1_000), nodes, flying, log, fate: None, delay: None }
    }

    pub(crate) fn add(&mut self, addr: &str, limits: Limits) -> usize {
        let number = self.nodes.len();
        self.nodes.push(Node::new(addr, limits, number as u64));
        number
    }

    /// Opens a session to the server.
    pub(crate) fn connect(&mut self, node: usize, security: &ClientSecurity) -> SessionId {
        let to = self.nodes[SERVER].addr;
        self.nodes[node].endpoint.connect(self.now, to, 0, security, None).unwrap()
    }

    /// Asks for something in a session.
    pub(crate) fn get(&mut self, node: usize, session: SessionId) -> RequestId {
        let now = self.now;
        let to = Peer::Session(session);
        self.nodes[node].endpoint.request(now, to, Request::get(), &RequestOptions::new()).unwrap()
    }

    /// The codes of the answers to a request.
    pub(crate) fn answer(&self, node: usize, request: RequestId) -> Option<Code> {
        self.nodes[node].answers.iter().find(|(of, _)| *of == request).map(|(_, code)| *code)
    }

    pub(crate) fn failure(&self, node: usize, request: RequestId) -> Option<Failure> {
        self.nodes[node].failures.iter().find(|(of, _)| *of == request).map(|(_, failure)| *failure)
    }

    pub(crate) fn is_open(&self, node: usize, session: SessionId) -> bool {
        self.nodes[node].endpoint.session(session).is_some_and(|session| session.identity.is_some())
    }

    /// The only session of the server.
    pub(crate) fn server_sessions(&self) -> usize {
        self.nodes[SERVER].endpoint.session_stats().sessions
    }

    /// Puts a datagram on the wire.
    pub(crate) fn inject(&mut self, from: UdpAddr, to: UdpAddr, bytes: &[u8]) {
        let at = self.now + LATENCY;
        self.flying.push_back(Flying { at, from, to, bytes: bytes.to_vec() });
    }

    /// Lets time pass for this long.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.collect();
            let arrival = self.flying.iter().map(|flying| flying.at).min();
            let timers = self.nodes.iter().filter_map(|node| node.endpoint.poll_timeout());
            let Some(next) = timers.chain(arrival).min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            while let Some(place) = self.flying.iter().position(|flying| flying.at <= self.now) {
                let flying = self.flying.remove(place).unwrap();
                self.deliver(flying);
            }
            let now = self.now;
            for node in &mut self.nodes {
                if node.endpoint.poll_timeout().is_some_and(|at| at <= now) {
                    node.endpoint.handle_timeout(now);
                }
            }
        }
        self.now = end;
        for node in &mut self.nodes {
            node.answer(end);
        }
    }

    /// A session that stands, at both ends.
    pub(crate) fn open(mode: Mode) -> (Self, SessionId) {
        let (client, server) = pair(mode);
        let mut wire = Self::new(&server);
        let session = wire.connect(CLIENT, &client);
        wire.settle();
        assert!(wire.is_open(CLIENT, session), "{mode:?}");
        (wire, session)
    }

    /// A request in a session is answered.
    pub(crate) fn works(&mut self, session: SessionId) -> bool {
        let request = self.get(CLIENT, session);
        self.settle();
        self.answer(CLIENT, request) == Some(Code::CONTENT)
    }

    /// Until nothing is on the wire any more, and nobody has a timer within a second.
    pub(crate) fn settle(&mut self) {
        self.run(Duration::from_millis(500));
    }

    fn deliver(&mut self, flying: Flying) {
        let Some(node) = self.nodes.iter_mut().find(|node| node.addr == flying.to) else { return };
        let to = Local::default();
        let payload = Bytes::from(flying.bytes);
        node.endpoint.handle_datagram(self.now, Datagram { from: Peer::Udp(flying.from), to, payload });
    }

    fn collect(&mut self) {
        let now = self.now;
        for node in &mut self.nodes {
            node.answer(now);
            let mut buf = vec![0; node.endpoint.max_transmit()];
            while let Some(transmit) = node.endpoint.poll_transmit(&mut buf) {
                let to = transmit.to.udp().expect("it always goes to an address");
                let flying = Flying { at: now, from: node.addr, to, bytes: buf[..transmit.len].to_vec() };
                self.log.push(flying.clone());
                assert!(self.log.len() < 100_000, "they do not stop: {:02x?}", &self.log[99_900..]);
                let arriving = match &mut self.fate {
                    Some(fate) => fate(&flying),
                    None => vec![flying.bytes.clone()],
                };
                for bytes in arriving {
                    let at = now + LATENCY + self.delay.as_mut().map_or(Duration::ZERO, |delay| delay());
                    self.flying.push_back(Flying { at, bytes, ..flying.clone() });
                }
            }
        }
    }

    /// What was sent from one node to another since the log had this length.
    pub(crate) fn sent(&self, node: usize, since: usize) -> Vec<&Flying> {
        let addr = self.nodes[node].addr;
        self.log[since..].iter().filter(|flying| flying.from == addr).collect()
    }
}

impl Node {
    pub(crate) fn new(addr: &str, limits: Limits, seed: u64) -> Self {
        let rng = |part| ChaCha20Rng::seed_from_u64(seed * 2 + part);
        let endpoint = SecureEndpoint::new(Endpoint::new(Config::default(), rng(0)), limits, rng(1));
        let (served, answers, failures) = (Vec::new(), Vec::new(), Vec::new());
        Self { endpoint, addr: udp(addr), served, answers, failures, other: 0 }
    }

    /// Answers what is asked for, and notes the rest.
    pub(crate) fn answer(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Request(request) => {
                    self.served.push(request.peer);
                    let body = Body::Whole(Bytes::from_static(b"22.5 C"));
                    let mut response = Response::new(Code::CONTENT);
                    response.body = body;
                    let _ = self.endpoint.respond(now, request.id, response);
                }
                Event::Response { id, response, .. } => self.answers.push((id, response.code)),
                Event::Failed { id, reason, .. } => self.failures.push((id, reason)),
                _ => self.other += 1,
            }
        }
    }
}

pub(crate) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}
