//! RTX: repetition until an acknowledgement comes (RFC 7252 §4.2, §4.8).

use core::time::Duration;

use coap_core::{
    Code, Config, Failure, Instant, OptionNumber, ParameterError, Request, RequestOptions, Response,
    TransmissionParameters, Type,
};
use hex_literal::hex;

use crate::rig::{Rig, answer, content, empty, ms, path, peer, secs};

#[test]
fn rtx_02_a_repetition_is_the_same_bytes() {
    let mut rig = Rig::new();
    let mut options = path(&["a"]);
    options.push(OptionNumber::URI_QUERY, b"q").unwrap();
    let request = Request::new(Code::POST).with_options(options).with_body("payload");
    rig.endpoint.request(rig.now, peer(1), request, &RequestOptions::new()).unwrap();
    rig.drain();
    let first = rig.sent_bytes();
    rig.pass(secs(100));
    let copies: Vec<_> = rig.sent.drain(..).map(|(_, bytes)| bytes).collect();
    assert_eq!(copies, vec![first; 4]);
}

#[test]
fn rtx_03_initial_timeouts_are_spread_over_the_whole_range() {
    let mut rig = Rig::new();
    let mut waits = Vec::new();
    for n in 0..1_000 {
        let id = rig.get(peer(n));
        rig.sent_bytes();
        waits.push(rig.endpoint.poll_timeout().unwrap() - rig.now);
        rig.endpoint.cancel(rig.now, id);
    }
    let within = |low, high| waits.iter().filter(|wait| (low..high).contains(*wait)).count();
    assert_eq!(within(secs(2), secs(3) + ms(1)), 1_000);
    for quarter in 0..4 {
        let low = secs(2) + ms(250) * quarter;
        // 250 expected, with a standard deviation of 14.
        assert!((180..320).contains(&within(low, low + ms(250))), "{waits:?}");
    }
}

#[test]
fn rtx_06_a_reset_ends_the_request_at_once_and_says_so() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, request) = rig.sent();
    rig.receive(peer(1), &empty(Type::Reset, request.message_id));
    let (failed, reason, timing) = rig.failure();
    assert_eq!((failed, reason, timing.attempts), (id, Failure::Reset, 1));
    rig.pass(secs(100));
    rig.sent_nothing();
    rig.said_nothing();
}

#[test]
fn rtx_07_a_cancelled_request_is_not_repeated_and_its_answers_do_no_harm() {
    let mut rig = Rig::new();
    let id = rig.get(peer(1));
    let (_, request) = rig.sent();
    assert!(rig.endpoint.cancel(rig.now, id));
    rig.pass(secs(100));
    rig.sent_nothing();
    rig.receive(peer(1), &empty(Type::Acknowledgement, request.message_id));
    rig.receive(peer(1), &answer(Type::Acknowledgement, Code::CONTENT, request.message_id, &request, b"hi"));
    rig.sent_nothing();
    rig.receive(peer(1), &answer(Type::Confirmable, Code::CONTENT, 0x0005, &request, b"hi"));
    assert_eq!(rig.sent_bytes(), hex!("70 00 0005"));
    rig.said_nothing();
}

#[test]
fn rtx_08_the_derived_times_follow_the_parameters() {
    let times = |parameters: TransmissionParameters| {
        [
            parameters.exchange_lifetime(),
            parameters.non_lifetime(),
            parameters.max_transmit_wait(),
            parameters.max_transmit_span(),
            parameters.max_rtt(),
        ]
    };
    assert_eq!(times(TransmissionParameters::default()), [247, 145, 93, 45, 202].map(secs));
    let slow = TransmissionParameters::builder().ack_timeout(secs(4)).max_latency(secs(10)).build().unwrap();
    // A span of 4 × 15 × 1.5 s, a wait of 4 × 31 × 1.5 s, a round trip of 2 × 10 + 4 s.
    assert_eq!(times(slow), [114, 100, 186, 90, 24].map(secs));
    // And what uses them: the memory for duplicates.
    let mut rig = Rig::with(Config::builder().transmission(slow).build().unwrap());
    let post = hex!("41 02 1001 0b b1 61");
    rig.receive(peer(1), &post);
    let incoming = rig.handed_up();
    rig.respond(incoming.id, Response::new(Code::CHANGED));
    rig.sent_bytes();
    rig.pass(secs(113));
    rig.receive(peer(1), &post);
    rig.said_nothing();
    rig.pass(secs(1) + ms(1));
    rig.receive(peer(1), &post);
    rig.handed_up();
}

#[test]
fn rtx_09_parameters_that_endanger_the_network_need_a_word() {
    let builder = TransmissionParameters::builder;
    assert!(matches!(builder().ack_random_factor(0.9).build(), Err(ParameterError::RandomFactor { .. })));
    assert!(matches!(builder().ack_timeout(ms(500)).build(), Err(ParameterError::AckTimeoutRisk { .. })));
    assert!(matches!(builder().nstart(2).build(), Err(ParameterError::NstartRisk { nstart: 2 })));
    assert!(builder().ack_timeout(ms(500)).nstart(2).accept_congestion_risk().build().is_ok());
    assert!(builder().ack_random_factor(0.9).accept_congestion_risk().build().is_err());
}

#[test]
fn rtx_11_a_late_call_sends_one_copy_and_none_after_the_span() {
    let mut rig = Rig::new();
    rig.get(peer(1));
    rig.sent_bytes();
    rig.now += secs(16);
    rig.endpoint.handle_timeout(rig.now);
    rig.drain();
    // Three copies were due by now.
    assert_eq!(rig.sent.drain(..).count(), 1);
    rig.now += secs(60);
    rig.endpoint.handle_timeout(rig.now);
    rig.drain();
    // 76 s after the first transmission: MAX_TRANSMIT_SPAN is long over.
    assert!(rig.now - Instant::from_secs(1_000) > Duration::from_secs(45));
    rig.pass(secs(100));
    rig.sent_nothing();
    assert_eq!(rig.failure().1, Failure::NoAck);
}

/// The same of a separate response.
#[test]
fn a_separate_response_that_is_called_late_is_repeated_once() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &hex!("41 01 1001 0b b1 61"));
    let incoming = rig.handed_up();
    rig.pass(ms(250));
    rig.sent_bytes();
    rig.respond(incoming.id, content("hi"));
    rig.sent_bytes();
    rig.now += secs(20);
    rig.endpoint.handle_timeout(rig.now);
    rig.drain();
    assert_eq!(rig.sent.len(), 1);
}
