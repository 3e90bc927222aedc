//! As a client: requests are opened, and end in one outcome.

use alloc::boxed::Box;

use super::errors::RequestError;
use super::inbound::{Path, response_of};
use super::upload::Plan;
use super::{Endpoint, Phase};
use crate::addr::Peer;
use crate::blockwise::client::Operation;
use crate::deadlines::Reason;
use crate::event::{Closed, Failure, RequestId};
use crate::exchange::{self, Bodies, Chosen, NewRequest, Outcome, Outgoing, OutgoingKey, Stage};
use crate::message::{Body, Request, RequestOptions};
use crate::outbox::{ToGroup, What};
use crate::peers::{Credit, PeerKey};
use crate::reliability::{FlightKey, Owner};
use crate::time::Instant;
use crate::wire::{Code, Message, OptionNumber, Token, Type};

/// How often a token is drawn before giving up: with four random bytes and 4,096 requests open, eight failures in a row
/// have a probability of 10⁻⁴⁸.
pub(super) const TOKEN_DRAWS: usize = 8;

impl Endpoint {
    /// Sends a request to `to`, now or when its turn has come (NSTART, PROBING_RATE: RFC 7252 §4.7).
    ///
    /// It ends in exactly one event: `Response` or `Failed`; for a multicast request, any number of `Response` and then
    /// `Finished`. An error has no event, and changes nothing.
    ///
    /// A body that is longer than a block goes block by block, and a response that comes so is put together (RFC 7959), all in
    /// this one request: the application sees neither Block1 nor Block2. A request that carries Block1, or Block2 with a
    /// number above 0, is one exchange for one block, and its response is handed up as it is; a Block2 with the number 0 says
    /// which block size is wanted.
    ///
    /// Where the peer could take its blocks for those of another request to the same resource, one that is open or one that
    /// was given up a short while ago, it carries a Request-Tag (RFC 9175 §3), unless the caller has set one.
    ///
    /// A response of code 4.29 or 5.03 is handed up as any other. Until its Max-Age has passed, no request to the same peer with
    /// the same method and URI is sent (RFC 8516 §4): it is refused with `RequestError::BackOff`, and one that waits for its turn
    /// by then fails with `Failure::BackOff`. See `Config::max_back_off`.
    pub fn request(
        &mut self,
        now: Instant,
        to: Peer,
        request: Request,
        how: &RequestOptions,
    ) -> Result<RequestId, RequestError> {
        let (now, to) = (self.advance(now), to.on(how.from.interface));
        if !request.code.is_request() {
            return Err(RequestError::NotARequest { code: request.code });
        }
        if to.is_multicast() && how.kind == Type::Confirmable {
            return Err(RequestError::ConfirmableMulticast);
        }
        if let Some(until) = self.must_back_off(now, &to, request.code, &request.options, how) {
            return Err(RequestError::BackOff { until });
        }
        // What a GET asks for is told by its options.
        let told = to.is_multicast() || (request.code == Code::GET && request.body == Body::EMPTY);
        let body_key = (!told).then(|| self.hash.operation(request.code, &request.options));
        let plan = self.plan(&to, request, how)?;
        let token = self.token_for(&to, how)?;
        let (message, bodies) = match plan {
            Plan::OneExchange(message, bodies) => (Some(Message { token, ..message }), bodies),
            Plan::Blocks(mut operation) => {
                let message = operation.message(token).map_err(|_| RequestError::TooManyBlocks)?;
                operation.set_token(how.token.clone().filter(|_| message.is_none()));
                (message, Bodies::Blocks(operation))
            }
        };
        let body_key = body_key.filter(|_| !matches!(bodies, Bodies::Raw));
        let new = NewRequest { body_key, ..new_request(now, to, message, bodies, how) };
        self.open_request(now, new)
    }

    /// Asks whether a peer is there, with an Empty Confirmable message that it must reject (RFC 7252 §4.3). It ends in
    /// `Event::Pong` or `Event::Failed`.
    pub fn ping(&mut self, now: Instant, to: Peer) -> Result<RequestId, RequestError> {
        self.ping_with(now, to, &RequestOptions::new())
    }

