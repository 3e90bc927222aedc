//! The scripts of `scenarios.jsonl`, in `tests/vectors` or the folder that `COAP_VECTORS` names, each through one
//! endpoint in virtual time. What the steps mean is in the README beside the vectors.
//!
//! `cargo test -p coap-sim --test scenarios -- --nocapture` prints how many there are, and the optional ones that do not hold.

mod pattern;
mod run;
mod script;
mod stage;

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::{Value, json};

use crate::script::{Level, Script};

/// With how many seeds each script runs: tokens, Message IDs and timeouts are drawn anew with each.
const SEEDS: u64 = 20;

#[test]
fn the_scripts_hold() {
    let folder = env::var_os("COAP_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"), PathBuf::from);
    let path = folder.join("scenarios.jsonl");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let seed = coap_sim::seed_from_env(1);

    let (mut passed, mut left_out, mut failures) = (0, Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let script = match Script::read(line) {
            Ok(script) => script,
            Err(what) => {
                failures.push(format!("line {}: {what}", at + 1));
                continue;
            }
        };
        // A panic is a broken invariant, which nothing excuses.
        match catch_unwind(AssertUnwindSafe(|| (seed..seed + SEEDS).try_for_each(|seed| run::run(&script, seed)))) {
            Ok(Ok(())) => passed += 1,
            Ok(Err(what)) if script.level == Level::Optional => left_out.push(format!("{} ({what})", script.id)),
            Ok(Err(what)) => failures.push(format!("{}: {what}", script.id)),
            Err(_) => failures.push(format!("{}: panicked, see above", script.id)),
        }
    }
    println!("{passed} scripts passed, {} failed (COAP_SEED={seed})", failures.len());
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
