//! How many sessions there may be, and for how long.

use core::fmt;
use core::time::Duration;

/// How many sessions there may be, and for how long.
///
/// ```
/// # use coap_dtls::Limits;
/// # use core::time::Duration;
/// let limits = Limits::builder().max_sessions(100_000).idle(Duration::from_secs(6 * 3600)).build()?;
/// assert_eq!(limits.max_half_open(), 1_024);
/// # Ok::<(), coap_dtls::LimitsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Limits {
    pub(crate) max_sessions: usize,
    pub(crate) max_half_open: usize,
    pub(crate) unproven_rate: u32,
    pub(crate) max_outbox: usize,
    pub(crate) idle: Duration,
    pub(crate) silent_after: u32,
}

/// Makes [`Limits`]. Nothing is checked before [`build`](Self::build).
#[derive(Clone, Debug)]
pub struct LimitsBuilder(Limits);

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 4_096,
            max_half_open: 1_024,
            unproven_rate: 1_000,
            max_outbox: 1_024,
            idle: Duration::from_secs(24 * 60 * 60),
            silent_after: 1,
        }
    }
}

impl Limits {
    /// The defaults, to be changed.
    pub fn builder() -> LimitsBuilder {
        LimitsBuilder(Self::default())
    }

    /// See [`LimitsBuilder::max_sessions`].
    pub const fn max_sessions(&self) -> usize {
        self.max_sessions
    }

    /// See [`LimitsBuilder::max_half_open`].
    pub const fn max_half_open(&self) -> usize {
        self.max_half_open
    }

    /// See [`LimitsBuilder::unproven_rate`].
    pub const fn unproven_rate(&self) -> u32 {
        self.unproven_rate
    }

    /// See [`LimitsBuilder::max_outbox`].
    pub const fn max_outbox(&self) -> usize {
        self.max_outbox
    }

    /// See [`LimitsBuilder::idle`].
    pub const fn idle(&self) -> Duration {
        self.idle
    }

    /// See [`LimitsBuilder::silent_after`].
    pub const fn silent_after(&self) -> u32 {
        self.silent_after
    }
}

impl LimitsBuilder {
    /// How many sessions there may be at once, those that we are about to open included: 1 to 16,777,216, by default 4,096.
    /// A session of DTLS 1.2 takes 1 KB, more while it is opened, so that these are 4 MB. One of DTLS 1.3 takes 21 KB.
    ///
    /// When there are as many, a new one takes the place of the one that a client has opened and that has been silent the
    /// longest (`SessionEnd::Idle`). Where there is none such, what a client opens ends with `SessionEnd::Full`, and
    /// `SecureEndpoint::connect` refuses.
    ///
    /// `coap_core::Config` bounds peers too, and what they may do: `max_peers` should not be less.
    #[must_use]
    pub const fn max_sessions(mut self, count: usize) -> Self {
        self.0.max_sessions = count;
        self
    }

    /// How many clients may be in the middle of a handshake at once: 1 to 65,536, by default 1,024. One takes 10 KB with the
    /// backend `dimpl`, so that these are 10 MB, and it takes it only after it has proven its address, but for DTLS 1.3. One
    /// of `webrtc-dtls` takes 32 KB, and the places of four.
    ///
    /// When there are as many, the oldest of those whose address is not proven loses its place; if all are, the oldest. Whoever
    /// floods a server from an address of its own wins against handshakes that take longer than it needs for so many.
    #[must_use]
    pub const fn max_half_open(mut self, count: usize) -> Self {
        self.0.max_half_open = count;
        self
    }

    /// How many handshakes may begin in a second with clients whose address is not proven: 1 to 1,000,000, by default 1,000, and
    /// as many at once. It matters where there is no cookie before the handshake: for DTLS 1.3 with `dimpl`, and for
    /// `webrtc-dtls`, where a hello costs a fifth of a millisecond in either case.
    ///
    /// A hello above it is dropped, and counted (`hellos_dropped`). Its client repeats it after a second, then two, and so on.
    /// Sessions that stand do not feel a flood of hellos then, but new ones come to stand by chance only.
    #[must_use]
    pub const fn unproven_rate(mut self, per_second: u32) -> Self {
        self.0.unproven_rate = per_second;
        self
    }

