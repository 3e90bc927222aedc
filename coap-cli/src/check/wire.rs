//! Messages of the tests, one by one: our own endpoint would put right what must be seen.
//!
//! Each test has a socket of its own, and with it an endpoint that the server has not met: what arrives there belongs to it.

use core::hash::BuildHasher;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;

use bytes::Bytes;
use coap_core::{Code, Message, OptionNumber, Options, Token, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::{Problem, fail, local};
use crate::show::one_line;
use crate::{hex, say};

/// How long a test waits for a response: longer than an answer that takes a moment, with a retransmission on the way.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// RFC 7252 §4.8: when a Confirmable message is sent again for the first time.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// No datagram is longer.
const MOST_BYTES: usize = 65_535;

/// Where the server is, and how it is asked.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    /// What each request has: Uri-Host and Uri-Port.
    pub(super) base: Options,
    /// The paths that it lists, decoded: a resource that is not there, and not listed either, is none of its faults.
    pub(super) listed: Vec<String>,
    /// Every message is shown.
    pub(super) verbose: bool,
}

/// One test's endpoint.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) server: Server,
    socket: UdpSocket,
    buffer: Vec<u8>,
    next_id: u16,
    next_token: u64,
    /// Message IDs of requests that have been answered: what is acknowledged once more is no surprise.
    answered: Vec<u16>,
    /// Message IDs of the server's Confirmable responses that were taken.
    taken: Vec<u16>,
    /// Tokens of observations.
    observing: Vec<Token>,
    notifications: VecDeque<Message>,
}

/// A response, and how it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) message: Message,
    /// An Empty acknowledgement came first.
    pub(super) acknowledged: bool,
}

