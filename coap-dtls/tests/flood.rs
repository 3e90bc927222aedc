//! Hellos of addresses that are not theirs: nothing is kept of them, and they are answered with less than they bring.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod common;

use core::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use coap_core::{Datagram, Instant, Local, Peer, UdpAddr};
use coap_dtls::{Limits, SecureEndpoint, ServerSecurity};
use common::*;

/// The first hello of a client.
fn hello(mode: Mode) -> Vec<u8> {
    let (client, server) = pair(mode);
    let mut wire = Wire::new(&server);
    wire.connect(CLIENT, &client);
    wire.run(LATENCY / 2);
    wire.log[0].bytes.clone()
}

/// A server, and what it sends.
struct Flooded {
    server: SecureEndpoint,
    now: Instant,
    sent: usize,
}

impl Flooded {
    fn new(security: &ServerSecurity, limits: Limits) -> Self {
        let mut node = Node::new("192.0.2.9:5684", limits, 1);
        node.endpoint.listen(0, security).unwrap();
        Self { server: node.endpoint, now: Instant::from_secs(1), sent: 0 }
    }

    /// A datagram of this address; the longest answer, and how many bytes there were.
    fn receive(&mut self, from: u32, bytes: &Bytes) -> usize {
        let addr = SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + from), 5_000));
        let from = Peer::Udp(UdpAddr::new(addr));
        let datagram = Datagram { from, to: Local::default(), payload: bytes.clone() };
        self.server.handle_datagram(self.now, datagram);
        self.drain()
    }

    fn drain(&mut self) -> usize {
        let mut buf = vec![0; self.server.max_transmit()];
        let mut sent = 0;
        while let Some(transmit) = self.server.poll_transmit(&mut buf) {
            sent += transmit.len;
        }
        self.sent += sent;
        sent
    }

    /// Lets the timers of so many seconds fire, and says what was sent.
    fn pass(&mut self, span: u64) -> usize {
        let end = self.now + secs(span);
        let before = self.sent;
        while let Some(at) = self.server.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.server.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.sent - before
    }
}

#[test]
fn a_hundred_thousand_hellos_leave_nothing_behind() {
    for mode in [Mode::Psk, Mode::Certificates] {
        let hello = Bytes::from(hello(mode));
        let mut flooded = Flooded::new(&pair(mode).1, Limits::default());
        for from in 0..100_000 {
            let answer = flooded.receive(from, &hello);
            assert!(answer == 60 && answer <= hello.len(), "{answer}");
        }
        let stats = flooded.server.session_stats();
        assert_eq!((stats.cookies_sent, stats.begun, stats.half_open), (100_000, 0, 0));
        assert_eq!(flooded.server.poll_timeout(), None, "nothing waits for a timer");
        assert_eq!(flooded.server.usage().peers, 0);
    }
}

#[test]
fn hellos_of_dtls_13_are_half_open_and_bounded_and_sent_nothing_unasked() {
    let hello = Bytes::from(hello(Mode::Dtls13));
    let limits = Limits::builder().max_half_open(100).build().unwrap();
    let mut flooded = Flooded::new(&pair(Mode::Dtls13).1, limits);
    for from in 0..1_000 {
        assert!(flooded.receive(from, &hello) <= hello.len());
        assert!(flooded.server.session_stats().half_open <= 100);
    }
    let stats = flooded.server.session_stats();
    assert_eq!((stats.begun, stats.half_open, stats.half_open_dropped), (1_000, 100, 900));
    // A second hello of the same address, and a third: each is answered with no more than it brings.
    for _ in 0..10 {
        assert!(flooded.receive(999, &hello) <= hello.len());
    }
    assert_eq!(flooded.pass(39), 0);
    assert_eq!(flooded.pass(10), 0);
    let stats = flooded.server.session_stats();
    assert_eq!((stats.half_open, stats.established), (0, 0));
    assert_eq!(flooded.server.poll_timeout(), None);
}

#[test]
fn so_many_hellos_a_second_begin_a_handshake_where_there_is_no_cookie_before_it() {
    let hello = Bytes::from(hello(Mode::Dtls13));
    let limits = Limits::builder().unproven_rate(100).build().unwrap();
    let mut flooded = Flooded::new(&pair(Mode::Dtls13).1, limits);
    for from in 0..1_000 {
        let answer = flooded.receive(from, &hello);
        assert_eq!(answer > 0, from < 100, "{from}: {answer}");
    }
    let stats = flooded.server.session_stats();
    assert_eq!((stats.begun, stats.half_open, stats.hellos_dropped), (100, 100, 900));
    // A tenth of a second brings ten more. What has its place goes on.
    flooded.now += core::time::Duration::from_millis(100);
    for from in 1_000..1_100 {
        flooded.receive(from, &hello);
    }
    assert!(flooded.receive(0, &hello) > 0);
    let stats = flooded.server.session_stats();
    assert_eq!((stats.begun, stats.half_open, stats.hellos_dropped), (110, 110, 990));
}

