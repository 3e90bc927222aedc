//! What a client does.

use core::future::IntoFuture;
use core::time::Duration;
use std::sync::{Arc, Mutex};

use coap_core::{Code, ContentFormat, ETag, OptionNumber, Options, Token, Type};
use coap_driver::router::{Payload, Router, get};
use coap_driver::{Client, CurrentRuntime, Direction, Error, Runtime, Server, Unreachable};

use crate::support::{Silent, client, fast, fast_config, millis, serve, spawn_server};

async fn method(method: Code, Payload(payload): Payload) -> (Code, String) {
    (Code::CONTENT, format!("{method} {}", payload.len()))
}

pub(crate) async fn every_method_reaches_its_handler<R: CurrentRuntime>() {
    let all = get(method).put(method).post(method).delete(method).fetch(method).patch(method).ipatch(method);
    let here = serve::<R>(Router::new().route("/", all)).await;
    let (client, url) = (client::<R>().await, here.url("/"));
    for (request, expected) in [
        (client.get(&url), "GET 0"),
        (client.put(&url, "a"), "PUT 1"),
        (client.post(&url, "ab"), "POST 2"),
        (client.delete(&url), "DELETE 0"),
        (client.fetch(&url, "abc"), "FETCH 3"),
        (client.patch(&url, "abcd"), "PATCH 4"),
        (client.ipatch(&url, "abcde"), "iPATCH 5"),
    ] {
        let reply = request.await.unwrap();
        assert_eq!(reply.text().unwrap().to_lowercase(), expected.to_lowercase());
        assert_eq!((reply.code, reply.from), (Code::CONTENT, here.addr.into()));
        assert_eq!(reply.timing.attempts, 1);
        assert!(reply.timing.round_trip.is_some());
    }
}

pub(crate) async fn options_and_payload_travel_both_ways<R: CurrentRuntime>() {
    async fn echo(options: Options, token: Token, Payload(payload): Payload) -> (ETag, (ContentFormat, Vec<u8>)) {
        assert_eq!(options.content_format(), Some(ContentFormat::CBOR));
        assert_eq!(options.get(OptionNumber::new(65_000)), Some(&b"x"[..]));
        (ETag::new(token.as_bytes()).unwrap(), (ContentFormat::CBOR, payload.to_vec()))
    }
    let here = serve::<R>(Router::new().route("/echo", get(echo))).await;
    let request = client::<R>().await.get(here.url("/echo")).payload(vec![0xf6; 900]);
    let request = request.content_format(ContentFormat::CBOR).accept(ContentFormat::CBOR);
    let request = request.option(OptionNumber::new(65_000), "x").token(Token::new(b"eightby8").unwrap());
    let reply = request.await.unwrap();
    assert_eq!(reply.payload, vec![0xf6; 900]);
    assert_eq!(reply.content_format(), Some(ContentFormat::CBOR));
    assert_eq!(reply.options.get(OptionNumber::ETAG), Some(&b"eightby8"[..]));
    let wrong = client::<R>().await.get(here.url("/echo")).option(OptionNumber::ETAG, [0; 9]).await;
    assert!(matches!(wrong, Err(Error::Option(_))), "{wrong:?}");
}

async fn uri_host(options: Options) -> String {
    options.uri_host().unwrap_or("none").to_owned()
}

pub(crate) async fn a_name_is_looked_up_and_sent_as_uri_host<R: CurrentRuntime>() {
    let here = serve::<R>(Router::new().route("/host", get(uri_host))).await;
    // On all addresses: `localhost` may be an IPv6 address first.
    let client = Client::<R>::bind("[::]:0").await.unwrap();
    let url = format!("coap://localhost:{}/host", here.addr.port());
    assert_eq!(client.get(&url).await.unwrap().text(), Some("localhost"));
    assert_eq!(client.get(&url).no_uri_host().await.unwrap().text(), Some("none"));
    assert_eq!(client.get(here.url("/host")).await.unwrap().text(), Some("none"));
}

pub(crate) async fn a_name_without_address_says_so<R: CurrentRuntime>() {
    let failed = client::<R>().await.get("coap://no-such-host.invalid/").timeout(Duration::from_secs(20)).await;
    let error = failed.unwrap_err();
    assert!(
        matches!(&error, Error::HostNotFound { host, .. } if host == "no-such-host.invalid")
            || matches!(error, Error::ResolveTimeout { .. }),
        "{error:?}"
    );
    assert!(!error.to_string().contains('\n'));
}

/// A runtime whose names are what a test says.
#[derive(Clone)]
pub(crate) struct Named<R> {
    pub(crate) inner: R,
    pub(crate) addrs: Vec<coap_core::UdpAddr>,
}

