//! DTL: what a handshake shows of suites, certificates and names (RFC 7252 §9.1.3), as it is seen on the wire.
//!
//! The mandatory suite of certificates, and names, are in the backend `webrtc-dtls` alone, whose handshakes run in tasks of tokio: in
//! virtual time as well.

use core::future::Future;
use core::time::Duration;
use std::time::SystemTime;

use coap_core::{Code, Failure, Peer, SessionEnd, Uri};
use coap_dtls::keygen::{Authority, Issued, Validity};
use coap_dtls::{
    Backend, Capability, CertConfig, CertifiedKey, ClientAuth, ClientPsk, ClientSecurity, PeerIdentity, SecurityConfig,
    ServerName, ServerSecurity, WebPkiVerifier, certificates_from_pem,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::time::sleep;

use crate::wire::{CLIENT, LATENCY, SERVER, Wire, psk_server, secs};

/// TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8 (RFC 7251 §2).
const ECDSA_CCM_8: [u8; 2] = [0xc0, 0xae];

/// Messages of a handshake (RFC 5246 §7.4).
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const SERVER_KEY_EXCHANGE: u8 = 12;

/// RFC 6066 §3.
const SERVER_NAME: u16 = 0;

/// A runtime whose clock goes on when nobody has anything to do.
fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

/// Lets time pass for the endpoints and for the tasks of their handshakes.
async fn pass(wire: &mut Wire, span: Duration) {
    const STEP: Duration = Duration::from_millis(1);
    for _ in 0..span.as_millis() {
        let now = wire.now;
        wire.nodes.iter_mut().for_each(|node| node.endpoint.handle_timeout(now));
        wire.run(STEP);
        sleep(STEP).await;
    }
}

/// The bodies of the messages of one type that a node has sent whole and in the clear.
fn messages(wire: &Wire, node: usize, kind: u8) -> Vec<&[u8]> {
    let mut found = Vec::new();
    for flying in wire.sent(node, 0) {
        let mut rest = &flying.bytes[..];
        // RFC 6347 §4.1 and §4.2.2: type, version, epoch, sequence number, length; type, length, number, and which part it is.
        while let Some(([content, _, _, epoch_high, epoch_low, .., high, low], after)) = rest.split_first_chunk::<13>()
        {
            let (record, next) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(after.len()));
            let in_the_clear = (*content, *epoch_high, *epoch_low) == (22, 0, 0);
            if in_the_clear && record.first() == Some(&kind) && record[1..4] == record[9..12] {
                found.push(&record[12..]);
            }
            rest = next;
        }
    }
    found
}

