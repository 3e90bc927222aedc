//! Certificates by authorities: the path (RFC 5280 §6), the time, the use, and the name (RFC 7252 §9.1.3.3, RFC 6125).
//!
//! The path is built and checked by `webpki`. It knows no names but those of DNS and addresses in SubjectAltName; what RFC 7252
//! adds to them, CoAP URIs there and the common name of a certificate without any, is here. Revocation is not checked: a device
//! that can be lost needs certificates that soon expire, or a verifier of one's own.

use core::fmt;
use core::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use coap_core::{Scheme, Uri};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage};

use crate::credentials::CredentialError;
use crate::signatures;
use crate::verify::{CertificateError, PeerVerifier, Role, ServerName};

/// id-ce-subjectAltName, id-ce-nameConstraints (RFC 5280 §4.2.1.6, §4.2.1.10) and id-at-commonName (appendix A.1).
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// id-kp-serverAuth, id-kp-clientAuth and anyExtendedKeyUsage (RFC 5280 §4.2.1.12).
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_USE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// Accepts whoever shows a certificate that leads to an authority in a set, is valid now, is for this use, and of a server also for
/// the name that was asked for.
///
/// * The name must be in SubjectAltName: a name of DNS, in which a wildcard stands for one whole label, an address, or the host of
///   a CoAP URI. Only a certificate without SubjectAltName may have it as common name instead, without wildcards (RFC 7252
///   §9.1.3.3).
/// * A certificate that is in the set is accepted itself, if it is valid now and for this use and name; it vouches for others only
///   if it is an authority (RFC 5280 §4.2.1.9). So a device with a self-signed certificate can be trusted alone.
/// * Signatures are ECDSA on P-256 or P-384. A path with others (RSA) is refused; a set may have authorities with such.
/// * Revocation is not checked.
#[derive(Clone)]
pub struct WebPkiVerifier {
    trusted: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
}

