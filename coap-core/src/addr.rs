//! Who a datagram came from, where it came to, and where one goes: the edges of the endpoint.

use core::fmt;
use core::net::{IpAddr, SocketAddr, SocketAddrV6};

use bytes::Bytes;

use crate::event::RequestId;

/// An address and port, in the one form in which addresses compare: an IPv4-mapped IPv6 address is IPv4, there is no
/// flow label, and a scope id only where the address needs one (link-local unicast and multicast).
///
/// On a socket bound to `[::]` an IPv4 peer arrives as `::ffff:192.0.2.1`, and answers would never match without this.
///
/// ```
/// # use coap_core::UdpAddr;
/// let mapped = "[::ffff:192.0.2.1]:5683".parse().unwrap();
/// assert_eq!(UdpAddr::new(mapped), UdpAddr::new("192.0.2.1:5683".parse().unwrap()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UdpAddr(SocketAddr);

impl UdpAddr {
    /// Brings `addr` into the form in which addresses compare.
    pub const fn new(addr: SocketAddr) -> Self {
        let SocketAddr::V6(v6) = addr else { return Self(addr) };
        if let Some(v4) = v6.ip().to_ipv4_mapped() {
            return Self(SocketAddr::new(IpAddr::V4(v4), v6.port()));
        }
        let scope = if needs_scope(&v6) { v6.scope_id() } else { 0 };
        Self(SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope)))
    }

    /// The address.
    pub const fn ip(&self) -> IpAddr {
        self.0.ip()
    }

    /// The port, 0 to 65535.
    pub const fn port(&self) -> u16 {
        self.0.port()
    }

    /// As the standard library has it.
    pub const fn socket_addr(&self) -> SocketAddr {
        self.0
    }

    /// True for 224.0.0.0/4, ff00::/8 and the broadcast address: a request to it must be Non-confirmable
    /// (RFC 7252 §8.1), and nothing can come from it.
    pub fn is_multicast(&self) -> bool {
        is_multicast(self.ip())
    }

    /// A link-local address without a zone is meant in the one of this interface; 0 says nothing.
    const fn on(self, interface: u32) -> Self {
        match self.0 {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
                Self(SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, interface)))
            }
            _ => self,
        }
    }
}

/// True for 224.0.0.0/4, ff00::/8 and 255.255.255.255.
pub(crate) fn is_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

/// RFC 4007: link-local unicast, and multicast of interface or link scope, mean nothing without their zone.
const fn needs_scope(addr: &SocketAddrV6) -> bool {
    let first = addr.ip().segments()[0];
    addr.ip().is_unicast_link_local() || matches!(first & 0xff0f, 0xff01 | 0xff02)
}

impl From<SocketAddr> for UdpAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::new(addr)
    }
}

impl fmt::Display for UdpAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a session: a DTLS association, a connection, a serial line, whatever has no address of its own.
///
/// Whoever makes sessions draws the number and owns the map to an address. A number is never reused while the program
/// runs: no message-layer state may outlive a change of the security context (RFC 7252 §9.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// The session with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// The other endpoint of an exchange. Message IDs, tokens and deduplication never cross from one peer to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// Somebody behind an address, over plain UDP.
    Udp(UdpAddr),
    /// The other end of a session.
    Session(SessionId),
}

impl Peer {
    /// A group rather than one endpoint.
    pub fn is_multicast(&self) -> bool {
        matches!(self, Self::Udp(addr) if addr.is_multicast())
    }

    /// The address, if it is one.
    pub const fn udp(&self) -> Option<UdpAddr> {
        match self {
            Self::Udp(addr) => Some(*addr),
            Self::Session(_) => None,
        }
    }

