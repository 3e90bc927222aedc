//! A server and two clients with secure sessions, and between them somebody who has everything but their keys: datagrams are
//! lost, repeated, changed, cut, put together and made up, in any order and at any time.
//!
//! Nobody panics; nothing is handed up that no peer with the right key has said; nothing leaves that is no record; tables
//! stay within their limits; an address that has shown nothing is sent no more than came from it; each request has one
//! outcome at most, and in the end every one has one.

#![no_main]

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use coap_core::{
    Code, Config, Datagram, Endpoint, Event, Instant, Local, Peer, Request, RequestId, RequestOptions, Response,
    UdpAddr,
};
use coap_dtls::{
    ClientPsk, ClientSecurity, Limits, PeerIdentity, PskTable, SecureEndpoint, SecurityConfig, ServerSecurity,
};
use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const CLIENTS: usize = 2;
const SERVER: usize = CLIENTS;
const MAX_SESSIONS: usize = 3;
const MAX_HALF_OPEN: usize = 3;
/// How many datagrams are remembered, to be sent again.
const LOG: usize = 256;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// A client asks, in the session that it has, or in a new one.
    Ask {
        client: u8,
        confirmable: bool,
    },
    /// The datagram at this place arrives: 0 is the one that has waited the longest.
    Deliver(u8),
    DeliverAll,
    Lose(u8),
    /// One that was sent before, whatever has become of it.
    Replay(u8),
    /// The same, with some bytes changed, or not whole, or with another behind it.
    Change {
        which: u8,
        at: u16,
        xor: [u8; 2],
    },
    Cut {
        which: u8,
        from: u16,
        len: u16,
    },
    Join {
        one: u8,
        other: u8,
    },
    /// What is made up, in the name of anybody.
    Forge {
        to: u8,
        from: u8,
        bytes: &'a [u8],
    },
    Record {
        to: u8,
        from: u8,
        kind: u8,
        epoch: u8,
        sequence: u16,
        body: &'a [u8],
    },
    /// A handshake message in the clear.
    Handshake {
        to: u8,
        from: u8,
        kind: u8,
        message_seq: u8,
        body: &'a [u8],
    },
    Unreachable {
        at: u8,
        whom: u8,
    },
    Pass {
        millis: u16,
    },
    PassMinutes {
        count: u8,
    },
    Disconnect {
        client: u8,
    },
    DisconnectAll,
}

struct Securities {
    clients: Vec<ClientSecurity>,
    server: ServerSecurity,
}

/// They are costly to make, and the same for all runs.
static SECURITIES: LazyLock<Securities> = LazyLock::new(|| {
    let key = |number: usize| format!("the key of {number}");
    let client = |number: usize| {
        let psk = ClientPsk::new(format!("client {number}"), key(number)).expect("it is short");
        SecurityConfig::client(psk).seeded(number as u64 + 1).build().expect("nothing is wrong with it")
    };
    let keys = (0..CLIENTS)
        .fold(PskTable::new(), |keys, number| keys.with(format!("client {number}"), key(number)).expect("it is short"));
    let server = SecurityConfig::server().psk(keys).seeded(100).build().expect("nothing is wrong with it");
    Securities { clients: (0..CLIENTS).map(client).collect(), server }
});

struct Flying {
    from: UdpAddr,
    to: UdpAddr,
    bytes: Vec<u8>,
}

struct World {
    now: Instant,
    nodes: Vec<SecureEndpoint>,
    flying: VecDeque<Flying>,
    log: VecDeque<Flying>,
    /// Who has asked what, and what has not ended yet.
    asked: BTreeMap<Vec<u8>, usize>,
    open: BTreeMap<(usize, RequestId), Vec<u8>>,
    /// Bytes from and to addresses of strangers.
    accounts: BTreeMap<UdpAddr, (usize, usize)>,
    count: u64,
    buf: Vec<u8>,
}

fn address(node: usize) -> UdpAddr {
    UdpAddr::new(SocketAddr::from(([192, 0, 2, node as u8 + 1], 5_684)))
}

impl World {
    fn new() -> Self {
        let node = |number: usize| {
            let rng = |part| ChaCha20Rng::seed_from_u64(number as u64 * 2 + part);
            let limits = Limits::builder().max_sessions(MAX_SESSIONS).max_half_open(MAX_HALF_OPEN).max_outbox(32);
            let limits = limits.idle(Duration::from_secs(3_600)).build().expect("they are within their ranges");
            SecureEndpoint::new(Endpoint::new(Config::default(), rng(0)), limits, rng(1))
        };
        let mut nodes: Vec<_> = (0..=CLIENTS).map(node).collect();
        nodes[SERVER].listen(0, &SECURITIES.server).expect("datagrams fit into records");
        let buf = vec![0; nodes[SERVER].max_transmit()];
        Self {
            now: Instant::from_secs(1_000),
            nodes,
            flying: VecDeque::new(),
            log: VecDeque::new(),
            asked: BTreeMap::new(),
            open: BTreeMap::new(),
            accounts: BTreeMap::new(),
            count: 0,
            buf,
        }
    }

