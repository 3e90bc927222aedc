//! The cost of the codec on a typical message, ours or coap-lite's: to be run under valgrind, which counts instructions
//! and allocations exactly, so that the figures do not depend on the machine's load.
//!
//! `codec <ours|coap-lite> <encode|decode> <iterations>`, or `accessors` for a decode of ours after which path and
//! content-format are asked for by name instead of met in one walk; the figure is (11,000 iterations − 1,000) ÷ 10,000.

use core::hint::black_box;
use std::env;
use std::process::ExitCode;

use bytes::Bytes;
use coap_core::wire::decode_uint;
use coap_core::{Code, ContentFormat, Message, OptionNumber, Options, Token, Type};
use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType};

/// What an application has at hand. Behind a `black_box`, so that nothing of it is known when the codec is compiled.
struct Input {
    message_id: u16,
    token: [u8; 4],
    segments: [&'static str; 2],
    content_format: u16,
    payload: [u8; 20],
}

const INPUT: Input = Input {
    message_id: 0x1f2a,
    token: [0x71, 0xbb, 0x00, 0xff],
    segments: ["sensors", "temp"],
    content_format: 0,
    payload: *b"22.5 C, 48.1 % r. h.",
};

/// The message that all of them write and read: 43 bytes.
const ENCODED: &[u8] = b"\x44\x02\x1f\x2a\x71\xbb\x00\xff\xb7sensors\x04temp\x10\xff22.5 C, 48.1 % r. h.";

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let (run, iterations): (fn(usize), _) = match args[..] {
        ["ours", "encode", iterations] => (ours_encode, iterations),
        ["ours", "decode", iterations] => (ours_decode, iterations),
        ["ours", "accessors", iterations] => (ours_accessors, iterations),
        ["coap-lite", "encode", iterations] => (coap_lite_encode, iterations),
        ["coap-lite", "decode", iterations] => (coap_lite_decode, iterations),
        // `cargo bench` comes by with arguments of its own: once through all of it, as a test that it still works.
        _ => {
            for run in [ours_encode, ours_decode, ours_accessors, coap_lite_encode, coap_lite_decode] {
                run(1);
            }
            eprintln!("usage: codec <ours|coap-lite> <encode|decode> <iterations>");
            return ExitCode::SUCCESS;
        }
    };
    let Ok(iterations) = iterations.parse() else {
        eprintln!("not a number of iterations: {iterations}");
        return ExitCode::from(2);
    };
    run(iterations);
    ExitCode::SUCCESS
}

/// The application's part: options, token and payload from parts, then the bytes.
fn ours_encode(iterations: usize) {
    let payload = Bytes::from(INPUT.payload.to_vec());
    // A second handle, so that the first clone below has no allocation to make for the counter.
    let _other = payload.clone();
    let mut buf = [0; 1_152];
    for _ in 0..iterations {
        let input = black_box(&INPUT);
        let mut options = Options::new();
        for segment in input.segments {
            options.push_uri_path(segment).expect("a short segment");
        }
        options.set_content_format(ContentFormat::new(input.content_format));
        let message = Message {
            kind: Type::Confirmable,
            code: Code::POST,
            message_id: input.message_id,
            token: Token::new(&input.token).expect("a short token"),
            options,
            payload: black_box(&payload).clone(),
        };
        let len = message.encode(black_box(&mut buf)).expect("a large buffer");
        black_box(&buf[..len]);
    }
    assert!(iterations == 0 || buf.starts_with(ENCODED));
}

/// Decoding and a look at what a server looks at: token, path, content-format, payload.
fn ours_decode(iterations: usize) {
    let datagram = Bytes::from(ENCODED.to_vec());
    let _other = datagram.clone();
    for _ in 0..iterations {
        let message = Message::decode(black_box(&datagram).clone()).expect("a sound message");
        black_box(message.token.as_bytes());
        for (number, value) in &message.options {
            match number {
                OptionNumber::URI_PATH => _ = black_box(value),
                OptionNumber::CONTENT_FORMAT => _ = black_box(decode_uint(value)),
                _ => {}
            }
        }
        black_box(&message.payload[..]);
    }
}

fn ours_accessors(iterations: usize) {
    let datagram = Bytes::from(ENCODED.to_vec());
    let _other = datagram.clone();
    for _ in 0..iterations {
        let message = Message::decode(black_box(&datagram).clone()).expect("a sound message");
        black_box(message.token.as_bytes());
        for segment in message.options.uri_path() {
            black_box(segment);
        }
        black_box(message.options.content_format());
        black_box(&message.payload[..]);
    }
}

fn coap_lite_encode(iterations: usize) {
    let mut len = 0;
    for _ in 0..iterations {
        let input = black_box(&INPUT);
        let mut packet = Packet::new();
        packet.header.set_version(1);
        packet.header.set_type(MessageType::Confirmable);
        packet.header.code = MessageClass::Request(RequestType::Post);
        packet.header.message_id = input.message_id;
        packet.set_token(input.token.to_vec());
        for segment in input.segments {
            packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
        }
        packet.set_content_format(coap_lite::ContentFormat::TextPlain);
        packet.payload = input.payload.to_vec();
        let encoded = black_box(packet.to_bytes().expect("a sound message"));
        len = encoded.len();
    }
    assert!(iterations == 0 || len == ENCODED.len());
}

fn coap_lite_decode(iterations: usize) {
    for _ in 0..iterations {
        let packet = Packet::from_bytes(black_box(ENCODED)).expect("a sound message");
        black_box(packet.get_token());
        for segment in packet.get_option(CoapOption::UriPath).into_iter().flatten() {
            black_box(segment);
        }
        black_box(packet.get_content_format());
        black_box(&packet.payload[..]);
    }
}
