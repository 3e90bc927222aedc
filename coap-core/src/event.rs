//! What an endpoint tells its application.

use core::fmt;
use core::time::Duration;

use crate::addr::{Local, Peer};
use crate::exchange::{Incoming, Outgoing};
use crate::message::{Request, Response};
use crate::slab::Key;
use crate::wire::{OptionNumber, Token, Type};

/// A request of ours. Stale when its outcome has been polled, or when it was cancelled; a stale one names nothing, and
/// never somebody else's request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) Key<Outgoing>);

/// A request that we received. Stale when it has been answered, ignored or closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncomingId(pub(crate) Key<Incoming>);

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({:?})", self.0)
    }
}

impl fmt::Debug for IncomingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IncomingId({:?})", self.0)
    }
}

/// Something for the application, from `Endpoint::poll_event`.
///
/// Every request ends in exactly one of `Response`, `Pong`, `Failed` and, after any number of responses to a multicast
/// request, `Finished`; one that was cancelled has no further event.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A request arrived. It is answered with `Endpoint::respond`, or left with `Endpoint::ignore`.
    Request(IncomingRequest),
    /// A request that was handed up will not be answered any more.
    IncomingClosed {
        /// Which.
        id: IncomingId,
        /// Why.
        why: Closed,
    },
    /// The response to a request. To a multicast request there can be many.
    Response {
        /// The request.
        id: RequestId,
        /// Who answered.
        from: Peer,
        /// The response, of any code: a 4.04 is a response too.
        response: Response,
        /// How long it took.
        timing: Timing,
    },
    /// The answer to a ping.
    Pong {
        /// The ping.
        id: RequestId,
        /// How long it took.
        timing: Timing,
    },
    /// A request was repeated: only where `RequestOptions::report_retransmissions` asked for it. Several repetitions
    /// between two polls make one event.
    Retransmitted {
        /// The request.
        id: RequestId,
        /// Which repetition, from 1.
        attempt: u8,
    },
    /// A request ended without a response.
    Failed {
        /// The request.
        id: RequestId,
        /// At which stage, and why.
        reason: Failure,
        /// How long it took.
        timing: Timing,
    },
    /// A multicast request collects no more responses.
    Finished {
        /// The request.
        id: RequestId,
    },
}

/// A request from a peer, as it arrived.
#[derive(Debug)]
#[non_exhaustive]
pub struct IncomingRequest {
    /// What `Endpoint::respond` wants.
    pub id: IncomingId,
    /// Who asks.
    pub peer: Peer,
    /// Where the request came to; its `group` is there for a multicast request.
    pub local: Local,
    /// Confirmable or Non-confirmable.
    pub kind: Type,
    /// The Message ID.
    pub message_id: u16,
    /// The token, which the response will carry.
    pub token: Token,
    /// Method, options and content. They share the bytes of the datagram: copy what is kept for long.
    pub request: Request,
}

/// Why a request ended without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It was never sent: its time ran out while it waited for its turn (NSTART, PROBING_RATE).
    NotSent,
    /// It was sent MAX_RETRANSMIT + 1 times, or until its time ran out, and nothing came back.
    NoAck,
    /// It was acknowledged, or sent Non-confirmable, and no response came in time.
    NoResponse,
    /// The peer answered with a Reset message: it does not know what to do with the request (RFC 7252 §4.2).
    Reset,
    /// The network reported that the peer cannot be reached.
    Unreachable,
    /// The response carried a critical option that is not understood, or that is malformed (RFC 7252 §5.4.1).
    CriticalOption(OptionNumber),
    /// It was never sent: its time ran out while all Message IDs towards the peer were in use, each for
    /// EXCHANGE_LIFETIME (RFC 7252 §4.4).
    NoMessageId,
    /// The endpoint was shut down.
    Shutdown,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent => write!(f, "not sent in time: earlier requests to the same peer are still unanswered"),
            Self::NoAck => write!(f, "no answer: nothing came back from the peer"),
            Self::NoResponse => write!(f, "no response: the request was sent, but its answer did not come in time"),
            Self::Reset => write!(f, "rejected: the peer answered with a Reset message"),
            Self::Unreachable => write!(f, "unreachable: the network reports that nobody listens there"),
            Self::CriticalOption(number) => {
                write!(f, "response rejected: its critical option {number} is not understood")
            }
            Self::NoMessageId => write!(f, "no free Message ID: too many messages to this peer in a short time"),
            Self::Shutdown => write!(f, "the endpoint was shut down"),
        }
    }
}

impl core::error::Error for Failure {}

/// How long a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// How often it was sent; 0 if it never was.
    pub attempts: u8,
    /// From the call to the outcome.
    pub elapsed: Duration,
    /// From the last transmission to the response, where there was one. After a retransmission the response may
    /// belong to an earlier copy, and the true round-trip time be longer.
    pub round_trip: Option<Duration>,
}

/// Why a request that we received will not be answered any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The application did not answer within `incoming_timeout`: the peer was told 5.03, unless it had asked a group.
    TimedOut,
}
