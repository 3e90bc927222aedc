//! Which handshakes clients have begun lately, and which of their sealed records have come: so that the end of one that was
//! given up is not taken for the end of the next.
//!
//! A client that begins anew uses other keys. If the last flight of its first attempt is still on its way, it cannot be opened
//! in the second, and looks as it would with a wrong key. RFC 6347 §4.1.2.7 has such records dropped; but then nobody would ever be
//! told of a wrong key, for which there is no other sign. What tells them apart is that each attempt numbers its records from 0,
//! and uses no number twice (RFC 6347 §4.1): of records with the same number, each attempt has one. Where more different ones
//! have come than there have been other attempts, one of them is of the attempt at hand.
//!
//! An attempt is known by the random in its hello. One of which no hello has come can answer ours too, if what we have said to
//! the one before is late; but not as soon as [`IN_TIME`]. And a client can be led astray by what we have said to an earlier
//! attempt: so if another attempt may have had the right key, nothing is a proof. That leaves the client that has a wrong key, and
//! tries it again.

use core::hash::BuildHasher;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coap_core::Instant;

use crate::record_header::Sealed;
use crate::table::{Keyed, Path};

/// For how long a record may be under way after its attempt (RFC 793 §3.3: 2 minutes).
const LATE: Duration = Duration::from_secs(120);
/// Until when what answers an attempt is of it. Clients repeat their last flight after 1 s and after 3 s (RFC 6347 §4.2.4.1), and do
/// not begin anew before; networks that need longer for an answer do not tell of a wrong key.
const IN_TIME: Duration = Duration::from_secs(5);
/// How many paths are remembered, each with at most 1.3 KB, and most with 250 bytes. The one that has begun nothing for the longest loses its place: what is
/// late there can end the next attempt.
const MAX_PATHS: usize = 1024;
/// How many attempts are remembered of each path, the newest: what is late of others can end the next.
const MAX_HELLOS: usize = 16;
/// How many records are remembered of each path, the newest. If there are more, nobody is told of a wrong key.
const MAX_RECORDS: usize = 32;
/// How many first hellos are remembered, of all paths together, in 6 KB: the newest. The memory is there before the first comes; a
/// flood drives the others out, so that what is late of them can end the attempt before.
const MAX_GREETINGS: usize = 256;

/// The memory of a layer. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    /// Where clients have begun an attempt that was proven to be theirs, by a hash of the path.
    /// In a tree, whose size is what is in it: a table would double where the old go and the new come.
    paths: BTreeMap<u64, Lately>,
    /// The first hellos that anyone has sent, the oldest first: a hash of the path, one of the random, and when.
    greetings: VecDeque<(u64, u64, Instant)>,
    keyed: Keyed,
    /// When those are forgotten again whose time is over.
    sweep_at: Instant,
}

/// What has lately come from one path.
#[derive(Debug, Default)]
struct Lately {
    /// When nothing of it is under way any more.
    until: Instant,
    /// Which attempts there have been: the hashes of the randoms in their hellos, and whether their keys were shown to be wrong.
    hellos: Vec<(u64, bool)>,
    records: Vec<Seen>,
}

/// A record that has come.
#[derive(Debug)]
struct Seen {
    /// In which attempt.
    hello: u64,
    number: u64,
    /// The end of its tag, which is as good as a hash of it.
    tag: [u8; 8],
}

/// One attempt of a client, for its engine.
#[derive(Debug)]
pub(crate) struct Attempt {
    memory: Attempts,
    path: u64,
    hello: u64,
    /// Since when it has been proven that its client is there. Before, it does not count.
    begun: Option<Instant>,
}

impl Attempts {
    /// Paths are known by a hash under this key.
    pub(crate) fn new(keyed: Keyed) -> Self {
        Self(Arc::new(Mutex::new(Memory { keyed, ..Memory::default() })))
    }

    /// An attempt that is about to be made, with a hello of this hash.
    pub(crate) fn on(&self, path: Path, hello: u64) -> Attempt {
        let path = self.lock().hash(path);
        Attempt { memory: self.clone(), path, hello, begun: None }
    }

    /// Hellos may come from now on.
    pub(crate) fn listen(&self) {
        let mut memory = self.lock();
        let missing = MAX_GREETINGS - memory.greetings.len();
        memory.greetings.reserve_exact(missing);
    }

