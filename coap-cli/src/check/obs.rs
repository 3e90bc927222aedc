//! TD_COAP_OBS: observation (RFC 7641). The client's side of these tests is played by the book, but for what it loses.

use core::time::Duration;

use coap_core::{Code, ContentFormat, Message, Type};
use tokio::time::Instant;

use super::block::{self, SMALL};
use super::core_tests::with_text;
use super::wire::{Probe, name};
use super::{Outcome, Problem, expect, fail, inconclusive, unknown};

/// How long the next notification may take: the resources of the plugtests change every 5 s.
const CHANGE: Duration = Duration::from_secs(12);

/// In this time there would be two notifications, if there were any.
const SILENCE: Duration = Duration::from_secs(11);

/// RFC 7252 §4.8.2, MAX_TRANSMIT_WAIT: after that nobody waits for an acknowledgement any more.
const GIVEN_UP: Duration = Duration::from_secs(93);

pub(super) async fn perform(number: &str, probe: &mut Probe) -> Outcome {
    match number {
        "01" => confirmable(probe).await,
        "02" => non_confirmable(probe).await,
        "04" => again(probe).await,
        "05" => unattended(probe).await,
        "06" => rejected(probe).await,
        "07" => deleted(probe).await,
        "08" => another_format(probe).await,
        "09" => changed(probe).await,
        "10" => beside(probe).await,
        "11" => in_flight(probe).await,
        "12" => deregistered(probe).await,
        "13" => in_blocks(probe).await,
        "14" => pumping(probe).await,
        _ => Err(unknown()),
    }
}

/// An observation, from the client's side.
struct Observation {
    request: Message,
    first: Message,
    /// The number of the latest state.
    latest: u32,
}

impl Observation {
    async fn begin(probe: &mut Probe, kind: Type, path: &str) -> Result<Self, Problem> {
        let request = probe.request(kind, Code::GET, path);
        Self::register(probe, request).await
    }

    /// With blocks of 64 bytes.
    async fn begin_in_blocks(probe: &mut Probe, path: &str) -> Result<Self, Problem> {
        let mut request = probe.get(path);
        request.options.set_block2(block::block(0, false, SMALL)?);
        Self::register(probe, request).await
    }

    async fn register(probe: &mut Probe, mut request: Message) -> Result<Self, Problem> {
        request.options.set_observe(0);
        let first = probe.exchange(&request).await?.message;
        expect::code(probe, &request, &first, &[Code::CONTENT])?;
        expect::content(&request, &first)?;
        let Some(latest) = first.options.observe() else {
            let text = format!("{} with Observe 0 was answered without Observe", name(&request));
            return Err(if expect::is_listed(probe, &request) { fail(text) } else { inconclusive(text) });
        };
        probe.observe(&request.token);
        Ok(Self { request, first, latest })
    }

    /// The next notification, which is not acknowledged here.
    async fn next(&mut self, probe: &mut Probe) -> Result<Message, Problem> {
        let found = probe.notification(&self.request.token, CHANGE).await?;
        let none = || fail(format_args!("{}: there was no notification for {} s", self.about(), CHANGE.as_secs()));
        let message = found.ok_or_else(none)?;
        self.check(&message)?;
        Ok(message)
    }

    /// The same, acknowledged.
    async fn take(&mut self, probe: &mut Probe) -> Result<Message, Problem> {
        let message = self.next(probe).await?;
        probe.take(&message).await?;
        Ok(message)
    }

    /// A state that is newer than the one before.
    fn check(&mut self, message: &Message) -> Outcome {
        let about = self.about();
        if message.code != Code::CONTENT {
            return Err(fail(format_args!("{about}: a notification was {}", message.code)));
        }
        let Some(number) = message.options.observe() else {
            return Err(fail(format_args!("{about}: a notification has no Observe option")));
        };
        if !is_newer(number, self.latest) {
            return Err(fail(format_args!("{about}: Observe {number} came after {}", self.latest)));
        }
        self.latest = number;
        let (format, was) = (message.options.content_format(), self.first.options.content_format());
        if format != was {
            return Err(fail(format_args!("{about}: the Content-Format of a notification is another")));
        }
        Ok(())
    }

