use core::net::SocketAddr;

use coap_core::{Code, Local};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

/// A watch that is shown what no endpoint did.
struct Liar {
    watch: Watch,
    endpoint: Endpoint,
}

fn peer() -> Peer {
    Peer::from(SocketAddr::from(([192, 0, 2, 1], 1_000)))
}

fn liar() -> Liar {
    let config = Config::default();
    let watch = Watch::new("liar", 7, &config);
    Liar { watch, endpoint: Endpoint::new(config, ChaCha8Rng::seed_from_u64(1)) }
}

impl Liar {
    fn sends(&mut self, secs: u64, cause: &Cause<'_>, message: &Message) {
        let mut bytes = vec![0; message.encoded_len()];
        message.encode(&mut bytes).unwrap();
        let transmit = Transmit { to: peer(), from: Local::default(), hops: None, group: None, len: bytes.len() };
        let sent = [(transmit, Bytes::from(bytes))];
        self.watch.check(Instant::from_secs(secs), cause, &sent, &[], &self.endpoint);
    }

    fn says(&mut self, secs: u64, cause: &Cause<'_>, event: Event) {
        self.watch.check(Instant::from_secs(secs), cause, &[], &[event], &self.endpoint);
    }

    /// What the endpoint says to a datagram.
    fn receives(&mut self, to: Local, datagram: &'static [u8]) -> Event {
        let datagram = coap_core::Datagram { from: peer(), to, payload: Bytes::from_static(datagram) };
        self.endpoint.handle_datagram(Instant::ZERO, datagram);
        self.endpoint.poll_event().unwrap()
    }

    /// A response to a request that was never sent.
    fn response(&mut self) -> Event {
        let how = coap_core::RequestOptions::new();
        let id = self.endpoint.request(Instant::ZERO, peer(), coap_core::Request::get(), &how).unwrap();
        let response = coap_core::Response::new(Code::CONTENT);
        Event::Response { id, from: peer(), response, timing: coap_core::Timing::default() }
    }
}

fn get(token: &[u8]) -> Message {
    Message { code: Code::GET, token: Token::new(token).unwrap(), ..Message::empty(Type::Confirmable, 9) }
}

fn arrived(payload: &Bytes) -> Cause<'_> {
    Cause::Datagram { from: peer(), multicast: false, payload }
}

#[test]
#[should_panic(expected = "invariant 1 is broken at 0.000000 by liar (COAP_SEED=7)")]
fn a_reset_for_an_acknowledgement_is_found() {
    liar().sends(0, &arrived(&Bytes::from_static(&[0x60, 0, 0, 1])), &Message::empty(Type::Reset, 1));
}

#[test]
#[should_panic(expected = "invariant 1")]
fn a_reset_for_another_version_is_found() {
    liar().sends(0, &arrived(&Bytes::from_static(&[0x80, 1, 0, 1])), &Message::empty(Type::Reset, 1));
}

#[test]
fn an_acknowledgement_may_give_the_next_request_its_turn() {
    liar().sends(0, &arrived(&Bytes::from_static(&[0x60, 0, 0, 1])), &get(b"a"));
}

#[test]
#[should_panic(expected = "invariant 3")]
fn a_message_id_used_twice_is_found() {
    let mut liar = liar();
    liar.sends(0, &Cause::Command, &get(b"a"));
    liar.sends(246, &Cause::Command, &get(b"b"));
}

#[test]
fn a_message_id_is_free_again_after_its_lifetime() {
    let mut liar = liar();
    liar.sends(0, &Cause::Command, &get(b"a"));
    liar.sends(247, &Cause::Command, &get(b"b"));
}

#[test]
#[should_panic(expected = "invariant 5")]
fn a_changed_retransmission_is_found() {
    let mut liar = liar();
    liar.sends(0, &Cause::Command, &get(b"a"));
    liar.sends(2, &Cause::Timer, &Message { code: Code::POST, ..get(b"a") });
}

#[test]
#[should_panic(expected = "invariant 7")]
fn a_request_in_an_acknowledgement_is_found() {
    liar().sends(0, &Cause::Command, &Message { kind: Type::Acknowledgement, ..get(b"a") });
}

#[test]
#[should_panic(expected = "invariant 1")]
fn an_error_for_a_multicast_request_is_found() {
    let mut liar = liar();
    let request = liar.receives(Local::arrived(0, Some("ff02::fd".parse().unwrap()), 0), b"\x51\x01\x00\x09a");
    liar.says(0, &Cause::Command, request);
    let error = Message { kind: Type::NonConfirmable, code: Code::NOT_FOUND, ..get(b"a") };
    liar.sends(1, &Cause::Command, &error);
}

#[test]
#[should_panic(expected = "invariant 2")]
fn a_response_out_of_nothing_is_found() {
    let mut liar = liar();
    let response = liar.response();
    liar.says(0, &Cause::Timer, response);
}