impl WebPkiVerifier {
    /// With these authorities, as [`certificates_from_file`](crate::certificates_from_file) reads them.
    ///
    /// # Errors
    /// [`CredentialError::TrustsNobody`] if there are none, [`CredentialError::Malformed`].
    pub fn new(trusted: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, CredentialError> {
        let malformed = |_| CredentialError::Malformed { what: "a certificate" };
        let trusted: Vec<_> = trusted.into_iter().collect();
        if trusted.is_empty() {
            return Err(CredentialError::TrustsNobody);
        }
        let mut anchors = Vec::new();
        for certificate in &trusted {
            let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(malformed)?;
            if is_authority(certificate)? {
                anchors.push(anchor.to_owned());
            }
        }
        Ok(Self { trusted, anchors, intermediates: Vec::new() })
    }

    /// With intermediates that peers do not show: for a backend that sees their own certificates alone.
    #[must_use]
    pub fn with_intermediates(mut self, intermediates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        self.intermediates.extend(intermediates);
        self
    }

    /// True if an authority vouches for the certificate under constraints of names.
    fn by_authority(
        &self,
        own: &EndEntityCert<'_>,
        shown: &[CertificateDer<'static>],
        role: Role,
        now: UnixTime,
    ) -> Result<bool, CertificateError> {
        let usage = match role {
            Role::Server => KeyUsage::server_auth(),
            Role::Client => KeyUsage::client_auth(),
        };
        let between: Vec<_> = shown.iter().chain(&self.intermediates).cloned().collect();
        let path = own
            .verify_for_usage(signatures::ALL, &self.anchors, &between, now, usage, None, None)
            .map_err(|error| refusal(&error))?;
        is_constrained(&path)
    }
}

impl PeerVerifier for WebPkiVerifier {
    fn verify(
        &self,
        chain: &[CertificateDer<'static>],
        role: Role,
        name: Option<&ServerName>,
        now: SystemTime,
    ) -> Result<(), CertificateError> {
        let (own, shown) = chain.split_first().ok_or(CertificateError::Rejected)?;
        // A clock that stands before 1970 has no time to compare with: nothing is valid then.
        let now = now.duration_since(UNIX_EPOCH).map_err(|_| CertificateError::Expired)?;
        let now = UnixTime::since_unix_epoch(now);
        let end = EndEntityCert::try_from(own).map_err(|error| refusal(&error))?;
        let constrained = if self.trusted.contains(own) {
            is_valid(own, role, now)?;
            false
        } else {
            self.by_authority(&end, shown, role, now)?
        };
        match (role, name) {
            (Role::Client, _) => Ok(()),
            (Role::Server, Some(name)) if is_named(&end, own, name, constrained) => Ok(()),
            (Role::Server, _) => Err(CertificateError::NameMismatch),
        }
    }
}

impl fmt::Debug for WebPkiVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebPkiVerifier").field("trusted", &self.trusted.len()).finish_non_exhaustive()
    }
}

/// True if a certificate of the set vouches for others: RFC 5280 §4.2.1.9. One of version 1 has nothing to say so with, and is
/// in the set for that.
fn is_authority(certificate: &CertificateDer<'_>) -> Result<bool, CredentialError> {
    const MALFORMED: CredentialError = CredentialError::Malformed { what: "a certificate" };
    let certificate = Certificate::from_der(certificate).map_err(|_| MALFORMED)?;
    let certificate = certificate.tbs_certificate();
    if certificate.version() == x509_cert::Version::V1 {
        return Ok(true);
    }
    let constraints = certificate.get_extension::<BasicConstraints>().map_err(|_| MALFORMED)?;
    Ok(constraints.is_some_and(|(_, constraints)| constraints.ca))
}

/// Whether a certificate that is trusted itself may be used now, for this.
fn is_valid(certificate: &CertificateDer<'_>, role: Role, now: UnixTime) -> Result<(), CertificateError> {
    let certificate = Certificate::from_der(certificate).map_err(|_| CertificateError::Rejected)?;
    let certificate = certificate.tbs_certificate();
    let validity = certificate.validity();
    let valid = validity.not_before.to_unix_duration().as_secs()..=validity.not_after.to_unix_duration().as_secs();
    if !valid.contains(&now.as_secs()) {
        return Err(CertificateError::Expired);
    }
    let uses = certificate.get_extension::<ExtendedKeyUsage>().map_err(|_| CertificateError::Rejected)?;
    let wanted = match role {
        Role::Server => SERVER_AUTH,
        Role::Client => CLIENT_AUTH,
    };
    match uses {
        Some((_, ExtendedKeyUsage(uses))) if !uses.contains(&wanted) && !uses.contains(&ANY_USE) => {
            Err(CertificateError::Rejected)
        }
        _ => Ok(()),
    }
}

/// True if the authority of a path, or one between, may vouch for some names only. `webpki` holds them to it for the names that it
/// knows.
fn is_constrained(path: &VerifiedPath<'_>) -> Result<bool, CertificateError> {
    if path.anchor().name_constraints.is_some() {
        return Ok(true);
    }
    for between in path.intermediate_certificates() {
        if has_extension(&between.der(), NAME_CONSTRAINTS)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_extension(certificate: &CertificateDer<'_>, id: ObjectIdentifier) -> Result<bool, CertificateError> {
    let certificate = Certificate::from_der(certificate).map_err(|_| CertificateError::Rejected)?;
    let extensions = certificate.tbs_certificate().extensions();
    Ok(extensions.is_some_and(|extensions| extensions.iter().any(|extension| extension.extn_id == id)))
}

/// Whether the certificate is for `name`.
fn is_named(end: &EndEntityCert<'_>, own: &CertificateDer<'_>, name: &ServerName, constrained: bool) -> bool {
    if end.verify_is_valid_for_subject_name(&name.0).is_ok() {
        return true;
    }
    // Constraints of names do not reach what follows: an authority that may vouch for some only could name others there.
    if constrained {
        return false;
    }
    end.valid_uri_names().any(|uri| is_host_of(name, uri))
        || matches!(has_extension(own, SUBJECT_ALT_NAME), Ok(false)) && is_common_name(own, name)
}

/// RFC 7252 §9.1.3.3: the authority of a CoAP URI in SubjectAltName. The port is not compared: whoever may speak for the host may
/// for its ports.
fn is_host_of(name: &ServerName, uri: &str) -> bool {
    let Ok(uri) = Uri::parse(uri) else { return false };
    matches!(uri.scheme(), Scheme::Coap | Scheme::Coaps) && ServerName::try_from(uri.host()).as_ref() == Ok(name)
}

/// RFC 7252 §9.1.3.3: the common name, letter by letter.
fn is_common_name(certificate: &CertificateDer<'_>, name: &ServerName) -> bool {
    let Ok(certificate) = Certificate::from_der(certificate) else { return false };
    let names = certificate.tbs_certificate().subject().iter();
    let mut common = names.filter(|attribute| attribute.oid == COMMON_NAME).filter_map(|attribute| {
        let value = &attribute.value;
        let text = value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_owned());
        let text = text.or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned()));
        text.or_else(|_| value.decode_as::<Ia5StringRef<'_>>().map(|text| text.as_str().to_owned())).ok()
    });
    common.any(|text| {
        let common = match text.parse::<IpAddr>() {
            Ok(address) => Ok(address.into()),
            Err(_) => ServerName::dns(&text),
        };
        common.as_ref() == Ok(name)
    })
}

/// What the user is told of an error of `webpki`.
fn refusal(error: &Error) -> CertificateError {
    match error {
        // A signature that does not fit is of an authority with the name of a trusted one, and another key.
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => CertificateError::UnknownAuthority,
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => CertificateError::Expired,
        Error::CertNotValidForName(_) => CertificateError::NameMismatch,
        _ => CertificateError::Rejected,
    }
}

#[cfg(test)]
mod tests;
