//! A script as it stands in the file, read strictly: a step or field that is not known is an error.

use core::time::Duration;

use serde_json::{Map, Value};

pub(crate) type Read<T> = Result<T, String>;

#[derive(Debug)]
pub(crate) struct Script {
    pub id: String,
    pub level: Level,
    pub setup: Setup,
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Must,
    Should,
    Optional,
}

/// What is not as the RFC has it by default.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    pub unproven_limit: bool,
    pub body_limit: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Time {
    FromStart(Duration),
    FromMark(Duration),
}

#[derive(Debug)]
pub(crate) enum Step {
    Receive { t: Time, from: String, datagram: Vec<u8>, multicast: bool, edit: Edit, malformed: Option<String> },
    Set { t: Time, path: String, payload: Vec<u8>, format: Option<u16>, every: Duration, times: u64 },
    Remove { t: Time, path: String },
    Call { t: Time, call: Call },
    Cancel { t: Time, call: String, how: Ending },
    Send(Box<Send>),
    Nothing { until: Time },
    Sends { pattern: Box<Pattern>, at: Vec<(Duration, Duration)>, doubling: bool },
    Count { pattern: Box<Pattern>, until: Time, least: u64, most: u64, last: Option<Box<Pattern>> },
    Ignored,
    Runs { of: String, n: u64 },
    Resource { path: String, is: Held },
    Observers { path: String, n: u64 },
    Outcome { of: String, is: Vec<String>, answer: Answer, by: Option<Time>, not_before: Option<Time> },
    Delivered { of: String, n: u64, payloads: Option<Vec<Vec<u8>>>, from: Option<Vec<String>> },
    Pending { of: String },
    Idle { at: Time },
}

/// How an observation is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// In silence: the next notification is reset.
    Reactive,
    /// With a request that says so.
    Active,
}

/// What is put into a datagram before it arrives.
#[derive(Debug, Default)]
pub(crate) struct Edit {
    pub mid_of: Option<String>,
    pub mid_offset: i64,
    pub token_of: Option<String>,
    pub add_option: Option<(u16, OptionValue)>,
}

#[derive(Debug)]
pub(crate) enum OptionValue {
    Bytes(Vec<u8>),
    Saved(String),
}

#[derive(Debug)]
pub(crate) struct Call {
    pub id: String,
    pub method: String,
    pub uri: String,
    pub confirmable: bool,
    pub payload: Vec<u8>,
    pub block: Option<u64>,
    pub observe: bool,
}

#[derive(Debug)]
pub(crate) struct Send {
    pub pattern: Pattern,
    pub any_of: Vec<Pattern>,
    pub by: Time,
    pub not_before: Option<Time>,
    pub optional: bool,
    pub save: Option<String>,
    pub save_option: Option<(u16, String)>,
}

#[derive(Debug)]
pub(crate) enum Held {
    Unchanged,
    OneOf(Vec<Vec<u8>>),
}

/// What a response must be like.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub code: Option<String>,
    pub payload: Option<Vec<u8>>,
    pub options_absent: Vec<u16>,
}

