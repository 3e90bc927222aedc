//! Observing a resource (RFC 7641 §3): registered, told of each newer state, registered again when nothing comes, and ended
//! by either side.
//!
//! An observation is a request that outlives its first response. While it waits for notifications nothing of it is in
//! flight: it holds its peer, its token and a place in the table of requests, and no turn of other requests (NSTART).

use alloc::vec::Vec;

use super::Endpoint;
use super::client::new_request;
use super::errors::RequestError;
use super::inbound::{Path, response_of};
use super::upload::Plan;
use crate::addr::Peer;
use crate::blockwise::client::Operation;
use crate::deadlines::Reason;
use crate::event::{Failure, RequestId};
use crate::exchange::{self, Bodies, Outcome, OutgoingKey, Stage};
use crate::message::{BlockSize, Blocks, Body, Request, RequestOptions, Response};
use crate::observe::{Next, Observing, Place, Verdict};
use crate::reliability::Answer;
use crate::time::Instant;
use crate::wire::{Code, Message, OptionNumber, Token, Type};

impl Endpoint {
    /// Observes a resource: sends a GET or FETCH request with Observe 0, as [`request`](Self::request) does, and raises
    /// `Event::Notification` for the first state and for each newer one.
    ///
    /// It ends with `Event::Response` when the server does not offer observation, or not any more: that response has no
    /// Observe option, or an error code. It ends with `Event::Failed` when the registration fails, and later when
    /// registering again has failed as often as [`RequestOptions::reregistration`] says. The application ends it with
    /// [`deregister`](Self::deregister) or [`cancel`](Self::cancel).
    ///
    /// `Event::Stale` says, once, that the last state is older than its Max-Age and 5 s of grace. The observation is
    /// registered again a random 5 to 15 s after Max-Age (`Event::Reregistering`), with the ETag of the state that was told
    /// last; if that is still the state, the server can say so with 2.03. Until another ETag is told, it may say so later as
    /// well: keep the states whose ETags you were told if the server uses 2.03.
    ///
    /// While the server wants similar requests later (RFC 8516 §4) it is not registered again, but when that is over; no attempt is
    /// counted for it.
    ///
    /// Of a state that is longer than a block the notification has the first, and the rest is fetched (RFC 7959 §2.6). Only
    /// whole states are told: a newer one takes the place of one that is being fetched, and one that cannot be fetched is
    /// left out (`Stats::notifications_incomplete`); if that is the first, `Event::Stale` says so at once. Where the content of a
    /// FETCH makes the difference to another, it gets a Request-Tag (RFC 9175 §3.3).
    ///
    /// The timeout of `how` covers the first registration; parts, resumption and progress of bodies do not apply. Bounded by
    /// `Config::max_requests`, of which a fetch takes one too. A registration that is repeated finds its place behind others
    /// even if `max_backlog` wait.
    ///
    /// # Errors
    /// Those of a request; also if the method is neither GET nor FETCH, `to` a group, or the content longer than a block:
    /// what is sent in blocks has no first request that could be registered. Nothing has changed then.
    pub fn observe(
        &mut self,
        now: Instant,
        to: Peer,
        mut request: Request,
        how: &RequestOptions,
    ) -> Result<RequestId, RequestError> {
        if !matches!(request.code, Code::GET | Code::FETCH) {
            return Err(RequestError::NotObservable { code: request.code });
        }
        if to.is_multicast() {
            return Err(RequestError::MulticastObservation);
        }
        request.options.set_observe(0);
        let (now, to) = (self.advance(now), to.on(how.from.interface));
        if let Some(until) = self.must_back_off(now, &to, request.code, &request.options, how) {
            return Err(RequestError::BackOff { until });
        }
        let how = whole_bodies(how);
        let first = match self.plan(&to, request, &how)? {
            Plan::OneExchange(message, _) => Some(message),
            Plan::Blocks(operation) => operation.message(Token::EMPTY).ok().flatten(),
        };
        let first = first.filter(|first| !first.options.contains(OptionNumber::BLOCK1));
        let first = first.ok_or(RequestError::ObservationTooLarge)?;
        let mut message = Message { token: self.token_for(&to, &how)?, ..first };
        // The blocks of its states are asked for without its content.
        let key = (message.code == Code::FETCH).then(|| self.hash.operation(message.code, &message.options));
        let alike = self.peers.find(&to).is_some_and(|peer| self.has_alike(peer, key, false));
        if alike && !message.options.contains(OptionNumber::REQUEST_TAG) {
            self.tags.set_new(&mut message.options);
        }
        // What ends it has Observe 1, which is a byte longer.
        let (len, max) = (message.encoded_len() + 1, self.config.max_datagram);
        if len > max {
            return Err(RequestError::TooLarge { len, max });
        }
        let observing = Observing::new(&message, key, &how);
        // Its messages keep their token, whatever blocks their answers come in.
        let id = self.open_request(now, new_request(now, to, Some(message), Bodies::Raw, &how))?;
        if let Some(request) = self.outgoing.get_mut(id.0) {
            request.observing = Some(observing.into());
        }
        Ok(id)
    }

