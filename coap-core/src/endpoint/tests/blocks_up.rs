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

#[test]
fn a_body_of_one_block_goes_without_block1() {
    for len in [0, 1, 63, 64] {
        let mut rig = Rig::new();
        rig.put(body(len), &of_64());
        let (_, request) = rig.sent();
        assert_eq!((request.options.block1(), request.payload.len()), (None, len));
        assert_eq!(request.options.block2(), Block::new(0, false, 2));
    }
    let mut rig = Rig::new();
    rig.put(body(65), &of_64());
    let (_, first) = rig.sent();
    // The size for the response is named in the last block, which is the one that is responded to.
    assert_eq!((first.options.block1(), first.options.block2()), (Block::new(0, true, 2), None));
    rig.answer_block1(&first, Code::CONTINUE, (0, true, 2));
    let (_, last) = rig.sent();
    assert_eq!((last.options.block1(), last.options.block2()), (Block::new(1, false, 2), Block::new(0, false, 2)));
}

#[test]
fn blocks_are_small_enough_for_the_datagram() {
    let mut rig = Rig::with(Config::builder().max_datagram(200).build().unwrap());
    rig.put(body(1_000), &RequestOptions::new());
    let (_, request) = rig.sent();
    assert_eq!((request.options.block1(), request.payload.len()), (Block::new(0, true, 3), 128));
}

#[test]
fn a_smaller_size_of_the_server_is_taken_over_where_the_body_is() {
    let mut rig = Rig::new();
    rig.put(body(250), &RequestOptions::new().block_size(BlockSize::new(128).unwrap()));
    let (_, first) = rig.sent();
    rig.answer_block1(&first, Code::CONTINUE, (0, true, 1));
    let (_, second) = rig.sent();
    assert_eq!((second.options.block1(), &second.payload[..]), (Block::new(4, true, 1), &body(250)[128..160]));
    // The number is that of the request, whatever the size beside it.
    rig.answer_block1(&second, Code::CONTINUE, (4, true, 0));
    let (_, third) = rig.sent();
    assert_eq!((third.options.block1(), &third.payload[..]), (Block::new(10, true, 0), &body(250)[160..176]));
}

#[test]
fn too_large_with_a_smaller_size_starts_anew_with_it() {
    // Also where the first request had no Block1.
    for size in [256, 1_024] {
        let mut rig = Rig::new();
        rig.put(body(300), &RequestOptions::new().block_size(BlockSize::new(size).unwrap()));
        let (_, first) = rig.sent();
        assert_eq!(first.options.block1().is_some(), size == 256);
        rig.answer_block1(&first, Code::REQUEST_ENTITY_TOO_LARGE, (0, true, 2));
        let (_, anew) = rig.sent();
        assert_eq!((anew.options.block1(), anew.options.size1()), (Block::new(0, true, 2), Some(300)));
        assert_eq!(anew.payload[..], body(300)[..64]);
        // The same hint again is no hint.
        rig.answer_block1(&anew, Code::REQUEST_ENTITY_TOO_LARGE, (0, true, 2));
        assert_eq!(rig.response().1.code, Code::REQUEST_ENTITY_TOO_LARGE);
        rig.sent_nothing();
        rig.comes_to_rest();
    }
}

#[test]
fn too_large_without_a_hint_that_helps_is_the_response() {
    let mut rig = Rig::new();
    rig.put(body(50), &RequestOptions::new());
    let (_, request) = rig.sent();
    // The body is not longer than that.
    rig.answer_block1(&request, Code::REQUEST_ENTITY_TOO_LARGE, (0, true, 2));
    assert_eq!(rig.response().1.code, Code::REQUEST_ENTITY_TOO_LARGE);
    rig.put(body(5_000), &RequestOptions::new());
    let (_, request) = rig.sent();
    let mut options = Options::new();
    options.set_size1(2_000);
    rig.answer_with(&request, Code::REQUEST_ENTITY_TOO_LARGE, options, b"");
    assert_eq!(rig.response().1.options.size1(), Some(2_000));
    rig.comes_to_rest();
}

