//! A server that wants a request repeated with an Echo value (RFC 9175 §2.3).

use super::*;

fn answer_with(kind: Type, code: Code, message_id: u16, request: &Message, echo: &[u8]) -> Vec<u8> {
    let mut message = Message::decode(answer(kind, code, message_id, request, b"").into()).unwrap();
    message.options.push_raw(OptionNumber::ECHO, echo).unwrap();
    encode(&message)
}

fn challenge(request: &Message, echo: &[u8]) -> Vec<u8> {
    answer_with(Type::Acknowledgement, Code::UNAUTHORIZED, request.message_id, request, echo)
}

fn piggyback(request: &Message) -> Vec<u8> {
    answer(Type::Acknowledgement, Code::CONTENT, request.message_id, request, b"ok")
}

#[test]
fn the_request_is_repeated_with_the_value_and_the_application_sees_the_answer() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.receive(peer(1), &challenge(&first, b"prove it"));
    rig.said_nothing();
    let (to, second) = rig.sent();
    assert_eq!((to, second.kind, second.options.echo()), (peer(1), Type::Confirmable, Some(&b"prove it"[..])));
    assert!(second.token != first.token && second.message_id != first.message_id);
    let mut without = second.options.clone();
    without.remove(OptionNumber::ECHO);
    assert_eq!(without, first.options);
    rig.receive(peer(1), &piggyback(&second));
    let (of, response, _) = rig.response();
    assert_eq!((of, response.code), (id, Code::CONTENT));
    assert_eq!(rig.endpoint.stats().challenges_answered, 1);
    // The value has been used.
    rig.get(peer(1));
    assert_eq!(rig.sent().1.options.echo(), None);
    rig.events.clear();
}

#[test]
fn whoever_asks_a_second_time_is_told_to_the_application() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.receive(peer(1), &challenge(&first, b"1"));
    let (_, second) = rig.sent();
    rig.receive(peer(1), &challenge(&second, b"2"));
    rig.sent_nothing();
    let (of, response, _) = rig.response();
    assert_eq!((of, response.code, response.options.echo()), (id, Code::UNAUTHORIZED, Some(&b"2"[..])));
    // The next request has it, and one to another server has not.
    rig.get(peer(2));
    assert_eq!(rig.sent().1.options.echo(), None);
    rig.get(peer(1));
    assert_eq!(rig.sent().1.options.echo(), Some(&b"2"[..]));
}

#[test]
fn a_separate_challenge_is_acknowledged_and_answered() {
    for kind in [Type::Confirmable, Type::NonConfirmable] {
        let mut rig = Rig::new();
        rig.get(peer(1));
        let (_, first) = rig.sent();
        rig.receive(peer(1), &empty(Type::Acknowledgement, first.message_id));
        rig.receive(peer(1), &answer_with(kind, Code::UNAUTHORIZED, 77, &first, b"e"));
        if kind == Type::Confirmable {
            assert_eq!(rig.sent().1, Message::empty(Type::Acknowledgement, 77));
        }
        assert_eq!(rig.sent().1.options.echo(), Some(&b"e"[..]));
        rig.said_nothing();
    }
}

#[test]
fn a_non_confirmable_request_is_repeated_as_one() {
    let mut rig = Rig::new();
    rig.request(peer(1), &RequestOptions::new().non_confirmable());
    let (_, first) = rig.sent();
    rig.receive(peer(1), &answer_with(Type::NonConfirmable, Code::UNAUTHORIZED, 5, &first, b"e"));
    let (_, second) = rig.sent();
    assert_eq!((second.kind, second.options.echo()), (Type::NonConfirmable, Some(&b"e"[..])));
}

#[test]
fn no_value_and_one_of_41_bytes_are_no_challenge() {
    for value in [&[][..], &[7; 41]] {
        let mut rig = Rig::new();
        rig.get(peer(1));
        let (_, first) = rig.sent();
        rig.receive(peer(1), &challenge(&first, value));
        rig.sent_nothing();
        assert_eq!(rig.response().1.code, Code::UNAUTHORIZED);
        rig.get(peer(1));
        assert_eq!(rig.sent().1.options.echo(), None);
    }
}

#[test]
fn the_value_of_another_response_goes_with_the_next_request_alone() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.receive(peer(1), &answer_with(Type::Acknowledgement, Code::CONTENT, first.message_id, &first, b"later"));
    assert_eq!(rig.response().1.code, Code::CONTENT);
    rig.endpoint.ping(rig.now, peer(1)).unwrap();
    rig.drain();
    let (_, ping) = rig.sent();
    assert_eq!(ping, Message::empty(Type::Confirmable, ping.message_id));
    rig.receive(peer(1), &empty(Type::Reset, ping.message_id));
    rig.get(peer(1));
    let (_, next) = rig.sent();
    assert_eq!(next.options.echo(), Some(&b"later"[..]));
    rig.receive(peer(1), &piggyback(&next));
    rig.get(peer(1));
    assert_eq!(rig.sent().1.options.echo(), None);
}

#[test]
fn a_value_is_not_kept_for_ever() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.receive(peer(1), &answer_with(Type::Acknowledgement, Code::CONTENT, first.message_id, &first, b"later"));
    rig.endpoint.ping(rig.now + secs(200), peer(1)).unwrap();
    rig.now += secs(200);
    rig.drain();
    let (_, ping) = rig.sent();
    rig.receive(peer(1), &empty(Type::Reset, ping.message_id));
    rig.pass(secs(101));
    rig.get(peer(1));
    assert_eq!(rig.sent().1.options.echo(), None);
}

