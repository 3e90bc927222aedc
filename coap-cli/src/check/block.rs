//! TD_COAP_BLOCK: transfers in blocks (RFC 7959), and whole bodies for other tests.

use bytes::Bytes;
use coap_core::{Block, Code, ContentFormat, Message, Type};

use super::wire::{Probe, name};
use super::{Outcome, Problem, expect, fail, inconclusive, unknown};

/// Blocks of 64 bytes.
pub(super) const SMALL: u8 = 2;

/// More blocks than any of the bodies here has.
const MOST_BLOCKS: u32 = 4_096;

pub(super) async fn perform(number: &str, probe: &mut Probe) -> Outcome {
    match number {
        "01" => early(probe, SMALL).await,
        "02" => late(probe).await,
        "03" => put(probe).await,
        "04" => create(probe).await,
        "05" => both_ways(probe).await,
        "06" => early(probe, 0).await,
        _ => Err(unknown()),
    }
}

/// A block whose numbers are from here or from the peer, and fit.
pub(super) fn block(num: u32, more: bool, szx: u8) -> Result<Block, Problem> {
    Block::new(num, more, szx).ok_or_else(|| fail(format_args!("block {num} of size exponent {szx} cannot be")))
}

async fn early(probe: &mut Probe, szx: u8) -> Outcome {
    let mut request = probe.get("/large");
    request.options.set_block2(block(0, false, szx)?);
    let first = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &first, &[Code::CONTENT])?;
    expect::content_format(&request, &first)?;
    if !has_more(&first) && first.payload.len() <= 16 << szx {
        return Err(inconclusive(format_args!("{}: the content fits into a block", name(&request))));
    }
    rest(probe, &request, first, szx).await.map(drop)
}

async fn late(probe: &mut Probe) -> Outcome {
    let request = probe.get("/large");
    let first = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &first, &[Code::CONTENT])?;
    expect::content_format(&request, &first)?;
    let Some(offered) = first.options.block2().filter(|block| block.more()) else {
        return Err(inconclusive(format_args!("{}: the content came as a whole", name(&request))));
    };
    if offered.num() != 0 {
        return Err(fail(format_args!("{}: the first block has the number {}", name(&request), offered.num())));
    }
    let smaller = offered.szx().min(SMALL);
    let whole = rest(probe, &request, first, offered.szx()).await?;
    let request = probe.get("/large");
    let first = probe.exchange(&request).await?.message;
    let again = rest(probe, &request, first, smaller).await?;
    if whole == again {
        return Ok(());
    }
    Err(fail(format_args!(
        "{}: {} bytes in blocks as offered, and others in smaller ones",
        name(&request),
        whole.len()
    )))
}

pub(super) fn has_more(message: &Message) -> bool {
    message.options.block2().is_some_and(Block::more)
}

/// The whole body of a response, of which the first block has come; asked for in blocks of `szx` or smaller.
pub(super) async fn rest(probe: &mut Probe, request: &Message, first: Message, szx: u8) -> Result<Vec<u8>, Problem> {
    let about = name(request);
    let mut body = Vec::new();
    let (mut last, mut szx) = (first, szx);
    let etag = last.options.etag();
    let code = last.code;
    // Where no size was asked for, the first block may have any.
    let mut largest = request.options.block2().map_or(Block::MAX_SZX, Block::szx);
    for _ in 0..MOST_BLOCKS {
        let Some(got) = last.options.block2() else {
            if body.is_empty() && last.payload.len() <= 16 << largest {
                return Ok(last.payload.to_vec());
            }
            return Err(fail(format_args!("{about}: a block is {} bytes without a Block2 option", last.payload.len())));
        };
        let (size, offset) = (got.size(), got.num() as usize * got.size());
        if got.szx() > largest {
            return Err(fail(format_args!(
                "{about}: blocks of {} bytes were asked for, and one of {size} came",
                16 << szx
            )));
        }
        if offset != body.len() {
            return Err(fail(format_args!(
                "{about}: byte {} was asked for, and block {} begins at {offset}",
                body.len(),
                got.num()
            )));
        }
        let fits = if got.more() { last.payload.len() == size } else { last.payload.len() <= size };
        if !fits {
            let which = if got.more() { "with more behind it" } else { "which is the last" };
            return Err(fail(format_args!(
                "{about}: block {}, {which}, has {} of {size} bytes",
                got.num(),
                last.payload.len()
            )));
        }
        body.extend_from_slice(&last.payload);
        if !got.more() {
            return Ok(body);
        }
        szx = szx.min(got.szx());
        largest = szx;
        let mut next = probe.request(request.kind, request.code, "");
        next.options = later_options(&request.options);
        next.options.set_block2(block((body.len() >> (szx + 4)) as u32, false, szx)?);
        last = probe.exchange(&next).await?.message;
        if last.code != code {
            return Err(fail(format_args!("{about}: a later block was answered {}", last.code)));
        }
        if last.options.etag() != etag {
            return Err(fail(format_args!("{about}: the ETag changed within a body")));
        }
    }
    Err(fail(format_args!("{about}: the body has no end")))
}

