//! What becomes of datagrams between the nodes.

use core::fmt;
use core::net::IpAddr;

use bytes::Bytes;
use coap_core::{Local, Message, Transmit, UdpAddr};

use super::{Due, Node, Sim};
use crate::link::{Channel, Fate, Link};
use crate::trace::Fnv;
use crate::watch::Cause;

impl Sim {
    pub(super) fn happen(&mut self, due: Due) {
        match due {
            Due::Arrival { from, to, group: Some((_, node)), payload } if self.is_host(node) => {
                self.deliver_to_host(from, to, node, payload);
            }
            Due::Arrival { from, group: Some((group, node)), payload, .. } => {
                self.deliver(from, node, Local::arrived(0, Some(group), 0), payload);
            }
            Due::Arrival { from, to, group: None, payload } => match (self.addresses.get(&to), self.host_at(to)) {
                (Some(node), _) => self.deliver(from, *node, Local::arrived(0, Some(to.ip()), 0), payload),
                (None, Some(host)) => self.deliver_to_host(from, to, host, payload),
                (None, None) => self.note(format_args!("{to} is nobody any more: a datagram of {from} is lost")),
            },
            Due::Report { node, local, peer } => self.deliver_report(node, local, peer),
            Due::Action(node, action) => {
                let now = self.now;
                action(&mut self.state_mut(node).endpoint, now);
                self.collect(node, &Cause::Command);
            }
        }
    }

    pub(super) fn send(&mut self, from: Node, transmit: &Transmit, payload: Bytes) {
        match transmit.to.udp() {
            Some(to) => self.send_from(from, self.state(from).address, to, payload),
            None => self.note(format_args!("{} -> {}: sessions are not simulated", self.label(from), transmit.to)),
        }
    }

    /// A datagram leaves a node, by this address of the node.
    pub(super) fn send_from(&mut self, node: Node, from: UdpAddr, to: UdpAddr, payload: Bytes) {
        if to.is_multicast() {
            let members = self.groups.get(&to.ip()).cloned().unwrap_or_default();
            self.note(format_args!("{} -> {to} {}: to a group", self.label(node), Shown(&payload)));
            for member in members.into_iter().filter(|member| *member != node) {
                self.carry((node, from), member, to, Some((to.ip(), member)), payload.clone());
            }
            return;
        }
        if to.ip().is_loopback() && self.is_host(node) {
            return self.carry((node, from), node, to, Some((to.ip(), node)), payload);
        }
        match self.addresses.get(&to).copied().or_else(|| self.host_at(to)) {
            Some(there) => self.carry((node, from), there, to, None, payload),
            None => self.note(format_args!("{} -> {to} {}: nobody is there", self.label(node), Shown(&payload))),
        }
    }

    fn carry(
        &mut self,
        (node, from): (Node, UdpAddr),
        there: Node,
        to: UdpAddr,
        group: Option<(IpAddr, Node)>,
        payload: Bytes,
    ) {
        let fate = self.draw_fate(node, there, payload.len());
        self.note(format_args!("{} -> {} {}: {fate}", self.label(node), self.label(there), Shown(&payload)));
        for at in fate.arrivals() {
            self.plan(at, Due::Arrival { from, to, group, payload: payload.clone() });
        }
        let path = self.channels.get_mut(&(node, there));
        let replayed = fate.arrivals().max().zip(path).and_then(|(last, path)| path.replay(last, &mut self.rng));
        if let Some(at) = replayed {
            self.note(format_args!("it arrives again at {at}"));
            self.plan(at, Due::Arrival { from, to, group, payload });
        }
    }

    pub(super) fn draw_fate(&mut self, from: Node, to: Node, len: usize) -> Fate {
        let channel = self.channels.entry((from, to)).or_insert(const { Channel::new(Link::new()) });
        channel.carry(self.now, len, &mut self.rng)
    }

    pub(super) fn channel(&mut self, from: Node, to: Node) -> &mut Channel {
        self.channels.entry((from, to)).or_insert(const { Channel::new(Link::new()) })
    }

    pub(super) fn set_open(&mut self, a: Node, b: Node, open: bool) {
        self.channel(a, b).open = open;
        self.channel(b, a).open = open;
        let what = if open { "is healed" } else { "is cut" };
        self.note(format_args!("the path between {} and {} {what}", self.label(a), self.label(b)));
    }
}

/// A datagram as a line of text.
pub(super) struct Shown<'a>(pub(super) &'a Bytes);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [20..=63, ..] = self.0[..] {
            return Records(self.0).fmt(f);
        }
        match Message::decode(self.0.clone()) {
            Ok(message) => message.fmt(f),
            Err(error) => write!(f, "{} bytes ({error})", self.0.len()),
        }
    }
}

/// The records of a datagram, as far as they can be seen without keys: type, epoch, sequence number, length; and a hash of all
/// its bytes. With pre-shared keys and a seed they are the same each time.
struct Records<'a>(&'a [u8]);

impl fmt::Display for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let [kind @ 20..=31, _, _, epoch @ .., high, low] = rest.first_chunk::<13>().unwrap_or(&[0; 13]) {
            let number = epoch.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            let name = match kind {
                20 => "ChangeCipherSpec",
                21 => "Alert",
                22 => "Handshake",
                23 => "Data",
                _ => "Other",
            };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            write!(f, "{name} {}/{} {length} bytes; ", number >> 48, number & 0xffff_ffff_ffff)?;
            rest = rest.get(13 + length..).unwrap_or_default();
        }
        write!(f, "{} bytes of DTLS, {:016x}", self.0.len(), Fnv::of(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_shown_by_its_header_and_a_hash_of_all_bytes() {
        let record = [23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 5, 0, 2, 0xaa, 0xbb];
        let shown = |bytes: &[u8]| Shown(&Bytes::copy_from_slice(bytes)).to_string();
        let hash = Fnv::of(&record);
        assert_eq!(shown(&record), format!("Data 1/5 2 bytes; 15 bytes of DTLS, {hash:016x}"));
        let mut other = record;
        other[14] ^= 1;
        assert_ne!(shown(&other), shown(&record));
    }
}
