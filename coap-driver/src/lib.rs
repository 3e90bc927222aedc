//! The asynchronous side of CoAP, written once for every runtime: [`Client`], [`Server`] and [`router::Router`].
//!
//! A runtime is three small traits: [`Runtime`], [`Timer`] and [`UdpSocket`]; what [`net`] has is enough to write one over
//! any reactor. Applications use them through an adapter
//! (`coap-tokio`, `coap-async-std`), which names the types of its runtime and re-exports what is here.
//!
//! ```no_run
//! # use coap_driver::{Client, CurrentRuntime, Error, Server, router::{Router, get}};
//! # async fn example<R: CurrentRuntime>() -> Result<(), Error> {
//! let client = Client::<R>::bind("[::]:0").await?;
//! let reply = client.get("coap://[2001:db8::1]/sensors/temp").await?;
//! println!("{} {:?}", reply.code, reply.text());
//!
//! let router = Router::new().route("/hello", get(async || "hello"));
//! Server::<R>::bind("[::]:5683").await?.serve(router).await
//! # }
//! ```
//!
//! What is longer than a datagram goes block by block (RFC 7959), and nobody needs to know: [`RequestBuilder`] gives whole
//! responses, or a [`Download`] that is read as it comes, and [`RequestBuilder::body`] sends what a reader gives.
//! [`Client::observe`] follows a resource as it changes (RFC 7641): [`Observation`]. A handler takes content whole or as a
//! [`router::BodyReader`], and answers with content or with what a reader gives ([`router::Streamed`]); a
//! [`router::Resource`] tells all who observe it that it has changed.
//!
//! One task drives the sockets of a client or server. Handles call the endpoint under a lock and leave a waker; the
//! task does the rest:
//!
//! ```text
//!   sockets ──► receive ──► Endpoint ──► events ──► wakers of requests
//!      ▲                       ▲           └──────► handlers, polled once; a task each for those that wait
//!      └──────── send ◄────────┴── responses ◄─────────┘
//! ```

/// Secure sessions: keys, certificates, and the configurations that are made of them.
#[cfg(feature = "dtls")]
pub use coap_dtls as dtls;

mod abort;
mod builder;
mod client;
mod counts;
mod current;
mod deadline;
mod discover;
mod download;
mod drive;
mod error;
mod events;
mod feed;
mod group;
mod handling;
mod kind;
pub mod net;
mod observation;
mod observing;
mod place;
mod progress;
mod proxy;
mod queues;
mod race;
mod reply;
mod request;
mod resource;
mod resume;
pub mod router;
mod runtime;
mod server;
mod serving;
mod sessions;
mod settings;
mod shared;
mod sockets;
mod state;
mod target;
mod timeout;
#[cfg(feature = "tokio")]
mod tokio_read;
mod topics;
mod traffic;
mod transport;
#[cfg(any(feature = "json", feature = "cbor"))]
mod typed;
mod upload;
mod waiting;

pub use abort::AbortHandle;
pub use builder::{BindAddr, Builder};
pub use client::Client;
pub use counts::SocketStats;
pub use current::CurrentRuntime;
pub use discover::{DiscoverBuilder, DiscoverError, DiscoveredLink, Discovery, GroupDiscovery};
pub use download::Download;
pub use error::{Error, Unreachable};
pub use events::{ClientEvent, ClientEvents, RequestNumber};
pub use group::GroupResponses;
pub use kind::{ErrorKind, Stage};
pub use observation::{Observation, ObserveBuilder, Observed};
pub use progress::Progress;
pub use proxy::{Proxy, ProxyForm};
pub use reply::Reply;
pub use request::{PingBuilder, RequestBuilder};
pub use resume::{Resume, ResumeError};
pub use runtime::{BoxFuture, Received, RecvBatch, Runtime, SocketOptions, Timer, UdpSocket};
pub use server::{Serve, Server, ShutdownHandle};
#[cfg(feature = "dtls")]
pub use sessions::SessionInfo;
pub use target::{IntoTarget, Target};
pub use traffic::{Direction, Traffic};
pub use transport::Transport;
#[cfg(feature = "cbor")]
pub use typed::Cbor;
#[cfg(feature = "json")]
pub use typed::Json;
#[cfg(any(feature = "json", feature = "cbor"))]
pub use typed::PayloadError;
pub use upload::{BodySource, BoxReader};
