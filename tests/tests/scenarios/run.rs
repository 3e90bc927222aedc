//! The steps of a script, one after the other.

use core::time::Duration;

use bytes::Bytes;
use coap_core::{Code, ContentFormat, Instant, Message, OptionNumber, Token, Type};

use crate::pattern::{Saved, dotted};
use crate::script::{Answer, Edit, Held, Pattern, Read, Script, Send, Step, Time};
use crate::stage::{Sent, Stage, Tally, instant, peer};

/// Runs a script; `Err` says which step was not met, and how.
pub(crate) fn run(script: &Script, seed: u64) -> Read<()> {
    let mut run = Run {
        stage: Stage::new(&script.setup, seed)?,
        saved: Saved::default(),
        taken: Vec::new(),
        mark: Instant::ZERO,
        before_input: Tally::default(),
    };
    for (at, step) in script.steps.iter().enumerate() {
        run.step(step).map_err(|what| format!("step {} at {}: {what}", at + 1, run.stage.now))?;
    }
    run.end()
}

struct Run {
    stage: Stage,
    saved: Saved,
    /// Confirmable messages that a `send` took: what is passed over when it comes again.
    taken: Vec<Bytes>,
    mark: Instant,
    before_input: Tally,
}

impl Run {
    fn step(&mut self, step: &Step) -> Read<()> {
        match step {
            Step::Receive { t, from, datagram, multicast, edit, malformed } => {
                self.until_input(*t)?;
                let datagram = self.edited(datagram, edit, malformed.as_deref())?;
                self.stage.receive(peer(from)?, *multicast, datagram)
            }
            Step::Set { t, path, payload, format, every, times } => {
                self.until_input(*t)?;
                for n in 0..*times {
                    if n > 0 {
                        self.mark += *every;
                        self.stage.run_until(self.mark);
                    }
                    let format = format.map(ContentFormat::new);
                    self.stage.set(path, format, Bytes::copy_from_slice(payload));
                }
                Ok(())
            }
            Step::Remove { t, path } => {
                self.until_input(*t)?;
                self.stage.remove(path).then_some(()).ok_or_else(|| format!("{path} is not there"))
            }
            Step::Call { t, call } => {
                self.until_input(*t)?;
                self.stage.call(call)
            }
            Step::Cancel { t, call, how } => {
                self.until_input(*t)?;
                self.stage.end(call, *how)
            }
            Step::Send(send) => self.expect_send(send),
            Step::Nothing { until } => {
                self.stage.run_until(self.time(*until)?);
                self.stage.queue.front().map_or(Ok(()), |sent| Err(format!("sent {}", sent.message)))
            }
            Step::Sends { pattern, at, doubling } => self.expect_sends(pattern, at, *doubling),
            Step::Count { pattern, until, least, most, last } => {
                self.stage.run_until(self.time(*until)?);
                self.expect_count(pattern, *least..=*most, last.as_deref())
            }
            Step::Ignored => match self.stage.tally() == self.before_input && self.stage.now == self.mark {
                true => Ok(()),
                false => Err(format!("{:?} became {:?}", self.before_input, self.stage.tally())),
            },
            Step::Runs { of, n } => self.expect_runs(of, *n),
            Step::Resource { path, is } => self.expect_resource(path, is),
            Step::Observers { path, n } => {
                equal(&format!("observers of {path}"), &(self.stage.observers(path) as u64), n)
            }
            Step::Outcome { of, is, answer, by, not_before } => {
                let by = by.map_or(Ok(self.stage.now), |by| self.time(by))?;
                self.expect_outcome(of, is, answer, by, *not_before)
            }
            Step::Delivered { of, n, payloads, from } => {
                self.expect_delivered(of, *n, payloads.as_deref(), from.as_deref())
            }
            Step::Pending { of } => match self.stage.asked(of)?.outcome {
                None => Ok(()),
                Some((at, how)) => Err(format!("{of} ended at {at}: {how}")),
            },
            Step::Idle { at } => {
                self.stage.run_until(self.time(*at)?);
                self.stage.rest().map_or(Ok(()), |rest| Err(format!("left: {rest}")))
            }
        }
    }

    /// What is still in the queue should have been expected, repetitions of what was taken apart.
    fn end(mut self) -> Read<()> {
        self.pass_over_repetitions(None);
        self.stage.queue.pop_front().map_or(Ok(()), |sent| Err(format!("sent and not expected: {}", sent.message)))
    }

    // ----- Time ------------------------------------------------------------------------------------------------------

    fn time(&self, time: Time) -> Read<Instant> {
        let at = match time {
            Time::FromStart(span) => instant(span),
            Time::FromMark(span) => self.mark + span,
        };
        if at < self.stage.now { Err(format!("{at} has passed")) } else { Ok(at) }
    }

