//! What one shows to the other end, and the keys for it. Whatever is malformed is found here, before any handshake.

use core::fmt;
use core::panic::AssertUnwindSafe;
use std::collections::HashMap;
use std::panic::catch_unwind;
use std::sync::Arc;

use coap_core::UdpAddr;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::pem;

/// A pre-shared key. It is overwritten when it is dropped, and never printed.
#[derive(Clone)]
pub struct PskKey(Arc<Zeroizing<Vec<u8>>>);

impl PskKey {
    /// As long as OpenSSL takes them; RFC 4279 §5.3 asks for 64 bytes.
    pub const MAX_LENGTH: usize = 512;

    /// A key of 1 to [`MAX_LENGTH`](Self::MAX_LENGTH) bytes. A `Vec` is moved in, not copied, so that no other copy stays in memory.
    ///
    /// A key should be random, and as long as the cipher's (16 bytes): what a person can remember is found by trying, once a
    /// handshake has been overheard (RFC 4279 §7.2).
    ///
    /// # Errors
    /// [`CredentialError::KeyLength`].
    pub fn new(key: impl Into<Vec<u8>>) -> Result<Self, CredentialError> {
        let key = Zeroizing::new(key.into());
        if key.is_empty() || key.len() > Self::MAX_LENGTH {
            return Err(CredentialError::KeyLength { length: key.len() });
        }
        Ok(Self(Arc::new(key)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PskKey(..)")
    }
}

/// The longest identity and the longest hint, in bytes. RFC 4279 §5.3 asks for 128, and its grammar could hold 65,535; but a
/// handshake must fit into what a server keeps of a client that has shown nothing yet.
pub(crate) const MAX_IDENTITY: usize = 1024;

/// What a client with a pre-shared key shows.
#[derive(Clone, Debug)]
pub struct ClientPsk {
    pub(crate) identity: Vec<u8>,
    pub(crate) key: PskKey,
}

impl ClientPsk {
    /// An identity of 1 to 1,024 bytes, which travels in the clear and should be UTF-8 (RFC 4279 §5.1), and its key.
    ///
    /// # Errors
    /// [`CredentialError::IdentityLength`], [`CredentialError::KeyLength`].
    pub fn new(identity: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Result<Self, CredentialError> {
        let key = PskKey::new(key)?;
        Ok(Self { identity: checked_identity(identity.into())?, key })
    }

    /// The identity.
    #[must_use]
    pub fn identity(&self) -> &[u8] {
        &self.identity
    }
}

pub(crate) fn checked_identity(identity: Vec<u8>) -> Result<Vec<u8>, CredentialError> {
    match identity.len() {
        1..=MAX_IDENTITY => Ok(identity),
        length => Err(CredentialError::IdentityLength { length }),
    }
}

/// The keys of a server, by identity: a [`PskTable`], a closure, or a type of one's own.
///
/// It is asked in the midst of a handshake, on the thread that runs all sessions: what takes time (a database) belongs behind a
/// cache.
pub trait PskStore: Send + Sync {
    /// The key of `identity`, for a client at `peer`, whose address has been proven where the backend can do so first. Identities
    /// are what anyone sends, not always text. A panic counts as an identity that is unknown.
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

impl From<Option<PskKey>> for PskLookup {
    fn from(key: Option<PskKey>) -> Self {
        key.map_or(Self::Unknown, Self::Key)
    }
}

/// What a store finds. Whoever has it panic by an identity fails as with any other that is unknown, and all sessions go on.
pub(crate) fn look_up(store: &dyn PskStore, identity: &[u8], peer: UdpAddr) -> PskLookup {
    catch_unwind(AssertUnwindSafe(|| store.lookup(identity, peer))).unwrap_or(PskLookup::Unknown)
}

impl<F> PskStore for F
where
    F: Fn(&[u8], UdpAddr) -> PskLookup + Send + Sync,
{
    fn lookup(&self, identity: &[u8], peer: UdpAddr) -> PskLookup {
        self(identity, peer)
    }
}

impl<S: PskStore + ?Sized> PskStore for Arc<S> {
    fn lookup(&self, identity: &[u8], peer: UdpAddr) -> PskLookup {
        (**self).lookup(identity, peer)
    }
}

/// A fixed table of identities and their keys.
#[derive(Clone, Default)]
pub struct PskTable(HashMap<Vec<u8>, PskKey>);

impl PskTable {
    /// An empty table, in which no client is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The table with one identity more; one that is there already gets the new key.
    ///
    /// # Errors
    /// [`CredentialError::IdentityLength`], [`CredentialError::KeyLength`].
    pub fn with(mut self, identity: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Result<Self, CredentialError> {
        self.insert(identity, PskKey::new(key)?)?;
        Ok(self)
    }

    /// Adds an identity, and returns the key that it had before.
    ///
    /// # Errors
    /// [`CredentialError::IdentityLength`].
    pub fn insert(&mut self, identity: impl Into<Vec<u8>>, key: PskKey) -> Result<Option<PskKey>, CredentialError> {
        Ok(self.0.insert(checked_identity(identity.into())?, key))
    }

    /// How many identities it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PskStore for PskTable {
    fn lookup(&self, identity: &[u8], _: UdpAddr) -> PskLookup {
        self.0.get(identity).cloned().into()
    }
}

impl fmt::Debug for PskTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PskTable").field(&self.0.len()).finish()
    }
}

/// A certificate, the intermediates between it and an authority, and its private key: ECDSA on the curve P-256, as RFC 7252
/// §9.1.3.3 asks for.
#[derive(Clone)]
pub struct CertifiedKey {
    /// The own certificate first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// PKCS #8, on the curve P-256.
    pub(crate) key: Arc<PrivateKey>,
}

impl CertifiedKey {
    /// From the text of PEM files: the own certificate first, then the intermediates in order; the private key as PKCS #8 or SEC 1
    /// (`EC PRIVATE KEY`), in the clear or encrypted. Both may be the same text. `passphrase` is for an encrypted key, and is not
    /// looked at for another.
    ///
    /// # Errors
    /// What is wrong with them, as [`CredentialError`] says.
    pub fn from_pem(
        certificates: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        passphrase: Option<&str>,
    ) -> Result<Self, CredentialError> {
        let chain = pem::certificates(certificates.as_ref())?;
        Self::new(chain, pem::private_key(key.as_ref(), passphrase)?)
    }

    /// From DER: certificates as above, and a key in PKCS #8 or SEC 1, or in encrypted PKCS #8.
    ///
    /// # Errors
    /// What is wrong with them, as [`CredentialError`] says.
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: &[u8],
        passphrase: Option<&str>,
    ) -> Result<Self, CredentialError> {
        Self::new(chain, pem::private_key_der(key, passphrase)?)
    }

    pub(crate) fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKey) -> Result<Self, CredentialError> {
        let own = chain.first().ok_or(CredentialError::NoCertificate)?;
        for certificate in &chain {
            pem::check_certificate(certificate)?;
        }
        if !pem::belongs(&key, own)? {
            return Err(CredentialError::KeyMismatch);
        }
        Ok(Self { chain, key: Arc::new(key) })
    }

    /// Without the intermediates, for a backend that cannot show them, or for peers that have them.
    #[must_use]
    pub fn leaf_only(mut self) -> Self {
        self.chain.truncate(1);
        self
    }

    /// The certificates, the own one first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
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

/// What is wrong with a key, a certificate, or a set of what is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialError {
    /// A pre-shared key is empty or too long.
    KeyLength {
        /// Its length in bytes.
        length: usize,
    },
    /// An identity or a hint is empty or too long.
    IdentityLength {
        /// Its length in bytes.
        length: usize,
    },
    /// There is no certificate.
    NoCertificate,
    /// There is no private key.
    NoPrivateKey,
    /// The private key is encrypted, and no passphrase was given.
    NoPassphrase,
    /// It does not open the private key.
    WrongPassphrase,
    /// The private key is encrypted in a way that is not supported.
    Encryption,
    /// The key is not for ECDSA on the curve P-256.
    KeyType {
        /// What it is.
        found: &'static str,
    },
    /// The private key is not that of the certificate.
    KeyMismatch,
    /// A block of PEM, a certificate or a key cannot be read.
    Malformed {
        /// Which of them.
        what: &'static str,
    },
    /// A set of authorities or pins is empty.
    TrustsNobody,
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyLength { length } => {
                write!(f, "a pre-shared key has 1 to {} bytes, not {length}", PskKey::MAX_LENGTH)
            }
            Self::IdentityLength { length } => {
                write!(f, "an identity or a hint has 1 to {MAX_IDENTITY} bytes, not {length}")
            }
            Self::NoCertificate => f.write_str("there is no certificate in it"),
            Self::NoPrivateKey => f.write_str("there is no private key in it"),
            Self::NoPassphrase => f.write_str("the private key is encrypted: give its passphrase"),
            Self::WrongPassphrase => f.write_str("the passphrase does not open the private key"),
            Self::Encryption => f.write_str(
                "the private key is encrypted in a way that is not supported: \
                 convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc`",
            ),
            Self::KeyType { found } => write!(
                f,
                "it is {found}: one for ECDSA on the curve P-256 is needed (`openssl ecparam -name prime256v1 -genkey`)"
            ),
            Self::KeyMismatch => f.write_str("the private key does not belong to the certificate"),
            Self::Malformed { what } => write!(f, "{what} in it cannot be read"),
            Self::TrustsNobody => f.write_str("a peer can only be trusted by something: give an authority or a pin"),
        }
    }
}

impl core::error::Error for CredentialError {}
