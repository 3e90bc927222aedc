//! `coap uri`: URIs, parsed strictly and taken apart.

use std::io::{self, BufRead, Write};

use coap_core::{Host, Uri, UriError};

use crate::args::UriArgs;
use crate::exit::{Exit, Failure};

/// Takes the arguments apart, or else each line of `input`.
///
/// In text a bad URI is a usage error at the end. In JSON it is a result like any other.
pub(crate) fn run(args: &UriArgs, input: impl BufRead, mut out: impl Write) -> Result<Exit, Failure> {
    let mut exit = Exit::Success;
    crate::each_line(&args.uris, input, |line| {
        let uri = Uri::parse(&String::from_utf8_lossy(line));
        if args.json {
            return write_json(&mut out, uri);
        }
        if uri.is_err() {
            exit = Exit::Usage;
        }
        write_text(&mut out, uri)
    })?;
    out.flush().or_else(crate::ignore_gone)?;
    Ok(exit)
}

fn write_text(out: &mut impl Write, uri: Result<Uri, UriError>) -> io::Result<()> {
    let uri = match uri {
        Ok(uri) => uri,
        Err(error) => return writeln!(out, "bad URI: {error} ({})", error.name()),
    };
    writeln!(out, "{uri}")?;
    let kind = match uri.host() {
        Host::Name(_) => "name",
        Host::Ipv4(_) => "IPv4 address",
        Host::Ipv6 { .. } => "IPv6 address",
    };
    writeln!(out, "  scheme: {}", uri.scheme())?;
    writeln!(out, "  host: {} ({kind})", crate::show::one_line(&host(&uri)))?;
    writeln!(out, "  port: {}", uri.port())?;
    let options = uri.options();
    if options.is_empty() {
        return writeln!(out, "  no options");
    }
    for (number, value) in &options {
        writeln!(out, "  {number}: {}", crate::show::one_line(&String::from_utf8_lossy(value)))?;
    }
    Ok(())
}

fn write_json(out: &mut impl Write, uri: Result<Uri, UriError>) -> io::Result<()> {
    match uri {
        Ok(uri) => {
            let host = serde_json::Value::from(host(&uri));
            let (scheme, port) = (uri.scheme(), uri.port());
            let options = crate::show::options_json(&uri.options());
            writeln!(out, r#"{{"ok":true,"scheme":"{scheme}","host":{host},"port":{port},"options":{options}}}"#)
        }
        Err(error) => writeln!(out, r#"{{"ok":false,"reason":"{}"}}"#, error.name()),
    }
}

/// The address without its brackets, or the name as it is looked up.
fn host(uri: &Uri) -> String {
    match uri.host() {
        Host::Name(name) => name.clone(),
        // An IPv4-mapped address is an IPv6 one here, and is written as such.
        Host::Ipv6 { addr, zone: None } if addr.to_ipv4_mapped().is_some() => {
            let [.., high, low] = addr.segments();
            format!("::ffff:{high:x}:{low:x}")
        }
        address => {
            let text = address.to_string();
            text.trim_start_matches('[').trim_end_matches(']').to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(input: &str, json: bool) -> (Exit, String) {
        let mut out = Vec::new();
        let args = UriArgs { json, uris: Vec::new() };
        let exit = run(&args, input.as_bytes(), &mut out).unwrap();
        (exit, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_uri_becomes_an_object() {
        let (exit, out) = uri("coap://[::1]:8000/.well-known/core?a=%22\r\ncoap://[fe80::1%25eth0]/\n", true);
        assert_eq!(exit, Exit::Success);
        let mut lines = out.lines();
        assert_eq!(
            lines.next().unwrap(),
            r#"{"ok":true,"scheme":"coap","host":"::1","port":8000,"options":[[11,"2e77656c6c2d6b6e6f776e"],[11,"636f7265"],[15,"613d22"]]}"#
        );
        assert_eq!(
            lines.next().unwrap(),
            r#"{"ok":true,"scheme":"coap","host":"fe80::1%25eth0","port":5683,"options":[]}"#
        );
    }

    #[test]
    fn a_mapped_address_stays_ipv6() {
        let (_, out) = uri("coap://[::ffff:192.0.2.1]/", true);
        assert!(out.contains("\"host\":\"::ffff:c000:201\""), "{out}");
    }

    #[test]
    fn a_name_is_escaped_for_json() {
        let (_, out) = uri("coap://a%22b/", true);
        assert_eq!(
            out,
            "{\"ok\":true,\"scheme\":\"coap\",\"host\":\"a\\\"b\",\"port\":5683,\"options\":[[3,\"612262\"]]}\n"
        );
    }

    #[test]
    fn a_bad_uri_is_a_result_in_json_and_a_failure_in_text() {
        let (exit, out) = uri("coap://:100000\n", true);
        assert_eq!((exit, out.as_str()), (Exit::Success, "{\"ok\":false,\"reason\":\"empty_host\"}\n"));
        let (exit, out) = uri("coap://:100000\n", false);
        assert_eq!(exit, Exit::Usage);
        assert!(out.starts_with("bad URI: ") && out.ends_with("(empty_host)\n"), "{out}");
    }
}
