//! BLK: bodies in blocks (RFC 7959, RFC 9175).

use bytes::Bytes;
use coap_core::{
    Block, BlockFailure, BlockSize, Code, Config, ContentFormat, Event, Failure, Message, OptionNumber, Request,
    RequestOptions, Type,
};

use crate::rig::{Rig, answer, block, con, encode, path, peer, secs};

/// The largest body that the plugtest resources store.
const MOST: u32 = 65_536;

fn get_large(message_id: u16, wanted: Option<Block>) -> Vec<u8> {
    let mut message = con(Code::GET, message_id, &["large"]);
    if let Some(wanted) = wanted {
        message.options.set_block2(wanted);
    }
    encode(&message)
}

fn put(message_id: u16, block: Block, payload: &'static [u8]) -> Message {
    let mut message = con(Code::PUT, message_id, &["large-update"]);
    message.options.set_block1(block);
    message.payload = Bytes::from_static(payload);
    message
}

/// A full block of 16 bytes.
const A: &[u8] = b"aaaaaaaaaaaaaaaa";
const B: &[u8] = b"bbbbbbbbbbbbbbbb";

// ----- As a server, what is fetched -------------------------------------------------------------------------------------

#[test]
fn blk_03_the_more_bit_of_a_request_for_a_block_is_ignored() {
    let mut rig = Rig::serving();
    let plain = rig.ask(&get_large(1, Some(block(0, false, 2))));
    let with_more = rig.ask(&get_large(2, Some(block(0, true, 2))));
    assert_eq!(with_more.options.block2(), Some(block(0, true, 2)));
    assert_eq!((with_more.code, with_more.payload.len()), (Code::CONTENT, 64));
    assert_eq!(with_more.payload, plain.payload);
    let later = rig.ask(&get_large(3, Some(block(3, true, 2))));
    assert_eq!(later.options.block2(), Some(block(3, true, 2)));
}

#[test]
fn blk_05_a_block_behind_the_end_is_an_error_and_nothing_overflows() {
    for szx in 0..=6 {
        for num in [1_280 >> (4 + szx), (1_280 >> (4 + szx)) + 1, (1 << 20) - 1] {
            // Whether or not the body is known from the request for its first block.
            for first in [false, true] {
                let mut rig = Rig::serving();
                if first {
                    rig.ask(&get_large(1, Some(block(0, false, szx))));
                }
                let exists = u64::from(num) << (4 + szx) < 1_280;
                let answer = rig.ask(&get_large(2, Some(block(num, false, szx))));
                assert_eq!(answer.code.is_error(), !exists, "{num} of exponent {szx}: {answer}");
                assert_eq!(answer.code.class() == 4, !exists, "{answer}");
            }
        }
    }
}

#[test]
fn blk_07_every_block_has_the_etag_of_its_content() {
    let mut rig = Rig::serving();
    let first = rig.ask(&get_large(1, Some(block(0, false, 6))));
    let second = rig.ask(&get_large(2, Some(block(1, false, 6))));
    let tag = first.options.etag().expect("an ETag");
    assert_eq!(second.options.etag().as_ref(), Some(&tag));
    // Other content has another.
    let other = "other".repeat(300);
    rig.set("/large", &other);
    let changed = rig.ask(&get_large(3, Some(block(0, false, 6))));
    assert_ne!(changed.options.etag().expect("an ETag"), tag);
    let rest = rig.ask(&get_large(4, Some(block(1, false, 6))));
    assert_eq!(rest.options.etag(), changed.options.etag());
    assert_eq!([changed.payload, rest.payload].concat(), other.as_bytes());
}

// ----- As a server, what is sent to it ------------------------------------------------------------------------------------

