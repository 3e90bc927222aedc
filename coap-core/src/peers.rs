//! Whom we know: one record for each peer, found by its address, kept while anything names it, and forgotten
//! EXCHANGE_LIFETIME after its last exchange, or earlier when the table is full.

use alloc::boxed::Box;
use core::time::Duration;

use hashbrown::HashTable;

use crate::addr::Peer;
use crate::hash::KeyedHash;
use crate::links::{Link, List};
use crate::observe::OfPeer;
use crate::reliability::MessageIds;
use crate::slab::{Key, Slab};
use crate::time::Instant;
use crate::transmission::TransmissionParameters;
use crate::wire::Type;

pub(crate) type PeerKey = Key<PeerRecord>;

/// What we know of one peer.
pub(crate) struct PeerRecord {
    pub(crate) peer: Peer,
    /// What is open with it: requests each way, messages in flight, settings. A peer that is held is not forgotten.
    holds: u32,
    /// Among the idle, where the one that was idle longest comes first.
    idle: Link,
    idle_since: Instant,
    proof: Proof,
    pub(crate) tokens: Tokens,
    pub(crate) message_ids: MessageIds,
    /// Confirmable messages in flight, for NSTART (RFC 7252 §4.7).
    pub(crate) in_flight: u32,
    /// Requests received from it and not yet answered.
    pub(crate) incoming: u32,
    /// Bodies that it sends or fetches block by block, the longest silent first.
    pub(crate) transfers: List,
    /// All requests to it that are open.
    pub(crate) requests: List,
    /// The Confirmable ones of them that wait for their turn.
    pub(crate) backlog: List,
    /// The Non-confirmable ones.
    pub(crate) paced: List,
    pub(crate) credit: Credit,
    /// What it observes here.
    pub(crate) observing: OfPeer,
    /// Parameters of its own.
    pub(crate) transmission: Option<Box<TransmissionParameters>>,
    path: PathState,
}

/// Whether anything can be sent to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathState {
    Up,
    /// Its session is being made: requests wait for that.
    Pending,
    /// Its session is over, and what belonged to it is being ended. Nobody finds the record any more.
    Closed,
}

impl PeerRecord {
    /// It has shown that it receives what is sent to its address. A session has shown it to whoever made it.
    pub(crate) fn is_proven(&self) -> bool {
        self.proof == Proof::Given || matches!(self.peer, Peer::Session(_))
    }

    /// Its session stands, or it needs none.
    #[inline]
    pub(crate) fn is_reachable(&self) -> bool {
        self.path == PathState::Up
    }

    /// Its session is being made.
    pub(crate) fn is_pending(&self) -> bool {
        self.path == PathState::Pending
    }

    /// Where requests of this type wait.
    pub(crate) const fn queue_of(&mut self, kind: Type) -> &mut List {
        match kind {
            Type::Confirmable => &mut self.backlog,
            _ => &mut self.paced,
        }
    }
}

/// Which tokens a peer understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tokens {
    /// As far as is known, extended ones too (RFC 8974).
    Any,
    /// Those of up to 8 bytes.
    Short,
}

/// Whether a peer has shown that it receives what is sent to its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    None,
    Given,
}

/// PROBING_RATE as a bucket of bytes: what may still be sent to a peer that does not answer (RFC 7252 §4.7).
#[derive(Clone, Copy)]
pub(crate) struct Credit {
    bytes: u32,
    /// What one that has not proven its address may still be sent in answer, in bytes on the wire (`endpoint/unproven.rs`).
    pub(crate) allowance: u32,
    at: Instant,
}

impl Credit {
    /// A peer of which nothing bad is known may be sent one datagram of full size.
    pub(crate) const fn full(now: Instant, capacity: usize) -> Self {
        Self { bytes: capacity as u32, allowance: 0, at: now }
    }

    /// How long `bytes` must wait; zero: they may go.
    pub(crate) fn wait(&self, now: Instant, bytes: usize, rate: u32) -> Duration {
        let missing = u64::from(bytes as u32).saturating_sub(self.available(now, rate));
        Duration::from_micros((missing * 1_000_000).div_ceil(u64::from(rate.max(1))))
    }

    /// Spends `bytes`, as far as there are any.
    pub(crate) fn spend(&mut self, now: Instant, bytes: usize, rate: u32, capacity: usize) {
        let available = self.available(now, rate).min(capacity as u64);
        (self.bytes, self.at) = (available.saturating_sub(bytes as u64) as u32, now);
    }

