//! SEP: a response in a message of its own (RFC 7252 §5.2.2, §5.2.3).

use coap_core::{Code, Message, Type};
use hex_literal::hex;

use crate::rig::{Rig, answer, content, empty, encode, ms, peer, secs};

/// CON GET /a, Message ID 0x1001, token 0b.
const GET: [u8; 7] = hex!("41 01 1001 0b b1 61");

/// A request that was acknowledged and then answered; the response has left once.
fn answered_separately() -> (Rig, Message) {
    let mut rig = Rig::new();
    rig.receive(peer(1), &GET);
    let incoming = rig.handed_up();
    rig.pass(ms(250));
    assert_eq!(rig.sent_bytes(), hex!("60 00 1001"));
    rig.respond(incoming.id, content("hi"));
    let (_, response) = rig.sent();
    assert_eq!((response.kind, response.token.as_bytes()), (Type::Confirmable, &[0x0b][..]));
    (rig, response)
}

#[test]
fn sep_02_a_repeated_request_gets_the_empty_acknowledgement_again() {
    let (mut rig, _) = answered_separately();
    rig.receive(peer(1), &GET);
    assert_eq!(rig.sent_bytes(), hex!("60 00 1001"));
    rig.sent_nothing();
    rig.said_nothing();
}

#[test]
fn sep_03_a_response_without_acknowledgement_is_repeated_and_then_dropped() {
    let (mut rig, response) = answered_separately();
    rig.pass(secs(93));
    let copies: Vec<_> = rig.sent.drain(..).map(|(_, bytes)| bytes).collect();
    assert_eq!(copies, vec![encode(&response); 4]);
    assert_eq!(rig.endpoint.stats().unacknowledged_responses, 1);
    rig.comes_to_rest();
    rig.sent_nothing();
}

#[test]
fn sep_04_a_reset_stops_the_response_at_once() {
    let (mut rig, response) = answered_separately();
    rig.receive(peer(1), &empty(Type::Reset, response.message_id));
    rig.pass(secs(100));
    rig.sent_nothing();
    rig.said_nothing();
}

#[test]
fn sep_05_what_the_acknowledgement_of_a_response_carries_is_ignored() {
    let (mut rig, response) = answered_separately();
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, response.message_id, &response, b"what"));
    rig.pass(secs(100));
    rig.sent_nothing();
    rig.said_nothing();
    assert_eq!(rig.endpoint.stats().acknowledged, 1);
}

#[test]
fn sep_06_a_slow_response_to_a_non_confirmable_is_one_message() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("51 01 1001 0b b1 61"));
    let incoming = rig.handed_up();
    rig.pass(secs(10));
    rig.sent_nothing();
    rig.respond(incoming.id, content("hi"));
    let (_, response) = rig.sent();
    assert_eq!((response.kind, response.code), (Type::NonConfirmable, Code::CONTENT));
    rig.pass(secs(100));
    rig.sent_nothing();
}

#[test]
fn sep_08_after_the_acknowledgement_the_client_waits_and_acknowledges_the_response() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
    rig.pass(secs(60));
    rig.sent_nothing();
    rig.receive(peer(1), &answer(Type::Confirmable, Code::CONTENT, 0x7777, &request, b"hi"));
    assert_eq!(rig.sent_bytes(), hex!("60 00 7777"));
    assert_eq!(rig.response().0, id);
}

#[test]
fn sep_09_a_response_that_overtakes_the_acknowledgement_ends_the_request() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(1), &answer(Type::Confirmable, Code::CONTENT, 0x7777, &request, b"hi"));
    assert_eq!(rig.sent_bytes(), hex!("60 00 7777"));
    assert_eq!(rig.response().0, id);
    rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
    rig.pass(secs(100));
    rig.sent_nothing();
    rig.said_nothing();
}

#[test]
fn sep_10_a_non_confirmable_response_is_taken_and_not_acknowledged() {
    for acknowledged in [false, true] {
        let mut rig = Rig::new();
        let id = rig.get(peer(1));
        let (_, request) = rig.sent();
        if acknowledged {
            rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
        }
        rig.receive(peer(1), &answer(Type::NonConfirmable, Code::CONTENT, 0x7777, &request, b"hi"));
        assert_eq!(rig.response().0, id);
        rig.pass(secs(100));
        rig.sent_nothing();
    }
}
