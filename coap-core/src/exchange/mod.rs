//! Requests and responses (RFC 7252 §5): what we asked, and what we were asked.

mod incoming;
mod outgoing;

#[cfg(test)]
pub(crate) use self::incoming::testing;
pub(crate) use self::incoming::{
    Arrived, Asked, Common, Incoming, IncomingKey, Incomings, NewIncoming, Told, Waiting, due,
};
pub(crate) use self::outgoing::{
    Bodies, Chosen, NewRequest, Notice, Outcome, Outgoing, OutgoingKey, Outgoings, Stage, of_peer, waiting,
};
