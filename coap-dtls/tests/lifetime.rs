//! How long sessions live: reuse, restart, silence, idleness, and who loses its place.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod common;

use coap_core::{Code, Failure, Peer, SessionEnd, SessionId};
use coap_dtls::{CertConfig, ClientPsk, ConnectError, DangerousAcceptAny, Limits, SecurityConfig, ServerName};
use common::*;

#[test]
fn a_session_is_reused_for_the_same_address_name_and_configuration_only() {
    let (mut wire, session) = {
        let mut wire = Wire::new(&psk_server());
        let client = psk_client();
        let to = wire.nodes[SERVER].addr;
        let session = wire.connect(CLIENT, &client);
        assert_eq!(wire.connect(CLIENT, &client.clone()), session, "while it is being made");
        wire.settle();
        assert_eq!(wire.connect(CLIENT, &client), session, "when it stands");
        let name = ServerName::dns("example.org").unwrap();
        let now = wire.now;
        let occupied = Err(ConnectError::Occupied { session });
        let endpoint = &mut wire.nodes[CLIENT].endpoint;
        assert_eq!(endpoint.connect(now, to, 0, &client, Some(&name)), occupied, "with another name");
        assert_eq!(endpoint.connect(now, to, 0, &psk_client(), None), occupied, "with another configuration");
        assert_ne!(endpoint.connect(now, to, 1, &client, None), Ok(session), "from another socket");
        (wire, session)
    };
    assert!(wire.works(session));
}

#[test]
fn a_group_has_no_session() {
    let mut wire = Wire::new(&psk_server());
    let now = wire.now;
    for address in ["224.0.1.187:5684", "192.0.2.9:0"] {
        let refused = wire.nodes[CLIENT].endpoint.connect(now, udp(address), 0, &psk_client(), None);
        assert_eq!(refused, Err(ConnectError::Address));
    }
}

#[test]
fn what_does_not_fit_into_a_record_is_refused_before_it_is_sent() {
    let mut wire = Wire::new(&psk_server());
    let client = ClientPsk::new("client", "the key of the client").unwrap();
    let client = SecurityConfig::client(client).max_record(1_152 + 28).build().unwrap();
    let (now, to) = (wire.now, wire.nodes[SERVER].addr);
    let refused = wire.nodes[CLIENT].endpoint.connect(now, to, 0, &client, None);
    assert_eq!(refused, Err(ConnectError::TooLong { max_datagram: 1_152, room: 1_151 }));
    assert_eq!(wire.nodes[CLIENT].endpoint.session_stats().begun, 0);
}

#[test]
fn what_the_endpoint_refuses_leaves_no_trace() {
    let mut wire = Wire::new(&psk_server());
    let (now, to) = (wire.now, wire.nodes[SERVER].addr);
    let endpoint = &mut wire.nodes[CLIENT].endpoint;
    endpoint.begin_shutdown(now);
    let refused = endpoint.connect(now, to, 0, &psk_client(), None);
    assert_eq!(refused, Err(ConnectError::Endpoint(coap_core::RequestError::Shutdown)));
    assert_eq!(endpoint.session_stats().begun, 0);
    wire.settle();
    assert!(wire.log.is_empty());
}

#[test]
fn an_endpoint_with_sessions_moves_between_threads() {
    const fn is_send<T: Send>() {}
    is_send::<coap_dtls::SecureEndpoint>();
}

#[test]
fn a_session_that_is_closed_ends_what_is_under_way_in_it_and_the_peer_is_told() {
    for mode in MODES {
        let (mut wire, session) = Wire::open(mode);
        let request = wire.get(CLIENT, session);
        let now = wire.now;
        assert!(wire.nodes[CLIENT].endpoint.disconnect(now, session));
        wire.settle();
        assert_eq!(wire.failure(CLIENT, request), Some(Failure::Session(SessionEnd::Local)));
        assert_eq!(wire.server_sessions(), 0);
        assert_eq!(wire.nodes[SERVER].endpoint.session_stats().closed.peer, 1, "{mode:?}");
        assert!(!wire.nodes[CLIENT].endpoint.disconnect(now, session), "there is none any more");

        let late = wire.get(CLIENT, session);
        wire.settle();
        assert_eq!(wire.failure(CLIENT, late), Some(Failure::Session(SessionEnd::Gone)));
    }
}