#[test]
fn one_that_was_told_to_hand_up_does_not_repeat() {
    let mut rig = Rig::with(Config::builder().on_challenge(OnChallenge::HandUp).build().unwrap());
    rig.get(peer(1));
    let (_, first) = rig.sent();
    rig.receive(peer(1), &challenge(&first, b"e"));
    rig.sent_nothing();
    assert_eq!(rig.response().1.code, Code::UNAUTHORIZED);
    rig.get(peer(1));
    assert_eq!(rig.sent().1.options.echo(), None);
}

#[test]
fn the_members_of_a_group_are_answered_with_nothing() {
    let mut rig = Rig::new();
    let group = Peer::from("[ff02::fd]:5683".parse::<SocketAddr>().unwrap());
    rig.request(group, &RequestOptions::new().non_confirmable());
    let (_, first) = rig.sent();
    for n in 1..20 {
        rig.receive(peer(n), &answer_with(Type::NonConfirmable, Code::UNAUTHORIZED, n, &first, b"e"));
    }
    rig.sent_nothing();
    assert_eq!(rig.events.len(), 19);
}

#[test]
fn the_blocks_of_an_upload_carry_the_value_from_the_one_that_was_refused() {
    let mut rig = Rig::new();
    let body: Vec<u8> = vec![7; 40];
    let request = Request::new(Code::PUT).with_options(path(&["a"])).with_body(body);
    let how = RequestOptions::new().block_size(BlockSize::new(16).unwrap());
    rig.endpoint.request(rig.now, peer(1), request, &how).unwrap();
    rig.drain();
    let mut answered = 0;
    let mut challenged = false;
    while answered < 3 {
        let (_, block) = rig.sent();
        let num = block.options.block1().unwrap().num();
        assert_eq!((num, block.options.echo().is_some()), (answered, challenged));
        if answered == 1 && !challenged {
            challenged = true;
            rig.receive(peer(1), &challenge(&block, b"e"));
            continue;
        }
        let code = if num == 2 { Code::CHANGED } else { Code::CONTINUE };
        let mut reply = Message::decode(piggyback(&block).into()).unwrap();
        (reply.code, reply.payload) = (code, Bytes::new());
        reply.options.set_block1(block.options.block1().unwrap());
        rig.receive(peer(1), &encode(&reply));
        answered += 1;
    }
    assert_eq!(rig.response().1.code, Code::CHANGED);
}

#[test]
fn an_observation_is_registered_again_with_the_value_and_its_token() {
    let mut rig = Rig::new();
    let request = Request::get().with_options(path(&["a"]));
    let id = rig.endpoint.observe(rig.now, peer(1), request, &RequestOptions::new()).unwrap();
    rig.drain();
    let (_, first) = rig.sent();
    rig.receive(peer(1), &challenge(&first, b"e"));
    rig.said_nothing();
    let (_, second) = rig.sent();
    assert_eq!((second.options.observe(), second.options.echo()), (Some(0), Some(&b"e"[..])));
    assert!(second.token == first.token && second.message_id != first.message_id);
    let mut state = Message::decode(piggyback(&second).into()).unwrap();
    state.options.set_observe(1);
    rig.receive(peer(1), &encode(&state));
    assert!(matches!(rig.event(), Event::Notification { id: of, .. } if of == id));
    // If it is asked again for the same, that is the end.
    rig.endpoint.cancel(rig.now, id);
    let request = Request::get().with_options(path(&["a"]));
    let id = rig.endpoint.observe(rig.now, peer(1), request, &RequestOptions::new()).unwrap();
    rig.drain();
    for _ in 0..2 {
        let (_, message) = rig.sent();
        rig.receive(peer(1), &challenge(&message, b"e"));
    }
    let (of, response, _) = rig.response();
    assert_eq!((of, response.code), (id, Code::UNAUTHORIZED));
}

#[test]
fn a_repeated_request_ends_with_the_time_that_its_caller_set() {
    let mut rig = Rig::new();
    rig.request(peer(1), &RequestOptions::new().timeout(secs(5)));
    let (_, first) = rig.sent();
    rig.pass(secs(1));
    rig.receive(peer(1), &challenge(&first, b"e"));
    rig.pass(secs(5));
    rig.failure();
    rig.sent.clear();
    rig.comes_to_rest();
}

#[test]
fn two_of_ours_go_through_a_challenge_by_themselves() {
    let mut server = Rig::with(Config::builder().unproven_limit(UnprovenLimit::All).build().unwrap());
    let mut client = Rig::new();
    let (here, there) = (peer(1), peer(2));
    client.get(there);
    let mut asked = 0;
    while client.events.is_empty() {
        while let Some((_, bytes)) = client.sent.pop_front() {
            server.receive(here, &bytes);
        }
        while let Some(event) = server.events.pop_front() {
            let Event::Request(request) = event else { continue };
            asked += 1;
            let response = if request.echo_age().is_some() { content("fresh") } else { Response::challenge() };
            server.respond(request.id, response);
        }
        while let Some((_, bytes)) = server.sent.pop_front() {
            client.receive(there, &bytes);
        }
    }
    assert_eq!((client.response().1.code, asked), (Code::CONTENT, 2));
}