/// The fields of a datagram; those that are absent are not looked at.
#[derive(Debug, Default)]
pub(crate) struct Pattern {
    pub to: Option<String>,
    pub kind: Option<Vec<String>>,
    pub code: Option<Vec<String>>,
    pub mid: Option<u64>,
    pub mid_not: Option<u64>,
    pub mid_not_of: Vec<String>,
    pub token: Option<Vec<u8>>,
    pub token_of: Option<String>,
    pub token_not_of: Vec<String>,
    pub token_len: Option<(u64, u64)>,
    pub exact: Option<Vec<u8>>,
    pub same_as: Option<String>,
    pub options_present: Vec<u16>,
    pub options_absent: Vec<u16>,
    pub option_equals: Option<(u16, OptionValue)>,
    pub option_differs: Option<(u16, OptionValue)>,
    pub observe_after: Option<String>,
    pub block1: Option<BlockPattern>,
    pub block2: Option<BlockPattern>,
    pub payload: Option<Vec<u8>>,
    pub payload_len: Option<PayloadLen>,
    pub payload_text: bool,
    pub max_bytes: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct BlockPattern {
    pub num: Option<u64>,
    pub more: Option<bool>,
    pub szx: Option<u64>,
    pub szx_max: Option<u64>,
}

#[derive(Debug)]
pub(crate) enum PayloadLen {
    Bytes(u64),
    /// The size in the datagram's own Block2 option.
    Block,
}

impl Script {
    pub(crate) fn read(line: &str) -> Read<Self> {
        let mut fields = Fields::of(serde_json::from_str(line).map_err(|error| error.to_string())?)?;
        let id = fields.text("id")?;
        fields.script(id.clone()).map_err(|what| format!("{id}: {what}"))
    }
}

/// An object, whose fields are taken out as they are understood.
struct Fields(Map<String, Value>);

impl Fields {
    fn of(value: Value) -> Read<Self> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(format!("{other} is no object")),
        }
    }

    /// Everything has been understood, or something has not.
    fn end(self) -> Read<()> {
        match self.0.keys().next() {
            Some(field) => Err(format!("unknown field {field}")),
            None => Ok(()),
        }
    }

    fn optional<T>(&mut self, field: &str, read: impl FnOnce(Value) -> Read<T>) -> Read<Option<T>> {
        self.0.remove(field).map(read).transpose().map_err(|what| format!("{field}: {what}"))
    }

    fn needed<T>(&mut self, field: &str, read: impl FnOnce(Value) -> Read<T>) -> Read<T> {
        self.optional(field, read)?.ok_or_else(|| format!("no field {field}"))
    }

    fn text(&mut self, field: &str) -> Read<String> {
        self.needed(field, text)
    }

    fn flag(&mut self, field: &str) -> Read<bool> {
        Ok(self.optional(field, flag)?.unwrap_or(false))
    }

    fn list<T>(&mut self, field: &str, read: impl Fn(Value) -> Read<T>) -> Read<Vec<T>> {
        Ok(self.optional(field, |value| one_or_list(value, read))?.unwrap_or_default())
    }

    fn script(mut self, id: String) -> Read<Script> {
        let role = self.text("role")?;
        if !["server", "client"].contains(&role.as_str()) {
            return Err(format!("unknown role {role}"));
        }
        let level = match self.text("level")?.as_str() {
            "MUST" => Level::Must,
            "SHOULD" => Level::Should,
            "opt" => Level::Optional,
            other => return Err(format!("unknown level {other}")),
        };
        self.text("title")?;
        self.text("ref")?;
        let setup = self.optional("setup", |value| Self::of(value)?.setup())?.unwrap_or_default();
        let steps = self.needed("steps", array)?;
        let steps = steps
            .into_iter()
            .enumerate()
            .map(|(at, step)| Self::of(step).and_then(Self::step).map_err(|what| format!("step {}: {what}", at + 1)));
        let script = Script { id, level, setup, steps: steps.collect::<Read<_>>()? };
        self.end()?;
        Ok(script)
    }

    fn setup(mut self) -> Read<Setup> {
        if self.flag("oscore")? {
            return Err("OSCORE cannot be switched on".into());
        }
        let setup =
            Setup { unproven_limit: self.flag("unproven_limit")?, body_limit: self.optional("body_limit", number)? };
        self.end()?;
        Ok(setup)
    }

    fn step(mut self) -> Read<Step> {
        let step = if self.0.contains_key("expect") { self.expectation()? } else { self.input()? };
        self.end()?;
        Ok(step)
    }

    fn input(&mut self) -> Read<Step> {
        let t = self.needed("t", time)?;
        if let Some(from) = self.optional("recv_from", text)? {
            return self.receive(t, from);
        }
        if let Some(path) = self.optional("set", text)? {
            return Ok(Step::Set {
                t,
                path,
                payload: self.needed("payload", hex)?,
                format: self.optional("format", option_number)?,
                every: self.optional("every", seconds)?.unwrap_or_default(),
                times: self.optional("times", number)?.unwrap_or(1),
            });
        }
        if let Some(path) = self.optional("remove", text)? {
            return Ok(Step::Remove { t, path });
        }
        if let Some(call) = self.optional("call", |value| Self::of(value)?.call())? {
            return Ok(Step::Call { t, call });
        }
        if let Some(call) = self.optional("cancel", text)? {
            let how = match self.text("how")?.as_str() {
                "reactive" => Ending::Reactive,
                "active" => Ending::Active,
                other => return Err(format!("unknown way to cancel {other}")),
            };
            return Ok(Step::Cancel { t, call, how });
        }
        Err(format!("unknown step {:?}", self.0.keys()))
    }

    fn receive(&mut self, t: Time, from: String) -> Read<Step> {
        let edit = Edit {
            mid_of: self.optional("mid_of", text)?,
            mid_offset: self.optional("mid_offset", signed)?.unwrap_or(0),
            token_of: self.optional("token_of", text)?,
            add_option: self.optional("add_option", option_and_value)?,
        };
        let (multicast, malformed) = (self.flag("multicast")?, self.optional("malformed", text)?);
        Ok(Step::Receive { t, from, datagram: self.needed("hex", hex)?, multicast, edit, malformed })
    }

    fn call(mut self) -> Read<Call> {
        self.flag("multicast")?; // The URI says so.
        let call = Call {
            id: self.text("id")?,
            method: self.text("method")?,
            uri: self.text("uri")?,
            confirmable: match self.optional("type", text)?.as_deref() {
                None | Some("CON") => true,
                Some("NON") => false,
                Some(other) => return Err(format!("unknown type {other}")),
            },
            payload: self.optional("payload", hex)?.unwrap_or_default(),
            block: self.optional("block", number)?,
            observe: self.flag("observe")?,
        };
        self.end()?;
        Ok(call)
    }

    fn expectation(&mut self) -> Read<Step> {
        let kind = self.text("expect")?;
        Ok(match kind.as_str() {
            "send" => Step::Send(Box::new(Send {
                by: self.optional("by", time)?.unwrap_or(Time::FromMark(Duration::from_secs(10))),
                not_before: self.optional("not_before", time)?,
                any_of: self.list("any_of", |value| Self::of(value)?.whole_pattern())?,
                optional: self.flag("optional")?,
                save: self.optional("save", text)?,
                save_option: self.optional("save_option", |value| {
                    let (number, name) = pair(value)?;
                    Ok((option_number(number)?, text(name)?))
                })?,
                pattern: self.pattern()?,
            })),
            "nothing" => Step::Nothing { until: self.needed("until", time)? },
            "sends" => Step::Sends {
                pattern: Box::new(self.needed("match", |value| Self::of(value)?.whole_pattern())?),
                at: self.needed("at", |value| array(value)?.into_iter().map(window).collect())?,
                doubling: self.flag("doubling")?,
            },
            "count" => Step::Count {
                pattern: Box::new(self.needed("match", |value| Self::of(value)?.whole_pattern())?),
                until: self.needed("until", time)?,
                least: self.needed("min", number)?,
                most: self.needed("max", number)?,
                last: self.optional("last", |value| Self::of(value)?.whole_pattern())?.map(Box::new),
            },
            "ignored" => Step::Ignored,
            "runs" => Step::Runs { of: self.text("of")?, n: self.needed("n", number)? },
            "resource" => Step::Resource {
                path: self.text("path")?,
                is: match self.flag("unchanged")? {
                    true => Held::Unchanged,
                    false => Held::OneOf(self.needed("payload", |value| one_or_list(value, hex))?),
                },
            },
            "observers" => Step::Observers { path: self.text("path")?, n: self.needed("n", number)? },
            "outcome" => Step::Outcome {
                of: self.text("of")?,
                is: self.needed("is", |value| one_or_list(value, outcome))?,
                answer: Answer {
                    code: self.optional("code", text)?,
                    payload: self.optional("payload", hex)?,
                    options_absent: self.list("options_absent", option_number)?,
                },
                by: self.optional("by", time)?,
                not_before: self.optional("not_before", time)?,
            },
            "delivered" => Step::Delivered {
                of: self.text("of")?,
                n: self.needed("n", number)?,
                payloads: self.optional("payloads", |value| array(value)?.into_iter().map(hex).collect())?,
                from: self.optional("from", |value| array(value)?.into_iter().map(text).collect())?,
            },
            "pending" => Step::Pending { of: self.text("of")? },
            "idle" => Step::Idle { at: self.needed("at", time)? },
            other => return Err(format!("unknown expectation {other}")),
        })
    }

    fn whole_pattern(mut self) -> Read<Pattern> {
        let pattern = self.pattern()?;
        self.end()?;
        Ok(pattern)
    }

    fn pattern(&mut self) -> Read<Pattern> {
        Ok(Pattern {
            to: self.optional("to", text)?,
            kind: self.optional("type", |value| one_or_list(value, text))?,
            code: self.optional("code", |value| one_or_list(value, text))?,
            mid: self.optional("mid", number)?,
            mid_not: self.optional("mid_not", number)?,
            mid_not_of: self.list("mid_not_of", text)?,
            token: self.optional("token", hex)?,
            token_of: self.optional("token_of", text)?,
            token_not_of: self.list("token_not_of", text)?,
            token_len: self.optional("token_len", |value| {
                let (low, high) = pair(value)?;
                Ok((number(low)?, number(high)?))
            })?,
            exact: self.optional("exact_hex", hex)?,
            same_as: self.optional("same_as", text)?,
            options_present: self.list("options_present", option_number)?,
            options_absent: self.list("options_absent", option_number)?,
            option_equals: self.optional("option_equals", option_and_value)?,
            option_differs: self.optional("option_differs", option_and_value)?,
            observe_after: self.optional("observe_after", text)?,
            block1: self.optional("block1", |value| Self::of(value)?.block())?,
            block2: self.optional("block2", |value| Self::of(value)?.block())?,
            payload: self.optional("payload", hex)?,
            payload_len: self.optional("payload_len", |value| match value.as_str() {
                Some("block") => Ok(PayloadLen::Block),
                _ => number(value).map(PayloadLen::Bytes),
            })?,
            payload_text: self.flag("payload_text")?,
            max_bytes: self.optional("max_bytes", number)?,
        })
    }

    fn block(mut self) -> Read<BlockPattern> {
        let block = BlockPattern {
            num: self.optional("num", number)?,
            more: self.optional("more", flag)?,
            szx: self.optional("szx", number)?,
            szx_max: self.optional("szx_max", number)?,
        };
        self.end()?;
        Ok(block)
    }
}

