//! `coap check`: the test list of the ETSI plugtests, as a client, against any server.
//!
//! Left out are tests of clients alone (TD_COAP_OBS_03 is withdrawn), those behind a reverse proxy (CORE_24 to CORE_29), and those
//! with DTLS. What is lost in the tests on a lossy network is lost here: a message is not acknowledged, or sent twice.

mod block;
mod core_tests;
mod expect;
mod link;
mod obs;
mod wire;

use core::fmt;
use std::io::{self, Write};

use coap_core::{Options, Scheme, link_format};
use coap_tokio::{Client, TokioRuntime};
use serde_json::json;

use crate::args::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::show::{json_line, one_line};
use crate::{client, group, ignore_gone};
use wire::{Probe, Server};

/// Each test, and what it is about.
const TESTS: &[(&str, &str)] = &[
    ("CORE_01", "GET, Confirmable"),
    ("CORE_02", "DELETE, Confirmable"),
    ("CORE_03", "PUT, Confirmable"),
    ("CORE_04", "POST, Confirmable"),
    ("CORE_05", "GET, Non-confirmable"),
    ("CORE_06", "DELETE, Non-confirmable"),
    ("CORE_07", "PUT, Non-confirmable"),
    ("CORE_08", "POST, Non-confirmable"),
    ("CORE_09", "a separate response"),
    ("CORE_10", "a token of eight bytes"),
    ("CORE_11", "a token, and a separate response"),
    ("CORE_12", "an empty token"),
    ("CORE_13", "several Uri-Path options"),
    ("CORE_14", "several Uri-Query options"),
    ("CORE_15", "a response is lost"),
    ("CORE_16", "a separate response and its acknowledgements are lost"),
    ("CORE_17", "a separate response, Non-confirmable"),
    ("CORE_18", "Location-Path"),
    ("CORE_19", "Location-Query"),
    ("CORE_20", "Accept"),
    ("CORE_21", "ETag"),
    ("CORE_22", "If-Match"),
    ("CORE_23", "If-None-Match"),
    ("CORE_31", "ping"),
    ("LINK_01", "all links"),
    ("LINK_02", "links with rt=Type1"),
    ("LINK_03", "links with any rt"),
    ("LINK_04", "links with rt=Type2 among others"),
    ("LINK_05", "links with if=If*"),
    ("LINK_06", "links with any sz"),
    ("LINK_07", "the link to /link1"),
    ("LINK_08", "the links to /link*"),
    ("LINK_09", "a hierarchy of links"),
    ("BLOCK_01", "GET, blocks of a size that the client asks for"),
    ("BLOCK_02", "GET, blocks that become smaller"),
    ("BLOCK_03", "PUT in blocks"),
    ("BLOCK_04", "POST in blocks that creates"),
    ("BLOCK_05", "POST in blocks both ways"),
    ("BLOCK_06", "GET in blocks of 16 bytes"),
    ("OBS_01", "Confirmable notifications"),
    ("OBS_02", "Non-confirmable notifications"),
    ("OBS_04", "registering again with the same token"),
    (UNATTENDED, "notifications that nobody acknowledges"),
    ("OBS_06", "a notification is rejected"),
    ("OBS_10", "a GET beside the observation"),
    ("OBS_11", "one notification in flight"),
    ("OBS_12", "deregistering"),
    ("OBS_13", "notifications in blocks"),
    ("OBS_14", "notifications in one block and in several"),
    // These change what the others observe.
    ("OBS_08", "another Content-Format for what is observed"),
    ("OBS_09", "PUT to what is observed"),
    // Behind it the resource may be gone, as it should be.
    ("OBS_07", "DELETE of what is observed"),
];

/// It takes as long as the server tries (RFC 7252 §4.8.2: 93 s), beside the others.
const UNATTENDED: &str = "OBS_05";

/// Before one of these it must have ended.
const CHANGES_OBSERVED: [&str; 3] = ["OBS_07", "OBS_08", "OBS_09"];

/// Why a test did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// The server did what it should not.
    Fail(String),
    /// The server has not what the test needs.
    Inconclusive(String),
    /// This machine could not do its part.
    Local(String),
}

type Outcome = Result<(), Problem>;

fn fail(what: impl fmt::Display) -> Problem {
    Problem::Fail(what.to_string())
}

fn inconclusive(what: impl fmt::Display) -> Problem {
    Problem::Inconclusive(what.to_string())
}

fn local(error: impl fmt::Display) -> Problem {
    Problem::Local(error.to_string())
}

/// Runs the tests, and says of each what came of it.
pub(crate) async fn run(args: CheckArgs) -> Result<Exit, Failure> {
    let chosen = chosen(&args.tests)?;
    let server = find(&args).await?;
    let mut report = Report { json: args.json, quiet: args.noise.quiet, counts: [0; 3] };
    let is_chosen = |id: &str| chosen.contains(&id);
    let mut unattended = is_chosen(UNATTENDED).then(|| tokio::spawn(perform(UNATTENDED, server.clone())));
    for (id, title) in TESTS.iter().filter(|(id, _)| *id != UNATTENDED && is_chosen(id)) {
        if CHANGES_OBSERVED.contains(id) {
            report.settle(&mut unattended).await?;
        }
        let outcome = perform(id, server.clone()).await;
        report.say(id, title, outcome)?;
    }
    report.settle(&mut unattended).await?;
    report.finish()
}

