//! What a peer is sent that has not proven its address (RFC 9175 §2.4).

use super::*;

const HEADERS: usize = 62;

fn limited() -> Rig {
    Rig::with(Config::builder().unproven_limit(UnprovenLimit::All).build().unwrap())
}

/// A request for /a with these further options.
fn ask(kind: Type, code: Code, message_id: u16, options: &[(OptionNumber, &[u8])]) -> Message {
    let mut message = Message::empty(kind, message_id);
    (message.code, message.options) = (code, path(&["a"]));
    message.token = Token::new(&message_id.to_be_bytes()).unwrap();
    for (number, value) in options {
        message.options.push_raw(*number, value).unwrap();
    }
    message
}

fn get(message_id: u16, options: &[(OptionNumber, &[u8])]) -> Vec<u8> {
    encode(&ask(Type::Confirmable, Code::GET, message_id, options))
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| at as u8).collect()
}

fn large(len: usize) -> Response {
    Response::new(Code::CONTENT).with_body(body(len))
}

/// A response whose options alone are longer than what may go.
fn long_options() -> Response {
    let mut response = Response::new(Code::CREATED);
    for segment in ["a long segment", "another"] {
        response.options.push_location_path(&segment.repeat(8)).unwrap();
    }
    response
}

fn echo_of(message: &Message) -> Vec<u8> {
    message.options.echo().expect("no Echo").to_vec()
}

/// The peer shows that it gets what is sent to its address.
fn prove(rig: &mut Rig, from: Peer) {
    rig.receive(from, &get(1, &[]));
    let request = rig.handed_up().id;
    rig.respond(request, Response::challenge());
    let echo = echo_of(&rig.sent().1);
    rig.receive(from, &get(2, &[(OptionNumber::ECHO, &echo)]));
    let request = rig.handed_up();
    assert_eq!(request.echo_age(), Some(ms(0)));
    rig.respond(request.id, Response::new(Code::VALID));
    rig.sent();
}

#[test]
fn a_long_body_goes_in_small_blocks_to_a_peer_that_is_not_proven() {
    let mut rig = limited();
    rig.receive(peer(1), &get(1, &[]));
    let request = rig.handed_up().id;
    rig.respond(request, large(300));
    let mut got = Vec::new();
    for num in 0.. {
        let (bytes, (_, message)) = (rig.sent.front().unwrap().1.len(), rig.sent());
        assert!(bytes <= 136, "{bytes}");
        let block = message.options.block2().unwrap();
        assert_eq!(
            (message.kind, message.code, block.num(), block.szx()),
            (Type::Acknowledgement, Code::CONTENT, num, 2)
        );
        assert_eq!(message.options.echo().is_some(), num == 0);
        got.extend_from_slice(&message.payload);
        if !block.more() {
            break;
        }
        let next = Block::new(num + 1, false, 2).unwrap();
        let mut request = ask(Type::Confirmable, Code::GET, 2 + num as u16, &[]);
        request.options.set_block2(next);
        rig.receive(peer(1), &encode(&request));
    }
    assert_eq!(got, body(300));
    let stats = rig.endpoint.stats();
    assert_eq!((stats.unproven_shortened, stats.unproven_challenged), (1, 0));
    rig.comes_to_rest();
}

#[test]
fn a_short_answer_is_as_it_is_and_asks_for_nothing() {
    let mut rig = limited();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up().id;
    rig.respond(request, large(120));
    let (_, message) = rig.sent();
    assert_eq!((message.options.is_empty(), message.payload.len()), (true, 120));
    assert_eq!(rig.endpoint.stats().unproven_shortened, 0);
}

#[test]
fn a_larger_block_than_may_go_is_cut_at_the_same_place() {
    let mut rig = limited();
    let mut request = ask(Type::NonConfirmable, Code::GET, 1, &[]);
    request.options.set_block2(Block::new(1, false, 6).unwrap());
    rig.receive(peer(1), &encode(&request));
    let id = rig.handed_up().id;
    rig.respond(id, large(3_000));
    let (_, message) = rig.sent();
    assert_eq!(message.options.block2(), Block::new(16, true, 2));
    assert_eq!(message.payload, body(3_000)[1_024..1_088]);
}

#[test]
fn an_echo_value_that_comes_back_lifts_the_limit() {
    let mut rig = limited();
    rig.receive(peer(1), &get(1, &[]));
    let request = rig.handed_up().id;
    rig.respond(request, large(1_000));
    let echo = echo_of(&rig.sent().1);
    rig.receive(peer(1), &get(2, &[(OptionNumber::ECHO, &echo)]));
    let request = rig.handed_up().id;
    rig.respond(request, large(1_000));
    assert_eq!(rig.sent().1.payload.len(), 1_000);
    // From now on, and without it.
    rig.receive(peer(1), &get(3, &[]));
    let request = rig.handed_up().id;
    rig.respond(request, large(1_000));
    assert_eq!(rig.sent().1.payload.len(), 1_000);
}

