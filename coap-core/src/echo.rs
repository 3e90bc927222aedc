//! Echo values (RFC 9175 §2): what a peer can only repeat if it got what was sent to its address, and how long ago that was.
//!
//! Nothing is kept for a value. It carries the time at which it was made and a code over that time and the address that it
//! was made for, with a key that nobody else has.

use alloc::collections::VecDeque;
use core::hash::Hasher;
use core::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::addr::Peer;
use crate::hash::write_peer;
use crate::message::Response;
use crate::peers::PeerKey;
use crate::time::Instant;
use crate::wire::{Code, OptionError, OptionNumber, Options};

/// The time: milliseconds since the key was drawn.
const TIME_LEN: usize = 4;

/// A value: the time, and 96 bits of the code. RFC 9175 §5 asks for 64 at least.
pub(crate) const LEN: usize = TIME_LEN + 12;

/// A value of ours.
pub(crate) type Value = [u8; LEN];

/// Makes values and judges them.
pub(crate) struct Echoes {
    /// The key in use, and the one before: what was made with that can still be young enough.
    epochs: [Option<Epoch>; 2],
}

#[derive(Clone, Copy)]
struct Epoch {
    key: [u64; 2],
    since: Instant,
}

impl Echoes {
    pub(crate) const fn new() -> Self {
        Self { epochs: [None; 2] }
    }

    /// Makes a value for a peer. `draw` draws a key: for the first value, and again when the key in use is `lifetime` old.
    pub(crate) fn make(
        &mut self,
        now: Instant,
        peer: &Peer,
        lifetime: Duration,
        draw: impl FnOnce() -> [u64; 2],
    ) -> Value {
        let [latest, _] = self.epochs;
        let epoch = latest.filter(|epoch| now - epoch.since < lifetime).unwrap_or_else(|| {
            let new = Epoch { key: draw(), since: now };
            // With the key before this one nothing was made for a lifetime.
            self.epochs = [Some(new), latest];
            new
        });
        // A lifetime has fewer milliseconds than that (`ConfigBuilder::echo_lifetime`).
        epoch.value(peer, (now - epoch.since).as_millis() as u32)
    }

    /// How old a value is that a peer repeats at `now`. `None`: it is not ours, was made for another address, or is as old
    /// as `lifetime`.
    pub(crate) fn age(&self, now: Instant, peer: &Peer, value: &[u8], lifetime: Duration) -> Option<Duration> {
        let value: &Value = value.try_into().ok()?;
        let (time, _) = value.split_first_chunk::<TIME_LEN>()?;
        let time = u32::from_be_bytes(*time);
        let epoch = self.epochs.iter().flatten().find(|epoch| is_same(&epoch.value(peer, time), value))?;
        let made = epoch.since + Duration::from_millis(time.into());
        Some(now - made).filter(|age| *age < lifetime)
    }
}

impl Epoch {
    fn value(&self, peer: &Peer, time: u32) -> Value {
        let time = time.to_be_bytes();
        let mut hasher = SipHasher24::new_with_keys(self.key[0], self.key[1]);
        let mut address = [0; 24];
        write_peer(peer, &mut address);
        hasher.write(&address);
        hasher.write(&time);
        let code = hasher.finish128().as_bytes();
        let mut value = [0; LEN];
        value[..TIME_LEN].copy_from_slice(&time);
        value[TIME_LEN..].copy_from_slice(&code[..LEN - TIME_LEN]);
        value
    }
}

/// In a time that does not tell how many bytes were right.
fn is_same(one: &Value, other: &Value) -> bool {
    one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
}

/// How long a value that a peer of ours wants to see again is kept: a server that wants to know that a request is fresh will
/// hardly take an older one, and says so with a new one.
const KEPT: Duration = Duration::from_secs(300);

/// How many such values are kept, 72 bytes each. When full the oldest goes, and its server asks again if it must.
const MOST_OWED: usize = 64;

/// The Echo values that go with the next request to the peer that each came from (RFC 9175 §2.3), one for each, the oldest first.
pub(crate) struct OwedEchoes {
    all: VecDeque<Owed>,
}

