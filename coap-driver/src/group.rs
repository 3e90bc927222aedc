//! A request to a group (RFC 7252 §8), and what its members answer.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;

use coap_core::{BlockSize, Code, Failure, OptionNumber, Peer, Request, RequestId};
use futures_core::Stream;

use crate::abort::Signal;
use crate::client::Client;
use crate::error::Error;
use crate::events::Teller;
use crate::reply::Reply;
use crate::request::RequestBuilder;
use crate::runtime::{BoxFuture, Runtime};
use crate::waiting::Outcome;

/// Responses that may wait for a stream that is not read. When full a further one is dropped and counted.
const MOST_WAITING: usize = 64;

/// Members whose long responses are fetched at a time. As many as may wait for a reader wait for their turn; the response of
/// a further one is dropped and counted.
const MOST_FETCHED: usize = 8;

/// What the members of a group answer, as it comes; made by [`RequestBuilder::multicast`].
///
/// * An item is who answered, and the response of any code, or why there is none of this member. Neither ends the stream:
///   members may err. What is no response at all is not told.
/// * It ends when the time of the request is over: its `timeout`, or MAX_SERVER_RESPONSE_DELAY, 250 s by default (RFC 7390
///   §2.5). Dropping it ends it before. If the request could not be sent, or the client was closed, the last item says so,
///   with the group itself as the one who answered.
/// * Of a response longer than a block a member sends the first block alone (RFC 7959 §2.8). To GET and FETCH the whole is then
///   asked of it by unicast, with a request of its own, even after the end of the group's: bodies of two members, or of two
///   states, are never joined. It has the same time as the group's. To other methods, which may not be repeated, the reply has
///   the first block and the Block2 option that says so.
/// * Another block than the first, such as the last one of a body, is no response to a group: it is dropped.
/// * 64 responses wait for a reader, and 8 long ones are fetched at a time, while 64 more wait for their turn: a member that
///   stalls holds up no short ones. [`lost`](Self::lost) counts what was dropped.
///
/// ```no_run
/// # use coap_driver::{Client, Error, Runtime};
/// # async fn example<R: Runtime>(client: Client<R>) -> Result<(), Error> {
/// let mut lamps = client.get("coap://[ff02::fd%25eth0]/lamp").multicast().await?;
/// while let Some((lamp, answer)) = lamps.next().await {
///     match answer {
///         Ok(reply) => println!("{lamp}: {} {:?}", reply.code, reply.text()),
///         Err(error) => println!("{lamp}: {error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it ends it"]
pub struct GroupResponses<R: Runtime> {
    client: Client<R>,
    group: Peer,
    /// Until no more come.
    open: Option<RequestId>,
    epoch: u64,
    abort: Option<Signal>,
    teller: Teller<R>,
    /// What was asked, to be asked of one member alone.
    request: Request,
    timeout: Option<Duration>,
    max_body: Option<usize>,
    fetching: Vec<Fetching>,
    /// Whose long responses are fetched next.
    in_turn: VecDeque<(Peer, BlockSize)>,
    heard: u64,
    lost: u64,
}

/// A long response on its way.
struct Fetching {
    from: Peer,
    reply: BoxFuture<Result<Reply, Error>>,
}

/// What a stream is made of.
pub(crate) struct Asked<R: Runtime> {
    pub(crate) client: Client<R>,
    pub(crate) group: Peer,
    pub(crate) id: RequestId,
    pub(crate) epoch: u64,
    pub(crate) abort: Option<Signal>,
    pub(crate) teller: Teller<R>,
    pub(crate) request: Request,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_body: Option<usize>,
}

impl<R: Runtime> GroupResponses<R> {
    pub(crate) fn new(asked: Asked<R>) -> Self {
        let Asked { client, group, id, epoch, abort, teller, mut request, timeout, max_body } = asked;
        // Which answers a group may spare is not what one member is asked (RFC 7967 §2.1).
        request.options.remove(OptionNumber::NO_RESPONSE);
        request.options.remove(OptionNumber::BLOCK2);
        let (open, fetching, in_turn) = (Some(id), Vec::new(), VecDeque::new());
        let (heard, lost) = (0, 0);
        Self { client, group, open, epoch, abort, teller, request, timeout, max_body, fetching, in_turn, heard, lost }
    }

