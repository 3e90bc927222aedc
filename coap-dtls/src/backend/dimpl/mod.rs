//! The backend `dimpl`: DTLS 1.2 and 1.3 without I/O, on any runtime and in virtual time.
//!
//! A configuration of the library costs up to a millisecond, as it tests its cryptography: it is made once, here. A server has one
//! for each thing that a client may want, and looks at the client's hello for which it is:
//!
//! ```text
//!   hello ──► offers DTLS 1.3, which is spoken here, and there is a certificate ──► both versions, half-open until it is proven
//!         ──► PSK_CCM_8 before a suite with certificates, and there are keys    ──► keys, after a cookie of the layer
//!         ──► else                                                              ──► certificates, after a cookie of the layer
//! ```

mod anonymous;
mod cipher;
mod engine;
mod error;
mod provider;

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use coap_core::{Instant, UdpAddr};
use dimpl::crypto::Dtls12CipherSuite;
use dimpl::{Config, ConfigBuilder, Dtls, DtlsCertificate};

use self::engine::{Credentials, DimplEngine, Judge};
use self::provider::{Call, ClientKey, ServerKeys};
use super::Refused;
use crate::config::{ClientAuth, ClientCredential, ClientParts, Common, ServerCertificate, ServerParts, Versions};
use crate::credentials::CertifiedKey;
use crate::engine::{Acceptor, Connector, Engine, Kick};
use crate::hello::ClientHello;
use crate::verify::{Role, ServerName};

/// By how many bytes a record is longer than what it carries: its header, and the explicit nonce and tag of CCM_8 (RFC 6655
/// §3), or of GCM (RFC 5288 §3). A record of DTLS 1.3 has less.
const CCM8_OVERHEAD: usize = 13 + 8 + 8;
const GCM_OVERHEAD: usize = 13 + 8 + 16;

const PSK_CCM8: u16 = 0xc0a8;
/// ECDHE_ECDSA with AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305.
const ECDSA_SUITES: [u16; 3] = [0xc02b, 0xc02c, 0xcca9];

/// The clock of the library: ours, from a point that it takes for its own.
#[derive(Clone, Copy)]
struct Clock {
    zero: std::time::Instant,
    /// The least time between two calls of the library's timer. With a gap in what has come of a handshake, DTLS 1.3 acknowledges
    /// the rest, and the library wants to do so again at once, for as long as there is the gap.
    rest: Duration,
}

impl Clock {
    fn new(common: &Common) -> Self {
        let zero = if common.seed.is_some() { *ZERO_OF_SEEDS } else { std::time::Instant::now() };
        Self { zero, rest: common.timer.initial / 4 }
    }

    fn at(self, now: Instant) -> std::time::Instant {
        // Ten years are left for what the library adds.
        let span = Duration::from_micros(now.as_micros());
        self.zero.checked_add(span).filter(|at| at.checked_add(TEN_YEARS).is_some()).unwrap_or(self.zero)
    }

    /// Never earlier than `at`, as our clock has microseconds.
    fn back(self, at: std::time::Instant) -> Instant {
        Instant::ZERO + at.saturating_duration_since(self.zero)
    }
}

/// The library writes the time of day into hellos (RFC 5246 §7.4.1.2), and finds it by how far an instant is from the first that
/// it has seen. With a seed all bytes are to be the same each time: time begins at a fixed date, and so far in the future that
/// the library has not seen anything later. Between two seconds, so that it does not matter if the two of us have looked at the
/// clocks some milliseconds apart. In one process the bytes are the same for all instants.
static ZERO_OF_SEEDS: LazyLock<std::time::Instant> = LazyLock::new(|| {
    let (now, today) = (std::time::Instant::now(), SystemTime::now());
    let date = SystemTime::UNIX_EPOCH + BEGINNING_OF_SEEDS;
    date.duration_since(today).ok().and_then(|span| now.checked_add(span)).unwrap_or(now)
});

/// The middle of the first second of 2080. The field has room until 2106.
const BEGINNING_OF_SEEDS: Duration = Duration::from_millis(3_471_292_800_500);

const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The client's side.
struct DimplConnector {
    configs: Configs,
    clock: Clock,
    versions: Versions,
    credentials: Credentials,
    /// What the client shows: none where keys are.
    certificate: Option<DtlsCertificate>,
}

/// The server's side.
struct DimplAcceptor {
    clock: Clock,
    psk: Option<Configs>,
    certificate: Option<CertificateSide>,
}

struct CertificateSide {
    configs: Configs,
    versions: Versions,
    own: DtlsCertificate,
    credentials: Credentials,
}

/// A configuration of the library: one for all sessions, or, with a seed, one for each: two that draw the same would say the same.
struct Configs {
    shared: Arc<Config>,
    seeded: Option<Seeded>,
}

