//! Secure sessions for CoAP (RFC 7252 §9): an endpoint and a DTLS session layer in one state machine.
#![forbid(unsafe_code)]
// Without a backend nothing can be built, and what backends are made from is not read.
#![cfg_attr(not(any(feature = "dimpl", feature = "webrtc-dtls")), allow(dead_code))]

#[cfg_attr(not(feature = "dimpl"), allow(dead_code, reason = "what only a handshake that goes on needs"))]
mod attempts;
mod authorities;
mod backend;
mod builder;
mod capabilities;
mod config;
mod cookie;
mod credentials;
mod dial;
mod engine;
mod files;
#[cfg_attr(not(feature = "dimpl"), allow(dead_code, reason = "what only a stateless cookie needs"))]
mod hello;
mod hellos;
mod identity;
#[cfg(any(test, feature = "keygen"))]
pub mod keygen;
#[cfg(feature = "webrtc-dtls")]
mod keys;
mod layer;
mod limits;
mod outbox;
mod pace;
mod pem;
#[cfg(any(feature = "dimpl", feature = "webrtc-dtls"))]
#[cfg_attr(not(feature = "webrtc-dtls"), allow(dead_code, reason = "what only a filter in front of a library needs"))]
mod record;
#[cfg_attr(not(feature = "dimpl"), allow(dead_code, reason = "what only a handshake that goes on needs"))]
mod record_header;
mod secure;
mod signatures;
#[cfg(any(feature = "dimpl", feature = "webrtc-dtls"))]
mod standing;
mod stats;
mod suite;
mod table;
mod verify;
mod watch;
#[cfg(any(feature = "dimpl", feature = "webrtc-dtls"))]
mod window;

pub use authorities::WebPkiVerifier;
pub use builder::{ClientEnd, ConfigError, SecurityBuilder, SecurityConfig, ServerEnd};
pub use capabilities::{Capabilities, Capability};
pub use config::{Backend, CertConfig, ClientAuth, ClientSecurity, EmsPolicy, SecurityMode, ServerSecurity, Versions};
pub use credentials::{CertifiedKey, ClientPsk, CredentialError, PskKey, PskLookup, PskStore, PskTable};
pub use dial::ConnectError;
pub use files::{FileError, certificates_from_file, certificates_from_pem};
pub use identity::PeerIdentity;
pub use limits::{Limits, LimitsBuilder, LimitsError};
pub use rustls_pki_types::CertificateDer;
pub use secure::{ListenError, SecureEndpoint, Session};
pub use stats::{Ends, SessionStats};
pub use suite::{CipherSuite, SuiteUse, UnknownCipherSuite};
pub use verify::{
    CertificateError, DangerousAcceptAny, NoServerName, PeerVerifier, Role, ServerName, SpkiPins, spki_sha256,
};
pub use watch::SessionMessage;

/// The examples of the document are code that compiles.
#[cfg(all(doctest, feature = "dimpl"))]
#[doc = include_str!("../../docs/dtls.md")]
mod document {}

/// And so is the one of the page about this crate.
#[cfg(all(doctest, feature = "dimpl"))]
#[doc = include_str!("../README.md")]
mod readme {}
