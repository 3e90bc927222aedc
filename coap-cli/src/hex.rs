//! Bytes as hexadecimal digits.

use core::fmt::Write as _;

/// The bytes that pairs of digits stand for, in either case; spaces and tabs between them are allowed. `None`: anything
/// else.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for byte in text {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b' ' | b'\t' if high.is_none() => continue,
            _ => return None,
        };
        match high.take() {
            Some(high) => bytes.push(high << 4 | digit),
            None => high = Some(digit),
        }
    }
    high.is_none().then_some(bytes)
}

/// Digits in lower case.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_digits_are_bytes() {
        assert_eq!(decode(b"40 01\tfFa0").unwrap(), [0x40, 0x01, 0xff, 0xa0]);
        assert!(decode(b"").unwrap().is_empty());
        assert_eq!(encode(&[0x0a, 0xff]), "0aff");
    }

    #[test]
    fn half_a_pair_and_other_characters_are_not() {
        for text in ["4", "400", "4 0", "0x40", "4g", "40,01", "é"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
