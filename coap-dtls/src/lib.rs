//! Secure sessions for CoAP (RFC 7252 §9): an endpoint and a DTLS session layer in one state machine.
#![forbid(unsafe_code)]

mod backend;
mod builder;
mod capabilities;
mod config;
mod credentials;
mod engine;
mod files;
mod identity;
#[cfg(feature = "webrtc-dtls")]
mod keys;
mod pem;
#[cfg(feature = "webrtc-dtls")]
mod record;
mod verify;
#[cfg(feature = "webrtc-dtls")]
mod window;

pub use builder::{ClientEnd, ConfigError, SecurityBuilder, SecurityConfig, ServerEnd};
pub use capabilities::{Capabilities, Capability};
pub use config::{Backend, CertConfig, ClientAuth, ClientSecurity, EmsPolicy, SecurityMode, ServerSecurity, Versions};
pub use credentials::{CertifiedKey, ClientPsk, CredentialError, PskKey, PskLookup, PskStore, PskTable};
pub use files::{FileError, certificates_from_file, certificates_from_pem};
pub use identity::PeerIdentity;
pub use rustls_pki_types::CertificateDer;
pub use verify::{CertificateError, PeerVerifier, Role, ServerName};
