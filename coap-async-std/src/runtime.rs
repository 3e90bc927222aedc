//! The clock, timers, tasks and names of an async-io runtime.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;

use coap_core::{Instant, UdpAddr};
use coap_driver::{BodySource, BoxFuture, BoxReader, Runtime, SocketOptions, Timer, net};
use futures_io::AsyncRead;

use crate::socket::AsyncStdSocket;

/// The reactor of async-io, which runs on a thread of its own, and an executor for tasks.
#[derive(Clone)]
pub struct AsyncStdRuntime {
    start: std::time::Instant,
    spawn: Arc<dyn Fn(BoxFuture<()>) + Send + Sync>,
}

impl AsyncStdRuntime {
    /// Tasks go to async-std's executor. The clock starts now.
    #[cfg(feature = "async-std")]
    pub fn new() -> Self {
        Self::with_spawner(|task| drop(async_std::task::spawn(task)))
    }

    /// Tasks go to `spawn`, which runs each to its end: `|task| smol::spawn(task).detach()`. The clock starts now.
    pub fn with_spawner(spawn: impl Fn(BoxFuture<()>) + Send + Sync + 'static) -> Self {
        Self { start: std::time::Instant::now(), spawn: Arc::new(spawn) }
    }
}

#[cfg(feature = "async-std")]
impl Default for AsyncStdRuntime {
    fn default() -> Self {
        Self::new()
    }
}

/// Whatever async-std and smol read can be the content of a request.
impl<T: AsyncRead + Send + 'static> BodySource<T> for AsyncStdRuntime {
    fn reader(source: T) -> BoxReader {
        Box::pin(source)
    }
}

impl Runtime for AsyncStdRuntime {
    type Socket = AsyncStdSocket;
    type Timer = AsyncStdTimer;

    fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn timer(&self) -> AsyncStdTimer {
        AsyncStdTimer { runtime: self.clone(), at: None, timer: async_io::Timer::never(), armed: None }
    }

    fn spawn(&self, future: BoxFuture<()>) {
        (self.spawn)(future);
    }

    fn bind(&self, addr: SocketAddr, options: &SocketOptions) -> io::Result<AsyncStdSocket> {
        AsyncStdSocket::new(net::Socket::bind(addr, options)?)
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<io::Result<Vec<UdpAddr>>> {
        let host = host.to_owned();
        Box::pin(blocking::unblock(move || {
            let mut all = Vec::new();
            // Each address once: some resolvers repeat one for each socket type.
            for addr in (host.as_str(), port).to_socket_addrs()?.map(UdpAddr::new) {
                if !all.contains(&addr) {
                    all.push(addr);
                }
            }
            Ok(all)
        }))
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        net::interface_index(name)
    }
}

impl fmt::Debug for AsyncStdRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncStdRuntime").field("start", &self.start).finish_non_exhaustive()
    }
}

/// A deadline that async-io's reactor waits for.
pub struct AsyncStdTimer {
    runtime: AsyncStdRuntime,
    at: Option<Instant>,
    timer: async_io::Timer,
    /// When `timer` ends, unless it has ended. A deadline moves with almost every datagram, mostly to later: then the
    /// reactor is left alone, which it would otherwise have to be woken for, and the timer waits again when it is woken
    /// too early.
    armed: Option<Instant>,
}

impl AsyncStdTimer {
    fn arm(&mut self, at: Instant) -> Pin<&mut async_io::Timer> {
        if self.armed.is_none_or(|armed| at < armed) {
            let deadline = self.runtime.start.checked_add(Duration::from_micros(at.as_micros()));
            // Beyond what the system's clock can count is never.
            self.timer = deadline.map_or_else(async_io::Timer::never, async_io::Timer::at);
            self.armed = Some(at);
        }
        Pin::new(&mut self.timer)
    }
}

impl Timer for AsyncStdTimer {
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

impl fmt::Debug for AsyncStdTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncStdTimer").field("at", &self.at).finish_non_exhaustive()
    }
}
