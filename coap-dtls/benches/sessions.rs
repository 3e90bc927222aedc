//! What secure sessions with pre-shared keys cost: memory at rest, a request, a handshake, a hello of somebody who may not even
//! be there. Linux, as it reads /proc.
//!
//! `cargo bench -p coap-dtls --features webrtc-dtls --bench sessions -- MODE`:
//!
//! * `memory BACKEND [SESSIONS]`: what a server keeps of each idle session, of 100,000;
//! * `request BACKEND [REQUESTS]`: a request and its answer in a session and in the clear, in turn, in memory, both ends;
//! * `hello [HELLOS]`: ClientHellos without a cookie, each of another address;
//! * `handshakes [HANDSHAKES]`: over loopback, one at a time, with a server of our own and with `coap-server-openssl` of
//!   libcoap in turn, each in a process of its own, and the same client;
//! * `flood [HANDSHAKES] [RATE]`: how long handshakes over loopback take, one at a time, without and with 20,000 ClientHellos a
//!   second from others at the same server.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::alloc::System;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use bytes::Bytes;
use coap_core::{
    Body, Code, Config, Datagram, Endpoint, Event, Instant, Local, Peer, Request, RequestOptions, Response, SessionId,
    UdpAddr,
};
use coap_dtls::{Backend, ClientPsk, ClientSecurity, Limits, PskTable, SecureEndpoint, SecurityConfig, ServerSecurity};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SERVER: UdpAddr = UdpAddr::new(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 5_684));
const KEY: &str = "0123456789abcdef";

fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |at: usize, default| arguments.get(at).map_or(default, |text: &String| text.parse().unwrap());
    let backend = || {
        let name = arguments.get(1).map_or("dimpl", String::as_str);
        *Backend::all().iter().find(|backend| backend.to_string() == name).expect("a backend that is built in")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    match arguments.first().map_or("hello", String::as_str) {
        "memory" => runtime.block_on(memory(backend(), number(2, 100_000))),
        "request" => runtime.block_on(request(backend(), number(2, 200_000))),
        "hello" => hello(number(1, 1_000_000)),
        "handshakes" => handshakes(number(1, 2_000)),
        "flood" => flood(number(1, 20_000), number(2, 20_000)),
        "serve" => serve(),
        other => panic!("{other}: memory, request, hello, handshakes or flood"),
    }
}

fn client(backend: Backend) -> ClientSecurity {
    SecurityConfig::client(ClientPsk::new("client", KEY).unwrap()).backend(backend).build().unwrap()
}

fn server(backend: Backend) -> ServerSecurity {
    let keys = PskTable::new().with("client", KEY).unwrap();
    SecurityConfig::server().psk(keys).backend(backend).build().unwrap()
}

fn endpoint(limits: Limits) -> SecureEndpoint {
    let rng = ChaCha20Rng::seed_from_u64;
    SecureEndpoint::new(Endpoint::new(Config::default(), rng(1)), limits, rng(2))
}

fn live() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

/// How long this thread has had the processor.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn address(number: u32) -> UdpAddr {
    let [a, b, c, d] = (0xc612_0000 + number).to_be_bytes();
    UdpAddr::new(SocketAddr::from(([a, b, c, d], 40_000)))
}

fn datagram(from: UdpAddr, bytes: &[u8]) -> Datagram {
    Datagram { from: Peer::Udp(from), to: Local::default(), payload: Bytes::copy_from_slice(bytes) }
}

fn answer(now: Instant, server: &mut SecureEndpoint) {
    while let Some(event) = server.poll_event() {
        if let Event::Request(request) = event {
            let mut response = Response::new(Code::CONTENT);
            response.body = Body::Whole(Bytes::from_static(b"01234567890123456789"));
            server.respond(now, request.id, response).unwrap();
        }
    }
}

/// Carries what a client and the server have for each other. False: nothing.
fn carry(now: Instant, client: &mut SecureEndpoint, at: UdpAddr, server: &mut SecureEndpoint, buf: &mut [u8]) -> bool {
    let mut moved = false;
    while let Some(transmit) = client.poll_transmit(buf) {
        server.handle_datagram(now, datagram(at, &buf[..transmit.len]));
        moved = true;
    }
    answer(now, server);
    while let Some(transmit) = server.poll_transmit(buf) {
        client.handle_datagram(now, datagram(SERVER, &buf[..transmit.len]));
        moved = true;
    }
    moved
}

