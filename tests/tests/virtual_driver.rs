//! Whole clients, servers and routers in virtual time, and that the same seed does the same.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex};

use coap_core::{
    Code, Config, Event, Failure, Instant, Peer, Request, RequestOptions, Response, TransmissionParameters,
    UnprovenLimit,
};
use coap_driver::router::{Path, Router, get, post, put};
use coap_driver::{Client, Error, Reply, Runtime, SocketOptions, UdpSocket};
use coap_sim::{Fault, Host, Link, Open, Sim, Task, serve as answer};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The server's tasks: what it serves, and its end.
type Serving = Task<Result<(), Error>>;

fn serve(host: &Host, router: Router) -> Serving {
    let server = host.clone();
    host.spawn(async move { server.server("[::]:5683").await?.serve(router).await })
}

/// A server with this router, and a client, on a path that loses a share, and their hosts.
fn network(seed: u64, loss: f64, router: impl FnOnce(&Host) -> Router) -> (Sim, [Host; 2], Client<Host>, Serving) {
    let mut sim = Sim::from_env(seed);
    let (server, host) = (sim.host("server"), sim.host("client"));
    sim.link(&server, &host, Link::lossy(loss));
    sim.name("server.example", server.ip());
    let serving = serve(&server, router(&server));
    let client = sim.block_on(host.client()).unwrap();
    (sim, [server, host], client, serving)
}

fn hello() -> Router {
    Router::new().route("/hello", get(async || "hello").multicast())
}

/// What a request became, and when it started and ended.
type Finished = Task<Result<Reply, Error>>;

fn ask(sim: &mut Sim, client: &Client<Host>, path: &str) -> Finished {
    sim.spawn(client.get(format!("coap://server.example{path}")).into_future())
}

/// All has ended: no task, no socket and no timer is left.
fn assert_nothing_is_left(mut sim: Sim) {
    sim.run_until_idle();
    assert_eq!(sim.open(), Open::default());
}

#[test]
fn a_hundred_requests_at_a_time_are_answered_at_a_loss_of_a_fifth() {
    let run = |seed| {
        let router = Router::new().route("/double/{n}", get(async |Path(n): Path<u32>| (2 * n).to_string()));
        let (mut sim, [_, host], _, serving) = network(seed, 0.2, |_| router);
        let eight = TransmissionParameters::builder().nstart(8).accept_congestion_risk().build().unwrap();
        let config = Config::builder().transmission(eight).build().unwrap();
        let client = sim.block_on(host.builder().config(config).client()).unwrap();
        let asked: Vec<_> = (0..100).map(|n| ask(&mut sim, &client, &format!("/double/{n}"))).collect();
        for (n, asked) in asked.into_iter().enumerate() {
            match sim.block_on(asked) {
                Ok(reply) => assert_eq!(reply.text(), Some((2 * n).to_string().as_str())),
                Err(error) => assert!(matches!(error, Error::NoAck { .. }), "{error}"),
            }
        }
        drop(client);
        serving.abort();
        let hash = sim.trace().hash();
        assert_nothing_is_left(sim);
        hash
    };
    let first = run(1);
    assert_eq!(first, run(1), "the same seed, and not the same trace");
    if std::env::var_os("COAP_SEED").is_none() {
        assert_ne!(first, run(2));
        assert_eq!(first, 0x0399_1da2_d1e5_9003, "the trace of seed 1 has changed: {first:#x}");
    }
}

