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
            let supported = "check that the server takes pre-shared keys";
            return Some(match other_library(args, by) {
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
        _ => return None,
    };
    Some(text.to_owned())
}

/// The library to try in place of dimpl, whose hello lacks what tinydtls insists on (`renegotiation_info`, RFC 5746).
fn other_library(args: &SecurityArgs, by: By) -> Option<Backend> {
    // Of the two, it alone has no key log.
    let used =
        args.library.dtls.or_else(|| by.libraries().first().copied().filter(|_| args.library.keylog.is_none()))?;
    (used == Backend::Dimpl).then(|| Backend::all().iter().copied().find(|other| *other != used)).flatten()
}
