//! MUL: requests to groups (RFC 7252 §8; RFC 7390 §2.5).

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeSet;

use coap_core::{Code, Event, Local, Peer, Request, RequestError, RequestOptions, Response, Type};
use coap_driver::router::{Router, get};
use coap_sim::Sim;
use hex_literal::hex;

use crate::rig::{Rig, answer, content, list, peer, secs};

fn group() -> Peer {
    Peer::from("[ff02::fd%1]:5683".parse::<SocketAddr>().unwrap())
}

#[test]
fn mul_01_a_group_request_is_sent_once_with_a_message_id_that_no_unicast_peer_has() {
    let mut rig = Rig::new();
    let refused = rig.endpoint.request(rig.now, group(), Request::get(), &RequestOptions::new());
    assert_eq!(refused, Err(RequestError::ConfirmableMulticast));
    let (mut to_groups, mut to_peers) = (BTreeSet::new(), BTreeSet::new());
    for n in 0..300 {
        rig.request(group(), &RequestOptions::new().non_confirmable());
        let (_, request) = rig.sent();
        assert_eq!(request.kind, Type::NonConfirmable);
        assert!(to_groups.insert(request.message_id));
        rig.get(peer(n));
        to_peers.insert(rig.sent().1.message_id);
    }
    assert!(to_groups.is_disjoint(&to_peers));
    rig.pass(secs(200));
    assert!(rig.sent.drain(..).all(|(transmit, _)| transmit.to != group()));
}

#[test]
fn mul_02_responses_are_matched_by_token_alone_for_250_seconds() {
    let mut rig = Rig::new();
    let id = rig.request(group(), &RequestOptions::new().non_confirmable());
    let (_, request) = rig.sent();
    for n in 0..20 {
        rig.pass(secs(12));
        // From anywhere, under any Message ID.
        rig.receive(peer(n), &answer(Type::NonConfirmable, Code::CONTENT, 7 * n, &request, b"hi"));
        let Event::Response { id: of, from, .. } = rig.event() else { panic!("no response") };
        assert_eq!((of, from), (id, peer(n)));
    }
    rig.pass(secs(9));
    rig.said_nothing();
    rig.pass(secs(1));
    assert!(matches!(rig.event(), Event::Finished { id: of } if of == id));
    rig.receive(peer(99), &answer(Type::NonConfirmable, Code::CONTENT, 1, &request, b"late"));
    rig.said_nothing();
    rig.sent_nothing();
}

#[test]
fn mul_03_what_is_wrong_with_a_group_request_is_met_with_silence() {
    let mut rig = Rig::serving();
    for datagram in list([
        // An error, an unknown critical option, a proxy, a format error, a confirmable, a ping, a response.
        &hex!("51 01 9001 61 b3 6e6f6e"),
        &hex!("51 01 9002 61 b4 74657374 e2 fcd1 7a7a"),
        &hex!("51 01 9003 0b dd1607 636f61703a2f2f6578616d706c652e6e65742f78"),
        &hex!("41 01 9004 61 b4 74657374 ff"),
        &hex!("41 01 9005 61 b4 74657374"),
        &hex!("40 00 9006"),
        &hex!("41 45 9007 0b ff 78"),
    ]) {
        rig.receive_multicast(peer(1), datagram);
    }
    rig.pass(secs(100));
    rig.sent_nothing();
    assert_eq!(rig.runs(Code::GET, "/test"), 0);
}

#[test]
fn mul_04_a_group_request_is_answered_within_the_leisure_from_a_unicast_address() {
    let mut waits = Vec::new();
    let mut rig = Rig::new();
    for n in 0..200 {
        rig.receive_multicast(peer(n), &hex!("51 01 9001 61 b1 61"));
        let incoming = rig.handed_up();
        rig.respond(incoming.id, content("hi"));
        let start = rig.now;
        while rig.sent.is_empty() {
            rig.now = rig.endpoint.poll_timeout().unwrap();
            rig.endpoint.handle_timeout(rig.now);
            rig.drain();
        }
        waits.push(rig.now - start);
        let (transmit, _) = &rig.sent[0];
        assert_eq!((transmit.to, transmit.from), (peer(n), Local { group: None, ..transmit.from }));
        assert_eq!(rig.sent().1.kind, Type::NonConfirmable);
    }
    assert!(waits.iter().all(|wait| *wait <= secs(5)), "{waits:?}");
    for second in 0..5 {
        let count = waits.iter().filter(|wait| wait.as_secs() == second).count();
        // 40 expected, with a standard deviation of 6.
        assert!((16..64).contains(&count), "{waits:?}");
    }
}

#[test]
fn mul_06_discovery_that_finds_nothing_is_silent_to_a_group() {
    let mut rig = Rig::serving();
    // GET /.well-known/core?rt=none, to the group and then to us alone.
    let query = hex!("51 01 9001 61 bb 2e77656c6c2d6b6e6f776e 04 636f7265 47 72743d6e6f6e65");
    rig.receive_multicast(peer(1), &query);
    rig.pass(secs(100));
    rig.sent_nothing();
    rig.receive(peer(2), &query);
    assert_eq!(rig.sent().1.code, Code::CONTENT);
}

#[test]
fn mul_07_a_server_joins_all_coap_nodes_and_knows_what_was_sent_to_them() {
    let mut sim = Sim::from_env(1);
    let (host, asking) = (sim.host("server"), sim.host("client"));
    let groups = ["224.0.1.187", "ff02::fd", "ff05::fd"];
    let joined = groups.iter().fold(host.builder().bind("[::]:5683"), |builder, group| {
        builder.join(group.parse::<IpAddr>().unwrap(), Some("eth0"))
    });
    let server = sim.block_on(joined.server()).unwrap();
    let _serving = sim.spawn(server.serve(Router::new().route("/quiet", get(async || "quiet").rt("quiet"))));
    let client = sim.block_on(asking.client()).unwrap();
    for group in ["224.0.1.187", "[ff02::fd%25eth0]", "[ff05::fd]"] {
        let mut asked = |path: &str| {
            let request = client.get(format!("coap://{group}{path}")).timeout(secs(20));
            sim.block_on(async {
                let mut responses = request.multicast().await.unwrap();
                responses.next().await.map(|(from, reply)| (from.udp().unwrap().ip(), reply.unwrap().code))
            })
        };
        let ip = if group.starts_with('[') { host.ip() } else { host.ipv4() };
        assert_eq!(asked("/.well-known/core"), Some((ip, Code::CONTENT)), "{group}");
        // Taken for a request to a group: this route is for one peer at a time.
        assert_eq!(asked("/quiet"), None, "{group}");
    }
    let alone = sim.block_on(async { client.get(format!("coap://[{}]/quiet", host.ip())).await }).unwrap();
    assert_eq!(alone.code, Code::CONTENT);
}

#[test]
fn mul_09_no_response_asks_a_group_for_what_would_be_suppressed() {
    let mut rig = Rig::new();
    // No-Response 2: all but 2.xx.
    rig.receive_multicast(peer(1), &hex!("51 01 9001 61 b1 61 d1ea 02"));
    let incoming = rig.handed_up();
    rig.respond(incoming.id, Response::new(Code::NOT_FOUND));
    rig.pass(secs(5));
    assert_eq!(rig.sent().1.code, Code::NOT_FOUND);
}
