//! What was received from whom and sent there, as long as nothing shows that it is there (RFC 9175 §2.4).

use std::collections::{BTreeMap, BTreeSet};

use coap_core::{Message, Peer, Type};

/// RFC 9175 §2.4: the headers of Ethernet, IPv6 and UDP.
const HEADERS: u64 = 62;

/// The longest datagram to an address that has not proven itself.
const LONGEST: usize = 136;

#[derive(Debug, Default)]
pub(super) struct Accounts {
    of: BTreeMap<Peer, Account>,
    /// They have answered to a number of ours, or repeated an Echo value of ours.
    proven: BTreeSet<Peer>,
    /// Echo values that were sent, each to one peer.
    echoes: BTreeSet<(Peer, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    received: u64,
    sent: u64,
}

impl Accounts {
    /// Something arrived; `answers`: to what we sent.
    pub(super) fn receive(&mut self, from: Peer, len: usize, message: Option<&Message>, answers: bool) {
        let echo = message.and_then(|message| message.options.echo());
        if answers || echo.is_some_and(|value| self.echoes.contains(&(from, value.to_vec()))) {
            self.proven.insert(from);
            self.of.remove(&from);
        }
        if !self.is_proven(&from) {
            self.of.entry(from).or_default().received += HEADERS + len as u64;
        }
    }

    /// Something is sent, because of what arrived and not because the application asks. What is wrong with it.
    pub(super) fn send(&mut self, to: Peer, len: usize, message: &Message) -> Option<&'static str> {
        let ours = message.code.is_request() || (message.kind == Type::Confirmable && message.code.is_empty());
        if let Some(value) = message.options.echo().filter(|_| !ours) {
            self.echoes.insert((to, value.to_vec()));
        }
        if ours || self.is_proven(&to) {
            return None;
        }
        let account = self.of.entry(to).or_default();
        account.sent += HEADERS + len as u64;
        match () {
            () if len > LONGEST => Some("longer than an address may be sent that is not proven"),
            () if account.sent > 3 * account.received => Some("more than three times what came from there"),
            () => None,
        }
    }

    fn is_proven(&self, peer: &Peer) -> bool {
        matches!(peer, Peer::Session(_)) || self.proven.contains(peer)
    }
}
