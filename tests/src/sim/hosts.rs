//! Hosts in a simulation: their tasks, what comes to them, and what they send.

use core::future::Future;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use bytes::Bytes;
use coap_core::{Instant, UdpAddr};

use super::{Due, FIRST, Node, Sim};
use crate::host::{Host, Out, Taken, Task, TaskWaker, spawn_joined};
use crate::watch::Cause;

/// The first IPv4 address that a host gets.
const FIRST_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// How often tasks may be polled at one instant. Whoever does more never waits at all.
const POLLS_AT_ONCE: u64 = 10_000_000;

/// What an ICMP report is counted for on a path: headers of IPv6, ICMPv6, and of what could not be delivered.
const REPORT: usize = 96;

/// What hosts have open: see [`Sim::open`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Open {
    /// Tasks that have not come to their end.
    pub tasks: usize,
    /// Sockets.
    pub sockets: usize,
    /// Timers that somebody waits for.
    pub timers: usize,
}

/// Hosts, for whole clients, servers and routers.
impl Sim {
    /// A machine with an address of each family, on which clients and servers run.
    pub fn host(&mut self, name: &str) -> Host {
        let node = Node(self.count);
        self.count += 1;
        let ip = IpAddr::from(Ipv6Addr::from_bits(FIRST.to_bits() + u128::from(node.number())));
        let ipv4 = IpAddr::from(Ipv4Addr::from_bits(FIRST_V4.to_bits() + node.0 as u32));
        self.hosts.lock().add_host(node, name, vec![ip, ipv4]);
        self.host_ips.extend([(ip, node), (ipv4, node)]);
        Host::new(self.hosts.clone(), node, [ip, ipv4])
    }

    /// Gives a host another address.
    ///
    /// # Panics
    ///
    /// If another host has it.
    pub fn add_ip(&mut self, host: &Host, ip: IpAddr) {
        let taken = self.host_ips.insert(ip.to_canonical(), host.node());
        assert!(taken.is_none(), "{ip} is taken");
        if let Some(machine) = self.hosts.lock().hosts.get_mut(&host.node()) {
            machine.ips.push(ip.to_canonical());
        }
    }

    /// Gives a name an address, after those that it has: every host finds it from now on.
    pub fn name(&mut self, name: &str, ip: IpAddr) {
        self.hosts.lock().names.entry(name.to_ascii_lowercase()).or_default().push(ip);
    }

    /// How long the look-up of a name takes from now on; nothing unless said otherwise.
    pub fn look_up_time(&mut self, span: Duration) {
        self.hosts.lock().look_up = span;
    }

