//! What the driver asks of a runtime: a clock, a timer, tasks, names and UDP sockets.
//!
//! An adapter brings these for one runtime and nothing else. A simulator brings them in virtual time, on one thread:
//! that is why no clock and no socket of the standard library appears here, and why a batch can be filled by hand.

use core::fmt;
use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, IoSliceMut};

use coap_core::{Instant, Local, Peer, UdpAddr};
use quinn_udp::RecvMeta;
use rand_core::CryptoRng;

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One asynchronous runtime. Clones are handles to the same one and share its clock.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// A bound, non-blocking UDP socket.
    type Socket: UdpSocket;
    /// A deadline that can be awaited and moved.
    type Timer: Timer;

    /// The time now: microseconds since the runtime value was made, or virtual time. It never goes back.
    fn now(&self) -> Instant;

    /// A timer that is not set.
    fn timer(&self) -> Self::Timer;

    /// Runs `future` to its end, beside the caller. The task is not joined: whoever needs its end signals it.
    fn spawn(&self, future: BoxFuture<()>);

    /// Binds a UDP socket.
    ///
    /// `[::]` is dual-stack: it takes IPv4 too. On a machine where IPv6 is off it becomes `0.0.0.0` with the same
    /// port; [`UdpSocket::local_addr`] tells. Port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// What the system says: the port is in use, the address is not of this machine, no right to the port.
    fn bind(&self, addr: SocketAddr, options: &SocketOptions) -> io::Result<Self::Socket>;

    /// The addresses of a host name, in the resolver's order, each once, with `port` filled in.
    ///
    /// Whole addresses rather than `IpAddr`: a name of multicast DNS may stand for a link-local address, which is of
    /// no use without its scope.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<io::Result<Vec<UdpAddr>>>;

    /// The index of a network interface, for the zone of a URI such as `coap://[fe80::1%25eth0]/`: by its name, or
    /// the number itself (RFC 6874 §2). `None`: there is none of this name.
    fn interface_index(&self, name: &str) -> Option<u32>;

    /// A generator for the secrets of one endpoint, such as its tokens, unless its builder is given another.
    ///
    /// By itself this is one of our own, seeded by the system: no system call for each token. A simulator has one with a
    /// seed, so that its runs can be repeated; what any other runtime gives must not be known to others.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give.
    fn rng(&self) -> io::Result<Box<dyn CryptoRng + Send>> {
        use rand::SeedableRng;
        let seeded = rand::rngs::StdRng::try_from_rng(&mut rand::rngs::SysRng).map_err(io::Error::other)?;
        Ok(Box::new(seeded))
    }
}

/// A deadline that can be awaited and moved as often as needed: moving it later must be cheap.
pub trait Timer: Send + 'static {
    /// Moves the deadline; `None` is never. A task that waits in [`Timer::poll`] must poll again to notice.
    fn set(&mut self, at: Option<Instant>);

    /// Ready once the clock has reached the deadline, never before; then the timer is no longer set. A timer that is
    /// not set is pending and keeps no waker.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A bound UDP socket. It is polled by one task at a time: a later poll of the same kind replaces the waker.
pub trait UdpSocket: Send + Sync + 'static {
    /// Replaces what is in `batch` by what one call gives: datagrams and reports of unreachable peers.
    ///
    /// Ready with `Ok` may also mean an empty batch, if all that came had to be dropped. Whatever concerns one
    /// datagram or one peer is not an error here.
    ///
    /// # Errors
    ///
    /// The socket itself is of no more use.
    fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut RecvBatch) -> Poll<io::Result<()>>;

    /// Sends one datagram now or not at all. It leaves from `from.ip` if there is one, never from `from.group`;
    /// `from.interface` counts where an address does not settle the interface (multicast, link-local).
    ///
    /// # Errors
    ///
    /// `WouldBlock`: the socket is full, see [`UdpSocket::poll_writable`]. Any other error is about this datagram
    /// alone (no route, too long, forbidden): the next may succeed.
    fn try_send(&self, to: UdpAddr, from: &Local, payload: &[u8]) -> io::Result<()>;

    /// The same for a request to a group that says how many hops it may take. By default it is refused: it must not go further
    /// than was asked for.
    ///
    /// # Errors
    ///
    /// As those of [`UdpSocket::try_send`]; `Unsupported`: the socket cannot do it for one datagram.
    fn try_send_hops(&self, to: UdpAddr, from: &Local, hops: u8, payload: &[u8]) -> io::Result<()> {
        let _ = (to, from, hops, payload);
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the sockets of this runtime limit the hops of no single datagram",
        ))
    }

    /// Ready when it is worth calling [`UdpSocket::try_send`] again after `WouldBlock`.
    ///
    /// # Errors
    ///
    /// The socket itself is of no more use.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The address that it is bound to, with the port that the system chose.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Hears what is sent to `group` from now on, on the interface of this index; 0: the system's choice. A group that was
    /// joined there before is no error.
    ///
    /// # Errors
    ///
    /// What the system says: there is no such interface, it does not know groups, or it is of the other address family.
    /// `Unsupported` from a socket that cannot do it.
    fn join(&self, group: IpAddr, interface: u32) -> io::Result<()> {
        let _ = (group, interface);
        Err(io::Error::new(io::ErrorKind::Unsupported, "the sockets of this runtime join no groups"))
    }
}