impl<R: Runtime> Runtime for Named<R> {
    type Socket = R::Socket;
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

    fn bind(&self, addr: core::net::SocketAddr, options: &coap_driver::SocketOptions) -> std::io::Result<Self::Socket> {
        self.inner.bind(addr, options)
    }

    fn resolve(&self, _host: &str, _port: u16) -> coap_driver::BoxFuture<std::io::Result<Vec<coap_core::UdpAddr>>> {
        if self.addrs.is_empty() {
            return Box::pin(core::future::pending());
        }
        let addrs = self.addrs.clone();
        Box::pin(async move { Ok(addrs) })
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        self.inner.interface_index(name)
    }
}

/// A client for which every name means `addrs`; without any, no name server answers.
async fn client_with_names<R: CurrentRuntime>(addrs: &[core::net::SocketAddr]) -> Client<Named<R>> {
    let addrs = addrs.iter().map(|addr| coap_core::UdpAddr::new(*addr)).collect();
    let runtime = Named { inner: R::current().unwrap(), addrs };
    Client::builder(runtime).config(fast_config()).bind("127.0.0.1:0").client().await.unwrap()
}

pub(crate) async fn a_closed_client_does_not_wait_for_a_name<R: CurrentRuntime>() {
    let client = client_with_names::<R>(&[]).await;
    let close = async {
        crate::support::sleep::<R>(millis(50)).await;
        client.close();
    };
    let asked = client.get("coap://silent.example/").into_future();
    let (failed, ()) = crate::support::both(asked, close).await;
    assert!(matches!(failed, Err(Error::Closed)), "{failed:?}");
}

pub(crate) async fn the_next_address_is_tried_when_one_is_unreachable<R: CurrentRuntime>() {
    let here = serve::<R>(Router::new().route("/host", get(uri_host).put(uri_host))).await;
    let closed = Silent::new().addr();
    let client = client_with_names::<R>(&[closed, here.addr]).await;
    let reply = client.put("coap://both.example/host", "").await.unwrap();
    assert_eq!((reply.from, reply.text()), (here.addr.into(), Some("both.example")));
    // An address of the other family, for which there is no socket, is no obstacle either.
    let client = client_with_names::<R>(&["[::1]:9".parse().unwrap(), here.addr]).await;
    assert_eq!(client.get("coap://both.example/host").await.unwrap().from, here.addr.into());
}

pub(crate) async fn the_next_address_is_tried_when_one_is_silent<R: CurrentRuntime>() {
    let here = serve::<R>(Router::new().route("/host", get(uri_host).put(uri_host))).await;
    let silent = Silent::new();
    let client = client_with_names::<R>(&[silent.addr(), here.addr]).await;
    let reply = client.get("coap://both.example/host").await.unwrap();
    assert_eq!(reply.from, here.addr.into());
    assert!(!silent.heard().is_empty());
    // What changes something is not sent to a second server: the first may have carried it out.
    let failed = client.put("coap://both.example/host", "").await.unwrap_err();
    assert!(matches!(failed, Error::NoAck { peer, .. } if peer == silent.addr().into()), "{failed:?}");
}

pub(crate) async fn what_must_be_secret_is_not_sent_in_the_clear<R: CurrentRuntime>() {
    let silent = Silent::new();
    let failed = client::<R>().await.get(format!("coaps://{}/", silent.addr())).await;
    assert!(matches!(failed, Err(Error::Security)));
    assert!(silent.heard().is_empty());
}

pub(crate) async fn a_ping_is_answered_by_any_endpoint<R: CurrentRuntime>() {
    let here = serve::<R>(Router::new()).await;
    let client = client::<R>().await;
    assert!(client.ping(here.addr).await.unwrap() < Duration::from_secs(2));
    assert!(client.ping(here.url("/any/path")).await.is_ok());
    let other = Client::<R>::bind("127.0.0.1:0").await.unwrap();
    assert!(client.ping(other.local_addrs()[0]).await.is_ok());
}

pub(crate) async fn a_closed_port_is_reported_at_once<R: CurrentRuntime>() {
    let closed = Silent::new().addr();
    let failed = client::<R>().await.get(format!("coap://{closed}/")).await.unwrap_err();
    let by_the_network = |error: &Error| matches!(error, Error::Unreachable { cause: Unreachable::Reported, .. });
    assert!(by_the_network(&failed) && failed.to_string().starts_with(&closed.to_string()), "{failed:?}");
    assert!(failed.timing().unwrap().elapsed < Duration::from_secs(2));
}

