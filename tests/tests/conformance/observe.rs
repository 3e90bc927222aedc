//! OBS: observing resources (RFC 7641).

use core::future::IntoFuture;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use coap_core::{
    Code, Config, Event, Message, OptionNumber, Reliability, Request, RequestId, RequestOptions, TopicId, TopicOptions,
    Type,
};
use coap_driver::router::{Resource, Router, get as get_route};
use coap_driver::{Client, Direction, Observation, Observed};
use coap_sim::{Host, Sim};

use crate::rig::{Rig, answer, block, con, content, empty, encode, ms, path, peer, secs};

const TOKEN: &[u8] = b"tok";

/// CON GET with Observe and this token.
fn get(message_id: u16, segment: &str, observe: Option<u32>, token: &[u8]) -> Message {
    let mut message = con(Code::GET, message_id, &[segment]);
    message.token = coap_core::Token::new(token).unwrap();
    if let Some(observe) = observe {
        message.options.set_observe(observe);
    }
    message
}

impl Rig {
    /// peer(1) observes.
    fn register(&mut self, message_id: u16, segment: &str, token: &[u8]) -> Message {
        let reply = self.ask(&encode(&get(message_id, segment, Some(0), token)));
        assert!(reply.options.observe().is_some(), "{reply}");
        reply
    }

    fn acknowledge(&mut self, notification: &Message) {
        self.receive(peer(1), &empty(Type::Acknowledgement, notification.message_id));
    }

    fn reset(&mut self, notification: &Message) {
        self.receive(peer(1), &empty(Type::Reset, notification.message_id));
    }

    /// The next notification.
    #[track_caller]
    fn told(&mut self) -> Message {
        let (to, message) = self.sent();
        assert_eq!(to, peer(1));
        assert!(message.code.is_response() && message.kind != Type::Acknowledgement, "{message}");
        message
    }
}

/// By RFC 7641 §3.4, without its rule about time.
fn is_newer(new: &Message, old: &Message) -> bool {
    let number = |message: &Message| message.options.observe().expect("Observe");
    (1..1 << 23).contains(&(number(new).wrapping_sub(number(old)) & 0xff_ffff))
}

// ----- As a server --------------------------------------------------------------------------------------------------------

#[test]
fn obs_02_the_same_client_and_token_again_is_one_entry() {
    let mut rig = Rig::serving();
    rig.register(1, "obs", TOKEN);
    let again = rig.register(2, "obs", TOKEN);
    assert_eq!(rig.observers("/obs"), 1);
    rig.set("/obs", "new");
    let told = rig.told();
    assert!(is_newer(&told, &again));
    rig.sent_nothing();
    rig.acknowledge(&told);
    // With another token it is another, and so is another client's.
    rig.register(3, "obs", b"other");
    rig.receive(peer(2), &encode(&get(1, "obs", Some(0), TOKEN)));
    assert_eq!(rig.observers("/obs"), 3);
}

#[test]
fn obs_03_observe_1_removes_the_entry_and_is_answered_as_a_plain_get() {
    let mut rig = Rig::serving();
    rig.register(1, "obs", TOKEN);
    let reply = rig.ask(&encode(&get(2, "obs", Some(1), TOKEN)));
    assert_eq!((reply.code, reply.options.observe(), rig.observers("/obs")), (Code::CONTENT, None, 0));
    rig.set("/obs", "new");
    rig.pass(secs(100));
    rig.sent_nothing();
    rig.comes_to_rest();
}

#[test]
fn obs_04_observe_1_with_another_token_removes_nothing() {
    let mut rig = Rig::serving();
    rig.register(1, "obs", TOKEN);
    let reply = rig.ask(&encode(&get(2, "obs", Some(1), b"other")));
    assert_eq!((reply.code, reply.options.observe()), (Code::CONTENT, None));
    rig.set("/obs", "new");
    assert_eq!((rig.told().token.as_bytes(), rig.observers("/obs")), (TOKEN, 1));
}