#[derive(Clone, Debug)]
pub(crate) struct Owed {
    to: PeerKey,
    len: u8,
    bytes: [u8; 40],
    until: Instant,
}

impl OwedEchoes {
    pub(crate) const fn new() -> Self {
        Self { all: VecDeque::new() }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Keeps a value in the place of an earlier one. One that is longer than an Echo value can be is none. True: that of another
    /// peer had to go for it.
    pub(crate) fn add(&mut self, now: Instant, to: PeerKey, value: &[u8]) -> bool {
        let mut bytes = [0; 40];
        let Some(start) = bytes.get_mut(..value.len()) else { return false };
        start.copy_from_slice(value);
        self.all.retain(|owed| owed.to != to && owed.until > now);
        let forgotten = if self.all.len() >= MOST_OWED { self.all.pop_front() } else { None };
        self.all.push_back(Owed { to, len: value.len() as u8, bytes, until: now + KEPT });
        forgotten.is_some()
    }

    /// The value for a request to this peer.
    pub(crate) fn take(&mut self, to: PeerKey) -> Option<Owed> {
        let at = self.all.iter().position(|owed| owed.to == to)?;
        let owed = self.all.remove(at);
        if self.all.is_empty() {
            self.all = VecDeque::new();
        }
        owed
    }
}

impl Owed {
    pub(crate) fn value(&self, now: Instant) -> Option<&[u8]> {
        self.bytes.get(..usize::from(self.len)).filter(|_| now < self.until)
    }
}

impl Options {
    /// The Echo value (RFC 9175 §2.2.1): 1 to 40 bytes that mean something to the server alone.
    #[inline]
    pub fn echo(&self) -> Option<&[u8]> {
        self.get(OptionNumber::ECHO).filter(|value| (1..=40).contains(&value.len()))
    }

