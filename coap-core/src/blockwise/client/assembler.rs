//! The body of a response that comes block by block (RFC 7959 §2.4): put together, or handed on part by part.

use alloc::vec::Vec;

use bytes::Bytes;

use super::operation::Part;
use crate::blockwise::Budget;
use crate::event::BlockFailure;
use crate::message::Response;
use crate::wire::{Code, ETag, Options};

/// What has come so far.
pub(crate) struct Assembler {
    pub(crate) code: Code,
    /// Those of the first block.
    options: Options,
    /// Of the content that the blocks belong to. That it has none is a mark of it, too.
    pub(crate) etag: Option<ETag>,
    /// Where the next block starts.
    next: u64,
    /// How long the body is, as far as the peer has said (Size2).
    size: Option<u64>,
    content: Content,
}

enum Content {
    Whole(Whole),
    Parts(Parts),
}

/// At most two parts are here: one that the application has, or can have, and one of read-ahead.
#[derive(Default)]
struct Parts {
    /// A part was told, and has not been consumed yet.
    outstanding: bool,
    ahead: Option<Part>,
}

/// What has become of a block.
pub(crate) enum Added {
    /// It is kept, and the next one can be asked for.
    More,
    /// It is kept, and the application must consume the one before first.
    Wait,
    /// It is the application's, and the next one can be asked for.
    Tell(Part),
    /// It is the last one, and the application's.
    TellLast(Part),
    /// It is the last one, and the body complete.
    Complete(Response),
}

impl Assembler {
    /// A body that is put together, of up to `limit` bytes.
    pub(crate) fn whole(code: Code, options: Options, limit: usize) -> Self {
        Self::new(code, options, 0, Content::Whole(Whole { bytes: Vec::new(), reserved: 0, limit }))
    }

    /// A body that comes in parts, from the byte `start` on.
    pub(crate) fn parts(code: Code, options: Options, start: u64) -> Self {
        Self::new(code, options, start, Content::Parts(Parts::default()))
    }

    fn new(code: Code, options: Options, next: u64, content: Content) -> Self {
        let (etag, size) = (options.etag(), options.size2().map(u64::from));
        Self { code, options: options.into_owned(), etag, next, size, content }
    }

    /// Adds the block that starts at `next`.
    pub(crate) fn add(&mut self, data: Bytes, last: bool, budget: &mut Budget) -> Result<Added, BlockFailure> {
        let (offset, len) = (self.next, data.len());
        let added = match &mut self.content {
            Content::Whole(whole) => {
                whole.append(&data, budget)?;
                if last {
                    let body = whole.take(budget);
                    let options = core::mem::take(&mut self.options);
                    Added::Complete(Response::new(self.code).with_options(options).with_body(body))
                } else {
                    Added::More
                }
            }
            Content::Parts(parts) => {
                if parts.outstanding {
                    // A slow application must not pin what the datagram was received into.
                    parts.ahead = Some(Part { offset, data: Bytes::copy_from_slice(&data), last });
                    Added::Wait
                } else {
                    parts.tell(Part { offset, data, last })
                }
            }
        };
        self.next += len as u64;
        if last {
            self.size = Some(self.next);
        }
        Ok(added)
    }

    /// The application wants the next part. `None`: nothing was told to be consumed.
    pub(crate) fn consumed(&mut self) -> Option<Added> {
        let Content::Parts(parts) = &mut self.content else { return None };
        if !core::mem::take(&mut parts.outstanding) {
            return None;
        }
        Some(match parts.ahead.take() {
            Some(part) => parts.tell(part),
            None => Added::More,
        })
    }

    pub(crate) const fn is_in_parts(&self) -> bool {
        matches!(self.content, Content::Parts(_))
    }

    /// Where the next block starts: how many bytes have come.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// How long the body is, as far as the peer has said (Size2).
    pub(crate) const fn size(&self) -> Option<u64> {
        self.size
    }

    /// What the response says beside its body.
    pub(crate) const fn options(&self) -> &Options {
        &self.options
    }

