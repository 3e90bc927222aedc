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

/// What a group is sent is not limited to what its asker has paid for: another test is about that.
fn unlimited() -> Config {
    Config::builder().unproven_limit(UnprovenLimit::Off).build().unwrap()
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

fn respond_large(rig: &mut Rig, len: usize) -> Vec<u8> {
    let large = body(len);
    let id = rig.handed_up().id;
    rig.respond(id, Response::content(ContentFormat::OCTET_STREAM, large.clone()));
    large
}

#[test]
fn there_is_no_block_behind_the_end() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &get(1, None));
    respond_large(&mut rig, 1_280);
    rig.sent();
    for (id, num) in [(2, 2), (3, Block::MAX_NUM)] {
        rig.receive(peer(1), &get(id, Some((num, false, 6))));
        assert_eq!(rig.sent().1.code, Code::BAD_REQUEST);
    }
    // Nor if nothing is kept.
    rig.receive(peer(2), &get(1, Some((Block::MAX_NUM, false, 6))));
    let request = rig.handed_up();
    assert_eq!(request.wanted, Wanted { offset: u64::from(Block::MAX_NUM) * 1_024, max: 1_024 });
    rig.respond(request.id, content("short"));
    let (_, refused) = rig.sent();
    assert_eq!((refused.code, block_of(&refused)), (Code::BAD_REQUEST, None));
    rig.comes_to_rest();
}

#[test]
fn the_first_block_is_always_the_applications() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &get(1, None));
    respond_large(&mut rig, 1_500);
    rig.sent();
    rig.receive(peer(1), &get(2, Some((0, false, 6))));
    let id = rig.handed_up().id;
    rig.respond(id, content("short now"));
    let (_, whole) = rig.sent();
    assert_eq!((block_of(&whole), &whole.payload[..]), (Some((0, false, 6)), &b"short now"[..]));
    // What was kept is out of date.
    rig.receive(peer(1), &get(3, Some((1, false, 6))));
    assert_eq!(rig.handed_up().wanted, Wanted { offset: 1_024, max: 1_024 });
    assert_eq!(rig.endpoint.usage().transfers, 0);
}

#[test]
fn without_memory_each_block_is_asked_of_the_application() {
    let config = Config::builder().max_transfers(0).build().unwrap();
    let mut rig = Rig::with(config);
    rig.receive(peer(1), &get(1, None));
    let large = respond_large(&mut rig, 2_500);
    let (_, first) = rig.sent();
    let mut joined = first.payload.to_vec();
    for num in 1..3 {
        rig.receive(peer(1), &get(1 + num as u16, Some((num, false, 6))));
        respond_large(&mut rig, 2_500);
        let (_, next) = rig.sent();
        assert_eq!((block_of(&next), next.options.etag()), (Some((num, num < 2, 6)), first.options.etag()));
        joined.extend_from_slice(&next.payload);
    }
    assert_eq!(joined, large);
    assert_eq!(rig.endpoint.stats().bodies_unkept, 2);
    rig.comes_to_rest();
}

#[test]
fn what_is_not_safe_is_not_asked_for_again() {
    let mut rig = Rig::new();
    // A FETCH comes without its content for later blocks: asked again it would be another question.
    for code in [Code::POST, Code::PUT, Code::DELETE, Code::FETCH] {
        rig.receive(peer(1), &ask(code.to_byte().into(), code, Some((1, false, 6))));
        assert_eq!(rig.sent().1.code, Code::REQUEST_ENTITY_INCOMPLETE, "{code}");
    }
    rig.said_nothing();
    rig.comes_to_rest();
}

