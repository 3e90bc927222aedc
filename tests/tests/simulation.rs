//! The simulator by itself: what it does to datagrams and nodes, and that the same seed does the same.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::time::Duration;

use coap_core::{
    Code, Config, ContentFormat, Endpoint, Event, Failure, IncomingRequest, Instant, Request, RequestId,
    RequestOptions, Response, Type,
};
use coap_sim::{Link, Node, Reply, Sim, serve};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn get(path: &str) -> Request {
    let mut request = Request::get();
    request.options.push_uri_path(path).unwrap();
    request
}

fn content(_: Instant, _: &IncomingRequest) -> Reply {
    Response::content(ContentFormat::TEXT_PLAIN, "21.5").into()
}

/// A client, and a server that answers at once.
fn pair(seed: u64) -> (Sim, Node, Node) {
    let mut sim = Sim::new(seed);
    let client = sim.node("client", Config::default());
    let server = sim.node("server", Config::default());
    sim.run_app(server, serve(content));
    (sim, client, server)
}

fn ask(sim: &mut Sim, client: Node, server: Node) -> RequestId {
    sim.request(client, server, get("temperature"), &RequestOptions::new()).unwrap()
}

fn answered(sim: &mut Sim, client: Node, id: RequestId) -> bool {
    matches!(sim.finish(client, id), Some(Event::Response { .. }))
}

#[test]
fn an_exchange_takes_a_round_trip() {
    let (mut sim, client, server) = pair(1);
    sim.link(client, server, Link::new().delay(ms(40)));
    let id = ask(&mut sim, client, server);
    let Some(Event::Response { response, timing, .. }) = sim.finish(client, id) else { panic!() };
    assert_eq!((response.code, timing.elapsed, timing.attempts), (Code::CONTENT, ms(80), 1));
    sim.run_until_idle();
}

#[test]
fn a_cut_path_carries_nothing_until_it_is_healed() {
    let (mut sim, client, server) = pair(1);
    sim.cut(client, server);
    let id = ask(&mut sim, client, server);
    sim.run_for(secs(10));
    assert_eq!(sim.endpoint(server).stats().datagrams_received, 0);
    sim.heal(client, server);
    assert!(answered(&mut sim, client, id));
}

#[test]
fn a_moved_client_is_answered_under_its_old_address_in_vain() {
    let (mut sim, client, server) = pair(1);
    let id = ask(&mut sim, client, server);
    sim.run_for(ms(10));
    sim.move_node(client);
    sim.run_for(ms(20));
    assert!(sim.take_events(client).is_empty());
    // The repetition comes from the new address, where it is another request, and is answered there.
    assert!(answered(&mut sim, client, id));
    assert_eq!(sim.endpoint(server).stats().requests_received, 2);
    sim.run_until_idle();
}

#[test]
fn a_rebooted_server_executes_again_and_a_rebooted_client_resets_what_it_does_not_know() {
    let (mut sim, client, server) = pair(1);
    sim.run_app(server, serve(|_, _| Reply::After(secs(5), Response::new(Code::CONTENT))));
    ask(&mut sim, client, server);
    sim.run_for(secs(4));
    sim.reboot(client);
    sim.run_for(secs(4));
    assert_eq!(sim.endpoint(server).stats().resets_received, 1);
    assert_eq!(sim.endpoint(client).stats().unmatched, 1);

    let id = ask(&mut sim, client, server);
    sim.run_for(ms(15));
    sim.reboot(server);
    assert!(answered(&mut sim, client, id));
    assert_eq!(sim.endpoint(server).stats().requests_received, 1);
    sim.run_until_idle();
}

#[test]
fn a_group_answers_from_every_member() {
    let mut sim = Sim::new(1);
    let client = sim.node("client", Config::default());
    let group = "ff02::fd".parse().unwrap();
    for name in ["kitchen", "hall", "attic"] {
        let node = sim.node(name, Config::default());
        sim.run_app(node, serve(content));
        sim.join(node, group);
    }
    let to = core::net::SocketAddr::new(group, 5_683).into();
    let how = RequestOptions::new().non_confirmable();
    sim.act(client, |endpoint, now| endpoint.request(now, to, get("temperature"), &how)).unwrap();
    sim.run_until_idle();
    let events = sim.take_events(client);
    let answers = events.iter().filter(|(_, event)| matches!(event, Event::Response { .. })).count();
    assert_eq!((answers, events.len()), (3, 4));
    assert!(matches!(events[3].1, Event::Finished { .. }));
}

