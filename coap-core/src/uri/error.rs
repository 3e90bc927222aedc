//! What can be wrong with a URI, in a word for programs and in a line for people.

use alloc::string::String;
use core::fmt;

/// The part of a URI that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// What stands before the first colon.
    Scheme,
    /// What stands before an `@` in front of the host.
    UserInfo,
    /// The name or address.
    Host,
    /// What follows the `%` in an IPv6 address.
    Zone,
    /// The port number.
    Port,
    /// The segments between slashes.
    Path,
    /// What follows the `?`.
    Query,
    /// What follows the `#`.
    Fragment,
}

impl Part {
    /// As a person calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheme => "scheme",
            Self::UserInfo => "user name",
            Self::Host => "host",
            Self::Zone => "zone",
            Self::Port => "port",
            Self::Path => "path",
            Self::Query => "query",
            Self::Fragment => "fragment",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The rule that a URI breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It does not begin with a scheme (RFC 7252 §6.4 step 1).
    NotAbsolute,
    /// The scheme is neither `coap` nor `coaps` (step 3).
    Scheme,
    /// No `//` follows the scheme (RFC 7252 §6.1).
    NoAuthority,
    /// There is no host; it must not be empty (RFC 7252 §6.1).
    EmptyHost,
    /// There is a user name, which RFC 7252 §6.1 has no place for.
    UserInfo,
    /// The `[` of an address has no `]`.
    Unclosed,
    /// Something other than a port or path follows the `]` of an address.
    AfterBracket,
    /// An IPv6 address stands without its brackets.
    Unbracketed,
    /// What stands in brackets is not an IPv6 address (RFC 3986 §3.2.2).
    IpLiteral,
    /// A `%` in an address is followed by no zone (RFC 6874 §2).
    EmptyZone,
    /// The port is not made of decimal digits.
    PortNotNumber,
    /// The port is over 65535.
    PortRange,
    /// A character that must be percent-encoded there is not.
    IllegalChar,
    /// A character outside of ASCII: it is an IRI, not a URI.
    NonAscii,
    /// A `%` is not followed by two hexadecimal digits.
    BadPercent,
    /// The decoded bytes are not UTF-8, as the options of strings must be (RFC 7252 §3.2).
    NotUtf8,
    /// A segment that is `.` or `..` once it is decoded: no Uri-Path option may hold it (RFC 7252 §5.10.1).
    EncodedDotSegment,
    /// A value of over 255 bytes, decoded: no option can hold it (RFC 7252 §5.10).
    TooLong,
    /// There is a fragment (RFC 7252 §6.4 step 4).
    Fragment,
}

impl Reason {
    /// A word for programs: it stays as it is from version to version. Some reasons share one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAbsolute => "not_absolute",
            Self::Scheme => "scheme",
            Self::NoAuthority => "no_authority",
            Self::EmptyHost => "empty_host",
            Self::UserInfo => "userinfo",
            Self::Unclosed | Self::AfterBracket | Self::Unbracketed | Self::PortNotNumber => "authority",
            Self::IpLiteral | Self::EmptyZone => "ip_literal",
            Self::PortRange => "port_range",
            Self::IllegalChar => "illegal_char",
            Self::NonAscii => "non_ascii",
            Self::BadPercent => "bad_percent",
            Self::NotUtf8 => "not_utf8",
            Self::EncodedDotSegment => "encoded_dot_segment",
            Self::TooLong => "too_long",
            Self::Fragment => "fragment",
        }
    }

    /// Ends the sentence that begins with the part and the URI.
    const fn rule(self) -> &'static str {
        match self {
            Self::NotAbsolute => "is missing: a URI begins with coap:// or coaps://",
            Self::Scheme => "is neither coap nor coaps",
            Self::NoAuthority => "is missing: // and a host must follow the scheme",
            Self::EmptyHost => "is missing",
            Self::UserInfo => "must go: a CoAP URI has none",
            Self::Unclosed => "begins with [ but does not end with ]",
            Self::AfterBracket => "goes on after the ], where only a port or a path can follow",
            Self::Unbracketed => "is an IPv6 address and must stand in [brackets]",
            Self::IpLiteral => "stands in brackets but is not an IPv6 address",
            Self::EmptyZone => "is missing after the %",
            Self::PortNotNumber => "is not a decimal number",
            Self::PortRange => "is over 65535",
            Self::IllegalChar => "has a character that must be percent-encoded",
            Self::NonAscii => "has a character outside of ASCII that must be percent-encoded",
            Self::BadPercent => "has a % that two hexadecimal digits do not follow",
            Self::NotUtf8 => "is not UTF-8",
            Self::EncodedDotSegment => "has a percent-encoded dot segment",
            Self::TooLong => "has a value of more than 255 bytes",
            Self::Fragment => "must go: a request cannot carry it",
        }
    }
}

