//! What waits for a session, goes out with it, and ends with it (RFC 7252 §9.1).

use super::observing::state;
use super::topics::registration;
use super::*;
use crate::endpoint::Why;

const S: SessionId = SessionId::new(1 << 63 | 1);
const PEER: Peer = Peer::Session(S);
const OTHER: Peer = Peer::Session(SessionId::new(1 << 63 | 2));
const WHY: SessionEnd = SessionEnd::Peer;
const ACK: Type = Type::Acknowledgement;

impl Rig {
    fn hold(&mut self) {
        self.endpoint.hold(self.now, PEER).unwrap();
        self.drain();
    }

    fn release(&mut self) {
        self.endpoint.release(self.now, PEER);
        self.drain();
    }

    fn close(&mut self, why: SessionEnd) {
        self.endpoint.close_session(self.now, S, why);
        self.drain();
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= self.now) {
            self.endpoint.handle_timeout(due);
            self.drain();
        }
    }

    /// All that is left has failed with its session, in this order.
    #[track_caller]
    fn failed(&mut self, ids: &[RequestId], why: SessionEnd) {
        for id in ids {
            let (failed, reason, _) = self.failure();
            assert_eq!((failed, reason), (*id, Failure::Session(why)));
        }
        self.said_nothing();
    }

    /// Nothing is left at once, and nothing comes of it later.
    #[track_caller]
    fn is_forgotten(&mut self) {
        assert_eq!(self.endpoint.usage(), Usage::default());
        assert_eq!(self.endpoint.poll_timeout(), None);
        assert!(self.endpoint.is_idle());
        self.pass(secs(500));
        self.sent_nothing();
        self.said_nothing();
    }
}

// ----- While a session is made -------------------------------------------------------------------------------------

#[test]
fn requests_wait_for_their_session_without_a_timer() {
    let mut rig = Rig::new();
    rig.hold();
    let (one, two) = (rig.get(PEER), rig.get(PEER));
    let place = |ahead| Some(Place::Waiting { ahead, why: Why::Session });
    assert_eq!((rig.endpoint.place(one), rig.endpoint.place(two)), (place(0), place(1)));
    assert_eq!(rig.endpoint.poll_timeout(), None);
    rig.pass(secs(1_000));
    rig.sent_nothing();
    rig.said_nothing();
}

#[test]
fn when_the_session_stands_they_go_out_in_order_and_one_at_a_time() {
    let mut rig = Rig::new();
    rig.hold();
    let ids = [rig.get(PEER), rig.get(PEER), rig.get(PEER)];
    rig.pass(secs(500));
    rig.release();
    // NSTART is 1 (RFC 7252 §4.7).
    let mut numbers = Vec::new();
    for id in ids {
        let (to, request) = rig.sent();
        rig.sent_nothing();
        assert_eq!((to, rig.endpoint.place(id)), (PEER, Some(Place::Sent)));
        numbers.push(request.message_id);
        rig.receive(PEER, &answer(ACK, Code::CONTENT, request.message_id, &request, b"hi"));
        let (ended, _, timing) = rig.response();
        assert_eq!((ended, timing.attempts), (id, 1));
    }
    // None was spent while they waited.
    assert_eq!((numbers[1].wrapping_sub(numbers[0]), numbers[2].wrapping_sub(numbers[1])), (1, 1));
    rig.comes_to_rest();
}

#[test]
fn the_timers_of_a_request_start_when_its_session_stands() {
    let mut rig = Rig::new();
    rig.hold();
    let id = rig.get(PEER);
    rig.pass(secs(300));
    rig.release();
    rig.sent.clear();
    rig.pass(ms(1_999));
    rig.sent_nothing();
    rig.pass(ms(1_001));
    assert_eq!(rig.sent.len(), 1);
    rig.pass(secs(100));
    let (failed, reason, timing) = rig.failure();
    assert_eq!((failed, reason, timing.attempts), (id, Failure::NoAck, 5));
}