pub(crate) async fn the_system_is_not_taken_for_the_network<R: CurrentRuntime>() {
    // From a loopback address there is no way to any other.
    let failed = client::<R>().await.get("coap://192.0.2.1/").await.unwrap_err();
    let cause = Unreachable::NotSent(std::io::ErrorKind::InvalidInput);
    assert!(matches!(failed, Error::Unreachable { cause: found, .. } if found == cause), "{failed:?}");
    let text = failed.to_string();
    assert!(text.contains("192.0.2.1:5683 from here") && !text.contains("listens"), "{text}");
}

pub(crate) async fn a_silent_group_is_waited_for_as_long_as_it_says<R: CurrentRuntime>() {
    // Where nothing can be sent to a group there is nothing to wait for either.
    let client = client::<R>().await;
    let started = std::time::Instant::now();
    let request = client.get("coap://224.0.1.187:9/").non_confirmable().timeout(millis(300));
    match request.await.unwrap_err() {
        // The timing begins with the sending, and the time of the caller before it.
        Error::NoResponse { .. } => assert!(started.elapsed() >= millis(300), "{:?}", started.elapsed()),
        failed => assert!(matches!(failed, Error::Unreachable { .. }), "{failed:?}"),
    }
}

pub(crate) async fn a_request_can_be_non_confirmable<R: CurrentRuntime>() {
    async fn kind(kind: Type) -> String {
        kind.to_string()
    }
    let here = serve::<R>(Router::new().route("/kind", get(kind))).await;
    let client = client::<R>().await;
    assert_eq!(client.get(here.url("/kind")).non_confirmable().await.unwrap().text(), Some("NON"));
    assert_eq!(client.get(here.url("/kind")).await.unwrap().text(), Some("CON"));
}

pub(crate) async fn silence_ends_in_no_ack_with_its_timing<R: CurrentRuntime>() {
    let silent = Silent::new();
    let client = client::<R>().await;
    let url = format!("coap://{}/", silent.addr());
    let failed = client.get(&url).transmission(fast()).await.unwrap_err();
    let Error::NoAck { timing, .. } = failed else { panic!("{failed:?}") };
    // 100 + 200 + 400 ms at least. On a machine so busy that the last copy would leave too late, it does not.
    assert!(timing.elapsed >= millis(700), "{timing:?}");
    assert!((2..=3).contains(&timing.attempts), "{timing:?}");
    assert_eq!(silent.heard().len(), usize::from(timing.attempts));
    let failed = client.get(&url).non_confirmable().timeout(millis(100)).await.unwrap_err();
    assert!(matches!(failed, Error::NoResponse { .. }), "{failed:?}");
}

pub(crate) async fn a_burst_beyond_the_backlog_waits_and_is_served<R: CurrentRuntime>() {
    let here = serve::<R>(Router::new().route("/hello", get(async || "hello"))).await;
    let client = client::<R>().await;
    let done = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..300 {
        let (request, done) = (client.get(here.url("/hello")), done.clone());
        R::current().unwrap().spawn(Box::pin(async move {
            let reply = request.await.map(|reply| reply.code);
            done.lock().unwrap().push(reply);
        }));
    }
    while done.lock().unwrap().len() < 300 {
        crate::support::sleep::<R>(millis(10)).await;
    }
    assert!(done.lock().unwrap().iter().all(|reply| matches!(reply, Ok(Code::CONTENT))));
}

pub(crate) async fn an_ipv4_peer_reaches_a_server_on_all_addresses<R: CurrentRuntime>() {
    let server = Server::<R>::bind("[::]:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    spawn_server(server, Router::new().route("/hello", get(async || "hello")));
    let reply = client::<R>().await.get(format!("coap://127.0.0.1:{port}/hello")).await.unwrap();
    assert_eq!((reply.code, reply.from.to_string()), (Code::CONTENT, format!("127.0.0.1:{port}")));
    // Where IPv6 is off there is nothing more to see.
    if let Ok(client) = Client::<R>::bind("[::1]:0").await {
        let reply = client.get(format!("coap://[::1]:{port}/hello")).await.unwrap();
        assert_eq!(reply.from.to_string(), format!("[::1]:{port}"));
    }
}

pub(crate) async fn messages_can_be_watched<R: CurrentRuntime>() {
    let here = serve::<R>(Router::new().route("/hello", get(async || "hello"))).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watch = seen.clone();
    let builder = Client::builder(R::current().unwrap()).bind("127.0.0.1:0").on_message(move |traffic| {
        let code = traffic.message.as_ref().map(|message| message.code).unwrap();
        watch.lock().unwrap().push((traffic.direction, traffic.peer, code));
    });
    builder.client().await.unwrap().get(here.url("/hello")).await.unwrap();
    let peer = here.addr.into();
    assert_eq!(*seen.lock().unwrap(), [(Direction::Sent, peer, Code::GET), (Direction::Received, peer, Code::CONTENT)]);
}
