//! Keyed hashing for the tables that peers can fill: the key is drawn from the caller's randomness, so that nobody
//! outside can aim at one bucket, and a run with the same seed is the same run.

use core::hash::Hasher;
use core::net::SocketAddr;

use siphasher::sip::SipHasher13;

use crate::addr::Peer;

/// The key of one endpoint.
#[derive(Clone, Copy)]
pub(crate) struct KeyedHash {
    sip: SipHasher13,
    key: [u64; 2],
}

impl KeyedHash {
    pub(crate) fn new(key: [u64; 2]) -> Self {
        Self { sip: SipHasher13::new_with_keys(key[0], key[1]), key }
    }

    pub(crate) fn bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.sip;
        hasher.write(bytes);
        hasher.finish()
    }

    /// Fed by hand, because the derived `Hash` of an address spends more on lengths and discriminants than on the
    /// address.
    #[inline]
    pub(crate) fn peer(&self, peer: &Peer) -> u64 {
        let mut bytes = [0; 24];
        let (word, tail) = bytes.split_at_mut(16);
        let rest: u64 = match peer {
            Peer::Udp(addr) => match addr.socket_addr() {
                SocketAddr::V4(v4) => {
                    word[..4].copy_from_slice(&v4.ip().octets());
                    u64::from(v4.port())
                }
                SocketAddr::V6(v6) => {
                    word.copy_from_slice(&v6.ip().octets());
                    1 << 62 | u64::from(v6.scope_id()) << 16 | u64::from(v6.port())
                }
            },
            Peer::Session(id) => {
                word[..8].copy_from_slice(&id.number().to_le_bytes());
                1 << 63
            }
        };
        tail.copy_from_slice(&rest.to_le_bytes());
        self.bytes(&bytes)
    }

    /// For the place of a peer in its table, which is ours, and a Message ID: 48 bits need no string hash. A folded
    /// multiplication with a secret factor leaves nobody outside a way to aim.
    #[inline]
    pub(crate) const fn pair(&self, index: u32, message_id: u16) -> u64 {
        let pair = (index as u64) << 16 | message_id as u64;
        let product = (pair ^ self.key[0]) as u128 * (self.key[1] | 1) as u128;
        product as u64 ^ (product >> 64) as u64
    }
}
