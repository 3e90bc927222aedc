//! Which of two notifications is the newer one (RFC 7641 §3.4): the network may have changed their order.

use core::time::Duration;

use crate::time::Instant;

/// RFC 7641 §3.4: after so long any number is newer, because no message of before is under way any more.
const ANY_IS_NEWER_AFTER: Duration = Duration::from_secs(128);

/// Half the range of a number, which has 24 bits.
const HALF: u32 = 1 << 23;

/// The newest notification so far: its number and when it arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Order {
    newest: Option<(u32, Instant)>,
}

impl Order {
    /// Whether a notification with this number, arriving now, is newer than all before.
    pub(crate) fn is_newer(&self, now: Instant, number: u32) -> bool {
        let Some((newest, at)) = self.newest else { return true };
        let ahead = newest < number && number - newest < HALF;
        let wrapped = newest > number && newest - number > HALF;
        ahead || wrapped || now > at + ANY_IS_NEWER_AFTER
    }

    /// From here on this one is the newest.
    pub(crate) const fn advance(&mut self, now: Instant, number: u32) {
        self.newest = Some((number, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First number, second number, milliseconds between their arrivals, whether the second is newer.
    const CASES: [(u32, u32, u64, bool); 20] = [
        (0, 1, 1_000, true),
        (1, 0, 1_000, false),
        (5, 5, 1_000, false),
        (0, 8_388_607, 1_000, true),
        (0, 8_388_608, 1_000, false),
        (0, 8_388_609, 1_000, false),
        (16_777_215, 0, 1_000, true),
        (0, 16_777_215, 1_000, false),
        (8_388_607, 0, 1_000, false),
        (8_388_608, 0, 1_000, false),
        (8_388_609, 0, 1_000, true),
        (100, 50, 128_000, false),
        (100, 50, 128_500, true),
        (100, 100, 128_001, true),
        (100, 99, 127_900, false),
        (16_777_000, 200, 2_000, true),
        (200, 16_777_000, 2_000, false),
        (8_388_608, 1, 3_000, false),
        (1, 8_388_608, 3_000, true),
        (1, 8_388_609, 3_000, false),
    ];

    #[test]
    fn the_formula_of_the_rfc_decides() {
        for (first, second, millis, newer) in CASES {
            let mut order = Order::default();
            order.advance(Instant::from_secs(7), first);
            let then = Instant::from_secs(7) + Duration::from_millis(millis);
            assert_eq!(order.is_newer(then, second), newer, "{first}, {millis} ms later {second}");
        }
    }

    #[test]
    fn the_first_one_is_new_whatever_its_number() {
        assert!(Order::default().is_newer(Instant::ZERO, 0xff_ffff));
    }
}
