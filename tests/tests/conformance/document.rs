//! `docs/conformance.md` against the list of ids and against the tests that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Every id of the checklist, one a line.
const IDS: &str = include_str!("../../conformance_ids.txt");
const DOCUMENT: &str = include_str!("../../../docs/conformance.md");

/// What the document says of an id.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Tested(String),
    Waits(String),
}

/// A row of one of the tables: `| id | demand | test or what it waits for |`.
fn rows() -> Vec<(&'static str, Standing)> {
    let cells = |line: &'static str| line.strip_prefix("| ")?.strip_suffix(" |").map(|row| row.split(" | "));
    DOCUMENT
        .lines()
        .filter_map(cells)
        .map(Iterator::collect::<Vec<_>>)
        .filter(|row| is_id(row[0]))
        .map(|row| {
            let [id, demand, standing] = row[..] else { panic!("a row of other than three cells: {row:?}") };
            assert!(!demand.is_empty(), "{id} demands nothing");
            let test = standing.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
            let standing = match (test, standing.strip_prefix("waits for ")) {
                (Some(test), _) => Standing::Tested(test.to_owned()),
                (None, Some(capability)) => Standing::Waits(capability.to_owned()),
                (None, None) => panic!("{id} has neither a test nor what it waits for: {standing}"),
            };
            (id, standing)
        })
        .collect()
}

/// Such as `FMT-01`.
fn is_id(text: &str) -> bool {
    let Some((group, number)) = text.split_once('-') else { return false };
    group.len() == 3
        && group.bytes().all(|byte| byte.is_ascii_uppercase())
        && number.len() == 2
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The id that a test has in front of its name, `fmt_01_…`.
fn id_of(test: &str) -> Option<String> {
    let mut parts = test.splitn(3, '_');
    let id = format!("{}-{}", parts.next()?.to_ascii_uppercase(), parts.next()?);
    parts.next().filter(|_| is_id(&id)).map(|_| id)
}

/// The names of all tests in the folder of integration tests.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(tests_in(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    names
}

fn tests_in(source: &str) -> Vec<String> {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let name = |line: &str| Some(line.strip_prefix("fn ")?.split_once('(')?.0.to_owned());
    lines.windows(2).filter(|pair| pair[0] == "#[test]").filter_map(|pair| name(pair[1])).collect()
}

#[test]
fn every_id_is_in_the_document_once_and_in_order() {
    let named: Vec<_> = rows().into_iter().map(|(id, _)| id).collect();
    let known: Vec<_> = IDS.lines().collect();
    assert_eq!(named, known);
    assert_eq!(known.iter().collect::<BTreeSet<_>>().len(), known.len());
}

#[test]
fn every_test_that_the_document_names_is_there_and_has_its_id_in_front() {
    let tests = tests();
    for (id, standing) in rows() {
        if let Standing::Tested(test) = standing {
            assert!(tests.contains(&test), "{id} names {test}, and there is no such test");
            assert_eq!(id_of(&test).as_deref(), Some(id), "{test}");
        }
    }
}

#[test]
fn every_test_with_an_id_in_front_is_in_the_document() {
    let named: BTreeSet<_> = rows()
        .into_iter()
        .filter_map(|(_, standing)| match standing {
            Standing::Tested(test) => Some(test),
            Standing::Waits(_) => None,
        })
        .collect();
    let forgotten: Vec<_> = tests().into_iter().filter(|test| id_of(test).is_some() && !named.contains(test)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

/// The numbers in the head of the document are those of its tables.
#[test]
fn the_numbers_in_the_document_are_right() {
    let mut waiting = BTreeMap::<String, usize>::new();
    let mut tested = 0;
    for (_, standing) in rows() {
        match standing {
            Standing::Tested(_) => tested += 1,
            Standing::Waits(capability) => *waiting.entry(capability).or_default() += 1,
        }
    }
    let waits: usize = waiting.values().sum();
    let sentence = format!("Of {} ids, {tested} have a test and {waits} wait:", tested + waits);
    assert!(DOCUMENT.contains(&sentence), "{sentence}");
    for (capability, count) in &waiting {
        let line = format!("* {count} for {capability}");
        assert!(DOCUMENT.lines().any(|there| there == line), "{line}");
    }
}

#[test]
fn the_reader_of_the_sources_finds_tests_and_their_ids() {
    let source = "#[test]\nfn fmt_01_a() {}\n\nfn fmt_02_b() {}\n    #[test]\n    fn plain(x: u8) {}\n";
    assert_eq!(tests_in(source), ["fmt_01_a", "plain"]);
    assert_eq!(id_of("fmt_01_a").as_deref(), Some("FMT-01"));
    assert_eq!(id_of("fmt_1_a").as_deref(), None);
    assert_eq!(id_of("a_plain_name").as_deref(), None);
}
