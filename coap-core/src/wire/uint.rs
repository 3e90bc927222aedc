//! The `uint` format of option values: big-endian, as short as possible, zero is no bytes at all (RFC 7252 §3.2).

/// The number in `value`; `None` if it has more than eight bytes.
///
/// Leading zeros are accepted, as RFC 7252 §3.2 demands of a recipient. How many bytes an option may have is for the
/// option registry to say, not for this function.
#[inline]
pub fn decode_uint(value: &[u8]) -> Option<u64> {
    (value.len() <= 8).then(|| value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Writes `number` into `buf`, and returns the shortest form of it: no leading zeros, nothing at all for zero.
///
/// ```
/// # use coap_core::wire::encode_uint;
/// assert_eq!(encode_uint(1_000, &mut [0; 8]), [0x03, 0xe8]);
/// assert_eq!(encode_uint(0, &mut [0; 8]), []);
/// ```
#[inline]
pub fn encode_uint(number: u64, buf: &mut [u8; 8]) -> &[u8] {
    *buf = number.to_be_bytes();
    let zeros = number.leading_zeros() as usize / 8;
    buf.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_are_read_and_never_written() {
        assert_eq!(decode_uint(&[0, 0, 1, 0]), Some(256));
        assert_eq!(encode_uint(256, &mut [0xff; 8]), [1, 0]);
    }

    #[test]
    fn the_extremes_survive() {
        for number in [0, 1, 255, 256, 65_535, 65_536, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(decode_uint(encode_uint(number, &mut [0; 8])), Some(number));
        }
        assert_eq!(decode_uint(&[]), Some(0));
    }

    #[test]
    fn nine_bytes_are_no_number() {
        assert_eq!(decode_uint(&[0; 9]), None);
    }
}
