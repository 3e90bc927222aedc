//! What of the peer's datagrams reaches the library, and what is kept for after the handshake.
//!
//! The library is given whole messages only, once each, in order, and in the clear nothing that is malformed: pieces are put
//! together here, within bounds, as the library has none. What is encrypted is kept, to be opened by our own records when
//! the keys are there; a copy of Finished is given to the library.

use super::{cipher, message};
use crate::attempts::Attempt;
use crate::record::{Content, Record, last_alert, records};
use crate::record_header::Sealed;
use crate::suite::CipherSuite;
use crate::verify::Role;

/// A chain of certificates fits in, and a client cannot make us hold more.
const MAX_MESSAGE: usize = 1 << 14;
/// A hello is not in pieces, as long as its sender may be anyone (RFC 6347 §4.2.1).
const MAX_HELLO: usize = 2048;
/// How many messages may have begun at a time. A flight has five.
const MAX_PARTS: usize = 6;
/// How many pieces of a message may be apart.
const MAX_GAPS: usize = 32;
/// How many bytes of unfinished messages are held, in all.
const MAX_HELD: usize = 1 << 15;
/// How many encrypted records are kept: the last flight of the peer some times, and its first messages. What comes later is
/// lost, and repeated by whoever minds.
const MAX_SEALED: usize = 16;
/// How many records the library gets, in all: it keeps what it is given. A handshake needs about ten.
const MAX_RELAYED: u64 = 200;
/// The library reads datagrams of up to 8,192 bytes.
const MAX_DATAGRAM: usize = 8000;
/// How much of a message goes into one record for the library.
const PIECE: usize = 4096;
/// Type, length, message_seq, fragment_offset and fragment_length (RFC 6347 §4.2.2).
const HANDSHAKE_HEADER: usize = 12;
/// Finished, with its header.
const FINISHED: usize = HANDSHAKE_HEADER + 12;

/// The messages of one handshake, as they come in.
#[derive(Debug)]
pub(super) struct Intake {
    /// What we are.
    role: Role,
    /// The number of the message that the library gets next.
    next: u16,
    parts: Vec<Part>,
    /// How many records the library has been given: the number of the next.
    relayed: u64,
    /// What is agreed on, as soon as it is known.
    suite: Option<CipherSuite>,
    /// What a server knows of the handshakes before this one.
    attempt: Option<Attempt>,
    /// Encrypted records, in the order in which they came.
    sealed: Vec<Vec<u8>>,
}

/// What a datagram amounts to.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Datagrams for the library.
    pub(super) relay: Vec<Vec<u8>>,
    /// The peer says, for all that one can tell, that it has given up, and why.
    pub(super) alert: Option<u8>,
    /// It has repeated its first hello.
    pub(super) repeated: bool,
}

/// A message of which not all has come, or which comes too early.
#[derive(Debug)]
struct Part {
    number: u16,
    kind: u8,
    length: usize,
    /// As far as something has come.
    body: Vec<u8>,
    /// What has come, in order and apart.
    have: Vec<(usize, usize)>,
}

/// One piece of a message.
struct Piece<'a> {
    kind: u8,
    length: usize,
    number: u16,
    offset: usize,
    body: &'a [u8],
}

impl Intake {
    pub(super) fn new(role: Role) -> Self {
        Self { role, next: 0, parts: Vec::new(), relayed: 0, suite: None, attempt: None, sealed: Vec::new() }
    }

    /// The same, of a server that knows what has come before.
    pub(super) fn after(mut self, attempt: Attempt) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// The client is where it says it is.
    pub(super) fn begin(&mut self, now: coap_core::Instant) {
        if let Some(attempt) = &mut self.attempt {
            attempt.begin(now);
        }
    }

    /// Looks through a datagram. `proven` says that the peer is where it says it is; a server's clients are not at first.
    pub(super) fn take(&mut self, datagram: &[u8], proven: bool) -> Taken {
        let mut taken = Taken::default();
        for record in records(datagram) {
            match (record.epoch, record.content) {
                (0, Content::Handshake) => self.take_pieces(record.body(), proven, &mut taken),
                (0, Content::ChangeCipherSpec) if proven && record.body() == [1] => {
                    self.relay(&mut taken, Content::ChangeCipherSpec, &[1]);
                }
                (0, Content::Alert) if proven => taken.alert = taken.alert.or_else(|| last_alert(record.body())),
                (1, content) if proven => self.keep(content, &record, &mut taken),
                _ => {}
            }
        }
        taken
    }

    /// The suite. `None`: it has not been chosen, or is none of ours.
    pub(super) fn suite(&self) -> Option<CipherSuite> {
        self.suite
    }

    /// A server has chosen the suite.
    pub(super) fn choose(&mut self, suite: CipherSuite) {
        self.suite = Some(suite);
    }

    /// The encrypted records that have come, in the order in which they came.
    pub(super) fn into_sealed(self) -> Vec<Vec<u8>> {
        self.sealed
    }

    fn take_pieces(&mut self, mut body: &[u8], proven: bool, taken: &mut Taken) {
        while let Some((piece, rest)) = Piece::read(body) {
            body = rest;
            let whole = piece.body.len() == piece.length;
            let is_hello = whole && piece.kind == message::CLIENT_HELLO && piece.length <= MAX_HELLO;
            if !(proven || is_hello) {
                continue;
            }
            if piece.number < self.next {
                taken.repeated |= is_hello && piece.number == 0;
                continue;
            }
            if !proven && piece.number > self.next {
                continue;
            }
            self.add(&piece);
            self.deliver(taken);
        }
    }