    /// A first hello has come, and nobody knows who has sent it.
    pub(crate) fn note(&self, now: Instant, path: Path, hello: u64) {
        let mut memory = self.lock();
        let path = memory.hash(path);
        if memory.greetings.back().is_some_and(|(of, last, _)| (*of, *last) == (path, hello)) {
            return;
        }
        if memory.greetings.len() >= MAX_GREETINGS {
            memory.greetings.pop_front();
        }
        memory.greetings.push_back((path, hello, now));
        if let Some(lately) = memory.paths.get_mut(&path) {
            lately.note(hello);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn hash(&self, path: Path) -> u64 {
        self.keyed.hash_one(path)
    }

    /// Makes room for one more path.
    fn make_room(&mut self, now: Instant) {
        if self.paths.len() < MAX_PATHS && now < self.sweep_at {
            return;
        }
        self.paths.retain(|_, lately| lately.until > now);
        self.sweep_at = now + LATE;
        let oldest = self.paths.iter().min_by_key(|(_, lately)| lately.until).map(|(path, _)| *path);
        if let Some(oldest) = oldest.filter(|_| self.paths.len() >= MAX_PATHS) {
            self.paths.remove(&oldest);
        }
    }
}

impl Attempt {
    /// The client is where it says it is. Before, anybody could have others forget what they know.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.begun.is_some() {
            return;
        }
        self.begun = Some(now);
        let mut memory = self.memory.lock();
        if !memory.paths.contains_key(&self.path) {
            memory.make_room(now);
        }
        let Memory { paths, greetings, .. } = &mut *memory;
        let lately = paths.entry(self.path).or_default();
        if lately.until <= now {
            // Later ones are noted when they come.
            *lately = Lately::default();
            let of_path = greetings.iter().filter(|(of, _, at)| *of == self.path && *at + LATE > now);
            of_path.for_each(|(_, hello, _)| lately.note(*hello));
        }
        lately.until = now + LATE;
        lately.note(self.hello);
    }

    /// A sealed record of a handshake has come. False: it is one that came in another attempt.
    pub(crate) fn note(&self, record: &Sealed) -> bool {
        let mut memory = self.memory.lock();
        let Some(lately) = memory.paths.get_mut(&self.path).filter(|_| self.begun.is_some()) else { return true };
        if let Some(seen) = lately.records.iter().find(|seen| seen.is(record)) {
            return seen.hello == self.hello;
        }
        if lately.records.len() >= MAX_RECORDS {
            lately.records.remove(0);
        }
        lately.records.push(Seen { hello: self.hello, number: record.number, tag: record.tag });
        true
    }

    /// It cannot be opened: whether that shows that the keys differ.
    pub(crate) fn shows_wrong_key(&self, now: Instant, record: &Sealed) -> bool {
        let mut memory = self.memory.lock();
        let (Some(lately), Some(begun)) = (memory.paths.get_mut(&self.path), self.begun) else { return false };
        let is_other = |seen: &&Seen| seen.number == record.number && !seen.is(record);
        let others = lately.records.iter().filter(is_other).count();
        let all_wrong = lately.hellos.iter().all(|(hello, wrong)| *wrong || *hello == self.hello);
        let is_proof = now <= begun + IN_TIME && others + 1 >= lately.hellos.len() && all_wrong;
        for (_, wrong) in lately.hellos.iter_mut().filter(|(hello, _)| *hello == self.hello) {
            *wrong |= is_proof;
        }
        is_proof
    }
}

impl Lately {
    fn note(&mut self, hello: u64) {
        if self.hellos.iter().any(|(known, _)| *known == hello) {
            return;
        }
        if self.hellos.len() >= MAX_HELLOS {
            let (oldest, _) = self.hellos.remove(0);
            self.records.retain(|seen| seen.hello != oldest);
        }
        self.hellos.push((hello, false));
    }
}

impl Seen {
    fn is(&self, record: &Sealed) -> bool {
        self.number == record.number && self.tag == record.tag
    }
}

#[cfg(test)]
mod tests {
    use coap_core::UdpAddr;

    use super::*;

    fn path(port: u16) -> Path {
        Path { socket: 0, addr: UdpAddr::new(core::net::SocketAddr::from(([192, 0, 2, 1], port))) }
    }

    fn record(number: u64, tag: u8) -> Sealed {
        Sealed { number, tag: [tag; 8] }
    }

    const NOW: Instant = Instant::from_secs(1_000);

    /// An attempt with this hello.
    fn attempt(memory: &Attempts, hello: u64, now: Instant) -> Attempt {
        let mut attempt = memory.on(path(1), hello);
        attempt.begin(now);
        attempt
    }

    #[test]
    fn in_a_first_attempt_each_record_that_does_not_open_shows_a_wrong_key() {
        let memory = Attempts::default();
        let first = attempt(&memory, 1, NOW);
        for number in [0, 3] {
            assert!(first.note(&record(number, 1)));
            assert!(first.shows_wrong_key(NOW, &record(number, 1)));
        }
    }

