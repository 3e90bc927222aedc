//! What an endpoint tells its application.

use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::addr::{Local, Peer};
use crate::exchange::{Incoming, Outgoing};
use crate::message::{Request, Response};
use crate::observe::{ObserverId, TopicId};
use crate::session::SessionEnd;
use crate::slab::Key;
use crate::time::Instant;
use crate::wire::{Code, OptionNumber, Token, Type};

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

/// A body that travels in parts, named by the request that it belongs to. It lives as long as that has something to do
/// with it; a stale one names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyId(pub(crate) BodyOf);

/// Whose body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum BodyOf {
    /// The content of a request of ours: we supply it.
    Request(RequestId),
    /// The content of the response to it: we consume it.
    Response(RequestId),
    /// The content of a request that we received: we consume it.
    Incoming(IncomingId),
    /// The content of our response to it: we supply it.
    Reply(IncomingId),
}

impl RequestId {
    /// The content of the request.
    pub const fn request_body(self) -> BodyId {
        BodyId(BodyOf::Request(self))
    }

    /// The content of its response.
    pub const fn response_body(self) -> BodyId {
        BodyId(BodyOf::Response(self))
    }
}

impl IncomingId {
    /// The content of the request.
    pub const fn request_body(self) -> BodyId {
        BodyId(BodyOf::Incoming(self))
    }

    /// The content of our response.
    pub const fn response_body(self) -> BodyId {
        BodyId(BodyOf::Reply(self))
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
    /// The response to a request. To a multicast request there can be many, and one whose Block2 option says that more follows
    /// has the first block alone: the rest is to be asked of who sent it.
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
    /// A new state of an observed resource (RFC 7641); the first one is the answer to the registration. When several
    /// arrive between two polls, only the last is told.
    ///
    /// An observation ends in `Failed`, or in `Response`: the response that has no Observe option, because the server does
    /// not, or no longer, offer observation, or that is an error.
    ///
    /// The code 2.03 answers a registration that named ETags: the state with that ETag is current again.
    Notification {
        /// The observation.
        id: RequestId,
        /// The state.
        response: Response,
    },
    /// The last state of an observed resource is older than its Max-Age, and 5 s of grace; or there has been none, because the
    /// rest of the first could not be fetched.
    Stale {
        /// The observation.
        id: RequestId,
    },
    /// An observation is registered again, with the same token, after its Max-Age (RFC 7641 §3.3.1).
    Reregistering {
        /// The observation.
        id: RequestId,
        /// Which attempt in a row, from 1.
        attempt: u8,
    },
    /// A peer does not observe a topic any more: it said so, or it could not be told. There is none where the application ended
    /// it: by closing the topic, by telling an error, or by removing the observer.
    ObserverLost {
        /// The observer.
        id: ObserverId,
        /// What it observed.
        topic: TopicId,
        /// Why.
        why: Closed,
    },
    /// The next bytes of a body in parts. The one after comes when this has been consumed (`Endpoint::consumed`). Also a body
    /// that was collected (`Endpoint::collect`): all of it at once.
    BodyPart {
        /// The body.
        id: BodyId,
        /// Where these bytes start, in bytes. It is what has come before, but for a download that was resumed.
        offset: u64,
        /// The bytes.
        data: Bytes,
        /// Whether the body ends with them.
        last: bool,
    },
    /// The next bytes of a body in parts are wanted (`Endpoint::supply`).
    BodyWanted {
        /// The body.
        id: BodyId,
        /// From where on, in bytes: where the bytes supplied so far end.
        offset: u64,
        /// At least how many bytes, unless the body ends before. More is taken too.
        max: usize,
    },
    /// The body of a response that was handed up in parts will not come to its end.
    BodyFailed {
        /// The body.
        id: BodyId,
        /// Why.
        reason: Failure,
    },
    /// A block of a body has arrived: only where `RequestOptions::report_progress` asked for it. Several blocks between two
    /// polls make one event.
    Progress {
        /// The request.
        id: RequestId,
        /// How many bytes of its content have been sent and acknowledged, of how many.
        sent: (u64, Option<u64>),
        /// How many bytes of the response have been received, of how many.
        received: (u64, Option<u64>),
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
    /// Method, options and content. They share the bytes of the datagram: copy what is kept for long. Content that
    /// comes in blocks has `Body::Parts`.
    pub request: Request,
    /// Which stretch of the response body is asked for: all of it can be answered, or that stretch (`Body::Range`).
    pub wanted: Wanted,
    /// In milliseconds, and [`NO_ECHO`] for none.
    pub(crate) echo_age: u32,
}

/// No Echo value of ours. Those that are have lived less than a day.
pub(crate) const NO_ECHO: u32 = u32::MAX;

impl IncomingRequest {
    /// How old the Echo value was that the request came with, to the millisecond: it was written at most so long before. `None`:
    /// it came without one, or with one that is not ours or as old as `Config::echo_lifetime`. See `Response::challenge`.
    pub const fn echo_age(&self) -> Option<Duration> {
        if self.echo_age == NO_ECHO { None } else { Some(Duration::from_millis(self.echo_age as u64)) }
    }
}

/// A stretch of a response body that a peer asks for (Block2: RFC 7959 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// From where on, in bytes; 0 for a request without a Block2 option.
    pub offset: u64,
    /// How many bytes a block will carry.
    pub max: usize,
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
    /// The peer answered a request with an extended token with a Reset message, which is taken as: it does not know them (RFC 8974
    /// §2.2.2). Such a peer has not looked at the request; tokens that are drawn for it have 8 bytes from now on.
    ExtendedToken,
    /// The network reported that the peer cannot be reached.
    Unreachable,
    /// The response carried a critical option that is not understood, or that is malformed (RFC 7252 §5.4.1).
    CriticalOption(OptionNumber),
    /// It was never sent: its time ran out while all Message IDs towards the peer were in use, each for
    /// EXCHANGE_LIFETIME (RFC 7252 §4.4).
    NoMessageId,
    /// The body could not be transferred in blocks.
    Blockwise(BlockFailure),
    /// The session with the peer ended, or never came to stand.
    Session(SessionEnd),
    /// It was never sent: while it waited for its turn the server answered a similar request with 4.29 or 5.03, and wants no
    /// further one before then (RFC 8516 §4).
    BackOff {
        /// When it may be sent.
        until: Instant,
    },
    /// The endpoint was shut down.
    Shutdown,
}

/// Why a body could not be transferred in blocks (RFC 7959).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockFailure {
    /// The peer answered with another block than the one asked for or sent, or with none.
    WrongBlock,
    /// A block that is not the last had another length than its size.
    WrongLength,
    /// The content changed while it was transferred, as often as it was tried.
    Changed,
    /// The body is longer than what is accepted.
    TooLarge {
        /// What is accepted, in bytes.
        limit: usize,
    },
    /// The bodies under way use all the memory that they may (`Config::max_transfer_bytes`).
    NoRoom,
    /// The body does not end within the 2^20 blocks that can be numbered.
    TooManyBlocks,
    /// The peer answered with this error when it was asked for the next block of a body in parts.
    Refused(Code),
    /// With a block option, the options of the request do not fit into a datagram (`Config::max_datagram`).
    OptionsTooLong,
}

