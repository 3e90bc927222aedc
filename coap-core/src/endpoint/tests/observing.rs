//! Observing a resource, as a client (RFC 7641 §3).

use super::*;

const CON: Type = Type::Confirmable;
const NON: Type = Type::NonConfirmable;
const ACK: Type = Type::Acknowledgement;

/// A state of the resource, to be sent in answer to a registration or as a notification.
#[derive(Clone, Copy)]
pub(super) struct State {
    number: Option<u32>,
    max_age: Option<u32>,
    etag: Option<u8>,
    code: Code,
    payload: &'static str,
}

pub(super) const fn state(number: u32, payload: &'static str) -> State {
    State { number: Some(number), max_age: None, etag: None, code: Code::CONTENT, payload }
}

const fn error(code: Code) -> State {
    State { number: None, max_age: None, etag: None, code, payload: "" }
}

impl State {
    /// Without an Observe option.
    pub(super) const fn plain(mut self) -> Self {
        self.number = None;
        self
    }

    pub(super) const fn max_age(mut self, seconds: u32) -> Self {
        self.max_age = Some(seconds);
        self
    }

    pub(super) const fn etag(mut self, tag: u8) -> Self {
        self.etag = Some(tag);
        self
    }

    pub(super) const fn code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    pub(super) fn message(self, kind: Type, message_id: u16, request: &Message) -> Message {
        let mut options = Options::new();
        if let Some(number) = self.number {
            options.set_observe(number);
        }
        if let Some(seconds) = self.max_age {
            options.set_max_age(seconds);
        }
        if let Some(tag) = self.etag {
            options.push_etag(&ETag::new(&[tag]).unwrap());
        }
        let token = request.token.clone();
        Message { kind, code: self.code, message_id, token, options, payload: self.payload.as_bytes().into() }
    }
}

impl Rig {
    pub(super) fn observe_with(&mut self, how: &RequestOptions) -> (RequestId, Message) {
        let request = Request::get().with_options(path(&["obs"]));
        let id = self.endpoint.observe(self.now, peer(1), request, how).unwrap();
        self.drain();
        (id, self.sent().1)
    }

    pub(super) fn observe(&mut self) -> (RequestId, Message) {
        self.observe_with(&RequestOptions::new())
    }

    /// An observation whose first state was told.
    pub(super) fn observing(&mut self, first: State) -> (RequestId, Message) {
        let (id, request) = self.observe();
        self.answer(&request, first);
        assert_eq!(self.notification().0, id);
        (id, request)
    }

    /// A piggybacked answer.
    pub(super) fn answer(&mut self, request: &Message, state: State) {
        self.receive(peer(1), &encode(&state.message(ACK, request.message_id, request)));
    }

    pub(super) fn notify(&mut self, kind: Type, message_id: u16, request: &Message, state: State) {
        self.receive(peer(1), &encode(&state.message(kind, message_id, request)));
    }

