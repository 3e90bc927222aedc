//! Long bodies and observations as a client of the driver sees them, in virtual time, with a peer that does as it is told.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

#[path = "support/plain.rs"]
mod plain;

use core::future::IntoFuture;
use core::net::IpAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex};

use coap_core::{BlockFailure, BlockSize, Code, Instant, Reregistration, Type};
use coap_driver::{Client, Download, Error, Observation, Observed, Progress, Resume, Runtime, SocketOptions};
use coap_sim::{Host, Sim, SimSocket};
use futures_io::AsyncRead;
use plain::Plain;

const CON: Type = Type::Confirmable;
const NON: Type = Type::NonConfirmable;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

struct Scene {
    sim: Sim,
    client: Client<Host>,
    host: Host,
    plain: Plain,
    socket: Arc<SimSocket>,
    server: IpAddr,
    uri: String,
}

fn scene() -> Scene {
    let mut sim = Sim::from_env(1);
    let (server, host) = (sim.host("server"), sim.host("client"));
    let socket = Arc::new(server.bind("[::]:5683".parse().unwrap(), &SocketOptions::default()).unwrap());
    let plain = Plain::default();
    let _running = server.spawn(plain.clone().run::<Host>(socket.clone()));
    let client = sim.block_on(host.client()).unwrap();
    let server = server.ip();
    Scene { sim, client, host, plain, socket, server, uri: format!("coap://[{server}]/it") }
}

/// Bytes that differ from block to block.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 + at % 251) as u8).collect()
}

/// What is read from memory, and then ends, fails or stays.
struct Reader {
    content: Vec<u8>,
    then: Then,
}

#[derive(Clone, Copy)]
enum Then {
    Ends,
    Fails,
    Stays,
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let len = self.content.len().min(buf.len());
        if len == 0 {
            return match self.then {
                Then::Ends => Poll::Ready(Ok(0)),
                Then::Fails => Poll::Ready(Err(io::Error::other("the disk is gone"))),
                Then::Stays => Poll::Pending,
            };
        }
        buf[..len].copy_from_slice(&self.content[..len]);
        self.content.drain(..len);
        Poll::Ready(Ok(len))
    }
}

fn reader(content: &[u8], then: Then) -> Reader {
    Reader { content: content.to_vec(), then }
}

fn read_all(sim: &mut Sim, download: &mut Download<Host>) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    while let Some(part) = sim.block_on(download.chunk())? {
        all.extend_from_slice(&part);
    }
    Ok(all)
}

// ----- Up ----------------------------------------------------------------------------------------------------------

#[test]
fn content_is_read_while_it_is_sent_and_its_size_told_in_the_first_block() {
    let Scene { mut sim, client, plain, uri, .. } = scene();
    for len in [0, 1, 1_023, 1_024, 1_025, 2_048, 100_000] {
        *plain.lock() = plain::State::default();
        let sent = content(len);
        let put = client.put(&uri, "").body(reader(&sent, Then::Ends)).body_size(len as u64);
        let reply = sim.block_on(put.into_future()).unwrap();
        assert_eq!(reply.code, Code::CHANGED);
        assert!(plain.lock().uploaded == sent, "{len} bytes");
        let requests = plain.requests();
        assert_eq!(requests.len(), len.div_ceil(1_024).max(1), "{len} bytes");
        let told: Vec<_> = requests.iter().map(|request| request.options.size1()).collect();
        assert!(told[0] == (len > 1_024).then_some(len as u32), "{len} bytes: {told:?}");
        assert!(told[1..].iter().all(Option::is_none));
    }
}

