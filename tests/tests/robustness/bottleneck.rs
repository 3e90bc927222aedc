//! a hundred clients behind one narrow link. All of them always have a request to send; the link must not collapse
//! under repetitions, and must be shared fairly.
//!
//! `coap_sim::Link` is between two nodes; here one queue is shared by all, so the network is made by hand.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use coap_core::{Code, Config, Datagram, Endpoint, Event, Instant, Local, Request, RequestOptions, Response};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::memory::alone;
use crate::rig::peer;
use crate::{count, repeat_with};

const CLIENTS: usize = 100;
/// The server is behind the clients in the list of nodes.
const SERVER: usize = CLIENTS;
const BYTES_PER_SECOND: u64 = 10_000;
const DELAY: Duration = Duration::from_millis(50);

/// One direction of the link: first in, first out, and what finds `longest` before it is lost.
struct Pipe {
    longest: Duration,
    busy_until: Instant,
    carried: u64,
    lost: u64,
}

impl Pipe {
    const fn new(longest: Duration) -> Self {
        Self { longest, busy_until: Instant::ZERO, carried: 0, lost: 0 }
    }

    fn carry(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let begins = self.busy_until.max(now);
        if begins - now > self.longest {
            self.lost += 1;
            return None;
        }
        self.carried += len as u64;
        self.busy_until = begins + Duration::from_micros(len as u64 * 1_000_000 / BYTES_PER_SECOND);
        Some(self.busy_until + DELAY)
    }
}

struct Network {
    now: Instant,
    nodes: Vec<Endpoint>,
    wakes: Vec<Option<Instant>>,
    agenda: BTreeSet<(Instant, usize)>,
    under_way: BTreeMap<(Instant, u64), (usize, usize, Bytes)>,
    sent: u64,
    up: Pipe,
    down: Pipe,
    answered: [u64; CLIENTS],
    failed: u64,
    /// Bytes of the requests that were executed, and so had to be carried once.
    useful: u64,
}

impl Network {
    fn new(seed: u64, longest: Duration) -> Self {
        let nodes =
            (0..=CLIENTS as u64).map(|n| Endpoint::new(Config::default(), ChaCha8Rng::seed_from_u64(seed * 1_000 + n)));
        Self {
            now: Instant::ZERO,
            nodes: nodes.collect(),
            wakes: vec![None; CLIENTS + 1],
            agenda: BTreeSet::new(),
            under_way: BTreeMap::new(),
            sent: 0,
            up: Pipe::new(longest),
            down: Pipe::new(longest),
            answered: [0; CLIENTS],
            failed: 0,
            useful: 0,
        }
    }

    fn ask(&mut self, client: usize) {
        let request = Request::new(Code::POST).with_body(vec![b'x'; 100]);
        let server = peer(SERVER as u32);
        self.nodes[client].request(self.now, server, request, &RequestOptions::new()).unwrap();
    }

    /// What a node has to say and to send, after anything happened to it.
    fn collect(&mut self, node: usize) {
        while let Some(event) = self.nodes[node].poll_event() {
            match event {
                Event::Request(request) => {
                    // Header, token, marker, body.
                    self.useful += 4 + request.token.len() as u64 + 1 + request.request.body.len() as u64;
                    self.nodes[node].respond(self.now, request.id, Response::new(Code::CHANGED)).unwrap();
                }
                Event::Response { .. } => {
                    self.answered[node] += 1;
                    self.ask(node);
                }
                Event::Failed { .. } => {
                    self.failed += 1;
                    self.ask(node);
                }
                other => panic!("{other:?}"),
            }
        }
        let mut buf = [0; 1_152];
        while let Some(transmit) = self.nodes[node].poll_transmit(&mut buf) {
            let pipe = if node == SERVER { &mut self.down } else { &mut self.up };
            if let Some(arrives) = pipe.carry(self.now, transmit.len) {
                let to = (0..=SERVER).find(|n| peer(*n as u32) == transmit.to).unwrap();
                self.sent += 1;
                self.under_way.insert((arrives, self.sent), (node, to, Bytes::copy_from_slice(&buf[..transmit.len])));
            }
        }
        let next = self.nodes[node].poll_timeout();
        if self.wakes[node] != next {
            self.wakes[node].map(|old| self.agenda.remove(&(old, node)));
            next.map(|new| self.agenda.insert((new, node)));
            self.wakes[node] = next;
        }
    }

    fn run(&mut self, until: Instant) {
        for client in 0..CLIENTS {
            self.ask(client);
            self.collect(client);
        }
        loop {
            let arrival = self.under_way.first_key_value().map(|(key, _)| key.0);
            let wake = self.agenda.first().map(|(due, _)| *due);
            let Some(next) = arrival.into_iter().chain(wake).min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            let node = if arrival == Some(next) {
                let Some((_, (from, to, payload))) = self.under_way.pop_first() else { break };
                let datagram = Datagram { from: peer(from as u32), to: Local::default(), payload };
                self.nodes[to].handle_datagram(self.now, datagram);
                to
            } else {
                let Some((_, node)) = self.agenda.first().copied() else { break };
                self.nodes[node].handle_timeout(self.now);
                node
            };
            self.collect(node);
        }
    }
}

#[test]
fn r12_a_narrow_link_does_not_collapse_and_is_shared() {
    let _alone = alone();
    let (seconds, seed) = (count(300), coap_sim::seed_from_env(1));
    println!("R-12: {CLIENTS} clients behind {BYTES_PER_SECOND} bytes/s, {seconds} s");
    for millis in [100, 1_000, 10_000] {
        let mut network = Network::new(seed, Duration::from_millis(millis));
        network.run(Instant::from_secs(seconds));
        let goodput = network.useful as f64 / (seconds * BYTES_PER_SECOND) as f64;
        let answered = network.answered.map(|n| n as f64);
        let (sum, squares) = (answered.iter().sum::<f64>(), answered.iter().map(|n| n * n).sum::<f64>());
        let jain = sum * sum / (CLIENTS as f64 * squares);
        println!(
            "  a queue of {millis} ms: {sum} answered, {} failed, {} of {} datagrams lost, goodput {:.1} %, Jain {jain:.3}",
            network.failed,
            network.up.lost + network.down.lost,
            network.sent + network.up.lost + network.down.lost,
            goodput * 100.0
        );
        assert!(goodput >= 0.5, "{goodput}");
        // Where nine datagrams fill the queue, whoever has backed off sees it full again, and whoever has just been answered
        // does not: it takes half an hour until all have had their share.
        if millis >= 1_000 || seconds >= 1_800 {
            assert!(jain >= 0.8, "{jain}");
        }
    }
    repeat_with("r12_a_narrow", 3_600);
}
