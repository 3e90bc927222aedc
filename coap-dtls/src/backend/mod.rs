//! The libraries that do the handshakes, each behind the seam of `engine.rs`.

#[cfg(feature = "dimpl")]
pub(crate) mod dimpl;
#[cfg(feature = "webrtc-dtls")]
pub(crate) mod webrtc;

/// A backend cannot be made from what was wished, though nothing is known to be wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;
