//! What is asked, and how: common to requests and observations.

use std::path::PathBuf;

use clap::Args;
use coap_core::{BlockSize, ContentFormat};

use super::security::SecurityArgs;
use super::shared::{GroupArgs, NoiseArgs, PatienceArgs, whole};
use crate::input::RawOption;

/// What is asked, and how.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// Where: coap://HOST:PORT/PATH?QUERY. The scheme, the port and all that follows may be left out.
    pub(crate) uri: String,

    /// The payload: this text as it is, the content of @FILE, or standard input (@-).
    #[arg(short = 'e', long, value_name = "TEXT", group = "content", allow_hyphen_values = true)]
    pub(crate) payload: Option<String>,
    /// The payload: the content of a file, or standard input (-). It is read while it is sent.
    #[arg(short = 'f', long, value_name = "FILE", group = "content")]
    pub(crate) payload_file: Option<PathBuf>,
    /// The payload: bytes in hexadecimal.
    #[arg(long, value_name = "HEX", group = "content", value_parser = hex)]
    pub(crate) payload_hex: Option<Bytes>,

    /// What the payload is: a media type, a number, or text, link, xml, binary, exi, json, cbor.
    #[arg(short = 't', long, value_name = "FORMAT", allow_negative_numbers = true)]
    pub(crate) content_format: Option<ContentFormat>,
    /// What the response should be; as --content-format.
    #[arg(short = 'A', long, value_name = "FORMAT", allow_negative_numbers = true)]
    pub(crate) accept: Option<ContentFormat>,
    /// Send it Non-confirmable: once, not repeated.
    #[arg(short = 'N', long)]
    pub(crate) non: bool,
    /// Transfer what is longer in blocks of so many bytes: 16, 32, 64, 128, 256, 512 or 1024; 0 lets the server choose, as it
    /// does without this. With a number from 1 before it, only that block of the response is asked for.
    #[arg(short = 'b', long, value_name = "[NUM,]SIZE", value_parser = block, allow_negative_numbers = true)]
    pub(crate) block: Option<BlockArg>,
    /// Add an option by name or number: NAME=VALUE, NUMBER=VALUE or NUMBER,VALUE. A value that begins with 0x is bytes
    /// in hexadecimal; the value of a numeric option is a number. Repeatable.
    #[arg(short = 'O', long = "option", value_name = "NAME=VALUE")]
    pub(crate) options: Vec<RawOption>,
    /// Let the request pass so many proxies, 1 to 255 (Hop-Limit: RFC 8768). Without it each of them begins with 16.
    #[arg(short = 'H', long, value_name = "N", value_parser = whole(1, u8::MAX), allow_negative_numbers = true)]
    pub(crate) hop_limit: Option<u8>,
    /// Do not send the Uri-Host option when the URI has a name.
    #[arg(short = 'U', long)]
    pub(crate) no_set_hostname: bool,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
    #[command(flatten)]
    pub(crate) noise: NoiseArgs,
    #[command(flatten)]
    pub(crate) security: SecurityArgs,
}

/// `-b`: the size of blocks, or one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockArg {
    /// The size of all of them; `None`: the server chooses.
    Size(Option<BlockSize>),
    /// This one alone, counted from 0 in blocks of this size.
    One(u32, BlockSize),
}

// A name of its own: a field of type `Vec` would be taken for a repeatable argument.
pub(super) type Bytes = bytes::Bytes;

/// The largest number that a block can have, in the 20 bits of RFC 7959 §2.2.
const LAST_BLOCK: u32 = (1 << 20) - 1;

fn block(text: &str) -> Result<BlockArg, String> {
    let (number, size) = match text.split_once(',') {
        Some((number, size)) => (number.parse().ok().filter(|number| *number <= LAST_BLOCK), size),
        None => (Some(0), text),
    };
    let bytes: Option<usize> = size.parse().ok();
    match (number, bytes, bytes.and_then(BlockSize::new)) {
        (Some(0), Some(0), _) => Ok(BlockArg::Size(None)),
        (Some(0), _, Some(size)) => Ok(BlockArg::Size(Some(size))),
        (Some(number), _, Some(size)) => Ok(BlockArg::One(number, size)),
        (None, ..) => Err(format!("a block has a number from 0 to {LAST_BLOCK}")),
        _ => Err("the size of a block is 16, 32, 64, 128, 256, 512 or 1024, or 0: the server chooses".to_owned()),
    }
}

pub(super) fn hex(text: &str) -> Result<Bytes, String> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    crate::hex::decode(text.as_bytes()).map(Bytes::from).ok_or_else(|| "not pairs of hexadecimal digits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_a_size_or_one_of_a_size() {
        let size = BlockSize::new(256).unwrap();
        assert_eq!(block("0"), Ok(BlockArg::Size(None)));
        assert_eq!((block("256"), block("0,256")), (Ok(BlockArg::Size(Some(size))), Ok(BlockArg::Size(Some(size)))));
        assert_eq!(block("3,256"), Ok(BlockArg::One(3, size)));
        for bad in ["", ",", "1,", ",16", "-1,16", "2048", "24", "16,16,16"] {
            assert!(block(bad).is_err(), "{bad}");
        }
    }
}
