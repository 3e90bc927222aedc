//! Bodies that travel block by block (RFC 7959).

mod budget;

pub(crate) use self::budget::Budget;
