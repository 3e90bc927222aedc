//! As a server of observations (RFC 7641).

use super::*;

/// GET /o with Observe 0, CON, with this Message ID and token.
fn registration(message_id: u16, token: u8) -> Vec<u8> {
    observe(Type::Confirmable, Code::GET, message_id, token, Some(0))
}

fn observe(kind: Type, code: Code, message_id: u16, token: u8, value: Option<u32>) -> Vec<u8> {
    let mut options = path(&["o"]);
    if let Some(value) = value {
        options.set_observe(value);
    }
    let token = Token::new(&[token]).unwrap();
    encode(&Message { kind, code, message_id, token, options, payload: Bytes::new() })
}

const NON: TopicOptions = non(u32::MAX);

const fn non(confirm_every: u32) -> TopicOptions {
    TopicOptions::new().reliability(Reliability::NonConfirmable { confirm_every })
}

impl Rig {
    fn accept(&mut self, topic: TopicId) -> Option<ObserverId> {
        let request = self.handed_up();
        let accepted = self.endpoint.accept_observer(self.now, request.id, topic, content("v0")).unwrap();
        self.drain();
        accepted
    }

    /// An observer whose registration has been answered.
    fn observer(&mut self, from: Peer, token: u8, topic: TopicId) -> ObserverId {
        self.receive(from, &registration(0x2000 | u16::from(token), token));
        let id = self.accept(topic).expect("not accepted");
        let (_, answer) = self.sent();
        assert_eq!((answer.kind, answer.code), (Type::Acknowledgement, Code::CONTENT));
        assert!(answer.options.observe().is_some());
        id
    }

    fn publish(&mut self, topic: TopicId, state: &'static str) {
        assert!(self.endpoint.publish(self.now, topic, content(state)));
        self.drain();
    }

    /// The next notification: its payload is checked.
    #[track_caller]
    fn notified(&mut self, kind: Type, payload: &str) -> (Peer, Message) {
        let (to, message) = self.sent();
        assert_eq!((message.kind, &message.payload[..]), (kind, payload.as_bytes()), "{message}");
        (to, message)
    }

    fn acknowledge(&mut self, to: Peer, message: &Message) {
        self.receive(to, &empty(Type::Acknowledgement, message.message_id));
    }

    fn reset(&mut self, to: Peer, message: &Message) {
        self.receive(to, &empty(Type::Reset, message.message_id));
    }

    #[track_caller]
    fn lost(&mut self) -> (ObserverId, TopicId, Closed) {
        match self.event() {
            Event::ObserverLost { id, topic, why } => (id, topic, why),
            other => panic!("{other:?}"),
        }
    }

    fn topic(&mut self, how: TopicOptions) -> TopicId {
        self.endpoint.open_topic(how)
    }

    /// Nothing is left when the topics have been closed.
    #[track_caller]
    fn ends(&mut self, topics: &[TopicId]) {
        for topic in topics {
            assert!(self.endpoint.close_topic(self.now, *topic, None));
            assert!(!self.endpoint.close_topic(self.now, *topic, None));
        }
        self.drain();
        self.events.clear();
        self.sent.clear();
        self.comes_to_rest();
    }
}

const CON: Type = Type::Confirmable;

/// RFC 7641 §3.4, without its clock.
fn is_newer(one: &Message, other: &Message) -> bool {
    let (v1, v2) = (one.options.observe().unwrap(), other.options.observe().unwrap());
    (v1 < v2 && v2 - v1 < 1 << 23) || (v1 > v2 && v1 - v2 > 1 << 23)
}

#[test]
fn observers_are_told_each_state_in_order() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    rig.receive(peer(1), &registration(0x2001, 0x51));
    rig.accept(topic).unwrap();
    let (_, mut last) = rig.sent();
    for state in ["v1", "v2", "v3"] {
        rig.publish(topic, state);
        let (to, notification) = rig.notified(CON, state);
        assert_eq!((to, notification.token.as_bytes()), (peer(1), &[0x51][..]));
        assert_eq!(notification.options.content_format(), Some(ContentFormat::TEXT_PLAIN));
        assert!(is_newer(&last, &notification));
        rig.acknowledge(to, &notification);
        last = notification;
    }
    rig.pass(secs(100_000));
    rig.sent_nothing();
    rig.said_nothing();
    assert_eq!(rig.endpoint.topic_observers(topic), 1);
    rig.ends(&[topic]);
}

