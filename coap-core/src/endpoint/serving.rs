//! As a server, block by block (RFC 7959): which body a request is about, and what one response carries of a body.

use alloc::boxed::Box;

use bytes::Bytes;

use super::Endpoint;
use super::errors::RespondError;
use super::inbound::Path;
use crate::blockwise::server::{
    Answered, Kept, Miss, Operation, Piece, Reply, Stage, Standing, Stretch, TransferKey, Way,
};
use crate::event::{Closed, Wanted};
use crate::exchange::{Arrived, Asked, IncomingKey, Waiting};
use crate::message::{BlockSize, Body, Request, Response};
use crate::peers::PeerKey;
use crate::reliability::RecentKey;
use crate::time::Instant;
use crate::wire::{Block, Code, ETag, Message, OptionNumber, Options, Token};

/// A request that was admitted.
pub(super) struct Arrival {
    pub(super) path: Path,
    pub(super) peer: PeerKey,
    /// What it has in common with the others of its body, if it is a block.
    pub(super) common: Option<u64>,
    pub(super) recent: Option<RecentKey>,
    pub(super) asked: Asked,
    pub(super) message: Message,
    /// Whether it has elective options that must be ignored.
    pub(super) bad_elective: bool,
}

impl Arrival {
    /// `limited`: what it is answered with.
    pub(super) fn arrived(&self, limited: bool) -> Arrived {
        let Message { kind, message_id, token, options, .. } = &self.message;
        Arrived {
            local: self.path.to,
            kind: *kind,
            message_id: *message_id,
            token: token.clone(),
            recent: self.recent,
            no_response: options.no_response(),
            asked: Asked { limited, ..self.asked },
        }
    }

    /// What the application sees of it: nothing of blocks, and no elective options whose length or number is wrong (RFC 7252
    /// §5.4.1).
    pub(super) fn into_request(self) -> Request {
        let Self { asked, message, bad_elective, .. } = self;
        let Message { code, options, payload, .. } = message;
        let mut request = Request { code, options, body: Body::Whole(payload) };
        if bad_elective {
            request.options.strip_bad_elective();
        }
        if asked.block1.is_some() || asked.block2.is_some() {
            // RFC 7959 §3.4: whoever asks for a later block does not register.
            let later = asked.block2.is_some_and(|block| block.num() > 0);
            request.options.retain(|number, _| match number {
                OptionNumber::BLOCK1 | OptionNumber::BLOCK2 => false,
                OptionNumber::OBSERVE => !later,
                _ => true,
            });
        }
        request
    }
}

/// What a response carries, and what is kept for later blocks of it.
pub(super) struct Cut {
    pub(super) reply: Reply,
    pub(super) kept: Option<Box<Kept>>,
}

/// Why a body could not be cut.
pub(super) enum Uncut {
    Miss(Miss),
    /// Not even the smallest block fits into a datagram.
    TooLarge {
        len: usize,
    },
}

/// How many bytes a message has beside token, options and payload: the header and the payload marker.
pub(super) const FRAME_LEN: usize = 5;

