//! Endpoints whose sessions are made by `webrtc-dtls`, in the virtual time of tokio; and over loopback with libcoap.
#![cfg(feature = "webrtc-dtls")]
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod common;

use core::time::Duration;

use coap_core::{Code, Failure, Peer, SessionEnd};
use coap_dtls::{
    Backend, CertConfig, ClientAuth, ClientPsk, ClientSecurity, Limits, PeerIdentity, PskTable, SecurityConfig,
    ServerSecurity,
};
use common::{CLIENT, Only, SERVER, Wire, certificate, secs};
use tokio::runtime::Handle;
use tokio::time::sleep;

fn client(backend: Backend, key: &str) -> ClientSecurity {
    SecurityConfig::client(ClientPsk::new("client", key).unwrap()).backend(backend).build().unwrap()
}

fn server(backend: Backend) -> ServerSecurity {
    SecurityConfig::server().psk(PskTable::new().with("client", "key").unwrap()).backend(backend).build().unwrap()
}

fn certificates() -> (ClientSecurity, ServerSecurity) {
    let known = || Only(certificate().chain().to_vec());
    let client = SecurityConfig::client(CertConfig::new(known()).own(certificate())).backend(Backend::WebrtcDtls);
    let server = SecurityConfig::server().certificate(certificate()).client_auth(ClientAuth::Required);
    (client.build().unwrap(), server.verifier(known()).backend(Backend::WebrtcDtls).build().unwrap())
}

/// Lets time pass for the endpoints and for the tasks of their handshakes.
async fn run(wire: &mut Wire, span: Duration) {
    let step = Duration::from_millis(1);
    for _ in 0..span.as_millis() {
        let now = wire.now;
        wire.nodes.iter_mut().for_each(|node| node.endpoint.handle_timeout(now));
        wire.run(step);
        sleep(step).await;
    }
}

