//! DTL and TRN: handshakes and records, as far as `coap-dtls` sees to them (RFC 7252 §9, RFC 6347).

use bytes::Bytes;
use coap_core::{Code, Datagram, Failure, Local, Peer, SessionEnd, Uri};
use coap_dtls::{ClientPsk, Limits, SecurityConfig};

use crate::wire::{CLIENT, LATENCY, Mode, Node, SERVER, Wire, pair, psk_client, psk_server, secs, udp};

#[test]
fn dtl_01_neither_side_answers_in_the_other_way() {
    assert_eq!("coaps://sensor.example".parse::<Uri>().unwrap().port(), 5_684);
    let (mut wire, session) = Wire::open(Mode::Psk);
    let (client, server) = (wire.nodes[CLIENT].addr, wire.nodes[SERVER].addr);
    // A request in the clear, Confirmable and not, and an empty message: not even a Reset.
    let before = wire.log.len();
    for request in [&b"\x40\x01\x00\x01"[..], b"\x50\x01\x00\x02", b"\x40\x00\x00\x03"] {
        wire.inject(client, server, request);
    }
    wire.run(secs(10));
    assert!(wire.sent(SERVER, before).is_empty() && wire.nodes[SERVER].served.is_empty());

    // Each answer in the clear that could acknowledge or reset the request in the session.
    wire.fate = Some(Box::new(|_| Vec::new()));
    let request = wire.get(CLIENT, session);
    wire.run(LATENCY);
    for id in 0..=u16::MAX {
        let [high, low] = id.to_be_bytes();
        for answer in [[0x60, 0x00, high, low], [0x70, 0x00, high, low], [0x60, 0x45, high, low]] {
            let payload = Bytes::copy_from_slice(&answer);
            let datagram = Datagram { from: Peer::Udp(server), to: Local::default(), payload };
            wire.nodes[CLIENT].endpoint.handle_datagram(wire.now, datagram);
        }
    }
    wire.run(secs(1));
    assert_eq!((wire.answer(CLIENT, request), wire.failure(CLIENT, request)), (None, None));
    wire.fate = None;
    wire.run(secs(10));
    assert_eq!(wire.answer(CLIENT, request), Some(Code::CONTENT), "it was repeated in its session");
}

#[test]
fn dtl_06_keys_use_the_mandatory_suite_and_a_wrong_one_is_an_error_that_says_so() {
    const PSK_CCM_8: [u8; 2] = [0xc0, 0xa8];
    let (wire, _) = Wire::open(Mode::Psk);
    // ServerHello: headers (25), version, random, an empty session_id, the suite.
    let hello = &wire.sent(SERVER, 0)[1].bytes;
    assert_eq!((hello[13], &hello[60..62]), (2, &PSK_CCM_8[..]));

    let mut wire = Wire::new(&psk_server());
    let wrong = SecurityConfig::client(ClientPsk::new("client", "not its key").unwrap()).build().unwrap();
    let session = wire.connect(CLIENT, &wrong);
    let request = wire.get(CLIENT, session);
    wire.run(secs(10));
    // decrypt_error: RFC 4279 §2.
    assert_eq!(wire.failure(CLIENT, request), Some(Failure::Session(SessionEnd::Alert(51))));
    assert!(wire.nodes[SERVER].endpoint.session_stats().failed.wrong_key > 0);
}

#[test]
fn dtl_10_replayed_records_are_dropped() {
    let (mut wire, session) = Wire::open(Mode::Psk);
    for _ in 0..70 {
        assert!(wire.works(session));
    }
    let log = wire.log.clone();
    let duplicates = wire.nodes[SERVER].endpoint.stats().duplicates;
    for flying in &log {
        wire.inject(flying.from, flying.to, &flying.bytes);
    }
    wire.run(secs(10));
    // They do not come as far as the message layer.
    assert_eq!(wire.nodes[SERVER].endpoint.stats().duplicates, duplicates);
    assert_eq!((wire.nodes[SERVER].served.len(), wire.nodes[CLIENT].answers.len()), (70, 70));
    assert!(wire.works(session));
}

