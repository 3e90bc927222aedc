//! Discovery: what a server says that it has (RFC 6690), asked for and resolved.

use core::fmt;
use core::future::{Future, IntoFuture};
use core::ops::Deref;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use coap_core::link_format::{self, Problem};
use coap_core::{Code, ContentFormat, Link, LinkFormatError, OptionNumber, Peer, Scheme, Uri, UriError};

use futures_core::Stream;

use crate::client::Client;
use crate::error::Error;
use crate::group::GroupResponses;
use crate::reply::Reply;
use crate::request::RequestBuilder;
use crate::runtime::Runtime;
use crate::target::{IntoTarget, Target};

/// A question for links: `.await` asks it, and gives them.
///
/// ```no_run
/// # use coap_driver::{Client, DiscoverError, Runtime};
/// # async fn example<R: Runtime>(client: Client<R>) -> Result<(), DiscoverError> {
/// let found = client.discover("coap://[2001:db8::1]").resource_type("temperature-c").await?;
/// for link in &found.links {
///     println!("{} {:?} {:?}", link.target(), link.title(), link.uri());
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is asked until it is awaited"]
pub struct DiscoverBuilder<R: Runtime> {
    request: RequestBuilder<R>,
    uri: Option<Uri>,
}

/// Where links are, if nobody says otherwise (RFC 6690 §4).
const WELL_KNOWN_CORE: [&str; 2] = [".well-known", "core"];

/// A target that has been made, or not.
struct Made(Result<Target, UriError>);

impl IntoTarget for Made {
    fn into_target(self) -> Result<Target, UriError> {
        self.0
    }
}

impl<R: Runtime> DiscoverBuilder<R> {
    pub(crate) fn new(client: Client<R>, target: impl IntoTarget) -> Self {
        let target = target.into_target();
        let uri = target.as_ref().ok().and_then(Target::to_uri);
        let request = RequestBuilder::new(client, Code::GET, Made(target));
        if uri.as_ref().is_some_and(|uri| !uri.path().is_empty()) {
            return Self { request, uri };
        }
        let request = WELL_KNOWN_CORE.into_iter().fold(request, |it, part| it.option(OptionNumber::URI_PATH, part));
        Self { request, uri: uri.and_then(|uri| uri.join("/.well-known/core").ok()) }
    }

    /// Wants those alone that have this name in `rt`; with an asterisk at the end, one that begins so (RFC 6690 §4.1).
    pub fn resource_type(self, name: impl AsRef<str>) -> Self {
        self.query(format!("rt={}", name.as_ref()))
    }

    /// Wants those alone that have this name in `if`; with an asterisk at the end, one that begins so.
    pub fn interface(self, name: impl AsRef<str>) -> Self {
        self.query(format!("if={}", name.as_ref()))
    }

    /// Wants those alone that can be had in this format.
    pub fn content_format(self, format: ContentFormat) -> Self {
        self.query(format!("ct={}", format.number()))
    }

    /// Adds an argument to the query, as it is before it is percent-encoded: `href=/lamps*`, `sz=*`.
    ///
    /// A server need not filter at all, and RFC 6690 asks for no more than one condition: look again at what comes. One
    /// of more than 255 bytes ends in [`Error::Option`].
    pub fn query(self, argument: impl AsRef<str>) -> Self {
        self.request(|request| request.option(OptionNumber::URI_QUERY, argument.as_ref()))
    }

    /// Changes the request that asks: its timeout, the most that it takes (`max_body`; 64 KiB by default), and so on.
    pub fn request(mut self, change: impl FnOnce(RequestBuilder<R>) -> RequestBuilder<R>) -> Self {
        self.request = change(self.request);
        self
    }

    /// Asks a group, and gives what each of its members has, as it comes: see [`RequestBuilder::multicast`].
    ///
    /// # Errors
    /// It is for one server, or cannot be sent.
    pub async fn multicast(self) -> Result<GroupDiscovery<R>, Error> {
        Ok(GroupDiscovery { responses: self.request.multicast().await?, uri: self.uri })
    }

