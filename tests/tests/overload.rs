//! Overload as users of the driver see it (RFC 8516), in virtual time: a server that wants a kind of request later.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/plain.rs"]
mod plain;

use core::future::IntoFuture;
use core::time::Duration;
use std::sync::Arc;

use coap_core::{Code, Instant, OptionNumber};
use coap_driver::{Client, Error, ErrorKind, Reply, Runtime, SocketOptions};
use coap_sim::{Host, Link, Sim, Task};
use plain::Plain;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

struct Scene {
    sim: Sim,
    client: Client<Host>,
    host: Host,
    server: Host,
    plain: Plain,
    uri: String,
    _running: Task<()>,
}

/// A server that has just answered a PUT with this code and Max-Age.
fn scene(code: Code, max_age: Option<u32>) -> Scene {
    let mut sim = Sim::from_env(1);
    let (server, host) = (sim.host("server"), sim.host("client"));
    let socket = Arc::new(server.bind("[::]:5683".parse().unwrap(), &SocketOptions::default()).unwrap());
    let plain = Plain::default();
    let running = server.spawn(plain.clone().run::<Host>(socket));
    let client = sim.block_on(host.client()).unwrap();
    let uri = format!("coap://[{}]/it", server.ip());
    (plain.lock().refuses, plain.lock().max_age) = (Some(code), max_age);
    let reply = sim.block_on(client.put(&uri, "1").into_future()).unwrap();
    assert_eq!(reply.code, code);
    plain.lock().refuses = None;
    Scene { sim, client, host, server, plain, uri, _running: running }
}

impl Scene {
    fn run<F: IntoFuture>(&mut self, future: F) -> F::Output {
        self.sim.block_on(future.into_future())
    }

    fn now(&self) -> Instant {
        self.host.now()
    }
}