#[test]
fn a_range_answers_for_a_block() {
    let mut rig = Rig::new();
    let range = |offset, len, size| {
        Response::new(Code::CONTENT).with_body(Body::Range { offset, data: vec![7; len].into(), size })
    };
    rig.receive(peer(1), &get(1, None));
    let request = rig.handed_up();
    rig.respond(request.id, range(0, 1_024, Some(1 << 20)));
    let (_, first) = rig.sent();
    assert_eq!((block_of(&first), first.options.size2()), (Some((0, true, 6)), Some(1 << 20)));

    rig.receive(peer(1), &get(2, Some((3, false, 5))));
    let request = rig.handed_up();
    assert_eq!(request.wanted, Wanted { offset: 1_536, max: 512 });
    for wrong in [range(0, 1_024, Some(1 << 20)), range(1_536, 100, Some(1 << 20)), range(2_048, 512, None)] {
        let refused = rig.endpoint.respond(rig.now, request.id, wrong);
        assert_eq!(refused, Err(RespondError::WrongRange { offset: 1_536, max: 512 }));
    }
    rig.respond(request.id, range(1_536, 600, None));
    let (_, next) = rig.sent();
    assert_eq!((block_of(&next), next.payload.len()), (Some((3, true, 5)), 512));

    for (id, len, size, last) in [(3, 400, None, Some((4, false, 5))), (4, 0, None, None), (5, 0, Some(2_048), None)] {
        rig.receive(peer(1), &get(id, Some((4, false, 5))));
        let request = rig.handed_up();
        rig.respond(request.id, range(2_048, len, size));
        let (_, answer) = rig.sent();
        assert_eq!((block_of(&answer), answer.code.is_error()), (last, last.is_none()));
    }
    assert_eq!(rig.endpoint.usage().transfers, 0);
    rig.comes_to_rest();
}

#[test]
fn our_block_size_and_the_room_in_a_datagram_limit_a_block() {
    let config = Config::builder().block_size(BlockSize::new(256)).build().unwrap();
    let mut rig = Rig::with(config);
    rig.receive(peer(1), &get(1, Some((0, false, 6))));
    respond_large(&mut rig, 300);
    assert_eq!(block_of(&rig.sent().1), Some((0, true, 4)));
    // The peer goes on in blocks of its own size.
    rig.receive(peer(1), &get(2, Some((1, false, 4))));
    assert_eq!(block_of(&rig.sent().1), Some((1, false, 4)));

    let mut rig = Rig::with(Config::builder().max_datagram(100).build().unwrap());
    rig.receive(peer(1), &get(1, None));
    let id = rig.handed_up().id;
    rig.respond(
        id,
        content("a text that is longer than what fits beside its options into a datagram of a hundred bytes in all"),
    );
    let bytes = rig.sent_bytes();
    assert!(bytes.len() <= 100);
    assert_eq!(block_of(&Message::decode(bytes.into()).unwrap()), Some((0, true, 2)));
    rig.receive(peer(1), &get(2, Some((1, false, 2))));
    assert_eq!(block_of(&rig.sent().1), Some((1, false, 2)));
}

#[test]
fn an_error_with_a_long_text_goes_in_blocks_and_is_never_a_later_one() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &get(1, Some((0, false, 0))));
    let id = rig.handed_up().id;
    rig.respond(id, Response::diagnostic(Code::FORBIDDEN, "not for you, and this is why"));
    let (_, first) = rig.sent();
    assert_eq!((first.code, block_of(&first)), (Code::FORBIDDEN, Some((0, true, 0))));
    rig.receive(peer(1), &get(2, Some((1, false, 0))));
    let (_, next) = rig.sent();
    assert_eq!((next.code, &next.payload[..]), (Code::FORBIDDEN, &b" this is why"[..]));
    rig.receive(peer(2), &get(1, Some((5, false, 6))));
    let id = rig.handed_up().id;
    rig.respond(id, Response::new(Code::NOT_FOUND));
    assert_eq!((rig.sent().1.code, rig.endpoint.usage().incoming), (Code::NOT_FOUND, 0));
}