#[test]
fn a_handler_that_sleeps_answers_separately() {
    let slow = |host: &Host| {
        let host = host.clone();
        Router::new().route(
            "/slow",
            get(move || {
                let host = host.clone();
                async move {
                    host.sleep(secs(20)).await;
                    "at last"
                }
            }),
        )
    };
    let (mut sim, _, client, serving) = network(1, 0.0, slow);
    let reply = sim.block_on(client.get("coap://server.example/slow").into_future()).unwrap();
    assert_eq!((reply.text(), reply.timing.elapsed, reply.timing.attempts), (Some("at last"), secs(20) + ms(20), 1));
    let trace: Vec<_> = sim.trace().lines().map(str::to_owned).collect();
    assert!(trace[1].contains("server -> client ACK 0.00 Empty"), "{trace:#?}");
    assert!(trace[2].contains("server -> client CON 2.05 Content"), "{trace:#?}");
    sim.run_for(secs(1));
    assert!(sim.trace().lines().last().unwrap().contains("client -> server ACK 0.00 Empty"), "{}", sim.trace());
    drop(client);
    serving.abort();
    assert_nothing_is_left(sim);
}

/// RFC 9175 §2.3: neither side's application sees anything of it.
#[test]
fn a_request_that_must_be_fresh_is_carried_out_once_and_costs_a_round_trip() {
    let carried_out = Arc::new(AtomicU32::new(0));
    let count = carried_out.clone();
    let lock = put(move |state: String| {
        assert_eq!(state, "open".repeat(500));
        count.fetch_add(1, Ordering::Relaxed);
        core::future::ready(())
    });
    let lock = lock.fresh(secs(5)).get(async || "locked");
    let (mut sim, [server, _], client, serving) = network(1, 0.0, |_| Router::new().route("/lock", lock));
    // A long content, too, is asked for after that.
    let put = client.put(format!("coap://[{}]/lock", server.ip()), "open".repeat(500));
    let reply = sim.block_on(put.into_future()).unwrap();
    assert_eq!((reply.code, reply.timing.elapsed), (Code::CHANGED, ms(3 * 20)));
    assert_eq!((carried_out.load(Ordering::Relaxed), client.stats().challenges_answered), (1, 1));
    let free = ask(&mut sim, &client, "/lock");
    assert_eq!(sim.block_on(free).unwrap().text(), Some("locked"));
    assert_eq!(client.stats().challenges_answered, 1);
    drop(client);
    serving.abort();
    assert_nothing_is_left(sim);
}

/// RFC 9175 §2.4: the first block is small, and asks for the proof that comes with the second.
#[test]
fn a_server_that_limits_the_unproven_serves_a_long_body_and_the_next_one_in_large_blocks() {
    let mut sim = Sim::from_env(1);
    let (server, host) = (sim.host("server"), sim.host("client"));
    let config = Config::builder().unproven_limit(UnprovenLimit::All).build().unwrap();
    let router = Router::new().route("/long", get(async || "long".repeat(500)));
    let bound = sim.block_on(server.builder().bind("[::]:5683").config(config).server()).unwrap();
    let serving = sim.spawn(bound.serve(router));
    let client = sim.block_on(host.client()).unwrap();
    let uri = format!("coap://[{}]/long", server.ip());
    for datagrams in [32, 2] {
        let before = client.stats().datagrams_sent;
        let reply = sim.block_on(client.get(&uri).into_future()).unwrap();
        assert_eq!(reply.text(), Some("long".repeat(500).as_str()));
        assert_eq!(client.stats().datagrams_sent - before, datagrams);
    }
    drop(client);
    serving.abort();
    assert_nothing_is_left(sim);
}

#[test]
fn a_handler_that_panics_is_answered_5_00_and_the_next_is_answered_too() {
    async fn fails() -> &'static str {
        // A panic that prints nothing.
        std::panic::resume_unwind(Box::new("on purpose"))
    }
    let (mut sim, _, client, serving) = network(1, 0.0, |_| hello().route("/fails", get(fails)));
    let reply = sim.block_on(client.get("coap://server.example/fails").into_future()).unwrap();
    assert_eq!(reply.code, Code::INTERNAL_SERVER_ERROR);
    let reply = sim.block_on(client.get("coap://server.example/hello").into_future()).unwrap();
    assert_eq!(reply.text(), Some("hello"));
    assert!(!serving.is_over());
}

