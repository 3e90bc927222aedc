//! Clients and servers on a bad network, with everything done to them that an application, a runtime or a machine can do,
//! at random: every request ends, and when all is over nothing is left. `COAP_STORMS` is how many there are, `COAP_SEED` the
//! first of them.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;

use coap_core::{Code, Config, UnprovenLimit};
use coap_driver::router::{BodyError, BodyReader, Path, Resource, Router, Streamed, get};
use coap_driver::{Client, Error, Observation, Observed, ShutdownHandle};
use coap_sim::{Host, Link, Open, Sim, Task};
use futures_io::AsyncRead;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const HOSTS: usize = 3;

struct Storm {
    sim: Sim,
    rng: ChaCha8Rng,
    hosts: Vec<Host>,
    config: Config,
    clients: Vec<Client<Host>>,
    asked: Vec<Task<Result<(), Error>>>,
    servers: Vec<Serving>,
    /// What all servers let observe.
    clock: Resource,
}

struct Serving {
    task: Task<Result<(), Error>>,
    shutdown: ShutdownHandle<Host>,
}

/// So many bytes.
struct Zeros(usize);

impl AsyncRead for Zeros {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let len = self.0.min(buf.len());
        buf[..len].fill(0);
        self.0 -= len;
        Poll::Ready(Ok(len))
    }
}

