//! What a change of an observed resource costs an endpoint, in memory: one topic, each observer a peer of its own, all
//! notifications Confirmable, all in flight at once, and all acknowledged.
//!
//! Prints the time for one notification, from `publish` to the acknowledgement, and what an observer holds beside its peer, at
//! rest and with its notification in flight.
//!
//! For an instruction count, run it twice under `valgrind --tool=callgrind`, and divide the difference:
//! `cargo bench -p coap-core --bench notify -- 100000 6`, and the same with 1.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use core::net::SocketAddr;
use core::time::Duration;
use std::alloc::System;
use std::time::Instant as Clock;

use bytes::{Bytes, BytesMut};
use coap_core::{
    Config, ContentFormat, Datagram, Endpoint, Event, Instant, Local, Peer, Response, TopicId, TopicOptions,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// CON GET /time with Observe 0 and a token of four bytes.
const REGISTRATION: [u8; 14] = *b"\x44\x01\x00\x01\x01\x02\x03\x04\x60\x54time";

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn live() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let observers = arguments.first().map_or(100_000, |count| count.parse().unwrap());
    let rounds = arguments.get(1).map_or(10, |count| count.parse().unwrap());

    let before = live();
    let mut plain = endpoint(observers);
    ask(&mut plain, observers, None);
    let peers = live() - before;
    drop(plain);

    let before = live();
    let mut endpoint = endpoint(observers);
    let topic = endpoint.open_topic(TopicOptions::new());
    ask(&mut endpoint, observers, Some(topic));
    assert_eq!(endpoint.topic_observers(topic), observers as usize);
    let at_rest = live() - before;

    let (mut took, mut in_flight) = (Duration::ZERO, 0);
    let mut sent = Vec::with_capacity(observers as usize);
    let before = live() - at_rest;
    for round in 0..rounds {
        let now = Instant::from_secs(1_000 + round);
        sent.clear();
        let start = Clock::now();
        notify(&mut endpoint, now, topic, &mut sent);
        took += start.elapsed();
        in_flight = live() - before;
        assert_eq!(sent.len(), observers as usize);
        let start = Clock::now();
        acknowledge(&mut endpoint, now, &sent);
        took += start.elapsed();
        assert_eq!(endpoint.usage().in_flight, 0);
    }
    let each = |bytes: usize| (bytes as f64 - peers as f64) / f64::from(observers);
    let ns = took.as_nanos() as f64 / f64::from(observers) / rounds as f64;
    println!("{observers} observers, {rounds} changes: {ns:.0} ns for each notification");
    println!("bytes for each observer: {:.0} at rest, {:.0} in flight", each(at_rest), each(in_flight));
}

fn endpoint(observers: u32) -> Endpoint {
    let all = observers as usize;
    let config = Config::builder().max_peers(all * 6 / 5).max_observers(all).max_remembered(256);
    Endpoint::new(config.build().unwrap(), ChaCha8Rng::seed_from_u64(1))
}

/// Each peer asks once, and is accepted as an observer where there is a topic.
fn ask(endpoint: &mut Endpoint, observers: u32, topic: Option<TopicId>) {
    let mut buf = [0; 1_152];
    for n in 0..observers {
        let now = Instant::from_micros(u64::from(n) * 50);
        let payload = Bytes::from_static(&REGISTRATION);
        endpoint.handle_datagram(now, Datagram { from: peer(n), to: Local::default(), payload });
        while let Some(event) = endpoint.poll_event() {
            let Event::Request(request) = event else { continue };
            match topic {
                Some(topic) => drop(endpoint.accept_observer(now, request.id, topic, state()).unwrap()),
                None => endpoint.respond(now, request.id, state()).unwrap(),
            }
        }
        while endpoint.poll_transmit(&mut buf).is_some() {}
    }
}

fn notify(endpoint: &mut Endpoint, now: Instant, topic: TopicId, sent: &mut Vec<(Peer, [u8; 2])>) {
    let mut buf = [0; 1_152];
    assert!(endpoint.publish(now, topic, state()));
    while let Some(transmit) = endpoint.poll_transmit(&mut buf) {
        sent.push((transmit.to, [buf[2], buf[3]]));
    }
}

fn acknowledge(endpoint: &mut Endpoint, now: Instant, sent: &[(Peer, [u8; 2])]) {
    let (mut arena, mut buf) = (BytesMut::with_capacity(65_536), [0; 1_152]);
    for (from, [high, low]) in sent {
        arena.reserve(4);
        arena.extend_from_slice(&[0x60, 0, *high, *low]);
        let datagram = Datagram { from: *from, to: Local::default(), payload: arena.split().freeze() };
        endpoint.handle_datagram(now, datagram);
        assert!(endpoint.poll_event().is_none() && endpoint.poll_transmit(&mut buf).is_none());
        if endpoint.poll_timeout().is_some_and(|due| due <= now) {
            endpoint.handle_timeout(now);
        }
    }
}

fn peer(n: u32) -> Peer {
    let host = n.to_be_bytes();
    Peer::from(SocketAddr::from(([127, host[1], host[2], host[3]], 40_000)))
}

fn state() -> Response {
    Response::content(ContentFormat::TEXT_PLAIN, Bytes::from_static(b"01234567890123456789"))
}
