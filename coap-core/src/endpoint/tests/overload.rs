//! Overload: servers that want a kind of request later, and what finds no room here.

use super::*;

/// The acknowledgement of the next request that was sent, with this code and Max-Age.
fn overloaded(rig: &mut Rig, code: Code, max_age: Option<u32>) -> (Peer, Vec<u8>) {
    let (to, request) = rig.sent();
    let mut message = Message::empty(Type::Acknowledgement, request.message_id);
    (message.code, message.token) = (code, request.token);
    if let Some(seconds) = max_age {
        message.options.set_max_age(seconds);
    }
    (to, encode(&message))
}

/// A GET of /a was answered so.
fn back_off(rig: &mut Rig, code: Code, max_age: Option<u32>) {
    rig.get(peer(1));
    let (to, refusal) = overloaded(rig, code, max_age);
    rig.receive(to, &refusal);
    assert_eq!(rig.response().1.code, code);
}

fn ask(rig: &mut Rig, to: Peer, code: Code, segment: &str) -> Result<RequestId, RequestError> {
    let request = Request::new(code).with_options(path(&[segment]));
    let asked = rig.endpoint.request(rig.now, to, request, &RequestOptions::new());
    rig.drain();
    asked
}

// ----- As a client -------------------------------------------------------------------------------------------------

#[test]
fn a_similar_request_is_refused_until_max_age_has_passed() {
    for code in [Code::TOO_MANY_REQUESTS, Code::SERVICE_UNAVAILABLE] {
        for (max_age, span) in [(Some(7), 7), (None, 60)] {
            let mut rig = Rig::new();
            back_off(&mut rig, code, max_age);
            let until = rig.now + secs(span);
            let before = rig.endpoint.usage();
            assert_eq!(ask(&mut rig, peer(1), Code::GET, "a"), Err(RequestError::BackOff { until }));
            rig.sent_nothing();
            assert_eq!((rig.endpoint.usage(), before.back_offs), (before, 1));
            rig.now = until;
            ask(&mut rig, peer(1), Code::GET, "a").unwrap();
            assert_eq!(rig.sent().1.code, Code::GET);
        }
    }
}

#[test]
fn another_method_uri_or_server_is_another_matter_and_so_is_a_ping() {
    let mut rig = Rig::new();
    back_off(&mut rig, Code::TOO_MANY_REQUESTS, None);
    ask(&mut rig, peer(1), Code::PUT, "a").unwrap();
    ask(&mut rig, peer(1), Code::GET, "b").unwrap();
    ask(&mut rig, peer(2), Code::GET, "a").unwrap();
    rig.endpoint.ping(rig.now, peer(1)).unwrap();
    assert!(ask(&mut rig, peer(1), Code::GET, "a").is_err());
}

#[test]
fn an_observation_is_a_similar_request() {
    let mut rig = Rig::new();
    back_off(&mut rig, Code::SERVICE_UNAVAILABLE, Some(9));
    let request = Request::get().with_options(path(&["a"]));
    let refused = rig.endpoint.observe(rig.now, peer(1), request, &RequestOptions::new());
    assert_eq!(refused, Err(RequestError::BackOff { until: rig.now + secs(9) }));
}

#[test]
fn requests_that_wait_for_their_turn_are_not_sent_any_more() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    let same = ask(&mut rig, peer(1), Code::GET, "a").unwrap();
    let other = ask(&mut rig, peer(1), Code::GET, "b").unwrap();
    let again = ask(&mut rig, peer(1), Code::GET, "a").unwrap();
    let (to, refusal) = overloaded(&mut rig, Code::TOO_MANY_REQUESTS, Some(3));
    rig.receive(to, &refusal);
    let until = rig.now + secs(3);
    rig.response();
    assert_eq!((rig.failure().0, rig.endpoint.place(same)), (same, None));
    // Its turn has come, and the turn of the last one comes when it is answered.
    let (to, request) = rig.sent();
    assert_eq!(request.options, path(&["b"]));
    rig.receive(to, &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b""));
    assert_eq!(rig.response().0, other);
    let (id, reason, timing) = rig.failure();
    assert_eq!((id, reason, timing.attempts), (again, Failure::BackOff { until }, 0));
    rig.sent_nothing();
}

#[test]
fn the_acknowledgement_can_come_first_and_the_request_be_of_any_kind() {
    let block = |rig: &mut Rig| {
        let mut request = Request::get().with_options(path(&["a"]));
        request.options.set_block2(Block::new(3, false, 2).unwrap());
        rig.endpoint.request(rig.now, peer(1), request, &RequestOptions::new()).unwrap()
    };
    let parts = |rig: &mut Rig| {
        let request = Request::get().with_options(path(&["a"]));
        rig.endpoint.request(rig.now, peer(1), request, &RequestOptions::new().in_parts()).unwrap()
    };
    let kinds: [fn(&mut Rig) -> RequestId; 3] = [|rig| rig.get(peer(1)), block, parts];
    for kind in kinds {
        let mut rig = Rig::new();
        kind(&mut rig);
        rig.drain();
        let (to, request) = rig.sent();
        rig.receive(to, &empty(Type::Acknowledgement, request.message_id));
        rig.receive(to, &answer(Type::NonConfirmable, Code::TOO_MANY_REQUESTS, 7, &request, b""));
        assert_eq!(rig.response().1.code, Code::TOO_MANY_REQUESTS);
        assert!(ask(&mut rig, peer(1), Code::GET, "a").is_err());
    }
}

