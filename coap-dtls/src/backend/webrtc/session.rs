//! One session: a handshake in a task, then our own records.

use std::collections::VecDeque;
use std::sync::Arc;

use coap_core::{Instant, SessionEnd, UdpAddr};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use webrtc_dtls::config::Config;

use super::intake::{Intake, last_alert};
use super::path::Path;
use super::takeover::{Expected, Takeover, run};
use super::{ClientPlan, ServerPlan, Settings, cipher, message};
use crate::attempts::Attempt;
use crate::engine::{Engine, Kick, Output, SendError};
use crate::hello::ClientHello;
use crate::identity::PeerIdentity;
use crate::record::{Content, Dropped, HEADER, MAX_PLAINTEXT, Record, Records, records};
use crate::suite::CipherSuite;
use crate::verify::{Role, ServerName};

/// How many datagrams wait to be polled. The layer polls after each call; what it leaves is lost, the oldest first.
const MAX_QUEUED: usize = 64;
/// How often a last flight is sent again: each time that the peer repeats its own, until it has said something
/// (RFC 6347 §4.2.4).
const MAX_REPEATS: u8 = 5;
/// RFC 5246 §7.2.1.
const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const FINISHED: u8 = 20;

/// One session.
pub(super) struct Session {
    phase: Phase,
    /// Datagrams for the peer.
    outbox: VecDeque<Vec<u8>>,
    max_record: usize,
}

enum Phase {
    Handshake(Box<Handshake>),
    Open(Box<Open>),
    /// It is over, and that is still to be told.
    Ended(Option<SessionEnd>),
}

/// A handshake that is not done. Its task ends with it.
struct Handshake {
    intake: Intake,
    path: Arc<Path>,
    /// There is none yet at a server that has not seen a hello.
    task: Option<Task>,
    /// What a server needs to begin.
    accepting: Option<Accepting>,
}

struct Accepting {
    runtime: Handle,
    plan: Arc<ServerPlan>,
    peer: UdpAddr,
    /// It has been told that the client is where it says it is.
    told: bool,
}

struct Task(AbortHandle);

/// A session that stands.
struct Open {
    records: Records,
    suite: CipherSuite,
    /// Who the peer is, until that is told.
    identity: Option<PeerIdentity>,
    /// Datagrams of the peer, and how far into the first of them all has been looked at.
    inbox: VecDeque<Vec<u8>>,
    offset: usize,
    /// Our last flight, as long as the peer may not have got it.
    last_flight: Vec<u8>,
    /// How often the peer has sent its own. The first time is before ours.
    finished: u8,
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

impl Session {
    /// A handshake with a server.
    pub(super) fn connect(runtime: &Handle, plan: &ClientPlan, name: Option<&ServerName>, kick: Kick) -> Self {
        let path = Path::new(Role::Client, plan.settings.initial, kick);
        let (config, expected) = plan.config(name, &path);
        match spawn(runtime, &plan.settings, path.clone(), config, Role::Client, expected) {
            Ok(task) => {
                let intake = Intake::new(Role::Client);
                let handshake = Handshake { intake, path, task: Some(task), accepting: None };
                Self::new(Phase::Handshake(Box::new(handshake)), plan.settings.max_record)
            }
            Err(why) => Self::failed(why, plan.settings.max_record),
        }
    }

    /// A handshake with a client, whose hello is handed in next.
    pub(super) fn accept(runtime: Handle, plan: Arc<ServerPlan>, peer: UdpAddr, attempt: Attempt, kick: Kick) -> Self {
        let max_record = plan.settings.max_record;
        let path = Path::new(Role::Server, plan.settings.initial, kick);
        let accepting = Some(Accepting { runtime, plan, peer, told: false });
        let intake = Intake::new(Role::Server).after(attempt);
        let handshake = Handshake { intake, path, task: None, accepting };
        Self::new(Phase::Handshake(Box::new(handshake)), max_record)
    }

    fn new(phase: Phase, max_record: usize) -> Self {
        Self { phase, outbox: VecDeque::new(), max_record }
    }

    /// A session that ends before it has begun.
    pub(super) fn failed(why: SessionEnd, max_record: usize) -> Self {
        Self::new(Phase::Ended(Some(why)), max_record)
    }

