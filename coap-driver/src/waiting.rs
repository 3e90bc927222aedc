//! Requests of ours: who waits for each, and what has become of it.

use core::task::{Context, Poll, Waker};

use coap_core::{Failure, Instant, Peer, RequestId, Timing};

use crate::error::Unreachable;
use crate::queues::Table;
use crate::reply::Reply;

/// Which group of clones of a client a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientId(pub(crate) u64);

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Reply(Reply),
    Pong(Timing),
    Failed { peer: Peer, reason: Failure, timing: Timing },
    Unreachable { peer: Peer, cause: Unreachable, timing: Timing },
    Closed,
}

/// What there is to know about a request since one last looked.
#[derive(Debug)]
pub(crate) enum News {
    Repeated,
    Ended(Outcome),
}

/// Requests whose caller has not taken the outcome yet.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    requests: Table<RequestId, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    client: ClientId,
    peer: Peer,
    started: Instant,
    waker: Option<Waker>,
    repeated: bool,
    outcome: Option<Outcome>,
}

impl Waiting {
    pub(crate) fn add(&mut self, started: Instant, client: ClientId, peer: Peer, id: RequestId) {
        self.requests.insert(id, Waiter { client, peer, started, waker: None, repeated: false, outcome: None });
    }

    /// Forgets a request. If it was still open, that is room for another to the peer that comes back.
    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Peer> {
        let waiter = self.requests.remove(&id)?;
        waiter.outcome.is_none().then_some(waiter.peer)
    }

    /// Looks after a request. `Ended` comes once; a request that nobody knows has ended as well.
    pub(crate) fn poll(&mut self, id: RequestId, cx: &Context<'_>) -> Poll<News> {
        let Some(waiter) = self.requests.get_mut(&id) else { return Poll::Ready(News::Ended(Outcome::Closed)) };
        if let Some(outcome) = waiter.outcome.take() {
            self.requests.remove(&id);
            return Poll::Ready(News::Ended(outcome));
        }
        if core::mem::take(&mut waiter.repeated) {
            return Poll::Ready(News::Repeated);
        }
        match &mut waiter.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => waiter.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Keeps the outcome for whoever asked, unless there is one already: of a group the first response counts. If the
    /// request was still open, that is room for another to the peer that comes back.
    pub(crate) fn settle(
        &mut self,
        id: RequestId,
        wake: &mut Vec<Waker>,
        outcome: impl FnOnce(Peer, Instant) -> Outcome,
    ) -> Option<Peer> {
        let waiter = self.requests.get_mut(&id).filter(|waiter| waiter.outcome.is_none())?;
        waiter.end(outcome(waiter.peer, waiter.started), wake);
        Some(waiter.peer)
    }

    /// Whether further responses are of no use: of a group the first was wanted, and it has come.
    pub(crate) fn wants_one(&self, id: RequestId) -> bool {
        self.requests.get(&id).is_none_or(|waiter| waiter.peer.is_multicast())
    }

    pub(crate) fn repeated(&mut self, id: RequestId, wake: &mut Vec<Waker>) {
        if let Some(waiter) = self.requests.get_mut(&id) {
            waiter.repeated = true;
            wake.extend(waiter.waker.take());
        }
    }

    /// Ends all requests of a client; `each` is told which.
    pub(crate) fn close_client(&mut self, client: ClientId, wake: &mut Vec<Waker>, mut each: impl FnMut(RequestId)) {
        for (id, waiter) in self.requests.iter_mut().filter(|(_, waiter)| waiter.client == client) {
            each(*id);
            waiter.end(Outcome::Closed, wake);
        }
    }

    /// Ends all that are still open.
    pub(crate) fn close(&mut self, wake: &mut Vec<Waker>) {
        for waiter in self.requests.values_mut().filter(|waiter| waiter.outcome.is_none()) {
            waiter.end(Outcome::Closed, wake);
        }
    }
}

impl Waiter {
    fn end(&mut self, outcome: Outcome, wake: &mut Vec<Waker>) {
        self.outcome = Some(outcome);
        wake.extend(self.waker.take());
    }
}
