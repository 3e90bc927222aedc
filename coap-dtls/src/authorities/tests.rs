//! Each reason to refuse a certificate, and what must not be refused.

use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints, SanType};

use super::*;
use crate::keygen::{self, Authority, Issued, SigningKey, Validity};
use crate::{SpkiPins, certificates_from_pem, spki_sha256};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// 2026-11-24 00:00 UTC, in days since 1970.
const TODAY: u32 = 20_781;

/// An authority, and the time and randomness that certificates are made with.
struct World {
    rng: ChaCha20Rng,
    authority: Authority,
    validity: Validity,
}

impl World {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let validity = Validity::days_from(today(), 365);
        let authority = Authority::new("Trial CA", validity, &mut rng).unwrap();
        Self { rng, authority, validity }
    }

    fn server(&mut self, names: &[&str]) -> Vec<CertificateDer<'static>> {
        chain(&self.authority.server(names, self.validity, &mut self.rng).unwrap())
    }

    /// A certificate as no one asks `keygen` for.
    fn odd(&mut self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Vec<CertificateDer<'static>> {
        let mut params = keygen::params(name, self.validity, &mut self.rng).unwrap();
        change(&mut params);
        chain(&self.authority.issue(params, &mut self.rng).unwrap())
    }

    /// One that its owner has signed.
    fn self_signed(
        &mut self,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (Vec<CertificateDer<'static>>, SigningKey) {
        let mut params = keygen::params("device", self.validity, &mut self.rng).unwrap();
        change(&mut params);
        let key = SigningKey::generate(&mut self.rng);
        (vec![params.self_signed(&key).unwrap().der().clone()], key)
    }

    fn verifier(&self) -> WebPkiVerifier {
        WebPkiVerifier::new(certificates_from_pem(self.authority.certificate().unwrap()).unwrap()).unwrap()
    }

    fn ask(&self, chain: &[CertificateDer<'static>], name: &str) -> Result<(), CertificateError> {
        self.verifier().verify(chain, Role::Server, Some(&server_name(name)), today())
    }
}

fn today() -> SystemTime {
    UNIX_EPOCH + TODAY * DAY
}

fn server_name(name: &str) -> ServerName {
    name.parse::<IpAddr>().map_or_else(|_| ServerName::dns(name).unwrap(), ServerName::from)
}

fn chain(issued: &Issued) -> Vec<CertificateDer<'static>> {
    certificates_from_pem(&issued.certificates).unwrap()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

#[test]
fn a_server_is_accepted_by_each_of_its_names() {
    let mut world = World::new();
    let server = world.server(&["sensor.example.org", "192.0.2.1", "2001:db8::1", "*.hall.example.org"]);
    for name in ["sensor.example.org", "SENSOR.example.org.", "192.0.2.1", "2001:db8::1", "lamp.hall.example.org"] {
        assert_eq!(world.ask(&server, name), Ok(()), "{name}");
    }
}

#[test]
fn a_server_with_another_name_is_refused() {
    let mut world = World::new();
    let server = world.server(&["sensor.example.org", "192.0.2.1", "*.hall.example.org"]);
    for name in ["sensor.example.com", "192.0.2.2", "::1", "hall.example.org", "a.b.hall.example.org", "example.org"] {
        assert_eq!(world.ask(&server, name), Err(CertificateError::NameMismatch), "{name}");
    }
}

#[test]
fn an_address_is_not_taken_from_a_name_of_dns() {
    let mut world = World::new();
    let server = world.odd("device", |params| params.subject_alt_names = vec![dns("192.0.2.1")]);
    assert_eq!(world.ask(&server, "192.0.2.1"), Err(CertificateError::NameMismatch));
}

#[test]
fn a_server_without_a_name_to_ask_for_is_refused() {
    let mut world = World::new();
    let server = world.server(&["sensor.example.org"]);
    let verdict = world.verifier().verify(&server, Role::Server, None, today());
    assert_eq!(verdict, Err(CertificateError::NameMismatch));
}

/// RFC 7252 §9.1.3.3: the common name counts if there is no SubjectAltName, and never with a wildcard.
#[test]
fn the_common_name_counts_only_without_subject_alt_name() {
    let mut world = World::new();
    let old = world.odd("Sensor.example.org", |_| {});
    assert_eq!(world.ask(&old, "sensor.example.org"), Ok(()));
    assert_eq!(world.ask(&old, "lamp.example.org"), Err(CertificateError::NameMismatch));

    let address = world.odd("192.0.2.1", |_| {});
    assert_eq!(world.ask(&address, "192.0.2.1"), Ok(()));

    let wildcard = world.odd("*.example.org", |_| {});
    assert_eq!(world.ask(&wildcard, "sensor.example.org"), Err(CertificateError::NameMismatch));

    let both = world.odd("sensor.example.org", |params| params.subject_alt_names = vec![dns("lamp.example.org")]);
    assert_eq!(world.ask(&both, "lamp.example.org"), Ok(()));
    assert_eq!(world.ask(&both, "sensor.example.org"), Err(CertificateError::NameMismatch));
}

/// RFC 7252 §9.1.3.3: the authority of a CoAP URI in SubjectAltName.
#[test]
fn a_coap_uri_in_subject_alt_name_names_its_host() {
    let mut world = World::new();
    let uris = ["coaps://sensor.example.org/", "coaps://[2001:db8::1]:7000", "https://lamp.example.org/", "coaps://"];
    let uris = uris.map(|uri| SanType::URI(uri.try_into().unwrap()));
    let server = world.odd("device", |params| params.subject_alt_names = uris.to_vec());
    assert_eq!(world.ask(&server, "sensor.example.org"), Ok(()));
    assert_eq!(world.ask(&server, "2001:db8::1"), Ok(()));
    assert_eq!(world.ask(&server, "lamp.example.org"), Err(CertificateError::NameMismatch));
    assert_eq!(world.ask(&server, "device"), Err(CertificateError::NameMismatch));
}

/// Else an authority for a few names could issue a certificate without SubjectAltName for any other.
#[test]
fn an_authority_for_some_names_cannot_vouch_for_others_by_the_common_name() {
    let mut world = World::new();
    let mut params = keygen::params("Hall CA", world.validity, &mut world.rng).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("hall.example.org".into())],
        excluded_subtrees: Vec::new(),
    });
    let key = SigningKey::generate(&mut world.rng);
    let root = params.self_signed(&key).unwrap().der().clone();
    let issuer = rcgen::Issuer::new(params, key);
    let verifier = WebPkiVerifier::new([root]).unwrap();
    let mut verdict = |common: &str, alternative: Option<SanType>, name: &str| {
        let mut params = keygen::params(common, world.validity, &mut world.rng).unwrap();
        params.subject_alt_names.extend(alternative);
        let own = params.signed_by(&SigningKey::generate(&mut world.rng), &issuer).unwrap().der().clone();
        verifier.verify(&[own], Role::Server, Some(&server_name(name)), today())
    };
    assert_eq!(verdict("x", Some(dns("lamp.hall.example.org")), "lamp.hall.example.org"), Ok(()));
    assert_eq!(verdict("bank.example.com", None, "bank.example.com"), Err(CertificateError::NameMismatch));
    let uri = SanType::URI("coaps://bank.example.com/".try_into().unwrap());
    assert_eq!(verdict("x", Some(uri), "bank.example.com"), Err(CertificateError::NameMismatch));
    assert_eq!(verdict("x", Some(dns("bank.example.com")), "bank.example.com"), Err(CertificateError::Rejected));
}

