//! Streams and observations between a client and a server of the driver, in virtual time, on networks that lose.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::future::IntoFuture;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex};

use coap_core::{Code, Config, ETag, TransmissionParameters, Wanted};
use coap_driver::router::{BodyError, BodyReader, Ranged, Resource, Router, Streamed, get};
use coap_driver::{Client, Error, Observed};
use coap_sim::{Host, Link, Sim, Task};
use futures_io::AsyncRead;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 + at % 251) as u8).collect()
}

/// Reads from memory.
struct Reader(Vec<u8>);

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let len = self.0.len().min(buf.len());
        buf[..len].copy_from_slice(&self.0[..len]);
        self.0.drain(..len);
        Poll::Ready(Ok(len))
    }
}

struct Scene {
    sim: Sim,
    server: Host,
    client: Client<Host>,
    uri: String,
    _serving: Task<Result<(), Error>>,
}

fn serve(server: &Host, router: Router) -> Task<Result<(), Error>> {
    let host = server.clone();
    server.spawn(async move { host.server("[::]:5683").await?.serve(router).await })
}

fn scene(seed: u64, loss: f64, router: Router) -> Scene {
    let mut sim = Sim::from_env(seed);
    let (server, host) = (sim.host("server"), sim.host("client"));
    sim.link(&server, &host, Link::lossy(loss));
    let serving = serve(&server, router);
    let client = sim.block_on(host.client()).unwrap();
    let uri = format!("coap://[{}]/it", server.ip());
    Scene { sim, server, client, uri, _serving: serving }
}

#[test]
fn a_stream_in_each_direction_arrives_whole_or_fails_at_a_loss_of_a_tenth() {
    let mut whole = 0;
    for seed in 0..8 {
        let (got, sent) = (Arc::new(Mutex::new(Vec::new())), content(60_000));
        let (store, stream) = (got.clone(), sent.clone());
        let take = move |mut body: BodyReader| {
            let store = store.clone();
            async move {
                while let Some(part) = body.chunk().await? {
                    store.lock().unwrap().extend_from_slice(&part);
                }
                Ok::<_, BodyError>(Code::CHANGED)
            }
        };
        let give = move || {
            let stream = stream.clone();
            async move { Streamed::new(Reader(stream)).size(60_000).etag(ETag::new(b"1").unwrap()) }
        };
        let Scene { mut sim, client, uri, .. } = scene(seed, 0.1, Router::new().route("/it", get(give).put(take)));
        let put = client.put(&uri, "").body(Reader(sent.clone())).body_size(60_000);
        let reply = sim.block_on(put.into_future());
        let uploaded = reply.is_ok_and(|reply| reply.code == Code::CHANGED);
        assert!(!uploaded || *got.lock().unwrap() == sent, "spliced");

        let downloaded: Result<Vec<u8>, Error> = sim.block_on(async {
            let mut download = client.get(&uri).download().await?.error_for_status()?;
            let mut all = Vec::new();
            while let Some(part) = download.chunk().await? {
                all.extend_from_slice(&part);
            }
            Ok(all)
        });
        whole += usize::from(uploaded) + usize::from(downloaded.is_ok());
        if let Ok(downloaded) = downloaded {
            assert!(downloaded == sent, "spliced");
        }
    }
    assert!(whole >= 15, "{whole} of 16");
}

#[test]
fn a_download_goes_on_after_a_reboot_of_the_server() {
    let router = || {
        let content = Arc::new(content(50_000));
        let read = move |wanted: Wanted| {
            let content = content.clone();
            async move {
                let start = content.len().min(wanted.offset as usize);
                let end = content.len().min(start + wanted.max);
                let data = content[start..end].to_vec().into();
                (ETag::new(b"same").unwrap(), Ranged { offset: wanted.offset, data, size: Some(50_000) })
            }
        };
        Router::new().route("/it", get(read))
    };
    let Scene { mut sim, server, client, uri, _serving } = scene(1, 0.0, router());
    let mut download = sim.block_on(client.get(&uri).download()).unwrap();
    let mut all = Vec::new();
    for _ in 0..9 {
        all.extend_from_slice(&sim.block_on(download.chunk()).unwrap().unwrap());
    }
    let resume = download.resume().unwrap();
    drop(download);
    sim.reboot(&server);
    let _serving = serve(&server, router());
    let mut download = sim.block_on(client.get(&uri).resume(resume).download()).unwrap();
    assert_eq!(download.offset, 9 * 1_024);
    while let Some(part) = sim.block_on(download.chunk()).unwrap() {
        all.extend_from_slice(&part);
    }
    assert!(all == content(50_000));
}

/// The next state, whatever else is told before it.
async fn state(observation: &mut coap_driver::Observation<Host>) -> String {
    loop {
        match observation.next().await {
            Some(Observed::Notification(reply)) => break reply.text().unwrap().to_owned(),
            Some(Observed::Stale | Observed::Reregistering { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A resource that shows a number.
fn counter(resource: &Resource, number: &Arc<Mutex<u32>>) -> Router {
    let number = number.clone();
    let read = move || {
        let number = number.clone();
        async move { number.lock().unwrap().to_string() }
    };
    Router::new().route("/it", get(read).observable(resource))
}

#[test]
fn the_last_state_arrives_however_much_is_lost() {
    for seed in 0..8 {
        let (resource, number) = (Resource::new(), Arc::new(Mutex::new(0)));
        let Scene { mut sim, client, uri, .. } = scene(seed, 0.2, counter(&resource, &number));
        let mut observation = sim.block_on(client.observe(&uri).into_future()).unwrap();
        assert!(observation.was_accepted());
        for _ in 0..20 {
            *number.lock().unwrap() += 1;
            resource.changed();
            sim.run_for(secs(1));
        }
        sim.run_for(secs(100));
        assert_eq!(sim.block_on(state(&mut observation)), "20", "seed {seed}");
        assert_eq!(resource.observers(), 1);
        sim.block_on(observation.cancel());
        sim.run_for(secs(100));
        assert_eq!(resource.observers(), 0);
    }
}

#[test]
fn an_observation_outlives_a_reboot_of_the_server() {
    let (resource, number) = (Resource::new(), Arc::new(Mutex::new(1)));
    let Scene { mut sim, server, client, uri, _serving } = scene(1, 0.0, counter(&resource, &number));
    let mut observation = sim.block_on(client.observe(&uri).into_future()).unwrap();
    assert_eq!(sim.block_on(state(&mut observation)), "1");
    sim.reboot(&server);
    let (resource, number) = (Resource::new(), Arc::new(Mutex::new(2)));
    let _serving = serve(&server, counter(&resource, &number));
    // Max-Age is 60 s; the server forgets nobody who comes again.
    assert_eq!(sim.block_on(state(&mut observation)), "2");
    assert_eq!(resource.observers(), 1);
}

#[test]
fn a_hundred_bodies_at_once_share_a_path() {
    let content = content(10_000);
    let give = content.clone();
    let router = Router::new().route("/it", get(move || core::future::ready(give.clone())));
    let Scene { mut sim, client: _client, uri, server: _server, _serving } = scene(1, 0.0, router);
    let host = sim.host("many");
    let eight = TransmissionParameters::builder().nstart(8).accept_congestion_risk().build().unwrap();
    let config = Config::builder().transmission(eight).max_transfer_bytes(4 << 20).build().unwrap();
    let client = sim.block_on(host.builder().config(config).client()).unwrap();
    let asked: Vec<_> = (0..100).map(|_| sim.spawn(client.get(&uri).into_future())).collect();
    for asked in asked {
        assert!(sim.block_on(asked).unwrap().payload == content);
    }
}
