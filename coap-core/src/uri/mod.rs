//! CoAP URIs: from text to the options of a request and back (RFC 7252 §6).
//!
//! [`Uri::parse`] is the strict way of RFC 7252 §6.4, [`Uri::from_input`] the forgiving one for what people type.
//! [`Uri::options`] has the options that a request for the URI carries, [`Uri::from_options`] is the way back of
//! RFC 7252 §6.5, and `Display` writes the URI in its normal form.
//!
//! ```
//! use coap_core::{OptionNumber, Uri};
//!
//! let uri = Uri::parse("COAP://Example.net:5683/a/../%7Esensors/temp?unit=%C2%B0C").unwrap();
//! assert_eq!(uri.port(), 5683);
//! assert_eq!(uri.path(), ["~sensors", "temp"]);
//! assert_eq!(uri.to_string(), "coap://example.net/~sensors/temp?unit=%C2%B0C");
//!
//! let options = uri.options();
//! assert_eq!(options.get_str(OptionNumber::URI_HOST), Some("example.net"));
//! assert_eq!(options.get_all(OptionNumber::URI_PATH).count(), 2);
//!
//! let destination = "[2001:db8::1]:5683".parse().unwrap();
//! assert_eq!(Uri::from_options(uri.scheme(), destination, &options), Ok(uri));
//!
//! let error = Uri::parse("coap://h:99999/").unwrap_err();
//! assert_eq!(error.to_string(), "the port in `coap://h:99999/` is over 65535");
//! assert_eq!(error.name(), "port_range");
//!
//! assert_eq!(Uri::from_input("::1/a b").unwrap().to_string(), "coap://[::1]/a%20b");
//! ```

mod error;
mod input;
mod join;
mod options;
mod parse;
pub(crate) mod syntax;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

pub use error::{Part, Reason, UriError};

use syntax::Encoded;

/// The scheme of a [`Uri`]: what carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// Plain UDP (RFC 7252 §6.1).
    Coap,
    /// DTLS over UDP (RFC 7252 §6.2).
    Coaps,
}

impl Scheme {
    /// The port of a URI that names none: 5683, or 5684 with DTLS.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Coap => 5683,
            Self::Coaps => 5684,
        }
    }

    /// In lower case, without the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coap => "coap",
            Self::Coaps => "coaps",
        }
    }

    fn named(text: &str) -> Option<Self> {
        [Self::Coap, Self::Coaps].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The host of a [`Uri`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address, as it was written: an IPv4-mapped one stays IPv6.
    Ipv6 {
        /// The address.
        addr: Ipv6Addr,
        /// The interface that the address belongs to, by its name or number; never empty (RFC 4007 §11, RFC 6874).
        zone: Option<String>,
    },
    /// A name to look up: 1 to 255 bytes, percent-decoded, in lower case but for letters that were percent-encoded
    /// (RFC 7252 §6.4 step 5 folds case before it decodes). It may hold any character.
    Name(String),
}

impl fmt::Display for Host {
    /// As in a URI: an IPv6 address in brackets and in the form of RFC 5952, the zone after `%25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(addr) => addr.fmt(f),
            Self::Ipv6 { addr, zone: None } => write!(f, "[{addr}]"),
            Self::Ipv6 { addr, zone: Some(zone) } => {
                write!(f, "[{addr}%25{}]", Encoded { text: zone, plain: syntax::unreserved })
            }
            Self::Name(name) => Encoded { text: name, plain: syntax::reg_name }.fmt(f),
        }
    }
}

/// An absolute `coap` or `coaps` URI, taken apart.
///
/// Whatever it holds fits into the options of a request. Two are equal if they ask the same server for the same
/// resource in the same words; neither a percent-encoding that was not needed nor a default port makes a difference.
///
/// `Display` writes what [`Uri::parse`] reads: the default port left out, addresses in the form of RFC 5952, escapes
/// only where needed and in upper case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Uri {
    scheme: Scheme,
    host: Host,
    port: u16,
    /// Never one empty segment alone: in a URI that cannot be told from no path.
    path: Vec<String>,
    query: Vec<String>,
}

impl Uri {
    /// Reads an absolute URI by the steps of RFC 7252 §6.4, strictly.
    ///
    /// Dot segments are resolved. Percent-encoded ones (`%2e%2e`) are refused: RFC 3986 takes them for dot segments,
    /// and a Uri-Path option must not hold one. A zone may follow an IPv6 address after `%25` (RFC 6874) or a bare `%`.
    ///
    /// # Errors
    ///
    /// Says which part breaks which rule: [`UriError::part`], [`UriError::reason`].
    pub fn parse(text: &str) -> Result<Self, UriError> {
        parse::absolute(text).map_err(|fault| fault.in_uri(text))
    }

