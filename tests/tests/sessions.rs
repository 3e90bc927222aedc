//! Secure sessions (RFC 7252 §9) on a bad network in virtual time, where somebody also sends each record once more.
//!
//! Handshakes are made from seeds, with pre-shared keys: the same seed gives the same trace, to the last byte of each record.
//! `COAP_EXCHANGES` is the number of requests at each point, `COAP_SEED` the seed.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::cell::RefCell;
use core::time::Duration;
use std::collections::BTreeMap;
use std::rc::Rc;

use coap_core::{
    Code, Config, Event, Failure, Peer, Request, RequestId, RequestOptions, Response, SessionEnd,
    TransmissionParameters, UdpAddr,
};
use coap_driver::router::{Router, get, post};
use coap_driver::{Client, ErrorKind};
use coap_dtls::{ClientPsk, ClientSecurity, Limits, PskTable, SecurityConfig, ServerSecurity};
use coap_sim::{Host, Link, Node, Sim, serve};

/// RFC 5246 §7.2.
const DECRYPT_ERROR: u8 = 51;
/// Told of a wrong key, though it was right.
const LED_ASTRAY: &str = "led astray";

/// How often each body was taken by the server.
type Counter = Rc<RefCell<BTreeMap<Vec<u8>, u64>>>;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn exchanges(few: u64) -> u64 {
    std::env::var("COAP_EXCHANGES").map_or(few, |text| text.parse().expect("COAP_EXCHANGES is a number"))
}

fn identity(number: usize) -> String {
    format!("client {number}")
}

fn key(number: usize) -> String {
    format!("the key of client {number}")
}

/// How a client knows the server. A seed each, as the same hello twice would be the same session twice.
fn client(seed: u64, number: usize) -> ClientSecurity {
    let security = SecurityConfig::client(ClientPsk::new(identity(number), key(number)).unwrap());
    security.seeded((seed << 16) | (number as u64 + 1)).build().unwrap()
}

/// A server that knows so many clients.
fn server(seed: u64, clients: usize) -> ServerSecurity {
    let keys = (0..clients).fold(PskTable::new(), |keys, number| keys.with(identity(number), key(number)).unwrap());
    SecurityConfig::server().psk(keys).seeded(seed << 16).build().unwrap()
}

/// Clients with sessions to one server, which says again what it is sent.
struct World {
    sim: Sim,
    server: Node,
    clients: Vec<(Node, ClientSecurity)>,
    counter: Counter,
    /// What was sent in each request that has not ended yet.
    open: BTreeMap<(Node, RequestId), Vec<u8>>,
    answered: u64,
    failed: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(seed: u64, clients: usize, config: &Config) -> Self {
        let mut sim = Sim::new(seed);
        sim.keep_trace(100);
        let counter = Counter::default();
        // At full size a run takes days. A client that waits for a handshake for one of them has its old session closed as idle.
        let limits = Limits::builder().idle(secs(30 * 24 * 60 * 60)).build().unwrap();
        let server_node = sim.secure_node("server", config.clone(), limits.clone());
        sim.listen(server_node, &server(seed, clients));
        let counting = counter.clone();
        sim.run_app(
            server_node,
            serve(move |_, request| {
                let body = request.request.body.as_bytes().to_vec();
                *counting.borrow_mut().entry(body.clone()).or_default() += 1;
                Response::new(Code::CHANGED).with_body(body).into()
            }),
        );
        let node = |number| {
            let node = sim.secure_node(&format!("c{number}"), config.clone(), limits.clone());
            (node, client(seed, number))
        };
        let clients = (0..clients).map(node).collect();
        let (open, failed) = (BTreeMap::new(), BTreeMap::new());
        Self { sim, server: server_node, clients, counter, open, answered: 0, failed }
    }

    fn link(&mut self, link: Link) {
        for (node, _) in &self.clients {
            self.sim.link(*node, self.server, link);
        }
    }

    /// A client sends something that is sent once only, in a session that is made if there is none.
    fn post(&mut self, number: usize, body: String, how: &RequestOptions) {
        let (node, security) = self.clients[number].clone();
        let to = UdpAddr::new(self.sim.address(self.server));
        let request = Request::new(Code::POST).with_body(body.clone().into_bytes());
        let id = self.sim.act_in_sessions(node, |endpoint, now| {
            let session = endpoint.connect(now, to, 0, &security, None).unwrap();
            endpoint.request(now, Peer::Session(session), request, how).unwrap()
        });
        assert!(self.open.insert((node, id), body.into_bytes()).is_none());
    }

