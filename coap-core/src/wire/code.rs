//! Codes: methods, responses and their names (RFC 7252 §12.1, RFC 7959, 8132, 8516, 8768).

use core::fmt;
use core::str::FromStr;

/// The code of a message: a class of three bits and a detail of five, written `c.dd` (RFC 7252 §3).
///
/// Every byte is a code; those that nobody registered are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u8);

impl Code {
    /// 0.00: a message without request or response (ping, acknowledgement, reset).
    pub const EMPTY: Self = Self::of(0, 0);

    /// 0.01: read a resource (RFC 7252 §5.8.1).
    pub const GET: Self = Self::of(0, 1);
    /// 0.02: have a representation processed (RFC 7252 §5.8.2).
    pub const POST: Self = Self::of(0, 2);
    /// 0.03: replace or create a resource (RFC 7252 §5.8.3).
    pub const PUT: Self = Self::of(0, 3);
    /// 0.04: delete a resource (RFC 7252 §5.8.4).
    pub const DELETE: Self = Self::of(0, 4);
    /// 0.05: read with a query in the body (RFC 8132 §2).
    pub const FETCH: Self = Self::of(0, 5);
    /// 0.06: change a part of a resource (RFC 8132 §3).
    pub const PATCH: Self = Self::of(0, 6);
    /// 0.07: change a part of a resource, with the same result if done twice (RFC 8132 §3).
    pub const IPATCH: Self = Self::of(0, 7);

    /// 2.01 (RFC 7252 §5.9.1.1).
    pub const CREATED: Self = Self::of(2, 1);
    /// 2.02 (RFC 7252 §5.9.1.2).
    pub const DELETED: Self = Self::of(2, 2);
    /// 2.03: the representation that an ETag of the request names is still good (RFC 7252 §5.9.1.3).
    pub const VALID: Self = Self::of(2, 3);
    /// 2.04 (RFC 7252 §5.9.1.4).
    pub const CHANGED: Self = Self::of(2, 4);
    /// 2.05 (RFC 7252 §5.9.1.5).
    pub const CONTENT: Self = Self::of(2, 5);
    /// 2.31: the next block, please (RFC 7959 §2.9.1).
    pub const CONTINUE: Self = Self::of(2, 31);

    /// 4.00 (RFC 7252 §5.9.2.1).
    pub const BAD_REQUEST: Self = Self::of(4, 0);
    /// 4.01 (RFC 7252 §5.9.2.2).
    pub const UNAUTHORIZED: Self = Self::of(4, 1);
    /// 4.02: a critical option was not understood (RFC 7252 §5.9.2.3).
    pub const BAD_OPTION: Self = Self::of(4, 2);
    /// 4.03 (RFC 7252 §5.9.2.4).
    pub const FORBIDDEN: Self = Self::of(4, 3);
    /// 4.04 (RFC 7252 §5.9.2.5).
    pub const NOT_FOUND: Self = Self::of(4, 4);
    /// 4.05 (RFC 7252 §5.9.2.6).
    pub const METHOD_NOT_ALLOWED: Self = Self::of(4, 5);
    /// 4.06: no representation in the format of Accept (RFC 7252 §5.9.2.7).
    pub const NOT_ACCEPTABLE: Self = Self::of(4, 6);
    /// 4.08: blocks are missing (RFC 7959 §2.9.2).
    pub const REQUEST_ENTITY_INCOMPLETE: Self = Self::of(4, 8);
    /// 4.09 (RFC 8132 §3.4).
    pub const CONFLICT: Self = Self::of(4, 9);
    /// 4.12: If-Match or If-None-Match did not hold (RFC 7252 §5.9.2.8).
    pub const PRECONDITION_FAILED: Self = Self::of(4, 12);
    /// 4.13 (RFC 7252 §5.9.2.9, RFC 7959 §2.9.3).
    pub const REQUEST_ENTITY_TOO_LARGE: Self = Self::of(4, 13);
    /// 4.15 (RFC 7252 §5.9.2.10).
    pub const UNSUPPORTED_CONTENT_FORMAT: Self = Self::of(4, 15);
    /// 4.22 (RFC 8132 §3.4).
    pub const UNPROCESSABLE_ENTITY: Self = Self::of(4, 22);
    /// 4.29: ask again after Max-Age seconds (RFC 8516).
    pub const TOO_MANY_REQUESTS: Self = Self::of(4, 29);

