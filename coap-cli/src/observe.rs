//! `coap observe`: the states of a resource as they come (RFC 7641), and whatever else becomes of the observation.
//!
//! Standard output gets the states, each with a newline behind it; standard error a line about each, with the time and for
//! how long it is fresh. On a terminal a short text is one line with all of that.

use core::fmt;
use core::future::Future;
use core::pin::{Pin, pin};
use core::time::Duration;
use std::io::{self, IsTerminal, Write};

use coap_core::{Code, OptionNumber, Options, Reregistration, Uri};
use coap_driver::{Observed, Reply};
use coap_tokio::{Client, Observation, ObserveBuilder};
use serde_json::{Value, json};

use crate::args::{BlockArg, ObserveArgs};
use crate::client::{client, parse, transmission, write};
use crate::clock::{TimeOfDay, since_1970};
use crate::exit::{Exit, Failure, is_gone};
use crate::input::RawOption;
use crate::plot::{Plot, number};
use crate::{exec, group, input, say, security, show, stop};

/// How long the server has to hear that nobody observes any more.
const FAREWELL: Duration = Duration::from_secs(2);

/// After the first registration that failed; twice as long after each further one. As without `--reregister`.
const REREGISTER_PAUSE: Duration = Duration::from_secs(30);

/// RFC 7252 §5.10.5: what a response without a Max-Age is fresh for, in seconds.
const DEFAULT_MAX_AGE: u32 = 60;

/// A longer state is not put into one line with its time.
const SHORT: usize = 120;

/// Observes until it is over, or somebody has seen enough.
pub(crate) async fn run(args: ObserveArgs) -> Result<Exit, Failure> {
    let ask = &args.ask;
    let uri = parse(&ask.uri)?;
    let security = security::for_uri(&ask.security, &uri, ask.noise.quiet, ask.patience.timeout)?;
    if group::is_group(&uri) {
        return Err(Failure::usage("a group cannot be observed: observe each of its members"));
    }
    group::check_unused(&uri, &ask.group)?;
    if ask.options.iter().any(|option| option.number == OptionNumber::OBSERVE) {
        return Err(Failure::usage("bad option: Observe is what observe sends by itself: leave it out"));
    }
    let transmission = transmission(ask.patience)?;
    let content = input::short_payload(ask).await?;
    let client = client(ask, security).await?;
    let mut asking = client.observe(&uri);
    if args.method == Code::FETCH {
        asking = asking.fetch(content);
    } else if !content.is_empty() {
        return Err(Failure::usage("get has no payload: observe with -m fetch"));
    }
    asking = with_options(asking, &args)?;
    if let Some(transmission) = transmission {
        asking = asking.transmission(transmission);
    }

    let mut stop = pin!(end(args.seconds));
    let answered = tokio::select! {
        answered = asking.into_future() => answered.map_err(|error| security::failure(&ask.security, error))?,
        () = stop.as_mut() => return Ok(Exit::Success),
    };
    let mut teller = Teller::new(&args, &uri, &client);
    let outcome = follow(answered, &mut teller, stop).await;
    teller.finish();
    outcome
}

fn with_options(mut asking: ObserveBuilder, args: &ObserveArgs) -> Result<ObserveBuilder, Failure> {
    let ask = &args.ask;
    if let Some(hops) = ask.hop_limit {
        asking = asking.hop_limit(hops);
    }
    if ask.no_set_hostname {
        asking = asking.no_uri_host();
    }
    if let Some(format) = ask.content_format {
        asking = asking.content_format(format);
    }
    if let Some(format) = ask.accept {
        asking = asking.accept(format);
    }
    match ask.block {
        Some(BlockArg::Size(Some(size))) => asking = asking.block_size(size),
        Some(BlockArg::One(..)) => {
            return Err(Failure::usage(
                "--block NUM,SIZE asks for one block, and whole states are observed: leave NUM out",
            ));
        }
        Some(BlockArg::Size(None)) | None => {}
    }
    for RawOption { number, value } in &ask.options {
        asking = asking.option(*number, value);
    }
    if ask.non {
        asking = asking.non_confirmable();
    }
    if let Some(timeout) = ask.patience.timeout {
        asking = asking.timeout(timeout);
    }
    match args.reregister {
        Some(0) => asking = asking.reregistration(Reregistration::OFF),
        Some(attempts) => asking = asking.reregistration(Reregistration::new(attempts, REREGISTER_PAUSE)),
        None => {}
    }
    Ok(asking)
}

/// Ready when it was told to stop, or the time is over.
async fn end(after: Option<Duration>) {
    let over = async {
        match after {
            Some(span) => tokio::time::sleep(span).await,
            None => core::future::pending().await,
        }
    };
    tokio::select! {
        () = stop::told_to() => {}
        () = over => {}
    }
}

