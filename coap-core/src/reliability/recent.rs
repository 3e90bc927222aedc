//! Which messages were received lately, and how they were answered (RFC 7252 §4.5): one pool for all peers.
//!
//! Each Message ID is remembered for EXCHANGE_LIFETIME, or NON_LIFETIME. When the pool is full, or one peer has a
//! quarter of it, those of peers that have not proven their address go first, the oldest before the others: whoever
//! floods us from forged addresses pushes out forged entries. What a proven peer sent lives its lifetime.

use core::time::Duration;

use alloc::vec::Vec;
use hashbrown::HashTable;

use super::replies::{Replies, ReplyRef};
use crate::hash::KeyedHash;
use crate::links::{Link, List};
use crate::peers::{PeerKey, Proof};
use crate::slab::{Key, Slab};
use crate::time::Instant;

pub(crate) type RecentKey = Key<Entry>;

/// How a message was answered, and so how its duplicate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Not, or not yet: a duplicate is swallowed.
    Nothing,
    /// With an Empty acknowledgement.
    Acknowledged,
    /// With a Reset message.
    Reset,
    /// With a reply that may still be there.
    Reply(ReplyRef),
    /// With a reply that was too large to be kept.
    Unkept,
}

/// Which message: its number, and which of our addresses it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) message_id: u16,
    pub(crate) at: u32,
}

pub(crate) struct Entry {
    peer: PeerKey,
    received: Received,
    lane: Lane,
    /// The end of its lifetime: from here on its Message ID is a new one.
    until: Instant,
    /// When it is forgotten: not before its predecessor in the lane, so that a lane stays a queue while lifetimes
    /// differ from peer to peer and change.
    fades: Instant,
    answer: Answer,
    /// In its lane, in order of `fades`.
    order: Link,
    /// Among those of its peer, in order of arrival.
    of_peer: Link,
}

/// Entries of one lane fade in the order in which they came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Confirmable,
    NonConfirmable,
    ProvenConfirmable,
    ProvenNonConfirmable,
}

impl Lane {
    const ALL: [Self; 4] =
        [Self::NonConfirmable, Self::Confirmable, Self::ProvenNonConfirmable, Self::ProvenConfirmable];

    const fn of(lifetime: Lifetime, proof: Proof) -> Self {
        match (lifetime, proof) {
            (Lifetime::Exchange, Proof::None) => Self::Confirmable,
            (Lifetime::Non, Proof::None) => Self::NonConfirmable,
            (Lifetime::Exchange, Proof::Given) => Self::ProvenConfirmable,
            (Lifetime::Non, Proof::Given) => Self::ProvenNonConfirmable,
        }
    }

    const fn proven(self) -> Self {
        match self {
            Self::Confirmable | Self::ProvenConfirmable => Self::ProvenConfirmable,
            Self::NonConfirmable | Self::ProvenNonConfirmable => Self::ProvenNonConfirmable,
        }
    }
}

/// Which of the RFC's lifetimes a Message ID has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// EXCHANGE_LIFETIME, of a Confirmable message.
    Exchange,
    /// NON_LIFETIME, of a Non-confirmable one.
    Non,
}

/// What is known of one peer, found by its place in the table of peers.
#[derive(Clone, Copy)]
struct OfPeer {
    /// Whose: a later peer in the same place starts anew.
    key: PeerKey,
    proof: Proof,
    entries: List,
    /// When the lifetime of the last of them is over.
    until: Instant,
}

/// No room: all that could go belongs to proven peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

pub(crate) struct Recent {
    entries: Slab<Entry>,
    index: HashTable<u32>,
    lanes: [List; 4],
    peers: Vec<Option<OfPeer>>,
    /// How many of them there are.
    known: usize,
    pub(crate) replies: Replies,
    hash: KeyedHash,
    max: usize,
    max_per_peer: usize,
    /// Entries forgotten before their time.
    pub(crate) forgotten_early: u64,
}

/// At most this many entries of peers that have proven themselves since are moved aside in one search for room.
const MOVES: usize = 16;

fn order(entry: &mut Entry) -> &mut Link {
    &mut entry.order
}

fn of_peer(entry: &mut Entry) -> &mut Link {
    &mut entry.of_peer
}

