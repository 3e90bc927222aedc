//! The registry of options: what each number is called, how its value is formed, how often it may occur.
//!
//! RFC 7252 §5.10, 7641 §2, 7959 §2.1 and §4, 7967 §2, 8613 §2, 8768 §3, 9175 §2.2 and §3.2, 9177 §4.1. To be in here
//! does not mean to be understood: which options an endpoint acts on is its own business.

use core::fmt;
use core::str::FromStr;

/// The number of an option. Three of its bits say what an endpoint that does not know it should do (RFC 7252 §5.4.6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OptionNumber(u16);

impl OptionNumber {
    /// 1: only if the resource has one of these entity tags; an empty one: only if it exists.
    pub const IF_MATCH: Self = Self(1);
    /// 3: the name of the host that is asked.
    pub const URI_HOST: Self = Self(3);
    /// 4: the version of the representation.
    pub const ETAG: Self = Self(4);
    /// 5: only if the resource does not exist.
    pub const IF_NONE_MATCH: Self = Self(5);
    /// 6: begin (0) or end (1) to observe; in a notification its place in the order.
    pub const OBSERVE: Self = Self(6);
    /// 7: the port that is asked.
    pub const URI_PORT: Self = Self(7);
    /// 8: a segment of the path of what was created.
    pub const LOCATION_PATH: Self = Self(8);
    /// 9: the message is protected by OSCORE.
    pub const OSCORE: Self = Self(9);
    /// 11: a segment of the path.
    pub const URI_PATH: Self = Self(11);
    /// 12: what the payload is.
    pub const CONTENT_FORMAT: Self = Self(12);
    /// 14: for how many seconds the response may be kept; 60 if absent.
    pub const MAX_AGE: Self = Self(14);
    /// 15: an argument of the query.
    pub const URI_QUERY: Self = Self(15);
    /// 16: how many proxies the request may still pass.
    pub const HOP_LIMIT: Self = Self(16);
    /// 17: the only content-format that is acceptable.
    pub const ACCEPT: Self = Self(17);
    /// 19: a block of the request, for networks that lose much.
    pub const Q_BLOCK1: Self = Self(19);
    /// 20: an argument of the query of what was created.
    pub const LOCATION_QUERY: Self = Self(20);
    /// 23: a block of the response.
    pub const BLOCK2: Self = Self(23);
    /// 27: a block of the request.
    pub const BLOCK1: Self = Self(27);
    /// 28: the size of the response body in bytes.
    pub const SIZE2: Self = Self(28);
    /// 31: a block of the response, for networks that lose much.
    pub const Q_BLOCK2: Self = Self(31);
    /// 35: the URI that a proxy is asked for.
    pub const PROXY_URI: Self = Self(35);
    /// 39: the scheme of the URI that a proxy is asked for.
    pub const PROXY_SCHEME: Self = Self(39);
    /// 60: the size of the request body in bytes.
    pub const SIZE1: Self = Self(60);
    /// 252: proof of freshness and of the client's address.
    pub const ECHO: Self = Self(252);
    /// 258: which classes of responses the client does not want.
    pub const NO_RESPONSE: Self = Self(258);
    /// 292: which blocks belong to one body.
    pub const REQUEST_TAG: Self = Self(292);

    /// The option of this number, known or not.
    #[inline]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    #[inline]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Odd: an endpoint that does not understand it must not go on (RFC 7252 §5.4.1).
    #[inline]
    pub const fn is_critical(self) -> bool {
        self.0 & 1 != 0
    }

    /// A proxy that does not understand it must not forward the message (RFC 7252 §5.4.2).
    #[inline]
    pub const fn is_unsafe(self) -> bool {
        self.0 & 2 != 0
    }

    /// Safe to forward, and requests that differ only in it share a cached response (RFC 7252 §5.4.2).
    #[inline]
    pub const fn is_no_cache_key(self) -> bool {
        self.0 & 0x1e == 0x1c
    }

