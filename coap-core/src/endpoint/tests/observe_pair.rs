//! Our client observes our server, in virtual time: what is lost, doubled, overtaken or forgotten in between, the client gets
//! to know the latest state of each resource in the end (RFC 7641 §1.3, §4.5), whole, and never an older one after a newer.

use alloc::collections::BTreeMap;

use rand_chacha::rand_core::Rng;

use super::topics::non;
use super::*;

/// What lies between them.
#[derive(Clone, Copy)]
struct Network {
    /// In a hundred.
    loss: u64,
    doubled: u64,
    /// Each datagram takes up to so long.
    delay: u64,
}

const CALM: Network = Network { loss: 0, doubled: 0, delay: 20 };
const ROUGH: Network = Network { loss: 20, doubled: 10, delay: 400 };

/// An observation, and the state that it has told last.
struct Watch {
    resource: usize,
    state: Option<u32>,
    stale: u32,
    told: u32,
}

struct World {
    now: Instant,
    network: Network,
    rng: ChaCha8Rng,
    seed: u64,
    client: Endpoint,
    server: Endpoint,
    /// Where the server sees the client.
    client_port: u16,
    wire: BTreeMap<(Instant, u64), (Peer, Peer, Vec<u8>)>,
    sequence: u64,
    /// Of each resource the topic and the latest state, how long its representation is, and how old it may become.
    topics: Vec<TopicId>,
    how: Vec<TopicOptions>,
    states: Vec<u32>,
    lens: Vec<usize>,
    max_age: u32,
    /// How long the application takes to answer.
    slow: bool,
    answers: Vec<(Instant, IncomingRequest)>,
    watches: BTreeMap<RequestId, Watch>,
    /// Observations that end are begun anew.
    persistent: bool,
}

const SERVER_PORT: u16 = 5_683;

impl World {
    fn new(seed: u64, network: Network, resources: &[(TopicOptions, usize)]) -> Self {
        let how: Vec<_> = resources.iter().map(|(how, _)| *how).collect();
        let config = Config::default();
        let mut world = Self {
            now: Instant::from_secs(1_000),
            network,
            rng: ChaCha8Rng::seed_from_u64(seed),
            seed,
            client: Endpoint::new(config.clone(), ChaCha8Rng::seed_from_u64(seed + 1_000)),
            server: Endpoint::new(config, ChaCha8Rng::seed_from_u64(seed + 2_000)),
            client_port: 1,
            wire: BTreeMap::new(),
            sequence: 0,
            topics: Vec::new(),
            states: vec![0; how.len()],
            lens: resources.iter().map(|(_, len)| *len).collect(),
            how,
            max_age: 60,
            slow: false,
            answers: Vec::new(),
            watches: BTreeMap::new(),
            persistent: true,
        };
        world.open_topics();
        world
    }

    fn open_topics(&mut self) {
        let how = self.how.clone();
        self.topics = how.into_iter().map(|how| self.server.open_topic(how)).collect();
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below.max(1)
    }

    /// The same word over and over: a body of two states would be noticed.
    fn state(&self, resource: usize) -> Response {
        let words = self.lens[resource].div_ceil(4);
        let body: Vec<_> = (0..words).flat_map(|_| self.states[resource].to_be_bytes()).collect();
        let mut options = Options::new();
        options.set_max_age(self.max_age);
        Response::new(Code::CONTENT).with_options(options).with_body(body)
    }

    fn observe(&mut self, resource: usize) -> RequestId {
        let name = alloc::format!("{resource}");
        let request = Request::get().with_options(path(&[&name]));
        self.observe_with(resource, request)
    }

    fn observe_with(&mut self, resource: usize, request: Request) -> RequestId {
        let id = self.client.observe(self.now, peer(SERVER_PORT), request, &RequestOptions::new()).unwrap();
        self.watches.insert(id, Watch { resource, state: None, stale: 0, told: 0 });
        self.settle();
        id
    }

