//! Streams and observations of the driver where they are likely to break: dropped, held up, closed in the middle, at an address
//! that is none, or beside each other at one peer. In virtual time.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::future::{IntoFuture, poll_fn};
use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

use coap_core::{Code, ETag, Wanted};
use coap_driver::router::{BodyError, BodyReader, Ranged, Resource, Router, Streamed, get, put};
use coap_driver::{Client, Error, Observation, Observed, Resume, ShutdownHandle};
use coap_sim::{Host, Link, Open, Sim, Sleep, Task};
use futures_io::AsyncRead;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 + at % 251) as u8).collect()
}

/// Reads from memory, so much at a time, and sleeps after each time.
struct Reader {
    host: Host,
    content: Vec<u8>,
    at: usize,
    step: usize,
    pause: Duration,
    sleep: Option<Sleep>,
    /// How much of it has been read, for the test.
    read: Arc<AtomicUsize>,
}

impl Reader {
    fn new(host: &Host, content: Vec<u8>, step: usize, pause: Duration) -> Self {
        Self { host: host.clone(), content, at: 0, step, pause, sleep: None, read: Arc::default() }
    }
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(sleep) = &mut self.sleep {
            if Pin::new(sleep).poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
        }
        let len = (self.content.len() - self.at).min(self.step).min(buf.len());
        buf[..len].copy_from_slice(&self.content[self.at..self.at + len]);
        self.at += len;
        self.read.fetch_add(len, Ordering::Relaxed);
        if !self.pause.is_zero() {
            self.sleep = Some(self.host.sleep(self.pause));
        }
        Poll::Ready(Ok(len))
    }
}

struct Scene {
    sim: Sim,
    host: Host,
    client: Client<Host>,
    uri: String,
    serving: Task<Result<(), Error>>,
    shutdown: ShutdownHandle<Host>,
}

fn scene(seed: u64, loss: f64, router: impl FnOnce(&Host) -> Router) -> Scene {
    let mut sim = Sim::from_env(seed);
    let (server, host) = (sim.host("server"), sim.host("client"));
    sim.link(&server, &host, Link::lossy(loss));
    let bound = sim.block_on(server.server("[::]:5683")).unwrap();
    let shutdown = bound.shutdown_handle();
    let serving = sim.spawn(bound.serve(router(&server)));
    let client = sim.block_on(host.client()).unwrap();
    let uri = format!("coap://[{}]", server.ip());
    Scene { sim, host, client, uri, serving, shutdown }
}

/// With a route that keeps what is put.
fn keep(router: Router, stored: &Arc<Mutex<Vec<u8>>>) -> Router {
    let stored = stored.clone();
    let take = move |mut body: BodyReader| {
        let stored = stored.clone();
        async move {
            stored.lock().unwrap().clear();
            while let Some(part) = body.chunk().await? {
                stored.lock().unwrap().extend_from_slice(&part);
            }
            Ok::<_, BodyError>(Code::CHANGED)
        }
    };
    router.route("/it", put(take))
}

/// With a route that gives 20,000 bytes, stretch by stretch.
fn ranged(router: Router) -> Router {
    let content = Arc::new(content(20_000));
    let read = move |wanted: Wanted| {
        let content = content.clone();
        async move {
            let start = content.len().min(wanted.offset as usize);
            let end = content.len().min(start + wanted.max);
            let data = content[start..end].to_vec().into();
            (ETag::new(b"same").unwrap(), Ranged { offset: wanted.offset, data, size: Some(20_000) })
        }
    };
    router.route("/long", get(read))
}

fn ranged_and_now(_: &Host) -> Router {
    ranged(keep(Router::new(), &Arc::default())).route("/now", get(async || "now"))
}

