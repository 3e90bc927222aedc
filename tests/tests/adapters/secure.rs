//! Secure sessions: `coaps` over loopback.

use core::future::IntoFuture;
use core::net::SocketAddr;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32};
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use coap_core::{Code, Local, Peer, SessionEnd, UdpAddr};
use coap_driver::dtls::keygen::{Authority, Issued, Validity};
use coap_driver::dtls::{
    CertConfig, CertifiedKey, ClientAuth, ClientPsk, ClientSecurity, PeerIdentity, PskTable, SecurityConfig,
    ServerSecurity, WebPkiVerifier, certificates_from_pem,
};
use coap_driver::router::{Payload, Resource, Router, get, put};
use coap_driver::{
    Client, CurrentRuntime, Error, ErrorKind, Observation, Observed, Proxy, RecvBatch, Runtime, Server, ShutdownHandle,
    UdpSocket,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::clients::Named;
use crate::support::{Silent, both, fast_config, millis, sleep, spawn_server, within};

/// How long a handshake may take in these tests.
const DEADLINE: Duration = Duration::from_secs(3);

fn keys() -> ServerSecurity {
    let keys = PskTable::new().with("one", "key one").unwrap().with("two", "key two").unwrap();
    SecurityConfig::server().psk(keys).build().unwrap()
}

fn key(identity: &str, key: &str) -> ClientSecurity {
    let security = SecurityConfig::client(ClientPsk::new(identity, key).unwrap());
    security.handshake_timer(Duration::from_secs(1), DEADLINE).build().unwrap()
}

fn one() -> ClientSecurity {
    key("one", "key one")
}

fn two() -> ClientSecurity {
    key("two", "key two")
}

/// An authority, and what it signs.
struct Signer {
    authority: Authority,
    rng: ChaCha20Rng,
}

impl Signer {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let authority = Authority::new(&format!("Authority {seed}"), Self::validity(), &mut rng).unwrap();
        Self { authority, rng }
    }

    fn validity() -> Validity {
        Validity::days_from(SystemTime::now(), 2)
    }

    fn server(&mut self, name: &str) -> CertifiedKey {
        certified(&self.authority.server(&[name], Self::validity(), &mut self.rng).unwrap())
    }

    fn client(&mut self, name: &str) -> CertifiedKey {
        certified(&self.authority.client(name, Self::validity(), &mut self.rng).unwrap())
    }

    fn verifier(&self) -> WebPkiVerifier {
        let pem = self.authority.certificate().unwrap();
        WebPkiVerifier::new(certificates_from_pem(pem).unwrap()).unwrap()
    }

    /// A client that trusts it.
    fn trusted(&self, own: Option<CertifiedKey>) -> ClientSecurity {
        let config = CertConfig::new(self.verifier());
        let config = match own {
            Some(own) => config.own(own),
            None => config,
        };
        SecurityConfig::client(config).handshake_timer(Duration::from_secs(1), DEADLINE).build().unwrap()
    }
}

fn certified(issued: &Issued) -> CertifiedKey {
    CertifiedKey::from_pem(&issued.certificates, issued.key.as_str(), None).unwrap()
}

/// A server at work, on plain and on secure sockets.
struct Both<R: Runtime> {
    addrs: Vec<SocketAddr>,
    shutdown: ShutdownHandle<R>,
}

impl<R: Runtime> Both<R> {
    /// The URI on the secure socket with this number, from 0.
    fn url(&self, socket: usize, path: &str) -> String {
        format!("coaps://{}{path}", self.addrs[1 + socket])
    }

    fn plain(&self, path: &str) -> String {
        format!("coap://{}{path}", self.addrs[0])
    }
}

/// A server with a plain socket, and a secure one for each of these.
async fn serve<R: CurrentRuntime>(router: Router, securities: Vec<ServerSecurity>) -> Both<R> {
    let mut builder = Server::builder(R::current().unwrap()).config(fast_config()).bind("127.0.0.1:0");
    for security in securities {
        builder = builder.secure("127.0.0.1:0", security);
    }
    let server = builder.server().await.unwrap();
    let both = Both { addrs: server.local_addrs().to_vec(), shutdown: server.shutdown_handle() };
    spawn_server(server, router);
    both
}

