//! The table of docs/dtls.md says what the backends say of themselves.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

use coap_dtls::{Backend, Capability, CipherSuite};

const DOCUMENT: &str = include_str!("../../docs/dtls.md");
const HEAD: &str = "| what | `dimpl` | `webrtc-dtls` |";
const SUITES: &str = "| cipher suite | `dimpl` | `webrtc-dtls` |";

/// The cells of the rows below a head.
fn rows(head: &str) -> Vec<Vec<&'static str>> {
    let table = DOCUMENT.lines().skip_while(|line| *line != head).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn each_capability_has_a_row_in_the_order_of_the_code() {
    let documented: Vec<_> = rows(HEAD).iter().map(|row| row[0].to_owned()).collect();
    let known: Vec<_> = Capability::all().iter().map(ToString::to_string).collect();
    assert_eq!(documented, known);
}

/// Which column of a table is about a backend.
fn column(head: &str, backend: Backend) -> usize {
    let mut columns = head.trim_matches('|').split('|').map(|name| name.trim().trim_matches('`'));
    columns.position(|name| name == backend.to_string()).unwrap()
}

#[test]
fn each_suite_has_a_row_that_says_which_backend_has_it() {
    let documented: Vec<_> = rows(SUITES).iter().map(|row| row[0].to_owned()).collect();
    let known: Vec<_> = CipherSuite::all().iter().map(ToString::to_string).collect();
    assert_eq!(documented, known);
    for backend in Backend::all() {
        for (row, suite) in rows(SUITES).iter().zip(CipherSuite::all()) {
            let expected = match backend.cipher_suites().contains(suite) {
                false => "no",
                true if backend.default_cipher_suites().contains(suite) => "by default",
                true => "if wished",
            };
            assert_eq!(row[column(SUITES, *backend)], expected, "{backend}: {suite}");
        }
    }
}

#[test]
fn each_backend_has_what_its_column_says() {
    for backend in Backend::all() {
        let column = column(HEAD, *backend);
        for (row, capability) in rows(HEAD).iter().zip(Capability::all()) {
            let documented = match row[column] {
                "yes" => true,
                "no" => false,
                cell => panic!("{capability}: {cell}"),
            };
            assert_eq!(backend.capabilities().has(*capability), documented, "{backend}: {capability}");
        }
    }
}
