//! What the resources say: forms that test suites look at.

use core::fmt;

use bytes::Bytes;
use coap_core::{Code, ContentFormat, Response, Token, Type};
use coap_driver::router::{FromRequest, Incoming};
use serde::Serialize;

pub(super) const WELCOME: &str = "\
This is `coap serve --plugtest`: the resources of the ETSI CoAP plugtests.
/.well-known/core lists them.
";

/// The length of a line, its end included.
const LINE: usize = 64;

/// What there is to say about a request: whoever tests sees that it came as it was sent.
#[derive(Debug)]
pub(super) struct Asked {
    kind: Type,
    method: Code,
    message_id: u16,
    token: Token,
}

impl<S> FromRequest<S> for Asked {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        let (kind, method, message_id) = (incoming.kind(), incoming.method(), incoming.message_id());
        Ok(Self { kind, method, message_id, token: incoming.token().clone() })
    }
}

/// `Type: 0 (CON)`, `Code: 1 (GET)` and `MID: 4711` in lines, the last without its end.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind as u8;
        writeln!(f, "Type: {kind} ({})", self.kind_name())?;
        writeln!(f, "Code: {} ({})", self.method.to_byte(), self.method_name())?;
        write!(f, "MID: {}", self.message_id)
    }
}

/// The same as an object. The names are those of the plugtests.
#[derive(Serialize)]
struct Object<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    code: &'a str,
    mid: u16,
    accept: u16,
}

impl Asked {
    /// And a line for the token, if there is one.
    pub(super) fn with_token(&self) -> String {
        let token = self.token.as_bytes();
        if token.is_empty() { self.to_string() } else { format!("{self}\nToken: {}", crate::hex::encode(token)) }
    }

    /// In the format that is asked for, text if none is; `None`: it is not there in that format.
    pub(super) fn in_format(&self, accept: Option<ContentFormat>) -> Option<(ContentFormat, Bytes)> {
        let (kind, code, mid) = (self.kind_name(), self.method_name(), self.message_id);
        let format = accept.unwrap_or(ContentFormat::TEXT_PLAIN);
        let object = Object { kind, code: &code, mid, accept: format.number() };
        let content = match format {
            ContentFormat::TEXT_PLAIN => {
                // What is not there is -1 to the test suites.
                let accept = accept.map_or(-1, |format| i32::from(format.number()));
                format!("Status type: \"{kind}\"\nCode: \"{code}\"\nMID: {mid}\nAccept: {accept}").into()
            }
            ContentFormat::XML => {
                format!("<msg type=\"{kind}\" code=\"{code}\" mid=\"{mid}\" accept=\"{}\" />", object.accept).into()
            }
            ContentFormat::JSON => serde_json::to_vec(&object).ok()?,
            ContentFormat::CBOR => {
                let mut content = Vec::new();
                ciborium::into_writer(&object, &mut content).ok()?;
                content
            }
            _ => return None,
        };
        Some((format, content.into()))
    }

    const fn kind_name(&self) -> &'static str {
        match self.kind {
            Type::Confirmable => "CON",
            Type::NonConfirmable => "NON",
            Type::Acknowledgement => "ACK",
            Type::Reset => "RST",
        }
    }

    fn method_name(&self) -> String {
        self.method.to_string()
    }
}

/// 1,280 bytes: five frames of four lines.
pub(super) fn large() -> String {
    (1..=5).map(frame).collect()
}

fn frame(number: usize) -> String {
    let rule = "-".repeat(LINE - 3);
    format!(
        "/{rule}\\\n|{:17}RESOURCE BLOCK NO. {number} OF 5{:19}|\n|{:15}[each line contains 64 bytes]{:17}|\n\\{rule}/\n",
        "", "", "", ""
    )
}

/// 1,280 bytes with the time among them: more than one block of any size.
pub(super) fn large_time(time: &str) -> String {
    let rule = format!("{}\n", "-".repeat(LINE - 1));
    format!("{rule}{time:<width$}\n{}", rule.repeat(18), width = LINE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(kind: Type, token: &[u8]) -> Asked {
        Asked { kind, method: Code::GET, message_id: 4_711, token: Token::new(token).unwrap() }
    }

    #[test]
    fn a_request_is_told_in_lines() {
        let text = asked(Type::Confirmable, &[]).with_token();
        assert_eq!(text, "Type: 0 (CON)\nCode: 1 (GET)\nMID: 4711");
        let text = asked(Type::NonConfirmable, &[0x0a, 0xff]).with_token();
        assert_eq!(text, "Type: 1 (NON)\nCode: 1 (GET)\nMID: 4711\nToken: 0aff");
    }

    #[test]
    fn there_are_four_formats() {
        let asked = asked(Type::Confirmable, &[1]);
        let text = |format| {
            let (_, content) = asked.in_format(format).unwrap();
            String::from_utf8(content.to_vec()).unwrap()
        };
        assert_eq!(text(None), "Status type: \"CON\"\nCode: \"GET\"\nMID: 4711\nAccept: -1");
        assert_eq!(text(Some(ContentFormat::XML)), r#"<msg type="CON" code="GET" mid="4711" accept="41" />"#);
        assert_eq!(text(Some(ContentFormat::JSON)), r#"{"type":"CON","code":"GET","mid":4711,"accept":50}"#);
        let (_, cbor) = asked.in_format(Some(ContentFormat::CBOR)).unwrap();
        assert_eq!(cbor[..6], [0xa4, 0x64, b't', b'y', b'p', b'e']);
        assert!(asked.in_format(Some(ContentFormat::EXI)).is_none());
    }

    #[test]
    fn the_large_text_is_twenty_lines_of_64_bytes() {
        let text = large();
        assert_eq!(text.len(), 1_280);
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        assert!(lines.len() == 20 && lines.iter().all(|line| line.len() == LINE), "{text}");
        assert!(lines[17].contains("RESOURCE BLOCK NO. 5 OF 5"));
        assert_eq!(large_time("12:34:56").len(), 1_280);
        assert!(large_time("12:34:56").contains("\n12:34:56 "));
    }
}
