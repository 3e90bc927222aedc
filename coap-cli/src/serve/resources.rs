//! The resources that every `coap serve` has.

use core::time::Duration;

use coap_core::link_format::{self, Link};
use coap_core::{Code, ContentFormat, Local, Options};
use coap_driver::router::{Answer, IntoResponse, MethodRouter, Payload, Query, Resource, Router, get, post};

use super::files::{self, Files};
use super::large::large;
use super::select;
use super::store;
use crate::clock::{since_1970, timestamp};

const WELCOME: &str = "\
This is `coap serve`. Resources:
/hello        20 bytes of text, for a group too
/time         the time here, UTC; observable, each second
/large        1280 bytes of text, or ?size=
/store/NAME   GET, PUT, POST (append), DELETE, observable; POST /store makes a name
/slow?ms=N    answers after N ms (1000), separately
/echo         gives back what is sent: POST, PUT, FETCH, PATCH, iPATCH
/.well-known/core  all of them, for programs
";

/// What is said about them on the command line.
pub(super) const SUMMARY: &str = "/hello /time /large /store /slow /echo, listed in /.well-known/core";

const HELLO: &str = "Hello from coap-cli!";

const LINKS: &str = "</>;ct=0;title=\"What this is\",</hello>;ct=0;sz=20,</time>;ct=0;obs,</large>;ct=0;sz=1280,\
                     </store>;ct=40;obs;title=\"Values: GET, PUT, POST, DELETE\",\
                     </slow>;ct=0;title=\"Answers after ?ms=\",</echo>;title=\"Gives back what is sent\"";

/// How long `/slow` takes without being told, and at most.
const SLOW: Duration = Duration::from_millis(1_000);
const SLOWEST: Duration = Duration::from_millis(10_000);

/// What changes by itself.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Resource);

impl Clock {
    /// Its notifications are Confirmable: of Non-confirmable ones, a peer whose round-trip time is not known gets one in
    /// 3 s (RFC 7641 §4.5.1), and a clock should tick.
    pub(crate) fn new() -> Self {
        Self(Resource::new())
    }

    /// Notifies the observers of the time, each second, for ever.
    pub(crate) async fn tick(self) {
        loop {
            let into_second = Duration::from_nanos(since_1970().subsec_nanos().into());
            tokio::time::sleep(Duration::from_secs(1).saturating_sub(into_second)).await;
            self.0.changed();
        }
    }
}

/// Everything that is served; `files` under `/files`.
pub(crate) fn router(files: Option<Files>, clock: &Clock) -> Router {
    let links = if files.is_some() { format!("{LINKS},</files/>;ct=40;title=\"Files\"") } else { LINKS.to_owned() };
    let discover = move |options: Options, asked: Local| {
        core::future::ready(select(link_format::links(&links).flatten().map(Link::into_owned), &options, asked))
    };
    let router = Router::new()
        .route("/", get(async || WELCOME))
        .route("/hello", get(async || HELLO).multicast())
        .route("/time", get(time).observable(&clock.0))
        .route("/large", get(large))
        .route("/slow", get(slow))
        .route("/echo", echoing())
        .route("/.well-known/core", get(discover).multicast())
        .nest("/store", store::router());
    match files {
        Some(files) => router.nest("/files", files::router(files)),
        None => router,
    }
}

async fn time() -> Answer {
    let mut options = Options::new();
    // What it says is wrong a second later.
    options.set_max_age(1);
    let text = timestamp(since_1970().as_secs());
    Answer::new(Code::CONTENT).with_options(options).with_content(ContentFormat::TEXT_PLAIN, text)
}

async fn slow(query: Query) -> Result<String, (Code, String)> {
    let span = query.value("ms").map_or(Ok(SLOW), |text| text.parse().map(Duration::from_millis));
    match span {
        Ok(span) if span <= SLOWEST => {
            tokio::time::sleep(span).await;
            Ok(format!("That took {} ms.", span.as_millis()))
        }
        _ => Err((Code::BAD_REQUEST, format!("ms is a number from 0 to {}", SLOWEST.as_millis()))),
    }
}

/// Gives back what is sent, with every method that sends something.
pub(super) fn echoing<S: 'static>() -> MethodRouter<S> {
    post(echo).put(echo).fetch(echo).patch(echo).ipatch(echo)
}

async fn echo(method: Code, format: Option<ContentFormat>, Payload(content): Payload) -> Answer {
    let mut response = content.into_response(method);
    if let Some(format) = format {
        response.options.set_content_format(format);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_has_the_length_that_its_link_says() {
        assert_eq!(HELLO.len(), 20);
        assert!(LINKS.contains("</hello>;ct=0;sz=20"));
    }

    #[test]
    fn all_routes_are_in_order() {
        router(None, &Clock::new()).check().unwrap();
    }

    #[test]
    fn what_there_is_fits_into_one_datagram() {
        assert!(WELCOME.len() <= 1_024 && LINKS.len() <= 1_024);
    }
}
