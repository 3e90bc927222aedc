//! Whether a handshake message is whole and well-formed (RFC 5246 §7.4, RFC 6347 §4.3.2).
//!
//! The library indexes into what it parses: a message with a length that does not fit makes it panic, or, worse, makes it read
//! something else than the peer has written. So everything that anyone can send is looked at here first.

use crate::verify::Role;

pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// More certificates are not in any chain that is of use; each is looked at for its length only.
const MAX_CERTIFICATES: usize = 16;

/// True if the end that is `role` can take this message, which the peer has sent in the clear.
pub(super) fn is_acceptable(role: Role, kind: u8, body: &[u8]) -> bool {
    let mut body = Reader(body);
    let read = match (role, kind) {
        (Role::Server, CLIENT_HELLO) => suites(body.0).map(|_| body.0 = &[]),
        (Role::Client, SERVER_HELLO) => server_hello(&mut body),
        (Role::Client, HELLO_VERIFY_REQUEST) => body.take(2).and_then(|_| body.vector8()).map(drop),
        (_, CERTIFICATE) => certificates(&mut body),
        (Role::Client, SERVER_KEY_EXCHANGE) => server_key_exchange(&mut body),
        (Role::Client, CERTIFICATE_REQUEST) => certificate_request(&mut body),
        (Role::Client, SERVER_HELLO_DONE) => Some(()),
        (Role::Server, CERTIFICATE_VERIFY) => body.take(2).and_then(|_| body.vector16()).map(drop),
        (Role::Server, CLIENT_KEY_EXCHANGE) => client_key_exchange(&mut body),
        _ => None,
    };
    read.is_some() && body.0.is_empty()
}

/// The suites that a well-formed ClientHello offers, in its order.
///
/// A session identifier must be empty: the library takes the rest of it for the cookie. Nothing is resumed here, and a client has
/// none to show on its first visit. There must be extensions, one of which is needed anyway (RFC 7627).
pub(super) fn suites(body: &[u8]) -> Option<impl Iterator<Item = [u8; 2]>> {
    let mut body = Reader(body);
    let version_and_random = body.take(2 + 32)?;
    // DTLS 1.2 and later are offered by this version. The library refuses others with an alert.
    let is_dtls = version_and_random.first() == Some(&0xfe);
    let session = body.vector8()?;
    let _cookie = body.vector8()?;
    let suites = body.vector16()?;
    let compressions = body.vector8()?;
    extensions(&mut body)?;
    let good = is_dtls && session.is_empty() && !suites.is_empty() && suites.len() % 2 == 0;
    // RFC 5246 §7.4.1.2: "no compression" is always among them.
    (good && compressions.contains(&0) && body.0.is_empty())
        .then(|| suites.chunks_exact(2).filter_map(|suite| suite.try_into().ok()))
}

/// The suite that a ServerHello chooses.
pub(super) fn chosen(body: &[u8]) -> Option<[u8; 2]> {
    let mut body = Reader(body);
    body.take(2 + 32)?;
    body.vector8()?;
    body.take(2)?.try_into().ok()
}

fn server_hello(body: &mut Reader<'_>) -> Option<()> {
    body.take(2 + 32)?;
    body.vector8()?;
    let suite_and_compression = body.take(3)?;
    extensions(body)?;
    (suite_and_compression.last() == Some(&0)).then_some(())
}

/// RFC 5246 §7.4.1.4: each type once.
fn extensions(body: &mut Reader<'_>) -> Option<()> {
    let mut extensions = Reader(body.vector16()?);
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let kind = extensions.take(2)?;
        extensions.vector16()?;
        // As many as a hello can have would be looked through again and again.
        if seen.contains(&kind) || seen.len() > 64 {
            return None;
        }
        seen.push(kind);
    }
    Some(())
}

fn certificates(body: &mut Reader<'_>) -> Option<()> {
    let mut list = Reader(body.vector24()?);
    for _ in 0..=MAX_CERTIFICATES {
        if list.0.is_empty() {
            return Some(());
        }
        list.vector24()?;
    }
    None
}

/// A hint (RFC 4279 §2) or a signed point (RFC 8422 §5.4).
fn server_key_exchange(body: &mut Reader<'_>) -> Option<()> {
    let mut hint = Reader(body.0);
    if hint.vector16().is_some() && hint.0.is_empty() {
        body.0 = &[];
        return Some(());
    }
    body.take(3)?;
    body.vector8()?;
    body.take(2)?;
    body.vector16().map(drop)
}

