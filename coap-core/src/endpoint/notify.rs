//! How observers are told (RFC 7641 §4.5): who may be told now, how often a notification is repeated, and what it carries.
//!
//! One notification at a time is outstanding for an observer, and NSTART of them for a peer. A Confirmable one is repeated
//! with the latest state each time, under a new Message ID where that is another, and with the back-off of the first. Who must
//! not be told yet is in no list that is searched, but has a deadline, or waits for its peer.

use core::time::Duration;

use super::Endpoint;
use crate::addr::Transmit;
use crate::blockwise::server::{Operation, Stretch, Way};
use crate::deadlines::Reason;
use crate::event::Closed;
use crate::observe::{Observer, ObserverKey, Reliability, Stage, Topic, queue, seconds};
use crate::outbox::What;
use crate::peers::PeerKey;
use crate::reliability::{Backoff, Step};
use crate::time::Instant;
use crate::wire::{Message, Type};

/// How many observers that cannot be told now one call to `poll_transmit` passes over. The search goes on in
/// `handle_timeout`, so that a caller who has nothing to send yet comes back at once.
const PASSED_OVER: usize = 64;

/// A state that was told with a Non-confirmable message, and has not changed for so long, is told again, Confirmable: the
/// message may have been lost (RFC 7641 §4.5: each observer gets to know the latest state in the end).
const CONFIRM_AFTER: Duration = Duration::from_secs(10);

/// RFC 7641 §4.5 wants one Confirmable notification in 24 hours. Half of that, because the next occasion may come as much later.
const CONFIRM_WITHIN: u32 = 12 * 60 * 60;

impl Endpoint {
    // ----- Sending -------------------------------------------------------------------------------------------------

    /// Tells the next observer that may be told.
    pub(super) fn notify_next(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        let now = self.now;
        self.topics.is_stalled = false;
        for _ in 0..PASSED_OVER {
            let index = self.topics.next_waiting(self.observers.slab_mut())?;
            let Some(key) = self.observers.key_at(index) else { continue };
            if !self.takes_turn(now, key) {
                continue;
            }
            if let Some(transmit) = self.notify(now, key, buf) {
                self.stats.notifications_sent += 1;
                self.stats.datagrams_sent += 1;
                return Some(transmit);
            }
        }
        self.topics.is_stalled = !self.topics.are_quiet();
        None
    }

    /// Passes over up to `most` observers that cannot be told now, until one can be; it has its turn then, and waits for
    /// `poll_transmit`. How many.
    pub(super) fn search_on(&mut self, now: Instant, most: usize) -> usize {
        let mut passed = 0;
        while self.topics.is_stalled && passed < most {
            passed += 1;
            let next = self.topics.next_waiting(self.observers.slab_mut());
            let Some(key) = next.and_then(|index| self.observers.key_at(index)) else { break };
            if self.takes_turn(now, key) {
                self.observers.enqueue(&mut self.topics, key, Stage::Granted);
                self.topics.is_stalled = false;
            }
        }
        self.topics.is_stalled &= !self.topics.are_quiet();
        passed
    }

    /// Whether an observer that was taken out of its list may be told now (RFC 7641 §4.5.1). If not, it waits for its peer, or
    /// is gone with its topic.
    fn takes_turn(&mut self, now: Instant, key: ObserverKey) -> bool {
        let Some(observer) = self.observers.get(key) else { return false };
        let (peer, stage) = (observer.peer, observer.stage);
        if self.topics.get(observer.topic).is_none_or(Topic::is_silent) {
            self.remove(now, key, None);
            return false;
        }
        if matches!(stage, Stage::Granted) {
            return true;
        }
        let most = self.transmission(peer).nstart();
        let Some(record) = self.peers.get_mut(peer) else { return false };
        let of = &mut record.observing;
        if of.outstanding < most {
            of.outstanding += 1;
            self.observers.set_stage(key, Stage::Granted);
            return true;
        }
        self.observers.set_stage(key, Stage::Blocked);
        of.blocked.push_back(self.observers.slab_mut(), key.index(), queue);
        false
    }