    /// As [`ping`](Self::ping), with a timeout, transmission parameters or a local address of its own.
    pub fn ping_with(&mut self, now: Instant, to: Peer, how: &RequestOptions) -> Result<RequestId, RequestError> {
        let (now, to) = (self.advance(now), to.on(how.from.interface));
        if to.is_multicast() {
            return Err(RequestError::ConfirmableMulticast);
        }
        let message = Some(Message::empty(Type::Confirmable, 0));
        self.open_request(now, new_request(now, to, message, Bodies::Raw, how))
    }

    /// Forgets a request: it is not repeated any more, no event follows, and a response is met as a stranger's. An
    /// observation ends so too, and its next notification is met with a Reset. False: it was over already.
    pub fn cancel(&mut self, now: Instant, request: RequestId) -> bool {
        let now = self.advance(now);
        let found = self.outgoing.get(request.0);
        // One that was deregistered is not the application's any more.
        if found.is_some_and(|request| request.is_leaving()) {
            return false;
        }
        let open = found.is_some_and(|request| !request.is_settled());
        self.detach(now, request.0);
        self.outgoing.remove(request.0);
        open
    }

    // ----- What happens to a request -------------------------------------------------------------------------------

    pub(super) fn open_request(&mut self, now: Instant, new: NewRequest) -> Result<RequestId, RequestError> {
        let to = new.to;
        if self.phase == Phase::ShuttingDown {
            return Err(RequestError::Shutdown);
        }
        if to.udp().is_some_and(|addr| addr.port() == 0) {
            return Err(RequestError::PortZero);
        }
        let (len, max) = (new.message.as_ref().map_or(0, Message::encoded_len), self.config.max_datagram);
        if len > max {
            return Err(RequestError::TooLarge { len, max });
        }
        if self.outgoing.len() >= self.config.max_requests {
            return Err(RequestError::TooManyRequests);
        }
        if to.is_multicast() {
            return self.open_group_request(now, new);
        }
        let known = self.peers.find(&to);
        if known.is_some_and(|peer| self.must_wait(now, peer, &new) && !self.has_backlog_room(peer)) {
            return Err(RequestError::Busy);
        }
        let peer = self.admit(now, to).ok_or(RequestError::TooManyPeers)?;
        Ok(RequestId(self.open_to(now, peer, new)))
    }

    /// Opens a request to a peer that is known and has room for it.
    pub(super) fn open_to(&mut self, now: Instant, peer: PeerKey, mut new: NewRequest) -> OutgoingKey {
        self.tell_apart(now, peer, &mut new);
        let key = self.outgoing.open(now, NewRequest { peer: Some(peer), ..new });
        self.peers.hold(peer);
        if let Some(record) = self.peers.get_mut(peer) {
            record.requests.push_back(self.outgoing.slab_mut(), key.index(), exchange::of_peer);
        }
        match self.outgoing.get(key).map(|request| &request.stage) {
            Some(Stage::Waiting(message)) => {
                let kind = message.kind;
                self.queue(now, peer, key, kind);
            }
            _ => self.wait_for_application(key),
        }
        key
    }

    /// A request to a group is sent at once, and once (RFC 7252 §8.1).
    fn open_group_request(&mut self, now: Instant, mut new: NewRequest) -> Result<RequestId, RequestError> {
        let lifetime = self.config.transmission.exchange_lifetime();
        let message_id = self.group_ids.draw(now, lifetime).map_err(|_| RequestError::Busy)?;
        // A request to a group has a whole body, and so a message.
        let Some(message) = new.message.as_mut() else { return Err(RequestError::WrongBody) };
        message.message_id = message_id;
        let (to, from, hops, message) = (new.to, new.from, new.hops, message.clone());
        let until = new.until.unwrap_or_else(|| now + self.config.max_server_response_delay);
        let key = self.outgoing.open(now, new);
        if let Some(request) = self.outgoing.get_mut(key) {
            request.stage = Stage::Group;
            request.attempts = 1;
        }
        self.deadlines.set(Reason::Request, key.index(), Some(until));
        self.send(to, from, What::ToGroup(Box::new(ToGroup { request: RequestId(key), message, hops })));
        Ok(RequestId(key))
    }

