//! What is to be sent next, encoded on the way out into the caller's buffer.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::addr::{Local, Peer};
use crate::event::RequestId;
use crate::observe::ObserverKey;
use crate::reliability::{FlightKey, ReplyRef};
use crate::wire::{Message, Type};

/// One datagram to be.
pub(crate) struct Outbound {
    pub(crate) to: Peer,
    pub(crate) from: Local,
    pub(crate) what: What,
}

/// Where its bytes come from.
pub(crate) enum What {
    /// A message in flight: nothing is sent if it has been settled meanwhile.
    Flight(FlightKey),
    /// A remembered reply.
    Reply(ReplyRef),
    /// One more copy of the notification with this Message ID, or of what has taken its place.
    Notification(ObserverKey, u16),
    /// An Empty message.
    Empty(Type, u16),
    /// A message that nobody keeps.
    Message(Box<Message>),
    /// A request to a group.
    ToGroup(Box<ToGroup>),
}

/// A request to a group, sent once.
pub(crate) struct ToGroup {
    pub(crate) request: RequestId,
    pub(crate) message: Message,
    pub(crate) hops: Option<u8>,
}

/// A queue with a bound. What does not fit is lost as it could be in the network: Confirmable messages are repeated,
/// and replies are asked for again.
pub(crate) struct Outbox {
    queue: VecDeque<Outbound>,
    max: usize,
}

impl Outbox {
    pub(crate) const fn new(max: usize) -> Self {
        Self { queue: VecDeque::new(), max }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// False: it is full, and the datagram lost.
    #[must_use]
    pub(crate) fn push(&mut self, datagram: Outbound) -> bool {
        let fits = self.queue.len() < self.max;
        if fits {
            self.queue.push_back(datagram);
        }
        fits
    }

    pub(crate) fn pop(&mut self) -> Option<Outbound> {
        let next = self.queue.pop_front();
        if self.queue.is_empty() && self.queue.capacity() > 256 {
            self.queue = VecDeque::new();
        }
        next
    }
}
