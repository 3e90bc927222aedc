//! Transmission parameters, changed while the endpoint runs.

use alloc::boxed::Box;

use super::Endpoint;
use super::errors::TransmissionError;
use crate::addr::Peer;
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
}

/// What transmission parameters are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All peers that have none of their own.
    Endpoint,
    /// One peer.
    Peer(Peer),
}
