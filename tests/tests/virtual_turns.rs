//! Requests of the driver that wait for their turn: for room, and for how long. In virtual time.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::time::Duration;

use coap_core::{Body, RequestError};
use coap_driver::router::{Payload, Router, get, put};
use coap_driver::Error;
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
