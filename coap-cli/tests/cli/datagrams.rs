//! `tests/vectors/dtls_datagrams.jsonl` over loopback: what somebody unknown may send to a secure listener, and what comes back.

use core::time::Duration;
use std::fs;
use std::net::UdpSocket;

use serde_json::Value;

use crate::harness::{Server, coap};

/// A datagram on its way, and what may come back.
struct Sent {
    name: String,
    from: UdpSocket,
    len: usize,
    expect: String,
    max_reply_bytes: usize,
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap()).collect()
}

/// Sends each from a port of its own.
fn send_all(to: &str) -> Vec<Sent> {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/dtls_datagrams.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let sent = lines.filter(|line| line.get("hex").is_some()).map(|line| {
        let (from, bytes) = (UdpSocket::bind("127.0.0.1:0").unwrap(), unhex(line["hex"].as_str().unwrap()));
        from.send_to(&bytes, to).unwrap();
        from.set_nonblocking(true).unwrap();
        Sent {
            name: format!("{} {}", line["id"], line["title"]),
            from,
            len: bytes.len(),
            expect: line["expect"].as_str().unwrap().to_owned(),
            max_reply_bytes: line["max_reply_bytes"].as_u64().unwrap() as usize,
        }
    });
    sent.collect()
}

fn replies(sent: &Sent) -> Vec<Vec<u8>> {
    let mut buf = [0; 2_048];
    core::iter::from_fn(|| sent.from.recv(&mut buf).ok().map(|len| buf[..len].to_vec())).collect()
}

/// Content type and, of a handshake, message type.
fn kind(record: &[u8]) -> (u8, Option<u8>) {
    (record[0], (record[0] == 22).then(|| record[13]))
}

const HELLO_VERIFY_REQUEST: (u8, Option<u8>) = (22, Some(3));
const ALERT: (u8, Option<u8>) = (21, None);

#[test]
fn first_datagrams_get_a_cookie_an_alert_or_nothing_and_the_server_goes_on() {
    for library in ["dimpl", "webrtc-dtls"] {
        let server = Server::start(&["--coaps", "127.0.0.1:0", "--psk", "alice:secret", "--dtls", library]);
        let listener = &server.addrs[1];
        let all = send_all(listener);
        assert!(all.len() > 25);
        // A good client gets its answer while and after they are looked at.
        let uri = format!("coaps://{listener}/hello");
        coap(&["get", "-u", "alice", "-k", "secret", &uri]).answered("2.05");
        // Long enough for a timer that would say something unasked.
        std::thread::sleep(Duration::from_millis(1_500));
        for sent in &all {
            let (replies, name) = (replies(sent), &sent.name);
            let bytes: usize = replies.iter().map(Vec::len).sum();
            assert!(bytes <= sent.max_reply_bytes && bytes <= sent.len, "{library}, {name}: {bytes} bytes");
            let kinds: Vec<_> = replies.iter().map(|reply| kind(reply)).collect();
            let fits = match sent.expect.as_str() {
                // webrtc-dtls tells a client without the extended master secret at once that it will not do.
                "hvr_only" if library == "webrtc-dtls" && kinds == [ALERT] => name.contains("without extensions"),
                "hvr_only" => kinds == [HELLO_VERIFY_REQUEST],
                "hvr_or_none" => kinds.is_empty() || kinds == [HELLO_VERIFY_REQUEST],
                "hvr_none_or_alert" => kinds.is_empty() || kinds == [HELLO_VERIFY_REQUEST] || kinds == [ALERT],
                _ => kinds.is_empty(),
            };
            assert!(fits, "{library}, {name}: {} was expected, {kinds:?} came", sent.expect);
        }
        coap(&["get", "-u", "alice", "-k", "secret", &uri]).answered("2.05");
    }
}
