//! What has been counted.

use coap_core::SessionEnd;

/// What has been counted, and how many sessions there are at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Sessions that stand, at this moment.
    pub sessions: usize,
    /// Clients in the middle of a handshake, at this moment.
    pub half_open: usize,
    /// Sessions that we are about to open, at this moment.
    pub opening: usize,
    /// Handshakes that have begun.
    pub begun: u64,
    /// Handshakes that came to their end: as many sessions have stood.
    pub established: u64,
    /// Handshakes that were begun anew by the client's side, as what failed them could have been forged.
    pub retried: u64,
    /// Why handshakes failed.
    pub failed: Ends,
    /// Why sessions ended that stood.
    pub closed: Ends,
    /// Hellos that were answered with a cookie. Nothing has been kept of them.
    pub cookies_sent: u64,
    /// Hellos with a cookie that is not theirs, or too old.
    pub cookies_wrong: u64,
    /// Datagrams on a secure socket that are neither of a session nor a hello. They are not answered.
    pub strangers: u64,
    /// Datagrams on a secure socket that are no DTLS. A request in the clear is one: it is not answered (RFC 7252 §9.1).
    pub in_the_clear: u64,
    /// Hellos of clients whose address is not proven that were dropped, as there were too many in a second.
    pub hellos_dropped: u64,
    /// Clients in the middle of a handshake that lost their place to others.
    pub half_open_dropped: u64,
    /// Datagrams that did not fit into the outbox.
    pub outbox_full: u64,
    /// Messages that were longer than a record may be. `SecureEndpoint` checks that there are none.
    pub too_long: u64,
}

/// How many ended why. What is not named here is counted as `protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ends {
    /// `SessionEnd::Local`.
    pub local: u64,
    /// `SessionEnd::Peer`.
    pub peer: u64,
    /// `SessionEnd::Replaced`.
    pub replaced: u64,
    /// `SessionEnd::Idle`.
    pub idle: u64,
    /// `SessionEnd::Silent`.
    pub silent: u64,
    /// `SessionEnd::NoAnswer` and `HandshakeTimeout`.
    pub timeout: u64,
    /// `SessionEnd::Alert`.
    pub alert: u64,
    /// `SessionEnd::UnknownAuthority`, `NameMismatch`, `Expired` and `BadCertificate`.
    pub certificate: u64,
    /// `SessionEnd::NoCertificate`.
    pub no_certificate: u64,
    /// `SessionEnd::WrongKey`.
    pub wrong_key: u64,
    /// `SessionEnd::Protocol`.
    pub protocol: u64,
    /// `SessionEnd::Exhausted`.
    pub exhausted: u64,
    /// `SessionEnd::Full`.
    pub full: u64,
    /// `SessionEnd::Unreachable`.
    pub unreachable: u64,
    /// `SessionEnd::Internal`: the library has failed.
    pub internal: u64,
}

impl Ends {
    /// One more.
    pub(crate) fn count(&mut self, why: SessionEnd) {
        let counter = match why {
            SessionEnd::Local => &mut self.local,
            SessionEnd::Peer => &mut self.peer,
            SessionEnd::Replaced => &mut self.replaced,
            SessionEnd::Idle => &mut self.idle,
            SessionEnd::Silent => &mut self.silent,
            SessionEnd::NoAnswer | SessionEnd::HandshakeTimeout => &mut self.timeout,
            SessionEnd::Alert(_) => &mut self.alert,
            SessionEnd::UnknownAuthority
            | SessionEnd::NameMismatch
            | SessionEnd::Expired
            | SessionEnd::BadCertificate => &mut self.certificate,
            SessionEnd::NoCertificate => &mut self.no_certificate,
            SessionEnd::WrongKey => &mut self.wrong_key,
            SessionEnd::Exhausted => &mut self.exhausted,
            SessionEnd::Full => &mut self.full,
            SessionEnd::Unreachable => &mut self.unreachable,
            SessionEnd::Internal => &mut self.internal,
            _ => &mut self.protocol,
        };
        *counter += 1;
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { local, peer, replaced, idle, silent, timeout, alert, certificate, .. } = self;
        let Self { no_certificate, wrong_key, protocol, exhausted, full, unreachable, internal, .. } = self;
        let first = local + peer + replaced + idle + silent + timeout + alert + certificate;
        first + no_certificate + wrong_key + protocol + exhausted + full + unreachable + internal
    }
}