impl Endpoint {
    /// A request was admitted: it is one of its own, or a block of one that is known.
    pub(super) fn on_admitted(
        &mut self,
        now: Instant,
        path: Path,
        peer: PeerKey,
        recent: Option<RecentKey>,
        message: Message,
        bad_elective: bool,
    ) {
        let block1 = message.options.block1();
        // In a request with a body of its own it can only say how large the blocks of the response shall be.
        let block2 = message.options.block2().map(|block| match block1 {
            Some(_) => Block::new(0, false, block.szx()).unwrap_or(block),
            None => block,
        });
        let of_blocks = block1.is_some() || block2.is_some();
        let common = of_blocks.then(|| self.hash.operation(message.code, &message.options));
        // The next block is where a client repeats what came with the first.
        if of_blocks {
            self.prove_by_echo(now, peer, path.from, &message);
        }
        let arrival = Arrival { path, peer, common, recent, asked: Asked::new(block1, block2), message, bad_elective };
        match (block1, block2) {
            (_, Some(block)) if block.is_reserved() => self.reply_bad(now, arrival, Code::BAD_REQUEST),
            (Some(block), _) if !self.is_sound(&arrival, block) => self.reply_bad(now, arrival, Code::BAD_REQUEST),
            (Some(block), _) if block.num() > 0 => self.on_later_block(now, arrival, block),
            (Some(block), _) if block.more() => self.on_first_block(now, arrival, block),
            (Some(_), _) => {
                // The whole of a body: an upload that began is not meant any more.
                if let Some(before) = self.transfers.find(self.operation_of(&arrival), Way::In) {
                    self.lose_transfer(now, before, Closed::Superseded);
                }
                self.open_whole(now, arrival);
            }
            (None, Some(block)) if block.num() > 0 => self.on_block_wanted(now, arrival, block),
            (None, _) => self.open_whole(now, arrival),
        }
    }

    /// Which body a request is about.
    pub(super) fn operation_of(&self, arrival: &Arrival) -> Operation {
        let Arrival { peer, common, message, .. } = arrival;
        let hash = common.unwrap_or_else(|| self.hash.operation(message.code, &message.options));
        Operation { peer: *peer, hash }
    }

    /// Whether a request belongs to a body that is known: one that is shutting down goes on with those.
    pub(super) fn goes_on(&self, peer: PeerKey, message: &Message) -> bool {
        let later = |block: Option<Block>| block.is_some_and(|block| block.num() > 0);
        let way = match (later(message.options.block1()), later(message.options.block2())) {
            (true, _) => Way::In,
            (false, true) => Way::Out,
            (false, false) => return false,
        };
        let hash = self.hash.operation(message.code, &message.options);
        self.transfers.find(Operation { peer, hash }, way).is_some()
    }

    /// Which stretch of the response a request asks for.
    pub(super) fn wanted(&self, asked: Asked) -> Wanted {
        let offset = asked.block2.map_or(0, Block::offset);
        Wanted { offset, max: 16 << self.szx_for(asked.block2) }
    }

    /// The exponent of the largest block for a peer that named one: its size or ours, whichever is smaller.
    pub(super) fn szx_for(&self, block: Option<Block>) -> u8 {
        let ours = self.config.block_size.unwrap_or(BlockSize::MAX).szx();
        block.map_or(ours, |block| block.szx().min(ours))
    }

    /// Hands a request up as it is.
    fn open_whole(&mut self, now: Instant, arrival: Arrival) {
        let key = self.open_incoming(now, &arrival);
        self.incoming.announce(key, arrival.into_request());
    }

    /// RFC 7959 §2.2, §2.3: a block that is not the last has its full size, and none has more. None goes to a group (§2.8).
    fn is_sound(&self, arrival: &Arrival, block: Block) -> bool {
        let len = arrival.message.payload.len();
        let alone = block.num() == 0 && !block.more();
        let fits = if block.more() { len == block.size() } else { len <= block.size() };
        fits && !block.is_reserved() && (alone || !arrival.path.is_multicast())
    }

    /// Answers a block that belongs nowhere. What is known of other blocks stays: whoever forges one does no harm.
    pub(super) fn reply_bad(&mut self, now: Instant, arrival: Arrival, code: Code) {
        self.stats.bad_blocks += 1;
        self.reply_now(now, arrival, Response::new(code).into());
    }

    /// Answers a request without the application. Its duplicates get the same.
    pub(super) fn reply_now(&mut self, now: Instant, arrival: Arrival, reply: Reply) {
        let key = self.open_incoming(now, &arrival);
        if self.deliver(now, key, reply).is_err() {
            self.acknowledge(key);
        }
        // What a group is told waits for its leisure.
        if self.incoming.get(key).is_some_and(|request| matches!(request.waiting, Waiting::Response)) {
            self.close_incoming(now, key);
        }
    }

