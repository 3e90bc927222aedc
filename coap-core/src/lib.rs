//! CoAP (RFC 7252) as a pure state machine.
//!
//! An [`Endpoint`] takes datagrams and the time in, and gives datagrams, the time of its next timer, and events out. It
//! does no I/O, reads no clock, starts no thread, and needs `alloc` only. It is client and server at once.
//!
//! Goals: what RFC 7252 says, in full; every table with a bound and a known loser; the same inputs, the same outputs, to
//! the byte; a caller's loop that cannot be wrong. Not goals: sockets, runtimes and name resolution (see `coap-driver`
//! and its adapters), CoAP over TCP, proxies.
//!
//! # The loop
//!
//! After every call that changes something: send what [`poll_transmit`](Endpoint::poll_transmit) has, act on what
//! [`poll_event`](Endpoint::poll_event) has, sleep until [`poll_timeout`](Endpoint::poll_timeout).
//!
//! ```
//! use coap_core::*;
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let (mut now, rng) = (Instant::ZERO, ChaCha20Rng::seed_from_u64(1));
//! let mut endpoint = Endpoint::new(Config::default(), rng);
//! let server = Peer::from(std::net::SocketAddr::from(([192, 0, 2, 1], 5_683)));
//! let id = endpoint.request(now, server, Request::get(), &RequestOptions::new())?;
//!
//! let mut buf = [0; 1_152];
//! while let Some(transmit) = endpoint.poll_transmit(&mut buf) {
//!     // socket.send_to(&buf[..transmit.len], transmit.to)
//! #   let request = Message::decode(buf[..transmit.len].to_vec().into()).unwrap();
//! #   let answer = Message { kind: Type::Acknowledgement, code: Code::CONTENT, ..request };
//! #   let mut out = [0; 64];
//! #   let len = answer.encode(&mut out).unwrap();
//! #   let payload = out[..len].to_vec().into();
//! #   endpoint.handle_datagram(now, Datagram { from: server, to: Local::default(), payload });
//! }
//! // A datagram arrived: endpoint.handle_datagram(now, datagram)
//! // The time that poll_timeout() named has come: endpoint.handle_timeout(now)
//! while let Some(event) = endpoint.poll_event() {
//!     match event {
//!         Event::Response { id: of, response, .. } => assert_eq!((of, response.code), (id, Code::CONTENT)),
//!         Event::Request(request) => endpoint.respond(now, request.id, Response::new(Code::NOT_FOUND))?,
//!         _ => {}
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/own_loop.rs` has the whole of it, over sockets of the standard library.
//!
//! # The rooms
//!
//! | room | what lives there |
//! |---|---|
//! | `endpoint/` | the one door; the only place that knows two rooms at once |
//! | [`wire`] | messages, options, codes, tokens: what travels |
//! | [`uri`] | URIs and the options that they become (RFC 7252 §6) |
//! | [`link_format`] | links, as discovery has them, and filters on them (RFC 6690) |
//! | `reliability/` | the message layer: in flight, back-off, Message IDs, deduplication (§4) |
//! | `exchange/` | requests that we sent, requests that we received (§5) |
//! | `blockwise/` | bodies that travel block by block (RFC 7959) |
//! | `observe/` | what we observe; topics and who observes them (RFC 7641) |
//! | `echo` | proof that a peer is where it says it is, and when (RFC 9175 §2) |
//! | `overload/` | what servers want later, and how often we say so of ourselves (RFC 8516) |
//! | `peers`, `slab`, `links`, `deadlines`, `outbox` | whom we know, and how things are kept and waited for |
//! | `config`, `transmission`, `stats`, `event`, `message`, `addr`, `time` | what goes in and comes out |
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![warn(clippy::std_instead_of_alloc)]

extern crate alloc;

mod addr;
mod blockwise;
mod config;
mod deadlines;
mod echo;
mod endpoint;
mod event;
mod exchange;
mod hash;
pub mod link_format;
mod links;
mod message;
mod observe;
mod outbox;
mod overload;
mod peers;
mod reliability;
mod slab;
mod stats;
mod time;
mod transmission;
pub mod uri;
pub mod wire;

pub use addr::{Datagram, Local, Peer, SessionId, Transmit, UdpAddr};
pub use config::{Config, ConfigBuilder, ConfigError, OnChallenge, OnChange, UnprovenLimit};
pub use endpoint::{Endpoint, Place, RequestError, RespondError, Scope, SupplyError, TransmissionError, Usage, Why};
pub use event::{BlockFailure, BodyId, Closed, Event, Failure, IncomingId, IncomingRequest, RequestId, Timing, Wanted};
pub use link_format::{Link, LinkFormatError};
pub use message::{BlockSize, Body, Request, RequestOptions, Reregistration, Response};
pub use observe::{ObserverId, Reliability, TopicId, TopicOptions};
pub use stats::Stats;
pub use time::Instant;
pub use transmission::{ParameterError, TransmissionBuilder, TransmissionParameters};
pub use uri::{Host, Scheme, Uri, UriError};
pub use wire::{
    BadOption, Block, Code, ContentFormat, DecodeError, ETag, EncodeError, Format, Header, Malformed, Message,
    OptionDefinition, OptionError, OptionNumber, OptionProblem, Options, OptionsIter, Token, Type, option_definitions,
};
