//! docs/parity.md has a row for everything, and each row an example and tests that are there.

use std::fs;
use std::path::{Path, PathBuf};

use super::surface::SURFACE;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, all);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&fs::read_to_string(entry).unwrap());
        }
    }
}

fn document() -> String {
    fs::read_to_string(root().join("docs/parity.md")).unwrap()
}

fn is_row(line: &str) -> bool {
    line.starts_with("| ") && !line.starts_with("| Qt |")
}

/// What the first column of a section names.
fn named<'a>(document: &'a str, class: &str) -> Vec<&'a str> {
    let (_, section) = document.split_once(&format!("\n## {class}\n")).unwrap_or_else(|| panic!("no section {class}"));
    let rows = section.lines().take_while(|line| !line.starts_with("## ")).filter(|line| is_row(line));
    rows.flat_map(|row| row.split(" | ").next().unwrap().split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_function_signal_and_setter_has_a_row() {
    let document = document();
    for (class, names) in SURFACE {
        let rows = named(&document, class);
        for name in names {
            let found = rows.iter().filter(|row| *row == name).count();
            assert_eq!(found, 1, "rows of {class}::{name}");
        }
    }
}

#[test]
fn every_row_has_an_example_of_five_lines() {
    let document = document();
    let mut rows = 0;
    for row in document.lines().filter(|line| is_row(line)) {
        let number = row.split_once("(#example-").and_then(|(_, rest)| rest.split_once(')')).map(|(number, _)| number);
        let number = number.unwrap_or_else(|| panic!("no example in {row}"));
        let (_, example) = document.split_once(&format!("\n#### Example {number}\n")).unwrap();
        let code = example.split("```").nth(1).unwrap();
        let lines = code.lines().skip(1).filter(|line| !line.starts_with("# ")).count();
        assert!((1..=5).contains(&lines), "example {number} has {lines} lines");
        rows += 1;
    }
    assert_eq!(rows, document.matches("\n#### Example ").count(), "each example is of one row");
}

#[test]
fn every_test_that_the_document_names_is_there() {
    let mut all = String::new();
    for folder in [
        "coap-core/src",
        "coap-driver/src",
        "coap-dtls/tests",
        "coap-tokio/tests",
        "coap-async-std/tests",
        "tests/tests",
    ] {
        sources(&root().join(folder), &mut all);
    }
    let document = document();
    for row in document.lines().filter(|line| is_row(line)) {
        let tests = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let mut names = tests.split('`').skip(1).step_by(2).peekable();
        assert!(names.peek().is_some(), "no test in {row}");
        for name in names {
            assert!(all.contains(&format!("fn {name}")), "no test {name}, for {row}");
        }
    }
}
