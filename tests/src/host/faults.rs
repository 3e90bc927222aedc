//! What can go wrong at a socket.

use core::fmt;
use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::link::happens;

/// One thing that goes wrong at a socket of a host. None of them is the end of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Sending gives ECONNREFUSED; the datagram is not sent.
    SendRefused,
    /// Sending gives EHOSTUNREACH; the datagram is not sent.
    SendUnreachable,
    /// Sending gives EMSGSIZE; the datagram is not sent.
    SendTooLong,
    /// Sending gives EAGAIN, and the socket is full for five milliseconds.
    SendFull,
    /// Sending gives EINTR.
    SendInterrupted,
    /// Receiving gives a datagram that claims to come from port 0.
    ReceivePortless,
    /// Receiving gives an empty datagram of a stranger.
    ReceiveEmpty,
    /// Receiving gives 65,507 bytes of a stranger, the most that UDP over IPv4 carries.
    ReceiveLongest,
    /// Receiving gives the first half of the next datagram.
    ReceiveTruncated,
    /// Receiving gives the report that a stranger cannot be reached.
    ReceiveReport,
    /// Receiving gives nothing, although the socket was ready.
    ReceiveNothing,
}

impl Fault {
    /// All there are.
    pub const ALL: [Self; 11] = [
        Self::SendRefused,
        Self::SendUnreachable,
        Self::SendTooLong,
        Self::SendFull,
        Self::SendInterrupted,
        Self::ReceivePortless,
        Self::ReceiveEmpty,
        Self::ReceiveLongest,
        Self::ReceiveTruncated,
        Self::ReceiveReport,
        Self::ReceiveNothing,
    ];

    /// The first of those that receiving can meet.
    const RECEIVE: usize = 5;

    const fn is_of_sending(self) -> bool {
        matches!(
            self,
            Self::SendRefused | Self::SendUnreachable | Self::SendTooLong | Self::SendFull | Self::SendInterrupted
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SendRefused => "sending is refused",
            Self::SendUnreachable => "sending finds no way to the host",
            Self::SendTooLong => "sending finds the datagram too long",
            Self::SendFull => "sending finds the socket full",
            Self::SendInterrupted => "sending is interrupted",
            Self::ReceivePortless => "a datagram from port 0",
            Self::ReceiveEmpty => "an empty datagram",
            Self::ReceiveLongest => "a datagram of 65,507 bytes",
            Self::ReceiveTruncated => "the next datagram is cut in half",
            Self::ReceiveReport => "a report about a stranger",
            Self::ReceiveNothing => "nothing to receive after all",
        })
    }
}

/// What goes wrong at the sockets of one host.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// How many of the calls meet one, drawn from all of their kind.
    pub(crate) share: f64,
    /// Those that come next whatever is drawn.
    pub(crate) next: VecDeque<Fault>,
}

impl Faults {
    pub(crate) fn of_sending(&mut self, rng: &mut ChaCha8Rng) -> Option<Fault> {
        self.draw(true, rng)
    }

    pub(crate) fn of_receiving(&mut self, rng: &mut ChaCha8Rng) -> Option<Fault> {
        self.draw(false, rng)
    }

    fn draw(&mut self, sending: bool, rng: &mut ChaCha8Rng) -> Option<Fault> {
        if let Some(at) = self.next.iter().position(|fault| fault.is_of_sending() == sending) {
            return self.next.remove(at);
        }
        if !happens(self.share, rng) {
            return None;
        }
        let (sends, receives) = Fault::ALL.split_at(Fault::RECEIVE);
        let kinds = if sending { sends } else { receives };
        kinds.get((rng.next_u64() % kinds.len() as u64) as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_by_call() {
        for (number, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault.is_of_sending(), number < Fault::RECEIVE, "{fault}");
        }
    }
}
