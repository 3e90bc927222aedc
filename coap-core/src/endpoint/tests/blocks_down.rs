//! As a client: response bodies that come block by block (RFC 7959 §2.4).

use super::blocks::*;
use super::*;
use crate::message::Blocks;

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

#[test]
fn the_block_size_of_the_endpoint_or_the_request_is_named_in_the_request() {
    let config = Config::builder().block_size(BlockSize::new(256)).build().unwrap();
    let mut rig = Rig::with(config);
    rig.get(peer(1));
    assert_eq!(rig.sent().1.options.block2(), Block::new(0, false, 4));
    rig.request(peer(2), &RequestOptions::new().block_size(BlockSize::new(32).unwrap()));
    assert_eq!(rig.sent().1.options.block2(), Block::new(0, false, 1));
    // A Block2 option of the caller with the number 0 says the same.
    let mut options = path(&["a"]);
    options.set_block2(block((0, false, 0)));
    rig.send_to(peer(3), Request::get().with_options(options), &RequestOptions::new());
    let (_, request) = rig.sent();
    assert_eq!(request.options.block2(), Block::new(0, false, 0));
}

#[test]
fn a_server_that_chooses_smaller_blocks_is_followed_and_one_that_chooses_larger_ones_is_not() {
    let mut rig = Rig::new();
    rig.request(peer(1), &RequestOptions::new().block_size(BlockSize::new(64).unwrap()));
    let (_, first) = rig.sent();
    rig.answer_block2(&first, (0, true, 1), &[1; 32]);
    let (_, second) = rig.sent();
    assert_eq!(second.options.block2(), Block::new(1, false, 1));
    // It changes its mind in the middle: the same byte under another number.
    rig.answer_block2(&second, (2, true, 0), &[2; 16]);
    let (_, third) = rig.sent();
    assert_eq!(third.options.block2(), Block::new(3, false, 0));
    rig.answer_block2(&third, (3, false, 0), &[3; 16]);
    assert_eq!(rig.response().1.body.as_bytes(), [[1; 16], [1; 16], [2; 16], [3; 16]].concat());

    rig.request(peer(1), &RequestOptions::new().block_size(BlockSize::new(32).unwrap()));
    let (_, first) = rig.sent();
    rig.answer_block2(&first, (0, true, 2), &[1; 64]);
    assert_eq!(rig.sent().1.options.block2(), Block::new(2, false, 1));
}

#[test]
fn what_does_not_fit_is_never_joined() {
    let wrong: [(Numbers, usize, BlockFailure); 6] = [
        ((2, true, 2), 64, BlockFailure::WrongBlock),
        ((0, true, 2), 64, BlockFailure::WrongBlock),
        ((1, true, 1), 32, BlockFailure::WrongBlock),
        ((1, true, 2), 63, BlockFailure::WrongLength),
        ((1, true, 2), 65, BlockFailure::WrongLength),
        ((1, false, 2), 65, BlockFailure::WrongLength),
    ];
    for (numbers, len, reason) in wrong {
        let mut rig = Rig::new();
        let id = rig.get(peer(1));
        let (_, first) = rig.sent();
        rig.answer_block2(&first, (0, true, 2), &[1; 64]);
        let (_, second) = rig.sent();
        rig.answer_block2(&second, numbers, &vec![2; len]);
        let (failed, why, _) = rig.failure();
        assert_eq!((failed, why), (id, Failure::Blockwise(reason)), "{numbers:?}");
        rig.pass(secs(10));
        rig.sent_nothing();
        rig.comes_to_rest();
    }
    // The first one, too; and a success without a block, where one was asked for.
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.answer_block2(&first, (0, true, 2), &[1; 60]);
    assert_eq!(rig.failure().1, Failure::Blockwise(BlockFailure::WrongLength));
    rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.answer_block2(&first, (0, true, 2), &[1; 64]);
    let (_, second) = rig.sent();
    rig.answer_with(&second, Code::CONTENT, Options::new(), b"all of it");
    assert_eq!(rig.failure().1, Failure::Blockwise(BlockFailure::WrongBlock));
    rig.comes_to_rest();
}