/// What one does with a panic.
async fn caught<T>(future: impl Future<Output = T>) -> std::thread::Result<T> {
    let mut future = Box::pin(future);
    poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

// ----- Uploads -----------------------------------------------------------------------------------------------------------

#[test]
fn nothing_of_a_stream_is_lost_between_two_addresses() {
    let stored = Arc::new(Mutex::new(Vec::new()));
    let Scene { mut sim, host, client, .. } = scene(1, 0.0, |_| keep(Router::new(), &stored));
    let other = sim.host("other");
    let server = sim.host("third");
    sim.name("two.example", other.ip());
    sim.name("two.example", server.ip());
    let _serving = {
        let (server, router) = (server.clone(), keep(Router::new(), &stored));
        server.clone().spawn(async move { server.server("[::]:5683").await?.serve(router).await })
    };
    // The first address is reported to be none while the reader is asked for what follows.
    for (step, pause) in [(1_500, ms(300)), (700, ms(15)), (8_192, ms(0)), (1_025, ms(35))] {
        let sent = content(10_000);
        let reader = Reader::new(&host, sent.clone(), step, pause);
        let reply = sim.block_on(client.put("coap://two.example/it", "").body(reader).into_future()).unwrap();
        assert_eq!(reply.code, Code::CHANGED);
        let stored = core::mem::take(&mut *stored.lock().unwrap());
        assert!(stored == sent, "{step}: {} bytes of {} were stored, or others", stored.len(), sent.len());
    }
}

#[test]
fn a_handler_that_reads_slowly_holds_the_upload_up_and_nobody_else() {
    let took = Arc::new(AtomicUsize::new(0));
    let slowly = {
        let took = took.clone();
        move |host: &Host| {
            let host = host.clone();
            let take = move |mut body: BodyReader| {
                let (host, took) = (host.clone(), took.clone());
                async move {
                    while let Some(part) = body.chunk().await? {
                        took.fetch_add(part.len(), Ordering::Relaxed);
                        host.sleep(secs(1)).await;
                    }
                    Ok::<_, BodyError>(Code::CHANGED)
                }
            };
            Router::new().route("/it", put(take)).route("/now", get(async || "now"))
        }
    };
    let Scene { mut sim, host, client, uri, .. } = scene(1, 0.0, slowly);
    let reader = Reader::new(&host, content(10 << 20), usize::MAX, ms(0));
    let read = reader.read.clone();
    let up = sim.spawn(client.put(format!("{uri}/it"), "").body(reader).into_future());
    sim.run_for(secs(60));
    let (read, took) = (read.load(Ordering::Relaxed), took.load(Ordering::Relaxed));
    assert!(took >= 50 * 1_024 && read <= took + (16 << 10), "{read} read, {took} taken");
    // Beside it, at the same peer, others are answered at once.
    let before = sim.now();
    let reply = sim.block_on(client.get(format!("{uri}/now")).into_future()).unwrap();
    assert_eq!(reply.text(), Some("now"));
    assert!(sim.now() - before <= secs(2), "{:?}", sim.now() - before);
    assert!(!up.is_over());
}

#[test]
fn a_download_that_is_read_slowly_is_read_slowly_at_its_source() {
    let read = Arc::new(AtomicUsize::new(0));
    let give = {
        let read = read.clone();
        move |host: &Host| {
            let host = host.clone();
            let give = move || {
                let reader = Reader { read: read.clone(), ..Reader::new(&host, content(10 << 20), usize::MAX, ms(0)) };
                async move { Streamed::new(reader) }
            };
            Router::new().route("/it", get(give)).route("/now", get(async || "now"))
        }
    };
    let Scene { mut sim, host, client, uri, .. } = scene(1, 0.0, give);
    let taken = Arc::new(AtomicUsize::new(0));
    let mut download = sim.block_on(client.get(format!("{uri}/it")).download()).unwrap();
    let down = {
        let (taken, host) = (taken.clone(), host.clone());
        sim.spawn(async move {
            while let Some(part) = download.chunk().await? {
                taken.fetch_add(part.len(), Ordering::Relaxed);
                host.sleep(secs(1)).await;
            }
            Ok::<_, Error>(())
        })
    };
    sim.run_for(secs(60));
    let (read, taken) = (read.load(Ordering::Relaxed), taken.load(Ordering::Relaxed));
    assert!(taken >= 50 * 1_024 && read <= taken + (16 << 10), "{read} read, {taken} taken");
    let before = sim.now();
    assert!(sim.block_on(client.get(format!("{uri}/now")).into_future()).is_ok());
    assert!(sim.now() - before <= ms(100), "{:?}", sim.now() - before);
    assert!(!down.is_over());
}

#[test]
fn a_reader_says_how_long_the_content_is_also_when_it_has_been_read() {
    let sizes = async |mut body: BodyReader| {
        let before = body.size();
        let first = body.chunk().await?.map_or(0, |part| part.len());
        while body.chunk().await?.is_some() {}
        Ok::<_, BodyError>(format!("{before:?} {first} {:?}", body.size()))
    };
    let Scene { mut sim, host, client, uri, .. } = scene(1, 0.0, |_| Router::new().route("/it", put(sizes)));
    let reply = sim.block_on(client.put(format!("{uri}/it"), "12345").into_future()).unwrap();
    assert_eq!(reply.text(), Some("Some(5) 5 Some(5)"));
    let reader = Reader::new(&host, content(3_000), 3_000, ms(0));
    let long = client.put(format!("{uri}/it"), "").body(reader).body_size(3_000);
    assert_eq!(sim.block_on(long.into_future()).unwrap().text(), Some("Some(3000) 1024 Some(3000)"));
}

#[test]
fn what_is_said_to_be_there_of_a_download_is_never_more_than_there_is() {
    // The same content, by its tag, whether its length is told or not.
    for size in [Some(20_000), None] {
        let content = Arc::new(content(20_000));
        let give = content.clone();
        let read = move |wanted: Wanted| {
            let content = give.clone();
            async move {
                let start = content.len().min(wanted.offset as usize);
                let data = content[start..].to_vec().into();
                let etag = ETag::new(b"same").unwrap();
                if start == content.len() {
                    Err(Code::BAD_REQUEST)
                } else {
                    Ok((etag, Ranged { offset: wanted.offset, data, size }))
                }
            }
        };
        let Scene { mut sim, client, uri, .. } = scene(1, 0.0, |_| Router::new().route("/long", get(read)));
        for offset in [19_999_u64, 20_000, 20_001, 30_000, u64::MAX] {
            let resume = Resume::new(offset, ETag::new(b"same").unwrap());
            let got: Result<_, Error> = sim.block_on(async {
                let mut download = client.get(format!("{uri}/long")).resume(resume).download().await?;
                let (offset, mut all) = (download.offset, Vec::new());
                while let Some(part) = download.chunk().await? {
                    all.extend_from_slice(&part);
                }
                Ok((offset, all))
            });
            match got {
                Ok((0, all)) => assert!(offset > 20_000 && all == *content, "{offset}: {}", all.len()),
                Ok((from, all)) => {
                    assert_eq!(from, offset);
                    assert!(offset <= 20_000 && all == content[offset as usize..], "{offset}: {}", all.len());
                }
                Err(error) => {
                    assert!(matches!(error, Error::Blockwise { .. }), "{error}");
                    // The length comes with the first block, which was not asked for.
                    assert!(offset > 20_000, "{offset}");
                }
            }
        }
    }
}

// ----- Panics ------------------------------------------------------------------------------------------------------------

/// Panics when it has given one stretch.
struct Panicking(bool);

impl AsyncRead for Panicking {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if core::mem::replace(&mut self.0, true) {
            // It prints nothing.
            resume_unwind(Box::new("the reader panics"));
        }
        let len = buf.len().min(3_000);
        buf[..len].fill(7);
        Poll::Ready(Ok(len))
    }
}