#[test]
fn an_echo_value_of_another_peer_or_from_long_ago_lifts_nothing() {
    let mut rig = limited();
    rig.receive(peer(1), &get(1, &[]));
    let request = rig.handed_up().id;
    rig.respond(request, large(1_000));
    let echo = echo_of(&rig.sent().1);
    for (from, wait, value) in [(peer(2), 0, &echo[..]), (peer(1), 0, b"made up"), (peer(1), 60, &echo[..])] {
        rig.pass(secs(wait));
        rig.receive(from, &get(2 + wait as u16, &[(OptionNumber::ECHO, value)]));
        let request = rig.handed_up();
        assert_eq!(request.echo_age(), None);
        rig.respond(request.id, large(1_000));
        let (_, message) = rig.sent();
        assert_eq!(message.payload.len(), 64);
        assert_ne!(message.options.echo(), Some(&echo[..]));
        rig.pass(secs(1));
        rig.receive(from, &get(200 + wait as u16, &[]));
        let request = rig.handed_up();
        rig.respond(request.id, Response::new(Code::VALID));
        rig.sent();
    }
}

#[test]
fn where_not_even_a_block_fits_the_client_is_to_prove_its_address() {
    for kind in [Type::Confirmable, Type::NonConfirmable] {
        for separate in [false, true] {
            let mut rig = limited();
            rig.receive(peer(1), &encode(&ask(kind, Code::GET, 1, &[])));
            let request = rig.handed_up().id;
            if separate {
                rig.pass(secs(1));
                rig.sent.clear();
            }
            rig.respond(request, long_options());
            let (_, message) = rig.sent();
            let piggybacked = kind == Type::Confirmable && !separate;
            let expected = if piggybacked { Type::Acknowledgement } else { Type::NonConfirmable };
            assert_eq!((message.kind, message.code, message.payload.len()), (expected, Code::UNAUTHORIZED, 0));
            // It is sent once.
            rig.pass(secs(100));
            rig.sent_nothing();
            let echo = echo_of(&message);
            rig.receive(peer(2), &get(2, &[]));
            let request = rig.handed_up().id;
            rig.respond(request, Response::new(Code::VALID));
            rig.sent();
            // By now the value is too old, and there is a new one.
            rig.receive(peer(1), &get(3, &[(OptionNumber::ECHO, &echo)]));
            let request = rig.handed_up().id;
            rig.respond(request, long_options());
            let echo = echo_of(&rig.sent().1);
            rig.receive(peer(1), &get(4, &[(OptionNumber::ECHO, &echo)]));
            let request = rig.handed_up().id;
            rig.respond(request, long_options());
            assert_eq!(rig.sent().1.options.location_path().count(), 2);
            assert_eq!(rig.endpoint.stats().unproven_challenged, 2);
        }
    }
}

#[test]
fn what_was_done_is_not_asked_for_again() {
    let mut rig = limited();
    for (message_id, method) in [(1, Code::POST), (2, Code::PUT)] {
        rig.receive(peer(1), &encode(&ask(Type::Confirmable, method, message_id, &[])));
        let request = rig.handed_up().id;
        rig.respond(request, long_options());
        let (_, message) = rig.sent();
        assert_eq!((message.code, message.options.location_path().count()), (Code::CREATED, 0));
        assert!(message.options.echo().is_some());
    }
}

#[test]
fn all_that_follows_from_a_request_is_at_most_three_times_as_much() {
    for len in [0, 40, 500] {
        let mut rig = limited();
        rig.receive(peer(1), &GET_A);
        let request = rig.handed_up().id;
        rig.pass(secs(1));
        rig.respond(request, large(len));
        rig.pass(secs(200));
        let sent: usize = rig.sent.iter().map(|(_, bytes)| HEADERS + bytes.len()).sum();
        assert!(rig.sent.len() >= 2 && sent <= 3 * (HEADERS + GET_A.len()), "{sent}");
        assert!(rig.endpoint.stats().unproven_withheld > 0);
        rig.events.clear();
        rig.comes_to_rest();
    }
}

#[test]
fn an_acknowledgement_of_a_separate_response_proves_the_address() {
    let mut rig = limited();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up().id;
    rig.pass(secs(1));
    rig.sent();
    rig.respond(request, content("hi"));
    let (_, response) = rig.sent();
    rig.receive(peer(1), &empty(Type::Acknowledgement, response.message_id));
    rig.receive(peer(1), &get(7, &[]));
    let request = rig.handed_up().id;
    rig.respond(request, large(1_000));
    assert_eq!(rig.sent().1.payload.len(), 1_000);
}

#[test]
fn a_session_has_proven_its_address() {
    let mut rig = limited();
    let session = Peer::Session(SessionId::new(7));
    rig.receive(session, &GET_A);
    let request = rig.handed_up().id;
    rig.respond(request, large(1_000));
    assert_eq!(rig.sent().1.payload.len(), 1_000);
}