#[test]
fn a_client_that_has_restarted_gets_a_new_session_and_the_old_one_ends_with_it() {
    for mode in MODES {
        let (client, server) = pair(mode);
        let mut wire = Wire::new(&server);
        let first = wire.connect(CLIENT, &client);
        wire.settle();
        assert!(wire.works(first));
        let old = wire.nodes[SERVER].served[0];
        // It has forgotten all that it knew, and has its address still.
        wire.nodes[CLIENT] = Node::new("192.0.2.1:1000", Limits::default(), 77);
        let second = wire.connect(CLIENT, &client);
        wire.run(LATENCY * 3);
        assert_eq!(wire.server_sessions(), 1, "the old one stands until the new one does");
        wire.settle();
        assert!(wire.works(second), "{mode:?}");
        let stats = wire.nodes[SERVER].endpoint.session_stats();
        assert_eq!((stats.sessions, stats.closed.replaced), (1, 1));
        let new = *wire.nodes[SERVER].served.last().unwrap();
        assert_ne!(old, new, "a number is never used again");
        let Peer::Session(old) = old else { panic!("not in a session") };
        assert!(wire.nodes[SERVER].endpoint.session(old).is_none());
    }
}

#[test]
fn a_hello_from_the_address_of_a_session_does_it_no_harm() {
    for mode in MODES {
        let (client, server) = pair(mode);
        let mut wire = Wire::new(&server);
        let session = wire.connect(CLIENT, &client);
        wire.settle();
        // Somebody at the same address sends hellos, and never goes on.
        for seed in 0..20 {
            let mut other = Wire::new(&server);
            other.nodes[CLIENT] = Node::new("192.0.2.1:1000", Limits::default(), 100 + seed);
            other.connect(CLIENT, &client);
            other.run(LATENCY / 2);
            let hello = other.log[0].bytes.clone();
            wire.inject(udp("192.0.2.1:1000"), udp("192.0.2.9:5684"), &hello);
            wire.settle();
        }
        assert!(wire.works(session), "{mode:?}");
        wire.run(secs(60));
        assert!(wire.works(session), "{mode:?}");
        let stats = wire.nodes[SERVER].endpoint.session_stats();
        assert_eq!((stats.sessions, stats.half_open, stats.closed.total()), (1, 0, 0), "{mode:?}");
    }
}

#[test]
fn where_nobody_answers_the_next_request_shakes_hands_anew() {
    for mode in MODES {
        let (client, server) = pair(mode);
        let mut wire = Wire::new(&server);
        let old = wire.connect(CLIENT, &client);
        wire.settle();
        assert!(wire.works(old));
        // The server has restarted, and drops records that it has no keys for.
        wire.nodes[SERVER] = Node::new("192.0.2.9:5684", Limits::default(), 55);
        wire.nodes[SERVER].endpoint.listen(0, &server).unwrap();
        let lost = wire.get(CLIENT, old);
        assert_eq!(wire.connect(CLIENT, &client), old, "nothing is known of it yet");
        wire.run(secs(100));
        assert_eq!(wire.failure(CLIENT, lost), Some(Failure::NoAck), "{mode:?}");

        let new = wire.connect(CLIENT, &client);
        assert_ne!(new, old);
        assert_eq!(wire.connect(CLIENT, &client), new, "the one that is being made");
        let (waits, other) = (wire.get(CLIENT, new), wire.get(CLIENT, old));
        wire.settle();
        assert_eq!(wire.answer(CLIENT, waits), Some(Code::CONTENT), "{mode:?}");
        assert_eq!(wire.failure(CLIENT, other), Some(Failure::Session(SessionEnd::Silent)));
        assert_eq!(wire.connect(CLIENT, &client), new);
    }
}

#[test]
fn a_session_in_which_nothing_is_said_is_closed() {
    let (client, server) = pair(Mode::Psk);
    let mut wire = Wire::empty();
    wire.add("192.0.2.1:1000", Limits::default());
    wire.add("192.0.2.9:5684", Limits::builder().idle(secs(600)).build().unwrap());
    wire.nodes[SERVER].endpoint.listen(0, &server).unwrap();
    let session = wire.connect(CLIENT, &client);
    wire.settle();
    for _ in 0..3 {
        wire.run(secs(500));
        assert!(wire.works(session), "it has been used meanwhile");
    }
    wire.run(secs(599));
    assert_eq!(wire.server_sessions(), 1);
    wire.run(secs(2));
    assert_eq!(wire.nodes[SERVER].endpoint.session_stats().closed.idle, 1);
    assert_eq!(wire.nodes[CLIENT].endpoint.session_stats().closed.peer, 1, "its peer has been told");
}

