//! What of the library's datagrams reaches the peer, and when.
//!
//! The library repeats a flight each time that its timer fires, for ever and at the same pace, and sends to addresses that
//! nobody has proven to be at. Here its datagrams are let through at the pace of RFC 6347 §4.2.4.1, and to an unproven peer no
//! more bytes than have come from it.

use core::time::Duration;

use coap_core::SessionEnd;
use tokio::time::Instant;

use super::message::SERVER_HELLO;
use crate::record::{Content, HEADER, Record, VERSION_1_0, last_alert, records};
use crate::verify::Role;

/// RFC 6347 §4.2.4.1: the pace is not halved any more from here.
const SLOWEST: Duration = Duration::from_secs(60);

/// What has gone out in one handshake.
#[derive(Debug)]
pub(super) struct Outgoing {
    role: Role,
    /// A client has chosen its server; a server's clients have shown their cookie when the library says ServerHello.
    proven: bool,
    /// How many bytes an unproven peer may still be sent.
    credit: usize,
    /// A message of the unproven peer waits for an answer: nothing goes out because of a timer.
    owed: bool,
    /// The HelloVerifyRequest that has gone out.
    request: Vec<u8>,
    pace: Pace,
    /// The alert that has gone out.
    alert: Option<u8>,
    /// One more than the highest number of an encrypted record.
    next_sealed: u64,
    /// The datagram with Finished: the last flight of a server.
    last_flight: Vec<u8>,
}

/// When a flight may be sent again.
#[derive(Debug)]
struct Pace {
    initial: Duration,
    /// The newest message that has been sent, and how much of it.
    newest: Option<(u16, u32)>,
    interval: Duration,
    /// When the datagrams that belong together began.
    burst: Option<Instant>,
    next: Option<Instant>,
    /// The datagrams of this burst are not sent.
    held_back: bool,
}

impl Outgoing {
    pub(super) fn new(role: Role, initial: Duration) -> Self {
        Self {
            role,
            proven: role == Role::Client,
            credit: 0,
            owed: false,
            request: Vec::new(),
            pace: Pace { initial, newest: None, interval: initial, burst: None, next: None, held_back: false },
            alert: None,
            next_sealed: 0,
            last_flight: Vec::new(),
        }
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    /// Such a datagram has come in, with something for the library or without.
    pub(super) fn received(&mut self, length: usize, has_message: bool) {
        if !self.proven {
            self.credit = self.credit.saturating_add(length);
            self.owed |= has_message;
        }
    }

    /// The HelloVerifyRequest once more, for a peer that has repeated its first hello: the library would answer too, but keeps
    /// each repetition.
    pub(super) fn repeat_request(&mut self) -> Option<Vec<u8>> {
        let due = !self.proven && !self.request.is_empty();
        if !due || !self.spend(self.request.len()) {
            return None;
        }
        Some(self.request.clone())
    }

    /// What is sent in place of a datagram of the library, if anything. `refused` is why certificates of the peer have not been
    /// accepted.
    pub(super) fn pass(&mut self, now: Instant, datagram: &[u8], refused: Option<SessionEnd>) -> Option<Vec<u8>> {
        let first = records(datagram).next()?;
        let sealed = records(datagram).filter(|record| record.epoch == 1).map(|record| record.number + 1).max();
        if first.content == Content::Alert {
            return self.pass_alert(&first, refused);
        }
        self.next_sealed = self.next_sealed.max(sealed.unwrap_or(0));
        if self.role == Role::Server && sealed.is_some() {
            self.last_flight = datagram.to_vec();
        }
        if !self.proven {
            self.proven = first.body().first() == Some(&SERVER_HELLO);
            if !self.proven {
                return self.pass_request(datagram);
            }
        }
        self.pace.allows(now, position(&first)).then(|| datagram.to_vec())
    }

    /// The alert that has gone out.
    pub(super) fn alert(&self) -> Option<u8> {
        self.alert
    }

    /// The number of the first encrypted record after the handshake.
    pub(super) fn next_sealed(&self) -> u64 {
        self.next_sealed
    }

    /// The last flight of a server, to be sent again if it was lost (RFC 6347 §4.2.4).
    pub(super) fn last_flight(&self) -> &[u8] {
        &self.last_flight
    }

    /// HelloVerifyRequest. The library names DTLS 1.2 in it; RFC 6347 §4.2.1 wants DTLS 1.0, whatever is spoken later.
    fn pass_request(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut request = datagram.to_vec();
        request.get_mut(1..3)?.copy_from_slice(&VERSION_1_0);
        request.get_mut(HEADER + 12..HEADER + 14)?.copy_from_slice(&VERSION_1_0);
        if !core::mem::take(&mut self.owed) || !self.spend(request.len()) {
            return None;
        }
        self.request.clone_from(&request);
        Some(request)
    }

    /// The library says little: which certificates are refused and why is known here. After ChangeCipherSpec its alerts are in
    /// the clear where they must not be, and nobody would take them.
    fn pass_alert(&mut self, record: &Record<'_>, refused: Option<SessionEnd>) -> Option<Vec<u8>> {
        let description = last_alert(record.body())?;
        let description = match (description, refused) {
            (_, Some(SessionEnd::UnknownAuthority)) => 48,
            (_, Some(SessionEnd::Expired)) => 45,
            (_, Some(SessionEnd::NameMismatch)) => 46,
            // no_certificate is of SSL 3. A client that shows none where it must gets handshake_failure (RFC 5246 §7.4.6).
            (41, _) => 40,
            (other, _) => other,
        };
        self.alert = self.alert.or(Some(description));
        if record.epoch != 0 || !(self.proven || core::mem::take(&mut self.owed) && self.spend(record.bytes.len())) {
            return None;
        }
        let mut alert = record.bytes.to_vec();
        *alert.last_mut()? = description;
        Some(alert)
    }

    fn spend(&mut self, length: usize) -> bool {
        let Some(left) = self.credit.checked_sub(length) else { return false };
        self.credit = left;
        true
    }
}

impl Pace {
    /// True if what begins at `position` may be sent. What is new goes out at once; the timer of the library fires at the
    /// shortest interval, and every second, then every fourth time, and so on, is let through.
    fn allows(&mut self, now: Instant, position: (u16, u32)) -> bool {
        let leeway = self.initial / 4;
        if self.newest.is_none_or(|newest| newest < position) {
            self.newest = Some(position);
            self.begin(now, self.initial);
        } else if self.burst.is_none_or(|burst| now >= burst + leeway) {
            if self.next.is_none_or(|next| now + leeway >= next) {
                self.begin(now, (self.interval * 2).min(SLOWEST.max(self.initial)));
            } else {
                self.burst = Some(now);
                self.held_back = true;
            }
        }
        !self.held_back
    }

    fn begin(&mut self, now: Instant, interval: Duration) {
        self.interval = interval;
        self.burst = Some(now);
        self.next = Some(now + interval);
        self.held_back = false;
    }
}

/// Which message a datagram begins with, and how far into it: the same each time that it is sent. What has none is after all
/// that have.
fn position(record: &Record<'_>) -> (u16, u32) {
    match (record.epoch, record.content, record.body()) {
        (0, Content::Handshake, &[_, _, _, _, n0, n1, o0, o1, o2, ..]) => {
            (u16::from_be_bytes([n0, n1]), u32::from_be_bytes([0, o0, o1, o2]))
        }
        _ => (u16::MAX, u32::MAX),
    }
}

#[cfg(test)]
mod tests;