    /// Reads what a person types where a URI is wanted: a scheme that is missing is `coap`, an IPv6 address needs no
    /// brackets if no port follows, space around it is dropped, and in path and query a character that a URI cannot
    /// hold is percent-encoded, as is a `%` that begins no escape.
    ///
    /// ```
    /// # use coap_core::Uri;
    /// for (typed, meant) in [
    ///     ("localhost:5700/time", "coap://localhost:5700/time"),
    ///     ("fe80::1%eth0", "coap://[fe80::1%25eth0]/"),
    ///     ("host/blåbær 100%", "coap://host/bl%C3%A5b%C3%A6r%20100%25"),
    /// ] {
    ///     assert_eq!(Uri::from_input(typed).unwrap().to_string(), meant);
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Uri::parse`]: another scheme, no host, a fragment and a dot segment in disguise remain errors.
    pub fn from_input(input: &str) -> Result<Self, UriError> {
        input::complete(input).and_then(|text| parse::absolute(&text)).map_err(|fault| fault.in_uri(input))
    }

    /// The scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host: an address, or a name to look up.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The address, if the host is one.
    pub const fn ip(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Ipv4(addr) => Some(IpAddr::V4(*addr)),
            Host::Ipv6 { addr, .. } => Some(IpAddr::V6(*addr)),
            Host::Name(_) => None,
        }
    }

    /// The zone of an IPv6 address: name or number of an interface of this machine.
    pub fn zone(&self) -> Option<&str> {
        match &self.host {
            Host::Ipv6 { zone, .. } => zone.as_deref(),
            Host::Ipv4(_) | Host::Name(_) => None,
        }
    }

    /// The port, the scheme's default if the URI has none. It may be 0, which is a URI, but nobody can be reached there.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The segments of the path, each decoded and of up to 255 bytes, none `.` or `..`. The root has none; `/a/` has
    /// `a` and an empty one.
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// The arguments of the query, each decoded and of up to 255 bytes: none without a query, one empty for a bare `?`.
    pub fn query(&self) -> &[String] {
        &self.query
    }
}

impl fmt::Display for Uri {
    /// RFC 7252 §6.5.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        if self.path.is_empty() {
            f.write_str("/")?;
        }
        for text in &self.path {
            write!(f, "/{}", Encoded { text, plain: syntax::pchar })?;
        }
        for (index, text) in self.query.iter().enumerate() {
            let before = if index == 0 { '?' } else { '&' };
            write!(f, "{before}{}", Encoded { text, plain: syntax::query_argument })?;
        }
        Ok(())
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for Uri {
    type Error = UriError;

    fn try_from(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

/// What the `url` crate lets through and RFC 3986 does not, such as `|` in a path, is percent-encoded first.
#[cfg(feature = "url")]
impl TryFrom<&url::Url> for Uri {
    type Error = UriError;

    fn try_from(url: &url::Url) -> Result<Self, UriError> {
        let (before, resource) = (&url[..url::Position::BeforePath], &url[url::Position::BeforePath..]);
        let text = alloc::format!("{before}{}", input::encode_illegal(resource));
        parse::absolute(&text).map_err(|fault| fault.in_uri(url.as_str()))
    }
}

#[cfg(all(test, feature = "url"))]
mod url_tests {
    use alloc::string::ToString;

    use super::Uri;

    #[test]
    fn what_the_url_crate_parses_converts() {
        for (text, uri) in [
            ("coap://Example.NET:5683/a/../b?c", "coap://example.net/b?c"),
            ("coap://[::1]:9/a|b/%7e c", "coap://[::1]:9/a%7Cb/~%20c"),
            ("coap://h/a%", "coap://h/a%25"),
            ("coaps://h", "coaps://h/"),
        ] {
            let url = url::Url::parse(text).unwrap();
            assert_eq!(Uri::try_from(&url).unwrap().to_string(), uri);
        }
        for (text, name) in [("http://h/", "scheme"), ("coap:x", "no_authority"), ("coap://h/#x", "fragment")] {
            let url = url::Url::parse(text).unwrap();
            assert_eq!(Uri::try_from(&url).unwrap_err().name(), name);
        }
    }
}
