//! Requests of ours: who waits for each, and what has become of it and of its bodies.

use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;

use bytes::Bytes;
use coap_core::{BodyId, Failure, Instant, Peer, RequestId, Response, Timing};

use crate::error::{Error, Unreachable};
use crate::events::RequestNumber;
use crate::group::Members;
use crate::progress::Progress;
use crate::queues::Table;
use crate::reply::{Reply, owned};

/// Which group of clones of a client a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientId(pub(crate) u64);

/// How a request ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Reply(Reply),
    Pong(Timing),
    Failed { peer: Peer, reason: Failure, timing: Timing },
    Unreachable { peer: Peer, cause: Unreachable, timing: Timing },
    Closed,
}

impl Outcome {
    /// Why there is no (further) response.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Failed { peer, reason, timing } => Error::from_failure(peer, reason, timing),
            Self::Unreachable { peer, cause, timing } => Error::Unreachable { peer, cause, timing },
            Self::Reply(reply) => Error::Status(Box::new(reply)),
            Self::Pong(_) | Self::Closed => Error::Closed,
        }
    }
}

/// What there is to know about a request since one last looked.
#[derive(Debug)]
pub(crate) enum News {
    Repeated,
    Moved(Progress),
    /// So many bytes of the content are to be supplied.
    Wanted(usize),
    /// The response comes in parts, and the first is there: `poll_part` from now on.
    Began(Head),
    Ended(Outcome),
}

/// The beginning of a response in parts.
#[derive(Debug)]
pub(crate) struct Head {
    /// Without content.
    pub(crate) reply: Reply,
    pub(crate) size: Option<u64>,
    /// Where the first part starts.
    pub(crate) offset: u64,
}

/// What there is to know about a response in parts.
#[derive(Debug)]
pub(crate) enum PartNews {
    Moved(Progress),
    Part {
        data: Bytes,
        /// The body ends with it, and nothing is left to ask for.
        last: bool,
    },
    Ended(Outcome),
}

/// Requests whose caller has not taken all that there is to take.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    requests: Table<RequestId, Waiter>,
    /// Whose bodies come or go in parts.
    bodies: Table<BodyId, RequestId>,
}

#[derive(Debug)]
struct Waiter {
    client: ClientId,
    /// For the client's stream of events.
    number: Option<RequestNumber>,
    peer: Peer,
    /// What the caller knows it as.
    told: Peer,
    started: Instant,
    waker: Option<Waker>,
    repeated: bool,
    moved: Option<Progress>,
    wanted: Option<usize>,
    inflow: Option<Box<Inflow>>,
    /// All answers of a group are wanted: those that have come.
    members: Option<Box<Members>>,
    outcome: Option<Outcome>,
}

/// A response in parts.
#[derive(Debug)]
struct Inflow {
    /// Until it has been taken.
    head: Option<(Reply, Option<u64>)>,
    /// The endpoint sends the next one when one has been taken, so there are one or two.
    parts: VecDeque<(u64, Bytes)>,
    /// The last one is there.
    complete: bool,
}

impl Waiting {
    pub(crate) fn add(&mut self, started: Instant, client: ClientId, peer: Peer, told: Peer, id: RequestId) {
        let waiter = Waiter {
            client,
            number: None,
            peer,
            told,
            started,
            waker: None,
            repeated: false,
            moved: None,
            wanted: None,
            inflow: None,
            members: None,
            outcome: None,
        };
        self.requests.insert(id, waiter);
    }

    /// Gives a request the number that its client knows it by.
    pub(crate) fn set_number(&mut self, id: RequestId, number: Option<RequestNumber>) {
        if let Some(waiter) = self.requests.get_mut(&id) {
            waiter.number = number;
        }
    }

    /// Whose request it is, and its number there.
    pub(crate) fn owner(&self, id: RequestId) -> Option<(ClientId, RequestNumber)> {
        let waiter = self.requests.get(&id)?;
        Some((waiter.client, waiter.number?))
    }

    /// Whom a request is to.
    pub(crate) fn peer_of(&self, id: RequestId) -> Option<Peer> {
        self.requests.get(&id).map(|waiter| waiter.peer)
    }

    /// Whether a request to this peer is open.
    #[cfg(feature = "dtls")]
    pub(crate) fn has_open(&self, peer: Peer) -> bool {
        self.requests.values().any(|waiter| waiter.peer == peer && waiter.is_open())
    }

    pub(crate) fn is_to_group(&self, id: RequestId) -> bool {
        self.requests.get(&id).is_some_and(|waiter| waiter.peer.is_multicast())
    }

