//! What the tests ask of responses.

use coap_core::{Code, ContentFormat, Message, Type};

use super::wire::{Answer, Probe, name, path};
use super::{Problem, fail, inconclusive};

/// The response has one of these codes. What the server does not have is no fault, if it does not say that it has it.
pub(super) fn code(probe: &Probe, request: &Message, response: &Message, allowed: &[Code]) -> Result<(), Problem> {
    let got = response.code;
    if allowed.contains(&got) {
        return Ok(());
    }
    let lacks = [Code::NOT_FOUND, Code::METHOD_NOT_ALLOWED, Code::NOT_IMPLEMENTED].contains(&got);
    let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
    let text = format!("{} was answered {got}, not {}", name(request), allowed.join(" or "));
    Err(if lacks && !is_listed(probe, request) { inconclusive(text) } else { fail(text) })
}

/// The server says that it has the resource.
pub(super) fn is_listed(probe: &Probe, request: &Message) -> bool {
    probe.server.listed.contains(&path(request))
}

/// It came with the acknowledgement. A separate response is right too, but is not what most tests are about.
pub(super) fn piggybacked(request: &Message, answer: &Answer) -> Result<(), Problem> {
    if answer.message.kind == Type::Acknowledgement {
        return Ok(());
    }
    Err(inconclusive(format_args!("{} was answered separately", name(request))))
}

pub(super) fn kind(request: &Message, response: &Message, wanted: Type) -> Result<(), Problem> {
    if response.kind == wanted {
        return Ok(());
    }
    Err(fail(format_args!("{} was answered with a message of type {}, not {wanted}", name(request), response.kind)))
}

pub(super) fn content_format(request: &Message, response: &Message) -> Result<ContentFormat, Problem> {
    let format = response.options.content_format();
    format.ok_or_else(|| fail(format_args!("{}: the response has no Content-Format", name(request))))
}

/// There is content, and it has a format.
pub(super) fn content(request: &Message, response: &Message) -> Result<(), Problem> {
    content_format(request, response)?;
    if response.payload.is_empty() {
        return Err(fail(format_args!("{}: the response has no payload", name(request))));
    }
    Ok(())
}

/// If there is content, it has a format.
pub(super) fn content_if_any(request: &Message, response: &Message) -> Result<(), Problem> {
    if response.payload.is_empty() { Ok(()) } else { content(request, response) }
}

/// The values of a repeatable option are these.
pub(super) fn values<'a>(
    request: &Message,
    option: &str,
    got: impl Iterator<Item = &'a [u8]>,
    wanted: &[&str],
) -> Result<(), Problem> {
    let got: Vec<_> = got.map(String::from_utf8_lossy).collect();
    if got.iter().eq(wanted) {
        return Ok(());
    }
    Err(fail(format_args!("{}: {option} is {got:?}, not {wanted:?}", name(request))))
}
