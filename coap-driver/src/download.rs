//! A response that is read as it comes (RFC 7959 §2.4): for what is longer than one would hold in memory.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use std::io;

use bytes::{Buf, Bytes};
use coap_core::{BlockFailure, Code, ContentFormat, Failure, Options, Peer, RequestId, Timing};
use futures_core::Stream;
use futures_io::AsyncRead;

use crate::abort::Signal;
use crate::client::Client;
use crate::error::Error;
use crate::events::Teller;
use crate::progress::ProgressHook;
use crate::reply::Reply;
use crate::resume::Resume;
use crate::runtime::Runtime;
use crate::waiting::{Head, PartNews};

/// A response whose content comes part by part; made by [`RequestBuilder::download`](crate::RequestBuilder::download).
///
/// * It is a [`Stream`] of parts and an [`AsyncRead`], and [`chunk`](Self::chunk) needs neither.
/// * The next block is asked for when the one before has been taken, with one in reserve: a slow reader slows the server
///   down, and the memory stays at a few blocks.
/// * A short response, which came in one datagram, is one part.
/// * Dropping it ends the transfer. [`resume`](Self::resume) says what to keep to go on later.
/// * When the content does not come to its end there is one [`Error`], and then nothing; a reader gets errors for ever, so
///   that half of a file is never taken for all of it.
///
/// ```no_run
/// # use coap_driver::{Client, Error, Runtime};
/// # async fn example<R: Runtime>(client: Client<R>) -> Result<(), Error> {
/// let mut firmware = client.get("coap://[2001:db8::1]/firmware").download().await?.error_for_status()?;
/// println!("{:?} bytes", firmware.size);
/// while let Some(part) = firmware.chunk().await? {
///     println!("{} of them", part.len());
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a download ends it"]
#[non_exhaustive]
pub struct Download<R: Runtime> {
    /// The response code: a 4.04 is a response too.
    pub code: Code,
    /// The options of the first block.
    pub options: Options,
    /// Who answered.
    pub from: Peer,
    /// How often the request was sent, and how long the first block took.
    pub timing: Timing,
    /// How long the content is in all, in bytes, where the server has said so (Size2: RFC 7959 §4).
    pub size: Option<u64>,
    /// Where in the content the first part starts, in bytes: 0, but for a download that was resumed.
    pub offset: u64,
    /// The same for a person: see `Reply`.
    told: Peer,
    source: Source<R>,
    /// What is left of a part that was read in part.
    rest: Bytes,
    /// Bytes to come that are there already: a block starts where it wants.
    skip: u64,
    /// How far the content has been given to the caller.
    position: u64,
    on_progress: Option<ProgressHook>,
}

/// Where further parts come from.
enum Source<R: Runtime> {
    Parts(Transfer<R>),
    /// All are there.
    Complete,
    /// There will be none.
    Broken,
}

/// A request that is forgotten when it is dropped.
pub(crate) struct Transfer<R: Runtime> {
    client: Client<R>,
    id: RequestId,
    epoch: u64,
    abort: Option<Signal>,
    teller: Teller<R>,
}

impl<R: Runtime> Transfer<R> {
    pub(crate) const fn new(
        client: Client<R>,
        id: RequestId,
        epoch: u64,
        abort: Option<Signal>,
        teller: Teller<R>,
    ) -> Self {
        Self { client, id, epoch, abort, teller }
    }

    /// Names the error that ends it, and tells it.
    fn fail(&mut self, error: Error) -> Error {
        let error = self.client.name_end(self.epoch, error);
        self.teller.failed(&error);
        error
    }
}

impl<R: Runtime> Drop for Transfer<R> {
    fn drop(&mut self) {
        let mut wake = Vec::new();
        self.client.shared().command(|state, now| state.forget(now, self.id, &mut wake));
        wake.into_iter().for_each(Waker::wake);
    }
}

impl<R: Runtime> Download<R> {
    /// A response that came at once.
    pub(crate) fn whole(reply: Reply) -> Self {
        let Reply { code, options, payload, from, timing, told } = reply;
        Self {
            code,
            options,
            from,
            timing,
            told,
            size: Some(payload.len() as u64),
            offset: 0,
            source: Source::Complete,
            rest: payload,
            skip: 0,
            position: 0,
            on_progress: None,
        }
    }

    pub(crate) fn in_parts(
        transfer: Transfer<R>,
        head: Head,
        resumed: Option<&Resume>,
        on_progress: Option<ProgressHook>,
    ) -> Self {
        let Head { reply, size, offset } = head;
        let Reply { code, options, from, timing, told, .. } = reply;
        let skip = resumed.map_or(0, |resume| {
            let same = options.etag().as_ref() == Some(resume.etag());
            // Nobody has more of the content than there is: what was kept is of another one.
            let fits = size.is_none_or(|size| resume.offset() <= size);
            if same && fits { resume.offset().saturating_sub(offset) } else { 0 }
        });
        let offset = offset + skip;
        Self {
            code,
            options,
            from,
            timing,
            told,
            size,
            offset,
            source: Source::Parts(transfer),
            rest: Bytes::new(),
            skip,
            position: offset,
            on_progress,
        }
    }

