//! JSON and CBOR, laid out for a person.
//!
//! Neither is turned into values of ours and back where that would lose something: JSON keeps its numbers, its order
//! and its repeated keys, to the letter.

use core::fmt::Write as _;

use ciborium::Value;
use serde::de::IgnoredAny;

use crate::{hex, show};

const INDENT: &str = "  ";

/// JSON, indented. `None`: it is not JSON.
pub(crate) fn json(payload: &[u8]) -> Option<String> {
    serde_json::from_slice::<IgnoredAny>(payload).ok()?;
    let text = core::str::from_utf8(payload).ok()?;
    let mut out = Layout::default();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\r' | '\n' => {}
            '"' => {
                out.text.push('"');
                let mut escaped = false;
                for character in characters.by_ref() {
                    out.character(character);
                    match character {
                        '\\' if !escaped => escaped = true,
                        '"' if !escaped => break,
                        _ => escaped = false,
                    }
                }
            }
            '{' | '[' => {
                while characters.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                let close = if character == '{' { '}' } else { ']' };
                out.text.push(character);
                if characters.next_if_eq(&close).is_some() {
                    out.text.push(close);
                } else {
                    out.open();
                }
            }
            '}' | ']' => out.close(character),
            ',' => out.next(),
            ':' => out.text.push_str(": "),
            other => out.text.push(other),
        }
    }
    Some(out.finish())
}

/// CBOR, one item or a sequence of them (RFC 8742), in diagnostic notation (RFC 8949 §8), indented. `None`: it is not.
pub(crate) fn cbor(payload: &[u8]) -> Option<String> {
    let mut out = Layout::default();
    let mut rest = payload;
    while !rest.is_empty() {
        // The depth is limited: a datagram can nest deeper than a stack.
        let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, 64).ok()?;
        if !out.text.is_empty() {
            out.text.push('\n');
        }
        item(&mut out, &value);
    }
    (!out.text.is_empty()).then(|| out.finish())
}

fn item(out: &mut Layout, value: &Value) {
    // Writing to a String does not fail.
    let _ = match value {
        Value::Integer(number) => write!(out.text, "{}", i128::from(*number)),
        Value::Bytes(bytes) => write!(out.text, "h'{}'", hex::encode(bytes)),
        Value::Float(number) if number.is_nan() => write!(out.text, "NaN"),
        Value::Float(number) if number.is_infinite() => {
            write!(out.text, "{}Infinity", if number.is_sign_negative() { "-" } else { "" })
        }
        Value::Float(number) => write!(out.text, "{number:?}"),
        Value::Text(text) => {
            out.quoted(text);
            Ok(())
        }
        Value::Bool(value) => write!(out.text, "{value}"),
        Value::Null => write!(out.text, "null"),
        Value::Tag(tag, value) => {
            let _ = write!(out.text, "{tag}(");
            item(out, value);
            out.text.push(')');
            Ok(())
        }
        Value::Array(items) => {
            list(out, ('[', ']'), items, item);
            Ok(())
        }
        Value::Map(entries) => {
            list(out, ('{', '}'), entries, |out, (key, value)| {
                item(out, key);
                out.text.push_str(": ");
                item(out, value);
            });
            Ok(())
        }
        _ => write!(out.text, "undefined"),
    };
}

fn list<T>(out: &mut Layout, (open, close): (char, char), entries: &[T], one: impl Fn(&mut Layout, &T)) {
    out.text.push(open);
    for (index, entry) in entries.iter().enumerate() {
        if index == 0 {
            out.open()
        } else {
            out.next()
        }
        one(out, entry);
    }
    if entries.is_empty() { out.text.push(close) } else { out.close(close) }
}

/// Text that is indented as lists open and close.
#[derive(Default)]
struct Layout {
    text: String,
    depth: usize,
}

impl Layout {
    fn open(&mut self) {
        self.depth += 1;
        self.line();
    }

    fn next(&mut self) {
        self.text.push(',');
        self.line();
    }

    fn close(&mut self, bracket: char) {
        self.depth = self.depth.saturating_sub(1);
        self.line();
        self.text.push(bracket);
    }

    fn line(&mut self) {
        self.text.push('\n');
        for _ in 0..self.depth {
            self.text.push_str(INDENT);
        }
    }

    /// One character of a string. What a peer sends must not move the cursor of a terminal.
    fn character(&mut self, character: char) {
        if show::is_plain(character) {
            self.text.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(self.text, "\\u{unit:04x}");
            }
        }
    }

    fn quoted(&mut self, text: &str) {
        self.text.push('"');
        for character in text.chars() {
            if matches!(character, '"' | '\\') {
                self.text.push('\\');
            }
            self.character(character);
        }
        self.text.push('"');
    }

    fn finish(mut self) -> String {
        self.text.push('\n');
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_nothing_in_it_changes() {
        let text = br#" {"b":1.10e400,"b":[ ],"a":{ "x":[1,"q\"]\\",null]}} "#;
        assert_eq!(
            json(text).unwrap(),
            "{\n  \"b\": 1.10e400,\n  \"b\": [],\n  \"a\": {\n    \"x\": [\n      1,\n      \"q\\\"]\\\\\",\n      null\n    ]\n  }\n}\n"
        );
        assert_eq!(json(b"7").unwrap(), "7\n");
    }

    #[test]
    fn what_is_no_json_is_left_alone() {
        for text in [&b""[..], b"{", b"[1,]", b"{} {}", b"\"\xff\"", b"nul"] {
            assert_eq!(json(text), None);
        }
    }

    #[test]
    fn a_deep_payload_does_not_overflow_the_stack() {
        assert_eq!(json(&b"[".repeat(60_000)), None);
        assert_eq!(cbor(&[0x81; 60_000]), None);
    }

    #[test]
    fn cbor_is_shown_in_diagnostic_notation() {
        // {"a": [1, -2, h'00ff', 1.5], 2: 1(0), "t": "x\n"}, then true
        let bytes = [
            0xa3, 0x61, b'a', 0x84, 0x01, 0x21, 0x42, 0x00, 0xff, 0xf9, 0x3e, 0x00, 0x02, 0xc1, 0x00, 0x61, b't', 0x62,
            b'x', b'\n', 0xf5,
        ];
        assert_eq!(
            cbor(&bytes).unwrap(),
            "{\n  \"a\": [\n    1,\n    -2,\n    h'00ff',\n    1.5\n  ],\n  2: 1(0),\n  \"t\": \"x\\u000a\"\n}\ntrue\n"
        );
        assert_eq!(cbor(&[0x80]).unwrap(), "[]\n");
    }

    #[test]
    fn what_is_no_cbor_is_left_alone() {
        for bytes in [&[][..], &[0x82, 0x01], &[0x1c], &[0x01, 0xff]] {
            assert_eq!(cbor(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_string_cannot_move_the_cursor() {
        assert_eq!(json("\"\u{9b}2J\"".as_bytes()).unwrap(), "\"\\u009b2J\"\n");
    }
}
