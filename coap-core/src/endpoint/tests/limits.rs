//! What happens when a table is full: the known loser loses, the counter counts, the others go on.

use super::*;

/// A CON request with this method and Message ID, token 0b, path /a.
fn datagram(code: Code, message_id: u16) -> Vec<u8> {
    encode(&Message {
        kind: Type::Confirmable,
        code,
        message_id,
        token: Token::new(&[0x0b]).unwrap(),
        options: path(&["a"]),
        payload: Bytes::new(),
    })
}

#[test]
fn without_an_answer_a_request_that_finds_the_table_full_leaves_no_trace_and_has_another_chance() {
    let mut rig = Rig::with(Config::builder().max_incoming(1).max_refusals_per_second(0).build().unwrap());
    rig.receive(peer(1), &GET_A);
    let first = rig.handed_up();
    let before = rig.endpoint.usage();
    rig.receive(peer(2), &POST_A);
    rig.said_nothing();
    assert_eq!((rig.endpoint.usage(), rig.endpoint.stats().refused_incoming), (before, 1));
    rig.respond(first.id, content("hi"));
    rig.receive(peer(2), &POST_A);
    rig.handed_up();
}

#[test]
fn one_peer_cannot_fill_the_table_of_requests() {
    let mut rig = Rig::new();
    for id in 0..20 {
        rig.receive(peer(1), &datagram(Code::POST, id));
    }
    assert_eq!((rig.events.len(), rig.endpoint.stats().refused_incoming), (16, 4));
    rig.receive(peer(2), &POST_A);
    assert_eq!(rig.events.len(), 17);
}

#[test]
fn a_new_peer_takes_the_place_of_the_one_that_was_idle_longest() {
    let mut rig = Rig::with(Config::builder().max_peers(2).build().unwrap());
    for n in 1..=3 {
        rig.receive(peer(n), &POST_A);
        let request = rig.handed_up();
        rig.respond(request.id, Response::new(Code::CHANGED));
        rig.pass(secs(1));
    }
    assert_eq!(rig.endpoint.usage().peers, 2);
    let stats = rig.endpoint.stats();
    assert_eq!((stats.peers_evicted, stats.forgotten_early), (1, 1));
    // Peer 1 was forgotten, and so was what it sent; peer 3 was not.
    rig.receive(peer(3), &POST_A);
    rig.said_nothing();
    rig.receive(peer(1), &POST_A);
    rig.handed_up();
}

/// Between a request and its repetition a stranger with many addresses has time to be everybody. What a proven peer sent
/// is remembered with its record, and would be executed a second time.
#[test]
fn a_flood_of_forged_peers_does_not_take_the_place_of_a_proven_one() {
    let mut rig = Rig::with(Config::builder().max_peers(4).build().unwrap());
    rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"hi"));
    rig.response();
    rig.receive(peer(1), &POST_A);
    let incoming = rig.handed_up();
    rig.respond(incoming.id, Response::new(Code::CHANGED));
    let reply = rig.sent_bytes();
    for n in 2..100 {
        rig.receive(peer(n), &POST_A);
        let forged = rig.handed_up();
        rig.respond(forged.id, Response::new(Code::CHANGED));
        rig.sent_bytes();
    }
    assert_eq!(rig.endpoint.stats().peers_evicted, 95);
    rig.receive(peer(1), &POST_A);
    assert_eq!(rig.sent_bytes(), reply);
    rig.said_nothing();
}

#[test]
fn peers_with_something_open_are_not_forgotten_for_others() {
    let mut rig = Rig::with(Config::builder().max_peers(1).build().unwrap());
    let id = rig.get(peer(1));
    rig.receive(peer(2), &GET_A);
    rig.said_nothing();
    assert_eq!(rig.endpoint.stats().refused_peer, 1);
    let refused = rig.endpoint.request(rig.now, peer(2), Request::get(), &RequestOptions::new());
    assert_eq!(refused, Err(RequestError::TooManyPeers));
    assert_eq!(rig.endpoint.place(id), Some(Place::Sent));
}

#[test]
fn without_memory_idempotent_requests_are_served_and_others_are_dropped() {
    let mut rig = Rig::with(Config::builder().max_remembered(0).build().unwrap());
    for _ in 0..2 {
        rig.receive(peer(1), &GET_A);
        let request = rig.handed_up();
        rig.respond(request.id, content("hi"));
        assert_eq!(rig.sent_bytes(), hex!("61 45 1001 0b c0 ff 6869"));
    }
    rig.receive(peer(1), &POST_A);
    rig.said_nothing();
    rig.sent_nothing();
    let stats = rig.endpoint.stats();
    assert_eq!((stats.served_unremembered, stats.refused_memory), (2, 1));
}

