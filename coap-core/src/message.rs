//! What an application sends and receives: requests and responses with whole bodies, and how a request is sent.

use core::time::Duration;

use bytes::Bytes;

use crate::addr::Local;
use crate::transmission::TransmissionParameters;
use crate::wire::{Code, ContentFormat, Options, Token, Type};

/// The content of a request or response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// All of it.
    Whole(Bytes),
}

impl Body {
    /// No content.
    pub const EMPTY: Self = Self::Whole(Bytes::new());

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        let Self::Whole(bytes) = self;
        bytes
    }

    /// Its bytes, shared.
    pub fn into_bytes(self) -> Bytes {
        let Self::Whole(bytes) = self;
        bytes
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// No content at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(content: T) -> Self {
        Self::Whole(content.into())
    }
}

/// A request, without what the message layer adds (RFC 7252 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The method.
    pub code: Code,
    /// The options.
    pub options: Options,
    /// The content.
    pub body: Body,
}

impl Request {
    /// A request with this method, no options and no content.
    pub const fn new(code: Code) -> Self {
        Self { code, options: Options::new(), body: Body::EMPTY }
    }

    /// A GET request.
    pub const fn get() -> Self {
        Self::new(Code::GET)
    }

    /// With these options instead of what it had.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// With this content.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// With content in this format.
    #[must_use]
    pub fn with_content(mut self, format: ContentFormat, body: impl Into<Body>) -> Self {
        self.options.set_content_format(format);
        self.with_body(body)
    }
}

/// A response, without what the message layer adds (RFC 7252 §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The response code.
    pub code: Code,
    /// The options.
    pub options: Options,
    /// The content.
    pub body: Body,
}

impl Response {
    /// A response with this code, no options and no content.
    pub const fn new(code: Code) -> Self {
        Self { code, options: Options::new(), body: Body::EMPTY }
    }

    /// 2.05 with content in this format.
    pub fn content(format: ContentFormat, body: impl Into<Body>) -> Self {
        Self::new(Code::CONTENT).with_content(format, body)
    }

    /// An error with a diagnostic text for people, which has no Content-Format (RFC 7252 §5.5.2).
    pub fn diagnostic(code: Code, text: impl Into<Body>) -> Self {
        Self::new(code).with_body(text)
    }

    /// With these options instead of what it had.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// With this content.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// With content in this format.
    #[must_use]
    pub fn with_content(mut self, format: ContentFormat, body: impl Into<Body>) -> Self {
        self.options.set_content_format(format);
        self.with_body(body)
    }
}

/// How one request is sent, where it differs from what the endpoint does by itself.
///
/// ```
/// # use coap_core::RequestOptions;
/// # use core::time::Duration;
/// let how = RequestOptions::new().non_confirmable().timeout(Duration::from_secs(5));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RequestOptions {
    pub(crate) kind: Type,
    pub(crate) token: Option<Token>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) transmission: Option<TransmissionParameters>,
    pub(crate) from: Local,
    pub(crate) pacing: Pacing,
    pub(crate) progress: Progress,
}

/// Whether PROBING_RATE applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pacing {
    Paced,
    Unpaced,
}

/// Whether each retransmission is an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Quiet,
    Reported,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestOptions {
    /// Confirmable, with a token drawn at random and the peer's transmission parameters.
    pub const fn new() -> Self {
        Self {
            kind: Type::Confirmable,
            token: None,
            timeout: None,
            transmission: None,
            from: Local { socket: 0, ip: None, interface: 0, group: None },
            pacing: Pacing::Paced,
            progress: Progress::Quiet,
        }
    }

    /// Sends it Non-confirmable: once, not repeated. What a multicast request must be (RFC 7252 §8.1).
    pub const fn non_confirmable(mut self) -> Self {
        self.kind = Type::NonConfirmable;
        self
    }

    /// Uses this token, which may be empty. It must not be in use towards the same peer.
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Ends the request after this span, counted from the call and including the wait for its turn. Without it each
    /// stage has its own end: waiting for its turn, for the acknowledgement, and for the response. For a multicast
    /// request: how long responses are collected.
    pub const fn timeout(mut self, span: Duration) -> Self {
        self.timeout = Some(span);
        self
    }

    /// Uses these parameters instead of those of the peer or endpoint. NSTART stays the peer's.
    pub const fn transmission(mut self, parameters: TransmissionParameters) -> Self {
        self.transmission = Some(parameters);
        self
    }

    /// Sends it from this socket, address or interface.
    pub const fn from(mut self, local: Local) -> Self {
        self.from = local;
        self
    }

    /// Does not hold a Non-confirmable request back for PROBING_RATE (RFC 7252 §4.7): for an application that knows
    /// that its rate is acceptable.
    pub const fn unpaced(mut self) -> Self {
        self.pacing = Pacing::Unpaced;
        self
    }

    /// Raises `Event::Retransmitted` for each repetition.
    pub const fn report_retransmissions(mut self) -> Self {
        self.progress = Progress::Reported;
        self
    }
}
