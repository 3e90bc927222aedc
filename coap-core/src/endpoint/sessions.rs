//! The session that a peer is (RFC 7252 §9.1): requests wait while it is made, go out when it stands, and end with it. What was
//! said in it is never said again in another.
//!
//! ```text
//!   hold ─► pending: requests wait, without a timer of CoAP's ─► release: they have their turn
//!                          └─► close_session: everything ends ◄─────────┘
//! ```

use alloc::collections::VecDeque;

use super::errors::RequestError;
use super::time::WORK;
use super::{Endpoint, Phase};
use crate::addr::{Peer, SessionId};
use crate::blockwise::server::Stage;
use crate::deadlines::Reason;
use crate::event::{Closed, Failure};
use crate::exchange::{IncomingKey, Outcome, OutgoingKey, Waiting};
use crate::outbox::What;
use crate::peers::{PathState, PeerKey};
use crate::session::SessionEnd;
use crate::time::Instant;

/// A session that is over, and of which something is left.
pub(super) struct Closing {
    peer: PeerKey,
    why: SessionEnd,
}

/// Who makes sessions asks after each call; who does not has no use for more.
const MAX_SILENT: usize = 64;

impl Endpoint {
    /// The session with `peer` is being made: requests to it are taken and wait, until [`release`](Self::release) or
    /// [`close_session`](Self::close_session).
    ///
    /// They draw no Message ID and start no timer but their own `RequestOptions::timeout`, after which they fail with
    /// `Failure::NotSent`; one without a timeout waits for as long as the session takes. At most `Config::max_backlog` wait. What
    /// has been sent before goes on as it was. To hold a peer that is held changes nothing.
    ///
    /// # Errors
    /// A group, which has no session; `max_peers` is reached and all of them have something open; the endpoint is shutting
    /// down. Nothing has changed then.
    pub fn hold(&mut self, now: Instant, peer: Peer) -> Result<(), RequestError> {
        let now = self.advance(now);
        if peer.is_multicast() {
            return Err(RequestError::ConfirmableMulticast);
        }
        if self.phase == Phase::ShuttingDown {
            return Err(RequestError::Shutdown);
        }
        let key = self.admit(now, peer).ok_or(RequestError::TooManyPeers)?;
        if self.peers.set_path(key, PathState::Pending) {
            self.peers.hold(key);
            self.drain(now, key);
        }
        Ok(())
    }

    /// The session with `peer` stands: what waits for it has its turn, in the order in which it was asked for, and the time to
    /// wait for that begins now. A peer that is not held, or is not known, changes nothing.
    pub fn release(&mut self, now: Instant, peer: Peer) {
        let now = self.advance(now);
        let Some(key) = self.peers.find(&peer) else { return };
        if !self.peers.set_path(key, PathState::Up) {
            return;
        }
        self.peers.release(now, key);
        let Some(record) = self.peers.get(key) else { return };
        for mut next in [record.backlog.front(), record.paced.front()] {
            while let Some((index, request)) = next.and_then(|index| Some((index, self.outgoing.at(index)?))) {
                next = request.waiting.next();
                if let Some(waiting) = self.outgoing.key_at(index) {
                    self.limit(waiting, now + self.config.response_timeout);
                }
            }
        }
        self.drain(now, key);
    }

    /// A session is over, or came never to stand.
    ///
    /// All requests to it fail with `Failure::Session(why)`, at whatever stage they are, and so do observations. Requests from it
    /// end with `Event::IncomingClosed` and its observers with `Event::ObserverLost`, each with `Closed::Session(why)`. Bodies
    /// that were under way and Message IDs that were remembered are dropped, nothing is sent to it any more, what was queued
    /// included, and its peer is forgotten (RFC 7252 §9.1.1, RFC 7641 §7).
    ///
    /// A call does a bounded amount of work; the rest is done in [`handle_timeout`](Self::handle_timeout), before anything else
    /// there, and [`poll_timeout`](Self::poll_timeout) says so. Whoever closes a session hands in no more datagrams of it: they
    /// would be those of a new peer. A session that is not known is closed already.
    pub fn close_session(&mut self, now: Instant, session: SessionId, why: SessionEnd) {
        let now = self.advance(now);
        let to = Peer::Session(session);
        let Self { outbox, recent, .. } = self;
        outbox.drop_to(&to, |what| {
            if let What::Reply(reply) = what {
                recent.replies.sent(reply);
            }
        });
        let Some(peer) = self.peers.find(&to) else { return };
        self.peers.close(peer);
        self.deadlines.set(Reason::Pacing, peer.index(), None);
        self.close_served(now, peer, Closed::Session(why));
        self.closing.push_back(Closing { peer, why });
        self.end_sessions(now, WORK);
    }

