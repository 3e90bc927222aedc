//! The sockets of an endpoint: datagrams in, datagrams out, and what their errors mean.

use core::task::{Context, Poll};
use std::io;

use bytes::{Bytes, BytesMut};
use coap_core::{Datagram, Instant, Local, Peer, RequestId, Transmit};

use crate::counts::SocketStats;
use crate::error::Unreachable;
use crate::runtime::{Received, RecvBatch, UdpSocket};
use crate::sessions::{Machine, longest_datagram, next_message};
use crate::state::State;
use crate::traffic::{Direction, Hook, Traffic};
use crate::transport::Link;

/// Datagrams handed to the sockets in one round. More would save little, and make handles wait for the lock.
const SEND_BATCH: usize = 32;

/// How often a datagram is tried that finds no room although its socket says that there is. One whose peer is full may say
/// so for ever, and the task of the endpoint must not wait for it without an end.
const TRIES: u8 = 4;

/// The longest datagram that is received, if the endpoint sends no longer ones: a peer may send more than we would.
const RECEIVE_AT_LEAST: usize = 4 << 10;

/// Bytes that datagrams are copied into, end to end. When they are used up and all datagrams in them are forgotten,
/// the same memory is used again: a steady flow allocates nothing.
const ARENA: usize = 64 << 10;

/// All sockets of an endpoint, with what came from them and what waits for them.
#[derive(Debug)]
pub(crate) struct Sockets<S> {
    /// `None`: it failed for good.
    sockets: Vec<Option<Link<S>>>,
    batch: RecvBatch,
    arena: BytesMut,
    inbox: Vec<Datagram>,
    unreachable: Vec<Unsent>,
    /// Slots of `max_datagram` bytes, and which of them hold what is still to be sent.
    outgoing: Box<[u8]>,
    max_datagram: usize,
    queue: Vec<Transmit>,
    sent: usize,
    /// Messages inside of sessions, for the hook. Nothing if there is none.
    inside: Vec<Traffic>,
    counts: SocketStats,
}

/// Whether there may be more to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inflow {
    /// All sockets are empty, and will wake the task.
    Dry,
    /// A round's worth was taken.
    More,
}

/// Whether all could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outflow {
    /// Nothing waits.
    Clear,
    /// A socket is full, and will wake the task.
    Blocked,
}

impl<S: UdpSocket> Sockets<S> {
    pub(crate) fn new(links: Vec<Link<S>>, max_datagram: usize) -> Self {
        Self {
            sockets: links.into_iter().map(Some).collect(),
            batch: RecvBatch::new(max_datagram.max(RECEIVE_AT_LEAST)),
            arena: BytesMut::new(),
            inbox: Vec::new(),
            unreachable: Vec::new(),
            outgoing: vec![0; SEND_BATCH * max_datagram].into_boxed_slice(),
            max_datagram,
            queue: Vec::with_capacity(SEND_BATCH),
            sent: 0,
            inside: Vec::new(),
            counts: SocketStats::default(),
        }
    }

