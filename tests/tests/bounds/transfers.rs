//! The rows of bodies in blocks and of observers.

use core::time::Duration;

use bytes::Bytes;
use coap_core::{
    Block, BlockFailure, Code, Config, Event, Failure, Message, OptionNumber, Options, Peer, Request, RequestOptions,
    Response, Token, TopicId, TopicOptions, Type,
};

use crate::rig::{Rig, encode, peer};
use crate::tables::{at_each_limit, honest, more};

fn message(code: Code, message_id: u16, tag: u8) -> Message {
    let mut options = Options::new();
    options.push_uri_path("a").unwrap();
    if tag > 0 {
        options.push_raw(OptionNumber::REQUEST_TAG, &[tag]).unwrap();
    }
    let token = Token::new(&message_id.to_be_bytes()).unwrap();
    Message { kind: Type::Confirmable, code, message_id, token, options, payload: Bytes::new() }
}

/// A block of an upload.
fn block(message_id: u16, tag: u8, num: u32, more: bool, szx: u8) -> Message {
    let mut message = message(Code::PUT, message_id, tag);
    message.options.set_block1(Block::new(num, more, szx).unwrap());
    message.payload = Bytes::from(vec![b'x'; 16 << szx]);
    message
}

/// What a server says that collects bodies of any length, and whose own have `long` bytes.
fn reply(rig: &mut Rig, from: Peer, message: &Message, long: usize) -> Option<Message> {
    rig.sent.clear();
    rig.arrive(from, encode(message));
    while let Some(event) = rig.endpoint.poll_event() {
        let whole = match event {
            Event::Request(request) if request.request.body.is_in_parts() => {
                rig.endpoint.collect(rig.now, request.id.request_body(), usize::MAX);
                None
            }
            Event::Request(request) => Some(request.id),
            _ => None,
        };
        if let Some(id) = whole {
            let response = Response::new(Code::CONTENT).with_body(vec![b'y'; long]);
            rig.endpoint.respond(rig.now, id, response).unwrap();
        }
    }
    rig.send();
    rig.sent.drain(..).rfind(|(to, _)| *to == from).map(|(_, bytes)| Message::decode(bytes).unwrap())
}

#[track_caller]
fn code(rig: &mut Rig, from: Peer, message: &Message) -> Code {
    reply(rig, from, message, 1).expect("an answer").code
}

#[test]
fn transfers_a_silent_one_gives_way_and_one_that_goes_on_stays() {
    let config = |limit| Config::builder().max_transfers(limit).build().unwrap();
    at_each_limit("transfers", 64, config, |rig, limit| {
        let before = rig.endpoint.stats();
        for n in 0..limit as u32 {
            assert_eq!(code(rig, peer(n), &block(1, 0, 0, true, 0)), Code::CONTINUE);
            assert_eq!(code(rig, peer(n), &block(2, 0, 1, true, 0)), Code::CONTINUE);
        }
        // All of them go on.
        assert_eq!(code(rig, honest(), &block(1, 0, 0, true, 0)), Code::SERVICE_UNAVAILABLE);
        assert_eq!((rig.endpoint.usage().transfers, more(rig, before, |stats| stats.uploads_refused)), (limit, 1));
        // A long response is not kept, and comes block by block all the same.
        let mut get = message(Code::GET, 2, 0);
        let first = reply(rig, honest(), &get, 3_000).unwrap();
        assert!(first.options.block2().is_some_and(|block| block.more()));
        assert_eq!(more(rig, before, |stats| stats.bodies_unkept), 1);
        (get.message_id, get.token) = (3, Token::new(&[3]).unwrap());
        get.options.set_block2(Block::new(2, false, 6).unwrap());
        let last = reply(rig, honest(), &get, 3_000).unwrap();
        assert_eq!((last.payload.len(), last.options.etag()), (3_000 - 2_048, first.options.etag()));
        if limit > 0 {
            // The first goes on, and is left alone; the second, or itself if there is no other, is not.
            rig.pass(Duration::from_secs(3));
            assert_eq!(code(rig, peer(0), &block(4, 0, 2, true, 0)), Code::CONTINUE);
            rig.pass(Duration::from_secs(if limit == 1 { 5 } else { 2 }));
            assert_eq!(code(rig, honest(), &block(4, 0, 0, true, 0)), Code::CONTINUE);
            assert_eq!(
                (rig.endpoint.usage().transfers, more(rig, before, |stats| stats.transfers_evicted)),
                (limit, 1)
            );
            let (kept, lost) = (Code::CONTINUE, Code::REQUEST_ENTITY_INCOMPLETE);
            assert_eq!(code(rig, peer(0), &block(5, 0, 3, true, 0)), if limit == 1 { lost } else { kept });
            if limit > 1 {
                assert_eq!(code(rig, peer(1), &block(5, 0, 2, true, 0)), lost);
            }
            // One that has just begun gives way at once.
            assert_eq!(code(rig, peer(1_000), &block(6, 0, 0, true, 0)), kept);
            assert_eq!(code(rig, honest(), &block(6, 0, 1, true, 0)), lost);
            assert_eq!(code(rig, peer(1_000), &block(7, 0, 1, true, 0)), kept);
        }
    });
}

