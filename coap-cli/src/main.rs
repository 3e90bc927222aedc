//! The program `coap`.
fn main() {}