#[test]
fn progress_is_told_block_by_block() {
    let Scene { mut sim, client, plain, uri, .. } = scene();
    plain.lock().content = content(3_000);
    let told = Arc::new(Mutex::new(Vec::<Progress>::new()));
    let tell = told.clone();
    let put = client.put(&uri, content(5_000)).on_progress(move |progress| tell.lock().unwrap().push(progress));
    sim.block_on(put.into_future()).unwrap();
    let sent: Vec<_> = told.lock().unwrap().drain(..).map(|progress| (progress.sent, progress.sent_of)).collect();
    assert_eq!(sent.last(), Some(&(5_000, Some(5_000))));
    assert!(sent.len() >= 4 && sent.is_sorted(), "{sent:?}");

    let tell = told.clone();
    let get = client.get(&uri).on_progress(move |progress| tell.lock().unwrap().push(progress));
    sim.block_on(get.into_future()).unwrap();
    let received: Vec<_> = told.lock().unwrap().iter().map(|told| (told.received, told.received_of)).collect();
    assert_eq!(received.last(), Some(&(3_000, Some(3_000))));
    assert!(received.len() >= 2 && received.is_sorted(), "{received:?}");
}

#[test]
fn a_response_ends_an_upload_whose_reader_is_not_done() {
    let Scene { mut sim, client, plain, uri, .. } = scene();
    plain.lock().refuses = Some(Code::FORBIDDEN);
    let put = client.put(&uri, "").body(reader(&content(5_000), Then::Stays));
    assert_eq!(sim.block_on(put.into_future()).unwrap().code, Code::FORBIDDEN);
    assert_eq!(plain.requests().len(), 1);
}

#[test]
fn a_reader_that_fails_or_ends_too_early_ends_the_request_and_not_the_body() {
    for then in [Then::Fails, Then::Ends] {
        let Scene { mut sim, client, plain, uri, .. } = scene();
        let put = client.put(&uri, "").body(reader(&content(5_000), then)).body_size(6_000);
        let failed = sim.block_on(put.into_future());
        assert!(matches!(failed, Err(Error::Body(_))), "{failed:?}");
        sim.run_for(secs(300));
        let more = |request: &coap_core::Message| request.options.block1().is_some_and(|block| block.more());
        assert!(plain.requests().iter().all(more), "the last block was sent");
    }
}

#[test]
fn what_was_read_for_an_address_that_is_dead_is_sent_to_the_next() {
    let Scene { mut sim, client, plain, server, .. } = scene();
    let other = sim.host("other");
    sim.name("two.example", other.ip());
    sim.name("two.example", server);
    let sent = content(40_000);
    let put = client.put("coap://two.example/it", "").body(reader(&sent, Then::Ends));
    assert_eq!(sim.block_on(put.into_future()).unwrap().code, Code::CHANGED);
    assert!(plain.lock().uploaded == sent);
}

// ----- Down --------------------------------------------------------------------------------------------------------

#[test]
fn a_long_response_is_one_reply() {
    let Scene { mut sim, client, plain, uri, .. } = scene();
    let content = content(50_000);
    plain.lock().content.clone_from(&content);
    let reply = sim.block_on(client.get(&uri).into_future()).unwrap();
    assert!(reply.payload == content);
    assert!(reply.options.block2().is_none());
    let failed = sim.block_on(client.get(&uri).max_body(49_999).into_future());
    let limit = 49_999;
    assert!(
        matches!(failed, Err(Error::Blockwise { reason: BlockFailure::TooLarge { limit: of }, .. }) if of == limit),
        "{failed:?}"
    );
}

#[test]
fn a_download_is_fetched_as_it_is_read_with_one_block_in_reserve() {
    let Scene { mut sim, client, plain, uri, .. } = scene();
    let content = content(10_000);
    plain.lock().content.clone_from(&content);
    let mut download = sim.block_on(client.get(&uri).block_size(BlockSize::new(256).unwrap()).download()).unwrap();
    assert_eq!((download.code, download.size, download.offset), (Code::CONTENT, Some(10_000), 0));
    let mut read = Vec::new();
    for parts in 1..=10 {
        read.extend_from_slice(&sim.block_on(download.chunk()).unwrap().unwrap());
        sim.run_for(secs(5));
        assert_eq!(read.len(), parts * 256);
        let asked = plain.requests().len();
        assert!(asked <= parts + 2, "{asked} blocks asked for when {parts} were read");
    }
    assert_eq!(download.position(), 2_560);
    read.extend(read_all(&mut sim, &mut download).unwrap());
    assert!(read == content);
    assert_eq!(plain.requests().len(), 40);
    assert!(sim.block_on(download.chunk()).unwrap().is_none());
}

