//! A middleware between the sockets and the handlers, in virtual time: long content, refusals, observers.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use coap_core::Code;
use coap_driver::router::{BodyError, BodyReader, Inbound, Next, Payload, Resource, Router, get, put};
use coap_driver::{Client, Observed};
use coap_sim::{Host, Sim};

fn scene(router: Router) -> (Sim, Client<Host>) {
    let mut sim = Sim::from_env(1);
    let (server, host) = (sim.host("server"), sim.host("client"));
    sim.name("server.example", server.ip());
    let bound = sim.block_on(server.server("[::]:5683")).unwrap();
    let _serving = sim.spawn(bound.serve(router));
    let client = sim.block_on(host.client()).unwrap();
    (sim, client)
}

async fn whole(Payload(content): Payload) -> (Code, String) {
    (Code::CHANGED, content.len().to_string())
}

async fn read(mut body: BodyReader) -> Result<(Code, String), BodyError> {
    let mut len = 0;
    while let Some(part) = body.chunk().await? {
        len += part.len();
    }
    Ok((Code::CHANGED, len.to_string()))
}

/// Takes the first segment of the path away, and lets nobody in who asks for the cellar.
async fn below(mut inbound: Inbound, next: Next) -> Result<coap_driver::router::Answer, Code> {
    let path: Vec<_> = inbound.request.options.uri_path().map(<[u8]>::to_vec).collect();
    if path.first().is_some_and(|first| first == b"cellar") {
        return Err(Code::FORBIDDEN);
    }
    if path.first().is_some_and(|first| first == b"v1") {
        inbound.request.options.remove(coap_core::OptionNumber::URI_PATH);
        for segment in path.iter().skip(1) {
            inbound.request.options.push_uri_path(core::str::from_utf8(segment).unwrap()).unwrap();
        }
    }
    Ok(next.run(inbound).await)
}

#[test]
fn long_content_reaches_handlers_that_take_it_whole_or_in_parts_also_where_they_are_found_late() {
    let router =
        Router::new().route("/whole", put(whole)).route("/read", put(read)).route("/few", put(whole).max_body(9_000));
    let (mut sim, client) = scene(router.wrap(below));
    let mut put = |path: &str| {
        let reply = sim.block_on(async { client.put(format!("server.example{path}"), vec![7; 10_000]).await }).unwrap();
        (reply.code, reply.text().unwrap_or_default().to_owned())
    };
    for path in ["/whole", "/read", "/v1/whole", "/v1/read"] {
        assert_eq!(put(path), (Code::CHANGED, "10000".to_owned()), "{path}");
    }
    assert_eq!(put("/few").0, Code::REQUEST_ENTITY_TOO_LARGE);
    assert_eq!(put("/v1/few").0, Code::REQUEST_ENTITY_TOO_LARGE);
    assert_eq!(put("/nowhere").0, Code::NOT_FOUND);
    assert_eq!(put("/cellar").0, Code::FORBIDDEN);
}

#[test]
fn whoever_is_refused_is_not_asked_for_the_rest() {
    let (mut sim, client) = scene(Router::new().route("/whole", put(whole)).wrap(below));
    let steps = Arc::new(AtomicUsize::new(0));
    let seen = steps.clone();
    let put = client.put("server.example/nowhere", vec![7; 10_000]).on_progress(move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let reply = sim.block_on(put.into_future()).unwrap();
    assert_eq!(reply.code, Code::NOT_FOUND);
    assert!(steps.load(Ordering::Relaxed) <= 1, "{steps:?}");
}

#[test]
fn observers_are_told_through_it() {
    let (clock, ticks) = (Resource::new(), Arc::new(AtomicUsize::new(0)));
    let now = ticks.clone();
    let time = move || core::future::ready(now.load(Ordering::Relaxed).to_string());
    let passed = Arc::new(AtomicUsize::new(0));
    let count = passed.clone();
    let counting = move |inbound: Inbound, next: Next| {
        count.fetch_add(1, Ordering::Relaxed);
        next.run(inbound)
    };
    let (mut sim, client) = scene(Router::new().route("/time", get(time).observable(&clock)).wrap(counting));
    let states = sim.block_on(async {
        let mut observation = client.observe("server.example/time").await.unwrap();
        let mut states = Vec::new();
        for tick in 1..=3 {
            if let Some(Observed::Notification(state)) = observation.next().await {
                states.push(state.text().unwrap().to_owned());
            }
            ticks.store(tick, Ordering::Relaxed);
            clock.changed();
        }
        states
    });
    assert_eq!(states, ["0", "1", "2"]);
    assert!(passed.load(Ordering::Relaxed) >= 3);
}
