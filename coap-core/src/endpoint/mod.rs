//! The endpoint: the one door, and the only place that knows two rooms at once.
//!
//! ```text
//!   handle_datagram ──► inbound.rs ──► server.rs: a request is opened ─────► poll_event ──► respond ─┐
//!                           │     ├──► overload.rs: there is no room for it
//!                           │     ├──► serving.rs: its blocks, bodies.rs: its body, streams.rs: its response's body
//!                           │     └──► client.rs: a request is settled ────► poll_event              │
//!   handle_timeout ───► time.rs                                                                      ▼
//!   publish ──────────► topics.rs: all observers wait ─► notify.rs, one at a time ─────────► poll_transmit
//!   request, ping ────► client.rs ──► turn.rs: in flight, or waiting for its turn ─────────► poll_transmit
//!   hold, release, close_session ──► sessions.rs: what waits for a session, goes out with it, and ends with it
//! ```

mod blocks;
mod bodies;
mod challenged;
mod client;
mod download;
mod errors;
mod inbound;
mod notify;
mod observing;
mod overload;
mod parts;
mod server;
mod serving;
mod sessions;
mod settings;
mod streams;
#[cfg(test)]
mod tests;
mod time;
mod tokens;
mod topics;
mod turn;
mod unproven;
mod upload;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::fmt;

use rand_core::CryptoRng;

pub use self::errors::{RequestError, RespondError, SupplyError, TransmissionError};
use self::sessions::Closing;
pub use self::settings::Scope;
pub use self::turn::{Place, Why};
use crate::addr::{Local, Peer, SessionId, Transmit};
use crate::blockwise::Budget;
use crate::blockwise::client::{News, Part, Tags};
use crate::blockwise::server::Transfers;
use crate::config::Config;
use crate::deadlines::Deadlines;
use crate::echo::{Echoes, OwedEchoes};
use crate::event::{Event, IncomingId, IncomingRequest, NO_ECHO, RequestId};
use crate::exchange::{Incomings, Notice, Outcome, Outgoings, Told};
use crate::hash::KeyedHash;
use crate::observe::{Observers, Tidings, Topics};
use crate::outbox::{Outbound, Outbox, What};
use crate::overload::{BackOffs, Refusals};
use crate::peers::{Admitted, Credit, PeerKey, Peers};
use crate::reliability::{Flights, MessageIds, Recent};
use crate::stats::Stats;
use crate::time::Instant;
use crate::transmission::TransmissionParameters;
use crate::wire::Type;

/// A CoAP endpoint, client and server at once: a state machine without I/O, clock or threads.
///
/// Its methods are of four kinds:
///
/// * `handle_*`: something came from the network or the clock. These cannot fail: a peer's fault is a counter.
/// * commands of the application: [`request`](Self::request), [`observe`](Self::observe), [`ping`](Self::ping),
///   [`cancel`](Self::cancel), [`respond`](Self::respond), [`ignore`](Self::ignore), [`publish`](Self::publish), for
///   bodies that come or go part by part [`collect`](Self::collect), [`consumed`](Self::consumed) and
///   [`supply`](Self::supply), and others. They refuse what cannot be, and change nothing then.
/// * of whoever makes sessions: [`hold`](Self::hold), [`release`](Self::release), [`close_session`](Self::close_session).
/// * `poll_*`: what to send, when to wake up, what happened.
/// * getters.
///
/// They can be called in any order and any number of times; the state is consistent after each. A loop calls the three
/// polls after every `handle_*` and every command: [`poll_transmit`](Self::poll_transmit) and
/// [`poll_event`](Self::poll_event) until they return `None`, then it sleeps until [`poll_timeout`](Self::poll_timeout)
/// or until a datagram arrives.
///
/// `now` may never go back; if it does, the largest value seen so far is taken.
pub struct Endpoint {
    config: Config,
    now: Instant,
    rng: Box<dyn CryptoRng + Send>,
    hash: KeyedHash,
    peers: Peers,
    flights: Flights,
    recent: Recent,
    outgoing: Outgoings,
    incoming: Incomings,
    transfers: Transfers,
    topics: Topics,
    observers: Observers,
    deadlines: Deadlines,
    echoes: Echoes,
    owed_echoes: OwedEchoes,
    /// The memory of all bodies that are put together or kept.
    budget: Budget,
    tags: Tags,
    outbox: Outbox,
    group_ids: MessageIds,
    /// The furthest count of the Message IDs of a peer that was forgotten early.
    id_floor: u64,
    resets: Credit,
    /// Sessions that are over, and of which something is left.
    closing: VecDeque<Closing>,
    /// Sessions in which a message was not acknowledged.
    silent: VecDeque<SessionId>,
    /// How many tokens were drawn for requests in sessions.
    session_tokens: u32,
    refusals: Refusals,
    back_offs: BackOffs,
    turn: Turn,
    phase: Phase,
    stats: Stats,
}

