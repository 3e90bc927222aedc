//! What one shows to the other end, and the keys for it.

use core::fmt;
use std::sync::Arc;

use coap_core::UdpAddr;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

/// A pre-shared key. It is overwritten when it is dropped, and never printed.
#[derive(Clone)]
pub struct PskKey(Arc<Zeroizing<Vec<u8>>>);

impl PskKey {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PskKey(..)")
    }
}

/// What a client with a pre-shared key shows.
#[derive(Clone, Debug)]
pub struct ClientPsk {
    pub(crate) identity: Vec<u8>,
    pub(crate) key: PskKey,
}

/// The keys of a server, by identity.
pub trait PskStore: Send + Sync {
    /// The key of `identity`, for a client at `peer`, whose address has been proven where the backend can do so first.
    fn lookup(&self, identity: &[u8], peer: UdpAddr) -> PskLookup;
}

/// What a [`PskStore`] finds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PskLookup {
    /// The key.
    Key(PskKey),
    /// There is none. The client cannot tell this from a wrong key.
    Unknown,
}

/// A certificate, the intermediates between it and an authority, and its private key.
#[derive(Clone)]
pub struct CertifiedKey {
    /// The own certificate first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// PKCS #8, on the curve P-256.
    pub(crate) key: Arc<PrivateKey>,
}

/// A private key in PKCS #8, overwritten when it is dropped.
pub(crate) struct PrivateKey(pub(crate) Zeroizing<Vec<u8>>);

impl PrivateKey {
    pub(crate) fn der(&self) -> PrivatePkcs8KeyDer<'_> {
        PrivatePkcs8KeyDer::from(self.0.as_slice())
    }
}

impl fmt::Debug for CertifiedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertifiedKey").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}
