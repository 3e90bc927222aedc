//! A look at each message, for programs that print or count them.

use core::fmt;

use bytes::Bytes;
use coap_core::{DecodeError, Local, Message, Peer};

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It arrived.
    Received,
    /// It has been given to the network.
    Sent,
}

/// A datagram on its way in or out, with the message in it. `Display` is one line.
#[derive(Debug)]
#[non_exhaustive]
pub struct Traffic {
    /// Which way it goes.
    pub direction: Direction,
    /// Who sent it, or whom it is for.
    pub peer: Peer,
    /// Where it arrived, or leaves from.
    pub local: Local,
    /// Its bytes.
    pub datagram: Bytes,
    /// The message, or why there is none. One with an extended token (RFC 8974) is one here, whether the endpoint takes it or not.
    pub message: Result<Message, DecodeError>,
}

impl Traffic {
    pub(crate) fn new(direction: Direction, peer: Peer, local: Local, datagram: Bytes) -> Self {
        let message = Message::decode_extended(datagram.clone());
        Self { direction, peer, local, datagram, message }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = match self.direction {
            Direction::Received => "<-",
            Direction::Sent => "->",
        };
        match &self.message {
            Ok(message) => write!(f, "{arrow} {} {message}", self.peer),
            Err(error) => write!(f, "{arrow} {} {} bytes that are no message: {error}", self.peer, self.datagram.len()),
        }
    }
}

/// What is called for each message; it runs on the driver task, and everything waits for it.
pub(crate) type Hook = Box<dyn Fn(&Traffic) + Send + Sync>;
