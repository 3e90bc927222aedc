//! Who the other end of a session has shown to be.

use rustls_pki_types::CertificateDer;

/// Who the other end of a session has shown to be: what authorisation goes by, as an address proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerIdentity {
    /// Whoever knows the key of this identity.
    Psk(Vec<u8>),
    /// The owner of the first of these certificates; what follows are the intermediates that were shown, where the backend
    /// tells them.
    Certificate(Vec<CertificateDer<'static>>),
    /// It has shown nothing: a client without a certificate, at a server that takes such.
    Anonymous,
}
