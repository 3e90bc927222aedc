//! The clock, timers, tasks and names of a tokio runtime.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;

use coap_core::{Instant, UdpAddr};
use coap_driver::{BoxFuture, Runtime, SocketOptions, Timer, net};
use tokio::runtime::Handle;
use tokio::time::Sleep;

use crate::socket::TokioSocket;

/// A tokio runtime, with its I/O and time drivers enabled.
///
/// It keeps a handle, so that a client may be made, used and dropped outside of the runtime's own threads too.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: Handle,
    start: tokio::time::Instant,
}

impl TokioRuntime {
    /// The runtime that the caller runs in. Its clock starts now.
    ///
    /// # Errors
    ///
    /// The caller does not run in one.
    pub fn current() -> io::Result<Self> {
        Handle::try_current().map(Self::new).map_err(io::Error::other)
    }

    /// The runtime behind `handle`. The clock starts now.
    pub fn new(handle: Handle) -> Self {
        Self { handle, start: tokio::time::Instant::now() }
    }
}

impl Runtime for TokioRuntime {
    type Socket = TokioSocket;
    type Timer = TokioTimer;

    fn now(&self) -> Instant {
        let elapsed = self.start.elapsed().as_micros();
        Instant::from_micros(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    fn timer(&self) -> TokioTimer {
        TokioTimer { runtime: self.clone(), at: None, sleep: None, armed: None }
    }

    fn spawn(&self, future: BoxFuture<()>) {
        drop(self.handle.spawn(future));
    }

    /// Binds a UDP socket.
    ///
    /// # Panics
    ///
    /// If the runtime was built without `enable_io`.
    fn bind(&self, addr: SocketAddr, options: &SocketOptions) -> io::Result<TokioSocket> {
        let _inside = self.handle.enter();
        TokioSocket::new(net::Socket::bind(addr, options)?)
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<io::Result<Vec<UdpAddr>>> {
        let host = host.to_owned();
        let handle = self.handle.clone();
        Box::pin(async move {
            // `lookup_host` takes the blocking pool of the runtime that it is called in, and this may be none.
            let lookup = handle.spawn(async move { tokio::net::lookup_host((host, port)).await.map(unique) });
            lookup.await.map_err(io::Error::other)?
        })
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        net::interface_index(name)
    }
}

/// Each address once, in the order given: some resolvers repeat one for each socket type.
fn unique(found: impl Iterator<Item = SocketAddr>) -> Vec<UdpAddr> {
    let mut all = Vec::new();
    for addr in found.map(UdpAddr::new) {
        if !all.contains(&addr) {
            all.push(addr);
        }
    }
    all
}

/// A deadline on tokio's timer wheel, which counts whole milliseconds and rounds up.
pub struct TokioTimer {
    runtime: TokioRuntime,
    at: Option<Instant>,
    /// Made when first needed.
    sleep: Option<Pin<Box<Sleep>>>,
    /// When `sleep` ends, unless it has ended. A deadline moves with almost every datagram, mostly to later: then the
    /// wheel is left alone, and the timer waits again when it is woken too early.
    armed: Option<Instant>,
}

impl TokioTimer {
    fn arm(&mut self, at: Instant) -> Pin<&mut Sleep> {
        let earlier = self.armed.is_none_or(|armed| at < armed);
        let deadline = self.runtime.start.checked_add(Duration::from_micros(at.as_micros()));
        // Beyond what the system's clock can count; long before, the timer is asked again.
        let deadline = deadline.unwrap_or_else(|| tokio::time::Instant::now() + Duration::from_secs(86_400));
        let sleep = self.sleep.get_or_insert_with(|| {
            let _inside = self.runtime.handle.enter();
            Box::pin(tokio::time::sleep_until(deadline))
        });
        if earlier {
            sleep.as_mut().reset(deadline);
            self.armed = Some(at);
        }
        sleep.as_mut()
    }
}

impl Timer for TokioTimer {
    fn set(&mut self, at: Option<Instant>) {
        self.at = at;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(at) = self.at {
            if self.runtime.now() >= at {
                self.at = None;
                return Poll::Ready(());
            }
            ready!(self.arm(at).poll(cx));
            self.armed = None;
        }
        Poll::Pending
    }
}

impl fmt::Debug for TokioTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioTimer").field("at", &self.at).finish_non_exhaustive()
    }
}
