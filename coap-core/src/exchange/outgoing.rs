//! The requests that we sent, or will send: each ends in exactly one outcome (RFC 7252 §5.3).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::time::Duration;

use hashbrown::HashTable;

use crate::addr::{Local, Peer};
use crate::blockwise::client::{News, Operation, Part};
use crate::event::{Failure, Timing};
use crate::hash::KeyedHash;
use crate::links::{Link, List};
use crate::message::{Heed, Pacing, Progress, Response};
use crate::observe::{Observing, Tidings};
use crate::peers::PeerKey;
use crate::reliability::FlightKey;
use crate::slab::{Key, Slab};
use crate::time::Instant;
use crate::transmission::TransmissionParameters;
use crate::wire::{Message, Token};

pub(crate) type OutgoingKey = Key<Outgoing>;

/// One request of ours.
pub(crate) struct Outgoing {
    /// The record of its peer, which it holds; `None`: it goes to a group.
    pub(crate) peer: Option<PeerKey>,
    pub(crate) to: Peer,
    pub(crate) from: Local,
    /// What the response will carry; a ping has none.
    pub(crate) token: Option<Token>,
    chosen: Chosen,
    pub(crate) stage: Stage,
    pub(crate) pacing: Pacing,
    pub(crate) heed: Heed,
    pub(crate) progress: Progress,
    pub(crate) transmission: Option<Box<TransmissionParameters>>,
    pub(crate) started: Instant,
    pub(crate) last_sent: Instant,
    pub(crate) attempts: u8,
    /// It has been repeated with the Echo value that its server asked for (RFC 9175 §2.3).
    pub(crate) has_echoed: bool,
    /// The end that the caller set, whatever the stage.
    pub(crate) until: Option<Instant>,
    /// What makes it an observation.
    pub(crate) observing: Option<Box<Observing>>,
    pub(crate) bodies: Bodies,
    /// What its messages have in common with those of another request that the peer could mix up with it
    /// (`KeyedHash::operation`, without a Request-Tag of ours); `None`: its options tell it.
    pub(crate) body_key: Option<u64>,
    /// Whose rest it fetches (`Endpoint::fetch_rest`): it has nothing to tell the application.
    pub(crate) parent: Option<OutgoingKey>,
    /// A repetition to be told.
    repeated: Option<u8>,
    /// Responses of a group to be told.
    responses: VecDeque<(Peer, Response, Timing)>,
    /// Among the requests that have something to say.
    ready: Link,
    /// Among the open requests to the same peer.
    pub(crate) of_peer: Link,
    /// Among those of them that wait for their turn.
    pub(crate) waiting: Link,
}

/// Who chose a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// We, and no other request has it.
    ByUs,
    /// The caller, who can choose it again for the next request (RFC 7252 §5.3.1).
    ByCaller,
}

/// How far a request has come.
pub(crate) enum Stage {
    /// It waits for its turn; its Message ID is drawn when it leaves.
    Waiting(Box<Message>),
    /// It is on its way: a Confirmable one until it is acknowledged, a Non-confirmable one until it is answered.
    InFlight(FlightKey),
    /// It was acknowledged, and the response will come separately. The request is kept where nothing else knows what was
    /// asked: the response can make a further one necessary, or unwanted.
    Acknowledged(Option<Box<Message>>),
    /// Between two block exchanges: the application must supply or consume a part first.
    Paused,
    /// It went to a group, and responses are collected.
    Group,
    /// It is an observation that waits for notifications, and nothing of it is under way.
    Observing,
    /// It is over, and the application must still be told how.
    Settled(Box<(Outcome, Timing)>),
}

/// How the bodies of a request and of its response travel.
pub(crate) enum Bodies {
    /// In one exchange, unless the response needs more.
    Simple,
    /// In one exchange, whatever block options it carries: they are the caller's business.
    Raw,
    /// In block exchanges.
    Blocks(Box<Operation>),
}

/// How a request ends.
pub(crate) enum Outcome {
    Response {
        from: Peer,
        response: Response,
    },
    /// With the last part of the body of its response, which has been told.
    LastPart(Part),
    /// The rest of that body will not come.
    BodyFailed(Failure),
    Pong,
    Failed(Failure),
    Finished,
}

