//! Either side reboots while something is observed: the other finds out, and goes on.

use core::time::Duration;

use coap_core::{Closed, Config, RequestOptions, TopicOptions};
use coap_sim::{Link, Node, Sim};

use crate::apps::{Server, Source, watch};
use crate::{MAX_AGE, count, repeat_with};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn pair(seed: u64, link: Link, len: usize) -> (Sim, Node, Node, std::rc::Rc<Source>) {
    let mut sim = Sim::new(seed);
    let (client, server) = (sim.node("client", Config::default()), sim.node("server", Config::default()));
    let source = Source::new(TopicOptions::new(), MAX_AGE, len);
    sim.run_app(server, Server(source.clone()));
    sim.link(client, server, link);
    (sim, client, server, source)
}

#[test]
fn a_server_that_reboots_is_registered_with_again_after_max_age() {
    let (mut sim, client, server, source) = pair(1, Link::new(), 1);
    let seen = watch(&mut sim, client, server, &RequestOptions::new());
    sim.run_for(secs(1));
    source.change(&mut sim, server);
    sim.run_for(secs(1));
    sim.reboot(server);
    // It does not know whom to tell.
    source.change(&mut sim, server);
    assert_eq!(source.observers(&sim, server), 0);
    sim.run_for(secs(u64::from(MAX_AGE) + 4));
    assert_eq!((seen.borrow().states.len(), seen.borrow().stale, seen.borrow().again), (2, 0, 0));
    sim.run_for(secs(13));
    // Its numbers may begin anew (RFC 7641 §3.4): what answers a registration is the newest.
    assert_eq!(seen.borrow().states.last().unwrap().1, 2);
    assert_eq!((seen.borrow().again, source.observers(&sim, server)), (1, 1));
    source.change(&mut sim, server);
    sim.run_for(secs(1));
    assert_eq!(seen.borrow().states.last().unwrap().1, 3);
    assert!(seen.borrow().failures.is_empty());
}

#[test]
fn a_client_that_reboots_resets_what_it_does_not_know_and_is_forgotten() {
    let (mut sim, client, server, source) = pair(1, Link::new(), 1);
    watch(&mut sim, client, server, &RequestOptions::new());
    sim.run_for(secs(1));
    sim.reboot(client);
    let seen = watch(&mut sim, client, server, &RequestOptions::new());
    sim.run_for(secs(1));
    assert_eq!(source.observers(&sim, server), 2);
    source.change(&mut sim, server);
    sim.run_for(secs(1));
    assert_eq!((source.observers(&sim, server), source.lost.borrow().as_slice()), (1, &[Closed::Reset][..]));
    assert_eq!(seen.borrow().states.last().unwrap().1, 1);
}

#[test]
fn a_client_that_reboots_and_observes_no_more_is_forgotten_with_the_next_change() {
    let (mut sim, client, server, source) = pair(1, Link::new(), 1);
    watch(&mut sim, client, server, &RequestOptions::new());
    sim.run_for(secs(1));
    sim.reboot(client);
    source.change(&mut sim, server);
    sim.run_until_idle();
    let mut usage = sim.endpoint(server).usage();
    assert_eq!((usage.observers, usage.topics), (0, 1));
    usage.topics = 0;
    assert_eq!(usage, Default::default());
    assert_eq!(sim.endpoint(client).usage(), Default::default());
}

#[test]
fn a_server_that_reboots_while_a_state_is_fetched_leaves_no_half_of_it() {
    let (mut sim, client, server, source) = pair(1, Link::new(), 10_000);
    let seen = watch(&mut sim, client, server, &RequestOptions::new());
    sim.run_for(secs(2));
    assert_eq!(seen.borrow().states.len(), 1);
    source.change(&mut sim, server);
    sim.run_for(Duration::from_millis(65));
    source.change(&mut sim, server);
    sim.reboot(server);
    sim.run_for(secs(120));
    assert_eq!(seen.borrow().states.last().unwrap().1, source.state());
}

#[test]
fn r17_reboots_at_any_time_while_datagrams_are_lost() {
    let rounds = count(40);
    let seed = coap_sim::seed_from_env(1);
    for n in seed..seed + rounds {
        let len = if n % 2 == 0 { 1 } else { 3_000 };
        let (mut sim, client, server, source) = pair(n, Link::lossy(0.15).duplication(0.1), len);
        let mut seen = watch(&mut sim, client, server, &RequestOptions::new());
        for step in 0..30 {
            sim.run_for(Duration::from_millis((n * 31 + step * 17) % 97 * 60));
            match (n * 7 + step * 13) % 11 {
                0 => sim.reboot(server),
                1 => {
                    sim.reboot(client);
                    seen = watch(&mut sim, client, server, &RequestOptions::new());
                }
                _ => source.change(&mut sim, server),
            }
        }
        sim.run_for(secs(900));
        let last = seen.borrow().states.last().map(|(_, state)| *state);
        assert_eq!(last, Some(source.state()), "COAP_SEED={n}");
    }
    repeat_with("r17_reboots", 10_000);
}
