//! What sessions of `webrtc-dtls` cost a server and both ends: memory at rest and half-open, handshakes, and requests in a
//! session next to the same in the clear. All in memory, in one thread.
//!
//! `cargo bench -p coap-dtls --features webrtc-dtls,keygen --bench webrtc -- [sessions] [requests]`
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use core::net::SocketAddr;
use std::alloc::System;
use std::time::{Instant as Clock, SystemTime};

use bytes::Bytes;
use coap_core::{
    Body, Code, Config, Datagram, Endpoint, Event, Instant, Local, Peer, Request, RequestOptions, Response, UdpAddr,
};
use coap_dtls::keygen::{Authority, Validity};
use coap_dtls::{
    Backend, CertConfig, CertifiedKey, ClientAuth, ClientPsk, ClientSecurity, Limits, PskTable, SecureEndpoint,
    SecurityConfig, ServerSecurity, WebPkiVerifier, certificates_from_pem,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SERVER: UdpAddr =
    UdpAddr::new(SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 9)), 5684));

/// A first hello that offers both suites, and stays without an answer.
const HELLO: [u8; 112] = hex_literal::hex!(
    "16 fefd 0000 000000000000 0063 01 000057 0000 000000 000057 fefd"
    "101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f 00 00"
    "000a 00ae c0a8 00a8 c0ae c02b 01 00"
    "0023 000a 0006 0004 001d0017 000b 0002 0100 000d 0006 0004 0403 0401 0017 0000 ff01 0001 00"
);

fn live() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let sessions: u32 = arguments.first().map_or(1_000, |count| count.parse().unwrap());
    let requests: u32 = arguments.get(1).map_or(200_000, |count| count.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        half_open().await;
        let (client, server) = psk();
        measure("PSK", &client, &server, sessions, requests).await;
        let (client, server) = certificates();
        measure("certificates", &client, &server, sessions, requests).await;
    });
    in_the_clear(requests);
}

fn psk() -> (ClientSecurity, ServerSecurity) {
    let client = SecurityConfig::client(ClientPsk::new("client", "0123456789abcdef").unwrap());
    let server = SecurityConfig::server().psk(PskTable::new().with("client", "0123456789abcdef").unwrap());
    (client.backend(Backend::WebrtcDtls).build().unwrap(), server.backend(Backend::WebrtcDtls).build().unwrap())
}

/// Both ends show one that an authority has signed.
fn certificates() -> (ClientSecurity, ServerSecurity) {
    let (rng, valid) = (&mut ChaCha20Rng::seed_from_u64(1), Validity::days_from(SystemTime::now(), 30));
    let authority = Authority::new("Authority", valid, rng).unwrap();
    let trust = || WebPkiVerifier::new(certificates_from_pem(authority.certificate().unwrap()).unwrap()).unwrap();
    let server = authority.server(&["192.0.2.9"], valid, rng).unwrap();
    let client = authority.client("client", valid, rng).unwrap();
    let own = |issued: &coap_dtls::keygen::Issued| {
        CertifiedKey::from_pem(&issued.certificates, issued.key.as_bytes(), None).unwrap()
    };
    let client = SecurityConfig::client(CertConfig::new(trust()).own(own(&client))).backend(Backend::WebrtcDtls);
    let server = SecurityConfig::server().certificate(own(&server)).client_auth(ClientAuth::Required);
    (client.build().unwrap(), server.verifier(trust()).backend(Backend::WebrtcDtls).build().unwrap())
}

fn endpoint() -> SecureEndpoint {
    let rng = |seed| ChaCha20Rng::seed_from_u64(seed);
    SecureEndpoint::new(Endpoint::new(Config::default(), rng(1)), Limits::default(), rng(2))
}

/// Carries what the client, at its address, and the server have for each other. True if there was something.
fn carry(now: Instant, client: &mut SecureEndpoint, at: UdpAddr, server: &mut SecureEndpoint, buf: &mut [u8]) -> bool {
    let mut moved = false;
    let datagram = |from, bytes: &[u8]| Datagram {
        from: Peer::Udp(from),
        to: Local::default(),
        payload: Bytes::copy_from_slice(bytes),
    };
    client.handle_timeout(now);
    while let Some(transmit) = client.poll_transmit(buf) {
        server.handle_datagram(now, datagram(at, &buf[..transmit.len]));
        moved = true;
    }
    server.handle_timeout(now);
    while let Some(event) = server.poll_event() {
        if let Event::Request(request) = event {
            let mut response = Response::new(Code::CONTENT);
            response.body = Body::Whole(Bytes::from_static(&[b'x'; 32]));
            server.respond(now, request.id, response).unwrap();
        }
    }
    while let Some(transmit) = server.poll_transmit(buf) {
        client.handle_datagram(now, datagram(SERVER, &buf[..transmit.len]));
        moved = true;
    }
    moved
}