#[test]
fn a_new_session_takes_the_place_of_the_one_that_has_been_silent_the_longest() {
    let (client, server) = pair(Mode::Psk);
    let mut wire = Wire::empty();
    wire.add("192.0.2.1:1000", Limits::default());
    wire.add("192.0.2.9:5684", Limits::builder().max_sessions(3).build().unwrap());
    wire.nodes[SERVER].endpoint.listen(0, &server).unwrap();
    let clients: Vec<_> = (1..=3).map(|n| wire.add(&format!("192.0.2.{}:1000", 100 + n), Limits::default())).collect();
    let mut sessions = Vec::new();
    for node in &clients {
        sessions.push(wire.connect(*node, &client));
        wire.run(secs(10));
    }
    // The first speaks: the second has been silent the longest.
    let request = wire.get(clients[0], sessions[0]);
    wire.run(secs(10));
    assert_eq!(wire.answer(clients[0], request), Some(Code::CONTENT));
    let session = wire.connect(CLIENT, &client);
    wire.run(secs(10));
    assert!(wire.works(session));
    let open: Vec<_> = clients.iter().zip(&sessions).map(|(node, session)| wire.is_open(*node, *session)).collect();
    assert_eq!(open, [true, false, true]);
    let stats = wire.nodes[SERVER].endpoint.session_stats();
    assert_eq!((stats.sessions, stats.closed.idle), (3, 1));
}

#[test]
fn sessions_of_ours_do_not_lose_their_place_to_others() {
    let (client, server) = pair(Mode::Psk);
    let mut wire = Wire::empty();
    wire.add("192.0.2.1:1000", Limits::builder().max_sessions(1).build().unwrap());
    wire.add("192.0.2.9:5684", Limits::default());
    wire.nodes[SERVER].endpoint.listen(0, &server).unwrap();
    let session = wire.connect(CLIENT, &client);
    let now = wire.now;
    let refused = wire.nodes[CLIENT].endpoint.connect(now, udp("192.0.2.10:5684"), 0, &client, None);
    assert_eq!(refused, Err(ConnectError::Full));
    wire.settle();
    assert!(wire.works(session));
}

#[test]
fn a_forged_alert_does_not_keep_a_client_from_its_session_the_second_is_believed() {
    let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];
    for mode in MODES {
        for forged in [1, 2] {
            let (client, server) = pair(mode);
            let mut wire = Wire::new(&server);
            // Nobody else answers in the second case.
            wire.fate = (forged == 2).then(|| -> Fate { Box::new(|_| Vec::new()) });
            let session = wire.connect(CLIENT, &client);
            let request = wire.get(CLIENT, session);
            for _ in 0..forged {
                wire.inject(udp("192.0.2.9:5684"), udp("192.0.2.1:1000"), &alert);
                wire.run(secs(1));
            }
            wire.run(secs(2));
            let stats = wire.nodes[CLIENT].endpoint.session_stats();
            assert_eq!(stats.retried, 1, "{mode:?}");
            if forged == 1 {
                assert_eq!(wire.answer(CLIENT, request), Some(Code::CONTENT), "{mode:?}");
            } else if mode != Mode::Dtls13 {
                let end = SessionEnd::Alert(40);
                assert_eq!(wire.failure(CLIENT, request), Some(Failure::Session(end)), "{mode:?}");
            } else {
                // Before it knows the version, it takes an alert for a server that it does not understand.
                assert!(matches!(wire.failure(CLIENT, request), Some(Failure::Session(_))));
            }
        }
    }
}

#[test]
fn a_cookie_that_is_asked_for_in_the_name_of_the_server_costs_half_a_second() {
    for mode in MODES {
        let (client, server) = pair(mode);
        let mut wire = Wire::new(&server);
        let session = wire.connect(CLIENT, &client);
        // As long as ours, and for nothing. The server answers the hello that it comes back in with another.
        let mut forged = [&[
            22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 47, 3, 0, 0, 35, 0, 0, 0, 0, 0, 0, 0, 35, 0xfe, 0xff, 32,
        ][..]]
        .concat();
        forged.extend([7; 32]);
        wire.inject(udp("192.0.2.9:5684"), udp("192.0.2.1:1000"), &forged);
        let request = wire.get(CLIENT, session);
        wire.run(secs(2));
        assert_eq!(wire.answer(CLIENT, request), Some(Code::CONTENT), "{mode:?}");
    }
}

#[test]
fn a_handshake_after_one_that_was_hung_up_takes_half_a_second_more() {
    for mode in MODES {
        let (client, server) = pair(mode);
        let mut wire = Wire::new(&server);
        let first = wire.connect(CLIENT, &client);
        wire.run(LATENCY / 2);
        let now = wire.now;
        wire.nodes[CLIENT].endpoint.disconnect(now, first);
        // What the server says to the hello of the first arrives in the second.
        let session = wire.connect(CLIENT, &client);
        let request = wire.get(CLIENT, session);
        wire.run(secs(2));
        assert_eq!(wire.answer(CLIENT, request), Some(Code::CONTENT), "{mode:?}");
    }
}

