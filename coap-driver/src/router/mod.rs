//! Which handler answers which request: paths, methods, virtual hosts, and what is answered where there is none.
//!
//! ```
//! use coap_core::Code;
//! use coap_driver::router::{Path, Payload, Router, State, get};
//!
//! #[derive(Clone)]
//! struct House;
//!
//! async fn read(State(_house): State<House>, Path(lamp): Path<u8>) -> String {
//!     format!("lamp {lamp} is off")
//! }
//!
//! async fn switch(Path(lamp): Path<u8>, Payload(value): Payload) -> Result<(), (Code, &'static str)> {
//!     match &value[..] {
//!         b"on" | b"off" if lamp < 8 => Ok(()),
//!         _ => Err((Code::BAD_REQUEST, "on or off, lamps 0 to 7")),
//!     }
//! }
//!
//! let router: Router = Router::new().route("/lamps/{lamp}", get(read).put(switch)).with_state(House);
//! ```

mod asked;
mod body;
mod discovery;
mod etag;
mod extract;
mod handler;
mod method;
mod middleware;
mod path;
mod response;
mod streamed;
mod tree;
mod validation;

use core::fmt;
use core::future::ready;
use std::sync::Arc;

use coap_core::link_format::Link;
use coap_core::{Body, Code, Local, OptionNumber, Options, Peer, Request, Response, Token, Type, Wanted};

pub use body::{BodyError, BodyReader};
pub(crate) use body::{GoAhead, Upload};
use discovery::Discovery;
pub use extract::{
    Accept, BadQuery, Captured, Freshness, FromRequest, Incoming, KnownETags, Payload, Preconditions, Query, State,
};
pub use handler::{Handler, HandlerFuture};
use handler::{SharedHandler, erase, with_state};
use method::{Found, Reader, Tags};
pub use method::{MethodRouter, delete, fetch, get, ipatch, patch, post, put};
use middleware::Around;
pub use middleware::{Inbound, Next};
pub use path::{FromCapture, FromPath, Path};
pub use response::{Answer, Content, Created, IntoResponse, MaxAge};
pub(crate) use streamed::Source;
pub use streamed::{Ranged, Streamed};
pub use tree::RouteError;

pub use crate::resource::Resource;
use tree::{Capture, Pattern, Tree};

/// What a request without a Block2 option asks for, and where one more byte would do no good.
pub(crate) const FIRST_BLOCK: Wanted = Wanted { offset: 0, max: 1_024 };

/// Routes, and what answers them. See the [module](self) for an example.
///
/// * No route for the path: the fallback, or 4.04. A route, but not for the method: 4.05.
/// * A critical option that the handler does not stand for: 4.02 (see [`FromRequest::UNDERSTANDS`]).
/// * Accept asks for a format that is not there: 4.06. Content in a format that is not read: 4.15.
/// * Content is longer than its route takes: 4.13 (see [`MethodRouter::max_body`]).
/// * An argument cannot be made: 4.00 with a line that says why.
///
/// What it has is listed in `/.well-known/core` (RFC 6690 §4), which it answers by itself unless there is a route for just
/// that path: each route without open parts, with what [`MethodRouter::rt`] and its like say of it, `obs` where it is
/// observable, and the formats of its GET as `ct`; without the fallback. The answer has an ETag, goes in blocks where it
/// must, and holds those links that the query selects: `rt=`, `if=`, `href=`, `ct=` and any other attribute, with an
/// asterisk at the end for any that begin so. A virtual host has a list of its own.
///
/// A request to a group (RFC 7252 §8) is for the list alone, and met with silence if the query selects nothing (RFC 6690
/// §4.1), unless its route says otherwise: see [`MethodRouter::multicast`].
///
/// Of content that comes in blocks the first one is enough for all of these but the last, and the rest is not asked for.
///
/// A route that cannot be is kept as an error, for [`check`](Self::check) or for the server that is given the router.
pub struct Router<S = ()> {
    site: Site<S>,
    hosts: Vec<(String, Site<S>)>,
    error: Option<RouteError>,
    /// Then there is nothing else in it.
    around: Option<Around>,
}

/// What answers under one host name.
struct Site<S> {
    routes: Vec<Route<S>>,
    tree: Tree,
    fallback: Option<SharedHandler<S>>,
    discovery: Discovery,
}

struct Route<S> {
    pattern: Pattern,
    captures: Vec<Capture>,
    methods: MethodRouter<S>,
}