#[test]
fn blk_08_an_upload_in_order_is_one_body_for_the_handler() {
    let mut rig = Rig::serving();
    let echoes = [(0, true, Code::CONTINUE), (1, true, Code::CONTINUE), (2, false, Code::CHANGED)];
    let payloads: [&'static [u8]; 3] = [A, B, b"end"];
    for ((num, more, code), payload) in echoes.into_iter().zip(payloads) {
        let reply = rig.ask(&encode(&put(10 + num as u16, block(num, more, 0), payload)));
        assert_eq!((reply.code, reply.options.block1()), (code, Some(block(num, more, 0))));
    }
    assert_eq!(rig.content("/large-update").unwrap(), [A, B, b"end"].concat());
    assert_eq!(rig.runs(Code::PUT, "/large-update"), 1);
}

#[test]
fn blk_09_a_gap_or_an_end_without_a_beginning_is_4_08_and_changes_nothing() {
    let mut rig = Rig::serving();
    let before = rig.content("/large-update");
    let end = rig.ask(&encode(&put(1, block(1, false, 0), b"end")));
    assert_eq!(end.code, Code::REQUEST_ENTITY_INCOMPLETE);
    assert_eq!(rig.ask(&encode(&put(2, block(0, true, 0), A))).code, Code::CONTINUE);
    let gap = rig.ask(&encode(&put(3, block(2, false, 0), b"end")));
    assert_eq!(gap.code, Code::REQUEST_ENTITY_INCOMPLETE);
    assert_eq!((rig.content("/large-update"), rig.runs(Code::PUT, "/large-update")), (before, 0));
}

#[test]
fn blk_10_blocks_of_different_formats_are_not_joined() {
    let mut rig = Rig::serving();
    let before = rig.content("/large-update");
    let with = |mut message: Message, format| {
        message.options.set_content_format(format);
        encode(&message)
    };
    let first = with(put(1, block(0, true, 0), A), ContentFormat::TEXT_PLAIN);
    assert_eq!(rig.ask(&first).code, Code::CONTINUE);
    let second = with(put(2, block(1, false, 0), b"end"), ContentFormat::JSON);
    assert_eq!(rig.ask(&second).code, Code::REQUEST_ENTITY_INCOMPLETE);
    assert_eq!(rig.content("/large-update"), before);
}

#[test]
fn blk_11_a_block_in_between_of_another_length_than_its_size_is_refused() {
    let lengths: [&'static [u8]; 4] = [b"", b"fifteen bytes!!", b"seventeen bytes!!", &[b'x'; 32]];
    for payload in lengths {
        let mut rig = Rig::serving();
        let before = rig.content("/large-update");
        let reply = rig.ask(&encode(&put(1, block(0, true, 0), payload)));
        let refused = [Code::BAD_REQUEST, Code::REQUEST_ENTITY_INCOMPLETE];
        assert!(refused.contains(&reply.code), "{} bytes: {reply}", payload.len());
        assert_eq!(rig.content("/large-update"), before);
    }
}

#[test]
fn blk_13_bodies_of_two_clients_are_never_mixed() {
    let mut rig = Rig::serving();
    let mut send = |from: u16, datagram: &Message| {
        rig.receive(peer(from), &encode(datagram));
        let (to, reply) = rig.sent();
        assert_eq!(to, peer(from));
        (reply.code, rig.content("/large-update").unwrap())
    };
    // Message IDs, tokens and options are the same.
    assert_eq!(send(1, &put(1, block(0, true, 0), A)).0, Code::CONTINUE);
    assert_eq!(send(2, &put(1, block(0, true, 0), B)).0, Code::CONTINUE);
    assert_eq!(send(1, &put(2, block(1, false, 0), b"1")), (Code::CHANGED, [A, b"1"].concat().into()));
    assert_eq!(send(2, &put(2, block(1, false, 0), b"2")), (Code::CHANGED, [B, b"2"].concat().into()));
}

#[test]
fn blk_14_a_duplicate_block_is_answered_the_same_and_counted_once() {
    let mut rig = Rig::serving();
    let first = encode(&put(1, block(0, true, 0), A));
    let once = rig.ask(&first);
    assert_eq!(rig.ask(&first), once);
    // The same block in a new message is what a client sends whose exchange failed.
    let again = rig.ask(&encode(&put(2, block(0, true, 0), A)));
    assert_eq!((again.code, again.options.block1()), (Code::CONTINUE, Some(block(0, true, 0))));
    let second = encode(&put(3, block(1, true, 0), B));
    assert_eq!(rig.ask(&second), rig.ask(&second));
    assert_eq!(rig.ask(&encode(&put(4, block(1, true, 0), B))).code, Code::CONTINUE);
    let last = encode(&put(5, block(2, false, 0), b"end"));
    assert_eq!(rig.ask(&last), rig.ask(&last));
    assert_eq!(rig.content("/large-update").unwrap(), [A, B, b"end"].concat());
    assert_eq!(rig.runs(Code::PUT, "/large-update"), 1);
}

#[test]
fn blk_15_a_body_over_the_limit_is_4_13_with_the_limit() {
    // Where the client says so before.
    let mut rig = Rig::serving();
    let mut first = put(1, block(0, true, 0), A);
    first.options.set_size1(MOST + 1);
    let reply = rig.ask(&encode(&first));
    assert_eq!((reply.code, reply.options.size1()), (Code::REQUEST_ENTITY_TOO_LARGE, Some(MOST)));

    // Where it does not.
    let mut rig = Rig::serving();
    let fits = MOST / 1_024;
    for num in 0..=fits {
        let reply = rig.ask(&encode(&put(num as u16, block(num, true, 6), &[b'x'; 1_024])));
        let expected = if num < fits { (Code::CONTINUE, None) } else { (Code::REQUEST_ENTITY_TOO_LARGE, Some(MOST)) };
        assert_eq!((reply.code, reply.options.size1()), expected, "block {num}");
    }
    assert_eq!(rig.runs(Code::PUT, "/large-update"), 0);
    rig.comes_to_rest();
}

#[test]
fn blk_16_what_is_left_of_an_abandoned_upload_goes_after_exchange_lifetime() {
    let mut rig = Rig::serving();
    rig.ask(&encode(&put(1, block(0, true, 0), A)));
    rig.pass(secs(246));
    assert_eq!(rig.endpoint.usage().transfers, 1);
    rig.pass(secs(2));
    assert_eq!((rig.endpoint.usage().transfers, rig.endpoint.usage().transfer_bytes), (0, 0));
    let late = rig.ask(&encode(&put(2, block(1, false, 0), b"end")));
    assert_eq!(late.code, Code::REQUEST_ENTITY_INCOMPLETE);
    rig.comes_to_rest();
}

#[test]
fn blk_17_many_unfinished_uploads_stay_within_a_bound() {
    let (most, bytes) = (8, 40_000);
    let config = Config::builder().max_transfers(most).max_transfer_bytes(bytes).build().unwrap();
    let mut rig = Rig::serving_with(config);
    for n in 0..2_000 {
        rig.receive(peer(n), &encode(&put(n, block(0, true, 6), &[b'x'; 1_024])));
        let (_, reply) = rig.sent();
        let codes = [Code::CONTINUE, Code::SERVICE_UNAVAILABLE, Code::REQUEST_ENTITY_TOO_LARGE];
        assert!(codes.contains(&reply.code), "{reply}");
        let usage = rig.endpoint.usage();
        assert!(usage.transfers <= most && usage.transfer_bytes <= bytes, "{usage:?}");
        rig.pass(crate::rig::ms(10));
    }
    let stats = rig.endpoint.stats();
    assert_eq!(stats.transfers_evicted + stats.uploads_refused, 2_000 - most as u64);
    // What has given way to others is not known any more.
    let late = rig.ask(&encode(&put(3_000, block(1, false, 6), b"end")));
    assert_eq!(late.code, Code::REQUEST_ENTITY_INCOMPLETE);
    rig.comes_to_rest();
}

#[test]
fn blk_18_another_request_tag_is_another_body() {
    let mut rig = Rig::serving();
    let tagged = |mut message: Message, tag: &[u8]| {
        message.options.push_raw(OptionNumber::REQUEST_TAG, tag).unwrap();
        encode(&message)
    };
    // Two bodies at a time, and one without a tag.
    assert_eq!(rig.ask(&tagged(put(1, block(0, true, 0), A), b"1")).code, Code::CONTINUE);
    assert_eq!(rig.ask(&tagged(put(2, block(0, true, 0), B), b"2")).code, Code::CONTINUE);
    assert_eq!(rig.ask(&encode(&put(3, block(1, false, 0), b"x"))).code, Code::REQUEST_ENTITY_INCOMPLETE);
    assert_eq!(rig.ask(&tagged(put(4, block(1, false, 0), b"!"), b"1")).code, Code::CHANGED);
    assert_eq!(rig.content("/large-update").unwrap(), [A, b"!"].concat());
    assert_eq!(rig.ask(&tagged(put(5, block(1, false, 0), b"?"), b"2")).code, Code::CHANGED);
    assert_eq!(rig.content("/large-update").unwrap(), [B, b"?"].concat());
}

#[test]
fn blk_21_a_large_response_to_an_upload_goes_on_with_block2_in_order() {
    let mut rig = Rig::serving();
    let post = |message_id, block1: Option<(Block, &'static [u8])>, block2: Option<Block>| {
        let mut message = con(Code::POST, message_id, &["large-post"]);
        if let Some((block, payload)) = block1 {
            message.options.set_block1(block);
            message.payload = Bytes::from_static(payload);
        }
        if let Some(block) = block2 {
            message.options.set_block2(block);
        }
        encode(&message)
    };
    assert_eq!(rig.ask(&post(1, Some((block(0, true, 0), A)), None)).code, Code::CONTINUE);
    let first = rig.ask(&post(2, Some((block(1, false, 0), b"end")), Some(block(0, false, 4))));
    assert_eq!((first.code, first.payload.len()), (Code::CHANGED, 256));
    assert_eq!(first.options.block1(), Some(block(1, false, 0)));
    assert_eq!(first.options.block2(), Some(block(0, true, 4)));
    let mut body = first.payload.to_vec();
    for num in 1..5 {
        let next = rig.ask(&post(2 + num as u16, None, Some(block(num, false, 4))));
        assert_eq!((next.code, next.options.block2()), (Code::CHANGED, Some(block(num, num < 4, 4))));
        assert_eq!(next.options.block1(), None);
        body.extend_from_slice(&next.payload);
    }
    assert_eq!((body.len(), rig.runs(Code::POST, "/large-post")), (1_280, 1));
}

#[test]
fn blk_22_a_2_31_has_no_block2() {
    let mut rig = Rig::serving();
    let mut first = put(1, block(0, true, 0), A);
    first.options.set_block2(block(0, false, 0));
    let reply = rig.ask(&encode(&first));
    assert_eq!((reply.code, reply.options.block2()), (Code::CONTINUE, None));
}

// ----- As a client --------------------------------------------------------------------------------------------------------

impl Rig {
    /// Sends what a blockwise server would, to the request that was sent last: with this block option and payload.
    fn reply(&mut self, code: Code, block1: Option<Block>, block2: Option<Block>, payload: &'static [u8]) {
        let (to, request) = self.sent();
        let plain = answer(Type::Acknowledgement, code, request.message_id, &request, payload);
        let mut message = Message::decode(plain.into()).unwrap();
        if let Some(block) = block1 {
            message.options.set_block1(block);
        }
        if let Some(block) = block2 {
            message.options.set_block2(block);
        }
        self.receive(to, &encode(&message));
    }

    fn upload(&mut self, to: u16, body: &'static [u8], szx: u8) {
        let request = Request::new(Code::PUT).with_options(path(&["large-update"])).with_body(Bytes::from_static(body));
        let how = RequestOptions::new().block_size(BlockSize::from_szx(szx).unwrap());
        self.endpoint.request(self.now, peer(to), request, &how).unwrap();
        self.drain();
    }
}

#[test]
fn blk_23_a_size_that_the_server_offers_late_is_taken_up() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    assert_eq!(Message::decode(rig.sent[0].1.clone().into()).unwrap().options.block2(), None);
    rig.reply(Code::CONTENT, None, Some(block(0, true, 0)), A);
    let next = Message::decode(rig.sent[0].1.clone().into()).unwrap();
    assert_eq!((next.options.block2(), next.payload.len()), (Some(block(1, false, 0)), 0));
    rig.reply(Code::CONTENT, None, Some(block(1, true, 0)), B);
    rig.reply(Code::CONTENT, None, Some(block(2, false, 0)), b"end");
    let (of, response) = rig.response();
    assert_eq!((of, response.body.as_bytes()), (id, &[A, B, b"end"].concat()[..]));
    rig.comes_to_rest();
}

#[test]
fn blk_25_a_block_of_another_number_is_never_joined() {
    for num in [0, 2, 5] {
        let mut rig = Rig::new();
        rig.get(peer(1));
        rig.reply(Code::CONTENT, None, Some(block(0, true, 0)), A);
        rig.reply(Code::CONTENT, None, Some(block(num, num != 2, 0)), B);
        // Whether it is asked for again or given up, there is no response.
        while !rig.sent.is_empty() {
            rig.reply(Code::CONTENT, None, Some(block(num, num != 2, 0)), B);
        }
        rig.pass(secs(500));
        let (_, reason, _) = rig.failure();
        assert_eq!(reason, Failure::Blockwise(BlockFailure::WrongBlock));
        rig.said_nothing();
    }
}

#[test]
fn blk_26_a_block_in_between_of_the_wrong_length_ends_the_transfer() {
    let wrong: [&'static [u8]; 3] = [b"", b"fifteen bytes!!", b"seventeen bytes!!"];
    for payload in wrong {
        for first in [true, false] {
            let mut rig = Rig::new();
            rig.get(peer(1));
            if !first {
                rig.reply(Code::CONTENT, None, Some(block(0, true, 0)), A);
            }
            rig.reply(Code::CONTENT, None, Some(block(u32::from(!first), true, 0)), payload);
            let (_, reason, _) = rig.failure();
            assert_eq!(reason, Failure::Blockwise(BlockFailure::WrongLength), "{} bytes", payload.len());
            rig.comes_to_rest();
        }
    }
}

#[test]
fn blk_28_a_smaller_size_in_an_upload_rescales_the_number() {
    let mut rig = Rig::new();
    rig.upload(1, &[b'x'; 300], 3);
    let first = Message::decode(rig.sent[0].1.clone().into()).unwrap();
    assert_eq!((first.options.block1(), first.payload.len()), (Some(block(0, true, 3)), 128));
    assert_eq!(first.options.size1(), Some(300));
    rig.reply(Code::CONTINUE, Some(block(0, true, 1)), None, b"");
    let mut num = 4;
    loop {
        let next = Message::decode(rig.sent[0].1.clone().into()).unwrap();
        let last = num == 9;
        assert_eq!(next.options.block1(), Some(block(num, !last, 1)));
        assert_eq!(next.payload.len(), if last { 300 - 288 } else { 32 });
        rig.reply(if last { Code::CHANGED } else { Code::CONTINUE }, Some(block(num, !last, 1)), None, b"");
        num += 1;
        if last {
            break;
        }
    }
    assert_eq!(rig.response().1.code, Code::CHANGED);
}

#[test]
fn blk_29_a_4_13_with_a_smaller_size_starts_anew_with_that() {
    let mut rig = Rig::new();
    rig.upload(1, &[b'x'; 300], 3);
    rig.reply(Code::REQUEST_ENTITY_TOO_LARGE, Some(block(0, true, 2)), None, b"");
    let anew = Message::decode(rig.sent[0].1.clone().into()).unwrap();
    assert_eq!((anew.options.block1(), anew.payload.len()), (Some(block(0, true, 2)), 64));
    // One without a smaller size is the answer.
    rig.reply(Code::REQUEST_ENTITY_TOO_LARGE, Some(block(0, true, 2)), None, b"");
    assert_eq!(rig.response().1.code, Code::REQUEST_ENTITY_TOO_LARGE);
    rig.sent_nothing();
}

#[test]
fn blk_31_two_bodies_to_one_resource_at_a_time_never_share_a_request_tag() {
    let config = Config::builder().transmission(
        Config::default().transmission().to_builder().nstart(8).accept_congestion_risk().build().unwrap(),
    );
    let mut rig = Rig::with(config.build().unwrap());
    let bodies: [&'static [u8]; 3] = [&[b'a'; 40], &[b'b'; 40], &[b'c'; 40]];
    bodies.iter().for_each(|body| rig.upload(1, body, 0));
    let tag = |message: &Message| message.options.get(OptionNumber::REQUEST_TAG).map(<[u8]>::to_vec);
    let firsts: Vec<_> =
        rig.sent.iter().map(|(_, bytes)| tag(&Message::decode(bytes.clone().into()).unwrap())).collect();
    assert_eq!(firsts.len(), 3);
    assert!(firsts[0] != firsts[1] && firsts[1] != firsts[2] && firsts[0] != firsts[2], "{firsts:?}");
    // Each body keeps its own to the end, and a server that goes by it mixes nothing.
    let mut server = Rig::serving();
    let mut seen = Vec::new();
    while let Some((_, bytes)) = rig.sent.pop_front() {
        let reply = server.ask(&bytes);
        seen.push(server.content("/large-update").unwrap());
        rig.receive(peer(1), &encode(&reply));
    }
    let answered = rig
        .events
        .iter()
        .filter(|event| matches!(event, Event::Response { response, .. } if response.code == Code::CHANGED));
    assert_eq!(answered.count(), 3);
    bodies.iter().for_each(|body| assert!(seen.iter().any(|stored| stored == body)));
}
