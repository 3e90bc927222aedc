//! What a hostile client brings about in what the application has supplied, and beside a session that is not quite there.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

mod common;

use coap_core::{Failure, Peer, SessionEnd, UdpAddr};
use coap_dtls::{
    CertConfig, CertificateDer, CertificateError, ClientAuth, ClientPsk, Limits, PeerVerifier, PskKey, PskLookup, Role,
    SecurityConfig, ServerName, ServerSecurity, Versions,
};
use common::*;

/// Keys by a closure that does not expect identities other than text.
fn careless_keys() -> ServerSecurity {
    let store = |identity: &[u8], _: UdpAddr| match core::str::from_utf8(identity).unwrap() {
        "client" => PskLookup::Key(PskKey::new("the key of the client").unwrap()),
        _ => PskLookup::Unknown,
    };
    SecurityConfig::server().psk(store).build().unwrap()
}

/// Looks at certificates, and does not come to an end with it.
struct Careless;

impl PeerVerifier for Careless {
    fn verify(
        &self,
        _: &[CertificateDer<'static>],
        _: Role,
        _: Option<&ServerName>,
        _: std::time::SystemTime,
    ) -> Result<(), CertificateError> {
        panic!("this is not a certificate that I know")
    }
}

#[test]
fn a_store_of_keys_that_panics_fails_one_handshake_and_nothing_else() {
    let mut wire = Wire::new(&careless_keys());
    let session = wire.connect(CLIENT, &psk_client());
    wire.settle();
    assert!(wire.works(session));
    let hostile = wire.add("192.0.2.66:6666", Limits::default());
    let binary = ClientPsk::new([0xff, 0xfe], "any key").unwrap();
    let refused = wire.connect(hostile, &SecurityConfig::client(binary).build().unwrap());
    let request = wire.get(hostile, refused);
    wire.run(secs(100));
    // It looks as any other that is unknown.
    assert_eq!(wire.failure(hostile, request), Some(Failure::Session(SessionEnd::Alert(51))));
    assert_eq!(wire.server_sessions(), 1);
    assert!(wire.works(session));
}

#[test]
fn a_verifier_that_panics_accepts_nobody_and_ends_nothing_else() {
    for versions in [Versions::V12, Versions::V12AndV13] {
        let server = SecurityConfig::server().certificate(certificate()).client_auth(ClientAuth::Required);
        let mut wire = Wire::new(&server.verifier(Careless).versions(versions).build().unwrap());
        let known = Only(certificate().chain().to_vec());
        let client = SecurityConfig::client(CertConfig::new(known).own(certificate())).versions(versions);
        wire.connect(CLIENT, &client.build().unwrap());
        wire.run(secs(100));
        let stats = wire.nodes[SERVER].endpoint.session_stats();
        assert_eq!((stats.sessions, stats.established), (0, 0), "{versions:?}");
        assert!(stats.failed.certificate > 0, "{versions:?}: {stats:?}");
    }
}

/// A hello that offers DTLS 1.3, which has a handshake begin for whoever says to be at an address.
fn hello_of_dtls_13() -> Vec<u8> {
    let (client, server) = pair(Mode::Dtls13);
    let mut wire = Wire::new(&server);
    wire.connect(CLIENT, &client);
    wire.run(LATENCY / 2);
    wire.log[0].bytes.clone()
}

#[test]
fn a_hello_in_the_name_of_a_client_does_not_keep_it_from_the_last_flight() {
    let (_, server) = pair(Mode::Dtls13);
    let (client, _) = pair(Mode::Certificates);
    let spoofed = hello_of_dtls_13();
    let mut wire = Wire::new(&server);
    // The flight in which the server says that it is done is lost.
    let (from, mut flights) = (udp("192.0.2.9:5684"), 0);
    wire.fate = Some(Box::new(move |flying| {
        let is_last = flying.from == from && matches!(flying.bytes[..], [20, ..]);
        flights += usize::from(is_last);
        if is_last && flights == 1 { Vec::new() } else { vec![flying.bytes.clone()] }
    }));
    let session = wire.connect(CLIENT, &client);
    while wire.server_sessions() == 0 {
        wire.run(LATENCY);
    }
    assert!(!wire.is_open(CLIENT, session));
    let (at, to) = (wire.nodes[CLIENT].addr, wire.nodes[SERVER].addr);
    wire.inject(at, to, &spoofed);
    wire.run(secs(5));
    assert!(wire.is_open(CLIENT, session), "the client has asked for it again");
    assert!(wire.works(session));
    assert_eq!(wire.nodes[SERVER].endpoint.session_stats().established, 1);
}

#[test]
fn another_identity_at_the_same_address_is_another_session() {
    let keys =
        coap_dtls::PskTable::new().with("client", "the key of the client").unwrap().with("other", "another").unwrap();
    let mut wire = Wire::new(&SecurityConfig::server().psk(keys).build().unwrap());
    let session = wire.connect(CLIENT, &psk_client());
    wire.settle();
    assert!(wire.works(session));
    let old = wire.nodes[SERVER].served[0];
    wire.nodes[CLIENT] = Node::new("192.0.2.1:1000", Limits::default(), 77);
    let other = SecurityConfig::client(ClientPsk::new("other", "another").unwrap()).build().unwrap();
    let session = wire.connect(CLIENT, &other);
    wire.settle();
    assert!(wire.works(session));
    let new = *wire.nodes[SERVER].served.last().unwrap();
    let named = |peer: Peer| match peer {
        Peer::Session(id) => wire.nodes[SERVER].endpoint.session(id).and_then(|session| session.identity.cloned()),
        _ => None,
    };
    assert_eq!(named(old), None);
    assert_eq!(named(new), Some(coap_dtls::PeerIdentity::Psk(b"other".to_vec())));
}

#[test]
fn a_client_that_draws_the_same_after_each_restart_is_not_kept_out_for_long() {
    for mode in [Mode::Psk, Mode::Certificates] {
        let (mut wire, session) = Wire::open(mode);
        let (at, to) = (wire.nodes[CLIENT].addr, wire.nodes[SERVER].addr);
        let hello = wire.sent(CLIENT, 0)[0].bytes.clone();
        // For as long as it can be a late copy, it is taken for one.
        wire.run(secs(100));
        let before = wire.log.len();
        wire.inject(at, to, &hello);
        wire.settle();
        assert_eq!(wire.sent(SERVER, before).len(), 0, "{mode:?}");
        wire.run(secs(100));
        wire.inject(at, to, &hello);
        wire.settle();
        let answers: Vec<_> = wire.sent(SERVER, before).iter().map(|flying| flying.bytes.len()).collect();
        assert_eq!(answers, [60], "{mode:?}: a cookie");
        assert!(wire.works(session), "{mode:?}: and the session stands");
    }
}
