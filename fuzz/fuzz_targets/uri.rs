//! URIs: no text and no options make us panic, and what was read once is written and read again without a difference.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use coap_core::{Host, Message, Scheme, Uri, UriError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = core::str::from_utf8(data) {
        read(text);
    }
    if let Ok(message) = Message::decode(Bytes::copy_from_slice(data)) {
        composed(&message);
    }
});

fn read(text: &str) {
    let strict = Uri::parse(text);
    let lenient = Uri::from_input(text);
    match (&strict, &lenient) {
        (Ok(strict), lenient) => {
            assert_eq!(lenient.as_ref(), Ok(strict), "what is right is not completed to something else");
            survives(strict);
        }
        (Err(error), Ok(lenient)) => {
            is_one_line(error);
            survives(lenient);
        }
        (Err(strict), Err(lenient)) => {
            is_one_line(strict);
            is_one_line(lenient);
        }
    }
    let base = Uri::parse("coaps://[fe80::1%25eth0]:9/a/b;c//d?e/f").expect("it is well-formed");
    match base.join(text) {
        Ok(target) => survives(&target),
        Err(error) => is_one_line(&error),
    }
}

/// Through the text, and through the options.
fn survives(uri: &Uri) {
    let text = uri.to_string();
    let again = Uri::parse(&text).expect("what we write, we read");
    match uri.host() {
        // A letter that was percent-encoded keeps its case, and is written plainly.
        Host::Name(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            assert_eq!((again.path(), again.query(), again.port()), (uri.path(), uri.query(), uri.port()));
        }
        _ => {
            assert_eq!(&again, uri);
            assert_eq!(again.to_string(), text);
            assert_eq!(uri.join("").as_ref(), Ok(uri));
        }
    }

    let to = SocketAddr::new(uri.ip().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), uri.port());
    match (Uri::from_options(uri.scheme(), to, &uri.options()), uri.host()) {
        // RFC 7252 §6.5 step 3 takes Uri-Host as it would stand in a URI, where it cannot hold every character.
        (_, Host::Name(name)) if !name.bytes().all(stands_for_itself) => {}
        // An address of a socket has a number for its zone.
        (Ok(back), Host::Ipv6 { zone: Some(_), .. }) => {
            assert_eq!((back.path(), back.query(), back.ip()), (uri.path(), uri.query(), uri.ip()));
        }
        (back, _) => assert_eq!(back.as_ref(), Ok(uri)),
    }
}

fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) || !byte.is_ascii()
}

fn composed(message: &Message) {
    match Uri::from_options(Scheme::Coap, "192.0.2.1:5683".parse().expect("an address"), &message.options) {
        Ok(uri) => survives(&uri),
        Err(error) => is_one_line(&error),
    }
}

fn is_one_line(error: &UriError) {
    let line = error.to_string();
    assert!(line.len() < 2_000 && !line.chars().any(char::is_control), "{line:?}");
}
