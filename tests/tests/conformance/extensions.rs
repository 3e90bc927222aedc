//! EXT: options of later RFCs: No-Response (RFC 7967), Hop-Limit (RFC 8768), Echo (RFC 9175).

use coap_core::{Code, Config, Message, OptionNumber, Response, Type, UnprovenLimit};
use hex_literal::hex;

use crate::rig::{Rig, answer, con, content, encode, path, peer, secs, to_test};

#[test]
fn ext_01_no_response_suppresses_the_classes_that_it_names_and_no_others() {
    for (value, suppressed) in [(2_u8, &[2][..]), (8, &[4]), (16, &[5]), (26, &[2, 4, 5]), (0, &[])] {
        for code in [Code::CHANGED, Code::NOT_FOUND, Code::INTERNAL_SERVER_ERROR] {
            let mut request = Message::empty(Type::NonConfirmable, 0x1001);
            request.code = Code::PUT;
            request.options = path(&["a"]);
            request.options.push_uint(OptionNumber::NO_RESPONSE, value.into()).unwrap();
            let mut rig = Rig::new();
            rig.receive(peer(1), &encode(&request));
            let incoming = rig.handed_up();
            rig.respond(incoming.id, Response::new(code));
            rig.pass(secs(100));
            let sent = !rig.sent.is_empty();
            assert_eq!(sent, !suppressed.contains(&code.class()), "{value}: {code}");
        }
    }
}

/// RFC 7967 §2.1: what is confirmable is acknowledged all the same.
#[test]
fn a_suppressed_response_to_a_confirmable_request_leaves_the_acknowledgement() {
    let mut rig = Rig::serving();
    // CON PUT /test, No-Response 2.
    rig.receive(peer(1), &hex!("41 03 1001 0b b4 74657374 d1 ea 02 ff 78"));
    assert_eq!(rig.sent_bytes(), hex!("60 00 1001"));
    rig.pass(secs(100));
    rig.sent_nothing();
    assert_eq!(rig.runs(Code::PUT, "/test"), 1);
}

#[test]
fn ext_03_a_hop_limit_of_0_or_of_two_bytes_is_4_00() {
    for value in [&[][..], &[0], &[1, 0], &[0, 16]] {
        let request = to_test(Code::PUT, 0x1001, &[(OptionNumber::HOP_LIMIT, value)]);
        let mut rig = Rig::serving();
        let reply = rig.ask(&request);
        assert_eq!((reply.kind, reply.code), (Type::Acknowledgement, Code::BAD_REQUEST), "{value:?}");
        assert_eq!(rig.runs(Code::PUT, "/test"), 0);
        // A Non-confirmable one is told so too: it is no unknown option. A group is not.
        let mut other = request.clone();
        other[0] |= 0x10;
        let reply = rig.ask(&other);
        assert_eq!((reply.kind, reply.code), (Type::NonConfirmable, Code::BAD_REQUEST));
        rig.receive_multicast(peer(2), &other);
        rig.sent_nothing();
        assert_eq!(rig.endpoint.stats().bad_hop_limit, 3);
    }
    for value in [1, 16, 255] {
        let mut rig = Rig::serving();
        let request = to_test(Code::PUT, 0x1001, &[(OptionNumber::HOP_LIMIT, &[value])]);
        assert_eq!(rig.ask(&request).code, Code::CHANGED);
    }
}

/// RFC 8768 §3 with RFC 7252 §5.4.5: the first one counts, a further one is ignored.
#[test]
fn of_two_hop_limits_the_first_counts() {
    let (good, bad) = ((OptionNumber::HOP_LIMIT, &[5][..]), (OptionNumber::HOP_LIMIT, &[0][..]));
    for (options, code) in [([good, bad], Code::CHANGED), ([bad, good], Code::BAD_REQUEST)] {
        let mut rig = Rig::serving();
        assert_eq!(rig.ask(&to_test(Code::PUT, 0x1001, &options)).code, code);
    }
}

/// CON GET /a with these further options.
fn get_a(message_id: u16, options: &[(OptionNumber, &[u8])]) -> Vec<u8> {
    let mut request = con(Code::GET, message_id, &["a"]);
    for (number, value) in options {
        request.options.push_raw(*number, value).unwrap();
    }
    encode(&request)
}

fn limited() -> Rig {
    Rig::with(Config::builder().unproven_limit(UnprovenLimit::All).build().unwrap())
}