#[test]
fn one_behind_another_waits_for_its_turn_from_then_on() {
    let mut rig = Rig::new();
    rig.hold();
    let (first, second) = (rig.get(PEER), rig.get(PEER));
    rig.pass(secs(300));
    rig.release();
    let (_, request) = rig.sent();
    rig.pass(secs(1));
    rig.receive(PEER, &answer(ACK, Code::CONTENT, request.message_id, &request, b"hi"));
    assert_eq!(rig.response().0, first);
    assert_eq!(rig.endpoint.place(second), Some(Place::Sent));
}

#[test]
fn a_timeout_counts_while_a_session_is_made() {
    let mut rig = Rig::new();
    rig.hold();
    let id = rig.request(PEER, &RequestOptions::new().timeout(secs(5)));
    rig.pass(ms(4_999));
    rig.said_nothing();
    rig.pass(ms(1));
    let (failed, reason, timing) = rig.failure();
    assert_eq!((failed, reason, timing.attempts, timing.elapsed), (id, Failure::NotSent, 0, secs(5)));
    rig.release();
    rig.sent_nothing();
    rig.comes_to_rest();
}

#[test]
fn one_that_is_cancelled_is_not_sent() {
    let mut rig = Rig::new();
    rig.hold();
    let (first, second) = (rig.get(PEER), rig.get(PEER));
    assert!(rig.endpoint.cancel(rig.now, first));
    rig.release();
    assert_eq!(rig.sent.len(), 1);
    assert_eq!((rig.endpoint.place(first), rig.endpoint.place(second)), (None, Some(Place::Sent)));
}

#[test]
fn a_session_that_is_made_for_nothing_holds_its_place_until_it_stands() {
    let mut rig = Rig::with(Config::builder().max_peers(1).build().unwrap());
    rig.hold();
    rig.hold();
    rig.pass(secs(1_000));
    assert_eq!(rig.endpoint.hold(rig.now, OTHER), Err(RequestError::TooManyPeers));
    rig.release();
    rig.release();
    assert_eq!(rig.endpoint.hold(rig.now, OTHER), Ok(()));
}

#[test]
fn as_many_wait_as_behind_any_other_peer() {
    let mut rig = Rig::with(Config::builder().max_backlog(2).build().unwrap());
    rig.hold();
    let _waiting = [rig.get(PEER), rig.get(PEER)];
    let refused = rig.endpoint.request(rig.now, PEER, Request::get(), &RequestOptions::new());
    assert_eq!(refused, Err(RequestError::Busy));
}

#[test]
fn whatever_is_asked_waits() {
    let mut rig = Rig::new();
    rig.hold();
    let now = rig.now;
    let unpaced = RequestOptions::new().non_confirmable().unpaced();
    let body = Request::new(Code::PUT).with_body(vec![7; 5_000]).with_options(path(&["a"]));
    let asked = [
        rig.endpoint.ping(now, PEER).unwrap(),
        rig.endpoint.observe(now, PEER, Request::get(), &RequestOptions::new()).unwrap(),
        rig.endpoint.request(now, PEER, body, &RequestOptions::new()).unwrap(),
        rig.endpoint.request(now, PEER, Request::get(), &unpaced).unwrap(),
    ];
    rig.drain();
    rig.pass(secs(200));
    rig.sent_nothing();
    rig.release();
    // The ping holds the turn of the Confirmable ones.
    let (_, ping) = rig.sent();
    let (_, non) = rig.sent();
    rig.sent_nothing();
    assert_eq!((ping.code, ping.kind, non.kind), (Code::EMPTY, Type::Confirmable, Type::NonConfirmable));
    rig.receive(PEER, &empty(Type::Reset, ping.message_id));
    let (_, registration) = rig.sent();
    assert_eq!(registration.options.observe(), Some(0));
    rig.receive(PEER, &encode(&state(1, "on").message(ACK, registration.message_id, &registration)));
    let (_, block) = rig.sent();
    assert!(block.options.block1().is_some_and(|block| block.more()));
    assert!(asked.iter().skip(1).all(|id| rig.endpoint.place(*id).is_some()));
}

