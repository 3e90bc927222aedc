//! Keys and certificates as OpenSSL writes them, from files. tests/data/make is how they were made.

#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use coap_core::UdpAddr;
use coap_dtls::{
    CertificateError, CertifiedKey, ClientPsk, CredentialError, FileError, PeerVerifier, PskKey, PskLookup, PskStore,
    PskTable, Role, ServerName, WebPkiVerifier, certificates_from_file, certificates_from_pem,
};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn load(certificates: &str, key: &str, passphrase: Option<&str>) -> Result<CertifiedKey, FileError> {
    CertifiedKey::from_files(file(certificates), file(key), passphrase)
}

/// The reason, as a value.
fn refusal(certificates: &str, key: &str, passphrase: Option<&str>) -> CredentialError {
    load(certificates, key, passphrase).unwrap_err().credential().unwrap()
}

/// While the certificates are valid.
fn then() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

#[test]
fn a_key_is_taken_in_each_form() {
    for key in ["pkcs8.pem", "pkcs8.der", "sec1-with-params.pem", "sec1.der"] {
        for certificate in ["server.pem", "server.der"] {
            assert_eq!(load(certificate, key, None).unwrap().chain().len(), 1, "{key}");
        }
    }
}

#[test]
fn an_encrypted_key_is_opened_with_its_passphrase() {
    for key in ["encrypted-pbkdf2.pem", "encrypted-scrypt.pem", "encrypted.der"] {
        assert!(load("server.pem", key, Some("opensesame")).is_ok(), "{key}");
        assert_eq!(refusal("server.pem", key, None), CredentialError::NoPassphrase, "{key}");
        assert_eq!(refusal("server.pem", key, Some("sesame")), CredentialError::WrongPassphrase, "{key}");
        assert_eq!(refusal("server.pem", key, Some("")), CredentialError::WrongPassphrase, "{key}");
    }
}

#[test]
fn a_passphrase_is_not_looked_at_for_a_key_in_the_clear() {
    assert!(load("server.pem", "pkcs8.pem", Some("opensesame")).is_ok());
}

#[test]
fn an_encryption_of_old_is_named() {
    for key in ["encrypted-3des.pem", "encrypted-traditional.pem"] {
        assert_eq!(refusal("server.pem", key, Some("opensesame")), CredentialError::Encryption, "{key}");
    }
}

