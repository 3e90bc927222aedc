//! One request of ours with all its block exchanges, and what follows from each response (RFC 7959 §2.4, §2.5, §2.7).
//!
//! ```text
//!   Upload ── 2.31 ──► Upload, the next block ── final response ──► it is the outcome, or its first block:
//!     ▲ 4.13 with a smaller size, 4.08: from the start                     │ Block2 M=1
//!     └──── another ETag: from the start ──── Download, the next block ◄───┘
//! ```
//!
//! Requests are made here and responses judged; when they travel is the endpoint's business.

use bytes::Bytes;

use super::assembler::{Added, Assembler};
use super::slicer::{Slicer, TooManyBlocks};
use crate::blockwise::Budget;
use crate::config::OnChange;
use crate::event::{BlockFailure, Timing};
use crate::message::{Blocks, Body, Response};
use crate::time::Instant;
use crate::wire::{Block, Code, Message, OptionNumber, Options, Token, Type};

/// How often an upload that the peer could not put together, or a download whose content changed, begins anew.
const MOST_RESTARTS: u8 = 2;

/// How much longer the options of a later block can be than those of the first, in bytes: two more of its number, and a Block2
/// of one byte, whose head has two.
const LATER_BLOCKS: usize = 2 + 3;

/// All block exchanges of one request.
pub(crate) struct Operation {
    kind: Type,
    code: Code,
    /// Those of the caller, and our Request-Tag; without those that differ from block to block.
    options: Options,
    /// The token that the caller wants: for the first exchange.
    token: Option<Token>,
    rules: Rules,
    up: Slicer,
    down: Option<Assembler>,
    step: Step,
    /// A response to any of its exchanges has come.
    answered: bool,
    /// How often the block under way was sent, or asked for, in exchanges of its own.
    attempts: u8,
    /// How often it has waited as long as a request may wait for its turn.
    waits: u8,
    resent: u8,
    changed: u8,
    news: Notes,
}

/// What the caller and the endpoint's settings say.
pub(crate) struct Rules {
    pub(crate) how: Blocks,
    /// The largest block.
    pub(crate) szx: u8,
    /// The block size is named in the request (RFC 7959 §2.4).
    pub(crate) early: bool,
    /// The longest response body that is put together.
    pub(crate) max_body: usize,
    pub(crate) on_change: OnChange,
    /// How often a block is sent, or asked for.
    pub(crate) attempts: u8,
    /// The caller has set a Request-Tag.
    pub(crate) tagged: bool,
}

/// What the exchange under way is about.
#[derive(Clone, Copy)]
enum Step {
    /// The block of the request body that is under way, or all of it.
    Upload,
    /// The block of the response body that starts here.
    Download { offset: u64 },
}

/// What follows from a response, or from what the application did.
pub(crate) enum Next {
    /// The next exchange, with `Operation::message`.
    Exchange,
    /// Nothing, before the application supplies or consumes a part.
    Pause,
    /// Nothing: an exchange is under way.
    UnderWay,
    /// It ends with this response.
    Done(Response),
    /// It ends with this part of the response body.
    LastPart(Part),
    /// It fails.
    Fail(BlockFailure),
}

/// A part of a body.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
    pub(crate) last: bool,
}

/// Something to tell the application while the request goes on.
pub(crate) enum News {
    Progress { sent: (u64, Option<u64>), received: (u64, Option<u64>) },
    Head(Response, Timing),
    Part(Part),
    Wanted { offset: u64, max: usize },
}

/// What is to be told, one of a kind.
#[derive(Default)]
struct Notes {
    progress: bool,
    /// The response whose body comes in parts.
    head: Option<(Response, Timing)>,
    part: Option<Part>,
    wanted: bool,
}

/// Values for Request-Tag (RFC 9175 §3.4): each is used once.
pub(crate) struct Tags {
    used: u64,
    /// Until then there can be blocks on their way of bodies that were given up.
    needed_until: Instant,
}

