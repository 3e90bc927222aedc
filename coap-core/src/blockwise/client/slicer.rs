//! A body of ours that goes block by block (RFC 7959 §2.5): which block is under way, and what is known of the rest.

use bytes::Bytes;

use crate::wire::Block;

/// How many bytes of a body in parts may wait for their turn: a few blocks, and not a file.
pub(crate) const MOST_AHEAD: usize = 16 << 10;

/// A body, and how far it has come.
pub(crate) struct Slicer {
    /// The bytes that are here, from `base` on.
    kept: Bytes,
    /// Where they start: 0 as long as the body can still be sent from its start.
    base: u64,
    /// Where the block under way starts.
    offset: u64,
    szx: u8,
    source: Source,
}

/// Where the rest comes from.
enum Source {
    /// All of it is here, and stays until the end.
    Whole,
    /// The application supplies it.
    Parts { size: Option<u64>, ended: bool },
}

/// One block.
pub(crate) struct Piece {
    /// What the Block1 option says; `None`: the body is one block, and goes without.
    pub(crate) block: Option<Block>,
    pub(crate) data: Bytes,
}

/// The body needs more than 2^20 blocks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyBlocks;

impl Slicer {
    pub(crate) const fn whole(body: Bytes, szx: u8) -> Self {
        Self { kept: body, base: 0, offset: 0, szx, source: Source::Whole }
    }

    pub(crate) const fn parts(size: Option<u64>, szx: u8) -> Self {
        let source = Source::Parts { size, ended: false };
        Self { kept: Bytes::new(), base: 0, offset: 0, szx, source }
    }

    /// The block under way; `None`: more of the body must be supplied first. A block is known not to be the last only when
    /// a byte behind it is here.
    pub(crate) fn piece(&self) -> Result<Option<Piece>, TooManyBlocks> {
        let (left, size) = (self.left(), self.block_len());
        let more = left > size;
        if !more && !self.has_ended() {
            return Ok(None);
        }
        let start = self.kept.len() - left;
        let data = self.kept.slice(start..start + left.min(size));
        if self.offset == 0 && !more {
            return Ok(Some(Piece { block: None, data }));
        }
        let num = u32::try_from(self.offset >> (self.szx + 4)).map_err(|_| TooManyBlocks)?;
        let block = Block::new(num, more, self.szx).ok_or(TooManyBlocks)?;
        Ok(Some(Piece { block: Some(block), data }))
    }

    /// The peer has the block under way: on to the next, in blocks of at most `szx`.
    pub(crate) fn advance(&mut self, szx: u8) {
        let sent = self.left().min(self.block_len());
        self.offset += sent as u64;
        // Of a body in parts nothing is kept before the block under way.
        if matches!(self.source, Source::Parts { .. }) {
            let _ = self.kept.split_to(sent);
            self.base = self.offset;
        }
        self.szx = self.szx.min(szx);
    }

    /// The peer has all of it.
    pub(crate) fn finish(&mut self) {
        self.offset += self.left() as u64;
    }

    /// Back to the start. False: the start is not here any more.
    pub(crate) const fn restart(&mut self) -> bool {
        let possible = self.base == 0;
        if possible {
            self.offset = 0;
        }
        possible
    }

    /// Smaller blocks from here on; only where a block starts of that size, too.
    pub(crate) const fn shrink(&mut self, szx: u8) {
        if szx < self.szx {
            self.szx = szx;
        }
    }

    /// Takes further bytes of a body in parts. `Err`: for how many there is room.
    pub(crate) fn supply(&mut self, data: Bytes, last: bool) -> Result<(), usize> {
        let room = MOST_AHEAD.saturating_sub(self.kept.len());
        let Source::Parts { ended, .. } = &mut self.source else { return Ok(()) };
        if data.len() > room {
            return Err(room);
        }
        *ended = last;
        if self.kept.is_empty() {
            self.kept = data;
        } else if !data.is_empty() {
            self.kept = [&self.kept[..], &data[..]].concat().into();
        }
        Ok(())
    }

    /// From where on bytes are wanted, and how many: two blocks are to be here, the one under way and the one behind it.
    pub(crate) fn wanted(&self) -> Option<(u64, usize)> {
        let missing = (2 * self.block_len()).saturating_sub(self.left());
        (missing > 0 && !self.has_ended()).then(|| (self.base + self.kept.len() as u64, missing))
    }

    /// All bytes are here, or have been.
    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self.source, Source::Whole | Source::Parts { ended: true, .. })
    }

    pub(crate) const fn is_in_parts(&self) -> bool {
        matches!(self.source, Source::Parts { .. })
    }

    /// How many bytes the peer has.
    pub(crate) const fn sent(&self) -> u64 {
        self.offset
    }

    /// How long the body is, where that is known.
    pub(crate) fn size(&self) -> Option<u64> {
        match self.source {
            Source::Parts { size, ended: false } => size,
            _ => Some(self.base + self.kept.len() as u64),
        }
    }

    pub(crate) const fn szx(&self) -> u8 {
        self.szx
    }

    /// Whether the bytes that are here, or the whole body, are longer than a block of this size.
    pub(crate) const fn exceeds(&self, szx: u8) -> bool {
        self.kept.len() > 16 << szx
    }

    /// Lets go of the bytes.
    pub(crate) fn clear(&mut self) {
        self.base += self.kept.len() as u64;
        self.kept = Bytes::new();
    }

    const fn block_len(&self) -> usize {
        16 << self.szx
    }

    /// How many bytes are here before the block under way.
    const fn left_before(&self) -> usize {
        self.offset.saturating_sub(self.base) as usize
    }

    /// How many bytes are here from the block under way on.
    const fn left(&self) -> usize {
        self.kept.len().saturating_sub(self.left_before())
    }
}