    /// Ends an observation and tells its peer: the same request with Observe 1, Confirmable, is sent behind others that
    /// wait (RFC 7641 §3.6). No event follows. Until that has been answered or given up it counts as a request of ours, and
    /// notifications that still come are met with a Reset.
    ///
    /// To say nothing, and meet the next notification with a Reset, is [`cancel`](Self::cancel).
    ///
    /// False, and nothing is sent: it was over already, or it is no observation.
    pub fn deregister(&mut self, now: Instant, observation: RequestId) -> bool {
        let now = self.advance(now);
        let key = observation.0;
        let Some(request) = self.outgoing.get(key).filter(|request| !request.is_leaving()) else { return false };
        let Some(observing) = &request.observing else { return false };
        let never_left = matches!(request.stage, Stage::Waiting(_)) && !observing.is_registered();
        if request.is_settled() || never_left {
            return self.cancel(now, observation);
        }
        self.rest_until_notified(key);
        self.abandon_fetch(now, key);
        self.deadlines.set(Reason::Observation, key.index(), None);
        self.outgoing.hush(key);
        if let Some(farewell) = self.outgoing.get_mut(key).and_then(|request| Some(request.observing.as_mut()?.leave()))
        {
            self.send_again(now, key, farewell);
        }
        true
    }

    /// Whether the peer is still being told that an observation has ended: from [`deregister`](Self::deregister) until
    /// that was answered or given up.
    pub fn is_deregistering(&self, observation: RequestId) -> bool {
        self.outgoing.get(observation.0).is_some_and(|request| request.is_leaving())
    }

    /// A response with the token of an observation.
    pub(super) fn on_observed(&mut self, now: Instant, key: OutgoingKey, from: Peer, message: Message) {
        self.heard(now, key);
        let Some(request) = self.outgoing.get_mut(key) else { return };
        let Some(observing) = &mut request.observing else { return };
        let place = match &request.stage {
            _ if message.kind == Type::Acknowledgement => Place::Answer,
            Stage::Acknowledged(_) => Place::Answer,
            // A Non-confirmable request has no acknowledgement that could tell its answer from another notification.
            Stage::InFlight(flight) if self.flights.get(*flight).is_some_and(|flight| flight.backoff.is_none()) => {
                Place::Answer
            }
            _ => Place::Unasked,
        };
        // The first notification is the answer to the first registration even if the acknowledgement was lost. Later a
        // notification on its own proves nothing about a registration that is under way, but one that waits is not needed.
        let first = !observing.is_registered();
        let waits = matches!(request.stage, Stage::Waiting(_));
        let answers = first || place == Place::Answer;
        let verdict = observing.judge(now, place, message.code, message.options.observe());
        match verdict {
            Verdict::News => self.on_news(now, key, message),
            Verdict::Old => self.stats.notifications_old += 1,
            Verdict::End => return self.on_last_response(now, key, from, message, answers),
            Verdict::Farewell => {
                self.stats.responses_received += 1;
                return self.forget(now, key);
            }
        }
        if answers || (waits && verdict == Verdict::News) {
            self.rest_until_notified(key);
            self.resume(now, key);
        } else {
            // A fetch that was abandoned may have held the turn.
            self.pass_turn(now, key);
        }
    }

