//! what strangers can do to those who are honest. Ten of them make ten requests a second, all the while.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;
use std::time::Instant as Clock;

use bytes::Bytes;
use coap_core::{Code, Config, Event, Message, Options, Peer, Request, RequestOptions, Response, Token, Type};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::memory::{alone, live};
use crate::rig::{Rig, answer, encode, peer, request};
use crate::{count, repeat_with};

const HONEST: u32 = 10;
/// What an endpoint may use in any flood.
const CEILING: usize = 64 << 20;

fn honest(n: u32) -> Peer {
    peer(10_000_000 + n)
}

/// The clients beside the flood: POST, one in ten of them repeated later.
#[derive(Default)]
struct Clients {
    asked: u64,
    answered: u64,
    repeated: u64,
    executed: BTreeSet<(Peer, u16)>,
    twice: u64,
}

/// A server, a flood and the clients.
struct Siege {
    rig: Rig,
    clients: Clients,
    /// What will be repeated.
    last: Option<(Peer, Bytes)>,
    empty: usize,
    most: usize,
    hostile: u64,
    busy: Duration,
}

impl Siege {
    fn new(config: Config) -> Self {
        let mut rig = Rig::new(config);
        rig.body = Bytes::from_static(&[b'x'; 1_024]);
        let empty = live();
        let mut siege =
            Self { rig, clients: Clients::default(), last: None, empty, most: 0, hostile: 0, busy: Duration::ZERO };
        (0..HONEST).for_each(|n| siege.prove(honest(n)));
        siege
    }

    /// The server has asked them something, and they have answered.
    fn prove(&mut self, client: Peer) {
        self.rig.ask(client).unwrap();
        let (_, asked) = self.rig.next_sent();
        self.rig.arrive(client, answer(Type::Acknowledgement, asked.message_id, &asked));
        assert!(matches!(self.rig.endpoint.poll_event(), Some(Event::Response { .. })));
    }

    fn hostile(&mut self, from: Peer, datagram: Bytes) {
        let start = Clock::now();
        self.rig.arrive(from, datagram);
        self.handle();
        self.busy += start.elapsed();
        self.hostile += 1;
    }

    /// Serves what was handed up, and notes what honest clients had executed.
    fn handle(&mut self) {
        while let Some(event) = self.rig.endpoint.poll_event() {
            let Event::Request(request) = event else { continue };
            if (0..HONEST).any(|n| honest(n) == request.peer)
                && !self.clients.executed.insert((request.peer, request.message_id))
            {
                self.clients.twice += 1;
            }
            let response = Response::new(Code::CHANGED).with_body(self.rig.body.clone());
            self.rig.endpoint.respond(self.rig.now, request.id, response).unwrap();
        }
        self.rig.send();
    }

    /// A tenth of a second: each client asks, and one asks twice.
    fn tenth(&mut self) {
        self.rig.now += Duration::from_millis(100);
        while self.rig.endpoint.poll_timeout().is_some_and(|due| due <= self.rig.now) {
            self.rig.endpoint.handle_timeout(self.rig.now);
            self.handle();
        }
        // A repetition, after all that was poured in since. Its reply may have been pushed out; then it is met with silence,
        // and not with another execution.
        if let Some((from, datagram)) = self.last.take() {
            self.rig.arrive(from, datagram);
            self.handle();
            self.clients.repeated += 1;
        }
        let round = self.clients.asked / u64::from(HONEST);
        for n in 0..HONEST {
            let datagram = request(Type::Confirmable, Code::POST, round as u16);
            self.rig.sent.clear();
            self.rig.arrive(honest(n), datagram.clone());
            self.handle();
            let reply = self.rig.sent.pop_back();
            self.clients.asked += 1;
            let is_reply = |(to, bytes): &(Peer, Bytes)| *to == honest(n) && bytes.ends_with(&self.rig.body);
            self.clients.answered += u64::from(reply.as_ref().is_some_and(is_reply));
            if u64::from(n) == round % u64::from(HONEST) {
                self.last = Some((honest(n), datagram));
            }
        }
        self.rig.sent.clear();
        self.most = self.most.max(live().saturating_sub(self.empty));
        // Message IDs of honest clients come round after more than their lifetime.
        if round.is_multiple_of(60_000) {
            self.clients.executed.clear();
        }
    }

