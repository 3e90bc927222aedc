//! Body to block: what one response carries of a body, and which Block2 option goes with it (RFC 7959 §2.4).

use bytes::Bytes;

use crate::wire::Block;

/// A body of which a stretch is here, or all of it.
pub(crate) struct Stretch {
    /// Where `data` starts.
    pub(crate) start: u64,
    pub(crate) data: Bytes,
    /// How long the body is. Without it the body ends with `data`, unless there is more than a block of it.
    pub(crate) total: Option<u64>,
}

/// One block of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) block: Block,
    pub(crate) payload: Bytes,
}

/// Why there is no such block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// The body ends before, or the block could not be numbered.
    PastEnd,
    /// The stretch does not reach so far, though the body does.
    NotHere,
}

impl Stretch {
    pub(crate) fn whole(data: Bytes) -> Self {
        let total = Some(data.len() as u64);
        Self { start: 0, data, total }
    }

    /// Whether all of the body is here.
    pub(crate) fn is_whole(&self) -> bool {
        self.start == 0 && self.total == Some(self.data.len() as u64)
    }

    /// Whether one block of `size` bytes from the start on is all of it.
    pub(crate) fn fits_in(&self, size: usize) -> bool {
        self.data.len() <= size && self.total.is_none_or(|total| total <= self.data.len() as u64)
    }

    /// The block with size exponent `szx` at `offset`, a multiple of its size.
    pub(crate) fn piece(&self, offset: u64, szx: u8) -> Result<Piece, Miss> {
        let size = 16_usize << szx;
        let end = self.start.saturating_add(self.data.len() as u64);
        let total = self.total.map(|total| total.max(end));
        if offset > 0 && total.unwrap_or(end) <= offset {
            return Err(Miss::PastEnd);
        }
        let skip = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok()).ok_or(Miss::NotHere)?;
        let rest = self.data.get(skip..).ok_or(Miss::NotHere)?;
        let len = rest.len().min(size);
        let more = total.unwrap_or(end) > offset.saturating_add(len as u64);
        if more && len < size {
            return Err(Miss::NotHere);
        }
        let num = u32::try_from(offset / size as u64).map_err(|_| Miss::PastEnd)?;
        let block = Block::new(num, more, szx).ok_or(Miss::PastEnd)?;
        Ok(Piece { block, payload: self.data.slice(skip..skip + len) })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn pieces(len: usize, szx: u8) -> (usize, Bytes) {
        let body: Bytes = (0..len).map(|n| n as u8).collect();
        let whole = Stretch::whole(body.clone());
        let (mut offset, mut count, mut joined) = (0, 0, Vec::new());
        loop {
            let piece = whole.piece(offset, szx).unwrap();
            assert_eq!(piece.block.offset(), offset);
            count += 1;
            offset += piece.payload.len() as u64;
            joined.extend_from_slice(&piece.payload);
            if !piece.block.more() {
                assert_eq!(joined, body);
                return (count, body);
            }
            assert_eq!(piece.payload.len(), piece.block.size());
        }
    }

    #[test]
    fn a_body_is_cut_into_exactly_as_many_blocks_as_it_needs() {
        for szx in 0..=Block::MAX_SZX {
            let size = 16 << szx;
            for len in [0, 1, size - 1, size, size + 1, 3 * size, 5_000] {
                assert_eq!(pieces(len, szx).0, len.div_ceil(size).max(1), "{len} bytes in blocks of {size}");
            }
        }
    }

    #[test]
    fn there_is_no_block_behind_the_end() {
        let whole = Stretch::whole(Bytes::from_static(&[7; 64]));
        assert_eq!(whole.piece(64, 2), Err(Miss::PastEnd));
        assert_eq!(whole.piece(u64::from(Block::MAX_NUM) * 1_024, 6), Err(Miss::PastEnd));
        let endless = Stretch { start: 0, data: Bytes::from_static(&[7; 64]), total: Some(u64::MAX) };
        assert_eq!(endless.piece(1 << 40, 0), Err(Miss::NotHere));
    }

    #[test]
    fn a_stretch_has_what_it_has() {
        let stretch = |total| Stretch { start: 64, data: Bytes::from_static(&[7; 48]), total };
        assert_eq!(stretch(None).piece(0, 2), Err(Miss::NotHere));
        assert_eq!(stretch(None).piece(64, 2).unwrap().block, Block::new(1, false, 2).unwrap());
        assert_eq!(stretch(None).piece(64, 1).unwrap().block, Block::new(2, true, 1).unwrap());
        assert_eq!(stretch(Some(112)).piece(96, 0).unwrap().block, Block::new(6, false, 0).unwrap());
        // The body goes on, and the block would be short.
        assert_eq!(stretch(Some(500)).piece(64, 2), Err(Miss::NotHere));
    }
}
