//! The content of a request that is read while it is sent (RFC 7959 §2.5): a few blocks of it are in memory at a time.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use bytes::{Bytes, BytesMut};
use futures_io::AsyncRead;

use crate::runtime::Runtime;

/// A reader whose type does not matter any more.
pub type BoxReader = Pin<Box<dyn AsyncRead + Send>>;

/// A runtime on which a `T` can be the content of a request: what [`RequestBuilder::body`](crate::RequestBuilder::body)
/// accepts.
///
/// Each runtime has its own trait for what is read asynchronously, and implements this for all that have it: tokio's for
/// tokio, that of the `futures` crates for all others.
pub trait BodySource<T>: Runtime {
    /// Reads from `source`.
    fn reader(source: T) -> BoxReader;
}

/// How much is read from a reader at a time: a file on a runtime with a pool of threads costs as much for one byte.
const READ_AT_ONCE: usize = 8 << 10;

/// How much is kept to be given again to another address.
const KEEP: usize = 16 << 10;

/// A reader, and how far it has come.
pub(crate) struct Upload {
    reader: BoxReader,
    /// How long the content is, if the caller has said so: then no more is read.
    size: Option<u64>,
    /// Bytes taken from the reader.
    read: u64,
    at_end: bool,
    /// What was read and not given yet.
    ahead: BytesMut,
    /// All that was given, while it is little.
    given: Option<BytesMut>,
}

/// The next bytes of the content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) data: Bytes,
    /// The content ends with them.
    pub(crate) last: bool,
}

impl Upload {
    pub(crate) fn new(reader: BoxReader, size: Option<u64>) -> Self {
        Self { reader, size, read: 0, at_end: false, ahead: BytesMut::new(), given: Some(BytesMut::new()) }
    }

    pub(crate) const fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next `max` bytes, or a multiple of it if that much is there already, or those that are left.
    ///
    /// # Errors
    /// The reader's own; `UnexpectedEof`: it ended before the size that was announced.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Chunk>> {
        // One byte more than is given tells whether these are the last.
        while !self.at_end && self.ahead.len() <= max {
            ready!(self.poll_fill(cx))?;
        }
        let len = if self.at_end { self.ahead.len() } else { multiple(self.ahead.len().saturating_sub(1), max) };
        let data = self.ahead.split_to(len).freeze();
        match &mut self.given {
            Some(given) if given.len() + data.len() <= KEEP => given.extend_from_slice(&data),
            given => *given = None,
        }
        Poll::Ready(Ok(Chunk { data, last: self.at_end && self.ahead.is_empty() }))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wanted = self.size.map_or(u64::MAX, |size| size.saturating_sub(self.read));
        let wanted = usize::try_from(wanted).unwrap_or(READ_AT_ONCE).min(READ_AT_ONCE);
        if wanted == 0 {
            self.at_end = true;
            return Poll::Ready(Ok(()));
        }
        let start = self.ahead.len();
        self.ahead.resize(start + wanted, 0);
        let polled = self.reader.as_mut().poll_read(cx, self.ahead.get_mut(start..).unwrap_or_default());
        let len = match &polled {
            Poll::Ready(Ok(len)) => (*len).min(wanted),
            _ => 0,
        };
        self.ahead.truncate(start + len);
        match ready!(polled) {
            Ok(0) if self.size.is_some() => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(0) => {
                self.at_end = true;
                Poll::Ready(Ok(()))
            }
            Ok(_) => {
                self.read += len as u64;
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Begins anew, for another address. False: too much was given to be given again.
    pub(crate) fn rewind(&mut self) -> bool {
        let Some(given) = &mut self.given else { return false };
        let mut all = core::mem::take(given);
        all.extend_from_slice(&self.ahead);
        self.ahead = all;
        true
    }
}

/// The largest multiple of `unit` in `len`.
const fn multiple(len: usize, unit: usize) -> usize {
    len - len % if unit == 0 { 1 } else { unit }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("size", &self.size).field("read", &self.read).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use core::task::Waker;

    use super::*;

    /// Gives so many bytes at a time, and is not ready each second time.
    struct Slow<'a> {
        content: &'a [u8],
        step: usize,
        ready: bool,
    }

    impl AsyncRead for Slow<'_> {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            self.ready = !self.ready;
            if !self.ready {
                return Poll::Pending;
            }
            let len = self.content.len().min(self.step).min(buf.len());
            buf[..len].copy_from_slice(&self.content[..len]);
            self.content = &self.content[len..];
            Poll::Ready(Ok(len))
        }
    }

    fn upload(content: &'static [u8], step: usize, size: Option<u64>) -> Upload {
        Upload::new(Box::pin(Slow { content, step, ready: false }), size)
    }

    fn next(upload: &mut Upload, max: usize) -> io::Result<(Vec<u8>, bool)> {
        loop {
            if let Poll::Ready(chunk) = upload.poll_chunk(&mut Context::from_waker(Waker::noop()), max) {
                return chunk.map(|chunk| (chunk.data.to_vec(), chunk.last));
            }
        }
    }

    #[test]
    fn a_chunk_is_whole_or_the_last_and_the_last_is_known_as_such() {
        for step in [1, 2] {
            let mut even = upload(b"abcdef", step, None);
            assert_eq!(next(&mut even, 3).unwrap(), (b"abc".to_vec(), false));
            assert_eq!(next(&mut even, 3).unwrap(), (b"def".to_vec(), true), "step {step}");
            let mut odd = upload(b"abcd", step, None);
            assert_eq!(next(&mut odd, 3).unwrap(), (b"abc".to_vec(), false));
            assert_eq!(next(&mut odd, 3).unwrap(), (b"d".to_vec(), true));
            let mut empty = upload(b"", step, None);
            assert_eq!(next(&mut empty, 3).unwrap(), (vec![], true));
        }
    }

    #[test]
    fn what_is_there_is_given_in_whole_blocks() {
        let mut quick = upload(b"abcdefg", 5, None);
        assert_eq!(next(&mut quick, 2).unwrap(), (b"abcd".to_vec(), false));
        assert_eq!(next(&mut quick, 2).unwrap(), (b"ef".to_vec(), false));
        assert_eq!(next(&mut quick, 2).unwrap(), (b"g".to_vec(), true));
    }

    #[test]
    fn no_more_is_read_than_was_announced_and_less_is_an_error() {
        let mut more = upload(b"abcdef", 4, Some(5));
        assert_eq!(next(&mut more, 3).unwrap(), (b"abc".to_vec(), false));
        assert_eq!(next(&mut more, 3).unwrap(), (b"de".to_vec(), true));
        assert_eq!(next(&mut upload(b"abc", 4, Some(0)), 4).unwrap(), (vec![], true));
        let mut less = upload(b"abc", 4, Some(5));
        assert_eq!(next(&mut less, 4).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_was_given_can_be_given_again_while_it_is_little() {
        let mut little = upload(b"abcdef", 2, None);
        assert_eq!(next(&mut little, 3).unwrap(), (b"abc".to_vec(), false));
        assert!(little.rewind());
        let mut all = Vec::new();
        while let (data, false) = next(&mut little, 2).unwrap() {
            all.extend(data);
        }
        assert_eq!(all, b"abcd");
        assert!(little.rewind());
        assert_eq!(next(&mut little, 9).unwrap(), (b"abcdef".to_vec(), true));

        let mut much = upload(&[7; 40_000], 4_000, None);
        while much.given.is_some() {
            assert!(!next(&mut much, 1_024).unwrap().1);
        }
        assert!(!much.rewind());
    }
}
