//! either side reboots in the middle of a body. It forgets what it had of it, and draws its Message IDs and tokens
//! anew; the other finds out, and no body is ever mixed.

use core::cell::RefCell;
use core::time::Duration;
use std::rc::Rc;

use bytes::Bytes;
use coap_core::{BlockSize, Body, Code, Config, ETag, Event, Instant, Request, RequestId, RequestOptions, Usage};
use coap_sim::{Link, Node, Sim};

use crate::apps::{Ends, Reader, Shelf, Store, Stream, content, request};
use crate::{count, repeat_with};

const LEN: usize = 4_000;

fn pair(seed: u64, link: Link) -> (Sim, Node, Node, Shelf) {
    let shelf = Shelf::default();
    shelf.borrow_mut().insert("a".into(), content(1, LEN));
    let mut sim = Sim::new(seed);
    let (client, server) = (sim.node("client", Config::default()), sim.node("server", Config::default()));
    sim.run_app(server, Store::new(&shelf));
    sim.link(client, server, link);
    (sim, client, server, shelf)
}

fn in_small_blocks() -> RequestOptions {
    RequestOptions::new().block_size(BlockSize::new(64).unwrap())
}

fn send(sim: &mut Sim, client: Node, server: Node, code: Code, body: Bytes) -> RequestId {
    sim.request(client, server, request(code, "a").with_body(body), &in_small_blocks()).unwrap()
}

#[track_caller]
fn answer(sim: &mut Sim, client: Node, id: RequestId) -> (Code, Bytes) {
    match sim.finish(client, id) {
        Some(Event::Response { response, .. }) => (response.code, response.body.into_bytes()),
        other => panic!("{other:?}"),
    }
}

fn comes_to_rest(sim: &mut Sim, nodes: &[Node]) {
    sim.run_until_idle();
    nodes.iter().for_each(|node| assert_eq!(sim.endpoint(*node).usage(), Usage::default()));
}

#[test]
fn a_server_that_reboots_during_an_upload_gets_it_anew() {
    let (mut sim, client, server, shelf) = pair(1, Link::new());
    let id = send(&mut sim, client, server, Code::PUT, content(2, LEN));
    sim.run_for(Duration::from_millis(500));
    assert_eq!(sim.endpoint(server).usage().transfers, 1);
    sim.reboot(server);
    assert_eq!(answer(&mut sim, client, id).0, Code::CHANGED);
    assert!(shelf.borrow()["a"] == content(2, LEN));
    // It knew nothing of the block that came next, and said so (RFC 7959 §2.9.2).
    assert_eq!(sim.endpoint(server).stats().bad_blocks, 1);
    comes_to_rest(&mut sim, &[client, server]);
}

#[test]
fn a_server_that_reboots_during_a_download_serves_the_rest_from_its_content() {
    let (mut sim, client, server, _) = pair(1, Link::new());
    let id = send(&mut sim, client, server, Code::GET, Bytes::new());
    sim.run_for(Duration::from_millis(500));
    sim.reboot(server);
    let (code, body) = answer(&mut sim, client, id);
    assert_eq!(code, Code::CONTENT);
    assert!(body == content(1, LEN));
    comes_to_rest(&mut sim, &[client, server]);
}

#[test]
fn a_server_that_comes_back_with_other_content_is_not_mixed_with_what_it_was() {
    let (mut sim, client, server, shelf) = pair(1, Link::new());
    let id = send(&mut sim, client, server, Code::GET, Bytes::new());
    sim.run_for(Duration::from_millis(500));
    shelf.borrow_mut().insert("a".into(), content(2, LEN + 100));
    sim.reboot(server);
    assert!(answer(&mut sim, client, id).1 == content(2, LEN + 100));
    comes_to_rest(&mut sim, &[client, server]);
}

#[test]
fn a_server_that_reboots_behind_a_post_does_not_carry_it_out_for_the_rest_of_its_answer() {
    let (mut sim, client, server, _) = pair(1, Link::new());
    let id = send(&mut sim, client, server, Code::POST, content(2, LEN));
    // 63 blocks up at 20 ms each, and some down.
    sim.run_for(Duration::from_millis(1_500));
    sim.reboot(server);
    let (code, _) = answer(&mut sim, client, id);
    assert_eq!(code, Code::REQUEST_ENTITY_INCOMPLETE);
    assert_eq!(sim.endpoint(server).stats().bad_blocks, 1);
    comes_to_rest(&mut sim, &[client, server]);
}

#[test]
fn a_client_that_reboots_during_an_upload_can_begin_again() {
    let (mut sim, client, server, shelf) = pair(1, Link::new());
    send(&mut sim, client, server, Code::PUT, content(2, LEN));
    sim.run_for(Duration::from_millis(500));
    sim.reboot(client);
    let id = send(&mut sim, client, server, Code::PUT, content(3, LEN));
    assert_eq!(answer(&mut sim, client, id).0, Code::CHANGED);
    assert!(shelf.borrow()["a"] == content(3, LEN));
    comes_to_rest(&mut sim, &[client, server]);
}

#[test]
fn what_a_rebooted_client_had_begun_is_forgotten() {
    for code in [Code::GET, Code::PUT, Code::POST] {
        let (mut sim, client, server, shelf) = pair(1, Link::new());
        let body = if code == Code::GET { Bytes::new() } else { content(2, LEN) };
        send(&mut sim, client, server, code, body);
        sim.run_for(Duration::from_millis(500));
        sim.reboot(client);
        comes_to_rest(&mut sim, &[client, server]);
        assert!(shelf.borrow()["a"] == content(1, LEN));
    }
}