/// Whose events come next: requests received and requests sent take turns, so that neither waits for ever.
#[derive(Clone, Copy)]
enum Turn {
    Incoming,
    Outgoing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    ShuttingDown,
}

impl Endpoint {
    /// An endpoint that knows nobody yet. `rng` must be fit for secrets: tokens are drawn from it, and with them the
    /// answers of strangers are told from those of the peer (RFC 7252 §11.4). A seeded one makes a run repeatable.
    pub fn new(config: Config, rng: impl CryptoRng + Send + 'static) -> Self {
        let mut rng = Box::new(rng);
        let hash = KeyedHash::new([rng.next_u64(), rng.next_u64()]);
        Self {
            now: Instant::ZERO,
            peers: Peers::new(config.max_peers, hash),
            flights: Flights::new(hash),
            recent: Recent::new(config.max_remembered, config.max_remembered_bytes, hash),
            outgoing: Outgoings::new(hash),
            incoming: Incomings::new(),
            transfers: Transfers::new(config.max_transfers),
            topics: Topics::new(),
            observers: Observers::new(hash),
            deadlines: Deadlines::default(),
            echoes: Echoes::new(),
            owed_echoes: OwedEchoes::new(),
            budget: Budget::new(config.max_transfer_bytes),
            tags: Tags::new(),
            outbox: Outbox::new(config.max_outbox),
            group_ids: MessageIds::multicast(rng.next_u64()),
            id_floor: 0,
            resets: Credit::full(Instant::ZERO, config.max_resets_per_second as usize),
            closing: VecDeque::new(),
            silent: VecDeque::new(),
            session_tokens: 0,
            refusals: Refusals::new(config.max_refusals_per_second),
            back_offs: BackOffs::new(config.max_back_offs),
            turn: Turn::Incoming,
            phase: Phase::Open,
            stats: Stats::default(),
            hash,
            rng,
            config,
        }
    }

    // ----- To the network, the clock and the application -----------------------------------------------------------

    /// The next datagram to send, if there is one: its bytes are at the start of `buf`, which must be at least
    /// `Config::max_datagram` long. A shorter buffer is given nothing.
    ///
    /// There can be more after any `handle_*` and any command.
    #[must_use]
    pub fn poll_transmit(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        if buf.len() < self.config.max_datagram {
            return None;
        }
        loop {
            let Some(Outbound { to, from, what }) = self.outbox.pop() else { return self.notify_next(buf) };
            let written = match &what {
                What::Flight(key) => self.flights.get(*key).and_then(|flight| flight.message.encode(buf).ok()),
                What::Reply(reply) => {
                    let written = self.recent.replies.get(*reply).and_then(|bytes| copy(bytes, buf));
                    self.recent.replies.sent(*reply);
                    written
                }
                What::Notification(observer, message_id) => self.notify_again(*observer, *message_id, buf),
                What::Empty(kind, message_id) => encode_empty(*kind, *message_id, buf),
                What::Message(message) => message.encode(buf).ok(),
                // As a flight that was settled meanwhile, one that is over by now is not sent.
                What::ToGroup(request) => {
                    let open = self.outgoing.get(request.request.0).is_some_and(|request| !request.is_settled());
                    if open { request.message.encode(buf).ok() } else { None }
                }
            };
            if let Some(len) = written {
                self.stats.datagrams_sent += 1;
                let (hops, group) = match what {
                    What::ToGroup(request) => (request.hops, Some(request.request)),
                    _ => (None, None),
                };
                return Some(Transmit { to, from, hops, group, len });
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do; `None`: not before another call changes
    /// something. A time in the past means at once.
    ///
    /// The answer changes with any `handle_*` and any command.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_timeout()
    }

    /// What happened. There can be more after any `handle_*` and any command. Nothing is lost while nobody polls:
    /// what waits here is a mark on what it is about, which counts against its bound until it has been polled.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        let (turn, next) = match self.turn {
            Turn::Incoming => (Turn::Incoming, Turn::Outgoing),
            Turn::Outgoing => (Turn::Outgoing, Turn::Incoming),
        };
        self.turn = next;
        match turn {
            // An event is large, and is not moved on its way to the caller where nobody else could have one.
            _ if !self.outgoing.has_news() && !self.observers.has_lost() => self.poll_incoming(),
            Turn::Incoming => self.poll_incoming().or_else(|| self.poll_outgoing()).or_else(|| self.poll_observers()),
            Turn::Outgoing => self.poll_outgoing().or_else(|| self.poll_incoming()).or_else(|| self.poll_observers()),
        }
    }

