//! What an endpoint stands: floods, nonsense, jumps of time. docs/robustness.md lists the rows (R-03, R-06, …), their
//! sizes and figures.
//!
//! Here each row is small enough for every day. It prints its figures and the command that repeats it at full size, where
//! `COAP_COUNT` is the size and `COAP_SEED` the seed.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

mod amplification;
mod bodies;
mod bottleneck;
mod codec;
mod floods;
mod garbage;
mod group_stream;
mod jumps;
#[path = "../support/memory.rs"]
mod memory;
#[path = "../support/rig.rs"]
mod rig;
mod sessions;
mod timing;

/// `COAP_COUNT`, or what suits every day.
fn count(every_day: u64) -> u64 {
    std::env::var("COAP_COUNT").map_or(every_day, |text| text.parse().expect("COAP_COUNT is a number"))
}

fn repeat_with(test: &str, full: u64) {
    let seed = coap_sim::seed_from_env(1);
    let command = "cargo test --release -p coap-sim --test robustness";
    println!("at full size: COAP_SEED={seed} COAP_COUNT={full} {command} {test} -- --nocapture");
}
