//! What tokio reads, for those who read with the traits of the `futures` crates.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use coap_driver::{BodySource, BoxReader};
use tokio::io::{AsyncRead, ReadBuf};

use crate::runtime::TokioRuntime;

/// A reader of tokio, such as a `tokio::fs::File`, as one of the `futures` crates.
pub struct TokioReader<T>(Pin<Box<T>>);

impl<T> TokioReader<T> {
    /// Reads from `reader`.
    pub fn new(reader: T) -> Self {
        Self(Box::pin(reader))
    }
}

impl<T: AsyncRead> futures_io::AsyncRead for TokioReader<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(self.0.as_mut().poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<T> fmt::Debug for TokioReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokioReader")
    }
}

/// Whatever tokio reads can be the content of a request.
impl<T: AsyncRead + Send + 'static> BodySource<T> for TokioRuntime {
    fn reader(source: T) -> BoxReader {
        Box::pin(TokioReader::new(source))
    }
}
