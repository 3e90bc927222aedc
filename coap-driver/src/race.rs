//! A request on its way: to one address after the other, within its time, to its one outcome.

use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;
use std::sync::Arc;

use coap_core::{Failure, Instant, Peer, Request, RequestError, RequestId, RequestOptions, Timing};

use crate::client::Client;
use crate::error::Error;
use crate::queues::{Left, Room, Ticket};
use crate::runtime::Runtime;
use crate::shared::Shared;
use crate::target::Target;
use crate::timeout::within;
use crate::waiting::{ClientId, News, Outcome};

/// How long a request without a timeout may wait for a name or for room in a table: MAX_TRANSMIT_WAIT by default
/// (RFC 7252 §4.8.2), which is also how long the endpoint lets a request wait for its turn.
const PATIENCE: Duration = Duration::from_secs(93);

/// The end that the caller set.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    started: Instant,
    timeout: Option<Duration>,
}

impl Deadline {
    pub(crate) const fn new(started: Instant, timeout: Option<Duration>) -> Self {
        Self { started, timeout }
    }

    /// Until when to wait for what is not the endpoint's business.
    pub(crate) fn patience(self) -> Instant {
        self.started + self.timeout.unwrap_or(PATIENCE)
    }

    /// What is left for the endpoint.
    fn left(self, now: Instant) -> Option<Duration> {
        // Never zero, which would be no time at all rather than its end.
        self.timeout.map(|timeout| ((self.started + timeout) - now).max(Duration::from_millis(1)))
    }
}

/// The peers that `target` may stand for. A client that is closed does not wait for its name server.
pub(crate) async fn resolve<R: Runtime>(
    client: &Client<R>,
    target: &Target,
    deadline: Deadline,
) -> Result<Vec<Peer>, Error> {
    let mut looking = pin!(target.resolve(client.runtime(), deadline.patience()));
    // The place is taken for the news of the end: see `Room::None`.
    let place = target.is_name().then(|| Place::new(client.shared().clone(), Room::None));
    poll_fn(|cx| {
        if let Some(place) = &place {
            place.wait(cx);
            if client.is_closed() {
                return Poll::Ready(Err(Error::Closed));
            }
        }
        let found = ready!(looking.as_mut().poll(cx));
        // A look-up that fails with the runtime is not the name server's fault.
        Poll::Ready(if found.is_err() && client.is_closed() { Err(Error::Closed) } else { found })
    })
    .await
}

/// A request to one address after the other, and to two at a time where that does no harm. Whatever is open when it is
/// dropped is cancelled.
pub(crate) struct Race<R: Runtime> {
    client: Client<R>,
    /// `None`: a ping.
    request: Option<Request>,
    how: RequestOptions,
    deadline: Deadline,
    running: Vec<RequestId>,
}

impl<R: Runtime> Race<R> {
    pub(crate) const fn new(
        client: Client<R>,
        request: Option<Request>,
        how: RequestOptions,
        deadline: Deadline,
    ) -> Self {
        Self { client, request, how, deadline, running: Vec::new() }
    }