/// What a request has to tell the application.
pub(crate) enum Notice {
    Repeated { attempt: u8 },
    Observed(Tidings),
    GroupResponse { from: Peer, response: Response, timing: Timing },
    News { from: Peer, news: News },
    Settled(Outcome, Timing),
}

impl Bodies {
    pub(crate) fn operation(&self) -> Option<&Operation> {
        if let Self::Blocks(operation) = self { Some(operation) } else { None }
    }
}

impl Outgoing {
    pub(crate) const fn is_settled(&self) -> bool {
        matches!(self.stage, Stage::Settled(_))
    }

    pub(crate) const fn is_group(&self) -> bool {
        self.peer.is_none()
    }

    /// An observation that the application has done with, while its peer is being told.
    pub(crate) fn is_leaving(&self) -> bool {
        self.observing.as_ref().is_some_and(|observing| observing.is_leaving())
    }

    /// Whether a duplicate of a response to it could be taken for another: from a member of its group, or to the next request
    /// with its token. What is observed is told by its number.
    pub(crate) fn can_meet_duplicates(&self) -> bool {
        self.is_group() || (self.chosen == Chosen::ByCaller && self.observing.is_none())
    }

    /// It has reached the peer, or may have: a response with its token can be meant for it.
    fn is_known_there(&self) -> bool {
        let registered = || self.observing.as_ref().is_some_and(|observing| observing.is_registered());
        !matches!(self.stage, Stage::Waiting(_)) || registered()
    }

    /// Whether the application is to be told more.
    fn has_news(&self) -> bool {
        let tidings = || self.observing.as_ref().is_some_and(|observing| observing.has_tidings());
        let block = || self.operation().is_some_and(Operation::has_news);
        self.repeated.is_some() || !self.responses.is_empty() || self.is_settled() || tidings() || block()
    }

    pub(crate) fn operation(&self) -> Option<&Operation> {
        self.bodies.operation()
    }

    /// Until when its exchanges may go on: that of the caller. As long as the peer has answered nothing, it is no later than that
    /// of any other request, `patience` after its start, however often its first block may be sent.
    pub(crate) fn ends_at(&self, patience: Duration) -> Option<Instant> {
        let first = self.operation().is_some_and(Operation::is_unanswered).then(|| self.started + patience);
        [self.until, first].into_iter().flatten().min()
    }

    pub(crate) fn operation_mut(&mut self) -> Option<&mut Operation> {
        if let Bodies::Blocks(operation) = &mut self.bodies { Some(operation) } else { None }
    }

    pub(crate) fn timing(&self, now: Instant, round_trip: Option<Duration>) -> Timing {
        Timing { attempts: self.attempts, elapsed: now - self.started, round_trip }
    }
}

/// All requests of ours.
pub(crate) struct Outgoings {
    requests: Slab<Outgoing>,
    tokens: HashTable<u32>,
    ready: List,
    hash: KeyedHash,
    /// How many are not settled.
    open: usize,
}

fn ready(request: &mut Outgoing) -> &mut Link {
    &mut request.ready
}

pub(crate) fn of_peer(request: &mut Outgoing) -> &mut Link {
    &mut request.of_peer
}

pub(crate) fn waiting(request: &mut Outgoing) -> &mut Link {
    &mut request.waiting
}

/// What a new request is made of.
pub(crate) struct NewRequest {
    pub(crate) peer: Option<PeerKey>,
    pub(crate) to: Peer,
    pub(crate) from: Local,
    /// Of a request to a group.
    pub(crate) hops: Option<u8>,
    /// `None`: the application must supply a part first.
    pub(crate) message: Option<Message>,
    pub(crate) bodies: Bodies,
    /// See [`Outgoing::body_key`].
    pub(crate) body_key: Option<u64>,
    pub(crate) parent: Option<OutgoingKey>,
    pub(crate) chosen: Chosen,
    pub(crate) pacing: Pacing,
    pub(crate) heed: Heed,
    pub(crate) progress: Progress,
    pub(crate) transmission: Option<Box<TransmissionParameters>>,
    pub(crate) until: Option<Instant>,
}

impl Outgoings {
    pub(crate) const fn new(hash: KeyedHash) -> Self {
        Self { requests: Slab::new(), tokens: HashTable::new(), ready: List::new(), hash, open: 0 }
    }

