//! The server: a router on sockets.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use coap_core::Stats;

use crate::builder::{BindAddr, Builder};
use crate::client::Client;
use crate::counts::SocketStats;
use crate::current::CurrentRuntime;
use crate::drive::Driver;
use crate::error::Error;
use crate::router::Router;
use crate::runtime::Runtime;
use crate::shared::Shared;
use crate::state::Doors;

/// Answers requests with a [`Router`].
///
/// * Handlers run at the same time. One that is not done at once does not hold up the others; its peer is told after
///   `Config::ack_delay` that the response will come separately (RFC 7252 §5.2.2).
/// * A handler that panics is answered 5.00, and the server goes on (where panics unwind).
/// * An error of a datagram or of a peer never ends a server.
pub struct Server<R: Runtime> {
    shared: Arc<Shared<R>>,
    /// Until somebody serves, or asks for a client.
    driver: Mutex<Option<Driver<R>>>,
}

impl<R: Runtime> Server<R> {
    /// A server on one socket; `[::]:5683` for the default port on all addresses, of both families.
    ///
    /// # Errors
    /// [`Error::Bind`]: the address is in use, or none of this machine. [`Error::Io`]: the caller does not run in a
    /// runtime.
    pub async fn bind(addr: impl Into<BindAddr>) -> Result<Self, Error>
    where
        R: CurrentRuntime,
    {
        Self::builder(R::current()?).bind(addr).server().await
    }

    /// A server with settings, or several sockets.
    pub fn builder(runtime: R) -> Builder<R> {
        Builder::new(runtime)
    }

    pub(crate) fn new(shared: Arc<Shared<R>>, driver: Driver<R>) -> Self {
        shared.lock().add_server();
        Self { shared, driver: Mutex::new(Some(driver)) }
    }

    /// The address of the (first) socket: what port 0 has become.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addrs().first().copied()
    }

    /// The addresses of the sockets.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.shared.local_addrs()
    }

    /// A client on the same sockets: its peers see the server's address and port, as LwM2M needs it.
    ///
    /// Requests that come before [`serve`](Self::serve) has been called are answered 5.03.
    pub fn client(&self) -> Client<R> {
        let client = Client::new(self.shared.clone());
        self.start();
        client
    }

    /// Ends the server when it is told to. Can be cloned and sent to wherever the end is decided.
    pub fn shutdown_handle(&self) -> ShutdownHandle<R> {
        ShutdownHandle { shared: self.shared.clone() }
    }

    /// What the endpoint has counted.
    pub fn stats(&self) -> Stats {
        self.shared.lock().endpoint.stats()
    }

    /// What the sockets have not let through.
    pub fn socket_stats(&self) -> SocketStats {
        self.shared.lock().socket_stats
    }

    /// Serves. The future ends after [`ShutdownHandle::shutdown`]; dropped before, it stops serving at once.
    ///
    /// # Errors
    /// At once, [`Error::Route`]: a route of the router is wrong.
    pub fn serve(self, router: Router) -> Serve<R> {
        let wrong = router.check().err().cloned();
        if wrong.is_none() {
            self.shared.command(|state, _| state.doors = Doors::Open(Arc::new(router)));
            self.start();
        }
        Serve { server: self, wrong: wrong.map(Error::Route) }
    }

    #[cfg(feature = "dtls")]
    pub(crate) const fn shared(&self) -> &Arc<Shared<R>> {
        &self.shared
    }

    fn start(&self) {
        if let Some(driver) = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.shared.runtime().spawn(Box::pin(driver));
        }
    }
}

impl<R: Runtime> Drop for Server<R> {
    fn drop(&mut self) {
        let doors = self.shared.command(|state, now| {
            state.remove_user();
            state.shut(now)
        });
        drop(doors);
    }
}

impl<R: Runtime> fmt::Debug for Server<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("local_addrs", &self.local_addrs()).finish_non_exhaustive()
    }
}

/// A server at work; made by [`Server::serve`].
#[must_use = "a server stops when this future is dropped"]
#[derive(Debug)]
pub struct Serve<R: Runtime> {
    server: Server<R>,
    wrong: Option<Error>,
}

impl<R: Runtime> Serve<R> {
    /// The addresses of the sockets.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.server.local_addrs()
    }
}

impl<R: Runtime> Unpin for Serve<R> {}

impl<R: Runtime> Future for Serve<R> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(wrong) = self.wrong.take() {
            return Poll::Ready(Err(wrong));
        }
        self.server.shared.lock().poll_closed(cx).map_err(Error::Io)
    }
}

/// Ends a server; made by [`Server::shutdown_handle`].
pub struct ShutdownHandle<R: Runtime> {
    shared: Arc<Shared<R>>,
}

impl<R: Runtime> ShutdownHandle<R> {
    /// Takes no further requests, lets the handlers that are at work finish for up to `grace`, and ends the server.
    /// Peers whose handlers were not done by then are told 5.03. Clients on the same sockets end with it.
    ///
    /// A second call may bring the end nearer, and never puts it off.
    pub fn shutdown(&self, grace: Duration) {
        self.shared.command(|state, now| state.begin_shutdown(now, now + grace));
    }
}

impl<R: Runtime> Clone for ShutdownHandle<R> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<R: Runtime> fmt::Debug for ShutdownHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShutdownHandle")
    }
}

/// Wakes all, outside of any lock.
pub(crate) fn wake_all(wakers: &mut Vec<Waker>) {
    wakers.drain(..).for_each(Waker::wake);
}
