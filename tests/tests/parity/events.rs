//! The stream of what happens to the requests of a client, and errors that a program can match.

use core::net::SocketAddr;

use coap_core::{Code, Local, Token, Type};
use coap_driver::{ClientEvent, ClientEvents, Error, ErrorKind, Observed, Runtime, SocketOptions, Stage, UdpSocket};
use coap_sim::Host;

use crate::scene::{Scene, scene, secs, start};

fn next(scene: &mut Scene, events: &mut ClientEvents<Host>) -> ClientEvent {
    scene.sim.block_on(events.next()).unwrap()
}

#[test]
fn each_request_has_one_end_that_names_it() {
    let mut scene = scene();
    scene.plain.lock().content = b"hello".to_vec();
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    let mut events = client.events(16);
    let (first, second) = (client.get(&uri), client.get("coap://nowhere.example/"));
    let (one, two) = (first.number(), second.number());
    assert!(one < two);
    assert!(scene.run(second).is_err());
    assert!(scene.run(first).is_ok());
    let ClientEvent::Failed { request, kind, message } = next(&mut scene, &mut events) else { panic!() };
    assert_eq!((request, kind), (two, ErrorKind::HostNotFound));
    assert!(message.contains("nowhere.example"), "{message}");
    let ClientEvent::Finished { request, reply } = next(&mut scene, &mut events) else { panic!() };
    assert_eq!((request, reply.text()), (one, Some("hello")));

    // An error response is a response, with all that it brings.
    scene.plain.lock().refuses = Some(Code::FORBIDDEN);
    scene.run(client.put(&uri, "x")).unwrap();
    let ClientEvent::Finished { reply, .. } = next(&mut scene, &mut events) else { panic!() };
    assert_eq!(reply.code, Code::FORBIDDEN);

    client.close();
    assert!(scene.sim.block_on(events.next()).is_none());
}

#[test]
fn each_retransmission_is_told_and_so_is_the_end() {
    let mut scene = scene();
    scene.plain.lock().patience = Some(0);
    let mut events = scene.client.events(16);
    let request = scene.client.get(&scene.uri);
    let number = request.number();
    let waiting = start(&scene.host, request);
    for expected in 1..=4 {
        let ClientEvent::Retransmitted { request, attempt } = next(&mut scene, &mut events) else { panic!() };
        assert_eq!((request, attempt), (number, expected));
    }
    let ClientEvent::Failed { kind, .. } = next(&mut scene, &mut events) else { panic!() };
    assert_eq!(kind, ErrorKind::TimedOut(Stage::Acknowledgement));
    assert!(scene.sim.block_on(waiting).is_err());
    assert_eq!(events.lost(), 0);
}

#[test]
fn a_member_of_a_group_is_told_with_its_address() {
    let mut scene = scene();
    let (client, member) = (scene.client.clone(), scene.sim.host("member"));
    let socket = member.bind("[::]:5683".parse().unwrap(), &SocketOptions::default()).unwrap();
    let mut events = client.events(16);
    let request = client.get("coap://[ff02::fd]/it").non_confirmable().token(Token::new(b"t").unwrap());
    let number = request.number();
    let waiting = start(&scene.host, request);
    scene.sim.run_for(secs(1));
    let to = SocketAddr::new(scene.host.ip(), client.local_addrs()[0].port());
    // NON 2.05 with that token and the content "me".
    socket.try_send(to.into(), &Local::default(), b"\x51\x45\x12\x34t\xffme").unwrap();
    assert!(scene.sim.block_on(waiting).is_ok());
    let ClientEvent::GroupResponse { request, reply } = next(&mut scene, &mut events) else { panic!() };
    assert_eq!((request, reply.text()), (number, Some("me")));
    assert_eq!(reply.from, SocketAddr::new(member.ip(), 5_683).into());
    assert!(matches!(next(&mut scene, &mut events), ClientEvent::Finished { request, .. } if request == number));
}

