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
    /// Where in the range the count begins.
    offset: u16,
    /// The next one. This count goes on without end; its place in the range is it and the offset, modulo the length.
    next: u64,
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
    /// For a peer that nothing is known of: from a place that `secret` hides, and the count at `start`.
    pub(crate) const fn unicast(secret: u64, start: u64) -> Self {
        Self::starting(Range::Unicast, secret, start)
    }

    /// For multicast requests.
    pub(crate) const fn multicast(secret: u64) -> Self {
        Self::starting(Range::Multicast, secret, 0)
    }

    /// Where the count of a new record begins: it moves through the whole range in one `lifetime`, and is never before
    /// `floor`, the furthest count of all peers that were forgotten early. One that was forgotten and comes back is then
    /// given no Message ID a second time within the lifetime, as long as none of those was sent more than 61,440
    /// messages in it: 248 a second with the RFC's 247 s.
    pub(crate) fn start_for(now: Instant, lifetime: Duration, floor: u64) -> u64 {
        let lifetime = lifetime.as_micros().max(1);
        let moved = u128::from(now.as_micros()) * u128::from(FIRST_MULTICAST) / lifetime;
        floor.max(u64::try_from(moved).unwrap_or(u64::MAX))
    }

    const fn starting(range: Range, secret: u64, start: u64) -> Self {
        Self { range, offset: (secret % range.len() as u64) as u16, next: start, last_used: None, blocks: None }
    }

    /// How far the count has come.
    pub(crate) const fn count(&self) -> u64 {
        self.next
    }

    /// The place of the next one in the range.
    const fn place(&self) -> u16 {
        let len = self.range.len() as u64;
        ((self.offset as u64 + self.next % len) % len) as u16
    }

    /// The next Message ID. `Err`: the oldest ones are still alive, until the time given.
    pub(crate) fn draw(&mut self, now: Instant, lifetime: Duration) -> Result<u16, Instant> {
        if let Some(free) = self.free_at(lifetime).filter(|free| *free > now) {
            return Err(free);
        }
        let drawn = self.range.first() + self.place();
        self.last_used = Some(now);
        self.next = self.next.wrapping_add(1);
        if self.place().is_multiple_of(self.range.block()) {
            self.enter_block();
        }
        Ok(drawn)
    }

    /// At the start of a block that was used before: when the last Message ID in it fades.
    pub(crate) fn free_at(&self, lifetime: Duration) -> Option<Instant> {
        let at_start = self.place().is_multiple_of(self.range.block());
        self.last_used.filter(|_| at_start && self.blocks.is_some()).map(|used| used + lifetime)
    }

    fn enter_block(&mut self) {
        let (block, count) = (usize::from(self.place() / self.range.block()), usize::from(BLOCKS));
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
        let mut ids = MessageIds::unicast(100, 0);
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
        let (mut unicast, mut multicast) = (MessageIds::unicast(61_430, 0), MessageIds::multicast(4_090));
        for _ in 0..100 {
            assert!(unicast.draw(Instant::ZERO, LIFETIME).unwrap() < FIRST_MULTICAST);
            assert!(multicast.draw(Instant::ZERO, LIFETIME).unwrap() >= FIRST_MULTICAST);
        }
    }

    #[test]
    fn none_is_used_twice_within_the_lifetime_at_any_pace() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut ids = MessageIds::unicast(rng.next_u64(), 0);
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
        let start = |secs, floor| MessageIds::start_for(Instant::from_secs(secs), LIFETIME, floor);
        assert_eq!((start(0, 0), start(10, 0), start(247, 0)), (0, 10 * 61_440 / 247, 61_440));
        assert_eq!((start(10, 5_000), start(247, 5_000)), (5_000, 61_440));
    }
}
