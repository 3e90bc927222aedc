//! Why a session ended, or never came to stand.

use core::fmt;

/// Why a session ended, or never came to stand: what a request, an observation or an observer inside of it is told.
///
/// The endpoint does not make sessions; whoever does says this (`Endpoint::close_session`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionEnd {
    /// We closed it.
    Local,
    /// The peer closed it (close_notify).
    Peer,
    /// A new session of the same peer has taken its place: it has started anew (RFC 6347 §4.2.8).
    Replaced,
    /// Nothing was said in it for longer than it is kept, or its place was needed for others.
    Idle,
    /// The peer does not answer in it any more.
    Silent,
    /// Nothing came back: nobody listens there.
    NoAnswer,
    /// The peer answered, and the handshake did not end in time: often because the key is wrong, and the peer does not say so.
    HandshakeTimeout,
    /// The peer ended it with this fatal alert (RFC 5246 §7.2).
    Alert(u8),
    /// The certificate of the peer is of no authority that is trusted.
    UnknownAuthority,
    /// The certificate of the peer is not for the name that was asked for (RFC 7252 §9.1.3.3).
    NameMismatch,
    /// The certificate of the peer is not valid now.
    Expired,
    /// The certificate of the peer is malformed, not for this use, or not accepted for another reason.
    BadCertificate,
    /// The peer has shown no certificate where one is wanted.
    NoCertificate,
    /// The keys of the two ends differ, or the peer's identity is unknown.
    WrongKey,
    /// The peer broke the protocol, or has nothing in common with us.
    Protocol,
    /// As many records have been sent as a key may be used for, or too many forged ones have come.
    Exhausted,
    /// There is no room for it.
    Full,
    /// The network reported that the peer cannot be reached.
    Unreachable,
    /// The library that does the handshakes needs a runtime that is not there (tokio, for `webrtc-dtls`).
    NoRuntime,
    /// The library that does the handshakes has failed, by a fault of its own. Other sessions are not touched.
    Internal,
    /// There is no such session, or it was over before.
    Gone,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Local => "the session was closed",
            Self::Peer => "the peer closed the session",
            Self::Replaced => "the peer started a new session",
            Self::Idle => "the session was idle for too long",
            Self::Silent => "the peer does not answer in its session any more",
            Self::NoAnswer => "no secure session: nobody answers",
            Self::HandshakeTimeout => "no secure session: the peer did not end the handshake in time",
            Self::Alert(description) => return write!(f, "no secure session: the peer sent {}", Alert(*description)),
            Self::UnknownAuthority => "no secure session: the peer's certificate is of an unknown authority",
            Self::NameMismatch => "no secure session: the peer's certificate is for another name",
            Self::Expired => "no secure session: the peer's certificate is not valid now",
            Self::BadCertificate => "no secure session: the peer's certificate is not acceptable",
            Self::NoCertificate => "no secure session: the peer has shown no certificate",
            Self::WrongKey => "no secure session: the keys of the two ends differ",
            Self::Protocol => {
                "no secure session: the peer does not keep to the protocol, or wants none that is spoken here"
            }
            Self::Exhausted => "the keys of the session are worn out",
            Self::Full => "no room for another secure session",
            Self::Unreachable => "the network reports that the peer cannot be reached",
            Self::NoRuntime => "no secure session: the backend needs a tokio runtime, and there is none",
            Self::Internal => "the library for secure sessions has failed in this session",
            Self::Gone => "there is no such session any more",
        };
        f.write_str(text)
    }
}

impl core::error::Error for SessionEnd {}

/// An alert by its number and name.
struct Alert(u8);

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            21 => "decryption_failed",
            22 => "record_overflow",
            40 => "handshake_failure",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            112 => "unrecognized_name",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            number => return write!(f, "alert {number}"),
        };
        write!(f, "alert {} ({name})", self.0)
    }
}
