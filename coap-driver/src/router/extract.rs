//! What a handler may take: its arguments are made from the request by [`FromRequest`].

use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use coap_core::{
    Code, ContentFormat, ETag, IncomingRequest, Local, OptionNumber, Options, Peer, Request, Response, Token, Type,
    Wanted,
};

use super::body::Upload;
use super::response::Answer;
use super::tree::Capture;
use crate::sessions::Identity;

/// A request on its way to a handler: what extractors are made from.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    pub(crate) peer: Peer,
    /// Who the peer has shown to be, in a secure session.
    pub(crate) identity: Option<&'a Identity>,
    pub(crate) local: Local,
    pub(crate) kind: Type,
    pub(crate) message_id: u16,
    pub(crate) token: &'a Token,
    pub(crate) request: &'a Request,
    pub(crate) wanted: Wanted,
    pub(crate) echo_age: Option<Duration>,
    /// Where its content comes from, if that comes in parts and its handler reads them.
    pub(crate) upload: Option<&'a Arc<Upload>>,
    pub(crate) captures: &'a [Capture],
}

impl<'a> Incoming<'a> {
    pub(crate) const fn new(incoming: &'a IncomingRequest) -> Self {
        let IncomingRequest { peer, local, kind, message_id, ref token, ref request, wanted, .. } = *incoming;
        let (identity, upload, echo_age) = (None, None, incoming.echo_age());
        Self { peer, identity, local, kind, message_id, token, request, wanted, echo_age, upload, captures: &[] }
    }

    /// The same, from a peer that has shown who it is.
    pub(crate) const fn with_identity(self, identity: Option<&'a Identity>) -> Self {
        Self { identity, ..self }
    }

    /// Who the peer has shown to be, if the request came in a secure session. Authorise by this: an address proves nothing.
    #[cfg(feature = "dtls")]
    pub const fn identity(&self) -> Option<&'a coap_dtls::PeerIdentity> {
        self.identity
    }

    /// Who asks.
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Where the request arrived.
    pub const fn local(&self) -> Local {
        self.local
    }

    /// Confirmable or Non-confirmable.
    pub const fn kind(&self) -> Type {
        self.kind
    }

    /// Its Message ID.
    pub const fn message_id(&self) -> u16 {
        self.message_id
    }

    /// Its token.
    pub const fn token(&self) -> &'a Token {
        self.token
    }

    /// Its method.
    pub const fn method(&self) -> Code {
        self.request.code
    }

    /// Its options. They share the datagram's bytes: `into_owned` makes a copy that may be kept.
    pub const fn options(&self) -> &'a Options {
        &self.request.options
    }

    /// Which stretch of the response body is asked for.
    pub const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// How old the Echo value was that it came with, if that is one of this server's (RFC 9175 §2.3): see [`Freshness`].
    pub const fn echo_age(&self) -> Option<Duration> {
        self.echo_age
    }

    /// Its content; none if a [`BodyReader`](super::BodyReader) reads it. It shares the datagram's bytes: copy what is kept.
    pub fn payload(&self) -> &'a [u8] {
        self.request.body.as_bytes()
    }

    /// The segments for each `{name}` and `{*name}` of the route, in the order of the route.
    pub(super) fn captures(&self) -> impl ExactSizeIterator<Item = Captured<'a>> + use<'a> {
        let options = self.options();
        self.captures.iter().map(move |capture| Captured { capture, options })
    }
}

/// The part of the path that one `{name}` or `{*name}` stands for.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    capture: &'a Capture,
    options: &'a Options,
}

impl<'a> Captured<'a> {
    /// The name in the route.
    pub fn name(&self) -> &'a str {
        &self.capture.name
    }

    /// True for `{*name}`.
    pub const fn is_rest(&self) -> bool {
        self.capture.rest
    }

    /// Its segments, decoded, as the peer sent them: one for `{name}`, one or more for `{*name}`.
    pub fn segments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let most = if self.capture.rest { usize::MAX } else { 1 };
        self.options.get_all(OptionNumber::URI_PATH).skip(self.capture.at).take(most)
    }
}

/// What a handler can have as an argument. `S` is the state of the router.
///
/// An extractor that fails answers the request, usually with 4.00 and a line that says why; the handler is not called.
pub trait FromRequest<S>: Sized {
    /// The critical options that a handler acts upon when it takes this argument.
    ///
    /// A request with a critical option that no argument of its handler stands for is answered 4.02 (RFC 7252
    /// §5.4.1): it must not be passed over in silence. If-Match and If-None-Match are seen to if the route has a GET handler. Uri-Host, Uri-Port, Uri-Path, Uri-Query and Accept are
    /// the router's own business. An option beyond If-Match and If-None-Match must be declared in the endpoint's
    /// `Config` too, or no request with it comes this far.
    const UNDERSTANDS: &'static [OptionNumber] = &[];