struct Seeded {
    seed: u64,
    drawn: AtomicU64,
    make: Box<dyn Fn(u64) -> Option<Arc<Config>> + Send + Sync>,
}

impl Configs {
    /// What `make` makes of what is the same everywhere.
    fn new(
        common: &Common,
        make: impl Fn(ConfigBuilder) -> ConfigBuilder + Send + Sync + 'static,
    ) -> Result<Self, Refused> {
        let build = |builder: ConfigBuilder| builder.build().map(Arc::new).map_err(|_| Refused);
        let shared = build(make(builder(common)))?;
        let seeded = common.seed.map(|seed| {
            let common = common.clone();
            let make = move |seed| build(make(builder(&common).dangerously_set_rng_seed(seed))).ok();
            Seeded { seed, drawn: AtomicU64::new(0), make: Box::new(make) }
        });
        Ok(Self { shared, seeded })
    }

    /// That of the next session.
    fn next(&self) -> Arc<Config> {
        let own = self.seeded.as_ref().and_then(|seeded| {
            let count = seeded.drawn.fetch_add(1, Ordering::Relaxed);
            (seeded.make)(seeded.seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        });
        own.unwrap_or_else(|| self.shared.clone())
    }
}

/// A client's configuration, made and tested.
///
/// # Errors
/// The key cannot be used, or something is wished that the library does not have.
pub(crate) fn connector(parts: &ClientParts) -> Result<Box<dyn Connector>, Refused> {
    let common = &parts.common;
    let versions = common.versions;
    let (configs, credentials, certificate) = match &parts.credential {
        ClientCredential::Psk(psk) => {
            let (identity, keys) = (psk.identity.clone(), Arc::new(ClientKey(psk.clone())));
            let make = move |builder| only_psk(builder).with_psk_client(identity.clone(), keys.clone());
            (Configs::new(common, make)?, Credentials::ClientPsk(psk.identity.as_slice().into()), None)
        }
        ClientCredential::Certificate { own, verifier } => {
            let own = match own {
                Some(own) => certificate(own)?,
                None => anonymous::certificate()?,
            };
            let judge = Judge { verifier: verifier.clone(), clock: common.clock.clone(), role: Role::Server };
            let configs = Configs::new(common, move |builder| only_certificates(builder, versions))?;
            (configs, Credentials::Certificate(Arc::new(judge)), Some(own))
        }
    };
    let clock = Clock::new(common);
    Ok(Box::new(DimplConnector { configs, clock, versions, credentials, certificate }))
}

/// A server's configuration, made and tested.
///
/// # Errors
/// The key cannot be used, or something is wished that the library does not have.
pub(crate) fn acceptor(parts: &ServerParts) -> Result<Box<dyn Acceptor>, Refused> {
    let common = &parts.common;
    let psk = parts.psk.as_ref().map(|psk| {
        let (hint, keys) = (psk.hint.clone(), Arc::new(ServerKeys(AssertUnwindSafe(psk.store.clone()))));
        Configs::new(common, move |builder| only_psk(builder).with_psk_server(hint.clone(), keys.clone()))
    });
    let certificate = parts.certificate.as_ref().map(|side| certificate_side(common, side));
    let clock = Clock::new(common);
    Ok(Box::new(DimplAcceptor { clock, psk: psk.transpose()?, certificate: certificate.transpose()? }))
}

fn certificate_side(common: &Common, side: &ServerCertificate) -> Result<CertificateSide, Refused> {
    let credentials = match (side.clients, &side.verifier) {
        (ClientAuth::None, _) => Credentials::Anonymous,
        (ClientAuth::Required, Some(verifier)) => {
            let judge = Judge { verifier: verifier.clone(), clock: common.clock.clone(), role: Role::Client };
            Credentials::Certificate(Arc::new(judge))
        }
        _ => return Err(Refused),
    };
    let (asked, versions) = (side.clients == ClientAuth::Required, common.versions);
    let make = move |builder| only_certificates(builder, versions).require_client_certificate(asked);
    Ok(CertificateSide { configs: Configs::new(common, make)?, versions, own: certificate(&side.own)?, credentials })
}

/// What is the same on both sides.
fn builder(common: &Common) -> ConfigBuilder {
    let timer = common.timer;
    Config::builder()
        .with_crypto_provider(provider::provider())
        .mtu(common.max_record)
        .flight_start_rto(timer.initial)
        .flight_retries(repetitions(timer.initial, timer.deadline))
        .handshake_timeout(timer.deadline)
}

/// How often a flight is repeated, each time after twice the time, until the handshake is given up.
fn repetitions(initial: Duration, deadline: Duration) -> usize {
    let mut waited = initial;
    let mut count = 0;
    while waited < deadline && count < 32 {
        count += 1;
        waited = waited.saturating_mul(2).saturating_add(initial);
    }
    count
}

fn only_psk(builder: ConfigBuilder) -> ConfigBuilder {
    let builder = builder.with_crypto_provider(provider::without_curves());
    builder.dtls12_cipher_suites(&[Dtls12CipherSuite::PSK_AES128_CCM_8]).dtls13_cipher_suites(&[])
}

fn only_certificates(builder: ConfigBuilder, versions: Versions) -> ConfigBuilder {
    let builder = builder.dtls12_cipher_suites(&ECDSA_SUITES.map(Dtls12CipherSuite::from_u16));
    match versions {
        Versions::V12 => builder.dtls13_cipher_suites(&[]),
        Versions::V12AndV13 => builder,
    }
}

/// The library panics at a key that it cannot read: it is tried here.
fn certificate(own: &CertifiedKey) -> Result<DtlsCertificate, Refused> {
    let key = own.key.der().secret_pkcs8_der().to_vec();
    let Some(certificate) = own.chain.first().filter(|der| !der.is_empty()) else { return Err(Refused) };
    provider::provider().key_provider.load_private_key(&key).map_err(|_| Refused)?;
    Ok(DtlsCertificate { certificate: certificate.to_vec(), private_key: key })
}

impl Connector for DimplConnector {
    fn connect(&self, now: Instant, _peer: UdpAddr, name: Option<&ServerName>, _kick: Kick) -> Box<dyn Engine> {
        let at = self.clock.at(now);
        let mut dtls = match (&self.certificate, self.versions) {
            (None, _) => Dtls::new_12_psk(self.configs.next(), at),
            (Some(own), Versions::V12) => Dtls::new_12(self.configs.next(), own.clone(), at),
            (Some(own), Versions::V12AndV13) => Dtls::new_auto(self.configs.next(), own.clone(), at),
        };
        dtls.set_active(true);
        let mut engine = DimplEngine::new(dtls, self.clock, self.credentials.clone(), name.cloned());
        // The first flight is made when the clock moves.
        engine.handle_timeout(now);
        Box::new(engine)
    }