    /// What the registry knows about it.
    #[inline]
    pub fn definition(self) -> Option<&'static OptionDefinition> {
        let slot = INDEX.get(usize::from(self.0))?;
        DEFINITIONS.get(usize::from(*slot))
    }
}

/// The registered name, or the number.
impl fmt::Display for OptionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.definition() {
            Some(definition) => f.write_str(definition.name),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for OptionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<u16> for OptionNumber {
    fn from(number: u16) -> Self {
        Self(number)
    }
}

/// A text is neither the name of a known option nor a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseOptionNumberError;

impl fmt::Display for ParseOptionNumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither an option number (0 to 65535) nor the name of a known option")
    }
}

impl core::error::Error for ParseOptionNumberError {}

/// A registered name in any case, or a number.
impl FromStr for OptionNumber {
    type Err = ParseOptionNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self).map_err(|_| ParseOptionNumberError);
        }
        let named = |definition: &&OptionDefinition| definition.name.eq_ignore_ascii_case(text);
        DEFINITIONS.iter().find(named).map(|definition| definition.number).ok_or(ParseOptionNumberError)
    }
}

/// How the value of an option is formed (RFC 7252 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// No bytes.
    Empty,
    /// Bytes without structure.
    Opaque,
    /// A number, big-endian, as short as possible.
    Uint,
    /// UTF-8.
    String,
}

/// What the registry says about an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionDefinition {
    /// Its number, which also says whether it is critical, unsafe and no cache key.
    pub number: OptionNumber,
    /// Its name.
    pub name: &'static str,
    /// How its value is formed.
    pub format: Format,
    /// The least number of bytes of a value.
    pub min_len: u16,
    /// The greatest number of bytes of a value.
    pub max_len: u16,
    /// Whether a message may carry it more than once.
    pub repeatable: bool,
    /// Whether it means something in a request.
    pub in_request: bool,
    /// Whether it means something in a response.
    pub in_response: bool,
}

impl OptionDefinition {
    /// Whether a value may have `len` bytes. An option with any other length counts as not understood
    /// (RFC 7252 §5.4.3).
    #[inline]
    pub const fn allows_len(&self, len: usize) -> bool {
        self.min_len as usize <= len && len <= self.max_len as usize
    }
}

/// All options that the registry knows, in the order of their numbers.
pub const fn option_definitions() -> &'static [OptionDefinition] {
    &DEFINITIONS
}

#[derive(Clone, Copy)]
enum Occurs {
    Once,
    Often,
}

#[derive(Clone, Copy)]
enum In {
    Request,
    Response,
    Both,
}

const fn define(
    number: OptionNumber,
    name: &'static str,
    format: Format,
    (min_len, max_len): (u16, u16),
    occurs: Occurs,
    place: In,
) -> OptionDefinition {
    OptionDefinition {
        number,
        name,
        format,
        min_len,
        max_len,
        repeatable: matches!(occurs, Occurs::Often),
        in_request: matches!(place, In::Request | In::Both),
        in_response: matches!(place, In::Response | In::Both),
    }
}

const COUNT: usize = 26;

