//! What each backend can do: a table that `build()` and the documentation go by.

use core::fmt;

use crate::config::Backend;

/// Something that a DTLS library may be able to do, and that not all can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// `TLS_PSK_WITH_AES_128_CCM_8`: the suite of RFC 7252 §9.1.3.1.
    PskCcm8,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8`: the suite of RFC 7252 §9.1.3.2 and §9.1.3.3.
    EcdsaCcm8,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`: certificates with peers that are not as constrained (RFC 7925 §4.4 leaves it open).
    EcdsaGcm,
    /// DTLS 1.3 (RFC 9147) with certificates.
    Dtls13,
    /// DTLS 1.3 with pre-shared keys.
    Dtls13Psk,
    /// Pre-shared keys and certificates at one address.
    PskAndCertificate,
    /// Certificates between one's own and an authority are shown, and those that the peer shows are seen.
    Intermediates,
    /// A client without a certificate shows none where the server asks for one.
    AnonymousClient,
    /// A server that asks clients for a certificate goes on without one ([`ClientAuth::Optional`](crate::ClientAuth::Optional)).
    OptionalClientCertificate,
    /// A client tells the name that it looks for (RFC 6066 §3).
    ServerNameIndication,
    /// Peers without extended master secret are taken, if wished ([`EmsPolicy::Prefer`](crate::EmsPolicy::Prefer)).
    WithoutEms,
    /// A server keeps nothing of a client before its address is proven (RFC 6347 §4.2.1).
    StatelessCookie,
    /// A peer is told by an alert why a handshake fails.
    Alerts,
    /// The secrets of sessions can be told to an analyser, in the key log format of NSS.
    KeyLog,
    /// Time and randomness come from outside, so that a seed repeats a run.
    Deterministic,
    /// Any executor, or none: the other backends need tokio.
    AnyRuntime,
    /// Raw public keys (RFC 7250).
    RawPublicKeys,
    /// Connection identifiers (RFC 9146).
    ConnectionId,
    /// A session is taken up again without a whole handshake.
    Resumption,
}

impl Capability {
    /// All of them, in the order of the table in docs/dtls.md.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &[
            Self::PskCcm8,
            Self::EcdsaCcm8,
            Self::EcdsaGcm,
            Self::Dtls13,
            Self::Dtls13Psk,
            Self::PskAndCertificate,
            Self::Intermediates,
            Self::AnonymousClient,
            Self::OptionalClientCertificate,
            Self::ServerNameIndication,
            Self::WithoutEms,
            Self::StatelessCookie,
            Self::Alerts,
            Self::KeyLog,
            Self::Deterministic,
            Self::AnyRuntime,
            Self::RawPublicKeys,
            Self::ConnectionId,
            Self::Resumption,
        ]
    }

    /// The backends that can do it, whether they are built in or not.
    pub(crate) fn backends(self) -> impl Iterator<Item = &'static str> {
        [(DIMPL_NAME, DIMPL), (WEBRTC_DTLS_NAME, WEBRTC_DTLS)]
            .into_iter()
            .filter(move |(_, can)| can.contains(&self))
            .map(|(name, _)| name)
    }

    /// What the user can do who wished for it in vain.
    pub(crate) fn instead(self) -> &'static str {
        match self {
            Self::Intermediates => {
                "show the own certificate alone (`CertifiedKey::leaf_only`) and give the peers the rest"
            }
            Self::PskAndCertificate => "listen at two ports, one for each",
            Self::OptionalClientCertificate => "require a certificate of clients, or ask for none",
            Self::WithoutEms => "leave it required",
            Self::Dtls13 | Self::Dtls13Psk => "use DTLS 1.2",
            Self::RawPublicKeys => "pin the keys of certificates (`SpkiPins`)",
            _ => "do without it",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PskCcm8 => "TLS_PSK_WITH_AES_128_CCM_8",
            Self::EcdsaCcm8 => "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
            Self::EcdsaGcm => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::Dtls13 => "DTLS 1.3 with certificates",
            Self::Dtls13Psk => "DTLS 1.3 with pre-shared keys",
            Self::PskAndCertificate => "pre-shared keys and certificates at one address",
            Self::Intermediates => "intermediate certificates",
            Self::AnonymousClient => "clients that show no certificate though they are asked",
            Self::OptionalClientCertificate => "optional client certificates",
            Self::ServerNameIndication => "the server name indication",
            Self::WithoutEms => "peers without extended master secret",
            Self::StatelessCookie => "a stateless cookie",
            Self::Alerts => "alerts that say why a handshake fails",
            Self::KeyLog => "a key log",
            Self::Deterministic => "handshakes from a seed",
            Self::AnyRuntime => "any runtime",
            Self::RawPublicKeys => "raw public keys",
            Self::ConnectionId => "connection identifiers",
            Self::Resumption => "resumption",
        })
    }
}

/// What a backend can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(&'static [Capability]);

impl Capabilities {
    /// True if it can do this.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }

    /// All that it can do.
    pub fn iter(&self) -> impl Iterator<Item = Capability> + use<> {
        self.0.iter().copied()
    }
}

impl Backend {
    /// The backends that are built in, the default first.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &[
            #[cfg(feature = "dimpl")]
            Self::Dimpl,
            #[cfg(feature = "webrtc-dtls")]
            Self::WebrtcDtls,
        ]
    }

    /// What it can do.
    #[must_use]
    pub fn capabilities(self) -> Capabilities {
        match self {
            #[cfg(feature = "dimpl")]
            Self::Dimpl => Capabilities(DIMPL),
            #[cfg(feature = "webrtc-dtls")]
            Self::WebrtcDtls => Capabilities(WEBRTC_DTLS),
        }
    }

    /// Of its feature.
    fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "dimpl")]
            Self::Dimpl => DIMPL_NAME,
            #[cfg(feature = "webrtc-dtls")]
            Self::WebrtcDtls => WEBRTC_DTLS_NAME,
        }
    }
}

#[cfg(any(feature = "dimpl", feature = "webrtc-dtls"))]
impl Default for Backend {
    /// `dimpl`, if it is built in.
    fn default() -> Self {
        Self::all()[0]
    }
}

impl fmt::Display for Backend {
    /// The name of its feature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const DIMPL_NAME: &str = "dimpl";
const WEBRTC_DTLS_NAME: &str = "webrtc-dtls";

const DIMPL: &[Capability] = &[
    Capability::PskCcm8,
    Capability::EcdsaGcm,
    Capability::Dtls13,
    Capability::PskAndCertificate,
    Capability::StatelessCookie,
    Capability::Alerts,
    Capability::Deterministic,
    Capability::AnyRuntime,
];

const WEBRTC_DTLS: &[Capability] = &[
    Capability::PskCcm8,
    Capability::EcdsaCcm8,
    Capability::EcdsaGcm,
    Capability::PskAndCertificate,
    Capability::Intermediates,
    Capability::AnonymousClient,
    Capability::OptionalClientCertificate,
    Capability::ServerNameIndication,
    Capability::WithoutEms,
    Capability::Alerts,
    Capability::KeyLog,
];
