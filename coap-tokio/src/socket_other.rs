//! UDP sockets on tokio's reactor where there are no file descriptors.

use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll, ready};
use std::io;

use coap_core::{Local, UdpAddr};
use coap_driver::net::Socket;
use coap_driver::{RecvBatch, UdpSocket};
use tokio::io::Interest;

/// A UDP socket that tokio watches.
#[derive(Debug)]
pub struct TokioSocket {
    socket: Socket,
    /// Another handle to it, for the reactor.
    watched: tokio::net::UdpSocket,
}

impl TokioSocket {
    /// Registers `socket` with the runtime that the caller runs in.
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        let watched = tokio::net::UdpSocket::from_std(socket.try_clone_io()?)?;
        Ok(Self { socket, watched })
    }
}

impl UdpSocket for TokioSocket {
    fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut RecvBatch) -> Poll<io::Result<()>> {
        loop {
            ready!(self.watched.poll_recv_ready(cx))?;
            // Clears the readiness if, and only if, the call would block.
            match self.watched.try_io(Interest::READABLE, || self.socket.recv(batch)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result.map(drop)),
            }
        }
    }

    fn try_send(&self, to: UdpAddr, from: &Local, payload: &[u8]) -> io::Result<()> {
        self.watched.try_io(Interest::WRITABLE, || self.socket.try_send(to, from, payload))
    }

    fn try_send_hops(&self, to: UdpAddr, from: &Local, hops: u8, payload: &[u8]) -> io::Result<()> {
        self.watched.try_io(Interest::WRITABLE, || self.socket.try_send_hops(to, from, hops, payload))
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched.poll_send_ready(cx)
    }

    fn join(&self, group: IpAddr, interface: u32) -> io::Result<()> {
        self.socket.join(group, interface)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}
