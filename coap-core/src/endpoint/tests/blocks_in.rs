//! Request bodies that come in blocks (RFC 7959 §2.5), as a server.

mod bounds;

use super::*;

/// Message IDs and tokens of one client count up.
struct Client {
    from: Peer,
    method: Code,
    kind: Type,
    options: Options,
    message_id: u16,
}

fn fresh(n: u16) -> Client {
    Client { from: peer(n), method: Code::PUT, kind: Type::Confirmable, options: path(&["up"]), message_id: 0x4000 }
}

impl Client {
    /// The datagram with block `num` of size exponent `szx`.
    fn block(&mut self, num: u32, more: bool, szx: u8, payload: &[u8]) -> Vec<u8> {
        self.message_id += 1;
        let mut options = self.options.clone();
        options.set_block1(Block::new(num, more, szx).unwrap());
        encode(&Message {
            kind: self.kind,
            code: self.method,
            message_id: self.message_id,
            token: Token::new(&self.message_id.to_be_bytes()).unwrap(),
            options,
            payload: Bytes::copy_from_slice(payload),
        })
    }

    /// Block `num` of `body`, as large as `szx` says.
    fn cut(&mut self, num: u32, szx: u8, body: &[u8]) -> Vec<u8> {
        let size = 16 << szx;
        let start = num as usize * size;
        let end = (start + size).min(body.len());
        self.block(num, end < body.len(), szx, &body[start..end])
    }

    fn send(&mut self, rig: &mut Rig, num: u32, more: bool, szx: u8, payload: &[u8]) {
        let datagram = self.block(num, more, szx, payload);
        rig.receive(self.from, &datagram);
    }
}

impl Rig {
    fn part(&mut self) -> (BodyId, u64, Bytes, bool) {
        match self.event() {
            Event::BodyPart { id, offset, data, last } => (id, offset, data, last),
            other => panic!("{other:?}"),
        }
    }

    fn collect(&mut self, id: IncomingId, limit: usize) {
        assert!(self.endpoint.collect(self.now, id.request_body(), limit));
        self.drain();
    }

    fn consumed(&mut self, id: IncomingId) {
        assert!(self.endpoint.consumed(self.now, id.request_body()));
        self.drain();
    }

    #[track_caller]
    fn closed(&mut self) -> (IncomingId, Closed) {
        match self.event() {
            Event::IncomingClosed { id, why } => (id, why),
            other => panic!("{other:?}"),
        }
    }

    /// The answer to a block: its code, and its Block1 option.
    #[track_caller]
    fn answered(&mut self) -> (Type, Code, Option<(u32, bool, u8)>) {
        let (_, message) = self.sent();
        let block = message.options.block1().map(|block| (block.num(), block.more(), block.szx()));
        (message.kind, message.code, block)
    }

    /// Begins an upload that is collected: its first block has been answered.
    fn begin(&mut self, client: &mut Client, limit: usize) -> IncomingId {
        client.send(self, 0, true, 0, &[b'A'; 16]);
        let id = self.handed_up().id;
        self.collect(id, limit);
        assert_eq!(self.answered(), (ACK, Code::CONTINUE, Some((0, true, 0))));
        id
    }
}

const ACK: Type = Type::Acknowledgement;

#[test]
fn an_upload_becomes_one_request_and_one_body() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    client.options.set_content_format(ContentFormat::JSON);
    client.options.set_size1(40);
    client.send(&mut rig, 0, true, 0, &[b'A'; 16]);
    let request = rig.handed_up();
    assert_eq!(request.request.body, Body::Parts { size: Some(40) });
    assert!(!request.request.options.contains(OptionNumber::BLOCK1));
    assert_eq!(request.request.options.content_format(), Some(ContentFormat::JSON));
    rig.sent_nothing();

    rig.collect(request.id, 1_000);
    assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((0, true, 0))));
    client.send(&mut rig, 1, true, 0, &[b'B'; 16]);
    assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((1, true, 0))));
    rig.said_nothing();
    client.send(&mut rig, 2, false, 0, &[b'C'; 8]);
    let (id, offset, data, last) = rig.part();
    assert_eq!((id, offset, last), (request.id.request_body(), 0, true));
    assert_eq!(data, [&[b'A'; 16][..], &[b'B'; 16], &[b'C'; 8]].concat());
    rig.sent_nothing();
    rig.respond(request.id, Response::new(Code::CHANGED));
    assert_eq!(rig.answered(), (ACK, Code::CHANGED, Some((2, false, 0))));
    assert_eq!(rig.endpoint.usage().transfer_bytes, 0);
    rig.comes_to_rest();
}

