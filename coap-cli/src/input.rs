//! What goes into a request: its payload and its options, as they are written on the command line.

use core::str::FromStr;
use std::io;
use std::path::Path;

use bytes::Bytes;
use coap_core::{ContentFormat, Format, OptionNumber};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::args::AskArgs;
use crate::exit::{Failure, reason};
use crate::hex;

/// What is longer is read while it is sent.
const MOST_WHOLE: usize = 64 << 10;

/// The payload of a request.
pub(crate) enum Payload {
    /// All of it.
    Whole(Bytes),
    /// A longer one.
    Stream {
        reader: Reader,
        /// How long it is, where that is known.
        size: Option<u64>,
    },
}

pub(crate) type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// The payload that the command line describes; empty without one.
///
/// # Errors
///
/// It cannot be read.
pub(crate) async fn payload(args: &AskArgs) -> Result<Payload, Failure> {
    if let Some(text) = &args.payload {
        return match text.strip_prefix('@') {
            Some("") => Err(Failure::usage("bad --payload '@': a file follows the @, or - for standard input")),
            Some(file) => open(Path::new(file)).await,
            None => Ok(Payload::Whole(Bytes::copy_from_slice(text.as_bytes()))),
        };
    }
    match &args.payload_file {
        Some(file) => open(file).await,
        None => Ok(Payload::Whole(args.payload_hex.clone().unwrap_or_default())),
    }
}

/// The same where it must be here before anything is sent.
///
/// # Errors
///
/// It cannot be read, or is too long.
pub(crate) async fn short_payload(args: &AskArgs) -> Result<Bytes, Failure> {
    match payload(args).await? {
        Payload::Whole(content) => Ok(content),
        Payload::Stream { .. } => Err(Failure::usage(format_args!(
            "the payload is too long: of a request to observe it has {MOST_WHOLE} bytes at most"
        ))),
    }
}

async fn open(file: &Path) -> Result<Payload, Failure> {
    if file.as_os_str() == "-" {
        let begun = begin(Box::new(tokio::io::stdin()), None).await;
        return begun.map_err(|error| cannot_read("standard input", &error));
    }
    let opened = async {
        let file = tokio::fs::File::open(file).await?;
        let found = file.metadata().await?;
        let size = found.is_file().then_some(found.len());
        begin(Box::new(file), size).await
    };
    opened.await.map_err(|error| cannot_read(&format!("payload file {}", file.display()), &error))
}

fn cannot_read(what: &str, error: &io::Error) -> Failure {
    Failure::usage(format_args!("cannot read {what}: {}", reason(error)))
}

/// Reads the beginning, so that what cannot be read at all is known before anything is sent.
async fn begin(mut reader: Reader, size: Option<u64>) -> io::Result<Payload> {
    let mut start = Vec::new();
    (&mut reader).take(MOST_WHOLE as u64 + 1).read_to_end(&mut start).await?;
    if start.len() <= MOST_WHOLE {
        return Ok(Payload::Whole(start.into()));
    }
    // The system says 0 of what it makes up while it is read, as in `/proc`.
    let size = size.filter(|size| *size >= start.len() as u64);
    Ok(Payload::Stream { reader: Box::new(io::Cursor::new(start).chain(reader)), size })
}

/// An option as it is written: `NAME=VALUE`, `NUMBER=VALUE` or `NUMBER,VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawOption {
    pub(crate) number: OptionNumber,
    pub(crate) value: Vec<u8>,
}

impl FromStr for RawOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // An option without a value, such as If-None-Match, needs no separator.
        let (name, value) = text.split_once(['=', ',']).unwrap_or((text, ""));
        let number: OptionNumber = name.trim().parse().map_err(|error| format!("{error}"))?;
        Ok(Self { number, value: option_value(number, value)? })
    }
}