/// What `host` serves: at once, later, never, not at all, in blocks, part by part, as it changes, and what it has to ask
/// others for.
fn router(host: &Host, client: Client<Host>, clock: &Resource) -> Router {
    async fn fails() -> &'static str {
        // A panic that prints nothing.
        std::panic::resume_unwind(Box::new("on purpose"))
    }
    let sleeper = host.clone();
    let sleep = move |Path(millis): Path<u64>| {
        let host = sleeper.clone();
        async move { host.sleep(Duration::from_millis(millis)).await }
    };
    let forward = move |Path(name): Path<String>| {
        let client = client.clone();
        async move {
            let asked = client.get(format!("coap://{name}/fast")).timeout(Duration::from_secs(20)).await;
            asked.map(|reply| reply.code).map_err(|_| Code::BAD_GATEWAY)
        }
    };
    let take = async |mut body: BodyReader| {
        while body.chunk().await?.is_some() {}
        Ok::<_, BodyError>(Code::CHANGED)
    };
    let time = host.clone();
    let tell = move || {
        let now = time.now();
        async move { now.to_string() }
    };
    let silent = async || core::future::pending::<()>().await;
    Router::new()
        .route("/fast", get(async || "fast"))
        .route("/sleep/{millis}", get(sleep))
        .route("/forward/{name}", get(forward))
        .route("/fails", get(fails))
        .route("/silent", get(silent))
        .route("/large", get(async || vec![1; 9_000]).put(async || "kept"))
        .route("/stream", get(async || Streamed::new(Zeros(9_000))).put(take))
        .route("/clock", get(tell).observable(clock))
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut sim = Sim::new(seed);
        sim.look_up_time(Duration::from_millis(30));
        let hosts: Vec<_> = (0..HOSTS).map(|number| sim.host(&format!("h{number}"))).collect();
        for (number, host) in hosts.iter().enumerate() {
            sim.name(&format!("h{number}"), host.ip());
            sim.name("any", host.ip());
            sim.join(host, "ff05::fd".parse().unwrap());
            host.fault_rate(0.01);
            for other in &hosts[..number] {
                let link = Link::lossy(0.2).duplication(0.1).reordering(0.2, Duration::from_secs(3));
                sim.link(host, other, if seed.is_multiple_of(3) { link.without_reports() } else { link });
            }
        }
        sim.name("any", "2001:db8:dead::1".parse().unwrap());
        let config = match seed % 4 {
            0 => Config::builder().max_requests(3).max_backlog(2).max_peers(2).max_incoming(2).build().unwrap(),
            1 => Config::constrained().build().unwrap(),
            2 => Config::builder().unproven_limit(UnprovenLimit::All).build().unwrap(),
            _ => Config::default(),
        };
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            sim,
            rng,
            hosts,
            config,
            clients: Vec::new(),
            asked: Vec::new(),
            servers: Vec::new(),
            clock: Resource::new(),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        (self.rng.next_u64() % end as u64) as usize
    }

    fn span(&mut self, most: usize) -> Duration {
        Duration::from_millis(self.below(most) as u64)
    }

    fn host(&mut self) -> Host {
        let number = self.below(HOSTS);
        self.hosts[number].clone()
    }

    fn serve(&mut self, host: &Host) {
        let (server, config) = (host.clone(), self.config.clone());
        // The port may be taken, and the host may have no network.
        let Ok(server) =
            self.sim.block_on(async move { server.builder().config(config).bind("[::]:5683").server().await })
        else {
            return;
        };
        let router = router(host, server.client(), &self.clock);
        let shutdown = server.shutdown_handle();
        let serving = server.serve(router);
        let task = if self.below(2) == 0 { host.spawn(serving) } else { self.sim.spawn(serving) };
        self.servers.push(Serving { task, shutdown });
    }

    fn ask(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let number = self.below(self.clients.len());
        let client = self.clients[number].clone();
        let path = match self.below(8) {
            0 => "/fails".to_owned(),
            1 => "/silent".to_owned(),
            2 => format!("/forward/h{}", self.below(HOSTS)),
            3 | 4 => format!("/sleep/{}", self.below(10_000)),
            _ => "/fast".to_owned(),
        };
        let group = self.below(10) == 0;
        let host = match self.below(HOSTS + 1) {
            _ if group => "[ff05::fd]".to_owned(),
            HOSTS => "any".to_owned(),
            number => format!("h{number}"),
        };
        let ping = !group && self.below(10) == 0;
        let mut asked = client.get(format!("coap://{host}{path}"));
        if group || self.below(4) == 0 {
            asked = asked.non_confirmable();
        }
        if self.below(2) == 0 {
            asked = asked.timeout(self.span(60_000));
        }
        let task = if ping {
            self.sim.spawn(async move { client.ping(format!("coap://{host}")).await.map(drop) })
        } else {
            self.sim.spawn(async move { asked.await.map(drop) })
        };
        self.asked.push(task);
    }

    /// Asks for what takes longer, and looks at it at a pace of its own.
    fn ask_for_long(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let number = self.below(self.clients.len());
        let client = self.clients[number].clone();
        let host = self.below(HOSTS);
        let uri = |path: &str| format!("coap://h{host}{path}");
        let (pace, pause, kind) = (self.hosts[0].clone(), self.span(2_000), self.below(6));
        let path = if self.below(2) == 0 { "/large" } else { "/stream" };
        let task = match kind {
            0 => self.sim.spawn({
                let asked = client.get(uri(path)).download();
                async move {
                    let mut download = asked.await?;
                    while download.chunk().await?.is_some() {
                        pace.sleep(pause).await;
                    }
                    Ok(())
                }
            }),
            1 => self.sim.spawn({
                let asked = client.get(uri(path));
                async move { asked.await.map(drop) }
            }),
            2 => self.sim.spawn({
                let asked = client.put(uri(path), "").body(Zeros(9_000));
                async move { asked.await.map(drop) }
            }),
            kind => self.sim.spawn({
                let asked = client.observe(uri(if kind == 3 { "/fast" } else { "/clock" }));
                async move {
                    let mut observation = asked.await?;
                    let seen = follow(&mut observation, pace.sleep(30 * pause)).await;
                    match kind {
                        4 => observation.cancel().await,
                        5 => observation.forget(),
                        _ => drop(observation),
                    }
                    seen
                }
            }),
        };
        self.asked.push(task);
    }

    fn connect(&mut self, host: Host) {
        let config = self.config.clone();
        let client = self.sim.block_on(async move { host.builder().config(config).client().await });
        self.clients.push(client.unwrap());
    }

    fn step(&mut self) {
        match self.below(40) {
            0..15 => self.ask(),
            15..18 => self.ask_for_long(),
            18..20 => self.clock.changed(),
            20..32 => {
                let span = self.span(3_000);
                self.sim.run_for(span);
            }
            32 => {
                let span = self.span(400_000);
                self.sim.run_for(span);
            }
            33..36 if !self.asked.is_empty() => {
                let number = self.below(self.asked.len());
                self.asked.swap_remove(number).abort();
            }
            36 => self.disaster(),
            _ => self.repair(),
        }
    }

    fn disaster(&mut self) {
        let (host, other) = (self.host(), self.host());
        match self.below(9) {
            0 if !self.clients.is_empty() => {
                let number = self.below(self.clients.len());
                self.clients[number].close();
            }
            1 if !self.clients.is_empty() => {
                let number = self.below(self.clients.len());
                self.clients.swap_remove(number);
            }
            2 if !self.servers.is_empty() => {
                let number = self.below(self.servers.len());
                let grace = self.span(10_000);
                self.servers[number].shutdown.shutdown(grace);
            }
            3 if !self.servers.is_empty() => {
                let number = self.below(self.servers.len());
                self.servers.swap_remove(number).task.abort();
            }
            4 => self.sim.reboot(&host),
            5 => host.go_offline(),
            6 => self.sim.cut(&host, &other),
            7 => host.break_sockets(),
            8 => self.clock.removed(),
            _ => {}
        }
    }

    fn repair(&mut self) {
        let (host, other) = (self.host(), self.host());
        host.go_online();
        self.sim.heal(&host, &other);
        self.serve(&host);
        // A few at a time, the newest.
        self.connect(other);
        if self.clients.len() > 4 {
            self.clients.remove(0);
        }
    }
}

