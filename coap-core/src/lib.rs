//! CoAP (RFC 7252) as a pure state machine.
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![warn(clippy::std_instead_of_alloc)]

extern crate alloc;

mod addr;
mod time;
pub mod uri;
pub mod wire;

pub use addr::{Datagram, Local, Peer, SessionId, Transmit, UdpAddr};
pub use time::Instant;
pub use uri::{Host, Scheme, Uri, UriError};
pub use wire::{
    BadOption, Block, Code, ContentFormat, DecodeError, ETag, EncodeError, Format, Header, Malformed, Message,
    OptionDefinition, OptionError, OptionNumber, OptionProblem, Options, OptionsIter, Token, Type, option_definitions,
};