    fn available(&self, now: Instant, rate: u32) -> u64 {
        let earned = now.duration_since(self.at).as_micros() as u64;
        u64::from(self.bytes) + (earned.saturating_mul(u64::from(rate)) / 1_000_000)
    }
}

/// All peers.
pub(crate) struct Peers {
    records: Slab<PeerRecord>,
    /// Index of the record, by the peer's hash.
    index: HashTable<u32>,
    /// The unproven, and the proven: those who flood us from forged addresses push out each other.
    idle: [List; 2],
    hash: KeyedHash,
    max: usize,
}

/// What had to give way for a new peer.
pub(crate) enum Admitted {
    New(PeerKey),
    /// In the place of one that was idle.
    Instead {
        new: PeerKey,
        forgotten: PeerKey,
        /// How far its Message IDs had been counted.
        count: u64,
    },
}

fn idle(record: &mut PeerRecord) -> &mut Link {
    &mut record.idle
}

impl Peers {
    pub(crate) fn new(max: usize, hash: KeyedHash) -> Self {
        Self { records: Slab::new(), index: HashTable::new(), idle: [List::new(); 2], hash, max }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn find(&self, peer: &Peer) -> Option<PeerKey> {
        let index = self.index.find(self.hash.peer(peer), |index| self.is(*index, peer))?;
        self.records.key_at(*index)
    }

    pub(crate) fn get(&self, key: PeerKey) -> Option<&PeerRecord> {
        self.records.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: PeerKey) -> Option<&mut PeerRecord> {
        self.records.get_mut(key)
    }

    pub(crate) fn key_at(&self, index: u32) -> Option<PeerKey> {
        self.records.key_at(index)
    }

    /// Whether a new peer could be admitted.
    pub(crate) fn has_room(&self) -> bool {
        self.records.len() < self.max || (self.max > 0 && self.longest_idle().is_some())
    }

    /// Makes a record for a peer that has none. `None`: the table is full of peers with something open.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        peer: Peer,
        message_ids: MessageIds,
        credit: Credit,
    ) -> Option<Admitted> {
        if !self.has_room() {
            return None;
        }
        let oldest = (self.records.len() >= self.max).then(|| self.longest_idle()).flatten();
        let count = oldest.and_then(|index| self.records.at(index)).map_or(0, |record| record.message_ids.count());
        let forgotten = oldest.and_then(|index| self.forget(index));
        let record = PeerRecord {
            peer,
            holds: 0,
            idle: Link::new(),
            idle_since: now,
            proof: Proof::None,
            tokens: Tokens::Any,
            message_ids,
            in_flight: 0,
            incoming: 0,
            transfers: List::new(),
            requests: List::new(),
            backlog: List::new(),
            paced: List::new(),
            credit,
            observing: OfPeer::new(),
            transmission: None,
            path: PathState::Up,
        };
        let new = self.records.insert(record);
        let Self { records, index, hash, .. } = self;
        index.insert_unique(hash.peer(&peer), new.index(), |index| rehash(records, hash, *index));
        self.idle[Proof::None as usize].push_back(&mut self.records, new.index(), idle);
        Some(match forgotten {
            Some(forgotten) => Admitted::Instead { new, forgotten, count },
            None => Admitted::New(new),
        })
    }

    /// Something is open with the peer from now on.
    pub(crate) fn hold(&mut self, key: PeerKey) {
        let Some(record) = self.records.get_mut(key) else { return };
        record.holds += 1;
        if record.holds == 1 {
            self.idle[record.proof as usize].remove(&mut self.records, key.index(), idle);
        }
    }

    /// What was open is not any more.
    pub(crate) fn release(&mut self, now: Instant, key: PeerKey) {
        let Some(record) = self.records.get_mut(key) else { return };
        record.holds = record.holds.saturating_sub(1);
        if record.holds == 0 {
            record.idle_since = now;
            self.idle[record.proof as usize].push_back(&mut self.records, key.index(), idle);
        }
    }