#[test]
fn hellos_that_are_asked_for_a_cookie_first_are_not_counted() {
    for mode in [Mode::Psk, Mode::Certificates] {
        let hello = Bytes::from(hello(mode));
        let limits = Limits::builder().unproven_rate(1).build().unwrap();
        let mut flooded = Flooded::new(&pair(mode).1, limits);
        assert!((0..100).all(|from| flooded.receive(from, &hello) == 60));
        assert_eq!(flooded.server.session_stats().hellos_dropped, 0);
    }
}

#[test]
fn a_client_gets_its_session_in_the_midst_of_a_flood() {
    for mode in MODES {
        let flood = hello(mode);
        let (client, server) = pair(mode);
        let mut wire = Wire::empty();
        wire.add("192.0.2.1:1000", Limits::default());
        // A client of DTLS 1.3 has its place for as long as it takes to fill all of them: here for a tenth of a second.
        let places = if mode == Mode::Dtls13 { 800 } else { 1 };
        wire.add("192.0.2.9:5684", Limits::builder().max_half_open(places).build().unwrap());
        wire.nodes[SERVER].endpoint.listen(0, &server).unwrap();
        let to = wire.nodes[SERVER].addr;
        let session = wire.connect(CLIENT, &client);
        for tick in 0..100_u32 {
            for n in 0..20 {
                let addr = SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + tick * 20 + n), 5_000));
                wire.inject(UdpAddr::new(addr), to, &flood);
            }
            wire.run(LATENCY / 4);
        }
        assert!(wire.is_open(CLIENT, session), "{mode:?}");
        assert!(wire.works(session));
    }
}

#[test]
fn a_cookie_is_of_no_use_at_another_address() {
    let (client, server) = pair(Mode::Psk);
    let mut wire = Wire::new(&server);
    wire.connect(CLIENT, &client);
    wire.settle();
    let second = wire.sent(CLIENT, 0)[1].bytes.clone();
    let before = wire.log.len();
    for other in ["192.0.2.1:1001", "192.0.2.2:1000"] {
        wire.inject(udp(other), udp("192.0.2.9:5684"), &second);
    }
    wire.settle();
    let stats = wire.nodes[SERVER].endpoint.session_stats();
    assert_eq!((stats.cookies_wrong, stats.half_open, stats.begun), (2, 0, 1));
    assert_eq!(wire.sent(SERVER, before).iter().map(|flying| flying.bytes.len()).collect::<Vec<_>>(), [60, 60]);
}

#[test]
fn clients_that_have_proven_their_address_and_go_silent_are_bounded_too() {
    let (client, server) = pair(Mode::Psk);
    let mut wire = Wire::empty();
    wire.add("192.0.2.1:1000", Limits::default());
    wire.add("192.0.2.9:5684", Limits::builder().max_half_open(5).build().unwrap());
    wire.nodes[SERVER].endpoint.listen(0, &server).unwrap();
    let silent: Vec<_> = (0..20).map(|n| wire.add(&format!("192.0.2.100:{}", 2_000 + n), Limits::default())).collect();
    // They get a cookie and answer it, and no flight after that arrives.
    let mut hellos = std::collections::HashMap::new();
    wire.fate = Some(Box::new(move |flying| {
        let count: &mut usize = hellos.entry(flying.from).or_default();
        *count += 1;
        let arrives = *count <= 2 || flying.from.ip() != udp("192.0.2.100:1").ip();
        if arrives { vec![flying.bytes.clone()] } else { Vec::new() }
    }));
    for node in silent {
        wire.connect(node, &client);
        wire.run(LATENCY);
    }
    wire.settle();
    let stats = wire.nodes[SERVER].endpoint.session_stats();
    assert_eq!((stats.begun, stats.half_open, stats.half_open_dropped), (20, 5, 15));
    let session = wire.connect(CLIENT, &client);
    wire.settle();
    assert!(wire.works(session));
    wire.run(secs(60));
    assert_eq!(wire.nodes[SERVER].endpoint.session_stats().half_open, 0, "they end by their deadline");
}
