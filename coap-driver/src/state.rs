//! What handles and the driver task share behind the lock: the endpoint, and who waits for what.

use core::hash::BuildHasherDefault;
use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, HashMap};
use std::hash::DefaultHasher;
use std::io;
use std::sync::Arc;

use coap_core::{
    Code, Endpoint, Event, Failure, IncomingId, IncomingRequest, Instant, Peer, Request, RequestError, RequestId,
    RequestOptions, RespondError, Response, Timing,
};

use crate::counts::SocketStats;
use crate::error::Unreachable;
use crate::reply::Reply;
use crate::router::Router;

/// Which group of clones of a client a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientId(u64);

/// In an order that depends on nothing but what was done: where all are ended, the same run ends them in the same order.
/// The keys are our own handles and the peers that we ask, so nobody outside can choose them to collide.
type Table<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// Requests and their outcomes, handlers and their ends.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) endpoint: Endpoint,
    /// As of the last round of the driver task.
    pub(crate) socket_stats: SocketStats,
    /// Requests of ours whose caller has not taken the outcome yet.
    waiting: Table<RequestId, Waiter>,
    /// Callers whose request found a table full, by the ticket that they drew. One is woken for each request that ends.
    queues: Table<Room, BTreeMap<Ticket, Waker>>,
    tickets: u64,
    /// Handlers that did not finish at once, with the task that runs each of them.
    handlers: Table<IncomingId, Option<Waker>>,
    /// Why peers cannot be reached, until the events of it are taken.
    unreachable: Vec<(Peer, Unreachable)>,
    /// Handles that keep the driver task alive.
    users: usize,
    clients: u64,
    /// The driver task, when it sleeps.
    driver: Option<Waker>,
    /// Whoever waits for the server to end.
    serving: Option<Waker>,
    /// Why the driver task ended by itself.
    failure: Option<io::Error>,
    pub(crate) phase: Phase,
    pub(crate) doors: Doors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// No new requests; what is open may end until then.
    ShuttingDown {
        until: Instant,
    },
    /// The driver task is gone or going.
    Closed,
}

/// What becomes of a request from a peer.
#[derive(Clone, Debug)]
pub(crate) enum Doors {
    /// Nobody serves here: 4.04, as there is no resource at all.
    Absent,
    /// A server that is not serving yet, or not any more: 5.03.
    Shut,
    /// It goes to the router.
    Open(Arc<Router>),
}

/// Where there is no room for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Room {
    /// Too many wait for this peer.
    Peer(Peer),
    /// Too many are open, or too many peers known.
    Endpoint,
    /// None is wanted yet, as the name is still looked up: nobody is woken here but by the end of a client.
    None,
}

/// What a caller did with the room that it was woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Used,
    Unused,
}

/// The place of a caller in a queue: the lower, the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
struct Waiter {
    client: ClientId,
    peer: Peer,
    started: Instant,
    waker: Option<Waker>,
    repeated: bool,
    outcome: Option<Outcome>,
}

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
pub(crate) enum Progress {
    Repeated,
    Ended(Outcome),
}

impl State {
    pub(crate) fn new(endpoint: Endpoint, doors: Doors) -> Self {
        Self {
            endpoint,
            socket_stats: SocketStats::default(),
            waiting: Table::default(),
            queues: Table::default(),
            tickets: 0,
            handlers: Table::default(),
            unreachable: Vec::new(),
            users: 0,
            clients: 0,
            driver: None,
            serving: None,
            failure: None,
            phase: Phase::Running,
            doors,
        }
    }

    // ----- Handles ---------------------------------------------------------------------------------------------

    pub(crate) fn add_client(&mut self) -> ClientId {
        self.users += 1;
        self.clients += 1;
        ClientId(self.clients)
    }

    pub(crate) const fn add_server(&mut self) {
        self.users += 1;
    }

    pub(crate) const fn remove_user(&mut self) {
        self.users = self.users.saturating_sub(1);
    }

    /// The driver task to wake; it will look at everything again before it sleeps.
    pub(crate) const fn take_driver(&mut self) -> Option<Waker> {
        self.driver.take()
    }