    // ----- Later blocks of a response ----------------------------------------------------------------------------

    /// The peer asks for a block of a response body that it has the beginning of (RFC 7959 §2.4). The M bit means nothing
    /// in a request.
    fn on_block_wanted(&mut self, now: Instant, arrival: Arrival, block: Block) {
        let szx = self.szx_for(Some(block));
        let (token, most) = (arrival.message.token.clone(), self.longest_at_once(&arrival));
        let Some(key) = self.transfers.find(self.operation_of(&arrival), Way::Out) else {
            return self.on_unkept_block(now, arrival, block);
        };
        let reply = match self.transfers.get(key).map(|transfer| &transfer.stage) {
            Some(Stage::Kept(kept)) => self.reply_from(kept, most, &token, block.offset(), szx),
            Some(Stage::Answered(answered)) => Some(answered.reply.clone()),
            _ => return self.on_next_wanted(now, arrival, key, block),
        };
        let Some(reply) = reply else { return self.reply_bad(now, arrival, Code::BAD_REQUEST) };
        let last = reply.options.block2().is_none_or(|block| !block.more());
        self.stand(now, key, if last { Standing::Done } else { Standing::Later });
        self.reply_now(now, arrival, reply);
    }

    /// Nothing is kept: the application may answer without memory of the first block. Not if the method does something,
    /// because it was done with the first block; and not if the request had a body, because the later ones come without it
    /// (RFC 7959 §2.7).
    fn on_unkept_block(&mut self, now: Instant, arrival: Arrival, block: Block) {
        let has_content = !arrival.message.payload.is_empty();
        let Operation { peer, hash } = self.operation_of(&arrival);
        // Of the state that it was notified of a peer may fetch the rest (RFC 7959 §3.4). With a content it may be of another.
        let other = has_content && arrival.message.code != Code::GET;
        let observed = if other { None } else { self.observed_body(peer, hash) };
        if let Some((code, options, body)) = observed {
            let kept = Kept { code, options, body };
            let most = self.longest_at_once(&arrival);
            let reply = self.reply_from(&kept, most, &arrival.message.token, block.offset(), self.szx_for(Some(block)));
            match reply {
                Some(reply) => self.reply_now(now, arrival, reply),
                None => self.reply_bad(now, arrival, Code::BAD_REQUEST),
            }
        } else if arrival.message.code == Code::GET || (arrival.message.code.is_safe() && has_content) {
            self.open_whole(now, arrival);
        } else {
            self.reply_bad(now, arrival, Code::REQUEST_ENTITY_INCOMPLETE);
        }
    }

    /// A block of a body that is kept; `None`: there is no such block.
    fn reply_from(&self, kept: &Kept, most: usize, token: &Token, offset: u64, szx: u8) -> Option<Reply> {
        let mut options = kept.options.clone();
        let whole = Stretch::whole(kept.body.clone());
        let piece = match self.piece(&mut options, most, token.encoded_len(), &whole, offset, szx) {
            // What does not fit because its peer is limited is seen when it is sent.
            Err(Uncut::TooLarge { .. }) if most < self.config.max_datagram => {
                self.piece(&mut options, self.config.max_datagram, token.encoded_len(), &whole, offset, szx)
            }
            cut => cut,
        };
        let piece = piece.ok()?;
        Some(Reply { code: kept.code, options, payload: piece.payload })
    }

    // ----- Responses of any length -------------------------------------------------------------------------------

