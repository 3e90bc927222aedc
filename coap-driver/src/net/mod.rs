//! UDP sockets of the operating system, for any reactor: an adapter waits for readiness, everything else is here.
//!
//! quinn-udp receives in batches and knows the local address of each datagram. It does not say whose ICMP error it was:
//! on Linux and Android `reports` asks the socket's error queue.

mod options;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod reports;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod scoped;
#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "android"))]
mod tests;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::net::UdpSocket;

use coap_core::{Local, UdpAddr};
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Type};

use crate::runtime::{RecvBatch, SocketOptions};

/// A bound, non-blocking UDP socket that no reactor knows yet.
#[derive(Debug)]
pub struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    family: Family,
    /// The error queue may hold something. Only ever a hint: a call that fails says the same.
    reported: AtomicBool,
}

/// The family of a socket: what form its addresses must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// What [`Socket::recv`] knows about the rest of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// It was empty: an edge-triggered reactor will tell of whatever comes from now on.
    Empty,
    /// There may be more.
    Unknown,
}

/// So many errors in a row, each of some other datagram, are passed over before the caller gets its turn again.
const PATIENCE: usize = 16;

impl Socket {
    /// Binds as [`Runtime::bind`](crate::Runtime::bind) says.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn bind(addr: SocketAddr, options: &SocketOptions) -> io::Result<Self> {
        // `[::ffff:192.0.2.1]` hears IPv4 and nothing else: as an IPv4 socket it says so, and its peers are answered.
        let addr = match addr.ip().to_canonical() {
            IpAddr::V4(v4) => SocketAddr::from((v4, addr.port())),
            IpAddr::V6(_) => addr,
        };
        let io = match open(addr, options) {
            Ok(io) => io,
            Err(error) => open(without_ipv6(addr, &error).ok_or(error)?, options)?,
        };
        let family = if io.local_addr()?.is_ipv4() { Family::V4 } else { Family::V6 };
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        prepare(&io, &state)?;
        Ok(Self { io, state, family, reported: AtomicBool::new(false) })
    }

    /// Replaces what is in `batch` by what one call gives, with a second call per report of an unreachable peer.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: there is nothing now. Any other: the socket is of no more use.
    pub fn recv(&self, batch: &mut RecvBatch) -> io::Result<Queue> {
        batch.clear();
        if self.reported.load(Ordering::Relaxed) {
            self.take_reports(batch);
        }
        for _ in 0..PATIENCE {
            match batch.receive(|slots, meta| self.state.recv(UdpSockRef::from(&self.io), slots, meta)) {
                Ok(count) => {
                    let drained = cfg!(any(target_os = "linux", target_os = "android")) && count < RecvBatch::SLOTS;
                    return Ok(if drained { Queue::Empty } else { Queue::Unknown });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if batch.is_empty() && batch.too_long() == 0 { Err(error) } else { Ok(Queue::Empty) };
                }
                // On Windows this is a datagram; on Linux, where those are cut silently, a report of a smaller path.
                Err(error) if cfg!(windows) && quinn_udp::is_msg_size_err(&error) => batch.count_too_long(),
                // The system tells of an earlier datagram of ours that was lost, and telling has cleared it.
                Err(error) if is_about_a_peer(&error) => self.take_reports(batch),
                Err(error) => return Err(error),
            }
        }
        Ok(Queue::Unknown)
    }

    /// The reactor saw an error condition: the next [`Socket::recv`] looks for reports first.
    pub fn note_report(&self) {
        self.reported.store(true, Ordering::Relaxed);
    }

    /// Sends one datagram as [`UdpSocket::try_send`](crate::UdpSocket::try_send) says.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: the socket is full. Any other: this datagram cannot be sent.
    pub fn try_send(&self, to: UdpAddr, from: &Local, payload: &[u8]) -> io::Result<()> {
        self.try_send_with(to, from, None, payload)
    }

    /// The same as [`UdpSocket::try_send_hops`](crate::UdpSocket::try_send_hops) says, on Linux and Android.
    ///
    /// # Errors
    ///
    /// As those of [`try_send`](Self::try_send). `Unsupported`: another system, or no hops at all for IPv4.
    pub fn try_send_hops(&self, to: UdpAddr, from: &Local, hops: u8, payload: &[u8]) -> io::Result<()> {
        if cfg!(not(any(target_os = "linux", target_os = "android"))) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this system limits the hops of no single datagram",
            ));
        }
        // A socket option can say that, and no control message.
        if hops == 0 && to.ip().is_ipv4() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a datagram of IPv4 takes one hop at least"));
        }
        self.try_send_with(to, from, Some(hops), payload)
    }

    fn try_send_with(&self, to: UdpAddr, from: &Local, hops: Option<u8>, payload: &[u8]) -> io::Result<()> {
        match self.send_once(to, from, hops, payload) {
            // Linux gives an error that ICMP left on the socket to whoever calls next, and forgets it: this datagram
            // has not even been tried.
            Err(error) if cfg!(any(target_os = "linux", target_os = "android")) && may_be_anothers(&error) => {
                self.note_report();
                self.send_once(to, from, hops, payload)
            }
            result => result,
        }
    }

    /// Joins a group as [`UdpSocket::join`](crate::UdpSocket::join) says. An IPv6 socket for both families joins those of IPv4
    /// where the system lets it (Linux, Android).
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn join(&self, group: IpAddr, interface: u32) -> io::Result<()> {
        options::join(socket2::SockRef::from(&self.io), self.family == Family::V4, group.to_canonical(), interface)
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Another handle to the same socket, for a reactor to watch.
    ///
    /// # Errors
    ///
    /// What the system says: too many open files.
    pub fn try_clone_io(&self) -> io::Result<UdpSocket> {
        self.io.try_clone()
    }

    fn send_once(&self, to: UdpAddr, from: &Local, hops: Option<u8>, payload: &[u8]) -> io::Result<()> {
        let destination = self.family.form(to.socket_addr())?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let interface = if scoped::needs_interface(to, from) { from.interface } else { 0 };
            if interface != 0 || hops.is_some() {
                let way = scoped::Way { interface, source: source(to, from), hops };
                return scoped::send(&self.io, destination, &way, payload);
            }
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = hops;
        let src_ip = source(to, from);
        let transmit = Transmit { destination, ecn: None, contents: payload, segment_size: None, src_ip };
        self.state.try_send(UdpSockRef::from(&self.io), &transmit)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn take_reports(&self, batch: &mut RecvBatch) {
        // Cleared first: what arrives while we read raises it again.
        self.reported.store(false, Ordering::Relaxed);
        while batch.has_room_for_reports() {
            match reports::next(&self.io) {
                Some(reports::Report::Unreachable(peer)) => {
                    batch.push_unreachable(peer);
                }
                Some(reports::Report::Other) => {}
                None => return,
            }
        }
        self.note_report();
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn take_reports(&self, _: &mut RecvBatch) {
        self.reported.store(false, Ordering::Relaxed);
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.io.as_fd()
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for Socket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.io.as_raw_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Socket {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.io.as_socket()
    }
}

impl Family {
    /// `addr` as a socket of this family wants it: on an IPv6 socket an IPv4 address is a mapped one.
    fn form(self, addr: SocketAddr) -> io::Result<SocketAddr> {
        match (self, addr) {
            (Self::V4, SocketAddr::V6(_)) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "an IPv6 destination on an IPv4 socket"))
            }
            (Self::V6, SocketAddr::V4(v4)) => {
                Ok(SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0)))
            }
            _ => Ok(addr),
        }
    }
}

