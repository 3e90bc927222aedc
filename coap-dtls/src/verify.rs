//! Whether the other end is who it should be.

use core::fmt;
use core::net::IpAddr;
use core::panic::AssertUnwindSafe;
use std::collections::HashSet;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::SystemTime;

use coap_core::{Host, SessionEnd};
use rustls_pki_types::{CertificateDer, DnsName};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use crate::credentials::CredentialError;

/// The name that a server must prove to have: the host of the URI, a name of DNS or an IP address.
///
/// Names are in lower case, and compared so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName(pub(crate) rustls_pki_types::ServerName<'static>);

impl ServerName {
    /// A name of DNS, without its last dot if it ends with one. A name that is not ASCII must be given as DNS has it (`xn--…`,
    /// RFC 5890): what a certificate holds.
    ///
    /// # Errors
    /// [`NoServerName`]: it cannot be in a certificate.
    pub fn dns(name: &str) -> Result<Self, NoServerName> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = DnsName::try_from(name).map_err(|_| NoServerName)?;
        Ok(Self(rustls_pki_types::ServerName::DnsName(name.to_lowercase_owned())))
    }
}

impl From<IpAddr> for ServerName {
    fn from(address: IpAddr) -> Self {
        Self(rustls_pki_types::ServerName::IpAddress(address.into()))
    }
}

impl TryFrom<&Host> for ServerName {
    type Error = NoServerName;

    /// The host of a URI (RFC 7252 §9.1.3.3). The zone of an IPv6 address is left out: it means something here alone.
    fn try_from(host: &Host) -> Result<Self, NoServerName> {
        match host {
            Host::Ipv4(addr) => Ok(IpAddr::V4(*addr).into()),
            Host::Ipv6 { addr, .. } => Ok(IpAddr::V6(*addr).into()),
            Host::Name(name) => Self::dns(name),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_str())
    }
}

/// A host that no certificate can be for: not a name of DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoServerName;

impl fmt::Display for NoServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no certificate can be for this host: give a name of DNS (one that is not ASCII as `xn--…`) or an address",
        )
    }
}

impl core::error::Error for NoServerName {}

/// Which end is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We are the server.
    Client,
    /// We are the client.
    Server,
}

