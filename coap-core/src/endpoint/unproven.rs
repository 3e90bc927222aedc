//! What is sent to a peer that has not proven its address, which may be forged (RFC 9175 §2.4, RFC 7252 §11.3).
//!
//! A request is answered with 136 bytes at most, and whatever follows from it (acknowledgement, separate response,
//! notifications, all their repetitions) is paid from what the peer sent. The answers that are made anew for each message, and
//! keep no state, need no account: Resets, refused options, and the answers to duplicates are each less than three times what
//! they answer.
//!
//! ```text
//!   a request ──► account ──► allowance ──► pay ◄── deliver, acknowledge, on_retransmission, notify
//!                │ Echo                  └──► withheld
//!                ▼
//!             proven, and so by what answers a token or Message ID of ours
//! ```

use bytes::Bytes;

use super::Endpoint;
use super::errors::RespondError;
use super::server::is_suppressed;
use super::serving::{Arrival, Cut, FRAME_LEN};
use crate::addr::Peer;
use crate::blockwise::server::Reply;
use crate::config::UnprovenLimit;
use crate::echo;
use crate::event::NO_ECHO;
use crate::exchange::{Incoming, IncomingKey, Waiting};
use crate::message::Response;
use crate::peers::PeerKey;
use crate::reliability::FlightKey;
use crate::time::Instant;
use crate::wire::{Code, Message, OptionNumber, Options};

/// RFC 9175 §2.4, RFC 9000 §8: for each byte from the peer.
const FACTOR: u32 = 3;

/// RFC 9175 §2.4: the headers of Ethernet, IPv6 and UDP, 14 + 40 + 8 bytes.
const HEADERS: usize = 62;

/// The longest datagram: for the shortest message, of 4 bytes, three times that and the headers, less the headers.
const LONGEST: usize = 136;

/// A notification of 16 bytes of a longer state, with an ETag and what else belongs to it, without its token.
const NOTIFICATION: usize = 40;

impl Endpoint {
    /// Whether what is sent to a peer is limited; `group`: it answers a request that came through a group.
    #[inline]
    pub(super) fn is_limited(&self, peer: PeerKey, group: bool) -> bool {
        let limit = self.config.unproven_limit;
        (limit == UnprovenLimit::All || (group && limit == UnprovenLimit::Groups)) && self.is_unproven(peer)
    }

    #[inline(never)]
    fn is_unproven(&self, peer: PeerKey) -> bool {
        self.peers.get(peer).is_some_and(|record| !record.is_proven())
    }

    /// The longest datagram that may go to a peer now.
    #[inline]
    pub(super) fn longest_to(&self, peer: PeerKey, group: bool) -> usize {
        if self.is_limited(peer, group) { self.affordable(peer).min(LONGEST) } else { self.config.max_datagram }
    }

    /// The longest that may answer a request at once: that pays for itself.
    pub(super) fn longest_at_once(&self, arrival: &Arrival) -> usize {
        let max = self.config.max_datagram;
        if self.is_limited(arrival.peer, arrival.path.is_multicast()) { LONGEST.min(max) } else { max }
    }

    /// The same, in answer to a request. Who registers as an observer must be able to pay for the first notification, whose
    /// acknowledgement proves its address.
    #[inline]
    pub(super) fn longest_answer(&self, request: &Incoming) -> usize {
        let group = request.local.group.is_some();
        if !self.is_limited(request.peer, group) {
            return self.config.max_datagram;
        }
        if request.registration.is_none() {
            return self.longest_to(request.peer, group);
        }
        let notification = HEADERS + NOTIFICATION + request.token.encoded_len();
        self.affordable(request.peer).saturating_sub(notification).min(LONGEST)
    }

    /// How long a datagram may be that its peer pays for.
    pub(super) fn affordable(&self, peer: PeerKey) -> usize {
        let allowance = self.peers.get(peer).map_or(0, |record| record.credit.allowance as usize);
        allowance.saturating_sub(HEADERS).min(self.config.max_datagram)
    }

    /// A request is served of a peer that is limited. One with an Echo value of ours proves its address; another pays for its
    /// answer. True: it is limited still.
    #[cold]
    pub(super) fn account(&mut self, now: Instant, arrival: &Arrival) -> bool {
        let Arrival { peer, path, message, .. } = arrival;
        if self.prove_by_echo(now, *peer, path.from, message) {
            return false;
        }
        if let Some(record) = self.peers.get_mut(*peer) {
            // As long as the datagram, which UDP bounds.
            let received = (HEADERS + message.encoded_len()) as u32;
            record.credit.allowance = record.credit.allowance.saturating_add(FACTOR * received);
        }
        true
    }

    /// Whether a datagram of `len` bytes may be sent to a peer. It has been paid then.
    #[inline]
    #[must_use]
    pub(super) fn pay(&mut self, peer: PeerKey, group: bool, len: usize) -> bool {
        !self.is_limited(peer, group) || self.pay_for(peer, len)
    }

    fn pay_for(&mut self, peer: PeerKey, len: usize) -> bool {
        let Some(record) = self.peers.get_mut(peer) else { return false };
        let left = u32::try_from(HEADERS + len).ok().and_then(|bytes| record.credit.allowance.checked_sub(bytes));
        match left {
            Some(left) => record.credit.allowance = left,
            None => self.stats.unproven_withheld += 1,
        }
        left.is_some()
    }

    /// Whether a separate response may be repeated.
    pub(super) fn pay_again(&mut self, peer: PeerKey, flight: FlightKey) -> bool {
        if !self.is_limited(peer, false) {
            return true;
        }
        let len = self.flights.get(flight).map(|flight| flight.message.encoded_len());
        len.is_some_and(|len| self.pay_for(peer, len))
    }

