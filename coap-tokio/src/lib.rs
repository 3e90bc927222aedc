//! CoAP for [tokio]: the client and server of `coap-driver` on tokio's sockets, timers and tasks.
//!
//! ```no_run
//! use coap_tokio::router::{Path, Router, get};
//! use coap_tokio::{Client, Error, Server};
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

mod reader;
mod runtime;
#[cfg(unix)]
mod socket;
#[cfg(not(unix))]
#[path = "socket_other.rs"]
mod socket;

use std::io;

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
#[cfg(any(feature = "dtls", feature = "webrtc-dtls"))]
pub use coap_driver::{SessionInfo, dtls};
pub use reader::TokioReader;
pub use runtime::{TokioRuntime, TokioTimer};
pub use socket::TokioSocket;

/// Sends requests: see [`coap_driver::Client`].
pub type Client = coap_driver::Client<TokioRuntime>;

/// Answers requests: see [`coap_driver::Server`].
pub type Server = coap_driver::Server<TokioRuntime>;

/// A server at work: see [`coap_driver::Serve`].
pub type Serve = coap_driver::Serve<TokioRuntime>;

/// Ends a server: see [`coap_driver::ShutdownHandle`].
pub type ShutdownHandle = coap_driver::ShutdownHandle<TokioRuntime>;

/// The settings of a client or server: see [`coap_driver::Builder`].
pub type Builder = coap_driver::Builder<TokioRuntime>;

/// A request to be sent: see [`coap_driver::RequestBuilder`].
pub type RequestBuilder = coap_driver::RequestBuilder<TokioRuntime>;

/// A question for links: see [`coap_driver::DiscoverBuilder`].
pub type DiscoverBuilder = coap_driver::DiscoverBuilder<TokioRuntime>;

/// The answers of a group: see [`coap_driver::GroupResponses`].
pub type GroupResponses = coap_driver::GroupResponses<TokioRuntime>;

/// What the servers of a group have: see [`coap_driver::GroupDiscovery`].
pub type GroupDiscovery = coap_driver::GroupDiscovery<TokioRuntime>;

/// A response that is read as it comes: see [`coap_driver::Download`].
pub type Download = coap_driver::Download<TokioRuntime>;

/// What happens to the requests of a client: see [`coap_driver::ClientEvents`].
pub type ClientEvents = coap_driver::ClientEvents<TokioRuntime>;

/// An observation to be started: see [`coap_driver::ObserveBuilder`].
pub type ObserveBuilder = coap_driver::ObserveBuilder<TokioRuntime>;

/// The states of a resource, as they come: see [`coap_driver::Observation`].
pub type Observation = coap_driver::Observation<TokioRuntime>;

impl CurrentRuntime for TokioRuntime {
    fn current() -> io::Result<Self> {
        Self::current()
    }
}

/// The examples of the document are code that compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/parity.md")]
mod parity {}