#[test]
fn observe_means_nothing_in_a_request_for_a_later_block() {
    let mut rig = Rig::new();
    let mut message = Message::decode(get(1, Some((2, false, 6))).into()).unwrap();
    message.options.set_observe(0);
    rig.receive(peer(1), &encode(&message));
    let request = rig.handed_up().request;
    assert!(!request.options.contains(OptionNumber::OBSERVE) && !request.options.contains(OptionNumber::BLOCK2));
    message.options.remove(OptionNumber::BLOCK2);
    message.message_id = 2;
    rig.receive(peer(1), &encode(&message));
    assert_eq!(rig.handed_up().request.options.observe(), Some(0));
}

#[test]
fn a_group_gets_the_first_block_and_nothing_is_kept() {
    let mut rig = Rig::with(unlimited());
    let mut message = Message::decode(get(1, None).into()).unwrap();
    message.kind = Type::NonConfirmable;
    rig.receive_multicast(peer(1), &encode(&message));
    respond_large(&mut rig, 1_500);
    rig.pass(secs(10));
    assert_eq!(block_of(&rig.sent().1), Some((0, true, 6)));
    assert_eq!(rig.endpoint.usage().transfers, 0);
    rig.receive(peer(1), &get(2, Some((1, false, 6))));
    respond_large(&mut rig, 1_500);
    assert_eq!(block_of(&rig.sent().1), Some((1, false, 6)));
    rig.comes_to_rest();
}

#[test]
fn a_duplicate_of_a_later_block_gets_the_same_reply() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &get(1, None));
    respond_large(&mut rig, 2_048);
    rig.sent();
    let next = get(2, Some((1, false, 6)));
    rig.receive(peer(1), &next);
    let reply = rig.sent_bytes();
    rig.receive(peer(1), &next);
    assert_eq!(rig.sent_bytes(), reply);
    assert_eq!(rig.endpoint.stats().duplicates, 1);
}

#[test]
fn kept_bodies_are_bounded_in_number_and_bytes() {
    let config = Config::builder().max_transfers(8).max_transfer_bytes(10_000).build().unwrap();
    let mut rig = Rig::with(config);
    for n in 0..20 {
        rig.receive(peer(n), &get(1, None));
        respond_large(&mut rig, 2_000);
        assert!(rig.endpoint.usage().transfer_bytes <= 10_000);
    }
    assert_eq!((rig.endpoint.usage().transfers, rig.endpoint.stats().transfers_evicted), (5, 15));
    // Those that are being fetched stay, and another is served without memory.
    for n in 15..20 {
        rig.receive(peer(n), &get(2, Some((1, false, 4))));
    }
    rig.receive(peer(30), &get(1, None));
    respond_large(&mut rig, 2_000);
    assert_eq!((rig.endpoint.usage().transfers, rig.endpoint.stats().bodies_unkept), (5, 1));
    rig.said_nothing();
    rig.pass(secs(5));
    rig.receive(peer(31), &get(1, None));
    respond_large(&mut rig, 2_000);
    assert_eq!(rig.endpoint.stats().transfers_evicted, 16);
    rig.said_nothing();
    rig.comes_to_rest();
}

// ----- In parts ------------------------------------------------------------------------------------------------------

impl Rig {
    #[track_caller]
    fn wish(&mut self) -> (BodyId, u64, usize) {
        match self.event() {
            Event::BodyWanted { id, offset, max } => (id, offset, max),
            other => panic!("{other:?}"),
        }
    }

    fn supply(&mut self, id: IncomingId, data: &[u8], last: bool) {
        self.endpoint.supply(self.now, id.response_body(), Bytes::copy_from_slice(data), last).unwrap();
        self.drain();
    }

    /// A request that is answered in parts of 16 bytes.
    fn begin_stream(&mut self, size: Option<u64>) -> IncomingId {
        self.receive(peer(1), &get(1, Some((0, false, 0))));
        let id = self.handed_up().id;
        self.respond(id, Response::content(ContentFormat::OCTET_STREAM, Body::Parts { size }));
        assert_eq!(self.wish(), (id.response_body(), 0, 16));
        id
    }
}