    fn ask(&mut self, client: usize, confirmable: bool) {
        let node = &mut self.nodes[client];
        // Refused: there is no room for the session, or for the request.
        let Ok(session) = node.connect(self.now, address(SERVER), 0, &SECURITIES.clients[client], None) else { return };
        self.count += 1;
        let body = format!("{client}:{}", self.count).into_bytes();
        let request = Request::new(Code::POST).with_body(body.clone());
        let how = RequestOptions::new();
        let how = if confirmable { how } else { how.non_confirmable() };
        if let Ok(id) = node.request(self.now, Peer::Session(session), request, &how) {
            self.asked.insert(body.clone(), client);
            assert!(self.open.insert((client, id), body).is_none(), "a request has a number of its own");
        }
    }

    fn arrive(&mut self, from: UdpAddr, to: UdpAddr, bytes: &[u8]) {
        let Some(node) = (0..=CLIENTS).find(|node| address(*node) == to) else { return };
        if node == SERVER && self.is_stranger(from) {
            self.accounts.entry(from).or_default().0 += bytes.len();
        }
        let payload = Bytes::copy_from_slice(bytes);
        self.nodes[node].handle_datagram(self.now, Datagram { from: Peer::Udp(from), to: Local::default(), payload });
        self.collect();
    }

    fn is_stranger(&self, addr: UdpAddr) -> bool {
        (0..=CLIENTS).all(|node| address(node) != addr)
    }

    /// Everything that the endpoints have to say and to send is checked.
    fn collect(&mut self) {
        for node in 0..=CLIENTS {
            let events: Vec<_> = core::iter::from_fn(|| self.nodes[node].poll_event()).collect();
            events.into_iter().for_each(|event| self.on_event(node, event));
            while let Some(transmit) = self.nodes[node].poll_transmit(&mut self.buf) {
                let bytes = self.buf[..transmit.len].to_vec();
                let to = transmit.to.udp().expect("it goes to an address");
                // A client may speak in the clear to those who do, but asks for nothing there.
                let is_record = matches!(bytes.first(), Some(20..=63));
                let is_request = matches!(bytes.get(1), Some(1..=31));
                assert!(is_record || node != SERVER && !is_request, "{node} sends something in the clear");
                if let Some((came, went)) = self.accounts.get_mut(&to).filter(|_| node == SERVER) {
                    *went += bytes.len();
                    assert!(went <= came, "{went} bytes for {came}");
                }
                if self.log.len() == LOG {
                    self.log.pop_front();
                }
                let from = address(node);
                self.log.push_back(Flying { from, to, bytes: bytes.clone() });
                self.flying.push_back(Flying { from, to, bytes });
            }
            let stats = self.nodes[node].session_stats();
            assert!(stats.sessions + stats.opening <= MAX_SESSIONS && stats.half_open <= MAX_HALF_OPEN, "{stats:?}");
        }
        if self.flying.len() > LOG {
            self.flying.drain(..self.flying.len() - LOG);
        }
    }