#[test]
fn the_release_of_nobody_is_nothing() {
    let mut rig = Rig::new();
    rig.release();
    rig.close(WHY);
    assert_eq!(rig.endpoint.usage(), Usage::default());
    rig.get(PEER);
    rig.sent.clear();
    rig.release();
    rig.sent_nothing();
}

#[test]
fn a_group_has_no_session_and_nobody_comes_while_all_ends() {
    let mut rig = Rig::new();
    let group = Peer::from(SocketAddr::from(([224, 0, 1, 187], 5_684)));
    assert!(rig.endpoint.hold(rig.now, group).is_err());
    rig.endpoint.begin_shutdown(rig.now);
    assert_eq!(rig.endpoint.hold(rig.now, PEER), Err(RequestError::Shutdown));
    assert_eq!(rig.endpoint.usage(), Usage::default());
}

#[test]
fn what_was_sent_before_goes_on() {
    let mut rig = Rig::new();
    let (first, second) = (rig.get(PEER), rig.get(PEER));
    let (_, request) = rig.sent();
    rig.hold();
    rig.pass(secs(3));
    assert_eq!(rig.sent.drain(..).count(), 1);
    rig.receive(PEER, &answer(ACK, Code::CONTENT, request.message_id, &request, b"hi"));
    assert_eq!(rig.response().0, first);
    rig.sent_nothing();
    rig.release();
    assert_eq!((rig.sent.len(), rig.endpoint.place(second)), (1, Some(Place::Sent)));
}

#[test]
fn a_session_that_comes_never_to_stand_fails_what_waits() {
    let mut rig = Rig::new();
    rig.hold();
    let ids = [rig.get(PEER), rig.get(PEER)];
    rig.pass(secs(9));
    rig.close(SessionEnd::HandshakeTimeout);
    rig.failed(&ids, SessionEnd::HandshakeTimeout);
    rig.is_forgotten();
}

// ----- When it is over ---------------------------------------------------------------------------------------------

#[test]
fn each_request_fails_once_at_whatever_stage() {
    let mut rig = Rig::new();
    let acknowledged = rig.get(PEER);
    let (_, first) = rig.sent();
    rig.receive(PEER, &empty(ACK, first.message_id));
    let in_flight = rig.get(PEER);
    let waiting = rig.get(PEER);
    let non = rig.request(PEER, &RequestOptions::new().non_confirmable());
    let parts = Request::new(Code::PUT).with_options(path(&["a"])).with_body(Body::Parts { size: None });
    let paused = rig.endpoint.request(rig.now, PEER, parts, &RequestOptions::new()).unwrap();
    assert_eq!(rig.endpoint.place(paused), Some(Place::Paused));
    rig.drain();
    rig.sent.clear();
    rig.events.clear();
    rig.close(WHY);
    rig.failed(&[acknowledged, in_flight, waiting, non, paused], WHY);
    rig.is_forgotten();
}

#[test]
fn a_request_that_is_over_keeps_its_outcome() {
    let mut rig = Rig::new();
    rig.get(PEER);
    let (_, request) = rig.sent();
    let hi = answer(ACK, Code::CONTENT, request.message_id, &request, b"hi");
    // Not polled yet.
    rig.endpoint.handle_datagram(rig.now, Datagram { from: PEER, to: Local::default(), payload: hi.into() });
    rig.close(WHY);
    assert_eq!(rig.response().1.code, Code::CONTENT);
    rig.said_nothing();
    rig.is_forgotten();
}