#[test]
fn blocks_of_a_body_that_is_under_way_go_on() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (to, request) = rig.sent();
    // Another request for the same was sent while nothing was wrong yet, and to no avail.
    let how = RequestOptions::new().non_confirmable();
    rig.request(peer(1), &how);
    let (_, other) = rig.sent();
    rig.receive(to, &answer(Type::NonConfirmable, Code::TOO_MANY_REQUESTS, 7, &other, b""));
    rig.response();
    let mut first =
        Message::decode(answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"").into());
    let first = first.as_mut().unwrap();
    first.payload = Bytes::from_static(&[b'x'; 16]);
    first.options.set_block2(Block::new(0, true, 0).unwrap());
    rig.receive(to, &encode(first));
    assert_eq!(rig.sent().1.options.block2(), Block::new(1, false, 0));
    assert_eq!(rig.endpoint.place(id), Some(Place::Sent));
}

#[test]
fn a_server_is_obeyed_for_so_long_and_no_longer() {
    let mut rig = Rig::with(Config::builder().max_back_off(secs(100)).build().unwrap());
    back_off(&mut rig, Code::TOO_MANY_REQUESTS, Some(u32::MAX));
    let refused = ask(&mut rig, peer(1), Code::GET, "a");
    assert_eq!(refused, Err(RequestError::BackOff { until: rig.now + secs(100) }));
    let mut heedless = Rig::with(Config::builder().max_back_offs(0).build().unwrap());
    back_off(&mut heedless, Code::TOO_MANY_REQUESTS, None);
    ask(&mut heedless, peer(1), Code::GET, "a").unwrap();
    let stats = heedless.endpoint.stats();
    assert_eq!((stats.back_offs, stats.back_offs_forgotten), (1, 1));
}

#[test]
fn an_application_can_insist() {
    let mut rig = Rig::new();
    back_off(&mut rig, Code::TOO_MANY_REQUESTS, None);
    rig.request(peer(1), &RequestOptions::new().ignore_back_off());
    assert_eq!(rig.sent().1.code, Code::GET);
}

#[test]
fn a_member_of_a_group_silences_nobody() {
    let mut rig = Rig::new();
    let group = Peer::from("[ff02::fd]:5683".parse::<SocketAddr>().unwrap());
    rig.request(group, &RequestOptions::new().non_confirmable());
    let (_, request) = rig.sent();
    rig.receive(peer(1), &answer(Type::NonConfirmable, Code::TOO_MANY_REQUESTS, 7, &request, b""));
    rig.response();
    ask(&mut rig, peer(1), Code::GET, "a").unwrap();
    assert_eq!(rig.endpoint.usage().back_offs, 0);
}

// ----- As a server -------------------------------------------------------------------------------------------------

fn con(code: Code, message_id: u16) -> Vec<u8> {
    request(Type::Confirmable, code, message_id)
}

fn request(kind: Type, code: Code, message_id: u16) -> Vec<u8> {
    let mut message = Message::empty(kind, message_id);
    (message.code, message.options) = (code, path(&["a"]));
    message.token = Token::new(&[0x0b]).unwrap();
    encode(&message)
}

/// One whose table of requests is full.
fn full() -> Rig {
    let mut rig = Rig::with(Config::builder().max_incoming(1).build().unwrap());
    rig.receive(peer(9), &con(Code::POST, 1));
    rig.handed_up();
    rig
}

#[test]
fn who_has_too_many_open_is_told_4_29_and_who_finds_the_table_full_5_03() {
    let mut rig = Rig::with(Config::builder().max_incoming_per_peer(1).build().unwrap());
    rig.receive(peer(1), &con(Code::GET, 1));
    rig.receive(peer(1), &con(Code::GET, 2));
    // ACK 4.29, the token, Max-Age 4.
    assert_eq!(rig.sent_bytes(), hex!("61 9d 0002 0b d1 01 04"));
    let mut rig = full();
    let before = rig.endpoint.usage();
    rig.receive(peer(1), &con(Code::GET, 2));
    assert_eq!(rig.sent_bytes(), hex!("61 a3 0002 0b d1 01 04"));
    assert_eq!(rig.endpoint.usage(), before);
    let stats = rig.endpoint.stats();
    assert_eq!((stats.refused_incoming, stats.refusals_sent), (1, 1));
}