/// Decides whether a certificate is accepted. All backends ask it, and nothing else decides.
///
/// That the peer has the private key of its certificate is proven by the handshake, not here.
pub trait PeerVerifier: Send + Sync {
    /// Looks at the certificate of the peer (first) and the intermediates that it has shown. `role` is the peer's. A client has
    /// a `name` to compare. `now` is for the time in which they are valid.
    ///
    /// # Errors
    /// The peer is not accepted; the handshake ends. A panic counts as [`CertificateError::Rejected`].
    fn verify(
        &self,
        chain: &[CertificateDer<'static>],
        role: Role,
        name: Option<&ServerName>,
        now: SystemTime,
    ) -> Result<(), CertificateError>;
}

/// What a verifier decides. A peer that has it panic is not accepted, and all sessions go on.
pub(crate) fn judge(
    verifier: &dyn PeerVerifier,
    chain: &[CertificateDer<'static>],
    role: Role,
    name: Option<&ServerName>,
    now: SystemTime,
) -> Result<(), CertificateError> {
    let verified = catch_unwind(AssertUnwindSafe(|| verifier.verify(chain, role, name, now)));
    verified.unwrap_or(Err(CertificateError::Rejected))
}

impl<V: PeerVerifier + ?Sized> PeerVerifier for Arc<V> {
    fn verify(
        &self,
        chain: &[CertificateDer<'static>],
        role: Role,
        name: Option<&ServerName>,
        now: SystemTime,
    ) -> Result<(), CertificateError> {
        (**self).verify(chain, role, name, now)
    }
}

/// Why a certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateError {
    /// No authority that is trusted has signed it.
    UnknownAuthority,
    /// It is for another name.
    NameMismatch,
    /// It is not valid yet, or not any more.
    Expired,
    /// It is malformed, not meant for this use, or refused for another reason.
    Rejected,
}

impl From<CertificateError> for SessionEnd {
    fn from(error: CertificateError) -> Self {
        match error {
            CertificateError::UnknownAuthority => Self::UnknownAuthority,
            CertificateError::NameMismatch => Self::NameMismatch,
            CertificateError::Expired => Self::Expired,
            CertificateError::Rejected => Self::BadCertificate,
        }
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SessionEnd::from(*self).fmt(f)
    }
}

impl core::error::Error for CertificateError {}

/// The SHA-256 of the public key of a certificate (its SubjectPublicKeyInfo, as in RFC 7469 §2.4): what [`SpkiPins`] holds.
///
/// # Errors
/// [`CredentialError::Malformed`].
pub fn spki_sha256(certificate: &CertificateDer<'_>) -> Result<[u8; 32], CredentialError> {
    const MALFORMED: CredentialError = CredentialError::Malformed { what: "a certificate" };
    let certificate = Certificate::from_der(certificate).map_err(|_| MALFORMED)?;
    let key = certificate.tbs_certificate().subject_public_key_info().to_der().map_err(|_| MALFORMED)?;
    Ok(Sha256::digest(key).into())
}

/// Accepts peers by their public key, whoever signed the certificate, whatever name it is for and until whenever: whoever has the
/// key is the peer. It is what raw public keys would be, with self-signed certificates.
#[derive(Clone, Debug)]
pub struct SpkiPins(HashSet<[u8; 32]>);

impl SpkiPins {
    /// Peers whose key has one of these hashes, as [`spki_sha256`] makes them.
    ///
    /// # Errors
    /// [`CredentialError::TrustsNobody`] if there are none.
    pub fn new(pins: impl IntoIterator<Item = [u8; 32]>) -> Result<Self, CredentialError> {
        let pins: HashSet<_> = pins.into_iter().collect();
        if pins.is_empty() { Err(CredentialError::TrustsNobody) } else { Ok(Self(pins)) }
    }
}

impl PeerVerifier for SpkiPins {
    fn verify(
        &self,
        chain: &[CertificateDer<'static>],
        _: Role,
        _: Option<&ServerName>,
        _: SystemTime,
    ) -> Result<(), CertificateError> {
        let own = chain.first().ok_or(CertificateError::Rejected)?;
        let pin = spki_sha256(own).map_err(|_| CertificateError::Rejected)?;
        if self.0.contains(&pin) { Ok(()) } else { Err(CertificateError::UnknownAuthority) }
    }
}

/// Accepts whoever shows a certificate. **Anyone on the path can read and change everything.** For trying out alone.
#[derive(Clone, Copy, Debug)]
pub struct DangerousAcceptAny;

impl PeerVerifier for DangerousAcceptAny {
    fn verify(
        &self,
        chain: &[CertificateDer<'static>],
        _: Role,
        _: Option<&ServerName>,
        _: SystemTime,
    ) -> Result<(), CertificateError> {
        if chain.is_empty() { Err(CertificateError::Rejected) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(uri: &str) -> Result<ServerName, NoServerName> {
        ServerName::try_from(coap_core::Uri::parse(uri).unwrap().host())
    }

    #[test]
    fn a_server_is_named_by_the_host_of_the_uri() {
        assert_eq!(name("coaps://Sensor-1.Example.ORG/").unwrap().to_string(), "sensor-1.example.org");
        assert_eq!(name("coaps://sensor.example.org./"), name("coaps://sensor.example.org/"));
        assert_eq!(name("coaps://192.0.2.1/").unwrap().to_string(), "192.0.2.1");
        assert_eq!(name("coaps://[2001:DB8::1]/").unwrap().to_string(), "2001:db8::1");
        assert_eq!(name("coaps://[fe80::1%25eth0]/").unwrap().to_string(), "fe80::1");
    }

    #[test]
    fn a_host_that_no_certificate_can_be_for_is_refused() {
        for uri in ["coaps://b%C3%BCcher.example/", "coaps://a%20b/", "coaps://-/", "coaps://a..b/"] {
            assert_eq!(name(uri), Err(NoServerName), "{uri}");
        }
    }
}
