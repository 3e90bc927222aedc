//! What an endpoint costs in memory, as a formula, and whether it holds.
//!
//! `cargo test -p coap-sim --test bounds model -- --nocapture` prints the figures that docs/robustness.md names. They are
//! those of a machine of 64 bits.

use bytes::{Bytes, BytesMut};
use coap_core::{Code, Config, ContentFormat, Event, Message, Response, TopicOptions, Type};

use crate::memory::{alone, live};
use crate::rig::{BODY, Rig, encode, peer, request};

// A table grows by doubling: what it costs is a number of slots, which is that of its entries rounded up to a power of two.

/// A slot of the table of peers, and of what the pool of Message IDs knows of each.
const PEER: usize = 260;
/// A slot of the pool of Message IDs.
const REMEMBERED: usize = 82;
/// A slot of the table of requests sent, with its timer.
const REQUEST: usize = 310;
/// What an unsent one keeps beside its slot: the message.
const WAITING: usize = 104;
/// A slot of the messages in flight, with its timer.
const FLIGHT: usize = 278;
/// A slot of the table of requests received.
const INCOMING: usize = 397;
/// A slot of the table of bodies in blocks, beside the bytes of the body.
const TRANSFER: usize = 265;
/// A slot of the table of observers, with its timer.
const OBSERVER: usize = 176;
/// A slot of the queue of what is to be sent.
const OUTBOUND: usize = 87;
/// Replies are kept in chunks of this size, or in a 16th of what may be kept if that is less.
const CHUNK: usize = 16 << 10;

/// How many entries there are in each table.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    /// All of them have sent something.
    peers: usize,
    /// Requests received and answered, in turn from all peers.
    remembered: usize,
    /// Requests received and not answered.
    incoming: usize,
    /// Requests sent, each to another peer.
    in_flight: usize,
    /// Requests that wait behind the first of those.
    waiting: usize,
    /// Datagrams to be sent.
    outbound: usize,
}

const fn slots(entries: usize) -> usize {
    if entries == 0 { 0 } else { entries.next_power_of_two() }
}

impl Load {
    const fn model(&self) -> usize {
        // Token of two bytes, Content-Format, marker, body.
        let reply = 4 + 2 + 1 + 1 + BODY.len();
        slots(self.peers) * PEER
            + slots(self.remembered + self.incoming) * REMEMBERED
            + slots(self.incoming) * INCOMING
            + slots(self.in_flight + self.waiting) * REQUEST
            + self.waiting * WAITING
            + slots(self.in_flight) * FLIGHT
            + slots(self.outbound) * OUTBOUND
            + (self.remembered * reply).div_ceil(CHUNK) * CHUNK
    }

    /// Makes it so. What it costs beyond an empty endpoint.
    fn measure(&self) -> usize {
        let arena = self.arena();
        let config = Config::builder()
            .max_peers(self.peers)
            .max_remembered(4 * (self.remembered + self.incoming))
            .max_remembered_bytes(1 << 30)
            .max_requests(self.in_flight + self.waiting)
            .max_incoming(self.incoming + 1)
            .max_incoming_per_peer(self.incoming + 1)
            .max_backlog(usize::MAX)
            .max_outbox(usize::MAX)
            .max_resets_per_second(u32::MAX);
        let mut rig = Rig::new(config.build().unwrap());
        let empty = live();
        let mut datagrams = arena.iter().enumerate().map(|(n, datagram)| (peer((n % self.peers) as u32), datagram));
        for (from, datagram) in datagrams.by_ref().take(self.remembered) {
            rig.arrive(from, datagram.clone());
            rig.serve();
            rig.flush();
        }
        datagrams.for_each(|(from, datagram)| rig.arrive(from, datagram.clone()));
        for n in 0..self.in_flight + self.waiting {
            rig.ask(peer(if n < self.in_flight { n as u32 } else { 0 })).unwrap();
            rig.flush();
        }
        let ping = encode(&Message::empty(Type::Confirmable, 1));
        let shared = live();
        let ping = ping.slice(..);
        let shared = live() - shared;
        (0..self.outbound).for_each(|_| rig.arrive(peer(0), ping.clone()));
        let usage = rig.endpoint.usage();
        assert_eq!((usage.peers, usage.remembered), (self.peers, self.remembered + self.incoming));
        assert_eq!((usage.incoming, usage.in_flight), (self.incoming, self.in_flight));
        assert_eq!((usage.requests, rig.endpoint.stats().outbox_full), (self.in_flight + self.waiting, 0));
        live() - empty - ping.len() - shared
    }

