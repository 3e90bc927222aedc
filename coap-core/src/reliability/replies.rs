//! The replies that duplicates are answered with: encoded, in chunks that are filled one after the other, so that
//! keeping one costs no allocation and forgetting the oldest costs nothing at all.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::time::Instant;

/// Where a reply is. It may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplyRef {
    chunk: u32,
    offset: u16,
    len: u16,
}

struct Chunk {
    bytes: Vec<u8>,
    replies: u32,
    /// When the last reply in it has faded.
    until: Instant,
}

/// All remembered replies.
pub(crate) struct Replies {
    chunks: VecDeque<Chunk>,
    /// Number of the first chunk.
    first: u32,
    /// Capacity of all chunks, in bytes.
    held: usize,
    max: usize,
    chunk: usize,
}

impl Replies {
    pub(crate) fn new(max: usize) -> Self {
        Self { chunks: VecDeque::new(), first: 0, held: 0, max, chunk: (max / 16).clamp(64, 16 << 10) }
    }

    pub(crate) fn get(&self, reply: ReplyRef) -> Option<&[u8]> {
        let chunk = self.chunks.get(reply.chunk.wrapping_sub(self.first) as usize)?;
        chunk.bytes.get(usize::from(reply.offset)..usize::from(reply.offset) + usize::from(reply.len))
    }

    /// Keeps a reply of `len` bytes, which `write` fills in, until it is pushed out or `until` has come. Second: how
    /// many others were pushed out. `None`: larger than all that may be kept.
    pub(crate) fn keep(
        &mut self,
        until: Instant,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> (Option<ReplyRef>, u64) {
        if len > self.max || len > usize::from(u16::MAX) {
            return (None, 0);
        }
        let fits = self.chunks.back().is_some_and(|last| last.bytes.capacity() - last.bytes.len() >= len);
        let pushed_out = if fits { 0 } else { self.add_chunk(len) };
        let number = self.first.wrapping_add(self.chunks.len() as u32).wrapping_sub(1);
        let Some(chunk) = self.chunks.back_mut() else { return (None, pushed_out) };
        let offset = chunk.bytes.len();
        chunk.bytes.resize(offset + len, 0);
        let written = write(&mut chunk.bytes[offset..]).min(len);
        chunk.replies += 1;
        chunk.until = chunk.until.max(until);
        (Some(ReplyRef { chunk: number, offset: offset as u16, len: written as u16 }), pushed_out)
    }

    /// Gives back what has faded.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.chunks.front().is_some_and(|chunk| chunk.until <= now) {
            self.drop_first();
        }
    }

    fn add_chunk(&mut self, len: usize) -> u64 {
        let capacity = len.max(self.chunk).min(self.max);
        let (mut pushed_out, mut spare) = (0, None);
        while self.held + capacity > self.max {
            let Some(chunk) = self.drop_first() else { break };
            pushed_out += u64::from(chunk.replies);
            spare = Some(chunk.bytes).filter(|bytes| bytes.capacity() == capacity);
        }
        let mut bytes = spare.unwrap_or_else(|| Vec::with_capacity(capacity));
        bytes.clear();
        self.held += bytes.capacity();
        self.chunks.push_back(Chunk { bytes, replies: 0, until: Instant::ZERO });
        pushed_out
    }

    fn drop_first(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.first = self.first.wrapping_add(1);
        self.held -= chunk.bytes.capacity();
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(replies: &mut Replies, byte: u8, len: usize) -> (Option<ReplyRef>, u64) {
        replies.keep(Instant::from_secs(u64::from(byte)), len, |buf| {
            buf.fill(byte);
            len
        })
    }

    #[test]
    fn the_oldest_replies_give_way_and_the_bound_holds() {
        let mut replies = Replies::new(1_024);
        let (first, _) = keep(&mut replies, 1, 60);
        let mut forgotten = 0;
        for n in 2..100 {
            let (kept, pushed_out) = keep(&mut replies, n, 60);
            assert_eq!(replies.get(kept.unwrap()), Some(&[n; 60][..]));
            forgotten += pushed_out;
            assert!(replies.held <= 1_024);
        }
        assert_eq!(replies.get(first.unwrap()), None);
        assert_eq!(forgotten, 99 - 16);
    }

    #[test]
    fn a_large_reply_has_a_chunk_of_its_own_and_one_too_large_is_not_kept() {
        let mut replies = Replies::new(2_048);
        let (large, _) = keep(&mut replies, 1, 2_048);
        assert_eq!(replies.get(large.unwrap()).map(<[u8]>::len), Some(2_048));
        assert_eq!(keep(&mut replies, 2, 2_049), (None, 0));
        assert_eq!(keep(&mut Replies::new(0), 3, 4), (None, 0));
    }

    #[test]
    fn faded_replies_give_their_memory_back() {
        let mut replies = Replies::new(4_096);
        for n in 1..50 {
            keep(&mut replies, n, 60);
        }
        replies.expire(Instant::from_secs(50));
        assert_eq!((replies.held, replies.chunks.capacity()), (0, 0));
    }
}
