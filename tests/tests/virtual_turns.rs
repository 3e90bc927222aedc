//! Requests of the driver that wait for their turn: for room, and for how long. In virtual time.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::time::Duration;

use coap_core::{Body, Code, Config, RequestError};
use coap_driver::router::{Payload, Resource, Router, get, put};
use coap_driver::{Client, Error, ErrorKind, Observed, Stage};
use coap_sim::{Host, Sim};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// `/now`, and `/slow`, which takes three seconds.
fn router(host: &Host) -> Router {
    let host = host.clone();
    let slow = move || {
        let host = host.clone();
        async move {
            host.sleep(secs(3)).await;
            "slow"
        }
    };
    Router::new().route("/now", get(async || "now")).route("/slow", get(slow)).route("/it", put(async |_: Payload| ()))
}

/// A server at work, and its URI.
fn serve(sim: &mut Sim, name: &str) -> (Host, String) {
    let host = sim.host(name);
    let server = sim.block_on(host.server("[::]:5683")).unwrap();
    sim.spawn(server.serve(router(&host)));
    let uri = format!("coap://[{}]", host.ip());
    (host, uri)
}

fn kind<T>(result: Result<T, Error>) -> Result<T, ErrorKind> {
    result.map_err(|error| error.kind())
}

#[test]
fn what_has_had_no_room_in_its_time_was_not_sent() {
    let mut sim = Sim::from_env(41);
    let (_server, uri) = serve(&mut sim, "server");
    let host = sim.host("client");
    let config = Config::builder().max_requests(1).build().unwrap();
    let client: Client<Host> = sim.block_on(host.builder().config(config).client()).unwrap();
    let ask = |path: &str| {
        let request = client.get(format!("{uri}{path}")).timeout(secs(1));
        host.spawn(async move { kind(request.await.map(|reply| reply.code)) })
    };
    // All of them have the same end, and it is the end of the first that makes room for the others.
    let (first, second, third) = (ask("/slow"), ask("/now"), ask("/now"));
    sim.run_for(secs(2));
    assert_eq!(sim.block_on(first), Err(ErrorKind::TimedOut(Stage::Response)));
    for late in [second, third] {
        assert_eq!(sim.block_on(late), Err(ErrorKind::TimedOut(Stage::Waiting)));
    }
    let trace = sim.trace().to_string();
    assert!(!trace.contains("now"), "{trace}");
}

#[test]
fn a_peer_that_has_nothing_open_any_more_makes_room_for_another() {
    let mut sim = Sim::from_env(42);
    let host = sim.host("server");
    let config = Config::builder().max_peers(1).build().unwrap();
    let server = sim.block_on(host.builder().config(config).bind("[::]:5683").server()).unwrap();
    let own = server.client();
    let uri = format!("coap://[{}]", host.ip());
    sim.spawn(server.serve(router(&host)));
    let (_other, other) = serve(&mut sim, "other");
    let peer = sim.host("peer");
    let client = sim.block_on(peer.client()).unwrap();

    // The one peer that there is room for is at work here for three seconds.
    let asked = sim.spawn(async move { client.get(format!("{uri}/slow")).await.map(|reply| reply.code) });
    sim.run_for(secs(1));
    let reply = sim.block_on(own.get(format!("{other}/now")).into_future());
    assert_eq!(reply.unwrap().code, Code::CONTENT);
    let took = host.now().as_micros();
    assert!((3_000_000..3_500_000).contains(&took), "it took until {took} µs");
    assert_eq!(sim.block_on(asked).unwrap(), Code::CONTENT);
}

#[test]
fn content_that_nobody_would_supply_is_refused_at_once() {
    let mut sim = Sim::from_env(43);
    let (_server, uri) = serve(&mut sim, "server");
    let host = sim.host("client");
    let client = sim.block_on(host.client()).unwrap();
    let parts = Body::Parts { size: Some(9) };
    let result = sim.block_on(client.put(format!("{uri}/it"), parts.clone()).into_future());
    assert!(matches!(result, Err(Error::Request(RequestError::WrongBody))), "{result:?}");
    let result = sim.block_on(client.put(format!("{uri}/it"), parts.clone()).download());
    assert!(matches!(result, Err(Error::Request(RequestError::WrongBody))), "{result:?}");
    let result = sim.block_on(client.get("coap://[ff02::fd]/it").payload(parts).multicast());
    assert!(matches!(result, Err(Error::Request(RequestError::WrongBody))), "{result:?}");
    assert_eq!(host.now().as_micros(), 0);
}

#[test]
fn a_server_that_starts_anew_is_not_left_alone_for_a_minute() {
    let mut sim = Sim::from_env(44);
    let (host, client) = (sim.host("server"), sim.host("client"));
    let client = sim.block_on(client.client()).unwrap();
    let uri = format!("coap://[{}]/now", host.ip());
    let ask = |sim: &mut Sim| kind(sim.block_on(client.get(&uri).into_future()).map(|reply| reply.code));

    // It is there, and does not serve yet.
    let server = sim.block_on(host.server("[::]:5683")).unwrap();
    let own = server.client();
    assert_eq!(ask(&mut sim), Ok(Code::SERVICE_UNAVAILABLE));
    let (resource, stop) = (Resource::new(), server.shutdown_handle());
    let router = || Router::new().route("/now", get(async || "now").observable(&resource));
    let serving = sim.spawn(server.serve(router()));
    sim.run_for(secs(5));
    assert_eq!(ask(&mut sim), Ok(Code::CONTENT));

    // It says goodbye to its observers, and comes again.
    let mut observation = sim.block_on(client.observe(&uri).into_future()).unwrap();
    assert!(matches!(sim.block_on(observation.next()), Some(Observed::Notification(_))));
    stop.shutdown(secs(1));
    assert!(matches!(sim.block_on(observation.next()), Some(Observed::Ended(_))));
    sim.block_on(serving).unwrap();
    drop(own);
    let server = sim.block_on(host.server("[::]:5683")).unwrap();
    sim.spawn(server.serve(router()));
    sim.run_for(secs(5));
    assert_eq!(ask(&mut sim), Ok(Code::CONTENT));
}
