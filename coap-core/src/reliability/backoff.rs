//! When a Confirmable message is repeated, and when it is given up (RFC 7252 §4.2).

use core::time::Duration;

use crate::time::Instant;
use crate::transmission::TransmissionParameters;

/// The schedule of one message. It is fixed at the first transmission: copy k leaves `initial` × (2ᵏ − 1) later, and
/// the wait after the last one is twice the wait before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Instant,
    /// In microseconds, as the span: half the size of a `Duration`, and each message in flight has both.
    initial: u64,
    span: u64,
    max_retransmit: u8,
    done: u8,
}

/// What is to do when the time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send it again: repetition number `attempt`, from 1.
    Repeat { attempt: u8 },
    /// Called so late that a copy would leave well after MAX_TRANSMIT_SPAN: only wait on.
    Wait,
    /// Nobody answered.
    GiveUp,
}

impl Backoff {
    /// Draws the first wait between ACK_TIMEOUT and ACK_TIMEOUT × ACK_RANDOM_FACTOR; `draw` is 64 random bits.
    pub(crate) fn new(now: Instant, parameters: &TransmissionParameters, draw: u64) -> Self {
        let (least, most) = (parameters.ack_timeout(), parameters.longest_initial_timeout());
        let spread = most.saturating_sub(least).as_micros() + 1;
        let extra = (spread * u128::from(draw)) >> 64;
        Self {
            first: now,
            initial: micros(least).saturating_add(extra as u64),
            span: micros(parameters.max_transmit_span()),
            max_retransmit: parameters.max_retransmit(),
            done: 0,
        }
    }

    /// When [`due`](Self::due) has something to do.
    pub(crate) fn next(&self) -> Instant {
        self.at(self.done + 1)
    }

    /// What is due at `now`: at most one copy, however late the call.
    pub(crate) fn due(&mut self, now: Instant) -> Step {
        if self.at(self.max_retransmit + 1) <= now {
            return Step::GiveUp;
        }
        let before = self.done;
        while self.done < self.max_retransmit && self.next() <= now {
            self.done += 1;
        }
        // The last copy may fall due on the very end of the span, and no timer is exact.
        if self.done == before || self.after(self.span.saturating_add(self.initial)) < now {
            return Step::Wait;
        }
        Step::Repeat { attempt: self.done }
    }

    /// When repetition number `copy` leaves; behind the last one, when the message is given up.
    fn at(&self, copy: u8) -> Instant {
        let times = (1_u64 << copy) - 1;
        self.after(self.initial.saturating_mul(times))
    }

    const fn after(&self, micros: u64) -> Instant {
        Instant::from_micros(self.first.as_micros().saturating_add(micros))
    }

    /// It has been sent more than once: which copy an answer belongs to is not known.
    pub(crate) const fn has_repeated(&self) -> bool {
        self.done > 0
    }
}

/// Rounded up, so that nothing is repeated early.
fn micros(span: Duration) -> u64 {
    let whole = span.as_nanos().div_ceil(1_000);
    u64::try_from(whole).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const HALF: u64 = 1 << 63;

    fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn waits_double_until_the_message_is_given_up() {
        let mut backoff = Backoff::new(ms(0), &TransmissionParameters::default(), HALF);
        let mut copies = Vec::new();
        while let Step::Repeat { .. } = backoff.due(backoff.next()) {
            copies.push(backoff.at(backoff.done));
        }
        assert_eq!(copies, [ms(2_500), ms(7_500), ms(17_500), ms(37_500)]);
        assert_eq!(backoff.next(), ms(77_500));
    }

    #[test]
    fn the_first_wait_is_drawn_from_the_whole_range() {
        let first = |draw| Backoff::new(ms(0), &TransmissionParameters::default(), draw).next();
        assert_eq!((first(0), first(u64::MAX)), (ms(2_000), ms(3_000)));
    }

    #[test]
    fn a_late_call_sends_one_copy_and_none_behind_the_span() {
        let mut backoff = Backoff::new(ms(0), &TransmissionParameters::default(), 0);
        assert_eq!(backoff.due(ms(15_000)), Step::Repeat { attempt: 3 });
        assert_eq!(backoff.due(ms(15_000)), Step::Wait);
        assert_eq!(backoff.due(ms(48_000)), Step::Wait);
        assert_eq!(backoff.due(ms(62_000)), Step::GiveUp);
    }

    #[test]
    fn the_last_copy_leaves_although_its_timer_is_a_little_late() {
        let exact = TransmissionParameters::builder().ack_random_factor(1.0).max_retransmit(2).build().unwrap();
        let mut backoff = Backoff::new(ms(0), &exact, 0);
        assert_eq!(backoff.due(ms(2_001)), Step::Repeat { attempt: 1 });
        assert_eq!(backoff.due(ms(6_001)), Step::Repeat { attempt: 2 });
    }

    #[test]
    fn no_retransmission_at_all_is_one_wait() {
        let once = TransmissionParameters::builder().max_retransmit(0).ack_random_factor(2.0).build().unwrap();
        let mut backoff = Backoff::new(ms(0), &once, u64::MAX);
        assert_eq!(backoff.due(ms(3_999)), Step::Wait);
        assert_eq!((backoff.next(), backoff.due(ms(4_000))), (ms(4_000), Step::GiveUp));
    }
}
