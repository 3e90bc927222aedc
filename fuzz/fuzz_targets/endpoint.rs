//! Whatever peers, the clock and the application do, in whatever order: nothing panics, every datagram is accounted
//! for, every table stays within its bound, each request ends once, the parts of each body come in order, and after a long
//! silence nothing is left.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Bytes;
use coap_core::{
    Block, BlockSize, Body, BodyId, Code, Config, Datagram, ETag, Endpoint, Event, IncomingId, Instant, Local, Message,
    ObserverId, OptionNumber, Options, Peer, Reliability, Request, RequestId, RequestOptions, Reregistration, Response,
    SessionEnd, SessionId, Token, TopicId, TopicOptions, Type, UnprovenLimit, Usage,
};
use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

#[derive(Arbitrary, Debug)]
enum Step {
    /// Any bytes from a peer.
    Bytes {
        peer: u8,
        multicast: bool,
        bytes: Vec<u8>,
    },
    /// A message that makes some sense: it may answer what we sent.
    Message {
        peer: u8,
        multicast: bool,
        kind: u8,
        code: u8,
        id: Id,
        token: TokenOf,
        option: Option<(u16, Vec<u8>)>,
    },
    /// A message of a transfer or an observation that makes some sense: its path and blocks fit those of others.
    Fitting {
        peer: u8,
        kind: u8,
        code: u8,
        id: Id,
        token: TokenOf,
        observe: Option<u8>,
        block1: Option<AnyBlock>,
        block2: Option<AnyBlock>,
        etag: Option<bool>,
        size: Option<u32>,
        /// Length of the payload, or that of a whole block.
        len: Option<u8>,
    },
    Unreachable {
        peer: u8,
    },
    /// The session of a peer is being made, or stands.
    Path {
        peer: u8,
        stands: bool,
    },
    /// It ends, and the peer makes another.
    Close {
        peer: u8,
    },
    Pass {
        millis: u32,
    },
    Request {
        peer: u8,
        non: bool,
        timeout: Option<u16>,
        reported: bool,
    },
    GroupRequest {
        timeout: u16,
    },
    Ping {
        peer: u8,
    },
    Cancel {
        which: u8,
    },
    /// A request with a body, or whose response has one.
    Transfer {
        peer: u8,
        code: u8,
        szx: Option<u8>,
        len: u16,
        in_parts: bool,
        parts: bool,
        resume: Option<u8>,
        max_body: Option<u16>,
        reported: bool,
    },
    Observe {
        peer: u8,
        non: bool,
        attempts: u8,
    },
    Deregister {
        which: u8,
    },
    Respond {
        which: u8,
        code: u8,
        len: u16,
    },
    RespondPart {
        which: u8,
        /// A range from there on, or in parts.
        from: Option<u16>,
        len: u16,
        total: Option<u16>,
    },
    Collect {
        which: u8,
        limit: u16,
    },
    Consume {
        which: u8,
        response: bool,
    },
    Supply {
        which: u8,
        request: bool,
        len: u16,
        last: bool,
    },
    Open {
        non: Option<u8>,
        min_interval: u16,
    },
    Accept {
        which: u8,
        topic: u8,
        code: u8,
        len: u16,
    },
    Publish {
        topic: u8,
        code: u8,
        len: u16,
    },
    CloseTopic {
        topic: u8,
        code: Option<u8>,
    },
    RemoveObserver {
        which: u8,
    },
    Ignore {
        which: u8,
    },
    Shutdown,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct AnyBlock {
    num: u8,
    more: bool,
    szx: u8,
}

impl AnyBlock {
    fn block(self) -> Block {
        // Mostly small numbers; the largest is the last that there is.
        let num = if self.num == u8::MAX { (1 << 20) - 1 } else { u32::from(self.num % 8) };
        Block::new(num, self.more, self.szx % 8).unwrap_or_else(|| Block::new(num, self.more, 0).expect("a block"))
    }
}

#[derive(Arbitrary, Debug)]
enum Id {
    Any(u16),
    OfSent(u8),
}

#[derive(Arbitrary, Debug)]
enum TokenOf {
    Any(Vec<u8>),
    OfSent(u8),
}

#[derive(Arbitrary, Debug)]
struct Script {
    limit: u8,
    steps: Vec<Step>,
}

struct Run {
    endpoint: Endpoint,
    /// The numbers of the sessions that there are.
    sessions: [u64; SESSIONS],
    now: Instant,
    sent: Vec<Message>,
    open: BTreeSet<RequestId>,
    /// Those that may wait for a peer or the application for good.
    endless: BTreeSet<RequestId>,
    requests: Vec<RequestId>,
    incoming: Vec<IncomingId>,
    topics: Vec<TopicId>,
    observers: Vec<(ObserverId, TopicId)>,
    /// How far each body has come; `None`: to its end.
    bodies: BTreeMap<BodyId, Option<u64>>,
}

fn method(code: u8) -> Code {
    [Code::GET, Code::PUT, Code::POST, Code::FETCH][usize::from(code % 4)]
}

/// How many of the eight peers are sessions.
const SESSIONS: usize = 3;

impl Run {
    /// One of eight peers.
    fn peer(&self, n: u8) -> Peer {
        let n = usize::from(n % 8);
        match self.sessions.get(n) {
            Some(number) => Peer::Session(SessionId::new(*number)),
            None => Peer::from(SocketAddr::from(([192, 0, 2, 1], 1 + n as u16))),
        }
    }