    /// Whether this argument reads content part by part, as [`BodyReader`](super::BodyReader) does. A handler with such an
    /// argument is called when the first block of a longer content is there, and all others when the whole is.
    const READS_PARTS: bool = false;

    /// Whether this argument says who the peer has shown to be, as `PeerIdentity` does. What a handler with such an argument
    /// answers is for that identity: those who observe are told only what it has made for theirs.
    const SAYS_WHO: bool = false;

    /// Makes it.
    ///
    /// # Errors
    /// The response to send instead.
    fn from_request(incoming: &Incoming<'_>, state: &S) -> Result<Self, Response>;
}

/// 4.00 with a line for people.
pub(super) fn bad_request(text: impl Into<String>) -> Response {
    Response::diagnostic(Code::BAD_REQUEST, text.into())
}

/// The state that [`Router::with_state`](super::Router::with_state) was given; cloned for each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State<S>(pub S);

impl<S: Clone> FromRequest<S> for State<S> {
    fn from_request(_incoming: &Incoming<'_>, state: &S) -> Result<Self, Response> {
        Ok(Self(state.clone()))
    }
}

/// The content as bytes; a copy of its own, so that it may be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload(pub Bytes);

impl<S> FromRequest<S> for Payload {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        // A slice would keep the whole receive buffer alive for as long as the application keeps a few bytes of it.
        Ok(Self(Bytes::copy_from_slice(incoming.payload())))
    }
}

impl<S> FromRequest<S> for Bytes {
    fn from_request(incoming: &Incoming<'_>, state: &S) -> Result<Self, Response> {
        Payload::from_request(incoming, state).map(|Payload(bytes)| bytes)
    }
}

/// The content as text; 4.00 if it is not UTF-8. The Content-Format is not looked at.
impl<S> FromRequest<S> for String {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        let text = core::str::from_utf8(incoming.payload());
        text.map(str::to_owned).map_err(|_| bad_request("the payload is not UTF-8"))
    }
}

/// The format of the content; 4.00 if the request does not say.
impl<S> FromRequest<S> for ContentFormat {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        incoming.options().content_format().ok_or_else(|| bad_request("Content-Format is missing"))
    }
}

/// The format of the content, if the request says.
impl<S> FromRequest<S> for Option<ContentFormat> {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(incoming.options().content_format())
    }
}

/// The format that the peer wants, if it says (RFC 7252 §5.10.4).
///
/// Only a handler that can produce several formats needs it: a GET or FETCH whose success has another Content-Format
/// is answered 4.06 by the router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept(pub Option<ContentFormat>);

impl<S> FromRequest<S> for Accept {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(Self(incoming.options().accept()))
    }
}

/// Who asks.
impl<S> FromRequest<S> for Peer {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(incoming.peer())
    }
}

/// Who the peer has shown to be; 4.01 if the request came in the clear. At a server that takes clients without a certificate it
/// can be `PeerIdentity::Anonymous`: see [`Router::require_identity`](super::Router::require_identity).
#[cfg(feature = "dtls")]
impl<S> FromRequest<S> for coap_dtls::PeerIdentity {
    const SAYS_WHO: bool = true;

    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        let unknown = || Response::diagnostic(Code::UNAUTHORIZED, "this is for secure sessions: ask with coaps");
        incoming.identity.cloned().ok_or_else(unknown)
    }
}

/// Who the peer has shown to be, if the request came in a secure session.
#[cfg(feature = "dtls")]
impl<S> FromRequest<S> for Option<coap_dtls::PeerIdentity> {
    const SAYS_WHO: bool = true;

    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(incoming.identity.cloned())
    }
}

/// Where the request arrived.
impl<S> FromRequest<S> for Local {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(incoming.local())
    }
}

/// Confirmable or Non-confirmable.
impl<S> FromRequest<S> for Type {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(incoming.kind())
    }
}

/// The method.
impl<S> FromRequest<S> for Code {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(incoming.method())
    }
}

/// How old a request can be at most (RFC 9175 §2.3): as old as the Echo value that it came with. `None` if it came without one
/// of this server's, or with one as old as `Config::echo_lifetime`: it may have been written, and held back, at any time.
///
/// A handler that must not act on an old request answers [`Response::challenge`], and the client repeats the request. Where
/// the route knows that already, [`MethodRouter::fresh`](super::MethodRouter::fresh) does the same.
///
/// ```
/// use core::time::Duration;
///
/// use coap_core::{Code, Response};
/// use coap_driver::router::{Freshness, Router, put};
///
/// async fn unlock(freshness: Freshness) -> Result<Code, Response> {
///     freshness.check(Duration::from_secs(5))?;
///     Ok(Code::CHANGED)
/// }
/// let router: Router = Router::new().route("/lock", put(unlock));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness(pub Option<Duration>);

