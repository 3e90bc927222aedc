//! What can go wrong with a request, and with setting up a client or server.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::io;

use coap_core::{
    BlockFailure, ConfigError, Failure, Instant, OptionError, OptionNumber, Peer, RequestError, SessionEnd, Timing,
    UriError,
};

use crate::kind::ErrorKind;
use crate::reply::Reply;
use crate::router::RouteError;

/// Why there is no response. Each one says in a line whose fault it is, what happened, and what can be done.
///
/// A response with an error code is no `Error`: see [`Reply::error_for_status`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The URI is not one (RFC 7252 §6). Nothing was sent.
    Uri(UriError),
    /// What goes through a proxy must have a URI, and the target is a session. Nothing was sent.
    NoUri,
    /// The URI asks for security, and this client has none. Nothing was sent: never is a `coaps` request sent in the
    /// clear.
    Security,
    /// A group cannot be asked in a secure session (RFC 7252 §9.1). Nothing was sent.
    SecureGroup {
        /// The group.
        peer: Peer,
    },
    /// Another secure session with the same address is at work from here: one for another host name. Nothing was sent.
    SessionInUse {
        /// The address.
        peer: Peer,
    },
    /// There is no secure session, or it has ended, and why. Of a request whose timing has no attempts nothing was sent, unless it
    /// is the rest of a download.
    Session {
        /// With whom.
        peer: Peer,
        /// Why.
        why: SessionEnd,
        /// How far the request came.
        timing: Timing,
    },
    /// The name has no address. Nothing was sent.
    HostNotFound {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The name was not resolved within the time of the request. Nothing was sent.
    ResolveTimeout {
        /// The name.
        host: String,
        /// How long it was waited for.
        elapsed: Duration,
    },
    /// The zone of a link-local address names no interface of this machine. Nothing was sent.
    NoInterface {
        /// The zone.
        zone: String,
    },
    /// The client's sockets are of the other address family, or listen for secure sessions only. Nothing was sent.
    AddressFamily {
        /// Whom the request was for.
        peer: Peer,
    },
    /// What is for a group is for one peer (RFC 7252 §8). Nothing was sent.
    NotGroup {
        /// Whom it was for.
        peer: Peer,
    },
    /// An option has a value that it cannot have. Nothing was sent.
    Option(OptionError),
    /// The endpoint does not take the request. Nothing was sent.
    Request(RequestError),
    /// The server answered a request for the same method and URI with 4.29 or 5.03, and wants no further one before its Max-Age
    /// has passed (RFC 8516 §4, RFC 7252 §5.9.3.4). Nothing was sent. Who would rather wait than try again:
    /// [`RequestBuilder::wait_for_back_off`](crate::RequestBuilder::wait_for_back_off).
    BackOff {
        /// Which server.
        peer: Peer,
        /// When it may be sent, on the clock of the runtime.
        until: Instant,
        /// How long that is from the refusal on.
        wait: Duration,
    },
    /// The time of the request ran out while it waited for its turn: RFC 7252 §4.7 says why there are turns, and §4.4
    /// why a peer has no more than 65,536 messages within EXCHANGE_LIFETIME (247 s).
    NotSent {
        /// Whom it was for.
        peer: Peer,
        /// How long it waited.
        timing: Timing,
    },
    /// The request was sent, repeated, and nothing at all came back. Of the rest of a download the timing counts no attempts.
    NoAck {
        /// Whom it was for.
        peer: Peer,
        /// How often it was sent and how long that took.
        timing: Timing,
    },
    /// The request was acknowledged, or was Non-confirmable, and no response followed in time.
    NoResponse {
        /// Whom it was for.
        peer: Peer,
        /// How often it was sent and how long that took.
        timing: Timing,
    },
    /// The peer answered with a Reset message: it does not take this kind of message at all.
    Reset {
        /// Who said so.
        peer: Peer,
        /// How long that took.
        timing: Timing,
    },
    /// The peer cannot be reached.
    Unreachable {
        /// Whom it was for.
        peer: Peer,
        /// Who says so.
        cause: Unreachable,
        /// How long that took.
        timing: Timing,
    },
    /// The response has a critical option that is not understood, or is malformed (RFC 7252 §5.4.1).
    CriticalOption {
        /// Who sent it.
        peer: Peer,
        /// The option.
        number: OptionNumber,
        /// How long that took.
        timing: Timing,
    },
    /// The content or the response could not be transferred block by block (RFC 7959).
    Blockwise {
        /// With whom.
        peer: Peer,
        /// Why.
        reason: BlockFailure,
        /// How long that took.
        timing: Timing,
    },
    /// The reader of the content failed, or ended before the size that was announced: what the server has got of it is
    /// incomplete, and it was not told the end.
    Body(io::Error),
    /// Another end of a request, which this version of the driver has no name for.
    Failed {
        /// Whom it was for.
        peer: Peer,
        /// Which.
        reason: Failure,
        /// How long that took.
        timing: Timing,
    },
    /// The response has an error code; only from [`Reply::error_for_status`].
    Status(Box<Reply>),
    /// The client or server was closed, or its runtime has ended.
    Closed,
    /// [`Client::disconnect`](crate::Client::disconnect) ended it. The client can be used.
    Disconnected,
    /// [`AbortHandle::abort`](crate::AbortHandle::abort) ended it.
    Aborted,
    /// A socket cannot be bound to an address.
    Bind {
        /// The address, as it was given.
        addr: String,
        /// What the system said.
        source: io::Error,
    },
    /// A group cannot be joined: no socket hears it, or the system will not.
    Join {
        /// The group.
        group: IpAddr,
        /// The interface, as it was given.
        interface: Option<String>,
        /// What the system said.
        source: io::Error,
    },
    /// The system did not do its part: no randomness, no runtime, a socket that failed for good.
    Io(io::Error),
    /// The settings contradict each other.
    Config(ConfigError),
    /// A route of the router is wrong.
    Route(RouteError),
}