    fn report(mut self, what: &str) {
        let stats = self.rig.endpoint.stats();
        self.clients.executed.clear();
        self.rig.comes_to_rest();
        let kept = live().saturating_sub(self.empty);
        let Clients { asked, answered, repeated, twice, .. } = self.clients;
        println!(
            "{what}: {} hostile datagrams, {:.2} µs each",
            self.hostile,
            self.busy.as_secs_f64() * 1e6 / self.hostile as f64
        );
        println!("  honest: {asked} asked, {answered} answered, {repeated} repeated, {twice} executed twice");
        println!("  memory: {} bytes at most, {kept} kept", self.most);
        println!(
            "  {} forgotten early, {} peers evicted, {} refused for want of memory, {} replies forgotten, {} duplicates",
            stats.forgotten_early, stats.peers_evicted, stats.refused_memory, stats.replies_forgotten, stats.duplicates
        );
        assert!(answered * 1_000 >= asked * 999, "{what}: {answered} of {asked}");
        assert_eq!(twice, 0, "{what}");
        assert!(self.most <= CEILING && kept <= 256 << 10, "{what}: {} {kept}", self.most);
    }
}

#[test]
fn r21_one_peer_with_all_message_ids() {
    let _alone = alone();
    let datagrams = count(66_000);
    let mut siege = Siege::new(Config::default());
    for n in 0..datagrams {
        siege.hostile(peer(1), request(Type::Confirmable, Code::POST, n as u16));
        if n.is_multiple_of(1_000) {
            siege.tenth();
        }
    }
    let stats = siege.rig.endpoint.stats();
    assert!(stats.forgotten_early >= datagrams - 16_384 - 1_000, "{stats:?}");
    assert!(siege.rig.endpoint.usage().remembered <= 16_384 + siege.clients.asked as usize);
    siege.report("R-21, one peer, all Message IDs");
    repeat_with("r21_one", 10_000_000);
}

#[test]
fn r21_very_many_peers_with_ten_message_ids_each() {
    let _alone = alone();
    let peers = count(9_000) as u32;
    // Between a request and its repetition there are more strangers than there is room for peers. All that honest clients send
    // in a lifetime has room: 25,000 requests.
    let mut siege = Siege::new(Config::builder().max_peers(64).max_remembered(32_768).build().unwrap());
    for n in 0..peers {
        for id in 0..10 {
            siege.hostile(peer(n), request(Type::Confirmable, Code::POST, id));
        }
        if n.is_multiple_of(100) {
            siege.tenth();
        }
    }
    let stats = siege.rig.endpoint.stats();
    assert!(stats.peers_evicted >= u64::from(peers - 64) && stats.forgotten_early > 0, "{stats:?}");
    siege.report("R-21, ten Message IDs of each of very many peers");
    repeat_with("r21_very", 1_000_000);
}

