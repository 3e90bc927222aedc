//! Handshakes on a wire that loses, repeats, reorders and changes what travels.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod common;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use coap_core::{Code, Config, Endpoint, Failure, SessionEnd};
use coap_dtls::{ClientPsk, Limits, PskTable, SecureEndpoint, SecurityConfig};
use common::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// More datagrams than a handshake has.
const FLIGHTS: usize = 8;

/// A fate that counts the datagrams of one node, and treats the one with this number.
fn nth(node: &str, number: usize, mut treat: impl FnMut(&[u8]) -> Vec<Vec<u8>> + 'static) -> Fate {
    let (from, mut count) = (udp(node), 0);
    Box::new(move |flying| {
        let is_it = flying.from == from && count == number;
        count += usize::from(flying.from == from);
        if is_it { treat(&flying.bytes) } else { vec![flying.bytes.clone()] }
    })
}

const ADDRESSES: [&str; 2] = ["192.0.2.1:1000", "192.0.2.9:5684"];

#[test]
fn each_datagram_of_a_handshake_can_be_lost() {
    for mode in MODES {
        for node in ADDRESSES {
            for number in 0..FLIGHTS {
                let (client, server) = pair(mode);
                let mut wire = Wire::new(&server);
                wire.fate = Some(nth(node, number, |_| Vec::new()));
                let session = wire.connect(CLIENT, &client);
                let request = wire.get(CLIENT, session);
                wire.run(secs(8));
                let answer = wire.answer(CLIENT, request);
                assert_eq!(answer, Some(Code::CONTENT), "{mode:?}: {node} lost its datagram {number}");
                assert_eq!(wire.server_sessions(), 1);
            }
        }
    }
}

#[test]
fn each_datagram_of_a_handshake_can_come_twice_or_late() {
    for mode in MODES {
        for node in ADDRESSES {
            for number in 0..FLIGHTS {
                let (client, server) = pair(mode);
                let mut wire = Wire::new(&server);
                let mut late = None;
                let mut twice = nth(node, number, |bytes| vec![bytes.to_vec(); 3]);
                // The copy comes once more with each of the next three, of whatever node.
                wire.fate = Some(Box::new(move |flying| {
                    let mut arriving = twice(flying);
                    if arriving.len() == 3 {
                        late = Some((flying.from, 3, arriving.pop().unwrap()));
                    } else if let Some((from, left, copy)) = &mut late
                        && *left > 0
                        && flying.from == *from
                    {
                        *left -= 1;
                        arriving.push(copy.clone());
                    }
                    arriving
                }));
                let session = wire.connect(CLIENT, &client);
                let request = wire.get(CLIENT, session);
                wire.run(secs(8));
                assert_eq!(wire.answer(CLIENT, request), Some(Code::CONTENT), "{mode:?}: {node}, datagram {number}");
                assert_eq!((wire.server_sessions(), wire.nodes[SERVER].served.len()), (1, 1));
            }
        }
    }
}

#[test]
fn handshakes_end_well_where_every_tenth_datagram_is_lost() {
    for mode in MODES {
        for seed in 0..20 {
            let (client, server) = pair(mode);
            let mut wire = Wire::new(&server);
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            wire.fate = Some(Box::new(move |flying| match rng.next_u32() % 10 {
                0 => Vec::new(),
                1 => vec![flying.bytes.clone(); 2],
                _ => vec![flying.bytes.clone()],
            }));
            let session = wire.connect(CLIENT, &client);
            let request = wire.get(CLIENT, session);
            wire.run(secs(40 + 93));
            assert_eq!(wire.answer(CLIENT, request), Some(Code::CONTENT), "{mode:?}, seed {seed}");
        }
    }
}

/// The first message of a handshake in a datagram that begins in the clear.
fn message(datagram: &[u8]) -> Option<(u8, u8)> {
    (datagram.first() == Some(&22) && datagram[3..5] == [0, 0]).then(|| (datagram[13], datagram[18]))
}

const CLIENT_KEY_EXCHANGE: u8 = 16;

