//! OPT: critical and elective options, their lengths and repetition (RFC 7252 §5.4).

use coap_core::{Code, ContentFormat, Failure, Message, OptionNumber, Options, Type, option_definitions};
use hex_literal::hex;

use crate::rig::{Rig, encode, peer, secs, to_test};

/// The response to CON GET /test with these options beside the path.
fn get_test(options: &[(OptionNumber, &[u8])]) -> (Rig, Message) {
    let mut rig = Rig::serving();
    let reply = rig.ask(&to_test(Code::GET, 0x1234, options));
    (rig, reply)
}

#[track_caller]
fn is_refused(options: &[(OptionNumber, &[u8])]) {
    let (rig, reply) = get_test(options);
    assert_eq!((reply.kind, reply.code, reply.message_id), (Type::Acknowledgement, Code::BAD_OPTION, 0x1234));
    assert_eq!(rig.runs(Code::GET, "/test"), 0);
}

#[track_caller]
fn is_served(options: &[(OptionNumber, &[u8])]) {
    let (rig, reply) = get_test(options);
    assert_eq!((reply.kind, reply.code, reply.message_id), (Type::Acknowledgement, Code::CONTENT, 0x1234));
    assert_eq!(rig.runs(Code::GET, "/test"), 1);
}

/// What a client does with an ACK that carries a response with this option.
fn answered_with(number: OptionNumber, value: &[u8]) -> Rig {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, request) = rig.sent();
    let mut options = Options::new();
    options.push_raw(number, value).unwrap();
    rig.receive(peer(1), &encode(&Message { kind: Type::Acknowledgement, code: Code::CONTENT, options, ..request }));
    rig
}

#[test]
fn opt_01_an_unknown_critical_option_is_4_02_and_the_handler_does_not_run() {
    let mut rig = Rig::serving();
    let reply = rig.ask(&hex!("41 01 1234 0b b4 74657374 e2 fcd1 7a7a"));
    assert_eq!((reply.kind, reply.code, reply.message_id), (Type::Acknowledgement, Code::BAD_OPTION, 0x1234));
    assert_eq!((reply.token.as_bytes(), rig.runs(Code::GET, "/test")), (&[0x0b][..], 0));
}

#[test]
fn opt_02_the_4_02_names_the_option() {
    let (_, reply) = get_test(&[(OptionNumber::new(65_001), b"zz")]);
    let text = core::str::from_utf8(&reply.payload).unwrap();
    assert!(text.contains("65001"), "{text}");
    let (_, reply) = get_test(&[(OptionNumber::IF_NONE_MATCH, b"z")]);
    let text = core::str::from_utf8(&reply.payload).unwrap();
    assert!(text.contains("If-None-Match"), "{text}");
}

#[test]
fn opt_04_an_unknown_elective_option_is_ignored() {
    is_served(&[(OptionNumber::new(65_000), b"zz")]);
    is_served(&[(OptionNumber::new(65_000), b"zz"), (OptionNumber::new(65_000), b"")]);
}

#[test]
fn opt_05_an_unknown_critical_option_in_a_response_rejects_it() {
    let mut rig = answered_with(OptionNumber::new(65_001), b"x");
    assert_eq!(rig.failure().1, Failure::CriticalOption(OptionNumber::new(65_001)));
    // Silently: it came on an acknowledgement.
    rig.pass(secs(100));
    rig.sent_nothing();
    rig.said_nothing();
}

#[test]
fn opt_07_an_elective_option_that_is_unknown_or_too_long_does_not_stop_a_response() {
    for (number, value) in [(OptionNumber::new(65_000), &b"x"[..]), (OptionNumber::ETAG, b"123456789")] {
        let mut rig = answered_with(number, value);
        let (_, response) = rig.response();
        assert_eq!((response.code, response.options.etag()), (Code::CONTENT, None));
    }
}

#[test]
fn opt_08_a_critical_option_of_the_wrong_length_is_4_02() {
    for (number, length) in [
        (OptionNumber::URI_PORT, 4),
        (OptionNumber::ACCEPT, 3),
        (OptionNumber::IF_NONE_MATCH, 1),
        (OptionNumber::IF_MATCH, 9),
        (OptionNumber::URI_HOST, 0),
        (OptionNumber::URI_QUERY, 256),
        (OptionNumber::BLOCK1, 4),
    ] {
        is_refused(&[(number, &vec![b'1'; length])]);
    }
}

#[test]
fn opt_09_an_elective_option_of_the_wrong_length_is_ignored() {
    for (number, length) in [
        (OptionNumber::ETAG, 0),
        (OptionNumber::ETAG, 9),
        (OptionNumber::CONTENT_FORMAT, 3),
        (OptionNumber::OBSERVE, 4),
        (OptionNumber::SIZE1, 5),
    ] {
        is_served(&[(number, &vec![1; length])]);
    }
}

#[test]
fn opt_12_options_that_a_request_does_not_have_are_ignored() {
    is_served(&[(OptionNumber::MAX_AGE, &[1])]);
    is_served(&[(OptionNumber::LOCATION_PATH, b"x"), (OptionNumber::LOCATION_QUERY, b"y")]);
}

#[test]
fn opt_14_oscore_is_4_02_where_it_is_not_spoken() {
    is_refused(&[(OptionNumber::OSCORE, &hex!("09 00 01"))]);
    is_refused(&[(OptionNumber::OSCORE, b"")]);
}

#[test]
fn opt_16_the_numbers_for_experiments_are_not_used() {
    assert!(option_definitions().iter().all(|known| known.number.number() < 65_000));
    assert!((65_000..=u16::MAX).all(|number| OptionNumber::new(number).definition().is_none()));
}

#[test]
fn opt_17_a_path_that_is_not_utf_8_is_only_a_path_that_is_not_there() {
    let mut rig = Rig::serving();
    let reply = rig.ask(&hex!("41 01 1234 0b b2 fffe"));
    assert!([Code::BAD_REQUEST, Code::BAD_OPTION, Code::NOT_FOUND].contains(&reply.code), "{reply}");
}

/// RFC 7252 §5.4.5: an option that may not be repeated counts as unknown from the second one on.
#[test]
fn a_repeated_critical_option_is_4_02_and_a_repeated_elective_one_is_ignored() {
    is_refused(&[(OptionNumber::ACCEPT, &[0]), (OptionNumber::ACCEPT, &[0])]);
    let (_, reply) = get_test(&[(OptionNumber::CONTENT_FORMAT, &[0]), (OptionNumber::CONTENT_FORMAT, &[41])]);
    assert_eq!((reply.code, reply.options.content_format()), (Code::CONTENT, Some(ContentFormat::TEXT_PLAIN)));
}
