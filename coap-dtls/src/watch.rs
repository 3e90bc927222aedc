//! A look into sessions, for programs that print or count the messages in them.

use std::collections::VecDeque;

use bytes::Bytes;
use coap_core::{Local, SessionId, UdpAddr};

/// How many messages wait to be polled. What is polled after each call never comes near; of what is not, the oldest are lost.
const MAX_WAITING: usize = 1024;

/// A message inside of a session, in the clear, from [`SecureEndpoint::poll_message`](crate::SecureEndpoint::poll_message).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionMessage {
    /// Its session.
    pub session: SessionId,
    /// Where the peer is.
    pub addr: UdpAddr,
    /// Which socket of ours, and which address, as far as they are known.
    pub local: Local,
    /// We have sent it; otherwise the peer has.
    pub is_ours: bool,
    /// Its bytes: those of a record, which need not be a message of CoAP.
    pub payload: Bytes,
}

/// The messages that somebody wants to see. Nothing is kept, or copied, for nobody.
#[derive(Debug, Default)]
pub(crate) struct Watch(Option<VecDeque<SessionMessage>>);

impl Watch {
    pub(crate) fn begin(&mut self) {
        self.0.get_or_insert_default();
    }

    /// Notes what `message` makes, if anybody wants to see it.
    pub(crate) fn note(&mut self, message: impl FnOnce() -> Option<SessionMessage>) {
        let Some(waiting) = &mut self.0 else { return };
        let Some(message) = message() else { return };
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(message);
    }

    pub(crate) fn next(&mut self) -> Option<SessionMessage> {
        self.0.as_mut()?.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize) -> SessionMessage {
        SessionMessage {
            session: SessionId::new(1 << 63),
            addr: UdpAddr::new("192.0.2.1:5684".parse().unwrap()),
            local: Local::default(),
            is_ours: true,
            payload: number.to_string().into(),
        }
    }

    #[test]
    fn nothing_is_made_for_nobody() {
        let mut watch = Watch::default();
        watch.note(|| panic!("nobody looks"));
        assert_eq!(watch.next(), None);
    }

    #[test]
    fn of_what_nobody_fetches_the_newest_are_left() {
        let mut watch = Watch::default();
        watch.begin();
        for number in 0..MAX_WAITING + 2 {
            watch.note(|| Some(message(number)));
        }
        assert_eq!(watch.next(), Some(message(2)));
        assert_eq!(core::iter::from_fn(|| watch.next()).count(), MAX_WAITING - 1);
    }
}