    fn until_input(&mut self, t: Time) -> Read<()> {
        let at = self.time(t)?;
        self.stage.run_until(at);
        self.mark = at;
        self.before_input = self.stage.tally();
        Ok(())
    }

    // ----- Input -------------------------------------------------------------------------------------------------------

    fn edited(&self, datagram: &[u8], edit: &Edit, malformed: Option<&str>) -> Read<Bytes> {
        let mut datagram = datagram.to_vec();
        match (Message::decode(datagram.clone().into()), malformed) {
            (Ok(mut message), None) => {
                if let Some((number, value)) = &edit.add_option {
                    let pushed = message.options.push_raw(OptionNumber::new(*number), self.saved.value(value)?);
                    pushed.map_err(|error| error.to_string())?;
                    datagram = vec![0; message.encoded_len()];
                    message.encode(&mut datagram).map_err(|error| error.to_string())?;
                }
            }
            (Ok(_), Some(_)) => return Err("the datagram should be malformed, and is not".into()),
            (Err(error), None) => return Err(format!("the datagram is malformed: {error}")),
            (Err(error), Some(reason)) => equal("the fault", &error.reason.name(), &reason)?,
        }
        if let Some(name) = &edit.mid_of {
            let id = i64::from(self.saved.datagram(name)?.1.message_id) + edit.mid_offset;
            let bytes = (id.rem_euclid(1 << 16) as u16).to_be_bytes();
            datagram.get_mut(2..4).ok_or("too short for a Message ID")?.copy_from_slice(&bytes);
        }
        if let Some(name) = &edit.token_of {
            let token: &Token = &self.saved.datagram(name)?.1.token;
            let first = datagram.first_mut().filter(|first| **first & 0xf == 0).ok_or("there is a token already")?;
            *first |= token.len() as u8;
            datagram.splice(4..4, token.as_bytes().iter().copied());
        }
        Ok(datagram.into())
    }

    // ----- Datagrams -----------------------------------------------------------------------------------------------------

    fn expect_send(&mut self, send: &Send) -> Read<()> {
        let by = self.time(send.by)?;
        let not_before = send.not_before.map(|time| self.time(time)).transpose()?;
        let named = match &send.pattern.same_as {
            Some(name) => Some(self.saved.datagram(name)?.0.clone()),
            None => None,
        };
        loop {
            self.pass_over_repetitions(named.as_ref());
            if !self.stage.queue.is_empty() {
                break;
            }
            if !self.stage.step(by) && self.stage.queue.is_empty() {
                return if send.optional { Ok(()) } else { Err(format!("nothing was sent by {by}")) };
            }
        }
        let Some(sent) = self.stage.queue.front() else { return Ok(()) };
        let mut fault = send.pattern.fault(sent, &self.saved)?;
        if fault.is_none() && !send.any_of.is_empty() {
            let faults: Vec<_> = send.any_of.iter().map(|any| any.fault(sent, &self.saved)).collect::<Read<_>>()?;
            if faults.iter().all(Option::is_some) {
                fault = Some(faults.into_iter().flatten().collect::<Vec<_>>().join(" or "));
            }
        }
        if not_before.is_some_and(|time| sent.at < time) {
            fault = fault.or_else(|| Some(format!("sent too early, at {}", sent.at)));
        }
        match fault {
            Some(_) if send.optional => return Ok(()),
            Some(fault) => return Err(fault),
            None => {}
        }
        if let Some(sent) = self.stage.queue.pop_front() {
            self.take(&sent);
            if let Some((number, name)) = &send.save_option {
                let value = sent.message.options.get(OptionNumber::new(*number));
                let value = value.ok_or_else(|| format!("no option {number} to save"))?;
                self.saved.options.insert(name.clone(), value.to_vec());
            }
            if let Some(name) = &send.save {
                self.saved.datagrams.insert(name.clone(), (sent.bytes, sent.message));
            }
        }
        Ok(())
    }

    fn expect_sends(&mut self, pattern: &Pattern, at: &[(Duration, Duration)], doubling: bool) -> Read<()> {
        let mark = self.mark;
        let last = at.iter().map(|(_, high)| *high).max().unwrap_or_default();
        self.stage.run_until(self.time(Time::FromMark(last))?);
        let sent: Vec<_> = self.stage.queue.drain(..).collect();
        equal("datagrams", &sent.len(), &at.len())?;
        let mut times = vec![mark];
        for (sent, (low, high)) in sent.iter().zip(at) {
            if let Some(fault) = pattern.fault(sent, &self.saved)? {
                return Err(fault);
            }
            if !(mark + *low..=mark + *high).contains(&sent.at) {
                return Err(format!("sent at {}, which is not {low:?} to {high:?} after {mark}", sent.at));
            }
            times.push(sent.at);
            self.take(sent);
        }
        let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let doubles = |pair: &[Duration]| (pair[0] * 2).abs_diff(pair[1]) <= Duration::from_millis(1);
        if doubling && !gaps.windows(2).all(doubles) {
            return Err(format!("the gaps do not double: {gaps:?}"));
        }
        Ok(())
    }