#[test]
fn a_server_of_an_unknown_authority_is_refused() {
    let mut world = World::new();
    let stranger = Authority::new("Other CA", world.validity, &mut world.rng).unwrap();
    let server = chain(&stranger.server(&["sensor.example.org"], world.validity, &mut world.rng).unwrap());
    assert_eq!(world.ask(&server, "sensor.example.org"), Err(CertificateError::UnknownAuthority));
}

#[test]
fn an_authority_with_the_name_of_a_trusted_one_is_unknown() {
    let mut world = World::new();
    let impostor = Authority::new("Trial CA", world.validity, &mut world.rng).unwrap();
    let server = chain(&impostor.server(&["sensor.example.org"], world.validity, &mut world.rng).unwrap());
    assert_eq!(world.ask(&server, "sensor.example.org"), Err(CertificateError::UnknownAuthority));
}

#[test]
fn a_certificate_is_refused_before_and_after_its_time() {
    let mut world = World::new();
    let server = world.server(&["sensor.example.org"]);
    let name = server_name("sensor.example.org");
    let on = |day: u32| world.verifier().verify(&server, Role::Server, Some(&name), UNIX_EPOCH + day * DAY);
    assert_eq!(on(TODAY - 1), Err(CertificateError::Expired));
    assert_eq!(on(TODAY), Ok(()));
    assert_eq!(on(TODAY + 365), Ok(()));
    assert_eq!(on(TODAY + 366), Err(CertificateError::Expired));
    let no_clock = UNIX_EPOCH - DAY;
    assert_eq!(world.verifier().verify(&server, Role::Server, Some(&name), no_clock), Err(CertificateError::Expired));
}

