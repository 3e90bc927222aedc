//! What a session of DTLS 1.2 goes on with when the library has shaken hands: keys, salts and numbers, as its ciphers were given
//! them.

use dimpl::crypto::{Aad, Nonce};
use zeroize::Zeroizing;

use crate::record::{Cipher, KEY, Records, SALT, Secret, Secrets};
use crate::verify::Role;
use crate::window::Window;

/// What the ciphers of a handshake have seen. Keys are overwritten when it is dropped.
#[derive(Default)]
pub(super) struct Taken {
    cipher: Option<Cipher>,
    /// The client's and the server's, in which order the library makes its ciphers.
    keys: [Option<Zeroizing<[u8; KEY]>>; 2],
    sealing: Option<Zeroizing<[u8; SALT]>>,
    opening: Option<Zeroizing<[u8; SALT]>>,
    /// One more than the highest number of a record that was sealed.
    next: u64,
    /// The records that were opened.
    window: Window,
}

impl Taken {
    /// A cipher has been made.
    pub(super) fn made(&mut self, cipher: Cipher, key: [u8; KEY]) {
        if self.keys.iter().all(Option::is_some) {
            *self = Self::default();
        }
        self.cipher = Some(cipher);
        if let Some(place) = self.keys.iter_mut().find(|place| place.is_none()) {
            *place = Some(Zeroizing::new(key));
        }
    }

    /// A record has been sealed.
    pub(super) fn sealed(&mut self, aad: &Aad, nonce: &Nonce) {
        self.sealing = salt(nonce);
        self.next = self.next.max(number(aad).saturating_add(1));
    }

    /// A record has been opened, and was genuine.
    pub(super) fn opened(&mut self, aad: &Aad, nonce: &Nonce) {
        self.opening = salt(nonce);
        self.window.mark(number(aad));
    }

    /// The records with which the end that is `role` goes on. `None`: a suite was agreed on whose ciphers are the library's, or
    /// DTLS 1.3.
    pub(super) fn records(self, role: Role) -> Option<Records> {
        let [client, server] = self.keys;
        let (own, theirs) = match role {
            Role::Client => (client?, server?),
            Role::Server => (server?, client?),
        };
        let secrets = Secrets {
            sending: Secret { key: own, salt: self.sealing? },
            receiving: Secret { key: theirs, salt: self.opening? },
        };
        Some(Records::new(self.cipher?, secrets, self.next, self.window))
    }
}

/// RFC 6655 §3, RFC 5288 §3: the part of a nonce that is not sent comes first.
fn salt(nonce: &Nonce) -> Option<Zeroizing<[u8; SALT]>> {
    nonce.0.first_chunk().copied().map(Zeroizing::new)
}

/// RFC 6347 §4.1.2.1: epoch and number are at the beginning of what is authenticated.
fn number(aad: &Aad) -> u64 {
    let both = aad.0.first_chunk().copied().map_or(0, u64::from_be_bytes);
    both & ((1 << 48) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Content, Dropped, records};

    fn aad(number: u8) -> Aad {
        Aad([0, 1, 0, 0, 0, 0, 0, number, 23, 0xfe, 0xfd, 0, 0].into_iter().collect())
    }

    fn nonce(salt: u8) -> Nonce {
        let mut nonce = [9; 12];
        nonce[..SALT].fill(salt);
        Nonce(nonce)
    }

    /// What an end tells that has sealed the records up to `sealed` and opened `opened`.
    fn taken(salts: [u8; 2], sealed: u8, opened: u8) -> Taken {
        let mut taken = Taken::default();
        taken.made(Cipher::Aes128Ccm8, [1; KEY]);
        taken.made(Cipher::Aes128Ccm8, [2; KEY]);
        taken.sealed(&aad(sealed), &nonce(salts[0]));
        taken.opened(&aad(opened), &nonce(salts[1]));
        taken
    }

    #[test]
    fn both_ends_go_on_with_each_other_where_the_library_has_ended() {
        let mut client = taken([3, 4], 0, 1).records(Role::Client).unwrap();
        let mut server = taken([4, 3], 1, 0).records(Role::Server).unwrap();
        for (from, to, number) in [(0, 1, 1), (1, 0, 2)] {
            let ends = [&mut client, &mut server];
            let [sealed, mut buf] = [ends[from].seal(Content::ApplicationData, b"hello").unwrap(), vec![0; 100]];
            let record = records(&sealed).next().unwrap();
            assert_eq!((record.epoch, record.number), (1, number));
            let ends = [&mut client, &mut server];
            assert_eq!(ends[to].open(&record, &mut buf).unwrap().plaintext, b"hello");
            let ends = [&mut client, &mut server];
            assert_eq!(ends[to].open(&record, &mut buf), Err(Dropped::Replayed));
        }
    }

    #[test]
    fn what_the_library_has_opened_is_not_opened_again() {
        let mut client = taken([3, 4], 0, 0).records(Role::Client).unwrap();
        let mut server = taken([4, 3], 0, 1).records(Role::Server).unwrap();
        let sealed = client.seal(Content::ApplicationData, b"hello").unwrap();
        let record = records(&sealed).next().unwrap();
        assert_eq!((record.number, server.open(&record, &mut [0; 100])), (1, Err(Dropped::Replayed)));
    }

    #[test]
    fn without_all_of_it_the_library_is_not_left() {
        assert!(Taken::default().records(Role::Client).is_none());
        let mut half = Taken::default();
        half.made(Cipher::Aes128Gcm, [1; KEY]);
        half.sealed(&aad(0), &nonce(3));
        half.opened(&aad(0), &nonce(4));
        assert!(half.records(Role::Server).is_none());
        // New keys, and nothing was said under them.
        let mut anew = taken([3, 4], 5, 5);
        anew.made(Cipher::Aes128Gcm, [1; KEY]);
        anew.made(Cipher::Aes128Gcm, [2; KEY]);
        assert!(anew.records(Role::Server).is_none());
    }
}