/// A client whose session stands.
async fn open(
    now: Instant,
    security: &ClientSecurity,
    at: UdpAddr,
    server: &mut SecureEndpoint,
    buf: &mut [u8],
) -> (SecureEndpoint, SessionId) {
    let mut client = endpoint(Limits::default());
    let session = client.connect(now, SERVER, 0, security, None).unwrap();
    while client.session(session).unwrap().identity.is_none() {
        if !carry(now, &mut client, at, server, buf) {
            // A backend may work in the background.
            tokio::task::yield_now().await;
            client.handle_timeout(now);
            server.handle_timeout(now);
        }
    }
    (client, session)
}

async fn memory(backend: Backend, sessions: u32) {
    let limits = Limits::builder().max_sessions(sessions as usize + 16).build().unwrap();
    let (mut server_endpoint, security) = (endpoint(limits), client(backend));
    server_endpoint.listen(0, &server(backend)).unwrap();
    let (now, mut buf) = (Instant::from_secs(1), vec![0; 65_536]);
    // What the first one makes for all is not counted.
    open(now, &security, address(0), &mut server_endpoint, &mut buf).await;
    let (before, start) = (live(), cpu());
    for number in 1..=sessions {
        open(now, &security, address(number), &mut server_endpoint, &mut buf).await;
        if number.is_power_of_two() || number == sessions {
            // Tasks of handshakes that are over end.
            tokio::task::yield_now().await;
            let each = (live() - before) as f64 / f64::from(number);
            println!("{backend}, {number} sessions: {each:.0} bytes each");
        }
    }
    assert_eq!(server_endpoint.session_stats().sessions, sessions as usize + 1);
    println!("{backend}: {:?} a handshake, both ends", (cpu() - start) / sessions);
}

async fn request(backend: Backend, requests: u32) {
    let mut buf = vec![0; 65_536];
    let mut now = Instant::from_secs(1);
    let mut inside = endpoint(Limits::default());
    inside.listen(0, &server(backend)).unwrap();
    let at = address(1);
    let (mut client_inside, session) = open(now, &client(backend), at, &mut inside, &mut buf).await;
    let (mut client_clear, mut clear) = (endpoint(Limits::default()), endpoint(Limits::default()));
    let mut spans = [Duration::ZERO; 2];
    const ROUNDS: u32 = 10;
    let mut least = Duration::MAX;
    for round in 0..=ROUNDS {
        let mut took = [Duration::ZERO; 2];
        for (place, span) in took.iter_mut().enumerate() {
            let (client, server, to) = match place {
                0 => (&mut client_inside, &mut inside, Peer::Session(session)),
                _ => (&mut client_clear, &mut clear, Peer::Udp(SERVER)),
            };
            let start = cpu();
            for _ in 0..requests / ROUNDS {
                // There are 61,440 Message IDs for each 247 s.
                now += Duration::from_millis(5);
                client.handle_timeout(now);
                server.handle_timeout(now);
                client.request(now, to, Request::get(), &RequestOptions::new()).unwrap();
                while carry(now, client, at, server, &mut buf) {}
                let answered = core::iter::from_fn(|| client.poll_event());
                assert_eq!(answered.filter(|event| matches!(event, Event::Response { .. })).count(), 1);
            }
            *span = cpu() - start;
        }
        // The first round warms up.
        if round > 0 {
            spans = [spans[0] + took[0], spans[1] + took[1]];
            least = least.min(took[0].saturating_sub(took[1]));
        }
    }
    let [inside, clear] = spans.map(|span| span / requests);
    println!(
        "{backend}: {inside:?} in a session, {clear:?} in the clear, for both ends: four records sealed or opened"
    );
    let (more, least) = (inside.saturating_sub(clear) / 2, least / (requests / ROUNDS) / 2);
    println!("{backend}: {more:?} more for each end, {least:?} in the calmest of {ROUNDS} rounds");
}