#[test]
fn bodies_of_every_length_and_block_size_arrive_whole() {
    let mut rig = Rig::new();
    let mut client = fresh(1);
    for szx in 0..=6 {
        for len in [17, 31, 32, 33, 1_023, 1_024, 1_025, 3_000] {
            let body: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let blocks = body.len().div_ceil(16 << szx) as u32;
            let datagram = client.cut(0, szx, &body);
            rig.receive(client.from, &datagram);
            let request = rig.handed_up();
            if blocks > 1 {
                rig.collect(request.id, len);
                for num in 1..blocks {
                    assert_eq!(rig.answered().1, Code::CONTINUE);
                    let datagram = client.cut(num, szx, &body);
                    rig.receive(client.from, &datagram);
                }
                assert_eq!(rig.part().2, body, "{len} bytes in blocks of size exponent {szx}");
            } else {
                assert_eq!(request.request.body.as_bytes(), body);
            }
            rig.respond(request.id, Response::new(Code::CHANGED));
            assert_eq!(rig.answered(), (ACK, Code::CHANGED, Some((blocks - 1, false, szx))));
        }
    }
    assert_eq!(rig.endpoint.stats().bad_blocks, 0);
    rig.comes_to_rest();
}

#[test]
fn an_upload_is_refused_with_its_first_block() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    client.send(&mut rig, 0, true, 6, &[b'A'; 1_024]);
    let id = rig.handed_up().id;
    rig.respond(id, Response::new(Code::NOT_FOUND));
    assert_eq!(rig.answered(), (ACK, Code::NOT_FOUND, Some((0, false, 6))));
    client.send(&mut rig, 1, true, 6, &[b'A'; 1_024]);
    assert_eq!(rig.answered(), (ACK, Code::NOT_FOUND, Some((1, false, 6))));
    rig.said_nothing();
    rig.comes_to_rest();
}

#[test]
fn a_response_while_the_peer_has_the_next_block_to_send_answers_that() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    let id = rig.begin(&mut client, 1_000);
    rig.respond(id, Response::diagnostic(Code::CONFLICT, "no"));
    rig.sent_nothing();
    assert_eq!(rig.endpoint.respond(rig.now, id, content("x")), Err(RespondError::Stale));
    for num in [1, 1, 2] {
        client.send(&mut rig, num, true, 0, &[b'B'; 16]);
        assert_eq!(rig.answered(), (ACK, Code::CONFLICT, Some((num, false, 0))));
    }
    rig.said_nothing();
    // Beginning anew, it is a new request.
    client.send(&mut rig, 0, true, 0, &[b'A'; 16]);
    assert_ne!(rig.handed_up().id, id);
    rig.comes_to_rest();
}

