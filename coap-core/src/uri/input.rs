//! What people type, completed to what the strict reader takes.

use alloc::format;
use alloc::string::String;
use core::fmt::Write;
use core::net::Ipv6Addr;

use super::error::Fault;
use super::syntax::{self, Encoded, split_scheme, unescape};
use super::{Part, Reason, Scheme};

/// The URI that `input` most likely means. It need not be a valid one.
pub(super) fn complete(input: &str) -> Result<String, Fault> {
    let input = input.trim();
    let (scheme, rest) = match split_scheme(input) {
        // `localhost:5683/a` begins like a scheme, `coap:5683/a` even like ours.
        Some((scheme, rest)) if rest.starts_with("//") || (Scheme::named(scheme).is_some() && !begins_port(rest)) => {
            (scheme, rest.strip_prefix("//").ok_or(Fault(Part::Host, Reason::NoAuthority))?)
        }
        _ => (Scheme::Coap.as_str(), input.strip_prefix("//").unwrap_or(input)),
    };
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    Ok(format!("{scheme}://{}{}", complete_authority(authority), encode_illegal(rest)))
}

/// Whether what follows a colon is a port, as in `5683` and `5683/a`.
fn begins_port(text: &str) -> bool {
    let port = text.split(['/', '?', '#']).next().unwrap_or_default();
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Puts brackets around an IPv6 address, and encodes what is not ASCII in a name.
fn complete_authority(authority: &str) -> String {
    let (addr, zone) = match authority.split_once('%') {
        Some((addr, zone)) => (addr, Some(zone)),
        None => (authority, None),
    };
    match (addr.parse::<Ipv6Addr>(), zone) {
        (Ok(addr), None) => format!("[{addr}]"),
        (Ok(addr), Some(zone)) => {
            // Outside of brackets `%25` is zone 25, but `%25eth0` was copied out of a URI.
            let copied = zone.strip_prefix("25").filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
            format!("[{addr}%25{}]", Encoded { text: copied.unwrap_or(zone), plain: syntax::unreserved })
        }
        // An illegal character of ASCII in a name is a slip that no escape makes good.
        (Err(_), _) => format!("{}", Encoded { text: authority, plain: |byte| byte.is_ascii() }),
    }
}

/// Percent-encodes what can stand nowhere in a URI after its host; what already is an escape stays one.
pub(super) fn encode_illegal(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    let bytes = text.as_bytes();
    for (index, &byte) in bytes.iter().enumerate() {
        let legal = match byte {
            b'%' => bytes.get(index + 1..).and_then(unescape).is_some(),
            _ => syntax::query(byte) || byte == b'#',
        };
        if legal {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::super::Uri;

    #[test]
    fn what_people_type_becomes_what_they_mean() {
        for (typed, meant) in [
            ("localhost", "coap://localhost/"),
            (" localhost:9/a \n", "coap://localhost:9/a"),
            ("//h/p", "coap://h/p"),
            ("h?q=1", "coap://h/?q=1"),
            ("COAPS://H/A", "coaps://h/A"),
            ("coap", "coap://coap/"),
            ("coap:5700/a", "coap://coap:5700/a"),
            ("192.0.2.1:5700", "coap://192.0.2.1:5700/"),
            ("::1", "coap://[::1]/"),
            ("::1/a", "coap://[::1]/a"),
            ("coap://::1/a", "coap://[::1]/a"),
            ("[::1]:9/x", "coap://[::1]:9/x"),
            ("fe80::1%eth0?x", "coap://[fe80::1%25eth0]/?x"),
            ("fe80::1%25eth0", "coap://[fe80::1%25eth0]/"),
            ("fe80::1%25", "coap://[fe80::1%2525]/"),
            ("fe80::1%251", "coap://[fe80::1%25251]/"),
            ("[fe80::1%eth0]/x", "coap://[fe80::1%25eth0]/x"),
            ("b\u{fc}cher.example", "coap://b%C3%BCcher.example/"),
            ("h/a b|c^[\"d\"]", "coap://h/a%20b%7Cc%5E%5B%22d%22%5D"),
            ("h/100%?50%&%41%4", "coap://h/100%25?50%25&A%254"),
            ("h/a://b", "coap://h/a://b"),
        ] {
            assert_eq!(Uri::from_input(typed).unwrap().to_string(), meant, "{typed}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_still_an_error() {
        for (typed, name) in [
            ("", "empty_host"),
            ("/hello", "empty_host"),
            ("coap://", "empty_host"),
            ("coap:", "no_authority"),
            ("coap:host", "no_authority"),
            ("http://h/", "scheme"),
            ("mailto:x", "authority"),
            ("h/#top", "fragment"),
            ("h/%2e%2E", "encoded_dot_segment"),
            ("user@h", "userinfo"),
            ("my host/a", "illegal_char"),
            ("h:99999", "port_range"),
            ("h/%ff", "not_utf8"),
        ] {
            assert_eq!(Uri::from_input(typed).unwrap_err().name(), name, "{typed}");
        }
    }

    #[test]
    fn an_error_quotes_what_was_typed() {
        let error = Uri::from_input("h:99999").unwrap_err();
        assert_eq!(error.to_string(), "the port in `h:99999` is over 65535");
    }
}
