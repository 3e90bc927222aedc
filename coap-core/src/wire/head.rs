//! The head of an option on the wire: delta and length, each in a nibble and up to two further bytes (RFC 7252 §3.1).

use super::message::Malformed;

/// The longest head: one byte of nibbles, two bytes for the delta, two for the length.
pub(super) const MAX_HEAD_LEN: usize = 5;

/// The byte between the options and the payload.
pub(super) const PAYLOAD_MARKER: u8 = 0xff;

/// An option, as its head announces it.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    /// How much higher its number is than the one before.
    pub(super) delta: u32,
    /// How many bytes the value has.
    pub(super) value_len: usize,
    /// What follows the head: value and further options, if the datagram is not cut short.
    pub(super) rest: &'a [u8],
}

/// A head of one byte, as nearly all are, and what follows it.
#[inline]
pub(super) fn read_short(first: u8, rest: &[u8]) -> Option<Head<'_>> {
    if first >= 0xd0 || first & 0xf >= 13 {
        return None;
    }
    Some(Head { delta: (first >> 4).into(), value_len: (first & 0xf).into(), rest })
}

/// A head of any length. The reserved nibbles are looked for first: they are wrong whatever follows.
#[cold]
pub(super) fn read(first: u8, rest: &[u8]) -> Result<Head<'_>, Malformed> {
    let (delta, value_len) = (first >> 4, first & 0xf);
    if delta == 15 {
        return Err(Malformed::DeltaNibble15);
    }
    if value_len == 15 {
        return Err(Malformed::LengthNibble15);
    }
    let (delta, rest) = read_extended(delta, rest).ok_or(Malformed::OptionExtTruncated)?;
    let (value_len, rest) = read_extended(value_len, rest).ok_or(Malformed::OptionExtTruncated)?;
    Ok(Head { delta, value_len: value_len as usize, rest })
}

/// 13 and 14 announce one or two further bytes; the caller has ruled out 15.
pub(super) fn read_extended(nibble: u8, bytes: &[u8]) -> Option<(u32, &[u8])> {
    match (nibble, bytes) {
        (13, [one, rest @ ..]) => Some((13 + u32::from(*one), rest)),
        (14, [high, low, rest @ ..]) => Some((269 + u32::from(u16::from_be_bytes([*high, *low])), rest)),
        (0..13, rest) => Some((nibble.into(), rest)),
        _ => None,
    }
}

/// The head if it is a single byte.
#[inline]
pub(super) fn write_short(delta: u16, value_len: usize) -> Option<u8> {
    (delta < 13 && value_len < 13).then_some((delta as u8) << 4 | value_len as u8)
}

/// Writes a head into `buf` and returns how many bytes it has.
///
/// `value_len` is at most 65,804 (14 and two bytes); what is above is cut, so callers check first.
pub(super) fn write(delta: u16, value_len: usize, buf: &mut [u8; MAX_HEAD_LEN]) -> usize {
    let [nibbles, extended @ ..] = buf;
    let mut at = 0;
    let mut extend = |number: usize| {
        let (nibble, bytes, len) = match number {
            0..13 => (number as u8, [0; 2], 0),
            13..269 => (13, [(number - 13) as u8, 0], 1),
            _ => (14, ((number - 269) as u16).to_be_bytes(), 2),
        };
        for (to, byte) in extended.iter_mut().skip(at).zip(&bytes[..len]) {
            *to = *byte;
        }
        at += len;
        nibble
    };
    *nibbles = extend(delta.into()) << 4 | extend(value_len);
    1 + at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_the_encoding_reads_back() {
        let edges = [0, 1, 12, 13, 14, 268, 269, 270, 65_535];
        for delta in edges {
            for value_len in edges.into_iter().chain([65_804]) {
                let mut buf = [0; MAX_HEAD_LEN];
                let len = write(delta as u16, value_len, &mut buf);
                let head = read(buf[0], &buf[1..len]).unwrap();
                assert_eq!((head.delta as usize, head.value_len, head.rest), (delta, value_len, &[][..]));
                assert_eq!(read_short(buf[0], &[]).is_some(), len == 1);
                assert_eq!(write_short(delta as u16, value_len), (len == 1).then_some(buf[0]));
            }
        }
    }

    #[test]
    fn a_head_that_breaks_off_is_seen() {
        for bytes in [&[0xd0][..], &[0x0d], &[0x0e, 0], &[0xdd, 0], &[0xe0, 1], &[0xee, 0, 0, 0]] {
            assert_eq!(read(bytes[0], &bytes[1..]).err(), Some(Malformed::OptionExtTruncated), "{bytes:x?}");
        }
    }
}