#[test]
fn readers_and_hooks_that_panic_leave_client_and_server_at_work() {
    let stored = Arc::new(Mutex::new(Vec::new()));
    let router = |_: &Host| {
        let panics = async || Streamed::new(Panicking(false));
        let reads = async |mut body: BodyReader| -> Code {
            while let Ok(Some(_)) = body.chunk().await {}
            resume_unwind(Box::new("the handler panics"))
        };
        ranged(keep(Router::new(), &stored)).route("/panics", get(panics).put(reads))
    };
    let Scene { mut sim, client, uri, serving, .. } = scene(1, 0.0, router);
    // The client's reader.
    let put = client.put(format!("{uri}/it"), "").body(Panicking(false));
    assert!(sim.block_on(caught(put.into_future())).is_err());
    // Its hook, for a request and for a download.
    let hook = |_| resume_unwind(Box::new("the hook panics"));
    let got = client.get(format!("{uri}/long")).on_progress(hook);
    assert!(sim.block_on(caught(got.into_future())).is_err());
    let got = client.get(format!("{uri}/long")).on_progress(hook);
    let read = caught(async {
        let mut download = got.download().await?;
        while download.chunk().await?.is_some() {}
        Ok::<_, Error>(())
    });
    assert!(sim.block_on(read).is_err());
    // The server's reader and handler.
    let broken: Result<(), Error> = sim.block_on(async {
        let mut download = client.get(format!("{uri}/panics")).download().await?.error_for_status()?;
        while download.chunk().await?.is_some() {}
        Ok(())
    });
    assert!(broken.is_err());
    let reply = sim.block_on(client.put(format!("{uri}/panics"), content(5_000)).into_future()).unwrap();
    assert_eq!(reply.code, Code::INTERNAL_SERVER_ERROR);
    // All else goes on.
    let reply = sim.block_on(client.get(format!("{uri}/long")).into_future()).unwrap();
    assert!(reply.payload == content(20_000));
    let reply = sim.block_on(client.put(format!("{uri}/it"), content(5_000)).into_future()).unwrap();
    assert_eq!(reply.code, Code::CHANGED);
    assert!(!serving.is_over());
}

