//! Observing a state that is longer than a block (RFC 7959 §2.6).

use super::observing::{State, state};
use super::*;

const CON: Type = Type::Confirmable;
const NON: Type = Type::NonConfirmable;
const ACK: Type = Type::Acknowledgement;

/// A block of 16 bytes at most.
fn block(num: u32, more: bool) -> Block {
    Block::new(num, more, 0).unwrap()
}

impl Rig {
    /// A message whose payload is one block of a state.
    fn receive_block(&mut self, kind: Type, message_id: u16, request: &Message, state: State, block: Block) {
        let mut message = state.message(kind, message_id, request);
        message.options.set_block2(block);
        self.receive(peer(1), &encode(&message));
    }

    /// The block of a fetch that was asked for.
    fn answer_block(&mut self, request: &Message, state: State, more: bool) {
        let asked = request.options.block2().unwrap();
        let state = state.plain();
        self.receive_block(ACK, request.message_id, request, state, block(asked.num(), more));
    }

    /// The request for block `num` of a state, which is none of the observation's own.
    #[track_caller]
    fn fetched(&mut self, registration: &Message, num: u32) -> Message {
        let (_, request) = self.sent();
        assert_eq!((request.kind, request.code), (CON, Code::GET));
        assert_eq!(request.options.block2(), Some(block(num, false)));
        assert_eq!(request.options.observe(), None);
        assert!(request.options.uri_path().eq([b"obs"]));
        assert_ne!(request.token, registration.token);
        request
    }
}

const FIRST: &str = "0123456789abcdef";
const OTHER: &str = "ABCDEFGHIJKLMNOP";

#[test]
fn the_rest_of_a_large_state_is_fetched_and_it_is_told_whole() {
    let mut rig = Rig::new();
    let (id, request) = rig.observe();
    rig.receive_block(ACK, request.message_id, &request, state(1, FIRST).etag(1), block(0, true));
    let second = rig.fetched(&request, 1);
    rig.said_nothing();
    rig.answer_block(&second, state(0, OTHER).etag(1), true);
    let third = rig.fetched(&request, 2);
    rig.answer_block(&third, state(0, "end").etag(1), false);
    let (of, response) = rig.notification();
    assert_eq!((of, response.code, response.options.observe()), (id, Code::CONTENT, Some(1)));
    assert_eq!(response.body.as_bytes(), b"0123456789abcdefABCDEFGHIJKLMNOPend");
    assert_eq!(response.options.block2(), None);
    assert_eq!(rig.endpoint.usage().requests, 1);
    rig.receive_block(CON, 10, &request, state(2, OTHER).etag(2), block(0, true));
    rig.acknowledged(10);
    let second = rig.fetched(&request, 1);
    rig.answer_block(&second, state(0, "end").etag(2), false);
    rig.told("ABCDEFGHIJKLMNOPend");
    assert!(rig.endpoint.cancel(rig.now, id));
    rig.is_over();
}

#[test]
fn a_newer_state_abandons_the_fetch_of_the_one_before() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a"));
    rig.receive_block(NON, 10, &request, state(2, FIRST).etag(2), block(0, true));
    let old = rig.fetched(&request, 1);
    rig.receive_block(NON, 11, &request, state(4, OTHER).etag(4), block(0, true));
    let new = rig.fetched(&request, 1);
    assert_ne!(old.token, new.token);
    rig.answer_block(&old, state(0, "old").etag(2), false);
    rig.said_nothing();
    // One that is older than what is being fetched changes nothing.
    rig.notify(NON, 12, &request, state(3, "x"));
    rig.answer_block(&new, state(0, "new").etag(4), false);
    rig.told("ABCDEFGHIJKLMNOPnew");
    rig.receive_block(NON, 13, &request, state(5, FIRST).etag(5), block(0, true));
    rig.fetched(&request, 1);
    rig.notify(NON, 14, &request, state(6, "small"));
    rig.told("small");
    assert_eq!((rig.endpoint.usage().requests, rig.endpoint.usage().in_flight), (1, 0));
    assert_eq!(rig.endpoint.stats().notifications_incomplete, 2);
    rig.pass(secs(60));
    rig.said_nothing();
    rig.sent_nothing();
}

