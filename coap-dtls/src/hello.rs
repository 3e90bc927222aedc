//! The first message of a handshake, as far as a server must read it before it keeps anything (RFC 6347 §4.2.1).
//!
//! ```text
//!   record:    type 22 · version (2) · epoch (2) · sequence number (6) · length (2)
//!   handshake: type 1 · length (3) · message_seq (2) · fragment_offset (3) · fragment_length (3)
//!   hello:     version (2) · random (32) · session_id <0..32> · cookie <0..255> · cipher_suites <2..> ·
//!              compression_methods <1..> · extensions <0..>
//! ```
//!
//! A hello in several fragments is not taken: to put it together, a server would have to keep something for whoever claims
//! to have an address.

/// RFC 6347 §4.1: type, version, epoch, sequence number, length.
pub(crate) const RECORD_HEADER: usize = 13;
/// RFC 6347 §4.2.2.
const HANDSHAKE_HEADER: usize = 12;

/// What a record carries (RFC 5246 §6.2.1).
pub(crate) const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const FATAL: u8 = 2;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// RFC 8446 §4.2.
const SUPPORTED_VERSIONS: u16 = 43;
/// RFC 9147 §5.3: how DTLS 1.3 is written.
const DTLS13: [u8; 2] = [0xfe, 0xfc];

/// A cookie of ours is as long as RFC 6347 §4.2.1 wants all implementations to take, and as what `dimpl` makes.
pub(crate) const COOKIE: usize = 32;
/// The length of our HelloVerifyRequest in bytes. The shortest hello has 67, so it is never longer than what it answers.
pub(crate) const VERIFY_REQUEST: usize = RECORD_HEADER + HANDSHAKE_HEADER + 3 + COOKIE;

/// The length of a refusal in bytes.
pub(crate) const REFUSAL: usize = RECORD_HEADER + 2;

/// The cookie in a HelloVerifyRequest that a datagram begins with (RFC 6347 §4.2.1).
pub(crate) fn cookie_asked(datagram: &[u8]) -> Option<&[u8]> {
    let (record, message) = datagram.split_at_checked(RECORD_HEADER)?;
    let ([HANDSHAKE, 0xfe, _, 0, 0, ..], [HELLO_VERIFY_REQUEST, ..]) = (record, message) else { return None };
    let [_, _, length, cookie @ ..] = message.get(HANDSHAKE_HEADER..)? else { return None };
    cookie.get(..usize::from(*length))
}

/// RFC 8446 §4.1.3: the random of a ServerHello that is a HelloRetryRequest (SHA-256 of its name), its first half.
const HELLO_RETRY_REQUEST: [u8; 16] =
    [0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91];

/// A datagram that begins with a ServerHello which is none but that: its server has got the cookie that it asked for.
pub(crate) fn is_server_hello(datagram: &[u8]) -> bool {
    let is_hello =
        matches!(datagram, [HANDSHAKE, 0xfe, _, 0, 0, ..]) && datagram.get(RECORD_HEADER) == Some(&SERVER_HELLO);
    // Record header, handshake header, version.
    is_hello && datagram.get(27..43).is_some_and(|random| random != HELLO_RETRY_REQUEST)
}

/// A ClientHello that fills the first record of a datagram. Whatever follows that record is not looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientHello<'a> {
    /// The record.
    record: &'a [u8],
    /// Version, random and session_id.
    head: &'a [u8],
    cookie: &'a [u8],
    /// What comes after the cookie.
    tail: &'a [u8],
    /// How much of it are the cipher suites and compression methods.
    parameters: usize,
    suites: &'a [u8],
    offers_dtls13: bool,
}

impl<'a> ClientHello<'a> {
    /// Reads the first record of `datagram`. `None`: it is no whole, well-formed ClientHello of epoch 0.
    pub(crate) fn parse(datagram: &'a [u8]) -> Option<Self> {
        let [HANDSHAKE, 0xfe, 0xff | 0xfd, 0, 0, rest @ ..] = datagram else { return None };
        let length = u16::from_be_bytes([*rest.get(6)?, *rest.get(7)?]);
        let record = datagram.get(..RECORD_HEADER + usize::from(length))?;
        let mut message = Cursor(record.get(RECORD_HEADER..)?);
        let [kind, length @ ..] = message.array::<4>()?;
        let _message_seq = message.array::<2>()?;
        let (offset, fragment) = (message.array::<3>()?, message.array::<3>()?);
        let is_whole = offset == [0; 3] && fragment == length && message.0.len() == uint24(length);
        if kind != CLIENT_HELLO || !is_whole {
            return None;
        }

        let body = message.0;
        let version = message.array::<2>()?;
        if version[0] != 0xfe {
            return None;
        }
        let _random = message.array::<32>()?;
        let session_id = message.vector8()?;
        let head = body.get(..body.len() - message.0.len())?;
        let cookie = message.vector8()?;
        let tail = message.0;
        let suites = message.vector16()?;
        let compression = message.vector8()?;
        let parameters = tail.len() - message.0.len();
        if session_id.len() > 32 || suites.is_empty() || suites.len() % 2 != 0 || compression.is_empty() {
            return None;
        }
        let offers_dtls13 = offers_dtls13(message.0)?;
        Some(Self { record, head, cookie, tail, parameters, suites, offers_dtls13 })
    }