impl Tags {
    pub(crate) const fn new() -> Self {
        Self { used: 0, needed_until: Instant::ZERO }
    }

    /// Whether a body could meet blocks of one that was given up.
    pub(crate) fn are_needed(&self, now: Instant) -> bool {
        now < self.needed_until
    }

    /// A body is given up, and its last block is gone from the network by then.
    pub(crate) fn need_until(&mut self, then: Instant) {
        self.needed_until = self.needed_until.max(then);
    }

    /// Sets a tag that has not been used.
    pub(crate) fn set_new(&mut self, options: &mut Options) {
        self.used = self.used.wrapping_add(1);
        let bytes = self.used.to_be_bytes();
        let zeros = (self.used.leading_zeros() / 8) as usize;
        // Eight bytes at most, which is what the option allows.
        let _ = options.set(OptionNumber::REQUEST_TAG, bytes.get(zeros..).unwrap_or_default());
    }
}

/// A response without what only this room understands.
struct Answer {
    code: Code,
    options: Options,
    payload: Bytes,
    block1: Option<Block>,
    block2: Option<Block>,
}

impl Answer {
    fn into_response(self) -> Response {
        Response::new(self.code).with_options(self.options).with_body(self.payload)
    }
}

impl Operation {
    pub(crate) fn new(kind: Type, code: Code, options: Options, body: Body, rules: Rules) -> Self {
        let up = match body {
            Body::Parts { size } => Slicer::parts(size, rules.szx),
            whole => Slicer::whole(whole.into_bytes(), rules.szx),
        };
        let step = match &rules.how.resume {
            Some((offset, _)) => resumed(*offset, rules.szx),
            None => Step::Upload,
        };
        let (down, token, news) = (None, None, Notes { wanted: up.wanted().is_some(), ..Notes::default() });
        Self {
            kind,
            code,
            options,
            token,
            rules,
            up,
            down,
            step,
            answered: false,
            attempts: 1,
            waits: 0,
            resent: 0,
            changed: 0,
            news,
        }
    }

    /// Uses this token for the first exchange.
    pub(crate) fn set_token(&mut self, token: Option<Token>) {
        self.token = token;
    }

    /// Tells this operation from another one under way whose messages look the same (RFC 9175 §3.3).
    pub(crate) fn set_tag(&mut self, tags: &mut Tags) {
        if !self.rules.tagged {
            tags.set_new(&mut self.options);
        }
    }

    /// Takes that tag back; the caller has not set one.
    pub(crate) fn clear_tag(&mut self) {
        self.options.remove(OptionNumber::REQUEST_TAG);
    }

    /// Lets it carry an Echo value from now on (RFC 9175 §2.3: the same value may go with several requests). False: an exchange
    /// would be longer than `max` bytes with it, beside its token, and nothing has changed.
    pub(crate) fn set_echo(&mut self, value: &[u8], max: usize) -> bool {
        let before = self.options.clone();
        let set = self.options.set_echo(value).is_ok();
        let fits = |message: Message| {
            let goes_on = message.options.block1().is_some_and(Block::more);
            message.encoded_len() + if goes_on { LATER_BLOCKS } else { 0 } <= max
        };
        let fits = set && self.message(Token::EMPTY).is_ok_and(|message| message.is_some_and(fits));
        if !fits {
            self.options = before;
        }
        fits
    }

    /// The token that the caller wanted, if it has not been used yet.
    pub(crate) const fn take_token(&mut self) -> Option<Token> {
        self.token.take()
    }

    /// Its method and its options, without those of blocks.
    pub(crate) const fn asked(&self) -> (Code, &Options) {
        (self.code, &self.options)
    }

    pub(crate) const fn kind(&self) -> Type {
        self.kind
    }

    // ----- What is sent --------------------------------------------------------------------------------------------

