//! The seam between the session layer and a DTLS library: one handshake, and the records after it, of one session.
//!
//! An engine knows no other session and no table. It never panics, whatever comes in, and forged datagrams neither end it
//! nor make it say more than came in. The layer keeps its deadline and ends it.

use core::task::Waker;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coap_core::{Instant, SessionEnd, UdpAddr};

use crate::attempts::Attempt;
use crate::hello::ClientHello;
use crate::identity::PeerIdentity;
use crate::suite::CipherSuite;
use crate::verify::ServerName;

/// One session: its handshake, then its records.
pub(crate) trait Engine: Send {
    /// A datagram of the peer's address, whoever sent it.
    fn handle(&mut self, now: Instant, datagram: &[u8]);

    /// `poll_timeout` has passed: a flight is sent again.
    fn handle_timeout(&mut self, now: Instant);

    /// When `handle_timeout` has something to do.
    fn poll_timeout(&self) -> Option<Instant>;

    /// One message for the peer.
    fn send(&mut self, now: Instant, plaintext: &[u8]) -> Result<(), SendError>;

    /// Says close_notify, if there is a session to close.
    fn close(&mut self, now: Instant);

    /// The cipher suite of the session; `None`: its handshake is not done.
    fn suite(&self) -> Option<CipherSuite>;

    /// What there is to send, to hand up or to know; `None`: nothing more for now. Asked after every call and every kick, until
    /// it is `None`. `buf` is as long as a datagram can be: 65,535 bytes.
    fn poll<'a>(&mut self, now: Instant, buf: &'a mut [u8]) -> Option<Output<'a>>;
}

/// What an engine tells.
#[derive(Debug)]
pub(crate) enum Output<'a> {
    /// A datagram to send to the peer.
    Datagram(&'a [u8]),
    /// The peer has shown that it receives what is sent to its address. Told by engines of a server that were made by
    /// [`Acceptor::accept`]; such a session loses its place later than others then.
    Proven,
    /// The handshake is done, and this is the peer: it has been verified. Told once, before any plaintext.
    Established(PeerIdentity),
    /// A message of the peer.
    Plaintext(&'a [u8]),
    /// The session is over, and why: nothing but datagrams comes after it.
    Ended(SessionEnd),
}

/// Why a message is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The handshake is not done, or the session is over.
    NotEstablished,
    /// It is longer than a record of this session may be.
    TooLarge,
    /// As many records have been sent as a key may be used for.
    Exhausted,
}

/// Makes the engines of a client. Made once for each configuration: what costs is done before the first session.
pub(crate) trait Connector: Send + Sync {
    /// Begins a handshake with the server at `peer`, which must prove to be `name`. The first flight is polled from the engine.
    fn connect(&self, now: Instant, peer: UdpAddr, name: Option<&ServerName>, kick: Kick) -> Box<dyn Engine>;

    /// By how many bytes a record is longer than its message, at most.
    fn overhead(&self) -> usize;
}

/// Makes the engines of a server.
pub(crate) trait Acceptor: Send + Sync {
    /// True if nothing is kept for a client with this hello before it has shown a cookie of the layer (`accept_proven`).
    fn is_stateless(&self, hello: &ClientHello<'_>) -> bool;

    /// Begins a handshake with a client whose address is not proven; the hello is handed in next. Until it is, the engine sends
    /// no more bytes than have come in, and nothing when a timer fires. `None`: there is no room for one.
    fn accept(
        &self,
        now: Instant,
        peer: UdpAddr,
        hello: &ClientHello<'_>,
        attempt: Attempt,
        kick: Kick,
    ) -> Option<Box<dyn Engine>>;

    /// Begins a handshake with a client that has shown `cookie` in its second hello, which was made for its address by the
    /// layer, in a HelloVerifyRequest with message_seq 0. The hello has been handed in then.
    ///
    /// # Errors
    /// The hello is refused, and the client is to be told so by a fatal alert of this number (RFC 5246 §7.2.2).
    fn accept_proven(
        &self,
        now: Instant,
        peer: UdpAddr,
        hello: &ClientHello<'_>,
        cookie: &[u8; 32],
        attempt: Attempt,
        kick: Kick,
    ) -> Result<Box<dyn Engine>, u8>;

    /// By how many bytes a record is longer than its message, at most.
    fn overhead(&self) -> usize;

    /// How many places a handshake takes: one for each 10 KB that it keeps.
    fn places(&self) -> usize {
        1
    }
}

/// Tells the layer that an engine whose handshake runs elsewhere has something to poll.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "webrtc-dtls"), allow(dead_code, reason = "the other backends do nothing in the background"))]
pub(crate) struct Kick {
    kicks: Arc<Mutex<Kicks>>,
    session: u64,
}

/// The engines that have something to poll, and who must be woken for it.
#[derive(Debug, Default)]
struct Kicks {
    sessions: Vec<u64>,
    waker: Option<Waker>,
}

/// The layer's end of all [`Kick`]s.
#[derive(Debug, Default)]
pub(crate) struct Kickers(Arc<Mutex<Kicks>>);

impl Kickers {
    /// What the engine of a session is given.
    pub(crate) fn kick(&self, session: u64) -> Kick {
        Kick { kicks: self.0.clone(), session }
    }

    /// The next session whose engine has something.
    pub(crate) fn pop(&self) -> Option<u64> {
        lock(&self.0).sessions.pop()
    }

    /// Who is woken at the next kick. True if there has been one already.
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        let mut kicks = lock(&self.0);
        if !kicks.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            kicks.waker = Some(waker.clone());
        }
        !kicks.sessions.is_empty()
    }
}

impl Kick {
    /// There is something to poll.
    #[cfg_attr(
        not(feature = "webrtc-dtls"),
        allow(dead_code, reason = "the other backends do nothing in the background")
    )]
    pub(crate) fn kick(&self) {
        let waker = {
            let mut kicks = lock(&self.kicks);
            if !kicks.sessions.contains(&self.session) {
                kicks.sessions.push(self.session);
            }
            kicks.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn lock(kicks: &Mutex<Kicks>) -> MutexGuard<'_, Kicks> {
    kicks.lock().unwrap_or_else(PoisonError::into_inner)
}
