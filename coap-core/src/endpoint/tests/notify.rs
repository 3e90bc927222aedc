//! How observers are told (RFC 7641 §4.5).

use super::topics::{CON, NON, is_newer, non, registration};
use super::*;

#[test]
fn one_notification_is_outstanding_and_its_copies_carry_the_newest_state() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    rig.observer(peer(1), 0x51, topic);
    rig.publish(topic, "v1");
    let (_, first) = rig.notified(CON, "v1");
    rig.pass(ms(500));
    rig.publish(topic, "v2");
    rig.publish(topic, "v3");
    rig.pass(ms(1_499));
    rig.sent_nothing();
    rig.pass(ms(1_001));
    let (_, second) = rig.notified(CON, "v3");
    assert!(is_newer(&first, &second) && first.message_id != second.message_id);
    // The back-off goes on where it was, and an unchanged state is the same message.
    rig.pass(secs(3));
    rig.sent_nothing();
    rig.pass(secs(3));
    assert_eq!(rig.notified(CON, "v3").1, second);
    // What has been superseded is not known any more.
    rig.acknowledge(peer(1), &first);
    assert_eq!((rig.endpoint.usage().in_flight, rig.endpoint.stats().unmatched), (1, 1));
    rig.acknowledge(peer(1), &second);
    rig.pass(secs(200));
    rig.sent_nothing();
    rig.publish(topic, "v4");
    rig.notified(CON, "v4");
    assert_eq!(rig.endpoint.stats().notifications_sent, 2);
    rig.ends(&[topic]);
}

#[test]
fn what_changed_while_one_was_outstanding_is_told_after_its_acknowledgement() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    rig.observer(peer(1), 0x51, topic);
    rig.publish(topic, "v1");
    let (_, first) = rig.notified(CON, "v1");
    rig.publish(topic, "v2");
    rig.publish(topic, "v3");
    rig.sent_nothing();
    rig.acknowledge(peer(1), &first);
    let (_, second) = rig.notified(CON, "v3");
    rig.acknowledge(peer(1), &second);
    rig.sent_nothing();
    rig.ends(&[topic]);
}

#[test]
fn non_confirmable_notifications_keep_their_distance_and_end_in_a_confirmable_one() {
    let mut rig = Rig::new();
    let topic = rig.topic(NON);
    rig.observer(peer(1), 0x51, topic);
    for n in 0..100 {
        rig.publish(topic, if n < 99 { "x" } else { "last" });
        rig.pass(ms(100));
    }
    rig.pass(secs(9));
    let sent: Vec<_> = rig.sent.drain(..).map(|(_, bytes)| Message::decode(bytes.into()).unwrap()).collect();
    assert_eq!(sent.len(), 5);
    assert!(sent.iter().all(|message| message.kind == Type::NonConfirmable));
    assert_eq!(&sent[4].payload[..], b"last");
    // It may have been lost.
    rig.pass(secs(4));
    let (_, confirmable) = rig.notified(CON, "last");
    assert!(is_newer(&sent[4], &confirmable));
    rig.acknowledge(peer(1), &confirmable);
    rig.pass(secs(1_000));
    rig.sent_nothing();
    rig.ends(&[topic]);
}

#[test]
fn an_unproven_observer_is_sent_few_non_confirmable_ones_without_an_acknowledgement() {
    let mut rig = Rig::new();
    let topic = rig.topic(NON);
    rig.observer(peer(1), 0x51, topic);
    for _ in 0..5 {
        rig.publish(topic, "x");
        rig.notified(Type::NonConfirmable, "x");
        rig.pass(secs(5));
    }
    rig.publish(topic, "y");
    let (_, sixth) = rig.notified(CON, "y");
    rig.acknowledge(peer(1), &sixth);
    for _ in 0..20 {
        rig.publish(topic, "x");
        rig.notified(Type::NonConfirmable, "x");
        rig.pass(secs(5));
    }
    rig.ends(&[topic]);
}

