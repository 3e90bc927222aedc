//! What anybody can send from the address of a peer, without its keys: a session that stands goes on as if nothing had come.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod common;

use common::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A record with this header.
fn record(kind: u8, epoch: u16, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0xfe, 0xfd];
    out.extend_from_slice(&epoch.to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes()[2..]);
    out.extend_from_slice(&(body.len() as u16).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// A handshake message in the clear.
fn handshake(kind: u8, message_seq: u16, body: &[u8]) -> Vec<u8> {
    let length = &(body.len() as u32).to_be_bytes()[1..];
    let mut out = vec![kind];
    out.extend_from_slice(length);
    out.extend_from_slice(&message_seq.to_be_bytes());
    out.extend_from_slice(&[0; 3]);
    out.extend_from_slice(length);
    out.extend_from_slice(body);
    record(22, 0, u64::from(message_seq) + 1_000, &out)
}

/// Every kind of forgery, by name.
fn forgeries() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let mut noise = |length: usize| {
        let mut bytes = vec![0; length];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    let lengths = [0, 1, 2, 7, 8, 9, 15, 16, 17, 24, 25, 33, 64, 1_200];
    let sequences = [0, 1, 2, 3, 1_000, (1 << 48) - 1];
    let mut protected = Vec::new();
    for epoch in [1, 2, 3, 4, 65_535] {
        for kind in 20..=26 {
            protected.extend(lengths.map(|length| record(kind, epoch, sequences[length % 6], &noise(length))));
        }
    }
    let mut unified = Vec::new();
    for first in 32..=63 {
        for length in lengths {
            unified.push([vec![first], noise(length)].concat());
        }
    }
    let clear = |kind: u8| sequences.map(|sequence| record(kind, 0, sequence, b"\x40\x01\x00\x01"));
    let alerts = (0..=120).flat_map(|number| [1, 2].map(|level| record(21, 0, number, &[level, number as u8])));
    let messages = [0, 1, 2, 3, 4, 8, 11, 12, 13, 14, 15, 16, 20, 24, 254];
    let messages = messages.iter().flat_map(|kind| {
        (0..10).flat_map(|message_seq| [0, 1, 12, 40, 200].map(|length| (*kind, message_seq, length)))
    });
    let messages = messages.map(|(kind, message_seq, length)| handshake(kind, message_seq, &noise(length))).collect();
    let one = record(23, 1, 9, &[0; 24]);
    let mut cut: Vec<_> = (0..one.len()).map(|length| one[..length].to_vec()).collect();
    cut.push([&one[..], &one[..20]].concat());
    cut.push(vec![0xff; 40]);
    vec![
        ("records with keys that nobody has", protected),
        ("records of DTLS 1.3 with keys that nobody has", unified),
        ("alerts in the clear", alerts.collect()),
        ("close_notify in the clear", vec![record(21, 0, 5, &[1, 0]), record(21, 0, 6, &[2, 0])]),
        ("requests in the clear", vec![b"\x40\x01\x00\x01".to_vec(), b"\x40\x03\x00\x02\xff1".to_vec()]),
        ("data in the clear", clear(23).to_vec()),
        ("ChangeCipherSpec", (0..20).map(|sequence| record(20, 0, sequence, &[1])).collect()),
        ("heartbeats and others", clear(24).into_iter().chain(clear(25)).chain(clear(26)).collect()),
        ("handshake messages in the clear", messages),
        ("records that are cut off", cut),
        ("twenty records in one", vec![one.repeat(20), record(20, 0, 1, &[1]).repeat(20)]),
        ("a renegotiation", vec![handshake(0, 0, &[]), handshake(0, 9, &[])]),
    ]
}

/// Sends datagrams from the address of one node to the other, and lets a second pass after each thirty.
fn send(wire: &mut Wire, from: usize, to: usize, datagrams: &[Vec<u8>]) {
    let (from, to) = (wire.nodes[from].addr, wire.nodes[to].addr);
    for some in datagrams.chunks(30) {
        some.iter().for_each(|datagram| wire.inject(from, to, datagram));
        wire.run(LATENCY * 2);
    }
}

#[test]
fn forged_datagrams_do_not_disturb_a_session() {
    for mode in MODES {
        for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
            let (mut wire, session) = Wire::open(mode);
            assert!(wire.works(session));
            for (name, datagrams) in forgeries() {
                let served = wire.nodes[SERVER].served.len();
                send(&mut wire, from, to, &datagrams);
                assert_eq!(wire.nodes[SERVER].served.len(), served, "{mode:?}, {name}: nothing is handed up");
                assert!(wire.works(session), "{mode:?}, from {from}: {name}");
                let stats = wire.nodes[to].endpoint.session_stats();
                assert_eq!((stats.sessions, stats.closed.total()), (1, 0), "{mode:?}, from {from}: {name}");
            }
        }
    }
}

