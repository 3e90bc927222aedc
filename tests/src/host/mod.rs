//! Machines for whole clients and servers: what the driver asks of a runtime, in virtual time.

mod faults;
mod socket;
mod task;
mod timer;
mod world;

use core::fmt;
use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io;

use coap_core::{Instant, UdpAddr};
use coap_driver::{BindAddr, BodySource, BoxFuture, BoxReader, Builder, Client, Error, Runtime, Server, SocketOptions};
use futures_io::AsyncRead;
use rand_chacha::rand_core::CryptoRng;

pub use faults::Fault;
pub use socket::SimSocket;
pub use task::Task;
pub(crate) use task::{TaskWaker, Tasks, spawn_joined};
pub use timer::{SimTimer, Sleep};
pub(crate) use world::{Out, Shared, Taken};

use crate::sim::Node;
use socket::INTERFACE;

/// A machine of a [`Sim`](crate::Sim), made by [`Sim::host`](crate::Sim::host): a [`Runtime`] in virtual time. Clones
/// are handles to the same machine.
///
/// It has one interface, called `eth0`, with an address of each family. Its clock is that of the simulation, and its
/// tasks run on the thread that lets time pass: one at a time, first those that were woken first.
#[derive(Clone)]
pub struct Host {
    shared: Shared,
    node: Node,
    /// Its first addresses, which it keeps.
    ips: [IpAddr; 2],
}

impl Host {
    pub(crate) const fn new(shared: Shared, node: Node, ips: [IpAddr; 2]) -> Self {
        Self { shared, node, ips }
    }

    /// What links and all that happens to nodes are about.
    pub const fn node(&self) -> Node {
        self.node
    }

    /// Its first IPv6 address, in 2001:db8::/32.
    pub const fn ip(&self) -> IpAddr {
        self.ips[0]
    }

    /// Its IPv4 address, in 10.0.0.0/8.
    pub const fn ipv4(&self) -> IpAddr {
        self.ips[1]
    }

    // ----- Clients and servers -----------------------------------------------------------------------------------------

    /// A client on this host, on any port.
    ///
    /// # Errors
    /// [`Error::Bind`]: no port is free, or the simulation is over.
    pub async fn client(&self) -> Result<Client<Self>, Error> {
        self.builder().client().await
    }

    /// A server on this host.
    ///
    /// # Errors
    /// [`Error::Bind`]: the address is in use, or not of this host, or the simulation is over.
    pub async fn server(&self, addr: impl Into<BindAddr>) -> Result<Server<Self>, Error> {
        self.builder().bind(addr).server().await
    }

    /// A client or server with settings.
    pub fn builder(&self) -> Builder<Self> {
        Client::builder(self.clone())
    }

    // ----- Time and tasks ------------------------------------------------------------------------------------------

    /// The time.
    pub fn now(&self) -> Instant {
        self.shared.lock().now
    }

    /// Waits for a span of virtual time, from this call on.
    pub fn sleep(&self, span: Duration) -> Sleep {
        self.sleep_until(self.now() + span)
    }

    /// Waits until an instant of virtual time.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep::new(SimTimer::new(&self.shared), at)
    }

    /// Starts a task on this host, which runs when time passes. It ends with the host at the latest, when that is
    /// rebooted.
    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        spawn_joined(&self.shared, Some(self.node), future)
    }

    // ----- What goes wrong -----------------------------------------------------------------------------------------

    /// Lets this share of the calls of its sockets meet a [`Fault`], 0.0 to 1.0; each is drawn from all of its kind, of
    /// sending or of receiving.
    pub fn fault_rate(&self, share: f64) {
        if let Some(machine) = self.shared.lock().hosts.get_mut(&self.node) {
            machine.faults.share = share;
        }
    }

    /// Lets the next call of its kind meet this fault, after those that were asked for before.
    pub fn fault(&self, fault: Fault) {
        if let Some(machine) = self.shared.lock().hosts.get_mut(&self.node) {
            machine.faults.next.push_back(fault);
        }
    }

    /// Pulls the plug: sending gives ENETUNREACH, and what arrives is lost, until [`go_online`](Self::go_online).
    pub fn go_offline(&self) {
        self.shared.lock().set_online(self.node, false);
    }

    /// The network is there again.
    pub fn go_online(&self) {
        self.shared.lock().set_online(self.node, true);
    }

    /// Ends all its sockets: each use of one is an error from now on. New ones can be bound to other ports.
    pub fn break_sockets(&self) {
        let readers = self.shared.lock().break_sockets(self.node);
        readers.into_iter().for_each(core::task::Waker::wake);
    }
}

/// Whatever is read with the trait of the `futures` crates can be the content of a request.
impl<T: AsyncRead + Send + 'static> BodySource<T> for Host {
    fn reader(source: T) -> BoxReader {
        Box::pin(source)
    }
}

impl Runtime for Host {
    type Socket = SimSocket;
    type Timer = SimTimer;

    fn now(&self) -> Instant {
        self.shared.lock().now
    }

    fn timer(&self) -> SimTimer {
        SimTimer::new(&self.shared)
    }

    fn spawn(&self, future: BoxFuture<()>) {
        task::spawn(&self.shared, Some(self.node), future);
    }

    fn bind(&self, addr: SocketAddr, options: &SocketOptions) -> io::Result<SimSocket> {
        let mut world = self.shared.lock();
        let id = world.bind(self.node, addr, options.reuse_port, options.recv_buffer)?;
        let local = world.sockets.get(&id).map_or(addr, |bound| bound.local);
        drop(world);
        Ok(SimSocket::new(&self.shared, id, local))
    }

    /// Addresses as text are their own; all else is what [`Sim::name`](crate::Sim::name) has said.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<io::Result<Vec<UdpAddr>>> {
        let world = self.shared.lock();
        let found = match host.parse() {
            Ok(ip) => Some(vec![ip]),
            Err(_) => world.names.get(&host.to_ascii_lowercase()).cloned(),
        };
        let span = world.look_up;
        drop(world);
        let found = found.map(|ips| ips.into_iter().map(|ip| UdpAddr::new(SocketAddr::new(ip, port))).collect());
        let wait = (span > Duration::ZERO).then(|| self.sleep(span));
        Box::pin(async move {
            if let Some(wait) = wait {
                wait.await;
            }
            found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such name in this simulation"))
        })
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        (name == "eth0" || name.parse() == Ok(INTERFACE)).then_some(INTERFACE)
    }

    /// From the seed of the simulation, the host, and how many generators it was asked for.
    fn rng(&self) -> io::Result<Box<dyn CryptoRng + Send>> {
        Ok(Box::new(self.shared.lock().draw_generator(self.node)))
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("node", &self.node).field("ips", &self.ips).finish_non_exhaustive()
    }
}
