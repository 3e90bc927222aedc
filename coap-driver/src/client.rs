//! The client: a handle that makes requests.

use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::Waker;
use std::sync::{Arc, Mutex, PoisonError};

use coap_core::{Body, Code, Instant, Peer, Request, Scope, Stats, TransmissionError, TransmissionParameters};

use crate::builder::{BindAddr, Builder};
use crate::counts::SocketStats;
use crate::current::CurrentRuntime;
use crate::deadline::Deadline;
use crate::discover::DiscoverBuilder;
use crate::error::Error;
use crate::events::RequestNumber;
use crate::observation::ObserveBuilder;
use crate::observing::{Place, Which};
use crate::proxy::{Proxy, Through};
use crate::race::{Destination, resolve};
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
/// * A request to a group (RFC 7252 §8) must be Non-confirmable, and ends with the first response; all of them are what
///   [`RequestBuilder::multicast`] gives.
/// * The sockets are closed when all clones are gone.
pub struct Client<R: Runtime> {
    group: Arc<Group<R>>,
}

/// All clones of a client.
struct Group<R: Runtime> {
    shared: Arc<Shared<R>>,
    id: ClientId,
    closed: AtomicBool,
    /// How often it was disconnected.
    epoch: AtomicU64,
    /// How many requests were numbered.
    numbered: AtomicU64,
    proxy: Mutex<Option<Proxy>>,
    /// How long requests wait for servers that want them later, in microseconds.
    back_off_wait: AtomicU64,
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
        let (closed, epoch, numbered) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let (proxy, back_off_wait) = (Mutex::new(None), AtomicU64::new(0));
        Self { group: Arc::new(Group { shared, id, closed, epoch, numbered, proxy, back_off_wait }) }
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

    /// A request that was made elsewhere: its method, options and content, for `target`. Its options come after those that
    /// the target is made into.
    ///
    /// ```no_run
    /// # use coap_core::{Code, ContentFormat, Request};
    /// # use coap_driver::{Client, Error, Runtime};
    /// # async fn example<R: Runtime>(client: Client<R>) -> Result<(), Error> {
    /// let question = Request::new(Code::FETCH).with_content(ContentFormat::JSON, r#"["on"]"#);
    /// for host in ["coap://192.0.2.1/lamp", "192.0.2.2/lamp"] {
    ///     println!("{:?}", client.send(host, question.clone()).await?.text());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn send(&self, target: impl IntoTarget, request: Request) -> RequestBuilder<R> {
        self.request(request.code, target).with_request(request)
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
    /// Found are those of this URI, with a proxy of their own or not, and those that were asked of the same peer in the same way
    /// under another, as by its address.
    ///
    /// # Errors
    /// The target is none; or there is no observation of this URI, and its name has no address.
    pub async fn cancel_observation(&self, target: impl IntoTarget) -> Result<usize, Error> {
        let target = target.into_target()?;
        let mut options = target.options();
        let place = Place::new(&target, &options);
        let leave = |which: Which<'_>| {
            let mut wake = Vec::new();
            let observers = self.shared().command(|state, now| state.leave_resource(now, which, &mut wake));
            wake.into_iter().for_each(Waker::wake);
            observers
        };
        // First without the name server: it may be the proxy's business to know the name.
        let found = leave(Which { place: place.as_ref(), peers: &[], options: &options });
        let target = Through::default().route(self.proxy(), target, &mut options)?;
        let Destination { mut peers, secure } = match resolve(self, &target, Deadline::new(self, None)).await {
            Ok(destination) => destination,
            Err(_) if found > 0 => return Ok(found),
            Err(error) => return Err(error),
        };
        if let Some(secure) = &secure {
            let state = self.shared().lock();
            let addrs = peers.iter().filter_map(Peer::udp);
            peers = addrs.filter_map(|addr| state.session_with(addr, secure)).collect();
        }
        Ok(found + leave(Which { place: None, peers: &peers, options: &options }))
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

    /// Sends the requests and observations that are begun from now on through a proxy, except those that have their own
    /// ([`RequestBuilder::proxy`]), want none, or are for a peer rather than a URI. `None`: to their targets.
    pub fn set_proxy(&self, proxy: Option<Proxy>) {
        *self.group.proxy.lock().unwrap_or_else(PoisonError::into_inner) = proxy;
    }

    /// The proxy of the client.
    pub fn proxy(&self) -> Option<Proxy> {
        self.group.proxy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the endpoint has counted.
    pub fn stats(&self) -> Stats {
        self.group.shared.lock().endpoint.stats()
    }

    /// What the sockets have not let through.
    pub fn socket_stats(&self) -> SocketStats {
        self.group.shared.lock().socket_stats
    }

    /// Ends all requests, downloads and observations of this client and its clones with [`Error::Disconnected`], those that wait
    /// for a name or for their turn included, and tells the servers that nobody observes any more. Secure sessions that no other
    /// client on the same sockets uses are closed with close_notify. What is sent afterwards is not concerned, but for a new
    /// handshake: the sockets stay, and a server on them goes on.
    pub fn disconnect(&self) {
        let mut wake = Vec::new();
        self.group.shared.command(|state, now| {
            // Under the lock: what starts after it belongs to the next epoch, what started before is ended here.
            self.group.epoch.fetch_add(1, Ordering::Relaxed);
            state.close_client(now, self.group.id, &mut wake);
            state.hang_up(now, self.group.id);
        });
        wake.into_iter().for_each(Waker::wake);
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
        self.was_closed() || self.group.shared.lock().phase == Phase::Closed
    }

    /// Somebody has called [`close`](Self::close). For callers that hold the lock.
    pub(crate) fn was_closed(&self) -> bool {
        self.group.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn back_off_wait(&self) -> &AtomicU64 {
        &self.group.back_off_wait
    }

    pub(crate) fn draw_number(&self) -> RequestNumber {
        RequestNumber::new(self.group.numbered.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// How often it was disconnected: what began in an earlier epoch has ended.
    pub(crate) fn epoch(&self) -> u64 {
        self.group.epoch.load(Ordering::Relaxed)
    }

    /// The end of what began in `epoch`, by its name.
    pub(crate) fn name_end(&self, epoch: u64, error: Error) -> Error {
        let disconnected = matches!(error, Error::Closed) && self.epoch() != epoch && !self.is_closed();
        if disconnected { Error::Disconnected } else { error }
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
            state.hang_up(now, self.id);
            state.feeds.close(Some(self.id), &mut wake);
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
