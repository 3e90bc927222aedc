use core::net::{IpAddr, SocketAddr};
use std::io;

use coap_core::{Local, UdpAddr};

use super::*;

fn udp(text: &str) -> UdpAddr {
    UdpAddr::new(text.parse().unwrap())
}

fn local(ip: &str, interface: u32) -> Local {
    Local { ip: Some(ip.parse().unwrap()), interface, ..Local::default() }
}

#[test]
fn without_ipv6_the_wildcard_is_the_one_of_ipv4_and_nothing_else_changes() {
    let wildcard: SocketAddr = "[::]:5683".parse().unwrap();
    let no_family = io::Error::from_raw_os_error(nix::errno::Errno::EAFNOSUPPORT as i32);
    assert_eq!(without_ipv6(wildcard, &no_family), Some("0.0.0.0:5683".parse().unwrap()));
    assert_eq!(without_ipv6("[::1]:5683".parse().unwrap(), &no_family), None);
    assert_eq!(without_ipv6("0.0.0.0:5683".parse().unwrap(), &no_family), None);
    assert_eq!(without_ipv6(wildcard, &io::ErrorKind::AddrInUse.into()), None);
    assert_eq!(without_ipv6(wildcard, &io::ErrorKind::PermissionDenied.into()), None);
}

#[test]
fn a_source_is_of_the_family_of_its_destination_and_one_that_can_be_answered() {
    let some = |ip: &str| Some(ip.parse::<IpAddr>().unwrap());
    assert_eq!(source(udp("192.0.2.1:1"), &local("192.0.2.2", 0)), some("192.0.2.2"));
    assert_eq!(source(udp("[2001:db8::1]:1"), &local("2001:db8::2", 0)), some("2001:db8::2"));
    for foreign in ["2001:db8::2", "0.0.0.0", "224.0.1.187"] {
        assert_eq!(source(udp("192.0.2.1:1"), &local(foreign, 0)), None);
    }
    assert_eq!(source(udp("[2001:db8::1]:1"), &local("ff02::fd", 0)), None);
}

#[test]
fn an_interface_is_named_only_where_the_address_leaves_it_open() {
    assert!(scoped::needs_interface(udp("224.0.1.187:1"), &local("192.0.2.2", 2)));
    assert!(scoped::needs_interface(udp("[ff05::fd]:1"), &local("2001:db8::2", 2)));
    assert!(scoped::needs_interface(udp("[2001:db8::1]:1"), &local("fe80::2", 2)));
    assert!(!scoped::needs_interface(udp("[fe80::1%2]:1"), &local("fe80::2", 2)), "its scope says it");
    assert!(!scoped::needs_interface(udp("192.0.2.1:1"), &local("192.0.2.2", 2)), "routing decides");
    assert!(!scoped::needs_interface(udp("224.0.1.187:1"), &local("192.0.2.2", 0)), "none is known");
}

#[test]
fn a_datagram_to_a_group_leaves_on_the_interface_that_is_named() {
    const LOOPBACK: u32 = 1;
    let listener = UdpSocket::bind("0.0.0.0:0").unwrap();
    let group = Ipv4Addr::new(224, 0, 1, 187);
    let joined = socket2::SockRef::from(&listener)
        .join_multicast_v4_n(&group, &socket2::InterfaceIndexOrAddress::Index(LOOPBACK));
    joined.unwrap();
    listener.set_read_timeout(Some(core::time::Duration::from_secs(20))).unwrap();
    let to = UdpAddr::new(SocketAddr::from((group, listener.local_addr().unwrap().port())));
    for bound in ["[::]:0", "0.0.0.0:0"] {
        let socket = Socket::bind(bound.parse().unwrap(), &SocketOptions::default()).unwrap();
        socket.try_send(to, &local("127.0.0.3", LOOPBACK), b"all").unwrap();
        let (len, from) = listener.recv_from(&mut [0; 16]).unwrap();
        assert_eq!((len, from.ip()), (3, "127.0.0.3".parse::<IpAddr>().unwrap()), "bound to {bound}");
    }
}

