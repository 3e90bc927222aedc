//! One session: a handshake of the library, then our own records.
//!
//! Where the ciphers are ours (`cipher.rs`), the library is left when the handshake is done. DTLS 1.3, and suites whose ciphers
//! are the library's, stay with it.

use core::mem;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use coap_core::{Instant, SessionEnd, UdpAddr};
use dimpl::{Dtls, Error};
use rustls_pki_types::CertificateDer;

use super::guard::{Guarded, Panicked};
use super::provider::Call;
use super::taken::Taken;
use super::{Clock, error};
use crate::attempts::Attempt;
use crate::engine::{Engine, Output, SendError};
use crate::hello;
use crate::identity::PeerIdentity;
use crate::record::{Content, records};
use crate::record_header::{Sealed, first_part};
use crate::standing::{Handshaken, Standing};
use crate::suite::CipherSuite;
use crate::verify::{self, PeerVerifier, Role, ServerName};

/// How many bytes a handshake may bring in. The largest that is known, with certificates of 4 KiB on both sides and each
/// flight repeated four times, has less; what a peer can have the library keep and put together has its bound in this.
const MAX_HANDSHAKE: usize = 60_000;

/// After how many records a session that stays with the library is over. It draws the nonce of a record at random (64 bits): with 2²⁰ of them,
/// two are the same with a chance of 3·10⁻⁸.
const MAX_RECORDS: u32 = 1 << 20;

/// After how many datagrams that did nothing a session is over: a forged record passes a tag of 64 bits with a chance of
/// 2⁻⁶⁴, all of these together with one of 2⁻³⁶.
const MAX_WASTED: u32 = 1 << 28;

/// How many parts of a datagram are looked at in a handshake: the last flight of one has two.
const MAX_PARTS: usize = 8;

/// The library sleeps for years when it waits for nothing.
const NEVER: core::time::Duration = core::time::Duration::from_secs(365 * 24 * 60 * 60);

/// The length of an alert in the clear.
const ALERT: usize = 15;

/// Who the peer is, and who decides that.
#[derive(Clone)]
pub(super) enum Credentials {
    /// We have this identity, and the server knows its key.
    ClientPsk(Arc<[u8]>),
    /// The client at this address names an identity.
    ServerPsk(UdpAddr),
    /// The peer shows a certificate.
    Certificate(Arc<Judge>),
    /// The client is not asked.
    Anonymous,
}

/// Looks at certificates.
pub(super) struct Judge {
    pub(super) verifier: Arc<dyn PeerVerifier>,
    pub(super) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    pub(super) role: Role,
}

/// Where a session is. An unproven client is owed no more bytes than it has sent.
enum Phase {
    Unproven { credit: usize },
    Handshake,
    Open,
    Over,
}

/// What is to be told before the library is asked.
enum News {
    None,
    Proven,
    /// The handshake failed, by our decision or that of the library: the peer is told, then the layer.
    Failed(SessionEnd),
    Ended(SessionEnd),
}

pub(super) struct DimplEngine {
    dtls: Guarded,
    clock: Clock,
    credentials: Credentials,
    name: Option<ServerName>,
    identity: Option<PeerIdentity>,
    suite: Option<CipherSuite>,
    /// What a server knows of the handshakes before this one, until it is done.
    attempt: Option<Box<Attempt>>,
    /// A client that nobody has answered yet.
    is_unanswered: bool,
    /// What the ciphers have told, until the handshake is done.
    taken: Option<Box<Taken>>,
    /// The datagrams with a server's ChangeCipherSpec and Finished.
    last_flight: Vec<u8>,
    /// The session, when it has left the library.
    standing: Option<Box<Standing>>,
    role: Role,
    max_record: usize,
    phase: Phase,
    news: News,
    wake: Option<Instant>,
    /// The timer of the library is not called before.
    rests_until: Instant,
    /// Bytes of the handshake that came in.
    fed: usize,
    sent: u32,
    wasted: u32,
}

