//! Which cipher suites a client offers and a server chooses, on the wire, for both backends at both ends.
#![cfg(all(feature = "dimpl", feature = "webrtc-dtls"))]
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod common;

use core::time::Duration;

use coap_core::{Code, Failure, Peer, SessionEnd, SessionId};
use coap_dtls::CipherSuite::{self, *};
use coap_dtls::{
    Backend, CertConfig, ClientPsk, ClientSecurity, PskTable, SecurityConfig, ServerSecurity, SuiteUse, Versions,
};
use common::{CLIENT, Only, SERVER, Wire, certificate, secs};
use tokio::time::sleep;

const BACKENDS: [Backend; 2] = [Backend::Dimpl, Backend::WebrtcDtls];

/// A client for suites of this use.
fn client(backend: Backend, what: SuiteUse, suites: Option<&[CipherSuite]>) -> ClientSecurity {
    let builder = match what {
        SuiteUse::PreSharedKeys => SecurityConfig::client(ClientPsk::new("client", "key").unwrap()),
        _ => SecurityConfig::client(CertConfig::new(Only(certificate().chain().to_vec())).own(certificate())),
    };
    let builder = builder.backend(backend).versions(versions(what));
    match suites {
        Some(suites) => builder.suites(suites).build(),
        None => builder.build(),
    }
    .unwrap()
}

/// A server with keys and a certificate.
fn server(backend: Backend, what: SuiteUse, suites: Option<&[CipherSuite]>) -> ServerSecurity {
    let builder =
        SecurityConfig::server().psk(PskTable::new().with("client", "key").unwrap()).certificate(certificate());
    let builder = builder.backend(backend).versions(versions(what));
    match suites {
        Some(suites) => builder.suites(suites).build(),
        None => builder.build(),
    }
    .unwrap()
}

