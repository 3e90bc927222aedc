//! The scripts of `scenarios.jsonl`, in `tests/vectors` or the folder that `COAP_VECTORS` names, each through one
//! endpoint in virtual time. What the steps mean is in the README beside the vectors.
//!
//! A script that needs a capability which is not there yet is named with it, unless it passes all the same. Which those
//! are is read off the script. `cargo test -p coap-sim --test scenarios -- --nocapture` prints them.

mod pattern;
mod run;
mod script;
mod stage;

use core::panic::AssertUnwindSafe;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::{env, fs};

use coap_core::{Message, OptionNumber};
use serde_json::{Value, json};

use crate::script::{Level, Script, Step};

/// Echo (RFC 9175 §2), which has no accessor yet.
const ECHO: u16 = 252;

/// With how many seeds each script runs: tokens, Message IDs and timeouts are drawn anew with each.
const SEEDS: u64 = 20;

/// What a script can need beyond what there is. A capability that has come leaves [`MISSING`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Capability {
    Echo,
}

const MISSING: [Capability; 1] = [Capability::Echo];

#[test]
fn the_scripts_hold() {
    let folder = env::var_os("COAP_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"), PathBuf::from);
    let path = folder.join("scenarios.jsonl");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let seed = coap_sim::seed_from_env(1);

    let (mut passed, mut left_out, mut failures) = (0, Vec::new(), Vec::new());
    let mut waiting = BTreeMap::<String, Vec<String>>::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let script = match Script::read(line) {
            Ok(script) => script,
            Err(what) => {
                failures.push(format!("line {}: {what}", at + 1));
                continue;
            }
        };
        let missing: Vec<_> = needs(&script).into_iter().filter(|need| MISSING.contains(need)).collect();
        // A panic is a broken invariant, which nothing excuses.
        match catch_unwind(AssertUnwindSafe(|| (seed..seed + SEEDS).try_for_each(|seed| run::run(&script, seed)))) {
            Ok(Ok(())) => passed += 1,
            Ok(Err(_)) if !missing.is_empty() => {
                let names: Vec<_> = missing.iter().map(|need| format!("{need:?}")).collect();
                waiting.entry(names.join(" and ")).or_default().push(script.id);
            }
            Ok(Err(what)) if script.level == Level::Optional => left_out.push(format!("{} ({what})", script.id)),
            Ok(Err(what)) => failures.push(format!("{}: {what}", script.id)),
            Err(_) => failures.push(format!("{}: panicked, see above", script.id)),
        }
    }
    println!("{passed} scripts passed, {} failed (COAP_SEED={seed})", failures.len());
    for (need, scripts) in &waiting {
        println!("{} wait for {need}: {}", scripts.len(), scripts.join(" "));
    }
    for script in &left_out {
        println!("left out, which is allowed: {script}");
    }
    assert!(failures.is_empty(), "COAP_SEED={seed}\n{}", failures.join("\n"));
    assert!(passed > 0, "no scripts in {}", path.display());
}

/// A runner that looks away would pass everything: with one field of one expectation made wrong, no script may pass.
#[test]
fn no_expectation_is_overlooked() {
    let text = include_str!("../../vectors/scenarios.jsonl");
    let mut wrong = 0;
    for line in text.lines() {
        let script: Value = serde_json::from_str(line).unwrap();
        if run::run(&Script::read(line).unwrap(), 1).is_err() {
            continue;
        }
        let steps = script["steps"].as_array().unwrap();
        for (at, step) in steps.iter().enumerate().filter(|(_, step)| step["optional"] != json!(true)) {
            for (field, value) in step.as_object().unwrap().iter().filter(|_| step.get("expect").is_some()) {
                let Some(other) = spoilt(field, value) else { continue };
                let mut spoilt = script.clone();
                spoilt["steps"][at][field] = other;
                let spoilt = Script::read(&spoilt.to_string()).unwrap();
                assert!(run::run(&spoilt, 1).is_err(), "{} passes with another {field} in step {}", spoilt.id, at + 1);
                wrong += 1;
            }
        }
    }
    assert!(wrong > 300, "{wrong}");
}

/// A value that does not hold where `value` does; `None`: the field has none that is always wrong.
fn spoilt(field: &str, value: &Value) -> Option<Value> {
    match field {
        "type" | "code" => Some(json!("7.31")),
        "to" => Some(json!("S1:9999")),
        "mid" | "n" => Some(json!(value.as_u64()? + 1)),
        "token" | "payload" | "exact_hex" if value.is_string() => Some(json!(format!("{}00", value.as_str()?))),
        "is" if *value != json!("unreachable") => Some(json!("unreachable")),
        "options_present" => Some(json!([65_000])),
        "option_equals" => Some(json!([65_000, ""])),
        "payload_len" => Some(json!(9_999)),
        "max_bytes" => Some(json!(3)),
        "payloads" => Some(json!(["00"])),
        "token_len" => Some(json!([0, 0])),
        _ => None,
    }
}

/// What a script uses.
fn needs(script: &Script) -> BTreeSet<Capability> {
    let mut needs = BTreeSet::new();
    let mut need = |capability, is_used| {
        if is_used {
            needs.insert(capability);
        }
    };
    need(Capability::Echo, script.setup.unproven_limit);
    for step in &script.steps {
        match step {
            Step::Receive { datagram, .. } => {
                let Ok(message) = Message::decode(datagram.clone().into()) else { continue };
                need(Capability::Echo, message.options.contains(OptionNumber::new(ECHO)));
            }
            Step::Send(send) => [&send.pattern].into_iter().chain(&send.any_of).for_each(|pattern| {
                need(Capability::Echo, pattern.options_present.contains(&ECHO));
            }),
            _ => {}
        }
    }
    needs
}
