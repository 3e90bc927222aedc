//! `coap serve --plugtest`: the resources of the ETSI plugtests, under the names and in the forms that test suites know.
//!
//! They are routes and handlers like those of any server. What strangers can store is bounded, and the resources that every
//! test needs cannot be deleted for good: they begin anew.

mod links;
mod observed;
mod stored;
mod text;

use core::fmt;
use core::future::ready;
use core::time::Duration;
use std::sync::Arc;

use coap_core::{Code, ContentFormat, ETag, Options, Peer};
use coap_driver::router::{Accept, Answer, MethodRouter, Payload, Preconditions, Query, Router, State, get, post};

use observed::Observed;
use stored::Stored;
use text::Asked;

/// How long `/separate` and `/large-separate` take: far more than the server waits for an answer to go with the
/// acknowledgement.
const SLOW: Duration = Duration::from_millis(1_000);

/// RFC 7252 §5.10.5: how long `/test` and `/validate` may be cached, in seconds.
const MAX_AGE: u32 = 30;

/// What is served, and not listed, when it is named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    /// Is created at a Location-Path.
    Create2,
    /// Is created with an entity-tag.
    Create3,
    /// Would have an empty `rt`, if it were listed.
    Link4,
    /// Is for DTLS alone.
    Secure,
}

impl Extra {
    const ALL: [Self; 4] = [Self::Create2, Self::Create3, Self::Link4, Self::Secure];

    const fn name(self) -> &'static str {
        match self {
            Self::Create2 => "create2",
            Self::Create3 => "create3",
            Self::Link4 => "link4",
            Self::Secure => "secure",
        }
    }

    /// With or without a slash in front.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix('/').unwrap_or(text);
        Self::ALL.into_iter().find(|extra| extra.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(ToString::to_string).collect();
            format!("not one of {}", names.join(", "))
        })
    }
}

impl fmt::Display for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.name())
    }
}

/// All resources, and what has become of them.
pub(crate) struct Plugtest {
    stored: Stored,
    observed: Observed,
    extras: Vec<Extra>,
}

type Shared = State<Arc<Plugtest>>;

impl Plugtest {
    pub(crate) fn new(extras: Vec<Extra>) -> Arc<Self> {
        Arc::new(Self { stored: Stored::new(), observed: Observed::new(), extras })
    }

    /// Lets time pass for what changes by itself, for ever.
    pub(crate) async fn tick(self: Arc<Self>) {
        self.observed.tick().await;
    }

    /// Everything that is served.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        let mut router = Router::new()
            .route("/.well-known/core", get(links::discover).multicast())
            .route("/", get(async || text::WELCOME))
            .route("/test", get(test).put(change_test).post(create_test).delete(delete_test))
            .route("/separate", get(separate).put(separate_change).post(separate_change))
            .route("/large", get(large))
            .route("/large-separate", get(large_separate))
            .route("/large-update", stored::replaceable("large-update"))
            .route("/large-create", get(stored::list_created).post(stored::create))
            .route("/large-create/{number}", get(stored::read_created).delete(stored::delete_created))
            .route("/large-post", post(upper_case))
            .route("/query", get(query))
            .route("/location-query", post(location_query))
            .route("/multi-format", get(multi_format))
            .route("/validate", stored::stored("validate"))
            .route("/create1", stored::stored("create1"))
            .route("/path", get(links::below_path))
            .route("/obs-reset", post(observed::reset))
            .route("/shutdown", post(refuse))
            .route("/echo", super::resources::echoing());
        for path in ["/seg1", "/seg1/seg2", "/seg1/seg2/seg3"] {
            router = router.route(path, get(long_path));
        }
        for (path, text) in [
            ("/link1", "Type1 and Type2, If1"),
            ("/link2", "Type2 and Type3, If2"),
            ("/link3", "Type1 and Type3, foo"),
            ("/path/sub1", "The first of three"),
            ("/path/sub2", "The second of three"),
            ("/path/sub3", "The third of three"),
        ] {
            router = router.route(path, fixed(text));
        }
        for place in observed::Place::ALL {
            router = router.route(place.path(), observed::route(place, &self.observed));
        }
        for extra in &self.extras {
            router = match extra {
                Extra::Create2 | Extra::Create3 => router.route(&extra.to_string(), stored::creatable(extra.name())),
                Extra::Link4 => router.route("/link4", fixed("An empty rt")),
                Extra::Secure => router.route("/secure", get(secure)),
            };
        }
        router.with_state(self)
    }

    /// What is said about it on the command line.
    pub(crate) fn summary(&self) -> String {
        let also: String = self.extras.iter().map(|extra| format!(" {extra}")).collect();
        format!("the {} resources of the ETSI plugtests, and /echo{also}", links::count(self))
    }
}