    fn on_event(&mut self, node: usize, event: Event) {
        match event {
            Event::Request(incoming) if node == SERVER => {
                let Peer::Session(session) = incoming.peer else { panic!("a request in the clear was taken") };
                let body = incoming.request.body.as_bytes().to_vec();
                let client = self.asked.get(&body).expect("somebody has asked that");
                if let Some(session) = self.nodes[SERVER].session(session) {
                    let identity = format!("client {client}").into_bytes();
                    assert_eq!(session.identity, Some(&PeerIdentity::Psk(identity)), "another client has");
                }
                let response = Response::new(Code::CHANGED).with_body(body);
                let _ = self.nodes[SERVER].respond(self.now, incoming.id, response);
            }
            // Of whoever speaks to a client in the clear: it is no server, and answers by itself.
            Event::Request(incoming) => assert!(matches!(incoming.peer, Peer::Udp(_))),
            Event::Response { id, response, .. } => {
                let body = self.open.remove(&(node, id)).expect("one outcome");
                if response.code == Code::CHANGED {
                    assert_eq!(response.body.as_bytes(), body, "the response to another request");
                }
            }
            Event::Failed { id, .. } => {
                self.open.remove(&(node, id)).expect("one outcome");
            }
            _ => {}
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        let mut calls = BTreeMap::<Instant, u32>::new();
        loop {
            let due = self.nodes.iter().filter_map(SecureEndpoint::poll_timeout).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            let called = calls.entry(self.now).or_default();
            *called += 1;
            assert!(*called < 10_000, "a timer that never rests");
            for node in &mut self.nodes {
                node.handle_timeout(self.now);
            }
            self.collect();
        }
        self.now = end;
    }

    fn logged(&self, which: u8) -> Option<(UdpAddr, UdpAddr, Vec<u8>)> {
        let flying = self.log.get(usize::from(which) % self.log.len().max(1))?;
        Some((flying.from, flying.to, flying.bytes.clone()))
    }

    /// One of the nodes, or of three strangers.
    fn anybody(&self, number: u8) -> UdpAddr {
        address(usize::from(number) % (CLIENTS + 4))
    }

    fn step(&mut self, step: Step<'_>) {
        let clients = |client: u8| usize::from(client) % CLIENTS;
        match step {
            Step::Ask { client, confirmable } => self.ask(clients(client), confirmable),
            Step::Deliver(which) => {
                let place = usize::from(which) % self.flying.len().max(1);
                if let Some(Flying { from, to, bytes }) = self.flying.remove(place) {
                    self.arrive(from, to, &bytes);
                }
            }
            Step::DeliverAll => {
                for _ in 0..64 {
                    let Some(Flying { from, to, bytes }) = self.flying.pop_front() else { break };
                    self.now += Duration::from_millis(1);
                    self.arrive(from, to, &bytes);
                }
            }
            Step::Lose(which) => drop(self.flying.remove(usize::from(which) % self.flying.len().max(1))),
            Step::Replay(which) => {
                if let Some((from, to, bytes)) = self.logged(which) {
                    self.arrive(from, to, &bytes);
                }
            }
            Step::Change { which, at, xor } => {
                if let Some((from, to, mut bytes)) = self.logged(which) {
                    let at = usize::from(at) % bytes.len().max(1);
                    bytes.iter_mut().skip(at).zip(xor).for_each(|(byte, xor)| *byte ^= xor);
                    self.arrive(from, to, &bytes);
                }
            }
            Step::Cut { which, from: start, len } => {
                if let Some((from, to, bytes)) = self.logged(which) {
                    let start = usize::from(start) % bytes.len().max(1);
                    let end = (start + usize::from(len)).min(bytes.len());
                    self.arrive(from, to, &bytes[start..end]);
                }
            }
            Step::Join { one, other } => {
                if let (Some((from, to, mut bytes)), Some((_, _, more))) = (self.logged(one), self.logged(other)) {
                    bytes.extend_from_slice(&more);
                    self.arrive(from, to, &bytes);
                }
            }
            Step::Forge { to, from, bytes } => {
                self.arrive(self.anybody(from), address(usize::from(to) % (CLIENTS + 1)), bytes);
            }
            Step::Record { to, from, kind, epoch, sequence, body } => {
                let record = record(20 + kind % 7, epoch % 4, sequence, body);
                self.arrive(self.anybody(from), address(usize::from(to) % (CLIENTS + 1)), &record);
            }
            Step::Handshake { to, from, kind, message_seq, body } => {
                let [.., a, b, c] = (body.len() as u32).to_be_bytes();
                let mut message = vec![kind % 25, a, b, c, 0, message_seq % 8, 0, 0, 0, a, b, c];
                message.extend_from_slice(body);
                let record = record(22, 0, u16::from(message_seq), &message);
                self.arrive(self.anybody(from), address(usize::from(to) % (CLIENTS + 1)), &record);
            }
            Step::Unreachable { at, whom } => {
                let whom = self.anybody(whom);
                self.nodes[usize::from(at) % (CLIENTS + 1)].handle_unreachable(self.now, Peer::Udp(whom));
            }
            Step::Pass { millis } => self.pass(Duration::from_millis(millis.into())),
            Step::PassMinutes { count } => self.pass(Duration::from_secs(u64::from(count) * 60)),
            Step::Disconnect { client } => {
                let client = clients(client);
                let to = address(SERVER);
                if let Ok(session) = self.nodes[client].connect(self.now, to, 0, &SECURITIES.clients[client], None) {
                    self.nodes[client].disconnect(self.now, session);
                }
            }
            Step::DisconnectAll => self.nodes[SERVER].disconnect_all(self.now),
        }
        self.collect();
    }

    fn end(&mut self) {
        self.pass(Duration::from_secs(1_000));
        assert!(self.open.is_empty(), "{} requests have no outcome", self.open.len());
        for node in &mut self.nodes {
            let stats = node.session_stats();
            assert_eq!((stats.half_open, stats.opening), (0, 0));
            node.disconnect_all(self.now);
        }
        self.collect();
        let left: BTreeSet<_> = self.nodes.iter().map(|node| node.session_stats().sessions).collect();
        assert_eq!(left, BTreeSet::from([0]));
    }
}

fn record(kind: u8, epoch: u8, sequence: u16, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0];
    record.extend_from_slice(&sequence.to_be_bytes());
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(body);
    record
}

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    let mut world = World::new();
    // Most of what can be found needs a session.
    if bool::arbitrary(&mut input).unwrap_or(false) {
        world.step(Step::Ask { client: 0, confirmable: true });
        world.step(Step::DeliverAll);
    }
    for _ in 0..100 {
        let Ok(step) = Step::arbitrary(&mut input) else { break };
        world.step(step);
        if input.is_empty() {
            break;
        }
    }
    world.end();
});
