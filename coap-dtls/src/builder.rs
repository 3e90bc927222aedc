//! From wishes to a configuration: what contradicts itself, or what the backend cannot do, is refused here and by name.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::time::SystemTime;

#[cfg(any(feature = "dimpl", feature = "webrtc-dtls"))]
use crate::backend;
use crate::capabilities::Capability;
use crate::config::{
    Backend, ClientAuth, ClientCredential, ClientInner, ClientParts, ClientSecurity, Clock, Common, EmsPolicy,
    HandshakeTimer, KeyLog, SecurityMode, ServerCertificate, ServerInner, ServerParts, ServerPsk, ServerSecurity,
    Versions,
};
use crate::credentials::{CertifiedKey, CredentialError, PskStore, checked_identity};
use crate::engine::{Acceptor, Connector};
use crate::suite::{CipherSuite, NoSuites, SuiteUse, Suites};
use crate::verify::PeerVerifier;

/// Where the configuration of secure sessions begins.
///
/// A configuration is made once and kept: making one with certificates costs about a millisecond, and clones of it share their sessions.
///
/// ```
/// # #[cfg(feature = "dimpl")] {
/// use coap_dtls::{ClientPsk, PskTable, SecurityConfig};
///
/// let client = SecurityConfig::client(ClientPsk::new("clientID", "secretPSK")?).build()?;
/// let server = SecurityConfig::server().psk(PskTable::new().with("clientID", "secretPSK")?).build()?;
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum SecurityConfig {}

impl SecurityConfig {
    /// Of a client: with a [`ClientPsk`](crate::ClientPsk) or a [`CertConfig`](crate::CertConfig).
    pub fn client(mode: impl Into<SecurityMode>) -> SecurityBuilder<ClientEnd> {
        SecurityBuilder::new(ClientEnd { mode: mode.into() })
    }

    /// Of a server: pre-shared keys, a certificate, or both.
    pub fn server() -> SecurityBuilder<ServerEnd> {
        SecurityBuilder::new(ServerEnd::default())
    }
}

/// What is wished of the sessions of a client ([`ClientEnd`]) or a server ([`ServerEnd`]).
#[must_use = "a builder does nothing until `build()`"]
pub struct SecurityBuilder<E> {
    end: E,
    backend: Option<Backend>,
    versions: Versions,
    suites: Option<Vec<CipherSuite>>,
    ems: EmsPolicy,
    timer: HandshakeTimer,
    max_record: usize,
    clock: Clock,
    seed: Option<u64>,
    key_log: Option<KeyLog>,
}

/// The wishes of a client alone.
pub struct ClientEnd {
    mode: SecurityMode,
}

/// The wishes of a server alone.
#[derive(Default)]
pub struct ServerEnd {
    store: Option<Arc<dyn PskStore>>,
    hint: Option<Vec<u8>>,
    certificate: Option<CertifiedKey>,
    clients: ClientAuth,
    verifier: Option<Arc<dyn PeerVerifier>>,
}

/// What IPv6 promises to carry: 1,280 bytes without the headers of IPv6 and UDP (RFC 8200 §5).
const DEFAULT_MAX_RECORD: usize = 1232;
/// Below, a handshake falls into too many pieces; above, it is more than a record can hold (RFC 5246 §6.2.1).
const MAX_RECORD: core::ops::RangeInclusive<usize> = 256..=16_384;
/// RFC 6347 §4.2.4.1 begins with 1 s and ends with 60 s; a test may have less.
const INITIAL: core::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
/// Whoever takes longer than that holds the place of others.
const MAX_DEADLINE: Duration = Duration::from_secs(600);

impl<E> SecurityBuilder<E> {
    fn new(end: E) -> Self {
        Self {
            end,
            backend: Backend::all().first().copied(),
            versions: Versions::default(),
            suites: None,
            ems: EmsPolicy::default(),
            timer: HandshakeTimer { initial: Duration::from_secs(1), deadline: Duration::from_secs(40) },
            max_record: DEFAULT_MAX_RECORD,
            clock: Arc::new(SystemTime::now),
            seed: None,
            key_log: None,
        }
    }

    /// Which library does the handshakes. By default the first of [`Backend::all`].
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// The versions of DTLS; 1.2 alone by default.
    pub fn versions(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }

    /// Which cipher suites may be agreed on, and which of them rather: the first is liked best. By default
    /// [`Backend::default_cipher_suites`].
    ///
    /// A client offers them in this order, those of DTLS 1.3 before the others, and the server chooses. A server takes the first of
    /// this list that the client offers, of DTLS 1.3 if both speak it; without a list it goes by the order of the client. What the
    /// credentials or [`versions`](Self::versions) have no use for is passed over; for each of both something must be left.
    pub fn suites(mut self, suites: &[CipherSuite]) -> Self {
        self.suites = Some(suites.to_vec());
        self
    }