#[test]
fn the_application_sets_the_pace_one_block_ahead() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    client.send(&mut rig, 0, true, 0, &[0; 16]);
    let id = rig.handed_up().id;
    rig.sent_nothing();
    rig.consumed(id);
    assert_eq!(rig.part(), (id.request_body(), 0, Bytes::from_static(&[0; 16]), false));
    assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((0, true, 0))));

    // The next comes while the first is being consumed: it waits, and so does the peer.
    client.send(&mut rig, 1, true, 0, &[1; 16]);
    rig.said_nothing();
    rig.pass(secs(20));
    assert_eq!(rig.answered(), (ACK, Code::EMPTY, None));
    rig.consumed(id);
    assert_eq!(rig.part(), (id.request_body(), 16, Bytes::from_static(&[1; 16]), false));
    let (_, separate) = rig.sent();
    assert_eq!((separate.kind, separate.code), (Type::Confirmable, Code::CONTINUE));
    rig.receive(peer(1), &empty(ACK, separate.message_id));

    // As fast as the network: piggybacked, and handed up at once.
    rig.consumed(id);
    client.send(&mut rig, 2, false, 0, &[2; 3]);
    assert_eq!(rig.part(), (id.request_body(), 32, Bytes::from_static(&[2; 3]), true));
    rig.sent_nothing();
    rig.consumed(id);
    assert!(!rig.endpoint.consumed(rig.now, id.request_body()));
    rig.respond(id, Response::new(Code::CHANGED));
    assert_eq!(rig.answered(), (ACK, Code::CHANGED, Some((2, false, 0))));
    assert!(!rig.endpoint.consumed(rig.now, id.request_body()));
    rig.comes_to_rest();
}

#[test]
fn the_last_part_waits_too() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    client.send(&mut rig, 0, true, 0, &[0; 16]);
    let id = rig.handed_up().id;
    rig.consumed(id);
    rig.part();
    rig.sent();
    client.send(&mut rig, 1, false, 0, &[1; 16]);
    rig.said_nothing();
    rig.consumed(id);
    assert_eq!(rig.part(), (id.request_body(), 16, Bytes::from_static(&[1; 16]), true));
    rig.sent_nothing();
    rig.respond(id, Response::new(Code::CHANGED));
    assert_eq!(rig.answered(), (ACK, Code::CHANGED, Some((1, false, 0))));
    rig.comes_to_rest();
}

#[test]
fn a_body_can_be_collected_or_consumed_not_both() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    let id = rig.begin(&mut client, 1_000);
    let body = id.request_body();
    assert!(!rig.endpoint.consumed(rig.now, body) && !rig.endpoint.collect(rig.now, body, 9));
    assert!(!rig.endpoint.collect(rig.now, id.response_body(), 9));
    // A whole body is there already.
    rig.receive(peer(2), &POST_A);
    let whole = rig.handed_up().id.request_body();
    assert!(!rig.endpoint.consumed(rig.now, whole) && !rig.endpoint.collect(rig.now, whole, 9));
}

#[test]
fn a_duplicate_datagram_of_a_block_gets_the_same_reply_and_adds_nothing() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    let id = rig.begin(&mut client, 1_000);
    let second = client.block(1, true, 0, &[b'B'; 16]);
    rig.receive(client.from, &second);
    let reply = rig.sent_bytes();
    rig.receive(client.from, &second);
    assert_eq!(rig.sent_bytes(), reply);
    let last = client.block(2, false, 0, b"C");
    rig.receive(client.from, &last);
    assert_eq!(rig.part().2.len(), 33);
    rig.receive(client.from, &last);
    rig.sent_nothing();
    rig.respond(id, Response::new(Code::CHANGED));
    let reply = rig.sent_bytes();
    for datagram in [&last, &last] {
        rig.receive(client.from, datagram);
        assert_eq!(rig.sent_bytes(), reply);
    }
    // Late, and by now in the wrong place: still the same.
    rig.receive(client.from, &second);
    assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((1, true, 0))));
    rig.said_nothing();
}

