//! The rooms together, through the door: one endpoint in virtual time, with its peers played by hand.

mod blocks;
mod blocks_down;
mod blocks_in;
mod blocks_in_random;
mod blocks_out;
mod blocks_pair;
mod blocks_random;
mod blocks_up;
mod challenged;
mod client;
mod corners;
mod limits;
mod notify;
mod notify_corners;
mod observe_pair;
mod observed;
mod observing;
mod observing_again;
mod observing_blocks;
mod overload;
mod random;
mod server;
mod sessions;
mod together;
mod tokens;
mod topics;
mod unproven;

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use hex_literal::hex;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::wire::{Code, Message, Options, Token, Type};
use crate::*;

/// An endpoint, its clock, and what it has sent and said so far.
struct Rig {
    endpoint: Endpoint,
    now: Instant,
    sent: VecDeque<(Peer, Vec<u8>)>,
    events: VecDeque<Event>,
}

fn peer(n: u16) -> Peer {
    Peer::from(SocketAddr::from(([192, 0, 2, 1], 1_000 + n)))
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn path(segments: &[&str]) -> Options {
    let mut options = Options::new();
    for segment in segments {
        options.push_uri_path(segment).unwrap();
    }
    options
}

impl Rig {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let endpoint = Endpoint::new(config, ChaCha8Rng::seed_from_u64(1));
        Self { endpoint, now: Instant::from_secs(1_000), sent: VecDeque::new(), events: VecDeque::new() }
    }

    /// Collects what the endpoint has to send and to say.
    fn drain(&mut self) {
        let mut buf = vec![0; self.endpoint.config().max_datagram()];
        while let Some(Transmit { to, len, .. }) = self.endpoint.poll_transmit(&mut buf) {
            self.sent.push_back((to, buf[..len].to_vec()));
        }
        self.events.extend(core::iter::from_fn(|| self.endpoint.poll_event()));
    }

    /// Lets time pass, and everything that falls due in it happen.
    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn receive(&mut self, from: Peer, datagram: &[u8]) {
        self.receive_at(from, Local::default(), datagram);
    }

    fn receive_at(&mut self, from: Peer, to: Local, datagram: &[u8]) {
        let payload = Bytes::copy_from_slice(datagram);
        self.endpoint.handle_datagram(self.now, Datagram { from, to, payload });
        self.drain();
        let stats = self.endpoint.stats();
        assert_eq!(stats.accounted(), stats.datagrams_received, "{stats:?}");
    }

    /// Through the group ff02::fd.
    fn receive_multicast(&mut self, from: Peer, datagram: &[u8]) {
        let local = Local::arrived(0, Some("ff02::fd".parse().unwrap()), 1);
        self.receive_at(from, local, datagram);
    }

    fn request(&mut self, to: Peer, how: &RequestOptions) -> RequestId {
        let request = Request::get().with_options(path(&["a"]));
        let id = self.endpoint.request(self.now, to, request, how).unwrap();
        self.drain();
        id
    }

    fn get(&mut self, to: Peer) -> RequestId {
        self.request(to, &RequestOptions::new())
    }

    fn respond(&mut self, id: IncomingId, response: Response) {
        self.endpoint.respond(self.now, id, response).unwrap();
        self.drain();
    }

    /// The next datagram that was sent.
    fn sent(&mut self) -> (Peer, Message) {
        let (to, bytes) = self.sent.pop_front().expect("nothing was sent");
        (to, Message::decode(bytes.into()).unwrap())
    }

    fn sent_bytes(&mut self) -> Vec<u8> {
        self.sent.pop_front().expect("nothing was sent").1
    }

    #[track_caller]
    fn sent_nothing(&self) {
        assert!(self.sent.is_empty(), "sent {:02x?}", self.sent);
    }

    #[track_caller]
    fn said_nothing(&self) {
        assert!(self.events.is_empty(), "{:?}", self.events);
    }

    fn event(&mut self) -> Event {
        self.events.pop_front().expect("nothing happened")
    }

    /// The request that was handed up.
    fn handed_up(&mut self) -> IncomingRequest {
        match self.event() {
            Event::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn failure(&mut self) -> (RequestId, Failure, Timing) {
        match self.event() {
            Event::Failed { id, reason, timing } => (id, reason, timing),
            other => panic!("{other:?}"),
        }
    }

    fn response(&mut self) -> (RequestId, Response, Timing) {
        match self.event() {
            Event::Response { id, response, timing, .. } => (id, response, timing),
            other => panic!("{other:?}"),
        }
    }

    /// After a long silence nothing is left.
    #[track_caller]
    fn comes_to_rest(&mut self) {
        self.pass(secs(2_000));
        self.drain();
        assert_eq!(self.endpoint.usage(), Usage::default());
        assert_eq!(self.endpoint.poll_timeout(), None);
        assert!(self.endpoint.is_idle());
    }
}

/// A message that answers `request`, with its token.
fn answer(kind: Type, code: Code, message_id: u16, request: &Message, payload: &'static [u8]) -> Vec<u8> {
    encode(&Message {
        kind,
        code,
        message_id,
        token: request.token.clone(),
        options: Options::new(),
        payload: Bytes::from_static(payload),
    })
}

fn encode(message: &Message) -> Vec<u8> {
    let mut buf = vec![0; message.encoded_len()];
    message.encode(&mut buf).unwrap();
    buf
}

fn empty(kind: Type, message_id: u16) -> Vec<u8> {
    encode(&Message::empty(kind, message_id))
}

fn content(payload: &'static str) -> Response {
    Response::content(ContentFormat::TEXT_PLAIN, payload)
}

/// CON GET /a, Message ID 0x1001, token 0b.
const GET_A: [u8; 7] = hex!("41 01 1001 0b b1 61");
/// CON POST /a with payload x, Message ID 0x1002, token 0c.
const POST_A: [u8; 9] = hex!("41 02 1002 0c b1 61 ff 78");
