//! `tests/vectors/dtls_datagrams.jsonl`: first datagrams from somebody unknown, each to a server that has just begun and to one
//! with a session of the same address.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod common;

use coap_dtls::{PskTable, SecurityConfig, ServerSecurity, Versions};
use common::*;
use serde_json::Value;

/// One line of the file.
struct Vector {
    name: String,
    bytes: Vec<u8>,
    expect: String,
    max_reply_bytes: usize,
    is_must: bool,
}

fn vectors() -> Vec<Vector> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/dtls_datagrams.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let text_of = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let vectors = lines.filter(|line| line.get("hex").is_some()).map(|line| Vector {
        name: format!("{} {}", text_of(&line, "id"), text_of(&line, "title")),
        bytes: unhex(&text_of(&line, "hex")),
        expect: text_of(&line, "expect"),
        max_reply_bytes: line["max_reply_bytes"].as_u64().unwrap() as usize,
        is_must: line["level"] == "must",
    });
    vectors.collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap()).collect()
}

/// Servers of all kinds.
fn servers() -> Vec<ServerSecurity> {
    let keys = || PskTable::new().with("client", "the key of the client").unwrap();
    vec![
        psk_server(),
        pair(Mode::Certificates).1,
        pair(Mode::Dtls13).1,
        SecurityConfig::server().psk(keys()).certificate(certificate()).versions(Versions::V12AndV13).build().unwrap(),
    ]
}

#[test]
fn first_datagrams_are_answered_with_a_cookie_or_not_at_all() {
    let servers = servers();
    let vectors = vectors();
    assert!(vectors.len() > 25);
    for security in &servers {
        for vector in &vectors {
            let mut wire = Wire::new(security);
            wire.inject(udp("192.0.2.1:1000"), udp("192.0.2.9:5684"), &vector.bytes);
            wire.run(secs(100));
            let replies = wire.sent(SERVER, 0);
            let bytes: usize = replies.iter().map(|reply| reply.bytes.len()).sum();
            assert!(bytes <= vector.max_reply_bytes && bytes <= vector.bytes.len(), "{}: {bytes} bytes", vector.name);
            // A HelloVerifyRequest is all that we ever say.
            assert!(replies.iter().all(|reply| reply.bytes[13] == 3 && reply.bytes.len() == 60), "{}", vector.name);
            let expected = match vector.expect.as_str() {
                "hvr_only" => 1..=1,
                "hvr_or_none" | "hvr_none_or_alert" => 0..=1,
                _ => 0..=0,
            };
            assert!(expected.contains(&replies.len()), "{} (must: {}): {}", vector.name, vector.is_must, replies.len());
            let server = &wire.nodes[SERVER].endpoint;
            let stats = server.session_stats();
            assert_eq!((stats.sessions, stats.half_open, stats.begun), (0, 0, 0), "{}", vector.name);
            assert_eq!((server.poll_timeout(), server.usage().peers), (None, 0), "{}", vector.name);
        }
    }
}

#[test]
fn first_datagrams_do_not_disturb_a_session_of_the_same_address() {
    for mode in MODES {
        let (mut wire, session) = Wire::open(mode);
        for vector in vectors() {
            wire.inject(udp("192.0.2.1:1000"), udp("192.0.2.9:5684"), &vector.bytes);
            wire.inject(udp("192.0.2.9:5684"), udp("192.0.2.1:1000"), &vector.bytes);
            assert!(wire.works(session), "{mode:?}, {}", vector.name);
        }
        assert_eq!(wire.nodes[SERVER].endpoint.session_stats().closed.total(), 0);
    }
}