/// An identity (RFC 4279 §2) or a point (RFC 8422 §5.7).
fn client_key_exchange(body: &mut Reader<'_>) -> Option<()> {
    let mut identity = Reader(body.0);
    if identity.vector16().is_some() && identity.0.is_empty() {
        body.0 = &[];
        return Some(());
    }
    // The library looks at two bytes before it knows.
    body.vector8().filter(|point| !point.is_empty()).map(drop)
}

fn certificate_request(body: &mut Reader<'_>) -> Option<()> {
    body.vector8()?;
    let algorithms = body.vector16()?;
    body.vector16()?;
    (algorithms.len() % 2 == 0).then_some(())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// What follows a length in this many bytes.
    fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.take(width)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length)
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        self.vector(1)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        self.vector(2)
    }

    fn vector24(&mut self) -> Option<&'a [u8]> {
        self.vector(3)
    }
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    const HELLO: [u8; 87] = hex!(
        "fefd 101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f 00 00"
        "000a 00ae c0a8 00a8 c0ae c02b 01 00"
        "0023 000a 0006 0004 001d0017 000b 0002 0100 000d 0006 0004 0403 0401 0017 0000 ff01 0001 00"
    );

    #[test]
    fn a_hello_tells_its_suites() {
        let suites: Vec<_> = suites(&HELLO).unwrap().collect();
        assert_eq!(suites, [[0x00, 0xae], [0xc0, 0xa8], [0x00, 0xa8], [0xc0, 0xae], [0xc0, 0x2b]]);
    }

    #[test]
    fn a_hello_of_a_server_tells_what_is_chosen() {
        let mut hello = HELLO[..34].to_vec();
        hello.extend(hex!("00 c02b 00 0004 0017 0000"));
        assert!(is_acceptable(Role::Client, SERVER_HELLO, &hello));
        assert_eq!(chosen(&hello), Some([0xc0, 0x2b]));
        assert_eq!(chosen(&hello[..36]), None);
    }

    #[test]
    fn no_message_may_be_cut_or_lengthened() {
        let messages: [(Role, u8, &[u8]); 9] = [
            (Role::Server, CLIENT_HELLO, &HELLO),
            (Role::Client, HELLO_VERIFY_REQUEST, &hex!("feff 02 aabb")),
            (Role::Client, CERTIFICATE, &hex!("000008 000002 3000 000000")),
            (Role::Server, CERTIFICATE, &hex!("000000")),
            (Role::Client, SERVER_KEY_EXCHANGE, &hex!("03 0017 02 0401 0403 0001 aa")),
            (Role::Client, SERVER_KEY_EXCHANGE, &hex!("0002 6869")),
            (Role::Client, CERTIFICATE_REQUEST, &hex!("01 40 0002 0403 0000")),
            (Role::Server, CERTIFICATE_VERIFY, &hex!("0403 0002 aabb")),
            (Role::Server, CLIENT_KEY_EXCHANGE, &hex!("0002 6964")),
        ];
        for (role, kind, body) in messages {
            assert!(is_acceptable(role, kind, body), "{kind} {body:02x?}");
            for length in 0..body.len() {
                assert!(!is_acceptable(role, kind, &body[..length]), "{kind} {:02x?}", &body[..length]);
            }
            assert!(!is_acceptable(role, kind, &[body, &[0]].concat()), "{kind}");
        }
        assert!(is_acceptable(Role::Client, SERVER_HELLO_DONE, &[]));
        assert!(!is_acceptable(Role::Client, SERVER_HELLO_DONE, &[0]));
    }

    #[test]
    fn nobody_gets_messages_of_its_own_end() {
        assert!(!is_acceptable(Role::Client, CLIENT_HELLO, &HELLO));
        assert!(!is_acceptable(Role::Server, HELLO_VERIFY_REQUEST, &hex!("feff 02 aabb")));
        assert!(!is_acceptable(Role::Server, SERVER_HELLO_DONE, &[]));
        assert!(!is_acceptable(Role::Client, 0, &[]), "HelloRequest: nothing is renegotiated");
        assert!(!is_acceptable(Role::Server, 20, &[0; 12]), "Finished is never in the clear");
    }

    #[test]
    fn a_hello_with_an_extension_twice_or_without_the_null_compression_is_malformed() {
        let mut twice = HELLO[..HELLO.len() - 37].to_vec();
        twice.extend(hex!("0008 00170000 00170000"));
        assert!(suites(&twice).is_none());
        let mut compressed = HELLO;
        compressed[49] = 1;
        assert!(suites(&compressed).is_none());
        let mut resumed = HELLO;
        resumed[34] = 1;
        assert!(suites(&resumed).is_none());
    }
}
