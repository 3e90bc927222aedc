//! The table of docs/dtls.md says what the backends say of themselves.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use coap_dtls::{Backend, Capability};

const DOCUMENT: &str = include_str!("../../docs/dtls.md");
const HEAD: &str = "| what | `dimpl` | `webrtc-dtls` |";

/// The cells of the rows below the head.
fn rows() -> Vec<Vec<&'static str>> {
    let table = DOCUMENT.lines().skip_while(|line| *line != HEAD).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn each_capability_has_a_row_in_the_order_of_the_code() {
    let documented: Vec<_> = rows().iter().map(|row| row[0].to_owned()).collect();
    let known: Vec<_> = Capability::all().iter().map(ToString::to_string).collect();
    assert_eq!(documented, known);
}

#[test]
fn each_backend_has_what_its_column_says() {
    let columns: Vec<_> = HEAD.trim_matches('|').split('|').map(|name| name.trim().trim_matches('`')).collect();
    for backend in Backend::all() {
        let column = columns.iter().position(|name| *name == backend.to_string()).unwrap();
        for (row, capability) in rows().iter().zip(Capability::all()) {
            let documented = match row[column] {
                "yes" => true,
                "no" => false,
                cell => panic!("{capability}: {cell}"),
            };
            assert_eq!(backend.capabilities().has(*capability), documented, "{backend}: {capability}");
        }
    }
}
