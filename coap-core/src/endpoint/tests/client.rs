//! As a client.

use super::*;

#[test]
fn a_piggybacked_response_ends_the_request() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (to, request) = rig.sent();
    assert_eq!((to, request.kind, request.code), (peer(1), Type::Confirmable, Code::GET));
    assert!((4..=8).contains(&request.token.len()));
    rig.pass(ms(20));
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"hi"));
    let (ended, response, timing) = rig.response();
    assert_eq!((ended, response.code, response.body.as_bytes()), (id, Code::CONTENT, &b"hi"[..]));
    assert_eq!((timing.attempts, timing.elapsed, timing.round_trip), (1, ms(20), Some(ms(20))));
    rig.pass(secs(100));
    rig.sent_nothing();
    rig.said_nothing();
    rig.comes_to_rest();
}

#[test]
fn a_request_is_repeated_with_doubling_waits_and_then_given_up() {
    let mut rig = Rig::new();
    let id = rig.request(peer(1), &RequestOptions::new().report_retransmissions());
    let start = rig.now;
    let first = rig.sent_bytes();
    let mut times = Vec::new();
    while let Some(due) = rig.endpoint.poll_timeout().filter(|_| rig.endpoint.usage().requests > 0) {
        rig.now = due;
        rig.endpoint.handle_timeout(due);
        rig.drain();
        if let Some((_, again)) = rig.sent.pop_front() {
            assert_eq!(again, first);
            times.push(rig.now - start);
        }
    }
    assert_eq!(times.len(), 4);
    assert!((secs(2)..=secs(3)).contains(&times[0]), "{times:?}");
    for (n, time) in times.iter().enumerate() {
        assert_eq!(*time, times[0] * ((2 << n) - 1));
    }
    for attempt in 1..=4 {
        let Event::Retransmitted { id: repeated, attempt: which } = rig.event() else { panic!() };
        assert_eq!((repeated, which), (id, attempt));
    }
    let (failed, reason, timing) = rig.failure();
    assert_eq!((failed, reason, timing.attempts), (id, Failure::NoAck, 5));
    assert_eq!(timing.elapsed, times[0] * 31);
    rig.comes_to_rest();
}

#[test]
fn initial_timeouts_are_spread_over_the_whole_range() {
    let mut rig = Rig::new();
    let mut waits = Vec::new();
    for n in 0..1_000 {
        rig.get(peer(n));
        rig.sent.clear();
        waits.push(rig.endpoint.poll_timeout().unwrap() - rig.now);
        let id = rig.endpoint.outgoing.key_at(0).unwrap();
        assert!(rig.endpoint.cancel(rig.now, RequestId(id)));
    }
    let below = |limit: Duration| waits.iter().filter(|wait| **wait < limit).count();
    assert_eq!((below(secs(2)), below(ms(3_001))), (0, 1_000));
    assert!((400..600).contains(&below(ms(2_500))), "{}", below(ms(2_500)));
}

#[test]
fn an_empty_acknowledgement_stops_the_repetition_and_the_response_is_acknowledged() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
    rig.pass(secs(20));
    rig.sent_nothing();
    let separate = answer(Type::Confirmable, Code::CONTENT, 0x7777, &request, b"hi");
    rig.receive(peer(1), &separate);
    assert_eq!(rig.sent_bytes(), hex!("60 00 7777"));
    assert_eq!(rig.response().0, id);
    // The acknowledgement was lost: the same again, and no second response.
    rig.receive(peer(1), &separate);
    assert_eq!(rig.sent_bytes(), hex!("60 00 7777"));
    rig.said_nothing();
    rig.comes_to_rest();
}

#[test]
fn an_acknowledged_request_does_not_wait_for_ever() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
    rig.pass(secs(92));
    rig.said_nothing();
    rig.pass(secs(1));
    let (failed, reason, _) = rig.failure();
    assert_eq!((failed, reason), (id, Failure::NoResponse));
    rig.comes_to_rest();
}

#[test]
fn a_response_that_overtakes_the_acknowledgement_ends_the_request() {
    for kind in [Type::Confirmable, Type::NonConfirmable] {
        let mut rig = Rig::new();
        rig.get(peer(1));
        let (_, request) = rig.sent();
        rig.receive(peer(1), &answer(kind, Code::CONTENT, 0x7779, &request, b"hi"));
        rig.response();
        rig.sent.clear();
        rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
        rig.pass(secs(200));
        rig.sent_nothing();
        rig.said_nothing();
    }
}