/// The address that a datagram to `to` leaves from; `None`: the system's choice. It is of the destination's family on a
/// socket of either family, and one that nobody can answer to is not used.
fn source(to: UdpAddr, from: &Local) -> Option<IpAddr> {
    from.ip.filter(|ip| ip.is_ipv4() == to.ip().is_ipv4() && !ip.is_unspecified() && !ip.is_multicast())
}

/// The error of a sending call may have been waiting on the socket, for a datagram sent earlier.
fn may_be_anothers(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::WouldBlock && error.raw_os_error().is_some()
}

/// The index of a network interface, by name or number. Elsewhere than on Unix only a number is understood.
pub fn interface_index(name: &str) -> Option<u32> {
    #[cfg(unix)]
    if let Ok(index) = nix::net::if_::if_nametoindex(name) {
        return Some(index);
    }
    // RFC 6874 §2 lets a zone be the number; 0 is the default zone, which is none.
    name.parse().ok().filter(|index| *index != 0)
}

fn open(addr: SocketAddr, options: &SocketOptions) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    enlarge(&socket, options);
    let families = match addr {
        SocketAddr::V4(_) => options::Families::V4,
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => options::Families::Both,
        SocketAddr::V6(_) => options::Families::V6,
    };
    options::apply(&socket, families, options)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// `0.0.0.0` instead of `[::]`, if it is IPv6 as such that failed.
