//! Whose turn it is when there is room again.

use core::task::{Context, Waker};
use std::sync::Arc;

use crate::queues::{Left, Room, Ticket};
use crate::runtime::Runtime;
use crate::shared::Shared;

/// A place in a queue for room. Dropped, it is the next one's turn.
pub(crate) struct Place<R: Runtime> {
    shared: Arc<Shared<R>>,
    pub(crate) room: Room,
    ticket: Ticket,
    pub(crate) left: Left,
}

impl<R: Runtime> Place<R> {
    pub(crate) fn new(shared: Arc<Shared<R>>, room: Room) -> Self {
        let ticket = shared.lock().queues.draw_ticket();
        Self { shared, room, ticket, left: Left::Unused }
    }

    pub(crate) fn wait(&self, cx: &Context<'_>) {
        self.shared.lock().queues.wait(self.room, self.ticket, cx.waker());
    }

    pub(crate) fn change(&mut self, room: Room) {
        self.leave();
        self.room = room;
    }

    fn leave(&self) {
        let mut wake = Vec::new();
        self.shared.lock().queues.leave(self.room, self.ticket, self.left, &mut wake);
        wake.into_iter().for_each(Waker::wake);
    }
}

impl<R: Runtime> Drop for Place<R> {
    fn drop(&mut self) {
        self.leave();
    }
}
