//! The session layer: which datagram belongs to which session, who may have one, and for how long.
//!
//! ```text
//!   datagram ──► a hello on a socket that listens ──► hellos.rs: a cookie, or a handshake beside what stands on the path
//!            └─► a record ──► the session that stands ──► a message, or nothing: then the handshake beside it
//! ```
//!
//! A session that stands is never disturbed by what anybody can send from its address: a handshake beside it takes its place
//! only when it is done (RFC 6347 §4.2.8), and records that are not of the peer do nothing.

use core::task::Waker;
use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;
use coap_core::{Instant, Local, SessionEnd, SessionId, Transmit, UdpAddr};
use rand_core::CryptoRng;

use crate::attempts::Attempts;
use crate::config::{Common, ServerSecurity};
use crate::cookie::Cookies;
use crate::engine::{Kickers, Output, SendError};
use crate::hello::{ClientHello, HANDSHAKE, cookie_asked, is_server_hello};
use crate::identity::PeerIdentity;
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::stats::SessionStats;
use crate::table::{Path, Paths, Phase, Queue, Session, Slot, Table};

/// How many sessions one call looks at when their time has come. A caller comes again at once.
const PER_CALL: usize = 256;

/// The least time from one call of an engine's timer to the next.
const LEAST_SLEEP: Duration = Duration::from_millis(1);

/// The longest datagram there can be, in bytes.
pub(crate) const MAX_DATAGRAM: usize = 65_535;

/// All secure sessions of an endpoint.
pub(crate) struct Layer {
    pub(super) limits: Limits,
    pub(super) rng: Box<dyn CryptoRng + Send>,
    pub(super) cookies: Cookies,
    pub(super) attempts: Attempts,
    pub(super) listeners: Vec<(u16, ServerSecurity)>,
    pub(super) table: Table,
    pub(super) kickers: Kickers,
    outbox: Outbox,
    /// Handshakes that begin with clients whose address is not proven.
    pub(super) pace: Pace,
    events: VecDeque<LayerEvent>,
    pub(super) stats: SessionStats,
    /// As long as a datagram can be, once there is a session.
    scratch: Box<[u8]>,
    /// The sockets from which sessions have been opened.
    pub(super) dialled_from: Vec<u16>,
    /// The longest record of all configurations, in bytes.
    pub(super) max_record: usize,
    /// How many things engines have told.
    told: u64,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum LayerEvent {
    /// The session stands.
    Established(SessionId),
    /// A message of the peer.
    Message { session: SessionId, local: Local, payload: Bytes },
    /// The session is over, or never came to stand.
    Closed(SessionId, SessionEnd),
}

/// Whose a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Of a session, or of somebody who should have had one.
    Ours,
    /// Not of DTLS, or of nobody who is known, on a socket where others may be meant.
    Theirs,
}

impl Layer {
    pub(crate) fn new(limits: Limits, rng: impl CryptoRng + Send + 'static) -> Self {
        let mut rng = Box::new(rng);
        let (cookies, table) = (Cookies::new(&mut *rng), Table::new(&mut *rng));
        Self {
            cookies,
            attempts: Attempts::new(table.keyed()),
            listeners: Vec::new(),
            table,
            kickers: Kickers::default(),
            outbox: Outbox::new(limits.max_outbox),
            pace: Pace::new(limits.unproven_rate),
            events: VecDeque::new(),
            stats: SessionStats::default(),
            scratch: Box::default(),
            dialled_from: Vec::new(),
            max_record: 0,
            told: 0,
            limits,
            rng,
        }
    }

    // ----- From the network and the clock ------------------------------------------------------------------------------

    /// A datagram arrived. `Theirs`: nothing has been done with it.
    pub(crate) fn handle_datagram(&mut self, now: Instant, from: UdpAddr, local: Local, datagram: &[u8]) -> Whose {
        let path = Path { socket: local.socket, addr: from };
        let listens = self.listener(path.socket).is_some();
        // RFC 9147 §4.1, RFC 7983: 20 to 63 is DTLS. A message of CoAP begins with 64 to 127.
        let Some(20..=63) = datagram.first() else {
            self.stats.in_the_clear += u64::from(listens);
            return if listens { Whose::Ours } else { Whose::Theirs };
        };
        let paths = self.table.paths(path);
        if paths == Paths::default() && !listens {
            return Whose::Theirs;
        }
        // Nothing can come from a group, or from port 0, and nothing is sent there.
        if from.is_multicast() || from.port() == 0 || local.group.is_some() {
            self.stats.strangers += 1;
            return Whose::Ours;
        }
        let may_be_hello = listens && datagram.first() == Some(&HANDSHAKE);
        match may_be_hello.then(|| ClientHello::parse(datagram)).flatten() {
            Some(hello) => self.on_hello(now, path, local, &hello, datagram),
            None => self.on_record(now, paths, datagram),
        }
        Whose::Ours
    }

