//! An authority of one's own, and certificates that it signs, for trying out and for small fleets: ECDSA on P-256 with SHA-256, as
//! RFC 7252 §9.1.3.3 asks for.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use coap_dtls::keygen::{Authority, Validity};
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let mut rng = ChaCha20Rng::seed_from_u64(1); // a program takes the system's
//!
//! let validity = Validity::days_from(std::time::SystemTime::now(), 365);
//! let authority = Authority::new("Trial CA", validity, &mut rng)?;
//! let server = authority.server(&["sensor.local", "192.0.2.1"], validity, &mut rng)?;
//! println!("{}{}", server.certificates, server.key.as_str());
//! # Ok(())
//! # }
//! ```

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use p256::SecretKey;
use p256::ecdsa::signature::Signer;
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::pkcs8::EncodePrivateKey;
use pem_rfc7468::LineEnding;
use rand_core::CryptoRng;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::verify::ServerName;

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub from: SystemTime,
    /// The last one.
    pub until: SystemTime,
}

impl Validity {
    /// So many days. It begins an hour before `from`, as clocks differ.
    #[must_use]
    pub fn days_from(from: SystemTime, days: u32) -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        let until = from.checked_add(24 * HOUR * days).unwrap_or(from);
        Self { from: from.checked_sub(HOUR).unwrap_or(from), until }
    }
}

/// A certificate with its key, as PEM.
pub struct Issued {
    /// The certificate, and the intermediates between it and the first authority: what its owner shows.
    pub certificates: String,
    /// Its private key (PKCS #8).
    pub key: Zeroizing<String>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, SigningKey>,
    certificate: CertificateDer<'static>,
    /// The intermediates from here to the first authority, without that.
    chain: Vec<CertificateDer<'static>>,
}

impl Authority {
    /// A first authority, which signs its own certificate, by the common name of `name`.
    ///
    /// # Errors
    /// [`KeygenError`]: the name or the validity cannot be in a certificate.
    pub fn new(name: &str, validity: Validity, rng: &mut impl CryptoRng) -> Result<Self, KeygenError> {
        let key = SigningKey::generate(rng);
        let params = authority(name, validity, &key, rng)?;
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self { issuer: Issuer::new(params, key), certificate, chain: Vec::new() })
    }

    /// An authority below this one.
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn intermediate(&self, name: &str, validity: Validity, rng: &mut impl CryptoRng) -> Result<Self, KeygenError> {
        let key = SigningKey::generate(rng);
        let params = authority(name, validity, &key, rng)?;
        let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
        let chain = core::iter::once(&certificate).chain(&self.chain).cloned().collect();
        Ok(Self { issuer: Issuer::new(params, key), certificate, chain })
    }

    /// The certificate of a server by these names: addresses, and names of DNS, which may begin with `*.`. The first is the common
    /// name as well.
    ///
    /// # Errors
    /// [`KeygenError`]: there is no name, or one or the validity cannot be in a certificate.
    pub fn server(&self, names: &[&str], validity: Validity, rng: &mut impl CryptoRng) -> Result<Issued, KeygenError> {
        let first = names.first().ok_or(KeygenError::NoName)?;
        let mut params = params(first, validity, rng)?;
        params.subject_alt_names = names.iter().copied().map(alternative).collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, rng)
    }

    /// The certificate of a client by this name.
    ///
    /// # Errors
    /// [`KeygenError`]: the name or the validity cannot be in a certificate.
    pub fn client(&self, name: &str, validity: Validity, rng: &mut impl CryptoRng) -> Result<Issued, KeygenError> {
        let mut params = params(name, validity, rng)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, rng)
    }

    pub(crate) fn issue(&self, mut params: CertificateParams, rng: &mut impl CryptoRng) -> Result<Issued, KeygenError> {
        let key = SigningKey::generate(rng);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let own = params.signed_by(&key, &self.issuer)?.der().clone();
        let certificates = core::iter::once(&own).chain(&self.chain).map(pem).collect::<Result<_, _>>()?;
        Ok(Issued { certificates, key: key.pem()? })
    }

    /// Its certificate as PEM: what others trust it by.
    ///
    /// # Errors
    /// None that is known.
    pub fn certificate(&self) -> Result<String, KeygenError> {
        pem(&self.certificate)
    }

    /// Its private key as PEM (PKCS #8).
    ///
    /// # Errors
    /// None that is known.
    pub fn key(&self) -> Result<Zeroizing<String>, KeygenError> {
        self.issuer.key().pem()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// From the epoch of Unix.
const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);