/// How a socket is set up. Made by [`SocketOptions::default`] and changed field by field, or by its methods:
///
/// ```
/// # use coap_driver::SocketOptions;
/// let options = SocketOptions::default().multicast_hops(8).multicast_loop(false).traffic_class(0xb8);
/// assert_eq!(options.multicast_hops, Some(8));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Bytes that the system may queue for us, as far as it allows; `None` leaves its default. 4 MiB: with the usual
    /// default of 208 KiB, where each small datagram counts as 768 bytes or more, a burst of 256 loses requests.
    pub recv_buffer: Option<usize>,
    /// Bytes that the system may queue for the network, as far as it allows; `None` (the default) leaves its default.
    pub send_buffer: Option<usize>,
    /// Several sockets on one port, each served by an endpoint of its own: the system keeps a peer on one of them
    /// (`SO_REUSEPORT`; without effect on Windows). Off by default: a port in use is an error.
    pub reuse_port: bool,
    /// How many hops a datagram to a group may take (IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS); `None`: 1, as the systems have it,
    /// which no router lets through. 0: it does not leave this machine.
    pub multicast_hops: Option<u8>,
    /// Whether members of a group on this machine hear what we send to it; `None`: they do.
    pub multicast_loop: Option<bool>,
    /// The index of the interface that datagrams to groups leave on where a request names none; `None`: the system's choice.
    /// On systems other than Linux and Android only for IPv6.
    pub multicast_interface: Option<u32>,
    /// The type of service (IPv4), or traffic class (IPv6: Linux and Android): a priority in the upper six bits (RFC 2474);
    /// the lower two are for congestion (RFC 3168), and should be 0. `None`: 0.
    pub traffic_class: Option<u8>,
}

impl SocketOptions {
    /// With this size of the buffer for what arrives, in bytes.
    #[must_use]
    pub const fn recv_buffer(mut self, bytes: usize) -> Self {
        self.recv_buffer = Some(bytes);
        self
    }

    /// With this size of the buffer for what leaves, in bytes.
    #[must_use]
    pub const fn send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// With so many hops for datagrams to groups.
    #[must_use]
    pub const fn multicast_hops(mut self, hops: u8) -> Self {
        self.multicast_hops = Some(hops);
        self
    }

    /// With or without copies of what is sent to groups for members on this machine.
    #[must_use]
    pub const fn multicast_loop(mut self, looped: bool) -> Self {
        self.multicast_loop = Some(looped);
        self
    }

    /// With this interface for datagrams to groups.
    #[must_use]
    pub const fn multicast_interface(mut self, index: u32) -> Self {
        self.multicast_interface = Some(index);
        self
    }

    /// With this type of service.
    #[must_use]
    pub const fn traffic_class(mut self, class: u8) -> Self {
        self.traffic_class = Some(class);
        self
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            recv_buffer: Some(4 << 20),
            send_buffer: None,
            reuse_port: false,
            multicast_hops: None,
            multicast_loop: None,
            multicast_interface: None,
            traffic_class: None,
        }
    }
}

