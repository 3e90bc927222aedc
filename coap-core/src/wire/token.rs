//! Two short strings of bytes that only their maker understands: the token of a message and the tag of an entity.

use core::fmt;

use super::text::Hex;

/// Up to eight bytes. Those behind `len` are zero, so that equality, order and hash need not look at `len` first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Short {
    bytes: [u8; 8],
    len: u8,
}

impl Short {
    const EMPTY: Self = Self { bytes: [0; 8], len: 0 };

    #[inline]
    fn new(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; 8];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self { bytes, len: from.len() as u8 })
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// What ties a response to its request: 0 to 8 bytes that the client chose (RFC 7252 §5.3.1).
///
/// Not `Copy`, so that longer tokens (RFC 8974) would change nobody's code.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(Short);

impl Token {
    /// The token of no bytes.
    pub const EMPTY: Self = Self(Short::EMPTY);

    /// The longest token, in bytes.
    pub const MAX_LEN: usize = 8;

    /// A token of these bytes; `None` if there are more than [`MAX_LEN`](Self::MAX_LEN).
    #[inline]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        Short::new(bytes).map(Self)
    }

    /// The token of the first `len` bytes of `from`, and what follows it; `None` if there are not as many.
    ///
    /// `len` is at most [`MAX_LEN`](Self::MAX_LEN). Nearly every datagram has eight bytes to read here: one load and a
    /// mask, instead of a copy of unknown length.
    #[inline]
    pub(super) fn split_from(from: &[u8], len: u8) -> Option<(Self, &[u8])> {
        let (token, rest) = from.split_at_checked(len.into())?;
        if let Some(eight) = from.first_chunk() {
            let beyond = u64::MAX.checked_shr(8 * u32::from(len)).unwrap_or_default();
            let bytes = (u64::from_be_bytes(*eight) & !beyond).to_be_bytes();
            return Some((Self(Short { bytes, len }), rest));
        }
        Some((Self::new(token)?, rest))
    }

    /// All eight bytes, zero behind the end.
    #[inline]
    pub(super) const fn padded(&self) -> &[u8; 8] {
        &self.0.bytes
    }

    /// Its bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Its length in bytes, 0 to 8.
    #[inline]
    pub const fn len(&self) -> usize {
        self.0.len as usize
    }

    /// True for the token of no bytes, which is a token like any other.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.len == 0
    }
}

/// Lower-case hex, two digits a byte; nothing for the empty token.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(self.as_bytes()).fmt(f)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({self})")
    }
}

/// Which version of a resource a representation shows: 1 to 8 bytes that the server chose (RFC 7252 §5.10.6).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ETag(Short);

impl ETag {
    /// The longest entity tag, in bytes.
    pub const MAX_LEN: usize = 8;

    /// A tag of these bytes; `None` if there are none, or more than [`MAX_LEN`](Self::MAX_LEN).
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return None;
        }
        Short::new(bytes).map(Self)
    }

    /// Its bytes, at least one.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Lower-case hex, two digits a byte.
impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(self.as_bytes()).fmt(f)
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ETag({self})")
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

    #[test]
    fn a_token_at_the_start_of_more_bytes_is_only_itself() {
        for len in 0..=8 {
            for more in 0..10 {
                let bytes: [u8; 18] = core::array::from_fn(|at| at as u8 + 1);
                let (token, rest) = Token::split_from(&bytes[..len + more], len as u8).unwrap();
                assert_eq!(Some(token), Token::new(&bytes[..len]));
                assert_eq!(rest, &bytes[len..len + more]);
            }
        }
        assert_eq!(Token::split_from(&[1; 3], 4), None);
    }
}
