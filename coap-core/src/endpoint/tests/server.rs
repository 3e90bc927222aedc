//! As a server.

use super::*;

#[test]
fn a_fast_response_rides_on_the_acknowledgement() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    assert_eq!((request.peer, request.kind, request.message_id), (peer(1), Type::Confirmable, 0x1001));
    rig.respond(request.id, content("hi"));
    assert_eq!(rig.sent_bytes(), hex!("61 45 1001 0b c0 ff 6869"));
    rig.pass(secs(100));
    rig.sent_nothing();
    rig.comes_to_rest();
}

#[test]
fn a_slow_response_is_sent_separately_and_repeated_until_acknowledged() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    rig.pass(ms(249));
    rig.sent_nothing();
    rig.pass(ms(1));
    assert_eq!(rig.sent_bytes(), hex!("60 00 1001"));

    rig.respond(request.id, content("hi"));
    let (_, first) = rig.sent();
    assert_eq!((first.kind, first.code), (Type::Confirmable, Code::CONTENT));
    assert_eq!(first.token.as_bytes(), [0x0b]);
    rig.pass(secs(3));
    assert_eq!(rig.sent(), (peer(1), first.clone()));
    rig.receive(peer(1), &empty(Type::Acknowledgement, first.message_id));
    rig.pass(secs(200));
    rig.sent_nothing();
    rig.comes_to_rest();
}

#[test]
fn a_separate_response_that_nobody_acknowledges_is_given_up_and_counted() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    rig.pass(ms(250));
    rig.respond(request.id, content("hi"));
    rig.pass(secs(100));
    assert_eq!(rig.sent.len(), 1 + 5);
    assert_eq!(rig.endpoint.stats().unacknowledged_responses, 1);
    rig.comes_to_rest();
}

#[test]
fn a_reset_stops_a_separate_response_at_once() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    rig.pass(ms(250));
    rig.sent_bytes();
    rig.respond(request.id, content("hi"));
    let (_, response) = rig.sent();
    rig.receive(peer(1), &empty(Type::Reset, response.message_id));
    rig.pass(secs(200));
    rig.sent_nothing();
    rig.comes_to_rest();
}

#[test]
fn a_duplicate_gets_the_same_reply_and_is_not_handed_up() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &POST_A);
    let request = rig.handed_up();
    rig.receive(peer(1), &POST_A);
    rig.sent_nothing();
    rig.respond(request.id, Response::new(Code::CHANGED));
    let reply = rig.sent_bytes();
    rig.pass(secs(200));
    rig.receive(peer(1), &POST_A);
    assert_eq!(rig.sent_bytes(), reply);
    rig.said_nothing();
    assert_eq!(rig.endpoint.stats().duplicates, 2);
}

#[test]
fn a_duplicate_is_known_by_its_message_id_whatever_else_it_carries() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &POST_A);
    let request = rig.handed_up();
    rig.respond(request.id, Response::new(Code::CHANGED));
    let reply = rig.sent_bytes();
    rig.receive(peer(1), &hex!("41 02 1002 77 b1 62 ff 79"));
    assert_eq!(rig.sent_bytes(), reply);
    rig.said_nothing();
}

/// A Message ID that the peer uses twice in a row, against RFC 7252 §4.4, for messages of two types.
#[test]
fn a_non_confirmable_duplicate_of_a_confirmable_is_not_acknowledged() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    let non = hex!("51 01 1001 0b b1 61");
    rig.pass(ms(250));
    assert_eq!(rig.sent_bytes(), hex!("60 00 1001"));
    rig.receive(peer(1), &non);
    rig.receive_multicast(peer(1), &non);
    rig.sent_nothing();
    rig.respond(request.id, content("hi"));
    rig.sent();

    rig.receive(peer(1), &POST_A);
    let request = rig.handed_up();
    rig.respond(request.id, Response::new(Code::CHANGED));
    rig.sent();
    rig.receive(peer(1), &hex!("51 02 1002 0c b1 61 ff 78"));
    rig.sent_nothing();
    rig.said_nothing();
}

#[test]
fn a_duplicate_behind_the_empty_acknowledgement_gets_that_again() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    rig.pass(ms(250));
    rig.sent_bytes();
    rig.receive(peer(1), &GET_A);
    assert_eq!(rig.sent_bytes(), hex!("60 00 1001"));
    rig.respond(request.id, content("hi"));
    rig.sent();
    rig.receive(peer(1), &GET_A);
    assert_eq!(rig.sent_bytes(), hex!("60 00 1001"));
    rig.said_nothing();
}

