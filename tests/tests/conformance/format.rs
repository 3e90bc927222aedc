//! FMT: what is a message (RFC 7252 §3).

use std::time::Instant;

use bytes::Bytes;
use coap_core::{
    Code, ContentFormat, Message, OptionNumber, Options, Request, RequestError, RequestOptions, RespondError, Response,
    Type,
};
use hex_literal::hex;

use crate::rig::{Rig, content, encode, list, path, peer};

/// A Confirmable message with this error is rejected; any other with it is met with silence. Nothing of it is handed up.
#[track_caller]
fn is_a_format_error(confirmable: &[u8]) {
    let mut rig = Rig::new();
    rig.receive(peer(1), confirmable);
    assert_eq!(rig.sent_bytes(), [0x70, 0x00, confirmable[2], confirmable[3]]);
    for kind in [0x50, 0x60, 0x70] {
        let mut other = confirmable.to_vec();
        other[0] = kind | (other[0] & 0x0f);
        rig.receive(peer(1), &other);
    }
    rig.left_no_trace();
    assert_eq!(rig.endpoint.stats().malformed, 4);
}

#[test]
fn fmt_01_a_datagram_below_four_bytes_is_nothing() {
    let mut rig = Rig::new();
    for datagram in list([&[], &hex!("40"), &hex!("40 01"), &hex!("40 01 12")]) {
        rig.receive(peer(1), datagram);
    }
    rig.left_no_trace();
    assert_eq!(rig.endpoint.stats().malformed, 4);
}

#[test]
fn fmt_02_another_version_is_ignored_whatever_the_type() {
    let mut rig = Rig::new();
    for version in [0x00, 0x80, 0xc0] {
        for kind in [0x00, 0x10, 0x20, 0x30] {
            rig.receive(peer(1), &[version | kind | 1, 0x01, 0x12, 0x34, 0x0b, 0xb1, b'a']);
            rig.receive(peer(1), &[version | kind, 0x00, 0x12, 0x34]);
        }
    }
    rig.left_no_trace();
    assert_eq!(rig.endpoint.stats().malformed, 24);
}

#[test]
fn fmt_03_a_confirmable_with_a_token_length_of_9_to_15_is_reset() {
    for length in 9..=15 {
        let mut datagram = hex!("40 01 1234 000102030405060708090a0b0c0d0e b1 61");
        datagram[0] |= length;
        let mut rig = Rig::new();
        rig.receive(peer(1), &datagram);
        assert_eq!(rig.sent_bytes(), hex!("70 00 1234"));
        rig.left_no_trace();
    }
}

#[test]
fn fmt_04_a_non_confirmable_with_a_token_length_of_9_to_15_is_not_processed() {
    for length in 9..=15 {
        let mut datagram = hex!("50 01 1234 000102030405060708090a0b0c0d0e b1 61");
        datagram[0] |= length;
        let mut rig = Rig::new();
        rig.receive(peer(1), &datagram);
        rig.left_no_trace();
    }
}

#[test]
fn fmt_08_length_nibble_15_is_a_format_error() {
    is_a_format_error(&hex!("41 01 1234 0b bf 616263646566676869616263646566"));
}

#[test]
fn fmt_10_an_option_that_runs_past_the_end_is_a_format_error() {
    is_a_format_error(&hex!("41 01 1234 0b b5 61"));
    is_a_format_error(&hex!("41 01 1234 0b b1"));
    is_a_format_error(&hex!("41 01 1234 0b be ffff 61"));
}

#[test]
fn fmt_13_a_payload_marker_without_payload_is_a_format_error() {
    is_a_format_error(&hex!("41 01 1234 0b b1 61 ff"));
    is_a_format_error(&hex!("41 01 1234 0b ff"));
}

#[test]
fn fmt_15_a_marker_inside_of_a_token_or_an_option_is_none() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("42 01 1234 ff0b b3 61ff62"));
    let incoming = rig.handed_up();
    assert_eq!(incoming.token.as_bytes(), [0xff, 0x0b]);
    assert_eq!(incoming.request.options.uri_path().collect::<Vec<_>>(), [b"a\xffb"]);
    assert!(incoming.request.body.is_empty());
}

#[test]
fn fmt_16_an_empty_message_of_more_than_four_bytes_is_a_format_error() {
    for datagram in
        list([&hex!("41 00 1234 0b"), &hex!("40 00 1234 b1 61"), &hex!("40 00 1234 ff 00"), &hex!("40 00 1234 00")])
    {
        is_a_format_error(datagram);
    }
}

