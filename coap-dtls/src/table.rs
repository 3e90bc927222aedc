//! The sessions, by number, by path and by age, and when each of them wants to be looked at.

use core::hash::{BuildHasher, Hash};
use std::collections::BTreeSet;

use coap_core::{Instant, Local, SessionEnd, SessionId, UdpAddr};
use hashbrown::HashMap;
use rand_core::CryptoRng;
use siphasher::sip::SipHasher13;

use crate::config::ClientSecurity;
use crate::engine::Engine;
use crate::identity::PeerIdentity;
use crate::verify::ServerName;

/// Where the datagrams of a session travel: which socket of ours, and which address of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    pub(crate) socket: u16,
    pub(crate) addr: UdpAddr,
}

/// Which slot of the table. It means something for as long as its session is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

/// One session, from the first flight of its handshake on.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) path: Path,
    /// Where its datagrams leave from.
    pub(crate) local: Local,
    pub(crate) engine: Box<dyn Engine>,
    /// `None`: a client has opened it.
    pub(crate) dialled: Option<Box<Dialled>>,
    pub(crate) phase: Phase,
    /// The hello of the client that has opened it, as a hash under a key of ours.
    pub(crate) hello: u64,
    /// Since when the handshake has been done; before, when it began.
    pub(crate) since: Instant,
    /// The longest message in bytes that fits into a record.
    pub(crate) room: usize,
    /// When something was last said in it, give or take a second; in a handshake, when it began.
    pub(crate) used: Instant,
    /// How many Confirmable messages in a row nobody has acknowledged.
    pub(crate) unanswered: u32,
    /// When the first message was sent since the peer has said something.
    pub(crate) asked: Option<Instant>,
    links: Links,
    wake: Option<Instant>,
}

/// What we have opened, and for whom.
pub(crate) struct Dialled {
    pub(crate) security: ClientSecurity,
    pub(crate) name: Option<ServerName>,
    /// How often the handshake may be begun anew.
    pub(crate) retries: u8,
    /// It has failed, for this reason, and is begun anew then.
    pub(crate) failed: Option<(SessionEnd, Instant)>,
    /// Since when something has come from the address of the peer.
    pub(crate) heard: Option<Instant>,
    /// The cookie that was asked for first, as a hash.
    pub(crate) asked: Option<u64>,
    /// Another one was asked for since, so that it is begun anew then.
    pub(crate) astray: Option<Instant>,
    /// How often that may be.
    pub(crate) detours: u8,
}

impl Dialled {
    pub(crate) fn new(security: ClientSecurity, name: Option<ServerName>, retries: u8, detours: u8) -> Self {
        Self { security, name, retries, failed: None, heard: None, asked: None, astray: None, detours }
    }
}

/// Where a session is.
pub(crate) enum Phase {
    /// In its handshake, which must be done by then.
    Opening { deadline: Instant },
    /// The handshake is done, and this is the peer.
    Open(PeerIdentity),
}

impl Session {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// When a handshake of ours is begun anew: soon after it was led astray or has failed, or at half of its time if somebody has answered, and
    /// it does not come to its end. Who has answered late has a quarter of it to go on.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        let dialled = self.dialled.as_deref()?;
        if dialled.astray.is_some() || dialled.retries == 0 {
            return dialled.astray;
        }
        let deadline = dialled.security.0.parts.common.timer.deadline;
        let stuck = |heard: Instant| (self.used + deadline / 2).max(heard + deadline / 4);
        dialled.failed.map(|(_, again)| again).or_else(|| dialled.heard.map(stuck))
    }
}

/// The sessions of one path: at most one that stands, one in its handshake, to take its place, and one that takes the place of
/// that when its client has proven its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) open: Option<Slot>,
    pub(crate) opening: Option<Slot>,
    pub(crate) unproven: Option<Slot>,
}

/// Whose turn it is to lose its place. What we have opened is in none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Half-open, of clients that may have forged their address: the oldest first.
    Unproven,
    /// Half-open, of clients that have not.
    Proven,
    /// Sessions that clients have opened: the one that has been silent the longest first.
    Served,
}

const QUEUES: usize = 3;

/// Neighbours in a queue.
#[derive(Clone, Copy, Default)]
struct Links {
    queue: Option<Queue>,
    older: Option<Slot>,
    newer: Option<Slot>,
}

#[derive(Clone, Copy, Default)]
struct Ends {
    oldest: Option<Slot>,
    newest: Option<Slot>,
    len: usize,
}

/// A hash under a key of ours: whoever chooses addresses does not choose where they collide.
#[derive(Clone, Copy, Default)]
pub(crate) struct Keyed([u64; 2]);