#[test]
fn a_block_that_comes_again_as_a_new_message_is_answered_again_and_added_once() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    let id = rig.begin(&mut client, 1_000);
    client.send(&mut rig, 0, true, 0, &[b'A'; 16]);
    assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((0, true, 0))));
    for _ in 0..2 {
        client.send(&mut rig, 1, true, 0, &[b'B'; 16]);
        assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((1, true, 0))));
    }
    client.send(&mut rig, 2, true, 0, &[b'C'; 16]);
    assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((2, true, 0))));
    client.send(&mut rig, 1, true, 0, &[b'B'; 16]);
    assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((1, true, 0))));
    rig.said_nothing();

    client.send(&mut rig, 3, false, 0, b"D");
    assert_eq!(rig.part().2, [&[b'A'; 16][..], &[b'B'; 16], &[b'C'; 16], b"D"].concat());
    // While the application is busy: the response goes to the new message.
    rig.pass(ms(250));
    assert_eq!(rig.answered(), (ACK, Code::EMPTY, None));
    client.send(&mut rig, 3, false, 0, b"D");
    rig.sent_nothing();
    rig.respond(id, Response::new(Code::CHANGED));
    let (_, response) = rig.sent();
    assert_eq!((response.message_id, response.code), (client.message_id, Code::CHANGED));
    // And once more, when all is over.
    client.send(&mut rig, 3, false, 0, b"D");
    assert_eq!(rig.answered(), (ACK, Code::CHANGED, Some((3, false, 0))));
    rig.said_nothing();
    rig.sent_nothing();
    rig.comes_to_rest();
}

#[test]
fn a_new_first_block_begins_anew() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    let id = rig.begin(&mut client, 1_000);
    client.send(&mut rig, 0, true, 0, &[b'X'; 16]);
    let events: Vec<_> = rig.events.drain(..).collect();
    let closed = events
        .iter()
        .any(|event| matches!(event, Event::IncomingClosed { id: old, why: Closed::Superseded } if *old == id));
    let again = events.iter().find_map(|event| match event {
        Event::Request(request) => Some(request.id),
        _ => None,
    });
    assert!(closed && again.is_some());
    let again = again.unwrap();
    rig.collect(again, 1_000);
    assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((0, true, 0))));
    client.send(&mut rig, 1, false, 0, b"Y");
    assert_eq!(rig.part().2, [&[b'X'; 16][..], b"Y"].concat());
    // One that is whole ends the upload too.
    client.send(&mut rig, 0, false, 0, b"Z");
    let events: Vec<_> = rig.events.drain(..).collect();
    assert_eq!(events.len(), 2, "{events:?}");
    rig.comes_to_rest();
}

#[test]
fn a_gap_a_stranger_and_a_lost_beginning_are_incomplete() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    client.send(&mut rig, 1, true, 0, &[b'B'; 16]);
    assert_eq!(rig.answered(), (ACK, Code::REQUEST_ENTITY_INCOMPLETE, None));
    let id = rig.begin(&mut client, 1_000);
    let gap = client.block(2, false, 0, b"C");
    rig.receive(client.from, &gap);
    assert_eq!(rig.answered(), (ACK, Code::REQUEST_ENTITY_INCOMPLETE, None));
    // Another format, another Request-Tag, another path, another peer: another body.
    let mut other = fresh(1);
    other.message_id = 0x5000;
    other.options.set_content_format(ContentFormat::JSON);
    other.send(&mut rig, 1, false, 0, b"C");
    assert_eq!(rig.answered().1, Code::REQUEST_ENTITY_INCOMPLETE);
    other.options = path(&["up"]);
    other.options.push(OptionNumber::REQUEST_TAG, b"x").unwrap();
    other.send(&mut rig, 1, false, 0, b"C");
    assert_eq!(rig.answered().1, Code::REQUEST_ENTITY_INCOMPLETE);
    fresh(2).send(&mut rig, 1, false, 0, b"C");
    assert_eq!(rig.answered().1, Code::REQUEST_ENTITY_INCOMPLETE);

    // What is here is as it was; and the refused block stays refused, though it would fit now.
    client.send(&mut rig, 1, true, 0, &[b'B'; 16]);
    assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((1, true, 0))));
    rig.receive(client.from, &gap);
    assert_eq!(rig.answered(), (ACK, Code::REQUEST_ENTITY_INCOMPLETE, None));
    client.send(&mut rig, 2, false, 0, b"C");
    let (body, .., last) = rig.part();
    assert!(body == id.request_body() && last);
    assert_eq!(rig.endpoint.stats().bad_blocks, 5);
    rig.comes_to_rest();
}

