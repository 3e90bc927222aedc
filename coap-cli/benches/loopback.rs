//! What `coap serve` costs over loopback, beside the least that a UDP server can do.
//!
//! `cargo bench -p coap-cli --bench loopback` (Linux: it reads /proc). Both servers are started in turn, and asked
//! `GET /hello`, Confirmable, 32 at a time from 16 sockets. Printed: CPU time of the server per request, user and
//! system, and the ratio of the two. The floor receives on a tokio runtime of one thread, and sends the request back
//! with another header: no state, no options, no timers.
//!
//! Arguments behind `--`: `ratio [ROUNDS] [REQUESTS]`; `memory [REQUESTS]` for the resident memory of `coap serve` and the
//! cost of a request after each tenth; `peers [PEERS]` for as many requests from new peers, each from a source address of
//! its own, beside as many from 16.
#![allow(missing_docs, clippy::unwrap_used)]

mod process;

use core::net::SocketAddr;
use core::time::Duration;
use std::env;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Instant;

use process::{Process, figure};

const SOCKETS: usize = 16;
const IN_FLIGHT: usize = 2;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |at: usize, default| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    match arguments.first().map_or("ratio", String::as_str) {
        "floor" => floor(),
        "ratio" => ratio(number(1, 7), number(2, 200_000)),
        "memory" => memory(number(1, 1_000_000)),
        "peers" => peers(number(1, 100_000)),
        other => panic!("{other}: ratio [ROUNDS] [REQUESTS], memory [REQUESTS] or peers [PEERS]"),
    }
}

/// Both servers in turn, several times.
fn ratio(rounds: usize, requests: usize) {
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let [floor, ours] = [Process::own("floor"), Process::coap()].map(|server| {
            let mut load = Load::new(server.address);
            load.run(requests / 10);
            let before = server.cpu();
            load.run(requests);
            (server.cpu() - before).as_secs_f64() * 1e6 / requests as f64
        });
        println!("{round}: floor {floor:.2} µs, coap serve {ours:.2} µs a request, ratio {:.2}", ours / floor);
        ratios.push(ours / floor);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2} ({:.2} to {:.2})", ratios[rounds / 2], ratios[0], ratios[rounds - 1]);
}

fn memory(requests: usize) {
    let server = Process::coap();
    let mut load = Load::new(server.address);
    println!("at the start: {} KiB", figure(server.child.id(), "VmRSS:"));
    for tenth in 1..=10 {
        let before = server.cpu();
        load.run(requests / 10);
        let cost = (server.cpu() - before).as_secs_f64() * 1e6 / (requests / 10) as f64;
        println!(
            "after {} requests: {} KiB, {cost:.2} µs a request",
            tenth * requests / 10,
            figure(server.child.id(), "VmRSS:")
        );
    }
}

fn peers(peers: usize) {
    let server = Process::coap();
    let mut load = Load::new(server.address);
    load.run(peers / 10);
    let before = server.cpu();
    load.run(peers);
    let known = (server.cpu() - before).as_secs_f64() * 1e6 / peers as f64;
    let before = server.cpu();
    let mut buf = [0; 1_500];
    for first in (0..peers).step_by(SOCKETS * IN_FLIGHT) {
        let batch = first..peers.min(first + SOCKETS * IN_FLIGHT);
        let sockets: Vec<_> = batch
            .map(|peer| {
                let [_, high, middle, low] = (peer as u32).to_be_bytes();
                let socket = UdpSocket::bind((core::net::Ipv4Addr::new(127, 1 + high, middle, low), 0)).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                socket.send_to(b"\x44\x01\x00\x00\x01\x02\x03\x04\xb5hello", server.address).unwrap();
                socket
            })
            .collect();
        for socket in sockets {
            socket.recv(&mut buf).expect("an answer within ten seconds");
        }
    }
    let new = (server.cpu() - before).as_secs_f64() * 1e6 / peers as f64;
    println!(
        "16 peers: {known:.2} µs a request; {peers} new peers: {new:.2} µs; {} KiB",
        figure(server.child.id(), "VmRSS:")
    );
}

/// Clients that ask again as soon as they have their answer.
struct Load {
    sockets: Vec<UdpSocket>,
    message_ids: Vec<u16>,
}

impl Load {
    fn new(server: SocketAddr) -> Self {
        let socket = |_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(server).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Self { sockets: (0..SOCKETS).map(socket).collect(), message_ids: vec![0; SOCKETS] }
    }

    /// CON GET /hello. A Message ID is used once for each socket, up to 65,536 requests.
    fn ask(&mut self, at: usize) {
        let mut request = *b"\x44\x01\x00\x00\x01\x02\x03\x04\xb5hello";
        request[2..4].copy_from_slice(&self.message_ids[at].to_be_bytes());
        self.message_ids[at] = self.message_ids[at].wrapping_add(1);
        self.sockets[at].send(&request).unwrap();
    }

    fn run(&mut self, requests: usize) {
        let (mut asked, mut answered) = (0, 0);
        for at in (0..SOCKETS).cycle().take(SOCKETS * IN_FLIGHT) {
            self.ask(at);
            asked += 1;
        }
        let (mut buf, mut last) = ([0; 1_500], Instant::now());
        while answered < asked {
            for at in 0..SOCKETS {
                loop {
                    match self.sockets[at].recv(&mut buf) {
                        Ok(len) => assert!(len > 8 && buf[0] == 0x64 && buf[1] == 0x45, "a wrong answer"),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    }
                    (answered, last) = (answered + 1, Instant::now());
                    if asked < requests {
                        self.ask(at);
                        asked += 1;
                    }
                }
            }
            assert!(last.elapsed() < Duration::from_secs(10), "{} requests were lost", asked - answered);
        }
    }
}

/// The least that a server can do.
fn floor() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        println!("{}", socket.local_addr().unwrap());
        let mut buf = [0; 2_048];
        loop {
            let (_, client) = socket.recv_from(&mut buf).await.unwrap();
            // The same token and Message ID; 2.05, Content-Format 0, 20 bytes.
            (buf[0], buf[1]) = (buf[0] | 0x20, 0x45);
            buf[8..30].copy_from_slice(b"\xc0\xff01234567890123456789");
            socket.send_to(&buf[..30], client).await.unwrap();
        }
    });
}