#[test]
fn obs_05_a_plain_get_with_another_token_leaves_the_observation_alone() {
    let mut rig = Rig::serving();
    rig.register(1, "obs", TOKEN);
    let reply = rig.ask(&encode(&get(2, "obs", None, b"other")));
    assert_eq!((reply.code, reply.options.observe()), (Code::CONTENT, None));
    rig.set("/obs", "new");
    assert_eq!((rig.told().token.as_bytes(), rig.observers("/obs")), (TOKEN, 1));
}

#[test]
fn obs_07_observe_elsewhere_or_above_1_is_ignored() {
    let mut rig = Rig::serving();
    for (n, value) in [(1, 2), (2, 255), (3, 0xff_ffff)] {
        let reply = rig.ask(&encode(&get(n, "obs", Some(value), TOKEN)));
        assert_eq!((reply.code, reply.options.observe()), (Code::CONTENT, None));
    }
    for (n, code) in [(4, Code::PUT), (5, Code::POST)] {
        let mut message = get(n, "obs", Some(0), TOKEN);
        message.code = code;
        let reply = rig.ask(&encode(&message));
        assert!(reply.code.is_success() && reply.options.observe().is_none(), "{reply}");
    }
    assert_eq!(rig.observers("/obs"), 0);
    // Not observable: answered as if it were not there.
    let reply = rig.ask(&encode(&get(6, "test", Some(0), TOKEN)));
    assert_eq!((reply.code, reply.options.observe()), (Code::CONTENT, None));
    rig.comes_to_rest();
}

#[test]
fn obs_12_when_the_format_cannot_be_kept_an_error_ends_the_observation() {
    let mut rig = Rig::serving();
    rig.register(1, "obs", TOKEN);
    let mut put = con(Code::PUT, 2, &["obs"]);
    put.options.set_content_format(coap_core::ContentFormat::JSON);
    put.payload = "{}".into();
    rig.receive(peer(2), &encode(&put));
    assert_eq!(rig.sent().1.code, Code::CHANGED);
    let told = rig.told();
    assert_eq!((told.kind, told.code, told.options.observe()), (Type::Confirmable, Code::NOT_ACCEPTABLE, None));
    assert_eq!(rig.observers("/obs"), 0);
    rig.acknowledge(&told);
    rig.set("/obs", "[]");
    rig.pass(secs(100));
    rig.sent_nothing();
}

#[test]
fn obs_13_a_reset_to_a_notification_removes_the_entry() {
    for segment in ["obs", "obs-non"] {
        let mut rig = Rig::serving();
        rig.register(1, segment, TOKEN);
        rig.pass(secs(10));
        rig.set(&format!("/{segment}"), "new");
        let told = rig.told();
        rig.reset(&told);
        assert_eq!(rig.observers(&format!("/{segment}")), 0, "{segment}");
        rig.set(&format!("/{segment}"), "newer");
        rig.pass(secs(100));
        rig.sent_nothing();
        rig.comes_to_rest();
    }
}

#[test]
fn obs_15_one_notification_is_outstanding_and_the_next_transmission_has_the_newest_state() {
    let mut rig = Rig::serving();
    rig.register(1, "obs", TOKEN);
    rig.set("/obs", "1");
    let mut last = rig.told();
    let mut sent_at = rig.now;
    let mut gap = None;
    // Nobody acknowledges, and it changes ten times a second.
    for n in 2.. {
        rig.pass(ms(100));
        rig.set("/obs", &n.to_string());
        if rig.observers("/obs") == 0 {
            break;
        }
        let Some((_, bytes)) = rig.sent.pop_front() else { continue };
        rig.sent_nothing();
        let next = Message::decode(bytes.into()).unwrap();
        // The state of the tenth of a second before this one is the newest that it can have.
        let newest = [n - 1, n].map(|state| state.to_string());
        assert!(newest.iter().any(|state| next.payload == *state), "{next} at {n}");
        assert!(next.message_id != last.message_id && next.token == last.token && is_newer(&next, &last));
        // The back-off goes on as if it were a retransmission.
        let now_gap = rig.now - sent_at;
        assert!(now_gap >= gap.map_or(secs(2), |gap: core::time::Duration| gap * 2 - ms(300)), "{now_gap:?}");
        (gap, sent_at, last) = (Some(now_gap), rig.now, next);
        assert!(n < 2_000, "it never gives up");
    }
    assert!(gap.is_some_and(|gap| gap > secs(15)), "{gap:?}");
    rig.pass(secs(300));
    rig.sent_nothing();
}

