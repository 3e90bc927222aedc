//! Two short strings of bytes that only their maker understands: the token of a message and the tag of an entity.

use core::fmt;

use heapless::Vec;

use super::text::Hex;

/// What ties a response to its request: 0 to 8 bytes that the client chose (RFC 7252 §5.3.1).
///
/// Not `Copy`, so that longer tokens (RFC 8974) would change nobody's code.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(Vec<u8, 8, u8>);

impl Token {
    /// The token of no bytes.
    pub const EMPTY: Self = Self(Vec::new());

    /// The longest token, in bytes.
    pub const MAX_LEN: usize = 8;

    /// A token of these bytes; `None` if there are more than [`MAX_LEN`](Self::MAX_LEN).
    #[inline]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        Vec::from_slice(bytes).ok().map(Self)
    }

    /// Its bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its length in bytes, 0 to 8.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for the token of no bytes, which is a token like any other.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Lower-case hex, two digits a byte; nothing for the empty token.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(self.as_bytes()).fmt(f)
    }
}

/// Which version of a resource a representation shows: 1 to 8 bytes that the server chose (RFC 7252 §5.10.6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ETag(Vec<u8, 8, u8>);

impl ETag {
    /// The longest entity tag, in bytes.
    pub const MAX_LEN: usize = 8;

    /// A tag of these bytes; `None` if there are none, or more than [`MAX_LEN`](Self::MAX_LEN).
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return None;
        }
        Vec::from_slice(bytes).ok().map(Self)
    }

    /// Its bytes, at least one.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Lower-case hex, two digits a byte.
impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(self.as_bytes()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_at_most_eight_bytes() {
        assert_eq!(Token::new(&[7; 8]).unwrap().as_bytes(), [7; 8]);
        assert_eq!(Token::new(&[7; 9]), None);
        assert_eq!(Token::new(&[]), Some(Token::EMPTY));
    }

    #[test]
    fn tokens_of_different_length_differ_though_they_begin_alike() {
        assert_ne!(Token::new(&[0]), Token::new(&[0, 0]));
        assert_ne!(Token::new(&[]), Token::new(&[0]));
    }

    #[test]
    fn a_token_is_shown_in_hex() {
        assert_eq!(Token::new(&[0x71, 0x0b]).unwrap().to_string(), "710b");
    }

    #[test]
    fn an_entity_tag_has_one_to_eight_bytes() {
        assert_eq!([0, 1, 8, 9].map(|len| ETag::new(&[1; 9][..len]).is_some()), [false, true, true, false]);
    }
}
