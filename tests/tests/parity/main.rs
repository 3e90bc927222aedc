//! What the functions of a client do that the rows of docs/parity.md name, in virtual time.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

mod document;
mod endings;
mod events;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../support/plain.rs"]
mod plain;
mod proxy;
mod requests;
mod scene;
mod settings;
mod surface;