    /// The peer answered to something that only its address could know. It is not forgotten for one that has not.
    pub(crate) fn prove(&mut self, now: Instant, key: PeerKey) {
        let Some(record) = self.records.get_mut(key).filter(|record| record.proof == Proof::None) else { return };
        record.proof = Proof::Given;
        if record.holds == 0 {
            // It has been heard of now, and the list stays in order.
            record.idle_since = now;
            self.idle[Proof::None as usize].remove(&mut self.records, key.index(), idle);
            self.idle[Proof::Given as usize].push_back(&mut self.records, key.index(), idle);
        }
    }

    /// Notes that the session of a peer is being made, or stands. False: it is so already.
    pub(crate) fn set_path(&mut self, key: PeerKey, path: PathState) -> bool {
        let Some(record) = self.records.get_mut(key) else { return false };
        core::mem::replace(&mut record.path, path) != path
    }

    /// From here on nobody finds the record of a peer, and nothing is sent to it. It stays until it is forgotten.
    pub(crate) fn close(&mut self, key: PeerKey) {
        self.hold(key);
        self.set_path(key, PathState::Closed);
        let Some(record) = self.records.get(key) else { return };
        if let Ok(entry) = self.index.find_entry(self.hash.peer(&record.peer), |other| *other == key.index()) {
            entry.remove();
        }
    }

    /// Forgets a peer whose session is over, whatever holds it.
    pub(crate) fn forget_closed(&mut self, key: PeerKey) {
        if self.records.get(key).is_some_and(|record| record.path == PathState::Closed) {
            self.forget(key.index());
        }
    }

    /// When the first of the idle can be forgotten.
    pub(crate) fn next_expiry(&self, lifetime: Duration) -> Option<Instant> {
        let fronts = self.idle.iter().filter_map(|list| self.records.at(list.front()?));
        fronts.map(|record| record.idle_since).min().map(|since| since + lifetime)
    }

    /// Forgets a peer that has been idle for `lifetime`: by then no message of the exchange can be in the network.
    pub(crate) fn expire(&mut self, now: Instant, lifetime: Duration) -> Option<PeerKey> {
        let due = |index: &u32| self.records.at(*index).is_some_and(|record| record.idle_since + lifetime <= now);
        let index = self.idle.iter().filter_map(List::front).find(due)?;
        self.forget(index)
    }

    /// Whom to forget for another.
    fn longest_idle(&self) -> Option<u32> {
        self.idle.iter().find_map(List::front)
    }

    fn forget(&mut self, index: u32) -> Option<PeerKey> {
        let key = self.records.key_at(index)?;
        let record = self.records.get(key)?;
        let (hash, proof) = (self.hash.peer(&record.peer), record.proof);
        self.idle[proof as usize].remove(&mut self.records, index, idle);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        self.records.discard(key);
        if self.records.len() == 0 && self.index.capacity() > 256 {
            self.index = HashTable::new();
        }
        Some(key)
    }

    fn is(&self, index: u32, peer: &Peer) -> bool {
        self.records.at(index).is_some_and(|record| record.peer == *peer)
    }
}

