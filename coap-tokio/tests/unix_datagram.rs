//! A client and a server over a transport that has no addresses: the one of the example.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]
#![cfg(unix)]

#[path = "../examples/unix_datagram/transport.rs"]
mod transport;

use core::future::Future;
use core::time::Duration;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use coap_tokio::router::{Payload, Resource, Router, get, put};
use coap_tokio::{Client, Code, Error, Observed, Peer, Request, Server, TokioRuntime};
use transport::{MOST_SESSIONS, UnixTransport};

/// A folder for socket files that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("coap-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(test: impl Future<Output = ()>) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async { tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test hangs") });
}

fn runtime() -> TokioRuntime {
    TokioRuntime::current().unwrap()
}

async fn serve(folder: &Folder, router: Router) -> tokio::task::JoinHandle<Result<(), Error>> {
    let transport = UnixTransport::bind(folder.file("server")).unwrap();
    let server = Server::builder(runtime()).transport(transport).server().await.unwrap();
    assert_eq!(server.local_addr(), None, "it has no socket");
    tokio::spawn(async move { server.serve(router).await })
}

async fn client(folder: &Folder) -> (Client, Peer) {
    let transport = UnixTransport::bind(folder.file("client")).unwrap();
    let peer = transport.peer(folder.file("server"));
    (Client::builder(runtime()).transport(transport).client().await.unwrap(), peer)
}

#[test]
fn requests_and_long_bodies_travel_over_a_transport_of_ones_own() {
    run(async {
        async fn length(Payload(payload): Payload) -> String {
            payload.len().to_string()
        }
        let folder = Folder::new("requests");
        let router = Router::new().route("/it", put(length).get(async || vec![7; 50_000]));
        let _server = serve(&folder, router).await;
        let (client, peer) = client(&folder).await;
        let reply = client.get((peer, "coap://server/it")).await.unwrap();
        assert_eq!((reply.payload, reply.from), (vec![7; 50_000].into(), peer));
        let reply = client.put((peer, "server/it"), vec![1; 50_000]).await.unwrap();
        assert_eq!(reply.text(), Some("50000"));
        // What stands for the peer alone is its root.
        assert_eq!(client.send(peer, Request::get()).await.unwrap().code, Code::NOT_FOUND);
        assert!(client.ping(peer).await.is_ok());
        assert!(client.local_addrs().is_empty());
    });
}

#[test]
fn an_observer_over_a_transport_of_ones_own_is_told() {
    run(async {
        let folder = Folder::new("observer");
        let resource = Resource::new();
        let router = Router::new().route("/it", get(async || "state").observable(&resource));
        let _server = serve(&folder, router).await;
        let (client, peer) = client(&folder).await;
        let mut states = client.observe((peer, "coap://server/it")).await.unwrap();
        assert!(states.was_accepted());
        assert!(matches!(states.next().await, Some(Observed::Notification(_))));
        resource.changed();
        let Some(Observed::Notification(state)) = states.next().await else { panic!() };
        assert_eq!(state.text(), Some("state"));
        states.cancel().await;
    });
}

#[test]
fn a_session_whose_other_end_is_gone_is_unreachable_and_never_somebody_else() {
    run(async {
        let folder = Folder::new("gone");
        let server = serve(&folder, Router::new().route("/", get(async || "first"))).await;
        let transport = UnixTransport::bind(folder.file("client")).unwrap();
        let first = transport.peer(folder.file("server"));
        let client = Client::builder(runtime()).transport(transport.clone()).client().await.unwrap();
        assert!(client.get(first).await.is_ok());

        server.abort();
        let _ = server.await;
        std::fs::remove_file(folder.file("server")).unwrap();
        let error = client.get(first).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { peer, .. } if peer == first), "{error:?}");

        let _second = serve(&folder, Router::new().route("/", get(async || "second"))).await;
        assert!(client.get(first).await.is_err());
        let second = transport.peer(folder.file("server"));
        assert_ne!(first, second);
        assert_eq!(client.get(second).await.unwrap().text(), Some("second"));
    });
}

/// The names of sockets that want nothing keep nobody out, and push out nobody who is heard.
#[test]
fn more_peers_than_there_is_room_for_push_out_who_was_used_least_recently() {
    run(async {
        let folder = Folder::new("many");
        let _server = serve(&folder, Router::new().route("/it", get(async || "here"))).await;
        let (client, peer) = client(&folder).await;
        let empty_pong = b"\x70\x00\x00\x01";
        for round in 0..3 {
            for n in 0..MOST_SESSIONS / 2 {
                let name = folder.file(&format!("{round}-{n}"));
                let stranger = UnixDatagram::bind(&name).unwrap();
                stranger.set_nonblocking(true).unwrap();
                // The server reads what fills the queue.
                while let Err(error) = stranger.send_to(empty_pong, folder.file("server")) {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    tokio::task::yield_now().await;
                }
                std::fs::remove_file(name).unwrap();
            }
            assert_eq!(client.get((peer, "coap://server/it")).await.unwrap().text(), Some("here"));
        }
    });
}

#[test]
fn a_session_that_was_pushed_out_is_unreachable_and_its_number_never_comes_again() {
    run(async {
        let folder = Folder::new("pushed");
        let _server = serve(&folder, Router::new().route("/", get(async || "here"))).await;
        let transport = UnixTransport::bind(folder.file("client")).unwrap();
        let client = Client::builder(runtime()).transport(transport.clone()).client().await.unwrap();
        let first = transport.peer(folder.file("server"));
        for n in 0..MOST_SESSIONS {
            assert_ne!(transport.peer(folder.file(&n.to_string())), first);
        }
        assert!(matches!(client.get(first).await, Err(Error::Unreachable { .. })));
        let again = transport.peer(folder.file("server"));
        assert_ne!(again, first);
        assert_eq!(client.get(again).await.unwrap().text(), Some("here"));
    });
}

#[test]
fn a_transport_beside_a_socket_leaves_addresses_to_the_socket() {
    run(async {
        let folder = Folder::new("beside");
        let transport = UnixTransport::bind(folder.file("server")).unwrap();
        let builder = Server::builder(runtime()).bind("127.0.0.1:0").transport(transport);
        let server = builder.server().await.unwrap();
        let addr = server.local_addr().unwrap();
        let _server = tokio::spawn(async move { server.serve(Router::new().route("/", get(async || "both"))).await });
        let (here, peer) = client(&folder).await;
        assert_eq!(here.get(peer).await.unwrap().text(), Some("both"));
        let other = Client::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(other.get(addr).await.unwrap().text(), Some("both"));
        // Of a client without a socket no address is reached, and of one without a transport no session.
        assert!(matches!(here.get(addr).await, Err(Error::Unreachable { .. })));
        assert!(matches!(other.get(peer).await, Err(Error::Unreachable { .. })));
    });
}

/// The options of requests over a session have no port or host that anybody could mistake.
#[test]
fn the_name_of_the_host_is_sent_to_a_session() {
    run(async {
        async fn host(options: coap_tokio::Options) -> String {
            options.uri_host().unwrap_or("none").to_owned()
        }
        let folder = Folder::new("host");
        let _server = serve(&folder, Router::new().route("/it", get(host))).await;
        let (client, peer) = client(&folder).await;
        assert_eq!(client.get((peer, "coap://lamp/it")).await.unwrap().text(), Some("lamp"));
        assert_eq!(client.get((peer, "coap://192.0.2.1/it")).await.unwrap().text(), Some("none"));
    });
}
