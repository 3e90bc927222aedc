//! What must hold after every step of an endpoint, whatever the network does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use coap_core::{
    Config, DecodeError, Endpoint, Event, Format, Instant, Malformed, Message, Peer, RequestId, Stats, Token, Transmit,
    Type, Usage,
};

use crate::trace::Fnv;

/// How often a timer may be called at one instant without anything to be seen of it. `Endpoint::handle_timeout` does
/// its work in portions, and deciding to wait on shows nowhere.
const IDLE_CALLS: u32 = 1_000;

/// Looks over the shoulder of one endpoint, and panics when something happens that must not.
///
/// | invariant | |
/// |---|---|
/// | 1 | an acknowledgement, a Reset, a datagram of another version is answered with nothing; a multicast with no error (RFC 7252 §3, §4.2, §8.2) |
/// | 2 | a request gets one response at most, with the token that was sent to the peer that answers (§5.3.2) |
/// | 3 | a Message ID means one message towards a peer inside EXCHANGE_LIFETIME (§4.4) |
/// | 4 | a request is handed up once inside its lifetime, while nothing had to be forgotten early (§4.5) |
/// | 5 | a retransmission is the same bytes (§4.2) |
/// | 6 | a timer that is due does something, and then is not due any more |
/// | 7 | what is sent is a sound message of at most `max_datagram` bytes, to somebody who may get it |
/// | 8 | each datagram is counted in what became of it |
/// | 10 | nothing is left of a peer when all has been over and quiet for EXCHANGE_LIFETIME |
///
/// Lifetimes are those of the endpoint's settings: a peer with transmission parameters of its own is not known here.
#[derive(Debug)]
pub struct Watch {
    name: String,
    seed: u64,
    max_datagram: usize,
    exchange_lifetime: core::time::Duration,
    non_lifetime: core::time::Duration,
    /// What we sent under which Message ID, to whom and when first, and in the order in which that is forgotten.
    sent: BTreeMap<(Peer, u16), Sent>,
    sent_order: VecDeque<(Instant, Peer, u16)>,
    /// Which requests were handed up, and until when their Message IDs are taken.
    executed: BTreeMap<(Peer, u16), Instant>,
    executed_order: VecDeque<(Instant, Peer, u16)>,
    /// The tokens of requests sent and not yet answered.
    open: BTreeSet<(Peer, Token)>,
    ended: BTreeSet<RequestId>,
    /// Multicast requests without No-Response, which get no errors.
    of_groups: BTreeSet<(Peer, Token)>,
    last_change: Instant,
    before: (Usage, Stats),
    idle_calls: (Instant, u32),
}

#[derive(Debug)]
struct Sent {
    since: Instant,
    token: Token,
    hash: u64,
}

/// What made an endpoint do something.
#[derive(Debug)]
pub enum Cause<'a> {
    /// A datagram.
    Datagram {
        /// Who sent it.
        from: Peer,
        /// Whether it came to a group.
        multicast: bool,
        /// Its bytes.
        payload: &'a Bytes,
    },
    /// Time.
    Timer,
    /// The application.
    Command,
}

impl Watch {
    /// Watches the endpoint `name` with these settings from its start on. `seed` is named when something is wrong.
    pub fn new(name: &str, seed: u64, config: &Config) -> Self {
        Self {
            name: name.to_owned(),
            seed,
            max_datagram: config.max_datagram(),
            exchange_lifetime: config.transmission().exchange_lifetime(),
            non_lifetime: config.transmission().non_lifetime(),
            sent: BTreeMap::new(),
            sent_order: VecDeque::new(),
            executed: BTreeMap::new(),
            executed_order: VecDeque::new(),
            open: BTreeSet::new(),
            ended: BTreeSet::new(),
            of_groups: BTreeSet::new(),
            last_change: Instant::ZERO,
            before: (Usage::default(), Stats::default()),
            idle_calls: (Instant::ZERO, 0),
        }
    }