/// Responses to nobody, with tokens drawn at random, at a client that has something open with ten honest servers.
#[test]
fn r23_responses_that_nobody_asked_for() {
    let _alone = alone();
    let datagrams = count(100_000);
    let mut rng = ChaCha8Rng::seed_from_u64(coap_sim::seed_from_env(1));
    let mut rig = Rig::new(Config::default());
    let (empty, start) = (live(), rig.now);
    let (mut asked, mut answered, mut busy, mut resets, mut most) = (0, 0, Duration::ZERO, 0, 0);
    let mut open: Vec<(Peer, Message)> = Vec::new();
    for n in 0..datagrams {
        rig.now += Duration::from_micros(100);
        if n.is_multiple_of(1_000) {
            // A tenth of a second later the servers answer, and are asked again.
            for (to, message) in open.drain(..) {
                rig.arrive(to, answer(Type::Acknowledgement, message.message_id, &message));
            }
            rig.flush();
            answered += core::iter::from_fn(|| rig.endpoint.poll_event())
                .filter(|event| matches!(event, Event::Response { .. }))
                .count();
            rig.endpoint.handle_timeout(rig.now);
            for k in 0..HONEST {
                rig.ask(honest(k)).unwrap();
                asked += 1;
                open.push(rig.next_sent());
            }
            most = most.max(live().saturating_sub(empty));
        }
        let kind = [Type::Confirmable, Type::NonConfirmable, Type::Acknowledgement][rng.next_u32() as usize % 3];
        let token = rng.next_u64().to_le_bytes();
        let message = Message {
            kind,
            code: Code::CONTENT,
            message_id: rng.next_u32() as u16,
            token: Token::new(&token[..rng.next_u32() as usize % 9]).unwrap(),
            options: Options::new(),
            payload: Bytes::from_static(b"forged"),
        };
        // Half of them in the name of a server that is waited for.
        let from =
            if rng.next_u32().is_multiple_of(2) { honest(rng.next_u32() % HONEST) } else { peer(rng.next_u32()) };
        let datagram = encode(&message);
        let clock = Clock::now();
        rig.arrive(from, datagram);
        rig.send();
        busy += clock.elapsed();
        for (to, bytes) in core::mem::take(&mut rig.sent) {
            let sent = Message::decode(bytes).unwrap();
            assert_eq!((sent.kind, sent.message_id, to), (Type::Reset, message.message_id, from));
            assert_eq!(kind, Type::Confirmable);
            resets += 1;
        }
        assert!(rig.endpoint.poll_event().is_none());
    }
    let (stats, seconds) = (rig.endpoint.stats(), (rig.now - start).as_secs());
    rig.comes_to_rest();
    let kept = live().saturating_sub(empty);
    println!("R-23: {datagrams} forged responses, {:.2} µs each", busy.as_secs_f64() * 1e6 / datagrams as f64);
    println!(
        "  honest: {asked} asked, {answered} answered; {resets} Resets in {seconds} s, {} withheld",
        stats.resets_suppressed
    );
    println!("  memory: {most} bytes at most, {kept} kept");
    assert_eq!(answered + HONEST as usize, asked);
    assert!(resets <= 1_000 * (seconds + 2) && stats.resets_suppressed > 0, "{resets}");
    assert!(most <= 1 << 20 && kept <= 256 << 10);
    repeat_with("r23_responses", 10_000_000);
}

#[test]
fn r23_very_many_answers_to_one_multicast_request() {
    let _alone = alone();
    let answers = count(100_000) as u32;
    let mut rig = Rig::new(Config::default());
    let empty = live();
    let group = Peer::from("224.0.1.187:5683".parse::<SocketAddr>().unwrap());
    let how = RequestOptions::new().non_confirmable();
    rig.endpoint.request(rig.now, group, Request::get(), &how).unwrap();
    let (_, asked) = rig.next_sent();
    let (mut busy, mut told) = (Duration::ZERO, 0);
    for n in 0..answers {
        let datagram = answer(Type::NonConfirmable, n as u16, &asked);
        let clock = Clock::now();
        rig.arrive(peer(n), datagram);
        busy += clock.elapsed();
        // The application is slower than the group.
        if n.is_multiple_of(1_000) {
            told += core::iter::from_fn(|| rig.endpoint.poll_event()).count();
        }
    }
    let (most, dropped) = (live() - empty, rig.endpoint.stats().group_responses_dropped);
    assert!(rig.is_served(honest(1), 1));
    rig.comes_to_rest();
    let kept = live().saturating_sub(empty);
    println!("R-23: {answers} answers of a group, {:.2} µs each", busy.as_secs_f64() * 1e6 / f64::from(answers));
    println!("  {told} told, {dropped} dropped; memory: {most} bytes at most, {kept} kept");
    assert!(dropped + told as u64 + 64 >= u64::from(answers) && told <= 64 * (answers as usize / 1_000 + 1));
    // The Message ID of each member's response is remembered, so that it is told once, within the bounds of those tables.
    assert!(most <= CEILING && kept <= 64 << 10, "{most} {kept}");
    repeat_with("r23_very", 10_000_000);
}
