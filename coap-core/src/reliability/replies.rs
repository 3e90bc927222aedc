//! The replies that duplicates are answered with: encoded, in chunks that are filled one after the other, so that
//! keeping one costs no allocation and forgetting the oldest costs nothing at all.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Where a reply is. It may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplyRef {
    chunk: u32,
    offset: u16,
    len: u16,
}

struct Chunk {
    bytes: Vec<u8>,
    /// How many replies in it are still wanted.
    wanted: u32,
    /// How many wait in the outbox, each counted as often as it does.
    queued: u32,
}

/// All remembered replies.
pub(crate) struct Replies {
    chunks: VecDeque<Chunk>,
    /// Number of the first chunk.
    first: u32,
    /// The memory of the chunk that was given up last, for the next one.
    spare: Option<Vec<u8>>,
    /// Capacity of all chunks and the spare one, in bytes.
    held: usize,
    max: usize,
    chunk: usize,
}

impl Replies {
    pub(crate) fn new(max: usize) -> Self {
        Self { chunks: VecDeque::new(), first: 0, spare: None, held: 0, max, chunk: (max / 16).clamp(64, 16 << 10) }
    }

    pub(crate) fn get(&self, reply: ReplyRef) -> Option<&[u8]> {
        let chunk = self.chunks.get(reply.chunk.wrapping_sub(self.first) as usize)?;
        chunk.bytes.get(usize::from(reply.offset)..usize::from(reply.offset) + usize::from(reply.len))
    }

    /// Keeps a reply of `len` bytes, which `write` fills in, until it is released or pushed out. Second: how many others
    /// were pushed out. `None`: larger than all that may be kept, or others must be sent first.
    pub(crate) fn keep(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> usize) -> (Option<ReplyRef>, u64) {
        if len > self.max || len > usize::from(u16::MAX) {
            return (None, 0);
        }
        let fits = self.chunks.back().is_some_and(|last| last.bytes.capacity() - last.bytes.len() >= len);
        let (room, pushed_out) = if fits { (true, 0) } else { self.add_chunk(len) };
        if !room {
            return (None, pushed_out);
        }
        let number = self.first.wrapping_add(self.chunks.len() as u32).wrapping_sub(1);
        let Some(chunk) = self.chunks.back_mut() else { return (None, pushed_out) };
        let offset = chunk.bytes.len();
        chunk.bytes.resize(offset + len, 0);
        let written = write(&mut chunk.bytes[offset..]).min(len);
        chunk.wanted += 1;
        (Some(ReplyRef { chunk: number, offset: offset as u16, len: written as u16 }), pushed_out)
    }

    /// Nobody will ask for this reply again. A chunk goes with its last reply, once those before it have gone.
    pub(crate) fn release(&mut self, reply: ReplyRef) {
        if let Some(chunk) = self.chunk_mut(reply) {
            chunk.wanted = chunk.wanted.saturating_sub(1);
            self.drop_unused();
        }
    }

    /// The reply waits in the outbox: whatever happens, it is not gone before it has been sent.
    pub(crate) fn queued(&mut self, reply: ReplyRef) {
        if let Some(chunk) = self.chunk_mut(reply) {
            chunk.queued += 1;
        }
    }

    /// The reply has left the outbox.
    pub(crate) fn sent(&mut self, reply: ReplyRef) {
        if let Some(chunk) = self.chunk_mut(reply) {
            chunk.queued = chunk.queued.saturating_sub(1);
            self.drop_unused();
        }
    }

    /// Whether any reply is kept, or waits to be sent.
    #[cfg(test)]
    pub(crate) fn holds_any(&self) -> bool {
        !self.chunks.is_empty()
    }

    fn chunk_mut(&mut self, reply: ReplyRef) -> Option<&mut Chunk> {
        self.chunks.get_mut(reply.chunk.wrapping_sub(self.first) as usize)
    }

    fn drop_unused(&mut self) {
        while self.chunks.front().is_some_and(|chunk| chunk.wanted + chunk.queued == 0) {
            self.drop_first();
        }
    }

    /// False: there is no room while what waits to be sent is there. Second: how many replies were pushed out.
    fn add_chunk(&mut self, len: usize) -> (bool, u64) {
        let capacity = len.max(self.chunk).min(self.max);
        let mut pushed_out = 0;
        loop {
            if let Some(mut bytes) = self.spare.take_if(|bytes| bytes.capacity() == capacity) {
                bytes.clear();
                self.chunks.push_back(Chunk { bytes, wanted: 0, queued: 0 });
                return (true, pushed_out);
            }
            self.drop_spare();
            if self.held + capacity <= self.max {
                break;
            }
            if self.chunks.front().is_some_and(|chunk| chunk.queued > 0) {
                return (false, pushed_out);
            }
            pushed_out += self.chunks.front().map_or(0, |chunk| u64::from(chunk.wanted));
            self.drop_first();
        }
        let bytes = Vec::with_capacity(capacity);
        self.held += bytes.capacity();
        self.chunks.push_back(Chunk { bytes, wanted: 0, queued: 0 });
        (true, pushed_out)
    }

    /// Gives the oldest chunk up; the last one takes all memory with it.
    fn drop_first(&mut self) {
        let Some(chunk) = self.chunks.pop_front() else { return };
        self.first = self.first.wrapping_add(1);
        self.drop_spare();
        self.spare = Some(chunk.bytes);
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
            self.drop_spare();
        }
    }

    fn drop_spare(&mut self) {
        self.held -= self.spare.take().map_or(0, |bytes| bytes.capacity());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(replies: &mut Replies, byte: u8, len: usize) -> (Option<ReplyRef>, u64) {
        replies.keep(len, |buf| {
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
    fn what_waits_to_be_sent_is_not_pushed_out() {
        let mut replies = Replies::new(1_024);
        let first = keep(&mut replies, 1, 1_000).0.unwrap();
        replies.queued(first);
        replies.release(first);
        assert_eq!(keep(&mut replies, 2, 1_000), (None, 0));
        assert_eq!(replies.get(first), Some(&[1; 1_000][..]));
        replies.sent(first);
        assert_eq!((replies.get(first), replies.held), (None, 0));
        assert!(matches!(keep(&mut replies, 3, 1_000), (Some(_), 0)));
    }

    #[test]
    fn released_replies_give_their_memory_back() {
        let mut replies = Replies::new(4_096);
        let kept: Vec<_> = (1..50).map(|n| keep(&mut replies, n, 60).0.unwrap()).collect();
        let held = replies.held;
        for reply in &kept[..40] {
            replies.release(*reply);
        }
        assert!(replies.held < held / 3);
        assert_eq!(replies.get(kept[45]), Some(&[46; 60][..]));
        for reply in &kept[40..] {
            replies.release(*reply);
        }
        assert_eq!((replies.held, replies.chunks.capacity()), (0, 0));
    }

    #[test]
    fn a_steady_flow_uses_the_same_memory_again() {
        let mut replies = Replies::new(1 << 20);
        let mut live = VecDeque::new();
        for n in 0..100_000_u32 {
            live.push_back(keep(&mut replies, n as u8, 100).0.unwrap());
            if live.len() > 1_000 {
                replies.release(live.pop_front().unwrap());
            }
            assert!(replies.held <= 100 * 1_000 + 3 * replies.chunk);
        }
    }
}
