//! A look at each message, for programs that print or count them.

use core::fmt;

use bytes::Bytes;
use coap_core::{DecodeError, Local, Message, Peer, SessionId};

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It arrived.
    Received,
    /// It has been given to the network.
    Sent,
}

/// A datagram on its way in or out, with the message in it; or a message inside of a secure session. `Display` is one line.
///
/// What is in a session is shown as it is, in the clear, besides the datagrams that carry it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Traffic {
    /// Which way it goes.
    pub direction: Direction,
    /// Who sent it, or whom it is for.
    pub peer: Peer,
    /// Where it arrived, or leaves from.
    pub local: Local,
    /// The secure session that it is inside of; `None`: it is what goes over the network.
    pub session: Option<SessionId>,
    /// Its bytes.
    pub datagram: Bytes,
    /// The message, or why there is none. One with an extended token (RFC 8974) is one here, whether the endpoint takes it or not.
    pub message: Result<Message, DecodeError>,
}

impl Traffic {
    pub(crate) fn new(direction: Direction, peer: Peer, local: Local, datagram: Bytes) -> Self {
        let message = Message::decode_extended(datagram.clone());
        Self { direction, peer, local, session: None, datagram, message }
    }

    /// True for what the network carries of a secure session: a datagram of DTLS (RFC 7983), or what looks like one. What is in it
    /// is shown apart.
    #[must_use]
    pub fn is_record(&self) -> bool {
        self.session.is_none() && matches!(self.datagram.first(), Some(20..=63))
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = match self.direction {
            Direction::Received => "<-",
            Direction::Sent => "->",
        };
        let (scheme, length) = (if self.session.is_some() { "coaps " } else { "" }, self.datagram.len());
        write!(f, "{arrow} {scheme}{} ", self.peer)?;
        match &self.message {
            Ok(message) => message.fmt(f),
            Err(_) if self.is_record() => write!(f, "a DTLS record of {length} bytes"),
            Err(error) => write!(f, "{length} bytes that are no message: {error}"),
        }
    }
}

/// What is called for each message; it runs on the driver task, and everything waits for it.
pub(crate) type Hook = Box<dyn Fn(&Traffic) + Send + Sync>;