/// What is in an extension of a ClientHello.
fn extension(hello: &[u8], wanted: u16) -> Option<&[u8]> {
    let number = |bytes: &[u8]| u16::from_be_bytes(bytes[..2].try_into().unwrap());
    // Version and random; session_id, cookie, suites, methods of compression.
    let mut rest = &hello[34..];
    for width in [1, 1, 2, 1] {
        let len = if width == 1 { usize::from(rest[0]) } else { usize::from(number(rest)) };
        rest = &rest[width + len..];
    }
    rest = rest.get(2..).unwrap_or_default();
    while let Some((header, after)) = rest.split_at_checked(4) {
        let (value, next) = after.split_at(usize::from(number(&header[2..])));
        if number(header) == wanted {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// The name in server_name: a list of one, of type host_name.
fn indicated(hello: &[u8]) -> Option<&str> {
    let [_, _, 0, high, low, name @ ..] = extension(hello, SERVER_NAME)? else { panic!("no list of names") };
    assert_eq!(usize::from(u16::from_be_bytes([*high, *low])), name.len(), "more than one name");
    Some(core::str::from_utf8(name).unwrap())
}

/// Authorities, and what one of them has signed.
struct Certificates {
    trusted: Authority,
    stranger: Authority,
    validity: Validity,
    rng: ChaCha20Rng,
}

impl Certificates {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let validity = Validity::days_from(SystemTime::now(), 1);
        let trusted = Authority::new("CA", validity, &mut rng).unwrap();
        let stranger = Authority::new("Another CA", validity, &mut rng).unwrap();
        Self { trusted, stranger, validity, rng }
    }

    fn trust(authority: &Authority) -> WebPkiVerifier {
        WebPkiVerifier::new(certificates_from_pem(authority.certificate().unwrap()).unwrap()).unwrap()
    }

    fn own(issued: &Issued) -> CertifiedKey {
        CertifiedKey::from_pem(&issued.certificates, issued.key.as_bytes(), None).unwrap()
    }

    /// The server at `door.example`, which takes clients of the trusted authority.
    fn server(&mut self) -> ServerSecurity {
        let own = self.trusted.server(&["door.example"], self.validity, &mut self.rng).unwrap();
        let server = SecurityConfig::server().certificate(Self::own(&own)).client_auth(ClientAuth::Required);
        server.verifier(Self::trust(&self.trusted)).backend(Backend::WebrtcDtls).build().unwrap()
    }

    /// A client that shows this, and takes servers of that authority.
    fn client(own: Option<&Issued>, authority: &Authority) -> ClientSecurity {
        let config = CertConfig::new(Self::trust(authority));
        let config = if let Some(own) = own { config.own(Self::own(own)) } else { config };
        SecurityConfig::client(config).backend(Backend::WebrtcDtls).build().unwrap()
    }
}

/// A client asks for something at the host of a URI.
async fn ask(server: &ServerSecurity, client: &ClientSecurity, uri: &str) -> (Wire, Result<Code, Failure>) {
    let mut wire = Wire::new(server);
    let name = ServerName::try_from(Uri::parse(uri).unwrap().host()).unwrap();
    let (now, to) = (wire.now, wire.nodes[SERVER].addr);
    let session = wire.nodes[CLIENT].endpoint.connect(now, to, 0, client, Some(&name)).unwrap();
    let request = wire.get(CLIENT, session);
    pass(&mut wire, secs(2)).await;
    let outcome = match (wire.answer(CLIENT, request), wire.failure(CLIENT, request)) {
        (Some(code), None) => Ok(code),
        (None, Some(failure)) => Err(failure),
        other => panic!("{other:?}"),
    };
    (wire, outcome)
}

#[test]
fn dtl_07_certificates_use_the_mandatory_suite_and_both_ends_are_checked() {
    let mut all = Certificates::new();
    let server = all.server();
    let (validity, mut rng) = (all.validity, all.rng.clone());
    let own = all.trusted.client("client", validity, &mut rng).unwrap();
    let known = Certificates::client(Some(&own), &all.trusted);
    in_virtual_time(async {
        let (wire, outcome) = ask(&server, &known, "coaps://door.example/").await;
        assert_eq!(outcome, Ok(Code::CONTENT));
        let hello = messages(&wire, SERVER, SERVER_HELLO)[0];
        // Version, random, session_id; the suite.
        let suite = 35 + usize::from(hello[34]);
        assert_eq!(hello[suite..suite + 2], ECDSA_CCM_8);
        // RFC 8422 §5.4: named_curve, secp256r1.
        assert_eq!(messages(&wire, SERVER, SERVER_KEY_EXCHANGE)[0][..3], [3, 0x00, 0x17]);
        let Peer::Session(session) = wire.nodes[SERVER].served[0] else { panic!("not in a session") };
        let identity = wire.nodes[SERVER].endpoint.session(session).unwrap().identity;
        let chain = certificates_from_pem(&own.certificates).unwrap();
        assert_eq!(identity, Some(&PeerIdentity::Certificate(chain)));

        // The server is not who was asked for, or nobody that is known: it is told, and sees no request.
        let strict = Certificates::client(Some(&own), &all.stranger);
        for (client, uri, why) in [
            (&known, "coaps://window.example/", SessionEnd::NameMismatch),
            (&known, "coaps://192.0.2.9/", SessionEnd::NameMismatch),
            (&strict, "coaps://door.example/", SessionEnd::UnknownAuthority),
        ] {
            let (wire, outcome) = ask(&server, client, uri).await;
            assert_eq!(outcome, Err(Failure::Session(why)), "{uri}");
            let stats = wire.nodes[SERVER].endpoint.session_stats();
            assert_eq!((stats.established, stats.failed.alert), (0, stats.begun), "{uri}: {stats:?}");
            assert!(wire.nodes[SERVER].served.is_empty());
        }

        // The client is nobody that is known, has a certificate for something else, or none.
        let foreign = all.stranger.client("client", validity, &mut rng).unwrap();
        let other_use = all.trusted.server(&["client"], validity, &mut rng).unwrap();
        for (what, own) in [("an authority", Some(&foreign)), ("a use", Some(&other_use)), ("nothing", None)] {
            let client = Certificates::client(own, &all.trusted);
            let (wire, outcome) = ask(&server, &client, "coaps://door.example/").await;
            assert!(matches!(outcome, Err(Failure::Session(SessionEnd::Alert(_)))), "{what}: {outcome:?}");
            let stats = wire.nodes[SERVER].endpoint.session_stats();
            let refused = if own.is_some() { stats.failed.certificate } else { stats.failed.no_certificate };
            assert_eq!((stats.established, refused), (0, stats.begun), "{what}: {stats:?}");
            assert!(wire.nodes[SERVER].served.is_empty());
        }
    });
}

#[test]
fn dtl_09_the_host_is_indicated_if_it_is_a_name_and_an_address_never_is() {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let authority = Authority::new("CA", Validity::days_from(SystemTime::now(), 1), &mut rng).unwrap();
    for backend in Backend::all() {
        let psk = ClientPsk::new("client", "the key of the client").unwrap();
        let by_key = SecurityConfig::client(psk).backend(*backend).build().unwrap();
        let config = CertConfig::new(Certificates::trust(&authority));
        let by_certificate = SecurityConfig::client(config).backend(*backend).build().unwrap();
        let can = backend.capabilities().has(Capability::ServerNameIndication);
        for (uri, host) in [
            ("coaps://door.example/", Some("door.example")),
            ("coaps://DOOR.Example:7000/a", Some("door.example")),
            ("coaps://192.0.2.9/", None),
            ("coaps://[2001:db8::9]/", None),
        ] {
            for client in [&by_key, &by_certificate] {
                let wire = in_virtual_time(async {
                    let mut wire = Wire::new(&psk_server());
                    let name = ServerName::try_from(Uri::parse(uri).unwrap().host()).unwrap();
                    let (now, to) = (wire.now, wire.nodes[SERVER].addr);
                    wire.nodes[CLIENT].endpoint.connect(now, to, 0, client, Some(&name)).unwrap();
                    pass(&mut wire, LATENCY * 4).await;
                    wire
                });
                let hellos = messages(&wire, CLIENT, CLIENT_HELLO);
                assert_eq!(hellos.len(), 2, "before the cookie and with it");
                for hello in hellos {
                    // The library of `webrtc-dtls` has a name in each hello. Where there is none, this is one that says nothing.
                    let expected = if can { Some(host.unwrap_or("localhost")) } else { None };
                    assert_eq!(indicated(hello), expected, "{backend}: {uri}");
                }
            }
        }
    }
}
