//! CoAP for async-std, and for smol: the sockets and timers of async-io for the client and server of `coap-driver`.
//!
//! async-std is discontinued upstream. Everything but starting a task goes to async-io, the reactor beneath async-std and
//! smol: without the feature `async-std` (on by default), [`AsyncStdRuntime::with_spawner`] names the executor.
//!
//! ```no_run
//! use coap_async_std::router::{Path, Router, get};
//! use coap_async_std::{Client, Error, Server};
//!
//! # async fn ask() -> Result<(), Error> {
//! let client = Client::bind("[::]:0").await?;
//! let reply = client.get("coap://[2001:db8::1]/sensors/temp").await?;
//! println!("{} {:?}", reply.code, reply.text());
//! # Ok(())
//! # }
//!
//! # async fn answer() -> Result<(), Error> {
//! async fn read(Path(id): Path<u32>) -> String {
//!     format!("sensor {id} is well")
//! }
//! Server::bind("[::]:5683").await?.serve(Router::new().route("/sensors/{id}", get(read))).await
//! # }
//! ```

mod runtime;
mod socket;

pub use coap_core;
pub use coap_core::{
    BlockSize, Body, Code, Config, ContentFormat, ETag, Local, OptionNumber, Options, Peer, Request, Reregistration,
    Response, Timing, Token, TransmissionParameters, Type, Uri,
};
#[cfg(feature = "cbor")]
pub use coap_driver::Cbor;
#[cfg(feature = "json")]
pub use coap_driver::Json;
#[cfg(any(feature = "json", feature = "cbor"))]
pub use coap_driver::PayloadError;
pub use coap_driver::{
    AbortHandle, BindAddr, BodySource, BoxReader, ClientEvent, CurrentRuntime, Direction, DiscoverError,
    DiscoveredLink, Discovery, Error, ErrorKind, IntoTarget, Observed, Progress, Proxy, ProxyForm, RecvBatch, Reply,
    RequestNumber, Resume, ResumeError, SocketOptions, SocketStats, Stage, Target, Traffic, Transport, Unreachable,
    router,
};
#[cfg(feature = "dtls")]
pub use coap_driver::{SessionInfo, dtls};
pub use runtime::{AsyncStdRuntime, AsyncStdTimer};
pub use socket::AsyncStdSocket;

/// Sends requests: see [`coap_driver::Client`].
pub type Client = coap_driver::Client<AsyncStdRuntime>;

/// Answers requests: see [`coap_driver::Server`].
pub type Server = coap_driver::Server<AsyncStdRuntime>;

/// A server at work: see [`coap_driver::Serve`].
pub type Serve = coap_driver::Serve<AsyncStdRuntime>;

/// Ends a server: see [`coap_driver::ShutdownHandle`].
pub type ShutdownHandle = coap_driver::ShutdownHandle<AsyncStdRuntime>;

/// The settings of a client or server: see [`coap_driver::Builder`].
pub type Builder = coap_driver::Builder<AsyncStdRuntime>;

/// A request to be sent: see [`coap_driver::RequestBuilder`].
pub type RequestBuilder = coap_driver::RequestBuilder<AsyncStdRuntime>;

/// A question for links: see [`coap_driver::DiscoverBuilder`].
pub type DiscoverBuilder = coap_driver::DiscoverBuilder<AsyncStdRuntime>;

/// The answers of a group: see [`coap_driver::GroupResponses`].
pub type GroupResponses = coap_driver::GroupResponses<AsyncStdRuntime>;

/// What the servers of a group have: see [`coap_driver::GroupDiscovery`].
pub type GroupDiscovery = coap_driver::GroupDiscovery<AsyncStdRuntime>;

/// A response that is read as it comes: see [`coap_driver::Download`].
pub type Download = coap_driver::Download<AsyncStdRuntime>;

/// What happens to the requests of a client: see [`coap_driver::ClientEvents`].
pub type ClientEvents = coap_driver::ClientEvents<AsyncStdRuntime>;

/// An observation to be started: see [`coap_driver::ObserveBuilder`].
pub type ObserveBuilder = coap_driver::ObserveBuilder<AsyncStdRuntime>;

/// The states of a resource, as they come: see [`coap_driver::Observation`].
pub type Observation = coap_driver::Observation<AsyncStdRuntime>;

/// Whoever calls is taken to run in async-std: its executor starts by itself.
#[cfg(feature = "async-std")]
impl CurrentRuntime for AsyncStdRuntime {
    fn current() -> std::io::Result<Self> {
        Ok(Self::new())
    }
}