#[test]
fn a_response_with_a_foreign_token_changes_nothing() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, request) = rig.sent();
    let foreign = Message { token: Token::new(&[0xde, 0xad]).unwrap(), ..request.clone() };
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &foreign, b"no"));
    rig.said_nothing();
    rig.pass(secs(3));
    assert_eq!(rig.sent().1, request);
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"yes"));
    assert_eq!(rig.response().0, id);
}

#[test]
fn only_the_peer_itself_can_acknowledge_reset_or_answer() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, request) = rig.sent();
    let other_host = Peer::from(SocketAddr::from(([192, 0, 2, 2], 1_001)));
    for stranger in [peer(2), other_host] {
        rig.receive(stranger, &empty(Type::Reset, request.message_id));
        rig.receive(stranger, &empty(Type::Acknowledgement, request.message_id));
        rig.receive(stranger, &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"no"));
        rig.receive(stranger, &answer(Type::NonConfirmable, Code::CONTENT, 1, &request, b"no"));
        rig.sent_nothing();
        rig.said_nothing();
    }
    rig.receive(peer(1), &empty(Type::Reset, request.message_id));
    let (failed, reason, _) = rig.failure();
    assert_eq!((failed, reason), (id, Failure::Reset));
    rig.comes_to_rest();
}

#[test]
fn the_directions_of_message_ids_are_independent() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, request) = rig.sent();
    // The peer's own request happens to have our Message ID.
    let theirs = Message { code: Code::POST, token: Token::new(&[1]).unwrap(), ..request.clone() };
    rig.receive(peer(1), &encode(&theirs));
    let incoming = rig.handed_up();
    rig.respond(incoming.id, Response::new(Code::CHANGED));
    assert_eq!(rig.sent().1.kind, Type::Acknowledgement);
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"hi"));
    rig.response();
}

#[test]
fn a_response_that_nobody_waits_for_is_reset_if_confirmable_and_ignored_if_not() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("48 45 777b 0123456789abcdef ff 78"));
    assert_eq!(rig.sent_bytes(), hex!("70 00 777b"));
    rig.receive(peer(1), &hex!("58 45 777c 0123456789abcdef ff 78"));
    rig.receive(peer(1), &hex!("68 45 777d 0123456789abcdef ff 78"));
    rig.sent_nothing();
    rig.said_nothing();
    assert_eq!(rig.endpoint.stats().unmatched, 3);
}

#[test]
fn a_second_response_to_a_finished_request_is_reset() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"hi"));
    rig.response();
    rig.receive(peer(1), &answer(Type::Confirmable, Code::CONTENT, 9, &request, b"ho"));
    assert_eq!(rig.sent_bytes(), hex!("70 00 0009"));
    rig.said_nothing();
}

#[test]
fn a_critical_option_in_a_response_rejects_it() {
    // 12 + 13 = 25: critical, and nobody's.
    for (kind, reply) in [(Type::Acknowledgement, None), (Type::Confirmable, Some(hex!("70 00 0009")))] {
        let mut rig = Rig::new();
        let id = rig.get(peer(1));
        let (_, request) = rig.sent();
        let message_id = if kind == Type::Acknowledgement { request.message_id } else { 9 };
        let mut response = Message { kind, code: Code::CONTENT, message_id, ..request };
        response.options = Options::new();
        response.options.push_raw(OptionNumber::new(25), b"x").unwrap();
        rig.receive(peer(1), &encode(&response));
        let (failed, reason, _) = rig.failure();
        assert_eq!((failed, reason), (id, Failure::CriticalOption(OptionNumber::new(25))));
        assert_eq!(rig.sent.pop_front().map(|(_, bytes)| bytes), reply.map(|bytes| bytes.to_vec()));
        rig.pass(secs(200));
        rig.sent_nothing();
    }
}

#[test]
fn a_block_that_is_the_whole_body_is_taken_and_a_part_is_not() {
    for (value, whole) in [(&hex!("06")[..], true), (&hex!("0e"), false), (&hex!("16"), false)] {
        let mut rig = Rig::new();
        rig.get(peer(1));
        let (_, request) = rig.sent();
        let mut response = Message { kind: Type::Acknowledgement, code: Code::CONTENT, ..request };
        response.options = Options::new();
        response.options.push_raw(OptionNumber::BLOCK2, value).unwrap();
        rig.receive(peer(1), &encode(&response));
        assert_eq!(matches!(rig.event(), Event::Response { .. }), whole);
    }
}

#[test]
fn an_elective_option_of_the_wrong_length_is_not_delivered() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, request) = rig.sent();
    let mut response = Message { kind: Type::Acknowledgement, code: Code::CONTENT, ..request };
    response.options = Options::new();
    response.options.push_raw(OptionNumber::ETAG, b"123456789").unwrap();
    rig.receive(peer(1), &encode(&response));
    assert!(rig.response().1.options.is_empty());
}

