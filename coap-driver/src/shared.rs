//! What all handles and the driver task hold.

use core::fmt;
use core::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coap_core::{Instant, Peer, UdpAddr};

use crate::runtime::Runtime;
use crate::sessions::Credentials;
use crate::state::State;
use crate::traffic::Hook;
use crate::transport::Link;

/// The runtime, the state behind its lock, and what never changes.
pub(crate) struct Shared<R: Runtime> {
    runtime: R,
    state: Mutex<State>,
    ways: Ways,
    credentials: Credentials,
    hook: Option<Hook>,
}

impl<R: Runtime> Shared<R> {
    pub(crate) const fn new(
        runtime: R,
        state: State,
        ways: Ways,
        credentials: Credentials,
        hook: Option<Hook>,
    ) -> Self {
        Self { runtime, state: Mutex::new(state), ways, credentials, hook }
    }

    pub(crate) fn runtime(&self) -> &R {
        &self.runtime
    }

    pub(crate) fn local_addrs(&self) -> &[SocketAddr] {
        &self.ways.local_addrs
    }

    /// What clients show in secure sessions.
    pub(crate) const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(crate) const fn hook(&self) -> Option<&Hook> {
        self.hook.as_ref()
    }

    /// Nothing that could panic runs under the lock, and a poisoned one still has a consistent endpoint.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that may leave work for the driver task, and wakes it.
    pub(crate) fn command<T>(&self, act: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = self.lock();
        // Read under the lock, so that time does not go back between two commands.
        let now = self.runtime.now();
        let result = act(&mut state, now);
        let driver = state.take_driver();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
        result
    }

    /// Whether a socket is of a family that can send to `peer`. What a transport reaches is found out by sending.
    pub(crate) fn reaches(&self, peer: Peer) -> bool {
        let Some(to) = peer.udp().filter(|_| !self.ways.has_transports) else { return true };
        self.socket_for(to).is_some()
    }

    /// The socket that a session with a server at `to` can be made through: not one where others make theirs.
    pub(crate) fn socket_for(&self, to: UdpAddr) -> Option<u16> {
        let plain = self.ways.local_addrs.iter().take(self.ways.plain);
        let found = plain.enumerate().find(|(_, local)| can_send(**local, to.socket_addr()));
        found.and_then(|(index, _)| u16::try_from(index).ok())
    }
}

/// The ways in and out of an endpoint.
pub(crate) struct Ways {
    /// Of all sockets, the plain ones first.
    local_addrs: Vec<SocketAddr>,
    /// How many of them are plain.
    plain: usize,
    /// There are ways out other than sockets.
    has_transports: bool,
}

impl Ways {
    pub(crate) fn of<S>(links: &[Link<S>]) -> Self {
        let local = |link: &Link<S>| match link {
            Link::Udp(_, local) | Link::Secure(_, local) => Some(*local),
            Link::Custom(_) => None,
        };
        Self {
            local_addrs: links.iter().filter_map(local).collect(),
            plain: links.iter().filter(|link| matches!(link, Link::Udp(..))).count(),
            has_transports: links.iter().any(|link| matches!(link, Link::Custom(_))),
        }
    }
}

/// A socket on `[::]` sends to IPv4 as well; all others to their own family.
pub(crate) fn can_send(local: SocketAddr, to: SocketAddr) -> bool {
    local.is_ipv4() == to.is_ipv4() || (local.ip().is_unspecified() && to.is_ipv4())
}

impl<R: Runtime> fmt::Debug for Shared<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("local_addrs", &self.ways.local_addrs).finish_non_exhaustive()
    }
}