    /// The datagrams, in memory that is not counted: it belongs to whoever receives them.
    fn arena(&self) -> Vec<Bytes> {
        let count = self.remembered + self.incoming;
        let datagram = |n: usize| request(Type::Confirmable, Code::GET, (n / self.peers) as u16);
        let mut all = BytesMut::new();
        (0..count).for_each(|n| all.extend_from_slice(&datagram(n)));
        let (all, len) = (all.freeze(), datagram(0).len());
        (0..count).map(|n| all.slice(n * len..(n + 1) * len)).collect()
    }
}

/// Within 2 %, or three bytes: the harness has threads of its own, which start and end meanwhile.
const fn is_near(measured: usize, written: usize) -> bool {
    let off = measured.abs_diff(written);
    off <= 3 || off * 50 <= written
}

/// Each figure by itself, from tables that are exactly full.
#[test]
fn model_figures_are_those_that_are_written_down() {
    let _alone = alone();
    let n = 8_192;
    // Peers alone would not be there: each has sent one message.
    let base = Load { peers: n, remembered: n, ..Load::default() };
    let both = base.measure();
    let beyond = |load: Load| load.measure() - both;
    let reply = 28;
    let remembered = beyond(Load { remembered: 2 * n, ..base }) / n - reply;
    let incoming = beyond(Load { remembered: 0, incoming: n, ..base }) / n + reply;
    let waiting = beyond(Load { in_flight: 1, waiting: n - 1, ..base });
    let fewer = beyond(Load { in_flight: 1, waiting: n / 16 * 15 - 1, ..base });
    let waits = (waiting - fewer) / (n / 16);
    let request = waiting / n - waits;
    let figures = [
        ("peer", PEER, both / n - reply - remembered),
        ("remembered Message ID", REMEMBERED, remembered),
        ("request received", INCOMING, incoming),
        ("request sent", REQUEST, request),
        ("waiting", WAITING, waits),
        ("in flight", FLIGHT, beyond(Load { in_flight: n, ..base }) / n - request),
        ("to be sent", OUTBOUND, beyond(Load { outbound: n, ..base }) / n),
    ];
    println!("bytes a slot: as written down, and as measured");
    for (what, written, measured) in figures {
        println!("  {what:<22} {written:>4} {measured:>4}");
    }
    for (what, written, measured) in figures {
        assert!(is_near(measured, written), "{what}: {measured}, and not {written}");
    }
}