fn hello(hellos: u32) {
    let backend = Backend::all()[0];
    let mut server_endpoint = endpoint(Limits::default());
    server_endpoint.listen(0, &server(backend)).unwrap();
    let (now, mut buf) = (Instant::from_secs(1), vec![0; 65_536]);
    let mut client_endpoint = endpoint(Limits::default());
    client_endpoint.connect(now, SERVER, 0, &client(backend), None).unwrap();
    let len = client_endpoint.poll_transmit(&mut buf).unwrap().len;
    let mut hello = buf[..len].to_vec();
    let mut send = |number: u32, server: &mut SecureEndpoint| {
        hello[27..31].copy_from_slice(&number.to_be_bytes());
        server.handle_datagram(now, datagram(address(number), &hello));
        let sent = server.poll_transmit(&mut buf).unwrap().len;
        assert!(sent <= hello.len() && server.poll_transmit(&mut buf).is_none());
        sent
    };
    (0..1_000).for_each(|number| {
        send(number, &mut server_endpoint);
    });
    let (before, start) = (live(), cpu());
    let sent: usize = (0..hellos).map(|number| send(number, &mut server_endpoint)).sum();
    let (took, kept) = (cpu() - start, live().saturating_sub(before));
    println!(
        "{hellos} hellos of {len} bytes: {:?} each, {} bytes sent for each, {kept} bytes kept in all",
        took / hellos,
        sent / hellos as usize
    );
    assert_eq!(server_endpoint.session_stats().half_open, 0);
}

// ----- Over loopback -------------------------------------------------------------------------------------------------------

/// A server in a process of its own.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn own() -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        let mut child = command.arg("serve").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }

    /// `coap-server-openssl`, which has its secure port behind the plain one. `None`: it is not installed.
    fn libcoap() -> Option<Self> {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() & !1;
        let port = free.max(20_000);
        let mut command = Command::new("coap-server-openssl");
        command.args(["-A", "127.0.0.1", "-p", &port.to_string(), "-k", KEY, "-v", "0"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        std::thread::sleep(Duration::from_millis(500));
        Some(Self { child, address: SocketAddr::from(([127, 0, 0, 1], port + 1)) })
    }

    /// User and system time so far.
    fn cpu(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id())).unwrap();
        Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One thread, one socket, no more.
fn serve() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    println!("{}", socket.local_addr().unwrap());
    let mut server_endpoint = endpoint(Limits::default());
    server_endpoint.listen(0, &server(Backend::all()[0])).unwrap();
    let (start, mut buf) = (std::time::Instant::now(), vec![0; 65_536]);
    loop {
        let now = Instant::ZERO + start.elapsed();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        match socket.recv_from(&mut buf) {
            Ok((len, from)) => server_endpoint.handle_datagram(now, datagram(UdpAddr::new(from), &buf[..len])),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                server_endpoint.handle_timeout(now);
            }
            Err(error) => panic!("{error}"),
        }
        answer(now, &mut server_endpoint);
        while let Some(transmit) = server_endpoint.poll_transmit(&mut buf) {
            let to = transmit.to.udp().unwrap().socket_addr();
            socket.send_to(&buf[..transmit.len], to).unwrap();
        }
    }
}

/// What it took a client.
struct Load {
    cpu: Duration,
    /// How long each handshake took, the shortest first.
    spans: Vec<Duration>,
}

/// So many handshakes, one at a time, each from a port of its own, and each session closed again.
fn load(to: SocketAddr, handshakes: u32) -> Load {
    let (security, mut buf) = (client(Backend::all()[0]), vec![0; 65_536]);
    let (begin, mut spans) = (cpu(), Vec::new());
    for _ in 0..handshakes {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let (start, to) = (std::time::Instant::now(), UdpAddr::new(to));
        let mut client = endpoint(Limits::default());
        let session = client.connect(Instant::ZERO, to, 0, &security, None).unwrap();
        let flush = |client: &mut SecureEndpoint, buf: &mut [u8]| {
            while let Some(transmit) = client.poll_transmit(buf) {
                socket.send_to(&buf[..transmit.len], to.socket_addr()).unwrap();
            }
        };
        while client.session(session).expect("the handshake does not fail").identity.is_none() {
            flush(&mut client, &mut buf);
            match socket.recv(&mut buf) {
                Ok(len) => client.handle_datagram(Instant::ZERO + start.elapsed(), datagram(to, &buf[..len])),
                Err(_) => client.handle_timeout(Instant::ZERO + start.elapsed()),
            }
        }
        spans.push(start.elapsed());
        client.disconnect(Instant::ZERO + start.elapsed(), session);
        flush(&mut client, &mut buf);
    }
    spans.sort();
    Load { cpu: cpu() - begin, spans }
}

impl Load {
    fn percentile(&self, percent: usize) -> Duration {
        self.spans[(self.spans.len() * percent / 100).min(self.spans.len() - 1)]
    }
}

