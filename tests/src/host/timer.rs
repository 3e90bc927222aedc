//! Timers on the virtual clock.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use coap_core::Instant;
use coap_driver::Timer;

use crate::host::world::{Id, Shared};

/// A deadline in virtual time.
pub struct SimTimer {
    shared: Shared,
    id: Id,
    at: Option<Instant>,
    /// What the simulation was told.
    told: Option<Instant>,
}

impl SimTimer {
    pub(crate) fn new(shared: &Shared) -> Self {
        let id = shared.lock().draw_id();
        Self { shared: shared.clone(), id, at: None, told: None }
    }

    /// The simulation is not told to go on to a deadline that has moved.
    fn withdraw(&mut self) {
        if let Some(told) = self.told.take() {
            let waker = self.shared.lock().clear_timer(told, self.id);
            drop(waker);
        }
    }
}

impl Timer for SimTimer {
    fn set(&mut self, at: Option<Instant>) {
        if at != self.told {
            self.withdraw();
        }
        self.at = at;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let mut world = self.shared.lock();
        if world.now >= at {
            drop(world);
            self.withdraw();
            self.at = None;
            return Poll::Ready(());
        }
        let replaced = world.set_timer(at, self.id, cx.waker().clone());
        drop(world);
        drop(replaced);
        self.told = Some(at);
        Poll::Pending
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl fmt::Debug for SimTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimTimer").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Ready when the virtual clock has reached an instant: see [`Host::sleep`](crate::Host::sleep).
#[derive(Debug)]
#[must_use = "nothing waits unless this is awaited"]
pub struct Sleep(SimTimer);

impl Sleep {
    pub(crate) fn new(mut timer: SimTimer, until: Instant) -> Self {
        timer.set(Some(until));
        Self(timer)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll(cx)
    }
}