    fn about(&self) -> String {
        name(&self.request)
    }

    /// The last response: an error without Observe, and nothing behind it.
    async fn ends(&self, probe: &mut Probe, code: Code) -> Outcome {
        let about = self.about();
        let until = Instant::now() + CHANGE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(message) = probe.notification(&self.request.token, left).await? else {
                return Err(fail(format_args!("{about}: the observers were not told {code}")));
            };
            probe.take(&message).await?;
            // One of the states before may have been on its way.
            if message.code.is_success() && message.options.observe().is_some() {
                continue;
            }
            if message.code != code || message.options.observe().is_some() {
                return Err(fail(format_args!(
                    "{about}: the observers were told {message}, not {code} without Observe"
                )));
            }
            expect::kind(&self.request, &message, Type::Confirmable)?;
            return self.is_silent(probe, &format!("the {code}")).await;
        }
    }

    async fn is_silent(&self, probe: &mut Probe, after: &str) -> Outcome {
        match probe.notification(&self.request.token, SILENCE).await? {
            Some(message) => Err(fail(format_args!("{}: after {after} came {message}", self.about()))),
            None => Ok(()),
        }
    }

    /// Leaves nothing behind. What the server says to that is the business of another test.
    async fn end(self, probe: &mut Probe) {
        let _ = self.deregister(probe).await;
    }

    async fn deregister(&self, probe: &mut Probe) -> Result<Message, Problem> {
        let mut request = self.request.clone();
        (request.kind, request.message_id) = (Type::Confirmable, probe.message_id());
        request.options.set_observe(1);
        loop {
            let message = probe.exchange(&request).await?.message;
            // A notification has the token of the request, and may be on its way.
            if message.kind == Type::Acknowledgement || message.options.observe().is_none() {
                return Ok(message);
            }
            request.message_id = probe.message_id();
        }
    }
}

/// RFC 7641 §3.4: numbers of 24 bits that go round.
const fn is_newer(number: u32, than: u32) -> bool {
    (than < number && number - than < 1 << 23) || (than > number && than - number > 1 << 23)
}

async fn confirmable(probe: &mut Probe) -> Outcome {
    let mut observation = Observation::begin(probe, Type::Confirmable, "/obs").await?;
    for _ in 0..2 {
        let message = observation.take(probe).await?;
        expect::kind(&observation.request, &message, Type::Confirmable)?;
    }
    observation.end(probe).await;
    Ok(())
}

/// One of them may be Confirmable, to see whether the client is there (RFC 7641 §4.5).
async fn non_confirmable(probe: &mut Probe) -> Outcome {
    let mut observation = Observation::begin(probe, Type::NonConfirmable, "/obs-non").await?;
    expect::kind(&observation.request, &observation.first, Type::NonConfirmable)?;
    let mut counts = [0; 2];
    while let [confirmable, non_confirmable] = counts
        && non_confirmable < 2
    {
        if confirmable > 1 {
            return Err(fail(format_args!("{}: notifications are Confirmable", observation.about())));
        }
        let message = observation.take(probe).await?;
        let is_confirmable = message.kind == Type::Confirmable;
        counts = if is_confirmable { [confirmable + 1, non_confirmable] } else { [confirmable, non_confirmable + 1] };
    }
    observation.end(probe).await;
    Ok(())
}

/// What a client does when Max-Age has passed. The server has one entry for it, not two.
async fn again(probe: &mut Probe) -> Outcome {
    let first = Observation::begin(probe, Type::Confirmable, "/obs").await?;
    let mut request = first.request.clone();
    request.message_id = probe.message_id();
    let mut second = Observation::register(probe, request).await?;
    let message = second.take(probe).await?;
    if let Some(twin) = probe.notification(&second.request.token, Duration::from_secs(2)).await? {
        probe.take(&twin).await?;
        let is_repeated = twin.message_id == message.message_id;
        if !is_repeated && twin.payload == message.payload {
            return Err(fail(format_args!("{}: each state came twice", second.about())));
        }
    }
    second.end(probe).await;
    Ok(())
}

