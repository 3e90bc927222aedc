//! As a server of observations (RFC 7641): topics are opened, told and closed, and observers come and go.

use core::time::Duration;

use bytes::Bytes;

use super::Endpoint;
use super::errors::RespondError;
use super::inbound::Path;
use crate::event::{Closed, Event, IncomingId};
use crate::exchange::{IncomingKey, Waiting};
use crate::message::{BlockSize, Body, Response};
use crate::observe::{
    NewObserver, Observer, ObserverId, ObserverKey, Registration, Stage, State, TopicId, TopicKey, TopicOptions,
};
use crate::peers::PeerKey;
use crate::reliability::FlightKey;
use crate::time::Instant;
use crate::wire::{Code, Message, Options, Token};

/// What Observe 0 in a request asks for, and Observe 1 (RFC 7641 §2).
const REGISTER: u32 = 0;
const DEREGISTER: u32 = 1;

/// The options that a notification can need beside those of its state, in bytes: Observe with a number of three bytes, and
/// one more for the delta of the option behind it.
const OBSERVE_LEN: usize = 5;

/// And for the first block of a longer body: ETag (9), Block2 (3) and Size2 (5), with one more each as above.
const BLOCK_LEN: usize = 20;

impl Endpoint {
    /// Opens a topic: something that can be observed, one representation of a resource.
    ///
    /// The endpoint knows neither resources nor representations: a request is tied to a topic by
    /// [`accept_observer`](Self::accept_observer). Topics are not bounded but by what the application opens, with about 200
    /// bytes and a state each; where peers can cause one to be opened, close those without observers.
    pub fn open_topic(&mut self, how: TopicOptions) -> TopicId {
        self.topics.open(how)
    }

    /// Tells all observers of a topic of a new state. It costs the same however many there are:
    /// [`poll_transmit`](Self::poll_transmit) tells one after the other, after everything else that is to be sent. Who is
    /// slow, or must not be told yet, is told of the latest state only (RFC 7641 §4.5.2).
    ///
    /// Observe is added here, and if the body is longer than a block, its first block is sent (RFC 7959 §2.6).
    ///
    /// An error (4.xx, 5.xx) ends all observations: each observer is told of it, Confirmable and without Observe (RFC 7641
    /// §4.2), and is none from now on. The topic stays, and can be observed anew.
    ///
    /// False, and nothing has changed: the topic was closed, the code is not that of a response, the body is in parts or a
    /// range, or the options leave no room for it in `Config::max_datagram`.
    pub fn publish(&mut self, now: Instant, topic: TopicId, state: Response) -> bool {
        self.advance(now);
        let Some(key) = self.topics.named(topic) else { return false };
        if !state.code.is_response() || !self.can_be_told(&state) {
            return false;
        }
        let (error, state) = (state.code.is_error(), Some(State::new(state)));
        let observers = self.observers.slab_mut();
        let how = self.topics.get(key).filter(|topic| error && topic.observers > 0).map(|topic| topic.how);
        match how {
            Some(how) => {
                self.topics.begin_anew(topic, how);
                self.topics.end(observers, key, state);
            }
            None => self.topics.publish(observers, key, state),
        }
        true
    }

    /// Closes a topic. Its observers are told the last response, Confirmable and without Observe (4.04 where the resource
    /// is gone: RFC 7641 §4.2), or nothing at all, and are none from now on. No event tells of their end.
    ///
    /// A response that cannot be told is told by its code alone. False: it was closed before.
    pub fn close_topic(&mut self, now: Instant, topic: TopicId, last: Option<Response>) -> bool {
        self.advance(now);
        let Some(key) = self.topics.named(topic) else { return false };
        let last = last.filter(|last| last.code.is_response());
        let last = last.map(|last| if self.can_be_told(&last) { last } else { Response::new(last.code) });
        self.topics.forget_name(topic);
        self.topics.end(self.observers.slab_mut(), key, last.map(State::new));
        true
    }