    /// Puts a piece where it belongs. What contradicts what has come before is dropped.
    fn add(&mut self, piece: &Piece<'_>) {
        let held: usize = self.parts.iter().map(|part| part.body.len()).sum();
        let end = piece.offset + piece.body.len();
        if piece.number - self.next >= MAX_PARTS as u16 || held + end > MAX_HELD {
            return;
        }
        let found = self.parts.iter_mut().position(|part| part.number == piece.number);
        let index = found.unwrap_or_else(|| {
            self.parts.push(Part {
                number: piece.number,
                kind: piece.kind,
                length: piece.length,
                body: Vec::new(),
                have: Vec::new(),
            });
            self.parts.len() - 1
        });
        if let Some(part) = self.parts.get_mut(index) {
            part.add(piece);
        }
    }

    /// Gives the library what is whole and in order. A message that is malformed is forgotten, as if it had not come: the peer's
    /// own may follow.
    fn deliver(&mut self, taken: &mut Taken) {
        while let Some(index) = self.parts.iter().position(|part| part.number == self.next && part.is_whole()) {
            let part = self.parts.swap_remove(index);
            if !message::is_acceptable(self.role, part.kind, &part.body) {
                return;
            }
            if part.kind == message::SERVER_HELLO && self.suite.is_none() {
                let number = message::chosen(&part.body).map(u16::from_be_bytes);
                self.suite = number.and_then(CipherSuite::from_number);
            }
            self.next = self.next.saturating_add(1);
            let mut offset = 0;
            loop {
                let piece = part.body.get(offset..).unwrap_or_default();
                let piece = piece.get(..PIECE).unwrap_or(piece);
                self.relay(taken, Content::Handshake, &part.piece(offset, piece));
                offset += piece.len();
                if offset >= part.length {
                    break;
                }
            }
        }
    }

    /// An encrypted record. In the handshake the library needs Finished, and nothing else.
    fn keep(&mut self, content: Content, record: &Record<'_>, taken: &mut Taken) {
        if content == Content::Handshake {
            let cipher = self.suite.and_then(cipher);
            // RFC 6347 §4.2.3: whoever fills its datagrams may have it in fragments.
            let is_finished = |length| (HANDSHAKE_HEADER + 1..=FINISHED).contains(&length);
            let length = cipher.and_then(|cipher| record.body().len().checked_sub(cipher.expansion()));
            if !length.is_some_and(is_finished) {
                return;
            }
            // The end of an attempt that was given up cannot be opened, and would end this one.
            let is_late = |attempt: &Attempt| Sealed::read(record.bytes).is_some_and(|sealed| !attempt.note(&sealed));
            if self.attempt.as_ref().is_some_and(is_late) {
                return;
            }
            if self.relayed < MAX_RELAYED {
                self.relayed += 1;
                taken.push(record.bytes);
            }
        }
        if self.sealed.len() < MAX_SEALED {
            self.sealed.push(record.bytes.to_vec());
        }
    }

    /// One record for the library, with a number of our own: it has none of the peer's then, so that none of them is spent.
    fn relay(&mut self, taken: &mut Taken, content: Content, body: &[u8]) {
        if self.relayed >= MAX_RELAYED {
            return;
        }
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
        let mut record = Record::header(content, 0, self.relayed, length).to_vec();
        record.extend_from_slice(body);
        self.relayed += 1;
        taken.push(&record);
    }
}

impl Taken {
    fn push(&mut self, record: &[u8]) {
        match self.relay.last_mut() {
            Some(last) if last.len() + record.len() <= MAX_DATAGRAM => last.extend_from_slice(record),
            _ => self.relay.push(record.to_vec()),
        }
    }
}

impl<'a> Piece<'a> {
    /// The first piece in the body of a record, and what follows it.
    fn read(body: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = body.split_first_chunk::<HANDSHAKE_HEADER>()?;
        let [kind, l0, l1, l2, n0, n1, o0, o1, o2, f0, f1, f2] = *header;
        let number = |bytes: [u8; 3]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (length, offset) = (number([l0, l1, l2]), number([o0, o1, o2]));
        let (body, rest) = rest.split_at_checked(number([f0, f1, f2]))?;
        let fits = length <= MAX_MESSAGE && offset + body.len() <= length;
        fits.then_some((Self { kind, length, number: u16::from_be_bytes([n0, n1]), offset, body }, rest))
    }
}

impl Part {
    fn add(&mut self, piece: &Piece<'_>) {
        let (start, end) = (piece.offset, piece.offset + piece.body.len());
        if piece.kind != self.kind || piece.length != self.length || self.have.len() >= MAX_GAPS {
            return;
        }
        if self.body.len() < end {
            self.body.resize(end, 0);
        }
        if let Some(place) = self.body.get_mut(start..end) {
            place.copy_from_slice(piece.body);
        }
        self.have.push((start, end));
        self.have.sort_unstable();
        self.have.dedup_by(|next, before| {
            let touches = next.0 <= before.1;
            if touches {
                before.1 = before.1.max(next.1);
            }
            touches
        });
    }

    fn is_whole(&self) -> bool {
        self.have == [(0, self.length)]
    }

    /// A piece of this message, with its header.
    fn piece(&self, offset: usize, body: &[u8]) -> Vec<u8> {
        let three = |number: usize| (number as u32).to_be_bytes();
        let mut piece = Vec::with_capacity(HANDSHAKE_HEADER + body.len());
        piece.push(self.kind);
        piece.extend_from_slice(&three(self.length)[1..]);
        piece.extend_from_slice(&self.number.to_be_bytes());
        piece.extend_from_slice(&three(offset)[1..]);
        piece.extend_from_slice(&three(body.len())[1..]);
        piece.extend_from_slice(body);
        piece
    }
}

#[cfg(test)]
mod tests;