#[test]
fn a_second_request_waits_for_the_first() {
    let mut rig = Rig::new();
    let (first, second, third) = (rig.get(peer(1)), rig.get(peer(1)), rig.get(peer(1)));
    let (_, request) = rig.sent();
    rig.sent_nothing();
    assert_eq!(rig.endpoint.place(first), Some(Place::Sent));
    assert_eq!(rig.endpoint.place(third), Some(Place::Waiting { ahead: 1, why: Why::Nstart }));
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"hi"));
    rig.response();
    assert_eq!(rig.endpoint.place(first), None);
    let (_, next) = rig.sent();
    assert_ne!((next.message_id, &next.token), (request.message_id, &request.token));
    rig.sent_nothing();
    assert_eq!(rig.endpoint.place(second), Some(Place::Sent));
    assert_eq!(rig.endpoint.place(third), Some(Place::Waiting { ahead: 0, why: Why::Nstart }));
}

#[test]
fn an_acknowledged_request_does_not_keep_the_next_one_waiting() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
    rig.sent();
}

#[test]
fn peers_do_not_wait_for_each_other() {
    let mut rig = Rig::new();
    for n in 0..100 {
        rig.get(peer(n));
        rig.sent();
    }
}

#[test]
fn a_request_that_waits_too_long_for_its_turn_was_never_sent() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let id = rig.request(peer(1), &RequestOptions::new().timeout(secs(1)));
    rig.pass(secs(1));
    let (failed, reason, timing) = rig.failure();
    assert_eq!((failed, reason, timing.attempts, timing.elapsed), (id, Failure::NotSent, 0, secs(1)));
}

#[test]
fn a_timeout_of_its_own_ends_a_request_at_any_stage() {
    for acknowledged in [false, true] {
        let mut rig = Rig::new();
        rig.request(peer(1), &RequestOptions::new().timeout(secs(5)));
        let (_, request) = rig.sent();
        if acknowledged {
            rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
        }
        rig.pass(secs(5));
        let expected = if acknowledged { Failure::NoResponse } else { Failure::NoAck };
        assert_eq!(rig.failure().1, expected);
        rig.sent.clear();
        rig.pass(secs(100));
        rig.sent_nothing();
    }
}

#[test]
fn a_non_confirmable_request_is_sent_once_and_may_be_reset() {
    let mut rig = Rig::new();
    rig.request(peer(1), &RequestOptions::new().non_confirmable());
    let (_, request) = rig.sent();
    assert_eq!(request.kind, Type::NonConfirmable);
    rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
    rig.pass(secs(50));
    rig.sent_nothing();
    rig.said_nothing();
    rig.receive(peer(1), &empty(Type::Reset, request.message_id));
    assert_eq!(rig.failure().1, Failure::Reset);
    rig.request(peer(1), &RequestOptions::new().non_confirmable());
    rig.sent();
    rig.pass(secs(93));
    assert_eq!(rig.failure().1, Failure::NoResponse);
    rig.comes_to_rest();
}

#[test]
fn non_confirmable_requests_to_a_silent_peer_are_paced() {
    let mut rig = Rig::new();
    let how = RequestOptions::new().non_confirmable();
    let mut sent = 0;
    let waiting = loop {
        let id = rig.request(peer(1), &how);
        if rig.sent.is_empty() {
            break id;
        }
        sent += rig.sent_bytes().len();
    };
    assert!((1_100..=1_152).contains(&sent), "{sent}");
    assert_eq!(rig.endpoint.place(waiting), Some(Place::Waiting { ahead: 0, why: Why::ProbingRate }));
    // An unpaced one is the application's own responsibility, but keeps its place in the line.
    rig.request(peer(2), &how.clone().unpaced());
    rig.sent();
    rig.pass(secs(20));
    let (_, paced) = rig.sent();
    // A sign of life, and it may be sent to again.
    rig.receive(peer(1), &answer(Type::NonConfirmable, Code::CONTENT, 1, &paced, b"hi"));
    rig.request(peer(1), &how);
    rig.sent();
}

#[test]
fn an_unreachable_peer_ends_what_is_in_flight_and_no_more() {
    let mut rig = Rig::new();
    let (first, second) = (rig.get(peer(1)), rig.get(peer(1)));
    let other = rig.get(peer(2));
    rig.endpoint.handle_unreachable(rig.now, peer(1));
    rig.drain();
    let (failed, reason, _) = rig.failure();
    assert_eq!((failed, reason), (first, Failure::Unreachable));
    rig.said_nothing();
    assert_eq!(rig.endpoint.place(second), Some(Place::Sent));
    assert_eq!(rig.endpoint.place(other), Some(Place::Sent));
    rig.endpoint.handle_unreachable(rig.now, peer(77));
    assert_eq!(rig.endpoint.usage().peers, 2);
}

