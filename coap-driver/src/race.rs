//! A request on its way: to one address after the other, within its time, to its one outcome.

use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use coap_core::{Failure, Instant, Peer, Request, RequestError, RequestId, RequestOptions, SessionEnd, Timing};

use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::events::RequestNumber;
use crate::observing::{Asked, Joined, Manner, ObserverId};
use crate::place::Place;
use crate::progress::{Progress, ProgressHook};
use crate::queues::{Left, Room};
use crate::reply::Reply;
use crate::runtime::{Runtime, Timer};
use crate::sessions::Secure;
use crate::shared::Shared;
use crate::target::Target;
use crate::timeout::within;
use crate::upload::{Chunk, Upload};
use crate::waiting::{ClientId, Head, News, Outcome};

/// How long the first address has for its handshake before the next is tried beside it: ACK_TIMEOUT and half of it, as a
/// request in the clear has at the average before it is repeated (RFC 7252 §4.2).
const HURRY: Duration = Duration::from_millis(2_500);

/// Whom a target stands for.
#[derive(Debug)]
pub(crate) struct Destination {
    /// The best first; at least one.
    pub(crate) peers: Vec<Peer>,
    /// They are asked in sessions that are made so, and never in the clear.
    pub(crate) secure: Option<Secure>,
}

impl From<Peer> for Destination {
    /// In the clear, or in the session that the peer is.
    fn from(peer: Peer) -> Self {
        Self { peers: vec![peer], secure: None }
    }
}

/// Whom `target` may stand for. A client that is closed does not wait for its name server.
pub(crate) async fn resolve<R: Runtime>(
    client: &Client<R>,
    target: &Target,
    deadline: Deadline,
) -> Result<Destination, Error> {
    // Before a name is looked up, which is in the clear too.
    let secure = target.secure_host().map(|host| client.shared().credentials().secure(host)).transpose()?;
    let mut looking = pin!(target.resolve(client.runtime(), deadline.patience()));
    // The place is taken for the news of the end: see `Room::None`.
    let place = target.is_name().then(|| Place::new(client.shared().clone(), Room::None));
    let peers = poll_fn(|cx| {
        if let Some(place) = &place {
            place.wait(cx);
            if deadline.is_ended(client) {
                return Poll::Ready(Err(Error::Closed));
            }
        }
        let found = ready!(looking.as_mut().poll(cx));
        // A look-up that fails with the runtime is not the name server's fault.
        Poll::Ready(if found.is_err() && deadline.is_ended(client) { Err(Error::Closed) } else { found })
    });
    let peers = peers.await?;
    match peers.iter().find(|peer| secure.is_some() && peer.is_multicast()) {
        Some(group) => Err(Error::SecureGroup { peer: *group }),
        None => Ok(Destination { peers, secure }),
    }
}

/// What is asked.
pub(crate) enum Ask {
    Ping,
    Request(Request),
    Observe(Asked),
    /// All answers of a group.
    Group(Request),
}

/// How it ended, or went over into what goes on.
pub(crate) enum Finish {
    Reply(Reply),
    Pong(Timing),
    /// A response in parts. The request is the caller's to forget.
    Began(RequestId, Head),
    /// A request to a group was sent. It is the caller's to forget.
    Collecting(RequestId),
    /// The observer is the caller's to let go.
    Observing(ObserverId),
}

/// A request to one address after the other, and to two at a time where that does no harm. Whatever is open when it is
/// dropped is cancelled.
pub(crate) struct Race<R: Runtime> {
    client: Client<R>,
    ask: Ask,
    how: RequestOptions,
    deadline: Deadline,
    upload: Option<Upload>,
    /// What the endpoint waits for of the upload.
    wanted: Option<(RequestId, usize)>,
    on_progress: Option<ProgressHook>,
    /// Under which its repetitions are told.
    number: Option<RequestNumber>,
    secure: Option<Secure>,
    /// When the next address is tried beside one whose handshake takes its time.
    hurry: Option<R::Timer>,
    /// The one that was asked last: of an address that is asked in a session, that.
    asked: Option<Peer>,
    running: Vec<Running<R>>,
}