impl Recent {
    pub(crate) fn new(max: usize, max_bytes: usize, hash: KeyedHash) -> Self {
        Self {
            entries: Slab::new(),
            index: HashTable::new(),
            lanes: [List::new(); 4],
            peers: Vec::new(),
            known: 0,
            replies: Replies::new(max_bytes),
            hash,
            max,
            max_per_peer: max.div_ceil(4),
            forgotten_early: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(crate) fn find(&self, now: Instant, peer: PeerKey, received: Received) -> Option<RecentKey> {
        let hash = self.hash.pair(peer.index(), received.message_id);
        let index = self.index.find(hash, |index| {
            let found = self.entries.at(*index);
            found.is_some_and(|entry| entry.peer == peer && entry.received == received && entry.until > now)
        })?;
        self.entries.key_at(*index)
    }

    pub(crate) fn answer(&self, key: RecentKey) -> Answer {
        self.entries.get(key).map_or(Answer::Nothing, |entry| entry.answer)
    }

    /// The message was answered, and with what is not known any more.
    pub(crate) fn has_lost_reply(&self, key: RecentKey) -> bool {
        match self.answer(key) {
            Answer::Reply(reply) => self.replies.get(reply).is_none(),
            answer => answer == Answer::Unkept,
        }
    }

    pub(crate) fn set_answer(&mut self, key: RecentKey, answer: Answer) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.answer = answer;
        }
    }

    /// The peer answered to something that only its address could know.
    pub(crate) fn prove(&mut self, peer: PeerKey) {
        if let Some(known) = self.of_peer_mut(peer) {
            known.proof = Proof::Given;
        }
    }

    /// Makes room for one more entry of `peer`, if there can be.
    pub(crate) fn make_room(&mut self, now: Instant, peer: Option<PeerKey>) -> Result<(), Full> {
        if self.max == 0 {
            return Err(Full);
        }
        let of_peer = peer.and_then(|peer| self.of_peer(peer));
        if let Some(known) = of_peer.filter(|known| known.entries.len() >= self.max_per_peer) {
            let oldest = known.entries.front().filter(|_| known.proof == Proof::None).ok_or(Full)?;
            self.push_out(now, oldest);
        }
        if self.entries.len() >= self.max && self.index.capacity() < 2 * self.max {
            // From here on each entry takes the place of another. A table that is over half full would double once more
            // when the traces of removed entries have filled it: better now than at some later time.
            let Self { entries, index, hash, .. } = self;
            index.reserve(entries.len(), |index| rehash(entries, hash, *index));
        }
        let mut moves = 0;
        while self.entries.len() >= self.max {
            let oldest = self.oldest_unproven().ok_or(Full)?;
            let proven = self.entries.at(oldest).and_then(|entry| self.of_peer(entry.peer));
            if proven.is_some_and(|known| known.proof == Proof::Given) {
                self.move_aside(oldest);
                moves += 1;
                if moves == MOVES {
                    return Err(Full);
                }
            } else {
                self.push_out(now, oldest);
            }
        }
        Ok(())
    }

    /// Remembers a Message ID; [`make_room`](Self::make_room) comes first.
    pub(crate) fn remember(
        &mut self,
        now: Instant,
        peer: PeerKey,
        received: Received,
        kind: Lifetime,
        lifetime: Duration,
    ) -> RecentKey {
        let proof = self.of_peer_mut(peer).map_or(Proof::None, |known| known.proof);
        let lane = Lane::of(kind, proof);
        let until = now + lifetime;
        let entry = Entry {
            peer,
            received,
            lane,
            until,
            fades: self.last_fades(lane).max(until),
            answer: Answer::Nothing,
            order: Link::new(),
            of_peer: Link::new(),
        };
        let key = self.entries.insert(entry);
        let Self { entries, index, hash, .. } = self;
        index.insert_unique(hash.pair(peer.index(), received.message_id), key.index(), |index| {
            rehash(entries, hash, *index)
        });
        self.lanes[lane as usize].push_back(&mut self.entries, key.index(), order);
        if let Some(Some(known)) = self.peers.get_mut(peer.index() as usize) {
            known.entries.push_back(&mut self.entries, key.index(), of_peer);
            known.until = known.until.max(until);
        }
        key
    }

