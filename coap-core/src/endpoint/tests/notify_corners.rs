//! Where notifications meet what else goes on: Resets that come late, other answers, other registrations, the end of a topic.

use super::topics::{CON, NON, is_newer, observe, registration};
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
        // RFC 7959 §2.6: a GET for a later block observes nothing, and its answer is no notification.
        assert_eq!((first.options.observe().is_some(), block.options.observe()), (true, None));
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

#[test]
fn a_deregistration_that_overtakes_the_answer_to_the_registration_counts() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    rig.receive(peer(1), &registration(0x2001, 0x51));
    let slow = rig.handed_up();
    rig.receive(peer(1), &observe(CON, Code::GET, 0x2002, 0x52, Some(0)));
    let other = rig.handed_up();
    rig.receive(peer(1), &observe(CON, Code::GET, 0x2003, 0x51, Some(1)));
    let farewell = rig.handed_up();
    rig.respond(farewell.id, content("v0"));
    // The registration came first, and is over.
    assert_eq!(rig.endpoint.accept_observer(rig.now, slow.id, topic, content("v0")).unwrap(), None);
    // That with another token is not.
    assert!(rig.endpoint.accept_observer(rig.now, other.id, topic, content("v0")).unwrap().is_some());
    rig.drain();
    let observed = rig.sent.drain(..).map(|(_, bytes)| Message::decode(bytes.into()).unwrap().options.observe());
    assert_eq!(observed.map(|number| number.is_some()).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(rig.endpoint.topic_observers(topic), 1);
    rig.ends(&[topic]);
}

#[test]
fn an_observer_is_not_accepted_with_a_body_in_parts() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    rig.receive(peer(1), &registration(0x2001, 0x51));
    let request = rig.handed_up();
    let parts = Response::new(Code::CONTENT).with_body(Body::Parts { size: None });
    let refused = rig.endpoint.accept_observer(rig.now, request.id, topic, parts);
    assert_eq!(refused, Err(RespondError::PartsImpossible));
    rig.sent_nothing();
    assert!(rig.endpoint.accept_observer(rig.now, request.id, topic, content("v0")).unwrap().is_some());
    rig.drain();
    rig.ends(&[topic]);
}

/// A registration that is answered separately: `how` says what becomes of the answer.
fn answered_separately(rig: &mut Rig, topic: TopicId, message_id: u16) -> (ObserverId, Message) {
    rig.receive(peer(1), &registration(message_id, 0x51));
    let request = rig.handed_up();
    rig.pass(ms(300));
    assert_eq!(rig.sent_bytes(), empty(Type::Acknowledgement, message_id));
    let id = rig.endpoint.accept_observer(rig.now, request.id, topic, content("v0")).unwrap().unwrap();
    rig.drain();
    let (_, answer) = rig.notified(CON, "v0");
    (id, answer)
}

#[test]
fn a_separate_first_answer_is_the_notification_that_is_outstanding() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    let (_, answer) = answered_separately(&mut rig, topic, 0x2001);
    rig.publish(topic, "v1");
    rig.publish(topic, "v2");
    rig.sent_nothing();
    rig.pass(secs(3));
    assert_eq!(rig.notified(CON, "v0").1, answer);
    rig.sent_nothing();
    rig.acknowledge(peer(1), &answer);
    let (_, notification) = rig.notified(CON, "v2");
    assert!(is_newer(&answer, &notification));
    rig.acknowledge(peer(1), &notification);
    rig.pass(secs(300));
    rig.sent_nothing();
    rig.said_nothing();
    rig.ends(&[topic]);
}

#[test]
fn an_answer_that_was_lost_does_not_end_what_was_registered_since() {
    for end in [None, Some(Type::Reset)] {
        let mut rig = Rig::new();
        let topic = rig.topic(TopicOptions::new());
        let (id, lost) = answered_separately(&mut rig, topic, 0x2001);
        rig.receive(peer(1), &registration(0x2002, 0x51));
        assert_eq!(rig.accept(topic), Some(id));
        rig.sent();
        if let Some(kind) = end {
            rig.receive(peer(1), &empty(kind, lost.message_id));
        }
        rig.pass(secs(300));
        rig.said_nothing();
        rig.sent.clear();
        rig.publish(topic, "v1");
        rig.notified(CON, "v1");
        rig.ends(&[topic]);
    }
}

#[test]
fn a_flood_of_registrations_leaves_room_for_those_who_observe_and_those_who_ask() {
    for config in [Config::constrained().build().unwrap(), Config::default()] {
        let most = config.max_observers;
        let mut rig = Rig::with(config);
        let topic = rig.topic(TopicOptions::new());
        rig.observer(peer(1), 0x51, topic);
        for n in 0..10_000 {
            let token = n as u8;
            rig.receive(peer(100 + n), &registration(0x2001, token));
            if let Some(Event::Request(request)) = rig.events.pop_front() {
                rig.endpoint.accept_observer(rig.now, request.id, topic, content("v0")).unwrap();
            }
            rig.drain();
        }
        assert_eq!(rig.endpoint.usage().observers, most);
        // Another peer asks, and is answered.
        rig.sent.clear();
        rig.receive(peer(2), &POST_A);
        let request = rig.handed_up();
        rig.respond(request.id, content("done"));
        assert_eq!(rig.sent().0, peer(2));
        // And who observed is told.
        rig.publish(topic, "v1");
        let told = rig.sent.iter().find(|(to, _)| *to == peer(1)).expect("not told").clone();
        rig.receive(peer(1), &empty(Type::Acknowledgement, u16::from_be_bytes([told.1[2], told.1[3]])));
        // The others are gone when they have not acknowledged it.
        rig.pass(secs(100));
        assert_eq!(rig.endpoint.usage().observers, 1);
        rig.ends(&[topic]);
    }
}