async fn client<R: CurrentRuntime>(security: ClientSecurity) -> Client<R> {
    let builder = Client::builder(R::current().unwrap()).config(fast_config()).bind("127.0.0.1:0");
    builder.security(security).client().await.unwrap()
}

async fn who(identity: Option<PeerIdentity>) -> String {
    match identity {
        None => "nobody".to_owned(),
        Some(PeerIdentity::Psk(identity)) => format!("key of {}", String::from_utf8_lossy(&identity)),
        Some(PeerIdentity::Certificate(chain)) => format!("a certificate of {} bytes", chain[0].len()),
        Some(_) => "anonymous".to_owned(),
    }
}

fn router() -> Router {
    Router::new().route("/who", get(who))
}

/// Why there was no session, of a request that was never sent.
#[track_caller]
fn refused(failed: Result<coap_driver::Reply, Error>, server: SocketAddr) -> SessionEnd {
    let error = failed.unwrap_err();
    let line = error.to_string();
    let Error::Session { peer, why, timing } = error else { panic!("{error:?}") };
    assert_eq!((peer, timing.attempts), (server.into(), 0));
    assert!(line.starts_with(&server.to_string()) && line.contains("; ") && !line.contains('\n'), "{line}");
    assert_eq!(Error::Session { peer, why, timing }.kind(), ErrorKind::Session(why));
    why
}

async fn text<R: Runtime>(client: &Client<R>, url: impl AsRef<str>) -> String {
    client.get(url.as_ref()).await.unwrap().text().unwrap().to_owned()
}