#[test]
fn obs_16_a_confirmable_notification_at_least_every_24_hours() {
    let mut rig = Rig::new();
    let topic = open(&mut rig, Reliability::NonConfirmable { confirm_every: u32::MAX });
    accept(&mut rig, topic);
    let mut since = rig.now;
    // It changes too often to be told Confirmable because it stays as it is.
    for n in 0..72 * 3_600 / 5 {
        rig.pass(secs(5));
        tell(&mut rig, topic, "state");
        while let Some((_, bytes)) = rig.sent.pop_front() {
            let told = Message::decode(bytes.into()).unwrap();
            if told.kind == Type::Confirmable {
                since = rig.now;
                rig.acknowledge(&told);
            }
        }
        assert!(rig.now - since <= secs(24 * 3_600), "nothing Confirmable since {since}, step {n}");
    }
    assert_eq!(rig.endpoint.topic_observers(topic), 1);
}

#[test]
fn obs_17_non_confirmable_notifications_come_at_a_limited_rate() {
    let mut rig = Rig::serving();
    rig.register(1, "obs-non", TOKEN);
    rig.pass(secs(10));
    let start = rig.now;
    let (mut told, mut owed) = (0, Vec::new());
    for n in 0..300 {
        rig.set("/obs-non", &n.to_string());
        rig.pass(ms(100));
        while let Some((_, bytes)) = rig.sent.pop_front() {
            told += 1;
            owed.push((rig.now + ms(3_500), Message::decode(bytes.into()).unwrap()));
        }
        // Acknowledged after it was repeated, so that no round trip is measured that would allow more.
        let due = owed.iter().position(|(due, message)| *due <= rig.now && message.kind == Type::Confirmable);
        if let Some(due) = due {
            let (_, message) = owed.remove(due);
            rig.acknowledge(&message);
        }
    }
    let seconds = (rig.now - start).as_secs();
    assert!(told >= 5 && told <= seconds / 3 + 1, "{told} in {seconds} s");
    assert_eq!(rig.observers("/obs-non"), 1);
}

#[test]
fn obs_18_after_the_last_change_the_client_gets_that_state_even_if_all_but_one_are_lost() {
    let mut rig = Rig::serving();
    rig.register(1, "obs-non", TOKEN);
    rig.pass(secs(10));
    for n in 0..20 {
        rig.set("/obs-non", &n.to_string());
        rig.pass(ms(500));
    }
    rig.set("/obs-non", "last");
    // All that is Non-confirmable, and three copies of what is Confirmable, is lost.
    let (mut copies, mut got) = (0, None);
    for _ in 0..100 {
        rig.pass(secs(1));
        while let Some((_, bytes)) = rig.sent.pop_front() {
            let told = Message::decode(bytes.into()).unwrap();
            copies += u32::from(told.kind == Type::Confirmable && told.payload == "last");
            if copies == 4 && got.is_none() {
                rig.acknowledge(&told);
                got = Some(told.payload);
            }
        }
    }
    assert_eq!((got.as_deref(), rig.observers("/obs-non")), (Some(&b"last"[..]), 1));
}

#[test]
fn obs_19_a_stranger_that_does_not_acknowledge_gets_few() {
    let mut rig = Rig::serving();
    rig.register(1, "obs-non", TOKEN);
    let mut told = 0;
    for n in 0..1_000 {
        rig.set("/obs-non", &n.to_string());
        rig.pass(secs(5));
        told += core::mem::take(&mut rig.sent).len();
    }
    // As many as one message would have been sent, and one Confirmable message in all its copies.
    assert!(told <= 10, "{told}");
    assert_eq!(rig.observers("/obs-non"), 0);
    rig.comes_to_rest();
}

