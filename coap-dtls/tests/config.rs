//! What a configuration is refused for, and that each refusal says what to do.
#![cfg(feature = "dimpl")]
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

use core::time::Duration;

use coap_dtls::{
    Backend, Capability, CertConfig, CertifiedKey, CipherSuite, ClientAuth, ClientPsk, ConfigError, CredentialError,
    DangerousAcceptAny, EmsPolicy, PskTable, SecurityBuilder, SecurityConfig, ServerEnd, SuiteUse, Versions,
};

fn psk() -> ClientPsk {
    ClientPsk::new("clientID", "secretPSK").unwrap()
}

fn table() -> PskTable {
    PskTable::new().with("clientID", "secretPSK").unwrap()
}

fn certificate() -> CertifiedKey {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/");
    CertifiedKey::from_files(format!("{data}server.pem"), format!("{data}pkcs8.pem"), None).unwrap()
}

/// With something between it and the authority.
fn chain() -> CertifiedKey {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/");
    let read = |name| std::fs::read_to_string(format!("{data}{name}")).unwrap();
    CertifiedKey::from_pem([read("server.pem"), read("ca.pem")].concat(), read("pkcs8.pem"), None).unwrap()
}

fn server() -> SecurityBuilder<ServerEnd> {
    SecurityConfig::server().backend(Backend::Dimpl)
}

#[track_caller]
fn refused(builder: SecurityBuilder<ServerEnd>, expected: ConfigError) {
    let error = builder.build().unwrap_err();
    assert_eq!(error, expected);
    assert!(error.to_string().len() > 20, "{error}");
}

#[test]
fn what_both_ends_can_do_is_built() {
    SecurityConfig::client(psk()).build().unwrap();
    SecurityConfig::client(CertConfig::new(DangerousAcceptAny)).build().unwrap();
    SecurityConfig::client(CertConfig::new(DangerousAcceptAny).own(certificate())).build().unwrap();
    server().psk(table()).psk_hint("hint").build().unwrap();
    server().certificate(certificate()).versions(Versions::V12AndV13).build().unwrap();
    let both = server().psk(table()).certificate(certificate()).client_auth(ClientAuth::Required);
    both.verifier(DangerousAcceptAny).build().unwrap();
}

#[test]
fn a_server_shows_something() {
    refused(server(), ConfigError::NoCredential);
    refused(server().psk_hint("hint"), ConfigError::NoCredential);
}

#[test]
fn a_hint_is_for_keys_and_has_a_length() {
    refused(server().certificate(certificate()).psk_hint("hint"), ConfigError::HintWithoutKeys);
    refused(server().psk(table()).psk_hint(""), ConfigError::Hint(CredentialError::IdentityLength { length: 0 }));
}

#[test]
fn who_asks_clients_says_which_are_good() {
    let asking = || server().certificate(certificate()).client_auth(ClientAuth::Required);
    refused(asking(), ConfigError::NoVerifier);
    refused(server().certificate(certificate()).verifier(DangerousAcceptAny), ConfigError::VerifierWithoutClientAuth);
    refused(
        server().psk(table()).client_auth(ClientAuth::Required).verifier(DangerousAcceptAny),
        ConfigError::ClientAuthWithoutCertificate,
    );
}

#[test]
fn numbers_have_ranges() {
    let seconds = Duration::from_secs;
    for (initial, deadline) in
        [(seconds(0), seconds(40)), (seconds(61), seconds(100)), (seconds(9), seconds(8)), (seconds(1), seconds(601))]
    {
        let builder = server().psk(table()).handshake_timer(initial, deadline);
        refused(builder, ConfigError::HandshakeTimer { initial, deadline });
    }
    for bytes in [0, 255, 16_385, usize::MAX] {
        refused(server().psk(table()).max_record(bytes), ConfigError::MaxRecord { bytes });
    }
    server().psk(table()).handshake_timer(seconds(9), seconds(9)).max_record(256).build().unwrap();
}

/// Named, with what to do instead, and the backend that has it.
#[test]
fn what_the_backend_cannot_do_is_refused_by_name() {
    let unsupported = |what| ConfigError::Unsupported { what, backend: Backend::Dimpl };
    refused(server().psk(table()).ems(EmsPolicy::Prefer), unsupported(Capability::WithoutEms));
    refused(server().psk(table()).key_log(|_| {}), unsupported(Capability::KeyLog));
    refused(server().psk(table()).versions(Versions::V12AndV13), unsupported(Capability::Dtls13Psk));
    refused(server().certificate(chain()), unsupported(Capability::Intermediates));
    server().certificate(chain().leaf_only()).build().unwrap();
    refused(
        server().certificate(certificate()).client_auth(ClientAuth::Optional).verifier(DangerousAcceptAny),
        unsupported(Capability::OptionalClientCertificate),
    );
    let client = SecurityConfig::client(psk()).backend(Backend::Dimpl).versions(Versions::V12AndV13);
    assert_eq!(client.build().unwrap_err(), unsupported(Capability::Dtls13Psk));
    let client = SecurityConfig::client(CertConfig::new(DangerousAcceptAny).own(chain())).backend(Backend::Dimpl);
    assert_eq!(client.build().unwrap_err(), unsupported(Capability::Intermediates));

    assert_eq!(
        unsupported(Capability::KeyLog).to_string(),
        "the backend dimpl does not have a key log: \
         do without it, or choose the backend webrtc-dtls (`.backend(..)`, feature `webrtc-dtls`)"
    );
    assert_eq!(
        unsupported(Capability::Dtls13Psk).to_string(),
        "the backend dimpl does not have DTLS 1.3 with pre-shared keys: use DTLS 1.2"
    );
}