    pub(crate) fn set_driver(&mut self, waker: &Waker) {
        if !self.driver.as_ref().is_some_and(|driver| driver.will_wake(waker)) {
            self.driver = Some(waker.clone());
        }
    }

    // ----- Requests of ours ------------------------------------------------------------------------------------

    pub(crate) fn request(
        &mut self,
        now: Instant,
        client: ClientId,
        to: Peer,
        request: Request,
        how: &RequestOptions,
    ) -> Result<RequestId, RequestError> {
        self.refuse_if_closed()?;
        let id = self.endpoint.request(now, to, request, how)?;
        self.wait_for(now, client, to, id);
        Ok(id)
    }

    pub(crate) fn ping(
        &mut self,
        now: Instant,
        client: ClientId,
        to: Peer,
        how: &RequestOptions,
    ) -> Result<RequestId, RequestError> {
        self.refuse_if_closed()?;
        let id = self.endpoint.ping_with(now, to, how)?;
        self.wait_for(now, client, to, id);
        Ok(id)
    }

    /// Without the driver task nobody would ever send the request, nor end it.
    fn refuse_if_closed(&self) -> Result<(), RequestError> {
        if self.phase == Phase::Closed { Err(RequestError::Shutdown) } else { Ok(()) }
    }

    fn wait_for(&mut self, started: Instant, client: ClientId, peer: Peer, id: RequestId) {
        self.waiting.insert(id, Waiter { client, peer, started, waker: None, repeated: false, outcome: None });
    }

    /// Forgets a request, whatever has become of it.
    pub(crate) fn forget(&mut self, now: Instant, id: RequestId, wake: &mut Vec<Waker>) {
        self.endpoint.cancel(now, id);
        if let Some(waiter) = self.waiting.remove(&id)
            && waiter.outcome.is_none()
        {
            self.give_room(waiter.peer, wake);
        }
    }