    /// A newer state, or the first block of it.
    fn on_news(&mut self, now: Instant, key: OutgoingKey, mut message: Message) {
        if let Some(request) = self.outgoing.get_mut(key) {
            request.has_echoed = false;
        }
        self.stats.responses_received += 1;
        self.stats.notifications_incomplete += u64::from(self.abandon_fetch(now, key));
        if is_partial(&message) {
            return self.fetch_state(now, key, message);
        }
        strip_blocks(&mut message);
        self.on_state(now, key, response_of(message));
    }

    /// RFC 7959 §2.6: the rest is fetched with a token of its own, and without Observe.
    fn fetch_state(&mut self, now: Instant, key: OutgoingKey, first: Message) {
        let Some(observing) = self.observing_mut(key) else { return };
        let (code, options, how) = observing.fetch();
        match self.fetch_rest(now, key, code, &options, how, first) {
            Ok(fetch) => {
                if let Some(observing) = self.observing_mut(key) {
                    observing.set_fetch(now, fetch);
                }
            }
            Err(_) => self.on_unfetched(now, key),
        }
    }

    /// The fetch of a state has come to its end, and its slot is free. Called from the middle of other work: no request is
    /// ended here.
    pub(super) fn child_ended(&mut self, now: Instant, key: OutgoingKey, result: Result<Response, Failure>) {
        let Some((_, arrived)) = self.observing_mut(key).and_then(Observing::take_fetch) else { return };
        match result {
            Ok(response) if response.code.is_success() => self.on_state(arrived, key, response),
            _ => self.on_unfetched(now, key),
        }
    }

    /// A state is not told: what is known goes stale in its time, and the observation is registered again.
    fn on_unfetched(&mut self, now: Instant, key: OutgoingKey) {
        self.stats.notifications_incomplete += 1;
        let Some(observing) = self.observing_mut(key) else { return };
        observing.miss(now);
        let (next, tidings) = (observing.next(), observing.has_tidings());
        self.deadlines.set(Reason::Observation, key.index(), next);
        if tidings {
            self.outgoing.announce(key);
        }
    }

    /// Whatever is being fetched for an observation is not wanted any more. False: there was nothing.
    pub(super) fn abandon_fetch(&mut self, now: Instant, key: OutgoingKey) -> bool {
        let Some((fetch, _)) = self.observing_mut(key).and_then(Observing::take_fetch) else { return false };
        self.unlink(now, fetch);
        self.outgoing.remove(fetch);
        true
    }

    /// A newer state, which came at `arrived`.
    fn on_state(&mut self, arrived: Instant, key: OutgoingKey, response: Response) {
        let draw = self.rng.next_u64();
        let Some(observing) = self.observing_mut(key) else { return };
        let superseded = observing.renew(arrived, response, draw);
        let next = observing.next();
        self.stats.notifications_superseded += u64::from(superseded);
        self.deadlines.set(Reason::Observation, key.index(), next);
        self.outgoing.announce(key);
    }

    /// The response that ends an observation. `answers`: it came for a registration, and not on its own.
    fn on_last_response(&mut self, now: Instant, key: OutgoingKey, from: Peer, mut message: Message, answers: bool) {
        self.stats.responses_received += 1;
        let Some(request) = self.outgoing.get(key) else { return };
        let (peer, timing) = (request.peer, request.timing(now, answers.then(|| now - request.last_sent)));
        if is_partial(&message) {
            self.become_ordinary(now, key);
            return self.on_block_answer(now, key, from, message, timing);
        }
        strip_blocks(&mut message);
        self.unlink(now, key);
        self.outgoing.settle(key, Outcome::Response { from, response: response_of(message) }, timing);
        if let Some(peer) = peer {
            self.drain(now, peer);
        }
    }