#[test]
fn a_short_response_is_a_download_of_one_part() {
    let Scene { mut sim, client, plain, uri, .. } = scene();
    for len in [0, 5, 1_024] {
        plain.lock().content = content(len);
        let mut download = sim.block_on(client.get(&uri).download()).unwrap();
        assert_eq!((download.size, download.offset), (Some(len as u64), 0));
        assert!(read_all(&mut sim, &mut download).unwrap() == content(len));
    }
}

#[test]
fn a_download_that_is_dropped_asks_for_nothing_more() {
    let Scene { mut sim, client, plain, uri, .. } = scene();
    plain.lock().content = content(10_000);
    let mut download = sim.block_on(client.get(&uri).download()).unwrap();
    sim.block_on(download.chunk()).unwrap();
    drop(download);
    sim.run_for(secs(1));
    let asked = plain.requests().len();
    sim.run_for(secs(300));
    assert_eq!(plain.requests().len(), asked);
}

#[test]
fn an_interrupted_download_goes_on_where_it_ended_if_the_content_is_the_same() {
    for same in [true, false] {
        let Scene { mut sim, client, plain, uri, .. } = scene();
        let content = content(20_000);
        plain.lock().content.clone_from(&content);
        plain.lock().etag = Some(7);
        plain.lock().patience = Some(5);
        let mut download = sim.block_on(client.get(&uri).download()).unwrap();
        let mut read = Vec::new();
        let failed = loop {
            match sim.block_on(download.chunk()) {
                Ok(Some(part)) => read.extend_from_slice(&part),
                Ok(None) => panic!("five blocks are not all"),
                Err(error) => break error,
            }
        };
        assert!(failed.is_timeout(), "{failed}");
        assert!(sim.block_on(download.chunk()).unwrap().is_none(), "the error comes once");
        assert_eq!(read.len(), 5 * 1_024);
        let kept = download.resume().unwrap().to_string();

        plain.lock().patience = None;
        let before = plain.requests().len();
        if !same {
            plain.lock().etag = Some(8);
        }
        let resume: Resume = kept.parse().unwrap();
        let mut download = sim.block_on(client.get(&uri).resume(resume).download()).unwrap();
        read.truncate(download.offset as usize);
        assert_eq!(read.len(), if same { 5 * 1_024 } else { 0 });
        read.extend(read_all(&mut sim, &mut download).unwrap());
        assert!(read == content);
        assert_eq!(download.position(), 20_000);
        if same {
            assert_eq!(plain.requests().len() - before, 16, "the last block, and those that were missing");
        }

        // There is nothing left to fetch, and it is not fetched anew.
        let before = plain.requests().len();
        let mut again = sim.block_on(client.get(&uri).resume(download.resume().unwrap()).download()).unwrap();
        assert_eq!(again.offset, 20_000);
        assert!(read_all(&mut sim, &mut again).unwrap().is_empty());
        assert_eq!(plain.requests().len() - before, 1);
    }
}

#[test]
fn a_client_that_is_closed_ends_its_transfers() {
    let Scene { mut sim, client, plain, uri, .. } = scene();
    plain.lock().content = content(10_000);
    plain.lock().observable = true;
    let mut download = sim.block_on(client.get(&uri).download()).unwrap();
    let mut observation = sim.block_on(client.observe(format!("{uri}?short")).into_future()).unwrap();
    client.close();
    let closed = read_all(&mut sim, &mut download);
    assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
    let closed = sim.block_on(async {
        loop {
            match observation.next().await {
                Some(Observed::Lost(error)) => break error,
                Some(_) => {}
                None => panic!("no word of the end"),
            }
        }
    });
    assert!(matches!(closed, Error::Closed), "{closed:?}");
}

