//! What a server has open: handlers at work, the bodies that they read, and those of their answers.

use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use coap_core::{Body, BodyId, Closed, Code, IncomingId, IncomingRequest, Instant, RespondError, Response};

use crate::queues::Table;
use crate::router::{BodyError, Upload};
use crate::state::State;
use crate::topics::{Join, Topics, Turn};

/// How long a peer should wait when there is no room for a stream, in seconds: by then one that is silent gives way. And when
/// nobody serves: without Max-Age it would be a minute (RFC 7252 §5.10.5), and a server that starts anew is there before.
const RETRY_AFTER: u32 = 4;

/// Nobody serves here, not yet or not any more.
pub(crate) fn unavailable() -> Response {
    let mut response = Response::new(Code::SERVICE_UNAVAILABLE);
    response.options.set_max_age(RETRY_AFTER);
    response
}

/// Handlers whose content broke off that may still clear up at a time. A further one is dropped at once.
const MOST_CLEARING_UP: usize = 64;

/// How long it may: as a request that is answered separately, where the configuration does not say (`incoming_timeout`).
const CLEARING_UP: Duration = Duration::from_secs(93);

/// The server's part of the [`State`].
#[derive(Debug, Default)]
pub(crate) struct Serving {
    /// Handlers that did not finish at once.
    handlers: Table<IncomingId, AtWork>,
    /// Requests whose content is put together before their handler is called.
    collecting: Table<BodyId, IncomingRequest>,
    /// Content that is read as it comes.
    uploads: Table<BodyId, Arc<Upload>>,
    /// Content of answers that is sent as it is read.
    feeds: Table<BodyId, Feed>,
    /// How many handlers whose content broke off still run.
    clearing_up: usize,
    pub(crate) topics: Topics,
    /// Tasks to wake when the lock is gone.
    wake: Vec<Waker>,
}

/// A handler that is not done.
#[derive(Debug)]
struct AtWork {
    /// The task that runs it.
    task: Option<Waker>,
    /// Its peer wants to observe.
    join: Option<Join>,
}

/// What a body in parts waits for.
#[derive(Debug)]
struct Feed {
    /// The request that the body answers.
    id: IncomingId,
    /// The endpoint wants so many bytes.
    wanted: Option<usize>,
    /// The task that reads them.
    task: Option<Waker>,
}

/// What a handler's answer is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A request; its peer may want to observe.
    Request(IncomingId, Option<Join>),
    /// The observers of a request.
    Observers(Turn),
}

/// The same, for the task of a handler that takes its time.
#[derive(Debug)]
pub(crate) enum Errand {
    Request(IncomingId),
    Observers(Turn),
}

/// An answer whose content is to be sent as it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) id: IncomingId,
    pub(crate) size: Option<u64>,
}

impl Serving {
    pub(crate) fn has_handlers(&self) -> bool {
        !self.handlers.is_empty()
    }

    /// Tasks to wake.
    pub(crate) fn take_wakers(&mut self, wake: &mut Vec<Waker>) {
        wake.append(&mut self.wake);
        self.topics.take_wakers(wake);
    }

    /// A reader is there for the content of a request.
    pub(crate) fn add_upload(&mut self, id: IncomingId, upload: Arc<Upload>) {
        self.uploads.insert(id.request_body(), upload);
    }

    /// A part of a request's content has come; the request comes back when it is whole.
    pub(crate) fn on_part(
        &mut self,
        body: BodyId,
        data: Bytes,
        last: bool,
        wake: &mut Vec<Waker>,
    ) -> Option<IncomingRequest> {
        if let Some(mut request) = self.collecting.remove(&body) {
            request.request.body = data.into();
            return Some(request);
        }
        if let Some(upload) = self.uploads.get(&body) {
            upload.push(data, last, wake);
        }
        None
    }

    /// Bytes of an answer's content are wanted.
    pub(crate) fn on_wanted(&mut self, body: BodyId, max: usize, wake: &mut Vec<Waker>) {
        if let Some(feed) = self.feeds.get_mut(&body) {
            feed.wanted = Some(max);
            wake.extend(feed.task.take());
        }
    }