    /// The next answer; `None` at the end.
    pub async fn next(&mut self) -> Option<(Peer, Result<Reply, Error>)> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// How many responses were dropped because 64 were waiting to be read, or for their turn to be fetched.
    pub fn lost(&self) -> u64 {
        self.lost + self.open.map_or(0, |id| self.client.shared().lock().waiting.lost_members(id))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Peer, Result<Reply, Error>)>> {
        let is_open = self.open.is_some() || !self.fetching.is_empty();
        if is_open && self.abort.as_ref().is_some_and(|abort| abort.poll(cx)) {
            self.fetching.clear();
            self.in_turn.clear();
            return Poll::Ready(Some((self.group, Err(self.end_with(Error::Aborted)))));
        }
        if let Some(fetched) = self.poll_fetched(cx) {
            return Poll::Ready(Some(fetched));
        }
        loop {
            let Some(id) = self.open else {
                return if self.fetching.is_empty() { Poll::Ready(None) } else { Poll::Pending };
            };
            let polled = self.client.shared().lock().waiting.poll_member(id, cx);
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(reply)) => {
                    self.heard += 1;
                    let from = reply.from;
                    let Some(size) = self.first_block(&reply) else { return Poll::Ready(Some((from, Ok(reply)))) };
                    self.fetch_in_turn(from, size);
                    if let Some(fetched) = self.poll_fetched(cx) {
                        return Poll::Ready(Some(fetched));
                    }
                }
                // Its time is over.
                Poll::Ready(Err(Outcome::Failed { reason: Failure::NoResponse, .. })) => {
                    self.close();
                    self.teller.collected(self.heard);
                }
                Poll::Ready(Err(outcome)) => {
                    self.in_turn.clear();
                    let error = self.client.name_end(self.epoch, outcome.into_error());
                    return Poll::Ready(Some((self.group, Err(self.end_with(error)))));
                }
            }
        }
    }

    fn poll_fetched(&mut self, cx: &mut Context<'_>) -> Option<(Peer, Result<Reply, Error>)> {
        for index in 0..self.fetching.len() {
            if let Some(fetching) = self.fetching.get_mut(index)
                && let Poll::Ready(result) = fetching.reply.as_mut().poll(cx)
            {
                let Fetching { from, .. } = self.fetching.swap_remove(index);
                // Of what began before a disconnection nothing is asked afterwards.
                if self.client.epoch() != self.epoch {
                    self.in_turn.clear();
                }
                if let Some((next, size)) = self.in_turn.pop_front() {
                    self.fetch(next, size);
                }
                return Some((from, result));
            }
        }
        None
    }

    /// The size of its blocks, if more follow that may be asked for.
    fn first_block(&self, reply: &Reply) -> Option<BlockSize> {
        let repeatable = matches!(self.request.code, Code::GET | Code::FETCH);
        let block = reply.options.block2().filter(|block| block.more() && repeatable)?;
        BlockSize::from_szx(block.szx())
    }

    /// Once for each member at a time.
    fn fetch_in_turn(&mut self, from: Peer, size: BlockSize) {
        let is_known = self.fetching.iter().any(|fetching| fetching.from == from)
            || self.in_turn.iter().any(|(member, _)| *member == from);
        if is_known {
            return;
        }
        if self.fetching.len() < MOST_FETCHED {
            self.fetch(from, size);
        } else if self.in_turn.len() < MOST_WAITING {
            self.in_turn.push_back((from, size));
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    fn fetch(&mut self, from: Peer, size: BlockSize) {
        // A member that trickles blocks must not keep the place of others for ever.
        let timeout = self.timeout.unwrap_or_else(|| self.client.max_server_response_delay());
        let asked = RequestBuilder::new(self.client.clone(), self.request.code, from);
        let asked = asked.with_request(self.request.clone()).block_size(size).no_proxy().timeout(timeout);
        let asked = self.max_body.into_iter().fold(asked, RequestBuilder::max_body);
        self.fetching.push(Fetching { from, reply: asked.into_future() });
    }

    fn end_with(&mut self, error: Error) -> Error {
        self.close();
        self.teller.failed(&error);
        error
    }

    fn close(&mut self) {
        let Some(id) = self.open.take() else { return };
        let mut wake = Vec::new();
        let lost = self.client.shared().command(|state, now| {
            let lost = state.waiting.lost_members(id);
            state.forget(now, id, &mut wake);
            lost
        });
        self.lost += lost;
        wake.into_iter().for_each(Waker::wake);
    }
}

impl<R: Runtime> Drop for GroupResponses<R> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<R: Runtime> Unpin for GroupResponses<R> {}

impl<R: Runtime> Stream for GroupResponses<R> {
    type Item = (Peer, Result<Reply, Error>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl<R: Runtime> fmt::Debug for GroupResponses<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupResponses").field("group", &self.group).field("heard", &self.heard).finish_non_exhaustive()
    }
}

/// Responses of a group that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Members {
    waiting: VecDeque<Reply>,
    pub(crate) lost: u64,
}

impl Members {
    pub(crate) fn add(&mut self, reply: Reply) {
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back(reply);
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    pub(crate) fn take(&mut self) -> Option<Reply> {
        self.waiting.pop_front()
    }
}
