//! TD_COAP_CORE: messages, methods, and the options of RFC 7252.

use core::time::Duration;

use bytes::Bytes;
use coap_core::{Code, ContentFormat, ETag, Message, OptionNumber, Type};
use tokio::time::Instant;

use super::wire::{Answer, PATIENCE, Probe, name, token};
use super::{Outcome, Problem, expect, fail, inconclusive, unknown};

/// Eight bytes: as long as a token can be.
const LONG_TOKEN: [u8; 8] = [0xc0, 0xff, 0xee, 0x00, 0x0d, 0xca, 0xfe, 0x01];

pub(super) async fn perform(number: &str, probe: &mut Probe) -> Outcome {
    let (con, non) = (Type::Confirmable, Type::NonConfirmable);
    match number {
        "01" => method(probe, con, Code::GET).await,
        "02" => method(probe, con, Code::DELETE).await,
        "03" => method(probe, con, Code::PUT).await,
        "04" => method(probe, con, Code::POST).await,
        "05" => method(probe, non, Code::GET).await,
        "06" => method(probe, non, Code::DELETE).await,
        "07" => method(probe, non, Code::PUT).await,
        "08" => method(probe, non, Code::POST).await,
        "09" => separate(probe, None).await,
        "10" => with_token(probe, &LONG_TOKEN).await,
        "11" => separate(probe, Some(&LONG_TOKEN)).await,
        "12" => with_token(probe, &[]).await,
        "13" => get(probe, "/seg1/seg2/seg3", &[]).await,
        "14" => get(probe, "/query", &["first=1", "second=2", "third=3"]).await,
        "15" => lost_response(probe).await,
        "16" => lost_separate(probe).await,
        "17" => separate_non(probe).await,
        "18" => location_path(probe).await,
        "19" => location_query(probe).await,
        "20" => accept(probe).await,
        "21" => etag(probe).await,
        "22" => if_match(probe).await,
        "23" => if_none_match(probe).await,
        "31" => ping(probe).await,
        _ => Err(unknown()),
    }
}

/// A request with content for PUT and POST.
pub(super) fn with_text(mut request: Message, text: &str) -> Message {
    request.options.set_content_format(ContentFormat::TEXT_PLAIN);
    request.payload = Bytes::copy_from_slice(text.as_bytes());
    request
}

async fn method(probe: &mut Probe, kind: Type, method: Code) -> Outcome {
    let mut request = probe.request(kind, method, "/test");
    if matches!(method, Code::PUT | Code::POST) {
        request = with_text(request, "a test");
    }
    let answer = probe.exchange(&request).await?;
    let allowed: &[Code] = match method {
        Code::GET => &[Code::CONTENT],
        Code::DELETE => &[Code::DELETED],
        _ => &[Code::CHANGED, Code::CREATED],
    };
    expect::code(probe, &request, &answer.message, allowed)?;
    if kind == Type::Confirmable {
        expect::piggybacked(&request, &answer)?;
    } else {
        expect::kind(&request, &answer.message, Type::NonConfirmable)?;
    }
    if method == Code::GET {
        expect::content(&request, &answer.message)
    } else {
        expect::content_if_any(&request, &answer.message)
    }
}

async fn with_token(probe: &mut Probe, bytes: &[u8]) -> Outcome {
    let mut request = probe.get("/test");
    request.token = token(bytes);
    let answer = probe.exchange(&request).await?;
    expect::code(probe, &request, &answer.message, &[Code::CONTENT])?;
    expect::piggybacked(&request, &answer)?;
    expect::content(&request, &answer.message)
}

async fn get(probe: &mut Probe, path: &str, query: &[&str]) -> Outcome {
    let mut request = probe.get(path);
    for argument in query {
        let _ = request.options.push_uri_query(argument);
    }
    let answer = probe.exchange(&request).await?;
    expect::code(probe, &request, &answer.message, &[Code::CONTENT])?;
    expect::piggybacked(&request, &answer)?;
    expect::content(&request, &answer.message)
}

async fn separate(probe: &mut Probe, bytes: Option<&[u8]>) -> Outcome {
    let mut request = probe.get("/separate");
    if let Some(bytes) = bytes {
        request.token = token(bytes);
    }
    let answer = probe.exchange(&request).await?;
    expect::code(probe, &request, &answer.message, &[Code::CONTENT])?;
    is_separate(&request, &answer)?;
    expect::content(&request, &answer.message)
}

fn is_separate(request: &Message, answer: &Answer) -> Outcome {
    expect::kind(request, &answer.message, Type::Confirmable)?;
    if answer.acknowledged {
        return Ok(());
    }
    Err(fail(format_args!("{} was answered separately, and not acknowledged before", name(request))))
}