    /// Sends the latest state to an observer whose turn it is.
    fn notify(&mut self, now: Instant, key: ObserverKey, buf: &mut [u8]) -> Option<Transmit> {
        let peer = self.observers.get(key)?.peer;
        let message_id = match self.draw_message_id(now, peer) {
            Ok(message_id) => message_id,
            Err(free) => {
                self.release_turn(peer, key);
                self.pause(now, key, free);
                return None;
            }
        };
        let kind = self.kind_of_next(now, key);
        self.observers.add_message(key, message_id);
        self.bring_up_to_date(now, key);
        let parameters = *self.transmission(peer);
        let observer = self.observers.get_mut(key)?;
        observer.last_sent = now;
        let due = if kind == Type::Confirmable {
            observer.last_confirmable = seconds(now);
            observer.unconfirmed = 0;
            let backoff = Backoff::new(now, &parameters, self.rng.next_u64());
            self.observers.set_stage(key, Stage::InFlight(backoff));
            if let Some(record) = self.peers.get_mut(peer) {
                record.in_flight += 1;
            }
            backoff.next()
        } else {
            observer.unconfirmed = observer.unconfirmed.saturating_add(1);
            self.observers.set_stage(key, Stage::Pacing);
            now + self.peers.get(peer)?.observing.pace()
        };
        self.deadlines.set(Reason::Notification, key.index(), Some(due));
        let len = self.write(key, kind, buf)?;
        let source = self.observers.get(key)?.source;
        Some(Transmit { to: self.peers.get(peer)?.peer, from: source.into(), hops: None, group: None, len })
    }

    /// One more copy of a notification, unless it has been acknowledged meanwhile. RFC 7641 §4.5.2: where there is a newer
    /// state, that is sent instead, as a new message.
    pub(super) fn notify_again(&mut self, key: ObserverKey, message_id: u16, buf: &mut [u8]) -> Option<usize> {
        let now = self.now;
        let observer = self.observers.get(key)?;
        let in_flight = matches!(observer.stage, Stage::InFlight(_));
        if !in_flight || observer.message_id() != Some(message_id) {
            return None;
        }
        let (peer, topic) = (observer.peer, self.topics.get(observer.topic)?);
        if observer.version != topic.version {
            // Without a Message ID this copy is lost. The old state is not there any more.
            let message_id = self.draw_message_id(now, peer).ok()?;
            self.observers.add_message(key, message_id);
            self.bring_up_to_date(now, key);
        }
        self.write(key, Type::Confirmable, buf)
    }

    /// What the observer is told now is the latest state, and newer than what it was told before (RFC 7641 §4.4).
    fn bring_up_to_date(&mut self, now: Instant, key: ObserverKey) {
        let Some(observer) = self.observers.get_mut(key) else { return };
        let Some(topic) = self.topics.get(observer.topic) else { return };
        observer.version = topic.version;
        observer.is_told = true;
        observer.number = Observer::next_number(observer.number, now);
    }

    fn kind_of_next(&self, now: Instant, key: ObserverKey) -> Type {
        let Some(observer) = self.observers.get(key) else { return Type::Confirmable };
        let Some(topic) = self.topics.get(observer.topic).filter(|topic| !topic.is_over()) else {
            return Type::Confirmable;
        };
        let Reliability::NonConfirmable { confirm_every } = topic.how.reliability else { return Type::Confirmable };
        let proven = self.peers.get(observer.peer).is_some_and(|record| record.is_proven());
        // RFC 7641 §7: whoever has not shown that it wants notifications is sent few without an acknowledgement. As many as
        // if they were one Confirmable message; the first one, where it could not pay for others.
        let limited = self.is_limited(observer.peer, false);
        let most = if limited { 0 } else { 1 + u32::from(self.transmission(observer.peer).max_retransmit()) };
        let due = observer.unconfirmed.saturating_add(1) >= confirm_every
            || (!proven && observer.unconfirmed >= most)
            || seconds(now).wrapping_sub(observer.last_confirmable) >= CONFIRM_WITHIN;
        if due { Type::Confirmable } else { Type::NonConfirmable }
    }

    /// Writes the notification that an observer is sent: the same bytes each time, until it is brought up to date.
    fn write(&mut self, key: ObserverKey, kind: Type, buf: &mut [u8]) -> Option<usize> {
        let observer = self.observers.get(key)?;
        let peer = observer.peer;
        let most = self.longest_to(peer, false);
        let topic = self.topics.get_mut(observer.topic)?;
        let over = topic.is_over();
        let state = topic.state.as_mut()?;
        let mut message = Message {
            kind,
            code: state.code,
            message_id: observer.message_id()?,
            token: observer.token.clone(),
            options: state.options.clone(),
            payload: state.body.clone(),
        };
        if !over {
            message.options.set_observe(observer.number);
        }
        let szx = self.config.block_size.map_or(observer.szx, |own| own.szx().min(observer.szx));
        if message.payload.len() > 16 << szx || message.encoded_len() > most {
            state.tag(&self.hash, &mut message.options);
            let state = Stretch::whole(state.body.clone());
            let Message { options, token, .. } = &mut message;
            let cut = self.cut_block(options, most, token.encoded_len(), &state, 0, szx).ok();
            self.stats.unproven_withheld += u64::from(cut.is_none() && most < self.config.max_datagram);
            (_, message.payload) = cut?;
            // Further blocks are of this state from now on, not of what a request was answered with before.
            let of = self.observers.get(key)?;
            self.forget_answered(Operation { peer: of.peer, hash: of.operation });
        }
        // What is withheld counts as lost in the network.
        let len = message.encode(buf).ok()?;
        self.pay(peer, false, len).then_some(len)
    }