    /// How many observers a topic has; none if it was closed.
    pub fn topic_observers(&self, topic: TopicId) -> usize {
        self.topics.named(topic).and_then(|key| self.topics.get(key)).map_or(0, |topic| topic.observers)
    }

    /// Answers a registration (GET or FETCH with Observe 0) and adds the peer to the observers of a topic. `first` is the
    /// latest state; Observe is added.
    ///
    /// The same peer with the same token again has one entry (RFC 7641 §4.1): it keeps its id, also when it comes to another
    /// topic.
    ///
    /// `None`: the request is answered, and observes nothing: it was no registration, `first` is an error, the topic was
    /// closed, its peer must prove its address first (`Config::unproven_limit`), or `Config::max_observers` or `max_observers_per_peer` is reached (`Stats::refused_observers`). An entry that
    /// it had is gone then.
    ///
    /// # Errors
    /// As [`respond`](Self::respond); nothing has changed.
    pub fn accept_observer(
        &mut self,
        now: Instant,
        of: IncomingId,
        topic: TopicId,
        first: Response,
    ) -> Result<Option<ObserverId>, RespondError> {
        let now = self.advance(now);
        let Some(new) = self.registration_for(now, of.0, topic).filter(|_| first.code.is_success()) else {
            self.respond(now, of, first)?;
            return Ok(None);
        };
        if first.body.is_in_parts() {
            return Err(RespondError::PartsImpossible);
        }
        let known = self.observers.find(new.peer, &new.token);
        if known.is_none() && !self.has_observer_room(new.peer) {
            self.respond(now, of, first)?;
            self.stats.refused_observers += 1;
            return Ok(None);
        }
        let last = known.and_then(|key| self.observers.get(key)).map(|observer| observer.number);
        let number = last.map_or(new.number, |last| Observer::next_number(last, now));
        let mut first = first;
        first.options.set_observe(number);
        let (separate, challenged) = (self.flights.responses(), self.stats.unproven_challenged);
        self.answer(now, of.0, first)?;
        if self.stats.unproven_challenged > challenged {
            // It was not told that it observes. It will ask again.
            self.lose_by_token(now, new.peer, &new.token, Closed::Superseded);
            return Ok(None);
        }
        let separate = self.flights.responses() > separate;
        let (peer, new) = (new.peer, NewObserver { number, ..new });
        let key = match known {
            Some(key) => self.renew(now, key, new),
            None => self.register(now, new),
        };
        if let Some(key) = key.filter(|_| separate) {
            // That is the notification which is outstanding (RFC 7641 §4.5.1). Its end comes before this time.
            let lifetime = self.transmission(peer).exchange_lifetime();
            self.pause(now, key, now + lifetime);
        }
        Ok(key.map(ObserverId))
    }

    /// Ends an observation without a word; the observer finds out when its Max-Age is over. No event follows. False: it was
    /// over already.
    pub fn remove_observer(&mut self, now: Instant, observer: ObserverId) -> bool {
        let now = self.advance(now);
        let known = self.observers.get(observer.0).filter(|entry| !matches!(entry.stage, Stage::Lost(..)));
        // One of a topic that has ended is none any more, though its last word may be under way.
        let observes = known.and_then(|entry| self.topics.get(entry.topic)).is_some_and(|topic| !topic.is_over());
        if observes {
            self.remove(now, observer.0, None);
        }
        observes
    }

    // ----- Who comes ---------------------------------------------------------------------------------------------