#[test]
fn obs_20_a_large_state_comes_as_its_first_block_and_the_rest_is_fetched() {
    // Two endpoints, whose datagrams this test carries.
    let mut server = Rig::serving();
    let mut client = Rig::new();
    server.set("/obs-large", &"old state. ".repeat(400));
    let id = observe(&mut client, "obs-large");
    exchange(&mut client, &mut server);
    assert_eq!(states(&mut client, id), [server.content("/obs-large").unwrap()]);
    let (runs, state) = (server.runs(Code::GET, "/obs-large"), "new state. ".repeat(300));
    server.set("/obs-large", &state);
    let told = Message::decode(server.sent[0].1.clone().into()).unwrap();
    assert_eq!((told.options.block2(), told.payload.len()), (Some(block(0, true, 6)), 1_024));
    assert!(told.options.observe().is_some() && told.options.etag().is_some());
    // The rest is asked for with another token and without Observe.
    let (_, bytes) = server.sent.pop_front().unwrap();
    client.receive(peer(1), &bytes);
    assert_eq!(client.sent().1.kind, Type::Acknowledgement);
    let fetch = Message::decode(client.sent[0].1.clone().into()).unwrap();
    assert_eq!((fetch.code, fetch.options.block2()), (Code::GET, Some(block(1, false, 6))));
    assert!(fetch.options.observe().is_none() && fetch.token != told.token);
    server.receive(peer(1), &empty(Type::Acknowledgement, told.message_id));
    exchange(&mut client, &mut server);
    assert_eq!(states(&mut client, id), [state.as_bytes()]);
    assert_eq!(server.runs(Code::GET, "/obs-large"), runs);
}

fn open(rig: &mut Rig, reliability: Reliability) -> TopicId {
    rig.endpoint.open_topic(TopicOptions::new().reliability(reliability))
}

/// peer(1) registers, and proves that it is there.
fn accept(rig: &mut Rig, topic: TopicId) {
    rig.receive(peer(1), &encode(&get(1, "a", Some(0), TOKEN)));
    let request = rig.handed_up();
    let accepted = rig.endpoint.accept_observer(rig.now, request.id, topic, content("first")).unwrap();
    assert!(accepted.is_some());
    rig.drain();
    rig.sent();
}

fn tell(rig: &mut Rig, topic: TopicId, state: &'static str) {
    assert!(rig.endpoint.publish(rig.now, topic, content(state)));
    rig.drain();
}

/// Carries datagrams between the two until there are none.
fn exchange(client: &mut Rig, server: &mut Rig) {
    while let Some((_, bytes)) = client.sent.pop_front() {
        server.receive(peer(1), &bytes);
        while let Some((_, bytes)) = server.sent.pop_front() {
            client.receive(peer(1), &bytes);
        }
    }
}

// ----- As a client --------------------------------------------------------------------------------------------------------

fn observe(rig: &mut Rig, segment: &str) -> RequestId {
    let request = Request::get().with_options(path(&[segment]));
    let id = rig.endpoint.observe(rig.now, peer(1), request, &RequestOptions::new()).unwrap();
    rig.drain();
    id
}

/// The states that an observation was told, since this was last asked.
fn states(rig: &mut Rig, of: RequestId) -> Vec<bytes::Bytes> {
    let told = rig.events.drain(..).map(|event| match event {
        Event::Notification { id, response } if id == of => response.body.into_bytes(),
        other => panic!("{other:?}"),
    });
    told.collect()
}

/// A state of what was asked for with `request`.
fn state(kind: Type, message_id: u16, request: &Message, observe: Option<u32>, payload: &'static [u8]) -> Vec<u8> {
    let plain = answer(kind, Code::CONTENT, message_id, request, payload);
    let mut message = Message::decode(plain.into()).unwrap();
    if let Some(observe) = observe {
        message.options.set_observe(observe);
    }
    encode(&message)
}

/// An observation that has been registered, and the request that did it.
fn observing(rig: &mut Rig, number: u32) -> (RequestId, Message) {
    let id = observe(rig, "obs");
    let (_, request) = rig.sent();
    assert_eq!(request.options.observe(), Some(0));
    rig.receive(peer(1), &state(Type::Acknowledgement, request.message_id, &request, Some(number), b"first"));
    assert_eq!(states(rig, id), ["first"]);
    (id, request)
}

