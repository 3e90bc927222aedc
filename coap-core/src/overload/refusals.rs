//! How often an overloaded endpoint says that it is (RFC 8516 §3, RFC 7252 §4.7): an answer costs something too, and its
//! receiver may not be the one who asked.

use alloc::vec::Vec;

use crate::peers::Credit;
use crate::time::Instant;

/// Peers share so many purses by their hash. Whoever shares one with a flood is met with silence more often: that costs
/// nothing for each peer, and nobody can choose with whom.
const PURSES: usize = 64;

/// The purse of one peer, as a part of the purse of all.
const SHARE: u32 = 10;

/// What may still be said.
pub(crate) struct Refusals {
    rate: u32,
    all: Credit,
    /// None before the first refusal.
    of_peers: Vec<Credit>,
}

impl Refusals {
    pub(crate) const fn new(rate: u32) -> Self {
        Self { rate, all: Credit::full(Instant::ZERO, rate as usize), of_peers: Vec::new() }
    }

    /// Whether one more refusal may be sent to the peer with this hash; it is then counted.
    pub(crate) fn spend(&mut self, now: Instant, peer: u64) -> bool {
        let (rate, share) = (self.rate, (self.rate / SHARE).max(1));
        if rate == 0 {
            return false;
        }
        if self.of_peers.is_empty() {
            self.of_peers.resize(PURSES, Credit::full(now, share as usize));
        }
        let Some(own) = self.of_peers.get_mut(peer as usize % PURSES) else { return false };
        let may = own.wait(now, 1, share).is_zero() && self.all.wait(now, 1, rate).is_zero();
        if may {
            own.spend(now, 1, share, share as usize);
            self.all.spend(now, 1, rate, rate as usize);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_secs(1_000);

    #[test]
    fn one_peer_has_a_tenth_and_all_together_the_whole() {
        let mut refusals = Refusals::new(100);
        assert_eq!((0..50).filter(|_| refusals.spend(NOW, 7)).count(), 10);
        assert_eq!((0..64_000).filter(|n| refusals.spend(NOW, n % 64)).count(), 90);
        let later = Instant::from_secs(1_001);
        assert_eq!((0..50).filter(|_| refusals.spend(later, 7)).count(), 10);
    }

    #[test]
    fn a_second_earns_what_a_second_is_worth_however_long_it_was_quiet() {
        let mut refusals = Refusals::new(10);
        assert!(refusals.spend(NOW, 1) && !refusals.spend(NOW, 1));
        let later = Instant::from_secs(9_000);
        assert!(refusals.spend(later, 1) && !refusals.spend(later, 1));
    }

    #[test]
    fn a_rate_of_nothing_is_silence() {
        let mut refusals = Refusals::new(0);
        assert!(!refusals.spend(NOW, 1));
        assert!(refusals.of_peers.is_empty());
    }
}
