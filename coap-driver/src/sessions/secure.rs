//! With a session layer.

use core::task::Waker;
use std::collections::BTreeMap;
use std::io;

use coap_core::{Config, Endpoint, Host, Instant, Peer, RequestError, SessionEnd, SessionId, Timing, UdpAddr};
use coap_dtls::{
    CipherSuite, ClientSecurity, ConnectError, Limits, PeerIdentity, SecureEndpoint, ServerName, ServerSecurity,
    SessionMessage, SessionStats,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_core::CryptoRng;

use crate::builder::{BindAddr, Builder};
use crate::client::Client;
use crate::error::Error;
use crate::runtime::Runtime;
use crate::server::Server;
use crate::state::State;
use crate::traffic::{Direction, Traffic};
use crate::waiting::ClientId;

pub(crate) type Machine = SecureEndpoint;

/// What a listener shows, and wants to see.
pub(crate) type Listener = ServerSecurity;

/// Who the other end of a session has shown to be.
pub(crate) type Identity = PeerIdentity;

/// Sessions of clients that may have ended are looked for when there are so many.
const SWEEP: usize = 64;

/// What clients and listeners show.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    client: Option<ClientSecurity>,
    listeners: Vec<(BindAddr, ServerSecurity)>,
    limits: Limits,
}

/// How the session for a target is made.
#[derive(Clone, Debug)]
pub(crate) struct Secure {
    security: ClientSecurity,
    /// `None`: no certificate can be for this host, so only a pre-shared key can prove that it is the right one.
    name: Option<ServerName>,
}

/// The sessions that clients have had made.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    dialled: BTreeMap<SessionId, Dialled>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Dialled {
    addr: UdpAddr,
    name: Option<ServerName>,
    clients: Vec<ClientId>,
}

/// A secure session, as it is at this moment; from `Client::session` and `Server::session`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The address of the other end.
    pub addr: UdpAddr,
    /// Who the other end has shown to be; none before the handshake is done.
    pub identity: Option<PeerIdentity>,
    /// Who a server had to be: the host of the URI. None for a session that a client has begun.
    pub name: Option<ServerName>,
    /// The cipher suite that both ends have agreed on; none before the handshake is done.
    pub suite: Option<CipherSuite>,
}

impl Credentials {
    pub(crate) fn listeners(&self) -> &[(BindAddr, Listener)] {
        &self.listeners
    }

    pub(crate) fn machine(&self, config: Config, mut rng: Box<dyn CryptoRng + Send>) -> Machine {
        // Without credentials there is no session, and nothing is drawn.
        let mut seed = [0; 32];
        if self.client.is_some() || !self.listeners.is_empty() {
            rng.fill_bytes(&mut seed);
        }
        SecureEndpoint::new(Endpoint::new(config, rng), self.limits.clone(), StdRng::from_seed(seed))
    }

    pub(crate) fn secure(&self, host: &Host) -> Result<Secure, Error> {
        let security = self.client.clone().ok_or(Error::Security)?;
        Ok(Secure { security, name: ServerName::try_from(host).ok() })
    }
}

/// The longest datagram that can be sent, in bytes: it grows with the sessions that are made.
pub(crate) fn longest_datagram(machine: &Machine) -> usize {
    machine.max_transmit()
}

/// From now on messages inside of sessions are shown by [`next_message`].
pub(crate) fn watch(machine: &mut Machine) {
    machine.watch();
}

/// The next message inside of a session.
pub(crate) fn next_message(machine: &mut Machine) -> Option<Traffic> {
    let SessionMessage { session, addr, local, is_ours, payload, .. } = machine.poll_message()?;
    let direction = if is_ours { Direction::Sent } else { Direction::Received };
    Some(Traffic { session: Some(session), ..Traffic::new(direction, Peer::Udp(addr), local, payload) })
}

/// What tells two identities apart: of the owners of certificates the first, which has the name and the key.
pub(crate) fn identity_key(identity: &Identity) -> Vec<u8> {
    let (kind, bytes) = match identity {
        PeerIdentity::Psk(identity) => (1, identity.as_slice()),
        PeerIdentity::Certificate(chain) => (2, chain.first().map_or(&[][..], |own| own.as_ref())),
        _ => (0, &[][..]),
    };
    [&[kind], bytes].concat()
}