    // ----- Groups ----------------------------------------------------------------------------------------------

    /// Wants all answers of a group, which `poll_member` gives.
    pub(crate) fn collect(&mut self, id: RequestId) {
        if let Some(waiter) = self.requests.get_mut(&id) {
            waiter.members = Some(Box::default());
        }
    }

    /// An answer of a group; it comes back if one is enough.
    pub(crate) fn add_member(&mut self, id: RequestId, reply: Reply, wake: &mut Vec<Waker>) -> Option<Reply> {
        let Some(waiter) = self.requests.get_mut(&id) else { return Some(reply) };
        let Some(members) = &mut waiter.members else { return Some(reply) };
        members.add(reply);
        wake.extend(waiter.waker.take());
        None
    }

    /// The next answer of a group, and then why there are no more.
    pub(crate) fn poll_member(&mut self, id: RequestId, cx: &Context<'_>) -> Poll<Result<Reply, Outcome>> {
        let Some(waiter) = self.requests.get_mut(&id) else { return Poll::Ready(Err(Outcome::Closed)) };
        if let Some(reply) = waiter.members.as_mut().and_then(|members| members.take()) {
            return Poll::Ready(Ok(reply));
        }
        // It stays until it is forgotten.
        if let Some(outcome) = &waiter.outcome {
            return Poll::Ready(Err(outcome.clone()));
        }
        waiter.wait(cx);
        Poll::Pending
    }

    /// How many answers of a group were dropped.
    pub(crate) fn lost_members(&self, id: RequestId) -> u64 {
        let waiter = self.requests.get(&id);
        waiter.and_then(|waiter| waiter.members.as_ref()).map_or(0, |members| members.lost)
    }

    /// Lets events about one of its bodies find the request.
    pub(crate) fn add_body(&mut self, id: RequestId, body: BodyId) {
        self.bodies.insert(body, id);
    }

    /// Whether events about this body are for a request of ours.
    pub(crate) fn knows_body(&self, body: BodyId) -> bool {
        self.bodies.contains_key(&body)
    }

    /// Forgets a request. If it was still open, that is room for another to the peer that comes back.
    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Peer> {
        let waiter = self.requests.remove(&id)?;
        self.bodies.remove(&id.request_body());
        self.bodies.remove(&id.response_body());
        waiter.is_open().then_some(waiter.peer)
    }

    /// Looks after a request. `Began` and `Ended` come once; a request that nobody knows has ended as well.
    pub(crate) fn poll(&mut self, id: RequestId, cx: &Context<'_>) -> Poll<News> {
        let Some(waiter) = self.requests.get_mut(&id) else { return Poll::Ready(News::Ended(Outcome::Closed)) };
        if let Some(moved) = waiter.moved.take() {
            return Poll::Ready(News::Moved(moved));
        }
        if let Some(head) = waiter.inflow.as_deref_mut().and_then(Inflow::take_head) {
            return Poll::Ready(News::Began(head));
        }
        if let Some(outcome) = waiter.outcome.take() {
            self.remove(id);
            return Poll::Ready(News::Ended(outcome));
        }
        if let Some(max) = waiter.wanted.take() {
            return Poll::Ready(News::Wanted(max));
        }
        if core::mem::take(&mut waiter.repeated) {
            return Poll::Ready(News::Repeated);
        }
        waiter.wait(cx);
        Poll::Pending
    }

    /// Looks after the parts of a response that has begun. The last part, and `Ended`, come once.
    pub(crate) fn poll_part(&mut self, id: RequestId, cx: &Context<'_>) -> Poll<PartNews> {
        let Some(waiter) = self.requests.get_mut(&id) else { return Poll::Ready(PartNews::Ended(Outcome::Closed)) };
        if let Some(moved) = waiter.moved.take() {
            return Poll::Ready(PartNews::Moved(moved));
        }
        if let Some(inflow) = &mut waiter.inflow
            && let Some((_, data)) = inflow.parts.pop_front()
        {
            let last = inflow.complete && inflow.parts.is_empty();
            if last {
                self.remove(id);
            }
            return Poll::Ready(PartNews::Part { data, last });
        }
        if let Some(outcome) = waiter.outcome.take() {
            self.remove(id);
            return Poll::Ready(PartNews::Ended(outcome));
        }
        waiter.wait(cx);
        Poll::Pending
    }

    // ----- Events ----------------------------------------------------------------------------------------------