#[test]
fn the_end_of_a_handshake_before_does_not_end_the_next() {
    // The client's last flight is lost, so that it begins anew; then a copy of it arrives just before the true one.
    for seen in [false, true] {
        let (client, server) = pair(Mode::Psk);
        let mut wire = Wire::new(&server);
        let (from, mut late) = (udp(ADDRESSES[CLIENT]), None);
        let start = wire.now;
        wire.fate = Some(Box::new(move |flying| {
            let bytes = flying.bytes.clone();
            let is_first = flying.at - start < secs(20);
            match message(&bytes).filter(|_| flying.from == from) {
                Some((CLIENT_KEY_EXCHANGE, _)) if is_first => {
                    // The server may have got it, and its own last flight is lost.
                    let arrives = seen && late.is_none();
                    late.get_or_insert_with(|| bytes.clone());
                    if arrives { vec![bytes] } else { Vec::new() }
                }
                Some((CLIENT_KEY_EXCHANGE, _)) => vec![late.clone().unwrap(), bytes],
                // Nothing but hellos of the server arrives in the first attempt.
                _ if is_first && flying.from != from && message(&bytes).is_none() => Vec::new(),
                _ => vec![bytes],
            }
        }));
        let session = wire.connect(CLIENT, &client);
        let request = wire.get(CLIENT, session);
        wire.run(secs(21));
        assert_eq!(wire.nodes[CLIENT].endpoint.session_stats().retried, 1, "{seen}");
        assert_eq!(wire.answer(CLIENT, request), Some(Code::CONTENT), "{seen}");
        let failed = wire.nodes[SERVER].endpoint.session_stats().failed;
        assert_eq!(failed.wrong_key, 0, "{seen}");
    }
}

/// Type, epoch and number of the records in a datagram.
fn records(mut datagram: &[u8]) -> Vec<(u8, u16, u64)> {
    let mut records = Vec::new();
    while let Some((header, _)) = datagram.split_first_chunk::<13>() {
        let both = u64::from_be_bytes(*header[3..].first_chunk().unwrap());
        let (_, rest) = datagram.split_at(13 + usize::from(u16::from_be_bytes([header[11], header[12]])));
        records.push((header[0], (both >> 48) as u16, both & ((1 << 48) - 1)));
        datagram = rest;
    }
    records
}

#[test]
fn a_last_flight_that_begins_in_a_datagram_of_another_is_repeated_whole_and_under_new_numbers() {
    // Short datagrams, and a flight before it that leaves all kinds of room in its last: the server repeats it at once when the
    // client's ClientKeyExchange comes twice, and Finished with the second.
    for hint in (1..=128).step_by(3) {
        let keys = PskTable::new().with("client", "the key of the client").unwrap();
        let server = SecurityConfig::server().psk(keys).psk_hint("h".repeat(hint)).max_record(256).build().unwrap();
        let mut wire = Wire::empty();
        wire.add(ADDRESSES[CLIENT], Limits::default());
        wire.add(ADDRESSES[SERVER], Limits::default());
        let short = Config::builder().max_datagram(220).build().unwrap();
        let rng = ChaCha20Rng::seed_from_u64;
        wire.nodes[SERVER].endpoint = SecureEndpoint::new(Endpoint::new(short, rng(1)), Limits::default(), rng(2));
        wire.nodes[SERVER].endpoint.listen(0, &server).unwrap();
        let (from, mut late, mut lost) = (udp(ADDRESSES[CLIENT]), None, 0);
        let start = wire.now;
        wire.fate = Some(Box::new(move |flying| {
            let bytes = flying.bytes.clone();
            let is_first = flying.at - start < secs(20);
            let has_finished = records(&bytes).iter().any(|(kind, epoch, ..)| (*kind, *epoch) == (22, 1));
            match message(&bytes).filter(|_| flying.from == from) {
                Some((CLIENT_KEY_EXCHANGE, _)) if is_first => {
                    late.get_or_insert(bytes);
                    Vec::new()
                }
                Some((CLIENT_KEY_EXCHANGE, _)) => vec![late.clone().unwrap(), bytes],
                _ if flying.from != from && has_finished && lost < 2 => {
                    lost += 1;
                    Vec::new()
                }
                _ => vec![bytes],
            }
        }));
        let session = wire.connect(CLIENT, &psk_client());
        let request = wire.get(CLIENT, session);
        wire.run(secs(39));
        assert_eq!(wire.answer(CLIENT, request), Some(Code::CONTENT), "a hint of {hint} bytes");
        let sent = wire.sent(SERVER, 0).into_iter().filter(|flying| flying.at - start >= secs(20));
        let numbers: Vec<_> =
            sent.flat_map(|flying| records(&flying.bytes)).map(|(_, epoch, number)| (epoch, number)).collect();
        let different: BTreeSet<_> = numbers.iter().collect();
        assert_eq!(numbers.len(), different.len(), "a hint of {hint} bytes: {numbers:?}");
    }
}