    fn change(&mut self, resource: usize) {
        self.states[resource] += 1;
        let state = self.state(resource);
        assert!(self.server.publish(self.now, self.topics[resource], state));
        self.settle();
    }

    /// Takes what both have to send, and to say.
    fn settle(&mut self) {
        let mut buf = vec![0; 1_152];
        loop {
            let mut quiet = true;
            while let Some(Transmit { to, len, .. }) = self.client.poll_transmit(&mut buf) {
                self.put(peer(self.client_port), to, buf[..len].to_vec());
            }
            while let Some(Transmit { to, len, .. }) = self.server.poll_transmit(&mut buf) {
                self.put(peer(SERVER_PORT), to, buf[..len].to_vec());
            }
            while let Some(event) = self.client.poll_event() {
                quiet = false;
                self.told(event);
            }
            while let Some(event) = self.server.poll_event() {
                quiet = false;
                if let Event::Request(request) = event {
                    let wait = if self.slow { self.draw(3_000) } else { 0 };
                    self.answers.push((self.now + ms(wait), request));
                }
            }
            let due = self.answers.iter().position(|(at, _)| *at <= self.now);
            if let Some(due) = due {
                quiet = false;
                let (_, request) = self.answers.swap_remove(due);
                self.answer(request);
            }
            if quiet {
                return;
            }
        }
    }

    fn put(&mut self, from: Peer, to: Peer, bytes: Vec<u8>) {
        let copies = 1 + u64::from(self.draw(100) < self.network.doubled);
        for _ in 0..copies {
            if self.draw(100) < self.network.loss {
                continue;
            }
            let at = self.now + ms(1 + self.draw(self.network.delay));
            self.sequence += 1;
            self.wire.insert((at, self.sequence), (from, to, bytes.clone()));
        }
    }

    fn answer(&mut self, request: IncomingRequest) {
        let named = request.request.body.as_bytes().first().copied().map(usize::from);
        let in_path =
            || request.request.options.uri_path().next().and_then(|name| core::str::from_utf8(name).ok()?.parse().ok());
        let Some(resource) = named.or_else(in_path) else {
            let _ = self.server.respond(self.now, request.id, Response::new(Code::NOT_FOUND));
            return;
        };
        let (topic, state) = (self.topics[resource], self.state(resource));
        let _ = self.server.accept_observer(self.now, request.id, topic, state);
    }

    fn told(&mut self, event: Event) {
        match event {
            Event::Notification { id, response } => {
                let Some(watch) = self.watches.get_mut(&id) else { panic!("of nothing") };
                let body = response.body.into_bytes();
                let state = u32::from_be_bytes(body[..4].try_into().unwrap());
                assert_eq!(body.len(), self.lens[watch.resource].div_ceil(4) * 4);
                assert!(body.chunks(4).all(|word| word == state.to_be_bytes()), "two states in one");
                assert!(watch.state.is_none_or(|before| before <= state), "{:?} and then {state}", watch.state);
                watch.state = Some(state);
                watch.told += 1;
            }
            Event::Stale { id } => self.watches.get_mut(&id).unwrap().stale += 1,
            Event::Failed { id, .. } | Event::Response { id, .. } => {
                let Some(watch) = self.watches.remove(&id) else { return };
                assert!(self.persistent, "an observation ended");
                self.observe(watch.resource);
            }
            _ => {}
        }
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let wire = self.wire.keys().next().map(|(at, _)| *at);
            let answer = self.answers.iter().map(|(at, _)| *at).min();
            let timers = [self.client.poll_timeout(), self.server.poll_timeout(), wire, answer];
            let Some(next) = timers.into_iter().flatten().min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
            if wire.is_some_and(|at| at <= self.now) {
                let (_, (from, to, bytes)) = self.wire.pop_first().unwrap();
                let datagram = Datagram { from, to: Local::default(), payload: bytes.into() };
                if to == peer(SERVER_PORT) {
                    self.server.handle_datagram(self.now, datagram);
                } else if to == peer(self.client_port) {
                    self.client.handle_datagram(self.now, datagram);
                }
            }
            self.settle();
        }
        self.now = until;
    }

    /// The server loses all that it knows, but for the states of its resources.
    fn reboot_server(&mut self) {
        self.seed += 1;
        self.server = Endpoint::new(Config::default(), ChaCha8Rng::seed_from_u64(self.seed + 2_000));
        self.answers.clear();
        self.open_topics();
    }

    /// The client loses all that it knows, and begins again.
    fn reboot_client(&mut self) {
        self.seed += 1;
        self.client = Endpoint::new(Config::default(), ChaCha8Rng::seed_from_u64(self.seed + 1_000));
        let watches = core::mem::take(&mut self.watches);
        for watch in watches.into_values() {
            self.observe(watch.resource);
        }
    }

    /// What has been observed is known.
    #[track_caller]
    fn is_known(&self) {
        for (id, watch) in &self.watches {
            assert_eq!(watch.state, Some(self.states[watch.resource]), "{id:?} of {}", watch.resource);
        }
    }
}

