//! One observation of ours (RFC 7641 §3): what it was registered with, how fresh its state is, and what of it the
//! application has not been told yet.
//!
//! ```text
//!   Registering ──a notification──► Registered ──deregistered──► Leaving
//!                                    │      ▲
//!        Max-Age + 5 s: stale        │      │ an answer, or a notification
//!        Max-Age + 5..15 s: ─────────┴──────┘
//!        registered again, with pauses between attempts that fail
//! ```

use core::time::Duration;

use bytes::Bytes;

use super::order::Order;
use crate::exchange::OutgoingKey;
use crate::message::{Blocks, RequestOptions, Reregistration, Response};
use crate::time::Instant;
use crate::wire::{Code, ETag, Message, OptionNumber, Options, Token, Type};

/// RFC 7252 §5.10.5: the Max-Age of a response that does not say.
const DEFAULT_MAX_AGE: u32 = 60;

/// A notification that is sent when the one before expires needs a while to arrive. Without this grace a clock with
/// Max-Age 1 would go stale every second.
const GRACE: Duration = Duration::from_secs(5);

/// RFC 7641 §3.3.1: clients wait 5 to 15 s more than Max-Age before they register again, so that they do not all come at
/// once to a server that was away.
const LEAST_WAIT: Duration = Duration::from_secs(5);
const SPREAD: Duration = Duration::from_secs(10);

/// An observation.
pub(crate) struct Observing {
    registration: Registration,
    /// What its messages have in common with those of another (`KeyedHash::operation`), without a tag of ours, if the content
    /// that it was registered with makes the difference.
    pub(crate) key: Option<u64>,
    blocks: Blocks,
    how: Reregistration,
    phase: Phase,
    order: Order,
    /// There has been no state yet, and nothing has been said about that.
    blank: bool,
    /// When the state is too old to be trusted, until that has been told.
    stale_at: Option<Instant>,
    /// When it is registered again.
    again_at: Option<Instant>,
    /// How often it has been registered again in a row with nothing heard.
    attempt: u8,
    /// A newer state has come since it was registered the last time.
    overtaken: bool,
    /// What fetches the rest of a newer state, and when that arrived.
    fetch: Option<(OutgoingKey, Instant)>,
    /// The tag of the state that the application was told last.
    etag: Option<ETag>,
    untold: Untold,
}

/// The request, for each time that it is sent.
struct Registration {
    kind: Type,
    code: Code,
    token: Token,
    options: Options,
    payload: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has answered the first registration yet.
    Registering,
    /// The server has us on its list, as far as we know.
    Registered,
    /// The application has done with it; the server is being told.
    Leaving,
}

/// What the application has not been told yet. Each is a mark, so that any number of notifications between two polls
/// takes the place of one.
#[derive(Default)]
struct Untold {
    state: Option<Response>,
    stale: bool,
    attempt: Option<u8>,
}

/// What the application is told.
pub(crate) enum Tidings {
    State(Response),
    Stale,
    Reregistering { attempt: u8 },
}

/// What a message with the token of an observation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A newer state.
    News,
    /// A state that is not newer than the one known.
    Old,
    /// A response that ends the observation: an error, or one that is no notification (RFC 7641 §3.2, §4.2).
    End,
    /// The answer to the deregistration.
    Farewell,
}

/// Whether a message is the answer to a registration, or may come from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Answer,
    Unasked,
}

/// What becomes of an observation when a registration has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It goes on, and is registered again when its time has come.
    GoOn,
    /// That was the last attempt, or the first registration.
    GiveUp,
    /// Nobody waits for it.
    Forget,
}