    /// The request of the exchange under way. `None`: a part must be supplied first.
    pub(crate) fn message(&self, token: Token) -> Result<Option<Message>, BlockFailure> {
        let (kind, code, message_id) = (self.kind, self.code, 0);
        let mut options = self.options.clone();
        let payload = match self.step {
            Step::Upload => {
                let Some(piece) = self.up.piece()? else { return Ok(None) };
                let more = piece.block.is_some_and(|block| block.more());
                if let Some(block) = piece.block {
                    options.set_block1(block);
                }
                if piece.block.is_some_and(|block| block.num() > 0) {
                    options.remove(OptionNumber::SIZE1);
                } else if let Some(size) = self.announced_size().filter(|_| piece.block.is_some()) {
                    options.set_size1(size);
                }
                // The response comes after the last block, so that is where its block size is named (RFC 7959 §3.3).
                if let Some(block) = Block::new(0, false, self.rules.szx).filter(|_| self.rules.early && !more) {
                    options.set_block2(block);
                }
                piece.data
            }
            Step::Download { offset } => {
                // RFC 7959 §2.6, §2.7: only the first block is observed; the content is the peer's already.
                options.remove(OptionNumber::OBSERVE);
                options.remove(OptionNumber::SIZE1);
                let num = u32::try_from(offset >> (self.rules.szx + 4)).map_err(|_| BlockFailure::TooManyBlocks)?;
                options.set_block2(Block::new(num, false, self.rules.szx).ok_or(BlockFailure::TooManyBlocks)?);
                Bytes::new()
            }
        };
        Ok(Some(Message { kind, code, message_id, token, options, payload }))
    }

    /// An exchange ended unanswered. Whether the block may be sent, or asked for, again: one that carries no block option is
    /// an ordinary request, and one that makes the peer act must not do so twice.
    pub(crate) fn try_again(&mut self) -> bool {
        let safe = match self.step {
            Step::Download { .. } => true,
            Step::Upload => match self.block1() {
                Some(block) => block.more() || self.code.is_idempotent(),
                None => self.rules.early && self.code.is_idempotent(),
            },
        };
        let again = safe && self.attempts < self.rules.attempts;
        self.attempts += u8::from(again);
        again
    }

    /// No response has come yet to anything: there may be no such peer.
    pub(crate) const fn is_unanswered(&self) -> bool {
        !self.answered
    }

    /// The block under way was sent, or asked for, before.
    pub(crate) const fn is_repeated(&self) -> bool {
        self.attempts > 1
    }

    /// What Size1 says, unless the caller has said it.
    fn announced_size(&self) -> Option<u32> {
        let size = self.up.size().and_then(|size| u32::try_from(size).ok());
        size.filter(|_| !self.options.contains(OptionNumber::SIZE1))
    }

    fn block1(&self) -> Option<Block> {
        self.up.piece().ok().flatten()?.block
    }

    /// The block has waited as long as a request may wait for its turn. Whether it waits on: as often as it may be sent.
    pub(crate) const fn wait_on(&mut self) -> bool {
        self.waits = self.waits.saturating_add(1);
        self.waits < self.rules.attempts
    }

    /// Whether the peer could take its blocks for those of another request with the same options (RFC 9175 §3.3).
    pub(crate) fn can_be_mixed_up(&self) -> bool {
        self.code == Code::FETCH || !self.up.has_ended() || self.is_long() || self.down.is_some()
    }

    /// Whether blocks of its body can be on their way when it is given up.
    pub(crate) fn leaves_blocks_behind(&self) -> bool {
        matches!(self.step, Step::Upload) && self.is_long()
    }

    /// Its body is longer than a block, as far as is known.
    fn is_long(&self) -> bool {
        self.up.exceeds(self.up.szx()) || self.up.sent() > 0
    }

    /// The response comes in blocks.
    pub(crate) const fn is_fetching(&self) -> bool {
        self.down.is_some()
    }

