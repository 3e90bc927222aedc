//! Settings that are changed while the endpoint runs.

use alloc::boxed::Box;
use core::time::Duration;

use super::Endpoint;
use super::errors::TransmissionError;
use crate::addr::Peer;
use crate::config::{ConfigError, check_min_token_len, check_timeout};
use crate::message::BlockSize;
use crate::time::Instant;
use crate::transmission::TransmissionParameters;

impl Endpoint {
    /// Changes the transmission parameters, for what is sent from now on.
    ///
    /// Requests that wait for one peer are looked at again at once; after a change for the endpoint, when something ends
    /// with their peer, or when their turn would have come before.
    ///
    /// A peer with parameters of its own is not forgotten before [`clear_transmission`](Self::clear_transmission).
    pub fn set_transmission(
        &mut self,
        now: Instant,
        of: Scope,
        parameters: TransmissionParameters,
    ) -> Result<(), TransmissionError> {
        let now = self.advance(now);
        let (ack_delay, ack_timeout) = (self.config.ack_delay, parameters.ack_timeout());
        match of {
            Scope::Endpoint if ack_delay >= ack_timeout => {
                return Err(TransmissionError::AckDelayTooLong { ack_delay, ack_timeout });
            }
            Scope::Endpoint => self.config.transmission = parameters,
            Scope::Peer(peer) => {
                let key = self.admit(now, peer).ok_or(TransmissionError::TooManyPeers)?;
                let record = self.peers.get_mut(key).ok_or(TransmissionError::TooManyPeers)?;
                if record.transmission.replace(Box::new(parameters)).is_none() {
                    self.peers.hold(key);
                }
                self.drain(now, key);
            }
        }
        Ok(())
    }

    /// Gives a peer the parameters of the endpoint again. False: it had none of its own.
    pub fn clear_transmission(&mut self, now: Instant, of: Peer) -> bool {
        let now = self.advance(now);
        let Some(key) = self.peers.find(&of) else { return false };
        let had = self.peers.get_mut(key).and_then(|record| record.transmission.take()).is_some();
        if had {
            self.drain(now, key);
            self.peers.release(now, key);
        }
        had
    }

    /// Changes `ConfigBuilder::block_size`, for requests and responses that begin from now on.
    pub const fn set_block_size(&mut self, size: Option<BlockSize>) {
        self.config.block_size = size;
    }

    /// Changes `ConfigBuilder::max_server_response_delay`, for multicast requests from now on.
    ///
    /// # Errors
    /// Below 1 ms.
    pub fn set_max_server_response_delay(&mut self, span: Duration) -> Result<(), ConfigError> {
        check_timeout(span)?;
        self.config.max_server_response_delay = span;
        Ok(())
    }

    /// Changes `ConfigBuilder::min_token_len`, for tokens that are drawn from now on.
    ///
    /// # Errors
    /// Outside 1 to 8 bytes, or to `ConfigBuilder::max_token_len` if that is more.
    pub fn set_min_token_len(&mut self, bytes: u8) -> Result<(), ConfigError> {
        check_min_token_len(bytes, self.config.max_token_len)?;
        self.config.min_token_len = bytes;
        Ok(())
    }
}

/// What transmission parameters are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All peers that have none of their own.
    Endpoint,
    /// One peer.
    Peer(Peer),
}
