//! What several sub-commands have: groups, patience, noise.

use core::fmt::Display;
use core::str::FromStr;
use core::time::Duration;

use clap::Args;
use coap_core::TransmissionParameters;

/// How datagrams to a group leave.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct GroupArgs {
    /// Ask a group on this network interface, where its address has no zone; by name or number.
    #[arg(long, value_name = "IF")]
    pub(crate) interface: Option<String>,
    /// Let what is sent to a group take so many hops (1: no router lets it through).
    #[arg(long, value_name = "N", value_parser = whole(0, u8::MAX), allow_negative_numbers = true)]
    pub(crate) hops: Option<u8>,
}

/// How long to wait, and how often to repeat.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct PatienceArgs {
    /// Give up after this time, all included. Without it, after 93 s or what the parameters below give.
    #[arg(short = 'B', long, value_name = "SECS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Option<Duration>,
    /// First timeout of a Confirmable message (2). Below 1 only on networks of your own (RFC 7252 §4.8.1).
    #[arg(long, value_name = "SECS", value_parser = ack_timeout, allow_negative_numbers = true)]
    pub(crate) ack_timeout: Option<Duration>,
    /// How often a Confirmable message is repeated, 0 to 20 (4).
    #[arg(long, value_name = "N", value_parser = max_retransmit, allow_negative_numbers = true)]
    pub(crate) max_retransmit: Option<u8>,
    /// The first timeout is spread by up to this factor, 1.0 to 100.0 (1.5).
    #[arg(long, value_name = "FACTOR", value_parser = random_factor, allow_negative_numbers = true)]
    pub(crate) random_factor: Option<f64>,
}

/// How much to say on standard error.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct NoiseArgs {
    /// Print every message in and out. May be repeated, or followed by a level.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// What `-v LEVEL` becomes.
    #[arg(long, hide = true, value_name = "LEVEL", value_parser = whole(0, 9_u8))]
    verbosity: Option<u8>,
    /// Say nothing but what failed.
    #[arg(short, long, conflicts_with_all = ["verbose", "verbosity"])]
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

/// Reads a whole number of a range.
pub(super) fn whole<N>(from: N, to: N) -> impl Fn(&str) -> Result<N, String> + Clone
where
    N: Copy + Display + FromStr + PartialOrd,
{
    move |text| {
        let number = text.parse().ok().filter(|number| (from..=to).contains(number));
        number.ok_or_else(|| format!("not a whole number from {from} to {to}"))
    }
}

fn ack_timeout(text: &str) -> Result<Duration, String> {
    let span = seconds(text)?;
    let parameters = TransmissionParameters::builder().accept_congestion_risk().ack_timeout(span).build();
    parameters.map(|_| span).map_err(|_| "not a number of seconds from 0.001 to 86400".to_owned())
}

fn max_retransmit(text: &str) -> Result<u8, String> {
    let is_allowed = |times: &u8| TransmissionParameters::builder().max_retransmit(*times).build().is_ok();
    text.parse().ok().filter(is_allowed).ok_or_else(|| "not a whole number from 0 to 20".to_owned())
}

fn random_factor(text: &str) -> Result<f64, String> {
    let is_allowed = |factor: &f64| TransmissionParameters::builder().ack_random_factor(*factor).build().is_ok();
    text.parse().ok().filter(is_allowed).ok_or_else(|| "not a number from 1.0 to 100.0".to_owned())
}