    /// The response body of before is out of date, unless it is still being given: in parts, to the request that asked for it.
    fn forget_answered(&mut self, operation: Operation) {
        let Some(key) = self.transfers.find(operation, Way::Out) else { return };
        let is_given = self.transfers.stream(key).is_some_and(|stream| stream.incoming.is_some());
        if !is_given {
            self.remove_transfer(self.now, key);
        }
    }

    // ----- What comes back -----------------------------------------------------------------------------------------

    /// The acknowledgement of a notification.
    pub(super) fn on_notification_acknowledged(&mut self, now: Instant, key: ObserverKey, message_id: u16) {
        let Some(observer) = self.observers.get(key) else { return };
        let Stage::InFlight(backoff) = observer.stage else {
            self.stats.senseless += 1;
            return;
        };
        // The state that has superseded it has not been acknowledged.
        if observer.message_id() != Some(message_id) {
            self.stats.unmatched += 1;
            return;
        }
        self.stats.acknowledged += 1;
        let (peer, sample) = (observer.peer, now - observer.last_sent);
        if let Some(record) = self.peers.get_mut(peer).filter(|_| !backoff.has_repeated()) {
            record.observing.measured(sample);
        }
        self.prove(now, peer);
        self.withdraw(now, key);
        self.rest(now, key);
    }

    /// RFC 7641 §4.5: whoever rejects a notification, of either type, is removed; also one that has been superseded meanwhile.
    pub(super) fn on_notification_rejected(&mut self, now: Instant, key: ObserverKey) {
        self.stats.resets_received += 1;
        if let Some(peer) = self.observers.get(key).map(|observer| observer.peer) {
            self.prove(now, peer);
        }
        self.remove(now, key, Some(Closed::Reset));
    }

    /// The network says that a peer is not there: those of its observers whose notification is outstanding are removed.
    pub(super) fn lose_unreachable(&mut self, now: Instant, peer: PeerKey) {
        let outstanding = |endpoint: &Self| {
            let of = &endpoint.peers.get(peer)?.observing;
            endpoint.observers.of_peer(of).find(|key| {
                let stage = endpoint.observers.get(*key).map(|observer| observer.stage);
                matches!(stage, Some(Stage::InFlight(_) | Stage::Pacing))
            })
        };
        // Each round removes one, and none comes to be outstanding.
        while let Some(key) = outstanding(self) {
            self.remove(now, key, Some(Closed::Unreachable));
        }
    }

    /// The peer answered with what only its address could know.
    pub(super) fn prove(&mut self, now: Instant, peer: PeerKey) {
        self.recent.prove(peer);
        self.peers.prove(now, peer);
    }

    // ----- Time ----------------------------------------------------------------------------------------------------

    /// What an observer waited for has come.
    pub(super) fn on_observer_due(&mut self, now: Instant, key: ObserverKey) {
        let Some(observer) = self.observers.get(key) else { return };
        let over = self.topics.get(observer.topic).is_none_or(|topic| topic.is_over());
        match observer.stage {
            Stage::InFlight(backoff) => self.on_unacknowledged(now, key, backoff),
            Stage::Pacing => {
                self.withdraw(now, key);
                self.rest(now, key);
            }
            // All that were paused when their topic ended are in its list already.
            Stage::Paused if over && observer.is_linked() => {}
            Stage::Paused => {
                self.withdraw(now, key);
                self.rest(now, key);
            }
            Stage::Queued => self.confirm(now, key),
            Stage::Granted | Stage::Blocked | Stage::Lost(..) => {}
        }
    }

