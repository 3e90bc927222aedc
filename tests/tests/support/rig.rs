//! One endpoint and its clock, with the network and the application played by hand.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;
use coap_core::{
    Code, Config, ContentFormat, Datagram, Endpoint, Event, Instant, Local, Message, Options, Peer, Request,
    RequestError, RequestId, RequestOptions, Response, Token, Type, Usage,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The body of a response.
pub(crate) const BODY: &[u8] = b"01234567890123456789";

pub(crate) struct Rig {
    pub(crate) endpoint: Endpoint,
    pub(crate) now: Instant,
    pub(crate) sent: VecDeque<(Peer, Bytes)>,
    /// What every request is answered with.
    pub(crate) body: Bytes,
    buf: Vec<u8>,
}

/// Peer number `n`: a port of its own for each of 50,000, and then the next address.
pub(crate) fn peer(n: u32) -> Peer {
    let [_, a, b, c] = (n / 50_000).to_be_bytes();
    Peer::from(SocketAddr::from(([10, a, b, c], 1_000 + (n % 50_000) as u16)))
}

/// A request with this Message ID, a token of two bytes, and path /a.
pub(crate) fn request(kind: Type, code: Code, message_id: u16) -> Bytes {
    let mut options = Options::new();
    options.push_uri_path("a").unwrap();
    let token = Token::new(&message_id.to_be_bytes()).unwrap();
    encode(&Message { kind, code, message_id, token, options, payload: Bytes::new() })
}

pub(crate) fn encode(message: &Message) -> Bytes {
    let mut buf = vec![0; message.encoded_len()];
    message.encode(&mut buf).unwrap();
    buf.into()
}

/// What answers `request`.
pub(crate) fn answer(kind: Type, message_id: u16, request: &Message) -> Bytes {
    encode(&Message {
        kind,
        code: Code::CONTENT,
        message_id,
        token: request.token.clone(),
        options: Options::new(),
        payload: Bytes::from_static(BODY),
    })
}

impl Rig {
    pub(crate) fn new(config: Config) -> Self {
        let buf = vec![0; config.max_datagram()];
        let endpoint = Endpoint::new(config, ChaCha8Rng::seed_from_u64(coap_sim::seed_from_env(1)));
        let body = Bytes::from_static(BODY);
        Self { endpoint, now: Instant::from_secs(1_000), sent: VecDeque::new(), body, buf }
    }

    pub(crate) fn arrive(&mut self, from: Peer, payload: Bytes) {
        self.arrive_at(from, Local::default(), payload);
    }

    pub(crate) fn arrive_at(&mut self, from: Peer, to: Local, payload: Bytes) {
        self.endpoint.handle_datagram(self.now, Datagram { from, to, payload });
    }

    /// Hands out everything that waits to be sent, into `sent`.
    pub(crate) fn send(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit(&mut self.buf) {
            self.sent.push_back((transmit.to, Bytes::copy_from_slice(&self.buf[..transmit.len])));
        }
    }

    /// The same, into the void. How many.
    pub(crate) fn flush(&mut self) -> usize {
        core::iter::from_fn(|| self.endpoint.poll_transmit(&mut self.buf)).count()
    }

    /// Answers every request that was handed up; other events are dropped. How many.
    pub(crate) fn serve(&mut self) -> usize {
        let mut served = 0;
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::Request(request) = event {
                let response = Response::content(ContentFormat::TEXT_PLAIN, self.body.clone());
                self.endpoint.respond(self.now, request.id, response).unwrap();
                served += 1;
            }
        }
        served
    }

    /// An honest exchange from beginning to end. True: the request was answered with the body.
    pub(crate) fn is_served(&mut self, from: Peer, message_id: u16) -> bool {
        self.flush();
        self.arrive(from, request(Type::Confirmable, Code::GET, message_id));
        self.serve();
        self.sent.clear();
        self.send();
        let body = self.body.clone();
        self.sent.drain(..).any(|(to, bytes)| to == from && bytes.ends_with(&body))
    }

    /// A Confirmable GET of ours.
    pub(crate) fn ask(&mut self, to: Peer) -> Result<RequestId, RequestError> {
        self.endpoint.request(self.now, to, Request::get(), &RequestOptions::new())
    }

    /// The next message that was sent, to whomever.
    #[track_caller]
    pub(crate) fn next_sent(&mut self) -> (Peer, Message) {
        self.send();
        let (to, bytes) = self.sent.pop_front().expect("nothing was sent");
        (to, Message::decode(bytes).unwrap())
    }

    /// Lets time pass, and everything that falls due in it happen.
    pub(crate) fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            self.flush();
            self.serve();
            self.flush();
        }
        self.now = until;
    }

    /// After a long silence nothing is left.
    #[track_caller]
    pub(crate) fn comes_to_rest(&mut self) {
        self.serve();
        self.flush();
        self.sent = VecDeque::new();
        self.pass(Duration::from_secs(2_000));
        assert_eq!(self.endpoint.usage(), Usage::default());
        assert_eq!(self.endpoint.poll_timeout(), None);
        assert!(self.endpoint.is_idle());
        let stats = self.endpoint.stats();
        assert_eq!(stats.accounted(), stats.datagrams_received, "{stats:?}");
    }
}