// ----- Ends in the middle --------------------------------------------------------------------------------------------------

/// An upload, a download and an observation that go on for a while.
fn three(sim: &mut Sim, host: &Host, client: &Client<Host>, uri: &str) -> [Task<Result<(), Error>>; 3] {
    let reader = Reader::new(host, content(20_000), 700, ms(5));
    let up = client.put(format!("{uri}/it"), "").body(reader).into_future();
    let up = sim.spawn(async move { up.await.map(drop) });
    let (down, pauses) = (client.get(format!("{uri}/long")).download(), host.clone());
    let down = sim.spawn(async move {
        let mut download = down.await?;
        while download.chunk().await?.is_some() {
            pauses.sleep(ms(20)).await;
        }
        Ok(())
    });
    let observing = client.observe(format!("{uri}/value")).into_future();
    let observing = sim.spawn(async move {
        let mut observation = observing.await?;
        while let Some(observed) = observation.next().await {
            if let Observed::Lost(error) = observed {
                return Err(error);
            }
        }
        Ok(())
    });
    [up, down, observing]
}

fn all_three(resource: &Resource) -> Router {
    let value = get(async || "value").observable(resource);
    ranged(keep(Router::new(), &Arc::default())).route("/value", value)
}

#[test]
fn what_is_dropped_in_the_middle_leaves_nothing_behind() {
    for moment in 0..60 {
        let resource = Resource::new();
        let Scene { mut sim, host, client, uri, serving, .. } = scene(moment, 0.2, |_| all_three(&resource));
        let tasks = three(&mut sim, &host, &client, &uri);
        for _ in 0..moment {
            resource.changed();
            sim.run_for(ms(30));
        }
        tasks.iter().for_each(Task::abort);
        sim.run_for(ms(1));
        let next = sim.block_on(client.get(format!("{uri}/value")).into_future());
        assert!(next.as_ref().map_or_else(Error::is_timeout, |reply| reply.is_success()), "{moment}: {next:?}");
        sim.run_for(secs(300));
        assert_eq!(resource.observers(), 0, "{moment}");
        drop((client, tasks));
        serving.abort();
        sim.run_until_idle();
        assert_eq!(sim.open(), Open::default(), "{moment}");
    }
}

#[test]
fn a_client_that_is_closed_in_the_middle_ends_all_at_once() {
    for moment in 0..20 {
        let resource = Resource::new();
        let Scene { mut sim, host, client, uri, serving, .. } = scene(moment, 0.1, |_| all_three(&resource));
        let tasks = three(&mut sim, &host, &client, &uri);
        sim.run_for(ms(25 * moment));
        let open: Vec<_> = tasks.into_iter().filter(|task| !task.is_over()).collect();
        client.close();
        // The pauses between two parts are 20 ms.
        sim.run_for(ms(30));
        for task in open {
            assert!(task.is_over(), "{moment}");
            let ended = sim.block_on(task);
            // A download may have come to its end already, but for its last part.
            assert!(matches!(ended, Ok(()) | Err(Error::Closed)), "{moment}: {ended:?}");
        }
        sim.run_for(secs(300));
        serving.abort();
        drop(client);
        sim.run_until_idle();
        assert_eq!(sim.open(), Open::default(), "{moment}");
    }
}