#[test]
fn a_reply_that_was_pushed_out_is_made_again_only_if_that_does_no_harm() {
    let mut rig = Rig::with(Config::builder().max_remembered_bytes(0).build().unwrap());
    rig.receive(peer(1), &datagram(Code::PUT, 1));
    let request = rig.handed_up();
    rig.respond(request.id, Response::new(Code::CHANGED));
    rig.sent_bytes();
    rig.receive(peer(1), &datagram(Code::POST, 2));
    let request = rig.handed_up();
    rig.respond(request.id, Response::new(Code::CHANGED));
    rig.sent_bytes();
    rig.receive(peer(1), &datagram(Code::PUT, 1));
    let again = rig.handed_up();
    rig.respond(again.id, Response::new(Code::CHANGED));
    rig.sent_bytes();
    rig.receive(peer(1), &datagram(Code::POST, 2));
    rig.said_nothing();
    rig.sent_nothing();
}

#[test]
fn a_flood_of_forged_peers_pushes_out_forged_memories_and_not_proven_ones() {
    let mut rig = Rig::with(Config::builder().max_remembered(64).build().unwrap());
    // Peer 1 proves itself by answering a request of ours.
    rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"hi"));
    rig.response();
    rig.receive(peer(1), &POST_A);
    let incoming = rig.handed_up();
    rig.respond(incoming.id, Response::new(Code::CHANGED));
    let reply = rig.sent_bytes();
    for n in 2..500 {
        rig.receive(peer(n), &POST_A);
        let forged = rig.handed_up();
        rig.respond(forged.id, Response::new(Code::CHANGED));
        rig.sent_bytes();
    }
    assert!(rig.endpoint.usage().remembered <= 64);
    rig.receive(peer(1), &POST_A);
    assert_eq!(rig.sent_bytes(), reply);
    rig.said_nothing();
}

#[test]
fn requests_to_one_peer_queue_up_to_the_backlog_and_then_it_is_busy() {
    let mut rig = Rig::with(Config::builder().max_backlog(2).build().unwrap());
    for _ in 0..3 {
        rig.get(peer(1));
    }
    let refused = rig.endpoint.request(rig.now, peer(1), Request::get(), &RequestOptions::new());
    assert_eq!(refused, Err(RequestError::Busy));
    rig.get(peer(2));
    assert_eq!(rig.endpoint.usage().requests, 4);
}

#[test]
fn requests_are_limited_and_outcomes_are_never_lost() {
    let mut rig = Rig::with(Config::builder().max_requests(50).max_backlog(100).build().unwrap());
    for _ in 0..50 {
        rig.get(peer(1));
    }
    let refused = rig.endpoint.request(rig.now, peer(2), Request::get(), &RequestOptions::new());
    assert_eq!(refused, Err(RequestError::TooManyRequests));
    // A dead peer: each ends, by no acknowledgement or by waiting too long, and each is told once.
    rig.pass(secs(400));
    assert_eq!(rig.events.len(), 50);
    rig.events.clear();
    rig.sent.clear();
    rig.comes_to_rest();
}

#[test]
fn a_request_too_large_for_a_datagram_is_refused_at_once() {
    let mut rig = Rig::new();
    // To one peer it would go in blocks, to a group it cannot.
    let large = Request::new(Code::PUT).with_body(vec![0; 1_200]);
    let how = RequestOptions::new().token(Token::new(&[1]).unwrap()).non_confirmable();
    let group = Peer::from("[ff02::fd]:5683".parse::<SocketAddr>().unwrap());
    let refused = rig.endpoint.request(rig.now, group, large, &how);
    assert_eq!(refused, Err(RequestError::TooLarge { len: 1_206, max: 1_152 }));
    // Options do not go in blocks.
    let segments = [(); 6].map(|()| "x".repeat(200));
    let options = path(&segments.each_ref().map(String::as_str));
    for body in [0, 100, 2_000] {
        let large = Request::new(Code::PUT).with_options(options.clone()).with_body(vec![0; body]);
        let refused = rig.endpoint.request(rig.now, peer(1), large, &how);
        assert!(matches!(refused, Err(RequestError::TooLarge { len: 1_217.., max: 1_152 })), "{refused:?}");
    }
    assert_eq!(rig.endpoint.usage(), Usage::default());
}

