//! What must hold after every step of an endpoint, whatever the network does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use coap_core::{
    BodyId, Config, DecodeError, Endpoint, Event, Format, Instant, Malformed, Message, Peer, RequestId, Stats, Token,
    Transmit, Type, UnprovenLimit, Usage,
};

use self::account::Accounts;
use crate::trace::Fnv;

/// How often a timer may be called at one instant without anything to be seen of it. `Endpoint::handle_timeout` does
/// its work in portions, and deciding to wait on shows nowhere.
const IDLE_CALLS: u32 = 1_000;

/// Looks over the shoulder of one endpoint, and panics when something happens that must not.
///
/// | invariant | |
/// |---|---|
/// | 1 | an acknowledgement, a Reset, a datagram of another version is answered with nothing; a multicast with no error (RFC 7252 §3, §4.2, §8.2) |
/// | 2 | a request gets one response at most, with a token that was sent to the peer that answers (§5.3.2); an observation nothing after its end |
/// | 3 | a Message ID means one message towards a peer inside EXCHANGE_LIFETIME (§4.4) |
/// | 4 | a request is handed up once inside its lifetime, while nothing had to be forgotten early (§4.5) |
/// | 5 | a retransmission is the same bytes (§4.2); a notification that supersedes one in flight has another Message ID, and is repeated no sooner and no more often than that (RFC 7641 §4.5.2) |
/// | 6 | a timer that is due does something, and then is not due any more |
/// | 7 | what is sent is a sound message of at most `max_datagram` bytes, to somebody who may get it |
/// | 8 | each datagram is counted in what became of it |
/// | 9 | with `UnprovenLimit::All`, an address that has not proven itself is sent 136 bytes in a datagram, and three times what came from it in all, at most (RFC 9175 §2.4) |
/// | 10 | nothing is left of a peer when all has been over and quiet for EXCHANGE_LIFETIME; observers are not over |
/// | 11 | the parts of a body come in order, without a gap, and none behind its end |
/// | 12 | each notification to an observer has a newer number than the one before (RFC 7641 §4.4) |
/// | 13 | no table is fuller than [`bounded`](Self::bounded) says |
///
/// Lifetimes are those of the endpoint's settings: a peer with transmission parameters of its own is not known here.
#[derive(Debug)]
pub struct Watch {
    name: String,
    seed: u64,
    max_datagram: usize,
    /// It speaks extended tokens (RFC 8974).
    extended_tokens: bool,
    exchange_lifetime: core::time::Duration,
    non_lifetime: core::time::Duration,
    ack_timeout: core::time::Duration,
    most_copies: u32,
    bound: Option<Usage>,
    /// What passed between it and those who have not proven their address, if that is limited.
    accounts: Option<Accounts>,
    /// What we sent under which Message ID, to whom and when first, and in the order in which that is forgotten.
    sent: BTreeMap<(Peer, u16), Sent>,
    sent_order: VecDeque<(Instant, Peer, u16)>,
    /// Which requests were handed up, and until when their Message IDs are taken.
    executed: BTreeMap<(Peer, u16), Instant>,
    executed_order: VecDeque<(Instant, Peer, u16)>,
    /// The tokens of requests sent and not yet answered, or of blocks of them.
    open: BTreeSet<(Peer, Token)>,
    /// Confirmable notifications that nobody has acknowledged.
    unacknowledged: BTreeMap<(Peer, Token), Copies>,
    /// The last Observe number that was sent, and when.
    told: BTreeMap<(Peer, Token), (u32, Instant)>,
    bodies: BTreeMap<BodyId, Progress>,
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

/// How often a Confirmable notification was sent, in whatever state, since anything was last heard of it.
#[derive(Debug)]
struct Copies {
    count: u32,
    last: Instant,
}

/// How much of a body has come, in bytes.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    UpTo(u64),
    Ended,
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
            extended_tokens: config.max_token_len() > Token::MAX_LEN,
            exchange_lifetime: config.transmission().exchange_lifetime(),
            non_lifetime: config.transmission().non_lifetime(),
            ack_timeout: config.transmission().ack_timeout(),
            most_copies: u32::from(config.transmission().max_retransmit()) + 1,
            bound: None,
            accounts: (config.unproven_limit() == UnprovenLimit::All).then(Accounts::default),
            sent: BTreeMap::new(),
            sent_order: VecDeque::new(),
            executed: BTreeMap::new(),
            executed_order: VecDeque::new(),
            open: BTreeSet::new(),
            unacknowledged: BTreeMap::new(),
            told: BTreeMap::new(),
            bodies: BTreeMap::new(),
            ended: BTreeSet::new(),
            of_groups: BTreeSet::new(),
            last_change: Instant::ZERO,
            before: (Usage::default(), Stats::default()),
            idle_calls: (Instant::ZERO, 0),
        }
    }

    /// Says how full the tables may be, each by itself. The settings of an endpoint cannot be asked for it.
    #[must_use]
    pub const fn bounded(mut self, most: Usage) -> Self {
        self.bound = Some(most);
        self
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
            Cause::Datagram { payload, .. } => Some(self.decode((*payload).clone())),
            _ => None,
        };
        if let (Cause::Datagram { from, .. }, Some(Ok(message))) = (cause, &cause_message) {
            self.hear(*from, message);
        }
        if let Cause::Datagram { from, payload, .. } = cause {
            self.receive(*from, payload, cause_message.as_ref().and_then(|message| message.as_ref().ok()));
        }
        for (transmit, bytes) in sent {
            let message = self.check_sound(now, transmit, bytes);
            if let Some(wrong) = self.accounts.as_mut().and_then(|all| all.send(transmit.to, bytes.len(), &message)) {
                self.broken(9, now, format_args!("sent {message} to {}: {wrong}", transmit.to));
            }
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
                Event::Notification { id, .. } => self.check_notification(now, *id, cause, cause_message.as_ref()),
                Event::Stale { id } | Event::Reregistering { id, .. } => self.check_goes_on(now, *id),
                Event::BodyPart { id, offset, data, last } => {
                    self.check_part(now, *id, *offset, data.len() as u64, *last);
                }
                Event::BodyFailed { id, .. } => self.end_body(now, *id),
                _ => {}
            }
        }
        let after = (endpoint.usage(), stats);
        let changed = !sent.is_empty() || !events.is_empty();
        // An exchange that ends, be it in silence, is the last that was heard of its peer.
        let open = |usage: &Usage| (usage.requests, usage.incoming, usage.in_flight, usage.transfers, usage.observers);
        if changed || !matches!(cause, Cause::Timer) || open(&after.0) != open(&self.before.0) {
            self.last_change = now;
        }
        if matches!(cause, Cause::Timer) {
            self.check_timer(now, changed || after != self.before, endpoint);
        }
        self.check_bound(now, &after.0);
        if after.0.requests == 0 && self.before.0.requests > 0 {
            self.open.clear();
        }
        self.before = after;
    }

    /// Nobody has called the endpoint for some time: is anything left that should have gone?
    pub fn check_rest(&self, now: Instant, endpoint: &Endpoint) {
        let mut usage = endpoint.usage();
        if usage.observers > 0 {
            return;
        }
        // What can be observed is the application's, and stays.
        usage.topics = 0;
        let quiet = now - self.last_change > self.exchange_lifetime;
        if quiet && usage.requests == 0 && usage.incoming == 0 && usage != Usage::default() {
            self.broken(10, now, format_args!("quiet since {}, and {usage:?} is left", self.last_change));
        }
        if endpoint.poll_timeout().is_none() && usage != Usage::default() && endpoint.is_idle() {
            self.broken(10, now, format_args!("no timer, and {usage:?} is left"));
        }
    }

    /// What a peer says of what it was sent.
    fn hear(&mut self, from: Peer, message: &Message) {
        let token = match message.kind {
            Type::Acknowledgement | Type::Reset => {
                self.sent.get(&(from, message.message_id)).map(|sent| sent.token.clone())
            }
            // What is said to a request is a new matter.
            _ if message.code.is_request() => Some(message.token.clone()),
            _ => None,
        };
        if let Some(token) = token {
            self.unacknowledged.remove(&(from, token));
        }
    }

    /// Who is heard of, and whether it shows that it gets what we send.
    fn receive(&mut self, from: Peer, payload: &Bytes, message: Option<&Message>) {
        let Some(accounts) = &mut self.accounts else { return };
        let answers = message.is_some_and(|message| match message.kind {
            Type::Acknowledgement | Type::Reset => self.sent.contains_key(&(from, message.message_id)),
            _ => message.code.is_response() && self.open.contains(&(from, message.token.clone())),
        });
        accounts.receive(from, payload.len(), message, answers);
    }

    // ----- One invariant each --------------------------------------------------------------------------------------

    /// Reads a datagram as the endpoint does.
    fn decode(&self, datagram: Bytes) -> Result<Message, DecodeError> {
        if self.extended_tokens { Message::decode_extended(datagram) } else { Message::decode(datagram) }
    }

    /// 7, as far as a datagram shows it by itself.
    fn check_sound(&self, now: Instant, transmit: &Transmit, bytes: &Bytes) -> Message {
        let message = self.decode(bytes.clone()).unwrap_or_else(|error| {
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
        // The turn of a notification can come with an acknowledgement: of the one before.
        let notifies = !matches!(sent.kind, Type::Acknowledgement | Type::Reset)
            && (sent.options.observe().is_some() || self.told.contains_key(&(transmit.to, sent.token.clone())));
        let is_answer =
            matches!(sent.kind, Type::Acknowledgement | Type::Reset) || (sent.code.is_response() && !notifies);
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
        if message.kind == Type::Confirmable && message.options.observe().is_some() && message.code.is_response() {
            self.check_copy(now, to, message);
        }
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
        if message.code.is_response() {
            self.check_number(now, to, message);
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

    /// 2, for what is observed. A state that came in blocks comes with the last of them.
    fn check_notification(
        &self,
        now: Instant,
        id: RequestId,
        cause: &Cause<'_>,
        message: Option<&Result<Message, DecodeError>>,
    ) {
        let is_open = |from: Peer, message: &Message| self.open.contains(&(from, message.token.clone()));
        match (cause, message) {
            (Cause::Datagram { from, .. }, Some(Ok(message))) if is_open(*from, message) => {}
            _ => self.broken(2, now, format_args!("a new state for {id:?}, and no datagram that brings it")),
        }
        self.check_goes_on(now, id);
    }

    /// 2
    fn check_goes_on(&self, now: Instant, id: RequestId) {
        if self.ended.contains(&id) {
            self.broken(2, now, format_args!("{id:?} has ended, and goes on"));
        }
    }

    /// 5, for Confirmable notifications, whether or not they say the same as before.
    fn check_copy(&mut self, now: Instant, to: Peer, message: &Message) {
        let key = (to, message.token.clone());
        let Some(copies) = self.unacknowledged.get_mut(&key) else {
            self.unacknowledged.insert(key, Copies { count: 1, last: now });
            return;
        };
        let gap = now - copies.last;
        copies.count += 1;
        copies.last = now;
        let count = copies.count;
        if gap < self.ack_timeout {
            self.broken(5, now, format_args!("{message} to {to} follows {gap:?} after what it repeats or supersedes"));
        }
        if count > self.most_copies {
            self.broken(5, now, format_args!("{message} to {to} is the {count}th without an acknowledgement"));
        }
    }

    /// 12. What rides on an acknowledgement does not come here: it may be an old one, repeated for a duplicate.
    fn check_number(&mut self, now: Instant, to: Peer, message: &Message) {
        let Some(number) = message.options.observe() else { return };
        let before = self.told.insert((to, message.token.clone()), (number, now));
        let Some((before, since)) = before else { return };
        let newer = (1..1 << 23).contains(&(number.wrapping_sub(before) & 0xff_ffff));
        if !newer && now - since <= core::time::Duration::from_secs(128) {
            self.broken(12, now, format_args!("{message} to {to} follows {before} of {since}"));
        }
    }

    /// 11
    fn check_part(&mut self, now: Instant, id: BodyId, offset: u64, len: u64, last: bool) {
        let fits = match self.bodies.get(&id) {
            Some(Progress::UpTo(end)) => *end == offset,
            Some(Progress::Ended) => false,
            None => true,
        };
        if !fits {
            let before = self.bodies.get(&id);
            self.broken(11, now, format_args!("{len} bytes of {id:?} from {offset} on, after {before:?}"));
        }
        self.bodies.insert(id, if last { Progress::Ended } else { Progress::UpTo(offset + len) });
    }

    /// 11
    fn end_body(&mut self, now: Instant, id: BodyId) {
        if self.bodies.insert(id, Progress::Ended) == Some(Progress::Ended) {
            self.broken(11, now, format_args!("{id:?} ended twice"));
        }
    }

    /// 13
    fn check_bound(&self, now: Instant, usage: &Usage) {
        let Some(bound) = &self.bound else { return };
        let tables = |usage: &Usage| {
            [
                usage.peers,
                usage.remembered,
                usage.requests,
                usage.incoming,
                usage.transfers,
                usage.transfer_bytes,
                usage.observers,
            ]
        };
        if tables(usage).iter().zip(tables(bound)).any(|(used, most)| *used > most) {
            self.broken(13, now, format_args!("{usage:?} is more than {bound:?}"));
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

mod account;
#[cfg(test)]
mod tests;