impl DimplEngine {
    /// The end of a server.
    pub(super) fn new(dtls: Dtls, clock: Clock, credentials: Credentials, max_record: usize) -> Self {
        Self {
            dtls: Guarded::new(dtls),
            clock,
            credentials,
            name: None,
            identity: None,
            suite: None,
            attempt: None,
            is_unanswered: false,
            taken: Some(Box::default()),
            last_flight: Vec::new(),
            standing: None,
            role: Role::Server,
            max_record,
            phase: Phase::Handshake,
            news: News::None,
            wake: None,
            rests_until: Instant::ZERO,
            fed: 0,
            sent: 0,
            wasted: 0,
        }
    }

    /// The same, for a client that may have forged its address.
    pub(super) fn unproven(mut self) -> Self {
        self.phase = Phase::Unproven { credit: 0 };
        self
    }

    /// The same, of a client, whose server must prove to be `name`.
    pub(super) fn client(mut self, name: Option<ServerName>) -> Self {
        self.role = Role::Client;
        self.name = name;
        self.is_unanswered = true;
        self
    }

    /// The same, of a server that knows what has come before.
    pub(super) fn after(mut self, attempt: Attempt) -> Self {
        self.attempt = Some(Box::new(attempt));
        self
    }

    /// Hands in the hello that the library has not seen, throws its HelloVerifyRequest away, and hands in the hello that
    /// answered ours.
    ///
    /// # Errors
    /// It did not like one of them, and the client is to be told so by an alert of this number.
    pub(super) fn greet(&mut self, now: Instant, first: &[u8], second: &[u8]) -> Result<(), u8> {
        let at = self.clock.at(now);
        self.fed = second.len();
        let greeted = self.dtls.call(|dtls| {
            dtls.handle_timeout(at)?;
            dtls.handle_packet(first)?;
            let (mut scratch, mut requests) = ([0; 512], 0);
            while let dimpl::Output::Packet(_) = dtls.poll_output(&mut scratch) {
                requests += 1;
            }
            dtls.handle_packet(second).map(|()| requests)
        });
        match greeted {
            Ok(Ok(1)) => Ok(()),
            Ok(Ok(_)) => Err(error::HANDSHAKE_FAILURE),
            Ok(Err(error)) => Err(error::refusal(&error)),
            Err(Panicked) => Err(error::INTERNAL_ERROR),
        }
    }

    /// One call into the library. In a handshake it asks who the peer is, and says what was agreed on.
    fn work(&mut self, work: impl FnOnce(&mut Dtls) -> Result<(), Error>) -> Result<(), Error> {
        self.call(work).unwrap_or_else(|panicked| {
            self.on_panic(panicked);
            Ok(())
        })
    }

    fn call<T>(&mut self, work: impl FnOnce(&mut Dtls) -> T) -> Result<T, Panicked> {
        if self.taken.is_none() && matches!(self.phase, Phase::Open) {
            return self.dtls.call(work);
        }
        let peer = if let Credentials::ServerPsk(peer) = self.credentials { Some(peer) } else { None };
        let call = Call { peer, taken: self.taken.take(), ..Call::default() };
        let (done, call) = call.with(|| self.dtls.call(work));
        self.identity = call.identity.map(PeerIdentity::Psk).or_else(|| self.identity.take());
        self.suite = call.suite.and_then(CipherSuite::from_number).or(self.suite);
        self.taken = call.taken;
        done
    }

    /// The handshake is done, and the library has told all: goes on without it, if that can be.
    fn leave(&mut self) {
        let Some(records) = self.taken.take().and_then(|taken| taken.records(self.role)) else { return };
        let last_flight = mem::take(&mut self.last_flight);
        let (inbox, outbox) = (VecDeque::new(), VecDeque::new());
        let (identity, finished_is_to_come, max_record) = (None, false, self.max_record);
        self.standing = Some(Box::new(Standing::new(Handshaken {
            records,
            identity,
            inbox,
            outbox,
            last_flight,
            finished_is_to_come,
            max_record,
        })));
        self.dtls.leave();
        self.wake = None;
    }

