//! Aborting a request from elsewhere than where it is awaited.

use core::task::{Context, Waker};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Aborts a request, from anywhere: made by [`RequestBuilder::abort_handle`](crate::RequestBuilder::abort_handle).
///
/// Clones are handles to the same request. Dropping them does nothing.
#[derive(Clone, Debug)]
pub struct AbortHandle(Signal);

impl AbortHandle {
    /// Ends the request with [`Error::Aborted`](crate::Error::Aborted), wherever it is: it is not sent, or not repeated any
    /// more. The peer is told nothing, and what has been sent may still be carried out. After the end of the request it does
    /// nothing; before its start, it is not started.
    pub fn abort(&self) {
        let waker = {
            let mut aborted = self.0.lock();
            aborted.aborted = true;
            aborted.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether it was called.
    pub fn is_aborted(&self) -> bool {
        self.0.lock().aborted
    }
}

/// What the request looks at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal(Arc<Mutex<Aborted>>);

#[derive(Debug, Default)]
struct Aborted {
    aborted: bool,
    /// Of the one task that awaits the request.
    waker: Option<Waker>,
}

impl Signal {
    pub(crate) fn handle(&self) -> AbortHandle {
        AbortHandle(self.clone())
    }

    /// Whether to end. If not, the task is woken when it is to.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> bool {
        let mut aborted = self.lock();
        if !aborted.aborted {
            aborted.waker = Some(cx.waker().clone());
        }
        aborted.aborted
    }

    fn lock(&self) -> MutexGuard<'_, Aborted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
