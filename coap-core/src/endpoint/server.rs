//! As a server: requests are opened, answered and closed.

use alloc::boxed::Box;
use core::time::Duration;

use super::Endpoint;
use super::errors::RespondError;
use super::inbound::Path;
use super::serving::Arrival;
use crate::addr::{Local, Peer};
use crate::blockwise::server::Reply;
use crate::deadlines::Reason;
use crate::echo;
use crate::event::{Closed, IncomingId};
use crate::exchange::{Asked, Common, Incoming, IncomingKey, NewIncoming, Waiting};
use crate::message::Response;
use crate::outbox::What;
use crate::peers::PeerKey;
use crate::reliability::{Answer, Backoff, InFlight, Lifetime, Owner, RecentKey};
use crate::time::Instant;
use crate::wire::{Code, Message, Type};

/// An Empty message: its header.
const EMPTY_LEN: usize = 4;

impl Endpoint {
    /// Answers a request.
    ///
    /// The response rides on the acknowledgement if that has not left yet, and is sent separately, Confirmable, if it
    /// has (RFC 7252 §5.2). A Non-confirmable request gets a Non-confirmable response, and so does a Confirmable one
    /// while too many separate responses wait for their acknowledgement (`Config::max_incoming`). A response that the
    /// client declined (No-Response, RFC 7967) is not sent, and neither is an error to a multicast request (RFC 7252
    /// §8.2); its other responses leave within the leisure.
    ///
    /// A body longer than a block goes in blocks (RFC 7959): the first one now, the others when the peer asks for them. A
    /// whole body is kept for that as long as there is room (`Config::max_transfers`), with an ETag made from its content
    /// if it has none; afterwards each block asked for is a request of its own, with `IncomingRequest::wanted`. A body in
    /// parts is asked for with `Event::BodyWanted`.
    ///
    /// A request whose body is still coming in can be answered at any time: the block that waits gets the response, or the
    /// next. A response in parts can be broken off with another response.
    ///
    /// An error changes nothing: the request can be answered with another response.
    pub fn respond(&mut self, now: Instant, to: IncomingId, mut response: Response) -> Result<(), RespondError> {
        let now = self.advance(now);
        if !response.code.is_response() {
            return Err(RespondError::NotAResponse { code: response.code });
        }
        if response.code == Code::UNAUTHORIZED && echo::wants_echo(&response.options) {
            self.fill_echo(to.0, &mut response.options);
        }
        let registering = self.registering(to.0);
        match self.incoming.get(to.0).map(|request| &request.waiting) {
            Some(Waiting::Response) if response.body.is_in_parts() => self.start_stream(now, to.0, response),
            Some(Waiting::Response) => self.answer(now, to.0, response),
            Some(Waiting::Nothing) => self.answer_next(now, to.0, response),
            _ => Err(RespondError::Stale),
        }?;
        if let Some((peer, token)) = registering {
            self.lose_by_token(now, peer, &token, Closed::Superseded);
        }
        Ok(())
    }

    /// Leaves a request without a response. The acknowledgement of a Confirmable one is sent if it is still owed, so
    /// that the peer does not repeat it. Its body, or that of its response, goes no further. False: it was answered or
    /// closed before.
    pub fn ignore(&mut self, now: Instant, incoming: IncomingId) -> bool {
        let now = self.advance(now);
        let waiting = self.incoming.get(incoming.0).map(|request| &request.waiting);
        let open = matches!(waiting, Some(Waiting::Response | Waiting::Nothing));
        if open {
            self.acknowledge(incoming.0);
            self.close_incoming(now, incoming.0);
        }
        open
    }

    /// Opens a request that was admitted. The application is not told of it.
    pub(super) fn open_incoming(&mut self, now: Instant, arrival: &Arrival) -> IncomingKey {
        let Arrival { path, peer, common, recent, asked, message, .. } = arrival;
        self.peers.hold(*peer);
        if let Some(record) = self.peers.get_mut(*peer) {
            record.incoming += 1;
        }
        let registration = self.on_observe(now, *path, *peer, message);
        let common = common.map_or_else(|| Common::of(&self.hash, message), Common::Hash);
        let limited = self.is_limited(*peer, path.is_multicast()) && self.account(now, arrival);
        let new = NewIncoming {
            peer: *peer,
            from: path.from,
            local: path.to,
            kind: message.kind,
            method: message.code,
            message_id: message.message_id,
            token: message.token.clone(),
            recent: *recent,
            no_response: message.options.no_response(),
            asked: Asked { limited, ..*asked },
            common,
            registration,
        };
        self.incoming.open(now, new)
    }

    /// Remembers a request's Message ID, so that its duplicates are known.
    pub(super) fn remember(&mut self, now: Instant, peer: PeerKey, path: Path, message: &Message) -> RecentKey {
        let parameters = self.transmission(peer);
        let (kind, lifetime) = match message.kind {
            Type::Confirmable => (Lifetime::Exchange, parameters.exchange_lifetime()),
            _ => (Lifetime::Non, parameters.non_lifetime()),
        };
        self.recent.remember(now, peer, path.received(message), kind, lifetime)
    }