#[test]
fn a_shutdown_waits_for_handlers_and_turns_the_others_away() {
    let run = || {
        let mut sim = Sim::from_env(3);
        let (server, client) = (sim.host("server"), sim.host("client"));
        sim.name("server.example", server.ip());
        let host = server.clone();
        let sleep = move |Path(seconds): Path<u64>| {
            let host = host.clone();
            async move {
                host.sleep(secs(seconds)).await;
                "slept"
            }
        };
        let bound = sim.block_on(server.server("[::]:5683")).unwrap();
        let shutdown = bound.shutdown_handle();
        let serving = sim.spawn(bound.serve(Router::new().route("/sleep/{seconds}", get(sleep))));
        // NSTART is 1: each of them has a client of its own.
        let clients: Vec<_> = (0..8).map(|_| sim.block_on(client.client()).unwrap()).collect();
        let soon: Vec<_> = clients[..4].iter().map(|client| ask(&mut sim, client, "/sleep/5")).collect();
        let late: Vec<_> = clients[4..].iter().map(|client| ask(&mut sim, client, "/sleep/60")).collect();
        sim.run_for(secs(1));
        shutdown.shutdown(secs(10));
        sim.run_for(ms(1));
        let newcomer = sim.block_on(client.client()).unwrap();
        let refused = ask(&mut sim, &newcomer, "/sleep/1");
        for asked in soon {
            assert_eq!(sim.block_on(asked).unwrap().text(), Some("slept"));
        }
        for asked in late {
            assert_eq!(sim.block_on(asked).unwrap().code, Code::SERVICE_UNAVAILABLE);
        }
        sim.block_on(serving).unwrap();
        assert!(sim.now() >= Instant::from_secs(11) && sim.now() < Instant::from_secs(12), "{}", sim.now());
        let refused = sim.block_on(refused);
        assert!(
            matches!(&refused, Ok(reply) if reply.code == Code::SERVICE_UNAVAILABLE)
                || matches!(refused, Err(Error::Unreachable { .. })),
            "{refused:?}"
        );
        drop((clients, newcomer));
        let hash = sim.trace().hash();
        assert_nothing_is_left(sim);
        hash
    };
    // What is told to several peers at once is told in the same order each time.
    assert_eq!(run(), run());
}

#[test]
fn server_and_client_change_their_roles_on_one_pair_of_ports() {
    let mut sim = Sim::from_env(5);
    let (lamp, hub) = (sim.host("lamp"), sim.host("hub"));
    // Nothing is lost, so that any seed succeeds, and nothing comes once and in order.
    sim.link(&lamp, &hub, Link::new().duplication(0.5).reordering(0.5, secs(2)));
    let bound = sim.block_on(hub.server("[::]:5683")).unwrap();
    let back = bound.client();
    // The hub asks whoever registers, from its own port, for what it is.
    let register = move |peer: Peer| {
        let back = back.clone();
        async move {
            let told = back.get(peer).await;
            told.map(|reply| reply.text().unwrap_or("?").to_owned()).map_err(|_| Code::BAD_GATEWAY)
        }
    };
    let hub_serves = sim.spawn(bound.serve(Router::new().route("/register", post(register))));
    let bound = sim.block_on(lamp.server("[::]:0")).unwrap();
    let client = bound.client();
    let lamp_serves = sim.spawn(bound.serve(Router::new().route("/", get(async || "a lamp"))));
    let uri = format!("coap://[{}]/register", hub.ip());
    let reply = sim.block_on(client.post(uri, "").into_future()).unwrap();
    assert_eq!((reply.code, reply.text()), (Code::CHANGED, Some("a lamp")));
    drop(client);
    lamp_serves.abort();
    hub_serves.abort();
    assert_nothing_is_left(sim);
}

