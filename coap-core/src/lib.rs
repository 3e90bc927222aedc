//! CoAP (RFC 7252) as a pure state machine.
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![warn(clippy::std_instead_of_alloc)]

extern crate alloc;

mod addr;
mod config;
mod deadlines;
mod endpoint;
mod event;
mod exchange;
mod hash;
mod links;
mod message;
mod outbox;
mod peers;
mod reliability;
mod slab;
mod stats;
mod time;
mod transmission;
pub mod wire;

pub use addr::{Datagram, Local, Peer, SessionId, Transmit, UdpAddr};
pub use config::{Config, ConfigBuilder, ConfigError};
pub use endpoint::{Endpoint, Place, RequestError, RespondError, Scope, TransmissionError, Usage, Why};
pub use event::{Closed, Event, Failure, IncomingId, IncomingRequest, RequestId, Timing};
pub use message::{Body, Request, RequestOptions, Response};
pub use stats::Stats;
pub use time::Instant;
pub use transmission::{ParameterError, TransmissionBuilder, TransmissionParameters};
pub use wire::{
    BadOption, Block, Code, ContentFormat, DecodeError, ETag, EncodeError, Format, Header, Malformed, Message,
    OptionDefinition, OptionError, OptionNumber, OptionProblem, Options, OptionsIter, Token, Type, option_definitions,
};