    /// From now on a peer that nothing holds is known for as long as a Message ID of its own or one towards it.
    pub(super) fn keep_known(&mut self, now: Instant, peer: PeerKey) {
        self.peers.hold(peer);
        self.peers.release(now, peer);
    }

    /// Answers a request that is not opened: the answer is made again for each duplicate.
    pub(super) fn respond_unasked(&mut self, path: Path, request: &Message, response: Response) {
        let (kind, message_id) = match request.kind {
            Type::Confirmable => (Type::Acknowledgement, request.message_id),
            _ => {
                let now = self.now;
                let Some(peer) = self.admit(now, path.from) else { return };
                let Ok(message_id) = self.draw_message_id(now, peer) else { return };
                self.keep_known(now, peer);
                (Type::NonConfirmable, message_id)
            }
        };
        let message = message_of(kind, message_id, request, response);
        self.send(path.from, path.to, What::Message(Box::new(message)));
    }

    /// The acknowledgement could not wait any longer: the response will come separately.
    pub(super) fn acknowledge(&mut self, key: IncomingKey) {
        if !self.incoming.is_owed(key) {
            return;
        }
        self.incoming.acknowledged(key);
        let Some(request) = self.incoming.get(key) else { return };
        let (peer, to, local) = (request.peer, request.from, request.local);
        let (message_id, recent) = (request.message_id, request.recent);
        if let Some(recent) = recent {
            self.recent.set_answer(recent, Answer::Acknowledged);
        }
        // Without it the request comes again, and pays for it then.
        if self.pay(peer, local.group.is_some(), EMPTY_LEN) {
            self.send(to, local, What::Empty(Type::Acknowledgement, message_id));
        }
    }

    /// The application did not answer in time: 5.03, and the application is told. A group has others that answer.
    pub(super) fn give_up_incoming(&mut self, now: Instant, key: IncomingKey) {
        self.stats.unanswered += 1;
        let multicast = self.incoming.get(key).is_some_and(|request| request.local.group.is_some());
        // If even that cannot be said, for want of a Message ID, the client finds out by itself.
        if multicast || self.say(now, key, Response::new(Code::SERVICE_UNAVAILABLE)).is_err() {
            self.acknowledge(key);
        }
        self.end_registration(now, key);
        self.release_incoming(now, key);
        self.incoming.close(key, Closed::TimedOut);
    }

    /// The leisure of a multicast answer is over.
    pub(super) fn end_leisure(&mut self, now: Instant, key: IncomingKey) {
        let Some(request) = self.incoming.get_mut(key) else { return };
        let Waiting::Leisure(message) = core::mem::replace(&mut request.waiting, Waiting::Response) else { return };
        let (to, local) = (request.from, request.local);
        self.send(to, local, What::Message(message));
        self.close_incoming(now, key);
    }

    /// Sends a response by the way that the request asks for. The request stays open.
    pub(super) fn deliver(&mut self, now: Instant, key: IncomingKey, reply: Reply) -> Result<(), RespondError> {
        if self.incoming.get(key).is_some_and(|request| request.asked.limited) {
            return self.deliver_limited(now, key, reply);
        }
        self.deliver_as_it_is(now, key, reply)
    }

    /// The same for one that the peer may be sent.
    pub(super) fn deliver_as_it_is(
        &mut self,
        now: Instant,
        key: IncomingKey,
        reply: Reply,
    ) -> Result<(), RespondError> {
        let open = self.incoming.get(key).filter(|request| matches!(request.waiting, Waiting::Response));
        let request = open.ok_or(RespondError::Stale)?;
        let (peer, to, local, recent) = (request.peer, request.from, request.local, request.recent);
        let (kind, request_id) = (request.kind, request.message_id);
        let suppressed = is_suppressed(request, reply.code);
        let piggybacked = self.incoming.is_owed(key);
        let mut message = Message {
            kind: match kind {
                Type::Confirmable if piggybacked => Type::Acknowledgement,
                Type::Confirmable if self.may_repeat_to(peer) && !self.is_challenge(peer, &reply) => Type::Confirmable,
                _ => Type::NonConfirmable,
            },
            code: reply.code,
            message_id: request_id,
            token: request.token.clone(),
            options: reply.options,
            payload: reply.payload,
        };
        let (len, max) = (message.encoded_len(), self.config.max_datagram);
        if len > max {
            return Err(RespondError::TooLarge { len, max });
        }
        if suppressed {
            self.stats.responses_suppressed += 1;
            self.acknowledge(key);
            return Ok(());
        }
        if message.kind != Type::Acknowledgement {
            let drawn = self.draw_message_id(now, peer);
            message.message_id = drawn.map_err(|until| RespondError::NoMessageId { until })?;
        }
        self.stats.unrepeated_responses += u64::from((kind, message.kind) == (Type::Confirmable, Type::NonConfirmable));
        match message.kind {
            Type::Acknowledgement => self.send_piggybacked(key, to, local, recent, message),
            Type::Confirmable => self.send_separate(now, peer, to, local, message),
            _ if local.group.is_some() => self.send_at_leisure(now, peer, key, message),
            _ => self.send(to, local, What::Message(Box::new(message))),
        }
        Ok(())
    }