/// From here on a socket takes secure sessions, and nothing else.
pub(crate) fn listen(machine: &mut Machine, socket: usize, listener: &Listener) -> io::Result<()> {
    let invalid = |error: Box<dyn core::error::Error + Send + Sync>| io::Error::new(io::ErrorKind::InvalidInput, error);
    let socket = u16::try_from(socket).map_err(|error| invalid(error.into()))?;
    machine.listen(socket, listener).map_err(|error| invalid(error.into()))
}

impl Sessions {
    /// Notes who uses a session.
    fn add(&mut self, session: SessionId, client: ClientId, addr: UdpAddr, name: Option<&ServerName>) {
        let new = || Dialled { addr, name: name.cloned(), clients: Vec::new() };
        let known = self.dialled.entry(session).or_insert_with(new);
        if !known.clients.contains(&client) {
            known.clients.push(client);
        }
    }
}

impl State {
    /// The session with a server, for a client. It may still be in its handshake: what is asked in it waits.
    pub(crate) fn connect(
        &mut self,
        now: Instant,
        client: ClientId,
        to: UdpAddr,
        via: u16,
        secure: &Secure,
    ) -> Result<Peer, Error> {
        let Secure { security, name } = secure;
        let mut connected = self.endpoint.connect(now, to, via, security, name.as_ref());
        if let Err(ConnectError::Occupied { session }) = connected
            && self.sessions.dialled.contains_key(&session)
            && !self.is_used(session)
        {
            // One address under two names, one after the other.
            self.endpoint.disconnect(now, session);
            connected = self.endpoint.connect(now, to, via, security, name.as_ref());
        }
        let session = connected.map_err(|error| refused(to, error))?;
        self.sweep_sessions();
        self.sessions.add(session, client, to, name.as_ref());
        Ok(Peer::Session(session))
    }

    /// Forgets sessions that are over, each time that there are twice as many as were left.
    fn sweep_sessions(&mut self) {
        let Self { endpoint, sessions, .. } = self;
        if sessions.dialled.len() >= sessions.sweep_at.max(SWEEP) {
            sessions.dialled.retain(|session, _| endpoint.session(*session).is_some());
            sessions.sweep_at = 2 * sessions.dialled.len();
        }
    }

    /// Whether something is open in a session.
    fn is_used(&self, session: SessionId) -> bool {
        let peer = Peer::Session(session);
        self.waiting.has_open(peer) || self.observing.has_open(peer)
    }

    /// The session with a server that a client has had made, if there is one.
    pub(crate) fn session_with(&self, addr: UdpAddr, secure: &Secure) -> Option<Peer> {
        let is_there = |session: SessionId| self.endpoint.session(session).is_some();
        let same = |dialled: &Dialled| dialled.addr == addr && dialled.name == secure.name;
        let mut found = self.sessions.dialled.iter().filter(|(session, dialled)| same(dialled) && is_there(**session));
        found.next_back().map(|(session, _)| Peer::Session(*session))
    }

    /// A session whose handshake is not done.
    pub(crate) fn is_pending(&self, peer: Peer) -> bool {
        let Peer::Session(session) = peer else { return false };
        self.endpoint.session(session).is_some_and(|session| session.identity.is_none())
    }

    /// Whether anything has come from a peer whose session does not stand yet; `None`: it stands, or is none.
    pub(crate) fn is_answering(&self, peer: Peer) -> Option<bool> {
        let Peer::Session(session) = peer else { return None };
        self.endpoint.session(session).filter(|session| session.identity.is_none()).map(|session| session.is_heard)
    }

    /// What the caller is told of a peer when something fails: of a session the address, as the session may be over by then.
    pub(crate) fn told_as(&self, peer: Peer) -> Peer {
        let Peer::Session(session) = peer else { return peer };
        self.endpoint.session(session).map_or(peer, |session| Peer::Udp(session.addr))
    }

    /// Who the other end of a session has shown to be.
    pub(crate) fn identity_of(&self, peer: Peer) -> Option<Identity> {
        let Peer::Session(session) = peer else { return None };
        self.endpoint.session(session)?.identity.cloned()
    }

    /// Closes the sessions that a client has had made, but for those that another client uses too.
    pub(crate) fn hang_up(&mut self, now: Instant, client: ClientId) {
        let Self { endpoint, sessions, .. } = self;
        sessions.dialled.retain(|session, dialled| {
            dialled.clients.retain(|other| *other != client);
            if dialled.clients.is_empty() {
                endpoint.disconnect(now, *session);
            }
            !dialled.clients.is_empty()
        });
    }

    /// Closes all sessions.
    pub(crate) fn hang_up_all(&mut self, now: Instant) {
        self.endpoint.disconnect_all(now);
    }

