//! What goes into a request: its payload and its options, as they are written on the command line.

use core::str::FromStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use coap_core::{ContentFormat, Format, OptionNumber};

use crate::args::RequestArgs;
use crate::exit::{Failure, reason};
use crate::hex;

/// More than any datagram holds. The endpoint says how much it takes; this only keeps an endless file from being read.
const MOST: u64 = 65_536;

/// The payload that the command line describes; empty without one.
///
/// # Errors
///
/// It cannot be read.
pub(crate) fn payload(args: &RequestArgs) -> Result<Bytes, Failure> {
    if let Some(text) = &args.payload {
        return match text.strip_prefix('@') {
            Some(file) => read(Path::new(file)),
            None => Ok(Bytes::copy_from_slice(text.as_bytes())),
        };
    }
    if let Some(file) = &args.payload_file {
        return read(file);
    }
    Ok(args.payload_hex.clone().unwrap_or_default())
}

fn read(file: &Path) -> Result<Bytes, Failure> {
    if file.as_os_str() == "-" {
        return read_all(io::stdin().lock()).map_err(|error| cannot_read("standard input", &error));
    }
    let read = File::open(file).and_then(read_all);
    read.map_err(|error| cannot_read(&format!("payload file {}", file.display()), &error))
}

fn cannot_read(what: &str, error: &io::Error) -> Failure {
    Failure::usage(format_args!("cannot read {what}: {}", reason(error)))
}

fn read_all(source: impl Read) -> io::Result<Bytes> {
    let mut content = Vec::new();
    source.take(MOST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than any datagram"));
    }
    Ok(content.into())
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
    let format = number.definition().map(|definition| definition.format);
    if format != Some(Format::Uint) || text.is_empty() {
        return Ok(text.as_bytes().to_vec());
    }
    let names_format = matches!(number, OptionNumber::CONTENT_FORMAT | OptionNumber::ACCEPT);
    let value = match text.parse::<u32>() {
        Ok(value) => value,
        Err(_) if names_format => {
            text.parse::<ContentFormat>().map(|format| u32::from(format.number())).map_err(|error| error.to_string())?
        }
        Err(_) => return Err(format!("the value of {number} is a number from 0 to {}, or bytes as 0x…", u32::MAX)),
    };
    // RFC 7252 §3.2: as short as possible.
    Ok(value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect())
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
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for text in ["", "Nonsense=1", "65536=1", "Max-Age=soon", "4=0x1", "Accept=soon"] {
            assert!(text.parse::<RawOption>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_endless_file_is_not_read_to_its_end() {
        assert!(read_all(io::repeat(0)).is_err());
        assert_eq!(read_all(&b"abc"[..]).unwrap(), "abc");
    }
}
