//! Our endpoint with the plugtest resources is the server: it gets what the recorded client sent, and must answer as
//! the recorded server did, but for Message IDs and contents of its own.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;
use coap_core::{
    Code, Config, Datagram, Endpoint, Event, IncomingId, Instant, Local, Message, OptionNumber, Peer, Response, Type,
};
use coap_sim::Reply;
use coap_sim::plugtest::Plugtest;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::transcript::{Direction, Transcript};

/// How long the answer to a request may take; `/separate` takes 2 s.
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    endpoint: Endpoint,
    plugtest: Plugtest,
    now: Instant,
    later: BTreeMap<(Instant, usize), (IncomingId, Response)>,
    /// What was sent to each client, repetitions left out.
    sent: BTreeMap<Peer, Vec<Message>>,
}

pub(crate) fn replay(transcript: &Transcript) -> Result<(), String> {
    let mut server = Server::new();
    let peers: BTreeMap<_, _> =
        transcript.clients().into_keys().zip(1..).map(|(name, n)| (name.to_owned(), client(n))).collect();
    let recorded = |name: &str| {
        let mut sent: Vec<&Message> = Vec::new();
        for line in transcript.lines.iter().filter(|line| line.client == name && line.direction == Direction::ToClient)
        {
            if !sent.contains(&&line.message) {
                sent.push(&line.message);
            }
        }
        sent
    };
    let start = transcript.lines.first().map_or(Duration::ZERO, |line| line.at);
    for line in transcript.lines.iter().filter(|line| line.direction == Direction::ToServer) {
        let peer = peers[&line.client];
        server.run_until(server.now.max(Instant::from_secs(1_000) + line.at.saturating_sub(start)));
        let mut message = line.message.clone();
        if matches!(message.kind, Type::Acknowledgement | Type::Reset) {
            // It is about the n-th message of the recorded server; our n-th has another Message ID.
            let theirs = recorded(&line.client);
            let nth = theirs
                .iter()
                .position(|sent| sent.message_id == message.message_id && sent.kind != Type::Acknowledgement);
            let nth = nth.ok_or_else(|| format!("{message} answers nothing"))?;
            message.message_id = server.nth(peer, nth)?.message_id;
        }
        server.receive(peer, &message);
    }
    server.run_until(server.now + PATIENCE);
    for (name, peer) in &peers {
        let ours = server.sent.remove(peer).unwrap_or_default();
        let theirs = recorded(name);
        if ours.len() != theirs.len() {
            return Err(format!("{} messages to {name}, recorded {}: {}", ours.len(), theirs.len(), shown(&ours)));
        }
        for (ours, theirs) in ours.iter().zip(theirs) {
            is_alike(ours, theirs).map_err(|what| format!("another {what}: {ours}, recorded {theirs}"))?;
        }
    }
    Ok(())
}

/// The same type, code, token, and Message ID where it is the client's.
fn is_alike(ours: &Message, theirs: &Message) -> Result<(), &'static str> {
    // Both are right where something is stored; which depends on what was there.
    let stored = [Code::CREATED, Code::CHANGED];
    let codes = ours.code == theirs.code || (stored.contains(&ours.code) && stored.contains(&theirs.code));
    let answers = matches!(ours.kind, Type::Acknowledgement | Type::Reset);
    let content = ours.code != Code::CONTENT || ours.payload.is_empty() == theirs.payload.is_empty();
    let wanted = theirs.options.block2().map_or(usize::MAX, |block| block.size());
    match () {
        () if ours.kind != theirs.kind => Err("type"),
        () if !codes => Err("code"),
        () if ours.token != theirs.token => Err("token"),
        () if answers && ours.message_id != theirs.message_id => Err("Message ID"),
        () if !content => Err("kind of content"),
        // The client has asked for small blocks; what fits into one needs no blockwise transfer.
        () if ours.payload.len() > wanted => Err("size than the client has asked for"),
        () => Ok(()),
    }
}

fn client(n: u16) -> Peer {
    Peer::from(SocketAddr::from(([192, 0, 2, 1], 40_000 + n)))
}

fn shown(messages: &[Message]) -> String {
    messages.iter().map(Message::to_string).collect::<Vec<_>>().join("; ")
}

impl Server {
    fn new() -> Self {
        // Many of the clients ask for blocks of 64 bytes, which is all that the small resources have.
        let config = Config::builder().understands(OptionNumber::BLOCK2).build().unwrap();
        Self {
            endpoint: Endpoint::new(config, ChaCha8Rng::seed_from_u64(1)),
            plugtest: Plugtest::new(),
            now: Instant::from_secs(1_000),
            later: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    fn receive(&mut self, from: Peer, message: &Message) {
        let mut datagram = vec![0; message.encoded_len()];
        message.encode(&mut datagram).unwrap();
        let datagram = Datagram { from, to: Local::default(), payload: Bytes::from(datagram) };
        self.endpoint.handle_datagram(self.now, datagram);
        self.drain();
    }

    /// What was sent as the n-th message, now or within some seconds.
    fn nth(&mut self, to: Peer, n: usize) -> Result<Message, String> {
        let until = self.now + PATIENCE;
        loop {
            if let Some(message) = self.sent.get(&to).and_then(|sent| sent.get(n)) {
                return Ok(message.clone());
            }
            if !self.step(until) {
                return Err(format!("message {n} to {to} does not come"));
            }
        }
    }

    fn run_until(&mut self, until: Instant) {
        while self.step(until) {}
    }

    /// What is due next, and not after `until`, happens. False: nothing is; the time is `until` now.
    fn step(&mut self, until: Instant) -> bool {
        let later = self.later.first_key_value().map(|((due, _), _)| *due);
        let due = self.endpoint.poll_timeout().into_iter().chain(later).min();
        let Some(due) = due.filter(|due| *due <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(due);
        self.endpoint.handle_timeout(self.now);
        while let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= self.now) {
            let (id, response) = first.remove();
            self.endpoint.respond(self.now, id, response).unwrap();
        }
        self.drain();
        true
    }

    fn drain(&mut self) {
        let mut buf = vec![0; self.endpoint.config().max_datagram()];
        loop {
            while let Some(transmit) = self.endpoint.poll_transmit(&mut buf) {
                let message = Message::decode(Bytes::copy_from_slice(&buf[..transmit.len])).unwrap();
                let sent = self.sent.entry(transmit.to).or_default();
                if !sent.contains(&message) {
                    sent.push(message);
                }
            }
            let Some(event) = self.endpoint.poll_event() else { return };
            let Event::Request(request) = event else { continue };
            match self.plugtest.handle(&request.local, &request.request) {
                Reply::Now(response) => self.endpoint.respond(self.now, request.id, response).unwrap(),
                Reply::After(span, response) => {
                    self.later.insert((self.now + span, self.later.len()), (request.id, response));
                }
                Reply::Never | Reply::Forgotten => {
                    self.endpoint.ignore(self.now, request.id);
                }
            }
        }
    }
}
