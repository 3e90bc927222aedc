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

/// The fatal alert that tells the peer of a handshake why it ended (RFC 5246 §7.2.2; RFC 4279 §2 for a key that is wrong or
/// an identity that is unknown). `None`: it knows, or is not there.
pub(super) fn alert(why: SessionEnd) -> Option<u8> {
    Some(match why {
        SessionEnd::UnknownAuthority => 48,
        SessionEnd::Expired => 45,
        SessionEnd::NameMismatch | SessionEnd::BadCertificate => 42,
        SessionEnd::NoCertificate | SessionEnd::Protocol => 40,
        SessionEnd::WrongKey => 51,
        _ => return None,
    })
}
