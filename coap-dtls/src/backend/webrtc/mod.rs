//! DTLS 1.2 by the crate `webrtc-dtls` (now `dtls`), which does the handshake and nothing else.
//!
//! ```text
//! peer ── Session ── Intake ──▶ Path ──▶ task: DTLSConn::new ──▶ Takeover ──▶ Records
//!            ▲                   │                                              │
//!            └──── Outgoing ◀────┘◀──────────── the session goes on here ◀──────┘
//! ```
//!
//! Whoever forges one datagram ends a connection of the library, and a lost last flight leaves its client alone for ever. So
//! a handshake runs in a task of its own, behind a filter ([`intake`], [`outgoing`]) and a deadline; when it is done, its secret
//! is taken over, and the library is left. Records are sealed and opened by ourselves (`record.rs`).
//!
//! What cannot be mended from outside: the cookie of HelloVerifyRequest is kept by the handshake that it is for, so that a
//! half-open one costs as much as another (three tasks, 32 KB and four key pairs), and the layer must bound them; a server does not look at
//! the client's Finished but by decrypting it, which shows as much only with the extended master secret (RFC 7627);
//! server_name is always sent, with "localhost" in it where there is no name of DNS; and the library does not overwrite its own
//! copies of keys.

mod intake;
mod message;
mod outgoing;
mod path;
mod session;
mod takeover;

use core::future::{Future, ready};
use core::pin::Pin;
use core::time::Duration;
use std::sync::Arc;

use coap_core::{Instant, SessionEnd, UdpAddr};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls_pki_types::CertificateDer;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use webrtc_dtls::Error;
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use webrtc_dtls::crypto::{Certificate, CryptoPrivateKey, CryptoPrivateKeyKind};
use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use self::path::Path;
use self::session::Session;
use self::takeover::{Expected, KeyLog};
use crate::attempts::Attempt;
use crate::backend::Refused;
use crate::config::{ClientAuth, ClientCredential, ClientParts, Common, EmsPolicy, ServerParts, Versions};
use crate::credentials::{CertifiedKey, ClientPsk, PskLookup, PskStore, look_up};
use crate::engine::{Acceptor, Connector, Engine, Kick};
use crate::hello::ClientHello;
use crate::record::Cipher;
use crate::suite::{CipherSuite, SuiteUse, Suites};
use crate::verify::{PeerVerifier, Role, ServerName, judge};

/// What the records are sealed with if this suite is chosen. For each there is one way to agree on a key.
fn cipher(suite: CipherSuite) -> Option<Cipher> {
    match suite {
        CipherSuite::PskAes128Ccm8 | CipherSuite::EcdsaAes128Ccm8 => Some(Cipher::Aes128Ccm8),
        CipherSuite::PskAes128Ccm | CipherSuite::EcdsaAes128Ccm => Some(Cipher::Aes128Ccm),
        CipherSuite::PskAes128Gcm | CipherSuite::EcdsaAes128Gcm => Some(Cipher::Aes128Gcm),
        _ => None,
    }
}

/// A suite as the library has it.
fn id(suite: CipherSuite) -> CipherSuiteId {
    CipherSuiteId::from(suite.number())
}

/// How many handshakes of one configuration run at a time. The layer has bounds of its own, which are lower and can be set: this
/// is for whoever sets them to anything. A session that finds no place ends at once (`Full`).
const MAX_HANDSHAKES: usize = 4096;

/// The number of the alert internal_error (RFC 5246 §7.2.2).
const INTERNAL_ERROR: u8 = 80;

/// Makes what connects as `parts` say.
pub(crate) fn connector(parts: &ClientParts) -> Result<Box<dyn Connector>, Refused> {
    let credential = match &parts.credential {
        ClientCredential::Psk(psk) => ClientSide::Psk(psk.clone()),
        ClientCredential::Certificate { own, verifier } => ClientSide::Certificate {
            own: own.as_ref().map(certificate).transpose()?.map(Box::new),
            verifier: verifier.clone(),
        },
    };
    let suites = parts.suites.clone();
    let plan = ClientPlan { credential, suites, settings: Settings::new(&parts.common)? };
    Ok(Box::new(WebrtcConnector(Arc::new(plan))))
}

