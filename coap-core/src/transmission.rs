//! Transmission parameters (RFC 7252 §4.8) and the times that follow from them (§4.8.2).

use core::fmt;
use core::time::Duration;

/// How messages to a peer are timed and repeated: RFC 7252 §4.8, with the RFC's defaults.
///
/// Set for an endpoint in its `Config`, for a peer or while running with `Endpoint::set_transmission`, for one request
/// in its `RequestOptions`. What is in flight keeps the parameters that it was sent with.
///
/// ```
/// # use coap_core::TransmissionParameters;
/// # use core::time::Duration;
/// let slow = TransmissionParameters::builder().ack_timeout(Duration::from_secs(10)).build()?;
/// assert_eq!(slow.max_transmit_wait(), Duration::from_secs(465));
/// # Ok::<(), coap_core::ParameterError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransmissionParameters {
    ack_timeout: Duration,
    /// In thousandths.
    random_factor: u32,
    max_retransmit: u8,
    nstart: u16,
    leisure: Duration,
    probing_rate: u32,
    max_latency: Duration,
    derived: Derived,
}

/// What follows from the parameters, kept because each message asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Derived {
    span: Duration,
    wait: Duration,
    exchange_lifetime: Duration,
    non_lifetime: Duration,
}

/// RFC 7252 §4.8.2: how long a datagram may stay in the network.
const MAX_LATENCY: Duration = Duration::from_secs(100);

/// More would make the last wait longer than a year.
const MOST_RETRANSMISSIONS: u8 = 20;

impl Default for TransmissionParameters {
    /// RFC 7252 §4.8: ACK_TIMEOUT 2 s, ACK_RANDOM_FACTOR 1.5, MAX_RETRANSMIT 4, NSTART 1, DEFAULT_LEISURE 5 s,
    /// PROBING_RATE 1 byte/s.
    fn default() -> Self {
        let rfc = Self {
            ack_timeout: Duration::from_secs(2),
            random_factor: 1_500,
            max_retransmit: 4,
            nstart: 1,
            leisure: Duration::from_secs(5),
            probing_rate: 1,
            max_latency: MAX_LATENCY,
            derived: Derived::NONE,
        };
        rfc.with_derived()
    }
}

impl TransmissionParameters {
    /// Starts from the RFC's defaults.
    pub fn builder() -> TransmissionBuilder {
        Self::default().to_builder()
    }

    /// Starts from these values.
    pub const fn to_builder(self) -> TransmissionBuilder {
        TransmissionBuilder { wanted: self, factor: self.random_factor as f64 / 1_000.0, congestion_risk: false }
    }

    /// ACK_TIMEOUT: the shortest wait for the first acknowledgement.
    pub const fn ack_timeout(&self) -> Duration {
        self.ack_timeout
    }

    /// ACK_RANDOM_FACTOR, 1.0 or more: the first wait is drawn between ACK_TIMEOUT and this many times it.
    pub const fn ack_random_factor(&self) -> f64 {
        self.random_factor as f64 / 1_000.0
    }

    /// MAX_RETRANSMIT: how often a Confirmable message is repeated, 0 to 20.
    pub const fn max_retransmit(&self) -> u8 {
        self.max_retransmit
    }

    /// NSTART: Confirmable requests in flight to one peer (RFC 7252 §4.7).
    pub const fn nstart(&self) -> u16 {
        self.nstart
    }

    /// DEFAULT_LEISURE: a response to a multicast request is sent at a random time within this span (RFC 7252 §8.2).
    pub const fn leisure(&self) -> Duration {
        self.leisure
    }

    /// PROBING_RATE in bytes per second: the average rate of Non-confirmable requests to a peer that does not answer.
    pub const fn probing_rate(&self) -> u32 {
        self.probing_rate
    }

    /// MAX_LATENCY: how long the network may keep a datagram.
    pub const fn max_latency(&self) -> Duration {
        self.max_latency
    }

    /// PROCESSING_DELAY: how long a node may take to acknowledge. Equal to ACK_TIMEOUT, as the RFC sets it.
    pub const fn processing_delay(&self) -> Duration {
        self.ack_timeout
    }

    /// MAX_TRANSMIT_SPAN: from the first transmission of a Confirmable message to its last. 45 s by default.
    pub const fn max_transmit_span(&self) -> Duration {
        self.derived.span
    }

    /// MAX_TRANSMIT_WAIT: from the first transmission until the sender gives up. 93 s by default.
    pub const fn max_transmit_wait(&self) -> Duration {
        self.derived.wait
    }

    /// MAX_RTT: 202 s by default.
    pub const fn max_rtt(&self) -> Duration {
        self.max_latency.saturating_mul(2).saturating_add(self.processing_delay())
    }

    /// EXCHANGE_LIFETIME: how long the Message ID of a Confirmable message must not be used again. 247 s by default.
    pub const fn exchange_lifetime(&self) -> Duration {
        self.derived.exchange_lifetime
    }