    fn overhead(&self) -> usize {
        if self.certificate.is_some() { GCM_OVERHEAD } else { CCM8_OVERHEAD }
    }
}

impl DimplAcceptor {
    /// What a session of DTLS 1.2 with this client is made from.
    fn side(&self, hello: &ClientHello<'_>) -> Side<'_> {
        let wanted = hello.suites().find(|suite| match *suite {
            PSK_CCM8 => self.psk.is_some(),
            suite => self.certificate.is_some() && ECDSA_SUITES.contains(&suite),
        });
        match (wanted, &self.psk, &self.certificate) {
            (Some(PSK_CCM8), Some(psk), _) => Side::Psk(psk),
            (_, _, Some(certificate)) => Side::Certificate(certificate),
            // A hello that fits neither is refused by the library.
            (_, Some(psk), None) => Side::Psk(psk),
            (_, None, None) => Side::Nothing,
        }
    }
}

/// Which of the two credentials of a server.
enum Side<'a> {
    Psk(&'a Configs),
    Certificate(&'a CertificateSide),
    Nothing,
}

impl Acceptor for DimplAcceptor {
    fn is_stateless(&self, hello: &ClientHello<'_>) -> bool {
        let speaks_13 = self.certificate.as_ref().is_some_and(|side| side.versions == Versions::V12AndV13);
        !(speaks_13 && hello.offers_dtls13())
    }

    fn accept(&self, now: Instant, _peer: UdpAddr, _kick: Kick) -> Option<Box<dyn Engine>> {
        let side = self.certificate.as_ref()?;
        let dtls = Dtls::new_auto(side.configs.next(), side.own.clone(), self.clock.at(now));
        Some(Box::new(DimplEngine::new(dtls, self.clock, side.credentials.clone(), None).unproven()))
    }

    fn accept_proven(
        &self,
        now: Instant,
        peer: UdpAddr,
        hello: &ClientHello<'_>,
        cookie: &[u8; 32],
        _kick: Kick,
    ) -> Option<Box<dyn Engine>> {
        let at = self.clock.at(now);
        let (dtls, credentials) = match self.side(hello) {
            Side::Psk(configs) => (Dtls::new_12_psk(configs.next(), at), Credentials::ServerPsk(peer)),
            Side::Certificate(side) => {
                (Dtls::new_12(side.configs.next(), side.own.clone(), at), side.credentials.clone())
            }
            Side::Nothing => return None,
        };
        let random = hello.random().try_into().ok()?;
        let call = Call { cookie: Some((random, *cookie)), ..Call::default() };
        let mut engine = DimplEngine::new(dtls, self.clock, credentials, None);
        let (greeted, _) = call.with(|| engine.greet(now, &hello.first(), hello.record()));
        greeted.then(|| Box::new(engine) as Box<dyn Engine>)
    }

    fn overhead(&self) -> usize {
        if self.certificate.is_some() { GCM_OVERHEAD } else { CCM8_OVERHEAD }
    }
}
