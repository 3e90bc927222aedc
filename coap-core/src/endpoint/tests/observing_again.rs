//! Observations that go stale and are registered again (RFC 7641 §3.3.1).

use super::observing::state;
use super::*;

const CON: Type = Type::Confirmable;
const NON: Type = Type::NonConfirmable;
const ACK: Type = Type::Acknowledgement;

#[test]
fn a_state_goes_stale_once_and_is_registered_again() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a").max_age(5).etag(0xaa));
    rig.pass(ms(9_999));
    rig.said_nothing();
    rig.pass(ms(1));
    rig.stale();
    let (wait, again) = rig.reregistered(1);
    assert!(wait <= secs(10), "{wait:?}");
    assert_eq!((again.kind, again.code, &again.token), (CON, Code::GET, &request.token));
    assert_ne!(again.message_id, request.message_id);
    assert_eq!(again.options.observe(), Some(0));
    assert!(again.options.uri_path().eq([b"obs"]));
    assert!(again.options.etags().eq(ETag::new(&[0xaa])));
    // The same number again, because nothing has changed: an answer is always the newest.
    rig.answer(&again, state(1, "").code(Code::VALID).max_age(20).etag(0xaa));
    assert_eq!(rig.notification().1.code, Code::VALID);
    rig.pass(ms(24_999));
    rig.said_nothing();
    rig.pass(ms(1));
    rig.stale();
    let (_, third) = rig.reregistered(1);
    assert!(third.options.etags().eq(ETag::new(&[0xaa])));
}

#[test]
fn waits_before_registering_again_are_spread() {
    let mut waits = Vec::new();
    let mut rig = Rig::new();
    let (_, mut request) = rig.observing(state(1, "a").max_age(0));
    for _ in 0..200 {
        let (wait, again) = rig.reregistered(1);
        assert_eq!(again.token, request.token);
        waits.push(wait);
        request = again;
        rig.answer(&request, state(1, "a").max_age(0));
        rig.events.clear();
    }
    assert!(waits.iter().all(|wait| (secs(5)..=ms(15_010)).contains(wait)), "{waits:?}");
    let early = waits.iter().filter(|wait| **wait < secs(10)).count();
    assert!((70..130).contains(&early), "{early}");
}

#[test]
fn a_notification_in_time_keeps_the_state_fresh() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a").max_age(1));
    for number in 2..30 {
        rig.pass(secs(4));
        rig.notify(NON, number, &request, state(number.into(), "b").max_age(1));
        rig.told("b");
    }
    rig.said_nothing();
    rig.sent_nothing();
}

#[test]
fn without_registering_again_the_state_only_goes_stale() {
    let mut rig = Rig::new();
    let (_, request) = rig.observe_with(&RequestOptions::new().reregistration(Reregistration::OFF));
    rig.answer(&request, state(1, "a"));
    rig.told("a");
    rig.pass(secs(65));
    rig.stale();
    rig.pass(secs(100_000));
    rig.said_nothing();
    rig.sent_nothing();
    rig.notify(NON, 10, &request, state(2, "b"));
    rig.told("b");
    rig.pass(secs(65));
    rig.stale();
}

#[test]
fn attempts_that_fail_are_repeated_after_pauses_and_then_it_is_lost() {
    let mut rig = Rig::new();
    let how = RequestOptions::new().reregistration(Reregistration::new(3, secs(30)));
    let (id, request) = rig.observe_with(&how);
    rig.answer(&request, state(1, "a"));
    rig.told("a");
    let (_, first) = rig.reregistered(1);
    rig.stale();
    rig.receive(peer(1), &empty(Type::Reset, first.message_id));
    let (wait, _) = rig.reregistered(2);
    assert_eq!(wait, secs(30));
    // The second is acknowledged by nobody, and says so after MAX_TRANSMIT_WAIT.
    rig.pass(secs(93));
    rig.sent.clear();
    rig.said_nothing();
    let (wait, third) = rig.reregistered(3);
    assert!((secs(29)..=secs(60)).contains(&wait), "{wait:?}");
    rig.receive(peer(1), &empty(ACK, third.message_id));
    rig.pass(secs(93));
    let (lost, reason, _) = rig.failure();
    assert_eq!((lost, reason), (id, Failure::NoResponse));
    rig.is_over();
}

#[test]
fn an_answer_makes_the_attempts_count_anew() {
    let mut rig = Rig::new();
    rig.observing(state(1, "a"));
    let (_, first) = rig.reregistered(1);
    rig.receive(peer(1), &empty(Type::Reset, first.message_id));
    let (_, second) = rig.reregistered(2);
    rig.stale();
    rig.answer(&second, state(2, "b"));
    rig.told("b");
    rig.reregistered(1);
}

