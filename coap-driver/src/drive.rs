//! The driver task: receive → handle → events → handlers → send → sleep, for all sockets of an endpoint.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::Arc;

use coap_core::Instant;

use crate::handling::Calls;
use crate::resource::{Inbox, News};
use crate::runtime::{Runtime, Timer};
use crate::server::wake_all;
use crate::shared::Shared;
use crate::sockets::{Inflow, Outflow, Sockets};
use crate::state::{Doors, State};

/// Rounds before other tasks of the thread have their turn.
const ROUNDS: usize = 16;

/// Requests with observers whose handler is called in one round.
const TURNS: usize = 64;

/// The task that an endpoint's sockets, times and handlers hang on.
///
/// It holds the lock only for calls of the endpoint: handlers run, and datagrams travel, outside of it.
pub(crate) struct Driver<R: Runtime> {
    shared: Arc<Shared<R>>,
    sockets: Sockets<R::Socket>,
    timer: R::Timer,
    /// What the application changes comes here.
    inbox: Arc<Inbox>,
    // Emptied within each round, and kept for their capacity.
    calls: Calls,
    wake: Vec<Waker>,
}

/// What a round has left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// More to send than fits a batch, or an answer that needs another look.
    More,
    /// Nothing before the next datagram, command or deadline; all three will wake the task.
    Nothing,
    /// The end.
    Over,
}

impl<R: Runtime> Driver<R> {
    pub(crate) fn new(shared: Arc<Shared<R>>, sockets: Sockets<R::Socket>) -> Self {
        let timer = shared.runtime().timer();
        let inbox = shared.lock().serving.topics.inbox().clone();
        Self { shared, sockets, timer, inbox, calls: Calls::default(), wake: Vec::new() }
    }

    /// One round of the endpoint: what came in, what is due, what it means, and what is to be sent for it.
    fn round(&mut self, cx: &mut Context<'_>) -> Rest {
        // The guard borrows this, so that the rest of the task stays free to change.
        let shared = self.shared.clone();
        let mut state = shared.lock();
        let mut now = shared.runtime().now();
        self.sockets.deliver(&mut state, now);
        let kicked = state.register(cx.waker());
        if kicked || state.endpoint.poll_timeout().is_some_and(|due| due <= now) {
            state.endpoint.handle_timeout(now);
            state.stirred = true;
        }
        state.drain_events(now, &mut self.calls.requests, &mut self.wake);
        let State { endpoint, serving, .. } = &mut *state;
        serving.topics.take_changes(endpoint, now);
        self.calls.turns.extend(core::iter::from_fn(|| serving.topics.next_due()).take(TURNS));
        if !self.calls.is_empty() {
            let doors = state.doors.clone();
            drop(state);
            self.calls.make(&shared, &doors);
            drop(doors);
            state = shared.lock();
            // Handlers take time, and theirs counts.
            now = shared.runtime().now();
            self.calls.settle(&mut state, now);
        }
        state.serving.take_wakers(&mut self.wake);
        // Not in each round: whoever is woken and finds no room wakes this task in turn.
        if core::mem::take(&mut state.stirred) {
            state.queues.give_peers(&mut self.wake);
        }
        let over = state.is_over(now);
        let doors = if over { self.end(&mut state, now) } else { None };
        let more = self.sockets.collect(&mut state.endpoint);
        let due = state.next_timeout();
        let more = more || due.is_some_and(|due| due <= now) || state.serving.topics.has_due();
        // Under the same lock that showed nothing left: whatever comes after this wakes the task.
        state.set_driver(cx.waker());
        drop(state);
        drop(doors);
        self.calls.spawn(&shared);
        if over {
            return Rest::Over;
        }
        self.timer.set(due);
        let due_already = self.timer.poll(cx).is_ready();
        let changed = self.inbox.park(cx.waker()) == News::Some;
        if more || due_already || changed { Rest::More } else { Rest::Nothing }
    }

    /// Sends what the end has left to say, as far as the sockets take it at once, and that the sessions are closed.
    fn send_rest(&mut self, cx: &mut Context<'_>) {
        self.send_all(cx);
        self.shared.lock().hang_up_all(self.shared.runtime().now());
        self.send_all(cx);
    }

    fn send_all(&mut self, cx: &mut Context<'_>) {
        loop {
            let more = self.sockets.collect(&mut self.shared.lock().endpoint);
            if self.sockets.send(cx, self.shared.hook()) == Outflow::Blocked || !more {
                return;
            }
        }
    }

    /// Ends what is open. The router comes back to be dropped without the lock: it may hold a client of ours.
    fn end(&mut self, state: &mut State, now: Instant) -> Option<Doors> {
        state.close(now, &mut self.wake);
        Some(state.shut(now))
    }
}

impl<R: Runtime> Unpin for Driver<R> {}

impl<R: Runtime> Future for Driver<R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        for _ in 0..ROUNDS {
            // A socket that is full holds everything up, on purpose: what cannot be answered should not be read.
            if this.sockets.send(cx, this.shared.hook()) == Outflow::Blocked {
                return Poll::Pending;
            }
            let inflow = match this.sockets.receive(cx, this.shared.hook()) {
                Ok(inflow) => inflow,
                Err(error) => {
                    this.shared.lock().fail(error);
                    Inflow::Dry
                }
            };
            let rest = this.round(cx);
            let outflow = this.sockets.send(cx, this.shared.hook());
            // After the sending: a program that ends when it has its response should have acknowledged it.
            wake_all(&mut this.wake);
            match rest {
                Rest::Over => {
                    this.send_rest(cx);
                    return Poll::Ready(());
                }
                _ if outflow == Outflow::Blocked => return Poll::Pending,
                Rest::Nothing if inflow == Inflow::Dry && !this.sockets.has_news() => return Poll::Pending,
                Rest::Nothing | Rest::More => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R: Runtime> fmt::Debug for Driver<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// If the task is dropped before its end, with its runtime, nobody must wait for it for ever.
impl<R: Runtime> Drop for Driver<R> {
    fn drop(&mut self) {
        let now = self.shared.runtime().now();
        let shared = self.shared.clone();
        let mut state = shared.lock();
        let doors = self.end(&mut state, now);
        drop(state);
        drop(doors);
        wake_all(&mut self.wake);
    }
}
