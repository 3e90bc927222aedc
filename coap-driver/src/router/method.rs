//! What a route does for each method.

use core::fmt;
use core::time::Duration;

use coap_core::{Code, ContentFormat, OptionNumber, Response};

use super::discovery::Listing;
use super::extract::{Incoming, Preconditions};
use super::handler::{Handler, SharedHandler, erase, not_acceptable, with_state};
use crate::resource::Resource;

/// The methods of RFC 7252 and RFC 8132, in the order of their codes.
const METHODS: [Code; 7] = [Code::GET, Code::POST, Code::PUT, Code::DELETE, Code::FETCH, Code::PATCH, Code::IPATCH];

/// The handlers of one route, one for each method; made by [`get`], [`put`] and their like.
///
/// A method without a handler is answered 4.05. One can have several, for several formats: of those that read the content,
/// the first that produces what Accept asks for answers, which is the first of all where a request asks for none.
///
/// ```
/// # use coap_core::ContentFormat;
/// # use coap_driver::router::{Router, get};
/// # async fn text() -> &'static str { "22.5" }
/// # async fn json() -> (ContentFormat, &'static str) { (ContentFormat::JSON, r#"{"celsius":22.5}"#) }
/// let temperature = get(text).produces([ContentFormat::TEXT_PLAIN]).get(json).produces([ContentFormat::JSON]);
/// let router: Router = Router::new().route("/temp", temperature);
/// ```
///
/// If-Match and If-None-Match (RFC 7252 §5.10.8) are seen to where the route has a GET handler: it is asked first, and its
/// ETag, or its 4.04, decides whether the request is carried out or answered 4.12. Where it produces several formats, or there
/// are several handlers for them, the ETag of any of these will do. What happens between the two is not noticed. A handler
/// that must know takes [`Preconditions`], and then it decides alone.
pub struct MethodRouter<S = ()> {
    entries: Vec<Entry<S>>,
    pub(super) listing: Listing,
}

struct Entry<S> {
    method: Code,
    handler: SharedHandler<S>,
    tags: Tags,
    produces: Vec<ContentFormat>,
    consumes: Vec<ContentFormat>,
    max_body: Option<usize>,
    observed: Option<Resource>,
    /// How old a request may be.
    max_age: Option<Duration>,
}

macro_rules! methods {
    ($($name:ident $code:ident $article:literal)+) => {
        $(
            #[doc = concat!("A route that answers ", $article, " ", stringify!($code), " requests with `handler`.")]
            pub fn $name<H, T, S>(handler: H) -> MethodRouter<S>
            where
                H: Handler<T, S>,
                T: 'static,
                S: 'static,
            {
                MethodRouter::new().$name(handler)
            }
        )+

        impl<S: 'static> MethodRouter<S> {
            $(
                #[doc = concat!("Answers ", stringify!($code), " requests with `handler`.")]
                #[must_use]
                pub fn $name<H: Handler<T, S>, T: 'static>(self, handler: H) -> Self {
                    self.on(Code::$code, erase(handler))
                }
            )+
        }
    };
}

methods! {
    get GET "all"
    post POST "all"
    put PUT "all"
    delete DELETE "all"
    fetch FETCH "all"
    patch PATCH "all"
    ipatch IPATCH "all"
}

impl<S> Default for MethodRouter<S> {
    fn default() -> Self {
        Self { entries: Vec::new(), listing: Listing::default() }
    }
}

impl<S> MethodRouter<S> {
    /// A route that answers nothing but 4.05.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares the formats that the handlers *so far* can produce: a request whose Accept asks for another one is
    /// answered 4.06 without calling them (RFC 7252 §5.10.4).
    #[must_use]
    pub fn produces(mut self, formats: impl IntoIterator<Item = ContentFormat>) -> Self {
        let formats: Vec<_> = formats.into_iter().collect();
        for entry in self.entries.iter_mut().filter(|entry| entry.produces.is_empty()) {
            entry.produces.clone_from(&formats);
        }
        self
    }

