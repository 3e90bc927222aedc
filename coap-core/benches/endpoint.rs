//! What a request costs an endpoint, in memory: CON GET /hello, answered at once with 20 bytes.
//!
//! For an instruction count, run it twice under `valgrind --tool=callgrind`, and divide the difference:
//! `cargo bench -p coap-core --bench endpoint -- server 110000`, and the same with 10000.
//!
//! What many peers cost: `server 100000 100000 400000` is one request from each of 100,000, and nothing forgotten, and
//! `server 100000 100 400000` the same number of requests from 100.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use core::hint::black_box;
use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant as Clock;

use bytes::{Bytes, BytesMut};
use coap_core::{Config, ContentFormat, Datagram, Endpoint, Event, Instant, Local, Peer, Response};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// CON GET /hello with a token of four bytes; the Message ID goes into bytes 2 and 3.
const REQUEST: [u8; 14] = *b"\x44\x01\x00\x00\x01\x02\x03\x04\xb5hello";

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let what = arguments.first().map_or("server", String::as_str);
    let count = arguments.get(1).map_or(1_000_000, |count| count.parse().unwrap());
    let peers = arguments.get(2).map_or(16, |peers| peers.parse().unwrap());
    let remembered = arguments.get(3).map_or(65_536, |entries| entries.parse().unwrap());
    assert_eq!(what, "server", "server [REQUESTS] [PEERS] [REMEMBERED]");
    let took = server(count, peers, remembered);
    println!("{count} requests from {peers} peers: {:.0} ns each", took.as_nanos() as f64 / f64::from(count));
}

fn server(count: u32, peers: u32, remembered: usize) -> Duration {
    // A fifth more than there are: a table that is never quite full.
    let config = Config::builder().max_peers(peers.max(16) as usize * 6 / 5).max_remembered(remembered);
    let config = config.build().unwrap();
    let mut endpoint = Endpoint::new(config, ChaCha8Rng::seed_from_u64(1));
    let (mut arena, mut buf) = (BytesMut::with_capacity(65_536), [0; 1_152]);
    let body = Bytes::from_static(b"01234567890123456789");
    let start = Clock::now();
    for n in 0..count {
        // 20,000 requests a second, and each Message ID of a peer once in 65,536.
        let now = Instant::from_micros(u64::from(n) * 50);
        let host = (n % peers).to_be_bytes();
        let from = Peer::from(SocketAddr::from(([127, host[1], host[2], host[3]], 40_000)));
        let mut request = REQUEST;
        request[2..4].copy_from_slice(&((n / peers) as u16).to_be_bytes());
        arena.reserve(REQUEST.len());
        arena.extend_from_slice(&request);
        let payload = arena.split().freeze();
        endpoint.handle_datagram(now, Datagram { from, to: Local::default(), payload });
        while let Some(event) = endpoint.poll_event() {
            let Event::Request(request) = event else { continue };
            let response = Response::content(ContentFormat::TEXT_PLAIN, body.clone());
            endpoint.respond(now, request.id, response).unwrap();
        }
        while let Some(transmit) = endpoint.poll_transmit(&mut buf) {
            black_box(&buf[..transmit.len]);
        }
        if endpoint.poll_timeout().is_some_and(|due| due <= now) {
            endpoint.handle_timeout(now);
        }
    }
    start.elapsed()
}
