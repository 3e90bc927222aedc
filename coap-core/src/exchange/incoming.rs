//! The requests that we received: an acknowledgement is owed soon, a response later (RFC 7252 §5.2).

use core::time::Duration;

use crate::addr::{Local, Peer};
use crate::links::{Link, List};
use crate::message::Request;
use crate::observe::Registration;
use crate::peers::PeerKey;
use crate::reliability::RecentKey;
use crate::slab::{Key, Slab};
use crate::time::Instant;
use crate::wire::{Message, Token, Type};

pub(crate) type IncomingKey = Key<Incoming>;

/// One request of a peer.
pub(crate) struct Incoming {
    /// The record of the peer, which it holds.
    pub(crate) peer: PeerKey,
    pub(crate) from: Peer,
    pub(crate) local: Local,
    pub(crate) kind: Type,
    pub(crate) message_id: u16,
    pub(crate) token: Token,
    /// Where its Message ID is remembered.
    pub(crate) recent: Option<RecentKey>,
    pub(crate) no_response: Option<u8>,
    /// It asks to observe.
    pub(crate) registration: Option<Registration>,
    pub(crate) opened: Instant,
    pub(crate) waiting: Waiting,
    /// Until it is handed up.
    request: Option<Request>,
    /// Among those that have something to say.
    ready: Link,
    /// Among those that are owed an acknowledgement.
    owed: Link,
    /// Among those that are owed a response, oldest first.
    open: Link,
}

/// What the peer waits for.
pub(crate) enum Waiting {
    /// A response; whether an acknowledgement is owed too is known by the list of those.
    Response,
    /// The end of its leisure: the answer to a multicast request is here (RFC 7252 §8.2).
    Leisure(Message),
    /// Nothing: it was told 5.03, and the application must still be told that.
    Closed,
}

/// What a request has to tell the application.
pub(crate) enum Told {
    Request(Request),
    TimedOut,
}

pub(crate) struct Incomings {
    requests: Slab<Incoming>,
    ready: List,
    owed: List,
    open: List,
}

fn ready(request: &mut Incoming) -> &mut Link {
    &mut request.ready
}

fn owed(request: &mut Incoming) -> &mut Link {
    &mut request.owed
}

fn open(request: &mut Incoming) -> &mut Link {
    &mut request.open
}

/// What a new request is made of.
pub(crate) struct NewIncoming {
    pub(crate) peer: PeerKey,
    pub(crate) from: Peer,
    pub(crate) local: Local,
    pub(crate) kind: Type,
    pub(crate) message_id: u16,
    pub(crate) token: Token,
    pub(crate) recent: Option<RecentKey>,
    pub(crate) no_response: Option<u8>,
    pub(crate) registration: Option<Registration>,
    pub(crate) request: Request,
}

impl Incomings {
    pub(crate) const fn new() -> Self {
        Self { requests: Slab::new(), ready: List::new(), owed: List::new(), open: List::new() }
    }

    pub(crate) const fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn get(&self, key: IncomingKey) -> Option<&Incoming> {
        self.requests.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: IncomingKey) -> Option<&mut Incoming> {
        self.requests.get_mut(key)
    }

    pub(crate) fn key_at(&self, index: u32) -> Option<IncomingKey> {
        self.requests.key_at(index)
    }

    /// Opens a request: its response is owed, and a Confirmable one's acknowledgement.
    pub(crate) fn open(&mut self, now: Instant, new: NewIncoming) -> IncomingKey {
        let NewIncoming { peer, from, local, kind, message_id, token, recent, no_response, registration, request } =
            new;
        let key = self.requests.insert(Incoming {
            peer,
            from,
            local,
            kind,
            message_id,
            token,
            recent,
            no_response,
            registration,
            opened: now,
            waiting: Waiting::Response,
            request: Some(request),
            ready: Link::new(),
            owed: Link::new(),
            open: Link::new(),
        });
        self.ready.push_back(&mut self.requests, key.index(), ready);
        self.open.push_back(&mut self.requests, key.index(), open);
        if kind == Type::Confirmable {
            self.owed.push_back(&mut self.requests, key.index(), owed);
        }
        key
    }

    /// The request that has waited longest for its acknowledgement, and since when.
    pub(crate) fn next_owed(&self) -> Option<(IncomingKey, Instant)> {
        self.oldest(&self.owed)
    }

    /// The request that has waited longest for its response, and since when.
    pub(crate) fn next_unanswered(&self) -> Option<(IncomingKey, Instant)> {
        self.oldest(&self.open)
    }

    /// Whether the acknowledgement of a request is still owed, and so can carry the response.
    pub(crate) fn is_owed(&self, key: IncomingKey) -> bool {
        self.requests.get(key).is_some_and(|request| request.owed.is_linked())
    }

    /// The acknowledgement has been sent.
    pub(crate) fn acknowledged(&mut self, key: IncomingKey) {
        self.owed.remove(&mut self.requests, key.index(), owed);
    }

    /// Keeps the answer to a multicast request until its leisure is over.
    pub(crate) fn answer_later(&mut self, key: IncomingKey, message: Message) {
        self.open.remove(&mut self.requests, key.index(), open);
        if let Some(request) = self.requests.get_mut(key) {
            request.waiting = Waiting::Leisure(message);
        }
    }

    /// The application was too slow. What it does not know of is gone at once; of the rest it is told.
    pub(crate) fn time_out(&mut self, key: IncomingKey) {
        let known = self.requests.get(key).is_some_and(|request| request.request.is_none());
        if !known {
            self.remove(key);
            return;
        }
        self.owed.remove(&mut self.requests, key.index(), owed);
        self.open.remove(&mut self.requests, key.index(), open);
        if let Some(request) = self.requests.get_mut(key) {
            request.waiting = Waiting::Closed;
        }
        self.ready.push_back(&mut self.requests, key.index(), ready);
    }

    pub(crate) fn remove(&mut self, key: IncomingKey) {
        if self.requests.get(key).is_none() {
            return;
        }
        self.ready.remove(&mut self.requests, key.index(), ready);
        self.owed.remove(&mut self.requests, key.index(), owed);
        self.open.remove(&mut self.requests, key.index(), open);
        self.requests.discard(key);
    }

    /// The next thing that a request has to say. One that is closed is gone with it.
    pub(crate) fn poll(&mut self) -> Option<(IncomingKey, Told)> {
        let index = self.ready.pop_front(&mut self.requests, ready)?;
        let key = self.requests.key_at(index)?;
        match self.requests.get_mut(key)?.request.take() {
            Some(request) => Some((key, Told::Request(request))),
            None => {
                self.remove(key);
                Some((key, Told::TimedOut))
            }
        }
    }

    fn oldest(&self, list: &List) -> Option<(IncomingKey, Instant)> {
        let index = list.front()?;
        Some((self.requests.key_at(index)?, self.requests.at(index)?.opened))
    }
}

/// When a request that was opened at `opened` is due, `span` later.
pub(crate) fn due(opened: Option<(IncomingKey, Instant)>, span: Duration) -> Option<Instant> {
    opened.map(|(_, opened)| opened + span)
}
