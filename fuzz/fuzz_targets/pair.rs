//! Two endpoints, and a network that does to each datagram what it likes: the invariants of the simulator's watch hold,
//! each request ends once, a request is carried out once while nothing was forgotten early, no body is put together from
//! two, and after a long silence nothing is left.
#![no_main]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Bytes;
use coap_core::{
    BlockSize, BodyId, Code, Config, Datagram, Endpoint, Event, IncomingId, Instant, Local, Peer, Reliability, Request,
    RequestId, RequestOptions, Response, TopicId, TopicOptions, Type, UnprovenLimit, Usage,
};
use coap_sim::{Cause, Watch};
use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

#[derive(Arbitrary, Debug)]
enum Step {
    Request {
        side: bool,
        non: bool,
        put: bool,
        timeout: Option<u16>,
        answer_at_once: bool,
    },
    /// A body of this length goes there, or comes back.
    Transfer {
        side: bool,
        get: bool,
        len: u16,
        szx: Option<u8>,
    },
    Observe {
        side: bool,
        non: bool,
    },
    Deregister {
        side: bool,
        which: u8,
    },
    Publish {
        side: bool,
        len: u16,
    },
    Ping {
        side: bool,
    },
    Cancel {
        side: bool,
        which: u8,
    },
    Respond {
        side: bool,
        which: u8,
        len: u8,
    },
    Ignore {
        side: bool,
        which: u8,
    },
    /// One of the datagrams under way, the oldest being number 0.
    Network {
        which: u8,
        fate: Fate,
    },
    Unreachable {
        side: bool,
    },
    Pass {
        millis: u32,
    },
    Shutdown {
        side: bool,
    },
}

#[derive(Arbitrary, Debug)]
enum Fate {
    Arrives,
    /// It arrives, and is still under way.
    ArrivesAndStays,
    IsLost,
    /// It comes back to whoever sent it.
    ComesBack,
    /// It arrives with a bit changed.
    IsDamaged {
        at: u16,
        bit: u8,
    },
    /// It arrives without its end.
    IsCut {
        len: u8,
    },
    /// It arrives from another port.
    ChangesItsPort {
        port: u8,
    },
}

#[derive(Arbitrary, Debug)]
struct Script {
    limits: [u8; 2],
    steps: Vec<Step>,
}

struct Flying {
    from: usize,
    payload: Bytes,
}

struct Side {
    endpoint: Endpoint,
    watch: Watch,
    open: BTreeSet<RequestId>,
    requests: Vec<RequestId>,
    incoming: Vec<IncomingId>,
    lifetimes: (Duration, Duration),
    /// Until when each request, known by its payload, may not be carried out again.
    executed: BTreeMap<Vec<u8>, Instant>,
    uploads: BTreeMap<BodyId, IncomingId>,
    observations: BTreeSet<RequestId>,
    topic: TopicId,
    /// The number in the state of the topic, and its length.
    state: (u32, usize),
}

/// What GET asks for: the length of what it is answered with, and a number that no other has.
fn words(number: u32, len: usize) -> Vec<u8> {
    number.to_be_bytes().into_iter().cycle().take(len).collect()
}

/// Whether a body has one number all through.
fn is_whole(body: &[u8]) -> bool {
    body.iter().zip(body.iter().skip(4)).all(|(byte, next)| byte == next)
}

struct Run {
    sides: [Side; 2],
    now: Instant,
    network: VecDeque<Flying>,
    numbers: u32,
    /// The network has shown an endpoint what no endpoint sent, so that two requests may have the same content.
    forged: bool,
}

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + side as u8], 5_683))
}

fn peer(side: usize) -> Peer {
    address(side).into()
}