#[test]
fn what_is_dropped_is_not_sent_again() {
    let (mut sim, [server, _], client, _serving) = network(1, 0.0, |_| hello());
    let far = sim.host("far");
    sim.cut(&server, &far);
    let client_far = sim.block_on(far.client()).unwrap();
    let asked = ask(&mut sim, &client_far, "/hello");
    let stays = ask(&mut sim, &client, "/hello");
    sim.run_for(ms(500));
    let sent = |sim: &Sim| sim.trace().lines().filter(|line| line.contains("far -> server")).count();
    assert_eq!(sent(&sim), 1);
    asked.abort();
    sim.run_for(secs(200));
    assert_eq!(sent(&sim), 1, "{}", sim.trace());
    assert!(sim.block_on(stays).is_ok());
    // Not dropped, it is sent four times more (RFC 7252 §4.2).
    let asked = ask(&mut sim, &client_far, "/hello");
    assert!(matches!(sim.block_on(asked), Err(Error::NoAck { .. })));
    assert_eq!(sent(&sim), 6);
}

#[test]
fn of_two_addresses_the_second_is_asked_when_the_first_is_dead() {
    // Silent: nobody has the address. The second is tried beside it when the first is asked again.
    let mut sim = Sim::from_env(1);
    let (server, client) = (sim.host("server"), sim.host("client"));
    sim.name("server.example", "2001:db8:dead::1".parse().unwrap());
    sim.name("server.example", server.ipv4());
    let _serving = serve(&server, hello());
    let client = sim.block_on(client.client()).unwrap();
    let reply = sim.block_on(client.get("coap://server.example/hello").into_future()).unwrap();
    assert_eq!(reply.from, SocketAddr::new(server.ipv4(), 5_683).into());
    assert!(sim.now() < Instant::from_secs(4), "{}", sim.now());

    // Reported: the host has no such port, and the second is asked at once, whatever the method.
    let other = sim.host("other");
    sim.name("two.example", other.ip());
    sim.name("two.example", server.ip());
    let before = sim.now();
    let reply = sim.block_on(client.post("coap://two.example/hello", "").into_future()).unwrap();
    assert_eq!(reply.code, Code::METHOD_NOT_ALLOWED);
    assert_eq!(sim.now(), before + ms(40));
}

#[test]
fn a_port_that_nobody_has_is_reported_or_silent_as_the_link_says() {
    let mut sim = Sim::from_env(1);
    let (server, host) = (sim.host("server"), sim.host("client"));
    let client = sim.block_on(host.client()).unwrap();
    let uri = format!("coap://[{}]/", server.ip());
    let refused = sim.block_on(client.get(&uri).into_future());
    assert!(matches!(refused, Err(Error::Unreachable { .. })), "{refused:?}");
    assert_eq!(sim.now(), Instant::from_millis(20));
    sim.link(&server, &host, Link::new().without_reports());
    let silent = sim.block_on(client.get(&uri).into_future());
    assert!(matches!(silent, Err(Error::NoAck { .. })), "{silent:?}");
}

#[test]
fn a_slow_look_up_counts_for_the_timeout_and_an_unknown_name_is_said() {
    let (mut sim, _, client, _serving) = network(1, 0.0, |_| hello());
    let unknown = sim.block_on(client.get("coap://nobody.example/").into_future());
    assert!(matches!(unknown, Err(Error::HostNotFound { .. })), "{unknown:?}");
    sim.look_up_time(secs(3));
    let before = sim.now();
    let slow = sim.block_on(client.get("coap://server.example/hello").timeout(secs(2)).into_future());
    assert!(matches!(slow, Err(Error::ResolveTimeout { .. })), "{slow:?}");
    assert_eq!(sim.now(), before + secs(2));
    assert!(sim.block_on(client.get("coap://server.example/hello").timeout(secs(4)).into_future()).is_ok());
}

#[test]
fn a_host_that_is_rebooted_has_forgotten_all() {
    let (mut sim, [server, _], client, serving) = network(1, 0.0, |_| hello());
    assert!(sim.block_on(client.get("coap://server.example/hello").into_future()).is_ok());
    sim.reboot(&server);
    assert!(serving.is_over());
    let gone = sim.block_on(client.get("coap://server.example/hello").into_future());
    assert!(matches!(gone, Err(Error::Unreachable { .. })), "{gone:?}");
    let _serving = serve(&server, hello());
    assert!(sim.block_on(client.get("coap://server.example/hello").into_future()).is_ok());
}

