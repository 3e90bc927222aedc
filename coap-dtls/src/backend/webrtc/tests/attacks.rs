//! What others put on the wire.

use hex_literal::hex;

use super::*;
use crate::record::{Content, Record, records};

/// A hello of OpenSSL's kind, with both suites, by nobody in particular.
const HELLO: [u8; 112] = hex!(
    "16 fefd 0000 000000000000 0063 01 000057 0000 000000 000057 fefd"
    "101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f 00 00"
    "000a 00ae c0a8 00a8 c0ae c02b 01 00"
    "0023 000a 0006 0004 001d0017 000b 0002 0100 000d 0006 0004 0403 0401 0017 0000 ff01 0001 00"
);

/// Lets time pass for one engine.
async fn run(end: &mut End, span: Duration) {
    let start = time::Instant::now();
    while start.elapsed() < span {
        end.poll(start.elapsed());
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unproven_client_gets_no_more_than_it_has_sent_and_nothing_from_timers() {
    let mut server = End::accept(&psk_server().build().unwrap());
    for hellos in 1..=3 {
        server.engine.handle(NOW, &HELLO);
        run(&mut server, secs(10)).await;
        assert_eq!(server.sent.len(), hellos, "one answer each");
        assert!(server.bytes_sent() <= hellos * HELLO.len());
    }
    assert!(!server.proven);
    let (_, request) = &server.sent[0];
    assert_eq!(request[..3], hex!("16 feff"));
    assert_eq!(request[13], 3, "HelloVerifyRequest");
    assert!(server.sent.iter().all(|(_, sent)| sent == request));
    assert_eq!(run_out(&mut server).await, Some(SessionEnd::HandshakeTimeout));
    assert_eq!(tasks().await, 0);
}

async fn run_out(server: &mut End) -> Option<SessionEnd> {
    run(server, secs(120)).await;
    server.ended
}

#[tokio::test(start_paused = true)]
async fn a_forged_cookie_ends_a_half_open_session_with_one_alert_at_most() {
    let mut server = End::accept(&psk_server().build().unwrap());
    server.engine.handle(NOW, &HELLO);
    run(&mut server, secs(1)).await;
    let mut second = HELLO[..60].to_vec();
    second.push(20);
    second.extend([0xaa; 20]);
    second.extend(&HELLO[61..]);
    let (record, message) = (u16::try_from(second.len() - 13).unwrap(), (second.len() - 25) as u8);
    second[11..13].copy_from_slice(&record.to_be_bytes());
    (second[16], second[18], second[24]) = (message, 1, message);
    server.engine.handle(NOW, &second);
    run(&mut server, secs(1)).await;
    assert!(server.ended.is_some() && !server.proven);
    assert!(server.bytes_sent() <= HELLO.len() + second.len());
}

#[tokio::test(start_paused = true)]
async fn first_datagrams_that_are_no_hello_start_nothing() {
    let none: [&[u8]; 12] = [
        &hex!("16 fefd 0000 000000000000 0020 01 000057 0000 000000 000014 fefd101112131415161718191a1b1c1d1e1f2021"),
        &hex!("16 fefd 0000 000000000000 0020 01 ffffff 0000 000000 000014 fefd101112131415161718191a1b1c1d1e1f2021"),
        &hex!("16 fefd 0000 000000000000 0000"),
        &hex!("14 fefd 0000 000000000000 0001 01"),
        &hex!("15 fefd 0000 000000000000 0002 0228"),
        &hex!("17 fefd 0001 000000000001 0008 0000000000000000"),
        &hex!("17 fefd 0001 000000000001 0000"),
        &hex!("63 fefd 0000 000000000000 0003 616263"),
        &hex!("16 fefd 0000 000000000000 0018 14 00000c 0003 000000 00000c 000000000000000000000000"),
        &hex!("16 fefd 0000 000000000000 001f 03 000013 0000 000000 000013 feff10aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        &hex!("16"),
        &[],
    ];
    let mut server = End::accept(&psk_server().build().unwrap());
    for datagram in none {
        server.engine.handle(NOW, datagram);
        run(&mut server, Duration::from_millis(50)).await;
        assert_eq!((server.sent.len(), server.ended, tasks().await), (0, None, 0), "{datagram:02x?}");
    }
    // Each hello that is cut off, with lengths that fit.
    for length in 0..HELLO.len() - 25 {
        let mut cut = HELLO[..25 + length].to_vec();
        (cut[12], cut[16], cut[24]) = (12 + length as u8, length as u8, length as u8);
        let mut server = End::accept(&psk_server().build().unwrap());
        server.engine.handle(NOW, &cut);
        run(&mut server, Duration::from_millis(2)).await;
        // Without extensions it is a hello; but there is nothing in common.
        let ended = (length == 50).then_some(SessionEnd::Protocol);
        assert_eq!((server.bytes_sent(), server.ended), (if ended.is_some() { 15 } else { 0 }, ended), "{length}");
        assert_eq!(tasks().await, 0, "{length}");
    }
    // The next good one is answered.
    server.engine.handle(NOW, &HELLO);
    run(&mut server, Duration::from_millis(50)).await;
    assert_eq!(server.sent.len(), 1);
}

/// What anyone can send in the name of the peer.
fn forgeries() -> Vec<(&'static str, Vec<u8>)> {
    let sealed = |content: Content, number: u64, length: usize| {
        let mut record = Record::header(content, 1, number, length as u16).to_vec();
        record.resize(13 + length, 0x55);
        record
    };
    let mut all = vec![
        ("alert", hex!("15 fefd 0000 000000000009 0002 0228").to_vec()),
        ("close_notify", hex!("15 fefd 0000 000000000009 0002 0100").to_vec()),
        ("application data in the clear", hex!("17 fefd 0000 000000000009 0004 40010001").to_vec()),
        ("ChangeCipherSpec", hex!("14 fefd 0000 000000000009 0001 01").to_vec()),
        ("hello", HELLO.to_vec()),
        ("HelloRequest", hex!("16 fefd 0000 000000000009 000c 00 000000 0000 000000 000000").to_vec()),
        ("alert of epoch 1 in the clear", hex!("15 fefd 0001 000000000009 0002 0228").to_vec()),
        (
            "of a later epoch",
            hex!("17 fefd 0002 000000000000 0018 555555555555555555555555555555555555555555555555").to_vec(),
        ),
        ("connection identifier", hex!("19 fefd 0001 000000000000 0004 55555555").to_vec()),
        ("plain CoAP", hex!("40 01 0001").to_vec()),
        ("nothing", vec![]),
    ];
    for content in [Content::Alert, Content::Handshake, Content::ApplicationData] {
        for number in [0, 1, 2, 100, (1 << 48) - 1] {
            all.push(("forged record", sealed(content, number, 40)));
        }
        all.extend((0..17).map(|length| ("short record", sealed(content, 50, length))));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn nothing_forged_disturbs_a_session_or_is_answered() {
    let certificates = Certificates::new();
    let client = certificates.client().build().unwrap();
    let server = certificates.server(ClientAuth::Required).build().unwrap();
    for mut pair in [psk(), Pair::named(&client, &server, Some(&name()))] {
        pair.settle().await;
        assert!(pair.works().await);
        for (what, datagram) in forgeries() {
            let before = (pair.client.sent.len(), pair.server.sent.len());
            pair.client.engine.handle(NOW, &datagram);
            pair.server.engine.handle(NOW, &datagram);
            pair.run(Duration::from_millis(5)).await;
            assert_eq!((pair.client.sent.len(), pair.server.sent.len()), before, "{what} is answered");
            assert!(pair.works().await, "{what}: {datagram:02x?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_record_is_taken_once() {
    let mut pair = psk();
    pair.settle().await;
    assert!(pair.works().await);
    let all: Vec<Vec<u8>> = pair.client.sent.iter().map(|(_, sent)| sent.clone()).collect();
    let (got, sent) = (pair.server.got.len(), pair.server.sent.len());
    for datagram in all {
        pair.server.engine.handle(NOW, &datagram);
    }
    pair.settle().await;
    assert_eq!((pair.server.got.len(), pair.server.sent.len()), (got, sent));
    assert!(pair.works().await);
}

#[tokio::test(start_paused = true)]
async fn forged_datagrams_in_a_handshake_are_not_more_than_a_delay() {
    // What is encrypted can be forged only against a key exchange with a key, where the library takes it for a wrong one; and
    // messages in the clear can be forged by anyone before the real ones come. Alerts are tested by themselves.
    let harmless = |(what, datagram): &(&str, Vec<u8>)| {
        let handshake = datagram.first() == Some(&22) && datagram.get(4) == Some(&1);
        (!matches!(*what, "alert" | "close_notify" | "hello") && !handshake).then(|| datagram.clone())
    };
    let junk: Vec<Vec<u8>> = forgeries().iter().filter_map(harmless).collect();
    let mut pair = psk().fate(move |_, _, datagram| {
        let mut arriving = junk.clone();
        arriving.push(datagram.to_vec());
        arriving.extend(junk.clone());
        arriving
    });
    pair.run(secs(5)).await;
    assert!(pair.is_open());
    assert!(pair.works().await);
}

/// A hello without extended_master_secret, whatever the client has said.
fn without_ems(datagram: &[u8]) -> Vec<u8> {
    let Some(place) = datagram.windows(4).position(|part| part == [0, 0x17, 0, 0]) else { return datagram.to_vec() };
    // Another extension of the same length: the lengths stay as they are.
    let mut tampered = datagram.to_vec();
    tampered[place + 1] = 0xfe;
    tampered
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_was_tampered_with_makes_no_session() {
    let (client, server) = (psk_client("client", "the key of the client"), psk_server());
    let (client, server) = (client.build().unwrap(), server.build().unwrap());
    let strip = |from, _, datagram: &[u8]| match from {
        From::Client if datagram[13] == 1 => vec![without_ems(datagram)],
        _ => vec![datagram.to_vec()],
    };
    let mut pair = Pair::new(&client, &server).fate(strip);
    pair.settle().await;
    assert_eq!(pair.server.ended, Some(SessionEnd::Protocol));
    assert_eq!((&pair.client.identity, &pair.server.identity), (&None, &None));

    // A suite that the client has not offered, in a hello that both ends hash.
    let change = |from, _, datagram: &[u8]| {
        let mut tampered = datagram.to_vec();
        if from == From::Client && datagram[13] == 1 {
            tampered[30] ^= 1;
        }
        vec![tampered]
    };
    let mut pair = Pair::new(&client, &server).fate(change);
    pair.run(secs(3)).await;
    assert_eq!((&pair.client.identity, &pair.server.identity), (&None, &None));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pieces_is_bounded() {
    let mut pair = psk().fate(|from, number, datagram| match (from, number) {
        (From::Client, 2..) => vec![],
        _ => vec![datagram.to_vec()],
    });
    pair.settle().await;
    assert!(pair.server.proven && !pair.server.is_open());
    for number in 0..20_000_u32 {
        let [n0, n1] = (number as u16 % 40).to_be_bytes();
        let [o0, o1] = (number as u16).to_be_bytes();
        let piece = [11, 0, 0x3f, 0xff, n0, n1, 0, o0 & 0x1f, o1, 0, 0, 1, 0xff];
        let mut datagram = Record::header(Content::Handshake, 0, u64::from(number), 13).to_vec();
        datagram.extend(piece);
        pair.server.engine.handle(NOW, &datagram);
        pair.server.engine.handle(NOW, &[0x55; 40]);
    }
    pair.run(secs(60)).await;
    assert_eq!(pair.server.ended, Some(SessionEnd::HandshakeTimeout));
    assert_eq!(tasks().await, 0);
}

#[test]
fn the_forgeries_are_what_they_say() {
    assert!(records(&HELLO).count() == 1 && forgeries().len() > 60);
}