/// Confirmable and not, short and in blocks.
fn resources() -> [(TopicOptions, usize); 5] {
    [
        (TopicOptions::new(), 4),
        (non(u32::MAX), 4),
        (TopicOptions::new(), 5_000),
        (non(3), 3_000),
        (TopicOptions::new().min_interval(secs(3)), 20),
    ]
}

#[test]
fn the_latest_state_is_known_in_the_end() {
    for seed in 0..8 {
        let mut world = World::new(seed, ROUGH, &resources());
        world.slow = seed.is_multiple_of(2);
        for resource in 0..5 {
            world.observe(resource);
        }
        for _ in 0..60 {
            let (resource, wait) = (world.draw(5) as usize, world.draw(8_000));
            world.change(resource);
            world.pass(ms(wait));
        }
        // As long as one that was lost needs to be registered again.
        world.pass(secs(1_200));
        world.is_known();
    }
}

#[test]
fn the_latest_state_is_known_although_both_are_started_again_and_move() {
    for seed in 0..8 {
        let mut world = World::new(seed, ROUGH, &resources());
        world.slow = seed.is_multiple_of(3);
        for resource in 0..5 {
            world.observe(resource);
        }
        for _ in 0..12 {
            for _ in 0..10 {
                let (resource, wait) = (world.draw(5) as usize, world.draw(8_000));
                world.change(resource);
                world.pass(ms(wait));
            }
            match world.draw(3) {
                0 => world.reboot_server(),
                1 => world.reboot_client(),
                _ => world.client_port += 1,
            }
        }
        world.pass(secs(1_200));
        world.is_known();
        // Whoever is not there any more is not observing any more, where there was something to tell.
        for resource in 0..5 {
            world.change(resource);
        }
        world.pass(secs(1_200));
        world.is_known();
        for resource in 0..5 {
            assert_eq!(world.server.topic_observers(world.topics[resource]), 1, "{resource}, seed {seed}");
        }
    }
}

#[test]
fn a_clock_does_not_flap_nor_when_its_numbers_wrap() {
    let mut world = World::new(1, CALM, &[(TopicOptions::new(), 4), (non(u32::MAX), 4)]);
    // At 17,180 s they begin again from 0 (RFC 7641 §4.4).
    world.now = Instant::from_secs(17_000);
    world.persistent = false;
    world.max_age = 1;
    let clocks = [world.observe(0), world.observe(1)];
    for _ in 0..600 {
        world.change(0);
        world.change(1);
        world.pass(secs(1));
    }
    world.pass(ms(100));
    // The first change came before the first answer.
    assert_eq!(world.watches[&clocks[0]].told, 600);
    for id in clocks {
        assert_eq!(world.watches[&id].stale, 0);
    }
}

