//! The cipher suites of sessions: which there are, which a backend has, and which are left of what is wished.

use core::fmt;
use core::str::FromStr;

use crate::config::{Backend, Versions};

/// A cipher suite, which DTLS agrees on in a handshake. Its text is its name in the registry of IANA.
///
/// Those of DTLS 1.2 say how the keys are agreed on too: by pre-shared keys, or by certificates. Those of DTLS 1.3 do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CipherSuite {
    /// `TLS_PSK_WITH_AES_128_CCM_8` (RFC 6655): the mandatory one of RFC 7252 §9.1.3.1.
    PskAes128Ccm8,
    /// `TLS_PSK_WITH_AES_128_CCM` (RFC 6655): the same with a tag of 16 bytes.
    PskAes128Ccm,
    /// `TLS_PSK_WITH_AES_128_GCM_SHA256` (RFC 5487).
    PskAes128Gcm,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8` (RFC 7251): the mandatory one of RFC 7252 §9.1.3.3.
    EcdsaAes128Ccm8,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_CCM` (RFC 7251): the same with a tag of 16 bytes.
    EcdsaAes128Ccm,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256` (RFC 5289).
    EcdsaAes128Gcm,
    /// `TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384` (RFC 5289).
    EcdsaAes256Gcm,
    /// `TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256` (RFC 7905).
    EcdsaChacha20Poly1305,
    /// `TLS_AES_128_GCM_SHA256` of DTLS 1.3 (RFC 8446 §B.4).
    Aes128Gcm,
    /// `TLS_AES_256_GCM_SHA384` of DTLS 1.3.
    Aes256Gcm,
    /// `TLS_CHACHA20_POLY1305_SHA256` of DTLS 1.3.
    Chacha20Poly1305,
}

/// What a cipher suite is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SuiteUse {
    /// Sessions of DTLS 1.2 with pre-shared keys.
    PreSharedKeys,
    /// Sessions of DTLS 1.2 with certificates.
    Certificates,
    /// Sessions of DTLS 1.3.
    Dtls13,
}

/// The record header (RFC 6347 §4.1), and with AES the explicit part of the nonce (RFC 6655 §3, RFC 5288 §3).
const HEADER: usize = 13;
const EXPLICIT: usize = 8;

impl CipherSuite {
    /// All that some backend has, in the order of the table in docs/dtls.md.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        &[
            Self::PskAes128Ccm8,
            Self::PskAes128Ccm,
            Self::PskAes128Gcm,
            Self::EcdsaAes128Ccm8,
            Self::EcdsaAes128Ccm,
            Self::EcdsaAes128Gcm,
            Self::EcdsaAes256Gcm,
            Self::EcdsaChacha20Poly1305,
            Self::Aes128Gcm,
            Self::Aes256Gcm,
            Self::Chacha20Poly1305,
        ]
    }

    /// Its number at IANA, as it is on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::PskAes128Ccm8 => 0xc0a8,
            Self::PskAes128Ccm => 0xc0a4,
            Self::PskAes128Gcm => 0x00a8,
            Self::EcdsaAes128Ccm8 => 0xc0ae,
            Self::EcdsaAes128Ccm => 0xc0ac,
            Self::EcdsaAes128Gcm => 0xc02b,
            Self::EcdsaAes256Gcm => 0xc02c,
            Self::EcdsaChacha20Poly1305 => 0xcca9,
            Self::Aes128Gcm => 0x1301,
            Self::Aes256Gcm => 0x1302,
            Self::Chacha20Poly1305 => 0x1303,
        }
    }

    /// Its name at IANA.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PskAes128Ccm8 => "TLS_PSK_WITH_AES_128_CCM_8",
            Self::PskAes128Ccm => "TLS_PSK_WITH_AES_128_CCM",
            Self::PskAes128Gcm => "TLS_PSK_WITH_AES_128_GCM_SHA256",
            Self::EcdsaAes128Ccm8 => "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
            Self::EcdsaAes128Ccm => "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
            Self::EcdsaAes128Gcm => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::EcdsaAes256Gcm => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            Self::EcdsaChacha20Poly1305 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::Aes128Gcm => "TLS_AES_128_GCM_SHA256",
            Self::Aes256Gcm => "TLS_AES_256_GCM_SHA384",
            Self::Chacha20Poly1305 => "TLS_CHACHA20_POLY1305_SHA256",
        }
    }

    /// What it is for.
    #[must_use]
    pub const fn used_for(self) -> SuiteUse {
        match self {
            Self::PskAes128Ccm8 | Self::PskAes128Ccm | Self::PskAes128Gcm => SuiteUse::PreSharedKeys,
            Self::EcdsaAes128Ccm8
            | Self::EcdsaAes128Ccm
            | Self::EcdsaAes128Gcm
            | Self::EcdsaAes256Gcm
            | Self::EcdsaChacha20Poly1305 => SuiteUse::Certificates,
            Self::Aes128Gcm | Self::Aes256Gcm | Self::Chacha20Poly1305 => SuiteUse::Dtls13,
        }
    }

    /// The one with this number.
    pub(crate) fn from_number(number: u16) -> Option<Self> {
        Self::all().iter().copied().find(|suite| suite.number() == number)
    }

    /// By how many bytes a record is longer than what it carries, at most.
    pub(crate) const fn overhead(self) -> usize {
        match self {
            Self::PskAes128Ccm8 | Self::EcdsaAes128Ccm8 => HEADER + EXPLICIT + 8,
            Self::PskAes128Ccm
            | Self::PskAes128Gcm
            | Self::EcdsaAes128Ccm
            | Self::EcdsaAes128Gcm
            | Self::EcdsaAes256Gcm => HEADER + EXPLICIT + 16,
            // RFC 7905 §2: the nonce is not sent.
            Self::EcdsaChacha20Poly1305 => HEADER + 16,
            // RFC 9147 §4: a shorter header, and the true type of the record behind the text.
            Self::Aes128Gcm | Self::Aes256Gcm | Self::Chacha20Poly1305 => 5 + 1 + 16,
        }
    }

    /// The backends that have it, whether they are built in or not.
    pub(crate) fn backends(self) -> impl Iterator<Item = &'static str> {
        [("dimpl", DIMPL), ("webrtc-dtls", WEBRTC_DTLS)]
            .into_iter()
            .filter(move |(_, has)| has.contains(&self))
            .map(|(name, _)| name)
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text is not the name of a cipher suite that any backend has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCipherSuite;

impl fmt::Display for UnknownCipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a cipher suite that is known here, such as TLS_PSK_WITH_AES_128_CCM_8")
    }
}

impl core::error::Error for UnknownCipherSuite {}

impl FromStr for CipherSuite {
    type Err = UnknownCipherSuite;

    /// Its name at IANA, in capitals or not.
    fn from_str(text: &str) -> Result<Self, UnknownCipherSuite> {
        let mut all = Self::all().iter().copied();
        all.find(|suite| suite.name().eq_ignore_ascii_case(text)).ok_or(UnknownCipherSuite)
    }
}

impl fmt::Display for SuiteUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreSharedKeys => "DTLS 1.2 with pre-shared keys",
            Self::Certificates => "DTLS 1.2 with certificates",
            Self::Dtls13 => "DTLS 1.3",
        })
    }
}

/// What the libraries have and our records can be sealed with, the one that is liked best first.
const DIMPL: &[CipherSuite] = &[
    CipherSuite::PskAes128Ccm8,
    CipherSuite::EcdsaAes128Gcm,
    CipherSuite::EcdsaAes256Gcm,
    CipherSuite::EcdsaChacha20Poly1305,
    CipherSuite::Aes128Gcm,
    CipherSuite::Aes256Gcm,
    CipherSuite::Chacha20Poly1305,
];

const WEBRTC_DTLS: &[CipherSuite] = &[
    CipherSuite::PskAes128Ccm8,
    CipherSuite::EcdsaAes128Ccm8,
    CipherSuite::EcdsaAes128Gcm,
    // From here on not without being asked for.
    CipherSuite::PskAes128Ccm,
    CipherSuite::PskAes128Gcm,
    CipherSuite::EcdsaAes128Ccm,
];

/// How many of the last are used by default: both mandatory ones, and GCM for the peers that have no CCM.
#[cfg(feature = "webrtc-dtls")]
const WEBRTC_DTLS_DEFAULT: usize = 3;

impl Backend {
    /// The cipher suites that it has.
    #[must_use]
    pub fn cipher_suites(self) -> &'static [CipherSuite] {
        match self {
            #[cfg(feature = "dimpl")]
            Self::Dimpl => DIMPL,
            #[cfg(feature = "webrtc-dtls")]
            Self::WebrtcDtls => WEBRTC_DTLS,
        }
    }

    /// Those of them that are used where [`suites`](crate::SecurityBuilder::suites) does not say which, the one that is liked best
    /// first; of those for a version or a credential that is not used, none is.
    #[must_use]
    pub fn default_cipher_suites(self) -> &'static [CipherSuite] {
        match self {
            #[cfg(feature = "dimpl")]
            Self::Dimpl => DIMPL,
            #[cfg(feature = "webrtc-dtls")]
            Self::WebrtcDtls => &WEBRTC_DTLS[..WEBRTC_DTLS_DEFAULT],
        }
    }
}

/// The suites of a configuration. There is one at least for each credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suites {
    /// In the order of preference, none twice, and none that has no use.
    all: Vec<CipherSuite>,
    /// The user has said which, so that a server goes by its own order.
    pub(crate) is_wished: bool,
}

/// Why there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSuites {
    /// The list is empty.
    Empty,
    /// The backend does not have this one.
    Missing(CipherSuite),
    /// Nothing is left for this.
    NothingFor(SuiteUse),
}

impl Suites {
    /// What is left of the wish for these credentials and versions.
    pub(crate) fn choose(
        backend: Backend,
        wish: Option<&[CipherSuite]>,
        versions: Versions,
        has_keys: bool,
        has_certificate: bool,
    ) -> Result<Self, NoSuites> {
        if wish.is_some_and(<[_]>::is_empty) {
            return Err(NoSuites::Empty);
        }
        let has = backend.cipher_suites();
        if let Some(missing) = wish.unwrap_or_default().iter().find(|suite| !has.contains(suite)) {
            return Err(NoSuites::Missing(*missing));
        }
        let speaks_13 = has_certificate && versions == Versions::V12AndV13;
        let mut all = Vec::new();
        for suite in wish.unwrap_or_else(|| backend.default_cipher_suites()) {
            let is_of_use = match suite.used_for() {
                SuiteUse::PreSharedKeys => has_keys,
                SuiteUse::Certificates => has_certificate,
                SuiteUse::Dtls13 => speaks_13,
            };
            if is_of_use && !all.contains(suite) {
                all.push(*suite);
            }
        }
        let suites = Self { all, is_wished: wish.is_some() };
        // Whoever wants DTLS 1.3 can have it alone.
        let needed = [
            (SuiteUse::PreSharedKeys, has_keys),
            (SuiteUse::Dtls13, speaks_13),
            (SuiteUse::Certificates, has_certificate && !speaks_13),
        ];
        match needed.into_iter().find(|(what, needed)| *needed && suites.of(*what).next().is_none()) {
            Some((what, _)) => Err(NoSuites::NothingFor(what)),
            None => Ok(suites),
        }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = CipherSuite> + '_ {
        self.all.iter().copied()
    }

    /// Those for this.
    pub(crate) fn of(&self, what: SuiteUse) -> impl Iterator<Item = CipherSuite> + '_ {
        self.iter().filter(move |suite| suite.used_for() == what)
    }

    /// By how many bytes a record is longer than what it carries, at most.
    pub(crate) fn overhead(&self) -> usize {
        self.iter().map(CipherSuite::overhead).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suite_has_one_name_and_one_number() {
        for suite in CipherSuite::all() {
            assert_eq!(CipherSuite::from_number(suite.number()), Some(*suite));
            assert_eq!(suite.name().parse(), Ok(*suite));
            assert_eq!(suite.name().to_lowercase().parse(), Ok(*suite));
            assert!(suite.backends().next().is_some(), "nobody has {suite}");
        }
        assert_eq!("TLS_NULL_WITH_NULL_NULL".parse::<CipherSuite>(), Err(UnknownCipherSuite));
    }

    #[cfg(feature = "dimpl")]
    #[test]
    fn what_is_of_no_use_is_left_out_and_nothing_comes_twice() {
        use CipherSuite::{Aes128Gcm, EcdsaAes128Gcm, EcdsaAes256Gcm, PskAes128Ccm8};
        let wish = [EcdsaAes256Gcm, PskAes128Ccm8, EcdsaAes128Gcm, EcdsaAes256Gcm, Aes128Gcm];
        let choose = |versions, keys, certificate| -> Vec<_> {
            Suites::choose(Backend::Dimpl, Some(&wish), versions, keys, certificate).unwrap().iter().collect()
        };
        assert_eq!(choose(Versions::V12, true, false), [PskAes128Ccm8]);
        assert_eq!(choose(Versions::V12, false, true), [EcdsaAes256Gcm, EcdsaAes128Gcm]);
        assert_eq!(choose(Versions::V12AndV13, false, true), [EcdsaAes256Gcm, EcdsaAes128Gcm, Aes128Gcm]);
        assert_eq!(choose(Versions::V12, true, true), [EcdsaAes256Gcm, PskAes128Ccm8, EcdsaAes128Gcm]);
    }
}