/// Takes what comes, until `end` or until nothing comes any more.
async fn follow(observation: &mut Observation<Host>, end: impl Future<Output = ()>) -> Result<(), Error> {
    let mut end = pin!(end);
    loop {
        let mut next = pin!(observation.next());
        let observed = poll_fn(|cx| match next.as_mut().poll(cx) {
            Poll::Ready(observed) => Poll::Ready(observed),
            Poll::Pending => end.as_mut().poll(cx).map(|()| None),
        });
        match observed.await {
            Some(Observed::Lost(error)) => return Err(error),
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

/// The hash of its trace, and how many requests were answered of those whose future was not dropped.
fn storm(seed: u64, steps: u32) -> (u64, usize) {
    let mut storm = Storm::new(seed);
    for host in storm.hosts.clone() {
        storm.serve(&host);
        storm.connect(host);
    }
    (0..steps).for_each(|_| storm.step());
    storm.sim.run_until_idle();
    let answered = storm.asked.iter_mut().map(|asked| asked.take().expect("an end for each request"));
    let answered = answered.filter(Result::is_ok).count();
    for client in &storm.clients {
        let stats = client.stats();
        assert_eq!(stats.accounted(), stats.datagrams_received, "{stats:?}");
    }
    storm.clients.clear();
    storm.servers.iter().for_each(|server| server.shutdown.shutdown(Duration::from_secs(5)));
    storm.sim.run_until_idle();
    for server in storm.servers.drain(..) {
        assert!(server.task.is_over(), "a server that does not end, seed {seed}");
    }
    storm.sim.run_until_idle();
    assert_eq!(storm.sim.open(), Open::default(), "seed {seed}");
    (storm.sim.trace().hash(), answered)
}

#[test]
fn every_request_ends_and_nothing_is_left() {
    let first = coap_sim::seed_from_env(1);
    let storms = std::env::var("COAP_STORMS").map_or(60_u64, |text| text.parse().unwrap());
    let answered = (first..first + storms).map(|seed| storm(seed, 400).1);
    // It would not be much of a test if hardly any came through.
    assert!(answered.sum::<usize>() as u64 > 20 * storms);
}

#[test]
fn a_storm_is_the_same_each_time() {
    let seed = coap_sim::seed_from_env(5);
    assert_eq!(storm(seed, 400), storm(seed, 400));
}
