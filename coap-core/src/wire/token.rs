//! Two short strings of bytes that only their maker understands: the token of a message and the tag of an entity.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use super::text::Hex;

/// Up to eight bytes. Those behind `len` are zero, so that equality, order and hash need not look at `len` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Short {
    bytes: [u8; 8],
    len: Len,
}

/// A type of its own, so that the values that no length has can say that a token is a long one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
enum Len {
    L0,
    L1,
    L2,
    L3,
    L4,
    L5,
    L6,
    L7,
    L8,
}

impl Len {
    /// The length, or 8 if it is more.
    #[inline]
    const fn of(len: u8) -> Self {
        match len {
            0 => Self::L0,
            1 => Self::L1,
            2 => Self::L2,
            3 => Self::L3,
            4 => Self::L4,
            5 => Self::L5,
            6 => Self::L6,
            7 => Self::L7,
            _ => Self::L8,
        }
    }
}

impl Short {
    const EMPTY: Self = Self { bytes: [0; 8], len: Len::L0 };

    #[inline]
    fn new(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; 8];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self { bytes, len: Len::of(from.len() as u8) })
    }

    /// The first `len` bytes of `from`, and what follows them; `None` if there are not as many.
    ///
    /// `len` is at most 8. Nearly every datagram has eight bytes to read here: one load and a mask, instead of a copy of
    /// unknown length.
    #[inline]
    pub(super) fn split_from(from: &[u8], len: u8) -> Option<(Self, &[u8])> {
        let (short, rest) = from.split_at_checked(len.into())?;
        if let Some(eight) = from.first_chunk() {
            let beyond = u64::MAX.checked_shr(8 * u32::from(len)).unwrap_or_default();
            let bytes = (u64::from_be_bytes(*eight) & !beyond).to_be_bytes();
            return Some((Self { bytes, len: Len::of(len) }, rest));
        }
        Some((Self::new(short)?, rest))
    }

    /// All eight bytes, zero behind the end.
    #[inline]
    pub(super) const fn padded(&self) -> &[u8; 8] {
        &self.bytes
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len()).unwrap_or_default()
    }
}

/// What ties a response to its request: 0 to 8 bytes that the client chose (RFC 7252 §5.3.1), or up to 65,804 where both sides
/// know extended tokens (RFC 8974).
///
/// Up to 8 bytes are in place; more are shared by all copies.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(Repr);

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Short(Short),
    /// More than eight bytes. In a box of its own so that a token is as small as can be.
    Long(Arc<Box<[u8]>>),
}

impl Token {
    /// The token of no bytes.
    pub const EMPTY: Self = Self(Repr::Short(Short::EMPTY));

    /// The longest token that every peer knows, in bytes.
    pub const MAX_LEN: usize = 8;

    /// The longest extended token, in bytes (RFC 8974 §2.1).
    pub const MAX_EXTENDED_LEN: usize = 65_804;

    /// A token of these bytes; `None` if there are more than [`MAX_LEN`](Self::MAX_LEN).
    #[inline]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        Short::new(bytes).map(Repr::Short).map(Self)
    }

    /// A token of these bytes, which only peers understand that know extended tokens (RFC 8974) if there are more than
    /// [`MAX_LEN`](Self::MAX_LEN); `None` if there are more than [`MAX_EXTENDED_LEN`](Self::MAX_EXTENDED_LEN).
    pub fn extended(bytes: &[u8]) -> Option<Self> {
        let long = || (bytes.len() <= Self::MAX_EXTENDED_LEN).then(|| Self(Repr::Long(Arc::new(bytes.into()))));
        Self::new(bytes).or_else(long)
    }

    /// What is in place; `None` if there are more than eight bytes.
    #[inline]
    pub(super) const fn short(&self) -> Option<&Short> {
        match &self.0 {
            Repr::Short(short) => Some(short),
            Repr::Long(_) => None,
        }
    }

    /// Its bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short(short) => short.as_bytes(),
            Repr::Long(long) => long,
        }
    }

    /// Its length in bytes, 0 to 8, or to 65,804 for an extended one.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Short(short) => short.len(),
            Repr::Long(long) => long.len(),
        }
    }

    /// How many bytes it takes in a message: those of its own, and what says that there are more than 12 (RFC 8974 §2.1).
    #[inline]
    pub(crate) fn encoded_len(&self) -> usize {
        match &self.0 {
            Repr::Short(short) => short.len(),
            Repr::Long(long) => match long.len() {
                ..13 => long.len(),
                13..269 => 1 + long.len(),
                _ => 2 + long.len(),
            },
        }
    }

    /// True for the token of no bytes, which is a token like any other.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a peer must know extended tokens to understand it.
    #[inline]
    pub const fn is_extended(&self) -> bool {
        matches!(self.0, Repr::Long(_))
    }
}

impl Clone for Token {
    #[inline]
    fn clone(&self) -> Self {
        match &self.0 {
            Repr::Short(short) => Self(Repr::Short(*short)),
            Repr::Long(long) => share(long),
        }
    }
}

/// Apart, because nearly no token is long.
#[cold]
#[inline(never)]
fn share(long: &Arc<Box<[u8]>>) -> Token {
    Token(Repr::Long(Arc::clone(long)))
}

impl From<Short> for Token {
    #[inline]
    fn from(short: Short) -> Self {
        Self(Repr::Short(short))
    }
}

impl Default for Token {
    fn default() -> Self {
        Self::EMPTY
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
    fn an_extended_token_of_few_bytes_is_one_like_any_other() {
        assert_eq!(Token::extended(&[7; 8]), Token::new(&[7; 8]));
        let long = Token::extended(&[7; 9]).unwrap();
        assert!(long.is_extended() && !Token::new(&[7; 8]).unwrap().is_extended());
        assert_eq!((long.len(), long.as_bytes(), long.to_string().len()), (9, &[7; 9][..], 18));
        assert_eq!(long, Token::extended(&[7; 9]).unwrap());
        assert_ne!(long, Token::extended(&[7; 10]).unwrap());
        assert!(Token::extended(&[0; Token::MAX_EXTENDED_LEN]).is_some());
        assert!(Token::extended(&[0; Token::MAX_EXTENDED_LEN + 1]).is_none());
    }

    #[test]
    fn a_token_is_small() {
        assert_eq!(size_of::<Token>(), 16);
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
                let (token, rest) = Short::split_from(&bytes[..len + more], len as u8).unwrap();
                assert_eq!(Some(token.into()), Token::new(&bytes[..len]));
                assert_eq!(rest, &bytes[len..len + more]);
            }
        }
        assert_eq!(Short::split_from(&[1; 3], 4), None);
    }
}