/// Bodies in blocks and observers, beside the peers and Message IDs that are there without them too.
#[test]
fn model_figures_of_transfers_and_observers_are_those_that_are_written_down() {
    let _alone = alone();
    let n = 8_192_u32;
    let config = Config::builder()
        .max_transfers(n as usize)
        .max_observers(n as usize)
        .max_transfer_bytes(1 << 30)
        .max_remembered_bytes(1 << 30);
    let config = config.build().unwrap();
    let datagram = |options: &dyn Fn(&mut coap_core::Options), payload: Bytes| {
        let mut message = Message::decode(request(Type::Confirmable, Code::GET, 1)).unwrap();
        options(&mut message.options);
        message.payload = payload;
        encode(&message)
    };
    let plain = datagram(&|_| {}, Bytes::new());
    let observe = datagram(&|options| options.set_observe(0), Bytes::new());
    let measure = |what: &dyn Fn(&mut Rig, u32)| {
        let mut rig = Rig::new(config.clone());
        let empty = live();
        (0..n).for_each(|n| what(&mut rig, n));
        let full = live() - empty;
        (full, rig)
    };
    let (base, _) = measure(&|rig, n| {
        rig.arrive(peer(n), plain.clone());
        rig.serve();
        rig.flush();
    });
    // The response is one block longer than a block: it is kept.
    let body = Bytes::from_static(&[b'x'; 1_040]);
    let first = 1_024 + 40;
    let (kept, rig) = measure(&|rig, n| {
        rig.arrive(peer(n), plain.clone());
        rig.body = body.clone();
        rig.serve();
        rig.flush();
    });
    assert_eq!((rig.endpoint.usage().transfers, rig.endpoint.usage().transfer_bytes), (n as usize, n as usize * 1_040));
    drop(rig);
    let mut rig = Rig::new(config);
    let topic = rig.endpoint.open_topic(TopicOptions::new());
    let empty = live();
    for n in 0..n {
        rig.arrive(peer(n), observe.clone());
        let Some(Event::Request(request)) = rig.endpoint.poll_event() else { panic!() };
        let first = Response::content(ContentFormat::TEXT_PLAIN, Bytes::from_static(BODY));
        rig.endpoint.accept_observer(rig.now, request.id, topic, first).unwrap();
        rig.flush();
    }
    let observed = live() - empty;
    assert_eq!(rig.endpoint.usage().observers, n as usize);
    let of = |bytes: usize| bytes.saturating_sub(base) / n as usize;
    let figures = [("body in blocks", TRANSFER, of(kept) - first + 28), ("observer", OBSERVER, of(observed) - 4)];
    println!("bytes a slot: as written down, and as measured");
    for (what, written, measured) in figures {
        println!("  {what:<22} {written:>4} {measured:>4}");
    }
    for (what, written, measured) in figures {
        assert!(is_near(measured, written), "{what}: {measured}, and not {written}");
    }
    assert!(figures[1].2 <= 250, "{}", figures[1].2);
}

#[test]
fn model_holds_within_a_tenth() {
    let _alone = alone();
    let loads = [
        ("a server", Load { peers: 3_000, remembered: 40_000, incoming: 500, outbound: 700, ..Load::default() }),
        (
            "a client",
            Load {
                peers: 2_500,
                remembered: 2_500,
                in_flight: 2_000,
                waiting: 3_000,
                outbound: 300,
                ..Load::default()
            },
        ),
        (
            "a gateway",
            Load { peers: 10_000, remembered: 11_000, incoming: 900, in_flight: 5_000, waiting: 600, outbound: 4_000 },
        ),
    ];
    for (name, load) in loads {
        let (model, measured) = (load.model(), load.measure());
        let off = (measured as f64 / model as f64 - 1.0) * 100.0;
        println!("{name}: {load:?}");
        println!("  {model} bytes by the model, {measured} measured: {off:+.1} %");
        assert!(off.abs() <= 10.0, "{name}: {off:+.1} %");
    }
}

/// 120,000 peers allowed, 100,000 there, each of which has made one request and been answered with 20 bytes, and nothing
/// forgotten.
#[test]
fn model_a_hundred_thousand_peers_cost_600_bytes_each_at_most() {
    let _alone = alone();
    let config = Config::builder().max_peers(120_000).max_remembered(480_000).build().unwrap();
    let mut rig = Rig::new(config);
    let empty = live();
    for n in 0..100_000 {
        rig.arrive(peer(n), request(Type::Confirmable, Code::GET, n as u16));
        rig.serve();
        rig.flush();
    }
    let each = (live() - empty) as f64 / 100_000.0;
    println!("100,000 peers with a remembered reply of 28 bytes: {each:.1} bytes each");
    let stats = rig.endpoint.stats();
    assert_eq!((rig.endpoint.usage().peers, rig.endpoint.usage().remembered), (100_000, 100_000));
    assert_eq!((stats.forgotten_early, stats.replies_forgotten, stats.peers_evicted), (0, 0, 0));
    assert!(each <= 600.0, "{each}");
    rig.comes_to_rest();
    assert!(live() <= empty + (64 << 10), "{} bytes kept", live() - empty);
}
