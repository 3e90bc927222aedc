//! Where two things meet that seldom do: each test here tells of one that went wrong, or could have.

use super::*;

const CON: Type = Type::Confirmable;
const NON: Type = Type::NonConfirmable;

/// A request of this kind and method, with this Message ID, token 0b, path /a.
fn asks(kind: Type, code: Code, message_id: u16) -> Vec<u8> {
    encode(&Message {
        kind,
        code,
        message_id,
        token: Token::new(&[0x0b]).unwrap(),
        options: path(&["a"]),
        payload: Bytes::new(),
    })
}

#[test]
fn a_request_served_again_is_not_served_a_third_time_meanwhile() {
    let mut rig = Rig::with(Config::builder().max_remembered_bytes(0).build().unwrap());
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    rig.respond(request.id, content("hi"));
    rig.receive(peer(1), &GET_A);
    let again = rig.handed_up();
    rig.receive(peer(1), &GET_A);
    rig.said_nothing();
    rig.respond(again.id, content("hi"));
    rig.comes_to_rest();
}

#[test]
fn the_slow_parameters_of_one_peer_do_not_make_others_duplicates() {
    let mut rig = Rig::new();
    let slow = TransmissionParameters::builder().ack_timeout(secs(60)).build().unwrap();
    rig.endpoint.set_transmission(rig.now, Scope::Peer(peer(1)), slow).unwrap();
    for n in [1, 2] {
        rig.receive(peer(n), &POST_A);
        let request = rig.handed_up();
        rig.respond(request.id, Response::new(Code::CHANGED));
    }
    rig.pass(secs(200));
    // Something keeps the second peer known.
    rig.receive(peer(2), &asks(CON, Code::POST, 7));
    let request = rig.handed_up();
    rig.respond(request.id, Response::new(Code::CHANGED));
    rig.pass(secs(48));
    rig.receive(peer(2), &POST_A);
    rig.handed_up();
}

#[test]
fn a_reply_is_sent_once_before_it_is_forgotten() {
    let mut rig = Rig::with(Config::builder().max_remembered_bytes(1_024).build().unwrap());
    for n in 1..=3 {
        let payload = Bytes::copy_from_slice(&asks(CON, Code::POST, n));
        rig.endpoint.handle_datagram(rig.now, Datagram { from: peer(n), to: Local::default(), payload });
    }
    while let Some(Event::Request(request)) = rig.endpoint.poll_event() {
        rig.endpoint.respond(rig.now, request.id, Response::new(Code::CHANGED).with_body(vec![0; 600])).unwrap();
    }
    rig.drain();
    assert_eq!(rig.sent.len(), 3);
    rig.comes_to_rest();
}

#[test]
fn a_peer_may_have_more_requests_open_than_fit_into_16_bits() {
    let config = Config::builder().max_incoming(100_000).max_incoming_per_peer(100_000).max_remembered(16);
    let mut rig = Rig::with(config.build().unwrap());
    for round in 0..2 {
        for id in 0..40_000 {
            rig.receive(peer(1), &asks(NON, Code::GET, id));
        }
        assert_eq!(rig.events.len(), (round + 1) * 40_000);
    }
}

#[test]
fn separate_responses_that_nobody_acknowledges_are_bounded() {
    let config = Config::builder().max_incoming(64).max_incoming_per_peer(8).build().unwrap();
    let mut rig = Rig::with(config);
    for id in 0..200 {
        rig.receive(peer(1), &asks(CON, Code::GET, id));
        rig.receive(peer(2 + id), &asks(CON, Code::GET, id));
        rig.pass(ms(300));
        while let Some(event) = rig.events.pop_front() {
            let Event::Request(request) = event else { continue };
            rig.respond(request.id, content("hi"));
        }
    }
    let usage = rig.endpoint.usage();
    assert!(usage.in_flight <= 64, "{usage:?}");
    assert!(rig.endpoint.stats().unrepeated_responses > 0);
    rig.comes_to_rest();
}

