//! What handles and the driver task share behind the lock: the endpoint, and who waits for what.

use core::task::{Context, Poll, Waker};
use std::io;
use std::sync::Arc;

use coap_core::{
    Body, Event, Failure, IncomingRequest, Instant, Peer, Request, RequestError, RequestId, RequestOptions, Response,
    SessionEnd, Timing,
};

use crate::counts::SocketStats;
use crate::error::Unreachable;
use crate::events::{ClientEvent, Feeds};
use crate::observing::{Asked, Joined, Manner, ObserverId, Observing, Which};
use crate::progress::Progress;
use crate::queues::Queues;
use crate::reply::Reply;
use crate::router::Router;
use crate::serving::Serving;
use crate::sessions::Machine;
#[cfg(feature = "dtls")]
use crate::sessions::Sessions;
use crate::sockets::Unsent;
use crate::waiting::{ClientId, Outcome, Waiting};

/// Requests and their outcomes, handlers and their ends.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) endpoint: Machine,
    #[cfg(feature = "dtls")]
    pub(crate) sessions: Sessions,
    /// As of the last round of the driver task.
    pub(crate) socket_stats: SocketStats,
    pub(crate) waiting: Waiting,
    pub(crate) observing: Observing,
    pub(crate) queues: Queues,
    /// Something may have ended that the driver task has not looked after: what peers had open.
    pub(crate) stirred: bool,
    pub(crate) feeds: Feeds,
    pub(crate) serving: Serving,
    /// Why peers cannot be reached, until the events of it are taken.
    unreachable: Vec<(Peer, Unreachable)>,
    /// Handles that keep the driver task alive.
    users: usize,
    clients: u64,
    /// The driver task, when it sleeps.
    driver: Option<Waker>,
    /// Whoever waits for the server to end.
    served: Option<Waker>,
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

impl State {
    pub(crate) fn new(endpoint: Machine, doors: Doors) -> Self {
        Self {
            endpoint,
            #[cfg(feature = "dtls")]
            sessions: Sessions::default(),
            socket_stats: SocketStats::default(),
            waiting: Waiting::default(),
            observing: Observing::default(),
            queues: Queues::default(),
            stirred: false,
            feeds: Feeds::default(),
            serving: Serving::default(),
            unreachable: Vec::new(),
            users: 0,
            clients: 0,
            driver: None,
            served: None,
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
        let supplies = request.body.is_in_parts();
        let id = self.endpoint.request(now, to, request, how)?;
        self.waiting.add(now, client, to, self.told_as(to), id);
        if supplies {
            self.waiting.add_body(id, id.request_body());
        }
        Ok(id)
    }

    /// An observation, or a place at one that is there already.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        client: ClientId,
        to: Peer,
        asked: &Asked,
        how: &RequestOptions,
    ) -> Result<Joined, RequestError> {
        self.refuse_if_closed()?;
        let told = self.told_as(to);
        self.observing.observe(&mut self.endpoint, now, client, (to, told), asked, how)
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
        self.waiting.add(now, client, to, self.told_as(to), id);
        Ok(id)
    }

    /// Without the driver task nobody would ever send the request, nor end it.
    fn refuse_if_closed(&self) -> Result<(), RequestError> {
        if self.phase == Phase::Closed { Err(RequestError::Shutdown) } else { Ok(()) }
    }

    /// Forgets a request, whatever has become of it.
    pub(crate) fn forget(&mut self, now: Instant, id: RequestId, wake: &mut Vec<Waker>) {
        self.endpoint.cancel(now, id);
        if let Some(peer) = self.waiting.remove(id) {
            self.queues.give_room(peer, wake);
        }
    }

    pub(crate) fn leave_observation(&mut self, now: Instant, id: ObserverId, manner: Manner, wake: &mut Vec<Waker>) {
        self.observing.leave(&mut self.endpoint, &mut self.queues, now, id, manner, wake);
    }

    pub(crate) fn leave_resource(&mut self, now: Instant, which: Which<'_>, wake: &mut Vec<Waker>) -> usize {
        self.observing.leave_resource(&mut self.endpoint, &mut self.queues, now, which, wake)
    }

