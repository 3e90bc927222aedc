//! What the hosts of a simulation and its network share: the clock, the sockets, the timers and the names.

use core::net::{IpAddr, SocketAddr};
use core::task::Waker;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use coap_core::{Instant, UdpAddr};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::host::faults::Faults;
use crate::host::task::{NewTask, Ready, TaskId};
use crate::sim::Node;
use crate::trace::Fnv;

/// The first of the ports that nobody asked for by number (RFC 6335 §6), and how many there are.
const EPHEMERAL: u16 = 49_152;
const EPHEMERALS: u16 = 16_384;

/// What a socket queues when its options do not say: the usual default of Linux.
const RECV_BUFFER: usize = 208 << 10;

/// What the system counts for a datagram beside its bytes, about.
const OVERHEAD: usize = 576;

/// Handles to one [`World`].
///
/// Nothing of an application is called or dropped while the lock is held: wakers and futures come back to be used by
/// whoever took it.
#[derive(Clone)]
pub(crate) struct Shared {
    world: Arc<Mutex<World>>,
    pub(crate) ready: Arc<Ready>,
}

impl Shared {
    pub(crate) fn new(seed: u64) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(seed))), ready: Arc::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that is not given twice in a simulation.
pub(crate) type Id = u64;

pub(crate) struct World {
    seed: u64,
    pub(crate) now: Instant,
    pub(crate) hosts: BTreeMap<Node, Machine>,
    pub(crate) sockets: BTreeMap<Id, Bound>,
    /// Which sockets have a port, in the order in which they were bound: a simulation may have very many.
    ports: BTreeMap<(Node, u16), Vec<Id>>,
    /// Who waits for which instant; those of one instant in the order in which the timers were made.
    timers: BTreeMap<(Instant, Id), Waker>,
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) look_up: Duration,
    /// What has left a host, or happened on one, in order.
    pub(crate) out: VecDeque<Out>,
    pub(crate) spawned: VecDeque<NewTask>,
    pub(crate) aborted: Vec<TaskId>,
    /// The simulation is gone: nothing will ever run again.
    pub(crate) closed: bool,
    /// For faults alone, so that they change nothing about what the network draws.
    pub(crate) rng: ChaCha8Rng,
    last_id: Id,
}

/// One machine with its addresses.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) faults: Faults,
    online: bool,
    ports: u16,
    generators: u64,
}

/// A bound socket.
pub(crate) struct Bound {
    pub(crate) host: Node,
    pub(crate) local: SocketAddr,
    reuse_port: bool,
    capacity: usize,
    queued: usize,
    pub(crate) queue: VecDeque<Arrived>,
    pub(crate) broken: bool,
    /// It takes nothing to send before then.
    pub(crate) full_until: Instant,
    pub(crate) reader: Option<Waker>,
}

/// What a socket has for its owner.
#[derive(Clone, Debug)]
pub(crate) enum Arrived {
    Datagram { from: UdpAddr, to: IpAddr, payload: Bytes },
    Unreachable { peer: UdpAddr },
}

/// What a host has for the simulation.
pub(crate) enum Out {
    Datagram { host: Node, from: UdpAddr, to: UdpAddr, payload: Bytes },
    Join { host: Node, group: IpAddr },
    Note(String),
}

