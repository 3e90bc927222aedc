//! One session: a handshake in a task, then our own records.

use std::collections::VecDeque;
use std::sync::Arc;

use coap_core::{Instant, SessionEnd, UdpAddr};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use webrtc_dtls::config::Config;

use super::intake::{Again, Intake, Taken, last_alert};
use super::path::Path;
use super::takeover::{Expected, Takeover, run};
use super::{ClientPlan, ServerPlan, Settings, message};
use crate::engine::{Engine, Kick, Output, SendError};
use crate::identity::PeerIdentity;
use crate::record::{Content, Dropped, HEADER, MAX_PLAINTEXT, OVERHEAD, Record, Records, records};
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
    side: Side,
    kick: Kick,
    runtime: Handle,
}

enum Side {
    Client {
        plan: Arc<ClientPlan>,
        name: Option<ServerName>,
        /// An alert has been believed already.
        tried: bool,
    },
    Server {
        plan: Arc<ServerPlan>,
        peer: UdpAddr,
        /// It has been told that the client is where it says it is.
        told: bool,
    },
}

struct Task(AbortHandle);

/// A session that stands.
struct Open {
    records: Records,
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
    pub(super) fn connect(runtime: Handle, plan: Arc<ClientPlan>, name: Option<ServerName>, kick: Kick) -> Self {
        let max_record = plan.settings.max_record;
        let path = Path::new(Role::Client, plan.settings.initial, kick.clone());
        let mut handshake = Handshake {
            intake: Intake::new(Role::Client),
            path,
            task: None,
            side: Side::Client { plan, name, tried: false },
            kick,
            runtime,
        };
        let phase = match handshake.begin_client() {
            Ok(()) => Phase::Handshake(Box::new(handshake)),
            Err(why) => Phase::Ended(Some(why)),
        };
        Self { phase, outbox: VecDeque::new(), max_record }
    }

    /// A handshake with a client, whose hello is handed in next.
    pub(super) fn accept(runtime: Handle, plan: Arc<ServerPlan>, peer: UdpAddr, kick: Kick) -> Self {
        let max_record = plan.settings.max_record;
        let path = Path::new(Role::Server, plan.settings.initial, kick.clone());
        let side = Side::Server { plan, peer, told: false };
        let handshake = Handshake { intake: Intake::new(Role::Server), path, task: None, side, kick, runtime };
        Self { phase: Phase::Handshake(Box::new(handshake)), outbox: VecDeque::new(), max_record }
    }

    /// A session that ends before it has begun.
    pub(super) fn failed(why: SessionEnd, max_record: usize) -> Self {
        Self { phase: Phase::Ended(Some(why)), outbox: VecDeque::new(), max_record }
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
            (Ok(takeover), Phase::Handshake(handshake)) => Phase::Open(Box::new(Open::new(takeover, *handshake))),
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
    fn handle(&mut self, _: Instant, datagram: &[u8]) {
        self.settle();
        match &mut self.phase {
            Phase::Handshake(handshake) => {
                if let Err((why, alert)) = handshake.handle(datagram) {
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
        if plaintext.len() > MAX_PLAINTEXT.min(self.max_record.saturating_sub(OVERHEAD)) {
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
    fn handle(&mut self, datagram: &[u8]) -> Result<(), (SessionEnd, Option<Vec<u8>>)> {
        let proven = self.path.is_proven();
        let mut taken = self.intake.take(datagram, proven);
        if let Some(description) = taken.alert {
            return self.on_alert(description).map_err(|why| (why, None));
        }
        if !proven && taken.again == Some(Again::Other) {
            taken = self.begin_again(datagram);
        }
        if self.task.is_none()
            && let Some(hello) = taken.relay.first()
        {
            self.begin_server(hello)?;
        }
        self.path.deliver(datagram.len(), taken.relay, taken.again == Some(Again::Same));
        Ok(())
    }

    /// An alert in the clear is anyone's. It is believed the second time: a client begins anew once. A server need not, as its
    /// client can.
    fn on_alert(&mut self, description: u8) -> Result<(), SessionEnd> {
        match &mut self.side {
            Side::Client { tried, plan, .. } if !*tried => {
                *tried = true;
                self.path = Path::new(Role::Client, plan.settings.initial, self.kick.clone());
                self.intake = Intake::new(Role::Client);
                self.begin_client()
            }
            Side::Client { .. } | Side::Server { .. } => Err(SessionEnd::Alert(description)),
        }
    }

    fn begin_client(&mut self) -> Result<(), SessionEnd> {
        let Side::Client { plan, name, .. } = &self.side else { return Ok(()) };
        let (config, expected) = plan.config(name.as_ref(), &self.path);
        // The one before has ended first, and given its place back.
        self.task = None;
        self.task = Some(self.spawn(&plan.settings, config, Role::Client, expected)?);
        Ok(())
    }

    /// Another first hello has come before a cookie. The library would mix the two up, so that the newer gets a handshake of its
    /// own in place of the older: whoever forges one delays the real client only until that repeats its own. What may be sent is
    /// what is left.
    fn begin_again(&mut self, datagram: &[u8]) -> Taken {
        let Side::Server { plan, .. } = &self.side else { return Taken::default() };
        self.task = None;
        let credit = self.path.credit();
        self.path = Path::new(Role::Server, plan.settings.initial, self.kick.clone());
        self.path.deliver(credit, Vec::new(), false);
        self.intake = Intake::new(Role::Server);
        self.intake.take(datagram, false)
    }

    /// The first hello, whole and alone in a record for the library: what it offers says which credentials are used.
    fn begin_server(&mut self, hello: &[u8]) -> Result<(), (SessionEnd, Option<Vec<u8>>)> {
        let Side::Server { plan, peer, .. } = &self.side else { return Ok(()) };
        let body = hello.get(HEADER + 12..).unwrap_or_default();
        let suites = message::suites(body).ok_or((SessionEnd::Protocol, None))?;
        let Some((config, expected)) = plan.config(suites, *peer, &self.path) else {
            // handshake_failure; 15 bytes, for a hello that is longer.
            let mut alert = Record::header(Content::Alert, 0, 0, 2).to_vec();
            alert.extend_from_slice(&[2, 40]);
            return Err((SessionEnd::Protocol, Some(alert)));
        };
        let task = self.spawn(&plan.settings, config, Role::Server, expected).map_err(|why| (why, None))?;
        self.task = Some(task);
        Ok(())
    }

    fn spawn(&self, settings: &Settings, config: Config, role: Role, expected: Expected) -> Result<Task, SessionEnd> {
        let place = settings.place().ok_or(SessionEnd::Full)?;
        let handshake = run(self.path.clone(), config, role, expected, settings.deadline, settings.key_log.clone());
        let task = self.runtime.spawn(async move {
            handshake.await;
            drop(place);
        });
        Ok(Task(task.abort_handle()))
    }

    /// True once: when a client has come back with its cookie.
    fn proves(&mut self) -> bool {
        match &mut self.side {
            Side::Server { told, .. } if !*told => {
                *told = self.path.is_proven();
                *told
            }
            Side::Client { .. } | Side::Server { .. } => false,
        }
    }

    fn role(&self) -> Role {
        match self.side {
            Side::Client { .. } => Role::Client,
            Side::Server { .. } => Role::Server,
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Open {
    fn new(takeover: Takeover, handshake: Handshake) -> Self {
        Self {
            records: Records::new(&takeover.keys, handshake.role(), takeover.next),
            identity: Some(takeover.identity),
            inbox: handshake.intake.into_sealed().into(),
            offset: 0,
            last_flight: takeover.last_flight,
            finished: 0,
        }
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