    fn on_unacknowledged(&mut self, now: Instant, key: ObserverKey, mut backoff: Backoff) {
        let Some(observer) = self.observers.get(key) else { return };
        let (peer, source, message_id) = (observer.peer, observer.source, observer.message_id());
        if self.topics.get(observer.topic).is_none_or(Topic::is_silent) {
            return self.remove(now, key, None);
        }
        match backoff.due(now) {
            Step::GiveUp => {
                self.stats.unacknowledged_notifications += 1;
                self.note_silent(Some(peer));
                return self.remove(now, key, Some(Closed::NoAck));
            }
            Step::Wait => {}
            Step::Repeat { .. } => {
                self.stats.retransmissions += 1;
                let to = self.peers.get(peer).map(|record| record.peer);
                if let Some((to, message_id)) = to.zip(message_id) {
                    self.send(to, source.into(), What::Notification(key, message_id));
                }
            }
        }
        self.observers.set_stage(key, Stage::InFlight(backoff));
        self.deadlines.set(Reason::Notification, key.index(), Some(backoff.next()));
    }

    /// The state has not changed for a while, and may be unknown to the observer: it is told again, Confirmable.
    fn confirm(&mut self, now: Instant, key: ObserverKey) {
        let Some(observer) = self.observers.get(key) else { return };
        let current = self.topics.get(observer.topic).is_some_and(|topic| topic.version == observer.version);
        if !current || !observer.is_told || observer.unconfirmed == 0 {
            return;
        }
        self.withdraw(now, key);
        if let Some(observer) = self.observers.get_mut(key) {
            observer.version = observer.version.wrapping_sub(1);
            observer.unconfirmed = u32::MAX;
        }
        self.observers.enqueue(&mut self.topics, key, Stage::Queued);
    }

    // ----- Between the stages --------------------------------------------------------------------------------------

    /// After a notification: the observer waits until `min_interval` is over, and then for a new state, if there is none
    /// already. One that was told the last word is gone.
    pub(super) fn rest(&mut self, now: Instant, key: ObserverKey) {
        let Some(observer) = self.observers.get(key) else { return };
        let Some(topic) = self.topics.get(observer.topic) else { return };
        let (over, current) = (topic.is_over(), observer.version == topic.version);
        if over && current {
            return self.remove(now, key, None);
        }
        let until = observer.last_sent + topic.how.min_interval;
        if until > now && !over {
            return self.pause(now, key, until);
        }
        // Not what it was answered with: it asks again for that until it has come.
        let unsure = current && observer.is_told && observer.unconfirmed > 0;
        let confirm = unsure.then_some(observer.last_sent + CONFIRM_AFTER);
        self.deadlines.set(Reason::Notification, key.index(), confirm);
        self.observers.enqueue(&mut self.topics, key, Stage::Queued);
    }

    /// The observer must not be told anything before `until`.
    pub(super) fn pause(&mut self, now: Instant, key: ObserverKey, until: Instant) {
        self.withdraw(now, key);
        self.observers.pause(&mut self.topics, key);
        self.deadlines.set(Reason::Notification, key.index(), Some(until));
    }

    /// Takes an observer out of everything that it waits for. What was in flight is not repeated any more.
    pub(super) fn withdraw(&mut self, now: Instant, key: ObserverKey) {
        let Some(observer) = self.observers.get(key) else { return };
        let (peer, has_turn) = (observer.peer, observer.has_turn());
        let in_flight = matches!(observer.stage, Stage::InFlight(_));
        self.deadlines.set(Reason::Notification, key.index(), None);
        let Some(record) = self.peers.get_mut(peer) else { return };
        self.observers.unlink(&mut self.topics, &mut record.observing, key);
        if in_flight {
            record.in_flight = record.in_flight.saturating_sub(1);
            self.observers.forget_messages(key);
        }
        if has_turn {
            self.release_turn(peer, key);
        }
        self.observers.set_stage(key, Stage::Paused);
        if in_flight {
            self.drain(now, peer);
        }
    }

    /// The turn of a peer goes from one of its observers to those that have waited for it longest. They keep it until they are
    /// told: one that had to ask again in the order of a large topic would always find it taken.
    fn release_turn(&mut self, peer: PeerKey, key: ObserverKey) {
        self.observers.set_stage(key, Stage::Paused);
        let most = self.transmission(peer).nstart();
        let Some(record) = self.peers.get_mut(peer) else { return };
        let of = &mut record.observing;
        of.outstanding = of.outstanding.saturating_sub(1);
        while of.outstanding < most {
            let Some(index) = of.blocked.pop_front(self.observers.slab_mut(), queue) else { break };
            let Some(next) = self.observers.key_at(index) else { break };
            of.outstanding += 1;
            self.observers.enqueue(&mut self.topics, next, Stage::Granted);
        }
    }
}