/// What a request for a later block has: no observation, and no content.
fn later_options(of: &coap_core::Options) -> coap_core::Options {
    let mut options = of.clone();
    for number in [coap_core::OptionNumber::OBSERVE, coap_core::OptionNumber::BLOCK1] {
        options.remove(number);
    }
    options
}

/// Sends a body in blocks, and takes the last response.
async fn upload(probe: &mut Probe, method: Code, path: &str, body: &[u8]) -> Result<(Message, Message), Problem> {
    let (mut offset, mut szx) = (0, SMALL);
    loop {
        let size = 16 << szx;
        let end = body.len().min(offset + size);
        let more = end < body.len();
        let mut request = probe.request(Type::Confirmable, method, path);
        request.options.set_content_format(ContentFormat::TEXT_PLAIN);
        request.options.set_block1(block((offset / size) as u32, more, szx)?);
        request.payload = Bytes::copy_from_slice(body.get(offset..end).unwrap_or_default());
        let answer = probe.exchange(&request).await?.message;
        if !more {
            return Ok((request, answer));
        }
        // 2.31 of a server that waits for the whole, or a success for each block (RFC 7959 §2.3).
        if !answer.code.is_success() {
            expect::code(probe, &request, &answer, &[Code::CONTINUE])?;
        }
        let about = name(&request);
        let sent = request.options.block1().map_or(0, Block::num);
        let Some(echo) = answer.options.block1() else {
            return Err(fail(format_args!("{about}: block {sent} was answered {} without Block1", answer.code)));
        };
        if echo.num() != sent || (answer.code == Code::CONTINUE) != echo.more() {
            let (num, more) = (echo.num(), echo.more());
            let code = answer.code;
            return Err(fail(format_args!(
                "{about}: block {sent} was answered {code} with Block1 {num}, more: {more}"
            )));
        }
        if echo.szx() > szx {
            return Err(fail(format_args!("{about}: blocks of {size} bytes were answered with larger ones")));
        }
        offset = end;
        szx = echo.szx();
    }
}

/// The Block1 option of the last response says that it was the last.
fn ends(request: &Message, answer: &Message) -> Outcome {
    let (sent, echo) = (request.options.block1(), answer.options.block1());
    let is_right = echo.is_some_and(|echo| Some(echo.num()) == sent.map(Block::num) && !echo.more());
    if is_right {
        Ok(())
    } else {
        Err(fail(format_args!("{}: the last block was answered without its Block1", name(request))))
    }
}

/// A text of some blocks that is another each time.
fn text(probe: &mut Probe, len: usize) -> Vec<u8> {
    let line = format!("{} is a line of this body, and so on. ", probe.message_id());
    line.bytes().cycle().take(len).collect()
}

async fn put(probe: &mut Probe) -> Outcome {
    let body = text(probe, 300);
    let (request, answer) = upload(probe, Code::PUT, "/large-update", &body).await?;
    expect::code(probe, &request, &answer, &[Code::CHANGED, Code::CREATED])?;
    ends(&request, &answer)?;
    same(probe, "/large-update", &body).await
}

/// What was sent is there.
async fn same(probe: &mut Probe, path: &str, body: &[u8]) -> Outcome {
    let request = probe.get(path);
    let first = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &first, &[Code::CONTENT])?;
    let got = rest(probe, &request, first, Block::MAX_SZX).await?;
    if got == body {
        return Ok(());
    }
    Err(fail(format_args!("{}: the {} bytes are not the {} that were sent", name(&request), got.len(), body.len())))
}

async fn create(probe: &mut Probe) -> Outcome {
    let body = text(probe, 300);
    let (request, answer) = upload(probe, Code::POST, "/large-create", &body).await?;
    expect::code(probe, &request, &answer, &[Code::CREATED])?;
    ends(&request, &answer)?;
    let location: String =
        answer.options.location_path().map(|segment| format!("/{}", String::from_utf8_lossy(segment))).collect();
    if location.is_empty() {
        return Err(fail(format_args!("{}: 2.01 without Location-Path", name(&request))));
    }
    same(probe, &location, &body).await?;
    let delete = probe.request(Type::Confirmable, Code::DELETE, &location);
    probe.exchange(&delete).await.map(drop)
}

async fn both_ways(probe: &mut Probe) -> Outcome {
    let body = text(probe, 1_500);
    let (request, answer) = upload(probe, Code::POST, "/large-post", &body).await?;
    expect::code(probe, &request, &answer, &[Code::CHANGED])?;
    ends(&request, &answer)?;
    if !has_more(&answer) {
        return Err(inconclusive(format_args!("{}: the response fits into a block", name(&request))));
    }
    rest(probe, &request, answer, Block::MAX_SZX).await.map(drop)
}