    // ----- Getters ---------------------------------------------------------------------------------------------

    /// The settings.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What has been counted.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.forgotten_early += self.recent.forgotten_early;
        stats
    }

    /// How full the tables are.
    pub fn usage(&self) -> Usage {
        Usage {
            peers: self.peers.len(),
            remembered: self.recent.len(),
            requests: self.outgoing.len(),
            incoming: self.incoming.counted(),
            in_flight: self.flights.len() + self.observers.in_flight(),
            transfers: self.transfers.len(),
            transfer_bytes: self.budget.used(),
            topics: self.topics.len(),
            observers: self.observers.len(),
            back_offs: self.back_offs.len(),
        }
    }

    /// No more requests are accepted, from the application or from peers; what is open goes on to its end.
    /// [`is_idle`](Self::is_idle) tells when it has come.
    ///
    /// Observations have no end of their own: they fail with `Failure::Shutdown`, and their peers are not told. Those
    /// that are to be told are deregistered before.
    pub fn begin_shutdown(&mut self, now: Instant) {
        let now = self.advance(now);
        self.phase = Phase::ShuttingDown;
        self.end_observations(now);
    }

    /// Nothing is open in either direction, and nothing waits to be sent. Topics and observers that know the latest state
    /// may be there.
    pub fn is_idle(&self) -> bool {
        let told = self.observers.in_flight() == 0 && self.topics.are_quiet() && !self.topics.are_ending();
        let quiet = self.flights.len() == 0 && self.outbox.is_empty() && told;
        self.outgoing.open_count() == 0 && self.incoming.len() == 0 && quiet
    }

    // ----- What the rooms share ------------------------------------------------------------------------------------

    fn poll_incoming(&mut self) -> Option<Event> {
        loop {
            let (key, told) = self.incoming.poll()?;
            let id = IncomingId(key);
            match told {
                Told::Request => {
                    let of = self.incoming.get(key)?;
                    let wanted = self.wanted(of.asked);
                    let echo_age = if of.echo().is_some() { self.echo_age(of) } else { NO_ECHO };
                    let of = self.incoming.get_mut(key)?;
                    return Some(Event::Request(IncomingRequest {
                        id,
                        peer: of.from,
                        local: of.local,
                        kind: of.kind,
                        message_id: of.message_id,
                        token: of.token.clone(),
                        request: of.take_request()?,
                        wanted,
                        echo_age,
                    }));
                }
                Told::Closed(why) => return Some(Event::IncomingClosed { id, why }),
                Told::Body => {
                    // What there was to say can be said already, or out of date.
                    if let Some(event) = self.poll_body(id) {
                        return Some(event);
                    }
                }
            }
        }
    }

    fn poll_outgoing(&mut self) -> Option<Event> {
        let (key, notice) = self.outgoing.poll()?;
        let id = RequestId(key);
        Some(match notice {
            Notice::Repeated { attempt } => Event::Retransmitted { id, attempt },
            Notice::Observed(Tidings::State(response)) => Event::Notification { id, response },
            Notice::Observed(Tidings::Stale) => Event::Stale { id },
            Notice::Observed(Tidings::Reregistering { attempt }) => Event::Reregistering { id, attempt },
            Notice::GroupResponse { from, response, timing } => Event::Response { id, from, response, timing },
            Notice::Settled(Outcome::Response { from, response }, timing) => {
                Event::Response { id, from, response, timing }
            }
            Notice::News { from, news } => match news {
                News::Progress { sent, received } => Event::Progress { id, sent, received },
                News::Head(response, timing) => Event::Response { id, from, response, timing },
                News::Part(part) => part_of(id, part),
                News::Wanted { offset, max } => Event::BodyWanted { id: id.request_body(), offset, max },
            },
            Notice::Settled(Outcome::LastPart(part), _) => part_of(id, part),
            Notice::Settled(Outcome::BodyFailed(reason), _) => Event::BodyFailed { id: id.response_body(), reason },
            Notice::Settled(Outcome::Pong, timing) => Event::Pong { id, timing },
            Notice::Settled(Outcome::Failed(reason), timing) => Event::Failed { id, reason, timing },
            Notice::Settled(Outcome::Finished, _) => Event::Finished { id },
        })
    }

    /// Time does not go back.
    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// Finds or makes the record of a peer. `None`: no room.
    fn admit(&mut self, now: Instant, peer: Peer) -> Option<PeerKey> {
        if let Some(known) = self.peers.find(&peer) {
            return Some(known);
        }
        let start = MessageIds::start_for(now, self.config.transmission.exchange_lifetime(), self.id_floor);
        let message_ids = MessageIds::unicast(self.hash.peer(&peer), start);
        let credit = Credit::full(now, self.config.max_datagram);
        let new = match self.peers.admit(now, peer, message_ids, credit)? {
            Admitted::New(key) => key,
            Admitted::Instead { new, forgotten, count } => {
                self.id_floor = self.id_floor.max(count);
                self.stats.peers_evicted += 1;
                self.stats.forgotten_early += self.recent.forget_peer(now, forgotten);
                new
            }
        };
        if let Peer::Session(_) = peer {
            // Nobody forges the sender of what comes in a session.
            self.prove(now, new);
        }
        Some(new)
    }

    /// The parameters for a peer.
    #[inline]
    fn transmission(&self, peer: PeerKey) -> &TransmissionParameters {
        let own = self.peers.get(peer).and_then(|record| record.transmission.as_deref());
        own.unwrap_or(&self.config.transmission)
    }

    /// Queues a datagram; what does not fit is lost, and counted.
    fn send(&mut self, to: Peer, from: Local, what: What) {
        // A reply to a group's member leaves from an address of ours, not from the group's.
        let from = Local { group: None, ..from };
        let reply = if let What::Reply(reply) = &what { Some(*reply) } else { None };
        if !self.outbox.push(Outbound { to, from, what }) {
            self.stats.outbox_full += 1;
        } else if let Some(reply) = reply {
            self.recent.replies.queued(reply);
        }
    }

    /// Tells a peer that its message makes no sense here, unless too many were told so within the second.
    fn send_reset(&mut self, now: Instant, to: Peer, from: Local, message_id: u16) {
        let rate = self.config.max_resets_per_second;
        if rate == 0 || !self.resets.wait(now, 1, rate).is_zero() {
            self.stats.resets_suppressed += 1;
            return;
        }
        self.resets.spend(now, 1, rate, rate as usize);
        self.send(to, from, What::Empty(Type::Reset, message_id));
    }
}