    /// RFC 7252 §5.2.1: the acknowledgement carries the response, and is kept for duplicates.
    fn send_piggybacked(
        &mut self,
        key: IncomingKey,
        to: Peer,
        local: Local,
        recent: Option<RecentKey>,
        message: Message,
    ) {
        let len = message.encoded_len();
        self.incoming.acknowledged(key);
        let write = |buf: &mut [u8]| message.encode(buf).unwrap_or(0);
        let (kept, forgotten) = recent.map_or((None, 0), |recent| self.recent.keep_reply(recent, len, write));
        // One that is not even kept is forgotten at once.
        self.stats.replies_forgotten += forgotten + u64::from(recent.is_some() && kept.is_none());
        match kept {
            Some(reply) => self.send(to, local, What::Reply(reply)),
            None => self.send(to, local, What::Message(Box::new(message))),
        }
    }

    /// RFC 7252 §5.2.2: a Confirmable message of its own.
    fn send_separate(&mut self, now: Instant, peer: PeerKey, to: Peer, from: Local, message: Message) {
        let draw = self.rng.next_u64();
        let backoff = Backoff::new(now, self.transmission(peer), draw);
        let flight = InFlight { peer, to, from, owner: Owner::Response, message, backoff: Some(backoff) };
        let key = self.flights.open(flight);
        self.peers.hold(peer);
        if let Some(record) = self.peers.get_mut(peer) {
            record.in_flight += 1;
        }
        self.deadlines.set(Reason::Retransmission, key.index(), Some(backoff.next()));
        self.send(to, from, What::Flight(key));
    }

    /// Whether one more separate response may be repeated until it is acknowledged. Whoever asks and never acknowledges
    /// would otherwise have one repeated for each of its requests.
    fn may_repeat_to(&self, peer: PeerKey) -> bool {
        let of_peer = self.peers.get(peer).map_or(0, |record| record.in_flight as usize);
        let most = self.config.max_incoming_per_peer.saturating_add(usize::from(self.transmission(peer).nstart()));
        of_peer < most && self.flights.responses() < self.config.max_incoming
    }

    /// RFC 7252 §8.2: at a random time, so that the answers of a group do not collide.
    fn send_at_leisure(&mut self, now: Instant, peer: PeerKey, key: IncomingKey, message: Message) {
        let leisure = self.transmission(peer).leisure().as_micros();
        let wait = (leisure * u128::from(self.rng.next_u64())) >> 64;
        let due = now + Duration::from_micros(wait as u64);
        self.incoming.answer_later(key, message);
        self.deadlines.set(Reason::Incoming, key.index(), Some(due));
    }

    pub(super) fn close_incoming(&mut self, now: Instant, key: IncomingKey) {
        self.release_incoming(now, key);
        self.incoming.remove(key);
    }

    /// Lets go of all that a request holds, which includes its body.
    pub(super) fn release_incoming(&mut self, now: Instant, key: IncomingKey) {
        let Some(request) = self.incoming.get_mut(key) else { return };
        let (peer, transfer, waiting) = (request.peer, request.transfer.take(), &request.waiting);
        let counted = !matches!(waiting, Waiting::Nothing);
        if let Some(record) = self.peers.get_mut(peer).filter(|_| counted) {
            record.incoming = record.incoming.saturating_sub(1);
        }
        self.deadlines.set(Reason::Incoming, key.index(), None);
        self.peers.release(now, peer);
        if let Some(transfer) = transfer {
            self.remove_transfer(now, transfer);
        }
    }

    /// A Message ID towards a peer: neither used within EXCHANGE_LIFETIME nor still in flight, which a request with
    /// slow parameters of its own can be for longer, nor that of a notification whose acknowledgement is awaited.
    pub(super) fn draw_message_id(&mut self, now: Instant, peer: PeerKey) -> Result<u16, Instant> {
        let lifetime = self.transmission(peer).exchange_lifetime();
        loop {
            // It ends: each round uses one of 61,440 up, and when all are used up there is none to be had.
            let drawn = self.peers.get_mut(peer).map_or(Err(now), |record| record.message_ids.draw(now, lifetime))?;
            if self.flights.find(peer, drawn).is_none() && self.observers.frees_message(peer, drawn) {
                return Ok(drawn);
            }
        }
    }
}

/// Whether the client declined a response, or is a group that is spared it.
#[inline]
pub(super) fn is_suppressed(request: &Incoming, code: Code) -> bool {
    match request.no_response {
        // It is not the response that the client declined: without it no further block would come.
        _ if code == Code::CONTINUE => false,
        // The client has said which classes it wants, and that counts for a multicast too (RFC 7967 §2.1).
        Some(unwanted) => code.suppressed_by(unwanted),
        None => request.local.group.is_some() && code.is_error(),
    }
}

pub(super) fn message_of(kind: Type, message_id: u16, request: &Message, response: Response) -> Message {
    Message {
        kind,
        code: response.code,
        message_id,
        token: request.token.clone(),
        options: response.options,
        payload: response.body.into_bytes(),
    }
}