#[test]
fn the_same_datagram_of_a_group_member_is_one_response() {
    let mut rig = Rig::new();
    let group = Peer::from(SocketAddr::from(([224, 0, 1, 187], 5_683)));
    rig.request(group, &RequestOptions::new().non_confirmable());
    let (_, request) = rig.sent();
    let first = answer(NON, Code::CONTENT, 1, &request, b"hi");
    for _ in 0..2 {
        rig.receive(peer(1), &first);
    }
    assert_eq!((rig.events.len(), rig.endpoint.stats().duplicates), (1, 1));
    rig.receive(peer(2), &first);
    assert_eq!(rig.events.len(), 2);
    let confirmable = answer(CON, Code::CONTENT, 2, &request, b"hi");
    for _ in 0..2 {
        rig.receive(peer(3), &confirmable);
        assert_eq!(rig.sent_bytes(), empty(Type::Acknowledgement, 2));
    }
    assert_eq!(rig.events.len(), 3);
    rig.comes_to_rest();
}

/// RFC 7252 §4.5: a response is processed once, and §5.3.1 lets a client use one token, an empty one say, for one request
/// after the other.
#[test]
fn a_duplicate_of_a_non_confirmable_response_does_not_answer_the_next_request_with_the_same_token() {
    let how = RequestOptions::new().token(Token::EMPTY);
    for how in [how.clone(), how.non_confirmable()] {
        let mut rig = Rig::new();
        rig.request(peer(1), &how);
        let (_, first) = rig.sent();
        let old = answer(NON, Code::CONTENT, 1, &first, b"old");
        rig.receive(peer(1), &old);
        assert_eq!(rig.response().1.body.as_bytes(), b"old");
        let second = rig.request(peer(1), &how);
        let (_, request) = rig.sent();
        rig.receive(peer(1), &old);
        rig.said_nothing();
        rig.receive(peer(1), &answer(NON, Code::CONTENT, 2, &request, b"new"));
        let (of, response, _) = rig.response();
        assert_eq!((of, response.body.as_bytes()), (second, &b"new"[..]));
        assert_eq!(rig.endpoint.stats().duplicates, 1);
        rig.comes_to_rest();
    }
}

/// RFC 7252 §4.5: for as long as its lifetime, also if its sender was known long before and nothing held it since.
#[test]
fn a_response_to_a_group_is_known_for_its_lifetime_whenever_its_member_was_first_heard_of() {
    let mut rig = Rig::new();
    let group = Peer::from(SocketAddr::from(([224, 0, 1, 187], 5_683)));
    let asked = |rig: &mut Rig| {
        rig.request(group, &RequestOptions::new().non_confirmable());
        rig.sent().1
    };
    let first = asked(&mut rig);
    rig.receive(peer(1), &answer(NON, Code::CONTENT, 1, &first, b"hi"));
    rig.pass(secs(240));
    let second = asked(&mut rig);
    rig.events.clear();
    let response = answer(NON, Code::CONTENT, 2, &second, b"hi");
    rig.receive(peer(1), &response);
    rig.pass(secs(140));
    rig.events.retain(|event| matches!(event, Event::Response { .. }));
    rig.receive(peer(1), &response);
    assert_eq!((rig.events.len(), rig.endpoint.stats().duplicates), (1, 1));
    rig.comes_to_rest();
}

#[test]
fn a_request_that_was_not_sent_yet_has_no_response() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, first) = rig.sent();
    let token = Token::new(&[7]).unwrap();
    let second = rig.request(peer(1), &RequestOptions::new().token(token.clone()));
    rig.sent_nothing();
    // A late answer to an earlier request that had the same token.
    let stale = Message { token, ..first.clone() };
    rig.receive(peer(1), &answer(NON, Code::CONTENT, 9, &stale, b"old"));
    rig.said_nothing();
    assert!(matches!(rig.endpoint.place(second), Some(Place::Waiting { .. })));
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, first.message_id, &first, b"hi"));
    rig.response();
    rig.sent();
    rig.receive(peer(1), &answer(NON, Code::CONTENT, 10, &stale, b"new"));
    assert_eq!(rig.response().0, second);
    rig.comes_to_rest();
}

