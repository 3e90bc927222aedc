//! What people see of a response: on standard output its payload, on standard error all else.

use core::fmt::{self, Write as _};
use core::time::Duration;
use std::borrow::Cow;

use coap_core::{ContentFormat, OptionNumber, Options, Uri};
use coap_driver::Reply;
use serde_json::json;

use crate::{hex, pretty};

/// The text with whatever could move a terminal's cursor, or end a line, escaped.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if is_plain(character) {
            line.push(character);
        } else {
            line.extend(character.escape_default());
        }
    }
    line
}

/// Neither a control character nor one that changes the direction in which its neighbours are read.
pub(crate) fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// The code, what came with it, and how it came: one line.
pub(crate) fn summary(reply: &Reply) -> String {
    let mut line = reply.code.to_string();
    // Writing to a String does not fail.
    if !reply.payload.is_empty() {
        let _ = write!(line, ", {} bytes", reply.payload.len());
    }
    if let Some(format) = reply.content_format() {
        let _ = write!(line, ", {format}");
    }
    let _ = write!(line, ", {}", Millis(reply.timing.round_trip.unwrap_or(reply.timing.elapsed)));
    if reply.timing.attempts > 1 {
        let _ = write!(line, ", sent {} times", reply.timing.attempts);
    }
    line
}

/// Where a 2.01 says that the new resource is: as a URI, if it makes one.
pub(crate) fn location(reply: &Reply, asked: &Uri) -> Option<String> {
    let located = |number| matches!(number, OptionNumber::LOCATION_PATH | OptionNumber::LOCATION_QUERY);
    if !reply.options.iter().any(|(number, _)| located(number)) {
        return None;
    }
    let mut options = Options::new();
    if let coap_core::Host::Name(name) = asked.host() {
        options.set_uri_host(name).ok()?;
    }
    options.set_uri_port(asked.port());
    for (number, value) in &reply.options {
        let number = match number {
            OptionNumber::LOCATION_PATH => OptionNumber::URI_PATH,
            OptionNumber::LOCATION_QUERY => OptionNumber::URI_QUERY,
            _ => continue,
        };
        options.push(number, value).ok()?;
    }
    let destination = match &reply.from {
        coap_core::Peer::Udp(addr) => addr.socket_addr(),
        _ => return None,
    };
    let uri = Uri::from_options(asked.scheme(), destination, &options);
    // A peer may put dots there that make no URI: then its words are shown.
    Some(uri.map_or_else(|_| one_line(&reply.options.to_string()), |uri| uri.to_string()))
}

/// What standard output gets: byte for byte, or laid out for a person in front of a terminal.
pub(crate) fn body(reply: &Reply, terminal: bool) -> Cow<'_, [u8]> {
    let payload = &reply.payload[..];
    if !terminal || payload.is_empty() {
        return payload.into();
    }
    if let Some(text) = reply.content_format().and_then(|format| laid_out(format, payload)) {
        return text.into_bytes().into();
    }
    // The prompt should not stand behind the last word.
    if reply.text().is_some_and(|text| !text.ends_with('\n')) {
        return [payload, b"\n"].concat().into();
    }
    payload.into()
}

/// `None`: not a format that is laid out, or not what it says that it is.
pub(crate) fn laid_out(format: ContentFormat, payload: &[u8]) -> Option<String> {
    // "application/senml+json" is JSON too (RFC 6839).
    let name = format.name()?;
    let name = name.split(';').next()?.trim();
    if name.ends_with("/json") || name.ends_with("+json") {
        pretty::json(payload)
    } else if name.ends_with("/cbor") || name.ends_with("+cbor") || name.ends_with("/cbor-seq") {
        pretty::cbor(payload)
    } else {
        None
    }
}

/// The content of an error response, which may be text for people (RFC 7252 §5.5.2); for standard error.
pub(crate) fn diagnostic(reply: &Reply) -> Option<String> {
    if reply.payload.is_empty() {
        return None;
    }
    if let Some(text) = reply.content_format().and_then(|format| laid_out(format, &reply.payload)) {
        return Some(text.trim_end().lines().map(one_line).collect::<Vec<_>>().join("\n"));
    }
    Some(match reply.text() {
        Some(text) => text.lines().map(one_line).collect::<Vec<_>>().join("\n"),
        None => format!("0x{}", hex::encode(&reply.payload)),
    })
}

/// `[[11,"74"]]`: numbers, and values in hex.
pub(crate) fn options_json(options: &Options) -> String {
    let mut text = String::from("[");
    for (index, (number, value)) in options.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}[{},\"{}\"]", number.number(), hex::encode(value));
    }
    text.push(']');
    text
}

/// The whole response as one JSON object.
pub(crate) fn reply_json(reply: &Reply) -> String {
    let options = reply.options.iter().map(|(number, value)| json!([number.number(), hex::encode(value)]));
    json!({
        "ok": reply.is_success(),
        "code": reply.code.dotted().to_string(),
        "name": reply.code.name(),
        "from": reply.from.to_string(),
        "options": options.collect::<Vec<_>>(),
        "content_format": reply.content_format().map(ContentFormat::number),
        "payload": hex::encode(&reply.payload),
        "text": reply.text(),
        "transmissions": reply.timing.attempts,
        "milliseconds": millis(reply.timing.round_trip.unwrap_or(reply.timing.elapsed)),
    })
    .to_string()
}

pub(crate) fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1_000.0
}

/// `0.31 ms`, `12.3 ms`, `2.00 s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Millis(pub(crate) Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match millis(self.0) {
            short if short < 10.0 => write!(f, "{short:.2} ms"),
            long if long < 1_000.0 => write!(f, "{long:.1} ms"),
            _ => write!(f, "{:.2} s", self.0.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_line_moves_the_cursor() {
        assert_eq!(one_line("a\u{1b}[2Jb\r\n\u{9b}c\u{202e}é"), "a\\u{1b}[2Jb\\r\\n\\u{9b}c\\u{202e}é");
    }

    #[test]
    fn options_are_numbers_and_hex() {
        let mut options = Options::new();
        assert_eq!(options_json(&options), "[]");
        options.push_uri_path("t").unwrap();
        options.set_content_format(ContentFormat::TEXT_PLAIN);
        assert_eq!(options_json(&options), r#"[[11,"74"],[12,""]]"#);
    }

    #[test]
    fn formats_are_laid_out_by_their_suffix() {
        assert!(laid_out(ContentFormat::SENML_JSON, b"[]").is_some());
        assert!(laid_out(ContentFormat::CBOR, &[0x80]).is_some());
        assert!(laid_out(ContentFormat::JSON, b"{").is_none());
        assert!(laid_out(ContentFormat::TEXT_PLAIN, b"[]").is_none());
    }

    #[test]
    fn spans_are_short() {
        assert_eq!(Millis(Duration::from_micros(310)).to_string(), "0.31 ms");
        assert_eq!(Millis(Duration::from_micros(12_340)).to_string(), "12.3 ms");
        assert_eq!(Millis(Duration::from_millis(2_000)).to_string(), "2.00 s");
    }
}
