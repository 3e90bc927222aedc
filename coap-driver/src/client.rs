//! The client: a handle that makes requests.

use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;
use std::sync::Arc;

use coap_core::{Body, Code, Instant, Scope, Stats, TransmissionError, TransmissionParameters};

use crate::builder::{BindAddr, Builder};
use crate::counts::SocketStats;
use crate::current::CurrentRuntime;
use crate::discover::DiscoverBuilder;
use crate::error::Error;
use crate::observation::ObserveBuilder;
use crate::race::{Deadline, resolve};
use crate::request::{PingBuilder, RequestBuilder};
use crate::runtime::Runtime;
use crate::shared::Shared;
use crate::state::Phase;
use crate::target::IntoTarget;
use crate::waiting::ClientId;

/// Sends requests. Clones share the socket, and are cheap.
///
/// * A request is sent when its builder is awaited, and dropping the future cancels it: it is not repeated any more, and
///   nothing tells the peer. What has been sent may still be carried out.
/// * Any number of requests can be under way. To one peer, NSTART of them are sent at a time (RFC 7252 §4.7); the others
///   wait for their turn within their timeout.
/// * A request to a group (RFC 7252 §8) must be Non-confirmable, and ends with the first response.
/// * The sockets are closed when all clones are gone.
pub struct Client<R: Runtime> {
    group: Arc<Group<R>>,
}

/// All clones of a client.
struct Group<R: Runtime> {
    shared: Arc<Shared<R>>,
    id: ClientId,
    closed: AtomicBool,
}

impl<R: Runtime> Clone for Client<R> {
    fn clone(&self) -> Self {
        Self { group: self.group.clone() }
    }
}

impl<R: Runtime> Client<R> {
    /// A client on a socket of its own; `[::]:0` for any address and port, of both families.
    ///
    /// # Errors
    /// [`Error::Bind`]: the address is in use, or none of this machine. [`Error::Io`]: the caller does not run in a
    /// runtime.
    pub async fn bind(addr: impl Into<BindAddr>) -> Result<Self, Error>
    where
        R: CurrentRuntime,
    {
        Self::builder(R::current()?).bind(addr).client().await
    }

    /// A client with settings, or several sockets.
    pub fn builder(runtime: R) -> Builder<R> {
        Builder::new(runtime)
    }

    pub(crate) fn new(shared: Arc<Shared<R>>) -> Self {
        let id = shared.command(|state, _| state.add_client());
        Self { group: Arc::new(Group { shared, id, closed: AtomicBool::new(false) }) }
    }

    // ----- Requests --------------------------------------------------------------------------------------------

    /// Reads a resource (RFC 7252 §5.8.1).
    pub fn get(&self, target: impl IntoTarget) -> RequestBuilder<R> {
        self.request(Code::GET, target)
    }

    /// Creates or replaces a resource (RFC 7252 §5.8.3).
    pub fn put(&self, target: impl IntoTarget, content: impl Into<Body>) -> RequestBuilder<R> {
        self.request(Code::PUT, target).payload(content)
    }

    /// Gives content to a resource to process (RFC 7252 §5.8.2).
    pub fn post(&self, target: impl IntoTarget, content: impl Into<Body>) -> RequestBuilder<R> {
        self.request(Code::POST, target).payload(content)
    }

    /// Deletes a resource (RFC 7252 §5.8.4).
    pub fn delete(&self, target: impl IntoTarget) -> RequestBuilder<R> {
        self.request(Code::DELETE, target)
    }

    /// Reads what the content asks for (RFC 8132 §2).
    pub fn fetch(&self, target: impl IntoTarget, content: impl Into<Body>) -> RequestBuilder<R> {
        self.request(Code::FETCH, target).payload(content)
    }

    /// Changes a part of a resource (RFC 8132 §3).
    pub fn patch(&self, target: impl IntoTarget, content: impl Into<Body>) -> RequestBuilder<R> {
        self.request(Code::PATCH, target).payload(content)
    }

