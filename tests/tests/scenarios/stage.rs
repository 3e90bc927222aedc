//! One endpoint in virtual time, with the plugtest resources as its server application.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use coap_core::{
    BlockSize, Code, Config, ContentFormat, Datagram, Endpoint, Event, Failure, Instant, Local, Message, Peer, Request,
    RequestId, RequestOptions, Response, UnprovenLimit, Uri, Usage,
};
use coap_sim::plugtest::{Plugtest, PlugtestServer};
use coap_sim::{App, Cause, Watch};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::script::{Call, Ending, Read, Setup};

/// Where the endpoint lives, and the group that it listens to.
const OURS: &str = "2001:db8::5e";
const GROUP: &str = "ff02::fd";

/// The peers of the scripts.
const PEERS: [(&str, &str); 7] = [
    ("C1", "[2001:db8::c1]:40001"),
    ("C2", "[2001:db8::c2]:40002"),
    ("C9", "[2001:db8::c9]:40009"),
    ("S1", "[2001:db8::1]:5683"),
    ("S2", "[2001:db8::2]:5683"),
    ("S1:9999", "[2001:db8::1]:9999"),
    ("MC", "[ff02::fd]:5683"),
];

pub(crate) fn peer(name: &str) -> Read<Peer> {
    let found = PEERS.iter().find(|(known, _)| *known == name);
    let (_, address) = found.ok_or_else(|| format!("unknown peer {name}"))?;
    address.parse::<SocketAddr>().map(Peer::from).map_err(|error| error.to_string())
}

/// A datagram that the endpoint sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub at: Instant,
    pub to: Peer,
    pub bytes: Bytes,
    pub message: Message,
}

/// A request that the endpoint was asked to send.
#[derive(Debug)]
pub(crate) struct Asked {
    id: Option<RequestId>,
    to: Peer,
    /// More than one may answer.
    to_group: bool,
    pub delivered: Vec<(Peer, Response)>,
    pub outcome: Option<(Instant, &'static str)>,
}

/// How much has happened: two equal ones mean that nothing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    sent: usize,
    events: usize,
}

pub(crate) struct Stage {
    endpoint: Endpoint,
    watch: Watch,
    server: PlugtestServer,
    pub now: Instant,
    pub queue: VecDeque<Sent>,
    calls: BTreeMap<String, Asked>,
    tally: Tally,
}

impl Stage {
    pub(crate) fn new(setup: &Setup, seed: u64) -> Read<Self> {
        let limit = if setup.unproven_limit { UnprovenLimit::All } else { UnprovenLimit::default() };
        let config = Config::builder().unproven_limit(limit);
        let config = match setup.body_limit {
            Some(bytes) => config.max_body(bytes as usize),
            None => config,
        };
        let config = config.build().map_err(|error| error.to_string())?;
        Ok(Self {
            watch: Watch::new("the endpoint", seed, &config),
            endpoint: Endpoint::new(config, ChaCha8Rng::seed_from_u64(seed)),
            server: PlugtestServer::new(),
            now: Instant::ZERO,
            queue: VecDeque::new(),
            calls: BTreeMap::new(),
            tally: Tally::default(),
        })
    }

    pub(crate) const fn plugtest(&self) -> &Plugtest {
        self.server.plugtest()
    }

    pub(crate) fn observers(&self, path: &str) -> usize {
        self.server.observers(&self.endpoint, path)
    }

    pub(crate) fn set(&mut self, path: &str, format: Option<ContentFormat>, body: Bytes) {
        self.server.set(&mut self.endpoint, self.now, path, format, body);
        self.collect(&Cause::Command);
    }

    pub(crate) fn remove(&mut self, path: &str) -> bool {
        let removed = self.server.remove(&mut self.endpoint, self.now, path);
        self.collect(&Cause::Command);
        removed
    }

    pub(crate) fn receive(&mut self, from: Peer, multicast: bool, payload: Bytes) -> Read<()> {
        let to: IpAddr = if multicast { GROUP } else { OURS }.parse().map_err(|_| "no address")?;
        let datagram = Datagram { from, to: Local::arrived(0, Some(to), 0), payload: payload.clone() };
        self.endpoint.handle_datagram(self.now, datagram);
        self.collect(&Cause::Datagram { from, multicast, payload: &payload });
        Ok(())
    }

