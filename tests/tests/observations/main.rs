//! Observers and what they observe, over networks that lose and between endpoints that reboot (RFC 7641).
//! docs/robustness.md has the figures.
//!
//! Here each row is small enough for every day. It prints its figures and the command that repeats it at full size, where
//! `COAP_COUNT` is the number of clients at each point and `COAP_SEED` the seed.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

mod apps;
mod reboots;

use core::time::Duration;

use coap_core::{Closed, Config, Reliability, RequestOptions, TopicOptions};
use coap_sim::{Link, Sim};

use crate::apps::{Server, Source, watch};

/// How long a state is good for, in seconds.
const MAX_AGE: u32 = 10;

/// `COAP_COUNT`, or what suits every day.
fn count(every_day: u64) -> u64 {
    std::env::var("COAP_COUNT").map_or(every_day, |text| text.parse().expect("COAP_COUNT is a number"))
}

fn repeat_with(test: &str, full: u64) {
    let seed = coap_sim::seed_from_env(1);
    let command = "cargo test --release -p coap-sim --test observations";
    println!("at full size: COAP_SEED={seed} COAP_COUNT={full} {command} {test} -- --nocapture");
}

/// A resource that changes every so often, for so long.
struct Point {
    every: Duration,
    span: Duration,
    loss: f64,
    reliability: Reliability,
    /// Longer than a block, or not.
    len: usize,
}

impl Point {
    /// How long after the last change the last client knew it.
    fn run(&self, clients: u64, seed: u64) -> Duration {
        let mut sim = Sim::new(seed);
        sim.keep_trace(200);
        // The number in Observe goes round at 17,180 s.
        sim.run_until(coap_core::Instant::from_secs(17_180 - self.span.as_secs() / 2));
        let server = sim.node("server", Config::default());
        let source = Source::new(TopicOptions::new().reliability(self.reliability), MAX_AGE, self.len);
        sim.run_app(server, Server(source.clone()));
        let link = Link::lossy(self.loss).duplication(0.05).reordering(0.1, Duration::from_secs(2));
        let nodes: Vec<_> = (0..clients).map(|n| sim.node(&format!("client {n}"), Config::default())).collect();
        let mut all = Vec::new();
        for node in &nodes {
            sim.link(*node, server, link);
            all.push(watch(&mut sim, *node, server, &RequestOptions::new()));
        }
        let changes = self.span.as_millis() / self.every.as_millis();
        for n in 0..changes {
            sim.run_for(self.every);
            source.change(&mut sim, server);
            // One vanishes for good, and one comes back as somebody else.
            if n == changes / 2 {
                sim.cut(nodes[0], server);
            }
            if n == changes / 3 {
                sim.reboot(nodes[1]);
                let new = watch(&mut sim, nodes[1], server, &RequestOptions::new());
                all[1] = new;
            }
        }
        let (stopped, last) = (sim.now(), source.state());
        let live = &all[1..];
        let knows = |seen: &apps::Seen| seen.states.last().is_some_and(|(_, state)| *state == last);
        while !live.iter().all(|seen| knows(&seen.borrow())) {
            assert!(sim.now() - stopped < Duration::from_secs(1_000), "not all know the last state");
            sim.run_for(Duration::from_millis(100));
        }
        let late = sim.now() - stopped;
        // A state that stays is told again, Confirmable, and who vanished is found out.
        sim.run_for(Duration::from_secs(300));
        source.change(&mut sim, server);
        sim.run_for(Duration::from_secs(120));
        let observers = source.observers(&sim, server);
        assert!(observers < all.len(), "{observers} observers, and one of {} has vanished", all.len());
        assert!(self.loss > 0.0 || observers == all.len() - 1, "{observers} of {}", all.len());
        assert!(source.lost.borrow().iter().any(|why| matches!(why, Closed::NoAck | Closed::Unreachable)));
        late
    }
}

#[test]
fn r14_the_last_state_reaches_every_client_and_none_comes_out_of_order() {
    let clients = count(8).max(3);
    let seed = coap_sim::seed_from_env(1);
    let full = std::env::var("COAP_COUNT").is_ok();
    let kinds = [Reliability::Confirmable, Reliability::NonConfirmable { confirm_every: 8 }];
    let paces = [(10, 10), (1_000, 120), (60_000, 600)];
    for ((every, span), reliability) in paces.into_iter().flat_map(|pace| kinds.map(|kind| (pace, kind))) {
        for loss in [0.0, 0.1, 0.3, 0.5] {
            let span = Duration::from_secs(if full { 3_600 } else { span });
            let point = Point { every: Duration::from_millis(every), span, loss, reliability, len: 1 };
            let late = point.run(clients, seed);
            println!("R-14, {reliability:?} every {every} ms at loss {loss}: all know the last after {late:?}");
            // Max-Age, the wait until it is registered again, one exchange; where that fails one in four times, some more.
            let exchanges = if loss > 0.3 { 4 } else { 2 };
            let most = u64::from(MAX_AGE) + 15 + 93 * exchanges + 30 * (exchanges - 1) * exchanges / 2;
            assert!(late <= Duration::from_secs(most), "{late:?}");
        }
    }
    repeat_with("r14_the_last", 100);
}

/// Each state has four blocks, which change again while they are fetched.
#[test]
fn r14_states_in_blocks_are_never_mixed() {
    let clients = count(4).max(3);
    let seed = coap_sim::seed_from_env(1);
    for (every, loss) in [(200, 0.0), (1_000, 0.1), (5_000, 0.2)] {
        let point = Point {
            every: Duration::from_millis(every),
            span: Duration::from_secs(60),
            loss,
            reliability: Reliability::Confirmable,
            len: 4_000,
        };
        let late = point.run(clients, seed);
        println!("R-14, 4,000 bytes every {every} ms at loss {loss}: all know the last after {late:?}");
    }
    repeat_with("r14_states", 100);
}
