//! EXT: options of later RFCs; of these No-Response (RFC 7967) and Hop-Limit (RFC 8768) so far.

use coap_core::{Code, Message, OptionNumber, Response, Type};
use hex_literal::hex;

use crate::rig::{Rig, encode, path, peer, secs, to_test};

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
    let (good, bad): (&[u8], &[u8]) = (&[5], &[0]);
    for (values, code) in [([good, bad], Code::CHANGED), ([bad, good], Code::BAD_REQUEST)] {
        let mut rig = Rig::serving();
        let options = values.map(|value| (OptionNumber::HOP_LIMIT, value));
        assert_eq!(rig.ask(&to_test(Code::PUT, 0x1001, &options)).code, code);
    }
}