    /// Keeps a reply for the duplicates of a message. Second: how many other replies were forgotten for it.
    pub(crate) fn keep_reply(
        &mut self,
        key: RecentKey,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> (Option<ReplyRef>, u64) {
        let Some(entry) = self.entries.get_mut(key) else { return (None, 0) };
        if let Answer::Reply(before) = entry.answer {
            self.replies.release(before);
        }
        let (kept, forgotten) = self.replies.keep(len, write);
        entry.answer = kept.map_or(Answer::Unkept, Answer::Reply);
        (kept, forgotten)
    }

    /// The peer was forgotten; what it sent fades by itself, and is found by nobody. How many entries that are, unless
    /// even the last of them had lived its lifetime.
    pub(crate) fn forget_peer(&mut self, now: Instant, peer: PeerKey) -> u64 {
        let slot = self.peers.get_mut(peer.index() as usize);
        let Some(known) = slot.and_then(|slot| slot.take_if(|known| known.key == peer)) else { return 0 };
        self.known -= 1;
        if self.known == 0 && self.peers.capacity() > 256 {
            self.peers = Vec::new();
        }
        if known.until > now { known.entries.len() as u64 } else { 0 }
    }

    /// Drops up to `most` entries of a peer of which nothing can come again, and says how many.
    pub(crate) fn drop_of(&mut self, peer: PeerKey, most: usize) -> usize {
        let mut dropped = 0;
        while let Some(known) = self.of_peer(peer).filter(|_| dropped < most) {
            let Some(oldest) = known.entries.front() else { break };
            self.forget(oldest);
            dropped += 1;
        }
        dropped
    }

    /// When the next entry fades.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(|lane| self.entries.at(lane.front()?)).map(|entry| entry.fades).min()
    }

    /// Forgets up to `most` entries that have faded, and says how many.
    pub(crate) fn expire(&mut self, now: Instant, most: usize) -> usize {
        let mut faded = 0;
        for lane in Lane::ALL {
            while let Some(front) = self.lanes[lane as usize].front().filter(|_| faded < most) {
                if self.entries.at(front).is_none_or(|entry| entry.fades > now) {
                    break;
                }
                self.forget(front);
                faded += 1;
            }
        }
        faded
    }

    /// More memory is held than is worth keeping when all is quiet.
    #[cfg(test)]
    pub(crate) fn holds_much(&self) -> bool {
        self.index.capacity() > 256 || self.peers.capacity() > 256
    }

    fn oldest_unproven(&self) -> Option<u32> {
        let fronts = [Lane::NonConfirmable, Lane::Confirmable].map(|lane| self.lanes[lane as usize].front());
        fronts.into_iter().flatten().min_by_key(|index| self.entries.at(*index).map(|entry| entry.fades))
    }

    /// When the last entry of a lane fades.
    fn last_fades(&self, lane: Lane) -> Instant {
        let last = self.lanes[lane as usize].back().and_then(|last| self.entries.at(last));
        last.map_or(Instant::ZERO, |last| last.fades)
    }

    fn move_aside(&mut self, index: u32) {
        let Some(lane) = self.entries.at(index).map(|entry| entry.lane) else { return };
        let proven = lane.proven();
        self.lanes[lane as usize].remove(&mut self.entries, index, order);
        let last = self.last_fades(proven);
        if let Some(entry) = self.entries.at_mut(index) {
            entry.lane = proven;
            entry.fades = entry.fades.max(last);
        }
        self.lanes[proven as usize].push_back(&mut self.entries, index, order);
    }

    /// Forgets an entry for want of room. One whose peer was forgotten has been counted with it.
    fn push_out(&mut self, now: Instant, index: u32) {
        let alive = |entry: &Entry| entry.until > now && self.of_peer(entry.peer).is_some();
        self.forgotten_early += u64::from(self.entries.at(index).is_some_and(alive));
        self.forget(index);
    }

    fn forget(&mut self, index: u32) {
        let Some(entry) = self.entries.at(index) else { return };
        let (peer, lane, hash) =
            (entry.peer, entry.lane, self.hash.pair(entry.peer.index(), entry.received.message_id));
        if let Answer::Reply(reply) = entry.answer {
            self.replies.release(reply);
        }
        self.lanes[lane as usize].remove(&mut self.entries, index, order);
        // The list of a peer that was forgotten is gone, and its links lead nowhere that is looked at.
        if let Some(Some(known)) = self.peers.get_mut(peer.index() as usize)
            && known.key == peer
        {
            known.entries.remove(&mut self.entries, index, of_peer);
        }
        if let Ok(found) = self.index.find_entry(hash, |other| *other == index) {
            found.remove();
        }
        if let Some(key) = self.entries.key_at(index) {
            self.entries.discard(key);
        }
        if self.entries.len() == 0 && self.index.capacity() > 256 {
            self.index = HashTable::new();
        }
    }