    /// Declares the formats that the handlers *so far* can read: a request whose Content-Format is another one is
    /// answered 4.15 without calling them (RFC 7252 §5.9.2.10). A request that names no format is let through, but for a
    /// FETCH, whose content means nothing without one (RFC 8132 §2.3.1): that is 4.15 too.
    #[must_use]
    pub fn consumes(mut self, formats: impl IntoIterator<Item = ContentFormat>) -> Self {
        let formats: Vec<_> = formats.into_iter().collect();
        for entry in self.entries.iter_mut().filter(|entry| entry.consumes.is_empty()) {
            entry.consumes.clone_from(&formats);
        }
        self
    }

    /// Accepts content of up to so many bytes for the handlers *so far*, instead of what `Config::max_body` says (64 KiB
    /// by default); longer content is answered 4.13 without calling them, at its first block if the peer says how long it
    /// is. A handler with a [`BodyReader`](super::BodyReader) has no limit but this one.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        for entry in self.entries.iter_mut().filter(|entry| entry.max_body.is_none()) {
            entry.max_body = Some(bytes);
        }
        self
    }

    /// Lets peers observe (RFC 7641) what the GET and FETCH handlers *so far* answer: they are called again, once for all
    /// observers of the same request, after each [`Resource::changed`].
    ///
    /// What such a handler takes of the request beside its options and content (peer, token, Message ID) is of the peer
    /// that asked first. An answer with an error code, a 5.00 for a panic included, goes to all observers and ends their
    /// observation; the answer must be here, not a [`Streamed`](super::Streamed), or it is not observed. Nor is a FETCH whose
    /// content is longer than 1,024 bytes, or comes in blocks to a [`BodyReader`](super::BodyReader).
    #[must_use]
    pub fn observable(mut self, resource: &Resource) -> Self {
        let read = self.entries.iter_mut().filter(|entry| matches!(entry.method, Code::GET | Code::FETCH));
        for entry in read.filter(|entry| entry.observed.is_none()) {
            entry.observed = Some(resource.clone());
        }
        self
    }

    /// Gives what the GET and FETCH handlers *so far* answer an ETag made from the content, where it is here and has none: a
    /// peer that has it already is told so with 2.03 (RFC 7252 §5.10.6), and If-Match works. It costs each answer ten
    /// bytes.
    #[must_use]
    pub fn etags(mut self) -> Self {
        for entry in self.entries.iter_mut().filter(|entry| matches!(entry.method, Code::GET | Code::FETCH)) {
            entry.tags = Tags::Made;
        }
        self
    }

    /// Has the handlers *so far* answer fresh requests only (RFC 9175 §2.3): those with an Echo value of this server that is at
    /// most `max_age` old. Any other is answered 4.01 with such a value, without calling them, and the client repeats it with
    /// that, as ours does by itself. Not more than `Config::echo_lifetime` (60 s by default) has an effect.
    ///
    /// It is for what moves something: a request that was recorded or held back is not carried out later. Without a security
    /// layer it helps against those only who cannot read what is sent to the client. What is observed is looked at when the
    /// observation begins, and content in blocks at its first one.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use coap_driver::router::{Router, put};
    /// let lock = put(async || ()).fresh(Duration::from_secs(10)).get(async || "locked");
    /// let router: Router = Router::new().route("/lock", lock);
    /// ```
    #[must_use]
    pub fn fresh(mut self, max_age: Duration) -> Self {
        for entry in self.entries.iter_mut().filter(|entry| entry.max_age.is_none()) {
            entry.max_age = Some(max_age);
        }
        self
    }

    /// Whether a GET or FETCH can be observed.
    pub(super) fn is_observable(&self) -> bool {
        self.entries.iter().any(|entry| entry.observed.is_some())
    }

    /// The formats in which a GET can be answered, as far as they are declared.
    pub(super) fn formats(&self) -> impl Iterator<Item = ContentFormat> {
        self.entries.iter().filter(|entry| entry.method == Code::GET).flat_map(|entry| entry.produces.iter().copied())
    }

    /// A method that has two handlers for the same request.
    pub(super) fn repeated(&self) -> Option<Code> {
        let mut rest = self.entries.iter();
        core::iter::from_fn(|| rest.next().map(|entry| (entry, rest.clone())))
            .find_map(|(entry, mut later)| later.any(|other| entry.is_met_by(other)).then_some(entry.method))
    }

    fn on(mut self, method: Code, handler: SharedHandler<S>) -> Self {
        let (produces, consumes) = (Vec::new(), Vec::new());
        let (max_body, observed, max_age, tags) = (None, None, None, Tags::Given);
        self.entries.push(Entry { method, handler, tags, produces, consumes, max_body, observed, max_age });
        self
    }

    /// The handler for a request, or why there is none.
    pub(super) fn find(&self, incoming: &Incoming<'_>) -> Result<Found<'_, S>, Response> {
        let knows_state = self.readers().next().is_some();
        let mut refusal = Refusal::Method;
        for entry in self.entries.iter().filter(|entry| entry.method == incoming.method()) {
            match entry.refuse(incoming, knows_state) {
                Some(refused) => refusal = refusal.or_later(refused),
                None => return Ok(entry.found(incoming, self.readers())),
            }
        }
        Err(refusal.into_response())
    }

    /// Who knows the current state.
    fn readers(&self) -> impl Iterator<Item = &Entry<S>> {
        self.entries.iter().filter(|entry| entry.method == Code::GET && !entry.handler.reads_parts())
    }

    /// The same with the state put in.
    pub(super) fn with_state<Outer>(self, state: &S) -> MethodRouter<Outer>
    where
        S: Clone + Send + Sync + 'static,
    {
        let entries = self.entries.into_iter().map(|entry| Entry {
            method: entry.method,
            handler: with_state(entry.handler, state.clone()),
            tags: entry.tags,
            produces: entry.produces,
            consumes: entry.consumes,
            max_body: entry.max_body,
            observed: entry.observed,
            max_age: entry.max_age,
        });
        MethodRouter { entries: entries.collect(), listing: self.listing }
    }
}

