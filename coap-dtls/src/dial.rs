//! The sessions that we open: reused where they are the same, begun anew where what failed them could have been forged.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use coap_core::{Instant, Local, SessionEnd, SessionId};

use crate::config::ClientSecurity;
use crate::layer::{Layer, deadline};
use crate::table::{Dialled, Opening, Path, Session, Slot};
use crate::verify::ServerName;

/// How often a handshake of ours is begun anew: when it fails, or when half of its time is over and it has been answered. What
/// ends a handshake, or leads it astray, is not authenticated, so that whoever guesses our port could do so; the same twice is
/// believed.
const RETRIES: u8 = 1;
/// How often it is begun anew as two cookies were asked for, and only one can be right.
const DETOURS: u8 = 2;

/// What becomes of a wish for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It is there, or is being made.
    Known(SessionId),
    /// It can be made, and has this number then.
    New(SessionId),
}

/// Why no session is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is a group, or has port 0: there is no secure session with a group (RFC 7252 §9.1).
    Address,
    /// Another session travels between this socket and this address: one with another name or configuration, or one that the
    /// other end has opened. Records say nothing of which of two they belong to. Close it, or use another socket.
    Occupied {
        /// The session that is there.
        session: SessionId,
    },
    /// A datagram of the endpoint can be longer than what a record of this configuration has room for.
    TooLong {
        /// `coap_core::Config::max_datagram`.
        max_datagram: usize,
        /// What there is room for: `max_record` without the overhead of a record.
        room: usize,
    },
    /// There are as many sessions as there may be (`LimitsBuilder::max_sessions`), and none of them can go.
    Full,
    /// The endpoint cannot take a peer now, and says why.
    Endpoint(coap_core::RequestError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => write!(f, "a secure session needs the address of one endpoint, and a port"),
            Self::Occupied { session } => write!(
                f,
                "another secure session (number {}) is open from this socket to this address",
                session.number()
            ),
            Self::TooLong { max_datagram, room } => {
                write!(f, "max_datagram is {max_datagram} bytes, and a record has room for {room}")
            }
            Self::Full => SessionEnd::Full.fmt(f),
            Self::Endpoint(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConnectError {}

impl Layer {
    /// The session with this peer, this name and this configuration; a new one where there is none, or where nobody answers
    /// in it any more: that is made by [`dial`](Self::dial), and nothing has changed before.
    pub(crate) fn want(
        &mut self,
        now: Instant,
        patience: Duration,
        path: Path,
        security: &ClientSecurity,
        name: Option<&ServerName>,
    ) -> Result<Wanted, ConnectError> {
        if path.addr.is_multicast() || path.addr.port() == 0 {
            return Err(ConnectError::Address);
        }
        let paths = self.table.paths(path);
        let is_same = |session: &Session| {
            let dialled = session.dialled.as_deref();
            dialled.is_some_and(|it| Arc::ptr_eq(&it.security.0, &security.0) && it.name.as_ref() == name)
        };
        if let Some(open) = paths.open.and_then(|slot| self.table.get(slot)) {
            match is_same(open) {
                true if !is_silent(now, patience, open, self.limits.silent_after) => return Ok(Wanted::Known(open.id)),
                true => {}
                false => return Err(ConnectError::Occupied { session: open.id }),
            }
        }
        if let Some(opening) = paths.opening.and_then(|slot| self.table.get(slot)) {
            if is_same(opening) {
                return Ok(Wanted::Known(opening.id));
            } else if opening.dialled.is_some() {
                return Err(ConnectError::Occupied { session: opening.id });
            }
        }
        if !self.has_room() {
            return Err(ConnectError::Full);
        }
        Ok(Wanted::New(self.table.number()))
    }

    /// Begins a handshake: it is a session that `want` has said is new.
    pub(crate) fn dial(
        &mut self,
        now: Instant,
        id: SessionId,
        path: Path,
        security: &ClientSecurity,
        name: Option<&ServerName>,
    ) {
        // Whoever pretends to open a session from there does not keep us from it.
        let paths = self.table.paths(path);
        for half_open in [paths.opening, paths.unproven].into_iter().flatten() {
            self.end(half_open, SessionEnd::Replaced);
        }
        self.make_room(now);
        let kick = self.kickers.kick(id.number());
        let inner = &security.0;
        let engine = inner.connector.connect(now, path.addr, name, kick);
        let (security, name) = (security.clone(), name.cloned());
        let slot = self.table.insert(Opening {
            id,
            path,
            local: Local { socket: path.socket, ..Local::default() },
            engine,
            deadline: deadline(now, &inner.parts.common),
            room: inner.room(),
            dialled: Some(Box::new(Dialled::new(security, name, RETRIES, DETOURS))),
            hello: 0,
            queue: None,
            now,
        });
        self.stats.begun += 1;
        self.max_record = self.max_record.max(inner.parts.common.max_record);
        if !self.dialled_from.contains(&path.socket) {
            self.dialled_from.push(path.socket);
        }
        self.drain(now, slot);
    }

    /// Has a handshake of ours that failed begun anew, if it can have been made to fail. False: it has ended.
    ///
    /// Not at once: what is still under way for the hello before must not be taken for answers to the next.
    pub(super) fn retry(&mut self, now: Instant, slot: Slot, why: SessionEnd) -> bool {
        let can_be_forged =
            !matches!(why, SessionEnd::Local | SessionEnd::HandshakeTimeout | SessionEnd::Full | SessionEnd::Exhausted);
        let Some(session) = self.table.get_mut(slot).filter(|session| !session.is_open()) else { return false };
        let Some(dialled) = session.dialled.as_deref_mut() else { return false };
        if !can_be_forged || dialled.retries == 0 {
            return false;
        }
        dialled.failed = Some((why, now + dialled.security.0.parts.common.timer.initial / 2));
        true
    }

    /// A server wants to see a cookie (RFC 6347 §4.2.1). If it wanted another before, one of them is forged, or late: it answers a
    /// handshake that was given up. No library goes on from the second. If the first was not the right one the handshake is begun
    /// anew, soon: as long as it takes for the answer to the right one, which calls that off (`on_server_hello`).
    pub(super) fn on_cookie_asked(&mut self, now: Instant, slot: Slot, cookie: &[u8]) {
        let cookie = self.table.fingerprint(cookie);
        let Some(session) = self.table.get_mut(slot).filter(|session| !session.is_open()) else { return };
        let Some(dialled) = session.dialled.as_deref_mut() else { return };
        if *dialled.asked.get_or_insert(cookie) != cookie && dialled.detours > 0 {
            let soon = now + dialled.security.0.parts.common.timer.initial / 2;
            dialled.astray.get_or_insert(soon);
        }
    }

    /// A server goes on: it has got the cookie that it asked for.
    pub(super) fn on_server_hello(&mut self, slot: Slot) {
        if let Some(dialled) = self.table.get_mut(slot).and_then(|session| session.dialled.as_deref_mut()) {
            (dialled.astray, dialled.detours) = (None, 0);
        }
    }

    /// Begins a handshake of ours anew.
    pub(super) fn begin_anew(&mut self, now: Instant, slot: Slot) {
        let Some(session) = self.table.get_mut(slot) else { return };
        let Some(dialled) = session.dialled.as_deref_mut() else { return };
        match dialled.astray.take() {
            Some(_) => dialled.detours = dialled.detours.saturating_sub(1),
            None => dialled.retries = dialled.retries.saturating_sub(1),
        }
        dialled.asked = None;
        self.stats.retried += 1;
        let kick = self.kickers.kick(session.id.number());
        let connector = &dialled.security.0.connector;
        session.engine = connector.connect(now, session.path.addr, dialled.name.as_ref(), kick);
        self.drain(now, slot);
    }

    /// A Confirmable message was not acknowledged.
    pub(crate) fn on_silence(&mut self, session: SessionId) {
        if let Some(session) = self.table.find(session).and_then(|slot| self.table.get_mut(slot)) {
            session.unanswered = session.unanswered.saturating_add(1);
        }
    }
}

/// Whether the peer of a session that stands may have lost it. Requests that are given less time than `patience`, which is when
/// a message is repeated at the latest, say nothing about that.
fn is_silent(now: Instant, patience: Duration, session: &Session, silent_after: u32) -> bool {
    session.unanswered >= silent_after && session.asked.is_some_and(|asked| now >= asked + patience)
}