    /// Takes one batch at most from each socket.
    ///
    /// # Errors
    /// The last socket failed for good.
    pub(crate) fn receive(&mut self, cx: &mut Context<'_>, hook: Option<&Hook>) -> io::Result<Inflow> {
        let mut inflow = Inflow::Dry;
        for index in 0..self.sockets.len() {
            match self.poll_socket(cx, index) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    inflow = Inflow::More;
                    self.copy_batch(index, hook);
                }
                Poll::Ready(Err(error)) => {
                    if let Some(broken) = self.sockets.get_mut(index) {
                        *broken = None;
                    }
                    if self.sockets.iter().all(Option::is_none) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(inflow)
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>, index: usize) -> Poll<io::Result<()>> {
        let socket = self.sockets.get(index).and_then(Option::as_ref);
        socket.map_or(Poll::Pending, |socket| socket.poll_recv(cx, &mut self.batch))
    }

    fn copy_batch(&mut self, index: usize, hook: Option<&Hook>) {
        self.counts.too_long = self.counts.too_long.wrapping_add(self.batch.too_long());
        self.counts.portless = self.counts.portless.wrapping_add(self.batch.portless());
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        for received in self.batch.iter() {
            match received {
                Received::Datagram { from, to, interface, payload } => {
                    let payload = keep(&mut self.arena, payload);
                    let to = Local::arrived(number, to, interface);
                    if let Some(look) = hook {
                        look(&Traffic::new(Direction::Received, from, to, payload.clone()));
                    }
                    self.inbox.push(Datagram { from, to, payload });
                }
                Received::Unreachable { peer } => {
                    self.counts.unreachable = self.counts.unreachable.wrapping_add(1);
                    self.unreachable.push(Unsent { peer, cause: Unreachable::Reported, group: None });
                }
            }
        }
    }

    /// Gives the endpoint what has come.
    pub(crate) fn deliver(&mut self, state: &mut State, now: Instant) {
        state.stirred |= self.has_news();
        for datagram in self.inbox.drain(..) {
            state.endpoint.handle_datagram(now, datagram);
            self.inside.extend(core::iter::from_fn(|| next_message(&mut state.endpoint)));
        }
        for unsent in self.unreachable.drain(..) {
            state.handle_unreachable(now, unsent);
        }
        state.socket_stats = self.counts;
    }

    /// Takes from the endpoint what there is room for. True: there may be more.
    pub(crate) fn collect(&mut self, endpoint: &mut Machine) -> bool {
        let longest = longest_datagram(endpoint);
        if longest > self.max_datagram && self.queue.is_empty() {
            // A session whose records are longer.
            self.max_datagram = longest;
            self.outgoing = vec![0; SEND_BATCH * longest].into_boxed_slice();
        }
        let mut more = true;
        while let Some(slot) = slot(&self.outgoing, self.max_datagram, self.queue.len()) {
            let Some(transmit) = endpoint.poll_transmit(&mut self.outgoing[slot]) else {
                more = false;
                break;
            };
            self.queue.push(transmit);
        }
        self.inside.extend(core::iter::from_fn(|| next_message(endpoint)));
        more
    }

    /// Sends what waits, in order.
    pub(crate) fn send(&mut self, cx: &mut Context<'_>, hook: Option<&Hook>) -> Outflow {
        for traffic in self.inside.drain(..) {
            if let Some(look) = hook {
                look(&traffic);
            }
        }
        while let Some(transmit) = self.queue.get(self.sent) {
            let Some(slot) = slot(&self.outgoing, self.max_datagram, self.sent) else { break };
            let datagram = self.outgoing[slot].get(..transmit.len).unwrap_or_default();
            match self.send_one(cx, transmit, datagram) {
                Poll::Pending => return Outflow::Blocked,
                Poll::Ready(Delivery::Lost) => self.counts.not_sent = self.counts.not_sent.wrapping_add(1),
                Poll::Ready(Delivery::Hopeless(why)) => {
                    self.counts.not_sent = self.counts.not_sent.wrapping_add(1);
                    let Transmit { to: peer, group, .. } = *transmit;
                    self.unreachable.push(Unsent { peer, cause: Unreachable::NotSent(why), group });
                }
                Poll::Ready(Delivery::Sent) => {
                    if let Some(look) = hook {
                        let datagram = Bytes::copy_from_slice(datagram);
                        look(&Traffic::new(Direction::Sent, transmit.to, transmit.from, datagram));
                    }
                }
            }
            self.sent += 1;
        }
        self.queue.clear();
        self.sent = 0;
        Outflow::Clear
    }

    /// True if the endpoint must hear of something at once.
    pub(crate) fn has_news(&self) -> bool {
        !self.unreachable.is_empty() || !self.inbox.is_empty()
    }

    fn send_one(&self, cx: &mut Context<'_>, transmit: &Transmit, datagram: &[u8]) -> Poll<Delivery> {
        let to = transmit.to;
        // RFC 7983: a record of DTLS begins with 20 to 63, and a message of CoAP with 64 to 127.
        let is_plain = datagram.first().is_none_or(|first| *first >= 64);
        let reaches = |socket: &&Link<S>| socket.reaches(to) && !(is_plain && socket.is_secure());
        // The one that it belongs to; a request without a wish goes through any that can.
        let preferred = self.sockets.get(usize::from(transmit.from.socket)).and_then(Option::as_ref).filter(reaches);
        let Some(socket) = preferred.or_else(|| self.sockets.iter().flatten().find(reaches)) else {
            return Poll::Ready(Delivery::Hopeless(io::ErrorKind::NotConnected));
        };
        let mut left = TRIES;
        loop {
            let error = match socket.try_send(transmit, datagram) {
                Ok(()) => return Poll::Ready(Delivery::Sent),
                Err(error) => error,
            };
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => match socket.poll_writable(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) if left > 1 => left -= 1,
                    Poll::Ready(_) => return Poll::Ready(Delivery::Lost),
                },
                // No way to the peer from here: it will not be better at the next repetition, and the caller waits.
                io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkDown
                | io::ErrorKind::AddrNotAvailable
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::Unsupported
                | io::ErrorKind::InvalidInput => return Poll::Ready(Delivery::Hopeless(error.kind())),
                // As if lost in the network: it is repeated, or its sender finds out.
                _ => return Poll::Ready(Delivery::Lost),
            }
        }
    }
}