    /// The endpoint was called because of `cause`, and has then sent and said this, all of it.
    pub fn check(
        &mut self,
        now: Instant,
        cause: &Cause<'_>,
        sent: &[(Transmit, Bytes)],
        events: &[Event],
        endpoint: &Endpoint,
    ) {
        let stats = endpoint.stats();
        if stats.accounted() != stats.datagrams_received {
            self.broken(
                8,
                now,
                format_args!("{} received, {} accounted for", stats.datagrams_received, stats.accounted()),
            );
        }
        self.forget(now);
        let cause_message = match cause {
            Cause::Datagram { payload, .. } => Some(Message::decode((*payload).clone())),
            _ => None,
        };
        for (transmit, bytes) in sent {
            let message = self.check_sound(now, transmit, bytes);
            if let Cause::Datagram { from, multicast, .. } = cause {
                self.check_answer(now, *from, *multicast, cause_message.as_ref(), transmit, &message);
            }
            self.check_sent(now, transmit, bytes, &message);
        }
        for event in events {
            match event {
                Event::Request(request) => self.check_executed(now, request, &stats),
                Event::Response { id, from, .. } => {
                    self.check_response(now, *id, *from, cause_message.as_ref());
                }
                Event::Failed { id, .. } | Event::Pong { id, .. } | Event::Finished { id } => self.end(now, *id),
                _ => {}
            }
        }
        let after = (endpoint.usage(), stats);
        let changed = !sent.is_empty() || !events.is_empty();
        // An exchange that ends, be it in silence, is the last that was heard of its peer.
        let open = |usage: &Usage| (usage.requests, usage.incoming, usage.in_flight);
        if changed || !matches!(cause, Cause::Timer) || open(&after.0) != open(&self.before.0) {
            self.last_change = now;
        }
        if matches!(cause, Cause::Timer) {
            self.check_timer(now, changed || after != self.before, endpoint);
        }
        self.before = after;
    }

    /// Nobody has called the endpoint for some time: is anything left that should have gone?
    pub fn check_rest(&self, now: Instant, endpoint: &Endpoint) {
        let usage = endpoint.usage();
        let quiet = now - self.last_change > self.exchange_lifetime;
        if quiet && usage.requests == 0 && usage.incoming == 0 && usage != Usage::default() {
            self.broken(10, now, format_args!("quiet since {}, and {usage:?} is left", self.last_change));
        }
        if endpoint.poll_timeout().is_none() && usage != Usage::default() && endpoint.is_idle() {
            self.broken(10, now, format_args!("no timer, and {usage:?} is left"));
        }
    }

    // ----- One invariant each --------------------------------------------------------------------------------------

    /// 7, as far as a datagram shows it by itself.
    fn check_sound(&self, now: Instant, transmit: &Transmit, bytes: &Bytes) -> Message {
        let message = Message::decode(bytes.clone()).unwrap_or_else(|error| {
            self.broken(7, now, format_args!("sent {bytes:02x?}: {error}"));
        });
        let finding = finding(&message).or_else(|| {
            let is_request = message.kind == Type::NonConfirmable && message.code.is_request();
            match () {
                () if bytes.len() > self.max_datagram => Some("longer than max_datagram"),
                () if transmit.to.is_multicast() && !is_request => Some("to a group, and no request that may go there"),
                () if transmit.from.group.is_some() => Some("from a group"),
                () => None,
            }
        });
        if let Some(finding) = finding {
            self.broken(7, now, format_args!("sent {message} to {}: {finding}", transmit.to));
        }
        message
    }

    /// 1
    fn check_answer(
        &self,
        now: Instant,
        from: Peer,
        multicast: bool,
        cause: Option<&Result<Message, DecodeError>>,
        transmit: &Transmit,
        sent: &Message,
    ) {
        let is_answer = matches!(sent.kind, Type::Acknowledgement | Type::Reset) || sent.code.is_response();
        let forbidden = match cause {
            Some(Err(DecodeError { reason: Malformed::BadVersion | Malformed::ShortHeader, .. })) => true,
            Some(Ok(Message { kind: Type::Acknowledgement | Type::Reset, .. })) => is_answer,
            _ => multicast && is_answer && !sent.code.is_success(),
        };
        if forbidden && transmit.to == from {
            self.broken(1, now, format_args!("{sent} in answer to {}", Shown(cause)));
        }
    }

