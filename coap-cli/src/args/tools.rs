//! `coap decode`, `coap uri`, `coap keygen` and `coap tls-info`: what needs no network; and `coap demo`, which brings its own.

use std::path::PathBuf;

use clap::Args;

use super::shared::whole;

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

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// In secure sessions: with a pre-shared key, and with certificates.
    #[arg(long)]
    pub(crate) secure: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// The folder to write to: ca.pem, server.pem and client.pem, and the key of each (.key). Nothing is overwritten.
    #[arg(default_value = "coap-keys")]
    pub(crate) folder: PathBuf,
    /// A name or an address of the server. Repeatable.
    #[arg(long = "name", value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
    pub(crate) names: Vec<String>,
    /// The name of the client.
    #[arg(long, value_name = "NAME", default_value = "client")]
    pub(crate) client: String,
    /// How long they are valid.
    #[arg(long, value_name = "DAYS", default_value = "365", value_parser = whole(1, 36_500_u32), allow_negative_numbers = true)]
    pub(crate) days: u32,
    /// Say nothing but what failed.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TlsInfoArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
