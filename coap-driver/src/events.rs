//! What happens to the requests of a client, as a stream beside their futures: for a program that logs, counts or shows
//! it, and does not await each one.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::sync::Arc;

use futures_core::Stream;

use crate::client::Client;
use crate::error::Error;
use crate::kind::ErrorKind;
use crate::reply::Reply;
use crate::runtime::Runtime;
use crate::shared::Shared;
use crate::waiting::ClientId;

/// Which request of a client it is: [`RequestBuilder::number`](crate::RequestBuilder::number). They are counted from 1, clones
/// included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestNumber(u64);

/// What happened to a request of a client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientEvent {
    /// It has its response, of any code. A download: the last part was read, and `reply` has no content. An observation: the
    /// server has ended it with this response.
    Finished {
        /// The request.
        request: RequestNumber,
        /// The response.
        reply: Reply,
    },
    /// There is no response, or not all of it.
    Failed {
        /// The request.
        request: RequestNumber,
        /// Why.
        kind: ErrorKind,
        /// The same in words.
        message: String,
    },
    /// A member of a group has answered.
    GroupResponse {
        /// The request.
        request: RequestNumber,
        /// The response; `from` is the member.
        reply: Reply,
    },
    /// The time for the answers of a group is over.
    GroupFinished {
        /// The request.
        request: RequestNumber,
        /// How many answers the stream of the request has taken.
        responses: u64,
    },
    /// The request was repeated, as it was not acknowledged in time. Of observations this is not told: several may share one
    /// registration.
    Retransmitted {
        /// The request.
        request: RequestNumber,
        /// Which repetition, from 1.
        attempt: u8,
    },
    /// Its future, download or observation was dropped or cancelled before its end.
    Dropped {
        /// The request.
        request: RequestNumber,
    },
}

/// The events of a client and its clones, from [`Client::events`] on. It ends when the client is closed.
///
/// A stream that is not read holds nobody up: when it is full, the oldest event goes, and is counted.
///
/// ```no_run
/// # use coap_driver::{Client, ClientEvent, Runtime};
/// # async fn example<R: Runtime>(client: Client<R>) {
/// let mut events = client.events(64);
/// while let Some(event) = events.next().await {
///     if let ClientEvent::Failed { request, message, .. } = event {
///         println!("{request:?}: {message}");
///     }
/// }
/// # }
/// ```
#[must_use = "dropping it ends it"]
pub struct ClientEvents<R: Runtime> {
    shared: Arc<Shared<R>>,
    id: u64,
}

impl<R: Runtime> Client<R> {
    /// What happens to the requests and observations of this client and its clones from now on, as a stream that holds up to
    /// `capacity` events, at least 1. A reply among them keeps its content in memory. Pings are not told.
    pub fn events(&self, capacity: usize) -> ClientEvents<R> {
        let shared = self.shared().clone();
        let closed = self.is_closed();
        let id = shared.lock().feeds.add(self.id(), capacity.max(1), closed);
        ClientEvents { shared, id }
    }
}

impl<R: Runtime> ClientEvents<R> {
    /// The next event. `None`: the client is closed.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// How many events were lost, because the stream was full.
    pub fn lost(&self) -> u64 {
        self.shared.lock().feeds.feed(self.id).map_or(0, |feed| feed.lost)
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<ClientEvent>> {
        self.shared.lock().feeds.feed(self.id).map_or(Poll::Ready(None), |feed| feed.poll(cx))
    }
}

impl<R: Runtime> Drop for ClientEvents<R> {
    fn drop(&mut self) {
        let gone = self.shared.lock().feeds.remove(self.id);
        drop(gone);
    }
}

impl<R: Runtime> Unpin for ClientEvents<R> {}

impl<R: Runtime> Stream for ClientEvents<R> {
    type Item = ClientEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>> {
        self.poll(cx)
    }
}

impl<R: Runtime> fmt::Debug for ClientEvents<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEvents").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

// ----- Behind the lock -------------------------------------------------------------------------------------------------

/// The streams of all clients of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    feeds: Vec<Feed>,
    drawn: u64,
}

#[derive(Debug)]
pub(crate) struct Feed {
    id: u64,
    client: ClientId,
    events: VecDeque<ClientEvent>,
    capacity: usize,
    lost: u64,
    closed: bool,
    waker: Option<Waker>,
}

impl Feed {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<ClientEvent>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if self.closed {
            return Poll::Ready(None);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Feeds {
    fn add(&mut self, client: ClientId, capacity: usize, closed: bool) -> u64 {
        self.drawn += 1;
        let events = VecDeque::new();
        self.feeds.push(Feed { id: self.drawn, client, events, capacity, lost: 0, closed, waker: None });
        self.drawn
    }

    fn remove(&mut self, id: u64) -> Option<Feed> {
        let index = self.feeds.iter().position(|feed| feed.id == id)?;
        Some(self.feeds.swap_remove(index))
    }

    fn feed(&mut self, id: u64) -> Option<&mut Feed> {
        self.feeds.iter_mut().find(|feed| feed.id == id)
    }

    /// Whether anybody wants to know of the requests of this client.
    pub(crate) fn has(&self, client: ClientId) -> bool {
        self.feeds.iter().any(|feed| feed.client == client)
    }

    /// Tells all streams of a client, if there are any.
    pub(crate) fn tell(&mut self, client: ClientId, wake: &mut Vec<Waker>, event: impl Fn() -> ClientEvent) {
        for feed in self.feeds.iter_mut().filter(|feed| feed.client == client && !feed.closed) {
            if feed.events.len() >= feed.capacity {
                feed.events.pop_front();
                feed.lost = feed.lost.saturating_add(1);
            }
            feed.events.push_back(event());
            wake.extend(feed.waker.take());
        }
    }

    /// Ends the streams of a client, or all.
    pub(crate) fn close(&mut self, client: Option<ClientId>, wake: &mut Vec<Waker>) {
        for feed in self.feeds.iter_mut().filter(|feed| client.is_none_or(|client| feed.client == client)) {
            feed.closed = true;
            wake.extend(feed.waker.take());
        }
    }
}

// ----- Where it is told ------------------------------------------------------------------------------------------------

/// A request whose end is to be told once. Dropped before that, it was dropped.
pub(crate) struct Teller<R: Runtime> {
    client: Client<R>,
    number: RequestNumber,
    told: bool,
}

impl<R: Runtime> Teller<R> {
    pub(crate) const fn new(client: Client<R>, number: RequestNumber) -> Self {
        Self { client, number, told: false }
    }

    pub(crate) fn finished(&mut self, reply: &Reply) {
        let request = self.number;
        self.tell(|| ClientEvent::Finished { request, reply: reply.clone() });
    }

    pub(crate) fn failed(&mut self, error: &Error) {
        let request = self.number;
        self.tell(|| ClientEvent::Failed { request, kind: error.kind(), message: error.to_string() });
    }

    pub(crate) fn collected(&mut self, responses: u64) {
        let request = self.number;
        self.tell(|| ClientEvent::GroupFinished { request, responses });
    }

    fn tell(&mut self, event: impl Fn() -> ClientEvent) {
        if core::mem::replace(&mut self.told, true) {
            return;
        }
        let mut wake = Vec::new();
        self.client.shared().lock().feeds.tell(self.client.id(), &mut wake, event);
        wake.into_iter().for_each(Waker::wake);
    }
}

impl<R: Runtime> Drop for Teller<R> {
    fn drop(&mut self) {
        let request = self.number;
        self.tell(|| ClientEvent::Dropped { request });
    }
}

impl RequestNumber {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }
}
