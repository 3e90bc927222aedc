//! The strict reader of absolute URIs: RFC 7252 §6.4 on the grammar of RFC 3986.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::error::Fault;
use super::syntax::{self, decode, split_scheme};
use super::{Host, Part, Reason, Scheme, Uri};

pub(super) fn absolute(text: &str) -> Result<Uri, Fault> {
    let (scheme, rest) = split_scheme(text).ok_or(Fault(Part::Scheme, Reason::NotAbsolute))?;
    let scheme = Scheme::named(scheme).ok_or(Fault(Part::Scheme, Reason::Scheme))?;
    let rest = rest.strip_prefix("//").ok_or(Fault(Part::Host, Reason::NoAuthority))?;
    if rest.contains('#') {
        return Err(Fault(Part::Fragment, Reason::Fragment));
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = split_authority(authority)?;
    let port = parse_port(port)?.unwrap_or_else(|| scheme.default_port());
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, parse_query(query)?),
        None => (rest, Vec::new()),
    };
    Ok(Uri { scheme, host, port, path: parse_path(path)?, query })
}

/// The host, and the text of the port.
fn split_authority(authority: &str) -> Result<(Host, &str), Fault> {
    if authority.contains('@') {
        return Err(Fault(Part::UserInfo, Reason::UserInfo));
    }
    if let Some(rest) = authority.strip_prefix('[') {
        let (literal, after) = rest.split_once(']').ok_or(Fault(Part::Host, Reason::Unclosed))?;
        let host = parse_ipv6(literal)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if after.is_empty() => Ok((host, "")),
            None => Err(Fault(Part::Host, Reason::AfterBracket)),
        };
    }
    // Taken for a name and a port, an address without its brackets would give a puzzling error.
    if authority.split('%').next().is_some_and(|addr| addr.parse::<Ipv6Addr>().is_ok()) {
        return Err(Fault(Part::Host, Reason::Unbracketed));
    }
    let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
    Ok((parse_name(name)?, port))
}

/// RFC 3986 §3.2.2 with the zone of RFC 6874, or with the bare `%` that people copy from other programs.
pub(super) fn parse_ipv6(literal: &str) -> Result<Host, Fault> {
    let (addr, zone) = match literal.split_once('%') {
        Some((addr, zone)) => (addr, Some(zone)),
        None => (literal, None),
    };
    let addr = addr.parse().map_err(|_| Fault(Part::Host, Reason::IpLiteral))?;
    let zone = zone.map(parse_zone).transpose()?;
    Ok(Host::Ipv6 { addr, zone })
}

/// What follows `%`: RFC 6874 has that `%` encoded, so a leading `25` is its rest.
fn parse_zone(zone: &str) -> Result<String, Fault> {
    let zone = zone.strip_prefix("25").unwrap_or(zone);
    if zone.is_empty() {
        return Err(Fault(Part::Zone, Reason::EmptyZone));
    }
    decode(zone, syntax::unreserved).map_err(|reason| Fault(Part::Zone, reason))
}

fn parse_name(raw: &str) -> Result<Host, Fault> {
    if raw.is_empty() {
        return Err(Fault(Part::Host, Reason::EmptyHost));
    }
    // First the case, then the escapes (RFC 7252 §6.4 step 5). Hexadecimal digits do not mind.
    name(&raw.to_ascii_lowercase()).map_err(|reason| Fault(Part::Host, reason))
}

/// A `reg-name` or an IPv4 address in dotted decimal. What is nearly one, such as 1.2.3 or 192.0.2.256, is a name.
///
/// Unneeded escapes do not change what a URI means (RFC 3986 §6.2.2.2): it is the decoded name that is an address.
pub(super) fn name(raw: &str) -> Result<Host, Reason> {
    let name = decode(raw, syntax::reg_name)?;
    Ok(name.parse::<Ipv4Addr>().map_or_else(|_| Host::Name(name), Host::Ipv4))
}

/// RFC 3986 §3.2.3: any number of digits, none at all being the default.
fn parse_port(port: &str) -> Result<Option<u16>, Fault> {
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault(Part::Port, Reason::PortNotNumber));
    }
    if port.is_empty() {
        return Ok(None);
    }
    port.parse().map(Some).map_err(|_| Fault(Part::Port, Reason::PortRange))
}

