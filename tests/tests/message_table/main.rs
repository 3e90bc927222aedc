//! The message layer's table: every type, with a code of every class, in every state of an exchange; and random walks
//! through it.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop; clippy knows only functions marked as tests")]

#[path = "../conformance/rig.rs"]
#[allow(dead_code, reason = "made for the checklist, which uses all of it")]
mod rig;
mod table;
mod walk;