    fn drain(&mut self) {
        let mut buf = [0; 1_152];
        while let Some(transmit) = self.endpoint.poll_transmit(&mut buf) {
            let datagram = Bytes::copy_from_slice(&buf[..transmit.len]);
            let extended = self.endpoint.config().max_token_len() > Token::MAX_LEN;
            let decoded = if extended { Message::decode_extended(datagram) } else { Message::decode(datagram) };
            let message = decoded.expect("what we send decodes");
            assert!(transmit.from.group.is_none());
            if let Peer::Session(session) = transmit.to {
                assert!(self.sessions.contains(&session.number()), "something is sent in a session that is over");
            }
            self.sent.push(message);
        }
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Request(request) => self.incoming.push(request.id),
                Event::Failed { id, .. } | Event::Pong { id, .. } | Event::Finished { id } => {
                    assert!(self.open.remove(&id), "an outcome for what is not open");
                }
                Event::Response { id, from, .. } => {
                    assert!(!from.is_multicast());
                    // A multicast request goes on after a response.
                    assert!(self.open.contains(&id), "a response for what is not open");
                    if self.endpoint.place(id).is_none() {
                        self.open.remove(&id);
                    }
                }
                Event::Retransmitted { id, .. }
                | Event::Progress { id, .. }
                | Event::Notification { id, .. }
                | Event::Stale { id }
                | Event::Reregistering { id, .. } => assert!(self.open.contains(&id), "news of what is not open"),
                Event::BodyPart { id, offset, data, last } => {
                    let before = self.bodies.get(&id).copied().unwrap_or(Some(offset));
                    assert_eq!(before, Some(offset), "a part out of order");
                    self.bodies.insert(id, (!last).then(|| offset + data.len() as u64));
                    if last {
                        self.body_ended(id);
                    }
                }
                Event::BodyFailed { id, .. } => {
                    assert_ne!(self.bodies.insert(id, None), Some(None), "a body ended twice");
                    self.body_ended(id);
                }
                Event::BodyWanted { .. } | Event::IncomingClosed { .. } => {}
                Event::ObserverLost { id, .. } => {
                    let known = self.observers.iter().position(|(observer, _)| *observer == id);
                    self.observers.remove(known.expect("an observer that was accepted, once"));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// With the body of a response its request is over.
    fn body_ended(&mut self, body: BodyId) {
        self.open.retain(|id| id.response_body() != body);
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        let mut rounds = 0;
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            self.drain();
            rounds += 1;
            assert!(rounds < 100_000, "time does not get on");
        }
        self.now = until;
    }

    fn receive(&mut self, from: Peer, multicast: bool, payload: Vec<u8>) {
        let group = multicast.then(|| "224.0.1.187".parse().expect("an address"));
        let to = Local::arrived(0, group, 1);
        self.endpoint.handle_datagram(self.now, Datagram { from, to, payload: payload.into() });
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Bytes { peer: n, multicast, bytes } => self.receive(self.peer(n), multicast, bytes),
            Step::Message { peer: n, multicast, kind, code, id, token, option } => {
                let sent = |n: u8| self.sent.iter().rev().nth(usize::from(n % 16));
                let kind = [Type::Confirmable, Type::NonConfirmable, Type::Acknowledgement, Type::Reset]
                    [usize::from(kind % 4)];
                let mut options = Options::new();
                if let Some((number, value)) = &option {
                    let _ = options.push_raw(OptionNumber::new(*number), &value[..value.len().min(300)]);
                }
                let message = Message {
                    kind,
                    code: Code::from_byte(code),
                    message_id: match id {
                        Id::Any(id) => id,
                        Id::OfSent(n) => sent(n).map_or(0, |sent| sent.message_id),
                    },
                    token: match token {
                        TokenOf::Any(bytes) => Token::extended(&bytes).expect("no script is that long"),
                        TokenOf::OfSent(n) => sent(n).map_or(Token::EMPTY, |sent| sent.token.clone()),
                    },
                    options,
                    payload: Bytes::new(),
                };
                let mut bytes = vec![0; message.encoded_len()];
                message.encode(&mut bytes).expect("it fits");
                self.receive(self.peer(n), multicast, bytes);
            }
            Step::Fitting { peer: n, kind, code, id, token, observe, block1, block2, etag, size, len } => {
                let sent = |n: u8| self.sent.iter().rev().nth(usize::from(n % 16));
                let kind = [Type::Confirmable, Type::NonConfirmable, Type::Acknowledgement][usize::from(kind % 3)];
                let responses = [Code::CONTENT, Code::CHANGED, Code::CONTINUE, Code::VALID];
                let errors = [Code::REQUEST_ENTITY_INCOMPLETE, Code::REQUEST_ENTITY_TOO_LARGE, Code::NOT_FOUND];
                let code = match code % 12 {
                    request @ 0..4 => method(request),
                    response @ 4..8 => responses[usize::from(response - 4)],
                    error => errors[usize::from(error % 3)],
                };
                let mut options = Options::new();
                if let Some(observe) = observe {
                    options.set_observe(observe.into());
                }
                if let Some(block) = block1 {
                    options.set_block1(block.block());
                }
                if let Some(block) = block2 {
                    options.set_block2(block.block());
                }
                if let Some(etag) = etag {
                    options.push_etag(&ETag::new(&[etag.into()]).expect("an ETag"));
                }
                if let Some(size) = size {
                    options.set_size1(size);
                    options.set_size2(size);
                }
                let whole = block1.filter(|_| code.is_request()).or(block2).map_or(0, |block| block.block().size());
                let message = Message {
                    kind,
                    code,
                    message_id: match id {
                        Id::Any(id) => id,
                        Id::OfSent(n) => sent(n).map_or(0, |sent| sent.message_id),
                    },
                    token: match token {
                        TokenOf::Any(bytes) => Token::extended(&bytes).expect("no script is that long"),
                        TokenOf::OfSent(n) => sent(n).map_or(Token::EMPTY, |sent| sent.token.clone()),
                    },
                    options,
                    payload: vec![7; len.map_or(whole, usize::from)].into(),
                };
                let mut bytes = vec![0; message.encoded_len()];
                message.encode(&mut bytes).expect("it fits");
                self.receive(self.peer(n), false, bytes);
            }
            Step::Unreachable { peer: n } => self.endpoint.handle_unreachable(self.now, self.peer(n)),
            Step::Path { peer: n, stands: false } => drop(self.endpoint.hold(self.now, self.peer(n))),
            Step::Path { peer: n, stands: true } => self.endpoint.release(self.now, self.peer(n)),
            Step::Close { peer: n } => {
                if let Some(number) = self.sessions.get_mut(usize::from(n % 8)) {
                    self.endpoint.close_session(self.now, SessionId::new(*number), SessionEnd::Peer);
                    *number += SESSIONS as u64;
                }
            }
            Step::Pass { millis } => self.pass(Duration::from_millis(u64::from(millis % 300_000))),
            Step::Request { peer: n, non, timeout, reported } => {
                let mut how = RequestOptions::new();
                if non {
                    how = how.non_confirmable();
                }
                if reported {
                    how = how.report_retransmissions();
                }
                if let Some(timeout) = timeout {
                    how = how.timeout(Duration::from_millis(timeout.into()));
                }
                if let Ok(id) = self.endpoint.request(self.now, self.peer(n), Request::get(), &how) {
                    self.requests.push(id);
                    assert!(self.open.insert(id), "a handle twice");
                }
            }
            Step::GroupRequest { timeout } => {
                let group = Peer::from(SocketAddr::from(([224, 0, 1, 187], 5_683)));
                let how = RequestOptions::new().non_confirmable().timeout(Duration::from_millis(timeout.into()));
                if let Ok(id) = self.endpoint.request(self.now, group, Request::get(), &how) {
                    self.requests.push(id);
                    assert!(self.open.insert(id), "a handle twice");
                }
            }
            Step::Ping { peer: n } => {
                if let Ok(id) = self.endpoint.ping(self.now, self.peer(n)) {
                    self.requests.push(id);
                    assert!(self.open.insert(id), "a handle twice");
                }
            }
            Step::Cancel { which } => {
                if let Some(id) = self.requests.iter().rev().nth(usize::from(which)).copied() {
                    assert_eq!(self.endpoint.cancel(self.now, id), self.open.remove(&id));
                }
            }
            Step::Transfer { peer: n, code, szx, len, in_parts, parts, resume, max_body, reported } => {
                let mut how = RequestOptions::new();
                if let Some(szx) = szx {
                    how = how.block_size(BlockSize::from_szx(szx % 7).expect("a size"));
                }
                if in_parts {
                    how = how.in_parts();
                }
                if let Some(offset) = resume {
                    how = how.resume(u64::from(offset) * 8, ETag::new(&[1]).expect("an ETag"));
                }
                if let Some(bytes) = max_body {
                    how = how.max_body(bytes.into());
                }
                if reported {
                    how = how.report_progress();
                }
                let len = u64::from(len % 4_000);
                let body = if parts { Body::Parts { size: Some(len) } } else { vec![8; len as usize].into() };
                let request = Request::new(method(code)).with_body(body);
                if let Ok(id) = self.endpoint.request(self.now, self.peer(n), request, &how) {
                    self.requests.push(id);
                    assert!(self.open.insert(id), "a handle twice");
                    if in_parts || parts || resume.is_some() {
                        self.endless.insert(id);
                    }
                }
            }
            Step::Observe { peer: n, non, attempts } => {
                let pause = Duration::from_secs(u64::from(attempts));
                let how = RequestOptions::new().reregistration(Reregistration::new(attempts % 4, pause));
                let how = if non { how.non_confirmable() } else { how };
                if let Ok(id) = self.endpoint.observe(self.now, self.peer(n), Request::get(), &how) {
                    self.requests.push(id);
                    assert!(self.open.insert(id), "a handle twice");
                    self.endless.insert(id);
                }
            }
            Step::Deregister { which } => {
                if let Some(id) = self.requests.iter().rev().nth(usize::from(which)).copied()
                    && self.endpoint.deregister(self.now, id)
                {
                    assert!(self.open.remove(&id), "an observation that is not open");
                }
            }
            Step::RespondPart { which, from, len, total } => {
                if let Some(id) = self.incoming.iter().rev().nth(usize::from(which)).copied() {
                    let data = vec![9; usize::from(len % 2_000)].into();
                    let size = total.map(u64::from);
                    let body = match from {
                        Some(offset) => Body::Range { offset: offset.into(), data, size },
                        None => Body::Parts { size },
                    };
                    let _ = self.endpoint.respond(self.now, id, Response::new(Code::CONTENT).with_body(body));
                }
            }
            Step::Collect { which, limit } => {
                if let Some(id) = self.incoming.iter().rev().nth(usize::from(which)).copied() {
                    self.endpoint.collect(self.now, id.request_body(), limit.into());
                }
            }
            Step::Consume { which, response } => {
                let body = if response {
                    self.requests.iter().rev().nth(usize::from(which)).map(|id| id.response_body())
                } else {
                    self.incoming.iter().rev().nth(usize::from(which)).map(|id| id.request_body())
                };
                if let Some(body) = body {
                    self.endpoint.consumed(self.now, body);
                }
            }
            Step::Supply { which, request, len, last } => {
                let body = if request {
                    self.requests.iter().rev().nth(usize::from(which)).map(|id| id.request_body())
                } else {
                    self.incoming.iter().rev().nth(usize::from(which)).map(|id| id.response_body())
                };
                if let Some(body) = body {
                    let data = vec![6; usize::from(len % 6_000)].into();
                    let _ = self.endpoint.supply(self.now, body, data, last);
                }
            }
            Step::Open { non, min_interval } => {
                let reliability = match non {
                    Some(n) => Reliability::NonConfirmable { confirm_every: n.into() },
                    None => Reliability::Confirmable,
                };
                let how = TopicOptions::new().reliability(reliability);
                let how = how.min_interval(Duration::from_millis(min_interval.into()));
                self.topics.push(self.endpoint.open_topic(how));
            }
            Step::Accept { which, topic, code, len } => {
                let id = self.incoming.iter().rev().nth(usize::from(which)).copied();
                let topic = self.topics.get(usize::from(topic) % self.topics.len().max(1)).copied();
                let (Some(id), Some(topic)) = (id, topic) else { return };
                let code = if code < 200 { Code::CONTENT } else { Code::from_byte(code) };
                let first = Response::new(code).with_body(vec![5; usize::from(len % 3_000)]);
                if let Ok(Some(id)) = self.endpoint.accept_observer(self.now, id, topic, first) {
                    self.observers.retain(|(observer, _)| *observer != id);
                    self.observers.push((id, topic));
                }
            }
            Step::Publish { topic, code, len } => {
                if let Some(topic) = self.topics.get(usize::from(topic) % self.topics.len().max(1)).copied() {
                    let code = if code < 200 { Code::CONTENT } else { Code::from_byte(code) };
                    let state = Response::new(code).with_body(vec![4; usize::from(len % 3_000)]);
                    if self.endpoint.publish(self.now, topic, state) && code.is_error() {
                        self.observers.retain(|(_, of)| *of != topic);
                    }
                }
            }
            Step::CloseTopic { topic, code } => {
                if let Some(topic) = self.topics.get(usize::from(topic) % self.topics.len().max(1)).copied() {
                    let last = code.map(|code| Response::new(Code::from_byte(code)));
                    if self.endpoint.close_topic(self.now, topic, last) {
                        self.observers.retain(|(_, of)| *of != topic);
                    }
                    assert_eq!(self.endpoint.topic_observers(topic), 0);
                }
            }
            Step::RemoveObserver { which } => {
                if let Some((id, _)) = self.observers.get(usize::from(which)).copied()
                    && self.endpoint.remove_observer(self.now, id)
                {
                    self.observers.retain(|(observer, _)| *observer != id);
                }
            }
            Step::Respond { which, code, len } => {
                if let Some(id) = self.incoming.iter().rev().nth(usize::from(which)).copied() {
                    let response = Response::new(Code::from_byte(code)).with_body(vec![0; usize::from(len % 2_000)]);
                    let _ = self.endpoint.respond(self.now, id, response);
                }
            }
            Step::Ignore { which } => {
                if let Some(id) = self.incoming.iter().rev().nth(usize::from(which)).copied() {
                    self.endpoint.ignore(self.now, id);
                }
            }
            Step::Shutdown => self.endpoint.begin_shutdown(self.now),
        }
    }
}

fuzz_target!(|script: Script| {
    let limit = usize::from(script.limit % 8);
    let config = Config::constrained()
        .max_peers(limit)
        .max_remembered(limit * 2)
        .max_remembered_bytes(limit * 64)
        .max_requests(limit)
        .max_backlog(limit)
        .max_incoming(limit)
        .max_group_responses(limit)
        .max_transfers(limit)
        .max_transfer_bytes(limit * 1_000)
        .max_body(limit * 600)
        .max_observers(limit)
        .max_observers_per_peer(limit / 2 + 1)
        .unproven_limit(if script.limit & 8 == 0 { UnprovenLimit::Groups } else { UnprovenLimit::All });
    let config = match script.limit >> 4 & 3 {
        0 | 1 => config,
        2 => config.max_token_len(40),
        _ => config.max_token_len(40).min_token_len(20),
    };
    let config = config.build().expect("these limits can be");
    let mut run = Run {
        endpoint: Endpoint::new(config, ChaCha8Rng::seed_from_u64(1)),
        sessions: core::array::from_fn(|n| n as u64),
        now: Instant::from_secs(1),
        sent: Vec::new(),
        open: BTreeSet::new(),
        endless: BTreeSet::new(),
        requests: Vec::new(),
        incoming: Vec::new(),
        topics: Vec::new(),
        observers: Vec::new(),
        bodies: BTreeMap::new(),
    };
    for step in script.steps {
        run.step(step);
        run.drain();
        let (stats, usage) = (run.endpoint.stats(), run.endpoint.usage());
        assert_eq!(stats.accounted(), stats.datagrams_received, "{stats:?}");
        assert!(usage.peers <= limit && usage.requests <= limit && usage.incoming <= limit, "{usage:?}");
        assert!(usage.remembered <= limit * 2, "{usage:?}");
        assert!(usage.transfers <= limit && usage.transfer_bytes <= limit * 1_000, "{usage:?}");
        // One of a topic that has ended may still be told so.
        assert!(run.observers.len() <= usage.observers && usage.observers <= limit, "{usage:?}");
    }
    // What has no end of its own: observations, and bodies that wait for the application.
    for id in core::mem::take(&mut run.requests) {
        if run.open.contains(&id) && run.endless.contains(&id) {
            assert_eq!(run.endpoint.cancel(run.now, id), run.open.remove(&id));
        }
    }
    for topic in core::mem::take(&mut run.topics) {
        run.endpoint.close_topic(run.now, topic, None);
    }
    run.observers.clear();
    for n in 0..8 {
        run.endpoint.release(run.now, run.peer(n));
    }
    run.drain();
    run.pass(Duration::from_secs(100_000));
    assert!(run.open.is_empty(), "a request without an outcome");
    assert_eq!(run.endpoint.usage(), Usage::default());
    assert_eq!(run.endpoint.poll_timeout(), None);
});
