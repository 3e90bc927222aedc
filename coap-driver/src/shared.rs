//! What all handles and the driver task hold.

use core::fmt;
use core::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coap_core::{Instant, Peer};

use crate::runtime::Runtime;
use crate::state::State;
use crate::traffic::Hook;

/// The runtime, the state behind its lock, and what never changes.
pub(crate) struct Shared<R: Runtime> {
    runtime: R,
    state: Mutex<State>,
    local_addrs: Vec<SocketAddr>,
    /// There are ways out other than sockets.
    has_transports: bool,
    hook: Option<Hook>,
}

impl<R: Runtime> Shared<R> {
    pub(crate) const fn new(
        runtime: R,
        state: State,
        local_addrs: Vec<SocketAddr>,
        has_transports: bool,
        hook: Option<Hook>,
    ) -> Self {
        Self { runtime, state: Mutex::new(state), local_addrs, has_transports, hook }
    }

    pub(crate) fn runtime(&self) -> &R {
        &self.runtime
    }

    pub(crate) fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
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
        let Some(to) = peer.udp().filter(|_| !self.has_transports) else { return true };
        self.local_addrs.iter().any(|local| can_send(*local, to.socket_addr()))
    }
}

/// A socket on `[::]` sends to IPv4 as well; all others to their own family.
pub(crate) fn can_send(local: SocketAddr, to: SocketAddr) -> bool {
    local.is_ipv4() == to.is_ipv4() || (local.ip().is_unspecified() && to.is_ipv4())
}

impl<R: Runtime> fmt::Debug for Shared<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("local_addrs", &self.local_addrs).finish_non_exhaustive()
    }
}