    /// If the handshake is done, goes on with what came of it.
    fn settle(&mut self) {
        let Phase::Handshake(handshake) = &self.phase else { return };
        let Some(outcome) = handshake.path.outcome() else { return };
        while let Some(datagram) = handshake.path.next_datagram() {
            self.outbox.push_back(datagram);
        }
        let phase = core::mem::replace(&mut self.phase, Phase::Ended(None));
        self.phase = match (outcome, phase) {
            (Ok(takeover), Phase::Handshake(handshake)) => match Open::new(takeover, *handshake) {
                Some(open) => Phase::Open(Box::new(open)),
                // The library has agreed on what it was not told to: it has never done so.
                None => Phase::Ended(Some(SessionEnd::Protocol)),
            },
            (Err(why), _) => Phase::Ended(Some(why)),
            (Ok(_), other) => other,
        };
    }

    fn push(&mut self, datagram: Vec<u8>) {
        if self.outbox.len() >= MAX_QUEUED {
            self.outbox.pop_front();
        }
        self.outbox.push_back(datagram);
    }
}

impl Engine for Session {
    fn handle(&mut self, now: Instant, datagram: &[u8]) {
        self.settle();
        match &mut self.phase {
            Phase::Handshake(handshake) => {
                if let Err((why, alert)) = handshake.handle(now, datagram) {
                    self.outbox.extend(alert);
                    self.phase = Phase::Ended(Some(why));
                }
            }
            Phase::Open(open) if open.inbox.len() < MAX_QUEUED => open.inbox.push_back(datagram.to_vec()),
            Phase::Open(_) | Phase::Ended(_) => {}
        }
    }

    /// The timers of a handshake are in its task.
    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn send(&mut self, _: Instant, plaintext: &[u8]) -> Result<(), SendError> {
        self.settle();
        let Phase::Open(open) = &mut self.phase else { return Err(SendError::NotEstablished) };
        if plaintext.len() > MAX_PLAINTEXT.min(self.max_record.saturating_sub(open.records.overhead())) {
            return Err(SendError::TooLarge);
        }
        let record = open.records.seal(Content::ApplicationData, plaintext)?;
        self.push(record);
        Ok(())
    }

    fn close(&mut self, _: Instant) {
        self.settle();
        if let Phase::Open(open) = &mut self.phase
            && let Ok(record) = open.records.seal(Content::Alert, &CLOSE_NOTIFY)
        {
            self.push(record);
        }
        self.phase = Phase::Ended(None);
    }

    fn suite(&self) -> Option<CipherSuite> {
        match &self.phase {
            Phase::Open(open) => Some(open.suite),
            Phase::Handshake(_) | Phase::Ended(_) => None,
        }
    }

    fn poll<'a>(&mut self, now: Instant, buf: &'a mut [u8]) -> Option<Output<'a>> {
        loop {
            self.settle();
            if let Phase::Handshake(handshake) = &mut self.phase
                && handshake.proves()
            {
                return Some(Output::Proven);
            }
            let waiting = self.outbox.pop_front().or_else(|| match &self.phase {
                Phase::Handshake(handshake) => handshake.path.next_datagram(),
                Phase::Open(_) | Phase::Ended(_) => None,
            });
            if let Some(datagram) = waiting {
                let place = buf.get_mut(..datagram.len())?;
                place.copy_from_slice(&datagram);
                return Some(Output::Datagram(place));
            }
            let step = match &mut self.phase {
                Phase::Handshake(_) => return None,
                Phase::Ended(why) => return why.take().map(Output::Ended),
                Phase::Open(open) => match open.identity.take() {
                    Some(identity) => return Some(Output::Established(identity)),
                    None => open.step(buf),
                },
            };
            match step {
                Step::Plaintext(length) => return buf.get(..length).map(Output::Plaintext),
                Step::Send(datagram) => self.push(datagram),
                Step::End(why) => {
                    // RFC 5246 §7.2.1: close_notify is answered.
                    if why == SessionEnd::Peer {
                        self.close(now);
                    }
                    self.phase = Phase::Ended(Some(why));
                }
                Step::Idle => return None,
            }
        }
    }
}

