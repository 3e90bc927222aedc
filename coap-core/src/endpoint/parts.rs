//! Bodies in parts, in all four directions: what the application takes, and what it gives.

use bytes::Bytes;

use super::Endpoint;
use super::errors::SupplyError;
use crate::event::{BodyId, BodyOf};
use crate::time::Instant;

impl Endpoint {
    /// Takes the content of a request as one, up to `limit` bytes: the peer is asked for all of its blocks, and then
    /// `Event::BodyPart` has the whole.
    ///
    /// A body that is longer, or says so (Size1), is answered 4.13 with the limit, one for which there is no memory
    /// (`Config::max_transfer_bytes`) 5.03; `Event::IncomingClosed` says so. False, and nothing happens: the content is
    /// not in parts, or is being consumed or collected already, or its request was answered or closed.
    pub fn collect(&mut self, now: Instant, body: BodyId, limit: usize) -> bool {
        let now = self.advance(now);
        match body.0 {
            BodyOf::Incoming(id) => self.collect_upload(now, id.0, limit),
            BodyOf::Request(_) | BodyOf::Response(_) | BodyOf::Reply(_) => false,
        }
    }

    /// The last part of a body is done with, and the next may come (`Event::BodyPart`). The first call for the content of a
    /// request that we received says that it is wanted at all: its first part comes then. The first part of a response to
    /// a request of ours comes by itself.
    ///
    /// One more block is asked for ahead, so that the peer need not wait for the application as long as that is as fast as
    /// the network. False, and nothing happens: there is no part that has been handed up and not consumed yet.
    pub fn consumed(&mut self, now: Instant, body: BodyId) -> bool {
        let now = self.advance(now);
        match body.0 {
            BodyOf::Incoming(id) => self.consume_upload(now, id.0),
            BodyOf::Response(id) => self.consume_download(now, id.0),
            BodyOf::Request(_) | BodyOf::Reply(_) => false,
        }
    }

    /// Gives the next bytes of a body in parts, after those given before: when `Event::BodyWanted` asks for them, or ahead of
    /// it, as long as no more wait than there is room for: 16 KiB for a request, 4 KiB for a response. They are cut into
    /// blocks of the size that is in force. `last`: the body ends with them; there may be none in the last.
    ///
    /// A block leaves when its turn has come and it is known whether more follow. A body that fits into one block travels as
    /// a whole one.
    pub fn supply(&mut self, now: Instant, body: BodyId, data: Bytes, last: bool) -> Result<(), SupplyError> {
        let now = self.advance(now);
        match body.0 {
            BodyOf::Request(id) => self.supply_upload(now, id.0, data, last),
            BodyOf::Reply(id) => self.supply_stream(now, id.0, &data, last),
            BodyOf::Response(_) | BodyOf::Incoming(_) => Err(SupplyError::Stale),
        }
    }
}
