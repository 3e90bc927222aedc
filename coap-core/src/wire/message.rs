//! A message and its bytes (RFC 7252 §3): the one place that doubts a datagram.

use core::fmt;

use bytes::{Buf, Bytes};

use super::code::Code;
use super::head::{self, MAX_HEAD_LEN, PAYLOAD_MARKER};
use super::options::{self, Options, Survey};
use super::text::Payload;
use super::token::{Short, Token};

/// The bytes before the token: version, type and token length in one, code, Message ID in two.
const HEADER_LEN: usize = 4;

/// The only version there is, where it stands in the first byte.
const VERSION_1: u8 = 0b0100_0000;

/// The type of a message (RFC 7252 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// CON: repeated until it is acknowledged or reset.
    Confirmable,
    /// NON: sent once.
    NonConfirmable,
    /// ACK: a Confirmable message arrived; it may carry the response.
    Acknowledgement,
    /// RST: a message arrived, and makes no sense here.
    Reset,
}

impl Type {
    #[inline]
    const fn from_first_byte(byte: u8) -> Self {
        match byte >> 4 & 0b11 {
            0 => Self::Confirmable,
            1 => Self::NonConfirmable,
            2 => Self::Acknowledgement,
            _ => Self::Reset,
        }
    }
}

/// As RFC 7252 abbreviates it: `CON`, `NON`, `ACK`, `RST`.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Confirmable => "CON",
            Self::NonConfirmable => "NON",
            Self::Acknowledgement => "ACK",
            Self::Reset => "RST",
        })
    }
}

/// The first four bytes of a message of version 1: enough to answer even a message that is malformed behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The type.
    pub kind: Type,
    /// The code.
    pub code: Code,
    /// The Message ID.
    pub message_id: u16,
    /// The token length as it stands there, 0 to 15. Above 8 is reserved, unless extended tokens are spoken (RFC 8974): then 13
    /// and 14 say that the length follows.
    pub token_length: u8,
}

impl Header {
    /// Reads the header; `None` if there are fewer than four bytes, or the version is not 1.
    pub const fn peek(datagram: &[u8]) -> Option<Self> {
        match Self::read(datagram) {
            Ok((header, _)) => Some(header),
            Err(_) => None,
        }
    }

    #[inline]
    const fn read(datagram: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let [first, code, high, low, rest @ ..] = datagram else { return Err(Malformed::ShortHeader) };
        if *first >> 6 != VERSION_1 >> 6 {
            return Err(Malformed::BadVersion);
        }
        let header = Self {
            kind: Type::from_first_byte(*first),
            code: Code::from_byte(*code),
            message_id: u16::from_be_bytes([*high, *low]),
            token_length: *first & 0xf,
        };
        Ok((header, rest))
    }

    /// RFC 7252 §4.1: nothing may follow, and a token length other than 0 announces that something does.
    #[inline]
    const fn check_empty(&self, body: &[u8]) -> Result<(), Malformed> {
        let more = !body.is_empty() || self.token_length != 0;
        if self.code.is_empty() && more { Err(Malformed::EmptyNot4Bytes) } else { Ok(()) }
    }
}

/// A message, whole.
///
/// All fields are free: what makes no sense (a response in a Reset, say) can be built and sent, to see what other
/// stacks make of it. An endpoint does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The type.
    pub kind: Type,
    /// The code.
    pub code: Code,
    /// The Message ID: what ties an acknowledgement or reset to its message, and tells a duplicate.
    pub message_id: u16,
    /// What ties a response to its request.
    pub token: Token,
    /// The options.
    pub options: Options,
    /// The payload; no bytes and no payload are the same.
    pub payload: Bytes,
}

impl Message {
    /// A message of code 0.00: a ping (Confirmable), an acknowledgement without response, a reset.
    pub const fn empty(kind: Type, message_id: u16) -> Self {
        Self {
            kind,
            code: Code::EMPTY,
            message_id,
            token: Token::EMPTY,
            options: Options::new(),
            payload: Bytes::new(),
        }
    }

    /// Reads a datagram.
    ///
    /// Strict: whatever RFC 7252 §3 calls a message format error is refused. The payload shares the datagram, and so do
    /// options of more than 38 bytes; shorter ones are copied, so that they do not pin it. This does not allocate, with
    /// one exception that is the caller's choice: a `Bytes` that was just made from a `Vec` allocates its counter when
    /// it is first shared, which happens here if long options *and* a payload share it.
    ///
    /// ```
    /// # use coap_core::{Code, Message};
    /// let message = Message::decode(b"\x41\x01\x1f\x2a\x71\xb4temp"[..].into())?;
    /// assert_eq!((message.code, message.message_id), (Code::GET, 0x1f2a));
    /// assert_eq!(message.to_string(), "CON GET id=0x1f2a token=71 Uri-Path: temp");
    /// # Ok::<_, coap_core::DecodeError>(())
    /// ```
    ///
    /// # Errors
    /// Names the first thing that is wrong, with the header if that could be read.
    #[inline]
    pub fn decode(mut datagram: Bytes) -> Result<Self, DecodeError> {
        let Parts { header, token, survey } = match Parts::read(&datagram) {
            Ok(parts) => parts,
            Err(reason) => return Err(DecodeError { reason, header: Header::peek(&datagram) }),
        };
        let Header { kind, code, message_id, .. } = header;
        let options = Options::found(&survey, &datagram);
        let payload = match survey.payload_len {
            0 => Bytes::new(),
            len => {
                datagram.advance(datagram.len() - len);
                datagram
            }
        };
        Ok(Self { kind, code, message_id, token: token.into(), options, payload })
    }

