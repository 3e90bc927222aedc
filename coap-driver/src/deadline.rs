//! Until when a request is worth its waits: for a name, for room, for a server that is overloaded, and for its answer.

use core::time::Duration;

use coap_core::Instant;

use crate::client::Client;
use crate::runtime::Runtime;

/// How long a request without a timeout may wait for a name or for room in a table: MAX_TRANSMIT_WAIT by default
/// (RFC 7252 §4.8.2), which is also how long the endpoint lets a request wait for its turn.
const PATIENCE: Duration = Duration::from_secs(93);

/// The end that the caller set, and that of the connection that it began in.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) started: Instant,
    pub(crate) timeout: Option<Duration>,
    pub(crate) epoch: u64,
    /// How long to wait for a server that wants the request later.
    back_off: Duration,
    /// How long that was, where the time of the request does not count it.
    pub(crate) rested: Duration,
}

impl Deadline {
    pub(crate) fn new<R: Runtime>(client: &Client<R>, timeout: Option<Duration>) -> Self {
        let (started, epoch, back_off) = (client.now(), client.epoch(), client.wait_for_back_off());
        Self { started, timeout, epoch, back_off, rested: Duration::ZERO }
    }

    /// With a patience of its own for a server that wants the request later.
    pub(crate) const fn with_back_off(mut self, span: Option<Duration>) -> Self {
        if let Some(span) = span {
            self.back_off = span;
        }
        self
    }

    /// Whether it is worth to wait until then for a server that wants the request later.
    pub(crate) fn may_rest_until(self, until: Instant) -> bool {
        let in_time = self.timeout.is_none_or(|timeout| until < self.started + timeout);
        in_time && until <= self.started + self.back_off
    }

    pub(crate) const fn epoch(self) -> u64 {
        self.epoch
    }

    /// The client was closed or disconnected since.
    pub(crate) fn is_ended<R: Runtime>(self, client: &Client<R>) -> bool {
        client.epoch() != self.epoch || client.is_closed()
    }

    /// Until when to wait for what is not the endpoint's business.
    pub(crate) fn patience(self) -> Instant {
        self.started + self.timeout.unwrap_or(PATIENCE + self.rested)
    }

    /// What is left for the endpoint.
    pub(crate) fn left(self, now: Instant) -> Option<Duration> {
        // Never zero, which would be no time at all rather than its end.
        self.timeout.map(|timeout| ((self.started + timeout) - now).max(Duration::from_millis(1)))
    }
}
