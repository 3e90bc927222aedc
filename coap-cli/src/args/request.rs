//! One request: `coap get` and its kin.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use coap_core::{Code, Token};

use super::ask::{AskArgs, BlockArg, hex};

#[derive(Debug, Args)]
pub(crate) struct AnyRequestArgs {
    /// get, put, post, delete, fetch, patch, ipatch, or a code such as 0.01.
    #[arg(short, long, value_name = "METHOD", default_value = "get", value_parser = method)]
    pub(crate) method: Code,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Use this token of up to 8 bytes: hexadecimal after 0x, or the text as it is. Without it, a random one.
    #[arg(short = 'T', long, value_name = "0xHEX", value_parser = token)]
    pub(crate) token: Option<Token>,
    /// Write the payload of a 2.xx response to a file instead of standard output (or -). It is FILE.part until it is
    /// complete, and 2.03 leaves it as it is.
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Note in this file how far the download has come, and go on from there if it is run again.
    #[arg(long, value_name = "FILE", conflicts_with = "newline")]
    pub(crate) resume: Option<PathBuf>,
    /// Write a newline after the payload.
    #[arg(short = 'w', long)]
    pub(crate) newline: bool,
    /// Print the response, of any code, as one JSON object instead of its payload.
    #[arg(long, conflicts_with_all = ["output", "newline"])]
    pub(crate) json: bool,
}

impl RequestArgs {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match (&self.resume, &self.output, self.ask.block) {
            (Some(_), None, _) => Err("--resume needs --output: only what goes into a file can be gone on with"),
            (Some(_), _, Some(BlockArg::One(..))) => {
                Err("--resume goes on with all of a content: leave NUM out of --block")
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn method(text: &str) -> Result<Code, String> {
    match text.parse::<Code>() {
        Ok(code) if code.is_request() => Ok(code),
        _ => Err("not a method: get, put, post, delete, fetch, patch, ipatch, or a code from 0.01 to 0.31".to_owned()),
    }
}

fn token(text: &str) -> Result<Token, String> {
    let bytes = match text.strip_prefix("0x") {
        Some(digits) => hex(digits)?,
        None => Bytes::copy_from_slice(text.as_bytes()),
    };
    Token::new(&bytes).ok_or_else(|| format!("it has {} bytes: a token has 8 at most", bytes.len()))
}