/// Makes what accepts as `parts` say.
pub(crate) fn acceptor(parts: &ServerParts) -> Result<Box<dyn Acceptor>, Refused> {
    let psk = parts.psk.as_ref().map(|psk| PskSide { store: psk.store.clone(), hint: psk.hint.clone() });
    let certificate = match &parts.certificate {
        None => None,
        Some(side) => {
            let verifier = match side.clients {
                ClientAuth::None => None,
                ClientAuth::Optional | ClientAuth::Required => Some(side.verifier.clone().ok_or(Refused)?),
            };
            Some(CertificateSide { own: certificate(&side.own)?, clients: side.clients, verifier })
        }
    };
    if psk.is_none() && certificate.is_none() {
        return Err(Refused);
    }
    let suites = parts.suites.clone();
    let plan = ServerPlan { psk, certificate, suites, settings: Settings::new(&parts.common)? };
    Ok(Box::new(WebrtcAcceptor(Arc::new(plan))))
}

struct WebrtcConnector(Arc<ClientPlan>);

struct WebrtcAcceptor(Arc<ServerPlan>);

impl Connector for WebrtcConnector {
    fn connect(&self, _: Instant, _: UdpAddr, name: Option<&ServerName>, kick: Kick) -> Box<dyn Engine> {
        let settings = &self.0.settings;
        Box::new(match Handle::try_current() {
            Ok(runtime) => Session::connect(&runtime, &self.0, name, kick),
            Err(_) => Session::failed(SessionEnd::NoRuntime, settings.max_record),
        })
    }

    fn overhead(&self) -> usize {
        self.0.suites.overhead()
    }
}

impl Acceptor for WebrtcAcceptor {
    /// The cookie is the library's, of each handshake its own, and it takes no other.
    fn is_stateless(&self, _: &ClientHello<'_>) -> bool {
        false
    }

    fn accept(
        &self,
        _: Instant,
        peer: UdpAddr,
        _: &ClientHello<'_>,
        attempt: Attempt,
        kick: Kick,
    ) -> Option<Box<dyn Engine>> {
        let settings = &self.0.settings;
        if settings.places.available_permits() == 0 {
            return None;
        }
        Some(Box::new(match Handle::try_current() {
            Ok(runtime) => Session::accept(runtime, self.0.clone(), peer, attempt, kick),
            Err(_) => Session::failed(SessionEnd::NoRuntime, settings.max_record),
        }))
    }

    fn accept_proven(
        &self,
        _: Instant,
        _: UdpAddr,
        _: &ClientHello<'_>,
        _: &[u8; 32],
        _: Attempt,
        _: Kick,
    ) -> Result<Box<dyn Engine>, u8> {
        Err(INTERNAL_ERROR)
    }

    fn overhead(&self) -> usize {
        self.0.suites.overhead()
    }

    /// 32 KB, most of them the library's.
    fn places(&self) -> usize {
        4
    }
}

/// What all handshakes of a client have in common.
struct ClientPlan {
    credential: ClientSide,
    suites: Suites,
    settings: Settings,
}

enum ClientSide {
    Psk(ClientPsk),
    Certificate { own: Option<Box<Certificate>>, verifier: Arc<dyn PeerVerifier> },
}

/// What all handshakes of a server have in common.
struct ServerPlan {
    psk: Option<PskSide>,
    certificate: Option<CertificateSide>,
    suites: Suites,
    settings: Settings,
}

struct PskSide {
    store: Arc<dyn PskStore>,
    hint: Option<Vec<u8>>,
}

struct CertificateSide {
    own: Certificate,
    clients: ClientAuth,
    verifier: Option<Arc<dyn PeerVerifier>>,
}