fn without_ipv6(addr: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    // A port in use or forbidden would be so for IPv4 too, or worse: it would be free there, and half a server run.
    let other = matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied);
    (addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !other)
        .then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port())))
}

/// Sizes are wishes: a socket with a smaller buffer works, it only loses more in a burst.
fn enlarge(socket: &socket2::Socket, options: &SocketOptions) {
    if let Some(size) = options.recv_buffer {
        let _ = socket.set_recv_buffer_size(size);
        // Who has CAP_NET_ADMIN need not care for net.core.rmem_max.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if socket.recv_buffer_size().is_ok_and(|got| got < size) {
            let _ = nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::RcvBufForce, &size);
        }
    }
    if let Some(size) = options.send_buffer {
        let _ = socket.set_send_buffer_size(size);
    }
}

/// Turns on what we read, and off what quinn-udp turns on for QUIC.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn prepare(io: &UdpSocket, state: &UdpSocketState) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};

    state.enable_transport_errors(UdpSockRef::from(io))?;
    // Joined datagrams would need slots of 64 KiB. Old kernels know neither option: then it is off already.
    let _ = setsockopt(io, sockopt::UdpGroSegment, &false);
    let _ = setsockopt(io, sockopt::ReceiveTimestampns, &false);
    allow_fragments(io)
}

/// QUIC finds the path's MTU by itself, and wants what is longer to be dropped. CoAP does not: a message that the path
/// cannot take in one piece would be lost with each repetition (RFC 7252 §4.6 puts up with fragments). The system then
/// learns from ICMP how long the pieces may be, as it does for any other program.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn allow_fragments(io: &UdpSocket) -> io::Result<()> {
    use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
    use rustix::net::sockopt::{set_ip_mtu_discover, set_ipv6_mtu_discover};

    // An IPv6 socket has both, as it may send to IPv4.
    set_ip_mtu_discover(io, Ipv4PathMtuDiscovery::WANT)?;
    if io.local_addr()?.is_ipv6() {
        set_ipv6_mtu_discover(io, Ipv6PathMtuDiscovery::WANT)?;
    }
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn prepare(_: &UdpSocket, _: &UdpSocketState) -> io::Result<()> {
    Ok(())
}

/// An error of one datagram or peer: what the systems make of ICMP messages, and passing shortages.
///
/// A bad descriptor and the like are not among them: passing over those would spin.
fn is_about_a_peer(error: &io::Error) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use nix::errno::Errno;
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
        !matches!(errno, Errno::EBADF | Errno::ENOTSOCK | Errno::EFAULT | Errno::EINVAL | Errno::UnknownErrno)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        use io::ErrorKind;
        // WSAENETRESET is the time exceeded message; the standard library has no kind for it.
        const WSAENETRESET: i32 = 10_052;
        matches!(
            error.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
                | ErrorKind::OutOfMemory
                | ErrorKind::Interrupted
        ) || cfg!(windows) && error.raw_os_error() == Some(WSAENETRESET)
    }
}