    // ----- What follows from a response ----------------------------------------------------------------------------

    /// The response to the exchange under way.
    pub(crate) fn on_response(
        &mut self,
        message: Message,
        timing: Timing,
        tags: &mut Tags,
        budget: &mut Budget,
    ) -> Next {
        let Message { code, mut options, payload, .. } = message;
        self.answered = true;
        options.strip_bad_elective();
        let (block1, block2) = (options.block1(), options.block2());
        options.remove(OptionNumber::BLOCK1);
        options.remove(OptionNumber::BLOCK2);
        if block1.into_iter().chain(block2).any(Block::is_reserved) {
            return Next::Fail(BlockFailure::WrongBlock);
        }
        let answer = Answer { code, options, payload, block1, block2 };
        let next = match self.step {
            Step::Upload => self.on_sent(answer, timing, tags, budget),
            Step::Download { offset } => self.on_fetched(offset, answer, timing, budget),
        };
        next.unwrap_or_else(Next::Fail)
    }

    /// The response to a block of the request body, or to all of it.
    fn on_sent(
        &mut self,
        answer: Answer,
        timing: Timing,
        tags: &mut Tags,
        budget: &mut Budget,
    ) -> Result<Next, BlockFailure> {
        let sent = self.block1();
        let hint = answer.block1.map(Block::szx).filter(|szx| *szx < self.up.szx());
        match (answer.code, sent) {
            // RFC 7959 §2.9.3: the peer wants smaller blocks.
            (Code::REQUEST_ENTITY_TOO_LARGE, _) => {
                if let Some(szx) = hint.filter(|szx| self.up.exceeds(*szx) && self.up.restart()) {
                    self.up.shrink(szx);
                    // Another request that was one datagram, too, could be cut up at the same time.
                    if sent.is_none() {
                        self.set_tag(tags);
                    }
                    return self.send_block();
                }
                self.on_first(0, answer, timing, budget)
            }
            // RFC 7959 §2.9.2: the peer has lost the blocks before, or mixed them with those of another body.
            (Code::REQUEST_ENTITY_INCOMPLETE, Some(_)) if self.resent < MOST_RESTARTS && self.up.restart() => {
                self.resent += 1;
                self.set_tag(tags);
                self.send_block()
            }
            (Code::CONTINUE, Some(block)) if !block.more() => Err(BlockFailure::WrongBlock),
            // A success in the middle comes from a peer that acts block by block (RFC 7959 §2.3), if it says which block.
            (code, Some(block)) if block.more() && code.is_success() => match answer.block1 {
                Some(echo) if echo.num() == block.num() => {
                    self.up.advance(echo.szx());
                    self.news.progress = self.rules.how.report;
                    self.send_block()
                }
                None if code != Code::CONTINUE => self.on_first(0, answer, timing, budget),
                _ => Err(BlockFailure::WrongBlock),
            },
            (code, _) => {
                if code.is_success() {
                    self.up.finish();
                    self.news.progress = self.rules.how.report && sent.is_some();
                }
                self.on_first(0, answer, timing, budget)
            }
        }
    }

    /// On to the next block of the request body.
    fn send_block(&mut self) -> Result<Next, BlockFailure> {
        (self.attempts, self.waits) = (1, 0);
        self.step = Step::Upload;
        self.news.wanted = self.up.wanted().is_some();
        Ok(if self.up.piece()?.is_some() { Next::Exchange } else { Next::Pause })
    }

