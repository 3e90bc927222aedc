//! So many a second, and no more.

use coap_core::Instant;

/// Lets through what comes in at up to so many a second, and as many at once after a second without any.
pub(crate) struct Pace {
    rate: u64,
    /// What may come at this moment, in millionths.
    credit: u64,
    at: Instant,
}

const ONE: u64 = 1_000_000;

impl Pace {
    pub(crate) fn new(rate: u32) -> Self {
        let rate = u64::from(rate);
        Self { rate, credit: rate * ONE, at: Instant::ZERO }
    }

    /// Whether one more may come now.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        // A microsecond brings a millionth of the rate. After a second it is full.
        let micros = (now - self.at).as_micros().min(u128::from(ONE)) as u64;
        self.credit = self.credit.saturating_add(micros * self.rate).min(self.rate * ONE);
        self.at = self.at.max(now);
        match self.credit.checked_sub(ONE) {
            Some(left) => {
                self.credit = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    fn admitted(pace: &mut Pace, now: Instant) -> usize {
        (0..100).filter(|_| pace.admits(now)).count()
    }

    #[test]
    fn a_second_full_at_once_and_then_the_rate() {
        let mut pace = Pace::new(10);
        assert_eq!(admitted(&mut pace, at(5_000)), 10);
        assert_eq!(admitted(&mut pace, at(5_099)), 0);
        assert_eq!(admitted(&mut pace, at(5_100)), 1);
        assert_eq!(admitted(&mut pace, at(5_600)), 5);
        assert_eq!(admitted(&mut pace, at(3_600_000)), 10, "no more than a second's worth is saved");
    }

    #[test]
    fn a_clock_that_goes_back_brings_nothing() {
        let mut pace = Pace::new(10);
        assert_eq!(admitted(&mut pace, at(5_000)), 10);
        assert_eq!(admitted(&mut pace, at(1_000)), 0);
        assert_eq!(admitted(&mut pace, at(5_100)), 1);
    }
}
