//! NEG: formats, conditions and entity-tags (RFC 7252 §5.10.4, §5.10.6, §5.10.8).

use coap_core::{Code, ContentFormat, Message, OptionNumber, Type};
use hex_literal::hex;

use crate::rig::{Rig, encode, path};

fn request(code: Code, message_id: u16, at: &str, options: &[(OptionNumber, &[u8])]) -> Vec<u8> {
    let mut message = Message::empty(Type::Confirmable, message_id);
    message.code = code;
    message.options = path(&[at]);
    for (number, value) in options {
        message.options.push(*number, value).unwrap();
    }
    if code == Code::PUT {
        message.payload = "new".into();
    }
    encode(&message)
}

#[test]
fn neg_01_an_accepted_format_is_what_comes() {
    let mut rig = Rig::serving();
    for (message_id, accept, format) in
        [(1, &[][..], ContentFormat::TEXT_PLAIN), (2, &[41], ContentFormat::XML), (3, &[0, 41], ContentFormat::XML)]
    {
        let reply = rig.ask(&request(Code::GET, message_id, "multi-format", &[(OptionNumber::ACCEPT, accept)]));
        assert_eq!((reply.code, reply.options.content_format()), (Code::CONTENT, Some(format)));
    }
}

#[test]
fn neg_02_a_format_that_is_not_offered_is_4_06() {
    let mut rig = Rig::serving();
    let reply = rig.ask(&request(Code::GET, 1, "multi-format", &[(OptionNumber::ACCEPT, &[47])]));
    assert_eq!((reply.code, reply.options.content_format()), (Code::NOT_ACCEPTABLE, None));
}

#[test]
fn neg_03_accept_on_a_missing_resource_is_4_04() {
    let mut rig = Rig::serving();
    let reply = rig.ask(&request(Code::GET, 1, "nothing", &[(OptionNumber::ACCEPT, &[47])]));
    assert_eq!(reply.code, Code::NOT_FOUND);
}

#[test]
fn neg_08_if_match_performs_or_is_4_12() {
    let mut rig = Rig::serving();
    let etag = rig.ask(&request(Code::GET, 1, "validate", &[])).options.etag().unwrap();
    for (message_id, at, if_match, code) in [
        (2, "validate", &hex!("deadbeef")[..], Code::PRECONDITION_FAILED),
        (3, "validate", etag.as_bytes(), Code::CHANGED),
        (4, "validate", etag.as_bytes(), Code::PRECONDITION_FAILED),
        (5, "validate", &[], Code::CHANGED),
        (6, "create1", &[], Code::PRECONDITION_FAILED),
    ] {
        let reply = rig.ask(&request(Code::PUT, message_id, at, &[(OptionNumber::IF_MATCH, if_match)]));
        assert_eq!(reply.code, code, "request {message_id}");
    }
}

#[test]
fn neg_10_a_failed_condition_changes_nothing() {
    let mut rig = Rig::serving();
    let before = rig.content("/validate");
    for (message_id, at, condition) in [
        (1, "validate", (OptionNumber::IF_MATCH, &hex!("deadbeef")[..])),
        (2, "validate", (OptionNumber::IF_NONE_MATCH, &[])),
        (3, "create1", (OptionNumber::IF_MATCH, &[])),
    ] {
        let reply = rig.ask(&request(Code::PUT, message_id, at, &[condition]));
        assert_eq!(reply.code, Code::PRECONDITION_FAILED);
    }
    assert_eq!((rig.content("/validate"), rig.content("/create1")), (before, None));
    let reply = rig.ask(&request(Code::DELETE, 4, "validate", &[(OptionNumber::IF_MATCH, &hex!("deadbeef"))]));
    assert_eq!(reply.code, Code::PRECONDITION_FAILED);
    assert!(rig.content("/validate").is_some());
}

#[test]
fn neg_11_a_response_has_one_etag_and_each_representation_its_own() {
    let mut rig = Rig::serving();
    let mut seen = Vec::new();
    for message_id in 0..10 {
        let reply = rig.ask(&request(Code::GET, 2 * message_id, "validate", &[]));
        let tags: Vec<_> = reply.options.get_all(OptionNumber::ETAG).map(<[u8]>::to_vec).collect();
        assert_eq!(tags.len(), 1);
        assert!((1..=8).contains(&tags[0].len()) && !seen.contains(&tags[0]));
        seen.extend(tags);
        rig.ask(&request(Code::PUT, 2 * message_id + 1, "validate", &[]));
    }
}
