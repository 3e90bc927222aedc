//! Bodies in blocks between endpoints, over networks that lose and between endpoints that reboot (RFC 7959).
//! docs/robustness.md has the figures.
//!
//! Here each row is small enough for every day. It prints its figures and the command that repeats it at full size, where
//! `COAP_COUNT` is the size and `COAP_SEED` the seed.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

mod apps;
mod lossy;
mod reboots;

/// `COAP_COUNT`, or what suits every day.
fn count(every_day: u64) -> u64 {
    std::env::var("COAP_COUNT").map_or(every_day, |text| text.parse().expect("COAP_COUNT is a number"))
}

fn repeat_with(test: &str, full: u64) {
    let seed = coap_sim::seed_from_env(1);
    let command = "cargo test --release -p coap-sim --test transfers";
    println!("at full size: COAP_SEED={seed} COAP_COUNT={full} {command} {test} -- --nocapture");
}