/// One address that is asked.
enum Running<R: Runtime> {
    Request(RequestId),
    Observer { id: ObserverId, peer: Peer, waits: Waits<R::Timer> },
}

/// What an observer waits for.
enum Waits<T> {
    /// A registration of its own.
    Alone,
    /// Somebody else's, which has times of its own: for as long as this says.
    Joined(T),
}

/// What happens next.
enum Step<R: Runtime> {
    Repeated,
    Moved(Progress),
    Began(RequestId, Head),
    Observing(ObserverId),
    Ended(Running<R>, Outcome),
    /// It was waited for somebody else's registration long enough.
    TimedOut(Peer),
    /// The content cannot be read.
    Broken(io::Error),
}

impl<R: Runtime> Race<R> {
    pub(crate) const fn new(client: Client<R>, ask: Ask, how: RequestOptions, deadline: Deadline) -> Self {
        Self {
            client,
            ask,
            how,
            deadline,
            upload: None,
            wanted: None,
            on_progress: None,
            number: None,
            secure: None,
            hurry: None,
            asked: None,
            running: Vec::new(),
        }
    }

    /// Supplies the content.
    pub(crate) fn with_upload(mut self, upload: Option<Upload>) -> Self {
        self.upload = upload;
        self
    }

    pub(crate) fn with_progress(mut self, on_progress: Option<ProgressHook>) -> Self {
        self.on_progress = on_progress;
        self
    }

    pub(crate) const fn with_number(mut self, number: RequestNumber) -> Self {
        self.number = Some(number);
        self
    }

    /// Whoever wants to know of the progress that is still to come.
    pub(crate) const fn take_progress(&mut self) -> Option<ProgressHook> {
        self.on_progress.take()
    }