#[test]
fn a_certificate_for_another_use_is_refused() {
    let mut world = World::new();
    let server = world.server(&["sensor.example.org"]);
    let client = chain(&world.authority.client("sensor.example.org", world.validity, &mut world.rng).unwrap());
    assert_eq!(world.verifier().verify(&client, Role::Client, None, today()), Ok(()));
    assert_eq!(world.ask(&client, "sensor.example.org"), Err(CertificateError::Rejected));
    assert_eq!(world.verifier().verify(&server, Role::Client, None, today()), Err(CertificateError::Rejected));
}

#[test]
fn a_certificate_that_names_no_use_is_for_all() {
    let mut world = World::new();
    let plain = world.odd("device", |params| params.subject_alt_names = vec![dns("sensor.example.org")]);
    assert_eq!(world.ask(&plain, "sensor.example.org"), Ok(()));
    assert_eq!(world.verifier().verify(&plain, Role::Client, None, today()), Ok(()));
}

#[test]
fn an_intermediate_must_be_shown_or_known() {
    let mut world = World::new();
    let between = world.authority.intermediate("Hall CA", world.validity, &mut world.rng).unwrap();
    let below = between.intermediate("Shelf CA", world.validity, &mut world.rng).unwrap();
    let full = chain(&below.server(&["sensor.example.org"], world.validity, &mut world.rng).unwrap());
    assert_eq!(full.len(), 3);
    assert_eq!(world.ask(&full, "sensor.example.org"), Ok(()));
    assert_eq!(world.ask(&full[..2], "sensor.example.org"), Err(CertificateError::UnknownAuthority));
    assert_eq!(world.ask(&full[..1], "sensor.example.org"), Err(CertificateError::UnknownAuthority));

    let name = server_name("sensor.example.org");
    let knowing = world.verifier().with_intermediates(full[1..].to_vec());
    assert_eq!(knowing.verify(&full[..1], Role::Server, Some(&name), today()), Ok(()));
}

#[test]
fn a_server_cannot_vouch_for_others() {
    let mut world = World::new();
    let key = SigningKey::generate(&mut world.rng);
    let mut params = keygen::params("thief", world.validity, &mut world.rng).unwrap();
    params.subject_alt_names = vec![dns("thief.example.org")];
    let thief = world.authority.issue(params.clone(), &mut world.rng).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let victim = keygen::params("bank.example.org", world.validity, &mut world.rng).unwrap();
    let own = victim.signed_by(&SigningKey::generate(&mut world.rng), &issuer).unwrap().der().clone();
    let shown = [vec![own], chain(&thief)].concat();
    assert!(world.ask(&shown, "bank.example.org").is_err());
}

