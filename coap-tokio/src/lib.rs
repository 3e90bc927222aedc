//! CoAP for [tokio]: its sockets, timers and tasks for the client and server of `coap-driver`.

mod runtime;
#[cfg(unix)]
mod socket;
#[cfg(not(unix))]
#[path = "socket_other.rs"]
mod socket;

pub use runtime::{TokioRuntime, TokioTimer};
pub use socket::TokioSocket;