    /// 5.00 (RFC 7252 §5.9.3.1).
    pub const INTERNAL_SERVER_ERROR: Self = Self::of(5, 0);
    /// 5.01 (RFC 7252 §5.9.3.2).
    pub const NOT_IMPLEMENTED: Self = Self::of(5, 1);
    /// 5.02 (RFC 7252 §5.9.3.3).
    pub const BAD_GATEWAY: Self = Self::of(5, 2);
    /// 5.03: ask again after Max-Age seconds (RFC 7252 §5.9.3.4).
    pub const SERVICE_UNAVAILABLE: Self = Self::of(5, 3);
    /// 5.04 (RFC 7252 §5.9.3.5).
    pub const GATEWAY_TIMEOUT: Self = Self::of(5, 4);
    /// 5.05 (RFC 7252 §5.9.3.6).
    pub const PROXYING_NOT_SUPPORTED: Self = Self::of(5, 5);
    /// 5.08: the request went in circles (RFC 8768 §5).
    pub const HOP_LIMIT_REACHED: Self = Self::of(5, 8);

    const fn of(class: u8, detail: u8) -> Self {
        Self(class << 5 | detail)
    }

    /// The code `class.detail`; `None` if `class` is over 7 or `detail` over 31.
    pub const fn new(class: u8, detail: u8) -> Option<Self> {
        if class <= 7 && detail <= 31 { Some(Self::of(class, detail)) } else { None }
    }

    /// The code in this byte of a message.
    #[inline]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// Its byte in a message.
    #[inline]
    pub const fn to_byte(self) -> u8 {
        self.0
    }

    /// The digit before the point, 0 to 7.
    #[inline]
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// The two digits after the point, 0 to 31.
    #[inline]
    pub const fn detail(self) -> u8 {
        self.0 & 0b1_1111
    }

    /// The registered name, such as `GET` or `Not Found`.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::EMPTY => "Empty",
            Self::GET => "GET",
            Self::POST => "POST",
            Self::PUT => "PUT",
            Self::DELETE => "DELETE",
            Self::FETCH => "FETCH",
            Self::PATCH => "PATCH",
            Self::IPATCH => "iPATCH",
            Self::CREATED => "Created",
            Self::DELETED => "Deleted",
            Self::VALID => "Valid",
            Self::CHANGED => "Changed",
            Self::CONTENT => "Content",
            Self::CONTINUE => "Continue",
            Self::BAD_REQUEST => "Bad Request",
            Self::UNAUTHORIZED => "Unauthorized",
            Self::BAD_OPTION => "Bad Option",
            Self::FORBIDDEN => "Forbidden",
            Self::NOT_FOUND => "Not Found",
            Self::METHOD_NOT_ALLOWED => "Method Not Allowed",
            Self::NOT_ACCEPTABLE => "Not Acceptable",
            Self::REQUEST_ENTITY_INCOMPLETE => "Request Entity Incomplete",
            Self::CONFLICT => "Conflict",
            Self::PRECONDITION_FAILED => "Precondition Failed",
            Self::REQUEST_ENTITY_TOO_LARGE => "Request Entity Too Large",
            Self::UNSUPPORTED_CONTENT_FORMAT => "Unsupported Content-Format",
            Self::UNPROCESSABLE_ENTITY => "Unprocessable Entity",
            Self::TOO_MANY_REQUESTS => "Too Many Requests",
            Self::INTERNAL_SERVER_ERROR => "Internal Server Error",
            Self::NOT_IMPLEMENTED => "Not Implemented",
            Self::BAD_GATEWAY => "Bad Gateway",
            Self::SERVICE_UNAVAILABLE => "Service Unavailable",
            Self::GATEWAY_TIMEOUT => "Gateway Timeout",
            Self::PROXYING_NOT_SUPPORTED => "Proxying Not Supported",
            Self::HOP_LIMIT_REACHED => "Hop Limit Reached",
            _ => return None,
        })
    }

    /// True for 0.00.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Class 0 but not 0.00: a method, known or not.
    #[inline]
    pub const fn is_request(self) -> bool {
        self.class() == 0 && !self.is_empty()
    }

    /// Class 2, 4 or 5. The others are reserved: neither request nor response (RFC 7252 §3). Of those, 1, 6 and 7 are to
    /// be rejected (§4.2); 3 is left to responses of the future (§12.1.2).
    #[inline]
    pub const fn is_response(self) -> bool {
        self.is_success() || self.is_error()
    }

    /// Class 2.
    #[inline]
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }

    /// Class 4: the client erred.
    #[inline]
    pub const fn is_client_error(self) -> bool {
        self.class() == 4
    }

    /// Class 5: the server failed.
    #[inline]
    pub const fn is_server_error(self) -> bool {
        self.class() == 5
    }

    /// Class 4 or 5.
    #[inline]
    pub const fn is_error(self) -> bool {
        self.is_client_error() || self.is_server_error()
    }

    /// GET and FETCH: they only read (RFC 7252 §5.1, RFC 8132 §2).
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::GET | Self::FETCH)
    }

    /// GET, FETCH, PUT, DELETE and iPATCH: done twice is as good as once (RFC 7252 §5.1, RFC 8132 §3).
    pub const fn is_idempotent(self) -> bool {
        matches!(self, Self::GET | Self::FETCH | Self::PUT | Self::DELETE | Self::IPATCH)
    }

    /// Whether a client that sent No-Response with the value `no_response` does not want to hear this response
    /// (RFC 7967 §2.1): bits 2, 8 and 16 stand for classes 2, 4 and 5, the others have no meaning.
    ///
    /// ```
    /// # use coap_core::Code;
    /// assert!(Code::NOT_FOUND.suppressed_by(26));
    /// assert!(!Code::CONTENT.suppressed_by(8));
    /// ```
    pub const fn suppressed_by(self, no_response: u8) -> bool {
        self.is_response() && no_response >> (self.class() - 1) & 1 == 1
    }

    /// The digits alone: `2.05`, `0.01`.
    pub fn dotted(self) -> impl fmt::Display + fmt::Debug {
        Dotted(self)
    }
}

