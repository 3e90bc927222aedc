//! Our endpoint with the plugtest resources is the server: it gets what the recorded client sent, and must answer as
//! the recorded server did, but for Message IDs and contents of its own.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;
use coap_core::{
    Block, Code, Config, Datagram, ETag, Endpoint, Instant, Local, Message, OptionNumber, Options, Peer, Token, Type,
};
use coap_sim::App;
use coap_sim::plugtest::PlugtestServer;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::rules::{Exchange, exchanges};
use crate::transcript::{Direction, Line, Transcript, Verdict};

/// How long the answer to a request may take; `/separate` takes 2 s.
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    endpoint: Endpoint,
    plugtest: PlugtestServer,
    now: Instant,
    /// What was sent to each client, repetitions left out.
    sent: BTreeMap<Peer, Vec<Message>>,
    changes: u32,
}

pub(crate) fn replay(transcript: &Transcript) -> Result<(), String> {
    let mut server = Server::new();
    let peers: BTreeMap<_, _> =
        transcript.clients().into_keys().zip(1..).map(|(name, n)| (name.to_owned(), client(n))).collect();
    let start = transcript.lines.first().map_or(Duration::ZERO, |line| line.at);
    for (at, line) in transcript.lines.iter().enumerate() {
        let peer = peers[&line.client];
        server.run_until(server.now.max(Instant::from_secs(1_000) + line.at.saturating_sub(start)));
        match line.direction {
            Direction::ToClient => server.follow(transcript, at),
            Direction::ToServer => server.hear(transcript, &peers, peer, at)?,
        }
    }
    server.run_until(server.now + PATIENCE);
    for (name, peer) in &peers {
        let ours = server.sent.remove(peer).unwrap_or_default();
        compare(transcript, name, &ours)?;
    }
    Ok(())
}

/// What was sent to a client: the answers are alike one by one, and so are the notifications, if the client acknowledged
/// them. Of states that were not acknowledged the recorded server sent all; ours sends one at a time, the latest.
fn compare(transcript: &Transcript, name: &str, ours: &[Message]) -> Result<(), String> {
    let of_client = |at: &usize| transcript.lines[*at].client == name && !transcript.is_repeated(*at);
    let told = (0..transcript.lines.len()).filter(of_client).filter(|at| transcript.registration_of(*at).is_some());
    let told: Vec<_> = told.collect();
    let heard = told.iter().all(|at| {
        let non = transcript.lines[*at].message.kind == Type::NonConfirmable;
        non || transcript.reaction_to(*at).is_some()
    });
    let mut theirs = recorded(transcript, name);
    let mut ours: Vec<_> = ours.iter().collect();
    if !heard {
        let is_answer = |message: &&Message| message.kind == Type::Acknowledgement;
        let few: Vec<_> = ours.iter().copied().filter(|message| !is_answer(message)).collect();
        let states: Vec<_> = theirs.iter().copied().filter(|message| !is_answer(message)).collect();
        if few.is_empty() || few.len() > states.len() {
            return Err(format!("{} notifications to {name}, recorded {}", few.len(), states.len()));
        }
        for (ours, theirs) in few.iter().zip(states) {
            is_alike(ours, theirs).map_err(|what| format!("another {what}: {ours}, recorded {theirs}"))?;
        }
        ours.retain(is_answer);
        theirs.retain(is_answer);
    }
    // A state that was told Non-confirmable and stays is told once more, Confirmable (RFC 7641 §4.5): there is no test of it.
    let told_again = |pair: &[&Message]| pair[1].kind == Type::Confirmable && pair[0].payload == pair[1].payload;
    if ours.len() == theirs.len() + 1 && ours.last_chunk::<2>().is_some_and(|last| told_again(last)) {
        ours.pop();
    }
    if ours.len() != theirs.len() {
        return Err(format!("{} messages to {name}, recorded {}: {}", ours.len(), theirs.len(), shown(&ours)));
    }
    for (ours, theirs) in ours.iter().zip(theirs) {
        is_alike(ours, theirs).map_err(|what| format!("another {what}: {ours}, recorded {theirs}"))?;
    }
    Ok(())
}

/// What the recorded server sent to a client, repetitions left out.
fn recorded<'a>(transcript: &'a Transcript, client: &str) -> Vec<&'a Message> {
    let mut sent: Vec<&Message> = Vec::new();
    for line in transcript.lines.iter().filter(|line| line.client == client && line.direction == Direction::ToClient) {
        if !sent.contains(&&line.message) {
            sent.push(&line.message);
        }
    }
    sent
}

fn path_of(request: &Message) -> String {
    request.options.uri_path().map(|segment| format!("/{}", String::from_utf8_lossy(segment))).collect()
}