impl Side {
    fn new(number: usize, limit: u8) -> Self {
        let unproven = if limit & 16 == 0 { UnprovenLimit::Groups } else { UnprovenLimit::All };
        let limit_of_tokens = limit >> 5 & 3;
        let limit = usize::from(limit % 16);
        let mut config = Config::constrained().unproven_limit(unproven);
        // 15: what the preset has.
        if limit < 15 {
            config = config
                .max_peers(limit)
                .max_remembered(limit * 2)
                .max_remembered_bytes(limit * 64)
                .max_requests(limit)
                .max_backlog(limit)
                .max_incoming(limit)
                .max_transfers(limit)
                .max_transfer_bytes(limit * 1_000)
                .max_observers(limit);
        }
        let config = match limit_of_tokens {
            0 | 1 => config,
            2 => config.max_token_len(40),
            _ => config.max_token_len(40).min_token_len(20),
        };
        let config = config.build().expect("these limits can be");
        let lifetimes = (config.transmission().exchange_lifetime(), config.transmission().non_lifetime());
        let watch = Watch::new(["left", "right"][number], 0, &config);
        let mut endpoint = Endpoint::new(config, ChaCha8Rng::seed_from_u64(number as u64));
        let reliability =
            if number == 0 { Reliability::Confirmable } else { Reliability::NonConfirmable { confirm_every: 5 } };
        let topic = endpoint.open_topic(TopicOptions::new().reliability(reliability));
        Self {
            watch,
            endpoint,
            topic,
            state: (0, 4),
            uploads: BTreeMap::new(),
            observations: BTreeSet::new(),
            open: BTreeSet::new(),
            requests: Vec::new(),
            incoming: Vec::new(),
            lifetimes,
            executed: BTreeMap::new(),
        }
    }