impl core::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Keyed(..)")
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0[0], self.0[1])
    }
}

/// All sessions.
pub(crate) struct Table {
    slots: Vec<Option<Session>>,
    free: Vec<Slot>,
    by_id: HashMap<SessionId, Slot, Keyed>,
    by_path: HashMap<Path, Paths, Keyed>,
    queues: [Ends; QUEUES],
    wakes: BTreeSet<(Instant, Slot)>,
    keyed: Keyed,
    next: u64,
    /// Sessions that stand.
    open: usize,
    /// Sessions that we are about to open.
    dialling: usize,
}

/// Numbers of secure sessions have the top bit; those of other transports do not.
const FIRST_ID: u64 = 1 << 63;

/// Whether the number of a session is one of ours.
pub(crate) fn is_secure(session: SessionId) -> bool {
    session.number() >= FIRST_ID
}

impl Table {
    pub(crate) fn new(rng: &mut dyn CryptoRng) -> Self {
        let keyed = Keyed([rng.next_u64(), rng.next_u64()]);
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::with_hasher(keyed),
            by_path: HashMap::with_hasher(keyed),
            queues: [Ends::default(); QUEUES],
            wakes: BTreeSet::new(),
            keyed,
            next: FIRST_ID,
            open: 0,
            dialling: 0,
        }
    }

    /// A number for a session that is about to be made. It is never given again.
    pub(crate) fn number(&mut self) -> SessionId {
        let id = SessionId::new(self.next);
        // 2⁶³ handshakes do not happen.
        self.next = self.next.saturating_add(1);
        id
    }

    /// What hashes of all that others choose are made under.
    pub(crate) fn keyed(&self) -> Keyed {
        self.keyed
    }

    /// A hash of a hello's random.
    pub(crate) fn fingerprint(&self, random: &[u8]) -> u64 {
        self.keyed.hash_one(random)
    }

    /// Takes in a session in its handshake. There is none such on its path, but for one that is proven if this one is not.
    pub(crate) fn insert(&mut self, opening: Opening) -> Slot {
        let Opening { id, path, local, engine, dialled, deadline, hello, room, queue, now } = opening;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot(self.slots.len() as u32 - 1)
        });
        self.by_id.insert(id, slot);
        let paths = self.by_path.entry(path).or_default();
        match paths.opening {
            Some(_) => paths.unproven = Some(slot),
            None => paths.opening = Some(slot),
        }
        self.dialling += usize::from(dialled.is_some());
        let phase = Phase::Opening { deadline };
        let (links, wake) = (Links::default(), None);
        let session = Session {
            id,
            path,
            local,
            engine,
            dialled,
            phase,
            hello,
            since: now,
            room,
            used: now,
            unanswered: 0,
            asked: None,
            links,
            wake,
        };
        self.slots[slot.0 as usize] = Some(session);
        self.enqueue(slot, queue);
        slot
    }

    /// The handshake of a session is done. There is no other that stands on its path.
    pub(crate) fn promote(&mut self, now: Instant, slot: Slot, identity: PeerIdentity) {
        let Some(session) = self.get_mut(slot) else { return };
        let was_open = session.is_open();
        session.phase = Phase::Open(identity);
        (session.since, session.used) = (now, now);
        let (path, is_dialled) = (session.path, session.dialled.is_some());
        if was_open {
            return;
        }
        self.dialling -= usize::from(is_dialled);
        self.open += 1;
        let paths = self.by_path.entry(path).or_default();
        paths.open = Some(slot);
        paths.opening = paths.opening.filter(|opening| *opening != slot);
        self.enqueue(slot, (!is_dialled).then_some(Queue::Served));
    }

    /// Forgets a session.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Session> {
        self.enqueue(slot, None);
        self.set_wake(slot, None);
        let session = self.slots.get_mut(slot.0 as usize)?.take()?;
        self.free.push(slot);
        self.by_id.remove(&session.id);
        if session.is_open() {
            self.open -= 1;
        } else {
            self.dialling -= usize::from(session.dialled.is_some());
        }
        let paths = self.by_path.entry(session.path).or_default();
        for place in [&mut paths.open, &mut paths.opening, &mut paths.unproven] {
            *place = place.filter(|place| *place != slot);
        }
        if *paths == Paths::default() {
            self.by_path.remove(&session.path);
        }
        self.shrink();
        Some(session)
    }

    /// Nothing is kept of a flood that is over.
    fn shrink(&mut self) {
        if self.by_id.is_empty() && self.slots.len() > 256 {
            (self.slots, self.free) = (Vec::new(), Vec::new());
            self.by_id = HashMap::with_hasher(self.keyed);
            self.by_path = HashMap::with_hasher(self.keyed);
        }
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Session> {
        self.slots.get(slot.0 as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Session> {
        self.slots.get_mut(slot.0 as usize)?.as_mut()
    }

    pub(crate) fn find(&self, id: SessionId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// The client of a session has proven its address: which other loses its place by that.
    pub(crate) fn prove(&mut self, slot: Slot) -> Option<Slot> {
        self.enqueue(slot, Some(Queue::Proven));
        let path = self.get(slot)?.path;
        let paths = self.by_path.get_mut(&path)?;
        paths.unproven.take_if(|unproven| *unproven == slot)?;
        paths.opening.replace(slot)
    }

    /// The sessions of a path.
    pub(crate) fn paths(&self, path: Path) -> Paths {
        self.by_path.get(&path).copied().unwrap_or_default()
    }

    /// Sessions that stand.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Sessions that we are about to open.
    pub(crate) fn dialling(&self) -> usize {
        self.dialling
    }

    /// Sessions that clients are about to open.
    pub(crate) fn half_open(&self) -> usize {
        self.by_id.len() - self.open - self.dialling
    }

    /// The numbers of all sessions.
    pub(crate) fn ids(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.slots.iter().flatten().map(|session| session.id)
    }

    // ----- Age -------------------------------------------------------------------------------------------------------

    /// Whoever is to go first.
    pub(crate) fn oldest(&self, queue: Queue) -> Option<Slot> {
        self.queues[queue as usize].oldest
    }

    /// True if the address of its client is.
    pub(crate) fn is_proven(&self, slot: Slot) -> bool {
        self.get(slot).is_some_and(|session| session.links.queue != Some(Queue::Unproven))
    }

    /// Puts a session at the end of a queue, or in none.
    pub(crate) fn enqueue(&mut self, slot: Slot, queue: Option<Queue>) {
        let Some(session) = self.get_mut(slot) else { return };
        let Links { queue: before, older, newer } = core::mem::take(&mut session.links);
        if let Some(before) = before {
            match older.and_then(|older| self.get_mut(older)) {
                Some(older) => older.links.newer = newer,
                None => self.queues[before as usize].oldest = newer,
            }
            match newer.and_then(|newer| self.get_mut(newer)) {
                Some(newer) => newer.links.older = older,
                None => self.queues[before as usize].newest = older,
            }
            self.queues[before as usize].len -= 1;
        }
        let Some(queue) = queue else { return };
        let ends = &mut self.queues[queue as usize];
        let older = ends.newest.replace(slot);
        ends.oldest.get_or_insert(slot);
        ends.len += 1;
        if let Some(older) = older.and_then(|older| self.get_mut(older)) {
            older.links.newer = Some(slot);
        }
        if let Some(session) = self.get_mut(slot) {
            session.links = Links { queue: Some(queue), older, newer: None };
        }
    }

    /// Something was said in a session that stands.
    pub(crate) fn touch(&mut self, now: Instant, slot: Slot) {
        let Some(session) = self.get_mut(slot) else { return };
        // Once a second is enough, and saves the walk through its neighbours for each message.
        if (now - session.used).as_secs() < 1 {
            return;
        }
        session.used = now;
        let queue = session.links.queue;
        self.enqueue(slot, queue);
    }

    // ----- Time ------------------------------------------------------------------------------------------------------

    /// Has the session looked at by `at`; earlier does no harm.
    pub(crate) fn wake_by(&mut self, slot: Slot, at: Instant) {
        if self.get(slot).is_some_and(|session| session.wake.is_none_or(|wake| wake > at)) {
            self.set_wake(slot, Some(at));
        }
    }

    fn set_wake(&mut self, slot: Slot, at: Option<Instant>) {
        let Some(session) = self.get_mut(slot) else { return };
        let before = core::mem::replace(&mut session.wake, at);
        if let Some(before) = before {
            self.wakes.remove(&(before, slot));
        }
        if let Some(at) = at {
            self.wakes.insert((at, slot));
        }
    }

    /// When the first session wants to be looked at.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// A session that wants to be looked at.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Slot> {
        let (at, slot) = *self.wakes.first()?;
        if at > now {
            return None;
        }
        self.set_wake(slot, None);
        Some(slot)
    }
}

/// What a session is made from.
pub(crate) struct Opening {
    pub(crate) id: SessionId,
    pub(crate) path: Path,
    pub(crate) local: Local,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) dialled: Option<Box<Dialled>>,
    pub(crate) deadline: Instant,
    pub(crate) hello: u64,
    pub(crate) room: usize,
    pub(crate) queue: Option<Queue>,
    pub(crate) now: Instant,
}