#[test]
fn a_state_whose_fetch_fails_is_not_told_and_goes_stale() {
    type Reaction = fn(&mut Rig, &Message);
    let reactions: [Reaction; 4] = [
        |rig, fetch| rig.receive(peer(1), &empty(Type::Reset, fetch.message_id)),
        |rig, fetch| rig.answer_block(fetch, state(0, "").code(Code::NOT_FOUND), false),
        |rig, fetch| {
            // Another block than the one that was asked for.
            let wrong = state(0, "end").etag(2).plain();
            rig.receive_block(ACK, fetch.message_id, fetch, wrong, block(7, false));
        },
        |rig, _| rig.endpoint.handle_unreachable(rig.now, peer(1)),
    ];
    for react in reactions {
        let mut rig = Rig::new();
        let how = RequestOptions::new().reregistration(Reregistration::OFF);
        let (id, request) = rig.observe_with(&how);
        rig.answer(&request, state(1, "a"));
        rig.told("a");
        rig.receive_block(NON, 10, &request, state(2, FIRST).etag(2), block(0, true));
        let fetch = rig.fetched(&request, 1);
        react(&mut rig, &fetch);
        rig.drain();
        rig.said_nothing();
        assert_eq!(rig.endpoint.stats().notifications_incomplete, 1);
        assert_eq!((rig.endpoint.usage().requests, rig.endpoint.usage().in_flight), (1, 0));
        rig.pass(secs(65));
        rig.stale();
        rig.notify(NON, 11, &request, state(3, "c"));
        rig.told("c");
        rig.endpoint.cancel(rig.now, id);
        rig.is_over();
    }
}

#[test]
fn a_notification_that_is_no_first_block_is_not_told() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a"));
    rig.receive_block(NON, 10, &request, state(2, FIRST), block(1, true));
    rig.receive_block(NON, 11, &request, state(3, "short"), block(0, true));
    rig.sent_nothing();
    rig.said_nothing();
    assert_eq!(rig.endpoint.stats().notifications_incomplete, 2);
    rig.receive_block(NON, 12, &request, state(4, "all"), block(0, false));
    rig.told("all");
}

#[test]
fn without_room_for_a_fetch_the_state_is_not_told() {
    let mut rig = Rig::with(Config::builder().max_requests(1).build().unwrap());
    let (_, request) = rig.observing(state(1, "a"));
    rig.receive_block(CON, 10, &request, state(2, FIRST), block(0, true));
    rig.acknowledged(10);
    rig.sent_nothing();
    rig.said_nothing();
    assert_eq!(rig.endpoint.stats().notifications_incomplete, 1);
}

#[test]
fn the_end_of_an_observation_ends_its_fetch() {
    type End = fn(&mut Rig, RequestId, &Message);
    let ends: [End; 4] = [
        |rig, id, _| assert!(rig.endpoint.cancel(rig.now, id)),
        |rig, id, _| {
            assert!(rig.endpoint.deregister(rig.now, id));
            rig.drain();
            let (_, farewell) = rig.sent();
            assert_eq!(farewell.options.observe(), Some(1));
            rig.receive(peer(1), &empty(Type::Reset, farewell.message_id));
        },
        |rig, _, request| {
            rig.notify(NON, 20, request, state(0, "").code(Code::NOT_FOUND).plain());
            assert_eq!(rig.response().1.code, Code::NOT_FOUND);
        },
        |rig, _, _| {
            rig.endpoint.begin_shutdown(rig.now);
            rig.drain();
            assert_eq!(rig.failure().1, Failure::Shutdown);
        },
    ];
    for end in ends {
        let mut rig = Rig::new();
        let (id, request) = rig.observing(state(1, "a"));
        rig.receive_block(NON, 10, &request, state(2, FIRST), block(0, true));
        rig.fetched(&request, 1);
        end(&mut rig, id, &request);
        rig.drain();
        rig.is_over();
    }
}