    /// Runs to the outcome.
    pub(crate) async fn run(mut self, peers: Vec<Peer>) -> Result<Outcome, Error> {
        let mut peers = peers.into_iter().peekable();
        if peers.len() > 1 {
            self.how = self.how.clone().report_retransmissions();
        }
        let mut failed = Error::Closed;
        loop {
            if self.running.is_empty() {
                let Some(peer) = peers.next() else { return Err(failed) };
                match self.start_when_there_is_room(peer).await {
                    Ok(()) => {}
                    // Another address may be of the family that there is a socket for.
                    Err(error) if peers.peek().is_some() && matches!(error, Error::AddressFamily { .. }) => {
                        failed = error;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            match poll_fn(|cx| self.poll_news(cx)).await {
                News::Repeated => {
                    // The first address has had its chance. It keeps it, unless two servers might both act.
                    if self.is_harmless()
                        && let Some(peer) = peers.next()
                    {
                        // It was worth a try; the first one still runs.
                        let _ = self.start(peer);
                    }
                }
                // Nobody has it: any request may go to the next address.
                News::Ended(Outcome::Unreachable { peer, cause, timing }) => {
                    failed = Error::Unreachable { peer, cause, timing };
                }
                News::Ended(Outcome::Failed { peer, reason, timing }) => {
                    failed = Error::from_failure(peer, reason, timing);
                    let is_silent = matches!(reason, Failure::NoAck | Failure::NoResponse);
                    let may_move_on = is_silent && self.is_harmless();
                    if !may_move_on && self.running.is_empty() {
                        return Err(failed);
                    }
                }
                News::Ended(Outcome::Closed) => return Err(Error::Closed),
                News::Ended(outcome) => return Ok(outcome),
            }
        }
    }

    /// A request that two servers may both get.
    fn is_harmless(&self) -> bool {
        self.request.as_ref().is_none_or(|request| request.code.is_safe())
    }

    fn shared(&self) -> &Arc<Shared<R>> {
        self.client.shared()
    }

    fn id(&self) -> ClientId {
        self.client.id()
    }

    /// Starts, and waits in turn where the tables of the endpoint are full: a caller that must try again by itself
    /// would only do worse (and RFC 7252 §4.7 wants it to wait).
    async fn start_when_there_is_room(&mut self, peer: Peer) -> Result<(), Error> {
        let started = self.start(peer);
        let Some(room) = full(&started, peer) else { return started };
        let (client, until) = (self.client.clone(), self.deadline.patience());
        let mut place = Place::new(client.shared().clone(), room);
        let waiting = poll_fn(|cx| {
            loop {
                // Queued first, as room may come between a refusal and the waiting for it.
                place.wait(cx);
                let started = self.start(peer);
                match full(&started, peer) {
                    Some(room) if room == place.room => return Poll::Pending,
                    Some(room) => place.change(room),
                    None => {
                        place.left = if started.is_ok() { Left::Used } else { Left::Unused };
                        return Poll::Ready(started);
                    }
                }
            }
        });
        let started = client.now();
        within(client.runtime(), until, waiting).await.unwrap_or_else(|| {
            let mut timing = Timing::default();
            timing.elapsed = client.now() - started;
            Err(Error::NotSent { peer, timing })
        })
    }

    fn start(&mut self, peer: Peer) -> Result<(), Error> {
        if self.client.is_closed() {
            return Err(Error::Closed);
        }
        if !self.shared().reaches(peer) {
            return Err(Error::AddressFamily { peer });
        }
        let shared = self.shared();
        let started = shared.command(|state, now| {
            let how = match self.deadline.left(now) {
                Some(left) => self.how.clone().timeout(left),
                None => self.how.clone(),
            };
            match &self.request {
                Some(request) => state.request(now, self.id(), peer, request.clone(), &how),
                None => state.ping(now, self.id(), peer, &how),
            }
        });
        match started {
            Ok(id) => {
                self.running.push(id);
                Ok(())
            }
            Err(RequestError::Shutdown) => Err(Error::Closed),
            Err(error) => Err(Error::Request(error)),
        }
    }

    fn poll_news(&mut self, cx: &Context<'_>) -> Poll<News> {
        let mut state = self.client.shared().lock();
        let found = self.running.iter().enumerate().find_map(|(index, id)| match state.waiting.poll(*id, cx) {
            Poll::Ready(news) => Some((index, news)),
            Poll::Pending => None,
        });
        drop(state);
        let Some((index, news)) = found else { return Poll::Pending };
        if matches!(news, News::Ended(_)) {
            self.running.swap_remove(index);
        }
        Poll::Ready(news)
    }
}

/// The table that is full, if that is why a request was not taken: it passes.
const fn full(started: &Result<(), Error>, peer: Peer) -> Option<Room> {
    match started {
        Err(Error::Request(RequestError::Busy)) => Some(Room::Peer(peer)),
        Err(Error::Request(RequestError::TooManyRequests | RequestError::TooManyPeers)) => Some(Room::Endpoint),
        _ => None,
    }
}

/// A place in a queue for room. Dropped, it is the next one's turn.
struct Place<R: Runtime> {
    shared: Arc<Shared<R>>,
    room: Room,
    ticket: Ticket,
    left: Left,
}

impl<R: Runtime> Place<R> {
    fn new(shared: Arc<Shared<R>>, room: Room) -> Self {
        let ticket = shared.lock().queues.draw_ticket();
        Self { shared, room, ticket, left: Left::Unused }
    }

    fn wait(&self, cx: &Context<'_>) {
        self.shared.lock().queues.wait(self.room, self.ticket, cx.waker());
    }

    fn change(&mut self, room: Room) {
        self.leave();
        self.room = room;
    }

    fn leave(&self) {
        let mut wake = Vec::new();
        self.shared.lock().queues.leave(self.room, self.ticket, self.left, &mut wake);
        wake.into_iter().for_each(Waker::wake);
    }
}

impl<R: Runtime> Drop for Place<R> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<R: Runtime> Drop for Race<R> {
    fn drop(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let running = core::mem::take(&mut self.running);
        let mut wake = Vec::new();
        self.client.shared().command(|state, now| {
            for id in running {
                state.forget(now, id, &mut wake);
            }
        });
        wake.into_iter().for_each(Waker::wake);
    }
}