    fn of_peer(&self, peer: PeerKey) -> Option<&OfPeer> {
        self.peers.get(peer.index() as usize)?.as_ref().filter(|known| known.key == peer)
    }

    /// What is known of `peer`, made if nothing is.
    fn of_peer_mut(&mut self, peer: PeerKey) -> Option<&mut OfPeer> {
        let index = peer.index() as usize;
        if self.peers.len() <= index {
            self.peers.resize(index + 1, None);
        }
        let slot = self.peers.get_mut(index)?;
        self.known += usize::from(slot.is_none());
        let current = slot.take_if(|known| known.key == peer);
        let unknown = OfPeer { key: peer, proof: Proof::None, entries: List::new(), until: Instant::ZERO };
        Some(slot.insert(current.unwrap_or(unknown)))
    }
}

fn rehash(entries: &Slab<Entry>, hash: &KeyedHash, index: u32) -> u64 {
    entries.at(index).map_or(0, |entry| hash.pair(entry.peer.index(), entry.received.message_id))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;
    use crate::peers::PeerRecord;

    const LIFE: Duration = Duration::from_secs(247);
    const NOW: Instant = Instant::from_secs(1);

    fn pool(max: usize) -> Recent {
        Recent::new(max, 1_024, KeyedHash::new([3, 4]))
    }

    /// Keys like those that a table of peers hands out.
    fn keys(count: usize) -> Vec<PeerKey> {
        let mut peers: Slab<PeerRecord> = Slab::new();
        let record = |_| crate::peers::testing::record(NOW);
        (0..count).map(|n| peers.insert(record(n))).collect()
    }

    const fn of(message_id: u16) -> Received {
        Received { message_id, at: 0 }
    }

    fn remember(pool: &mut Recent, now: Instant, peer: PeerKey, message_id: u16) -> Result<RecentKey, Full> {
        pool.make_room(now, Some(peer))?;
        Ok(pool.remember(now, peer, of(message_id), Lifetime::Exchange, LIFE))
    }

    #[test]
    fn a_message_id_belongs_to_its_peer_and_fades_after_its_lifetime() {
        let (mut pool, keys) = (pool(8), keys(2));
        let entry = remember(&mut pool, NOW, keys[0], 7).unwrap();
        assert_eq!((pool.find(NOW, keys[0], of(7)), pool.find(NOW, keys[1], of(7))), (Some(entry), None));
        assert_eq!(pool.next_expiry(), Some(NOW + LIFE));
        assert_eq!(pool.expire(NOW + LIFE, 10), 1);
        assert_eq!((pool.find(NOW, keys[0], of(7)), pool.len(), pool.next_expiry()), (None, 0, None));
    }

    #[test]
    fn a_long_lifetime_does_not_prolong_the_others() {
        let (mut pool, keys) = (pool(8), keys(2));
        pool.remember(NOW, keys[0], of(1), Lifetime::Exchange, 10 * LIFE);
        remember(&mut pool, NOW, keys[1], 1).unwrap();
        let later = NOW + LIFE;
        assert_eq!(pool.find(later, keys[1], of(1)), None);
        let again = remember(&mut pool, later, keys[1], 1).unwrap();
        assert_eq!(pool.find(later, keys[1], of(1)), Some(again));
        assert_eq!(pool.forget_peer(later + LIFE, keys[1]), 0);
        assert_eq!((pool.expire(NOW + 10 * LIFE, 10), pool.len(), pool.forgotten_early), (3, 0, 0));
    }

    #[test]
    fn a_full_pool_forgets_the_unproven_and_keeps_the_proven() {
        let (mut pool, keys) = (pool(4), keys(8));
        pool.prove(keys[0]);
        remember(&mut pool, NOW, keys[0], 0).unwrap();
        for (n, key) in keys.iter().enumerate().skip(1) {
            remember(&mut pool, NOW, *key, n as u16).unwrap();
        }
        assert!(pool.find(NOW, keys[0], of(0)).is_some());
        assert_eq!((pool.len(), pool.forgotten_early), (4, 4));
        assert!(pool.find(NOW, keys[4], of(4)).is_none() && pool.find(NOW, keys[5], of(5)).is_some());
    }

    #[test]
    fn a_peer_that_proves_itself_later_keeps_what_it_sent_before() {
        let (mut pool, keys) = (pool(4), keys(8));
        remember(&mut pool, NOW, keys[0], 0).unwrap();
        pool.prove(keys[0]);
        for (n, key) in keys.iter().enumerate().skip(1) {
            remember(&mut pool, NOW, *key, n as u16).unwrap();
        }
        assert!(pool.find(NOW, keys[0], of(0)).is_some());
    }

    #[test]
    fn when_only_proven_entries_are_left_the_pool_is_full() {
        let (mut pool, keys) = (pool(4), keys(5));
        for key in &keys[..4] {
            pool.prove(*key);
            remember(&mut pool, NOW, *key, 0).unwrap();
        }
        assert_eq!(remember(&mut pool, NOW, keys[4], 0), Err(Full));
        assert_eq!(pool.forgotten_early, 0);
    }

    #[test]
    fn one_peer_has_a_quarter_at_most() {
        let (mut pool, keys) = (pool(16), keys(2));
        for id in 0..100 {
            remember(&mut pool, NOW, keys[0], id).unwrap();
        }
        assert_eq!((pool.len(), pool.forgotten_early), (4, 96));
        assert!(pool.find(NOW, keys[0], of(95)).is_none() && pool.find(NOW, keys[0], of(96)).is_some());
        pool.prove(keys[1]);
        for id in 0..4 {
            remember(&mut pool, NOW, keys[1], id).unwrap();
        }
        assert_eq!(remember(&mut pool, NOW, keys[1], 4), Err(Full));
    }

    #[test]
    fn what_a_forgotten_peer_sent_fades_by_itself() {
        let (mut pool, keys) = (pool(8), keys(1));
        remember(&mut pool, NOW, keys[0], 1).unwrap();
        remember(&mut pool, NOW, keys[0], 2).unwrap();
        assert_eq!(pool.forget_peer(NOW, keys[0]), 2);
        assert_eq!(pool.forget_peer(NOW, keys[0]), 0);
        assert_eq!(pool.expire(NOW + LIFE, 10), 2);
        assert_eq!(pool.len(), 0);
    }

    #[test]
    fn the_last_peer_takes_the_memory_of_all_with_it() {
        let (mut pool, keys) = (pool(1_000), keys(1_000));
        for key in &keys {
            remember(&mut pool, NOW, *key, 1).unwrap();
        }
        assert_eq!(pool.expire(NOW + LIFE, 1_000), 1_000);
        for key in keys {
            pool.forget_peer(NOW + LIFE, key);
        }
        assert_eq!((pool.peers.capacity(), pool.entries.len(), pool.index.capacity()), (0, 0, 0));
    }

    #[test]
    fn random_operations_agree_with_a_list() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (mut pool, keys) = (pool(64), keys(12));
        let mut twin: Vec<(PeerKey, u16, Instant)> = Vec::new();
        let mut now = NOW;
        for _ in 0..20_000 {
            let draw = rng.next_u64();
            now += Duration::from_millis(draw >> 40 & 0x7ff);
            pool.expire(now, usize::MAX);
            twin.retain(|(_, _, until)| *until > now);
            let (peer, id) = (keys[draw as usize % 12], (draw >> 8) as u16 % 32);
            let known = twin.iter().any(|(other, other_id, _)| (*other, *other_id) == (peer, id));
            assert_eq!(pool.find(now, peer, of(id)).is_some(), known);
            if known {
                continue;
            }
            if twin.iter().filter(|(other, ..)| *other == peer).count() >= 16 {
                let oldest = twin.iter().position(|(other, ..)| *other == peer).unwrap();
                twin.remove(oldest);
            }
            if twin.len() == 64 {
                twin.remove(0);
            }
            remember(&mut pool, now, peer, id).unwrap();
            twin.push((peer, id, now + LIFE));
            assert_eq!(pool.len(), twin.len());
        }
        assert!(pool.forgotten_early > 1_000);
    }
}
