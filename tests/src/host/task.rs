//! The tasks of a simulation: polled one after the other, in the order in which they were woken.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use coap_driver::BoxFuture;

use crate::host::world::{Id, Shared};
use crate::sim::Node;

pub(crate) type TaskId = Id;

/// A task that has not been polled yet.
pub(crate) struct NewTask {
    id: TaskId,
    host: Option<Node>,
    future: BoxFuture<()>,
}

/// Those that have been woken, the first first.
#[derive(Default)]
pub(crate) struct Ready(Mutex<VecDeque<TaskId>>);

impl Ready {
    fn lock(&self) -> MutexGuard<'_, VecDeque<TaskId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, id: TaskId) {
        self.lock().push_back(id);
    }

    pub(crate) fn pop(&self) -> Option<TaskId> {
        self.lock().pop_front()
    }
}

/// Puts a task into the queue, once for each time that it is polled.
pub(crate) struct TaskWaker {
    id: TaskId,
    ready: Arc<Ready>,
    queued: AtomicBool,
}

impl TaskWaker {
    /// Of a task that is woken already: each is polled once at its start.
    pub(crate) fn woken(id: TaskId, ready: &Arc<Ready>) -> Arc<Self> {
        ready.push(id);
        Arc::new(Self { id, ready: ready.clone(), queued: AtomicBool::new(true) })
    }

    /// It is about to be polled: from now on it may be woken again.
    pub(crate) fn taken(&self) {
        self.queued.store(false, Ordering::Relaxed);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.push(self.id);
        }
    }
}

struct Running {
    host: Option<Node>,
    future: BoxFuture<()>,
    waker: Arc<TaskWaker>,
}

/// All tasks.
#[derive(Default)]
pub(crate) struct Tasks(BTreeMap<TaskId, Running>);

impl Tasks {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes in what was spawned, and drops what was aborted.
    pub(crate) fn sort_out(&mut self, shared: &Shared) {
        loop {
            let mut world = shared.lock();
            let spawned = core::mem::take(&mut world.spawned);
            let aborted = core::mem::take(&mut world.aborted);
            drop(world);
            if spawned.is_empty() && aborted.is_empty() {
                return;
            }
            for NewTask { id, host, future } in spawned {
                let waker = TaskWaker::woken(id, &shared.ready);
                self.0.insert(id, Running { host, future, waker });
            }
            // What is dropped may spawn and abort.
            aborted.iter().for_each(|id| drop(self.0.remove(id)));
        }
    }

    /// Polls a task, unless it is gone.
    pub(crate) fn poll(&mut self, id: TaskId) {
        let Some(task) = self.0.get_mut(&id) else { return };
        task.waker.taken();
        let waker = Waker::from(task.waker.clone());
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.0.remove(&id);
        }
    }

    /// Drops all tasks of a host.
    pub(crate) fn end(&mut self, host: Node) {
        let own: Vec<_> = self.0.iter().filter(|(_, task)| task.host == Some(host)).map(|(id, _)| *id).collect();
        own.iter().for_each(|id| drop(self.0.remove(id)));
    }

    /// Drops all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Starts a task; `None` is no host's. When the simulation is over it is dropped unpolled.
pub(crate) fn spawn(shared: &Shared, host: Option<Node>, future: BoxFuture<()>) -> TaskId {
    let mut world = shared.lock();
    let id = world.draw_id();
    let refused = if world.closed {
        Some(future)
    } else {
        world.spawned.push_back(NewTask { id, host, future });
        None
    };
    drop(world);
    drop(refused);
    id
}

/// The same, with a handle to its end.
pub(crate) fn spawn_joined<T: Send + 'static>(
    shared: &Shared,
    host: Option<Node>,
    future: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let slot = Arc::new(Slot(Mutex::new(End { outcome: None, over: false, waker: None })));
    let guard = Guard(slot.clone());
    let id = spawn(
        shared,
        host,
        Box::pin(async move {
            // Dropped with the task, whether that came to its end or not.
            let guard = guard;
            let outcome = future.await;
            guard.0.lock().outcome = Some(outcome);
        }),
    );
    Task { id, shared: shared.clone(), slot }
}

/// A task of a simulation; awaited, it gives what its future gave. Dropping this does not end the task.
pub struct Task<T> {
    id: TaskId,
    shared: Shared,
    slot: Arc<Slot<T>>,
}

struct Slot<T>(Mutex<End<T>>);

struct End<T> {
    outcome: Option<T>,
    over: bool,
    waker: Option<Waker>,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, End<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Guard<T>(Arc<Slot<T>>);

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        let mut end = self.0.lock();
        end.over = true;
        let waker = end.waker.take();
        drop(end);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<T> Task<T> {
    /// Drops the future before anything else happens in the simulation. A task that is over stays as it is.
    pub fn abort(&self) {
        self.shared.lock().aborted.push(self.id);
    }

    /// True if the task has come to its end, or was aborted.
    pub fn is_over(&self) -> bool {
        self.slot.lock().over
    }

    /// What the future gave, if it has, once.
    pub fn take(&mut self) -> Option<T> {
        self.slot.lock().outcome.take()
    }
}

/// # Panics
///
/// If the task was aborted, or ended with its host, or its outcome has been taken.
impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut end = self.slot.lock();
        if let Some(outcome) = end.outcome.take() {
            return Poll::Ready(outcome);
        }
        assert!(!end.over, "the task was ended, or its outcome taken: nothing is left to wait for");
        end.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("is_over", &self.is_over()).finish_non_exhaustive()
    }
}
