//! From a URI to the options of a request (RFC 7252 §6.4) and back (§6.5).

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::error::Fault;
use super::syntax::{Encoded, MAX_VALUE};
use super::{Host, Part, Reason, Scheme, Uri, UriError, parse};
use crate::{OptionNumber, Options};

impl Uri {
    /// The options that a request to this URI carries: Uri-Host if the host is a name, a Uri-Path for each segment, a
    /// Uri-Query for each argument. No Uri-Port: the request goes to the port of the URI, whose number it would repeat.
    pub fn options(&self) -> Options {
        let mut options = Options::new();
        let mut push = |number, value: &str| {
            // No URI holds a value that its option cannot: of 1 to 255 bytes the host, of up to 255 all others.
            let pushed = options.push(number, value.as_bytes());
            debug_assert!(pushed.is_ok(), "{number} of {} bytes", value.len());
        };
        if let Host::Name(name) = &self.host {
            push(OptionNumber::URI_HOST, name);
        }
        for segment in &self.path {
            push(OptionNumber::URI_PATH, segment);
        }
        for argument in &self.query {
            push(OptionNumber::URI_QUERY, argument);
        }
        options
    }

    /// The URI that a request for `options` to `destination` asks for, by the steps of RFC 7252 §6.5.
    ///
    /// Host and port are those of `destination` unless Uri-Host and Uri-Port say otherwise. One empty Uri-Path alone
    /// is the root, as it is in the URI. Proxy-Uri and Proxy-Scheme are not looked at.
    ///
    /// # Errors
    ///
    /// A Uri-Host that is no host of a URI, a Uri-Port over 65535, a dot segment, and a value that is too long or not
    /// UTF-8.
    pub fn from_options(scheme: Scheme, destination: SocketAddr, options: &Options) -> Result<Self, UriError> {
        compose(scheme, destination, options).map_err(Fault::in_options)
    }
}

fn compose(scheme: Scheme, destination: SocketAddr, options: &Options) -> Result<Uri, Fault> {
    let host = match options.get(OptionNumber::URI_HOST) {
        Some(value) => stated_host(value)?,
        None => address(destination),
    };
    let port = match options.get(OptionNumber::URI_PORT) {
        Some(value) => stated_port(value)?,
        None => destination.port(),
    };
    let mut path = values(options, OptionNumber::URI_PATH, Part::Path)?;
    if path.iter().any(|segment| parse::is_dot_segment(segment)) {
        return Err(Fault(Part::Path, Reason::EncodedDotSegment));
    }
    if parse::is_root(&path) {
        path.clear();
    }
    let query = values(options, OptionNumber::URI_QUERY, Part::Query)?;
    Ok(Uri { scheme, host, port, path, query })
}

fn address(destination: SocketAddr) -> Host {
    match destination {
        SocketAddr::V4(v4) => Host::Ipv4(*v4.ip()),
        SocketAddr::V6(v6) => {
            let zone = (v6.scope_id() != 0).then(|| v6.scope_id().to_string());
            Host::Ipv6 { addr: *v6.ip(), zone }
        }
    }
}

/// Step 3: what is not ASCII is percent-encoded, and the outcome must be the host of a URI as it stands, its escapes
/// included. So neither a space nor a lone `%` passes, although a URI can have both in its host, encoded.
fn stated_host(value: &[u8]) -> Result<Host, Fault> {
    let fault = |reason| Fault(Part::Host, reason);
    if value.is_empty() {
        return Err(fault(Reason::EmptyHost));
    }
    let value = text(value).map_err(fault)?;
    match value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => parse::parse_ipv6(literal),
        None => parse::name(&Encoded { text: value, plain: |byte| byte.is_ascii() }.to_string()).map_err(fault),
    }
}

/// Big-endian, with any number of zeros in front (RFC 7252 §3.2).
fn stated_port(value: &[u8]) -> Result<u16, Fault> {
    let port = value.iter().fold(0, |port: u32, byte| port.saturating_mul(256).saturating_add(u32::from(*byte)));
    u16::try_from(port).map_err(|_| Fault(Part::Port, Reason::PortRange))
}

fn values(options: &Options, number: OptionNumber, part: Part) -> Result<Vec<String>, Fault> {
    options.get_all(number).map(|value| text(value).map(str::to_owned).map_err(|reason| Fault(part, reason))).collect()
}

