//! As a client: a server wants to see that a request is fresh, or that we are where it comes from (RFC 9175 §2.3).
//!
//! A 4.01 with an Echo value is answered with the same request and that value, once: whoever is asked again for the same is
//! told the 4.01. The Echo value of any other response goes with the next request to that server, and to no other. What
//! comes from the members of a group is answered with nothing.

use super::Endpoint;
use crate::config::OnChallenge;
use crate::exchange::{Bodies, Outgoing, OutgoingKey, Stage};
use crate::peers::PeerKey;
use crate::time::Instant;
use crate::wire::{Code, Message, OptionNumber};

impl Endpoint {
    /// What a response with an Echo value asks for. True: the request goes on, and the response is no answer to it.
    pub(super) fn on_echo(&mut self, now: Instant, key: OutgoingKey, message: &Message) -> bool {
        let Some(value) = message.options.echo().filter(|_| self.config.on_challenge == OnChallenge::Repeat) else {
            return false;
        };
        let Some(request) = self.outgoing.get(key) else { return false };
        let Some(peer) = request.peer else { return false };
        let asks = message.code == Code::UNAUTHORIZED && !request.has_echoed && !request.is_leaving();
        if asks && self.repeat_with(now, key, peer, value) {
            self.stats.responses_received += 1;
            self.stats.challenges_answered += 1;
            return true;
        }
        self.stats.echoes_forgotten += u64::from(self.owed_echoes.add(now, peer, value));
        false
    }

    /// Sends a request again, with an Echo value. False: it is not known any more, or would be too long with it.
    fn repeat_with(&mut self, now: Instant, key: OutgoingKey, peer: PeerKey, value: &[u8]) -> bool {
        let max = self.config.max_datagram;
        let Some(to) = self.outgoing.get(key).map(|request| request.to) else { return false };
        let beside_token = max.saturating_sub(self.room_for_drawn_token(&to));
        if let Some(operation) = self.outgoing.get_mut(key).and_then(Outgoing::operation_mut) {
            if !operation.set_echo(value, beside_token) {
                return false;
            }
            self.note_echoed(now, key);
            self.next_exchange(now, key);
            return true;
        }
        let Some(mut message) = self.sent_message(key).cloned() else { return false };
        if message.options.set_echo(value).is_err() || message.encoded_len() > max {
            return false;
        }
        // The messages of an observation have one token (RFC 7641 §3.3.1); another request gets a new one, as for any exchange.
        let observes = self.outgoing.get(key).is_some_and(|request| request.observing.is_some());
        if !observes {
            let Ok(token) = self.draw_token(&to) else { return false };
            message.token = token;
            if message.encoded_len() > max {
                return false;
            }
        }
        self.note_echoed(now, key);
        if let Some(Stage::InFlight(flight)) = self.outgoing.get(key).map(|request| &request.stage) {
            self.land(*flight);
        }
        let kind = message.kind;
        if observes {
            if let Some(request) = self.outgoing.get_mut(key) {
                request.stage = Stage::Waiting(message.into());
            }
        } else {
            self.outgoing.renew(key, message);
        }
        self.queue(now, peer, key, kind);
        true
    }

    fn note_echoed(&mut self, now: Instant, key: OutgoingKey) {
        self.heard(now, key);
        if let Some(request) = self.outgoing.get_mut(key) {
            request.has_echoed = true;
        }
    }

    /// The message that a request was sent with, while it waits for its response.
    fn sent_message(&self, key: OutgoingKey) -> Option<&Message> {
        let request = self.outgoing.get(key).filter(|request| !matches!(request.bodies, Bodies::Blocks(_)))?;
        match &request.stage {
            Stage::InFlight(flight) => Some(&self.flights.get(*flight)?.message),
            Stage::Acknowledged(sent) => sent.as_deref(),
            _ => None,
        }
    }

    /// Lets a request that leaves carry the Echo value that its server wants to see again, if there is one and it fits.
    #[inline]
    pub(super) fn add_echo(&mut self, now: Instant, peer: PeerKey, message: &mut Message) {
        if !self.owed_echoes.is_empty() {
            self.add_owed_echo(now, peer, message);
        }
    }

    #[cold]
    fn add_owed_echo(&mut self, now: Instant, peer: PeerKey, message: &mut Message) {
        // A ping carries nothing.
        if message.code.is_empty() || message.options.contains(OptionNumber::ECHO) {
            return;
        }
        let Some(owed) = self.owed_echoes.take(peer) else { return };
        let Some(value) = owed.value(now) else { return };
        // It has been looked at when it came.
        let _ = message.options.set_echo(value);
        if message.encoded_len() > self.config.max_datagram {
            message.options.remove(OptionNumber::ECHO);
        }
    }
}
