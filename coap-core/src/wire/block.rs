//! The value of the block options: which block, of what size, and whether more follow (RFC 7959 §2.2).

use core::fmt;

use super::uint::decode_uint;

/// The value of Block1, Block2, Q-Block1 and Q-Block2.
///
/// ```
/// # use coap_core::wire::Block;
/// let block = Block::new(19, false, 2).unwrap();
/// assert_eq!((block.size(), block.offset(), block.value()), (64, 1_216, 0x0132));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    num: u32,
    more: bool,
    szx: u8,
}

impl Block {
    /// The largest block number: 20 bits.
    pub const MAX_NUM: u32 = (1 << 20) - 1;

    /// The largest size exponent that stands for a size on datagrams, 1024 bytes. 7 is reserved (RFC 7959 §2.2).
    pub const MAX_SZX: u8 = 6;

    /// Block `num` of size 2^(`szx` + 4) bytes. `None` if `num` is over [`MAX_NUM`](Self::MAX_NUM) or `szx` over
    /// [`MAX_SZX`](Self::MAX_SZX).
    pub const fn new(num: u32, more: bool, szx: u8) -> Option<Self> {
        if num <= Self::MAX_NUM && szx <= Self::MAX_SZX { Some(Self { num, more, szx }) } else { None }
    }

    /// Reads the value of a block option; `None` if it has more than three bytes.
    ///
    /// The reserved size exponent 7 comes through, because a request that carries it gets 4.00 (RFC 7959 §2.2), which
    /// only the endpoint can answer: see [`is_reserved`](Self::is_reserved).
    pub fn from_value(value: &[u8]) -> Option<Self> {
        if value.len() > 3 {
            return None;
        }
        let number = u32::try_from(decode_uint(value)?).ok()?;
        Some(Self { num: number >> 4, more: number & 0b1000 != 0, szx: (number & 0b111) as u8 })
    }

    /// The number to be written as a `uint` option value, at most 24 bits.
    pub const fn value(self) -> u32 {
        self.num << 4 | (self.more as u32) << 3 | self.szx as u32
    }

    /// The number of this block, counted from 0 in blocks of [`size`](Self::size); below 2^20.
    pub const fn num(self) -> u32 {
        self.num
    }

    /// Whether further blocks follow.
    pub const fn more(self) -> bool {
        self.more
    }

    /// The size exponent, 0 to 6; 7 only on a value that was received.
    pub const fn szx(self) -> u8 {
        self.szx
    }

    /// True for size exponent 7, which no datagram may carry (RFC 7959 §2.2).
    pub const fn is_reserved(self) -> bool {
        self.szx > Self::MAX_SZX
    }

    /// The size of a block in bytes, 16 to 1024. The reserved exponent counts as 1024, the unit of RFC 8323 §6.
    pub const fn size(self) -> usize {
        let szx = if self.is_reserved() { Self::MAX_SZX } else { self.szx };
        1 << (szx + 4)
    }

    /// Where this block starts in the body, in bytes; below 2^30.
    pub const fn offset(self) -> u64 {
        self.num as u64 * self.size() as u64
    }

    /// The exponent of the largest block size that is at most `limit` bytes; `None` below 16 bytes.
    ///
    /// ```
    /// # use coap_core::wire::Block;
    /// assert_eq!(Block::largest_szx(540), Some(5));
    /// ```
    pub const fn largest_szx(limit: usize) -> Option<u8> {
        match limit {
            0..16 => None,
            16..1024 => Some((limit.ilog2() - 4) as u8),
            _ => Some(Self::MAX_SZX),
        }
    }
}

/// Number, whether more follow, and size: `3/more/64`, `4/last/64`.
impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.more { "more" } else { "last" };
        match self.is_reserved() {
            true => write!(f, "{}/{more}/reserved", self.num),
            false => write!(f, "{}/{more}/{}", self.num, self.size()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_was_written_reads_the_same() {
        for (num, more, szx) in [(0, false, 0), (1, true, 2), (Block::MAX_NUM, true, 6)] {
            let block = Block::new(num, more, szx).unwrap();
            assert_eq!(Block::from_value(&block.value().to_be_bytes()[1..]), Some(block));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(Block::new(Block::MAX_NUM + 1, false, 0), None);
        assert_eq!(Block::new(0, false, 7), None);
        assert_eq!(Block::from_value(&[0, 0, 0, 6]), None);
    }

    #[test]
    fn the_reserved_exponent_is_read_and_named() {
        let block = Block::from_value(&[0x1f]).unwrap();
        assert!(block.is_reserved());
        assert_eq!(block.to_string(), "1/more/reserved");
    }

    #[test]
    fn a_limit_below_the_smallest_block_has_no_exponent() {
        let limits = [15, 16, 31, 32, 1_023, 1_024, usize::MAX].map(Block::largest_szx);
        assert_eq!(limits, [None, Some(0), Some(0), Some(1), Some(5), Some(6), Some(6)]);
    }
}
