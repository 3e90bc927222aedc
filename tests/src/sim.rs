//! The simulator: nodes, the network between them, and the clock.

mod hosts;
mod machine;
mod network;

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use coap_core::{
    Config, Endpoint, Event, Instant, Local, Peer, Request, RequestError, RequestId, RequestOptions, UdpAddr,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::app::App;
use crate::host::{Host, Shared, Tasks};
use crate::link::{Channel, Link};
use crate::trace::{Fnv, Trace};
use crate::watch::{Cause, Watch};
use machine::{Kind, Machine};
use network::Shown;

pub use hosts::Open;

/// The first address that a node gets, and the port of all of them.
const FIRST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PORT: u16 = 5_683;

/// How many lines of the trace a failing test prints.
const LAST_WORDS: usize = 30;

/// A node of a [`Sim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(usize);

impl Node {
    pub(crate) const fn number(self) -> u64 {
        self.0 as u64
    }
}

impl From<&Host> for Node {
    fn from(host: &Host) -> Self {
        host.node()
    }
}

/// Endpoints, a network and a clock, all in one thread and all from one seed.
///
/// Its methods are of four kinds: those that build (`node`, `host`, `link`, `join`, `name`, `run_app`), those that do
/// something to the network or to a node (`cut`, `heal`, `move_node`, `reboot`, `inject`), the commands of an application
/// (`request`, `act`, `at`, `spawn`), and those that let time pass (`run_until`, `run_for`, `run_until_idle`, `finish`,
/// `block_on`).
///
/// After each step of each endpoint the invariants of [`Watch`] are checked. A panic, from there or from a test's own
/// assertion, is followed by the seed and the last lines of the trace.
pub struct Sim {
    seed: u64,
    now: Instant,
    rng: ChaCha8Rng,
    /// How many nodes there are, hosts included.
    count: usize,
    /// Those that are endpoints; all others are hosts.
    nodes: BTreeMap<Node, NodeState>,
    host_ips: BTreeMap<IpAddr, Node>,
    hosts: Shared,
    tasks: Tasks,
    /// How many polls of tasks there were at this instant.
    polls: (Instant, u64),
    addresses: BTreeMap<UdpAddr, Node>,
    groups: BTreeMap<IpAddr, BTreeSet<Node>>,
    channels: BTreeMap<(Node, Node), Channel>,
    /// What will happen, in the order in which it does; what is due at one instant, in the order in which it was decided.
    agenda: BTreeMap<(Instant, u64), Due>,
    decided: u64,
    wakes: BTreeSet<(Instant, Node)>,
    trace: Trace,
    buf: Vec<u8>,
}

struct NodeState {
    name: String,
    address: UdpAddr,
    config: Config,
    endpoint: Machine,
    watch: Watch,
    app: Option<Box<dyn App>>,
    events: VecDeque<(Instant, Event)>,
    wake: Option<Instant>,
    incarnation: u64,
    moves: u16,
}

type Action = Box<dyn FnOnce(&mut Endpoint, Instant)>;

enum Due {
    Arrival {
        from: UdpAddr,
        to: UdpAddr,
        group: Option<(IpAddr, Node)>,
        payload: Bytes,
    },
    /// What was sent from `local` cannot be delivered to `peer`.
    Report {
        node: Node,
        local: UdpAddr,
        peer: UdpAddr,
    },
    Action(Node, Action),
}

impl Sim {
    /// An empty network at time zero. Everything that is random in it, the secrets of the endpoints too, comes from
    /// `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Instant::ZERO,
            rng: ChaCha8Rng::seed_from_u64(seed),
            count: 0,
            nodes: BTreeMap::new(),
            host_ips: BTreeMap::new(),
            hosts: Shared::new(seed),
            tasks: Tasks::default(),
            polls: (Instant::ZERO, 0),
            addresses: BTreeMap::new(),
            groups: BTreeMap::new(),
            channels: BTreeMap::new(),
            agenda: BTreeMap::new(),
            decided: 0,
            wakes: BTreeSet::new(),
            trace: Trace::default(),
            buf: Vec::new(),
        }
    }

    /// As [`new`](Self::new), with the number in the environment variable `COAP_SEED` instead of `seed` if there is one:
    /// that is how a failure is repeated.
    ///
    /// # Panics
    ///
    /// If `COAP_SEED` is not a number below 2⁶⁴.
    pub fn from_env(seed: u64) -> Self {
        Self::new(crate::seed_from_env(seed))
    }

    // ----- Building ------------------------------------------------------------------------------------------------

    /// A node with an address of its own: `[2001:db8::1]:5683` for the first, and so on.
    pub fn node(&mut self, name: &str, config: Config) -> Node {
        self.add_node(name, config, Kind::Plain, None)
    }

    /// A node with this address.
    ///
    /// # Panics
    ///
    /// If another node has it.
    pub fn node_at(&mut self, name: &str, config: Config, address: SocketAddr) -> Node {
        self.add_node(name, config, Kind::Plain, Some(address))
    }

    fn add_node(&mut self, name: &str, config: Config, kind: Kind, address: Option<SocketAddr>) -> Node {
        let ip = Ipv6Addr::from_bits(FIRST.to_bits() + self.count as u128);
        let address = address.unwrap_or_else(|| SocketAddr::from((ip, kind.port())));
        let (node, address) = (Node(self.count), UdpAddr::new(address));
        assert!(self.addresses.insert(address, node).is_none(), "{address} is taken");
        self.count += 1;
        let state = NodeState {
            name: name.to_owned(),
            address,
            endpoint: Machine::new(kind, &config, self.seed, node, 0),
            watch: Watch::new(name, self.seed, &config),
            config,
            app: None,
            events: VecDeque::new(),
            wake: None,
            incarnation: 0,
            moves: 0,
        };
        self.nodes.insert(node, state);
        node
    }

    /// Runs an application on a node, which is given all events from now on.
    pub fn run_app(&mut self, node: Node, app: impl App + 'static) {
        self.state_mut(node).app = Some(Box::new(app));
        self.collect(node, &Cause::Command);
    }

    /// Both directions between two nodes. Without this they are as [`Link::new`] says.
    pub fn link(&mut self, a: impl Into<Node>, b: impl Into<Node>, link: Link) {
        let (a, b) = (a.into(), b.into());
        self.link_one_way(a, b, link);
        self.link_one_way(b, a, link);
    }

    /// One direction.
    pub fn link_one_way(&mut self, from: impl Into<Node>, to: impl Into<Node>, link: Link) {
        self.channel(from.into(), to.into()).link = link;
    }

    /// The node listens to a group from now on.
    pub fn join(&mut self, node: impl Into<Node>, group: IpAddr) {
        self.groups.entry(group.to_canonical()).or_default().insert(node.into());
    }

    /// How many lines of the trace are kept, the newest; 10,000 unless said otherwise.
    pub fn keep_trace(&mut self, lines: usize) {
        self.trace.keep(lines);
    }

    // ----- What happens to nodes and paths -----------------------------------------------------------------------------

    /// Nothing goes from one to the other any more, in both directions. What is under way arrives.
    pub fn cut(&mut self, a: impl Into<Node>, b: impl Into<Node>) {
        self.set_open(a.into(), b.into(), false);
    }

    /// The path is as it was before [`cut`](Self::cut).
    pub fn heal(&mut self, a: impl Into<Node>, b: impl Into<Node>) {
        self.set_open(a.into(), b.into(), true);
    }

    /// The node is seen under another port from now on, as if its NAT had forgotten it. What is under way to the old one
    /// reaches nobody. Returns the new address.
    ///
    /// # Panics
    ///
    /// If the node is a host.
    pub fn move_node(&mut self, node: Node) -> SocketAddr {
        let state = self.state_mut(node);
        let old = state.address;
        loop {
            let state = self.state_mut(node);
            state.moves = state.moves.wrapping_add(1);
            let port = 40_000 + state.moves % 20_000;
            state.address = UdpAddr::new(SocketAddr::new(old.ip(), port));
            if !self.addresses.contains_key(&self.state(node).address) {
                break;
            }
        }
        let new = self.state(node).address;
        self.addresses.remove(&old);
        self.addresses.insert(new, node);
        self.note(format_args!("{} is now {new}", self.label(node)));
        new.socket_addr()
    }

    /// The node starts anew, with nothing remembered but its address and its application. Of a host all tasks end, and
    /// with them its clients and servers; what runs on it afterwards is to be started.
    pub fn reboot(&mut self, node: impl Into<Node>) {
        let node = node.into();
        if self.is_host(node) {
            return self.reboot_host(node);
        }
        let seed = self.seed;
        let state = self.state_mut(node);
        state.incarnation += 1;
        state.endpoint = state.endpoint.anew(&state.config, seed, node, state.incarnation);
        state.watch = Watch::new(&state.name, seed, &state.config);
        state.events.clear();
        if let Some(app) = &mut state.app {
            app.on_reboot();
        }
        self.note(format_args!("{} reboots", self.label(node)));
        self.collect(node, &Cause::Command);
    }

    /// A datagram arrives at a node now, from any address: what an attacker or another stack would send.
    pub fn inject(&mut self, from: SocketAddr, to: Node, payload: impl Into<Bytes>) {
        let (from, payload) = (UdpAddr::new(from), payload.into());
        self.note(format_args!("{from} -> {} {}: injected", self.label(to), Shown(&payload)));
        let ip = self.state(to).address.ip();
        self.deliver(from, to, Local::arrived(0, Some(ip), 0), payload);
    }

    // ----- Commands ------------------------------------------------------------------------------------------------

    /// Sends a request from one node to another.
    pub fn request(
        &mut self,
        from: Node,
        to: Node,
        request: Request,
        how: &RequestOptions,
    ) -> Result<RequestId, RequestError> {
        let to = self.peer(to);
        self.act(from, |endpoint, now| endpoint.request(now, to, request, how))
    }

    /// Does something with the endpoint of a node, and sends what comes of it.
    pub fn act<T>(&mut self, node: Node, command: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        let now = self.now;
        let done = command(&mut self.state_mut(node).endpoint, now);
        self.collect(node, &Cause::Command);
        done
    }

    /// Does something with the endpoint of a node when the time has come.
    pub fn at(&mut self, time: Instant, node: Node, command: impl FnOnce(&mut Endpoint, Instant) + 'static) {
        self.plan(time, Due::Action(node, Box::new(command)));
    }

    // ----- Time --------------------------------------------------------------------------------------------------------

    /// Lets the next thing happen, if that is not after `until`. False: there is none.
    pub fn step(&mut self, until: Instant) -> bool {
        self.run_tasks() || self.pass(until)
    }

    /// The same, when no task is woken.
    fn pass(&mut self, until: Instant) -> bool {
        let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let wake = self.wakes.first().copied();
        let timer = self.hosts.lock().next_timer();
        let first = [wake.map(|(due, _)| due), timer].into_iter().flatten().min();
        // What arrives at the instant of a timer arrives before it: a response just in time is in time.
        match (planned, first) {
            (Some(at), first) if at <= until && first.is_none_or(|due| at <= due.max(self.now)) => {
                self.set_now(at);
                if let Some((_, due)) = self.agenda.pop_first() {
                    self.happen(due);
                }
            }
            (_, Some(due)) if due <= until => {
                self.set_now(due);
                match wake {
                    Some((at, node)) if at == due => self.wake(node),
                    _ => self.fire_timer(),
                }
            }
            _ => return false,
        }
        true
    }

    /// Lets everything happen that happens up to then, and ends at that time.
    pub fn run_until(&mut self, time: Instant) {
        while self.step(time) {}
        self.set_now(time);
        self.check_rest();
    }

    /// As [`run_until`](Self::run_until), from now.
    pub fn run_for(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    /// Lets everything happen until nothing is left: no datagram under way, no timer. An application that always wants
    /// to be called once more never lets this end.
    pub fn run_until_idle(&mut self) {
        while self.step(Instant::from_micros(u64::MAX)) {}
        self.check_rest();
    }

    /// Lets time pass until a request has ended, and takes the event that says how; the node must have no application.
    /// Events of other requests stay. `None`: nothing is left to happen.
    pub fn finish(&mut self, node: Node, id: RequestId) -> Option<Event> {
        let mut seen = 0;
        loop {
            let events = &mut self.state_mut(node).events;
            let found = events.iter().skip(seen).position(|(_, event)| ends(event, id));
            if let Some(at) = found {
                return events.remove(seen + at).map(|(_, event)| event);
            }
            seen = events.len();
            if !self.step(Instant::from_micros(u64::MAX)) {
                return None;
            }
        }
    }

    // ----- Getters -------------------------------------------------------------------------------------------------

    /// The time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The seed.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// What has happened.
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The endpoint of a node, to look at.
    pub fn endpoint(&self, node: Node) -> &Endpoint {
        &self.state(node).endpoint
    }

    /// Where a node is reached.
    pub fn address(&self, node: Node) -> SocketAddr {
        self.state(node).address.socket_addr()
    }

    /// The same, as a peer.
    pub fn peer(&self, node: Node) -> Peer {
        self.state(node).address.into()
    }

    /// What a node without application was told and when, oldest first; it is told once.
    pub fn take_events(&mut self, node: Node) -> Vec<(Instant, Event)> {
        self.state_mut(node).events.drain(..).collect()
    }

    // ----- Endpoints ---------------------------------------------------------------------------------------------------

    fn wake(&mut self, node: Node) {
        let now = self.now;
        let state = self.state_mut(node);
        state.check_rest(now);
        state.endpoint.handle_timeout(now);
        self.collect(node, &Cause::Timer);
        let NodeState { endpoint, app: Some(app), .. } = self.state_mut(node) else { return };
        if app.next_time().is_some_and(|due| due <= now) {
            app.on_time(endpoint, now);
            self.collect(node, &Cause::Command);
        }
    }

    /// Everything that an endpoint has to send and to say is checked, sent and said, until there is no more.
    fn collect(&mut self, node: Node, cause: &Cause<'_>) {
        let now = self.now;
        let mut cause = cause;
        loop {
            let mut buf = core::mem::take(&mut self.buf);
            let NodeState { endpoint, watch, app, events: kept, .. } = self.state_mut(node);
            buf.resize(endpoint.max_transmit(), 0);
            let mut sent = Vec::new();
            while let Some(transmit) = endpoint.poll_transmit(&mut buf) {
                sent.push((transmit, Bytes::copy_from_slice(&buf[..transmit.len])));
            }
            let events: Vec<_> = core::iter::from_fn(|| endpoint.poll_event()).collect();
            if endpoint.is_plain() {
                watch.check(now, cause, &sent, &events, endpoint);
            }
            let said = !events.is_empty() && app.is_some();
            match app {
                Some(app) => events.into_iter().for_each(|event| app.on_event(endpoint, now, event)),
                None => kept.extend(events.into_iter().map(|event| (now, event))),
            }
            self.buf = buf;
            for (transmit, payload) in sent {
                self.send(node, &transmit, payload);
            }
            if !said {
                break;
            }
            cause = &Cause::Command;
        }
        self.set_wake(node);
    }

    fn set_wake(&mut self, node: Node) {
        let Some(state) = self.nodes.get_mut(&node) else { return };
        let wanted = state.app.as_ref().and_then(|app| app.next_time());
        let next = state.endpoint.poll_timeout().into_iter().chain(wanted).min();
        if next != state.wake {
            if let Some(old) = state.wake {
                self.wakes.remove(&(old, node));
            }
            state.wake = next;
            self.wakes.extend(next.map(|next| (next, node)));
        }
    }

    fn plan(&mut self, at: Instant, due: Due) {
        self.decided += 1;
        self.agenda.insert((at.max(self.now), self.decided), due);
    }

    fn check_rest(&self) {
        for state in self.nodes.values() {
            state.check_rest(self.now);
        }
    }

    fn note(&mut self, what: fmt::Arguments<'_>) {
        self.trace.add(format_args!("{} {what}", self.now));
    }

    /// How a node is called in the trace.
    fn label(&self, node: Node) -> String {
        match self.nodes.get(&node) {
            Some(state) => state.name.clone(),
            None => self.hosts.lock().name(node).to_owned(),
        }
    }

    /// Time does not go back.
    fn set_now(&mut self, now: Instant) {
        if now > self.now {
            self.now = now;
            self.hosts.lock().now = now;
        }
    }

    /// A `Node` of another simulation, or of a host, whose endpoints are its own business, is a mistake of the test, and
    /// panics.
    fn state(&self, node: Node) -> &NodeState {
        self.nodes.get(&node).expect("a node of this simulation that is an endpoint")
    }

    fn state_mut(&mut self, node: Node) -> &mut NodeState {
        self.nodes.get_mut(&node).expect("a node of this simulation that is an endpoint")
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("COAP_SEED={} repeats this. It ended at {} with:", self.seed, self.now);
            let skipped = self.trace.lines().len().saturating_sub(LAST_WORDS);
            self.trace.lines().skip(skipped).for_each(|line| eprintln!("{line}"));
        }
        // Tasks hold hosts, and those what all hosts share, where new tasks wait: somebody has to let go first.
        self.hosts.lock().closed = true;
        self.tasks.sort_out(&self.hosts);
        self.tasks.clear();
        self.tasks.sort_out(&self.hosts);
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = (0..self.count).map(|node| self.label(Node(node))).collect();
        f.debug_struct("Sim")
            .field("seed", &self.seed)
            .field("now", &self.now)
            .field("nodes", &names)
            .finish_non_exhaustive()
    }
}

/// Each life of each endpoint has secrets of its own, which do not depend on what else there is in the simulation.
fn secrets(seed: u64, node: Node, incarnation: u64) -> ChaCha8Rng {
    let mut hash = Fnv::new();
    for number in [seed, node.0 as u64, incarnation] {
        hash.add(&number.to_be_bytes());
    }
    ChaCha8Rng::seed_from_u64(hash.0)
}

fn ends(event: &Event, request: RequestId) -> bool {
    match event {
        Event::Response { id, .. } | Event::Pong { id, .. } | Event::Failed { id, .. } | Event::Finished { id } => {
            *id == request
        }
        _ => false,
    }
}
