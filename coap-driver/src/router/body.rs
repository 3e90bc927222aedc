//! `BodyReader`: the content of a request, read as it comes.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use coap_core::{BodyId, Closed, Code, Response};
use futures_core::Stream;
use futures_io::AsyncRead;

use super::extract::{FromRequest, Incoming};
use super::response::{Answer, IntoResponse};

/// The content of a request, block by block as it comes: for what is longer than one would hold in memory.
///
/// A handler that takes it is called when the first block is there, and the peer may send the next one when the last has been read:
/// the memory stays at a few blocks, and [`MethodRouter::max_body`](super::MethodRouter::max_body) is the only limit. Its response
/// may come at any time; one that comes before the end of the content tells the peer to send no more.
///
/// It is a [`Stream`] of blocks and an [`AsyncRead`], and [`chunk`](Self::chunk) needs neither.
///
/// When the content does not come to its end there is one error, and then nothing. The handler goes on, so that it can clear up; its
/// response goes nowhere if the peer is gone. It is dropped 93 s later if it is not done by then, and at once
/// where 64 others are clearing up already.
///
/// ```
/// # use coap_driver::router::{BodyError, BodyReader, Router, put};
/// async fn count(mut body: BodyReader) -> Result<String, BodyError> {
///     let mut bytes = 0;
///     while let Some(part) = body.chunk().await? {
///         bytes += part.len();
///     }
///     Ok(bytes.to_string())
/// }
/// let router: Router = Router::new().route("/count", put(count));
/// ```
#[derive(Debug)]
pub struct BodyReader {
    size: Option<u64>,
    content: Content,
    /// What is left of a block that was read in part.
    rest: Bytes,
}

#[derive(Debug)]
enum Content {
    /// It came in one datagram, or has been taken.
    Here(Bytes),
    Parts(Arc<Upload>),
}

impl BodyReader {
    /// How many bytes the content has in all, if the peer has said so (Size1: RFC 7959 §4). It may be wrong.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The content will not come to its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        core::future::poll_fn(|cx| self.poll_chunk(cx)).await.transpose()
    }

    fn poll_chunk(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(core::mem::take(&mut self.rest))));
        }
        match &mut self.content {
            Content::Here(bytes) => {
                let bytes = core::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
            }
            Content::Parts(upload) => upload.poll_part(cx),
        }
    }
}

impl<S> FromRequest<S> for BodyReader {
    const READS_PARTS: bool = true;

    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        let (size, content) = match incoming.upload {
            Some(upload) => (upload.size, Content::Parts(upload.clone())),
            None => {
                let bytes = Bytes::copy_from_slice(incoming.payload());
                (Some(bytes.len() as u64), Content::Here(bytes))
            }
        };
        Ok(Self { size, content, rest: Bytes::new() })
    }
}

impl Stream for BodyReader {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(cx)
    }
}

impl AsyncRead for BodyReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match self.poll_chunk(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(Ok(0)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error.into())),
            Poll::Ready(Some(Ok(mut bytes))) => {
                let len = bytes.len().min(buf.len());
                bytes.copy_to_slice(buf.get_mut(..len).unwrap_or_default());
                self.rest = bytes;
                Poll::Ready(Ok(len))
            }
        }
    }
}

/// Why the content of a request did not come to its end. Returned by a handler it is 4.13 for [`TooLong`](Self::TooLong) and 4.08
/// for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// The peer did not go on, or others took its place (`Config::max_transfers`).
    Abandoned,
    /// The peer began anew.
    Superseded,
    /// A block made no sense.
    BadBlock,
    /// It is longer than the [`MethodRouter::max_body`](super::MethodRouter::max_body) of the route.
    TooLong {
        /// That limit, in bytes.
        limit: usize,
    },
    /// The request has been answered, or the server has ended.
    Over,
}

impl BodyError {
    pub(crate) const fn from_closed(why: Closed) -> Self {
        match why {
            Closed::Abandoned => Self::Abandoned,
            Closed::Superseded => Self::Superseded,
            Closed::BadBlock => Self::BadBlock,
            _ => Self::Over,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abandoned => write!(f, "the peer did not send the rest of the content"),
            Self::Superseded => write!(f, "the peer began to send the content anew"),
            Self::BadBlock => write!(f, "the peer sent a block that does not fit"),
            Self::TooLong { limit } => write!(f, "the content is longer than the {limit} bytes that are accepted"),
            Self::Over => write!(f, "the request is over: the rest of its content is not received"),
        }
    }
}