/// Tells what happens, until the end.
async fn follow(
    mut observation: Observation,
    teller: &mut Teller<'_>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<Exit, Failure> {
    let accepted = observation.was_accepted();
    loop {
        let observed = tokio::select! {
            biased;
            () = stop.as_mut() => break,
            observed = observation.next() => observed,
        };
        match observed {
            Some(Observed::Notification(reply)) => {
                let told = tokio::select! {
                    told = teller.state(&reply) => told?,
                    () = stop.as_mut() => break,
                };
                if told == Told::Enough {
                    break;
                }
            }
            Some(Observed::Stale) => {
                teller.remark("stale", "stale: nothing came for longer than the last state is fresh", json!({}));
            }
            Some(Observed::Reregistering { attempt }) => teller.remark(
                "reregistering",
                format_args!("registering again, attempt {attempt}"),
                json!({ "attempt": attempt }),
            ),
            Some(Observed::Lost(error)) => {
                teller.lost(&error);
                let failure = Failure::from(error);
                return Err(Failure::new(failure.exit, format_args!("the observation is lost: {failure}")));
            }
            Some(Observed::Ended(reply)) => return teller.ended(&reply, accepted).await,
            // Only by ourselves.
            Some(_) | None => break,
        }
    }
    let farewell = tokio::time::timeout(FAREWELL, observation.cancel());
    tokio::select! {
        _ = farewell => {}
        () = stop::told_to() => {}
    }
    Ok(Exit::Success)
}

/// Whether the next state is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    GoOn,
    Enough,
}

/// Writes to standard output. Whoever read it and has left has seen enough.
fn print(content: &[u8]) -> Result<Told, Failure> {
    match write(content) {
        Ok(()) => Ok(Told::GoOn),
        Err(error) if is_gone(&error) => Ok(Told::Enough),
        Err(error) => Err(Failure::output(&error)),
    }
}

/// Says what happens.
struct Teller<'a> {
    args: &'a ObserveArgs,
    uri: &'a Uri,
    client: &'a Client,
    told: u64,
    plot: Option<Plot>,
    /// Standard output, and standard error.
    on_terminal: (bool, bool),
    /// The plot stands in the last line of the terminal.
    drawn: bool,
}

impl<'a> Teller<'a> {
    fn new(args: &'a ObserveArgs, uri: &'a Uri, client: &'a Client) -> Self {
        let on_terminal = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self { args, uri, client, told: 0, plot: args.plot.then(Plot::default), on_terminal, drawn: false }
    }

    /// A new state.
    async fn state(&mut self, reply: &Reply) -> Result<Told, Failure> {
        self.told += 1;
        let (number, time) = (number(reply.content_format(), &reply.payload), TimeOfDay::now());
        if let (Some(plot), Some(number)) = (&mut self.plot, number) {
            plot.push(number);
        }
        self.erase();
        let told = if self.args.json {
            self.object("notification", self.reply_json(reply))?
        } else if let Some(command) = &self.args.exec {
            self.say(line(time, reply.code, &reply.options, reply.payload.len(), ""));
            let environment = [
                ("COAP_URI", self.uri.to_string()),
                ("COAP_CODE", reply.code.dotted().to_string()),
                ("COAP_FORMAT", reply.content_format().map_or_else(String::new, |format| format.number().to_string())),
            ];
            if let Err(failure) = exec::run(command, &environment, &reply.payload).await {
                say(format_args!("coap: {failure}"));
            }
            Told::GoOn
        } else {
            self.content(time, reply)?
        };
        self.draw();
        let enough = self.args.count.is_some_and(|count| self.told >= count);
        Ok(if enough { Told::Enough } else { told })
    }

    fn reply_json(&self, reply: &Reply) -> Value {
        let mut object = show::reply_json(reply);
        object["from"] = show::address(self.client, reply.from).to_string().into();
        object
    }

    fn content(&self, time: TimeOfDay, reply: &Reply) -> Result<Told, Failure> {
        let (format, payload) = (reply.content_format(), &reply.payload);
        if !self.on_terminal.0 {
            self.say(line(time, reply.code, &reply.options, payload.len(), ""));
            let newline: &[u8] = if payload.ends_with(b"\n") { b"" } else { b"\n" };
            return print(&[payload, newline].concat());
        }
        match reply.text().map(str::trim_end).filter(|text| text.len() <= SHORT && !text.contains('\n')) {
            Some(text) if self.args.ask.noise.quiet => print(format!("{}\n", show::one_line(text)).as_bytes()),
            Some(text) => {
                let line = line(time, reply.code, &reply.options, payload.len(), &show::one_line(text));
                print(format!("{line}\n").as_bytes())
            }
            None => {
                self.say(line(time, reply.code, &reply.options, payload.len(), ""));
                print(&show::body(format, payload))
            }
        }
    }

