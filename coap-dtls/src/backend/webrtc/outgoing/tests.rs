use super::*;

fn record(content: Content, epoch: u16, number: u64, body: &[u8]) -> Vec<u8> {
    let mut record = Record::header(content, epoch, number, body.len() as u16).to_vec();
    record.extend_from_slice(body);
    record
}

/// A message with this number.
fn message(kind: u8, number: u8) -> Vec<u8> {
    record(Content::Handshake, 0, 0, &[kind, 0, 0, 3, 0, number, 0, 0, 0, 0, 0, 3, 0xfe, 0xfd, 0])
}

#[test]
fn an_unproven_client_is_sent_what_it_has_paid_for() {
    let now = Instant::now();
    let mut outgoing = Outgoing::new(Role::Server, Duration::from_secs(1));
    assert_eq!(outgoing.pass(now, &message(3, 0), None), None, "nothing has come");
    outgoing.received(20, true);
    assert_eq!(outgoing.pass(now, &message(3, 0), None), None, "too little has come");
    outgoing.received(20, true);
    let request = outgoing.pass(now, &message(3, 0), None).unwrap();
    assert_eq!((&request[1..3], &request[25..27]), (&VERSION_1_0[..], &VERSION_1_0[..]));
    assert_eq!(outgoing.pass(now, &message(3, 0), None), None, "once for each message");
    outgoing.received(100, false);
    assert_eq!(outgoing.pass(now, &message(3, 0), None), None, "that was no message");
    assert_eq!(outgoing.repeat_request(), Some(request));
    assert!(!outgoing.is_proven());
    assert!(outgoing.pass(now, &message(2, 1), None).is_some());
    assert!(outgoing.is_proven());
    assert_eq!(outgoing.repeat_request(), None);
}

#[test]
fn a_flight_is_repeated_more_and_more_slowly_and_as_a_whole() {
    let start = Instant::now();
    let mut outgoing = Outgoing::new(Role::Client, Duration::from_secs(1));
    let mut sent = Vec::new();
    for second in 0..200 {
        let now = start + Duration::from_secs(second);
        let first = outgoing.pass(now, &message(11, 2), None).is_some();
        let rest = outgoing.pass(now, &message(16, 3), None).is_some();
        assert_eq!(first, rest, "{second}");
        if first {
            sent.push(second);
        }
    }
    assert_eq!(sent, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
    let now = start + Duration::from_millis(200_100);
    assert!(outgoing.pass(now, &message(16, 4), None).is_some(), "a new flight at once");
}

#[test]
fn encrypted_records_are_counted_and_finished_is_kept() {
    let now = Instant::now();
    let mut outgoing = Outgoing::new(Role::Server, Duration::from_secs(1));
    outgoing.pass(now, &message(2, 1), None);
    assert_eq!((outgoing.next_sealed(), outgoing.last_flight()), (0, &[][..]));
    let finished = |number| {
        [record(Content::ChangeCipherSpec, 0, 5, &[1]), record(Content::Handshake, 1, number, &[0; 40])].concat()
    };
    outgoing.pass(now, &finished(0), None);
    outgoing.pass(now, &finished(1), None);
    assert_eq!((outgoing.next_sealed(), outgoing.last_flight()), (2, &finished(1)[..]));
}

#[test]
fn alerts_say_why() {
    let now = Instant::now();
    let alert = |description| record(Content::Alert, 0, 7, &[2, description]);
    for (said, refused, sent) in [
        (42, Some(SessionEnd::UnknownAuthority), 48),
        (42, Some(SessionEnd::Expired), 45),
        (42, Some(SessionEnd::NameMismatch), 46),
        (42, Some(SessionEnd::BadCertificate), 42),
        (41, None, 40),
        (115, None, 115),
    ] {
        let mut outgoing = Outgoing::new(Role::Client, Duration::from_secs(1));
        assert_eq!(outgoing.pass(now, &alert(said), refused), Some(alert(sent)));
        assert_eq!(outgoing.alert(), Some(sent));
    }
    let mut outgoing = Outgoing::new(Role::Client, Duration::from_secs(1));
    assert_eq!(outgoing.pass(now, &record(Content::Alert, 1, 1, &[2, 40]), None), None, "in the clear after keys");
    assert_eq!((outgoing.alert(), outgoing.next_sealed()), (Some(40), 0));
}