/// For DTLS alone.
async fn secure(peer: Peer) -> Result<&'static str, Code> {
    if matches!(peer, Peer::Session(_)) { Ok("This session is secure.") } else { Err(Code::UNAUTHORIZED) }
}

fn fixed<S: 'static>(text: &'static str) -> MethodRouter<S> {
    get(move || ready(text))
}

/// An answer with a few bytes of options.
fn answer(code: Code, fill: impl FnOnce(&mut Options)) -> Answer {
    let mut options = Options::new();
    fill(&mut options);
    Answer::new(code).with_options(options)
}

/// A format that was not named is that of bytes.
fn format_or_bytes(format: Option<ContentFormat>) -> ContentFormat {
    format.unwrap_or(ContentFormat::OCTET_STREAM)
}

async fn test(asked: Asked) -> Answer {
    let answer = answer(Code::CONTENT, |options| options.set_max_age(MAX_AGE));
    answer.with_content(ContentFormat::TEXT_PLAIN, asked.with_token())
}

/// It is always there, and has no entity-tag that anybody could know.
fn check_test(conditions: &Preconditions) -> Result<(), Code> {
    conditions.check(ETag::new(&[0]).as_ref())
}

async fn change_test(conditions: Preconditions) -> Result<(), Code> {
    check_test(&conditions)
}

async fn create_test(conditions: Preconditions) -> Result<Answer, Code> {
    check_test(&conditions)?;
    Ok(answer(Code::CREATED, push_location))
}

async fn delete_test(conditions: Preconditions) -> Result<(), Code> {
    check_test(&conditions)
}

/// Three options: a single one with slashes in it would be another path.
fn push_location(options: &mut Options) {
    for segment in ["location1", "location2", "location3"] {
        // They are short enough.
        let _ = options.push_location_path(segment);
    }
}

async fn separate(asked: Asked) -> String {
    tokio::time::sleep(SLOW).await;
    format!("{asked}\n")
}

async fn separate_change() {
    tokio::time::sleep(SLOW).await;
}

async fn large() -> String {
    text::large()
}

async fn large_separate() -> String {
    tokio::time::sleep(SLOW).await;
    text::large()
}

async fn upper_case(Payload(content): Payload) -> Answer {
    let text = match core::str::from_utf8(&content) {
        Ok(text) => text.to_uppercase().into_bytes(),
        Err(_) => content.to_ascii_uppercase(),
    };
    Answer::new(Code::CHANGED).with_content(ContentFormat::TEXT_PLAIN, text)
}

async fn long_path(asked: Asked) -> String {
    format!("Long path resource\n{asked}")
}

async fn query(asked: Asked, query: Query) -> String {
    let arguments: Vec<_> = query.args().collect();
    format!("{asked}\n?{}", arguments.join("&"))
}

async fn location_query() -> Answer {
    answer(Code::CREATED, |options| {
        for argument in ["first=1", "second=2"] {
            let _ = options.push_location_query(argument);
        }
    })
}

async fn multi_format(asked: Asked, Accept(accept): Accept) -> Answer {
    match asked.in_format(accept) {
        Some((format, content)) => Answer::new(Code::CONTENT).with_content(format, content),
        None => Answer::new(Code::NOT_ACCEPTABLE).with_body("available: 0, 41, 50, 60"),
    }
}

/// Whoever tests has no right to end the tests of others.
async fn refuse() -> Code {
    Code::FORBIDDEN
}
