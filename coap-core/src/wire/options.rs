//! The options of a message: an ordered multi-map that is at all times what it looks like on the wire.
//!
//! Decoding copies a short list and shares a long one, encoding copies bytes, and neither looks at an option twice. To
//! change the list means to write heads anew, but only where a delta changes: at the end, where nearly all options are
//! added, nothing moves.

use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::iter::FusedIterator;
use core::mem;

use bytes::Bytes;

use super::head::{self, MAX_HEAD_LEN, PAYLOAD_MARKER};
use super::message::Malformed;
use super::option::OptionNumber;
use super::text::Shown;
use super::uint::{decode_uint, encode_uint};

/// The longest value that an option can have on the wire, in bytes: 269 and 16 bits (RFC 7252 §3.1).
pub const MAX_OPTION_LEN: usize = 269 + 0xffff;

/// How many bytes of encoded options need no allocation: what fits beside the larger variant, a `Bytes`.
const INLINE_LEN: usize = 38;

/// An ordered multi-map from option number to value.
///
/// Options of one number keep the order in which they were added. Up to 38 bytes of encoded options (a path and a
/// content-format, say) are stored in place; more than that shares the datagram they came in, or is allocated. A list
/// is always well-formed; whether its options are known and legal is what [`check`](Self::check) says.
///
/// ```
/// # use coap_core::{ContentFormat, OptionNumber, Options};
/// let mut options = Options::new();
/// options.set_content_format(ContentFormat::JSON);
/// options.push(OptionNumber::URI_PATH, b"sensors")?;
/// assert_eq!(options.to_string(), "Uri-Path: sensors, Content-Format: 50 (application/json)");
/// # Ok::<_, coap_core::OptionError>(())
/// ```
#[derive(Clone)]
pub struct Options {
    store: Store,
    /// The highest number in the list, 0 for an empty one: the next delta counts from here.
    last: u16,
}

#[derive(Clone)]
enum Store {
    Inline { len: u8, bytes: [u8; INLINE_LEN] },
    Shared(Bytes),
    Heap(Vec<u8>),
}

impl Store {
    const EMPTY: Self = Self::Inline { len: 0, bytes: [0; INLINE_LEN] };

    /// `None` if there are too many.
    #[inline]
    fn inline(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; INLINE_LEN];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self::Inline { len: from.len() as u8, bytes })
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Shared(bytes) => bytes,
            Self::Heap(bytes) => bytes,
        }
    }
}

/// What follows the token, after the one pass that doubts it.
pub(super) struct Survey<'a> {
    /// The options.
    encoded: &'a [u8],
    /// The highest option number.
    last: u16,
    /// How many bytes are payload, 0 if there is none.
    pub(super) payload_len: usize,
}

/// Walks what follows the token (RFC 7252 §3.1).
#[inline]
pub(super) fn survey(bytes: &[u8]) -> Result<Survey<'_>, Malformed> {
    let mut at = 0;
    let mut number = 0;
    while let Some(&first) = bytes.get(at) {
        let head = match head::read_short(first, &[]) {
            Some(head) => {
                at += 1;
                head
            }
            None if first == PAYLOAD_MARKER => break,
            None => {
                let head = head::read(first, bytes.get(at + 1..).unwrap_or_default())?;
                at = bytes.len() - head.rest.len();
                head
            }
        };
        number += head.delta;
        if number > u32::from(u16::MAX) {
            return Err(Malformed::OptionNumberOverflow);
        }
        // Where that is behind the end of the datagram, the loop ends, and what follows it notices.
        at += head.value_len;
    }
    let (encoded, rest) = bytes.split_at_checked(at).ok_or(Malformed::OptionValueTruncated)?;
    let payload_len = match rest.len() {
        0 => 0,
        1 => return Err(Malformed::MarkerWithoutPayload),
        len => len - 1,
    };
    Ok(Survey { encoded, last: number as u16, payload_len })
}

impl Options {
    /// No options.
    pub const fn new() -> Self {
        Self { store: Store::EMPTY, last: 0 }
    }

    /// The options that `survey` found in `datagram`.
    #[inline]
    pub(super) fn found(survey: &Survey<'_>, datagram: &Bytes) -> Self {
        match Store::inline(survey.encoded) {
            Some(store) => Self { store, last: survey.last },
            None => Self::shared(survey, datagram),
        }
    }

