//! A hello on a socket that listens: a cookie first, then a handshake, beside the session that may stand on the path.
//!
//! ```text
//!   first hello  ──► HelloVerifyRequest with a cookie; nothing is kept
//!   second hello ──► its cookie is right ──► an engine, which never sees the first
//! ```
//!
//! An engine that cannot be made from a second hello alone is made from the first, and is half-open in the first row.

use core::time::Duration;

use coap_core::{Instant, Local, SessionEnd, SessionId, UdpAddr};

use crate::config::ServerSecurity;
use crate::cookie;
use crate::engine::Engine;
use crate::hello::ClientHello;
use crate::layer::{Layer, deadline};
use crate::table::{Opening, Path, Queue, Session, Slot};

/// For how long copies of a hello may be under way: until no cookie is good any more that it can have. A client that says the
/// same later has restarted, and draws its numbers from a bad source.
const LATE: Duration = Duration::from_secs(2 * cookie::LIFE.as_secs());

impl Layer {
    pub(super) fn on_hello(
        &mut self,
        now: Instant,
        path: Path,
        local: Local,
        hello: &ClientHello<'_>,
        datagram: &[u8],
    ) {
        let paths = self.table.paths(path);
        let fingerprint = self.table.fingerprint(hello.random());
        let is_ours = |session: &Session| session.dialled.is_some();
        if [paths.open, paths.opening].into_iter().flatten().any(|slot| self.table.get(slot).is_some_and(is_ours)) {
            // We are the client on this path, and one of both must be.
            self.stats.strangers += 1;
            return;
        }
        let is_this = |session: &Session| session.hello == fingerprint;
        let is_late = |session: &Session| is_this(session) && now - session.since < LATE;
        if paths.open.and_then(|slot| self.table.get(slot)).is_some_and(is_late) {
            // A late copy of the hello that the session began with.
            return;
        }
        let half_open = [paths.opening, paths.unproven].into_iter().flatten();
        if let Some(slot) = half_open.into_iter().find(|slot| self.table.get(*slot).is_some_and(is_this)) {
            return self.feed(now, slot, datagram);
        }
        let Some(security) = self.listener(path.socket).cloned() else { return };
        if security.0.acceptor.is_stateless(hello) {
            self.on_stateless(now, path, local, hello, fingerprint, &security);
        } else {
            self.on_stateful(now, path, local, hello, fingerprint, &security, datagram);
        }
    }

    /// Nothing is kept before the cookie has come back.
    fn on_stateless(
        &mut self,
        now: Instant,
        path: Path,
        local: Local,
        hello: &ClientHello<'_>,
        fingerprint: u64,
        security: &ServerSecurity,
    ) {
        let cookie = self.cookies.check(now, &mut *self.rng, path.addr, hello);
        let Some(cookie) = cookie.filter(|_| hello.message_seq() == 1) else {
            self.stats.cookies_wrong += u64::from(!hello.cookie().is_empty());
            self.attempts.note(now, path, fingerprint);
            return self.send_cookie(now, path.addr, local, hello);
        };
        // The client has begun anew.
        let paths = self.table.paths(path);
        for before in [paths.opening, paths.unproven].into_iter().flatten() {
            self.end(before, SessionEnd::Replaced);
        }
        let id = self.table.number();
        let kick = self.kickers.kick(id.number());
        self.stats.begun += 1;
        let mut attempt = self.attempts.on(path, fingerprint);
        attempt.begin(now);
        match security.0.acceptor.accept_proven(now, path.addr, hello, &cookie, attempt, kick) {
            Ok(engine) => {
                let slot = self.open(now, id, path, local, fingerprint, security, engine, Queue::Proven);
                self.drain(now, slot);
            }
            Err(description) => {
                self.stats.failed.count(SessionEnd::Protocol);
                self.push(path.addr, local, &hello.refusal(description));
            }
        }
    }

    /// The engine asks for a cookie itself, and must be there for it.
    #[expect(clippy::too_many_arguments, reason = "all of it belongs to the hello")]
    fn on_stateful(
        &mut self,
        now: Instant,
        path: Path,
        local: Local,
        hello: &ClientHello<'_>,
        fingerprint: u64,
        security: &ServerSecurity,
        datagram: &[u8],
    ) {
        if hello.message_seq() != 0 || !hello.cookie().is_empty() {
            // It answers a request of a handshake that is not there any more, or never was.
            self.stats.cookies_wrong += 1;
            return;
        }
        if !self.pace.admits(now) {
            self.stats.hellos_dropped += 1;
            return;
        }
        // One that is proven goes on until this one is: a hello in the name of its client does not end it.
        let paths = self.table.paths(path);
        let unproven = paths.opening.filter(|slot| !self.table.is_proven(*slot)).or(paths.unproven);
        if let Some(before) = unproven {
            self.end(before, SessionEnd::Replaced);
        }
        self.attempts.note(now, path, fingerprint);
        let id = self.table.number();
        let kick = self.kickers.kick(id.number());
        self.stats.begun += 1;
        match security.0.acceptor.accept(now, path.addr, hello, self.attempts.on(path, fingerprint), kick) {
            Some(engine) => {
                let slot = self.open(now, id, path, local, fingerprint, security, engine, Queue::Unproven);
                self.feed(now, slot, datagram);
            }
            None => self.stats.failed.count(SessionEnd::Full),
        }
    }

    fn send_cookie(&mut self, now: Instant, to: UdpAddr, from: Local, hello: &ClientHello<'_>) {
        let cookie = self.cookies.make(now, &mut *self.rng, to, hello);
        self.stats.cookies_sent += 1;
        self.push(to, from, &hello.verify_request(&cookie));
    }

    /// Takes in what a client has begun.
    #[expect(clippy::too_many_arguments, reason = "all of it belongs to the session")]
    fn open(
        &mut self,
        now: Instant,
        id: SessionId,
        path: Path,
        local: Local,
        hello: u64,
        security: &ServerSecurity,
        engine: Box<dyn Engine>,
        queue: Queue,
    ) -> Slot {
        let places = (self.limits.max_half_open / security.0.acceptor.places()).max(1);
        // Others may have left more of them: they become fewer with each.
        for _ in 0..2 {
            if self.table.half_open() < places {
                break;
            }
            let oldest = self.table.oldest(Queue::Unproven).or_else(|| self.table.oldest(Queue::Proven));
            if let Some(oldest) = oldest {
                self.stats.half_open_dropped += 1;
                self.end(oldest, SessionEnd::Full);
            }
        }
        let common = &security.0.parts.common;
        let deadline = deadline(now, common);
        let room = security.0.room();
        let queue = Some(queue);
        self.table.insert(Opening { id, path, local, engine, dialled: None, deadline, hello, room, queue, now })
    }
}
