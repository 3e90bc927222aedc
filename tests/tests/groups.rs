//! Requests to groups (RFC 7252 §8) between a client and servers of the driver, in virtual time.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::future::{Future, IntoFuture, poll_fn};
use core::net::IpAddr;
use core::pin::pin;
use core::time::Duration;

use bytes::Bytes;
use coap_core::{Block, Code, ContentFormat, Local, Message, OptionNumber, Options, Peer, Response, Type};
use coap_driver::router::{Answer, Router, get, post};
use coap_driver::{
    Client, ClientEvent, DiscoverError, Error, ErrorKind, Received, RecvBatch, Reply, Runtime, SocketOptions,
    UdpSocket, Unreachable,
};
use coap_sim::{Host, Sim};

const GROUP: &str = "coap://[ff05::fd]";

/// Servers that have joined the group, and a client.
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
        let group: IpAddr = "ff05::fd".parse().unwrap();
        let building = server.builder().bind("[::]:5683").join(group, Some("eth0")).join([224, 0, 1, 187], None);
        let bound = sim.block_on(building.server()).unwrap();
        let _serving = sim.spawn(bound.serve(router));
        servers.push(server);
    }
    let client = sim.block_on(host.client()).unwrap();
    Scene { sim, servers, client }
}

fn says(text: &'static str) -> Router {
    Router::new().route("/x", get(move || core::future::ready(text)).multicast().rt("a-thing"))
}

/// All that a group answers, in the order of the servers.
fn all(scene: &mut Scene, request: coap_driver::RequestBuilder<Host>) -> Vec<(Peer, Result<Reply, Error>)> {
    let mut heard = scene.sim.block_on(async {
        let mut responses = request.multicast().await.unwrap();
        let mut heard = Vec::new();
        while let Some(answer) = responses.next().await {
            heard.push(answer);
        }
        assert_eq!(responses.lost(), 0);
        heard
    });
    heard.sort_by_key(|(from, _)| from.to_string());
    heard
}

fn texts(heard: &[(Peer, Result<Reply, Error>)]) -> Vec<&str> {
    heard.iter().map(|(_, answer)| answer.as_ref().unwrap().text().unwrap()).collect()
}

#[test]
fn all_members_of_a_group_are_heard_until_the_time_is_over() {
    let mut scene = scene([says("one"), says("two"), Router::new(), says("four")]);
    for target in ["coap://[ff05::fd]/x", "coap://[ff05::fd%25eth0]/x", "coap://224.0.1.187/x"] {
        let start = scene.client_now();
        let request = scene.client.get(target).timeout(Duration::from_secs(20));
        let heard = all(&mut scene, request);
        assert_eq!(texts(&heard), ["one", "two", "four"], "{target}");
        let ips: Vec<_> = heard.iter().map(|(from, _)| from.udp().unwrap().ip()).collect();
        let member = |n: usize| if target.contains('[') { scene.servers[n].ip() } else { scene.servers[n].ipv4() };
        assert_eq!(ips, [member(0), member(1), member(3)], "{target}");
        assert_eq!(scene.client_now() - start, Duration::from_secs(20));
    }
    // RFC 7390 §2.5.
    let start = scene.client_now();
    let request = scene.client.get(format!("{GROUP}/x"));
    assert_eq!(all(&mut scene, request).len(), 3);
    assert_eq!(scene.client_now() - start, Duration::from_secs(250));
}

impl Scene {
    fn client_now(&self) -> coap_core::Instant {
        self.servers[0].now()
    }
}

#[test]
fn the_stream_of_events_tells_of_each_member_and_of_the_end() {
    let mut scene = scene([says("one"), says("two")]);
    let mut events = scene.client.events(16);
    let request = scene.client.get(format!("{GROUP}/x")).timeout(Duration::from_secs(20));
    let number = request.number();
    assert_eq!(all(&mut scene, request).len(), 2);
    scene.sim.block_on(async {
        for _ in 0..2 {
            let event = events.next().await.unwrap();
            assert!(matches!(event, ClientEvent::GroupResponse { request, .. } if request == number), "{event:?}");
        }
        let event = events.next().await.unwrap();
        assert!(
            matches!(event, ClientEvent::GroupFinished { request, responses: 2 } if request == number),
            "{event:?}"
        );
    });
}