fn rehash(records: &Slab<PeerRecord>, hash: &KeyedHash, index: u32) -> u64 {
    records.at(index).map_or(0, |record| hash.peer(&record.peer))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Some peer.
    pub(crate) fn record(now: Instant) -> PeerRecord {
        PeerRecord {
            peer: Peer::Session(crate::addr::SessionId::new(0)),
            holds: 0,
            idle: Link::new(),
            idle_since: now,
            proof: Proof::None,
            tokens: Tokens::Any,
            message_ids: MessageIds::unicast(0, 0),
            in_flight: 0,
            incoming: 0,
            transfers: List::new(),
            requests: List::new(),
            backlog: List::new(),
            paced: List::new(),
            credit: Credit::full(now, 0),
            observing: OfPeer::new(),
            transmission: None,
            path: PathState::Up,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec::Vec;
    use core::net::SocketAddr;

    use super::*;

    const NOW: Instant = Instant::from_secs(1_000);

    fn peers(max: usize) -> Peers {
        Peers::new(max, KeyedHash::new([1, 2]))
    }

    fn peer(n: u16) -> Peer {
        Peer::from(format!("[2001:db8::{n:x}]:{}", 1_024 + n).parse::<SocketAddr>().unwrap())
    }

    fn admit(peers: &mut Peers, n: u16) -> Option<PeerKey> {
        match peers.admit(NOW, peer(n), MessageIds::unicast(0, 0), Credit::full(NOW, 1_152))? {
            Admitted::New(key) | Admitted::Instead { new: key, .. } => Some(key),
        }
    }

    #[test]
    fn a_full_table_forgets_the_one_that_was_idle_longest() {
        let mut peers = peers(3);
        let keys: Vec<_> = (0..3).map(|n| admit(&mut peers, n).unwrap()).collect();
        peers.hold(keys[0]);
        peers.release(NOW, keys[0]);
        admit(&mut peers, 3).unwrap();
        assert!(peers.get(keys[0]).is_some());
        assert!(peers.get(keys[1]).is_none() && peers.find(&peer(1)).is_none());
        assert_eq!(peers.len(), 3);
    }

    #[test]
    fn a_full_table_forgets_the_unproven_before_the_proven() {
        let mut peers = peers(3);
        let keys: Vec<_> = (0..3).map(|n| admit(&mut peers, n).unwrap()).collect();
        peers.prove(NOW, keys[0]);
        peers.hold(keys[1]);
        peers.prove(NOW, keys[1]);
        peers.release(NOW, keys[1]);
        for n in 3..20 {
            admit(&mut peers, n).unwrap();
        }
        assert!(peers.get(keys[0]).is_some() && peers.get(keys[1]).is_some());
        // Among the proven, the one that was idle longest goes first.
        let last = peers.find(&peer(19)).unwrap();
        peers.hold(last);
        admit(&mut peers, 20).unwrap();
        assert!(peers.get(keys[0]).is_none() && peers.get(keys[1]).is_some());
    }

    #[test]
    fn proven_and_unproven_fade_alike() {
        let (mut peers, lifetime) = (peers(8), Duration::from_secs(247));
        let keys: Vec<_> = (0..4).map(|n| admit(&mut peers, n).unwrap()).collect();
        peers.prove(NOW, keys[2]);
        assert_eq!(peers.next_expiry(lifetime), Some(NOW + lifetime));
        assert_eq!(core::iter::from_fn(|| peers.expire(NOW + lifetime, lifetime)).count(), 4);
        assert_eq!((peers.len(), peers.next_expiry(lifetime)), (0, None));
    }

    #[test]
    fn a_peer_with_something_open_is_not_forgotten() {
        let mut peers = peers(1);
        let key = admit(&mut peers, 0).unwrap();
        peers.hold(key);
        assert_eq!(admit(&mut peers, 1), None);
        assert_eq!(peers.next_expiry(Duration::from_secs(1)), None);
        peers.release(NOW, key);
        assert!(admit(&mut peers, 1).is_some());
    }

    #[test]
    fn a_peer_fades_a_lifetime_after_its_last_exchange() {
        let (mut peers, lifetime) = (peers(8), Duration::from_secs(247));
        let key = admit(&mut peers, 0).unwrap();
        peers.hold(key);
        peers.release(NOW + Duration::from_secs(1), key);
        assert_eq!(peers.expire(NOW + lifetime, lifetime), None);
        assert_eq!(peers.expire(NOW + Duration::from_secs(248), lifetime), Some(key));
        assert_eq!((peers.len(), peers.next_expiry(lifetime)), (0, None));
    }

    #[test]
    fn a_table_of_no_peers_admits_none() {
        assert_eq!(admit(&mut peers(0), 0), None);
    }

    #[test]
    fn many_peers_are_all_found() {
        let mut peers = peers(5_000);
        let keys: Vec<_> = (0..5_000).map(|n| admit(&mut peers, n).unwrap()).collect();
        assert!((0..5_000).all(|n| peers.find(&peer(n)) == Some(keys[usize::from(n)])));
    }

    #[test]
    fn credit_is_earned_at_the_probing_rate() {
        let mut credit = Credit::full(NOW, 100);
        assert_eq!(credit.wait(NOW, 100, 1), Duration::ZERO);
        credit.spend(NOW, 100, 1, 100);
        assert_eq!(credit.wait(NOW, 20, 1), Duration::from_secs(20));
        assert_eq!(credit.wait(NOW + Duration::from_secs(20), 20, 1), Duration::ZERO);
        credit.spend(NOW + Duration::from_secs(100_000), 0, 1, 100);
        assert_eq!(credit.wait(NOW + Duration::from_secs(100_000), 101, 1), Duration::from_secs(1));
    }
}