    fn on_record(&mut self, now: Instant, paths: Paths, datagram: &[u8]) {
        match (paths.open, paths.opening) {
            (None, None) => self.stats.strangers += 1,
            (Some(session), None) | (None, Some(session)) => self.feed(now, session, datagram),
            // Without keys it is of the handshake, if of anything. But anybody can have begun one that is not proven, and the peer
            // may still ask for the last flight of the session that stands (RFC 6347 §4.2.4).
            (Some(_), Some(opening)) if is_plain(datagram) && self.table.is_proven(opening) => {
                self.feed(now, opening, datagram);
            }
            (Some(open), Some(opening)) => {
                let told = self.told;
                self.feed(now, open, datagram);
                if self.told == told {
                    self.feed(now, opening, datagram);
                }
            }
        }
    }

    /// Gives a datagram to a session.
    pub(super) fn feed(&mut self, now: Instant, slot: Slot, datagram: &[u8]) {
        let Some(session) = self.table.get_mut(slot) else { return };
        if let Some(dialled) = &mut session.dialled {
            dialled.heard.get_or_insert(now);
        }
        session.engine.handle(now, datagram);
        if let Some(cookie) = cookie_asked(datagram) {
            self.on_cookie_asked(now, slot, cookie);
        } else if is_server_hello(datagram) {
            self.on_server_hello(slot);
        }
        self.drain(now, slot);
    }