#[test]
fn fmt_17_deltas_and_lengths_have_headers_of_one_two_and_three_bytes() {
    let of_12 = OptionNumber::new(12);
    let header = |number, length| {
        let mut message = Message::empty(Type::NonConfirmable, 1);
        message.code = Code::GET;
        message.options.push_raw(number, &vec![0xaa; length]).unwrap();
        let bytes = encode(&message);
        assert_eq!(Message::decode(Bytes::from(bytes.clone())).unwrap(), message);
        bytes[4..bytes.len() - length].to_vec()
    };
    for (number, expected) in [
        (12, &hex!("c0")[..]),
        (13, &hex!("d0 00")),
        (268, &hex!("d0 ff")),
        (269, &hex!("e0 0000")),
        (65_535, &hex!("e0 fef2")),
    ] {
        assert_eq!(header(OptionNumber::new(number), 0), expected, "delta {number}");
    }
    for (length, expected) in [
        (12, &hex!("cc")[..]),
        (13, &hex!("cd 00")),
        (268, &hex!("cd ff")),
        (269, &hex!("ce 0000")),
        (65_535, &hex!("ce fef2")),
    ] {
        assert_eq!(header(of_12, length), expected, "length {length}");
    }
    assert_eq!(header(OptionNumber::new(269), 269), hex!("ee 0000 0000"));
}

#[test]
fn fmt_18_options_are_sent_in_the_order_of_their_numbers() {
    let mut options = Options::new();
    options.push_uri_query("q").unwrap();
    options.push_uri_path("b").unwrap();
    options.set_uri_host("h").unwrap();
    options.push_uri_path("a").unwrap();
    let mut rig = Rig::new();
    let request = Request::get().with_options(options);
    rig.endpoint.request(rig.now, peer(1), request, &RequestOptions::new()).unwrap();
    rig.drain();
    let datagram = rig.sent_bytes();
    let token = usize::from(datagram[0] & 0x0f);
    assert_eq!(datagram[4 + token..], hex!("31 68 81 62 01 61 41 71"));
}

#[test]
fn fmt_19_leading_zeros_do_not_change_a_number() {
    // GET /multi-format, Accept 41 in two bytes.
    let answer = Rig::serving().ask(&hex!("41 01 1234 0b bc 6d756c74692d666f726d6174 62 0029"));
    assert_eq!((answer.code, answer.options.content_format()), (Code::CONTENT, Some(ContentFormat::XML)));
}

#[test]
fn fmt_20_numbers_are_sent_as_short_as_they_can_be() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("40 01 1234 b1 61"));
    let incoming = rig.handed_up();
    let mut response = Response::content(ContentFormat::TEXT_PLAIN, "x");
    response.options.set_max_age(0);
    response.options.set_size2(256);
    rig.respond(incoming.id, response);
    // Content-Format 0 and Max-Age 0 are empty, Size2 256 has two bytes.
    assert_eq!(rig.sent_bytes(), hex!("60 45 1234 c0 20 d2 01 0100 ff 78"));
}

#[test]
fn fmt_22_what_is_too_large_for_a_datagram_is_refused_and_not_sent() {
    let mut rig = Rig::new();
    // A body of any length goes in blocks; options do not.
    let segment = "s".repeat(255);
    let large = Request::new(Code::POST).with_options(path(&[segment.as_str(); 5]));
    let refused = rig.endpoint.request(rig.now, peer(1), large, &RequestOptions::new());
    assert!(matches!(refused, Err(RequestError::TooLarge { max: 1_152, .. })), "{refused:?}");
    rig.drain();
    rig.left_no_trace();

    rig.receive(peer(1), &hex!("40 01 1234 b1 61"));
    let incoming = rig.handed_up();
    let mut large = Response::new(Code::CREATED);
    (0..5).for_each(|_| large.options.push_location_path(&segment).unwrap());
    let refused = rig.endpoint.respond(rig.now, incoming.id, large);
    assert!(matches!(refused, Err(RespondError::TooLarge { max: 1_152, .. })), "{refused:?}");
    rig.drain();
    rig.sent_nothing();
    rig.respond(incoming.id, content("small"));
    assert_eq!(rig.sent().1.payload, "small");
}

#[test]
fn fmt_23_a_datagram_full_of_options_costs_no_more_than_its_length() {
    // 60,000 times the elective option 65,000; then the same once with 65,000 bytes.
    let many = [&hex!("41 01 1234 0b e0 fcdb")[..], &[0; 59_999]].concat();
    let long = [&hex!("41 01 1235 0b ee fcdb fcdb")[..], &vec![0xaa; 0xfcdb + 269]].concat();
    let mut rig = Rig::new();
    let start = Instant::now();
    rig.receive(peer(1), &many);
    assert_eq!(rig.handed_up().request.options.count(), 60_000);
    rig.receive(peer(1), &long);
    assert_eq!(rig.handed_up().request.options.get(OptionNumber::new(65_000)).map(<[u8]>::len), Some(65_000));
    // A walk that is quadratic in the options would take minutes.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    assert_eq!(rig.endpoint.usage().incoming, 2);
}
