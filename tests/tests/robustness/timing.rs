//! when a request is sent and how often, how many at a time, under which Message ID, and what a timer
//! costs.

use core::hint::black_box;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant as Clock;

use coap_core::{
    Code, Config, Event, Failure, Instant, Message, Peer, Request, RequestError, RequestOptions, Token, Type,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::memory::alone;
use crate::rig::{Rig, answer, peer};
use crate::{count, repeat_with};

/// The probability that a sample of `n` even values strays this far from even (Kolmogorov and Smirnov).
fn p_of(distance: f64, n: usize) -> f64 {
    let root = (n as f64).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * distance;
    let term = |k: i32| 2.0 * (-1_f64).powi(k - 1) * (-2.0 * f64::from(k * k) * lambda * lambda).exp();
    (1..=100).map(term).sum::<f64>().clamp(0.0, 1.0)
}

/// How far the values, sorted, stray from an even distribution over [0, 1].
fn distance(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let stray = |(k, value): (usize, &f64)| (value - k as f64 / n).abs().max((value - (k + 1) as f64 / n).abs());
    values.iter().enumerate().map(stray).fold(0.0, f64::max)
}

#[test]
fn the_test_of_evenness_tells_even_from_uneven() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let even = core::iter::repeat_with(|| (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64);
    let mut even: Vec<f64> = even.take(10_000).collect();
    even.sort_by(f64::total_cmp);
    assert!(p_of(distance(&even), even.len()) > 0.01);
    let crowded: Vec<f64> = even.iter().map(|value| value.powf(1.05)).collect();
    assert!(p_of(distance(&crowded), crowded.len()) < 0.001);
}

/// Nobody answers. When do the copies leave?
#[test]
fn r12_the_first_timeout_is_even_and_the_next_are_twice_the_one_before() {
    let _alone = alone();
    let sends = count(10_000);
    let mut rig = Rig::new(Config::default());
    let mut first = Vec::new();
    for _ in 0..sends {
        let start = rig.now;
        let id = rig.ask(peer(1)).unwrap();
        assert_eq!(rig.flush(), 1);
        let mut waits = Vec::new();
        let mut last = start;
        let end = loop {
            let due = rig.endpoint.poll_timeout().unwrap();
            rig.now = due;
            rig.endpoint.handle_timeout(due);
            let sent = rig.flush();
            let event = rig.endpoint.poll_event();
            if sent + usize::from(event.is_some()) > 0 {
                waits.push(due - last);
                last = due;
            }
            assert!(sent <= 1);
            if let Some(event) = event {
                break event;
            }
        };
        let Event::Failed { id: failed, reason: Failure::NoAck, timing } = end else { panic!("{end:?}") };
        assert_eq!((failed, timing.attempts, waits.len()), (id, 5, 5));
        for pair in waits.windows(2) {
            assert_eq!(pair[1], 2 * pair[0], "{waits:?}");
        }
        assert!((Duration::from_secs(2)..=Duration::from_secs(3)).contains(&waits[0]), "{waits:?}");
        first.push(waits[0].as_secs_f64() - 2.0);
    }
    first.sort_by(f64::total_cmp);
    let (mean, stray) = (first.iter().sum::<f64>() / sends as f64 + 2.0, distance(&first));
    let p = p_of(stray, first.len());
    println!(
        "R-12: {sends} requests that nobody answers: first timeout {mean:.4} s in the mean, p = {p:.3}, each next twice"
    );
    assert!(p > 0.001, "{p}");
    repeat_with("r12_the_first", 100_000);
}

/// As the network sees it: a Confirmable message is open from when it is sent until it is answered or given up.
#[test]
fn r12_one_message_at_a_time_is_open_towards_each_peer() {
    let _alone = alone();
    let steps = count(20_000);
    let mut rng = ChaCha8Rng::seed_from_u64(coap_sim::seed_from_env(1));
    let mut rig = Rig::new(Config::builder().max_backlog(16).build().unwrap());
    let mut open: BTreeMap<Peer, (u16, Instant)> = BTreeMap::new();
    let (mut sent, mut answered) = (0, 0);
    for _ in 0..steps {
        let to = peer(rng.next_u32() % 20);
        match rng.next_u32() % 4 {
            0 => rig.now += Duration::from_millis(u64::from(rng.next_u32() % 500)),
            1 => rig.endpoint.handle_timeout(rig.now),
            _ => drop(rig.ask(to)),
        }
        rig.send();
        while let Some((to, bytes)) = rig.sent.pop_front() {
            let message = Message::decode(bytes).unwrap();
            let (id, since) = *open.entry(to).or_insert((message.message_id, rig.now));
            // MAX_TRANSMIT_WAIT after the first copy at the latest it is given up.
            let over = rig.now - since >= Duration::from_secs(62);
            assert!(id == message.message_id || over, "{id} is open towards {to}, and {message} is sent");
            open.insert(to, (message.message_id, if id == message.message_id { since } else { rig.now }));
            sent += 1;
            if rng.next_u32().is_multiple_of(2) {
                open.remove(&to);
                answered += 1;
                rig.arrive(to, answer(Type::Acknowledgement, message.message_id, &message));
                rig.send();
            }
        }
        while rig.endpoint.poll_event().is_some() {}
    }
    println!("R-12: {sent} messages sent to 20 peers, {answered} answered, never two open towards one");
    assert!(answered > steps / 20);
    repeat_with("r12_one", 1_000_000);
}

/// PROBING_RATE: a byte a second to whoever does not answer (RFC 7252 §4.7), after one datagram to begin with.
#[test]
fn r12_a_silent_peer_is_sent_a_byte_a_second() {
    let _alone = alone();
    let hours = count(1);
    let mut rig = Rig::new(Config::default());
    let (start, how) = (rig.now, RequestOptions::new().non_confirmable());
    let (end, mut bytes) = (start + Duration::from_secs(3_600 * hours), 0);
    while rig.now < end {
        while rig.endpoint.request(rig.now, peer(1), Request::new(Code::POST), &how).is_ok() {}
        rig.send();
        bytes += rig.sent.drain(..).map(|(_, datagram)| datagram.len()).sum::<usize>();
        rig.now = rig.endpoint.poll_timeout().unwrap();
        rig.endpoint.handle_timeout(rig.now);
        while rig.endpoint.poll_event().is_some() {}
    }
    let seconds = (rig.now - start).as_secs();
    println!("R-12: {bytes} bytes in {seconds} s to a peer that never answers");
    assert!(bytes as u64 <= seconds + 1_152 + 20, "{bytes}");
    assert!(bytes as u64 >= seconds, "{bytes}");
    repeat_with("r12_a_silent", 24);
}

#[test]
fn r24_no_message_id_comes_back_within_its_lifetime() {
    let _alone = alone();
    let requests = count(150_000);
    let lifetime = Config::default().transmission().exchange_lifetime();
    let mut rig = Rig::new(Config::default());
    let mut used: BTreeMap<u16, (Token, Instant)> = BTreeMap::new();
    let (mut sent, mut refused, mut soonest) = (0, 0, Duration::MAX);
    let mut waiting = VecDeque::new();
    let start = rig.now;
    while sent < requests {
        match rig.ask(peer(1)) {
            Ok(id) => waiting.push_back(id),
            Err(RequestError::Busy) => {
                refused += 1;
                rig.now = rig.endpoint.poll_timeout().unwrap();
                rig.endpoint.handle_timeout(rig.now);
            }
            Err(error) => panic!("{error}"),
        }
        while let Some(event) = rig.endpoint.poll_event() {
            let Event::Failed { id, reason: Failure::NotSent | Failure::NoMessageId, .. } = event else {
                panic!("{event:?}")
            };
            waiting.retain(|other| *other != id);
        }
        rig.send();
        while let Some((_, bytes)) = rig.sent.pop_front() {
            let Message { message_id, token, .. } = Message::decode(bytes).unwrap();
            if let Some((_, before)) = used.insert(message_id, (token, rig.now)) {
                soonest = soonest.min(rig.now - before);
            }
            sent += 1;
            // As fast as it can be: each is forgotten as soon as it has left, and the next has its turn.
            rig.endpoint.cancel(rig.now, waiting.pop_front().unwrap());
            rig.send();
        }
    }
    let (took, ids) = (rig.now - start, used.len());
    println!(
        "R-24: {sent} requests in {took:?}, {ids} Message IDs, {refused} times busy, none again before {soonest:?}"
    );
    assert!(soonest >= lifetime && ids >= 61_000 && refused > 0, "{soonest:?}");
    repeat_with("r24", 1_000_000);
}

/// Requests in flight to as many peers: what asking for the next deadline costs, and each that is due.
#[test]
fn r28_the_next_deadline_costs_the_same_whatever_their_number() {
    let _alone = alone();
    let most = count(20_000) as u32;
    let best = |n| core::iter::repeat_with(|| timers(n)).take(3).reduce(|a, b| (a.0.min(b.0), a.1.min(b.1))).unwrap();
    let figures = [most / 100, most / 10, most].map(best);
    println!("R-28: ns to ask for the next deadline, ns for each that is due, at these numbers of requests in flight:");
    println!("  {}: {:.1?}\n  {}: {:.1?}\n  {most}: {:.1?}", most / 100, figures[0], most / 10, figures[1], figures[2]);
    let (few, many) = (figures[0], figures[2]);
    assert!(many.0 <= 5.0 * few.0 + 20.0, "asking: {figures:?}");
    // O(log n), and caches that are too small.
    assert!(many.1 <= 12.0 * few.1, "due: {figures:?}");
    repeat_with("r28", 1_000_000);
}

fn timers(n: u32) -> (f64, f64) {
    let config = Config::builder().max_peers(n as usize).max_requests(n as usize).max_outbox(n as usize);
    let mut rig = Rig::new(config.build().unwrap());
    for k in 0..n {
        rig.ask(peer(k)).unwrap();
        rig.now += Duration::from_micros(1);
    }
    rig.flush();
    let ask = || {
        let start = Clock::now();
        for _ in 0..1_000 {
            black_box(rig.endpoint.poll_timeout());
        }
        start.elapsed().as_nanos() as f64 / 1_000.0
    };
    let asking = core::iter::repeat_with(ask).take(9).fold(f64::MAX, f64::min);
    let (mut busy, mut due) = (Duration::ZERO, 0);
    while rig.endpoint.stats().retransmissions < u64::from(n) {
        // As many as are due in a hundredth of a second, or one: the clock itself must not be what is measured.
        rig.now = rig.endpoint.poll_timeout().unwrap() + Duration::from_millis(10);
        let start = Clock::now();
        while rig.endpoint.poll_timeout().is_some_and(|due| due <= rig.now) {
            rig.endpoint.handle_timeout(rig.now);
        }
        busy += start.elapsed();
        due += rig.flush();
    }
    let each = busy.as_nanos() as f64 / due as f64;
    (asking, each)
}