    /// The library is gone. A peer in its handshake is told; one with a session cannot be, as the keys are gone too.
    fn on_panic(&mut self, _: Panicked) {
        self.news = match self.phase {
            Phase::Handshake => News::Failed(SessionEnd::Internal),
            Phase::Over => return,
            Phase::Unproven { .. } | Phase::Open => News::Ended(SessionEnd::Internal),
        };
    }

    /// A datagram of a handshake, or a part of it.
    fn handle_part(&mut self, now: Instant, part: &[u8]) {
        let sealed = Sealed::read(part);
        if let (Some(attempt), Some(sealed)) = (&self.attempt, &sealed)
            && !attempt.note(sealed)
        {
            return;
        }
        if self.is_unanswered
            && let Some(number) = first_message(part)
        {
            // A server has answered an earlier hello, and the library would keep that for later.
            if number > 0 {
                return;
            }
            self.is_unanswered = false;
        }
        let at = self.clock.at(now);
        let result = self.work(|dtls| dtls.handle_timeout(at).and_then(|()| dtls.handle_packet(part)));
        if result.as_ref().is_err_and(error::is_undecryptable) && !self.shows_wrong_key(now, sealed.as_ref()) {
            return;
        }
        self.settle(result);
    }

    /// Whether a record that cannot be opened is the peer's, and shows that the keys of the ends differ. The library has not kept
    /// it, and goes on as if it had not come (RFC 6347 §4.1.2.7).
    ///
    /// A server is sent such a record first: one that could open that of its client has the same keys, so that a client that cannot
    /// open the answer has got what is forged, or late.
    fn shows_wrong_key(&self, now: Instant, sealed: Option<&Sealed>) -> bool {
        match (&self.attempt, sealed) {
            (Some(attempt), Some(sealed)) => attempt.shows_wrong_key(now, sealed),
            _ => false,
        }
    }

    /// What the library says about a call.
    fn settle(&mut self, result: Result<(), Error>) {
        let Err(error) = result else { return };
        let why = error::meaning(&error);
        self.news = match self.phase {
            Phase::Handshake => News::Failed(why),
            Phase::Over => return,
            Phase::Unproven { credit } if credit >= ALERT => News::Failed(why),
            Phase::Unproven { .. } | Phase::Open => News::Ended(why),
        };
    }

    /// The certificate of the peer, before anything that comes after it is looked at.
    fn on_certificate(&mut self, der: Vec<u8>) {
        let Credentials::Certificate(judge) = &self.credentials else { return };
        let chain = vec![CertificateDer::from(der)];
        match verify::judge(&*judge.verifier, &chain, judge.role, self.name.as_ref(), (judge.clock)()) {
            Ok(()) => self.identity = Some(PeerIdentity::Certificate(chain)),
            Err(error) => self.news = News::Failed(error.into()),
        }
    }

    /// The handshake is done. A peer that should have shown who it is and has not is not let in.
    fn on_connected(&mut self) -> Option<PeerIdentity> {
        let identity = match &self.credentials {
            Credentials::ClientPsk(identity) => Some(PeerIdentity::Psk(identity.to_vec())),
            Credentials::Anonymous => Some(PeerIdentity::Anonymous),
            Credentials::ServerPsk(_) | Credentials::Certificate(_) => self.identity.take(),
        };
        match identity {
            Some(_) => {
                self.phase = Phase::Open;
                self.attempt = None;
            }
            None => self.news = News::Failed(SessionEnd::NoCertificate),
        }
        identity
    }

