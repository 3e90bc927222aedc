//! Who observes: one entry for each peer and token (RFC 7641 §4.1), which is at the same time its message in flight. What it is
//! sent is put together from the state of its topic when it leaves, and again for each copy.
//!
//! ```text
//!   registered ─► Queued ─(a new state, and its peer's turn)─► InFlight ─(ACK)─► Paused ─(min_interval)─► Queued
//!                   │                                      └─► Pacing ──(RTT or 3 s)──┘
//!                   └─(another notification to the same peer is outstanding)─► Blocked ─► Granted ─► InFlight, Pacing
//! ```

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use hashbrown::HashTable;

use super::topics::{TopicId, TopicKey, Topics};
use crate::addr::Local;
use crate::event::Closed;
use crate::hash::KeyedHash;
use crate::links::{Link, List};
use crate::peers::PeerKey;
use crate::reliability::Backoff;
use crate::slab::{Key, Slab};
use crate::time::Instant;
use crate::wire::Token;

pub(crate) type ObserverKey = Key<Observer>;

/// A peer that observes a topic. Stale when it does not any more; a stale one names nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObserverId(pub(crate) Key<Observer>);

impl fmt::Debug for ObserverId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObserverId({:?})", self.0)
    }
}

/// How many notifications to an observer can be rejected: a Reset for a Non-confirmable one takes a round trip, and where
/// the state changes all the time the next has left by then, and in a network that has become slower some more.
const REJECTABLE: usize = 4;

/// No Message ID: those from 0xF000 on are for groups. An `Option` would make each entry 8 bytes longer.
const NONE: u16 = u16::MAX;

/// One entry. There can be hundreds of thousands: what is not needed between notifications is not in here.
pub(crate) struct Observer {
    /// The record of the peer, which it holds.
    pub(crate) peer: PeerKey,
    pub(crate) topic: TopicKey,
    pub(crate) source: Source,
    /// Which request registered it, as the requests for further blocks will have it: half of its hash, because it need only
    /// be told from the others of the same peer.
    pub(crate) operation: u64,
    pub(crate) token: Token,
    /// The largest block that it takes.
    pub(crate) szx: u8,
    /// Of the last notifications, the newest first; what is in the index is known by them.
    message_ids: [u16; REJECTABLE],
    /// Which state it was told last.
    pub(crate) version: u32,
    /// It has been told it from its topic. What a registration is answered with is the application's, and the topic may not
    /// have been told of it.
    pub(crate) is_told: bool,
    /// The Observe number that it was told last; its lower 24 bits are sent.
    pub(crate) number: u32,
    pub(crate) last_sent: Instant,
    /// When it was last sent a Confirmable message, in seconds.
    pub(crate) last_confirmable: u32,
    /// Non-confirmable notifications since then.
    pub(crate) unconfirmed: u32,
    pub(crate) stage: Stage,
    queue: Link,
    of_peer: Link,
}

/// What an observer waits for.
#[derive(Clone, Copy)]
pub(crate) enum Stage {
    /// A new state, or its turn to be told of it: among those of its topic that know the latest, or that do not.
    Queued,
    /// Its turn in its topic; the turn of its peer it has (NSTART).
    Granted,
    /// The turn of its peer (RFC 7641 §4.5.1).
    Blocked,
    /// The acknowledgement of a notification. The turn of its peer is its own.
    InFlight(Backoff),
    /// The end of the time that a Non-confirmable notification counts as outstanding (RFC 7641 §4.5.1). So too.
    Pacing,
    /// A time before which it must not be told anything. Where the topic has ended, it waits for nothing.
    Paused,
    /// That the application is told of its end.
    Lost(Closed, TopicId),
}

impl Observer {
    /// The turn of its peer is its own.
    pub(crate) const fn has_turn(&self) -> bool {
        matches!(self.stage, Stage::Granted | Stage::InFlight(_) | Stage::Pacing)
    }

    /// That of the last notification.
    pub(crate) const fn message_id(&self) -> Option<u16> {
        let [newest, ..] = self.message_ids;
        if newest == NONE { None } else { Some(newest) }
    }

    /// Whether this is the Observe number that it was told last.
    pub(crate) const fn was_told(&self, number: u32) -> bool {
        self.number & 0xff_ffff == number
    }

    pub(crate) const fn is_linked(&self) -> bool {
        self.queue.is_linked()
    }

    /// The next Observe number, in units of 1,024 µs: RFC 7641 §4.4 wants it larger each time, and less than 2²³ ahead of
    /// that of 256 s before. From the clock, because it is still larger when a client comes back whose entry was removed.
    pub(crate) const fn next_number(last: u32, now: Instant) -> u32 {
        let clock = Self::number_at(now);
        if clock.wrapping_sub(last) as i32 > 0 { clock } else { last.wrapping_add(1) }
    }

