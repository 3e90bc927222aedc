//! What a router does for entity-tags, conditions and formats, as a client sees it, in virtual time.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use coap_core::{Code, ContentFormat, OptionNumber};
use coap_driver::Observed;
use coap_driver::router::{BodyReader, Resource, Router, get};
use coap_sim::Sim;

#[test]
fn a_state_that_its_observer_has_is_registered_again_without_being_sent_again() {
    let (clock, state) = (Resource::new(), Arc::new(Mutex::new("one".repeat(100))));
    let (now, sent) = (state.clone(), Arc::new(Mutex::new(0)));
    let calls = sent.clone();
    let read = move || {
        *calls.lock().unwrap() += 1;
        core::future::ready(now.lock().unwrap().clone())
    };
    let mut sim = Sim::from_env(1);
    let (server, host) = (sim.host("server"), sim.host("client"));
    sim.name("server.example", server.ip());
    let bound = sim.block_on(server.server("[::]:5683")).unwrap();
    let _serving = sim.spawn(bound.serve(Router::new().route("/state", get(read).etags().observable(&clock))));
    let client = sim.block_on(host.client()).unwrap();
    let seen = sim.block_on(async {
        let mut observation = client.observe("server.example/state").await.unwrap();
        let mut seen = Vec::new();
        // Nothing comes for longer than Max-Age, so it registers again, and is told that nothing is new.
        host.sleep(Duration::from_secs(200)).await;
        let calls = *sent.lock().unwrap();
        *state.lock().unwrap() = "two".to_owned();
        clock.changed();
        while seen.last().is_none_or(|last| last != "two") {
            match observation.next().await.unwrap() {
                Observed::Notification(reply) => seen.push(reply.text().unwrap().to_owned()),
                _ => seen.push(String::new()),
            }
        }
        assert!(calls >= 2, "{calls}");
        seen
    });
    assert!(seen.iter().all(|state| state.is_empty() || *state == "one".repeat(100) || state == "two"), "{seen:?}");
    assert_eq!(seen.iter().filter(|state| *state == "two").count(), 1, "{seen:?}");
}

#[test]
fn long_content_that_must_not_replace_anything_is_refused_at_its_first_block() {
    let stored = Arc::new(Mutex::new(None::<usize>));
    let (reading, writing) = (stored.clone(), stored.clone());
    let read = move || core::future::ready(reading.lock().unwrap().map(|len| len.to_string()));
    let write = move |mut body: BodyReader| {
        let writing = writing.clone();
        async move {
            let mut len = 0;
            while let Ok(Some(part)) = body.chunk().await {
                len += part.len();
            }
            *writing.lock().unwrap() = Some(len);
            Code::CREATED
        }
    };
    let mut sim = Sim::from_env(1);
    let (server, host) = (sim.host("server"), sim.host("client"));
    let bound = sim.block_on(server.server("[::]:5683")).unwrap();
    let _serving = sim.spawn(bound.serve(Router::new().route("/file", get(read).put(write))));
    let client = sim.block_on(host.client()).unwrap();
    let uri = format!("coap://[{}]/file", server.ip());
    let blocks = Arc::new(Mutex::new(0));
    let mut create = |len: usize| {
        let counted = blocks.clone();
        *blocks.lock().unwrap() = 0;
        let put = client.put(&uri, vec![7; len]).option(OptionNumber::IF_NONE_MATCH, []);
        let put = put.on_progress(move |_| *counted.lock().unwrap() += 1);
        let code = sim.block_on(put.into_future()).unwrap().code;
        (code, *blocks.lock().unwrap())
    };
    let (code, sent) = create(20_000);
    assert!(code == Code::CREATED && sent > 10, "{code} {sent}");
    let (code, sent) = create(30_000);
    assert!(code == Code::PRECONDITION_FAILED && sent <= 1, "{code} {sent}");
    assert_eq!(*stored.lock().unwrap(), Some(20_000));
}

#[test]
fn a_client_gets_the_format_that_it_accepts() {
    let text = get(async || "22.5").produces([ContentFormat::TEXT_PLAIN]);
    let both = text.get(async || (ContentFormat::JSON, "{}")).produces([ContentFormat::JSON]);
    let mut sim = Sim::from_env(1);
    let (server, host) = (sim.host("server"), sim.host("client"));
    let bound = sim.block_on(server.server("[::]:5683")).unwrap();
    let _serving = sim.spawn(bound.serve(Router::new().route("/t", both)));
    let client = sim.block_on(host.client()).unwrap();
    let uri = format!("coap://[{}]/t", server.ip());
    let mut accept = |format| {
        let reply = sim.block_on(async { client.get(&uri).accept(format).await }).unwrap();
        (reply.code, reply.content_format())
    };
    assert_eq!(accept(ContentFormat::JSON), (Code::CONTENT, Some(ContentFormat::JSON)));
    assert_eq!(accept(ContentFormat::TEXT_PLAIN), (Code::CONTENT, Some(ContentFormat::TEXT_PLAIN)));
    assert_eq!(accept(ContentFormat::CBOR).0, Code::NOT_ACCEPTABLE);
}
