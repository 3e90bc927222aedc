//! Calling handlers: each is looked at once beside the sockets, and gets a task of its own if it is not done.

use core::future::poll_fn;
use core::panic::AssertUnwindSafe;
use core::task::{Context, Poll, Waker};
use std::panic::catch_unwind;
use std::sync::Arc;

use coap_core::{Body, Code, IncomingRequest, Instant, Peer, Response};

use crate::feed::feed;
use crate::router::{Answer, BodyError, Call, GoAhead, HandlerFuture, Incoming, Router, Source, Upload};
use crate::runtime::{Runtime, Timer};
use crate::server::wake_all;
use crate::serving::{Begun, Errand, Purpose, unavailable};
use crate::shared::Shared;
use crate::state::{Doors, State};
use crate::topics::Turn;

/// Handlers to be called, and what has become of them. Emptied within each round, and kept for its capacity.
#[derive(Default)]
pub(crate) struct Calls {
    pub(crate) requests: Vec<IncomingRequest>,
    pub(crate) turns: Vec<Turn>,
    answers: Vec<(Purpose, Option<Response>, Option<Source>)>,
    waiting: Vec<(Purpose, HandlerFuture, Option<Arc<Upload>>)>,
    /// Content to be put together first, and how much of it at most.
    whole: Vec<(IncomingRequest, Option<usize>)>,
    tasks: Vec<Task>,
    /// Readers of answers that could not be given.
    unused: Vec<Source>,
}

/// What goes on beside the sockets.
enum Task {
    Handler(Errand, HandlerFuture, Option<Arc<Upload>>),
    Feed(Begun, Source),
}

/// A handler after its first poll.
enum Called {
    Done(Answer),
    Waits(HandlerFuture),
}

impl Calls {
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.turns.is_empty()
    }

    /// Calls all, each as far as it comes without waiting. Not under the lock.
    pub(crate) fn make<R: Runtime>(&mut self, shared: &Arc<Shared<R>>, doors: &Doors) {
        let mut requests = core::mem::take(&mut self.requests);
        for request in requests.drain(..) {
            match doors {
                Doors::Open(router) => self.call_for(shared, router, request),
                Doors::Absent => self.answer(&request, Answer::new(Code::NOT_FOUND)),
                Doors::Shut => self.answer(&request, unavailable().into()),
            }
        }
        self.requests = requests;
        let mut turns = core::mem::take(&mut self.turns);
        for turn in turns.drain(..) {
            let called = match doors {
                Doors::Open(router) => match router.find(turn.observed.incoming()) {
                    Ok(call) => begin(call, None),
                    Err(answer) => Called::Done(answer),
                },
                Doors::Absent | Doors::Shut => Called::Done(unavailable().into()),
            };
            self.keep(Purpose::Observers(turn), called, None);
        }
        self.turns = turns;
    }

    /// Finds and calls the handler of a request. All that can be refused is refused before its content has come.
    fn call_for<R: Runtime>(&mut self, shared: &Arc<Shared<R>>, router: &Router, request: IncomingRequest) {
        let secure = matches!(request.peer, Peer::Session(_));
        let identity = if secure { shared.lock().identity_of(request.peer) } else { None };
        let call = match router.find(Incoming::new(&request).with_identity(identity.as_ref())) {
            Ok(call) => call,
            Err(answer) => return self.answer(&request, answer),
        };
        let limit = call.max_body();
        let upload = match request.request.body {
            Body::Parts { .. } if !call.reads_parts() => return self.whole.push((request, limit)),
            Body::Parts { size } => Some(Upload::new(request.id.request_body(), size, limit, shared.clone())),
            _ => None,
        };
        // A request that is read as it comes is nowhere as a whole, to be put to the handler again.
        let join = call.observed().filter(|_| upload.is_none()).and_then(|resource| {
            let mut state = shared.lock();
            state.serving.topics.join(resource, call.incoming(), call.who())
        });
        let called = begin(call, upload.as_ref());
        self.keep(Purpose::Request(request.id, join), called, upload);
    }

    fn answer(&mut self, request: &IncomingRequest, answer: Answer) {
        let (response, source) = answer.into_parts();
        self.answers.push((Purpose::Request(request.id, None), response, source));
    }

    fn keep(&mut self, purpose: Purpose, called: Called, upload: Option<Arc<Upload>>) {
        match called {
            Called::Done(answer) => {
                if let Some(upload) = upload {
                    // For a reader that the handler has given away.
                    let mut wake = Vec::new();
                    upload.fail(BodyError::Over, &mut wake);
                    wake_all(&mut wake);
                }
                let (response, source) = answer.into_parts();
                self.answers.push((purpose, response, source));
            }
            Called::Waits(handler) => self.waiting.push((purpose, handler, upload)),
        }
    }

    /// Does with the outcomes what they are for, under the lock.
    pub(crate) fn settle(&mut self, state: &mut State, now: Instant) {
        for (purpose, response, source) in self.answers.drain(..) {
            match (state.finish(now, purpose, response), source) {
                (Some(begun), Some(source)) => self.tasks.push(Task::Feed(begun, source)),
                // It is the application's, and dropping it may need the lock.
                (_, source) => self.unused.extend(source),
            }
        }
        for (request, limit) in self.whole.drain(..) {
            let limit = limit.unwrap_or_else(|| state.endpoint.config().max_body());
            state.collect(now, request, limit);
        }
        for (purpose, handler, upload) in self.waiting.drain(..) {
            if let (Purpose::Request(id, _), Some(upload)) = (&purpose, &upload) {
                state.serving.add_upload(*id, upload.clone());
            }
            self.tasks.push(Task::Handler(state.serving.start(purpose), handler, upload));
        }
    }

    /// Gives each handler that waits a task of its own, and each answer that is read while it is sent. Not under the lock.
    pub(crate) fn spawn<R: Runtime>(&mut self, shared: &Arc<Shared<R>>) {
        self.unused.clear();
        for task in self.tasks.drain(..) {
            let shared_too = shared.clone();
            shared.runtime().spawn(match task {
                Task::Handler(errand, handler, upload) => Box::pin(finish(shared_too, errand, handler, upload)),
                Task::Feed(begun, source) => Box::pin(feed(shared_too, begun, source)),
            });
        }
    }
}

