//! Whose body it is that travels in blocks, to us or from us: found by the peer and by what the messages of one operation
//! have in common, never by a token (RFC 7959 §2.4, §2.5; RFC 9175 §3.3).
//!
//! A peer that has been told to go on owes us its next message. Those who do wait in one of three lists, the longest
//! silent first: they are forgotten EXCHANGE_LIFETIME later, or earlier for others, and in this order.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use hashbrown::HashTable;

use super::stream::Stream;
use crate::blockwise::Budget;
use crate::exchange::IncomingKey;
use crate::links::{Link, List};
use crate::message::Response;
use crate::peers::PeerKey;
use crate::slab::{Key, Slab};
use crate::time::Instant;
use crate::wire::{Block, Code, Options};

pub(crate) type TransferKey = Key<Transfer>;

/// How long a transfer that goes on is left alone after each step, whoever wants its place. A client that gets no answer
/// repeats its block within 3 s (RFC 7252 §4.2: ACK_TIMEOUT times ACK_RANDOM_FACTOR).
const PATIENCE: Duration = Duration::from_secs(4);

/// At most so many are looked at in one search for somebody who must give way.
const LOOKS: usize = 64;

/// Which body of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// That of the request, which comes with Block1.
    In,
    /// That of the response, which goes with Block2.
    Out,
}

/// Which body, of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) peer: PeerKey,
    /// See [`KeyedHash::operation`](crate::hash::KeyedHash::operation).
    pub(crate) hash: u64,
}

/// A body under way.
pub(crate) struct Transfer {
    pub(crate) operation: Operation,
    way: Way,
    pub(crate) stage: Stage,
    /// What was taken for it from the budget.
    held: usize,
    moved: Instant,
    standing: Standing,
    order: Link,
    of_peer: Link,
}

/// What there is of it.
pub(crate) enum Stage {
    /// A request body that is coming in.
    Upload(Upload),
    /// The answer to an upload or to a stream: given to the block that comes next, or comes again.
    Answered(Answered),
    /// A response body that is kept until the peer has fetched it.
    Kept(Kept),
    /// A response body that the application supplies part by part.
    Stream(Stream),
}

/// Who has to go on with a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// We: it is not given up for others.
    Ours,
    /// Nobody: it is kept in case the last answer was lost.
    Done,
    /// The peer, with its second block. Whoever forges its address gets so far.
    First,
    /// The peer, with a later one.
    Later,
}

impl Standing {
    /// In which list it waits for its peer.
    const fn waiting(self) -> Option<usize> {
        match self {
            Self::Ours => None,
            Self::Done => Some(0),
            Self::First => Some(1),
            Self::Later => Some(2),
        }
    }

    /// How long it is left alone by the transfers of other peers. One that has not come beyond its first block is not: if each
    /// was, a few forged blocks a second would keep everybody out. So whoever floods us must fill the whole table within the
    /// round trip of an honest peer.
    const fn patience(self) -> Duration {
        match self {
            Self::Done | Self::First => Duration::ZERO,
            Self::Ours | Self::Later => PATIENCE,
        }
    }
}

/// Everything in a response but what the message layer adds.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) code: Code,
    pub(crate) options: Options,
    pub(crate) payload: Bytes,
}

impl From<Response> for Reply {
    #[inline]
    fn from(response: Response) -> Self {
        let Response { code, options, body } = response;
        Self { code, options, payload: body.into_bytes() }
    }
}

pub(crate) struct Answered {
    pub(crate) reply: Reply,
    /// To the block from here to here only; without, to whatever block comes.
    pub(crate) of: Option<(u64, u64)>,
}

pub(crate) struct Kept {
    pub(crate) code: Code,
    /// As the application gave them, and an ETag.
    pub(crate) options: Options,
    pub(crate) body: Bytes,
}

