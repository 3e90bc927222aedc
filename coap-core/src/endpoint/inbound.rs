//! A datagram's way in. Each step may end the walk; nothing is changed before all reasons to refuse are known, so that
//! what is turned away leaves no trace but a counter, and its retransmission gets another chance.

use super::Endpoint;
use crate::addr::{Datagram, Local, Peer};
use crate::event::{Failure, RequestId};
use crate::exchange::{Outcome, Outgoing, Stage};
use crate::message::{Body, Response};
use crate::outbox::What;
use crate::peers::PeerKey;
use crate::reliability::{Answer, Received, RecentKey};
use crate::time::Instant;
use crate::wire::{Code, Header, Message, OptionNumber, Type};

/// Where a message came from and where to.
#[derive(Clone, Copy)]
pub(super) struct Path {
    pub(super) from: Peer,
    pub(super) to: Local,
}

impl Path {
    /// It came to a group (RFC 7252 §8).
    pub(super) const fn is_multicast(&self) -> bool {
        self.to.group.is_some()
    }

    /// What duplicates of a message are known by, apart from its sender.
    pub(super) fn received(&self, message: &Message) -> Received {
        Received { message_id: message.message_id, at: self.to.endpoint() }
    }
}

impl Endpoint {
    /// A datagram arrived.
    ///
    /// Malformed ones, and those that make no sense, are counted, and answered with a Reset message where RFC 7252
    /// §4.2 asks for one. Whatever arrives costs a bounded amount of work, and of memory only what the `Config` allows.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        let now = self.advance(now);
        let Datagram { from, to, payload } = datagram;
        let path = Path { from, to };
        self.stats.datagrams_received += 1;
        // Nothing comes from a group, and port 0 cannot be answered.
        if from.is_multicast() || from.udp().is_some_and(|addr| addr.port() == 0) {
            self.stats.senseless += 1;
            return;
        }
        let extended = self.config.has_extended_tokens();
        let decoded = if extended { Message::decode_extended(payload) } else { Message::decode(payload) };
        match decoded {
            Ok(message) => self.on_message(now, path, message),
            Err(error) => self.on_malformed(now, path, error.header),
        }
    }

    /// The network reports that nothing can be sent to `peer` (ICMP, or an error of the socket).
    ///
    /// Requests to it that have not been acknowledged, or were sent Non-confirmable, fail with
    /// `Failure::Unreachable`, and those that wait have their turn. Its observers that were just notified are removed. Such a
    /// report can be forged, as a Reset can.
    pub fn handle_unreachable(&mut self, now: Instant, peer: Peer) {
        let now = self.advance(now);
        if let Some(key) = self.peers.find(&peer) {
            self.lose_unreachable(now, key);
            self.fail_in_flight(now, key);
        }
    }

    /// A request to a group cannot be sent: there is no way to the group, or none within its hops. It fails with
    /// `Failure::Unreachable`; one that has ended, or was for a single peer, is left as it is. Nobody else can say that: no ICMP
    /// message answers what is sent to a group (RFC 1122 §3.2.2).
    pub fn handle_not_sent(&mut self, now: Instant, request: RequestId) {
        let now = self.advance(now);
        let found = self.outgoing.get(request.0);
        if found.is_some_and(|request| matches!(request.stage, Stage::Group)) {
            self.settle(now, request.0, Outcome::Failed(Failure::Unreachable));
        }
    }

    /// RFC 7252 §4.2, §4.3: a Confirmable message whose header is readable is rejected, the rest is ignored.
    fn on_malformed(&mut self, now: Instant, path: Path, header: Option<Header>) {
        self.stats.malformed += 1;
        let header = header.filter(|header| header.kind == Type::Confirmable && !path.is_multicast());
        if let Some(header) = header {
            self.send_reset(now, path.from, path.to, header.message_id);
        }
    }

    /// The table of RFC 7252 §4.3: which codes go with which types.
    fn on_message(&mut self, now: Instant, path: Path, message: Message) {
        let multicast = path.is_multicast();
        match message.kind {
            // A multicast message is a Non-confirmable request, or nothing (RFC 7252 §8.1).
            Type::NonConfirmable if message.code.is_request() => self.on_request(now, path, message),
            _ if multicast => self.stats.senseless += 1,
            Type::Confirmable if message.code.is_request() => self.on_request(now, path, message),
            Type::Confirmable | Type::NonConfirmable if message.code.is_response() => {
                self.on_response(now, path, message);
            }
            Type::Confirmable if message.code.is_empty() => {
                self.stats.pings_received += 1;
                self.send_reset(now, path.from, path.to, message.message_id);
            }
            Type::Confirmable => {
                self.stats.senseless += 1;
                self.send_reset(now, path.from, path.to, message.message_id);
            }
            Type::Acknowledgement if message.code.is_empty() || message.code.is_response() => {
                self.on_acknowledgement(now, path, message);
            }
            Type::Reset if message.code.is_empty() => self.on_reset(now, path, message.message_id),
            // Never an answer to an acknowledgement or a Reset, whatever is wrong with it: that would be a loop.
            Type::NonConfirmable | Type::Acknowledgement | Type::Reset => self.stats.senseless += 1,
        }
    }

    fn on_request(&mut self, now: Instant, path: Path, message: Message) {
        let peer = self.peers.find(&path.from);
        if let Some(known) = peer.and_then(|peer| self.recent.find(now, peer, path.received(&message))) {
            // Asking the application again does no harm then, and the client gets its answer (RFC 7252 §4.5).
            // Not a block of a longer body: by now it could end up in the next one.
            let block = message.options.block1().filter(|block| block.more() || block.num() > 0);
            if self.recent.has_lost_reply(known) && message.code.is_idempotent() && block.is_none() {
                self.serve(now, path, message, peer, Some(known));
            } else {
                let answer = self.recent.answer(known);
                self.on_duplicate(now, path, &message, answer);
            }
            return;
        }
        self.serve(now, path, message, peer, None);
    }

    /// Admits a request, or refuses it. `known`: its Message ID is remembered already.
    fn serve(&mut self, now: Instant, path: Path, message: Message, peer: Option<PeerKey>, known: Option<RecentKey>) {
        let bad_elective = match self.examine(&message) {
            Ok(bad_elective) => bad_elective,
            Err(refusal) => return self.refuse(path, &message, refusal),
        };
        if let Some(code) = self.find_overload(peer, &message) {
            return self.refuse_overloaded(now, path, peer, &message, known, code);
        }
        let remembered = known.is_some() || self.recent.make_room(now, peer).is_ok();
        if !remembered && !message.code.is_idempotent() {
            self.stats.refused_memory += 1;
            return;
        }
        let Some(peer) = peer.or_else(|| self.admit(now, path.from)) else {
            self.stats.refused_peer += 1;
            return;
        };
        self.stats.requests_received += 1;
        let recent = if remembered {
            // One that is served again has no answer until then: its next duplicate must not be served a third time.
            let again = known.inspect(|known| self.recent.set_answer(*known, Answer::Nothing));
            Some(again.unwrap_or_else(|| self.remember(now, peer, path, &message)))
        } else {
            self.stats.served_unremembered += 1;
            None
        };
        self.on_admitted(now, path, peer, recent, message, bad_elective);
    }

    /// What a request is answered that finds no room, or that comes too late.
    fn find_overload(&mut self, peer: Option<PeerKey>, message: &Message) -> Option<Code> {
        if self.is_shutting_down() && !peer.is_some_and(|peer| self.goes_on(peer, message)) {
            self.stats.refused_shutdown += 1;
            return Some(Code::SERVICE_UNAVAILABLE);
        }
        let of_peer = peer.and_then(|peer| self.peers.get(peer)).map_or(0, |record| record.incoming as usize);
        if of_peer >= self.config.max_incoming_per_peer {
            self.stats.refused_incoming += 1;
            return Some(Code::TOO_MANY_REQUESTS);
        }
        if self.incoming.counted() >= self.config.max_incoming {
            self.stats.refused_incoming += 1;
            return Some(Code::SERVICE_UNAVAILABLE);
        }
        if peer.is_none() && !self.peers.has_room() {
            self.stats.refused_peer += 1;
            return Some(Code::SERVICE_UNAVAILABLE);
        }
        None
    }

    /// RFC 7252 §5.4.1, §5.7.2: options that must be understood, and requests for a proxy. Says whether there are elective ones
    /// that must be ignored.
    fn examine(&self, message: &Message) -> Result<bool, Refusal> {
        // First: beside such a token there may be no room for what is said of options.
        if message.token.len() > self.config.max_token_len {
            return Err(Refusal::TokenTooLong);
        }
        let proxy = [OptionNumber::PROXY_URI, OptionNumber::PROXY_SCHEME];
        let understood = |number| proxy.contains(&number) || self.config.is_understood(number);
        let checked = message.options.check_all(understood);
        let bad_elective = checked.map_err(|bad| Refusal::BadOption(bad.number))?;
        if message.options.reach(OptionNumber::HOP_LIMIT) {
            self.examine_rest(message)?;
        }
        Ok(bad_elective)
    }

    /// What most requests do not have.
    #[inline(never)]
    fn examine_rest(&self, message: &Message) -> Result<(), Refusal> {
        // RFC 8768 §3: not ignored as other elective options are, because a proxy would go on with what should have ended.
        if message.options.contains(OptionNumber::HOP_LIMIT) && message.options.hop_limit().is_none() {
            return Err(Refusal::HopLimit);
        }
        let proxy = [OptionNumber::PROXY_URI, OptionNumber::PROXY_SCHEME];
        if proxy.into_iter().any(|number| message.options.contains(number) && !self.config.is_understood(number)) {
            return Err(Refusal::Proxying);
        }
        Ok(())
    }

    /// Answers without a trace: a duplicate is found wanting again, with the same bytes.
    fn refuse(&mut self, path: Path, request: &Message, refusal: Refusal) {
        let response = match refusal {
            Refusal::BadOption(number) => {
                self.stats.bad_option += 1;
                // RFC 7252 §5.4.1: a Non-confirmable request is rejected, which without a Reset is silence.
                if request.kind == Type::NonConfirmable {
                    return;
                }
                Response::diagnostic(Code::BAD_OPTION, alloc::format!("option {number} is not understood or malformed"))
            }
            Refusal::HopLimit => {
                self.stats.bad_hop_limit += 1;
                Response::diagnostic(Code::BAD_REQUEST, "Hop-Limit is not between 1 and 255")
            }
            // RFC 8974 §2.2.2: not rejected, which would say that no extended token at all is understood.
            Refusal::TokenTooLong => {
                self.stats.tokens_too_long += 1;
                if request.token.encoded_len() > self.config.max_datagram.saturating_sub(64) {
                    return;
                }
                Response::diagnostic(Code::BAD_REQUEST, "the token is too long")
            }
            Refusal::Proxying => {
                self.stats.proxy_requests += 1;
                Response::diagnostic(Code::PROXYING_NOT_SUPPORTED, "this is not a proxy")
            }
        };
        if path.is_multicast() {
            self.stats.responses_suppressed += 1;
            return;
        }
        self.respond_unasked(path, request, response);
    }

    /// The peer did not get our answer, or sent twice: it gets the same answer again.
    fn on_duplicate(&mut self, now: Instant, path: Path, message: &Message, answer: Answer) {
        self.stats.duplicates += 1;
        // A Non-confirmable message is not acknowledged (RFC 7252 §4.3), also if a Confirmable one had its Message ID.
        if message.kind != Type::Confirmable {
            return;
        }
        let message_id = message.message_id;
        match answer {
            Answer::Reply(reply) if self.recent.replies.get(reply).is_none() => {}
            Answer::Nothing | Answer::Unkept => {}
            Answer::Acknowledged => self.send(path.from, path.to, What::Empty(Type::Acknowledgement, message_id)),
            Answer::Reset => self.send_reset(now, path.from, path.to, message_id),
            Answer::Reply(reply) => self.send(path.from, path.to, What::Reply(reply)),
        }
    }

    /// A response that did not come with an acknowledgement (RFC 7252 §5.2.2, §5.2.3).
    fn on_response(&mut self, now: Instant, path: Path, message: Message) {
        let peer = self.peers.find(&path.from);
        if let Some(known) = peer.and_then(|peer| self.recent.find(now, peer, path.received(&message))) {
            let answer = self.recent.answer(known);
            self.on_duplicate(now, path, &message, answer);
            return;
        }
        let Some(request) = self.outgoing.find(&message.token, &path.from) else {
            self.stats.unmatched += 1;
            // RFC 7641 §3.6: a Reset ends an observation that is not wanted any more, also in answer to a Non-confirmable
            // notification. Another Non-confirmable response is not worth one.
            if message.kind == Type::Confirmable || message.options.observe().is_some() {
                self.send_reset(now, path.from, path.to, message.message_id);
            }
            return;
        };
        if self.is_unwanted(request, &message) {
            return self.reject(now, path, &message);
        }
        let of_group = self.outgoing.get(request).is_some_and(|request| request.is_group());
        let checked = message.options.check(|number| self.is_understood_in_response(&message, number, of_group));
        let answer = match (message.kind, &checked) {
            (Type::Confirmable, Ok(())) => Answer::Acknowledged,
            (Type::Confirmable, Err(_)) => Answer::Reset,
            _ => Answer::Nothing,
        };
        // A Non-confirmable response to one peer needs no memory: its duplicate finds no request any more, or is a notification
        // that is not newer. One to a group would be told twice, and one with a token of the caller's in answer to the next.
        let can_meet_duplicates = self.outgoing.get(request).is_some_and(Outgoing::can_meet_duplicates);
        if message.kind == Type::Confirmable || can_meet_duplicates {
            self.remember_response(now, path, &message, answer);
        }
        match answer {
            Answer::Acknowledged => {
                self.send(path.from, path.to, What::Empty(Type::Acknowledgement, message.message_id))
            }
            Answer::Reset => self.send_reset(now, path.from, path.to, message.message_id),
            _ => {}
        }
        match checked {
            Ok(()) => self.on_answer(now, request, path.from, message),
            Err(bad) => self.on_bad_answer(now, request, bad.number),
        }
    }

    /// Remembers a response for its duplicates, if there is room. A member of a group becomes known by it.
    pub(super) fn remember_response(&mut self, now: Instant, path: Path, message: &Message, answer: Answer) {
        let Some(peer) = self.admit(now, path.from) else { return };
        if self.recent.make_room(now, Some(peer)).is_ok() {
            let key = self.remember(now, peer, path, message);
            self.recent.set_answer(key, answer);
            self.keep_known(now, peer);
        }
    }

    /// An Empty acknowledgement, or one that carries a response (RFC 7252 §4.2, §5.2.1).
    fn on_acknowledgement(&mut self, now: Instant, path: Path, message: Message) {
        let peer = self.peers.find(&path.from);
        let Some(flight) = peer.and_then(|peer| self.flights.find(peer, message.message_id)) else {
            match peer.and_then(|peer| self.observers.find_message(peer, message.message_id)) {
                Some(observer) => self.on_notification_acknowledged(now, observer, message.message_id),
                None => self.stats.unmatched += 1,
            }
            return;
        };
        self.on_acknowledged(now, path, flight, message);
    }

    fn on_reset(&mut self, now: Instant, path: Path, message_id: u16) {
        let peer = self.peers.find(&path.from);
        let Some(flight) = peer.and_then(|peer| self.flights.find(peer, message_id)) else {
            match peer.and_then(|peer| self.observers.find_message(peer, message_id)) {
                Some(observer) => self.on_notification_rejected(now, observer),
                None => self.stats.unmatched += 1,
            }
            return;
        };
        self.stats.resets_received += 1;
        self.on_rejected(now, flight);
    }

    /// The block options are understood; to a group, Block2 only in the first block: the rest is asked of its member alone
    /// (RFC 7959 §2.8). An option that is for requests only is as good as unknown (RFC 7252 §5.4).
    pub(super) fn is_understood_in_response(&self, message: &Message, number: OptionNumber, of_group: bool) -> bool {
        match number {
            OptionNumber::BLOCK1 | OptionNumber::BLOCK2 if !of_group => true,
            OptionNumber::BLOCK2 => {
                message.options.block2().is_some_and(|block| block.num() == 0 && !block.is_reserved())
            }
            number => {
                let defined = number.definition().is_none_or(|known| known.in_response);
                defined && self.config.is_understood(number)
            }
        }
    }
}

/// Why a request is not served.
enum Refusal {
    BadOption(OptionNumber),
    HopLimit,
    TokenTooLong,
    Proxying,
}

/// What of a response is the application's, without the elective options whose length or number is wrong: they are
/// ignored (RFC 7252 §5.4.1).
pub(super) fn response_of(message: Message) -> Response {
    let Message { code, mut options, payload, .. } = message;
    options.strip_bad_elective();
    Response { code, options, body: Body::Whole(payload) }
}