    async fn ask(self) -> Result<Discovery, DiscoverError> {
        let Self { request, uri } = self;
        let client = request.client().clone();
        let reply = request.await?;
        // Of a session the address counts, where no URI was named.
        let there = || base_at(client.shared().lock().told_as(reply.from), Scheme::Coaps, None);
        let base = if uri.is_none() { there() } else { base(reply.from, uri.as_ref()) };
        Discovery::read(&reply, base)
    }
}

impl<R: Runtime> IntoFuture for DiscoverBuilder<R> {
    type Output = Result<Discovery, DiscoverError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.ask())
    }
}

impl<R: Runtime> fmt::Debug for DiscoverBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoverBuilder").field("request", &self.request).finish_non_exhaustive()
    }
}

impl<R: Runtime> Client<R> {
    /// Asks the members of a group what they have (RFC 7252 §7.2.1, RFC 6690 §4.1): `/.well-known/core`, or the path of the target.
    /// With a query or a timeout it is [`DiscoverBuilder::multicast`].
    ///
    /// # Errors
    /// The target is no group, or the request cannot be sent.
    pub async fn discover_multicast(&self, group: impl IntoTarget) -> Result<GroupDiscovery<R>, Error> {
        self.discover(group).multicast().await
    }
}

/// What the servers of a group have, as they tell it; made by [`DiscoverBuilder::multicast`]. What is wrong with one answer
/// does not end it.
#[must_use = "dropping it ends it"]
pub struct GroupDiscovery<R: Runtime> {
    responses: GroupResponses<R>,
    uri: Option<Uri>,
}

impl<R: Runtime> GroupDiscovery<R> {
    /// The next server, and what it has; `None` at the end.
    pub async fn next(&mut self) -> Option<(Peer, Result<Discovery, DiscoverError>)> {
        let (from, answer) = self.responses.next().await?;
        Some((from, self.read(answer)))
    }

    fn read(&self, answer: Result<Reply, Error>) -> Result<Discovery, DiscoverError> {
        let reply = answer?;
        // Also of a group that was named: its name is not that of who answered.
        Discovery::read(&reply, base_at(reply.from, Scheme::Coap, self.uri.as_ref()))
    }
}

impl<R: Runtime> Unpin for GroupDiscovery<R> {}

impl<R: Runtime> Stream for GroupDiscovery<R> {
    type Item = (Peer, Result<Discovery, DiscoverError>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(Pin::new(&mut self.responses).poll_next(cx));
        Poll::Ready(next.map(|(from, answer)| (from, self.read(answer))))
    }
}

impl<R: Runtime> fmt::Debug for GroupDiscovery<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupDiscovery").field("responses", &self.responses).finish_non_exhaustive()
    }
}

/// What one server has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discovery {
    /// Who.
    pub from: Peer,
    /// What its links are relative to: the URI that was asked, at the address of who answered if it was that of a group
    /// (RFC 7252 §8.2). `None` for a peer without an address.
    pub base: Option<Arc<Uri>>,
    /// Its links, in its order. None is not an error.
    pub links: Vec<DiscoveredLink>,
}

/// A link, and where it was found. All that it says of itself is a method of [`Link`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredLink {
    link: Link<'static>,
    base: Option<Arc<Uri>>,
}

/// Why there are no links.
#[derive(Debug)]
#[non_exhaustive]
pub enum DiscoverError {
    /// There is no response, or it has an error code: [`Error::Status`].
    Request(Error),
    /// The response is none with links, but in this format or with this code.
    NoLinks {
        /// The code.
        code: Code,
        /// The format.
        format: Option<ContentFormat>,
    },
    /// The links are wrong.
    Malformed {
        /// What and where.
        error: LinkFormatError,
        /// Those before.
        read: Box<Discovery>,
    },
}

