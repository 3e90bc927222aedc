//! What several sub-commands have: groups, patience, noise.

use core::time::Duration;

use clap::Args;

/// How datagrams to a group leave.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct GroupArgs {
    /// Ask a group on this network interface, where its address has no zone; by name or number.
    #[arg(long, value_name = "IF")]
    pub(crate) interface: Option<String>,
    /// Let what is sent to a group take so many hops (1: no router lets it through).
    #[arg(long, value_name = "N")]
    pub(crate) hops: Option<u8>,
}

/// How long to wait, and how often to repeat.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct PatienceArgs {
    /// Give up after this time, all included. Without it, after 93 s or what the parameters below give.
    #[arg(short = 'B', long, value_name = "SECS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Option<Duration>,
    /// First timeout of a Confirmable message (2). Below 1 only on networks of your own (RFC 7252 §4.8.1).
    #[arg(long, value_name = "SECS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) ack_timeout: Option<Duration>,
    /// How often a Confirmable message is repeated, 0 to 20 (4).
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) max_retransmit: Option<u8>,
    /// The first timeout is spread by up to this factor, 1.0 to 100.0 (1.5).
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    pub(crate) random_factor: Option<f64>,
}

/// How much to say on standard error.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct NoiseArgs {
    /// Print every message in and out. May be repeated, or followed by a level.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// What `-v LEVEL` becomes.
    #[arg(long, hide = true, value_name = "LEVEL")]
    verbosity: Option<u8>,
    /// Say nothing but what failed.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl NoiseArgs {
    pub(crate) fn shows_messages(self) -> bool {
        self.verbosity.unwrap_or(self.verbose) > 0
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let span = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.filter(|span| !span.is_zero()).ok_or_else(|| "not a number of seconds above 0, such as 2 or 0.5".to_owned())
}
