//! MSG: types, codes and Message IDs (RFC 7252 §4.2 to §4.4).

use core::net::SocketAddr;
use std::collections::BTreeSet;

use coap_core::{Code, Failure, Message, Peer, Place, RequestOptions, Response, Token, Type, Why};
use hex_literal::hex;

use crate::rig::{Rig, answer, content, empty, encode, list, peer, secs};

#[test]
fn msg_01_a_ping_is_reset() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("40 00 1234"));
    assert_eq!(rig.sent_bytes(), hex!("70 00 1234"));
    rig.left_no_trace();
}

#[test]
fn msg_02_a_fast_response_rides_on_the_acknowledgement() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("41 01 1234 0b b1 61"));
    let incoming = rig.handed_up();
    rig.respond(incoming.id, content("hi"));
    assert_eq!(rig.sent_bytes(), hex!("61 45 1234 0b c0 ff 6869"));
    rig.pass(secs(300));
    rig.sent_nothing();
}

#[test]
fn msg_04_an_empty_non_confirmable_is_met_with_silence() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("50 00 1234"));
    rig.left_no_trace();
}

#[test]
fn msg_05_an_acknowledgement_with_a_method_changes_nothing() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::GET, request.message_id, &request, b""));
    rig.sent_nothing();
    rig.said_nothing();
    // The request was not taken for acknowledged.
    rig.pass(secs(3));
    assert_eq!(rig.sent().1, request);
}

#[test]
fn msg_06_a_reset_with_a_code_changes_nothing() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, request) = rig.sent();
    for code in [Code::GET, Code::CONTENT, Code::from_byte(0xe1)] {
        rig.receive(peer(1), &answer(Type::Reset, code, request.message_id, &request, b""));
    }
    rig.sent_nothing();
    rig.said_nothing();
    rig.pass(secs(3));
    assert_eq!(rig.sent().1, request);
}

#[test]
fn msg_07_an_acknowledgement_or_a_reset_of_nothing_is_not_answered() {
    let mut rig = Rig::new();
    for datagram in list([
        &hex!("60 00 1234"),
        &hex!("70 00 1234"),
        &hex!("61 45 1234 0b ff 78"),
        &hex!("60 e1 1234"),
        &hex!("70 e1 1234"),
    ]) {
        rig.receive(peer(1), datagram);
    }
    rig.left_no_trace();
}

#[test]
fn msg_09_a_non_confirmable_response_to_nothing_is_met_with_silence() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("51 45 1234 0b ff 78"));
    rig.left_no_trace();
    assert_eq!(rig.endpoint.stats().unmatched, 1);
}

#[test]
fn msg_10_a_confirmable_of_a_reserved_class_is_reset() {
    for code in [0x20, 0x3f, 0xc0, 0xdf, 0xe0, 0xff] {
        let mut rig = Rig::new();
        rig.receive(peer(1), &[0x41, code, 0x12, 0x34, 0x0b]);
        assert_eq!(rig.sent_bytes(), hex!("70 00 1234"));
        rig.left_no_trace();
    }
}

#[test]
fn msg_12_only_the_peer_itself_can_acknowledge_or_reset() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, request) = rig.sent();
    let other_port = peer(2);
    let other_host = Peer::from(SocketAddr::from(([192, 0, 2, 2], 1_001)));
    for stranger in [other_port, other_host] {
        rig.receive(stranger, &empty(Type::Acknowledgement, request.message_id));
        rig.receive(stranger, &empty(Type::Reset, request.message_id));
    }
    rig.sent_nothing();
    rig.said_nothing();
    rig.pass(secs(3));
    assert_eq!(rig.sent().1, request);
}

#[test]
fn msg_13_the_two_directions_have_message_ids_of_their_own() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, request) = rig.sent();
    // The peer's own request happens to have our Message ID.
    let theirs = Message { code: Code::POST, token: Token::new(&[1]).unwrap(), ..request.clone() };
    rig.receive(peer(1), &encode(&theirs));
    let incoming = rig.handed_up();
    rig.respond(incoming.id, Response::new(Code::CHANGED));
    let (_, reply) = rig.sent();
    assert_eq!((reply.kind, reply.message_id), (Type::Acknowledgement, request.message_id));
    // Ours is open as before.
    assert_eq!(rig.endpoint.place(id), Some(Place::Sent));
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"hi"));
    assert_eq!(rig.response().0, id);
}

#[test]
fn msg_14_no_message_id_is_used_twice_within_its_lifetime() {
    let mut rig = Rig::new();
    let mut used = BTreeSet::new();
    let waiting = loop {
        let id = rig.request(peer(1), &RequestOptions::new().non_confirmable().unpaced());
        if rig.sent.is_empty() {
            break id;
        }
        let (_, request) = rig.sent();
        assert!(used.insert(request.message_id), "{:#06x} after {}", request.message_id, used.len());
        rig.receive(peer(1), &answer(Type::NonConfirmable, Code::CONTENT, used.len() as u16, &request, b""));
        rig.response();
    };
    assert!(used.len() > 10_000, "{}", used.len());
    // The space is used up: the next request waits, and is given up unsent when its time is over.
    assert_eq!(rig.endpoint.place(waiting), Some(Place::Waiting { ahead: 0, why: Why::MessageIds }));
    rig.pass(secs(93));
    rig.sent_nothing();
    let (failed, reason, _) = rig.failure();
    assert_eq!((failed, reason), (waiting, Failure::NoMessageId));
    // When the others have had their lifetime there are free ones again.
    rig.pass(secs(154));
    rig.request(peer(1), &RequestOptions::new().non_confirmable().unpaced());
    rig.sent();
}
