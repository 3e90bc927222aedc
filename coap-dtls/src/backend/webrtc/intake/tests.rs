use super::*;

/// A record with pieces of messages.
fn handshake(pieces: &[Vec<u8>]) -> Vec<u8> {
    let body = pieces.concat();
    let mut record = Record::header(Content::Handshake, 0, 0, body.len() as u16).to_vec();
    record.extend(body);
    record
}

fn part(number: u16, kind: u8, body: &[u8]) -> Part {
    Part { number, kind, length: body.len(), body: body.to_vec(), have: Vec::new() }
}

/// A chain with one certificate of this length.
fn chain(length: usize) -> Vec<u8> {
    let three = |number: usize| (number as u32).to_be_bytes()[1..].to_vec();
    [three(length + 3), three(length), vec![0x30; length]].concat()
}

/// The message that was relayed in these datagrams, by its header and body; it may be in pieces.
fn relayed(taken: &Taken) -> Vec<u8> {
    let all: Vec<_> = taken.relay.iter().flat_map(|datagram| records(datagram)).collect();
    all.iter().flat_map(|record| record.body()[12..].to_vec()).collect()
}

#[test]
fn pieces_in_any_order_become_a_message() {
    let body = chain(3000);
    let message = part(0, 11, &body);
    let pieces: Vec<_> = (0..body.len()).step_by(300).map(|at| (at, (at + 300).min(body.len()))).collect();
    for turn in 0..pieces.len() {
        let mut intake = Intake::new(Role::Client);
        let mut order = pieces.clone();
        order.rotate_left(turn);
        order.reverse();
        for (number, (start, end)) in order.iter().enumerate() {
            let piece = handshake(&[message.piece(*start, &body[*start..*end])]);
            let taken = intake.take(&piece, true);
            assert_eq!(taken.relay.is_empty(), number + 1 < order.len());
            if number + 1 == order.len() {
                assert_eq!(relayed(&taken), body);
            }
            assert!(intake.take(&piece, true).relay.is_empty(), "once");
        }
        assert!(intake.parts.is_empty());
    }
}

#[test]
fn messages_wait_for_those_before_them() {
    let mut intake = Intake::new(Role::Client);
    let (certificates, done) = (part(0, 11, &chain(5)), part(1, 14, &[]));
    assert!(intake.take(&handshake(&[done.piece(0, &[])]), true).relay.is_empty());
    let taken = intake.take(&handshake(&[certificates.piece(0, &certificates.body)]), true);
    assert_eq!(taken.relay.len(), 1, "both in one datagram");
    assert_eq!(records(&taken.relay[0]).count(), 2);
}

#[test]
fn a_long_message_is_cut_for_the_library() {
    let body = chain(9000);
    let message = part(0, 11, &body);
    let mut intake = Intake::new(Role::Client);
    let taken = intake.take(&handshake(&[message.piece(0, &body)]), true);
    assert_eq!(relayed(&taken), body);
    assert!(taken.relay.len() > 1 && taken.relay.iter().all(|datagram| datagram.len() <= MAX_DATAGRAM));
}

#[test]
fn a_malformed_message_makes_room_for_the_real_one() {
    let mut intake = Intake::new(Role::Server);
    let bad = part(0, 1, &[0; 50]);
    assert!(intake.take(&handshake(&[bad.piece(0, &bad.body)]), true).relay.is_empty());
    assert!(intake.parts.is_empty());
    assert_eq!(intake.next, 0);
}

#[test]
fn nothing_of_an_unproven_client_is_held() {
    let mut intake = Intake::new(Role::Server);
    let hello = part(0, 1, &[0; 60]);
    intake.take(&handshake(&[hello.piece(0, &hello.body[..30])]), false);
    intake.take(&handshake(&[part(1, 1, &[0; 60]).piece(0, &[0; 60])]), false);
    intake.take(&[&Record::header(Content::ApplicationData, 1, 1, 20)[..], &[0; 20]].concat(), false);
    assert!(intake.parts.is_empty() && intake.sealed.is_empty());
    assert_eq!(intake.take(&[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40], false).alert, None);
}

#[test]
fn what_is_held_and_what_is_relayed_is_bounded() {
    let mut intake = Intake::new(Role::Client);
    for round in 0..2000_usize {
        let number = (round % 50) as u16;
        let large = Part { length: MAX_MESSAGE, ..part(number, 11, &[]) };
        intake.take(&handshake(&[large.piece((round * 37) % 16_000, &[1; 100])]), true);
        intake.take(&[&Record::header(Content::ApplicationData, 1, 1, 500)[..], &[0; 500]].concat(), true);
        intake.take(&[&Record::header(Content::ChangeCipherSpec, 0, 1, 1)[..], &[1]].concat(), true);
        assert!(intake.parts.len() <= MAX_PARTS);
        assert!(intake.parts.iter().all(|part| part.have.len() <= MAX_GAPS));
        assert!(intake.parts.iter().map(|part| part.body.len()).sum::<usize>() <= MAX_HELD);
    }
    assert_eq!((intake.sealed.len(), intake.relayed), (MAX_SEALED, MAX_RELAYED));
}

#[test]
fn a_finished_that_came_in_another_handshake_is_not_relayed() {
    let addr = coap_core::UdpAddr::new("192.0.2.1:1000".parse().unwrap());
    let (attempts, path) = (crate::attempts::Attempts::default(), crate::table::Path { socket: 0, addr });
    let record = |tag: u8| [&Record::header(Content::Handshake, 1, 0, 40)[..], &[tag; 40]].concat();
    for (hello, relayed) in [(1, [true, true]), (2, [false, true]), (3, [false, false])] {
        let mut intake = Intake::new(Role::Server).after(attempts.on(path, hello));
        intake.choose(CipherSuite::PskAes128Ccm8);
        intake.begin(coap_core::Instant::from_secs(1_000));
        for tag in 1..=hello.min(2) as u8 {
            let is_relayed = !intake.take(&record(tag), true).relay.is_empty();
            assert_eq!(is_relayed, relayed[usize::from(tag) - 1], "handshake {hello}, record {tag}");
        }
    }
}

#[test]
fn encrypted_records_are_kept_and_only_finished_is_relayed() {
    let record =
        |content, length: usize| [&Record::header(content, 1, 1, length as u16)[..], &vec![0; length]].concat();
    for (suite, finished) in [
        (CipherSuite::PskAes128Ccm8, 40),
        (CipherSuite::EcdsaAes128Ccm8, 40),
        (CipherSuite::PskAes128Ccm, 48),
        (CipherSuite::EcdsaAes128Gcm, 48),
    ] {
        let mut intake = Intake::new(Role::Client);
        assert!(intake.take(&record(Content::Handshake, finished), true).relay.is_empty(), "nothing has been chosen");
        intake.choose(suite);
        let finished = record(Content::Handshake, finished);
        assert_eq!(intake.take(&finished, true).relay, [finished.as_slice()]);
        let body = finished.len() - 13;
        // The smallest fragment of it has one byte; one with none, or more than all, is of something else.
        let fragment = record(Content::Handshake, body - 11);
        assert_eq!(intake.take(&fragment, true).relay, [fragment.as_slice()]);
        for (content, length) in
            [(Content::Handshake, body - 12), (Content::Handshake, body + 1), (Content::ApplicationData, body)]
        {
            assert!(intake.take(&record(content, length), true).relay.is_empty());
        }
        assert_eq!(intake.into_sealed(), [finished, fragment, record(Content::ApplicationData, body)]);
    }
}