    /// Whether a datagram may go out to somebody whose address is not proven, and whether it shows that it is now: a
    /// ServerHello comes only after the cookie of the library has come back.
    fn lets_out(&mut self, datagram: &[u8]) -> bool {
        let Phase::Unproven { credit } = &mut self.phase else { return true };
        if hello::is_server_hello(datagram) {
            self.phase = Phase::Handshake;
            self.news = News::Proven;
            return true;
        }
        match credit.checked_sub(datagram.len()) {
            Some(left) => {
                *credit = left;
                true
            }
            None => false,
        }
    }

    /// Keeps what belongs to the last flight. It may begin in the last datagram of one that is sent again, and go on in the next.
    fn keep_last_flight(&mut self, datagram: &[u8]) {
        let has = |what| records(datagram).any(|record| (record.epoch, record.content) == what);
        if has((0, Content::ChangeCipherSpec)) {
            self.last_flight.clear();
        } else if !has((1, Content::Handshake)) {
            return;
        }
        self.last_flight.extend_from_slice(datagram);
    }

    /// One thing that the library tells; the length of what is in `buf`.
    fn next(&mut self, now: Instant, buf: &mut [u8]) -> Step {
        let polled = self.call(|dtls| match dtls.poll_output(buf) {
            dimpl::Output::Packet(datagram) => Step::Datagram(datagram.len()),
            dimpl::Output::PeerCert(der) => Step::Certificate(der.to_vec()),
            dimpl::Output::Connected => Step::Connected,
            dimpl::Output::ApplicationData(data) => Step::Plaintext(data.len()),
            dimpl::Output::CloseNotify => Step::Closed,
            dimpl::Output::BufferTooSmall { .. } => Step::TooLong,
            dimpl::Output::Timeout(at) => Step::Sleep(at),
            // The keys for SRTP are of no use here.
            _ => Step::Other,
        });
        let told = polled.unwrap_or_else(|panicked| {
            self.on_panic(panicked);
            Step::Other
        });
        match told {
            Step::Datagram(len) => {
                let datagram = buf.get(..len).unwrap_or_default();
                if self.taken.is_some() && self.role == Role::Server {
                    self.keep_last_flight(datagram);
                }
                if self.lets_out(datagram) { Step::Datagram(len) } else { Step::Other }
            }
            Step::Sleep(at) => {
                let at = self.clock.back(at);
                self.wake = (at - now < NEVER).then_some(at.max(self.rests_until));
                Step::Nothing
            }
            told => told,
        }
    }
}

/// What the library told.
enum Step {
    Datagram(usize),
    Certificate(Vec<u8>),
    Connected,
    Plaintext(usize),
    Closed,
    TooLong,
    Other,
    Sleep(std::time::Instant),
    Nothing,
}

