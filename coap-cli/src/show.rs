//! What people see of a response: on standard output its payload, on standard error all else.

use core::fmt::{self, Write as _};
use core::net::SocketAddr;
use core::time::Duration;
use std::borrow::Cow;

use coap_core::{Code, ContentFormat, Host, OptionNumber, Options, Peer, Timing, Uri};
use coap_driver::Reply;
use coap_tokio::{Client, Download};
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

/// What a response is, its content aside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) code: Code,
    pub(crate) options: &'a Options,
    pub(crate) from: Peer,
    pub(crate) timing: Timing,
    /// How long its content is, where that is known.
    pub(crate) size: Option<u64>,
}

impl<'a> From<&'a Reply> for Head<'a> {
    fn from(reply: &'a Reply) -> Self {
        let Reply { code, ref options, ref payload, from, timing, .. } = *reply;
        Self { code, options, from, timing, size: Some(payload.len() as u64) }
    }
}

impl<'a> From<&'a Download> for Head<'a> {
    fn from(download: &'a Download) -> Self {
        let Download { code, ref options, from, timing, size, .. } = *download;
        Self { code, options, from, timing, size }
    }
}

/// The code, what came with it, and how it came: one line.
pub(crate) fn summary(head: Head<'_>) -> String {
    let mut line = content_line(head.code, head.options, head.size);
    let timing = head.timing;
    // Writing to a String does not fail.
    let _ = write!(line, ", {}", Millis(timing.round_trip.unwrap_or(timing.elapsed)));
    if timing.attempts > 1 {
        let _ = write!(line, ", sent {} times", timing.attempts);
    }
    line
}

/// Where somebody is: of a session, who it is with.
pub(crate) fn address(client: &Client, peer: Peer) -> Peer {
    client.session(peer).map_or(peer, |session| Peer::Udp(session.addr))
}

/// The code, and what came with it.
pub(crate) fn content_line(code: Code, options: &Options, size: Option<u64>) -> String {
    let mut line = code.to_string();
    match size {
        None | Some(0) => {}
        Some(1) => line.push_str(", 1 byte"),
        Some(size) => {
            let _ = write!(line, ", {size} bytes");
        }
    }
    if let Some(format) = options.content_format() {
        let _ = write!(line, ", {format}");
    }
    line
}

/// Where a 2.01 says that the new resource is: as a URI, if it makes one.
pub(crate) fn location(head: Head<'_>, asked: &Uri) -> Option<String> {
    let located = |number| matches!(number, OptionNumber::LOCATION_PATH | OptionNumber::LOCATION_QUERY);
    if !head.options.iter().any(|(number, _)| located(number)) {
        return None;
    }
    let mut options = Options::new();
    if let Host::Name(name) = asked.host() {
        options.set_uri_host(name).ok()?;
    }
    options.set_uri_port(asked.port());
    for (number, value) in head.options {
        let number = match number {
            OptionNumber::LOCATION_PATH => OptionNumber::URI_PATH,
            OptionNumber::LOCATION_QUERY => OptionNumber::URI_QUERY,
            _ => continue,
        };
        options.push(number, value).ok()?;
    }
    let destination = match (&head.from, asked.host()) {
        (Peer::Udp(addr), _) => addr.socket_addr(),
        // Of a session, who it is with is in the URI.
        (Peer::Session(_), Host::Ipv4(ip)) => SocketAddr::from((*ip, asked.port())),
        (Peer::Session(_), Host::Ipv6 { addr, .. }) => SocketAddr::from((*addr, asked.port())),
        // The name is among the options.
        (Peer::Session(_), Host::Name(_)) => SocketAddr::from(([0; 4], asked.port())),
        _ => return None,
    };
    let uri = Uri::from_options(asked.scheme(), destination, &options);
    // A peer may put dots there that make no URI: then its words are shown.
    Some(uri.map_or_else(|_| one_line(&head.options.to_string()), |uri| uri.to_string()))
}