#[test]
fn an_error_in_the_middle_is_the_response() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.answer_block2(&first, (0, true, 2), &[1; 64]);
    let (_, second) = rig.sent();
    rig.answer_with(&second, Code::NOT_FOUND, Options::new(), b"gone");
    let (ended, response, _) = rig.response();
    assert_eq!((ended, response.code, response.body.as_bytes()), (id, Code::NOT_FOUND, &b"gone"[..]));
    rig.comes_to_rest();
}

#[test]
fn a_content_that_changes_is_fetched_anew_and_never_joined() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.answer_tagged(&first, b"1", (0, true, 0), &[1; 16]);
    let (_, second) = rig.sent();
    rig.answer_tagged(&second, b"2", (1, false, 0), &[2; 16]);
    let (_, anew) = rig.sent();
    assert_eq!(anew.options, path(&["a"]));
    rig.answer_tagged(&anew, b"2", (0, true, 0), &[2; 16]);
    let (_, last) = rig.sent();
    rig.answer_tagged(&last, b"2", (1, false, 0), &[2; 16]);
    let (_, response, _) = rig.response();
    assert_eq!((response.body.as_bytes(), response.options.etag()), (&[2; 32][..], ETag::new(b"2")));
    rig.comes_to_rest();
}

#[test]
fn a_content_that_goes_on_changing_ends_the_request() {
    for (config, restarts) in
        [(Config::default(), 2), (Config::builder().on_change(OnChange::Fail).build().unwrap(), 0)]
    {
        let mut rig = Rig::with(config);
        rig.get(peer(1));
        for _ in 0..=restarts {
            let (_, first) = rig.sent();
            rig.answer_tagged(&first, b"1", (0, true, 0), &[1; 16]);
            let (_, second) = rig.sent();
            // Without a tag it is not the same content either.
            rig.answer_block2(&second, (1, false, 0), &[2; 16]);
        }
        assert_eq!(rig.failure().1, Failure::Blockwise(BlockFailure::Changed));
        rig.sent_nothing();
        rig.comes_to_rest();
    }
}

#[test]
fn a_body_over_the_limit_ends_the_request() {
    // Said in advance.
    let mut rig = Rig::new();
    rig.request(peer(1), &RequestOptions::new().max_body(100));
    let (_, first) = rig.sent();
    let mut options = Options::new();
    options.set_block2(block((0, true, 2)));
    options.set_size2(u32::MAX);
    rig.answer_with(&first, Code::CONTENT, options, &[1; 64]);
    assert_eq!(rig.failure().1, Failure::Blockwise(BlockFailure::TooLarge { limit: 100 }));
    rig.sent_nothing();
    // Endless.
    rig.request(peer(1), &RequestOptions::new().max_body(100));
    let mut num = 0;
    while let Some((_, bytes)) = rig.sent.pop_front() {
        let request = Message::decode(bytes.into()).unwrap();
        rig.answer_block2(&request, (num, true, 1), &[1; 32]);
        num += 1;
    }
    assert_eq!(num, 4);
    assert_eq!(rig.failure().1, Failure::Blockwise(BlockFailure::TooLarge { limit: 100 }));
    // All bodies together.
    let mut rig = Rig::with(Config::builder().max_transfer_bytes(100).build().unwrap());
    for n in 1..=2 {
        rig.get(peer(n));
    }
    let ((_, one), (_, two)) = (rig.sent(), rig.sent());
    rig.answer_block2(&one, (0, true, 2), &[1; 64]);
    assert_eq!(rig.endpoint.usage().transfer_bytes, 64);
    rig.receive(peer(2), &encode(&reply(&two, Code::CONTENT, one_block(), &[1; 64])));
    assert_eq!(rig.failure().1, Failure::Blockwise(BlockFailure::NoRoom));
    rig.comes_to_rest();
}

fn one_block() -> Options {
    let mut options = Options::new();
    options.set_block2(block((0, true, 2)));
    options
}

