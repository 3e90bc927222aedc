//! The resources that every `coap serve` has.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use coap_core::{Code, ContentFormat};
use coap_driver::router::{Answer, IntoResponse, Payload, Query, Router, get, post};

use super::files::{self, Files};
use super::store;

const WELCOME: &str = "\
This is `coap serve`. Resources:
/hello        20 bytes of text
/time         the time here, UTC
/store/NAME   GET, PUT, POST (append), DELETE; POST /store makes a name
/slow?ms=N    answers after N ms (1000), separately
/echo         gives back what is sent: POST, PUT, FETCH, PATCH, iPATCH
/.well-known/core  all of them, for programs
";

const HELLO: &str = "Hello from coap-cli!";

const LINKS: &str = "</>;ct=0;title=\"What this is\",</hello>;ct=0;sz=20,</time>;ct=0,\
                     </store>;ct=40;title=\"Values: GET, PUT, POST, DELETE\",\
                     </slow>;ct=0;title=\"Answers after ?ms=\",</echo>;title=\"Gives back what is sent\"";

/// How long `/slow` takes without being told, and at most.
const SLOW: Duration = Duration::from_millis(1_000);
const SLOWEST: Duration = Duration::from_millis(10_000);

/// Everything that is served; `files` under `/files`.
pub(crate) fn router(files: Option<Files>) -> Router {
    let links = if files.is_some() { format!("{LINKS},</files/>;ct=40;title=\"Files\"") } else { LINKS.to_owned() };
    let links = Bytes::from(links);
    let router = Router::new()
        .route("/", get(async || WELCOME))
        .route("/hello", get(async || HELLO))
        .route("/time", get(time))
        .route("/slow", get(slow))
        .route("/echo", post(echo).put(echo).fetch(echo).patch(echo).ipatch(echo))
        .route("/.well-known/core", get(move || core::future::ready((ContentFormat::LINK_FORMAT, links.clone()))))
        .nest("/store", store::router());
    match files {
        Some(files) => router.nest("/files", files::router(files)),
        None => router,
    }
}

async fn time() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    timestamp(since.as_secs())
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

async fn echo(method: Code, format: Option<ContentFormat>, Payload(content): Payload) -> Answer {
    let mut response = content.into_response(method);
    if let Some(format) = format {
        response.options.set_content_format(format);
    }
    response
}

/// `2026-01-31T12:00:00Z` (RFC 3339), from seconds since 1970.
fn timestamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Counted in years that begin in March, a leap day is the last day of its year and of its 400-year era.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
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
        router(None).check().unwrap();
    }

    #[test]
    fn everything_fits_into_one_datagram() {
        assert!(WELCOME.len() <= super::super::MOST_CONTENT && LINKS.len() <= super::super::MOST_CONTENT);
    }

    #[test]
    fn days_become_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
    }
}