    /// What Observe in a request means. One that ends an observation has done so before it is handed up as the plain
    /// request that it is as well (RFC 7641 §4.1).
    pub(super) fn on_observe(
        &mut self,
        now: Instant,
        path: Path,
        peer: PeerKey,
        request: &Message,
    ) -> Option<Registration> {
        let may_observe = matches!(request.code, Code::GET | Code::FETCH) && !path.is_multicast();
        let observe = request.options.observe().filter(|_| may_observe)?;
        let block = request.options.block2();
        // A further block of a state is fetched without observing (RFC 7959 §2.6).
        if block.is_some_and(|block| block.num() > 0) {
            return None;
        }
        match observe {
            REGISTER => {
                let szx = block.map_or(BlockSize::MAX.szx(), |block| block.szx().min(BlockSize::MAX.szx()));
                let operation = self.hash.operation(request.code, &request.options);
                Some(Registration { operation, szx })
            }
            DEREGISTER => {
                // The application may not have answered the registration yet.
                if self.peers.get(peer).is_some_and(|record| record.incoming > 1) {
                    self.incoming.withdraw_registration(peer, &request.token);
                }
                self.lose_by_token(now, peer, &request.token, Closed::Deregistered);
                None
            }
            _ => None,
        }
    }

    /// What an open request that registers would make of itself.
    fn registration_for(&self, now: Instant, of: IncomingKey, topic: TopicId) -> Option<NewObserver> {
        let request = self.incoming.get(of).filter(|request| matches!(request.waiting, Waiting::Response))?;
        let key = self.topics.named(topic)?;
        Some(NewObserver {
            peer: request.peer,
            topic: key,
            source: request.local.into(),
            token: request.token.clone(),
            registration: request.registration?,
            version: self.topics.get(key)?.version,
            number: Observer::number_at(now),
        })
    }

    fn has_observer_room(&self, peer: PeerKey) -> bool {
        let of_peer = self.peers.get(peer).map_or(0, |record| record.observing.all.len());
        self.observers.len() < self.config.max_observers && of_peer < self.config.max_observers_per_peer
    }

    fn register(&mut self, now: Instant, new: NewObserver) -> Option<ObserverKey> {
        let (peer, topic) = (new.peer, new.topic);
        let key = self.observers.insert(now, &mut self.peers.get_mut(peer)?.observing, new);
        self.peers.hold(peer);
        self.join(now, key, topic);
        Some(key)
    }

    /// A peer registers again. What was under way is superseded by the answer.
    fn renew(&mut self, now: Instant, key: ObserverKey, new: NewObserver) -> Option<ObserverKey> {
        self.withdraw(now, key);
        // A Reset for what came before may have been sent before the registration.
        self.observers.forget_messages(key);
        let before = self.observers.get(key)?.topic;
        self.topics.leave(before);
        let pace = self.peers.get(new.peer)?.observing.pace();
        let observer = self.observers.get_mut(key)?;
        // A Non-confirmable notification still keeps its distance to the next, although its turn has ended.
        let unconfirmed = observer.unconfirmed > 0;
        let paced = observer.last_sent + if unconfirmed { pace } else { Duration::ZERO };
        observer.topic = new.topic;
        observer.source = new.source;
        observer.operation = new.registration.operation;
        observer.szx = new.registration.szx;
        observer.version = new.version;
        observer.is_told = false;
        observer.number = new.number;
        observer.last_sent = now;
        self.join(now, key, new.topic);
        let interval = self.topics.get(new.topic).map_or(Duration::ZERO, |topic| topic.how.min_interval);
        if paced > now + interval {
            self.pause(now, key, paced);
        }
        Some(key)
    }

