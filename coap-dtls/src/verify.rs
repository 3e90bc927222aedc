//! Whether the other end is who it should be.

use core::fmt;
use std::time::SystemTime;

use coap_core::SessionEnd;
use rustls_pki_types::CertificateDer;

/// The name that a server must prove to have: the host of the URI, a name of DNS or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName(pub(crate) rustls_pki_types::ServerName<'static>);

/// Which end is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We are the server.
    Client,
    /// We are the client.
    Server,
}

/// Decides whether a certificate is accepted. All backends ask it, and nothing else decides.
pub trait PeerVerifier: Send + Sync {
    /// Looks at the certificate of the peer (first) and the intermediates that it has shown. `role` is the peer's. A client has
    /// a `name` to compare. `now` is for the time in which they are valid.
    ///
    /// # Errors
    /// The peer is not accepted; the handshake ends.
    fn verify(
        &self,
        chain: &[CertificateDer<'static>],
        role: Role,
        name: Option<&ServerName>,
        now: SystemTime,
    ) -> Result<(), CertificateError>;
}

/// Why a certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateError {
    /// No authority that is trusted has signed it.
    UnknownAuthority,
    /// It is for another name.
    NameMismatch,
    /// It is not valid yet, or not any more.
    Expired,
    /// It is malformed, not meant for this use, or refused for another reason.
    Rejected,
}

impl From<CertificateError> for SessionEnd {
    fn from(error: CertificateError) -> Self {
        match error {
            CertificateError::UnknownAuthority => Self::UnknownAuthority,
            CertificateError::NameMismatch => Self::NameMismatch,
            CertificateError::Expired => Self::Expired,
            CertificateError::Rejected => Self::BadCertificate,
        }
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SessionEnd::from(*self).fmt(f)
    }
}

impl core::error::Error for CertificateError {}
