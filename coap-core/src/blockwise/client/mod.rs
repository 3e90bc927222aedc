//! As a client: the bodies of a request of ours and of its response.

mod assembler;
mod operation;
mod slicer;

pub(crate) use self::operation::{News, Next, Operation, Part, Rules, Tags};
pub(crate) use self::slicer::MOST_AHEAD;