/// The first hello of a client, and the one that answers a cookie.
fn hellos() -> [Vec<u8>; 2] {
    let (wire, _) = Wire::open(Mode::Psk);
    let sent = wire.sent(CLIENT, 0);
    [sent[0].bytes.clone(), sent[1].bytes.clone()]
}

#[test]
fn dtl_11_a_flood_of_hellos_makes_no_state() {
    let [hello, _] = hellos();
    let mut wire = Wire::new(&psk_server());
    let server = wire.nodes[SERVER].addr;
    for host in 1..=100 {
        for port in 1..=100 {
            wire.inject(udp(&format!("198.51.100.{host}:{port}")), server, &hello);
        }
        wire.run(LATENCY);
    }
    wire.settle();
    let stats = wire.nodes[SERVER].endpoint.session_stats();
    assert_eq!((stats.cookies_sent, stats.begun, stats.half_open), (10_000, 0, 0));
    assert!(wire.sent(SERVER, 0).iter().all(|answer| answer.bytes.len() <= hello.len()));
    assert_eq!(wire.nodes[SERVER].endpoint.poll_timeout(), None);

    // And of those that answer their cookie, no more than there is room for.
    let mut wire = Wire::empty();
    wire.add("192.0.2.1:1000", Limits::default());
    wire.add("192.0.2.9:5684", Limits::builder().max_half_open(4).build().unwrap());
    wire.nodes[SERVER].endpoint.listen(0, &psk_server()).unwrap();
    wire.fate = Some(Box::new(|flying| {
        // Nothing after the second hello arrives.
        let is_hello = [Some(&1), Some(&3)].contains(&flying.bytes.get(13));
        if is_hello { vec![flying.bytes.clone()] } else { Vec::new() }
    }));
    for port in 0..20 {
        let node = wire.add(&format!("192.0.2.2:{}", 1_000 + port), Limits::default());
        wire.connect(node, &psk_client());
        wire.run(LATENCY * 4);
        assert!(wire.nodes[SERVER].endpoint.session_stats().half_open <= 4);
    }
    assert_eq!(wire.nodes[SERVER].endpoint.session_stats().half_open_dropped, 16);
}

#[test]
fn trn_09_a_cookie_belongs_to_an_address() {
    let (mut wire, _) = Wire::open(Mode::Psk);
    let second = wire.sent(CLIENT, 0)[1].bytes.clone();
    let before = wire.log.len();
    wire.inject(udp("192.0.2.1:1001"), udp("192.0.2.9:5684"), &second);
    wire.settle();
    let stats = wire.nodes[SERVER].endpoint.session_stats();
    assert_eq!((stats.cookies_wrong, stats.begun, stats.half_open), (1, 1, 0));
    // A HelloVerifyRequest again.
    let answers = wire.sent(SERVER, before);
    assert_eq!((answers.len(), answers[0].bytes[13]), (1, 3));
}

#[test]
fn trn_10_a_forged_hello_or_alert_does_not_end_an_association() {
    let (client, server) = pair(Mode::Psk);
    let mut wire = Wire::new(&server);
    let session = wire.connect(CLIENT, &client);
    wire.settle();
    let [hello, _] = hellos();
    let addresses = [wire.nodes[CLIENT].addr, wire.nodes[SERVER].addr];
    for number in 0..=255 {
        let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 1, number, 0, 2, 2, number];
        wire.inject(addresses[CLIENT], addresses[SERVER], &alert);
        wire.inject(addresses[SERVER], addresses[CLIENT], &alert);
    }
    wire.inject(addresses[CLIENT], addresses[SERVER], &hello);
    assert!(wire.works(session));

    // Until a new handshake is done: of one that has restarted.
    let old = wire.nodes[SERVER].served[0];
    wire.nodes[CLIENT] = Node::new("192.0.2.1:1000", Limits::default(), 9);
    let session = wire.connect(CLIENT, &client);
    wire.run(LATENCY * 4);
    let Peer::Session(old) = old else { panic!("not in a session") };
    assert!(wire.nodes[SERVER].endpoint.session(old).is_some(), "its handshake is not done");
    assert!(wire.works(session));
    assert!(wire.nodes[SERVER].endpoint.session(old).is_none());
}
