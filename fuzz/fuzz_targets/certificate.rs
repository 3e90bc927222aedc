//! Certificates come from whoever wants to be a peer: none makes us panic, and none is accepted but those that an authority has
//! signed, whatever was changed in them. Files with keys may be anything, too.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arbitrary::{Arbitrary, Unstructured};
use coap_core::Host;
use coap_dtls::keygen::{Authority, Validity};
use coap_dtls::{
    CertificateDer, CertifiedKey, PeerVerifier, Role, ServerName, SpkiPins, WebPkiVerifier, certificates_from_pem,
    spki_sha256,
};
use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// What is done to a certificate.
#[derive(Arbitrary, Debug)]
enum Edit<'a> {
    Change { certificate: u8, at: u16, to: u8 },
    Insert { certificate: u8, at: u16, what: &'a [u8] },
    Remove { certificate: u8, at: u16, count: u8 },
    Append(&'a [u8]),
    Drop { certificate: u8 },
    Swap,
}

struct World {
    verifier: WebPkiVerifier,
    pins: SpkiPins,
    chain: Vec<CertificateDer<'static>>,
    name: ServerName,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let validity = Validity::days_from(now(), 1);
    let authority = Authority::new("CA", validity, &mut rng).expect("it can be made");
    let between = authority.intermediate("CA 2", validity, &mut rng).expect("it can be made");
    let names = ["door.example", "*.hall.example", "192.0.2.1"];
    let server = between.server(&names, validity, &mut rng).expect("it can be made");
    let chain = certificates_from_pem(&server.certificates).expect("they are certificates");
    let trusted = certificates_from_pem(authority.certificate().expect("it can be written")).expect("it is one");
    World {
        verifier: WebPkiVerifier::new(trusted).expect("it is one"),
        pins: SpkiPins::new([spki_sha256(&chain[0]).expect("it has a key")]).expect("there is one"),
        chain,
        name: ServerName::dns("door.example").expect("it is a name"),
    }
});

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fuzz_target!(|data: &[u8]| {
    let _ = certificates_from_pem(data);
    let _ = CertifiedKey::from_pem(data, data, None);
    let _ = CertifiedKey::from_der(WORLD.chain.clone(), data, None);
    if let Ok(name) = core::str::from_utf8(data) {
        let _ = ServerName::try_from(&Host::Name(name.to_owned()));
    }
    if let Ok(edits) = Vec::<Edit<'_>>::arbitrary(&mut Unstructured::new(data)) {
        edited(&edits);
    }
});

fn edited(edits: &[Edit<'_>]) {
    let mut chain: Vec<Vec<u8>> = WORLD.chain.iter().map(|certificate| certificate.to_vec()).collect();
    edits.iter().take(32).for_each(|edit| apply(&mut chain, edit));
    let chain: Vec<CertificateDer<'static>> = chain.into_iter().map(Into::into).collect();

    let accepted = WORLD.verifier.verify(&chain, Role::Server, Some(&WORLD.name), now()).is_ok();
    assert!(!accepted || WORLD.chain.iter().all(|signed| chain.contains(signed)));
    assert!(WORLD.verifier.verify(&chain, Role::Server, None, now()).is_err());
    let _ = WORLD.verifier.verify(&chain, Role::Client, None, now());
    let _ = WORLD.pins.verify(&chain, Role::Server, None, now());

    // Trusted as they are, they are looked at more closely.
    if let Ok(itself) = WebPkiVerifier::new(chain.iter().take(1).cloned()) {
        let other = ServerName::dns("bank.example").expect("it is a name");
        let _ = itself.verify(&chain, Role::Server, Some(&other), now());
        let _ = itself.verify(&chain, Role::Client, None, now());
    }
}

fn apply(chain: &mut Vec<Vec<u8>>, edit: &Edit<'_>) {
    let at = |length: usize, at: u16| usize::from(at) % length.max(1);
    match *edit {
        Edit::Change { certificate, at: place, to } => {
            let Some(certificate) = chain.get_mut(usize::from(certificate)) else { return };
            let place = at(certificate.len(), place);
            if let Some(byte) = certificate.get_mut(place) {
                *byte = to;
            }
        }
        Edit::Insert { certificate, at: place, what } => {
            let Some(certificate) = chain.get_mut(usize::from(certificate)) else { return };
            let place = at(certificate.len(), place);
            certificate.splice(place..place, what.iter().copied());
        }
        Edit::Remove { certificate, at: place, count } => {
            let Some(certificate) = chain.get_mut(usize::from(certificate)) else { return };
            let place = at(certificate.len(), place);
            let end = (place + usize::from(count)).min(certificate.len());
            certificate.drain(place..end);
        }
        Edit::Append(certificate) => chain.push(certificate.to_vec()),
        Edit::Drop { certificate } => {
            if usize::from(certificate) < chain.len() {
                chain.remove(usize::from(certificate));
            }
        }
        Edit::Swap => chain.reverse(),
    }
}