    /// The random of the client.
    pub(crate) fn random(&self) -> &'a [u8] {
        self.head.get(2..34).unwrap_or_default()
    }

    /// The cookie; empty in a first hello.
    pub(crate) fn cookie(&self) -> &'a [u8] {
        self.cookie
    }

    /// The number of the message: 0 in a first hello, 1 in the one that answers a HelloVerifyRequest.
    pub(crate) fn message_seq(&self) -> u16 {
        self.record.get(17..19).map_or(0, |seq| u16::from_be_bytes([seq[0], seq[1]]))
    }

    /// What a client may not change between its hellos (RFC 6347 §4.2.1): version, random and session_id; cipher suites and
    /// compression methods.
    pub(crate) fn parameters(&self) -> [&'a [u8]; 2] {
        [self.head, self.tail.get(..self.parameters).unwrap_or_default()]
    }

    /// The cipher suites that the client offers, the one that it likes best first.
    pub(crate) fn suites(&self) -> impl Iterator<Item = u16> + 'a {
        self.suites.chunks_exact(2).map(|suite| u16::from_be_bytes([suite[0], suite[1]]))
    }

    /// True if the client speaks DTLS 1.3 too.
    pub(crate) fn offers_dtls13(&self) -> bool {
        self.offers_dtls13
    }

    /// The HelloVerifyRequest that answers this hello: it has the sequence number of the hello, as no other is known
    /// (RFC 6347 §4.2.1), and is of DTLS 1.0, whatever is spoken later.
    pub(crate) fn verify_request(&self, cookie: &[u8; COOKIE]) -> [u8; VERIFY_REQUEST] {
        const BODY: u8 = COOKIE as u8 + 3;
        let mut out = [0; VERIFY_REQUEST];
        let (record, message) = out.split_at_mut(RECORD_HEADER);
        record[..3].copy_from_slice(&[HANDSHAKE, 0xfe, 0xff]);
        if let Some(sequence) = self.record.get(5..11) {
            record[5..11].copy_from_slice(sequence);
        }
        record[12] = HANDSHAKE_HEADER as u8 + BODY;
        let (header, body) = message.split_at_mut(HANDSHAKE_HEADER);
        header.copy_from_slice(&[HELLO_VERIFY_REQUEST, 0, 0, BODY, 0, 0, 0, 0, 0, 0, 0, BODY]);
        body[..3].copy_from_slice(&[0xfe, 0xff, COOKIE as u8]);
        body[3..].copy_from_slice(cookie);
        out
    }

    /// The fatal alert that tells the client that its hello is refused (RFC 5246 §7.2). It is shorter than any hello, and has its
    /// sequence number, as a HelloVerifyRequest has.
    pub(crate) fn refusal(&self, description: u8) -> [u8; REFUSAL] {
        let mut out = [ALERT, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, FATAL, description];
        if let Some(sequence) = self.record.get(5..11) {
            out[5..11].copy_from_slice(sequence);
        }
        out
    }

    /// The hello that the client sent before this one: the same without a cookie, message_seq 0, and another sequence number.
    /// Where nothing was kept of it, it is made up.
    pub(crate) fn first(&self) -> Vec<u8> {
        let body = self.head.len() + 1 + self.tail.len();
        // Not longer than this hello, whose lengths fit.
        let [.., a, b, c] = (body as u32).to_be_bytes();
        let [.., high, low] = ((HANDSHAKE_HEADER + body) as u32).to_be_bytes();
        let mut out = Vec::with_capacity(RECORD_HEADER + HANDSHAKE_HEADER + body);
        out.extend_from_slice(&self.record[..5]);
        let sequence = self.record.get(5..11).unwrap_or_default();
        out.extend_from_slice(&[0, 0, 0, 0, 0, u8::from(sequence == [0; 6])]);
        out.extend_from_slice(&[high, low]);
        out.extend_from_slice(&[CLIENT_HELLO, a, b, c, 0, 0, 0, 0, 0, a, b, c]);
        out.extend_from_slice(self.head);
        out.push(0);
        out.extend_from_slice(self.tail);
        out
    }

    /// The record itself.
    pub(crate) fn record(&self) -> &'a [u8] {
        self.record
    }
}