#[test]
fn an_incomplete_body_is_sent_anew_with_another_request_tag_and_at_last_given_up() {
    let mut rig = Rig::new();
    let id = rig.put(body(200), &of_64());
    let mut tags = Vec::new();
    for _ in 0..3 {
        let (_, first) = rig.sent();
        assert_eq!(first.options.block1(), Block::new(0, true, 2));
        let tag = first.options.get(OptionNumber::REQUEST_TAG).map(<[u8]>::to_vec);
        assert!(!tags.contains(&tag));
        tags.push(tag.clone());
        rig.answer_block1(&first, Code::CONTINUE, (0, true, 2));
        let (_, second) = rig.sent();
        assert_eq!(second.options.get(OptionNumber::REQUEST_TAG).map(<[u8]>::to_vec), tag);
        rig.answer_block1(&second, Code::REQUEST_ENTITY_INCOMPLETE, (1, true, 2));
    }
    let (ended, response, _) = rig.response();
    assert_eq!((ended, response.code), (id, Code::REQUEST_ENTITY_INCOMPLETE));
    rig.comes_to_rest();
}

#[test]
fn a_final_response_in_the_middle_ends_the_request() {
    for code in [Code::NOT_FOUND, Code::UNAUTHORIZED, Code::SERVICE_UNAVAILABLE] {
        let mut rig = Rig::new();
        rig.put(body(200), &of_64());
        let (_, first) = rig.sent();
        rig.answer_block1(&first, code, (0, true, 2));
        assert_eq!(rig.response().1.code, code);
        rig.sent_nothing();
        rig.comes_to_rest();
    }
}

#[test]
fn a_server_that_acts_block_by_block_gets_all_of_them() {
    let mut rig = Rig::new();
    rig.put(body(100), &of_64());
    let (_, first) = rig.sent();
    rig.answer_block1(&first, Code::CHANGED, (0, false, 2));
    let (_, last) = rig.sent();
    assert_eq!(last.options.block1(), Block::new(1, false, 2));
    rig.answer_block1(&last, Code::CHANGED, (1, false, 2));
    assert_eq!(rig.response().1.code, Code::CHANGED);
    rig.comes_to_rest();
}

#[test]
fn a_continue_for_another_block_or_for_the_last_one_fails_the_request() {
    for numbers in [(1, true, 2), (7, true, 2)] {
        let mut rig = Rig::new();
        rig.put(body(200), &of_64());
        let (_, first) = rig.sent();
        rig.answer_block1(&first, Code::CONTINUE, numbers);
        assert_eq!(rig.failure().1, Failure::Blockwise(BlockFailure::WrongBlock));
        rig.comes_to_rest();
    }
    let mut rig = Rig::new();
    rig.put(body(100), &of_64());
    let (_, first) = rig.sent();
    rig.answer_block1(&first, Code::CONTINUE, (0, true, 2));
    let (_, last) = rig.sent();
    rig.answer_block1(&last, Code::CONTINUE, (1, true, 2));
    assert_eq!(rig.failure().1, Failure::Blockwise(BlockFailure::WrongBlock));
    rig.comes_to_rest();
}

#[test]
fn both_bodies_in_blocks_are_one_exchange_after_the_other() {
    let mut rig = Rig::new();
    let mut options = path(&["a"]);
    options.set_content_format(ContentFormat::CBOR);
    rig.send_to(peer(1), Request::new(Code::POST).with_options(options).with_body(body(100)), &of_64());
    let (_, first) = rig.sent();
    rig.answer_block1(&first, Code::CONTINUE, (0, true, 2));
    let (_, last) = rig.sent();
    let mut options = Options::new();
    options.set_block1(block((1, false, 2)));
    options.set_block2(block((0, true, 2)));
    rig.answer_with(&last, Code::CHANGED, options, &[1; 64]);
    let (_, rest) = rig.sent();
    assert_eq!((rest.code, rest.options.block1(), rest.options.block2()), (Code::POST, None, Block::new(1, false, 2)));
    assert_eq!((rest.options.content_format(), rest.payload.len()), (Some(ContentFormat::CBOR), 0));
    let mut options = Options::new();
    options.set_block2(block((1, false, 2)));
    rig.answer_with(&rest, Code::CHANGED, options, b"end");
    let (_, response, _) = rig.response();
    assert_eq!((response.code, response.body.len()), (Code::CHANGED, 67));
    rig.comes_to_rest();
}