#[test]
fn a_download_and_an_observation_end_where_they_are_read() {
    let mut scene = scene();
    {
        let mut plain = scene.plain.lock();
        plain.content = vec![7; 3_000];
        plain.observable = true;
    }
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    let mut events = client.events(16);
    let request = client.get(&uri);
    let number = request.number();
    let mut download = scene.sim.block_on(request.download()).unwrap();
    while scene.sim.block_on(download.chunk()).unwrap().is_some() {}
    let ClientEvent::Finished { request, reply } = next(&mut scene, &mut events) else { panic!() };
    assert_eq!((request, reply.code, reply.payload.len()), (number, Code::CONTENT, 0));

    let dropped = client.get(&uri);
    let number = dropped.number();
    let download = scene.sim.block_on(dropped.download()).unwrap();
    drop(download);
    let ClientEvent::Dropped { request } = next(&mut scene, &mut events) else { panic!() };
    assert_eq!(request, number);

    scene.plain.lock().content = vec![7; 3];
    let observe = client.observe(&uri);
    let number = observe.number();
    let mut observation = scene.run(observe).unwrap();
    assert!(matches!(scene.sim.block_on(observation.next()), Some(Observed::Notification(_))));
    client.disconnect();
    assert!(matches!(scene.sim.block_on(observation.next()), Some(Observed::Lost(_))));
    let ClientEvent::Failed { request, kind, .. } = next(&mut scene, &mut events) else { panic!() };
    assert_eq!((request, kind), (number, ErrorKind::Disconnected));
}

#[test]
fn a_stream_that_nobody_reads_keeps_the_latest_and_counts_what_it_lost() {
    let mut scene = scene();
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    let mut events = client.events(2);
    let mut numbers = Vec::new();
    for _ in 0..5 {
        let request = client.get(&uri);
        numbers.push(request.number());
        scene.run(request).unwrap();
    }
    assert_eq!(events.lost(), 3);
    for number in &numbers[3..] {
        let ClientEvent::Finished { request, .. } = next(&mut scene, &mut events) else { panic!() };
        assert_eq!(request, *number);
    }
    // Another stream has its own, from where it began.
    let mut late = client.events(0);
    scene.run(client.get(&uri)).unwrap();
    assert!(matches!(next(&mut scene, &mut late), ClientEvent::Finished { .. }));
    assert_eq!(late.lost(), 0);
}

#[test]
fn an_error_says_at_which_stage_the_time_ran_out() {
    let mut scene = scene();
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    scene.plain.lock().patience = Some(0);
    let kind = |error: Error| error.kind();
    let silent = scene.run(client.get(&uri)).unwrap_err();
    assert_eq!(kind(silent), ErrorKind::TimedOut(Stage::Acknowledgement));
    let unconfirmed = scene.run(client.get(&uri).non_confirmable()).unwrap_err();
    assert_eq!(kind(unconfirmed), ErrorKind::TimedOut(Stage::Response));
    scene.sim.look_up_time(secs(9));
    let slow = scene.run(client.get("coap://slow.example/").timeout(secs(1))).unwrap_err();
    assert_eq!(kind(slow), ErrorKind::TimedOut(Stage::Resolving));
    // NSTART is 1.
    let first = start(&scene.host, client.get(&uri));
    scene.sim.run_for(secs(1));
    let second = scene.run(client.get(&uri).timeout(secs(1))).unwrap_err();
    assert_eq!(kind(second), ErrorKind::TimedOut(Stage::Waiting));
    drop(first);
}

#[test]
fn every_error_code_is_a_kind_of_its_own_and_keeps_its_reply() {
    let mut scene = scene();
    let (client, uri) = (scene.client.clone(), scene.uri.clone());
    for code in (0x80..=0xbf).filter(|byte| *byte != 0x88 && *byte != 0x8d).map(Code::from_byte) {
        scene.plain.lock().refuses = Some(code);
        let reply = scene.run(client.put(&uri, "x").ignore_back_off()).unwrap();
        assert_eq!(reply.code, code);
        let error = reply.clone().error_for_status().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Status(code));
        assert_eq!(error.reply(), Some(&reply));
        assert!(error.to_string().contains(&code.to_string()), "{error}");
    }
    assert_eq!(scene.last().kind, Type::Confirmable);
}