    /// A last response that is longer than a block: what was an observation goes on as any other request whose response has
    /// begun.
    fn become_ordinary(&mut self, now: Instant, key: OutgoingKey) {
        let Some(until) = self.outgoing.get(key).map(|request| request.until) else { return };
        self.rest_until_notified(key);
        self.abandon_fetch(now, key);
        self.deadlines.set(Reason::Observation, key.index(), None);
        let Some(observing) = self.outgoing.get_mut(key).and_then(|request| request.observing.take()) else { return };
        let (kind, payload) = observing.ask();
        let (code, options, blocks) = observing.fetch();
        let size = blocks.size.or(self.config.block_size);
        let tagged = options.contains(OptionNumber::REQUEST_TAG);
        let rules = self.rules(blocks, size.unwrap_or(BlockSize::MAX).szx(), size.is_some(), tagged);
        let operation = Operation::new(kind, code, options, Body::Whole(payload), rules);
        if let Some(request) = self.outgoing.get_mut(key) {
            request.until = until;
            request.bodies = Bodies::Blocks(operation.into());
        }
    }

    /// A notification for an observation that the application has done with.
    pub(super) fn is_unwanted(&self, key: OutgoingKey, message: &Message) -> bool {
        message.options.observe().is_some() && self.outgoing.get(key).is_some_and(|request| request.is_leaving())
    }

    /// RFC 7641 §3.6: whoever gets a Reset for a notification takes us off its list.
    pub(super) fn reject(&mut self, now: Instant, path: Path, message: &Message) {
        self.stats.unmatched += 1;
        if message.kind == Type::Confirmable {
            self.remember_response(now, path, message, Answer::Reset);
        }
        self.send_reset(now, path.from, path.to, message.message_id);
    }

    /// The state of an observation has become old.
    pub(super) fn on_age(&mut self, now: Instant, key: OutgoingKey) {
        let room = self.config.max_datagram;
        let Some(request) = self.outgoing.get_mut(key) else { return };
        let Some(observing) = &mut request.observing else { return };
        let due = observing.is_due(now);
        // One that is being registered already is not registered twice at a time, and one whose state is on its way not at all.
        let rests = matches!(request.stage, Stage::Observing) && !observing.is_fetching();
        let again = (due && rests).then(|| observing.reregister(room));
        let (next, tidings) = (observing.next(), observing.has_tidings());
        self.deadlines.set(Reason::Observation, key.index(), next);
        if tidings {
            self.outgoing.announce(key);
        }
        if let Some(message) = again {
            // It is another request.
            if let Some(request) = self.outgoing.get_mut(key) {
                request.has_echoed = false;
            }
            self.send_again(now, key, message);
        }
    }

    /// What of an outcome is the end of its request: an observation outlives a registration that fails, and nobody waits
    /// for the outcome of a deregistration.
    pub(super) fn outlived(&mut self, now: Instant, key: OutgoingKey, outcome: Outcome) -> Option<Outcome> {
        let open = self.outgoing.get_mut(key).filter(|request| !request.is_settled());
        let Some(observing) = open.and_then(|request| request.observing.as_mut()) else { return Some(outcome) };
        let next = match &outcome {
            Outcome::Failed(Failure::BackOff { until }) => observing.on_backed_off(now, *until),
            Outcome::Failed(reason) if is_of_attempt(*reason) => observing.on_failed(now),
            _ if observing.is_leaving() => Next::Forget,
            _ => Next::GiveUp,
        };
        match next {
            Next::GiveUp => return Some(outcome),
            Next::Forget => {
                self.unlink(now, key);
                self.outgoing.remove(key);
            }
            Next::GoOn => {
                self.rest_until_notified(key);
                let next = self.observing_mut(key).and_then(|observing| observing.next());
                self.deadlines.set(Reason::Observation, key.index(), next);
            }
        }
        None
    }