    /// Answers the message that waits, and closes the request.
    pub(super) fn answer(&mut self, now: Instant, key: IncomingKey, response: Response) -> Result<(), RespondError> {
        let Cut { reply, kept } = self.cut(key, response)?;
        let Some(request) = self.incoming.get_mut(key) else { return Err(RespondError::Stale) };
        let limited = request.asked.limited;
        let (first, unicast) =
            (request.asked.block2.is_none_or(|block| block.num() == 0), request.local.group.is_none());
        let has_transfers = self.peers.get(request.peer).is_some_and(|record| record.transfers.len() > 0);
        let operation = (kept.is_some() || has_transfers).then(|| request.operation(&self.hash));
        if request.transfer.is_some() {
            self.deliver(now, key, reply.clone())?;
            self.keep_answer(now, key, reply);
        } else if limited {
            self.deliver_limited(now, key, reply)?;
        } else {
            self.deliver_as_it_is(now, key, reply)?;
        }
        match (operation, kept) {
            (Some(operation), Some(kept)) if unicast => self.keep(now, operation, *kept),
            // What was kept belongs to an older response.
            (Some(operation), _) if first => self.forget_kept(now, operation),
            _ => {}
        }
        if self.incoming.get(key).is_some_and(|request| matches!(request.waiting, Waiting::Response)) {
            self.close_incoming(now, key);
        }
        Ok(())
    }

    /// Answers the message that comes next.
    pub(super) fn answer_next(
        &mut self,
        now: Instant,
        key: IncomingKey,
        response: Response,
    ) -> Result<(), RespondError> {
        if response.body.is_in_parts() {
            return Err(RespondError::PartsImpossible);
        }
        let Cut { reply, kept, .. } = self.cut(key, response)?;
        let Some(request) = self.incoming.get(key) else { return Err(RespondError::Stale) };
        let operation = request.operation(&self.hash);
        // Instead of the next block of a stream it is the end of that, and no body to be fetched.
        let uploads = request.transfer.is_some_and(|transfer| self.transfers.is_upload(transfer));
        self.keep_answer(now, key, reply);
        if let Some(kept) = kept.filter(|_| uploads) {
            self.keep(now, operation, *kept);
        }
        self.close_incoming(now, key);
        Ok(())
    }

    /// Says something in answer to the message that waits; the request stays.
    pub(super) fn say(&mut self, now: Instant, key: IncomingKey, response: Response) -> Result<(), RespondError> {
        let cut = self.cut(key, response)?;
        self.deliver(now, key, cut.reply)
    }

    /// The body of a request, or of its response, has an answer now: the block that comes next gets it, or the last one if it
    /// comes again.
    pub(super) fn keep_answer(&mut self, now: Instant, key: IncomingKey, mut reply: Reply) {
        let Some(request) = self.incoming.get_mut(key) else { return };
        let Some(transfer) = request.transfer.take() else { return };
        self.transfers.give(&mut self.budget, transfer);
        let last = request.asked.block1.map(Block::offset);
        let Some(found) = self.transfers.get_mut(transfer) else { return };
        let of = match &found.stage {
            Stage::Upload(upload) if upload.ended => last.map(|offset| (offset, upload.received)),
            _ => None,
        };
        reply.options.remove(OptionNumber::BLOCK1);
        // It can be a slice of a body that is much longer.
        reply.payload = Bytes::copy_from_slice(&reply.payload);
        found.stage = Stage::Answered(Answered { reply, of });
        self.stand(now, transfer, Standing::Done);
    }

    /// What a response to the last message of a request carries (RFC 7959 §2.3, §2.4).
    #[inline]
    fn cut(&mut self, key: IncomingKey, mut response: Response) -> Result<Cut, RespondError> {
        let Some(request) = self.incoming.get(key) else { return Err(RespondError::Stale) };
        // The answer of a transfer can be kept for a later block, which has another token and number.
        let token_len = request.transfer.map_or_else(|| request.token.encoded_len(), |_| self.config.token_room());
        response.options.remove(OptionNumber::BLOCK1);
        response.options.remove(OptionNumber::BLOCK2);
        let asked = request.asked;
        if asked.block1.is_none()
            && asked.block2.is_none()
            && !asked.limited
            && let Body::Whole(payload) = &response.body
            && payload.len() <= room(&response.options, self.config.max_datagram, token_len, self.szx_for(None))
        {
            return Ok(Cut { reply: response.into(), kept: None });
        }
        if asked.limited {
            return self.cut_short(key, token_len, response);
        }
        self.cut_for(asked, self.config.max_datagram, token_len, response)
    }

