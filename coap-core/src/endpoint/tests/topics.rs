//! As a server of observations (RFC 7641): who comes, and who goes.

use super::*;

/// GET /o with Observe 0, CON, with this Message ID and token.
pub(super) fn registration(message_id: u16, token: u8) -> Vec<u8> {
    observe(Type::Confirmable, Code::GET, message_id, token, Some(0))
}

pub(super) fn observe(kind: Type, code: Code, message_id: u16, token: u8, value: Option<u32>) -> Vec<u8> {
    let mut options = path(&["o"]);
    if let Some(value) = value {
        options.set_observe(value);
    }
    let token = Token::new(&[token]).unwrap();
    encode(&Message { kind, code, message_id, token, options, payload: Bytes::new() })
}

pub(super) const NON: TopicOptions = non(u32::MAX);

pub(super) const fn non(confirm_every: u32) -> TopicOptions {
    TopicOptions::new().reliability(Reliability::NonConfirmable { confirm_every })
}

impl Rig {
    pub(super) fn accept(&mut self, topic: TopicId) -> Option<ObserverId> {
        let request = self.handed_up();
        let accepted = self.endpoint.accept_observer(self.now, request.id, topic, content("v0")).unwrap();
        self.drain();
        accepted
    }

    /// An observer whose registration has been answered.
    pub(super) fn observer(&mut self, from: Peer, token: u8, topic: TopicId) -> ObserverId {
        self.receive(from, &registration(0x2000 | u16::from(token), token));
        let id = self.accept(topic).expect("not accepted");
        let (_, answer) = self.sent();
        assert_eq!((answer.kind, answer.code), (Type::Acknowledgement, Code::CONTENT));
        assert!(answer.options.observe().is_some());
        id
    }

    pub(super) fn publish(&mut self, topic: TopicId, state: &'static str) {
        assert!(self.endpoint.publish(self.now, topic, content(state)));
        self.drain();
    }

    /// The next notification: its payload is checked.
    #[track_caller]
    pub(super) fn notified(&mut self, kind: Type, payload: &str) -> (Peer, Message) {
        let (to, message) = self.sent();
        assert_eq!((message.kind, &message.payload[..]), (kind, payload.as_bytes()), "{message}");
        (to, message)
    }

    pub(super) fn acknowledge(&mut self, to: Peer, message: &Message) {
        self.receive(to, &empty(Type::Acknowledgement, message.message_id));
    }

    pub(super) fn reset(&mut self, to: Peer, message: &Message) {
        self.receive(to, &empty(Type::Reset, message.message_id));
    }

    #[track_caller]
    pub(super) fn lost(&mut self) -> (ObserverId, TopicId, Closed) {
        match self.event() {
            Event::ObserverLost { id, topic, why } => (id, topic, why),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn topic(&mut self, how: TopicOptions) -> TopicId {
        self.endpoint.open_topic(how)
    }

    /// Nothing is left when the topics have been closed.
    #[track_caller]
    pub(super) fn ends(&mut self, topics: &[TopicId]) {
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

pub(super) const CON: Type = Type::Confirmable;

/// RFC 7641 §3.4, without its clock.
pub(super) fn is_newer(one: &Message, other: &Message) -> bool {
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
