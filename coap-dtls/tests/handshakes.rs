//! Handshakes, and requests in the sessions that they make.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod common;

use coap_core::{Code, Message, Peer};
use coap_dtls::PeerIdentity;
use common::*;

#[test]
fn a_request_waits_for_its_session_and_is_answered_in_it() {
    let mut wire = Wire::new(&psk_server());
    let session = wire.connect(CLIENT, &psk_client());
    let request = wire.get(CLIENT, session);
    wire.settle();
    assert_eq!(wire.answer(CLIENT, request), Some(Code::CONTENT));
    let client = wire.nodes[CLIENT].endpoint.session(session).unwrap();
    assert_eq!(client.identity, Some(&PeerIdentity::Psk(b"client".to_vec())));

    let Peer::Session(theirs) = wire.nodes[SERVER].served[0] else { panic!("not in a session") };
    let server = wire.nodes[SERVER].endpoint.session(theirs).unwrap();
    assert_eq!(server.identity, Some(&PeerIdentity::Psk(b"client".to_vec())));
    assert_eq!(server.addr, wire.nodes[CLIENT].addr);
}

/// The type of the handshake message that a record in the clear begins with, and its message_seq.
fn message(datagram: &[u8]) -> (u8, u8) {
    assert_eq!((datagram[0], &datagram[3..5]), (22, &[0, 0][..]), "a handshake in the clear");
    (datagram[13], datagram[18])
}

#[test]
fn nothing_is_kept_of_a_client_before_its_cookie_has_come_back() {
    let mut wire = Wire::new(&psk_server());
    let session = wire.connect(CLIENT, &psk_client());
    wire.run(LATENCY);
    wire.run(core::time::Duration::ZERO);
    let hello = wire.sent(CLIENT, 0)[0].bytes.clone();
    let request = wire.sent(SERVER, 0)[0].bytes.clone();
    assert_eq!((message(&hello), message(&request)), ((1, 0), (3, 0)));
    assert_eq!(hello[5..11], request[5..11], "the HelloVerifyRequest has the sequence number of the hello");
    assert!(request.len() <= hello.len());
    let stats = wire.nodes[SERVER].endpoint.session_stats();
    assert_eq!((stats.cookies_sent, stats.half_open, stats.begun), (1, 0, 0));
    assert_eq!(wire.nodes[SERVER].endpoint.poll_timeout(), None);

    wire.settle();
    assert!(wire.is_open(CLIENT, session));
    // hello, hello, key exchange and finished; request for a cookie, hello and done, finished.
    let flights =
        |node, count| wire.sent(node, 0)[..count].iter().map(|flying| message(&flying.bytes)).collect::<Vec<_>>();
    assert_eq!(flights(CLIENT, 3), [(1, 0), (1, 1), (16, 2)]);
    assert_eq!(flights(SERVER, 2), [(3, 0), (2, 1)]);
}

#[test]
fn sessions_of_all_modes_stand_and_carry_requests() {
    for mode in MODES {
        let (mut wire, session) = Wire::open(mode);
        assert!(wire.works(session), "{mode:?}");
        assert_eq!(wire.server_sessions(), 1);
        let Peer::Session(theirs) = wire.nodes[SERVER].served[0] else { panic!("not in a session") };
        let identities = [(CLIENT, session), (SERVER, theirs)]
            .map(|(node, session)| wire.nodes[node].endpoint.session(session).unwrap().identity.unwrap());
        let expected = match mode {
            Mode::Psk => identities.iter().all(|identity| matches!(identity, PeerIdentity::Psk(_))),
            _ => identities.iter().all(|identity| matches!(identity, PeerIdentity::Certificate(_))),
        };
        assert!(expected, "{identities:?}");
    }
}

#[test]
fn without_loss_nothing_is_repeated() {
    for (mode, flights) in MODES.into_iter().zip([6, 6, 4]) {
        let (client, server) = pair(mode);
        for number in 0..100 {
            let mut wire = Wire::new(&server);
            let session = wire.connect(CLIENT, &client);
            wire.run(LATENCY * flights);
            assert!(wire.is_open(CLIENT, session), "{mode:?}, {number}");
            wire.run(LATENCY);
            assert_eq!(wire.server_sessions(), 1, "{mode:?}, {number}");
        }
    }
}

#[test]
fn who_watches_sees_the_messages_inside_of_sessions() {
    let mut wire = Wire::new(&psk_server());
    wire.nodes[SERVER].endpoint.watch();
    let session = wire.connect(CLIENT, &psk_client());
    let _ = wire.get(CLIENT, session);
    wire.settle();
    assert_eq!(wire.nodes[CLIENT].endpoint.poll_message(), None, "nobody has asked for it");
    let Peer::Session(theirs) = wire.nodes[SERVER].served[0] else { panic!("not in a session") };
    let addr = wire.nodes[CLIENT].addr;
    let messages: Vec<_> = core::iter::from_fn(|| wire.nodes[SERVER].endpoint.poll_message()).collect();
    let code = |payload: &[u8]| Message::decode(payload.to_vec().into()).unwrap().code;
    let seen: Vec<_> = messages.iter().map(|message| (message.is_ours, code(&message.payload))).collect();
    assert_eq!(seen, [(false, Code::GET), (true, Code::CONTENT)]);
    assert!(messages.iter().all(|message| message.session == theirs && message.addr == addr));
    let records: Vec<_> = wire.log.iter().map(|flying| flying.bytes.as_slice()).collect();
    let wrapped =
        |message: &[u8]| records.iter().any(|record| record.windows(message.len()).any(|part| part == message));
    assert!(!messages.iter().any(|message| wrapped(&message.payload)), "they are in the clear here alone");
}
