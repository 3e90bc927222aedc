//! What the library asks for while it works on one session: the key of an identity, and the cookie that it expects.
//!
//! Its configuration is shared by all sessions, as it costs up to a millisecond to make, and so are the two objects that it asks.
//! They find what belongs to the session at hand in a [`Call`], which is there for the time of one call into the library.

use core::cell::RefCell;
use std::sync::LazyLock;

use coap_core::UdpAddr;
use core::panic::AssertUnwindSafe;
use dimpl::crypto::{CryptoProvider, HmacProvider, rust_crypto};
use dimpl::{CryptoError, HashAlgorithm, PskResolver};
use std::sync::Arc;

use super::cipher;
use super::taken::Taken;
use crate::credentials::{ClientPsk, PskLookup, PskStore, look_up};

thread_local! {
    static CALL: RefCell<Option<Call>> = const { RefCell::new(None) };
}

/// One call into the library, for one session.
#[derive(Default)]
pub(super) struct Call {
    /// Whom the session is with.
    pub(super) peer: Option<UdpAddr>,
    /// The identity that was asked for.
    pub(super) identity: Option<Vec<u8>>,
    /// The random of the client, and the cookie that it was given.
    pub(super) cookie: Option<([u8; 32], [u8; 32])>,
    /// The number of the cipher suite that keys have been made for.
    pub(super) suite: Option<u16>,
    /// What a session of DTLS 1.2 can go on with.
    pub(super) taken: Option<Box<Taken>>,
}

impl Call {
    /// Does `work` with this call in place, and gives it back.
    pub(super) fn with<T>(self, work: impl FnOnce() -> T) -> (T, Self) {
        let _restore = Restore(CALL.replace(Some(self)));
        let done = work();
        (done, CALL.take().unwrap_or_default())
    }
}

/// Puts back what was there before, also if the library panics.
struct Restore(Option<Call>);

impl Drop for Restore {
    fn drop(&mut self) {
        CALL.set(self.0.take());
    }
}

/// Keys have been made for this suite in the session at hand.
pub(super) fn note_suite(number: u16) {
    CALL.with_borrow_mut(|call| {
        if let Some(call) = call {
            call.suite = Some(number);
        }
    });
}

/// What the ciphers of the session at hand tell.
pub(super) fn taken(tell: impl FnOnce(&mut Taken)) {
    CALL.with_borrow_mut(|call| {
        if let Some(taken) = call.as_mut().and_then(|call| call.taken.as_mut()) {
            tell(taken);
        }
    });
}

/// The keys of a server.
pub(super) struct ServerKeys(pub(super) AssertUnwindSafe<Arc<dyn PskStore>>);

impl PskResolver for ServerKeys {
    /// `None` has the library go on with a random key, and fail where a wrong key fails.
    fn resolve(&self, identity: &[u8]) -> Option<Vec<u8>> {
        let peer = CALL.with_borrow_mut(|call| {
            let call = call.as_mut()?;
            call.identity = Some(identity.to_vec());
            call.peer
        })?;
        match look_up(&**self.0, identity, peer) {
            PskLookup::Key(key) => Some(key.bytes().to_vec()),
            PskLookup::Unknown => None,
        }
    }
}

/// The one key of a client.
pub(super) struct ClientKey(pub(super) ClientPsk);

impl PskResolver for ClientKey {
    fn resolve(&self, _identity: &[u8]) -> Option<Vec<u8>> {
        Some(self.0.key.bytes().to_vec())
    }
}

/// The cryptography of the library, with a cookie that is ours, and ciphers that keep less.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider { hmac_provider: &CookieHmac, cipher_suites: cipher::suites(), ..BASE.clone() }
}

pub(super) static BASE: LazyLock<CryptoProvider> = LazyLock::new(rust_crypto::default_provider);

/// The library makes its cookie as HMAC-SHA-256 of the client's random, under a key of the session. What a stateless server
/// wants is a cookie that was made before there was a session: for that one computation, this says the cookie that the layer
/// has made and checked. All others are what they should be.
#[derive(Debug)]
struct CookieHmac;

impl HmacProvider for CookieHmac {
    fn hmac_sha256(&self, key: &[u8], data: &[u8]) -> Result<[u8; 32], CryptoError> {
        let cookie = CALL.with_borrow(|call| call.as_ref()?.cookie);
        match cookie {
            Some((random, cookie)) if data == random => Ok(cookie),
            _ => BASE.hmac_provider.hmac_sha256(key, data),
        }
    }

    fn hmac(&self, hash: HashAlgorithm, key: &[u8], data: &[u8], out: &mut [u8]) -> Result<usize, CryptoError> {
        BASE.hmac_provider.hmac(hash, key, data, out)
    }
}