    /// As [`cut`](Self::cut), where blocks are spoken of or needed.
    pub(super) fn cut_for(
        &self,
        asked: Asked,
        most: usize,
        token_len: usize,
        response: Response,
    ) -> Result<Cut, RespondError> {
        let Asked { block1, block2, .. } = asked;
        let Response { code, mut options, body } = response;
        // With 4.13 it would say that smaller blocks were welcome.
        let echo = block1.filter(|_| code != Code::REQUEST_ENTITY_TOO_LARGE);
        if let Some(widest) = echo.and_then(|block| Block::new(Block::MAX_NUM, true, block.szx())) {
            options.set_block1(widest);
        }
        // An error, and what says that the peer has the content, is not a block of it.
        let is_content = !code.is_error() && code != Code::VALID;
        let offset = if is_content { block2.map_or(0, Block::offset) } else { 0 };
        let szx = self.szx_for(block2);
        let stretch = match body {
            Body::Range { offset: start, data, size } => Stretch { start, data, total: size },
            whole => Stretch::whole(whole.into_bytes()),
        };
        let (block, payload) = match self.cut_block(&mut options, most, token_len, &stretch, offset, szx) {
            Ok(cut) => cut,
            Err(Uncut::Miss(Miss::PastEnd)) => {
                let reply = Response::diagnostic(Code::BAD_REQUEST, "the body ends before this block").into();
                return Ok(Cut { reply, kept: None });
            }
            Err(Uncut::Miss(Miss::NotHere)) => return Err(RespondError::WrongRange { offset, max: 16 << szx }),
            Err(Uncut::TooLarge { len }) => return Err(RespondError::TooLarge { len, max: most }),
        };
        let mut reply = Reply { code, options, payload };
        if block.is_none() && block2.is_some() && code == Code::CONTENT {
            name_only_block(&mut reply, most, token_len, szx);
        }
        let goes_on = block.is_some_and(Block::more) && stretch.is_whole();
        let kept = (goes_on && (is_content || block2.is_none_or(|block| block.num() == 0))).then(|| {
            let mut options = reply.options.clone();
            options.retain(|number, _| !belongs_to_first(number));
            Box::new(Kept { code, options, body: stretch.data })
        });
        match echo {
            Some(block) => echo_block1(&mut reply.options, block),
            None => drop(reply.options.remove(OptionNumber::BLOCK1)),
        }
        Ok(Cut { reply, kept })
    }

    /// What one message carries of a body: all of it, or the block at `offset`, with Block2, an ETag, and in the first one
    /// Size2 (RFC 7959 §2.4, §4).
    pub(super) fn cut_block(
        &self,
        options: &mut Options,
        most: usize,
        token_len: usize,
        stretch: &Stretch,
        offset: u64,
        szx: u8,
    ) -> Result<(Option<Block>, Bytes), Uncut> {
        if offset == 0 && stretch.start == 0 && stretch.fits_in(room(options, most, token_len, szx)) {
            return Ok((None, stretch.data.clone()));
        }
        if stretch.is_whole() {
            self.tag(options, &stretch.data);
        }
        if let Some(total) = stretch.total.and_then(|total| u32::try_from(total).ok()).filter(|_| offset == 0) {
            options.set_size2(total);
        }
        let piece = self.piece(options, most, token_len, stretch, offset, szx)?;
        Ok((Some(piece.block), piece.payload))
    }

