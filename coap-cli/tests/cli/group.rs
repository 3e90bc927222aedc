//! Groups, on loopback.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::net::UdpSocket;

use crate::harness::{Server, coap};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 1, 187);

/// What is sent to the group on loopback is heard there.
fn loopback_has_groups() -> bool {
    let listener = UdpSocket::bind("0.0.0.0:0").unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let joined = listener.join_multicast_v4(&GROUP, &Ipv4Addr::LOCALHOST);
    let sent = joined.and_then(|()| sender.send_to(b"", (GROUP, listener.local_addr()?.port())));
    let heard = sent.and_then(|_| listener.recv_from(&mut [0; 1]));
    if let Err(error) = &heard {
        println!("skipped: what is sent to {GROUP} on loopback is not heard: {error}");
    }
    heard.is_ok()
}

#[test]
#[cfg(target_os = "linux")]
fn who_has_joined_a_group_is_found_and_answers() {
    if !loopback_has_groups() {
        return;
    }
    let server = Server::bound(&["--bind", "0.0.0.0:0", "--join", "224.0.1.187%lo"]);
    let port = server.addr.rsplit_once(':').unwrap().1;
    let group = format!("{GROUP}:{port}");
    let ran = coap(&["discover", "--multicast", &group, "--interface", "lo"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains(&format!(":{port} answered:")), "{}", ran.err);
    assert!(ran.text().contains("├─ hello  ct=0  sz=20"), "{}", ran.text());

    let ran = coap(&["discover", "-B", "0.5", "--multicast", &format!("{group}?rt=none"), "--interface", "lo"]);
    ran.failed(6, "nobody in the group answered");
    let ran = coap(&["get", "--interface", "lo", &format!("coap://{group}/hello")]);
    assert_eq!((ran.code, ran.text()), (0, "Hello from coap-cli!\n"), "{}", ran.err);
    assert!(ran.err.contains(&format!(":{port}: 2.05 Content, 20 bytes")), "{}", ran.err);
    // Nobody answers what is not for groups.
    let none = format!("coap://{group}/none");
    coap(&["get", "--interface", "lo", "-B", "0.5", &none]).failed(6, "nobody in the group answered within 0.5 s");
}

#[test]
fn what_is_wrong_about_a_group_is_said_in_a_line() {
    coap(&["serve", "--join", "192.0.2.1"]).failed(2, "not a group: a multicast address");
    coap(&["serve", "--join", "ff02::fd%"]).failed(2, "not a group: a multicast address");
    let nowhere = &["serve", "--bind", "[::]:0", "--join", "ff02::fd%nowhere"];
    coap(nowhere).failed(7, "no interface \"nowhere\"");
    coap(&["serve", "--bind", "127.0.0.1:0", "--join", "224.0.1.187"]).failed(7, "cannot join 224.0.1.187");
    coap(&["get", "-o", "x", "coap://224.0.1.187/x"]).failed(2, "--output is for one response");
    coap(&["put", "-f", "-", "coap://224.0.1.187/x"]).failed(2, "--payload-file is sent in blocks");
    coap(&["get", "--interface", "nowhere", "coap://224.0.1.187/x"]).failed(7, "no interface \"nowhere\"");
    coap(&["discover"]).failed(2, "<URI>");
    coap(&["discover", "--multicast", "192.0.2.1"]).failed(2, "is no group");
}
