//! What is read as it comes, for those who read with tokio's traits (feature `tokio`).

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use tokio::io::{AsyncRead, ReadBuf};

use crate::download::Download;
use crate::router::BodyReader;
use crate::runtime::Runtime;

impl<R: Runtime> AsyncRead for Download<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        read(self, cx, buf)
    }
}

impl AsyncRead for BodyReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        read(self, cx, buf)
    }
}

fn read<T: futures_io::AsyncRead>(
    reader: Pin<&mut T>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let len = ready!(reader.poll_read(cx, buf.initialize_unfilled()))?;
    buf.advance(len);
    Poll::Ready(Ok(()))
}
