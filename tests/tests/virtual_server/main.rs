//! What the driver's server does with bodies in blocks, with streams and with observers, in virtual time and message by message.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

mod bodies;
mod both;
mod observers;
mod peer;
