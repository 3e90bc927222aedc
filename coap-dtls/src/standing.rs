//! A session of DTLS 1.2 that stands, on records of our own: the library that has shaken hands is left behind, whichever it was.
//!
//! Nothing that is forged, replayed or lost ends it. A close_notify is answered, an alert under its keys is believed, our last
//! flight is repeated for a peer that may not have got it, and nothing is renegotiated.

use std::collections::VecDeque;

use coap_core::SessionEnd;

use crate::engine::{Output, SendError};
use crate::identity::PeerIdentity;
use crate::record::{Content, Dropped, MAX_PLAINTEXT, Record, Records, last_alert, records};

/// How many datagrams wait in either direction. The layer polls after each call; what it leaves is lost, of what goes out the
/// oldest first.
const MAX_QUEUED: usize = 64;
/// How often a last flight is sent again: each time that the peer repeats its own, until it has said something
/// (RFC 6347 §4.2.4).
const MAX_REPEATS: u8 = 5;
/// RFC 5246 §7.2.1.
const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const FINISHED: u8 = 20;

/// A session that stands.
pub(crate) struct Standing {
    records: Records,
    /// Who the peer is, until that is told.
    identity: Option<PeerIdentity>,
    /// Datagrams of the peer, and how far into the first of them all has been looked at.
    inbox: VecDeque<Vec<u8>>,
    offset: usize,
    outbox: VecDeque<Vec<u8>>,
    /// Our last flight, as long as the peer may not have got it.
    last_flight: Option<LastFlight>,
    /// How often the peer may still repeat its own and get ours.
    repeats: u8,
    /// The longest record in bytes.
    max_record: usize,
    over: Over,
}

/// What a handshake leaves.
pub(crate) struct Handshaken {
    pub(crate) records: Records,
    /// Who the peer is, if that has not been told.
    pub(crate) identity: Option<PeerIdentity>,
    /// Datagrams of the peer that are still to be opened.
    pub(crate) inbox: VecDeque<Vec<u8>>,
    /// Datagrams that are still to be sent.
    pub(crate) outbox: VecDeque<Vec<u8>>,
    /// The datagrams with our ChangeCipherSpec and Finished, one after the other, if the handshake ends with them.
    pub(crate) last_flight: Vec<u8>,
    /// The Finished of the peer is in `inbox`, and comes before ours: it asks for nothing.
    pub(crate) finished_is_to_come: bool,
    pub(crate) max_record: usize,
}

/// ChangeCipherSpec and Finished. What is sent again has numbers of its own (RFC 6347 §4.2.4): the same ones would be taken for a
/// copy by a peer that has dropped the message, and not the record.
struct LastFlight {
    /// The number of the last record in the clear.
    number: u64,
    /// The message, whole and without its keys.
    finished: Vec<u8>,
}

/// Whether a session is over.
enum Over {
    No,
    /// It is, and why is still to be told.
    Because(SessionEnd),
    Told,
}

/// What a record of the peer comes to.
enum Step {
    /// So many bytes of plaintext.
    Plaintext(usize),
    /// Something to send.
    Send(Vec<u8>),
    End(SessionEnd),
    /// There are no records.
    Idle,
}

impl Standing {
    pub(crate) fn new(from: Handshaken) -> Self {
        let Handshaken { records, identity, inbox, outbox, last_flight, finished_is_to_come, max_record } = from;
        let last_flight = LastFlight::read(&records, &last_flight);
        Self {
            records,
            identity,
            inbox,
            offset: 0,
            outbox,
            last_flight,
            repeats: MAX_REPEATS + u8::from(finished_is_to_come),
            max_record,
            over: Over::No,
        }
    }

    /// A datagram of the peer's address.
    pub(crate) fn handle(&mut self, datagram: &[u8]) {
        if matches!(self.over, Over::No) && self.inbox.len() < MAX_QUEUED {
            self.inbox.push_back(datagram.to_vec());
        }
    }

    /// One message for the peer.
    pub(crate) fn send(&mut self, plaintext: &[u8]) -> Result<(), SendError> {
        if !matches!(self.over, Over::No) {
            return Err(SendError::NotEstablished);
        }
        if plaintext.len() > MAX_PLAINTEXT.min(self.max_record.saturating_sub(self.records.overhead())) {
            return Err(SendError::TooLarge);
        }
        let record = self.records.seal(Content::ApplicationData, plaintext)?;
        self.push(record);
        Ok(())
    }

    /// Says close_notify. The session is over without more being told.
    pub(crate) fn close(&mut self) {
        if matches!(self.over, Over::No) {
            self.say_close();
        }
        self.over = Over::Told;
    }

    fn say_close(&mut self) {
        if let Ok(record) = self.records.seal(Content::Alert, &CLOSE_NOTIFY) {
            self.push(record);
        }
    }

