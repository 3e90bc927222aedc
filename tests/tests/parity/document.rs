//! docs/parity.md names no test that is not there.

use std::fs;
use std::path::{Path, PathBuf};

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

#[test]
fn every_test_that_the_document_names_is_there() {
    let mut all = String::new();
    for folder in ["coap-core/src", "coap-driver/src", "coap-tokio/tests", "coap-async-std/tests", "tests/tests"] {
        sources(&root().join(folder), &mut all);
    }
    let document = fs::read_to_string(root().join("docs/parity.md")).unwrap();
    let rows: Vec<_> =
        document.lines().filter(|line| line.starts_with("| `") || line.contains("](#example-")).collect();
    assert!(rows.len() > 80, "{} rows", rows.len());
    for row in rows {
        let tests = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let mut names = tests.split('`').skip(1).step_by(2).peekable();
        assert!(names.peek().is_some(), "no test in {row}");
        for name in names {
            assert!(all.contains(&format!("fn {name}")), "no test {name}, for {row}");
        }
    }
}