#[test]
fn an_observation_ends_with_its_session_and_so_does_what_it_fetches() {
    let mut rig = Rig::new();
    let id = rig.endpoint.observe(rig.now, PEER, Request::get(), &RequestOptions::new()).unwrap();
    rig.drain();
    let (_, registration) = rig.sent();
    let mut first = state(1, "0123456789abcdef").message(ACK, registration.message_id, &registration);
    first.options.set_block2(Block::new(0, true, 0).unwrap());
    rig.receive(PEER, &encode(&first));
    let (_, fetch) = rig.sent();
    assert_eq!(fetch.options.block2().map(Block::num), Some(1));
    rig.close(SessionEnd::Replaced);
    rig.failed(&[id], SessionEnd::Replaced);
    rig.is_forgotten();
}

#[test]
fn an_observation_that_is_being_ended_ends_without_a_word() {
    let mut rig = Rig::new();
    let id = rig.endpoint.observe(rig.now, PEER, Request::get(), &RequestOptions::new()).unwrap();
    rig.drain();
    let (_, registration) = rig.sent();
    rig.receive(PEER, &encode(&state(1, "on").message(ACK, registration.message_id, &registration)));
    rig.events.clear();
    assert!(rig.endpoint.deregister(rig.now, id));
    rig.drain();
    rig.sent.clear();
    rig.close(WHY);
    rig.is_forgotten();
}

#[test]
fn a_body_that_comes_in_ends_with_its_session() {
    let mut rig = Rig::new();
    let id = rig.get(PEER);
    let (_, request) = rig.sent();
    let mut first = state(1, "0123456789abcdef").plain().message(ACK, request.message_id, &request);
    first.options.set_block2(Block::new(0, true, 0).unwrap());
    rig.receive(PEER, &encode(&first));
    assert!(rig.endpoint.usage().transfer_bytes > 0);
    rig.sent.clear();
    rig.close(WHY);
    rig.failed(&[id], WHY);
    rig.is_forgotten();
}

#[test]
fn a_body_that_goes_out_leaves_nothing_for_the_next_session() {
    let mut rig = Rig::new();
    let put = || Request::new(Code::PUT).with_body(vec![7; 5_000]).with_options(path(&["a"]));
    let first = rig.endpoint.request(rig.now, PEER, put(), &RequestOptions::new()).unwrap();
    rig.drain();
    let (_, block) = rig.sent();
    assert!(block.options.block1().is_some());
    rig.close(WHY);
    rig.failed(&[first], WHY);
    // Its blocks cannot be taken for those of another session's, and need no tag that tells them apart (RFC 9175 §3.3).
    rig.endpoint.request(rig.now, OTHER, put(), &RequestOptions::new()).unwrap();
    rig.drain();
    let (_, block) = rig.sent();
    assert!(!block.options.contains(OptionNumber::REQUEST_TAG));
}

#[test]
fn requests_of_the_peer_close_and_cannot_be_answered() {
    let mut rig = Rig::new();
    rig.receive(PEER, &GET_A);
    rig.receive(PEER, &POST_A);
    let (get, post) = (rig.handed_up().id, rig.handed_up().id);
    // The acknowledgement of one has left, that of the other is still owed.
    rig.pass(ms(100));
    rig.close(WHY);
    for expected in [get, post] {
        let Event::IncomingClosed { id, why } = rig.event() else { panic!() };
        assert_eq!((id, why), (expected, Closed::Session(WHY)));
        let refused = rig.endpoint.respond(rig.now, id, content("late"));
        assert_eq!(refused, Err(RespondError::Stale));
        assert!(!rig.endpoint.ignore(rig.now, id));
    }
    rig.said_nothing();
    rig.sent.clear();
    rig.is_forgotten();
}

#[test]
fn one_that_was_not_handed_up_is_not_told() {
    let mut rig = Rig::new();
    let payload = Bytes::copy_from_slice(&GET_A);
    rig.endpoint.handle_datagram(rig.now, Datagram { from: PEER, to: Local::default(), payload });
    rig.endpoint.close_session(rig.now, S, WHY);
    rig.drain();
    rig.said_nothing();
    rig.is_forgotten();
}