#[test]
fn the_error_of_one_member_does_not_end_it() {
    let fails = || core::future::ready(Response::new(Code::FORBIDDEN));
    let wrong = Router::new().route("/x", get(fails).multicast());
    let mut scene = scene([says("one"), wrong, says("three")]);
    // An empty No-Response asks for what a member of a group would keep for itself (RFC 7967 §2.1).
    let request = scene.client.get(format!("{GROUP}/x")).option(OptionNumber::NO_RESPONSE, []);
    let heard = all(&mut scene, request.timeout(Duration::from_secs(20)));
    let codes: Vec<_> = heard.iter().map(|(_, answer)| answer.as_ref().unwrap().code).collect();
    assert_eq!(codes, [Code::CONTENT, Code::FORBIDDEN, Code::CONTENT]);
}

#[test]
fn the_rest_of_a_long_answer_is_asked_of_its_member_alone() {
    let long = |letter: &'static str| {
        Router::new().route("/x", get(move || core::future::ready(letter.repeat(5_000))).multicast())
    };
    let mut scene = scene([long("a"), says("short"), long("b")]);
    let request = scene.client.get(format!("{GROUP}/x")).timeout(Duration::from_secs(20));
    let heard = all(&mut scene, request);
    let (a, b) = ("a".repeat(5_000), "b".repeat(5_000));
    assert_eq!(texts(&heard), [&a, "short", &b]);
    // One that allows less than that hears so of these two.
    let request = scene.client.get(format!("{GROUP}/x")).max_body(4_000).timeout(Duration::from_secs(20));
    let heard = all(&mut scene, request);
    assert!(matches!(heard[0].1, Err(Error::Blockwise { .. })), "{heard:?}");
    assert_eq!(heard[1].1.as_ref().unwrap().text(), Some("short"));
    assert!(matches!(heard[2].1, Err(Error::Blockwise { .. })), "{heard:?}");
}

/// Asked alone, it never says the rest.
fn stalls() -> Router {
    let answer =
        async |local: Local| if local.group.is_some() { Ok("a".repeat(5_000)) } else { Err(Answer::silence()) };
    Router::new().route("/x", get(answer).multicast())
}

#[test]
fn members_that_stall_hold_nobody_up() {
    let members = (0..12).map(|_| stalls()).chain((0..12).map(|_| says("short")));
    let Scene { mut sim, client, servers } = scene(members);
    sim.block_on(async {
        let start = servers[0].now();
        let request = client.get(format!("{GROUP}/x")).timeout(Duration::from_secs(20));
        let mut responses = request.multicast().await.unwrap();
        for heard in 0..12 {
            let (_, answer) = responses.next().await.unwrap();
            assert_eq!(answer.unwrap().text(), Some("short"));
            assert!(servers[0].now() - start <= Duration::from_secs(20), "{heard}");
        }
        // Each of the others has as long as the group, in two rounds.
        for _ in 0..12 {
            assert!(matches!(responses.next().await.unwrap().1, Err(Error::NoResponse { .. })));
        }
        assert!(responses.next().await.is_none());
        assert!(servers[0].now() - start <= Duration::from_secs(60));
        assert_eq!(responses.lost(), 0);
    });
}

#[test]
fn it_is_aborted_while_it_waits_for_the_rest_of_an_answer() {
    let Scene { mut sim, client, servers } = scene([stalls(), says("short")]);
    client.set_max_server_response_delay(Duration::from_secs(20)).unwrap();
    sim.block_on(async {
        let mut request = client.get(format!("{GROUP}/x"));
        let abort = request.abort_handle();
        let mut responses = request.multicast().await.unwrap();
        // What is fetched from now on has longer than the group.
        client.set_max_server_response_delay(Duration::from_secs(100)).unwrap();
        assert_eq!(responses.next().await.unwrap().1.unwrap().text(), Some("short"));
        // The time of the group is over.
        let over = {
            let mut next = pin!(responses.next());
            let mut sleep = pin!(servers[0].sleep(Duration::from_secs(30)));
            poll_fn(|cx| {
                assert!(next.as_mut().poll(cx).is_pending());
                sleep.as_mut().poll(cx)
            })
            .await;
            abort.abort();
            next.await
        };
        assert!(matches!(over, Some((_, Err(Error::Aborted)))), "{over:?}");
        assert!(responses.next().await.is_none());
    });
}

