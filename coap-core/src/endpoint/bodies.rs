//! As a server, request bodies that come in blocks (RFC 7959 §2.5): asked for block by block, at the pace of the
//! application.

use alloc::vec::Vec;

use bytes::Bytes;

use super::Endpoint;
use super::serving::{Arrival, echo_block1};
use crate::blockwise::server::{Intake, Part, Place, Reply, Stage, Standing, TransferKey, Upload, Way};
use crate::event::{Closed, Event, IncomingId};
use crate::exchange::{IncomingKey, Waiting};
use crate::message::{Body, Response};
use crate::time::Instant;
use crate::wire::{Block, Code, OptionNumber, Options};

/// How long a peer for whose body there is no room should wait, in seconds: by then one that is silent gives way.
const RETRY_AFTER: u32 = 4;

impl Endpoint {
    /// What a body has to tell the application.
    pub(super) fn poll_body(&mut self, id: IncomingId) -> Option<Event> {
        let transfer = self.incoming.get(id.0)?.transfer?;
        if let Some((offset, max)) = self.transfers.stream(transfer).and_then(|stream| stream.take_wish()) {
            return Some(Event::BodyWanted { id: id.response_body(), offset, max });
        }
        let Part { offset, data, last } = self.transfers.upload(transfer)?.part.take()?;
        // What was put together is the application's from here on.
        self.transfers.give(&mut self.budget, transfer);
        Some(Event::BodyPart { id: id.request_body(), offset, data, last })
    }

    /// The first block of a longer body: a request that is handed up at once, so that one that is refused costs no upload.
    pub(super) fn on_first_block(&mut self, now: Instant, arrival: Arrival, block: Block) {
        let first = self.hash.bytes(&arrival.message.payload);
        let operation = self.operation_of(&arrival);
        if let Some(before) = self.transfers.find(operation, Way::In) {
            let len = arrival.message.payload.len() as u64;
            let upload = self.transfers.upload(before);
            if upload.is_some_and(|upload| upload.first == first && upload.received == len && !upload.ended) {
                // Nothing has come since: it was not answered, or the answer was lost.
                return self.on_block_again(now, arrival, before);
            }
            self.lose_transfer(now, before, Closed::Superseded);
        }
        if !self.has_transfer_room(now, arrival.peer) {
            self.stats.uploads_refused += 1;
            return self.reply_now(now, arrival, no_room().into());
        }
        let size = arrival.message.options.size1().map(u64::from);
        let incoming = self.open_incoming(now, &arrival);
        let upload = Upload {
            incoming,
            received: block.size() as u64,
            ended: false,
            size,
            first,
            intake: Intake::Undecided(Bytes::copy_from_slice(&arrival.message.payload)),
            part: None,
        };
        let transfer = self.open_transfer(now, operation, Way::In, Stage::Upload(upload));
        if let Some(request) = self.incoming.get_mut(incoming) {
            request.transfer = transfer;
        }
        self.incoming.announce(incoming, arrival.into_request().with_body(Body::Parts { size }));
    }

    /// A block behind the first (RFC 7959 §2.5, §2.9.2). One that does not fit is refused, and what is here stays as it is:
    /// the right one can still come.
    pub(super) fn on_later_block(&mut self, now: Instant, arrival: Arrival, block: Block) {
        let len = arrival.message.payload.len();
        let Some(key) = self.transfers.find(self.operation_of(&arrival), Way::In) else {
            return self.reply_bad(now, arrival, Code::REQUEST_ENTITY_INCOMPLETE);
        };
        let (place, incoming) = match self.transfers.get(key).map(|transfer| &transfer.stage) {
            Some(Stage::Upload(upload)) => (upload.place(block, len), upload.incoming),
            Some(Stage::Answered(answered))
                if answered.of.is_none_or(|of| of == (block.offset(), block.offset() + len as u64)) =>
            {
                let mut reply = answered.reply.clone();
                // RFC 7641 §4.1: it would say that there is an entry with this token, too.
                if self.observers.find(arrival.peer, &arrival.message.token).is_none() {
                    reply.options.remove(OptionNumber::OBSERVE);
                }
                if reply.code != Code::REQUEST_ENTITY_TOO_LARGE {
                    echo_block1(&mut reply.options, block);
                }
                self.stand(now, key, Standing::Done);
                return self.reply_now(now, arrival, reply);
            }
            _ => return self.reply_bad(now, arrival, Code::REQUEST_ENTITY_INCOMPLETE),
        };
        // While a block waits for its answer, the next cannot come from whom it was not asked from.
        let asked_for = self.incoming.get(incoming).is_some_and(|request| matches!(request.waiting, Waiting::Nothing));
        match place {
            Place::Next(known) if asked_for => self.on_next_block(now, arrival, key, known, block),
            Place::Again => self.on_block_again(now, arrival, key),
            Place::Before => {
                let reply = self.proceed(block);
                self.reply_now(now, arrival, reply);
            }
            Place::Next(_) | Place::Gap => self.reply_bad(now, arrival, Code::REQUEST_ENTITY_INCOMPLETE),
        }
    }

