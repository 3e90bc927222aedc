//! The character classes of RFC 6690 §2. Those of URIs are beside the URIs.

use crate::uri::syntax::query;

/// `attr-char` of RFC 8187 §3.2.1: what names of attributes are made of, and extended values beside their escapes.
pub(super) const fn attr_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'&' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// `ptokenchar`: everything visible but what separates: `"`, `,`, `;` and the backslash.
pub(super) const fn token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

/// What a URI reference is made of, escapes aside (RFC 3986 §2.2, §2.3). Whether it is well-formed shows when it is
/// resolved.
pub(super) const fn uri_char(byte: u8) -> bool {
    query(byte) || matches!(byte, b'#' | b'[' | b']')
}

/// What cannot stand in quotation marks but behind a backslash (RFC 9110 §5.6.4).
pub(super) const fn control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}