#[test]
fn an_upload_and_a_kept_body_go_with_their_session() {
    let mut rig = Rig::new();
    let mut upload = Message::empty(Type::Confirmable, 7);
    (upload.code, upload.payload) = (Code::PUT, Bytes::from_static(&[1; 16]));
    upload.options.set_block1(Block::new(0, true, 0).unwrap());
    rig.receive(PEER, &encode(&upload));
    let put = rig.handed_up().id;
    assert!(rig.endpoint.collect(rig.now, put.request_body(), 1_000));
    rig.receive(PEER, &GET_A);
    let get = rig.handed_up().id;
    rig.respond(get, Response::content(ContentFormat::TEXT_PLAIN, vec![b'x'; 5_000]));
    assert_eq!(rig.endpoint.usage().transfers, 2);
    rig.sent.clear();
    rig.close(WHY);
    let Event::IncomingClosed { id, why } = rig.event() else { panic!() };
    assert_eq!((id, why), (put, Closed::Session(WHY)));
    rig.said_nothing();
    rig.is_forgotten();
}

#[test]
fn a_response_in_parts_goes_with_its_session() {
    let mut rig = Rig::new();
    rig.receive(PEER, &GET_A);
    let id = rig.handed_up().id;
    let parts = Response::new(Code::CONTENT).with_body(Body::Parts { size: None });
    rig.respond(id, parts);
    rig.endpoint.supply(rig.now, id.response_body(), vec![1; 3_000].into(), false).unwrap();
    rig.drain();
    rig.sent.clear();
    rig.events.clear();
    rig.close(WHY);
    assert!(matches!(rig.event(), Event::IncomingClosed { why: Closed::Session(WHY), .. }));
    assert_eq!(rig.endpoint.supply(rig.now, id.response_body(), Bytes::new(), true), Err(SupplyError::Stale));
    rig.is_forgotten();
}

#[test]
fn a_separate_response_is_not_repeated() {
    let mut rig = Rig::new();
    rig.receive(PEER, &GET_A);
    let id = rig.handed_up().id;
    rig.pass(secs(3));
    rig.respond(id, content("slow"));
    assert_eq!(rig.sent.drain(..).count(), 2);
    assert_eq!(rig.endpoint.usage().in_flight, 1);
    rig.close(WHY);
    rig.is_forgotten();
}

#[test]
fn observers_are_lost_and_the_others_are_told() {
    let mut rig = Rig::new();
    let topic = rig.endpoint.open_topic(TopicOptions::new());
    // One rests, one is in flight, one waits behind it.
    let mine = [rig.observer(PEER, 1, topic), rig.observer(PEER, 2, topic)];
    let other = rig.observer(OTHER, 3, topic);
    rig.publish(topic, "v1");
    rig.sent.clear();
    rig.close(WHY);
    for id in mine {
        assert_eq!(rig.lost(), (id, topic, Closed::Session(WHY)));
    }
    rig.said_nothing();
    assert_eq!(rig.endpoint.topic_observers(topic), 1);
    // What was in flight is repeated to the other alone.
    rig.pass(secs(4));
    assert!(rig.sent.drain(..).all(|(to, _)| to == OTHER));
    assert!(rig.endpoint.remove_observer(rig.now, other));
    assert!(rig.endpoint.close_topic(rig.now, topic, None));
}

#[test]
fn a_registration_that_was_not_answered_observes_nothing() {
    let mut rig = Rig::new();
    let topic = rig.endpoint.open_topic(TopicOptions::new());
    rig.receive(PEER, &registration(7, 1));
    let id = rig.handed_up().id;
    rig.close(WHY);
    assert!(rig.endpoint.accept_observer(rig.now, id, topic, content("v0")).is_err());
    assert_eq!(rig.endpoint.topic_observers(topic), 0);
}

