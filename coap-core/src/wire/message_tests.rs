//! Messages by example; the vectors of `tests/` are many more.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use hex_literal::hex;

use super::*;
use crate::wire::{ContentFormat, OptionNumber};

/// A GET of two segments with everything that a message can have: 43 bytes.
const TYPICAL: [u8; 43] = hex!(
    "44 01 1f2a 71bb00ff"
    "b7 73656e736f7273 04 74656d70 10"
    "ff 3030303030303030303030303030303030303030"
);

fn reason(datagram: &[u8]) -> Malformed {
    Message::decode(Bytes::copy_from_slice(datagram)).unwrap_err().reason
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut buf = vec![0xaa; message.encoded_len()];
    assert_eq!(message.encode(&mut buf), Ok(buf.len()));
    buf
}

#[test]
fn every_field_is_read_and_written_again() {
    let message = Message::decode(Bytes::copy_from_slice(&TYPICAL)).unwrap();
    assert_eq!((message.kind, message.code, message.message_id), (Type::Confirmable, Code::GET, 0x1f2a));
    assert_eq!(message.token.as_bytes(), hex!("71bb00ff"));
    assert_eq!(message.options.uri_path().collect::<Vec<_>>(), [&b"sensors"[..], b"temp"]);
    assert_eq!(message.options.content_format(), Some(ContentFormat::TEXT_PLAIN));
    assert_eq!(message.payload, [b'0'; 20][..]);
    assert_eq!(encoded(&message), TYPICAL);
}

#[test]
fn the_payload_shares_the_datagram_and_short_options_do_not_pin_it() {
    let datagram = Bytes::copy_from_slice(&TYPICAL);
    let payload_at = datagram[23..].as_ptr();
    let message = Message::decode(datagram.clone()).unwrap();
    assert_eq!(message.payload.as_ptr(), payload_at);
    drop(message.payload);
    assert!(datagram.is_unique());
    assert_eq!(message.options.count(), 3);
}

#[test]
fn a_message_without_payload_keeps_nothing_of_the_datagram() {
    let datagram = Bytes::copy_from_slice(&TYPICAL[..22]);
    let message = Message::decode(datagram.clone()).unwrap();
    assert!(datagram.is_unique());
    assert_eq!(message.options.count(), 3);
}

#[test]
fn long_options_share_the_datagram() {
    let mut message = Message::decode(Bytes::copy_from_slice(&TYPICAL)).unwrap();
    message.options.push(OptionNumber::PROXY_URI, &[b'x'; 100]).unwrap();
    let datagram = Bytes::from(encoded(&message));
    let decoded = Message::decode(datagram.clone()).unwrap();
    assert_eq!(decoded, message);
    let range = datagram.as_ptr_range();
    assert!(range.contains(&decoded.options.get(OptionNumber::PROXY_URI).unwrap().as_ptr()));
}

#[test]
fn an_error_carries_the_header_where_there_is_one() {
    let error = Message::decode(Bytes::from_static(&hex!("49 01 1f2a 00"))).unwrap_err();
    let header = Header { kind: Type::Confirmable, code: Code::GET, message_id: 0x1f2a, token_length: 9 };
    assert_eq!(error, DecodeError { reason: Malformed::TklReserved, header: Some(header) });
    assert_eq!(Header::peek(&hex!("49 01 1f2a 00")), Some(header));
    for unreadable in [&hex!("44 01 1f")[..], &hex!("84 01 1f2a")] {
        assert_eq!(Message::decode(Bytes::copy_from_slice(unreadable)).unwrap_err().header, None);
        assert_eq!(Header::peek(unreadable), None);
    }
}

#[test]
fn an_empty_message_is_four_bytes_and_nothing_else() {
    let ping = Message::decode(Bytes::from_static(&hex!("40 00 0001"))).unwrap();
    assert_eq!(ping, Message::empty(Type::Confirmable, 1));
    assert_eq!(encoded(&ping), hex!("40 00 0001"));
    for more in [&hex!("40 00 0001 00")[..], &hex!("41 00 0001 00"), &hex!("41 00 0001"), &hex!("4f 00 0001")] {
        assert_eq!(reason(more), Malformed::EmptyNot4Bytes);
    }
}

#[test]
fn what_is_wrong_first_is_named() {
    assert_eq!(reason(&hex!("80 01")), Malformed::ShortHeader);
    assert_eq!(reason(&hex!("89 00 0001")), Malformed::BadVersion);
    assert_eq!(reason(&hex!("42 01 0001 aa")), Malformed::TokenTruncated);
    assert_eq!(reason(&hex!("40 01 0001 ff")), Malformed::MarkerWithoutPayload);
    assert_eq!(reason(&hex!("40 01 0001 fe")), Malformed::DeltaNibble15);
    assert_eq!(reason(&hex!("40 01 0001 ef")), Malformed::LengthNibble15);
    assert_eq!(reason(&hex!("40 01 0001 ee fef3 00")), Malformed::OptionExtTruncated);
    assert_eq!(reason(&hex!("40 01 0001 ee fef3 ffff")), Malformed::OptionNumberOverflow);
    assert_eq!(reason(&hex!("40 01 0001 ee fef2 ffff")), Malformed::OptionValueTruncated);
}

#[test]
fn no_cut_of_a_message_reads_like_the_whole() {
    for end in 0..TYPICAL.len() {
        if let Ok(message) = Message::decode(Bytes::copy_from_slice(&TYPICAL[..end])) {
            assert_eq!(encoded(&message), TYPICAL[..end]);
        }
    }
}

#[test]
fn a_buffer_too_small_is_left_alone() {
    let message = Message::decode(Bytes::copy_from_slice(&TYPICAL)).unwrap();
    let mut buf = [0xaa; 42];
    assert_eq!(message.encode(&mut buf), Err(EncodeError::BufferTooSmall { needed: 43, available: 42 }));
    assert_eq!(buf, [0xaa; 42]);
    let mut roomy = [0xaa; 50];
    assert_eq!(message.encode(&mut roomy), Ok(43));
    assert_eq!(roomy[43..], [0xaa; 7]);
}

#[test]
fn a_message_is_shown_in_one_line() {
    let message = Message::decode(Bytes::copy_from_slice(&TYPICAL)).unwrap();
    assert_eq!(
        message.to_string(),
        "CON GET id=0x1f2a token=71bb00ff Uri-Path: sensors, Uri-Path: temp, \
         Content-Format: 0 (text/plain; charset=utf-8), payload 20 bytes \"00000000000000000000\""
    );
    let answer = Message::decode(Bytes::from_static(&hex!("60 45 0001 ff 00ff"))).unwrap();
    assert_eq!(answer.to_string(), "ACK 2.05 Content id=0x0001 payload 2 bytes 00ff");
    assert_eq!(Message::empty(Type::Reset, 7).to_string(), "RST 0.00 Empty id=0x0007");
}
