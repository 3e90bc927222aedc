//! The requests that we received: an acknowledgement is owed soon, a response later (RFC 7252 §5.2).

use alloc::boxed::Box;
use core::time::Duration;

use crate::addr::{Local, Peer};
use crate::blockwise::server::{Operation, TransferKey};
use crate::event::Closed;
use crate::hash::KeyedHash;
use crate::links::{Link, List, Pick};
use crate::message::Request;
use crate::observe::Registration;
use crate::peers::PeerKey;
use crate::reliability::RecentKey;
use crate::slab::{Key, Slab};
use crate::time::Instant;
use crate::wire::{Block, Code, Message, Options, Token, Type};

pub(crate) type IncomingKey = Key<Incoming>;

/// One request of a peer. While it comes or is answered in blocks, what is said of a message is said of the last.
pub(crate) struct Incoming {
    /// The record of the peer, which it holds.
    pub(crate) peer: PeerKey,
    pub(crate) from: Peer,
    pub(crate) local: Local,
    pub(crate) kind: Type,
    pub(crate) method: Code,
    pub(crate) message_id: u16,
    pub(crate) token: Token,
    /// Where its Message ID is remembered.
    pub(crate) recent: Option<RecentKey>,
    pub(crate) no_response: Option<u8>,
    pub(crate) asked: Asked,
    common: Common,
    /// Its content, or that of its response, if that goes part by part.
    pub(crate) transfer: Option<TransferKey>,
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

/// Which blocks a message carries and asks for (RFC 7959 §2.1), and of whom.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked {
    pub(crate) block1: Option<Block>,
    pub(crate) block2: Option<Block>,
    /// Its peer had not proven its address, and its answer is limited (`Config::unproven_limit`).
    pub(crate) limited: bool,
}

impl Asked {
    pub(crate) const fn new(block1: Option<Block>, block2: Option<Block>) -> Self {
        Self { block1, block2, limited: false }
    }
}

/// What the messages of the blocks of a request and its response have in common (`KeyedHash::operation`).
pub(crate) enum Common {
    Hash(u64),
    /// Most requests have nothing to do with blocks, and to copy a few bytes costs less than to hash them.
    Of(Code, Options),
}

impl Common {
    #[inline]
    pub(crate) fn of(hash: &KeyedHash, message: &Message) -> Self {
        let Message { code, options, .. } = message;
        options.short_copy().map_or_else(|| Self::Hash(hash.operation(*code, options)), |copy| Self::Of(*code, copy))
    }
}

impl Incoming {
    /// What the application sees of it, once.
    #[inline]
    pub(crate) const fn take_request(&mut self) -> Option<Request> {
        self.request.take()
    }

    /// The Echo value that it came with, until the application has seen it.
    #[inline]
    pub(crate) fn echo(&self) -> Option<&[u8]> {
        self.request.as_ref()?.options.echo()
    }

    /// Which body its blocks, or those of its response, are of.
    pub(crate) fn operation(&self, hash: &KeyedHash) -> Operation {
        let hash = match &self.common {
            Common::Hash(hash) => *hash,
            Common::Of(code, options) => hash.operation(*code, options),
        };
        Operation { peer: self.peer, hash }
    }
}

/// What the peer waits for.
pub(crate) enum Waiting {
    /// A response; whether an acknowledgement is owed too is known by the list of those.
    Response,
    /// The end of its leisure: the answer to a multicast request is here (RFC 7252 §8.2).
    Leisure(Box<Message>),
    /// Nothing: the next block is its to send, or to ask for.
    Nothing,
    /// Nothing any more, and the application must still be told so.
    Closed(Closed),
}

/// What a request has to tell the application.
pub(crate) enum Told {
    /// It is here: [`Incoming::take_request`].
    Request,
    /// Something about a body: its transfer knows what.
    Body,
    Closed(Closed),
}

pub(crate) struct Incomings {
    requests: Slab<Incoming>,
    ready: List,
    owed: List,
    open: List,
    /// How many wait for their peer.
    parked: usize,
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
    pub(crate) method: Code,
    pub(crate) message_id: u16,
    pub(crate) token: Token,
    pub(crate) recent: Option<RecentKey>,
    pub(crate) no_response: Option<u8>,
    pub(crate) asked: Asked,
    pub(crate) common: Common,
    pub(crate) registration: Option<Registration>,
}

/// What of a request is another with each of its messages.
pub(crate) struct Arrived {
    pub(crate) local: Local,
    pub(crate) kind: Type,
    pub(crate) message_id: u16,
    pub(crate) token: Token,
    pub(crate) recent: Option<RecentKey>,
    pub(crate) no_response: Option<u8>,
    pub(crate) asked: Asked,
}

