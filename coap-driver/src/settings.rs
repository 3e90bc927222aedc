//! The settings of a client that can be changed while it runs. They act on what is sent afterwards; what is under way keeps
//! those that it began with.

use core::sync::atomic::Ordering;
use core::time::Duration;

use coap_core::{BlockSize, ConfigError, Scope, TransmissionBuilder, TransmissionError};

use crate::client::Client;
use crate::runtime::Runtime;

impl<R: Runtime> Client<R> {
    /// Changes the block size (RFC 7959): the largest block of content in one datagram. `None`: the server chooses, as long as
    /// nobody has said otherwise. See `ConfigBuilder::block_size`.
    ///
    /// `BlockSize::try_from(bytes)` is the error of a number that is no block size.
    pub fn set_block_size(&self, size: Option<BlockSize>) {
        self.shared().command(|state, _| state.endpoint.set_block_size(size));
    }

    /// The block size.
    pub fn block_size(&self) -> Option<BlockSize> {
        self.shared().lock().endpoint.config().block_size()
    }

    /// Changes ACK_TIMEOUT (RFC 7252 §4.8): the shortest wait for the first acknowledgement. For peers that have no
    /// parameters of their own ([`set_transmission`](Client::set_transmission)).
    ///
    /// # Errors
    /// Outside 1 ms to a day, not above the endpoint's `ack_delay`, or below 1 s where the parameters in force do not accept
    /// that risk already: [`set_transmission`](Client::set_transmission) takes such ones.
    pub fn set_ack_timeout(&self, span: Duration) -> Result<(), ConfigError> {
        self.change_transmission(|parameters| parameters.ack_timeout(span))
    }

    /// ACK_TIMEOUT.
    pub fn ack_timeout(&self) -> Duration {
        self.shared().lock().endpoint.config().transmission().ack_timeout()
    }

    /// Changes ACK_RANDOM_FACTOR (RFC 7252 §4.8): the first wait is drawn between ACK_TIMEOUT and this many times it.
    ///
    /// # Errors
    /// Outside 1.0 to 100.0.
    pub fn set_ack_random_factor(&self, factor: f64) -> Result<(), ConfigError> {
        self.change_transmission(|parameters| parameters.ack_random_factor(factor))
    }

    /// ACK_RANDOM_FACTOR.
    pub fn ack_random_factor(&self) -> f64 {
        self.shared().lock().endpoint.config().transmission().ack_random_factor()
    }

    /// Changes MAX_RETRANSMIT (RFC 7252 §4.8): how often a Confirmable message is repeated.
    ///
    /// # Errors
    /// Above 20.
    pub fn set_max_retransmit(&self, times: u8) -> Result<(), ConfigError> {
        self.change_transmission(|parameters| parameters.max_retransmit(times))
    }

    /// MAX_RETRANSMIT.
    pub fn max_retransmit(&self) -> u8 {
        self.shared().lock().endpoint.config().transmission().max_retransmit()
    }

    /// Changes MAX_SERVER_RESPONSE_DELAY (RFC 7390 §2.5): how long the responses to a multicast request are collected, where
    /// the request has no timeout of its own.
    ///
    /// # Errors
    /// Below 1 ms.
    pub fn set_max_server_response_delay(&self, span: Duration) -> Result<(), ConfigError> {
        self.shared().command(|state, _| state.endpoint.set_max_server_response_delay(span))
    }

    /// MAX_SERVER_RESPONSE_DELAY.
    pub fn max_server_response_delay(&self) -> Duration {
        self.shared().lock().endpoint.config().max_server_response_delay()
    }

    /// Changes the length of the shortest token that is drawn, in bytes. Tokens have a random length from this to 8.
    ///
    /// # Errors
    /// Outside 1 to 8.
    pub fn set_min_token_len(&self, bytes: u8) -> Result<(), ConfigError> {
        self.shared().command(|state, _| state.endpoint.set_min_token_len(bytes))
    }

    /// The length of the shortest token that is drawn, in bytes.
    pub fn min_token_len(&self) -> u8 {
        self.shared().lock().endpoint.config().min_token_len()
    }

    /// Lets requests and observations wait up to `span` for a server that wants them later (4.29 and 5.03 with Max-Age: RFC 8516
    /// §4), those that have no [`wait_for_back_off`](crate::RequestBuilder::wait_for_back_off) of their own. Zero, as it is at
    /// first: they end with [`Error::BackOff`](crate::Error::BackOff) at once, because what is carried out a minute after it
    /// was asked for may not be wanted any more, and the caller knows.
    pub fn set_wait_for_back_off(&self, span: Duration) {
        self.back_off_wait().store(u64::try_from(span.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long requests wait for a server that wants them later.
    pub fn wait_for_back_off(&self) -> Duration {
        Duration::from_micros(self.back_off_wait().load(Ordering::Relaxed))
    }

    /// Read, changed and written under one lock: two changes at a time are both in force.
    fn change_transmission(
        &self,
        change: impl FnOnce(TransmissionBuilder) -> TransmissionBuilder,
    ) -> Result<(), ConfigError> {
        self.shared().command(|state, now| {
            let present = *state.endpoint.config().transmission();
            let builder = present.to_builder();
            // The risk that was accepted before is no news.
            let builder = if builder.build().is_err() { builder.accept_congestion_risk() } else { builder };
            let wanted = change(builder).build()?;
            match state.endpoint.set_transmission(now, Scope::Endpoint, wanted) {
                Err(TransmissionError::AckDelayTooLong { ack_delay, ack_timeout }) => {
                    Err(ConfigError::AckDelayTooLong { ack_delay, ack_timeout })
                }
                // Only one peer can be one too many.
                Ok(()) | Err(_) => Ok(()),
            }
        })
    }
}
