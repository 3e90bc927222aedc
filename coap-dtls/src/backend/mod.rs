//! The libraries that do the handshakes, each behind the seam of `engine.rs`.

#[cfg(feature = "webrtc-dtls")]
pub(crate) mod webrtc;
use core::fmt;

/// Why a backend cannot be made from what was wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BackendError {
    /// The private key is not one that it can sign with.
    Key,
    /// It has no room for this: what.
    Unsupported(&'static str),
    /// The library refuses, and says why.
    Library(String),
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("the private key cannot be used"),
            Self::Unsupported(what) => write!(f, "{what} is not supported"),
            Self::Library(reason) => f.write_str(reason),
        }
    }
}