struct Settings {
    ems: ExtendedMasterSecretType,
    initial: Duration,
    deadline: Duration,
    max_record: usize,
    clock: Arc<dyn Fn() -> std::time::SystemTime + Send + Sync>,
    key_log: Option<KeyLog>,
    places: Arc<Semaphore>,
}

impl Settings {
    fn new(common: &Common) -> Result<Self, Refused> {
        if common.versions == Versions::V12AndV13 {
            return Err(Refused);
        }
        if common.seed.is_some() {
            return Err(Refused);
        }
        Ok(Self {
            ems: match common.ems {
                EmsPolicy::Require => ExtendedMasterSecretType::Require,
                EmsPolicy::Prefer => ExtendedMasterSecretType::Request,
            },
            initial: common.timer.initial,
            deadline: common.timer.deadline,
            max_record: common.max_record,
            clock: common.clock.clone(),
            key_log: common.key_log.clone(),
            places: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
        })
    }

    fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// What is the same for all.
    fn config(&self, suites: impl Iterator<Item = CipherSuite>) -> Config {
        Config {
            cipher_suites: suites.map(id).collect(),
            extended_master_secret: self.ems,
            flight_interval: self.initial,
            // The library counts what is in a piece of a message, without the headers of record and message.
            mtu: self.max_record.saturating_sub(64).max(128),
            // The library's own look at certificates is not ours: `verify_peer_certificate` decides, always.
            insecure_skip_verify: true,
            ..Config::default()
        }
    }

    /// What decides about certificates of the peer, and remembers how.
    fn verify(
        &self,
        verifier: &Arc<dyn PeerVerifier>,
        peer: Role,
        name: Option<ServerName>,
        path: &Arc<Path>,
    ) -> Verify {
        let (verifier, clock, path) = (verifier.clone(), self.clock.clone(), path.clone());
        Arc::new(move |chain, _| {
            let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
            let verdict = judge(&*verifier, &chain, peer, name.as_ref(), clock());
            path.witness(|witness| match verdict {
                Ok(()) => witness.chain = Some(chain),
                Err(error) => witness.refused = Some(error.into()),
            });
            verdict.map_err(|_| Error::ErrInvalidCertificate)
        })
    }
}

