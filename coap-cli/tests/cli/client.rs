//! Requests: what is sent, what is written, and every way to fail.

use core::time::Duration;
use std::fs;
use std::net::UdpSocket;
use std::time::Instant;

use crate::harness::{Folder, Server, coap, coap_with, silence, text};

#[test]
fn the_payload_alone_is_on_standard_output() {
    let server = Server::start(&[]);
    let ran = server.get("/hello");
    ran.answered("2.05 Content");
    assert_eq!(ran.out.len(), 20);
    let ran = coap(&["get", "-w", "-q", &server.uri("/hello")]);
    assert_eq!((ran.out.len(), ran.err.as_str(), ran.code), (21, "", 0));
}

#[test]
fn bytes_go_there_and_back_as_they_are() {
    let server = Server::start(&[]);
    let folder = Folder::new();
    let bytes: Vec<u8> = (0..=255).collect();
    folder.write("in", &bytes);
    let (source, target) = (folder.path("in"), folder.path("out"));
    let echo = server.uri("/echo");
    for args in [vec!["-f", text(&source)], vec!["-f", "-"], vec!["-e", "@-"]] {
        let ran = coap_with(&[&["post"], &args[..], &[&echo]].concat(), &bytes);
        ran.answered("2.04 Changed");
        assert_eq!(ran.out, bytes);
    }
    let from = format!("@{}", text(&source));
    let ran = coap(&["put", "--payload", &from, "-o", text(&target), &echo]);
    assert!(ran.out.is_empty());
    assert_eq!(fs::read(&target).unwrap(), bytes);
    assert_eq!(coap(&["post", "--payload-hex", "00ff10", &echo]).out, [0, 0xff, 0x10]);
    // Neither pretty-printed nor changed where nobody looks.
    assert_eq!(coap(&["fetch", "-t", "json", "-e", "{\"a\":1}", &echo]).out, b"{\"a\":1}");
}

#[test]
fn an_error_response_leaves_standard_output_empty() {
    let server = Server::start(&[]);
    let ran = server.get("/nothing");
    ran.answered("4.04 Not Found");
    assert!(ran.out.is_empty());
    let ran = coap(&["get", &server.uri("/slow?ms=no")]);
    ran.answered("4.00 Bad Request");
    assert!(ran.out.is_empty() && ran.err.contains("ms is a number"), "{}", ran.err);
    coap(&["delete", &server.uri("/hello")]).answered("4.05");
    coap(&["get", "-A", "json", &server.uri("/hello")]).answered("4.06");
    coap(&["get", "-O", "9=0x00", &server.uri("/hello")]).answered("4.02");
    let ran = coap(&["get", "-q", &server.uri("/nothing")]);
    ran.failed(4, "4.04 Not Found");
}

#[test]
fn what_is_sent_is_what_was_asked_for() {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = peer.local_addr().unwrap().port();
    let uri = format!("localhost:{port}/a");
    let args = ["-N", "-U", "-T", "0x0a0b", "-A", "60", "-t", "50", "-e", "x", "-O", "15,q=1", "-O", "Max-Age=256"];
    let silent = ["-B", "0.3", "-q"];
    let ran = coap(&[&["-m", "ipatch"], &args[..], &silent, &[&format!("coap://127.0.0.1:{port}/a")]].concat());
    assert_eq!(ran.code, 6, "{}", ran.err);
    let mut datagram = [0; 1500];
    let (length, _) = peer.recv_from(&mut datagram).unwrap();
    let sent = &datagram[..length];
    // NON, two bytes of token, 0.07; Uri-Path, Content-Format, Max-Age, Uri-Query, Accept; the payload.
    assert_eq!(sent[..2], [0x52, 0x07]);
    assert_eq!(sent[4..], *b"\x0a\x0b\xb1a\x11\x32\x22\x01\x00\x13q=1\x21\x3c\xffx");

    // A name is sent along unless it is not to be.
    for (args, host) in [(vec![], true), (vec!["-U"], false)] {
        let ran = coap(&[&["get", "-N"], &args[..], &silent, &[&uri]].concat());
        assert_eq!(ran.code, 6, "{}", ran.err);
        let (length, _) = peer.recv_from(&mut datagram).unwrap();
        let sent = datagram[..length].windows(9).any(|window| window == b"localhost");
        assert_eq!(sent, host);
    }
}

#[test]
fn messages_are_shown_when_asked_for() {
    let server = Server::start(&[]);
    let ran = coap(&["get", "-v", &server.uri("/hello")]);
    let sent = ran.err.lines().any(|line| line.contains("-> ") && line.contains("CON GET"));
    let received = ran.err.lines().any(|line| line.contains("<- ") && line.contains("2.05 Content"));
    assert!(sent && received, "{}", ran.err);
    assert_eq!(ran.out.len(), 20);
    assert!(!coap(&["get", "-v", "0", &server.uri("/hello")]).err.contains("->"));
}