    /// As [`decode`](Self::decode), and reads tokens of up to 65,804 bytes (RFC 8974), which are copied.
    ///
    /// # Errors
    /// The same.
    pub fn decode_extended(datagram: Bytes) -> Result<Self, DecodeError> {
        let header = Header::peek(&datagram);
        Self::decode_long(datagram).map_err(|reason| DecodeError { reason, header })
    }

    #[inline(never)]
    fn decode_long(mut datagram: Bytes) -> Result<Self, Malformed> {
        let (header, body) = Header::read(&datagram)?;
        header.check_empty(body)?;
        let Header { kind, code, message_id, token_length } = header;
        let (len, rest) = match token_length {
            15 => return Err(Malformed::TklReserved),
            nibble => head::read_extended(nibble, body).ok_or(Malformed::TokenTruncated)?,
        };
        let (token, rest) = rest.split_at_checked(len as usize).ok_or(Malformed::TokenTruncated)?;
        let token = Token::extended(token).ok_or(Malformed::TklReserved)?;
        let survey = options::survey(rest)?;
        let (options, payload_len) = (Options::found(&survey, &datagram), survey.payload_len);
        let payload = datagram.split_off(datagram.len() - payload_len);
        Ok(Self { kind, code, message_id, token, options, payload })
    }

    /// The number of bytes that [`encode`](Self::encode) writes.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        self.encoded_len_with(self.options.encoded())
    }

    #[inline]
    fn encoded_len_with(&self, options: &[u8]) -> usize {
        HEADER_LEN + self.token.encoded_len() + options.len() + self.encoded_payload_len()
    }

    /// With its marker.
    #[inline]
    const fn encoded_payload_len(&self) -> usize {
        match self.payload.len() {
            0 => 0,
            len => 1 + len,
        }
    }

    /// Writes the message to the start of `buf` and returns its length in bytes. Does not allocate.
    ///
    /// # Errors
    /// If `buf` is too small; nothing is written then.
    #[inline]
    pub fn encode(&self, buf: &mut [u8]) -> Result<usize, EncodeError> {
        let Some(token) = self.token.short() else { return self.encode_long(buf) };
        let options = self.options.encoded();
        let needed = HEADER_LEN + token.len() + options.len() + self.encoded_payload_len();
        let available = buf.len();
        let buf = buf.get_mut(..needed).ok_or(EncodeError::BufferTooSmall { needed, available })?;

        let rest = put_start(buf, self.header(token.len() as u8), token);
        self.put_end(put(rest, options));
        Ok(needed)
    }

    /// RFC 8974 §2.1: the length of the token is written as that of an option is.
    #[cold]
    #[inline(never)]
    fn encode_long(&self, buf: &mut [u8]) -> Result<usize, EncodeError> {
        let (token, options) = (self.token.as_bytes(), self.options.encoded());
        let (needed, available) = (self.encoded_len_with(options), buf.len());
        let buf = buf.get_mut(..needed).ok_or(EncodeError::BufferTooSmall { needed, available })?;
        let mut head = [0; MAX_HEAD_LEN];
        let len = head::write(0, token.len(), &mut head);
        let [nibbles, extended @ ..] = head;
        let rest = put(buf, &self.header(nibbles & 0xf));
        let rest = put(rest, extended.get(..len - 1).unwrap_or_default());
        self.put_end(put(put(rest, token), options));
        Ok(needed)
    }

    #[inline]
    const fn header(&self, token_length: u8) -> [u8; HEADER_LEN] {
        let [high, low] = self.message_id.to_be_bytes();
        [VERSION_1 | (self.kind as u8) << 4 | token_length, self.code.to_byte(), high, low]
    }

    #[inline]
    fn put_end(&self, rest: &mut [u8]) {
        if let Some((marker, rest)) = rest.split_first_mut() {
            *marker = PAYLOAD_MARKER;
            put(rest, &self.payload);
        }
    }
}

/// Writes header and token, and returns the rest of `buf`.
///
/// In a message of twelve bytes or more, what a short token leaves of its eight bytes is written over by what follows.
#[inline]
fn put_start<'a>(buf: &'a mut [u8], header: [u8; HEADER_LEN], token: &Short) -> &'a mut [u8] {
    match buf.first_chunk_mut::<{ HEADER_LEN + Token::MAX_LEN }>() {
        Some(start) => {
            let (to_header, to_token) = start.split_at_mut(HEADER_LEN);
            to_header.copy_from_slice(&header);
            to_token.copy_from_slice(token.padded());
            buf.get_mut(HEADER_LEN + token.len()..).unwrap_or_default()
        }
        None => put(put(buf, &header), token.as_bytes()),
    }
}