/// RFC 9175 §2.4: a smaller block where one fits; else 4.01 with Echo, piggybacked or Non-confirmable, and never repeated.
#[test]
fn ext_04_a_large_answer_to_an_unproven_address_is_small_or_4_01_with_echo() {
    let mut long_options = Response::new(Code::CONTENT);
    long_options.options.push_location_path(&"long".repeat(40)).unwrap();
    for kind in [Type::Confirmable, Type::NonConfirmable] {
        for separate in [false, true] {
            for (response, code) in
                [(content("x").with_body(vec![7; 900]), Code::CONTENT), (long_options.clone(), Code::UNAUTHORIZED)]
            {
                let mut rig = limited();
                let mut request = Message::decode(get_a(1, &[]).into()).unwrap();
                request.kind = kind;
                rig.receive(peer(1), &encode(&request));
                let incoming = rig.handed_up();
                if separate {
                    rig.pass(secs(1));
                    rig.sent.clear();
                }
                rig.respond(incoming.id, response);
                let bytes = rig.sent.front().unwrap().1.len();
                let (_, answer) = rig.sent();
                assert!(bytes <= 136 && answer.code == code, "{bytes} {answer}");
                if code == Code::UNAUTHORIZED {
                    assert!(answer.options.echo().is_some() && answer.kind != Type::Confirmable, "{answer}");
                    rig.pass(secs(100));
                    rig.sent_nothing();
                } else {
                    assert!(answer.options.block2().is_some_and(|block| block.more() && block.szx() <= 2), "{answer}");
                }
            }
        }
    }
}

/// RFC 9175 §2.3, §5.
#[test]
fn ext_05_an_echo_value_cannot_be_guessed_and_grows_old() {
    let mut rig = Rig::new();
    let ask = |rig: &mut Rig, from, message_id, echo: Option<&[u8]>| {
        let options: Vec<_> = echo.map(|value| (OptionNumber::ECHO, value)).into_iter().collect();
        rig.receive(from, &get_a(message_id, &options));
        let request = rig.handed_up();
        rig.respond(request.id, Response::challenge());
        let answer = rig.sent().1;
        assert_eq!(answer.code, Code::UNAUTHORIZED);
        (request.echo_age(), answer.options.echo().unwrap().to_vec())
    };
    let (age, value) = ask(&mut rig, peer(1), 1, None);
    assert!(age.is_none() && (8..=40).contains(&value.len()));
    // Nobody else can use it, and no other endpoint would have made it.
    let (age, other) = ask(&mut rig, peer(2), 2, Some(&value));
    assert!(age.is_none() && other != value);
    let bits = |one: &[u8], other: &[u8]| -> u32 { one.iter().zip(other).map(|(a, b)| (a ^ b).count_ones()).sum() };
    assert!(bits(&value, &other) > 16, "{value:02x?} {other:02x?}");
    for bit in 0..value.len() * 8 {
        let mut forged = value.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(ask(&mut rig, peer(1), 100 + bit as u16, Some(&forged)).0, None);
    }
    rig.pass(secs(59));
    assert_eq!(ask(&mut rig, peer(1), 3, Some(&value)).0, Some(secs(59)));
    rig.pass(secs(1));
    // The answer to one that is too old has a new one.
    let (age, fresh) = ask(&mut rig, peer(1), 4, Some(&value));
    assert_eq!(age, None);
    assert_eq!(ask(&mut rig, peer(1), 5, Some(&fresh)).0, Some(secs(0)));
}

/// RFC 9175 §2.3, also for the values that other responses carry.
#[test]
fn ext_06_a_client_repeats_a_request_once_with_the_echo_value_that_it_was_given() {
    let mut rig = Rig::new();
    let reply = |request: &Message, code, value: &[u8]| {
        let mut message = Message::decode(answer(Type::Acknowledgement, code, request.message_id, request, b"").into());
        message.as_mut().unwrap().options.set_echo(value).unwrap();
        encode(&message.unwrap())
    };
    let id = rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.receive(peer(1), &reply(&first, Code::UNAUTHORIZED, b"one"));
    rig.said_nothing();
    let (to, second) = rig.sent();
    assert_eq!((to, second.options.echo()), (peer(1), Some(&b"one"[..])));
    assert!(second.message_id != first.message_id && second.token != first.token);
    rig.receive(peer(1), &reply(&second, Code::UNAUTHORIZED, b"two"));
    rig.sent_nothing();
    let (of, response) = rig.response();
    assert_eq!((of, response.code), (id, Code::UNAUTHORIZED));
    // To nobody else, and to the server that sent it with the next request.
    for (to, value) in [(peer(2), None), (peer(1), Some(&b"two"[..])), (peer(1), None)] {
        rig.get(to);
        let (_, request) = rig.sent();
        assert_eq!(request.options.echo(), value);
        rig.receive(to, &answer(Type::Acknowledgement, Code::VALID, request.message_id, &request, b""));
        rig.response();
    }
    rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(1), &reply(&request, Code::CONTENT, b"three"));
    assert_eq!(rig.response().1.code, Code::CONTENT);
    rig.get(peer(1));
    assert_eq!(rig.sent().1.options.echo(), Some(&b"three"[..]));
}