    pub(crate) const fn number_at(now: Instant) -> u32 {
        (now.as_micros() >> 10) as u32
    }
}

/// Where its datagrams leave from: a [`Local`] without the group, which is never left from.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    ip: Option<IpAddr>,
    interface: u32,
    socket: u16,
}

impl From<Local> for Source {
    fn from(local: Local) -> Self {
        Self { ip: local.ip, interface: local.interface, socket: local.socket }
    }
}

impl From<Source> for Local {
    fn from(source: Source) -> Self {
        Self { socket: source.socket, ip: source.ip, interface: source.interface, group: None }
    }
}

/// What a registration asks for, kept until it is answered.
#[derive(Clone, Copy)]
pub(crate) struct Registration {
    pub(crate) operation: u64,
    /// The largest block that is wanted.
    pub(crate) szx: u8,
}

/// What a new entry is made of.
pub(crate) struct NewObserver {
    pub(crate) peer: PeerKey,
    pub(crate) topic: TopicKey,
    pub(crate) source: Source,
    pub(crate) token: Token,
    pub(crate) registration: Registration,
    pub(crate) version: u32,
    pub(crate) number: u32,
}

/// The observers of one peer, in its record.
#[derive(Clone, Copy)]
pub(crate) struct OfPeer {
    pub(crate) all: List,
    /// Those that wait for the turn of the peer.
    pub(crate) blocked: List,
    /// Notifications outstanding, and turns given: at most NSTART (RFC 7641 §4.5.1).
    pub(crate) outstanding: u16,
    /// To it and back, smoothed, in microseconds; 0: never measured.
    round_trip: u32,
}

impl OfPeer {
    pub(crate) const fn new() -> Self {
        Self { all: List::new(), blocked: List::new(), outstanding: 0, round_trip: 0 }
    }

    /// How long a Non-confirmable notification counts as outstanding: RFC 7641 §4.5.1.
    pub(crate) const fn pace(&self) -> Duration {
        match self.round_trip {
            0 => Duration::from_secs(3),
            micros => Duration::from_micros(micros as u64),
        }
    }

    /// A notification that was sent once was acknowledged after `sample`.
    pub(crate) fn measured(&mut self, sample: Duration) {
        let sample = u32::try_from(sample.as_micros()).unwrap_or(u32::MAX).max(1);
        // RFC 6298 §2.3: an eighth of each new sample.
        self.round_trip = match self.round_trip {
            0 => sample,
            before => before - before / 8 + sample / 8,
        };
    }
}

/// In the list that says what it waits for.
pub(crate) fn queue(observer: &mut Observer) -> &mut Link {
    &mut observer.queue
}

fn of_peer(observer: &mut Observer) -> &mut Link {
    &mut observer.of_peer
}

/// A notification that can be rejected.
struct Sent {
    to: u32,
    message_id: u16,
}

/// All observers, found by peer and token, and by peer and the Message IDs of their last notifications.
pub(crate) struct Observers {
    slab: Slab<Observer>,
    by_token: HashTable<u32>,
    by_message: HashTable<Sent>,
    /// Those whose end is to be told.
    lost: List,
    in_flight: usize,
    hash: KeyedHash,
}

impl Observers {
    pub(crate) const fn new(hash: KeyedHash) -> Self {
        Self {
            slab: Slab::new(),
            by_token: HashTable::new(),
            by_message: HashTable::new(),
            lost: List::new(),
            in_flight: 0,
            hash,
        }
    }

    /// How many entries there are, those whose end is to be told included.
    pub(crate) const fn len(&self) -> usize {
        self.slab.len()
    }

    /// How many Confirmable notifications are not acknowledged.
    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn get(&self, key: ObserverKey) -> Option<&Observer> {
        self.slab.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: ObserverKey) -> Option<&mut Observer> {
        self.slab.get_mut(key)
    }

    pub(crate) fn key_at(&self, index: u32) -> Option<ObserverKey> {
        self.slab.key_at(index)
    }

    pub(crate) const fn slab_mut(&mut self) -> &mut Slab<Observer> {
        &mut self.slab
    }

    pub(crate) fn find(&self, peer: PeerKey, token: &Token) -> Option<ObserverKey> {
        let index = self.by_token.find(token_hash(&self.hash, peer, token), |index| {
            self.slab.at(*index).is_some_and(|observer| observer.peer == peer && observer.token == *token)
        })?;
        self.slab.key_at(*index)
    }

    /// Whom a notification with this Message ID was sent to.
    pub(crate) fn find_message(&self, peer: PeerKey, message_id: u16) -> Option<ObserverKey> {
        let sent = self.by_message.find(self.hash.pair(peer.index(), message_id), |sent| {
            sent.message_id == message_id && self.slab.at(sent.to).is_some_and(|observer| observer.peer == peer)
        })?;
        self.slab.key_at(sent.to)
    }