/// Why a peer cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreachable {
    /// The network reported it (ICMP): nobody listens on the port, or there is no way to the host.
    Reported,
    /// The system did not even send: it has no route, or may not use it.
    NotSent(io::ErrorKind),
}

impl Error {
    pub(crate) const fn from_failure(peer: Peer, reason: Failure, timing: Timing) -> Self {
        match reason {
            Failure::NotSent => Self::NotSent { peer, timing },
            Failure::NoAck => Self::NoAck { peer, timing },
            Failure::NoResponse => Self::NoResponse { peer, timing },
            Failure::Reset => Self::Reset { peer, timing },
            Failure::Unreachable => Self::Unreachable { peer, cause: Unreachable::Reported, timing },
            Failure::CriticalOption(number) => Self::CriticalOption { peer, number, timing },
            Failure::Blockwise(reason) => Self::Blockwise { peer, reason, timing },
            Failure::Session(SessionEnd::Unreachable) => {
                Self::Unreachable { peer, cause: Unreachable::Reported, timing }
            }
            Failure::Session(why) => Self::Session { peer, why, timing },
            Failure::Shutdown => Self::Closed,
            reason => Self::Failed { peer, reason, timing },
        }
    }

    /// Nothing came in time: waiting for a turn, for a name, for a handshake, for an acknowledgement or for a response.
    pub const fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::NotSent { .. }
                | Self::NoAck { .. }
                | Self::NoResponse { .. }
                | Self::ResolveTimeout { .. }
                | Self::Session { why: SessionEnd::NoAnswer | SessionEnd::HandshakeTimeout, .. }
        )
    }

    /// How far the request came, where it was taken at all.
    pub const fn timing(&self) -> Option<Timing> {
        match self {
            Self::NotSent { timing, .. }
            | Self::NoAck { timing, .. }
            | Self::NoResponse { timing, .. }
            | Self::Reset { timing, .. }
            | Self::Unreachable { timing, .. }
            | Self::CriticalOption { timing, .. }
            | Self::Blockwise { timing, .. }
            | Self::Session { timing, .. }
            | Self::Failed { timing, .. } => Some(*timing),
            Self::Status(reply) => Some(reply.timing),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(error) => write!(f, "bad URI: {error}"),
            Self::NoUri => write!(f, "a session has no URI that a proxy could be told: name the target by its URI"),
            Self::Security => write!(
                f,
                "coaps needs DTLS and a key or certificates, which this client does not have: nothing was sent; use \
                 coap:// if the request may be read by others"
            ),
            Self::SecureGroup { peer } => {
                write!(f, "a group cannot be asked securely: ask each member of {peer}, or the group with coap://")
            }
            Self::SessionInUse { peer } => write!(
                f,
                "another secure session with {peer}, for another host name, is at work: name the host in one way, or \
                 use a client of its own"
            ),
            Self::Session { peer, why, .. } => write!(f, "{peer}: {why}{}", advice_on_sessions(*why)),
            Self::HostNotFound { host, source } => {
                write!(f, "host {host:?} not found: check its name and the name server ({source})")
            }
            Self::ResolveTimeout { host, elapsed } => write!(
                f,
                "host {host:?} was not resolved within {}: check the name server, or give the address",
                Seconds(*elapsed)
            ),
            Self::NoInterface { zone } => {
                write!(f, "no interface {zone:?} on this machine: check the zone after the % in the address")
            }
            Self::AddressFamily { peer } => write!(
                f,
                "no socket to ask {peer} from: bind one to an address of the same family; one that listens for secure \
                 sessions does not ask"
            ),
            Self::NotGroup { peer } => write!(
                f,
                "{peer} is no group: name a multicast address, such as 224.0.1.187 or [ff02::fd%25eth0], and no proxy"
            ),
            Self::Option(error) => write!(f, "bad option: {error}"),
            Self::Request(error) => write!(f, "request not sent: {error}"),
            Self::BackOff { peer, wait, .. } => write!(
                f,
                "not sent: {peer} is overloaded, and wants no such request for {}: try again then, or let the request wait",
                Seconds(*wait)
            ),
            Self::NotSent { peer, timing } => write!(
                f,
                "not sent to {peer} within {}: earlier requests to it are unanswered, so wait or allow more at a time \
                 (NSTART); or too much is open here (max_requests, max_peers); or it had 65,536 of them within \
                 EXCHANGE_LIFETIME, so send fewer",
                Seconds(timing.elapsed)
            ),
            // Of the rest of a download or an upload nobody counts.
            Self::NoAck { peer, timing } if timing.attempts == 0 => write!(
                f,
                "no answer from {peer} any more, {} after the beginning: check that its CoAP server still runs, and the \
                 network",
                Seconds(timing.elapsed)
            ),
            Self::NoAck { peer, timing } => write!(
                f,
                "no answer from {peer} (sent {} in {}): check the address, and that a CoAP server runs there",
                Times(timing.attempts),
                Seconds(timing.elapsed)
            ),
            Self::NoResponse { peer, timing } => write!(
                f,
                "no response from {peer} within {}: the request was sent and may have been carried out; a longer \
                 timeout may help",
                Seconds(timing.elapsed)
            ),
            Self::Reset { peer, .. } => {
                write!(f, "{peer} rejected the message with a Reset: it does not serve this kind of request")
            }
            Self::Unreachable { peer, cause: Unreachable::Reported, .. } => write!(
                f,
                "{peer} is unreachable: the network reports that nobody listens there, or that there is no way to it; \
                 check the address and port, and that the server runs"
            ),
            Self::Unreachable { peer, cause: Unreachable::NotSent(reason), .. } => {
                write!(f, "nothing can be sent to {peer} from here: {reason}; check the address, and the network here")
            }
            Self::CriticalOption { peer, number, .. } => write!(
                f,
                "response of {peer} not accepted: its critical option {number} is not understood here or malformed"
            ),
            Self::Blockwise { peer, reason, .. } => {
                write!(f, "transfer with {peer} in blocks failed: {reason}{}", advice_on_blocks(*reason))
            }
            Self::Body(error) => {
                write!(f, "the content cannot be read: {error}; the server got a part of it at most, and not its end")
            }
            Self::Failed { peer, reason, .. } => write!(f, "request to {peer} failed: {reason}"),
            Self::Status(reply) => match reply.text().filter(|text| !text.is_empty()) {
                Some(text) => write!(f, "{} answered {}: {}", reply.told, reply.code, text.escape_debug()),
                None => write!(f, "{} answered {}", reply.told, reply.code),
            },
            Self::Closed => {
                write!(f, "the client is closed, or its runtime has ended: make a new one to send requests")
            }
            Self::Disconnected => {
                write!(f, "the client was disconnected while the request was open: send it again if it is still wanted")
            }
            Self::Aborted => write!(f, "the request was aborted here; if it was sent, it may have been carried out"),
            Self::Bind { addr, source } => {
                write!(f, "cannot bind to {addr}: {source}{}", advice_on_binding(source.kind()))
            }
            Self::Join { group, interface, source } => {
                write!(f, "cannot join {group}")?;
                if let Some(interface) = interface {
                    write!(f, " on {interface}")?;
                }
                write!(
                    f,
                    ": {source}; check that the address is a multicast address, and that the interface has multicast"
                )
            }
            Self::Io(error) => write!(f, "socket: {error}"),
            Self::Config(error) => write!(f, "bad configuration: {error}"),
            Self::Route(error) => write!(f, "bad router: {error}"),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Uri(error) => Some(error),
            Self::HostNotFound { source, .. } => Some(source),
            Self::Option(error) => Some(error),
            Self::Request(error) => Some(error),
            Self::Bind { source, .. } | Self::Join { source, .. } => Some(source),
            Self::Body(error) | Self::Io(error) => Some(error),
            Self::Config(error) => Some(error),
            Self::Route(error) => Some(error),
            _ => None,
        }
    }
}

