//! Long random runs against a model that knows what RFC 7252 forbids: a Message ID for two messages, a request handed
//! up twice, an answer to an answer, a request with two ends.

use alloc::collections::{BTreeMap, BTreeSet};

use rand_chacha::rand_core::Rng;

use super::*;

const PEERS: u64 = 5;
const CON: Type = Type::Confirmable;
const NON: Type = Type::NonConfirmable;

/// What was seen, and when.
struct Model {
    rig: Rig,
    rng: ChaCha8Rng,
    /// Messages that we numbered.
    numbered: BTreeMap<(Peer, u16), (Instant, Vec<u8>)>,
    /// Requests that were handed up.
    handed_up: BTreeMap<(Peer, u16), (Instant, Type)>,
    heard: Vec<(Peer, Message)>,
    open: BTreeSet<RequestId>,
    groups: BTreeSet<RequestId>,
    observations: BTreeSet<RequestId>,
    incoming: Vec<IncomingId>,
}

impl Model {
    fn new(seed: u64, config: Config) -> Self {
        Self {
            rig: Rig::with(config),
            rng: ChaCha8Rng::seed_from_u64(seed),
            numbered: BTreeMap::new(),
            handed_up: BTreeMap::new(),
            heard: Vec::new(),
            open: BTreeSet::new(),
            groups: BTreeSet::new(),
            observations: BTreeSet::new(),
            incoming: Vec::new(),
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    fn some_peer(&mut self) -> Peer {
        peer(self.draw(PEERS) as u16)
    }

    fn lifetime(&self) -> Duration {
        self.rig.endpoint.config().transmission().exchange_lifetime()
    }

    fn check_sent(&mut self) {
        while let Some((to, bytes)) = self.rig.sent.pop_front() {
            let message = Message::decode(bytes.clone().into()).unwrap();
            let now = self.rig.now;
            if matches!(message.kind, Type::Confirmable | Type::NonConfirmable) {
                let before = self.numbered.get(&(to, message.message_id));
                if let Some((at, before)) = before.filter(|(at, _)| *at + self.lifetime() > now) {
                    let again = message.kind == Type::Confirmable && *before == bytes;
                    assert!(again, "{message} has the Message ID of another, sent at {at}, now {now}");
                } else {
                    self.numbered.insert((to, message.message_id), (now, bytes));
                }
            }
            self.heard.push((to, message));
        }
    }

    fn check_events(&mut self) {
        while let Some(event) = self.rig.events.pop_front() {
            match event {
                Event::Request(request) => {
                    let (now, parameters) = (self.rig.now, *self.rig.endpoint.config().transmission());
                    let before = self.handed_up.insert((request.peer, request.message_id), (now, request.kind));
                    let over = before.is_none_or(|(at, kind)| match kind {
                        Type::Confirmable => at + parameters.exchange_lifetime() <= now,
                        _ => at + parameters.non_lifetime() <= now,
                    });
                    let stats = self.rig.endpoint.stats();
                    assert!(
                        over || stats.forgotten_early + stats.replies_forgotten + stats.served_unremembered > 0,
                        "{request:?} twice"
                    );
                    self.incoming.push(request.id);
                }
                Event::Failed { id, .. } | Event::Pong { id, .. } | Event::Finished { id } => {
                    assert!(self.open.remove(&id), "{id:?} had ended");
                }
                Event::Response { id, from, .. } => {
                    assert!(self.open.contains(&id), "{id:?} had ended");
                    assert!((0..PEERS).any(|n| peer(n as u16) == from));
                    // One to a group goes on.
                    if !self.groups.contains(&id) {
                        self.open.remove(&id);
                    }
                }
                Event::Retransmitted { id, .. } => assert!(self.open.contains(&id)),
                Event::Notification { id, .. } | Event::Stale { id } | Event::Reregistering { id, .. } => {
                    assert!(self.open.contains(&id) && self.observations.contains(&id), "{id:?} had ended");
                }
                Event::IncomingClosed { id, .. } => assert!(self.incoming.contains(&id)),
                other => panic!("nothing asked for {other:?}"),
            }
        }
    }

    /// Takes out what the endpoint has to send and to say.
    fn drain(&mut self) {
        self.rig.drain();
        self.check_sent();
        self.check_events();
        let usage = self.rig.endpoint.usage();
        let config = self.rig.endpoint.config();
        assert!(usage.in_flight <= config.max_requests + config.max_incoming, "{usage:?}");
    }

    fn pass(&mut self, span: Duration) {
        // What was handed up belongs to the time at which it came.
        self.drain();
        let until = self.rig.now + span;
        let mut rounds = 0;
        while let Some(due) = self.rig.endpoint.poll_timeout().filter(|due| *due <= until) {
            self.rig.now = self.rig.now.max(due);
            self.rig.endpoint.handle_timeout(self.rig.now);
            rounds += 1;
            assert!(rounds < 20_000, "time does not get on");
            self.drain();
        }
        self.rig.now = until;
        self.drain();
    }

    fn receive(&mut self, from: Peer, message: &Message) {
        let to = match self.draw(12) {
            0 => Local::arrived(0, Some("ff02::fd".parse().unwrap()), 1),
            _ => Local::default(),
        };
        if matches!(message.kind, Type::Acknowledgement | Type::Reset) {
            self.drain();
        }
        let payload = Bytes::from(encode(message));
        self.rig.endpoint.handle_datagram(self.rig.now, Datagram { from, to, payload });
        if matches!(message.kind, Type::Acknowledgement | Type::Reset) {
            self.rig.drain();
            let answers = self.rig.sent.iter().any(|(_, bytes)| bytes[0] & 0x20 != 0);
            assert!(!answers, "{message} was answered");
            self.drain();
        }
        let stats = self.rig.endpoint.stats();
        assert_eq!(stats.accounted(), stats.datagrams_received, "{stats:?}");
    }

    /// A peer asks, answers, repeats itself, or makes no sense.
    fn hear(&mut self) {
        let from = self.some_peer();
        let code = [Code::EMPTY, Code::GET, Code::POST, Code::CONTENT, Code::NOT_FOUND][self.draw(5) as usize];
        let kind = [CON, NON, Type::Acknowledgement, Type::Reset][self.draw(4) as usize];
        let sent = (!self.heard.is_empty()).then(|| {
            let back = self.draw(20.min(self.heard.len() as u64)) as usize;
            self.heard[self.heard.len() - 1 - back].clone()
        });
        let mut options = Options::new();
        match self.draw(10) {
            0 => options.push_raw(OptionNumber::new(65_001), b"x").unwrap(),
            1 => options.set_no_response(self.draw(32) as u8),
            2 => options.push_raw(OptionNumber::CONTENT_FORMAT, b"long").unwrap(),
            3..6 => {
                options.set_observe(self.draw(5) as u32);
                options.set_max_age(self.draw(100) as u32);
            }
            6 => options.set_block2(Block::new(self.draw(3) as u32, self.draw(2) == 0, 0).unwrap()),
            7 => {
                options.set_observe(self.draw(5) as u32);
                options.set_block2(Block::new(0, true, 0).unwrap());
            }
            _ => {}
        }
        let message_id = self.draw(40) as u16;
        let payload = Bytes::from_static(&[0; 16][..if options.block2().is_some() { 16 } else { 0 }]);
        let mut message = Message { kind, code, message_id, token: Token::EMPTY, options, payload };
        let mut from = from;
        if let Some((to, sent)) = sent.filter(|_| self.draw(2) == 0) {
            message.token = sent.token.clone();
            from = if to.is_multicast() { from } else { to };
            if matches!(kind, Type::Acknowledgement | Type::Reset) {
                message.message_id = sent.message_id;
            }
        }
        if message.code.is_empty() {
            message = Message::empty(message.kind, message.message_id);
        }
        self.receive(from, &message);
    }

    fn ask(&mut self) {
        let group = Peer::from(SocketAddr::from(([224, 0, 1, 187], 5_683)));
        let (to, now) = (self.some_peer(), self.rig.now);
        let mut how = RequestOptions::new();
        let draw = self.rng.next_u64();
        if draw & 3 == 0 {
            how = how.timeout(ms(draw >> 8 & 0x3fff));
        }
        if draw & 4 == 0 {
            how = how.report_retransmissions();
        }
        if draw & 8 == 0 {
            how = how.unpaced();
        }
        if draw & 0x30 == 0 {
            how = how.token(Token::new(&[1][..(draw >> 40 & 1) as usize]).unwrap());
        }
        let endpoint = &mut self.rig.endpoint;
        let asked = match draw >> 60 {
            0 => endpoint.ping(now, to),
            1 => endpoint.request(now, group, Request::get(), &how.non_confirmable()),
            2 => endpoint.observe(now, to, Request::get(), &how.non_confirmable()),
            3..5 => endpoint.observe(now, to, Request::get(), &how),
            5..8 => endpoint.request(now, to, Request::get().with_body(vec![0; 100]), &how.non_confirmable()),
            _ => endpoint.request(now, to, Request::get(), &how),
        };
        if let Ok(id) = asked {
            assert!(self.open.insert(id), "{id:?} twice");
            match draw >> 60 {
                1 => self.groups.insert(id),
                2..5 => self.observations.insert(id),
                _ => false,
            };
        }
    }

    fn act(&mut self) {
        let now = self.rig.now;
        let which = self.draw(8) as usize;
        match self.draw(8) {
            0 => {
                let to = self.some_peer();
                self.rig.endpoint.handle_unreachable(now, to);
            }
            1 => {
                if let Some(id) = self.open.iter().rev().nth(which).copied() {
                    // One whose end waits to be told has no event either.
                    if self.observations.contains(&id) && self.draw(2) == 0 {
                        self.rig.endpoint.deregister(now, id);
                    } else {
                        self.rig.endpoint.cancel(now, id);
                    }
                    self.open.remove(&id);
                }
            }
            2 => {
                let to = self.some_peer();
                let nstart = 1 + self.draw(3) as u16;
                let own = TransmissionParameters::builder().nstart(nstart).accept_congestion_risk().build().unwrap();
                self.rig.endpoint.set_transmission(now, Scope::Peer(to), own).ok();
            }
            3 => {
                let to = self.some_peer();
                self.rig.endpoint.clear_transmission(now, to);
            }
            4 => {
                if let Some(id) = self.incoming.iter().rev().nth(which) {
                    self.rig.endpoint.ignore(now, *id);
                }
            }
            _ => {
                if let Some(id) = self.incoming.iter().rev().nth(which).copied() {
                    let code = [Code::CONTENT, Code::NOT_FOUND][self.draw(2) as usize];
                    let response = Response::new(code).with_body(vec![1; self.draw(300) as usize]);
                    self.rig.endpoint.respond(now, id, response).ok();
                }
            }
        }
    }

    fn run(mut self, steps: usize) {
        for _ in 0..steps {
            match self.draw(10) {
                0..4 => self.hear(),
                4..6 => self.ask(),
                6..9 => self.act(),
                _ => {
                    let span = [0, 100, 1_000, 10_000, 200_000][self.draw(5) as usize];
                    let span = ms(self.draw(span + 1));
                    self.pass(span);
                }
            }
            if self.draw(3) == 0 {
                self.drain();
            }
        }
        for n in 0..PEERS {
            self.rig.endpoint.clear_transmission(self.rig.now, peer(n as u16));
        }
        self.pass(secs(2_000));
        // What is left of the observations may be registered again a few times more.
        self.rig.endpoint.begin_shutdown(self.rig.now);
        self.drain();
        assert!(self.open.is_empty(), "{:?} have no end", self.open);
        self.rig.comes_to_rest();
    }
}

#[test]
fn with_room_for_all() {
    for seed in 0..15 {
        Model::new(seed, Config::default()).run(1_000);
    }
}

#[test]
fn with_a_limit_for_the_unproven() {
    for seed in 0..15 {
        let config = Config::builder().unproven_limit(UnprovenLimit::All);
        Model::new(seed, config.build().unwrap()).run(1_000);
    }
}

#[test]
fn with_little_room() {
    for seed in 0..15 {
        let config = Config::constrained().max_peers(seed as usize % 6).max_outbox(2 + seed as usize % 9);
        Model::new(seed, config.max_remembered_bytes(500).build().unwrap()).run(1_000);
    }
}
