//! `coap decode` and `coap uri`: what needs no network.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    /// One JSON object for each datagram.
    #[arg(long)]
    pub(crate) json: bool,
    /// Datagrams in hexadecimal, instead of those on standard input.
    #[arg(value_name = "HEX")]
    pub(crate) datagrams: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UriArgs {
    /// One JSON object for each URI.
    #[arg(long)]
    pub(crate) json: bool,
    /// URIs, instead of those on standard input.
    #[arg(value_name = "URI")]
    pub(crate) uris: Vec<String>,
}