    /// What has become of requests: one outcome each.
    fn look(&mut self) {
        for (node, _) in &self.clients {
            for (_, event) in self.sim.take_events(*node) {
                match event {
                    Event::Response { id, response, .. } => {
                        let body = self.open.remove(&(*node, id)).expect("an outcome of an open request");
                        assert_eq!(response.body.as_bytes(), body, "the response to another request");
                        assert_eq!(self.counter.borrow().get(&body), Some(&1), "answered, and executed how often?");
                        self.answered += 1;
                    }
                    Event::Failed { id, reason, .. } => {
                        self.open.remove(&(*node, id)).expect("an outcome of an open request");
                        let why = match reason {
                            Failure::NoAck => "not acknowledged",
                            Failure::NoResponse => "not answered",
                            Failure::Session(SessionEnd::HandshakeTimeout | SessionEnd::NoAnswer) => "no session",
                            Failure::Session(SessionEnd::Silent) => "with its session",
                            // What is later than two minutes can still end a handshake: here records come again within an hour.
                            Failure::Session(SessionEnd::Alert(DECRYPT_ERROR) | SessionEnd::WrongKey) => LED_ASTRAY,
                            other => panic!("{other:?}"),
                        };
                        *self.failed.entry(why).or_default() += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// Lets time pass, and looks what has happened in it.
    fn run(&mut self, span: Duration) {
        self.sim.run_for(span);
        self.look();
    }

    /// Nothing is open any more. No record was taken twice: what endpoints were given is not more than what was sent to them.
    fn check(&self) {
        assert!(self.open.is_empty(), "{} requests without an outcome", self.open.len());
        let counter = self.counter.borrow();
        let twice: Vec<_> = counter.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
        let stats = |node| self.sim.endpoint(node).stats();
        let server = stats(self.server);
        let sum = |what: fn(&coap_core::Stats) -> u64| -> u64 {
            self.clients.iter().map(|(node, _)| what(&stats(*node))).sum()
        };
        let (sent, received) = (sum(|stats| stats.datagrams_sent), sum(|stats| stats.datagrams_received));
        assert!(server.datagrams_received <= sent, "{} of {sent}", server.datagrams_received);
        assert!(received <= server.datagrams_sent, "{received} of {}", server.datagrams_sent);
        let astray = self.failed.get(LED_ASTRAY).copied().unwrap_or(0);
        assert!(astray <= (self.answered + self.failed.values().sum::<u64>()) / 100, "{:?}", self.failed);
        let own = |node| self.sim.sessions(node).session_stats();
        assert_eq!(own(self.server).closed.peer, 0, "nobody has closed a session");
        assert_eq!(own(self.server).half_open, 0);
        for (node, _) in &self.clients {
            let failed = own(*node).failed;
            assert_eq!(failed.total(), failed.timeout + failed.alert + failed.wrong_key, "{failed:?}");
        }
    }
}

/// What came of a run: the trace, how many requests were answered, and what became of the others.
type Outcome = (u64, u64, BTreeMap<&'static str, u64>);

/// So many clients, a tenth of all datagrams lost, a third out of order, and each replayed within an hour.
fn crowd(seed: u64, clients: usize, rounds: u32) -> Outcome {
    let mut world = World::new(seed, clients, &Config::default());
    world.link(Link::lossy(0.1).jitter(secs(1)).reordering(0.3, secs(5)).replayed(secs(3_600)));
    for round in 0..rounds {
        for number in 0..clients {
            world.post(number, format!("{number}:{round}"), &RequestOptions::new());
        }
        world.run(secs(20));
    }
    // Until the last record has been replayed.
    world.run(secs(4_000));
    world.check();
    let sessions = world.sim.sessions(world.server).session_stats();
    assert!(sessions.sessions <= clients, "one for each client: {sessions:?}");
    println!(
        "{clients} clients, {} datagrams: {} answered, {:?}; {} handshakes begun, {} done",
        world.sim.trace().count(),
        world.answered,
        world.failed,
        sessions.begun,
        sessions.established,
    );
    (world.sim.trace().hash(), world.answered, world.failed)
}

#[test]
fn two_hundred_clients_on_a_bad_network_have_one_outcome_for_each_request_and_one_trace_for_each_seed() {
    let seed = coap_sim::seed_from_env(1);
    let (trace, answered, failed) = crowd(seed, 200, 5);
    assert!(answered >= 950, "{answered} of 1000, {failed:?}");
    assert_eq!(crowd(seed, 200, 5), (trace, answered, failed), "the same seed, the same trace");
    assert_ne!(crowd(seed + 1, 200, 1).0, crowd(seed, 200, 1).0, "another seed");
}

#[test]
fn r15_a_post_in_a_session_is_executed_once_at_most_whatever_the_network_does() {
    let (n, seed) = (exchanges(120), coap_sim::seed_from_env(1));
    println!("R-15 POST counter in sessions, {n} requests at each of 24 points, three clients, each record replayed");
    // Forty requests of a client are under way at a time, and what is held back is passed by up to a hundred records.
    let transmission =
        TransmissionParameters::default().to_builder().nstart(40).accept_congestion_risk().build().unwrap();
    let config = Config::builder().transmission(transmission).build().unwrap();
    let ways = [
        ("held back by up to 100", Link::new().jitter(Duration::from_millis(200)).reordering(0.3, secs(5))),
        ("0 to 60 s", Link::new().delay(Duration::ZERO).jitter(secs(60))),
    ];
    for (name, link) in ways {
        for loss in [0.0, 0.1, 0.3, 0.5] {
            for duplication in [0.0, 0.3, 0.5] {
                let mut world = World::new(seed, 3, &config);
                // A handshake would not survive some of these networks.
                for number in 0..3 {
                    world.post(number, format!("first of {number}"), &RequestOptions::new());
                }
                world.run(secs(10));
                assert_eq!(world.answered, 3);
                world.link(link.loss(loss).duplication(duplication).replayed(secs(3_600)));
                for round in 0..n.div_ceil(120) {
                    for one in 0..n.min(120) {
                        let how = RequestOptions::new();
                        let how = if one / 3 % 4 == 3 { how.non_confirmable() } else { how };
                        world.post(one as usize % 3, format!("{round}:{one}"), &how);
                    }
                    world.run(secs(400));
                }
                world.run(secs(4_000));
                world.check();
                let executed = world.counter.borrow().values().sum::<u64>() - 3;
                let sessions = world.sim.sessions(world.server).session_stats();
                println!(
                    "  {name:<22} loss {loss:.1} duplication {duplication:.1}: {} answered, {executed} executed, {:?}, {} \
                     sessions",
                    world.answered - 3,
                    world.failed,
                    sessions.established,
                );
                assert!(loss > 0.0 || link != ways[0].1 || world.answered == n.div_ceil(120) * n.min(120) + 3);
            }
        }
    }
    let command = "cargo test --release -p coap-sim --test sessions r15 -- --nocapture";
    println!("at full size: COAP_SEED={seed} COAP_EXCHANGES=100000 {command}");
}

#[test]
fn a_server_that_restarts_is_found_again_and_nothing_is_executed_twice() {
    let mut world = World::new(coap_sim::seed_from_env(1), 20, &Config::default());
    world.link(Link::lossy(0.1).replayed(secs(600)));
    for round in 0..12 {
        if round % 3 == 2 {
            world.sim.reboot(world.server);
        }
        for number in 0..20 {
            world.post(number, format!("{number}:{round}"), &RequestOptions::new());
        }
        world.run(secs(100));
    }
    assert!(world.open.is_empty());
    assert!(world.counter.borrow().values().all(|times| *times == 1));
    // After each of the four restarts one request of each client learns of it.
    assert!(world.answered >= 240 - 4 * 20 - 10, "{} {:?}", world.answered, world.failed);
}

#[test]
fn whole_clients_and_servers_have_sessions_on_a_bad_network() {
    const CLIENTS: usize = 8;
    let seed = coap_sim::seed_from_env(1);
    let run = || {
        let mut sim = Sim::new(seed);
        let host = sim.host("server");
        sim.name("server.example", host.ip());
        let taken = std::sync::Arc::new(std::sync::Mutex::new(BTreeMap::<String, u64>::new()));
        let (taking, security) = (taken.clone(), server(seed, CLIENTS));
        let (serving, at) = (host.clone(), host.clone());
        let _serving = host.spawn(async move {
            let take = move |body: String| {
                *taking.lock().unwrap().entry(body.clone()).or_default() += 1;
                async move { body }
            };
            let server = serving.builder().bind("[::]:5683").secure("[::]:5684", security).server().await?;
            server.serve(Router::new().route("/take", post(take))).await
        });
        let link = Link::lossy(0.1).jitter(secs(1)).reordering(0.3, secs(5)).replayed(secs(3_600));
        let mut asking = Vec::new();
        for number in 0..CLIENTS {
            let (host, security) = (sim.host(&format!("h{number}")), client(seed, number));
            sim.link(&host, &at, link);
            let client = host.clone();
            asking.push(host.spawn(async move {
                let client = client.builder().security(security).client().await.unwrap();
                let mut answered = 0;
                for round in 0..5 {
                    let body = format!("{number}:{round}");
                    let asked = client.post("coaps://server.example/take", body.clone()).await;
                    if let Ok(reply) = asked {
                        assert_eq!(reply.text(), Some(&body[..]));
                        answered += 1;
                    }
                }
                answered
            }));
        }
        let answered: u64 = sim.block_on(async move {
            let mut answered = 0;
            for task in asking {
                answered += task.await;
            }
            answered
        });
        sim.run_for(secs(4_000));
        assert!(taken.lock().unwrap().values().all(|times| *times == 1));
        (sim.trace().hash(), answered)
    };
    let (trace, answered) = run();
    assert!(answered >= 36, "{answered} of 40");
    assert_eq!(run(), (trace, answered), "the same seed, the same trace");
}

/// A client, and a server so far away that a datagram takes `delay`.
fn whole(delay: Duration) -> (Sim, Client<Host>, String) {
    let mut sim = Sim::new(1);
    let (server, host) = (sim.host("server"), sim.host("client"));
    sim.link(&server, &host, Link::default().delay(delay));
    let keys = PskTable::new().with("a", "0123456789abcdef").unwrap();
    let security = SecurityConfig::server().psk(keys).build().unwrap();
    let bound = sim.block_on(server.builder().secure("[::]:5684", security).server()).unwrap();
    sim.spawn(bound.serve(Router::new().route("/x", get(async || "x"))));
    let security = SecurityConfig::client(ClientPsk::new("a", "0123456789abcdef").unwrap()).build().unwrap();
    let client = sim.block_on(host.builder().security(security).client()).unwrap();
    (sim, client, format!("coaps://[{}]/x", server.ip()))
}

#[test]
fn a_client_that_is_disconnected_in_its_handshake_is_back_soon() {
    let (mut sim, client, uri) = whole(Duration::from_millis(10));
    let (first, asked) = (client.clone(), uri.clone());
    let first = sim.spawn(async move { first.get(asked).await.map(|reply| reply.code).map_err(|error| error.kind()) });
    sim.run_for(Duration::from_millis(5));
    client.disconnect();
    assert_eq!(sim.block_on(first), Err(ErrorKind::Disconnected));
    let began = sim.now();
    assert_eq!(sim.block_on(async { client.get(&uri).await.map(|reply| reply.code) }).unwrap(), Code::CONTENT);
    assert!(sim.now() - began < secs(1), "{:?}", sim.now() - began);
}

#[test]
fn a_request_that_was_given_too_little_time_says_nothing_of_its_session() {
    let (mut sim, client, uri) = whole(Duration::from_millis(250));
    let mut ask = |span| {
        let request = client.get(&uri).timeout(Duration::from_millis(span));
        sim.block_on(async { request.await.map(|reply| reply.code).map_err(|error| error.kind()) })
    };
    assert_eq!(ask(60_000), Ok(Code::CONTENT));
    for _ in 0..3 {
        assert!(ask(300).is_err());
    }
    assert_eq!(ask(60_000), Ok(Code::CONTENT));
    assert_eq!(client.session_stats().begun, 1, "it is the same session");
}