#[test]
fn a_response_in_parts_is_supplied_as_the_peer_asks_for_it() {
    let mut rig = Rig::new();
    let id = rig.begin_stream(None);
    rig.sent_nothing();
    rig.supply(id, &[1; 16], false);
    // Whether more follow is not known before the next part is here.
    rig.sent_nothing();
    assert_eq!(rig.wish(), (id.response_body(), 16, 16));
    rig.supply(id, &[2; 16], false);
    let (_, first) = rig.sent();
    assert_eq!((first.kind, block_of(&first), &first.payload[..]), (ACK, Some((0, true, 0)), &[1; 16][..]));
    assert_eq!(rig.wish(), (id.response_body(), 32, 16));
    assert_eq!((rig.endpoint.usage().incoming, rig.endpoint.usage().transfers), (0, 1));
    rig.supply(id, &[3; 4], true);
    rig.sent_nothing();

    rig.receive(peer(1), &get(2, Some((1, false, 0))));
    let (_, second) = rig.sent();
    assert_eq!((block_of(&second), &second.payload[..]), (Some((1, true, 0)), &[2; 16][..]));
    // The answer was lost, and the peer asks again.
    rig.receive(peer(1), &get(3, Some((1, false, 0))));
    assert_eq!(rig.sent().1.payload, second.payload);
    rig.receive(peer(1), &get(4, Some((0, true, 1))));
    assert!(matches!(rig.event(), Event::Request(_)));
    rig.receive(peer(1), &get(5, Some((3, true, 0))));
    assert_eq!(rig.sent().1.code, Code::REQUEST_ENTITY_INCOMPLETE);

    for message_id in [6, 7] {
        rig.receive(peer(1), &get(message_id, Some((2, false, 0))));
        let (_, last) = rig.sent();
        assert_eq!((block_of(&last), &last.payload[..]), (Some((2, false, 0)), &[3; 4][..]));
    }
    assert_eq!(rig.endpoint.supply(rig.now, id.response_body(), Bytes::new(), true), Err(SupplyError::Stale));
    rig.said_nothing();
    rig.pass(secs(300));
    assert!(rig.events.iter().all(|event| !matches!(event, Event::IncomingClosed { id: over, .. } if *over == id)));
    rig.comes_to_rest();
}

#[test]
fn a_known_length_needs_no_reading_ahead_and_an_empty_body_is_one_block() {
    let mut rig = Rig::new();
    let id = rig.begin_stream(Some(17));
    rig.supply(id, &[1; 16], false);
    let (_, first) = rig.sent();
    assert_eq!((block_of(&first), first.options.size2()), (Some((0, true, 0)), Some(17)));

    let mut rig = Rig::new();
    let id = rig.begin_stream(None);
    rig.supply(id, &[], true);
    assert_eq!(block_of(&rig.sent().1), Some((0, false, 0)));
    assert_eq!(rig.endpoint.usage().incoming, 0);
    rig.comes_to_rest();
}

#[test]
fn a_peer_that_is_ahead_of_the_application_waits() {
    let mut rig = Rig::new();
    let id = rig.begin_stream(None);
    rig.supply(id, &[1; 20], false);
    rig.sent();
    rig.receive(peer(1), &get(2, Some((1, false, 0))));
    rig.sent_nothing();
    rig.pass(secs(5));
    assert_eq!(rig.sent().1.code, Code::EMPTY);
    rig.supply(id, &[2; 20], true);
    let (_, second) = rig.sent();
    assert_eq!((second.kind, block_of(&second)), (Type::Confirmable, Some((1, true, 0))));
    assert_eq!(second.payload, [&[1; 4][..], &[2; 12]].concat());
}