/// A request body that is coming in.
pub(crate) struct Upload {
    pub(crate) incoming: IncomingKey,
    /// How much has come: where the next block starts.
    pub(crate) received: u64,
    /// Its last block has come.
    pub(crate) ended: bool,
    /// How long it will be, says the peer.
    pub(crate) size: Option<u64>,
    /// The hash of its first block: whether a first block is this one again.
    pub(crate) first: u64,
    pub(crate) intake: Intake,
    /// What is to be handed up.
    pub(crate) part: Option<Part>,
}

/// What the application does with it.
pub(crate) enum Intake {
    /// It has not said yet; the first block waits for it.
    Undecided(Bytes),
    /// It wants it as one.
    Collecting { body: Vec<u8>, limit: usize },
    /// It has consumed what was handed up.
    Consumed,
    /// It consumes what was handed up; behind that the next part can wait.
    Consuming(Option<Part>),
    /// It has it.
    Done,
}

/// Bytes for the application.
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
    pub(crate) last: bool,
}

/// What a block is to an upload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It goes on where the last ended, after so many bytes that are known.
    Next(usize),
    /// It is the last one that came.
    Again,
    /// It is one before that.
    Before,
    /// It leaves something out, or contradicts what came.
    Gap,
}

impl Upload {
    /// Where a block of `len` bytes belongs (RFC 7959 §2.5). After a change of the block size it can overlap.
    pub(crate) fn place(&self, block: Block, len: usize) -> Place {
        let (start, end) = (block.offset(), block.offset() + len as u64);
        let goes_on = end > self.received || (end == self.received && !block.more());
        match () {
            () if start > self.received => Place::Gap,
            () if self.ended && end == self.received && !block.more() => Place::Again,
            () if self.ended && (end >= self.received || !block.more()) => Place::Gap,
            () if goes_on => usize::try_from(self.received - start).map_or(Place::Gap, Place::Next),
            () if !block.more() => Place::Gap,
            () if end == self.received => Place::Again,
            () => Place::Before,
        }
    }
}

pub(crate) struct Transfers {
    transfers: Slab<Transfer>,
    index: HashTable<u32>,
    waiting: [List; 3],
    max: usize,
}

fn order(transfer: &mut Transfer) -> &mut Link {
    &mut transfer.order
}

fn of_peer(transfer: &mut Transfer) -> &mut Link {
    &mut transfer.of_peer
}

impl Transfers {
    pub(crate) const fn new(max: usize) -> Self {
        Self { transfers: Slab::new(), index: HashTable::new(), waiting: [List::new(); 3], max }
    }

    pub(crate) const fn len(&self) -> usize {
        self.transfers.len()
    }

    /// No place for one more.
    pub(crate) const fn is_full(&self) -> bool {
        self.transfers.len() >= self.max
    }

    /// How many one peer may have.
    pub(crate) const fn max_per_peer(&self) -> usize {
        self.max.div_ceil(4)
    }

    pub(crate) fn find(&self, of: Operation, way: Way) -> Option<TransferKey> {
        if self.transfers.len() == 0 {
            return None;
        }
        let index = self.index.find(hash(of), |index| {
            self.transfers.at(*index).is_some_and(|found| found.operation == of && found.way == way)
        })?;
        self.transfers.key_at(*index)
    }

    pub(crate) fn get(&self, key: TransferKey) -> Option<&Transfer> {
        self.transfers.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: TransferKey) -> Option<&mut Transfer> {
        self.transfers.get_mut(key)
    }

    /// The one of a peer, of which `peers` is the list, that has been silent longest.
    pub(crate) fn first_of(&self, peers: &List) -> Option<TransferKey> {
        self.transfers.key_at(peers.front()?)
    }

    /// Whether it is kept only in case its last answer was lost.
    pub(crate) fn is_done(&self, key: TransferKey) -> bool {
        self.transfers.get(key).is_some_and(|transfer| transfer.standing == Standing::Done)
    }

    pub(crate) fn is_upload(&self, key: TransferKey) -> bool {
        self.transfers.get(key).is_some_and(|transfer| matches!(transfer.stage, Stage::Upload(_)))
    }

    pub(crate) fn upload(&mut self, key: TransferKey) -> Option<&mut Upload> {
        match &mut self.transfers.get_mut(key)?.stage {
            Stage::Upload(upload) => Some(upload),
            _ => None,
        }
    }