    /// Whether a peer must have the extended master secret (RFC 7627); it must by default.
    pub fn ems(mut self, ems: EmsPolicy) -> Self {
        self.ems = ems;
        self
    }

    /// When a flight is sent again for the first time, 10 ms to 60 s, and when the handshake is given up, from there to 10 minutes.
    /// By default 1 s (RFC 6347 §4.2.4.1) and 40 s. Peers that need seconds for a signature want 9 s (RFC 7925 §11) and a later
    /// end.
    pub fn handshake_timer(mut self, initial: Duration, deadline: Duration) -> Self {
        self.timer = HandshakeTimer { initial, deadline };
        self
    }

    /// The longest datagram that the path carries, in bytes without the headers of UDP and IP: 256 to 16,384, by default 1,232,
    /// which fits into each IPv6 packet. Flights of a handshake are cut to it, and longer messages are refused.
    pub fn max_record(mut self, bytes: usize) -> Self {
        self.max_record = bytes;
        self
    }

    /// Where the time of day comes from, for the validity of certificates; the system's clock by default.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Tells the secrets of all sessions, a line each in the key log format of NSS and without its end, so that a capture can be
    /// read. Whoever has the lines can read the sessions.
    pub fn key_log(mut self, line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.key_log = Some(Arc::new(line));
        self
    }

    /// Makes all randomness of handshakes from `seed`, so that a run in virtual time can be repeated. **Whoever knows the seed can
    /// read the sessions**: for tests alone.
    #[cfg(feature = "simulation")]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The suites for these credentials.
    fn chosen(&self, common: &Common, has_keys: bool, has_certificate: bool) -> Result<Suites, ConfigError> {
        let backend = common.backend;
        Suites::choose(backend, self.suites.as_deref(), common.versions, has_keys, has_certificate).map_err(|none| {
            match none {
                NoSuites::Empty => ConfigError::NoSuites,
                NoSuites::Missing(suite) => ConfigError::UnsupportedSuite { suite, backend },
                NoSuites::NothingFor(what) => ConfigError::NoSuiteFor { what, backend },
            }
        })
    }

    /// What both ends wish, if it can be had.
    fn common(&self) -> Result<Common, ConfigError> {
        let backend = self.backend.ok_or(ConfigError::NoBackend)?;
        let HandshakeTimer { initial, deadline } = self.timer;
        if !INITIAL.contains(&initial) || !(initial..=MAX_DEADLINE).contains(&deadline) {
            return Err(ConfigError::HandshakeTimer { initial, deadline });
        }
        if !MAX_RECORD.contains(&self.max_record) {
            return Err(ConfigError::MaxRecord { bytes: self.max_record });
        }
        wish(backend, self.ems == EmsPolicy::Prefer, Capability::WithoutEms)?;
        wish(backend, self.key_log.is_some(), Capability::KeyLog)?;
        wish(backend, self.seed.is_some(), Capability::Deterministic)?;
        Ok(Common {
            backend,
            versions: self.versions,
            ems: self.ems,
            timer: self.timer,
            max_record: self.max_record,
            clock: self.clock.clone(),
            seed: self.seed,
            key_log: self.key_log.clone(),
        })
    }
}

impl SecurityBuilder<ClientEnd> {
    /// The configuration.
    ///
    /// # Errors
    /// What is wrong with it, or what the backend cannot do.
    pub fn build(self) -> Result<ClientSecurity, ConfigError> {
        let common = self.common()?;
        let dtls13 = self.versions == Versions::V12AndV13;
        let has_keys = matches!(self.end.mode, SecurityMode::PreSharedKey(_));
        let suites = self.chosen(&common, has_keys, !has_keys);
        let credential = match self.end.mode {
            SecurityMode::PreSharedKey(psk) => {
                wish(common.backend, dtls13, Capability::Dtls13Psk)?;
                ClientCredential::Psk(psk)
            }
            SecurityMode::Certificate(certificate) => {
                wish(common.backend, dtls13, Capability::Dtls13)?;
                if let Some(own) = &certificate.own {
                    wish(common.backend, own.chain.len() > 1, Capability::Intermediates)?;
                }
                ClientCredential::Certificate { own: certificate.own, verifier: certificate.verifier }
            }
        };
        let parts = ClientParts { credential, suites: suites?, common };
        let connector = connector(&parts)?;
        Ok(ClientSecurity(Arc::new(ClientInner { parts, connector })))
    }
}

