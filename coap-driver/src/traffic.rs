//! A look at each message, for programs that print or count them.

use core::fmt;

use bytes::Bytes;
use coap_core::{DecodeError, Local, Message, Peer, UdpAddr};

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It arrived.
    Received,
    /// It has been given to the network.
    Sent,
}

/// A datagram on its way in or out, with the message in it; of a secure session, what is in its record. `Display` is one line.
#[derive(Debug)]
#[non_exhaustive]
pub struct Traffic {
    /// Which way it goes.
    pub direction: Direction,
    /// Who sent it, or whom it is for.
    pub peer: Peer,
    /// Where the other end is, as far as that is known: the address of a peer in the clear, or of a secure session.
    pub addr: Option<UdpAddr>,
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
        Self { direction, peer, addr: peer.udp(), local, datagram, message }
    }

    /// Whether it is to be seen by itself: records of secure sessions are not, but what is in them.
    pub(crate) fn is_seen(datagram: &[u8]) -> bool {
        // RFC 7983: those begin with 20 to 63, and messages with 64 to 127.
        cfg!(not(feature = "dtls")) || !matches!(datagram.first(), Some(20..=63))
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = match self.direction {
            Direction::Received => "<-",
            Direction::Sent => "->",
        };
        match (self.peer, self.addr) {
            (Peer::Session(_), Some(addr)) => write!(f, "{arrow} {addr} (secure) ")?,
            (peer, _) => write!(f, "{arrow} {peer} ")?,
        }
        match &self.message {
            Ok(message) => message.fmt(f),
            Err(error) => write!(f, "{} bytes that are no message: {error}", self.datagram.len()),
        }
    }
}

/// What is called for each message; it runs on the driver task, and everything waits for it.
pub(crate) type Hook = Box<dyn Fn(&Traffic) + Send + Sync>;