async fn separate_non(probe: &mut Probe) -> Outcome {
    let request = probe.request(Type::NonConfirmable, Code::GET, "/separate");
    let answer = probe.exchange(&request).await?;
    expect::code(probe, &request, &answer.message, &[Code::CONTENT])?;
    expect::kind(&request, &answer.message, Type::NonConfirmable)?;
    expect::content(&request, &answer.message)
}

/// The client has not seen the response, and asks again with the same Message ID.
async fn lost_response(probe: &mut Probe) -> Outcome {
    let request = probe.get("/test");
    let first = probe.exchange(&request).await?;
    expect::code(probe, &request, &first.message, &[Code::CONTENT])?;
    expect::piggybacked(&request, &first)?;
    probe.send(&request).await?;
    let until = Instant::now() + PATIENCE;
    let Some(second) = probe.receive(until).await? else {
        return Err(fail(format_args!("{} came twice, and was answered once", name(&request))));
    };
    let same = |message: &Message| (message.kind, message.code, message.message_id, message.token.clone());
    if same(&second) != same(&first.message) {
        return Err(fail(format_args!("{} came twice, and the second answer is another: {second}", name(&request))));
    }
    Ok(())
}

/// The first acknowledgement of the request is lost, and the first of the response.
async fn lost_separate(probe: &mut Probe) -> Outcome {
    let request = probe.get("/separate");
    let about = name(&request);
    probe.send(&request).await?;
    let until = Instant::now() + PATIENCE;
    let mut acknowledgements = 0;
    let first = loop {
        let Some(message) = probe.receive(until).await? else {
            return Err(fail(format_args!("{about} was not answered")));
        };
        match message.kind {
            Type::Acknowledgement if message.code == Code::EMPTY => {
                acknowledgements += 1;
                if acknowledgements == 1 {
                    probe.send(&request).await?;
                }
            }
            Type::Acknowledgement => {
                expect::code(probe, &request, &message, &[Code::CONTENT])?;
                return Err(fail(format_args!("{about} was answered with the acknowledgement")));
            }
            _ => break message,
        }
    };
    expect::code(probe, &request, &first, &[Code::CONTENT])?;
    expect::kind(&request, &first, Type::Confirmable)?;
    let Some(second) = probe.receive(Instant::now() + PATIENCE).await? else {
        return Err(fail(format_args!("the response to {about} was not acknowledged, and did not come again")));
    };
    let same = |message: &Message| (message.kind, message.code, message.message_id, message.token.clone());
    if same(&second) != same(&first) {
        return Err(fail(format_args!("the response to {about} came again as another: {second}")));
    }
    probe.take(&second).await?;
    // The next retransmission would come 4 to 6 s after the last.
    match probe.receive(Instant::now() + Duration::from_millis(6_500)).await? {
        Some(more) => Err(fail(format_args!("the response to {about} was acknowledged, and then came {more}"))),
        None => Ok(()),
    }
}

async fn location_path(probe: &mut Probe) -> Outcome {
    let request = probe.request(Type::Confirmable, Code::POST, "/test");
    let request = with_text(request, "a test");
    let answer = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &answer, &[Code::CREATED])?;
    let wanted = ["location1", "location2", "location3"];
    expect::values(&request, "Location-Path", answer.options.location_path(), &wanted)
}

async fn location_query(probe: &mut Probe) -> Outcome {
    let request = probe.request(Type::Confirmable, Code::POST, "/location-query");
    let request = with_text(request, "a test");
    let answer = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &answer, &[Code::CREATED])?;
    expect::values(&request, "Location-Query", answer.options.location_query(), &["first=1", "second=2"])
}

async fn accept(probe: &mut Probe) -> Outcome {
    for wanted in [ContentFormat::TEXT_PLAIN, ContentFormat::XML] {
        let mut request = probe.get("/multi-format");
        request.options.set_accept(wanted);
        let answer = probe.exchange(&request).await?.message;
        expect::code(probe, &request, &answer, &[Code::CONTENT])?;
        expect::content(&request, &answer)?;
        let format = expect::content_format(&request, &answer)?;
        if format != wanted {
            return Err(fail(format_args!("{} with Accept {wanted} was answered in {format}", name(&request))));
        }
    }
    Ok(())
}

/// The state of `/validate`, and its entity-tag.
async fn validated(probe: &mut Probe) -> Result<(ETag, Bytes), Problem> {
    let request = probe.get("/validate");
    let answer = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &answer, &[Code::CONTENT])?;
    expect::content(&request, &answer)?;
    let etag = answer.options.etag();
    let etag = etag.ok_or_else(|| fail(format_args!("{}: the response has no ETag", name(&request))))?;
    Ok((etag, answer.payload))
}