/// One thing that a socket gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received<'a> {
    /// A datagram.
    Datagram {
        /// Who sent it.
        from: Peer,
        /// The address that it was sent to, perhaps a group's; `None`: unknown.
        to: Option<IpAddr>,
        /// The index of the interface that it arrived on; 0: unknown.
        interface: u32,
        /// Its bytes, in the batch's own buffer: copy what should outlive the next poll.
        payload: &'a [u8],
    },
    /// The network reports that what we sent to `peer` cannot be delivered (ICMP).
    Unreachable {
        /// The destination of what we sent.
        peer: Peer,
    },
}

/// What one [`UdpSocket::poll_recv`] gave, in buffers that are used again and again.
///
/// Datagrams are received into this buffer and copied out by the driver: a `Bytes` received in place would pin the
/// whole buffer for as long as an application keeps a twenty-byte payload.
///
/// ```
/// # use coap_driver::{Received, RecvBatch};
/// let mut batch = RecvBatch::new(1_280);
/// batch.push_datagram("192.0.2.1:5683".parse::<std::net::SocketAddr>().unwrap(), None, 0, b"ping");
/// assert!(matches!(batch.iter().next(), Some(Received::Datagram { payload: b"ping", .. })));
/// ```
pub struct RecvBatch {
    /// [`RecvBatch::SLOTS`] slots of `max_datagram + 1` bytes: a datagram that fills its slot was longer than allowed.
    buffer: Box<[u8]>,
    max_datagram: usize,
    /// What the system says of each slot while it is filled.
    meta: Box<[RecvMeta]>,
    received: Vec<Entry>,
    datagrams: usize,
    too_long: u64,
    portless: u64,
}

/// A [`Received`] with the place of its bytes in the buffer.
#[derive(Clone, Copy)]
enum Entry {
    Datagram { from: Peer, to: Option<IpAddr>, interface: u32, start: usize, len: usize },
    Unreachable(Peer),
}

impl RecvBatch {
    /// Datagrams that fit into one batch.
    pub const SLOTS: usize = 32;

    /// Reports of unreachable peers that fit into one batch.
    pub const REPORTS: usize = 32;

    /// An empty batch for datagrams of up to `max_datagram` bytes. It takes 32 times that much memory, once.
    pub fn new(max_datagram: usize) -> Self {
        // No UDP datagram is longer, and the bound keeps the sizes below from overflowing.
        let max_datagram = max_datagram.min(usize::from(u16::MAX));
        Self {
            buffer: vec![0; Self::SLOTS * (max_datagram + 1)].into_boxed_slice(),
            max_datagram,
            meta: vec![RecvMeta::default(); Self::SLOTS].into_boxed_slice(),
            received: Vec::with_capacity(Self::SLOTS + Self::REPORTS),
            datagrams: 0,
            too_long: 0,
            portless: 0,
        }
    }

    /// Forgets what it holds, counters included. For implementations of [`UdpSocket::poll_recv`], which begins so.
    pub fn clear(&mut self) {
        self.received.clear();
        self.datagrams = 0;
        self.too_long = 0;
        self.portless = 0;
    }

    /// Adds a datagram, as [`UdpSocket::poll_recv`] does. False if there was no slot left: nothing has changed then.
    ///
    /// One that is longer than the batch's limit or comes from port 0 is dropped and counted, and that is `true`.
    pub fn push_datagram(&mut self, from: impl Into<Peer>, to: Option<IpAddr>, interface: u32, payload: &[u8]) -> bool {
        if self.is_full() {
            return false;
        }
        let start = self.datagrams * self.slot_size();
        if let Some(slot) = self.buffer[start..].get_mut(..payload.len().min(self.max_datagram)) {
            slot.copy_from_slice(&payload[..slot.len()]);
        }
        self.take_slot(self.datagrams, from.into(), to, interface, payload.len());
        true
    }

    /// Adds the report that `peer` cannot be reached. False if there was no room left: nothing has changed then.
    pub fn push_unreachable(&mut self, peer: impl Into<Peer>) -> bool {
        let room = self.has_room_for_reports();
        if room {
            self.received.push(Entry::Unreachable(peer.into()));
        }
        room
    }