/// The tests that were asked for: all, or those with these names, or of these groups.
fn chosen(names: &[String]) -> Result<Vec<&'static str>, Failure> {
    let all = TESTS.iter().map(|(id, _)| *id);
    if names.is_empty() {
        return Ok(all.collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let upper = name.to_uppercase();
        let short = upper.strip_prefix("TD_COAP_").unwrap_or(&upper);
        let before = chosen.len();
        chosen.extend(all.clone().filter(|id| *id == short || id.split('_').next() == Some(short)));
        if chosen.len() == before {
            return Err(Failure::usage(format_args!(
                "there is no test '{name}': there are CORE_01 to CORE_23 and CORE_31, LINK_01 to LINK_09, BLOCK_01 to BLOCK_06, \
                 OBS_01, OBS_02 and OBS_04 to OBS_14, and the groups CORE, LINK, BLOCK and OBS"
            )));
        }
    }
    Ok(chosen)
}

/// Looks whether the server is there, at which address, and what it lists.
async fn find(args: &CheckArgs) -> Result<Server, Failure> {
    let uri = client::parse(&args.uri)?;
    if uri.scheme() == Scheme::Coaps {
        return Err(Failure::usage("the tests send datagrams of their own making, in the clear: check a coap:// URI"));
    }
    if group::is_group(&uri) {
        return Err(Failure::usage("a group cannot be checked: check each of its members"));
    }
    // The tests name their resources, and what a server lists is below its root.
    if !uri.path().is_empty() || !uri.query().is_empty() {
        return Err(Failure::usage("a server is checked as a whole: name it without a path or a query"));
    }
    let runtime = TokioRuntime::current().map_err(|error| Failure::new(Exit::Local, error))?;
    let client = Client::builder(runtime).client().await?;
    let core = uri.join("/.well-known/core").map_err(Failure::usage)?;
    let reply = client.get(&core).timeout(2 * wire::PATIENCE).await?;
    let addr = reply.from.udp().map(|addr| addr.socket_addr());
    let addr = addr.ok_or_else(|| Failure::new(Exit::Network, "the server has no address of UDP"))?;
    let links = link_format::links(reply.text().unwrap_or_default()).map_while(Result::ok);
    // A target may be relative, a whole URI, or escaped.
    let listed = links.filter_map(|link| link.target_uri(&core).ok()).map(|uri| wire::joined(uri.path())).collect();
    let mut base = Options::new();
    for (number, value) in &uri.options() {
        base.push(number, value).map_err(Failure::usage)?;
    }
    client.close();
    Ok(Server { addr, base, listed, verbose: args.noise.shows_messages() })
}

async fn perform(id: &'static str, server: Server) -> Outcome {
    let mut probe = Probe::new(server).await?;
    let probe = &mut probe;
    match id.split_once('_') {
        Some(("CORE", number)) => core_tests::perform(number, probe).await,
        Some(("LINK", number)) => link::perform(number, probe).await,
        Some(("BLOCK", number)) => block::perform(number, probe).await,
        Some(("OBS", number)) => obs::perform(number, probe).await,
        _ => Err(unknown()),
    }
}

/// A number that is in the list and nowhere else: a mistake of ours.
fn unknown() -> Problem {
    local("there is no such test")
}

/// What is printed, and counted.
struct Report {
    json: bool,
    /// Nothing but what did not pass.
    quiet: bool,
    /// Passed, failed, inconclusive.
    counts: [usize; 3],
}

impl Report {
    /// Waits for the test that goes on beside the others.
    async fn settle(&mut self, unattended: &mut Option<tokio::task::JoinHandle<Outcome>>) -> Result<(), Failure> {
        let Some(task) = unattended.take() else { return Ok(()) };
        let outcome = task.await.map_err(|error| Failure::new(Exit::Local, error))?;
        let title = TESTS.iter().find(|(id, _)| *id == UNATTENDED).map_or("", |(_, title)| title);
        self.say(UNATTENDED, title, outcome)
    }

    fn say(&mut self, id: &str, title: &str, outcome: Outcome) -> Result<(), Failure> {
        let (index, verdict, reason) = match outcome {
            Ok(()) => (0, "PASS", String::new()),
            Err(Problem::Fail(reason)) => (1, "FAIL", reason),
            Err(Problem::Inconclusive(reason)) => (2, "INCONCLUSIVE", reason),
            Err(Problem::Local(reason)) => return Err(Failure::new(Exit::Local, format_args!("{id}: {reason}"))),
        };
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
        if self.quiet && index == 0 {
            return Ok(());
        }
        let id = format!("TD_COAP_{id}");
        if self.json {
            let object = json!({ "test": id, "title": title, "verdict": verdict, "reason": reason });
            return print(&json_line(&object).trim_end());
        }
        let reason = if reason.is_empty() { reason } else { format!(": {}", one_line(&reason)) };
        print(&format!("{id:16} {verdict:12} {title}{reason}"))
    }

    fn finish(&self) -> Result<Exit, Failure> {
        let [passed, failed, inconclusive] = self.counts;
        if self.json {
            print(&json!({ "passed": passed, "failed": failed, "inconclusive": inconclusive }))?;
        } else if !self.quiet {
            print(&format!("{passed} PASS, {failed} FAIL, {inconclusive} INCONCLUSIVE"))?;
        }
        Ok(match (failed, inconclusive) {
            (0, 0) => Exit::Success,
            (0, _) => Exit::Inconclusive,
            _ => Exit::Local,
        })
    }
}

fn print(line: &impl fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).or_else(ignore_gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_chosen_by_name_or_group() {
        assert_eq!(chosen(&[]).unwrap().len(), 52);
        let names = ["td_coap_core_01", "LINK_09", "obs"].map(str::to_owned);
        assert_eq!(chosen(&names).unwrap().len(), 15);
        for name in ["CORE_99", "CORE_", "", "CORE_24"] {
            assert!(chosen(&[name.to_owned()]).unwrap_err().to_string().contains("no test"), "{name}");
        }
    }
}