    pub(super) fn notification(&mut self) -> (RequestId, Response) {
        match self.event() {
            Event::Notification { id, response } => (id, response),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn told(&mut self, payload: &str) {
        let (_, response) = self.notification();
        assert_eq!(response.body.as_bytes(), payload.as_bytes());
    }

    #[track_caller]
    pub(super) fn acknowledged(&mut self, message_id: u16) {
        assert_eq!(self.sent_bytes(), empty(ACK, message_id));
    }

    #[track_caller]
    pub(super) fn rejected(&mut self, message_id: u16) {
        assert_eq!(self.sent_bytes(), empty(Type::Reset, message_id));
    }

    /// Lets time pass until the registration is repeated, and returns the wait and the request.
    pub(super) fn reregistered(&mut self, attempt: u8) -> (Duration, Message) {
        let start = self.now;
        while self.sent.is_empty() {
            self.pass(ms(10));
            assert!(self.now < start + secs(4_000), "it is not registered again");
        }
        let found = self.events.iter().position(|event| matches!(event, Event::Reregistering { .. }));
        let told = self.events.remove(found.expect("the application was not told")).unwrap();
        assert!(matches!(told, Event::Reregistering { attempt: which, .. } if which == attempt), "{told:?}");
        (self.now - start, self.sent().1)
    }

    #[track_caller]
    pub(super) fn stale(&mut self) {
        let event = self.event();
        assert!(matches!(event, Event::Stale { .. }), "{event:?}");
    }

    /// Nothing is left of the observation but what is remembered of its messages.
    #[track_caller]
    pub(super) fn is_over(&mut self) {
        let usage = self.endpoint.usage();
        assert_eq!((usage.requests, usage.in_flight), (0, 0));
        self.said_nothing();
        self.comes_to_rest();
        self.sent_nothing();
        self.said_nothing();
    }
}

#[test]
fn each_newer_state_is_told() {
    let mut rig = Rig::new();
    let (id, request) = rig.observe();
    assert_eq!((request.kind, request.code, request.options.observe()), (CON, Code::GET, Some(0)));
    rig.answer(&request, state(1, "a"));
    let (of, first) = rig.notification();
    assert_eq!((of, first.code, first.body.as_bytes()), (id, Code::CONTENT, &b"a"[..]));
    rig.notify(CON, 10, &request, state(2, "b"));
    rig.acknowledged(10);
    rig.told("b");
    rig.notify(NON, 11, &request, state(3, "c"));
    rig.sent_nothing();
    rig.told("c");
    assert_eq!(rig.endpoint.usage().requests, 1);
    assert!(rig.endpoint.cancel(rig.now, id));
    rig.is_over();
}

#[test]
fn an_old_state_is_acknowledged_and_not_told() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(5, "a"));
    for (message_id, number) in [(10, 4), (11, 5), (12, 8_388_613)] {
        rig.notify(CON, message_id, &request, state(number, "x"));
        rig.acknowledged(message_id);
    }
    rig.notify(NON, 13, &request, state(4, "x"));
    rig.sent_nothing();
    rig.said_nothing();
    assert_eq!(rig.endpoint.stats().notifications_old, 4);
}

#[test]
fn numbers_wrap_at_24_bits() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(0xff_ffff, "a"));
    rig.notify(NON, 10, &request, state(3, "b"));
    rig.told("b");
}

#[test]
fn after_128_seconds_any_number_is_newer() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(300, "a").max_age(1_000));
    rig.pass(secs(128));
    rig.notify(NON, 10, &request, state(5, "b"));
    rig.said_nothing();
    rig.pass(ms(1));
    rig.notify(NON, 11, &request, state(5, "b"));
    rig.told("b");
}

#[test]
fn a_duplicate_notification_is_acknowledged_again_and_told_once() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a").max_age(1_000));
    for _ in 0..2 {
        rig.notify(CON, 10, &request, state(2, "b").max_age(1_000));
        rig.acknowledged(10);
    }
    rig.told("b");
    rig.said_nothing();
    // By now its number would pass for a newer one.
    rig.pass(secs(130));
    rig.notify(CON, 10, &request, state(2, "b").max_age(1_000));
    rig.acknowledged(10);
    rig.said_nothing();
}

#[test]
fn an_answer_without_observe_is_an_ordinary_response() {
    let mut rig = Rig::new();
    let (id, request) = rig.observe();
    rig.pass(ms(20));
    rig.answer(&request, state(0, "a").plain());
    let (ended, response, timing) = rig.response();
    assert_eq!((ended, response.body.as_bytes(), timing.round_trip), (id, &b"a"[..], Some(ms(20))));
    for (kind, message_id) in [(CON, 10), (NON, 11)] {
        rig.notify(kind, message_id, &request, state(5, "b"));
        rig.rejected(message_id);
    }
    rig.is_over();
}

#[test]
fn an_error_is_the_end() {
    let mut rig = Rig::new();
    let (id, request) = rig.observing(state(1, "a"));
    rig.notify(CON, 10, &request, error(Code::NOT_FOUND));
    rig.acknowledged(10);
    let (ended, response, timing) = rig.response();
    assert_eq!((ended, response.code, timing.round_trip), (id, Code::NOT_FOUND, None));
    rig.notify(CON, 10, &request, error(Code::NOT_FOUND));
    rig.acknowledged(10);
    rig.notify(CON, 11, &request, state(2, "b"));
    rig.rejected(11);
    rig.is_over();
}

#[test]
fn an_error_with_an_observe_option_is_the_end_too() {
    let mut rig = Rig::new();
    let (id, request) = rig.observe();
    rig.answer(&request, state(1, "no").code(Code::FORBIDDEN));
    assert_eq!(rig.response().0, id);
    rig.is_over();
}