#[test]
fn the_last_block_of_what_must_not_be_done_twice_is_sent_in_one_exchange_only() {
    for (code, repeated) in [(Code::PUT, true), (Code::POST, false)] {
        let mut rig = Rig::new();
        rig.send_to(peer(1), Request::new(code).with_body(body(100)), &of_64());
        // The first block is sent again in any case.
        let (_, first) = rig.sent();
        let again = rig.silence(&first).unwrap();
        assert!(again.payload == first.payload && again.message_id != first.message_id);
        rig.answer_block1(&again, Code::CONTINUE, (0, true, 2));
        let (_, last) = rig.sent();
        let again = rig.silence(&last);
        assert_eq!(again.is_some(), repeated);
        if let Some(again) = again {
            assert!(again.options == last.options && again.token != last.token);
        } else {
            assert_eq!(rig.failure().1, Failure::NoAck);
        }
    }
}

#[test]
fn an_ordinary_request_is_sent_in_one_exchange_only() {
    let mut rig = Rig::new();
    rig.put(body(100), &RequestOptions::new());
    rig.pass(secs(94));
    assert_eq!(rig.failure().1, Failure::NoAck);
    assert_eq!(rig.sent.len(), 5);
}

#[test]
fn the_timeout_of_a_request_counts_for_all_of_its_blocks() {
    let mut rig = Rig::new();
    rig.put(body(200), &of_64().timeout(secs(100)));
    let (_, first) = rig.sent();
    rig.pass(secs(50));
    rig.sent.clear();
    rig.answer_block1(&first, Code::CONTINUE, (0, true, 2));
    rig.pass(secs(49));
    rig.said_nothing();
    rig.pass(secs(1));
    let (_, reason, timing) = rig.failure();
    assert_eq!((reason, timing.elapsed), (Failure::NoAck, secs(100)));
    rig.sent.clear();
    rig.comes_to_rest();
}

#[test]
fn bodies_under_way_to_one_resource_are_told_apart_by_request_tags() {
    let many = TransmissionParameters::builder().nstart(8).accept_congestion_risk().build().unwrap();
    let mut rig = Rig::with(Config::builder().transmission(many).build().unwrap());
    let mut tags = Vec::new();
    for _ in 0..3 {
        rig.put(body(200), &of_64());
        let (_, first) = rig.sent();
        assert!(!tags.contains(&tag(&first)));
        tags.push(tag(&first));
    }
    assert_eq!(tags[0], None);
    // To another resource, and with a tag of the caller's own, nothing is added.
    rig.send_to(peer(1), Request::new(Code::PUT).with_options(path(&["b"])).with_body(body(200)), &of_64());
    assert_eq!(tag(&rig.sent().1), None);
    for _ in 0..2 {
        let mut options = path(&["a"]);
        options.push(OptionNumber::REQUEST_TAG, b"mine").unwrap();
        rig.send_to(peer(1), Request::new(Code::PUT).with_options(options).with_body(body(200)), &of_64());
        assert_eq!(tag(&rig.sent().1), Some(b"mine".to_vec()));
    }
}

fn tag(message: &Message) -> Option<Vec<u8>> {
    message.options.get(OptionNumber::REQUEST_TAG).map(<[u8]>::to_vec)
}

