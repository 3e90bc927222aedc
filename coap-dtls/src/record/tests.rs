use super::*;

const CIPHERS: [Cipher; 2] = [Cipher::Aes128Ccm8, Cipher::Aes128Gcm];

fn pair() -> (Records, Records) {
    pair_of(Cipher::Aes128Ccm8)
}

fn pair_of(cipher: Cipher) -> (Records, Records) {
    let secret = |byte| Secret { key: Zeroizing::new([byte; KEY]), salt: Zeroizing::new([byte; SALT]) };
    let end = |sending, receiving| {
        let secrets = Secrets { sending: secret(sending), receiving: secret(receiving) };
        Records::new(cipher, secrets, 1, Window::default())
    };
    (end(1, 2), end(2, 1))
}

/// What `to` makes of a datagram with one record.
fn open(to: &mut Records, datagram: &[u8]) -> Result<Vec<u8>, Dropped> {
    let record = records(datagram).next().ok_or(Dropped::Malformed)?;
    to.open(&record, &mut [0; 2000]).map(|opened| opened.plaintext.to_vec())
}

/// The record that `from` would send as the one with this number.
fn numbered(from: &mut Records, number: u64) -> Vec<u8> {
    from.next = number;
    from.seal(Content::ApplicationData, b"hello").unwrap()
}

#[test]
fn what_one_end_seals_the_other_opens() {
    for (cipher, plaintext) in CIPHERS.into_iter().flat_map(|cipher| {
        [&b""[..], b"a", &[9; 15], &[9; 16], &[9; 17], &[9; 1152]].map(|plaintext| (cipher, plaintext))
    }) {
        let (mut client, mut server) = pair_of(cipher);
        let record = client.seal(Content::ApplicationData, plaintext).unwrap();
        assert_eq!(record.len(), plaintext.len() + cipher.overhead());
        assert_eq!(open(&mut server, &record).unwrap(), plaintext);
        let record = server.seal(Content::ApplicationData, plaintext).unwrap();
        assert_eq!(open(&mut client, &record).unwrap(), plaintext);
    }
}

#[test]
fn the_nonce_is_epoch_and_number() {
    for (cipher, length) in [(Cipher::Aes128Ccm8, 0x15), (Cipher::Aes128Gcm, 0x1d)] {
        let record = numbered(&mut pair_of(cipher).0, 0x0102_0304_0506);
        let mut expected = hex_literal::hex!("17 fefd 0001 010203040506 0015 0001 010203040506");
        expected[12] = length;
        assert_eq!(record[..HEADER + EXPLICIT], expected);
    }
}

#[test]
fn a_record_is_taken_once() {
    let (mut client, mut server) = pair();
    let record = client.seal(Content::ApplicationData, b"hello").unwrap();
    assert_eq!(open(&mut server, &record), Ok(b"hello".to_vec()));
    assert_eq!(open(&mut server, &record), Err(Dropped::Replayed));
}

#[test]
fn a_late_record_is_taken_up_to_sixty_three_behind() {
    let (mut client, mut server) = pair();
    let newest = numbered(&mut client, 100);
    let (edge, beyond) = (numbered(&mut client, 37), numbered(&mut client, 36));
    assert!(open(&mut server, &newest).is_ok());
    assert!(open(&mut server, &edge).is_ok());
    assert_eq!(open(&mut server, &beyond), Err(Dropped::Replayed));
}

#[test]
fn a_forgery_does_not_move_the_window() {
    let (mut client, mut server) = pair();
    let mut forged = numbered(&mut client, 1 << 40);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(open(&mut server, &forged), Err(Dropped::Forged));
    let genuine = numbered(&mut client, 1);
    assert!(open(&mut server, &genuine).is_ok());
}

#[test]
fn each_flipped_bit_is_noticed() {
    for cipher in CIPHERS {
        let (mut client, mut server) = pair_of(cipher);
        let record = client.seal(Content::ApplicationData, b"hello").unwrap();
        for bit in 0..record.len() * 8 {
            let mut forged = record.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let result = open(&mut server, &forged);
            assert!(matches!(result, Err(Dropped::Forged | Dropped::Malformed)), "bit {bit}: {result:?}");
        }
        assert_eq!(open(&mut server, &record), Ok(b"hello".to_vec()));
    }
}