    /// 3 and 5, and 1 for the errors that a multicast request would get from the application.
    fn check_sent(&mut self, now: Instant, transmit: &Transmit, bytes: &Bytes, message: &Message) {
        let (to, token) = (transmit.to, message.token.clone());
        if message.code.is_error() && self.of_groups.contains(&(to, token.clone())) {
            self.broken(1, now, format_args!("{message} in answer to a multicast request"));
        }
        if matches!(message.kind, Type::Acknowledgement | Type::Reset) {
            return;
        }
        let hash = Fnv::of(bytes);
        let key = (to, message.message_id);
        match self.sent.get(&key) {
            Some(first) if first.hash == hash => return,
            Some(first) if first.token == token && message.kind == Type::Confirmable => {
                self.broken(5, now, format_args!("{message} repeated to {to} in other bytes than at {}", first.since));
            }
            Some(first) => {
                self.broken(3, now, format_args!("{message} to {to} has the Message ID of {}", first.since));
            }
            None => {}
        }
        if message.code.is_request() {
            self.open.insert((to, token.clone()));
        }
        self.sent.insert(key, Sent { since: now, token, hash });
        self.sent_order.push_back((now + self.exchange_lifetime, to, message.message_id));
    }

    /// 2
    fn check_response(
        &mut self,
        now: Instant,
        id: RequestId,
        from: Peer,
        cause: Option<&Result<Message, DecodeError>>,
    ) {
        let Some(Ok(message)) = cause.filter(|cause| matches!(cause, Ok(message) if message.code.is_response())) else {
            self.broken(2, now, format_args!("a response of {from} to {id:?}, and no datagram that carries one"));
        };
        let token = message.token.clone();
        if self.open.remove(&(from, token.clone())) {
            return self.end(now, id);
        }
        let of_group = self.open.iter().any(|(to, open)| to.is_multicast() && *open == token);
        if !of_group || self.ended.contains(&id) {
            self.broken(2, now, format_args!("{message} of {from} was delivered for {id:?}, which is not open"));
        }
    }

    fn end(&mut self, now: Instant, id: RequestId) {
        if !self.ended.insert(id) {
            self.broken(2, now, format_args!("{id:?} ended twice"));
        }
    }

    /// 4
    fn check_executed(&mut self, now: Instant, request: &coap_core::IncomingRequest, stats: &Stats) {
        let (peer, message_id) = (request.peer, request.message_id);
        let of_group = (peer, request.token.clone());
        if request.local.group.is_some() && request.request.options.no_response().is_none() {
            self.of_groups.insert(of_group);
        } else {
            self.of_groups.remove(&of_group);
        }
        let mut excused = stats.forgotten_early + stats.peers_evicted;
        if request.request.code.is_idempotent() {
            excused += stats.replies_forgotten + stats.served_unremembered;
        }
        let until = self.executed.get(&(peer, message_id)).copied();
        if excused == 0 && until.is_some_and(|until| now < until) {
            let code = request.request.code;
            self.broken(4, now, format_args!("{code} id=0x{message_id:04x} of {peer} was handed up twice"));
        }
        let lifetime = if request.kind == Type::Confirmable { self.exchange_lifetime } else { self.non_lifetime };
        self.executed.insert((peer, message_id), now + lifetime);
        self.executed_order.push_back((now + self.exchange_lifetime, peer, message_id));
    }