    /// Observations have no end of their own.
    pub(super) fn end_observations(&mut self, now: Instant) {
        let all: Vec<_> = self.outgoing.observations().collect();
        for key in all {
            if self.outgoing.get(key).is_some_and(|request| !request.is_leaving()) {
                self.settle(now, key, Outcome::Failed(Failure::Shutdown));
            }
        }
    }

    /// Nothing of an observation is under way any more.
    fn rest_until_notified(&mut self, key: OutgoingKey) {
        self.deadlines.set(Reason::Request, key.index(), None);
        let Some(request) = self.outgoing.get_mut(key) else { return };
        // The time that the application set is for the first registration.
        request.until = None;
        let peer = request.peer;
        match core::mem::replace(&mut request.stage, Stage::Observing) {
            Stage::InFlight(flight) => {
                self.land(flight);
            }
            Stage::Waiting(message) => {
                if let Some(record) = peer.and_then(|peer| self.peers.get_mut(peer)) {
                    record.queue_of(message.kind).remove(self.outgoing.slab_mut(), key.index(), exchange::waiting);
                }
            }
            _ => {}
        }
    }

    /// A registration has been answered: others have their turn, and the next one has its time.
    fn resume(&mut self, now: Instant, key: OutgoingKey) {
        if let Some(observing) = self.observing_mut(key) {
            observing.rest(now);
            let next = observing.next();
            self.deadlines.set(Reason::Observation, key.index(), next);
        }
        self.pass_turn(now, key);
    }

    /// Lets the next request to the same peer have its turn.
    fn pass_turn(&mut self, now: Instant, key: OutgoingKey) {
        if let Some(peer) = self.outgoing.get(key).and_then(|request| request.peer) {
            self.drain(now, peer);
        }
    }

    /// Sends a further message with the token of an observation, when its turn has come.
    fn send_again(&mut self, now: Instant, key: OutgoingKey, message: Message) {
        let Some(request) = self.outgoing.get_mut(key) else { return };
        let (peer, kind) = (request.peer, message.kind);
        request.stage = Stage::Waiting(message.into());
        if let Some(peer) = peer {
            self.queue(now, peer, key, kind);
        }
    }

    /// A deregistration is over.
    fn forget(&mut self, now: Instant, key: OutgoingKey) {
        let peer = self.outgoing.get(key).and_then(|request| request.peer);
        self.unlink(now, key);
        self.outgoing.remove(key);
        if let Some(peer) = peer {
            self.drain(now, peer);
        }
    }

    fn observing_mut(&mut self, key: OutgoingKey) -> Option<&mut Observing> {
        self.outgoing.get_mut(key)?.observing.as_deref_mut()
    }
}

/// A block of a longer body.
fn is_partial(message: &Message) -> bool {
    message.options.block2().is_some_and(|block| block.more() || block.num() > 0)
}

/// The application sees bodies, the network blocks.
fn strip_blocks(message: &mut Message) {
    message.options.remove(OptionNumber::BLOCK1);
    message.options.remove(OptionNumber::BLOCK2);
}

/// States are told whole, and from their start.
fn whole_bodies(how: &RequestOptions) -> RequestOptions {
    let mut how = how.clone();
    how.blocks = Blocks { in_parts: false, resume: None, report: false, ..how.blocks };
    how
}

/// Failures that another attempt may not meet. The others say that the server or we have come to an end with it.
const fn is_of_attempt(reason: Failure) -> bool {
    matches!(
        reason,
        Failure::NotSent
            | Failure::NoAck
            | Failure::NoResponse
            | Failure::Reset
            | Failure::ExtendedToken
            | Failure::Unreachable
            | Failure::NoMessageId
    )
}
