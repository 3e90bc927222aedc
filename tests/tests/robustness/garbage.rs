//! and mutated datagrams: nonsense of every kind into one endpoint, which goes on as if nothing had been.

use core::time::Duration;
use std::fs;
use std::path::Path;
use std::time::Instant as Clock;

use bytes::Bytes;
use coap_core::{Config, Header, Message, Type};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;

use crate::memory::{alone, live};
use crate::rig::{Rig, peer};
use crate::{count, repeat_with};

/// What the network may see in answer to a datagram.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reaction {
    Silence,
    Reset,
    ResetOrSilence,
    /// It is not said. The general rules hold.
    Any,
}

struct Seed {
    name: String,
    bytes: Bytes,
    reaction: Reaction,
}

fn unhex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn lines(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file).with_extension("jsonl");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All datagrams of a file, those of transcripts one by one.
fn seeds(file: &str) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for line in lines(file) {
        let name = line["id"].as_str().unwrap().to_owned();
        let reaction = match line["wire_reaction"].as_str() {
            Some("silent") => Reaction::Silence,
            Some("rst") => Reaction::Reset,
            Some("rst_or_silent") => Reaction::ResetOrSilence,
            Some(other) => panic!("{name}: what is {other}?"),
            None => Reaction::Any,
        };
        match line["messages"].as_array() {
            None => seeds.push(Seed { name, bytes: unhex(line["hex"].as_str().unwrap()), reaction }),
            Some(messages) => seeds.extend(messages.iter().map(|message| Seed {
                name: name.clone(),
                bytes: unhex(message["hex"].as_str().unwrap()),
                reaction,
            })),
        }
    }
    seeds
}

/// A datagram arrives, and what is sent because of it is looked at.
fn receive(rig: &mut Rig, from: u32, seed: &Seed) {
    rig.flush();
    rig.arrive(peer(from), seed.bytes.clone());
    rig.serve();
    rig.sent.clear();
    rig.send();
    let kind = Header::peek(&seed.bytes).map(|header| header.kind);
    let answers = rig.sent.iter().filter(|(to, _)| *to == peer(from)).map(|(_, bytes)| bytes);
    // What waited for its turn may have it now, and is no answer.
    let answers = answers.map(|bytes| Message::decode(bytes.clone()).unwrap());
    let answers: Vec<_> = answers.filter(|message| !message.code.is_request()).collect();
    let is_reset = |answers: &[Message]| {
        let id = seed.bytes.get(2..4).map(|id| u16::from_be_bytes([id[0], id[1]]));
        matches!(answers, [answer] if answer.kind == Type::Reset && Some(answer.message_id) == id)
    };
    let sound = match seed.reaction {
        Reaction::Silence => answers.is_empty(),
        Reaction::Reset => is_reset(&answers),
        Reaction::ResetOrSilence => answers.is_empty() || is_reset(&answers),
        // Never an answer to an acknowledgement or a Reset (RFC 7252 §4.2).
        Reaction::Any => !matches!(kind, Some(Type::Acknowledgement | Type::Reset) | None) || answers.is_empty(),
    };
    assert!(sound, "{}: {:02x?} led to {answers:?}, and not to {:?}", seed.name, &seed.bytes[..], seed.reaction);
    let stats = rig.endpoint.stats();
    assert_eq!(stats.accounted(), stats.datagrams_received, "{}: {stats:?}", seed.name);
}

#[test]
fn r06_every_bad_datagram_ever_seen_in_any_order() {
    let _alone = alone();
    let shuffles = count(10);
    let mut rng = ChaCha8Rng::seed_from_u64(coap_sim::seed_from_env(1));
    let mut all: Vec<Seed> = ["messages_invalid", "known_reports", "transcripts"].into_iter().flat_map(seeds).collect();
    let config = Config::builder().max_resets_per_second(u32::MAX).build().unwrap();
    let mut rig = Rig::new(config);
    let (empty, start) = (live(), Clock::now());
    for shuffle in 0..shuffles {
        for left in (1..all.len()).rev() {
            all.swap(left, rng.next_u64() as usize % (left + 1));
        }
        for seed in &all {
            receive(&mut rig, rng.next_u32() % 8, seed);
        }
        // Something is open with each of them while the next round comes.
        for n in 0..8 {
            let _ = rig.ask(peer(n));
        }
        assert!(rig.is_served(peer(100), shuffle as u16), "after shuffle {shuffle}");
        rig.pass(Duration::from_millis(rng.next_u64() % 60_000));
    }
    let datagrams = shuffles * all.len() as u64;
    let each = start.elapsed().as_secs_f64() * 1e6 / datagrams as f64;
    rig.comes_to_rest();
    let kept = live().saturating_sub(empty);
    println!("R-06: {} datagrams, {shuffles} shuffles: {each:.2} µs a datagram, {kept} bytes kept", all.len());
    assert!(kept <= 256 << 10, "{kept}");
    repeat_with("r06", 10_000);
}