    /// Cuts a block out of a body, and says with Block2 which it is. It is as large as the peer wants and as fits beside the
    /// options.
    fn piece(
        &self,
        options: &mut Options,
        most: usize,
        token_len: usize,
        stretch: &Stretch,
        offset: u64,
        szx: u8,
    ) -> Result<Piece, Uncut> {
        // The longest value that it can have.
        options.set_block2(Block::new(Block::MAX_NUM, true, szx).ok_or(Uncut::Miss(Miss::PastEnd))?);
        let frame = FRAME_LEN + token_len + options.encoded_len();
        let fits = Block::largest_szx(most.saturating_sub(frame));
        let szx = fits.map(|fits| fits.min(szx)).ok_or(Uncut::TooLarge { len: frame + BlockSize::MIN.bytes() })?;
        let piece = stretch.piece(offset, szx).map_err(Uncut::Miss)?;
        options.set_block2(piece.block);
        Ok(piece)
    }

    /// The exponent of the largest block that fits beside these options, whatever its number and the token of the request.
    pub(super) fn szx_beside(&self, options: &Options, most: usize, szx: u8) -> Option<u8> {
        let mut options = options.clone();
        options.set_block2(Block::new(Block::MAX_NUM, true, szx)?);
        let frame = FRAME_LEN + self.config.token_room() + options.encoded_len();
        Block::largest_szx(most.saturating_sub(frame)).map(|fits| fits.min(szx))
    }

    /// An ETag of the content, so that the peer notices if a later block belongs to other content (RFC 7959 §2.4).
    fn tag(&self, options: &mut Options, content: &[u8]) {
        if !options.contains(OptionNumber::ETAG)
            && let Some(etag) = ETag::new(&self.hash.bytes(content).to_be_bytes())
        {
            options.push_etag(&etag);
        }
    }

    // ----- What is kept ------------------------------------------------------------------------------------------

    /// Keeps a response body for the blocks that the peer will ask for, if there is room.
    fn keep(&mut self, now: Instant, operation: Operation, kept: Kept) {
        self.forget_kept(now, operation);
        if !self.has_transfer_room(now, operation.peer) {
            self.stats.bodies_unkept += 1;
            return;
        }
        let len = kept.body.len();
        let Some(key) = self.open_transfer(now, operation, Way::Out, Stage::Kept(kept)) else { return };
        if self.take_memory(now, key, len) {
            self.stand(now, key, Standing::First);
        } else {
            self.stats.bodies_unkept += 1;
            self.remove_transfer(now, key);
        }
    }

    /// The response body of before, if one is kept, is out of date.
    pub(super) fn forget_kept(&mut self, now: Instant, operation: Operation) {
        if let Some(before) = self.transfers.find(operation, Way::Out) {
            self.lose_transfer(now, before, Closed::Superseded);
        }
    }

    pub(super) fn open_transfer(
        &mut self,
        now: Instant,
        operation: Operation,
        way: Way,
        stage: Stage,
    ) -> Option<TransferKey> {
        self.peers.hold(operation.peer);
        let record = self.peers.get_mut(operation.peer)?;
        Some(self.transfers.open(now, &mut record.transfers, operation, way, stage))
    }

    pub(super) fn stand(&mut self, now: Instant, key: TransferKey, standing: Standing) {
        let Some(peer) = self.transfers.get(key).map(|transfer| transfer.operation.peer) else { return };
        if let Some(record) = self.peers.get_mut(peer) {
            self.transfers.stand(now, &mut record.transfers, key, standing);
        }
    }

    pub(super) fn remove_transfer(&mut self, now: Instant, key: TransferKey) {
        let Some(peer) = self.transfers.get(key).map(|transfer| transfer.operation.peer) else { return };
        let Some(record) = self.peers.get_mut(peer) else { return };
        self.transfers.remove(&mut record.transfers, &mut self.budget, key);
        self.peers.release(now, peer);
    }

