//! One endpoint in virtual time, with the plugtest resources as its server application.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use coap_core::{
    Code, Config, Datagram, Endpoint, Event, Failure, IncomingId, IncomingRequest, Instant, Local, Message, Peer,
    Request, RequestId, RequestOptions, RespondError, Response, Uri,
};
use coap_sim::plugtest::Plugtest;
use coap_sim::{Cause, Reply, Watch};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::script::{Call, Read};

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
#[derive(Debug, Default)]
pub(crate) struct Asked {
    id: Option<RequestId>,
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
    pub plugtest: Plugtest,
    pub now: Instant,
    pub queue: VecDeque<Sent>,
    later: BTreeMap<(Instant, usize), (IncomingId, Response)>,
    calls: BTreeMap<String, Asked>,
    tally: Tally,
}

impl Stage {
    pub(crate) fn new(seed: u64) -> Self {
        let config = Config::default();
        Self {
            watch: Watch::new("the endpoint", seed, &config),
            endpoint: Endpoint::new(config, ChaCha8Rng::seed_from_u64(seed)),
            plugtest: Plugtest::new(),
            now: Instant::ZERO,
            queue: VecDeque::new(),
            later: BTreeMap::new(),
            calls: BTreeMap::new(),
            tally: Tally::default(),
        }
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
        let how = RequestOptions::new();
        let how = if call.confirmable { how } else { how.non_confirmable() };
        let id = self.endpoint.request(self.now, SocketAddr::new(ip, uri.port()).into(), request, &how);
        let mut asked = Asked { to_group: ip.is_multicast(), ..Asked::default() };
        match id {
            Ok(id) => asked.id = Some(id),
            Err(_) => asked.outcome = Some((self.now, "refused")),
        }
        self.calls.insert(call.id.clone(), asked);
        self.collect(&Cause::Command);
        Ok(())
    }

    pub(crate) fn asked(&self, call: &str) -> Read<&Asked> {
        self.calls.get(call).ok_or_else(|| format!("no call {call}"))
    }

    pub(crate) const fn tally(&self) -> Tally {
        self.tally
    }

    /// What is due next, and not after `until`, happens. False: nothing is; the time is `until` now.
    pub(crate) fn step(&mut self, until: Instant) -> bool {
        let later = self.later.first_key_value().map(|((due, _), _)| *due);
        let Some(due) = self.endpoint.poll_timeout().into_iter().chain(later).min().filter(|due| *due <= until) else {
            self.now = self.now.max(until);
            self.watch.check_rest(self.now, &self.endpoint);
            return false;
        };
        self.now = self.now.max(due);
        self.endpoint.handle_timeout(self.now);
        self.collect(&Cause::Timer);
        while let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= self.now) {
            let (id, response) = first.remove();
            self.respond(id, response);
            self.collect(&Cause::Command);
        }
        true
    }

    pub(crate) fn run_until(&mut self, until: Instant) {
        while self.step(until) {}
    }

    /// What is left in the endpoint and before it; nothing, when all is idle.
    pub(crate) fn rest(&self) -> Option<String> {
        let (usage, timer) = (self.endpoint.usage(), self.endpoint.poll_timeout());
        let idle = usage == Default::default() && timer.is_none() && self.later.is_empty() && self.endpoint.is_idle();
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
            Event::Request(request) => self.serve(&request),
            Event::Response { id, from, response, .. } => {
                let Some(asked) = self.find(id) else { return };
                asked.delivered.push((from, response));
                if !asked.to_group {
                    asked.outcome = Some((now, "response"));
                }
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
            _ => {}
        }
    }

    fn find(&mut self, id: RequestId) -> Option<&mut Asked> {
        self.calls.values_mut().find(|asked| asked.id == Some(id))
    }

    fn serve(&mut self, request: &IncomingRequest) {
        match self.plugtest.handle(&request.local, &request.request) {
            Reply::Now(response) => self.respond(request.id, response),
            Reply::After(span, response) => {
                self.later.insert((self.now + span, self.tally.events + self.later.len()), (request.id, response));
            }
            Reply::Never | Reply::Forgotten => {
                self.endpoint.ignore(self.now, request.id);
            }
        }
    }

    fn respond(&mut self, id: IncomingId, response: Response) {
        if let Err(RespondError::TooLarge { .. }) = self.endpoint.respond(self.now, id, response) {
            // Until there is blockwise transfer.
            let _ = self.endpoint.respond(self.now, id, Response::new(Code::INTERNAL_SERVER_ERROR));
        }
    }
}

/// Seconds as the scripts write them.
pub(crate) fn instant(span: Duration) -> Instant {
    Instant::ZERO + span
}
