//! `/.well-known/core` (RFC 6690 §4): what is said of routes, and the list that is made of it.

use core::fmt;
use std::borrow::Cow;
use std::sync::Arc;

use coap_core::link_format::{Filter, Link, document};
use coap_core::{Code, ContentFormat, LinkFormatError, OptionNumber, Response};

use super::asked::Asked;
use super::etag::tag;
use super::extract::Incoming;
use super::handler::not_acceptable;
use super::method::{self, MethodRouter};
use super::response::Answer;
use super::{Route, Site};

/// The path of the list.
pub(super) const WELL_KNOWN_CORE: [&[u8]; 2] = [b".well-known", b"core"];

/// What a site lists beside its routes, and whether it lists anything.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    pub(super) links: Vec<Link<'static>>,
    /// Nobody wants it.
    pub(super) off: bool,
    /// A route is there in its place.
    pub(super) own: bool,
}

/// What is said of one route.
#[derive(Clone, Default)]
pub(super) struct Listing {
    /// Its target does not count.
    model: Link<'static>,
    wrong: Option<LinkFormatError>,
    places: Places,
    groups: Groups,
}

/// Where the resources of a route are.
#[derive(Clone, Default)]
enum Places {
    /// At its path, if that has no open parts.
    #[default]
    Path,
    Hidden,
    When(Arc<dyn Fn() -> bool + Send + Sync>),
    At(Arc<dyn Fn() -> Vec<Link<'static>> + Send + Sync>),
}

/// What a request to a group gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Groups {
    #[default]
    Silence,
    Answer,
}

/// What is said of the route in `/.well-known/core`.
impl<S> MethodRouter<S> {
    /// Adds to `rt`: what kind of resource it is (RFC 6690 §3.1), one name or several with spaces between them.
    ///
    /// ```
    /// # use coap_driver::router::{Router, get};
    /// # async fn read() -> &'static str { "22.5" }
    /// let router: Router = Router::new().route("/temp", get(read).rt("temperature-c").if_("sensor").sz(4));
    /// // </temp>;rt="temperature-c";if="sensor";sz=4
    /// ```
    #[must_use]
    pub fn rt(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.say(|link| link.with_resource_type(name))
    }

    /// Adds to `if`: how one deals with it (RFC 6690 §3.2), one name or several with spaces between them.
    #[must_use]
    pub fn if_(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.say(|link| link.with_interface(name))
    }

    /// Adds to `ct`: in which formats it can be had (RFC 7252 §7.2.1). Without any they are those that
    /// [`produces`](Self::produces) has declared for GET.
    #[must_use]
    pub fn ct(self, formats: impl IntoIterator<Item = ContentFormat>) -> Self {
        self.say(|link| formats.into_iter().fold(link, Link::with_content_format))
    }

    /// Sets `sz`: an estimate of its size in bytes, for what does not fit into a datagram (RFC 6690 §3.3).
    #[must_use]
    pub fn sz(self, bytes: u64) -> Self {
        self.say(|link| link.with_size(bytes))
    }

    /// Sets `title`: what people call it.
    #[must_use]
    pub fn title(self, title: impl Into<Cow<'static, str>>) -> Self {
        self.say(|link| link.with_title(title))
    }

    /// Adds an attribute. A name that none can have makes the router wrong: see [`Router::check`](super::Router::check).
    #[must_use]
    pub fn attribute(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        let model = core::mem::take(&mut self.listing.model);
        match model.clone().with_attribute(name, value) {
            Ok(described) => self.listing.model = described,
            Err(error) => {
                self.listing.model = model;
                self.listing.wrong = self.listing.wrong.or(Some(error));
            }
        }
        self
    }

    /// Says what this link says, whatever its target, but for attributes that are there already.
    #[must_use]
    pub fn described_as(self, link: &Link<'static>) -> Self {
        self.say(|model| model.with_attributes_of(link))
    }

