//! A fault of the library ends the session that it happens in, and no other.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::cell::Cell;
use core::time::Duration;
use std::time::SystemTime;

use coap_core::{
    Code, Config, Datagram, Endpoint, Event, Failure, Instant, Local, Peer, SessionEnd, SessionId, UdpAddr,
};
use coap_core::{Request, RequestId, RequestOptions, Response};
use dimpl::CryptoError;
use dimpl::crypto::{Aad, Buf, Cipher, Nonce, TmpBuf};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::keygen::{Authority, Validity};
use crate::{
    Backend, CertConfig, CertifiedKey, ClientPsk, ClientSecurity, DangerousAcceptAny, Limits, PskTable, SecureEndpoint,
    SecurityConfig, ServerSecurity, Versions,
};

thread_local! {
    static BREAKS: Cell<bool> = const { Cell::new(false) };
}

/// A cipher that panics, when it is told to, instead of opening a record.
#[derive(Debug)]
pub(super) struct Fragile(pub(super) Box<dyn Cipher>);

impl Cipher for Fragile {
    fn encrypt(&mut self, plaintext: &mut Buf, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        self.0.encrypt(plaintext, aad, nonce)
    }

    fn decrypt(&mut self, ciphertext: &mut TmpBuf<'_>, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        assert!(!BREAKS.get(), "a fault of the library");
        self.0.decrypt(ciphertext, aad, nonce)
    }
}

/// A server and its clients, on a network without delay.
struct World {
    now: Instant,
    nodes: Vec<(UdpAddr, SecureEndpoint)>,
    outcomes: Vec<(usize, RequestId, Result<Code, Failure>)>,
    /// The server falls over each record of this node.
    fatal: Option<usize>,
}

const SERVER: usize = 0;

impl World {
    /// A server with keys and two clients.
    fn new() -> Self {
        let keys = PskTable::new().with("client", "key").unwrap();
        Self::with(&SecurityConfig::server().backend(Backend::Dimpl).psk(keys).build().unwrap())
    }

    /// A server and two clients.
    fn with(server: &ServerSecurity) -> Self {
        let node = |number: u8| {
            let rng = |part| ChaCha20Rng::seed_from_u64(u64::from(number) * 2 + part);
            let endpoint = Endpoint::new(Config::default(), rng(0));
            let addr = UdpAddr::new(core::net::SocketAddr::from(([192, 0, 2, number], 5684)));
            (addr, SecureEndpoint::new(endpoint, Limits::default(), rng(1)))
        };
        let (now, nodes) = (Instant::from_secs(1), (0..3).map(node).collect());
        let mut world = Self { now, nodes, outcomes: Vec::new(), fatal: None };
        world.nodes[SERVER].1.listen(0, server).unwrap();
        world
    }

    fn connect(&mut self, node: usize, client: &ClientSecurity) -> SessionId {
        let to = self.nodes[SERVER].0;
        self.nodes[node].1.connect(self.now, to, 0, client, None).unwrap()
    }

    fn ask(&mut self, node: usize, session: SessionId) -> RequestId {
        let to = Peer::Session(session);
        self.nodes[node].1.request(self.now, to, Request::get(), &RequestOptions::new()).unwrap()
    }

    /// What a request in a session comes to within `span`.
    fn outcome(&mut self, node: usize, session: SessionId, span: Duration) -> Option<Result<Code, Failure>> {
        let request = self.ask(node, session);
        self.run(span);
        self.outcomes.iter().find(|(at, id, _)| (*at, *id) == (node, request)).map(|(_, _, outcome)| *outcome)
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.exchange();
            let next = self.nodes.iter().filter_map(|(_, endpoint)| endpoint.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            for (_, endpoint) in &mut self.nodes {
                endpoint.handle_timeout(self.now);
            }
        }
        self.now = end;
    }