/// One datagram, changed in a few places.
fn mutate(rng: &mut ChaCha8Rng, from: &[u8]) -> Bytes {
    let mut bytes = from.to_vec();
    for _ in 0..=rng.next_u32() % 4 {
        let (draw, value) = (rng.next_u64() as usize, rng.next_u32() as u8);
        let at = draw % (bytes.len() + 1);
        match (draw >> 32) % 6 {
            0 => bytes.insert(at, value),
            1 => bytes.truncate(at),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] ^= 1 << (value % 8),
            4 => bytes.extend_from_slice(&from[..at.min(from.len())]),
            _ if at < bytes.len() => bytes[at] = value,
            _ => {}
        }
    }
    bytes.truncate(1_280);
    bytes.into()
}

#[test]
fn mutated_datagrams_leave_nothing_behind() {
    let _alone = alone();
    let datagrams = count(100_000);
    let mut rng = ChaCha8Rng::seed_from_u64(coap_sim::seed_from_env(1));
    let files = ["messages_valid", "messages_invalid", "known_reports", "transcripts"];
    let all: Vec<Seed> = files.into_iter().flat_map(seeds).collect();
    let mut rig = Rig::new(Config::default());
    let empty = live();
    let (mut busy, mut most) = (Duration::ZERO, 0);
    for n in 0..datagrams {
        let seed = &all[rng.next_u64() as usize % all.len()];
        let bytes = mutate(&mut rng, &seed.bytes);
        let from = peer(rng.next_u32() % 20_000);
        let start = Clock::now();
        rig.arrive(from, bytes);
        rig.serve();
        rig.flush();
        busy += start.elapsed();
        if n % 64 == 0 {
            // Somebody to answer to: their Message IDs and tokens can be guessed at.
            let _ = rig.ask(from);
            rig.pass(Duration::from_millis(rng.next_u64() % 100));
            most = most.max(live().saturating_sub(empty));
        }
        if n % 10_000 == 0 {
            assert!(rig.is_served(peer(900_000), (n / 10_000) as u16), "after {n}");
        }
    }
    let stats = rig.endpoint.stats();
    rig.comes_to_rest();
    let kept = live().saturating_sub(empty);
    println!("{datagrams} mutated datagrams: {:.2} µs each", busy.as_secs_f64() * 1e6 / datagrams as f64);
    println!("  memory: {most} bytes at most, {kept} kept");
    println!(
        "  {} malformed, {} requests, {} duplicates, {} bad options, {} unmatched, {} senseless",
        stats.malformed, stats.requests_received, stats.duplicates, stats.bad_option, stats.unmatched, stats.senseless
    );
    assert!(most <= 64 << 20 && kept <= 256 << 10, "{most} {kept}");
    repeat_with("mutated", 10_000_000);
}

/// Every limit at 0, 1, 2 or 3, in any combination, and everything that can happen to an endpoint.
#[test]
fn r07_limits_next_to_nothing_in_any_combination() {
    let _alone = alone();
    let combinations = count(300);
    let mut rng = ChaCha8Rng::seed_from_u64(coap_sim::seed_from_env(1));
    let all: Vec<Seed> = ["messages_valid", "transcripts"].into_iter().flat_map(seeds).collect();
    let empty = live();
    for combination in 0..combinations {
        let mut limit = || (rng.next_u32() % 4) as usize;
        let config = Config::constrained()
            .max_peers(limit())
            .max_remembered(limit())
            .max_remembered_bytes(limit() * 30)
            .max_requests(limit())
            .max_backlog(limit())
            .max_incoming(limit())
            .max_incoming_per_peer(limit())
            .max_outbox(limit())
            .max_group_responses(limit())
            .max_resets_per_second(limit() as u32);
        let mut rig = Rig::new(config.build().unwrap());
        for _ in 0..200 {
            let (draw, n) = (rng.next_u32(), rng.next_u32() % 6);
            let seed = &all[rng.next_u64() as usize % all.len()];
            match draw % 8 {
                0 => drop(rig.ask(peer(n))),
                1 => drop(rig.endpoint.ping(rig.now, peer(n))),
                2 => rig.pass(Duration::from_millis(u64::from(draw % 30_000))),
                3 => rig.endpoint.handle_unreachable(rig.now, peer(n)),
                4 => drop(rig.serve()),
                5 => drop(rig.flush()),
                _ => rig.arrive(peer(n), seed.bytes.clone()),
            }
            let stats = rig.endpoint.stats();
            assert_eq!(stats.accounted(), stats.datagrams_received, "combination {combination}: {stats:?}");
        }
        rig.comes_to_rest();
    }
    println!("R-07: {combinations} combinations of limits from 0 to 3, 200 steps each");
    assert!(live() <= empty + (64 << 10), "{}", live() - empty);
    repeat_with("r07", 100_000);
}