impl Handshake {
    /// A datagram of the peer. `Err`: the handshake is over, and perhaps the peer is told.
    fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<(), (SessionEnd, Option<Vec<u8>>)> {
        let is_proven = self.path.is_proven();
        if is_proven {
            self.intake.begin(now);
        }
        let taken = self.intake.take(datagram, is_proven);
        if let Some(description) = taken.alert {
            // It is anyone's, in the clear. The layer begins a handshake of a client anew before it believes it.
            return Err((SessionEnd::Alert(description), None));
        }
        if self.task.is_none()
            && let Some(accepting) = &self.accepting
        {
            match taken.relay.first() {
                Some(hello) => {
                    let (task, suite) = accepting.begin(hello, &self.path)?;
                    self.intake.choose(suite);
                    self.task = Some(task);
                }
                // It is a hello, but not one for the library: it would wait for nothing.
                None if ClientHello::parse(datagram).is_some() => return Err(nothing_in_common()),
                None => {}
            }
        }
        self.path.deliver(datagram.len(), taken.relay, taken.repeated);
        Ok(())
    }

    /// True once: when a client has come back with its cookie.
    fn proves(&mut self) -> bool {
        match &mut self.accepting {
            Some(accepting) if !accepting.told => {
                accepting.told = self.path.is_proven();
                accepting.told
            }
            _ => false,
        }
    }

    fn role(&self) -> Role {
        if self.accepting.is_some() { Role::Server } else { Role::Client }
    }
}

/// Why no handshake begins, and what the client is told of it.
type Refusal = (SessionEnd, Option<Vec<u8>>);

impl Accepting {
    /// The first hello, whole and alone in a record for the library: what it offers says which credentials are used.
    fn begin(&self, hello: &[u8], path: &Arc<Path>) -> Result<(Task, CipherSuite), Refusal> {
        let body = hello.get(HEADER + 12..).unwrap_or_default();
        let suites = message::suites(body).ok_or((SessionEnd::Protocol, None))?;
        let (config, expected, suite) = self.plan.config(suites, self.peer, path).ok_or_else(nothing_in_common)?;
        let task = spawn(&self.runtime, &self.plan.settings, path.clone(), config, Role::Server, expected);
        Ok((task.map_err(|why| (why, None))?, suite))
    }
}

/// The end for a client with whom no handshake can begin. It is told handshake_failure, in 15 bytes, for a hello that is longer.
fn nothing_in_common() -> Refusal {
    let mut alert = Record::header(Content::Alert, 0, 0, 2).to_vec();
    alert.extend_from_slice(&[2, 40]);
    (SessionEnd::Protocol, Some(alert))
}

/// Begins the task of a handshake, if there is a place for one.
fn spawn(
    runtime: &Handle,
    settings: &Settings,
    path: Arc<Path>,
    config: Config,
    role: Role,
    expected: Expected,
) -> Result<Task, SessionEnd> {
    let place = settings.place().ok_or(SessionEnd::Full)?;
    let handshake = run(path, config, role, expected, settings.deadline, settings.key_log.clone());
    let task = runtime.spawn(async move {
        handshake.await;
        drop(place);
    });
    Ok(Task(task.abort_handle()))
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Open {
    /// `None`: the suite is none of ours.
    fn new(takeover: Takeover, handshake: Handshake) -> Option<Self> {
        let suite = handshake.intake.suite()?;
        Some(Self {
            records: Records::new(cipher(suite)?, &takeover.keys, handshake.role(), takeover.next),
            suite,
            identity: Some(takeover.identity),
            inbox: handshake.intake.into_sealed().into(),
            offset: 0,
            last_flight: takeover.last_flight,
            finished: 0,
        })
    }

    /// Looks at the next record of the peer that comes to something.
    fn step(&mut self, buf: &mut [u8]) -> Step {
        loop {
            let Some(datagram) = self.inbox.front() else {
                // A burst is over: a session that is idle is small.
                self.inbox.shrink_to(4);
                return Step::Idle;
            };
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
                    self.last_flight = Vec::new();
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
                    // Nothing is renegotiated: what else is in it is not looked at.
                    let again = opened.plaintext.first() == Some(&FINISHED);
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
        self.finished = self.finished.saturating_add(1);
        let due = (2..=MAX_REPEATS + 1).contains(&self.finished) && !self.last_flight.is_empty();
        due.then(|| self.last_flight.clone())
    }
}