#[test]
fn a_non_confirmable_request_is_told_so_non_confirmable_and_a_group_is_told_nothing() {
    let mut rig = full();
    rig.receive(peer(1), &request(Type::NonConfirmable, Code::GET, 2));
    let (_, refusal) = rig.sent();
    assert_eq!((refusal.kind, refusal.code), (Type::NonConfirmable, Code::SERVICE_UNAVAILABLE));
    rig.receive_multicast(peer(2), &request(Type::NonConfirmable, Code::GET, 2));
    rig.sent_nothing();
}

#[test]
fn the_duplicate_of_a_post_that_was_refused_is_refused_when_there_is_room_again() {
    let mut rig = Rig::with(Config::builder().max_incoming(1).build().unwrap());
    rig.receive(peer(9), &con(Code::POST, 1));
    let first = rig.handed_up();
    rig.receive(peer(1), &con(Code::POST, 2));
    let refusal = rig.sent_bytes();
    assert_eq!(refusal, hex!("61 a3 0002 0b d1 01 04"));
    rig.respond(first.id, Response::new(Code::CHANGED));
    rig.sent_bytes();
    rig.receive(peer(1), &con(Code::POST, 2));
    assert_eq!(rig.sent_bytes(), refusal);
    rig.said_nothing();
    rig.receive(peer(1), &con(Code::POST, 3));
    rig.handed_up();
    assert_eq!(rig.endpoint.stats().duplicates, 1);
}

/// RFC 7252 §4.5: for EXCHANGE_LIFETIME, also if the peer was known long before and nothing held it since.
#[test]
fn the_duplicate_of_a_post_that_was_refused_is_known_whenever_its_peer_was_first_heard_of() {
    let mut rig = Rig::with(Config::builder().max_incoming(1).build().unwrap());
    rig.receive(peer(1), &con(Code::POST, 1));
    let request = rig.handed_up();
    rig.respond(request.id, Response::new(Code::CHANGED));
    rig.sent_bytes();
    rig.pass(secs(240));
    rig.receive(peer(9), &con(Code::POST, 1));
    let other = rig.handed_up();
    rig.receive(peer(1), &con(Code::POST, 2));
    let refusal = rig.sent_bytes();
    rig.respond(other.id, Response::new(Code::CHANGED));
    rig.sent_bytes();
    rig.pass(secs(240));
    rig.receive(peer(1), &con(Code::POST, 2));
    assert_eq!(rig.sent_bytes(), refusal);
    rig.said_nothing();
    rig.comes_to_rest();
}

#[test]
fn what_is_not_safe_and_cannot_be_remembered_is_met_with_silence() {
    let config = Config::builder().max_peers(1).build().unwrap();
    let mut rig = Rig::with(config);
    rig.receive(peer(9), &con(Code::POST, 1));
    rig.receive(peer(1), &con(Code::POST, 2));
    rig.sent_nothing();
    rig.receive(peer(1), &con(Code::GET, 3));
    assert_eq!(rig.sent().1.code, Code::SERVICE_UNAVAILABLE);
    let stats = rig.endpoint.stats();
    assert_eq!((stats.refused_peer, stats.refusals_sent), (2, 1));
}

#[test]
fn refusals_are_limited_in_all_and_for_each_peer() {
    let mut rig = full();
    for id in 0..50 {
        rig.receive(peer(1), &con(Code::GET, id));
    }
    assert_eq!(rig.sent.len(), 10);
    for n in 0..2_000 {
        rig.receive(peer(n), &con(Code::GET, 1_000));
    }
    assert_eq!(rig.sent.len(), 100);
    let stats = rig.endpoint.stats();
    assert_eq!((stats.refusals_sent, stats.refusals_suppressed), (100, 1_950));
    rig.pass(secs(1));
    rig.sent.clear();
    rig.receive(peer(1), &con(Code::GET, 3_000));
    assert_eq!(rig.sent().1.code, Code::SERVICE_UNAVAILABLE);
}

#[test]
fn a_client_that_declined_errors_is_not_told() {
    let mut rig = full();
    // CON GET /a, No-Response 16: no 5.xx.
    rig.receive(peer(1), &hex!("41 01 0002 0b b1 61 d1 ea 10"));
    rig.sent_nothing();
}

#[test]
fn who_is_shutting_down_says_so() {
    let mut rig = Rig::new();
    rig.endpoint.begin_shutdown(rig.now);
    rig.receive(peer(1), &con(Code::GET, 2));
    assert_eq!(rig.sent_bytes(), hex!("61 a3 0002 0b d1 01 04"));
    rig.said_nothing();
    assert!(rig.endpoint.is_idle());
}

#[test]
fn what_was_executed_is_not_refused_though_its_answer_was_forgotten() {
    let config = Config::builder().max_incoming(1).max_remembered_bytes(0).build().unwrap();
    let mut rig = Rig::with(config);
    rig.receive(peer(1), &con(Code::PUT, 1));
    let put = rig.handed_up();
    rig.respond(put.id, Response::new(Code::CHANGED));
    rig.sent_bytes();
    rig.receive(peer(9), &con(Code::POST, 1));
    rig.handed_up();
    rig.receive(peer(1), &con(Code::PUT, 1));
    rig.sent_nothing();
    rig.said_nothing();
}
