//! What the steps of the plugtests check, as rules over the messages of a transcript.

mod blocks;
mod core_tests;
mod observe;

use core::fmt;

use coap_core::{Code, ContentFormat, Message, Type};

use crate::transcript::{Direction, Line, Transcript};

/// What is to be said of a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Sound,
    /// Something that the test asks for is not there, and may have come later or been left out on purpose.
    Incomplete(&'static str),
    /// A rule is broken, first by message `at`.
    Faulty {
        rule: &'static str,
        at: usize,
    },
}

impl Finding {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Incomplete(_) => "incomplete",
            Self::Faulty { .. } => "faulty",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sound => write!(f, "sound"),
            Self::Incomplete(what) => write!(f, "incomplete: {what}"),
            Self::Faulty { rule, at } => write!(f, "faulty at message {at}, where it does not hold that {rule}"),
        }
    }
}

/// `Err`: what is found first.
type Checked = Result<(), Finding>;

const fn faulty(rule: &'static str, at: usize) -> Finding {
    Finding::Faulty { rule, at }
}

fn hold(holds: bool, rule: &'static str, at: usize) -> Checked {
    if holds { Ok(()) } else { Err(faulty(rule, at)) }
}

fn present(there: bool, what: &'static str) -> Checked {
    if there { Ok(()) } else { Err(Finding::Incomplete(what)) }
}

pub(crate) fn judge(transcript: &Transcript) -> Finding {
    let of_test = || match transcript.test.split_once('_').map_or("", |(group, _)| group) {
        "CORE" | "LINK" => core_tests::check(transcript),
        "OBS" => observe::check(transcript),
        "BLOCK" => blocks::check(transcript),
        _ => Err(Finding::Incomplete("no rules for this test")),
    };
    match message_layer(&transcript.lines).and_then(|()| of_test()) {
        Err(fault @ Finding::Faulty { .. }) => fault,
        // What is not there does not excuse what is.
        found => methods(&exchanges(&transcript.lines)).and(found).err().unwrap_or(Finding::Sound),
    }
}

/// What holds in every test (RFC 7252 §4.2, §5.3).
fn message_layer(lines: &[Line]) -> Checked {
    for (at, line) in lines.iter().enumerate() {
        let message = &line.message;
        let before = || lines[..at].iter().filter(|other| other.client == line.client);
        match line.direction {
            Direction::ToServer => hold(!message.code.is_response(), "a client sends no responses", at)?,
            Direction::ToClient => hold(!message.code.is_request(), "a server sends no requests", at)?,
        }
        let answered = before().rev().find(|other| {
            let kind = other.message.kind;
            let open = kind == Type::Confirmable || (kind == Type::NonConfirmable && message.kind == Type::Reset);
            open && other.direction != line.direction && other.message.message_id == message.message_id
        });
        if matches!(message.kind, Type::Acknowledgement | Type::Reset) {
            let Some(answered) = answered else {
                return Err(faulty("an acknowledgement or Reset has the Message ID of a message", at));
            };
            let fits = message.code.is_empty() || message.token == answered.message.token;
            hold(fits, "a response has the token of its request", at)?;
        } else if message.code.is_response() {
            let asked = before().any(|other| other.message.code.is_request() && other.message.token == message.token);
            hold(asked, "a response has the token of its request", at)?;
        }
        if matches!(message.kind, Type::Confirmable | Type::NonConfirmable) {
            let first = before().find(|other| {
                let kind = other.message.kind;
                let sent =
                    matches!(kind, Type::Confirmable | Type::NonConfirmable) && other.direction == line.direction;
                sent && is_within_lifetime(other, line)
            });
            let same = first.is_none_or(|first| first.message == *message);
            hold(same, "a repetition is the same bytes", at)?;
        }
    }
    Ok(())
}

/// Which codes of success a method has (RFC 7252 §5.8, RFC 7959 §2.9).
fn methods(exchanges: &[Exchange<'_>]) -> Checked {
    for exchange in exchanges {
        let Some((at, response)) = exchange.response else { continue };
        let codes: &[Code] = match exchange.request.code {
            Code::GET => &[Code::CONTENT, Code::VALID],
            Code::PUT => &[Code::CREATED, Code::CHANGED, Code::CONTINUE],
            Code::POST => &[Code::CREATED, Code::CHANGED, Code::DELETED, Code::CONTINUE],
            Code::DELETE => &[Code::DELETED],
            _ => continue,
        };
        hold(response.code.is_error() || codes.contains(&response.code), "the response has a code of its method", at)?;
    }
    Ok(())
}

fn is_within_lifetime(first: &Line, second: &Line) -> bool {
    first.message.message_id == second.message.message_id && second.at.saturating_sub(first.at).as_secs() < 247
}

/// A request, and what became of it.
pub(crate) struct Exchange<'a> {
    pub(crate) at: usize,
    pub(crate) request: &'a Message,
    /// The Empty acknowledgement of the request.
    pub(crate) acknowledged: Option<usize>,
    pub(crate) response: Option<(usize, &'a Message)>,
    /// The acknowledgement of a Confirmable response.
    pub(crate) confirmed: Option<usize>,
}

/// All requests in their order, repetitions left out.
pub(crate) fn exchanges(lines: &[Line]) -> Vec<Exchange<'_>> {
    let mut all = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.message.code.is_request()) {
        let before = lines[..at].iter().filter(|other| other.client == line.client);
        if before.clone().any(|other| other.message == line.message && is_within_lifetime(other, line)) {
            continue;
        }
        let request = &line.message;
        let after = || {
            let after = lines.iter().enumerate().skip(at + 1);
            after.filter(|(_, other)| other.client == line.client && other.direction != line.direction)
        };
        let is_ack = |other: &Message| other.kind == Type::Acknowledgement && other.message_id == request.message_id;
        let acknowledged = after().find(|(_, other)| is_ack(&other.message) && other.message.code.is_empty());
        let response = after().find(|(_, other)| {
            let other = &other.message;
            other.code.is_response()
                && other.token == request.token
                && (other.kind != Type::Acknowledgement || is_ack(other))
        });
        let confirmed = response.and_then(|(from, response)| {
            let mut later = lines.iter().enumerate().skip(from + 1);
            later.find(|(_, other)| {
                let other_message = &other.message;
                other.client == line.client
                    && other.direction == line.direction
                    && other_message.kind == Type::Acknowledgement
                    && other_message.message_id == response.message.message_id
            })
        });
        all.push(Exchange {
            at,
            request,
            acknowledged: acknowledged.map(|(at, _)| at),
            response: response.map(|(at, line)| (at, &line.message)),
            confirmed: confirmed.map(|(at, _)| at),
        });
    }
    all
}

impl<'a> Exchange<'a> {
    pub(crate) fn path(&self) -> String {
        let segments = self.request.options.uri_path().map(String::from_utf8_lossy);
        segments.map(|segment| format!("/{segment}")).collect()
    }

    /// The response, of one of these codes.
    fn answered(&self, codes: &[Code]) -> Result<(usize, &'a Message), Finding> {
        let (at, response) = self.response.ok_or(Finding::Incomplete("a request without a response"))?;
        hold(codes.contains(&response.code), "the response has a code of the test", at)?;
        Ok((at, response))
    }
}

/// Content says in which format it is.
fn has_content(at: usize, response: &Message) -> Checked {
    hold(!response.payload.is_empty(), "the response has content", at)?;
    hold(response.options.content_format().is_some(), "content has a Content-Format", at)
}

fn has_format(at: usize, response: &Message, format: ContentFormat) -> Checked {
    hold(response.options.content_format() == Some(format), "the content is in the format that was asked for", at)
}
