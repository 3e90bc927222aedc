//! CCT: restraint towards the network (RFC 7252 §4.7).

use coap_core::{Code, Config, Failure, Place, Type, Why};

use crate::rig::{Rig, answer, con, empty, encode, peer, secs};

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

/// Whatever is asked for, what is sent without the application has a rate, and what the application has to send has a number
/// for each peer.
#[test]
fn cct_03_responses_are_limited_in_rate_and_for_each_peer() {
    let config = Config::builder().max_refusals_per_second(50).max_resets_per_second(20).build().unwrap();
    let mut rig = Rig::with(config);
    let mut most = 0;
    for second in 0..3 {
        // One peer asks a thousand times a second, and a thousand others once.
        for n in 0..1_000 {
            let id = second * 1_000 + n;
            rig.receive(peer(1), &encode(&con(Code::GET, id, &["a"])));
            rig.receive(peer(2 + n), &empty(Type::Confirmable, id));
        }
        let to = |n| rig.sent.iter().filter(|(transmit, _)| transmit.to == peer(n)).count();
        assert_eq!((to(1), rig.sent.len()), (5, 25), "second {second}");
        most = most.max(rig.endpoint.usage().incoming);
        rig.sent.clear();
        // The acknowledgements of what is open leave in this second, once.
        rig.pass(secs(1));
        assert_eq!(rig.sent.len(), if second == 0 { 16 } else { 0 });
        rig.sent.clear();
    }
    assert_eq!(most, 16);
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