    /// A session in which a Confirmable message was not acknowledged, neither its transmissions nor, if that was earlier, until
    /// the time of its request ran out: its peer may have lost it. Each such message tells once; the last 64 are kept while nobody
    /// asks.
    #[must_use]
    pub fn poll_silent(&mut self) -> Option<SessionId> {
        self.silent.pop_front()
    }

    /// A Confirmable message to this peer was not acknowledged.
    pub(super) fn note_silent(&mut self, peer: Option<PeerKey>) {
        let record = peer.and_then(|peer| self.peers.get(peer));
        if let Some(Peer::Session(session)) = record.map(|record| record.peer) {
            if self.silent.len() == MAX_SILENT {
                self.silent.pop_front();
            }
            self.silent.push_back(session);
        }
    }

    /// Ends up to `most` things of sessions that are over, and says how many.
    pub(super) fn end_sessions(&mut self, now: Instant, most: usize) -> usize {
        let mut done = 0;
        while let Some((peer, why)) = self.closing.front().map(|closing| (closing.peer, closing.why)) {
            done += self.fail_requests(now, peer, why, most - done);
            done += self.recent.drop_of(peer, most - done);
            if done == most {
                return done;
            }
            done += 1;
            self.land_responses(peer);
            self.recent.forget_peer(now, peer);
            self.peers.forget_closed(peer);
            self.closing.pop_front();
        }
        if self.closing.capacity() > 256 {
            self.closing = VecDeque::new();
        }
        done
    }

    /// A request waits for the session of its peer, for as long as its caller does.
    pub(super) fn wait_for_session(&mut self, key: OutgoingKey) {
        let until = self.outgoing.get(key).and_then(|request| request.until);
        self.deadlines.set(Reason::Request, key.index(), until);
    }

    fn fail_requests(&mut self, now: Instant, peer: PeerKey, why: SessionEnd, most: usize) -> usize {
        let first = |endpoint: &Self| endpoint.outgoing.key_at(endpoint.peers.get(peer)?.requests.front()?);
        let mut done = 0;
        // Each round takes one out: no request outlives its session.
        while let Some(key) = first(self).filter(|_| done < most) {
            self.end(now, key, Outcome::Failed(Failure::Session(why)));
            done += 1;
        }
        done
    }

    /// Ends what a peer asked for and observes. That is little: each peer has bounds of its own (`Config`).
    fn close_served(&mut self, now: Instant, peer: PeerKey, why: Closed) {
        let next = |endpoint: &Self| endpoint.observers.of_peer(&endpoint.peers.get(peer)?.observing).next();
        while let Some(observer) = next(self) {
            self.remove(now, observer, Some(why));
        }
        let next = |endpoint: &Self| endpoint.transfers.first_of(&endpoint.peers.get(peer)?.transfers);
        while let Some(transfer) = next(self) {
            let incoming = match self.transfers.get(transfer).map(|transfer| &transfer.stage) {
                Some(Stage::Upload(upload)) => Some(upload.incoming),
                Some(Stage::Stream(stream)) => stream.incoming,
                _ => None,
            };
            if let Some(incoming) = incoming {
                self.cut_off(now, incoming, why);
            }
            self.remove_transfer(now, transfer);
        }
        for index in 0..self.incoming.end() {
            if self.peers.get(peer).is_none_or(|record| record.incoming == 0) {
                break;
            }
            if let Some(incoming) = self.incoming.key_at(index).filter(|key| self.is_of(*key, peer)) {
                self.cut_off(now, incoming, why);
            }
        }
    }

    /// Whether a request is of this peer, and open.
    fn is_of(&self, key: IncomingKey, peer: PeerKey) -> bool {
        let found = self.incoming.get(key);
        found.is_some_and(|request| request.peer == peer && !matches!(request.waiting, Waiting::Closed(_)))
    }

    /// A request is not answered any more, nor acknowledged.
    fn cut_off(&mut self, now: Instant, key: IncomingKey, why: Closed) {
        let answered = self.incoming.get(key).is_some_and(|request| matches!(request.waiting, Waiting::Leisure(_)));
        self.release_incoming(now, key);
        if answered {
            self.incoming.remove(key);
        } else {
            self.incoming.close(key, why);
        }
    }

    /// Separate responses are not repeated any more. When the requests and observers of their peer have ended, nothing else of
    /// it is in flight.
    fn land_responses(&mut self, peer: PeerKey) {
        for index in 0..self.flights.end() {
            if self.peers.get(peer).is_none_or(|record| record.in_flight == 0) {
                break;
            }
            let of_peer = |index| self.flights.key_at(index).filter(|key| self.flights.is_to(*key, peer));
            if let Some(flight) = of_peer(index) {
                self.land(flight);
            }
        }
    }
}