    /// The block that was asked for; its first `known` bytes came with another.
    fn on_next_block(&mut self, now: Instant, arrival: Arrival, key: TransferKey, known: usize, block: Block) {
        let payload = arrival.message.payload.slice(known..);
        self.renew_incoming(now, key, &arrival);
        let last = !block.more();
        let Some(upload) = self.transfers.upload(key) else { return };
        let (incoming, offset) = (upload.incoming, upload.received);
        let mut goes_on = !last;
        match &mut upload.intake {
            Intake::Collecting { limit, .. } => {
                let limit = *limit;
                if offset + payload.len() as u64 > limit as u64 {
                    return self.refuse_upload(now, incoming, too_large(limit));
                }
                if !self.append(now, key, &payload) {
                    return self.refuse_upload(now, incoming, no_room());
                }
            }
            Intake::Consumed => {
                upload.part = Some(Part { offset, data: payload.clone(), last });
                upload.intake = Intake::Consuming(None);
            }
            Intake::Consuming(behind) => {
                // It waits for longer than its datagram should live.
                *behind = Some(Part { offset, data: Bytes::copy_from_slice(&payload), last });
                goes_on = false;
            }
            Intake::Undecided(_) | Intake::Done => return,
        }
        let Some(upload) = self.transfers.upload(key) else { return };
        upload.received += payload.len() as u64;
        upload.ended = last;
        if let (true, Intake::Collecting { body, .. }) = (last, &mut upload.intake) {
            let data = Bytes::from(core::mem::take(body));
            upload.part = Some(Part { offset: 0, data, last });
            upload.intake = Intake::Done;
        }
        if upload.part.is_some() {
            self.incoming.tell(incoming);
        }
        if goes_on {
            self.take_further(now, incoming);
        }
    }

    /// The last block came again, as a new message. It is answered again, or when it can be.
    fn on_block_again(&mut self, now: Instant, arrival: Arrival, key: TransferKey) {
        let Some(incoming) = self.transfers.upload(key).map(|upload| upload.incoming) else { return };
        let answered = self.incoming.get(incoming).is_some_and(|request| matches!(request.waiting, Waiting::Nothing));
        self.renew_incoming(now, key, &arrival);
        if answered {
            self.take_further(now, incoming);
        }
    }

    /// From now on a request is answered by answering this message of it.
    pub(super) fn renew_incoming(&mut self, now: Instant, key: TransferKey, arrival: &Arrival) {
        let incoming = match self.transfers.get(key).map(|transfer| &transfer.stage) {
            Some(Stage::Upload(upload)) => Some(upload.incoming),
            Some(Stage::Stream(stream)) => stream.incoming,
            _ => None,
        };
        let Some(incoming) = incoming else { return };
        self.acknowledge(incoming);
        let Some(request) = self.incoming.get(incoming) else { return };
        let waited = matches!(request.waiting, Waiting::Nothing);
        if let Some(record) = self.peers.get_mut(request.peer).filter(|_| waited) {
            record.incoming += 1;
        }
        let limited = self.is_limited(arrival.peer, arrival.path.is_multicast()) && self.account(now, arrival);
        self.incoming.renew(now, incoming, arrival.arrived(limited));
        self.stand(now, key, Standing::Ours);
    }

    /// Answers the block that waits with 2.31: the next may come.
    fn take_further(&mut self, now: Instant, key: IncomingKey) {
        let Some(block) = self.incoming.get(key).and_then(|request| request.asked.block1) else { return };
        let reply = self.proceed(block);
        // Without a Message ID it is not sent, and the peer asks again.
        if self.deliver(now, key, reply).is_err() {
            self.acknowledge(key);
        }
        self.park(now, key, if block.num() == 0 { Standing::First } else { Standing::Later });
    }

    /// The peer has to go on with a request.
    pub(super) fn park(&mut self, now: Instant, key: IncomingKey, standing: Standing) {
        let Some(request) = self.incoming.get(key).filter(|request| matches!(request.waiting, Waiting::Response))
        else {
            return;
        };
        let (peer, transfer) = (request.peer, request.transfer);
        if let Some(record) = self.peers.get_mut(peer) {
            record.incoming = record.incoming.saturating_sub(1);
        }
        self.incoming.park(key);
        if let Some(transfer) = transfer {
            self.stand(now, transfer, standing);
        }
    }