    /// Wakes the driver task when a handshake that runs elsewhere has something. True: one has already.
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        self.endpoint.register(waker)
    }

    fn session_info(&self, peer: Peer) -> Option<SessionInfo> {
        let Peer::Session(session) = peer else { return None };
        let session = self.endpoint.session(session)?;
        let (identity, name, suite) = (session.identity.cloned(), session.name.cloned(), session.suite);
        Some(SessionInfo { addr: session.addr, identity, name, suite })
    }
}

fn refused(to: UdpAddr, error: ConnectError) -> Error {
    let peer = Peer::Udp(to);
    match error {
        ConnectError::Address if to.port() == 0 => Error::Request(RequestError::PortZero),
        ConnectError::Address => Error::SecureGroup { peer },
        ConnectError::TooLong { max_datagram: len, room: max } => Error::Request(RequestError::TooLarge { len, max }),
        ConnectError::Full => Error::Session { peer, why: SessionEnd::Full, timing: Timing::default() },
        ConnectError::Endpoint(error) => Error::Request(error),
        _ => Error::SessionInUse { peer },
    }
}

impl<R: Runtime> Builder<R> {
    /// Secures what clients ask with `coaps` URIs (RFC 7252 §9): with a pre-shared key or certificates. Without it they are
    /// refused ([`Error::Security`]); they are never sent in the clear.
    ///
    /// The session with a server is made with the first request to it, and kept for others: those to the same address and
    /// host. Requests wait for it within their timeout. Certificates are checked against the host of the URI.
    ///
    /// ```no_run
    /// # use coap_driver::{Client, CurrentRuntime, Error, dtls::{ClientPsk, SecurityConfig}};
    /// # async fn example<R: CurrentRuntime>() -> Result<(), Box<dyn core::error::Error>> {
    /// let security = SecurityConfig::client(ClientPsk::new("clientID", "secretPSK")?).build()?;
    /// let client = Client::builder(R::current()?).security(security).client().await?;
    /// let reply = client.get("coaps://sensor.example/temp").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn security(mut self, security: ClientSecurity) -> Self {
        self.credentials.client = Some(security);
        self
    }

    /// Adds a socket for secure sessions; `[::]:5684` is where clients look for one. What comes there in the clear is dropped.
    /// Can be called again: each socket has credentials of its own, and all of them, beside those of [`bind`](Self::bind), one
    /// router. The same identity at two of them can be two clients: `Local` says at which one it was shown. In a `Local`, and in
    /// `local_addrs`, they are numbered after the plain ones.
    ///
    /// ```no_run
    /// # use coap_driver::{CurrentRuntime, Server, dtls::{PskTable, SecurityConfig}, router::{Router, get}};
    /// # async fn example<R: CurrentRuntime>() -> Result<(), Box<dyn core::error::Error>> {
    /// let keys = PskTable::new().with("clientID", "secretPSK")?;
    /// let security = SecurityConfig::server().psk(keys).build()?;
    /// let server = Server::builder(R::current()?).bind("[::]:5683").secure("[::]:5684", security);
    /// server.server().await?.serve(Router::new().route("/hello", get(async || "hello"))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn secure(mut self, addr: impl Into<BindAddr>, security: ServerSecurity) -> Self {
        self.credentials.listeners.push((addr.into(), security));
        self
    }

    /// How many sessions there may be, and for how long.
    pub fn session_limits(mut self, limits: Limits) -> Self {
        self.credentials.limits = limits;
        self
    }
}

impl<R: Runtime> Client<R> {
    /// The secure session that a peer is, such as the one that a [`Reply`](crate::Reply) is from: its address, and who it has
    /// shown to be. `None`: it is none, or is over.
    pub fn session(&self, peer: Peer) -> Option<SessionInfo> {
        self.shared().lock().session_info(peer)
    }

    /// What has been counted of secure sessions, and how many there are, those of a server on the same sockets included.
    pub fn session_stats(&self) -> SessionStats {
        self.shared().lock().endpoint.session_stats()
    }
}

impl<R: Runtime> Server<R> {
    /// The secure session that a peer is: its address, and who it has shown to be. `None`: it is none, or is over.
    pub fn session(&self, peer: Peer) -> Option<SessionInfo> {
        self.shared().lock().session_info(peer)
    }

    /// What has been counted of secure sessions, and how many there are.
    pub fn session_stats(&self) -> SessionStats {
        self.shared().lock().endpoint.session_stats()
    }
}