// ----- Observing ---------------------------------------------------------------------------------------------------

fn observed() -> Scene {
    let scene = scene();
    let mut plain = scene.plain.lock();
    (plain.observable, plain.content) = (true, b"0".to_vec());
    drop(plain);
    scene
}

impl Scene {
    fn observe(&mut self) -> Observation<Host> {
        self.sim.block_on(self.client.observe(&self.uri).into_future()).unwrap()
    }

    fn change(&mut self, content: &str) {
        self.plain.lock().content = content.into();
        self.notify(CON);
    }

    /// What a socket sends leaves when a task has its turn.
    fn notify(&mut self, kind: Type) {
        let (plain, socket) = (self.plain.clone(), self.socket.clone());
        self.sim.block_on(async move { plain.notify(&*socket, kind) });
        self.sim.run_for(secs(1));
    }

    fn next(&mut self, observation: &mut Observation<Host>) -> Option<Observed> {
        self.sim.block_on(observation.next())
    }

    /// The next thing is this state.
    fn expect(&mut self, observation: &mut Observation<Host>, state: &str) {
        let next = self.next(observation);
        let Some(Observed::Notification(reply)) = &next else { panic!("{state} was expected: {next:?}") };
        assert_eq!(reply.text(), Some(state));
    }

    /// Registrations and what ends them, as they arrived.
    fn observe_options(&self) -> Vec<u32> {
        self.plain.requests().iter().filter_map(|request| request.options.observe()).collect()
    }
}

#[test]
fn states_come_as_they_change_and_the_latest_is_what_counts() {
    let mut scene = observed();
    let mut observation = scene.observe();
    assert!(observation.was_accepted());
    scene.expect(&mut observation, "0");
    scene.change("1");
    scene.expect(&mut observation, "1");
    // Nobody looks for a while.
    scene.change("2");
    scene.change("3");
    scene.expect(&mut observation, "3");
    assert_eq!(scene.observe_options(), [0]);
}

#[test]
fn a_refused_observation_is_an_ordinary_response() {
    let mut scene = scene();
    scene.plain.lock().content = b"plain".to_vec();
    let mut observation = scene.observe();
    assert!(!observation.was_accepted());
    let next = scene.next(&mut observation);
    assert!(matches!(&next, Some(Observed::Ended(reply)) if reply.text() == Some("plain")), "{next:?}");
    assert!(scene.next(&mut observation).is_none());
    drop(observation);
    scene.sim.run_for(secs(300));
    assert_eq!(scene.observe_options(), [0], "there is nothing to end");
}

#[test]
fn a_server_that_ends_it_says_so() {
    let mut scene = observed();
    let mut observation = scene.observe();
    scene.expect(&mut observation, "0");
    let (plain, socket) = (scene.plain.clone(), scene.socket.clone());
    scene.sim.block_on(async move { plain.end(&*socket, Code::NOT_FOUND) });
    let next = scene.next(&mut observation);
    assert!(matches!(&next, Some(Observed::Ended(reply)) if reply.code == Code::NOT_FOUND), "{next:?}");
    assert!(scene.next(&mut observation).is_none());
}

