//! Where notifications meet what else goes on: Resets that come late, other answers, other registrations, the end of a topic.

use super::topics::{CON, NON, registration};
use super::*;

#[test]
fn a_reset_for_an_earlier_non_confirmable_notification_ends_the_observation() {
    let mut rig = Rig::new();
    let topic = rig.topic(NON);
    let id = rig.observer(peer(1), 0x51, topic);
    rig.publish(topic, "v1");
    let (_, first) = rig.notified(Type::NonConfirmable, "v1");
    // Another leaves at the very time that the Reset is on its way, and one more.
    for _ in 0..2 {
        rig.publish(topic, "v2");
        rig.pass(secs(4));
        rig.notified(Type::NonConfirmable, "v2");
    }
    rig.reset(peer(1), &first);
    assert_eq!(rig.lost(), (id, topic, Closed::Reset));
    assert_eq!(rig.endpoint.usage().observers, 0);
    rig.ends(&[topic]);
}

#[test]
fn a_reset_for_a_superseded_copy_ends_the_observation() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    let id = rig.observer(peer(1), 0x51, topic);
    rig.publish(topic, "v1");
    let (_, first) = rig.notified(CON, "v1");
    rig.publish(topic, "v2");
    rig.pass(secs(3));
    rig.notified(CON, "v2");
    rig.reset(peer(1), &first);
    assert_eq!(rig.lost(), (id, topic, Closed::Reset));
    assert_eq!(rig.endpoint.usage().in_flight, 0);
    rig.ends(&[topic]);
}

#[test]
fn a_reset_from_before_a_registration_does_not_end_it() {
    let mut rig = Rig::new();
    let topic = rig.topic(NON);
    let id = rig.observer(peer(1), 0x51, topic);
    rig.publish(topic, "v1");
    let (_, first) = rig.notified(Type::NonConfirmable, "v1");
    rig.receive(peer(1), &registration(0x3001, 0x51));
    assert_eq!(rig.accept(topic), Some(id));
    rig.sent();
    rig.reset(peer(1), &first);
    rig.said_nothing();
    assert_eq!(rig.endpoint.topic_observers(topic), 1);
    rig.ends(&[topic]);
}

/// GET /o, Confirmable: the block with this number, 64 bytes.
fn block_of_o(message_id: u16, token: u8, num: u32) -> Vec<u8> {
    let mut options = path(&["o"]);
    options.set_block2(Block::new(num, false, 2).unwrap());
    let token = Token::new(&[token]).unwrap();
    encode(&Message { kind: CON, code: Code::GET, message_id, token, options, payload: Bytes::new() })
}

/// Observe 0 beside it.
fn observe_in_blocks(message_id: u16, token: u8) -> Vec<u8> {
    let mut message = Message::decode(block_of_o(message_id, token, 0).into()).unwrap();
    message.options.set_observe(0);
    encode(&message)
}

fn long(byte: u8) -> Response {
    Response::new(Code::CONTENT).with_body(vec![byte; 100])
}

#[test]
fn further_blocks_are_of_the_state_that_was_notified_last() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    rig.receive(peer(1), &observe_in_blocks(0x2001, 0x51));
    let request = rig.handed_up();
    rig.endpoint.accept_observer(rig.now, request.id, topic, long(1)).unwrap().unwrap();
    rig.drain();
    rig.sent();
    // The same peer gets the resource meanwhile: its response is kept for that.
    rig.receive(peer(1), &block_of_o(0x2002, 0x61, 0));
    let request = rig.handed_up();
    rig.respond(request.id, long(1));
    rig.sent();
    assert!(rig.endpoint.publish(rig.now, topic, long(2)));
    rig.drain();
    let (_, notification) = rig.sent();
    assert_eq!(notification.payload, [2; 64][..]);
    rig.receive(peer(1), &block_of_o(0x2003, 0x62, 1));
    let (_, block) = rig.sent();
    assert_eq!((block.options.etag(), &block.payload[..]), (notification.options.etag(), &[2; 36][..]));
    // And a GET from here on has the same tag.
    rig.receive(peer(1), &block_of_o(0x2004, 0x63, 0));
    let request = rig.handed_up();
    rig.respond(request.id, long(2));
    assert_eq!(rig.sent().1.options.etag(), notification.options.etag());
    rig.ends(&[topic]);
}

#[test]
fn the_blocks_of_a_first_answer_are_of_that_answer() {
    // The topic had another state when it was published last: nobody observed it since. Or the response cannot be kept.
    for (max_transfers, told) in [(64, false), (0, true)] {
        let mut rig = Rig::with(Config::builder().max_transfers(max_transfers).build().unwrap());
        let topic = rig.topic(TopicOptions::new());
        assert!(rig.endpoint.publish(rig.now, topic, long(1)));
        rig.receive(peer(1), &observe_in_blocks(0x2001, 0x51));
        let request = rig.handed_up();
        rig.endpoint.accept_observer(rig.now, request.id, topic, long(2)).unwrap().unwrap();
        rig.drain();
        let (_, first) = rig.sent();
        rig.receive(peer(1), &block_of_o(0x2002, 0x61, 1));
        if told {
            let request = rig.handed_up();
            rig.respond(request.id, long(2));
        }
        let (_, block) = rig.sent();
        assert_eq!((block.options.etag(), &block.payload[..]), (first.options.etag(), &[2; 36][..]));
        rig.ends(&[topic]);
    }
}

#[test]
fn what_was_answered_is_not_followed_by_what_was_published_before() {
    let mut rig = Rig::new();
    let mut topics = vec![rig.topic(NON)];
    rig.observer(peer(1), 0x51, topics[0]);
    rig.publish(topics[0], "v1");
    rig.notified(Type::NonConfirmable, "v1");
    // It comes to another topic with its token: that one has never been told anything, or something long ago.
    for before in [None, Some("old")] {
        let other = rig.topic(NON);
        topics.push(other);
        if let Some(before) = before {
            rig.publish(other, before);
        }
        rig.receive(peer(1), &registration(0x3001 + u16::from(before.is_some()), 0x51));
        rig.accept(other).unwrap();
        rig.sent();
        rig.pass(secs(300));
        rig.sent_nothing();
        rig.said_nothing();
        assert_eq!(rig.endpoint.topic_observers(other), 1);
    }
    rig.ends(&topics);
}