#[test]
fn what_was_queued_is_not_sent() {
    let mut rig = Rig::new();
    let datagrams: [&[u8]; 4] = [&GET_A, &hex!("40 00 0001"), &hex!("40 00 0002"), &hex!("40 00 0003")];
    for from in [PEER, OTHER] {
        for datagram in datagrams {
            let payload = Bytes::copy_from_slice(datagram);
            rig.endpoint.handle_datagram(rig.now, Datagram { from, to: Local::default(), payload });
        }
        rig.endpoint.request(rig.now, from, Request::get(), &RequestOptions::new()).unwrap();
    }
    rig.endpoint.close_session(rig.now, S, WHY);
    rig.drain();
    assert_eq!(rig.sent.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [OTHER; 4]);
}

#[test]
fn a_kept_reply_gives_its_memory_back_also_if_it_was_queued() {
    let mut rig = Rig::new();
    let payload = Bytes::copy_from_slice(&GET_A);
    rig.endpoint.handle_datagram(rig.now, Datagram { from: PEER, to: Local::default(), payload });
    let Some(Event::Request(request)) = rig.endpoint.poll_event() else { panic!() };
    rig.endpoint.respond(rig.now, request.id, content("queued")).unwrap();
    rig.close(WHY);
    assert!(!rig.endpoint.recent.replies.holds_any());
    rig.is_forgotten();
}

#[test]
fn ten_thousand_requests_end_a_few_at_a_time() {
    let config = Config::builder().max_requests(20_000).max_backlog(20_000).build().unwrap();
    let mut rig = Rig::with(config);
    let ids: Vec<_> = (0..10_000).map(|_| rig.get(PEER)).collect();
    rig.sent.clear();
    rig.endpoint.close_session(rig.now, S, WHY);
    let mut calls = 0;
    let mut ended = 0;
    loop {
        let before = ended;
        ended += core::iter::from_fn(|| rig.endpoint.poll_event()).count();
        assert!(ended - before <= 256, "{} ended in one call", ended - before);
        let Some(due) = rig.endpoint.poll_timeout().filter(|due| *due <= rig.now) else { break };
        rig.endpoint.handle_timeout(due);
        calls += 1;
    }
    assert_eq!(ended, ids.len());
    assert!((38..=41).contains(&calls), "{calls} calls");
    rig.drain();
    rig.is_forgotten();
}

#[test]
fn nothing_is_sent_or_fails_otherwise_while_they_end() {
    let config = Config::builder().max_requests(20_000).max_backlog(20_000).build().unwrap();
    let mut rig = Rig::with(config);
    let how = RequestOptions::new().timeout(secs(10));
    let ids: Vec<_> = (0..2_000).map(|_| rig.request(PEER, &how)).collect();
    rig.sent.clear();
    rig.endpoint.close_session(rig.now, S, WHY);
    // Time passes before anybody looks: all have outlived their timeout, and one is due to be repeated.
    rig.now += secs(60);
    assert!(rig.endpoint.cancel(rig.now, ids[1_999]));
    rig.close(WHY);
    rig.sent_nothing();
    rig.failed(&ids[..1_999], WHY);
    rig.is_forgotten();
}

#[test]
fn many_remembered_message_ids_are_dropped_a_few_at_a_time() {
    let mut rig = Rig::new();
    for message_id in 0..2_000_u16 {
        let [high, low] = message_id.to_be_bytes();
        rig.receive(PEER, &[0x50, 1, high, low]);
        let id = rig.handed_up().id;
        rig.endpoint.ignore(rig.now, id);
    }
    assert_eq!(rig.endpoint.usage().remembered, 2_000);
    rig.endpoint.close_session(rig.now, S, WHY);
    assert!(rig.endpoint.usage().remembered >= 1_700);
    rig.close(WHY);
    assert_eq!(rig.endpoint.stats().forgotten_early, 0);
    rig.is_forgotten();
}

// ----- From one session to the next --------------------------------------------------------------------------------

