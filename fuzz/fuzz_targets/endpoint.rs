//! Whatever peers, the clock and the application do, in whatever order: nothing panics, every datagram is accounted
//! for, every table stays within its bound, each request ends once, and after a long silence nothing is left.
#![no_main]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Bytes;
use coap_core::{
    Code, Config, Datagram, Endpoint, Event, IncomingId, Instant, Local, Message, OptionNumber, Options, Peer, Request,
    RequestId, RequestOptions, Response, Token, Type, Usage,
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
    Unreachable {
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
    Respond {
        which: u8,
        code: u8,
        len: u16,
    },
    Ignore {
        which: u8,
    },
    Shutdown,
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
    now: Instant,
    sent: Vec<Message>,
    open: BTreeSet<RequestId>,
    requests: Vec<RequestId>,
    incoming: Vec<IncomingId>,
}

fn peer(n: u8) -> Peer {
    Peer::from(SocketAddr::from(([192, 0, 2, 1], 1 + u16::from(n % 8))))
}

impl Run {
    fn drain(&mut self) {
        let mut buf = [0; 1_152];
        while let Some(transmit) = self.endpoint.poll_transmit(&mut buf) {
            let message = Message::decode(Bytes::copy_from_slice(&buf[..transmit.len])).expect("what we send decodes");
            assert!(transmit.from.group.is_none());
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
                Event::Retransmitted { id, .. } => assert!(self.open.contains(&id)),
                Event::IncomingClosed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
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
            Step::Bytes { peer: n, multicast, bytes } => self.receive(peer(n), multicast, bytes),
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
                        TokenOf::Any(bytes) => Token::new(&bytes[..bytes.len().min(8)]).expect("eight at most"),
                        TokenOf::OfSent(n) => sent(n).map_or(Token::EMPTY, |sent| sent.token.clone()),
                    },
                    options,
                    payload: Bytes::new(),
                };
                let mut bytes = vec![0; message.encoded_len()];
                message.encode(&mut bytes).expect("it fits");
                self.receive(peer(n), multicast, bytes);
            }
            Step::Unreachable { peer: n } => self.endpoint.handle_unreachable(self.now, peer(n)),
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
                if let Ok(id) = self.endpoint.request(self.now, peer(n), Request::get(), &how) {
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
                if let Ok(id) = self.endpoint.ping(self.now, peer(n)) {
                    self.requests.push(id);
                    assert!(self.open.insert(id), "a handle twice");
                }
            }
            Step::Cancel { which } => {
                if let Some(id) = self.requests.iter().rev().nth(usize::from(which)).copied() {
                    assert_eq!(self.endpoint.cancel(self.now, id), self.open.remove(&id));
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
        .max_group_responses(limit);
    let config = config.build().expect("these limits can be");
    let mut run = Run {
        endpoint: Endpoint::new(config, ChaCha8Rng::seed_from_u64(1)),
        now: Instant::from_secs(1),
        sent: Vec::new(),
        open: BTreeSet::new(),
        requests: Vec::new(),
        incoming: Vec::new(),
    };
    for step in script.steps {
        run.step(step);
        run.drain();
        let (stats, usage) = (run.endpoint.stats(), run.endpoint.usage());
        assert_eq!(stats.accounted(), stats.datagrams_received, "{stats:?}");
        assert!(usage.peers <= limit && usage.requests <= limit && usage.incoming <= limit, "{usage:?}");
        assert!(usage.remembered <= limit * 2, "{usage:?}");
    }
    run.pass(Duration::from_secs(100_000));
    assert!(run.open.is_empty(), "a request without an outcome");
    assert_eq!(run.endpoint.usage(), Usage::default());
    assert_eq!(run.endpoint.poll_timeout(), None);
});
