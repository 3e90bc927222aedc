//! Discovery (RFC 6690) between a client and servers of the driver, in virtual time.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::net::IpAddr;
use core::time::Duration;

use coap_core::link_format::Link;
use coap_core::{Code, ContentFormat, Peer};
use coap_driver::router::{Router, get};
use coap_driver::{Client, DiscoverError, Error};
use coap_sim::{Host, Sim};

async fn hello() -> &'static str {
    "hello"
}

/// Servers with a router each, and a client.
struct Scene {
    sim: Sim,
    servers: Vec<Host>,
    client: Client<Host>,
}

fn scene(routers: impl IntoIterator<Item = Router>) -> Scene {
    let mut sim = Sim::from_env(1);
    let host = sim.host("client");
    let mut servers = Vec::new();
    for (number, router) in routers.into_iter().enumerate() {
        let server = sim.host(&format!("server{number}"));
        sim.name(&format!("server{number}.example"), server.ip());
        let bound = sim.block_on(server.server("[::]:5683")).unwrap();
        let _serving = sim.spawn(bound.serve(router));
        servers.push(server);
    }
    let client = sim.block_on(host.client()).unwrap();
    Scene { sim, servers, client }
}

#[test]
fn a_client_finds_what_a_router_has() {
    let router = Router::new()
        .route("/temp", get(hello).rt("temperature-c").sz(5).title("a, b"))
        .route("/light", get(hello).rt("light-lux").if_("sensor"));
    let Scene { mut sim, servers, client } = scene([router]);
    let found = sim.block_on(client.discover("server0.example").resource_type("temp*").into_future()).unwrap();
    assert_eq!(found.from, Peer::from(core::net::SocketAddr::from((servers[0].ip(), 5_683))));
    let [temp] = &found.links[..] else { panic!("{found:?}") };
    assert_eq!(temp.uri().unwrap().to_string(), "coap://server0.example/temp");
    assert_eq!((temp.size(), temp.title().as_deref()), (Some(5), Some("a, b")));
    let reply = sim.block_on(async { client.get(temp.uri().unwrap()).await }).unwrap();
    assert_eq!(reply.text(), Some("hello"));
    // By address, without a URI, and with the query in the URI.
    let peer = found.from;
    let found = sim.block_on(async { client.discover(peer).interface("sensor").await }).unwrap();
    assert_eq!(found.links[0].uri().unwrap().to_string(), format!("coap://{}/light", bracketed(servers[0].ip())));
    let found = sim.block_on(async { client.discover("server0.example?href=/l*").await }).unwrap();
    assert_eq!(found.links.len(), 1);
    assert!(sim.block_on(async { client.discover("server0.example").query("rt=x").await }).unwrap().links.is_empty());
}

fn bracketed(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

#[test]
fn a_long_list_comes_whole_and_a_path_of_ones_own_is_asked() {
    let many = (0..200).fold(Router::new(), |router, n| router.route(&format!("/resource-{n}"), get(hello).rt("many")));
    let links = || core::future::ready((ContentFormat::LINK_FORMAT, "<a>,</b>"));
    let Scene { mut sim, client, .. } = scene([many.route("/dir/list", get(links))]);
    let found = sim.block_on(async { client.discover("server0.example").await }).unwrap();
    assert_eq!(found.links.len(), 201);
    let found = sim.block_on(async { client.discover("server0.example").query("rt=many").await }).unwrap();
    assert_eq!(found.links.len(), 200);
    let found = sim.block_on(async { client.discover("server0.example/dir/list").await }).unwrap();
    // RFC 6690 §2.1: relative to the origin, not to the path.
    let uris: Vec<_> = found.links.iter().map(|link| link.uri().unwrap().to_string()).collect();
    assert_eq!(uris, ["coap://server0.example/a", "coap://server0.example/b"]);
    let error = sim.block_on(async { client.discover("server0.example/none").await }).unwrap_err();
    assert!(matches!(error, DiscoverError::Request(Error::Status(reply)) if reply.code == Code::NOT_FOUND));
    let error = sim.block_on(async { client.discover("server0.example/resource-1").await }).unwrap_err();
    assert!(matches!(error, DiscoverError::NoLinks { format: Some(ContentFormat::TEXT_PLAIN), .. }));
    let error = sim.block_on(async { client.discover("http://server0.example").await }).unwrap_err();
    assert!(matches!(error, DiscoverError::Request(Error::Uri(_))));
    let error = sim.block_on(async { client.discover("server0.example").query("x".repeat(256)).await }).unwrap_err();
    assert!(matches!(error, DiscoverError::Request(Error::Option(_))));
}

#[test]
fn of_a_group_those_answer_who_have_something_and_to_other_requests_nobody() {
    let with = |name: &'static str| Router::new().route("/x", get(hello).rt(name));
    let Scene { mut sim, servers, client } = scene([with("one"), with("two")]);
    let group: IpAddr = "ff05::fd".parse().unwrap();
    servers.iter().for_each(|server| sim.join(server, group));
    let ask = |name: &'static str| {
        client.discover("coap://[ff05::fd]").resource_type(name).request(|it| it.non_confirmable())
    };
    let found = sim.block_on(ask("two").into_future()).unwrap();
    assert_eq!(found.links[0].uri().unwrap().to_string(), format!("coap://[{}]/x", servers[1].ip()));
    let short = Duration::from_secs(20);
    let error = sim.block_on(async { ask("three").request(|it| it.timeout(short)).await }).unwrap_err();
    assert!(matches!(error, DiscoverError::Request(Error::NoResponse { .. })), "{error}");
    let error = sim.block_on(async { client.get("coap://[ff05::fd]/x").non_confirmable().timeout(short).await });
    assert!(matches!(error, Err(Error::NoResponse { .. })), "{error:?}");
}

#[test]
fn a_route_that_says_so_answers_a_group() {
    let router = Router::new().route("/x", get(hello).multicast()).link(Link::new("/x").unwrap());
    let Scene { mut sim, servers, client } = scene([router]);
    sim.join(&servers[0], "ff05::fd".parse().unwrap());
    let reply = sim.block_on(async { client.get("coap://[ff05::fd]/x").non_confirmable().await }).unwrap();
    assert_eq!(reply.text(), Some("hello"));
}
