//! Bodies that travel block by block (RFC 7959).

mod assembler;
mod budget;
mod operation;
mod slicer;

pub(crate) use self::budget::Budget;
pub(crate) use self::operation::{News, Next, Operation, Part, Rules, Tags};
pub(crate) use self::slicer::MOST_AHEAD;
