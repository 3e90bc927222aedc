//! Whatever carries datagrams, instead of UDP sockets or beside them: pipes, serial lines, radios, tunnels, DTLS.

use core::net::SocketAddr;
use core::task::{Context, Poll};
use std::io;
use std::sync::Arc;

use coap_core::{Local, Peer, Transmit};

use crate::runtime::{RecvBatch, UdpSocket};
use crate::shared::can_send;

/// What carries the datagrams of a client or server: given to its builder ([`Builder::transport`](crate::Builder::transport)).
///
/// A peer that has no IP address is a [`Peer::Session`], whose number the transport draws and knows what it stands for. A
/// number is never used again for somebody else: what the endpoint remembers of a peer (Message IDs, tokens, observations)
/// must not pass to another. That holds for all transports of one endpoint together: two that count from 1 each would have it
/// take two peers for one. A transport of IP datagrams may use [`Peer::Udp`].
///
/// The messages are those of CoAP over UDP (RFC 7252 §3): each call carries one, whole and in any order, and may lose it. What
/// is lost is repeated. How long one may be is `Config::max_datagram`'s to say.
///
/// It is polled by one task at a time: a later poll of the same kind replaces the waker. What waits, waits by the reactor of
/// the runtime, or by threads of its own that call the waker. An example over Unix datagram sockets is in `coap-tokio`.
pub trait Transport: Send + Sync + 'static {
    /// Replaces what is in `batch` ([`RecvBatch::clear`]) by what has arrived: datagrams with who sent them
    /// ([`RecvBatch::push_datagram`], until it [is full](RecvBatch::is_full)) and reports of peers that are gone
    /// ([`RecvBatch::push_unreachable`]). Ready with an empty batch if all that came had to be dropped.
    ///
    /// # Errors
    /// The transport is of no more use: when the last one of an endpoint is, its requests end, and its server.
    fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut RecvBatch) -> Poll<io::Result<()>>;

    /// Sends one datagram now or not at all. `from` is where the request came to that this answers.
    ///
    /// # Errors
    /// `WouldBlock`: nothing can be sent to anybody until [`poll_writable`](Self::poll_writable) is ready; everything waits
    /// meanwhile, so one slow peer is better met with the loss of its datagram. `HostUnreachable`: this peer is gone, and its
    /// requests end. Any other error: this datagram is lost.
    fn try_send(&self, to: Peer, from: &Local, payload: &[u8]) -> io::Result<()>;

    /// Ready when it is worth calling [`try_send`](Self::try_send) again after `WouldBlock`. By default it always is; a
    /// datagram that is met with `WouldBlock` a few times in a row all the same is lost.
    ///
    /// # Errors
    /// As those of [`poll_recv`](Self::poll_recv).
    fn poll_writable(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Whether a datagram to this peer may go here. By default all sessions may, and no address; beside other transports only
    /// its own may, as a request goes through the first that says so.
    fn reaches(&self, peer: Peer) -> bool {
        matches!(peer, Peer::Session(_))
    }
}

/// For a program that keeps a handle, to make sessions.
impl<T: Transport + ?Sized> Transport for Arc<T> {
    fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut RecvBatch) -> Poll<io::Result<()>> {
        (**self).poll_recv(cx, batch)
    }

    fn try_send(&self, to: Peer, from: &Local, payload: &[u8]) -> io::Result<()> {
        (**self).try_send(to, from, payload)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_writable(cx)
    }

    fn reaches(&self, peer: Peer) -> bool {
        (**self).reaches(peer)
    }
}

/// One door of an endpoint.
pub(crate) enum Link<S> {
    /// A socket, and the address that it is bound to.
    Udp(S, SocketAddr),
    /// One for secure sessions alone.
    Secure(S, SocketAddr),
    Custom(Box<dyn Transport>),
}

impl<S: UdpSocket> Link<S> {
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut RecvBatch) -> Poll<io::Result<()>> {
        match self {
            Self::Udp(socket, _) | Self::Secure(socket, _) => socket.poll_recv(cx, batch),
            Self::Custom(transport) => transport.poll_recv(cx, batch),
        }
    }

    pub(crate) fn try_send(&self, transmit: &Transmit, payload: &[u8]) -> io::Result<()> {
        let Transmit { to, from, hops, .. } = transmit;
        match (self, hops) {
            (Self::Udp(socket, _) | Self::Secure(socket, _), hops) => match (to.udp(), hops) {
                (Some(to), None) => socket.try_send(to, from, payload),
                (Some(to), Some(hops)) => socket.try_send_hops(to, from, *hops, payload),
                (None, _) => Err(io::ErrorKind::InvalidInput.into()),
            },
            (Self::Custom(transport), None) => transport.try_send(*to, from, payload),
            // It must not go further than was asked for.
            (Self::Custom(_), Some(_)) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Udp(socket, _) | Self::Secure(socket, _) => socket.poll_writable(cx),
            Self::Custom(transport) => transport.poll_writable(cx),
        }
    }

    /// Nothing leaves here in the clear.
    pub(crate) const fn is_secure(&self) -> bool {
        matches!(self, Self::Secure(..))
    }

    pub(crate) fn reaches(&self, peer: Peer) -> bool {
        match self {
            Self::Udp(_, local) | Self::Secure(_, local) => {
                peer.udp().is_some_and(|to| can_send(*local, to.socket_addr()))
            }
            Self::Custom(transport) => transport.reaches(peer),
        }
    }
}

impl<S> core::fmt::Debug for Link<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Udp(_, local) => f.debug_tuple("Udp").field(local).finish(),
            Self::Secure(_, local) => f.debug_tuple("Secure").field(local).finish(),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}