/// Where the ETag of an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// From the handler, if it gives one.
    Given,
    /// From the content, if the handler gives none.
    Made,
}

/// The handler for a request, and what its route says about it.
pub(super) struct Found<'a, S> {
    pub(super) handler: &'a SharedHandler<S>,
    pub(super) tags: Tags,
    pub(super) max_body: Option<usize>,
    pub(super) observed: Option<&'a Resource>,
    /// Who knows the current state, for conditions that the handler does not look at; nobody if there are none.
    pub(super) current: Vec<Reader<'a, S>>,
}

/// Who knows one representation of the current state.
pub(super) struct Reader<'a, S> {
    pub(super) handler: &'a SharedHandler<S>,
    pub(super) tags: Tags,
    /// The one in this format.
    pub(super) format: Option<ContentFormat>,
}

/// Why a handler does not answer, the reason that is looked at first at the top.
enum Refusal {
    Method,
    Option(OptionNumber),
    ContentFormat,
    /// What it could be.
    Accept(Vec<ContentFormat>),
    /// It may be too old.
    Age,
}

impl Refusal {
    /// Of the reasons of several handlers that counts which came last: its handler was the nearest.
    fn or_later(self, other: Self) -> Self {
        match (self, other) {
            (Self::Accept(mut formats), Self::Accept(more)) => {
                formats.extend(more);
                Self::Accept(formats)
            }
            (Self::Age, _) | (_, Self::Age) => Self::Age,
            (accept @ Self::Accept(_), _) | (_, accept @ Self::Accept(_)) => accept,
            (Self::ContentFormat, _) | (_, Self::ContentFormat) => Self::ContentFormat,
            (option @ Self::Option(_), _) | (_, option) => option,
        }
    }