#[test]
fn a_key_for_something_else_is_named() {
    for (key, what) in [
        ("rsa.pem", "an RSA key"),
        ("rsa-traditional.pem", "an RSA key"),
        ("p384.pem", "a key on another curve"),
        ("p384-pkcs8.pem", "a key on another curve"),
        ("ed25519.pem", "an Ed25519 key"),
    ] {
        assert_eq!(refusal("server.pem", key, None), CredentialError::KeyType { found: what }, "{key}");
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    assert_eq!(refusal("ca.pem", "pkcs8.pem", None), CredentialError::KeyMismatch);
}

#[test]
fn an_error_names_the_file_and_what_is_wrong() {
    for (certificates, key, text) in [
        ("pkcs8.pem", "pkcs8.pem", "pkcs8.pem: there is no certificate in it"),
        ("sec1.der", "pkcs8.pem", "sec1.der: there is no certificate in it"),
        ("server.pem", "server.pem", "server.pem: there is no private key in it"),
        ("server.pem", "server.der", "server.der: a private key in it cannot be read"),
        (
            "server.pem",
            "encrypted-pbkdf2.pem",
            "encrypted-pbkdf2.pem: the private key is encrypted: give its passphrase",
        ),
    ] {
        let error = load(certificates, key, None).unwrap_err().to_string();
        assert!(error.ends_with(text), "{error}");
        assert!(error.contains("data"), "{error}");
    }
    let missing = load("nothing.pem", "pkcs8.pem", None).unwrap_err();
    assert!(missing.to_string().contains("nothing.pem: No such file"), "{missing}");
    assert_eq!(missing.credential(), None);
}

#[test]
fn one_file_may_hold_the_chain_and_the_key() {
    let read = |name| std::fs::read_to_string(file(name)).unwrap();
    let all = [read("sec1-with-params.pem"), read("server.pem"), read("ca.pem")].concat();
    let key = CertifiedKey::from_pem(&all, &all, None).unwrap();
    assert_eq!(key.chain().len(), 2);
    assert_eq!(key.leaf_only().chain().len(), 1);
    assert_eq!(certificates_from_pem(all.replace('\n', "\r\n")).unwrap().len(), 2);
}

#[test]
fn a_text_that_is_cut_anywhere_does_no_harm() {
    let text = std::fs::read(file("server.pem")).unwrap();
    let key = std::fs::read(file("encrypted-traditional.pem")).unwrap();
    for length in 0..text.len() - 1 {
        assert!(certificates_from_pem(&text[..length]).is_err());
    }
    for length in 0..key.len() {
        assert!(CertifiedKey::from_pem(&text, &key[..length], None).is_err());
    }
}

#[test]
fn what_openssl_signs_is_verified() {
    let server = certificates_from_file(file("server.pem")).unwrap();
    let verifier = WebPkiVerifier::new(certificates_from_file(file("ca.pem")).unwrap()).unwrap();
    let ask = |name: ServerName| verifier.verify(&server, Role::Server, Some(&name), then());
    assert_eq!(ask(ServerName::dns("localhost").unwrap()), Ok(()));
    assert_eq!(ask("127.0.0.1".parse::<IpAddr>().unwrap().into()), Ok(()));
    assert_eq!(ask(ServerName::dns("example.org").unwrap()), Err(CertificateError::NameMismatch));
}

/// `openssl req -x509` makes an authority that is its own server.
#[test]
fn what_openssl_signs_for_itself_can_be_trusted_alone() {
    let server = certificates_from_file(file("self-signed.pem")).unwrap();
    let verifier = WebPkiVerifier::new(server.clone()).unwrap();
    let name = ServerName::dns("localhost").unwrap();
    assert_eq!(verifier.verify(&server, Role::Server, Some(&name), then()), Ok(()));
}

/// `openssl x509 -req` without extensions. RFC 5280 §4.1.2.1 asks for version 3 where there are some, as there must be here.
#[test]
fn a_certificate_of_version_1_is_rejected() {
    let server = certificates_from_file(file("server-v1.pem")).unwrap();
    let verifier = WebPkiVerifier::new(certificates_from_file(file("ca.pem")).unwrap()).unwrap();
    let name = ServerName::dns("localhost").unwrap();
    assert_eq!(verifier.verify(&server, Role::Server, Some(&name), then()), Err(CertificateError::Rejected));
}

#[test]
fn a_pre_shared_key_has_a_length_and_no_face() {
    let length = |length| PskKey::new(vec![7; length]).map(drop);
    assert_eq!(length(0), Err(CredentialError::KeyLength { length: 0 }));
    assert_eq!(length(1), Ok(()));
    assert_eq!(length(512), Ok(()));
    assert_eq!(length(513), Err(CredentialError::KeyLength { length: 513 }));

    let psk = ClientPsk::new("clientID", "secretPSK").unwrap();
    assert!(!format!("{psk:?}").contains("secret"), "{psk:?}");
    let table = PskTable::new().with("clientID", "secretPSK").unwrap();
    assert!(!format!("{table:?}").contains("ID"), "{table:?}");
}

#[test]
fn an_identity_has_a_length() {
    let length = |length| ClientPsk::new(vec![b'i'; length], "key").map(drop);
    assert_eq!(length(0), Err(CredentialError::IdentityLength { length: 0 }));
    assert_eq!(length(1), Ok(()));
    assert_eq!(length(1024), Ok(()));
    assert_eq!(length(1025), Err(CredentialError::IdentityLength { length: 1025 }));
}

#[test]
fn a_key_is_found_by_its_identity_alone() {
    let peer = UdpAddr::from("192.0.2.1:5684".parse::<SocketAddr>().unwrap());
    let table = PskTable::new().with("one", "1").unwrap().with("two", "2").unwrap();
    assert_eq!(table.len(), 2);
    assert!(matches!(table.lookup(b"one", peer), PskLookup::Key(_)));
    for identity in [&b"three"[..], b"One", b"on", b"one\0", b""] {
        assert!(matches!(table.lookup(identity, peer), PskLookup::Unknown));
    }
    let closure = |identity: &[u8], _: UdpAddr| PskKey::new(identity).ok().into();
    assert!(matches!(closure.lookup(b"self", peer), PskLookup::Key(_)));
    assert!(matches!(closure.lookup(b"", peer), PskLookup::Unknown));
}
