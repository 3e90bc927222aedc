//! `-v`: every message in and out, on standard error.

use std::time::Instant;

use coap_driver::Traffic;

use crate::clock::TimeOfDay;
use crate::{say, show};

/// Prints messages with the seconds since now: for a client, whose messages belong together.
pub(crate) fn since_start() -> impl Fn(&Traffic) + Send + Sync + 'static {
    let start = Instant::now();
    move |traffic| {
        let seconds = start.elapsed().as_secs_f64();
        say(format_args!("{seconds:9.4} {}", show::one_line(&traffic.to_string())));
    }
}

/// Prints messages with the time of day (UTC): for a server, which runs for long.
pub(crate) fn by_the_clock() -> impl Fn(&Traffic) + Send + Sync + 'static {
    |traffic| say(format_args!("{} {}", TimeOfDay::now(), show::one_line(&traffic.to_string())))
}