#[track_caller]
fn back_off(result: Result<Reply, Error>) -> (Instant, Duration) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BackOff);
    match error {
        Error::BackOff { until, wait, .. } => (until, wait),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_similar_request_ends_at_once_and_says_when_it_may_be_sent() {
    for (max_age, span) in [(Some(7), 7), (None, 60)] {
        let mut scene = scene(Code::TOO_MANY_REQUESTS, max_age);
        let (client, uri, now) = (scene.client.clone(), scene.uri.clone(), scene.now());
        let (until, wait) = back_off(scene.run(client.put(&uri, "2")));
        assert_eq!((scene.now(), scene.plain.requests().len()), (now, 1));
        assert!(wait <= secs(span) && wait > secs(span) - secs(1), "{wait:?}");
        assert_eq!(until, now + wait);
        // What is asked otherwise is another matter.
        assert_eq!(scene.run(client.get(&uri)).unwrap().code, Code::CONTENT);
        scene.run(scene.host.clone().sleep(wait));
        assert_eq!(scene.run(client.put(&uri, "3")).unwrap().code, Code::CHANGED);
    }
}

#[test]
fn the_error_is_a_line_with_the_server_and_the_time() {
    let mut scene = scene(Code::SERVICE_UNAVAILABLE, Some(30));
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    let text = scene.run(client.put(&uri, "2")).unwrap_err().to_string();
    assert!(text.contains("is overloaded") && text.contains(":5683") && text.contains("for 30.0 s"), "{text}");
}

#[test]
fn a_request_waits_if_it_may_and_is_then_sent_once() {
    let mut scene = scene(Code::TOO_MANY_REQUESTS, Some(100));
    let (client, uri, began) = (scene.client.clone(), scene.uri.clone(), scene.now());
    let reply = scene.run(client.put(&uri, "2").wait_for_back_off(secs(120))).unwrap();
    assert_eq!(reply.code, Code::CHANGED);
    let waited = scene.now() - began;
    assert!(waited > secs(99) && waited < secs(101), "{waited:?}");
    assert_eq!((scene.plain.requests().len(), reply.timing.attempts), (2, 1));
}

#[test]
fn a_wait_that_would_be_too_long_is_none() {
    let mut scene = scene(Code::TOO_MANY_REQUESTS, Some(100));
    let (client, uri, began) = (scene.client.clone(), scene.uri.clone(), scene.now());
    back_off(scene.run(client.put(&uri, "2").wait_for_back_off(secs(90))));
    // Its own time would be over before.
    back_off(scene.run(client.put(&uri, "2").wait_for_back_off(secs(120)).timeout(secs(90))));
    assert_eq!((scene.now(), scene.plain.requests().len()), (began, 1));
}

#[test]
fn a_client_can_be_set_to_wait_and_a_request_to_insist() {
    let mut scene = scene(Code::SERVICE_UNAVAILABLE, Some(50));
    let (client, uri, began) = (scene.client.clone(), scene.uri.clone(), scene.now());
    assert_eq!(client.wait_for_back_off(), Duration::ZERO);
    client.set_wait_for_back_off(secs(60));
    back_off(scene.run(client.put(&uri, "2").wait_for_back_off(Duration::ZERO)));
    assert_eq!(scene.run(client.put(&uri, "2").ignore_back_off()).unwrap().code, Code::CHANGED);
    assert!(scene.now() - began < secs(1));
    assert_eq!(scene.run(client.put(&uri, "3")).unwrap().code, Code::CHANGED);
    assert!(scene.now() - began > secs(49));
}

#[test]
fn requests_behind_the_one_that_was_refused_are_not_sent_either() {
    let mut scene = scene(Code::TOO_MANY_REQUESTS, Some(0));
    let (client, uri, host) = (scene.client.clone(), scene.uri.clone(), scene.host.clone());
    (scene.plain.lock().refuses, scene.plain.lock().max_age) = (Some(Code::TOO_MANY_REQUESTS), Some(20));
    let puts: Vec<_> = (0..3).map(|_| host.spawn(client.put(&uri, "2").into_future())).collect();
    let patient = host.spawn(client.put(&uri, "2").wait_for_back_off(secs(30)).into_future());
    let mut ends = puts.into_iter();
    assert_eq!(scene.run(ends.next().unwrap()).unwrap().code, Code::TOO_MANY_REQUESTS);
    for end in ends {
        back_off(scene.run(end));
    }
    assert_eq!(scene.plain.requests().len(), 2);
    scene.plain.lock().refuses = None;
    assert_eq!(scene.run(patient).unwrap().code, Code::CHANGED);
    assert_eq!(scene.plain.requests().len(), 3);
}

#[test]
fn an_observation_is_refused_and_waits_as_a_request_does() {
    let mut scene = scene(Code::TOO_MANY_REQUESTS, Some(0));
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    (scene.plain.lock().refuses_get, scene.plain.lock().max_age) = (Some(Code::SERVICE_UNAVAILABLE), Some(20));
    assert_eq!(scene.run(client.get(&uri)).unwrap().code, Code::SERVICE_UNAVAILABLE);
    (scene.plain.lock().refuses_get, scene.plain.lock().observable) = (None, true);
    let refused = scene.run(client.observe(&uri)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::BackOff);
    let began = scene.now();
    let observation = scene.run(client.observe(&uri).wait_for_back_off(secs(30))).unwrap();
    drop(observation);
    assert!(scene.now() - began > secs(19));
}

#[test]
fn a_client_that_is_closed_or_disconnected_does_not_wait() {
    for close in [Client::close, Client::disconnect] {
        let mut scene = scene(Code::TOO_MANY_REQUESTS, Some(100));
        let (client, uri, began) = (scene.client.clone(), scene.uri.clone(), scene.now());
        let put = scene.host.spawn(client.put(&uri, "2").wait_for_back_off(secs(120)).into_future());
        scene.run(scene.host.clone().sleep(secs(5)));
        close(&client);
        let ended = scene.run(put).unwrap_err();
        assert!(matches!(ended.kind(), ErrorKind::Closed | ErrorKind::Disconnected), "{ended}");
        assert!(scene.now() - began < secs(6));
    }
}

#[test]
fn of_two_addresses_the_one_that_is_not_overloaded_is_heard() {
    // With and without the patience to wait for the other.
    for span in [0, 80] {
        let mut scene = scene(Code::SERVICE_UNAVAILABLE, Some(1));
        let (client, host) = (scene.client.clone(), scene.host.clone());
        let (far, near) = (scene.sim.host("far"), scene.plain.clone());
        let socket = Arc::new(far.bind("[::]:5683".parse().unwrap(), &SocketOptions::default()).unwrap());
        let slow = Plain::default();
        let _running = far.spawn(slow.clone().run::<Host>(socket));
        scene.sim.link(&host, &far, Link::new().delay(secs(4)));
        for ip in [far.ip(), scene.server.ip()] {
            scene.sim.name("two.example", ip);
        }
        let asked = host.spawn(client.get("coap://two.example/it").wait_for_back_off(secs(span)).into_future());
        // The second address is asked when the first is asked again, and waits there behind another request, which is told to
        // come back later.
        scene.sim.run_for(secs(1));
        (near.lock().refuses_get, near.lock().max_age) = (Some(Code::SERVICE_UNAVAILABLE), Some(60));
        scene.sim.link(&host, &scene.server, Link::new().delay(ms(1_500)));
        let before = client.get(&scene.uri).option(OptionNumber::URI_HOST, "two.example");
        let before = host.spawn(before.into_future());
        let began = scene.now();
        assert_eq!(scene.run(asked).unwrap().code, Code::CONTENT, "{span}");
        assert!(scene.now() < began + secs(10), "{span}: {}", scene.now());
        assert_eq!(scene.run(before).unwrap().code, Code::SERVICE_UNAVAILABLE);
        // It has not been sent there: the only one that has is the other, perhaps twice.
        let mut gets: Vec<_> = near.requests().into_iter().filter(|request| request.code == Code::GET).collect();
        gets.dedup_by_key(|request| request.message_id);
        assert_eq!(gets.len(), 1);
    }
}