    /// Changes a part of a resource; twice is the same as once (RFC 8132 §3).
    pub fn ipatch(&self, target: impl IntoTarget, content: impl Into<Body>) -> RequestBuilder<R> {
        self.request(Code::IPATCH, target).payload(content)
    }

    /// A request with any method.
    pub fn request(&self, method: Code, target: impl IntoTarget) -> RequestBuilder<R> {
        RequestBuilder::new(self.clone(), method, target)
    }

    /// Observes a resource (RFC 7641): its state, and each newer one.
    pub fn observe(&self, target: impl IntoTarget) -> ObserveBuilder<R> {
        ObserveBuilder::new(self.clone(), target)
    }

    /// Ends all observations of a resource on the sockets of this client, and says how many there were. Their streams end
    /// without a last word, and the server is told, once for each registration.
    ///
    /// # Errors
    /// The target is none, or its name has no address.
    pub async fn cancel_observation(&self, target: impl IntoTarget) -> Result<usize, Error> {
        let target = target.into_target()?;
        let peers = resolve(self, &target, Deadline::new(self.now(), None)).await?;
        let mut wake = Vec::new();
        let observers =
            self.shared().command(|state, now| state.leave_resource(now, &peers, &target.options(), &mut wake));
        wake.into_iter().for_each(Waker::wake);
        Ok(observers)
    }

    /// Asks a server what it has (RFC 6690): `/.well-known/core`, or the path of the target if it has one.
    pub fn discover(&self, target: impl IntoTarget) -> DiscoverBuilder<R> {
        DiscoverBuilder::new(self.clone(), target)
    }

    /// Asks whether a peer is there (RFC 7252 §4.3); the result is the round-trip time. Of a URI the path is left out.
    pub fn ping(&self, target: impl IntoTarget) -> PingBuilder<R> {
        PingBuilder::new(self.clone(), target)
    }

    // ----- All else --------------------------------------------------------------------------------------------

    /// The addresses of the sockets.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.group.shared.local_addrs()
    }

    /// Changes the transmission parameters of the endpoint or of a peer, for what is sent from now on.
    ///
    /// # Errors
    /// The parameters do not go together with the other settings.
    pub fn set_transmission(&self, of: Scope, parameters: TransmissionParameters) -> Result<(), TransmissionError> {
        self.group.shared.command(|state, now| state.endpoint.set_transmission(now, of, parameters))
    }

    /// What the endpoint has counted.
    pub fn stats(&self) -> Stats {
        self.group.shared.lock().endpoint.stats()
    }

    /// What the sockets have not let through.
    pub fn socket_stats(&self) -> SocketStats {
        self.group.shared.lock().socket_stats
    }

    /// Ends all requests and observations of this client and its clones with [`Error::Closed`], and refuses further ones. A second call
    /// does nothing. A server on the same socket goes on.
    ///
    /// The end of the runtime that the client was made in does the same.
    pub fn close(&self) {
        self.group.close();
    }

    /// True as well if the driver task has ended, with its runtime or its last socket.
    pub(crate) fn is_closed(&self) -> bool {
        self.group.closed.load(Ordering::Relaxed) || self.group.shared.lock().phase == Phase::Closed
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<R>> {
        &self.group.shared
    }

    pub(crate) fn id(&self) -> ClientId {
        self.group.id
    }

    pub(crate) fn runtime(&self) -> &R {
        self.group.shared.runtime()
    }

    pub(crate) fn now(&self) -> Instant {
        self.runtime().now()
    }
}

impl<R: Runtime> Group<R> {
    fn close(&self) {
        if self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut wake = Vec::new();
        self.shared.command(|state, now| {
            state.close_client(now, self.id, &mut wake);
            state.remove_user();
        });
        wake.into_iter().for_each(Waker::wake);
    }
}

impl<R: Runtime> Drop for Group<R> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<R: Runtime> fmt::Debug for Client<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("local_addrs", &self.local_addrs()).finish_non_exhaustive()
    }
}