#[test]
#[should_panic(expected = "which is not open")]
fn a_second_response_is_found() {
    let mut liar = liar();
    liar.sends(0, &Cause::Command, &get(b"a"));
    for payload in [&b"\x51\x45\x00\x01a"[..], &b"\x51\x45\x00\x02a"[..]] {
        let response = liar.response();
        liar.says(1, &arrived(&Bytes::from_static(payload)), response);
    }
}

#[test]
#[should_panic(expected = "invariant 4")]
fn a_request_handed_up_twice_is_found() {
    let mut liar = liar();
    for secs in [0, 246] {
        // Another endpoint each time, to which it is news.
        let request = self::liar().receives(Local::default(), b"\x41\x02\x00\x09a");
        liar.says(secs, &Cause::Command, request);
    }
}

#[test]
#[should_panic(expected = "invariant 6")]
fn a_timer_that_never_ends_is_found() {
    let mut liar = liar();
    liar.receives(Local::default(), b"\x41\x02\x00\x09a");
    // It is due, and this endpoint's handle_timeout is never called.
    for _ in 0..=IDLE_CALLS + 1 {
        liar.watch.check(Instant::from_secs(1), &Cause::Timer, &[], &[], &liar.endpoint);
    }
}

#[test]
#[should_panic(expected = "invariant 10")]
fn what_is_left_behind_is_found() {
    let mut liar = liar();
    let Event::Request(request) = liar.receives(Local::default(), b"\x41\x02\x00\x09a") else { panic!() };
    liar.endpoint.respond(Instant::ZERO, request.id, coap_core::Response::new(Code::CHANGED)).unwrap();
    liar.watch.check(Instant::ZERO, &Cause::Command, &[], &[], &liar.endpoint);
    liar.watch.check_rest(Instant::from_secs(247), &liar.endpoint);
    liar.watch.check_rest(Instant::from_secs(248), &liar.endpoint);
}

fn notification(message_id: u16, number: u32) -> Message {
    let mut message = Message { code: Code::CONTENT, message_id, ..get(b"a") };
    message.options.set_observe(number);
    message
}

#[test]
#[should_panic(expected = "invariant 5")]
fn a_superseding_notification_that_comes_too_soon_is_found() {
    let mut liar = liar();
    liar.sends(0, &Cause::Command, &notification(1, 1));
    liar.sends(1, &Cause::Timer, &notification(2, 2));
}

#[test]
#[should_panic(expected = "the 6th without an acknowledgement")]
fn a_notification_in_ever_new_forms_is_found() {
    let mut liar = liar();
    for n in 0..6 {
        liar.sends(u64::from(n) * 100, &Cause::Timer, &notification(n, u32::from(n)));
    }
}

#[test]
fn what_was_acknowledged_may_be_followed_at_once() {
    let mut liar = liar();
    liar.sends(0, &Cause::Command, &notification(1, 1));
    liar.watch.hear(peer(), &Message::empty(Type::Acknowledgement, 1));
    liar.sends(0, &Cause::Command, &notification(2, 2));
}

#[test]
#[should_panic(expected = "invariant 12")]
fn an_observe_number_that_does_not_grow_is_found() {
    let mut liar = liar();
    for message_id in [1, 2] {
        liar.sends(u64::from(message_id) * 10, &Cause::Timer, &notification(message_id, 0xff_ffff));
    }
}

#[test]
fn observe_numbers_may_go_round() {
    let mut liar = liar();
    liar.sends(0, &Cause::Timer, &notification(1, 0xff_ffff));
    liar.sends(10, &Cause::Timer, &notification(2, 0));
}

#[test]
#[should_panic(expected = "invariant 2")]
fn a_state_out_of_nothing_is_found() {
    let mut liar = liar();
    let Event::Response { id, response, .. } = liar.response() else { panic!() };
    liar.says(0, &Cause::Timer, Event::Notification { id, response });
}

#[test]
#[should_panic(expected = "invariant 11")]
fn a_part_that_leaves_a_gap_is_found() {
    let mut liar = liar();
    let Event::Request(request) = liar.receives(Local::default(), b"\x41\x02\x00\x09a") else { panic!() };
    for offset in [0, 3] {
        let data = Bytes::from_static(b"ab");
        let part = Event::BodyPart { id: request.id.request_body(), offset, data, last: false };
        liar.says(0, &Cause::Command, part);
    }
}

#[test]
#[should_panic(expected = "invariant 13")]
fn a_table_beyond_its_bound_is_found() {
    let mut liar = liar();
    liar.watch = liar.watch.bounded(Usage::default());
    liar.receives(Local::default(), b"\x41\x02\x00\x09a");
    liar.watch.check(Instant::ZERO, &Cause::Command, &[], &[], &liar.endpoint);
}
