//! With a seed, a run can be repeated, to the last byte on the wire.
#![cfg(feature = "simulation")]
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod common;

use coap_dtls::{ClientPsk, Limits, PskTable, SecurityConfig};
use common::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What was sent when by whom, with 20 clients at 10 % loss; and how many of them were answered.
fn run(seed: u64) -> (Vec<Flying>, usize) {
    let keys = PskTable::new().with("client", "the key of the client").unwrap();
    let server = SecurityConfig::server().psk(keys).seeded(seed).build().unwrap();
    let client = ClientPsk::new("client", "the key of the client").unwrap();
    let client = SecurityConfig::client(client).seeded(seed + 1).build().unwrap();
    let mut wire = Wire::new(&server);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    wire.fate = Some(Box::new(move |flying| match rng.next_u32() % 10 {
        0 => Vec::new(),
        1 => vec![flying.bytes.clone(); 2],
        _ => vec![flying.bytes.clone()],
    }));
    let nodes: Vec<_> = (0..20).map(|n| wire.add(&format!("192.0.2.50:{}", 1_000 + n), Limits::default())).collect();
    let mut requests = Vec::new();
    for node in nodes {
        let session = wire.connect(node, &client);
        requests.push((node, wire.get(node, session)));
    }
    wire.run(secs(120));
    let answered = requests.iter().filter(|(node, request)| wire.answer(*node, *request).is_some()).count();
    (wire.log, answered)
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    let (sent, answered) = run(1);
    assert_eq!(answered, 20);
    assert!(run(1) == (sent.clone(), answered));
    assert!(run(2).0 != sent);
}

/// RFC 5246 §7.4.1.2: the random of a hello begins with the seconds since 1970.
#[test]
fn the_time_of_a_seed_begins_with_the_year_2080() {
    let client = ClientPsk::new("client", "the key of the client").unwrap();
    let client = SecurityConfig::client(client).seeded(7).build().unwrap();
    let mut wire = Wire::new(&psk_server());
    let (beginning, passed) = (3_471_292_800, wire.now.as_micros() / 1_000_000);
    wire.connect(CLIENT, &client);
    wire.run(LATENCY / 2);
    // Behind the headers of record and message, and the version.
    let seconds: [u8; 4] = wire.log[0].bytes[27..31].try_into().unwrap();
    assert_eq!(u64::from(u32::from_be_bytes(seconds)), beginning + passed);
}

#[test]
fn two_sessions_of_one_seed_do_not_draw_the_same() {
    let client = ClientPsk::new("client", "the key of the client").unwrap();
    let client = SecurityConfig::client(client).seeded(7).build().unwrap();
    let mut wire = Wire::new(&psk_server());
    let other = wire.add("192.0.2.2:1000", Limits::default());
    for node in [CLIENT, other] {
        wire.connect(node, &client);
    }
    wire.run(LATENCY / 2);
    assert_ne!(wire.log[0].bytes[31..59], wire.log[1].bytes[31..59]);
}
