//! `coap serve`: its resources, its sockets, its end.

use core::time::Duration;
use std::net::UdpSocket;
use std::time::Instant;

#[cfg(unix)]
use crate::harness::command;
use crate::harness::{Server, coap};

#[test]
fn a_value_lives_from_put_to_delete() {
    let server = Server::start(&[]);
    server.get("/store/lamp").answered("4.04");
    server.put("/store/lamp", "on").answered("2.01");
    server.put("/store/lamp", "off").answered("2.04");
    let ran = server.get("/store/lamp");
    ran.answered("2.05");
    assert_eq!(ran.text(), "off");
    coap(&["post", "-e", " and on", &server.uri("/store/lamp")]).answered("2.04");
    assert_eq!(server.get("/store/lamp").text(), "off and on");
    server.delete("/store/lamp").answered("2.02");
    server.get("/store/lamp").answered("4.04");
    server.delete("/store/lamp").answered("2.02");
}

#[test]
fn a_created_value_is_where_the_response_says() {
    let server = Server::start(&[]);
    let ran = coap(&["post", "-e", "x", "-t", "cbor", &server.uri("/store")]);
    ran.answered("2.01");
    let location = ran.err.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
    let ran = coap(&["get", location]);
    assert_eq!(ran.text(), "x");
    assert!(ran.err.contains("application/cbor"), "{}", ran.err);
    assert_eq!(server.get("/store").text(), "</store/1>;ct=60;sz=1;obs");
}

#[test]
fn conditions_are_met_or_nothing_happens() {
    let server = Server::start(&[]);
    let uri = server.uri("/store/a");
    let put = |option: &str, payload: &str| coap(&["put", "-O", option, "-e", payload, &uri]);
    put("If-Match", "0").answered("4.12");
    put("If-None-Match", "1").answered("2.01");
    put("If-None-Match", "2").answered("4.12");
    assert_eq!(server.get("/store/a").text(), "1");
    let ran = coap(&["get", "--json", &uri]);
    let reply: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    let etag = reply["options"].as_array().unwrap().iter().find(|option| option[0] == 4).unwrap();
    let etag = etag[1].as_str().unwrap();
    coap(&["get", "-O", &format!("ETag=0x{etag}"), &uri]).answered("2.03");
    put(&format!("If-Match=0x{etag}"), "3").answered("2.04");
    put(&format!("If-Match=0x{etag}"), "4").answered("4.12");
    coap(&["delete", "-O", &format!("If-Match=0x{etag}"), &uri]).answered("4.12");
    assert_eq!(server.get("/store/a").text(), "3");
}

#[test]
fn a_slow_answer_comes_separately_and_holds_nobody_up() {
    let server = Server::start(&[]);
    let uri = server.uri("/slow?ms=1500");
    let slow = std::thread::spawn(move || coap(&["get", "-v", &uri]));
    let started = Instant::now();
    server.get("/hello").answered("2.05");
    assert!(started.elapsed() < Duration::from_secs(1));
    let ran = slow.join().unwrap();
    assert_eq!((ran.code, ran.text()), (0, "That took 1500 ms."));
    let received: Vec<_> = ran.err.lines().filter(|line| line.contains("<- ")).collect();
    assert_eq!(received.len(), 2, "{}", ran.err);
    assert!(received[0].contains(" ACK ") && received[1].contains(" CON "), "{}", ran.err);
    server.get("/slow?ms=10001").answered("4.00");
}

#[test]
fn everything_is_listed() {
    let server = Server::start(&[]);
    let links = server.get("/.well-known/core");
    assert!(links.err.contains("application/link-format"), "{}", links.err);
    for link in links.text().split(",<") {
        let path = link.trim_start_matches('<').split('>').next().unwrap();
        if path != "/echo" {
            server.get(path).answered("2.05");
        }
    }
}

#[test]
fn several_sockets_serve_one_set_of_resources() {
    let server = Server::start(&["--bind", "127.0.0.1:0"]);
    server.put("/store/a", "x").answered("2.01");
    assert_ne!(server.addrs[0], server.addrs[1]);
    assert_eq!(coap(&["get", &format!("coap://{}/store/a", server.addrs[1])]).text(), "x");
}

#[test]
fn a_port_in_use_is_said() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    coap(&["serve", "--bind", &addr]).failed(7, &addr);
    coap(&["serve", "--bind", "192.0.2.1:0"]).failed(7, "192.0.2.1:0");
}

#[test]
fn all_addresses_of_both_families_are_served_by_default() {
    let server = Server::bound(&["--bind", "[::]:0"]);
    let port = server.addr.rsplit_once(':').unwrap().1;
    coap(&["get", &format!("coap://127.0.0.1:{port}/hello")]).answered("2.05");
    // Where IPv6 is off, the socket says so by its address.
    if server.addr.starts_with("[::]") {
        coap(&["get", &format!("coap://[::1]:{port}/hello")]).answered("2.05");
    }
}

#[test]
fn garbage_does_not_end_a_server() {
    let server = Server::start(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in [&b""[..], b"\x40", b"\xff\xff\xff\xff", b"\x40\x01\0\0\xff", b"\x4f\x01\0\0", &[0x41; 1400]] {
        socket.send_to(datagram, &server.addr).unwrap();
    }
    server.get("/hello").answered("2.05");
}

#[cfg(unix)]
#[test]
fn ctrl_c_is_a_good_end() {
    let server = Server::start(&[]);
    server.get("/hello").answered("2.05");
    assert_eq!(server.interrupt(), 0);
}

#[cfg(unix)]
#[test]
fn a_second_ctrl_c_does_not_wait_and_still_tells_who_does() {
    let server = Server::start(&[]);
    let waiting = command(&["get", "-B", "20", &server.uri("/slow?ms=9000")]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(400));
    server.press_ctrl_c();
    std::thread::sleep(Duration::from_millis(200));
    let asked_again = Instant::now();
    assert_eq!(server.interrupt(), 0);
    assert!(asked_again.elapsed() < Duration::from_secs(2));
    let told = waiting.wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(5), "{}", String::from_utf8_lossy(&told.stderr));
}
