//! Responses that are longer than what one would hold in memory: streams, and stretches of what can be read anywhere.

use core::fmt;
use core::pin::Pin;

use bytes::Bytes;
use coap_core::{Body, Code, ETag, Response, Wanted};
use futures_io::AsyncRead;

use super::extract::{FromRequest, Incoming};
use super::response::{Answer, Content, IntoResponse, success};

/// What the body of a response is read from.
pub(crate) type Source = Pin<Box<dyn AsyncRead + Send>>;

/// Success with content that is read while it is sent, block by block, for this one peer: it may be longer than the
/// memory, and its end need not be known. A `(ContentFormat, Streamed)` says in which format.
///
/// Each block is read when the peer asks for it, and one byte beyond, because a block says whether more follows. A peer
/// that stops asking ends the stream after EXCHANGE_LIFETIME (247 s); an error of the reader ends it with 5.00 in place of
/// the next block. A peer cannot begin in the middle: for that there is [`Ranged`]. Without an [`etag`](Self::etag) the peer
/// cannot see that two blocks belong to different contents, as when two of its streams of one resource meet.
///
/// ```
/// # use coap_core::ContentFormat;
/// # use coap_driver::router::{Router, Streamed, get};
/// async fn log() -> (ContentFormat, Streamed) {
///     let reader = &b"as long as you like"[..]; // any `AsyncRead`: a file, a pipe
///     (ContentFormat::TEXT_PLAIN, Streamed::new(reader))
/// }
/// let router: Router = Router::new().route("/log", get(log));
/// ```
#[must_use]
pub struct Streamed {
    pub(crate) source: Source,
    pub(crate) size: Option<u64>,
}

impl Streamed {
    /// All that `reader` gives, to its end.
    pub fn new(reader: impl AsyncRead + Send + 'static) -> Self {
        Self { source: Box::pin(reader), size: None }
    }

    /// Says how many bytes it will be (Size2: RFC 7959 §4). The stream ends there; a reader that ends before is an error.
    pub const fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// With this entity-tag (RFC 7252 §5.10.6), which should be another whenever the content is.
    pub fn etag(self, etag: ETag) -> (ETag, Self) {
        (etag, self)
    }
}

impl IntoResponse for Streamed {
    fn into_response(self, method: Code) -> Answer {
        Answer { content: Content::Stream(self), ..Answer::new(success(method)) }
    }
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Success with a stretch of a longer body: for files, and whatever else can be read from anywhere. Nothing is remembered
/// between two blocks, so that any number of peers may read, each at its own pace, and go on after a restart.
///
/// Give it an entity-tag, in a pair `(ETag, Ranged)`, that is another whenever the content is: the peer puts only blocks with
/// the same one together.
///
/// ```
/// # use bytes::Bytes;
/// # use coap_core::Wanted;
/// # use coap_driver::router::{Ranged, Router, get};
/// static BOOK: &[u8] = &[b'x'; 100_000];
///
/// async fn read(wanted: Wanted) -> Ranged {
///     let start = BOOK.len().min(wanted.offset as usize);
///     let end = BOOK.len().min(start + wanted.max);
///     Ranged { offset: wanted.offset, data: Bytes::from_static(&BOOK[start..end]), size: Some(BOOK.len() as u64) }
/// }
/// let router: Router = Router::new().route("/book", get(read));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranged {
    /// Where it starts, in bytes: [`Wanted::offset`].
    pub offset: u64,
    /// [`Wanted::max`] bytes or more, unless the body ends before; what is more is not sent.
    pub data: Bytes,
    /// How long the whole body is, in bytes. Without it the body ends with `data` if that is not longer than
    /// [`Wanted::max`].
    pub size: Option<u64>,
}

impl IntoResponse for Ranged {
    fn into_response(self, method: Code) -> Answer {
        let Self { offset, data, size } = self;
        Answer::new(success(method)).with_body(Body::Range { offset, data, size })
    }
}

/// Which stretch of the response is asked for; a handler that looks at it answers with [`Ranged`]. All of the content may
/// be answered as well: the stretch is cut from it.
impl<S> FromRequest<S> for Wanted {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(incoming.wanted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coap_core::ContentFormat;

    #[test]
    fn a_stream_keeps_its_format_tag_and_size() {
        let tag = ETag::new(b"v1").unwrap();
        let streamed = (ContentFormat::CBOR, Streamed::new(&b"abc"[..]).size(3).etag(tag)).into_response(Code::GET);
        let (response, source) = streamed.into_parts();
        let response = response.unwrap();
        assert_eq!((response.code, response.body), (Code::CONTENT, Body::Parts { size: Some(3) }));
        assert_eq!(response.options.content_format(), Some(ContentFormat::CBOR));
        assert!(source.is_some());
    }

    #[test]
    fn a_range_says_where_it_starts() {
        let ranged = Ranged { offset: 64, data: Bytes::from_static(b"abc"), size: Some(67) };
        let (response, source) = ranged.into_response(Code::GET).into_parts();
        assert!(source.is_none());
        assert!(matches!(response.unwrap().body, Body::Range { offset: 64, size: Some(67), .. }));
    }
}