#[test]
fn blocks_of_the_wrong_length_or_the_reserved_size_are_bad() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    for (more, len) in [(true, 15), (true, 17), (true, 0), (false, 17)] {
        client.send(&mut rig, 0, more, 0, &vec![b'A'; len]);
        assert_eq!(rig.answered(), (ACK, Code::BAD_REQUEST, None), "{len} bytes");
    }
    rig.receive(peer(1), &hex!("41 03 4059 0b bc 6c617267652d757064617465 d1 03 0f ff 7878"));
    assert_eq!(rig.answered(), (ACK, Code::BAD_REQUEST, None));
    rig.receive(peer(1), &hex!("41 01 4060 0b b1 61 c1 07"));
    assert_eq!(rig.answered(), (ACK, Code::BAD_REQUEST, None));
    // The same where it names the size of the response to a request in blocks.
    rig.receive(peer(1), &hex!("41 03 4061 0b b1 61 c1 07 41 02 ff 7878"));
    assert_eq!(rig.answered(), (ACK, Code::BAD_REQUEST, None));
    rig.said_nothing();
    rig.comes_to_rest();
}

#[test]
fn our_smaller_block_size_is_proposed_and_the_next_block_is_counted_in_it() {
    let config = Config::builder().block_size(BlockSize::new(32)).build().unwrap();
    let (mut rig, mut client) = (Rig::with(config), fresh(1));
    let body: Vec<u8> = (0..200).map(|n| n as u8).collect();
    let first = client.cut(0, 2, &body);
    rig.receive(client.from, &first);
    let id = rig.handed_up().id;
    rig.collect(id, 200);
    assert_eq!(rig.answered(), (ACK, Code::CONTINUE, Some((0, true, 1))));
    for num in 2..7 {
        let next = client.cut(num, 1, &body);
        rig.receive(client.from, &next);
        let code = if num < 6 { Some(Code::CONTINUE) } else { None };
        assert_eq!((!rig.sent.is_empty()).then(|| rig.answered().1), code);
    }
    assert_eq!(rig.part().2, body);
}

#[test]
fn a_block_that_overlaps_adds_what_is_new() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    let body: Vec<u8> = (0..100).map(|n| n as u8).collect();
    // In sizes of 16, 32 and 64 bytes; the first 16 of the fourth are here.
    for (num, szx) in [(0, 0), (1, 0), (2, 0), (1, 1), (1, 2)] {
        let next = client.cut(num, szx, &body);
        rig.receive(client.from, &next);
        if (num, szx) == (0, 0) {
            let id = rig.handed_up().id;
            rig.collect(id, 100);
        }
    }
    assert_eq!(rig.sent.len(), 4);
    assert_eq!(rig.part().2, body);
    rig.comes_to_rest();
}

#[test]
fn a_body_over_the_limit_is_too_large_when_it_says_so_or_when_it_is() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    client.options.set_size1(u32::MAX);
    client.send(&mut rig, 0, true, 6, &[b'A'; 1_024]);
    let id = rig.handed_up().id;
    rig.collect(id, 5_000);
    let (_, refused) = rig.sent();
    assert_eq!((refused.code, refused.options.size1()), (Code::REQUEST_ENTITY_TOO_LARGE, Some(5_000)));
    assert!(refused.options.block1().is_none());
    assert_eq!(rig.closed(), (id, Closed::TooLarge));

    client.options = path(&["up"]);
    client.send(&mut rig, 0, true, 6, &[b'A'; 1_024]);
    let id = rig.handed_up().id;
    rig.collect(id, 2_000);
    rig.sent();
    for _ in 0..2 {
        client.send(&mut rig, 1, true, 6, &[b'A'; 1_024]);
        let (_, refused) = rig.sent();
        assert_eq!((refused.code, refused.options.size1()), (Code::REQUEST_ENTITY_TOO_LARGE, Some(2_000)));
    }
    assert_eq!(rig.closed(), (id, Closed::TooLarge));
    rig.said_nothing();
    assert_eq!((rig.endpoint.usage().transfer_bytes, rig.endpoint.stats().uploads_refused), (0, 2));
    rig.comes_to_rest();
}

