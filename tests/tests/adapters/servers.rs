//! What a server does.

use core::time::Duration;

use coap_core::{Code, ContentFormat, Local, OptionNumber, Peer};
use coap_driver::router::{Created, Path, Query, Router, State, get, post};
use coap_driver::{Client, CurrentRuntime, Runtime, Server};

use crate::support::{both, client, millis, serve, sleep, spawn_server};

pub(crate) async fn path_parameters_and_queries_reach_the_handler<R: CurrentRuntime>() {
    async fn read(Path((room, lamp)): Path<(String, u8)>, query: Query) -> String {
        format!("{room} {lamp} {:?}", query.value("unit"))
    }
    async fn file(Path(segments): Path<Vec<String>>) -> String {
        segments.join("|")
    }
    async fn create(Path(room): Path<String>) -> Result<Created, coap_core::OptionError> {
        Created::at([room.as_str(), "lamps", "9"])
    }
    let router = Router::new()
        .route("/{room}/lamps/{lamp}", get(read))
        .route("/{room}/lamps", post(create))
        .route("/files/{*path}", get(file));
    let here = serve::<R>(router).await;
    let client = client::<R>().await;
    let reply = client.get(here.url("/hall%2F1/lamps/3?unit=lx")).await.unwrap();
    assert_eq!(reply.text(), Some("hall/1 3 Some(\"lx\")"));
    assert_eq!(client.get(here.url("/files/a/b/")).await.unwrap().text(), Some("a|b|"));
    let created = client.post(here.url("/hall/lamps"), "").await.unwrap();
    assert_eq!(created.code, Code::CREATED);
    assert!(created.options.location_path().eq([&b"hall"[..], b"lamps", b"9"]));
}

pub(crate) async fn errors_have_the_code_of_their_reason<R: CurrentRuntime>() {
    async fn number(Path(number): Path<u8>) -> String {
        number.to_string()
    }
    let router = Router::new().route("/n/{number}", get(number).produces([ContentFormat::TEXT_PLAIN]));
    let here = serve::<R>(router).await;
    let client = client::<R>().await;
    let code = async |request: coap_driver::RequestBuilder<R>| request.await.unwrap().code;
    assert_eq!(code(client.get(here.url("/n/1"))).await, Code::CONTENT);
    assert_eq!(code(client.get(here.url("/m/1"))).await, Code::NOT_FOUND);
    assert_eq!(code(client.put(here.url("/n/1"), "")).await, Code::METHOD_NOT_ALLOWED);
    assert_eq!(code(client.get(here.url("/n/300"))).await, Code::BAD_REQUEST);
    assert_eq!(code(client.get(here.url("/n/1")).accept(ContentFormat::JSON)).await, Code::NOT_ACCEPTABLE);
    assert_eq!(code(client.get(here.url("/n/1")).option(OptionNumber::IF_MATCH, "x")).await, Code::PRECONDITION_FAILED);
    assert_eq!(code(client.get(here.url("/n/1")).option(OptionNumber::new(65_001), "x")).await, Code::BAD_OPTION);
    let reply = client.get(here.url("/m/1")).await.unwrap();
    assert!(!reply.is_success());
    let error = reply.error_for_status().unwrap_err();
    assert!(error.to_string().contains("4.04 Not Found"), "{error}");
}

pub(crate) async fn a_slow_handler_is_answered_separately_and_blocks_nobody<R: CurrentRuntime>() {
    async fn slow<R: CurrentRuntime>() -> &'static str {
        sleep::<R>(millis(600)).await;
        "late"
    }
    let here = serve::<R>(Router::new().route("/slow", get(slow::<R>)).route("/fast", get(async || "now"))).await;
    let watcher = Client::builder(R::current().unwrap()).bind("127.0.0.1:0");
    let acks = std::sync::Arc::new(core::sync::atomic::AtomicUsize::new(0));
    let count = acks.clone();
    let watcher = watcher.on_message(move |traffic| {
        if matches!(&traffic.message, Ok(message) if message.code.is_empty()) {
            count.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        }
    });
    let watcher = watcher.client().await.unwrap();
    let other = client::<R>().await;
    let (late, now) =
        both(watcher.get(here.url("/slow")).into_future(), other.get(here.url("/fast")).into_future()).await;
    let (late, now) = (late.unwrap(), now.unwrap());
    assert_eq!((late.text(), late.timing.attempts), (Some("late"), 1));
    assert!(late.timing.elapsed >= millis(600));
    assert!(now.timing.elapsed < millis(500), "{:?}", now.timing);
    // One Empty acknowledgement each way.
    assert_eq!(acks.load(core::sync::atomic::Ordering::Relaxed), 2);
}

