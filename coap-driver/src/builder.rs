//! Setting up a client or server.

use core::fmt;
use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::io;
use std::sync::Arc;

use coap_core::{Config, UdpAddr};
use rand_core::CryptoRng;

use crate::client::Client;
use crate::drive::Driver;
use crate::error::Error;
use crate::runtime::{Runtime, SocketOptions, UdpSocket};
use crate::server::Server;
use crate::sessions::{Credentials, listen, longest_datagram, watch};
use crate::shared::{Shared, Ways, can_send};
use crate::sockets::Sockets;
use crate::state::{Doors, State};
use crate::traffic::{Hook, Traffic};
use crate::transport::{Link, Transport};

/// The settings of a client or server: made by `Client::builder` or `Server::builder`, ended with
/// [`client`](Self::client) or [`server`](Self::server).
#[must_use]
pub struct Builder<R: Runtime> {
    runtime: R,
    config: Config,
    bind: Vec<BindAddr>,
    groups: Vec<Group>,
    socket_options: SocketOptions,
    transports: Vec<Box<dyn Transport>>,
    rng: Option<Box<dyn CryptoRng + Send>>,
    hook: Option<Hook>,
    pub(crate) credentials: Credentials,
}

/// A group to join, and the interface that it is joined on.
#[derive(Clone, Debug)]
struct Group {
    ip: IpAddr,
    interface: Option<String>,
}

impl Group {
    /// Joins it with every socket that hears it: one that is bound to all addresses, or to the group itself.
    fn join<R: Runtime>(self, runtime: &R, sockets: &[Link<R::Socket>]) -> Result<(), Error> {
        let Self { ip, interface } = self;
        let index = match &interface {
            None => 0,
            Some(name) => runtime.interface_index(name).ok_or_else(|| Error::NoInterface { zone: name.clone() })?,
        };
        let hearing = sockets.iter().filter_map(|link| match link {
            Link::Udp(socket, local) => Some((socket, *local)).filter(|(_, local)| hears(*local, ip)),
            // A group is never asked securely (RFC 7252 §9).
            Link::Secure(..) | Link::Custom(_) => None,
        });
        let mut joined = Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "no socket hears it: bind one to [::] or 0.0.0.0, or to the group",
        ));
        for (socket, _) in hearing {
            joined = if ip.is_multicast() { socket.join(ip, index) } else { Err(io::ErrorKind::InvalidInput.into()) };
            if joined.is_err() {
                break;
            }
        }
        joined.map_err(|source| Error::Join { group: ip, interface, source })
    }
}

/// Whether datagrams to a group come to a socket that is bound to `local`.
fn hears(local: SocketAddr, group: IpAddr) -> bool {
    let any = local.ip().is_unspecified() && can_send(local, SocketAddr::new(group, 0));
    any || local.ip().to_canonical() == group
}

/// An address to bind to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddr(Address);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Known(SocketAddr),
    Text(String),
}

impl From<SocketAddr> for BindAddr {
    fn from(addr: SocketAddr) -> Self {
        Self(Address::Known(addr))
    }
}

impl From<(IpAddr, u16)> for BindAddr {
    fn from((ip, port): (IpAddr, u16)) -> Self {
        SocketAddr::new(ip, port).into()
    }
}

/// `[::]:5683`, `192.0.2.1:0`, `[fe80::1%eth0]:5683`, or `name:port`, which is the first address of that name.
impl From<&str> for BindAddr {
    fn from(text: &str) -> Self {
        Self(text.parse().map_or_else(|_| Address::Text(text.to_owned()), Address::Known))
    }
}

impl From<String> for BindAddr {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

/// As it was given.
impl fmt::Display for BindAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Known(addr) => addr.fmt(f),
            Address::Text(text) => f.write_str(text),
        }
    }
}

impl BindAddr {
    async fn resolve<R: Runtime>(&self, runtime: &R) -> Result<SocketAddr, Error> {
        let text = match &self.0 {
            Address::Known(addr) => return Ok(*addr),
            Address::Text(text) => text,
        };
        let wrong = || self.error(io::Error::new(io::ErrorKind::InvalidInput, "it is not ADDRESS:PORT"));
        let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        if let Some(inner) = name.strip_prefix('[') {
            return zoned(runtime, inner.strip_suffix(']').ok_or_else(wrong)?, port)?.ok_or_else(wrong);
        }
        let found = runtime.resolve(name, port).await;
        let found = found.map_err(|source| Error::HostNotFound { host: name.to_owned(), source })?;
        found.first().map(UdpAddr::socket_addr).ok_or_else(wrong)
    }

    async fn bind<R: Runtime>(&self, runtime: &R, options: &SocketOptions) -> Result<(R::Socket, SocketAddr), Error> {
        let wanted = self.resolve(runtime).await?;
        let socket = runtime.bind(wanted, options).map_err(|source| self.error(source))?;
        let local = socket.local_addr()?;
        Ok((socket, local))
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Bind { addr: self.to_string(), source }
    }
}

/// `fe80::1%eth0`, or with `%25` as it is written in a URI (RFC 6874 §2).
fn zoned<R: Runtime>(runtime: &R, text: &str, port: u16) -> Result<Option<SocketAddr>, Error> {
    let Some((ip, zone)) = text.split_once('%') else { return Ok(None) };
    let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
    let Ok(ip) = ip.parse() else { return Ok(None) };
    let index = runtime.interface_index(zone).ok_or_else(|| Error::NoInterface { zone: zone.to_owned() })?;
    Ok(Some(SocketAddrV6::new(ip, port, 0, index).into()))
}