#[test]
fn forged_datagrams_are_not_answered_with_more_than_they_bring() {
    for mode in MODES {
        let (mut wire, session) = Wire::open(mode);
        assert!(wire.works(session));
        for (name, datagrams) in forgeries() {
            let before = wire.log.len();
            send(&mut wire, CLIENT, SERVER, &datagrams);
            wire.run(secs(100));
            let sent: usize = wire.sent(SERVER, before).iter().map(|flying| flying.bytes.len()).sum();
            let came: usize = datagrams.iter().map(Vec::len).sum();
            assert!(sent <= came, "{mode:?}, {name}: {sent} bytes for {came}");
        }
    }
}

#[test]
fn each_record_that_was_sent_does_nothing_when_it_comes_again() {
    for mode in MODES {
        let (mut wire, session) = Wire::open(mode);
        for _ in 0..5 {
            assert!(wire.works(session));
        }
        let log = wire.log.clone();
        for after in [secs(0), secs(60), secs(3_600)] {
            wire.run(after);
            let (served, answered) = (wire.nodes[SERVER].served.len(), wire.nodes[CLIENT].answers.len());
            for some in log.chunks(20) {
                for flying in some {
                    wire.inject(flying.from, flying.to, &flying.bytes);
                    // And back to who has sent it.
                    wire.inject(flying.to, flying.from, &flying.bytes);
                }
                wire.settle();
            }
            wire.run(secs(100));
            let now = (wire.nodes[SERVER].served.len(), wire.nodes[CLIENT].answers.len());
            assert_eq!(now, (served, answered), "{mode:?}, after {after:?}");
            for node in [CLIENT, SERVER] {
                let stats = wire.nodes[node].endpoint.session_stats();
                assert_eq!((stats.sessions, stats.closed.total(), stats.half_open), (1, 0, 0), "{mode:?}");
            }
            assert!(wire.works(session), "{mode:?}, after {after:?}");
        }
    }
}

#[test]
fn a_changed_bit_makes_a_record_nobodys() {
    for mode in MODES {
        let (mut wire, session) = Wire::open(mode);
        assert!(wire.works(session));
        let log = wire.log.clone();
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let served = wire.nodes[SERVER].served.len();
        for flying in &log {
            for byte in 0..flying.bytes.len() {
                let mut changed = flying.bytes.clone();
                changed[byte] ^= 1 << (rng.next_u32() % 8);
                wire.inject(flying.from, flying.to, &changed);
                if byte % 16 == 0 {
                    wire.run(LATENCY);
                }
            }
            wire.settle();
        }
        wire.run(secs(100));
        assert_eq!(wire.nodes[SERVER].served.len(), served, "{mode:?}");
        assert!(wire.works(session), "{mode:?}");
        for node in [CLIENT, SERVER] {
            let stats = wire.nodes[node].endpoint.session_stats();
            assert_eq!((stats.sessions, stats.closed.total()), (1, 0), "{mode:?}");
        }
    }
}

/// A datagram with some bytes, lengths or pieces of it changed.
fn garble(rng: &mut ChaCha20Rng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let any = |rng: &mut ChaCha20Rng, length: usize| rng.next_u32() as usize % length.max(1);
    for _ in 0..=any(rng, 3) {
        let place = any(rng, bytes.len());
        match any(rng, 7) {
            0 => bytes.truncate(place + 1),
            1 => bytes.extend_from_slice(other),
            2 => drop(bytes.splice(place.., other.iter().copied().skip(place))),
            // The lengths and numbers of the headers.
            3 | 4 => bytes.iter_mut().skip(11 + any(rng, 14)).take(1).for_each(|byte| *byte = rng.next_u32() as u8),
            5 => bytes.iter_mut().take(1).for_each(|byte| *byte = 20 + (rng.next_u32() % 44) as u8),
            _ => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte = rng.next_u32() as u8),
        }
    }
    bytes
}

#[test]
fn whatever_comes_in_the_midst_of_a_handshake_both_ends_go_on_living() {
    for mode in MODES {
        for seed in 0..60 {
            let (client, server) = pair(mode);
            let mut wire = Wire::new(&server);
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let mut seen: Vec<Vec<u8>> = Vec::new();
            wire.fate = Some(Box::new(move |flying| {
                seen.push(flying.bytes.clone());
                let other = &seen[rng.next_u32() as usize % seen.len()];
                let mut arriving: Vec<_> = (0..3).map(|_| garble(&mut rng, &flying.bytes, other)).collect();
                arriving.insert(rng.next_u32() as usize % 4, flying.bytes.clone());
                arriving
            }));
            let session = wire.connect(CLIENT, &client);
            wire.run(secs(100));
            // Whoever forges so much can keep them from each other, and no more than that.
            let stats = [CLIENT, SERVER].map(|node| wire.nodes[node].endpoint.session_stats());
            assert!(stats[0].opening + stats[1].half_open == 0, "{mode:?}, seed {seed}");
            wire.fate = None;
            let again = if wire.is_open(CLIENT, session) { session } else { wire.connect(CLIENT, &client) };
            wire.settle();
            if !wire.works(again) {
                wire.run(secs(100));
                let again = wire.connect(CLIENT, &client);
                wire.settle();
                assert!(wire.works(again), "{mode:?}, seed {seed}");
            }
        }
    }
}
