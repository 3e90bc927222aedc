//! Long random runs of topics and observers, with loss, resets and clients that come and go, against a model that knows what
//! RFC 7641 forbids: more notifications outstanding than NSTART, an old one behind a new one, an observation with two ends, an
//! observer that is never told the latest state.

use alloc::collections::BTreeMap;

use rand_chacha::rand_core::Rng;

use super::topics::{CON, is_newer, non, observe};
use super::*;

const PEERS: u64 = 6;

type Relation = (Peer, Token);

/// What a client knows.
struct Client {
    id: ObserverId,
    topic: usize,
    last: Option<Message>,
    state: u32,
}

struct Model {
    rig: Rig,
    rng: ChaCha8Rng,
    topics: Vec<TopicId>,
    states: Vec<u32>,
    clients: BTreeMap<Relation, Client>,
    /// Confirmable notifications that have been sent and not answered, and the relation.
    outstanding: BTreeMap<(Peer, u16), (Instant, Message)>,
    message_id: u16,
    /// In a hundred: datagrams lost, either way.
    loss: u64,
}

impl Model {
    fn new(seed: u64, loss: u64, config: Config) -> Self {
        let mut rig = Rig::with(config);
        let how = [
            TopicOptions::new(),
            non(4),
            non(u32::MAX).min_interval(secs(5)),
            TopicOptions::new().min_interval(secs(20)),
        ];
        let topics: Vec<_> = how.map(|how| rig.endpoint.open_topic(how)).into();
        let states = vec![0; topics.len()];
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (clients, outstanding) = (BTreeMap::new(), BTreeMap::new());
        Self { rig, rng, topics, states, clients, outstanding, message_id: 0, loss }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    fn is_lost(&mut self) -> bool {
        self.draw(100) < self.loss
    }

    fn state(&self, topic: usize) -> Response {
        let len = 4 + self.states[topic] as usize % 1_500;
        let mut body = vec![0; len];
        body[..4].copy_from_slice(&self.states[topic].to_be_bytes());
        Response::new(Code::CONTENT).with_body(body)
    }

    /// A client asks to observe, or not to, and gets an answer.
    fn ask(&mut self) {
        let from = peer(self.draw(PEERS) as u16);
        let token = self.draw(5) as u8;
        let topic = self.draw(self.topics.len() as u64) as usize;
        let value = [Some(0), Some(0), Some(0), Some(1), None, Some(7)][self.draw(6) as usize];
        self.message_id = self.message_id.wrapping_add(1);
        let kind = [CON, Type::NonConfirmable][self.draw(2) as usize];
        let datagram = observe(kind, Code::GET, self.message_id, token, value);
        let relation = (from, Token::new(&[token]).unwrap());
        self.rig.receive(from, &datagram);
        self.look();
        if value == Some(1) {
            assert!(!self.clients.contains_key(&relation));
        }
        let place = self.rig.events.iter().position(|event| matches!(event, Event::Request(_)));
        let Some(Event::Request(request)) = place.and_then(|place| self.rig.events.remove(place)) else { return };
        let first = self.state(topic);
        let first = if self.draw(10) == 0 { Response::new(Code::NOT_FOUND) } else { first };
        let long = first.body.len() > 1_000;
        let accepted = self.rig.endpoint.accept_observer(self.rig.now, request.id, self.topics[topic], first);
        // Whether a long first answer can be sent is not the matter here.
        let Ok(accepted) = accepted else {
            assert!(long);
            self.rig.endpoint.ignore(self.rig.now, request.id);
            self.look();
            return;
        };
        let before = self.clients.get(&relation).map(|client| client.id);
        match accepted {
            Some(id) => {
                assert!(value == Some(0) && before.is_none_or(|before| before == id));
                let client = Client { id, topic, last: None, state: self.states[topic] };
                self.outstanding.retain(|(to, _), (_, message)| (*to, message.token.clone()) != relation);
                self.clients.insert(relation, client);
            }
            None if value == Some(0) => {
                self.look();
                assert!(!self.clients.contains_key(&relation), "an entry outlived a plain answer");
            }
            None => {}
        }
        self.look();
    }

    /// Looks at what was sent and said; the clients answer.
    fn look(&mut self) {
        self.rig.drain();
        let mut answers = Vec::new();
        while let Some((to, bytes)) = self.rig.sent.pop_front() {
            let message = Message::decode(bytes.into()).unwrap();
            let is_answer = message.kind == Type::Acknowledgement || message.payload.is_empty();
            if is_answer || !matches!(message.code.class(), 2) || message.options.observe().is_none() {
                continue;
            }
            answers.extend(self.hear(to, message));
        }
        self.check_events();
        for (from, answer) in answers {
            if !self.is_lost() {
                self.rig.receive(from, &encode(&answer));
                self.outstanding.remove(&(from, answer.message_id));
                self.look();
            }
        }
    }

    fn hear(&mut self, to: Peer, message: Message) -> Option<(Peer, Message)> {
        let relation = (to, message.token.clone());
        let now = self.rig.now;
        if message.kind == CON && self.clients.contains_key(&relation) {
            let new = !self.outstanding.contains_key(&(to, message.message_id));
            // What is superseded is not outstanding any more.
            self.outstanding.retain(|(peer, id), (_, other)| {
                *peer != to || *id == message.message_id || other.token != message.token
            });
            if !new {
                assert_eq!(self.outstanding[&(to, message.message_id)].1, message);
            }
            self.outstanding.insert((to, message.message_id), (now, message.clone()));
        }
        if self.is_lost() {
            return None;
        }
        let answer = |kind| Some((to, Message::empty(kind, message.message_id)));
        let reset = self.draw(50) == 0;
        let Some(client) = self.clients.get_mut(&relation) else { return answer(Type::Reset) };
        if reset {
            return answer(Type::Reset);
        }
        let again = client.last.as_ref().is_some_and(|last| last.message_id == message.message_id);
        assert!(again || client.last.as_ref().is_none_or(|last| is_newer(last, &message)));
        client.state = u32::from_be_bytes(message.payload[..4].try_into().unwrap());
        client.last = Some(message.clone());
        if message.kind == CON { answer(Type::Acknowledgement) } else { None }
    }

    fn check_events(&mut self) {
        let events: Vec<_> = self.rig.events.drain(..).collect();
        for event in events {
            match event {
                Event::ObserverLost { id, .. } => self.gone(id),
                Event::Request(request) => self.rig.events.push_back(Event::Request(request)),
                Event::IncomingClosed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let usage = self.rig.endpoint.usage();
        let observed = self.topics.iter().map(|topic| self.rig.endpoint.topic_observers(*topic)).sum::<usize>();
        assert!(observed <= usage.observers && usage.observers <= 20, "{usage:?}");
        for n in 0..PEERS {
            let of_peer = |(to, _): &&(Peer, u16)| *to == peer(n as u16);
            // The largest NSTART that is ever set.
            assert!(self.outstanding.keys().filter(of_peer).count() <= 3);
        }
    }

    fn gone(&mut self, id: ObserverId) {
        let relation = self.clients.iter().find(|(_, client)| client.id == id).map(|(relation, _)| relation.clone());
        let relation = relation.expect("an observation had two ends");
        self.clients.remove(&relation);
        self.forget_outstanding();
    }

    fn act(&mut self) {
        let (now, topic) = (self.rig.now, self.draw(self.topics.len() as u64) as usize);
        match self.draw(12) {
            0 => {
                let to = peer(self.draw(PEERS) as u16);
                self.rig.endpoint.handle_unreachable(now, to);
            }
            1 => {
                let which = self.draw(20) as usize;
                if let Some((relation, id)) =
                    self.clients.iter().nth(which).map(|(relation, client)| (relation.clone(), client.id))
                {
                    assert!(self.rig.endpoint.remove_observer(now, id));
                    assert!(!self.rig.endpoint.remove_observer(now, id));
                    self.clients.remove(&relation);
                    self.forget_outstanding();
                }
            }
            2 => {
                assert!(self.rig.endpoint.publish(now, self.topics[topic], Response::new(Code::NOT_FOUND)));
                self.end_all(topic);
            }
            3 => {
                let last = (self.draw(2) == 0).then(|| Response::new(Code::NOT_FOUND));
                assert!(self.rig.endpoint.close_topic(now, self.topics[topic], last));
                self.topics[topic] = self.rig.endpoint.open_topic(non(3));
                self.end_all(topic);
            }
            4 => {
                let to = peer(self.draw(PEERS) as u16);
                let nstart = 1 + self.draw(3) as u16;
                let own = TransmissionParameters::builder().nstart(nstart).accept_congestion_risk().build().unwrap();
                self.rig.endpoint.set_transmission(now, Scope::Peer(to), own).ok();
            }
            5 => {
                let to = peer(self.draw(PEERS) as u16);
                self.rig.endpoint.clear_transmission(now, to);
            }
            _ => {
                self.states[topic] += 1;
                let state = self.state(topic);
                assert!(self.rig.endpoint.publish(now, self.topics[topic], state));
            }
        }
    }

    fn end_all(&mut self, topic: usize) {
        // What was said before is looked at first.
        self.look();
        assert_eq!(self.rig.endpoint.topic_observers(self.topics[topic]), 0);
        self.clients.retain(|_, client| client.topic != topic);
        self.forget_outstanding();
    }

    /// What was sent to relations that are none any more does not count.
    fn forget_outstanding(&mut self) {
        let Self { outstanding, clients, .. } = self;
        outstanding.retain(|(to, _), (_, message)| clients.contains_key(&(*to, message.token.clone())));
    }

    fn pass(&mut self, span: Duration) {
        self.look();
        let until = self.rig.now + span;
        let mut rounds = 0;
        while let Some(due) = self.rig.endpoint.poll_timeout().filter(|due| *due <= until) {
            self.rig.now = self.rig.now.max(due);
            self.rig.endpoint.handle_timeout(self.rig.now);
            rounds += 1;
            assert!(rounds < 20_000, "time does not get on");
            self.look();
        }
        self.rig.now = until;
    }

    fn run(mut self, steps: usize) {
        for _ in 0..steps {
            match self.draw(10) {
                0..3 => self.ask(),
                3..7 => self.act(),
                _ => {
                    let span = [0, 100, 3_000, 30_000][self.draw(4) as usize];
                    let span = ms(self.draw(span + 1));
                    self.pass(span);
                }
            }
            if self.draw(3) == 0 {
                self.look();
            }
        }
        // When nothing changes any more, everybody who is left knows the latest state (RFC 7641 §4.5).
        self.pass(secs(16 * 93));
        for (relation, client) in &self.clients {
            assert_eq!(client.state, self.states[client.topic], "{relation:?} was never told");
        }
        assert_eq!(self.rig.endpoint.usage().in_flight, 0);
        let observers = self.rig.endpoint.usage().observers;
        assert_eq!(observers, self.clients.len());
        for n in 0..PEERS {
            self.rig.endpoint.clear_transmission(self.rig.now, peer(n as u16));
        }
        for topic in self.topics {
            assert!(self.rig.endpoint.close_topic(self.rig.now, topic, None));
        }
        self.rig.drain();
        self.rig.comes_to_rest();
    }
}

#[test]
fn nobody_is_forgotten_and_nobody_told_too_much() {
    let config = Config::builder().max_observers(20).max_observers_per_peer(5);
    for seed in 0..60 {
        Model::new(seed, 0, config.clone().build().unwrap()).run(600);
    }
}

#[test]
fn nobody_is_forgotten_where_a_third_is_lost() {
    let config = Config::builder().max_observers(20).max_observers_per_peer(5);
    for seed in 100..160 {
        Model::new(seed, 30, config.clone().build().unwrap()).run(600);
    }
}

#[test]
fn nobody_is_forgotten_by_a_small_device() {
    for seed in 200..240 {
        let config = Config::constrained().max_observers(1 + seed as usize % 8).max_outbox(2 + seed as usize % 5);
        Model::new(seed, 10, config.max_peers(2 + seed as usize % 7).build().unwrap()).run(600);
    }
}
