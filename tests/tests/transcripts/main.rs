//! The transcripts of `transcripts.jsonl`, in `tests/vectors` or the folder that `COAP_VECTORS` names: what real
//! implementations said to each other at plugtests, and what the testers thought of it.
//!
//! What they let pass is replayed in both roles, and what they failed is found faulty by the rules of the test.
//! `cargo test -p coap-sim --test transcripts -- --nocapture` prints all.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod client;
mod rules;
mod server;
mod transcript;

use core::panic::AssertUnwindSafe;
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::rules::Finding;
use crate::transcript::{Transcript, Verdict};

/// What is wrong with those of our own folder that failed: which rule, and at which message.
const FAULTS: [(&str, &str, usize); 5] = [
    ("tr-0001", "a block is not larger than asked for", 1),
    ("tr-0011", "the response has a code of the test", 11),
    ("tr-0014", "content that is sent has a Content-Format", 0),
    ("tr-0039", "a registration anew is answered", 12),
    ("tr-0057", "the notification after a change has the new content", 10),
];

fn transcripts() -> Vec<Transcript> {
    let folder = env::var_os("COAP_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"), PathBuf::from);
    let path = folder.join("transcripts.jsonl");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let all = read(&text);
    assert!(!all.is_empty(), "no transcripts in {}", path.display());
    all
}

fn read(text: &str) -> Vec<Transcript> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| Transcript::read(line).unwrap_or_else(|what| panic!("{what}: {line}"))).collect()
}

#[test]
fn the_rules_agree_with_the_testers() {
    let mut failures = Vec::new();
    let mut counts = BTreeMap::<_, usize>::new();
    for transcript in transcripts() {
        let finding = rules::judge(&transcript);
        println!("{} {} {:?}: {finding}", transcript.id, transcript.test, transcript.verdict);
        *counts.entry((transcript.verdict, finding.name())).or_default() += 1;
        let agrees = match transcript.verdict {
            // A capture can end before its test does.
            Verdict::Pass => !matches!(finding, Finding::Faulty { .. }),
            Verdict::Fail => matches!(finding, Finding::Faulty { .. }),
            Verdict::Inconclusive => !matches!(finding, Finding::Sound),
        };
        if !agrees {
            failures.push(format!("{} {} {:?}: {finding}", transcript.id, transcript.test, transcript.verdict));
        }
        if let Some((_, rule, at)) = FAULTS.iter().find(|(id, ..)| *id == transcript.id) {
            let expected = Finding::Faulty { rule, at: *at };
            if finding != expected {
                failures.push(format!("{}: {finding}, and not {expected}", transcript.id));
            }
        }
    }
    println!("{counts:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The rules see what they should: a transcript without fault is faulty once anything in it is another.
#[test]
fn no_rule_is_overlooked() {
    let mut spoilt = 0;
    let ours = read(include_str!("../../vectors/transcripts.jsonl"));
    for transcript in ours.iter().filter(|transcript| rules::judge(transcript) == Finding::Sound) {
        for at in 0..transcript.lines.len() {
            for (what, changed) in transcript.spoilt(at) {
                let finding = rules::judge(&changed);
                assert!(finding != Finding::Sound, "{}: message {at} with another {what} is sound", transcript.id);
                spoilt += 1;
            }
        }
    }
    assert!(spoilt > 50, "{spoilt}");
}

#[test]
fn what_passed_is_replayed_in_both_roles() {
    let (mut replayed, mut failures) = (0, Vec::new());
    for transcript in transcripts().into_iter().filter(|transcript| transcript.verdict == Verdict::Pass) {
        replayed += 1;
        type Replay = fn(&Transcript) -> Result<(), String>;
        for (role, replay) in [("server", server::replay as Replay), ("client", client::replay)] {
            let done = catch_unwind(AssertUnwindSafe(|| replay(&transcript)));
            if let Err(what) = done.unwrap_or_else(|_| Err("panicked, see above".into())) {
                failures.push(format!("{} {} as the {role}: {what}", transcript.id, transcript.test));
            }
        }
    }
    println!("{replayed} transcripts replayed in both roles, {} failed", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(replayed > 0);
}
