//! Settings are changed on a client that runs, and act on what is sent afterwards.

use core::time::Duration;

use coap_core::{BlockSize, ConfigError, Instant, ParameterError, Scope, TransmissionParameters};
use coap_driver::Error;

use crate::scene::{Scene, scene, secs};

#[test]
fn a_block_size_acts_on_the_next_request_and_none_leaves_it_to_the_server() {
    let mut scene = scene();
    scene.plain.lock().content = vec![7; 100];
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    scene.run(client.get(&uri)).unwrap();
    assert_eq!(scene.last().options.block2(), None);

    client.set_block_size(Some(BlockSize::try_from(32).unwrap()));
    assert_eq!(scene.run(client.get(&uri)).unwrap().payload, vec![7; 100]);
    assert_eq!(scene.plain.requests().len(), 1 + 4);
    assert!(scene.last().options.block2().is_some_and(|block| block.size() == 32));
    scene.run(client.put(&uri, vec![1; 33])).unwrap();
    assert!(scene.last().options.block1().is_some_and(|block| block.size() == 32 && block.num() == 1));

    client.set_block_size(None);
    scene.run(client.get(&uri)).unwrap();
    assert_eq!(scene.last().options.block2(), None);
}

#[test]
fn a_number_that_is_no_block_size_is_an_error_that_says_so() {
    for bytes in [0, 8, 15, 100, 2_048] {
        let error = BlockSize::try_from(bytes).unwrap_err();
        assert_eq!(error, ConfigError::BlockSize { bytes });
        assert!(error.to_string().contains(&bytes.to_string()), "{error}");
    }
}

/// How often a request to nobody is sent, and how long that takes.
fn silence(scene: &mut Scene) -> (u8, Duration) {
    scene.plain.lock().patience = Some(0);
    let request = scene.client.get(&scene.uri);
    match scene.run(request) {
        Err(Error::NoAck { timing, .. }) => (timing.attempts, timing.elapsed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn transmission_parameters_act_on_the_next_request() {
    let mut scene = scene();
    let client = scene.client.clone();
    client.set_ack_random_factor(1.0).unwrap();
    assert_eq!(silence(&mut scene), (5, secs(2 * 31)));
    client.set_max_retransmit(1).unwrap();
    assert_eq!(silence(&mut scene), (2, secs(2 * 3)));
    client.set_ack_timeout(secs(10)).unwrap();
    assert_eq!(silence(&mut scene), (2, secs(10 * 3)));
    assert_eq!((client.ack_timeout(), client.ack_random_factor(), client.max_retransmit()), (secs(10), 1.0, 1));
}

#[test]
fn a_request_under_way_keeps_the_parameters_that_it_began_with() {
    let mut scene = scene();
    scene.plain.lock().patience = Some(0);
    scene.client.set_ack_random_factor(1.0).unwrap();
    let waiting = crate::scene::start(&scene.host, scene.client.get(&scene.uri));
    scene.sim.run_for(secs(1));
    scene.client.set_max_retransmit(0).unwrap();
    let Err(Error::NoAck { timing, .. }) = scene.sim.block_on(waiting) else { panic!() };
    assert_eq!((timing.attempts, timing.elapsed), (5, secs(62)));
}

#[test]
fn what_no_parameter_can_be_is_refused_by_name_and_changes_nothing() {
    let scene = scene();
    let client = &scene.client;
    let refused = |result: Result<(), ConfigError>| result.unwrap_err();
    assert_eq!(
        refused(client.set_ack_random_factor(0.9)),
        ConfigError::Transmission(ParameterError::RandomFactor { factor: 0.9 })
    );
    assert_eq!(
        refused(client.set_max_retransmit(26)),
        ConfigError::Transmission(ParameterError::MaxRetransmit { max_retransmit: 26 })
    );
    let half = Duration::from_millis(500);
    let risk = ConfigError::Transmission(ParameterError::AckTimeoutRisk { ack_timeout: half });
    assert_eq!(refused(client.set_ack_timeout(half)), risk);
    assert_eq!(
        refused(client.set_max_server_response_delay(Duration::ZERO)),
        ConfigError::TimeoutTooShort { timeout: Duration::ZERO }
    );
    for bytes in [0, 9] {
        assert_eq!(refused(client.set_min_token_len(bytes)), ConfigError::MinTokenLen { bytes });
    }
    assert_eq!((client.ack_timeout(), client.ack_random_factor(), client.max_retransmit()), (secs(2), 1.5, 4));
    assert_eq!((client.min_token_len(), client.max_server_response_delay()), (4, secs(250)));
}

#[test]
fn a_risk_that_was_accepted_stays_accepted_when_another_parameter_changes() {
    let scene = scene();
    let half = Duration::from_millis(500);
    let risky = TransmissionParameters::builder().accept_congestion_risk().nstart(8).ack_timeout(half);
    scene.client.set_transmission(Scope::Endpoint, risky.build().unwrap()).unwrap();
    scene.client.set_max_retransmit(2).unwrap();
    assert_eq!((scene.client.ack_timeout(), scene.client.max_retransmit()), (half, 2));
    // The peer would repeat before it is acknowledged.
    let short = Duration::from_millis(100);
    let refused = scene.client.set_ack_timeout(short).unwrap_err();
    assert!(matches!(refused, ConfigError::AckDelayTooLong { ack_timeout, .. } if ack_timeout == short), "{refused}");
}

#[test]
fn tokens_are_as_long_as_was_asked_for_from_the_next_on() {
    let mut scene = scene();
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    client.set_min_token_len(8).unwrap();
    for _ in 0..20 {
        scene.run(client.get(&uri)).unwrap();
        assert_eq!(scene.last().token.len(), 8);
    }
    client.set_min_token_len(1).unwrap();
    let lengths: Vec<_> =
        (0..40).map(|_| scene.run(client.get(&uri)).map(|_| scene.last().token.len()).unwrap()).collect();
    assert!(lengths.iter().any(|len| *len < 4) && lengths.iter().all(|len| (1..=8).contains(len)), "{lengths:?}");
}

#[test]
fn responses_to_a_group_are_waited_for_as_long_as_the_server_response_delay() {
    let mut scene = scene();
    let client = scene.client.clone();
    client.set_max_server_response_delay(secs(7)).unwrap();
    let before: Instant = scene.sim.now();
    let Err(Error::NoResponse { timing, .. }) = scene.run(client.get("coap://[ff02::fd]/").non_confirmable()) else {
        panic!()
    };
    assert_eq!((timing.elapsed, scene.sim.now() - before), (secs(7), secs(7)));
}