/// Whether supported_versions names DTLS 1.3. `None`: the extensions are malformed, or one is there twice (RFC 5246
/// §7.4.1.4).
fn offers_dtls13(extensions: &[u8]) -> Option<bool> {
    if extensions.is_empty() {
        return Some(false);
    }
    let mut cursor = Cursor(extensions);
    let mut extensions = Cursor(cursor.vector16()?);
    if !cursor.0.is_empty() {
        return None;
    }
    let mut seen = Seen::default();
    let mut offered = false;
    while !extensions.0.is_empty() {
        let number = u16::from_be_bytes(extensions.array()?);
        let value = extensions.vector16()?;
        if !seen.insert(number) {
            return None;
        }
        if number == SUPPORTED_VERSIONS {
            let versions = Cursor(value).vector8()?;
            offered = versions.chunks_exact(2).any(|version| version == DTLS13);
        }
    }
    Some(offered)
}

/// More extensions than any client has. A hello with more is not answered, so that the search for doubles stays short.
const MAX_EXTENSIONS: usize = 64;

/// The numbers of the extensions so far.
struct Seen {
    numbers: [u16; MAX_EXTENSIONS],
    len: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self { numbers: [0; MAX_EXTENSIONS], len: 0 }
    }
}

impl Seen {
    /// False if it is there already, or there are too many.
    fn insert(&mut self, number: u16) -> bool {
        let Some((known, free)) = self.numbers.split_at_mut_checked(self.len) else { return false };
        let Some(place) = free.first_mut().filter(|_| !known.contains(&number)) else { return false };
        *place = number;
        self.len += 1;
        true
    }
}

/// What is still to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// As many bytes as the next one says.
    fn vector8(&mut self) -> Option<&'a [u8]> {
        let [length] = self.array()?;
        self.take(usize::from(length))
    }

    /// As many bytes as the next two say.
    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(usize::from(length))
    }
}

fn uint24([a, b, c]: [u8; 3]) -> usize {
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    /// A hello with two suites, one compression method and extended_master_secret.
    const HELLO: [u8; 75] = hex!(
        "16 feff 0000 000000000000 003e"
        "01 000032 0000 000000 000032"
        "fefd 101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f 00 00"
        "0004 c0a8 c02b 01 00 0004 0017 0000"
    );

    #[test]
    fn a_hello_is_read() {
        let hello = ClientHello::parse(&HELLO).unwrap();
        assert_eq!(hello.random(), &HELLO[27..59]);
        assert_eq!((hello.message_seq(), hello.cookie()), (0, &[][..]));
        assert_eq!(hello.suites().collect::<Vec<_>>(), [0xc0a8, 0xc02b]);
        assert!(!hello.offers_dtls13());
    }

    #[test]
    fn a_verify_request_is_shorter_than_the_shortest_hello() {
        let hello = ClientHello::parse(&HELLO).unwrap();
        let request = hello.verify_request(&[7; COOKIE]);
        let expected = hex!("16 feff 0000 000000000000 002f 03 000023 0000 000000 000023 feff 20");
        assert_eq!(request[..28], expected);
        assert_eq!(request[28..], [7; COOKIE]);
        assert!(request.len() < 67);
    }

    #[test]
    fn the_hello_before_is_this_one_without_its_cookie() {
        let mut second = HELLO.to_vec();
        second.splice(60..61, [3, 1, 2, 3]);
        second[10] = 1;
        second[12] += 3;
        (second[16], second[24]) = (second[16] + 3, second[24] + 3);
        second[18] = 1;
        let second = ClientHello::parse(&second).unwrap();
        assert_eq!((second.message_seq(), second.cookie()), (1, &[1, 2, 3][..]));
        assert_eq!(second.first(), HELLO);
    }

    #[test]
    fn no_prefix_of_a_hello_is_one() {
        for length in 0..HELLO.len() {
            assert!(ClientHello::parse(&HELLO[..length]).is_none(), "{length} bytes");
        }
        let mut followed = HELLO.to_vec();
        followed.extend_from_slice(&hex!("16 fefd 0000"));
        assert!(ClientHello::parse(&followed).is_some(), "what follows the first record does not matter");
    }

    #[test]
    fn an_extension_comes_once() {
        let mut twice = HELLO.to_vec();
        twice.extend_from_slice(&hex!("0017 0000"));
        (twice[12], twice[16], twice[24]) = (twice[12] + 4, twice[16] + 4, twice[24] + 4);
        twice[70] = 8;
        assert!(ClientHello::parse(&twice).is_none());
    }

    #[test]
    fn dtls_13_is_seen_among_the_versions() {
        let mut hello = HELLO.to_vec();
        hello.extend_from_slice(&hex!("002b 0005 04 fefc fefd"));
        (hello[12], hello[16], hello[24]) = (hello[12] + 9, hello[16] + 9, hello[24] + 9);
        hello[70] = 13;
        assert!(ClientHello::parse(&hello).unwrap().offers_dtls13());
    }

    #[test]
    fn a_server_hello_shows_that_the_cookie_has_come_back_and_a_request_to_try_again_does_not() {
        let mut hello = vec![0; 80];
        (hello[0], hello[1], hello[13]) = (22, 0xfe, 2);
        assert!(is_server_hello(&hello));
        hello[27..43].copy_from_slice(&HELLO_RETRY_REQUEST);
        assert!(!is_server_hello(&hello));
    }
}