impl Discovery {
    /// The links in a reply that was not got by [`Client::discover`](crate::Client::discover): from a group, say. `uri`
    /// is what was asked, and what they are relative to unless it has the address of a group.
    ///
    /// # Errors
    /// An error code, another format, or links that are wrong.
    pub fn from_reply(reply: &Reply, uri: &Uri) -> Result<Self, DiscoverError> {
        Self::read(reply, base(reply.from, Some(uri)))
    }

    fn read(reply: &Reply, base: Option<Uri>) -> Result<Self, DiscoverError> {
        if reply.code.is_error() {
            return Err(DiscoverError::Request(Error::Status(Box::new(reply.clone()))));
        }
        let format = reply.content_format();
        // A server that does not say which format it is means this one.
        if reply.code != Code::CONTENT || format.is_some_and(|format| format != ContentFormat::LINK_FORMAT) {
            return Err(DiscoverError::NoLinks { code: reply.code, format });
        }
        let base = base.map(Arc::new);
        let mut read = Self { from: reply.from, base, links: Vec::new() };
        let text = match core::str::from_utf8(&reply.payload) {
            Ok(text) => text,
            Err(at) => {
                let error = LinkFormatError { offset: at.valid_up_to(), what: Problem::NotUtf8 };
                return Err(DiscoverError::Malformed { error, read: Box::new(read) });
            }
        };
        for link in link_format::links(text) {
            match link {
                Ok(link) => read.links.push(DiscoveredLink { link: link.into_owned(), base: read.base.clone() }),
                Err(error) => return Err(DiscoverError::Malformed { error, read: Box::new(read) }),
            }
        }
        Ok(read)
    }
}

/// RFC 7252 §8.2: of a group the address of who answered counts. So it does where no host was named.
fn base(from: Peer, uri: Option<&Uri>) -> Option<Uri> {
    match uri {
        Some(uri) if uri.ip().is_none_or(|ip| !ip.is_multicast() && !ip.is_unspecified()) => Some(uri.clone()),
        _ => base_at(from, Scheme::Coap, uri),
    }
}

/// The path of `uri` at the address of who answered.
fn base_at(from: Peer, scheme: Scheme, uri: Option<&Uri>) -> Option<Uri> {
    let mut options = uri.map(Uri::options).unwrap_or_default();
    options.remove(OptionNumber::URI_HOST);
    options.remove(OptionNumber::URI_PORT);
    let there = Uri::from_options(scheme, from.udp()?.socket_addr(), &options).ok()?;
    if uri.is_some() { Some(there) } else { there.join("/.well-known/core").ok() }
}

impl DiscoveredLink {
    /// The URI of the resource, to be asked; see [`Link::target_uri`].
    ///
    /// # Errors
    /// The target is something else than a `coap` or `coaps` URI, or the server has no address that it could be at.
    /// [`target`](Link::target) is what was written.
    pub fn uri(&self) -> Result<Uri, UriError> {
        match &self.base {
            Some(base) => self.link.target_uri(base),
            None => Uri::parse(self.link.target()),
        }
    }

    /// The URI of what the link is about: its anchor, or the server; see [`Link::context_uri`].
    ///
    /// # Errors
    /// As [`uri`](Self::uri).
    pub fn context(&self) -> Result<Uri, UriError> {
        match (&self.base, self.link.anchor()) {
            (Some(base), _) => self.link.context_uri(base),
            (None, Some(anchor)) => Uri::parse(anchor),
            (None, None) => self.uri()?.join("/"),
        }
    }

    /// The link alone.
    pub fn into_link(self) -> Link<'static> {
        self.link
    }
}

impl Deref for DiscoveredLink {
    type Target = Link<'static>;

    fn deref(&self) -> &Self::Target {
        &self.link
    }
}

