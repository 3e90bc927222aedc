//! DTL: secure sessions (RFC 7252 §9), as far as the endpoint sees to them: what the handshakes do is in the tests of the session layer.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use bytes::Bytes;
use coap_core::{
    Closed, Code, Config, Datagram, Endpoint, Event, Failure, Instant, Local, Peer, Place, Request, RequestOptions,
    SessionEnd, SessionId, TopicOptions, Type, UdpAddr, Uri,
};
use coap_dtls::keygen::{Authority, Validity};
use coap_dtls::{
    CertificateError, ClientPsk, Limits, PeerVerifier, PskTable, Role, SecureEndpoint, SecurityConfig, ServerName,
    WebPkiVerifier, certificates_from_pem,
};
use hex_literal::hex;
use rand_chacha::rand_core::SeedableRng;
use rand_chacha::{ChaCha8Rng, ChaCha20Rng};

use crate::rig::{Rig, answer, content, empty, peer, secs};

/// The session before a handshake, and the one after it.
const OLD: SessionId = SessionId::new(1 << 63 | 1);
const NEW: SessionId = SessionId::new(1 << 63 | 2);

/// Two endpoints with a session layer, their datagrams carried by hand.
struct Pair {
    now: Instant,
    client: SecureEndpoint,
    server: SecureEndpoint,
    /// What has travelled, both ways.
    seen: Vec<Vec<u8>>,
}

impl Pair {
    const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 50_000);
    const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 5_684);

    fn new() -> Self {
        let endpoint = |seed| Endpoint::new(Config::default(), ChaCha8Rng::seed_from_u64(seed));
        let secure = |seed| SecureEndpoint::new(endpoint(seed), Limits::default(), ChaCha8Rng::seed_from_u64(seed));
        let (client, mut server) = (secure(1), secure(2));
        let keys = PskTable::new().with("clientID", "secretPSK").unwrap();
        server.listen(0, &SecurityConfig::server().psk(keys).build().unwrap()).unwrap();
        Self { now: Instant::from_secs(1_000), client, server, seen: Vec::new() }
    }

    fn connect(&mut self) -> Peer {
        let security = SecurityConfig::client(ClientPsk::new("clientID", "secretPSK").unwrap()).build().unwrap();
        Peer::Session(self.client.connect(self.now, UdpAddr::new(Self::SERVER), 0, &security, None).unwrap())
    }

    /// Carries what the two have for each other, until they have nothing. The server answers what it is asked.
    fn run(&mut self) {
        let mut buf = vec![0; self.client.max_transmit().max(self.server.max_transmit())];
        loop {
            let mut quiet = true;
            while let Some(transmit) = self.client.poll_transmit(&mut buf) {
                quiet = false;
                assert_eq!(transmit.to, Peer::from(Self::SERVER));
                self.seen.push(buf[..transmit.len].to_vec());
                self.server.handle_datagram(self.now, datagram(Self::CLIENT, &buf[..transmit.len]));
            }
            while let Some(event) = self.server.poll_event() {
                if let Event::Request(request) = event {
                    assert!(matches!(request.peer, Peer::Session(_)));
                    self.server.respond(self.now, request.id, content("secret")).unwrap();
                }
            }
            while let Some(transmit) = self.server.poll_transmit(&mut buf) {
                quiet = false;
                assert_eq!(transmit.to, Peer::from(Self::CLIENT));
                self.seen.push(buf[..transmit.len].to_vec());
                self.client.handle_datagram(self.now, datagram(Self::SERVER, &buf[..transmit.len]));
            }
            if quiet {
                return;
            }
        }
    }
}

fn datagram(from: SocketAddr, bytes: &[u8]) -> Datagram {
    Datagram { from: from.into(), to: Local::default(), payload: Bytes::copy_from_slice(bytes) }
}

#[test]
fn coaps_is_application_data_and_is_never_answered_in_the_clear() {
    assert_eq!(Uri::parse("coaps://192.0.2.2/a").unwrap().port(), Pair::SERVER.port());
    let mut pair = Pair::new();
    let session = pair.connect();
    let id = pair.client.request(pair.now, session, Request::get(), &RequestOptions::new()).unwrap();
    pair.run();
    let Some(Event::Response { id: answered, from, response, .. }) = pair.client.poll_event() else { panic!() };
    assert_eq!((answered, from, response.body.as_bytes()), (id, session, &b"secret"[..]));
    // Records of DTLS 1.2, all of them: nothing of CoAP is to be seen.
    assert!(pair.seen.iter().all(|bytes| (20..=23).contains(&bytes[0]) && bytes[1] == 0xfe), "{:02x?}", pair.seen);
    assert!(!pair.seen.iter().any(|bytes| bytes.windows(6).any(|part| part == b"secret")));

    // A request in the clear is not answered on a secure socket.
    pair.seen.clear();
    pair.server.handle_datagram(pair.now, datagram(Pair::CLIENT, &hex!("40 01 1234")));
    pair.run();
    assert_eq!((pair.seen.len(), pair.server.session_stats().in_the_clear), (0, 1));
    // And an answer in the clear, with everything right but the way, answers no request of a session.
    let id = pair.client.request(pair.now, session, Request::get(), &RequestOptions::new()).unwrap();
    let mut buf = vec![0; pair.client.max_transmit()];
    while pair.client.poll_transmit(&mut buf).is_some() {}
    for message_id in 0..=u16::MAX {
        let [high, low] = message_id.to_be_bytes();
        // A Reset: an acknowledgement would be found by the same look.
        pair.client.handle_datagram(pair.now, datagram(Pair::SERVER, &[0x70, 0x00, high, low]));
    }
    assert!(pair.client.poll_event().is_none());
    assert_eq!((pair.client.place(id), pair.client.stats().unmatched), (Some(Place::Sent), 1 << 16));
}