    /// Ends all requests and observations of a client.
    pub(crate) fn close_client(&mut self, now: Instant, client: ClientId, wake: &mut Vec<Waker>) {
        self.waiting.close_client(client, wake, |id| {
            self.endpoint.cancel(now, id);
        });
        self.observing.close_client(&mut self.endpoint, &mut self.queues, now, client, wake);
        self.queues.wake_all(wake);
    }

    /// Ends what is in flight to `peer`. The endpoint does not ask why; whoever waits is told.
    pub(crate) fn handle_unreachable(&mut self, now: Instant, unsent: Unsent) {
        let Unsent { peer, cause, group } = unsent;
        match group {
            Some(request) => self.endpoint.handle_not_sent(now, request),
            None => self.endpoint.handle_unreachable(now, peer),
        }
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
                Event::IncomingClosed { id, why } => {
                    requests.retain(|request| request.id != id);
                    self.close_request(now, id, why, wake);
                }
                Event::BodyPart { id, offset, data, last } if self.waiting.knows_body(id) => {
                    let room = self.waiting.add_part(id, offset, &data, last, wake);
                    self.give_room(room, wake);
                }
                Event::BodyWanted { id, max, .. } if self.waiting.knows_body(id) => self.waiting.want(id, max, wake),
                Event::BodyPart { id, data, last, .. } => requests.extend(self.serving.on_part(id, data, last, wake)),
                Event::BodyWanted { id, max, .. } => self.serving.on_wanted(id, max, wake),
                Event::ObserverLost { topic, .. } => {
                    self.serving.topics.observer_lost(&mut self.endpoint, now, topic);
                }
                Event::Response { id, from, response, timing } => {
                    self.on_response(now, id, from, response, timing, wake)
                }
                Event::Pong { id, timing } => self.settle(id, wake, |_, _| Outcome::Pong(timing)),
                Event::Failed { id, reason, timing } => {
                    let reason = self.reason_of(id, reason);
                    let cause = self.cause_of(reason);
                    self.settle(id, wake, |peer, _| failed(peer, reason, timing, &cause));
                }
                Event::BodyFailed { id, reason } => {
                    let cause = self.cause_of(reason);
                    let room = self.waiting.fail_body(id, wake, |peer, started| {
                        let mut timing = Timing::default();
                        timing.elapsed = now - started;
                        failed(peer, reason, timing, &cause)
                    });
                    self.give_room(room, wake);
                }
                // All responses to a multicast request have come, and not one: none was taken before.
                Event::Finished { id } => self.settle(id, wake, |peer, started| {
                    let mut timing = Timing::default();
                    timing.attempts = 1;
                    timing.elapsed = now - started;
                    Outcome::Failed { peer, reason: Failure::NoResponse, timing }
                }),
                Event::Retransmitted { id, attempt } => {
                    if let Some((client, request)) = self.waiting.owner(id) {
                        self.feeds.tell(client, wake, || ClientEvent::Retransmitted { request, attempt });
                    }
                    self.waiting.repeated(id, wake);
                    self.observing.repeated(id, wake);
                }
                Event::Progress { id, sent, received } => {
                    self.waiting.moved(id, Progress::new(sent, received), wake);
                }
                Event::Notification { id, response } => self.observing.renew(now, id, response, wake),
                Event::Stale { id } => self.observing.age(id, wake),
                Event::Reregistering { id, attempt } => self.observing.register_again(id, attempt, wake),
                _ => {}
            }
        }
        self.unreachable.clear();
        self.observing.sweep(&self.endpoint, &mut self.queues, wake);
    }

    fn on_response(
        &mut self,
        now: Instant,
        id: RequestId,
        from: Peer,
        response: Response,
        timing: Timing,
        wake: &mut Vec<Waker>,
    ) {
        if let Body::Parts { size } = response.body {
            self.waiting.add_body(id, id.response_body());
            self.waiting.begin(id, from, response, timing, size);
            return;
        }
        let reply = Reply::new(from, self.told_as(from), response, timing);
        if !self.waiting.is_to_group(id) {
            return self.settle(id, wake, |_, _| Outcome::Reply(reply));
        }
        if let Some((client, request)) = self.waiting.owner(id) {
            self.feeds.tell(client, wake, || ClientEvent::GroupResponse { request, reply: reply.clone() });
        }
        let Some(reply) = self.waiting.add_member(id, reply, wake) else { return };
        // Who wants one response wants all of it.
        if reply.options.block2().is_some_and(|block| block.more()) {
            return;
        }
        self.settle(id, wake, |_, _| Outcome::Reply(reply));
        self.stop_collecting(now, id);
    }

    /// What was not sent because its session did not come to stand in time has failed for that.
    fn reason_of(&self, id: RequestId, reason: Failure) -> Failure {
        let peer = || self.waiting.peer_of(id).or_else(|| self.observing.peer_of(id));
        match (reason, peer().filter(|_| reason == Failure::NotSent).and_then(|peer| self.is_answering(peer))) {
            (Failure::NotSent, Some(true)) => Failure::Session(SessionEnd::HandshakeTimeout),
            (Failure::NotSent, Some(false)) => Failure::Session(SessionEnd::NoAnswer),
            _ => reason,
        }
    }

    /// Who says of which peers that they are unreachable, if that is why something failed.
    fn cause_of(&self, reason: Failure) -> Vec<(Peer, Unreachable)> {
        if is_unreachable(reason) { self.unreachable.clone() } else { Vec::new() }
    }

    fn settle(&mut self, id: RequestId, wake: &mut Vec<Waker>, outcome: impl FnOnce(Peer, Instant) -> Outcome) {
        let room = if self.observing.knows(id) {
            self.observing.settle(id, wake, outcome)
        } else {
            self.waiting.settle(id, wake, outcome)
        };
        self.give_room(room, wake);
    }

    fn give_room(&mut self, ended: Option<Peer>, wake: &mut Vec<Waker>) {
        if let Some(peer) = ended {
            self.queues.give_room(peer, wake);
        }
    }

    /// Of a group the first response was wanted, and it has come.
    fn stop_collecting(&mut self, now: Instant, id: RequestId) {
        if self.waiting.wants_one(id) {
            self.endpoint.cancel(now, id);
        }
    }

    // ----- The end ---------------------------------------------------------------------------------------------

    /// Takes no further requests, and ends when nothing is open, or at `until`. A further call may only bring that nearer.
    pub(crate) fn begin_shutdown(&mut self, now: Instant, until: Instant) {
        let until = match self.phase {
            Phase::Running => {
                self.observing.shut_down(&mut self.endpoint, now);
                self.endpoint.begin_shutdown(now);
                // They should know sooner than by silence.
                self.serving.topics.close_all(&mut self.endpoint, now);
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
            Phase::ShuttingDown { until } => now >= until || (!self.serving.has_handlers() && self.endpoint.is_idle()),
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
    pub(crate) fn shut(&mut self, now: Instant) -> Doors {
        self.serving.topics.close_all(&mut self.endpoint, now);
        core::mem::replace(&mut self.doors, Doors::Shut)
    }

    /// Ends all that is still open: requests of ours, and handlers, whose peers are told 5.03.
    pub(crate) fn close(&mut self, now: Instant, wake: &mut Vec<Waker>) {
        self.phase = Phase::Closed;
        self.close_serving(now, wake);
        self.waiting.close(wake);
        self.observing.close(wake);
        self.feeds.close(None, wake);
        self.queues.wake_all(wake);
        wake.extend(self.served.take());
    }

    /// Ready when the driver task has ended.
    pub(crate) fn poll_closed(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if self.phase == Phase::Closed {
            return Poll::Ready(self.failure.take().map_or(Ok(()), Err));
        }
        self.served = Some(cx.waker().clone());
        Poll::Pending
    }
}

const fn is_unreachable(reason: Failure) -> bool {
    matches!(reason, Failure::Unreachable | Failure::Session(SessionEnd::Unreachable))
}

fn failed(peer: Peer, reason: Failure, timing: Timing, causes: &[(Peer, Unreachable)]) -> Outcome {
    if !is_unreachable(reason) {
        return Outcome::Failed { peer, reason, timing };
    }
    let cause = causes.iter().find(|(of, _)| *of == peer);
    Outcome::Unreachable { peer, cause: cause.map_or(Unreachable::Reported, |(_, cause)| *cause), timing }
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;

    use coap_core::Config;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::sessions::Credentials;

    fn peer(port: u16) -> Peer {
        SocketAddr::from(([192, 0, 2, 1], port)).into()
    }

    fn state() -> State {
        let rng = Box::new(StdRng::seed_from_u64(1));
        State::new(Credentials::default().machine(Config::default(), rng), Doors::Absent)
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
