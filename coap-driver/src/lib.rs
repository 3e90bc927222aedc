//! The asynchronous side of CoAP, written once for every runtime.
//!
//! A runtime is three small traits: [`Runtime`], [`Timer`] and [`UdpSocket`]. What [`net`] has is enough to write one over
//! any reactor.

pub mod net;
pub mod router;
mod runtime;

pub use runtime::{BoxFuture, Received, RecvBatch, Runtime, SocketOptions, Timer, UdpSocket};