impl<S> Default for Router<S> {
    fn default() -> Self {
        Self { site: Site::default(), hosts: Vec::new(), error: None, around: None }
    }
}

impl<S> Default for Site<S> {
    fn default() -> Self {
        Self { routes: Vec::new(), tree: Tree::default(), fallback: None, discovery: Discovery::default() }
    }
}

impl<S> Router<S> {
    /// A router without routes: all is 4.04.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route: `/a/b`, `/a/{id}` for any one segment, `/a/{*rest}` for one or more to the end.
    ///
    /// Segments are compared byte for byte: `%2F` in a pattern is a slash inside of a segment, and `/a/` is not `/a`.
    /// Where several routes match, literal segments win over `{id}`, and `{id}` over `{*rest}`, from left to right.
    #[must_use]
    pub fn route(mut self, pattern: &str, methods: MethodRouter<S>) -> Self {
        let added = self.is_open().and_then(|()| self.site.add(Pattern::parse(pattern)?, methods));
        self.keep(added)
    }

    /// Answers what no route matches, instead of 4.04.
    #[must_use]
    pub fn fallback<H: Handler<T, S>, T: 'static>(mut self, handler: H) -> Self
    where
        S: 'static,
    {
        self.site.fallback = Some(erase(handler));
        let added = self.is_open();
        self.keep(added)
    }

    /// Answers requests whose Uri-Host is `name` with the routes of `router`, and with them alone: a virtual host.
    /// Requests for names that nobody has, and without a Uri-Host, get the routes of this router.
    #[must_use]
    pub fn host(mut self, name: &str, router: Self) -> Self {
        let added = self.is_open().and_then(|()| router.without_hosts()).and_then(|site| {
            if self.hosts.iter().any(|(taken, _)| taken.eq_ignore_ascii_case(name)) {
                return Err(RouteError::HostTaken { host: name.to_owned() });
            }
            self.hosts.push((name.to_owned(), site));
            Ok(())
        });
        self.keep(added)
    }

    /// Lists a link in `/.well-known/core` beside those of the routes.
    ///
    /// ```
    /// # use coap_core::link_format::Link;
    /// # use coap_driver::router::Router;
    /// let about = Link::new("coap://[2001:db8::2]/manual")?.with_anchor("/lamps").with_relation("describedby");
    /// let router: Router = Router::new().link(about);
    /// # Ok::<(), coap_core::LinkFormatError>(())
    /// ```
    #[must_use]
    pub fn link(mut self, link: Link<'static>) -> Self {
        self.site.discovery.links.push(link);
        let added = self.is_open();
        self.keep(added)
    }

    /// Does not answer `/.well-known/core` by itself: it is a path like any other.
    #[must_use]
    pub const fn without_discovery(mut self) -> Self {
        self.site.discovery.off = true;
        self
    }

    /// Adds the routes of `router` below `prefix`, and the links that were given to it as they are; its fallback, if it has
    /// one, is left out.
    #[must_use]
    pub fn nest(mut self, prefix: &str, router: Self) -> Self {
        let added = self.is_open().and_then(|()| router.without_hosts()).and_then(|site| {
            self.site.discovery.links.extend(site.discovery.links);
            let mut routes = site.routes.into_iter();
            routes.try_for_each(|route| self.site.add(route.pattern.below(prefix)?, route.methods))
        });
        self.keep(added)
    }

    /// Puts the state in that handlers take with [`State`].
    #[must_use]
    pub fn with_state<Outer>(self, state: S) -> Router<Outer>
    where
        S: Clone + Send + Sync + 'static,
    {
        let site = self.site.with_state(&state);
        let hosts = self.hosts.into_iter().map(|(name, site)| (name, site.with_state(&state))).collect();
        Router { site, hosts, error: self.error, around: self.around }
    }