    /// Whether a Message ID can be used anew: not while its acknowledgement is awaited. Otherwise it has not been used for so
    /// long that the old notification is not rejected any more, and is forgotten.
    pub(crate) fn frees_message(&mut self, peer: PeerKey, message_id: u16) -> bool {
        let Some(key) = self.find_message(peer, message_id) else { return true };
        let Some(observer) = self.slab.get_mut(key) else { return true };
        if matches!(observer.stage, Stage::InFlight(_)) && observer.message_id() == Some(message_id) {
            return false;
        }
        for old in observer.message_ids.iter_mut().filter(|old| **old == message_id) {
            *old = NONE;
        }
        self.drop_message(key, peer, message_id);
        true
    }

    /// The observers of a peer, oldest first.
    pub(crate) fn of_peer(&self, of: &OfPeer) -> impl Iterator<Item = ObserverKey> + '_ {
        let mut next = of.all.front();
        core::iter::from_fn(move || {
            let index = next?;
            next = self.slab.at(index)?.of_peer.next();
            self.slab.key_at(index)
        })
    }

    /// Adds an entry: in no list but that of its peer.
    pub(crate) fn insert(&mut self, now: Instant, of: &mut OfPeer, new: NewObserver) -> ObserverKey {
        let NewObserver { peer, topic, source, token, registration, version, number } = new;
        let hash = token_hash(&self.hash, peer, &token);
        let key = self.slab.insert(Observer {
            peer,
            topic,
            source,
            operation: registration.operation,
            token,
            szx: registration.szx,
            message_ids: [NONE; REJECTABLE],
            version,
            is_told: false,
            number,
            last_sent: now,
            last_confirmable: seconds(now),
            unconfirmed: 0,
            stage: Stage::Paused,
            queue: Link::new(),
            of_peer: Link::new(),
        });
        of.all.push_back(&mut self.slab, key.index(), of_peer);
        let Self { slab, by_token, hash: keyed, .. } = self;
        by_token.insert_unique(hash, key.index(), |index| {
            slab.at(*index).map_or(0, |observer| token_hash(keyed, observer.peer, &observer.token))
        });
        key
    }

    /// A notification leaves with this Message ID. The oldest one is forgotten.
    pub(crate) fn add_message(&mut self, key: ObserverKey, message_id: u16) {
        let Some(observer) = self.slab.get_mut(key) else { return };
        let peer = observer.peer;
        observer.message_ids.rotate_right(1);
        let [newest, ..] = &mut observer.message_ids;
        let oldest = core::mem::replace(newest, message_id);
        self.drop_message(key, peer, oldest);
        let Self { slab, by_message, hash, .. } = self;
        let sent = Sent { to: key.index(), message_id };
        by_message.insert_unique(hash.pair(peer.index(), message_id), sent, |sent| {
            slab.at(sent.to).map_or(0, |observer| hash.pair(observer.peer.index(), sent.message_id))
        });
    }

    /// No notification before now can be rejected any more.
    pub(crate) fn forget_messages(&mut self, key: ObserverKey) {
        let Some(observer) = self.slab.get_mut(key) else { return };
        let (peer, before) = (observer.peer, core::mem::replace(&mut observer.message_ids, [NONE; REJECTABLE]));
        for message_id in before {
            self.drop_message(key, peer, message_id);
        }
    }

    fn drop_message(&mut self, key: ObserverKey, peer: PeerKey, message_id: u16) {
        if message_id == NONE {
            return;
        }
        let is = |sent: &Sent| sent.to == key.index() && sent.message_id == message_id;
        if let Ok(entry) = self.by_message.find_entry(self.hash.pair(peer.index(), message_id), is) {
            entry.remove();
        }
    }

    /// Moves an observer to another stage. It keeps its place in a list.
    pub(crate) fn set_stage(&mut self, key: ObserverKey, stage: Stage) {
        let Some(observer) = self.slab.get_mut(key) else { return };
        self.in_flight -= usize::from(matches!(observer.stage, Stage::InFlight(_)));
        self.in_flight += usize::from(matches!(stage, Stage::InFlight(_)));
        observer.stage = stage;
    }

    /// Puts an observer in the list that says whether it knows the latest state.
    pub(crate) fn enqueue(&mut self, topics: &mut Topics, key: ObserverKey, stage: Stage) {
        self.set_stage(key, stage);
        let Some(observer) = self.slab.get(key) else { return };
        let (topic_key, version) = (observer.topic, observer.version);
        let Some(topic) = topics.get_mut(topic_key) else { return };
        let list = if version == topic.version { &mut topic.current } else { &mut topic.waiting };
        list.push_back(&mut self.slab, key.index(), queue);
        topics.enlist(topic_key);
    }

    /// Puts an observer among those of its topic that must not be told anything yet. One of a topic that has ended is in
    /// no list.
    pub(crate) fn pause(&mut self, topics: &mut Topics, key: ObserverKey) {
        self.set_stage(key, Stage::Paused);
        let topic = self.slab.get(key).and_then(|observer| topics.get_mut(observer.topic));
        if let Some(topic) = topic.filter(|topic| !topic.is_over()) {
            topic.paused.push_back(&mut self.slab, key.index(), queue);
        }
    }

    /// Takes an observer out of the list that says what it waits for.
    pub(crate) fn unlink(&mut self, topics: &mut Topics, of: &mut OfPeer, key: ObserverKey) {
        let Some(observer) = self.slab.get(key).filter(|observer| observer.is_linked()) else { return };
        let (topic_key, index) = (observer.topic, key.index());
        let Some(topic) = topics.get_mut(topic_key) else { return };
        let list = match observer.stage {
            Stage::Blocked => &mut of.blocked,
            Stage::Paused if !topic.is_over() => &mut topic.paused,
            _ if observer.version == topic.version => &mut topic.current,
            _ => &mut topic.waiting,
        };
        list.remove(&mut self.slab, index, queue);
        topics.tidy(topic_key);
    }

    /// Takes an entry out of the indices and the list of its peer. It is in no other list any more.
    pub(crate) fn unregister(&mut self, of: &mut OfPeer, key: ObserverKey) {
        self.forget_messages(key);
        let Some(observer) = self.slab.get(key) else { return };
        let hash = token_hash(&self.hash, observer.peer, &observer.token);
        of.all.remove(&mut self.slab, key.index(), of_peer);
        if let Ok(entry) = self.by_token.find_entry(hash, |index| *index == key.index()) {
            entry.remove();
        }
    }

    pub(crate) fn discard(&mut self, key: ObserverKey) {
        self.slab.discard(key);
        if self.slab.len() == 0 && self.by_token.capacity() > 256 {
            self.by_token = HashTable::new();
            self.by_message = HashTable::new();
        }
    }

    /// The application is to be told of the end of an entry, which is registered nowhere any more.
    pub(crate) fn tell(&mut self, key: ObserverKey, why: Closed, topic: TopicId) {
        self.set_stage(key, Stage::Lost(why, topic));
        self.lost.push_back(&mut self.slab, key.index(), queue);
    }

    /// Whether the application has to be told of an observer's end.
    #[inline]
    pub(crate) fn has_lost(&self) -> bool {
        self.lost.front().is_some()
    }

    /// The next end to be told. The entry is gone with it.
    pub(crate) fn poll_lost(&mut self) -> Option<(ObserverKey, Closed, TopicId)> {
        let index = self.lost.pop_front(&mut self.slab, queue)?;
        let key = self.slab.key_at(index)?;
        let Stage::Lost(why, topic) = self.slab.get(key)?.stage else { return None };
        self.discard(key);
        Some((key, why, topic))
    }
}