    /// A response that fits a request of ours has arrived.
    pub(super) fn on_answer(&mut self, now: Instant, key: OutgoingKey, from: Peer, message: Message) {
        if message.options.contains(OptionNumber::ECHO) && self.on_echo(now, key, &message) {
            return;
        }
        self.note_overload(now, key, &message);
        let Some(request) = self.outgoing.get(key) else { return };
        if request.observing.is_some() {
            return self.on_observed(now, key, from, message);
        }
        let timing = request.timing(now, Some(now - request.last_sent));
        if request.is_group() {
            let max = self.config.max_group_responses;
            if self.outgoing.add_response(key, from, response_of(message), timing, max) {
                self.stats.responses_received += 1;
            } else {
                self.stats.group_responses_dropped += 1;
            }
            return;
        }
        self.stats.responses_received += 1;
        self.heard(now, key);
        let blocks = [OptionNumber::BLOCK1, OptionNumber::BLOCK2];
        let plain = match self.outgoing.get(key).map(|request| &request.bodies) {
            Some(Bodies::Blocks(_)) => false,
            Some(Bodies::Simple) => !blocks.into_iter().any(|number| message.options.contains(number)),
            _ => true,
        };
        if plain {
            self.settle(now, key, Outcome::Response { from, response: response_of(message) });
        } else {
            self.on_block_answer(now, key, from, message, timing);
        }
    }

    /// A response that must be rejected (RFC 7252 §5.4.1). One member of a group that errs does not end the request.
    pub(super) fn on_bad_answer(&mut self, now: Instant, key: OutgoingKey, number: OptionNumber) {
        self.stats.bad_option += 1;
        if self.outgoing.get(key).is_some_and(|request| !request.is_group()) {
            self.heard(now, key);
            self.settle(now, key, Outcome::Failed(Failure::CriticalOption(number)));
        }
    }

    /// The acknowledgement of a message in flight, with or without a response on it.
    pub(super) fn on_acknowledged(&mut self, now: Instant, path: Path, flight: FlightKey, message: Message) {
        let Some(found) = self.flights.get(flight) else { return };
        let (owner, confirmable) = (found.owner, found.backoff.is_some());
        let Owner::Request(key) = owner else {
            // What the acknowledgement of a response carries is ignored (RFC 7252 §5.2.2).
            self.stats.acknowledged += 1;
            self.begin_registered_by(now, flight);
            self.end_response(now, flight);
            return;
        };
        let token = self.outgoing.get(key).and_then(|request| request.token.clone());
        match token {
            _ if !confirmable => self.stats.senseless += 1,
            None if message.code.is_empty() => {
                // A ping should be reset, but whoever acknowledges it is alive too.
                self.stats.acknowledged += 1;
                self.heard(now, key);
                self.settle(now, key, Outcome::Pong);
            }
            Some(_) if message.code.is_empty() => {
                self.stats.acknowledged += 1;
                self.await_separate(now, key, flight);
            }
            Some(token) if token == message.token => {
                match message.options.check(|number| self.is_understood_in_response(&message, number, false)) {
                    Ok(()) => self.on_answer(now, key, path.from, message),
                    Err(bad) => self.on_bad_answer(now, key, bad.number),
                }
            }
            // Whoever guessed the Message ID and not the token is not our peer, or is beyond help: the request goes on.
            _ => self.stats.unmatched += 1,
        }
    }