#[test]
fn a_message_id_belongs_to_its_sender_and_fades() {
    let mut rig = Rig::new();
    for from in [peer(1), peer(2)] {
        rig.receive(from, &POST_A);
        let request = rig.handed_up();
        rig.respond(request.id, Response::new(Code::CHANGED));
        rig.sent_bytes();
    }
    rig.pass(secs(248));
    rig.receive(peer(1), &POST_A);
    rig.handed_up();
}

#[test]
fn a_non_confirmable_request_has_a_non_confirmable_response_and_a_shorter_memory() {
    let mut rig = Rig::new();
    let non = hex!("51 01 1001 0b b1 61");
    rig.receive(peer(1), &non);
    let request = rig.handed_up();
    rig.pass(secs(1));
    rig.sent_nothing();
    rig.respond(request.id, content("hi"));
    let (_, response) = rig.sent();
    assert_eq!((response.kind, response.token.as_bytes()), (Type::NonConfirmable, &[0x0b][..]));
    rig.receive(peer(1), &non);
    rig.sent_nothing();
    rig.said_nothing();
    rig.pass(secs(145));
    rig.receive(peer(1), &non);
    rig.handed_up();
}

#[test]
fn a_ping_is_reset() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("40 00 1234"));
    assert_eq!(rig.sent_bytes(), hex!("70 00 1234"));
    assert_eq!(rig.endpoint.usage(), Usage::default());
}

#[test]
fn what_makes_no_sense_is_reset_if_confirmable_and_ignored_if_not() {
    for senseless in [&hex!("41 20 1234 0b")[..], &hex!("41 65 1234 0b"), &hex!("41 e1 1234 0b"), &hex!("49 01 1234")] {
        let mut rig = Rig::new();
        rig.receive(peer(1), senseless);
        assert_eq!(rig.sent_bytes(), hex!("70 00 1234"));
        let mut other = senseless.to_vec();
        for kind in [0x50, 0x60, 0x70] {
            other[0] = kind | (other[0] & 0x0f);
            rig.receive(peer(1), &other);
            rig.sent_nothing();
        }
        rig.said_nothing();
        assert_eq!(rig.endpoint.usage(), Usage::default());
    }
}

#[test]
fn nothing_is_ever_an_answer_to_an_acknowledgement_or_a_reset() {
    let mut rig = Rig::new();
    for code in 0..=255 {
        for head in [0x60, 0x61, 0x70, 0x71] {
            rig.receive(peer(1), &[head, code, 0x12, 0x34, 0x0b][..4 + usize::from(head & 1)]);
        }
    }
    rig.sent_nothing();
    rig.said_nothing();
}

#[test]
fn a_datagram_of_another_version_or_too_short_is_ignored() {
    let mut rig = Rig::new();
    for datagram in [&hex!("81 01 1001 0b b1 61")[..], &hex!("00 00 1234"), &hex!("c0 00 1234"), &[], &hex!("40 01 10")]
    {
        rig.receive(peer(1), datagram);
    }
    rig.sent_nothing();
    assert_eq!(rig.endpoint.stats().malformed, 5);
}

#[test]
fn a_datagram_that_cannot_be_answered_is_dropped() {
    let mut rig = Rig::new();
    for from in ["192.0.2.1:0", "224.0.1.187:5683", "[ff02::fd]:5683", "255.255.255.255:5683"] {
        rig.receive(Peer::from(from.parse::<SocketAddr>().unwrap()), &GET_A);
    }
    rig.sent_nothing();
    rig.said_nothing();
    assert_eq!(rig.endpoint.stats().senseless, 4);
}

#[test]
fn a_critical_option_that_is_not_understood_is_answered_bad_option() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("41 01 4025 0b b1 61 e2 fcd1 7a7a"));
    let (_, reply) = rig.sent();
    assert_eq!((reply.kind, reply.code, reply.message_id), (Type::Acknowledgement, Code::BAD_OPTION, 0x4025));
    assert!(core::str::from_utf8(&reply.payload).unwrap().contains("65001"));
    rig.receive(peer(1), &hex!("51 01 4026 0b b1 61 e2 fcd1 7a7a"));
    rig.sent_nothing();
    rig.said_nothing();
    assert_eq!((rig.endpoint.stats().bad_option, rig.endpoint.usage()), (2, Usage::default()));
}

#[test]
fn an_option_that_the_application_understands_is_handed_up() {
    let understood = OptionNumber::new(65_001);
    let mut rig = Rig::with(Config::builder().understands(understood).build().unwrap());
    rig.receive(peer(1), &hex!("41 01 4025 0b b1 61 e2 fcd1 7a7a"));
    assert_eq!(rig.handed_up().request.options.get(understood), Some(&b"zz"[..]));
}