impl Freshness {
    /// Whether the request is at most `max_age` old.
    ///
    /// # Errors
    /// The answer that asks the client to show it: 4.01 with a new Echo value.
    pub fn check(&self, max_age: Duration) -> Result<(), Response> {
        if self.0.is_some_and(|age| age <= max_age) { Ok(()) } else { Err(Response::challenge()) }
    }
}

impl<S> FromRequest<S> for Freshness {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(Self(incoming.echo_age()))
    }
}

/// The token.
impl<S> FromRequest<S> for Token {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(incoming.token().clone())
    }
}

/// All options; a copy of their own.
impl<S> FromRequest<S> for Options {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(incoming.options().clone().into_owned())
    }
}

/// The whole request; a copy of its own.
impl<S> FromRequest<S> for Request {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        let body = Bytes::copy_from_slice(incoming.payload());
        Ok(Self::new(incoming.method()).with_options(incoming.options().clone().into_owned()).with_body(body))
    }
}

/// The Uri-Query options: arguments, mostly of the form `key=value` (RFC 7252 §5.10.1).
#[derive(Clone, Debug, Default)]
pub struct Query {
    args: Vec<String>,
}

impl Query {
    /// All arguments, as they came: decoded, in their order.
    pub fn args(&self) -> impl Iterator<Item = &str> {
        self.args.iter().map(String::as_str)
    }

    /// The value of the first argument `key=value`; empty for an argument that is `key` alone.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.args().find_map(|arg| match arg.split_once('=') {
            Some((name, value)) => (name == key).then_some(value),
            None => (arg == key).then_some(""),
        })
    }

    /// True if there is an argument `key` or `key=value`.
    pub fn contains(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// The value of `key` as a number or whatever else `T` is.
    ///
    /// # Errors
    /// There is a value, and it is not a `T`; as a response that is 4.00.
    pub fn parse<T: FromStr>(&self, key: &str) -> Result<Option<T>, BadQuery> {
        let value = self.value(key).map(str::parse).transpose();
        value.map_err(|_| BadQuery { key: key.to_owned(), wanted: core::any::type_name::<T>() })
    }
}

impl<S> FromRequest<S> for Query {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        let args = incoming.options().get_all(OptionNumber::URI_QUERY);
        let args = args.map(|arg| core::str::from_utf8(arg).map(str::to_owned)).collect::<Result<_, _>>();
        let args = args.map_err(|_| bad_request("a query argument is not UTF-8"))?;
        Ok(Self { args })
    }
}

/// A query argument has a value of the wrong form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadQuery {
    key: String,
    wanted: &'static str,
}

impl fmt::Display for BadQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the query argument {:?} is not a {}", self.key, self.wanted)
    }
}

impl core::error::Error for BadQuery {}

impl super::IntoResponse for BadQuery {
    fn into_response(self, _method: Code) -> Answer {
        bad_request(self.to_string()).into()
    }
}

/// If-Match and If-None-Match (RFC 7252 §5.10.8). A handler that takes this argument takes the duty to
/// [`check`](Self::check) with it, which it can do under the lock of what it changes. For others a GET handler of the route
/// is asked before; without one such a request is answered 4.02.
#[derive(Clone, Debug, Default)]
pub struct Preconditions {
    options: Options,
}

/// What a resource is before a request changes it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Current<'a> {
    Absent,
    /// It is there, and nobody gave it an entity-tag.
    Untagged,
    Tagged(&'a ETag),
}

impl Preconditions {
    pub(super) const NUMBERS: [OptionNumber; 2] = [OptionNumber::IF_MATCH, OptionNumber::IF_NONE_MATCH];

    /// Whether the request may be carried out on a resource that now has the entity-tag `current`; `None`: a resource
    /// that does not exist.
    ///
    /// # Errors
    /// 4.12: the conditions are not met, and nothing must be changed.
    pub fn check(&self, current: Option<&ETag>) -> Result<(), Code> {
        self.check_state(current.map_or(Current::Absent, Current::Tagged))
    }

    pub(super) fn check_state(&self, current: Current<'_>) -> Result<(), Code> {
        let mut if_match = self.options.get_all(OptionNumber::IF_MATCH).peekable();
        let matched = |wanted: &[u8]| match current {
            Current::Absent => false,
            // An empty If-Match asks for any representation at all.
            Current::Untagged => wanted.is_empty(),
            Current::Tagged(etag) => wanted.is_empty() || wanted == etag.as_bytes(),
        };
        let unmatched = if_match.peek().is_some() && !if_match.any(matched);
        let exists = self.options.contains(OptionNumber::IF_NONE_MATCH) && !matches!(current, Current::Absent);
        if unmatched || exists { Err(Code::PRECONDITION_FAILED) } else { Ok(()) }
    }

