//! As a client: response bodies that come block by block (RFC 7959 §2.4).

use super::blocks::*;
use super::*;

#[test]
fn a_response_in_blocks_is_one_response() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, first) = rig.sent();
    assert_eq!(first.options.block2(), None);
    rig.answer_block2(&first, (0, true, 2), &[b'A'; 64]);
    let (_, second) = rig.sent();
    assert_eq!(second.options.block2(), Block::new(1, false, 2));
    assert_eq!(second.options.uri_path().collect::<Vec<_>>(), [b"a"]);
    assert!(second.token != first.token && second.message_id != first.message_id && second.payload.is_empty());
    rig.said_nothing();
    rig.answer_block2(&second, (1, false, 2), b"BBB");
    let (ended, response, _) = rig.response();
    assert_eq!((ended, response.code, response.body.len()), (id, Code::CONTENT, 67));
    assert!(response.body.as_bytes().ends_with(b"ABBB") && response.options.block2().is_none());
    rig.said_nothing();
    rig.comes_to_rest();
}
