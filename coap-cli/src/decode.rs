//! `coap decode`: datagrams in hexadecimal, taken apart.

use std::io::{self, BufRead, Write};

use bytes::Bytes;
use coap_core::{DecodeError, Message};

use crate::args::DecodeArgs;
use crate::exit::{Exit, Failure};
use crate::hex;

/// Decodes the arguments, or else each line of `input`.
pub(crate) fn run(args: &DecodeArgs, input: impl BufRead, mut out: impl Write) -> Result<Exit, Failure> {
    let mut exit = Exit::Success;
    crate::each_line(&args.datagrams, input, |line| {
        let datagram = hex::decode(line.trim_ascii());
        if datagram.is_none() {
            exit = Exit::Usage;
        }
        if args.json { write_json(&mut out, datagram) } else { write_text(&mut out, datagram) }
    })?;
    out.flush().or_else(crate::ignore_gone)?;
    Ok(exit)
}

fn write_text(out: &mut impl Write, datagram: Option<Vec<u8>>) -> io::Result<()> {
    let Some(datagram) = datagram else {
        return writeln!(out, "not hexadecimal (not_hex)");
    };
    match Message::decode(Bytes::from(datagram)) {
        Ok(message) => writeln!(out, "{message}"),
        Err(DecodeError { reason, .. }) => writeln!(out, "malformed: {reason} ({})", reason.name()),
    }
}

fn write_json(out: &mut impl Write, datagram: Option<Vec<u8>>) -> io::Result<()> {
    let Some(datagram) = datagram else {
        return writeln!(out, r#"{{"ok":false,"reason":"not_hex"}}"#);
    };
    match Message::decode(Bytes::from(datagram)) {
        Ok(message) => {
            let Message { kind, code, message_id, token, options, payload } = message;
            let token = hex::encode(token.as_bytes());
            let options = crate::show::options_json(&options);
            let (code, payload) = (code.dotted(), hex::encode(&payload));
            writeln!(
                out,
                r#"{{"ok":true,"type":"{kind}","code":"{code}","mid":{message_id},"token":"{token}","options":{options},"payload":"{payload}"}}"#
            )
        }
        Err(error) => writeln!(out, r#"{{"ok":false,"reason":"{}"}}"#, error.reason.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &str, json: bool) -> (Exit, String) {
        let mut out = Vec::new();
        let args = DecodeArgs { json, datagrams: Vec::new() };
        let exit = run(&args, input.as_bytes(), &mut out).unwrap();
        (exit, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_datagram_becomes_an_object() {
        let (exit, out) = decode("40019334b174 ff 6869\n", true);
        assert_eq!(exit, Exit::Success);
        assert_eq!(
            out,
            "{\"ok\":true,\"type\":\"CON\",\"code\":\"0.01\",\"mid\":37684,\"token\":\"\",\"options\":[[11,\"74\"]],\
             \"payload\":\"6869\"}\n"
        );
    }

    #[test]
    fn each_line_is_answered_and_a_bad_one_ends_nothing() {
        let (exit, out) = decode("\n4x\r\n70000000", true);
        assert_eq!(exit, Exit::Usage);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[0], r#"{"ok":false,"reason":"short_header"}"#);
        assert_eq!(lines[1], r#"{"ok":false,"reason":"not_hex"}"#);
        assert!(lines[2].starts_with(r#"{"ok":true,"type":"RST","code":"0.00","mid":0,"#), "{}", lines[2]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn text_says_what_is_wrong() {
        let (exit, out) = decode("40019334b174\n40ff\n", false);
        assert_eq!(exit, Exit::Success);
        assert!(out.starts_with("CON GET"), "{out}");
        assert!(out.contains("(short_header)"), "{out}");
    }
}
