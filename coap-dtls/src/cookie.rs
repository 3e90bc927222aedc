//! Cookies: how a server proves an address before it keeps anything for it (RFC 6347 §4.2.1).

use core::hash::{Hash, Hasher};
use core::time::Duration;

use coap_core::{Instant, UdpAddr};
use rand_core::CryptoRng;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::hello::{COOKIE, ClientHello};

/// A cookie is accepted for at least this long, and for at most twice as long: whoever once read the mail of an address
/// cannot use its cookies for ever.
pub(crate) const LIFE: Duration = Duration::from_secs(60);

/// Makes cookies and recognises them. It keeps two keys and nothing else, however many clients there are.
pub(crate) struct Cookies {
    keys: [Key; 2],
    /// Since when the first of them has been used for new cookies.
    since: Instant,
}

/// Two keys of SipHash-2-4-128, as a cookie has twice the length of its output.
#[derive(Clone, Copy)]
struct Key([[u8; 16]; 2]);

impl Cookies {
    pub(crate) fn new(rng: &mut dyn CryptoRng) -> Self {
        Self { keys: [Key::draw(rng), Key::draw(rng)], since: Instant::ZERO }
    }

    /// The cookie for whoever says from `peer` what `hello` says.
    pub(crate) fn make(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        peer: UdpAddr,
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE] {
        self.rotate(now, rng);
        self.keys[0].cookie(peer, hello)
    }

    /// The cookie of `hello` if it is one that was made for it and for `peer`, not too long ago.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        peer: UdpAddr,
        hello: &ClientHello<'_>,
    ) -> Option<[u8; COOKIE]> {
        let shown: [u8; COOKIE] = hello.cookie().try_into().ok()?;
        self.rotate(now, rng);
        let made = self.keys.map(|key| key.cookie(peer, hello));
        made.into_iter().find(|cookie| equal(cookie, &shown))
    }

    fn rotate(&mut self, now: Instant, rng: &mut dyn CryptoRng) {
        let age = now - self.since;
        if age < LIFE {
            return;
        }
        let (last, since) = if age < LIFE * 2 { (self.keys[0], self.since + LIFE) } else { (Key::draw(rng), now) };
        self.keys = [Key::draw(rng), last];
        self.since = since;
    }
}

impl Key {
    fn draw(rng: &mut dyn CryptoRng) -> Self {
        let mut key = Self([[0; 16]; 2]);
        key.0.iter_mut().for_each(|half| rng.fill_bytes(half));
        key
    }

    fn cookie(&self, peer: UdpAddr, hello: &ClientHello<'_>) -> [u8; COOKIE] {
        let mut out = [0; COOKIE];
        for (half, key) in out.chunks_exact_mut(16).zip(&self.0) {
            let mut hasher = SipHasher24::new_with_key(key);
            peer.hash(&mut hasher);
            for part in hello.parameters() {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
            half.copy_from_slice(&hasher.finish128().as_bytes());
        }
        out
    }
}

/// In a time that does not tell where they differ.
fn equal(one: &[u8; COOKIE], other: &[u8; COOKIE]) -> bool {
    one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn udp(text: &str) -> UdpAddr {
        UdpAddr::new(text.parse().unwrap())
    }

    /// A hello with this random, this cookie and one more suite.
    fn hello(random: u8, cookie: &[u8], suite: u8) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend_from_slice(&[random; 32]);
        body.push(0);
        body.push(cookie.len() as u8);
        body.extend_from_slice(cookie);
        body.extend_from_slice(&[0, 4, 0xc0, 0xa8, 0xc0, suite, 1, 0]);
        let length = body.len() as u8;
        let mut out = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, length + 12, 1, 0, 0, length, 0, 1, 0, 0, 0];
        out.extend_from_slice(&[0, 0, length]);
        out.extend_from_slice(&body);
        out
    }

    struct Rig {
        cookies: Cookies,
        rng: ChaCha20Rng,
    }

    impl Rig {
        fn new() -> Self {
            let mut rng = ChaCha20Rng::seed_from_u64(1);
            Self { cookies: Cookies::new(&mut rng), rng }
        }

        fn make(&mut self, at: u64, peer: &str, datagram: &[u8]) -> [u8; COOKIE] {
            let hello = ClientHello::parse(datagram).unwrap();
            self.cookies.make(Instant::from_secs(at), &mut self.rng, udp(peer), &hello)
        }

        fn takes(&mut self, at: u64, peer: &str, datagram: &[u8]) -> bool {
            let hello = ClientHello::parse(datagram).unwrap();
            self.cookies.check(Instant::from_secs(at), &mut self.rng, udp(peer), &hello).is_some()
        }
    }

    const PEER: &str = "192.0.2.1:1000";

    #[test]
    fn a_cookie_is_for_one_address_and_port_and_one_hello() {
        let mut rig = Rig::new();
        let cookie = rig.make(0, PEER, &hello(1, b"", 1));
        assert!(rig.takes(0, PEER, &hello(1, &cookie, 1)));
        for other in ["192.0.2.1:1001", "192.0.2.2:1000", "[2001:db8::1]:1000"] {
            assert!(!rig.takes(0, other, &hello(1, &cookie, 1)), "from {other}");
        }
        assert!(!rig.takes(0, PEER, &hello(2, &cookie, 1)), "with another random");
        assert!(!rig.takes(0, PEER, &hello(1, &cookie, 2)), "with another suite");
    }

    #[test]
    fn every_byte_of_a_cookie_counts() {
        let mut rig = Rig::new();
        let cookie = rig.make(0, PEER, &hello(1, b"", 1));
        for byte in 0..COOKIE {
            let mut forged = cookie;
            forged[byte] ^= 1;
            assert!(!rig.takes(0, PEER, &hello(1, &forged, 1)));
        }
        assert!(!rig.takes(0, PEER, &hello(1, &cookie[..31], 1)));
    }

    #[test]
    fn a_cookie_lives_for_one_to_two_minutes() {
        let mut rig = Rig::new();
        let cookie = rig.make(59, PEER, &hello(1, b"", 1));
        assert!(rig.takes(60, PEER, &hello(1, &cookie, 1)), "the key has changed, the one before is known");
        assert!(rig.takes(119, PEER, &hello(1, &cookie, 1)));
        assert!(!rig.takes(120, PEER, &hello(1, &cookie, 1)));
    }

    #[test]
    fn a_cookie_does_not_survive_a_silence() {
        let mut rig = Rig::new();
        let cookie = rig.make(0, PEER, &hello(1, b"", 1));
        assert!(!rig.takes(600, PEER, &hello(1, &cookie, 1)));
    }

    #[test]
    fn a_cookie_does_not_live_longer_for_being_asked_late() {
        let mut rig = Rig::new();
        let cookie = rig.make(60, PEER, &hello(1, b"", 1));
        assert!(rig.takes(179, PEER, &hello(1, &cookie, 1)));
        assert!(!rig.takes(180, PEER, &hello(1, &cookie, 1)));
    }
}
