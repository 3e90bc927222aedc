//! EXT: options of later RFCs; of these No-Response (RFC 7967) so far.

use coap_core::{Code, Message, OptionNumber, Response, Type};
use hex_literal::hex;

use crate::rig::{Rig, encode, path, peer, secs};

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