#[test]
fn a_reset_ends_the_observation() {
    for (how, kind) in [(TopicOptions::new(), CON), (NON, Type::NonConfirmable)] {
        let mut rig = Rig::new();
        let topic = rig.topic(how);
        let id = rig.observer(peer(1), 0x51, topic);
        rig.publish(topic, "v1");
        let (_, notification) = rig.notified(kind, "v1");
        rig.reset(peer(1), &notification);
        assert_eq!(rig.lost(), (id, topic, Closed::Reset));
        rig.publish(topic, "v2");
        rig.pass(secs(100));
        rig.sent_nothing();
        assert_eq!(rig.endpoint.topic_observers(topic), 0);
        rig.ends(&[topic]);
    }
}

#[test]
fn observe_1_with_the_same_token_ends_it_before_the_request_is_handed_up() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    let id = rig.observer(peer(1), 0x51, topic);
    // Another token, another peer, another method: nothing.
    rig.receive(peer(1), &observe(CON, Code::GET, 1, 0x52, Some(1)));
    rig.receive(peer(2), &observe(CON, Code::GET, 1, 0x51, Some(1)));
    rig.receive(peer(1), &observe(CON, Code::PUT, 2, 0x51, Some(1)));
    assert_eq!((rig.endpoint.topic_observers(topic), rig.events.len()), (1, 3));
    rig.events.clear();
    rig.receive(peer(1), &observe(CON, Code::GET, 3, 0x51, Some(1)));
    assert_eq!(rig.endpoint.topic_observers(topic), 0);
    let request = rig.handed_up();
    assert_eq!(rig.lost(), (id, topic, Closed::Deregistered));
    rig.respond(request.id, content("v0"));
    let (_, answer) = rig.sent();
    assert_eq!((answer.kind, answer.options.observe()), (Type::Acknowledgement, None));
    rig.publish(topic, "v1");
    rig.sent_nothing();
    rig.ends(&[topic]);
}

#[test]
fn what_is_no_registration_is_answered_plainly() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    let not_one = [
        observe(CON, Code::GET, 1, 0x51, None),
        observe(CON, Code::GET, 2, 0x51, Some(1)),
        observe(CON, Code::GET, 3, 0x51, Some(2)),
        observe(CON, Code::POST, 4, 0x51, Some(0)),
        observe(CON, Code::PUT, 5, 0x51, Some(0)),
    ];
    for request in not_one {
        rig.receive(peer(1), &request);
        assert_eq!(rig.accept(topic), None);
        assert_eq!(rig.sent().1.options.observe(), None);
    }
    // Not by multicast either: the answer would come from each member.
    rig.receive_multicast(peer(1), &observe(Type::NonConfirmable, Code::GET, 6, 0x51, Some(0)));
    assert_eq!(rig.accept(topic), None);
    // FETCH is one (RFC 8132 §2.4).
    rig.receive(peer(1), &observe(CON, Code::FETCH, 7, 0x51, Some(0)));
    assert!(rig.accept(topic).is_some());
    rig.ends(&[topic]);
}

#[test]
fn an_answered_request_cannot_be_accepted() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    rig.receive(peer(1), &registration(1, 0x51));
    let request = rig.handed_up();
    rig.respond(request.id, content("v0"));
    let stale = rig.endpoint.accept_observer(rig.now, request.id, topic, content("v0"));
    assert_eq!(stale, Err(RespondError::Stale));
    assert_eq!(rig.endpoint.usage().observers, 0);
    rig.ends(&[topic]);
}

#[test]
fn a_plain_get_meanwhile_changes_nothing() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    rig.observer(peer(1), 0x51, topic);
    rig.receive(peer(1), &observe(CON, Code::GET, 1, 0x52, None));
    let request = rig.handed_up();
    rig.respond(request.id, content("v0"));
    assert_eq!(rig.sent().1.options.observe(), None);
    rig.publish(topic, "v1");
    rig.notified(CON, "v1");
    rig.ends(&[topic]);
}

#[test]
fn the_same_token_again_has_one_entry_also_on_another_topic() {
    let mut rig = Rig::new();
    let (one, other) = (rig.topic(TopicOptions::new()), rig.topic(TopicOptions::new()));
    let id = rig.observer(peer(1), 0x51, one);
    rig.receive(peer(1), &registration(1, 0x51));
    assert_eq!(rig.accept(one), Some(id));
    rig.sent();
    assert_eq!(rig.endpoint.usage().observers, 1);
    rig.receive(peer(1), &registration(2, 0x51));
    assert_eq!(rig.accept(other), Some(id));
    rig.sent();
    assert_eq!((rig.endpoint.topic_observers(one), rig.endpoint.topic_observers(other)), (0, 1));
    rig.publish(one, "v1");
    rig.sent_nothing();
    rig.publish(other, "v2");
    rig.notified(CON, "v2");
    rig.sent_nothing();
    rig.said_nothing();
    rig.ends(&[one, other]);
}