    /// NON_LIFETIME: how long the Message ID of a Non-confirmable message must not be used again. 145 s by default.
    pub const fn non_lifetime(&self) -> Duration {
        self.derived.non_lifetime
    }

    /// The longest first wait for an acknowledgement: ACK_TIMEOUT × ACK_RANDOM_FACTOR. 3 s by default.
    pub const fn longest_initial_timeout(&self) -> Duration {
        self.scaled(1)
    }

    /// RFC 7252 §4.8.2.
    const fn with_derived(mut self) -> Self {
        let span = self.scaled((1 << self.max_retransmit) - 1);
        self.derived = Derived {
            span,
            wait: self.scaled((2 << self.max_retransmit) - 1),
            exchange_lifetime: span.saturating_add(self.max_rtt()),
            non_lifetime: span.saturating_add(self.max_latency),
        };
        self
    }

    /// ACK_TIMEOUT × ACK_RANDOM_FACTOR × `times`.
    const fn scaled(&self, times: u64) -> Duration {
        // Below 2⁶⁴ by the limits of the builder: 86,400 s × 100 × 2²¹ in thousandths of microseconds are 2 × 10¹⁹ at
        // the very most, and saturate.
        let micros = (self.ack_timeout.as_micros() as u64).saturating_mul(times);
        Duration::from_micros((micros as u128 * self.random_factor as u128 / 1_000) as u64)
    }
}

/// Makes [`TransmissionParameters`]; nothing is checked before [`build`](Self::build).
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct TransmissionBuilder {
    wanted: TransmissionParameters,
    factor: f64,
    congestion_risk: bool,
}

impl TransmissionBuilder {
    /// ACK_TIMEOUT, 1 ms to a day. Below 1 s it needs [`accept_congestion_risk`](Self::accept_congestion_risk).
    pub const fn ack_timeout(mut self, span: Duration) -> Self {
        self.wanted.ack_timeout = span;
        self
    }

    /// ACK_RANDOM_FACTOR, 1.0 to 100.0, kept in thousandths.
    pub const fn ack_random_factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// MAX_RETRANSMIT, 0 to 20.
    pub const fn max_retransmit(mut self, times: u8) -> Self {
        self.wanted.max_retransmit = times;
        self
    }

    /// NSTART, 1 to 1,024. Above 1 it needs [`accept_congestion_risk`](Self::accept_congestion_risk).
    pub const fn nstart(mut self, requests: u16) -> Self {
        self.wanted.nstart = requests;
        self
    }

    /// DEFAULT_LEISURE, up to a day.
    pub const fn leisure(mut self, span: Duration) -> Self {
        self.wanted.leisure = span;
        self
    }

    /// PROBING_RATE in bytes per second, 1 or more.
    pub const fn probing_rate(mut self, bytes_per_second: u32) -> Self {
        self.wanted.probing_rate = bytes_per_second;
        self
    }

    /// MAX_LATENCY, 1 s to a day. In a network of one hop it can be far below the default of 100 s, and with it the
    /// time for which Message IDs must be remembered.
    pub const fn max_latency(mut self, span: Duration) -> Self {
        self.wanted.max_latency = span;
        self
    }

    /// Allows what RFC 7252 §4.8.1 forbids where nothing else controls congestion: ACK_TIMEOUT below 1 s, and NSTART
    /// above 1. For networks that you own, and for tests.
    pub const fn accept_congestion_risk(mut self) -> Self {
        self.congestion_risk = true;
        self
    }

    /// Checks the values against each other and the RFC.
    pub fn build(self) -> Result<TransmissionParameters, ParameterError> {
        const DAY: Duration = Duration::from_secs(86_400);
        let Self { mut wanted, factor, congestion_risk } = self;
        if !(1.0..=100.0).contains(&factor) {
            return Err(ParameterError::RandomFactor { factor });
        }
        wanted.random_factor = (factor * 1_000.0 + 0.5) as u32;
        if !(Duration::from_millis(1)..=DAY).contains(&wanted.ack_timeout) {
            return Err(ParameterError::AckTimeout { ack_timeout: wanted.ack_timeout });
        }
        if wanted.ack_timeout < Duration::from_secs(1) && !congestion_risk {
            return Err(ParameterError::AckTimeoutRisk { ack_timeout: wanted.ack_timeout });
        }
        if wanted.max_retransmit > MOST_RETRANSMISSIONS {
            return Err(ParameterError::MaxRetransmit { max_retransmit: wanted.max_retransmit });
        }
        if !(1..=1_024).contains(&wanted.nstart) {
            return Err(ParameterError::Nstart { nstart: wanted.nstart });
        }
        if wanted.nstart > 1 && !congestion_risk {
            return Err(ParameterError::NstartRisk { nstart: wanted.nstart });
        }
        if wanted.probing_rate == 0 {
            return Err(ParameterError::ProbingRate);
        }
        if wanted.leisure > DAY {
            return Err(ParameterError::Leisure { leisure: wanted.leisure });
        }
        if !(Duration::from_secs(1)..=DAY).contains(&wanted.max_latency) {
            return Err(ParameterError::MaxLatency { max_latency: wanted.max_latency });
        }
        Ok(wanted.with_derived())
    }
}

