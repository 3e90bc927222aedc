//! Overload (RFC 8516, RFC 7252 §5.9.3.4): what servers have asked us to wait for, and how often we ask it of others.

mod back_offs;
mod refusals;

pub(crate) use self::back_offs::{BackOffs, Similar};
pub(crate) use self::refusals::Refusals;
