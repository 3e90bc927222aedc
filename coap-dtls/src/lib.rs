//! Secure sessions for CoAP (RFC 7252 §9): an endpoint and a DTLS session layer in one state machine.
#![forbid(unsafe_code)]

mod config;
mod credentials;
mod engine;
mod identity;
mod verify;

pub use config::{Backend, ClientAuth, ClientSecurity, EmsPolicy, HandshakeTimer, ServerSecurity, Versions};
pub use credentials::{CertifiedKey, ClientPsk, PskKey, PskLookup, PskStore};
pub use identity::PeerIdentity;
pub use verify::{CertificateError, PeerVerifier, Role, ServerName};