impl Derived {
    const NONE: Self = Self {
        span: Duration::ZERO,
        wait: Duration::ZERO,
        exchange_lifetime: Duration::ZERO,
        non_lifetime: Duration::ZERO,
    };
}

/// A transmission parameter that RFC 7252 or common sense forbids.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ParameterError {
    /// ACK_RANDOM_FACTOR outside 1.0 to 100.0: below 1.0 all would repeat in step (RFC 7252 §4.8.1).
    RandomFactor {
        /// What was asked for.
        factor: f64,
    },
    /// ACK_TIMEOUT outside 1 ms to a day.
    AckTimeout {
        /// What was asked for.
        ack_timeout: Duration,
    },
    /// ACK_TIMEOUT below 1 s without [`TransmissionBuilder::accept_congestion_risk`].
    AckTimeoutRisk {
        /// What was asked for.
        ack_timeout: Duration,
    },
    /// MAX_RETRANSMIT above 20.
    MaxRetransmit {
        /// What was asked for.
        max_retransmit: u8,
    },
    /// NSTART outside 1 to 1,024.
    Nstart {
        /// What was asked for.
        nstart: u16,
    },
    /// NSTART above 1 without [`TransmissionBuilder::accept_congestion_risk`].
    NstartRisk {
        /// What was asked for.
        nstart: u16,
    },
    /// PROBING_RATE of 0: a Non-confirmable request could wait for ever.
    ProbingRate,
    /// DEFAULT_LEISURE of more than a day.
    Leisure {
        /// What was asked for.
        leisure: Duration,
    },
    /// MAX_LATENCY outside 1 s to a day.
    MaxLatency {
        /// What was asked for.
        max_latency: Duration,
    },
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RandomFactor { factor } => write!(f, "ACK_RANDOM_FACTOR {factor} is not between 1.0 and 100.0"),
            Self::AckTimeout { ack_timeout } => write!(f, "ACK_TIMEOUT {ack_timeout:?} is not between 1 ms and a day"),
            Self::AckTimeoutRisk { ack_timeout } => write!(
                f,
                "ACK_TIMEOUT {ack_timeout:?} is below 1 s, which RFC 7252 §4.8.1 forbids without congestion control; \
                 accept_congestion_risk() allows it"
            ),
            Self::MaxRetransmit { max_retransmit } => {
                write!(f, "MAX_RETRANSMIT {max_retransmit} is above {MOST_RETRANSMISSIONS}")
            }
            Self::Nstart { nstart } => write!(f, "NSTART {nstart} is not between 1 and 1024"),
            Self::NstartRisk { nstart } => write!(
                f,
                "NSTART {nstart} is above 1, which RFC 7252 §4.7 forbids without congestion control; \
                 accept_congestion_risk() allows it"
            ),
            Self::ProbingRate => write!(f, "PROBING_RATE is 0 bytes/s: it must be at least 1"),
            Self::Leisure { leisure } => write!(f, "DEFAULT_LEISURE {leisure:?} is longer than a day"),
            Self::MaxLatency { max_latency } => write!(f, "MAX_LATENCY {max_latency:?} is not between 1 s and a day"),
        }
    }
}

impl core::error::Error for ParameterError {}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_defaults_give_the_derived_times_of_the_rfc() {
        let rfc = TransmissionParameters::default();
        assert_eq!(rfc.max_transmit_span(), secs(45));
        assert_eq!(rfc.max_transmit_wait(), secs(93));
        assert_eq!(rfc.max_rtt(), secs(202));
        assert_eq!(rfc.exchange_lifetime(), secs(247));
        assert_eq!(rfc.non_lifetime(), secs(145));
    }

    #[test]
    fn what_endangers_the_network_needs_a_word() {
        let lan = TransmissionParameters::builder().ack_timeout(Duration::from_millis(200)).nstart(4);
        assert!(matches!(lan.build(), Err(ParameterError::AckTimeoutRisk { .. })));
        assert!(matches!(lan.ack_timeout(secs(2)).build(), Err(ParameterError::NstartRisk { nstart: 4 })));
        assert!(lan.accept_congestion_risk().build().is_ok());
    }

    #[test]
    fn a_factor_below_one_is_refused_in_any_case() {
        let builder = TransmissionParameters::builder().accept_congestion_risk();
        for factor in [0.999, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(builder.ack_random_factor(factor).build(), Err(ParameterError::RandomFactor { .. })));
        }
    }

    #[test]
    fn the_largest_values_saturate_instead_of_overflowing() {
        let most = TransmissionParameters::builder().ack_timeout(secs(86_400)).ack_random_factor(100.0);
        let most = most.max_retransmit(20).build().unwrap();
        assert!(most.exchange_lifetime() > most.max_transmit_span());
    }
}
