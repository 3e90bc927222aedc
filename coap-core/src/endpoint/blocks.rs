//! From one block exchange of a request to its next (RFC 7959). Each is an exchange of its own, with its own Message ID and
//! token, and waits for its turn behind the others to the same peer.
//!
//! A response to an earlier exchange that comes late finds neither its token nor its Message ID: it is met as a stranger's.

use alloc::boxed::Box;

use super::Endpoint;
use crate::addr::Peer;
use crate::blockwise::client::{Next, Operation};
use crate::deadlines::Reason;
use crate::event::{BlockFailure, Failure, Timing};
use crate::exchange::{Bodies, Outcome, OutgoingKey, Stage};
use crate::message::{BlockSize, Body};
use crate::time::Instant;
use crate::wire::{Message, OptionNumber, Token};

impl Endpoint {
    /// The response to a request that travels in blocks, or that was sent in one exchange and is answered in blocks.
    pub(super) fn on_block_answer(
        &mut self,
        now: Instant,
        key: OutgoingKey,
        from: Peer,
        message: Message,
        timing: Timing,
    ) {
        let simple = self.outgoing.get(key).is_some_and(|request| matches!(request.bodies, Bodies::Simple));
        let operation = if simple { self.operation_of_one_exchange(key) } else { None };
        if let (Some(operation), Some(request)) = (operation, self.outgoing.get_mut(key)) {
            request.bodies = Bodies::Blocks(operation);
        }
        let Self { outgoing, tags, budget, .. } = self;
        let Some(request) = outgoing.get_mut(key) else { return };
        // The next block is another request.
        request.has_echoed = false;
        let Some(operation) = request.operation_mut() else { return };
        let before = operation.is_fetching();
        let next = operation.on_response(message, timing, tags, budget);
        if !before && operation.is_fetching() {
            self.tell_waiting_apart(key);
        }
        self.go_on(now, key, from, next);
    }

    /// What a request that was sent in one exchange would have been as one in blocks.
    fn operation_of_one_exchange(&mut self, key: OutgoingKey) -> Option<Box<Operation>> {
        let request = self.outgoing.get_mut(key)?;
        let sent = match &mut request.stage {
            Stage::InFlight(flight) => self.flights.get(*flight)?.message.clone(),
            Stage::Acknowledged(sent) => *sent.take()?,
            _ => return None,
        };
        let Message { kind, code, options, payload, .. } = sent;
        let tagged = options.contains(OptionNumber::REQUEST_TAG);
        let rules = self.rules(Default::default(), BlockSize::MAX.szx(), false, tagged);
        Some(Box::new(Operation::new(kind, code, options, Body::Whole(payload), rules)))
    }

    /// Does what follows from a response, or from what the application did.
    pub(super) fn go_on(&mut self, now: Instant, key: OutgoingKey, from: Peer, next: Next) {
        if self.outgoing.get(key).and_then(|request| request.operation()).is_some_and(Operation::has_news) {
            self.outgoing.announce(key);
        }
        match next {
            Next::UnderWay => {}
            Next::Exchange => self.next_exchange(now, key),
            Next::Pause => self.pause_request(now, key),
            Next::Done(response) => self.settle(now, key, Outcome::Response { from, response }),
            Next::LastPart(part) => self.settle(now, key, Outcome::LastPart(part)),
            Next::Fail(reason) => self.settle(now, key, Outcome::Failed(Failure::Blockwise(reason))),
        }
    }

    /// Starts the next exchange of a request, or the same one anew, if all that it needs is there.
    pub(super) fn next_exchange(&mut self, now: Instant, key: OutgoingKey) {
        let Some(request) = self.outgoing.get_mut(key) else { return };
        let (to, Some(peer)) = (request.to, request.peer) else { return };
        let flight = if let Stage::InFlight(flight) = &request.stage { Some(*flight) } else { None };
        let Some(operation) = request.operation_mut() else { return };
        let mut message = match operation.message(Token::EMPTY) {
            Ok(Some(message)) => message,
            Ok(None) => return self.pause_request(now, key),
            Err(reason) => return self.settle(now, key, Outcome::Failed(Failure::Blockwise(reason))),
        };
        let (kind, pinned) = (operation.kind(), operation.take_token());
        let pinned = pinned.filter(|token| !self.outgoing.is_in_use(token, &to));
        let Ok(token) = pinned.map_or_else(|| self.draw_token(&to), Ok) else {
            // All tokens that were drawn are in use: there is no way to send it.
            return self.settle(now, key, Outcome::Failed(Failure::NotSent));
        };
        message.token = token;
        if message.encoded_len() > self.config.max_datagram {
            let reason = BlockFailure::OptionsTooLong;
            return self.settle(now, key, Outcome::Failed(Failure::Blockwise(reason)));
        }
        if let Some(flight) = flight {
            self.land(flight);
        }
        self.outgoing.renew(key, message);
        self.queue(now, peer, key, kind);
    }

    /// The application must supply or consume something first. Others have their turn.
    fn pause_request(&mut self, now: Instant, key: OutgoingKey) {
        let Some(request) = self.outgoing.get(key) else { return };
        let peer = request.peer;
        if let Stage::InFlight(flight) = request.stage {
            self.land(flight);
        }
        self.outgoing.pause(key);
        self.wait_for_application(key);
        if let Some(peer) = peer {
            self.drain(now, peer);
        }
    }

    /// What the application takes its time for ends with the time that it has set, and not before.
    pub(super) fn wait_for_application(&mut self, key: OutgoingKey) {
        let until = self.outgoing.get(key).and_then(|request| request.until);
        self.deadlines.set(Reason::Request, key.index(), until);
        self.outgoing.announce(key);
    }

    /// An exchange ended unanswered: sends the block, or asks for it, again. False: that may not be, or not any more.
    pub(super) fn try_again(&mut self, now: Instant, key: OutgoingKey) -> bool {
        let Some(request) = self.outgoing.get_mut(key) else { return false };
        let over = request.ends_at(self.config.response_timeout).is_some_and(|end| end <= now);
        let unanswered = matches!(request.stage, Stage::InFlight(_) | Stage::Acknowledged(_));
        if over || !unanswered || !request.operation_mut().is_some_and(Operation::try_again) {
            return false;
        }
        self.stats.blocks_repeated += 1;
        self.next_exchange(now, key);
        true
    }

    /// A block after the first has waited long for its turn: those before it may each have been sent several times, and it
    /// waits as often. False: it has done so, or is no such block.
    pub(super) fn wait_on(&mut self, now: Instant, key: OutgoingKey) -> bool {
        let Some(request) = self.outgoing.get_mut(key) else { return false };
        let over = request.ends_at(self.config.response_timeout).is_some_and(|end| end <= now);
        let later = matches!(request.stage, Stage::Waiting(_)) && request.attempts > 0;
        if over || !later || !request.operation_mut().is_some_and(Operation::wait_on) {
            return false;
        }
        self.limit(key, now + self.config.response_timeout);
        true
    }
}
