//! As a server, response bodies that the application supplies part by part: longer than memory, or made as they go.

use super::Endpoint;
use super::errors::{RespondError, SupplyError};
use super::serving::{Arrival, echo_block1};
use crate::blockwise::server::{Next, Piece, Reply, Stage, Standing, Stream, TransferKey, Way};
use crate::exchange::{IncomingKey, Waiting};
use crate::message::{Body, Response};
use crate::time::Instant;
use crate::wire::{Block, Code, OptionNumber, Options};

impl Endpoint {
    /// Answers a request with a body that is still to come. Nothing is sent before its first block is here.
    pub(super) fn start_stream(
        &mut self,
        now: Instant,
        key: IncomingKey,
        response: Response,
    ) -> Result<(), RespondError> {
        let Response { code, mut options, body } = response;
        let Body::Parts { size } = body else { return Err(RespondError::PartsImpossible) };
        let Some(request) = self.incoming.get(key) else { return Err(RespondError::Stale) };
        let (asked, before) = (request.asked, request.transfer);
        let operation = request.operation(&self.hash);
        let suppressed = request.no_response.is_some_and(|unwanted| code.suppressed_by(unwanted));
        let mid_way = asked.block2.is_some_and(|block| block.num() > 0);
        let ended = match before.and_then(|before| self.transfers.get(before)).map(|transfer| &transfer.stage) {
            Some(Stage::Upload(upload)) => upload.ended,
            // It is answered by a stream already.
            Some(_) => return Err(RespondError::Stale),
            None => true,
        };
        if mid_way || !ended || request.local.group.is_some() {
            return Err(RespondError::PartsImpossible);
        }
        options.remove(OptionNumber::BLOCK1);
        options.remove(OptionNumber::BLOCK2);
        let mut first = options.clone();
        complete_first(&mut first, asked.block1, size);
        let szx = self.szx_of_stream(key, &first, self.szx_for(asked.block2));
        let (len, max) = (first.encoded_len(), self.config.max_datagram);
        let szx = szx.ok_or(RespondError::TooLarge { len, max })?;
        if suppressed {
            self.stats.responses_suppressed += 1;
            self.acknowledge(key);
            self.close_incoming(now, key);
            return Ok(());
        }
        // An upload leaves its place to the response.
        if before.is_none() && !self.has_transfer_room(now, operation.peer) {
            return Err(RespondError::TooManyTransfers);
        }
        self.forget_kept(now, operation);
        if let Some(upload) = before {
            self.remove_transfer(now, upload);
        }
        let stream = Stage::Stream(Stream::new(key, code, options, size, szx));
        let Some(transfer) = self.open_transfer(now, operation, Way::Out, stream) else {
            return Err(RespondError::TooManyTransfers);
        };
        if let Some(request) = self.incoming.get_mut(key) {
            request.transfer = Some(transfer);
        }
        self.incoming.tell(key);
        Ok(())
    }

    /// The exponent of the largest block that fits beside these options. A peer that is limited and for which nothing fits is
    /// told so when the first block is sent.
    fn szx_of_stream(&self, key: IncomingKey, first: &Options, szx: u8) -> Option<u8> {
        let (most, max) =
            (self.incoming.get(key).map(|request| self.longest_answer(request))?, self.config.max_datagram);
        let limited = if most < max { self.szx_beside(first, most, szx) } else { None };
        limited.or_else(|| self.szx_beside(first, max, szx))
    }

    pub(super) fn supply_stream(
        &mut self,
        now: Instant,
        key: IncomingKey,
        data: &[u8],
        last: bool,
    ) -> Result<(), SupplyError> {
        let transfer = self.incoming.get(key).and_then(|request| request.transfer).ok_or(SupplyError::Stale)?;
        let stream = self.transfers.stream(transfer).filter(|stream| !stream.has_ended()).ok_or(SupplyError::Stale)?;
        if data.len() > stream.room() {
            return Err(SupplyError::TooMuch { max: stream.room() });
        }
        stream.supply(data, last);
        self.push_stream(now, transfer);
        Ok(())
    }

    /// The peer asks for the next block of a stream, or for the last one again.
    pub(super) fn on_next_wanted(&mut self, now: Instant, arrival: Arrival, key: TransferKey, block: Block) {
        let szx = self.szx_for(Some(block));
        let Some(stream) = self.transfers.stream(key) else {
            return self.reply_bad(now, arrival, Code::REQUEST_ENTITY_INCOMPLETE);
        };
        if block.offset() == stream.sent() && stream.incoming.is_some() {
            self.renew_incoming(now, key, &arrival);
            return self.push_stream(now, key);
        }
        let Some(piece) = stream.again(block.offset(), szx) else {
            return self.reply_bad(now, arrival, Code::REQUEST_ENTITY_INCOMPLETE);
        };
        let (reply, over) = (reply_of(stream, &piece, None), stream.incoming.is_none());
        if over {
            self.stand(now, key, Standing::Done);
        }
        self.reply_now(now, arrival, reply);
    }

    /// Sends the next block of a stream, if the peer waits for it and it is known.
    fn push_stream(&mut self, now: Instant, key: TransferKey) {
        let Some(stream) = self.transfers.stream(key) else { return };
        let Some(incoming) = stream.incoming else { return };
        if stream.wishes() {
            self.incoming.tell(incoming);
        }
        let Some(request) = self.incoming.get(incoming) else { return };
        if !matches!(request.waiting, Waiting::Response) {
            return;
        }
        let asked = request.asked;
        let szx = self.szx_for(asked.block2);
        let Some(stream) = self.transfers.stream(key) else { return };
        let piece = match stream.next(szx) {
            Next::Piece(piece) => piece,
            Next::Unknown => return,
            Next::TooFar => {
                // Nobody could ask for what follows: the peer must begin again, with larger blocks.
                self.answer(now, incoming, Response::new(Code::INTERNAL_SERVER_ERROR)).ok();
                return;
            }
        };
        let reply = reply_of(stream, &piece, asked.block1);
        if self.deliver(now, incoming, reply).is_err() {
            // Without a Message ID it is not sent, and the peer asks again for the same block.
            self.acknowledge(incoming);
            return self.park(now, incoming, Standing::Later);
        }
        let Some(stream) = self.transfers.stream(key) else { return };
        stream.went(&piece);
        let wishes = stream.wishes();
        if piece.block.more() {
            let standing = if piece.block.num() == 0 { Standing::First } else { Standing::Later };
            self.park(now, incoming, standing);
            if wishes {
                self.incoming.tell(incoming);
            }
            return;
        }
        // All of it has been sent; the last block is kept in case that was lost.
        stream.incoming = None;
        if let Some(request) = self.incoming.get_mut(incoming) {
            request.transfer = None;
        }
        self.close_incoming(now, incoming);
        self.stand(now, key, Standing::Done);
    }
}

/// A block of a stream, with what belongs to the first one only.
fn reply_of(stream: &Stream, piece: &Piece, block1: Option<Block>) -> Reply {
    let mut options = stream.options.clone();
    if piece.block.num() == 0 {
        complete_first(&mut options, block1, stream.size);
    }
    options.set_block2(piece.block);
    Reply { code: stream.code, options, payload: piece.payload.clone() }
}

/// RFC 7959 §2.7, §4: the first block also answers the last block of the request, and says how long the body is.
fn complete_first(options: &mut Options, block1: Option<Block>, size: Option<u64>) {
    if let Some(block) = block1 {
        echo_block1(options, block);
    }
    if let Some(size) = size.and_then(|size| u32::try_from(size).ok()) {
        options.set_size2(size);
    }
}