    /// True if the request sets no condition.
    pub fn is_empty(&self) -> bool {
        !self.options.contains(OptionNumber::IF_MATCH) && !self.options.contains(OptionNumber::IF_NONE_MATCH)
    }
}

impl<S> FromRequest<S> for Preconditions {
    const UNDERSTANDS: &'static [OptionNumber] = &Self::NUMBERS;

    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(Self { options: incoming.options().clone().into_owned() })
    }
}

/// The entity-tags of representations that the peer still has (RFC 7252 §5.10.6.2): for one of them 2.03 Valid
/// without content is enough.
#[derive(Clone, Debug, Default)]
pub struct KnownETags {
    options: Options,
}

impl KnownETags {
    /// True if the peer has the representation with this entity-tag.
    pub fn contains(&self, etag: &ETag) -> bool {
        self.options.get_all(OptionNumber::ETAG).any(|known| known == etag.as_bytes())
    }
}

impl<S> FromRequest<S> for KnownETags {
    fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
        Ok(Self { options: incoming.options().clone().into_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::IntoResponse;
    use super::*;

    fn extract<T: FromRequest<()>>(request: &Request) -> Result<T, Response> {
        let peer = Peer::from("192.0.2.1:5683".parse::<core::net::SocketAddr>().unwrap());
        let token = Token::new(&[1]).unwrap();
        let incoming = Incoming {
            identity: None,
            peer,
            local: Local::default(),
            kind: Type::Confirmable,
            message_id: 7,
            token: &token,
            request,
            wanted: super::super::FIRST_BLOCK,
            echo_age: None,
            upload: None,
            captures: &[],
        };
        T::from_request(&incoming, &())
    }

    fn request(options: &[(OptionNumber, &[u8])]) -> Request {
        let mut request = Request::get();
        for (number, value) in options {
            request.options.push(*number, value).unwrap();
        }
        request
    }

    #[test]
    fn query_arguments_are_found_by_key() {
        let number = OptionNumber::URI_QUERY;
        let query: Query =
            extract(&request(&[(number, b"ms=250"), (number, b"flag"), (number, b"ms=9"), (number, b"a=b=c")]))
                .unwrap();
        assert_eq!(query.value("ms"), Some("250"));
        assert_eq!(query.value("a"), Some("b=c"));
        assert!(query.contains("flag") && !query.contains("m"));
        assert_eq!(query.parse::<u32>("ms"), Ok(Some(250)));
        assert_eq!(query.parse::<u32>("none"), Ok(None));
        let refused = query.parse::<u32>("flag").unwrap_err().into_response(Code::GET);
        assert_eq!(refused.code, Code::BAD_REQUEST);
    }

    #[test]
    fn text_must_be_utf8() {
        let refused = extract::<String>(&Request::get().with_body(vec![0xff])).unwrap_err();
        assert_eq!(refused.code, Code::BAD_REQUEST);
        assert_eq!(extract::<String>(&Request::get().with_body("é")).unwrap(), "é");
    }

    #[test]
    fn a_payload_does_not_pin_the_datagram() {
        let datagram = Bytes::from_static(b"0123456789");
        let payload: Payload = extract(&Request::get().with_body(datagram.slice(2..4))).unwrap();
        assert_eq!(&payload.0[..], b"23");
        assert!(!datagram.as_ptr_range().contains(&payload.0.as_ptr()));
    }

    #[test]
    fn preconditions_follow_the_rfc() {
        let (red, blue) = (ETag::new(b"red").unwrap(), ETag::new(b"blue").unwrap());
        let failed = Err(Code::PRECONDITION_FAILED);
        let none: Preconditions = extract(&request(&[])).unwrap();
        assert!(none.is_empty() && none.check(None).is_ok() && none.check(Some(&red)).is_ok());
        let red_only: Preconditions = extract(&request(&[(OptionNumber::IF_MATCH, b"red")])).unwrap();
        assert!(red_only.check(Some(&red)).is_ok());
        assert_eq!((red_only.check(Some(&blue)), red_only.check(None)), (failed, failed));
        let any: Preconditions = extract(&request(&[(OptionNumber::IF_MATCH, b"")])).unwrap();
        assert_eq!((any.check(Some(&blue)), any.check(None)), (Ok(()), failed));
        let new: Preconditions = extract(&request(&[(OptionNumber::IF_NONE_MATCH, b"")])).unwrap();
        assert_eq!((new.check(Some(&blue)), new.check(None)), (failed, Ok(())));
    }
}
