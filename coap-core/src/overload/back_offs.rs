//! What servers have asked us not to repeat for a while (RFC 8516 §4): a 4.29 or a 5.03 is about its server, its method and
//! its URI, and about nothing else that this server has.

use alloc::collections::BTreeMap;

use crate::time::Instant;

/// What makes requests similar (RFC 8516 §1): the server, and the method and URI; both as keyed hashes.
pub(crate) type Similar = (u64, u64);

/// All back-offs. One that is over is as good as gone, whether it has been taken out or not.
pub(crate) struct BackOffs {
    until: BTreeMap<Similar, Instant>,
    max: usize,
}

impl BackOffs {
    pub(crate) const fn new(max: usize) -> Self {
        Self { until: BTreeMap::new(), max }
    }

    /// Most requests are made while nobody is overloaded.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.until.len()
    }

    /// When the first of them is over.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }

    /// Takes out what is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.until.retain(|_, until| *until > now);
    }

    /// Until when requests of this kind are not to be sent; `None`: they may be.
    pub(crate) fn find(&self, now: Instant, similar: Similar) -> Option<Instant> {
        self.until.get(&similar).copied().filter(|until| *until > now)
    }

    /// Notes what a server asked for. A later answer counts for more than an earlier one, also where it asks for less.
    ///
    /// One server has a quarter of the table. Who is full loses the back-off that would have ended first. How many were
    /// forgotten for this one before they were over.
    pub(crate) fn note(&mut self, now: Instant, similar: Similar, until: Instant) -> u64 {
        if self.max == 0 {
            return 1;
        }
        self.expire(now);
        self.until.remove(&similar);
        if until <= now {
            return 0;
        }
        let own = self.until.range((similar.0, 0)..=(similar.0, u64::MAX));
        let loser = if own.clone().count() >= self.max.div_ceil(4) {
            own.min_by_key(|(_, until)| **until)
        } else if self.until.len() >= self.max {
            self.until.iter().min_by_key(|(_, until)| **until)
        } else {
            None
        };
        let loser = loser.map(|(similar, _)| *similar);
        let forgotten = loser.is_some_and(|loser| self.until.remove(&loser).is_some());
        self.until.insert(similar, until);
        u64::from(forgotten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_secs(1_000);

    const fn at(secs: u64) -> Instant {
        Instant::from_secs(1_000 + secs)
    }

    #[test]
    fn a_back_off_is_over_at_its_time() {
        let mut table = BackOffs::new(8);
        table.note(NOW, (1, 1), at(60));
        assert_eq!(table.find(at(59), (1, 1)), Some(at(60)));
        assert_eq!(table.find(at(60), (1, 1)), None);
        assert_eq!((table.find(NOW, (1, 2)), table.find(NOW, (2, 1))), (None, None));
        assert_eq!(table.next_end(), Some(at(60)));
        table.expire(at(59));
        assert_eq!(table.len(), 1);
        table.expire(at(60));
        assert_eq!((table.len(), table.next_end()), (0, None));
    }

    #[test]
    fn the_last_word_counts() {
        let mut table = BackOffs::new(8);
        table.note(NOW, (1, 1), at(60));
        table.note(NOW, (1, 1), at(5));
        assert_eq!(table.find(NOW, (1, 1)), Some(at(5)));
        table.note(NOW, (1, 1), NOW);
        assert_eq!(table.find(NOW, (1, 1)), None);
        assert!(table.is_empty());
    }

    #[test]
    fn a_full_table_forgets_the_one_that_would_have_ended_first() {
        let mut table = BackOffs::new(8);
        for server in 0..8 {
            assert_eq!(table.note(NOW, (server, 0), at(100 - server)), 0);
        }
        assert_eq!(table.note(NOW, (9, 0), at(1)), 1);
        assert_eq!((table.len(), table.find(NOW, (7, 0))), (8, None));
        // What is over makes room for nothing.
        assert_eq!(table.note(at(1), (10, 0), at(500)), 0);
    }

    #[test]
    fn one_server_has_a_quarter_and_pushes_out_its_own() {
        let mut table = BackOffs::new(8);
        table.note(NOW, (2, 0), at(1));
        for uri in 0..100 {
            table.note(NOW, (1, uri), at(1_000 + uri));
        }
        assert_eq!((table.len(), table.find(NOW, (2, 0))), (3, Some(at(1))));
        assert!(table.find(NOW, (1, 99)).is_some() && table.find(NOW, (1, 98)).is_some());
    }

    #[test]
    fn a_table_for_nothing_holds_nothing() {
        let mut table = BackOffs::new(0);
        assert_eq!(table.note(NOW, (1, 1), at(60)), 1);
        assert!(table.is_empty());
    }
}