impl Probe {
    pub(super) async fn new(server: Server) -> Result<Self, Problem> {
        let any: SocketAddr = if server.addr.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).await.map_err(local)?;
        socket.connect(server.addr).await.map_err(local)?;
        let random = RandomState::new().hash_one(0);
        Ok(Self {
            server,
            socket,
            buffer: vec![0; MOST_BYTES],
            next_id: random as u16,
            next_token: random,
            answered: Vec::new(),
            taken: Vec::new(),
            observing: Vec::new(),
            notifications: VecDeque::new(),
        })
    }

    // ----- Making requests -----------------------------------------------------------------------------------------

    /// A request with a new Message ID and a new token of four bytes.
    pub(super) fn request(&mut self, kind: Type, code: Code, path: &str) -> Message {
        let mut message = Message::empty(kind, self.message_id());
        message.code = code;
        message.token = self.token();
        message.options = self.server.base.clone();
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            // The paths of the tests are short.
            let _ = message.options.push_uri_path(segment);
        }
        message
    }

    pub(super) fn get(&mut self, path: &str) -> Message {
        self.request(Type::Confirmable, Code::GET, path)
    }

    pub(super) fn message_id(&mut self) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    fn token(&mut self) -> Token {
        self.next_token = self.next_token.wrapping_add(1);
        token(&(self.next_token as u32).to_be_bytes())
    }

    // ----- Messages ------------------------------------------------------------------------------------------------

    pub(super) async fn send(&self, message: &Message) -> Result<(), Problem> {
        let mut datagram = vec![0; message.encoded_len()];
        message.encode(&mut datagram).map_err(local)?;
        if self.server.verbose {
            say(format_args!("  -> {}", one_line(&message.to_string())));
        }
        match self.socket.send(&datagram).await {
            // What the network says of an earlier datagram is told when the next one is sent.
            Err(_) => self.socket.send(&datagram).await.map(drop).map_err(|error| unreachable(&error)),
            Ok(_) => Ok(()),
        }
    }

    /// The next message, whatever it is; `None` when the time has come.
    pub(super) async fn receive(&mut self, until: Instant) -> Result<Option<Message>, Problem> {
        let len = match timeout_at(until, self.socket.recv(&mut self.buffer)).await {
            Err(_) => return Ok(None),
            Ok(received) => received.map_err(|error| unreachable(&error))?,
        };
        let datagram = Bytes::copy_from_slice(self.buffer.get(..len).unwrap_or_default());
        match Message::decode(datagram.clone()) {
            Ok(message) => {
                if self.server.verbose {
                    say(format_args!("  <- {}", one_line(&message.to_string())));
                }
                Ok(Some(message))
            }
            Err(error) => Err(fail(format_args!("it sent what is no message, {}: {error}", hex::encode(&datagram)))),
        }
    }

    /// An Empty message in reply.
    pub(super) async fn reply(&self, kind: Type, to: &Message) -> Result<(), Problem> {
        self.send(&Message::empty(kind, to.message_id)).await
    }

    // ----- Exchanges -----------------------------------------------------------------------------------------------

    /// Sends a request until it is acknowledged, and takes the response, which has to fit.
    pub(super) async fn exchange(&mut self, request: &Message) -> Result<Answer, Problem> {
        let is_confirmable = request.kind == Type::Confirmable;
        let start = Instant::now();
        let (end, mut pause) = (start + PATIENCE, ACK_TIMEOUT);
        let mut again = is_confirmable.then(|| start + pause);
        let mut acknowledged = false;
        self.send(request).await?;
        loop {
            let until = again.map_or(end, |again| again.min(end));
            let Some(message) = self.receive(until).await? else {
                if Instant::now() >= end {
                    let what = if acknowledged { "acknowledged, and not answered" } else { "not answered" };
                    return Err(fail(format_args!("{} was {what} within {} s", name(request), PATIENCE.as_secs())));
                }
                self.send(request).await?;
                pause *= 2;
                again = Some(Instant::now() + pause);
                continue;
            };
            match self.place(request, message).await? {
                Place::Elsewhere => {}
                Place::Acknowledgement => (acknowledged, again) = (true, None),
                Place::Response(message) => {
                    self.answered.push(request.message_id);
                    return Ok(Answer { message, acknowledged });
                }
            }
        }
    }

    /// What a message is to the request that waits.
    async fn place(&mut self, request: &Message, message: Message) -> Result<Place, Problem> {
        let about = name(request);
        match message.kind {
            Type::Acknowledgement if self.answered.contains(&message.message_id) => Ok(Place::Elsewhere),
            Type::Acknowledgement if request.kind != Type::Confirmable => {
                Err(fail(format_args!("{about} was Non-confirmable, and was answered with an acknowledgement")))
            }
            Type::Acknowledgement if message.message_id != request.message_id => Err(fail(format_args!(
                "{about} had Message ID {}, and the acknowledgement has {}",
                request.message_id, message.message_id
            ))),
            Type::Acknowledgement if message.code == Code::EMPTY => Ok(Place::Acknowledgement),
            Type::Acknowledgement => self.fits(request, message).map(Place::Response),
            Type::Reset if message.message_id == request.message_id => {
                Err(fail(format_args!("{about} was rejected with a Reset")))
            }
            Type::Reset => Ok(Place::Elsewhere),
            Type::Confirmable | Type::NonConfirmable => self.on_separate(request, message).await,
        }
    }

    async fn on_separate(&mut self, request: &Message, message: Message) -> Result<Place, Problem> {
        if self.observing.contains(&message.token) && message.token != request.token {
            self.take(&message).await?;
            self.notifications.push_back(message);
            return Ok(Place::Elsewhere);
        }
        if !message.code.is_response() {
            return Ok(Place::Elsewhere);
        }
        let is_known = self.taken.contains(&message.message_id);
        self.take(&message).await?;
        if is_known {
            return Ok(Place::Elsewhere);
        }
        self.fits(request, message).map(Place::Response)
    }

    /// Acknowledges what asks for it.
    pub(super) async fn take(&mut self, message: &Message) -> Result<(), Problem> {
        if message.kind == Type::Confirmable {
            self.taken.push(message.message_id);
            self.reply(Type::Acknowledgement, message).await?;
        }
        Ok(())
    }

    fn fits(&self, request: &Message, message: Message) -> Result<Message, Problem> {
        if message.token != request.token {
            return Err(fail(format_args!(
                "{} had the token {}, and the response has {}",
                name(request),
                shown(&request.token),
                shown(&message.token)
            )));
        }
        if !message.code.is_response() {
            return Err(fail(format_args!("{} was answered with the code {}", name(request), message.code)));
        }
        Ok(message)
    }

    // ----- Observations --------------------------------------------------------------------------------------------

    /// What has this token is a notification from now on.
    pub(super) fn observe(&mut self, token: &Token) {
        self.observing.push(token.clone());
    }

    /// The next notification, not acknowledged unless it came in the middle of an exchange. `None`: none in time.
    pub(super) async fn notification(&mut self, token: &Token, within: Duration) -> Result<Option<Message>, Problem> {
        if let Some(message) = self.notifications.pop_front() {
            return Ok(Some(message));
        }
        let until = Instant::now() + within;
        while let Some(message) = self.receive(until).await? {
            let is_separate = matches!(message.kind, Type::Confirmable | Type::NonConfirmable);
            if is_separate && message.token == *token {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }
}

/// What a message is to a request.
enum Place {
    Response(Message),
    Acknowledgement,
    /// Nothing.
    Elsewhere,
}

pub(super) fn token(bytes: &[u8]) -> Token {
    Token::new(bytes).unwrap_or(Token::EMPTY)
}

fn shown(token: &Token) -> String {
    if token.as_bytes().is_empty() { "of no bytes".to_owned() } else { hex::encode(token.as_bytes()) }
}

/// `GET /test`.
pub(super) fn name(request: &Message) -> String {
    let path: String =
        request.options.uri_path().map(|segment| format!("/{}", String::from_utf8_lossy(segment))).collect();
    let query: Vec<_> = request.options.uri_query().map(String::from_utf8_lossy).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    format!("{} {path}{query}", request.code)
}

/// The path of a request, as [`Server::listed`] has it.
pub(super) fn path(request: &Message) -> String {
    joined(request.options.get_all(OptionNumber::URI_PATH).map(String::from_utf8_lossy))
}

/// Segments of a path, each behind a slash.
pub(super) fn joined<S: core::fmt::Display>(segments: impl IntoIterator<Item = S>) -> String {
    segments.into_iter().map(|segment| format!("/{segment}")).collect()
}

fn unreachable(error: &std::io::Error) -> Problem {
    fail(format_args!("the network says: {}", crate::exit::reason(error)))
}