    pub(crate) fn call(&mut self, call: &Call) -> Read<()> {
        let uri = Uri::parse(&call.uri).map_err(|error| error.to_string())?;
        let ip = uri.ip().ok_or("the URI has no address")?;
        let method = match call.method.as_str() {
            "GET" => Code::GET,
            "POST" => Code::POST,
            "PUT" => Code::PUT,
            "DELETE" => Code::DELETE,
            other => return Err(format!("unknown method {other}")),
        };
        let request = Request::new(method).with_options(uri.options()).with_body(call.payload.clone());
        let mut how = RequestOptions::new();
        if !call.confirmable {
            how = how.non_confirmable();
        }
        if let Some(bytes) = call.block {
            how = how.block_size(BlockSize::new(bytes as usize).ok_or("no size of a block")?);
        }
        let to = Peer::from(SocketAddr::new(ip, uri.port()));
        let id = if call.observe {
            self.endpoint.observe(self.now, to, request, &how)
        } else {
            self.endpoint.request(self.now, to, request, &how)
        };
        let outcome = if id.is_err() { Some((self.now, "refused")) } else { None };
        let asked = Asked { id: id.ok(), to, to_group: ip.is_multicast(), delivered: Vec::new(), outcome };
        self.calls.insert(call.id.clone(), asked);
        self.collect(&Cause::Command);
        Ok(())
    }

    /// Ends an observation.
    pub(crate) fn end(&mut self, call: &str, how: Ending) -> Read<()> {
        let id = self.asked(call)?.id.ok_or("it was refused")?;
        let ended = match how {
            Ending::Reactive => self.endpoint.cancel(self.now, id),
            Ending::Active => self.endpoint.deregister(self.now, id),
        };
        self.collect(&Cause::Command);
        if ended { Ok(()) } else { Err(format!("{call} is over already")) }
    }

    pub(crate) fn asked(&self, call: &str) -> Read<&Asked> {
        self.calls.get(call).ok_or_else(|| format!("no call {call}"))
    }

    pub(crate) const fn tally(&self) -> Tally {
        self.tally
    }

    /// What is due next, and not after `until`, happens. False: nothing is; the time is `until` now.
    pub(crate) fn step(&mut self, until: Instant) -> bool {
        let due = self.endpoint.poll_timeout().into_iter().chain(self.server.next_time()).min();
        let Some(due) = due.filter(|due| *due <= until) else {
            self.now = self.now.max(until);
            self.watch.check_rest(self.now, &self.endpoint);
            return false;
        };
        self.now = self.now.max(due);
        self.endpoint.handle_timeout(self.now);
        self.collect(&Cause::Timer);
        self.server.on_time(&mut self.endpoint, self.now);
        self.collect(&Cause::Command);
        true
    }

    pub(crate) fn run_until(&mut self, until: Instant) {
        while self.step(until) {}
    }

    /// What is left in the endpoint and before it; nothing, when all is idle.
    pub(crate) fn rest(&self) -> Option<String> {
        let (usage, timer) = (self.endpoint.usage(), self.endpoint.poll_timeout());
        // What can be observed is the application's, and stays.
        let mut empty = Usage::default();
        empty.topics = usage.topics;
        let idle = usage == empty && timer.is_none() && self.server.next_time().is_none() && self.endpoint.is_idle();
        (!idle).then(|| format!("{usage:?}, next timer {timer:?}"))
    }

    fn collect(&mut self, cause: &Cause<'_>) {
        let mut buf = vec![0; self.endpoint.config().max_datagram()];
        let mut cause = cause;
        loop {
            let mut sent = Vec::new();
            while let Some(transmit) = self.endpoint.poll_transmit(&mut buf) {
                sent.push((transmit, Bytes::copy_from_slice(&buf[..transmit.len])));
            }
            let events: Vec<_> = core::iter::from_fn(|| self.endpoint.poll_event()).collect();
            self.watch.check(self.now, cause, &sent, &events, &self.endpoint);
            self.tally.sent += sent.len();
            self.tally.events += events.len();
            for (transmit, bytes) in sent {
                // The watch has decoded it already, and would not have let it pass.
                let Ok(message) = Message::decode(bytes.clone()) else { continue };
                self.queue.push_back(Sent { at: self.now, to: transmit.to, bytes, message });
            }
            if events.is_empty() {
                return;
            }
            events.into_iter().for_each(|event| self.on_event(event));
            cause = &Cause::Command;
        }
    }

    fn on_event(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Response { id, from, response, .. } => {
                let Some(asked) = self.find(id) else { return };
                asked.delivered.push((from, response));
                if !asked.to_group {
                    asked.outcome = Some((now, "response"));
                }
            }
            Event::Notification { id, response } => {
                let Some(asked) = self.find(id) else { return };
                asked.delivered.push((asked.to, response));
            }
            Event::Failed { id, reason, .. } => {
                let outcome = match reason {
                    Failure::NoAck | Failure::NoResponse => "timeout",
                    Failure::Reset => "reset",
                    Failure::Unreachable => "unreachable",
                    Failure::CriticalOption(_) => "rejected",
                    _ => "failed",
                };
                if let Some(asked) = self.find(id) {
                    asked.outcome = Some((now, outcome));
                }
            }
            event => self.server.on_event(&mut self.endpoint, now, event),
        }
    }

    fn find(&mut self, id: RequestId) -> Option<&mut Asked> {
        self.calls.values_mut().find(|asked| asked.id == Some(id))
    }
}

/// Seconds as the scripts write them.
pub(crate) fn instant(span: Duration) -> Instant {
    Instant::ZERO + span
}