#[test]
fn a_self_signed_certificate_can_be_trusted_alone() {
    let mut world = World::new();
    let (device, key) = world.self_signed(|params| params.subject_alt_names = vec![dns("device.local")]);
    let verifier = WebPkiVerifier::new(device.clone()).unwrap();
    let name = server_name("device.local");
    let ask = |name: &ServerName, day| verifier.verify(&device, Role::Server, Some(name), UNIX_EPOCH + day * DAY);
    assert_eq!(ask(&name, TODAY), Ok(()));
    assert_eq!(ask(&server_name("other.local"), TODAY), Err(CertificateError::NameMismatch));
    assert_eq!(ask(&name, TODAY + 400), Err(CertificateError::Expired));
    assert_eq!(ask(&name, TODAY - 1), Err(CertificateError::Expired));
    assert_eq!(world.ask(&device, "device.local"), Err(CertificateError::UnknownAuthority));

    // It is no authority: what it has signed for another name is not trusted.
    let issuer = rcgen::Issuer::new(keygen::params("device", world.validity, &mut world.rng).unwrap(), key);
    let forged = keygen::params("bank.example.org", world.validity, &mut world.rng).unwrap();
    let forged = forged.signed_by(&SigningKey::generate(&mut world.rng), &issuer).unwrap().der().clone();
    let bank = server_name("bank.example.org");
    assert_eq!(verifier.verify(&[forged], Role::Server, Some(&bank), today()), Err(CertificateError::UnknownAuthority));
}

#[test]
fn a_self_signed_certificate_is_held_to_its_use() {
    let mut world = World::new();
    let (device, _) =
        world.self_signed(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let verifier = WebPkiVerifier::new(device.clone()).unwrap();
    assert_eq!(verifier.verify(&device, Role::Client, None, today()), Ok(()));
    let name = server_name("device");
    assert_eq!(verifier.verify(&device, Role::Server, Some(&name), today()), Err(CertificateError::Rejected));
}

#[test]
fn what_is_no_certificate_is_rejected() {
    let world = World::new();
    assert_eq!(world.ask(&[], "sensor.example.org"), Err(CertificateError::Rejected));
    let junk = CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x00]);
    assert_eq!(world.ask(core::slice::from_ref(&junk), "sensor.example.org"), Err(CertificateError::Rejected));
    assert!(matches!(WebPkiVerifier::new([junk]), Err(CredentialError::Malformed { .. })));
    assert_eq!(WebPkiVerifier::new([]).err(), Some(CredentialError::TrustsNobody));
}

#[test]
fn each_bit_of_a_certificate_counts() {
    let mut world = World::new();
    let server = world.server(&["sensor.example.org"]);
    for at in (0..server[0].len()).step_by(3) {
        let mut changed = server[0].to_vec();
        changed[at] ^= 1;
        assert!(world.ask(&[changed.into()], "sensor.example.org").is_err(), "byte {at}");
    }
}

#[test]
fn a_pin_is_of_the_key_and_not_of_the_certificate() {
    let mut world = World::new();
    let (first, key) = world.self_signed(|_| {});
    let renewed = keygen::params("renewed", world.validity, &mut world.rng).unwrap();
    let renewed = vec![renewed.self_signed(&key).unwrap().der().clone()];
    let pins = SpkiPins::new([spki_sha256(&first[0]).unwrap()]).unwrap();
    for chain in [&first, &renewed] {
        assert_eq!(pins.verify(chain, Role::Server, None, today() + 1000 * DAY), Ok(()));
    }
    let (other, _) = world.self_signed(|_| {});
    // The pinned certificate behind one's own proves nothing.
    let other = [other, first].concat();
    assert_eq!(pins.verify(&other, Role::Server, None, today()), Err(CertificateError::UnknownAuthority));
    assert_eq!(pins.verify(&[], Role::Server, None, today()), Err(CertificateError::Rejected));
    assert_eq!(SpkiPins::new([]).err(), Some(CredentialError::TrustsNobody));
}