/// What could not be delivered.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) peer: Peer,
    pub(crate) cause: Unreachable,
    /// The request to a group that it was.
    pub(crate) group: Option<RequestId>,
}

/// What became of a datagram.
enum Delivery {
    Sent,
    Lost,
    /// It makes no sense to try again, for this reason.
    Hopeless(io::ErrorKind),
}

fn slot(buffer: &[u8], size: usize, number: usize) -> Option<core::ops::Range<usize>> {
    let start = number.checked_mul(size)?;
    let end = start.checked_add(size).filter(|end| *end <= buffer.len())?;
    Some(start..end)
}

/// A copy of a datagram in shared memory.
fn keep(arena: &mut BytesMut, payload: &[u8]) -> Bytes {
    if arena.capacity() < payload.len() {
        arena.reserve(ARENA.max(payload.len()));
    }
    arena.extend_from_slice(payload);
    arena.split().freeze()
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;
    use core::task::Waker;
    use std::sync::Mutex;

    use coap_core::{Config, Request, RequestOptions, SessionId, UdpAddr};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::sessions::Credentials;
    use crate::transport::Transport;

    /// A socket that takes `room` datagrams, and then what `error` says.
    #[derive(Debug)]
    struct Fake(Mutex<Wire>);

    #[derive(Debug)]
    struct Wire {
        room: usize,
        error: io::ErrorKind,
        taken: Vec<UdpAddr>,
    }

    impl Fake {
        fn new(room: usize, error: io::ErrorKind) -> Self {
            Self(Mutex::new(Wire { room, error, taken: Vec::new() }))
        }

        fn make_room(&self, room: usize) {
            self.0.lock().unwrap().room += room;
        }

        fn taken(&self) -> usize {
            self.0.lock().unwrap().taken.len()
        }
    }

    impl UdpSocket for Fake {
        fn poll_recv(&self, _cx: &mut Context<'_>, _batch: &mut RecvBatch) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
        }

        fn try_send(&self, to: UdpAddr, _from: &Local, _payload: &[u8]) -> io::Result<()> {
            let mut wire = self.0.lock().unwrap();
            if wire.room == 0 {
                return Err(wire.error.into());
            }
            wire.room -= 1;
            wire.taken.push(to);
            Ok(())
        }

        fn poll_writable(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.0.lock().unwrap().room > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Sockets at `locals`, with requests to as many peers as `peers` says waiting in the endpoint.
    fn sockets(sockets: Vec<(Fake, &str)>, peers: u16) -> (Sockets<Fake>, Machine) {
        let config = Config::default();
        let sockets = sockets.into_iter().map(|(socket, local)| Link::Udp(socket, local.parse().unwrap()));
        let sockets = Sockets::new(sockets.collect(), config.max_datagram());
        let mut endpoint = Credentials::default().machine(config, Box::new(StdRng::seed_from_u64(1)));
        for port in 1..=peers {
            let to = SocketAddr::from(([192, 0, 2, 1], port)).into();
            endpoint.request(Instant::ZERO, to, Request::get(), &RequestOptions::new()).unwrap();
        }
        (sockets, endpoint)
    }

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn socket(sockets: &Sockets<Fake>, index: usize) -> &Fake {
        let Some(Link::Udp(socket, _)) = &sockets.sockets[index] else { panic!("it failed") };
        socket
    }

    #[test]
    fn a_full_socket_holds_everything_up_and_loses_nothing() {
        let (mut sockets, mut endpoint) = sockets(vec![(Fake::new(2, io::ErrorKind::WouldBlock), "192.0.2.9:5683")], 5);
        assert!(!sockets.collect(&mut endpoint));
        assert_eq!(sockets.send(&mut context(), None), Outflow::Blocked);
        assert_eq!(sockets.send(&mut context(), None), Outflow::Blocked);
        assert_eq!(socket(&sockets, 0).taken(), 2);
        socket(&sockets, 0).make_room(9);
        assert_eq!(sockets.send(&mut context(), None), Outflow::Clear);
        assert_eq!(socket(&sockets, 0).taken(), 5);
    }

    /// A transport for which it is always worth trying again, as it is by default, and whose peer is full.
    struct Full;

    impl Transport for Full {
        fn poll_recv(&self, _cx: &mut Context<'_>, _batch: &mut RecvBatch) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn try_send(&self, _to: Peer, _from: &Local, _payload: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    #[test]
    fn a_transport_that_can_always_be_written_and_never_takes_anything_loses_it() {
        let config = Config::default();
        let mut sockets = Sockets::<Fake>::new(vec![Link::Custom(Box::new(Full))], config.max_datagram());
        let mut endpoint = Credentials::default().machine(config, Box::new(StdRng::seed_from_u64(1)));
        endpoint
            .request(Instant::ZERO, Peer::Session(SessionId::new(1)), Request::get(), &RequestOptions::new())
            .unwrap();
        sockets.collect(&mut endpoint);
        assert_eq!(sockets.send(&mut context(), None), Outflow::Clear);
        assert_eq!(sockets.counts.not_sent, 1);
    }

    #[test]
    fn more_than_a_batch_is_collected_in_turns() {
        let (mut sockets, mut endpoint) =
            sockets(vec![(Fake::new(99, io::ErrorKind::WouldBlock), "192.0.2.9:5683")], 40);
        assert!(sockets.collect(&mut endpoint));
        assert_eq!(sockets.send(&mut context(), None), Outflow::Clear);
        assert!(!sockets.collect(&mut endpoint));
        assert_eq!(sockets.send(&mut context(), None), Outflow::Clear);
        assert_eq!(socket(&sockets, 0).taken(), 40);
    }

    #[test]
    fn a_peer_without_a_way_is_reported_and_the_next_datagram_goes_on() {
        let (mut sockets, mut endpoint) =
            sockets(vec![(Fake::new(0, io::ErrorKind::NetworkUnreachable), "192.0.2.9:5683")], 2);
        sockets.collect(&mut endpoint);
        assert_eq!(sockets.send(&mut context(), None), Outflow::Clear);
        assert!(sockets.has_news());
        let why = Unreachable::NotSent(io::ErrorKind::NetworkUnreachable);
        assert_eq!(sockets.unreachable.iter().map(|unsent| unsent.cause).collect::<Vec<_>>(), [why; 2]);
        // What is no news about the peer is lost like any datagram.
        let (mut lossy, mut endpoint) = sockets_of(io::ErrorKind::ConnectionRefused);
        lossy.collect(&mut endpoint);
        assert_eq!(lossy.send(&mut context(), None), Outflow::Clear);
        assert!(!lossy.has_news());
    }

    fn sockets_of(error: io::ErrorKind) -> (Sockets<Fake>, Machine) {
        sockets(vec![(Fake::new(0, error), "192.0.2.9:5683")], 1)
    }

    #[test]
    fn a_socket_of_the_right_family_is_chosen() {
        let fakes = || Fake::new(9, io::ErrorKind::WouldBlock);
        let (mut sockets, mut endpoint) =
            sockets(vec![(fakes(), "[2001:db8::9]:5683"), (fakes(), "192.0.2.9:5683")], 1);
        sockets.collect(&mut endpoint);
        sockets.send(&mut context(), None);
        assert_eq!((socket(&sockets, 0).taken(), socket(&sockets, 1).taken()), (0, 1));
    }

    #[test]
    fn the_endpoint_ends_with_its_last_socket() {
        let fakes = || Fake::new(9, io::ErrorKind::WouldBlock);
        let (mut one, _) = sockets(vec![(fakes(), "192.0.2.9:5683")], 0);
        assert!(one.receive(&mut context(), None).is_err());
    }

    #[test]
    fn a_steady_flow_uses_the_same_memory_again() {
        let mut arena = BytesMut::new();
        let first = keep(&mut arena, &[7; 100]);
        let start = first.as_ptr();
        drop(first);
        let again = (0..2 * ARENA / 100).filter(|_| keep(&mut arena, &[7; 100]).as_ptr() == start).count();
        assert!(again >= 1, "{again}");
    }

    #[test]
    fn slots_do_not_overlap_and_end_with_the_buffer() {
        assert_eq!(slot(&[0; 10], 4, 1), Some(4..8));
        assert_eq!(slot(&[0; 10], 4, 2), None);
    }
}
