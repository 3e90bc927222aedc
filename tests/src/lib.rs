//! CoAP endpoints in virtual time: a network that loses, delays, repeats and reorders, all from one seed.
//!
//! A [`Sim`] has any number of nodes, each a [`coap_core::Endpoint`] with an address and perhaps an application, and a
//! [`Link`] each way between any two of them. Time passes only when nothing else is left to do at an instant, so four
//! minutes of EXCHANGE_LIFETIME cost nothing. After every step the invariants of [`Watch`] are checked.
//!
//! # The story of one exchange
//!
//! A client asks a server for a temperature over a path that loses three datagrams of ten. With the seed 7 the first
//! request is lost, and so is its repetition; the third arrives, and is answered at once.
//!
//! ```
//! use coap_core::{Config, ContentFormat, Event, Request, RequestOptions, Response};
//! use coap_sim::{Link, Sim, serve};
//!
//! let mut sim = Sim::new(7);
//! let client = sim.node("client", Config::default());
//! let server = sim.node("server", Config::default());
//! sim.run_app(server, serve(|_now, _request| Response::content(ContentFormat::TEXT_PLAIN, "21.5").into()));
//! sim.link(client, server, Link::lossy(0.3));
//!
//! let mut request = Request::get();
//! request.options.push_uri_path("temperature")?;
//! let id = sim.request(client, server, request, &RequestOptions::new())?;
//! let Some(Event::Response { response, timing, .. }) = sim.finish(client, id) else { panic!("no response") };
//! assert_eq!((response.body.as_bytes(), timing.attempts), (&b"21.5"[..], 3));
//!
//! assert_eq!(sim.trace().to_string(), "\
//! 0.000000 client -> server CON GET id=0x942f token=96cbcf84153b Uri-Path: temperature: lost
//! 2.656554 client -> server CON GET id=0x942f token=96cbcf84153b Uri-Path: temperature: lost
//! 7.969662 client -> server CON GET id=0x942f token=96cbcf84153b Uri-Path: temperature: arrives at 7.979662
//! 7.979662 server -> client ACK 2.05 Content id=0x942f token=96cbcf84153b Content-Format: 0 (text/plain; charset=utf-8), \
//! payload 4 bytes \"21.5\": arrives at 7.989662
//! ");
//!
//! // The exchange is over, but its Message ID is remembered for EXCHANGE_LIFETIME. Then nothing is left.
//! sim.run_until_idle();
//! assert_eq!(sim.endpoint(server).usage(), Default::default());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The first timeout was drawn from 2 to 3 seconds and then doubled, the three requests are the same bytes, and the
//! response came on the acknowledgement: RFC 7252 §4.2 and §5.2.1 in four lines.
//!
//! # The same again
//!
//! The same seed and the same calls give the same trace, and [`Trace::hash`] says so in one number. A test that fails
//! prints its seed and the last lines of the trace; where the simulation was made with [`Sim::from_env`],
//! `COAP_SEED=7 cargo test …` repeats it.
//!
//! # Whole clients and servers
//!
//! A [`Host`] is a runtime of `coap-driver`: clients, servers and routers run on it as they are, and talk to each other, or
//! to endpoints, over the same links and into the same trace. The README of this crate has a router and a client in a
//! lossy network.

mod app;
mod host;
mod link;
pub mod plugtest;
mod sim;
mod trace;
mod watch;

pub use app::{App, Reply, serve};
pub use host::{Fault, Host, SimSocket, SimTimer, Sleep, Task};
pub use link::Link;
pub use sim::{Node, Open, Sim};
pub use trace::Trace;
pub use watch::{Cause, Watch};

/// The examples of the README, to be compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The number in the environment variable `COAP_SEED`, or `seed`.
///
/// # Panics
///
/// If `COAP_SEED` is not a number below 2⁶⁴.
pub fn seed_from_env(seed: u64) -> u64 {
    match std::env::var("COAP_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("COAP_SEED={text} is not a number")),
        Err(_) => seed,
    }
}