/// Text for a terminal: what could do more there than be read is escaped, and so is what is no UTF-8. Tabs and ends of lines
/// stay.
pub(crate) fn printable(payload: &[u8]) -> Cow<'_, [u8]> {
    if core::str::from_utf8(payload).is_ok_and(|text| text.chars().all(|it| is_plain(it) || matches!(it, '\n' | '\t')))
    {
        return payload.into();
    }
    let mut text = String::with_capacity(payload.len());
    for chunk in payload.utf8_chunks() {
        let mut characters = chunk.valid().chars().peekable();
        while let Some(character) = characters.next() {
            let ends_line = character == '\n' || (character == '\r' && characters.peek() == Some(&'\n'));
            if ends_line || character == '\t' || is_plain(character) {
                text.push(character);
            } else {
                text.extend(character.escape_default());
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.into_bytes().into()
}

/// How much of this can be shown before the rest is there: all but a character that was cut in two.
pub(crate) fn whole_characters(payload: &[u8]) -> usize {
    let tail = payload.len().saturating_sub(3);
    let start = payload.get(tail..).unwrap_or_default().iter().rposition(|byte| *byte >= 0xc0).map(|at| tail + at);
    let cut = start.filter(|start| {
        let last = payload.get(*start..).unwrap_or_default();
        core::str::from_utf8(last).is_err_and(|error| error.error_len().is_none())
    });
    cut.unwrap_or(payload.len())
}

/// What a person in front of a terminal gets instead of the payload.
pub(crate) fn body(format: Option<ContentFormat>, payload: &[u8]) -> Cow<'_, [u8]> {
    if let Some(text) = format.and_then(|format| laid_out(format, payload)) {
        return text.into_bytes().into();
    }
    // The prompt should not stand behind the last word.
    let shown = printable(payload);
    if shown.is_empty() || shown.ends_with(b"\n") {
        return shown;
    }
    [&shown, &b"\n"[..]].concat().into()
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
pub(crate) fn diagnostic(format: Option<ContentFormat>, payload: &[u8]) -> Option<String> {
    if payload.is_empty() {
        return None;
    }
    let lines = |text: &str| text.lines().map(one_line).collect::<Vec<_>>().join("\n");
    if let Some(text) = format.and_then(|format| laid_out(format, payload)) {
        return Some(lines(text.trim_end()));
    }
    Some(core::str::from_utf8(payload).map_or_else(|_| format!("0x{}", hex::encode(payload)), lines))
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

/// A line of JSON. What could do more on a terminal than be read is escaped there too, which makes no difference to programs.
pub(crate) fn json_line(value: &serde_json::Value) -> String {
    let mut line = String::new();
    for character in value.to_string().chars() {
        if is_plain(character) {
            line.push(character);
        } else {
            // It stands in a string: elsewhere JSON has none of these.
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        }
    }
    line.push('\n');
    line
}

/// The whole response as one JSON object.
pub(crate) fn reply_json(reply: &Reply) -> serde_json::Value {
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

/// `3.20 s, 3.3 MB/s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    bytes: u64,
    span: Duration,
}

impl Rate {
    pub(crate) const fn new(bytes: u64, span: Duration) -> Self {
        Self { bytes, span }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Millis(self.span))?;
        match self.bytes as f64 / self.span.as_secs_f64() {
            mega if mega >= 1e6 && mega.is_finite() => write!(f, ", {:.1} MB/s", mega / 1e6),
            kilo if kilo.is_finite() => write!(f, ", {:.1} kB/s", kilo / 1e3),
            _ => Ok(()),
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
    fn nothing_in_a_payload_does_more_on_a_terminal_than_be_read() {
        let shown = |payload: &[u8]| String::from_utf8(printable(payload).into_owned()).unwrap();
        assert_eq!(shown("é\ta\r\nb\n".as_bytes()), "é\ta\r\nb\n");
        assert_eq!(shown(b"a\x1b[2J\rb\x07\x7f\xff\xc2"), "a\\u{1b}[2J\\rb\\u{7}\\u{7f}\\xff\\xc2");
        assert_eq!(shown("\u{9b}31m\u{202e}".as_bytes()), "\\u{9b}31m\\u{202e}");
        let line = json_line(&json!({ "title": "\u{9b}31m\u{202e}\u{7f}é" }));
        assert_eq!(line, "{\"title\":\"\\u009b31m\\u202e\\u007fé\"}\n");
    }

    #[test]
    fn a_character_is_not_cut_in_two() {
        for (payload, whole) in [("a€".as_bytes(), 4), (b"a\xe2\x82", 1), (b"a\xe2", 1), (b"", 0), (b"a\xff", 2)] {
            assert_eq!(whole_characters(payload), whole, "{payload:?}");
        }
        assert_eq!(whole_characters(b"\xf0\x9f\x98"), 0);
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
    fn a_rate_has_a_unit_that_fits() {
        assert_eq!(Rate::new(10_485_760, Duration::from_millis(3_200)).to_string(), "3.20 s, 3.3 MB/s");
        assert_eq!(Rate::new(512, Duration::from_secs(2)).to_string(), "2.00 s, 0.3 kB/s");
        assert_eq!(Rate::new(1, Duration::ZERO).to_string(), "0.00 ms");
    }

    #[test]
    fn spans_are_short() {
        assert_eq!(Millis(Duration::from_micros(310)).to_string(), "0.31 ms");
        assert_eq!(Millis(Duration::from_micros(12_340)).to_string(), "12.3 ms");
        assert_eq!(Millis(Duration::from_millis(2_000)).to_string(), "2.00 s");
    }
}