    /// Keeps the outcome for whoever asked, unless there is one already: of a group the first response counts. If the
    /// request was still open, that is room for another to the peer that comes back.
    pub(crate) fn settle(
        &mut self,
        id: RequestId,
        wake: &mut Vec<Waker>,
        outcome: impl FnOnce(Peer, Instant) -> Outcome,
    ) -> Option<Peer> {
        let waiter = self.requests.get_mut(&id).filter(|waiter| waiter.is_open())?;
        waiter.end(outcome(waiter.told, waiter.started), wake);
        Some(waiter.peer)
    }

    /// The parts of this response will follow.
    pub(crate) fn begin(&mut self, id: RequestId, from: Peer, response: Response, timing: Timing, size: Option<u64>) {
        if let Some(waiter) = self.requests.get_mut(&id) {
            let head = Some((Reply::new(from, waiter.told, response, timing), size));
            waiter.inflow = Some(Box::new(Inflow { head, parts: VecDeque::new(), complete: false }));
        }
    }

    /// A part of a response has come. If it is the last, that is room for another request to the peer that comes back.
    pub(crate) fn add_part(
        &mut self,
        body: BodyId,
        offset: u64,
        data: &Bytes,
        last: bool,
        wake: &mut Vec<Waker>,
    ) -> Option<Peer> {
        let waiter = self.waiter_of(body).filter(|waiter| waiter.is_open())?;
        let inflow = waiter.inflow.as_mut()?;
        inflow.parts.push_back((offset, owned(data)));
        inflow.complete = last;
        wake.extend(waiter.waker.take());
        last.then_some(waiter.peer)
    }

    /// A response will not come to its end.
    pub(crate) fn fail_body(
        &mut self,
        body: BodyId,
        wake: &mut Vec<Waker>,
        outcome: impl FnOnce(Peer, Instant) -> Outcome,
    ) -> Option<Peer> {
        let id = *self.bodies.get(&body)?;
        self.settle(id, wake, outcome)
    }

    /// Bytes of the content are to be supplied.
    pub(crate) fn want(&mut self, body: BodyId, max: usize, wake: &mut Vec<Waker>) {
        if let Some(waiter) = self.waiter_of(body) {
            waiter.wanted = Some(max);
            wake.extend(waiter.waker.take());
        }
    }

    pub(crate) fn moved(&mut self, id: RequestId, progress: Progress, wake: &mut Vec<Waker>) {
        if let Some(waiter) = self.requests.get_mut(&id) {
            waiter.moved = Some(progress);
            wake.extend(waiter.waker.take());
        }
    }

    pub(crate) fn repeated(&mut self, id: RequestId, wake: &mut Vec<Waker>) {
        if let Some(waiter) = self.requests.get_mut(&id) {
            waiter.repeated = true;
            wake.extend(waiter.waker.take());
        }
    }

    fn waiter_of(&mut self, body: BodyId) -> Option<&mut Waiter> {
        self.requests.get_mut(self.bodies.get(&body)?)
    }

    // ----- The end ---------------------------------------------------------------------------------------------

    /// Whether further responses are of no use: of a group the first was wanted, and it has come.
    pub(crate) fn wants_one(&self, id: RequestId) -> bool {
        self.requests.get(&id).is_none_or(|waiter| waiter.peer.is_multicast())
    }

    /// Ends all requests of a client; `each` is told which.
    pub(crate) fn close_client(&mut self, client: ClientId, wake: &mut Vec<Waker>, mut each: impl FnMut(RequestId)) {
        for (id, waiter) in self.requests.iter_mut().filter(|(_, waiter)| waiter.client == client) {
            each(*id);
            waiter.close(wake);
        }
    }

    /// Ends all that are still open.
    pub(crate) fn close(&mut self, wake: &mut Vec<Waker>) {
        for waiter in self.requests.values_mut().filter(|waiter| waiter.is_open()) {
            waiter.close(wake);
        }
    }
}

impl Waiter {
    /// The endpoint still has something to do with it.
    fn is_open(&self) -> bool {
        self.outcome.is_none() && !self.inflow.as_ref().is_some_and(|inflow| inflow.complete)
    }

    fn end(&mut self, outcome: Outcome, wake: &mut Vec<Waker>) {
        self.outcome = Some(outcome);
        wake.extend(self.waker.take());
    }

    /// What has come in parts is of no use any more either: the client is closed.
    fn close(&mut self, wake: &mut Vec<Waker>) {
        self.inflow = None;
        self.members = None;
        self.end(Outcome::Closed, wake);
    }

    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

impl Inflow {
    /// Once, and not before the first part is there: it says where the body starts.
    fn take_head(&mut self) -> Option<Head> {
        let offset = self.parts.front()?.0;
        let (reply, size) = self.head.take()?;
        Some(Head { reply, size, offset })
    }
}