fn address(number: u32) -> UdpAddr {
    let [a, b, c, d] = (0xc612_0000 + number).to_be_bytes();
    UdpAddr::new(SocketAddr::from(([a, b, c, d], 40_000)))
}

/// Handshakes of so many clients one after the other, what the server keeps of them, and requests of the last one.
async fn measure(what: &str, client: &ClientSecurity, security: &ServerSecurity, sessions: u32, requests: u32) {
    let mut server = endpoint();
    server.listen(0, security).unwrap();
    let mut buf = vec![0; 65_535];
    let mut now = Instant::from_secs(1);
    let mut last = None;
    let name = coap_dtls::ServerName::from(SERVER.socket_addr().ip());
    let (mut took, mut before) = (core::time::Duration::ZERO, 0);
    for number in 0..=sessions {
        if number == 1 {
            before = live();
        }
        let mut one = endpoint();
        let at = address(number);
        let start = Clock::now();
        let session = one.connect(now, SERVER, 0, client, Some(&name)).unwrap();
        while one.session(session).unwrap().identity.is_none() {
            if !carry(now, &mut one, at, &mut server, &mut buf) {
                tokio::task::yield_now().await;
            }
        }
        took += start.elapsed();
        now += core::time::Duration::from_millis(1);
        if number == sessions {
            let kept = live() - before;
            println!("{what}: {:.0} handshakes/s (both ends)", f64::from(sessions + 1) / took.as_secs_f64());
            drop(last.take());
            println!(
                "{what}: a session of the server at rest keeps at most {} bytes, its place in the layer included",
                kept / sessions as usize
            );
        }
        last = (number == sessions).then_some((one, session, at));
    }
    let (mut client, session, at) = last.unwrap();
    let start = Clock::now();
    for _ in 0..requests {
        ask(&mut now, &mut client, Peer::Session(session), at, &mut server, &mut buf);
    }
    let each = start.elapsed() / requests;
    println!("{what}: {each:?} for a request and its answer in a session (both ends, 4 records sealed or opened)");
}

fn ask(
    now: &mut Instant,
    client: &mut SecureEndpoint,
    to: Peer,
    at: UdpAddr,
    server: &mut SecureEndpoint,
    buf: &mut [u8],
) {
    *now += core::time::Duration::from_millis(1);
    client.request(*now, to, Request::get(), &RequestOptions::new()).unwrap();
    loop {
        assert!(carry(*now, client, at, server, buf));
        while let Some(event) = client.poll_event() {
            if let Event::Response { .. } = event {
                return;
            }
        }
    }
}

fn in_the_clear(requests: u32) {
    let (mut client, mut server) = (endpoint(), endpoint());
    let mut now = Instant::from_secs(1);
    let mut buf = vec![0; 65_535];
    let start = Clock::now();
    for _ in 0..requests {
        ask(&mut now, &mut client, Peer::Udp(SERVER), address(1), &mut server, &mut buf);
    }
    println!("in the clear: {:?} for a request and its answer (both ends)", start.elapsed() / requests);
}

/// Clients that send one hello and no more: what each costs.
async fn half_open() {
    const COUNT: u32 = 250;
    let (_, security) = psk();
    let mut server = endpoint();
    server.listen(0, &security).unwrap();
    let mut buf = vec![0; 65_535];
    let (before, start, now) = (live(), Clock::now(), Instant::from_secs(1));
    for number in 0..COUNT {
        let payload = Bytes::from_static(&HELLO);
        server.handle_datagram(now, Datagram { from: Peer::Udp(address(number)), to: Local::default(), payload });
        let mut sent = 0;
        for _ in 0..50 {
            server.handle_timeout(now);
            while let Some(transmit) = server.poll_transmit(&mut buf) {
                sent += transmit.len;
            }
            if sent > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(0 < sent && sent <= HELLO.len());
    }
    let took = start.elapsed() / COUNT;
    println!("a half-open session keeps {} bytes, and costs {took:?}", (live() - before) / COUNT as usize);
}