    /// The server does not notify, or not any more.
    async fn ended(&mut self, reply: &Reply, accepted: bool) -> Result<Exit, Failure> {
        let why = match (accepted, reply.is_success()) {
            (false, true) => "the server does not let this be observed: this is its one answer",
            (false, false) => "the server refuses",
            (true, _) => "the server has ended the observation",
        };
        if self.args.json {
            self.object("ended", self.reply_json(reply))?;
        } else if reply.is_success() {
            self.erase();
            self.say(format_args!("coap: {why}"));
            self.state(reply).await?;
        } else {
            self.erase();
            let text = show::diagnostic(reply.content_format(), &reply.payload).unwrap_or_default();
            let colon = if text.is_empty() { "" } else { ": " };
            // What failed is said even to those who want to hear nothing else.
            say(format_args!("coap: {why}: {}{colon}{}", reply.code, text.replace('\n', " ")));
        }
        Ok(Exit::for_code(reply.code))
    }

    fn lost(&mut self, error: &coap_driver::Error) {
        self.erase();
        if self.args.json {
            // That it cannot be printed is no worse than what is lost.
            let _ = self.object("lost", json!({ "reason": error.to_string() }));
        }
    }

    fn remark(&mut self, event: &str, text: impl fmt::Display, object: Value) {
        self.erase();
        if self.args.json {
            // Whoever does not read any more is found out at the next state.
            let _ = self.object(event, object);
        } else {
            self.say(format_args!("{} {text}", TimeOfDay::now()));
        }
        self.draw();
    }

    fn object(&self, event: &str, mut object: Value) -> Result<Told, Failure> {
        if let Some(members) = object.as_object_mut() {
            members.insert("event".to_owned(), event.into());
            members.insert("time".to_owned(), since_1970().as_secs_f64().into());
        }
        print(show::json_line(&object).as_bytes())
    }

    fn say(&self, line: impl fmt::Display) {
        if !self.args.ask.noise.quiet {
            say(line);
        }
    }

    // ----- The plot: the last line of a terminal -----------------------------------------------------------------

    fn draw(&mut self) {
        let Some(plot) = self.plot.as_ref().filter(|plot| self.on_terminal.1 && !plot.is_empty()) else { return };
        let mut terminal = io::stderr().lock();
        // Nobody is told that a terminal takes nothing.
        let _ = write!(terminal, "{plot}").and_then(|()| terminal.flush());
        self.drawn = true;
    }

    fn erase(&mut self) {
        if core::mem::take(&mut self.drawn) {
            let mut terminal = io::stderr().lock();
            let _ = write!(terminal, "\r\x1b[2K").and_then(|()| terminal.flush());
        }
    }

    fn finish(&self) {
        if self.drawn {
            say("");
        } else if let Some(plot) = self.plot.as_ref().filter(|plot| !plot.is_empty()) {
            say(plot);
        }
    }
}

/// `20:31:05.123 2.05 Content, 4 bytes, text/plain, fresh for 60 s`; with a text `20:31:05.123 22.5 (fresh for 60 s)`.
fn line(time: TimeOfDay, code: Code, options: &Options, length: usize, text: &str) -> String {
    let fresh = match options.max_age().unwrap_or(DEFAULT_MAX_AGE) {
        0 => "not fresh for long".to_owned(),
        seconds => format!("fresh for {seconds} s"),
    };
    if text.is_empty() {
        return format!("{time} {}, {fresh}", show::content_line(code, options, Some(length as u64)));
    }
    let code = if code == Code::CONTENT { String::new() } else { format!("{code}, ") };
    format!("{time} {text} ({code}{fresh})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use coap_core::ContentFormat;

    #[test]
    fn a_line_says_when_what_and_for_how_long() {
        let mut options = Options::new();
        options.set_content_format(ContentFormat::TEXT_PLAIN);
        let after_time = |length, options: &Options, text: &str| {
            let line = line(TimeOfDay::now(), Code::CONTENT, options, length, text);
            assert_eq!(line.find(' '), Some("20:31:05.123".len()), "{line}");
            line["20:31:05.123 ".len()..].to_owned()
        };
        let about = after_time(4, &options, "");
        assert!(
            about.starts_with("2.05 Content, 4 bytes, text/plain") && about.ends_with(", fresh for 60 s"),
            "{about}"
        );
        options.set_max_age(2);
        assert_eq!(after_time(4, &options, "22.5"), "22.5 (fresh for 2 s)");
        options.set_max_age(0);
        assert_eq!(after_time(4, &options, "22.5"), "22.5 (not fresh for long)");
    }
}