#[test]
fn a_failed_registration_is_a_failed_request() {
    let mut rig = Rig::new();
    let (id, request) = rig.observe();
    rig.receive(peer(1), &empty(Type::Reset, request.message_id));
    assert_eq!((rig.failure().0, rig.endpoint.usage().requests), (id, 0));
    let (id, _) = rig.observe();
    rig.pass(secs(100));
    let (failed, reason, timing) = rig.failure();
    assert_eq!((failed, reason, timing.attempts), (id, Failure::NoAck, 5));
    rig.sent.clear();
    rig.is_over();
}

#[test]
fn the_timeout_is_for_the_registration() {
    let mut rig = Rig::new();
    let how = RequestOptions::new().timeout(secs(1));
    let (id, _) = rig.observe_with(&how);
    rig.pass(secs(1));
    assert_eq!(rig.failure().0, id);
    let (_, request) = rig.observe_with(&how);
    rig.answer(&request, state(1, "a"));
    rig.told("a");
    rig.pass(secs(40));
    rig.said_nothing();
    let (_, again) = rig.reregistered(1);
    rig.stale();
    rig.pass(ms(1_500));
    rig.answer(&again, state(1, "a"));
    rig.told("a");
}

#[test]
fn the_first_state_may_come_separately() {
    let mut rig = Rig::new();
    let (_, request) = rig.observe();
    rig.receive(peer(1), &empty(ACK, request.message_id));
    rig.notify(CON, 10, &request, state(7, "a"));
    rig.acknowledged(10);
    rig.told("a");
    rig.notify(CON, 11, &request, state(8, "b"));
    rig.acknowledged(11);
    rig.told("b");
    rig.pass(secs(60));
    rig.said_nothing();
    rig.sent_nothing();
}

#[test]
fn a_notification_that_overtakes_the_answer_is_the_first_state() {
    let mut rig = Rig::new();
    let (_, request) = rig.observe();
    rig.notify(CON, 10, &request, state(8, "b"));
    rig.acknowledged(10);
    rig.told("b");
    rig.answer(&request, state(7, "a"));
    rig.said_nothing();
    rig.pass(secs(60));
    rig.sent_nothing();
}

#[test]
fn an_observation_that_waits_holds_no_turn() {
    let mut rig = Rig::new();
    let (id, _) = rig.observing(state(1, "a"));
    assert_eq!((rig.endpoint.usage().in_flight, rig.endpoint.place(id)), (0, Some(Place::Sent)));
    for _ in 0..3 {
        rig.get(peer(1));
        let (_, request) = rig.sent();
        rig.receive(peer(1), &answer(ACK, Code::CONTENT, request.message_id, &request, b"hi"));
        rig.response();
    }
}

#[test]
fn only_the_last_state_before_a_poll_is_told() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a"));
    for number in 2..5 {
        let notification = state(number, ["b", "c", "d"][number as usize - 2]).message(NON, number as u16, &request);
        let payload = encode(&notification).into();
        rig.endpoint.handle_datagram(rig.now, Datagram { from: peer(1), to: Local::default(), payload });
    }
    rig.drain();
    rig.told("d");
    rig.said_nothing();
    assert_eq!(rig.endpoint.stats().notifications_superseded, 2);
}

#[test]
fn a_critical_option_in_a_notification_ends_it() {
    let mut rig = Rig::new();
    let (id, request) = rig.observing(state(1, "a"));
    let mut bad = state(2, "b").message(CON, 10, &request);
    bad.options.push_raw(OptionNumber::new(65_001), b"x").unwrap();
    rig.receive(peer(1), &encode(&bad));
    rig.rejected(10);
    let (failed, reason, _) = rig.failure();
    assert_eq!((failed, reason), (id, Failure::CriticalOption(OptionNumber::new(65_001))));
    rig.is_over();
}

#[test]
fn a_cancelled_one_says_nothing_and_meets_the_next_notification_with_a_reset() {
    let mut rig = Rig::new();
    let (id, request) = rig.observing(state(1, "a"));
    assert!(rig.endpoint.cancel(rig.now, id));
    assert!(!rig.endpoint.cancel(rig.now, id));
    rig.drain();
    rig.sent_nothing();
    rig.notify(CON, 10, &request, state(2, "b"));
    rig.rejected(10);
    rig.notify(NON, 11, &request, state(3, "c"));
    rig.rejected(11);
    rig.is_over();
}