#[test]
fn an_unreachable_peer_fails_the_attempt_and_not_the_observation() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a"));
    rig.endpoint.handle_unreachable(rig.now, peer(1));
    rig.drain();
    rig.said_nothing();
    rig.reregistered(1);
    rig.stale();
    rig.endpoint.handle_unreachable(rig.now, peer(1));
    rig.drain();
    rig.said_nothing();
    rig.notify(NON, 10, &request, state(2, "b"));
    rig.told("b");
}

#[test]
fn a_server_that_was_started_again_may_count_from_zero() {
    let mut rig = Rig::new();
    rig.observing(state(9_000, "a").max_age(5));
    let (_, again) = rig.reregistered(1);
    rig.stale();
    rig.answer(&again, state(0, "b"));
    rig.told("b");
    // The same with an answer that comes separately.
    rig.pass(secs(65));
    rig.stale();
    let (_, again) = rig.reregistered(1);
    rig.receive(peer(1), &empty(ACK, again.message_id));
    rig.notify(CON, 10, &again, state(0, "b"));
    rig.acknowledged(10);
    rig.told("b");
}

#[test]
fn a_newer_notification_that_overtakes_the_answer_stays_the_newest() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a"));
    let (_, again) = rig.reregistered(1);
    rig.stale();
    rig.notify(NON, 10, &request, state(3, "c"));
    rig.told("c");
    rig.answer(&again, state(2, "b"));
    rig.said_nothing();
    assert_eq!(rig.endpoint.usage().in_flight, 0);
    rig.pass(secs(64));
    rig.said_nothing();
    rig.sent_nothing();
}

#[test]
fn a_notification_while_the_registration_is_lost_counts_as_its_success() {
    let mut rig = Rig::new();
    let how = RequestOptions::new().reregistration(Reregistration::new(1, secs(30)));
    let (_, request) = rig.observe_with(&how);
    rig.answer(&request, state(1, "a"));
    rig.told("a");
    rig.reregistered(1);
    rig.stale();
    // An old one: the server is there.
    rig.notify(NON, 10, &request, state(1, "a"));
    rig.pass(secs(93));
    rig.sent.clear();
    rig.said_nothing();
    let (_, again) = rig.reregistered(1);
    rig.answer(&again, state(1, "a"));
    rig.told("a");
}

#[test]
fn a_registration_that_still_waits_is_not_sent_when_a_notification_comes_first() {
    let mut rig = Rig::new();
    let (id, request) = rig.observing(state(1, "a"));
    rig.pass(secs(64));
    // Holds the turn.
    let other = rig.get(peer(1));
    rig.sent.clear();
    rig.pass(secs(12));
    rig.sent.clear();
    assert!(matches!(rig.endpoint.place(id), Some(Place::Waiting { ahead: 0, why: Why::Nstart })));
    rig.events.clear();
    rig.notify(NON, 10, &request, state(2, "b"));
    rig.told("b");
    assert_eq!(rig.endpoint.place(id), Some(Place::Sent));
    rig.endpoint.cancel(rig.now, other);
    rig.drain();
    rig.pass(secs(40));
    rig.sent_nothing();
}

#[test]
fn the_longest_max_age_never_ends_and_none_is_a_minute() {
    let mut rig = Rig::new();
    let (id, _) = rig.observing(state(1, "a").max_age(u32::MAX));
    rig.pass(secs(1 << 31));
    rig.said_nothing();
    rig.sent_nothing();
    rig.endpoint.cancel(rig.now, id);
    rig.observing(state(1, "a"));
    rig.pass(ms(64_999));
    rig.said_nothing();
    rig.pass(ms(1));
    rig.stale();
}

#[test]
fn after_a_long_sleep_one_registration_is_sent() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a"));
    rig.now += secs(100_000);
    rig.endpoint.handle_timeout(rig.now);
    rig.drain();
    rig.stale();
    assert!(matches!(rig.event(), Event::Reregistering { attempt: 1, .. }));
    let (_, again) = rig.sent();
    rig.sent_nothing();
    // And a clock that goes back changes nothing.
    rig.endpoint.handle_timeout(Instant::from_secs(1));
    rig.drain();
    rig.answer(&again, state(1, "a"));
    rig.told("a");
    assert_eq!(again.token, request.token);
    // A notification that arrives before anybody looks at the clock spares both.
    rig.now += secs(100_000);
    rig.notify(NON, 10, &request, state(2, "b"));
    rig.endpoint.handle_timeout(rig.now);
    rig.drain();
    rig.told("b");
    rig.said_nothing();
    rig.sent_nothing();
}