    /// 6
    fn check_timer(&mut self, now: Instant, changed: bool, endpoint: &Endpoint) {
        let due_again = endpoint.poll_timeout().is_some_and(|due| due <= now);
        let (at, calls) = self.idle_calls;
        self.idle_calls = (now, if at != now || changed || !due_again { 0 } else { calls + 1 });
        if self.idle_calls.1 > IDLE_CALLS {
            self.broken(6, now, format_args!("a timer is due again and again, and nothing comes of it"));
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((peer, message_id)) = pop_due(&mut self.sent_order, now) {
            self.sent.remove(&(peer, message_id));
        }
        while let Some((peer, message_id)) = pop_due(&mut self.executed_order, now) {
            // It may have been handed up again since, rightly.
            if self.executed.get(&(peer, message_id)).is_some_and(|until| *until <= now) {
                self.executed.remove(&(peer, message_id));
            }
        }
    }

    #[cold]
    #[track_caller]
    fn broken(&self, invariant: u8, now: Instant, what: core::fmt::Arguments<'_>) -> ! {
        panic!("invariant {invariant} is broken at {now} by {} (COAP_SEED={}): {what}", self.name, self.seed);
    }
}

fn pop_due(queue: &mut VecDeque<(Instant, Peer, u16)>, now: Instant) -> Option<(Peer, u16)> {
    let (_, peer, message_id) = *queue.front().filter(|(until, ..)| *until <= now)?;
    queue.pop_front();
    Some((peer, message_id))
}

/// What is wrong with a message that decodes.
fn finding(message: &Message) -> Option<&'static str> {
    let (kind, code) = (message.kind, message.code);
    let sense = match kind {
        Type::Confirmable => code.is_empty() || code.is_request() || code.is_response(),
        Type::NonConfirmable => code.is_request() || code.is_response(),
        Type::Acknowledgement => code.is_empty() || code.is_response(),
        Type::Reset => code.is_empty(),
    };
    let text = |(number, value): (coap_core::OptionNumber, &[u8])| {
        let is_text = number.definition().is_some_and(|definition| definition.format == Format::String);
        !is_text || core::str::from_utf8(value).is_ok()
    };
    match () {
        () if !sense => Some("this type does not go with this code"),
        () if message.options.check(|_| true).is_err() => Some("a critical option is malformed"),
        () if message.options.has_bad_elective() => Some("an elective option is malformed"),
        () if !message.options.iter().all(text) => Some("an option is not UTF-8"),
        () => None,
    }
}

struct Shown<'a>(Option<&'a Result<Message, DecodeError>>);