/// A member that sends what it likes: the group is answered with the Block2 option `block`, and who asks it alone with `alone`,
/// after `span`.
async fn says_blocks(host: Host, block: u8, span: Duration, alone: fn(&Message) -> (Options, &'static str)) {
    let socket = host.bind("[::]:5683".parse().unwrap(), &SocketOptions::default()).unwrap();
    let mut batch = RecvBatch::new(2_000);
    for message_id in 0.. {
        poll_fn(|cx| socket.poll_recv(cx, &mut batch)).await.unwrap();
        let Some(Received::Datagram { from, payload, .. }) = batch.iter().next() else { continue };
        let request = Message::decode(Bytes::copy_from_slice(payload)).unwrap();
        let from = from.udp().unwrap();
        let (kind, (options, payload)) = if request.kind == Type::Confirmable {
            host.sleep(span).await;
            (Type::Acknowledgement, alone(&request))
        } else {
            let mut options = Options::new();
            options.push(OptionNumber::BLOCK2, &[block]).unwrap();
            (Type::NonConfirmable, (options, "the last piece"))
        };
        let message_id = if kind == Type::Acknowledgement { request.message_id } else { message_id };
        let (token, payload) = (request.token.clone(), Bytes::from(payload));
        let answer = Message { kind, code: Code::CONTENT, message_id, token, options, payload };
        let mut buffer = [0; 1_200];
        let len = answer.encode(&mut buffer).unwrap();
        socket.try_send(from, &Local::default(), &buffer[..len]).unwrap();
    }
}

fn wayward(block: u8, span: Duration, alone: fn(&Message) -> (Options, &'static str)) -> (Sim, Client<Host>, Host) {
    let mut sim = Sim::from_env(1);
    let (host, member) = (sim.host("client"), sim.host("member"));
    sim.join(&member, "ff05::fd".parse().unwrap());
    let _serving = member.spawn(says_blocks(member.clone(), block, span, alone));
    let client = sim.block_on(host.client()).unwrap();
    (sim, client, member)
}

/// RFC 7959 §2.8: a member answers a group with the first block. Its last block is no body.
#[test]
fn another_block_than_the_first_is_not_taken_for_the_body() {
    // The fourth and last, one before others, and the first of a size that is reserved (RFC 7959 §2.2).
    for block in [0x36, 0x3e, 0x0f] {
        let (mut sim, client, _) = wayward(block, Duration::ZERO, |_| (Options::new(), "all of it"));
        sim.block_on(async {
            let url = format!("{GROUP}/x");
            for request in [client.get(&url), client.post(&url, "")] {
                let mut responses = request.timeout(Duration::from_secs(20)).multicast().await.unwrap();
                assert!(responses.next().await.is_none());
            }
            let one = client.get(&url).non_confirmable().timeout(Duration::from_secs(20)).await;
            assert!(matches!(one, Err(Error::NoResponse { .. })), "{one:?}");
        });
        // They came, and were turned away.
        assert_eq!(client.stats().bad_option, 3);
    }
}

/// Without a time of its own, a member has as long as the group.
#[test]
fn a_member_that_trickles_has_as_long_as_the_group_and_no_longer() {
    let trickle = |request: &Message| {
        let mut options = Options::new();
        let number = request.options.block2().map_or(0, Block::num);
        options.set_block2(Block::new(number, true, 0).unwrap());
        (options, "sixteen bytes...")
    };
    let (mut sim, client, member) = wayward(0x08, Duration::from_secs(1), trickle);
    client.set_max_server_response_delay(Duration::from_secs(60)).unwrap();
    sim.block_on(async {
        let start = member.now();
        let mut responses = client.get(format!("{GROUP}/x")).multicast().await.unwrap();
        let (_, answer) = responses.next().await.unwrap();
        assert!(matches!(answer.as_ref().map_err(Error::kind), Err(ErrorKind::TimedOut(_))), "{answer:?}");
        let span = member.now() - start;
        assert!((Duration::from_secs(60)..Duration::from_secs(62)).contains(&span), "{span:?}");
        assert!(responses.next().await.is_none());
    });
}

#[test]
fn of_a_long_answer_to_what_may_not_be_repeated_there_is_the_first_block() {
    let long = post(|| core::future::ready("a".repeat(5_000))).multicast();
    let mut scene = scene([Router::new().route("/x", long)]);
    let request = scene.client.post(format!("{GROUP}/x"), "").timeout(Duration::from_secs(20));
    let heard = all(&mut scene, request);
    let reply = heard[0].1.as_ref().unwrap();
    // As much as goes to an address that has not proven itself (RFC 9175 §2.4).
    assert_eq!((reply.payload.len(), reply.options.block2().unwrap().more()), (64, true));
}

#[test]
fn what_is_for_one_peer_is_refused_and_so_is_confirmable() {
    let Scene { mut sim, servers, client } = scene([says("one")]);
    let unicast = format!("coap://[{}]/x", servers[0].ip());
    let error = sim.block_on(client.get(unicast.as_str()).multicast()).unwrap_err();
    assert!(matches!(error, Error::NotGroup { .. }), "{error}");
    let through = client.get(format!("{GROUP}/x")).proxy_uri(unicast.as_str());
    let error = sim.block_on(through.multicast()).unwrap_err();
    assert!(matches!(error, Error::NotGroup { .. }), "{error}");
    let error = sim.block_on(async { client.get(format!("{GROUP}/x")).await }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
    assert_eq!(error.to_string(), "request not sent: a request to a group must be non-confirmable");
    let long = vec![0; 5_000];
    let error = sim.block_on(client.put(format!("{GROUP}/x"), long).multicast()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request, "{error}");
}

#[test]
fn it_is_dropped_aborted_or_disconnected_before_its_end() {
    let Scene { mut sim, client, .. } = scene([says("one")]);
    let get = || client.get(format!("{GROUP}/x"));
    sim.block_on(async {
        let mut responses = get().multicast().await.unwrap();
        assert!(responses.next().await.unwrap().1.is_ok());
        drop(responses);
        let mut request = get();
        let abort = request.abort_handle();
        let mut responses = request.multicast().await.unwrap();
        abort.abort();
        assert!(matches!(responses.next().await, Some((_, Err(Error::Aborted)))));
        assert!(responses.next().await.is_none());
        let mut request = get();
        request.abort_handle().abort();
        let sent = client.stats();
        assert!(matches!(request.multicast().await, Err(Error::Aborted)));
        assert_eq!(client.stats(), sent);
        let mut responses = get().multicast().await.unwrap();
        client.disconnect();
        assert!(matches!(responses.next().await, Some((_, Err(Error::Disconnected)))));
        assert!(responses.next().await.is_none());
    });
}

#[test]
fn more_answers_than_may_wait_are_dropped_and_counted() {
    let Scene { mut sim, client, servers } = scene((0..70).map(|_| says("here")));
    sim.block_on(async {
        let request = client.get(format!("{GROUP}/x")).timeout(Duration::from_secs(20));
        let mut responses = request.multicast().await.unwrap();
        servers[0].sleep(Duration::from_secs(15)).await;
        let mut heard = 0;
        while let Some((_, answer)) = responses.next().await {
            answer.unwrap();
            heard += 1;
        }
        assert_eq!((heard, responses.lost()), (64, 6));
    });
}

#[test]
fn each_server_of_a_group_says_what_it_has() {
    let with = |name: &'static str, count: usize| {
        let route = |router: Router, n| router.route(&format!("/{name}/{n}"), get(async || "x").rt(name));
        (0..count).fold(Router::new(), route)
    };
    let Scene { mut sim, client, servers } = scene([with("few", 2), with("many", 200), Router::new()]);
    let short = Duration::from_secs(20);
    let mut found = Vec::new();
    sim.block_on(async {
        let asked = client.discover(GROUP).query("rt=*").request(|request| request.timeout(short));
        let mut servers = asked.multicast().await.unwrap();
        while let Some((from, discovery)) = servers.next().await {
            found.push((from, discovery.unwrap()));
        }
    });
    found.sort_by_key(|(from, _)| from.to_string());
    let counts: Vec<_> = found.iter().map(|(_, discovery)| discovery.links.len()).collect();
    // The third has none with a name, and is silent (RFC 7252 §8.2). The long list of the second comes whole.
    assert_eq!(counts, [2, 200]);
    assert_eq!(found[0].1.links[0].uri().unwrap().to_string(), format!("coap://[{}]/few/0", servers[0].ip()));
    let first = sim.block_on(async { client.discover_multicast(GROUP).await.unwrap().next().await }).unwrap();
    assert!(first.1.is_ok());
    let error = sim.block_on(client.discover_multicast(servers[0].ip().to_string().as_str())).map(drop);
    assert!(error.is_err());
}

#[test]
fn links_of_a_group_that_has_a_name_are_those_of_who_answers() {
    let Scene { mut sim, client, servers } = scene([says("one")]);
    sim.name("all.example", "ff05::fd".parse().unwrap());
    sim.block_on(async {
        let mut found = client.discover_multicast("coap://all.example").await.unwrap();
        let (_, discovery) = found.next().await.unwrap();
        let uri = discovery.unwrap().links[0].uri().unwrap().to_string();
        assert_eq!(uri, format!("coap://[{}]/x", servers[0].ip()));
    });
}

#[test]
fn a_list_of_links_that_is_wrong_is_of_its_server_alone() {
    let list = |text: &'static str| {
        let answer = get(move || core::future::ready((ContentFormat::LINK_FORMAT, text))).multicast();
        Router::new().route("/list", answer)
    };
    let Scene { mut sim, client, .. } = scene([list("<no"), list("</a>")]);
    sim.block_on(async {
        let asked = client.discover(format!("{GROUP}/list")).request(|it| it.timeout(Duration::from_secs(20)));
        let mut servers = asked.multicast().await.unwrap();
        let (mut good, mut bad) = (0, 0);
        while let Some((_, discovery)) = servers.next().await {
            match discovery {
                Ok(discovery) => good += discovery.links.len(),
                Err(DiscoverError::Malformed { .. }) => bad += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((good, bad), (1, 1));
    });
}

#[test]
fn hops_that_no_socket_can_count_are_not_taken() {
    let Scene { mut sim, client, servers } = scene([says("one")]);
    let start = servers[0].now();
    let request = client.get(format!("{GROUP}/x")).hops(3).timeout(Duration::from_secs(20));
    let mut responses = sim.block_on(request.multicast()).unwrap();
    let (_, answer) = sim.block_on(responses.next()).unwrap();
    let error = answer.unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { cause: Unreachable::NotSent(std::io::ErrorKind::Unsupported), .. }),
        "{error:?}"
    );
    assert!(sim.block_on(responses.next()).is_none());
    assert_eq!((client.socket_stats().not_sent, servers[0].now() - start), (1, Duration::ZERO));
    // Another request to the group, that can be sent, is not concerned.
    let others = client.get(format!("{GROUP}/x")).timeout(Duration::from_secs(20));
    let mut others = sim.block_on(others.multicast()).unwrap();
    let refused = sim.block_on(client.get(format!("{GROUP}/x")).hops(3).multicast());
    drop(refused);
    assert!(sim.block_on(others.next()).unwrap().1.is_ok());
    // To one peer they mean nothing.
    let Scene { mut sim, client, servers } = scene([says("one")]);
    let request = client.get(format!("coap://[{}]/x", servers[0].ip())).hops(3).interface(1);
    assert_eq!(sim.block_on(request.into_future()).unwrap().text(), Some("one"));
}

#[test]
fn a_group_that_cannot_be_joined_is_named() {
    let mut sim = Sim::from_env(1);
    let host = sim.host("server");
    let mut refused = |bind: &str, group: &str, interface| {
        let building = host.builder().bind(bind).join(group.parse::<IpAddr>().unwrap(), interface);
        sim.block_on(building.server()).unwrap_err()
    };
    assert!(matches!(refused("[::]:5683", "ff02::fd", Some("eth9")), Error::NoInterface { .. }));
    for (bind, group) in [("[::]:5683", "192.0.2.1"), ("0.0.0.0:5684", "ff02::fd")] {
        let error = refused(bind, group, None);
        assert_eq!(error.kind(), ErrorKind::Bind);
        assert!(error.to_string().starts_with(&format!("cannot join {group}: ")), "{error}");
    }
}
