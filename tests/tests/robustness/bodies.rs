//! floods of bodies that have no end and of registrations that nobody wants, beside those who are honest.

use core::time::Duration;
use std::collections::BTreeMap;
use std::time::Instant as Clock;

use bytes::Bytes;
use coap_core::{
    Block, BlockFailure, BodyId, Code, Config, Event, Failure, IncomingId, Message, Options, Peer, Request,
    RequestOptions, Response, Token, TopicId, TopicOptions, Type,
};

use crate::memory::{alone, live};
use crate::rig::{Rig, encode, peer};
use crate::{count, repeat_with};

const HONEST: u32 = 10;
/// What an endpoint may use in any flood.
const CEILING: usize = 64 << 20;
/// How many blocks of 64 bytes an honest upload has.
const BLOCKS: u32 = 20;

fn honest(n: u32) -> Peer {
    peer(10_000_000 + n)
}

fn message(code: Code, message_id: u16, path: &str) -> Message {
    let mut options = Options::new();
    options.push_uri_path(path).unwrap();
    let token = Token::new(&message_id.to_be_bytes()).unwrap();
    Message { kind: Type::Confirmable, code, message_id, token, options, payload: Bytes::new() }
}

fn block(message_id: u16, num: u32, more: bool, szx: u8) -> Message {
    let mut message = message(Code::PUT, message_id, "a");
    message.options.set_block1(Block::new(num, more, szx).unwrap());
    message.payload = Bytes::from(vec![num as u8; 16 << szx]);
    message
}

/// A server that takes bodies of up to 64 KiB.
struct Yard {
    rig: Rig,
    uploads: BTreeMap<BodyId, IncomingId>,
    whole: u64,
}

impl Yard {
    fn new() -> Self {
        Self { rig: Rig::new(Config::default()), uploads: BTreeMap::new(), whole: 0 }
    }

    fn arrive(&mut self, from: Peer, message: &Message) {
        self.rig.arrive(from, encode(message));
        self.handle();
    }

    fn handle(&mut self) {
        while let Some(event) = self.rig.endpoint.poll_event() {
            let now = self.rig.now;
            let answered = match event {
                Event::Request(request) if request.request.body.is_in_parts() => {
                    let body = request.id.request_body();
                    if self.rig.endpoint.collect(now, body, 64 << 10) {
                        self.uploads.insert(body, request.id);
                    }
                    None
                }
                Event::Request(request) => Some(request.id),
                Event::BodyPart { id, data, .. } => {
                    let mut blocks = data.chunks(64).enumerate();
                    assert!(blocks.all(|(num, block)| block.iter().all(|byte| *byte == num as u8)), "spliced");
                    self.whole += 1;
                    self.uploads.remove(&id)
                }
                Event::IncomingClosed { id, .. } => {
                    self.uploads.remove(&id.request_body());
                    None
                }
                _ => None,
            };
            if let Some(id) = answered {
                self.rig.endpoint.respond(now, id, Response::new(Code::CHANGED)).unwrap();
            }
        }
        self.rig.send();
    }

    fn pass(&mut self, span: Duration) {
        self.rig.now += span;
        while self.rig.endpoint.poll_timeout().is_some_and(|due| due <= self.rig.now) {
            self.rig.endpoint.handle_timeout(self.rig.now);
            self.handle();
        }
    }

    /// The code that a datagram is answered with.
    fn reply(&mut self, from: Peer, message: &Message) -> Option<Code> {
        self.rig.sent.clear();
        self.arrive(from, message);
        let reply = self.rig.sent.iter().rfind(|(to, _)| *to == from)?;
        Some(Message::decode(reply.1.clone()).unwrap().code)
    }
}

/// Uploads of honest clients, one after the other, a block each tenth of a second.
#[derive(Default)]
struct Uploads {
    next: [u32; HONEST as usize],
    ids: u16,
    done: u64,
    /// Refused with their first block, or gave way to others before their second.
    refused: u64,
    broken: u64,
}

impl Uploads {
    fn step(&mut self, yard: &mut Yard) {
        for n in 0..HONEST {
            let num = self.next[n as usize];
            self.ids = self.ids.wrapping_add(1);
            let code = yard.reply(honest(n), &block(self.ids, num, num + 1 < BLOCKS, 2));
            self.next[n as usize] = match code {
                Some(Code::CONTINUE) => num + 1,
                Some(Code::CHANGED) => {
                    self.done += 1;
                    0
                }
                _ if num <= 1 => {
                    self.refused += 1;
                    0
                }
                _ => {
                    self.broken += 1;
                    0
                }
            };
        }
    }
}

