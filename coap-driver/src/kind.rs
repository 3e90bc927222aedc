//! What kind of error it is, for programs that match and count: [`Error`] without what it carries.

use std::io;

use coap_core::{BlockFailure, Code, Failure, SessionEnd};

use crate::error::Error;
use crate::reply::Reply;

/// What kind of [`Error`] it is; made by [`Error::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The URI is none, or cannot be asked for: nothing was sent.
    Uri,
    /// An option has a value that it cannot have: nothing was sent.
    Option,
    /// The request contradicts itself, or does not fit: nothing of it was sent, or not all.
    Request,
    /// `coaps` was asked for, and there is no security, or it was asked of a group: nothing was sent.
    Security,
    /// There is no secure session, or it has ended, for this reason.
    Session(SessionEnd),
    /// The name has no address: nothing was sent.
    HostNotFound,
    /// There is no way to the peer from this machine: no interface of the zone, no socket of the address family.
    NoRoute,
    /// The server wants no such request yet (4.29, 5.03): nothing was sent.
    BackOff,
    /// The time ran out, at this stage.
    TimedOut(Stage),
    /// The peer answered with a Reset.
    Reset,
    /// The network, or this machine, says that the peer cannot be reached.
    Unreachable,
    /// The response cannot be understood: a critical option, or blocks that do not fit.
    BadResponse,
    /// The response is longer than this client accepts (`max_body`), or its memory for bodies is used up
    /// (`Config::max_transfer_bytes`).
    Limit,
    /// The reader of the content failed.
    Body,
    /// The response has this code, a 4.xx or 5.xx.
    Status(Code),
    /// The client was closed.
    Closed,
    /// The client was disconnected.
    Disconnected,
    /// The request was aborted.
    Aborted,
    /// The address to bind to is in use.
    AddressInUse,
    /// The address to bind to is none of this machine, or not allowed; or a group cannot be joined.
    Bind,
    /// The system did not do its part.
    Io,
    /// A setting, or a route, is wrong.
    Config,
    /// What has no name here.
    Other,
}

/// How far a request had come when its time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Its name was still looked up.
    Resolving,
    /// It waited for its turn: not sent.
    Waiting,
    /// Sent, and not acknowledged.
    Acknowledgement,
    /// Acknowledged, or Non-confirmable, and not answered.
    Response,
}

impl Error {
    /// What kind of error it is.
    ///
    /// ```
    /// # use coap_driver::{Error, ErrorKind, Stage};
    /// fn is_worth_another_try(error: &Error) -> bool {
    ///     matches!(error.kind(), ErrorKind::TimedOut(Stage::Resolving | Stage::Waiting) | ErrorKind::Disconnected)
    /// }
    /// assert!(is_worth_another_try(&Error::Disconnected));
    /// assert!(!is_worth_another_try(&Error::Aborted));
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Uri(_) | Self::NoUri => ErrorKind::Uri,
            Self::Security | Self::SecureGroup { .. } => ErrorKind::Security,
            Self::Session { why, .. } => ErrorKind::Session(*why),
            Self::HostNotFound { .. } => ErrorKind::HostNotFound,
            Self::ResolveTimeout { .. } => ErrorKind::TimedOut(Stage::Resolving),
            Self::NoInterface { .. } | Self::AddressFamily { .. } => ErrorKind::NoRoute,
            Self::Option(_) => ErrorKind::Option,
            Self::Request(_) | Self::NotGroup { .. } | Self::SessionInUse { .. } => ErrorKind::Request,
            Self::BackOff { .. } => ErrorKind::BackOff,
            Self::NotSent { .. } => ErrorKind::TimedOut(Stage::Waiting),
            Self::NoAck { .. } => ErrorKind::TimedOut(Stage::Acknowledgement),
            Self::NoResponse { .. } => ErrorKind::TimedOut(Stage::Response),
            Self::Reset { .. } => ErrorKind::Reset,
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::Blockwise { reason: BlockFailure::NoRoom | BlockFailure::TooLarge { .. }, .. } => ErrorKind::Limit,
            Self::Blockwise { reason: BlockFailure::TooManyBlocks | BlockFailure::OptionsTooLong, .. } => {
                ErrorKind::Request
            }
            Self::CriticalOption { .. } | Self::Blockwise { .. } => ErrorKind::BadResponse,
            Self::Body(_) => ErrorKind::Body,
            Self::Failed { reason: Failure::NoMessageId, .. } => ErrorKind::TimedOut(Stage::Waiting),
            Self::Failed { reason: Failure::ExtendedToken, .. } => ErrorKind::Reset,
            Self::Failed { .. } => ErrorKind::Other,
            Self::Status(reply) => ErrorKind::Status(reply.code),
            Self::Closed => ErrorKind::Closed,
            Self::Disconnected => ErrorKind::Disconnected,
            Self::Aborted => ErrorKind::Aborted,
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
            Self::Bind { .. } | Self::Join { .. } => ErrorKind::Bind,
            Self::Io(_) => ErrorKind::Io,
            Self::Config(_) | Self::Route(_) => ErrorKind::Config,
        }
    }

    /// The response with an error code, message and payload included, if that is what it is.
    pub fn reply(&self) -> Option<&Reply> {
        if let Self::Status(reply) = self { Some(reply) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;

    use coap_core::{Peer, Timing};

    use super::*;

    fn blockwise(reason: BlockFailure) -> Error {
        let peer = Peer::from(SocketAddr::from(([192, 0, 2, 1], 5683)));
        Error::from_failure(peer, Failure::Blockwise(reason), Timing::default())
    }

    #[test]
    fn a_limit_of_ours_is_not_the_fault_of_the_response() {
        for ours in [BlockFailure::NoRoom, BlockFailure::TooLarge { limit: 9 }] {
            assert_eq!(blockwise(ours).kind(), ErrorKind::Limit);
            assert_eq!(io::Error::from(blockwise(ours)).kind(), io::ErrorKind::Other);
        }
        for ours in [BlockFailure::TooManyBlocks, BlockFailure::OptionsTooLong] {
            assert_eq!(blockwise(ours).kind(), ErrorKind::Request);
        }
        for theirs in [BlockFailure::WrongBlock, BlockFailure::WrongLength, BlockFailure::Changed] {
            assert_eq!(blockwise(theirs).kind(), ErrorKind::BadResponse);
            assert_eq!(io::Error::from(blockwise(theirs)).kind(), io::ErrorKind::InvalidData);
        }
    }
}
