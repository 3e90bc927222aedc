//! The character classes of RFC 3986 §2 and §3, and percent-encoding in both directions.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::Reason;

/// RFC 7252 §5.10: the longest value of Uri-Host, Uri-Path and Uri-Query, in bytes.
pub(super) const MAX_VALUE: usize = 255;

/// RFC 3986 §2.3.
pub(super) const fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// A name as host: `unreserved` and `sub-delims`.
pub(super) const fn reg_name(byte: u8) -> bool {
    unreserved(byte) || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// What a segment of a path is made of.
pub(crate) const fn pchar(byte: u8) -> bool {
    reg_name(byte) || matches!(byte, b':' | b'@')
}

/// What a query is made of.
pub(crate) const fn query(byte: u8) -> bool {
    pchar(byte) || matches!(byte, b'/' | b'?')
}

/// RFC 7252 §6.5 step 7: in one argument of a query, `&` would begin the next.
pub(super) const fn query_argument(byte: u8) -> bool {
    query(byte) && byte != b'&'
}

/// The scheme and what follows its colon, if `text` begins with a scheme at all (RFC 3986 §3.1).
pub(crate) fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    valid.then_some((scheme, rest))
}

/// The byte of an escape, whose two digits `bytes` begins with.
pub(crate) fn unescape(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match bytes {
        [high, low, ..] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    }
}

/// The text that `raw` stands for. Outside of escapes it may consist of `plain` bytes only.
pub(super) fn decode(raw: &str, plain: fn(u8) -> bool) -> Result<String, Reason> {
    let mut decoded = Vec::with_capacity(raw.len().min(MAX_VALUE));
    let mut rest = raw.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match byte {
            b'%' => {
                let escaped = unescape(rest).ok_or(Reason::BadPercent)?;
                rest = rest.get(2..).unwrap_or_default();
                escaped
            }
            _ if !byte.is_ascii() => return Err(Reason::NonAscii),
            _ if !plain(byte) => return Err(Reason::IllegalChar),
            _ => byte,
        });
    }
    if decoded.len() > MAX_VALUE {
        return Err(Reason::TooLong);
    }
    String::from_utf8(decoded).map_err(|_| Reason::NotUtf8)
}

/// Displays `text` with every byte that is not `plain` percent-encoded, in upper case (RFC 3986 §2.1).
pub(crate) struct Encoded<'a> {
    pub(crate) text: &'a str,
    pub(crate) plain: fn(u8) -> bool,
}

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.text.bytes() {
            if (self.plain)(byte) {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}