#[test]
fn a_socket_forwards_no_joined_datagrams_and_takes_no_time_stamps() {
    use nix::sys::socket::{getsockopt, sockopt};

    let socket = Socket::bind("[::]:0".parse().unwrap(), &SocketOptions::default()).unwrap();
    assert!(!getsockopt(&socket, sockopt::UdpGroSegment).unwrap());
    assert!(!getsockopt(&socket, sockopt::ReceiveTimestampns).unwrap());
    assert!(getsockopt(&socket, sockopt::Ipv4RecvErr).unwrap());
    assert!(getsockopt(&socket, sockopt::Ipv6RecvErr).unwrap());
}

#[test]
fn reports_that_do_not_fit_into_one_batch_come_with_the_next() {
    let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap();
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    gone.connect("127.0.0.1:9").unwrap();
    let gone = UdpAddr::new(gone.local_addr().unwrap());
    let sent = RecvBatch::REPORTS + 5;
    for _ in 0..sent {
        socket.try_send(gone, &Local::default(), b"x").unwrap();
    }
    let mut batch = RecvBatch::new(64);
    let mut heard = 0;
    while heard < sent {
        socket.recv(&mut batch).unwrap();
        heard += batch.iter().count();
    }
    assert_eq!(socket.recv(&mut batch).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_datagram_that_the_path_cannot_take_whole_goes_in_pieces() {
    use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ip_mtu_discover, ipv6_mtu_discover};

    let v4 = Socket::bind("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap();
    assert_eq!(ip_mtu_discover(&v4).unwrap(), Ipv4PathMtuDiscovery::WANT);
    let both = Socket::bind("[::]:0".parse().unwrap(), &SocketOptions::default()).unwrap();
    assert_eq!(ip_mtu_discover(&both).unwrap(), Ipv4PathMtuDiscovery::WANT);
    if both.local_addr().unwrap().is_ipv6() {
        assert_eq!(ipv6_mtu_discover(&both).unwrap(), Ipv6PathMtuDiscovery::WANT);
    }
}

#[test]
fn a_mapped_address_is_bound_as_the_ipv4_address_that_it_is() {
    let socket = Socket::bind("[::ffff:127.0.0.1]:0".parse().unwrap(), &SocketOptions::default()).unwrap();
    assert_eq!(socket.local_addr().unwrap().ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
}

#[test]
fn options_for_groups_are_in_force_on_sockets_of_each_family() {
    const LOOPBACK: u32 = 1;
    let options = SocketOptions::default().multicast_hops(7).multicast_loop(false);
    let options = options.multicast_interface(LOOPBACK).traffic_class(0x20);
    for bound in ["[::]:0", "0.0.0.0:0", "[::1]:0"] {
        let socket = Socket::bind(bound.parse().unwrap(), &options).unwrap();
        let set = socket2::SockRef::from(&socket.io);
        if bound != "[::1]:0" {
            assert_eq!((set.multicast_ttl_v4().unwrap(), set.multicast_loop_v4().unwrap()), (7, false), "{bound}");
            assert_eq!(set.tos_v4().unwrap(), 0x20, "{bound}");
        }
        if bound != "0.0.0.0:0" {
            assert_eq!((set.multicast_hops_v6().unwrap(), set.multicast_loop_v6().unwrap()), (7, false), "{bound}");
            assert_eq!((set.multicast_if_v6().unwrap(), set.tclass_v6().unwrap()), (LOOPBACK, 0x20), "{bound}");
        }
    }
}

#[test]
fn a_datagram_to_a_group_leaves_on_the_interface_of_the_socket() {
    let listener = UdpSocket::bind("0.0.0.0:0").unwrap();
    let group = Ipv4Addr::new(224, 0, 1, 187);
    let loopback = socket2::InterfaceIndexOrAddress::Index(1);
    socket2::SockRef::from(&listener).join_multicast_v4_n(&group, &loopback).unwrap();
    listener.set_read_timeout(Some(core::time::Duration::from_secs(20))).unwrap();
    let to = UdpAddr::new(SocketAddr::from((group, listener.local_addr().unwrap().port())));
    for bound in ["[::]:0", "0.0.0.0:0"] {
        let options = SocketOptions::default().multicast_interface(1);
        let socket = Socket::bind(bound.parse().unwrap(), &options).unwrap();
        socket.try_send(to, &Local::default(), b"all").unwrap();
        assert_eq!(listener.recv_from(&mut [0; 8]).unwrap().0, 3, "bound to {bound}");
    }
}

/// What the next datagram says of its hops.
fn hops_of_next(listener: &UdpSocket) -> i32 {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
    use std::os::fd::AsRawFd;

    let mut control = nix::cmsg_space!([u8; 64]);
    let mut payload = [0; 8];
    let mut payload = [io::IoSliceMut::new(&mut payload)];
    let received =
        recvmsg::<SockaddrStorage>(listener.as_raw_fd(), &mut payload, Some(&mut control), MsgFlags::empty());
    let received = received.unwrap();
    let hops = received.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => Some(hops),
        _ => None,
    });
    hops.unwrap()
}

#[test]
fn a_datagram_to_a_group_takes_as_many_hops_as_it_says() {
    use nix::sys::socket::{setsockopt, sockopt};

    const LOOPBACK: u32 = 1;
    let loopback = socket2::InterfaceIndexOrAddress::Index(LOOPBACK);
    let (v4, v6) = (UdpSocket::bind("0.0.0.0:0").unwrap(), UdpSocket::bind("[::]:0").unwrap());
    let (group4, group6) = (Ipv4Addr::new(224, 0, 1, 187), "ff02::fd".parse::<Ipv6Addr>().unwrap());
    socket2::SockRef::from(&v4).join_multicast_v4_n(&group4, &loopback).unwrap();
    setsockopt(&v4, sockopt::Ipv4RecvTtl, &true).unwrap();
    v6.join_multicast_v6(&group6, LOOPBACK).unwrap();
    setsockopt(&v6, sockopt::Ipv6RecvHopLimit, &true).unwrap();
    let options = SocketOptions::default().multicast_hops(9).multicast_interface(LOOPBACK);
    for (listener, group, bounds) in
        [(&v4, IpAddr::V4(group4), ["[::]:0", "0.0.0.0:0"]), (&v6, IpAddr::V6(group6), ["[::]:0", "[::1]:0"])]
    {
        let to = UdpAddr::new((group, listener.local_addr().unwrap().port()).into());
        let from = Local { interface: LOOPBACK, ..Local::default() };
        for bound in bounds {
            let socket = Socket::bind(bound.parse().unwrap(), &options).unwrap();
            // IPv6 on loopback may be without multicast here.
            if socket.try_send(to, &from, b"as the socket has it").is_err() && group.is_ipv6() {
                continue;
            }
            assert_eq!(hops_of_next(listener), 9, "{group} from {bound}");
            for (from, hops) in [(from, 3), (from, 255), (Local::default(), 1)] {
                socket.try_send_hops(to, &from, hops, b"few").unwrap();
                assert_eq!(hops_of_next(listener), i32::from(hops), "{group} from {bound}");
            }
        }
    }
    let socket = Socket::bind("0.0.0.0:0".parse().unwrap(), &options).unwrap();
    let none = socket.try_send_hops(udp("224.0.1.187:1"), &Local::default(), 0, b"none").unwrap_err();
    assert_eq!(none.kind(), io::ErrorKind::Unsupported);
}

#[test]
fn an_interface_that_is_not_there_is_an_error_of_binding() {
    let options = SocketOptions::default().multicast_interface(99_999);
    for bound in ["[::]:0", "0.0.0.0:0"] {
        assert!(Socket::bind(bound.parse().unwrap(), &options).is_err(), "bound to {bound}");
    }
}

#[test]
fn buffers_are_as_large_as_was_asked_for_where_the_system_allows_it() {
    let options = SocketOptions::default().recv_buffer(64 << 10).send_buffer(32 << 10);
    let socket = Socket::bind("[::1]:0".parse().unwrap(), &options).unwrap();
    let set = socket2::SockRef::from(&socket.io);
    // Linux doubles them, for its own records.
    assert!(set.recv_buffer_size().unwrap() >= 64 << 10 && set.send_buffer_size().unwrap() >= 32 << 10);
}
