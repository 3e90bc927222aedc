//! What sessions cost in memory, and that nothing is left of them.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod common;

use std::alloc::System;

use coap_dtls::Limits;
use common::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that are in use.
fn used() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

/// A server with so many sessions of keys, and what of its memory is theirs.
#[test]
fn an_idle_session_with_keys_takes_about_a_kilobyte() {
    // So many that the tables are given back with them.
    const COUNT: usize = 300;
    let (client, server) = pair(Mode::Psk);
    let mut wire = Wire::new(&server);
    // The clients are alike, one after the other at ports of their own; of each, only the server's end stays.
    for n in 0..COUNT {
        wire.nodes[CLIENT] = Node::new(&format!("192.0.2.1:{}", 1_000 + n), Limits::default(), n as u64);
        let session = wire.connect(CLIENT, &client);
        wire.settle();
        assert!(wire.works(session));
    }
    assert_eq!(wire.server_sessions(), COUNT);
    wire.log = Vec::new();
    wire.nodes[CLIENT] = Node::new("192.0.2.1:1", Limits::default(), 0);
    wire.run(secs(1_000));
    let with = used();
    let now = wire.now;
    let server = &mut wire.nodes[SERVER].endpoint;
    server.disconnect_all(now);
    wire.settle();
    wire.log = Vec::new();
    assert_eq!(wire.server_sessions(), 0);
    let each = (with - used()) / COUNT;
    eprintln!("{each} bytes for each session");
    assert!((500..1_500).contains(&each), "{each} bytes");
}
