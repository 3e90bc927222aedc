//! UDP sockets on the simulated network.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use coap_core::{Local, UdpAddr};
use coap_driver::{RecvBatch, Timer, UdpSocket};

use crate::host::faults::Fault;
use crate::host::timer::SimTimer;
use crate::host::world::{Arrived, Bound, Id, Out, Shared};

/// What UDP over IPv4 carries at most, in bytes.
const LONGEST: usize = 65_507;

/// How long a socket stays full, when it is made to be.
const FULL: Duration = Duration::from_millis(5);

/// Somebody whom nobody knows, for what comes out of nowhere.
const STRANGER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 99)), 9);

/// The index of the one interface that each host has.
pub(crate) const INTERFACE: u32 = 1;

/// A socket of a [`Host`](crate::Host). It is closed when it is dropped.
pub struct SimSocket {
    shared: Shared,
    id: Id,
    local: SocketAddr,
    /// For whoever waits until the socket is not full any more.
    writable: Mutex<SimTimer>,
}

impl SimSocket {
    pub(crate) fn new(shared: &Shared, id: Id, local: SocketAddr) -> Self {
        let writable = Mutex::new(SimTimer::new(shared));
        Self { shared: shared.clone(), id, local, writable }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket is of no more use")
}

/// Fills the batch from the socket.
fn fill(bound: &mut Bound, batch: &mut RecvBatch, fault: Option<Fault>) {
    let stranger = UdpAddr::new(STRANGER);
    let to = Some(bound.local.ip()).filter(|ip| !ip.is_unspecified());
    match fault {
        Some(Fault::ReceiveNothing) => return,
        Some(Fault::ReceivePortless) => {
            batch.push_datagram(UdpAddr::new(SocketAddr::new(STRANGER.ip(), 0)), to, INTERFACE, b"\x40\x01\x00\x01");
        }
        Some(Fault::ReceiveEmpty) => {
            batch.push_datagram(stranger, to, INTERFACE, b"");
        }
        Some(Fault::ReceiveLongest) => {
            batch.push_datagram(stranger, to, INTERFACE, &[0x40; LONGEST]);
        }
        Some(Fault::ReceiveReport) => {
            batch.push_unreachable(stranger);
        }
        _ => {}
    }
    let mut cut = fault == Some(Fault::ReceiveTruncated);
    let mut reports = 0;
    // One report may be there by the fault.
    while !batch.is_full() && reports + 1 < RecvBatch::REPORTS {
        let Some(arrived) = bound.pop() else { break };
        match arrived {
            Arrived::Datagram { from, to, payload } => {
                let len = if cut { payload.len() / 2 } else { payload.len() };
                cut = false;
                batch.push_datagram(from, Some(to), INTERFACE, &payload[..len]);
            }
            Arrived::Unreachable { peer } => {
                reports += 1;
                batch.push_unreachable(peer);
            }
        }
    }
}

impl UdpSocket for SimSocket {
    fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut RecvBatch) -> Poll<io::Result<()>> {
        batch.clear();
        let mut guard = self.shared.lock();
        let world = &mut *guard;
        let Some(bound) = world.sockets.get_mut(&self.id).filter(|bound| !bound.broken) else {
            return Poll::Ready(Err(closed()));
        };
        if bound.queue.is_empty() {
            let replaced = bound.reader.replace(cx.waker().clone());
            drop(guard);
            drop(replaced);
            return Poll::Pending;
        }
        // Drawn only where there is something to receive: how often an idle socket is polled should not count.
        let host = world.hosts.get_mut(&bound.host);
        let fault = host.and_then(|machine| machine.faults.of_receiving(&mut world.rng));
        if let Some(fault) = fault {
            let host = bound.host;
            let note = format!("{}: {fault}", world.name(host));
            world.out.push_back(Out::Note(note));
        }
        let Some(bound) = world.sockets.get_mut(&self.id) else { return Poll::Ready(Err(closed())) };
        fill(bound, batch, fault);
        Poll::Ready(Ok(()))
    }

    fn try_send(&self, to: UdpAddr, from: &Local, payload: &[u8]) -> io::Result<()> {
        let mut guard = self.shared.lock();
        let world = &mut *guard;
        let Some(bound) = world.sockets.get_mut(&self.id).filter(|bound| !bound.broken) else { return Err(closed()) };
        if world.now < bound.full_until {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let host = bound.host;
        let machine = world.hosts.get_mut(&host);
        if let Some(fault) = machine.and_then(|machine| machine.faults.of_sending(&mut world.rng)) {
            if fault == Fault::SendFull {
                bound.full_until = world.now + FULL;
            }
            let note = format!("{}: {fault}", world.name(host));
            world.out.push_back(Out::Note(note));
            return Err(match fault {
                Fault::SendRefused => io::ErrorKind::ConnectionRefused.into(),
                Fault::SendUnreachable => io::ErrorKind::HostUnreachable.into(),
                Fault::SendFull => io::ErrorKind::WouldBlock.into(),
                Fault::SendInterrupted => io::ErrorKind::Interrupted.into(),
                _ => io::Error::other("the message is too long"),
            });
        }
        if payload.len() > LONGEST {
            return Err(io::Error::other("the message is too long"));
        }
        let Some(bound) = world.sockets.get(&self.id) else { return Err(closed()) };
        let from = world.source(bound, from.ip, to)?;
        world.out.push_back(Out::Datagram { host, from, to, payload: Bytes::copy_from_slice(payload) });
        Ok(())
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let world = self.shared.lock();
        let Some(bound) = world.sockets.get(&self.id).filter(|bound| !bound.broken) else {
            return Poll::Ready(Err(closed()));
        };
        let until = bound.full_until;
        drop(world);
        let mut timer = self.writable.lock().unwrap_or_else(PoisonError::into_inner);
        timer.set(Some(until));
        timer.poll(cx).map(Ok)
    }

    fn join(&self, group: IpAddr, interface: u32) -> io::Result<()> {
        if !matches!(interface, 0 | INTERFACE) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no such interface"));
        }
        let mut world = self.shared.lock();
        let Some(bound) = world.sockets.get(&self.id).filter(|bound| !bound.broken) else { return Err(closed()) };
        let host = bound.host;
        world.out.push_back(Out::Join { host, group });
        Ok(())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let bound = self.shared.lock().close(self.id);
        drop(bound);
    }
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSocket").field("local", &self.local).finish_non_exhaustive()
    }
}