// Constants rather than statics: where the number is known when the caller is compiled, so is the answer.
const DEFINITIONS: [OptionDefinition; COUNT] = {
    use Format::{Empty, Opaque, String, Uint};
    use In::{Both, Request, Response};
    use Occurs::{Often, Once};
    [
        define(OptionNumber::IF_MATCH, "If-Match", Opaque, (0, 8), Often, Request),
        define(OptionNumber::URI_HOST, "Uri-Host", String, (1, 255), Once, Request),
        define(OptionNumber::ETAG, "ETag", Opaque, (1, 8), Often, Both),
        define(OptionNumber::IF_NONE_MATCH, "If-None-Match", Empty, (0, 0), Once, Request),
        define(OptionNumber::OBSERVE, "Observe", Uint, (0, 3), Once, Both),
        define(OptionNumber::URI_PORT, "Uri-Port", Uint, (0, 2), Once, Request),
        define(OptionNumber::LOCATION_PATH, "Location-Path", String, (0, 255), Often, Response),
        define(OptionNumber::OSCORE, "OSCORE", Opaque, (0, 255), Once, Both),
        define(OptionNumber::URI_PATH, "Uri-Path", String, (0, 255), Often, Request),
        define(OptionNumber::CONTENT_FORMAT, "Content-Format", Uint, (0, 2), Once, Both),
        define(OptionNumber::MAX_AGE, "Max-Age", Uint, (0, 4), Once, Response),
        define(OptionNumber::URI_QUERY, "Uri-Query", String, (0, 255), Often, Request),
        define(OptionNumber::HOP_LIMIT, "Hop-Limit", Uint, (1, 1), Once, Request),
        define(OptionNumber::ACCEPT, "Accept", Uint, (0, 2), Once, Request),
        define(OptionNumber::Q_BLOCK1, "Q-Block1", Uint, (0, 3), Once, Both),
        define(OptionNumber::LOCATION_QUERY, "Location-Query", String, (0, 255), Often, Response),
        define(OptionNumber::BLOCK2, "Block2", Uint, (0, 3), Once, Both),
        define(OptionNumber::BLOCK1, "Block1", Uint, (0, 3), Once, Both),
        define(OptionNumber::SIZE2, "Size2", Uint, (0, 4), Once, Both),
        define(OptionNumber::Q_BLOCK2, "Q-Block2", Uint, (0, 3), Often, Both),
        define(OptionNumber::PROXY_URI, "Proxy-Uri", String, (1, 1034), Once, Request),
        define(OptionNumber::PROXY_SCHEME, "Proxy-Scheme", String, (1, 255), Once, Request),
        define(OptionNumber::SIZE1, "Size1", Uint, (0, 4), Once, Both),
        define(OptionNumber::ECHO, "Echo", Opaque, (1, 40), Once, Both),
        define(OptionNumber::NO_RESPONSE, "No-Response", Uint, (0, 1), Once, Request),
        define(OptionNumber::REQUEST_TAG, "Request-Tag", Opaque, (0, 8), Often, Request),
    ]
};

/// From number to place in `DEFINITIONS`; `COUNT` where there is none. The registry is asked for every option that is
/// set or checked, and this is one load.
const INDEX: [u8; 293] = {
    let mut index = [COUNT as u8; 293];
    let mut at = 0;
    while at < COUNT {
        index[DEFINITIONS[at].number.0 as usize] = at as u8;
        at += 1;
    }
    index
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_ascends_and_finds_each_of_its_own() {
        assert!(DEFINITIONS.is_sorted_by(|one, next| one.number < next.number));
        for definition in option_definitions() {
            assert_eq!(definition.number.definition(), Some(definition));
            assert!(definition.min_len <= definition.max_len);
        }
    }

    #[test]
    fn what_is_not_registered_has_no_definition() {
        let known = (0..=u16::MAX).filter(|number| OptionNumber::new(*number).definition().is_some()).count();
        assert_eq!(known, COUNT);
    }

    #[test]
    fn names_read_back_in_any_case_and_numbers_too() {
        for definition in option_definitions() {
            assert_eq!(definition.name.to_ascii_uppercase().parse(), Ok(definition.number));
            assert_eq!(definition.number.to_string(), definition.name);
        }
        assert_eq!("65001".parse(), Ok(OptionNumber::new(65_001)));
        assert_eq!(OptionNumber::new(65_001).to_string(), "65001");
        for wrong in ["", "65536", "-1", "Uri", "Uri-Path "] {
            assert_eq!(wrong.parse::<OptionNumber>(), Err(ParseOptionNumberError), "{wrong}");
        }
    }

    #[test]
    fn an_unsafe_option_is_always_part_of_the_cache_key() {
        assert!(OptionNumber::SIZE1.is_no_cache_key());
        assert!((0..=u16::MAX).map(OptionNumber::new).all(|number| !number.is_unsafe() || !number.is_no_cache_key()));
    }
}