    /// Those that are settled and not yet told included.
    pub(crate) const fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) const fn open_count(&self) -> usize {
        self.open
    }

    pub(crate) fn slab_mut(&mut self) -> &mut Slab<Outgoing> {
        &mut self.requests
    }

    pub(crate) fn get(&self, key: OutgoingKey) -> Option<&Outgoing> {
        self.requests.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: OutgoingKey) -> Option<&mut Outgoing> {
        self.requests.get_mut(key)
    }

    pub(crate) fn key_at(&self, index: u32) -> Option<OutgoingKey> {
        self.requests.key_at(index)
    }

    pub(crate) fn at(&self, index: u32) -> Option<&Outgoing> {
        self.requests.at(index)
    }

    /// Opens a request in the stage of waiting, or paused.
    pub(crate) fn open(&mut self, now: Instant, new: NewRequest) -> OutgoingKey {
        let NewRequest { peer, to, from, message, bodies, body_key, .. } = new;
        let NewRequest { parent, chosen, pacing, heed, progress, transmission, until, .. } = new;
        let token = message.as_ref().filter(|message| !message.code.is_empty()).map(|message| message.token.clone());
        let hash = token.as_ref().map(|token| self.hash.bytes(token.as_bytes()));
        let key = self.requests.insert(Outgoing {
            peer,
            to,
            from,
            stage: message.map_or(Stage::Paused, |message| Stage::Waiting(Box::new(message))),
            bodies,
            body_key,
            parent,
            chosen,
            pacing,
            heed,
            progress,
            transmission,
            started: now,
            last_sent: now,
            attempts: 0,
            has_echoed: false,
            until,
            observing: None,
            repeated: None,
            responses: VecDeque::new(),
            ready: Link::new(),
            of_peer: Link::new(),
            waiting: Link::new(),
            token,
        });
        let Self { requests, tokens, hash: keyed, .. } = self;
        if let Some(hash) = hash {
            tokens.insert_unique(hash, key.index(), |index| rehash(requests, keyed, *index));
        }
        self.open += 1;
        key
    }

    /// Makes a request wait for its next exchange, which has a token of its own.
    pub(crate) fn renew(&mut self, key: OutgoingKey, message: Message) {
        self.drop_token(key);
        let hash = self.hash.bytes(message.token.as_bytes());
        let Some(request) = self.requests.get_mut(key) else { return };
        request.token = Some(message.token.clone());
        request.stage = Stage::Waiting(Box::new(message));
        let Self { requests, tokens, hash: keyed, .. } = self;
        tokens.insert_unique(hash, key.index(), |index| rehash(requests, keyed, *index));
    }

    /// Makes a request wait for the application. Its last token means nothing any more.
    pub(crate) fn pause(&mut self, key: OutgoingKey) {
        self.drop_token(key);
        let Some(request) = self.requests.get_mut(key) else { return };
        request.token = None;
        request.stage = Stage::Paused;
    }

    /// The open request that a response with this token, from this peer, answers: the token alone counts for a group
    /// (RFC 7252 §8.2), token and peer otherwise (§5.3.2). A ping has no token and no response, and one that has not been
    /// sent has none either: that would be a late one to an earlier request with the same token.
    pub(crate) fn find(&self, token: &Token, from: &Peer) -> Option<OutgoingKey> {
        let index = self.tokens.find(self.hash.bytes(token.as_bytes()), |index| {
            let found = self.requests.at(*index);
            found.is_some_and(|request| {
                request.is_known_there()
                    && request.token.as_ref() == Some(token)
                    && (request.to == *from || request.is_group())
            })
        })?;
        self.requests.key_at(*index)
    }

    /// Whether a response with this token from this peer could be taken for the answer to an open request.
    pub(crate) fn is_in_use(&self, token: &Token, to: &Peer) -> bool {
        let group = to.is_multicast();
        let hash = self.hash.bytes(token.as_bytes());
        let same = |index: &u32| {
            let found = self.requests.at(*index);
            found.is_some_and(|request| {
                request.token.as_ref() == Some(token) && (group || request.to == *to || request.is_group())
            })
        };
        self.tokens.find(hash, same).is_some()
    }

    /// Puts a request on the list of those that have something to say.
    pub(crate) fn announce(&mut self, key: OutgoingKey) {
        self.ready.push_back(&mut self.requests, key.index(), ready);
    }

    /// Notes a repetition, for those that want to know.
    pub(crate) fn note_repetition(&mut self, key: OutgoingKey, now: Instant, attempt: u8) {
        let Some(request) = self.requests.get_mut(key) else { return };
        request.attempts = request.attempts.saturating_add(1);
        request.last_sent = now;
        if request.progress == Progress::Reported {
            request.repeated = Some(attempt);
            self.announce(key);
        }
    }

    /// Keeps a response of a group until it is polled. False: as many as may wait are waiting.
    pub(crate) fn add_response(
        &mut self,
        key: OutgoingKey,
        from: Peer,
        response: Response,
        timing: Timing,
        max: usize,
    ) -> bool {
        let Some(request) = self.requests.get_mut(key).filter(|request| request.responses.len() < max) else {
            return false;
        };
        request.responses.push_back((from, response, timing));
        self.announce(key);
        true
    }

    /// Writes down how the request ended. From here on its token means nothing.
    pub(crate) fn settle(&mut self, key: OutgoingKey, outcome: Outcome, timing: Timing) {
        self.drop_token(key);
        let Some(request) = self.requests.get_mut(key).filter(|request| !request.is_settled()) else { return };
        request.stage = Stage::Settled(Box::new((outcome, timing)));
        self.open -= 1;
        self.announce(key);
    }

    /// From here on a request says nothing.
    pub(crate) fn hush(&mut self, key: OutgoingKey) {
        let Some(request) = self.requests.get_mut(key) else { return };
        request.progress = Progress::Quiet;
        request.repeated = None;
        self.ready.remove(&mut self.requests, key.index(), ready);
    }

    /// The observations that are not over.
    pub(crate) fn observations(&self) -> impl Iterator<Item = OutgoingKey> + '_ {
        let open = |key: &OutgoingKey| {
            let found = self.requests.get(*key);
            found.is_some_and(|request| request.observing.is_some() && !request.is_settled())
        };
        self.requests.keys().filter(open)
    }

    /// Takes a request out without a word.
    pub(crate) fn remove(&mut self, key: OutgoingKey) -> Option<Outgoing> {
        self.drop_token(key);
        self.ready.remove(&mut self.requests, key.index(), ready);
        let request = self.requests.remove(key)?;
        self.open -= usize::from(!request.is_settled());
        if self.requests.len() == 0 && self.tokens.capacity() > 256 {
            self.tokens = HashTable::new();
        }
        Some(request)
    }

    /// Whether a request is among those that have something to tell.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.ready.front().is_some()
    }

    /// The next thing that a request has to say.
    pub(crate) fn poll(&mut self) -> Option<(OutgoingKey, Notice)> {
        while let Some(index) = self.ready.front() {
            let key = self.requests.key_at(index)?;
            let request = self.requests.get_mut(key)?;
            let notice = if let Some(attempt) = request.repeated.take() {
                Some(Notice::Repeated { attempt })
            } else if let Some(tidings) = request.observing.as_mut().and_then(|observing| observing.tell()) {
                Some(Notice::Observed(tidings))
            } else if let Some((from, response, timing)) = request.responses.pop_front() {
                Some(Notice::GroupResponse { from, response, timing })
            } else {
                let from = request.to;
                request.operation_mut().and_then(Operation::poll).map(|news| Notice::News { from, news })
            };
            if notice.is_none() && request.is_settled() {
                let Stage::Settled(end) = self.remove(key)?.stage else { return None };
                return Some((key, Notice::Settled(end.0, end.1)));
            }
            if !request.has_news() {
                self.ready.remove(&mut self.requests, index, ready);
            }
            if let Some(notice) = notice {
                return Some((key, notice));
            }
        }
        None
    }

    fn drop_token(&mut self, key: OutgoingKey) {
        let Some(token) = self.requests.get(key).and_then(|request| request.token.as_ref()) else { return };
        let hash = self.hash.bytes(token.as_bytes());
        if let Ok(entry) = self.tokens.find_entry(hash, |index| *index == key.index()) {
            entry.remove();
        }
    }
}

fn rehash(requests: &Slab<Outgoing>, hash: &KeyedHash, index: u32) -> u64 {
    let token = requests.at(index).and_then(|request| request.token.as_ref());
    token.map_or(0, |token| hash.bytes(token.as_bytes()))
}