    fn expect_count(
        &mut self,
        pattern: &Pattern,
        range: core::ops::RangeInclusive<u64>,
        last: Option<&Pattern>,
    ) -> Read<()> {
        let mut matching = Vec::new();
        for sent in self.stage.queue.drain(..) {
            if pattern.fault(&sent, &self.saved)?.is_none() {
                matching.push(sent);
            }
        }
        if !range.contains(&(matching.len() as u64)) {
            return Err(format!("{} datagrams match, not {range:?}", matching.len()));
        }
        match (matching.last(), last) {
            (Some(sent), Some(last)) => last.fault(sent, &self.saved)?.map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }

    fn take(&mut self, sent: &Sent) {
        self.mark = sent.at;
        if sent.message.kind == Type::Confirmable {
            self.taken.push(sent.bytes.clone());
        }
    }

    fn pass_over_repetitions(&mut self, but: Option<&Bytes>) {
        let (queue, taken) = (&mut self.stage.queue, &self.taken);
        let is_repetition = |sent: &Sent| taken.contains(&sent.bytes) && but != Some(&sent.bytes);
        while queue.front().is_some_and(is_repetition) {
            queue.pop_front();
        }
    }

    // ----- The application -------------------------------------------------------------------------------------------

    fn expect_runs(&self, of: &str, n: u64) -> Read<()> {
        let (method, path) = of.split_once(' ').ok_or("no method and path")?;
        let methods = [("GET", Code::GET), ("POST", Code::POST), ("PUT", Code::PUT), ("DELETE", Code::DELETE)];
        let method = methods.into_iter().find(|(name, _)| *name == method).ok_or("unknown method")?.1;
        equal("runs", &u64::from(self.stage.plugtest().runs(method, path)), &n)
    }

    fn expect_resource(&self, path: &str, is: &Held) -> Read<()> {
        let content = self.stage.plugtest().content(path);
        match is {
            Held::Unchanged => {
                let start = coap_sim::plugtest::Plugtest::new();
                equal("content", &content, &start.content(path))
            }
            Held::OneOf(bodies) => {
                let body = &content.ok_or_else(|| format!("{path} is not there"))?.body;
                if bodies.iter().any(|wanted| wanted == body) { Ok(()) } else { Err(format!("{path} has {body:?}")) }
            }
        }
    }

    fn expect_outcome(
        &mut self,
        of: &str,
        is: &[String],
        answer: &Answer,
        by: Instant,
        not_before: Option<Time>,
    ) -> Read<()> {
        let not_before = not_before.map(|time| self.time(time)).transpose()?;
        while self.stage.asked(of)?.outcome.is_none() && self.stage.step(by) {}
        let asked = self.stage.asked(of)?;
        let (at, outcome) = asked.outcome.ok_or_else(|| format!("{of} has not ended"))?;
        if !is.iter().any(|wanted| wanted == outcome) {
            return Err(format!("{of} ended with {outcome}"));
        }
        if not_before.is_some_and(|time| at < time) {
            return Err(format!("{of} ended too early, at {at}"));
        }
        let Some((_, response)) = asked.delivered.last().filter(|_| outcome == "response") else {
            return Ok(());
        };
        if let Some(code) = &answer.code {
            equal("code", &dotted(response.code), code)?;
        }
        if let Some(payload) = &answer.payload {
            equal("payload", &response.body.as_bytes(), &payload.as_slice())?;
        }
        match answer.options_absent.iter().find(|number| response.options.contains(OptionNumber::new(**number))) {
            Some(number) => Err(format!("the response has option {number}")),
            None => Ok(()),
        }
    }

    fn expect_delivered(&self, of: &str, n: u64, payloads: Option<&[Vec<u8>]>, from: Option<&[String]>) -> Read<()> {
        let delivered = &self.stage.asked(of)?.delivered;
        equal("responses", &(delivered.len() as u64), &n)?;
        if let Some(payloads) = payloads {
            let bodies: Vec<_> = delivered.iter().map(|(_, response)| response.body.as_bytes().to_vec()).collect();
            equal("payloads", &bodies.as_slice(), &payloads)?;
        }
        if let Some(from) = from {
            let wanted: Vec<_> = from.iter().map(|name| peer(name)).collect::<Read<_>>()?;
            let peers: Vec<_> = delivered.iter().map(|(peer, _)| *peer).collect();
            equal("from", &peers, &wanted)?;
        }
        Ok(())
    }
}

fn equal<T: PartialEq + core::fmt::Debug>(what: &str, is: &T, wanted: &T) -> Read<()> {
    if is == wanted { Ok(()) } else { Err(format!("{what}: {is:?}, not {wanted:?}")) }
}
