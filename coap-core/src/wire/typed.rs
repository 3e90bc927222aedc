//! The options by name and type, so that callers write `options.accept()` and not a number and a slice.
//!
//! A value of illegal length counts as absent here, as RFC 7252 §5.4.3 has it for elective options; a critical one is
//! for [`Options::check`] to refuse.

use super::block::Block;
use super::content_format::ContentFormat;
use super::option::OptionNumber;
use super::options::{OptionError, Options};
use super::token::ETag;
use super::uint::{decode_uint, encode_uint};

impl Options {
    /// What the payload is.
    #[inline]
    pub fn content_format(&self) -> Option<ContentFormat> {
        self.uint16(OptionNumber::CONTENT_FORMAT).map(ContentFormat::new)
    }

    /// Says what the payload is.
    #[inline]
    pub fn set_content_format(&mut self, format: ContentFormat) {
        self.put_uint(OptionNumber::CONTENT_FORMAT, format.number().into());
    }

    /// The only content-format that the client accepts.
    #[inline]
    pub fn accept(&self) -> Option<ContentFormat> {
        self.uint16(OptionNumber::ACCEPT).map(ContentFormat::new)
    }

    /// Asks for this content-format and no other.
    pub fn set_accept(&mut self, format: ContentFormat) {
        self.put_uint(OptionNumber::ACCEPT, format.number().into());
    }

    /// For how many seconds the response stays fresh. `None` if it does not say; that means 60 (RFC 7252 §5.10.5).
    pub fn max_age(&self) -> Option<u32> {
        self.uint(OptionNumber::MAX_AGE)
    }

    /// Says for how many seconds the response stays fresh.
    pub fn set_max_age(&mut self, seconds: u32) {
        self.put_uint(OptionNumber::MAX_AGE, seconds);
    }

    /// The Observe option: in a request 0 begins and 1 ends, in a notification it is the place in the order
    /// (RFC 7641 §2).
    pub fn observe(&self) -> Option<u32> {
        self.uint(OptionNumber::OBSERVE)
    }

    /// Sets Observe to the lower 24 bits of `value`: that is all it has, and a count of notifications wraps there
    /// (RFC 7641 §4.4).
    pub fn set_observe(&mut self, value: u32) {
        self.put_uint(OptionNumber::OBSERVE, value & 0xff_ffff);
    }

    /// The name of the host that is asked; `None` also if it is not UTF-8.
    pub fn uri_host(&self) -> Option<&str> {
        self.get_str(OptionNumber::URI_HOST)
    }

    /// Names the host that is asked.
    ///
    /// # Errors
    /// If the name does not have 1 to 255 bytes.
    pub fn set_uri_host(&mut self, host: &str) -> Result<(), OptionError> {
        self.set(OptionNumber::URI_HOST, host.as_bytes())
    }

    /// The port that is asked.
    pub fn uri_port(&self) -> Option<u16> {
        self.uint16(OptionNumber::URI_PORT)
    }

    /// Names the port that is asked.
    pub fn set_uri_port(&mut self, port: u16) {
        self.put_uint(OptionNumber::URI_PORT, port.into());
    }

    /// The segments of the path.
    #[inline]
    pub fn uri_path(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.get_all(OptionNumber::URI_PATH)
    }

    /// Adds a segment to the path: bytes as they are meant, not percent-encoded.
    ///
    /// # Errors
    /// If the segment has more than 255 bytes, or is `.` or `..` (RFC 7252 §5.10.1).
    #[inline]
    pub fn push_uri_path(&mut self, segment: &str) -> Result<(), OptionError> {
        self.push_segment(OptionNumber::URI_PATH, segment)
    }

    /// The arguments of the query.
    pub fn uri_query(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.get_all(OptionNumber::URI_QUERY)
    }

    /// Adds an argument to the query: bytes as they are meant, not percent-encoded.
    ///
    /// # Errors
    /// If the argument has more than 255 bytes.
    pub fn push_uri_query(&mut self, argument: &str) -> Result<(), OptionError> {
        self.push(OptionNumber::URI_QUERY, argument.as_bytes())
    }

    /// The segments of the path of what was created.
    pub fn location_path(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.get_all(OptionNumber::LOCATION_PATH)
    }

    /// Adds a segment to the path of what was created.
    ///
    /// # Errors
    /// If the segment has more than 255 bytes, or is `.` or `..` (RFC 7252 §5.10.7).
    pub fn push_location_path(&mut self, segment: &str) -> Result<(), OptionError> {
        self.push_segment(OptionNumber::LOCATION_PATH, segment)
    }

