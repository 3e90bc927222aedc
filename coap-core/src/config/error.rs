//! Why settings are refused.

use core::fmt;
use core::time::Duration;

use super::MOST_UNDERSTOOD;
use crate::transmission::ParameterError;

/// A setting that cannot be.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// `max_datagram` outside 64 to 65,507 bytes.
    MaxDatagram {
        /// What was asked for.
        bytes: usize,
    },
    /// `min_token_len` outside 1 to 8 bytes, or above `max_token_len` where that is more.
    MinTokenLen {
        /// What was asked for.
        bytes: u8,
    },
    /// `max_token_len` below 8, above 65,804, or too long for `max_datagram`.
    MaxTokenLen {
        /// What was asked for.
        bytes: usize,
        /// The longest that there is room for.
        max: usize,
    },
    /// A block size that is none of 16, 32, 64, 128, 256, 512 and 1024 bytes (RFC 7959 §2.2).
    BlockSize {
        /// What was asked for.
        bytes: usize,
    },
    /// The peer would have repeated its request before the acknowledgement leaves.
    AckDelayTooLong {
        /// What was asked for.
        ack_delay: Duration,
        /// What it must stay below.
        ack_timeout: Duration,
    },
    /// A timeout below 1 ms.
    TimeoutTooShort {
        /// What was asked for.
        timeout: Duration,
    },
    /// A table of more than 16,777,216 entries.
    TableTooLarge {
        /// What was asked for.
        entries: usize,
    },
    /// `echo_lifetime` outside 1 s to 24 h.
    EchoLifetime {
        /// What was asked for.
        span: Duration,
    },
    /// `block_attempts` of 0: no block would ever be sent.
    BlockAttempts,
    /// More than 32 option numbers declared as understood.
    TooManyUnderstood,
    /// A transmission parameter is wrong.
    Transmission(ParameterError),
}

impl From<ParameterError> for ConfigError {
    fn from(error: ParameterError) -> Self {
        Self::Transmission(error)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxDatagram { bytes } => write!(f, "max_datagram {bytes} is not between 64 and 65507 bytes"),
            Self::MinTokenLen { bytes } if *bytes > 8 => {
                write!(f, "min_token_len {bytes} is not between 1 and 8 bytes, nor within max_token_len")
            }
            Self::MinTokenLen { bytes } => write!(f, "min_token_len {bytes} is not between 1 and 8 bytes"),
            Self::MaxTokenLen { bytes, max } => {
                write!(f, "max_token_len {bytes} is not between 8 and {max} bytes, which max_datagram has room for")
            }
            Self::AckDelayTooLong { ack_delay, ack_timeout } => {
                write!(f, "ack_delay {ack_delay:?} is not below ACK_TIMEOUT {ack_timeout:?}")
            }
            Self::BlockSize { bytes } => {
                write!(f, "a block size of {bytes} bytes is none of 16, 32, 64, 128, 256, 512 and 1024")
            }
            Self::TimeoutTooShort { timeout } => write!(f, "a timeout of {timeout:?} is below 1 ms"),
            Self::TableTooLarge { entries } => write!(f, "a table of {entries} entries is above 16777216"),
            Self::EchoLifetime { span } => write!(f, "an echo_lifetime of {span:?} is not between 1 s and 24 h"),
            Self::BlockAttempts => write!(f, "block_attempts 0 would send no block at all"),
            Self::TooManyUnderstood => write!(f, "more than {MOST_UNDERSTOOD} option numbers declared as understood"),
            Self::Transmission(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConfigError {}
