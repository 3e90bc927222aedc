//! CoAP for async-std, and for smol: the sockets and timers of async-io for the client and server of `coap-driver`.
//!
//! async-std is discontinued upstream. Everything but starting a task goes to async-io, the reactor beneath async-std and
//! smol: without the feature `async-std` (on by default), [`AsyncStdRuntime::with_spawner`] names the executor.

mod runtime;
mod socket;

pub use runtime::{AsyncStdRuntime, AsyncStdTimer};
pub use socket::AsyncStdSocket;