#[test]
fn dtl_04_after_a_new_handshake_nothing_old_is_repeated() {
    let mut rig = Rig::new();
    let id = rig.get(Peer::Session(OLD));
    let (_, request) = rig.sent();
    // And a separate response that waits for its acknowledgement.
    rig.receive(Peer::Session(OLD), &hex!("41 01 1234 0b b1 61"));
    let incoming = rig.handed_up();
    rig.pass(secs(1));
    rig.respond(incoming.id, content("hi"));
    rig.sent.clear();
    rig.endpoint.close_session(rig.now, OLD, SessionEnd::Replaced);
    rig.drain();
    assert_eq!(rig.failure().1, Failure::Session(SessionEnd::Replaced));
    assert_eq!(rig.endpoint.place(id), None);
    // What acknowledges or answers it in the new session means nothing there.
    let late = Peer::Session(NEW);
    rig.receive(late, &empty(Type::Acknowledgement, request.message_id));
    rig.receive(late, &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"late"));
    rig.pass(secs(300));
    rig.said_nothing();
    rig.sent_nothing();
    // Asked again it is a new message.
    rig.get(late);
    let (to, again) = rig.sent();
    assert_eq!(to, late);
    assert_ne!(again.token, request.token);
}

#[test]
fn dtl_05_notifications_stay_in_the_session_of_their_registration() {
    let mut rig = Rig::new();
    let topic = rig.endpoint.open_topic(TopicOptions::new());
    let mut observers = Vec::new();
    for session in [OLD, NEW] {
        // GET /a with Observe 0.
        rig.receive(Peer::Session(session), &hex!("41 01 1234 0b 60 51 61"));
        let incoming = rig.handed_up();
        let accepted = rig.endpoint.accept_observer(rig.now, incoming.id, topic, content("0")).unwrap();
        observers.push(accepted.unwrap());
        rig.drain();
    }
    rig.sent.clear();
    assert!(rig.endpoint.publish(rig.now, topic, content("1")));
    rig.endpoint.close_session(rig.now, OLD, SessionEnd::Peer);
    rig.drain();
    let Event::ObserverLost { id, why, .. } = rig.event() else { panic!("the observer was not lost") };
    assert_eq!((id, why), (observers[0], Closed::Session(SessionEnd::Peer)));
    let (to, notification) = rig.sent();
    assert_eq!((to, &notification.payload[..]), (Peer::Session(NEW), &b"1"[..]));
    rig.pass(secs(1));
    // A Reset from elsewhere for it ends nothing.
    for other in [Peer::Session(OLD), peer(1)] {
        rig.receive(other, &empty(Type::Reset, notification.message_id));
    }
    assert_eq!(rig.endpoint.topic_observers(topic), 1);
}

#[test]
fn a_request_waits_for_its_session_and_is_sent_in_no_other() {
    let mut rig = Rig::new();
    rig.endpoint.hold(rig.now, Peer::Session(OLD)).unwrap();
    let ids = [(); 2].map(|()| rig.get(Peer::Session(OLD)));
    rig.pass(secs(100));
    rig.sent_nothing();
    assert!(ids.iter().all(|id| matches!(rig.endpoint.place(*id), Some(Place::Waiting { .. }))));
    rig.endpoint.close_session(rig.now, OLD, SessionEnd::WrongKey);
    rig.endpoint.request(rig.now, Peer::Session(NEW), Request::get(), &RequestOptions::new()).unwrap();
    rig.drain();
    assert_eq!(rig.failure().1, Failure::Session(SessionEnd::WrongKey));
    assert_eq!(rig.failure().1, Failure::Session(SessionEnd::WrongKey));
    assert_eq!(rig.sent().0, Peer::Session(NEW));
    rig.sent_nothing();
}

#[test]
fn dtl_08_the_authority_of_the_uri_is_in_the_certificate() {
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let now = SystemTime::UNIX_EPOCH + secs(1_800_000_000);
    let validity = Validity::days_from(now, 1);
    let authority = Authority::new("CA", validity, &mut rng).unwrap();
    let names = ["door.example", "192.0.2.1", "2001:db8::1"];
    let server = authority.server(&names, validity, &mut rng).unwrap();
    let shown = certificates_from_pem(&server.certificates).unwrap();
    let trusted = certificates_from_pem(authority.certificate().unwrap()).unwrap();
    let verifier = WebPkiVerifier::new(trusted).unwrap();
    let ask = |uri: &str| {
        let name = ServerName::try_from(Uri::parse(uri).unwrap().host()).unwrap();
        verifier.verify(&shown, Role::Server, Some(&name), now)
    };
    for uri in ["coaps://door.example/", "coaps://DOOR.example:7000/a", "coaps://192.0.2.1/", "coaps://[2001:db8::1]/"]
    {
        assert_eq!(ask(uri), Ok(()), "{uri}");
    }
    for uri in ["coaps://example/", "coaps://a.door.example/", "coaps://192.0.2.2/", "coaps://[2001:db8::2]/"] {
        assert_eq!(ask(uri), Err(CertificateError::NameMismatch), "{uri}");
    }
}