    /// See [`Engine::poll`](crate::engine::Engine::poll).
    pub(crate) fn poll<'a>(&mut self, buf: &'a mut [u8]) -> Option<Output<'a>> {
        loop {
            if let Some(datagram) = self.outbox.pop_front() {
                let place = buf.get_mut(..datagram.len())?;
                place.copy_from_slice(&datagram);
                return Some(Output::Datagram(place));
            }
            if let Some(identity) = self.identity.take() {
                return Some(Output::Established(identity));
            }
            match core::mem::replace(&mut self.over, Over::Told) {
                Over::Told => return None,
                Over::Because(why) => return Some(Output::Ended(why)),
                Over::No => self.over = Over::No,
            }
            match self.step(buf) {
                Step::Plaintext(length) => return buf.get(..length).map(Output::Plaintext),
                Step::Send(datagram) => self.push(datagram),
                Step::End(why) => {
                    // RFC 5246 §7.2.1: close_notify is answered.
                    if why == SessionEnd::Peer {
                        self.say_close();
                    }
                    self.over = Over::Because(why);
                }
                Step::Idle => {
                    // A burst is over: a session that is idle is small.
                    self.inbox.shrink_to(4);
                    self.outbox.shrink_to(4);
                    return None;
                }
            }
        }
    }

    /// Looks at the next record of the peer that comes to something.
    fn step(&mut self, buf: &mut [u8]) -> Step {
        loop {
            let Some(datagram) = self.inbox.front() else { return Step::Idle };
            let Some(record) = records(datagram.get(self.offset..).unwrap_or_default()).next() else {
                self.inbox.pop_front();
                self.offset = 0;
                continue;
            };
            self.offset += record.bytes.len();
            let opened = match self.records.open(&record, buf) {
                Ok(opened) => opened,
                Err(Dropped::Exhausted) => return Step::End(SessionEnd::Exhausted),
                Err(Dropped::Malformed | Dropped::Replayed | Dropped::Forged) => continue,
            };
            match opened.content {
                Content::ApplicationData => {
                    // It has our last flight then.
                    self.last_flight = None;
                    if !opened.plaintext.is_empty() {
                        return Step::Plaintext(opened.plaintext.len());
                    }
                }
                Content::Alert => match last_alert(opened.plaintext) {
                    Some(0) => return Step::End(SessionEnd::Peer),
                    Some(description) => return Step::End(SessionEnd::Alert(description)),
                    None => {}
                },
                Content::Handshake => {
                    // Nothing is renegotiated: what else is in it is not looked at. Of fragments the first counts.
                    let again = matches!(opened.plaintext, [FINISHED, _, _, _, _, _, 0, 0, 0, ..]);
                    if again && let Some(flight) = self.repeat() {
                        return Step::Send(flight);
                    }
                }
                Content::ChangeCipherSpec => {}
            }
        }
    }

    /// Our last flight, if the peer has repeated its own and may not have got it.
    fn repeat(&mut self) -> Option<Vec<u8>> {
        self.repeats = self.repeats.checked_sub(1)?;
        let flight = self.last_flight.as_mut().filter(|_| self.repeats < MAX_REPEATS)?;
        flight.number += 1;
        let mut datagram = Record::header(Content::ChangeCipherSpec, 0, flight.number, 1).to_vec();
        datagram.push(1);
        datagram.extend(self.records.seal(Content::Handshake, &flight.finished).ok()?);
        Some(datagram)
    }

    fn push(&mut self, datagram: Vec<u8>) {
        if self.outbox.len() >= MAX_QUEUED {
            self.outbox.pop_front();
        }
        self.outbox.push_back(datagram);
    }
}

impl LastFlight {
    /// That which is in datagrams of ours. Finished may be in fragments: what is left of a datagram that a flight before it has
    /// begun can be too short for it.
    fn read(own: &Records, datagrams: &[u8]) -> Option<Self> {
        let sealed = records(datagrams).filter(|record| record.epoch == 1 && record.content == Content::Handshake);
        let number = records(datagrams).filter(|record| record.epoch == 0).map(|record| record.number).max();
        let fragments = sealed.map(|record| own.open_own(&record)).collect::<Option<_>>()?;
        Some(Self { number: number.unwrap_or(0), finished: whole(fragments)? })
    }
}

/// A message from its fragments (RFC 6347 §4.2.3), each of which may be there twice. `None`: they are not all there.
fn whole(mut fragments: Vec<Vec<u8>>) -> Option<Vec<u8>> {
    // Of one message, they differ in the offset first.
    fragments.sort_unstable();
    fragments.dedup();
    let (first, _) = fragments.first()?.split_first_chunk::<12>()?;
    let [kind, a, b, c, high, low, ..] = *first;
    let mut message = vec![kind, a, b, c, high, low, 0, 0, 0, a, b, c];
    for fragment in &fragments {
        message.extend_from_slice(fragment.get(12..)?);
    }
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    (message.len() == 12 + length).then_some(message)
}