#[test]
fn obs_21_old_notifications_are_told_from_new_ones_by_number_and_time() {
    let half = 1 << 23;
    let top = (1 << 24) - 1;
    // The number and the time in seconds of the one, then of the other, and whether that is newer (RFC 7641 §3.4).
    let cases = [
        (0, 0, true, 1, 1),
        (1, 0, false, 1, 1),
        (1, 0, false, 0, 1),
        (0, 0, true, half - 1, 1),
        (0, 0, false, half, 1),
        (0, 0, false, half + 1, 1),
        (half, 0, false, 0, 1),
        (half + 1, 0, true, 0, 1),
        (top, 0, true, 0, 1),
        (top, 0, true, 5, 1),
        (0, 0, false, top, 1),
        (5, 0, false, top, 1),
        (100, 0, false, 99, 128),
        (100, 0, true, 99, 129),
        (100, 0, true, 100, 129),
        (half, 0, true, 0, 129),
        (top, 0, true, top - 1, 200),
        (300, 0, true, 5, 1_000),
        (top - 1, 0, true, top, 1),
        (half - 1, 0, true, half, 1),
    ];
    for (before, at, newer, after, then) in cases {
        for kind in [Type::Confirmable, Type::NonConfirmable] {
            let mut rig = Rig::new();
            // It would be registered again by itself otherwise.
            let request = Request::get().with_options(path(&["obs"]));
            let how = RequestOptions::new().reregistration(coap_core::Reregistration::OFF);
            let id = rig.endpoint.observe(rig.now, peer(1), request, &how).unwrap();
            rig.drain();
            let (_, request) = rig.sent();
            rig.pass(secs(at));
            rig.receive(peer(1), &state(Type::Acknowledgement, request.message_id, &request, Some(before), b"1"));
            states(&mut rig, id);
            rig.pass(secs(then - at));
            rig.events.clear();
            rig.receive(peer(1), &state(kind, 0x7777, &request, Some(after), b"2"));
            let told = states(&mut rig, id);
            assert_eq!(told.len(), usize::from(newer), "{after} after {then} s, {before} before");
            // An old one is acknowledged all the same.
            assert_eq!(rig.sent.len(), usize::from(kind == Type::Confirmable));
        }
    }
}

#[test]
fn obs_23_a_first_answer_without_observe_ends_it_and_later_ones_are_reset() {
    let mut rig = Rig::new();
    let id = observe(&mut rig, "obs");
    let (_, request) = rig.sent();
    rig.receive(peer(1), &state(Type::Acknowledgement, request.message_id, &request, None, b"once"));
    let (of, response) = rig.response();
    assert_eq!((of, response.body.as_bytes()), (id, &b"once"[..]));
    rig.receive(peer(1), &state(Type::Confirmable, 0x7777, &request, Some(5), b"again"));
    let (_, reset) = rig.sent();
    assert_eq!((reset.kind, reset.message_id), (Type::Reset, 0x7777));
    rig.said_nothing();
    rig.comes_to_rest();
}

#[test]
fn obs_24_an_error_ends_the_observation_and_later_ones_are_reset() {
    for code in [Code::NOT_FOUND, Code::NOT_ACCEPTABLE, Code::INTERNAL_SERVER_ERROR] {
        let mut rig = Rig::new();
        let (id, request) = observing(&mut rig, 5);
        rig.receive(peer(1), &answer(Type::Confirmable, code, 0x7777, &request, b""));
        assert_eq!(rig.sent().1.kind, Type::Acknowledgement);
        let (of, response) = rig.response();
        assert_eq!((of, response.code), (id, code));
        rig.receive(peer(1), &state(Type::Confirmable, 0x7778, &request, Some(6), b"again"));
        assert_eq!(rig.sent().1.kind, Type::Reset);
        rig.said_nothing();
        rig.comes_to_rest();
    }
}

