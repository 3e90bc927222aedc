//! The bounds of an endpoint: each table filled on purpose, and what it costs in memory.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

#[path = "../support/memory.rs"]
mod memory;
mod model;
#[path = "../support/rig.rs"]
mod rig;
mod steady;
mod tables;
mod transfers;
