//! How bytes are shown to people. What a peer sent never reaches a terminal unescaped.

use core::fmt;

use super::block::Block;
use super::content_format::ContentFormat;
use super::option::{Format, OptionNumber};
use super::uint::decode_uint;

/// Lower-case hex, two digits a byte.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Text as it is, but for what a terminal would obey: control characters, direction overrides and the like.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '\'' | '"' => fmt::Write::write_char(f, char),
            _ => char.escape_debug().fmt(f),
        })
    }
}

/// Text if it is printable UTF-8 (line breaks and tabs allowed), hex if not; cut after `LIMIT` characters.
pub(super) struct Payload<'a>(pub(super) &'a [u8]);

impl Payload<'_> {
    const LIMIT: usize = 64;
}

impl fmt::Display for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printable = |char: char| !char.is_control() || matches!(char, '\n' | '\r' | '\t');
        match core::str::from_utf8(self.0) {
            Ok(text) if text.chars().all(printable) => {
                let end = text.char_indices().nth(Self::LIMIT).map_or(text.len(), |(at, _)| at);
                let (shown, cut) = text.split_at(end);
                write!(f, "\"{}\"{}", Escaped(shown), if cut.is_empty() { "" } else { "…" })
            }
            _ => {
                let shown = self.0.get(..Self::LIMIT / 2).unwrap_or(self.0);
                write!(f, "{}{}", Hex(shown), if shown.len() < self.0.len() { "…" } else { "" })
            }
        }
    }
}

/// `Uri-Path: temp`: an option by name, and its value by the format that the registry gives it.
pub(super) struct Shown<'a>(pub(super) OptionNumber, pub(super) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, value) = *self;
        number.fmt(f)?;
        match number.definition().map(|definition| definition.format) {
            Some(Format::Empty) if value.is_empty() => Ok(()),
            Some(Format::String) => match core::str::from_utf8(value) {
                Ok(text) => write!(f, ": {}", Escaped(text)),
                Err(_) => write!(f, ": 0x{}", Hex(value)),
            },
            Some(Format::Uint) => fmt_uint(number, value, f),
            _ => write!(f, ": 0x{}", Hex(value)),
        }
    }
}

fn fmt_uint(number: OptionNumber, value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(uint) = decode_uint(value) else { return write!(f, ": 0x{}", Hex(value)) };
    match number {
        OptionNumber::CONTENT_FORMAT | OptionNumber::ACCEPT => {
            let name = u16::try_from(uint).ok().and_then(|number| ContentFormat::new(number).name());
            match name {
                Some(name) => write!(f, ": {uint} ({name})"),
                None => write!(f, ": {uint}"),
            }
        }
        OptionNumber::BLOCK1 | OptionNumber::BLOCK2 | OptionNumber::Q_BLOCK1 | OptionNumber::Q_BLOCK2 => {
            match Block::from_value(value) {
                Some(block) => write!(f, ": {block}"),
                None => write!(f, ": {uint}"),
            }
        }
        _ => write!(f, ": {uint}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_by_their_format() {
        let shown = |number, value: &[u8]| Shown(number, value).to_string();
        assert_eq!(shown(OptionNumber::URI_PATH, b"temp"), "Uri-Path: temp");
        assert_eq!(shown(OptionNumber::URI_PATH, b"\xff"), "Uri-Path: 0xff");
        assert_eq!(shown(OptionNumber::IF_NONE_MATCH, b""), "If-None-Match");
        assert_eq!(shown(OptionNumber::ACCEPT, &[50]), "Accept: 50 (application/json)");
        assert_eq!(shown(OptionNumber::CONTENT_FORMAT, &[0; 9]), "Content-Format: 0x000000000000000000");
        assert_eq!(shown(OptionNumber::BLOCK2, &[0x1a]), "Block2: 1/more/64");
        assert_eq!(shown(OptionNumber::ETAG, &[0xca, 0xfe]), "ETag: 0xcafe");
        assert_eq!(shown(OptionNumber::new(65_001), &[1]), "65001: 0x01");
    }

    #[test]
    fn a_terminal_gets_no_orders() {
        assert_eq!(
            Shown(OptionNumber::URI_PATH, "\x1b[2J\u{202e}x".as_bytes()).to_string(),
            "Uri-Path: \\u{1b}[2J\\u{202e}x"
        );
        assert_eq!(Payload(b"it's\n\"so\"").to_string(), "\"it's\\n\"so\"\"");
    }

    #[test]
    fn a_long_payload_is_cut_between_characters() {
        assert_eq!(Payload("é".repeat(64).as_bytes()).to_string(), format!("\"{}\"", "é".repeat(64)));
        assert_eq!(Payload("é".repeat(65).as_bytes()).to_string(), format!("\"{}\"…", "é".repeat(64)));
        assert_eq!(Payload(&[0; 33]).to_string(), format!("{}…", "00".repeat(32)));
    }
}