#[test]
fn an_unpaced_request_does_not_wait_behind_a_paced_one() {
    let mut rig = Rig::new();
    let paced = RequestOptions::new().non_confirmable();
    let large = Request::get().with_body(vec![0; 1_000]);
    rig.endpoint.request(rig.now, peer(1), large, &paced).unwrap();
    rig.request(peer(1), &paced.clone().token(Token::new(&[1; 8]).unwrap()));
    let filled = Request::get().with_body(vec![0; 1_000]);
    rig.endpoint.request(rig.now, peer(1), filled, &paced).unwrap();
    rig.drain();
    rig.sent.clear();
    let unpaced = rig.request(peer(1), &paced.clone().unpaced());
    assert_eq!(rig.endpoint.place(unpaced), Some(Place::Sent));
    rig.sent();
    rig.comes_to_rest();
}

#[test]
fn clearing_the_parameters_of_a_peer_lets_what_waited_for_them_go() {
    let mut rig = Rig::new();
    let own = TransmissionParameters::default();
    let fast = TransmissionParameters::builder().probing_rate(1_000_000).nstart(4).accept_congestion_risk();
    rig.endpoint.set_transmission(rig.now, Scope::Peer(peer(1)), own).unwrap();
    rig.endpoint.set_transmission(rig.now, Scope::Endpoint, fast.build().unwrap()).unwrap();
    rig.get(peer(1));
    let second = rig.get(peer(1));
    rig.sent();
    rig.sent_nothing();
    assert!(rig.endpoint.clear_transmission(rig.now, peer(1)));
    assert_eq!(rig.endpoint.place(second), Some(Place::Sent));
    rig.comes_to_rest();
}

#[test]
fn an_option_of_requests_is_not_understood_in_a_response() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, request) = rig.sent();
    let response = Message {
        kind: Type::Acknowledgement,
        code: Code::CONTENT,
        options: path(&["a"]),
        payload: Bytes::from_static(b"hi"),
        ..request
    };
    rig.receive(peer(1), &encode(&response));
    assert_eq!(rig.failure().0, id);
}

#[test]
fn a_request_ends_whole_wherever_it_is_cancelled() {
    // Waiting, in flight, acknowledged, settled; Confirmable, Non-confirmable, ping, group.
    for step in 0..5 {
        let mut rig = Rig::new();
        let group = Peer::from(SocketAddr::from(([224, 0, 1, 187], 5_683)));
        let how = RequestOptions::new().timeout(secs(30));
        let first = rig.get(peer(1));
        let (_, sent) = rig.sent();
        let mut ids = vec![first, rig.get(peer(1)), rig.endpoint.ping(rig.now, peer(1)).unwrap()];
        ids.push(rig.request(peer(1), &how));
        ids.push(rig.request(peer(1), &how.clone().non_confirmable()));
        ids.push(rig.request(group, &how.clone().non_confirmable()));
        rig.pass(ms(10));
        match step {
            0 => {}
            1 => rig.receive(peer(1), &empty(Type::Acknowledgement, sent.message_id)),
            2 => rig.receive(peer(1), &empty(Type::Reset, sent.message_id)),
            3 => rig.endpoint.handle_unreachable(rig.now, peer(1)),
            _ => rig.pass(secs(10)),
        }
        for id in ids.into_iter().rev() {
            rig.endpoint.cancel(rig.now, id);
        }
        assert_eq!(rig.endpoint.usage().in_flight, 0, "step {step}");
        assert_eq!(rig.endpoint.usage().requests, 0, "step {step}");
        // Nothing of it is left behind: the next request goes at once.
        let next = rig.get(peer(1));
        assert_eq!(rig.endpoint.place(next), Some(Place::Sent), "step {step}");
        rig.comes_to_rest();
    }
}

#[test]
fn a_multicast_request_that_is_not_answered_in_time_ends_in_silence() {
    let mut rig = Rig::with(Config::builder().incoming_timeout(secs(5)).build().unwrap());
    let mut options = path(&["a"]);
    // The client wants to know of errors (RFC 7967 §2.1), and still has no use for a late 5.03.
    options.set_no_response(0);
    let request = Message {
        kind: NON,
        code: Code::GET,
        message_id: 1,
        token: Token::new(&[1]).unwrap(),
        options,
        payload: Bytes::new(),
    };
    rig.receive_multicast(peer(1), &encode(&request));
    let request = rig.handed_up();
    rig.pass(secs(20));
    rig.sent_nothing();
    match rig.event() {
        Event::IncomingClosed { id, why: Closed::TimedOut } => assert_eq!(id, request.id),
        other => panic!("{other:?}"),
    }
    rig.comes_to_rest();
}

