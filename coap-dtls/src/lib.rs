//! Secure sessions for CoAP (RFC 7252 §9): an endpoint and a DTLS session layer in one state machine.
#![forbid(unsafe_code)]

mod backend;
mod config;
mod credentials;
mod engine;
mod identity;
#[cfg(feature = "webrtc-dtls")]
mod keys;
#[cfg(feature = "webrtc-dtls")]
mod record;
mod verify;
#[cfg(feature = "webrtc-dtls")]
mod window;

pub use config::{Backend, ClientAuth, ClientSecurity, EmsPolicy, HandshakeTimer, ServerSecurity, Versions};
pub use credentials::{CertifiedKey, ClientPsk, PskKey, PskLookup, PskStore};
pub use identity::PeerIdentity;
pub use verify::{CertificateError, PeerVerifier, Role, ServerName};
