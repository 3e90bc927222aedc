//! BLOCK: bodies in blocks (RFC 7959).

use coap_core::{Block, Code, Message};

use super::{Checked, Exchange, Finding, exchanges, hold, present};
use crate::transcript::Transcript;

pub(super) fn check(transcript: &Transcript) -> Checked {
    let all = exchanges(&transcript.lines);
    match transcript.test.as_str() {
        test @ ("BLOCK_01" | "BLOCK_02" | "BLOCK_06") => check_download(test, &all),
        "BLOCK_03" | "BLOCK_04" | "BLOCK_05" => check_upload(&all),
        _ => Err(Finding::Incomplete("no rules for this test")),
    }
}

fn check_download(test: &str, all: &[Exchange<'_>]) -> Checked {
    let blocks: Vec<_> = all.iter().filter(|exchange| exchange.path() == "/large").collect();
    let first = blocks.first().ok_or(Finding::Incomplete("the request of the test is not there"))?;
    let asked_early = first.request.options.block2().is_some();
    match test {
        "BLOCK_02" => hold(!asked_early, "the client leaves the size to the server", first.at)?,
        "BLOCK_06" => {
            let size = first.request.options.block2().map(|block| block.size());
            hold(size.is_none_or(|size| size == 16), "blocks have 16 bytes", first.at)?;
        }
        _ => {}
    }
    let (mut next, mut complete) = (0, false);
    for exchange in &blocks {
        let asked = exchange.request.options.block2();
        if let Some(asked) = asked {
            hold(asked.offset() == next, "blocks are asked for in order", exchange.at)?;
        }
        let (at, response) = exchange.answered(&[Code::CONTENT])?;
        let Some(block) = response.options.block2() else {
            present(false, "a response without a block")?;
            continue;
        };
        check_block(at, asked, block, response)?;
        next = block.offset() + response.payload.len() as u64;
        complete = !block.more();
    }
    present(complete, "no last block")
}

fn check_block(at: usize, asked: Option<Block>, block: Block, response: &Message) -> Checked {
    if let Some(asked) = asked {
        hold(block.szx() <= asked.szx(), "a block is not larger than asked for", at)?;
        hold(block.offset() == asked.offset(), "a block is the one that was asked for", at)?;
    }
    let (size, len) = (block.size(), response.payload.len());
    let fits = if block.more() { len == size } else { len <= size };
    hold(fits, "a block has its size", at)
}

fn check_upload(all: &[Exchange<'_>]) -> Checked {
    let mut complete = false;
    for exchange in all {
        let Some(sent) = exchange.request.options.block1() else { continue };
        let codes = [Code::CONTINUE, Code::CHANGED, Code::CREATED];
        let (at, response) = exchange.answered(&codes)?;
        let echo = response.options.block1();
        hold(echo.is_some_and(|echo| echo.num() == sent.num()), "the block of an upload is echoed", at)?;
        let fits = !sent.more() || exchange.request.payload.len() == sent.size();
        hold(fits, "a block has its size", exchange.at)?;
        hold(sent.more() || response.code != Code::CONTINUE, "an upload ends with its last block", at)?;
        complete = !sent.more();
    }
    present(complete, "no last block")
}
