//! A response body that the application supplies part by part, for one peer, which asks for block after block.

use bytes::{Bytes, BytesMut};

use super::cut::Piece;
use crate::exchange::IncomingKey;
use crate::message::BlockSize;
use crate::wire::{Block, Code, Options};

/// How many bytes may wait for the peer: the block to send next, and what the application read ahead.
pub(crate) const MOST_WAITING: usize = 4 * BlockSize::MAX.bytes();

/// One body.
pub(crate) struct Stream {
    /// The request that it answers, until its last block has been sent.
    pub(crate) incoming: Option<IncomingKey>,
    pub(crate) code: Code,
    pub(crate) options: Options,
    /// How long it is, says the application.
    pub(crate) size: Option<u64>,
    /// The exponent of the largest block that fits.
    szx: u8,
    /// Where the next block starts.
    sent: u64,
    /// From there on.
    waiting: BytesMut,
    /// Nothing comes behind that.
    ended: bool,
    /// The last block, in case the peer did not get it.
    last: Option<(u64, Bytes)>,
    wish: Wish,
}

/// Whether the application has been asked for more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    None,
    /// It is to be asked.
    Open,
    /// It has been.
    Told,
}

/// What the next block is.
pub(crate) enum Next {
    Piece(Piece),
    /// It is not known yet: the application must supply more.
    Unknown,
    /// The body needs more blocks than can be numbered.
    TooFar,
}

impl Stream {
    pub(crate) fn new(incoming: IncomingKey, code: Code, options: Options, size: Option<u64>, szx: u8) -> Self {
        Self {
            incoming: Some(incoming),
            code,
            options,
            size,
            szx,
            sent: 0,
            waiting: BytesMut::new(),
            ended: false,
            last: None,
            wish: Wish::Open,
        }
    }

    /// Where the next block starts.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// How many bytes would be taken now.
    pub(crate) fn room(&self) -> usize {
        MOST_WAITING.saturating_sub(self.waiting.len())
    }

    /// Adds what the application supplied; there is room for it.
    pub(crate) fn supply(&mut self, data: &[u8], last: bool) {
        self.waiting.extend_from_slice(data);
        self.ended = last;
        self.wish = Wish::None;
        self.wish_more();
    }

    /// Which bytes the application is to be asked for: from where on, and how many. Asked for once.
    pub(crate) fn take_wish(&mut self) -> Option<(u64, usize)> {
        if self.wish != Wish::Open {
            return None;
        }
        self.wish = Wish::Told;
        Some((self.sent + self.waiting.len() as u64, 16 << self.szx))
    }

    /// Whether there is something to ask the application for.
    pub(crate) fn wishes(&self) -> bool {
        self.wish == Wish::Open
    }

    /// The next block, of at most the size that the peer wants. Whether more follow must be known for it.
    pub(crate) fn next(&self, szx: u8) -> Next {
        let szx = szx.min(self.szx);
        let size = 16_usize << szx;
        let len = self.waiting.len().min(size);
        let end = self.sent + len as u64;
        let more = self.waiting.len() > len || !self.ended;
        let goes_on = self.waiting.len() > len || (len == size && self.size.is_some_and(|size| size > end));
        if !self.ended && !goes_on {
            return Next::Unknown;
        }
        let num = u32::try_from(self.sent / size as u64).ok();
        match num.and_then(|num| Block::new(num, more, szx)).zip(self.waiting.get(..len)) {
            Some((block, bytes)) => Next::Piece(Piece { block, payload: Bytes::copy_from_slice(bytes) }),
            None => Next::TooFar,
        }
    }

    /// A piece has been sent.
    pub(crate) fn went(&mut self, piece: &Piece) {
        let len = piece.payload.len().min(self.waiting.len());
        let _ = self.waiting.split_to(len);
        if self.waiting.is_empty() {
            self.waiting = BytesMut::new();
        }
        self.last = Some((self.sent, piece.payload.clone()));
        self.sent += len as u64;
        self.wish_more();
    }