/// How many entries each table has at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Peers known.
    pub peers: usize,
    /// Message IDs remembered.
    pub remembered: usize,
    /// Requests of ours, until their outcome has been polled.
    pub requests: usize,
    /// Requests received, until they have been answered. One whose peer has to send the next block is a transfer meanwhile.
    pub incoming: usize,
    /// Messages of ours that a peer may still acknowledge or reset.
    pub in_flight: usize,
    /// Bodies that peers send or fetch block by block, and those kept in case the last answer was lost.
    pub transfers: usize,
    /// Bytes of memory for bodies that are put together block by block, or kept to be fetched so.
    pub transfer_bytes: usize,
    /// Topics, those that have ended and whose observers are still to be told included.
    pub topics: usize,
    /// Observers of all topics, until their end has been polled.
    pub observers: usize,
    /// Kinds of requests that a server does not want yet.
    pub back_offs: usize,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("now", &self.now).field("usage", &self.usage()).finish_non_exhaustive()
    }
}

fn part_of(id: RequestId, part: Part) -> Event {
    let Part { offset, data, last } = part;
    Event::BodyPart { id: id.response_body(), offset, data, last }
}

fn copy(bytes: &[u8], buf: &mut [u8]) -> Option<usize> {
    buf.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(bytes.len())
}

/// RFC 7252 §3: version 1, type, no token; code 0.00; Message ID.
fn encode_empty(kind: Type, message_id: u16, buf: &mut [u8]) -> Option<usize> {
    let [high, low] = message_id.to_be_bytes();
    copy(&[0x40 | (kind as u8) << 4, 0, high, low], buf)
}
