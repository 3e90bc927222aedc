//! Bodies that travel block by block (RFC 7959): those of our requests and their responses, and those of the requests
//! that we receive and of our responses to them.

mod budget;
pub(crate) mod client;
pub(crate) mod server;

pub(crate) use self::budget::Budget;