#[test]
fn a_block_that_stays_unanswered_is_asked_for_again_with_another_message_id_and_token() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.answer_block2(&first, (0, true, 0), &[1; 16]);
    let mut ids = Vec::new();
    let mut request = rig.sent().1;
    for attempt in 0..3 {
        assert_eq!(request.options.block2(), Block::new(1, false, 0));
        assert!(ids.iter().all(|(id, token)| *id != request.message_id && *token != request.token));
        ids.push((request.message_id, request.token.clone()));
        rig.said_nothing();
        if attempt == 1 {
            // An acknowledgement, and no response.
            rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
        }
        let Some(next) = rig.silence(&request) else { break };
        request = next;
    }
    assert_eq!(ids.len(), 3);
    let (failed, reason, _) = rig.failure();
    assert_eq!((failed, reason, rig.endpoint.stats().blocks_repeated), (id, Failure::NoAck, 2));
    assert_eq!(rig.endpoint.stats().unacknowledged_requests, 1);
    rig.comes_to_rest();
}

#[test]
fn a_late_response_to_an_earlier_exchange_changes_nothing() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.answer_block2(&first, (0, true, 0), &[1; 16]);
    let (_, second) = rig.sent();
    rig.receive(peer(1), &empty(Type::Acknowledgement, second.message_id));
    let again = rig.silence(&second).unwrap();
    // The separate response comes after all, and is nobody's any more.
    let mut late = reply(&second, Code::CONTENT, Options::new(), &[9; 16]);
    (late.kind, late.message_id) = (Type::Confirmable, 0x7777);
    late.options.set_block2(block((1, false, 0)));
    rig.receive(peer(1), &encode(&late));
    assert_eq!(rig.sent_bytes(), hex!("70 00 7777"));
    // So is a second copy of the first one.
    rig.answer_block2(&first, (0, true, 0), &[9; 16]);
    rig.sent_nothing();
    rig.said_nothing();
    rig.answer_block2(&again, (1, false, 0), &[2; 16]);
    assert_eq!(rig.response().1.body.as_bytes(), [[1; 16], [2; 16]].concat());
    rig.comes_to_rest();
}

#[test]
fn separate_and_non_confirmable_responses_carry_blocks_too() {
    for how in [RequestOptions::new(), RequestOptions::new().non_confirmable()] {
        for kind in [Type::Confirmable, Type::NonConfirmable] {
            let mut rig = Rig::new();
            rig.request(peer(1), &how);
            for num in 0..3 {
                let (_, request) = rig.sent();
                if request.kind == Type::Confirmable {
                    rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
                }
                let mut response = reply(&request, Code::CONTENT, Options::new(), &[num as u8; 16]);
                (response.kind, response.message_id) = (kind, 100 + num as u16);
                response.options.set_block2(block((num, num < 2, 0)));
                rig.receive(peer(1), &encode(&response));
                if kind == Type::Confirmable {
                    assert_eq!(rig.sent().1, Message::empty(Type::Acknowledgement, 100 + num as u16));
                }
            }
            assert_eq!(rig.response().1.body.len(), 48);
            rig.comes_to_rest();
        }
    }
}

#[test]
fn observe_is_not_repeated_and_every_other_option_is() {
    let mut rig = Rig::new();
    let mut options = path(&["a"]);
    options.set_observe(0);
    options.set_accept(ContentFormat::JSON);
    rig.send_to(peer(1), Request::get().with_options(options), &RequestOptions::new());
    let (_, first) = rig.sent();
    rig.answer_block2(&first, (0, true, 0), &[1; 16]);
    let (_, second) = rig.sent();
    assert_eq!((second.options.observe(), second.options.accept()), (None, Some(ContentFormat::JSON)));
}

