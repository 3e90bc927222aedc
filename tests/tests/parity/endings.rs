//! Requests that are ended from elsewhere: disconnecting, aborting, dropping.

use core::future::IntoFuture;
use core::task::{Context, Waker};

use coap_driver::{Client, Error, Observed};
use coap_sim::Host;

use crate::scene::{Scene, scene, secs, start};

/// A server that says nothing any more.
fn silent() -> Scene {
    let scene = scene();
    scene.plain.lock().patience = Some(0);
    scene
}

#[test]
fn disconnecting_ends_all_that_is_open_and_the_client_can_be_used() {
    let mut scene = silent();
    scene.sim.look_up_time(secs(1));
    let Scene { client, host, uri, .. } = &scene;
    // One on its way, one that waits for its turn, one that waits for its name.
    let requests: Vec<_> =
        [uri.clone(), uri.clone(), "coap://nowhere.example/".into()].map(|uri| start(host, client.get(uri))).into();
    let ping = start(host, client.ping(uri));
    let twin: Client<Host> = client.clone();
    scene.sim.run_for(core::time::Duration::from_millis(100));
    twin.disconnect();
    let before = scene.sim.now();
    for request in requests {
        let error = scene.sim.block_on(request).unwrap_err();
        assert!(matches!(error, Error::Disconnected), "{error}");
    }
    assert!(matches!(scene.sim.block_on(ping), Err(Error::Disconnected)));
    assert_eq!(scene.sim.now(), before);

    let sent = scene.plain.requests().len();
    scene.sim.run_for(secs(100));
    assert_eq!(scene.plain.requests().len(), sent, "nothing is repeated");
    scene.plain.lock().patience = None;
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    assert!(scene.run(client.get(uri)).is_ok());
    assert!(scene.run(twin.get(scene.uri.clone())).is_ok());
}

#[test]
fn disconnecting_breaks_downloads_and_tells_the_servers_of_observations() {
    let mut scene = scene();
    {
        let mut plain = scene.plain.lock();
        plain.content = vec![7; 5_000];
        plain.observable = true;
    }
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    let mut download = scene.run(client.get(&uri).download()).unwrap();
    assert!(scene.sim.block_on(download.chunk()).unwrap().is_some());
    scene.plain.lock().content = vec![7; 5];
    let mut observation = scene.run(client.observe(&uri)).unwrap();
    assert!(matches!(scene.sim.block_on(observation.next()), Some(Observed::Notification(_))));
    assert_eq!(scene.plain.observers(), 1);

    client.disconnect();
    let error = loop {
        // What had come before may still be read.
        match scene.sim.block_on(download.chunk()) {
            Ok(part) => assert!(part.is_some(), "a broken download has no end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Disconnected), "{error}");
    assert!(matches!(scene.sim.block_on(observation.next()), Some(Observed::Lost(Error::Disconnected))));
    assert!(scene.sim.block_on(observation.next()).is_none());
    scene.sim.run_for(secs(1));
    assert_eq!(scene.plain.observers(), 0);
    assert!(scene.run(client.observe(&uri)).is_ok());
}

#[test]
fn a_client_that_is_closed_says_so_and_not_that_it_was_disconnected() {
    let mut scene = silent();
    let waiting = start(&scene.host, scene.client.get(&scene.uri));
    scene.sim.run_for(secs(1));
    scene.client.disconnect();
    scene.client.close();
    assert!(matches!(scene.sim.block_on(waiting), Err(Error::Closed)));
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    assert!(matches!(scene.run(client.get(uri)), Err(Error::Closed)));
}

#[test]
fn an_aborted_request_ends_at_once_and_is_not_repeated() {
    let mut scene = silent();
    let mut request = scene.client.get(&scene.uri);
    let abort = request.abort_handle();
    let waiting = start(&scene.host, request);
    scene.sim.run_for(secs(1));
    assert_eq!(scene.plain.requests().len(), 1);
    let before = scene.sim.now();
    abort.abort();
    let error = scene.sim.block_on(waiting).unwrap_err();
    assert!(matches!(error, Error::Aborted), "{error}");
    assert_eq!(scene.sim.now(), before);
    scene.sim.run_for(secs(100));
    assert_eq!(scene.plain.requests().len(), 1);
    // Again, and after the end, it does nothing.
    abort.abort();
    assert!(abort.is_aborted());
}

#[test]
fn what_is_aborted_before_it_is_awaited_is_never_sent() {
    let mut scene = scene();
    let mut request = scene.client.get(&scene.uri);
    request.abort_handle().abort();
    assert!(matches!(scene.run(request), Err(Error::Aborted)));
    scene.sim.run_for(secs(10));
    assert!(scene.plain.requests().is_empty());
}

#[test]
fn a_download_is_aborted_between_two_parts() {
    let mut scene = scene();
    scene.plain.lock().content = vec![7; 50_000];
    let mut request = scene.client.get(&scene.uri);
    let abort = request.abort_handle();
    let mut download = scene.sim.block_on(request.download()).unwrap();
    assert!(scene.sim.block_on(download.chunk()).unwrap().is_some());
    abort.abort();
    assert!(matches!(scene.sim.block_on(download.chunk()), Err(Error::Aborted)));
    scene.sim.run_for(secs(10));
    assert!(scene.plain.requests().len() < 5);
}

#[test]
fn a_dropped_request_is_not_repeated() {
    let mut scene = silent();
    let mut waiting = scene.client.get(&scene.uri).into_future();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    scene.sim.run_for(secs(1));
    assert_eq!(scene.plain.requests().len(), 1);
    drop(waiting);
    scene.sim.run_for(secs(100));
    assert_eq!(scene.plain.requests().len(), 1);
}
