//! The body of a response that comes block by block (RFC 7959 §2.4): part by part, or the rest of one that has begun.

use alloc::boxed::Box;

use super::Endpoint;
use crate::blockwise::client::{Next, Operation, Rules};
use crate::config::OnChange;
use crate::event::{BlockFailure, Failure};
use crate::exchange::{Bodies, Chosen, NewRequest, OutgoingKey};
use crate::message::{Blocks, Body, Heed, Pacing, Progress};
use crate::time::Instant;
use crate::wire::{Block, Code, Message, OptionNumber, Options, Type};

impl Endpoint {
    /// A part of a response body has been consumed.
    pub(super) fn consume_download(&mut self, now: Instant, key: OutgoingKey) -> bool {
        let Some(request) = self.outgoing.get_mut(key).filter(|request| !request.is_settled()) else { return false };
        let to = request.to;
        let Some(next) = request.operation_mut().and_then(Operation::consumed) else { return false };
        self.go_on(now, key, to, next);
        true
    }

    /// Fetches the rest of a response whose first block is `first`, for an observation: a request of its own, with the method
    /// and the options of its parent, but for Observe; `how` says how long the body may be, and its blocks. Its end is given to
    /// `child_ended`, and nothing of it is told the application. `Err`: there is no room for it, the block makes no sense, or
    /// the body is too large.
    ///
    /// It ends without a word with `abandon_fetch`, when its parent does not want the rest any more.
    pub(super) fn fetch_rest(
        &mut self,
        now: Instant,
        parent: OutgoingKey,
        code: Code,
        options: &Options,
        how: Blocks,
        first: Message,
    ) -> Result<OutgoingKey, Failure> {
        let request = self.outgoing.get(parent).ok_or(Failure::Blockwise(BlockFailure::NoRoom))?;
        let Some(peer) = request.peer else { return Err(Failure::Blockwise(BlockFailure::NoRoom)) };
        if self.outgoing.len() >= self.config.max_requests {
            return Err(Failure::Blockwise(BlockFailure::NoRoom));
        }
        let (to, from, transmission) = (request.to, request.from, request.transmission.clone());
        let blocks = Blocks { in_parts: false, resume: None, report: false, ..how };
        let szx = blocks.size.map_or(Block::MAX_SZX, |size| size.szx());
        let tagged = options.contains(OptionNumber::REQUEST_TAG);
        // Another content is another state, and its notification is on its way.
        let rules = Rules { on_change: OnChange::Fail, ..self.rules(blocks, szx, false, tagged) };
        let mut operation = Operation::new(Type::Confirmable, code, options.clone(), Body::EMPTY, rules);
        let begun = match operation.begin_with(first, &mut self.budget) {
            Next::Exchange => self.draw_token(&to).map_err(|_| BlockFailure::NoRoom),
            Next::Fail(reason) => Err(reason),
            _ => Err(BlockFailure::WrongBlock),
        };
        let fits = |message: Option<Message>| match message {
            Some(message) if message.encoded_len() > self.config.max_datagram => Err(BlockFailure::OptionsTooLong),
            message => Ok(message),
        };
        let message = match begun.and_then(|token| operation.message(token)).and_then(fits) {
            Ok(message) => message,
            Err(reason) => {
                operation.close(&mut self.budget);
                return Err(Failure::Blockwise(reason));
            }
        };
        let new = NewRequest {
            peer: Some(peer),
            to,
            from,
            hops: None,
            message,
            bodies: Bodies::Blocks(Box::new(operation)),
            // It is the operation of its parent, whatever else is under way.
            body_key: None,
            parent: Some(parent),
            chosen: Chosen::ByUs,
            pacing: Pacing::Paced,
            heed: Heed::BackOffs,
            progress: Progress::Quiet,
            transmission,
            until: None,
        };
        Ok(self.open_to(now, peer, new))
    }
}