    /// Sets the Echo value.
    ///
    /// # Errors
    /// If it does not have 1 to 40 bytes.
    pub fn set_echo(&mut self, value: &[u8]) -> Result<(), OptionError> {
        self.set(OptionNumber::ECHO, value)
    }
}

impl Response {
    /// 4.01 with an Echo value that the endpoint makes when it sends the response: the client is to show that its request is
    /// fresh, by repeating it with that value (RFC 9175 §2.3). `IncomingRequest::echo_age` of the repeated one says how old
    /// the value is.
    ///
    /// Whoever can read and change what is sent can do the same with the value: it proves freshness only where a security
    /// layer protects it, and otherwise that somebody receives what is sent to the address.
    pub fn challenge() -> Self {
        let mut response = Self::new(Code::UNAUTHORIZED);
        ask_for_echo(&mut response.options);
        response
    }
}

/// Marks a response: the endpoint puts a value in when it is sent.
fn ask_for_echo(options: &mut Options) {
    // No option is too short to be encoded.
    let _ = options.push_raw(OptionNumber::ECHO, &[]);
}

/// Whether a response is marked so.
#[inline]
pub(crate) fn wants_echo(options: &Options) -> bool {
    options.get(OptionNumber::ECHO).is_some_and(<[u8]>::is_empty)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::net::SocketAddr;

    use super::*;
    use crate::addr::SessionId;
    use crate::peers::testing::record;
    use crate::slab::Slab;

    const NOW: Instant = Instant::from_secs(1_000);
    const LIFETIME: Duration = Duration::from_secs(60);

    fn peer(text: &str) -> Peer {
        Peer::from(text.parse::<SocketAddr>().unwrap())
    }

    fn made(echoes: &mut Echoes, now: Instant, peer: &Peer) -> Value {
        echoes.make(now, peer, LIFETIME, || [now.as_micros(), 2])
    }

    #[test]
    fn a_value_tells_its_age_until_its_lifetime_is_over() {
        let (mut echoes, peer) = (Echoes::new(), peer("192.0.2.1:5683"));
        for seconds in 0..300 {
            let now = NOW + Duration::from_secs(seconds);
            let value = made(&mut echoes, now, &peer);
            for age in [0, 1, 59_999] {
                let age = Duration::from_millis(age);
                assert_eq!(echoes.age(now + age, &peer, &value, LIFETIME), Some(age));
            }
            assert_eq!(echoes.age(now + LIFETIME, &peer, &value, LIFETIME), None);
        }
    }

    #[test]
    fn a_value_lives_through_a_change_of_the_key_and_not_through_two() {
        let (mut echoes, peer) = (Echoes::new(), peer("192.0.2.1:5683"));
        made(&mut echoes, NOW, &peer);
        let value = made(&mut echoes, NOW + Duration::from_secs(59), &peer);
        made(&mut echoes, NOW + Duration::from_secs(60), &peer);
        assert!(echoes.age(NOW + Duration::from_secs(61), &peer, &value, LIFETIME).is_some());
        made(&mut echoes, NOW + Duration::from_secs(120), &peer);
        assert_eq!(echoes.age(NOW + Duration::from_secs(61), &peer, &value, LIFETIME), None);
    }

    #[test]
    fn a_value_is_for_one_address_port_and_kind_of_peer() {
        let mut echoes = Echoes::new();
        let peers = [
            peer("192.0.2.1:5683"),
            peer("192.0.2.1:5684"),
            peer("192.0.2.2:5683"),
            peer("[2001:db8::1]:5683"),
            peer("[::c000:201]:5683"),
            Peer::Session(SessionId::new(1)),
        ];
        for one in &peers {
            let value = made(&mut echoes, NOW, one);
            for other in &peers {
                assert_eq!(echoes.age(NOW, other, &value, LIFETIME).is_some(), one == other, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_value_with_any_bit_changed_or_cut_short_is_none() {
        let (mut echoes, peer) = (Echoes::new(), peer("192.0.2.1:5683"));
        let value = made(&mut echoes, NOW, &peer);
        for bit in 0..LEN * 8 {
            let mut forged = value;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(echoes.age(NOW + LIFETIME / 2, &peer, &forged, LIFETIME), None, "{bit}");
        }
        for len in 0..LEN {
            assert_eq!(echoes.age(NOW, &peer, &value[..len], LIFETIME), None);
        }
        assert_eq!(Echoes::new().age(NOW, &peer, &value, LIFETIME), None);
    }

    #[test]
    fn another_endpoint_makes_other_values() {
        let peer = peer("192.0.2.1:5683");
        let value = Echoes::new().make(NOW, &peer, LIFETIME, || [1, 2]);
        let mut other = Echoes::new();
        assert_ne!(other.make(NOW, &peer, LIFETIME, || [1, 3]), value);
        assert_eq!(other.age(NOW, &peer, &value, LIFETIME), None);
    }

    #[test]
    fn the_option_has_1_to_40_bytes() {
        let mut options = Options::new();
        options.set_echo(&[7; LEN]).unwrap();
        assert!(options.set_echo(&[]).is_err() && options.set_echo(&[0; 41]).is_err());
        assert_eq!(options.echo(), Some(&[7; LEN][..]));
    }

    #[test]
    fn what_is_owed_is_the_last_value_of_each_peer_and_the_oldest_goes() {
        let mut owed = OwedEchoes::new();
        let mut slab = Slab::new();
        let peers: Vec<PeerKey> = (0..=MOST_OWED).map(|_| slab.insert(record(NOW))).collect();
        owed.add(NOW, peers[0], &[1; 40]);
        owed.add(NOW, peers[0], &[9; 41]);
        owed.add(NOW, peers[0], &[2; 3]);
        assert_eq!(owed.take(peers[0]).unwrap().value(NOW), Some(&[2; 3][..]));
        assert!(owed.take(peers[0]).is_none() && owed.is_empty());
        let forgotten = peers.iter().filter(|peer| owed.add(NOW, **peer, &[3])).count();
        assert_eq!(forgotten, 1);
        assert!(owed.take(peers[0]).is_none());
        assert_eq!(owed.take(peers[1]).unwrap().value(NOW + KEPT), None);
        owed.add(NOW + KEPT, peers[0], &[4]);
        assert_eq!(owed.all.len(), 1);
    }
}
