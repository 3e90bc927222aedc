//! TRN: between the endpoint and the network.

use core::net::SocketAddr;

use coap_core::{Code, Config, Failure, Local, Peer, Place, Response, TopicOptions, Type, UdpAddr, UnprovenLimit};
use coap_driver::RecvBatch;
use coap_driver::router::{Router, get};
use hex_literal::hex;

use crate::rig::{Rig, con, content, empty, encode, peer, secs};

#[test]
fn trn_04_a_datagram_longer_than_the_buffer_is_dropped() {
    let from = UdpAddr::new(SocketAddr::from(([192, 0, 2, 1], 5_683)));
    let mut batch = RecvBatch::new(8);
    assert!(batch.push_datagram(from, None, 0, &hex!("41 01 1234 0b b1 61 ff 78")));
    assert!(batch.push_datagram(from, None, 0, &hex!("41 01 1234 0b b1 61")));
    assert_eq!((batch.iter().count(), batch.too_long()), (1, 1));
}

#[test]
fn trn_05_a_response_leaves_from_where_the_request_came_to() {
    let mut rig = Rig::new();
    let local = Local { socket: 3, ip: Some("192.0.2.9".parse().unwrap()), interface: 2, group: None };
    rig.receive_at(peer(1), local, &hex!("41 01 1234 0b b1 61"));
    let incoming = rig.handed_up();
    rig.pass(secs(1));
    rig.respond(incoming.id, content("hi"));
    // The acknowledgement, the separate response and its repetitions.
    rig.pass(secs(100));
    assert_eq!(rig.sent.len(), 1 + 5);
    assert!(rig.sent.iter().all(|(transmit, _)| (transmit.to, transmit.from) == (peer(1), local)));
}

#[test]
fn trn_06_a_report_about_another_peer_or_an_acknowledged_request_has_no_effect() {
    let mut rig = Rig::new();
    let (first, second) = (rig.get(peer(1)), rig.get(peer(2)));
    let (_, request) = rig.sent();
    rig.sent();
    rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
    let other_host = Peer::from(SocketAddr::from(([192, 0, 2, 2], 1_001)));
    for reported in [peer(3), other_host, peer(1)] {
        rig.endpoint.handle_unreachable(rig.now, reported);
        rig.drain();
    }
    rig.said_nothing();
    assert_eq!((rig.endpoint.place(first), rig.endpoint.place(second)), (Some(Place::Sent), Some(Place::Sent)));
    // One that matches a request without an acknowledgement ends it.
    rig.endpoint.handle_unreachable(rig.now, peer(2));
    rig.drain();
    let (failed, reason, _) = rig.failure();
    assert_eq!((failed, reason), (second, Failure::Unreachable));
    assert_eq!(rig.endpoint.place(first), Some(Place::Sent));
}

#[test]
fn trn_07_a_handler_that_panics_is_5_00_and_the_others_go_on() {
    async fn fails() -> &'static str {
        panic!("on purpose, in a test")
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = coap_tokio::Server::bind("127.0.0.1:0").await.unwrap();
        let at = server.local_addr().unwrap();
        let router = Router::new().route("/fails", get(fails)).route("/works", get(async || "works"));
        let serving = tokio::spawn(server.serve(router));
        let client = coap_tokio::Client::bind("127.0.0.1:0").await.unwrap();
        let failed = client.get(format!("coap://{at}/fails")).await.unwrap();
        assert_eq!(failed.code, Code::INTERNAL_SERVER_ERROR);
        let works = client.get(format!("coap://{at}/works")).await.unwrap();
        assert_eq!((works.code, works.text()), (Code::CONTENT, Some("works")));
        serving.abort();
    });
}

/// RFC 9175 §2.4, with its 62 bytes of headers for each datagram: acknowledgement, separate response, notifications and all
/// their repetitions together.
#[test]
fn trn_08_an_unproven_address_is_sent_at_most_three_times_what_came_from_it() {
    const HEADERS: usize = 62;
    for (slow, observes, len) in [(true, false, 0), (true, false, 1_000), (false, true, 20), (true, true, 1_000)] {
        let mut rig = Rig::with(Config::builder().unproven_limit(UnprovenLimit::All).build().unwrap());
        let topic = rig.endpoint.open_topic(TopicOptions::new());
        let mut request = con(Code::GET, 1, &["a"]);
        if observes {
            request.options.set_observe(0);
        }
        let request = encode(&request);
        rig.receive(peer(1), &request);
        let id = rig.handed_up().id;
        rig.pass(secs(u64::from(slow)));
        let state = |n| Response::new(Code::CONTENT).with_body(vec![n; len]);
        if observes {
            rig.endpoint.accept_observer(rig.now, id, topic, state(0)).unwrap();
            rig.drain();
        } else {
            rig.respond(id, state(0));
        }
        for n in 1..50 {
            rig.endpoint.publish(rig.now, topic, state(n));
            rig.drain();
            rig.pass(secs(5));
        }
        let sent: usize = rig.sent.iter().map(|(_, bytes)| HEADERS + bytes.len()).sum();
        assert!(sent <= 3 * (HEADERS + request.len()), "{sent}");
        assert!(rig.sent.iter().all(|(_, bytes)| bytes.len() <= 136));
        assert!(rig.endpoint.stats().unproven_withheld > 0, "{slow} {observes} {len} {:?}", rig.sent);
    }
}
