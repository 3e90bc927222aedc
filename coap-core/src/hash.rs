//! Keyed hashing for the tables that peers can fill: the key is drawn from the caller's randomness, so that nobody
//! outside can aim at one bucket, and a run with the same seed is the same run.

use core::hash::Hasher;
use core::net::SocketAddr;

use siphasher::sip::SipHasher13;

use crate::addr::Peer;
use crate::wire::{Code, OptionNumber, Options};

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
        self.sip.hash(bytes)
    }

    /// What the messages that carry one body have in common, beside their peer: the method and the cache key (RFC 7252 §5.6)
    /// without the options that differ from block to block (RFC 7959 §3.3, §3.4). Request-Tag is part of it (RFC 9175 §3.2.1).
    pub(crate) fn operation(&self, code: Code, options: &Options) -> u64 {
        self.request(code, options, belongs_to_operation)
    }

    /// What similar requests have in common, beside their peer: the method and the URI (RFC 8516 §1).
    pub(crate) fn similar(&self, code: Code, options: &Options) -> u64 {
        self.request(code, options, belongs_to_uri)
    }

    #[inline]
    fn request(&self, code: Code, options: &Options, counts: impl Fn(OptionNumber) -> bool) -> u64 {
        let mut hasher = self.sip;
        hasher.write_u8(code.to_byte());
        for (number, value) in options.iter().filter(|(number, _)| counts(*number)) {
            hasher.write_u16(number.number());
            hasher.write_u32(value.len() as u32);
            hasher.write(value);
        }
        hasher.finish()
    }

    #[inline]
    pub(crate) fn peer(&self, peer: &Peer) -> u64 {
        let mut bytes = [0; 24];
        write_peer(peer, &mut bytes);
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

/// A peer in bytes that were zero, no two alike. By hand, because the derived `Hash` of an address spends more on lengths and
/// discriminants than on the address.
#[inline]
pub(crate) fn write_peer(peer: &Peer, bytes: &mut [u8; 24]) {
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
}

/// Observe is not repeated for the blocks after the first; an ETag of a request only spares its answer the content.
fn belongs_to_operation(number: OptionNumber) -> bool {
    let differs = [OptionNumber::OBSERVE, OptionNumber::ETAG, OptionNumber::BLOCK1, OptionNumber::BLOCK2];
    !number.is_no_cache_key() && !differs.contains(&number)
}

/// What a URI is made into (RFC 7252 §6.4), also for a proxy.
const fn belongs_to_uri(number: OptionNumber) -> bool {
    matches!(
        number,
        OptionNumber::URI_HOST
            | OptionNumber::URI_PORT
            | OptionNumber::URI_PATH
            | OptionNumber::URI_QUERY
            | OptionNumber::PROXY_URI
            | OptionNumber::PROXY_SCHEME
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Block, ETag};

    #[test]
    fn the_blocks_of_one_body_belong_together() {
        let hash = KeyedHash::new([1, 2]);
        let mut first = Options::new();
        first.push_uri_path("a").unwrap();
        let mut second = first.clone();
        second.set_block1(Block::new(7, true, 2).unwrap());
        second.set_size1(1_000);
        second.set_observe(0);
        second.push_etag(&ETag::new(b"x").unwrap());
        assert_eq!(hash.operation(Code::PUT, &first), hash.operation(Code::PUT, &second));
    }

    #[test]
    fn another_method_path_format_or_request_tag_is_another_operation() {
        let hash = KeyedHash::new([1, 2]);
        let of = |code, numbers: &[(OptionNumber, &[u8])]| {
            let mut options = Options::new();
            for (number, value) in numbers {
                options.push(*number, value).unwrap();
            }
            hash.operation(code, &options)
        };
        let path: (OptionNumber, &[u8]) = (OptionNumber::URI_PATH, b"ab");
        let all = [
            of(Code::PUT, &[path]),
            of(Code::POST, &[path]),
            of(Code::PUT, &[(OptionNumber::URI_PATH, b"a"), (OptionNumber::URI_PATH, b"b")]),
            of(Code::PUT, &[path, (OptionNumber::CONTENT_FORMAT, b"")]),
            of(Code::PUT, &[path, (OptionNumber::REQUEST_TAG, b"1")]),
            of(Code::PUT, &[path, (OptionNumber::REQUEST_TAG, b"2")]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
    }

    #[test]
    fn requests_are_similar_that_have_one_method_and_one_uri() {
        let hash = KeyedHash::new([1, 2]);
        let mut plain = Options::new();
        plain.push_uri_path("a").unwrap();
        let mut other = plain.clone();
        other.set_observe(0);
        other.set_accept(crate::wire::ContentFormat::CBOR);
        assert_eq!(hash.similar(Code::GET, &plain), hash.similar(Code::GET, &other));
        assert_ne!(hash.similar(Code::GET, &plain), hash.similar(Code::PUT, &plain));
        other.push_uri_query("b").unwrap();
        assert_ne!(hash.similar(Code::GET, &plain), hash.similar(Code::GET, &other));
    }
}
