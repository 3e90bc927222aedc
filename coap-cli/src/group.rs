//! A request to a group, and what each of its members answers.

use core::pin::pin;
use core::time::Duration;
use std::io::{self, IsTerminal};

use coap_core::{Code, Peer, Uri};
use coap_driver::Reply;
use coap_tokio::{GroupResponses, RequestBuilder};

use crate::args::{GroupArgs, NoiseArgs, RequestArgs};
use crate::client::print;
use crate::exit::{Exit, Failure};
use crate::{say, show, stop};

/// How long answers are collected, unless the command line says: members take up to 5 s, so as not to answer all at once
/// (DEFAULT_LEISURE: RFC 7252 §8.2).
pub(crate) const PATIENCE: Duration = Duration::from_secs(6);

pub(crate) fn is_group(uri: &Uri) -> bool {
    uri.ip().is_some_and(|ip| ip.to_canonical().is_multicast())
}

/// What says how to reach a group is for nothing where there is certainly none. What a name stands for is not known yet.
pub(crate) fn check_unused(uri: &Uri, args: &GroupArgs) -> Result<(), Failure> {
    let Some(ip) = uri.ip().filter(|_| !is_group(uri)) else { return Ok(()) };
    let flag = match args {
        GroupArgs { hops: Some(_), .. } => "--hops",
        GroupArgs { interface: Some(_), .. } => "--interface",
        GroupArgs { .. } => return Ok(()),
    };
    Err(Failure::usage(format_args!("{flag} is for groups, and {ip} is none")))
}

/// What makes no sense where there are many answers.
pub(crate) fn check(args: &RequestArgs) -> Result<(), Failure> {
    if args.output.is_some() {
        return Err(Failure::usage("--output is for one response, and a group may send many"));
    }
    if args.ask.payload_file.is_some() {
        return Err(Failure::usage("--payload-file is sent in blocks, and a group takes one datagram: use --payload"));
    }
    Ok(())
}

/// Sends it, and prints each answer as it comes.
pub(crate) async fn run(sending: RequestBuilder, args: &RequestArgs) -> Result<Exit, Failure> {
    let span = args.ask.patience.timeout.unwrap_or(PATIENCE);
    let mut responses = sending.timeout(span).multicast().await?;
    let mut stop = pin!(stop::told_to());
    let mut exit = None;
    loop {
        let (from, answer) = tokio::select! {
            next = responses.next() => match next {
                Some(next) => next,
                None => break,
            },
            () = stop.as_mut() => return Err(Failure::interrupted()),
        };
        match answer {
            Ok(reply) => {
                exit = Some(better(exit, reply.code));
                show_answer(from, &reply, args)?;
            }
            // What concerns the group concerns the whole request.
            Err(error) if from.is_multicast() => return Err(error.into()),
            Err(error) => say(format_args!("coap: {from}: {error}")),
        }
    }
    say_lost(&responses, args.ask.noise);
    exit.ok_or_else(|| nobody(span))
}

/// One member that does as it is told is a success.
fn better(before: Option<Exit>, code: Code) -> Exit {
    match (before, Exit::for_code(code)) {
        (Some(before), now) if now != Exit::Success => before,
        (_, now) => now,
    }
}

fn show_answer(from: Peer, reply: &Reply, args: &RequestArgs) -> Result<(), Failure> {
    if args.json {
        return print(show::json_line(&show::reply_json(reply)).as_bytes());
    }
    if !args.ask.noise.quiet {
        say(format_args!("{from}: {}", show::summary(reply.into())));
    }
    if !reply.is_success() {
        if let Some(text) = show::diagnostic(reply.content_format(), &reply.payload) {
            say(text);
        }
        return Ok(());
    }
    let mut content = if io::stdout().is_terminal() {
        show::body(reply.content_format(), &reply.payload).into_owned()
    } else {
        reply.payload.to_vec()
    };
    // The next answer should not stand behind the last word of this one.
    if !content.is_empty() && !content.ends_with(b"\n") {
        content.push(b'\n');
    }
    print(&content)
}

fn say_lost(responses: &GroupResponses, noise: NoiseArgs) {
    if responses.lost() > 0 && !noise.quiet {
        say(format_args!("coap: {} more answers came too fast, and were dropped", responses.lost()));
    }
}

pub(crate) fn nobody(span: Duration) -> Failure {
    let seconds = span.as_secs_f64();
    Failure::new(Exit::Timeout, format_args!("nobody in the group answered within {seconds:.1} s: see --timeout"))
}