/// Calls the handler, and looks once whether it is done: most are, and need no task.
fn begin(call: Call<'_>, upload: Option<&Arc<Upload>>) -> Called {
    // Handlers are the application's code. What a panic leaves behind is seen by the application alone.
    let called = catch_unwind(AssertUnwindSafe(|| match call.begin(upload) {
        Err(response) => Called::Done(response.into()),
        // Whatever wakes it before it has its own task is no loss: the task polls it once more at its start.
        Ok(mut handler) => match handler.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Called::Done(answer),
            Poll::Pending => Called::Waits(handler),
        },
    }));
    called.unwrap_or_else(|_| Called::Done(panicked()))
}

/// Runs a handler to its end, or until its errand is over. A reader whose content broke off is told that, and its handler may
/// clear up, if it has a place for that.
async fn finish<R: Runtime>(
    shared: Arc<Shared<R>>,
    errand: Errand,
    mut handler: HandlerFuture,
    upload: Option<Arc<Upload>>,
) {
    let mut place = None;
    let answer = poll_fn(|cx| {
        let goes_on = shared.lock().serving.goes_on(&errand, cx);
        if !goes_on {
            let broke_off = upload.as_ref().is_some_and(|upload| upload.broke_off());
            if place.is_none() && broke_off {
                place = ClearingUp::begin(&shared);
            }
            if place.as_mut().is_none_or(|place| place.is_over(cx)) {
                return Poll::Ready(None);
            }
        }
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(panicked())).map(Some)
    });
    let Some(answer) = answer.await else { return };
    // Its arguments are gone before its answer is: a file is closed when the peer hears that it is written.
    drop(handler);
    let (response, source) = answer.into_parts();
    let begun = shared.command(|state, now| state.finish_errand(now, errand, response));
    if let (Some(begun), Some(source)) = (begun, source) {
        feed(shared, begun, source).await;
    }
}

/// A place among the handlers whose content broke off. Who sends content can begin anew with each datagram, so there are
/// few, and none is kept for ever: a handler may wait for what never comes.
struct ClearingUp<R: Runtime> {
    shared: Arc<Shared<R>>,
    end: R::Timer,
}

impl<R: Runtime> ClearingUp<R> {
    /// `None`: all places are taken.
    fn begin(shared: &Arc<Shared<R>>) -> Option<Self> {
        let span = shared.lock().serving.begin_clearing_up()?;
        let mut end = shared.runtime().timer();
        end.set(Some(shared.runtime().now() + span));
        Some(Self { shared: shared.clone(), end })
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.end.poll(cx).is_ready()
    }
}

impl<R: Runtime> Drop for ClearingUp<R> {
    fn drop(&mut self) {
        self.shared.lock().serving.end_clearing_up();
    }
}

impl<R: Runtime> GoAhead for Shared<R> {
    fn go_ahead(&self, body: coap_core::BodyId) {
        self.command(|state, now| state.endpoint.consumed(now, body));
    }
}

fn panicked() -> Answer {
    Response::diagnostic(Code::INTERNAL_SERVER_ERROR, "the handler failed").into()
}

impl core::fmt::Debug for Calls {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Calls").field("requests", &self.requests).finish_non_exhaustive()
    }
}
