//! Waiting until a point in time at most.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use coap_core::Instant;

use crate::runtime::{Runtime, Timer};

/// What `future` gives, or `None` at `until`.
pub(crate) async fn within<R: Runtime, F: Future>(runtime: &R, until: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = runtime.timer();
    timer.set(Some(until));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        timer.poll(cx).map(|()| None)
    })
    .await
}