/// A client that is gone: what is not acknowledged comes again, and then nothing any more.
async fn unattended(probe: &mut Probe) -> Outcome {
    let mut observation = Observation::begin(probe, Type::Confirmable, "/obs").await?;
    let about = observation.about();
    let first = observation.next(probe).await?;
    expect::kind(&observation.request, &first, Type::Confirmable)?;
    let start = Instant::now();
    let mut repeated = 0;
    let mut latest = first;
    while let Some(left) = (GIVEN_UP + SILENCE).checked_sub(start.elapsed()) {
        let Some(message) = probe.notification(&observation.request.token, left).await? else { break };
        if start.elapsed() > GIVEN_UP {
            let seconds = GIVEN_UP.as_secs();
            return Err(fail(format_args!(
                "{about}: nothing was acknowledged for {seconds} s, and then came {message}"
            )));
        }
        // A newer state takes the place of the old one (RFC 7641 §4.5.2).
        if message.message_id != latest.message_id {
            observation.check(&message)?;
        }
        repeated += 1;
        latest = message;
    }
    if repeated == 0 {
        return Err(fail(format_args!("{about}: a notification was not acknowledged, and did not come again")));
    }
    Ok(())
}

/// A client that has rebooted does not know what a notification is for.
async fn rejected(probe: &mut Probe) -> Outcome {
    let mut observation = Observation::begin(probe, Type::Confirmable, "/obs").await?;
    let message = observation.next(probe).await?;
    probe.reply(Type::Reset, &message).await?;
    observation.is_silent(probe, "the Reset of a notification").await
}

async fn deleted(probe: &mut Probe) -> Outcome {
    let observation = Observation::begin(probe, Type::Confirmable, "/obs").await?;
    let request = probe.request(Type::Confirmable, Code::DELETE, "/obs");
    let answer = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &answer, &[Code::DELETED])?;
    let outcome = observation.ends(probe, Code::NOT_FOUND).await;
    // For those who come next, and find a server that lists it.
    let format = observation.first.options.content_format().unwrap_or(ContentFormat::TEXT_PLAIN);
    let _ = put(probe, format, "as it was").await;
    outcome
}

async fn put(probe: &mut Probe, format: ContentFormat, text: &str) -> Outcome {
    let request = probe.request(Type::Confirmable, Code::PUT, "/obs");
    let mut request = with_text(request, text);
    request.options.set_content_format(format);
    let answer = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &answer, &[Code::CHANGED])
}

async fn another_format(probe: &mut Probe) -> Outcome {
    let observation = Observation::begin(probe, Type::Confirmable, "/obs").await?;
    let format = expect::content_format(&observation.request, &observation.first)?;
    let other = if format == ContentFormat::JSON { ContentFormat::TEXT_PLAIN } else { ContentFormat::JSON };
    put(probe, other, "0").await?;
    let outcome = observation.ends(probe, Code::NOT_ACCEPTABLE).await;
    // For those who come next.
    let _ = put(probe, format, "as it was").await;
    outcome
}

async fn changed(probe: &mut Probe) -> Outcome {
    let mut observation = Observation::begin(probe, Type::Confirmable, "/obs").await?;
    let format = expect::content_format(&observation.request, &observation.first)?;
    let text = format!("{} is new", probe.message_id());
    put(probe, format, &text).await?;
    // The one before may have been on its way.
    for _ in 0..2 {
        if observation.take(probe).await?.payload == text {
            observation.end(probe).await;
            return Ok(());
        }
    }
    Err(fail(format_args!("{}: the observers were not told what was put", observation.about())))
}

async fn beside(probe: &mut Probe) -> Outcome {
    let mut observation = Observation::begin(probe, Type::Confirmable, "/obs").await?;
    let request = probe.get("/obs");
    let answer = probe.exchange(&request).await?.message;
    expect::code(probe, &request, &answer, &[Code::CONTENT])?;
    if answer.options.observe().is_some() {
        return Err(fail(format_args!("{}: a request without Observe was answered with it", name(&request))));
    }
    observation.take(probe).await?;
    observation.end(probe).await;
    Ok(())
}