#[test]
fn a_host_talks_to_itself() {
    let mut sim = Sim::from_env(1);
    let host = sim.host("host");
    let _serving = serve(&host, hello());
    let client = sim.block_on(host.client()).unwrap();
    for uri in
        ["coap://[::1]/hello".to_owned(), "coap://127.0.0.1/hello".to_owned(), format!("coap://[{}]/hello", host.ip())]
    {
        assert_eq!(sim.block_on(client.get(uri).into_future()).unwrap().text(), Some("hello"));
    }
    let refused = sim.block_on(client.get("coap://[::1]:7/").into_future());
    assert!(matches!(refused, Err(Error::Unreachable { .. })), "{refused:?}");
}

#[test]
fn a_group_and_an_endpoint_without_a_runtime_are_reached_too() {
    let mut sim = Sim::from_env(1);
    let (server, client) = (sim.host("server"), sim.host("client"));
    let lamp = sim.node("lamp", Config::default());
    sim.run_app(lamp, answer(|_, _| Response::new(Code::CONTENT).into()));
    let group = "ff05::fd".parse().unwrap();
    sim.join(&server, group);
    let _serving = serve(&server, hello());
    let client = sim.block_on(client.client()).unwrap();
    let reply = sim.block_on(client.get(sim.address(lamp)).into_future()).unwrap();
    assert_eq!((reply.code, reply.from), (Code::CONTENT, sim.peer(lamp)));
    let reply = sim.block_on(client.get("coap://[ff05::fd]/hello").non_confirmable().timeout(secs(10)).into_future());
    let reply = reply.unwrap();
    assert_eq!((reply.text(), reply.from), (Some("hello"), SocketAddr::new(server.ip(), 5_683).into()));
    // And the other way round.
    let remote = sim.node("remote", Config::default());
    let mut request = Request::get();
    request.options.push_uri_path("hello").unwrap();
    let to = SocketAddr::new(server.ip(), 5_683).into();
    let id = sim.act(remote, |endpoint, now| endpoint.request(now, to, request, &RequestOptions::new())).unwrap();
    let Some(Event::Response { response, .. }) = sim.finish(remote, id) else { panic!("no response") };
    assert_eq!(response.body.as_bytes(), b"hello");
    // A port that the host does not have is reported to the endpoint.
    let to = SocketAddr::new(server.ip(), 7).into();
    let how = RequestOptions::new();
    let id = sim.act(remote, |endpoint, now| endpoint.request(now, to, Request::get(), &how)).unwrap();
    assert!(matches!(sim.finish(remote, id), Some(Event::Failed { reason: Failure::Unreachable, .. })));
}

#[test]
fn sockets_are_bound_as_on_a_machine() {
    let mut sim = Sim::new(1);
    let host = sim.host("host");
    let bind = |addr: &str, reuse: bool| {
        let mut options = SocketOptions::default();
        options.reuse_port = reuse;
        host.bind(addr.parse().unwrap(), &options)
    };
    let kind = |addr: &str| bind(addr, false).err().map(|error| error.kind());
    let any = bind("[::]:5683", false).unwrap();
    assert_eq!(any.local_addr().unwrap().port(), 5_683);
    assert_eq!(kind("[::]:5683"), Some(std::io::ErrorKind::AddrInUse));
    assert_eq!(kind("0.0.0.0:5683"), Some(std::io::ErrorKind::AddrInUse));
    assert_eq!(kind("[2001:db8::77]:5683"), Some(std::io::ErrorKind::AddrNotAvailable));
    let (one, two) = (bind("[::]:0", false).unwrap(), bind("[::]:0", false).unwrap());
    assert_ne!(one.local_addr().unwrap(), two.local_addr().unwrap());
    let (_first, _second) = (bind("[::]:7000", true).unwrap(), bind("[::]:7000", true).unwrap());
    assert_eq!(kind("[::]:7000"), Some(std::io::ErrorKind::AddrInUse));
    assert_eq!(sim.open().sockets, 5);
    drop(any);
    assert_eq!(kind("0.0.0.0:5683"), None);
    assert_eq!((host.interface_index("eth0"), host.interface_index("eth1")), (Some(1), None));
}