/// Copies `bytes` to the start of `buf`, whose length was computed from the same parts, and returns the rest.
#[inline]
fn put<'a>(buf: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    match buf.split_at_mut_checked(bytes.len()) {
        Some((to, rest)) => {
            to.copy_from_slice(bytes);
            rest
        }
        None => &mut [],
    }
}

/// A datagram that was read, before its bytes are handed out.
struct Parts<'a> {
    header: Header,
    token: Short,
    survey: Survey<'a>,
}

impl<'a> Parts<'a> {
    #[inline]
    fn read(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (header, body) = Header::read(datagram)?;
        header.check_empty(body)?;
        if usize::from(header.token_length) > Token::MAX_LEN {
            return Err(Malformed::TklReserved);
        }
        let (token, rest) = Short::split_from(body, header.token_length).ok_or(Malformed::TokenTruncated)?;
        Ok(Self { header, token, survey: options::survey(rest)? })
    }
}

/// One line: `CON GET id=0x1f2a token=71bb Uri-Path: sensors, Uri-Path: temp, payload 20 bytes "…"`.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} id=0x{:04x}", self.kind, self.code, self.message_id)?;
        if !self.token.is_empty() {
            write!(f, " token={}", self.token)?;
        }
        if !self.options.is_empty() {
            write!(f, " {}", self.options)?;
        }
        if !self.payload.is_empty() {
            let comma = if self.options.is_empty() { "" } else { "," };
            write!(f, "{comma} payload {} bytes {}", self.payload.len(), Payload(&self.payload))?;
        }
        Ok(())
    }
}

/// A datagram is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DecodeError {
    /// What is wrong.
    pub reason: Malformed,
    /// The header, unless that is what is wrong: a malformed Confirmable message is rejected with a Reset that carries
    /// its Message ID (RFC 7252 §4.2).
    pub header: Option<Header>,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl core::error::Error for DecodeError {}

/// What is wrong with a datagram, in the order in which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Malformed {
    /// Fewer than four bytes.
    ShortHeader,
    /// The version is not 1: the message must be ignored without an answer (RFC 7252 §3).
    BadVersion,
    /// Code 0.00, but a token or anything else behind the header.
    EmptyNot4Bytes,
    /// A token length of 9 to 15.
    TklReserved,
    /// The datagram ends inside the token.
    TokenTruncated,
    /// A payload marker, but no payload.
    MarkerWithoutPayload,
    /// The reserved value 15 for an option's delta, in a byte that is not the payload marker.
    DeltaNibble15,
    /// The reserved value 15 for an option's length.
    LengthNibble15,
    /// The datagram ends inside the head of an option.
    OptionExtTruncated,
    /// The datagram ends inside the value of an option.
    OptionValueTruncated,
    /// An option number above 65535.
    OptionNumberOverflow,
}

impl Malformed {
    /// A short name for logs and test vectors, such as `token_truncated`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShortHeader => "short_header",
            Self::BadVersion => "bad_version",
            Self::EmptyNot4Bytes => "empty_not_4_bytes",
            Self::TklReserved => "tkl_reserved",
            Self::TokenTruncated => "token_truncated",
            Self::MarkerWithoutPayload => "marker_without_payload",
            Self::DeltaNibble15 => "delta_nibble_15",
            Self::LengthNibble15 => "length_nibble_15",
            Self::OptionExtTruncated => "option_ext_truncated",
            Self::OptionValueTruncated => "option_value_truncated",
            Self::OptionNumberOverflow => "option_number_overflow",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShortHeader => "shorter than a header of four bytes",
            Self::BadVersion => "the version is not 1",
            Self::EmptyNot4Bytes => "an empty message has more than its header",
            Self::TklReserved => "the token length is over 8",
            Self::TokenTruncated => "the token is cut short",
            Self::MarkerWithoutPayload => "a payload marker without payload",
            Self::DeltaNibble15 => "an option delta has the reserved value 15",
            Self::LengthNibble15 => "an option length has the reserved value 15",
            Self::OptionExtTruncated => "the head of an option is cut short",
            Self::OptionValueTruncated => "the value of an option is cut short",
            Self::OptionNumberOverflow => "an option number is over 65535",
        })
    }
}

/// A message was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The buffer is smaller than [`Message::encoded_len`].
    BufferTooSmall {
        /// The bytes that the message has.
        needed: usize,
        /// The bytes that the buffer has.
        available: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferTooSmall { needed, available } => {
                write!(f, "the message has {needed} bytes, the buffer {available}")
            }
        }
    }
}

impl core::error::Error for EncodeError {}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