impl Observing {
    /// An observation that `first` registers.
    pub(crate) fn new(first: &Message, key: Option<u64>, how: &RequestOptions) -> Self {
        let registration = Registration {
            kind: first.kind,
            code: first.code,
            token: first.token.clone(),
            options: first.options.clone(),
            payload: first.payload.clone(),
        };
        Self {
            registration,
            key,
            blocks: how.blocks.clone(),
            how: how.reregistration,
            phase: Phase::Registering,
            order: Order::default(),
            blank: true,
            stale_at: None,
            again_at: None,
            attempt: 0,
            overtaken: false,
            fetch: None,
            etag: None,
            untold: Untold::default(),
        }
    }

    /// Whether the first registration has been answered.
    pub(crate) fn is_registered(&self) -> bool {
        self.phase != Phase::Registering
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.phase == Phase::Leaving
    }

    /// Judges a response with its token, and takes its number down if it is news.
    pub(crate) fn judge(&mut self, now: Instant, place: Place, code: Code, number: Option<u32>) -> Verdict {
        if self.is_leaving() {
            return Verdict::Farewell;
        }
        let Some(number) = number.filter(|_| code.is_success()) else { return Verdict::End };
        self.phase = Phase::Registered;
        // New or old, it says that the server has us on its list.
        self.attempt = 0;
        // A server that was started again may count from 0, and one whose resource has not changed may answer with the
        // number that we know. But what came after the registration may have overtaken the answer.
        let newest = place == Place::Answer && !self.overtaken;
        if newest || self.order.is_newer(now, number) {
            self.order.advance(now, number);
            self.overtaken = true;
            return Verdict::News;
        }
        Verdict::Old
    }

    /// Takes a new state in, to be told. True: it takes the place of one that was not told. `draw` is 64 random bits.
    pub(crate) fn renew(&mut self, now: Instant, response: Response, draw: u64) -> bool {
        let max_age = Duration::from_secs(response.options.max_age().unwrap_or(DEFAULT_MAX_AGE).into());
        let wait = LEAST_WAIT + Duration::from_micros(((SPREAD.as_micros() * u128::from(draw)) >> 64) as u64);
        self.blank = false;
        self.stale_at = Some(now + max_age + GRACE);
        self.again_at = (self.how.attempts > 0).then(|| now + max_age + wait);
        let Untold { state, stale, attempt } = &mut self.untold;
        // They are over before anybody heard of them.
        (*stale, *attempt) = (false, None);
        let confirmed =
            |untold: &Response| response.code == Code::VALID && untold.options.etag() == response.options.etag();
        match state {
            // "Still the same" is worth less than what it is the same as.
            Some(untold) if confirmed(untold) => true,
            _ => state.replace(response).is_some(),
        }
    }