#[test]
fn an_elective_option_of_the_wrong_length_is_not_there() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("41 01 402c 0b 49 313233343536373839 71 61"));
    let options = rig.handed_up().request.options;
    assert_eq!(options.get(OptionNumber::ETAG), None);
    assert_eq!(options.uri_path().collect::<Vec<_>>(), [b"a"]);
}

#[test]
fn a_proxy_is_what_we_are_not() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("41 01 4045 0b dd1607 636f61703a2f2f6578616d706c652e6e65742f78"));
    assert_eq!(rig.sent().1.code, Code::PROXYING_NOT_SUPPORTED);
    rig.receive(peer(1), &hex!("51 01 4046 0b dd1607 636f61703a2f2f6578616d706c652e6e65742f78"));
    let (_, reply) = rig.sent();
    assert_eq!((reply.kind, reply.code), (Type::NonConfirmable, Code::PROXYING_NOT_SUPPORTED));
    rig.said_nothing();
}

#[test]
fn a_response_that_the_client_declined_is_not_sent() {
    let mut rig = Rig::new();
    // NON PUT /a, No-Response 2: not interested in 2.xx.
    rig.receive(peer(1), &hex!("51 03 9007 66 b1 61 d1ea 02 ff 78"));
    let request = rig.handed_up();
    rig.respond(request.id, Response::new(Code::CHANGED));
    rig.sent_nothing();
    rig.receive(peer(1), &hex!("51 03 9008 66 b1 61 d1ea 02 ff 78"));
    let request = rig.handed_up();
    rig.respond(request.id, Response::new(Code::NOT_FOUND));
    assert_eq!(rig.sent().1.code, Code::NOT_FOUND);
    // Confirmable: the acknowledgement alone.
    rig.receive(peer(1), &hex!("41 03 9009 66 b1 61 d1ea 02 ff 78"));
    let request = rig.handed_up();
    rig.respond(request.id, Response::new(Code::CHANGED));
    assert_eq!(rig.sent_bytes(), hex!("60 00 9009"));
    rig.receive(peer(1), &hex!("41 03 9009 66 b1 61 d1ea 02 ff 78"));
    assert_eq!(rig.sent_bytes(), hex!("60 00 9009"));
    assert_eq!(rig.endpoint.stats().responses_suppressed, 2);
}

#[test]
fn a_multicast_request_is_answered_within_the_leisure_and_from_no_group() {
    let mut rig = Rig::new();
    rig.receive_multicast(peer(1), &hex!("51 01 9004 63 b1 61"));
    let request = rig.handed_up();
    assert!(request.local.group.is_some());
    rig.endpoint.respond(rig.now, request.id, content("hi")).unwrap();
    let mut buf = [0; 1_152];
    assert!(rig.endpoint.poll_transmit(&mut buf).is_none());
    let due = rig.endpoint.poll_timeout().unwrap();
    assert!(due <= rig.now + secs(5));
    rig.endpoint.handle_timeout(due);
    let transmit = rig.endpoint.poll_transmit(&mut buf).unwrap();
    assert_eq!((transmit.to, transmit.from.group, transmit.from.interface), (peer(1), None, 1));
    assert_eq!(buf[0] & 0x30, 0x10);
    assert_eq!(rig.endpoint.respond(due, request.id, content("again")), Err(RespondError::Stale));
    rig.comes_to_rest();
}

#[test]
fn a_multicast_request_has_no_error_no_reset_and_no_acknowledgement() {
    let mut rig = Rig::new();
    rig.receive_multicast(peer(1), &hex!("51 01 9001 61 b1 61"));
    let request = rig.handed_up();
    rig.respond(request.id, Response::new(Code::NOT_FOUND));
    for datagram in [
        &hex!("41 01 9002 61 b1 61")[..],
        &hex!("40 00 9003"),
        &hex!("49 01 9004"),
        &hex!("51 01 9005 61 b1 61 e2 fcd1 7a7a"),
        &hex!("51 01 9006 0b dd1607 636f61703a2f2f6578616d706c652e6e65742f78"),
        &hex!("41 45 9007 0b ff 78"),
    ] {
        rig.receive_multicast(peer(1), datagram);
    }
    rig.pass(secs(100));
    rig.sent_nothing();
    rig.said_nothing();
}