/// Whether the resource that is asked for was changed at the recorded server itself since it was last asked: then there
/// is another ETag although no request has changed anything, or the newest ETag does not match.
fn changes_before(transcript: &Transcript, at: usize) -> bool {
    let request = &transcript.lines[at].message;
    let all = exchanges(&transcript.lines);
    let etag = |exchange: &Exchange<'_>| exchange.response.and_then(|(_, response)| response.options.etag());
    let Some(now) = all.iter().find(|exchange| exchange.at == at) else { return false };
    let before = all.iter().rev().filter(|exchange| exchange.at < at && exchange.path() == path_of(request));
    let mut since = before.take_while(|exchange| exchange.request.code == Code::GET).filter_map(etag);
    let Some(last) = since.next() else { return false };
    let refused = now.response.is_some_and(|(_, response)| response.code == Code::PRECONDITION_FAILED);
    match request.code {
        Code::GET => etag(now).is_some_and(|now| now != last),
        _ => refused && request.options.if_match().any(|wanted| wanted == last.as_bytes()),
    }
}

/// The same type, code, token, and Message ID where it is the client's.
fn is_alike(ours: &Message, theirs: &Message) -> Result<(), &'static str> {
    // Both are right where something is stored; which depends on what was there.
    let stored = [Code::CREATED, Code::CHANGED];
    let codes = ours.code == theirs.code || (stored.contains(&ours.code) && stored.contains(&theirs.code));
    let answers = matches!(ours.kind, Type::Acknowledgement | Type::Reset);
    let content = ours.code != Code::CONTENT || ours.payload.is_empty() == theirs.payload.is_empty();
    let wanted = theirs.options.block2().map_or(usize::MAX, |block| block.size());
    let number = |message: &Message| message.options.block2().map_or(0, Block::num);
    // A server may choose for each notification (RFC 7641 §4.5), and which error ends an observation (§4.2).
    let observes = |message: &Message| message.options.observe().is_some() && message.kind != Type::Acknowledgement;
    let told = observes(ours) && observes(theirs);
    let ended = ours.kind == Type::Confirmable && ours.code.is_error() && theirs.code.is_error();
    match () {
        () if ours.kind != theirs.kind && !told => Err("type"),
        () if ours.options.observe().is_some() != theirs.options.observe().is_some() => Err("Observe"),
        () if number(ours) != number(theirs) => Err("block"),
        () if !codes && !ended => Err("code"),
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

fn shown(messages: &[&Message]) -> String {
    messages.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Server {
    fn new() -> Self {
        Self {
            endpoint: Endpoint::new(Config::default(), ChaCha8Rng::seed_from_u64(1)),
            plugtest: PlugtestServer::new(),
            now: Instant::from_secs(1_000),
            sent: BTreeMap::new(),
            changes: 0,
        }
    }

    /// What the recorded client sent comes to us.
    fn hear(
        &mut self,
        transcript: &Transcript,
        peers: &BTreeMap<String, Peer>,
        peer: Peer,
        at: usize,
    ) -> Result<(), String> {
        let Line { client, message, .. } = &transcript.lines[at];
        let mut message = message.clone();
        if matches!(message.kind, Type::Acknowledgement | Type::Reset) {
            // It is about the n-th message of the recorded server; our n-th has another Message ID. Of what was not
            // acknowledged we may have sent less.
            let is_it = |sent: &&Message| sent.message_id == message.message_id && sent.kind != Type::Acknowledgement;
            let nth = recorded(transcript, client).iter().position(is_it);
            let nth = nth.ok_or_else(|| format!("{message} answers nothing"))?;
            let last =
                self.sent.get(&peer).and_then(|sent| sent.last()).filter(|last| last.options.observe().is_some());
            let known = self.sent.get(&peer).is_some_and(|sent| sent.len() > nth);
            message.message_id = match last.filter(|_| !known) {
                Some(last) => last.message_id,
                None => self.nth(peer, nth)?.message_id,
            };
        }
        if message.code.is_request() {
            if changes_before(transcript, at) {
                let path = path_of(&message);
                self.changes += 1;
                let content = format!("change {}", self.changes);
                self.plugtest.set(&mut self.endpoint, self.now, &path, None, content.into());
            }
            message.options = self.with_our_etags(transcript, peers, &message.options)?;
        }
        self.receive(peer, &message);
        Ok(())
    }

    /// What the recorded server told of something observed has happened here too.
    fn follow(&mut self, transcript: &Transcript, at: usize) {
        let Some(asked) = transcript.registration_of(at).filter(|_| !transcript.is_repeated(at)) else { return };
        let (path, told) = (path_of(asked), &transcript.lines[at].message);
        if told.code == Code::NOT_FOUND {
            self.plugtest.remove(&mut self.endpoint, self.now, &path);
        } else if told.code.is_success() {
            self.plugtest.set(&mut self.endpoint, self.now, &path, None, told.payload.clone());
        }
        self.drain();
        // Ours may be Confirmable where theirs was not; the client would have acknowledged it.
        if told.kind == Type::NonConfirmable {
            let own = self.sent.values().flatten().rfind(|sent| sent.token == told.token);
            let own = own.filter(|own| own.kind == Type::Confirmable).map(|own| own.message_id);
            let peer = self.sent.iter().find(|(_, sent)| sent.iter().any(|sent| sent.token == told.token));
            if let (Some(message_id), Some(peer)) = (own, peer.map(|(peer, _)| *peer)) {
                self.receive(peer, &Message::empty(Type::Acknowledgement, message_id));
            }
        }
    }

    fn receive(&mut self, from: Peer, message: &Message) {
        let mut datagram = vec![0; message.encoded_len()];
        message.encode(&mut datagram).unwrap();
        let datagram = Datagram { from, to: Local::default(), payload: Bytes::from(datagram) };
        self.endpoint.handle_datagram(self.now, datagram);
        self.drain();
    }

    /// The options of a recorded request, with our ETags for those that the recorded server gave in the same place.
    fn with_our_etags(
        &self,
        transcript: &Transcript,
        peers: &BTreeMap<String, Peer>,
        recorded_options: &Options,
    ) -> Result<Options, String> {
        let ours = |theirs: &[u8]| {
            peers.iter().find_map(|(name, peer)| {
                let is_it = |sent: &&Message| sent.options.get(OptionNumber::ETAG) == Some(theirs);
                let nth = recorded(transcript, name).iter().position(is_it)?;
                self.sent.get(peer)?.get(nth)?.options.etag()
            })
        };
        let mut options = Options::new();
        for (number, value) in recorded_options {
            let own = matches!(number, OptionNumber::ETAG | OptionNumber::IF_MATCH).then(|| ours(value)).flatten();
            let value = own.as_ref().map_or(value, ETag::as_bytes);
            options.push_raw(number, value).map_err(|error| error.to_string())?;
        }
        Ok(options)
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
        let due = self.endpoint.poll_timeout().into_iter().chain(self.plugtest.next_time()).min();
        let Some(due) = due.filter(|due| *due <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(due);
        self.endpoint.handle_timeout(self.now);
        self.plugtest.on_time(&mut self.endpoint, self.now);
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
            self.plugtest.on_event(&mut self.endpoint, self.now, event);
        }
    }
}

/// A client that validates what it has, and writes on the condition that nobody else did, as in CORE_21 and CORE_22; twice
/// something changes at the server in between.
#[test]
fn entity_tags_and_local_changes_are_carried_over() {
    let line = |n: u16, kind, code, payload: &'static str, option: Option<(OptionNumber, u8)>| {
        let mut options = Options::new();
        if code < Code::CREATED {
            options.push_uri_path("validate").unwrap();
        }
        if let Some((number, tag)) = option {
            options.push(number, &[tag]).unwrap();
        }
        let token = Token::new(&[0xaa]).unwrap();
        let message = Message { kind, code, message_id: n, token, options, payload: payload.into() };
        let to_server = kind == Type::Confirmable;
        let direction = if to_server { Direction::ToServer } else { Direction::ToClient };
        Line { at: Duration::from_secs(n.into()), direction, client: "C1".into(), message }
    };
    let (etag, if_match) = (OptionNumber::ETAG, OptionNumber::IF_MATCH);
    let steps = [
        (Code::GET, "", None, Code::CONTENT, "one", Some((etag, 1))),
        (Code::GET, "", Some((etag, 1)), Code::VALID, "", Some((etag, 1))),
        (Code::GET, "", Some((etag, 1)), Code::CONTENT, "two", Some((etag, 2))),
        (Code::PUT, "three", Some((if_match, 2)), Code::CHANGED, "", None),
        (Code::GET, "", None, Code::CONTENT, "three", Some((etag, 3))),
        (Code::PUT, "four", Some((if_match, 3)), Code::PRECONDITION_FAILED, "", None),
    ];
    let lines = (1..).zip(steps).flat_map(|(n, (method, sent, asked, code, content, given))| {
        [line(n, Type::Confirmable, method, sent, asked), line(n, Type::Acknowledgement, code, content, given)]
    });
    let lines = lines.collect();
    let transcript = Transcript { id: "made up".into(), test: "CORE_22".into(), verdict: Verdict::Pass, lines };
    assert_eq!(replay(&transcript), Ok(()));
    assert_eq!(changes(&transcript), [4, 10]);

    // Nothing of it is taken for granted.
    let mut other = transcript;
    other.lines[7].message.code = Code::PRECONDITION_FAILED;
    other.lines[6].message.options.set(if_match, &[1]).unwrap();
    assert_eq!(replay(&other), Ok(()));
    other.lines[7].message.code = Code::CHANGED;
    assert!(replay(&other).is_err());
}

/// Before which messages something has changed at the server.
fn changes(transcript: &Transcript) -> Vec<usize> {
    (0..transcript.lines.len()).filter(|at| changes_before(transcript, *at)).collect()
}