    /// RFC 7252 §5.2.2: not repeated any more, and not for ever without an answer.
    fn await_separate(&mut self, now: Instant, key: OutgoingKey, flight: FlightKey) {
        self.heard(now, key);
        if let Some(request) = self.outgoing.get_mut(key) {
            // An operation makes its further requests itself.
            let kept = self.flights.get(flight).filter(|_| !matches!(request.bodies, Bodies::Blocks(_)));
            request.stage = Stage::Acknowledged(kept.map(|flight| Box::new(flight.message.clone())));
        }
        let peer = self.land(flight);
        self.limit(key, now + self.config.response_timeout);
        if let Some(peer) = peer {
            self.drain(now, peer);
        }
    }

    /// A Reset message for a message in flight.
    pub(super) fn on_rejected(&mut self, now: Instant, flight: FlightKey) {
        match self.flights.get(flight).map(|flight| flight.owner) {
            Some(Owner::Request(key)) => {
                self.heard(now, key);
                let token = self.outgoing.get(key).and_then(|request| request.token.as_ref());
                let outcome = match token.map(Token::is_extended) {
                    None => Outcome::Pong,
                    Some(false) => Outcome::Failed(Failure::Reset),
                    Some(true) => {
                        self.note_short_tokens(key);
                        Outcome::Failed(Failure::ExtendedToken)
                    }
                };
                self.settle(now, key, outcome);
            }
            Some(Owner::Response) => {
                self.end_registered_by(now, flight, Closed::Reset);
                self.end_response(now, flight);
            }
            None => {}
        }
    }

    /// Nobody acknowledged a message in flight.
    pub(super) fn give_up_flight(&mut self, now: Instant, flight: FlightKey) {
        self.note_silent(self.flights.get(flight).map(|flight| flight.peer));
        match self.flights.get(flight).map(|flight| flight.owner) {
            Some(Owner::Request(key)) if self.try_again(now, key) => {}
            Some(Owner::Request(key)) => {
                self.stats.unacknowledged_requests += 1;
                self.settle(now, key, Outcome::Failed(Failure::NoAck));
            }
            Some(Owner::Response) => {
                self.stats.unacknowledged_responses += 1;
                self.end_registered_by(now, flight, Closed::NoAck);
                let peer = self.land(flight);
                self.let_go(now, peer);
            }
            None => {}
        }
    }

    /// The time of a request is over, at whatever stage.
    pub(super) fn give_up_request(&mut self, now: Instant, key: OutgoingKey) {
        if self.is_unacknowledged(key) {
            self.note_silent(self.outgoing.get(key).and_then(|request| request.peer));
        }
        if self.wait_on(now, key) || self.try_again(now, key) {
            return;
        }
        let Some(request) = self.outgoing.get(key) else { return };
        let outcome = match &request.stage {
            // A later block, or one once more: what went before it has been received, or may have been.
            Stage::Waiting(_) if request.attempts > 0 && request.observing.is_none() => {
                Outcome::Failed(Failure::NoResponse)
            }
            Stage::Waiting(_) if request.peer.is_some_and(|peer| self.lacks_message_id(now, peer)) => {
                Outcome::Failed(Failure::NoMessageId)
            }
            Stage::Waiting(_) => Outcome::Failed(Failure::NotSent),
            Stage::InFlight(flight) => {
                let confirmable = self.flights.get(*flight).is_some_and(|flight| flight.backoff.is_some());
                self.stats.unacknowledged_requests += u64::from(confirmable);
                Outcome::Failed(if confirmable { Failure::NoAck } else { Failure::NoResponse })
            }
            Stage::Acknowledged(_) | Stage::Paused => Outcome::Failed(Failure::NoResponse),
            Stage::Group => Outcome::Finished,
            Stage::Observing | Stage::Settled(_) => return,
        };
        self.settle(now, key, outcome);
    }

    /// A request is on its way, and wants to be acknowledged.
    fn is_unacknowledged(&self, key: OutgoingKey) -> bool {
        let Some(Stage::InFlight(flight)) = self.outgoing.get(key).map(|request| &request.stage) else { return false };
        self.flights.get(*flight).is_some_and(|flight| flight.backoff.is_some())
    }