fn handshakes(handshakes: u32) {
    let mut ratios = Vec::new();
    for round in 1..=5 {
        let mut spans = Vec::new();
        for (name, server) in [("coap-dtls", Some(Process::own())), ("coap-server-openssl", Process::libcoap())] {
            let Some(server) = server else {
                println!("{name} is not installed");
                continue;
            };
            load(server.address, handshakes / 10 + 1);
            let (before, start) = (server.cpu(), std::time::Instant::now());
            let client = load(server.address, handshakes).cpu / handshakes;
            let (took, span) = (start.elapsed() / handshakes, (server.cpu() - before) / handshakes);
            println!(
                "{round}: {name}: {span:?} of CPU at the server ({:.0} handshakes/s of one core), {client:?} at the client, \
                 {took:?} in all",
                1.0 / span.as_secs_f64()
            );
            spans.push(span);
        }
        if let [ours, theirs] = spans[..] {
            ratios.push(theirs.as_secs_f64() / ours.as_secs_f64());
        }
    }
    ratios.sort_by(f64::total_cmp);
    if let [least, .., most] = ratios[..] {
        println!("{:.2} times as many as with OpenSSL ({least:.2} to {most:.2})", ratios[ratios.len() / 2]);
    }
}

/// Sends hellos that nobody will go on with, until it is told to stop: so many a second, a few at a time, in turn from each of
/// the sockets. How many there were.
fn strangers(to: SocketAddr, sockets: &[UdpSocket], rate: u32, stop: &AtomicBool) -> u32 {
    let mut client_endpoint = endpoint(Limits::default());
    let mut hello = vec![0; 65_536];
    client_endpoint.connect(Instant::ZERO, UdpAddr::new(to), 0, &client(Backend::all()[0]), None).unwrap();
    let len = client_endpoint.poll_transmit(&mut hello).unwrap().len;
    let (start, mut sent) = (std::time::Instant::now(), 0_u32);
    while !stop.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        // After a pause not all at once: the server's socket has room for some hundred.
        sent = sent.max(due.saturating_sub(200));
        while sent < due {
            // The random, so that no two hellos are the same.
            hello[27..31].copy_from_slice(&sent.to_be_bytes());
            let _ = sockets[sent as usize % sockets.len()].send_to(&hello[..len], to);
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    sent
}

/// How long handshakes take, without and with so many hellos a second in the names of others. In many short rounds, in
/// turn: on a machine that does other things as well, some of them are left alone.
fn flood(handshakes: u32, rate: u32) {
    const ROUND: u32 = 200;
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        SocketAddr::from(([127, 1, high, low], 0))
    };
    let sockets: Vec<_> = (1..=500).map(|number| UdpSocket::bind(address(number)).unwrap()).collect();
    let server = Process::own();
    load(server.address, ROUND);
    let (mut rounds, mut all, mut hellos) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2], (0, 0.0));
    for _ in 0..handshakes.div_ceil(ROUND) {
        for flooded in [false, true] {
            let stop = AtomicBool::new(false);
            let load = std::thread::scope(|scope| {
                let flooding = flooded.then(|| scope.spawn(|| strangers(server.address, &sockets, rate, &stop)));
                let start = std::time::Instant::now();
                let load = load(server.address, ROUND);
                stop.store(true, Ordering::Relaxed);
                if let Some(thread) = flooding {
                    hellos = (hellos.0 + thread.join().unwrap(), hellos.1 + start.elapsed().as_secs_f64());
                }
                load
            });
            rounds[usize::from(flooded)].push([50, 99].map(|percent| load.percentile(percent)));
            all[usize::from(flooded)].extend(load.spans);
        }
    }
    let calm = |flooded: usize, place: usize| {
        let mut spans: Vec<_> = rounds[flooded].iter().map(|percentiles| percentiles[place]).collect();
        spans.sort();
        // Of the calmer half of the rounds the median.
        spans[spans.len() / 4]
    };
    println!("{} handshakes each, {:.0} hellos/s of strangers", all[0].len(), f64::from(hellos.0) / hellos.1);
    for (place, percent) in [50, 99].into_iter().enumerate() {
        let [without, under] = [0, 1].map(|flooded| calm(flooded, place));
        let [total_without, total_under] = all.each_mut().map(|spans| {
            spans.sort();
            spans[spans.len() * percent / 100]
        });
        println!(
            "p{percent}: {without:?} without, {under:?} under the flood, {:.2} times (the calmer half of {} rounds of {ROUND}); \
             over all {total_without:?} and {total_under:?}, {:.2} times",
            under.as_secs_f64() / without.as_secs_f64(),
            rounds[0].len(),
            total_under.as_secs_f64() / total_without.as_secs_f64(),
        );
    }
}