#[test]
fn a_body_does_not_share_its_tag_with_one_that_was_given_up() {
    for cancelled in [true, false] {
        let mut rig = Rig::new();
        let id = rig.put(body(200), &of_64());
        let (_, first) = rig.sent();
        rig.answer_block1(&first, Code::CONTINUE, (0, true, 2));
        // The second block is on its way, and can arrive behind the first of the next body: nothing else would tell the server
        // that it does not belong to that.
        let (_, second) = rig.sent();
        if cancelled {
            rig.endpoint.cancel(rig.now, id);
        } else {
            rig.receive(peer(1), &empty(Type::Reset, second.message_id));
        }
        rig.put(body(200), &of_64());
        let (_, first) = rig.sent();
        assert!(tag(&first).is_some());
        // When the network has forgotten it, none is needed.
        rig.comes_to_rest();
        rig.put(body(200), &of_64());
        while let Some((_, bytes)) = rig.sent.pop_front() {
            let message = Message::decode(bytes.into()).unwrap();
            let anew = rig.sent.is_empty() && rig.now > Instant::from_secs(2_900);
            assert_eq!(tag(&message).is_none(), anew);
        }
    }
}

#[test]
fn short_requests_beside_a_response_in_blocks_are_told_apart_from_its_request() {
    let mut rig = Rig::new();
    let post = || Request::new(Code::POST).with_options(path(&["a"])).with_body(body(3));
    for _ in 0..2 {
        rig.send_to(peer(1), post(), &RequestOptions::new());
    }
    rig.send_to(peer(1), post().with_body(body(100)), &of_64());
    rig.send_to(
        peer(1),
        Request::new(Code::POST).with_options(path(&["b"])).with_body(body(3)),
        &RequestOptions::new(),
    );
    let (_, first) = rig.sent();
    assert_eq!(tag(&first), None);
    // A server keeps one response body for all that looks the same to it. One that has not been sent yet gets its tag now.
    rig.answer_block2(&first, (0, true, 0), &[1; 16]);
    let (_, second) = rig.sent();
    assert!(tag(&second).is_some() && second.payload.len() == 3);
    rig.send_to(peer(1), post(), &RequestOptions::new());
    rig.answer_with(&second, Code::CHANGED, Options::new(), b"");
    // A body in blocks had its own from the start, and keeps it.
    let (_, long) = rig.sent();
    rig.answer_block1(&long, Code::CONTINUE, (0, true, 2));
    let (_, other) = rig.sent();
    assert_eq!((tag(&other), other.options.uri_path().next()), (None, Some(&b"b"[..])));
    rig.answer_with(&other, Code::CHANGED, Options::new(), b"");
    let (_, rest) = rig.sent();
    assert_eq!((rest.options.block2(), tag(&rest)), (Block::new(1, false, 0), None));
    rig.answer_block2(&rest, (1, false, 0), b"!");
    let (_, third) = rig.sent();
    assert!(tag(&third).is_some() && tag(&third) != tag(&second));
    rig.answer_with(&third, Code::CHANGED, Options::new(), b"");
    let (_, last) = rig.sent();
    assert_eq!((last.options.block1(), tag(&last)), (Block::new(1, false, 2), tag(&long)));
    rig.comes_to_rest();
}

fn supply(rig: &mut Rig, id: RequestId, data: Vec<u8>, last: bool) -> Result<(), SupplyError> {
    let supplied = rig.endpoint.supply(rig.now, id.request_body(), data.into(), last);
    rig.drain();
    supplied
}