    /// The arguments of the query of what was created.
    pub fn location_query(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.get_all(OptionNumber::LOCATION_QUERY)
    }

    /// Adds an argument to the query of what was created.
    ///
    /// # Errors
    /// If the argument has more than 255 bytes.
    pub fn push_location_query(&mut self, argument: &str) -> Result<(), OptionError> {
        self.push(OptionNumber::LOCATION_QUERY, argument.as_bytes())
    }

    /// The first entity tag: the tag of a response.
    pub fn etag(&self) -> Option<ETag> {
        self.etags().next()
    }

    /// The entity tags: in a request those that the client has stored.
    pub fn etags(&self) -> impl Iterator<Item = ETag> + Clone + '_ {
        self.get_all(OptionNumber::ETAG).filter_map(ETag::new)
    }

    /// Adds an entity tag.
    pub fn push_etag(&mut self, etag: &ETag) {
        self.insert(OptionNumber::ETAG, etag.as_bytes());
    }

    /// The values of If-Match: the request is conditional on any of them. An empty one matches whatever exists
    /// (RFC 7252 §5.10.8.1).
    pub fn if_match(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.get_all(OptionNumber::IF_MATCH)
    }

    /// Makes the request conditional on this version of the resource, or another that was added.
    pub fn push_if_match(&mut self, etag: &ETag) {
        self.insert(OptionNumber::IF_MATCH, etag.as_bytes());
    }

    /// Whether the request is conditional on there being no resource.
    pub fn if_none_match(&self) -> bool {
        self.contains(OptionNumber::IF_NONE_MATCH)
    }

    /// Makes the request conditional on there being no resource.
    pub fn set_if_none_match(&mut self) {
        self.replace(OptionNumber::IF_NONE_MATCH, &[]);
    }

    /// How many proxies the request may still pass, 1 to 255; `None` also for a value that is no such number (RFC 8768 §3).
    pub fn hop_limit(&self) -> Option<u8> {
        match self.get(OptionNumber::HOP_LIMIT)? {
            [hops @ 1..=255] => Some(*hops),
            _ => None,
        }
    }

    /// Says how many proxies the request may pass. Without it each of them that knows the option begins with 16.
    ///
    /// # Errors
    /// For 0, which is no Hop-Limit.
    pub fn set_hop_limit(&mut self, hops: u8) -> Result<(), OptionError> {
        self.set_uint(OptionNumber::HOP_LIMIT, hops.into())
    }

    /// The value of No-Response: see [`Code::suppressed_by`](super::Code::suppressed_by).
    pub fn no_response(&self) -> Option<u8> {
        self.uint(OptionNumber::NO_RESPONSE).and_then(|value| u8::try_from(value).ok())
    }

    /// Says which responses the client does not want: 2, 8 and 16 for classes 2, 4 and 5, added up (RFC 7967 §2.1).
    pub fn set_no_response(&mut self, value: u8) {
        self.put_uint(OptionNumber::NO_RESPONSE, value.into());
    }

    /// Which block of the request body this is.
    pub fn block1(&self) -> Option<Block> {
        self.get(OptionNumber::BLOCK1).and_then(Block::from_value)
    }

    /// Says which block of the request body this is.
    pub fn set_block1(&mut self, block: Block) {
        self.put_uint(OptionNumber::BLOCK1, block.value());
    }

    /// Which block of the response body this is, or is asked for.
    pub fn block2(&self) -> Option<Block> {
        self.get(OptionNumber::BLOCK2).and_then(Block::from_value)
    }

    /// Says which block of the response body this is, or asks for it.
    pub fn set_block2(&mut self, block: Block) {
        self.put_uint(OptionNumber::BLOCK2, block.value());
    }

    /// The size of the request body in bytes.
    pub fn size1(&self) -> Option<u32> {
        self.uint(OptionNumber::SIZE1)
    }

    /// Says how large the request body is, in bytes.
    pub fn set_size1(&mut self, bytes: u32) {
        self.put_uint(OptionNumber::SIZE1, bytes);
    }

    /// The size of the response body in bytes.
    pub fn size2(&self) -> Option<u32> {
        self.uint(OptionNumber::SIZE2)
    }

    /// Says how large the response body is, in bytes; 0 in a request asks for it.
    pub fn set_size2(&mut self, bytes: u32) {
        self.put_uint(OptionNumber::SIZE2, bytes);
    }

    /// A number, if its length is legal.
    #[inline]
    fn uint(&self, number: OptionNumber) -> Option<u32> {
        let value = self.get(number)?;
        let legal = number.definition().is_some_and(|known| known.allows_len(value.len()));
        legal.then(|| decode_uint(value)).flatten().and_then(|value| u32::try_from(value).ok())
    }

    /// A segment of a path says what it is called; those that say where to go are resolved before there are options.
    #[inline]
    fn push_segment(&mut self, number: OptionNumber, segment: &str) -> Result<(), OptionError> {
        if matches!(segment, "." | "..") {
            return Err(OptionError::DotSegment { number });
        }
        self.push(number, segment.as_bytes())
    }

    /// For options whose numbers have up to two bytes.
    #[inline]
    fn uint16(&self, number: OptionNumber) -> Option<u16> {
        match self.get(number)? {
            [] => Some(0),
            [low] => Some(u16::from(*low)),
            [high, low] => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }

    /// For numbers whose type keeps them within the length that the registry allows.
    #[inline]
    fn put_uint(&mut self, number: OptionNumber, value: u32) {
        self.replace(number, encode_uint(value.into(), &mut [0; 8]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_read_and_set_again_replaces() {
        let mut options = Options::new();
        options.set_max_age(7);
        options.set_hop_limit(16).unwrap();
        assert_eq!(options.hop_limit(), Some(16));
        assert!(options.set_hop_limit(0).is_err());
        options.remove(OptionNumber::HOP_LIMIT);
        options.set_content_format(ContentFormat::JSON);
        options.set_accept(ContentFormat::CBOR);
        options.set_uri_port(61_616);
        options.set_max_age(u32::MAX);
        assert_eq!(options.max_age(), Some(u32::MAX));
        assert_eq!(options.content_format(), Some(ContentFormat::JSON));
        assert_eq!(options.accept(), Some(ContentFormat::CBOR));
        assert_eq!(options.uri_port(), Some(61_616));
        assert_eq!(options.count(), 4);
    }

    #[test]
    fn observe_wraps_at_24_bits() {
        let mut options = Options::new();
        options.set_observe(0x0100_0005);
        assert_eq!((options.observe(), options.get(OptionNumber::OBSERVE)), (Some(5), Some(&[5][..])));
    }

    #[test]
    fn every_setter_keeps_to_the_length_that_the_registry_allows() {
        let mut options = Options::new();
        options.set_max_age(u32::MAX);
        options.set_observe(u32::MAX);
        options.set_uri_port(u16::MAX);
        options.set_content_format(ContentFormat::new(u16::MAX));
        options.set_accept(ContentFormat::new(u16::MAX));
        options.set_no_response(u8::MAX);
        options.set_block1(Block::new(Block::MAX_NUM, true, 6).unwrap());
        options.set_block2(Block::new(Block::MAX_NUM, true, 6).unwrap());
        options.set_size1(u32::MAX);
        options.set_size2(u32::MAX);
        options.set_if_none_match();
        options.push_etag(&ETag::new(&[1; 8]).unwrap());
        options.push_if_match(&ETag::new(&[1; 8]).unwrap());
        assert_eq!(options.check(|_| true), Ok(()));
        assert!(!options.has_bad_elective());
        assert_eq!(options.count(), 13);
    }

    /// RFC 7252 §5.10.1, §5.10.7: they must not be `.` or `..`.
    #[test]
    fn no_path_has_a_dot_segment() {
        let mut options = Options::new();
        for dots in [".", ".."] {
            let refused = |number| Err(OptionError::DotSegment { number });
            assert_eq!(options.push_uri_path(dots), refused(OptionNumber::URI_PATH));
            assert_eq!(options.push_location_path(dots), refused(OptionNumber::LOCATION_PATH));
        }
        assert!(options.is_empty());
        for plain in ["...", "", ".a", "a/.."] {
            options.push_uri_path(plain).unwrap();
        }
        assert_eq!(options.count(), 4);
    }

    #[test]
    fn a_value_of_illegal_length_counts_as_absent() {
        let mut options = Options::new();
        options.push_raw(OptionNumber::CONTENT_FORMAT, &[0, 0, 50]).unwrap();
        options.push_raw(OptionNumber::NO_RESPONSE, &[0, 2]).unwrap();
        options.push_raw(OptionNumber::ETAG, &[]).unwrap();
        options.push_raw(OptionNumber::BLOCK2, &[0; 4]).unwrap();
        assert_eq!((options.content_format(), options.no_response()), (None, None));
        assert_eq!((options.etag(), options.block2()), (None, None));
    }

    #[test]
    fn leading_zeros_are_read() {
        let mut options = Options::new();
        options.push(OptionNumber::ACCEPT, &[0, 50]).unwrap();
        assert_eq!(options.accept(), Some(ContentFormat::JSON));
    }
}