// ----- Values ----------------------------------------------------------------------------------------------------------

fn text(value: Value) -> Read<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} is no text"))
}

fn number(value: Value) -> Read<u64> {
    value.as_u64().ok_or_else(|| format!("{value} is no number"))
}

fn signed(value: Value) -> Read<i64> {
    value.as_i64().ok_or_else(|| format!("{value} is no number"))
}

fn option_number(value: Value) -> Read<u16> {
    number(value)?.try_into().map_err(|_| "over 65535".into())
}

fn flag(value: Value) -> Read<bool> {
    value.as_bool().ok_or_else(|| format!("{value} is neither true nor false"))
}

fn array(value: Value) -> Read<Vec<Value>> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(format!("{other} is no list")),
    }
}

fn one_or_list<T>(value: Value, read: impl Fn(Value) -> Read<T>) -> Read<Vec<T>> {
    match value {
        Value::Array(list) => list.into_iter().map(read).collect(),
        one => Ok(vec![read(one)?]),
    }
}

fn pair(value: Value) -> Read<(Value, Value)> {
    <[Value; 2]>::try_from(array(value)?).map(|[first, second]| (first, second)).map_err(|_| "not two".into())
}

fn hex(value: Value) -> Read<Vec<u8>> {
    from_hex(&text(value)?)
}