#[test]
fn a_no_response_of_illegal_length_is_not_there() {
    let mut rig = Rig::new();
    let mut options = path(&["a"]);
    options.push_raw(OptionNumber::NO_RESPONSE, &[0, 2]).unwrap();
    let (message_id, token) = (1, Token::new(&[1]).unwrap());
    rig.receive(
        peer(1),
        &encode(&Message { kind: NON, code: Code::GET, message_id, token, options, payload: Bytes::new() }),
    );
    let request = rig.handed_up();
    rig.respond(request.id, content("hi"));
    assert_eq!(rig.sent().1.code, Code::CONTENT);
    rig.comes_to_rest();
}

#[test]
fn a_response_that_finds_no_message_id_can_be_given_again() {
    let mut rig = Rig::with(Config::builder().max_incoming_per_peer(64).incoming_timeout(secs(1_000)).build().unwrap());
    let mut free = None;
    for n in 0..62_000_u32 {
        rig.receive(peer(1), &asks(NON, Code::GET, n as u16));
        let request = rig.handed_up();
        match rig.endpoint.respond(rig.now, request.id, content("hi")) {
            Ok(()) => rig.drain(),
            Err(RespondError::NoMessageId { until }) => {
                free = Some((request.id, until));
                break;
            }
            Err(other) => panic!("{other:?}"),
        }
        rig.sent.clear();
    }
    let (id, until) = free.unwrap();
    assert!(until > rig.now);
    rig.pass(until - rig.now);
    rig.sent_nothing();
    rig.respond(id, content("hi"));
    assert_eq!(rig.sent().1.code, Code::CONTENT);
    rig.comes_to_rest();
}

#[test]
fn memory_is_given_back_when_all_is_quiet() {
    let mut rig = Rig::new();
    for n in 0..2_000 {
        rig.get(peer(n));
        rig.receive(peer(n), &GET_A);
    }
    for event in core::mem::take(&mut rig.events) {
        if let Event::Request(request) = event {
            rig.respond(request.id, content("hi"));
        }
    }
    rig.comes_to_rest();
    assert!(!rig.endpoint.recent.holds_much() && !rig.endpoint.deadlines.holds_much());
}

#[test]
fn a_peer_that_was_forgotten_for_another_is_given_no_message_id_again() {
    let mut rig = Rig::with(Config::builder().max_peers(1).build().unwrap());
    let mut seen = alloc::collections::BTreeSet::new();
    for n in 0..400 {
        // Two peers take turns in the only place, and neither of them waits.
        let id = rig.endpoint.request(rig.now, peer(n % 2), Request::get(), &RequestOptions::new()).unwrap();
        rig.drain();
        let (to, message) = rig.sent();
        assert!(seen.insert((to, message.message_id)), "{message}");
        rig.endpoint.cancel(rig.now, id);
    }
    assert!(rig.endpoint.stats().peers_evicted >= 399);
}

#[test]
fn a_peer_is_known_for_as_long_as_a_message_id_that_it_was_answered_with() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    rig.respond(request.id, content("hi"));
    rig.sent();
    rig.pass(secs(246));
    let mut options = Options::new();
    options.push(OptionNumber::PROXY_SCHEME, b"coap").unwrap();
    let message = Message { options, ..Message::decode(asks(NON, Code::GET, 9).into()).unwrap() };
    for _ in 0..600 {
        rig.receive(peer(1), &encode(&message));
    }
    let mut seen: alloc::collections::BTreeSet<u16> = (0..600).map(|_| rig.sent().1.message_id).collect();
    rig.pass(secs(2));
    for _ in 0..10 {
        let id = rig.get(peer(1));
        assert!(seen.insert(rig.sent().1.message_id));
        rig.endpoint.cancel(rig.now, id);
    }
    rig.comes_to_rest();
}