/// What a host did with what arrived.
pub(crate) enum Taken {
    /// It is in a socket, whose reader is to be woken.
    By(Option<Waker>),
    /// The socket's buffer is full.
    Full,
    /// No socket has the port.
    Nobody,
    /// The host is not on the network.
    Offline,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Instant::ZERO,
            hosts: BTreeMap::new(),
            sockets: BTreeMap::new(),
            ports: BTreeMap::new(),
            timers: BTreeMap::new(),
            names: BTreeMap::new(),
            look_up: Duration::ZERO,
            out: VecDeque::new(),
            spawned: VecDeque::new(),
            aborted: Vec::new(),
            closed: false,
            rng: generator(seed, u64::MAX, 0),
            last_id: 0,
        }
    }

    pub(crate) fn add_host(&mut self, node: Node, name: &str, ips: Vec<IpAddr>) {
        let (name, faults) = (name.to_owned(), Faults::default());
        self.hosts.insert(node, Machine { name, ips, faults, online: true, ports: 0, generators: 0 });
    }

    pub(crate) const fn draw_id(&mut self) -> Id {
        self.last_id += 1;
        self.last_id
    }

    /// A generator that depends on the seed, the host, and how many it was given before.
    pub(crate) fn draw_generator(&mut self, node: Node) -> ChaCha8Rng {
        let count = self.hosts.get_mut(&node).map_or(0, |machine| {
            machine.generators += 1;
            machine.generators
        });
        generator(self.seed, node.number(), count)
    }

    // ----- Timers ------------------------------------------------------------------------------------------------------

    pub(crate) fn set_timer(&mut self, at: Instant, timer: Id, waker: Waker) -> Option<Waker> {
        self.timers.insert((at, timer), waker)
    }

    #[must_use]
    pub(crate) fn clear_timer(&mut self, at: Instant, timer: Id) -> Option<Waker> {
        self.timers.remove(&(at, timer))
    }

    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next timer, if it is due.
    pub(crate) fn pop_timer(&mut self) -> Option<Waker> {
        let first = self.timers.first_entry()?;
        (first.key().0 <= self.now).then(|| first.remove())
    }

    pub(crate) fn timers(&self) -> usize {
        self.timers.len()
    }

    // ----- Sockets -------------------------------------------------------------------------------------------------

    pub(crate) fn bind(
        &mut self,
        host: Node,
        addr: SocketAddr,
        reuse_port: bool,
        capacity: Option<usize>,
    ) -> io::Result<Id> {
        let Some(machine) = self.hosts.get(&host).filter(|_| !self.closed) else {
            return Err(io::Error::other("the simulation is over"));
        };
        let ip = addr.ip().to_canonical();
        if !ip.is_unspecified() && !machine.has(ip) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let port = match addr.port() {
            0 => self.free_port(host, ip)?,
            port if self.is_free(host, ip, port, reuse_port) => port,
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        };
        let id = self.draw_id();
        let bound = Bound {
            host,
            local: SocketAddr::new(ip, port),
            reuse_port,
            capacity: capacity.unwrap_or(RECV_BUFFER),
            queued: 0,
            queue: VecDeque::new(),
            broken: false,
            full_until: Instant::ZERO,
            reader: None,
        };
        self.sockets.insert(id, bound);
        self.ports.entry((host, port)).or_default().push(id);
        Ok(id)
    }

    /// Forgets a socket, which comes back to be dropped without the lock.
    #[must_use]
    pub(crate) fn close(&mut self, id: Id) -> Option<Bound> {
        let bound = self.sockets.remove(&id)?;
        let place = (bound.host, bound.local.port());
        if let Some(ids) = self.ports.get_mut(&place) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.ports.remove(&place);
            }
        }
        Some(bound)
    }

    fn at_port(&self, host: Node, port: u16) -> impl Iterator<Item = (Id, &Bound)> {
        let ids = self.ports.get(&(host, port)).into_iter().flatten();
        ids.filter_map(|id| self.sockets.get(id).map(|bound| (*id, bound)))
    }

    fn free_port(&mut self, host: Node, ip: IpAddr) -> io::Result<u16> {
        for _ in 0..EPHEMERALS {
            let Some(machine) = self.hosts.get_mut(&host) else { break };
            let port = EPHEMERAL + machine.ports % EPHEMERALS;
            machine.ports = (machine.ports + 1) % EPHEMERALS;
            if self.is_free(host, ip, port, false) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn is_free(&self, host: Node, ip: IpAddr, port: u16, reuse_port: bool) -> bool {
        let overlap = |other: IpAddr| ip == other || takes(ip, other) || takes(other, ip);
        !self
            .at_port(host, port)
            .any(|(_, bound)| overlap(bound.local.ip()) && !(reuse_port && bound.reuse_port && bound.local.ip() == ip))
    }

    /// The address that a datagram of this socket leaves from.
    ///
    /// # Errors
    ///
    /// The host has none of that family, or no network.
    pub(crate) fn source(&self, bound: &Bound, wish: Option<IpAddr>, to: UdpAddr) -> io::Result<UdpAddr> {
        let machine = self.hosts.get(&bound.host).filter(|machine| machine.online);
        let machine = machine.ok_or(io::ErrorKind::NetworkUnreachable)?;
        let bound_ip = Some(bound.local.ip()).filter(|ip| !ip.is_unspecified());
        let mut own = machine.ips.iter().copied().filter(|ip| ip.is_ipv4() == to.ip().is_ipv4());
        let ip = match wish.or(bound_ip) {
            Some(ip) if machine.has(ip) && ip.is_ipv4() == to.ip().is_ipv4() => Some(ip),
            Some(_) => return Err(io::ErrorKind::AddrNotAvailable.into()),
            None if to.ip().is_loopback() => Some(to.ip()),
            None => own.next(),
        };
        let ip = ip.ok_or(io::ErrorKind::NetworkUnreachable)?;
        Ok(UdpAddr::new(SocketAddr::new(ip, bound.local.port())))
    }

    /// A datagram has come to a host.
    pub(crate) fn deliver(&mut self, host: Node, from: UdpAddr, to: UdpAddr, payload: Bytes) -> Taken {
        if !self.is_online(host) {
            return Taken::Offline;
        }
        let id = self.socket_for(host, from, to);
        let Some(bound) = id.and_then(|id| self.sockets.get_mut(&id)) else { return Taken::Nobody };
        let size = payload.len() + OVERHEAD;
        if bound.queued + size > bound.capacity {
            return Taken::Full;
        }
        bound.queued += size;
        bound.queue.push_back(Arrived::Datagram { from, to: to.ip(), payload });
        Taken::By(bound.reader.take())
    }

    /// What was sent from `local` cannot be delivered to `peer`.
    pub(crate) fn report(&mut self, host: Node, local: UdpAddr, peer: UdpAddr) -> Option<Waker> {
        let id = self.socket_for(host, peer, local).filter(|_| self.is_online(host))?;
        let bound = self.sockets.get_mut(&id)?;
        bound.queue.push_back(Arrived::Unreachable { peer });
        bound.reader.take()
    }

    /// The one with this very address before one for any; of several on one port, always the same for one peer.
    fn socket_for(&self, host: Node, from: UdpAddr, to: UdpAddr) -> Option<Id> {
        let fitting = |ip_fits: &dyn Fn(IpAddr) -> bool| -> Vec<Id> {
            let all = self.at_port(host, to.port());
            all.filter(|(_, bound)| !bound.broken && ip_fits(bound.local.ip())).map(|(id, _)| id).collect()
        };
        let mut found = fitting(&|ip| ip == to.ip());
        if found.is_empty() {
            found = fitting(&|ip| takes(ip, to.ip()));
        }
        match found.len() {
            0 => None,
            several => {
                let hash = Fnv::of(from.to_string().as_bytes());
                found.get((hash % several as u64) as usize).copied()
            }
        }
    }

    /// Ends all sockets of a host: each is an error to its owner from now on.
    pub(crate) fn break_sockets(&mut self, host: Node) -> Vec<Waker> {
        let own = self.sockets.values_mut().filter(|bound| bound.host == host);
        own.filter_map(|bound| {
            bound.broken = true;
            bound.reader.take()
        })
        .collect()
    }

    pub(crate) fn set_online(&mut self, host: Node, online: bool) {
        if let Some(machine) = self.hosts.get_mut(&host) {
            machine.online = online;
        }
    }

    fn is_online(&self, host: Node) -> bool {
        self.hosts.get(&host).is_some_and(|machine| machine.online)
    }

    /// How the host is called in the trace.
    pub(crate) fn name(&self, host: Node) -> &str {
        self.hosts.get(&host).map_or("?", |machine| &machine.name)
    }
}

impl Machine {
    fn has(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.ips.contains(&ip)
    }
}

impl Bound {
    pub(crate) fn pop(&mut self) -> Option<Arrived> {
        let first = self.queue.pop_front();
        if let Some(Arrived::Datagram { payload, .. }) = &first {
            self.queued -= payload.len() + OVERHEAD;
        }
        first
    }
}

/// Whether a socket on `any`, if that is no address but all, takes what is for `ip`.
const fn takes(any: IpAddr, ip: IpAddr) -> bool {
    any.is_unspecified() && (any.is_ipv6() || ip.is_ipv4())
}

fn generator(seed: u64, node: u64, count: u64) -> ChaCha8Rng {
    let mut hash = Fnv::new();
    hash.add(b"host");
    for number in [seed, node, count] {
        hash.add(&number.to_be_bytes());
    }
    ChaCha8Rng::seed_from_u64(hash.0)
}