fn wanted(rig: &mut Rig, of: RequestId) -> (u64, usize) {
    match rig.event() {
        Event::BodyWanted { id, offset, max } if id == of.request_body() => (offset, max),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_body_in_parts_is_cut_into_blocks_as_it_comes() {
    let mut rig = Rig::new();
    let id = rig.put(Body::Parts { size: Some(150) }, &of_64());
    assert_eq!(wanted(&mut rig, id), (0, 128));
    rig.sent_nothing();
    let all = body(150);
    // One block exactly: it is not known yet whether it is the last.
    supply(&mut rig, id, all[..64].to_vec(), false).unwrap();
    rig.sent_nothing();
    assert_eq!(wanted(&mut rig, id), (64, 64));
    supply(&mut rig, id, all[64..100].to_vec(), false).unwrap();
    let (_, first) = rig.sent();
    assert_eq!((first.options.block1(), first.options.size1()), (Block::new(0, true, 2), Some(150)));
    assert_eq!(first.payload[..], all[..64]);
    assert_eq!(wanted(&mut rig, id), (100, 28));
    rig.answer_block1(&first, Code::CONTINUE, (0, true, 1));
    let (_, second) = rig.sent();
    assert_eq!((second.options.block1(), &second.payload[..]), (Block::new(2, true, 1), &all[64..96]));
    assert_eq!(wanted(&mut rig, id), (100, 28));
    rig.answer_block1(&second, Code::CONTINUE, (2, true, 1));
    rig.sent_nothing();
    assert_eq!(wanted(&mut rig, id), (100, 60));
    rig.pass(secs(1_000));
    supply(&mut rig, id, all[100..].to_vec(), true).unwrap();
    rig.said_nothing();
    assert_eq!(supply(&mut rig, id, vec![1], true), Err(SupplyError::Complete));
    let (_, third) = rig.sent();
    rig.answer_block1(&third, Code::CONTINUE, (3, true, 1));
    let (_, last) = rig.sent();
    assert_eq!((last.options.block1(), &last.payload[..]), (Block::new(4, false, 1), &all[128..]));
    rig.answer_block1(&last, Code::CHANGED, (4, false, 1));
    assert_eq!(rig.response().0, id);
    assert_eq!(supply(&mut rig, id, vec![1], true), Err(SupplyError::Stale));
    rig.comes_to_rest();
}

#[test]
fn a_body_in_parts_that_fits_into_a_block_goes_without_block1_and_with_the_token_that_was_pinned() {
    let mut rig = Rig::new();
    let token = Token::new(&[7]).unwrap();
    let id = rig.put(Body::Parts { size: None }, &RequestOptions::new().token(token.clone()));
    wanted(&mut rig, id);
    supply(&mut rig, id, body(30), true).unwrap();
    let (_, request) = rig.sent();
    assert_eq!((request.options.block1(), request.token.clone(), request.payload.len()), (None, token, 30));
    rig.answer_with(&request, Code::CHANGED, Options::new(), b"");
    assert_eq!(rig.response().0, id);
    rig.comes_to_rest();
}

#[test]
fn more_than_a_few_blocks_are_not_taken_ahead() {
    let mut rig = Rig::new();
    let id = rig.put(Body::Parts { size: None }, &RequestOptions::new());
    wanted(&mut rig, id);
    assert_eq!(supply(&mut rig, id, vec![1; 16_385], false), Err(SupplyError::TooMuch { max: 16_384 }));
    supply(&mut rig, id, vec![1; 16_000], false).unwrap();
    assert_eq!(supply(&mut rig, id, vec![1; 385], false), Err(SupplyError::TooMuch { max: 384 }));
    // An early answer ends it, and nothing more is wanted.
    let (_, first) = rig.sent();
    rig.answer_with(&first, Code::NOT_FOUND, Options::new(), b"");
    assert_eq!(rig.response().1.code, Code::NOT_FOUND);
    assert_eq!(supply(&mut rig, id, vec![1], true), Err(SupplyError::Stale));
    rig.said_nothing();
    rig.comes_to_rest();
}

#[test]
fn an_upload_in_parts_is_cancelled_in_any_state() {
    for supplied in [0, 64, 65, 200] {
        for answered in [false, true] {
            let mut rig = Rig::new();
            let id = rig.put(Body::Parts { size: None }, &of_64());
            let other = rig.get(peer(1));
            supply(&mut rig, id, body(supplied), false).unwrap();
            let (_, first) = rig.sent();
            if answered {
                rig.answer_with(&first, Code::CONTENT, Options::new(), b"");
            }
            assert!(rig.endpoint.cancel(rig.now, id));
            assert_eq!(supply(&mut rig, id, vec![1], true), Err(SupplyError::Stale));
            rig.endpoint.cancel(rig.now, other);
            rig.sent.clear();
            rig.comes_to_rest();
        }
    }
}

#[test]
fn what_cannot_be_a_body_of_this_request_is_refused() {
    let mut rig = Rig::new();
    let range = Body::Range { offset: 0, data: Bytes::new(), size: None };
    let mut raw = Options::new();
    raw.set_block1(block((1, true, 0)));
    let group = Peer::from("[ff02::fd]:5683".parse::<SocketAddr>().unwrap());
    let parts = Body::Parts { size: None };
    let post = || Request::new(Code::POST);
    for (to, request) in [
        (peer(1), Request { body: range, ..post() }),
        (peer(1), Request { body: parts.clone(), options: raw, ..post() }),
        (group, Request { body: parts, ..post() }),
    ] {
        let refused = rig.endpoint.request(rig.now, to, request, &RequestOptions::new().non_confirmable());
        assert_eq!(refused, Err(RequestError::WrongBody));
    }
    let long = post().with_body(vec![0; 17 << 20]);
    let how = RequestOptions::new().block_size(BlockSize::MIN);
    assert_eq!(rig.endpoint.request(rig.now, peer(1), long, &how), Err(RequestError::TooManyBlocks));
    assert_eq!(rig.endpoint.usage(), Usage::default());
}

#[test]
fn a_pinned_token_is_there_for_the_first_block_however_its_bytes_come() {
    let mut rig = Rig::new();
    let pinned = Token::new(b"mine").unwrap();
    let id = rig.put(Body::Parts { size: None }, &of_64().token(pinned.clone()));
    for part in [10, 20] {
        supply(&mut rig, id, body(part), false).unwrap();
        rig.sent_nothing();
    }
    supply(&mut rig, id, body(50), false).unwrap();
    assert_eq!(rig.sent().1.token, pinned);
}

#[test]
fn what_is_supplied_after_the_answer_has_begun_goes_nowhere() {
    let mut rig = Rig::new();
    let id = rig.put(Body::Parts { size: None }, &of_64().in_parts());
    supply(&mut rig, id, body(150), false).unwrap();
    rig.events.clear();
    // Refused with a long text, which comes in parts.
    let (_, first) = rig.sent();
    let mut options = Options::new();
    options.set_block2(block((0, true, 0)));
    rig.answer_with(&first, Code::FORBIDDEN, options.clone(), &[b'a'; 16]);
    let (_, ahead) = rig.sent();
    options.set_block2(block((1, true, 0)));
    rig.answer_with(&ahead, Code::FORBIDDEN, options, &[b'b'; 16]);
    rig.events.clear();
    // The application has two blocks to read. It would lose one if a third was asked for.
    assert_eq!(supply(&mut rig, id, body(100), false), Err(SupplyError::Stale));
    rig.sent_nothing();
    rig.said_nothing();
}

#[test]
fn a_later_block_that_never_had_its_turn_leaves_a_request_without_a_response() {
    let mut rig = Rig::with(Config::builder().block_attempts(1).response_timeout(secs(9)).build().unwrap());
    // Part of it was sent: that it never was would be a lie.
    rig.put(body(200), &of_64());
    let (_, first) = rig.sent();
    rig.get(peer(1));
    rig.answer_block1(&first, Code::CONTINUE, (0, true, 2));
    rig.pass(secs(9));
    assert_eq!(rig.failure().1, Failure::NoResponse);
}

#[test]
fn a_request_that_has_no_room_for_a_tag_goes_without() {
    let mut rig = Rig::with(Config::builder().max_datagram(64).build().unwrap());
    let post = || Request::new(Code::POST).with_options(path(&["a".repeat(47).as_str()]));
    for (number, how) in [of_64(), of_64(), RequestOptions::new()].into_iter().enumerate() {
        let how = how.token(Token::new(&[number as u8; 8]).unwrap());
        rig.send_to(peer(1), post(), &how);
        if number == 0 {
            let (_, first) = rig.sent();
            rig.answer_block2(&first, (0, true, 0), &[1; 16]);
            let (_, rest) = rig.sent();
            assert_eq!(rest.options.block2(), Block::new(1, false, 0));
            rig.sent.push_back((peer(1), encode(&rest)));
        }
    }
    let (_, rest) = rig.sent();
    rig.answer_block2(&rest, (1, false, 0), b"!");
    for number in 1..3 {
        let (_, message) = rig.sent();
        assert_eq!((message.token.as_bytes(), tag(&message)), (&[number; 8][..], None));
        rig.answer_with(&message, Code::CHANGED, Options::new(), b"");
    }
    rig.comes_to_rest();
}
