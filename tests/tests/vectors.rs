//! The vectors of `tests/vectors`, or of the folder that `COAP_VECTORS` names: what each file holds is in the README
//! beside them.
//!
//! A file that is missing is named as skipped; a vector of a feature that is not there is counted as such. Both are
//! printed (`cargo test -p coap-sim --test vectors -- --nocapture`).

use core::convert::Infallible;
use core::fmt::{Debug, Display};
use core::net::SocketAddr;
use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use coap_core::link_format::{self, Filter, Link};
use coap_core::wire::{decode_uint, encode_uint};
use coap_core::{
    Block, Code, Config, Datagram, Endpoint, Event, Failure, Host, Instant, Local, Message, OptionNumber,
    OptionProblem, Options, Peer, Request, RequestOptions, Reregistration, Scheme, TransmissionParameters, Type, Uri,
};
use rand_core::{TryCryptoRng, TryRng};
use serde_json::{Value, json};

/// What became of one vector.
enum Outcome {
    Passed,
    /// The vector, or a part of it, is about a feature that is not there.
    Absent(&'static str),
}

/// A difference between the vector and us, in words.
type Judged = Result<Outcome, String>;

struct File {
    name: &'static str,
    judge: fn(&Value) -> Judged,
}

/// Every file, and who judges its lines; `scenarios` has a test of its own, and so have the exchanges of `transcripts`. A new feature takes its file from the second
/// half to the first.
const FILES: [File; 19] = [
    File { name: "messages_valid", judge: messages_valid },
    File { name: "messages_invalid", judge: messages_invalid },
    File { name: "known_reports", judge: known_reports },
    File { name: "ext_token", judge: ext_token },
    File { name: "uint_option", judge: uint_option },
    File { name: "block_option", judge: block_option },
    File { name: "option_class", judge: option_class },
    File { name: "no_response", judge: no_response },
    File { name: "transcripts", judge: transcripts },
    File { name: "uri_to_options", judge: uri_to_options },
    File { name: "options_to_uri", judge: options_to_uri },
    File { name: "retransmission", judge: retransmission },
    File { name: "observe_order", judge: observe_order },
    File { name: "link_format", judge: link_format },
    File { name: "link_filter", judge: link_filter },
    //
    File { name: "oscore", judge: |_| Ok(Outcome::Absent("OSCORE")) },
    File { name: "oscore_option", judge: |_| Ok(Outcome::Absent("OSCORE")) },
    File { name: "tcp_framing", judge: |_| Ok(Outcome::Absent("CoAP over TCP")) },
    File { name: "dtls_datagrams", judge: |_| Ok(Outcome::Absent("DTLS")) },
];

#[test]
fn the_vectors_hold() {
    let folder = env::var_os("COAP_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"), PathBuf::from);
    let mut failures = Vec::new();
    let mut judged = 0;
    for file in &FILES {
        let text = match fs::read_to_string(folder.join(file.name).with_extension("jsonl")) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                println!("{:<18} skipped: no such file", file.name);
                continue;
            }
            Err(error) => panic!("{}: {error}", file.name),
        };
        judged += judge_file(file, &text, &mut failures);
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(judged > 0, "no vectors in {}", folder.display());
}

/// Prints what became of the file's vectors, and returns how many there were.
fn judge_file(file: &File, text: &str, failures: &mut Vec<String>) -> usize {
    let (mut passed, mut failed, mut absent) = (0, 0, Vec::<(&str, usize)>::new());
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        // A field that is not as it should be, or a panic of ours, is the failure of that vector and not of the run.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let vector: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
            (file.judge)(&vector).map_err(|what| format!("{}: {what}", vector["id"].as_str().unwrap_or_default()))
        }));
        match outcome.unwrap_or_else(|_| Err("panicked, see above".into())) {
            Ok(Outcome::Passed) => passed += 1,
            Ok(Outcome::Absent(feature)) => match absent.iter_mut().find(|(other, _)| *other == feature) {
                Some((_, count)) => *count += 1,
                None => absent.push((feature, 1)),
            },
            Err(what) => {
                failed += 1;
                failures.push(format!("{} line {}: {what}", file.name, at + 1));
            }
        }
    }
    print!("{:<18} {passed} passed, {failed} failed", file.name);
    for (feature, count) in &absent {
        print!(", {count} need a feature that is not there ({feature})");
    }
    println!();
    passed + failed + absent.iter().map(|(_, count)| count).sum::<usize>()
}