    /// Says whether all routes are in order.
    ///
    /// # Errors
    /// The first that is not. It was left out.
    pub const fn check(&self) -> Result<(), &RouteError> {
        match &self.error {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn keep(mut self, added: Result<(), RouteError>) -> Self {
        self.error = self.error.or_else(|| added.err());
        self
    }

    fn without_hosts(self) -> Result<Site<S>, RouteError> {
        self.is_open()?;
        match (self.error, self.hosts.into_iter().next()) {
            (Some(error), _) => Err(error),
            (None, Some((host, _))) => Err(RouteError::HostInside { host }),
            (None, None) => Ok(self.site),
        }
    }

    fn site_for(&self, host: Option<&[u8]>) -> &Site<S> {
        let named = host.and_then(|host| {
            // Host names compare without regard to case (RFC 3986 §3.2.2), and a client may forget to lower it.
            self.hosts.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(host))
        });
        named.map_or(&self.site, |(_, site)| site)
    }
}

impl Router {
    /// Answers a request as a server would that got it from `from`, without a network: for tests of routes and handlers.
    ///
    /// ```
    /// # use coap_core::{Code, Request};
    /// # use coap_driver::router::{Router, get};
    /// # async fn test() {
    /// let router = Router::new().route("/hello", get(async || "hello"));
    /// let mut request = Request::get();
    /// request.options.push_uri_path("hello").unwrap();
    /// let peer = "192.0.2.1:5683".parse::<std::net::SocketAddr>().unwrap().into();
    /// assert_eq!(router.answer(peer, &request).await.code, Code::CONTENT);
    /// # }
    /// ```
    pub async fn answer(&self, from: Peer, request: &Request) -> Response {
        let incoming = Incoming {
            peer: from,
            local: Local::default(),
            kind: Type::Confirmable,
            message_id: 0,
            token: &Token::EMPTY,
            request,
            wanted: FIRST_BLOCK,
            echo_age: None,
            upload: None,
            captures: &[],
        };
        match self.find(incoming).and_then(|call| call.begin(None).map_err(Answer::from)) {
            Ok(handler) => handler.await.collect().await,
            Err(answer) => answer.collect().await,
        }
    }

    /// Finds the handler; what can be answered without one is an `Err`. For content in parts the first is enough.
    pub(crate) fn find<'a>(&'a self, mut incoming: Incoming<'a>) -> Result<Call<'a>, Answer> {
        if let Some(around) = &self.around {
            return Ok(match around.inner.find(incoming) {
                Ok(Call { work, incoming: _, tags: _, max_body, observed, current: _ }) => {
                    let reads = if work.reads_parts() { Reads::Parts } else { Reads::Whole };
                    Call { max_body, observed, ..Call::new(incoming, Work::Around(around, reads)) }
                }
                // Whoever is refused is not asked for the rest first.
                Err(_) => Call::new(incoming, Work::Around(around, Reads::Parts)),
            });
        }
        let host = if self.hosts.is_empty() { None } else { incoming.options().get(OptionNumber::URI_HOST) };
        let site = self.site_for(host);
        let path = path_segments(incoming.options());
        let found = site.tree.find(path.clone()).and_then(|index| site.routes.get(index));
        let lists_links = site.discovers() && path.eq(discovery::WELL_KNOWN_CORE);
        let answers_groups = lists_links || found.is_some_and(|route| route.methods.listing.answers_groups());
        // RFC 7252 §11.3: a server takes requests to groups for the resources where it must, and for no other.
        if incoming.local().group.is_some() && !answers_groups {
            return Err(Answer::silence());
        }
        // RFC 7252 §5.8: whatever the path, a method that does not exist is 4.05.
        if !method::is_known(incoming.method()) {
            return Err(Answer::new(Code::METHOD_NOT_ALLOWED));
        }
        if lists_links {
            discovery::check(&incoming)?;
            return Ok(Call::new(incoming, Work::Links(site)));
        }
        if let Some(route) = found {
            incoming.captures = &route.captures;
            let Found { handler, tags, max_body, observed, current } = route.methods.find(&incoming)?;
            let call = Call { work: Work::Handler(handler), incoming, tags, max_body, observed, current };
            return match max_body {
                Some(limit) if call.announced() > limit as u64 => Err(body::too_long(limit).into()),
                _ => Ok(call),
            };
        }
        let Some(handler) = &site.fallback else { return Err(Answer::new(Code::NOT_FOUND)) };
        method::check_options(&incoming, |number| handler.understands(number))?;
        Ok(Call::new(incoming, Work::Handler(handler)))
    }
}

/// What answers a request.
enum Work<'a> {
    Handler(&'a SharedHandler<()>),
    /// The list of links to what is there.
    Links(&'a Site<()>),
    /// A middleware.
    Around(&'a Around, Reads),
}

/// How content is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Whole,
    Parts,
}

impl Work<'_> {
    fn reads_parts(&self) -> bool {
        match self {
            Self::Handler(handler) => handler.reads_parts(),
            Self::Links(_) => false,
            Self::Around(_, reads) => *reads == Reads::Parts,
        }
    }
}

/// A handler that was found, with the request that it is for.
pub(crate) struct Call<'a> {
    work: Work<'a>,
    incoming: Incoming<'a>,
    tags: Tags,
    max_body: Option<usize>,
    observed: Option<&'a Resource>,
    current: Vec<Reader<'a, ()>>,
}

