//! Secure sessions over loopback with the backend that needs tokio, and between it and the other.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::time::Duration;
use std::time::SystemTime;

use coap_dtls::keygen::{Authority, Issued, Validity};
use coap_tokio::dtls::{
    Backend, CertConfig, CertifiedKey, ClientAuth, ClientPsk, ClientSecurity, PeerIdentity, PskTable, SecurityConfig,
    ServerSecurity, WebPkiVerifier, certificates_from_pem,
};
use coap_tokio::router::{Payload, Resource, Router, get, put};
use coap_tokio::{Client, Error, Observed, Server, TokioRuntime};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const BACKENDS: [Backend; 2] = [Backend::Dimpl, Backend::WebrtcDtls];

fn keys(backend: Backend) -> ServerSecurity {
    let keys = PskTable::new().with("one", "key one").unwrap();
    SecurityConfig::server().backend(backend).psk(keys).build().unwrap()
}

fn key(backend: Backend, key: &str) -> ClientSecurity {
    let security = SecurityConfig::client(ClientPsk::new("one", key).unwrap()).backend(backend);
    security.handshake_timer(Duration::from_secs(1), Duration::from_secs(3)).build().unwrap()
}

async fn client(security: ClientSecurity) -> Client {
    Client::builder(TokioRuntime::current().unwrap()).bind("127.0.0.1:0").security(security).client().await.unwrap()
}

/// A server at work, and the beginning of its URIs.
async fn serve(router: Router, security: ServerSecurity) -> String {
    let builder = Server::builder(TokioRuntime::current().unwrap()).secure("127.0.0.1:0", security);
    let server = builder.server().await.unwrap();
    let base = format!("coaps://{}", server.local_addr().unwrap());
    tokio::spawn(server.serve(router));
    base
}

async fn who(identity: PeerIdentity) -> String {
    match identity {
        PeerIdentity::Psk(identity) => String::from_utf8_lossy(&identity).into_owned(),
        PeerIdentity::Certificate(chain) => format!("{} certificates", chain.len()),
        _ => "anonymous".to_owned(),
    }
}

#[tokio::test]
async fn each_backend_has_sessions_with_each() {
    let resource = Resource::new();
    for (server, own) in BACKENDS.into_iter().flat_map(|server| BACKENDS.map(|own| (server, own))) {
        let echo = put(async |Payload(content): Payload| content);
        let router = Router::new().route("/who", get(who)).route("/echo", echo);
        let router = router.route("/it", get(async || "it").observable(&resource));
        let base = serve(router, keys(server)).await;
        let client = client(key(own, "key one")).await;
        let reply = client.get(format!("{base}/who")).await.unwrap();
        assert_eq!(reply.text(), Some("one"), "{own:?} at {server:?}");
        let content = vec![7; 9_000];
        assert_eq!(client.put(format!("{base}/echo"), content.clone()).await.unwrap().payload, content);
        let mut observation = client.observe(format!("{base}/it")).await.unwrap();
        for _ in 0..3 {
            assert!(matches!(observation.next().await, Some(Observed::Notification(_))), "{own:?} at {server:?}");
            resource.changed();
        }
        client.disconnect();
        assert_eq!(client.get(format!("{base}/who")).await.unwrap().text(), Some("one"));
        assert_eq!(client.session_stats().established, 2);
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    for (server, own) in BACKENDS.into_iter().flat_map(|server| BACKENDS.map(|own| (server, own))) {
        let base = serve(Router::new().route("/who", get(who)), keys(server)).await;
        let failed = client(key(own, "another")).await.get(format!("{base}/who")).await;
        assert!(matches!(failed, Err(Error::Session { .. })), "{own:?} at {server:?}: {failed:?}");
    }
}

fn certified(issued: &Issued) -> CertifiedKey {
    CertifiedKey::from_pem(&issued.certificates, issued.key.as_str(), None).unwrap()
}

/// Which only this backend has: intermediates, and clients that may show a certificate or not.
#[tokio::test]
async fn certificates_come_with_what_is_between_them_and_their_authority() {
    let (rng, validity) = (&mut ChaCha20Rng::seed_from_u64(1), Validity::days_from(SystemTime::now(), 2));
    let root = Authority::new("Root", validity, rng).unwrap();
    let between = root.intermediate("Between", validity, rng).unwrap();
    let verifier = || WebPkiVerifier::new(certificates_from_pem(root.certificate().unwrap()).unwrap()).unwrap();
    let own = certified(&between.server(&["127.0.0.1"], validity, rng).unwrap());
    let server = SecurityConfig::server().backend(Backend::WebrtcDtls).certificate(own);
    let server = server.client_auth(ClientAuth::Optional).verifier(verifier()).build().unwrap();
    let base = serve(Router::new().route("/who", get(who)), server).await;
    let known = CertConfig::new(verifier()).own(certified(&between.client("sensor 7", validity, rng).unwrap()));
    for (config, expected) in [(known, "2 certificates"), (CertConfig::new(verifier()), "anonymous")] {
        let security = SecurityConfig::client(config).backend(Backend::WebrtcDtls).build().unwrap();
        let reply = client(security).await.get(format!("{base}/who")).await.unwrap();
        assert_eq!(reply.text(), Some(expected));
    }
}