#[test]
fn an_error_to_a_multicast_request_is_sent_if_the_client_asked_for_it() {
    let mut rig = Rig::new();
    // No-Response 2: interested in all but 2.xx.
    rig.receive_multicast(peer(1), &hex!("51 01 9001 61 b1 61 d1ea 02"));
    let request = rig.handed_up();
    rig.respond(request.id, Response::new(Code::NOT_FOUND));
    rig.pass(secs(5));
    assert_eq!(rig.sent().1.code, Code::NOT_FOUND);
}

#[test]
fn a_request_that_is_not_answered_in_time_is_closed_with_5_03() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    rig.pass(secs(93));
    assert_eq!(rig.sent_bytes(), hex!("60 00 1001"));
    assert_eq!(rig.sent().1.code, Code::SERVICE_UNAVAILABLE);
    let Event::IncomingClosed { id, why: Closed::TimedOut } = rig.event() else { panic!() };
    assert_eq!(id, request.id);
    assert_eq!(rig.endpoint.respond(rig.now, request.id, content("late")), Err(RespondError::Stale));
    rig.comes_to_rest();
    assert_eq!(rig.endpoint.stats().unanswered, 1);
}

#[test]
fn an_ignored_request_is_acknowledged_and_forgotten() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    assert!(rig.endpoint.ignore(rig.now, request.id));
    assert!(!rig.endpoint.ignore(rig.now, request.id));
    rig.drain();
    assert_eq!(rig.sent_bytes(), hex!("60 00 1001"));
    rig.comes_to_rest();
}

#[test]
fn a_response_is_refused_before_anything_changes() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    let code = Code::GET;
    assert_eq!(
        rig.endpoint.respond(rig.now, request.id, Response::new(code)),
        Err(RespondError::NotAResponse { code })
    );
    // Content goes in blocks, however long it is; options do not.
    let mut options = Options::new();
    for _ in 0..5 {
        options.push_location_path(&"x".repeat(255)).unwrap();
    }
    let large = Response::new(Code::CREATED).with_options(options);
    assert_eq!(
        rig.endpoint.respond(rig.now, request.id, large),
        Err(RespondError::TooLarge { len: 1_290, max: 1_152 })
    );
    rig.respond(request.id, content("hi"));
    assert_eq!(rig.sent_bytes(), hex!("61 45 1001 0b c0 ff 6869"));
}

#[test]
fn a_reply_leaves_from_where_the_request_came_to() {
    let mut rig = Rig::new();
    let local = Local { socket: 3, ip: Some("192.0.2.9".parse().unwrap()), interface: 2, group: None };
    let payload = Bytes::copy_from_slice(&GET_A);
    rig.endpoint.handle_datagram(rig.now, Datagram { from: peer(1), to: local, payload });
    let Some(Event::Request(request)) = rig.endpoint.poll_event() else { panic!() };
    rig.endpoint.respond(rig.now, request.id, content("hi")).unwrap();
    let transmit = rig.endpoint.poll_transmit(&mut [0; 1_152]).unwrap();
    assert_eq!((transmit.from, transmit.to), (local, peer(1)));
}

#[test]
fn shutting_down_finishes_what_is_open_and_takes_nothing_new() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up();
    rig.endpoint.begin_shutdown(rig.now);
    rig.receive(peer(1), &POST_A);
    rig.said_nothing();
    assert!(!rig.endpoint.is_idle());
    rig.respond(request.id, content("hi"));
    assert!(rig.endpoint.is_idle());
    let refused = rig.endpoint.request(rig.now, peer(2), Request::get(), &RequestOptions::new());
    assert_eq!(refused, Err(RequestError::Shutdown));
    assert_eq!(rig.endpoint.stats().refused_shutdown, 1);
}

/// RFC 7252 §4.4: a Message ID belongs to a pair of endpoints, and each address of ours is one of its own. A client
/// numbers its requests to each of them by itself.
#[test]
fn the_same_message_id_at_another_address_of_ours_is_another_message() {
    let mut rig = Rig::new();
    let at = |last: u8| Local { ip: Some([192, 0, 2, last].into()), ..Local::default() };
    let mut replies = Vec::new();
    for (local, code) in [(at(8), Code::CHANGED), (at(9), Code::CREATED)] {
        rig.receive_at(peer(1), local, &POST_A);
        let request = rig.handed_up();
        assert_eq!(request.local, local);
        rig.respond(request.id, Response::new(code));
        replies.push(rig.sent_bytes());
    }
    rig.receive_at(peer(1), at(8), &POST_A);
    assert_eq!(rig.sent_bytes(), replies[0]);
    rig.receive_at(peer(1), at(9), &POST_A);
    assert_eq!(rig.sent_bytes(), replies[1]);
    rig.said_nothing();
    assert_eq!(rig.endpoint.stats().duplicates, 2);
}