#[test]
fn a_server_that_ends_in_the_middle_ends_all_with_a_word_or_in_time() {
    for moment in 0..20 {
        let resource = Resource::new();
        let Scene { mut sim, host, client, uri, serving, shutdown } = scene(moment, 0.1, |_| all_three(&resource));
        let tasks = three(&mut sim, &host, &client, &uri);
        sim.run_for(ms(25 * moment));
        shutdown.shutdown(secs(1));
        let before = sim.now();
        assert!(sim.block_on(serving).is_ok());
        assert!(sim.now() - before <= secs(1) + ms(10), "{moment}: {:?}", sim.now() - before);
        assert_eq!(resource.observers(), 0);
        for task in tasks {
            let ended = sim.block_on(task);
            assert!(!matches!(ended, Err(Error::Closed)), "{moment}: {ended:?}");
        }
        drop(client);
        sim.run_until_idle();
        assert_eq!(sim.open(), Open::default(), "{moment}");
    }
}

// ----- Observations ----------------------------------------------------------------------------------------------------------

/// A counter that is observed, and how often it has been read.
fn counter(resource: &Resource, number: &Arc<AtomicUsize>, reads: &Arc<AtomicUsize>) -> Router {
    let (number, reads) = (number.clone(), reads.clone());
    let read = move || {
        reads.fetch_add(1, Ordering::Relaxed);
        let number = number.load(Ordering::Relaxed);
        async move { number.to_string() }
    };
    ranged(Router::new()).route("/value", get(read).observable(resource))
}

/// The next state.
async fn state(observation: &mut Observation<Host>) -> String {
    match observation.next().await {
        Some(Observed::Notification(reply)) => reply.text().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_two_observers_with_one_registration_each_may_be_slow_or_go() {
    let (resource, number, reads) = (Resource::new(), Arc::new(AtomicUsize::new(1)), Arc::new(AtomicUsize::new(0)));
    let Scene { mut sim, client, uri, .. } = scene(1, 0.0, |_| counter(&resource, &number, &reads));
    let other = client.clone();
    let value = format!("{uri}/value");
    let mut one = sim.block_on(client.observe(&value).into_future()).unwrap();
    let mut two = sim.block_on(other.observe(&value).into_future()).unwrap();
    let slow = sim.block_on(client.observe(&value).into_future()).unwrap();
    assert_eq!(sim.block_on(state(&mut one)), "1");
    assert_eq!(sim.block_on(state(&mut two)), "1");
    assert_eq!(resource.observers(), 1);
    let set = |sim: &mut Sim, to: usize| {
        number.store(to, Ordering::Relaxed);
        resource.changed();
        sim.run_for(secs(1));
    };
    for next in 2..10 {
        set(&mut sim, next);
        assert_eq!(sim.block_on(state(&mut one)), next.to_string());
    }
    // The latest counts.
    assert_eq!(sim.block_on(state(&mut two)), "9");
    // A clone's own observers end with it alone if it was the only one of its kind; here all are of one client.
    drop(one);
    sim.run_for(secs(1));
    set(&mut sim, 10);
    assert_eq!(sim.block_on(state(&mut two)), "10");
    let before = sim.now();
    sim.block_on(two.cancel());
    assert_eq!(sim.now(), before, "others observe: there is nothing to be said to the server");
    assert_eq!(resource.observers(), 1);
    let mut slow = slow;
    assert_eq!(sim.block_on(state(&mut slow)), "10");
    slow.forget();
    assert_eq!(resource.observers(), 1);
    set(&mut sim, 11);
    assert_eq!(resource.observers(), 0);
    // And a new one begins anew.
    let mut again = sim.block_on(client.observe(&value).into_future()).unwrap();
    assert_eq!(sim.block_on(state(&mut again)), "11");
    assert_eq!(resource.observers(), 1);
}

#[test]
fn a_burst_of_changes_from_another_thread_is_a_few_notifications_and_the_last_one_arrives() {
    let (resource, number, reads) = (Resource::new(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let Scene { mut sim, client, uri, .. } = scene(1, 0.0, |_| counter(&resource, &number, &reads));
    let mut observation = sim.block_on(client.observe(format!("{uri}/value")).into_future()).unwrap();
    assert_eq!(sim.block_on(state(&mut observation)), "0");
    reads.store(0, Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    number.fetch_add(1, Ordering::Relaxed);
                    resource.changed();
                }
            });
        }
    });
    sim.run_for(secs(10));
    assert_eq!(sim.block_on(state(&mut observation)), "1000");
    assert_eq!(reads.load(Ordering::Relaxed), 1);
}

