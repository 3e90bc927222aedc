//! Servers that have joined a group, and a client that asks it, on loopback.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(target_os = "linux")]

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::net::UdpSocket;

use coap_tokio::router::{Router, get};
use coap_tokio::{Client, Config, Server, SocketOptions, TokioRuntime, TransmissionParameters};

const LOOPBACK: u32 = 1;

/// Why this machine brings nothing to a group on loopback, if it does not: a kernel needs a route for it, and the flag of the
/// interface.
fn reason_to_skip(group: &str) -> Option<String> {
    let any = if group.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    let ip: IpAddr = group.parse().unwrap();
    let (listener, sender) = (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
    let set = match ip {
        IpAddr::V4(ip) => {
            let joined = listener.join_multicast_v4(&ip, &Ipv4Addr::LOCALHOST);
            joined.and_then(|()| socket2::SockRef::from(&sender).set_multicast_if_v4(&Ipv4Addr::LOCALHOST))
        }
        IpAddr::V6(ip) => {
            let joined = listener.join_multicast_v6(&ip, LOOPBACK);
            joined.and_then(|()| socket2::SockRef::from(&sender).set_multicast_if_v6(LOOPBACK))
        }
    };
    listener.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let sent = set.and_then(|()| sender.send_to(b"", (ip, listener.local_addr()?.port())));
    let heard = sent.and_then(|_| listener.recv_from(&mut [0; 1]));
    heard.err().map(|error| format!("what is sent to {group} on loopback is not heard: {error}"))
}

/// A server on all addresses of `bind`, whose port is shared with the others.
async fn serve(bind: &str, group: Option<&str>, text: &'static str) -> u16 {
    let soon = TransmissionParameters::builder().leisure(Duration::from_millis(300)).build().unwrap();
    let config = Config::builder().transmission(soon).build().unwrap();
    let mut options = SocketOptions::default();
    options.reuse_port = true;
    let building = Server::builder(TokioRuntime::current().unwrap()).bind(bind).config(config).socket_options(options);
    let building = group.into_iter().fold(building, |it, group| it.join(group.parse::<IpAddr>().unwrap(), Some("lo")));
    let server = building.server().await.unwrap();
    let port = server.local_addr().unwrap().port();
    let router = Router::new()
        .route("/x", get(move || core::future::ready(text)).multicast().rt(text))
        .route("/quiet", get(async || "quiet"));
    tokio::spawn(server.serve(router));
    port
}

async fn client(bind: &str) -> Client {
    let options = SocketOptions::default().multicast_interface(LOOPBACK);
    Client::builder(TokioRuntime::current().unwrap()).bind(bind).socket_options(options).client().await.unwrap()
}

async fn ask(client: &Client, target: String) -> Vec<(IpAddr, String)> {
    let mut responses = client.get(target).timeout(Duration::from_millis(900)).multicast().await.unwrap();
    let mut heard = Vec::new();
    while let Some((from, answer)) = responses.next().await {
        heard.push((from.udp().unwrap().ip(), answer.unwrap().text().unwrap().to_owned()));
    }
    heard.sort();
    heard
}

/// Two servers that have joined.
async fn members_answer(bind: &str, group: &str, target: &str, from: &str) {
    let port = serve(&format!("{bind}:0"), Some(group), "one").await;
    serve(&format!("{bind}:{port}"), Some(group), "two").await;
    let from: IpAddr = from.parse().unwrap();
    let client = client(&core::net::SocketAddr::new(from, 0).to_string()).await;
    let heard = ask(&client, format!("coap://{target}:{port}/x")).await;
    assert_eq!(heard, [(from, "one".to_owned()), (from, "two".to_owned())], "{target} on {bind}");
    // A route that does not say so is silent.
    assert!(ask(&client, format!("coap://{target}:{port}/quiet")).await.is_empty());
    // The filter of discovery: who has nothing is silent.
    let asked = client.discover(format!("coap://{target}:{port}")).resource_type("two");
    let mut servers = asked.request(|it| it.timeout(Duration::from_millis(900))).multicast().await.unwrap();
    let (who, found) = servers.next().await.unwrap();
    let uri = found.unwrap().links[0].uri().unwrap();
    assert_eq!((who.udp().unwrap().ip(), uri.port()), (from, port));
    assert!(servers.next().await.is_none());
}

#[tokio::test]
async fn servers_on_loopback_join_a_group_of_ipv4() {
    if let Some(reason) = reason_to_skip("224.0.1.187") {
        return println!("skipped: {reason}");
    }
    for bind in ["0.0.0.0", "[::]"] {
        members_answer(bind, "224.0.1.187", "224.0.1.187", "127.0.0.1").await;
    }
}

#[tokio::test]
async fn servers_on_loopback_join_a_group_of_ipv6() {
    if let Some(reason) = reason_to_skip("ff02::fd") {
        return println!("skipped: {reason}");
    }
    members_answer("[::]", "ff02::fd", "[ff02::fd%25lo]", "::1").await;
}

#[tokio::test]
async fn a_socket_that_has_joined_hears_its_own_groups_alone() {
    if let Some(reason) = reason_to_skip("224.0.1.187") {
        return println!("skipped: {reason}");
    }
    let port = serve("[::]:0", Some("224.0.1.187"), "one").await;
    serve(&format!("[::]:{port}"), Some("224.0.1.188"), "other").await;
    let heard = ask(&client("127.0.0.1:0").await, format!("coap://224.0.1.187:{port}/x")).await;
    assert_eq!(heard, [("127.0.0.1".parse().unwrap(), "one".to_owned())]);
}
