//! The error queue of a Linux socket: which destination an ICMP message was about (ip(7), `IP_RECVERR`).

use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use coap_core::UdpAddr;
use core::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use nix::libc::{
    SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, in_pktinfo, in6_pktinfo, sock_extended_err, sockaddr_in6, timespec,
};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

/// One entry of the queue.
pub(super) enum Report {
    /// What was sent to this address cannot be delivered.
    Unreachable(UdpAddr),
    /// Anything else: a smaller path MTU, a hop limit used up, an error that the sending call returned as well.
    Other,
}

/// RFC 792 and RFC 4443 §3.1: the types of "destination unreachable".
const ICMP_UNREACHABLE: u8 = 3;
const ICMP6_UNREACHABLE: u8 = 1;
/// RFC 792: "fragmentation needed" travels as an unreachable destination, and is about the datagram's size.
const FRAGMENTATION_NEEDED: u8 = 4;

/// Takes the oldest entry; `None` if the queue is empty.
pub(super) fn next(socket: &UdpSocket) -> Option<Report> {
    // The datagram that went wrong comes along, and is of no interest.
    let mut byte = [0; 1];
    let mut slices = [IoSliceMut::new(&mut byte)];
    // The report with the address of its sender, and what else the socket's options add to it.
    let mut control = nix::cmsg_space!(sock_extended_err, sockaddr_in6, in6_pktinfo, in_pktinfo, timespec, [u64; 4]);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = loop {
        match recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
            Ok(message) => break message,
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
    };
    let Some(peer) = message.address.as_ref().and_then(socket_addr) else { return Some(Report::Other) };
    let unreachable = message.cmsgs().is_ok_and(|mut all| all.any(|one| says_unreachable(&one)));
    Some(if unreachable { Report::Unreachable(UdpAddr::new(peer)) } else { Report::Other })
}

fn says_unreachable(message: &ControlMessageOwned) -> bool {
    match message {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            match error.ee_origin {
                SO_EE_ORIGIN_ICMP => error.ee_type == ICMP_UNREACHABLE && error.ee_code != FRAGMENTATION_NEEDED,
                SO_EE_ORIGIN_ICMP6 => error.ee_type == ICMP6_UNREACHABLE,
                _ => false,
            }
        }
        _ => false,
    }
}

fn socket_addr(addr: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = addr.as_sockaddr_in() {
        return Some(SocketAddr::V4(SocketAddrV4::new(v4.ip(), v4.port())));
    }
    let v6 = addr.as_sockaddr_in6()?;
    Some(SocketAddr::V6(SocketAddrV6::new(v6.ip(), v6.port(), v6.flowinfo(), v6.scope_id())))
}