#[test]
fn a_round_trip_that_was_measured_sets_the_pace() {
    let mut rig = Rig::new();
    let topic = rig.topic(non(2));
    rig.observer(peer(1), 0x51, topic);
    rig.publish(topic, "v1");
    rig.notified(Type::NonConfirmable, "v1");
    rig.pass(secs(3));
    rig.publish(topic, "v2");
    let (_, second) = rig.notified(CON, "v2");
    rig.pass(ms(200));
    rig.acknowledge(peer(1), &second);
    rig.publish(topic, "v3");
    rig.notified(Type::NonConfirmable, "v3");
    rig.publish(topic, "v4");
    rig.pass(ms(199));
    rig.sent_nothing();
    rig.pass(ms(1));
    rig.notified(CON, "v4");
    rig.ends(&[topic]);
}

#[test]
fn one_in_a_day_is_confirmable_and_who_does_not_acknowledge_it_is_removed() {
    let mut rig = Rig::new();
    let topic = rig.topic(NON);
    let id = rig.observer(peer(1), 0x51, topic);
    rig.publish(topic, "v");
    rig.notified(Type::NonConfirmable, "v");
    rig.pass(secs(11));
    let (_, confirmable) = rig.notified(CON, "v");
    rig.acknowledge(peer(1), &confirmable);
    // A change every five seconds leaves no time to confirm after each.
    for n in 0..17_280 {
        rig.publish(topic, "v");
        let (_, notification) = rig.sent();
        if notification.kind == CON {
            assert_eq!(n * 5, 12 * 60 * 60);
            break;
        }
        rig.pass(secs(5));
    }
    rig.pass(secs(100));
    assert_eq!((rig.lost(), rig.sent.len()), ((id, topic, Closed::NoAck), 4));
    rig.ends(&[topic]);
}

#[test]
fn an_interval_holds_each_observer_back() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new().min_interval(secs(10)));
    rig.observer(peer(1), 0x51, topic);
    rig.publish(topic, "v1");
    rig.publish(topic, "v2");
    rig.pass(ms(9_999));
    rig.sent_nothing();
    rig.pass(ms(1));
    let (_, notification) = rig.notified(CON, "v2");
    rig.publish(topic, "v3");
    rig.pass(secs(1));
    rig.acknowledge(peer(1), &notification);
    rig.publish(topic, "v4");
    rig.pass(ms(8_999));
    rig.sent_nothing();
    rig.pass(ms(1));
    rig.notified(CON, "v4");
    rig.ends(&[topic]);
}

#[test]
fn one_peer_has_nstart_notifications_outstanding_and_its_observers_take_turns() {
    let mut rig = Rig::new();
    let topics: Vec<_> = (0..3).map(|_| rig.topic(TopicOptions::new())).collect();
    for (n, topic) in topics.iter().enumerate() {
        rig.observer(peer(1), 0x51 + n as u8, *topic);
    }
    for topic in &topics {
        rig.publish(*topic, "v1");
    }
    let mut told = Vec::new();
    for _ in 0..9 {
        let (_, notification) = rig.notified(CON, "v1");
        rig.sent_nothing();
        told.push(notification.token.as_bytes()[0]);
        // The first topic changes faster than anybody can follow.
        rig.publish(topics[0], "v1");
        rig.sent_nothing();
        rig.acknowledge(peer(1), &notification);
        if told.len() == 3 {
            rig.publish(topics[1], "v1");
            rig.publish(topics[2], "v1");
        }
    }
    for token in [0x52, 0x53] {
        assert_eq!(told.iter().filter(|told| **told == token).count(), 2, "{told:x?}");
    }
    rig.ends(&topics);
}

#[test]
fn topics_take_turns() {
    let mut rig = Rig::new();
    let (large, small) = (rig.topic(TopicOptions::new()), rig.topic(TopicOptions::new()));
    for n in 0..100 {
        rig.observer(peer(n), 0x51, large);
    }
    rig.observer(peer(100), 0x52, small);
    assert!(rig.endpoint.publish(rig.now, large, content("v1")));
    assert!(rig.endpoint.publish(rig.now, small, content("v1")));
    rig.drain();
    assert_eq!(rig.sent.iter().position(|(to, _)| *to == peer(100)), Some(1));
    assert_eq!(rig.sent.len(), 101);
    rig.ends(&[large, small]);
}

