//! Datagrams whose address does not settle the interface that they leave on: multicast and link-local. And those that may
//! take so many hops and no more.
//!
//! Everything else must not name an interface: an answer may have to leave on another interface than its request came in on.

use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use coap_core::{Local, UdpAddr};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use nix::libc::{c_int, in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};

/// The interface of `from` has a say in where a datagram to `to` goes.
pub(super) fn needs_interface(to: UdpAddr, from: &Local) -> bool {
    let link_local = |ip| match ip {
        IpAddr::V4(v4) => Ipv4Addr::is_link_local(&v4),
        IpAddr::V6(v6) => Ipv6Addr::is_unicast_link_local(&v6),
    };
    // A scope in the destination says more than where something else came from.
    let scoped = matches!(to.socket_addr(), SocketAddr::V6(v6) if v6.scope_id() != 0);
    from.interface != 0 && !scoped && (to.is_multicast() || link_local(to.ip()) || from.ip.is_some_and(link_local))
}

/// How one datagram leaves.
pub(super) struct Way {
    /// 0: the system's choice.
    pub(super) interface: u32,
    /// Of the destination's family.
    pub(super) source: Option<IpAddr>,
    /// `None`: as the socket has it.
    pub(super) hops: Option<u8>,
}

/// Sends one datagram.
pub(super) fn send(socket: &UdpSocket, to: SocketAddr, way: &Way, payload: &[u8]) -> io::Result<()> {
    let Way { interface, source, hops } = *way;
    let v4_info;
    let v6_info;
    let limit = c_int::from(hops.unwrap_or_default());
    let is_v4 = to.ip().to_canonical().is_ipv4();
    let info = match to.ip().to_canonical() {
        IpAddr::V4(_) => {
            v4_info = in_pktinfo {
                // The index fits: the kernel's own is a positive int.
                ipi_ifindex: c_int::try_from(interface).unwrap_or(0),
                ipi_spec_dst: in_addr { s_addr: source.map_or(0, v4_bits) },
                ipi_addr: in_addr { s_addr: 0 },
            };
            ControlMessage::Ipv4PacketInfo(&v4_info)
        }
        IpAddr::V6(_) => {
            v6_info = in6_pktinfo {
                ipi6_addr: in6_addr { s6_addr: source.map_or([0; 16], v6_octets) },
                #[allow(clippy::useless_conversion, reason = "it is signed on Android")]
                ipi6_ifindex: interface.try_into().unwrap_or(0),
            };
            ControlMessage::Ipv6PacketInfo(&v6_info)
        }
    };
    let address = SockaddrStorage::from(to);
    let limit = if is_v4 { ControlMessage::Ipv4Ttl(&limit) } else { ControlMessage::Ipv6HopLimit(&limit) };
    let control = [info, limit];
    let control = if hops.is_some() { &control[..] } else { &control[..1] };
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(payload)], control, MsgFlags::empty(), Some(&address))?;
    Ok(())
}

fn v4_bits(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(v4) => u32::from_ne_bytes(v4.octets()),
        IpAddr::V6(_) => 0,
    }
}

fn v6_octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(_) => [0; 16],
        IpAddr::V6(v6) => v6.octets(),
    }
}
