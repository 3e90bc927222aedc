//! What a socket is told about groups and priority before it is bound.

use core::net::{IpAddr, Ipv4Addr};
use std::io;

use socket2::InterfaceIndexOrAddress;

use crate::runtime::SocketOptions;

/// Sets what the options ask for. A socket of IPv6 that is dual-stack has the options of both families.
///
/// # Errors
/// What the system says: there is no such interface, or it cannot do this.
pub(super) fn apply(socket: &socket2::Socket, families: Families, options: &SocketOptions) -> io::Result<()> {
    if families != Families::V6 {
        let set = apply_v4(socket, options);
        // Some systems know the options of IPv4 on sockets of IPv4 only. What is asked for is then in force for IPv6.
        if families == Families::V4 || cfg!(any(target_os = "linux", target_os = "android")) {
            set?;
        }
    }
    if families != Families::V4 {
        apply_v6(socket, options)?;
    }
    Ok(())
}

/// Joins a group; once more is no error.
///
/// # Errors
/// What the system says.
pub(super) fn join(socket: socket2::SockRef<'_>, v4_only: bool, group: IpAddr, interface: u32) -> io::Result<()> {
    let joined = match group {
        IpAddr::V4(group) => {
            let interface = match interface {
                0 => InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
                index => InterfaceIndexOrAddress::Index(index),
            };
            socket.join_multicast_v4_n(&group, &interface)
        }
        IpAddr::V6(_) if v4_only => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "an IPv6 group on an IPv4 socket"));
        }
        IpAddr::V6(group) => socket.join_multicast_v6(&group, interface),
    };
    match joined {
        // It is a member already.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        joined => joined?,
    }
    only_what_is_joined(&socket, v4_only, group)
}

/// By itself Linux gives a socket the datagrams of all groups that anybody on the machine has joined, on any interface.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn only_what_is_joined(socket: &socket2::Socket, v4_only: bool, group: IpAddr) -> io::Result<()> {
    if group.is_ipv4() || v4_only { socket.set_multicast_all_v4(false) } else { socket.set_multicast_all_v6(false) }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn only_what_is_joined(_: &socket2::Socket, _: bool, _: IpAddr) -> io::Result<()> {
    Ok(())
}

/// What a socket can send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Families {
    V4,
    V6,
    Both,
}

fn apply_v4(socket: &socket2::Socket, options: &SocketOptions) -> io::Result<()> {
    if let Some(hops) = options.multicast_hops {
        socket.set_multicast_ttl_v4(hops.into())?;
    }
    if let Some(looped) = options.multicast_loop {
        socket.set_multicast_loop_v4(looped)?;
    }
    if let Some(class) = options.traffic_class {
        socket.set_tos_v4(class.into())?;
    }
    options.multicast_interface.map_or(Ok(()), |index| set_interface_v4(socket, index))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_interface_v4(socket: &socket2::Socket, index: u32) -> io::Result<()> {
    use core::net::Ipv4Addr;
    let any = Ipv4Addr::UNSPECIFIED;
    Ok(rustix::net::sockopt::set_ip_multicast_if_with_ifindex(socket, &any, &any, index)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_interface_v4(_: &socket2::Socket, _: u32) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this system names the interface of an IPv4 group by its address only",
    ))
}

fn apply_v6(socket: &socket2::Socket, options: &SocketOptions) -> io::Result<()> {
    if let Some(hops) = options.multicast_hops {
        socket.set_multicast_hops_v6(hops.into())?;
    }
    if let Some(looped) = options.multicast_loop {
        socket.set_multicast_loop_v6(looped)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(class) = options.traffic_class {
        socket.set_tclass_v6(class.into())?;
    }
    options.multicast_interface.map_or(Ok(()), |index| socket.set_multicast_if_v6(index))
}