#[test]
fn a_cancelled_request_has_no_event_and_its_response_is_a_strangers() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let next = rig.get(peer(1));
    let (_, request) = rig.sent();
    assert!(rig.endpoint.cancel(rig.now, id));
    assert!(!rig.endpoint.cancel(rig.now, id));
    rig.drain();
    rig.sent();
    assert_eq!(rig.endpoint.place(next), Some(Place::Sent));
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"hi"));
    rig.said_nothing();
    rig.receive(peer(1), &answer(Type::Confirmable, Code::CONTENT, 5, &request, b"hi"));
    assert_eq!(rig.sent_bytes(), hex!("70 00 0005"));
    rig.pass(secs(100));
    assert_eq!(rig.failure().0, next);
    rig.comes_to_rest();
}

#[test]
fn a_request_cancelled_before_it_left_is_not_sent() {
    let group = Peer::from(SocketAddr::from(([224, 0, 1, 187], 5_683)));
    let how = RequestOptions::new();
    for (to, how) in
        [(peer(1), &how), (peer(1), &how.clone().non_confirmable()), (group, &how.clone().non_confirmable())]
    {
        let mut rig = Rig::new();
        let id = rig.endpoint.request(rig.now, to, Request::get(), how).unwrap();
        rig.endpoint.cancel(rig.now, id);
        rig.drain();
        rig.sent_nothing();
        rig.comes_to_rest();
    }
}

/// RFC 7252 §5.3.2, RFC 4007 §6: what comes from it has a zone.
#[test]
fn a_link_local_peer_that_is_asked_on_an_interface_answers_from_there() {
    let addr = |text: &str| Peer::from(text.parse::<SocketAddr>().unwrap());
    let (to, there, elsewhere) = (addr("[fe80::1]:5683"), addr("[fe80::1%2]:5683"), addr("[fe80::1%3]:5683"));
    let (mut rig, how) = (Rig::new(), RequestOptions::new().interface(2));
    let asked = rig.request(to, &how);
    let (sent_to, request) = rig.sent();
    assert_eq!(sent_to, there);
    let response = answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"hi");
    rig.receive(elsewhere, &response);
    rig.said_nothing();
    rig.receive(there, &response);
    assert_eq!(rig.response().0, asked);
    let pinged = rig.endpoint.ping_with(rig.now, to, &how).unwrap();
    rig.drain();
    let (_, ping) = rig.sent();
    rig.receive(there, &empty(Type::Reset, ping.message_id));
    assert!(matches!(rig.event(), Event::Pong { id, .. } if id == pinged));
    let observed = rig.endpoint.observe(rig.now, to, Request::get(), &how).unwrap();
    rig.drain();
    let mut state = rig.sent().1;
    (state.kind, state.code) = (Type::Acknowledgement, Code::CONTENT);
    rig.receive(there, &encode(&state));
    assert!(matches!(rig.event(), Event::Notification { id, .. } if id == observed));
    // A zone that the address has is its own.
    rig.request(elsewhere, &how);
    assert_eq!(rig.sent().0, elsewhere);
}

#[test]
fn a_ping_is_answered_by_a_reset() {
    let mut rig = Rig::new();
    let id = rig.endpoint.ping(rig.now, peer(1)).unwrap();
    rig.drain();
    let (_, ping) = rig.sent();
    assert_eq!(ping, Message::empty(Type::Confirmable, ping.message_id));
    rig.pass(ms(5));
    rig.receive(peer(1), &empty(Type::Reset, ping.message_id));
    let Event::Pong { id: pong, timing } = rig.event() else { panic!() };
    assert_eq!((pong, timing.round_trip), (id, Some(ms(5))));
    rig.endpoint.ping(rig.now, peer(1)).unwrap();
    rig.drain();
    rig.pass(secs(100));
    assert_eq!(rig.failure().1, Failure::NoAck);
    rig.comes_to_rest();
}