impl core::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(Ok(message)) => message.fmt(f),
            Some(Err(error)) => error.fmt(f),
            None => f.write_str("nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;

    use coap_core::{Code, Local};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// A watch that is shown what no endpoint did.
    struct Liar {
        watch: Watch,
        endpoint: Endpoint,
    }

    fn peer() -> Peer {
        Peer::from(SocketAddr::from(([192, 0, 2, 1], 1_000)))
    }

    fn liar() -> Liar {
        let config = Config::default();
        let watch = Watch::new("liar", 7, &config);
        Liar { watch, endpoint: Endpoint::new(config, ChaCha8Rng::seed_from_u64(1)) }
    }

    impl Liar {
        fn sends(&mut self, secs: u64, cause: &Cause<'_>, message: &Message) {
            let mut bytes = vec![0; message.encoded_len()];
            message.encode(&mut bytes).unwrap();
            let transmit = Transmit { to: peer(), from: Local::default(), len: bytes.len() };
            let sent = [(transmit, Bytes::from(bytes))];
            self.watch.check(Instant::from_secs(secs), cause, &sent, &[], &self.endpoint);
        }

        fn says(&mut self, secs: u64, cause: &Cause<'_>, event: Event) {
            self.watch.check(Instant::from_secs(secs), cause, &[], &[event], &self.endpoint);
        }

        /// What the endpoint says to a datagram.
        fn receives(&mut self, to: Local, datagram: &'static [u8]) -> Event {
            let datagram = coap_core::Datagram { from: peer(), to, payload: Bytes::from_static(datagram) };
            self.endpoint.handle_datagram(Instant::ZERO, datagram);
            self.endpoint.poll_event().unwrap()
        }

        /// A response to a request that was never sent.
        fn response(&mut self) -> Event {
            let how = coap_core::RequestOptions::new();
            let id = self.endpoint.request(Instant::ZERO, peer(), coap_core::Request::get(), &how).unwrap();
            let response = coap_core::Response::new(Code::CONTENT);
            Event::Response { id, from: peer(), response, timing: coap_core::Timing::default() }
        }
    }

    fn get(token: &[u8]) -> Message {
        Message { code: Code::GET, token: Token::new(token).unwrap(), ..Message::empty(Type::Confirmable, 9) }
    }

    fn arrived(payload: &Bytes) -> Cause<'_> {
        Cause::Datagram { from: peer(), multicast: false, payload }
    }

    #[test]
    #[should_panic(expected = "invariant 1 is broken at 0.000000 by liar (COAP_SEED=7)")]
    fn a_reset_for_an_acknowledgement_is_found() {
        liar().sends(0, &arrived(&Bytes::from_static(&[0x60, 0, 0, 1])), &Message::empty(Type::Reset, 1));
    }

    #[test]
    #[should_panic(expected = "invariant 1")]
    fn a_reset_for_another_version_is_found() {
        liar().sends(0, &arrived(&Bytes::from_static(&[0x80, 1, 0, 1])), &Message::empty(Type::Reset, 1));
    }

    #[test]
    fn an_acknowledgement_may_give_the_next_request_its_turn() {
        liar().sends(0, &arrived(&Bytes::from_static(&[0x60, 0, 0, 1])), &get(b"a"));
    }

    #[test]
    #[should_panic(expected = "invariant 3")]
    fn a_message_id_used_twice_is_found() {
        let mut liar = liar();
        liar.sends(0, &Cause::Command, &get(b"a"));
        liar.sends(246, &Cause::Command, &get(b"b"));
    }

    #[test]
    fn a_message_id_is_free_again_after_its_lifetime() {
        let mut liar = liar();
        liar.sends(0, &Cause::Command, &get(b"a"));
        liar.sends(247, &Cause::Command, &get(b"b"));
    }

    #[test]
    #[should_panic(expected = "invariant 5")]
    fn a_changed_retransmission_is_found() {
        let mut liar = liar();
        liar.sends(0, &Cause::Command, &get(b"a"));
        liar.sends(2, &Cause::Timer, &Message { code: Code::POST, ..get(b"a") });
    }

    #[test]
    #[should_panic(expected = "invariant 7")]
    fn a_request_in_an_acknowledgement_is_found() {
        liar().sends(0, &Cause::Command, &Message { kind: Type::Acknowledgement, ..get(b"a") });
    }

    #[test]
    #[should_panic(expected = "invariant 1")]
    fn an_error_for_a_multicast_request_is_found() {
        let mut liar = liar();
        let request = liar.receives(Local::arrived(0, Some("ff02::fd".parse().unwrap()), 0), b"\x51\x01\x00\x09a");
        liar.says(0, &Cause::Command, request);
        let error = Message { kind: Type::NonConfirmable, code: Code::NOT_FOUND, ..get(b"a") };
        liar.sends(1, &Cause::Command, &error);
    }

    #[test]
    #[should_panic(expected = "invariant 2")]
    fn a_response_out_of_nothing_is_found() {
        let mut liar = liar();
        let response = liar.response();
        liar.says(0, &Cause::Timer, response);
    }

    #[test]
    #[should_panic(expected = "which is not open")]
    fn a_second_response_is_found() {
        let mut liar = liar();
        liar.sends(0, &Cause::Command, &get(b"a"));
        for payload in [&b"\x51\x45\x00\x01a"[..], &b"\x51\x45\x00\x02a"[..]] {
            let response = liar.response();
            liar.says(1, &arrived(&Bytes::from_static(payload)), response);
        }
    }

    #[test]
    #[should_panic(expected = "invariant 4")]
    fn a_request_handed_up_twice_is_found() {
        let mut liar = liar();
        for secs in [0, 246] {
            // Another endpoint each time, to which it is news.
            let request = self::liar().receives(Local::default(), b"\x41\x02\x00\x09a");
            liar.says(secs, &Cause::Command, request);
        }
    }

    #[test]
    #[should_panic(expected = "invariant 6")]
    fn a_timer_that_never_ends_is_found() {
        let mut liar = liar();
        liar.receives(Local::default(), b"\x41\x02\x00\x09a");
        // It is due, and this endpoint's handle_timeout is never called.
        for _ in 0..=IDLE_CALLS + 1 {
            liar.watch.check(Instant::from_secs(1), &Cause::Timer, &[], &[], &liar.endpoint);
        }
    }

    #[test]
    #[should_panic(expected = "invariant 10")]
    fn what_is_left_behind_is_found() {
        let mut liar = liar();
        let Event::Request(request) = liar.receives(Local::default(), b"\x41\x02\x00\x09a") else { panic!() };
        liar.endpoint.respond(Instant::ZERO, request.id, coap_core::Response::new(Code::CHANGED)).unwrap();
        liar.watch.check(Instant::ZERO, &Cause::Command, &[], &[], &liar.endpoint);
        liar.watch.check_rest(Instant::from_secs(247), &liar.endpoint);
        liar.watch.check_rest(Instant::from_secs(248), &liar.endpoint);
    }
}