    fn into_response(self) -> Response {
        match self {
            Self::Method => Response::new(Code::METHOD_NOT_ALLOWED),
            Self::Option(number) => bad_option(number),
            Self::ContentFormat => Response::new(Code::UNSUPPORTED_CONTENT_FORMAT),
            Self::Accept(formats) => not_acceptable(&formats),
            Self::Age => Response::challenge(),
        }
    }
}

impl<S> Entry<S> {
    /// `knows_state`: whether somebody sees to conditions if the handler does not.
    fn refuse(&self, incoming: &Incoming<'_>, knows_state: bool) -> Option<Refusal> {
        let understands =
            |number| self.handler.understands(number) || (knows_state && Preconditions::NUMBERS.contains(&number));
        if let Some(number) = not_understood(incoming, understands) {
            return Some(Refusal::Option(number));
        }
        let options = incoming.options();
        let format = options.content_format();
        let must_be_named = self.method == Code::FETCH && !self.consumes.is_empty();
        if excludes(&self.consumes, format) || (must_be_named && format.is_none()) {
            return Some(Refusal::ContentFormat);
        }
        if excludes(&self.produces, options.accept()) {
            return Some(Refusal::Accept(self.produces.clone()));
        }
        let is_old = |max_age| incoming.echo_age().is_none_or(|age| age > max_age);
        self.max_age.is_some_and(is_old).then_some(Refusal::Age)
    }

    fn found<'a>(&'a self, incoming: &Incoming<'_>, readers: impl Iterator<Item = &'a Self>) -> Found<'a, S> {
        let Self { handler, tags, max_body, observed, .. } = self;
        let unmet = |number| incoming.options().contains(number) && !handler.understands(number);
        let unmet = Preconditions::NUMBERS.into_iter().any(unmet);
        let current = if unmet { readers.flat_map(Self::representations).collect() } else { Vec::new() };
        Found { handler, tags: *tags, max_body: *max_body, observed: observed.as_ref(), current }
    }

    fn representations(&self) -> impl Iterator<Item = Reader<'_, S>> {
        let any = self.produces.is_empty().then_some(None);
        let formats = any.into_iter().chain(self.produces.iter().copied().map(Some));
        formats.map(|format| Reader { handler: &self.handler, tags: self.tags, format })
    }

    /// Whether a request of `other` may be one for this as well.
    fn is_met_by(&self, other: &Self) -> bool {
        let apart = |one: &[_], other: &[_]| {
            !one.is_empty() && !other.is_empty() && !one.iter().any(|format| other.contains(format))
        };
        let apart = apart(&self.produces, &other.produces) || apart(&self.consumes, &other.consumes);
        self.method == other.method && !apart
    }
}

/// 4.02 for a critical option that would be passed over (RFC 7252 §5.4.1).
pub(super) fn check_options(
    incoming: &Incoming<'_>,
    understands: impl Fn(OptionNumber) -> bool,
) -> Result<(), Response> {
    not_understood(incoming, understands).map_or(Ok(()), |number| Err(bad_option(number)))
}

fn not_understood(incoming: &Incoming<'_>, understands: impl Fn(OptionNumber) -> bool) -> Option<OptionNumber> {
    let passed_over =
        |number: &OptionNumber| number.is_critical() && !super::is_routing_option(*number) && !understands(*number);
    incoming.options().iter().map(|(number, _)| number).find(passed_over)
}

fn bad_option(number: OptionNumber) -> Response {
    Response::diagnostic(Code::BAD_OPTION, format!("critical option not understood here: {number}"))
}

/// Formats were declared, one was named, and it is none of them.
fn excludes(declared: &[ContentFormat], named: Option<ContentFormat>) -> bool {
    !declared.is_empty() && named.is_some_and(|named| !declared.contains(&named))
}

pub(super) fn is_known(method: Code) -> bool {
    METHODS.contains(&method)
}

impl<S> fmt::Debug for MethodRouter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.iter().map(|entry| entry.method)).finish()
    }
}
