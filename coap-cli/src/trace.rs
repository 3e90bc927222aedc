//! `-v`: every message in and out, on standard error.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use coap_driver::Traffic;

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
    |traffic| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let day = now.as_secs() % 86_400;
        let (hours, minutes, seconds) = (day / 3_600, day / 60 % 60, day % 60);
        let millis = now.subsec_millis();
        let line = show::one_line(&traffic.to_string());
        say(format_args!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03} {line}"));
    }
}