impl SecurityBuilder<ServerEnd> {
    /// Clients with pre-shared keys: a [`PskTable`](crate::PskTable), or a store of one's own.
    pub fn psk(mut self, store: impl PskStore + 'static) -> Self {
        self.end.store = Some(Arc::new(store));
        self
    }

    /// What a client may choose its identity by: 1 to 1,024 bytes in the clear, and most clients do not look at it (RFC 4279 §5.2).
    pub fn psk_hint(mut self, hint: impl Into<Vec<u8>>) -> Self {
        self.end.hint = Some(hint.into());
        self
    }

    /// What the server shows to clients without a pre-shared key.
    pub fn certificate(mut self, own: CertifiedKey) -> Self {
        self.end.certificate = Some(own);
        self
    }

    /// Whether clients show a certificate. Unless it is `None`, say by [`verifier`](Self::verifier) which ones are good.
    pub fn client_auth(mut self, clients: ClientAuth) -> Self {
        self.end.clients = clients;
        self
    }

    /// Decides on the certificates of clients.
    pub fn verifier(mut self, verifier: impl PeerVerifier + 'static) -> Self {
        self.end.verifier = Some(Arc::new(verifier));
        self
    }

    /// The configuration.
    ///
    /// # Errors
    /// What is wrong with it, or what the backend cannot do.
    pub fn build(self) -> Result<ServerSecurity, ConfigError> {
        let common = self.common()?;
        let backend = common.backend;
        let suites = self.chosen(&common, self.end.store.is_some(), self.end.certificate.is_some());
        let ServerEnd { store, hint, certificate, clients, verifier } = self.end;
        if store.is_none() && certificate.is_none() {
            return Err(ConfigError::NoCredential);
        }
        if store.is_none() && hint.is_some() {
            return Err(ConfigError::HintWithoutKeys);
        }
        let asks = clients != ClientAuth::None;
        if asks && certificate.is_none() {
            return Err(ConfigError::ClientAuthWithoutCertificate);
        }
        if asks != verifier.is_some() {
            return Err(if asks { ConfigError::NoVerifier } else { ConfigError::VerifierWithoutClientAuth });
        }
        wish(backend, store.is_some() && certificate.is_some(), Capability::PskAndCertificate)?;
        wish(backend, clients == ClientAuth::Optional, Capability::OptionalClientCertificate)?;
        if common.versions == Versions::V12AndV13 {
            let what = if certificate.is_some() { Capability::Dtls13 } else { Capability::Dtls13Psk };
            wish(backend, true, what)?;
        }
        if let Some(own) = &certificate {
            wish(backend, own.chain.len() > 1, Capability::Intermediates)?;
        }
        let hint = hint.map(checked_identity).transpose().map_err(ConfigError::Hint)?;
        let parts = ServerParts {
            psk: store.map(|store| ServerPsk { store, hint }),
            certificate: certificate.map(|own| ServerCertificate { own, clients, verifier }),
            suites: suites?,
            common,
        };
        let acceptor = acceptor(&parts)?;
        Ok(ServerSecurity(Arc::new(ServerInner { parts, acceptor })))
    }
}

/// Refuses what is wished and cannot be had.
fn wish(backend: Backend, wished: bool, what: Capability) -> Result<(), ConfigError> {
    if wished && !backend.capabilities().has(what) {
        return Err(ConfigError::Unsupported { what, backend });
    }
    Ok(())
}

fn connector(parts: &ClientParts) -> Result<Box<dyn Connector>, ConfigError> {
    match parts.common.backend {
        #[cfg(feature = "dimpl")]
        Backend::Dimpl => {
            backend::dimpl::connector(parts).map_err(|_| ConfigError::Backend { backend: Backend::Dimpl })
        }
        #[cfg(feature = "webrtc-dtls")]
        Backend::WebrtcDtls => {
            backend::webrtc::connector(parts).map_err(|_| ConfigError::Backend { backend: Backend::WebrtcDtls })
        }
    }
}

fn acceptor(parts: &ServerParts) -> Result<Box<dyn Acceptor>, ConfigError> {
    match parts.common.backend {
        #[cfg(feature = "dimpl")]
        Backend::Dimpl => backend::dimpl::acceptor(parts).map_err(|_| ConfigError::Backend { backend: Backend::Dimpl }),
        #[cfg(feature = "webrtc-dtls")]
        Backend::WebrtcDtls => {
            backend::webrtc::acceptor(parts).map_err(|_| ConfigError::Backend { backend: Backend::WebrtcDtls })
        }
    }
}

