//! An endpoint and its secure sessions, in one state machine.

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::task::Waker;

use bytes::Bytes;
use coap_core::{Datagram, Endpoint, Event, Instant, Local, Peer, SessionEnd, SessionId, Transmit, UdpAddr};
use rand_core::CryptoRng;

use crate::config::{ClientSecurity, ServerSecurity};
use crate::dial::{ConnectError, Wanted};
use crate::engine::SendError;
use crate::identity::PeerIdentity;
use crate::layer::{Layer, LayerEvent, Whose};
use crate::limits::Limits;
use crate::stats::SessionStats;
use crate::suite::CipherSuite;
use crate::table::{self, Path, Phase};
use crate::verify::ServerName;
use crate::watch::{SessionMessage, Watch};

/// An endpoint and its secure sessions: a state machine without I/O, clock or threads, as [`Endpoint`] is one, with the same
/// `handle_*` and `poll_*`.
///
/// The commands of the endpoint are there through `Deref`: a request to a session goes to `Peer::Session`. What is in the clear
/// goes through as it is, on sockets that do not [`listen`](Self::listen); no request of one way is answered on the other.
///
/// ```
/// # #[cfg(feature = "dimpl")] {
/// use coap_core::{Config, Endpoint, Instant, Peer, Request, RequestOptions, UdpAddr};
/// use coap_dtls::{ClientPsk, Limits, SecureEndpoint, SecurityConfig};
/// # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
/// # let (now, rng, other_rng) = (Instant::ZERO, ChaCha20Rng::seed_from_u64(1), ChaCha20Rng::seed_from_u64(2));
/// let security = SecurityConfig::client(ClientPsk::new("clientID", "secretPSK")?).build()?;
/// let mut endpoint = SecureEndpoint::new(Endpoint::new(Config::default(), rng), Limits::default(), other_rng);
///
/// let server = UdpAddr::new("192.0.2.1:5684".parse()?);
/// let session = endpoint.connect(now, server, 0, &security, None)?;
/// // It waits until the session stands.
/// let request = endpoint.request(now, Peer::Session(session), Request::get(), &RequestOptions::new())?;
/// let mut buf = vec![0; endpoint.max_transmit()];
/// while let Some(transmit) = endpoint.poll_transmit(&mut buf) {
///     // socket.send_to(&buf[..transmit.len], transmit.to)
/// #   assert_eq!(transmit.to, Peer::Udp(server));
/// }
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct SecureEndpoint {
    endpoint: Endpoint,
    layer: Layer,
    now: Instant,
    watch: Watch,
}

/// A session, as it is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session<'a> {
    /// Its number.
    pub id: SessionId,
    /// Where its peer is. It proves nothing.
    pub addr: UdpAddr,
    /// Which socket of ours, and which address, as far as they are known.
    pub local: Local,
    /// Who the peer has shown to be; `None`: the handshake is not done yet.
    pub identity: Option<&'a PeerIdentity>,
    /// The cipher suite that both ends have agreed on; `None`: the handshake is not done yet.
    pub suite: Option<CipherSuite>,
    /// The name that the peer had to prove, where we have opened the session and said one.
    pub name: Option<&'a ServerName>,
    /// We have opened it.
    pub is_ours: bool,
    /// Something has come from its address.
    pub is_heard: bool,
}

/// Why a socket cannot listen for secure sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenError {
    /// A datagram of the endpoint can be longer than what a record of this configuration has room for: `max_record` of the
    /// configuration is too small, or `coap_core::Config::max_datagram` too large.
    TooLong {
        /// `coap_core::Config::max_datagram`.
        max_datagram: usize,
        /// What there is room for: `max_record` without the overhead of a record.
        room: usize,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLong { max_datagram, room } => ConnectError::TooLong { max_datagram, room }.fmt(f),
        }
    }
}

impl core::error::Error for ListenError {}

impl SecureEndpoint {
    /// `endpoint` with secure sessions, of which there are none yet. `rng` must be fit for secrets: the keys of cookies are drawn
    /// from it. Those of sessions are drawn from the system, by the backend.
    pub fn new(endpoint: Endpoint, limits: Limits, rng: impl CryptoRng + Send + 'static) -> Self {
        Self { endpoint, layer: Layer::new(limits, rng), now: Instant::ZERO, watch: Watch::default() }
    }

    // ----- From the network and the clock ------------------------------------------------------------------------------