#[test]
fn a_response_in_parts_is_broken_off_with_another() {
    let mut rig = Rig::new();
    let id = rig.begin_stream(None);
    rig.supply(id, &[1; 20], false);
    rig.sent();
    rig.respond(id, Response::new(Code::INTERNAL_SERVER_ERROR));
    rig.sent_nothing();
    for message_id in [2, 3] {
        rig.receive(peer(1), &get(message_id, Some((1, false, 0))));
        assert_eq!(rig.sent().1.code, Code::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(rig.endpoint.respond(rig.now, id, content("x")), Err(RespondError::Stale));
    rig.comes_to_rest();
}

#[test]
fn who_stops_asking_and_who_stops_supplying_is_not_waited_for() {
    let mut rig = Rig::new();
    let id = rig.begin_stream(None);
    rig.supply(id, &[1; 20], false);
    rig.events.clear();
    rig.pass(secs(248));
    assert!(matches!(rig.event(), Event::IncomingClosed { id: of, why: Closed::Abandoned } if of == id));
    rig.comes_to_rest();

    let mut rig = Rig::new();
    let id = rig.begin_stream(None);
    rig.pass(secs(94));
    assert!(matches!(rig.event(), Event::IncomingClosed { id: of, why: Closed::TimedOut } if of == id));
    assert_eq!(rig.endpoint.usage().transfers, 0);
    rig.comes_to_rest();
}

#[test]
fn parts_are_refused_where_they_cannot_be() {
    let mut rig = Rig::new();
    let parts = || Response::new(Code::CONTENT).with_body(Body::Parts { size: None });
    rig.receive(peer(1), &get(1, Some((3, false, 0))));
    let id = rig.handed_up().id;
    assert_eq!(rig.endpoint.respond(rig.now, id, parts()), Err(RespondError::PartsImpossible));
    rig.receive_multicast(peer(1), &hex!("51 01 1001 0b b1 61"));
    let id = rig.handed_up().id;
    assert_eq!(rig.endpoint.respond(rig.now, id, parts()), Err(RespondError::PartsImpossible));

    let mut rig = Rig::with(Config::builder().max_transfers(1).build().unwrap());
    let first = rig.begin_stream(None);
    rig.receive(peer(2), &get(1, None));
    let second = rig.handed_up().id;
    assert_eq!(rig.endpoint.respond(rig.now, second, parts()), Err(RespondError::TooManyTransfers));
    rig.respond(second, content("hi"));
    let much = Bytes::from(vec![0; 5_000]);
    let refused = rig.endpoint.supply(rig.now, first.response_body(), much, false);
    assert_eq!(refused, Err(SupplyError::TooMuch { max: 4_096 }));
}

#[test]
fn an_upload_is_answered_in_parts() {
    let mut rig = Rig::new();
    let block = |id: u16, num, more, payload: &[u8]| {
        let mut message = Message::decode(ask(id, Code::POST, None).into()).unwrap();
        message.options.set_block1(Block::new(num, more, 0).unwrap());
        message.payload = Bytes::copy_from_slice(payload);
        encode(&message)
    };
    rig.receive(peer(1), &block(1, 0, true, &[0; 16]));
    let id = rig.handed_up().id;
    let parts = || Response::new(Code::CHANGED).with_body(Body::Parts { size: None });
    assert_eq!(rig.endpoint.respond(rig.now, id, parts()), Err(RespondError::PartsImpossible));
    rig.endpoint.collect(rig.now, id.request_body(), 100);
    rig.drain();
    rig.sent();
    rig.receive(peer(1), &block(2, 1, false, b"x"));
    assert!(matches!(rig.event(), Event::BodyPart { last: true, .. }));
    rig.respond(id, parts());
    rig.wish();
    rig.supply(id, &[9; 1_100], true);
    let (_, first) = rig.sent();
    assert_eq!((first.options.block1(), block_of(&first)), (Block::new(1, false, 0), Some((0, true, 6))));
    rig.receive(peer(1), &ask(3, Code::POST, Some((1, false, 6))));
    let (_, last) = rig.sent();
    assert_eq!((last.options.block1(), block_of(&last), last.payload.len()), (None, Some((1, false, 6)), 76));
    rig.comes_to_rest();
}

#[test]
fn with_one_place_an_upload_leaves_it_to_its_response() {
    for in_parts in [false, true] {
        let mut rig = Rig::with(Config::builder().max_transfers(1).build().unwrap());
        let mut message = Message::decode(ask(1, Code::POST, None).into()).unwrap();
        message.options.set_block1(Block::new(0, true, 0).unwrap());
        message.payload = Bytes::from_static(&[0; 16]);
        rig.receive(peer(1), &encode(&message));
        let id = rig.handed_up().id;
        rig.endpoint.collect(rig.now, id.request_body(), 100);
        rig.drain();
        message.options.set_block1(Block::new(1, false, 0).unwrap());
        message.message_id = 2;
        rig.receive(peer(1), &encode(&message));
        rig.events.clear();
        rig.sent.clear();
        let body = if in_parts { Body::Parts { size: None } } else { vec![9; 1_100].into() };
        rig.respond(id, Response::new(Code::CHANGED).with_body(body));
        if in_parts {
            rig.supply(id, &[9; 1_100], true);
        }
        assert_eq!(block_of(&rig.sent().1), Some((0, true, 6)));
        rig.receive(peer(1), &ask(3, Code::POST, Some((1, false, 6))));
        assert_eq!(block_of(&rig.sent().1), Some((1, false, 6)));
        rig.events.clear();
        rig.comes_to_rest();
    }
}

#[test]
fn a_group_that_is_asked_for_a_later_block_answers_at_its_leisure() {
    let mut rig = Rig::with(unlimited());
    rig.receive(peer(1), &get(1, None));
    respond_large(&mut rig, 1_500);
    rig.sent();
    let mut message = Message::decode(get(2, Some((1, false, 6))).into()).unwrap();
    message.kind = Type::NonConfirmable;
    rig.receive_multicast(peer(1), &encode(&message));
    rig.sent_nothing();
    rig.pass(secs(10));
    assert_eq!(block_of(&rig.sent().1), Some((1, false, 6)));
    rig.comes_to_rest();
}

#[test]
fn an_answer_that_is_kept_for_repetition_keeps_nothing_but_itself() {
    struct Watched(alloc::sync::Arc<Vec<u8>>);
    impl AsRef<[u8]> for Watched {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let mut rig = Rig::with(Config::builder().max_transfer_bytes(2_000).build().unwrap());
    let mut options = path(&["a"]);
    options.set_block1(Block::new(0, true, 0).unwrap());
    let first =
        Message { options, payload: Bytes::from_static(&[1; 16]), ..Message::decode(POST_A.to_vec().into()).unwrap() };
    rig.receive(peer(1), &encode(&first));
    let id = rig.handed_up().id;
    // There is no room for it: the first block goes, and is kept in case that is lost.
    let large = alloc::sync::Arc::new(body(100_000));
    rig.respond(id, Response::new(Code::CHANGED).with_body(Bytes::from_owner(Watched(large.clone()))));
    assert_eq!(rig.sent().1.payload.len(), 1_024);
    assert_eq!((rig.endpoint.usage().transfers, alloc::sync::Arc::strong_count(&large)), (1, 1));
}

#[test]
fn a_range_at_the_end_of_what_can_be_counted_is_refused() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &get(1, Some((4, false, 2))));
    let id = rig.handed_up().id;
    for size in [None, Some(u64::MAX)] {
        let range = Body::Range { offset: u64::MAX - 1, data: body(64).into(), size };
        let refused = rig.endpoint.respond(rig.now, id, Response::new(Code::CONTENT).with_body(range));
        assert_eq!(refused, Err(RespondError::WrongRange { offset: 256, max: 64 }));
    }
}