    /// The response, or its first block, which starts at `offset`.
    fn on_first(
        &mut self,
        offset: u64,
        answer: Answer,
        timing: Timing,
        budget: &mut Budget,
    ) -> Result<Next, BlockFailure> {
        let block = match answer.block2 {
            Some(block) if block.more() || block.num() > 0 || offset > 0 => block,
            _ => return Ok(Next::Done(answer.into_response())),
        };
        check(block, offset, answer.payload.len())?;
        self.news.wanted = false;
        let Answer { code, options, payload, .. } = answer;
        let mut down = if self.rules.how.in_parts {
            Assembler::parts(code, options, offset)
        } else {
            let limit = self.rules.max_body;
            if options.size2().is_some_and(|size| usize::try_from(size).is_ok_and(|size| size > limit)) {
                return Err(BlockFailure::TooLarge { limit });
            }
            Assembler::whole(code, options, limit)
        };
        if down.is_in_parts() {
            let body = Body::Parts { size: down.size() };
            let head = Response::new(code).with_options(down.options().clone()).with_body(body);
            self.news.head = Some((head, timing));
        }
        let added = down.add(payload, !block.more(), budget);
        self.down = Some(down);
        self.on_added(block.szx(), added?)
    }

    /// The response to a request for the block that starts at `offset`.
    fn on_fetched(
        &mut self,
        offset: u64,
        answer: Answer,
        timing: Timing,
        budget: &mut Budget,
    ) -> Result<Next, BlockFailure> {
        let Some(down) = &mut self.down else { return self.on_resumed(offset, answer, timing, budget) };
        if answer.code.is_error() && (answer.code != down.code || answer.block2.is_none()) {
            let told = down.is_in_parts();
            return if told { Err(BlockFailure::Refused(answer.code)) } else { Ok(Next::Done(answer.into_response())) };
        }
        let block = answer.block2.ok_or(BlockFailure::WrongBlock)?;
        if answer.code != down.code || answer.options.etag() != down.etag {
            return self.on_changed(budget);
        }
        check(block, offset, answer.payload.len())?;
        let added = down.add(answer.payload, !block.more(), budget)?;
        self.on_added(block.szx(), added)
    }

    /// The first response to a download that is resumed: what is not the content that was meant is fetched from the start.
    fn on_resumed(
        &mut self,
        offset: u64,
        answer: Answer,
        timing: Timing,
        budget: &mut Budget,
    ) -> Result<Next, BlockFailure> {
        let meant = self.rules.how.resume.as_ref().map(|(_, etag)| etag);
        let same = answer.options.etag().as_ref() == meant;
        match answer.block2 {
            // What is not there, or not there any more, may be there under another tag.
            _ if answer.code.is_client_error() => self.send_block(),
            Some(block) if answer.code.is_success() && (!same || block.offset() != offset) => self.send_block(),
            None => Ok(Next::Done(answer.into_response())),
            Some(_) => self.on_first(offset, answer, timing, budget),
        }
    }

    /// A block has been added; the peer's blocks have the size `szx`.
    fn on_added(&mut self, szx: u8, added: Added) -> Result<Next, BlockFailure> {
        (self.attempts, self.waits) = (1, 0);
        self.rules.szx = self.rules.szx.min(szx);
        self.news.progress = self.rules.how.report;
        let offset = self.down.as_ref().map_or(0, Assembler::next);
        self.step = Step::Download { offset };
        Ok(match added {
            Added::More => Next::Exchange,
            Added::Wait => Next::Pause,
            Added::Tell(part) => {
                self.news.part = Some(part);
                Next::Exchange
            }
            Added::TellLast(part) => Next::LastPart(part),
            Added::Complete(response) => Next::Done(response),
        })
    }

    /// The content is not the one that the blocks before belong to. Asking anew must do no harm.
    fn on_changed(&mut self, budget: &mut Budget) -> Result<Next, BlockFailure> {
        let told = self.down.as_ref().is_some_and(Assembler::is_in_parts);
        let anew = self.rules.on_change == OnChange::Restart && self.changed < MOST_RESTARTS;
        if told || !anew || !self.code.is_safe() || !self.up.restart() {
            return Err(BlockFailure::Changed);
        }
        self.changed += 1;
        if let Some(mut down) = self.down.take() {
            down.clear(budget);
        }
        self.send_block()
    }