    /// What it holds, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        self.received.iter().map(|entry| match *entry {
            Entry::Datagram { from, to, interface, start, len } => {
                Received::Datagram { from, to, interface, payload: &self.buffer[start..start + len] }
            }
            Entry::Unreachable(peer) => Received::Unreachable { peer },
        })
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// There is no slot left for another datagram.
    pub const fn is_full(&self) -> bool {
        self.datagrams == Self::SLOTS
    }

    /// Datagrams that this poll dropped because they were longer than the batch's limit.
    pub const fn too_long(&self) -> u64 {
        self.too_long
    }

    /// Datagrams that this poll dropped because they came from port 0, where no answer can go.
    pub const fn portless(&self) -> u64 {
        self.portless
    }

    /// The longest datagram that it takes, in bytes.
    pub const fn max_datagram(&self) -> usize {
        self.max_datagram
    }

    pub(crate) const fn has_room_for_reports(&self) -> bool {
        self.received.len() - self.datagrams < Self::REPORTS
    }

    /// A datagram did not fit, and the system has thrown it away.
    pub(crate) const fn count_too_long(&mut self) {
        self.too_long += 1;
    }

    /// Lets `recv` fill the slots and say how many it filled. No datagram may be in the batch before.
    pub(crate) fn receive(
        &mut self,
        recv: impl FnOnce(&mut [IoSliceMut<'_>], &mut [RecvMeta]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut chunks = self.buffer.chunks_exact_mut(self.max_datagram + 1);
        let mut slots: [_; Self::SLOTS] = core::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let count = recv(&mut slots, &mut self.meta)?;
        for slot in 0..count.min(Self::SLOTS) {
            let meta = self.meta[slot];
            let to = meta.dst_ip.map(|ip| ip.to_canonical());
            self.take_slot(slot, meta.addr.into(), to, meta.interface_index.unwrap_or(0), meta.len);
        }
        Ok(count)
    }

    const fn slot_size(&self) -> usize {
        self.max_datagram + 1
    }

    /// Notes that slot number `slot` holds the first bytes of a datagram of `len` bytes, if it is one to keep.
    fn take_slot(&mut self, slot: usize, from: Peer, to: Option<IpAddr>, interface: u32, len: usize) {
        if len > self.max_datagram {
            self.too_long += 1;
        } else if from.udp().is_some_and(|addr| addr.port() == 0) {
            self.portless += 1;
        } else {
            let start = slot * self.slot_size();
            self.received.push(Entry::Datagram { from, to, interface, start, len });
            self.datagrams += 1;
        }
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Peer {
        SocketAddr::from(([192, 0, 2, 1], port)).into()
    }

    #[test]
    fn a_batch_gives_back_what_was_pushed_in_order() {
        let mut batch = RecvBatch::new(8);
        assert!(batch.push_datagram(peer(1), None, 7, b"one"));
        assert!(batch.push_unreachable(peer(2)));
        assert!(batch.push_datagram(peer(3), None, 0, b""));
        let all: Vec<_> = batch.iter().collect();
        assert_eq!(all[0], Received::Datagram { from: peer(1), to: None, interface: 7, payload: b"one" });
        assert_eq!(all[1], Received::Unreachable { peer: peer(2) });
        assert_eq!(all[2], Received::Datagram { from: peer(3), to: None, interface: 0, payload: b"" });
        batch.clear();
        assert!(batch.is_empty());
    }

    #[test]
    fn what_is_too_long_or_has_no_port_is_counted_and_takes_no_slot() {
        let mut batch = RecvBatch::new(4);
        assert!(batch.push_datagram(peer(1), None, 0, b"12345"));
        assert!(batch.push_datagram(peer(0), None, 0, b"1234"));
        assert!(batch.is_empty());
        assert_eq!((batch.too_long(), batch.portless()), (1, 1));
    }

    #[test]
    fn a_full_batch_takes_no_more() {
        let mut batch = RecvBatch::new(4);
        for slot in 0..RecvBatch::SLOTS {
            assert!(batch.push_datagram(peer(1), None, 0, &[slot as u8; 4]));
        }
        assert!(batch.is_full() && !batch.push_datagram(peer(1), None, 0, b"late"));
        for (slot, received) in batch.iter().enumerate() {
            assert!(matches!(received, Received::Datagram { payload, .. } if payload == [slot as u8; 4]));
        }
    }
}
