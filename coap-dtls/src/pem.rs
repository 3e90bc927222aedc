//! Certificates and private keys from PEM (RFC 7468) and DER.
//!
//! A private key becomes PKCS #8 with its public key inside, whatever it was before: all backends take that.

use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::pkcs8::EncodePrivateKey;
use pem_rfc7468::Error as PemError;
use pkcs8::{EncryptedPrivateKeyInfoRef, ObjectIdentifier, PrivateKeyInfoRef};
use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::AnyRef;
use zeroize::Zeroizing;

use crate::credentials::{CredentialError, PrivateKey};

/// id-ecPublicKey (RFC 5480 §2.1.1).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// rsaEncryption (RFC 8017 appendix C).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-Ed25519 (RFC 8410 §3).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

const RSA_KEY: CredentialError = CredentialError::KeyType { found: "an RSA key" };
const OTHER_CURVE: CredentialError = CredentialError::KeyType { found: "a key on another curve" };
const BAD_KEY: CredentialError = CredentialError::Malformed { what: "a private key" };
const BAD_PEM: CredentialError = CredentialError::Malformed { what: "a PEM block" };
const BAD_CERTIFICATE: CredentialError = CredentialError::Malformed { what: "a certificate" };

/// All certificates of a PEM text, in its order: at least one. Other blocks and the text between are skipped.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let mut found = Vec::new();
    for block in Blocks(text) {
        let block = block?;
        if matches!(block.label, b"CERTIFICATE" | b"X509 CERTIFICATE") {
            found.push(CertificateDer::from(block.decode()?.to_vec()));
        }
    }
    if found.is_empty() { Err(CredentialError::NoCertificate) } else { Ok(found) }
}

/// The first private key of a PEM text.
pub(crate) fn private_key(text: &[u8], passphrase: Option<&str>) -> Result<PrivateKey, CredentialError> {
    for block in Blocks(text) {
        let block = block?;
        match block.label {
            b"PRIVATE KEY" | b"EC PRIVATE KEY" => return from_clear(&block.decode()?),
            b"ENCRYPTED PRIVATE KEY" => return from_encrypted(&block.decode()?, passphrase),
            b"RSA PRIVATE KEY" => return Err(RSA_KEY),
            _ => {}
        }
    }
    Err(CredentialError::NoPrivateKey)
}

/// A private key in DER, of whichever form.
pub(crate) fn private_key_der(der: &[u8], passphrase: Option<&str>) -> Result<PrivateKey, CredentialError> {
    if EncryptedPrivateKeyInfoRef::try_from(der).is_ok() {
        return from_encrypted(der, passphrase);
    }
    from_clear(der)
}

/// PKCS #8 or SEC 1.
fn from_clear(der: &[u8]) -> Result<PrivateKey, CredentialError> {
    let key = SecretKey::from_der(der).map_err(|_| why_not(der))?;
    let document = key.to_pkcs8_der().map_err(|_| BAD_KEY)?;
    Ok(PrivateKey(document.to_bytes()))
}

/// What is in `der`, if not a key on P-256.
fn why_not(der: &[u8]) -> CredentialError {
    if let Ok(info) = PrivateKeyInfoRef::try_from(der) {
        return match info.algorithm.oid {
            RSA => RSA_KEY,
            ED25519 => CredentialError::KeyType { found: "an Ed25519 key" },
            EC_PUBLIC_KEY if info.algorithm.parameters_oid() != Ok(P256) => OTHER_CURVE,
            EC_PUBLIC_KEY => BAD_KEY,
            _ => CredentialError::KeyType { found: "a key of another kind" },
        };
    }
    match sec1::EcPrivateKey::try_from(der) {
        Ok(key) if key.parameters.and_then(|curve| curve.named_curve()) != Some(P256) => OTHER_CURVE,
        _ => BAD_KEY,
    }
}

/// secp256r1 (RFC 5480 §2.1.1.1).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

fn from_encrypted(der: &[u8], passphrase: Option<&str>) -> Result<PrivateKey, CredentialError> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| match AnyRef::from_der(der) {
        // Well-formed, by a cipher that is not known.
        Ok(_) => CredentialError::Encryption,
        Err(_) => BAD_KEY,
    })?;
    let passphrase = passphrase.ok_or(CredentialError::NoPassphrase)?;
    let clear = info.decrypt(passphrase).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(error) if error != pkcs8::pkcs5::Error::DecryptFailed => {
            CredentialError::Encryption
        }
        // A wrong key can come out as well-padded garbage, too.
        _ => CredentialError::WrongPassphrase,
    })?;
    from_clear(clear.as_bytes())
}

/// Refuses what no backend could read later.
pub(crate) fn check_certificate(certificate: &CertificateDer<'_>) -> Result<(), CredentialError> {
    Certificate::from_der(certificate).map(drop).map_err(|_| BAD_CERTIFICATE)
}

/// True if `key` is the private key of `certificate`.
pub(crate) fn belongs(key: &PrivateKey, certificate: &CertificateDer<'_>) -> Result<bool, CredentialError> {
    let certificate = Certificate::from_der(certificate).map_err(|_| BAD_CERTIFICATE)?;
    let key = SecretKey::from_der(&key.0).map_err(|_| BAD_KEY)?;
    let shown = &certificate.tbs_certificate().subject_public_key_info();
    let shown = p256::PublicKey::from_sec1_bytes(shown.subject_public_key.raw_bytes());
    Ok(shown.is_ok_and(|shown| shown.to_sec1_point(false) == key.public_key().to_sec1_point(false)))
}

/// The blocks of a PEM text, one after the other.
struct Blocks<'a>(&'a [u8]);

/// One of them, from its BEGIN to its END.
struct Block<'a> {
    label: &'a [u8],
    text: &'a [u8],
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, CredentialError>;

    fn next(&mut self) -> Option<Self::Item> {
        const BEGIN: &[u8] = b"-----BEGIN ";
        const DASHES: &[u8] = b"-----";
        let text = &self.0[find(self.0, BEGIN)?..];
        let label = &text[BEGIN.len()..];
        let block = find(label, DASHES).and_then(|length| {
            let label = &label[..length];
            let end = [b"-----END ", label, DASHES].concat();
            let length = find(text, &end)? + end.len();
            Some((Block { label, text: &text[..length] }, &text[length..]))
        });
        let Some((block, rest)) = block else {
            self.0 = &[];
            return Some(Err(BAD_PEM));
        };
        self.0 = rest;
        Some(Ok(block))
    }
}

impl Block<'_> {
    fn decode(&self) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
        match pem_rfc7468::decode_vec(self.text) {
            Ok((_, der)) => Ok(Zeroizing::new(der)),
            // `Proc-Type: 4,ENCRYPTED`, of which MD5 and DES were part (RFC 1421).
            Err(PemError::HeaderDisallowed) => Err(CredentialError::Encryption),
            Err(_) if find(self.text, b"Proc-Type:").is_some() => Err(CredentialError::Encryption),
            Err(_) => Err(BAD_PEM),
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
