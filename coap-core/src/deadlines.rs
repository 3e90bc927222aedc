//! When something is due: a binary heap that knows where each of its entries is, so that moving or dropping a deadline
//! costs O(log n) and leaves no dead entry behind.

use alloc::vec::Vec;

use crate::time::Instant;

/// What a deadline is for. An owner, a slot of the slab named here, has at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// A sent message is repeated, or given up (RFC 7252 §4.2).
    Retransmission,
    /// A request of ours has waited long enough.
    Request,
    /// A request that we received: the application must have answered, or the leisure of a multicast answer is over.
    Incoming,
    /// A Non-confirmable request may go out to a peer that has been silent (PROBING_RATE).
    Pacing,
    /// A notification is repeated or given up, or an observer may be told of the next state (RFC 7641 §4.5).
    Notification,
    /// The state of an observation of ours is old: it is told, or the observation registered again (RFC 7641 §3.3.1).
    Observation,
    /// A server is obeyed no longer that wanted a kind of request later (RFC 8516 §4). One for all of them.
    BackOff,
}

const REASONS: usize = 7;

/// Four below each: with a million deadlines a way through the heap is ten steps instead of twenty, and the four that are
/// compared lie side by side, while each step costs a look far away.
const CHILDREN: usize = 4;

/// The position of an owner that has no deadline.
const NOWHERE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    at: Instant,
    reason: Reason,
    owner: u32,
}

impl Entry {
    /// Equal times are served in a fixed order, so that a run can be repeated.
    fn before(&self, other: &Self) -> bool {
        (self.at, self.reason, self.owner) < (other.at, other.reason, other.owner)
    }
}

/// All deadlines that differ in their spans. Those with one span for all are queues in their rooms.
#[derive(Default)]
pub(crate) struct Deadlines {
    heap: Vec<Entry>,
    /// Position in the heap, by reason and owner.
    positions: [Vec<u32>; REASONS],
}

impl Deadlines {
    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|entry| entry.at)
    }

    /// Sets, moves or, with `None`, drops the deadline of `owner`.
    pub(crate) fn set(&mut self, reason: Reason, owner: u32, at: Option<Instant>) {
        let position = self.position(reason, owner);
        match (position, at) {
            (NOWHERE, None) => {}
            (NOWHERE, Some(at)) => self.insert(Entry { at, reason, owner }),
            (position, None) => self.remove(position as usize),
            (position, Some(at)) => {
                let position = position as usize;
                if let Some(entry) = self.heap.get_mut(position) {
                    entry.at = at;
                }
                self.sift_down(position);
                self.sift_up(position);
            }
        }
    }

    /// Takes out the earliest deadline if it has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Reason, u32)> {
        let first = self.heap.first().filter(|entry| entry.at <= now)?;
        let due = (first.reason, first.owner);
        self.remove(0);
        Some(due)
    }

    /// More memory than is worth keeping while nothing is due: an owner far back in its slab is enough for that.
    pub(crate) fn holds_much(&self) -> bool {
        self.heap.capacity() > 256 || self.positions.iter().any(|positions| positions.capacity() > 256)
    }

    fn insert(&mut self, entry: Entry) {
        let positions = &mut self.positions[entry.reason as usize];
        if positions.len() <= entry.owner as usize {
            positions.resize(entry.owner as usize + 1, NOWHERE);
        }
        self.heap.push(entry);
        let last = self.heap.len() - 1;
        self.settle(last);
        self.sift_up(last);
    }

    fn remove(&mut self, position: usize) {
        let gone = self.heap.swap_remove(position);
        self.positions[gone.reason as usize][gone.owner as usize] = NOWHERE;
        if position < self.heap.len() {
            self.settle(position);
            self.sift_down(position);
            self.sift_up(position);
        }
        if self.heap.is_empty() && self.holds_much() {
            *self = Self::default();
        }
    }

    fn sift_up(&mut self, mut position: usize) {
        let entry = self.heap[position];
        while position > 0 {
            let parent = (position - 1) / CHILDREN;
            if !entry.before(&self.heap[parent]) {
                break;
            }
            self.put(position, self.heap[parent]);
            position = parent;
        }
        self.put(position, entry);
    }

    fn sift_down(&mut self, mut position: usize) {
        let entry = self.heap[position];
        while let Some(child) = self.first_child(position).filter(|child| self.heap[*child].before(&entry)) {
            self.put(position, self.heap[child]);
            position = child;
        }
        self.put(position, entry);
    }

    /// Which of the entries below `position` is due first.
    fn first_child(&self, position: usize) -> Option<usize> {
        let first = CHILDREN * position + 1;
        let children = first..(first + CHILDREN).min(self.heap.len());
        children.reduce(|a, b| if self.heap[b].before(&self.heap[a]) { b } else { a })
    }

    /// Writes an entry into the heap, and down where it is.
    fn put(&mut self, position: usize, entry: Entry) {
        self.heap[position] = entry;
        self.settle(position);
    }

    /// Writes down where the entry at `position` is.
    fn settle(&mut self, position: usize) {
        let entry = self.heap[position];
        self.positions[entry.reason as usize][entry.owner as usize] = position as u32;
    }

    fn position(&self, reason: Reason, owner: u32) -> u32 {
        self.positions[reason as usize].get(owner as usize).copied().unwrap_or(NOWHERE)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    const ALL: [Reason; REASONS] = [
        Reason::Retransmission,
        Reason::Request,
        Reason::Incoming,
        Reason::Pacing,
        Reason::Notification,
        Reason::Observation,
        Reason::BackOff,
    ];

    #[test]
    fn a_deadline_that_moved_is_due_at_its_new_time_only() {
        let mut deadlines = Deadlines::default();
        deadlines.set(Reason::Request, 3, Some(Instant::from_secs(1)));
        deadlines.set(Reason::Request, 3, Some(Instant::from_secs(5)));
        assert_eq!(deadlines.pop_due(Instant::from_secs(4)), None);
        assert_eq!(deadlines.pop_due(Instant::from_secs(5)), Some((Reason::Request, 3)));
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn the_last_deadline_takes_the_memory_of_all_positions_with_it() {
        let mut deadlines = Deadlines::default();
        deadlines.set(Reason::Pacing, 100_000, Some(Instant::from_secs(1)));
        deadlines.set(Reason::Pacing, 100_000, None);
        assert!(deadlines.positions.iter().all(|of| of.capacity() == 0));
    }

    #[test]
    fn random_operations_agree_with_a_sorted_map() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut deadlines = Deadlines::default();
        let mut twin: BTreeMap<(Reason, u32), Instant> = BTreeMap::new();
        for _ in 0..50_000 {
            let draw = rng.next_u64();
            let (reason, owner) = (ALL[draw as usize % REASONS], (draw >> 8) as u32 % 300);
            let at = Instant::from_micros((draw >> 32) % 1_000);
            match (draw >> 5) % 4 {
                0 => {
                    deadlines.set(reason, owner, None);
                    twin.remove(&(reason, owner));
                }
                1 => {
                    let first = twin.iter().map(|(key, due)| (*due, *key)).min().filter(|(due, _)| *due <= at);
                    assert_eq!(deadlines.pop_due(at), first.map(|(_, key)| key));
                    first.map(|(_, key)| twin.remove(&key));
                }
                _ => {
                    deadlines.set(reason, owner, Some(at));
                    twin.insert((reason, owner), at);
                }
            }
            assert_eq!(deadlines.next(), twin.values().min().copied());
        }
    }
}
