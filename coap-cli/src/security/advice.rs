//! What to do when there is no session, by the credentials that were to make it.

use coap_core::SessionEnd;
use coap_driver::Error;
use coap_dtls::Backend;

use super::By;
use crate::args::SecurityArgs;
use crate::exit::Failure;

/// Says of an `error` what somebody can do who asked with these flags.
pub(crate) fn failure(args: &SecurityArgs, error: Error) -> Failure {
    let said = match &error {
        Error::Session { peer, why, .. } => advice(args, *why).map(|advice| format!("{peer}: {why}; {advice}")),
        _ => None,
    };
    let failure = Failure::from(error);
    match said {
        Some(text) => Failure::new(failure.exit, text),
        None => failure,
    }
}

/// `None`: what is said to all is right.
fn advice(args: &SecurityArgs, why: SessionEnd) -> Option<String> {
    let by = By::of(args);
    let text = match (why, by) {
        (SessionEnd::HandshakeTimeout, By::Key) => {
            "check the identity and the key: many servers do not say when they are wrong"
        }
        (SessionEnd::HandshakeTimeout, By::Certificate) if args.cert.is_some() => {
            "check that the server uses certificates and trusts the authority of ours: many do not say what they do not like"
        }
        (SessionEnd::HandshakeTimeout, By::Certificate) => {
            "check that the server uses certificates, and show one (-c FILE -j FILE) if it wants one: many do not say so"
        }
        // handshake_failure.
        (SessionEnd::Alert(40), By::Key) => {
            let supported = match args.library.suites.is_empty() {
                true => "check that the server takes pre-shared keys",
                false => "check that the server takes pre-shared keys, and the cipher suites of --suite",
            };
            return Some(match other_library(args) {
                Some(other) => format!("{supported}, or try --dtls {other}, which some servers need (tinydtls)"),
                None => supported.to_owned(),
            });
        }
        (SessionEnd::Alert(40), By::Certificate) if args.cert.is_none() => {
            "show a certificate (-c FILE -j FILE) if it wants one, or check what the other end supports"
        }
        (SessionEnd::Alert(40), By::Certificate) => {
            "check that it trusts the authority of our certificate, and what else it supports"
        }
        // Those about certificates, which only who uses some is told.
        (SessionEnd::Alert(42..=46 | 48 | 116), _) => return None,
        // bad_record_mac, decrypt_error, unknown_psk_identity: with certificates it is a signature that is wrong.
        (SessionEnd::WrongKey | SessionEnd::Alert(20 | 51 | 115), By::Key) => return None,
        (SessionEnd::WrongKey | SessionEnd::Alert(20 | 51 | 115), By::Certificate) => {
            "check the certificates of both ends and their keys"
        }
        (SessionEnd::Alert(_) | SessionEnd::Protocol, By::Key) => {
            "check the identity and the key, and what the other end supports"
        }
        (SessionEnd::Alert(_) | SessionEnd::Protocol, By::Certificate) => {
            "check the certificates of both ends, and what the other end supports"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// The library to try in place of dimpl, whose hello lacks what tinydtls insists on (`renegotiation_info`, RFC 5746).
fn other_library(args: &SecurityArgs) -> Option<Backend> {
    let dimpl = args.library.dtls.filter(|used| *used == Backend::Dimpl)?;
    Backend::all().iter().copied().find(|other| *other != dimpl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_check_what_was_not_used() {
        let key = SecurityArgs { identity: Some("a".to_owned()), psk: Some("b".to_owned()), ..SecurityArgs::default() };
        let trust = SecurityArgs { roots: Some("ca.pem".into()), ..SecurityArgs::default() };
        let own = SecurityArgs { cert: Some("c.pem".into()), ..trust.clone() };
        for why in [SessionEnd::HandshakeTimeout, SessionEnd::Protocol, SessionEnd::Alert(40), SessionEnd::Alert(80)] {
            let advice = |args: &SecurityArgs| advice(args, why).unwrap();
            assert!(!advice(&key).contains("certificate"), "{why}: {}", advice(&key));
            for args in [&trust, &own] {
                let advice = advice(args);
                assert!(!advice.contains("identity") && advice.contains("certificate"), "{why}: {advice}");
            }
        }
        // What a peer says of keys need not be about pre-shared ones.
        for why in [SessionEnd::WrongKey, SessionEnd::Alert(51)] {
            assert_eq!(advice(&key, why), None);
            assert!(advice(&own, why).unwrap().contains("certificates of both ends"));
        }
        // All are told the same.
        for why in [SessionEnd::NoAnswer, SessionEnd::NameMismatch, SessionEnd::Alert(48), SessionEnd::Idle] {
            assert_eq!((advice(&key, why), advice(&own, why)), (None, None));
        }
    }

    #[test]
    fn the_other_library_is_named_to_who_used_the_one_that_tinydtls_refuses() {
        let named = |dtls: Option<Backend>| {
            let mut args = SecurityArgs::default();
            args.library.dtls = dtls;
            advice(&args, SessionEnd::Alert(40)).unwrap().contains("--dtls webrtc-dtls")
        };
        assert!(named(Some(Backend::Dimpl)));
        assert!(!named(None) && !named(Some(Backend::WebrtcDtls)));
    }
}
