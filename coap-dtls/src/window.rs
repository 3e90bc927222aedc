//! Which records of a peer have been seen (RFC 6347 §4.1.2.6).

/// How far behind the newest record another one may come: as many as OpenSSL and Scandium take.
pub(crate) const WINDOW: u64 = 64;

/// The records of one epoch that have been seen: the newest [`WINDOW`] of them one by one, all before as one.
///
/// Looking and marking are two calls: what has not been authenticated must not move the window, or whoever forges one record
/// with a high number makes all that follow look old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// One more than the highest number seen; 0 before the first.
    next: u64,
    /// Bit n: number `next - 1 - n` has been seen.
    seen: u64,
}

impl Window {
    /// True if `number` has not been seen and is not too old to tell.
    pub(crate) fn is_fresh(self, number: u64) -> bool {
        match self.age(number) {
            None => true,
            Some(age) => age < WINDOW && self.seen & (1 << age) == 0,
        }
    }

    /// A record with this number has been authenticated.
    pub(crate) fn mark(&mut self, number: u64) {
        match self.age(number) {
            Some(age) if age < WINDOW => self.seen |= 1 << age,
            Some(_) => {}
            None => {
                let ahead = number - self.next + 1;
                self.seen = if ahead < WINDOW { self.seen << ahead | 1 } else { 1 };
                self.next = number + 1;
            }
        }
    }

    /// By how much `number` is behind the newest; `None`: it is newer.
    fn age(self, number: u64) -> Option<u64> {
        self.next.checked_sub(number)?.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn the_first_record_may_have_any_number() {
        for first in [0, 1, 63, 64, 1 << 47, (1 << 48) - 1] {
            let mut window = Window::default();
            assert!(window.is_fresh(first));
            window.mark(first);
            assert!(!window.is_fresh(first));
        }
    }

    #[test]
    fn sixty_three_behind_is_accepted_and_sixty_four_is_not() {
        let mut window = Window::default();
        window.mark(1000);
        assert!(window.is_fresh(1000 - 63));
        assert!(!window.is_fresh(1000 - 64));
        window.mark(1000 - 63);
        assert!(!window.is_fresh(1000 - 63));
    }

    #[test]
    fn a_jump_forgets_what_falls_out_and_nothing_else() {
        let mut window = Window::default();
        for number in 0..64 {
            window.mark(number);
        }
        window.mark(64 + 62);
        assert!(!window.is_fresh(63), "63 behind, and seen");
        assert!(window.is_fresh(64), "62 behind, and not seen");
        window.mark(1 << 40);
        assert!(!window.is_fresh(64 + 62));
        assert!(window.is_fresh((1 << 40) - 1));
    }

    #[test]
    fn looking_changes_nothing() {
        let mut window = Window::default();
        window.mark(5);
        let before = window;
        assert!(window.is_fresh(1 << 40));
        assert!(!window.is_fresh(5));
        assert_eq!(window, before);
    }

    #[test]
    fn it_agrees_with_a_set_of_numbers() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let (mut window, mut seen) = (Window::default(), BTreeSet::new());
            let mut base = u64::from(rng.next_u32() % 200);
            for _ in 0..500 {
                base += u64::from(rng.next_u32() % 4) * u64::from(rng.next_u32() % 40);
                let number = base.saturating_sub(u64::from(rng.next_u32() % 140));
                let newest = seen.last().copied();
                let fresh = !seen.contains(&number) && newest.is_none_or(|newest| number + WINDOW > newest);
                assert_eq!(window.is_fresh(number), fresh, "{number} after {newest:?}");
                if fresh {
                    window.mark(number);
                    seen.insert(number);
                }
            }
        }
    }
}