impl fmt::Display for DiscoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::NoLinks { code, format: Some(format) } => {
                write!(f, "no links: the answer is {code} in {format}, not in application/link-format")
            }
            Self::NoLinks { code, format: None } => write!(f, "no links: the answer is {code}"),
            Self::Malformed { error, read } => {
                write!(f, "the links of {} are wrong {error}; {} could be read before", read.from, read.links.len())
            }
        }
    }
}

impl core::error::Error for DiscoverError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Request(error) => Some(error),
            Self::NoLinks { .. } => None,
            Self::Malformed { error, .. } => Some(error),
        }
    }
}

impl From<Error> for DiscoverError {
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;

    use bytes::Bytes;
    use coap_core::{Options, Timing};

    use super::*;

    fn reply(code: Code, format: Option<ContentFormat>, payload: &'static [u8]) -> Reply {
        let mut options = Options::new();
        if let Some(format) = format {
            options.set_content_format(format);
        }
        let from = Peer::from("[fe80::1%3]:5700".parse::<SocketAddr>().unwrap());
        Reply { code, options, payload: Bytes::from_static(payload), from, timing: Timing::default(), told: from }
    }

    const LINKS: Option<ContentFormat> = Some(ContentFormat::LINK_FORMAT);

    #[test]
    fn links_are_relative_to_what_was_asked_or_to_who_answered_for_a_group() {
        let reply = reply(Code::CONTENT, LINKS, b"</a>;rt=\"x y\",<coap://other/b>;anchor=\"/c\"");
        for (uri, first, context) in [
            ("coap://h.example/.well-known/core", "coap://h.example/a", "coap://h.example/"),
            (
                "coap://[fe80::1%25eth0]:5700/d/e?rt=x",
                "coap://[fe80::1%25eth0]:5700/a",
                "coap://[fe80::1%25eth0]:5700/",
            ),
            ("coap://[ff02::fd]/.well-known/core", "coap://[fe80::1%253]:5700/a", "coap://[fe80::1%253]:5700/"),
            ("coap://0.0.0.0/.well-known/core", "coap://[fe80::1%253]:5700/a", "coap://[fe80::1%253]:5700/"),
        ] {
            let found = Discovery::from_reply(&reply, &Uri::parse(uri).unwrap()).unwrap();
            assert_eq!(found.links[0].uri().unwrap().to_string(), first);
            assert_eq!(found.links[0].context().unwrap().to_string(), context);
            assert_eq!(found.links[0].resource_types().collect::<Vec<_>>(), ["x", "y"]);
            assert_eq!(found.links[1].uri().unwrap().to_string(), "coap://other/b");
        }
    }

    #[test]
    fn what_is_no_list_of_links_is_an_error_that_says_what_it_is() {
        let uri = Uri::parse("coap://h/.well-known/core").unwrap();
        let read = |reply: &Reply| Discovery::from_reply(reply, &uri);
        assert!(read(&reply(Code::CONTENT, None, b"")).unwrap().links.is_empty());
        let other = read(&reply(Code::CONTENT, Some(ContentFormat::JSON), b"[]")).unwrap_err();
        assert_eq!(
            other.to_string(),
            "no links: the answer is 2.05 Content in application/json, not in application/link-format"
        );
        let error = read(&reply(Code::NOT_FOUND, None, b"")).unwrap_err();
        assert!(matches!(error, DiscoverError::Request(Error::Status(reply)) if reply.code == Code::NOT_FOUND));
        let error = read(&reply(Code::CONTENT, LINKS, b"</a>,</b>;x=,</c>")).unwrap_err();
        let DiscoverError::Malformed { error, read: before } = error else { panic!("{error}") };
        assert_eq!((error.offset, before.links.len()), (12, 1));
        let error = read(&reply(Code::CONTENT, LINKS, b"</a>,<\xff>")).unwrap_err();
        assert!(matches!(error, DiscoverError::Malformed { error, .. } if error.what == Problem::NotUtf8));
    }
}