    #[test]
    fn a_record_of_the_attempt_before_is_known_again() {
        let memory = Attempts::default();
        let first = attempt(&memory, 1, NOW);
        assert!(first.note(&record(0, 1)) && first.note(&record(0, 1)));
        assert!(first.shows_wrong_key(NOW, &record(0, 1)));
        let second = attempt(&memory, 2, NOW);
        assert!(!second.note(&record(0, 1)));
        assert!(second.note(&record(1, 2)));
        assert!(!second.shows_wrong_key(NOW, &record(1, 2)), "the first attempt may have sent it");
        assert!(second.note(&record(0, 2)));
        assert!(second.shows_wrong_key(NOW, &record(0, 2)), "the first attempt had another");
    }

    #[test]
    fn a_record_that_may_be_of_the_attempt_before_shows_nothing() {
        let memory = Attempts::default();
        let _nothing_came = attempt(&memory, 1, NOW);
        let second = attempt(&memory, 2, NOW);
        for number in 0..3 {
            assert!(second.note(&record(number, 1)));
            assert!(!second.shows_wrong_key(NOW, &record(number, 1)));
            assert!(!second.shows_wrong_key(NOW, &record(number, 1)), "the same again");
        }
        assert!(second.note(&record(0, 2)));
        assert!(!second.shows_wrong_key(NOW, &record(0, 2)), "one is not of the first, which may have led it astray");
    }

    #[test]
    fn a_record_that_may_be_of_an_attempt_after_it_shows_nothing() {
        let memory = Attempts::default();
        let first = attempt(&memory, 1, NOW);
        memory.note(NOW, path(1), 1);
        assert!(first.note(&record(0, 1)) && first.shows_wrong_key(NOW + IN_TIME, &record(0, 1)));
        assert!(!first.shows_wrong_key(NOW + IN_TIME + Duration::from_micros(1), &record(0, 1)));
        memory.note(NOW, path(1), 2);
        assert!(!first.shows_wrong_key(NOW, &record(0, 1)), "another hello has come");
    }

    #[test]
    fn a_hello_that_came_before_the_first_attempt_is_of_another_all_the_same() {
        let memory = Attempts::default();
        memory.note(NOW, path(1), 1);
        memory.note(NOW, path(1), 2);
        memory.note(NOW, path(2), 3);
        let late = attempt(&memory, 1, NOW);
        assert!(late.note(&record(0, 1)));
        assert!(!late.shows_wrong_key(NOW, &record(0, 1)));
    }

    #[test]
    fn what_is_older_than_the_network_keeps_it_does_not_count() {
        let memory = Attempts::default();
        let _old = attempt(&memory, 1, NOW);
        let new = attempt(&memory, 2, NOW + LATE);
        assert!(new.note(&record(0, 1)) && new.shows_wrong_key(NOW + LATE, &record(0, 1)));
    }

    #[test]
    fn of_more_attempts_than_are_remembered_the_newest_count() {
        let memory = Attempts::default();
        for hello in 0..100 {
            let attempt = attempt(&memory, hello, NOW);
            assert!(attempt.note(&record(0, hello as u8)));
            assert!(attempt.shows_wrong_key(NOW, &record(0, hello as u8)));
        }
    }

    #[test]
    fn the_memory_has_bounds_and_the_oldest_path_loses_its_place() {
        let memory = Attempts::default();
        memory.listen();
        let room = memory.lock().greetings.capacity();
        for port in 1..=2 * MAX_PATHS as u16 {
            memory.note(NOW, path(port), 0);
            let known = memory.lock().paths.len();
            assert_eq!(known, MAX_PATHS.min(usize::from(port) - 1), "of what is not proven nothing is kept");
            let mut attempt = memory.on(path(port), 0);
            attempt.note(&record(0, 0));
            attempt.begin(NOW + Duration::from_micros(u64::from(port)));
            for number in 0..2 * MAX_RECORDS as u64 {
                attempt.note(&record(number, 1));
                memory.note(NOW, path(port), number);
            }
        }
        let known = memory.lock();
        assert_eq!((known.paths.len(), known.greetings.len()), (MAX_PATHS, MAX_GREETINGS));
        assert_eq!(known.greetings.capacity(), room);
        let newest = MAX_PATHS as u16 + 1..=2 * MAX_PATHS as u16;
        assert!(newest.into_iter().all(|port| known.paths.contains_key(&known.hash(path(port)))));
        assert!(known.paths.values().all(|it| it.records.len() <= MAX_RECORDS && it.hellos.len() == MAX_HELLOS));
    }
}
