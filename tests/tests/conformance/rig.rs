//! One endpoint in virtual time, with its peers played by hand, and the plugtest resources behind it where asked for.

use core::future::Future;
use core::net::SocketAddr;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;
use coap_core::{
    Block, Code, Config, ContentFormat, Datagram, Endpoint, Event, Failure, IncomingId, IncomingRequest, Instant,
    Local, Message, OptionNumber, Options, Peer, Request, RequestId, RequestOptions, Response, Timing, Transmit, Type,
    Usage,
};
use coap_driver::router::Router;
use coap_sim::App;
use coap_sim::plugtest::PlugtestServer;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// An endpoint, its clock, and what it has sent and said so far.
pub(crate) struct Rig {
    pub(crate) endpoint: Endpoint,
    pub(crate) now: Instant,
    pub(crate) sent: VecDeque<(Transmit, Vec<u8>)>,
    pub(crate) events: VecDeque<Event>,
    /// The application, where it is not the test itself.
    pub(crate) plugtest: Option<PlugtestServer>,
}

pub(crate) fn peer(n: u16) -> Peer {
    Peer::from(SocketAddr::from(([192, 0, 2, 1], 1_000 + n)))
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Arrays of different lengths as one list of slices.
pub(crate) fn list<const N: usize>(datagrams: [&[u8]; N]) -> [&[u8]; N] {
    datagrams
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self {
            endpoint: Endpoint::new(config, ChaCha8Rng::seed_from_u64(1)),
            now: Instant::from_secs(1_000),
            sent: VecDeque::new(),
            events: VecDeque::new(),
            plugtest: None,
        }
    }

    /// With the plugtest resources as application.
    pub(crate) fn serving() -> Self {
        Self { plugtest: Some(PlugtestServer::new()), ..Self::new() }
    }

    pub(crate) fn serving_with(config: Config) -> Self {
        Self { plugtest: Some(PlugtestServer::new()), ..Self::with(config) }
    }

    /// Collects what the endpoint has to send and to say, and lets the application answer.
    pub(crate) fn drain(&mut self) {
        let mut buf = vec![0; self.endpoint.config().max_datagram()];
        loop {
            while let Some(transmit) = self.endpoint.poll_transmit(&mut buf) {
                self.sent.push_back((transmit, buf[..transmit.len].to_vec()));
            }
            match (self.endpoint.poll_event(), &mut self.plugtest) {
                (Some(event), Some(plugtest)) if is_for_servers(&event) => {
                    plugtest.on_event(&mut self.endpoint, self.now, event);
                }
                (Some(event), _) => self.events.push_back(event),
                (None, _) => break,
            }
        }
        let stats = self.endpoint.stats();
        assert_eq!(stats.accounted(), stats.datagrams_received, "{stats:?}");
    }

    /// How often the application was asked for this.
    pub(crate) fn runs(&self, method: Code, path: &str) -> u32 {
        self.plugtest.as_ref().unwrap().plugtest().runs(method, path)
    }

    /// What a resource of the application holds.
    pub(crate) fn content(&self, path: &str) -> Option<Bytes> {
        self.plugtest.as_ref().unwrap().plugtest().content(path).map(|content| content.body.clone())
    }

    /// The application changes a resource.
    pub(crate) fn set(&mut self, path: &str, content: &str) {
        let content = Bytes::copy_from_slice(content.as_bytes());
        self.plugtest.as_mut().unwrap().set(&mut self.endpoint, self.now, path, None, content);
        self.drain();
    }

    /// How many observers a resource of the application has.
    pub(crate) fn observers(&self, path: &str) -> usize {
        self.plugtest.as_ref().unwrap().observers(&self.endpoint, path)
    }

    /// Lets time pass, and everything that falls due in it happen.
    pub(crate) fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let next = self.plugtest.as_ref().and_then(App::next_time);
            let due = self.endpoint.poll_timeout().into_iter().chain(next).min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            if let Some(plugtest) = &mut self.plugtest {
                plugtest.on_time(&mut self.endpoint, self.now);
            }
            self.drain();
        }
        self.now = until;
    }

    pub(crate) fn receive(&mut self, from: Peer, datagram: &[u8]) {
        self.receive_at(from, Local::default(), datagram);
    }

    pub(crate) fn receive_at(&mut self, from: Peer, to: Local, datagram: &[u8]) {
        let payload = Bytes::copy_from_slice(datagram);
        self.endpoint.handle_datagram(self.now, Datagram { from, to, payload });
        self.drain();
    }

    /// Through the group ff02::fd.
    pub(crate) fn receive_multicast(&mut self, from: Peer, datagram: &[u8]) {
        let local = Local::arrived(0, Some("ff02::fd".parse().unwrap()), 1);
        self.receive_at(from, local, datagram);
    }

    /// The one datagram that the endpoint sends when it gets this one.
    #[track_caller]
    pub(crate) fn ask(&mut self, datagram: &[u8]) -> Message {
        self.sent_nothing();
        self.receive(peer(1), datagram);
        let (to, answer) = self.sent();
        assert_eq!(to, peer(1));
        self.sent_nothing();
        answer
    }

    pub(crate) fn request(&mut self, to: Peer, how: &RequestOptions) -> RequestId {
        let request = Request::get().with_options(path(&["a"]));
        let id = self.endpoint.request(self.now, to, request, how).unwrap();
        self.drain();
        id
    }

    /// CON GET /a
    pub(crate) fn get(&mut self, to: Peer) -> RequestId {
        self.request(to, &RequestOptions::new())
    }

    pub(crate) fn respond(&mut self, id: IncomingId, response: Response) {
        self.endpoint.respond(self.now, id, response).unwrap();
        self.drain();
    }

    /// The next datagram that was sent.
    #[track_caller]
    pub(crate) fn sent(&mut self) -> (Peer, Message) {
        let (transmit, bytes) = self.sent.pop_front().expect("nothing was sent");
        (transmit.to, Message::decode(bytes.into()).unwrap())
    }

    #[track_caller]
    pub(crate) fn sent_bytes(&mut self) -> Vec<u8> {
        self.sent.pop_front().expect("nothing was sent").1
    }

    #[track_caller]
    pub(crate) fn sent_nothing(&self) {
        assert!(self.sent.is_empty(), "sent {:02x?}", self.sent);
    }

    #[track_caller]
    pub(crate) fn said_nothing(&self) {
        assert!(self.events.is_empty(), "{:?}", self.events);
    }

    /// Nothing was sent, nothing was said, nothing is remembered.
    #[track_caller]
    pub(crate) fn left_no_trace(&self) {
        self.sent_nothing();
        self.said_nothing();
        assert_eq!(self.endpoint.usage(), Usage::default());
    }

    #[track_caller]
    pub(crate) fn event(&mut self) -> Event {
        self.events.pop_front().expect("nothing happened")
    }

    /// The request that was handed up.
    #[track_caller]
    pub(crate) fn handed_up(&mut self) -> IncomingRequest {
        match self.event() {
            Event::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn failure(&mut self) -> (RequestId, Failure, Timing) {
        match self.event() {
            Event::Failed { id, reason, timing } => (id, reason, timing),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn response(&mut self) -> (RequestId, Response) {
        match self.event() {
            Event::Response { id, response, .. } => (id, response),
            other => panic!("{other:?}"),
        }
    }

    /// After a long silence nothing is left but what can be observed.
    #[track_caller]
    pub(crate) fn comes_to_rest(&mut self) {
        self.pass(secs(2_000));
        let mut usage = self.endpoint.usage();
        usage.topics = 0;
        assert_eq!(usage, Usage::default());
        assert_eq!(self.endpoint.poll_timeout(), None);
        assert!(self.endpoint.is_idle());
    }
}

const fn is_for_servers(event: &Event) -> bool {
    matches!(
        event,
        Event::Request(_) | Event::IncomingClosed { .. } | Event::ObserverLost { .. } | Event::BodyPart { .. }
    )
}

/// CON `code` for the path `segments`, with a token of one byte.
pub(crate) fn con(code: Code, message_id: u16, segments: &[&str]) -> Message {
    let mut message = Message::empty(Type::Confirmable, message_id);
    (message.code, message.options) = (code, path(segments));
    message.token = coap_core::Token::new(&message_id.to_be_bytes()[1..]).unwrap();
    message
}

/// A block by number, whether more follow, and the exponent of its size.
pub(crate) fn block(num: u32, more: bool, szx: u8) -> Block {
    Block::new(num, more, szx).unwrap()
}

pub(crate) fn path(segments: &[&str]) -> Options {
    let mut options = Options::new();
    for segment in segments {
        options.push_uri_path(segment).unwrap();
    }
    options
}

/// CON `code` /test with these further options, of any length.
pub(crate) fn to_test(code: Code, message_id: u16, options: &[(OptionNumber, &[u8])]) -> Vec<u8> {
    let mut message = Message::empty(Type::Confirmable, message_id);
    message.code = code;
    message.options = path(&["test"]);
    for (number, value) in options {
        message.options.push_raw(*number, value).unwrap();
    }
    encode(&message)
}

/// A message that answers `request`, with its token.
pub(crate) fn answer(kind: Type, code: Code, message_id: u16, request: &Message, payload: &'static [u8]) -> Vec<u8> {
    let token = request.token.clone();
    let (options, payload) = (Options::new(), Bytes::from_static(payload));
    encode(&Message { kind, code, message_id, token, options, payload })
}

pub(crate) fn encode(message: &Message) -> Vec<u8> {
    let mut buf = vec![0; message.encoded_len()];
    message.encode(&mut buf).unwrap();
    buf
}

pub(crate) fn empty(kind: Type, message_id: u16) -> Vec<u8> {
    encode(&Message::empty(kind, message_id))
}

pub(crate) fn content(payload: &'static str) -> Response {
    Response::content(ContentFormat::TEXT_PLAIN, payload)
}

/// What a router answers; its handlers must not wait.
pub(crate) fn answer_of(router: &Router, request: &Request) -> Response {
    match pin!(router.answer(peer(1), request)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => response,
        Poll::Pending => panic!("the handler waits"),
    }
}