#[test]
fn obs_26_when_max_age_has_passed_it_is_registered_again_with_the_same_token() {
    let mut waits = Vec::new();
    for seed in 0..20 {
        let mut rig = Rig::new();
        // Each draws its own delay.
        (0..seed).for_each(|_| {
            rig.get(peer(9));
        });
        rig.sent.clear();
        let (id, request) = observing(&mut rig, 5);
        let start = rig.now;
        while rig.sent.iter().all(|(transmit, _)| transmit.to == peer(9)) {
            rig.sent.clear();
            rig.pass(ms(10));
            assert!(rig.now - start < secs(80), "it never comes");
        }
        let waited = rig.now - start;
        assert!((secs(65)..secs(76)).contains(&waited), "{waited:?}");
        waits.push(waited);
        let again = rig.sent.iter().find(|(transmit, _)| transmit.to == peer(1)).unwrap().1.clone();
        let again = Message::decode(again.into()).unwrap();
        assert_eq!((again.token, again.code), (request.token.clone(), request.code));
        assert_ne!(again.message_id, request.message_id);
        let without_etags = |options: &coap_core::Options| {
            let mut options = options.clone();
            options.remove(OptionNumber::ETAG);
            options
        };
        assert_eq!(without_etags(&again.options), without_etags(&request.options));
        let told: Vec<_> = rig.events.iter().filter(|event| !matches!(event, Event::Failed { .. })).collect();
        let stale = matches!(told[0], Event::Stale { id: of } if *of == id);
        assert!(stale && matches!(told[1], Event::Reregistering { id: of, attempt: 1 } if *of == id), "{told:?}");
    }
    waits.sort();
    assert!(waits[19] - waits[0] > secs(3), "{waits:?}");
}

#[test]
fn a_notification_in_time_puts_a_registration_off() {
    let mut rig = Rig::with(Config::default());
    let (id, request) = observing(&mut rig, 1);
    for number in 2..10 {
        rig.pass(secs(60));
        rig.receive(peer(1), &state(Type::NonConfirmable, number as u16, &request, Some(number), b"next"));
        assert_eq!(states(&mut rig, id), ["next"]);
    }
    rig.sent_nothing();
    // It ends when the application says so, and the next is reset.
    assert!(rig.endpoint.cancel(rig.now, id));
    rig.receive(peer(1), &state(Type::Confirmable, 0x7777, &request, Some(20), b"late"));
    assert_eq!(rig.sent().1.kind, Type::Reset);
    rig.comes_to_rest();
}

/// RFC 7641 §3.1: a client that is interested already does not register a second time, whoever asks.
#[test]
fn obs_27_two_observers_in_one_client_are_one_registration() {
    let (clock, count) = (Resource::new(), Arc::new(AtomicU32::new(0)));
    let state = Arc::clone(&count);
    let read = move || core::future::ready(state.load(Ordering::Relaxed).to_string());
    let mut sim = Sim::from_env(1);
    let (server, host) = (sim.host("server"), sim.host("client"));
    let bound = sim.block_on(server.server("[::]:5683")).unwrap();
    let _serving = sim.spawn(bound.serve(Router::new().route("/state", get_route(read).observable(&clock))));
    // What the client sends about observation: the value of each Observe option in a request.
    let sent = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&sent);
    let builder = Client::builder(host).bind("[::]:0").on_message(move |traffic| {
        if let (Direction::Sent, Ok(message)) = (traffic.direction, &traffic.message) {
            note.lock().unwrap().extend(message.options.observe().filter(|_| message.code.is_request()));
        }
    });
    let client = sim.block_on(builder.client()).unwrap();
    let uri = format!("coap://[{}]/state", server.ip());
    let next = |sim: &mut Sim, observation: &mut Observation<Host>| match sim.block_on(observation.next()) {
        Some(Observed::Notification(reply)) => reply.text().unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    let mut first = sim.block_on(client.observe(&uri).into_future()).unwrap();
    assert_eq!(next(&mut sim, &mut first), "0");
    // A clone of the client is the same client.
    let mut second = sim.block_on(client.observe(&uri).into_future()).unwrap();
    assert_eq!(next(&mut sim, &mut second), "0");
    count.store(1, Ordering::Relaxed);
    clock.changed();
    assert_eq!((next(&mut sim, &mut first), next(&mut sim, &mut second)), ("1".to_owned(), "1".to_owned()));
    assert_eq!(*sent.lock().unwrap(), [0]);
    // It is there for the one that is left, and ends with it.
    drop(first);
    count.store(2, Ordering::Relaxed);
    clock.changed();
    assert_eq!(next(&mut sim, &mut second), "2");
    assert_eq!(*sent.lock().unwrap(), [0]);
    drop(second);
    sim.run_for(secs(1));
    assert_eq!(*sent.lock().unwrap(), [0, 1]);
}
