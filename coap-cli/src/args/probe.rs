//! `coap ping`, `coap discover` and `coap check`: what is said of a server.

use clap::Args;

use super::security::SecurityArgs;
use super::shared::{GroupArgs, NoiseArgs, PatienceArgs};

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// Whom: HOST or HOST:PORT, with or without coap:// before it.
    pub(crate) uri: String,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
    /// Print the outcome as one JSON object on standard output.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
    #[command(flatten)]
    pub(crate) security: SecurityArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiscoverArgs {
    /// Whom: HOST or HOST:PORT, with or without coap:// before it. Without a path it is /.well-known/core; a query such as
    /// ?rt=light or ?href=/lamps* selects.
    #[arg(required_unless_present = "multicast")]
    pub(crate) uri: Option<String>,
    /// Ask a group instead, and show who answers within --timeout (6 s): 224.0.1.187 and `[ff02::fd]` without a GROUP, which may
    /// have a zone ([ff02::fd%eth0]), a port and a query.
    #[arg(long, value_name = "GROUP", num_args = 0..=1, conflicts_with = "uri")]
    pub(crate) multicast: Option<Option<String>>,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
    /// Print one JSON object with all links.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
    #[command(flatten)]
    pub(crate) security: SecurityArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Whom: HOST or HOST:PORT, with or without coap:// before it, and without a path. Its tests change what is there: see the list.
    pub(crate) uri: String,
    /// Run this test alone, such as CORE_01, or these, such as OBS. Repeatable.
    #[arg(short = 't', long = "test", value_name = "ID", value_delimiter = ',')]
    pub(crate) tests: Vec<String>,
    /// Print each outcome as one JSON object, and the counts as another.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
}
