//! What an error of the library means, and what the peer is told.

use coap_core::SessionEnd;
use dimpl::{CryptoError, CryptoOperation, Error, SecurityError};

/// Why the session ends. All errors of the library end it.
pub(super) fn meaning(error: &Error) -> SessionEnd {
    match error {
        Error::SecurityError(SecurityError::FatalAlert { description }) => SessionEnd::Alert(*description),
        Error::SecurityError(
            SecurityError::ClientFinishedVerificationFailed | SecurityError::ServerFinishedVerificationFailed,
        )
        | Error::CryptoError(CryptoError::OperationFailed(CryptoOperation::Decrypt | CryptoOperation::VerifyData))
        | Error::PskError(_) => SessionEnd::WrongKey,
        Error::CertificateError(
            dimpl::CertificateError::NoClientCertificateReceived | dimpl::CertificateError::NoServerCertificateReceived,
        ) => SessionEnd::NoCertificate,
        Error::CertificateError(_)
        | Error::CryptoError(
            CryptoError::SignatureVerificationFailed { .. }
            | CryptoError::UnsupportedSignatureVerification { .. }
            | CryptoError::SignatureAlgorithmMismatch { .. }
            | CryptoError::UnsupportedPublicKeyAlgorithm
            | CryptoError::UnsupportedEcCurve
            | CryptoError::CertificateParseFailed
            | CryptoError::MissingEcCurveParameter
            | CryptoError::InvalidEcCurveParameter
            | CryptoError::InvalidSubjectPublicKey
            | CryptoError::InvalidSignatureFormat
            | CryptoError::OperationFailed(CryptoOperation::VerifySignature),
        ) => SessionEnd::BadCertificate,
        Error::CryptoError(CryptoError::SendSequenceNumberExhausted { .. }) => SessionEnd::Exhausted,
        Error::Timeout(_) => SessionEnd::HandshakeTimeout,
        Error::ConnectionClosed => SessionEnd::Peer,
        _ => SessionEnd::Protocol,
    }
}

/// The record that was handed in cannot be opened. The library has dropped it then, and nothing else has happened.
pub(super) fn is_undecryptable(error: &Error) -> bool {
    matches!(error, Error::CryptoError(CryptoError::OperationFailed(CryptoOperation::Decrypt)))
}

/// The number of the alert internal_error (RFC 5246 §7.2.2).
pub(super) const INTERNAL_ERROR: u8 = 80;

/// The fatal alert that refuses a hello: for most of what it can lack handshake_failure (RFC 5246 §7.2.2, RFC 7627 §5.2).
pub(super) fn refusal(error: &Error) -> u8 {
    match error {
        Error::SecurityError(SecurityError::UnsupportedClientVersion(_)) => PROTOCOL_VERSION,
        _ => HANDSHAKE_FAILURE,
    }
}

pub(super) const PROTOCOL_VERSION: u8 = 70;
pub(super) const HANDSHAKE_FAILURE: u8 = 40;

/// The fatal alert that tells the peer of a handshake why it ended (RFC 5246 §7.2.2; RFC 4279 §2 for a key that is wrong or
/// an identity that is unknown). `None`: it knows, or is not there.
pub(super) fn alert(why: SessionEnd) -> Option<u8> {
    Some(match why {
        SessionEnd::UnknownAuthority => 48,
        SessionEnd::Expired => 45,
        SessionEnd::NameMismatch | SessionEnd::BadCertificate => 42,
        SessionEnd::NoCertificate | SessionEnd::Protocol => HANDSHAKE_FAILURE,
        SessionEnd::WrongKey => 51,
        SessionEnd::Internal => INTERNAL_ERROR,
        _ => return None,
    })
}