    /// Starts a task that belongs to no host. It runs when time passes.
    pub fn spawn<T: Send + 'static>(&mut self, future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        spawn_joined(&self.hosts, None, future)
    }

    /// Lets time pass until `future` is done.
    ///
    /// # Panics
    ///
    /// If nothing is left to happen, and the future still waits.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let id = self.hosts.lock().draw_id();
        let task = TaskWaker::woken(id, &self.hosts.ready);
        let waker = Waker::from(task.clone());
        loop {
            self.tasks.sort_out(&self.hosts);
            let Some(next) = self.hosts.ready.pop() else {
                let on = self.pass(Instant::from_micros(u64::MAX));
                assert!(on, "nothing is left to happen, and the future still waits");
                continue;
            };
            if next != id {
                self.poll_task(next);
                continue;
            }
            task.taken();
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            self.flush();
            if let Poll::Ready(output) = polled {
                return output;
            }
        }
    }

    /// What all hosts have open. After the end of all clients and servers that is nothing.
    pub fn open(&mut self) -> Open {
        self.tasks.sort_out(&self.hosts);
        let world = self.hosts.lock();
        Open { tasks: self.tasks.len(), sockets: world.sockets.len(), timers: world.timers() }
    }

    // ----- Tasks -------------------------------------------------------------------------------------------------------

    /// Polls all tasks that are woken, and those that they wake. False: there were none.
    pub(super) fn run_tasks(&mut self) -> bool {
        let mut any = false;
        loop {
            self.tasks.sort_out(&self.hosts);
            let Some(id) = self.hosts.ready.pop() else { return any };
            any = true;
            self.poll_task(id);
        }
    }

    fn poll_task(&mut self, id: u64) {
        self.polls = if self.polls.0 == self.now { (self.now, self.polls.1 + 1) } else { (self.now, 1) };
        assert!(self.polls.1 < POLLS_AT_ONCE, "tasks wake each other for ever, and time does not get on");
        self.tasks.poll(id);
        self.flush();
    }

    /// Wakes whoever waits for the first timer, which is due.
    pub(super) fn fire_timer(&self) {
        let waker = self.hosts.lock().pop_timer();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Drops what runs on a host.
    pub(super) fn reboot_host(&mut self, node: Node) {
        self.tasks.sort_out(&self.hosts);
        self.note(format_args!("{} reboots", self.label(node)));
        self.tasks.end(node);
        self.tasks.sort_out(&self.hosts);
        // What was said on the way down is said, as on any machine that is shut down.
        self.flush();
    }

    // ----- Datagrams -----------------------------------------------------------------------------------------------

    /// Puts on the network what hosts have sent.
    pub(super) fn flush(&mut self) {
        loop {
            let Some(out) = self.hosts.lock().out.pop_front() else { return };
            match out {
                Out::Datagram { host, from, to, payload } => self.send_from(host, from, to, payload),
                Out::Join { host, group } => self.join(host, group),
                Out::Note(text) => self.note(format_args!("{text}")),
            }
        }
    }

    pub(super) fn is_host(&self, node: Node) -> bool {
        !self.nodes.contains_key(&node)
    }

    /// Which host has this address, whatever the port.
    pub(super) fn host_at(&self, to: UdpAddr) -> Option<Node> {
        self.host_ips.get(&to.ip()).copied()
    }

    /// A datagram has come to a host.
    pub(super) fn deliver_to_host(&mut self, from: UdpAddr, to: UdpAddr, node: Node, payload: Bytes) {
        let taken = self.hosts.lock().deliver(node, from, to, payload);
        match taken {
            Taken::By(reader) => reader.into_iter().for_each(Waker::wake),
            Taken::Offline => self.note(format_args!("{} is offline: a datagram of {from} is lost", self.label(node))),
            Taken::Full => self.note(format_args!("{}: its socket {to} is full", self.label(node))),
            // Nobody answers for a group (RFC 4443 §2.4).
            Taken::Nobody if to.is_multicast() => {}
            Taken::Nobody => self.refuse(from, to, node),
        }
    }

    /// A host has no socket at `to`, and tells `from`, if the path carries that.
    fn refuse(&mut self, from: UdpAddr, to: UdpAddr, node: Node) {
        let itself = Some(node).filter(|_| from.ip().is_loopback());
        let sender = itself.or_else(|| self.addresses.get(&from).copied()).or_else(|| self.host_at(from));
        let Some(sender) = sender else { return };
        if !self.channel(node, sender).link.carries_reports() {
            return self.note(format_args!("{to} has no socket, and keeps quiet"));
        }
        let fate = self.draw_fate(node, sender, REPORT);
        let names = (self.label(node), self.label(sender));
        self.note(format_args!("{} -> {} nobody is at {to}: {fate}", names.0, names.1));
        for at in fate.arrivals() {
            self.plan(at, Due::Report { node: sender, local: from, peer: to });
        }
    }

    pub(super) fn deliver_report(&mut self, node: Node, local: UdpAddr, peer: UdpAddr) {
        if self.is_host(node) {
            let reader = self.hosts.lock().report(node, local, peer);
            reader.into_iter().for_each(Waker::wake);
            return;
        }
        let now = self.now;
        self.state_mut(node).endpoint.handle_unreachable(now, peer.into());
        self.collect(node, &Cause::Command);
    }
}