#[test]
fn a_handler_that_changes_what_it_reads_does_not_keep_the_server_from_the_others() {
    let resource = Resource::new();
    let turns = Arc::new(AtomicUsize::new(0));
    let router = {
        let (resource, turns) = (resource.clone(), turns.clone());
        move |_: &Host| {
            let changes = resource.clone();
            let read = move || {
                let turn = turns.fetch_add(1, Ordering::Relaxed);
                if turn < 10_000 {
                    changes.changed();
                }
                async move { turn.to_string() }
            };
            Router::new().route("/value", get(read).observable(&resource)).route("/now", get(async || "now"))
        }
    };
    let Scene { mut sim, client, uri, .. } = scene(1, 0.0, router);
    let mut observation = sim.block_on(client.observe(format!("{uri}/value")).into_future()).unwrap();
    assert_eq!(sim.block_on(state(&mut observation)), "0");
    let reply = sim.block_on(client.get(format!("{uri}/now")).into_future()).unwrap();
    assert_eq!(reply.text(), Some("now"));
    sim.run_for(secs(20));
    assert_eq!(sim.block_on(state(&mut observation)), "10000");
    assert_eq!(turns.load(Ordering::Relaxed), 10_001);
}

#[test]
fn an_observation_a_download_and_requests_go_beside_each_other_at_one_peer() {
    let (resource, number, reads) = (Resource::new(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let Scene { mut sim, client, uri, .. } = scene(1, 0.05, |_| counter(&resource, &number, &reads));
    let mut observation = sim.block_on(client.observe(format!("{uri}/value")).into_future()).unwrap();
    let mut download = sim.block_on(client.get(format!("{uri}/long")).download()).unwrap();
    let mut all = Vec::new();
    let mut last = String::new();
    for at in 1..=20 {
        number.store(at, Ordering::Relaxed);
        resource.changed();
        // NSTART is 1, and none of the others holds it while nothing is to be done.
        let asked: Vec<_> = (0..3).map(|_| sim.spawn(client.get(format!("{uri}/value")).into_future())).collect();
        if let Some(part) = sim.block_on(download.chunk()).unwrap() {
            all.extend_from_slice(&part);
        }
        for asked in asked {
            assert!(sim.block_on(asked).unwrap().is_success());
        }
        sim.run_for(secs(100));
        last = sim.block_on(async {
            loop {
                match observation.next().await {
                    Some(Observed::Notification(reply)) => break reply.text().unwrap().to_owned(),
                    Some(Observed::Stale | Observed::Reregistering { .. }) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    assert_eq!(last, "20");
    assert!(all == content(20_000));
}

#[test]
fn a_stream_that_stands_still_for_long_holds_nothing_up_and_goes_on() {
    let Scene { mut sim, client, uri, .. } = scene(1, 0.0, ranged_and_now);
    let mut download = sim.block_on(client.get(format!("{uri}/long")).download()).unwrap();
    let mut all = Vec::new();
    // An upload whose reader has nothing to give for a day, beside it.
    let idle = Reader::new(&sim.host("idle"), content(5_000), 1_500, secs(86_400));
    let up = sim.spawn(client.put(format!("{uri}/it"), "").body(idle).into_future());
    while let Some(part) = sim.block_on(download.chunk()).unwrap() {
        all.extend_from_slice(&part);
        sim.run_for(secs(3_600));
        let before = sim.now();
        assert!(sim.block_on(client.get(format!("{uri}/now")).into_future()).is_ok());
        assert!(sim.now() - before <= ms(100), "{:?}", sim.now() - before);
    }
    assert!(all == content(20_000));
    drop(up);
}