impl Incomings {
    pub(crate) const fn new() -> Self {
        Self { requests: Slab::new(), ready: List::new(), owed: List::new(), open: List::new(), parked: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.requests.len()
    }

    /// Those whose peer does not wait for us do not count against the bound: they count as transfers.
    pub(crate) const fn counted(&self) -> usize {
        self.requests.len() - self.parked
    }

    pub(crate) fn get(&self, key: IncomingKey) -> Option<&Incoming> {
        self.requests.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: IncomingKey) -> Option<&mut Incoming> {
        self.requests.get_mut(key)
    }

    /// Behind the last place that was ever used.
    pub(crate) const fn end(&self) -> u32 {
        self.requests.end()
    }

    pub(crate) fn key_at(&self, index: u32) -> Option<IncomingKey> {
        self.requests.key_at(index)
    }

    /// Opens a request: its response is owed, and a Confirmable one's acknowledgement. The application is not told.
    pub(crate) fn open(&mut self, now: Instant, new: NewIncoming) -> IncomingKey {
        let NewIncoming { peer, from, local, kind, message_id, token, recent, no_response, .. } = new;
        let NewIncoming { method, asked, common, registration, .. } = new;
        let key = self.requests.insert(Incoming {
            peer,
            from,
            local,
            kind,
            method,
            message_id,
            token,
            recent,
            no_response,
            asked,
            common,
            transfer: None,
            registration,
            opened: now,
            waiting: Waiting::Response,
            request: None,
            ready: Link::new(),
            owed: Link::new(),
            open: Link::new(),
        });
        self.open.push_back(&mut self.requests, key.index(), open);
        if kind == Type::Confirmable {
            self.owed.push_back(&mut self.requests, key.index(), owed);
        }
        key
    }

    /// What a peer asked for with this token is not to be observed any more.
    pub(crate) fn withdraw_registration(&mut self, peer: PeerKey, token: &Token) {
        for index in 0..self.requests.end() {
            let request = self.requests.at_mut(index).filter(|request| request.peer == peer && request.token == *token);
            if let Some(request) = request {
                request.registration = None;
            }
        }
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
            request.waiting = Waiting::Leisure(Box::new(message));
        }
    }

    /// The next message of the request arrived, and is what is answered from now on.
    pub(crate) fn renew(&mut self, now: Instant, key: IncomingKey, arrived: Arrived) {
        let Some(request) = self.requests.get_mut(key) else { return };
        let Arrived { local, kind, message_id, token, recent, no_response, asked } = arrived;
        (request.local, request.kind, request.message_id, request.token) = (local, kind, message_id, token);
        (request.recent, request.no_response, request.asked) = (recent, no_response, asked);
        request.opened = now;
        if matches!(request.waiting, Waiting::Nothing) {
            self.parked -= 1;
        }
        request.waiting = Waiting::Response;
        for (list, link) in [(&mut self.owed, owed as Pick<Incoming>), (&mut self.open, open)] {
            list.remove(&mut self.requests, key.index(), link);
        }
        self.open.push_back(&mut self.requests, key.index(), open);
        if kind == Type::Confirmable {
            self.owed.push_back(&mut self.requests, key.index(), owed);
        }
    }

    /// Its message has been answered, and the peer is to send the next.
    pub(crate) fn park(&mut self, key: IncomingKey) {
        let Some(request) = self.requests.get_mut(key) else { return };
        if matches!(request.waiting, Waiting::Response) {
            request.waiting = Waiting::Nothing;
            self.parked += 1;
            self.owed.remove(&mut self.requests, key.index(), owed);
            self.open.remove(&mut self.requests, key.index(), open);
        }
    }

    /// Hands the request up.
    pub(crate) fn announce(&mut self, key: IncomingKey, content: Request) {
        if let Some(request) = self.requests.get_mut(key) {
            request.request = Some(content);
            self.tell(key);
        }
    }

    /// There is something to tell about a body.
    pub(crate) fn tell(&mut self, key: IncomingKey) {
        self.ready.push_back(&mut self.requests, key.index(), ready);
    }

    /// It will not be answered any more. What the application does not know of is gone at once; of the rest it is told.
    pub(crate) fn close(&mut self, key: IncomingKey, why: Closed) {
        let Some(request) = self.requests.get(key) else { return };
        let known = request.request.is_none();
        self.remove_from_lists(key);
        if !known {
            self.requests.discard(key);
            return;
        }
        if let Some(request) = self.requests.get_mut(key) {
            request.waiting = Waiting::Closed(why);
        }
        self.ready.push_back(&mut self.requests, key.index(), ready);
    }

    pub(crate) fn remove(&mut self, key: IncomingKey) {
        if self.requests.get(key).is_some() {
            self.remove_from_lists(key);
            self.requests.discard(key);
        }
    }

    /// The next thing that a request has to say. One that is closed is gone with it.
    pub(crate) fn poll(&mut self) -> Option<(IncomingKey, Told)> {
        let index = self.ready.pop_front(&mut self.requests, ready)?;
        let key = self.requests.key_at(index)?;
        let found = self.requests.get_mut(key)?;
        if found.request.is_some() {
            return Some((key, Told::Request));
        }
        let Waiting::Closed(why) = found.waiting else { return Some((key, Told::Body)) };
        self.remove(key);
        Some((key, Told::Closed(why)))
    }

    fn remove_from_lists(&mut self, key: IncomingKey) {
        if self.requests.get(key).is_some_and(|request| matches!(request.waiting, Waiting::Nothing)) {
            self.parked -= 1;
        }
        self.ready.remove(&mut self.requests, key.index(), ready);
        self.owed.remove(&mut self.requests, key.index(), owed);
        self.open.remove(&mut self.requests, key.index(), open);
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

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::addr::SessionId;

    /// Some request of a peer.
    pub(crate) fn arrived(peer: PeerKey) -> NewIncoming {
        NewIncoming {
            peer,
            from: Peer::Session(SessionId::new(0)),
            local: Local::default(),
            kind: Type::Confirmable,
            method: Code::GET,
            message_id: 1,
            token: Token::EMPTY,
            recent: None,
            no_response: None,
            asked: Asked::default(),
            common: Common::Hash(0),
            registration: None,
        }
    }
}