    fn on_event(&mut self, now: Instant, event: Event, forged: bool) {
        match event {
            Event::Request(request) if request.request.body.is_in_parts() => {
                let body = request.id.request_body();
                if self.endpoint.collect(now, body, 4_000) {
                    self.uploads.insert(body, request.id);
                }
            }
            Event::Request(request) if request.request.code == Code::GET => self.on_get(now, &request),
            Event::Request(request) => {
                let content = request.request.body.as_bytes().to_vec();
                let stats = self.endpoint.stats();
                let excused =
                    stats.forgotten_early + stats.peers_evicted + stats.replies_forgotten + stats.served_unremembered;
                let again = self.executed.get(&content).is_some_and(|until| now < *until);
                assert!(!again || forged || excused > 0, "a request was carried out twice: {stats:?}");
                let lifetime = if request.kind == Type::Confirmable { self.lifetimes.0 } else { self.lifetimes.1 };
                self.executed.insert(content, now + lifetime);
                if request.request.body.as_bytes().first() == Some(&1) {
                    let _ = self.endpoint.respond(now, request.id, Response::new(Code::CHANGED));
                } else {
                    self.incoming.push(request.id);
                }
            }
            Event::BodyPart { id, data, last, .. } => {
                assert!(last && (forged || is_whole(&data)), "a body of two");
                let incoming = self.uploads.remove(&id).expect("a body that is collected");
                let _ = self.endpoint.respond(now, incoming, Response::new(Code::CHANGED));
            }
            Event::IncomingClosed { id, .. } => {
                self.uploads.remove(&id.request_body());
            }
            Event::Response { id, response, .. } => {
                assert!(self.open.remove(&id), "an outcome for what is not open");
                self.observations.remove(&id);
                let whole = response.code != Code::CONTENT || forged || is_whole(response.body.as_bytes());
                assert!(whole, "a body of two");
            }
            Event::Notification { id, response } => {
                assert!(self.open.contains(&id) && self.observations.contains(&id));
                assert!(forged || is_whole(response.body.as_bytes()), "a state of two");
            }
            Event::Stale { id } | Event::Reregistering { id, .. } => assert!(self.observations.contains(&id)),
            Event::Failed { id, .. } | Event::Pong { id, .. } => {
                assert!(self.open.remove(&id), "an outcome for what is not open");
                self.observations.remove(&id);
            }
            Event::ObserverLost { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn on_get(&mut self, now: Instant, request: &coap_core::IncomingRequest) {
        let options = &request.request.options;
        let wanted = options.uri_query().next().and_then(|text| core::str::from_utf8(text).ok());
        let Some(wanted) = wanted.and_then(|text| u64::from_str_radix(text, 16).ok()) else {
            let (number, len) = self.state;
            let first = Response::new(Code::CONTENT).with_body(words(number, len));
            let _ = self.endpoint.accept_observer(now, request.id, self.topic, first);
            return;
        };
        let body = words((wanted >> 16) as u32, (wanted & 0xffff) as usize % 6_000);
        let _ = self.endpoint.respond(now, request.id, Response::new(Code::CONTENT).with_body(body));
    }
}

impl Run {
    fn drain(&mut self, side: usize, cause: &Cause<'_>) {
        let mut buf = [0; 1_152];
        let mut cause = cause;
        loop {
            let this = &mut self.sides[side];
            let mut sent = Vec::new();
            while let Some(transmit) = this.endpoint.poll_transmit(&mut buf) {
                sent.push((transmit, Bytes::copy_from_slice(&buf[..transmit.len])));
            }
            let events: Vec<_> = std::iter::from_fn(|| this.endpoint.poll_event()).collect();
            this.watch.check(self.now, cause, &sent, &events, &this.endpoint);
            let said = !events.is_empty();
            for event in events {
                this.on_event(self.now, event, self.forged);
            }
            // What goes to a stranger, whom the network has made up, is nobody's.
            let known = sent.into_iter().filter(|(transmit, _)| transmit.to == peer(1 - side));
            self.network.extend(known.map(|(_, payload)| Flying { from: side, payload }));
            if !said {
                return;
            }
            cause = &Cause::Command;
        }
    }

    fn receive(&mut self, side: usize, from: Peer, payload: Bytes) {
        let to = Local::arrived(0, Some(address(side).ip()), 0);
        let datagram = Datagram { from, to, payload: payload.clone() };
        self.sides[side].endpoint.handle_datagram(self.now, datagram);
        self.drain(side, &Cause::Datagram { from, multicast: false, payload: &payload });
    }

    fn network(&mut self, which: u8, fate: Fate) {
        let which = usize::from(which) % self.network.len().max(1);
        let Some(Flying { from, payload }) = self.network.remove(which) else { return };
        let there = 1 - from;
        match fate {
            Fate::Arrives => self.receive(there, peer(from), payload),
            Fate::ArrivesAndStays => {
                self.network.push_back(Flying { from, payload: payload.clone() });
                self.receive(there, peer(from), payload);
            }
            Fate::IsLost => {}
            Fate::ComesBack => {
                self.forged = true;
                self.receive(from, peer(there), payload);
            }
            Fate::IsDamaged { at, bit } => {
                self.forged = true;
                let mut bytes = payload.to_vec();
                let at = usize::from(at) % bytes.len();
                bytes[at] ^= 1 << (bit % 8);
                self.receive(there, peer(from), bytes.into());
            }
            Fate::IsCut { len } => {
                self.forged = true;
                let len = usize::from(len) % payload.len();
                self.receive(there, peer(from), payload.slice(..len));
            }
            Fate::ChangesItsPort { port } => {
                self.forged = true;
                let other = SocketAddr::new(address(from).ip(), 1 + u16::from(port % 16));
                self.receive(there, other.into(), payload);
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        let mut rounds = 0;
        loop {
            let due = |side: &Side| side.endpoint.poll_timeout();
            let next = (0..2).filter_map(|side| due(&self.sides[side]).map(|at| (at, side))).min();
            let Some((at, side)) = next.filter(|(at, _)| *at <= until) else { break };
            self.now = self.now.max(at);
            let this = &mut self.sides[side];
            this.watch.check_rest(self.now, &this.endpoint);
            this.endpoint.handle_timeout(self.now);
            self.drain(side, &Cause::Timer);
            rounds += 1;
            assert!(rounds < 100_000, "time does not get on");
        }
        self.now = until;
        self.sides.iter().for_each(|side| side.watch.check_rest(until, &side.endpoint));
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Request { side, non, put, timeout, answer_at_once } => {
                let side = usize::from(side);
                let mut how = RequestOptions::new();
                if non {
                    how = how.non_confirmable();
                }
                if let Some(timeout) = timeout {
                    how = how.timeout(Duration::from_millis(timeout.into()));
                }
                self.numbers += 1;
                let mut content = vec![u8::from(answer_at_once)];
                content.extend(self.numbers.to_be_bytes());
                let request = if put { Request::new(Code::PUT) } else { Request::new(Code::POST) }.with_body(content);
                let this = &mut self.sides[side];
                if let Ok(id) = this.endpoint.request(now, peer(1 - side), request, &how) {
                    this.requests.push(id);
                    assert!(this.open.insert(id), "a handle twice");
                }
                self.drain(side, &Cause::Command);
            }
            Step::Transfer { side, get, len, szx } => {
                let side = usize::from(side);
                let mut how = RequestOptions::new();
                if let Some(szx) = szx {
                    how = how.block_size(BlockSize::from_szx(szx % 7).expect("a size"));
                }
                self.numbers += 1;
                let mut request = Request::new(if get { Code::GET } else { Code::PUT });
                if get {
                    let wanted = format!("{:08x}{len:04x}", self.numbers);
                    request.options.push_uri_query(&wanted).expect("twelve bytes");
                } else {
                    // Not to be taken for the others.
                    request.body = words(self.numbers | 0x0707_0000, usize::from(len % 6_000) + 8).into();
                }
                let this = &mut self.sides[side];
                if let Ok(id) = this.endpoint.request(now, peer(1 - side), request, &how) {
                    this.requests.push(id);
                    assert!(this.open.insert(id), "a handle twice");
                }
                self.drain(side, &Cause::Command);
            }
            Step::Observe { side, non } => {
                let side = usize::from(side);
                let how = RequestOptions::new();
                let how = if non { how.non_confirmable() } else { how };
                let this = &mut self.sides[side];
                if let Ok(id) = this.endpoint.observe(now, peer(1 - side), Request::get(), &how) {
                    this.requests.push(id);
                    this.observations.insert(id);
                    assert!(this.open.insert(id), "a handle twice");
                }
                self.drain(side, &Cause::Command);
            }
            Step::Deregister { side, which } => {
                let this = &mut self.sides[usize::from(side)];
                if let Some(id) = this.requests.iter().rev().nth(usize::from(which)).copied() {
                    let open = this.observations.remove(&id);
                    assert_eq!(this.endpoint.deregister(now, id), open);
                    assert_eq!(open && this.open.remove(&id), open);
                }
                self.drain(usize::from(side), &Cause::Command);
            }
            Step::Publish { side, len } => {
                let side = usize::from(side);
                let this = &mut self.sides[side];
                this.state = (this.state.0 + 1, usize::from(len % 4_000));
                let state = Response::new(Code::CONTENT).with_body(words(this.state.0, this.state.1));
                assert!(this.endpoint.publish(now, this.topic, state));
                self.drain(side, &Cause::Command);
            }
            Step::Ping { side } => {
                let side = usize::from(side);
                let this = &mut self.sides[side];
                if let Ok(id) = this.endpoint.ping(now, peer(1 - side)) {
                    this.requests.push(id);
                    assert!(this.open.insert(id), "a handle twice");
                }
                self.drain(side, &Cause::Command);
            }
            Step::Cancel { side, which } => {
                let this = &mut self.sides[usize::from(side)];
                if let Some(id) = this.requests.iter().rev().nth(usize::from(which)).copied() {
                    this.observations.remove(&id);
                    assert_eq!(this.endpoint.cancel(now, id), this.open.remove(&id));
                }
                self.drain(usize::from(side), &Cause::Command);
            }
            Step::Respond { side, which, len } => {
                let this = &mut self.sides[usize::from(side)];
                if let Some(id) = this.incoming.iter().rev().nth(usize::from(which)).copied() {
                    let _ = this.endpoint.respond(
                        now,
                        id,
                        Response::new(Code::CHANGED).with_body(vec![7; usize::from(len)]),
                    );
                }
                self.drain(usize::from(side), &Cause::Command);
            }
            Step::Ignore { side, which } => {
                let this = &mut self.sides[usize::from(side)];
                if let Some(id) = this.incoming.iter().rev().nth(usize::from(which)).copied() {
                    this.endpoint.ignore(now, id);
                }
                self.drain(usize::from(side), &Cause::Command);
            }
            Step::Network { which, fate } => self.network(which, fate),
            Step::Unreachable { side } => {
                let side = usize::from(side);
                self.sides[side].endpoint.handle_unreachable(now, peer(1 - side));
                self.drain(side, &Cause::Command);
            }
            Step::Pass { millis } => self.pass(Duration::from_millis(u64::from(millis % 300_000))),
            Step::Shutdown { side } => {
                self.sides[usize::from(side)].endpoint.begin_shutdown(now);
                self.drain(usize::from(side), &Cause::Command);
            }
        }
    }
}

fuzz_target!(|script: Script| {
    let mut run = Run {
        sides: [Side::new(0, script.limits[0]), Side::new(1, script.limits[1])],
        now: Instant::from_secs(1),
        network: VecDeque::new(),
        numbers: 0,
        forged: false,
    };
    for step in script.steps {
        run.step(step);
    }
    // What has no end of its own.
    for side in 0..2 {
        let this = &mut run.sides[side];
        for id in core::mem::take(&mut this.observations) {
            assert!(this.endpoint.cancel(run.now, id) && this.open.remove(&id));
        }
        assert!(this.endpoint.close_topic(run.now, this.topic, None));
        run.drain(side, &Cause::Command);
    }
    run.pass(Duration::from_secs(100_000));
    for side in &run.sides {
        assert!(side.open.is_empty(), "a request without an outcome");
        assert_eq!(side.endpoint.usage(), Usage::default());
        assert_eq!(side.endpoint.poll_timeout(), None);
    }
});