type Verify = Arc<dyn (Fn(&[Vec<u8>], &[CertificateDer<'static>]) -> Result<(), Error>) + Send + Sync>;

type PskAnswer = Pin<Box<dyn Future<Output = Result<Vec<u8>, Error>> + Send>>;

impl ClientPlan {
    /// What the library is told for one handshake, and what is to come of it.
    fn config(&self, name: Option<&ServerName>, path: &Arc<Path>) -> (Config, Expected) {
        let mut config = self.settings.config(self.suites.iter());
        let expected = match &self.credential {
            ClientSide::Psk(psk) => {
                let key = psk.key.clone();
                config.psk = Some(Arc::new(move |_: &[u8]| -> PskAnswer { Box::pin(ready(Ok(key.bytes().to_vec()))) }));
                // Of a client, this is the identity.
                config.psk_identity_hint = Some(psk.identity.clone());
                Expected::Known(psk.identity.clone())
            }
            ClientSide::Certificate { own, verifier } => {
                config.certificates = own.iter().map(|own| Certificate::clone(own)).collect();
                config.verify_peer_certificate =
                    Some(self.settings.verify(verifier, Role::Server, name.cloned(), path));
                Expected::Certificate
            }
        };
        config.server_name = indicated(name);
        (config, expected)
    }
}

impl ServerPlan {
    /// Which of the suites that a client offers is taken.
    fn choose(&self, offered: impl Iterator<Item = [u8; 2]>) -> Option<CipherSuite> {
        let offered: Vec<_> = offered.map(u16::from_be_bytes).collect();
        let mut ours = self.suites.iter().filter(|suite| offered.contains(&suite.number()));
        if self.suites.is_wished {
            return ours.next();
        }
        // Key or certificate, as the client prefers; of the suites for that, the one that we like best.
        let known = |number: &u16| self.suites.iter().find(|suite| suite.number() == *number);
        let what = offered.iter().find_map(known)?.used_for();
        ours.find(|suite| suite.used_for() == what)
    }

    /// What the library is told for one handshake with a client that offers these suites, what is to come of it, and which suite
    /// it is. `None`: it has none of ours.
    fn config(
        &self,
        offered: impl Iterator<Item = [u8; 2]>,
        peer: UdpAddr,
        path: &Arc<Path>,
    ) -> Option<(Config, Expected, CipherSuite)> {
        let suite = self.choose(offered)?;
        let (mut config, expected) = match (suite.used_for(), &self.psk, &self.certificate) {
            (SuiteUse::PreSharedKeys, Some(psk), _) => self.psk_config(psk, suite, peer, path),
            (SuiteUse::Certificates, _, Some(certificate)) => self.certificate_config(certificate, suite, path),
            _ => return None,
        };
        // The library turns a client away that offers profiles of SRTP, if it has none of them. They come to nothing.
        config.srtp_protection_profiles = vec![
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32,
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
        ];
        Some((config, expected, suite))
    }

    fn psk_config(&self, psk: &PskSide, suite: CipherSuite, peer: UdpAddr, path: &Arc<Path>) -> (Config, Expected) {
        let mut config = self.settings.config(core::iter::once(suite));
        let (store, path) = (psk.store.clone(), path.clone());
        config.psk = Some(Arc::new(move |identity: &[u8]| -> PskAnswer {
            Box::pin(ready(match look_up(&*store, identity, peer) {
                PskLookup::Key(key) => {
                    path.witness(|witness| witness.identity = Some(identity.to_vec()));
                    Ok(key.bytes().to_vec())
                }
                PskLookup::Unknown => no_key(),
            }))
        }));
        // An empty one would be sent as something else.
        config.psk_identity_hint = psk.hint.clone().filter(|hint| !hint.is_empty());
        (config, Expected::Psk)
    }

    fn certificate_config(&self, side: &CertificateSide, suite: CipherSuite, path: &Arc<Path>) -> (Config, Expected) {
        let mut config = self.settings.config(core::iter::once(suite));
        config.certificates = vec![side.own.clone()];
        config.verify_peer_certificate =
            side.verifier.as_ref().map(|verifier| self.settings.verify(verifier, Role::Client, None, path));
        let (ask, expected) = match side.clients {
            ClientAuth::None => (ClientAuthType::NoClientCert, Expected::Nothing),
            ClientAuth::Optional => (ClientAuthType::RequestClientCert, Expected::Optional),
            ClientAuth::Required => (ClientAuthType::RequireAnyClientCert, Expected::Certificate),
        };
        config.client_auth = ask;
        (config, expected)
    }
}

/// A key for an identity that has none: one that nobody has, so that all goes on as with a wrong one (RFC 4279 §2).
fn no_key() -> Result<Vec<u8>, Error> {
    let mut key = vec![0; 16];
    SystemRandom::new().fill(&mut key).map_err(|_| Error::ErrIdentityNoPsk)?;
    Ok(key)
}

/// RFC 6066 §3: a name of DNS, without a dot at its end. The library sends what it is told or, if that is nothing, an address,
/// which must not be sent.
fn indicated(name: Option<&ServerName>) -> String {
    match name {
        Some(ServerName(rustls_pki_types::ServerName::DnsName(name))) => {
            name.as_ref().trim_end_matches('.').to_ascii_lowercase()
        }
        _ => "localhost".to_owned(),
    }
}

/// A certificate as the library has them.
fn certificate(own: &CertifiedKey) -> Result<Certificate, Refused> {
    let der = own.key.der();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_pkcs8_der(), &SystemRandom::new())
        .map_err(|_| Refused)?;
    Ok(Certificate {
        certificate: own.chain.clone(),
        private_key: CryptoPrivateKey {
            kind: CryptoPrivateKeyKind::Ecdsa256(key),
            serialized_der: der.secret_pkcs8_der().to_vec(),
        },
    })
}

#[cfg(test)]
mod tests;