#[test]
fn a_wrong_key_is_told_at_once_each_time() {
    let mut wire = Wire::new(&psk_server());
    let client = SecurityConfig::client(ClientPsk::new("client", "another key").unwrap()).build().unwrap();
    for _ in 0..20 {
        let session = wire.connect(CLIENT, &client);
        let request = wire.get(CLIENT, session);
        wire.run(secs(1));
        assert_eq!(wire.failure(CLIENT, request), Some(Failure::Session(SessionEnd::Alert(51))));
    }
}

/// A network that loses a third of all datagrams, and holds every fifth back for up to 40 s.
fn bad_network(wire: &mut Wire, seed: u64) {
    let (mut loss, mut delay) = (ChaCha20Rng::seed_from_u64(seed), ChaCha20Rng::seed_from_u64(!seed));
    wire.fate =
        Some(Box::new(move |flying| if loss.next_u32() % 3 == 0 { Vec::new() } else { vec![flying.bytes.clone()] }));
    wire.delay = Some(Box::new(move || match delay.next_u32() % 5 {
        0 => Duration::from_millis(u64::from(delay.next_u32() % 40_000)),
        _ => Duration::ZERO,
    }));
}

#[test]
fn on_the_worst_of_networks_a_right_key_is_never_called_wrong() {
    let mut ends = BTreeMap::new();
    for seed in 0..seeds() {
        let (client, server) = pair(Mode::Psk);
        let mut wire = Wire::new(&server);
        bad_network(&mut wire, seed);
        // One after the other, on one path: what is late of one arrives in the next.
        for _ in 0..4 {
            let session = wire.connect(CLIENT, &client);
            let request = wire.get(CLIENT, session);
            wire.run(secs(45));
            let now = wire.now;
            wire.nodes[CLIENT].endpoint.disconnect(now, session);
            let end = match (wire.answer(CLIENT, request), wire.failure(CLIENT, request)) {
                (Some(_), _) => "answered".to_owned(),
                (None, Some(Failure::Session(end))) => format!("{end:?}"),
                (None, other) => format!("{other:?}"),
            };
            *ends.entry(end).or_insert(0) += 1;
        }
    }
    if std::env::var_os("COAP_SEEDS").is_some() {
        println!("{ends:?}");
    }
    assert!(!ends.contains_key("WrongKey") && !ends.contains_key("Alert(51)"), "{ends:?}");
    assert!(ends["answered"] > seeds() * 4 / 2, "{ends:?}");
}