    /// A block that has been sent, once more, if it is the last or a part of it. The peer can have chosen a smaller size.
    pub(crate) fn again(&self, offset: u64, szx: u8) -> Option<Piece> {
        let (start, data) = self.last.as_ref()?;
        let size = 16_u64 << szx;
        let skip = usize::try_from(offset.checked_sub(*start)?).ok()?;
        let rest = data.get(skip..).filter(|rest| !rest.is_empty() || data.is_empty())?;
        let len = rest.len().min(size as usize);
        let more = rest.len() > len || !self.ended || !self.waiting.is_empty();
        let block = Block::new(u32::try_from(offset / size).ok()?, more, szx)?;
        // One that is not the last has its full size.
        (!more || len as u64 == size).then(|| Piece { block, payload: data.slice(skip..skip + len) })
    }

    fn wish_more(&mut self) {
        if !self.ended && self.wish == Wish::None && self.waiting.len() <= 16 << self.szx {
            self.wish = Wish::Open;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::super::transfers::testing::key;
    use super::*;

    fn stream(size: Option<u64>) -> Stream {
        Stream { incoming: None, ..Stream::new(key(), Code::CONTENT, Options::new(), size, 1) }
    }

    fn next(stream: &mut Stream, szx: u8) -> Option<(u32, bool, Vec<u8>)> {
        let Next::Piece(piece) = stream.next(szx) else { return None };
        stream.went(&piece);
        Some((piece.block.num(), piece.block.more(), piece.payload.to_vec()))
    }

    #[test]
    fn the_application_is_asked_once_and_up_to_one_block_ahead() {
        let mut stream = stream(None);
        assert_eq!((stream.take_wish(), stream.take_wish()), (Some((0, 32)), None));
        stream.supply(&[1; 32], false);
        assert_eq!(next(&mut stream, 6), None);
        assert_eq!(stream.take_wish(), Some((32, 32)));
        stream.supply(&[2; 40], false);
        assert_eq!(stream.take_wish(), None);
        assert_eq!(next(&mut stream, 6), Some((0, true, vec![1; 32])));
        assert_eq!(stream.take_wish(), None);
        assert_eq!(next(&mut stream, 6), Some((1, true, vec![2; 32])));
        assert_eq!(stream.take_wish(), Some((72, 32)));
        stream.supply(&[], true);
        assert_eq!(next(&mut stream, 6), Some((2, false, vec![2; 8])));
        assert_eq!((stream.sent(), stream.take_wish()), (72, None));
    }

    #[test]
    fn the_last_block_is_there_again_in_its_size_or_a_smaller_one() {
        let mut stream = stream(None);
        let body: Vec<u8> = (0..70).collect();
        stream.supply(&body, true);
        next(&mut stream, 1);
        next(&mut stream, 1);
        let again = |stream: &Stream, offset, szx| {
            stream.again(offset, szx).map(|piece| (piece.block.num(), piece.block.more(), piece.payload.to_vec()))
        };
        assert_eq!(again(&stream, 32, 1), Some((1, true, body[32..64].to_vec())));
        assert_eq!(again(&stream, 48, 0), Some((3, true, body[48..64].to_vec())));
        assert_eq!((again(&stream, 0, 1), again(&stream, 64, 1), again(&stream, 16, 0)), (None, None, None));
        assert_eq!(next(&mut stream, 0), Some((4, false, body[64..].to_vec())));
        assert_eq!(again(&stream, 64, 1), Some((2, false, body[64..].to_vec())));
    }

    #[test]
    fn a_body_that_cannot_be_numbered_ends() {
        let mut stream = stream(None);
        stream.sent = 1 << 24;
        stream.supply(&[1; 40], false);
        assert!(matches!(stream.next(0), Next::TooFar));
        assert!(matches!(stream.next(1), Next::Piece(_)));
    }
}