#[test]
fn a_fetch_waits_for_its_turn_and_holds_no_other_back_for_ever() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a"));
    let other = rig.get(peer(1));
    let (_, get) = rig.sent();
    rig.receive_block(NON, 10, &request, state(2, FIRST), block(0, true));
    rig.sent_nothing();
    rig.receive(peer(1), &answer(ACK, Code::CONTENT, get.message_id, &get, b"hi"));
    assert_eq!(rig.response().0, other);
    let fetch = rig.fetched(&request, 1);
    rig.answer_block(&fetch, state(0, "end"), false);
    rig.told("0123456789abcdefend");
}

#[test]
fn max_age_counts_from_the_notification() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a").max_age(1_000));
    rig.receive_block(NON, 10, &request, state(2, FIRST).max_age(20), block(0, true));
    let fetch = rig.fetched(&request, 1);
    rig.pass(secs(1));
    rig.answer_block(&fetch, state(0, "end").max_age(20), false);
    rig.told("0123456789abcdefend");
    rig.pass(ms(23_999));
    rig.said_nothing();
    rig.pass(ms(1));
    rig.stale();
}

#[test]
fn a_large_answer_to_a_registration_counts_as_its_success() {
    let mut rig = Rig::new();
    rig.observing(state(1, "a"));
    let (_, again) = rig.reregistered(1);
    rig.stale();
    rig.receive_block(ACK, again.message_id, &again, state(1, FIRST), block(0, true));
    let fetch = rig.fetched(&again, 1);
    rig.answer_block(&fetch, state(0, "end"), false);
    rig.told("0123456789abcdefend");
    rig.pass(secs(64));
    rig.said_nothing();
    rig.sent_nothing();
}

#[test]
fn an_answer_whose_rest_fails_is_asked_for_again_after_a_pause() {
    let mut rig = Rig::new();
    rig.observing(state(1, "a"));
    let (_, again) = rig.reregistered(1);
    rig.stale();
    rig.receive_block(ACK, again.message_id, &again, state(1, FIRST), block(0, true));
    let fetch = rig.fetched(&again, 1);
    rig.receive(peer(1), &empty(Type::Reset, fetch.message_id));
    let (wait, _) = rig.reregistered(1);
    assert_eq!(wait, secs(30));
}

#[test]
fn a_refusal_that_is_longer_than_a_block_is_put_together_as_any_response() {
    let mut rig = Rig::new();
    let (id, request) = rig.observe();
    rig.receive_block(ACK, request.message_id, &request, state(0, FIRST).plain(), block(0, true));
    let second = rig.fetched(&request, 1);
    // The observation is over, and its token with it.
    rig.notify(CON, 10, &request, state(2, "x"));
    rig.rejected(10);
    rig.answer_block(&second, state(0, "end"), false);
    let (ended, response, _) = rig.response();
    assert_eq!((ended, response.body.as_bytes()), (id, &b"0123456789abcdefend"[..]));
    assert!(!response.options.contains(OptionNumber::BLOCK2));
    rig.is_over();
}

#[test]
fn an_end_that_is_longer_than_a_block_takes_a_fetch_and_a_waiting_registration_with_it() {
    let mut rig = Rig::new();
    let (id, request) = rig.observing(state(1, "a").max_age(0));
    rig.receive_block(NON, 10, &request, state(2, FIRST).max_age(0), block(0, true));
    rig.fetched(&request, 1);
    rig.receive_block(NON, 11, &request, state(0, OTHER).plain().code(Code::NOT_FOUND), block(0, true));
    let rest = rig.fetched(&request, 1);
    assert_eq!(rig.endpoint.usage().in_flight, 1);
    rig.answer_block(&rest, state(0, "end").code(Code::NOT_FOUND), false);
    let (ended, response, _) = rig.response();
    assert_eq!((ended, response.code), (id, Code::NOT_FOUND));
    assert_eq!(response.body.as_bytes(), b"ABCDEFGHIJKLMNOPend");
    rig.is_over();
}

