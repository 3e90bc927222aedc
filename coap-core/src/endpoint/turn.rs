//! Requests wait for their turn (NSTART, PROBING_RATE: RFC 7252 §4.7), and are sent when it has come.

use core::time::Duration;

use super::Endpoint;
use crate::blockwise::client::Operation;
use crate::deadlines::Reason;
use crate::event::RequestId;
use crate::exchange::{self, NewRequest, OutgoingKey, Stage};
use crate::message::Pacing;
use crate::outbox::What;
use crate::peers::{PeerKey, PeerRecord};
use crate::reliability::{Backoff, InFlight, Owner};
use crate::time::Instant;
use crate::transmission::TransmissionParameters;
use crate::wire::Type;

impl Endpoint {
    /// Where a request is: sent, or how many wait before it, and why. `None`: it is over.
    pub fn place(&self, request: RequestId) -> Option<Place> {
        let found = self.outgoing.get(request.0).filter(|request| !request.is_settled() && !request.is_leaving())?;
        let message = match &found.stage {
            Stage::Waiting(message) => message,
            Stage::Paused => return Some(Place::Paused),
            _ => return Some(Place::Sent),
        };
        let mut ahead = 0;
        let mut before = found.waiting.prev();
        while let Some(request) = before.and_then(|index| self.outgoing.at(index)) {
            ahead += 1;
            before = request.waiting.prev();
        }
        let record = self.peers.get(found.peer?)?;
        let parameters = self.transmission(found.peer?);
        let why = match message.kind {
            _ if record.is_pending() => Why::Session,
            Type::Confirmable if record.in_flight >= u32::from(parameters.nstart()) => Why::Nstart,
            _ if self.lacks_message_id(self.now, found.peer?) => Why::MessageIds,
            _ => Why::ProbingRate,
        };
        Some(Place::Waiting { ahead, why })
    }

    /// Puts a request among those that wait for their turn; it may have come at once.
    pub(super) fn queue(&mut self, now: Instant, peer: PeerKey, key: OutgoingKey, kind: Type) {
        let Some(record) = self.peers.get_mut(peer) else { return };
        record.queue_of(kind).push_back(self.outgoing.slab_mut(), key.index(), exchange::waiting);
        if !record.is_reachable() {
            return self.wait_for_session(key);
        }
        self.limit(key, now + self.config.response_timeout);
        let unpaced = self.outgoing.get(key).is_some_and(|request| request.pacing == Pacing::Unpaced);
        // Nothing but a Message ID can hold this one back; if there is none, it queues as the others do.
        if kind == Type::NonConfirmable && unpaced && self.start(now, peer, key).is_ok() {
            return;
        }
        self.drain(now, peer);
    }

    /// Starts what may start of the requests that wait for a peer.
    pub(super) fn drain(&mut self, now: Instant, peer: PeerKey) {
        let idle = |record: &PeerRecord| record.backlog.len() + record.paced.len() == 0 || !record.is_reachable();
        if self.peers.get(peer).is_none_or(idle) {
            return self.deadlines.set(Reason::Pacing, peer.index(), None);
        }
        let parameters = *self.transmission(peer);
        let mut wake = None;
        while let Some(record) = self.peers.get(peer).filter(|record| record.in_flight < u32::from(parameters.nstart()))
        {
            let Some(next) = record.backlog.front().and_then(|index| self.outgoing.key_at(index)) else { break };
            if let Err(free) = self.start(now, peer, next) {
                wake = Some(free);
                break;
            }
        }
        while let Some(next) = self.next_paced(peer) {
            let wait = self.pacing_wait(now, peer, next, &parameters);
            if !wait.is_zero() {
                wake = wake.into_iter().chain([now + wait]).min();
                break;
            }
            if let Err(free) = self.start(now, peer, next) {
                wake = wake.into_iter().chain([free]).min();
                break;
            }
        }
        self.deadlines.set(Reason::Pacing, peer.index(), wake);
    }