#[test]
fn a_large_state_that_changes_while_it_is_fetched_is_told_whole_in_the_end() {
    for seed in 0..10 {
        let mut world = World::new(seed, CALM, &[(TopicOptions::new(), 20_000), (non(u32::MAX), 20_000)]);
        world.persistent = false;
        let ids = [world.observe(0), world.observe(1)];
        world.pass(secs(2));
        for _ in 0..50 {
            let wait = world.draw(400);
            world.change(0);
            world.change(1);
            world.pass(ms(wait));
        }
        world.pass(secs(30));
        world.is_known();
        // It was not waited for until Max-Age was over.
        assert!(ids.into_iter().all(|id| world.watches[&id].stale == 0));
    }
}

#[test]
fn fetches_that_differ_in_their_content_only_do_not_get_each_others_blocks() {
    for len in [4, 5_000] {
        let mut world = World::new(3, CALM, &[(TopicOptions::new(), len), (TopicOptions::new(), len)]);
        world.persistent = false;
        world.states = vec![1_000, 2_000];
        for resource in 0..2 {
            let fetch = Request::new(Code::FETCH).with_options(path(&["f"])).with_body(vec![resource as u8]);
            world.observe_with(resource, fetch);
        }
        world.pass(secs(5));
        world.is_known();
        for _ in 0..10 {
            world.change(0);
            world.change(1);
            world.pass(secs(5));
            world.is_known();
        }
    }
}

/// Everything that either application can do with an observation.
fn anything(seed: u64, network: Network, steps: u32) {
    let mut world = World::new(seed, network, &resources());
    world.slow = seed.is_multiple_of(2);
    world.max_age = [60, 2][(seed / 2 % 2) as usize];
    for resource in 0..5 {
        world.observe(resource);
    }
    for _ in 0..steps {
        let resource = world.draw(5) as usize;
        let topic = world.topics[resource];
        match world.draw(40) {
            0 => {
                assert!(world.server.publish(world.now, topic, Response::new(Code::NOT_FOUND)));
            }
            1 => {
                let last = [None, Some(Response::new(Code::NOT_FOUND))][world.draw(2) as usize].clone();
                assert!(world.server.close_topic(world.now, topic, last));
                world.topics[resource] = world.server.open_topic(world.how[resource]);
            }
            2 => {
                let keys: Vec<_> = (0..40).filter_map(|index| world.server.observers.key_at(index)).collect();
                for key in keys {
                    world.server.remove_observer(world.now, ObserverId(key));
                }
            }
            3 | 4 => {
                let (id, again) = world.watches.iter().map(|(id, watch)| (*id, watch.resource)).next().unwrap();
                world.watches.remove(&id);
                if world.draw(2) == 0 {
                    world.client.cancel(world.now, id);
                } else {
                    world.client.deregister(world.now, id);
                }
                world.observe(again);
            }
            5 => {
                let request = Request::get().with_options(path(&[&alloc::format!("{resource}")]));
                let how = RequestOptions::new();
                let _ = world.client.request(world.now, peer(SERVER_PORT), request, &how);
            }
            6 => {
                let request = Request::get().with_options(path(&["nothing"]));
                let _ = world.server.request(world.now, peer(world.client_port), request, &RequestOptions::new());
            }
            7 => {
                world.server.handle_unreachable(world.now, peer(world.client_port));
            }
            8 => {
                world.client.handle_unreachable(world.now, peer(SERVER_PORT));
            }
            _ => world.change(resource),
        }
        world.settle();
        let wait = world.draw(6_000);
        world.pass(ms(wait));
    }
    world.pass(secs(1_200));
    world.is_known();
    for resource in 0..5 {
        world.change(resource);
    }
    world.pass(secs(1_200));
    world.is_known();
    for resource in 0..5 {
        assert_eq!(world.server.topic_observers(world.topics[resource]), 1, "{resource}, seed {seed}");
    }
}

#[test]
fn the_latest_state_is_known_whatever_the_applications_do() {
    for seed in 0..8 {
        anything(seed, ROUGH, 100);
    }
}