impl core::error::Error for BodyError {}

impl From<BodyError> for io::Error {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLong { .. } | BodyError::BadBlock => io::ErrorKind::InvalidData,
            BodyError::Abandoned | BodyError::Superseded | BodyError::Over => io::ErrorKind::UnexpectedEof,
        };
        Self::new(kind, error)
    }
}

impl IntoResponse for BodyError {
    fn into_response(self, _method: Code) -> Answer {
        match self {
            Self::TooLong { limit } => too_long(limit).into(),
            _ => Answer::new(Code::REQUEST_ENTITY_INCOMPLETE).with_body(self.to_string()),
        }
    }
}

/// 4.13, with the limit (RFC 7959 §2.9.3).
pub(super) fn too_long(limit: usize) -> Response {
    let mut response = Response::new(Code::REQUEST_ENTITY_TOO_LARGE);
    response.options.set_size1(u32::try_from(limit).unwrap_or(u32::MAX));
    response
}

/// What lets a peer go on.
pub(crate) trait GoAhead: Send + Sync {
    /// The next part of `body` may come.
    fn go_ahead(&self, body: BodyId);
}

/// What a reader and the driver task share of a body in parts.
pub(crate) struct Upload {
    body: BodyId,
    size: Option<u64>,
    limit: Option<usize>,
    endpoint: Arc<dyn GoAhead>,
    parts: Mutex<Parts>,
}

struct Parts {
    /// One, as the next one comes when it is asked for.
    here: VecDeque<Bytes>,
    received: u64,
    rest: Rest,
    reader: Option<Waker>,
}

/// What is behind the parts that are here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// More, and nobody has asked for it.
    More,
    /// More, which has been asked for.
    Asked,
    End,
    Failed(BodyError),
    /// The error has been told.
    Told(BodyError),
}

impl Upload {
    pub(crate) fn new(body: BodyId, size: Option<u64>, limit: Option<usize>, endpoint: Arc<dyn GoAhead>) -> Arc<Self> {
        let parts = Parts { here: VecDeque::new(), received: 0, rest: Rest::More, reader: None };
        Arc::new(Self { body, size, limit, endpoint, parts: Mutex::new(parts) })
    }

    /// Nothing that could panic runs under this lock, and no other lock is taken under it.
    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a part from the endpoint.
    pub(crate) fn push(&self, data: Bytes, last: bool, wake: &mut Vec<Waker>) {
        let mut parts = self.lock();
        if parts.is_over() {
            return;
        }
        parts.received += data.len() as u64;
        match self.limit {
            Some(limit) if parts.received > limit as u64 => parts.rest = Rest::Failed(BodyError::TooLong { limit }),
            _ => {
                parts.rest = if last { Rest::End } else { Rest::More };
                if !data.is_empty() {
                    parts.here.push_back(data);
                }
            }
        }
        wake.extend(parts.reader.take());
    }

    /// No more parts will come. True if they had not come to their end: the reader is told.
    pub(crate) fn fail(&self, error: BodyError, wake: &mut Vec<Waker>) -> bool {
        let mut parts = self.lock();
        if parts.is_over() {
            return false;
        }
        parts.rest = Rest::Failed(error);
        wake.extend(parts.reader.take());
        true
    }

    /// Whether the peer did not go on, and the request is over for that.
    pub(crate) fn broke_off(&self) -> bool {
        let rest = self.lock().rest;
        let (Rest::Failed(error) | Rest::Told(error)) = rest else { return false };
        matches!(error, BodyError::Abandoned | BodyError::Superseded | BodyError::BadBlock)
    }

    fn poll_part(&self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut parts = self.lock();
        if let Some(part) = parts.here.pop_front() {
            return Poll::Ready(Some(Ok(part)));
        }
        match parts.rest {
            Rest::End | Rest::Told(_) => return Poll::Ready(None),
            Rest::Failed(error) => {
                parts.rest = Rest::Told(error);
                return Poll::Ready(Some(Err(error)));
            }
            Rest::More | Rest::Asked => {}
        }
        match &mut parts.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            None => parts.reader = Some(cx.waker().clone()),
        }
        if core::mem::replace(&mut parts.rest, Rest::Asked) == Rest::More {
            drop(parts);
            self.endpoint.go_ahead(self.body);
        }
        Poll::Pending
    }
}

impl Parts {
    const fn is_over(&self) -> bool {
        !matches!(self.rest, Rest::More | Rest::Asked)
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("body", &self.body).field("size", &self.size).finish_non_exhaustive()
    }
}
