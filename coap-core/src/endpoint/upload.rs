//! How the body of a request of ours travels: in one datagram, or block by block (RFC 7959 §2.5, §2.7).

use alloc::boxed::Box;

use bytes::Bytes;

use super::Endpoint;
use super::errors::{RequestError, SupplyError};
use crate::addr::Peer;
use crate::blockwise::client::{MOST_AHEAD, Operation, Rules, Tags};
use crate::exchange::{Bodies, NewRequest, OutgoingKey, Stage};
use crate::message::{BlockSize, Blocks, Body, Request, RequestOptions};
use crate::peers::{PeerKey, PeerRecord};
use crate::time::Instant;
use crate::wire::{Block, Code, Message, OptionNumber, Options, Token};

/// The header and the payload marker, in bytes (RFC 7252 §3).
const FRAME: usize = 4 + 1;

/// What Block1, Block2, Size1 and Request-Tag add to the options of a request, at most, in bytes: 3, 3, 4 and 8 of value, and
/// 2, 2, 2 and 3 of head, where the number of the option before is far.
const BLOCK_OPTIONS: usize = 5 + 5 + 6 + 11;

/// At most so many other requests are looked at when a new one is compared with them.
const LOOKS: usize = 64;

/// How a request travels.
pub(super) enum Plan {
    /// In one exchange; the token is still to be drawn.
    OneExchange(Message, Bodies),
    Blocks(Box<Operation>),
}

impl Endpoint {
    /// Further bytes of the content of a request of ours.
    pub(super) fn supply_upload(
        &mut self,
        now: Instant,
        key: OutgoingKey,
        data: Bytes,
        last: bool,
    ) -> Result<(), SupplyError> {
        let request = self.outgoing.get_mut(key).filter(|request| !request.is_settled());
        let request = request.ok_or(SupplyError::Stale)?;
        let paused = matches!(request.stage, Stage::Paused);
        let operation = request.operation_mut().filter(|operation| operation.is_supplied());
        let operation = operation.ok_or(SupplyError::Stale)?;
        if operation.has_all() {
            return Err(SupplyError::Complete);
        }
        operation.supply(data, last).map_err(|max| SupplyError::TooMuch { max })?;
        if operation.has_news() {
            self.outgoing.announce(key);
        }
        if paused {
            self.next_exchange(now, key);
        }
        Ok(())
    }

    /// Decides how a request travels. Nothing has changed if it is refused.
    pub(super) fn plan(&self, to: &Peer, request: Request, how: &RequestOptions) -> Result<Plan, RequestError> {
        let Request { code, mut options, body } = request;
        let single = to.is_multicast() || is_for_one_block(&options);
        match &body {
            Body::Whole(_) => {}
            Body::Parts { .. } if !single => {}
            _ => return Err(RequestError::WrongBody),
        }
        let message =
            |options, payload| Message { kind: how.kind, code, message_id: 0, token: Token::EMPTY, options, payload };
        if single {
            return Ok(Plan::OneExchange(message(options, body.into_bytes()), Bodies::Raw));
        }
        let mut blocks = how.blocks.clone();
        let hint = options.block2().and_then(|block| BlockSize::from_szx(block.szx()));
        options.remove(OptionNumber::BLOCK2);
        blocks.size = hint.or(blocks.size).or(self.config.block_size);
        let (early, size) = (blocks.size.is_some(), blocks.size.unwrap_or(BlockSize::MAX));
        let (len, whole) = (FRAME + self.config.token_room() + options.encoded_len(), !body.is_in_parts());
        let datagram = len + body.len() + if early { BLOCK_OPTIONS } else { 0 };
        let fits = whole && body.len() <= size.bytes() && (datagram <= self.config.max_datagram || body.is_empty());
        let special = early || code == Code::FETCH || blocks.in_parts || blocks.max_body.is_some() || blocks.report;
        if fits && !special {
            return Ok(Plan::OneExchange(message(options, body.into_bytes()), Bodies::Simple));
        }
        let mut szx = size.szx();
        if !fits {
            let max = self.config.max_datagram;
            let room = max.saturating_sub(len + BLOCK_OPTIONS);
            let largest = Block::largest_szx(room);
            let too_large = RequestError::TooLarge { len: len + BLOCK_OPTIONS + BlockSize::MIN.bytes(), max };
            szx = szx.min(largest.ok_or(too_large)?);
        }
        if body.len().saturating_sub(1) >> (szx + 4) > Block::MAX_NUM as usize {
            return Err(RequestError::TooManyBlocks);
        }
        let tagged = options.contains(OptionNumber::REQUEST_TAG);
        let rules = self.rules(blocks, szx, early, tagged);
        Ok(Plan::Blocks(Box::new(Operation::new(how.kind, code, options, body, rules))))
    }

