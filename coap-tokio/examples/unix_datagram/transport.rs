//! CoAP over Unix datagram sockets: each endpoint is bound to a path, and whoever sends to it is a session.

use core::task::{Context, Poll};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::net::UnixDatagram as StdUnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coap_tokio::coap_core::SessionId;
use coap_tokio::{Local, Peer, RecvBatch, Transport};
use tokio::io::ReadBuf;
use tokio::net::UnixDatagram;

/// Sessions at a time. A further one takes the place of the one that was used least recently: a program that opens sockets
/// without end keeps nobody out.
pub(crate) const MOST_SESSIONS: usize = 1_024;

/// The socket file of this endpoint, and who is at the other ends.
pub(crate) struct UnixTransport {
    receiving: UnixDatagram,
    /// The same socket: what is full is the queue of one receiver, and tokio would take it for all of them.
    sending: StdUnixDatagram,
    sessions: Mutex<Sessions>,
}

/// Each session is in all three maps, or in none.
#[derive(Default)]
struct Sessions {
    known: HashMap<SessionId, Known>,
    ids: HashMap<PathBuf, SessionId>,
    /// From the one that was used least recently on.
    by_use: BTreeMap<u64, SessionId>,
    drawn: u64,
    uses: u64,
}

struct Known {
    path: PathBuf,
    /// When it was used last, as a number of `uses`.
    used: u64,
}

impl UnixTransport {
    /// Binds to `path`, which must not be there. Whoever may write to the file may send.
    pub(crate) fn bind(path: impl AsRef<Path>) -> io::Result<Arc<Self>> {
        let sending = StdUnixDatagram::bind(path)?;
        sending.set_nonblocking(true)?;
        let receiving = UnixDatagram::from_std(sending.try_clone()?)?;
        Ok(Arc::new(Self { receiving, sending, sessions: Mutex::default() }))
    }

    /// The endpoint that is bound to `path`. What is sent to it is unreachable when 1,024 others were used since: ask again then.
    pub(crate) fn peer(&self, path: impl AsRef<Path>) -> Peer {
        Peer::Session(self.sessions().of(path.as_ref()))
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    fn of(&mut self, path: &Path) -> SessionId {
        if let Some(id) = self.ids.get(path).copied() {
            self.touch(id);
            return id;
        }
        if self.known.len() >= MOST_SESSIONS
            && let Some(oldest) = self.by_use.values().next().copied()
        {
            self.forget(oldest);
        }
        // Drawn once and never again: another program at the same path is another session, see `forget`.
        self.drawn += 1;
        let id = SessionId::new(self.drawn);
        self.uses += 1;
        self.ids.insert(path.to_owned(), id);
        self.by_use.insert(self.uses, id);
        self.known.insert(id, Known { path: path.to_owned(), used: self.uses });
        id
    }

    /// Where its datagrams go. `None`: it was forgotten.
    fn path(&mut self, id: SessionId) -> Option<PathBuf> {
        self.touch(id);
        self.known.get(&id).map(|known| known.path.clone())
    }

    fn touch(&mut self, id: SessionId) {
        let Some(known) = self.known.get_mut(&id) else { return };
        self.uses += 1;
        self.by_use.remove(&known.used);
        self.by_use.insert(self.uses, id);
        known.used = self.uses;
    }

    fn forget(&mut self, id: SessionId) {
        let Some(known) = self.known.remove(&id) else { return };
        self.ids.remove(&known.path);
        self.by_use.remove(&known.used);
    }
}

impl Transport for UnixTransport {
    fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut RecvBatch) -> Poll<io::Result<()>> {
        batch.clear();
        // One byte more than is allowed tells that it was longer.
        let mut buffer = vec![0; batch.max_datagram() + 1];
        // So many at a time, whatever becomes of them: a flood must not keep the task.
        for _ in 0..RecvBatch::SLOTS {
            let mut datagram = ReadBuf::new(&mut buffer);
            let from = match self.receiving.poll_recv_from(cx, &mut datagram) {
                Poll::Pending if batch.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(from) => from?,
            };
            // A socket without a name cannot be answered.
            let Some(path) = from.as_pathname() else { continue };
            let id = self.sessions().of(path);
            batch.push_datagram(Peer::Session(id), None, 0, datagram.filled());
        }
        Poll::Ready(Ok(()))
    }

    fn try_send(&self, to: Peer, _: &Local, payload: &[u8]) -> io::Result<()> {
        let Peer::Session(id) = to else { return Err(io::ErrorKind::InvalidInput.into()) };
        let path = self.sessions().path(id).ok_or(io::ErrorKind::HostUnreachable)?;
        match self.sending.send_to(payload, path) {
            Ok(_) => Ok(()),
            // Its queue is full. The others need not wait for it: the datagram is lost, and repeated.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::Error::other("the receiver is slow")),
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                self.sessions().forget(id);
                Err(io::ErrorKind::HostUnreachable.into())
            }
            Err(error) => Err(error),
        }
    }
}