impl fmt::Display for BlockFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongBlock => write!(f, "the peer answered with another block than the one expected"),
            Self::WrongLength => write!(f, "a block had another length than it should"),
            Self::Changed => write!(f, "the content changed while it was transferred"),
            Self::TooLarge { limit } => write!(f, "the body is longer than the {limit} bytes that are accepted"),
            Self::NoRoom => write!(f, "no memory for the body: other bodies under way use all that they may"),
            Self::TooManyBlocks => write!(f, "the body needs more blocks than can be numbered: use larger ones"),
            Self::Refused(code) => write!(f, "the peer refused to go on, with {code}"),
            Self::OptionsTooLong => write!(f, "the options and a block do not fit into one datagram"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent => write!(f, "not sent in time: earlier requests to the same peer are still unanswered"),
            Self::NoAck => write!(f, "no answer: nothing came back from the peer"),
            Self::NoResponse => write!(f, "no response: the request was sent, but its answer did not come in time"),
            Self::Reset => write!(f, "rejected: the peer answered with a Reset message"),
            Self::ExtendedToken => write!(f, "rejected: the peer knows no tokens of more than 8 bytes"),
            Self::Unreachable => write!(f, "unreachable: the network reports that nobody listens there"),
            Self::CriticalOption(number) => {
                write!(f, "response rejected: its critical option {number} is not understood")
            }
            Self::NoMessageId => write!(f, "no free Message ID: too many messages to this peer in a short time"),
            Self::Blockwise(reason) => write!(f, "blockwise transfer failed: {reason}"),
            Self::Session(why) => why.fmt(f),
            Self::BackOff { until } => write!(f, "the server is overloaded, and wants no such request before {until}"),
            Self::Shutdown => write!(f, "the endpoint was shut down"),
        }
    }
}

impl core::error::Error for Failure {}

/// How long a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// How often it was sent, or its last block was, in all exchanges of that block; 0 if it never was.
    pub attempts: u8,
    /// From the call to the outcome.
    pub elapsed: Duration,
    /// From the last transmission to the response, where there was one. After a retransmission the response may
    /// belong to an earlier copy, and the true round-trip time be longer.
    pub round_trip: Option<Duration>,
}

/// Why a request that we received will not be answered any more, or why an observer is one no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The application did not answer within `incoming_timeout`: the peer was told 5.03, unless it had asked a group.
    TimedOut,
    /// The peer began to send the same request anew. An observer: it registered again, and was answered without being
    /// accepted.
    Superseded,
    /// The peer did not go on with its body, or stopped to ask for ours, for EXCHANGE_LIFETIME, or lost its place to others
    /// that did (`Config::max_transfers`).
    Abandoned,
    /// The body was longer than what `Endpoint::collect` allowed, or there was no memory for it: the peer was told 4.13 or
    /// 5.03.
    TooLarge,
    /// A block of the body made no sense: the peer was told 4.00 or 4.08.
    BadBlock,
    /// The observer asked for it (RFC 7641 §3.6: Observe 1).
    Deregistered,
    /// The observer answered a notification with a Reset message: it does not know what to do with it.
    Reset,
    /// The observer did not acknowledge a notification.
    NoAck,
    /// The network reported that the observer cannot be reached.
    Unreachable,
    /// The session of the peer ended: nothing that belongs to it can be said any more (RFC 7252 §9.1.1, RFC 7641 §7).
    Session(SessionEnd),
}