// Reading and comparing.

fn text<'a>(vector: &'a Value, field: &str) -> Result<&'a str, String> {
    vector[field].as_str().ok_or_else(|| format!("no text in the field {field}"))
}

fn number(vector: &Value, field: &str) -> Result<u64, String> {
    vector[field].as_u64().ok_or_else(|| format!("no number in the field {field}"))
}

fn flag(vector: &Value, field: &str) -> Result<bool, String> {
    vector[field].as_bool().ok_or_else(|| format!("neither true nor false in the field {field}"))
}

fn list<'a>(vector: &'a Value, field: &str) -> Result<&'a [Value], String> {
    vector[field].as_array().map(Vec::as_slice).ok_or_else(|| format!("no list in the field {field}"))
}

fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8).ok_or("not a hex digit");
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Ok(digit(high)? << 4 | digit(low)?),
        _ => Err("an odd number of hex digits"),
    });
    pairs.collect::<Result<_, _>>().map_err(Into::into)
}

fn bytes(vector: &Value, field: &str) -> Result<Vec<u8>, String> {
    from_hex(text(vector, field)?)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn same<T: PartialEq + Debug>(what: impl Display, ours: T, expected: T) -> Result<(), String> {
    if ours == expected { Ok(()) } else { Err(format!("{what} is {ours:?}, expected {expected:?}")) }
}

fn to_json(options: &Options) -> Value {
    options.iter().map(|(number, value)| json!([number.number(), to_hex(value)])).collect()
}

// Messages.

/// Decodes, compares field by field, and encodes to the same bytes; once more from options that were set one by one.
fn decodes_as(datagram: &[u8], expect: &Value) -> Result<(), String> {
    let message = decodes(datagram)?;
    let ours = json!({
        "type": message.kind.to_string(),
        "code": message.code.dotted().to_string(),
        "mid": message.message_id,
        "token": message.token.to_string(),
        "options": to_json(&message.options),
        "payload": to_hex(&message.payload),
    });
    for field in ["type", "code", "mid", "token", "options", "payload"] {
        same(field, &ours[field], &expect[field])?;
    }
    let mut options = Options::new();
    for (number, value) in message.options.iter().collect::<Vec<_>>().into_iter().rev() {
        // Backwards, but what is equal keeps its order.
        let mut equals: Vec<_> = options.get_all(number).map(<[u8]>::to_vec).collect();
        equals.insert(0, value.to_vec());
        options.remove(number);
        for value in &equals {
            options.push_raw(number, value).map_err(|error| error.to_string())?;
        }
    }
    same("the list of options built by hand", options, message.options)
}

/// Decodes and encodes to the same bytes; what shows and explains the message does not panic.
fn decodes(datagram: &[u8]) -> Result<Message, String> {
    let message = Message::decode(Bytes::copy_from_slice(datagram)).map_err(|error| error.reason.name().to_owned())?;
    let mut buf = vec![0; message.encoded_len()];
    let len = message.encode(&mut buf).map_err(|error| error.to_string())?;
    same("the encoded message", to_hex(&buf[..len]), to_hex(datagram))?;
    same("the number of lines shown", message.to_string().lines().count(), 1)?;
    Ok(message)
}

fn is_refused(datagram: &[u8], reason: &str) -> Result<(), String> {
    match Message::decode(Bytes::copy_from_slice(datagram)) {
        Ok(message) => Err(format!("accepted as {message}, expected {reason}")),
        Err(error) => same("the reason", error.reason.name(), reason),
    }
}

/// Of the `semantics` of a vector, what is about options: the check of the critical ones names one of them if there
/// are any, and elective ones to be ignored are noticed.
fn options_are_judged(options: &Options, semantics: &[Value]) -> Result<(), String> {
    let findings: Vec<_> = semantics.iter().filter_map(Value::as_str).collect();
    let critical = options.check(|number| number.definition().is_some()).err().map(|bad| {
        let problem = match bad.problem {
            OptionProblem::UnknownCritical => "unknown",
            OptionProblem::Length => "bad_length",
            OptionProblem::Repeated => "repeated",
        };
        format!("{problem}_critical:{}", bad.number.number())
    });
    match &critical {
        Some(finding) if findings.contains(&finding.as_str()) => {}
        Some(finding) => return Err(format!("{finding} is not among {findings:?}")),
        None => same("a critical finding", findings.iter().any(|finding| finding.contains("_critical:")), false)?,
    }
    let elective =
        |finding: &&str| finding.starts_with("bad_length_elective:") || finding.starts_with("repeated_elective:");
    same("has_bad_elective", options.has_bad_elective(), findings.iter().any(elective))
}

fn messages_valid(vector: &Value) -> Judged {
    let datagram = bytes(vector, "hex")?;
    decodes_as(&datagram, &vector["expect"])?;
    options_are_judged(&decodes(&datagram)?.options, list(vector, "semantics")?)?;
    Ok(Outcome::Passed)
}

fn messages_invalid(vector: &Value) -> Judged {
    is_refused(&bytes(vector, "hex")?, text(vector, "reason")?)?;
    Ok(Outcome::Passed)
}

/// The decoding part; what a server does then is for the scenarios.
fn known_reports(vector: &Value) -> Judged {
    let (datagram, decode) = (bytes(vector, "hex")?, &vector["decode"]);
    match flag(decode, "ok")? {
        true => decodes_as(&datagram, decode)?,
        false => is_refused(&datagram, text(decode, "reason")?)?,
    }
    Ok(Outcome::Passed)
}

fn ext_token(vector: &Value) -> Judged {
    let datagram = bytes(vector, "hex")?;
    match &vector["without_rfc8974"] {
        Value::Bool(true) => decodes(&datagram).map(drop)?,
        reason => is_refused(&datagram, reason.as_str().ok_or("no reason")?)?,
    }
    let with = &vector["with_rfc8974"];
    let decoded = Message::decode_extended(Bytes::from(datagram.clone()));
    match (decoded, with["ok"] == true) {
        (Ok(message), true) => {
            same("the token", message.token.to_string().as_str(), text(with, "token")?)?;
            same("the code", message.code.dotted().to_string().as_str(), text(with, "code")?)?;
            let mut again = vec![0; message.encoded_len()];
            message.encode(&mut again).map_err(|error| error.to_string())?;
            same("encoded again", again, datagram)?;
        }
        (Err(error), false) => same("the reason", error.reason.name(), text(with, "reason")?)?,
        (decoded, _) => return Err(format!("with RFC 8974: {decoded:?}")),
    }
    Ok(Outcome::Passed)
}

/// The decoding part; who said what to whom is for a test of its own.
fn transcripts(vector: &Value) -> Judged {
    for (at, message) in list(vector, "messages")?.iter().enumerate() {
        decodes(&bytes(message, "hex")?).map_err(|what| format!("message {at}: {what}"))?;
    }
    Ok(Outcome::Passed)
}

// Values of options.

fn uint_option(vector: &Value) -> Judged {
    let (value, encoded) = (number(vector, "value")?, text(vector, "hex")?);
    same("the encoded number", to_hex(encode_uint(value, &mut [0; 8])).as_str(), encoded)?;
    let also = list(vector, "decode_also")?.iter().filter_map(Value::as_str);
    for hex in also.chain([encoded]) {
        same(hex, decode_uint(&from_hex(hex)?), Some(value))?;
    }
    Ok(Outcome::Passed)
}

fn block_option(vector: &Value) -> Judged {
    if let Some(limit) = vector["size_limit"].as_u64() {
        let limit = usize::try_from(limit).map_err(|error| error.to_string())?;
        let expected = number(vector, "largest_szx")?;
        same("the exponent", Block::largest_szx(limit).map(u64::from), Some(expected))?;
        return Ok(Outcome::Passed);
    }
    let block = Block::from_value(&bytes(vector, "hex")?);
    if !flag(vector, "ok")? {
        let ours = match block {
            None => "block_len",
            Some(block) if block.is_reserved() => "szx_7",
            Some(_) => "nothing",
        };
        same("the problem", ours, text(vector, "reason")?)?;
        return Ok(Outcome::Passed);
    }
    let block = block.ok_or("refused")?;
    same("num", u64::from(block.num()), number(vector, "num")?)?;
    same("more", block.more(), flag(vector, "more")?)?;
    same("szx", u64::from(block.szx()), number(vector, "szx")?)?;
    same("size", block.size() as u64, number(vector, "size")?)?;
    same("offset", block.offset(), number(vector, "offset")?)?;
    same("the block built by hand", Block::new(block.num(), block.more(), block.szx()), Some(block))?;
    same("the value", Some(u64::from(block.value())), decode_uint(&bytes(vector, "hex")?))?;
    Ok(Outcome::Passed)
}

fn option_class(vector: &Value) -> Judged {
    let option = OptionNumber::new(number(vector, "number")?.try_into().map_err(|_| "over 65535")?);
    same("critical", option.is_critical(), flag(vector, "critical")?)?;
    same("unsafe", option.is_unsafe(), flag(vector, "unsafe")?)?;
    same("no_cache_key", option.is_no_cache_key(), flag(vector, "no_cache_key")?)?;
    same("name", option.definition().map_or("", |known| known.name), text(vector, "name")?)?;
    Ok(Outcome::Passed)
}

fn no_response(vector: &Value) -> Judged {
    let value = u8::try_from(number(vector, "value")?).map_err(|error| error.to_string())?;
    let mut options = Options::new();
    options.set_no_response(value);
    same(
        "the encoded value",
        to_hex(options.get(OptionNumber::NO_RESPONSE).unwrap_or_default()).as_str(),
        text(vector, "hex")?,
    )?;
    let suppressed =
        |class: u8| (0..32).all(|detail| Code::new(class, detail).is_some_and(|code| code.suppressed_by(value)));
    let ours: Value =
        [2, 4, 5].into_iter().filter(|class| suppressed(*class)).map(|class| format!("{class}.xx")).collect();
    same("the list of suppressed classes", &ours, &vector["suppress"])?;
    Ok(Outcome::Passed)
}

// URIs.

/// The reasons that the vectors give. One that is not among them has no meaning that ours could be held to: then it is
/// enough that the URI is refused.
const URI_REASONS: [&str; 14] = [
    "authority",
    "bad_percent",
    "empty_host",
    "encoded_dot_segment",
    "fragment",
    "illegal_char",
    "ip_literal",
    "no_authority",
    "non_ascii",
    "not_absolute",
    "not_utf8",
    "port_range",
    "scheme",
    "userinfo",
];

fn uri_to_options(vector: &Value) -> Judged {
    let expect = &vector["expect"];
    let judged = match (Uri::parse(text(vector, "uri")?), flag(expect, "ok")?) {
        (Ok(uri), true) => uri_is(&uri, expect),
        (Ok(uri), false) => Err(format!("accepted as {uri}, expected {}", text(expect, "reason")?)),
        (Err(error), true) => Err(format!("refused: {error}")),
        (Err(error), false) => match text(expect, "reason")? {
            reason if URI_REASONS.contains(&reason) => same("the reason", error.name(), reason),
            _ => Ok(()),
        },
    };
    match judged {
        Err(what) if text(vector, "policy")?.starts_with("must") => Err(what),
        Err(_) => Ok(Outcome::Absent("one that its policy leaves open")),
        Ok(()) => Ok(Outcome::Passed),
    }
}

fn uri_is(uri: &Uri, expect: &Value) -> Result<(), String> {
    same("the scheme", uri.scheme().as_str(), text(expect, "scheme")?)?;
    same("the port", u64::from(uri.port()), number(expect, "port")?)?;
    let literal = expect["host_literal"].as_str();
    let (addr, zone) = literal.map_or((None, None), |literal| match literal.split_once("%25") {
        Some((addr, zone)) => (Some(addr), Some(zone)),
        None => (Some(literal), None),
    });
    let addr = addr.map(str::parse).transpose().map_err(|_| "host_literal is no address")?;
    same("the address", uri.ip(), addr)?;
    same("the zone", uri.zone(), zone)?;
    same("a name as host", matches!(uri.host(), Host::Name(_)), literal.is_none())?;
    same("the list of options", &to_json(&uri.options()), &expect["options"])
}

fn options_to_uri(vector: &Value) -> Judged {
    let mut options = Options::new();
    for option in list(vector, "options")? {
        let number = option[0].as_u64().and_then(|number| number.try_into().ok()).ok_or("no option number")?;
        let value = from_hex(option[1].as_str().ok_or("no option value")?)?;
        options.push_raw(OptionNumber::new(number), &value).map_err(|error| error.to_string())?;
    }
    let scheme = if flag(vector, "secure")? { Scheme::Coaps } else { Scheme::Coap };
    let ip = text(vector, "dest_ip")?.parse().map_err(|_| "dest_ip is no address")?;
    let port = number(vector, "dest_port")?.try_into().map_err(|_| "dest_port is no port")?;
    let uri = Uri::from_options(scheme, SocketAddr::new(ip, port), &options).map_err(|error| error.to_string())?;
    let ours = uri.to_string();
    let accept = list(vector, "accept")?;
    if !accept.iter().any(|uri| *uri == ours) {
        return Err(format!("the URI is {ours}, expected one of {accept:?}"));
    }
    let again = Uri::parse(&ours).map_err(|error| error.to_string())?;
    same("the path, read again", again.path(), uri.path())?;
    same("the query, read again", again.query(), uri.query())?;
    Ok(Outcome::Passed)
}

// Links.

/// Read, compared, written, read again.
fn link_format(vector: &Value) -> Judged {
    let expect = &vector["expect"];
    let judged = match (link_format::parse(text(vector, "text")?), flag(expect, "ok")?) {
        (Ok(links), true) => links_are(&links, list(expect, "links")?),
        (Ok(links), false) => Err(format!("accepted as {}", link_format::document(links))),
        (Err(error), true) => Err(format!("refused: {error}")),
        (Err(error), false) => same("the reason", error.what.name(), text(expect, "reason")?),
    };
    match judged {
        Err(what) if text(vector, "policy")? == "must" => Err(what),
        Err(_) => Ok(Outcome::Absent("one that its policy leaves open")),
        Ok(()) => Ok(Outcome::Passed),
    }
}

fn links_are(links: &[Link<'_>], expect: &[Value]) -> Result<(), String> {
    let attributes =
        |link: &Link<'_>| link.attributes().iter().map(|it| json!([it.name(), it.value()])).collect::<Vec<_>>();
    let ours: Vec<_> = links.iter().map(|link| json!({ "href": link.target(), "attrs": attributes(link) })).collect();
    same("the list of links", ours.as_slice(), expect)?;
    let written = link_format::document(links);
    let again = link_format::parse(&written).map_err(|error| format!("{written}: {error}"))?;
    same("what was written and read again", again.as_slice(), links)
}

/// The query goes the way that it goes in a request: as a URI, and as the options of a request.
fn link_filter(vector: &Value) -> Judged {
    let links = link_format::parse(text(vector, "document")?).map_err(|error| error.to_string())?;
    let uri = format!("coap://[2001:db8::1]/.well-known/core?{}", text(vector, "query")?);
    let options = Uri::from_input(&uri).map_err(|error| error.to_string())?.options();
    let filter = Filter::new(options.get_all(OptionNumber::URI_QUERY)).map_err(|error| error.to_string())?;
    let ours: Value = links.iter().filter(|link| filter.matches(link)).map(Link::target).collect();
    let also = vector["also_accept"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !also.contains(&ours) {
        same("the list of targets", &ours, &vector["expect_hrefs"])?;
    }
    Ok(Outcome::Passed)
}

// Times.

/// Randomness that always draws the same.
struct Drawn(u64);

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0 >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(self.0 as u8);
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

/// RFC 7252 §4.2 and §4.8.2: when an unanswered request is sent, when it is given up, and the derived times.
fn retransmission(vector: &Value) -> Judged {
    let seconds = |field: &str| vector[field].as_f64().ok_or_else(|| format!("no number in the field {field}"));
    let parameters = TransmissionParameters::builder()
        .ack_timeout(Duration::from_secs_f64(seconds("ack_timeout")?))
        .ack_random_factor(seconds("ack_random_factor")?)
        .max_retransmit(number(vector, "max_retransmit")? as u8)
        .build()
        .map_err(|error| error.to_string())?;
    for (field, derived) in [
        ("max_transmit_span", parameters.max_transmit_span()),
        ("max_transmit_wait", parameters.max_transmit_wait()),
        ("max_rtt", parameters.max_rtt()),
        ("exchange_lifetime", parameters.exchange_lifetime()),
        ("non_lifetime", parameters.non_lifetime()),
    ] {
        same(field, &derived, &Duration::from_secs_f64(seconds(field)?))?;
    }

    // As a float, `u64::MAX` is what 1.0 times 2^64 saturates to.
    let rng = Drawn((seconds("random")? * u64::MAX as f64) as u64);
    let config = Config::builder().transmission(parameters).build().map_err(|error| error.to_string())?;
    let mut endpoint = Endpoint::new(config, rng);
    let server = Peer::from(SocketAddr::from(([192, 0, 2, 1], 5683)));
    let how = RequestOptions::new();
    endpoint.request(Instant::ZERO, server, Request::get(), &how).map_err(|error| error.to_string())?;
    let (mut now, mut sent, mut buf) = (Instant::ZERO, Vec::new(), [0; 1_152]);
    let given_up = loop {
        while endpoint.poll_transmit(&mut buf).is_some() {
            sent.push(now.as_micros() as f64 / 1e6);
        }
        if let Some(event) = endpoint.poll_event() {
            match event {
                Event::Failed { reason: Failure::NoAck, timing, .. } => break timing.elapsed.as_secs_f64(),
                other => return Err(format!("unexpected {other:?}")),
            }
        }
        now = endpoint.poll_timeout().ok_or("nothing is due")?;
        endpoint.handle_timeout(now);
    };
    let expected: Option<Vec<f64>> = list(vector, "send_times")?.iter().map(Value::as_f64).collect();
    same("send_times", &sent, &expected.ok_or("send_times are not numbers")?)?;
    same("give_up", &given_up, &seconds("give_up")?)?;
    Ok(Outcome::Passed)
}

/// RFC 7641 §3.4: whether a notification is told that comes after another.
fn observe_order(vector: &Value) -> Judged {
    let field = |name: &str| number(vector, name);
    let (first, second) = (field("v1")? as u32, field("v2")? as u32);
    let seconds = |name: &str| vector[name].as_f64().map(Duration::from_secs_f64).ok_or_else(|| format!("no {name}"));
    let newer = vector["newer"].as_bool().ok_or("no truth value in the field newer")?;
    let config = Config::default();
    let mut endpoint = Endpoint::new(config, Drawn(1));
    let server = Peer::from(SocketAddr::from(([192, 0, 2, 1], 5683)));
    // Nothing should come between the two.
    let how = RequestOptions::new().reregistration(Reregistration::OFF).timeout(Duration::from_secs(1_000));
    endpoint.observe(Instant::ZERO, server, Request::get(), &how).map_err(|error| error.to_string())?;
    let mut buf = [0; 1_152];
    let sent = endpoint.poll_transmit(&mut buf).ok_or("nothing is sent")?;
    let asked = Message::decode(Bytes::copy_from_slice(&buf[..sent.len])).map_err(|error| error.to_string())?;
    let mut told = Vec::new();
    for (message_id, observe, at) in [(1, first, seconds("t1")?), (2, second, seconds("t2")?)] {
        let mut options = Options::new();
        options.set_observe(observe);
        let (kind, code) = (Type::NonConfirmable, Code::CONTENT);
        let payload = Bytes::copy_from_slice(&[message_id as u8]);
        let message = Message { kind, code, message_id, token: asked.token.clone(), options, payload };
        let mut datagram = vec![0; message.encoded_len()];
        message.encode(&mut datagram).map_err(|error| error.to_string())?;
        let payload = Bytes::from(datagram);
        endpoint.handle_datagram(Instant::ZERO + at, Datagram { from: server, to: Local::default(), payload });
        while let Some(event) = endpoint.poll_event() {
            if let Event::Notification { response, .. } = event {
                told.push(response.body.as_bytes()[0]);
            }
        }
    }
    same("told", &told.as_slice(), &if newer { &[1, 2][..] } else { &[1][..] })?;
    Ok(Outcome::Passed)
}