    /// What applies to an operation that was asked for with these settings.
    pub(super) fn rules(&self, how: Blocks, szx: u8, early: bool, tagged: bool) -> Rules {
        let max_body = how.max_body.unwrap_or(self.config.max_body);
        let (on_change, attempts) = (self.config.on_change, self.config.block_attempts);
        Rules { how, szx, early, max_body, on_change, attempts, tagged }
    }

    /// RFC 9175 §3.3: when the blocks of two bodies under way could be mixed up by the peer, the later body gets a tag.
    pub(super) fn tell_apart(&mut self, now: Instant, peer: PeerKey, new: &mut NewRequest) {
        let Some(record) = self.peers.get(peer).filter(|_| new.body_key.is_some()) else { return };
        let long = new.bodies.operation().is_some_and(Operation::can_be_mixed_up);
        let beside = self.has_alike(peer, new.body_key, long);
        let unsure = long && (record.requests.len() > LOOKS || self.tags.are_needed(now));
        if beside || unsure {
            add_tag(&mut new.bodies, new.message.as_mut(), &mut self.tags, self.config.max_datagram);
        }
    }

    /// Whether the blocks of a request with this key, which travels in blocks if it is `long`, could be taken for those of one
    /// that is open.
    pub(super) fn has_alike(&self, peer: PeerKey, key: Option<u64>, long: bool) -> bool {
        let Some(record) = self.peers.get(peer).filter(|_| key.is_some()) else { return false };
        let next = |index: &u32| self.outgoing.at(*index)?.of_peer.next();
        let others = core::iter::successors(record.requests.front(), next).filter_map(|index| self.outgoing.at(index));
        others.take(LOOKS).any(|other| {
            let other_long = other.operation().is_some_and(Operation::can_be_mixed_up);
            let observed = other.observing.as_ref().and_then(|observing| observing.key);
            (other.body_key == key && (long || other_long)) || observed == key
        })
    }

    /// The response to a request turned out to come in blocks. Others to the same resource that have not been sent yet must
    /// not be taken for it.
    pub(super) fn tell_waiting_apart(&mut self, key: OutgoingKey) {
        let Some(request) = self.outgoing.get(key).filter(|request| request.body_key.is_some()) else { return };
        let (body_key, max) = (request.body_key, self.config.max_datagram);
        let Some(record) = request.peer.and_then(|peer| self.peers.get(peer)) else { return };
        for mut next in [record.backlog.front(), record.paced.front()] {
            while let Some(other) = next.and_then(|index| self.outgoing.slab_mut().at_mut(index)) {
                next = other.waiting.next();
                if let Stage::Waiting(message) = &mut other.stage
                    && other.body_key == body_key
                    && other.attempts == 0
                {
                    add_tag(&mut other.bodies, Some(message), &mut self.tags, max);
                }
            }
        }
    }

    /// A request ends without a response. Blocks of its body can still be on their way, and must not be taken for those of
    /// the next body for the same resource (RFC 9175 §3.3: its tag is not recycled before it has concluded).
    pub(super) fn note_abandoned(&mut self, now: Instant, key: OutgoingKey) {
        let Some(request) = self.outgoing.get(key).filter(|request| request.attempts > 0) else { return };
        // What was sent in a session that is over comes into no other.
        let reaches = |peer: &PeerKey| self.peers.get(*peer).is_some_and(PeerRecord::is_reachable);
        let leaves = request.operation().is_some_and(Operation::leaves_blocks_behind);
        if let Some(peer) = request.peer.filter(|peer| leaves && reaches(peer)) {
            self.tags.need_until(now + self.transmission(peer).exchange_lifetime());
        }
    }
}

/// Gives a request a tag of its own, unless it has one, or has no room for one.
fn add_tag(bodies: &mut Bodies, message: Option<&mut Message>, tags: &mut Tags, max_datagram: usize) {
    if message.as_ref().is_some_and(|message| message.options.contains(OptionNumber::REQUEST_TAG)) {
        return;
    }
    if let Bodies::Blocks(operation) = bodies {
        operation.set_tag(tags);
    }
    let Some(message) = message else { return };
    match bodies {
        Bodies::Blocks(operation) => match operation.message(message.token.clone()) {
            Ok(Some(tagged)) if tagged.encoded_len() <= max_datagram => *message = tagged,
            _ => operation.clear_tag(),
        },
        Bodies::Simple | Bodies::Raw => {
            tags.set_new(&mut message.options);
            if message.encoded_len() > max_datagram {
                message.options.remove(OptionNumber::REQUEST_TAG);
            }
        }
    }
}

/// The caller deals with block options: one exchange, for one block.
fn is_for_one_block(options: &Options) -> bool {
    let beyond = |block: Block| block.num() > 0 || block.is_reserved();
    options.contains(OptionNumber::BLOCK1)
        || (options.contains(OptionNumber::BLOCK2) && options.block2().is_none_or(beyond))
}

// Two blocks of the largest size, and what an application reads at a time.
const _: () = assert!(MOST_AHEAD >= 4 * BlockSize::MAX.bytes());