#[test]
fn registering_again_supersedes_the_notification_under_way() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    let id = rig.observer(peer(1), 0x51, topic);
    rig.publish(topic, "v1");
    let (_, notification) = rig.notified(CON, "v1");
    rig.receive(peer(1), &registration(1, 0x51));
    assert_eq!(rig.accept(topic), Some(id));
    assert!(is_newer(&notification, &rig.sent().1));
    assert_eq!(rig.endpoint.usage().in_flight, 0);
    rig.pass(secs(100));
    rig.sent_nothing();
    rig.publish(topic, "v2");
    rig.notified(CON, "v2");
    rig.ends(&[topic]);
}

#[test]
fn a_registration_that_is_answered_without_being_accepted_ends_the_entry() {
    for code in [Code::CONTENT, Code::NOT_FOUND] {
        let mut rig = Rig::new();
        let topic = rig.topic(TopicOptions::new());
        let id = rig.observer(peer(1), 0x51, topic);
        rig.receive(peer(1), &registration(1, 0x51));
        let request = rig.handed_up();
        if code.is_error() {
            let refused = rig.endpoint.accept_observer(rig.now, request.id, topic, Response::new(code));
            assert_eq!(refused, Ok(None));
            rig.drain();
        } else {
            rig.respond(request.id, Response::new(code));
        }
        assert_eq!(rig.sent().1.options.observe(), None);
        assert_eq!(rig.lost(), (id, topic, Closed::Superseded));
        rig.publish(topic, "v1");
        rig.sent_nothing();
        rig.ends(&[topic]);
    }
}

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
fn who_never_acknowledges_is_removed() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    let id = rig.observer(peer(1), 0x51, topic);
    rig.publish(topic, "v1");
    rig.pass(secs(100));
    assert_eq!(rig.sent.len(), 5);
    assert_eq!(rig.lost(), (id, topic, Closed::NoAck));
    assert_eq!(rig.endpoint.stats().unacknowledged_notifications, 1);
    assert!(!rig.endpoint.remove_observer(rig.now, id));
    rig.ends(&[topic]);
}

#[test]
fn an_error_ends_all_observations_without_an_observe_option() {
    for how in [TopicOptions::new(), NON.min_interval(secs(1_000))] {
        let mut rig = Rig::new();
        let topic = rig.topic(how);
        rig.observer(peer(1), 0x51, topic);
        rig.observer(peer(2), 0x51, topic);
        let error = Response::diagnostic(Code::NOT_ACCEPTABLE, "not text any more");
        assert!(rig.endpoint.publish(rig.now, topic, error));
        rig.drain();
        assert_eq!(rig.endpoint.topic_observers(topic), 0);
        // The first acknowledges it. It can come back at once.
        let (to, last) = rig.sent();
        assert_eq!((last.kind, last.code, last.options.observe()), (CON, Code::NOT_ACCEPTABLE, None));
        rig.acknowledge(to, &last);
        assert_eq!(rig.endpoint.usage().observers, 1);
        rig.sent();
        rig.receive(peer(1), &registration(1, 0x51));
        let again = rig.accept(topic).unwrap();
        assert!(rig.sent().1.options.observe().is_some());
        assert_eq!((rig.endpoint.topic_observers(topic), rig.endpoint.usage().topics), (1, 2));
        // The second never does.
        rig.pass(secs(100));
        assert_eq!(rig.sent.len(), 4);
        assert_eq!((rig.endpoint.usage().observers, rig.endpoint.usage().topics), (1, 1));
        rig.said_nothing();
        rig.sent.clear();
        rig.pass(secs(1_000));
        rig.publish(topic, "v1");
        assert_eq!(rig.sent().0, peer(1));
        assert!(rig.endpoint.remove_observer(rig.now, again));
        rig.ends(&[topic]);
    }
}

#[test]
fn a_topic_that_is_closed_tells_its_last_word_also_to_who_is_busy_or_paused() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new().min_interval(secs(1_000)));
    for n in 1..=3 {
        rig.observer(peer(n), 0x51, topic);
    }
    rig.pass(secs(1_000));
    rig.publish(topic, "v1");
    let (_, first) = rig.notified(CON, "v1");
    let (_, second) = rig.notified(CON, "v1");
    rig.notified(CON, "v1");
    // The first is paused, the second about to be rejected, the third does not answer.
    rig.acknowledge(peer(1), &first);
    rig.endpoint.close_topic(rig.now, topic, Some(Response::new(Code::NOT_FOUND)));
    rig.drain();
    assert!(!rig.endpoint.publish(rig.now, topic, content("v2")));
    let (to, last) = rig.sent();
    assert_eq!((to, last.code, last.options.observe()), (peer(1), Code::NOT_FOUND, None));
    rig.sent_nothing();
    rig.reset(peer(2), &second);
    rig.acknowledge(peer(1), &last);
    assert_eq!(rig.endpoint.usage().observers, 1);
    rig.pass(secs(3));
    let (to, last) = rig.sent();
    assert_eq!((to, last.code), (peer(3), Code::NOT_FOUND));
    rig.acknowledge(to, &last);
    rig.said_nothing();
    rig.comes_to_rest();
}

