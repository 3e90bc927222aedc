//! The asynchronous side of CoAP, written once for every runtime.
//!
//! A runtime is three small traits: [`Runtime`], [`Timer`] and [`UdpSocket`].

mod runtime;

pub use runtime::{BoxFuture, Received, RecvBatch, Runtime, SocketOptions, Timer, UdpSocket};