#[test]
fn a_block_that_the_caller_asks_for_is_handed_up_as_it_is() {
    let mut rig = Rig::new();
    let mut options = path(&["a"]);
    options.set_block2(block((7, false, 0)));
    rig.send_to(peer(1), Request::get().with_options(options), &RequestOptions::new());
    let (_, request) = rig.sent();
    rig.answer_block2(&request, (7, true, 0), &[1; 16]);
    let (_, response, _) = rig.response();
    assert_eq!((response.options.block2(), response.body.len()), (Block::new(7, true, 0), 16));
    rig.comes_to_rest();
}

#[test]
fn other_requests_have_their_turn_between_the_blocks() {
    let mut rig = Rig::new();
    let long = rig.get(peer(1));
    let other = rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.sent_nothing();
    rig.answer_block2(&first, (0, true, 0), &[1; 16]);
    let (_, request) = rig.sent();
    rig.sent_nothing();
    assert_eq!(request.options.block2(), None);
    assert!(matches!(rig.endpoint.place(long), Some(Place::Waiting { ahead: 0, why: Why::Nstart })));
    rig.answer_with(&request, Code::CONTENT, Options::new(), b"x");
    assert_eq!(rig.response().0, other);
    let (_, second) = rig.sent();
    rig.answer_block2(&second, (1, false, 0), &[1; 16]);
    assert_eq!(rig.response().0, long);
    rig.comes_to_rest();
}

/// The next part, as where it starts, how long it is, and whether it is the last.
fn part(rig: &mut Rig, of: RequestId) -> (u64, usize, bool) {
    match rig.event() {
        Event::BodyPart { id, offset, data, last } if id == of.response_body() => (offset, data.len(), last),
        other => panic!("{other:?}"),
    }
}

fn consume(rig: &mut Rig, of: RequestId) -> bool {
    let consumed = rig.endpoint.consumed(rig.now, of.response_body());
    rig.drain();
    consumed
}

#[test]
fn parts_are_told_one_by_one_with_one_block_fetched_ahead() {
    let mut rig = Rig::new();
    let id = rig.request(peer(1), &RequestOptions::new().in_parts());
    let (_, first) = rig.sent();
    let mut options = Options::new();
    options.set_block2(block((0, true, 0)));
    options.set_size2(40);
    rig.answer_with(&first, Code::CONTENT, options, &[1; 16]);
    let (_, response, _) = rig.response();
    assert_eq!(response.body, Body::Parts { size: Some(40) });
    assert_eq!(part(&mut rig, id), (0, 16, false));
    let (_, second) = rig.sent();
    rig.answer_block2(&second, (1, true, 0), &[2; 16]);
    // That is one ahead. It stays so, however long the application takes.
    rig.pass(secs(1_000));
    rig.sent_nothing();
    rig.said_nothing();
    assert_eq!(rig.endpoint.place(id), Some(Place::Paused));
    assert!(consume(&mut rig, id));
    assert_eq!(part(&mut rig, id), (16, 16, false));
    let (_, third) = rig.sent();
    assert!(consume(&mut rig, id) && !consume(&mut rig, id));
    rig.said_nothing();
    rig.answer_block2(&third, (2, false, 0), &[3; 8]);
    assert_eq!(part(&mut rig, id), (32, 8, true));
    assert!(!consume(&mut rig, id));
    assert_eq!(rig.endpoint.usage().requests, 0);
    rig.comes_to_rest();
}

#[test]
fn a_body_in_parts_that_is_one_block_is_whole() {
    let mut rig = Rig::new();
    rig.request(peer(1), &RequestOptions::new().in_parts());
    let (_, request) = rig.sent();
    rig.answer_block2(&request, (0, false, 6), b"short");
    assert_eq!(rig.response().1.body.as_bytes(), b"short");
    rig.comes_to_rest();
}