fn from_hex(digits: &str) -> Read<Vec<u8>> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err("not lower-case hex".to_owned()),
    };
    let bytes = digits.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Ok(digit(high)? << 4 | digit(low)?),
        _ => Err("an odd number of hex digits".into()),
    });
    bytes.collect()
}

fn option_and_value(value: Value) -> Read<(u16, OptionValue)> {
    let (number, value) = pair(value)?;
    let value = text(value)?;
    let value = match value.strip_prefix('$') {
        Some(name) => OptionValue::Saved(name.to_owned()),
        None => OptionValue::Bytes(from_hex(&value)?),
    };
    Ok((option_number(number)?, value))
}

fn outcome(value: Value) -> Read<String> {
    const KNOWN: [&str; 7] = ["response", "reset", "timeout", "unreachable", "rejected", "refused", "failed"];
    let name = text(value)?;
    if KNOWN.contains(&name.as_str()) { Ok(name) } else { Err(format!("unknown outcome {name}")) }
}

fn seconds(value: Value) -> Read<Duration> {
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0).ok_or_else(|| format!("{value} is no time"))?;
    Ok(Duration::from_micros((seconds * 1e6).round() as u64))
}

fn time(value: Value) -> Read<Time> {
    match value.as_str() {
        Some(text) => {
            let after = text.strip_prefix('+').and_then(|text| text.parse::<f64>().ok());
            let after = after.ok_or_else(|| format!("{text} is no time"))?;
            seconds(after.into()).map(Time::FromMark)
        }
        None => seconds(value).map(Time::FromStart),
    }
}

fn window(value: Value) -> Read<(Duration, Duration)> {
    let (low, high) = pair(value)?;
    Ok((seconds(low)?, seconds(high)?))
}

// ----- What is wrong with a script is found -----------------------------------------------------------------------------

#[cfg(test)]
mod tests {
    use super::*;

    fn read(step: &str) -> Read<Script> {
        Script::read(&format!(
            r#"{{"id": "X", "role": "server", "title": "", "ref": "", "level": "MUST", "steps": [{step}]}}"#
        ))
    }

    #[test]
    fn an_unknown_step_or_field_is_an_error() {
        assert!(read(r#"{"t": 0, "recv_from": "C1", "hex": "40001001"}"#).is_ok());
        for wrong in [
            r#"{"t": 0, "recv_from": "C1", "hex": "40001001", "colour": 1}"#,
            r#"{"t": 0, "jump": "C1"}"#,
            r#"{"expect": "joy"}"#,
            r#"{"expect": "send", "to": "C1", "kind": "ACK"}"#,
            r#"{"expect": "send", "to": "C1", "block2": {"number": 1}}"#,
            r#"{"t": 0, "recv_from": "C1", "hex": "4000100"}"#,
            r#"{"expect": "outcome", "of": "r1", "is": "luck"}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