#[test]
fn r20_bodies_that_have_no_end() {
    let _alone = alone();
    let sources = count(100_000) as u32;
    let mut yard = Yard::new();
    let empty = live();
    let mut uploads = Uploads::default();
    uploads.step(&mut yard);
    let (mut most, mut busy, mut datagrams) = (0, Duration::ZERO, 0_u64);
    let mut codes = BTreeMap::<String, u64>::new();
    for n in 0..sources {
        let mut huge = block(1, 0, true, 6);
        huge.options.set_size1(u32::MAX);
        let hostile = match n % 5 {
            0 => vec![message(Code::GET, 1, "a")],
            1 => vec![block(1, 0, true, 6)],
            2 => vec![huge],
            // It stops behind the second block.
            3 => vec![block(1, 0, true, 6), block(2, 1, true, 6)],
            _ => vec![block(1, 7, true, 6)],
        };
        for message in &hostile {
            let clock = Clock::now();
            let code = yard.reply(peer(n), message);
            busy += clock.elapsed();
            datagrams += 1;
            *codes.entry(code.map_or_else(|| "nothing".into(), |code| code.dotted().to_string())).or_default() += 1;
        }
        let usage = yard.rig.endpoint.usage();
        assert!(usage.transfers <= 64 && usage.transfer_bytes <= 1 << 20, "{usage:?}");
        if n.is_multiple_of(500) {
            most = most.max(live().saturating_sub(empty));
            yard.pass(Duration::from_millis(100));
            uploads.step(&mut yard);
        }
    }
    let stats = yard.rig.endpoint.stats();
    // When it is over, all is as it was.
    yard.pass(Duration::from_secs(250));
    assert_eq!(yard.rig.endpoint.usage().transfers, 0);
    let before = uploads.done;
    (0..BLOCKS * 2).for_each(|_| {
        yard.pass(Duration::from_millis(100));
        uploads.step(&mut yard);
    });
    yard.rig.sent.clear();
    yard.uploads.clear();
    yard.rig.comes_to_rest();
    let kept = live().saturating_sub(empty);
    println!(
        "R-20: {datagrams} datagrams of {sources} strangers, {:.2} µs each: {codes:?}",
        busy.as_secs_f64() * 1e6 / datagrams as f64
    );
    println!(
        "  honest uploads: {before} done meanwhile, {} broken, {} refused at first",
        uploads.broken, uploads.refused
    );
    println!(
        "  {} bodies abandoned, {} evicted, {} refused, {} bad blocks",
        stats.transfers_abandoned, stats.transfers_evicted, stats.uploads_refused, stats.bad_blocks
    );
    println!("  memory: {most} bytes at most, {kept} kept");
    assert!(uploads.done >= before + u64::from(HONEST) && before >= u64::from(HONEST), "{} {before}", uploads.done);
    assert_eq!(uploads.broken, 0);
    assert!(!codes.contains_key("nothing") && codes["4.13"] > 0 && codes["4.08"] > 0 && codes["5.03"] > 0, "{codes:?}");
    assert!(most <= CEILING && kept <= 256 << 10, "{most} {kept}");
    repeat_with("r20_bodies", 10_000_000);
}

#[test]
fn r20_a_server_whose_body_has_no_end() {
    let _alone = alone();
    for size2 in [None, Some(u32::MAX)] {
        let mut rig = Rig::new(Config::default());
        let empty = live();
        rig.endpoint.request(rig.now, peer(1), Request::get(), &RequestOptions::new()).unwrap();
        let (mut blocks, mut most) = (0, 0);
        let failure = loop {
            match rig.endpoint.poll_event() {
                Some(Event::Failed { reason, .. }) => break reason,
                Some(other) => panic!("{other:?}"),
                None => {}
            }
            let (to, asked) = rig.next_sent();
            let mut answer = asked.clone();
            (answer.kind, answer.code) = (Type::Acknowledgement, Code::CONTENT);
            answer.options.set_block2(Block::new(blocks, true, 6).unwrap());
            if let Some(bytes) = size2 {
                answer.options.set_size2(bytes);
            }
            answer.payload = Bytes::from(vec![b'x'; 1_024]);
            rig.arrive(to, encode(&answer));
            blocks += 1;
            most = most.max(live().saturating_sub(empty));
            assert!(blocks <= 65, "it never ends");
        };
        println!("R-20: an endless body, Size2 {size2:?}: {failure} after {blocks} blocks, {most} bytes at most");
        assert_eq!(failure, Failure::Blockwise(BlockFailure::TooLarge { limit: 65_536 }));
        assert_eq!(blocks, if size2.is_some() { 1 } else { 65 });
        assert!(most <= 256 << 10);
        rig.comes_to_rest();
    }
}

/// A server with one topic, and honest observers of it.
struct Square {
    rig: Rig,
    topic: TopicId,
    state: u32,
    /// What honest observers were told last.
    told: BTreeMap<Peer, u32>,
    /// Bytes and datagrams to others.
    to_strangers: (u64, u64),
}

impl Square {
    fn new() -> Self {
        let mut rig = Rig::new(Config::default());
        let topic = rig.endpoint.open_topic(TopicOptions::new());
        Self { rig, topic, state: 0, told: BTreeMap::new(), to_strangers: (0, 0) }
    }