#[test]
fn transfers_one_peer_has_a_quarter() {
    let config = |limit| Config::builder().max_transfers(limit).build().unwrap();
    at_each_limit("transfers of one peer", 64, config, |rig, limit| {
        let quarter = if limit == 0 { 0 } else { (limit / 4).max(1) };
        for n in 0..20 {
            let expected = if n < quarter { Code::CONTINUE } else { Code::SERVICE_UNAVAILABLE };
            assert_eq!(code(rig, peer(1), &block(n as u16, 1 + n as u8, 0, true, 0)), expected, "{n}");
        }
        if limit > quarter {
            assert_eq!(code(rig, honest(), &block(1, 0, 0, true, 0)), Code::CONTINUE);
        }
    });
}

#[test]
fn transfer_bytes_what_does_not_fit_is_refused_and_nothing_beyond_the_limit_is_kept() {
    let config = |limit| Config::builder().max_transfer_bytes(limit).build().unwrap();
    at_each_limit("bytes of bodies", 1 << 20, config, |rig, limit| {
        let before = rig.endpoint.stats();
        // 60 peers, each of whom would send 64 KiB.
        let mut refused = 0;
        for num in 0..64 {
            for n in 0..60 {
                let code = code(rig, peer(n), &block(num as u16, 0, num, true, 6));
                match code {
                    Code::CONTINUE => {}
                    Code::SERVICE_UNAVAILABLE => refused += 1,
                    // It was refused before.
                    Code::REQUEST_ENTITY_INCOMPLETE => {}
                    other => panic!("{other}"),
                }
                assert!(rig.endpoint.usage().transfer_bytes <= limit);
            }
        }
        assert!(refused >= 44 && more(rig, before, |stats| stats.uploads_refused) >= 44, "{refused}");
        // As a client.
        let how = RequestOptions::new();
        rig.endpoint.request(rig.now, honest(), Request::get(), &how).unwrap();
        let mut failure = None;
        while failure.is_none() {
            let (to, asked) = rig.next_sent();
            let mut answer = asked.clone();
            let num = asked.options.block2().map_or(0, |block| block.num());
            (answer.kind, answer.code, answer.options) = (Type::Acknowledgement, Code::CONTENT, Options::new());
            answer.options.set_block2(Block::new(num, num < 60, 6).unwrap());
            answer.payload = Bytes::from(vec![b'x'; 1_024]);
            rig.arrive(to, encode(&answer));
            assert!(rig.endpoint.usage().transfer_bytes <= limit);
            failure = match rig.endpoint.poll_event() {
                Some(Event::Failed { reason, .. }) => Some(reason),
                Some(Event::Response { .. }) => break,
                _ => None,
            };
        }
        assert_eq!(failure, Some(Failure::Blockwise(BlockFailure::NoRoom)));
        // What fits into a datagram needs none of it.
        assert_eq!(code(rig, honest(), &message(Code::GET, 999, 0)), Code::CONTENT);
    });
}

