//! What runs on a node: an endpoint, or one with secure sessions.

use core::ops::{Deref, DerefMut};

use bytes::Bytes;
use coap_core::{Config, Datagram, Endpoint, Event, Instant, Local, Peer, Transmit, UdpAddr};
use coap_dtls::{Limits, SecureEndpoint, ServerSecurity};

use super::{Cause, Node, NodeState, PORT, Sim, secrets};

/// The port of nodes with secure sessions (RFC 7252 §12.7).
const SECURE_PORT: u16 = 5_684;

pub(super) enum Machine {
    Plain(Box<Endpoint>),
    Secure(Box<Secure>),
}

pub(super) struct Secure {
    endpoint: SecureEndpoint,
    limits: Limits,
    listens: Option<ServerSecurity>,
}

/// What a node is made with.
pub(super) enum Kind {
    Plain,
    Secure(Limits),
}

impl Kind {
    pub(super) const fn port(&self) -> u16 {
        match self {
            Self::Plain => PORT,
            Self::Secure(_) => SECURE_PORT,
        }
    }
}

impl Machine {
    pub(super) fn new(kind: Kind, config: &Config, seed: u64, node: Node, incarnation: u64) -> Self {
        let endpoint = Endpoint::new(config.clone(), secrets(seed, node, incarnation));
        match kind {
            Kind::Plain => Self::Plain(Box::new(endpoint)),
            Kind::Secure(limits) => {
                // Secrets of its own, as those of a life that the node never has.
                let secrets = secrets(seed, node, u64::MAX - incarnation);
                let endpoint = SecureEndpoint::new(endpoint, limits.clone(), secrets);
                Self::Secure(Box::new(Secure { endpoint, limits, listens: None }))
            }
        }
    }

    /// The same with nothing remembered.
    pub(super) fn anew(&self, config: &Config, seed: u64, node: Node, incarnation: u64) -> Self {
        let Self::Secure(secure) = self else { return Self::new(Kind::Plain, config, seed, node, incarnation) };
        let mut machine = Self::new(Kind::Secure(secure.limits.clone()), config, seed, node, incarnation);
        if let Some(security) = &secure.listens {
            machine.listen(security);
        }
        machine
    }

    fn listen(&mut self, security: &ServerSecurity) {
        let secure = self.secure_mut();
        secure.endpoint.listen(0, security).expect("the datagrams of a node fit into the records of its sessions");
        secure.listens = Some(security.clone());
    }

    fn secure_mut(&mut self) -> &mut Secure {
        match self {
            Self::Plain(_) => panic!("a node without secure sessions"),
            Self::Secure(secure) => secure,
        }
    }

    pub(super) const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    pub(super) fn max_transmit(&self) -> usize {
        match self {
            Self::Plain(endpoint) => endpoint.config().max_datagram(),
            Self::Secure(secure) => secure.endpoint.max_transmit(),
        }
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        match self {
            Self::Plain(endpoint) => endpoint.handle_datagram(now, datagram),
            Self::Secure(secure) => secure.endpoint.handle_datagram(now, datagram),
        }
    }

    pub(super) fn handle_unreachable(&mut self, now: Instant, peer: Peer) {
        match self {
            Self::Plain(endpoint) => endpoint.handle_unreachable(now, peer),
            Self::Secure(secure) => secure.endpoint.handle_unreachable(now, peer),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Plain(endpoint) => endpoint.handle_timeout(now),
            Self::Secure(secure) => secure.endpoint.handle_timeout(now),
        }
    }

    pub(super) fn poll_transmit(&mut self, buf: &mut [u8]) -> Option<Transmit> {
        match self {
            Self::Plain(endpoint) => endpoint.poll_transmit(buf),
            Self::Secure(secure) => {
                let transmit = secure.endpoint.poll_transmit(buf)?;
                // What is secret is never on the wire as it is; RFC 9147 §4.1.
                let record = matches!(buf.first(), Some(20..=63));
                assert!(record && transmit.len <= buf.len(), "a datagram that is no record: {transmit:?}");
                Some(transmit)
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Plain(endpoint) => endpoint.poll_timeout(),
            Self::Secure(secure) => secure.endpoint.poll_timeout(),
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Plain(endpoint) => endpoint.poll_event(),
            Self::Secure(secure) => secure.endpoint.poll_event(),
        }
    }
}

impl Deref for Machine {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        match self {
            Self::Plain(endpoint) => endpoint,
            Self::Secure(secure) => &secure.endpoint,
        }
    }
}

impl DerefMut for Machine {
    fn deref_mut(&mut self) -> &mut Endpoint {
        match self {
            Self::Plain(endpoint) => endpoint,
            Self::Secure(secure) => &mut secure.endpoint,
        }
    }
}

/// Nodes with secure sessions.
impl Sim {
    /// A node whose endpoint has secure sessions, at port 5684. All that it sends must be records of DTLS. Its endpoint is not
    /// watched by [`Watch`](crate::Watch), which reads what is in the clear.
    pub fn secure_node(&mut self, name: &str, config: Config, limits: Limits) -> Node {
        self.add_node(name, config, Kind::Secure(limits), None)
    }

    /// The node takes secure sessions, and nothing else, from now on; also after a reboot.
    ///
    /// # Panics
    ///
    /// If the node was not made by [`secure_node`](Self::secure_node), or its datagrams do not fit into records.
    pub fn listen(&mut self, node: Node, security: &ServerSecurity) {
        self.state_mut(node).endpoint.listen(security);
    }

    /// The endpoint of a node and its sessions, to look at.
    ///
    /// # Panics
    ///
    /// If the node was not made by [`secure_node`](Self::secure_node).
    pub fn sessions(&self, node: Node) -> &SecureEndpoint {
        match &self.state(node).endpoint {
            Machine::Plain(_) => panic!("a node without secure sessions"),
            Machine::Secure(secure) => &secure.endpoint,
        }
    }

    /// Does something with the sessions of a node, and sends what comes of it.
    ///
    /// # Panics
    ///
    /// If the node was not made by [`secure_node`](Self::secure_node).
    pub fn act_in_sessions<T>(&mut self, node: Node, command: impl FnOnce(&mut SecureEndpoint, Instant) -> T) -> T {
        let now = self.now;
        let done = command(&mut self.state_mut(node).endpoint.secure_mut().endpoint, now);
        self.collect(node, &Cause::Command);
        done
    }

    pub(super) fn deliver(&mut self, from: UdpAddr, node: Node, to: Local, payload: Bytes) {
        let from = Peer::Udp(from);
        let datagram = Datagram { from, to, payload: payload.clone() };
        let now = self.now;
        self.state_mut(node).endpoint.handle_datagram(now, datagram);
        self.collect(node, &Cause::Datagram { from, multicast: to.group.is_some(), payload: &payload });
    }
}

impl NodeState {
    /// Nothing is due that is not done, as far as that can be seen.
    pub(super) fn check_rest(&self, now: Instant) {
        if self.endpoint.is_plain() {
            self.watch.check_rest(now, &self.endpoint);
        }
    }
}