#[test]
fn the_callers_token_is_honoured_and_used_once_at_a_time() {
    let mut rig = Rig::new();
    for token in [&[][..], &[0], &[1, 2, 3, 4, 5, 6, 7, 8]] {
        let how = RequestOptions::new().token(Token::new(token).unwrap());
        rig.request(peer(1), &how);
        let (_, request) = rig.sent();
        assert_eq!(request.token.as_bytes(), token);
        let again = rig.endpoint.request(rig.now, peer(1), Request::get(), &how);
        assert_eq!(again, Err(RequestError::TokenInUse));
        rig.endpoint.request(rig.now, peer(2), Request::get(), &how).unwrap();
        rig.drain();
        rig.sent.clear();
        rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"hi"));
        rig.response();
        rig.pass(secs(100));
        rig.events.clear();
        rig.sent.clear();
    }
}

#[test]
fn tokens_have_the_length_that_was_set() {
    for least in 1..=8 {
        let mut rig = Rig::with(Config::builder().min_token_len(least).build().unwrap());
        let lengths: Vec<_> = (0..200)
            .map(|n| {
                rig.get(peer(n));
                rig.sent().1.token.len()
            })
            .collect();
        assert_eq!(lengths.iter().min(), Some(&usize::from(least)));
        assert_eq!(lengths.iter().max(), Some(&8));
    }
}

#[test]
fn a_multicast_request_collects_responses_until_its_time_is_over() {
    let mut rig = Rig::new();
    let group = Peer::from("[ff02::fd%1]:5683".parse::<SocketAddr>().unwrap());
    let refused = rig.endpoint.request(rig.now, group, Request::get(), &RequestOptions::new());
    assert_eq!(refused, Err(RequestError::ConfirmableMulticast));
    let id = rig.request(group, &RequestOptions::new().non_confirmable().timeout(secs(30)));
    let (to, request) = rig.sent();
    assert_eq!((to, request.kind), (group, Type::NonConfirmable));
    for n in 1..=3 {
        rig.pass(secs(1));
        rig.receive(peer(n), &answer(Type::NonConfirmable, Code::CONTENT, 1, &request, b"hi"));
        let Event::Response { id: of, from, timing, .. } = rig.event() else { panic!() };
        assert_eq!((of, from, timing.elapsed), (id, peer(n), secs(n.into())));
    }
    rig.pass(secs(27));
    let Event::Finished { id: finished } = rig.event() else { panic!() };
    assert_eq!(finished, id);
    rig.receive(peer(4), &answer(Type::NonConfirmable, Code::CONTENT, 1, &request, b"late"));
    rig.said_nothing();
    rig.sent_nothing();
    rig.comes_to_rest();
}

#[test]
fn parameters_set_while_running_act_on_what_is_sent_later() {
    let mut rig = Rig::new();
    let quick = TransmissionParameters::builder().ack_random_factor(1.0).max_retransmit(0).build().unwrap();
    rig.endpoint.set_transmission(rig.now, Scope::Peer(peer(1)), quick).unwrap();
    rig.get(peer(1));
    rig.get(peer(2));
    rig.pass(secs(2));
    assert_eq!(rig.failure().1, Failure::NoAck);
    rig.said_nothing();
    // A peer with parameters of its own stays until they are taken back.
    rig.pass(secs(2_000));
    assert_eq!(rig.endpoint.usage().peers, 1);
    assert!(rig.endpoint.clear_transmission(rig.now, peer(1)));
    rig.events.clear();
    rig.comes_to_rest();

    let how = RequestOptions::new().transmission(quick);
    rig.request(peer(3), &how);
    rig.pass(secs(2));
    assert_eq!(rig.failure().1, Failure::NoAck);

    let sharp = TransmissionParameters::builder().ack_timeout(ms(200)).accept_congestion_risk().build().unwrap();
    let refused = rig.endpoint.set_transmission(rig.now, Scope::Endpoint, sharp);
    assert!(matches!(refused, Err(TransmissionError::AckDelayTooLong { .. })));
}

#[test]
fn a_late_call_sends_one_copy_of_each_message() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    rig.sent.clear();
    rig.now += secs(16);
    rig.endpoint.handle_timeout(rig.now);
    rig.drain();
    assert_eq!(rig.sent.len(), 1);
    rig.sent.clear();
    rig.now += secs(60);
    for _ in 0..3 {
        rig.endpoint.handle_timeout(rig.now);
        rig.drain();
    }
    assert!(rig.sent.is_empty());
    rig.pass(secs(20));
    assert_eq!(rig.failure().1, Failure::NoAck);
}

#[test]
fn time_does_not_go_back() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    rig.sent.clear();
    rig.endpoint.handle_timeout(Instant::ZERO);
    rig.drain();
    rig.sent_nothing();
    rig.endpoint.handle_timeout(rig.now + secs(3));
    rig.drain();
    assert_eq!(rig.sent.len(), 1);
}