    /// True for 2.xx.
    pub fn is_success(&self) -> bool {
        self.code.is_success()
    }

    /// Makes a 4.xx or 5.xx an error, for `?`.
    ///
    /// # Errors
    /// [`Error::Status`], with the reply inside, and the first part of its content.
    pub fn error_for_status(mut self) -> Result<Self, Error> {
        if self.is_success() {
            return Ok(self);
        }
        // The first part is there.
        let _ = self.poll_rest(&Context::from_waker(Waker::noop()));
        let (options, payload) = (core::mem::take(&mut self.options), core::mem::take(&mut self.rest));
        let (code, from, timing, told) = (self.code, self.from, self.timing, self.told);
        let reply = Reply { code, options, payload, from, timing, told };
        Err(Error::Status(Box::new(reply)))
    }

    /// The format of the content, if the peer said.
    pub fn content_format(&self) -> Option<ContentFormat> {
        self.options.content_format()
    }

    /// How far the content has been read, in bytes from its start.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// What to keep to go on from here later, even after a restart of the program. `None`: the server gave the content no
    /// ETag, and nobody could tell whether it is still the same.
    pub fn resume(&self) -> Option<Resume> {
        let etag = self.options.etag().filter(|_| self.is_success())?;
        Some(Resume::new(self.position, etag))
    }

    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// The content will not come to its end: why.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        poll_fn(|cx| self.poll_part(cx)).await.transpose()
    }

    fn poll_part(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        match ready!(self.poll_rest(cx)) {
            Ok(()) => {
                let part = core::mem::take(&mut self.rest);
                self.position += part.len() as u64;
                Poll::Ready((!part.is_empty()).then_some(Ok(part)))
            }
            Err(error) => Poll::Ready(error.map(Err)),
        }
    }

    /// Ready when there is something to read, or at the end. `None` after the error.
    fn poll_rest(&mut self, cx: &Context<'_>) -> Poll<Result<(), Option<Error>>> {
        while self.rest.is_empty() {
            let transfer = match &mut self.source {
                Source::Complete => return Poll::Ready(Ok(())),
                Source::Broken => return Poll::Ready(Err(None)),
                Source::Parts(transfer) => transfer,
            };
            if transfer.abort.as_ref().is_some_and(|abort| abort.poll(cx)) {
                let error = transfer.fail(Error::Aborted);
                self.source = Source::Broken;
                return Poll::Ready(Err(Some(error)));
            }
            let (shared, id) = (transfer.client.shared(), transfer.id);
            let news = ready!(shared.lock().waiting.poll_part(id, cx));
            if let PartNews::Part { last: false, .. } = news {
                shared.command(|state, now| state.endpoint.consumed(now, id.response_body()));
            }
            match news {
                PartNews::Moved(progress) => {
                    if let Some(told) = &mut self.on_progress {
                        told(progress);
                    }
                }
                PartNews::Part { data, last } => {
                    if last && self.skip > data.len() as u64 {
                        let (peer, reason) = (self.told, Failure::Blockwise(BlockFailure::Changed));
                        let error = transfer.fail(Error::from_failure(peer, reason, self.timing));
                        self.source = Source::Broken;
                        return Poll::Ready(Err(Some(error)));
                    }
                    if last {
                        let (code, options, payload) = (self.code, self.options.clone(), Bytes::new());
                        let (from, timing, told) = (self.from, self.timing, self.told);
                        transfer.teller.finished(&Reply { code, options, payload, from, timing, told });
                        self.source = Source::Complete;
                    }
                    self.take(data);
                }
                PartNews::Ended(outcome) => {
                    let error = transfer.fail(outcome.into_error());
                    self.source = Source::Broken;
                    return Poll::Ready(Err(Some(error)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, mut part: Bytes) {
        let there = usize::try_from(self.skip).unwrap_or(usize::MAX).min(part.len());
        part.advance(there);
        self.skip -= there as u64;
        self.rest = part;
    }

    fn read(&mut self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match ready!(self.poll_rest(cx)) {
            Ok(()) => {
                let len = self.rest.len().min(buf.len());
                self.rest.copy_to_slice(buf.get_mut(..len).unwrap_or_default());
                self.position += len as u64;
                Poll::Ready(Ok(len))
            }
            Err(Some(error)) => Poll::Ready(Err(error.into())),
            Err(None) => Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the download has failed before"))),
        }
    }
}

impl<R: Runtime> Unpin for Download<R> {}

impl<R: Runtime> Stream for Download<R> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_part(cx)
    }
}

impl<R: Runtime> AsyncRead for Download<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.read(cx, buf)
    }
}

impl<R: Runtime> fmt::Debug for Download<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("code", &self.code)
            .field("options", &self.options)
            .field("from", &self.from)
            .field("size", &self.size)
            .field("offset", &self.offset)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