    /// How many bytes of content are wanted; `None` if no more ever will be.
    pub(crate) fn poll_wanted(&mut self, body: BodyId, cx: &Context<'_>) -> Poll<Option<usize>> {
        let Some(feed) = self.feeds.get_mut(&body) else { return Poll::Ready(None) };
        if let Some(max) = feed.wanted {
            return Poll::Ready(Some(max));
        }
        keep(&mut feed.task, cx);
        Poll::Pending
    }

    /// Whether somebody still waits for the content; its task is woken when nobody does.
    pub(crate) fn feeds(&mut self, body: BodyId, cx: &Context<'_>) -> bool {
        let feed = self.feeds.get_mut(&body);
        feed.map(|feed| keep(&mut feed.task, cx)).is_some()
    }

    /// Whether the handler should go on; its task is woken when it should not.
    pub(crate) fn goes_on(&mut self, errand: &Errand, cx: &Context<'_>) -> bool {
        match errand {
            Errand::Request(id) => {
                let handler = self.handlers.get_mut(id);
                handler.map(|handler| keep(&mut handler.task, cx)).is_some()
            }
            Errand::Observers(turn) => self.topics.goes_on(turn, cx),
        }
    }

    /// Lets a handler whose content broke off go on for this long. `None`: too many do.
    pub(crate) fn begin_clearing_up(&mut self) -> Option<Duration> {
        self.clearing_up = Some(self.clearing_up + 1).filter(|all| *all <= MOST_CLEARING_UP)?;
        Some(CLEARING_UP)
    }

    pub(crate) const fn end_clearing_up(&mut self) {
        self.clearing_up = self.clearing_up.saturating_sub(1);
    }

    /// A handler takes its time.
    pub(crate) fn start(&mut self, purpose: Purpose) -> Errand {
        match purpose {
            Purpose::Request(id, join) => {
                self.handlers.insert(id, AtWork { task: None, join });
                Errand::Request(id)
            }
            Purpose::Observers(turn) => Errand::Observers(turn),
        }
    }
}