    /// RFC 7959 §2.9.1: the block is here, and the next may have the size that we like.
    fn proceed(&self, block: Block) -> Reply {
        let mut options = Options::new();
        options.set_block1(Block::new(block.num(), true, self.szx_for(Some(block))).unwrap_or(block));
        Reply { code: Code::CONTINUE, options, payload: Bytes::new() }
    }

    pub(super) fn collect_upload(&mut self, now: Instant, key: IncomingKey, limit: usize) -> bool {
        let Some(transfer) = self.incoming.get(key).and_then(|request| request.transfer) else { return false };
        let Some(upload) = self.transfers.upload(transfer) else { return false };
        let Intake::Undecided(first) = &upload.intake else { return false };
        let first = first.clone();
        if upload.size.unwrap_or(0).max(upload.received) > limit as u64 {
            self.refuse_upload(now, key, too_large(limit));
            return true;
        }
        upload.intake = Intake::Collecting { body: Vec::new(), limit };
        if self.append(now, transfer, &first) {
            self.take_further(now, key);
        } else {
            self.refuse_upload(now, key, no_room());
        }
        true
    }

    pub(super) fn consume_upload(&mut self, now: Instant, key: IncomingKey) -> bool {
        let Some(transfer) = self.incoming.get(key).and_then(|request| request.transfer) else { return false };
        let Some(upload) = self.transfers.upload(transfer).filter(|upload| upload.part.is_none()) else { return false };
        let next = match &mut upload.intake {
            Intake::Undecided(data) => Some(Part { offset: 0, data: core::mem::take(data), last: false }),
            Intake::Consuming(behind) => behind.take(),
            Intake::Collecting { .. } | Intake::Consumed | Intake::Done => return false,
        };
        let Some(part) = next else {
            upload.intake = if upload.ended { Intake::Done } else { Intake::Consumed };
            return true;
        };
        let last = part.last;
        upload.part = Some(part);
        upload.intake = Intake::Consuming(None);
        self.incoming.tell(key);
        if !last {
            self.take_further(now, key);
        }
        true
    }

    /// Adds a block to a body that is put together; false: there is no memory for it. Memory is taken for what is
    /// allocated, which is up to twice as much, and for what has come only: what the peer announces costs nothing.
    fn append(&mut self, now: Instant, key: TransferKey, payload: &[u8]) -> bool {
        let collecting = |upload: &mut Upload| match &mut upload.intake {
            Intake::Collecting { body, limit } => Some((core::mem::take(body), *limit)),
            _ => None,
        };
        let Some((mut body, limit)) = self.transfers.upload(key).and_then(collecting) else { return false };
        let (capacity, least) = (body.capacity(), body.len() + payload.len());
        let mut fits = least <= capacity;
        if !fits {
            let ample = least.max(2 * capacity).min(limit.max(least));
            let wanted = [ample, least].into_iter().find(|wanted| self.take_memory(now, key, wanted - capacity));
            if let Some(wanted) = wanted {
                body.reserve_exact(wanted - body.len());
                fits = true;
            }
        }
        if fits {
            body.extend_from_slice(payload);
        }
        if let Some(upload) = self.transfers.upload(key) {
            upload.intake = Intake::Collecting { body, limit };
        }
        fits
    }

    /// Answers an upload with an error of our own. It has that answer from now on, and the application is told.
    fn refuse_upload(&mut self, now: Instant, key: IncomingKey, response: Response) {
        self.stats.uploads_refused += 1;
        let reply = Reply::from(response);
        if self.deliver(now, key, reply.clone()).is_err() {
            self.acknowledge(key);
        }
        self.keep_answer(now, key, reply);
        self.release_incoming(now, key);
        self.incoming.close(key, Closed::TooLarge);
    }
}

/// RFC 7959 §2.9.3: with what would be accepted.
fn too_large(limit: usize) -> Response {
    let mut response = Response::new(Code::REQUEST_ENTITY_TOO_LARGE);
    response.options.set_size1(u32::try_from(limit).unwrap_or(u32::MAX));
    response
}

/// RFC 7252 §5.9.3.4: for now, and how long that is.
fn no_room() -> Response {
    let mut response = Response::new(Code::SERVICE_UNAVAILABLE);
    response.options.set_max_age(RETRY_AFTER);
    response
}