#[test]
fn who_is_still_to_be_told_the_last_word_keeps_the_endpoint_busy() {
    let mut rig = Rig::new();
    let topic = rig.topic(NON);
    rig.observer(peer(1), 0x51, topic);
    rig.publish(topic, "v1");
    rig.notified(Type::NonConfirmable, "v1");
    rig.endpoint.begin_shutdown(rig.now);
    assert!(rig.endpoint.close_topic(rig.now, topic, Some(Response::new(Code::SERVICE_UNAVAILABLE))));
    rig.drain();
    // Its distance to the notification before is kept.
    rig.sent_nothing();
    assert!(!rig.endpoint.is_idle());
    rig.pass(secs(3));
    let (_, last) = rig.notified(CON, "");
    assert!(!rig.endpoint.is_idle());
    rig.acknowledge(peer(1), &last);
    assert!(rig.endpoint.is_idle());
}

#[test]
fn a_notification_has_the_block_options_of_its_own_body_only() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    rig.observer(peer(1), 0x51, topic);
    let mut state = content("short");
    state.options.set_block2(Block::new(0, true, 2).unwrap());
    state.options.set_block1(Block::new(0, true, 2).unwrap());
    assert!(rig.endpoint.publish(rig.now, topic, state));
    rig.drain();
    let (_, notification) = rig.sent();
    assert_eq!((notification.options.block1(), notification.options.block2()), (None, None));
    rig.ends(&[topic]);
}

#[test]
fn a_later_block_of_a_fetch_with_content_is_not_one_of_what_another_content_observes() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    let fetch = |message_id, content: &'static str, num, observe: Option<u32>| {
        let mut message = Message::decode(block_of_o(message_id, 0x50 + message_id as u8, num).into()).unwrap();
        (message.code, message.payload) = (Code::FETCH, Bytes::from(content));
        if let Some(observe) = observe {
            message.options.set_observe(observe);
        }
        encode(&message)
    };
    rig.receive(peer(1), &fetch(1, "one", 0, Some(0)));
    rig.accept(topic).unwrap();
    rig.sent();
    assert!(rig.endpoint.publish(rig.now, topic, long(1)));
    rig.drain();
    rig.sent();
    // Its own rest is fetched without the content (RFC 7959 §2.7).
    rig.receive(peer(1), &fetch(2, "", 1, None));
    assert_eq!(rig.sent().1.payload, [1; 36][..]);
    rig.receive(peer(1), &fetch(3, "two", 1, None));
    let request = rig.handed_up();
    assert_eq!(request.request.body.as_bytes()[..], b"two"[..]);
    rig.respond(request.id, long(2));
    assert_eq!(rig.sent().1.payload, [2; 36][..]);
    rig.ends(&[topic]);
}

#[test]
fn a_notification_does_not_end_a_response_in_parts_to_the_same_peer() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    rig.receive(peer(1), &observe_in_blocks(0x2001, 0x51));
    rig.accept(topic).unwrap();
    rig.sent();
    rig.receive(peer(1), &block_of_o(0x2002, 0x61, 0));
    let id = rig.handed_up().id;
    rig.respond(id, Response::new(Code::CONTENT).with_body(Body::Parts { size: None }));
    rig.event();
    rig.endpoint.supply(rig.now, id.response_body(), Bytes::from_static(&[7; 64]), false).unwrap();
    rig.drain();
    assert!(rig.endpoint.publish(rig.now, topic, long(1)));
    rig.drain();
    rig.sent.clear();
    rig.events.clear();
    rig.endpoint.supply(rig.now, id.response_body(), Bytes::from_static(&[8; 10]), true).unwrap();
    rig.drain();
    rig.sent.clear();
    rig.receive(peer(1), &block_of_o(0x2003, 0x62, 1));
    assert_eq!(rig.sent().1.payload, [8; 10][..]);
    rig.said_nothing();
    rig.ends(&[topic]);
}

/// RFC 7641 §4.1: an answer with Observe says that there is an entry with this token.
#[test]
fn the_answer_to_a_registration_in_blocks_comes_again_without_observe_for_another_token() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    let block = |message_id, token, num, more| {
        let mut message = Message::decode(registration(message_id, token).into()).unwrap();
        message.code = Code::FETCH;
        message.options.set_block1(Block::new(num, more, 0).unwrap());
        message.payload = Bytes::from_static(&[7; 16]);
        encode(&message)
    };
    rig.receive(peer(1), &block(0x2001, 0x51, 0, true));
    let id = rig.handed_up().id;
    assert!(rig.endpoint.collect(rig.now, id.request_body(), 100));
    rig.drain();
    assert_eq!(rig.sent().1.code, Code::CONTINUE);
    rig.receive(peer(1), &block(0x2002, 0x52, 1, false));
    rig.event();
    rig.endpoint.accept_observer(rig.now, id, topic, content("v0")).unwrap().unwrap();
    rig.drain();
    let (_, first) = rig.sent();
    // It was lost, and the last block comes again: as it was, and with a new token.
    for (message_id, token, observes) in [(0x2003, 0x52, true), (0x2004, 0x53, false)] {
        rig.receive(peer(1), &block(message_id, token, 1, false));
        let (_, again) = rig.sent();
        assert_eq!((again.code, &again.payload), (first.code, &first.payload));
        assert_eq!(again.options.observe().is_some(), observes, "{again}");
    }
    assert_eq!(rig.endpoint.topic_observers(topic), 1);
    rig.ends(&[topic]);
}