#[test]
fn a_full_outbox_loses_datagrams_as_the_network_does() {
    let mut rig = Rig::with(Config::builder().max_outbox(1).build().unwrap());
    for n in 1..=2 {
        rig.endpoint.request(rig.now, peer(n), Request::get(), &RequestOptions::new()).unwrap();
    }
    rig.drain();
    assert_eq!((rig.sent.len(), rig.endpoint.stats().outbox_full), (1, 1));
    rig.pass(secs(3));
    assert_eq!(rig.sent.len(), 3);
}

#[test]
fn resets_are_limited_by_the_second() {
    let mut rig = Rig::with(Config::builder().max_resets_per_second(10).build().unwrap());
    for _ in 0..100 {
        rig.receive(peer(1), &hex!("40 00 1234"));
    }
    assert_eq!((rig.sent.len(), rig.endpoint.stats().resets_suppressed), (10, 90));
    rig.pass(secs(1));
    rig.sent.clear();
    rig.receive(peer(1), &hex!("40 00 1234"));
    assert_eq!(rig.sent.len(), 1);
}

#[test]
fn message_ids_run_out_before_one_is_used_twice() {
    let mut rig = Rig::new();
    let mut seen = alloc::collections::BTreeSet::new();
    let waiting = loop {
        let id = rig.get(peer(1));
        let Some((_, bytes)) = rig.sent.pop_front() else { break id };
        let request = Message::decode(bytes.into()).unwrap();
        assert!(seen.insert(request.message_id));
        rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b""));
        rig.events.clear();
    };
    assert!(seen.len() >= 57_600, "{}", seen.len());
    assert_eq!(rig.endpoint.place(waiting), Some(Place::Waiting { ahead: 0, why: Why::MessageIds }));
    rig.pass(secs(93));
    assert_eq!(rig.failure().1, Failure::NoMessageId);
}

#[test]
fn a_call_does_a_bounded_amount_of_work() {
    let mut rig = Rig::with(Config::builder().max_peers(2_000).build().unwrap());
    for n in 0..2_000 {
        rig.receive(peer(n), &GET_A);
        let request = rig.handed_up();
        rig.respond(request.id, content("hi"));
        rig.sent_bytes();
    }
    let later = rig.now + secs(1_000);
    let mut calls = 0;
    while rig.endpoint.poll_timeout().is_some_and(|due| due <= later) {
        let before = rig.endpoint.usage();
        rig.endpoint.handle_timeout(later);
        let after = rig.endpoint.usage();
        assert!(before.peers - after.peers + before.remembered - after.remembered <= 256);
        calls += 1;
    }
    assert!((16..=20).contains(&calls), "{calls}");
    assert_eq!(rig.endpoint.usage(), Usage::default());
}

#[test]
fn a_constrained_endpoint_with_everything_at_its_least_does_not_panic() {
    for limit in 0..=2 {
        let config = Config::constrained()
            .max_peers(limit)
            .max_remembered(limit)
            .max_remembered_bytes(limit)
            .max_requests(limit)
            .max_backlog(limit)
            .max_incoming(limit)
            .max_incoming_per_peer(limit)
            .max_outbox(limit)
            .max_group_responses(limit)
            .max_resets_per_second(limit as u32);
        let mut rig = Rig::with(config.build().unwrap());
        for n in 0..10 {
            for datagram in [&GET_A[..], &POST_A, &hex!("40 00 1234"), &hex!("48 45 777b 0123456789abcdef ff 78")] {
                rig.receive(peer(n), datagram);
            }
            let _ = rig.endpoint.request(rig.now, peer(n), Request::get(), &RequestOptions::new());
            let _ = rig.endpoint.ping(rig.now, peer(n));
            rig.pass(secs(1));
            while let Some(event) = rig.events.pop_front() {
                if let Event::Request(request) = event {
                    rig.respond(request.id, content("hi"));
                }
            }
        }
        rig.events.clear();
        rig.comes_to_rest();
    }
}

/// A request whose own parameters keep it in flight for longer than EXCHANGE_LIFETIME, while the numbers come round.
#[test]
fn a_message_id_that_is_in_flight_is_not_drawn_again_however_old_it_is() {
    let mut rig = Rig::new();
    let slow = TransmissionParameters::builder().ack_timeout(secs(2_000)).max_retransmit(0).build().unwrap();
    rig.request(peer(1), &RequestOptions::new().transmission(slow));
    let (_, waiting) = rig.sent();
    let how = RequestOptions::new().non_confirmable().unpaced();
    for _ in 0..62_000 {
        rig.request(peer(1), &how);
        let (_, request) = rig.sent();
        assert_ne!(request.message_id, waiting.message_id);
        rig.receive(peer(1), &answer(Type::NonConfirmable, Code::CONTENT, 1, &request, b""));
        rig.response();
        rig.pass(ms(10));
    }
}