    /// The time that `poll_timeout` named has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(kicked) = self.kickers.pop() {
            if let Some(slot) = self.table.find(SessionId::new(kicked)) {
                self.drain(now, slot);
            }
        }
        for _ in 0..PER_CALL {
            let Some(slot) = self.table.pop_due(now) else { return };
            self.on_wake(now, slot);
        }
    }

    fn on_wake(&mut self, now: Instant, slot: Slot) {
        let idle = self.limits.idle;
        let Some(session) = self.table.get_mut(slot) else { return };
        match session.phase {
            Phase::Opening { deadline } if deadline <= now => return self.time_out(slot),
            Phase::Opening { .. } if session.retry_at().is_some_and(|at| at <= now) => {
                return self.begin_anew(now, slot);
            }
            Phase::Open(_) if session.used + idle <= now => return self.close(now, slot, SessionEnd::Idle),
            _ => {}
        }
        if session.engine.poll_timeout().is_some_and(|at| at <= now) {
            session.engine.handle_timeout(now);
            self.drain(now, slot);
        } else {
            self.arm(now, slot);
        }
    }

    /// A handshake has taken too long. If it had been begun anew, the first reason says more.
    fn time_out(&mut self, slot: Slot) {
        let dialled = self.table.get(slot).and_then(|session| session.dialled.as_deref());
        let failed = dialled.and_then(|dialled| dialled.failed);
        self.end(slot, failed.map_or(SessionEnd::HandshakeTimeout, |(why, _)| why));
    }

    /// The network reports that nobody listens there. Anybody can say so: it ends a handshake of ours that has not been
    /// answered, and nothing that has keys.
    pub(crate) fn handle_unreachable(&mut self, addr: UdpAddr) {
        let is_unanswered = |session: &Session| session.dialled.as_ref().is_some_and(|dialled| dialled.heard.is_none());
        for socket in self.dialled_from.clone() {
            let opening = self.table.paths(Path { socket, addr }).opening;
            if let Some(slot) = opening.filter(|slot| self.table.get(*slot).is_some_and(is_unanswered)) {
                self.end(slot, SessionEnd::Unreachable);
            }
        }
    }

    // ----- Commands ------------------------------------------------------------------------------------------------------

    /// Makes a record of a message, which is polled then.
    pub(crate) fn send(&mut self, now: Instant, session: SessionId, message: &[u8]) -> Result<(), SendError> {
        let slot = self.table.find(session).ok_or(SendError::NotEstablished)?;
        let session = self.table.get_mut(slot).ok_or(SendError::NotEstablished)?;
        if !session.is_open() {
            return Err(SendError::NotEstablished);
        }
        if message.len() > session.room {
            self.stats.too_long += 1;
            return Err(SendError::TooLarge);
        }
        session.asked.get_or_insert(now);
        let sent = session.engine.send(now, message);
        if sent == Err(SendError::Exhausted) {
            self.close(now, slot, SessionEnd::Exhausted);
            return sent;
        }
        self.table.touch(now, slot);
        self.drain(now, slot);
        sent
    }

    /// Closes a session, if there is one, and tells the peer.
    pub(crate) fn disconnect(&mut self, now: Instant, session: SessionId) {
        if let Some(slot) = self.table.find(session) {
            self.close(now, slot, SessionEnd::Local);
        }
    }

    /// Closes all sessions.
    pub(crate) fn disconnect_all(&mut self, now: Instant) {
        let all: Vec<_> = self.table.ids().collect();
        all.into_iter().for_each(|session| self.disconnect(now, session));
    }

    /// A socket takes sessions from now on.
    pub(crate) fn listen(&mut self, socket: u16, security: ServerSecurity) {
        self.max_record = self.max_record.max(security.0.parts.common.max_record);
        self.attempts.listen();
        match self.listeners.iter_mut().find(|(of, _)| *of == socket) {
            Some((_, before)) => *before = security,
            None => self.listeners.push((socket, security)),
        }
    }

    /// See `Kickers::register`.
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        self.kickers.register(waker)
    }

    // ----- To the network, the clock and the endpoint --------------------------------------------------------------------

    pub(crate) fn poll_transmit(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        self.outbox.pop(buf)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.table.next_wake()
    }

    pub(crate) fn poll_event(&mut self) -> Option<LayerEvent> {
        self.events.pop_front()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.outbox.len() == 0 && self.events.is_empty()
    }

    // ----- Getters -------------------------------------------------------------------------------------------------------

    pub(crate) fn listener(&self, socket: u16) -> Option<&ServerSecurity> {
        self.listeners.iter().find(|(of, _)| *of == socket).map(|(_, security)| security)
    }

    pub(crate) fn session(&self, id: SessionId) -> Option<&Session> {
        self.table.get(self.table.find(id)?)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn max_record(&self) -> usize {
        self.max_record
    }

    pub(crate) fn stats(&self) -> SessionStats {
        let (sessions, half_open, opening) = (self.table.open(), self.table.half_open(), self.table.dialling());
        SessionStats { sessions, half_open, opening, ..self.stats }
    }

    // ----- What the rooms share ------------------------------------------------------------------------------------------

    /// Asks an engine for everything that it has to tell. This follows each call into one.
    pub(super) fn drain(&mut self, now: Instant, slot: Slot) {
        if self.scratch.is_empty() {
            self.scratch = vec![0; MAX_DATAGRAM].into();
        }
        loop {
            let Some(session) = self.table.get_mut(slot) else { return };
            let Some(output) = session.engine.poll(now, &mut self.scratch) else { break };
            self.told += 1;
            match output {
                Output::Datagram(datagram) => {
                    self.stats.outbox_full += u64::from(!self.outbox.push(session.path.addr, session.local, datagram));
                }
                Output::Proven => {
                    if let Some(before) = self.table.prove(slot) {
                        self.end(before, SessionEnd::Replaced);
                    }
                }
                Output::Established(identity) => {
                    if !self.establish(now, slot, identity) {
                        return;
                    }
                }
                Output::Plaintext(message) => {
                    // Nothing is handed up before it is known who says it.
                    if session.is_open() {
                        (session.unanswered, session.asked) = (0, None);
                        let payload = Bytes::copy_from_slice(message);
                        let (session, local) = (session.id, session.local);
                        self.events.push_back(LayerEvent::Message { session, local, payload });
                        self.table.touch(now, slot);
                    }
                }
                Output::Ended(why) => {
                    self.flush(now, slot);
                    if !self.retry(now, slot, why) {
                        return self.end(slot, why);
                    }
                }
            }
        }
        self.arm(now, slot);
    }

    /// When the session is to be looked at again.
    fn arm(&mut self, now: Instant, slot: Slot) {
        let Some(session) = self.table.get(slot) else { return };
        let limit = match session.phase {
            Phase::Opening { deadline } => session.retry_at().map_or(deadline, |at| at.min(deadline)),
            Phase::Open(_) => session.used + self.limits.idle,
        };
        let at = session.engine.poll_timeout().map_or(limit, |at| at.min(limit));
        // An engine has just been asked: one that wants to be called at once, each time, does not get the whole processor.
        self.table.wake_by(slot, at.max(now + LEAST_SLEEP));
    }

    /// The handshake is done. False: there is no room, and the session is gone.
    fn establish(&mut self, now: Instant, slot: Slot, identity: PeerIdentity) -> bool {
        let Some(session) = self.table.get(slot) else { return false };
        if session.is_open() {
            return true;
        }
        let (id, path, is_dialled) = (session.id, session.path, session.dialled.is_some());
        if let Some(old) = self.table.paths(path).open {
            // Its peer does not have it any more, or does not answer in it: there is nobody to tell.
            let is_ours = self.table.get(old).is_some_and(|old| old.dialled.is_some());
            self.end(old, if is_ours { SessionEnd::Silent } else { SessionEnd::Replaced });
        }
        if !is_dialled && !self.make_room(now) {
            self.close(now, slot, SessionEnd::Full);
            return false;
        }
        self.stats.established += 1;
        self.table.promote(now, slot, identity);
        self.events.push_back(LayerEvent::Established(id));
        true
    }

    /// Whether there is room for one more session, or can be.
    pub(super) fn has_room(&self) -> bool {
        self.is_below_bound() || self.table.oldest(Queue::Served).is_some()
    }

    fn is_below_bound(&self) -> bool {
        self.table.open() + self.table.dialling() < self.limits.max_sessions
    }

    /// Makes room for one more session, at the cost of the one that has been silent the longest. False: there is none.
    pub(super) fn make_room(&mut self, now: Instant) -> bool {
        if self.is_below_bound() {
            return true;
        }
        let Some(oldest) = self.table.oldest(Queue::Served) else { return false };
        self.close(now, oldest, SessionEnd::Idle);
        true
    }

    /// Says what an engine has still to say to its peer.
    fn flush(&mut self, now: Instant, slot: Slot) {
        let Some(session) = self.table.get_mut(slot) else { return };
        while let Some(output) = session.engine.poll(now, &mut self.scratch) {
            if let Output::Datagram(datagram) = output {
                self.stats.outbox_full += u64::from(!self.outbox.push(session.path.addr, session.local, datagram));
            }
        }
    }

    /// Tells the peer that the session is over, and ends it.
    pub(super) fn close(&mut self, now: Instant, slot: Slot, why: SessionEnd) {
        if let Some(session) = self.table.get_mut(slot) {
            session.engine.close(now);
            self.flush(now, slot);
        }
        self.end(slot, why);
    }

    /// Forgets a session.
    pub(super) fn end(&mut self, slot: Slot, why: SessionEnd) {
        let Some(session) = self.table.remove(slot) else { return };
        let is_unheard = session.dialled.as_ref().is_some_and(|dialled| dialled.heard.is_none());
        let why = if is_unheard && why == SessionEnd::HandshakeTimeout { SessionEnd::NoAnswer } else { why };
        let ends = if session.is_open() { &mut self.stats.closed } else { &mut self.stats.failed };
        ends.count(why);
        // Nobody has heard of a session that a client did not get to stand.
        if session.is_open() || session.dialled.is_some() {
            self.events.push_back(LayerEvent::Closed(session.id, why));
        }
    }

    /// A datagram that belongs to no session.
    pub(super) fn push(&mut self, to: UdpAddr, from: Local, datagram: &[u8]) {
        self.stats.outbox_full += u64::from(!self.outbox.push(to, from, datagram));
    }
}

/// A record of epoch 0. One of DTLS 1.3 that begins with 32 to 63 has keys.
fn is_plain(datagram: &[u8]) -> bool {
    matches!(datagram, [20..=31, _, _, 0, 0, ..])
}

/// By when a handshake must be done.
pub(super) fn deadline(now: Instant, common: &Common) -> Instant {
    now + common.timer.deadline
}