    /// Looks after a request. `Ended` comes once; a request that nobody knows has ended as well.
    pub(crate) fn poll_progress(&mut self, id: RequestId, cx: &Context<'_>) -> Poll<Progress> {
        let Some(waiter) = self.waiting.get_mut(&id) else { return Poll::Ready(Progress::Ended(Outcome::Closed)) };
        if let Some(outcome) = waiter.outcome.take() {
            self.waiting.remove(&id);
            return Poll::Ready(Progress::Ended(outcome));
        }
        if core::mem::take(&mut waiter.repeated) {
            return Poll::Ready(Progress::Repeated);
        }
        match &mut waiter.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => waiter.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// A place behind all that wait already.
    pub(crate) const fn draw_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Wakes `waker` when a request has ended, there may be room for another, and nobody with a lower ticket waits.
    ///
    /// The place is then gone, and taken again with the same ticket if somebody else was faster.
    pub(crate) fn wait_for_room(&mut self, room: Room, ticket: Ticket, waker: &Waker) {
        self.queues.entry(room).or_default().insert(ticket, waker.clone());
    }

    /// Gives the place up. Whoever has been woken and does not take the room leaves it to the next.
    pub(crate) fn leave_queue(&mut self, room: Room, ticket: Ticket, left: Left, wake: &mut Vec<Waker>) {
        let waited = self.queues.get_mut(&room).is_some_and(|queue| queue.remove(&ticket).is_some());
        if !waited && left == Left::Unused {
            self.wake_next(room, wake);
        }
    }

    fn wake_next(&mut self, room: Room, wake: &mut Vec<Waker>) {
        if let Some(queue) = self.queues.get_mut(&room) {
            wake.extend(queue.pop_first().map(|(_, waker)| waker));
            if queue.is_empty() {
                self.queues.remove(&room);
            }
        }
    }

    /// A request to `peer` has ended: there is room for another to it, and for another to anybody.
    fn give_room(&mut self, peer: Peer, wake: &mut Vec<Waker>) {
        if !self.queues.is_empty() {
            self.wake_next(Room::Peer(peer), wake);
            self.wake_next(Room::Endpoint, wake);
        }
    }

    /// Wakes all that wait for room, to look at what else has changed.
    fn wake_queues(&mut self, wake: &mut Vec<Waker>) {
        wake.extend(self.queues.drain().flat_map(|(_, queue)| queue.into_values()));
    }

    /// Ends all requests of a client.
    pub(crate) fn close_client(&mut self, now: Instant, client: ClientId, wake: &mut Vec<Waker>) {
        for (id, waiter) in self.waiting.iter_mut().filter(|(_, waiter)| waiter.client == client) {
            self.endpoint.cancel(now, *id);
            waiter.end(Outcome::Closed, wake);
        }
        self.wake_queues(wake);
    }

    /// Ends what is in flight to `peer`. The endpoint does not ask why; whoever waits is told.
    pub(crate) fn handle_unreachable(&mut self, now: Instant, peer: Peer, cause: Unreachable) {
        self.endpoint.handle_unreachable(now, peer);
        // The last report counts: the events of all of them are taken at the end of the round.
        self.unreachable.retain(|(known, _)| *known != peer);
        self.unreachable.push((peer, cause));
    }

    // ----- Events ----------------------------------------------------------------------------------------------

    /// Takes what the endpoint has to tell. Requests are for the driver task; all else wakes somebody.
    pub(crate) fn drain_events(&mut self, now: Instant, requests: &mut Vec<IncomingRequest>, wake: &mut Vec<Waker>) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Request(request) => requests.push(request),
                Event::IncomingClosed { id, .. } => self.close_handler(id, wake),
                Event::Response { id, from, response, timing } => {
                    self.settle(id, wake, |_| Outcome::Reply(Reply::new(from, response, timing)));
                    self.stop_collecting(now, id);
                }
                Event::Pong { id, timing } => self.settle(id, wake, |_| Outcome::Pong(timing)),
                Event::Failed { id, reason: Failure::Unreachable, timing } => {
                    let causes = core::mem::take(&mut self.unreachable);
                    self.settle(id, wake, |waiter| {
                        let peer = waiter.peer;
                        let cause = causes.iter().find(|(of, _)| *of == peer);
                        let cause = cause.map_or(Unreachable::Reported, |(_, cause)| *cause);
                        Outcome::Unreachable { peer, cause, timing }
                    });
                    self.unreachable = causes;
                }
                Event::Failed { id, reason, timing } => {
                    self.settle(id, wake, |waiter| Outcome::Failed { peer: waiter.peer, reason, timing });
                }
                // All responses to a multicast request have come, and not one: none was taken before.
                Event::Finished { id } => self.settle(id, wake, |waiter| {
                    let mut timing = Timing::default();
                    timing.attempts = 1;
                    timing.elapsed = now - waiter.started;
                    Outcome::Failed { peer: waiter.peer, reason: Failure::NoResponse, timing }
                }),
                Event::Retransmitted { id, .. } => {
                    if let Some(waiter) = self.waiting.get_mut(&id) {
                        waiter.repeated = true;
                        wake.extend(waiter.waker.take());
                    }
                }
                _ => {}
            }
        }
        self.unreachable.clear();
    }

    /// Keeps the outcome for whoever asked, unless there is one already: of a group the first response counts.
    fn settle(&mut self, id: RequestId, wake: &mut Vec<Waker>, outcome: impl FnOnce(&Waiter) -> Outcome) {
        if let Some(waiter) = self.waiting.get_mut(&id)
            && waiter.outcome.is_none()
        {
            let peer = waiter.peer;
            waiter.end(outcome(waiter), wake);
            self.give_room(peer, wake);
        }
    }

    /// Of a group the first response was wanted, and it has come.
    fn stop_collecting(&mut self, now: Instant, id: RequestId) {
        if self.waiting.get(&id).is_none_or(|waiter| waiter.peer.is_multicast()) {
            self.endpoint.cancel(now, id);
        }
    }

    // ----- Requests from peers ---------------------------------------------------------------------------------

    /// Answers. What cannot be sent becomes a 5.00: the peer waits.
    pub(crate) fn respond(&mut self, now: Instant, id: IncomingId, response: Response) {
        let refused = self.endpoint.respond(now, id, response);
        let text = match refused {
            Err(RespondError::TooLarge { .. }) => "the response is too large for a datagram",
            Err(RespondError::NotAResponse { .. }) => "the handler answered with a code that is none of a response",
            // Without a Message ID nothing can be sent for now: the endpoint ends the request in its time.
            _ => return,
        };
        let failed = Response::diagnostic(Code::INTERNAL_SERVER_ERROR, text);
        // It can only be over already.
        let _ = self.endpoint.respond(now, id, failed);
    }

    pub(crate) fn add_handler(&mut self, id: IncomingId) {
        self.handlers.insert(id, None);
    }

    /// Whether the handler should go on; its task is woken when it should not.
    pub(crate) fn goes_on(&mut self, id: IncomingId, cx: &Context<'_>) -> bool {
        let Some(task) = self.handlers.get_mut(&id) else { return false };
        match task {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *task = Some(cx.waker().clone()),
        }
        true
    }

    pub(crate) fn finish_handler(&mut self, now: Instant, id: IncomingId, response: Response) {
        if self.handlers.remove(&id).is_some() {
            self.respond(now, id, response);
        }
    }

    fn close_handler(&mut self, id: IncomingId, wake: &mut Vec<Waker>) {
        wake.extend(self.handlers.remove(&id).flatten());
    }

    // ----- The end ---------------------------------------------------------------------------------------------

    /// Takes no further requests, and ends when nothing is open, or at `until`. A further call may only bring that nearer.
    pub(crate) fn begin_shutdown(&mut self, now: Instant, until: Instant) {
        let until = match self.phase {
            Phase::Running => {
                self.endpoint.begin_shutdown(now);
                until
            }
            Phase::ShuttingDown { until: before } => before.min(until),
            Phase::Closed => return,
        };
        self.phase = Phase::ShuttingDown { until };
    }

    /// The sockets are of no more use.
    pub(crate) fn fail(&mut self, error: io::Error) {
        self.failure = Some(error);
    }

    /// True if the driver task has nothing left to do.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        match self.phase {
            _ if self.failure.is_some() => true,
            Phase::Running => self.users == 0,
            Phase::ShuttingDown { until } => now >= until || (self.handlers.is_empty() && self.endpoint.is_idle()),
            Phase::Closed => true,
        }
    }

    /// When the driver task must look again.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let end = match self.phase {
            Phase::ShuttingDown { until } => Some(until),
            _ => None,
        };
        [self.endpoint.poll_timeout(), end].into_iter().flatten().min()
    }

    /// Shuts the doors. The router comes back to be dropped when the lock is gone: it may hold a client of ours.
    #[must_use]
    pub(crate) fn shut(&mut self) -> Doors {
        core::mem::replace(&mut self.doors, Doors::Shut)
    }

    /// Ends all that is still open: requests of ours, and handlers, whose peers are told 5.03.
    pub(crate) fn close(&mut self, now: Instant, wake: &mut Vec<Waker>) {
        self.phase = Phase::Closed;
        for (id, task) in self.handlers.drain() {
            let _ = self.endpoint.respond(now, id, Response::new(Code::SERVICE_UNAVAILABLE));
            wake.extend(task);
        }
        for waiter in self.waiting.values_mut().filter(|waiter| waiter.outcome.is_none()) {
            waiter.end(Outcome::Closed, wake);
        }
        self.wake_queues(wake);
        wake.extend(self.serving.take());
    }

    /// Ready when the driver task has ended.
    pub(crate) fn poll_closed(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if self.phase == Phase::Closed {
            return Poll::Ready(self.failure.take().map_or(Ok(()), Err));
        }
        self.serving = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Waiter {
    fn end(&mut self, outcome: Outcome, wake: &mut Vec<Waker>) {
        self.outcome = Some(outcome);
        wake.extend(self.waker.take());
    }
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use coap_core::Config;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Woken {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn peer(port: u16) -> Peer {
        SocketAddr::from(([192, 0, 2, 1], port)).into()
    }

    fn state() -> State {
        State::new(Endpoint::new(Config::default(), StdRng::seed_from_u64(1)), Doors::Absent)
    }

    fn wait(state: &mut State, room: Room) -> (Ticket, Arc<Woken>) {
        let (ticket, woken) = (state.draw_ticket(), Arc::<Woken>::default());
        state.wait_for_room(room, ticket, &woken.clone().into());
        (ticket, woken)
    }

    fn wake(wakers: Vec<Waker>) {
        wakers.into_iter().for_each(Waker::wake);
    }

    #[test]
    fn a_request_that_ends_makes_room_for_one_to_its_peer_and_one_to_anybody() {
        let mut state = state();
        let client = state.add_client();
        let how = RequestOptions::new();
        let id = state.request(Instant::ZERO, client, peer(1), Request::get(), &how).unwrap();
        let (_, first) = wait(&mut state, Room::Peer(peer(1)));
        let (_, second) = wait(&mut state, Room::Peer(peer(1)));
        let (_, other) = wait(&mut state, Room::Peer(peer(2)));
        let (_, any) = wait(&mut state, Room::Endpoint);
        let mut wakers = Vec::new();
        state.forget(Instant::ZERO, id, &mut wakers);
        wake(wakers);
        assert_eq!([&first, &second, &other, &any].map(|woken| woken.count()), [1, 0, 0, 1]);
    }

    #[test]
    fn room_that_is_not_used_goes_to_the_next() {
        let mut state = state();
        let room = Room::Endpoint;
        let (first, _) = wait(&mut state, room);
        let (second, _) = wait(&mut state, room);
        let (_, third) = wait(&mut state, room);
        let mut wakers = Vec::new();
        // Still waiting: there is nothing to give on.
        state.leave_queue(room, first, Left::Unused, &mut wakers);
        assert!(wakers.is_empty());
        state.wake_next(room, &mut wakers);
        state.leave_queue(room, second, Left::Unused, &mut wakers);
        wake(wakers);
        assert_eq!(third.count(), 1);
        assert!(state.queues.is_empty());
    }

    #[test]
    fn whoever_finds_that_somebody_was_faster_keeps_the_place() {
        let mut state = state();
        let room = Room::Endpoint;
        let (ticket, first) = wait(&mut state, room);
        let (_, second) = wait(&mut state, room);
        let mut wakers = Vec::new();
        state.wake_next(room, &mut wakers);
        state.wait_for_room(room, ticket, &first.clone().into());
        state.wake_next(room, &mut wakers);
        wake(wakers);
        assert_eq!((first.count(), second.count()), (2, 0));
    }

    #[test]
    fn nothing_is_asked_when_the_driver_task_is_gone() {
        let mut state = state();
        let client = state.add_client();
        state.close(Instant::ZERO, &mut Vec::new());
        let how = RequestOptions::new();
        let refused = state.request(Instant::ZERO, client, peer(1), Request::get(), &how);
        assert_eq!(refused, Err(RequestError::Shutdown));
        assert_eq!(state.ping(Instant::ZERO, client, peer(1), &how), Err(RequestError::Shutdown));
    }

    #[test]
    fn the_driver_ends_with_its_last_handle() {
        let mut state = state();
        state.add_client();
        state.add_server();
        state.remove_user();
        assert!(!state.is_over(Instant::ZERO));
        state.remove_user();
        assert!(state.is_over(Instant::ZERO));
    }

    #[test]
    fn a_shutdown_ends_when_nothing_is_open_or_when_its_time_has_come() {
        let mut idle = state();
        idle.add_server();
        idle.begin_shutdown(Instant::ZERO, Instant::from_secs(9));
        assert!(idle.is_over(Instant::ZERO));

        let mut busy = state();
        let client = busy.add_client();
        busy.request(Instant::ZERO, client, peer(1), Request::get(), &RequestOptions::new()).unwrap();
        busy.begin_shutdown(Instant::ZERO, Instant::from_secs(1));
        assert!(!busy.is_over(Instant::ZERO));
        assert!(busy.next_timeout() <= Some(Instant::from_secs(1)));
        assert!(busy.is_over(Instant::from_secs(1)));
    }

    #[test]
    fn a_second_shutdown_may_be_sooner_and_is_never_later() {
        let mut busy = state();
        let client = busy.add_client();
        busy.request(Instant::ZERO, client, peer(1), Request::get(), &RequestOptions::new()).unwrap();
        busy.begin_shutdown(Instant::ZERO, Instant::from_secs(5));
        busy.begin_shutdown(Instant::ZERO, Instant::from_secs(9));
        assert!(busy.is_over(Instant::from_secs(5)));
        busy.begin_shutdown(Instant::ZERO, Instant::ZERO);
        assert!(busy.is_over(Instant::ZERO));
    }
}