impl Engine for DimplEngine {
    fn handle(&mut self, now: Instant, datagram: &[u8]) {
        if let Some(standing) = &mut self.standing {
            return standing.handle(datagram);
        }
        match &mut self.phase {
            Phase::Over => return,
            Phase::Open => self.wasted = self.wasted.saturating_add(1),
            Phase::Unproven { credit } => *credit += datagram.len(),
            Phase::Handshake => {}
        }
        if !matches!(self.phase, Phase::Open) {
            if self.fed + datagram.len() > MAX_HANDSHAKE || !is_well_formed(datagram) {
                return;
            }
            self.fed += datagram.len();
        }
        if !matches!(self.phase, Phase::Handshake) {
            let at = self.clock.at(now);
            let result = self.work(|dtls| dtls.handle_timeout(at).and_then(|()| dtls.handle_packet(datagram)));
            return self.settle(result);
        }
        // One by one, so that a record that cannot be opened takes nothing with it.
        let mut rest = datagram;
        for _ in 0..MAX_PARTS {
            if rest.is_empty() || !matches!(self.news, News::None) {
                return;
            }
            let (part, after) = rest.split_at(first_part(rest));
            self.handle_part(now, part);
            rest = after;
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        // Whoever has not proven its address is sent nothing unasked; and what stands without the library has no timers.
        if self.standing.is_none() && matches!(self.phase, Phase::Handshake | Phase::Open) {
            self.rests_until = now + self.clock.rest;
            let at = self.clock.at(now);
            let result = self.work(|dtls| dtls.handle_timeout(at));
            self.settle(result);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Handshake | Phase::Open => self.wake,
            Phase::Unproven { .. } | Phase::Over => None,
        }
    }

    fn send(&mut self, _now: Instant, plaintext: &[u8]) -> Result<(), SendError> {
        if let Some(standing) = &mut self.standing {
            return standing.send(plaintext);
        }
        if !matches!(self.phase, Phase::Open) {
            return Err(SendError::NotEstablished);
        }
        if self.sent >= MAX_RECORDS {
            return Err(SendError::Exhausted);
        }
        self.sent += 1;
        let result = self.work(|dtls| dtls.send_application_data(plaintext).map(drop));
        self.settle(result);
        Ok(())
    }

    fn close(&mut self, _now: Instant) {
        if let Some(standing) = &mut self.standing {
            return standing.close();
        }
        if matches!(self.phase, Phase::Open) {
            // What cannot be said any more is not said.
            let _ = self.work(Dtls::close);
        }
    }

    fn suite(&self) -> Option<CipherSuite> {
        self.suite
    }

    fn poll<'a>(&mut self, now: Instant, buf: &'a mut [u8]) -> Option<Output<'a>> {
        loop {
            if self.standing.is_some() {
                break;
            }
            match mem::replace(&mut self.news, News::None) {
                News::None => {}
                News::Proven => return Some(Output::Proven),
                News::Failed(why) => {
                    self.news = News::Ended(why);
                    if let Some(alert) = error::alert(why).and_then(|number| write_alert(number, buf)) {
                        return Some(Output::Datagram(buf.get(..alert)?));
                    }
                    continue;
                }
                News::Ended(why) => {
                    self.phase = Phase::Over;
                    return Some(Output::Ended(why));
                }
            }
            if matches!(self.phase, Phase::Over) {
                return None;
            }
            match self.next(now, buf) {
                Step::Datagram(len) => return Some(Output::Datagram(buf.get(..len)?)),
                Step::Plaintext(len) => {
                    self.wasted = self.wasted.saturating_sub(1);
                    return Some(Output::Plaintext(buf.get(..len)?));
                }
                Step::Certificate(der) => self.on_certificate(der),
                Step::Connected => {
                    if let Some(identity) = self.on_connected() {
                        return Some(Output::Established(identity));
                    }
                }
                Step::Closed => self.news = News::Ended(SessionEnd::Peer),
                Step::TooLong => self.news = News::Ended(SessionEnd::Protocol),
                Step::Other | Step::Sleep(_) => {}
                Step::Nothing if self.wasted >= MAX_WASTED => self.news = News::Ended(SessionEnd::Exhausted),
                Step::Nothing if self.taken.is_some() && matches!(self.phase, Phase::Open) => self.leave(),
                Step::Nothing => return None,
            }
        }
        self.standing.as_mut()?.poll(buf)
    }
}

/// Whether the messages of a handshake that are in the clear fill their records, and lie within what they announce. The library
/// keeps a record that it cannot make sense of, and what comes after it is never looked at: whoever sends a client one such
/// would keep it from a session.
fn is_well_formed(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    // RFC 9147 §4.1: from 32 on a record has another header, whose second byte can be any.
    while let [kind @ 20..=31, 0xfe, _, epoch_high, epoch_low, _, _, _, _, _, _, high, low, after @ ..] = rest {
        let Some((body, next)) = after.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))) else {
            return false;
        };
        let in_the_clear = [*epoch_high, *epoch_low] == [0, 0];
        if in_the_clear && *kind == hello::HANDSHAKE && !are_well_formed(body) {
            return false;
        }
        rest = next;
    }
    // What is left begins a record of DTLS 1.3, which has keys, or nothing.
    rest.first().is_none_or(|first| (32..64).contains(first))
}