// ----- what can go wrong at a socket ----------------------------------------------------------------------------

#[test]
fn each_fault_alone_costs_one_request_at_most() {
    for fault in Fault::ALL {
        for at_the_server in [false, true] {
            let (mut sim, hosts, client, serving) = network(1, 0.0, |_| hello());
            hosts[usize::from(!at_the_server)].fault(fault);
            let met = sim.block_on(client.get("coap://server.example/hello").into_future());
            let may_fail = matches!(fault, Fault::SendUnreachable | Fault::ReceiveTruncated);
            assert!(met.is_ok() || may_fail, "{fault} {at_the_server}: {met:?}");
            let next = sim.block_on(client.get("coap://server.example/hello").into_future());
            assert!(next.is_ok(), "{fault} {at_the_server}: {next:?}");
            assert!(sim.trace().lines().any(|line| line.ends_with(&format!(": {fault}"))), "{fault} was not met");
            drop(client);
            serving.abort();
            assert_nothing_is_left(sim);
        }
    }
}

#[test]
fn random_faults_of_sockets_cost_the_calls_that_they_hit_and_nothing_else() {
    const CLIENTS: u64 = 20;
    // COAP_EXCHANGES=100000 is the full size.
    let exchanges = std::env::var("COAP_EXCHANGES").map_or(10_000, |text| text.parse().unwrap());
    let each = exchanges / CLIENTS;
    let run = |seed| {
        let executed = Arc::new(AtomicU32::new(0));
        let counted = executed.clone();
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async { "done" }
        };
        let mut sim = Sim::from_env(seed);
        sim.keep_trace(usize::MAX);
        let (server, host) = (sim.host("server"), sim.host("client"));
        sim.name("server.example", server.ip());
        let serving = serve(&server, Router::new().route("/count", post(count)));
        server.fault_rate(0.01);
        host.fault_rate(0.01);
        let failed = Arc::new(Mutex::new(Vec::new()));
        let clients: Vec<_> = (0..CLIENTS).map(|_| sim.block_on(host.client()).unwrap()).collect();
        let handles = clients.clone();
        let callers: Vec<_> = clients
            .into_iter()
            .map(|client| {
                let failed = failed.clone();
                sim.spawn(async move {
                    for _ in 0..each {
                        if let Err(error) = client.post("coap://server.example/count", "").await {
                            failed.lock().unwrap().push(error);
                        }
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| sim.block_on(caller));
        assert!(!serving.is_over());
        let stats = handles.iter().map(Client::stats);
        assert!(stats.into_iter().all(|stats| stats.accounted() == stats.datagrams_received));
        drop(handles);
        let met = |fault: Fault| sim.trace().lines().filter(|line| line.ends_with(&format!(": {fault}"))).count();
        if exchanges >= 10_000 {
            assert!(Fault::ALL.into_iter().all(|fault| met(fault) > 0), "a kind of fault was never met");
        }
        let failed = core::mem::take(&mut *failed.lock().unwrap());
        // Where the system says that there is no way, and where half of a message had to be rejected.
        let may_fail = met(Fault::SendUnreachable) + met(Fault::ReceiveTruncated);
        assert!(failed.len() <= may_fail, "{} of {may_fail}: {failed:#?}", failed.len());
        assert!(
            failed.iter().all(|error| matches!(error, Error::Unreachable { .. } | Error::Reset { .. })),
            "{failed:#?}"
        );
        let executed = u64::from(executed.load(Ordering::Relaxed));
        assert!(executed <= CLIENTS * each && executed >= CLIENTS * each - failed.len() as u64, "{executed}");
        serving.abort();
        let hash = sim.trace().hash();
        assert_nothing_is_left(sim);
        hash
    };
    assert_eq!(run(1), run(1));
    run(2);
}

#[test]
fn a_socket_that_is_no_more_ends_its_server_with_an_error_and_its_client_too() {
    let (mut sim, [server, host], client, serving) = network(1, 0.0, |_| hello());
    let open = ask(&mut sim, &client, "/hello");
    sim.run_for(ms(1));
    host.break_sockets();
    server.break_sockets();
    assert!(matches!(sim.block_on(open), Err(Error::Closed)));
    assert!(matches!(sim.block_on(serving), Err(Error::Io(_))));
    // Without its driver task nobody would send it, nor ever end it.
    assert!(matches!(sim.block_on(client.get("coap://server.example/hello").into_future()), Err(Error::Closed)));
    drop(client);
    assert_nothing_is_left(sim);
}

#[test]
fn a_host_without_a_network_says_so_until_it_has_one_again() {
    let (mut sim, [server, host], client, _serving) = network(1, 0.0, |_| hello());
    let ask_now = |sim: &mut Sim| sim.block_on(client.get("coap://server.example/hello").into_future());
    assert!(ask_now(&mut sim).is_ok());
    host.go_offline();
    let before = sim.now();
    let refused = ask_now(&mut sim);
    assert!(matches!(refused, Err(Error::Unreachable { .. })), "{refused:?}");
    assert_eq!(sim.now(), before);
    host.go_online();
    assert!(ask_now(&mut sim).is_ok());

    // Of the server nothing is heard: what comes meanwhile is lost, and the repetitions arrive.
    server.go_offline();
    let asked = ask(&mut sim, &client, "/hello");
    sim.run_for(secs(4));
    server.go_online();
    assert!(sim.block_on(asked).unwrap().timing.attempts > 1);
}

#[test]
fn the_end_of_a_simulation_lets_go_of_all_that_ran_in_it() {
    let held = Arc::new(());
    let handlers = held.clone();
    let slow = |host: &Host| {
        let host = host.clone();
        Router::new().route(
            "/slow",
            get(move || {
                let (host, _held) = (host.clone(), handlers.clone());
                async move { host.sleep(secs(60)).await }
            }),
        )
    };
    let (mut sim, _, client, serving) = network(1, 0.0, slow);
    let mut asked = ask(&mut sim, &client, "/slow");
    sim.run_for(secs(1));
    drop(sim);
    assert!(asked.is_over() && asked.take().is_none() && serving.is_over());
    assert_eq!(Arc::strong_count(&held), 1);
    // The handle outlives its runtime, and is of no more use.
    assert_eq!(client.stats().datagrams_sent, 1);
    client.close();
}

#[test]
fn a_future_that_is_dropped_at_any_time_leaves_nothing_behind() {
    let slow = |host: &Host| {
        let host = host.clone();
        Router::new().route(
            "/slow",
            get(move || {
                let host = host.clone();
                async move { host.sleep(secs(4)).await }
            }),
        )
    };
    for moment in 0..40 {
        let (mut sim, _, client, serving) = network(moment, 0.3, slow);
        sim.look_up_time(ms(150));
        let asked: Vec<_> = (0..4).map(|_| ask(&mut sim, &client, "/slow")).collect();
        sim.run_for(ms(moment * 250));
        asked.iter().for_each(Task::abort);
        sim.run_for(ms(1));
        assert!(asked.iter().all(Task::is_over));
        // NSTART has room again.
        let next = ask(&mut sim, &client, "/slow");
        let next = sim.block_on(next);
        assert!(next.as_ref().map_or_else(Error::is_timeout, Reply::is_success), "{moment}: {next:?}");
        drop(client);
        serving.abort();
        assert_nothing_is_left(sim);
    }
}
