//! One session: a handshake in a task, then our own records.

use std::collections::VecDeque;
use std::sync::Arc;

use coap_core::{Instant, SessionEnd, UdpAddr};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use webrtc_dtls::config::Config;

use super::intake::Intake;
use super::path::Path;
use super::takeover::{Expected, Takeover, run};
use super::{ClientPlan, ServerPlan, Settings, cipher, message};
use crate::attempts::Attempt;
use crate::engine::{Engine, Kick, Output, SendError};
use crate::hello::ClientHello;
use crate::record::{Content, HEADER, Record, Records};
use crate::standing::{Handshaken, Standing};
use crate::suite::CipherSuite;
use crate::verify::{Role, ServerName};
use crate::window::Window;

/// One session.
pub(super) struct Session {
    phase: Phase,
    /// Datagrams for the peer.
    outbox: VecDeque<Vec<u8>>,
    max_record: usize,
}

enum Phase {
    Handshake(Box<Handshake>),
    Standing(CipherSuite, Box<Standing>),
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
            (Ok(takeover), Phase::Handshake(handshake)) => match self.take_over(takeover, *handshake) {
                Some((suite, standing)) => Phase::Standing(suite, Box::new(standing)),
                // The library has agreed on what it was not told to: it has never done so.
                None => Phase::Ended(Some(SessionEnd::Protocol)),
            },
            (Err(why), _) => Phase::Ended(Some(why)),
            (Ok(_), other) => other,
        };
    }

    /// `None`: the suite is none of ours.
    fn take_over(&mut self, takeover: Takeover, handshake: Handshake) -> Option<(CipherSuite, Standing)> {
        let suite = handshake.intake.suite()?;
        let secrets = takeover.keys.secrets(handshake.role());
        let standing = Standing::new(Handshaken {
            records: Records::new(cipher(suite)?, secrets, takeover.next, Window::default()),
            identity: Some(takeover.identity),
            inbox: handshake.intake.into_sealed().into(),
            outbox: core::mem::take(&mut self.outbox),
            last_flight: takeover.last_flight,
            finished_is_to_come: true,
            max_record: self.max_record,
        });
        Some((suite, standing))
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
            Phase::Standing(_, standing) => standing.handle(datagram),
            Phase::Ended(_) => {}
        }
    }

    /// The timers of a handshake are in its task.
    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn send(&mut self, _: Instant, plaintext: &[u8]) -> Result<(), SendError> {
        self.settle();
        match &mut self.phase {
            Phase::Standing(_, standing) => standing.send(plaintext),
            Phase::Handshake(_) | Phase::Ended(_) => Err(SendError::NotEstablished),
        }
    }

    fn close(&mut self, _: Instant) {
        self.settle();
        match &mut self.phase {
            Phase::Standing(_, standing) => standing.close(),
            Phase::Handshake(_) | Phase::Ended(_) => self.phase = Phase::Ended(None),
        }
    }

    fn suite(&self) -> Option<CipherSuite> {
        match &self.phase {
            Phase::Standing(suite, _) => Some(*suite),
            Phase::Handshake(_) | Phase::Ended(_) => None,
        }
    }

    fn poll<'a>(&mut self, _: Instant, buf: &'a mut [u8]) -> Option<Output<'a>> {
        self.settle();
        let waiting = match &mut self.phase {
            Phase::Standing(_, standing) => return standing.poll(buf),
            Phase::Handshake(handshake) => {
                if handshake.proves() {
                    return Some(Output::Proven);
                }
                self.outbox.pop_front().or_else(|| handshake.path.next_datagram())
            }
            Phase::Ended(why) => match self.outbox.pop_front() {
                None => return why.take().map(Output::Ended),
                some => some,
            },
        };
        let datagram = waiting?;
        let place = buf.get_mut(..datagram.len())?;
        place.copy_from_slice(&datagram);
        Some(Output::Datagram(place))
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