/// A part of a URI, or of the options of a request, and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriError {
    fault: Fault,
    subject: Subject,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Uri(String),
    Options,
}

impl UriError {
    /// Which part is wrong.
    pub const fn part(&self) -> Part {
        self.fault.0
    }

    /// Which rule it breaks.
    pub const fn reason(&self) -> Reason {
        self.fault.1
    }

    /// The word for the reason, as in [`Reason::name`].
    pub const fn name(&self) -> &'static str {
        self.fault.1.name()
    }
}

impl fmt::Display for UriError {
    /// One line, whatever was in the text: control characters are escaped, and of a long text only the start is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault(part, reason) = self.fault;
        match (&self.subject, reason) {
            (Subject::Uri(text), _) if text.is_empty() => f.write_str("it is empty"),
            (Subject::Uri(text), _) => write!(f, "the {part} in `{text}` {}", reason.rule()),
            (Subject::Options, Reason::EncodedDotSegment) => write!(f, "the {part} in the options has a dot segment"),
            (Subject::Options, _) => write!(f, "the {part} in the options {}", reason.rule()),
        }
    }
}

impl core::error::Error for UriError {}

/// What a reader found, before the text around it is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) Part, pub(super) Reason);

impl Fault {
    pub(super) fn in_uri(self, text: &str) -> UriError {
        UriError { fault: self, subject: Subject::Uri(excerpt(text)) }
    }

    pub(super) const fn in_options(self) -> UriError {
        UriError { fault: self, subject: Subject::Options }
    }
}

/// How much of a URI an error shows, in characters.
const EXCERPT: usize = 120;

fn excerpt(text: &str) -> String {
    let mut shown = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == EXCERPT {
            shown.push('…');
            break;
        }
        match character {
            '\'' | '"' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::super::Uri;

    #[test]
    fn an_error_is_one_line_that_names_the_part_and_the_rule() {
        for (text, line) in [
            ("coap://h:99999/", "the port in `coap://h:99999/` is over 65535"),
            ("/hello", "the scheme in `/hello` is missing: a URI begins with coap:// or coaps://"),
            ("http://h/", "the scheme in `http://h/` is neither coap nor coaps"),
            ("coap://::1/", "the host in `coap://::1/` is an IPv6 address and must stand in [brackets]"),
            ("coap://h/a\r\nb", "the path in `coap://h/a\\r\\nb` has a character that must be percent-encoded"),
            ("coap://h/#x", "the fragment in `coap://h/#x` must go: a request cannot carry it"),
        ] {
            assert_eq!(Uri::parse(text).unwrap_err().to_string(), line);
        }
    }

    #[test]
    fn an_error_does_not_repeat_a_long_text() {
        let error = Uri::parse(&format!("coap://h/{}", "\u{1b}".repeat(100_000))).unwrap_err();
        assert!(error.to_string().len() < 1_000);
        assert!(!error.to_string().contains('\u{1b}'));
    }
}
