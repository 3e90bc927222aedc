//! The content of a streamed answer: read as far as it is wanted, and given to the endpoint.

use core::future::poll_fn;
use core::panic::AssertUnwindSafe;
use core::task::Poll;
use std::io;
use std::panic::catch_unwind;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use coap_core::BodyId;

use crate::router::Source;
use crate::runtime::Runtime;
use crate::serving::Begun;
use crate::shared::Shared;

/// What one call of a reader may give, in bytes: a file should not be asked for each block.
const CHUNK: usize = 8 << 10;

/// Sends the content to its end, or until nobody wants it any more.
pub(crate) async fn feed<R: Runtime>(shared: Arc<Shared<R>>, begun: Begun, source: Source) {
    let Begun { id, size } = begun;
    let body = id.response_body();
    let mut content = Content { source, left: size, read: BytesMut::new(), ended: false };
    while let Some(max) = poll_fn(|cx| shared.lock().serving.poll_wanted(body, cx)).await {
        match content.fill(&shared, body, max).await {
            Filled::Ready => {}
            Filled::Unwanted => return,
            Filled::Broken => return shared.command(|state, now| state.break_off(now, id)),
        }
        let data = content.read.split_to(max.min(content.read.len())).freeze();
        let last = content.ended && content.read.is_empty();
        if !shared.command(|state, now| state.supply(now, body, data, last)) {
            return;
        }
    }
}

/// Content that is being read.
struct Content {
    source: Source,
    /// How many bytes are still to be read, if that is known.
    left: Option<u64>,
    /// What has been read, and not been given on.
    read: BytesMut,
    ended: bool,
}

/// How reading went.
enum Filled {
    Ready,
    /// Nobody waits for the content any more.
    Unwanted,
    /// The reader failed, or ended too soon.
    Broken,
}

impl Content {
    /// Reads one byte more than `max`, unless the content ends before: a block says whether more follows.
    async fn fill<R: Runtime>(&mut self, shared: &Shared<R>, body: BodyId, max: usize) -> Filled {
        while !self.ended && self.read.len() <= max {
            let read = poll_fn(|cx| {
                if !shared.lock().serving.feeds(body, cx) {
                    return Poll::Ready(None);
                }
                // The reader is the application's code, like its handler.
                let polled = catch_unwind(AssertUnwindSafe(|| self.poll_read(cx)));
                polled.unwrap_or_else(|_| Poll::Ready(Err(io::ErrorKind::Other.into()))).map(Some)
            });
            match read.await {
                None => return Filled::Unwanted,
                Some(Err(_)) => return Filled::Broken,
                Some(Ok(())) => {}
            }
        }
        Filled::Ready
    }

    fn poll_read(&mut self, cx: &mut core::task::Context<'_>) -> Poll<io::Result<()>> {
        let most = self.left.map_or(CHUNK, |left| usize::try_from(left).unwrap_or(CHUNK).min(CHUNK));
        if most == 0 {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        let before = self.read.len();
        self.read.put_bytes(0, most);
        let room = self.read.get_mut(before..).unwrap_or_default();
        let polled = self.source.as_mut().poll_read(cx, room);
        let len = match &polled {
            Poll::Ready(Ok(len)) => (*len).min(most),
            _ => 0,
        };
        self.read.truncate(before + len);
        match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(0)) if self.left.is_some() => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(0)) => self.ended = true,
            Poll::Ready(Ok(_)) => {
                self.left = self.left.map(|left| left - len as u64);
                self.ended = self.left == Some(0);
            }
        }
        Poll::Ready(Ok(()))
    }
}