#[test]
fn the_block_size_is_named_in_each_registration_and_kept_for_the_fetch() {
    let mut rig = Rig::new();
    let (_, request) = rig.observe_with(&RequestOptions::new().block_size(BlockSize::MIN).max_body(20));
    assert_eq!(request.options.block2(), Some(block(0, false)));
    rig.receive_block(ACK, request.message_id, &request, state(1, FIRST), block(0, true));
    let fetch = rig.fetched(&request, 1);
    rig.answer_block(&fetch, state(0, "too long"), false);
    rig.stale();
    rig.said_nothing();
    assert_eq!(rig.endpoint.stats().notifications_incomplete, 1);
    let (_, again) = rig.reregistered(1);
    assert_eq!((again.options.block2(), again.options.observe()), (Some(block(0, false)), Some(0)));
    assert_eq!(again.token, request.token);
}

#[test]
fn a_block_that_is_lost_is_asked_for_again() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a").max_age(1_000));
    rig.receive_block(NON, 10, &request, state(2, FIRST).max_age(1_000), block(0, true));
    let lost = rig.fetched(&request, 1);
    rig.receive(peer(1), &empty(ACK, lost.message_id));
    rig.pass(secs(93));
    let again = rig.fetched(&request, 1);
    assert_ne!(again.message_id, lost.message_id);
    rig.answer_block(&again, state(0, "end"), false);
    rig.told("0123456789abcdefend");
}

#[test]
fn it_is_not_registered_again_while_a_state_is_being_fetched() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a").max_age(1));
    rig.receive_block(NON, 10, &request, state(2, FIRST).max_age(1), block(0, true));
    let fetch = rig.fetched(&request, 1);
    rig.receive(peer(1), &empty(ACK, fetch.message_id));
    rig.pass(secs(60));
    rig.stale();
    rig.said_nothing();
    rig.sent_nothing();
    rig.receive_block(CON, 11, &fetch, state(0, "end").plain().max_age(1), block(1, false));
    rig.acknowledged(11);
    rig.told("0123456789abcdefend");
    // It is as old as its notification.
    rig.pass(ms(0));
    rig.stale();
    rig.reregistered(1);
}

/// RFC 7252 §4.6: neither the request that ends the observation, which is a byte longer, nor that for the rest of a state is
/// longer than a datagram may be.
#[test]
fn nothing_that_an_observation_sends_is_longer_than_a_datagram_may_be() {
    let token = RequestOptions::new().token(Token::new(&[7; 8]).unwrap());
    for spare in 0..8 {
        let mut rig = Rig::with(Config::builder().max_datagram(64).min_token_len(8).build().unwrap());
        // Header, token, Observe 0, and the head of Uri-Host, from which it is far to Block2.
        let mut options = Options::new();
        options.set_uri_host(&"h".repeat(64 - 4 - 8 - 1 - 2 - spare)).unwrap();
        let asked = Request::get().with_options(options);
        let observed = rig.endpoint.observe(rig.now, peer(1), asked, &token);
        if spare == 0 {
            assert_eq!(observed, Err(RequestError::TooLarge { len: 65, max: 64 }));
            continue;
        }
        let id = observed.unwrap();
        rig.drain();
        let (_, request) = rig.sent();
        rig.receive_block(ACK, request.message_id, &request, state(1, FIRST), block(0, true));
        let fetched = rig.sent.pop_front();
        assert_eq!(
            (fetched.is_none(), rig.endpoint.stats().notifications_incomplete),
            (spare < 2, u64::from(spare < 2))
        );
        if fetched.is_none() {
            assert!(matches!(rig.event(), Event::Stale { .. }));
        }
        assert!(rig.endpoint.deregister(rig.now, id));
        rig.drain();
        assert_eq!(rig.sent().1.options.observe(), Some(1));
        rig.comes_to_rest();
    }
}