    fn join(&mut self, now: Instant, key: ObserverKey, topic: TopicKey) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.observers += 1;
        }
        self.rest(now, key);
    }

    // ----- Who goes ----------------------------------------------------------------------------------------------

    /// A registration was answered without being accepted: an entry that it would have renewed is gone.
    pub(super) fn end_registration(&mut self, now: Instant, of: IncomingKey) {
        if let Some((peer, token)) = self.registering(of) {
            self.lose_by_token(now, peer, &token, Closed::Superseded);
        }
    }

    /// Who registers with an open request.
    pub(super) fn registering(&self, of: IncomingKey) -> Option<(PeerKey, Token)> {
        let request = self.incoming.get(of).filter(|request| request.registration.is_some())?;
        Some((request.peer, request.token.clone()))
    }

    /// The separate answer to a registration was acknowledged: there can be notifications now.
    pub(super) fn begin_registered_by(&mut self, now: Instant, flight: FlightKey) {
        let registered = self.registered_by(flight);
        let paused = |observer: &Observer| matches!(observer.stage, Stage::Paused);
        if let Some(key) = registered.filter(|key| self.observers.get(*key).is_some_and(paused)) {
            self.withdraw(now, key);
            self.rest(now, key);
        }
    }

    /// The separate answer to a registration was rejected, or never acknowledged: it is a notification too.
    pub(super) fn end_registered_by(&mut self, now: Instant, flight: FlightKey, why: Closed) {
        if let Some(key) = self.registered_by(flight) {
            self.remove(now, key, Some(why));
        }
    }

    /// Whom a separate answer made an observer, if that is what it was told last: it may have registered again since.
    fn registered_by(&self, flight: FlightKey) -> Option<ObserverKey> {
        let flight = self.flights.get(flight)?;
        let number = flight.message.options.observe()?;
        let key = self.observers.find(flight.peer, &flight.message.token)?;
        self.observers.get(key).filter(|observer| observer.was_told(number)).map(|_| key)
    }

    pub(super) fn lose_by_token(&mut self, now: Instant, peer: PeerKey, token: &Token, why: Closed) {
        if let Some(key) = self.observers.find(peer, token) {
            self.remove(now, key, Some(why));
        }
    }

    /// Removes an entry. `why`: it ended by the peer or the network, and the application is told so, unless it has ended the
    /// topic itself.
    pub(super) fn remove(&mut self, now: Instant, key: ObserverKey, why: Option<Closed>) {
        self.withdraw(now, key);
        let Some(observer) = self.observers.get(key) else { return };
        let (peer, topic) = (observer.peer, observer.topic);
        let name = self.topics.get(topic).and_then(|topic| topic.name);
        if let Some(record) = self.peers.get_mut(peer) {
            self.observers.unregister(&mut record.observing, key);
        }
        match why.zip(name) {
            Some((why, name)) => self.observers.tell(key, why, name),
            None => self.observers.discard(key),
        }
        self.topics.leave(topic);
        self.peers.release(now, peer);
    }

    /// The next observer whose end is to be told.
    pub(super) fn poll_observers(&mut self) -> Option<Event> {
        let (key, why, topic) = self.observers.poll_lost()?;
        Some(Event::ObserverLost { id: ObserverId(key), topic, why })
    }

    /// What a peer that observes with this operation is told at this moment: the further blocks of a state come from here,
    /// without the application (RFC 7959 §2.6). `None` also if it has been told nothing since its registration was answered,
    /// or observes two topics with this operation, whose content is in what a FETCH carries.
    pub(super) fn observed_body(&mut self, peer: PeerKey, operation: u64) -> Option<(Code, Options, Bytes)> {
        let of = &self.peers.get(peer)?.observing;
        let observers = self.observers.of_peer(of).filter_map(|key| self.observers.get(key));
        let mut observers = observers.filter(|observer| observer.operation == operation);
        let first = observers.next()?;
        let (topic, mut is_told) = (first.topic, first.is_told);
        for other in observers {
            if other.topic != topic {
                return None;
            }
            is_told |= other.is_told;
        }
        if !is_told {
            return None;
        }
        let state = self.topics.get_mut(topic)?.state.as_mut()?;
        let mut options = state.options.clone();
        state.tag(&self.hash, &mut options);
        Some((state.code, options, state.body.clone()))
    }

    // ----- What is told ------------------------------------------------------------------------------------------

    /// Whether a response fits into notifications, at least block by block.
    fn can_be_told(&self, state: &Response) -> bool {
        let Body::Whole(body) = &state.body else { return false };
        let most = BlockSize::MIN.bytes();
        let whole = 4 + self.config.token_room() + state.options.encoded_len() + OBSERVE_LEN + 1;
        let needed = if body.len() <= most { whole + body.len() } else { whole + BLOCK_LEN + most };
        needed <= self.config.max_datagram
    }
}
