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