    /// When [`is_due`](Self::is_due) has something to say.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.stale_at.into_iter().chain(self.again_at).min()
    }

    /// Notes what is due. True: it must be registered again.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        self.untold.stale |= due(&mut self.stale_at);
        due(&mut self.again_at)
    }

    /// Registers it again: the same request with the same token, and the tag of the last state (RFC 7641 §3.3.1).
    /// `room`: how long the message may be.
    pub(crate) fn reregister(&mut self, room: usize) -> Message {
        self.attempt = self.attempt.saturating_add(1);
        self.overtaken = false;
        self.untold.attempt = Some(self.attempt);
        let plain = self.registration.message(0);
        let Some(etag) = &self.etag else { return plain };
        if plain.options.etags().any(|own| own == *etag) {
            return plain;
        }
        let mut tagged = plain.clone();
        tagged.options.push_etag(etag);
        if tagged.encoded_len() <= room { tagged } else { plain }
    }

    /// Ends it: the same request, with Observe 1, Confirmable (RFC 7641 §3.6). Nothing is told any more.
    pub(crate) fn leave(&mut self) -> Message {
        self.phase = Phase::Leaving;
        (self.stale_at, self.again_at) = (None, None);
        self.untold = Untold::default();
        Message { kind: Type::Confirmable, ..self.registration.message(1) }
    }

    /// A registration was not answered.
    pub(crate) fn on_failed(&mut self, now: Instant) -> Next {
        match self.phase {
            Phase::Registering => return Next::GiveUp,
            Phase::Leaving => return Next::Forget,
            Phase::Registered => {}
        }
        // If anything was heard meanwhile, it was the answer that was lost, and the attempts count anew.
        if self.attempt >= self.how.attempts {
            return Next::GiveUp;
        }
        self.rest(now);
        Next::GoOn
    }

    /// A registration was not sent, because the server wants none before then (RFC 8516 §4). That is no attempt, and says
    /// nothing of whether the server has us on its list.
    pub(crate) fn on_backed_off(&mut self, now: Instant, until: Instant) -> Next {
        if self.phase != Phase::Registered {
            return self.on_failed(now);
        }
        self.attempt = self.attempt.saturating_sub(1);
        self.untold.attempt = None;
        self.again_at = Some(until);
        Next::GoOn
    }

    /// Nothing of it is under way any more: it is registered again when the state has become old, or after a pause if that
    /// time has come already.
    pub(crate) fn rest(&mut self, now: Instant) {
        if self.again_at.is_none() && self.how.attempts > 0 {
            let doublings = u32::from(self.attempt.saturating_sub(1)).min(31);
            self.again_at = Some(now + self.how.pause.saturating_mul(1 << doublings));
        }
    }

    /// How the rest of a state is fetched: as it is registered, but for Observe, and without tags that could spare the answer
    /// its content.
    pub(crate) fn fetch(&self) -> (Code, Options, Blocks) {
        let mut options = self.registration.options.clone();
        for number in [OptionNumber::OBSERVE, OptionNumber::ETAG, OptionNumber::BLOCK2] {
            options.remove(number);
        }
        (self.registration.code, options, self.blocks.clone())
    }

    /// The method and the options that it was registered with.
    pub(crate) const fn asked(&self) -> (Code, &Options) {
        (self.registration.code, &self.registration.options)
    }

    /// What else it was registered with.
    pub(crate) fn ask(&self) -> (Type, Bytes) {
        (self.registration.kind, self.registration.payload.clone())
    }

    pub(crate) const fn set_fetch(&mut self, now: Instant, fetch: OutgoingKey) {
        self.fetch = Some((fetch, now));
    }

    pub(crate) const fn take_fetch(&mut self) -> Option<(OutgoingKey, Instant)> {
        self.fetch.take()
    }

    /// A newer state could not be fetched. If there is none before it that could go stale, that is told at once.
    pub(crate) fn miss(&mut self, now: Instant) {
        self.untold.stale |= core::mem::take(&mut self.blank);
        self.rest(now);
    }

    pub(crate) const fn is_fetching(&self) -> bool {
        self.fetch.is_some()
    }

    /// The next thing that the application must be told, in the order in which they happened.
    pub(crate) fn tell(&mut self) -> Option<Tidings> {
        if let Some(state) = self.untold.state.take() {
            // Only the tag of a state that the application has got: "still the same" must mean something to it.
            if state.code != Code::VALID || state.options.etag().is_some() {
                self.etag = state.options.etag();
            }
            return Some(Tidings::State(state));
        }
        if core::mem::take(&mut self.untold.stale) {
            return Some(Tidings::Stale);
        }
        self.untold.attempt.take().map(|attempt| Tidings::Reregistering { attempt })
    }

    pub(crate) const fn has_tidings(&self) -> bool {
        let Untold { state, stale, attempt } = &self.untold;
        state.is_some() || *stale || attempt.is_some()
    }
}

impl Registration {
    fn message(&self, observe: u32) -> Message {
        let Self { kind, code, token, options, payload } = self;
        let mut message = Message {
            kind: *kind,
            code: *code,
            message_id: 0,
            token: token.clone(),
            options: options.clone(),
            payload: payload.clone(),
        };
        message.options.set_observe(observe);
        message
    }
}
