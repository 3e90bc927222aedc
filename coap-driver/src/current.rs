//! The runtime that one runs in.

use std::io;

use crate::runtime::Runtime;

/// A runtime that a program can be inside of, so that [`Client::bind`](crate::Client::bind) and
/// [`Server::bind`](crate::Server::bind) find it by themselves.
pub trait CurrentRuntime: Runtime {
    /// The runtime that the caller runs in.
    ///
    /// # Errors
    /// The caller runs in none.
    fn current() -> io::Result<Self>;
}