struct Dotted(Code);

impl fmt::Display for Dotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0.class(), self.0.detail())
    }
}

impl fmt::Debug for Dotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A method by its name, any other code by its digits and name: `GET`, `2.05 Content`, `0.09`, `2.17`.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(method) if self.is_request() => f.write_str(method),
            Some(name) => write!(f, "{} {name}", self.dotted()),
            None => self.dotted().fmt(f),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is neither `c.dd` nor the name of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseCodeError;

impl fmt::Display for ParseCodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither a code like 2.05 nor a method like GET")
    }
}

impl core::error::Error for ParseCodeError {}

/// `2.05`, with class 0 to 7 and two digits 00 to 31, or the name of a method in any case.
impl FromStr for Code {
    type Err = ParseCodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let &[class @ b'0'..=b'7', b'.', tens @ b'0'..=b'3', ones @ b'0'..=b'9'] = text.as_bytes() {
            return Self::new(class - b'0', (tens - b'0') * 10 + (ones - b'0')).ok_or(ParseCodeError);
        }
        let named = |code: &Self| code.name().is_some_and(|name| name.eq_ignore_ascii_case(text));
        (1..32).map(Self).find(named).ok_or(ParseCodeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_code_that_reads_back_from_its_digits() {
        for byte in 0..=255 {
            let code = Code::from_byte(byte);
            assert_eq!(code.to_byte(), byte);
            assert_eq!(Code::new(code.class(), code.detail()), Some(code));
            assert_eq!(code.dotted().to_string().parse(), Ok(code));
        }
        assert_eq!((Code::new(8, 0), Code::new(0, 32)), (None, None));
    }

    #[test]
    fn a_code_is_shown_as_people_write_it() {
        let shown = [Code::GET, Code::IPATCH, Code::CONTENT, Code::from_byte(0x51), Code::from_byte(9), Code::EMPTY];
        assert_eq!(shown.map(|code| code.to_string()), ["GET", "iPATCH", "2.05 Content", "2.17", "0.09", "0.00 Empty"]);
    }

    #[test]
    fn a_method_is_read_in_any_case_and_nothing_else_is() {
        assert_eq!(("get".parse(), "IPATCH".parse()), (Ok(Code::GET), Ok(Code::IPATCH)));
        for wrong in ["", "2.5", "2.32", "8.00", "2.005", "+.05", "Content", "gett", "２.05"] {
            assert_eq!(wrong.parse::<Code>(), Err(ParseCodeError), "{wrong}");
        }
    }

    #[test]
    fn the_reserved_classes_are_neither_request_nor_response() {
        for class in [1, 3, 6, 7] {
            let code = Code::new(class, 1).unwrap();
            assert!(!code.is_request() && !code.is_response() && !code.is_empty());
        }
        assert!(!Code::EMPTY.is_request());
    }

    #[test]
    fn no_response_hides_the_classes_of_its_bits_and_never_a_request() {
        let hidden = |mask| [Code::CONTENT, Code::NOT_FOUND, Code::BAD_GATEWAY].map(|code| code.suppressed_by(mask));
        assert_eq!(hidden(0), [false; 3]);
        assert_eq!(hidden(2), [true, false, false]);
        assert_eq!(hidden(24), [false, true, true]);
        assert_eq!(hidden(0b1110_0101), [false; 3]);
        assert!(!Code::GET.suppressed_by(255) && !Code::EMPTY.suppressed_by(255));
    }
}