#[test]
fn the_first_notification_is_confirmable_and_short_and_the_next_as_the_topic_says() {
    let mut rig = limited();
    let how =
        TopicOptions { reliability: Reliability::NonConfirmable { confirm_every: 100 }, ..TopicOptions::default() };
    let topic = rig.endpoint.open_topic(how);
    rig.receive(peer(1), &get(1, &[(OptionNumber::OBSERVE, &[])]));
    let request = rig.handed_up().id;
    assert!(rig.endpoint.accept_observer(rig.now, request, topic, large(500)).unwrap().is_some());
    rig.drain();
    assert!(rig.sent_bytes().len() <= 136);
    assert!(rig.endpoint.publish(rig.now, topic, large(501)));
    rig.drain();
    let (_, first) = rig.sent();
    assert_eq!((first.kind, first.payload.len()), (Type::Confirmable, 16));
    rig.receive(peer(1), &empty(Type::Acknowledgement, first.message_id));
    assert!(rig.endpoint.publish(rig.now, topic, large(502)));
    rig.drain();
    let (_, next) = rig.sent();
    assert_eq!((next.kind, next.payload.len()), (Type::NonConfirmable, 502));
}

#[test]
fn an_observer_that_says_nothing_costs_what_it_paid() {
    let mut rig = limited();
    let topic = rig.endpoint.open_topic(TopicOptions::default());
    let registration = get(1, &[(OptionNumber::OBSERVE, &[])]);
    rig.receive(peer(1), &registration);
    let request = rig.handed_up().id;
    rig.endpoint.accept_observer(rig.now, request, topic, large(500)).unwrap();
    for len in 0..100 {
        rig.endpoint.publish(rig.now, topic, large(len));
        rig.drain();
        rig.pass(secs(3));
    }
    let sent: usize = rig.sent.iter().map(|(_, bytes)| HEADERS + bytes.len()).sum();
    assert!(sent <= 3 * (HEADERS + registration.len()), "{sent}");
    assert_eq!(rig.endpoint.usage().observers, 0);
}

#[test]
fn an_observer_that_must_prove_its_address_first_is_none_yet() {
    let mut rig = limited();
    let topic = rig.endpoint.open_topic(TopicOptions::default());
    rig.receive(peer(1), &get(1, &[(OptionNumber::OBSERVE, &[])]));
    let request = rig.handed_up().id;
    let mut first = long_options();
    first.code = Code::CONTENT;
    assert_eq!(rig.endpoint.accept_observer(rig.now, request, topic, first), Ok(None));
    rig.drain();
    assert_eq!(rig.sent().1.code, Code::UNAUTHORIZED);
    assert_eq!(rig.endpoint.usage().observers, 0);
}

#[test]
fn a_stream_goes_in_small_blocks_too() {
    let mut rig = limited();
    rig.receive(peer(1), &get(1, &[]));
    let id = rig.handed_up().id;
    rig.respond(id, Response::new(Code::CONTENT).with_body(Body::Parts { size: Some(200) }));
    rig.events.clear();
    rig.endpoint.supply(rig.now, id.response_body(), body(200).into(), true).unwrap();
    rig.drain();
    let (bytes, (_, first)) = (rig.sent.front().unwrap().1.len(), rig.sent());
    assert!(bytes <= 136 && first.options.block2().is_some_and(|block| block.more() && block.szx() <= 3), "{first:?}");
}

#[test]
fn a_group_is_limited_by_default_and_a_peer_that_asks_alone_is_not() {
    let mut rig = Rig::new();
    rig.receive_multicast(peer(1), &encode(&ask(Type::NonConfirmable, Code::GET, 1, &[])));
    let request = rig.handed_up().id;
    rig.respond(request, large(1_000));
    rig.pass(secs(10));
    assert_eq!(rig.sent().1.payload.len(), 64);
    rig.receive_multicast(peer(1), &encode(&ask(Type::NonConfirmable, Code::GET, 2, &[])));
    let request = rig.handed_up().id;
    rig.respond(request, Response { code: Code::CONTENT, ..long_options() });
    rig.pass(secs(10));
    rig.sent_nothing();
    rig.receive(peer(1), &get(3, &[]));
    let request = rig.handed_up().id;
    rig.respond(request, large(1_000));
    assert_eq!(rig.sent().1.payload.len(), 1_000);
}

#[test]
fn a_proven_peer_is_repeated_to_as_ever() {
    let mut rig = limited();
    prove(&mut rig, peer(1));
    rig.receive(peer(1), &get(9, &[]));
    let request = rig.handed_up().id;
    rig.pass(secs(1));
    rig.respond(request, large(500));
    rig.pass(secs(200));
    assert_eq!(rig.sent.len(), 1 + 5);
}

#[test]
fn a_repetition_gets_the_same_answer_whatever_was_paid() {
    let mut rig = limited();
    rig.receive(peer(1), &GET_A);
    let request = rig.handed_up().id;
    rig.respond(request, large(100));
    let first = rig.sent_bytes();
    for _ in 0..10 {
        rig.receive(peer(1), &GET_A);
        assert_eq!(rig.sent_bytes(), first);
    }
    assert!(HEADERS + first.len() <= 3 * (HEADERS + GET_A.len()));
}
