//! As a client: request bodies that go block by block (RFC 7959 §2.5).

use super::blocks::*;
use super::*;

/// Bytes that differ from block to block.
fn body(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 16 + n) as u8).collect()
}

fn of_64() -> RequestOptions {
    RequestOptions::new().block_size(BlockSize::new(64).unwrap())
}

#[test]
fn a_long_body_goes_in_blocks_and_is_one_request() {
    let mut rig = Rig::new();
    let sent = body(2_500);
    let id = rig.put(sent.clone(), &RequestOptions::new());
    let (mut got, mut tokens) = (Vec::new(), Vec::new());
    for num in 0..3 {
        let (_, request) = rig.sent();
        rig.sent_nothing();
        assert_eq!(request.options.block1(), Block::new(num, num < 2, 6));
        assert_eq!(request.options.size1(), (num == 0).then_some(2_500));
        assert_eq!((request.code, request.options.block2()), (Code::PUT, None));
        assert!(!tokens.contains(&request.token));
        tokens.push(request.token.clone());
        got.extend_from_slice(&request.payload);
        let code = if num < 2 { Code::CONTINUE } else { Code::CHANGED };
        rig.answer_block1(&request, code, (num, num < 2, 6));
    }
    assert_eq!(got, sent);
    let (ended, response, _) = rig.response();
    assert_eq!((ended, response.code, response.options.is_empty()), (id, Code::CHANGED, true));
    rig.comes_to_rest();
}