/// What all certificates have: a serial number that cannot be guessed, a name, a time.
pub(crate) fn params(
    name: &str,
    validity: Validity,
    rng: &mut impl CryptoRng,
) -> Result<CertificateParams, KeygenError> {
    let mut serial = [0; 16];
    rng.fill_bytes(&mut serial);
    // Positive and without leading zeros, however it is read (RFC 5280 §4.1.2.2).
    serial[0] = serial[0] & 0x3f | 0x40;
    let mut params = CertificateParams::default();
    // What is beyond cannot be written (RFC 5280 §4.1.2.5), and the conversion would panic.
    let writable = |time: SystemTime| time.duration_since(UNIX_EPOCH).is_ok_and(|since| since < YEAR_10000);
    if !writable(validity.from) || !writable(validity.until) {
        return Err(KeygenError::Encoding);
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn authority(
    name: &str,
    validity: Validity,
    key: &SigningKey,
    rng: &mut impl CryptoRng,
) -> Result<CertificateParams, KeygenError> {
    let mut params = params(name, validity, rng)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.identifier());
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn alternative(name: &str) -> Result<SanType, KeygenError> {
    Ok(match name.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => {
            ServerName::dns(name.strip_prefix("*.").unwrap_or(name)).map_err(|_| KeygenError::Name)?;
            SanType::DnsName(name.try_into().map_err(|_| KeygenError::Name)?)
        }
    })
}

fn pem(certificate: &CertificateDer<'_>) -> Result<String, KeygenError> {
    pem_rfc7468::encode_string("CERTIFICATE", LineEnding::LF, certificate).map_err(|_| KeygenError::Encoding)
}

/// A key on P-256, as `rcgen` wants to see it.
pub(crate) struct SigningKey {
    secret: SecretKey,
    /// The public key, as SEC 1 has it.
    point: Vec<u8>,
}

impl SigningKey {
    pub(crate) fn generate(rng: &mut impl CryptoRng) -> Self {
        let secret = SecretKey::generate_from_rng(rng);
        let point = secret.public_key().to_sec1_point(false).as_bytes().to_vec();
        Self { secret, point }
    }

    /// RFC 7093 §2, method 1.
    fn identifier(&self) -> Vec<u8> {
        Sha256::digest(&self.point)[..20].to_vec()
    }

    pub(crate) fn pem(&self) -> Result<Zeroizing<String>, KeygenError> {
        let der = self.secret.to_pkcs8_der().map_err(|_| KeygenError::Encoding)?;
        let text = pem_rfc7468::encode_string("PRIVATE KEY", LineEnding::LF, der.as_bytes());
        text.map(Zeroizing::new).map_err(|_| KeygenError::Encoding)
    }
}

impl rcgen::PublicKeyData for SigningKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let key = p256::ecdsa::SigningKey::from(&self.secret);
        let signature: p256::ecdsa::Signature = key.try_sign(message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// Why there is no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeygenError {
    /// A server needs a name.
    NoName,
    /// The name is not a name of DNS.
    Name,
    /// The name or the validity cannot be in a certificate.
    Encoding,
}

impl From<rcgen::Error> for KeygenError {
    fn from(_: rcgen::Error) -> Self {
        Self::Encoding
    }
}

impl fmt::Display for KeygenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoName => "a server needs a name or an address",
            Self::Name => "the name is not a name of DNS (one that is not ASCII is written `xn--…`)",
            Self::Encoding => "the name or the validity cannot be in a certificate",
        })
    }
}

impl core::error::Error for KeygenError {}
