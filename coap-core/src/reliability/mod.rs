//! The message layer (RFC 7252 §4): what is in flight and how often it is repeated, which Message IDs are free, and
//! which messages have been received before.

mod backoff;
mod message_ids;
mod recent;
mod replies;

use hashbrown::HashTable;

pub(crate) use self::backoff::{Backoff, Step};
pub(crate) use self::message_ids::MessageIds;
pub(crate) use self::recent::{Answer, Lifetime, Received, Recent, RecentKey};
pub(crate) use self::replies::ReplyRef;
use crate::addr::{Local, Peer};
use crate::exchange::OutgoingKey;
use crate::hash::KeyedHash;
use crate::peers::PeerKey;
use crate::slab::{Key, Slab};
use crate::wire::Message;

pub(crate) type FlightKey = Key<InFlight>;

/// A message of ours that a peer may still acknowledge or reset.
pub(crate) struct InFlight {
    pub(crate) peer: PeerKey,
    pub(crate) to: Peer,
    pub(crate) from: Local,
    pub(crate) owner: Owner,
    pub(crate) message: Message,
    /// A Confirmable message has a schedule.
    pub(crate) backoff: Option<Backoff>,
}

/// Whose message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Of a request of ours.
    Request(OutgoingKey),
    /// A separate response.
    Response,
}

/// All messages in flight, found by the peer and the Message ID. Directions do not mix: what a peer numbers is in
/// [`Recent`], what we number is here.
pub(crate) struct Flights {
    messages: Slab<InFlight>,
    index: HashTable<u32>,
    hash: KeyedHash,
    /// How many are separate responses.
    responses: usize,
}

impl Flights {
    pub(crate) const fn new(hash: KeyedHash) -> Self {
        Self { messages: Slab::new(), index: HashTable::new(), hash, responses: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.messages.len()
    }

    /// How many of them are separate responses.
    pub(crate) const fn responses(&self) -> usize {
        self.responses
    }

    pub(crate) fn open(&mut self, message: InFlight) -> FlightKey {
        self.responses += usize::from(message.owner == Owner::Response);
        let hash = self.hash.pair(message.peer.index(), message.message.message_id);
        let key = self.messages.insert(message);
        let Self { messages, index, hash: keyed, .. } = self;
        index.insert_unique(hash, key.index(), |index| rehash(messages, keyed, *index));
        key
    }

    pub(crate) fn find(&self, peer: PeerKey, message_id: u16) -> Option<FlightKey> {
        let index = self.index.find(self.hash.pair(peer.index(), message_id), |index| {
            let found = self.messages.at(*index);
            found.is_some_and(|flight| flight.peer == peer && flight.message.message_id == message_id)
        })?;
        self.messages.key_at(*index)
    }

    pub(crate) fn get(&self, key: FlightKey) -> Option<&InFlight> {
        self.messages.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: FlightKey) -> Option<&mut InFlight> {
        self.messages.get_mut(key)
    }

    pub(crate) fn key_at(&self, index: u32) -> Option<FlightKey> {
        self.messages.key_at(index)
    }

    /// Behind the last place that was ever used.
    pub(crate) const fn end(&self) -> u32 {
        self.messages.end()
    }

    /// Whether a message is to this peer.
    pub(crate) fn is_to(&self, key: FlightKey, peer: PeerKey) -> bool {
        self.messages.get(key).is_some_and(|flight| flight.peer == peer)
    }

    /// Nobody waits for an acknowledgement of this message any more.
    pub(crate) fn close(&mut self, key: FlightKey) -> Option<InFlight> {
        let flight = self.messages.remove(key)?;
        self.responses -= usize::from(flight.owner == Owner::Response);
        let hash = self.hash.pair(flight.peer.index(), flight.message.message_id);
        if let Ok(entry) = self.index.find_entry(hash, |index| *index == key.index()) {
            entry.remove();
        }
        if self.messages.len() == 0 && self.index.capacity() > 256 {
            self.index = HashTable::new();
        }
        Some(flight)
    }
}

fn rehash(messages: &Slab<InFlight>, hash: &KeyedHash, index: u32) -> u64 {
    messages.at(index).map_or(0, |flight| hash.pair(flight.peer.index(), flight.message.message_id))
}
