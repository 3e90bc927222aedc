//! Observing resources (RFC 7641).

mod observing;
mod order;

pub(crate) use self::observing::{Next, Observing, Place, Tidings, Verdict};
