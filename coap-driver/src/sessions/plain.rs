//! Without a session layer: nothing is secure, and nothing that should be is asked.

use core::task::Waker;
use std::io;

use coap_core::{Config, Endpoint, Host, Instant, Peer, UdpAddr};
use rand_core::CryptoRng;

use crate::builder::BindAddr;
use crate::error::Error;
use crate::state::State;
use crate::traffic::Traffic;
use crate::waiting::ClientId;

pub(crate) type Machine = Endpoint;

/// What clients and listeners show: nothing.
#[derive(Debug, Default)]
pub(crate) struct Credentials {}

/// What a listener shows: there is none.
#[derive(Debug)]
pub(crate) enum Listener {}

/// How the session for a target is made: never.
#[derive(Clone, Debug)]
pub(crate) enum Secure {}

/// Who the other end of a session has shown to be: nobody has.
#[derive(Clone, Debug)]
pub(crate) enum Identity {}

impl Credentials {
    pub(crate) const fn listeners(&self) -> &[(BindAddr, Listener)] {
        &[]
    }

    pub(crate) fn machine(&self, config: Config, rng: Box<dyn CryptoRng + Send>) -> Machine {
        Endpoint::new(config, rng)
    }

    pub(crate) fn secure(&self, _host: &Host) -> Result<Secure, Error> {
        Err(Error::Security)
    }
}

pub(crate) fn listen(_machine: &mut Machine, _socket: usize, listener: &Listener) -> io::Result<()> {
    match *listener {}
}

/// What tells two identities apart.
pub(crate) fn identity_key(identity: &Identity) -> Vec<u8> {
    match *identity {}
}

impl State {
    pub(crate) fn connect(
        &mut self,
        _now: Instant,
        _client: ClientId,
        _to: UdpAddr,
        _via: u16,
        secure: &Secure,
    ) -> Result<Peer, Error> {
        match *secure {}
    }

    pub(crate) fn session_with(&self, _addr: UdpAddr, secure: &Secure) -> Option<Peer> {
        match *secure {}
    }

    pub(crate) fn is_pending(&self, _peer: Peer) -> bool {
        false
    }

    pub(crate) fn is_answering(&self, _peer: Peer) -> Option<bool> {
        None
    }

    pub(crate) fn told_as(&self, peer: Peer) -> Peer {
        peer
    }

    pub(crate) fn identity_of(&self, _peer: Peer) -> Option<Identity> {
        None
    }

    pub(crate) fn hang_up(&mut self, _now: Instant, _client: ClientId) {}

    pub(crate) fn hang_up_all(&mut self, _now: Instant) {}

    pub(crate) fn register(&self, _waker: &Waker) -> bool {
        false
    }
}

/// The longest datagram that can be sent, in bytes.
pub(crate) fn longest_datagram(machine: &Machine) -> usize {
    machine.config().max_datagram()
}

pub(crate) fn watch(_machine: &mut Machine) {}

/// There are no sessions.
pub(crate) fn next_message(_machine: &mut Machine) -> Option<Traffic> {
    None
}