#[cfg(feature = "webrtc-dtls")]
#[test]
fn what_webrtc_dtls_cannot_do_is_refused_by_name() {
    let server = || SecurityConfig::server().backend(Backend::WebrtcDtls);
    let unsupported = |what| ConfigError::Unsupported { what, backend: Backend::WebrtcDtls };
    refused(server().certificate(certificate()).versions(Versions::V12AndV13), unsupported(Capability::Dtls13));
    for suite in CipherSuite::all() {
        let wish = [CipherSuite::PskAes128Ccm8, *suite];
        let built = server().psk(table()).suites(&wish).build().map(drop);
        let has = Backend::WebrtcDtls.cipher_suites().contains(suite);
        let missing = ConfigError::UnsupportedSuite { suite: *suite, backend: Backend::WebrtcDtls };
        assert_eq!(built, if has { Ok(()) } else { Err(missing) });
    }
    #[cfg(feature = "simulation")]
    refused(server().psk(table()).seeded(1), unsupported(Capability::Deterministic));
}

#[test]
fn a_list_of_suites_is_not_empty() {
    refused(server().psk(table()).suites(&[]), ConfigError::NoSuites);
    let client = SecurityConfig::client(psk()).backend(Backend::Dimpl).suites(&[]);
    assert_eq!(client.build().unwrap_err(), ConfigError::NoSuites);
}

#[test]
fn a_suite_that_the_backend_does_not_have_is_refused_by_name() {
    for suite in CipherSuite::all() {
        let wish = [CipherSuite::PskAes128Ccm8, *suite];
        let built = server().psk(table()).suites(&wish).build();
        if Backend::Dimpl.cipher_suites().contains(suite) {
            built.unwrap();
            continue;
        }
        let error = built.unwrap_err();
        assert_eq!(error, ConfigError::UnsupportedSuite { suite: *suite, backend: Backend::Dimpl });
        assert!(error.to_string().contains(&format!(" {suite}:")), "{error}");
    }
    let missing = ConfigError::UnsupportedSuite { suite: CipherSuite::EcdsaAes128Ccm8, backend: Backend::Dimpl };
    assert_eq!(
        missing.to_string(),
        "the backend dimpl does not have TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8: leave it out, \
         or choose the backend webrtc-dtls (`.backend(..)`, feature `webrtc-dtls`)"
    );
}

#[test]
fn suites_that_leave_nothing_for_a_credential_or_a_version_are_refused() {
    use CipherSuite::{Aes128Gcm, EcdsaAes128Gcm, PskAes128Ccm8};
    let none_for = |what| ConfigError::NoSuiteFor { what, backend: Backend::Dimpl };
    let (keys, certificates) = (none_for(SuiteUse::PreSharedKeys), none_for(SuiteUse::Certificates));
    refused(server().psk(table()).suites(&[EcdsaAes128Gcm, Aes128Gcm]), keys);
    refused(server().certificate(certificate()).suites(&[PskAes128Ccm8]), certificates);
    let both = || server().psk(table()).certificate(certificate());
    refused(both().suites(&[PskAes128Ccm8]), certificates);
    refused(both().suites(&[EcdsaAes128Gcm]), keys);
    both().suites(&[EcdsaAes128Gcm, PskAes128Ccm8]).build().unwrap();

    let with_13 = || server().certificate(certificate()).versions(Versions::V12AndV13);
    refused(with_13().suites(&[EcdsaAes128Gcm]), none_for(SuiteUse::Dtls13));
    with_13().suites(&[Aes128Gcm]).build().unwrap();
    refused(server().certificate(certificate()).suites(&[Aes128Gcm]), certificates);

    let client = SecurityConfig::client(psk()).backend(Backend::Dimpl).suites(&[EcdsaAes128Gcm]);
    assert_eq!(client.build().unwrap_err(), keys);
    let client = SecurityConfig::client(CertConfig::new(DangerousAcceptAny)).backend(Backend::Dimpl);
    assert_eq!(client.suites(&[PskAes128Ccm8]).build().unwrap_err(), certificates);
    assert_eq!(
        keys.to_string(),
        "none of the cipher suites is for DTLS 1.2 with pre-shared keys: add one of TLS_PSK_WITH_AES_128_CCM_8"
    );
}

#[test]
fn nothing_secret_is_printed() {
    let client = SecurityConfig::client(psk());
    let config = CertConfig::new(DangerousAcceptAny).own(certificate());
    let printed = format!("{client:?} {:?} {config:?} {:?}", server().psk(table()), client_and_server());
    for secret in ["secretPSK", "115, 101, 99", "MHcCAQ"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

fn client_and_server() -> impl core::fmt::Debug {
    (SecurityConfig::client(psk()).build().unwrap(), server().psk(table()).build().unwrap())
}