#[test]
fn notifications_go_behind_everything_else() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    for n in 0..10 {
        rig.observer(peer(n), 0x51, topic);
    }
    assert!(rig.endpoint.publish(rig.now, topic, content("v1")));
    rig.receive(peer(20), &hex!("40 00 1234"));
    assert_eq!(rig.sent_bytes(), hex!("70 00 1234"));
    assert_eq!(rig.sent.len(), 10);
    rig.ends(&[topic]);
}

#[test]
fn observers_can_go_while_the_others_are_being_told() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    let ids: Vec<_> = (0..100).map(|n| rig.observer(peer(n), 0x51, topic)).collect();
    assert!(rig.endpoint.publish(rig.now, topic, content("v1")));
    let mut buf = [0; 1_152];
    let mut told = Vec::new();
    let mut removed = 0;
    while let Some(transmit) = rig.endpoint.poll_transmit(&mut buf) {
        told.push(transmit.to);
        // Each third that is told takes the one behind it along, and the one before it.
        let n = told.len() - 1;
        if n % 3 == 0 {
            for id in [ids.get(n + removed + 1), ids.get((n + removed).wrapping_sub(1))].into_iter().flatten() {
                rig.endpoint.remove_observer(rig.now, *id);
            }
            removed += 1;
        }
    }
    let left = rig.endpoint.topic_observers(topic);
    assert!((30..70).contains(&left), "{left}");
    assert_eq!(rig.endpoint.usage().in_flight, left);
    assert_eq!(told.len() + removed, 100);
    rig.ends(&[topic]);
}

#[test]
fn who_waits_for_its_peer_is_not_searched_over_and_over() {
    let config = Config::builder().max_observers(5_001).max_observers_per_peer(5_000).build().unwrap();
    let mut rig = Rig::with(config);
    let topic = rig.topic(TopicOptions::new());
    for n in 0..5_000_u32 {
        let mut message = Message::decode(registration(n as u16, 0).into()).unwrap();
        message.token = Token::new(&n.to_be_bytes()).unwrap();
        rig.receive(peer(1), &encode(&message));
        rig.accept(topic).unwrap();
        rig.sent();
    }
    rig.observer(peer(2), 0x51, topic);
    rig.pass(secs(1));
    rig.publish(topic, "v1");
    let (_, first) = rig.notified(CON, "v1");
    rig.sent_nothing();
    let mut calls = 0;
    while rig.sent.is_empty() {
        assert_eq!(rig.endpoint.poll_timeout(), Some(rig.now), "there is more to search");
        rig.endpoint.handle_timeout(rig.now);
        rig.drain();
        calls += 1;
    }
    assert!((10..40).contains(&calls), "{calls}");
    assert_eq!(rig.notified(CON, "v1").0, peer(2));
    assert!(rig.endpoint.poll_timeout().unwrap() > rig.now, "nobody is left to be searched");
    rig.acknowledge(peer(1), &first);
    assert_eq!(rig.notified(CON, "v1").0, peer(1));
    rig.ends(&[topic]);
}

#[test]
fn a_peer_whose_message_ids_are_used_up_waits_for_one() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    let id = rig.observer(peer(1), 0x51, topic);
    let mut told = 0;
    while rig.endpoint.publish(rig.now, topic, content("v")) {
        rig.drain();
        let Some((_, bytes)) = rig.sent.pop_front() else { break };
        rig.receive(peer(1), &empty(Type::Acknowledgement, u16::from_be_bytes([bytes[2], bytes[3]])));
        told += 1;
    }
    assert!((57_600..=61_440).contains(&told), "{told}");
    assert!(rig.endpoint.poll_timeout().unwrap() > rig.now + secs(200));
    rig.publish(topic, "w");
    rig.sent_nothing();
    rig.pass(secs(247));
    rig.notified(CON, "w");
    assert!(rig.endpoint.remove_observer(rig.now, id));
    rig.ends(&[topic]);
}

