//! What is decoded encodes to the same bytes; what is built by hand is decoded as it was built.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use coap_core::{Code, Message, OptionNumber, Options, Token, Type};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Datagram(&'a [u8]),
    Built(Built<'a>),
}

#[derive(Arbitrary, Debug)]
struct Built<'a> {
    kind: u8,
    code: u8,
    message_id: u16,
    token: [u8; 8],
    token_len: u16,
    operations: Vec<Operation<'a>>,
    payload: &'a [u8],
}

/// What can be done to options.
#[derive(Arbitrary, Debug)]
enum Operation<'a> {
    Push(u16, &'a [u8]),
    PushRaw(u16, &'a [u8]),
    /// A value of many bytes, which no fuzzer would spell out.
    PushLong(u16, u32),
    Set(u16, &'a [u8]),
    Remove(u16),
    RetainShorterThan(u8),
    ThroughTheWire,
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Datagram(datagram) => decoded(datagram),
    Input::Built(built) => round_trip(&built),
});

fn decoded(datagram: &[u8]) {
    if let Ok(message) = Message::decode(Bytes::copy_from_slice(datagram)) {
        assert_eq!(encoded(&message), datagram);
        let mut by_hand = Options::new();
        for (number, value) in &message.options {
            by_hand.push_raw(number, value).expect("it was in a datagram");
        }
        assert_eq!(by_hand, message.options);
        assert_eq!(Message::decode_extended(Bytes::copy_from_slice(datagram)), Ok(message));
    } else if let Ok(message) = Message::decode_extended(Bytes::copy_from_slice(datagram)) {
        assert!(message.token.is_extended());
        assert_eq!(encoded(&message), datagram);
    }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut buf = vec![0; message.encoded_len()];
    assert_eq!(message.encode(&mut buf), Ok(buf.len()));
    if let Some((_, short)) = buf.clone().split_last_mut() {
        assert!(message.encode(short).is_err());
    }
    buf
}

/// Of up to eight bytes, or, where two bits say so, of many that are alike (RFC 8974).
fn token(built: &Built<'_>) -> Token {
    let Built { token, token_len, .. } = built;
    match token_len >> 14 {
        0..3 => Token::new(&token[..usize::from(token_len % 9)]).expect("at most eight bytes"),
        _ => Token::extended(&vec![7; usize::from(token_len & 0x3fff) * 5 % 65_805]).expect("at most 65,804 bytes"),
    }
}

fn round_trip(built: &Built<'_>) {
    let code = Code::from_byte(built.code);
    let mut message = Message {
        kind: [Type::Confirmable, Type::NonConfirmable, Type::Acknowledgement, Type::Reset]
            [usize::from(built.kind % 4)],
        // 0.00 has no token, options or payload; it is built below the others.
        code: if code.is_empty() { Code::GET } else { code },
        message_id: built.message_id,
        token: token(built),
        options: Options::new(),
        payload: Bytes::copy_from_slice(built.payload),
    };
    let mut twin: Vec<(OptionNumber, Vec<u8>)> = Vec::new();
    for operation in built.operations.iter().take(64) {
        operate(operation, &mut message, &mut twin);
        let listed = message.options.iter().map(|(number, value)| (number, value.to_vec()));
        assert!(listed.eq(twin.iter().cloned()));
    }
    if !message.token.is_extended() {
        assert_eq!(Message::decode(encoded(&message).into()).as_ref(), Ok(&message));
    }
    assert_eq!(Message::decode_extended(encoded(&message).into()), Ok(message));

    let empty = Message::empty(Type::Reset, built.message_id);
    assert_eq!(Message::decode(encoded(&empty).into()), Ok(empty));
}

/// Does the same to the options and to a sorted list.
fn operate(operation: &Operation<'_>, message: &mut Message, twin: &mut Vec<(OptionNumber, Vec<u8>)>) {
    let options = &mut message.options;
    let (number, value, done) = match *operation {
        Operation::Push(number, value) => {
            let number = OptionNumber::new(number);
            (number, value.to_vec(), options.push(number, value).is_ok())
        }
        Operation::PushRaw(number, value) => {
            let number = OptionNumber::new(number);
            (number, value.to_vec(), options.push_raw(number, value).is_ok())
        }
        Operation::PushLong(number, len) => {
            let (number, value) = (OptionNumber::new(number), vec![7; len as usize % 66_000]);
            let done = options.push_raw(number, &value).is_ok();
            assert_eq!(done, value.len() <= 65_804);
            (number, value, done)
        }
        Operation::Set(number, value) => {
            let number = OptionNumber::new(number);
            let done = options.set(number, value).is_ok();
            if done {
                twin.retain(|(other, _)| *other != number);
            }
            (number, value.to_vec(), done)
        }
        Operation::Remove(number) => {
            let number = OptionNumber::new(number);
            let before = twin.len();
            twin.retain(|(other, _)| *other != number);
            assert_eq!(options.remove(number), before - twin.len());
            return;
        }
        Operation::RetainShorterThan(len) => {
            options.retain(|_, value| value.len() < len.into());
            twin.retain(|(_, value)| value.len() < len.into());
            return;
        }
        Operation::ThroughTheWire => {
            *message = Message::decode_extended(encoded(message).into()).expect("well-formed");
            return;
        }
    };
    if done {
        twin.push((number, value));
        twin.sort_by_key(|(number, _)| *number);
    }
}