    /// The network says that a peer is not there.
    pub(super) fn fail_in_flight(&mut self, now: Instant, peer: PeerKey) {
        let mut next = self.peers.get(peer).and_then(|record| record.requests.front());
        while let Some((index, request)) = next.and_then(|index| Some((index, self.outgoing.at(index)?))) {
            next = request.of_peer.next();
            let in_flight = matches!(request.stage, Stage::InFlight(_));
            if let Some(key) = self.outgoing.key_at(index).filter(|_| in_flight) {
                self.end(now, key, Outcome::Failed(Failure::Unreachable));
            }
        }
        self.drain(now, peer);
    }

    /// Ends a request, and lets the next one have its turn.
    pub(super) fn settle(&mut self, now: Instant, key: OutgoingKey, outcome: Outcome) {
        let peer = self.outgoing.get(key).and_then(|request| request.peer);
        self.end(now, key, outcome);
        if let Some(peer) = peer {
            self.drain(now, peer);
        }
    }

    pub(super) fn end(&mut self, now: Instant, key: OutgoingKey, outcome: Outcome) {
        let Some(outcome) = self.outlived(now, key, outcome) else { return };
        let Some(request) = self.outgoing.get(key) else { return };
        let answered = !matches!(outcome, Outcome::Failed(_) | Outcome::Finished);
        let timing = request.timing(now, answered.then(|| now - request.last_sent));
        let parent = request.parent;
        if !answered {
            self.note_abandoned(now, key);
        }
        let Some(request) = self.outgoing.get(key) else { return };
        let told = request.operation().is_some_and(Operation::has_told_response);
        self.unlink(now, key);
        let Some(parent) = parent else {
            let outcome = match outcome {
                Outcome::Failed(reason) if told => Outcome::BodyFailed(reason),
                outcome => outcome,
            };
            self.outgoing.settle(key, outcome, timing);
            return;
        };
        self.outgoing.remove(key);
        match outcome {
            Outcome::Response { response, .. } => self.child_ended(now, parent, Ok(response)),
            Outcome::Failed(reason) => self.child_ended(now, parent, Err(reason)),
            _ => {}
        }
    }

    /// Takes a request out of all that knows it but the table of requests, and lets the next one have its turn.
    fn detach(&mut self, now: Instant, key: OutgoingKey) {
        let open = self.outgoing.get(key).filter(|request| !request.is_settled());
        let Some(peer) = open.map(|request| request.peer) else { return };
        self.note_abandoned(now, key);
        self.unlink(now, key);
        if let Some(peer) = peer {
            self.drain(now, peer);
        }
    }

    pub(super) fn unlink(&mut self, now: Instant, key: OutgoingKey) {
        self.deadlines.set(Reason::Request, key.index(), None);
        self.deadlines.set(Reason::Observation, key.index(), None);
        self.abandon_fetch(now, key);
        if let Some(operation) = self.outgoing.get_mut(key).and_then(Outgoing::operation_mut) {
            operation.close(&mut self.budget);
        }
        let Some(request) = self.outgoing.get(key) else { return };
        let (peer, flight) = match &request.stage {
            Stage::InFlight(flight) => (request.peer, Some(*flight)),
            _ => (request.peer, None),
        };
        if let Some(flight) = flight {
            self.land(flight);
        }
        let Some(peer) = peer else { return };
        if let Some(record) = self.peers.get_mut(peer) {
            let requests = self.outgoing.slab_mut();
            record.requests.remove(requests, key.index(), exchange::of_peer);
            if let Some(Stage::Waiting(message)) = requests.get(key).map(|request| &request.stage) {
                let kind = message.kind;
                record.queue_of(kind).remove(requests, key.index(), exchange::waiting);
            }
        }
        self.peers.release(now, peer);
    }

    /// A message is not in flight any more. Whose it was.
    pub(super) fn land(&mut self, flight: FlightKey) -> Option<PeerKey> {
        self.deadlines.set(Reason::Retransmission, flight.index(), None);
        let landed = self.flights.close(flight)?;
        if let Some(record) = self.peers.get_mut(landed.peer).filter(|_| landed.backoff.is_some()) {
            record.in_flight = record.in_flight.saturating_sub(1);
        }
        Some(landed.peer)
    }