    pub(crate) fn stream(&mut self, key: TransferKey) -> Option<&mut Stream> {
        match &mut self.transfers.get_mut(key)?.stage {
            Stage::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    /// Adds one that we have to go on with; there is a place. `peers` is the list of those of the same peer.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        peers: &mut List,
        operation: Operation,
        way: Way,
        stage: Stage,
    ) -> TransferKey {
        let key = self.transfers.insert(Transfer {
            operation,
            way,
            stage,
            held: 0,
            moved: now,
            standing: Standing::Ours,
            order: Link::new(),
            of_peer: Link::new(),
        });
        let Self { transfers, index, .. } = self;
        let rehash = |index: &u32| transfers.at(*index).map_or(0, |transfer| hash(transfer.operation));
        index.insert_unique(hash(operation), key.index(), rehash);
        peers.push_back(&mut self.transfers, key.index(), of_peer);
        key
    }

    /// It made a step: from now on it is this one's turn.
    pub(crate) fn stand(&mut self, now: Instant, peers: &mut List, key: TransferKey, standing: Standing) {
        let Some(transfer) = self.transfers.get_mut(key) else { return };
        let before = transfer.standing;
        (transfer.standing, transfer.moved) = (standing, now);
        if let Some(list) = before.waiting() {
            self.waiting[list].remove(&mut self.transfers, key.index(), order);
        }
        if let Some(list) = standing.waiting() {
            self.waiting[list].push_back(&mut self.transfers, key.index(), order);
        }
        peers.remove(&mut self.transfers, key.index(), of_peer);
        peers.push_back(&mut self.transfers, key.index(), of_peer);
    }

    /// Takes memory for it; false: there is not so much.
    #[must_use]
    pub(crate) fn take(&mut self, budget: &mut Budget, key: TransferKey, bytes: usize) -> bool {
        let Some(transfer) = self.transfers.get_mut(key) else { return false };
        let taken = budget.take(bytes);
        transfer.held += if taken { bytes } else { 0 };
        taken
    }

    /// Gives back all the memory that was taken for it.
    pub(crate) fn give(&mut self, budget: &mut Budget, key: TransferKey) {
        if let Some(transfer) = self.transfers.get_mut(key) {
            budget.give(core::mem::take(&mut transfer.held));
        }
    }

    pub(crate) fn remove(&mut self, peers: &mut List, budget: &mut Budget, key: TransferKey) -> Option<Transfer> {
        let transfer = self.transfers.get(key)?;
        let (hash, standing) = (hash(transfer.operation), transfer.standing);
        self.give(budget, key);
        if let Some(list) = standing.waiting() {
            self.waiting[list].remove(&mut self.transfers, key.index(), order);
        }
        peers.remove(&mut self.transfers, key.index(), of_peer);
        if let Ok(entry) = self.index.find_entry(hash, |index| *index == key.index()) {
            entry.remove();
        }
        let transfer = self.transfers.remove(key);
        if self.transfers.len() == 0 && self.index.capacity() > 256 {
            self.index = HashTable::new();
        }
        transfer
    }

    /// Who gives way to another: of those that have their answer, then of those that have one block, then of those that have
    /// stopped for now, the one that has been silent longest.
    pub(crate) fn victim(&self, now: Instant) -> Option<TransferKey> {
        let fronts = self.waiting.iter().filter_map(List::front);
        fronts.filter(|index| self.is_silent(now, *index)).find_map(|index| self.transfers.key_at(index))
    }

    /// As [`victim`](Self::victim), among those that hold memory, for the transfer `key`. A response body can be served without
    /// memory: it takes none from a request body that goes on.
    pub(crate) fn holding_victim(&self, now: Instant, key: TransferKey) -> Option<TransferKey> {
        let way = self.transfers.get(key)?.way;
        let gives = |of: &Transfer| of.held > 0 && (way == Way::In || of.way == Way::Out || of.moved + PATIENCE <= now);
        let mut looks = LOOKS;
        for list in &self.waiting {
            let mut next = list.front();
            while let Some(index) = next.filter(|index| looks > 0 && self.is_silent(now, *index)) {
                let transfer = self.transfers.at(index)?;
                if gives(transfer) {
                    return self.transfers.key_at(index);
                }
                next = transfer.order.next();
                looks -= 1;
            }
        }
        None
    }

    /// As [`victim`](Self::victim), among those of one peer, which does not want to harm itself: those with one block are left
    /// alone, too.
    pub(crate) fn victim_of(&self, now: Instant, peers: &List) -> Option<TransferKey> {
        let walk = core::iter::successors(peers.front(), |index| self.transfers.at(*index)?.of_peer.next());
        let silent = walk.take(LOOKS).filter(|index| {
            let moved = self.transfers.at(*index).map(|transfer| (transfer.standing, transfer.moved));
            let first = moved.is_some_and(|(standing, moved)| standing == Standing::First && moved + PATIENCE > now);
            self.is_silent(now, *index) && !first
        });
        let victim = silent.min_by_key(|index| self.transfers.at(*index).map(|transfer| transfer.standing as u8))?;
        self.transfers.key_at(victim)
    }

    /// When the first of those that wait for their peer is given up.
    pub(crate) fn next_expiry(&self, lifetime: Duration) -> Option<Instant> {
        if self.transfers.len() == 0 {
            return None;
        }
        let fronts = self.waiting.iter().filter_map(|list| self.transfers.at(list.front()?));
        fronts.map(|transfer| transfer.moved + lifetime).min()
    }

    /// One whose peer has been silent for `lifetime`.
    pub(crate) fn expired(&self, now: Instant, lifetime: Duration) -> Option<TransferKey> {
        let mut fronts = self.waiting.iter().filter_map(List::front);
        let due = |index: &u32| self.transfers.at(*index).is_some_and(|transfer| transfer.moved + lifetime <= now);
        fronts.find(due).and_then(|index| self.transfers.key_at(index))
    }

    fn is_silent(&self, now: Instant, index: u32) -> bool {
        self.transfers.at(index).is_some_and(|transfer| {
            transfer.standing != Standing::Ours && transfer.moved + transfer.standing.patience() <= now
        })
    }
}

/// The operation is a keyed hash already, and the place of a peer is ours.
const fn hash(of: Operation) -> u64 {
    of.hash ^ (of.peer.index() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::exchange::Incomings;
    use crate::exchange::testing::arrived;
    use crate::peers::testing::record;

    /// The key of some peer.
    pub(crate) fn peer() -> PeerKey {
        Slab::new().insert(record(Instant::ZERO))
    }

    /// The key of some request.
    pub(crate) fn key() -> IncomingKey {
        Incomings::new().open(Instant::ZERO, arrived(peer()))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{key, peer};
    use super::*;
    use crate::message::BlockSize;

    fn at(secs: u64) -> Instant {
        Instant::from_secs(1_000 + secs)
    }

    fn answered() -> Stage {
        let reply = Reply { code: Code::CONTINUE, options: Options::new(), payload: Bytes::new() };
        Stage::Answered(Answered { reply, of: None })
    }

    fn upload(received: u64, ended: bool) -> Upload {
        let intake = Intake::Consumed;
        Upload { incoming: key(), received, ended, size: None, first: 0, intake, part: None }
    }

    struct Table {
        transfers: Transfers,
        of_peer: List,
        budget: Budget,
        peer: PeerKey,
    }

    impl Table {
        fn new() -> Self {
            Self { transfers: Transfers::new(8), of_peer: List::new(), budget: Budget::new(100), peer: peer() }
        }

        fn add(&mut self, secs: u64, hash: u64, standing: Standing) -> TransferKey {
            let of = Operation { peer: self.peer, hash };
            let key = self.transfers.open(at(secs), &mut self.of_peer, of, Way::In, answered());
            self.transfers.stand(at(secs), &mut self.of_peer, key, standing);
            key
        }
    }

    #[test]
    fn the_answered_give_way_first_then_the_first_blocks_then_the_others() {
        let mut table = Table::new();
        let later = table.add(0, 1, Standing::Later);
        let first = table.add(1, 2, Standing::First);
        table.add(1, 3, Standing::Ours);
        let done = table.add(2, 4, Standing::Done);
        for gone in [done, first, later] {
            assert_eq!(table.transfers.victim(at(6)), Some(gone));
            assert_eq!(table.transfers.victim_of(at(6), &table.of_peer), Some(gone));
            table.transfers.remove(&mut table.of_peer, &mut table.budget, gone);
        }
        assert_eq!(table.transfers.victim(at(1_000)), None);
        assert_eq!(table.transfers.victim_of(at(1_000), &table.of_peer), None);
        assert_eq!(table.transfers.next_expiry(Duration::ZERO), None);
    }

    #[test]
    fn one_that_moved_lately_is_left_alone() {
        let mut table = Table::new();
        let key = table.add(0, 1, Standing::Later);
        assert_eq!(table.transfers.victim(at(3)), None);
        assert_eq!(table.transfers.victim(at(4)), Some(key));
        table.transfers.stand(at(4), &mut table.of_peer, key, Standing::Later);
        assert_eq!(table.transfers.victim(at(7)), None);
        assert_eq!(table.transfers.expired(at(13), Duration::from_secs(10)), None);
        assert_eq!(table.transfers.expired(at(14), Duration::from_secs(10)), Some(key));
    }

    #[test]
    fn memory_comes_back_with_its_transfer() {
        let mut table = Table::new();
        let (one, two) = (table.add(0, 1, Standing::Later), table.add(0, 2, Standing::Later));
        assert!(table.transfers.take(&mut table.budget, two, 60));
        assert!(!table.transfers.take(&mut table.budget, one, 41));
        assert_eq!(table.transfers.holding_victim(at(9), one), Some(two));
        table.transfers.remove(&mut table.of_peer, &mut table.budget, two);
        assert_eq!((table.budget.used(), table.transfers.holding_victim(at(9), one)), (0, None));
        assert!(!table.transfers.take(&mut table.budget, two, 1));
    }

    #[test]
    fn both_bodies_of_an_operation_are_told_apart() {
        let mut table = Table::new();
        let key = table.add(0, 1, Standing::Done);
        let of = Operation { peer: table.peer, hash: 1 };
        assert_eq!((table.transfers.find(of, Way::In), table.transfers.find(of, Way::Out)), (Some(key), None));
    }

    #[test]
    fn every_block_has_its_place() {
        let block = |num, more, szx| Block::new(num, more, szx).unwrap();
        let going = upload(64, false);
        assert_eq!(going.place(block(4, true, 0), 16), Place::Next(0));
        assert_eq!(going.place(block(4, false, 0), 3), Place::Next(0));
        // The body ends with the block before, which its sender did not know yet.
        assert_eq!(going.place(block(4, false, 0), 0), Place::Next(0));
        assert_eq!(going.place(block(1, true, 2), 64), Place::Next(0));
        assert_eq!(upload(48, false).place(block(1, true, 1), 32), Place::Next(16));
        assert_eq!(going.place(block(3, true, 0), 16), Place::Again);
        assert_eq!(going.place(block(2, true, 0), 16), Place::Before);
        assert_eq!(going.place(block(5, true, 0), 16), Place::Gap);
        // A body does not end before what came.
        assert_eq!(going.place(block(2, false, 0), 16), Place::Gap);
        assert_eq!(going.place(block(Block::MAX_NUM, true, 6), BlockSize::MAX.bytes()), Place::Gap);

        let ended = upload(70, true);
        assert_eq!(ended.place(block(4, false, 0), 6), Place::Again);
        assert_eq!(ended.place(block(3, true, 0), 16), Place::Before);
        assert_eq!(ended.place(block(4, false, 0), 7), Place::Gap);
        assert_eq!(ended.place(block(4, true, 0), 16), Place::Gap);
        assert_eq!(ended.place(block(3, false, 0), 16), Place::Gap);
    }
}
