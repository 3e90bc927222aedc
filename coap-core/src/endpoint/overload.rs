//! Overload, from both sides: a server's request to wait is obeyed (RFC 8516 §4, RFC 7252 §5.9.3.4), and what finds no room
//! here is told so (RFC 8516 §3).

use core::time::Duration;

use super::Endpoint;
use super::inbound::Path;
use crate::addr::Peer;
use crate::deadlines::Reason;
use crate::event::Failure;
use crate::exchange::{Bodies, Outcome, OutgoingKey, Stage};
use crate::message::{Heed, RequestOptions, Response};
use crate::outbox::What;
use crate::overload::Similar;
use crate::peers::PeerKey;
use crate::reliability::RecentKey;
use crate::time::Instant;
use crate::wire::{Code, Message, Options, Type};

/// RFC 7252 §5.10.5: the Max-Age of a response that does not say.
const DEFAULT_MAX_AGE: u32 = 60;

impl Endpoint {
    // ----- As a client ---------------------------------------------------------------------------------------------

    /// Until when a server has asked us not to send such a request; `None`: it may be sent. The answer changes when a
    /// response of code 4.29 or 5.03 arrives, and with time.
    pub fn back_off(&self, now: Instant, to: &Peer, code: Code, options: &Options) -> Option<Instant> {
        if self.back_offs.is_empty() || to.is_multicast() {
            return None;
        }
        self.back_offs.find(self.now.max(now), self.similar(to, code, options))
    }

    /// The same for a request that is sent so.
    pub(super) fn must_back_off(
        &self,
        now: Instant,
        to: &Peer,
        code: Code,
        options: &Options,
        how: &RequestOptions,
    ) -> Option<Instant> {
        let heeds = how.heed == Heed::BackOffs;
        if heeds { self.back_off(now, to, code, options) } else { None }
    }

    /// A response to a request of ours has arrived: its server may want us to wait.
    #[inline]
    pub(super) fn note_overload(&mut self, now: Instant, key: OutgoingKey, message: &Message) {
        if matches!(message.code, Code::TOO_MANY_REQUESTS | Code::SERVICE_UNAVAILABLE) {
            self.note_back_off(now, key, message);
        }
    }

    #[cold]
    fn note_back_off(&mut self, now: Instant, key: OutgoingKey, message: &Message) {
        let Some(request) = self.outgoing.get(key).filter(|request| !request.is_group()) else { return };
        let to = request.to;
        let Some(similar) = self.asked(key, |code, options| self.similar(&to, code, options)) else { return };
        let span = Duration::from_secs(message.options.max_age().unwrap_or(DEFAULT_MAX_AGE).into());
        let until = now + span.min(self.config.max_back_off);
        self.stats.back_offs += 1;
        self.stats.back_offs_forgotten += self.back_offs.note(now, similar, until);
        self.deadlines.set(Reason::BackOff, 0, self.back_offs.next_end());
    }

    /// Those whose time has come are forgotten.
    pub(super) fn end_back_offs(&mut self, now: Instant) {
        self.back_offs.expire(now);
        self.deadlines.set(Reason::BackOff, 0, self.back_offs.next_end());
    }

    /// Ends a request that has waited for its turn, if its server does not want it any more by now. False: it may be sent.
    ///
    /// What its server has begun to answer goes on: the blocks of a body, and the rest of a state that is observed.
    pub(super) fn end_backed_off(&mut self, now: Instant, key: OutgoingKey) -> bool {
        let Some(request) = self.outgoing.get(key) else { return false };
        let first = request.attempts == 0 && request.parent.is_none();
        let registers = request.observing.is_some() && !request.is_leaving();
        if request.heed == Heed::Nothing || !(first || registers) {
            return false;
        }
        let Stage::Waiting(message) = &request.stage else { return false };
        // A ping is no request.
        if message.code.is_empty() {
            return false;
        }
        let Some(until) = self.back_off(now, &request.to, message.code, &message.options) else { return false };
        self.end(now, key, Outcome::Failed(Failure::BackOff { until }));
        true
    }

    fn similar(&self, to: &Peer, code: Code, options: &Options) -> Similar {
        (self.hash.peer(to), self.hash.similar(code, options))
    }

    /// What a request that was sent asks for.
    fn asked<T>(&self, key: OutgoingKey, look: impl FnOnce(Code, &Options) -> T) -> Option<T> {
        let request = self.outgoing.get(key)?;
        if let Some(observing) = &request.observing {
            let (code, options) = observing.asked();
            return Some(look(code, options));
        }
        if let Bodies::Blocks(operation) = &request.bodies {
            let (code, options) = operation.asked();
            return Some(look(code, options));
        }
        let message = match &request.stage {
            Stage::InFlight(flight) => &self.flights.get(*flight)?.message,
            Stage::Acknowledged(message) => message.as_deref()?,
            _ => return None,
        };
        Some(look(message.code, &message.options))
    }

    // ----- As a server ---------------------------------------------------------------------------------------------

    /// Tells a peer that there is no room for its request: `code` is 4.29 if the peer itself takes it (RFC 8516 §3), and 5.03
    /// if others do. Above `Config::max_refusals_per_second`, and where it might do harm, it is met with silence instead, and
    /// its retransmission gets its chance.
    ///
    /// No slot is held for it. One that is not safe is remembered with its answer as any other, because a copy of it that is
    /// late must not be executed after its client was told that it was refused (RFC 7252 §4.5).
    #[cold]
    pub(super) fn refuse_overloaded(
        &mut self,
        now: Instant,
        path: Path,
        peer: Option<PeerKey>,
        message: &Message,
        known: Option<RecentKey>,
        code: Code,
    ) {
        let unwanted = message.options.no_response().is_some_and(|unwanted| code.suppressed_by(unwanted));
        // A body that is under way would end with it.
        let goes_on = peer.is_some_and(|peer| self.goes_on(peer, message));
        // What has been executed was not refused, though its answer is lost.
        let executed = known.is_some();
        if path.is_multicast() || unwanted || goes_on || executed {
            return;
        }
        let safe = message.code.is_safe();
        let needs_peer = !safe || message.kind == Type::NonConfirmable;
        if needs_peer && peer.is_none() && !self.peers.has_room() {
            return;
        }
        if !self.refusals.spend(now, self.hash.peer(&path.from)) {
            self.stats.refusals_suppressed += 1;
            return;
        }
        if !safe && self.recent.make_room(now, peer).is_err() {
            return;
        }
        self.stats.refusals_sent += 1;
        let mut response = Response::new(code);
        response.options.set_max_age(self.config.refusal_max_age);
        if safe {
            return self.respond_unasked(path, message, response);
        }
        let Some(peer) = peer.or_else(|| self.admit(now, path.from)) else { return };
        let recent = self.remember(now, peer, path, message);
        self.keep_known(now, peer);
        match message.kind {
            Type::Confirmable => self.refuse_remembered(path, recent, message, response),
            _ => self.respond_unasked(path, message, response),
        }
    }

    /// Its duplicates get the same.
    fn refuse_remembered(&mut self, path: Path, recent: RecentKey, request: &Message, response: Response) {
        let message = super::server::message_of(Type::Acknowledgement, request.message_id, request, response);
        let write = |buf: &mut [u8]| message.encode(buf).unwrap_or(0);
        let (kept, forgotten) = self.recent.keep_reply(recent, message.encoded_len(), write);
        self.stats.replies_forgotten += forgotten + u64::from(kept.is_none());
        let what = kept.map_or_else(|| What::Message(message.into()), What::Reply);
        self.send(path.from, path.to, what);
    }
}
