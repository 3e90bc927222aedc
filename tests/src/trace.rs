//! What happened, in lines of text, and their hash.

use core::fmt::{self, Write};
use std::collections::VecDeque;

/// How many lines are kept when nobody asks for more.
const KEPT: usize = 10_000;

/// The lines of a run: one for each datagram, and one for each thing that was done to a node.
///
/// The hash covers every line since the start, the number of lines kept is bounded: the newest stay.
#[derive(Clone, Debug)]
pub struct Trace {
    lines: VecDeque<String>,
    kept: usize,
    count: u64,
    hash: Fnv,
    line: String,
}

impl Default for Trace {
    fn default() -> Self {
        Self { lines: VecDeque::new(), kept: KEPT, count: 0, hash: Fnv::new(), line: String::new() }
    }
}

impl Trace {
    /// FNV-1a, 64 bits, over the UTF-8 of all lines, each followed by a line feed.
    ///
    /// ```
    /// # use coap_sim::Sim;
    /// assert_eq!(Sim::new(1).trace().hash(), 0xcbf2_9ce4_8422_2325); // no lines: the offset basis
    /// ```
    pub const fn hash(&self) -> u64 {
        self.hash.0
    }

    /// How many lines there were.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The lines kept, oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        self.lines.iter().map(String::as_str)
    }

    /// How many lines are kept; 10,000 unless said otherwise. The hash covers all of them in any case.
    pub(crate) fn keep(&mut self, lines: usize) {
        self.kept = lines;
        self.lines.drain(..self.lines.len().saturating_sub(lines));
    }

    pub(crate) fn add(&mut self, line: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a String cannot fail; a Display of somebody else's could, and then its part is missing.
        let _ = self.line.write_fmt(line);
        self.hash.add(self.line.as_bytes());
        self.hash.add(b"\n");
        self.count += 1;
        if self.kept == 0 {
            return;
        }
        // The oldest line's storage is the next scratch, so a long run does not allocate for each line.
        let recycled = if self.lines.len() >= self.kept { self.lines.pop_front() } else { None };
        self.lines.push_back(core::mem::replace(&mut self.line, recycled.unwrap_or_default()));
    }
}

/// All lines kept.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// FNV-1a with 64 bits: short, fixed for all time, and the same everywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv(pub(crate) u64);

impl Fnv {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(crate) fn of(bytes: &[u8]) -> u64 {
        let mut hash = Self::new();
        hash.add(bytes);
        hash.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(Fnv::of(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Fnv::of(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_newest_lines_are_kept_and_all_are_hashed() {
        let (mut short, mut long) = (Trace::default(), Trace::default());
        short.keep(2);
        for n in 0..5 {
            short.add(format_args!("line {n}"));
            long.add(format_args!("line {n}"));
        }
        assert_eq!(short.lines().collect::<Vec<_>>(), ["line 3", "line 4"]);
        assert_eq!((short.hash(), short.count()), (long.hash(), 5));
        assert_eq!(short.hash(), Fnv::of(b"line 0\nline 1\nline 2\nline 3\nline 4\n"));
    }
}