#[test]
fn a_record_too_short_for_nonce_and_tag_is_malformed() {
    for cipher in CIPHERS {
        let (_, mut server) = pair_of(cipher);
        for length in 0..cipher.expansion() {
            let mut datagram = Record::header(Content::ApplicationData, 1, 5, length as u16).to_vec();
            datagram.resize(HEADER + length, 0);
            assert_eq!(open(&mut server, &datagram), Err(Dropped::Malformed), "{length}");
        }
        assert_eq!(server.forgeries, 0);
    }
}

#[test]
fn other_epochs_are_not_opened() {
    let (mut client, mut server) = pair();
    let record = client.seal(Content::ApplicationData, b"hello").unwrap();
    for epoch in [0, 2, 0xffff_u16] {
        let mut forged = record.clone();
        forged[3..5].copy_from_slice(&epoch.to_be_bytes());
        assert_eq!(open(&mut server, &forged), Err(Dropped::Malformed));
    }
}

#[test]
fn own_records_sent_back_are_forgeries() {
    let (mut client, _) = pair();
    let record = client.seal(Content::ApplicationData, b"hello").unwrap();
    assert_eq!(open(&mut client, &record), Err(Dropped::Forged));
}

#[test]
fn one_cipher_does_not_open_what_the_other_has_sealed() {
    let (mut client, _) = pair_of(Cipher::Aes128Gcm);
    let (_, mut server) = pair_of(Cipher::Aes128Ccm8);
    let record = client.seal(Content::ApplicationData, b"hello").unwrap();
    assert_eq!(open(&mut server, &record), Err(Dropped::Forged));
}

#[test]
fn the_keys_wear_out() {
    let (mut client, mut server) = pair();
    let last = numbered(&mut client, MAX_RECORDS - 1);
    assert!(open(&mut server, &last).is_ok());
    assert_eq!(client.seal(Content::ApplicationData, b"hello"), Err(SendError::Exhausted));
    assert!(client.seal(Content::Alert, &[1, 0]).is_ok(), "the last number is for close_notify");
    assert_eq!(client.seal(Content::Alert, &[1, 0]), Err(SendError::Exhausted));
}

#[test]
fn too_many_forgeries_wear_the_keys_out() {
    let (mut client, mut server) = pair();
    let mut forged = client.seal(Content::ApplicationData, b"hello").unwrap();
    *forged.last_mut().unwrap() ^= 1;
    server.forgeries = MAX_FORGERIES - 2;
    assert_eq!(open(&mut server, &forged), Err(Dropped::Forged));
    assert_eq!(open(&mut server, &forged), Err(Dropped::Exhausted));
}

#[test]
fn a_handshake_record_that_has_been_seen_is_authenticated_again() {
    let (mut client, mut server) = pair();
    let finished = client.seal(Content::Handshake, &[20; 24]).unwrap();
    assert!(open(&mut server, &finished).is_ok());
    assert!(open(&mut server, &finished).is_ok());
    let mut forged = finished;
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(open(&mut server, &forged), Err(Dropped::Forged));
}

#[test]
fn a_datagram_is_cut_into_records_until_one_is_malformed() {
    let (mut client, _) = pair();
    let one = client.seal(Content::ApplicationData, b"one").unwrap();
    let two = client.seal(Content::Alert, &[1, 0]).unwrap();
    let both = [one.as_slice(), &two].concat();
    let seen: Vec<_> = records(&both).map(|record| (record.content, record.number)).collect();
    assert_eq!(seen, [(Content::ApplicationData, 1), (Content::Alert, 2)]);
    assert_eq!(records(&both[..both.len() - 1]).count(), 1);
    assert_eq!(records(&[0x16; 12]).count(), 0);
    assert_eq!(records(&[]).count(), 0);
    let mut unknown = one.clone();
    unknown[0] = 25;
    assert_eq!(records(&unknown).count(), 0);
    let mut tls = one;
    tls[1] = 3;
    assert_eq!(records(&tls).count(), 0);
}

#[test]
fn the_state_of_a_session_is_small() {
    assert!(size_of::<Records>() <= 128, "{}", size_of::<Records>());
}

#[test]
fn an_alert_counts_if_it_is_the_last_one() {
    assert_eq!(last_alert(&[2, 40]), Some(40));
    assert_eq!(last_alert(&[1, 0]), Some(0));
    assert_eq!(last_alert(&[1, 112]), None);
    assert_eq!(last_alert(&[2]), None);
    assert_eq!(last_alert(&[2, 40, 0]), None);
}
