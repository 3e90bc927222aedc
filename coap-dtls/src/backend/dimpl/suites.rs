//! The cipher suites of the library, in the order in which we want them.
//!
//! The library offers its suites in the order of its provider, whatever the order of the list that it is given, and takes the
//! first of a client's that it has. So it is given a provider with our order; and a server that has a wish looks at the hello
//! itself, and makes the session from a configuration with the one suite that it has chosen.

use std::sync::{LazyLock, Mutex, PoisonError};

use dimpl::crypto::{
    Cipher, CryptoProvider, Dtls12CipherSuite, Dtls13CipherSuite, HashAlgorithm, SupportedDtls12CipherSuite,
    SupportedDtls13CipherSuite,
};
use dimpl::{ConfigBuilder, CryptoError};

use super::provider::{note_suite, provider};
use crate::suite::{CipherSuite, SuiteUse};

/// Has a configuration offer and take these suites, in this order, and no others.
pub(super) fn only(builder: ConfigBuilder, suites: &[CipherSuite]) -> ConfigBuilder {
    let of = |is_13: bool| {
        let fitting = suites.iter().filter(move |suite| (suite.used_for() == SuiteUse::Dtls13) == is_13);
        fitting.map(|suite| suite.number()).collect::<Vec<_>>()
    };
    let list_12: Vec<_> = of(false).into_iter().map(Dtls12CipherSuite::from_u16).collect();
    let list_13: Vec<_> = of(true).into_iter().map(Dtls13CipherSuite::from_u16).collect();
    let mut base = provider();
    if suites.iter().all(|suite| suite.used_for() == SuiteUse::PreSharedKeys) {
        // The hello of a client has none then (RFC 8422 §4), and the library does not test them: that is most of what a configuration
        // costs, of which there is one for each session with a seed.
        base.kx_groups = &[];
    }
    // A provider without any suite of a version is refused, even if none of it is to be used. One is enough, as the library tests each.
    let of_12 =
        if list_12.is_empty() { numbers(base.cipher_suites, |suite| suite.suite().as_u16()) } else { of(false) };
    let of_13 = if list_13.is_empty() {
        numbers(base.dtls13_cipher_suites.get(..1).unwrap_or_default(), |suite| suite.suite().as_u16())
    } else {
        of(true)
    };
    let provider = CryptoProvider {
        cipher_suites: ORDERS_12.get(of_12, |number| {
            let suite = base.cipher_suites.iter().find(|suite| suite.suite().as_u16() == number)?;
            Some(Box::leak(Box::new(Noted12(*suite))))
        }),
        dtls13_cipher_suites: ORDERS_13.get(of_13, |number| {
            let suite = base.dtls13_cipher_suites.iter().find(|suite| suite.suite().as_u16() == number)?;
            Some(Box::leak(Box::new(Noted13(*suite))))
        }),
        ..base
    };
    builder.with_crypto_provider(provider).dtls12_cipher_suites(&list_12).dtls13_cipher_suites(&list_13)
}

fn numbers<T>(suites: &[T], number: impl Fn(&T) -> u16) -> Vec<u16> {
    suites.iter().map(number).collect()
}

/// Lists of suites that live for ever, as the library wants them: made once for each order, and of three suites there are not more
/// than fifteen.
struct Orders<T: ?Sized + 'static>(Mutex<Vec<(Vec<u16>, &'static [&'static T])>>);

static ORDERS_12: LazyLock<Orders<dyn SupportedDtls12CipherSuite>> = LazyLock::new(Orders::default);
static ORDERS_13: LazyLock<Orders<dyn SupportedDtls13CipherSuite>> = LazyLock::new(Orders::default);

impl<T: ?Sized> Default for Orders<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: ?Sized> Orders<T> {
    fn get(&self, numbers: Vec<u16>, make: impl Fn(u16) -> Option<&'static T>) -> &'static [&'static T] {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, list)) = known.iter().find(|(of, _)| *of == numbers) {
            return list;
        }
        let list: &'static [&'static T] = numbers.iter().filter_map(|number| make(*number)).collect::<Vec<_>>().leak();
        known.push((numbers, list));
        list
    }
}

/// A suite that tells which it is when a session has agreed on it: keys for it are made then, and not before.
#[derive(Debug)]
struct Noted12(&'static dyn SupportedDtls12CipherSuite);

/// The same of DTLS 1.3.
#[derive(Debug)]
struct Noted13(&'static dyn SupportedDtls13CipherSuite);

impl SupportedDtls12CipherSuite for Noted12 {
    fn suite(&self) -> Dtls12CipherSuite {
        self.0.suite()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.0.hash_algorithm()
    }

    fn key_lengths(&self) -> (usize, usize, usize) {
        self.0.key_lengths()
    }

    fn explicit_nonce_len(&self) -> usize {
        self.0.explicit_nonce_len()
    }

    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn min_protected_fragment_len(&self) -> usize {
        self.0.min_protected_fragment_len()
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        note_suite(self.suite().as_u16());
        #[cfg(test)]
        return Ok(Box::new(super::tests::Fragile(self.0.create_cipher(key)?)));
        #[cfg(not(test))]
        self.0.create_cipher(key)
    }
}

impl SupportedDtls13CipherSuite for Noted13 {
    fn suite(&self) -> Dtls13CipherSuite {
        self.0.suite()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.0.hash_algorithm()
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn iv_len(&self) -> usize {
        self.0.iv_len()
    }

    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn min_protected_fragment_len(&self) -> usize {
        self.0.min_protected_fragment_len()
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        note_suite(self.suite().as_u16());
        #[cfg(test)]
        return Ok(Box::new(super::tests::Fragile(self.0.create_cipher(key)?)));
        #[cfg(not(test))]
        self.0.create_cipher(key)
    }

    fn encrypt_sn(&self, sn_key: &[u8], sample: &[u8; 16]) -> [u8; 16] {
        self.0.encrypt_sn(sn_key, sample)
    }
}
