//! Why a command was refused. Each says what the caller can do; nothing has changed when one is returned.

use core::fmt;
use core::time::Duration;

use crate::time::Instant;
use crate::wire::Code;

/// Why transmission parameters were not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransmissionError {
    /// `max_peers` is reached, and all of them have something open.
    TooManyPeers,
    /// ACK_TIMEOUT is not above the endpoint's `ack_delay`.
    AckDelayTooLong {
        /// What the endpoint has.
        ack_delay: Duration,
        /// What it must stay below.
        ack_timeout: Duration,
    },
}

impl fmt::Display for TransmissionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyPeers => write!(f, "the table of peers is full of peers with something open"),
            Self::AckDelayTooLong { ack_delay, ack_timeout } => {
                write!(f, "ACK_TIMEOUT {ack_timeout:?} is not above the endpoint's ack_delay {ack_delay:?}")
            }
        }
    }
}

impl core::error::Error for TransmissionError {}

/// Why a request was not accepted. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The code is not that of a method (0.01 to 0.31).
    NotARequest {
        /// The code.
        code: Code,
    },
    /// A request to a group must be Non-confirmable (RFC 7252 §8.1).
    ConfirmableMulticast,
    /// Only what GET or FETCH asks for can be observed (RFC 7641 §1.2, RFC 8132 §2.4).
    NotObservable {
        /// The method.
        code: Code,
    },
    /// A group cannot be observed, its members can.
    MulticastObservation,
    /// The content of a request that observes must be there as a whole, and fit one block and one datagram: send less, or
    /// make the block larger.
    ObservationTooLarge,
    /// Nobody listens on port 0.
    PortZero,
    /// The datagram would be longer than `Config::max_datagram`: send less, or raise it.
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// The body needs more than 2^20 blocks of the block size: use larger ones (RFC 7959 §2.2).
    TooManyBlocks,
    /// `Body::Range` is for responses, and one exchange of its own, as a request to a group or one with a Block1 option is,
    /// takes a whole body.
    WrongBody,
    /// An open request to the same peer has this token.
    TokenInUse,
    /// The token is an extended one (RFC 8974) that `ConfigBuilder::max_token_len` does not allow.
    TokenTooLong {
        /// Its length in bytes.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// `max_backlog` requests wait for this peer already: try again when one of them has ended.
    Busy,
    /// `max_requests` requests are open: try again when one of them has ended.
    TooManyRequests,
    /// `max_peers` is reached, and all of them have something open.
    TooManyPeers,
    /// The server answered a request for the same method and URI with 4.29 or 5.03, and wants no further one before then (RFC
    /// 8516 §4): wait, or insist with `RequestOptions::ignore_back_off`.
    BackOff {
        /// When it may be sent.
        until: Instant,
    },
    /// The endpoint is shutting down.
    Shutdown,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARequest { code } => write!(f, "{code} is not a method"),
            Self::ConfirmableMulticast => write!(f, "a request to a group must be non-confirmable"),
            Self::NotObservable { code } => write!(f, "what {code} asks for cannot be observed: use GET or FETCH"),
            Self::MulticastObservation => write!(f, "a group cannot be observed: observe each of its members"),
            Self::ObservationTooLarge => {
                write!(f, "the content of a request that observes must be there as a whole, and fit one block")
            }
            Self::PortZero => write!(f, "port 0 cannot be sent to"),
            Self::TooLarge { len, max } => {
                write!(f, "the request needs a datagram of {len} bytes, and {max} are allowed")
            }
            Self::TooManyBlocks => write!(f, "the body needs more blocks than can be numbered"),
            Self::WrongBody => write!(f, "this request cannot have a range or parts for its body"),
            Self::TokenInUse => write!(f, "an open request to the same peer has this token"),
            Self::TokenTooLong { len, max } => write!(f, "the token has {len} bytes, and {max} are allowed"),
            Self::Busy => write!(f, "too many requests wait for this peer already"),
            Self::TooManyRequests => write!(f, "too many requests are open"),
            Self::TooManyPeers => write!(f, "the table of peers is full of peers with something open"),
            Self::BackOff { until } => write!(f, "the server is overloaded, and wants no such request before {until}"),
            Self::Shutdown => write!(f, "the endpoint is shutting down"),
        }
    }
}

impl core::error::Error for RequestError {}

/// Why bytes of a body in parts were not accepted. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SupplyError {
    /// No such body is under way: its request is over, or has a whole body.
    Stale,
    /// The last part of it has been supplied.
    Complete,
    /// More than may wait: supply at most `max` bytes now, and the rest when they are wanted.
    TooMuch {
        /// For how many bytes there is room.
        max: usize,
    },
}

impl fmt::Display for SupplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale => write!(f, "no such body is under way"),
            Self::Complete => write!(f, "all of the body has been supplied"),
            Self::TooMuch { max } => write!(f, "no more than {max} bytes can be taken at the moment"),
        }
    }
}

impl core::error::Error for SupplyError {}

/// Why a response was not accepted. The request is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RespondError {
    /// The request has been answered, ignored or closed.
    Stale,
    /// The code is not that of a response (2.xx, 4.xx, 5.xx).
    NotAResponse {
        /// The code.
        code: Code,
    },
    /// The datagram would be longer than `Config::max_datagram`: send less, or raise it.
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// The `Body::Range` does not reach from where the peer asked, `IncomingRequest::wanted`, over one block, nor to the end
    /// of the body.
    WrongRange {
        /// From where on, in bytes.
        offset: u64,
        /// How many bytes a block has.
        max: usize,
    },
    /// A body in parts cannot be sent to a group or an observer, nor from its middle on, nor before the request has come in
    /// whole.
    PartsImpossible,
    /// `max_transfers` is reached, and all of them go on: answer with a whole body, or a range, or 5.03.
    TooManyTransfers,
    /// All Message IDs towards the peer were used within EXCHANGE_LIFETIME: answer again at `until`.
    NoMessageId {
        /// When there will be one.
        until: Instant,
    },
}

impl fmt::Display for RespondError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale => write!(f, "the request has been answered or closed already"),
            Self::NotAResponse { code } => write!(f, "{code} is not the code of a response"),
            Self::TooLarge { len, max } => {
                write!(f, "the response needs a datagram of {len} bytes, and {max} are allowed")
            }
            Self::WrongRange { offset, max } => write!(f, "the range does not have the {max} bytes from {offset} on"),
            Self::PartsImpossible => {
                write!(
                    f,
                    "a body in parts cannot answer a group, an observer, a later block, or a request that still comes"
                )
            }
            Self::TooManyTransfers => write!(f, "too many bodies go in blocks already"),
            Self::NoMessageId { until } => write!(f, "no free Message ID towards this peer before {until}"),
        }
    }
}

impl core::error::Error for RespondError {}
