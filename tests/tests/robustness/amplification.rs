//! what an address is sent that somebody else named as his own, against what came from it (RFC 9175 §2.4).

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;
use coap_core::{Block, Code, Config, Local, Message, OptionNumber, Options, Peer, Token, Type, UnprovenLimit};
use coap_sim::plugtest::{Plugtest, PlugtestServer};
use coap_sim::{App, Cause, Watch};

use crate::rig::{Rig, encode, peer};
use crate::{count, repeat_with};

/// RFC 9175 §2.4: the headers of Ethernet, IPv6 and UDP.
const HEADERS: usize = 62;

/// What somebody sends in the name of a victim, once or several times.
type Kind = (&'static str, fn(&str, u16) -> Vec<Bytes>);

fn ask(kind: Type, code: Code, path: &str, message_id: u16) -> Message {
    let mut options = Options::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        options.push_uri_path(segment).unwrap();
    }
    let token = Token::new(&message_id.to_be_bytes()[..1]).unwrap();
    Message { kind, code, message_id, token, options, payload: Bytes::new() }
}

fn get(path: &str, message_id: u16, change: impl FnOnce(&mut Message)) -> Bytes {
    let mut message = ask(Type::Confirmable, Code::GET, path, message_id);
    change(&mut message);
    encode(&message)
}

fn block2(path: &str, message_id: u16, num: u32, szx: u8) -> Bytes {
    get(path, message_id, |message| message.options.set_block2(Block::new(num, false, szx).unwrap()))
}

fn upload(path: &str, message_id: u16, code: Code, num: u32, more: bool) -> Bytes {
    let mut message = ask(Type::Confirmable, code, path, message_id);
    message.options.set_block1(Block::new(num, more, 2).unwrap());
    message.payload = Bytes::from_static(&[b'x'; 64]);
    encode(&message)
}

const KINDS: [Kind; 22] = [
    ("GET", |path, id| vec![get(path, id, |_| {})]),
    ("NON GET", |path, id| vec![get(path, id, |message| message.kind = Type::NonConfirmable)]),
    ("GET without a token", |path, id| vec![get(path, id, |message| message.token = Token::EMPTY)]),
    ("Block2 of 1024 bytes", |path, id| vec![block2(path, id, 0, 6)]),
    ("the second such block", |path, id| vec![block2(path, id, 1, 6)]),
    ("block after block of 64 bytes", |path, id| (0..30).map(|n| block2(path, id + n, n.into(), 2)).collect()),
    ("Observe", |path, id| vec![get(path, id, |message| message.options.set_observe(0))]),
    ("NON Observe", |path, id| {
        vec![get(path, id, |message| {
            message.kind = Type::NonConfirmable;
            message.options.set_observe(0);
        })]
    }),
    ("Observe again and again", |path, id| {
        (0..10).map(|n| get(path, id + n, |message| message.options.set_observe(0))).collect()
    }),
    ("POST", |path, id| vec![encode(&ask(Type::Confirmable, Code::POST, path, id))]),
    ("PUT", |path, id| vec![encode(&ask(Type::Confirmable, Code::PUT, path, id))]),
    ("DELETE", |path, id| vec![encode(&ask(Type::Confirmable, Code::DELETE, path, id))]),
    ("POST in blocks", |path, id| (0..8).map(|n| upload(path, id + n, Code::POST, n.into(), n < 7)).collect()),
    ("PUT of a block out of turn", |path, id| vec![upload(path, id, Code::PUT, 9, true)]),
    ("an option that is not understood", |path, id| {
        vec![get(path, id, |message| message.options.push_raw(OptionNumber::new(65_001), &[]).unwrap())]
    }),
    ("a format that is not there", |path, id| {
        vec![get(path, id, |message| message.options.push_uint(OptionNumber::ACCEPT, 65_000).unwrap())]
    }),
    ("an Echo value that is made up", |path, id| {
        vec![get(path, id, |message| message.options.set_echo(b"0123456789abcdef").unwrap())]
    }),
    ("the same GET ten times", |path, id| vec![get(path, id, |_| {}); 10]),
    ("ten GETs at once", |path, id| (0..10).map(|n| get(path, id + n, |_| {})).collect()),
    ("a ping", |_, id| vec![encode(&Message::empty(Type::Confirmable, id))]),
    ("a malformed message", |_, id| vec![Bytes::copy_from_slice(&[&[0x4f, 1], &id.to_be_bytes()[..]].concat())]),
    ("a separate response to nothing", |path, id| vec![encode(&ask(Type::Confirmable, Code::CONTENT, path, id))]),
];

/// What a victim has been sent, and what the attacker has for it.
#[derive(Default)]
struct Victim {
    kind: &'static str,
    path: &'static str,
    received: usize,
    sent: usize,
    longest: usize,
}

struct Reflector {
    rig: Rig,
    app: PlugtestServer,
    watch: Watch,
    victims: BTreeMap<Peer, Victim>,
}

impl Reflector {
    fn new(limit: UnprovenLimit) -> Self {
        let config = Config::builder().unproven_limit(limit).build().unwrap();
        let watch = Watch::new("the reflector", coap_sim::seed_from_env(1), &config);
        Self { rig: Rig::new(config), app: PlugtestServer::new(), watch, victims: BTreeMap::new() }
    }

