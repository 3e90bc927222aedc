//! Extended tokens (RFC 8974), from both sides.

use super::*;

fn extended(config: ConfigBuilder) -> Rig {
    Rig::with(config.max_token_len(64).build().unwrap())
}

fn long(len: usize) -> Token {
    Token::extended(&(0..len).map(|at| at as u8).collect::<Vec<_>>()).unwrap()
}

fn decoded(bytes: Vec<u8>) -> Message {
    Message::decode_extended(bytes.into()).unwrap()
}

impl Rig {
    fn sent_extended(&mut self) -> Message {
        decoded(self.sent_bytes())
    }
}

fn request(code: Code, token: Token) -> Message {
    let mut request = Message::empty(Type::Confirmable, 0x1001);
    (request.code, request.token, request.options) = (code, token, path(&["a"]));
    request
}

// ----- As a server -------------------------------------------------------------------------------------------------

#[test]
fn a_long_token_comes_back_on_all_that_answers_it() {
    for len in [9, 12, 13, 64] {
        let mut rig = extended(Config::builder());
        rig.receive(peer(1), &encode(&request(Code::GET, long(len))));
        let incoming = rig.handed_up();
        assert_eq!(incoming.token, long(len));
        rig.respond(incoming.id, content("hi"));
        let reply = rig.sent_extended();
        assert_eq!((reply.kind, reply.token, &reply.payload[..]), (Type::Acknowledgement, long(len), &b"hi"[..]));
        // Its duplicate gets the same, and so do errors and separate responses.
        rig.receive(peer(1), &encode(&request(Code::GET, long(len))));
        assert_eq!(rig.sent_extended().token, long(len));
        let mut other = request(Code::GET, long(len));
        other.message_id += 1;
        rig.receive(peer(1), &encode(&other));
        let incoming = rig.handed_up();
        rig.pass(secs(1));
        rig.sent_bytes();
        rig.respond(incoming.id, Response::new(Code::NOT_FOUND));
        let separate = rig.sent_extended();
        assert_eq!((separate.kind, separate.token), (Type::Confirmable, long(len)));
        rig.receive(peer(1), &empty(Type::Acknowledgement, separate.message_id));
        rig.comes_to_rest();
    }
}

#[test]
fn notifications_and_their_end_know_the_long_token() {
    let mut rig = extended(Config::builder());
    let topic = rig.endpoint.open_topic(TopicOptions::new());
    for n in [1, 2] {
        let mut observe = request(Code::GET, long(20 + n));
        observe.options.set_observe(0);
        observe.message_id += n as u16;
        rig.receive(peer(1), &encode(&observe));
        let incoming = rig.handed_up();
        rig.endpoint.accept_observer(rig.now, incoming.id, topic, content("1")).unwrap();
        rig.drain();
        assert_eq!(rig.sent_extended().token, long(20 + n));
    }
    assert_eq!(rig.endpoint.usage().observers, 2);
    rig.endpoint.publish(rig.now, topic, content("2"));
    rig.drain();
    assert_eq!(rig.sent_extended().token, long(21));
    let mut cancel = request(Code::GET, long(22));
    cancel.options.set_observe(1);
    cancel.message_id += 9;
    rig.receive(peer(1), &encode(&cancel));
    assert_eq!(rig.endpoint.usage().observers, 1);
}

#[test]
fn a_token_over_the_limit_is_4_00_and_no_reset() {
    let mut rig = extended(Config::builder());
    rig.receive(peer(1), &encode(&request(Code::POST, long(65))));
    let refusal = rig.sent_extended();
    assert_eq!((refusal.kind, refusal.code, refusal.token), (Type::Acknowledgement, Code::BAD_REQUEST, long(65)));
    rig.said_nothing();
    // What could not even carry it back is met with silence.
    rig.receive(peer(1), &encode(&request(Code::POST, Token::extended(&[7; 2_000]).unwrap())));
    rig.sent_nothing();
    assert_eq!(rig.endpoint.stats().tokens_too_long, 2);
    assert_eq!(rig.endpoint.usage(), Usage::default());
}

#[test]
fn without_the_setting_a_long_token_is_a_format_error() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &encode(&request(Code::GET, long(9))));
    assert_eq!(rig.sent_bytes(), empty(Type::Reset, 0x1001));
    assert_eq!(rig.endpoint.stats().malformed, 1);
}

