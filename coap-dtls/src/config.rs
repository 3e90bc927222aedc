//! What a client or server wishes of its sessions: checked once, cheap to clone.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::time::SystemTime;

use crate::credentials::{CertifiedKey, ClientPsk, PskStore};
use crate::engine::{Acceptor, Connector};
use crate::suite::Suites;
use crate::verify::PeerVerifier;

/// How a client secures its sessions. Clones are the same configuration, and share sessions.
#[derive(Clone)]
pub struct ClientSecurity(pub(crate) Arc<ClientInner>);

/// How a server secures its sessions.
#[derive(Clone)]
pub struct ServerSecurity(pub(crate) Arc<ServerInner>);

pub(crate) struct ClientInner {
    pub(crate) parts: ClientParts,
    pub(crate) connector: Box<dyn Connector>,
}

pub(crate) struct ServerInner {
    pub(crate) parts: ServerParts,
    pub(crate) acceptor: Box<dyn Acceptor>,
}

impl ClientInner {
    /// The longest message in bytes that fits into a record.
    pub(crate) fn room(&self) -> usize {
        self.parts.common.max_record.saturating_sub(self.connector.overhead())
    }
}

impl ServerInner {
    /// The longest message in bytes that fits into a record.
    pub(crate) fn room(&self) -> usize {
        self.parts.common.max_record.saturating_sub(self.acceptor.overhead())
    }
}

/// What a backend makes its client handshakes from.
#[derive(Clone)]
pub(crate) struct ClientParts {
    pub(crate) credential: ClientCredential,
    pub(crate) suites: Suites,
    pub(crate) common: Common,
}

/// What a client shows.
#[derive(Clone)]
pub(crate) enum ClientCredential {
    Psk(ClientPsk),
    /// The server shows a certificate; so does the client, if it has one.
    Certificate {
        own: Option<CertifiedKey>,
        verifier: Arc<dyn PeerVerifier>,
    },
}

/// What a backend makes its server handshakes from. At least one of both credentials is there.
#[derive(Clone)]
pub(crate) struct ServerParts {
    pub(crate) psk: Option<ServerPsk>,
    pub(crate) certificate: Option<ServerCertificate>,
    pub(crate) suites: Suites,
    pub(crate) common: Common,
}

#[derive(Clone)]
pub(crate) struct ServerPsk {
    pub(crate) store: Arc<dyn PskStore>,
    pub(crate) hint: Option<Vec<u8>>,
}

#[derive(Clone)]
pub(crate) struct ServerCertificate {
    pub(crate) own: CertifiedKey,
    pub(crate) clients: ClientAuth,
    /// There unless `clients` is `None`.
    pub(crate) verifier: Option<Arc<dyn PeerVerifier>>,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// One that shows none is anonymous; one that shows a bad one is refused.
    Optional,
    /// One that shows none is refused.
    Required,
}

/// How a client proves who it is, and knows the server.
///
/// The third mode of RFC 7252 §9, raw public keys, is not here: no backend has it
/// ([`Capability::RawPublicKeys`](crate::Capability::RawPublicKeys)). [`SpkiPins`](crate::SpkiPins) do the same with
/// self-signed certificates.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SecurityMode {
    /// Both know a key (RFC 7252 §9.1.3.1).
    PreSharedKey(ClientPsk),
    /// The server shows a certificate (RFC 7252 §9.1.3.3), and the client too, if it has one.
    Certificate(CertConfig),
}

impl From<ClientPsk> for SecurityMode {
    fn from(psk: ClientPsk) -> Self {
        Self::PreSharedKey(psk)
    }
}

impl From<CertConfig> for SecurityMode {
    fn from(certificate: CertConfig) -> Self {
        Self::Certificate(certificate)
    }
}

/// How a client does with certificates.
#[derive(Clone)]
pub struct CertConfig {
    pub(crate) own: Option<CertifiedKey>,
    pub(crate) verifier: Arc<dyn PeerVerifier>,
}

impl CertConfig {
    /// Servers that `verifier` accepts: [`WebPkiVerifier`](crate::WebPkiVerifier), [`SpkiPins`](crate::SpkiPins) or one's own.
    #[must_use]
    pub fn new(verifier: impl PeerVerifier + 'static) -> Self {
        Self { own: None, verifier: Arc::new(verifier) }
    }

    /// What the client shows to a server that asks for it.
    #[must_use]
    pub fn own(mut self, own: CertifiedKey) -> Self {
        self.own = Some(own);
        self
    }
}

impl fmt::Debug for CertConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertConfig").field("own", &self.own).finish_non_exhaustive()
    }
}

/// What both ends wish.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) backend: Backend,
    pub(crate) versions: Versions,
    #[cfg_attr(not(feature = "webrtc-dtls"), allow(dead_code, reason = "the other backends have no choice"))]
    pub(crate) ems: EmsPolicy,
    pub(crate) timer: HandshakeTimer,
    /// The longest datagram that the path carries, in bytes: handshakes keep to it, and so do records.
    pub(crate) max_record: usize,
    /// The time of day, for certificates.
    pub(crate) clock: Clock,
    /// A seed instead of the system's randomness: only with the feature `simulation`.
    pub(crate) seed: Option<u64>,
    /// Where the secrets of sessions are told (NSS key log format), if anywhere.
    #[cfg_attr(not(feature = "webrtc-dtls"), allow(dead_code, reason = "the other backends have none"))]
    pub(crate) key_log: Option<KeyLog>,
}

/// The time of day.
pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Where a line of the key log goes.
pub(crate) type KeyLog = Arc<dyn Fn(&str) + Send + Sync>;

/// Which library does the handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// The crate `dimpl`.
    #[cfg(feature = "dimpl")]
    Dimpl,
    /// The crate `webrtc-dtls`, which is called `dtls` now.
    #[cfg(feature = "webrtc-dtls")]
    WebrtcDtls,
}

/// Versions of DTLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Versions {
    /// DTLS 1.2 (RFC 6347).
    #[default]
    V12,
    /// DTLS 1.3 (RFC 9147) where the peer speaks it, with certificates.
    V12AndV13,
}

/// Extended master secret (RFC 7627).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmsPolicy {
    /// A peer without it is refused.
    #[default]
    Require,
    /// Used where the peer has it. Whoever is on the path can take it away.
    Prefer,
}

/// When a flight of a handshake is sent again (RFC 6347 §4.2.4.1; RFC 7925 §11 wants 9 s for constrained peers), and when the
/// handshake is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandshakeTimer {
    pub(crate) initial: Duration,
    pub(crate) deadline: Duration,
}

impl fmt::Debug for ClientSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSecurity").field("backend", &self.0.parts.common.backend).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSecurity").field("backend", &self.0.parts.common.backend).finish_non_exhaustive()
    }
}