    fn state(&self) -> Response {
        Response::new(Code::CONTENT).with_body(self.state.to_be_bytes().to_vec())
    }

    fn register(&mut self, from: Peer, message_id: u16, token: &[u8]) {
        let mut get = message(Code::GET, message_id, "a");
        get.token = Token::new(token).unwrap();
        get.options.set_observe(0);
        self.rig.arrive(from, encode(&get));
        self.handle();
    }

    fn handle(&mut self) {
        loop {
            self.rig.send();
            for (to, bytes) in core::mem::take(&mut self.rig.sent) {
                if (0..HONEST + 1).all(|n| honest(n) != to) {
                    self.to_strangers.0 += bytes.len() as u64;
                    self.to_strangers.1 += 1;
                    continue;
                }
                let sent = Message::decode(bytes).unwrap();
                self.told.insert(to, u32::from_be_bytes(sent.payload[..].try_into().unwrap()));
                if sent.kind == Type::Confirmable {
                    self.rig.arrive(to, encode(&Message::empty(Type::Acknowledgement, sent.message_id)));
                }
            }
            let Some(event) = self.rig.endpoint.poll_event() else { break };
            if let Event::Request(request) = event {
                let first = self.state();
                self.rig.endpoint.accept_observer(self.rig.now, request.id, self.topic, first).unwrap();
            }
        }
    }

    fn change(&mut self) {
        self.state += 1;
        assert!(self.rig.endpoint.publish(self.rig.now, self.topic, self.state()));
        self.handle();
    }

    fn pass(&mut self, span: Duration) {
        self.rig.now += span;
        while self.rig.endpoint.poll_timeout().is_some_and(|due| due <= self.rig.now) {
            self.rig.endpoint.handle_timeout(self.rig.now);
            self.handle();
        }
        self.handle();
    }
}

#[test]
fn r22_registrations_that_nobody_wants() {
    let _alone = alone();
    let strangers = count(100_000) as u32;
    for (name, of_one) in [("of strangers", false), ("of one peer", true)] {
        let mut square = Square::new();
        let empty = live();
        (0..HONEST).for_each(|n| square.register(honest(n), 1, b"hon"));
        let (mut most, mut busy) = (0, Duration::ZERO);
        for n in 0..strangers {
            let from = if of_one { peer(0) } else { peer(n) };
            let clock = Clock::now();
            square.register(from, n as u16, &n.to_be_bytes());
            busy += clock.elapsed();
            if n.is_multiple_of(1_000) {
                square.pass(Duration::from_millis(100));
                most = most.max(live().saturating_sub(empty));
            }
            let usage = square.rig.endpoint.usage();
            assert!(usage.observers <= 4_096, "{usage:?}");
        }
        let cap = if of_one { 16 + HONEST as usize } else { 4_096 };
        let (stats, registered) = (square.rig.endpoint.stats(), square.rig.endpoint.topic_observers(square.topic));
        assert_eq!(registered, cap.min(strangers as usize + HONEST as usize), "{name}");
        assert_eq!(stats.refused_observers, u64::from(strangers + HONEST) - registered as u64, "{name}");
        // A plain response is all that one gets for whom there is no room.
        square.to_strangers = (0, 0);
        let clock = Clock::now();
        for _ in 0..1_000 {
            square.change();
            square.pass(Duration::from_millis(100));
            assert!((0..HONEST).all(|n| square.told[&honest(n)] == square.state), "{name}: {}", square.state);
        }
        let telling = clock.elapsed();
        most = most.max(live().saturating_sub(empty));
        // Whoever does not acknowledge is sent one message in all its copies, and is one no longer. One peer is sent one message
        // at a time.
        for _ in 0..if of_one { 16 } else { 0 } {
            square.change();
            (0..100).for_each(|_| square.pass(Duration::from_secs(1)));
        }
        let observers = square.rig.endpoint.topic_observers(square.topic);
        let (bytes, datagrams) = square.to_strangers;
        println!(
            "R-22, {strangers} registrations {name}: {:.2} µs each; {registered} observers",
            busy.as_secs_f64() * 1e6 / f64::from(strangers)
        );
        println!(
            "  1,000 changes in {telling:?}: {datagrams} datagrams with {bytes} bytes to strangers, {observers} observers left"
        );
        assert_eq!(observers, HONEST as usize);
        assert!(datagrams <= 5 * (registered - HONEST as usize) as u64, "{datagrams}");
        square.register(honest(HONEST), 1, b"new");
        assert_eq!(square.rig.endpoint.topic_observers(square.topic), HONEST as usize + 1);
        assert!(square.rig.endpoint.close_topic(square.rig.now, square.topic, None));
        square.handle();
        square.rig.comes_to_rest();
        let kept = live().saturating_sub(empty);
        println!("  memory: {most} bytes at most, {kept} kept");
        assert!(most <= CEILING && kept <= 512 << 10, "{most} {kept}");
    }
    repeat_with("r22_registrations", 1_000_000);
}