impl<'a> Call<'a> {
    const fn new(incoming: Incoming<'a>, work: Work<'a>) -> Self {
        Self { work, incoming, tags: Tags::Given, max_body: None, observed: None, current: Vec::new() }
    }

    /// Whether it wants content in parts as it comes; else it wants the whole.
    pub(crate) fn reads_parts(&self) -> bool {
        self.work.reads_parts()
    }

    /// The longest content that it takes, in bytes, where its route says so.
    pub(crate) const fn max_body(&self) -> Option<usize> {
        self.max_body
    }

    /// What the peer wants to observe (RFC 7641 §4.1), if it does and can.
    pub(crate) fn observed(&self) -> Option<&'a Resource> {
        self.observed.filter(|_| self.incoming.options().observe() == Some(0))
    }

    /// The request.
    pub(crate) const fn incoming(&self) -> &Incoming<'a> {
        &self.incoming
    }

    /// Calls it; `upload` is where its content comes from, if that is in parts.
    pub(crate) fn begin(self, upload: Option<&Arc<Upload>>) -> Result<HandlerFuture, Response> {
        let incoming = Incoming { upload, ..self.incoming };
        match self.work {
            Work::Links(site) => Ok(Box::pin(ready(site.list(&incoming)))),
            Work::Around(around, _) => Ok(around.call(&incoming)),
            Work::Handler(handler) if self.current.is_empty() => validation::call(handler, &incoming, self.tags),
            Work::Handler(handler) => validation::conditional(handler, &incoming, self.tags, self.current),
        }
    }

    /// How long the content is, as far as is known.
    fn announced(&self) -> u64 {
        match &self.incoming.request.body {
            Body::Parts { size } => size.unwrap_or(0),
            here => here.len() as u64,
        }
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}

impl<S> Site<S> {
    fn add(&mut self, pattern: Pattern, methods: MethodRouter<S>) -> Result<(), RouteError> {
        if let Some(method) = methods.repeated() {
            return Err(RouteError::MethodTwice { pattern: pattern.text, method });
        }
        if let Some(error) = methods.listing.wrong() {
            return Err(RouteError::Attribute { pattern: pattern.text, error });
        }
        let index = self.routes.len();
        if let Err(taken) = self.tree.insert(&pattern, index) {
            let by = self.routes.get(taken).map(|route| route.pattern.text.clone()).unwrap_or_default();
            return Err(RouteError::Taken { pattern: pattern.text, by });
        }
        let captures = pattern.captures();
        self.discovery.own |= pattern.is(discovery::WELL_KNOWN_CORE);
        self.routes.push(Route { pattern, captures, methods });
        Ok(())
    }

    fn with_state<Outer>(self, state: &S) -> Site<Outer>
    where
        S: Clone + Send + Sync + 'static,
    {
        let routes = self.routes.into_iter().map(|route| Route {
            pattern: route.pattern,
            captures: route.captures,
            methods: route.methods.with_state(state),
        });
        Site {
            routes: routes.collect(),
            tree: self.tree,
            fallback: self.fallback.map(|handler| with_state(handler, state.clone())),
            discovery: self.discovery,
        }
    }
}

/// The path, in a form that can be walked more than once.
fn path_segments(options: &Options) -> impl Iterator<Item = &[u8]> + Clone {
    options.iter().filter(|(number, _)| *number == OptionNumber::URI_PATH).map(|(_, segment)| segment)
}

/// Critical options that the router itself, or the endpoint below it, acts upon for every handler.
const fn is_routing_option(number: OptionNumber) -> bool {
    matches!(
        number,
        OptionNumber::URI_HOST
            | OptionNumber::URI_PORT
            | OptionNumber::URI_PATH
            | OptionNumber::URI_QUERY
            | OptionNumber::ACCEPT
            | OptionNumber::BLOCK1
            | OptionNumber::BLOCK2
    )
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("site", &self.site)
            .field("hosts", &self.hosts)
            .field("error", &self.error)
            .field("around", &self.around)
            .finish()
    }
}

impl<S> fmt::Debug for Site<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.routes.iter().map(|route| (&route.pattern.text, &route.methods))).finish()
    }
}

#[cfg(test)]
mod tests;