#[test]
fn a_peer_that_stops_is_forgotten_after_exchange_lifetime() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    let id = rig.begin(&mut client, 1_000);
    rig.pass(secs(246));
    rig.said_nothing();
    assert_eq!((rig.endpoint.usage().transfers, rig.endpoint.usage().incoming), (1, 0));
    rig.pass(secs(2));
    assert_eq!(rig.closed(), (id, Closed::Abandoned));
    assert_eq!(rig.endpoint.usage().transfer_bytes, 0);
    client.send(&mut rig, 1, false, 0, b"B");
    assert_eq!(rig.answered().1, Code::REQUEST_ENTITY_INCOMPLETE);
    assert_eq!(rig.endpoint.stats().transfers_abandoned, 1);
    rig.comes_to_rest();
}

#[test]
fn an_application_that_does_not_go_on_is_answered_for() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    client.send(&mut rig, 0, true, 0, &[b'A'; 16]);
    let id = rig.handed_up().id;
    rig.pass(secs(94));
    assert_eq!(rig.answered(), (ACK, Code::EMPTY, None));
    let (_, late) = rig.sent();
    assert_eq!(late.code, Code::SERVICE_UNAVAILABLE);
    assert_eq!(rig.closed(), (id, Closed::TimedOut));
    assert!(!rig.endpoint.collect(rig.now, id.request_body(), 100));
    assert_eq!(rig.endpoint.usage().transfers, 0);
}

#[test]
fn an_upload_that_is_ignored_is_gone() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    client.send(&mut rig, 0, true, 0, &[b'A'; 16]);
    let id = rig.handed_up().id;
    assert!(rig.endpoint.ignore(rig.now, id));
    rig.drain();
    assert_eq!(rig.answered(), (ACK, Code::EMPTY, None));
    let id = rig.begin(&mut client, 100);
    assert!(rig.endpoint.ignore(rig.now, id) && !rig.endpoint.ignore(rig.now, id));
    rig.drain();
    rig.sent_nothing();
    client.send(&mut rig, 1, false, 0, b"B");
    assert_eq!(rig.answered().1, Code::REQUEST_ENTITY_INCOMPLETE);
    assert_eq!((rig.endpoint.usage().transfers, rig.endpoint.usage().transfer_bytes), (0, 0));
    rig.comes_to_rest();
}

#[test]
fn non_confirmable_blocks_are_answered_non_confirmable() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    client.kind = Type::NonConfirmable;
    client.send(&mut rig, 0, true, 0, &[b'A'; 16]);
    let id = rig.handed_up().id;
    rig.collect(id, 100);
    assert_eq!(rig.answered(), (Type::NonConfirmable, Code::CONTINUE, Some((0, true, 0))));
    let last = client.block(1, false, 0, b"B");
    rig.receive(client.from, &last);
    rig.receive(client.from, &last);
    assert_eq!(rig.part().2.len(), 17);
    rig.respond(id, Response::new(Code::CHANGED));
    assert_eq!(rig.answered(), (Type::NonConfirmable, Code::CHANGED, Some((1, false, 0))));
    rig.sent_nothing();
    rig.comes_to_rest();
}

/// RFC 7967: the client does not want to hear that all went well. Without the 2.31s nothing would go at all.
#[test]
fn no_response_declines_the_response_and_not_the_way_there() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    client.options.set_no_response(2);
    let id = rig.begin(&mut client, 100);
    client.send(&mut rig, 1, false, 0, b"B");
    rig.part();
    rig.respond(id, Response::new(Code::CHANGED));
    assert_eq!(rig.answered(), (ACK, Code::EMPTY, None));
    rig.comes_to_rest();
}