/// `path` is empty or begins with a slash. Dot segments are resolved as in RFC 3986 §5.2.4.
fn parse_path(path: &str) -> Result<Vec<String>, Fault> {
    let mut segments = Vec::new();
    let Some(path) = path.strip_prefix('/') else { return Ok(segments) };
    let mut raws = path.split('/').peekable();
    while let Some(raw) = raws.next() {
        match raw {
            "." | ".." => {
                if raw == ".." {
                    segments.pop();
                }
                // What a dot segment names is a folder: at the end it leaves the slash.
                if raws.peek().is_none() {
                    segments.push(String::new());
                }
            }
            _ => segments.push(segment(raw).map_err(|reason| Fault(Part::Path, reason))?),
        }
    }
    if is_root(&segments) {
        segments.clear();
    }
    Ok(segments)
}

fn segment(raw: &str) -> Result<String, Reason> {
    let segment = decode(raw, syntax::pchar)?;
    if is_dot_segment(&segment) { Err(Reason::EncodedDotSegment) } else { Ok(segment) }
}

pub(super) fn is_dot_segment(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// RFC 7252 §6.4 step 7: a path that is a single slash has no segment.
pub(super) fn is_root(segments: &[String]) -> bool {
    matches!(segments, [only] if only.is_empty())
}

fn parse_query(query: &str) -> Result<Vec<String>, Fault> {
    query.split('&').map(|raw| decode(raw, syntax::query).map_err(|reason| Fault(Part::Query, reason))).collect()
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    fn parse(text: &str) -> Uri {
        Uri::parse(text).unwrap()
    }

    fn refusal(text: &str) -> (Part, &'static str) {
        let error = Uri::parse(text).unwrap_err();
        (error.part(), error.name())
    }

    #[test]
    fn a_port_is_digits_up_to_65535_and_none_is_the_default() {
        assert_eq!(parse("coap://h").port(), 5683);
        assert_eq!(parse("coaps://h:/").port(), 5684);
        assert_eq!(parse("coap://h:065535").port(), 65_535);
        assert_eq!(parse("coap://h:0").port(), 0);
        assert_eq!(refusal("coap://h:65536"), (Part::Port, "port_range"));
        assert_eq!(refusal("coap://h:99999999999999999999999999"), (Part::Port, "port_range"));
        for port in ["+1", "-1", " 1", "0x1", "1:2", "٣"] {
            assert_eq!(refusal(&format!("coap://h:{port}")), (Part::Port, "authority"));
        }
    }

    #[test]
    fn an_ip_literal_is_an_ipv6_address_in_brackets() {
        assert_eq!(parse("coap://[2001:DB8:0:0::1]:1/").ip(), Some("2001:db8::1".parse().unwrap()));
        for literal in ["", "::1::", "12345::", "1.2.3.4", "v1.x", "1:2:3:4:5:6:7:8:9", "::1 ", "::1.2.3.04"] {
            assert_eq!(refusal(&format!("coap://[{literal}]/")), (Part::Host, "ip_literal"), "{literal}");
        }
        assert_eq!(refusal("coap://[::1"), (Part::Host, "authority"));
        assert_eq!(refusal("coap://[::1]5683/"), (Part::Host, "authority"));
        assert_eq!(refusal("coap://2001:db8::1/"), (Part::Host, "authority"));
        assert_eq!(refusal("coap://h]/"), (Part::Host, "illegal_char"));
    }

    #[test]
    fn a_zone_follows_an_encoded_or_a_bare_percent_sign() {
        for (text, zone) in [
            ("coap://[fe80::1%25eth0]/", "eth0"),
            ("coap://[fe80::1%eth0]/", "eth0"),
            ("coap://[fe80::1%252]:9", "2"),
            ("coap://[fe80::1%2]:9", "2"),
            ("coap://[ff02::fd%25a%2Fb]", "a/b"),
        ] {
            let uri = parse(text);
            assert_eq!(uri.zone(), Some(zone));
            assert_eq!(parse(&uri.to_string()), uri);
        }
        assert_eq!(parse("coap://[fe80::1%eth0]/").to_string(), "coap://[fe80::1%25eth0]/");
        assert_eq!(refusal("coap://[fe80::1%]/"), (Part::Zone, "ip_literal"));
        assert_eq!(refusal("coap://[fe80::1%25]/"), (Part::Zone, "ip_literal"));
        assert_eq!(refusal("coap://[fe80::1%25e+h]/"), (Part::Zone, "illegal_char"));
    }

    #[test]
    fn four_decimal_bytes_are_an_address_and_all_else_is_a_name() {
        assert_eq!(parse("coap://192.0.2.1").host(), &Host::Ipv4([192, 0, 2, 1].into()));
        assert_eq!(parse("coap://192%2E0.2.%31"), parse("coap://192.0.2.1"));
        for name in ["192.0.2.256", "192.0.2.01", "1.2.3", "1.2.3.4.", "0x7f.1"] {
            assert_eq!(parse(&format!("coap://{name}/")).host(), &Host::Name(name.to_owned()));
        }
    }

    #[test]
    fn a_name_is_folded_and_then_decoded() {
        assert_eq!(parse("coap://B%C3%9CCHER.example").host(), &Host::Name("b\u{dc}cher.example".to_owned()));
        assert_eq!(parse("coap://EX%41MPLE").host(), &Host::Name("exAmple".to_owned()));
        assert_eq!(refusal("coap://%ff/"), (Part::Host, "not_utf8"));
        assert_eq!(refusal("coap://a b/"), (Part::Host, "illegal_char"));
    }

    #[test]
    fn dot_segments_are_resolved_and_disguised_ones_refused() {
        for (path, resolved) in [
            ("", "/"),
            ("/.", "/"),
            ("/..", "/"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/./a/./b/.", "/a/b/"),
            ("/a/b/../../../c", "/c"),
            ("/a//..", "/a/"),
            ("//..", "/"),
            ("/..//", "//"),
            ("/a/..//b", "//b"),
            ("/...", "/..."),
        ] {
            assert_eq!(parse(&format!("coap://h{path}")).to_string(), format!("coap://h{resolved}"), "{path}");
        }
        for path in ["/%2e", "/.%2E", "/%2e./a", "/%2e%2e", "/%2E/.."] {
            assert_eq!(refusal(&format!("coap://h{path}")), (Part::Path, "encoded_dot_segment"), "{path}");
        }
    }

    #[test]
    fn no_value_is_longer_than_its_option_can_be() {
        let longest = "a".repeat(255);
        for (before, part) in [("", Part::Host), ("h/", Part::Path), ("h/?", Part::Query)] {
            parse(&format!("coap://{before}{longest}"));
            assert_eq!(refusal(&format!("coap://{before}{longest}%61")), (part, "too_long"));
        }
        assert_eq!(refusal(&format!("coap://h/{longest}a/..")), (Part::Path, "too_long"));
    }

    #[test]
    fn a_query_is_split_before_it_is_decoded() {
        assert_eq!(parse("coap://h?a%26b&c=/?&").query(), ["a&b", "c=/?", ""]);
        assert_eq!(parse("coap://h?").query(), [""]);
        assert!(parse("coap://h").query().is_empty());
        assert_eq!(refusal("coap://h?a[0]"), (Part::Query, "illegal_char"));
        assert_eq!(refusal("coap://h?%"), (Part::Query, "bad_percent"));
        assert_eq!(refusal("coap://h?%é"), (Part::Query, "bad_percent"));
        assert_eq!(refusal("coap://h?%+1"), (Part::Query, "bad_percent"));
    }

    #[test]
    fn the_first_broken_part_is_named() {
        for (text, part, name) in [
            ("", Part::Scheme, "not_absolute"),
            ("1a://h", Part::Scheme, "not_absolute"),
            ("coap+ws://h", Part::Scheme, "scheme"),
            ("coap:/h", Part::Host, "no_authority"),
            ("coap://?a", Part::Host, "empty_host"),
            ("coap://@h", Part::UserInfo, "userinfo"),
            ("coap://h#", Part::Fragment, "fragment"),
            ("coap://h/\u{e9}", Part::Path, "non_ascii"),
            ("coap://h/a\nb", Part::Path, "illegal_char"),
        ] {
            assert_eq!(refusal(text), (part, name), "{text}");
        }
    }
}
