//! A certificate that says nothing, for a client that has none: the library cannot send an empty list of certificates
//! (RFC 5246 §7.4.6), and a client of it must have one to send if it is asked. Who gets it cannot tell the client by it.

use dimpl::DtlsCertificate;
use p256::SecretKey;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::pkcs8::EncodePrivateKey;

use super::provider;
use crate::backend::Refused;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const BIT_STRING: u8 = 0x03;

/// ecdsa-with-SHA256 (RFC 5758 §3.2).
const ECDSA_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// id-ecPublicKey on the curve P-256 (RFC 5480 §2).
const EC_P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];
/// commonName, as UTF-8.
const ANONYMOUS: &[u8] = b"\x06\x03\x55\x04\x03\x0c\x09anonymous";
/// RFC 5280 §4.1.2.5: from 1970 to a day that stands for none.
const ALWAYS: &[u8] = b"\x17\x0d700101000000Z\x18\x0f99991231235959Z";
/// Serial number 1.
const SERIAL: &[u8] = &[0x02, 0x01, 0x01];

/// A certificate of a fresh key, signed by itself.
pub(super) fn certificate() -> Result<DtlsCertificate, Refused> {
    let secret = secret()?;
    let point = secret.public_key().to_sec1_point(false);
    let key = value(SEQUENCE, &[EC_P256, &value(BIT_STRING, &[&[0], point.as_bytes()])]);
    let name = value(SEQUENCE, &[&value(SET, &[&value(SEQUENCE, &[ANONYMOUS])])]);
    let signed = value(SEQUENCE, &[SERIAL, ECDSA_SHA256, &name, &value(SEQUENCE, &[ALWAYS]), &name, &key]);
    let signature: DerSignature = SigningKey::from(&secret).sign(&signed);
    let certificate = value(SEQUENCE, &[&signed, ECDSA_SHA256, &value(BIT_STRING, &[&[0], signature.as_bytes()])]);
    let private_key = secret.to_pkcs8_der().map_err(|_| Refused)?.as_bytes().to_vec();
    Ok(DtlsCertificate { certificate, private_key })
}

/// A number is a key with a chance of all but 2⁻³².
fn secret() -> Result<SecretKey, Refused> {
    let mut bytes = [0; 32];
    for _ in 0..8 {
        provider::provider().secure_random.fill(&mut bytes).map_err(|_| Refused)?;
        if let Ok(secret) = SecretKey::from_slice(&bytes) {
            return Ok(secret);
        }
    }
    Err(Refused)
}

/// A value of DER, of what its parts are.
fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..128) => out.push(short),
        Ok(long) => out.extend_from_slice(&[0x81, long]),
        Err(_) => {
            let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
            out.extend_from_slice(&[0x82, high, low]);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}
