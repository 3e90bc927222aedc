//! CCT: restraint towards the network (RFC 7252 §4.7).

use coap_core::{Code, Failure, Place, Type, Why};

use crate::rig::{Rig, answer, peer, secs};

#[test]
fn cct_01_a_second_request_to_one_server_waits_for_the_first() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let second = rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.sent_nothing();
    assert_eq!(rig.endpoint.place(second), Some(Place::Waiting { ahead: 0, why: Why::Nstart }));
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b""));
    rig.sent();
    assert_eq!(rig.endpoint.place(second), Some(Place::Sent));
}

#[test]
fn cct_05_waits_double_and_a_new_request_to_a_dead_peer_does_not_start_them_anew() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let start = rig.now;
    let (_, first) = rig.sent();
    let mut times = Vec::new();
    while rig.endpoint.usage().requests > 0 && times.len() < 4 {
        // The application asks again and again.
        rig.get(peer(1));
        rig.now = rig.endpoint.poll_timeout().unwrap();
        rig.endpoint.handle_timeout(rig.now);
        rig.drain();
        while !rig.sent.is_empty() {
            assert_eq!(rig.sent().1, first);
            times.push(rig.now - start);
        }
    }
    assert!((secs(2)..=secs(3)).contains(&times[0]), "{times:?}");
    for (n, time) in times.iter().enumerate() {
        assert_eq!(*time, times[0] * ((2 << n) - 1));
    }
    rig.pass(times[0] * 16);
    assert_eq!(rig.failure().1, Failure::NoAck);
}