#[test]
fn body_one_byte_more_ends_the_request() {
    let config = |limit| Config::builder().max_body(limit).build().unwrap();
    at_each_limit("the body of a response", 64 << 10, config, |rig, limit| {
        for beyond in [0, 1] {
            rig.endpoint.request(rig.now, honest(), Request::get(), &RequestOptions::new()).unwrap();
            // In blocks, however short it is: two of them at least.
            let len = (limit + beyond).max(17);
            let szx = if len > 1_024 { 6 } else { 0 };
            let end = loop {
                let (to, asked) = rig.next_sent();
                let mut answer = asked.clone();
                let block = Block::new(asked.options.block2().map_or(0, |block| block.num()), false, szx).unwrap();
                let start = block.offset() as usize;
                let payload = vec![b'x'; (len - start).min(16 << szx)];
                (answer.kind, answer.code, answer.options) = (Type::Acknowledgement, Code::CONTENT, Options::new());
                answer.options.set_block2(Block::new(block.num(), start + payload.len() < len, szx).unwrap());
                answer.payload = payload.into();
                rig.arrive(to, encode(&answer));
                if let Some(end) = rig.endpoint.poll_event() {
                    break end;
                }
            };
            match end {
                Event::Response { response, .. } => assert!(len <= limit && response.body.len() == len),
                Event::Failed { reason, .. } => {
                    assert!(len > limit);
                    assert_eq!(reason, Failure::Blockwise(BlockFailure::TooLarge { limit }));
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

/// Whether a registration is accepted; it is answered in any case.
fn registers(rig: &mut Rig, from: Peer, topic: TopicId, observe: u32, message_id: u16, token: u16) -> bool {
    let mut get = message(Code::GET, message_id, 0);
    get.token = Token::new(&token.to_be_bytes()).unwrap();
    get.options.set_observe(observe);
    rig.sent.clear();
    rig.arrive(from, encode(&get));
    while let Some(event) = rig.endpoint.poll_event() {
        if let Event::Request(request) = event {
            let first = Response::new(Code::CONTENT).with_body("first");
            rig.endpoint.accept_observer(rig.now, request.id, topic, first).unwrap();
        }
    }
    rig.send();
    let (_, bytes) = rig.sent.pop_front().expect("an answer");
    Message::decode(bytes).unwrap().options.observe().is_some()
}

#[test]
fn observers_one_more_is_answered_as_a_plain_request() {
    let config = |limit| Config::builder().max_observers(limit).build().unwrap();
    at_each_limit("observers", 4_096, config, |rig, limit| {
        let before = rig.endpoint.stats();
        let topic = rig.endpoint.open_topic(TopicOptions::new());
        for n in 0..limit as u32 + 5 {
            assert_eq!(registers(rig, peer(n), topic, 0, 1, 1), n < limit as u32);
        }
        assert_eq!((rig.endpoint.usage().observers, more(rig, before, |stats| stats.refused_observers)), (limit, 5));
        if limit > 0 {
            // Who is there already may register again, and who goes makes room.
            assert!(registers(rig, peer(0), topic, 0, 2, 1));
            assert!(!registers(rig, peer(0), topic, 1, 3, 1));
            assert!(registers(rig, honest(), topic, 0, 3, 1));
            assert!(!registers(rig, peer(0), topic, 0, 4, 1));
        }
        assert!(rig.endpoint.close_topic(rig.now, topic, None));
        // They go in portions.
        rig.flush();
        rig.pass(Duration::from_millis(1));
        assert_eq!(rig.endpoint.usage().observers, 0);
    });
}

#[test]
fn observers_one_peer_does_not_take_the_place_of_others() {
    let config = |limit| Config::builder().max_observers_per_peer(limit).build().unwrap();
    at_each_limit("observers of one peer", 16, config, |rig, limit| {
        let before = rig.endpoint.stats();
        let topic = rig.endpoint.open_topic(TopicOptions::new());
        for n in 0..limit as u16 + 5 {
            assert_eq!(registers(rig, peer(1), topic, 0, n, n), n < limit as u16);
        }
        assert_eq!(more(rig, before, |stats| stats.refused_observers), 5);
        assert_eq!(registers(rig, honest(), topic, 0, 1, 1), limit > 0);
        assert!(rig.endpoint.close_topic(rig.now, topic, None));
    });
}