#[test]
fn a_body_in_parts_that_does_not_come_to_its_end_says_why() {
    let begin = || {
        let mut rig = Rig::new();
        let id = rig.request(peer(1), &RequestOptions::new().in_parts().timeout(secs(500)));
        let (_, first) = rig.sent();
        rig.answer_tagged(&first, b"1", (0, true, 0), &[1; 16]);
        rig.response();
        part(&mut rig, id);
        let (_, second) = rig.sent();
        (rig, id, second)
    };
    let ended = |mut rig: Rig, of: RequestId| {
        let Event::BodyFailed { id, reason } = rig.event() else { panic!() };
        assert_eq!(id, of.response_body());
        assert!(!consume(&mut rig, of));
        rig.comes_to_rest();
        reason
    };
    let (mut rig, id, second) = begin();
    rig.answer_tagged(&second, b"2", (1, false, 0), &[2; 16]);
    assert_eq!(ended(rig, id), Failure::Blockwise(BlockFailure::Changed));
    let (mut rig, id, second) = begin();
    rig.answer_with(&second, Code::NOT_FOUND, Options::new(), b"");
    assert_eq!(ended(rig, id), Failure::Blockwise(BlockFailure::Refused(Code::NOT_FOUND)));
    let (mut rig, id, second) = begin();
    rig.receive(peer(1), &empty(Type::Reset, second.message_id));
    assert_eq!(ended(rig, id), Failure::Reset);
    let (mut rig, id, second) = begin();
    rig.answer_tagged(&second, b"1", (1, true, 0), &[2; 16]);
    // The application does not consume what it has.
    rig.pass(secs(501));
    assert_eq!(ended(rig, id), Failure::NoResponse);
}

#[test]
fn a_cancelled_transfer_leaves_nothing_in_any_state() {
    for answers in 0..4 {
        for how in [RequestOptions::new(), RequestOptions::new().in_parts()] {
            let mut rig = Rig::new();
            let (id, mut other) = (rig.request(peer(1), &how), None);
            for num in 0..answers {
                let Some((_, bytes)) = rig.sent.pop_front() else { break };
                let request = Message::decode(bytes.into()).unwrap();
                other = other.or_else(|| Some(rig.get(peer(1))));
                rig.answer_block2(&request, (num, true, 0), &[1; 16]);
                if let Some((_, bytes)) = rig.sent.pop_front() {
                    let request = Message::decode(bytes.into()).unwrap();
                    if request.options.block2().is_none() {
                        rig.answer_with(&request, Code::CONTENT, Options::new(), b"");
                    }
                }
            }
            assert!(rig.endpoint.cancel(rig.now, id) && !rig.endpoint.cancel(rig.now, id));
            rig.drain();
            rig.events.clear();
            rig.comes_to_rest();
            assert!(!rig.events.iter().any(|event| matches!(event, Event::BodyFailed { .. })));
        }
    }
}

#[test]
fn an_interrupted_download_goes_on_where_it_was() {
    let mut rig = Rig::new();
    let how = RequestOptions::new().block_size(BlockSize::MIN).resume(40, ETag::new(b"1").unwrap());
    let id = rig.request(peer(1), &how);
    let (_, request) = rig.sent();
    assert_eq!(request.options.block2(), Block::new(2, false, 0));
    rig.answer_tagged(&request, b"1", (2, true, 0), &[3; 16]);
    assert!(rig.response().1.body.is_in_parts());
    assert_eq!(part(&mut rig, id), (32, 16, false));
    let (_, next) = rig.sent();
    assert_eq!(next.options.block2(), Block::new(3, false, 0));
    rig.answer_tagged(&next, b"1", (3, false, 0), &[4; 2]);
    assert!(consume(&mut rig, id));
    assert_eq!(part(&mut rig, id), (48, 2, true));
    rig.comes_to_rest();
}

#[test]
fn a_download_of_what_is_not_there_any_more_starts_from_the_beginning() {
    let how = RequestOptions::new().resume(1_024, ETag::new(b"1").unwrap());
    for code in [Code::CONTENT, Code::REQUEST_ENTITY_INCOMPLETE, Code::BAD_OPTION] {
        let mut rig = Rig::new();
        let id = rig.request(peer(1), &how);
        let (_, request) = rig.sent();
        assert_eq!(request.options.block2(), Block::new(1, false, 6));
        match code {
            Code::CONTENT => rig.answer_tagged(&request, b"2", (1, true, 6), &[9; 1_024]),
            code => rig.answer_with(&request, code, Options::new(), b""),
        }
        let (_, anew) = rig.sent();
        assert_eq!(anew.options.block2(), None);
        rig.said_nothing();
        rig.answer_tagged(&anew, b"2", (0, true, 0), &[2; 16]);
        assert!(rig.response().1.body.is_in_parts());
        assert_eq!(part(&mut rig, id), (0, 16, false));
    }
}