fn keep(task: &mut Option<Waker>, cx: &Context<'_>) {
    match task {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

impl State {
    /// Lets the content of a request come as a whole, up to `limit` bytes, before it is handed up again.
    pub(crate) fn collect(&mut self, now: Instant, request: IncomingRequest, limit: usize) {
        let body = request.id.request_body();
        // If it does not, the request is over already.
        if self.endpoint.collect(now, body, limit) {
            self.serving.collecting.insert(body, request);
        }
    }

    /// Does with a handler's answer what it is for. What has begun is to be read and sent.
    #[must_use]
    pub(crate) fn finish(&mut self, now: Instant, purpose: Purpose, response: Option<Response>) -> Option<Begun> {
        self.stirred = true;
        match purpose {
            Purpose::Observers(turn) => {
                let response = response.unwrap_or_else(|| Response::new(Code::INTERNAL_SERVER_ERROR));
                self.serving.topics.publish(&mut self.endpoint, now, &turn, response);
                None
            }
            Purpose::Request(id, join) => self.answer(now, id, join, response),
        }
    }

    /// The same for a handler that took its time. Nothing happens if its errand is over.
    #[must_use]
    pub(crate) fn finish_errand(&mut self, now: Instant, errand: Errand, response: Option<Response>) -> Option<Begun> {
        let purpose = match errand {
            Errand::Request(id) => Purpose::Request(id, self.serving.handlers.remove(&id)?.join),
            Errand::Observers(turn) => Purpose::Observers(turn),
        };
        self.finish(now, purpose, response)
    }

    fn answer(
        &mut self,
        now: Instant,
        id: IncomingId,
        join: Option<Join>,
        response: Option<Response>,
    ) -> Option<Begun> {
        // Most requests meet an empty table, and it would be hashed for nothing.
        if !self.serving.uploads.is_empty()
            && let Some(upload) = self.serving.uploads.remove(&id.request_body())
        {
            upload.fail(BodyError::Over, &mut self.serving.wake);
        }
        let size = response.as_ref().map(|response| &response.body);
        let begun = if let Some(Body::Parts { size }) = size { Some(Begun { id, size: *size }) } else { None };
        let answered = match (&join, response) {
            (Some(join), Some(response)) => self.serving.topics.accept(&mut self.endpoint, now, id, join, response),
            (None, Some(response)) => self.endpoint.respond(now, id, response),
            (_, None) => {
                self.endpoint.ignore(now, id);
                Ok(())
            }
        };
        if let Some(join) = &join {
            self.serving.topics.end_join(&mut self.endpoint, now, join);
        }
        match answered {
            Ok(()) => {
                begun?;
                self.serving.feeds.insert(id.response_body(), Feed { id, wanted: None, task: None });
                begun
            }
            Err(error) => {
                self.respond_to_error(now, id, &error);
                None
            }
        }
    }

    /// The answer cannot be sent, and the peer waits for one.
    fn respond_to_error(&mut self, now: Instant, id: IncomingId, error: &RespondError) {
        let (code, text) = match error {
            RespondError::TooLarge { .. } => (Code::INTERNAL_SERVER_ERROR, "the response is too large for a datagram"),
            RespondError::NotAResponse { .. } => {
                (Code::INTERNAL_SERVER_ERROR, "the handler answered with a code that is none of a response")
            }
            RespondError::WrongRange { .. } => {
                (Code::INTERNAL_SERVER_ERROR, "the handler answered with another range than what was asked for")
            }
            // It tells the peer to begin at the first block, of the request or of the response.
            RespondError::PartsImpossible => {
                (Code::REQUEST_ENTITY_INCOMPLETE, "the answer is a stream: ask from its start")
            }
            RespondError::TooManyTransfers => (Code::SERVICE_UNAVAILABLE, "too many bodies go in blocks already"),
            // Without a Message ID nothing can be sent for now: the endpoint ends the request in its time.
            _ => return,
        };
        let mut response = Response::diagnostic(code, text);
        if code == Code::SERVICE_UNAVAILABLE {
            response.options.set_max_age(RETRY_AFTER);
        }
        // It can only be over already.
        let _ = self.endpoint.respond(now, id, response);
    }

    /// Gives the endpoint what was read of an answer's content. False: nobody wants more.
    pub(crate) fn supply(&mut self, now: Instant, body: BodyId, data: Bytes, last: bool) -> bool {
        let Some(feed) = self.serving.feeds.get_mut(&body) else { return false };
        feed.wanted = None;
        let goes_on = self.endpoint.supply(now, body, data, last).is_ok() && !last;
        if !goes_on {
            self.serving.feeds.remove(&body);
        }
        goes_on
    }

    /// The content of an answer does not come to its end.
    pub(crate) fn break_off(&mut self, now: Instant, id: IncomingId) {
        if self.serving.feeds.remove(&id.response_body()).is_some() {
            let failed = Response::diagnostic(Code::INTERNAL_SERVER_ERROR, "the rest of the content cannot be read");
            // It can only be over already.
            let _ = self.endpoint.respond(now, id, failed);
        }
    }

    /// A request will not be answered any more.
    pub(crate) fn close_request(&mut self, now: Instant, id: IncomingId, why: Closed, wake: &mut Vec<Waker>) {
        let serving = &mut self.serving;
        serving.collecting.remove(&id.request_body());
        if let Some(upload) = serving.uploads.remove(&id.request_body()) {
            upload.fail(BodyError::from_closed(why), wake);
        }
        if let Some(feed) = serving.feeds.remove(&id.response_body()) {
            wake.extend(feed.task);
        }
        if let Some(handler) = serving.handlers.remove(&id) {
            wake.extend(handler.task);
            if let Some(join) = handler.join {
                serving.topics.end_join(&mut self.endpoint, now, &join);
            }
        }
    }

    /// Nobody serves any more: readers, handlers and observers are told.
    pub(crate) fn close_serving(&mut self, now: Instant, wake: &mut Vec<Waker>) {
        let serving = &mut self.serving;
        for (_, request) in serving.collecting.drain() {
            let _ = self.endpoint.respond(now, request.id, unavailable());
        }
        for (_, upload) in serving.uploads.drain() {
            upload.fail(BodyError::Over, wake);
        }
        for (_, feed) in serving.feeds.drain() {
            // In place of the block that the peer waits for, if it does.
            let _ = self.endpoint.respond(now, feed.id, unavailable());
            wake.extend(feed.task);
        }
        for (id, handler) in serving.handlers.drain() {
            let _ = self.endpoint.respond(now, id, unavailable());
            wake.extend(handler.task);
        }
        serving.topics.close_all(&mut self.endpoint, now);
        serving.take_wakers(wake);
    }
}
