//! CORE and LINK: single requests and their responses.

use core::ops::RangeInclusive;

use coap_core::{Code, ContentFormat, OptionNumber, Type};

use super::{Checked, Exchange, Finding, exchanges, faulty, has_content, has_format, hold, present};
use crate::transcript::Transcript;

/// How the response comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    OnTheAcknowledgement,
    Separately,
    NonConfirmable,
}

/// The request of a test and its response.
struct Rule {
    way: Way,
    method: Code,
    path: &'static str,
    token: RangeInclusive<usize>,
    codes: &'static [Code],
}

const CHANGED: &[Code] = &[Code::CHANGED, Code::CREATED];
const CONTENT: &[Code] = &[Code::CONTENT];
const VALIDATED: &[Code] = &[Code::CONTENT, Code::VALID];
const CONDITIONAL: &[Code] = &[Code::CHANGED, Code::CREATED, Code::PRECONDITION_FAILED];

fn rule(test: &str) -> Option<Rule> {
    use Way::{NonConfirmable, OnTheAcknowledgement, Separately};
    let (way, method, path, codes) = match test {
        "CORE_01" | "CORE_10" | "CORE_12" | "CORE_15" => (OnTheAcknowledgement, Code::GET, "/test", CONTENT),
        "CORE_02" => (OnTheAcknowledgement, Code::DELETE, "/test", &[Code::DELETED][..]),
        "CORE_03" => (OnTheAcknowledgement, Code::PUT, "/test", CHANGED),
        "CORE_04" => (OnTheAcknowledgement, Code::POST, "/test", CHANGED),
        "CORE_05" => (NonConfirmable, Code::GET, "/test", CONTENT),
        "CORE_06" => (NonConfirmable, Code::DELETE, "/test", &[Code::DELETED][..]),
        "CORE_07" => (NonConfirmable, Code::PUT, "/test", CHANGED),
        "CORE_08" => (NonConfirmable, Code::POST, "/test", CHANGED),
        "CORE_09" | "CORE_11" | "CORE_16" => (Separately, Code::GET, "/separate", CONTENT),
        "CORE_13" => (OnTheAcknowledgement, Code::GET, "/seg1/seg2/seg3", CONTENT),
        "CORE_14" => (OnTheAcknowledgement, Code::GET, "/query", CONTENT),
        "CORE_17" => (NonConfirmable, Code::GET, "/separate", CONTENT),
        "CORE_18" => (OnTheAcknowledgement, Code::POST, "/test", &[Code::CREATED][..]),
        "CORE_19" => (OnTheAcknowledgement, Code::POST, "/location-query", &[Code::CREATED][..]),
        "CORE_20" => (OnTheAcknowledgement, Code::GET, "/multi-format", CONTENT),
        "CORE_21" => (OnTheAcknowledgement, Code::GET, "/validate", VALIDATED),
        "CORE_22" => (OnTheAcknowledgement, Code::PUT, "/validate", CONDITIONAL),
        "CORE_23" => (OnTheAcknowledgement, Code::PUT, "/create1", CONDITIONAL),
        _ if test.starts_with("LINK_") && test != "LINK_09" => {
            (OnTheAcknowledgement, Code::GET, "/.well-known/core", CONTENT)
        }
        _ => return None,
    };
    let token = match test {
        "CORE_10" | "CORE_11" => 1..=8,
        "CORE_12" => 0..=0,
        _ => 0..=8,
    };
    Some(Rule { way, method, path, token, codes })
}

pub(super) fn check(transcript: &Transcript) -> Checked {
    let test = transcript.test.as_str();
    if test == "CORE_31" {
        return check_ping(transcript);
    }
    let rule = rule(test).ok_or(Finding::Incomplete("no rules for this test"))?;
    let all = exchanges(&transcript.lines);
    let meant: Vec<_> =
        all.iter().filter(|exchange| exchange.request.code == rule.method && exchange.path() == rule.path).collect();
    present(!meant.is_empty(), "the request of the test is not there")?;
    for exchange in &meant {
        check_request(test, &rule, exchange)?;
        let (at, response) = exchange.answered(rule.codes)?;
        check_way(&rule, exchange, at)?;
        if response.code == Code::CONTENT {
            has_content(at, response)?;
        }
        check_options(test, exchange, at)?;
    }
    check_series(test, &meant)
}