#[test]
fn progress_is_told_where_it_was_asked_for() {
    let mut rig = Rig::new();
    let id = rig.request(peer(1), &RequestOptions::new().report_progress());
    for num in 0..2 {
        let (_, request) = rig.sent();
        rig.answer_block2(&request, (num, num < 1, 0), &[1; 16]);
        let Event::Progress { id: of, received, .. } = rig.event() else { panic!() };
        assert_eq!((of, received.0), (id, 16 * (u64::from(num) + 1)));
    }
    assert_eq!(rig.response().0, id);
    rig.comes_to_rest();
}

#[test]
fn the_rest_of_a_notification_is_fetched_unseen() {
    let mut rig = Rig::new();
    let parent = rig.get(peer(1));
    let (_, registration) = rig.sent();
    rig.receive(peer(1), &empty(Type::Acknowledgement, registration.message_id));
    let first = Message { payload: Bytes::from(vec![1; 16]), ..Message::empty(Type::NonConfirmable, 1) };
    let mut first = Message { code: Code::CONTENT, ..first };
    first.options.set_block2(block((0, true, 0)));
    for cancelled in [true, false] {
        let child = rig
            .endpoint
            .fetch_rest(rig.now, parent.0, Code::GET, &path(&["a"]), Blocks::default(), first.clone())
            .unwrap();
        rig.drain();
        let (_, second) = rig.sent();
        assert_eq!(second.options.block2(), Block::new(1, false, 0));
        assert_eq!(rig.endpoint.usage().transfer_bytes, 16);
        if cancelled {
            assert!(rig.endpoint.cancel(rig.now, RequestId(child)));
        } else {
            rig.answer_block2(&second, (1, false, 0), b"");
        }
        assert_eq!((rig.endpoint.usage().transfer_bytes, rig.endpoint.usage().requests), (0, 1));
        rig.said_nothing();
    }
    // What makes no sense leaves nothing.
    first.payload = Bytes::new();
    let refused = rig.endpoint.fetch_rest(rig.now, parent.0, Code::GET, &path(&["a"]), Blocks::default(), first);
    assert_eq!(refused.err(), Some(Failure::Blockwise(BlockFailure::WrongLength)));
    assert_eq!(rig.endpoint.usage().transfer_bytes, 0);
}

#[test]
fn the_rest_of_a_notification_has_no_other_tag_than_its_request() {
    let mut rig = Rig::new();
    let parent = rig.get(peer(1));
    let (_, registration) = rig.sent();
    rig.receive(peer(1), &empty(Type::Acknowledgement, registration.message_id));
    // A FETCH beside it, which looks the same.
    let fetch = Request::new(Code::FETCH).with_options(path(&["a"])).with_body(vec![1; 3]);
    rig.send_to(peer(1), fetch, &RequestOptions::new());
    let (_, other) = rig.sent();
    let mut first = Message { payload: Bytes::from(vec![1; 16]), ..Message::empty(Type::NonConfirmable, 1) };
    first.code = Code::CONTENT;
    first.options.set_block2(block((0, true, 0)));
    rig.endpoint.fetch_rest(rig.now, parent.0, Code::FETCH, &path(&["a"]), Blocks::default(), first).unwrap();
    rig.answer_with(&other, Code::CONTENT, Options::new(), b"");
    let (_, rest) = rig.sent();
    assert_eq!((rest.code, rest.options.block2()), (Code::FETCH, Block::new(1, false, 0)));
    assert!(!rest.options.contains(OptionNumber::REQUEST_TAG));
}
