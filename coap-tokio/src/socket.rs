//! UDP sockets on tokio's reactor, which is edge-triggered.
//!
//! Registered for reading only. With interest in writing the system would wake the reactor each time that a datagram
//! has left the send queue, once per answer, for nothing: a UDP socket is practically always writable.

use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll, ready};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, PoisonError};

use coap_core::{Local, UdpAddr};
use coap_driver::net::{Queue, Socket};
use coap_driver::{BoxFuture, RecvBatch, UdpSocket};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use tokio::runtime::Handle;

/// A UDP socket that tokio watches.
pub struct TokioSocket {
    fd: Arc<AsyncFd<Socket>>,
    /// Ends when the reactor saw an error, and is then started anew. Readability does not tell: Linux reports a
    /// filled error queue as an error and nothing else, and tokio wakes no reader for that.
    errors: Mutex<BoxFuture<io::Result<()>>>,
    /// A second handle, watched for writing for as long as the socket is full.
    full: Mutex<Option<AsyncFd<std::net::UdpSocket>>>,
    handle: Handle,
}

impl TokioSocket {
    /// Registers `socket` with the runtime that the caller runs in.
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        let fd = Arc::new(watch(socket, Interest::READABLE | Interest::ERROR)?);
        let errors = Mutex::new(next_error(Arc::clone(&fd)));
        Ok(Self { fd, errors, full: Mutex::new(None), handle: Handle::current() })
    }

    /// Ready once for each time that the reactor saw an error. Otherwise the task is woken at the next.
    fn poll_error(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let result = ready!(errors.as_mut().poll(cx));
        *errors = next_error(Arc::clone(&self.fd));
        Poll::Ready(result)
    }
}

/// tokio deprecates this constructor for a type whose descriptor may change or close under it; its successor is `unsafe`.
/// Both types here own one descriptor for as long as they live, and give out no other.
#[allow(deprecated, reason = "the successor is unsafe, and what it guards against cannot happen here")]
fn watch<T: AsRawFd + AsFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

fn next_error(fd: Arc<AsyncFd<Socket>>) -> BoxFuture<io::Result<()>> {
    Box::pin(async move {
        fd.ready(Interest::ERROR).await?.clear_ready_matching(Ready::ERROR);
        Ok(())
    })
}

impl UdpSocket for TokioSocket {
    fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut RecvBatch) -> Poll<io::Result<()>> {
        loop {
            if let Poll::Ready(result) = self.poll_error(cx) {
                result?;
                let socket = self.fd.get_ref();
                socket.note_report();
                match socket.recv(batch) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    result => return Poll::Ready(result.map(drop)),
                }
            }
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            match guard.get_inner().recv(batch) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(queue) => {
                    // The edge after an emptied queue is certain: no call is needed to hear `WouldBlock`.
                    if queue == Queue::Empty {
                        guard.clear_ready();
                    } else {
                        guard.retain_ready();
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    fn try_send(&self, to: UdpAddr, from: &Local, payload: &[u8]) -> io::Result<()> {
        self.fd.get_ref().try_send(to, from, payload)
    }

    fn try_send_hops(&self, to: UdpAddr, from: &Local, hops: u8, payload: &[u8]) -> io::Result<()> {
        self.fd.get_ref().try_send_hops(to, from, hops, payload)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = match full.take() {
            Some(watched) => watched,
            None => {
                let _inside = self.handle.enter();
                watch(self.fd.get_ref().try_clone_io()?, Interest::WRITABLE)?
            }
        };
        // A fresh registration is told the present state, so room that came since the failed call is not missed.
        let result = watched.poll_write_ready(cx).map_ok(drop);
        if result.is_pending() {
            *full = Some(watched);
        }
        result
    }

    fn join(&self, group: IpAddr, interface: u32) -> io::Result<()> {
        self.fd.get_ref().join(group, interface)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.fd.get_ref().local_addr()
    }
}

impl core::fmt::Debug for TokioSocket {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TokioSocket").field("socket", self.fd.get_ref()).finish_non_exhaustive()
    }
}
