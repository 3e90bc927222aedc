//! Many exchanges over networks from good to hopeless, and whether failures, latency and datagrams are what the
//! parameters of RFC 7252 §4.8 lead to.
//!
//! Here each point of the grid has a few hundred or thousand exchanges. Every test prints its figures and the command that
//! repeats it with more: `COAP_EXCHANGES` is the number at each point, `COAP_SEED` the seed.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::cell::RefCell;
use core::time::Duration;
use std::collections::BTreeMap;
use std::env;
use std::rc::Rc;

use coap_core::{
    Code, Config, Event, Failure, IncomingRequest, Instant, Request, RequestOptions, Response, TransmissionParameters,
    Usage,
};
use coap_sim::{Link, Node, Reply, Sim, serve};

/// How often a request is sent at most: once and MAX_RETRANSMIT times more (RFC 7252 §4.8).
const ATTEMPTS: i32 = 5;

fn exchanges(few: u64) -> u64 {
    env::var("COAP_EXCHANGES").map_or(few, |text| text.parse().expect("COAP_EXCHANGES is a number"))
}

fn repeat_with(seed: u64, test: &str, many: u64) {
    let command = "cargo test --release -p coap-sim --test grid";
    println!("at full size: COAP_SEED={seed} COAP_EXCHANGES={many} {command} {test} -- --nocapture");
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A client and a server.
fn pair(
    seed: u64,
    link: Link,
    server_says: impl FnMut(Instant, &IncomingRequest) -> Reply + 'static,
) -> (Sim, Node, Node) {
    let mut sim = Sim::new(seed);
    sim.keep_trace(100);
    let client = sim.node("client", Config::default());
    let server = sim.node("server", Config::default());
    sim.run_app(server, serve(server_says));
    sim.link(client, server, link);
    (sim, client, server)
}

// ----- What is to be expected ------------------------------------------------------------------------------------------

/// A mean and the deviation of a single value from it.
#[derive(Clone, Copy, Debug)]
struct Expected {
    mean: f64,
    sigma: f64,
}

impl Expected {
    fn share(mean: f64) -> Self {
        Self { mean, sigma: (mean * (1.0 - mean)).max(0.0).sqrt() }
    }

    /// The mean of `n` values lies within three deviations of the mean of `n`, and `slack`.
    #[track_caller]
    fn check(self, what: &str, loss: f64, measured: f64, n: u64, slack: f64) {
        let allowed = 3.0 * self.sigma / (n as f64).sqrt() + slack + 1e-9;
        let off = (measured - self.mean).abs();
        assert!(off <= allowed, "{what} at loss {loss}: {measured}, and not {} ± {allowed}", self.mean);
    }
}

/// An exchange whose response comes on the acknowledgement, over a path that loses `loss` of the datagrams each way and
/// takes no time: each attempt succeeds by itself, and the k-th comes (2^k - 1) T after the first, with T evenly from 2 to
/// 3 seconds.
struct Model {
    fails: Expected,
    executed: Expected,
    datagrams: Expected,
    latency: Expected,
}

impl Model {
    fn new(loss: f64) -> Self {
        let succeeds = (1.0 - loss) * (1.0 - loss);
        let fails = (1.0 - succeeds).powi(ATTEMPTS);
        let (mut sent, mut sent_squared, mut waited, mut waited_squared) = (0.0, 0.0, 0.0, 0.0);
        // E[T] and E[T²] of an even distribution from 2 to 3.
        let (timeout, timeout_squared) = (2.5, 19.0 / 3.0);
        for k in 0..ATTEMPTS {
            let now = succeeds * (1.0 - succeeds).powi(k);
            let (attempts, steps) = (f64::from(k + 1), f64::from((1 << k) - 1));
            sent += now * attempts;
            sent_squared += now * attempts * attempts;
            waited += now / (1.0 - fails) * steps * timeout;
            waited_squared += now / (1.0 - fails) * steps * steps * timeout_squared;
        }
        let all = f64::from(ATTEMPTS);
        sent += fails * all;
        sent_squared += fails * all * all;
        let sigma = |mean: f64, squared: f64| (squared - mean * mean).max(0.0).sqrt();
        Self {
            fails: Expected::share(fails),
            executed: Expected::share(1.0 - loss.powi(ATTEMPTS)),
            datagrams: Expected { mean: sent, sigma: sigma(sent, sent_squared) },
            latency: Expected { mean: waited, sigma: sigma(waited, waited_squared) },
        }
    }
}

const LOSSES: [f64; 8] = [0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5];

/// The model by hand, to as many digits as were written down.
#[test]
fn the_model_is_the_one_that_was_worked_out_by_hand() {
    let by_hand = [
        (0.0, 0.0, 0.0, 1.0, 1.0),
        (0.01, 3.1e-9, 0.05, 1.02, 1.0),
        (0.05, 8.8e-6, 0.30, 1.11, 1.0),
        (0.1, 2.5e-4, 0.74, 1.23, 1.0),
        (0.2, 6.1e-3, 2.1, 1.55, 0.9997),
        (0.3, 3.5e-2, 4.1, 1.97, 0.9976),
        (0.4, 0.107, 6.3, 2.48, 0.9898),
        (0.5, 0.237, 8.3, 3.05, 0.9688),
    ];
    for (loss, fails, latency, datagrams, executed) in by_hand {
        let model = Model::new(loss);
        let near = |is: f64, wanted: f64, digit: f64| (is - wanted).abs() <= digit;
        assert!(near(model.fails.mean, fails, fails * 0.02), "{loss}: {:?}", model.fails);
        assert!(near(model.latency.mean, latency, 0.05), "{loss}: {:?}", model.latency);
        assert!(near(model.datagrams.mean, datagrams, 0.006), "{loss}: {:?}", model.datagrams);
        assert!(near(model.executed.mean, executed, 0.000_06), "{loss}: {:?}", model.executed);
    }
}

// ----- R-10 ------------------------------------------------------------------------------------------------------------

/// What `n` exchanges came to.
#[derive(Default)]
struct Measured {
    failures: u64,
    longest: Duration,
    /// Beyond the round trip, of those that did not fail.
    waited: Duration,
    datagrams: u64,
    executed: u64,
}

/// One after the other, each when the one before has ended.
fn exchange(sim: &mut Sim, client: Node, server: Node, n: u64, round_trip: Duration) -> Measured {
    let mut measured = Measured::default();
    for k in 0..n {
        let code = if k % 2 == 0 { Code::GET } else { Code::PUT };
        let id = sim.request(client, server, Request::new(code), &RequestOptions::new()).unwrap();
        let elapsed = match sim.finish(client, id) {
            Some(Event::Response { timing, .. }) => {
                measured.waited += timing.elapsed - round_trip;
                timing.elapsed
            }
            Some(Event::Failed { reason: Failure::NoAck | Failure::NoResponse, timing, .. }) => {
                measured.failures += 1;
                timing.elapsed
            }
            other => panic!("{other:?}"),
        };
        measured.longest = measured.longest.max(elapsed);
    }
    measured.datagrams = sim.endpoint(client).stats().datagrams_sent;
    measured.executed = sim.endpoint(server).stats().requests_received;
    sim.run_until_idle();
    measured
}

#[test]
fn r10_piggybacked_exchanges_fail_as_often_as_the_parameters_say() {
    let (n, seed) = (exchanges(4_000), coap_sim::seed_from_env(1));
    println!("R-10 piggybacked, {n} exchanges at each point");
    println!("  loss   P(fail)   extra latency s   client datagrams   P(executed)   longest s");
    for loss in LOSSES {
        let round_trip = Duration::from_millis(20);
        let answer = |_: Instant, _: &IncomingRequest| Response::new(Code::CHANGED).into();
        let (mut sim, client, server) = pair(seed, Link::lossy(loss), answer);
        let measured = exchange(&mut sim, client, server, n, round_trip);
        let answered = n - measured.failures;
        let share = |count: u64| count as f64 / n as f64;
        let latency = measured.waited.as_secs_f64() / answered as f64;
        let (fails, datagrams) = (share(measured.failures), share(measured.datagrams));
        let (executed, longest) = (share(measured.executed), measured.longest.as_secs_f64());
        println!("  {loss:.2}   {fails:.5}   {latency:15.3}   {datagrams:16.3}   {executed:11.4}   {longest:9.1}");
        let model = Model::new(loss);
        model.fails.check("P(fail)", loss, fails, n, 0.0);
        model.latency.check("extra latency", loss, latency, answered, 0.0);
        model.datagrams.check("client datagrams", loss, datagrams, n, 0.0);
        model.executed.check("P(executed)", loss, executed, n, 0.0);
        assert!(measured.longest <= TransmissionParameters::default().max_transmit_wait(), "{longest}");
    }
    repeat_with(seed, "r10", 100_000);
}

/// The response comes five seconds after the request, by itself. It fails if no copy of the request arrives, or no copy
/// of the response.
#[test]
fn r10_separate_responses_fail_as_often_as_the_parameters_say() {
    let (n, seed) = (exchanges(2_000), coap_sim::seed_from_env(1));
    println!("R-10 separate after 5 s, {n} exchanges at each point");
    println!("  loss   P(fail)   P(executed)   longest s");
    for loss in LOSSES {
        let answer = |_: Instant, _: &IncomingRequest| Reply::After(secs(5), Response::new(Code::CHANGED));
        let (mut sim, client, server) = pair(seed, Link::lossy(loss), answer);
        let measured = exchange(&mut sim, client, server, n, Duration::ZERO);
        let (fails, executed) = (measured.failures as f64 / n as f64, measured.executed as f64 / n as f64);
        println!("  {loss:.2}   {fails:.5}   {executed:11.4}   {:9.1}", measured.longest.as_secs_f64());
        let lost = loss.powi(ATTEMPTS);
        // A request that arrives late, and no acknowledgement of it: the client gives up before the last copies of the
        // response. That takes nine losses at least.
        Expected::share(1.0 - (1.0 - lost).powi(2)).check("P(fail)", loss, fails, n, loss.powi(9));
        Model::new(loss).executed.check("P(executed)", loss, executed, n, 0.0);
        // Until the acknowledgement, and then until the response.
        assert!(measured.longest <= secs(93) * 2, "{:?}", measured.longest);
    }
    repeat_with(seed, "r10_separate", 100_000);
}

// ----- R-11 ------------------------------------------------------------------------------------------------------------

/// A counter behind POST: what was executed, how often.
type Counter = Rc<RefCell<BTreeMap<Vec<u8>, u64>>>;

/// Counts, and gives back what it was sent.
fn counting(counter: &Counter) -> impl FnMut(Instant, &IncomingRequest) -> Reply + use<> {
    let counter = Rc::clone(counter);
    move |_, request| {
        let body = request.request.body.as_bytes().to_vec();
        *counter.borrow_mut().entry(body.clone()).or_default() += 1;
        let response = Response::new(Code::CHANGED).with_body(body);
        // Some answers come on the acknowledgement, and some by themselves.
        if request.message_id % 3 == 0 { Reply::After(secs(2), response) } else { response.into() }
    }
}

#[test]
fn r11_a_post_is_executed_once_at_most_whatever_the_network_does() {
    let (n, seed) = (exchanges(120), coap_sim::seed_from_env(1));
    println!("R-11 POST counter, {n} requests at each of 48 points, three clients");
    let ways = [
        ("in order, 10 ms", Link::new()),
        ("reordered by up to 5 s", Link::new().jitter(Duration::from_millis(200)).reordering(0.3, secs(5))),
        ("0 to 60 s", Link::new().delay(Duration::ZERO).jitter(secs(60))),
    ];
    for (name, link) in ways {
        for loss in [0.0, 0.1, 0.3, 0.5] {
            for duplication in [0.0, 0.1, 0.3, 0.5] {
                let (answered, executed) = post(seed, link.loss(loss).duplication(duplication), n);
                println!(
                    "  {name:<22} loss {loss:.1} duplication {duplication:.1}: {answered} answered, {executed} executed"
                );
                assert!(loss > 0.0 || link != ways[0].1 || answered == n);
            }
        }
    }
    repeat_with(seed, "r11", 100_000);
}

/// `n` requests from three clients; how many were answered, and how many executed.
fn post(seed: u64, link: Link, n: u64) -> (u64, u64) {
    let counter = Counter::default();
    let (mut sim, first, server) = pair(seed, link, counting(&counter));
    let clients = [first, sim.node("b", Config::default()), sim.node("c", Config::default())];
    let mut answered = 0;
    for client in clients {
        sim.link(client, server, link);
    }
    for round in 0..n.div_ceil(3) {
        let mut open = Vec::new();
        for (which, client) in clients.into_iter().enumerate().take((n - round * 3).min(3) as usize) {
            let body = format!("{which}:{round}").into_bytes();
            let request = Request::new(Code::POST).with_body(body.clone());
            open.push((client, sim.request(client, server, request, &RequestOptions::new()).unwrap(), body));
        }
        for (client, id, body) in open {
            match sim.finish(client, id) {
                Some(Event::Response { response, .. }) => {
                    assert_eq!(response.body.as_bytes(), body, "the response to another request");
                    assert_eq!(counter.borrow().get(&body), Some(&1), "answered, and executed how often?");
                    answered += 1;
                }
                Some(Event::Failed { reason: Failure::NoAck | Failure::NoResponse, .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    sim.run_until_idle();
    let counter = counter.borrow();
    assert!(counter.values().all(|times| *times == 1), "{counter:?}");
    let executed = counter.values().sum();
    assert_eq!(executed, sim.endpoint(server).stats().requests_received);
    (answered, executed)
}

// ----- R-13 ------------------------------------------------------------------------------------------------------------

/// A handler that never answers, or a peer that vanishes: the call ends, and what was kept for it goes.
struct End {
    name: &'static str,
    reply: Reply,
    confirmable: bool,
    /// When the path is cut, after the request.
    cut_after: Option<Duration>,
    reason: Failure,
    by: Duration,
}

#[test]
fn r13_every_call_ends_and_leaves_nothing_behind() {
    let (soon, late) = (|| Response::new(Code::CONTENT).into(), || Reply::After(secs(5), Response::new(Code::CONTENT)));
    let ms = Duration::from_millis;
    let ends = [
        end("the server was never there", soon(), true, Some(ms(0)), Failure::NoAck, 93),
        end("the server vanishes before it acknowledges", soon(), true, Some(ms(5)), Failure::NoAck, 93),
        end("the server vanishes after the acknowledgement", late(), true, Some(secs(2)), Failure::NoResponse, 94),
        end("the server vanishes, Non-confirmable", soon(), false, Some(ms(5)), Failure::NoResponse, 93),
        end("the handler gives up", Reply::Never, true, None, Failure::NoResponse, 94),
        end("the handler gives up, Non-confirmable", Reply::Never, false, None, Failure::NoResponse, 94),
    ];
    let lifetime = TransmissionParameters::default().exchange_lifetime();
    println!("R-13 who vanishes when, how the call ends, and when nothing is left");
    for end in ends {
        let reply = end.reply.clone();
        let (mut sim, client, server) = pair(coap_sim::seed_from_env(1), Link::new(), move |_, _| reply.clone());
        let how = if end.confirmable { RequestOptions::new() } else { RequestOptions::new().non_confirmable() };
        if end.cut_after == Some(Duration::ZERO) {
            sim.cut(client, server);
        }
        let id = sim.request(client, server, Request::get(), &how).unwrap();
        if let Some(span) = end.cut_after.filter(|span| !span.is_zero()) {
            sim.run_for(span);
            sim.cut(client, server);
        }
        let Some(Event::Failed { reason, timing, .. }) = sim.finish(client, id) else { panic!("{}", end.name) };
        assert_eq!(reason, end.reason, "{}", end.name);
        assert!(timing.elapsed <= end.by, "{}: {:?}", end.name, timing.elapsed);
        let ended = sim.now();
        sim.run_until_idle();
        println!("  {:<46} {reason:?} after {:?}, nothing left at {}", end.name, timing.elapsed, sim.now());
        // The server may repeat its response for MAX_TRANSMIT_WAIT longer than the client asks.
        assert!(sim.now() - ended <= secs(93) + lifetime, "{}", end.name);
        assert_eq!(sim.endpoint(client).usage(), Usage::default());
        assert_eq!(sim.endpoint(server).usage(), Usage::default());
    }
}

fn end(
    name: &'static str,
    reply: Reply,
    confirmable: bool,
    cut_after: Option<Duration>,
    reason: Failure,
    by: u64,
) -> End {
    End { name, reply, confirmable, cut_after, reason, by: secs(by) }
}

/// The handler forgets the request: the endpoint says 5.03 in its place.
#[test]
fn r13_a_handler_that_forgets_is_answered_for() {
    let (mut sim, client, server) = pair(coap_sim::seed_from_env(1), Link::new(), |_, _| Reply::Forgotten);
    let id = sim.request(client, server, Request::get(), &RequestOptions::new().timeout(secs(200))).unwrap();
    let Some(Event::Response { response, timing, .. }) = sim.finish(client, id) else { panic!() };
    assert_eq!(response.code, Code::SERVICE_UNAVAILABLE);
    assert!(timing.elapsed <= secs(94), "{timing:?}");
    sim.run_until_idle();
}

/// The client vanishes while the server works, and while it waits for the acknowledgement of its response.
#[test]
fn r13_a_server_whose_client_vanishes_forgets_it() {
    for cut_at in [secs(2), secs(6)] {
        let reply = Reply::After(secs(5), Response::new(Code::CONTENT));
        let (mut sim, client, server) = pair(coap_sim::seed_from_env(1), Link::new(), move |_, _| reply.clone());
        sim.link_one_way(server, client, if cut_at > secs(5) { Link::lossy(1.0) } else { Link::new() });
        sim.request(client, server, Request::get(), &RequestOptions::new()).unwrap();
        sim.run_for(cut_at);
        sim.cut(client, server);
        sim.run_until_idle();
        assert_eq!(sim.endpoint(server).stats().unacknowledged_responses, 1);
        assert_eq!(sim.endpoint(server).usage(), Usage::default());
        let most = secs(6 + 93 + 1) + TransmissionParameters::default().exchange_lifetime();
        assert!(sim.now() <= Instant::ZERO + most + secs(93), "{}", sim.now());
    }
}

// ----- How fast --------------------------------------------------------------------------------------------------------

/// `cargo test --release -p coap-sim --test grid speed -- --ignored --nocapture`
#[test]
#[ignore = "measures this machine, and means something only in a release build that has it to itself"]
fn speed_is_a_hundred_thousand_exchanges_a_minute() {
    let n = exchanges(100_000);
    let answer = |_: Instant, _: &IncomingRequest| Response::new(Code::CHANGED).into();
    let (mut sim, client, server) = pair(1, Link::lossy(0.2), answer);
    let start = std::time::Instant::now();
    let measured = exchange(&mut sim, client, server, n, Duration::from_millis(20));
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    let rate = n as f64 / minutes;
    println!("{n} exchanges at 20 % loss, {} failed: {:.1} s, {rate:.0} a minute", measured.failures, minutes * 60.0);
    assert!(rate >= 100_000.0, "{rate}");
}
