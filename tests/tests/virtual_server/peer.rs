//! A peer that sends what a test says, and nothing by itself.

use core::future::poll_fn;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use coap_core::{Block, Code, Local, Message, OptionNumber, Options, Token, Type, UdpAddr};
use coap_driver::router::Router;
use coap_driver::{Client, Error, Received, RecvBatch, Runtime, ShutdownHandle, SocketOptions, UdpSocket};
use coap_sim::{Host, Sim, SimSocket, Task};

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A server at work, and a peer of it.
pub(crate) struct Stage {
    pub(crate) sim: Sim,
    pub(crate) peer: Peer,
    pub(crate) shutdown: ShutdownHandle<Host>,
    pub(crate) serving: Task<Result<(), Error>>,
}

impl Stage {
    pub(crate) fn new(router: impl FnOnce(&Host) -> Router) -> Self {
        Self::with(router, |builder| builder)
    }

    /// With a router that is made with a client on the server's sockets.
    pub(crate) fn with_client(router: impl FnOnce(Client<Host>) -> Router) -> Self {
        let mut sim = Sim::from_env(1);
        let (server, host) = (sim.host("server"), sim.host("peer"));
        let bound = sim.block_on(server.server("[::]:5683")).unwrap();
        let (shutdown, client) = (bound.shutdown_handle(), bound.client());
        let serving = sim.spawn(bound.serve(router(client)));
        let peer = Peer::new(&host, &server);
        Self { sim, peer, shutdown, serving }
    }

    pub(crate) fn with(
        router: impl FnOnce(&Host) -> Router,
        settings: impl FnOnce(coap_driver::Builder<Host>) -> coap_driver::Builder<Host>,
    ) -> Self {
        let mut sim = Sim::from_env(1);
        let (server, host) = (sim.host("server"), sim.host("peer"));
        let bound = sim.block_on(settings(server.builder()).bind("[::]:5683").server()).unwrap();
        let shutdown = bound.shutdown_handle();
        let serving = sim.spawn(bound.serve(router(&server)));
        let peer = Peer::new(&host, &server);
        Self { sim, peer, shutdown, serving }
    }

    /// Sends a message, now.
    pub(crate) fn send(&mut self, message: &Message) {
        let peer = &self.peer;
        self.sim.block_on(async { peer.send(message) });
    }

    /// The response to a request that is sent now. A separate one is acknowledged.
    pub(crate) fn ask(&mut self, request: Message) -> Message {
        self.send(&request);
        self.response_to(&request.token)
    }

    /// The next response with this token, whatever else comes before.
    pub(crate) fn response_to(&mut self, token: &Token) -> Message {
        loop {
            let message = self.hear();
            if message.code.is_response() && message.token == *token {
                return message;
            }
        }
    }

    /// The next message; a Confirmable one is acknowledged.
    pub(crate) fn hear(&mut self) -> Message {
        let message = self.sim.block_on(self.peer.receive());
        if message.kind == Type::Confirmable {
            self.send(&empty(Type::Acknowledgement, message.message_id));
        }
        message
    }

    /// All that comes in a span of time; Confirmable messages are acknowledged.
    pub(crate) fn heard_within(&mut self, span: Duration) -> Vec<Message> {
        let end = self.sim.now() + span;
        let mut heard = Vec::new();
        // In steps, so that what is acknowledged is not repeated.
        while self.sim.now() < end {
            self.sim.run_for(ms(50));
            while let Some(message) = self.peer.take() {
                if message.kind == Type::Confirmable {
                    self.send(&empty(Type::Acknowledgement, message.message_id));
                }
                heard.push(message);
            }
        }
        heard
    }
}

pub(crate) struct Peer {
    socket: SimSocket,
    to: UdpAddr,
    next: u16,
    heard: Vec<Message>,
}

impl Peer {
    pub(crate) fn new(host: &Host, server: &Host) -> Self {
        let socket = host.bind("[::]:0".parse().unwrap(), &SocketOptions::default()).unwrap();
        Self { socket, to: UdpAddr::new(SocketAddr::new(server.ip(), 5_683)), next: 0, heard: Vec::new() }
    }

    /// A Confirmable request with a Message ID and a token of its own.
    pub(crate) fn request(&mut self, code: Code, path: &str) -> Message {
        self.next += 1;
        let mut options = Options::new();
        for segment in path.split('/') {
            options.push(OptionNumber::URI_PATH, segment.as_bytes()).unwrap();
        }
        Message {
            kind: Type::Confirmable,
            code,
            message_id: self.next,
            token: Token::new(&self.next.to_be_bytes()).unwrap(),
            options,
            payload: Bytes::new(),
        }
    }

    /// Block number `num` of 16 bytes of an upload.
    pub(crate) fn block(&mut self, path: &str, num: u32, more: bool, payload: &[u8]) -> Message {
        let mut request = self.request(Code::PUT, path);
        request.options.set_block1(Block::new(num, more, 0).unwrap());
        request.payload = Bytes::copy_from_slice(payload);
        request
    }

    /// A request for block number `num` of 16 bytes.
    pub(crate) fn fetch_block(&mut self, path: &str, num: u32) -> Message {
        let mut request = self.request(Code::GET, path);
        request.options.set_block2(Block::new(num, false, 0).unwrap());
        request
    }

    /// A registration.
    pub(crate) fn observe(&mut self, path: &str) -> Message {
        let mut request = self.request(Code::GET, path);
        request.options.set_observe(0);
        request
    }

    fn send(&self, message: &Message) {
        let mut buf = [0; 1_280];
        let len = message.encode(&mut buf).unwrap();
        self.socket.try_send(self.to, &Local::default(), &buf[..len]).unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Message {
        loop {
            if let Some(message) = self.take() {
                return message;
            }
            let mut batch = RecvBatch::new(1_280);
            poll_fn(|cx| self.socket.poll_recv(cx, &mut batch)).await.unwrap();
            self.keep(&batch);
        }
    }

    /// What has come already.
    fn take(&mut self) -> Option<Message> {
        if self.heard.is_empty() {
            let mut batch = RecvBatch::new(1_280);
            let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
            if self.socket.poll_recv(&mut cx, &mut batch).is_ready() {
                self.keep(&batch);
            }
        }
        (!self.heard.is_empty()).then(|| self.heard.remove(0))
    }

    fn keep(&mut self, batch: &RecvBatch) {
        for received in batch.iter() {
            if let Received::Datagram { payload, .. } = received {
                self.heard.push(Message::decode(Bytes::copy_from_slice(payload)).unwrap());
            }
        }
    }
}

pub(crate) const fn empty(kind: Type, message_id: u16) -> Message {
    Message { kind, code: Code::EMPTY, message_id, token: Token::EMPTY, options: Options::new(), payload: Bytes::new() }
}