#[test]
fn silence_is_told_as_stale_then_as_attempts_then_as_lost() {
    let mut scene = observed();
    scene.plain.lock().max_age = Some(10);
    let builder = scene.client.observe(&scene.uri).reregistration(Reregistration::new(2, secs(30)));
    let mut observation = scene.sim.block_on(builder.into_future()).unwrap();
    scene.expect(&mut observation, "0");
    scene.plain.lock().patience = Some(0);
    let mut seen = Vec::new();
    while let Some(next) = scene.next(&mut observation) {
        seen.push(match next {
            Observed::Stale => "stale".to_owned(),
            Observed::Reregistering { attempt } => format!("attempt {attempt}"),
            Observed::Lost(Error::NoAck { .. }) => "lost".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    seen.sort_by_key(|seen| seen == "lost");
    assert!(
        seen == ["stale", "attempt 1", "attempt 2", "lost"] || seen == ["attempt 1", "stale", "attempt 2", "lost"],
        "{seen:?}"
    );
}

#[test]
fn a_state_that_is_valid_again_is_told_again_with_its_content() {
    let mut scene = observed();
    scene.plain.lock().max_age = Some(10);
    scene.plain.lock().etag = Some(7);
    let mut observation = scene.observe();
    scene.expect(&mut observation, "0");
    let next = scene.next(&mut observation);
    assert!(matches!(next, Some(Observed::Reregistering { attempt: 1 } | Observed::Stale)), "{next:?}");
    scene.plain.lock().max_age = Some(100);
    let next = loop {
        match scene.next(&mut observation) {
            Some(Observed::Notification(reply)) => break reply,
            Some(Observed::Reregistering { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((next.code, next.text(), next.options.max_age()), (Code::CONTENT, Some("0"), Some(100)));
    assert_eq!(scene.observe_options(), [0, 0]);
}

#[test]
fn a_registration_that_fails_is_an_error() {
    let mut scene = observed();
    scene.plain.lock().patience = Some(0);
    let failed = scene.sim.block_on(scene.client.observe(&scene.uri).timeout(secs(3)).into_future());
    assert!(matches!(failed, Err(Error::NoAck { .. })), "{failed:?}");
    assert_eq!(scene.sim.now(), Instant::from_secs(3));
}

#[test]
fn two_observers_share_a_registration_which_ends_with_the_last() {
    let mut scene = observed();
    let mut first = scene.observe();
    scene.expect(&mut first, "0");
    scene.change("1");
    let mut second = scene.observe();
    scene.expect(&mut second, "1");
    scene.expect(&mut first, "1");
    scene.change("2");
    scene.expect(&mut first, "2");
    scene.expect(&mut second, "2");
    assert_eq!(scene.observe_options(), [0]);
    drop(first);
    scene.change("3");
    scene.expect(&mut second, "3");
    drop(second);
    scene.sim.run_for(secs(1));
    assert_eq!(scene.observe_options(), [0, 1]);
    assert_eq!(scene.plain.observers(), 0);
}

#[test]
fn two_that_begin_at_once_share_a_registration_too() {
    let mut scene = observed();
    let first = scene.sim.spawn(scene.client.observe(&scene.uri).into_future());
    let second = scene.sim.spawn(scene.client.observe(&scene.uri).into_future());
    let mut first = scene.sim.block_on(first).unwrap();
    let mut second = scene.sim.block_on(second).unwrap();
    scene.expect(&mut first, "0");
    scene.expect(&mut second, "0");
    assert_eq!(scene.observe_options(), [0]);
}

#[test]
fn a_short_time_of_one_is_not_the_other_s() {
    let mut scene = observed();
    scene.plain.lock().patience = Some(0);
    let hasty = scene.sim.spawn(scene.client.observe(&scene.uri).timeout(secs(1)).into_future());
    scene.sim.run_for(Duration::from_millis(1));
    let patient = scene.sim.spawn(scene.client.observe(&scene.uri).timeout(secs(20)).into_future());
    let hasty = scene.sim.block_on(hasty);
    assert!(matches!(hasty, Err(Error::NoAck { .. })), "{hasty:?}");
    scene.plain.lock().patience = None;
    let mut patient = scene.sim.block_on(patient).unwrap();
    scene.expect(&mut patient, "0");
}

#[test]
fn an_observer_that_joins_has_its_own_patience() {
    let mut scene = observed();
    scene.plain.lock().patience = Some(0);
    let patient = scene.sim.spawn(scene.client.observe(&scene.uri).into_future());
    scene.sim.run_for(Duration::from_millis(1));
    let before = scene.sim.now();
    let hasty = scene.sim.block_on(scene.client.observe(&scene.uri).timeout(secs(1)).into_future());
    assert!(hasty.is_err_and(|error| error.is_timeout()));
    assert_eq!(scene.sim.now(), before + secs(1));
    scene.plain.lock().patience = None;
    assert!(scene.sim.block_on(patient).is_ok());
}

#[test]
fn other_options_are_another_observation() {
    let mut scene = observed();
    let _first = scene.observe();
    let json = scene.client.observe(&scene.uri).accept(coap_core::ContentFormat::JSON).into_future();
    let _second = scene.sim.block_on(json).unwrap();
    assert_eq!(scene.observe_options(), [0, 0]);
}

#[test]
fn cancelling_waits_until_the_server_knows_and_forgetting_leaves_it_to_a_reset() {
    let mut scene = observed();
    let observation = scene.observe();
    scene.sim.block_on(observation.cancel());
    assert_eq!((scene.observe_options(), scene.plain.observers()), (vec![0, 1], 0));
    scene.sim.run_for(secs(300));
    assert_eq!(scene.observe_options(), [0, 1], "it is told once");

    let observation = scene.observe();
    observation.forget();
    for kind in [CON, NON] {
        let before = scene.plain.resets();
        scene.notify(kind);
        assert_eq!(scene.plain.resets(), before + 1, "{kind:?}");
    }
    assert_eq!(scene.observe_options(), [0, 1, 0]);
}

#[test]
fn cancelling_by_uri_ends_all_local_observers_of_the_resource_and_no_others() {
    let mut scene = observed();
    let mut first = scene.observe();
    let mut second = scene.observe();
    let mut other = scene.sim.block_on(scene.client.observe(format!("{}/other", scene.uri)).into_future()).unwrap();
    scene.expect(&mut first, "0");
    let ended = scene.sim.block_on(scene.client.cancel_observation(&scene.uri)).unwrap();
    assert_eq!(ended, 2);
    assert!(scene.next(&mut first).is_none());
    assert!(scene.next(&mut second).is_none());
    scene.sim.run_for(secs(1));
    assert_eq!(scene.observe_options(), [0, 0, 1]);
    scene.expect(&mut other, "0");
    scene.change("1");
    scene.expect(&mut other, "1");
    assert_eq!(scene.sim.block_on(scene.client.cancel_observation(&scene.uri)).unwrap(), 0);
}

#[test]
fn an_observation_without_uri_host_is_cancelled_by_its_uri() {
    let mut scene = observed();
    let ip = scene.uri.trim_start_matches("coap://").split('/').next().unwrap().to_owned();
    let ip: IpAddr = ip.trim_matches(['[', ']']).parse().unwrap();
    scene.sim.name("plain.example", ip);
    let uri = "coap://plain.example/state";
    let mut bare = scene.sim.block_on(scene.client.observe(uri).no_uri_host().into_future()).unwrap();
    scene.expect(&mut bare, "0");
    assert_eq!(scene.sim.block_on(scene.client.cancel_observation("coap://plain.example/other")).unwrap(), 0);
    assert_eq!(scene.sim.block_on(scene.client.cancel_observation(uri)).unwrap(), 1);
    assert!(scene.next(&mut bare).is_none());
    scene.sim.run_for(secs(1));
    assert_eq!(scene.plain.observers(), 0);
}

#[test]
fn a_long_state_is_told_whole() {
    let mut scene = observed();
    let state = "long ".repeat(1_000);
    scene.plain.lock().content = state.clone().into_bytes();
    let mut observation = scene.observe();
    scene.expect(&mut observation, &state);
}

#[test]
fn nothing_is_left_when_all_is_dropped() {
    let mut scene = observed();
    let observation = scene.observe();
    let Scene { mut sim, client, plain, socket, host, .. } = scene;
    drop((observation, client, host));
    sim.run_for(secs(1));
    assert_eq!(plain.observers(), 0, "the last datagram tells the server");
    drop(socket);
    sim.run_until_idle();
    assert_eq!(sim.open().timers, 0);
}