    /// Lets go of the bytes.
    pub(crate) fn clear(&mut self, budget: &mut Budget) {
        match &mut self.content {
            Content::Whole(whole) => drop(whole.take(budget)),
            Content::Parts(parts) => *parts = Parts::default(),
        }
    }
}

impl Parts {
    fn tell(&mut self, part: Part) -> Added {
        self.outstanding = true;
        if part.last { Added::TellLast(part) } else { Added::Tell(part) }
    }
}

/// A body that is put together within a limit, and within what the budget of all bodies has left.
struct Whole {
    bytes: Vec<u8>,
    /// What was taken from the budget: the memory that is reserved, not the bytes in it.
    reserved: usize,
    limit: usize,
}

impl Whole {
    fn append(&mut self, data: &[u8], budget: &mut Budget) -> Result<(), BlockFailure> {
        let len = self.bytes.len().saturating_add(data.len());
        if len > self.limit {
            return Err(BlockFailure::TooLarge { limit: self.limit });
        }
        if len > self.reserved {
            // Doubled, so that a long body is not copied for each of its blocks; if that is too much, as much as is needed.
            let ample = len.max(self.reserved.saturating_mul(2)).min(self.limit);
            let reserved = [ample, len].into_iter().find(|wanted| budget.take(wanted - self.reserved));
            self.reserved = reserved.ok_or(BlockFailure::NoRoom)?;
            self.bytes.reserve_exact(self.reserved - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn take(&mut self, budget: &mut Budget) -> Vec<u8> {
        budget.give(core::mem::take(&mut self.reserved));
        core::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fill: u8, len: usize) -> Bytes {
        alloc::vec![fill; len].into()
    }

    #[test]
    fn blocks_are_put_together_in_order() {
        let mut budget = Budget::new(1_000);
        let mut body = Assembler::whole(Code::CONTENT, Options::new(), 100);
        assert!(matches!(body.add(block(1, 16), false, &mut budget), Ok(Added::More)));
        assert!(matches!(body.add(block(2, 16), false, &mut budget), Ok(Added::More)));
        assert_eq!((body.next(), budget.used()), (32, 32));
        let Ok(Added::Complete(response)) = body.add(block(3, 1), true, &mut budget) else { panic!() };
        assert_eq!(response.body.len(), 33);
        assert_eq!(response.body.as_bytes()[31..], [2, 3]);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_body_over_its_limit_or_over_the_budget_is_refused() {
        let mut budget = Budget::new(40);
        let mut body = Assembler::whole(Code::CONTENT, Options::new(), 31);
        assert!(body.add(block(1, 16), false, &mut budget).is_ok());
        let refused = body.add(block(1, 16), false, &mut budget).err();
        assert_eq!(refused, Some(BlockFailure::TooLarge { limit: 31 }));
        body.clear(&mut budget);
        assert_eq!(budget.used(), 0);
        let mut body = Assembler::whole(Code::CONTENT, Options::new(), 100);
        assert!(
            body.add(block(1, 16), false, &mut budget).is_ok() && body.add(block(1, 16), false, &mut budget).is_ok()
        );
        assert_eq!(body.add(block(1, 16), false, &mut budget).err(), Some(BlockFailure::NoRoom));
        // What does not fit doubled fits as it is.
        assert!(body.add(block(1, 8), true, &mut budget).is_ok());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_part_is_told_and_one_waits() {
        let mut budget = Budget::new(0);
        let mut body = Assembler::parts(Code::CONTENT, Options::new(), 0);
        assert!(body.consumed().is_none());
        assert!(matches!(body.add(block(1, 16), false, &mut budget), Ok(Added::Tell(part)) if part.offset == 0));
        assert!(matches!(body.add(block(2, 16), false, &mut budget), Ok(Added::Wait)));
        assert!(matches!(body.consumed(), Some(Added::Tell(part)) if part.offset == 16));
        assert!(matches!(body.consumed(), Some(Added::More)) && body.consumed().is_none());
        assert!(matches!(body.add(block(3, 5), true, &mut budget), Ok(Added::TellLast(part)) if part.offset == 32));
    }
}