impl From<UriError> for Error {
    fn from(error: UriError) -> Self {
        Self::Uri(error)
    }
}

impl From<OptionError> for Error {
    fn from(error: OptionError) -> Self {
        Self::Option(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// With the error inside, for those who read a [`Download`](crate::Download) as a reader.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io(error) | Error::Body(error) => error.kind(),
            error if error.is_timeout() => io::ErrorKind::TimedOut,
            Error::Reset { .. } => io::ErrorKind::ConnectionReset,
            Error::Unreachable { .. } => io::ErrorKind::HostUnreachable,
            Error::Blockwise { .. } if error.kind() == ErrorKind::BadResponse => io::ErrorKind::InvalidData,
            Error::Closed | Error::Disconnected | Error::Session { .. } => io::ErrorKind::NotConnected,
            Error::Aborted => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<RouteError> for Error {
    fn from(error: RouteError) -> Self {
        Self::Route(error)
    }
}

/// What to do, to follow what happened.
const fn advice_on_sessions(why: SessionEnd) -> &'static str {
    match why {
        SessionEnd::NoAnswer => "; check the address and port, and that a server for coaps runs there",
        SessionEnd::HandshakeTimeout => {
            "; check the identity and the key, or the certificates: many servers do not say when they are wrong"
        }
        SessionEnd::WrongKey => "; check the identity and the key",
        SessionEnd::UnknownAuthority => "; trust the authority that has signed the certificate, or check the server",
        SessionEnd::NameMismatch => "; ask for it by the name in its certificate, or check the address",
        SessionEnd::Expired => "; check the clock here, and the certificate there",
        SessionEnd::NoCertificate | SessionEnd::BadCertificate => "; check the certificates of both ends",
        // bad_record_mac, decrypt_error, unknown_psk_identity.
        SessionEnd::Alert(20 | 51 | 115) => "; check the identity and the key",
        // Those about certificates, of which ours is the one that it does not like (RFC 5246 §7.2.2, RFC 8446 §6.2).
        SessionEnd::Alert(42..=46 | 48 | 116) => "; show a certificate of an authority that it trusts",
        SessionEnd::Alert(40) => "; show a certificate if it wants one, or check what the other end supports",
        SessionEnd::Alert(_) | SessionEnd::Protocol => {
            "; check the identity, the key or the certificates, and what the other end supports"
        }
        SessionEnd::Full => "; raise the limit of sessions, or close some",
        // What was begun in it is over, and the next request makes a new one.
        _ => "; send the request again if it is still wanted",
    }
}

/// Whose fault it is and what to do, to follow what happened.
const fn advice_on_blocks(reason: BlockFailure) -> &'static str {
    match reason {
        BlockFailure::WrongBlock | BlockFailure::WrongLength => {
            "; the server does not follow RFC 7959: another block size may help"
        }
        BlockFailure::Changed => "; try again when it is at rest",
        BlockFailure::TooLarge { .. } => "; accept more (max_body), or take it in parts (download)",
        BlockFailure::NoRoom => "; transfer less at a time, or raise Config::max_transfer_bytes",
        _ => "",
    }
}

/// What to do about an address that cannot be bound to, to follow what the system says.
const fn advice_on_binding(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "; stop the program that has the port, or choose another port",
        io::ErrorKind::AddrNotAvailable => "; use an address of this machine, or [::] for all of them",
        io::ErrorKind::PermissionDenied => "; ports below 1024 may need more rights",
        _ => "",
    }
}

/// `1.5 s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}

/// `once`, `5 times`.
struct Times(u8);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("once"),
            times => write!(f, "{times} times"),
        }
    }
}
