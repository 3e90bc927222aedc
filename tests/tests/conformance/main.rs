//! The conformance checklist: one test for each of its ids, with the id in front of its name, in a file for each group.
//!
//! `docs/conformance.md` says what each id demands, and names its test or the capability that it waits for; the tests in
//! `document.rs` hold it to that.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

mod blocks;
mod certificates;
mod congestion;
mod dedup;
mod document;
mod dtls;
mod extensions;
mod format;
mod links;
mod matching;
mod messages;
mod methods;
mod multicast;
mod negotiation;
mod observe;
mod options;
mod proxy;
mod retransmission;
mod rig;
mod separate;
mod sessions;
mod transport;
mod uris;
#[path = "../../../coap-dtls/tests/common/mod.rs"]
mod wire;
