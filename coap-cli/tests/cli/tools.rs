//! `decode`, `uri`, `demo`, and the command line itself.

use std::io::Read;
use std::process::Stdio;

use crate::harness::{coap, coap_with, command, rest};

#[test]
fn decode_answers_each_line_with_an_object() {
    let ran = coap_with(&["decode", "--json"], b"40019334b174\n\n40 01 93 34 ff\n4\n");
    assert_eq!(
        ran.text(),
        "{\"ok\":true,\"type\":\"CON\",\"code\":\"0.01\",\"mid\":37684,\"token\":\"\",\"options\":[[11,\"74\"]],\
         \"payload\":\"\"}\n\
         {\"ok\":false,\"reason\":\"short_header\"}\n\
         {\"ok\":false,\"reason\":\"marker_without_payload\"}\n\
         {\"ok\":false,\"reason\":\"not_hex\"}\n"
    );
    assert_eq!((ran.code, ran.err.as_str()), (2, ""));
    assert_eq!(coap_with(&["decode", "--json"], b"40019334b174\n40\n").code, 0);
}

#[test]
fn decode_tells_people() {
    let ran = coap(&["decode", "40019334b174"]);
    assert!(ran.text().starts_with("CON GET") && ran.text().contains("Uri-Path: t"), "{}", ran.text());
    assert_eq!(ran.code, 0);
}

#[test]
fn uri_answers_each_line_with_an_object() {
    let ran = coap_with(&["uri", "--json"], b"coap://[::1]:8000/a?b\nexample.com/a\n\xff\n");
    let lines: Vec<_> = ran.text().lines().collect();
    assert_eq!(lines[0], r#"{"ok":true,"scheme":"coap","host":"::1","port":8000,"options":[[11,"61"],[15,"62"]]}"#);
    assert!(lines[1].starts_with(r#"{"ok":false,"reason":""#), "{}", lines[1]);
    assert!(lines[2].starts_with(r#"{"ok":false,"reason":""#), "{}", lines[2]);
    assert_eq!((ran.code, lines.len()), (0, 3));
}

#[test]
fn uri_takes_arguments_too() {
    let ran = coap(&["uri", "coap://example.com/a"]);
    assert!(ran.text().contains("host: example.com") && ran.text().contains("Uri-Path: a"), "{}", ran.text());
    assert_eq!(coap(&["uri", "coap://"]).code, 2);
}

#[test]
fn the_demonstration_goes_well() {
    let ran = coap(&["demo"]);
    assert_eq!(ran.code, 0, "{}{}", ran.text(), ran.err);
    for part in ["pong", "2.05 Content", "2.01 Created", "2.04 Changed", "2.02 Deleted", "4.04 Not Found"] {
        assert!(ran.text().contains(part), "{part}: {}", ran.text());
    }
    assert!(ran.text().contains("empty acknowledgement"));
    assert_eq!(ran.text().matches(", 3 blocks\n").count(), 2, "{}", ran.text());
    assert_eq!(ran.text().matches("<- notification: 2.05 Content").count(), 2, "{}", ran.text());
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = command(&["decode"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let feed = std::thread::spawn(move || {
        use std::io::Write;
        // Until the program has left too.
        while stdin.write_all(b"40019334b174\n").is_ok() {}
    });
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    assert_eq!(rest(child.stderr.take().unwrap()), "");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    feed.join().unwrap();
}

#[test]
fn help_is_on_standard_output_and_a_wrong_command_line_is_a_line() {
    let ran = coap(&["--help"]);
    assert!(ran.code == 0 && ran.text().contains("Exit codes"), "{}", ran.text());
    assert!(coap(&["--version"]).text().starts_with("coap "));
    coap(&["frobnicate"]).failed(2, "frobnicate");
    coap(&["get"]).failed(2, "URI");
    assert_eq!(coap(&[]).code, 2);
}