impl<R: Runtime> Builder<R> {
    pub(crate) fn new(runtime: R) -> Self {
        Self {
            runtime,
            config: Config::default(),
            bind: Vec::new(),
            groups: Vec::new(),
            socket_options: SocketOptions::default(),
            transports: Vec::new(),
            rng: None,
            hook: None,
            credentials: Credentials::default(),
        }
    }

    /// Limits and times of the endpoint.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Adds a socket. Without any, and without a [`transport`](Self::transport), there is one on `[::]:0`.
    pub fn bind(mut self, addr: impl Into<BindAddr>) -> Self {
        self.bind.push(addr.into());
        self
    }

    /// Hears what is sent to a group (RFC 7252 §8), on one interface, by its name or index; `None`: the system's choice. Can be
    /// called again, for other groups and other interfaces.
    ///
    /// CoAP servers that want to be found join 224.0.1.187, and ff02::fd and ff05::fd on each interface (RFC 7252 §12.8). All
    /// that is asked there is answered by the rules for groups: [`Router`](crate::router::Router) says which routes answer at all. The
    /// sockets that join are those bound to all addresses, or to the group.
    ///
    /// ```no_run
    /// # use coap_driver::{CurrentRuntime, Error, Server, router::Router};
    /// # async fn example<R: CurrentRuntime>() -> Result<(), Error> {
    /// let server = Server::builder(R::current()?).bind("[::]:5683");
    /// let server = server.join([224, 0, 1, 187], None).join([0xff02, 0, 0, 0, 0, 0, 0, 0xfd], Some("eth0"));
    /// server.server().await?.serve(Router::new()).await
    /// # }
    /// ```
    ///
    /// [`client`](Self::client) and [`server`](Self::server) end in [`Error::Join`] or [`Error::NoInterface`] if it cannot be.
    pub fn join(mut self, group: impl Into<IpAddr>, interface: Option<&str>) -> Self {
        let ip = group.into().to_canonical();
        self.groups.push(Group { ip, interface: interface.map(str::to_owned) });
        self
    }

    /// Adds what carries datagrams and is no UDP socket of the runtime. In a `Local` they are numbered after the sockets.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transports.push(Box::new(transport));
        self
    }

    /// How the sockets are set up.
    pub fn socket_options(mut self, options: SocketOptions) -> Self {
        self.socket_options = options;
        self
    }

    /// Draws tokens and all else from `rng` instead of [`Runtime::rng`]. For simulations: what it draws must
    /// not be known to others.
    pub fn rng(mut self, rng: impl CryptoRng + Send + 'static) -> Self {
        self.rng = Some(Box::new(rng));
        self
    }

    /// Calls `look` for each datagram in and out, and for each message inside of a secure session. It runs between receiving and sending: it must be
    /// quick, and a panic in it ends the client or server. What travels in a secure session is seen as it travels: as records.
    pub fn on_message(mut self, look: impl Fn(&Traffic) + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(look));
        self
    }

    /// Binds, and starts a client.
    ///
    /// # Errors
    /// [`Error::Bind`]: an address is in use, or none of this machine.
    pub async fn client(self) -> Result<Client<R>, Error> {
        let (shared, driver) = self.build(Doors::Absent).await?;
        let client = Client::new(shared.clone());
        shared.runtime().spawn(Box::pin(driver));
        Ok(client)
    }

    /// Binds, for a server.
    ///
    /// # Errors
    /// [`Error::Bind`]: an address is in use, or none of this machine.
    pub async fn server(self) -> Result<Server<R>, Error> {
        let (shared, driver) = self.build(Doors::Shut).await?;
        Ok(Server::new(shared, driver))
    }

    async fn build(self, doors: Doors) -> Result<(Arc<Shared<R>>, Driver<R>), Error> {
        let Self { runtime, config, mut bind, groups, socket_options, transports, rng, hook, credentials } = self;
        let listeners = credentials.listeners();
        if bind.is_empty() && transports.is_empty() && listeners.is_empty() {
            bind.push(SocketAddr::from(([0u16; 8], 0)).into());
        }
        let mut sockets = Vec::with_capacity(bind.len() + listeners.len() + transports.len());
        for addr in &bind {
            let (socket, local) = addr.bind(&runtime, &socket_options).await?;
            sockets.push(Link::Udp(socket, local));
        }
        // Behind the plain ones: what says nothing of its socket leaves from the first.
        for (addr, _) in listeners {
            let (socket, local) = addr.bind(&runtime, &socket_options).await?;
            sockets.push(Link::Secure(socket, local));
        }
        for group in groups {
            group.join(&runtime, &sockets)?;
        }
        sockets.extend(transports.into_iter().map(Link::Custom));
        let rng = rng.map_or_else(|| runtime.rng(), Ok)?;
        let mut machine = credentials.machine(config, rng);
        for (socket, (addr, listener)) in (bind.len()..).zip(listeners) {
            listen(&mut machine, socket, listener).map_err(|source| addr.error(source))?;
        }
        if hook.is_some() {
            watch(&mut machine);
        }
        let max_datagram = longest_datagram(&machine);
        let state = State::new(machine, doors);
        let shared = Arc::new(Shared::new(runtime, state, Ways::of(&sockets), credentials, hook));
        let driver = Driver::new(shared.clone(), Sockets::new(sockets, max_datagram));
        Ok((shared, driver))
    }
}

impl<R: Runtime> fmt::Debug for Builder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).field("bind", &self.bind).finish_non_exhaustive()
    }
}