#[test]
fn a_deregistration_is_the_same_request_with_observe_1() {
    let mut rig = Rig::new();
    let (id, request) = rig.observing(state(1, "a"));
    assert!(rig.endpoint.deregister(rig.now, id));
    rig.drain();
    let (_, farewell) = rig.sent();
    assert_eq!((farewell.kind, farewell.code, &farewell.token), (CON, Code::GET, &request.token));
    assert_eq!(farewell.options.observe(), Some(1));
    assert!(farewell.options.uri_path().eq([b"obs"]));
    // It is not the application's any more.
    assert!(!rig.endpoint.deregister(rig.now, id));
    assert!(!rig.endpoint.cancel(rig.now, id));
    assert_eq!(rig.endpoint.place(id), None);
    assert!(!rig.endpoint.is_idle());
    // What crosses it is not wanted, and its answer is not told.
    rig.notify(CON, 10, &request, state(2, "b"));
    rig.rejected(10);
    rig.notify(NON, 11, &request, state(3, "c"));
    rig.rejected(11);
    rig.answer(&farewell, state(0, "b").plain());
    assert!(rig.endpoint.is_idle());
    rig.is_over();
}

#[test]
fn a_deregistration_may_end_in_any_way() {
    type Reaction = fn(&mut Rig, &Message);
    let reactions: [Reaction; 5] = [
        |rig, farewell| rig.receive(peer(1), &empty(Type::Reset, farewell.message_id)),
        |rig, _| rig.endpoint.handle_unreachable(rig.now, peer(1)),
        |rig, _| rig.pass(secs(93)),
        |rig, farewell| {
            rig.receive(peer(1), &empty(ACK, farewell.message_id));
            rig.pass(secs(93));
        },
        |rig, farewell| {
            rig.receive(peer(1), &empty(ACK, farewell.message_id));
            rig.notify(CON, 10, farewell, error(Code::NOT_FOUND));
            rig.acknowledged(10);
        },
    ];
    for react in reactions {
        let mut rig = Rig::new();
        let how = RequestOptions::new().report_retransmissions().non_confirmable();
        let (id, request) = rig.observe_with(&how);
        rig.notify(NON, 9, &request, state(1, "a"));
        rig.told("a");
        assert!(rig.endpoint.deregister(rig.now, id));
        rig.drain();
        let (_, farewell) = rig.sent();
        assert_eq!(farewell.kind, CON);
        react(&mut rig, &farewell);
        rig.drain();
        rig.sent.clear();
        rig.is_over();
    }
}

#[test]
fn what_was_not_told_is_not_told_after_a_deregistration() {
    let mut rig = Rig::new();
    let (id, request) = rig.observe();
    let payload = encode(&state(1, "a").message(ACK, request.message_id, &request)).into();
    rig.endpoint.handle_datagram(rig.now, Datagram { from: peer(1), to: Local::default(), payload });
    assert!(rig.endpoint.deregister(rig.now, id));
    rig.drain();
    rig.said_nothing();
    assert_eq!(rig.sent().1.options.observe(), Some(1));
}

#[test]
fn one_that_never_left_or_has_ended_needs_no_deregistration() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    rig.sent.clear();
    let get = Request::get();
    let waits = rig.endpoint.observe(rig.now, peer(1), get, &RequestOptions::new()).unwrap();
    assert!(rig.endpoint.deregister(rig.now, waits));
    assert_eq!(rig.endpoint.usage().requests, 1);
    let mut rig = Rig::new();
    let (id, request) = rig.observe();
    let payload = encode(&error(Code::NOT_FOUND).message(ACK, request.message_id, &request)).into();
    rig.endpoint.handle_datagram(rig.now, Datagram { from: peer(1), to: Local::default(), payload });
    assert!(!rig.endpoint.deregister(rig.now, id));
    rig.drain();
    rig.sent_nothing();
    rig.is_over();
    let plain = rig.get(peer(1));
    assert!(!rig.endpoint.deregister(rig.now, plain));
    assert_eq!(rig.endpoint.place(plain), Some(Place::Sent));
}

#[test]
fn one_whose_registration_is_under_way_can_be_deregistered() {
    let mut rig = Rig::new();
    let (id, request) = rig.observe();
    assert!(rig.endpoint.deregister(rig.now, id));
    rig.drain();
    let (_, farewell) = rig.sent();
    assert_eq!((farewell.options.observe(), &farewell.token), (Some(1), &request.token));
    // The answer to the registration comes late.
    rig.answer(&request, state(1, "a"));
    rig.said_nothing();
    rig.receive(peer(1), &empty(Type::Reset, farewell.message_id));
    rig.is_over();
}