#[test]
fn a_long_response_to_an_upload_continues_with_block2() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    client.method = Code::POST;
    let id = rig.begin(&mut client, 100);
    client.send(&mut rig, 1, false, 0, b"B");
    rig.part();
    rig.respond(id, Response::new(Code::CHANGED).with_body(vec![b'R'; 1_500]));
    let (_, first) = rig.sent();
    assert_eq!(first.options.block1(), Block::new(1, false, 0));
    assert_eq!(first.options.block2(), Block::new(0, true, 6));
    let mut options = client.options.clone();
    options.set_block2(Block::new(1, false, 6).unwrap());
    let next = Message {
        kind: Type::Confirmable,
        code: Code::POST,
        message_id: 0x5000,
        token: Token::EMPTY,
        options,
        payload: Bytes::new(),
    };
    rig.receive(client.from, &encode(&next));
    let (_, last) = rig.sent();
    assert_eq!((last.code, last.payload.len()), (Code::CHANGED, 476));
    assert_eq!((last.options.block1(), last.options.block2()), (None, Block::new(1, false, 6)));
    rig.said_nothing();
    // The last block of the request, once more: the same first block of the response.
    client.send(&mut rig, 1, false, 0, b"B");
    let (_, again) = rig.sent();
    assert_eq!((again.payload, again.options), (first.payload, first.options));
    rig.comes_to_rest();
}

#[test]
fn a_group_is_not_uploaded_to() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    client.kind = Type::NonConfirmable;
    let first = client.block(0, true, 0, &[b'A'; 16]);
    rig.receive_multicast(client.from, &first);
    rig.said_nothing();
    rig.sent_nothing();
    rig.comes_to_rest();
}

#[test]
fn a_body_that_has_begun_is_taken_to_its_end_in_a_shutdown() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    let id = rig.begin(&mut client, 100);
    rig.endpoint.begin_shutdown(rig.now);
    fresh(2).send(&mut rig, 0, true, 0, &[b'A'; 16]);
    assert_eq!(rig.answered().1, Code::SERVICE_UNAVAILABLE);
    rig.said_nothing();
    assert!(!rig.endpoint.is_idle());
    client.send(&mut rig, 1, false, 0, b"B");
    assert_eq!(rig.part().2.len(), 17);
    rig.respond(id, Response::new(Code::CHANGED));
    assert_eq!(rig.answered().1, Code::CHANGED);
    assert!(rig.endpoint.is_idle());
}

/// Served again as one that is idempotent, it could end up in the next body of the same client.
#[test]
fn a_duplicate_block_whose_reply_was_forgotten_is_swallowed() {
    let config = Config::builder().max_remembered_bytes(0).build().unwrap();
    let (mut rig, mut client) = (Rig::with(config), fresh(1));
    rig.begin(&mut client, 100);
    let old = client.block(1, true, 0, &[b'B'; 16]);
    rig.receive(client.from, &old);
    rig.sent();
    client.send(&mut rig, 0, true, 0, &[b'X'; 16]);
    rig.closed();
    let id = rig.handed_up().id;
    rig.collect(id, 100);
    rig.sent();
    rig.receive(client.from, &old);
    rig.sent_nothing();
    client.send(&mut rig, 1, false, 0, b"Y");
    assert_eq!(rig.part().2, [&[b'X'; 16][..], b"Y"].concat());
}

/// The answer must still fit when it goes to a block with a longer number.
#[test]
fn an_early_answer_leaves_room_for_the_number_of_the_block_that_gets_it() {
    for len in 1..70 {
        let config = Config::builder().max_datagram(100).build().unwrap();
        let (mut rig, mut client) = (Rig::with(config), fresh(1));
        let id = rig.begin(&mut client, 100);
        rig.respond(id, Response::diagnostic(Code::CONFLICT, vec![b'x'; len]));
        client.send(&mut rig, 1 << 17, true, 0, &[b'B'; 16]);
        assert_eq!(rig.answered(), (ACK, Code::CONFLICT, Some((1 << 17, false, 0))), "{len} bytes");
    }
}
