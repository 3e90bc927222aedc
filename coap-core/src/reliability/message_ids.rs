//! Message IDs towards one peer: none is used twice within EXCHANGE_LIFETIME (RFC 7252 §4.4).

use alloc::boxed::Box;
use core::time::Duration;

use crate::time::Instant;

/// Message IDs from here on are for multicast requests, so that none of them is active with a unicast peer at the same
/// time (RFC 7252 §8.1).
const FIRST_MULTICAST: u16 = 0xF000;

/// The range is used in this many blocks, and each remembers when it was last used: 16 times a few bytes instead of one
/// time for each of 65,536.
const BLOCKS: u16 = 16;

/// Hands out Message IDs in order.
pub(crate) struct MessageIds {
    range: Range,
    /// The next one, counted from the start of the range.
    next: u16,
    /// When the current block was last used; `None`: not yet.
    last_used: Option<Instant>,
    /// The same for all blocks, once there is more than one: most peers never need it.
    blocks: Option<Box<[Option<Instant>; BLOCKS as usize]>>,
}

#[derive(Clone, Copy)]
enum Range {
    Unicast,
    Multicast,
}

impl Range {
    const fn first(self) -> u16 {
        match self {
            Self::Unicast => 0,
            Self::Multicast => FIRST_MULTICAST,
        }
    }

    const fn len(self) -> u16 {
        match self {
            Self::Unicast => FIRST_MULTICAST,
            Self::Multicast => u16::MAX - FIRST_MULTICAST + 1,
        }
    }

    const fn block(self) -> u16 {
        self.len() / BLOCKS
    }
}

impl MessageIds {
    /// For a peer, from `start` on, modulo the range.
    pub(crate) const fn unicast(start: u64) -> Self {
        Self::starting(Range::Unicast, start)
    }

    /// For multicast requests.
    pub(crate) const fn multicast(start: u64) -> Self {
        Self::starting(Range::Multicast, start)
    }

    /// Where a new record of a peer begins: at a place that depends on the peer and moves through the whole range in
    /// one `lifetime`. A peer that was forgotten and comes back is then given no Message ID a second time within the
    /// lifetime, as long as it was not sent more than 61,440 messages in it: 248 a second with the RFC's 247 s.
    pub(crate) fn start_for(peer_hash: u64, now: Instant, lifetime: Duration) -> u64 {
        let lifetime = (lifetime.as_micros() as u64).max(1);
        let moved = u128::from(now.as_micros()) * u128::from(FIRST_MULTICAST) / u128::from(lifetime);
        (peer_hash % u64::from(FIRST_MULTICAST)) + (moved % u128::from(FIRST_MULTICAST)) as u64
    }

    const fn starting(range: Range, start: u64) -> Self {
        Self { range, next: (start % range.len() as u64) as u16, last_used: None, blocks: None }
    }

    /// The next Message ID. `Err`: the oldest ones are still alive, until the time given.
    pub(crate) fn draw(&mut self, now: Instant, lifetime: Duration) -> Result<u16, Instant> {
        if let Some(free) = self.free_at(lifetime).filter(|free| *free > now) {
            return Err(free);
        }
        let drawn = self.range.first() + self.next;
        self.last_used = Some(now);
        self.next = (self.next + 1) % self.range.len();
        if self.next.is_multiple_of(self.range.block()) {
            self.enter_block();
        }
        Ok(drawn)
    }

    /// At the start of a block that was used before: when the last Message ID in it fades.
    pub(crate) fn free_at(&self, lifetime: Duration) -> Option<Instant> {
        let at_start = self.next.is_multiple_of(self.range.block());
        self.last_used.filter(|_| at_start && self.blocks.is_some()).map(|used| used + lifetime)
    }

    fn enter_block(&mut self) {
        let (block, count) = (usize::from(self.next / self.range.block()), usize::from(BLOCKS));
        let blocks = self.blocks.get_or_insert_default();
        blocks[(block + count - 1) % count] = self.last_used;
        self.last_used = blocks[block];
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(247);

    #[test]
    fn ids_stall_when_the_range_is_used_up_and_go_on_when_it_has_faded() {
        let mut ids = MessageIds::unicast(100);
        let mut drawn = 0;
        let free = loop {
            match ids.draw(Instant::from_secs(10), LIFETIME) {
                Ok(_) => drawn += 1,
                Err(free) => break free,
            }
        };
        assert!((57_600..=61_440).contains(&drawn), "{drawn}");
        assert_eq!(free, Instant::from_secs(257));
        assert!(ids.draw(Instant::from_secs(257), LIFETIME).is_ok());
    }

    #[test]
    fn ranges_for_unicast_and_multicast_do_not_meet() {
        let (mut unicast, mut multicast) = (MessageIds::unicast(61_430), MessageIds::multicast(4_090));
        for _ in 0..100 {
            assert!(unicast.draw(Instant::ZERO, LIFETIME).unwrap() < FIRST_MULTICAST);
            assert!(multicast.draw(Instant::ZERO, LIFETIME).unwrap() >= FIRST_MULTICAST);
        }
    }

    #[test]
    fn none_is_used_twice_within_the_lifetime_at_any_pace() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut ids = MessageIds::unicast(rng.next_u64());
        let mut twin: BTreeMap<u16, Instant> = BTreeMap::new();
        let mut now = Instant::ZERO;
        for _ in 0..400_000 {
            now += Duration::from_micros(rng.next_u64() % 8_000);
            let Ok(id) = ids.draw(now, LIFETIME) else { continue };
            let before = twin.insert(id, now);
            assert!(before.is_none_or(|before| now - before >= LIFETIME), "{id} again");
        }
        assert!(twin.len() > 61_000);
    }

    #[test]
    fn a_peer_that_was_forgotten_starts_behind_where_it_was() {
        let start = |secs| MessageIds::start_for(12_345, Instant::from_secs(secs), LIFETIME) % 61_440;
        let moved = (start(10) + 61_440 - start(0)) % 61_440;
        assert_eq!(moved, 10 * 61_440 / 247);
    }
}