fn check_request(test: &str, rule: &Rule, exchange: &Exchange<'_>) -> Checked {
    let Exchange { at, request, .. } = *exchange;
    let kind = if rule.way == Way::NonConfirmable { Type::NonConfirmable } else { Type::Confirmable };
    hold(request.kind == kind, "the request has the type of the test", at)?;
    hold(rule.token.contains(&request.token.len()), "the token has a length of the test", at)?;
    let sends = matches!(rule.method, Code::PUT | Code::POST) && !request.payload.is_empty();
    let named = !sends || request.options.content_format().is_some();
    match test {
        "CORE_03" | "CORE_04" => hold(named, "content that is sent has a Content-Format", at)?,
        _ => present(named, "content was sent without a Content-Format")?,
    }
    match test {
        "CORE_14" => hold(request.options.uri_query().count() >= 2, "there are several query arguments", at),
        _ => Ok(()),
    }
}

fn check_way(rule: &Rule, exchange: &Exchange<'_>, at: usize) -> Checked {
    let Some((_, response)) = exchange.response else { return Ok(()) };
    match rule.way {
        Way::OnTheAcknowledgement => {
            hold(response.kind == Type::Acknowledgement, "the response rides on the acknowledgement", at)
        }
        Way::Separately => {
            hold(response.kind == Type::Confirmable, "the response is a Confirmable message of its own", at)?;
            // A lossy network may have taken either acknowledgement.
            present(exchange.acknowledged.is_some(), "no Empty acknowledgement of the request")?;
            present(exchange.confirmed.is_some(), "no acknowledgement of the response")
        }
        Way::NonConfirmable => {
            hold(response.kind == Type::NonConfirmable, "the response to a NON request is NON", at)?;
            match exchange.acknowledged {
                Some(acknowledged) => Err(faulty("a NON request is not acknowledged", acknowledged)),
                None => Ok(()),
            }
        }
    }
}

fn check_options(test: &str, exchange: &Exchange<'_>, at: usize) -> Checked {
    let Some((_, response)) = exchange.response else { return Ok(()) };
    let (asked, given) = (&exchange.request.options, &response.options);
    match test {
        "CORE_18" => {
            let location = given.location_path();
            hold(location.eq([&b"location1"[..], b"location2", b"location3"]), "the location is that of the test", at)
        }
        "CORE_19" => {
            let location = given.location_query();
            hold(location.eq([&b"first=1"[..], b"second=2"]), "the location is that of the test", at)
        }
        "CORE_20" => asked.accept().map_or(Ok(()), |format| has_format(at, response, format)),
        "CORE_21" => {
            let etag = given.get(OptionNumber::ETAG);
            hold(etag.is_some(), "the response has an ETag", at)?;
            let known = asked.get_all(OptionNumber::ETAG).any(|known| Some(known) == etag);
            hold(
                known == (response.code == Code::VALID),
                "2.03 is said of an ETag that was sent, and only of such",
                at,
            )?;
            hold(response.code != Code::VALID || response.payload.is_empty(), "2.03 has no content", at)
        }
        _ if test.starts_with("LINK_") => has_format(at, response, ContentFormat::LINK_FORMAT),
        _ => Ok(()),
    }
}

/// What the requests of a test give together.
fn check_series(test: &str, meant: &[&Exchange<'_>]) -> Checked {
    let code_of = |exchange: &&Exchange<'_>| exchange.response.map(|(_, response)| response.code);
    let codes = || meant.iter().filter_map(code_of);
    match test {
        "CORE_21" => present(codes().any(|code| code == Code::VALID), "no 2.03"),
        "CORE_22" => {
            let condition = meant.iter().any(|exchange| exchange.request.options.contains(OptionNumber::IF_MATCH));
            present(condition, "no If-Match")?;
            present(codes().any(|code| code == Code::PRECONDITION_FAILED), "no 4.12")
        }
        "CORE_23" => {
            let conditional = || meant.iter().filter(|exchange| exchange.request.options.if_none_match());
            for (n, exchange) in conditional().enumerate() {
                let expected = if n == 0 { Code::CREATED } else { Code::PRECONDITION_FAILED };
                exchange.answered(&[expected])?;
            }
            present(conditional().count() >= 2, "If-None-Match was not sent twice")
        }
        _ => Ok(()),
    }
}

fn check_ping(transcript: &Transcript) -> Checked {
    let lines = &transcript.lines;
    let ping = lines.iter().position(|line| line.message.kind == Type::Confirmable && line.message.code.is_empty());
    let ping = ping.ok_or(Finding::Incomplete("no ping"))?;
    let answer = lines[ping + 1..].iter().position(|line| line.message.message_id == lines[ping].message.message_id);
    let answer = ping + 1 + answer.ok_or(Finding::Incomplete("no answer to the ping"))?;
    hold(lines[answer].message.kind == Type::Reset, "a ping is answered by a Reset", answer)
}
