//! The program `coap`: a CoAP client and server for the terminal.
//!
//! Standard output gets payloads and nothing else; standard error all that is said about them. Each failure is one line
//! there and an exit code: see [`exit`].

mod args;
mod check;
mod client;
mod clock;
mod decode;
mod demo;
mod discover;
mod exec;
mod exit;
mod group;
mod hex;
mod input;
mod observe;
mod plot;
mod pretty;
mod progress;
mod receive;
mod save;
mod security;
mod serve;
mod show;
mod stop;
mod trace;
mod uri;

use core::fmt;
use core::future::Future;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use coap_core::Code;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    let outcome = match args::parse(std::env::args_os()) {
        Ok(cli) => run(cli),
        Err(refusal) => refusal.settle(),
    };
    outcome
        .unwrap_or_else(|failure| {
            say(format_args!("coap: {failure}"));
            failure.exit
        })
        .into()
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Get(args) => on_runtime(client::request(Code::GET, args)),
        Command::Put(args) => on_runtime(client::request(Code::PUT, args)),
        Command::Post(args) => on_runtime(client::request(Code::POST, args)),
        Command::Delete(args) => on_runtime(client::request(Code::DELETE, args)),
        Command::Fetch(args) => on_runtime(client::request(Code::FETCH, args)),
        Command::Patch(args) => on_runtime(client::request(Code::PATCH, args)),
        Command::Ipatch(args) => on_runtime(client::request(Code::IPATCH, args)),
        Command::Request(args) => on_runtime(client::request(args.method, args.request)),
        Command::Observe(args) => on_runtime(observe::run(args)),
        Command::Ping(args) => on_runtime(client::ping(args)),
        Command::Discover(args) => on_runtime(discover::run(args)),
        Command::Check(args) => on_runtime(check::run(args)),
        Command::Serve(args) => on_runtime(serve::run(args)),
        Command::Demo(args) => on_runtime(demo::run(args)),
        Command::Decode(args) => decode::run(&args, io::stdin().lock(), io::stdout().lock()),
        Command::Uri(args) => uri::run(&args, io::stdin().lock(), io::stdout().lock()),
        Command::Keygen(args) => security::keygen(&args),
        Command::TlsInfo(args) => security::tls_info(&args),
    }
}

/// Everything runs on this thread, but for names and files, which block.
fn on_runtime(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Local, format_args!("cannot start: {error}")))?;
    let outcome = runtime.block_on(work);
    // A name server that does not answer must not keep the program.
    runtime.shutdown_background();
    outcome
}

/// A line on standard error. Nobody is told that it cannot be written.
fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Gives `act` each of `given`, or else each line of `input` without its end, until one side has no more.
fn each_line(
    given: &[String],
    mut input: impl BufRead,
    mut act: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Failure> {
    if !given.is_empty() {
        return given.iter().try_for_each(|text| act(text.as_bytes())).or_else(ignore_gone);
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(Failure::usage(format_args!("cannot read standard input: {error}"))),
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if let Err(error) = act(text) {
            return ignore_gone(error);
        }
    }
}

fn ignore_gone(error: io::Error) -> Result<(), Failure> {
    if exit::is_gone(&error) { Ok(()) } else { Err(Failure::output(&error)) }
}