#[test]
fn an_icmp_error_ends_a_handshake_that_nobody_has_answered_and_nothing_else() {
    let (client, server) = pair(Mode::Psk);
    let mut wire = Wire::new(&server);
    let peer = Peer::Udp(wire.nodes[SERVER].addr);
    let unanswered = wire.connect(CLIENT, &client);
    let request = wire.get(CLIENT, unanswered);
    let now = wire.now;
    wire.nodes[CLIENT].endpoint.handle_unreachable(now, peer);
    wire.settle();
    assert_eq!(wire.failure(CLIENT, request), Some(Failure::Session(SessionEnd::Unreachable)));

    let session = wire.connect(CLIENT, &client);
    wire.settle();
    let now = wire.now;
    wire.nodes[CLIENT].endpoint.handle_unreachable(now, peer);
    assert!(wire.works(session));
}

/// A handshake that fails: why, at the client.
fn failure(wire: &mut Wire, session: SessionId) -> Option<Failure> {
    let request = wire.get(CLIENT, session);
    wire.run(secs(100));
    assert_eq!(wire.server_sessions(), 0);
    assert_eq!(wire.nodes[SERVER].served.len(), 0);
    assert_eq!(wire.nodes[SERVER].endpoint.session_stats().established, 0);
    wire.failure(CLIENT, request)
}

#[test]
fn an_unknown_identity_fails_as_a_wrong_key_does() {
    let mut seen = Vec::new();
    for (identity, key) in [("client", "another key"), ("nobody", "the key of the client")] {
        let mut wire = Wire::new(&psk_server());
        let client = SecurityConfig::client(ClientPsk::new(identity, key).unwrap()).build().unwrap();
        let session = wire.connect(CLIENT, &client);
        // decrypt_error (RFC 4279 §2).
        assert_eq!(failure(&mut wire, session), Some(Failure::Session(SessionEnd::Alert(51))));
        assert_eq!(wire.nodes[SERVER].endpoint.session_stats().failed.wrong_key, 2, "it was begun anew once");
        let shapes: Vec<_> = wire.log.iter().map(|it| (it.at - wire.log[0].at, it.from, it.bytes.len())).collect();
        seen.push(shapes);
    }
    assert_eq!(seen[0], seen[1], "on the wire they look the same");
}

#[test]
fn a_certificate_that_is_refused_never_stands() {
    let known = || Only(certificate().chain().to_vec());
    for versions in [coap_dtls::Versions::V12, coap_dtls::Versions::V12AndV13] {
        // The client does not know the server.
        let client = CertConfig::new(Only(Vec::new())).own(certificate());
        let client = SecurityConfig::client(client).versions(versions).build().unwrap();
        let server = SecurityConfig::server().certificate(certificate()).versions(versions).build().unwrap();
        let mut wire = Wire::new(&server);
        let session = wire.connect(CLIENT, &client);
        let why = failure(&mut wire, session);
        assert_eq!(why, Some(Failure::Session(SessionEnd::UnknownAuthority)), "{versions:?}");
        assert_eq!(wire.nodes[CLIENT].endpoint.session_stats().established, 0);

        // The server does not know the client.
        let client = SecurityConfig::client(CertConfig::new(known()).own(certificate())).versions(versions);
        let server = SecurityConfig::server().certificate(certificate()).versions(versions);
        let server = server.client_auth(coap_dtls::ClientAuth::Required).verifier(Only(Vec::new()));
        let mut wire = Wire::new(&server.build().unwrap());
        let session = wire.connect(CLIENT, &client.build().unwrap());
        // A client of DTLS 1.3 is done before the server has seen its certificate, and is not told in the clear.
        let why = failure(&mut wire, session);
        assert!(why.is_some_and(|why| matches!(why, Failure::Session(_) | Failure::NoAck)), "{versions:?}: {why:?}");
        assert!(wire.nodes[SERVER].endpoint.session_stats().failed.certificate > 0);
    }
}

#[test]
fn a_client_without_a_certificate_is_anonymous_where_it_is_not_asked() {
    let server = SecurityConfig::server().certificate(certificate()).build().unwrap();
    let client = SecurityConfig::client(CertConfig::new(DangerousAcceptAny)).build().unwrap();
    let mut wire = Wire::new(&server);
    let session = wire.connect(CLIENT, &client);
    wire.settle();
    assert!(wire.works(session));
    let Peer::Session(theirs) = wire.nodes[SERVER].served[0] else { panic!("not in a session") };
    let identity = wire.nodes[SERVER].endpoint.session(theirs).unwrap().identity;
    assert_eq!(identity, Some(&coap_dtls::PeerIdentity::Anonymous));
}

#[test]
fn one_port_serves_keys_and_certificates() {
    let keys = coap_dtls::PskTable::new().with("client", "the key of the client").unwrap();
    let server = SecurityConfig::server().psk(keys).certificate(certificate()).build().unwrap();
    let other = SecurityConfig::client(CertConfig::new(DangerousAcceptAny)).build().unwrap();
    for client in [psk_client(), other] {
        let mut wire = Wire::new(&server);
        let session = wire.connect(CLIENT, &client);
        wire.settle();
        assert!(wire.works(session));
    }
}
