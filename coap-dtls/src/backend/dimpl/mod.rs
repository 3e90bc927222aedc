//! The backend `dimpl`: DTLS 1.2 and 1.3 without I/O, on any runtime and in virtual time.
//!
//! A configuration of the library costs up to a millisecond, as it tests its cryptography: it is made once, here. A server has one
//! for each thing that a client may want, and looks at the client's hello for which it is:
//!
//! ```text
//!   hello ──► offers DTLS 1.3, which is spoken here, and there is a certificate  ──► both versions, half-open until it is proven
//!         ──► a suite with keys before one with certificates, and there are keys ──► keys, after a cookie of the layer
//!         ──► a suite with certificates                                          ──► certificates, after a cookie of the layer
//!         ──► else                                                               ──► handshake_failure, after a cookie of the layer
//! ```

mod anonymous;
mod cipher;
mod engine;
mod error;
mod guard;
mod provider;
mod suites;
mod taken;
#[cfg(test)]
mod tests;

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use coap_core::{Instant, UdpAddr};
use dimpl::{Config, ConfigBuilder, Dtls, DtlsCertificate};

use self::engine::{Credentials, DimplEngine, Judge};
use self::provider::{Call, ClientKey, ServerKeys};
use super::Refused;
use crate::attempts::Attempt;
use crate::config::{ClientAuth, ClientCredential, ClientParts, Common, ServerCertificate, ServerParts, Versions};
use crate::credentials::CertifiedKey;
use crate::engine::{Acceptor, Connector, Engine, Kick};
use crate::hello::ClientHello;
use crate::suite::{CipherSuite, SuiteUse};
use crate::verify::{Role, ServerName};

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
    max_record: usize,
    versions: Versions,
    credentials: Credentials,
    /// What the client shows: none where keys are.
    certificate: Option<DtlsCertificate>,
    /// There are suites of DTLS 1.2 too.
    has_12: bool,
    overhead: usize,
}

/// The server's side.
struct DimplAcceptor {
    clock: Clock,
    max_record: usize,
    /// For DTLS 1.2, in the order of the server.
    choices: Vec<Choice>,
    /// For DTLS 1.3, the same. None: it is not spoken.
    choices_13: Vec<Choice>,
    /// Otherwise the client's order counts.
    is_wished: bool,
    certificate: Option<CertificateSide>,
    overhead: usize,
}

/// What a session is made from with one of these suites.
struct Choice {
    suites: Vec<u16>,
    configs: Configs,
    is_psk: bool,
}

/// The certificate of a server, and whom it shows it to.
struct CertificateSide {
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
    let suites: Vec<_> = parts.suites.iter().collect();
    let (has_12, overhead) = (suites.iter().any(|suite| suite.used_for() != SuiteUse::Dtls13), parts.suites.overhead());
    let (configs, credentials, certificate) = match &parts.credential {
        ClientCredential::Psk(psk) => {
            let (identity, keys) = (psk.identity.clone(), Arc::new(ClientKey(psk.clone())));
            let make = move |builder| suites::only(builder, &suites).with_psk_client(identity.clone(), keys.clone());
            (Configs::new(common, make)?, Credentials::ClientPsk(psk.identity.as_slice().into()), None)
        }
        ClientCredential::Certificate { own, verifier } => {
            let own = match own {
                Some(own) => certificate(own)?,
                None => anonymous::certificate()?,
            };
            let judge = Judge { verifier: verifier.clone(), clock: common.clock.clone(), role: Role::Server };
            let configs = Configs::new(common, move |builder| suites::only(builder, &suites))?;
            (configs, Credentials::Certificate(Arc::new(judge)), Some(own))
        }
    };
    let clock = Clock::new(common);
    let max_record = common.max_record;
    Ok(Box::new(DimplConnector { configs, clock, max_record, versions, credentials, certificate, has_12, overhead }))
}

/// A server's configuration, made and tested.
///
/// # Errors
/// The key cannot be used, or something is wished that the library does not have.
pub(crate) fn acceptor(parts: &ServerParts) -> Result<Box<dyn Acceptor>, Refused> {
    let (common, is_wished) = (&parts.common, parts.suites.is_wished);
    let certificate = parts.certificate.as_ref().map(|side| certificate_side(side, common)).transpose()?;
    let mut choices = Vec::new();
    for suites in groups(parts, |what| what != SuiteUse::Dtls13) {
        choices.push(choice(parts, suites)?);
    }
    let mut choices_13 = Vec::new();
    for mut suites in groups(parts, |what| what == SuiteUse::Dtls13) {
        // What the library falls back to, though it is not asked for that.
        suites.extend(parts.suites.of(SuiteUse::Certificates));
        choices_13.push(choice(parts, suites)?);
    }
    let (clock, overhead) = (Clock::new(common), parts.suites.overhead());
    let max_record = common.max_record;
    Ok(Box::new(DimplAcceptor { clock, max_record, choices, choices_13, is_wished, certificate, overhead }))
}

/// The suites of one version that share a configuration: all for one credential, or, if the server is to choose, each alone.
fn groups(parts: &ServerParts, of: impl Fn(SuiteUse) -> bool) -> Vec<Vec<CipherSuite>> {
    let mut groups: Vec<Vec<CipherSuite>> = Vec::new();
    for suite in parts.suites.iter().filter(|suite| of(suite.used_for())) {
        let same = |group: &&mut Vec<CipherSuite>| group.iter().any(|other| other.used_for() == suite.used_for());
        match groups.iter_mut().find(same).filter(|_| !parts.suites.is_wished) {
            Some(group) => group.push(suite),
            None => groups.push(vec![suite]),
        }
    }
    groups
}