    /// A separate response was acknowledged or rejected.
    fn end_response(&mut self, now: Instant, flight: FlightKey) {
        let peer = self.land(flight);
        if let Some(peer) = peer {
            self.recent.prove(peer);
            self.peers.prove(now, peer);
        }
        self.let_go(now, peer);
    }

    /// What a separate response held.
    fn let_go(&mut self, now: Instant, peer: Option<PeerKey>) {
        let Some(peer) = peer else { return };
        self.drain(now, peer);
        self.peers.release(now, peer);
    }

    /// The peer answered with what only its address could know: it is there, and may be sent to.
    pub(super) fn heard(&mut self, now: Instant, key: OutgoingKey) {
        let Some(peer) = self.outgoing.get(key).and_then(|request| request.peer) else { return };
        self.recent.prove(peer);
        self.peers.prove(now, peer);
        if let Some(record) = self.peers.get_mut(peer) {
            record.credit = Credit::full(now, self.config.max_datagram);
        }
    }

    /// Ends a request at `stage_end`, or when its caller said, if that is earlier.
    pub(super) fn limit(&mut self, key: OutgoingKey, stage_end: Instant) {
        let until = self.outgoing.get(key).and_then(|request| request.until);
        let end = until.map_or(stage_end, |until| until.min(stage_end));
        self.deadlines.set(Reason::Request, key.index(), Some(end));
    }

    /// The token that the caller wants, or a new one.
    pub(super) fn token_for(&mut self, to: &Peer, how: &RequestOptions) -> Result<Token, RequestError> {
        match &how.token {
            Some(token) if token.len() > self.config.max_token_len => {
                Err(RequestError::TokenTooLong { len: token.len(), max: self.config.max_token_len })
            }
            Some(token) if self.outgoing.is_in_use(token, to) => Err(RequestError::TokenInUse),
            Some(token) => Ok(token.clone()),
            None => self.draw_token(to),
        }
    }

    /// A token that is not in use (RFC 7252 §5.3.1).
    pub(super) fn draw_token(&mut self, to: &Peer) -> Result<Token, RequestError> {
        if usize::from(self.config.min_token_len) > Token::MAX_LEN && self.may_know_extended_tokens(to) {
            return self.draw_extended_token(to);
        }
        for _ in 0..TOKEN_DRAWS {
            let (mut bytes, draw) = (self.rng.next_u64().to_le_bytes(), self.rng.next_u32());
            let least = self.config.min_token_len.min(Token::MAX_LEN as u8);
            let mut len = u32::from(least) + draw % u32::from(9 - least);
            if let Peer::Session(_) = to {
                // RFC 9175 §4.2: counted, so that a late response fits no later request of the same session. Half of it stays
                // random, because not every session is a secure one.
                self.session_tokens = self.session_tokens.wrapping_add(1);
                bytes[..4].copy_from_slice(&self.session_tokens.to_be_bytes());
                len = 8;
            }
            let token = bytes.get(..len as usize).and_then(Token::new);
            if let Some(token) = token.filter(|token| !self.outgoing.is_in_use(token, to)) {
                return Ok(token);
            }
        }
        Err(RequestError::TokenInUse)
    }

    pub(super) fn is_shutting_down(&self) -> bool {
        self.phase == Phase::ShuttingDown
    }
}

/// A request that is to be sent so, whose body nobody mixes up.
pub(super) fn new_request(
    now: Instant,
    to: Peer,
    message: Option<Message>,
    bodies: Bodies,
    how: &RequestOptions,
) -> NewRequest {
    NewRequest {
        peer: None,
        to,
        from: how.from,
        hops: how.hops,
        message,
        bodies,
        body_key: None,
        parent: None,
        chosen: if how.has_token() { Chosen::ByCaller } else { Chosen::ByUs },
        pacing: how.pacing,
        heed: how.heed,
        progress: how.progress,
        transmission: how.transmission.map(Box::new),
        until: how.timeout.map(|span| now + span),
    }
}
