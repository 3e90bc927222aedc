//! Callers whose request found a table full, in the order in which they came.

use core::hash::BuildHasherDefault;
use core::task::Waker;
use std::collections::{BTreeMap, HashMap};
use std::hash::DefaultHasher;

use coap_core::Peer;

/// In an order that depends on nothing but what was done: where all are ended, the same run ends them in the same order.
/// The keys are our own handles and the peers that we ask, so nobody outside can choose them to collide.
pub(crate) type Table<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// Where there is no room for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Room {
    /// Too many wait for this peer.
    Peer(Peer),
    /// Too many are open.
    Endpoint,
    /// All peers that may be known have something open, which may be requests of theirs.
    Peers,
    /// None is wanted yet, as the name is still looked up: nobody is woken here but by the end of a client.
    None,
}

/// What a caller did with the room that it was woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Used,
    Unused,
}

/// The place of a caller in a queue: the lower, the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// All queues. One caller is woken for each request that ends.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    waiting: Table<Room, BTreeMap<Ticket, Waker>>,
    tickets: u64,
}

impl Queues {
    /// A place behind all that wait already.
    pub(crate) const fn draw_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Wakes `waker` when a request has ended, there may be room for another, and nobody with a lower ticket waits.
    ///
    /// The place is then gone, and taken again with the same ticket if somebody else was faster.
    pub(crate) fn wait(&mut self, room: Room, ticket: Ticket, waker: &Waker) {
        self.waiting.entry(room).or_default().insert(ticket, waker.clone());
    }

    /// Gives the place up. Whoever has been woken and does not take the room leaves it to the next. Of room for peers nobody
    /// says how much there is: there may be more of it.
    pub(crate) fn leave(&mut self, room: Room, ticket: Ticket, left: Left, wake: &mut Vec<Waker>) {
        let waited = self.waiting.get_mut(&room).is_some_and(|queue| queue.remove(&ticket).is_some());
        if !waited && (left == Left::Unused || room == Room::Peers) {
            self.wake_next(room, wake);
        }
    }

    fn wake_next(&mut self, room: Room, wake: &mut Vec<Waker>) {
        if let Some(queue) = self.waiting.get_mut(&room) {
            wake.extend(queue.pop_first().map(|(_, waker)| waker));
            if queue.is_empty() {
                self.waiting.remove(&room);
            }
        }
    }

    /// A request to `peer` has ended: there is room for another to it, and for another to anybody.
    pub(crate) fn give_room(&mut self, peer: Peer, wake: &mut Vec<Waker>) {
        if !self.waiting.is_empty() {
            self.wake_next(Room::Peer(peer), wake);
            self.wake_next(Room::Endpoint, wake);
            self.give_peers(wake);
        }
    }

    /// Something has ended, on whosever behalf: a peer may have nothing open any more.
    pub(crate) fn give_peers(&mut self, wake: &mut Vec<Waker>) {
        self.wake_next(Room::Peers, wake);
    }

    /// Wakes all that wait for room, to look at what else has changed.
    pub(crate) fn wake_all(&mut self, wake: &mut Vec<Waker>) {
        wake.extend(self.waiting.drain().flat_map(|(_, queue)| queue.into_values()));
    }
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Woken {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn peer(port: u16) -> Peer {
        SocketAddr::from(([192, 0, 2, 1], port)).into()
    }

    fn wait(queues: &mut Queues, room: Room) -> (Ticket, Arc<Woken>) {
        let (ticket, woken) = (queues.draw_ticket(), Arc::<Woken>::default());
        queues.wait(room, ticket, &woken.clone().into());
        (ticket, woken)
    }

    fn wake(wakers: Vec<Waker>) {
        wakers.into_iter().for_each(Waker::wake);
    }

    #[test]
    fn a_request_that_ends_makes_room_for_one_to_its_peer_and_one_to_anybody() {
        let mut queues = Queues::default();
        let (_, first) = wait(&mut queues, Room::Peer(peer(1)));
        let (_, second) = wait(&mut queues, Room::Peer(peer(1)));
        let (_, other) = wait(&mut queues, Room::Peer(peer(2)));
        let (_, any) = wait(&mut queues, Room::Endpoint);
        let mut wakers = Vec::new();
        queues.give_room(peer(1), &mut wakers);
        wake(wakers);
        assert_eq!([&first, &second, &other, &any].map(|woken| woken.count()), [1, 0, 0, 1]);
    }

    #[test]
    fn room_that_is_not_used_goes_to_the_next() {
        let mut queues = Queues::default();
        let room = Room::Endpoint;
        let (first, _) = wait(&mut queues, room);
        let (second, _) = wait(&mut queues, room);
        let (_, third) = wait(&mut queues, room);
        let mut wakers = Vec::new();
        // Still waiting: there is nothing to give on.
        queues.leave(room, first, Left::Unused, &mut wakers);
        assert!(wakers.is_empty());
        queues.wake_next(room, &mut wakers);
        queues.leave(room, second, Left::Unused, &mut wakers);
        wake(wakers);
        assert_eq!(third.count(), 1);
        assert!(queues.waiting.is_empty());
    }

    #[test]
    fn whoever_finds_that_somebody_was_faster_keeps_the_place() {
        let mut queues = Queues::default();
        let room = Room::Endpoint;
        let (ticket, first) = wait(&mut queues, room);
        let (_, second) = wait(&mut queues, room);
        let mut wakers = Vec::new();
        queues.wake_next(room, &mut wakers);
        queues.wait(room, ticket, &first.clone().into());
        queues.wake_next(room, &mut wakers);
        wake(wakers);
        assert_eq!((first.count(), second.count()), (2, 0));
    }
}
