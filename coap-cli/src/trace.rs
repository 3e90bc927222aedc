//! `-v`: every message in and out, on standard error. Of secure sessions it is what is in them; of their records only those of
//! handshakes.

use std::time::Instant;

use coap_driver::Traffic;

use crate::clock::TimeOfDay;
use crate::{say, show};

/// Prints messages with the seconds since now: for a client, whose messages belong together.
pub(crate) fn since_start() -> impl Fn(&Traffic) + Send + Sync + 'static {
    let start = Instant::now();
    move |traffic| {
        if is_shown_inside(traffic) {
            return;
        }
        let seconds = start.elapsed().as_secs_f64();
        say(format_args!("{seconds:9.4} {}", show::one_line(&traffic.to_string())));
    }
}

/// Prints messages with the time of day (UTC): for a server, which runs for long.
pub(crate) fn by_the_clock() -> impl Fn(&Traffic) + Send + Sync + 'static {
    |traffic| {
        if !is_shown_inside(traffic) {
            say(format_args!("{} {}", TimeOfDay::now(), show::one_line(&traffic.to_string())));
        }
    }
}

/// A record with application data: the message in it is shown by itself.
fn is_shown_inside(traffic: &Traffic) -> bool {
    const APPLICATION_DATA: u8 = 23;
    traffic.is_record() && traffic.datagram.first() == Some(&APPLICATION_DATA)
}