async fn state<R: Runtime>(observation: &mut Observation<R>) -> String {
    match observation.next().await {
        Some(Observed::Notification(reply)) => reply.text().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_pre_shared_key_secures_a_request_and_says_who_asks<R: CurrentRuntime>() {
    let here = serve::<R>(router(), vec![keys()]).await;
    let client = client::<R>(one()).await;
    let reply = client.get(here.url(0, "/who")).await.unwrap();
    assert_eq!((reply.code, reply.text()), (Code::CONTENT, Some("key of one")));
    assert_eq!(reply.timing.attempts, 1);
    let session = client.session(reply.from).unwrap();
    assert_eq!(session.addr, UdpAddr::new(here.addrs[1]));
    assert!(session.identity.is_some() && session.name.is_some());
    // An error is read by people, and when the session may be over: it names the address.
    let missing = client.get(here.url(0, "/missing")).await.unwrap().error_for_status().unwrap_err();
    assert_eq!(missing.to_string(), format!("{} answered 4.04 Not Found", here.addrs[1]));
    let missing = client.get(here.url(0, "/missing")).download().await.unwrap().error_for_status().unwrap_err();
    assert_eq!(missing.to_string(), format!("{} answered 4.04 Not Found", here.addrs[1]));
    // In the clear nobody is anybody, at the same router.
    assert_eq!(text(&client, here.plain("/who")).await, "nobody");
    assert_eq!(client.session_stats().established, 1);
}

pub(crate) async fn certificates_secure_a_request_and_say_who_asks<R: CurrentRuntime>() {
    let mut signer = Signer::new(1);
    let asking = SecurityConfig::server().certificate(signer.server("127.0.0.1"));
    let asking = asking.client_auth(ClientAuth::Required).verifier(signer.verifier()).build().unwrap();
    let here = serve::<R>(router(), vec![asking]).await;
    let own = signer.client("sensor 7");
    let expected = format!("a certificate of {} bytes", own.chain()[0].len());
    let known = client::<R>(signer.trusted(Some(own))).await;
    assert_eq!(text(&known, here.url(0, "/who")).await, expected);
    // Who shows none, or one of another authority, does not come in.
    for own in [None, Some(Signer::new(2).client("sensor 7"))] {
        let unknown = client::<R>(signer.trusted(own)).await;
        refused(unknown.get(here.url(0, "/who")).await, here.addrs[1]);
    }
}

pub(crate) async fn a_wrong_key_and_an_unknown_identity_look_alike<R: CurrentRuntime>() {
    let here = serve::<R>(router(), vec![keys()]).await;
    let (wrong, unknown) = (client::<R>(key("one", "key two")).await, client::<R>(key("three", "key one")).await);
    let url = here.url(0, "/who");
    let (wrong, unknown) = both(wrong.get(&url).into_future(), unknown.get(&url).into_future()).await;
    assert_eq!(refused(wrong, here.addrs[1]), refused(unknown, here.addrs[1]));
}

pub(crate) async fn an_authority_that_is_not_trusted_is_refused<R: CurrentRuntime>() {
    let (mut signer, other) = (Signer::new(1), Signer::new(2));
    let server = SecurityConfig::server().certificate(signer.server("127.0.0.1")).build().unwrap();
    let here = serve::<R>(router(), vec![server]).await;
    let client = client::<R>(other.trusted(None)).await;
    assert_eq!(refused(client.get(here.url(0, "/who")).await, here.addrs[1]), SessionEnd::UnknownAuthority);
}

pub(crate) async fn a_certificate_for_another_name_is_refused<R: CurrentRuntime>() {
    let mut signer = Signer::new(1);
    let server = SecurityConfig::server().certificate(signer.server("other.example")).build().unwrap();
    let here = serve::<R>(router(), vec![server]).await;
    let client = client::<R>(signer.trusted(None)).await;
    let asked = client.get(here.url(0, "/who")).await;
    assert_eq!(refused(asked, here.addrs[1]), SessionEnd::NameMismatch);
    // The name in the URI counts, wherever it leads.
    let runtime = Named { inner: R::current().unwrap(), addrs: vec![UdpAddr::new(here.addrs[1])] };
    let builder = Client::builder(runtime).bind("127.0.0.1:0").security(signer.trusted(None));
    let named = builder.client().await.unwrap();
    assert_eq!(text(&named, "coaps://other.example/who").await, "anonymous");
    assert_eq!(refused(named.get("coaps://third.example/who").await, here.addrs[1]), SessionEnd::NameMismatch);
}

pub(crate) async fn bodies_and_observations_travel_in_a_session<R: CurrentRuntime>() {
    async fn echo(Payload(content): Payload) -> Vec<u8> {
        content.iter().rev().copied().collect()
    }
    let (resource, counter) = (Resource::new(), Arc::new(AtomicU32::new(0)));
    let count = {
        let counter = counter.clone();
        move || {
            let count = counter.load(Relaxed);
            async move { count.to_string() }
        }
    };
    let router = Router::new().route("/echo", put(echo)).route("/count", get(count).observable(&resource));
    let here = serve::<R>(router, vec![keys()]).await;
    let client = client::<R>(one()).await;
    let content: Vec<u8> = (0..30_000_u32).map(|at| (at % 251) as u8).collect();
    let reply = client.put(here.url(0, "/echo"), content.clone()).await.unwrap();
    assert!(reply.payload.iter().rev().eq(&content));
    let mut observation = client.observe(here.url(0, "/count")).await.unwrap();
    assert_eq!(state(&mut observation).await, "0");
    for n in 1..4 {
        counter.store(n, Relaxed);
        resource.changed();
        assert_eq!(state(&mut observation).await, n.to_string());
    }
    observation.cancel().await;
    assert_eq!((resource.observers(), client.session_stats().begun), (0, 1));
}

pub(crate) async fn a_session_is_kept_closed_and_made_anew<R: CurrentRuntime>() {
    let resource = Resource::new();
    let router = router().route("/it", get(async || "it").observable(&resource));
    let here = serve::<R>(router, vec![keys()]).await;
    let client = client::<R>(one()).await;
    let first = client.get(here.url(0, "/who")).await.unwrap().from;
    assert_eq!(client.get(here.url(0, "/who")).await.unwrap().from, first);
    let mut observation = client.observe(here.url(0, "/it")).await.unwrap();
    assert_eq!(state(&mut observation).await, "it");
    client.disconnect();
    assert!(matches!(observation.next().await, Some(Observed::Lost(Error::Disconnected))));
    assert!(client.session(first).is_none());
    // The server has heard of it, not only the next handshake.
    for _ in 0..100 {
        if resource.observers() == 0 {
            break;
        }
        sleep::<R>(millis(10)).await;
    }
    assert_eq!(resource.observers(), 0);
    let second = client.get(here.url(0, "/who")).await.unwrap().from;
    assert_ne!(first, second);
    assert_eq!((client.session_stats().established, client.session_stats().sessions), (2, 1));
}

pub(crate) async fn each_secure_socket_has_credentials_of_its_own<R: CurrentRuntime>() {
    let mut signer = Signer::new(1);
    let certificate = SecurityConfig::server().certificate(signer.server("127.0.0.1")).build().unwrap();
    let other = SecurityConfig::server().psk(PskTable::new().with("one", "other key").unwrap()).build().unwrap();
    let here = serve::<R>(router(), vec![keys(), certificate, other]).await;
    let (psk, certificate) = (client::<R>(one()).await, client::<R>(signer.trusted(None)).await);
    let other = client::<R>(key("one", "other key")).await;
    assert_eq!(text(&psk, here.url(0, "/who")).await, "key of one");
    assert_eq!(text(&certificate, here.url(1, "/who")).await, "anonymous");
    assert_eq!(text(&other, here.url(2, "/who")).await, "key of one");
    assert_eq!(text(&psk, here.plain("/who")).await, "nobody");
    let (url, other_url) = (here.url(2, "/who"), here.url(0, "/who"));
    let (wrong, other) = both(psk.get(&url).into_future(), other.get(&other_url).into_future()).await;
    refused(wrong, here.addrs[3]);
    refused(other, here.addrs[1]);
}

pub(crate) async fn nothing_secure_is_asked_or_answered_in_the_clear<R: CurrentRuntime>() {
    let mut builder = Server::builder(R::current().unwrap()).config(fast_config()).bind("127.0.0.1:0");
    builder = builder.secure("127.0.0.1:0", keys());
    let server = builder.server().await.unwrap();
    let (plain, secure) = (server.local_addrs()[0], server.local_addrs()[1]);
    let observer = server.client();
    spawn_server(server, router());
    let client = client::<R>(one()).await;
    let (to_plain, to_secure) = (format!("coaps://{plain}/who"), format!("coap://{secure}/who"));
    let (refusal, failed) = both(client.get(&to_plain).into_future(), client.get(&to_secure).into_future()).await;
    assert_eq!(refused(refusal, plain), SessionEnd::NoAnswer);
    assert!(matches!(failed, Err(Error::NoAck { .. })), "{failed:?}");
    // Nothing of either has reached the endpoint behind.
    assert_eq!(observer.stats().requests_received, 0);
    assert_eq!(observer.session_stats().in_the_clear, 3);
}

pub(crate) async fn a_handshake_that_nobody_answers_ends_in_time<R: CurrentRuntime>() {
    let silent = Silent::new();
    let client = client::<R>(one()).await;
    let url = format!("coaps://{}/", silent.addr());
    // The time of the request counts.
    let failed = client.get(&url).timeout(millis(200)).await;
    assert!(failed.as_ref().unwrap_err().is_timeout());
    assert_eq!(refused(failed, silent.addr()), SessionEnd::NoAnswer);
    // And that of the handshake, which goes on where it was.
    assert_eq!(refused(client.get(&url).await, silent.addr()), SessionEnd::NoAnswer);
    let heard = silent.heard();
    assert!(!heard.is_empty() && heard.iter().all(|datagram| datagram[0] == 22), "{heard:02x?}");
}

pub(crate) async fn a_closed_port_is_reported_to_a_handshake<R: CurrentRuntime>() {
    let closed = Silent::new().addr();
    let client = client::<R>(one()).await;
    let failed = within::<R, _>(DEADLINE / 2, client.get(format!("coaps://{closed}/")).into_future()).await;
    let failed = failed.expect("it waits for the handshake").unwrap_err();
    assert!(matches!(failed, Error::Unreachable { peer, .. } if peer == closed.into()), "{failed:?}");
}

pub(crate) async fn the_next_address_is_tried_when_no_session_stands<R: CurrentRuntime>() {
    let here = serve::<R>(router(), vec![keys()]).await;
    let (silent, closed) = (Silent::new(), Silent::new().addr());
    for (first, put) in [(closed, true), (silent.addr(), false)] {
        let addrs = [first, here.addrs[1]].map(UdpAddr::new).to_vec();
        let runtime = Named { inner: R::current().unwrap(), addrs };
        let builder = Client::builder(runtime).config(fast_config()).bind("127.0.0.1:0").security(one());
        let client = builder.client().await.unwrap();
        let request = if put { client.put("coaps://both.example/", "") } else { client.get("coaps://both.example/") };
        // Before the handshake with the silent one is given up.
        let reply = within::<R, _>(Duration::from_millis(2_900), request.into_future()).await;
        let reply = reply.expect("it waits for the first").unwrap();
        assert_eq!(client.session(reply.from).unwrap().addr, UdpAddr::new(here.addrs[1]));
    }
}

pub(crate) async fn a_group_is_not_asked_securely<R: CurrentRuntime>() {
    let client = client::<R>(one()).await;
    let failed = client.get("coaps://224.0.1.187/").non_confirmable().await.unwrap_err();
    assert!(matches!(failed, Error::SecureGroup { .. }), "{failed:?}");
    assert_eq!((failed.kind(), client.session_stats().begun), (ErrorKind::Security, 0));
    let failed = client.get("coaps://224.0.1.187/").multicast().await.map(|_| ()).unwrap_err();
    assert!(matches!(failed, Error::SecureGroup { .. }), "{failed:?}");
}

pub(crate) async fn a_plain_proxy_is_not_told_what_is_secret<R: CurrentRuntime>() {
    let silent = Silent::new();
    let client = client::<R>(one()).await;
    let proxy = || Proxy::at(format!("coap://{}", silent.addr())).unwrap();
    client.set_proxy(Some(proxy()));
    let failed = client.get("coaps://192.0.2.1/").await;
    assert!(matches!(failed, Err(Error::Security)), "{failed:?}");
    assert_eq!(silent.heard().len(), 0);
    // Unless the way to it is said to be safe.
    client.set_proxy(Some(proxy().trusted()));
    let failed = client.get("coaps://192.0.2.1/").await;
    assert!(matches!(failed, Err(Error::NoAck { .. })), "{failed:?}");
    assert!(silent.heard()[0].windows(17).any(|text| text == b"coaps://192.0.2.1"));
}

pub(crate) async fn only_who_is_allowed_comes_in<R: CurrentRuntime>() {
    let router = router().require_identity(|who| matches!(who, PeerIdentity::Psk(name) if name == b"one"));
    let here = serve::<R>(router, vec![keys()]).await;
    let (one, two) = (client::<R>(one()).await, client::<R>(two()).await);
    assert_eq!(text(&one, here.url(0, "/who")).await, "key of one");
    assert_eq!(two.get(here.url(0, "/who")).await.unwrap().code, Code::FORBIDDEN);
    assert_eq!(one.get(here.plain("/who")).await.unwrap().code, Code::UNAUTHORIZED);
    async fn named(_: PeerIdentity) {}
    let here = serve::<R>(Router::new().route("/", get(named)), vec![keys()]).await;
    assert_eq!(one.get(here.plain("/")).await.unwrap().code, Code::UNAUTHORIZED);
    assert!(one.get(here.url(0, "/")).await.unwrap().is_success());
}

pub(crate) async fn what_is_made_for_one_identity_is_told_to_no_other<R: CurrentRuntime>() {
    let resource = Resource::new();
    let router = Router::new().route("/who", get(who).observable(&resource));
    let here = serve::<R>(router, vec![keys()]).await;
    let (one, two) = (client::<R>(one()).await, client::<R>(two()).await);
    let mut observations = [
        (one.observe(here.url(0, "/who")).await.unwrap(), "key of one"),
        (two.observe(here.url(0, "/who")).await.unwrap(), "key of two"),
        (one.observe(here.plain("/who")).await.unwrap(), "nobody"),
    ];
    assert_eq!(resource.observers(), 3);
    for round in 0..3 {
        for (observation, expected) in &mut observations {
            assert_eq!(state(observation).await, *expected, "round {round}");
        }
        resource.changed();
    }
}

pub(crate) async fn a_client_that_starts_anew_has_a_new_session<R: CurrentRuntime>() {
    let resource = Resource::new();
    let router = router().route("/it", get(async || "it").observable(&resource));
    let here = serve::<R>(router, vec![keys()]).await;
    let before = client::<R>(one()).await;
    let port = before.local_addrs()[0];
    let mut observation = before.observe(here.url(0, "/it")).await.unwrap();
    assert_eq!(state(&mut observation).await, "it");
    assert_eq!(resource.observers(), 1);
    // It is gone from its port; whether the server has heard of that or not, the next session is another's.
    before.close();
    drop((before, observation));
    let after = loop {
        let builder = Client::builder(R::current().unwrap()).config(fast_config()).bind(port).security(two());
        match builder.client().await {
            Ok(client) => break client,
            Err(Error::Bind { .. }) => sleep::<R>(millis(10)).await,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(text(&after, here.url(0, "/who")).await, "key of two");
    assert_eq!(resource.observers(), 0);
}

/// A runtime whose sockets say nothing any more when a test says so: as if the machine had lost its power.
#[derive(Clone)]
struct Cut<R> {
    inner: R,
    cut: Arc<AtomicBool>,
}

#[derive(Debug)]
struct CutSocket<S> {
    inner: S,
    cut: Arc<AtomicBool>,
}

impl<R: Runtime> Runtime for Cut<R> {
    type Socket = CutSocket<R::Socket>;
    type Timer = R::Timer;

    fn now(&self) -> coap_core::Instant {
        self.inner.now()
    }

    fn timer(&self) -> Self::Timer {
        self.inner.timer()
    }

    fn spawn(&self, future: coap_driver::BoxFuture<()>) {
        self.inner.spawn(future);
    }

    fn bind(&self, addr: SocketAddr, options: &coap_driver::SocketOptions) -> io::Result<Self::Socket> {
        Ok(CutSocket { inner: self.inner.bind(addr, options)?, cut: self.cut.clone() })
    }

    fn resolve(&self, host: &str, port: u16) -> coap_driver::BoxFuture<io::Result<Vec<UdpAddr>>> {
        self.inner.resolve(host, port)
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        self.inner.interface_index(name)
    }
}

impl<S: UdpSocket> UdpSocket for CutSocket<S> {
    fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut RecvBatch) -> Poll<io::Result<()>> {
        self.inner.poll_recv(cx, batch)
    }

    fn try_send(&self, to: UdpAddr, from: &Local, payload: &[u8]) -> io::Result<()> {
        if self.cut.load(Relaxed) { Ok(()) } else { self.inner.try_send(to, from, payload) }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_writable(cx)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

pub(crate) async fn a_server_that_starts_anew_is_found_again<R: CurrentRuntime>() {
    let cut = Cut { inner: R::current().unwrap(), cut: Arc::default() };
    let server = Server::builder(cut.clone()).secure("127.0.0.1:0", keys()).server().await.unwrap();
    let addr = server.local_addr().unwrap();
    let serving = Box::pin(server.serve(router()));
    let client = client::<R>(one()).await;
    let url = format!("coaps://{addr}/who");
    assert_eq!(text(&client, &url).await, "key of one");
    cut.cut.store(true, Relaxed);
    drop(serving);
    let server = loop {
        match Server::builder(R::current().unwrap()).secure(addr, keys()).server().await {
            Ok(server) => break server,
            Err(Error::Bind { .. }) => sleep::<R>(millis(10)).await,
            Err(other) => panic!("{other}"),
        }
    };
    spawn_server(server, router());
    // What is said in a session that the server does not know any more cannot be answered, and the next request finds out.
    let failed = client.get(&url).await;
    assert!(matches!(&failed, Err(Error::NoAck { peer, .. }) if *peer == addr.into()), "{failed:?}");
    assert_eq!(text(&client, &url).await, "key of one");
    assert_eq!(client.session_stats().established, 2);
}

pub(crate) async fn a_shutdown_closes_the_sessions<R: CurrentRuntime>() {
    let resource = Resource::new();
    let router = router().route("/it", get(async || "it").observable(&resource));
    let here = serve::<R>(router, vec![keys()]).await;
    let client = client::<R>(one()).await;
    let from = client.get(here.url(0, "/who")).await.unwrap().from;
    here.shutdown.shutdown(Duration::ZERO);
    for _ in 0..100 {
        if client.session(from).is_none() {
            break;
        }
        sleep::<R>(millis(10)).await;
    }
    assert!(client.session(from).is_none());
    assert_eq!(client.session_stats().closed.peer, 1);
}

pub(crate) async fn links_found_in_a_session_are_secure<R: CurrentRuntime>() {
    let here = serve::<R>(router(), vec![keys()]).await;
    let client = client::<R>(one()).await;
    let found = client.discover(here.url(0, "")).await.unwrap();
    let link = found.links[0].uri().unwrap();
    assert_eq!(link.to_string(), here.url(0, "/who"));
    // By the session itself too.
    let Peer::Session(_) = found.from else { panic!("{:?}", found.from) };
    let found = client.discover(found.from).await.unwrap();
    assert_eq!(found.links[0].uri().unwrap(), link);
    assert_eq!(text(&client, link.to_string()).await, "key of one");
}