    /// Sends a request for the first time, or ends it if its server does not want it any more. `Err`: no Message ID is free
    /// before then.
    fn start(&mut self, now: Instant, peer: PeerKey, key: OutgoingKey) -> Result<(), Instant> {
        if !self.back_offs.is_empty() && self.end_backed_off(now, key) {
            return Ok(());
        }
        let message_id = self.draw_message_id(now, peer)?;
        let Some(request) = self.outgoing.get_mut(key) else { return Ok(()) };
        let Stage::Waiting(message) = core::mem::replace(&mut request.stage, Stage::Acknowledged(None)) else {
            return Ok(());
        };
        let mut message = *message;
        message.message_id = message_id;
        let repeated = request.operation().is_some_and(Operation::is_repeated);
        request.attempts = if repeated { request.attempts.saturating_add(1) } else { 1 };
        request.last_sent = now;
        self.add_echo(now, peer, &mut message);
        let Some(request) = self.outgoing.get(key) else { return Ok(()) };
        let (to, from, kind, len) = (request.to, request.from, message.kind, message.encoded_len());
        let (own, pacing, until) = (request.transmission.as_deref().copied(), request.pacing, request.until);
        // The first exchange has the time of any other request; what follows has what is left of that, until there is an answer.
        let until = if repeated { request.ends_at(self.config.response_timeout) } else { until };
        let parameters = own.unwrap_or_else(|| *self.transmission(peer));
        let confirmable = kind == Type::Confirmable;
        let backoff = confirmable.then(|| Backoff::new(now, &parameters, self.rng.next_u64()));
        let owner = Owner::Request(key);
        let flight = self.flights.open(InFlight { peer, to, from, owner, message, backoff });
        if let Some(request) = self.outgoing.get_mut(key) {
            request.stage = Stage::InFlight(flight);
        }
        if let Some(record) = self.peers.get_mut(peer) {
            record.queue_of(kind).remove(self.outgoing.slab_mut(), key.index(), exchange::waiting);
            record.in_flight += u32::from(confirmable);
            if !confirmable && pacing == Pacing::Paced {
                record.credit.spend(now, len, parameters.probing_rate(), self.config.max_datagram);
            }
        }
        match backoff {
            Some(backoff) => {
                self.deadlines.set(Reason::Retransmission, flight.index(), Some(backoff.next()));
                self.deadlines.set(Reason::Request, key.index(), until);
            }
            None => self.limit(key, now + self.config.response_timeout),
        }
        self.send(to, from, What::Flight(flight));
        Ok(())
    }

    pub(super) fn must_wait(&self, now: Instant, peer: PeerKey, new: &NewRequest) -> bool {
        let Some(record) = self.peers.get(peer) else { return false };
        let Some(message) = &new.message else { return false };
        let parameters = self.transmission(peer);
        if !record.is_reachable() || self.lacks_message_id(now, peer) {
            return true;
        }
        match (message.kind, new.pacing) {
            (Type::Confirmable, _) => record.in_flight >= u32::from(parameters.nstart()) || record.backlog.len() > 0,
            (_, Pacing::Unpaced) => false,
            (_, Pacing::Paced) => {
                let len = message.encoded_len();
                record.paced.len() > 0 || !record.credit.wait(now, len, parameters.probing_rate()).is_zero()
            }
        }
    }

    /// All Message IDs towards the peer were used within EXCHANGE_LIFETIME.
    pub(super) fn lacks_message_id(&self, now: Instant, peer: PeerKey) -> bool {
        let lifetime = self.transmission(peer).exchange_lifetime();
        self.peers.get(peer).is_some_and(|record| record.message_ids.free_at(lifetime) > Some(now))
    }

    pub(super) fn has_backlog_room(&self, peer: PeerKey) -> bool {
        self.peers.get(peer).is_some_and(|record| record.backlog.len() + record.paced.len() < self.config.max_backlog)
    }

    fn next_paced(&self, peer: PeerKey) -> Option<OutgoingKey> {
        self.outgoing.key_at(self.peers.get(peer)?.paced.front()?)
    }

    fn pacing_wait(
        &self,
        now: Instant,
        peer: PeerKey,
        key: OutgoingKey,
        parameters: &TransmissionParameters,
    ) -> Duration {
        let (Some(request), Some(record)) = (self.outgoing.get(key), self.peers.get(peer)) else {
            return Duration::ZERO;
        };
        match (&request.stage, request.pacing) {
            (Stage::Waiting(message), Pacing::Paced) => {
                record.credit.wait(now, message.encoded_len(), parameters.probing_rate())
            }
            _ => Duration::ZERO,
        }
    }
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// It has been sent.
    Sent,
    /// Before or between its blocks: the application must supply or consume a part of a body.
    Paused,
    /// It waits for its turn.
    Waiting {
        /// How many go first.
        ahead: usize,
        /// What they and it wait for.
        why: Why,
    },
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// NSTART messages to the peer are in flight.
    Nstart,
    /// The peer has not answered to what was sent to it so far (PROBING_RATE).
    ProbingRate,
    /// All Message IDs towards the peer were used within EXCHANGE_LIFETIME.
    MessageIds,
    /// The session with the peer is being made ([`Endpoint::hold`]).
    Session,
}
