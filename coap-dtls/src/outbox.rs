//! Datagrams that wait to be sent.

use std::collections::VecDeque;

use coap_core::{Local, Peer, Transmit, UdpAddr};

/// How many empty buffers are kept for the next datagrams.
const SPARE: usize = 16;

/// Datagrams that wait to be sent, of all sessions, with a bound.
pub(crate) struct Outbox {
    waiting: VecDeque<Waiting>,
    spare: Vec<Vec<u8>>,
    max: usize,
}

struct Waiting {
    to: UdpAddr,
    from: Local,
    bytes: Vec<u8>,
}

impl Outbox {
    pub(crate) fn new(max: usize) -> Self {
        Self { waiting: VecDeque::new(), spare: Vec::new(), max }
    }

    /// False: it is full, and the datagram is lost.
    pub(crate) fn push(&mut self, to: UdpAddr, from: Local, datagram: &[u8]) -> bool {
        if self.waiting.len() >= self.max {
            return false;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(datagram);
        self.waiting.push_back(Waiting { to, from, bytes });
        true
    }

    /// Writes the next datagram to the start of `buf`. One that is longer is lost.
    pub(crate) fn pop(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        loop {
            let Waiting { to, from, mut bytes } = self.waiting.pop_front()?;
            let len = bytes.len();
            let fits = buf.get_mut(..len).map(|start| start.copy_from_slice(&bytes)).is_some();
            if self.spare.len() < SPARE && bytes.capacity() <= 2_048 {
                bytes.clear();
                self.spare.push(bytes);
            }
            if fits {
                return Some(Transmit { to: Peer::Udp(to), from, len, group: None, hops: None });
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
