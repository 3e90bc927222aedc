//! DUP: the same message again (RFC 7252 §4.5).

use coap_core::{Code, Config, Response};
use hex_literal::hex;

use crate::rig::{Rig, content, ms, peer, secs};

/// CON POST /a with payload x, Message ID 0x1001, token 0b.
const POST: [u8; 9] = hex!("41 02 1001 0b b1 61 ff 78");

#[test]
fn dup_01_a_duplicate_gets_the_same_bytes_and_runs_nothing() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &POST);
    let incoming = rig.handed_up();
    rig.respond(incoming.id, Response::new(Code::CHANGED));
    let reply = rig.sent_bytes();
    rig.pass(secs(246));
    rig.receive(peer(1), &POST);
    assert_eq!(rig.sent_bytes(), reply);
    rig.said_nothing();
}

#[test]
fn dup_03_the_same_message_id_of_another_peer_is_another_message() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &POST);
    rig.receive(peer(2), &POST);
    assert_eq!((rig.handed_up().peer, rig.handed_up().peer), (peer(1), peer(2)));
    assert_eq!(rig.endpoint.stats().duplicates, 0);
}

#[test]
fn dup_04_after_exchange_lifetime_a_message_id_is_new() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &POST);
    let incoming = rig.handed_up();
    rig.respond(incoming.id, Response::new(Code::CHANGED));
    rig.sent_bytes();
    rig.pass(secs(247) + ms(1));
    rig.receive(peer(1), &POST);
    rig.handed_up();
    assert_eq!(rig.endpoint.stats().duplicates, 0);
}

#[test]
fn dup_06_a_duplicate_during_the_work_starts_no_second_one() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &POST);
    let incoming = rig.handed_up();
    rig.pass(ms(100));
    rig.receive(peer(1), &POST);
    rig.said_nothing();
    rig.sent_nothing();
    rig.respond(incoming.id, Response::new(Code::CHANGED));
    assert_eq!(rig.sent_bytes(), hex!("61 44 1001 0b"));
    rig.pass(secs(300));
    rig.sent_nothing();
}

#[test]
fn dup_07_a_duplicate_is_one_whatever_else_it_carries() {
    let mut rig = Rig::new();
    rig.receive(peer(1), &POST);
    let incoming = rig.handed_up();
    rig.respond(incoming.id, Response::new(Code::CHANGED));
    let reply = rig.sent_bytes();
    // Another token, another path, another payload.
    rig.receive(peer(1), &hex!("41 02 1001 77 b1 62 ff 79"));
    assert_eq!(rig.sent_bytes(), reply);
    rig.said_nothing();
}

#[test]
fn dup_08_a_full_memory_stays_within_its_bound() {
    let config = Config::builder().max_remembered(8).max_peers(16).build().unwrap();
    let mut rig = Rig::with(config);
    let (mut served, mut sent) = (0, 0);
    for message_id in 0..10 {
        for n in 0..40 {
            sent += 1;
            rig.receive(peer(n), &[0x40, 0x02, 0x10, message_id, 0xb1, b'a']);
            while !rig.events.is_empty() {
                let incoming = rig.handed_up();
                rig.respond(incoming.id, Response::new(Code::CHANGED));
                rig.sent_bytes();
                served += 1;
            }
            assert!(rig.endpoint.usage().remembered <= 8 && rig.endpoint.usage().peers <= 16);
        }
    }
    // Each was either served, with an older one forgotten for it, or refused without a trace.
    let stats = rig.endpoint.stats();
    assert_eq!(served + stats.refused_memory + stats.refused_peer, sent, "{stats:?}");
    assert!(served > 0 && stats.forgotten_early > 0);
    rig.sent_nothing();
    rig.comes_to_rest();
}

#[test]
fn dup_10_an_idempotent_duplicate_whose_reply_is_not_kept_is_served_again() {
    let mut rig = Rig::with(Config::builder().max_remembered_bytes(0).build().unwrap());
    let get = hex!("41 01 1001 0b b1 61");
    let mut replies = Vec::new();
    for _ in 0..2 {
        rig.receive(peer(1), &get);
        let incoming = rig.handed_up();
        rig.respond(incoming.id, content("hi"));
        replies.push(rig.sent_bytes());
    }
    assert_eq!(replies[0], replies[1]);
    // What is not idempotent is never run twice for it.
    rig.receive(peer(1), &hex!("41 02 1002 0c b1 61"));
    let incoming = rig.handed_up();
    rig.respond(incoming.id, Response::new(Code::CHANGED));
    rig.sent_bytes();
    rig.receive(peer(1), &hex!("41 02 1002 0c b1 61"));
    rig.said_nothing();
}
