//! What is sent to a peer that has not proven its address, which may be forged (RFC 9175 §2.4, RFC 7252 §11.3).
//!
//! A request is answered with 136 bytes at most, and whatever follows from it (acknowledgement, separate response,
//! notifications, all their repetitions) is paid from what the peer sent. The answers that are made anew for each message, and
//! keep no state, need no account: Resets, refused options, and the answers to duplicates are each less than three times what
//! they answer.
//!
//! ```text
//!   serve ──► arrived ──► account ──► pay ◄── deliver, acknowledge, on_retransmission, notify
//!                │ Echo                └──► withheld
//!                ▼
//!             proven, and so by what answers a token or Message ID of ours
//! ```

use bytes::Bytes;

use super::Endpoint;
use super::errors::RespondError;
use super::inbound::Path;
use super::serving::{Cut, FRAME_LEN};
use crate::addr::Peer;
use crate::config::UnprovenLimit;
use crate::echo;
use crate::exchange::{Incoming, IncomingKey};
use crate::message::Response;
use crate::peers::PeerKey;
use crate::reliability::FlightKey;
use crate::time::Instant;
use crate::wire::{Code, Message, OptionNumber, Options, Type};

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
        let asked = match self.config.unproven_limit {
            UnprovenLimit::Off => false,
            UnprovenLimit::Groups => group,
            UnprovenLimit::All => true,
        };
        asked && self.peers.get(peer).is_some_and(|record| !record.is_proven())
    }

    /// The longest datagram that may go to a peer now.
    #[inline]
    pub(super) fn longest_to(&self, peer: PeerKey, group: bool) -> usize {
        if self.is_limited(peer, group) { self.affordable(peer).min(LONGEST) } else { self.config.max_datagram }
    }

    /// The same, in answer to a request. Who registers as an observer must be able to pay for the first notification, whose
    /// acknowledgement proves its address.
    #[inline]
    pub(super) fn longest_answer(&self, request: &Incoming) -> usize {
        let group = request.local.group.is_some();
        if request.registration.is_none() || !self.is_limited(request.peer, group) {
            return self.longest_to(request.peer, group);
        }
        let notification = HEADERS + NOTIFICATION + request.token.len();
        self.affordable(request.peer).saturating_sub(notification).min(LONGEST)
    }

    /// How long a datagram may be that its peer pays for.
    pub(super) fn affordable(&self, peer: PeerKey) -> usize {
        let allowance = self.peers.get(peer).map_or(0, |record| record.allowance as usize);
        allowance.saturating_sub(HEADERS).min(self.config.max_datagram)
    }

    /// A request of the peer is served. One with an Echo value of ours proves its address; another pays for its answer.
    #[inline]
    pub(super) fn arrived(&mut self, now: Instant, peer: PeerKey, path: Path, message: &Message) {
        let limited = self.is_limited(peer, path.is_multicast());
        if !limited && !message.options.contains(OptionNumber::ECHO) {
            return;
        }
        let lifetime = self.config.echo_lifetime;
        if message.options.echo().is_some_and(|value| self.echoes.age(now, &path.from, value, lifetime).is_some()) {
            self.recent.prove(peer);
            self.peers.prove(now, peer);
        } else if limited && let Some(record) = self.peers.get_mut(peer) {
            let received = (HEADERS + usize::from(path.len)) as u32;
            record.allowance = record.allowance.saturating_add(FACTOR * received);
        }
    }

    /// Whether a datagram of `len` bytes may be sent to a peer. It has been paid then.
    #[inline]
    #[must_use]
    pub(super) fn pay(&mut self, peer: PeerKey, group: bool, len: usize) -> bool {
        !self.is_limited(peer, group) || self.pay_for(peer, len)
    }

    fn pay_for(&mut self, peer: PeerKey, len: usize) -> bool {
        let Some(record) = self.peers.get_mut(peer) else { return false };
        let left = u32::try_from(HEADERS + len).ok().and_then(|bytes| record.allowance.checked_sub(bytes));
        match left {
            Some(left) => record.allowance = left,
            None => self.stats.unproven_withheld += 1,
        }
        left.is_some()
    }

    /// Whether a separate response may be repeated.
    pub(super) fn pay_again(&mut self, peer: PeerKey, flight: FlightKey) -> bool {
        let limited = self.is_limited(peer, false);
        !limited
            || self
                .flights
                .get(flight)
                .map(|flight| flight.message.encoded_len())
                .is_some_and(|len| self.pay_for(peer, len))
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

    /// What one response carries of a body to a peer that is limited to `most` bytes. If that makes a difference, it is asked to
    /// prove its address with the next request. What does not fit at all is seen when it is sent.
    pub(super) fn cut_short(
        &mut self,
        key: IncomingKey,
        most: usize,
        token_len: usize,
        response: Response,
    ) -> Result<Cut, RespondError> {
        let Some(request) = self.incoming.get(key) else { return Err(RespondError::Stale) };
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
    pub(super) fn abridge(
        &mut self,
        peer: PeerKey,
        to: &Peer,
        group: bool,
        method: Code,
        message: &mut Message,
    ) -> bool {
        if message.encoded_len() > self.longest_to(peer, group) {
            // A group has others that answer, and an error is none for it.
            if group {
                self.stats.unproven_withheld += 1;
                return false;
            }
            (message.code, message.options) = self.challenge(to, method, message.code);
            message.payload = Bytes::new();
        }
        // RFC 9175 §2.4: never a separate one, which would be repeated.
        let asks = message.code == Code::UNAUTHORIZED && message.options.contains(OptionNumber::ECHO);
        if asks && message.kind == Type::Confirmable {
            message.kind = Type::NonConfirmable;
        }
        self.pay(peer, group, message.encoded_len())
    }

    /// Puts an Echo value in where the application wants one.
    #[inline]
    pub(super) fn with_echo(&mut self, of: IncomingKey, mut response: Response) -> Response {
        if echo::wants_echo(&response.options)
            && let Some(from) = self.incoming.get(of).map(|request| request.from)
        {
            let value = self.make_echo(&from);
            // It has a length that the option can have.
            let _ = response.options.set_echo(&value);
        }
        response
    }
}