    /// Does not list it.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.listing.places = Places::Hidden;
        self
    }

    /// Lists it while `exists` says so, which is asked for each list.
    #[must_use]
    pub fn listed_if(mut self, exists: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.listing.places = Places::When(Arc::new(exists));
        self
    }

    /// Lists what `links` gives, which is asked for each list: for routes with open parts, of which only the application
    /// knows what is there. Targets are whole paths, wherever the route is mounted. What is said of the route is said of
    /// each link that does not say it itself.
    ///
    /// ```
    /// # use coap_core::link_format::Link;
    /// # use coap_driver::router::{Path, Router, get};
    /// # async fn read(Path(lamp): Path<u8>) -> String { format!("{lamp} is off") }
    /// let lamps = get(read).rt("lamp").listed_as(|| (0..8).filter_map(|lamp| Link::new(format!("/lamps/{lamp}")).ok()).collect());
    /// let router: Router = Router::new().route("/lamps/{lamp}", lamps);
    /// ```
    #[must_use]
    pub fn listed_as(mut self, links: impl Fn() -> Vec<Link<'static>> + Send + Sync + 'static) -> Self {
        self.listing.places = Places::At(Arc::new(links));
        self
    }

    /// Answers requests to groups (RFC 7252 §8) too. Without it there is silence: a server should take them for those
    /// resources alone that are made for it (RFC 7252 §11.3), because many answer at once, and to an address that anybody
    /// can have put there.
    ///
    /// Errors are not sent to whoever asked a group; where there is nothing to say, [`Answer::silence`] says it.
    #[must_use]
    pub fn multicast(mut self) -> Self {
        self.listing.groups = Groups::Answer;
        self
    }

    fn say(mut self, what: impl FnOnce(Link<'static>) -> Link<'static>) -> Self {
        self.listing.model = what(core::mem::take(&mut self.listing.model));
        self
    }
}

impl Listing {
    /// An attribute that cannot be.
    pub(super) const fn wrong(&self) -> Option<LinkFormatError> {
        self.wrong
    }

    pub(super) fn answers_groups(&self) -> bool {
        self.groups == Groups::Answer
    }
}

/// Refuses what the list is not asked with.
pub(super) fn check(incoming: &Incoming<'_>) -> Result<(), Response> {
    if incoming.method() != Code::GET {
        return Err(Response::new(Code::METHOD_NOT_ALLOWED));
    }
    method::check_options(incoming, |_| false)?;
    match incoming.options().accept() {
        None | Some(ContentFormat::LINK_FORMAT) => Ok(()),
        Some(_) => Err(not_acceptable(&[ContentFormat::LINK_FORMAT])),
    }
}

impl<S> Site<S> {
    pub(super) const fn discovers(&self) -> bool {
        !self.discovery.off && !self.discovery.own
    }

    /// The links that the request selects.
    pub(super) fn list(&self, incoming: &Incoming<'_>) -> Answer {
        let filter = match Filter::new(incoming.options().get_all(OptionNumber::URI_QUERY)) {
            Ok(filter) => filter,
            Err(error) => return Response::diagnostic(Code::BAD_REQUEST, error.to_string()).into(),
        };
        let routes = self.routes.iter().flat_map(Route::links);
        let links = routes.chain(self.discovery.links.iter().cloned()).filter(|link| filter.matches(link));
        let text = document(links);
        // RFC 6690 §4.1: of a group only those answer that have something.
        if text.is_empty() && incoming.local().group.is_some() {
            return Answer::silence();
        }
        let mut answer = Answer::new(Code::CONTENT);
        answer.options.set_content_format(ContentFormat::LINK_FORMAT);
        tag(&mut answer.options, text.as_bytes());
        Asked::of(incoming).fit(answer.with_body(text))
    }
}

impl<S> Route<S> {
    fn links(&self) -> Vec<Link<'static>> {
        match &self.methods.listing.places {
            Places::Path => self.link().into_iter().collect(),
            Places::When(exists) if exists() => self.link().into_iter().collect(),
            Places::Hidden | Places::When(_) => Vec::new(),
            Places::At(links) => links().into_iter().map(|link| self.describe(link)).collect(),
        }
    }

    /// The link to its path; none if that has open parts, or no URI can have it.
    fn link(&self) -> Option<Link<'static>> {
        Link::to_path(self.pattern.literal()?).ok().map(|link| self.describe(link))
    }

    fn describe(&self, link: Link<'static>) -> Link<'static> {
        let mut link = link.with_attributes_of(&self.methods.listing.model);
        if link.attribute("ct").is_none() {
            link = self.methods.formats().fold(link, Link::with_content_format);
        }
        if self.methods.is_observable() { link.observable() } else { link }
    }
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing").field("model", &self.model).field("groups", &self.groups).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
