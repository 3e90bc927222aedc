//! URI: from text to options and back (RFC 7252 §6).

use core::net::SocketAddr;

use coap_core::{Code, OptionNumber, Options, Request, Scheme, Uri};
use coap_driver::router::{Router, get};
use hex_literal::hex;

use crate::rig::{Rig, answer_of, peer};

fn options(uri: &str) -> String {
    Uri::parse(uri).unwrap().options().to_string()
}

fn path_and_query(uri: &str) -> (Vec<String>, Vec<String>) {
    let uri = Uri::parse(uri).unwrap();
    (uri.path().to_vec(), uri.query().to_vec())
}

#[test]
fn uri_01_a_uri_is_taken_apart_into_options() {
    let uri = Uri::parse("coap://example.net:61616/~sensors/temp%2Fin.xml?u=%26&v").unwrap();
    assert_eq!((uri.scheme(), uri.port()), (Scheme::Coap, 61_616));
    assert_eq!(
        (uri.path(), uri.query()),
        (&["~sensors".into(), "temp/in.xml".into()][..], &["u=&".into(), "v".into()][..])
    );
    assert_eq!(uri.options().uri_host(), Some("example.net"));
    // The port is that of the destination, and goes without saying.
    assert_eq!(uri.options().uri_port(), None);
    assert_eq!(Uri::parse("coap://h").unwrap().port(), 5_683);
    assert_eq!(Uri::parse("coaps://h").unwrap().port(), 5_684);
}

#[test]
fn uri_02_a_host_literal_is_no_option_and_a_name_is_lowered_before_it_is_decoded() {
    assert_eq!(options("coap://192.0.2.1/"), "");
    assert_eq!(options("coap://[2001:db8::1]/"), "");
    let host = |uri: &str| Uri::parse(uri).unwrap().options().uri_host().map(str::to_owned);
    assert_eq!(host("coap://EXAMPLE.Net/").as_deref(), Some("example.net"));
    // Decoded last: the escaped capital stays one.
    assert_eq!(host("coap://%41b/").as_deref(), Some("Ab"));
}

#[test]
fn uri_03_empty_segments_and_arguments_are_kept() {
    let none: (Vec<String>, Vec<String>) = (vec![], vec![]);
    let list = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
    assert_eq!(path_and_query("coap://h"), none);
    assert_eq!(path_and_query("coap://h/"), none);
    assert_eq!(path_and_query("coap://h//").0, list(&["", ""]));
    assert_eq!(path_and_query("coap://h///").0, list(&["", "", ""]));
    assert_eq!(path_and_query("coap://h/a/").0, list(&["a", ""]));
    assert_eq!(path_and_query("coap://h?").1, list(&[""]));
    assert_eq!(path_and_query("coap://h?a&&b").1, list(&["a", "", "b"]));
}

#[test]
fn uri_04_dot_segments_are_resolved_and_never_sent() {
    for (uri, expected) in [
        ("coap://h/a/./b", &["a", "b"][..]),
        ("coap://h/a/../b", &["b"]),
        ("coap://h/../../b", &["b"]),
        ("coap://h/a/b/..", &["a", ""]),
    ] {
        assert_eq!(path_and_query(uri).0, expected, "{uri}");
    }
    for uri in ["coap://h/%2e", "coap://h/a/%2e%2E/b"] {
        if let Ok(uri) = Uri::parse(uri) {
            assert!(uri.path().iter().all(|segment| segment != "." && segment != ".."), "{uri}");
        }
    }
}

#[test]
fn uri_05_what_is_no_coap_uri_is_refused() {
    for uri in [
        "coap://h/a#f",
        "coap://user@h/",
        "coap:///a",
        "coap://h:65536/",
        "coap://h:port/",
        "coap://h/%zz",
        "coap://h/%2",
        "coap://h/%ff",
        "http://h/",
        "/a",
        "h/a",
        "",
    ] {
        assert!(Uri::parse(uri).is_err(), "{uri}");
    }
}

#[test]
fn uri_07_a_slash_inside_of_a_segment_is_data_both_ways() {
    let mut rig = Rig::new();
    // Uri-Path "path/sub1", NUL, "%41".
    rig.receive(peer(1), &hex!("41 01 1234 0b b9 706174682f73756231 01 00 03 253431"));
    let incoming = rig.handed_up();
    let segments: Vec<_> = incoming.request.options.uri_path().collect();
    assert_eq!(segments, [&b"path/sub1"[..], b"\0", b"%41"]);
    let destination = "192.0.2.1:5683".parse::<SocketAddr>().unwrap();
    let uri = Uri::from_options(Scheme::Coap, destination, &incoming.request.options).unwrap();
    assert_eq!(uri.to_string(), "coap://192.0.2.1/path%2Fsub1/%00/%2541");
    // And it is not the resource of two segments.
    let mut serving = Rig::serving();
    assert_eq!(serving.ask(&hex!("41 01 1234 0b b9 706174682f73756231")).code, Code::NOT_FOUND);
    assert_eq!(serving.ask(&hex!("41 01 1235 0b b4 70617468 04 73756231")).code, Code::CONTENT);
}

#[test]
fn uri_09_a_virtual_host_has_its_own_resources() {
    let inner = Router::new().route("/a", get(async || "theirs"));
    let router =
        Router::new().route("/a", get(async || "ours")).route("/b", get(async || "b")).host("other.example", inner);
    let ask = |host: Option<&str>, path: &str| {
        let mut options = Options::new();
        if let Some(host) = host {
            options.push(OptionNumber::URI_HOST, host.as_bytes()).unwrap();
        }
        options.push_uri_path(path).unwrap();
        let response = answer_of(&router, &Request::get().with_options(options));
        (response.code, response.body.as_bytes().to_vec())
    };
    assert_eq!(ask(None, "a"), (Code::CONTENT, b"ours".to_vec()));
    assert_eq!(ask(Some("OTHER.example"), "a"), (Code::CONTENT, b"theirs".to_vec()));
    assert_eq!(ask(Some("other.example"), "b").0, Code::NOT_FOUND);
}