/// The messages, or fragments of messages, in one record.
fn are_well_formed(mut messages: &[u8]) -> bool {
    let wide = |bytes: [u8; 3]| u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
    loop {
        let [_, a, b, c, _, _, d, e, f, g, h, i, after @ ..] = messages else { return false };
        let (length, offset, fragment) = (wide([*a, *b, *c]), wide([*d, *e, *f]), wide([*g, *h, *i]));
        let Some((_, next)) = after.split_at_checked(fragment) else { return false };
        if length > MAX_HANDSHAKE || offset + fragment > length || (fragment == 0 && length > 0) {
            return false;
        }
        if next.is_empty() {
            return true;
        }
        messages = next;
    }
}

/// The number of the first message in a datagram that begins with one in the clear.
fn first_message(datagram: &[u8]) -> Option<u16> {
    match datagram {
        [hello::HANDSHAKE, _, _, 0, 0, ..] => Some(u16::from_be_bytes([*datagram.get(17)?, *datagram.get(18)?])),
        _ => None,
    }
}

/// A fatal alert in the clear, as there are no keys yet. Its sequence number is one that the handshake does not come to, so
/// that the peer does not take it for a copy.
fn write_alert(number: u8, buf: &mut [u8]) -> Option<usize> {
    let alert: [u8; ALERT] = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 2, number];
    buf.get_mut(..alert.len())?.copy_from_slice(&alert);
    Some(alert.len())
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    #[test]
    fn handshake_messages_in_the_clear_fill_their_records_and_lie_within_what_they_announce() {
        // ServerHelloDone, alone and after the first two bytes of a message of five.
        let done = hex!("16 fefd 0000 000000000001 000c 0e 000000 0003 000000 000000");
        assert!(is_well_formed(&done));
        assert!(is_well_formed(&hex!(
            "16 fefd 0000 000000000001 000e 0b 000005 0001 000000 000002 aabb 16 fefd 0000 000000000002 000c 0e 000000 0003 000000 000000"
        )));
        for (what, forged) in [
            ("nothing", &hex!("16 fefd 0000 000000000001 0000")[..]),
            ("half a header", &hex!("16 fefd 0000 000000000001 0006 0e 000000 0003")),
            ("beyond its end", &hex!("16 fefd 0000 000000000001 000e 0b 000005 0001 000004 000002 aabb")),
            ("beyond its record", &hex!("16 fefd 0000 000000000001 000e 0b 000005 0001 000000 000003 aabb")),
            ("no part of it", &hex!("16 fefd 0000 000000000001 000c 0b 000005 0001 000000 000000")),
            ("16 MiB", &hex!("16 fefd 0000 000000000001 000e 0b ffffff 0001 000000 000002 aabb")),
            ("a record that is cut off", &hex!("16 fefd 0000 000000000001 000d 0e 000000 0003 000000 000000")),
            ("half a header of a record", &[&done[..], &hex!("16 fefd 00")].concat()),
        ] {
            assert!(!is_well_formed(forged), "{what}");
        }
    }

    #[test]
    fn records_with_keys_are_not_looked_into() {
        assert!(is_well_formed(&hex!("16 fefd 0001 000000000000 0003 aabbcc")));
        assert!(is_well_formed(&hex!("14 fefd 0000 000000000003 0001 01 16 fefd 0001 000000000000 0003 aabbcc")));
        // RFC 9147 §4: the second byte of such a record is of a number that is encrypted.
        assert!(is_well_formed(&hex!("2e fecc 0003 aabbcc")));
        assert!(is_well_formed(&hex!(
            "16 fefd 0000 000000000001 000c 02 000000 0001 000000 000000 2e fefd 0003 aabbcc"
        )));
    }
}
