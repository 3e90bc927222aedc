//! Client and server together, on a network that loses.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::sync::{Arc, Mutex};

use coap_core::{Code, ContentFormat};
use coap_driver::router::{BodyError, BodyReader, Resource, Router, Streamed, get, put};
use coap_driver::{Client, Error, Observed};
use coap_sim::{Host, Link, Sim, Task};
use futures_io::AsyncRead;

use crate::peer::{ms, secs};

/// A server, a path to it that loses a share each way, and a host for clients.
struct Lossy {
    sim: Sim,
    client: Host,
    serving: Task<Result<(), Error>>,
}

fn lossy(seed: u64, loss: f64, router: impl FnOnce(&Host) -> Router) -> Lossy {
    let mut sim = Sim::from_env(seed);
    let (server, client) = (sim.host("server"), sim.host("client"));
    sim.link(&server, &client, Link::lossy(loss));
    sim.name("server.example", server.ip());
    let bound = sim.block_on(server.server("[::]:5683")).unwrap();
    let serving = sim.spawn(bound.serve(router(&server)));
    Lossy { sim, client, serving }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// Gives up to 700 bytes at a time, and waits before each.
struct Slowly {
    host: Host,
    content: Vec<u8>,
    at: usize,
    wait: Option<coap_sim::Sleep>,
}

impl Slowly {
    fn new(host: &Host, content: Vec<u8>) -> Self {
        Self { host: host.clone(), content, at: 0, wait: None }
    }
}

impl AsyncRead for Slowly {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let host = self.host.clone();
        let wait = self.wait.get_or_insert_with(|| host.sleep(ms(3)));
        if Pin::new(wait).poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.wait = None;
        let len = (self.content.len() - self.at).min(700).min(buf.len());
        buf[..len].copy_from_slice(&self.content[self.at..self.at + len]);
        self.at += len;
        Poll::Ready(Ok(len))
    }
}

#[test]
fn streams_up_and_down_arrive_byte_for_byte_or_say_that_they_did_not() {
    const LEN: usize = 100_000;
    let mut whole = [0, 0];
    for seed in 0..20 {
        let stored = Arc::new(Mutex::new(Vec::new()));
        let to = stored.clone();
        let router = move |host: &Host| {
            let host = host.clone();
            let store = move |mut body: BodyReader| {
                let to = to.clone();
                async move {
                    to.lock().unwrap().clear();
                    while let Some(part) = body.chunk().await? {
                        to.lock().unwrap().extend_from_slice(&part);
                    }
                    Ok::<_, BodyError>(())
                }
            };
            let read = move || {
                let reader = Slowly::new(&host, content(LEN));
                async move { (ContentFormat::OCTET_STREAM, Streamed::new(reader)) }
            };
            Router::new().route("/file", put(store).get(read))
        };
        let Lossy { mut sim, client: host, serving } = lossy(seed, 0.1, router);
        let client = sim.block_on(host.client()).unwrap();
        let reader = Slowly::new(&host, content(LEN));
        let up = sim.block_on(client.put("coap://server.example/file", "").body(reader).into_future());
        if up.is_ok_and(|reply| reply.code == Code::CHANGED) {
            assert!(*stored.lock().unwrap() == content(LEN), "seed {seed}: another content was stored");
            whole[0] += 1;
        }
        let down = sim.block_on(async {
            let mut download = client.get("coap://server.example/file").download().await?;
            let mut bytes = Vec::new();
            while let Some(part) = download.chunk().await? {
                bytes.extend_from_slice(&part);
            }
            Ok::<_, Error>(bytes)
        });
        if let Ok(bytes) = down {
            assert!(bytes == content(LEN), "seed {seed}: another content was read");
            whole[1] += 1;
        }
        drop(client);
        serving.abort();
        sim.run_until_idle();
        assert_eq!(sim.open(), coap_sim::Open::default(), "seed {seed}");
    }
    assert!(whole.iter().all(|whole| *whole >= 19), "{whole:?} of 20 arrived");
}

/// The last state that an observer knows.
async fn follow(client: Client<Host>, last: Arc<Mutex<String>>) {
    let Ok(mut observation) = client.observe("coap://server.example/value").await else { return };
    while let Some(observed) = observation.next().await {
        if let Observed::Notification(reply) = observed {
            *last.lock().unwrap() = reply.text().unwrap().to_owned();
        }
    }
}

#[test]
fn whatever_is_lost_all_observers_come_to_know_the_last_state() {
    for (seed, resource) in [(1, Resource::new()), (2, Resource::new().non_confirmable(5))] {
        let value = Arc::new(Mutex::new("0".to_owned()));
        let (read, observed) = (value.clone(), resource.clone());
        let router = move |host: &Host| {
            let host = host.clone();
            // It takes its time, so that changes fall into it.
            let handler = move || {
                let (host, read) = (host.clone(), read.clone());
                async move {
                    let value = read.lock().unwrap().clone();
                    host.sleep(ms(70)).await;
                    value
                }
            };
            Router::new().route("/value", get(handler).observable(&observed))
        };
        let Lossy { mut sim, client: host, .. } = lossy(seed, 0.2, router);
        let all: Vec<_> = (0..20).map(|_| Arc::new(Mutex::new(String::new()))).collect();
        let _following: Vec<_> = all
            .iter()
            .map(|last| {
                let client = sim.block_on(host.client()).unwrap();
                sim.spawn(follow(client, last.clone()))
            })
            .collect();
        for number in 1..=200 {
            *value.lock().unwrap() = number.to_string();
            resource.changed();
            sim.run_for(ms(100));
        }
        // Each is repeated for up to 93 s, and after that an observer is taken for gone.
        sim.run_for(secs(120));
        let gone = 20 - resource.observers();
        let known = all.iter().filter(|last| *last.lock().unwrap() == "200").count();
        assert!(gone <= 2 && known >= 20 - gone, "{known} of 20 know, {gone} are gone");
    }
}
