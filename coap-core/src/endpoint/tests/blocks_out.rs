//! Response bodies that go in blocks (RFC 7959 §2.4), as a server.

use super::*;

const ACK: Type = Type::Acknowledgement;

/// A request with a Block2 option, and one without.
fn ask(message_id: u16, code: Code, block2: Option<(u32, bool, u8)>) -> Vec<u8> {
    let mut options = path(&["large"]);
    if let Some((num, more, szx)) = block2 {
        options.set_block2(Block::new(num, more, szx).unwrap());
    }
    encode(&Message {
        kind: Type::Confirmable,
        code,
        message_id,
        token: Token::new(&message_id.to_be_bytes()).unwrap(),
        options,
        payload: Bytes::new(),
    })
}

fn get(message_id: u16, block2: Option<(u32, bool, u8)>) -> Vec<u8> {
    ask(message_id, Code::GET, block2)
}

fn block_of(message: &Message) -> Option<(u32, bool, u8)> {
    message.options.block2().map(|block| (block.num(), block.more(), block.szx()))
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 7) as u8).collect()
}

#[test]
fn a_long_response_goes_in_blocks_and_the_application_is_asked_once() {
    let mut rig = Rig::new();
    let large = body(2_500);
    rig.receive(peer(1), &get(1, None));
    let request = rig.handed_up();
    assert_eq!(request.wanted, Wanted { offset: 0, max: 1_024 });
    rig.respond(request.id, Response::content(ContentFormat::OCTET_STREAM, large.clone()));
    let (_, first) = rig.sent();
    assert_eq!((first.kind, first.code, block_of(&first)), (ACK, Code::CONTENT, Some((0, true, 6))));
    assert_eq!((first.options.size2(), first.payload.len()), (Some(2_500), 1_024));
    let etag = first.options.etag();

    let mut joined = first.payload.to_vec();
    for num in 1..3 {
        rig.receive(peer(1), &get(1 + num as u16, Some((num, false, 6))));
        let (_, next) = rig.sent();
        assert_eq!((next.kind, next.code, block_of(&next)), (ACK, Code::CONTENT, Some((num, num < 2, 6))));
        assert!(etag.is_some() && next.options.etag() == etag);
        assert_eq!(next.options.content_format(), Some(ContentFormat::OCTET_STREAM));
        assert!(!next.options.contains(OptionNumber::SIZE2));
        joined.extend_from_slice(&next.payload);
    }
    assert_eq!(joined, large);
    rig.said_nothing();
    rig.comes_to_rest();
}

#[test]
fn the_peer_chooses_a_smaller_block_at_first_or_later() {
    let mut rig = Rig::new();
    let large = body(500);
    // The M bit means nothing in a request.
    rig.receive(peer(1), &get(1, Some((0, true, 2))));
    let request = rig.handed_up();
    assert_eq!(request.wanted, Wanted { offset: 0, max: 64 });
    rig.respond(request.id, Response::content(ContentFormat::OCTET_STREAM, large.clone()));
    let (_, first) = rig.sent();
    assert_eq!((block_of(&first), first.payload.len()), (Some((0, true, 2)), 64));
    rig.receive(peer(1), &get(2, Some((4, false, 0))));
    let (_, next) = rig.sent();
    assert_eq!((block_of(&next), &next.payload[..]), (Some((4, true, 0)), &large[64..80]));
    rig.receive(peer(1), &get(3, Some((31, true, 0))));
    let (_, last) = rig.sent();
    assert_eq!((block_of(&last), &last.payload[..]), (Some((31, false, 0)), &large[496..]));
    rig.said_nothing();
}