#[test]
fn a_plan_is_carried_out_in_time() {
    let (mut sim, client, server) = pair(1);
    let to = sim.peer(server);
    for n in [3, 1, 2] {
        sim.at(Instant::from_secs(n), client, move |endpoint, now| {
            endpoint.request(now, to, get("a"), &RequestOptions::new()).unwrap();
        });
    }
    sim.run_until_idle();
    let times: Vec<_> = sim.take_events(client).into_iter().map(|(at, _)| at.as_micros() / 1_000).collect();
    assert_eq!(times, [1_020, 2_020, 3_020]);
}

#[test]
fn an_unheard_request_fails_at_the_end_of_its_repetitions() {
    let (mut sim, client, server) = pair(1);
    sim.link_one_way(client, server, Link::lossy(1.0));
    let id = ask(&mut sim, client, server);
    let Some(Event::Failed { reason, timing, .. }) = sim.finish(client, id) else { panic!() };
    assert_eq!((reason, timing.attempts), (Failure::NoAck, 5));
    assert!((secs(62)..=secs(93)).contains(&timing.elapsed), "{timing:?}");
    sim.run_until_idle();
}

/// Everything at once: three clients, one of them Non-confirmable, slow and quick answers, a bad network, a cut, a move
/// and two reboots, and a stranger.
fn storm(seed: u64) -> u64 {
    let mut sim = Sim::new(seed);
    let server = sim.node("server", Config::default());
    sim.run_app(
        server,
        serve(|_, request: &IncomingRequest| match request.message_id % 4 {
            0 => Reply::After(secs(3), Response::new(Code::CONTENT)),
            1 => Reply::Never,
            2 => Response::diagnostic(Code::NOT_FOUND, "nothing here").into(),
            _ => Response::new(Code::CHANGED).into(),
        }),
    );
    let bad = Link::lossy(0.2).bursts(3.0).jitter(secs(1)).duplication(0.2).reordering(0.1, secs(4)).mtu(200);
    let clients = ["a", "b", "c"].map(|name| sim.node(name, Config::default()));
    for (n, client) in clients.into_iter().enumerate() {
        sim.link(client, server, bad.bandwidth(400, secs(2)));
        let to = sim.peer(server);
        for k in 0..40 {
            let how = if n == 2 { RequestOptions::new().non_confirmable() } else { RequestOptions::new() };
            let code = if k % 2 == 0 { Code::POST } else { Code::GET };
            let request = Request::new(code).with_body(vec![b'x'; k * 5]);
            sim.at(Instant::from_secs(k as u64 * 2), client, move |endpoint: &mut Endpoint, now| {
                let _ = endpoint.request(now, to, request, &how);
            });
        }
    }
    sim.run_until(Instant::from_secs(30));
    sim.cut(clients[0], server);
    sim.move_node(clients[1]);
    sim.inject("192.0.2.9:9".parse().unwrap(), server, &[0x40, 0x01, 0x12][..]);
    sim.run_until(Instant::from_secs(60));
    sim.heal(clients[0], server);
    sim.reboot(clients[2]);
    sim.run_until(Instant::from_secs(100));
    sim.reboot(server);
    sim.run_until_idle();
    assert!(sim.trace().count() > 50, "{}", sim.trace().count());
    sim.trace().hash()
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(storm(1), storm(1));
    assert_ne!(storm(1), storm(2));
}

/// A change of this number is a change of what the endpoint sends, or of how the network is simulated. Whoever changes it
/// says which, and why.
#[test]
fn the_run_of_seed_42_is_the_one_it_always_was() {
    assert_eq!(storm(42), 0xe9d7_50ba_f7cc_24a0);
}

/// `COAP_RUNS=10000 cargo test --release -p coap-sim --test simulation storms` runs more of them.
#[test]
fn many_storms_break_no_invariant() {
    let first = coap_sim::seed_from_env(1_000);
    let runs = std::env::var("COAP_RUNS").map_or(100, |text| text.parse().expect("COAP_RUNS is a number"));
    (first..first + runs).for_each(|seed| {
        storm(seed);
    });
}

#[test]
fn a_non_confirmable_request_is_answered_non_confirmable() {
    let (mut sim, client, server) = pair(1);
    let how = RequestOptions::new().non_confirmable();
    let id = sim.request(client, server, get("a"), &how).unwrap();
    assert!(answered(&mut sim, client, id));
    let lines: Vec<_> = sim.trace().lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.contains(&Type::NonConfirmable.to_string())), "{lines:?}");
}
