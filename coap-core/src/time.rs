//! Time, as the caller tells it. The core has no clock: every call that needs one takes `now`.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// A point in time: microseconds since a start that the caller chose (boot, the start of the program, zero).
///
/// It never goes back inside an `Endpoint`, which takes the largest value that it has seen for now. Arithmetic
/// saturates: 2⁶⁴ µs are 585,000 years, and a deadline that far away never comes.
///
/// ```
/// # use coap_core::Instant;
/// # use core::time::Duration;
/// let start = Instant::from_millis(1_500);
/// assert_eq!(start + Duration::from_secs(2), Instant::from_micros(3_500_000));
/// assert_eq!(start.duration_since(start + Duration::from_secs(1)), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The start of the caller's clock.
    pub const ZERO: Self = Self(0);

    /// The instant `micros` microseconds after the start of the clock.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The instant `millis` milliseconds after the start of the clock.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// The instant `secs` seconds after the start of the clock.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the start of the clock.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The span from `earlier` to here; zero if `earlier` is in fact later, never an absolute difference.
    pub const fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// A span in whole microseconds, rounded up so that a timer never fires early.
fn micros(span: Duration) -> u64 {
    let whole = span.as_secs().saturating_mul(1_000_000);
    whole.saturating_add(u64::from(span.subsec_nanos().div_ceil(1_000)))
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

/// Seconds with six digits: `12.345678`.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_backwards_is_zero() {
        assert_eq!(Instant::from_secs(1) - Instant::from_secs(2), Duration::ZERO);
    }

    #[test]
    fn a_deadline_is_rounded_up_and_saturates() {
        assert_eq!((Instant::ZERO + Duration::from_nanos(1)).as_micros(), 1);
        assert_eq!((Instant::from_secs(7) + Duration::MAX).as_micros(), u64::MAX);
    }
}
