//! Handshakes that go well, and those that do not.

use super::*;
use crate::config::EmsPolicy;
use crate::credentials::{PskKey, PskLookup, PskStore};
use crate::engine::SendError;
use crate::record::{Cipher, Content, records};

const OVERHEAD: usize = Cipher::Aes128Ccm8.overhead();

#[tokio::test(start_paused = true)]
async fn a_session_with_a_key_stands_and_leaves_no_task() {
    let mut pair = psk();
    pair.settle().await;
    assert_eq!(pair.client.identity, Some(PeerIdentity::Psk(b"client".to_vec())));
    assert_eq!(pair.server.identity, Some(PeerIdentity::Psk(b"client".to_vec())));
    assert!(pair.server.proven);
    assert!(pair.works().await);
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_with_certificates_stands_and_shows_the_intermediates() {
    let certificates = Certificates::new();
    let client = certificates.client().build().unwrap();
    let server = certificates.server(ClientAuth::Required).build().unwrap();
    let mut pair = Pair::named(&client, &server, Some(&name()));
    pair.settle().await;
    assert_eq!(pair.client.identity, Some(PeerIdentity::Certificate(certificates.server.chain().to_vec())));
    assert_eq!(certificates.server.chain().len(), 2);
    assert_eq!(pair.server.identity, Some(PeerIdentity::Certificate(certificates.client.chain().to_vec())));
    assert!(pair.works().await);
    assert_eq!(tasks().await, 0);
}

/// The suite that a server's hello chooses.
fn chosen(server: &End) -> [u8; 2] {
    let hello = |datagram: &Vec<u8>| {
        let record = records(datagram).next()?;
        (record.content == Content::Handshake && record.body()[0] == 2).then(|| {
            let body = &record.body()[12 + 34..];
            let suite = 1 + usize::from(body[0]);
            [body[suite], body[suite + 1]]
        })
    };
    server.sent.iter().find_map(|(_, datagram)| hello(datagram)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn with_certificates_the_mandatory_suite_comes_first() {
    let certificates = Certificates::new();
    let server = certificates.server(ClientAuth::None).build().unwrap();
    let mut pair = Pair::named(&certificates.client().build().unwrap(), &server, Some(&name()));
    pair.settle().await;
    assert!(pair.works().await);
    assert_eq!(chosen(&pair.server), [0xc0, 0xae]);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_certificate_is_anonymous_where_it_may_be() {
    let certificates = Certificates::new();
    for clients in [ClientAuth::None, ClientAuth::Optional] {
        let (client, server) =
            (certificates.anonymous().build().unwrap(), certificates.server(clients).build().unwrap());
        let mut pair = Pair::named(&client, &server, Some(&name()));
        pair.settle().await;
        assert_eq!(pair.server.identity, Some(PeerIdentity::Anonymous), "{clients:?}");
        assert!(pair.works().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_certificate_is_refused_where_it_must_have_one() {
    let certificates = Certificates::new();
    let server = certificates.server(ClientAuth::Required).build().unwrap();
    let mut pair = Pair::named(&certificates.anonymous().build().unwrap(), &server, Some(&name()));
    pair.settle().await;
    assert_eq!(pair.server.ended, Some(SessionEnd::NoCertificate));
    assert_eq!(pair.server.identity, None);
    assert_eq!(pair.client.identity, None);
}

#[tokio::test(start_paused = true)]
async fn a_server_of_an_unknown_authority_or_another_name_never_stands() {
    let certificates = Certificates::new();
    let server = certificates.server(ClientAuth::None).build().unwrap();
    let stranger = CertConfig::new(trust(&certificates.stranger));
    let stranger = SecurityConfig::client(stranger).backend(Backend::WebrtcDtls).build().unwrap();
    let known = certificates.anonymous().build().unwrap();
    let other = ServerName::dns("other.example").unwrap();
    for (client, name, why, alert) in
        [(&stranger, name(), SessionEnd::UnknownAuthority, 48), (&known, other, SessionEnd::NameMismatch, 46)]
    {
        let mut pair = Pair::named(client, &server, Some(&name));
        pair.settle().await;
        assert_eq!((pair.client.ended, &pair.client.identity), (Some(why), &None));
        assert_eq!(pair.server.ended, Some(SessionEnd::Alert(alert)), "the server is told");
        assert_eq!(pair.server.identity, None);
    }
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_of_an_unknown_authority_never_stands() {
    let certificates = Certificates::new();
    let server = SecurityConfig::server()
        .certificate(certificates.server.clone())
        .client_auth(ClientAuth::Optional)
        .verifier(trust(&certificates.stranger))
        .backend(Backend::WebrtcDtls)
        .build()
        .unwrap();
    let mut pair = Pair::named(&certificates.client().build().unwrap(), &server, Some(&name()));
    pair.settle().await;
    assert_eq!((pair.server.ended, &pair.server.identity), (Some(SessionEnd::UnknownAuthority), &None));
    assert_eq!(pair.client.identity, None);
}

#[tokio::test(start_paused = true)]
async fn one_server_takes_keys_and_certificates() {
    let certificates = Certificates::new();
    let keys = PskTable::new().with("client", "the key of the client").unwrap();
    let server = certificates.server(ClientAuth::Required).psk(keys).build().unwrap();
    let mut by_key = Pair::new(&psk_client("client", "the key of the client").build().unwrap(), &server);
    by_key.settle().await;
    assert!(by_key.works().await);
    let mut by_certificate = Pair::named(&certificates.client().build().unwrap(), &server, Some(&name()));
    by_certificate.settle().await;
    assert!(by_certificate.works().await);
    assert!(matches!(by_certificate.server.identity, Some(PeerIdentity::Certificate(_))));
}

#[tokio::test(start_paused = true)]
async fn ends_with_nothing_in_common_part_at_once() {
    let certificates = Certificates::new();
    let mut pair = Pair::new(&certificates.anonymous().build().unwrap(), &psk_server().build().unwrap());
    pair.settle().await;
    assert_eq!(pair.server.ended, Some(SessionEnd::Protocol));
    assert_eq!(pair.server.bytes_sent(), 15, "an alert, and no task was made for it");
    assert_eq!(pair.client.ended, Some(SessionEnd::Alert(40)));
    assert_eq!(tasks().await, 0);
}

/// What goes over the wire, without what is random: who, the length, and the type of each record.
fn shape(pair: &Pair) -> Vec<(usize, Vec<(Content, u16)>)> {
    let all = pair.client.sent.iter().chain(&pair.server.sent);
    all.map(|(_, sent)| (sent.len(), records(sent).map(|record| (record.content, record.epoch)).collect())).collect()
}

#[tokio::test(start_paused = true)]
async fn an_unknown_identity_looks_like_a_wrong_key() {
    let server = psk_server().build().unwrap();
    let mut shapes = Vec::new();
    for (identity, key) in [("client", "another key"), ("tneilc", "another key")] {
        let mut pair = Pair::new(&psk_client(identity, key).build().unwrap(), &server);
        pair.settle().await;
        assert_eq!((pair.server.ended, &pair.server.identity), (Some(SessionEnd::WrongKey), &None));
        assert_eq!(pair.client.identity, None);
        let alert = pair.server.sent.last().unwrap().1.clone();
        assert_eq!(alert[13..], [2, 115]);
        shapes.push(shape(&pair));
    }
    assert_eq!(shapes[0], shapes[1]);
}

#[tokio::test(start_paused = true)]
async fn an_alert_ends_a_handshake() {
    let mut client = End::connect(&psk_client("client", "key").build().unwrap(), None);
    sleep(Duration::from_millis(10)).await;
    client.engine.handle(NOW, &hex_literal::hex!("15 fefd 0000 000000000000 0002 0170"));
    client.poll(Duration::ZERO);
    assert_eq!(client.ended, None, "a warning");
    client.engine.handle(NOW, &hex_literal::hex!("15 fefd 0000 000000000000 0002 0228"));
    client.poll(Duration::ZERO);
    assert_eq!(client.ended, Some(SessionEnd::Alert(40)));
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn each_datagram_of_a_handshake_may_be_lost() {
    let certificates = Certificates::new();
    let client = certificates.client().build().unwrap();
    let server = certificates.server(ClientAuth::Required).build().unwrap();
    let make: [Box<dyn Fn() -> Pair>; 2] =
        [Box::new(psk), Box::new(move || Pair::named(&client, &server, Some(&name())))];
    for (mode, make) in make.iter().enumerate() {
        for from in [From::Client, From::Server] {
            for lost in 0..6 {
                let mut pair = make().fate(move |sender, number, datagram| match (sender, number) == (from, lost) {
                    true if datagram[0] != 23 => vec![],
                    _ => vec![datagram.to_vec()],
                });
                pair.run(secs(5)).await;
                assert!(pair.is_open(), "{mode} {from:?} {lost}");
                assert!(pair.works().await, "{mode} {from:?} {lost}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_flight_is_sent_again_until_the_client_has_spoken() {
    // Datagram 2 of the server is ChangeCipherSpec and Finished.
    let mut pair = psk().fate(|from, number, datagram| match (from, number) {
        (From::Server, 2 | 3) => vec![],
        _ => vec![datagram.to_vec()],
    });
    pair.run(Duration::from_millis(500)).await;
    assert!(pair.server.is_open() && !pair.client.is_open());
    pair.run(secs(4)).await;
    assert!(pair.is_open());
    assert_eq!(pair.server.sent.len(), 5);
    // ChangeCipherSpec and Finished once more, under numbers that no copy has.
    let shape = |sent: &[u8]| {
        records(sent).map(|record| (record.content, record.epoch, record.bytes.len())).collect::<Vec<_>>()
    };
    let numbers = |sent: &[u8]| records(sent).map(|record| record.number).collect::<Vec<_>>();
    let [first, last] = [2, 4].map(|number: usize| pair.server.sent[number].1.as_slice());
    assert_eq!(shape(first), [(Content::ChangeCipherSpec, 0, 14), (Content::Handshake, 1, 53)]);
    assert_eq!((shape(last), numbers(first), numbers(last)), (shape(first), vec![3, 0], vec![5, 2]));

    assert!(pair.works().await);
    let finished = pair.client.sent.iter().rev().find(|(_, sent)| sent[0] == 22).unwrap().1.clone();
    let before = pair.server.sent.len();
    pair.server.engine.handle(NOW, &finished);
    pair.settle().await;
    assert_eq!(pair.server.sent.len(), before, "it has spoken");
}

#[tokio::test(start_paused = true)]
async fn the_last_flight_is_repeated_five_times_at_most() {
    let mut pair = psk();
    pair.settle().await;
    let finished = pair.client.sent.iter().rev().find(|(_, sent)| sent[0] == 22).unwrap().1.clone();
    let before = pair.server.sent.len();
    for _ in 0..20 {
        pair.server.engine.handle(NOW, &finished);
    }
    pair.settle().await;
    assert_eq!(pair.server.sent.len() - before, 5);
    assert!(pair.works().await);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_before_the_session_stands_is_kept_for_it() {
    // The client's first message overtakes its last flight, as seen by the server: both are delivered late, in the wrong order.
    let mut held: Vec<Vec<u8>> = Vec::new();
    let mut pair = psk();
    pair.settle().await;
    assert!(pair.is_open());
    let mut pair = psk().fate(move |from, number, datagram| match (from, number) {
        (From::Server, 2) => vec![datagram.to_vec()],
        (From::Client, 2) => {
            // Key exchange, ChangeCipherSpec and Finished, cut so that the encrypted record comes first.
            let all: Vec<Vec<u8>> = records(datagram).map(|record| record.bytes.to_vec()).collect();
            held.extend(all);
            held.drain(..).rev().collect()
        }
        _ => vec![datagram.to_vec()],
    });
    pair.run(secs(3)).await;
    assert!(pair.works().await);
}

#[tokio::test(start_paused = true)]
async fn a_hello_is_sent_at_the_pace_of_rfc_6347() {
    let client = psk_client("client", "key").build().unwrap();
    let mut pair = Pair::new(&client, &psk_server().build().unwrap()).fate(|_, _, _| vec![]);
    pair.run(secs(45)).await;
    let at: Vec<u64> = pair.client.sent.iter().map(|(at, _)| (at.as_millis() as u64 + 100) / 1000).collect();
    assert_eq!(at, [0, 1, 3, 7, 15, 31]);
    assert_eq!(pair.client.ended, Some(SessionEnd::HandshakeTimeout));
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_dropped_in_its_handshake_leaves_no_task() {
    let mut pair = psk().fate(|from, number, datagram| match (from, number) {
        (From::Client, 2..) => vec![],
        _ => vec![datagram.to_vec()],
    });
    pair.settle().await;
    assert!(tasks().await >= 4);
    drop(pair);
    assert_eq!(tasks().await, 0);
    let mut pair = psk();
    pair.settle().await;
    pair.client.engine.close(NOW);
    drop(pair);
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn long_chains_go_through_short_datagrams() {
    let certificates = Certificates::new();
    let client = certificates.client().max_record(256).build().unwrap();
    let server = certificates.server(ClientAuth::Required).max_record(256).build().unwrap();
    let mut pair = Pair::named(&client, &server, Some(&name()));
    pair.settle().await;
    assert!(pair.works().await);
    let longest = pair.client.sent.iter().chain(&pair.server.sent).map(|(_, sent)| sent.len()).max().unwrap();
    assert!(longest <= 256, "{longest}");
}

#[tokio::test(start_paused = true)]
async fn messages_keep_to_the_length_of_a_datagram() {
    let mut pair = psk();
    assert_eq!(pair.client.engine.send(NOW, b"early"), Err(SendError::NotEstablished));
    pair.settle().await;
    assert_eq!(pair.client.engine.send(NOW, &[0; 1232 - OVERHEAD]), Ok(()));
    assert_eq!(pair.client.engine.send(NOW, &[0; 1232 - OVERHEAD + 1]), Err(SendError::TooLarge));
    pair.settle().await;
    assert_eq!(pair.server.got.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn close_notify_ends_both() {
    let mut pair = psk();
    pair.settle().await;
    pair.client.engine.send(NOW, b"last").unwrap();
    pair.client.engine.close(NOW);
    pair.settle().await;
    assert_eq!(pair.server.got, [b"last"]);
    assert_eq!(pair.server.ended, Some(SessionEnd::Peer));
    assert_eq!(pair.client.ended, None, "whoever closes it knows");
    assert_eq!(pair.client.engine.send(NOW, b"more"), Err(SendError::NotEstablished));
    assert_eq!(pair.server.engine.send(NOW, b"more"), Err(SendError::NotEstablished));
}

#[tokio::test(start_paused = true)]
async fn the_key_log_of_both_ends_is_the_same() {
    let ((ours, client), (theirs, server)) = (log(), log());
    let client = psk_client("client", "the key of the client").key_log(client).build().unwrap();
    let mut pair = Pair::new(&client, &psk_server().key_log(server).build().unwrap());
    pair.settle().await;
    assert!(pair.works().await);
    let lines = ours.lock().unwrap().clone();
    assert_eq!(lines, *theirs.lock().unwrap());
    let words: Vec<&str> = lines[0].split(' ').collect();
    assert_eq!((lines.len(), words[0], words[1].len(), words[2].len()), (1, "CLIENT_RANDOM", 64, 96));
    let hello = &pair.client.sent[0].1;
    let random: String = hello[27..59].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(words[1], random);
}

#[tokio::test(start_paused = true)]
async fn the_name_of_the_server_is_indicated() {
    let certificates = Certificates::new();
    let client = certificates.anonymous().build().unwrap();
    let mut pair = Pair::named(&client, &certificates.server(ClientAuth::None).build().unwrap(), Some(&name()));
    pair.settle().await;
    assert!(pair.client.sent[0].1.windows(14).any(|part| part == b"server.example"));
    assert_eq!(super::super::indicated(Some(&ServerName::from(core::net::IpAddr::from([192, 0, 2, 1])))), "localhost");
    assert_eq!(super::super::indicated(None), "localhost");
}

#[test]
fn without_a_runtime_a_session_ends_at_once() {
    let mut client = End::connect(&psk_client("client", "key").build().unwrap(), None);
    let mut server = End::accept(&psk_server().build().unwrap());
    assert!(client.poll(Duration::ZERO).is_empty() && server.poll(Duration::ZERO).is_empty());
    assert_eq!((client.ended, server.ended), (Some(SessionEnd::NoRuntime), Some(SessionEnd::NoRuntime)));
}

#[test]
fn a_runtime_that_goes_away_ends_its_handshakes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut client = runtime.block_on(async { End::connect(&psk_client("client", "key").build().unwrap(), None) });
    drop(runtime);
    client.poll(Duration::ZERO);
    assert_eq!(client.ended, Some(SessionEnd::NoRuntime));
}

/// Panics when it is asked.
struct Broken;

impl PskStore for Broken {
    fn lookup(&self, _: &[u8], _: UdpAddr) -> PskLookup {
        panic!("a store that is broken");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_ends_one_handshake() {
    let server = SecurityConfig::server().psk(Broken).backend(Backend::WebrtcDtls).build().unwrap();
    let mut pair = Pair::new(&psk_client("client", "key").build().unwrap(), &server);
    pair.settle().await;
    assert_eq!(pair.server.ended, Some(SessionEnd::WrongKey));
}

#[tokio::test(start_paused = true)]
async fn without_the_extended_master_secret_both_go_on_only_if_they_may() {
    let require = psk_client("client", "the key of the client").build().unwrap();
    let prefer = psk_client("client", "the key of the client").ems(EmsPolicy::Prefer).build().unwrap();
    let server = psk_server().ems(EmsPolicy::Prefer).build().unwrap();
    for client in [require, prefer] {
        let mut pair = Pair::new(&client, &server);
        pair.settle().await;
        assert!(pair.works().await, "both have it");
    }
}

#[test]
fn keys_are_those_of_the_table() {
    let key = PskKey::new("the key of the client").unwrap();
    assert_eq!(key.bytes(), b"the key of the client");
}