async fn works(wire: &mut Wire, session: coap_core::SessionId) -> bool {
    let request = wire.get(CLIENT, session);
    run(wire, Duration::from_millis(500)).await;
    wire.answer(CLIENT, request) == Some(Code::CONTENT)
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_its_session_with_a_key_or_certificates() {
    let (cert_client, cert_server) = certificates();
    for (client, server) in
        [(client(Backend::WebrtcDtls, "key"), server(Backend::WebrtcDtls)), (cert_client, cert_server)]
    {
        let mut wire = Wire::new(&server);
        let session = wire.connect(CLIENT, &client);
        assert!(works(&mut wire, session).await);
        let Peer::Session(theirs) = wire.nodes[SERVER].served[0] else { panic!("not in a session") };
        let theirs = wire.nodes[SERVER].endpoint.session(theirs).unwrap();
        assert!(!matches!(theirs.identity, None | Some(PeerIdentity::Anonymous)));
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
    }
}

#[cfg(feature = "dimpl")]
#[tokio::test(start_paused = true)]
async fn either_backend_talks_to_the_other() {
    let both = [Backend::Dimpl, Backend::WebrtcDtls];
    for (ours, theirs) in both.iter().flat_map(|ours| both.iter().map(move |theirs| (*ours, *theirs))) {
        let mut wire = Wire::new(&server(theirs));
        let session = wire.connect(CLIENT, &client(ours, "key"));
        assert!(works(&mut wire, session).await, "{ours} to {theirs}");
        assert!(works(&mut wire, session).await, "{ours} to {theirs}");
    }
}

#[cfg(feature = "dimpl")]
#[tokio::test(start_paused = true)]
async fn either_backend_talks_to_the_other_with_certificates() {
    let known = || Only(certificate().chain().to_vec());
    let both = [Backend::Dimpl, Backend::WebrtcDtls];
    for (ours, theirs) in both.iter().flat_map(|ours| both.iter().map(move |theirs| (*ours, *theirs))) {
        for asked in [ClientAuth::None, ClientAuth::Optional, ClientAuth::Required] {
            if asked == ClientAuth::Optional && theirs == Backend::Dimpl {
                continue;
            }
            let client = CertConfig::new(known()).own(certificate());
            let client = SecurityConfig::client(client).backend(ours).build().unwrap();
            let server = SecurityConfig::server().certificate(certificate()).backend(theirs);
            let server = match asked {
                ClientAuth::None => server,
                _ => server.client_auth(asked).verifier(known()),
            };
            let mut wire = Wire::new(&server.build().unwrap());
            let session = wire.connect(CLIENT, &client);
            assert!(works(&mut wire, session).await, "{ours} to {theirs}, {asked:?}");
            assert!(works(&mut wire, session).await, "{ours} to {theirs}, {asked:?}");
            let Peer::Session(client) = wire.nodes[SERVER].served[0] else { panic!("not in a session") };
            let identity = wire.nodes[SERVER].endpoint.session(client).unwrap().identity.cloned();
            let shown = matches!(identity, Some(PeerIdentity::Certificate(_)));
            assert_eq!(shown, asked != ClientAuth::None, "{ours} to {theirs}, {asked:?}");
        }
    }
}

/// How many records of a handshake with keys are in a datagram.
#[cfg(feature = "dimpl")]
fn sealed(mut datagram: &[u8]) -> usize {
    let mut count = 0;
    while let Some((header, _)) = datagram.split_first_chunk::<13>() {
        count += usize::from(header[0] == 22 && header[3..5] == [0, 1]);
        datagram = &datagram[13 + usize::from(u16::from_be_bytes([header[11], header[12]]))..];
    }
    count
}

#[cfg(feature = "dimpl")]
#[tokio::test(start_paused = true)]
async fn a_finished_in_fragments_ends_a_handshake_and_is_answered_each_time() {
    use coap_core::{Config, Endpoint};
    use coap_dtls::SecureEndpoint;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    // RFC 6347 §4.2.3. The client fills its datagrams, so that it depends on their length where Finished is cut.
    let known = || Only(certificate().chain().to_vec());
    let server =
        SecurityConfig::server().certificate(certificate()).client_auth(ClientAuth::Required).verifier(known());
    let server = server.backend(Backend::WebrtcDtls).build().unwrap();
    let mut cut = 0;
    for max_record in 256..330 {
        let client = SecurityConfig::client(CertConfig::new(known()).own(certificate())).backend(Backend::Dimpl);
        let client = client.max_record(max_record).build().unwrap();
        let mut wire = Wire::new(&server);
        let short = Config::builder().max_datagram(210).build().unwrap();
        let rng = ChaCha20Rng::seed_from_u64;
        let endpoint = SecureEndpoint::new(Endpoint::new(short, rng(1)), Limits::default(), rng(2));
        wire.nodes[CLIENT].endpoint = endpoint;
        // The server's is lost once.
        let (from, mut lost) = (wire.nodes[SERVER].addr, 0);
        wire.fate = Some(Box::new(move |flying| {
            let is_lost = flying.from == from && sealed(&flying.bytes) > 0 && lost == 0;
            lost += usize::from(is_lost);
            if is_lost { Vec::new() } else { vec![flying.bytes.clone()] }
        }));
        let session = wire.connect(CLIENT, &client);
        run(&mut wire, secs(3)).await;
        assert!(works(&mut wire, session).await, "{max_record}");
        let last_flights =
            [CLIENT, SERVER].map(|node| wire.sent(node, 0).iter().map(|flying| sealed(&flying.bytes)).sum::<usize>());
        cut += usize::from(last_flights[0] == 4);
        assert_eq!(last_flights[1], 2, "{max_record}: once for each of the client's, which has sent {last_flights:?}");
    }
    assert!(cut > 0);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_fails_the_request() {
    let mut wire = Wire::new(&server(Backend::WebrtcDtls));
    let session = wire.connect(CLIENT, &client(Backend::WebrtcDtls, "another key"));
    let request = wire.get(CLIENT, session);
    run(&mut wire, secs(45)).await;
    let failure = wire.failure(CLIENT, request);
    assert!(
        matches!(failure, Some(Failure::Session(SessionEnd::Alert(115) | SessionEnd::HandshakeTimeout))),
        "{failure:?}"
    );
    assert_eq!(wire.server_sessions(), 0);
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_started_anew_replaces_its_session() {
    let mut wire = Wire::new(&server(Backend::WebrtcDtls));
    let first = wire.connect(CLIENT, &client(Backend::WebrtcDtls, "key"));
    assert!(works(&mut wire, first).await);
    // The device starts anew: its address is the same, and it knows nothing.
    let addr = wire.nodes[CLIENT].addr;
    wire.nodes[CLIENT] = common::Node::new("192.0.2.1:1000", Limits::default(), 77);
    assert_eq!(wire.nodes[CLIENT].addr, addr);
    let second = wire.connect(CLIENT, &client(Backend::WebrtcDtls, "key"));
    assert!(works(&mut wire, second).await);
    assert_eq!(wire.server_sessions(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hello_with_an_established_peers_address_changes_nothing() {
    let mut wire = Wire::new(&server(Backend::WebrtcDtls));
    let session = wire.connect(CLIENT, &client(Backend::WebrtcDtls, "key"));
    assert!(works(&mut wire, session).await);
    let (from, to) = (wire.nodes[CLIENT].addr, wire.nodes[SERVER].addr);
    let hello = wire.sent(CLIENT, 0)[0].bytes.clone();
    wire.inject(from, to, &hello);
    run(&mut wire, secs(1)).await;
    assert!(works(&mut wire, session).await);
    run(&mut wire, secs(60)).await;
    assert!(works(&mut wire, session).await);
    assert_eq!(wire.server_sessions(), 1);
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_hellos_is_bounded_and_leaves_room() {
    let mut wire = Wire::new(&server(Backend::WebrtcDtls));
    let spoofed = hex_literal::hex!(
        "16 fefd 0000 000000000000 0063 01 000057 0000 000000 000057 fefd"
        "101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f 00 00"
        "000a 00ae c0a8 00a8 c0ae c02b 01 00"
        "0023 000a 0006 0004 001d0017 000b 0002 0100 000d 0006 0004 0403 0401 0017 0000 ff01 0001 00"
    );
    let to = wire.nodes[SERVER].addr;
    for round in 0..3_000_u32 {
        let [.., a, b] = round.to_be_bytes();
        wire.inject(common::udp(&format!("198.18.{a}.{b}:5000")), to, &spoofed);
    }
    run(&mut wire, Duration::from_millis(50)).await;
    let stats = wire.nodes[SERVER].endpoint.session_stats();
    assert!(stats.half_open <= 256, "{stats:?}");
    assert!((1_900..=2_000).contains(&stats.hellos_dropped), "{stats:?}");
    let tasks = Handle::current().metrics().num_alive_tasks();
    assert!(tasks <= 3 * 256, "{tasks}");
    let sent: usize = wire.sent(SERVER, 0).iter().map(|flying| flying.bytes.len()).sum();
    assert!(sent <= 3_000 * spoofed.len());

    let session = wire.connect(CLIENT, &client(Backend::WebrtcDtls, "key"));
    assert!(works(&mut wire, session).await);
    run(&mut wire, secs(60)).await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
    assert!(works(&mut wire, session).await);
}

/// Over loopback, with the programs of libcoap in both of its builds.
#[cfg(feature = "keygen")]
mod libcoap {
    use core::net::SocketAddr;
    use std::process::{Child, Command, Stdio};
    use std::time;

    use bytes::Bytes;
    use coap_core::{Datagram, Instant, Local, Request, RequestOptions, UdpAddr};
    use coap_dtls::keygen::{Authority, Issued, Validity};
    use coap_dtls::{CertifiedKey, ServerName, WebPkiVerifier, certificates_from_pem};
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use tokio::net::UdpSocket;

    use super::*;

    /// An authority, and certificates of it for both ends; as files, for the programs.
    struct Certificates {
        authority: String,
        server: Issued,
        client: Issued,
    }

    impl Certificates {
        fn new(test: &str) -> Self {
            let (rng, valid) = (&mut ChaCha20Rng::seed_from_u64(1), Validity::days_from(time::SystemTime::now(), 30));
            let authority = Authority::new("Authority", valid, rng).unwrap();
            let server = authority.server(&["127.0.0.1", "localhost"], valid, rng).unwrap();
            let client = authority.client("client", valid, rng).unwrap();
            let all = Self { authority: authority.certificate().unwrap(), server, client };
            for (name, text) in [
                ("ca", &all.authority),
                ("server", &all.server.certificates),
                ("server-key", &all.server.key),
                ("client", &all.client.certificates),
                ("client-key", &all.client.key),
            ] {
                std::fs::write(Self::path(test, name), text).unwrap();
            }
            all
        }

        fn path(test: &str, name: &str) -> String {
            format!("{}/webrtc-{test}-{name}.pem", env!("CARGO_TARGET_TMPDIR"))
        }

        fn verifier(&self) -> WebPkiVerifier {
            WebPkiVerifier::new(certificates_from_pem(&self.authority).unwrap()).unwrap()
        }
    }

    fn own(issued: &Issued) -> CertifiedKey {
        CertifiedKey::from_pem(&issued.certificates, issued.key.as_bytes(), None).unwrap()
    }

    /// A program that ends with the test.
    struct Program(Child);

    impl Drop for Program {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn start(program: &str, args: &[&str]) -> Program {
        let command = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Program(command.unwrap_or_else(|error| panic!("{program} (Debian: libcoap3-bin): {error}")))
    }

    /// Runs an endpoint on a socket for as long as `go_on` says.
    async fn drive(
        node: &mut common::Node,
        socket: &UdpSocket,
        start: time::Instant,
        mut go_on: impl FnMut(&common::Node) -> bool,
    ) {
        let mut buf = vec![0; 2048];
        let end = time::Instant::now() + secs(15);
        while go_on(node) && time::Instant::now() < end {
            let now = Instant::from_secs(1) + start.elapsed();
            node.endpoint.handle_timeout(now);
            node.answer(now);
            let mut out = vec![0; node.endpoint.max_transmit()];
            while let Some(transmit) = node.endpoint.poll_transmit(&mut out) {
                socket.send_to(&out[..transmit.len], transmit.to.udp().unwrap().socket_addr()).await.unwrap();
            }
            let received = tokio::time::timeout(Duration::from_millis(2), socket.recv_from(&mut buf)).await;
            if let Ok(Ok((length, from))) = received {
                let payload = Bytes::copy_from_slice(&buf[..length]);
                let datagram = Datagram { from: Peer::Udp(UdpAddr::new(from)), to: Local::default(), payload };
                node.endpoint.handle_datagram(Instant::from_secs(1) + start.elapsed(), datagram);
            }
        }
    }

    #[tokio::test]
    #[ignore = "needs coap-server-openssl and coap-server-gnutls"]
    async fn our_client_and_its_servers() {
        let certificates = Certificates::new("servers");
        let file = |name| Certificates::path("servers", name);
        let by_certificate = CertConfig::new(certificates.verifier()).own(own(&certificates.client));
        let by_certificate = SecurityConfig::client(by_certificate).backend(Backend::WebrtcDtls).build().unwrap();
        let name = ServerName::from(core::net::IpAddr::from([127, 0, 0, 1]));
        let key = SecurityConfig::client(ClientPsk::new("clientID", "secretPSK").unwrap());
        let key = key.backend(Backend::WebrtcDtls).build().unwrap();
        let mut port = 25_600;
        for build in ["openssl", "gnutls"] {
            for (client, credentials) in [
                (&key, vec!["-k", "secretPSK", "-h", "theHint"]),
                (&key, vec!["-k", "secretPSK", "-h", ""]),
                (&by_certificate, vec!["-c", &file("server"), "-j", &file("server-key"), "-C", &file("ca")]),
                (&by_certificate, vec!["-n", "-c", &file("server"), "-j", &file("server-key"), "-C", &file("ca")]),
            ] {
                port += 2;
                let plain = port.to_string();
                let args = [vec!["-A", "127.0.0.1", "-p", &plain], credentials.clone()].concat();
                let _server = start(&format!("coap-server-{build}"), &args);
                sleep(Duration::from_millis(500)).await;
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let mut node = common::Node::new("127.0.0.1:1", Limits::default(), port);
                let (start, now) = (time::Instant::now(), Instant::from_secs(1));
                let to = UdpAddr::new(SocketAddr::from(([127, 0, 0, 1], port as u16 + 1)));
                let session = node.endpoint.connect(now, to, 0, client, Some(&name)).unwrap();
                let to = Peer::Session(session);
                node.endpoint.request(now, to, Request::get(), &RequestOptions::new()).unwrap();
                drive(&mut node, &socket, start, |node| node.answers.is_empty() && node.failures.is_empty()).await;
                assert!(node.failures.is_empty(), "{build} {credentials:?}: {:?}", node.failures);
                assert_eq!(node.answers[0].1, Code::CONTENT, "{build} {credentials:?}");
            }
        }
    }

    #[tokio::test]
    #[ignore = "needs coap-client-openssl and coap-client-gnutls"]
    async fn its_clients_and_our_server() {
        let keys = PskTable::new().with("clientID", "secretPSK").unwrap();
        let certificates = Certificates::new("clients");
        let file = |name| Certificates::path("clients", name);
        let server = SecurityConfig::server().psk(keys).certificate(own(&certificates.server));
        let server = server.client_auth(ClientAuth::Required).verifier(certificates.verifier());
        let server = server.backend(Backend::WebrtcDtls).build().unwrap();
        for build in ["openssl", "gnutls"] {
            for credentials in [
                vec!["-u", "clientID", "-k", "secretPSK"],
                vec!["-N", "-u", "clientID", "-k", "secretPSK"],
                vec!["-c", &file("client"), "-j", &file("client-key"), "-C", &file("ca")],
            ] {
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let mut node = common::Node::new("127.0.0.1:1", Limits::default(), 1);
                node.endpoint.listen(0, &server).unwrap();
                let uri = format!("coaps://127.0.0.1:{}/x", socket.local_addr().unwrap().port());
                let mut args = credentials.clone();
                args.push(&uri);
                let program = format!("coap-client-{build}");
                let mut child =
                    Command::new(&program).args(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                drive(&mut node, &socket, time::Instant::now(), |_| child.try_wait().unwrap().is_none()).await;
                let _ = child.kill();
                let output = child.wait_with_output().unwrap();
                let stdout = String::from_utf8_lossy(&output.stdout);
                assert!(stdout.contains("22.5 C"), "{build} {credentials:?}: {output:?}");
            }
        }
    }
}
