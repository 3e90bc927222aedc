//! Sessions with libcoap, in its builds with OpenSSL and with GnuTLS, over loopback. Skipped where its programs are not there.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod common;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use std::time::Instant as Clock;

use coap_core::{Code, Datagram, Instant, Local, Peer, Request, RequestOptions};
use coap_dtls::{CertConfig, ClientAuth, Limits, SecurityConfig, ServerSecurity};
use common::*;

const BUILDS: [&str; 2] = ["openssl", "gnutls"];

fn data(name: &str) -> String {
    format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A node on a socket.
struct Host {
    node: Node,
    socket: UdpSocket,
    start: Clock,
}

impl Host {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let addr = socket.local_addr().unwrap().to_string();
        Self { node: Node::new(&addr, Limits::default(), u64::from(std::process::id())), socket, start: Clock::now() }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// One turn of the loop: what is to be sent, then what has come, for at most 20 ms.
    fn turn(&mut self) {
        let now = self.now();
        if self.node.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.node.endpoint.handle_timeout(now);
        }
        self.node.answer(now);
        let mut buf = vec![0; self.node.endpoint.max_transmit()];
        while let Some(transmit) = self.node.endpoint.poll_transmit(&mut buf) {
            let to = transmit.to.udp().unwrap().socket_addr();
            self.socket.send_to(&buf[..transmit.len], to).unwrap();
        }
        let mut buf = [0; 2_048];
        if let Ok((len, from)) = self.socket.recv_from(&mut buf) {
            let payload = buf[..len].to_vec().into();
            let datagram = Datagram { from: from.into(), to: Local::default(), payload };
            self.node.endpoint.handle_datagram(self.now(), datagram);
        }
        self.node.answer(self.now());
    }
}

/// What a client of libcoap says to a server of ours; `None`: there is no such program.
fn ask(build: &str, server: &ServerSecurity, arguments: &[&str]) -> Option<Output> {
    let mut host = Host::new();
    host.node.endpoint.listen(0, server).unwrap();
    let port = host.socket.local_addr().unwrap().port();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let serving = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            host.turn();
        }
        host.node
    });
    let uri = format!("coaps://127.0.0.1:{port}/any");
    let output = Command::new(format!("coap-client-{build}")).args(arguments).args(["-B", "5", &uri]).output().ok();
    stop.store(true, Ordering::Relaxed);
    let node = serving.join().unwrap();
    assert!(node.served.iter().all(|peer| matches!(peer, Peer::Session(_))));
    output
}

#[track_caller]
fn answered(output: Option<Output>) {
    let Some(output) = output else { return };
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "22.5 C", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn clients_of_libcoap_get_answers_with_keys() {
    for build in BUILDS {
        for kind in [&[][..], &["-N"]] {
            let arguments = [&["-u", "client", "-k", "the key of the client"], kind].concat();
            answered(ask(build, &psk_server(), &arguments));
        }
    }
}

#[test]
fn clients_of_libcoap_get_no_answer_with_a_wrong_key_or_an_unknown_identity() {
    for build in BUILDS {
        for (identity, key) in [("client", "another key"), ("nobody", "the key of the client")] {
            let output = ask(build, &psk_server(), &["-u", identity, "-k", key]);
            let answer = output.map(|output| String::from_utf8_lossy(&output.stdout).contains("22.5"));
            assert_ne!(answer, Some(true), "{build}, {identity}");
        }
    }
}

#[test]
fn clients_of_libcoap_get_answers_with_certificates() {
    let server = SecurityConfig::server().certificate(certificate()).client_auth(ClientAuth::Required);
    let server = server.verifier(Only(certificate().chain().to_vec())).build().unwrap();
    let (own, key, authority) = (data("server.pem"), data("pkcs8.pem"), data("ca.pem"));
    for build in BUILDS {
        answered(ask(build, &server, &["-c", &own, "-j", &key, "-C", &authority, "-n"]));
    }
}

/// A server of libcoap, which ends with this.
struct Server(Child);

impl Server {
    fn new(build: &str, port: u16, arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new(format!("coap-server-{build}"));
        let port = port.to_string();
        let command = command.args(["-A", "127.0.0.1", "-p", &port]).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok().map(Self)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of which the next is free too: libcoap takes that for coaps.
fn free_port() -> u16 {
    loop {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < u16::MAX && UdpSocket::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

#[test]
fn servers_of_libcoap_answer() {
    let keys = coap_dtls::ClientPsk::new("client", "the key of the client").unwrap();
    let certificates = SecurityConfig::client(CertConfig::new(Only(certificate().chain().to_vec())));
    let (own, key, authority) = (data("server.pem"), data("pkcs8.pem"), data("ca.pem"));
    let modes = [
        ("keys", SecurityConfig::client(keys).build().unwrap(), vec!["-k", "the key of the client", "-h", "hint"]),
        ("a certificate", certificates.build().unwrap(), vec!["-c", &own, "-j", &key, "-C", &authority, "-n"]),
    ];
    for build in BUILDS {
        for (name, security, arguments) in &modes {
            let port = free_port();
            let Some(_server) = Server::new(build, port, arguments) else { continue };
            let mut host = Host::new();
            let to = coap_core::UdpAddr::new(SocketAddr::from(([127, 0, 0, 1], port + 1)));
            let now = host.now();
            let session = host.node.endpoint.connect(now, to, 0, security, None).unwrap();
            let request = Request::get();
            host.node.endpoint.request(now, Peer::Session(session), request, &RequestOptions::new()).unwrap();
            let until = host.now() + Duration::from_secs(8);
            while host.node.answers.is_empty() && host.node.failures.is_empty() && host.now() < until {
                host.turn();
            }
            let codes: Vec<_> = host.node.answers.iter().map(|(_, code)| *code).collect();
            assert_eq!(codes, [Code::CONTENT], "{build}, {name}: {:?}", host.node.failures);
        }
    }
}
