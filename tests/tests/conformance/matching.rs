//! TOK: tokens, and which response belongs to which request (RFC 7252 §5.3).

use std::collections::BTreeSet;

use coap_core::{Code, Config, Failure, Message, Peer, RequestOptions, SessionId, Token, Type};
use hex_literal::hex;

use crate::rig::{Rig, answer, empty, encode, peer, secs};

#[test]
fn tok_01_every_response_has_the_token_of_its_request() {
    for token in [&[][..], &hex!("0b"), &hex!("01020304"), &hex!("0001020304050607")] {
        let mut rig = Rig::serving();
        let mut message_id = 0;
        // A good one, one that is not there, one with a critical option that nobody knows, one for a proxy.
        for tail in [
            &hex!("b4 74657374")[..],
            &hex!("b3 6e6f6e"),
            &hex!("e0 fcdc"),
            &hex!("dd 16 07 636f61703a2f2f6578616d706c652e6e65742f78"),
        ] {
            message_id += 1;
            let head = [0x40 | token.len() as u8, 0x01, 0x10, message_id];
            let reply = rig.ask(&[&head[..], token, tail].concat());
            assert_eq!((reply.token.as_bytes(), reply.kind), (token, Type::Acknowledgement), "{reply}");
        }
        // And one that is answered separately.
        let head = [0x40 | token.len() as u8, 0x01, 0x20, 0x01];
        rig.receive(peer(1), &[&head[..], token, &hex!("b8 7365706172617465")].concat());
        rig.pass(secs(2));
        assert_eq!(rig.sent_bytes(), hex!("60 00 2001"));
        let (_, response) = rig.sent();
        assert_eq!((response.token.as_bytes(), response.kind), (token, Type::Confirmable));
    }
}

#[test]
fn tok_02_a_piggybacked_response_with_another_token_is_not_delivered() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, request) = rig.sent();
    let foreign = Message { token: Token::new(&hex!("dead")).unwrap(), ..request.clone() };
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &foreign, b"no"));
    rig.said_nothing();
    rig.sent_nothing();
    // Nor does it end the repetition.
    rig.pass(secs(3));
    assert_eq!(rig.sent().1, request);
}

#[test]
fn tok_05_tokens_have_32_random_bits_and_do_not_repeat() {
    let mut rig = Rig::new();
    let (mut seen, mut ones) = (BTreeSet::new(), [0_u32; 32]);
    for n in 0..4_000 {
        rig.get(peer(n));
        let token = rig.sent().1.token;
        assert!(token.len() >= 4);
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += u32::from(token.as_bytes()[bit / 8] >> (bit % 8) & 1);
        }
        assert!(seen.insert(token));
    }
    // Each bit is set in half of them: 2,000 expected, with a standard deviation of 32.
    assert!(ones.iter().all(|count| (1_840..2_160).contains(count)), "{ones:?}");
}

#[test]
fn tok_06_no_token_is_used_twice_in_a_session() {
    let mut rig = Rig::new();
    let session = Peer::Session(SessionId::new(1 << 63 | 1));
    let mut seen = BTreeSet::new();
    for _ in 0..10_000 {
        let id = rig.get(session);
        let (_, request) = rig.sent();
        // RFC 9175 §4.2: a sequence number; the rest is random still.
        assert_eq!(request.token.len(), 8);
        assert!(seen.insert(request.token.as_bytes()[..4].to_vec()), "{} again", request.token);
        assert!(rig.endpoint.cancel(rig.now, id));
    }
}

#[test]
fn tok_07_the_empty_token_and_a_zero_byte_are_two_tokens() {
    let mut rig = Rig::new();
    let how = |token: &[u8]| RequestOptions::new().non_confirmable().token(Token::new(token).unwrap());
    let (none, zero) = (rig.request(peer(1), &how(&[])), rig.request(peer(1), &how(&[0])));
    let ((_, to_none), (_, to_zero)) = (rig.sent(), rig.sent());
    assert_eq!((to_none.token.as_bytes(), to_zero.token.as_bytes()), (&[][..], &[0][..]));
    rig.receive(peer(1), &answer(Type::NonConfirmable, Code::CONTENT, 1, &to_zero, b"zero"));
    let (id, response) = rig.response();
    assert_eq!((id, response.body.as_bytes()), (zero, &b"zero"[..]));
    rig.receive(peer(1), &answer(Type::NonConfirmable, Code::CONTENT, 2, &to_none, b"none"));
    assert_eq!(rig.response().0, none);
}

#[test]
fn tok_08_a_confirmable_response_with_an_unknown_token_is_reset() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, request) = rig.sent();
    let foreign = Message { token: Token::new(&hex!("dead")).unwrap(), ..request };
    rig.receive(peer(1), &answer(Type::Confirmable, Code::CONTENT, 0x7777, &foreign, b"no"));
    assert_eq!(rig.sent_bytes(), hex!("70 00 7777"));
    rig.said_nothing();
}

#[test]
fn tok_09_a_second_response_is_not_delivered_and_reset_if_confirmable() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"one"));
    rig.response();
    rig.receive(peer(1), &answer(Type::NonConfirmable, Code::CONTENT, 0x7776, &request, b"two"));
    rig.sent_nothing();
    rig.receive(peer(1), &answer(Type::Confirmable, Code::CONTENT, 0x7777, &request, b"three"));
    assert_eq!(rig.sent_bytes(), hex!("70 00 7777"));
    rig.said_nothing();
}

/// RFC 7252 §5.3.2: the source endpoint of a response must be the destination of the request.
#[test]
fn a_response_of_a_stranger_with_the_right_token_is_not_delivered() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(2), &encode(&Message { kind: Type::NonConfirmable, code: Code::CONTENT, ..request.clone() }));
    rig.receive(peer(2), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"no"));
    rig.receive(peer(2), &empty(Type::Acknowledgement, request.message_id));
    rig.said_nothing();
}

/// RFC 8974 §2.2.2: support is taken as absent, and the next request has a token that every peer knows.
#[test]
fn tok_11_a_reset_in_answer_to_a_long_token_means_that_it_is_not_supported() {
    let config = Config::builder().max_token_len(32).min_token_len(32).build().unwrap();
    let mut rig = Rig::with(config);
    let id = rig.get(peer(1));
    let asked = rig.sent_bytes();
    assert_eq!(asked[..2], [0x4d, 0x01]);
    assert_eq!(asked[4], 32 - 13);
    rig.receive(peer(1), &empty(Type::Reset, u16::from_be_bytes([asked[2], asked[3]])));
    let (failed, reason, timing) = rig.failure();
    assert_eq!((failed, reason, timing.attempts), (id, Failure::ExtendedToken, 1));
    rig.sent_nothing();
    rig.get(peer(1));
    let (_, again) = rig.sent();
    assert_eq!(again.token.len(), 8);
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, again.message_id, &again, b""));
    rig.response();
}