impl<E> fmt::Debug for SecurityBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecurityBuilder").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEnd").finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerEnd").finish_non_exhaustive()
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// No backend is built in.
    NoBackend,
    /// The backend cannot do what is wished.
    Unsupported {
        /// What is wished.
        what: Capability,
        /// The backend.
        backend: Backend,
    },
    /// The list of cipher suites is empty.
    NoSuites,
    /// The backend does not have a cipher suite that is wished.
    UnsupportedSuite {
        /// The suite.
        suite: CipherSuite,
        /// The backend.
        backend: Backend,
    },
    /// None of the cipher suites that are wished is for something that there are credentials for, or a version that is wished.
    NoSuiteFor {
        /// What there is none for.
        what: SuiteUse,
        /// The backend.
        backend: Backend,
    },
    /// A server has neither pre-shared keys nor a certificate.
    NoCredential,
    /// There is a hint for pre-shared keys, and no such keys.
    HintWithoutKeys,
    /// The hint is empty or too long.
    Hint(CredentialError),
    /// Clients are asked for certificates, and the server has none: no suite lets them show one.
    ClientAuthWithoutCertificate,
    /// Clients are asked for certificates, and nothing says which are good.
    NoVerifier,
    /// There is a verifier for certificates that no client is asked for.
    VerifierWithoutClientAuth,
    /// A handshake cannot be timed so.
    HandshakeTimer {
        /// When a flight is to be sent again for the first time.
        initial: Duration,
        /// When a handshake is to be given up.
        deadline: Duration,
    },
    /// A datagram cannot be as short or as long.
    MaxRecord {
        /// Its length.
        bytes: usize,
    },
    /// The backend does not take the configuration, though nothing is known to be wrong with it.
    Backend {
        /// The backend.
        backend: Backend,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBackend => {
                f.write_str("no secure sessions are built in: enable the feature `dimpl` or `webrtc-dtls` of coap-dtls")
            }
            Self::Unsupported { what, backend } => {
                write!(f, "the backend {backend} does not have {what}: {}", what.instead())?;
                match what.backends().next() {
                    Some(other) => write!(f, ", or choose the backend {other} (`.backend(..)`, feature `{other}`)"),
                    None => Ok(()),
                }
            }
            Self::NoSuites => f.write_str("the list of cipher suites is empty: name one, or leave `.suites(..)` out"),
            Self::UnsupportedSuite { suite, backend } => {
                write!(f, "the backend {backend} does not have {suite}: leave it out")?;
                match suite.backends().next() {
                    Some(other) => write!(f, ", or choose the backend {other} (`.backend(..)`, feature `{other}`)"),
                    None => Ok(()),
                }
            }
            Self::NoSuiteFor { what, backend } => {
                write!(f, "none of the cipher suites is for {what}: add one of")?;
                let fitting = backend.cipher_suites().iter().filter(|suite| suite.used_for() == *what);
                fitting.enumerate().try_for_each(|(index, suite)| {
                    write!(f, "{} {suite}", if index == 0 { "" } else { "," })
                })
            }
            Self::NoCredential => f.write_str("a server needs pre-shared keys (`.psk(..)`) or a certificate (`.certificate(..)`)"),
            Self::HintWithoutKeys => f.write_str("a hint is for pre-shared keys, and there are none: add `.psk(..)`"),
            Self::Hint(error) => error.fmt(f),
            Self::ClientAuthWithoutCertificate => f.write_str(
                "clients show certificates only to a server that has one: add `.certificate(..)`, or leave `.client_auth(..)` out",
            ),
            Self::NoVerifier => f.write_str(
                "nothing says which certificates of clients are good: add `.verifier(..)`, a `WebPkiVerifier` for one",
            ),
            Self::VerifierWithoutClientAuth => f.write_str(
                "there is a verifier for certificates that no client is asked for: \
                 add `.client_auth(ClientAuth::Required)`, or leave the verifier out",
            ),
            Self::HandshakeTimer { initial, deadline } => write!(
                f,
                "a handshake cannot be repeated after {initial:?} and given up after {deadline:?}: \
                 the first takes 10 ms to 60 s, the second at least as much and at most 10 minutes"
            ),
            Self::MaxRecord { bytes } => write!(
                f,
                "a datagram of at most {bytes} bytes will not do: {} to {}",
                MAX_RECORD.start(),
                MAX_RECORD.end()
            ),
            Self::Backend { backend } => write!(f, "the backend {backend} does not take the configuration"),
        }
    }
}

impl core::error::Error for ConfigError {}