/// In whole seconds: 136 years of them.
pub(crate) const fn seconds(at: Instant) -> u32 {
    (at.as_micros() / 1_000_000) as u32
}

fn token_hash(hash: &KeyedHash, peer: PeerKey, token: &Token) -> u64 {
    let mut bytes = [0; 16];
    let (start, rest) = bytes.split_at_mut(Token::MAX_LEN);
    match start.get_mut(..token.len()) {
        Some(start) => start.copy_from_slice(token.as_bytes()),
        None => start.copy_from_slice(&hash.bytes(token.as_bytes()).to_le_bytes()),
    }
    rest[..4].copy_from_slice(&peer.index().to_le_bytes());
    rest[4] = token.len().min(Token::MAX_LEN + 1) as u8;
    hash.bytes(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Observer>() <= 160, "{}", size_of::<Observer>());
    }

    #[test]
    fn observe_numbers_grow_with_the_clock_and_without_it() {
        let now = Instant::from_secs(1_000);
        let first = Observer::number_at(now);
        let second = Observer::next_number(first, now);
        assert_eq!(second, first + 1);
        assert_eq!(
            Observer::next_number(second, Instant::from_secs(1_001)),
            Observer::number_at(Instant::from_secs(1_001))
        );
        // A clock that has wrapped is ahead.
        assert_eq!(Observer::next_number(u32::MAX, Instant::from_micros(5 << 42 | 7 << 10)), 7);
        // RFC 7641 §4.4: less than 2^23 in 256 s.
        assert!(Observer::number_at(Instant::from_secs(256)) < 1 << 23);
    }
}