    /// A body goes no further. The application is told if it knows of it.
    pub(super) fn lose_transfer(&mut self, now: Instant, key: TransferKey, why: Closed) {
        let incoming = match self.transfers.get(key).map(|transfer| &transfer.stage) {
            Some(Stage::Upload(upload)) => Some(upload.incoming),
            Some(Stage::Stream(stream)) => stream.incoming,
            Some(Stage::Answered(_) | Stage::Kept(_)) | None => None,
        };
        let Some(incoming) = incoming else { return self.remove_transfer(now, key) };
        self.acknowledge(incoming);
        self.release_incoming(now, incoming);
        self.incoming.close(incoming, why);
    }

    /// Whether there is a place for one more body of a peer, if need be that of one whose peer is silent.
    pub(super) fn has_transfer_room(&mut self, now: Instant, peer: PeerKey) -> bool {
        if self.config.max_transfers == 0 {
            return false;
        }
        let of_peer = self.peers.get(peer).map(|record| record.transfers);
        if let Some(own) = of_peer.filter(|own| own.len() >= self.transfers.max_per_peer()) {
            let Some(victim) = self.transfers.victim_of(now, &own) else { return false };
            self.evict(now, victim);
        }
        if self.transfers.is_full() {
            let Some(victim) = self.transfers.victim(now) else { return false };
            self.evict(now, victim);
        }
        true
    }

    /// Takes memory for a body, if need be that of others whose peers are silent. False: there is not so much.
    pub(super) fn take_memory(&mut self, now: Instant, key: TransferKey, bytes: usize) -> bool {
        if bytes > self.config.max_transfer_bytes {
            return false;
        }
        while !self.transfers.take(&mut self.budget, key, bytes) {
            let Some(victim) = self.transfers.holding_victim(now, key) else { return false };
            self.evict(now, victim);
        }
        true
    }

    /// A body whose answer has been given is no loss.
    fn evict(&mut self, now: Instant, key: TransferKey) {
        self.stats.transfers_evicted += u64::from(!self.transfers.is_done(key));
        self.lose_transfer(now, key, Closed::Abandoned);
    }

    /// Gives up to `most` bodies up whose peers have been silent for EXCHANGE_LIFETIME, and says how many.
    pub(super) fn abandon_transfers(&mut self, now: Instant, most: usize) -> usize {
        let lifetime = self.config.transmission.exchange_lifetime();
        let mut done = 0;
        while let Some(key) = self.transfers.expired(now, lifetime).filter(|_| done < most) {
            self.stats.transfers_abandoned += u64::from(!self.transfers.is_done(key));
            self.lose_transfer(now, key, Closed::Abandoned);
            done += 1;
        }
        done
    }
}

/// What only the first block of a response carries. Observe too: whoever asks for a later block does not observe (RFC 7959
/// §2.6).
const fn belongs_to_first(number: OptionNumber) -> bool {
    matches!(
        number,
        OptionNumber::OBSERVE | OptionNumber::BLOCK1 | OptionNumber::BLOCK2 | OptionNumber::SIZE2 | OptionNumber::ECHO
    )
}

/// How many bytes of a body go beside these options, without Block2, into one message of `most` bytes and one block.
fn room(options: &Options, most: usize, token_len: usize, szx: u8) -> usize {
    most.saturating_sub(FRAME_LEN + token_len + options.encoded_len()).min(16 << szx)
}

/// Says that the content is all of the body, to a peer that spoke of blocks; unless that does not fit.
fn name_only_block(reply: &mut Reply, most: usize, token_len: usize, szx: u8) {
    let mut options = reply.options.clone();
    let Some(only) = Block::new(0, false, szx) else { return };
    options.set_block2(only);
    if FRAME_LEN + token_len + options.encoded_len() + reply.payload.len() <= most {
        reply.options = options;
    }
}

/// RFC 7959 §2.3: with M=0, the response is that to the whole request.
pub(super) fn echo_block1(options: &mut Options, block: Block) {
    options.set_block1(Block::new(block.num(), false, block.szx()).unwrap_or(block));
}
