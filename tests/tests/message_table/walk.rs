//! Random walks: datagrams of every kind, half of them with Message IDs and tokens that mean something, and everything
//! that an application and the clock can do meanwhile.
//!
//! `COAP_WALK_STEPS` makes the walk longer, `COAP_SEED` starts it elsewhere.

use std::collections::{BTreeSet, VecDeque};
use std::env;

use bytes::Bytes;
use coap_core::{
    Code, Event, Header, IncomingId, Message, Options, Peer, Request, RequestId, RequestOptions, Response, Token, Type,
    Usage,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::rig::{Rig, encode, ms, path, peer, secs};

/// The length of a walk in the tests; the environment can ask for more.
const STEPS: u64 = 10_000;

/// How many exchanges are met again.
const RECENT: usize = 6;

struct Walk {
    rng: ChaCha8Rng,
    rig: Rig,
    /// With whom, under which Message IDs and tokens there was something lately, in either direction: to be met again.
    recent: VecDeque<(Peer, u16, Token)>,
    open: Vec<RequestId>,
    ended: BTreeSet<RequestId>,
    waiting: Vec<IncomingId>,
    answered: u64,
}

/// What was done in a step.
enum Did {
    Received { kind: Type, from: Peer },
    Else,
}

impl Walk {
    fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            rig: Rig::new(),
            recent: VecDeque::from([(peer(0), 1, Token::EMPTY)]),
            open: Vec::new(),
            ended: BTreeSet::new(),
            waiting: Vec::new(),
            answered: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.rng.next_u64() % bound as u64) as usize
    }

    fn step(&mut self) {
        let did = match self.below(100) {
            0..50 => self.receive(),
            50..65 => self.request(),
            65..80 => self.respond(),
            80..82 => self.cancel(),
            82..84 => self.ignore(),
            84 => {
                let from = peer(self.below(3) as u16);
                self.rig.endpoint.handle_unreachable(self.rig.now, from);
                Did::Else
            }
            85..99 => {
                let span = ms(self.rng.next_u64() % 2_000);
                self.rig.pass(span);
                Did::Else
            }
            _ => {
                let span = secs(self.rng.next_u64() % 300);
                self.rig.pass(span);
                Did::Else
            }
        };
        self.rig.drain();
        self.check(&did);
    }

    fn receive(&mut self) -> Did {
        let kind = [Type::Confirmable, Type::NonConfirmable, Type::Acknowledgement, Type::Reset][self.below(4)];
        let codes = [0x00, 0x00, 0x01, 0x02, 0x04, 0x1f, 0x20, 0x44, 0x45, 0x45, 0x60, 0x84, 0xa0, 0xc0, 0xe0];
        // Three of four times something that fits, and then now and then not quite.
        let which = self.below(self.recent.len());
        let (mut from, mut message_id, mut token) = self.recent[which].clone();
        match self.below(16) {
            0 => from = peer(self.below(3) as u16),
            1 => message_id ^= 1 << self.below(16),
            2 => token = Token::new(&[7]).unwrap_or_default(),
            3..6 => {
                from = peer(self.below(3) as u16);
                message_id = self.below(1 << 16) as u16;
                token = Token::new(&self.rng.next_u32().to_be_bytes()).unwrap_or_default();
            }
            _ => {}
        }
        let mut message = Message::empty(kind, message_id);
        message.code = Code::from_byte(codes[self.below(codes.len())]);
        if !message.code.is_empty() {
            message.token = token.clone();
            // In a response the path is a critical option that makes no sense.
            let has_path = self.below(8) < if message.code.is_request() { 7 } else { 1 };
            message.options = if has_path { path(&["a"]) } else { Options::new() };
            message.payload = Bytes::from_static(&b"payload"[..self.below(8)]);
        }
        let mut datagram = encode(&message);
        if self.below(20) == 0 {
            let at = self.below(datagram.len());
            datagram[at] ^= 1 << self.below(8);
        }
        if message.code.is_request() {
            self.recent.push_back((from, message_id, token));
        }
        let multicast = self.below(10) == 0;
        if multicast {
            self.rig.receive_multicast(from, &datagram);
        } else {
            self.rig.receive(from, &datagram);
        }
        let kind = Header::peek(&datagram).map_or(kind, |header| header.kind);
        Did::Received { kind, from }
    }

    fn request(&mut self) -> Did {
        let to = peer(self.below(3) as u16);
        let how = RequestOptions::new();
        let asked = match self.below(4) {
            0 => self.rig.endpoint.ping(self.rig.now, to),
            1 => self.rig.endpoint.request(self.rig.now, to, Request::get(), &how.non_confirmable()),
            _ => self.rig.endpoint.request(self.rig.now, to, Request::new(Code::POST).with_options(path(&["a"])), &how),
        };
        self.open.extend(asked.ok());
        Did::Else
    }

    fn respond(&mut self) -> Did {
        if !self.waiting.is_empty() {
            let at = self.below(self.waiting.len());
            let id = self.waiting.swap_remove(at);
            let code = [Code::CONTENT, Code::CHANGED, Code::NOT_FOUND][self.below(3)];
            self.answered += u64::from(self.rig.endpoint.respond(self.rig.now, id, Response::new(code)).is_ok());
            // Once, and no second time.
            assert!(self.rig.endpoint.respond(self.rig.now, id, Response::new(code)).is_err());
        }
        Did::Else
    }

    fn cancel(&mut self) -> Did {
        if !self.open.is_empty() {
            let at = self.below(self.open.len());
            let id = self.open.swap_remove(at);
            self.rig.endpoint.cancel(self.rig.now, id);
            self.ended.insert(id);
        }
        Did::Else
    }

    fn ignore(&mut self) -> Did {
        if let Some(id) = self.waiting.pop() {
            self.rig.endpoint.ignore(self.rig.now, id);
        }
        Did::Else
    }

    fn check(&mut self, did: &Did) {
        let stats = self.rig.endpoint.stats();
        assert_eq!(stats.accounted(), stats.datagrams_received, "{stats:?}");
        while let Some((transmit, bytes)) = self.rig.sent.pop_front() {
            let message = Message::decode(bytes.clone().into()).unwrap();
            if message.code.is_empty() {
                assert_eq!(bytes.len(), 4, "{message}");
            }
            assert!(message.kind != Type::Reset || message.code.is_empty(), "{message}");
            let answers = matches!(message.kind, Type::Acknowledgement | Type::Reset) || message.code.is_response();
            if let Did::Received { kind: kind @ (Type::Acknowledgement | Type::Reset), from } = did {
                assert!(!(answers && transmit.to == *from), "{message} in answer to {kind}");
            }
            // RFC 7252 §4.3: what is not confirmable is not acknowledged.
            if let Did::Received { kind: Type::NonConfirmable, .. } = did {
                assert!(!matches!(message.kind, Type::Acknowledgement | Type::Reset), "{message} in answer to a NON");
            }
            if message.kind != Type::Reset {
                self.recent.push_back((transmit.to, message.message_id, message.token));
            }
        }
        while let Some(event) = self.rig.events.pop_front() {
            match event {
                Event::Request(request) => self.waiting.push(request.id),
                Event::IncomingClosed { id, .. } => self.waiting.retain(|waiting| *waiting != id),
                Event::Response { id, .. } | Event::Pong { id, .. } | Event::Failed { id, .. } => {
                    assert!(self.ended.insert(id), "{id:?} ends twice");
                    self.open.retain(|open| *open != id);
                }
                other => panic!("{other:?}"),
            }
        }
        let old = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..old);
    }
}