    /// How many datagrams of handshakes and closed sessions may wait to be sent: 1 to 65,536, by default 1,024, each of at most
    /// `max_record` bytes. One that does not fit is lost, as it could be on its way; it is counted.
    #[must_use]
    pub const fn max_outbox(mut self, count: usize) -> Self {
        self.0.max_outbox = count;
        self
    }

    /// After how long a session in which nothing was said in either direction is closed (`SessionEnd::Idle`): 1 s to 10 years,
    /// by default a day. There is no resumption: a device that wakes up less often than this shakes hands each time.
    #[must_use]
    pub const fn idle(mut self, span: Duration) -> Self {
        self.0.idle = span;
        self
    }

    /// After how many Confirmable messages in a row that nobody acknowledged (`Failure::NoAck`) the next
    /// `SecureEndpoint::connect` shakes hands anew: 1 or more, by default 1, if the peer
    /// has said nothing for ACK_TIMEOUT × ACK_RANDOM_FACTOR (3 s) either. The peer may have lost the session, by a restart
    /// for example, and cannot say so.
    #[must_use]
    pub const fn silent_after(mut self, count: u32) -> Self {
        self.0.silent_after = count;
        self
    }

    /// Checks what is wished.
    ///
    /// # Errors
    /// A value out of its range.
    pub fn build(self) -> Result<Limits, LimitsError> {
        let Limits { max_sessions, max_half_open, unproven_rate, max_outbox, idle, silent_after } = self.0;
        let ten_years = Duration::from_secs(10 * 365 * 24 * 60 * 60);
        match () {
            () if !(1..=1 << 24).contains(&max_sessions) => Err(LimitsError::MaxSessions { count: max_sessions }),
            () if !(1..=1 << 16).contains(&max_half_open) => Err(LimitsError::MaxHalfOpen { count: max_half_open }),
            () if !(1..=1_000_000).contains(&unproven_rate) => Err(LimitsError::UnprovenRate { rate: unproven_rate }),
            () if !(1..=1 << 16).contains(&max_outbox) => Err(LimitsError::MaxOutbox { count: max_outbox }),
            () if !(Duration::from_secs(1)..=ten_years).contains(&idle) => Err(LimitsError::Idle { span: idle }),
            () if silent_after == 0 => Err(LimitsError::SilentAfter),
            () => Ok(self.0),
        }
    }
}

/// Which limit is out of its range.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitsError {
    /// `max_sessions` is not between 1 and 16,777,216.
    MaxSessions {
        /// What was wished.
        count: usize,
    },
    /// `max_half_open` is not between 1 and 65,536.
    MaxHalfOpen {
        /// What was wished.
        count: usize,
    },
    /// `unproven_rate` is not between 1 and 1,000,000.
    UnprovenRate {
        /// What was wished.
        rate: u32,
    },
    /// `max_outbox` is not between 1 and 65,536.
    MaxOutbox {
        /// What was wished.
        count: usize,
    },
    /// `idle` is not between 1 s and 10 years.
    Idle {
        /// What was wished.
        span: Duration,
    },
    /// `silent_after` is 0.
    SilentAfter,
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxSessions { count } => write!(f, "max_sessions {count} is not between 1 and 16777216"),
            Self::MaxHalfOpen { count } => write!(f, "max_half_open {count} is not between 1 and 65536"),
            Self::UnprovenRate { rate } => write!(f, "unproven_rate {rate} is not between 1 and 1000000"),
            Self::MaxOutbox { count } => write!(f, "max_outbox {count} is not between 1 and 65536"),
            Self::Idle { span } => write!(f, "idle {span:?} is not between 1 s and 10 years"),
            Self::SilentAfter => write!(f, "silent_after 0 would shake hands for every request"),
        }
    }
}

impl core::error::Error for LimitsError {}