    /// Runs to the outcome.
    pub(crate) async fn run(&mut self, to: impl Into<Destination>) -> Result<Finish, Error> {
        let Destination { peers, secure } = to.into();
        self.secure = secure;
        let mut peers = peers.into_iter().peekable();
        if peers.len() > 1 || (self.number.is_some() && self.shared().lock().feeds.has(self.id())) {
            self.how = self.how.clone().report_retransmissions();
        }
        if self.on_progress.is_some() {
            self.how = self.how.clone().report_progress();
        }
        let mut failed = Error::Closed;
        // An address that could not be asked again while another one was.
        let mut put_off = None;
        loop {
            if self.running.is_empty() {
                // What the last address has asked for is not given to it any more: it would be missing at the next.
                self.wanted = None;
                // What was read of the content is gone, unless it is little.
                if !self.upload.as_mut().is_none_or(Upload::rewind) {
                    return Err(failed);
                }
                let Some(peer) = peers.next().or_else(|| put_off.take()) else { return Err(failed) };
                match self.start_in_time(peer).await {
                    Ok(()) if peers.peek().is_some() => self.set_hurry(),
                    Ok(()) => {}
                    // Another address may be of the family that there is a socket for.
                    Err(error) if peers.peek().is_some() && matches!(error, Error::AddressFamily { .. }) => {
                        failed = error;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            if matches!(self.ask, Ask::Group(_))
                && let Some(Running::Request(id)) = self.running.pop()
            {
                return Ok(Finish::Collecting(id));
            }
            let (running, outcome) = match poll_fn(|cx| self.poll_step(cx)).await {
                Step::Repeated => {
                    // The first address has had its chance. It keeps it, unless two servers might both act, or both
                    // would read the same content.
                    if self.is_harmless()
                        && self.upload.is_none()
                        && let Some(peer) = peers.next()
                    {
                        // It was worth a try; the first one still runs.
                        let _ = self.start(peer);
                    }
                    continue;
                }
                Step::Moved(progress) => {
                    if let Some(told) = &mut self.on_progress {
                        told(progress);
                    }
                    continue;
                }
                Step::Began(id, head) => return Ok(Finish::Began(id, head)),
                Step::Observing(id) => return Ok(Finish::Observing(id)),
                Step::TimedOut(peer) => return Err(self.timed_out(peer)),
                Step::Broken(error) => return Err(Error::Body(error)),
                Step::Ended(running, outcome) => (running, outcome),
            };
            match outcome {
                // Nobody has it: any request may go to the next address.
                Outcome::Unreachable { peer, cause, timing } => {
                    failed = Error::Unreachable { peer, cause, timing };
                }
                // Somebody else's registration, which may have had less time.
                Outcome::Failed { peer, reason: Failure::NotSent | Failure::NoAck | Failure::NoResponse, .. }
                    if running.is_joined() =>
                {
                    self.ask_again(peer, &mut put_off).await?;
                }
                // It knows no such tokens, and has not looked at the request: it is asked again with one that everybody knows.
                Outcome::Failed { peer, reason: Failure::ExtendedToken, timing } => {
                    self.wanted = None;
                    failed = Error::from_failure(peer, Failure::ExtendedToken, timing);
                    let drawn = !self.how.has_token();
                    if drawn && self.upload.as_mut().is_none_or(Upload::rewind) {
                        self.ask_again(peer, &mut put_off).await?;
                    } else if self.running.is_empty() {
                        return Err(failed);
                    }
                }
                // It waited for its turn, and its server wants it later by now. Nobody has got it.
                Outcome::Failed { peer, reason: Failure::BackOff { until }, .. } => {
                    self.wanted = None;
                    failed = self.backed_off(peer, until);
                    if self.deadline.may_rest_until(until) && self.upload.as_mut().is_none_or(Upload::rewind) {
                        self.ask_again(peer, &mut put_off).await?;
                    } else if self.running.is_empty() {
                        return Err(failed);
                    }
                }
                // Nothing was sent: no session has come to stand there.
                Outcome::Failed { peer, reason: Failure::Session(why), timing }
                    if timing.attempts == 0 && is_nobody(why) =>
                {
                    failed = Error::from_failure(peer, Failure::Session(why), timing);
                }
                Outcome::Failed { peer, reason, timing } => {
                    failed = Error::from_failure(peer, reason, timing);
                    let is_silent = matches!(reason, Failure::NoAck | Failure::NoResponse);
                    let may_move_on = is_silent && self.is_harmless();
                    if !may_move_on && self.running.is_empty() {
                        return Err(failed);
                    }
                }
                Outcome::Closed => return Err(Error::Closed),
                Outcome::Reply(reply) => return Ok(Finish::Reply(reply)),
                Outcome::Pong(timing) => return Ok(Finish::Pong(timing)),
            }
        }
    }

    /// A request that two servers may both get.
    const fn is_harmless(&self) -> bool {
        match &self.ask {
            Ask::Ping | Ask::Observe(_) => true,
            Ask::Request(request) | Ask::Group(request) => request.code.is_safe(),
        }
    }

    fn shared(&self) -> &Arc<Shared<R>> {
        self.client.shared()
    }

    fn id(&self) -> ClientId {
        self.client.id()
    }

    /// Asks an address again. Nothing is waited for while another one is asked, whose answer would be left lying.
    async fn ask_again(&mut self, peer: Peer, put_off: &mut Option<Peer>) -> Result<(), Error> {
        if self.running.is_empty() {
            return self.start_in_time(peer).await;
        }
        if self.start(peer).is_err() {
            *put_off = Some(peer);
        }
        Ok(())
    }

    /// Starts, and waits first for a server that wants the request later, if the caller has the patience.
    async fn start_in_time(&mut self, peer: Peer) -> Result<(), Error> {
        loop {
            match self.start_when_there_is_room(peer).await {
                Err(Error::BackOff { until, .. }) if self.deadline.may_rest_until(until) => {
                    self.rest_until(until).await?;
                }
                started => return started,
            }
        }
    }

    /// Waits, unless the client ends meanwhile.
    async fn rest_until(&mut self, until: Instant) -> Result<(), Error> {
        let (client, began) = (self.client.clone(), self.client.now());
        // The place is taken for the news of the end: see `Room::None`.
        let place = Place::new(client.shared().clone(), Room::None);
        let ended = poll_fn(|cx| {
            place.wait(cx);
            if self.deadline.is_ended(&client) { Poll::Ready(()) } else { Poll::Pending }
        });
        if within(client.runtime(), until, ended).await.is_some() {
            return Err(Error::Closed);
        }
        if self.deadline.timeout.is_none() {
            self.deadline.rested += client.now() - began;
        }
        Ok(())
    }

    fn backed_off(&self, peer: Peer, until: Instant) -> Error {
        Error::BackOff { peer, until, wait: until - self.client.now() }
    }

    /// Starts, and waits in turn where the tables of the endpoint are full: a caller that must try again by itself
    /// would only do worse (and RFC 7252 §4.7 wants it to wait).
    async fn start_when_there_is_room(&mut self, peer: Peer) -> Result<(), Error> {
        let started = self.start(peer);
        let Some(room) = full(&started, self.asked.unwrap_or(peer)) else { return started };
        let (client, until) = (self.client.clone(), self.deadline.patience());
        let mut place = Place::new(client.shared().clone(), room);
        let waiting = poll_fn(|cx| {
            loop {
                // Queued first, as room may come between a refusal and the waiting for it.
                place.wait(cx);
                // What is too late for an answer would only be sent to blame the network for it.
                if client.now() >= until {
                    return Poll::Pending;
                }
                let started = self.start(peer);
                match full(&started, self.asked.unwrap_or(peer)) {
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
        if self.deadline.is_ended(&self.client) {
            return Err(Error::Closed);
        }
        let shared = self.shared();
        if !shared.reaches(peer) {
            return Err(Error::AddressFamily { peer });
        }
        let id = self.id();
        let mut asked = peer;
        let started = shared.command(|state, now| {
            // Once more under the lock: who disconnects or closes ends what is there by then.
            if self.client.epoch() != self.deadline.epoch || self.client.was_closed() {
                return Err(Error::Closed);
            }
            if let Some(secure) = &self.secure {
                let to = peer.udp().ok_or(Error::Security)?;
                let via = shared.socket_for(to).ok_or(Error::AddressFamily { peer })?;
                asked = state.connect(now, id, to, via, secure)?;
            }
            let peer = asked;
            let how = match self.deadline.left(now) {
                Some(left) => self.how.clone().timeout(left),
                None => self.how.clone(),
            };
            Ok(match &self.ask {
                Ask::Request(request) => {
                    let request = state.request(now, id, peer, request.clone(), &how).map_err(Error::Request)?;
                    state.waiting.set_number(request, self.number);
                    Running::Request(request)
                }
                Ask::Group(request) => {
                    let request = state.request(now, id, peer, request.clone(), &how).map_err(Error::Request)?;
                    state.waiting.set_number(request, self.number);
                    state.waiting.collect(request);
                    Running::Request(request)
                }
                Ask::Ping => Running::Request(state.ping(now, id, peer, &how).map_err(Error::Request)?),
                Ask::Observe(asked) => {
                    let Joined { id, to_other } = state.observe(now, id, peer, asked, &how).map_err(Error::Request)?;
                    let timer = || {
                        let mut timer = shared.runtime().timer();
                        timer.set(self.deadline.timeout.map(|_| self.deadline.patience()));
                        timer
                    };
                    let waits = if to_other { Waits::Joined(timer()) } else { Waits::Alone };
                    Running::Observer { id, peer, waits }
                }
            })
        });
        self.asked = Some(asked);
        match started {
            Ok(running) => {
                self.running.push(running);
                Ok(())
            }
            Err(Error::Request(RequestError::Shutdown)) => Err(Error::Closed),
            Err(Error::Request(RequestError::BackOff { until })) => Err(self.backed_off(peer, until)),
            Err(error) => Err(error),
        }
    }

    /// Lets the next address have its chance if the session with this one takes its time, as a retransmission does where there
    /// is no session to be made.
    fn set_hurry(&mut self) {
        if self.secure.is_some() && self.asked.is_some_and(|peer| self.shared().lock().is_pending(peer)) {
            let mut timer = self.client.runtime().timer();
            timer.set(Some(self.client.now() + HURRY));
            self.hurry = Some(timer);
        }
    }

    /// The next thing that happens. What is wanted of the content is supplied meanwhile.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step<R>> {
        loop {
            // News first: a response may make the rest of the content needless, however slow its reader is.
            if let Poll::Ready(step) = self.poll_news(cx) {
                return Poll::Ready(step);
            }
            let (Some((id, max)), Some(upload)) = (self.wanted, &mut self.upload) else { return Poll::Pending };
            match ready!(upload.poll_chunk(cx, max)) {
                Ok(Chunk { data, last }) => self.supply(id, data, last),
                Err(error) => return Poll::Ready(Step::Broken(error)),
            }
        }
    }

    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<Step<R>> {
        let shared = self.client.shared().clone();
        let mut state = shared.lock();
        if let Some(timer) = &mut self.hurry
            && timer.poll(cx).is_ready()
        {
            self.hurry = None;
            if self.asked.is_some_and(|peer| state.is_pending(peer)) {
                return Poll::Ready(Step::Repeated);
            }
        }
        let mut index = 0;
        while let Some(running) = self.running.get_mut(index) {
            let news = match running {
                Running::Request(id) => state.waiting.poll(*id, cx),
                Running::Observer { id, peer, waits } => match state.observing.poll_first(*id, cx) {
                    Poll::Ready(Some(news)) => Poll::Ready(news),
                    Poll::Ready(None) => {
                        let id = *id;
                        self.running.swap_remove(index);
                        return Poll::Ready(Step::Observing(id));
                    }
                    Poll::Pending => {
                        if let Waits::Joined(timer) = waits
                            && timer.poll(cx).is_ready()
                        {
                            return Poll::Ready(Step::TimedOut(*peer));
                        }
                        Poll::Pending
                    }
                },
            };
            match (news, running) {
                (Poll::Pending, _) => index += 1,
                (Poll::Ready(News::Repeated), _) => return Poll::Ready(Step::Repeated),
                (Poll::Ready(News::Moved(progress)), _) => return Poll::Ready(Step::Moved(progress)),
                (Poll::Ready(News::Wanted(max)), Running::Request(id)) => self.wanted = Some((*id, max)),
                (Poll::Ready(News::Began(head)), Running::Request(id)) => {
                    let id = *id;
                    self.running.swap_remove(index);
                    return Poll::Ready(Step::Began(id, head));
                }
                (Poll::Ready(News::Ended(outcome)), _) => {
                    return Poll::Ready(Step::Ended(self.running.swap_remove(index), outcome));
                }
                // An observation is told of neither.
                (Poll::Ready(News::Wanted(_) | News::Began(_)), Running::Observer { .. }) => {}
            }
        }
        Poll::Pending
    }

    fn supply(&mut self, id: RequestId, data: Bytes, last: bool) {
        self.wanted = None;
        // Refused only if the request has ended meanwhile: then there is news of that.
        let _ = self.shared().command(|state, now| state.endpoint.supply(now, id.request_body(), data, last));
    }

    /// The observer goes with the race.
    fn timed_out(&self, peer: Peer) -> Error {
        let mut timing = Timing::default();
        timing.elapsed = self.client.now() - self.deadline.started;
        Error::from_failure(peer, Failure::NoResponse, timing)
    }
}

impl<R: Runtime> Running<R> {
    const fn is_joined(&self) -> bool {
        matches!(self, Self::Observer { waits: Waits::Joined(_), .. })
    }
}

/// Why there was no session, where another address may have one: nobody was there, or no room here.
const fn is_nobody(why: SessionEnd) -> bool {
    matches!(why, SessionEnd::NoAnswer | SessionEnd::HandshakeTimeout | SessionEnd::Unreachable | SessionEnd::Full)
}

/// The table that is full, if that is why a request was not taken: it passes.
const fn full(started: &Result<(), Error>, peer: Peer) -> Option<Room> {
    match started {
        Err(Error::Request(RequestError::Busy)) => Some(Room::Peer(peer)),
        Err(Error::Request(RequestError::TooManyRequests)) => Some(Room::Endpoint),
        Err(Error::Request(RequestError::TooManyPeers)) => Some(Room::Peers),
        _ => None,
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
            for running in running {
                match running {
                    Running::Request(id) => state.forget(now, id, &mut wake),
                    Running::Observer { id, .. } => state.leave_observation(now, id, Manner::Silently, &mut wake),
                }
            }
        });
        wake.into_iter().for_each(Waker::wake);
    }
}