#[test]
fn the_next_session_knows_nothing_of_the_last() {
    let mut rig = Rig::new();
    rig.receive(PEER, &POST_A);
    let id = rig.handed_up().id;
    rig.respond(id, Response::new(Code::CHANGED));
    rig.sent.clear();
    rig.close(SessionEnd::Replaced);
    // The same Message ID and token are another request there.
    rig.receive(OTHER, &POST_A);
    let id = rig.handed_up().id;
    rig.respond(id, Response::new(Code::CREATED));
    assert_eq!(rig.sent().1.code, Code::CREATED);
    assert_eq!(rig.endpoint.stats().duplicates, 0);
}

#[test]
fn an_answer_from_another_session_fits_nothing() {
    let mut rig = Rig::new();
    let id = rig.get(PEER);
    let (_, request) = rig.sent();
    for from in [OTHER, peer(1)] {
        rig.receive(from, &empty(ACK, request.message_id));
        rig.receive(from, &empty(Type::Reset, request.message_id));
        rig.receive(from, &answer(ACK, Code::CONTENT, request.message_id, &request, b"no"));
        rig.receive(from, &answer(Type::NonConfirmable, Code::CONTENT, 9, &request, b"no"));
    }
    rig.said_nothing();
    assert_eq!((rig.endpoint.stats().unmatched, rig.endpoint.place(id)), (8, Some(Place::Sent)));
}

#[test]
fn tokens_in_sessions_are_counted_and_eight_bytes_long() {
    let mut rig = Rig::new();
    let mut before = None;
    for n in 0..300 {
        let to = if n % 2 == 0 { PEER } else { OTHER };
        let id = rig.get(to);
        let (_, request) = rig.sent();
        let token: [u8; 8] = request.token.as_bytes().try_into().unwrap();
        let count = u32::from_be_bytes(token[..4].try_into().unwrap());
        assert!(before.is_none_or(|before| before + 1 == count), "{before:?} {count}");
        before = Some(count);
        assert!(rig.endpoint.cancel(rig.now, id));
    }
    // Not in the clear: there they are random, all of them.
    rig.get(peer(1));
    assert_ne!(&rig.sent().1.token.as_bytes()[..4], 301_u32.to_be_bytes());
}

#[test]
fn the_peer_of_a_session_is_proven() {
    let mut rig = Rig::with(Config::builder().max_remembered(4).build().unwrap());
    rig.receive(PEER, &POST_A);
    let id = rig.handed_up().id;
    rig.respond(id, Response::new(Code::CHANGED));
    // A flood from forged addresses pushes out each other.
    for n in 0..50 {
        rig.receive(peer(n), &POST_A);
        let id = rig.handed_up().id;
        rig.endpoint.ignore(rig.now, id);
    }
    rig.drain();
    rig.sent.clear();
    rig.receive(PEER, &POST_A);
    assert_eq!(rig.sent().1.code, Code::CHANGED);
    assert_eq!(rig.endpoint.stats().duplicates, 1);
}

#[test]
fn a_session_in_which_a_message_was_not_acknowledged_is_told_once_for_each() {
    let mut rig = Rig::new();
    rig.get(PEER);
    rig.get(peer(1));
    rig.pass(secs(200));
    assert_eq!((rig.failure().1, rig.failure().1), (Failure::NoAck, Failure::NoAck));
    assert_eq!((rig.endpoint.poll_silent(), rig.endpoint.poll_silent()), (Some(S), None));

    let soon = RequestOptions::new().timeout(secs(1));
    rig.endpoint.request(rig.now, PEER, Request::get(), &soon).unwrap();
    rig.pass(secs(2));
    assert_eq!(rig.failure().1, Failure::NoAck);
    assert_eq!(rig.endpoint.poll_silent(), Some(S));

    rig.sent.clear();
    let id = rig.get(PEER);
    let (_, request) = rig.sent();
    rig.receive(PEER, &empty(ACK, request.message_id));
    rig.pass(secs(200));
    assert_eq!((rig.failure().0, rig.endpoint.poll_silent()), (id, None), "acknowledged, though never answered");
}