    fn exchange(&mut self) {
        loop {
            let mut sent = Vec::new();
            for number in 0..self.nodes.len() {
                self.look(number);
                let (from, endpoint) = &mut self.nodes[number];
                let mut buf = vec![0; endpoint.max_transmit()];
                while let Some(transmit) = endpoint.poll_transmit(&mut buf) {
                    sent.push((*from, transmit.to.udp().unwrap(), buf[..transmit.len].to_vec()));
                }
            }
            if sent.is_empty() {
                return;
            }
            for (from, to, payload) in sent {
                BREAKS.set(self.fatal.is_some_and(|fatal| self.nodes[fatal].0 == from));
                let Some((_, endpoint)) = self.nodes.iter_mut().find(|(addr, _)| *addr == to) else { continue };
                let datagram = Datagram { from: Peer::Udp(from), to: Local::default(), payload: payload.into() };
                endpoint.handle_datagram(self.now, datagram);
                BREAKS.set(false);
            }
        }
    }

    fn look(&mut self, number: usize) {
        let (_, endpoint) = &mut self.nodes[number];
        while let Some(event) = endpoint.poll_event() {
            match event {
                Event::Request(request) => {
                    let _ = endpoint.respond(self.now, request.id, Response::new(Code::CONTENT));
                }
                Event::Response { id, response, .. } => self.outcomes.push((number, id, Ok(response.code))),
                Event::Failed { id, reason, .. } => self.outcomes.push((number, id, Err(reason))),
                _ => {}
            }
        }
    }
}

fn client() -> ClientSecurity {
    let psk = ClientPsk::new("client", "key").unwrap();
    SecurityConfig::client(psk).backend(Backend::Dimpl).build().unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_fault_in_a_handshake_ends_that_handshake() {
    let mut world = World::new();
    let client = client();
    let other = world.connect(1, &client);
    assert_eq!(world.outcome(1, other, SECOND), Some(Ok(Code::CONTENT)));
    world.fatal = Some(2);
    let session = world.connect(2, &client);
    // internal_error (RFC 5246 §7.2.2), twice: it is begun anew once.
    let expected = Failure::Session(SessionEnd::Alert(80));
    assert_eq!(world.outcome(2, session, SECOND), Some(Err(expected)));
    let stats = world.nodes[SERVER].1.session_stats();
    assert_eq!((stats.failed.internal, stats.half_open, stats.sessions), (2, 0, 1));
    assert_eq!(world.outcome(1, other, SECOND), Some(Ok(Code::CONTENT)), "the other session goes on");
}

#[test]
fn a_fault_in_a_session_ends_that_session() {
    // DTLS 1.3 stays with the library when the handshake is done.
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let validity = Validity::days_from(SystemTime::now(), 1);
    let issued = Authority::new("CA", validity, &mut rng).unwrap().server(&["server"], validity, &mut rng).unwrap();
    let own = CertifiedKey::from_pem(&issued.certificates, issued.key.as_bytes(), None).unwrap();
    let server = SecurityConfig::server().backend(Backend::Dimpl).certificate(own).versions(Versions::V12AndV13);
    let client = SecurityConfig::client(CertConfig::new(DangerousAcceptAny)).backend(Backend::Dimpl);
    let mut world = World::with(&server.build().unwrap());
    let client = client.versions(Versions::V12AndV13).build().unwrap();
    let [one, other] = [1, 2].map(|node| world.connect(node, &client));
    for (node, session) in [(1, one), (2, other)] {
        assert_eq!(world.outcome(node, session, SECOND), Some(Ok(Code::CONTENT)));
    }
    world.fatal = Some(1);
    assert_eq!(world.outcome(1, one, SECOND), None);
    let stats = world.nodes[SERVER].1.session_stats();
    assert_eq!((stats.closed.internal, stats.sessions), (1, 1));
    assert_eq!(world.outcome(2, other, SECOND), Some(Ok(Code::CONTENT)), "the other session goes on");
    // In the first nobody answers any more, so that the next request has a new one made.
    world.fatal = None;
    world.run(100 * SECOND);
    let again = world.connect(1, &client);
    assert_ne!(again, one);
    assert_eq!(world.outcome(1, again, SECOND), Some(Ok(Code::CONTENT)));
}