fn option_value(number: OptionNumber, text: &str) -> Result<Vec<u8>, String> {
    if let Some(digits) = text.strip_prefix("0x") {
        return hex::decode(digits.as_bytes())
            .ok_or_else(|| "0x is not followed by pairs of hexadecimal digits".to_owned());
    }
    let (format, fewest, most) = match number.definition() {
        Some(known) => (known.format, known.min_len, usize::from(known.max_len)),
        None => (Format::Opaque, 0, 0),
    };
    if format != Format::Uint || text.is_empty() {
        return Ok(text.as_bytes().to_vec());
    }
    let largest = u32::MAX.checked_shr(32 - 8 * most.min(4) as u32).unwrap_or(0);
    let names_format = matches!(number, OptionNumber::CONTENT_FORMAT | OptionNumber::ACCEPT);
    let value = match text.parse::<u32>() {
        Ok(value) if value <= largest => value,
        Err(_) if names_format => {
            text.parse::<ContentFormat>().map(|format| u32::from(format.number())).map_err(|error| error.to_string())?
        }
        _ => return Err(format!("the value of {number} is a number from 0 to {largest}, or bytes as 0x…")),
    };
    // RFC 7252 §3.2: as short as possible, and Hop-Limit is a byte even if that is 0.
    let bytes = value.to_be_bytes();
    let zeros = bytes.iter().take(bytes.len() - usize::from(fewest)).take_while(|byte| **byte == 0).count();
    Ok(bytes.into_iter().skip(zeros).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(text: &str) -> (u16, Vec<u8>) {
        let RawOption { number, value } = text.parse().unwrap();
        (number.number(), value)
    }

    #[test]
    fn options_are_named_or_numbered() {
        assert_eq!(option("Uri-Query=a=b"), (15, b"a=b".to_vec()));
        assert_eq!(option("uri-query=a,b"), (15, b"a,b".to_vec()));
        assert_eq!(option("15,a"), (15, b"a".to_vec()));
        assert_eq!(option("2050=0x00ff"), (2050, vec![0, 0xff]));
        assert_eq!(option("If-None-Match"), (5, vec![]));
    }

    #[test]
    fn numbers_are_as_short_as_possible() {
        assert_eq!(option("Max-Age=0"), (14, vec![]));
        assert_eq!(option("14,256"), (14, vec![1, 0]));
        assert_eq!(option("Accept=json"), (17, vec![50]));
        assert_eq!(option("14,0x0001"), (14, vec![0, 1]));
        assert_eq!((option("Hop-Limit=0"), option("Hop-Limit=255")), ((16, vec![0]), (16, vec![255])));
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for text in [
            "",
            "Nonsense=1",
            "65536=1",
            "Max-Age=soon",
            "4=0x1",
            "Accept=soon",
            "Uri-Port=65536",
            "Hop-Limit=256",
            "Block1=16777216",
        ] {
            assert!(text.parse::<RawOption>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_long_is_not_read_to_its_end() {
        let Payload::Stream { mut reader, size: None } = begin(Box::new(tokio::io::repeat(7)), None).await.unwrap()
        else {
            panic!("it has no end");
        };
        let mut content = vec![0; 3 * MOST_WHOLE];
        reader.read_exact(&mut content).await.unwrap();
        assert!(content.iter().all(|byte| *byte == 7));
    }

    #[tokio::test]
    async fn a_length_that_is_not_true_is_not_told() {
        for (said, told) in [(0, None), (MOST_WHOLE as u64, None), (70_000, Some(70_000)), (80_000, Some(80_000))] {
            let source = Box::new(io::Cursor::new(vec![7; 70_000]));
            let Payload::Stream { size, .. } = begin(source, Some(said)).await.unwrap() else { panic!("it is long") };
            assert_eq!(size, told);
        }
    }

    #[tokio::test]
    async fn what_is_short_is_read_at_once_and_nothing_is_lost_at_the_seam() {
        for length in [0, 1, MOST_WHOLE, MOST_WHOLE + 1, MOST_WHOLE + 5_000] {
            let content: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let source = Box::new(io::Cursor::new(content.clone()));
            match begin(source, Some(length as u64)).await.unwrap() {
                Payload::Whole(whole) => assert!(whole == content && length <= MOST_WHOLE),
                Payload::Stream { mut reader, size } => {
                    assert_eq!(size, Some(length as u64));
                    let mut read = Vec::new();
                    reader.read_to_end(&mut read).await.unwrap();
                    assert!(read == content && length > MOST_WHOLE);
                }
            }
        }
    }
}