#[test]
fn a_topic_that_is_closed_silently_is_not_heard_of_again() {
    let mut rig = Rig::new();
    let topic = rig.topic(TopicOptions::new());
    for n in 0..600 {
        rig.observer(peer(n), 0x51, topic);
    }
    rig.publish(topic, "v1");
    rig.sent.clear();
    for n in 600..1_200 {
        rig.observer(peer(n), 0x51, topic);
    }
    rig.endpoint.close_topic(rig.now, topic, None);
    rig.drain();
    rig.sent_nothing();
    // Not all at once: a call does a bounded amount of work.
    assert!(rig.endpoint.usage().observers > 600);
    rig.pass(secs(4));
    rig.sent_nothing();
    rig.said_nothing();
    assert_eq!(rig.endpoint.usage().observers, 0);
    rig.comes_to_rest();
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
fn an_unreachable_observer_is_removed_if_it_was_just_told() {
    let mut rig = Rig::new();
    let (one, other) = (rig.topic(NON), rig.topic(TopicOptions::new()));
    let id = rig.observer(peer(1), 0x51, one);
    rig.observer(peer(1), 0x52, other);
    rig.endpoint.handle_unreachable(rig.now, peer(1));
    assert_eq!(rig.endpoint.usage().observers, 2);
    rig.publish(one, "v1");
    rig.publish(other, "v1");
    rig.notified(Type::NonConfirmable, "v1");
    rig.sent_nothing();
    rig.endpoint.handle_unreachable(rig.now, peer(1));
    rig.drain();
    assert_eq!(rig.lost(), (id, one, Closed::Unreachable));
    // It is the turn of the other.
    rig.notified(CON, "v1");
    rig.ends(&[one, other]);
}

#[test]
fn full_tables_answer_plainly() {
    let config = Config::builder().max_observers(3).max_observers_per_peer(2).build().unwrap();
    let mut rig = Rig::with(config);
    let topic = rig.topic(TopicOptions::new());
    rig.observer(peer(1), 1, topic);
    let second = rig.observer(peer(1), 2, topic);
    for (from, expected) in [(peer(1), 1), (peer(2), 1), (peer(3), 2)] {
        rig.receive(from, &registration(0x3000, 3));
        let accepted = rig.accept(topic);
        assert_eq!((accepted.is_some(), rig.endpoint.stats().refused_observers), (from == peer(2), expected));
        assert_eq!(rig.sent().1.options.observe().is_some(), accepted.is_some());
    }
    // Who is there already can come again, and who has gone makes room.
    rig.receive(peer(1), &registration(0x3001, 2));
    assert_eq!(rig.accept(topic), Some(second));
    rig.sent();
    assert!(rig.endpoint.remove_observer(rig.now, second));
    rig.observer(peer(3), 3, topic);
    rig.ends(&[topic]);
}

#[test]
fn an_observer_holds_its_peer() {
    let mut rig = Rig::with(Config::builder().max_peers(2).build().unwrap());
    let topic = rig.topic(TopicOptions::new());
    rig.observer(peer(1), 0x51, topic);
    rig.pass(secs(10_000));
    for n in 2..10 {
        rig.receive(peer(n), &POST_A);
        let request = rig.handed_up();
        rig.respond(request.id, Response::new(Code::CHANGED));
        rig.sent();
    }
    rig.publish(topic, "v1");
    assert_eq!(rig.notified(CON, "v1").0, peer(1));
    rig.ends(&[topic]);
}

#[test]
fn a_separate_first_answer_that_is_rejected_or_lost_ends_the_observation() {
    for (rejected, why) in [(true, Closed::Reset), (false, Closed::NoAck)] {
        let mut rig = Rig::new();
        let topic = rig.topic(TopicOptions::new());
        rig.receive(peer(1), &registration(1, 0x51));
        rig.pass(ms(250));
        rig.sent();
        let id = rig.accept(topic).unwrap();
        let (_, first) = rig.sent();
        assert!(first.kind == CON && first.options.observe().is_some());
        if rejected {
            rig.reset(peer(1), &first);
        }
        rig.pass(secs(100));
        assert_eq!(rig.lost(), (id, topic, why));
        rig.ends(&[topic]);
    }
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
