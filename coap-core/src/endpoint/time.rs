//! What is due: owed acknowledgements, fading memories, retransmissions, deadlines.

use super::Endpoint;
use crate::deadlines::Reason;
use crate::exchange::due;
use crate::outbox::What;
use crate::reliability::{Owner, Step};
use crate::time::Instant;

/// How much one call does: 100,000 peers that fade at once must not stall the loop of the caller.
const WORK: usize = 256;

/// The earlier of two times of which either may not come. Asked after every step, where comparing the options costs more.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Endpoint {
    /// Does what is due at `now`. A call that comes too early, or too often, does nothing.
    ///
    /// A call does a bounded amount of work; while [`poll_timeout`](Self::poll_timeout) is not after `now`, there is
    /// more.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        let mut work = WORK;
        work -= self.acknowledge_owed(now, work);
        work -= self.recent.expire(now, work);
        work -= self.forget_peers(now, work);
        work -= self.close_unanswered(now, work);
        work -= self.abandon_transfers(now, work);
        work -= self.search_on(now, work);
        for _ in 0..work {
            let Some((reason, index)) = self.deadlines.pop_due(now) else { break };
            self.on_deadline(now, reason, index);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let lifetime = self.config.transmission.exchange_lifetime();
        let all = [
            self.deadlines.next(),
            due(self.incoming.next_owed(), self.config.ack_delay),
            due(self.incoming.next_unanswered(), self.config.incoming_timeout),
            self.recent.next_expiry(),
            self.peers.next_expiry(lifetime),
            self.transfers.next_expiry(lifetime),
            self.topics.is_stalled.then_some(self.now),
        ];
        all.into_iter().fold(None, earlier)
    }

    fn acknowledge_owed(&mut self, now: Instant, most: usize) -> usize {
        let mut done = 0;
        while let Some((key, opened)) = self.incoming.next_owed().filter(|_| done < most) {
            if opened + self.config.ack_delay > now {
                break;
            }
            self.acknowledge(key);
            done += 1;
        }
        done
    }

    fn close_unanswered(&mut self, now: Instant, most: usize) -> usize {
        let mut done = 0;
        while let Some((key, opened)) = self.incoming.next_unanswered().filter(|_| done < most) {
            if opened + self.config.incoming_timeout > now {
                break;
            }
            self.give_up_incoming(now, key);
            done += 1;
        }
        done
    }

    fn forget_peers(&mut self, now: Instant, most: usize) -> usize {
        let lifetime = self.config.transmission.exchange_lifetime();
        let mut done = 0;
        while done < most {
            let Some(peer) = self.peers.expire(now, lifetime) else { break };
            self.stats.forgotten_early += self.recent.forget_peer(now, peer);
            done += 1;
        }
        done
    }

    fn on_deadline(&mut self, now: Instant, reason: Reason, index: u32) {
        match reason {
            Reason::Retransmission => self.on_retransmission(now, index),
            Reason::Request => {
                if let Some(key) = self.outgoing.key_at(index) {
                    self.give_up_request(now, key);
                }
            }
            Reason::Incoming => {
                if let Some(key) = self.incoming.key_at(index) {
                    self.end_leisure(now, key);
                }
            }
            Reason::Observation => {
                if let Some(key) = self.outgoing.key_at(index) {
                    self.on_age(now, key);
                }
            }
            Reason::Pacing => {
                if let Some(key) = self.peers.key_at(index) {
                    self.drain(now, key);
                }
            }
            Reason::BackOff => self.end_back_offs(now),
            Reason::Notification => {
                if let Some(key) = self.observers.key_at(index) {
                    self.on_observer_due(now, key);
                }
            }
        }
    }

    fn on_retransmission(&mut self, now: Instant, index: u32) {
        let Some(key) = self.flights.key_at(index) else { return };
        let Some(flight) = self.flights.get_mut(key) else { return };
        let (peer, to, from, owner) = (flight.peer, flight.to, flight.from, flight.owner);
        let Some(backoff) = &mut flight.backoff else { return };
        let step = backoff.due(now);
        let next = backoff.next();
        match step {
            Step::GiveUp => return self.give_up_flight(now, key),
            Step::Wait => {}
            Step::Repeat { attempt } => {
                if let Owner::Request(request) = owner {
                    self.outgoing.note_repetition(request, now, attempt);
                }
                if owner != Owner::Response || self.pay_again(peer, key) {
                    self.stats.retransmissions += 1;
                    self.send(to, from, What::Flight(key));
                }
            }
        }
        self.deadlines.set(Reason::Retransmission, index, Some(next));
    }
}