    /// A datagram arrived. On a socket that listens, it is of a session, or wants one, or is dropped and counted: what is in
    /// the clear is not answered there (RFC 7252 §9.1). On any other, it is of a session of ours with its sender, or else for
    /// the endpoint, which takes it as one from `Peer::Udp`: no exchange of a session is ever matched by it.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        let now = self.advance(now);
        if let Peer::Udp(from) = datagram.from
            && self.layer.handle_datagram(now, from, datagram.to, &datagram.payload) == Whose::Ours
        {
            return self.settle(now);
        }
        self.endpoint.handle_datagram(now, datagram);
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come, or a waker that was registered was woken. A call at
    /// any other time does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        self.layer.handle_timeout(now);
        self.settle(now);
        self.endpoint.handle_timeout(now);
        while let Some(session) = self.endpoint.poll_silent() {
            self.layer.on_silence(session);
        }
    }

    /// The network reports that nobody listens at an address. Anybody can report that: it ends a handshake that we have begun
    /// and that nothing has answered, with `SessionEnd::Unreachable`, but no session that stands (RFC 7252 §4.2 does not ask for
    /// more). The endpoint is told what it is told without sessions.
    pub fn handle_unreachable(&mut self, now: Instant, peer: Peer) {
        let now = self.advance(now);
        if let Peer::Udp(addr) = peer {
            self.layer.handle_unreachable(addr);
            self.settle(now);
        }
        self.endpoint.handle_unreachable(now, peer);
    }

    // ----- Commands ------------------------------------------------------------------------------------------------------

    /// From now on `socket` takes secure sessions, and nothing else. A second call replaces the configuration: sessions that
    /// stand go on.
    ///
    /// # Errors
    /// A datagram of the endpoint does not fit into a record. Nothing has changed then.
    pub fn listen(&mut self, socket: u16, security: &ServerSecurity) -> Result<(), ListenError> {
        let (max_datagram, room) = (self.endpoint.config().max_datagram(), security.0.room());
        if max_datagram > room {
            return Err(ListenError::TooLong { max_datagram, room });
        }
        self.layer.listen(socket, security.clone());
        Ok(())
    }

    /// The session with the server at `to`, over the socket `via`, that has proven to be `name`: one that stands or is being
    /// made, if it is for the same address, name and configuration (clones are the same), otherwise a new one. Requests to it
    /// are taken at once, as `Peer::Session`, and wait until it stands; if it never does, they fail with `Failure::Session`.
    ///
    /// If Confirmable messages in the session that stands have not been acknowledged (`LimitsBuilder::silent_after`), a new one is
    /// made beside it, and takes its place when it is done; what was under way in the old one fails with `SessionEnd::Silent`
    /// then.
    ///
    /// # Errors
    /// No session can be made, as [`ConnectError`] says. Nothing has changed then.
    pub fn connect(
        &mut self,
        now: Instant,
        to: UdpAddr,
        via: u16,
        security: &ClientSecurity,
        name: Option<&ServerName>,
    ) -> Result<SessionId, ConnectError> {
        let now = self.advance(now);
        let (max_datagram, room) = (self.endpoint.config().max_datagram(), security.0.room());
        if max_datagram > room {
            return Err(ConnectError::TooLong { max_datagram, room });
        }
        let path = Path { socket: via, addr: to };
        let patience = self.endpoint.config().transmission().longest_initial_timeout();
        let session = match self.layer.want(now, patience, path, security, name)? {
            Wanted::Known(session) => return Ok(session),
            Wanted::New(session) => session,
        };
        self.endpoint.hold(now, Peer::Session(session)).map_err(ConnectError::Endpoint)?;
        self.layer.dial(now, session, path, security, name);
        self.settle(now);
        Ok(session)
    }

    /// Closes a session: the peer is told (close_notify), and what is under way in it ends with `SessionEnd::Local`. False: there
    /// is none such.
    pub fn disconnect(&mut self, now: Instant, session: SessionId) -> bool {
        let now = self.advance(now);
        let is_there = self.session(session).is_some();
        self.layer.disconnect(now, session);
        self.settle(now);
        is_there
    }

    /// Closes all sessions. Their peers are told as far as there is room for that (`LimitsBuilder::max_outbox`).
    pub fn disconnect_all(&mut self, now: Instant) {
        let now = self.advance(now);
        self.layer.disconnect_all(now);
        self.settle(now);
    }

    /// Wakes `waker` once an engine that works in the background has something: [`handle_timeout`](Self::handle_timeout) is called
    /// then. True: one has already. Engines of the backend `dimpl` never work in the background.
    pub fn register(&self, waker: &Waker) -> bool {
        self.layer.register(waker)
    }

    /// From now on the messages inside of sessions are shown by [`poll_message`](Self::poll_message).
    pub fn watch(&mut self) {
        self.watch.begin();
    }

    // ----- To the network, the clock and the application -----------------------------------------------------------------

    /// The next datagram to send, if there is one: its bytes are at the start of `buf`, which must be at least
    /// [`max_transmit`](Self::max_transmit) long. A shorter buffer is given nothing. It always goes to a `Peer::Udp`.
    #[must_use]
    pub fn poll_transmit(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        if buf.len() < self.max_transmit() {
            return None;
        }
        loop {
            if let Some(transmit) = self.layer.poll_transmit(buf) {
                return Some(transmit);
            }
            let transmit = self.endpoint.poll_transmit(buf)?;
            match transmit.to {
                Peer::Session(session) if table::is_secure(session) => {
                    let message = buf.get(..transmit.len).unwrap_or_default();
                    self.send(session, message);
                }
                _ => return Some(transmit),
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do; `None`: not before another call changes something. A time
    /// in the past means at once.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (one, other) = (self.layer.poll_timeout(), self.endpoint.poll_timeout());
        one.into_iter().chain(other).min()
    }

    /// What happened. A session that comes to stand, or ends, shows in what happens to the requests in it; see also
    /// [`session`](Self::session) and [`session_stats`](Self::session_stats).
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.endpoint.poll_event()
    }

    /// The next message inside of a session that has come, or has been sealed to be sent, since [`watch`](Self::watch): for programs
    /// that print or count them. Of those that nobody polls, the newest 1,024 are kept.
    #[must_use]
    pub fn poll_message(&mut self) -> Option<SessionMessage> {
        self.watch.next()
    }

    // ----- Getters -------------------------------------------------------------------------------------------------------

    /// How long the buffer of [`poll_transmit`](Self::poll_transmit) must be, in bytes. It grows with the configurations that are
    /// used.
    pub fn max_transmit(&self) -> usize {
        self.layer.max_record().max(self.endpoint.config().max_datagram())
    }

    /// A session that stands, or is being made. `None`: it is over.
    pub fn session(&self, session: SessionId) -> Option<Session<'_>> {
        let session = self.layer.session(session)?;
        let identity = if let Phase::Open(identity) = &session.phase { Some(identity) } else { None };
        let dialled = session.dialled.as_deref();
        let name = dialled.and_then(|dialled| dialled.name.as_ref());
        let (addr, local, is_ours) = (session.path.addr, session.local, dialled.is_some());
        let is_heard = dialled.is_none_or(|dialled| dialled.heard.is_some());
        let suite = identity.and_then(|_| session.engine.suite());
        Some(Session { id: session.id, addr, local, identity, suite, name, is_ours, is_heard })
    }

    /// What has been counted of sessions, and how many there are.
    pub fn session_stats(&self) -> SessionStats {
        self.layer.stats()
    }

    /// The limits of sessions.
    pub fn limits(&self) -> &Limits {
        self.layer.limits()
    }

    /// Nothing is open, and nothing waits to be sent, as `Endpoint::is_idle` says; sessions may stand.
    pub fn is_idle(&self) -> bool {
        self.layer.is_quiet() && self.endpoint.is_idle()
    }

    // ----- What is behind it -----------------------------------------------------------------------------------------------

    /// Time does not go back.
    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// A datagram of the endpoint becomes a record of its session.
    fn send(&mut self, session: SessionId, message: &[u8]) {
        let now = self.now;
        let sent = self.layer.send(now, session, message);
        if sent.is_ok() {
            self.watch.note(|| {
                let session = self.layer.session(session)?;
                let (addr, local) = (session.path.addr, session.local);
                let payload = Bytes::copy_from_slice(message);
                Some(SessionMessage { session: session.id, addr, local, is_ours: true, payload })
            });
        }
        if sent == Err(SendError::NotEstablished) && self.layer.session(session).is_none() {
            // Somebody has asked for a session that has been over, or never was.
            self.endpoint.close_session(now, session, SessionEnd::Gone);
        }
        self.settle(now);
    }

    /// Tells the endpoint what has happened to sessions.
    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.layer.poll_event() {
            match event {
                LayerEvent::Established(session) => self.endpoint.release(now, Peer::Session(session)),
                LayerEvent::Message { session, local, payload } => {
                    self.watch.note(|| {
                        let addr = self.layer.session(session)?.path.addr;
                        let payload = payload.clone();
                        Some(SessionMessage { session, addr, local, is_ours: false, payload })
                    });
                    self.endpoint.handle_datagram(now, Datagram { from: Peer::Session(session), to: local, payload });
                }
                LayerEvent::Closed(session, why) => self.endpoint.close_session(now, session, why),
            }
        }
    }
}

impl Deref for SecureEndpoint {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl DerefMut for SecureEndpoint {
    fn deref_mut(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }
}

impl fmt::Debug for SecureEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecureEndpoint")
            .field("endpoint", &self.endpoint)
            .field("sessions", &self.session_stats())
            .finish_non_exhaustive()
    }
}