/// Changes it, as another client would. False: the server does not take that, but may have changed it by itself.
async fn change(probe: &mut Probe, text: &str) -> Result<bool, Problem> {
    let request = probe.request(Type::Confirmable, Code::PUT, "/validate");
    let request = with_text(request, text);
    Ok(probe.exchange(&request).await?.message.code == Code::CHANGED)
}

/// Of a server that keeps its state a later one cannot be asked for.
fn unchangeable() -> Problem {
    inconclusive("PUT /validate was not answered 2.04, and the content is as it was")
}

async fn etag(probe: &mut Probe) -> Outcome {
    let (etag, old) = validated(probe).await?;
    let mut request = probe.get("/validate");
    request.options.push_etag(&etag);
    let valid = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &valid, &[Code::VALID])?;
    if valid.options.etag().as_ref() != Some(&etag) || !valid.payload.is_empty() {
        return Err(fail(format_args!("{} with its ETag: a 2.03 has that ETag, and no payload", name(&request))));
    }
    let new = format!("{} is new", probe.message_id());
    let is_changed = change(probe, &new).await?;
    if !is_changed && validated(probe).await? == (etag.clone(), old.clone()) {
        return Err(unchangeable());
    }
    let mut request = probe.get("/validate");
    request.options.push_etag(&etag);
    let changed = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &changed, &[Code::CONTENT])?;
    let got = changed.options.etag();
    if got.is_none() || got == Some(etag) {
        return Err(fail(format_args!("{}: the content changed, and the ETag did not", name(&request))));
    }
    let is_right = if is_changed { changed.payload == new } else { changed.payload != old };
    if is_right { Ok(()) } else { Err(fail(format_args!("{}: the content is not that of the PUT", name(&request)))) }
}

async fn if_match(probe: &mut Probe) -> Outcome {
    let (first, _) = validated(probe).await?;
    let put = |probe: &mut Probe, etag: &ETag, text: &str| {
        let mut request = probe.request(Type::Confirmable, Code::PUT, "/validate");
        request.options.push_if_match(etag);
        with_text(request, text)
    };
    let text = format!("{} is mine", probe.message_id());
    let request = put(probe, &first, &text);
    let answer = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &answer, &[Code::CHANGED])?;
    let (second, content) = validated(probe).await?;
    if second == first || content != text {
        return Err(fail("PUT /validate with If-Match was answered 2.04, and ETag and content are not new"));
    }
    let theirs = format!("{} is theirs", probe.message_id());
    let is_changed = change(probe, &theirs).await?;
    if !is_changed && validated(probe).await? == (second.clone(), content) {
        return Err(unchangeable());
    }
    let request = put(probe, &second, "too late");
    let answer = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &answer, &[Code::PRECONDITION_FAILED])?;
    let (_, content) = validated(probe).await?;
    let is_kept = if is_changed { content == theirs } else { content != "too late" };
    if is_kept { Ok(()) } else { Err(fail("PUT /validate was answered 4.12, and changed the content")) }
}

async fn if_none_match(probe: &mut Probe) -> Outcome {
    let delete = probe.request(Type::Confirmable, Code::DELETE, "/create1");
    // An earlier run may have left it.
    probe.exchange(&delete).await?;
    for (text, wanted) in [("new", Code::CREATED), ("newer", Code::PRECONDITION_FAILED)] {
        let mut request = probe.request(Type::Confirmable, Code::PUT, "/create1");
        let _ = request.options.push(OptionNumber::IF_NONE_MATCH, &[]);
        let request = with_text(request, text);
        let answer = probe.exchange(&request).await?.message;
        expect::code(probe, &request, &answer, &[wanted])?;
    }
    let get = probe.get("/create1");
    if probe.exchange(&get).await?.message.payload == "newer" {
        return Err(fail("PUT /create1 was answered 4.12, and changed the content"));
    }
    let delete = probe.request(Type::Confirmable, Code::DELETE, "/create1");
    probe.exchange(&delete).await.map(drop)
}

async fn ping(probe: &mut Probe) -> Outcome {
    let id = probe.message_id();
    let ping = Message::empty(Type::Confirmable, id);
    probe.send(&ping).await?;
    let Some(answer) = probe.receive(Instant::now() + PATIENCE).await? else {
        return Err(fail("an Empty Confirmable message was not answered"));
    };
    let right = Message::empty(Type::Reset, id);
    if answer == right {
        Ok(())
    } else {
        Err(fail(format_args!("an Empty Confirmable message was answered {answer}, not {right}")))
    }
}
