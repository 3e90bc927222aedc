//! Request bodies in blocks, when there are too many of them: who loses, and who goes on.

use super::*;

#[test]
fn half_open_uploads_are_bounded_and_the_oldest_one_gives_way() {
    let (mut rig, mut honest) = (Rig::new(), fresh(0));
    let mut ids = Vec::new();
    for n in 1..=64 {
        ids.push(rig.begin(&mut fresh(n), 1_000));
    }
    // One that goes on stays.
    let mut first = fresh(1);
    first.message_id += 1;
    first.send(&mut rig, 1, true, 0, &[b'B'; 16]);
    rig.sent();
    honest.send(&mut rig, 0, true, 0, &[b'A'; 16]);
    assert_eq!(rig.closed(), (ids[1], Closed::Abandoned));
    let id = rig.handed_up().id;
    rig.collect(id, 100);
    assert_eq!(rig.answered().1, Code::CONTINUE);
    assert_eq!(rig.endpoint.usage().transfers, 64);
    assert_eq!(rig.endpoint.stats().transfers_evicted, 1);
    rig.comes_to_rest();
}

#[test]
fn uploads_that_go_on_give_way_when_they_have_stopped() {
    let mut rig = Rig::new();
    let mut ids = Vec::new();
    for n in 1..=64 {
        let mut client = fresh(n);
        ids.push(rig.begin(&mut client, 1_000));
        client.send(&mut rig, 1, true, 0, &[b'B'; 16]);
        rig.sent();
    }
    // All have moved just now.
    let mut late = fresh(100);
    late.send(&mut rig, 0, true, 0, &[b'A'; 16]);
    let (_, refused) = rig.sent();
    assert_eq!((refused.code, refused.options.max_age()), (Code::SERVICE_UNAVAILABLE, Some(4)));
    rig.said_nothing();
    rig.pass(secs(4));
    late.send(&mut rig, 0, true, 0, &[b'A'; 16]);
    assert_eq!(rig.closed(), (ids[0], Closed::Abandoned));
    rig.handed_up();
}

#[test]
fn a_response_takes_no_memory_from_uploads_that_have_begun() {
    let mut rig = Rig::with(Config::builder().max_transfer_bytes(4_096).build().unwrap());
    let mut client = fresh(1);
    client.send(&mut rig, 0, true, 6, &[b'A'; 1_024]);
    let upload = rig.handed_up().id;
    rig.collect(upload, 4_096);
    rig.sent();
    // One datagram, perhaps forged, for a body that needs all the memory there is.
    rig.receive(peer(2), &GET_A);
    let id = rig.handed_up().id;
    rig.respond(id, Response::new(Code::CONTENT).with_body(vec![b'B'; 4_096]));
    assert_eq!(rig.sent().1.code, Code::CONTENT);
    assert_eq!((rig.endpoint.usage().transfer_bytes, rig.endpoint.stats().bodies_unkept), (1_024, 1));
    client.send(&mut rig, 1, false, 6, &[b'A'; 1_024]);
    assert_eq!(rig.part().2.len(), 2_048);
}

#[test]
fn beside_a_thousand_half_open_uploads_an_honest_one_comes_through() {
    let (mut rig, mut honest) = (Rig::new(), fresh(0));
    honest.options.set_size1(3_000);
    let body: Vec<u8> = (0..3_000).map(|n| n as u8).collect();
    let (mut next, mut taken, mut whole) = (0, 0, None);
    for n in 1..=1_000 {
        // Forged, a thousand a second; whoever is honest goes on after 40 ms.
        let mut forged = fresh(n);
        forged.options.set_size1(u32::MAX);
        forged.send(&mut rig, 0, true, 6, &[b'F'; 1_024]);
        rig.pass(ms(1));
        if n > 500 && n % 40 == 0 && next < 3 {
            let datagram = honest.cut(next, 6, &body);
            rig.receive(honest.from, &datagram);
            next += 1;
        }
        while let Some(event) = rig.events.pop_front() {
            match event {
                Event::Request(request) => {
                    taken += 1;
                    assert!(rig.endpoint.consumed(rig.now, request.id.request_body()));
                }
                Event::BodyPart { id, last, offset, .. } => {
                    whole = whole.or_else(|| last.then_some(offset));
                    rig.endpoint.consumed(rig.now, id);
                }
                _ => {}
            }
        }
        rig.drain();
        assert!(rig.endpoint.usage().transfers <= 64);
    }
    assert_eq!((taken, whole), (1_001, Some(2_048)));
    rig.sent.clear();
    rig.comes_to_rest();
}