#[test]
fn a_hop_limit_is_sent_and_shown_by_name() {
    let server = Server::start(&[]);
    let ran = coap(&["get", "-v", "--hop-limit", "7", &server.uri("/hello")]);
    assert!(ran.err.lines().any(|line| line.contains("-> ") && line.contains("Hop-Limit: 7")), "{}", ran.err);
    assert_eq!(ran.code, 0);
    let ran = coap(&["get", "-H", "0", &server.uri("/hello")]);
    assert!(ran.code == 2 && ran.err.contains("--hop-limit"), "{}", ran.err);
    let ran = coap(&["get", "-O", "16,0x0100", &server.uri("/hello")]);
    assert!(ran.code == 2 && ran.err.contains("Hop-Limit has 1 byte,"), "{}", ran.err);
}

#[test]
fn a_response_can_be_an_object() {
    let server = Server::start(&[]);
    let ran = coap(&["get", "--json", "-q", &server.uri("/hello")]);
    let reply: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    assert_eq!((&reply["code"], &reply["ok"]), (&"2.05".into(), &true.into()));
    assert_eq!(reply["text"], "Hello from coap-cli!");
    let ran = coap(&["get", "--json", &server.uri("/nothing")]);
    let reply: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    assert_eq!((ran.code, &reply["code"]), (4, &"4.04".into()));
}

#[test]
fn a_ping_is_answered() {
    let server = Server::start(&[]);
    let ran = coap(&["ping", &server.addr]);
    assert_eq!(ran.code, 0);
    assert!(ran.err.starts_with("pong from coap://127.0.0.1:"), "{}", ran.err);
}

#[test]
fn usage_is_checked_before_anything_is_sent() {
    let (socket, uri) = silence();
    socket.set_nonblocking(true).unwrap();
    coap(&["get", "coap://"]).failed(2, "bad URI");
    coap(&["get", "http://127.0.0.1/"]).failed(2, "neither coap nor coaps");
    coap(&["get", "coap://127.0.0.1:0/"]).failed(2, "port 0");
    coap(&["get", "-O", "Nonsense=1", &uri]).failed(2, "Nonsense");
    coap(&["get", "-O", "ETag=123456789", &uri]).failed(2, "ETag");
    coap(&["put", "-f", "/nowhere/at/all", &uri]).failed(2, "/nowhere/at/all");
    coap(&["put", "-f", "/", &uri]).failed(2, "cannot read");
    coap(&["get", "--random-factor", "0.5", &uri]).failed(2, "--random-factor");
    assert!(socket.recv_from(&mut [0; 16]).is_err(), "something was sent");
}

#[test]
fn security_that_is_not_there_is_never_replaced_by_none() {
    let (socket, uri) = silence();
    socket.set_nonblocking(true).unwrap();
    coap(&["get", &uri.replace("coap:", "coaps:")]).failed(8, "-u IDENTITY -k KEY");
    coap(&["ping", &uri.replace("coap:", "coaps:")]).failed(8, "-u IDENTITY -k KEY");
    assert!(socket.recv_from(&mut [0; 16]).is_err(), "something was sent");
}

#[test]
fn silence_is_a_timeout() {
    let (_socket, uri) = silence();
    let started = Instant::now();
    coap(&["get", "--max-retransmit", "0", "--ack-timeout", "0.1", &uri]).failed(6, "no answer from 127.0.0.1");
    coap(&["get", "-B", "0.2", &uri]).failed(6, "127.0.0.1");
    coap(&["ping", "-B", "0.2", &uri]).failed(6, "127.0.0.1");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_closed_port_is_said_at_once() {
    let (socket, uri) = silence();
    drop(socket);
    let started = Instant::now();
    coap(&["get", &uri]).failed(7, "unreachable");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_name_without_an_address_is_said() {
    coap(&["get", "coap://no-such-host.invalid/"]).failed(7, "no-such-host.invalid");
    coap(&["get", "coap://[fe80::1%25nowhere0]/"]).failed(7, "nowhere0");
}

#[test]
fn a_reset_is_said() {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("coap://{}/", peer.local_addr().unwrap());
    let refuse = std::thread::spawn(move || {
        let mut datagram = [0; 100];
        let (_, from) = peer.recv_from(&mut datagram).unwrap();
        peer.send_to(&[0x70, 0, datagram[2], datagram[3]], from).unwrap();
    });
    coap(&["get", &uri]).failed(7, "Reset");
    refuse.join().unwrap();
}

#[test]
fn what_a_peer_says_cannot_move_the_cursor() {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("coap://{}/", peer.local_addr().unwrap());
    let answer = std::thread::spawn(move || {
        let mut datagram = [0; 100];
        let (length, from) = peer.recv_from(&mut datagram).unwrap();
        let token = &datagram[4..4 + usize::from(datagram[0] & 15)];
        assert!(length >= 4 + token.len());
        let head = [0x60 | datagram[0] & 15, 0x84, datagram[2], datagram[3]];
        peer.send_to(&[&head, token, b"\xff\x1b[2J\x1b]0;x\x07"].concat(), from).unwrap();
    });
    let ran = coap(&["get", "-v", &uri]);
    ran.err.lines().for_each(|line| assert!(!line.contains(char::is_control), "{line:?}"));
    assert_eq!(ran.code, 4);
    answer.join().unwrap();
}

#[test]
fn a_file_that_cannot_be_written_is_said() {
    let server = Server::start(&[]);
    let ran = coap(&["get", "-q", "-o", "/nowhere/at/all", &server.uri("/hello")]);
    ran.failed(1, "/nowhere/at/all");
}