#[test]
fn a_fetch_is_observed_with_its_content() {
    let mut rig = Rig::new();
    let fetch = Request::new(Code::FETCH).with_content(ContentFormat::JSON, &b"[1]"[..]);
    let id = rig.endpoint.observe(rig.now, peer(1), fetch, &RequestOptions::new()).unwrap();
    rig.drain();
    let (_, request) = rig.sent();
    rig.answer(&request, state(1, "a"));
    rig.told("a");
    let (_, again) = rig.reregistered(1);
    rig.stale();
    rig.answer(&again, state(1, "a"));
    rig.told("a");
    assert!(rig.endpoint.deregister(rig.now, id));
    rig.drain();
    let (_, farewell) = rig.sent();
    for message in [&request, &again, &farewell] {
        assert_eq!((message.code, &message.payload[..]), (Code::FETCH, &b"[1]"[..]));
        assert_eq!(message.options.content_format(), Some(ContentFormat::JSON));
    }
}

#[test]
fn what_cannot_be_observed_is_refused() {
    let mut rig = Rig::new();
    let how = RequestOptions::new();
    let post = rig.endpoint.observe(rig.now, peer(1), Request::new(Code::POST), &how);
    assert_eq!(post, Err(RequestError::NotObservable { code: Code::POST }));
    let group = Peer::from(SocketAddr::from(([224, 0, 1, 187], 5_683)));
    let group = rig.endpoint.observe(rig.now, group, Request::get(), &how.clone().non_confirmable());
    assert_eq!(group, Err(RequestError::MulticastObservation));
    let long = Request::new(Code::FETCH).with_body(vec![0; 65]);
    let long = rig.endpoint.observe(rig.now, peer(1), long, &how.block_size(BlockSize::new(64).unwrap()));
    assert_eq!(long, Err(RequestError::ObservationTooLarge));
    let parts = Request::new(Code::FETCH).with_body(Body::Parts { size: Some(1) });
    let parts = rig.endpoint.observe(rig.now, peer(1), parts, &RequestOptions::new());
    assert_eq!(parts, Err(RequestError::ObservationTooLarge));
    assert_eq!(rig.endpoint.usage(), Usage::default());
}

#[test]
fn a_shutdown_ends_observations_and_nothing_else() {
    let mut rig = Rig::new();
    let (id, request) = rig.observing(state(1, "a"));
    let (under_way, _) = rig.observe();
    let (left, _) = rig.observe_with(&RequestOptions::new().token(Token::EMPTY).non_confirmable());
    rig.endpoint.deregister(rig.now, left);
    rig.endpoint.begin_shutdown(rig.now);
    rig.drain();
    for ended in [id, under_way] {
        let (failed, reason, _) = rig.failure();
        assert_eq!((failed, reason), (ended, Failure::Shutdown));
    }
    let (_, farewell) = rig.sent();
    assert_eq!(farewell.options.observe(), Some(1));
    assert!(!rig.endpoint.is_idle());
    rig.notify(CON, 10, &request, state(2, "b"));
    rig.rejected(10);
    rig.receive(peer(1), &empty(Type::Reset, farewell.message_id));
    assert!(rig.endpoint.is_idle());
    rig.is_over();
}

#[test]
fn a_confirmation_does_not_displace_the_state_that_it_confirms() {
    let mut rig = Rig::new();
    let (_, request) = rig.observing(state(1, "a").etag(1));
    for (number, next) in [(2, state(2, "b").etag(2)), (3, state(3, "").code(Code::VALID).etag(2))] {
        let payload = encode(&next.message(NON, number, &request)).into();
        rig.endpoint.handle_datagram(rig.now, Datagram { from: peer(1), to: Local::default(), payload });
    }
    rig.drain();
    rig.told("b");
    rig.said_nothing();
}

#[test]
fn an_observation_counts_as_a_request() {
    let mut rig = Rig::with(Config::builder().max_requests(2).build().unwrap());
    rig.observing(state(1, "a"));
    rig.observing(state(1, "a"));
    let third = rig.endpoint.observe(rig.now, peer(1), Request::get(), &RequestOptions::new());
    assert_eq!(third, Err(RequestError::TooManyRequests));
}