#[test]
fn one_peer_has_a_quarter_of_the_transfers() {
    let mut rig = Rig::new();
    let mut one = fresh(1);
    for n in 0..16 {
        one.options = path(&["up", &n.to_string()]);
        rig.begin(&mut one, 1_000);
    }
    one.options = path(&["up", "x"]);
    one.send(&mut rig, 0, true, 0, &[b'A'; 16]);
    assert_eq!(rig.answered().1, Code::SERVICE_UNAVAILABLE);
    rig.begin(&mut fresh(2), 1_000);
    rig.pass(secs(5));
    one.send(&mut rig, 0, true, 0, &[b'A'; 16]);
    assert_eq!(rig.closed().1, Closed::Abandoned);
    rig.handed_up();
    assert_eq!(rig.endpoint.usage().transfers, 17);
}

#[test]
fn finished_uploads_are_no_obstacle() {
    let (mut rig, mut client) = (Rig::new(), fresh(1));
    for n in 0..200 {
        client.options = path(&["up", &n.to_string()]);
        let id = rig.begin(&mut client, 1_000);
        client.send(&mut rig, 1, false, 0, b"B");
        rig.part();
        rig.respond(id, Response::new(Code::CHANGED));
        rig.sent();
    }
    assert_eq!((rig.endpoint.usage().transfers, rig.endpoint.stats().transfers_evicted), (16, 0));
    rig.said_nothing();
    rig.comes_to_rest();
}

#[test]
fn the_memory_of_all_bodies_is_bounded() {
    let config = Config::builder().max_transfer_bytes(4_096).build().unwrap();
    let mut rig = Rig::with(config);
    let (mut one, mut two) = (fresh(1), fresh(2));
    for client in [&mut one, &mut two] {
        client.send(&mut rig, 0, true, 6, &[b'A'; 1_024]);
        let id = rig.handed_up().id;
        rig.collect(id, 100_000);
        assert_eq!(rig.answered().1, Code::CONTINUE);
    }
    for client in [&mut one, &mut two] {
        client.send(&mut rig, 1, true, 6, &[b'A'; 1_024]);
        assert_eq!(rig.answered().1, Code::CONTINUE);
    }
    assert_eq!(rig.endpoint.usage().transfer_bytes, 4_096);
    one.send(&mut rig, 2, true, 6, &[b'A'; 1_024]);
    assert_eq!(rig.answered().1, Code::SERVICE_UNAVAILABLE);
    assert_eq!(rig.closed().1, Closed::TooLarge);
    assert_eq!(rig.endpoint.usage().transfer_bytes, 2_048);
    two.send(&mut rig, 2, false, 6, &[b'A'; 1_024]);
    assert_eq!(rig.part().2.len(), 3_072);
    // One that goes on has its memory from one that has only begun.
    let (mut three, mut four) = (fresh(3), fresh(4));
    for (n, num) in [(3, 0), (4, 0), (4, 1), (4, 2)] {
        let client = if n == 3 { &mut three } else { &mut four };
        client.send(&mut rig, num, true, 6, &[b'A'; 1_024]);
        if num == 0 {
            let id = rig.handed_up().id;
            rig.collect(id, 100_000);
        }
        assert_eq!(rig.answered().1, Code::CONTINUE);
    }
    assert_eq!(rig.closed().1, Closed::Abandoned);
    rig.comes_to_rest();
}

#[test]
fn uploads_that_wait_for_their_peer_are_no_open_requests() {
    let config = Config::builder().max_incoming(2).max_incoming_per_peer(1).build().unwrap();
    let (mut rig, mut client) = (Rig::with(config), fresh(1));
    let id = rig.begin(&mut client, 100);
    for n in 2..6 {
        rig.begin(&mut fresh(n), 100);
    }
    rig.receive(peer(1), &GET_A);
    let other = rig.handed_up().id;
    // The next block is one too many now, and its retransmission gets another chance.
    let last = client.block(1, false, 0, b"B");
    rig.receive(client.from, &last);
    rig.sent_nothing();
    rig.respond(other, content("hi"));
    rig.sent();
    rig.receive(client.from, &last);
    assert_eq!(rig.part().0, id.request_body());
    assert_eq!((rig.endpoint.usage().incoming, rig.endpoint.stats().refused_incoming), (1, 1));
    rig.comes_to_rest();
}