    /// As whom a peer answers that is asked on this interface: datagrams arrive with their zone (RFC 4007 §6), and a
    /// response is known by where it comes from (RFC 7252 §5.3.2).
    pub(crate) const fn on(self, interface: u32) -> Self {
        match self {
            Self::Udp(addr) => Self::Udp(addr.on(interface)),
            session @ Self::Session(_) => session,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Self {
        Self::Udp(UdpAddr::new(addr))
    }
}

impl From<UdpAddr> for Peer {
    fn from(addr: UdpAddr) -> Self {
        Self::Udp(addr)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(addr) => addr.fmt(f),
            Self::Session(id) => write!(f, "session {}", id.number()),
        }
    }
}

/// Where a datagram came to, and where its answer leaves from (RFC 7252 §5.3.2: the client compares the address).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Local {
    /// Which of the caller's sockets, by a number of the caller's own.
    pub socket: u16,
    /// The unicast address that the datagram was sent to; `None`: unknown, or let the system choose.
    pub ip: Option<IpAddr>,
    /// Index of the interface; 0: unknown, or let the system choose.
    pub interface: u32,
    /// The multicast group that the datagram was sent to. An answer never leaves from it.
    pub group: Option<IpAddr>,
}

impl Local {
    /// As `socket`, address and interface of an arriving datagram say it: a multicast or broadcast `to` is a group.
    pub fn arrived(socket: u16, to: Option<IpAddr>, interface: u32) -> Self {
        let to = to.map(|ip| ip.to_canonical());
        let group = to.filter(|ip| is_multicast(*ip));
        Self { socket, ip: to.filter(|_| group.is_none()), interface, group }
    }
}

impl Local {
    /// Tells the addresses of ours apart: a Message ID belongs to a pair of endpoints (RFC 7252 §4.4), and each of them is
    /// an endpoint of its own. All groups are one, so that a request that came through two of them is served once. Not
    /// exact, but who picks two addresses of ours that collide confuses only himself.
    pub(crate) fn endpoint(&self) -> u32 {
        let address = match self.ip {
            None => 0,
            Some(IpAddr::V4(v4)) => u128::from(v4.to_bits()) | 1 << 32,
            Some(IpAddr::V6(v6)) => v6.to_bits(),
        };
        let (high, low) = ((address >> 64) as u64, address as u64);
        let mixed = (high.rotate_left(23) ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32 ^ u32::from(self.socket)
    }
}

/// A datagram that arrived.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Who sent it.
    pub from: Peer,
    /// Where it arrived.
    pub to: Local,
    /// Its bytes. Events share them: an application that keeps a payload for long should copy it.
    pub payload: Bytes,
}

/// A datagram to send: its first `len` bytes are in the buffer that was given to `poll_transmit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Whom to send it to.
    pub to: Peer,
    /// Where it should leave from.
    pub from: Local,
    /// How many hops it may take, if the request said so: to a group only. `None`: as the socket has it.
    pub hops: Option<u8>,
    /// The request to a group that it is: [`handle_not_sent`](crate::Endpoint::handle_not_sent) if it cannot be sent.
    pub group: Option<RequestId>,
    /// Its length in bytes.
    pub len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(text: &str) -> UdpAddr {
        UdpAddr::new(text.parse().unwrap())
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        assert_eq!(udp("[::ffff:127.0.0.1]:9"), udp("127.0.0.1:9"));
        assert!(udp("[::ffff:224.0.1.187]:9").is_multicast());
    }

    #[test]
    fn a_scope_is_kept_only_where_it_means_something() {
        assert_ne!(udp("[fe80::1%1]:9"), udp("[fe80::1%2]:9"));
        assert_ne!(udp("[ff02::fd%1]:9"), udp("[ff02::fd%2]:9"));
        assert_eq!(udp("[ff05::fd%1]:9"), udp("[ff05::fd%2]:9"));
        assert_eq!(udp("[2001:db8::1%1]:9"), udp("[2001:db8::1%2]:9"));
    }

    #[test]
    fn an_answer_never_leaves_from_the_group() {
        let local = Local::arrived(0, Some("ff02::fd".parse().unwrap()), 2);
        assert_eq!((local.ip, local.interface), (None, 2));
        assert!(local.group.is_some());
    }
}