    // ----- What the application does -------------------------------------------------------------------------------

    /// Bytes of the request body. `Err`: for how many there is room.
    pub(crate) fn supply(&mut self, data: Bytes, last: bool) -> Result<(), usize> {
        self.up.supply(data, last)?;
        self.news.wanted = self.up.wanted().is_some();
        Ok(())
    }

    /// The request body comes in parts, and is not over: a response that began before its end ends it.
    pub(crate) const fn is_supplied(&self) -> bool {
        self.up.is_in_parts() && !self.is_fetching()
    }

    /// All of the request body has been supplied.
    pub(crate) const fn has_all(&self) -> bool {
        self.up.has_ended()
    }

    /// The part that was told last has been consumed. `None`: there is none, or it has not been told yet.
    pub(crate) fn consumed(&mut self) -> Option<Next> {
        if self.news.part.is_some() {
            return None;
        }
        match self.down.as_mut()?.consumed()? {
            Added::TellLast(part) => Some(Next::LastPart(part)),
            // The block of read-ahead: the one behind it has not been asked for.
            Added::Tell(part) => {
                self.news.part = Some(part);
                Some(Next::Exchange)
            }
            _ => Some(Next::UnderWay),
        }
    }

    // ----- What is told --------------------------------------------------------------------------------------------

    pub(crate) const fn has_news(&self) -> bool {
        let Notes { progress, head, part, wanted } = &self.news;
        *progress || head.is_some() || part.is_some() || *wanted
    }

    pub(crate) fn poll(&mut self) -> Option<News> {
        if core::mem::take(&mut self.news.progress) {
            let (received, size) = self.down.as_ref().map_or((0, None), |down| (down.next(), down.size()));
            return Some(News::Progress { sent: (self.up.sent(), self.up.size()), received: (received, size) });
        }
        if let Some((head, timing)) = self.news.head.take() {
            return Some(News::Head(head, timing));
        }
        if let Some(part) = self.news.part.take() {
            return Some(News::Part(part));
        }
        if core::mem::take(&mut self.news.wanted) {
            return self.up.wanted().map(|(offset, max)| News::Wanted { offset, max });
        }
        None
    }

    /// The response has been handed up, and its body was to come in parts.
    pub(crate) fn has_told_response(&self) -> bool {
        self.down.as_ref().is_some_and(Assembler::is_in_parts)
    }

    /// It is over: lets go of what only a further exchange would need. What is to be told stays.
    pub(crate) fn close(&mut self, budget: &mut Budget) {
        self.news.wanted = false;
        self.up.clear();
        if let Some(down) = &mut self.down {
            down.clear(budget);
        }
    }

    /// Begins with the first block of a response that came to another request (RFC 7959 §2.6: the rest of a notification).
    pub(crate) fn begin_with(&mut self, first: Message, budget: &mut Budget) -> Next {
        let (timing, mut none) = (Timing::default(), Tags::new());
        self.on_response(first, timing, &mut none, budget)
    }
}

impl From<TooManyBlocks> for BlockFailure {
    fn from(_: TooManyBlocks) -> Self {
        Self::TooManyBlocks
    }
}

/// The block of this size in which the byte `offset` lies; the start, if that cannot be numbered.
fn resumed(offset: u64, szx: u8) -> Step {
    let num = u32::try_from(offset >> (szx + 4)).ok().and_then(|num| Block::new(num, false, szx));
    match num {
        Some(block) if block.num() > 0 => Step::Download { offset: block.offset() },
        _ => Step::Upload,
    }
}

/// RFC 7959 §2.3: the block that was asked for, and as long as it says.
fn check(block: Block, offset: u64, len: usize) -> Result<(), BlockFailure> {
    if block.offset() != offset {
        return Err(BlockFailure::WrongBlock);
    }
    if len > block.size() || (block.more() && len != block.size()) {
        return Err(BlockFailure::WrongLength);
    }
    Ok(())
}
