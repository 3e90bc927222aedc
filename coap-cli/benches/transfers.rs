//! What bodies in blocks and notifications cost over loopback.
//!
//! `cargo bench -p coap-cli --bench transfers -- MODE` (Linux: it reads /proc):
//!
//! * `body [ROUNDS] [BYTES]`: a body of `/large` of `coap serve` in blocks of 1,024 bytes, read as a stream, beside as many plain
//!   GETs of 1,024 bytes, one at a time, by the same client; the ratio of the times, and the most memory of both processes.
//! * `bodies [TIMES]`: bodies of 100 KB, four clients at a time; CPU time of the server a block, where the endpoint keeps the body
//!   for whoever fetches it, and for `/large` of `coap serve`, where each block is a request to the handler.
//! * `observers [OBSERVERS] [CHANGES]`: a resource with so many observers, 16 on each socket, that is changed when all have
//!   acknowledged its last state; CPU time of the server a notification.
#![allow(missing_docs, clippy::unwrap_used)]

mod process;

use core::time::Duration;
use std::io::{ErrorKind, Write};
use std::net::UdpSocket;
use std::time::Instant;
use std::{env, thread};

use bytes::Bytes;
use coap_tokio::router::{Resource, Router, get};
use coap_tokio::{BlockSize, Client, Config, Server};
use tokio::io::AsyncReadExt;

use process::{Process, figure};

const BLOCK: usize = 1_024;
const OF_A_SOCKET: usize = 16;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |at: usize, default| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match arguments.first().map_or("body", String::as_str) {
        "body" => runtime.block_on(body(number(1, 5), number(2, 10_000_000))),
        "bodies" => runtime.block_on(bodies(number(1, 100))),
        "observers" => observers(number(1, 1_000), number(2, 50)),
        "observed" => runtime.block_on(observed()),
        other => panic!("{other}: body [ROUNDS] [BYTES], bodies [TIMES] or observers [OBSERVERS] [CHANGES]"),
    }
}

/// A client has Message IDs for three bodies of 10 MB within EXCHANGE_LIFETIME: each round has one of its own.
async fn body(rounds: usize, bytes: usize) {
    let server = Process::coap();
    let blocks = bytes.div_ceil(BLOCK);
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let client = Client::bind("127.0.0.1:0").await.unwrap();
        let started = Instant::now();
        for _ in 0..blocks {
            let reply = client.get(format!("coap://{}/large?size={BLOCK}", server.address)).await.unwrap();
            assert_eq!(reply.payload.len(), BLOCK);
        }
        let plain = started.elapsed();
        let started = Instant::now();
        let uri = format!("coap://{}/large?size={bytes}", server.address);
        let mut download = client.get(uri).block_size(BlockSize::MAX).download().await.unwrap();
        let (mut buf, mut read) = (vec![0; 16 << 10], 0);
        loop {
            match download.read(&mut buf).await.unwrap() {
                0 => break,
                more => read += more,
            }
        }
        assert_eq!(read, bytes);
        let streamed = started.elapsed();
        let ratio = streamed.as_secs_f64() / plain.as_secs_f64();
        println!("{round}: {blocks} GETs {plain:.2?}, one body {streamed:.2?}, ratio {ratio:.2}");
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2} ({:.2} to {:.2})", ratios[rounds / 2], ratios[0], ratios[rounds - 1]);
    let most = |id| figure(id, "VmHWM:");
    println!("most memory: server {} KiB, client {} KiB", most(server.child.id()), most(std::process::id()));
}

async fn bodies(times: usize) {
    for (what, server, path) in
        [("kept", Process::own("observed"), "/body"), ("made block by block", Process::coap(), "/large?size=100000")]
    {
        let (time, blocks) = fetch(&server, path, times).await;
        println!("{what}: {:.2} µs of the server a block, {blocks} blocks", per(time, blocks));
    }
}

async fn fetch(server: &Process, path: &str, times: usize) -> (Duration, usize) {
    let uri = format!("coap://{}{path}", server.address);
    let before = server.cpu();
    let tasks = (0..4).map(|_| {
        let uri = uri.clone();
        async move {
            let client = Client::bind("127.0.0.1:0").await.unwrap();
            for _ in 0..times {
                let reply = client.get(&uri).block_size(BlockSize::MAX).max_body(200_000).await.unwrap();
                assert_eq!(reply.payload.len(), 100_000);
            }
        }
    });
    let mut set = tokio::task::JoinSet::new();
    tasks.for_each(|task| drop(set.spawn(task)));
    set.join_all().await;
    (server.cpu() - before, 4 * times * 100_000_usize.div_ceil(BLOCK))
}

fn observers(observers: usize, changes: usize) {
    let mut server = Process::own("observed");
    let sockets: Vec<_> = (0..observers.div_ceil(OF_A_SOCKET))
        .map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(server.address).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        })
        .collect();
    let mut buf = [0; 1_500];
    for observer in 0..observers {
        // CON GET /state, Observe 0, with the number of the observer as its token and Message ID.
        let [high, low] = (observer as u16).to_be_bytes();
        let socket = &sockets[observer / OF_A_SOCKET];
        socket.send(&[&[0x42, 1, high, low, high, low, 0x60, 0x55][..], b"state"].concat()).unwrap();
        let len = socket.recv(&mut buf).unwrap();
        assert!(len > 8 && buf[1] == 0x45 && buf[6] >> 4 == 6, "registered");
    }
    sockets.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
    let (mut before, mut sent) = (server.cpu(), 0);
    for change in 0..=changes {
        // The first one warms up.
        if change == 1 {
            (before, sent) = (server.cpu(), 0);
        }
        server.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let (mut told, mut last) = (0, Instant::now());
        while told < observers {
            for socket in &sockets {
                match socket.recv(&mut buf) {
                    Ok(len) => {
                        assert!(len > 8 && buf[0] == 0x42 && buf[1] == 0x45, "a confirmable notification");
                        socket.send(&[0x60, 0, buf[2], buf[3]]).unwrap();
                        (told, last) = (told + 1, Instant::now());
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            assert!(last.elapsed() < Duration::from_secs(10), "{} were not told", observers - told);
        }
        sent += told;
    }
    println!(
        "{:.2} µs of the server a notification, {sent} to {observers} observers",
        per(server.cpu() - before, sent)
    );
}

/// The server that is observed: each line of its input is a change.
async fn observed() {
    let config = Config::builder().max_observers(100_000).build().unwrap();
    let builder = Server::builder(coap_tokio::TokioRuntime::current().unwrap());
    let server = builder.config(config).bind("127.0.0.1:0").server().await.unwrap();
    println!("{}", server.local_addr().unwrap());
    let state = Resource::new();
    let body = Bytes::from(vec![b'x'; 100_000]);
    let router = Router::new().route("/body", get(move || core::future::ready(body.clone())));
    let router = router.route("/state", get(async || "0123456789abcdef0123").observable(&state));
    thread::spawn(move || {
        for _ in std::io::stdin().lines() {
            state.changed();
        }
    });
    server.serve(router).await.unwrap();
}

fn per(time: Duration, times: usize) -> f64 {
    time.as_secs_f64() * 1e6 / times as f64
}