/// While one is not acknowledged there is no other beside it, which a pause that does not grow would show (RFC 7641 §4.5.1).
async fn in_flight(probe: &mut Probe) -> Outcome {
    let mut observation = Observation::begin(probe, Type::Confirmable, "/obs").await?;
    let about = observation.about();
    let mut latest = observation.next(probe).await?;
    expect::kind(&observation.request, &latest, Type::Confirmable)?;
    let (mut since, mut pause) = (Instant::now(), Duration::ZERO);
    for _ in 0..2 {
        let Some(message) = probe.notification(&observation.request.token, CHANGE).await? else { break };
        if message.message_id != latest.message_id {
            observation.check(&message)?;
        }
        let gap = since.elapsed();
        // Twice as long each time, or half as long again where the round-trip time is measured.
        if gap < pause * 7 / 5 {
            let (gap, pause) = (gap.as_secs_f32(), pause.as_secs_f32());
            return Err(fail(format_args!(
                "{about}: nothing was acknowledged, and the pauses between notifications were {pause:.1} and {gap:.1} s"
            )));
        }
        (since, pause, latest) = (Instant::now(), gap, message);
    }
    probe.take(&latest).await?;
    observation.take(probe).await?;
    observation.end(probe).await;
    Ok(())
}

async fn deregistered(probe: &mut Probe) -> Outcome {
    let mut observation = Observation::begin(probe, Type::Confirmable, "/obs").await?;
    observation.take(probe).await?;
    let answer = observation.deregister(probe).await?;
    expect::code(probe, &observation.request, &answer, &[Code::CONTENT])?;
    if answer.options.observe().is_some() {
        return Err(fail(format_args!("{} with Observe 1 was answered with Observe", observation.about())));
    }
    observation.is_silent(probe, "a GET with Observe 1").await
}

/// All blocks of a state, of which the first is a notification or the response to the registration.
async fn whole(probe: &mut Probe, observation: &Observation, first: Message) -> Result<Vec<u8>, Problem> {
    let mut request = observation.request.clone();
    request.kind = Type::Confirmable;
    block::rest(probe, &request, first, SMALL).await
}

async fn in_blocks(probe: &mut Probe) -> Outcome {
    let mut observation = Observation::begin_in_blocks(probe, "/obs-large").await?;
    if !block::has_more(&observation.first) {
        return Err(inconclusive(format_args!("{}: the state fits into a block", observation.about())));
    }
    let first = observation.first.clone();
    whole(probe, &observation, first).await?;
    let message = observation.take(probe).await?;
    if !block::has_more(&message) {
        return Err(fail(format_args!("{}: a notification is not the first of several blocks", observation.about())));
    }
    whole(probe, &observation, message).await?;
    observation.end(probe).await;
    Ok(())
}

/// Both sizes as notifications, and both as the first response.
async fn pumping(probe: &mut Probe) -> Outcome {
    let mut observation = Observation::begin_in_blocks(probe, "/obs-pumping").await?;
    let first = observation.first.clone();
    let at_first = block::has_more(&first);
    whole(probe, &observation, first).await?;
    for _ in 0..6 {
        let message = observation.take(probe).await?;
        let is_large = block::has_more(&message);
        whole(probe, &observation, message).await?;
        if is_large != at_first {
            observation.end(probe).await;
            let other = Observation::begin_in_blocks(probe, "/obs-pumping").await?;
            let first = other.first.clone();
            whole(probe, &other, first).await?;
            other.end(probe).await;
            return Ok(());
        }
    }
    Err(inconclusive(format_args!("{}: the size did not change in six notifications", observation.about())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_round() {
        assert!(is_newer(2, 1) && !is_newer(1, 2) && !is_newer(1, 1));
        assert!(is_newer(0, 0x00ff_ffff) && !is_newer(0x00ff_ffff, 0));
    }
}