/// A number from the environment.
fn from_env(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn a_random_walk_breaks_no_rule_and_comes_to_rest() {
    let (first, steps) = (coap_sim::seed_from_env(1), from_env("COAP_WALK_STEPS", STEPS));
    let mut seen = [0; 7];
    // Several shorter walks meet more beginnings than one long one.
    for seed in first..first + 10 {
        let mut walk = Walk::new(seed);
        for step in 0..steps / 10 {
            let stepped = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| walk.step()));
            assert!(stepped.is_ok(), "COAP_SEED={seed}, step {step}: see above");
        }
        let stats = walk.rig.endpoint.stats();
        let counts = [
            walk.answered,
            stats.responses_received,
            stats.acknowledged,
            stats.resets_received,
            stats.duplicates,
            stats.unmatched,
            stats.retransmissions,
        ];
        seen.iter_mut().zip(counts).for_each(|(seen, count)| *seen += count);
        // Everything that is open ends by itself.
        walk.rig.pass(secs(3_000));
        walk.check(&Did::Else);
        walk.rig.pass(secs(3_000));
        walk.check(&Did::Else);
        assert_eq!(walk.rig.endpoint.usage(), Usage::default(), "COAP_SEED={seed}");
        assert!(walk.rig.endpoint.is_idle() && walk.open.is_empty(), "COAP_SEED={seed}: {:?}", walk.open);
    }
    // They have been everywhere.
    assert!(seen.iter().all(|count| *count >= 20), "COAP_SEED={first}: {seen:?}");
}