    fn arrive(&mut self, from: Peer, multicast: bool, payload: &Bytes) {
        let group = multicast.then(|| "ff02::fd".parse().unwrap());
        self.rig.arrive_at(from, Local::arrived(0, group, 1), payload.clone());
        self.victims.get_mut(&from).unwrap().received += HEADERS + payload.len();
        self.collect(&Cause::Datagram { from, multicast, payload });
    }

    fn collect(&mut self, cause: &Cause<'_>) {
        let mut cause = cause;
        loop {
            let mut buf = vec![0; self.rig.endpoint.config().max_datagram()];
            let mut sent = Vec::new();
            while let Some(transmit) = self.rig.endpoint.poll_transmit(&mut buf) {
                sent.push((transmit, Bytes::copy_from_slice(&buf[..transmit.len])));
            }
            let events: Vec<_> = core::iter::from_fn(|| self.rig.endpoint.poll_event()).collect();
            self.watch.check(self.rig.now, cause, &sent, &events, &self.rig.endpoint);
            for (transmit, bytes) in sent {
                let victim = self.victims.get_mut(&transmit.to).unwrap();
                victim.sent += HEADERS + bytes.len();
                victim.longest = victim.longest.max(bytes.len());
            }
            if events.is_empty() {
                return;
            }
            events.into_iter().for_each(|event| self.app.on_event(&mut self.rig.endpoint, self.rig.now, event));
            cause = &Cause::Command;
        }
    }

    fn pass(&mut self, span: Duration) {
        let until = self.rig.now + span;
        loop {
            let due = self.rig.endpoint.poll_timeout().into_iter().chain(self.app.next_time()).min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.rig.now = self.rig.now.max(due);
            self.rig.endpoint.handle_timeout(self.rig.now);
            self.collect(&Cause::Timer);
            self.app.on_time(&mut self.rig.endpoint, self.rig.now);
            self.collect(&Cause::Command);
        }
        self.rig.now = until;
    }

    /// The worst of all: bytes sent for one received, and the longest datagram.
    fn worst(&self) -> ((f64, &Victim), (usize, &Victim)) {
        let factor = |victim: &Victim| victim.sent as f64 / victim.received as f64;
        let by_factor = self.victims.values().max_by(|a, b| factor(a).total_cmp(&factor(b))).unwrap();
        let by_length = self.victims.values().max_by_key(|victim| victim.longest).unwrap();
        ((factor(by_factor), by_factor), (by_length.longest, by_length))
    }
}

/// Each resource in each kind, from a new address each, until there have been as many addresses.
fn attack(limit: UnprovenLimit, addresses: u64) -> Reflector {
    let mut reflector = Reflector::new(limit);
    let all = || Plugtest::paths().flat_map(|path| KINDS.iter().map(move |kind| (path, kind)));
    for (n, (path, (name, make))) in (0..addresses).zip(core::iter::repeat_with(all).flatten()) {
        let victim = peer(n as u32);
        reflector.victims.insert(victim, Victim { kind: name, path, ..Victim::default() });
        let id = (n % 60_000) as u16;
        for datagram in make(path, id) {
            reflector.arrive(victim, false, &datagram);
            reflector.pass(Duration::from_millis(1));
        }
        // A group is asked Non-confirmably.
        let group = peer(20_000_000 + n as u32);
        reflector.victims.insert(group, Victim { kind: "to a group", path, ..Victim::default() });
        reflector.arrive(group, true, &get(path, id, |message| message.kind = Type::NonConfirmable));
        if n % 100 == 99 {
            for path in ["/obs", "/obs-non", "/obs-large"] {
                let body = Bytes::from(format!("{n}").repeat(200));
                reflector.app.set(&mut reflector.rig.endpoint, reflector.rig.now, path, None, body);
                reflector.collect(&Cause::Command);
            }
            reflector.pass(Duration::from_secs(20));
        }
    }
    reflector.pass(Duration::from_secs(400));
    reflector
}

#[test]
fn r25_amplification_of_each_kind_at_each_resource() {
    let addresses = count(3_000);
    let reflector = attack(UnprovenLimit::All, addresses);
    let ((factor, worst), (longest, long)) = reflector.worst();
    let stats = reflector.rig.endpoint.stats();
    println!("R-25: {} kinds at {} resources, {addresses} addresses", KINDS.len(), Plugtest::paths().count());
    println!(
        "  {factor:.3} bytes for one at most: {} {}, {} for {}",
        worst.kind, worst.path, worst.sent, worst.received
    );
    println!("  the longest datagram has {longest} bytes: {} {}", long.kind, long.path);
    println!(
        "  {} shortened, {} challenged, {} withheld",
        stats.unproven_shortened, stats.unproven_challenged, stats.unproven_withheld
    );
    assert!(factor <= 3.0 && longest <= 136, "{factor} {longest}");
    assert!(stats.unproven_shortened > 0 && stats.unproven_withheld > 0);
    repeat_with("r25_amplification", 100_000);
}

/// The measure by itself: without a limit it finds much more.
#[test]
fn r25_without_a_limit_it_is_far_more() {
    let reflector = attack(UnprovenLimit::Off, 1_500);
    let ((factor, worst), (longest, _)) = reflector.worst();
    println!("R-25: without a limit {factor:.1} bytes for one ({} {}), {longest} at most", worst.kind, worst.path);
    assert!(factor > 10.0 && longest > 1_000);
}