/// How many networks are tried; COAP_SEEDS says how many instead.
fn seeds() -> u64 {
    std::env::var("COAP_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(100)
}

#[test]
fn a_handshake_that_nobody_answers_ends_by_its_deadline() {
    let (client, server) = pair(Mode::Psk);
    let mut wire = Wire::new(&server);
    wire.fate = Some(Box::new(|_| Vec::new()));
    let session = wire.connect(CLIENT, &client);
    let request = wire.get(CLIENT, session);
    wire.run(secs(39));
    assert_eq!(wire.failure(CLIENT, request), None);
    wire.run(secs(2));
    assert_eq!(wire.failure(CLIENT, request), Some(Failure::Session(SessionEnd::NoAnswer)));
    let hellos = wire.sent(CLIENT, 0);
    let times: Vec<_> = hellos.iter().map(|flying| (flying.at - hellos[0].at).as_secs_f32()).collect();
    // RFC 6347 §4.2.4.1: after 1 s, and after twice the time each time, give or take a quarter.
    assert_eq!(times.len(), 6, "{times:?}");
    for (number, window) in times.windows(2).enumerate() {
        let expected = 2_f32.powi(number as i32);
        let waited = window[1] - window[0];
        assert!((0.7 * expected..=1.3 * expected).contains(&waited), "{times:?}");
    }
    let stats = wire.nodes[CLIENT].endpoint.session_stats();
    assert_eq!((stats.opening, stats.failed.timeout), (0, 1));
    assert!(wire.nodes[CLIENT].endpoint.session(session).is_none());
}

/// Changes bytes of a hello in all hellos from the one with this number on, repetitions too.
fn change_hellos(from: usize, byte: usize) -> Fate {
    let client = udp(ADDRESSES[CLIENT]);
    let mut hellos = 0;
    Box::new(move |flying| {
        let mut bytes = flying.bytes.clone();
        let is_hello = bytes[0] == 22 && bytes[3..5] == [0, 0] && bytes[13] == 1;
        if flying.from == client && is_hello {
            if let Some(byte) = bytes.get_mut(byte).filter(|_| hellos >= from) {
                *byte ^= 1;
            }
            hellos += 1;
        }
        vec![bytes]
    })
}

#[test]
fn whoever_changes_a_hello_gets_no_session() {
    for (mode, step) in [(Mode::Psk, 1), (Mode::Certificates, 19), (Mode::Dtls13, 97)] {
        let (client, server) = pair(mode);
        let length = {
            let mut wire = Wire::new(&server);
            wire.connect(CLIENT, &client);
            wire.settle();
            wire.sent(CLIENT, 0)[1].bytes.len()
        };
        for byte in (0..length).step_by(step) {
            let mut wire = Wire::new(&server);
            wire.fate = Some(change_hellos(1, byte));
            let session = wire.connect(CLIENT, &client);
            wire.run(secs(60));
            let established = [CLIENT, SERVER].map(|node| wire.nodes[node].endpoint.session_stats().established);
            // Of the header of the record, no more is covered than that the record is one: its version and number are not.
            let is_covered = byte >= 13;
            assert!(!is_covered || established == [0, 0], "{mode:?}, byte {byte}: {established:?}");
            if wire.is_open(CLIENT, session) {
                wire.fate = None;
                assert!(wire.works(session), "{mode:?}, byte {byte}");
            }
        }
    }
}

#[test]
fn a_first_hello_is_not_part_of_what_is_agreed_on() {
    let (client, server) = pair(Mode::Psk);
    // A byte of its extensions: the server answers with a cookie, which is for the second hello too.
    let mut wire = Wire::new(&server);
    let fate = nth(ADDRESSES[CLIENT], 0, |bytes| {
        let mut bytes = bytes.to_vec();
        bytes[78] ^= 1;
        vec![bytes]
    });
    wire.fate = Some(fate);
    let session = wire.connect(CLIENT, &client);
    wire.settle();
    assert!(wire.is_open(CLIENT, session));
}

#[test]
fn whoever_changes_a_datagram_of_a_handshake_once_delays_it() {
    let mut failed = 0;
    for mode in MODES {
        for node in ADDRESSES {
            for number in 0..FLIGHTS {
                for seed in 0..3 {
                    let (client, server) = pair(mode);
                    let mut wire = Wire::new(&server);
                    let mut rng = ChaCha20Rng::seed_from_u64(seed);
                    wire.fate = Some(nth(node, number, move |bytes| {
                        let mut bytes = bytes.to_vec();
                        let byte = rng.next_u32() as usize % bytes.len();
                        bytes[byte] ^= 1 << (rng.next_u32() % 8);
                        vec![bytes]
                    }));
                    let session = wire.connect(CLIENT, &client);
                    wire.run(secs(60));
                    wire.fate = None;
                    let what = format!("{mode:?}, {node}, datagram {number}, seed {seed}");
                    if wire.is_open(CLIENT, session) && wire.works(session) {
                        continue;
                    }
                    // The client has given up, or takes for done what the server has given up: nobody answers then.
                    failed += 1;
                    wire.run(secs(100));
                    let again = wire.connect(CLIENT, &client);
                    wire.settle();
                    assert!(again != session && wire.works(again), "{what}");
                }
            }
        }
    }
    // With DTLS 1.3 alone: a flight of which a part was changed on the way.
    assert!(failed < 5, "{failed} handshakes failed");
}
