//! `coap observe`.

use core::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use coap_core::Code;

use super::ask::AskArgs;
use super::request::method;
use super::shared::{seconds, whole};

#[derive(Debug, Args)]
pub(crate) struct ObserveArgs {
    /// get, or fetch for a part of the resource (RFC 8132).
    #[arg(short, long, value_name = "METHOD", default_value = "get", value_parser = observing_method)]
    pub(crate) method: Code,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// End after this time.
    #[arg(short, long, value_name = "SECS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) seconds: Option<Duration>,
    /// End after so many states.
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(crate) count: Option<u64>,
    /// How often in a row it is registered again, when nothing has come for longer than the last state is fresh: 0 to 255 (4).
    /// The pause after a failure is 30 s, and doubles. 0: it waits for the next notification.
    #[arg(long, value_name = "N", value_parser = whole(0, u8::MAX), allow_negative_numbers = true)]
    pub(crate) reregister: Option<u8>,
    /// Run this command of the shell for each state, which is its standard input, instead of printing it. COAP_URI, COAP_CODE
    /// and COAP_FORMAT are in its environment.
    #[arg(long, alias = "observe-exec", value_name = "CMD", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) exec: Option<String>,
    /// Draw a line of the numbers in the states: on a terminal as they come, else at the end.
    #[arg(long)]
    pub(crate) plot: bool,
    /// Print each state, and whatever else happens, as one JSON object.
    #[arg(long, conflicts_with = "exec")]
    pub(crate) json: bool,
}

fn observing_method(text: &str) -> Result<Code, String> {
    method(text)
        .ok()
        .filter(|code| [Code::GET, Code::FETCH].contains(code))
        .ok_or_else(|| "only get and fetch can observe".to_owned())
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "not a whole number from 1 on".to_owned())
}