#[test]
fn a_stream_goes_on_after_a_reboot_of_the_server_if_its_etag_is_the_same() {
    const LEN: u64 = 200_000;
    let mut sim = Sim::new(1);
    let (client, server) = (sim.node("client", Config::default()), sim.node("server", Config::default()));
    sim.run_app(server, Stream::new(LEN));
    let ends = Rc::new(RefCell::new(Ends::default()));
    sim.run_app(client, Reader { len: LEN, ends: Rc::clone(&ends) });
    let how = RequestOptions::new().block_size(BlockSize::MAX).in_parts();
    sim.request(client, server, request(Code::GET, "file"), &how).unwrap();
    sim.run_for(Duration::from_secs(2));
    assert!(ends.borrow().received.is_some_and(|(_, end)| (50_000..LEN).contains(&end)));
    sim.reboot(server);
    comes_to_rest(&mut sim, &[client, server]);
    assert_eq!((ends.borrow().complete, ends.borrow().received), (true, Some((0, LEN))));
}

#[test]
fn a_download_that_was_broken_off_goes_on_from_its_last_block() {
    const LEN: u64 = 200_000;
    let mut sim = Sim::new(1);
    let (client, server) = (sim.node("client", Config::default()), sim.node("server", Config::default()));
    sim.run_app(server, Stream::new(LEN));
    let ends = Rc::new(RefCell::new(Ends::default()));
    sim.run_app(client, Reader { len: LEN, ends: Rc::clone(&ends) });
    let how = RequestOptions::new().block_size(BlockSize::MAX);
    sim.request(client, server, request(Code::GET, "file"), &how.clone().in_parts()).unwrap();
    sim.run_for(Duration::from_secs(2));
    let (_, reached) = ends.borrow().received.unwrap();
    sim.reboot(client);
    // The same tag: from where it was; another: from the start.
    for (tag, from) in [(&b"file"[..], reached / 1_024 * 1_024), (b"other", 0)] {
        *ends.borrow_mut() = Ends::default();
        let how = how.clone().resume(reached, ETag::new(tag).unwrap());
        sim.request(client, server, request(Code::GET, "file"), &how).unwrap();
        sim.run_until_idle();
        assert_eq!((ends.borrow().complete, ends.borrow().received), (true, Some((from, LEN))), "{tag:?}");
    }
    comes_to_rest(&mut sim, &[client, server]);
}

#[test]
fn r17_reboots_at_any_time_while_datagrams_are_lost() {
    let rounds = count(60);
    let seed = coap_sim::seed_from_env(1);
    let mut ended = [0, 0, 0];
    for n in seed..seed + rounds {
        for (code, server_reboots) in
            [Code::GET, Code::PUT, Code::POST].into_iter().flat_map(|code| [(code, true), (code, false)])
        {
            let (mut sim, client, server, shelf) = pair(n, Link::lossy(0.1).duplication(0.1));
            let body = if code == Code::GET { Bytes::new() } else { content(2, LEN) };
            let first = send(&mut sim, client, server, code, body);
            sim.run_for(Duration::from_millis(n * 7_919 % 20_000));
            sim.reboot(if server_reboots { server } else { client });
            let id = if server_reboots {
                first
            } else {
                let body = if code == Code::GET { Bytes::new() } else { content(3, LEN) };
                send(&mut sim, client, server, code, body)
            };
            let versions = |body: &Bytes| (1..4).any(|version| *body == content(version, LEN));
            // It may have ended before the reboot.
            match sim.finish(client, id) {
                Some(Event::Response { response, .. }) if response.code.is_success() => {
                    let body = response.body.into_bytes();
                    assert!(body.is_empty() == (code == Code::PUT), "COAP_SEED={n}");
                    assert!(body.is_empty() || versions(&body), "COAP_SEED={n}: spliced");
                    ended[0] += 1;
                }
                Some(Event::Response { response, .. }) => {
                    assert_eq!(response.code, Code::REQUEST_ENTITY_INCOMPLETE, "COAP_SEED={n}");
                    ended[1] += 1;
                }
                Some(Event::Failed { .. }) => ended[2] += 1,
                None => panic!("COAP_SEED={n}: {code} has no end"),
                other => panic!("COAP_SEED={n}: {other:?}"),
            }
            assert!(versions(&shelf.borrow()["a"]), "COAP_SEED={n}: spliced");
            comes_to_rest(&mut sim, &[client, server]);
        }
    }
    println!("R-17, reboots: {} whole, {} answered 4.08, {} failed", ended[0], ended[1], ended[2]);
    assert!(ended[0] > 8 * ended[1] && ended[2] * 50 < ended[0], "{ended:?}");
    repeat_with("r17_reboots", 10_000);
}

/// What is sent in parts and has no end, because its sender reboots, is given up.
#[test]
fn a_body_in_parts_whose_sender_reboots_is_given_up() {
    let mut sim = Sim::new(1);
    let (client, server) = (sim.node("client", Config::default()), sim.node("server", Config::default()));
    sim.run_app(server, Stream::new(0));
    let ends = Rc::new(RefCell::new(Ends::default()));
    sim.run_app(client, Reader { len: 100_000, ends: Rc::clone(&ends) });
    let asked: Request = request(Code::PUT, "file").with_body(Body::Parts { size: None });
    sim.request(client, server, asked, &RequestOptions::new()).unwrap();
    sim.run_until(Instant::from_secs(1));
    sim.reboot(client);
    comes_to_rest(&mut sim, &[client, server]);
    assert_eq!(sim.endpoint(server).stats().transfers_abandoned, 1);
}