pub(crate) async fn a_handler_that_panics_is_5_00_and_the_server_goes_on<R: CurrentRuntime>() {
    async fn at_once() -> &'static str {
        panic!("on purpose, in a test")
    }
    async fn later<R: CurrentRuntime>() -> &'static str {
        sleep::<R>(millis(50)).await;
        panic!("on purpose, in a test")
    }
    let router = Router::new()
        .route("/at-once", get(at_once))
        .route("/later", get(later::<R>))
        .route("/hello", get(async || "hello"));
    let here = serve::<R>(router).await;
    let client = client::<R>().await;
    for path in ["/at-once", "/later"] {
        let reply = client.get(here.url(path)).await.unwrap();
        assert_eq!((reply.code, reply.text()), (Code::INTERNAL_SERVER_ERROR, Some("the handler failed")));
        assert_eq!(client.get(here.url("/hello")).await.unwrap().code, Code::CONTENT);
    }
}

pub(crate) async fn bad_datagrams_do_not_end_the_server<R: CurrentRuntime>() {
    let here = serve::<R>(Router::new().route("/hello", get(async || "hello"))).await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in [&b""[..], b"\x40", b"GET / HTTP/1.1\r\n\r\n", &[0xff; 1400], b"\x49\x01\x00\x01", &[0x40; 60_000]]
    {
        socket.send_to(datagram, here.addr).unwrap();
    }
    // Requests whose answers meet a closed port.
    for message_id in 0..20 {
        let gone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        gone.send_to(&[0x40, 1, 0, message_id, 0xb5, b'h', b'e', b'l', b'l', b'o'], here.addr).unwrap();
    }
    let reply = client::<R>().await.get(here.url("/hello")).await.unwrap();
    assert_eq!((reply.text(), reply.timing.attempts), (Some("hello"), 1));
}

pub(crate) async fn a_client_and_a_server_share_a_socket<R: CurrentRuntime>() {
    /// Asks back who registers.
    async fn register<R: Runtime>(State(client): State<Client<R>>, peer: Peer) -> String {
        let name = client.get(format!("coap://{peer}/name")).await.unwrap();
        format!("welcome {}", name.text().unwrap())
    }
    let directory = Server::<R>::bind("127.0.0.1:0").await.unwrap();
    let addr = directory.local_addr().unwrap();
    let router = Router::new().route("/register", post(register::<R>)).with_state(directory.client());
    let end = directory.shutdown_handle();
    spawn_server(directory, router);

    let device = Server::<R>::bind("127.0.0.1:0").await.unwrap();
    let client = device.client();
    spawn_server(device, Router::new().route("/name", get(async || "lamp")));
    let reply = client.post(format!("coap://{addr}/register"), "").await.unwrap();
    assert_eq!(reply.text(), Some("welcome lamp"));
    end.shutdown(Duration::ZERO);
}

pub(crate) async fn a_server_answers_on_each_of_its_sockets<R: CurrentRuntime>() {
    async fn number(local: Local) -> String {
        local.socket.to_string()
    }
    let builder = Server::builder(R::current().unwrap()).bind("127.0.0.1:0").bind("127.0.0.1:0");
    let server = builder.server().await.unwrap();
    let addrs = server.local_addrs().to_vec();
    spawn_server(server, Router::new().route("/socket", get(number)));
    let client = client::<R>().await;
    for (index, addr) in addrs.iter().enumerate() {
        let reply = client.get(format!("coap://{addr}/socket")).await.unwrap();
        assert_eq!((reply.from, reply.text()), ((*addr).into(), Some(index.to_string().as_str())));
    }
}

pub(crate) async fn an_unspecified_address_means_this_machine<R: CurrentRuntime>() {
    let server = Server::<R>::bind("0.0.0.0:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    spawn_server(server, Router::new().route("/", get(async || "here")));
    let client = client::<R>().await;
    let uri = format!("coap://{addr}/");
    assert!(uri.starts_with("coap://0.0.0.0:"));
    assert_eq!(client.get(uri).timeout(Duration::from_secs(5)).await.unwrap().text(), Some("here"));
    assert!(client.get(addr).timeout(Duration::from_secs(5)).await.is_ok());
    assert!(client.ping(addr).timeout(Duration::from_secs(5)).await.is_ok());
}

pub(crate) async fn a_datagram_that_is_too_long_is_dropped_and_counted<R: CurrentRuntime>() {
    let server = Server::<R>::bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let onlooker = server.client();
    spawn_server(server, Router::new().route("/", get(async || "here")));
    // A request for as long as it is not looked at as a whole: its first 4,096 bytes are one.
    let mut long = vec![b'x'; 65_507];
    long[..5].copy_from_slice(b"\x40\x01\x12\x34\xff");
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&long, addr).unwrap();
    assert!(client::<R>().await.get(addr).await.is_ok());
    assert_eq!(onlooker.socket_stats().too_long, 1);
    assert_eq!(onlooker.stats().requests_received, 1);
}

pub(crate) async fn a_response_that_is_too_large_is_5_00<R: CurrentRuntime>() {
    // Its content would go in blocks; its options cannot.
    async fn located() -> Created {
        Created::at((0..5).map(|_| "x".repeat(255))).unwrap()
    }
    let here = serve::<R>(Router::new().route("/large", get(located))).await;
    let reply = client::<R>().await.get(here.url("/large")).await.unwrap();
    assert_eq!(reply.code, Code::INTERNAL_SERVER_ERROR);
}