#[test]
fn blocks_leave_room_for_the_longest_token() {
    let mut rig = extended(Config::builder().max_datagram(132));
    rig.receive(peer(1), &encode(&request(Code::GET, long(64))));
    let incoming = rig.handed_up();
    rig.respond(incoming.id, Response::new(Code::CONTENT).with_body(&[b'x'; 500][..]));
    let bytes = rig.sent_bytes();
    assert!(bytes.len() <= 132);
    let first = decoded(bytes);
    assert_eq!(first.options.block2(), Block::new(0, true, 1));
    let mut next = request(Code::GET, long(63));
    next.message_id += 1;
    next.options.set_block2(Block::new(1, false, 1).unwrap());
    rig.receive(peer(1), &encode(&next));
    let second = rig.sent_extended();
    assert_eq!((second.token, second.options.block2()), (long(63), Block::new(1, true, 1)));
}

// ----- As a client -------------------------------------------------------------------------------------------------

fn get(rig: &mut Rig, how: &RequestOptions) -> Result<RequestId, RequestError> {
    let request = Request::get().with_options(path(&["a"]));
    let asked = rig.endpoint.request(rig.now, peer(1), request, how);
    rig.drain();
    asked
}

#[test]
fn tokens_can_be_asked_to_be_long() {
    let mut rig = extended(Config::builder().min_token_len(20));
    let id = get(&mut rig, &RequestOptions::new()).unwrap();
    let asked = rig.sent_extended();
    assert_eq!(asked.token.len(), 20);
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, asked.message_id, &asked, b"hi"));
    assert_eq!(rig.response().0, id);
    let own = RequestOptions::new().token(long(64));
    get(&mut rig, &own).unwrap();
    assert_eq!(rig.sent_extended().token, long(64));
    let longer = RequestOptions::new().token(long(65));
    assert_eq!(get(&mut rig, &longer), Err(RequestError::TokenTooLong { len: 65, max: 64 }));
    // A group could not say that it knows none.
    let group = Peer::from("[ff02::fd]:5683".parse::<SocketAddr>().unwrap());
    rig.request(group, &RequestOptions::new().non_confirmable());
    assert_eq!(rig.sent().1.token.len(), 8);
}

#[test]
fn a_reset_says_that_the_peer_knows_no_long_tokens() {
    let mut rig = extended(Config::builder().min_token_len(20));
    let id = get(&mut rig, &RequestOptions::new()).unwrap();
    let asked = rig.sent_extended();
    rig.receive(peer(1), &empty(Type::Reset, asked.message_id));
    let (failed, reason, _) = rig.failure();
    assert_eq!((failed, reason), (id, Failure::ExtendedToken));
    // From now on it is sent short ones, and what it resets is reset.
    get(&mut rig, &RequestOptions::new()).unwrap();
    let (_, asked) = rig.sent();
    assert_eq!(asked.token.len(), 8);
    rig.receive(peer(1), &empty(Type::Reset, asked.message_id));
    assert_eq!(rig.failure().1, Failure::Reset);
    // Others are tried.
    rig.request(peer(2), &RequestOptions::new());
    assert_eq!(rig.sent_extended().token.len(), 20);
}

#[test]
fn the_limits_of_tokens_are_checked_against_each_other() {
    let config = |max, min, datagram| {
        Config::builder().max_token_len(max).min_token_len(min).max_datagram(datagram).build().map(drop)
    };
    assert_eq!(config(64, 64, 1_152), Ok(()));
    assert_eq!(config(64, 65, 1_152), Err(ConfigError::MinTokenLen { bytes: 65 }));
    assert_eq!(config(8, 9, 1_152), Err(ConfigError::MinTokenLen { bytes: 9 }));
    assert_eq!(config(7, 4, 1_152), Err(ConfigError::MaxTokenLen { bytes: 7, max: 1_086 }));
    assert_eq!(config(1_086, 4, 1_152), Ok(()));
    assert_eq!(config(1_087, 4, 1_152), Err(ConfigError::MaxTokenLen { bytes: 1_087, max: 1_086 }));
    assert_eq!(config(65_805, 4, 65_507), Err(ConfigError::MaxTokenLen { bytes: 65_805, max: 65_441 }));
    let mut rig = extended(Config::builder());
    assert!(rig.endpoint.set_min_token_len(64).is_ok() && rig.endpoint.set_min_token_len(65).is_err());
}
