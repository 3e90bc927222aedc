//! UDP sockets on async-io's reactor, which is told anew each time that somebody waits.

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, ready};
use std::io;

use async_io::Async;
use coap_core::{Local, UdpAddr};
use coap_driver::net::Socket;
use coap_driver::{RecvBatch, UdpSocket};

/// A UDP socket that async-io watches.
#[derive(Debug)]
pub struct AsyncStdSocket {
    io: Async<Socket>,
    /// The reactor has been told to wake the receiving task, and has not done so yet as far as that knows.
    waiting: AtomicBool,
}

impl AsyncStdSocket {
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        Ok(Self { io: Async::new_nonblocking(socket)?, waiting: AtomicBool::new(false) })
    }
}

impl UdpSocket for AsyncStdSocket {
    fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut RecvBatch) -> Poll<io::Result<()>> {
        let mut woken = false;
        if self.waiting.load(Ordering::Relaxed) {
            ready!(self.io.poll_readable(cx))?;
            self.waiting.store(false, Ordering::Relaxed);
            woken = true;
        }
        loop {
            // Before waiting always a look: under load there is something, and the reactor's thread is a detour.
            match self.io.get_ref().recv(batch) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result.map(drop)),
            }
            // Woken, and nothing to read: then it is the error queue, for which the reactor has no name of its own.
            if woken {
                woken = false;
                self.io.get_ref().note_report();
                continue;
            }
            match self.io.poll_readable(cx) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    self.waiting.store(true, Ordering::Relaxed);
                    return Poll::Pending;
                }
            }
            woken = true;
        }
    }

    fn try_send(&self, to: UdpAddr, from: &Local, payload: &[u8]) -> io::Result<()> {
        self.io.get_ref().try_send(to, from, payload)
    }

    fn try_send_hops(&self, to: UdpAddr, from: &Local, hops: u8, payload: &[u8]) -> io::Result<()> {
        self.io.get_ref().try_send_hops(to, from, hops, payload)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_writable(cx)
    }

    fn join(&self, group: IpAddr, interface: u32) -> io::Result<()> {
        self.io.get_ref().join(group, interface)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }
}