    #[cold]
    fn shared(survey: &Survey<'_>, datagram: &Bytes) -> Self {
        Self { store: Store::Shared(datagram.slice_ref(survey.encoded)), last: survey.last }
    }

    /// As they are on the wire, without the payload marker.
    #[inline]
    pub(super) fn encoded(&self) -> &[u8] {
        self.store.as_bytes()
    }

    /// How many bytes the options have on the wire.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        self.encoded().len()
    }

    /// True if there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.encoded().is_empty()
    }

    /// How many there are; each of a repeated option counts. Walks the list.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// All options, in the order of their numbers.
    #[inline]
    pub fn iter(&self) -> OptionsIter<'_> {
        OptionsIter { rest: self.encoded(), number: 0 }
    }

    /// The value of the first option `number`.
    #[inline]
    pub fn get(&self, number: OptionNumber) -> Option<&[u8]> {
        // Most lists end before most of the options that are asked for.
        if number.number() > self.last { None } else { self.get_all(number).next() }
    }

    /// Whether there are options of this number or a higher one.
    #[inline]
    pub(crate) const fn reach(&self, number: OptionNumber) -> bool {
        self.last >= number.number()
    }

    /// The values of all options `number`, in their order.
    #[inline]
    pub fn get_all(&self, number: OptionNumber) -> impl Iterator<Item = &[u8]> + Clone + fmt::Debug {
        Values { options: self.iter(), number }
    }

    /// Whether there is an option `number`.
    #[inline]
    pub fn contains(&self, number: OptionNumber) -> bool {
        self.get(number).is_some()
    }

    /// The first option `number` as a number; `None` also if it has more than eight bytes.
    #[inline]
    pub fn get_uint(&self, number: OptionNumber) -> Option<u64> {
        self.get(number).and_then(decode_uint)
    }

    /// The first option `number` as text; `None` also if it is not UTF-8.
    pub fn get_str(&self, number: OptionNumber) -> Option<&str> {
        self.get(number).and_then(|value| core::str::from_utf8(value).ok())
    }

    /// Adds an option behind those of the same number.
    ///
    /// Repetition is not looked at: see [`set`](Self::set) for options that occur once.
    ///
    /// # Errors
    /// If the registry knows the option and its value may not have this length, or if no option's may. Nothing changes
    /// then.
    #[inline]
    pub fn push(&mut self, number: OptionNumber, value: &[u8]) -> Result<(), OptionError> {
        check_len(number, value.len())?;
        self.insert(number, value);
        Ok(())
    }

    /// Adds an option whatever the registry says about its length, to see what another stack makes of it.
    ///
    /// # Errors
    /// If the value has more than [`MAX_OPTION_LEN`] bytes.
    pub fn push_raw(&mut self, number: OptionNumber, value: &[u8]) -> Result<(), OptionError> {
        check_encodable(number, value.len())?;
        self.insert(number, value);
        Ok(())
    }

    /// Makes this the only option of its number.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    #[inline]
    pub fn set(&mut self, number: OptionNumber, value: &[u8]) -> Result<(), OptionError> {
        check_len(number, value.len())?;
        self.replace(number, value);
        Ok(())
    }

    /// Adds an option with a number as its value, in its shortest form.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn push_uint(&mut self, number: OptionNumber, value: u32) -> Result<(), OptionError> {
        self.push(number, encode_uint(value.into(), &mut [0; 8]))
    }

    /// Makes this the only option of its number, with a number as its value, in its shortest form.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn set_uint(&mut self, number: OptionNumber, value: u32) -> Result<(), OptionError> {
        self.set(number, encode_uint(value.into(), &mut [0; 8]))
    }

    /// Removes all options `number`, and returns how many there were.
    #[inline]
    pub fn remove(&mut self, number: OptionNumber) -> usize {
        if number.number() > self.last { 0 } else { self.remove_within(number) }
    }

    /// Removes all options `number`, which is not behind the last.
    fn remove_within(&mut self, number: OptionNumber) -> usize {
        if !self.contains(number) {
            return 0;
        }
        let before = self.count();
        self.retain(|other, _| other != number);
        before - self.count()
    }

    /// Keeps only the options for which `keep` says so. It is asked once for each, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(OptionNumber, &[u8]) -> bool) {
        let mut kept = Self::new();
        for (number, value) in self.iter() {
            if keep(number, value) {
                kept.append(number.number(), value);
            }
        }
        *self = kept;
    }

    /// The same options, no longer sharing a datagram: for keeping them longer than the datagram should live.
    pub fn into_owned(self) -> Self {
        match self.store {
            Store::Shared(bytes) => Self { store: Store::Heap(bytes.to_vec()), last: self.last },
            store => Self { store, ..self },
        }
    }

    /// A copy, if it needs no memory and shares none.
    #[inline]
    pub(crate) fn short_copy(&self) -> Option<Self> {
        match &self.store {
            Store::Inline { len, bytes } => {
                Some(Self { store: Store::Inline { len: *len, bytes: *bytes }, last: self.last })
            }
            Store::Shared(_) | Store::Heap(_) => None,
        }
    }

    /// Makes `value`, of a length that was checked, the only option `number`.
    #[inline]
    pub(super) fn replace(&mut self, number: OptionNumber, value: &[u8]) {
        if number.number() <= self.last {
            self.remove_within(number);
        }
        self.insert(number, value);
    }

    /// Adds `value`, of a length that was checked, behind its equals.
    #[inline]
    pub(super) fn insert(&mut self, number: OptionNumber, value: &[u8]) {
        if number.number() >= self.last {
            self.append(number.number(), value);
        } else {
            self.insert_between(number.number(), value);
        }
    }

    /// Adds at the end; `number` is not below `last`.
    #[inline]
    fn append(&mut self, number: u16, value: &[u8]) {
        if let Some(head) = head::write_short(number - self.last, value.len())
            && let Store::Inline { len, bytes } = &mut self.store
            && let Some([first, room @ ..]) = bytes.get_mut(usize::from(*len)..)
            && let Some(room) = room.get_mut(..value.len())
        {
            *first = head;
            // Options that say it by being there, and the number 0, have no value: not worth a call.
            if !value.is_empty() {
                room.copy_from_slice(value);
            }
            *len += 1 + value.len() as u8;
            self.last = number;
        } else {
            self.append_any(number, value);
        }
    }

    fn append_any(&mut self, number: u16, value: &[u8]) {
        let mut buf = [0; MAX_HEAD_LEN];
        let len = head::write(number - self.last, value.len(), &mut buf);
        let head = buf.get(..len).unwrap_or_default();
        self.last = number;
        let end = self.encoded_len();
        self.splice(end, end, &[head, value]);
    }

    /// Adds before an option of a higher number, whose head changes because its delta does.
    fn insert_between(&mut self, number: u16, value: &[u8]) {
        let mut iter = self.iter();
        let (mut at, mut before) = (0, 0);
        let (next_at, next_number, next_value) = loop {
            let Some((next, next_value)) = iter.next() else { return self.append(number, value) };
            if next.number() > number {
                break (at, next.number(), next_value.len());
            }
            at = self.encoded_len() - iter.rest.len();
            before = next.number();
        };
        let next_value_at = self.encoded_len() - iter.rest.len() - next_value;

        let (mut buf, mut next_buf) = ([0; MAX_HEAD_LEN], [0; MAX_HEAD_LEN]);
        let len = head::write(number - before, value.len(), &mut buf);
        let next_len = head::write(next_number - number, next_value, &mut next_buf);
        let head = buf.get(..len).unwrap_or_default();
        let next_head = next_buf.get(..next_len).unwrap_or_default();
        self.splice(next_at, next_value_at, &[head, value, next_head]);
    }

    /// Puts the bytes of `new` in the place of the encoded bytes from `from` to `to`.
    fn splice(&mut self, from: usize, to: usize, new: &[&[u8]]) {
        let old_len = self.encoded_len();
        let added: usize = new.iter().map(|part| part.len()).sum();
        let new_len = old_len - (to - from) + added;
        if let Store::Inline { len, bytes } = &mut self.store
            && new_len <= INLINE_LEN
        {
            bytes.copy_within(to..old_len, from + added);
            for (at, byte) in bytes.iter_mut().skip(from).zip(new.iter().copied().flatten()) {
                *at = *byte;
            }
            *len = new_len as u8;
            return;
        }
        let mut bytes = self.take_heap(added);
        bytes.splice(from..to, new.iter().copied().flatten().copied());
        self.store = Store::Heap(bytes);
    }

    /// Takes the encoded bytes out as a vector with room for `more`. The caller puts them back.
    #[cold]
    fn take_heap(&mut self, more: usize) -> Vec<u8> {
        match mem::replace(&mut self.store, Store::EMPTY) {
            Store::Heap(bytes) => bytes,
            other => {
                let encoded = other.as_bytes();
                let mut bytes = Vec::with_capacity(encoded.len() + more);
                bytes.extend_from_slice(encoded);
                bytes
            }
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// Equal numbers and values in equal order, wherever they are stored: every option has one encoding only.
impl PartialEq for Options {
    fn eq(&self, other: &Self) -> bool {
        self.encoded() == other.encoded()
    }
}

impl Eq for Options {}

impl Hash for Options {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.encoded().hash(state);
    }
}

/// `Uri-Path: sensors, Content-Format: 0 (text/plain; charset=utf-8)`
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().enumerate().try_for_each(|(at, (number, value))| {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{}", Shown(number, value))
        })
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

impl<'a> IntoIterator for &'a Options {
    type Item = (OptionNumber, &'a [u8]);
    type IntoIter = OptionsIter<'a>;

    #[inline]
    fn into_iter(self) -> OptionsIter<'a> {
        self.iter()
    }
}

/// Number and value of each option, in order.
#[derive(Clone, Debug)]
pub struct OptionsIter<'a> {
    rest: &'a [u8],
    number: u16,
}