    /// Makes an Echo value for a peer.
    pub(super) fn make_echo(&mut self, peer: &Peer) -> echo::Value {
        let (now, lifetime) = (self.now, self.config.echo_lifetime);
        let Self { echoes, rng, .. } = self;
        echoes.make(now, peer, lifetime, || [rng.next_u64(), rng.next_u64()])
    }

    /// What is said instead of a response that is too long for a peer: to ask again with an Echo value, or, since a request
    /// that does something has done it by then, how that went.
    pub(super) fn challenge(&mut self, peer: &Peer, method: Code, response: Code) -> (Code, Options) {
        self.stats.unproven_challenged += 1;
        let mut options = Options::new();
        // It has a length that the option can have.
        let _ = options.set_echo(&self.make_echo(peer));
        (if method.is_safe() { Code::UNAUTHORIZED } else { response }, options)
    }

    /// What one response carries of a body to a peer that is limited. If that makes a difference, it is asked to
    /// prove its address with the next request. What does not fit at all is seen when it is sent.
    pub(super) fn cut_short(
        &mut self,
        key: IncomingKey,
        token_len: usize,
        response: Response,
    ) -> Result<Cut, RespondError> {
        let Some(request) = self.incoming.get(key) else { return Err(RespondError::Stale) };
        let most = self.longest_answer(request);
        let (asked, from, registers) = (request.asked, request.from, request.registration.is_some());
        let longest = self.longest_to(request.peer, request.local.group.is_some());
        let unlimited = self.cut_for(asked, self.config.max_datagram, token_len, response.clone())?;
        if FRAME_LEN + token_len + unlimited.reply.options.encoded_len() + unlimited.reply.payload.len() <= most {
            return Ok(unlimited);
        }
        let mut response = response;
        if !registers && !response.code.is_error() && !response.options.contains(OptionNumber::ECHO) {
            // It has a length that the option can have.
            let _ = response.options.set_echo(&self.make_echo(&from));
        }
        // Better an answer of which there is no notification than none.
        let cut = self.cut_for(asked, most, token_len, response.clone());
        let cut = cut.or_else(|_| self.cut_for(asked, longest, token_len, response));
        self.stats.unproven_shortened += u64::from(cut.is_ok());
        Ok(cut.unwrap_or(unlimited))
    }

    /// Makes of a response to a peer that is limited what it may be sent, and pays for it. False: nothing.
    fn abridge(&mut self, key: IncomingKey, reply: &mut Reply) -> bool {
        let Some(request) = self.incoming.get(key) else { return false };
        let (peer, to, group, method) = (request.peer, request.from, request.local.group.is_some(), request.method);
        let token_len = request.token.encoded_len();
        let len = |reply: &Reply| {
            let marker = usize::from(!reply.payload.is_empty());
            FRAME_LEN - 1 + token_len + reply.options.encoded_len() + marker + reply.payload.len()
        };
        if len(reply) > self.longest_to(peer, group) {
            // A group has others that answer, and an error is none for it.
            if group {
                self.stats.unproven_withheld += 1;
                return false;
            }
            (reply.code, reply.options) = self.challenge(&to, method, reply.code);
            reply.payload = Bytes::new();
        }
        self.pay(peer, group, len(reply))
    }

    /// Sends a response to a peer that is limited, or what there is instead of it.
    #[cold]
    pub(super) fn deliver_limited(
        &mut self,
        now: Instant,
        key: IncomingKey,
        mut reply: Reply,
    ) -> Result<(), RespondError> {
        let open = self.incoming.get(key).filter(|request| matches!(request.waiting, Waiting::Response));
        let request = open.ok_or(RespondError::Stale)?;
        if !is_suppressed(request, reply.code) && !self.abridge(key, &mut reply) {
            self.acknowledge(key);
            return Ok(());
        }
        self.deliver_as_it_is(now, key, reply)
    }

    /// RFC 9175 §2.4: what asks for a proof of the address is never sent separately, which would be repeated.
    pub(super) fn is_challenge(&self, peer: PeerKey, reply: &Reply) -> bool {
        let asks = reply.code == Code::UNAUTHORIZED && reply.options.contains(OptionNumber::ECHO);
        asks && self.is_limited(peer, false)
    }

    /// Puts an Echo value in where the application wants one.
    #[cold]
    pub(super) fn fill_echo(&mut self, of: IncomingKey, options: &mut Options) {
        if let Some(from) = self.incoming.get(of).map(|request| request.from) {
            // It has a length that the option can have.
            let _ = options.set_echo(&self.make_echo(&from));
        }
    }

    /// Whether a message has an Echo value of ours, which proves the address of its peer.
    pub(super) fn prove_by_echo(&mut self, now: Instant, peer: PeerKey, from: Peer, message: &Message) -> bool {
        let lifetime = self.config.echo_lifetime;
        let age = |value| self.echoes.age(now, &from, value, lifetime);
        let is_ours = message.options.echo().and_then(age).is_some();
        if is_ours {
            self.recent.prove(peer);
            self.peers.prove(now, peer);
        }
        is_ours
    }

    /// How old the Echo value is that a request came with.
    #[cold]
    pub(super) fn echo_age(&self, request: &Incoming) -> u32 {
        let lifetime = self.config.echo_lifetime;
        let age = |value| self.echoes.age(request.opened, &request.from, value, lifetime);
        let Some(age) = request.echo().and_then(age) else { return NO_ECHO };
        // A begun millisecond counts as a whole: nothing is younger than it is.
        u32::try_from(age.as_micros().div_ceil(1_000)).unwrap_or(NO_ECHO)
    }
}