fn choice(parts: &ServerParts, suites: Vec<CipherSuite>) -> Result<Choice, Refused> {
    let numbers = suites.iter().map(|suite| suite.number()).collect();
    let is_psk = suites.iter().any(|suite| suite.used_for() == SuiteUse::PreSharedKeys);
    let configs = match (&parts.psk, &parts.certificate) {
        (Some(psk), _) if is_psk => {
            let (hint, keys) = (psk.hint.clone(), Arc::new(ServerKeys(AssertUnwindSafe(psk.store.clone()))));
            let make = move |builder| suites::only(builder, &suites).with_psk_server(hint.clone(), keys.clone());
            Configs::new(&parts.common, make)?
        }
        (_, Some(side)) if !is_psk => {
            let asked = side.clients == ClientAuth::Required;
            let make = move |builder| suites::only(builder, &suites).require_client_certificate(asked);
            Configs::new(&parts.common, make)?
        }
        _ => return Err(Refused),
    };
    Ok(Choice { suites: numbers, configs, is_psk })
}

fn certificate_side(side: &ServerCertificate, common: &Common) -> Result<CertificateSide, Refused> {
    let credentials = match (side.clients, &side.verifier) {
        (ClientAuth::None, _) => Credentials::Anonymous,
        (ClientAuth::Required, Some(verifier)) => {
            let judge = Judge { verifier: verifier.clone(), clock: common.clock.clone(), role: Role::Client };
            Credentials::Certificate(Arc::new(judge))
        }
        _ => return Err(Refused),
    };
    Ok(CertificateSide { own: certificate(&side.own)?, credentials })
}

/// What is the same on both sides.
fn builder(common: &Common) -> ConfigBuilder {
    let timer = common.timer;
    Config::builder()
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
            (Some(own), Versions::V12AndV13) if self.has_12 => Dtls::new_auto(self.configs.next(), own.clone(), at),
            (Some(own), Versions::V12AndV13) => Dtls::new_13(self.configs.next(), own.clone(), at),
        };
        dtls.set_active(true);
        let mut engine =
            DimplEngine::new(dtls, self.clock, self.credentials.clone(), self.max_record).client(name.cloned());
        // The first flight is made when the clock moves.
        engine.handle_timeout(now);
        Box::new(engine)
    }

    fn overhead(&self) -> usize {
        self.overhead
    }
}

/// What a session with this client is made from.
fn choose<'a>(choices: &'a [Choice], by_server: bool, hello: &ClientHello<'_>) -> Option<&'a Choice> {
    let mut offered = hello.suites();
    if by_server {
        return choices.iter().find(|choice| hello.suites().any(|suite| choice.suites.contains(&suite)));
    }
    offered.find_map(|suite| choices.iter().find(|choice| choice.suites.contains(&suite)))
}

impl Acceptor for DimplAcceptor {
    fn is_stateless(&self, hello: &ClientHello<'_>) -> bool {
        self.choices_13.is_empty() || !hello.offers_dtls13()
    }

    fn accept(
        &self,
        now: Instant,
        _peer: UdpAddr,
        hello: &ClientHello<'_>,
        _attempt: Attempt,
        _kick: Kick,
    ) -> Option<Box<dyn Engine>> {
        let side = self.certificate.as_ref()?;
        // A hello that fits none is refused by the library.
        let choice = choose(&self.choices_13, self.is_wished, hello).or_else(|| self.choices_13.first())?;
        let dtls = Dtls::new_auto(choice.configs.next(), side.own.clone(), self.clock.at(now));
        Some(Box::new(DimplEngine::new(dtls, self.clock, side.credentials.clone(), self.max_record).unproven()))
    }

    fn accept_proven(
        &self,
        now: Instant,
        peer: UdpAddr,
        hello: &ClientHello<'_>,
        cookie: &[u8; 32],
        attempt: Attempt,
        _kick: Kick,
    ) -> Result<Box<dyn Engine>, u8> {
        let at = self.clock.at(now);
        let choice = match choose(&self.choices, self.is_wished, hello) {
            Some(choice) => choice,
            // RFC 5246 §7.2.2: it speaks DTLS 1.2 alone, and nobody here does.
            None if self.choices.is_empty() => return Err(error::PROTOCOL_VERSION),
            None => return Err(error::HANDSHAKE_FAILURE),
        };
        let (dtls, credentials) = match &self.certificate {
            Some(side) if !choice.is_psk => {
                (Dtls::new_12(choice.configs.next(), side.own.clone(), at), side.credentials.clone())
            }
            _ => (Dtls::new_12_psk(choice.configs.next(), at), Credentials::ServerPsk(peer)),
        };
        let random = hello.random().try_into().map_err(|_| error::INTERNAL_ERROR)?;
        let call = Call { cookie: Some((random, *cookie)), ..Call::default() };
        let mut engine = DimplEngine::new(dtls, self.clock, credentials, self.max_record).after(attempt);
        let (greeted, _) = call.with(|| engine.greet(now, &hello.first(), hello.record()));
        greeted.map(|()| Box::new(engine) as Box<dyn Engine>)
    }

    fn overhead(&self) -> usize {
        self.overhead
    }
}