impl<'a> Iterator for OptionsIter<'a> {
    type Item = (OptionNumber, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // Only well-formed lists exist, so that `None` is the end.
        let (first, after) = self.rest.split_first()?;
        let head = match head::read_short(*first, after) {
            Some(head) => head,
            None => head::read(*first, after).ok()?,
        };
        let (value, rest) = head.rest.split_at_checked(head.value_len)?;
        self.rest = rest;
        self.number = self.number.wrapping_add(head.delta as u16);
        Some((OptionNumber::new(self.number), value))
    }
}

impl FusedIterator for OptionsIter<'_> {}

/// The values of one number.
#[derive(Clone, Debug)]
struct Values<'a> {
    options: OptionsIter<'a>,
    number: OptionNumber,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let (number, value) = self.options.next()?;
            if number == self.number {
                return Some(value);
            }
            if number > self.number {
                self.options.rest = &[];
                return None;
            }
        }
    }
}

impl FusedIterator for Values<'_> {}

/// Why an option was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionError {
    /// A value of this option has `min` to `max` bytes.
    Length {
        /// The option.
        number: OptionNumber,
        /// The length of the value that was refused, in bytes.
        len: usize,
        /// The least length in bytes.
        min: u16,
        /// The greatest length in bytes.
        max: u16,
    },
    /// No option can have so long a value: [`MAX_OPTION_LEN`].
    TooLong {
        /// The option.
        number: OptionNumber,
        /// The length of the value that was refused, in bytes.
        len: usize,
    },
    /// A segment of a path is `.` or `..`, which is none (RFC 7252 §5.10.1, §5.10.7).
    DotSegment {
        /// The option.
        number: OptionNumber,
    },
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { number, len, min, max } if min == max => {
                write!(f, "a value of {number} has {min} {}, not {len}", if *min == 1 { "byte" } else { "bytes" })
            }
            Self::Length { number, len, min, max } => {
                write!(f, "a value of {number} has {min} to {max} bytes, not {len}")
            }
            Self::DotSegment { number } => write!(f, "a value of {number} is not . or .."),
            Self::TooLong { number, len } => {
                write!(f, "a value of option {number} has at most {MAX_OPTION_LEN} bytes, not {len}")
            }
        }
    }
}

impl core::error::Error for OptionError {}

#[inline]
fn check_len(number: OptionNumber, len: usize) -> Result<(), OptionError> {
    match number.definition() {
        Some(known) if known.allows_len(len) => Ok(()),
        Some(known) => Err(OptionError::Length { number, len, min: known.min_len, max: known.max_len }),
        None => check_encodable(number, len),
    }
}

const fn check_encodable(number: OptionNumber, len: usize) -> Result<(), OptionError> {
    if len <= MAX_OPTION_LEN { Ok(()) } else { Err(OptionError::TooLong { number, len }) }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
