//! Our endpoint is the client: it makes the requests of the recorded one, gets what the recorded server sent, and must
//! take it for the response, and acknowledge or reset what the recorded client did.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use coap_core::{
    Config, Datagram, Endpoint, Event, Instant, Local, Message, Peer, Request, RequestId, RequestOptions, Response,
    Token, Type,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::transcript::{Direction, Line, Transcript};

struct Client {
    endpoint: Endpoint,
    now: Instant,
    sent: VecDeque<Message>,
    responses: VecDeque<(RequestId, Response)>,
    /// Our Message ID for the recorded one of each request.
    ids: BTreeMap<u16, u16>,
    requests: BTreeMap<Token, RequestId>,
}

pub(crate) fn replay(transcript: &Transcript) -> Result<(), String> {
    for name in transcript.clients().into_keys() {
        let mut client = Client::new();
        let start = transcript.lines.first().map_or(Duration::ZERO, |line| line.at);
        for line in transcript.lines.iter().filter(|line| line.client == name) {
            let until = Instant::from_secs(1_000) + line.at.saturating_sub(start);
            match line.direction {
                // A repetition is ours to time.
                Direction::ToServer if client.ids.contains_key(&line.message.message_id) => client.run_until(until),
                Direction::ToServer if line.message.code.is_request() => {
                    client.run_until(until);
                    client.request(line)?;
                }
                Direction::ToServer => client.has_sent(&line.message)?,
                Direction::ToClient => {
                    client.run_until(until);
                    client.receive(&line.message)?;
                }
            }
        }
        client.is_done()?;
    }
    Ok(())
}

fn server() -> Peer {
    Peer::from(SocketAddr::from(([192, 0, 2, 9], 5_683)))
}

impl Client {
    fn new() -> Self {
        Self {
            endpoint: Endpoint::new(Config::default(), ChaCha8Rng::seed_from_u64(1)),
            now: Instant::from_secs(1_000),
            sent: VecDeque::new(),
            responses: VecDeque::new(),
            ids: BTreeMap::new(),
            requests: BTreeMap::new(),
        }
    }

    /// Makes the recorded request. What leaves is the same but for its Message ID.
    fn request(&mut self, line: &Line) -> Result<(), String> {
        let recorded = &line.message;
        let request =
            Request::new(recorded.code).with_options(recorded.options.clone()).with_body(recorded.payload.clone());
        let how = RequestOptions::new().token(recorded.token.clone());
        let how = if recorded.kind == Type::Confirmable { how } else { how.non_confirmable() };
        if let Some(before) = self.requests.remove(&recorded.token) {
            self.endpoint.cancel(self.now, before);
        }
        let id = self.endpoint.request(self.now, server(), request, &how).map_err(|error| error.to_string())?;
        self.drain();
        let sent = self.sent.pop_front().ok_or("the request waits")?;
        self.ids.insert(recorded.message_id, sent.message_id);
        self.requests.insert(recorded.token.clone(), id);
        let expected = Message { message_id: sent.message_id, ..recorded.clone() };
        if sent == expected { Ok(()) } else { Err(format!("sent {sent}, recorded {recorded}")) }
    }

    /// Gives it what the recorded server sent, under the Message ID of our request where it has that of theirs.
    fn receive(&mut self, recorded: &Message) -> Result<(), String> {
        let mut message = recorded.clone();
        if matches!(message.kind, Type::Acknowledgement | Type::Reset) {
            let ours = self.ids.get(&message.message_id).ok_or_else(|| format!("{recorded} answers nothing"))?;
            message.message_id = *ours;
        }
        let mut datagram = vec![0; message.encoded_len()];
        message.encode(&mut datagram).map_err(|error| error.to_string())?;
        let payload = Bytes::from(datagram);
        self.endpoint.handle_datagram(self.now, Datagram { from: server(), to: Local::default(), payload });
        self.drain();
        if !message.code.is_response() {
            return if self.responses.is_empty() { Ok(()) } else { Err("a response out of nothing".into()) };
        }
        // One that was told before is a repetition.
        let Some(id) = self.requests.remove(&message.token) else { return Ok(()) };
        let (of, response) = self.responses.pop_front().ok_or_else(|| format!("{recorded} was not taken"))?;
        let same = of == id && response.code == message.code && response.body.as_bytes() == message.payload;
        if same { Ok(()) } else { Err(format!("{recorded} was taken for {response:?}")) }
    }

    /// The recorded client sent this acknowledgement or Reset, and so must ours have.
    fn has_sent(&mut self, recorded: &Message) -> Result<(), String> {
        let sent = self.sent.pop_front().ok_or_else(|| format!("{recorded} was not sent"))?;
        if sent == *recorded { Ok(()) } else { Err(format!("sent {sent}, recorded {recorded}")) }
    }

    fn is_done(&mut self) -> Result<(), String> {
        self.run_until(self.now + Duration::from_secs(300));
        match (self.sent.pop_front(), self.responses.pop_front(), self.endpoint.usage().requests) {
            (None, None, 0) => Ok(()),
            (sent, response, open) => Err(format!("too much: {sent:?}, {response:?}, {open} requests")),
        }
    }

    fn run_until(&mut self, until: Instant) {
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            // Our own repetitions are not in the transcript.
            let before = self.sent.len();
            self.drain();
            self.sent.truncate(before);
        }
        self.now = self.now.max(until);
    }

    fn drain(&mut self) {
        let mut buf = vec![0; self.endpoint.config().max_datagram()];
        while let Some(transmit) = self.endpoint.poll_transmit(&mut buf) {
            self.sent.extend(Message::decode(Bytes::copy_from_slice(&buf[..transmit.len])));
        }
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::Response { id, response, .. } = event {
                self.responses.push_back((id, response));
            }
        }
    }
}
