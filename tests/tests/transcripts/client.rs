//! Our endpoint is the client: it makes the requests of the recorded one, gets what the recorded server sent, and must
//! take it for the response, and acknowledge or reset what the recorded client did.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use coap_core::{
    BlockSize, Config, Datagram, Endpoint, Event, Instant, Local, Message, OptionNumber, Peer, Request, RequestId,
    RequestOptions, Reregistration, Response, Token, Type,
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
    /// Those that observe.
    observations: BTreeMap<Token, RequestId>,
    /// The recorded token, and what has come so far, of a body in blocks; the token that we use for the next of them.
    download: Option<(Token, Vec<u8>, Token)>,
}

pub(crate) fn replay(transcript: &Transcript) -> Result<(), String> {
    for name in transcript.clients().into_keys() {
        let mut client = Client::new();
        let start = transcript.lines.first().map_or(Duration::ZERO, |line| line.at);
        for (at, line) in transcript.lines.iter().enumerate().filter(|(_, line)| line.client == name) {
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
                    match transcript.reaction_to(at) {
                        // It was not there.
                        None if line.message.kind == Type::Confirmable => continue,
                        // It did not know of it any more.
                        Some(Message { kind: Type::Reset, .. }) => client.forget(&line.message.token),
                        _ => {}
                    }
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
            observations: BTreeMap::new(),
            download: None,
        }
    }

    fn forget(&mut self, token: &Token) {
        if let Some(id) = self.observations.remove(token) {
            self.endpoint.cancel(self.now, id);
        }
    }

    /// Makes the recorded request, or finds it made. What leaves is the same but for its Message ID, and for the token of a
    /// further block.
    fn request(&mut self, line: &Line) -> Result<(), String> {
        let recorded = &line.message;
        let block = recorded.options.block2();
        if block.is_some_and(|block| block.num() > 0) {
            let sent = self.sent.pop_front().ok_or_else(|| format!("{recorded} was not sent"))?;
            self.ids.insert(recorded.message_id, sent.message_id);
            if let Some((_, _, ours)) = &mut self.download {
                ours.clone_from(&sent.token);
            }
            let expected = Message { message_id: sent.message_id, token: sent.token.clone(), ..recorded.clone() };
            return if sent == expected { Ok(()) } else { Err(format!("sent {sent}, recorded {recorded}")) };
        }
        let observes = recorded.options.observe() == Some(0);
        let mut options = recorded.options.clone();
        options.remove(OptionNumber::BLOCK2);
        if observes {
            options.remove(OptionNumber::OBSERVE);
        }
        let request = Request::new(recorded.code).with_options(options).with_body(recorded.payload.clone());
        // When to register again is the recorded client's business.
        let how = RequestOptions::new().token(recorded.token.clone()).reregistration(Reregistration::OFF);
        let how = if recorded.kind == Type::Confirmable { how } else { how.non_confirmable() };
        let how = match block.and_then(|block| BlockSize::new(block.size())) {
            Some(size) => how.block_size(size),
            None => how,
        };
        if let Some(before) = self.requests.remove(&recorded.token) {
            self.endpoint.cancel(self.now, before);
        }
        self.forget(&recorded.token);
        let id = if observes {
            self.endpoint.observe(self.now, server(), request, &how)
        } else {
            self.endpoint.request(self.now, server(), request, &how)
        };
        let id = id.map_err(|error| error.to_string())?;
        self.drain();
        let sent = self.sent.pop_front().ok_or("the request waits")?;
        self.ids.insert(recorded.message_id, sent.message_id);
        let table = if observes { &mut self.observations } else { &mut self.requests };
        table.insert(recorded.token.clone(), id);
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
        if let Some((_, _, ours)) = self.download.as_ref().filter(|(recorded, ..)| *recorded == message.token) {
            message.token = ours.clone();
        }
        let mut datagram = vec![0; message.encoded_len()];
        message.encode(&mut datagram).map_err(|error| error.to_string())?;
        let payload = Bytes::from(datagram);
        self.endpoint.handle_datagram(self.now, Datagram { from: server(), to: Local::default(), payload });
        self.drain();
        if !message.code.is_response() {
            return if self.responses.is_empty() { Ok(()) } else { Err("a response out of nothing".into()) };
        }
        let mut expected = message.payload.to_vec();
        if let Some(block) = recorded.options.block2() {
            let (token, mut before, ours) =
                self.download.take().unwrap_or_else(|| (recorded.token.clone(), Vec::new(), recorded.token.clone()));
            before.extend_from_slice(&expected);
            if block.more() {
                self.download = Some((token, before, ours));
                return if self.responses.is_empty() { Ok(()) } else { Err("half a body was handed up".into()) };
            }
            expected = before;
        }
        let observed = self.observations.get(&recorded.token).copied();
        if recorded.options.observe().is_none() {
            self.observations.remove(&recorded.token);
        }
        // One that was told before is a repetition.
        let Some(id) = observed.or_else(|| self.requests.remove(&recorded.token)) else { return Ok(()) };
        let (of, response) = self.responses.pop_front().ok_or_else(|| format!("{recorded} was not taken"))?;
        let same = of == id && response.code == message.code && response.body.as_bytes() == expected;
        if same { Ok(()) } else { Err(format!("{recorded} was taken for {response:?}")) }
    }

    /// The recorded client sent this acknowledgement or Reset, and so must ours have.
    fn has_sent(&mut self, recorded: &Message) -> Result<(), String> {
        let sent = self.sent.pop_front().ok_or_else(|| format!("{recorded} was not sent"))?;
        if sent == *recorded { Ok(()) } else { Err(format!("sent {sent}, recorded {recorded}")) }
    }

    fn is_done(&mut self) -> Result<(), String> {
        // What the recording does not have the end of.
        let unfinished = core::mem::take(&mut self.observations).into_values();
        let unfinished: Vec<_> = match self.download.take() {
            Some((recorded, ..)) => {
                self.sent.pop_front();
                unfinished.chain(self.requests.remove(&recorded)).collect()
            }
            None => unfinished.collect(),
        };
        for id in unfinished {
            self.endpoint.cancel(self.now, id);
        }
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
            if let Event::Response { id, response, .. } | Event::Notification { id, response } = event {
                self.responses.push_back((id, response));
            }
        }
    }
}