fn versions(what: SuiteUse) -> Versions {
    if what == SuiteUse::Dtls13 { Versions::V12AndV13 } else { Versions::V12 }
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

async fn works(wire: &mut Wire, session: SessionId) -> bool {
    let request = wire.get(CLIENT, session);
    run(wire, Duration::from_millis(500)).await;
    wire.answer(CLIENT, request) == Some(Code::CONTENT)
}

/// The suites in the first hello of the client, by their numbers.
fn offered(wire: &Wire) -> Vec<u16> {
    let hello = &wire.sent(CLIENT, 0)[0].bytes;
    assert_eq!((hello[0], hello[13]), (22, 1), "a hello");
    // Headers of record and message, version and random; then session_id and cookie.
    let mut rest = &hello[13 + 12 + 34..];
    for _ in 0..2 {
        rest = &rest[1 + usize::from(rest[0])..];
    }
    let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    rest[2..2 + length].chunks(2).map(|suite| u16::from_be_bytes([suite[0], suite[1]])).collect()
}

/// The suite in the last hello of the server.
fn chosen(wire: &Wire) -> Option<u16> {
    let mut hellos = wire.sent(SERVER, 0).into_iter().filter(|it| it.bytes[0] == 22 && it.bytes[3..5] == [0, 0]);
    let hello = hellos.rfind(|it| it.bytes[13] == 2)?;
    let session_id = &hello.bytes[13 + 12 + 34..];
    let rest = &session_id[1 + usize::from(session_id[0])..];
    Some(u16::from_be_bytes([rest[0], rest[1]]))
}

fn numbers(suites: &[CipherSuite]) -> Vec<u16> {
    suites.iter().map(|suite| suite.number()).collect()
}

/// Those of both ends that are for this.
fn common_suites(ours: Backend, theirs: Backend, what: SuiteUse) -> Vec<CipherSuite> {
    let both = ours.cipher_suites().iter().filter(|suite| theirs.cipher_suites().contains(suite));
    both.copied().filter(|suite| suite.used_for() == what).collect()
}

const USES: [SuiteUse; 3] = [SuiteUse::PreSharedKeys, SuiteUse::Certificates, SuiteUse::Dtls13];

#[tokio::test(start_paused = true)]
async fn a_client_offers_by_default_what_it_is_said_to() {
    for (backend, what, expected) in [
        (Backend::Dimpl, SuiteUse::PreSharedKeys, &[PskAes128Ccm8][..]),
        (Backend::Dimpl, SuiteUse::Certificates, &[EcdsaAes128Gcm, EcdsaAes256Gcm, EcdsaChacha20Poly1305]),
        (
            Backend::Dimpl,
            SuiteUse::Dtls13,
            &[Aes128Gcm, Aes256Gcm, Chacha20Poly1305, EcdsaAes128Gcm, EcdsaAes256Gcm, EcdsaChacha20Poly1305],
        ),
        (Backend::WebrtcDtls, SuiteUse::PreSharedKeys, &[PskAes128Ccm8]),
        (Backend::WebrtcDtls, SuiteUse::Certificates, &[EcdsaAes128Ccm8, EcdsaAes128Gcm]),
    ] {
        let mut wire = Wire::new(&server(backend, what, None));
        wire.connect(CLIENT, &client(backend, what, None));
        run(&mut wire, Duration::from_millis(20)).await;
        assert_eq!(offered(&wire), numbers(expected), "{backend}, {what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_offers_what_is_wished_in_the_order_of_the_wish() {
    for (backend, what) in BACKENDS.into_iter().flat_map(|backend| USES.map(|what| (backend, what))) {
        let mut wish = common_suites(backend, backend, what);
        let lists = |wish: &[CipherSuite]| -> Vec<Vec<CipherSuite>> {
            (0..wish.len()).map(|length| wish[..=length].to_vec()).collect()
        };
        let mut all = lists(&wish);
        wish.reverse();
        all.extend(lists(&wish));
        for wish in all {
            let mut wire = Wire::new(&server(backend, what, None));
            wire.connect(CLIENT, &client(backend, what, Some(&wish)));
            run(&mut wire, Duration::from_millis(20)).await;
            assert_eq!(offered(&wire), numbers(&wish), "{backend}, {what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn those_of_dtls_1_3_are_offered_first_and_what_has_no_use_not_at_all() {
    let wish = [EcdsaAes256Gcm, Chacha20Poly1305, PskAes128Ccm8, EcdsaAes128Gcm, Aes128Gcm, EcdsaAes256Gcm];
    let mut wire = Wire::new(&server(Backend::Dimpl, SuiteUse::Dtls13, None));
    wire.connect(CLIENT, &client(Backend::Dimpl, SuiteUse::Dtls13, Some(&wish)));
    run(&mut wire, Duration::from_millis(20)).await;
    assert_eq!(offered(&wire), numbers(&[Chacha20Poly1305, Aes128Gcm, EcdsaAes256Gcm, EcdsaAes128Gcm]));
}

#[tokio::test(start_paused = true)]
async fn each_suite_alone_makes_sessions_and_both_ends_say_which_it_is() {
    let mut made = 0;
    for (ours, theirs) in BACKENDS.into_iter().flat_map(|ours| BACKENDS.map(|theirs| (ours, theirs))) {
        for (what, suite) in
            USES.into_iter().flat_map(|what| common_suites(ours, theirs, what).into_iter().map(move |it| (what, it)))
        {
            let context = format!("{ours} to {theirs}, {suite}");
            let mut wire = Wire::new(&server(theirs, what, Some(theirs.cipher_suites())));
            let session = wire.connect(CLIENT, &client(ours, what, Some(&[suite])));
            assert_eq!(wire.nodes[CLIENT].endpoint.session(session).unwrap().suite, None, "it does not stand");
            assert!(works(&mut wire, session).await, "{context}");
            assert_eq!((offered(&wire), chosen(&wire)), (vec![suite.number()], Some(suite.number())), "{context}");
            let Peer::Session(other) = wire.nodes[SERVER].served[0] else { panic!("not in a session") };
            for (node, session) in [(CLIENT, session), (SERVER, other)] {
                assert_eq!(wire.nodes[node].endpoint.session(session).unwrap().suite, Some(suite), "{context}");
            }
            made += 1;
        }
    }
    // dimpl 7, webrtc-dtls 6, and 2 of each with the other.
    assert_eq!(made, 7 + 6 + 2 + 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_with_a_wish_goes_by_its_own_order() {
    for (ours, theirs) in BACKENDS.into_iter().flat_map(|ours| BACKENDS.map(|theirs| (ours, theirs))) {
        for what in USES {
            let both = common_suites(ours, theirs, what);
            // Each of them first once.
            for turn in 0..both.len() {
                let mut wish = both.clone();
                wish.rotate_left(turn);
                let expected = wish[0].number();
                wish.push(PskAes128Ccm8);
                if what != SuiteUse::Certificates {
                    wish.push(EcdsaAes128Gcm);
                }
                let mut wire = Wire::new(&server(theirs, what, Some(&wish)));
                let session = wire.connect(CLIENT, &client(ours, what, Some(&both)));
                assert!(works(&mut wire, session).await);
                assert_eq!(chosen(&wire), Some(expected), "{ours} to {theirs}, {what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_a_wish_goes_by_the_order_of_the_client() {
    for (theirs, what, wish, expected) in [
        (Backend::Dimpl, SuiteUse::Certificates, &[EcdsaAes256Gcm, EcdsaAes128Gcm][..], EcdsaAes256Gcm),
        (Backend::Dimpl, SuiteUse::Dtls13, &[Chacha20Poly1305, Aes128Gcm], Chacha20Poly1305),
        // But that the mandatory suite comes first.
        (Backend::WebrtcDtls, SuiteUse::Certificates, &[EcdsaAes128Gcm, EcdsaAes128Ccm8], EcdsaAes128Ccm8),
    ] {
        let mut wire = Wire::new(&server(theirs, what, None));
        let session = wire.connect(CLIENT, &client(theirs, what, Some(wish)));
        assert!(works(&mut wire, session).await);
        assert_eq!(chosen(&wire), Some(expected.number()), "{theirs}");
    }
}

/// A session that comes to nothing: why, at the client, and how long that took.
async fn failure(wire: &mut Wire, client: &ClientSecurity) -> (Option<Failure>, Duration) {
    let start = wire.now;
    let session = wire.connect(CLIENT, client);
    let request = wire.get(CLIENT, session);
    while wire.failure(CLIENT, request).is_none() && wire.now - start < secs(50) {
        run(wire, Duration::from_millis(10)).await;
    }
    (wire.failure(CLIENT, request), wire.now - start)
}

#[tokio::test(start_paused = true)]
async fn ends_with_no_suite_in_common_part_at_once() {
    for (ours, theirs, what, offers, takes) in [
        (Backend::Dimpl, Backend::Dimpl, SuiteUse::Certificates, &[EcdsaAes256Gcm][..], &[EcdsaAes128Gcm][..]),
        (Backend::WebrtcDtls, Backend::Dimpl, SuiteUse::PreSharedKeys, &[PskAes128Gcm], &[EcdsaAes128Gcm]),
        (Backend::WebrtcDtls, Backend::Dimpl, SuiteUse::Certificates, &[EcdsaAes128Ccm8], &[EcdsaAes128Gcm]),
        (Backend::Dimpl, Backend::WebrtcDtls, SuiteUse::Certificates, &[EcdsaAes128Gcm], &[EcdsaAes128Ccm8]),
        (Backend::WebrtcDtls, Backend::WebrtcDtls, SuiteUse::PreSharedKeys, &[PskAes128Ccm8], &[PskAes128Gcm]),
        (Backend::Dimpl, Backend::Dimpl, SuiteUse::Dtls13, &[Aes128Gcm], &[Aes256Gcm]),
    ] {
        let context = format!("{ours} to {theirs}, {what}");
        let builder = SecurityConfig::server().backend(theirs).versions(versions(what)).suites(takes);
        let has = |what| takes.iter().any(|suite| suite.used_for() == what);
        let builder = match has(SuiteUse::PreSharedKeys) {
            true => builder.psk(PskTable::new().with("client", "key").unwrap()),
            false => builder,
        };
        let builder = if has(SuiteUse::Certificates) || has(SuiteUse::Dtls13) {
            builder.certificate(certificate())
        } else {
            builder
        };
        let mut wire = Wire::new(&builder.build().unwrap());
        let (why, took) = failure(&mut wire, &client(ours, what, Some(offers))).await;
        // handshake_failure (RFC 5246 §7.4.1.3), twice, as one can be forged: the second time half a second later.
        assert_eq!(why, Some(Failure::Session(SessionEnd::Alert(40))), "{context}");
        assert!(took < secs(1), "{context}: after {took:?}");
        let count = |node| wire.sent(node, 0).iter().map(|it| it.bytes.len()).sum::<usize>();
        assert!(count(SERVER) <= count(CLIENT), "{context}");
        let alerts = wire.sent(SERVER, 0).into_iter().filter(|it| it.bytes[0] == 21);
        let alerts: Vec<_> = alerts.map(|it| it.bytes[13..].to_vec()).collect();
        assert_eq!(alerts, [[2, 40], [2, 40]], "{context}: one for each hello");
        let stats = wire.nodes[SERVER].endpoint.session_stats();
        assert_eq!((stats.half_open, stats.failed.protocol), (0, 2), "{context}");
        let before = wire.log.len();
        run(&mut wire, secs(60)).await;
        assert_eq!(wire.log.len(), before, "{context}: nothing is repeated");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_the_library_refuses_is_answered_by_an_alert() {
    // Extended master secret is changed to something unknown on the way: `dimpl` insists on it (RFC 7627 §5.2).
    let mut wire = Wire::new(&server(Backend::Dimpl, SuiteUse::PreSharedKeys, None));
    let from = wire.nodes[CLIENT].addr;
    wire.fate = Some(Box::new(move |flying| {
        let mut bytes = flying.bytes.clone();
        let place = bytes.windows(4).position(|it| it == [0, 0x17, 0, 0]);
        if let Some(place) = place.filter(|_| flying.from == from && bytes[13] == 1) {
            bytes[place..place + 2].copy_from_slice(&[0xab, 0xcd]);
        }
        vec![bytes]
    }));
    let (why, took) = failure(&mut wire, &client(Backend::Dimpl, SuiteUse::PreSharedKeys, None)).await;
    assert_eq!(why, Some(Failure::Session(SessionEnd::Alert(40))));
    assert!(took < secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_cookie_no_hello_is_refused() {
    let mut wire = Wire::new(&server(Backend::Dimpl, SuiteUse::PreSharedKeys, Some(&[PskAes128Ccm8, EcdsaAes128Gcm])));
    // What the server sends is lost, so that the client never has a cookie.
    let from = wire.nodes[SERVER].addr;
    wire.fate = Some(Box::new(move |flying| if flying.from == from { Vec::new() } else { vec![flying.bytes.clone()] }));
    wire.connect(CLIENT, &client(Backend::WebrtcDtls, SuiteUse::PreSharedKeys, Some(&[PskAes128Gcm])));
    run(&mut wire, secs(10)).await;
    let answers = wire.sent(SERVER, 0);
    assert!(!answers.is_empty() && answers.iter().all(|it| (it.bytes[0], it.bytes[13], it.bytes.len()) == (22, 3, 60)));
}

#[tokio::test(start_paused = true)]
async fn dtls_1_3_can_be_had_alone() {
    let alone = [Aes256Gcm];
    let keys_and_13 = [PskAes128Ccm8, Aes256Gcm];
    let mut wire = Wire::new(&server(Backend::Dimpl, SuiteUse::Dtls13, Some(&keys_and_13)));
    let session = wire.connect(CLIENT, &client(Backend::Dimpl, SuiteUse::Dtls13, Some(&alone)));
    assert!(works(&mut wire, session).await);
    assert_eq!(wire.nodes[CLIENT].endpoint.session(session).unwrap().suite, Some(Aes256Gcm));

    // A client of DTLS 1.2 has nothing in common with it: handshake_failure.
    let mut wire = Wire::new(&server(Backend::Dimpl, SuiteUse::Dtls13, Some(&keys_and_13)));
    let (why, _) = failure(&mut wire, &client(Backend::Dimpl, SuiteUse::Certificates, None)).await;
    assert_eq!(why, Some(Failure::Session(SessionEnd::Alert(40))));

    // And one of DTLS 1.3 alone with a server of DTLS 1.2.
    let mut wire = Wire::new(&server(Backend::Dimpl, SuiteUse::Certificates, None));
    let (why, _) = failure(&mut wire, &client(Backend::Dimpl, SuiteUse::Dtls13, Some(&alone))).await;
    assert!(matches!(why, Some(Failure::Session(_))), "{why:?}");
    assert_eq!(wire.nodes[CLIENT].endpoint.session_stats().established, 0);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_suites_bounds_the_length_of_messages() {
    // A record of GCM is longer by 8 bytes than one of CCM_8.
    for (suite, room) in [(PskAes128Ccm8, 1_200 - 29), (PskAes128Gcm, 1_200 - 37)] {
        let psk = ClientPsk::new("client", "key").unwrap();
        let client = SecurityConfig::client(psk).backend(Backend::WebrtcDtls).suites(&[suite]).max_record(1_200);
        let mut wire = Wire::new(&server(Backend::WebrtcDtls, SuiteUse::PreSharedKeys, None));
        let (now, to) = (wire.now, wire.nodes[SERVER].addr);
        let connected = wire.nodes[CLIENT].endpoint.connect(now, to, 0, &client.build().unwrap(), None);
        assert_eq!(connected.is_ok(), room >= wire.nodes[CLIENT].endpoint.config().max_datagram(), "{suite}");
    }
}
