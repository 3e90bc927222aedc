//! Between the library, whose handshake runs in a task, and the engine: two short queues, and what is learned on the way.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use coap_core::SessionEnd;
use rustls_pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio::time::Instant;
use webrtc_util::Conn;

use super::outgoing::Outgoing;
use super::takeover::Takeover;
use crate::engine::Kick;
use crate::verify::Role;

/// How many datagrams wait for either end. A flight with a long chain of certificates has about ten; what is too much is lost,
/// as on any network.
const MAX_QUEUED: usize = 32;

/// The two ends of a handshake.
pub(super) struct Path {
    state: Mutex<State>,
    /// Something has been put in for the library.
    arrived: Notify,
    kick: Kick,
}

struct State {
    inbound: VecDeque<Vec<u8>>,
    outbound: VecDeque<Vec<u8>>,
    outgoing: Outgoing,
    witness: Witness,
    outcome: Option<Result<Takeover, SessionEnd>>,
    /// It has come to an outcome: what the library still says is not for the peer.
    settled: bool,
}

/// What the callbacks of the library have been asked, and have answered: identities are taken from here.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// An identity whose key is known.
    pub(super) identity: Option<Vec<u8>>,
    /// Certificates that have been accepted.
    pub(super) chain: Option<Vec<CertificateDer<'static>>>,
    /// Certificates have not been accepted, and why.
    pub(super) refused: Option<SessionEnd>,
}

impl Path {
    pub(super) fn new(role: Role, initial: Duration, kick: Kick) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                inbound: VecDeque::new(),
                outbound: VecDeque::new(),
                outgoing: Outgoing::new(role, initial),
                witness: Witness::default(),
                outcome: None,
                settled: false,
            }),
            arrived: Notify::new(),
            kick,
        })
    }

    /// True if the peer has shown that it receives what is sent to it.
    pub(super) fn is_proven(&self) -> bool {
        self.lock().outgoing.is_proven()
    }

    /// A datagram of this length has come from the peer, and this much of it is for the library. `repeated`: it is
    /// the first hello once more.
    pub(super) fn deliver(&self, length: usize, relay: Vec<Vec<u8>>, repeated: bool) {
        let mut state = self.lock();
        state.outgoing.received(length, !relay.is_empty());
        if repeated {
            let request = state.outgoing.repeat_request();
            state.push(request);
        }
        for datagram in relay {
            if state.inbound.len() < MAX_QUEUED {
                state.inbound.push_back(datagram);
            }
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// The next datagram for the peer.
    pub(super) fn next_datagram(&self) -> Option<Vec<u8>> {
        self.lock().outbound.pop_front()
    }

    /// How the handshake has ended. Told once.
    pub(super) fn outcome(&self) -> Option<Result<Takeover, SessionEnd>> {
        self.lock().outcome.take()
    }

    /// The handshake has ended, for the first time that this is said.
    pub(super) fn settle(&self, outcome: Result<Takeover, SessionEnd>) {
        let mut state = self.lock();
        if state.settled {
            return;
        }
        state.settled = true;
        state.outcome = Some(outcome);
        drop(state);
        self.kick.kick();
    }

    /// What the callbacks have seen.
    pub(super) fn witness<T>(&self, look: impl FnOnce(&mut Witness) -> T) -> T {
        look(&mut self.lock().witness)
    }

    /// What went out.
    pub(super) fn outgoing<T>(&self, look: impl FnOnce(&Outgoing) -> T) -> T {
        look(&self.lock().outgoing)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, datagram: Option<Vec<u8>>) {
        if let Some(datagram) = datagram
            && self.outbound.len() < MAX_QUEUED
        {
            self.outbound.push_back(datagram);
        }
    }
}

/// The library's end of a path.
pub(super) struct LibraryEnd(pub(super) Arc<Path>);

#[async_trait]
impl Conn for LibraryEnd {
    /// Waits for ever if nothing comes: an error would be asked for again at once, in a loop.
    async fn recv(&self, buf: &mut [u8]) -> webrtc_util::Result<usize> {
        loop {
            let next = self.0.lock().inbound.pop_front();
            if let Some(datagram) = next {
                // No datagram for the library is longer than it reads.
                let length = datagram.len().min(buf.len());
                buf.iter_mut().zip(&datagram).for_each(|(to, from)| *to = *from);
                return Ok(length);
            }
            self.0.arrived.notified().await;
        }
    }

    async fn send(&self, datagram: &[u8]) -> webrtc_util::Result<usize> {
        let mut state = self.0.lock();
        if !state.settled {
            let state = &mut *state;
            let passed = state.outgoing.pass(Instant::now(), datagram, state.witness.refused);
            state.push(passed);
        }
        drop(state);
        self.0.kick.kick();
        Ok(datagram.len())
    }

    async fn recv_from(&self, _: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        Err(unsupported())
    }

    async fn send_to(&self, _: &[u8], _: SocketAddr) -> webrtc_util::Result<usize> {
        Err(unsupported())
    }

    async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
        Err(unsupported())
    }

    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        Err(unsupported())
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn core::any::Any + Send + Sync) {
        self
    }
}

fn unsupported() -> webrtc_util::Error {
    webrtc_util::Error::Other("there is one peer at the other end, and always the same".to_owned())
}