fn text(value: &[u8]) -> Result<&str, Reason> {
    if value.len() > MAX_VALUE {
        return Err(Reason::TooLong);
    }
    core::str::from_utf8(value).map_err(|_| Reason::NotUtf8)
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::net::{IpAddr, Ipv4Addr};

    use super::*;

    const TO: &str = "[2001:db8::2:1]:5683";

    fn options(list: &[(OptionNumber, &[u8])]) -> Options {
        let mut options = Options::new();
        for (number, value) in list {
            options.push_raw(*number, value).unwrap();
        }
        options
    }

    fn compose(list: &[(OptionNumber, &[u8])]) -> Result<String, UriError> {
        let uri = Uri::from_options(Scheme::Coap, TO.parse().unwrap(), &options(list))?;
        Ok(uri.to_string())
    }

    fn refusal(number: OptionNumber, value: &[u8]) -> (Part, &'static str) {
        let error = compose(&[(number, value)]).unwrap_err();
        (error.part(), error.name())
    }

    #[test]
    fn a_name_is_sent_as_uri_host_and_an_address_is_not() {
        let parse = |text| Uri::parse(text).unwrap().options();
        assert_eq!(
            parse("coap://H:9/a/?b"),
            options(&[
                (OptionNumber::URI_HOST, b"h"),
                (OptionNumber::URI_PATH, b"a"),
                (OptionNumber::URI_PATH, b""),
                (OptionNumber::URI_QUERY, b"b"),
            ])
        );
        for address in ["coap://192.0.2.1:9", "coap://[2001:db8::1]", "coap://[fe80::1%25eth0]/"] {
            assert!(parse(address).is_empty(), "{address}");
        }
    }

    #[test]
    fn without_options_the_uri_is_the_destination() {
        for (scheme, to, uri) in [
            (Scheme::Coap, TO, "coap://[2001:db8::2:1]/"),
            (Scheme::Coaps, TO, "coaps://[2001:db8::2:1]:5683/"),
            (Scheme::Coaps, "192.0.2.1:5684", "coaps://192.0.2.1/"),
            (Scheme::Coap, "[fe80::1%3]:9", "coap://[fe80::1%253]:9/"),
        ] {
            assert_eq!(Uri::from_options(scheme, to.parse().unwrap(), &Options::new()).unwrap().to_string(), uri);
        }
    }

    #[test]
    fn uri_host_is_taken_as_it_would_stand_in_a_uri() {
        for (value, host) in [
            ("h", "h"),
            ("MiXed.Example", "MiXed.Example"),
            ("b\u{fc}cher.example", "b%C3%BCcher.example"),
            ("a%20b", "a%20b"),
            ("192.0.2.7", "192.0.2.7"),
            ("[2001:DB8:0::7]", "[2001:db8::7]"),
        ] {
            let composed = compose(&[(OptionNumber::URI_HOST, value.as_bytes())]).unwrap();
            assert_eq!(composed, alloc::format!("coap://{host}/"));
        }
        for (value, name) in [
            (&b""[..], "empty_host"),
            (b"a b", "illegal_char"),
            (b"a/b", "illegal_char"),
            (b"h:1", "illegal_char"),
            (b"a@b", "illegal_char"),
            (b"100%", "bad_percent"),
            (b"2001:db8::7", "illegal_char"),
            (b"[2001:db8::7", "illegal_char"),
            (b"[h]", "ip_literal"),
            (b"\xff", "not_utf8"),
            (&[b'h'; 256], "too_long"),
        ] {
            assert_eq!(refusal(OptionNumber::URI_HOST, value), (Part::Host, name), "{value:?}");
        }
    }

    #[test]
    fn uri_port_is_a_number_up_to_65535() {
        for (value, port) in
            [(&b""[..], ":0"), (b"\x16\x33", ""), (b"\0\0\0\x16\x34", ":5684"), (b"\xff\xff", ":65535")]
        {
            let composed = compose(&[(OptionNumber::URI_PORT, value)]).unwrap();
            assert_eq!(composed, alloc::format!("coap://[2001:db8::2:1]{port}/"));
        }
        assert_eq!(refusal(OptionNumber::URI_PORT, b"\x01\0\0"), (Part::Port, "port_range"));
        assert_eq!(refusal(OptionNumber::URI_PORT, &[0xff; 200]), (Part::Port, "port_range"));
    }

    #[test]
    fn what_separates_is_escaped_in_values() {
        let path = [(OptionNumber::URI_PATH, &b"a/b?c#d%&"[..]), (OptionNumber::URI_QUERY, b"a/b?c#d%&")];
        assert_eq!(compose(&path).unwrap(), "coap://[2001:db8::2:1]/a%2Fb%3Fc%23d%25&?a/b?c%23d%25%26");
        assert_eq!(compose(&[(OptionNumber::URI_PATH, b"\0")]).unwrap(), "coap://[2001:db8::2:1]/%00");
    }

    #[test]
    fn one_empty_segment_is_the_root() {
        assert_eq!(compose(&[(OptionNumber::URI_PATH, b"")]), compose(&[]));
        assert_eq!(compose(&[(OptionNumber::URI_PATH, &b""[..]); 2]).unwrap(), "coap://[2001:db8::2:1]//");
        assert_eq!(compose(&[(OptionNumber::URI_QUERY, b"")]).unwrap(), "coap://[2001:db8::2:1]/?");
    }

    #[test]
    fn a_value_that_no_uri_can_hold_is_refused() {
        for dots in [&b"."[..], b".."] {
            assert_eq!(refusal(OptionNumber::URI_PATH, dots), (Part::Path, "encoded_dot_segment"));
        }
        assert_eq!(refusal(OptionNumber::URI_PATH, b"\xff\xfe"), (Part::Path, "not_utf8"));
        assert_eq!(refusal(OptionNumber::URI_QUERY, b"\xff\xfe"), (Part::Query, "not_utf8"));
        assert_eq!(refusal(OptionNumber::URI_QUERY, &vec![b'q'; 256]), (Part::Query, "too_long"));
        let error = compose(&[(OptionNumber::URI_PATH, b"..")]).unwrap_err();
        assert_eq!(error.to_string(), "the path in the options has a dot segment");
    }

    #[test]
    fn a_uri_survives_the_way_through_options() {
        for text in [
            "coap://example.net/",
            "coap://198.51.100.1:61616//%2F//?//&?%26",
            "coaps://[2001:db8::1]:9/a/%E3%81%93?",
            "coap://b%C3%BCcher.example/?a&&b&",
            "coap://[::1]/255/...",
        ] {
            let uri = Uri::parse(text).unwrap();
            let to = SocketAddr::new(uri.ip().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), uri.port());
            assert_eq!(Uri::from_options(uri.scheme(), to, &uri.options()).as_ref(), Ok(&uri));
            assert_eq!(uri.to_string(), text);
        }
    }
}
