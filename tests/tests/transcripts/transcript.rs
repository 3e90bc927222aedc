//! One transcript, as it was read.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;
use coap_core::{Code, Message, Token, Type};
use serde_json::Value;

use crate::rules::{Exchange, exchanges};

/// What the testers thought of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Pass,
    Fail,
    Inconclusive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// One datagram.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Duration,
    pub(crate) direction: Direction,
    /// The client that sent it or gets it.
    pub(crate) client: String,
    pub(crate) message: Message,
}

#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    pub(crate) id: String,
    /// Such as `CORE_01`.
    pub(crate) test: String,
    pub(crate) verdict: Verdict,
    pub(crate) lines: Vec<Line>,
}

impl Transcript {
    pub(crate) fn read(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let text =
            |of: &Value, field: &str| of[field].as_str().map(str::to_owned).ok_or_else(|| format!("no text {field}"));
        let verdict = match text(&value, "verdict_by_tester")?.as_str() {
            "PASS" => Verdict::Pass,
            "FAIL" => Verdict::Fail,
            "INCONCLUSIVE" => Verdict::Inconclusive,
            other => return Err(format!("unknown verdict {other}")),
        };
        let mut lines = Vec::new();
        for message in value["messages"].as_array().ok_or("no messages")? {
            let direction = match text(message, "dir")?.as_str() {
                "to_server" => Direction::ToServer,
                "to_client" => Direction::ToClient,
                other => return Err(format!("unknown direction {other}")),
            };
            let at = message["t"].as_f64().ok_or("no time")?;
            let datagram = from_hex(&text(message, "hex")?)?;
            let decoded = Message::decode(Bytes::from(datagram)).map_err(|error| error.reason.name().to_owned())?;
            let at = Duration::try_from_secs_f64(at).map_err(|error| error.to_string())?;
            lines.push(Line { at, direction, client: text(message, "peer")?, message: decoded });
        }
        let test = text(&value, "test")?.trim_start_matches("TD_COAP_").to_owned();
        Ok(Self { id: text(&value, "id")?, test, verdict, lines })
    }

    /// The same with one thing changed in message `at`, in each way that no test allows.
    pub(crate) fn spoilt(&self, at: usize) -> Vec<(&'static str, Self)> {
        let with = |change: &dyn Fn(&mut Message)| {
            let mut changed = self.clone();
            change(&mut changed.lines[at].message);
            changed
        };
        let message = &self.lines[at].message;
        let mut all = Vec::new();
        if message.code.is_response() {
            all.push(("token", with(&|message| message.token = Token::new(&[0xde, 0xad, 0xbe]).unwrap())));
            all.push(("code", with(&|message| message.code = Code::new(2, 17).unwrap())));
        }
        if matches!(message.kind, Type::Acknowledgement | Type::Reset) {
            all.push(("Message ID", with(&|message| message.message_id ^= 0x5555)));
        }
        all
    }

    /// Message `at` is a state of something observed that nobody asked for just then, and whose registration it has the
    /// token of.
    pub(crate) fn registration_of(&self, at: usize) -> Option<&Message> {
        let line = &self.lines[at];
        let message = &line.message;
        let candidate = line.direction == Direction::ToClient
            && matches!(message.kind, Type::Confirmable | Type::NonConfirmable)
            && message.code.is_response();
        let answers = |exchange: &Exchange<'_>| exchange.response.is_some_and(|(answer, _)| answer == at);
        if !candidate || exchanges(&self.lines).iter().any(answers) {
            return None;
        }
        let before = self.lines[..at].iter().rev().filter(|other| other.client == line.client);
        let mut asked = before.map(|other| &other.message).filter(|other| other.code.is_request());
        asked.find(|asked| asked.token == message.token && asked.options.observe() == Some(0))
    }

    /// Whether the same message is further up, from the same to the same.
    pub(crate) fn is_repeated(&self, at: usize) -> bool {
        let line = &self.lines[at];
        let same = |other: &Line| {
            other.client == line.client && other.direction == line.direction && other.message == line.message
        };
        self.lines[..at].iter().any(same)
    }

    /// The acknowledgement or Reset that the client gave to message `at`.
    pub(crate) fn reaction_to(&self, at: usize) -> Option<&Message> {
        let line = &self.lines[at];
        let reacts = |other: &&Line| {
            other.client == line.client
                && other.direction != line.direction
                && matches!(other.message.kind, Type::Acknowledgement | Type::Reset)
                && other.message.message_id == line.message.message_id
        };
        self.lines[at..].iter().find(reacts).map(|other| &other.message)
    }

    /// The clients, and how many messages each of them has.
    pub(crate) fn clients(&self) -> BTreeMap<&str, usize> {
        let mut clients = BTreeMap::new();
        for line in &self.lines {
            *clients.entry(line.client.as_str()).or_default() += 1;
        }
        clients
    }
}

fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| core::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    digits.map(|pair| byte(pair).ok_or_else(|| format!("{text} is no hex"))).collect()
}