#[test]
fn a_long_state_is_told_by_its_first_block() {
    let mut rig = Rig::with(Config::builder().understands(OptionNumber::BLOCK2).build().unwrap());
    let topic = rig.topic(TopicOptions::new());
    rig.observer(peer(1), 0x51, topic);
    let mut small = Message::decode(registration(1, 0x52).into()).unwrap();
    small.options.set_block2(Block::new(0, false, 2).unwrap());
    rig.receive(peer(2), &encode(&small));
    rig.accept(topic).unwrap();
    rig.sent();
    let body: Vec<u8> = (0..1_280_u32).map(|n| n as u8).collect();
    assert!(rig.endpoint.publish(rig.now, topic, Response::new(Code::CONTENT).with_body(body.clone())));
    rig.drain();
    let mut tags = Vec::new();
    for (size, szx) in [(1_024, 6), (64, 2)] {
        let (_, notification) = rig.sent();
        assert_eq!(notification.options.block2(), Block::new(0, true, szx));
        assert_eq!((notification.options.size2(), &notification.payload[..]), (Some(1_280), &body[..size]));
        assert!(notification.options.observe().is_some());
        tags.push(notification.options.etag().unwrap());
    }
    assert_eq!(tags[0], tags[1]);
    // The rest comes from the same state.
    let operation = rig.endpoint.hash.operation(Code::GET, &path(&["o"]));
    let peer = rig.endpoint.peers.find(&peer(1)).unwrap();
    let (code, options, kept) = rig.endpoint.observed_body(peer, operation).unwrap();
    assert_eq!((code, options.etag().as_ref(), &kept[..]), (Code::CONTENT, Some(&tags[0]), &body[..]));
    assert!(rig.endpoint.observed_body(peer, operation + 1).is_none());
    rig.ends(&[topic]);
}

#[test]
fn a_block_is_as_large_as_fits() {
    for max in 64..300 {
        let mut rig = Rig::with(Config::builder().max_datagram(max).build().unwrap());
        let topic = rig.topic(TopicOptions::new());
        let mut request = Message::decode(registration(1, 0x51).into()).unwrap();
        request.token = Token::new(&[7; 8]).unwrap();
        rig.receive(peer(1), &encode(&request));
        rig.accept(topic).unwrap();
        rig.sent();
        for len in [16, 17, max, 2_000] {
            let mut options = Options::new();
            options.set_content_format(ContentFormat::JSON);
            options.set_max_age(5);
            let state = Response::new(Code::CONTENT).with_options(options).with_body(vec![1; len]);
            assert!(rig.endpoint.publish(rig.now, topic, state));
            rig.drain();
            let (_, notification) = rig.sent();
            let block = notification.options.block2();
            assert_eq!(notification.payload.len(), block.map_or(len, |block| block.size()));
            assert!(notification.encoded_len() <= max && 2 * notification.encoded_len() > max.min(2 * len));
            rig.acknowledge(peer(1), &notification);
        }
        rig.ends(&[topic]);
    }
}

#[test]
fn what_cannot_be_told_is_refused_and_changes_nothing() {
    let mut rig = Rig::with(Config::builder().max_datagram(64).build().unwrap());
    let topic = rig.topic(TopicOptions::new());
    rig.observer(peer(1), 0x51, topic);
    let mut long = Options::new();
    long.push_location_path(core::str::from_utf8(&[b'x'; 60]).unwrap()).unwrap();
    let cannot = [
        Response::new(Code::GET),
        Response::new(Code::CONTENT).with_options(long.clone()),
        Response { body: Body::Parts { size: None }, ..Response::new(Code::CONTENT) },
    ];
    for state in cannot {
        assert!(!rig.endpoint.publish(rig.now, topic, state));
    }
    rig.drain();
    rig.sent_nothing();
    // A last word is shortened instead.
    rig.endpoint.close_topic(rig.now, topic, Some(Response::new(Code::NOT_FOUND).with_options(long)));
    rig.drain();
    let (_, last) = rig.sent();
    assert_eq!((last.code, last.options.is_empty()), (Code::NOT_FOUND, true));
}
