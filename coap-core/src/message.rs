//! What an application sends and receives: requests and responses with whole bodies, and how a request is sent.

use core::time::Duration;

use bytes::Bytes;

use crate::addr::Local;
use crate::config::ConfigError;
use crate::transmission::TransmissionParameters;
use crate::wire::{Block, Code, ContentFormat, ETag, Options, Token, Type};

/// The content of a request or response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// All of it. On the wire it goes in one datagram, or block by block (RFC 7959) if it is longer than a block.
    Whole(Bytes),
    /// It comes, or goes, part by part: more than fits into memory, or not yet known. The events and commands about its
    /// parts name it by a [`BodyId`](crate::BodyId), which the handle of its request gives.
    Parts {
        /// How long it is in all, in bytes, where its sender knows (Size1, Size2: RFC 7959 §4).
        size: Option<u64>,
    },
    /// A stretch of a longer one: the answer to a request for a block, made without memory of the blocks before. Only a
    /// response that is sent can have it.
    Range {
        /// Where it starts, in bytes; what was asked for ([`IncomingRequest::wanted`](crate::IncomingRequest)).
        offset: u64,
        /// At least as many bytes as were asked for, unless the body ends before; what is more is left away.
        data: Bytes,
        /// How long the whole body is, in bytes, where that is known. Without it the body ends with `data`, if that is not
        /// longer than what was asked for.
        size: Option<u64>,
    },
}

impl Body {
    /// No content.
    pub const EMPTY: Self = Self::Whole(Bytes::new());

    /// Its bytes: all of them, or those of the range; none of a body in parts.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) | Self::Range { data: bytes, .. } => bytes,
            Self::Parts { .. } => &[],
        }
    }

    /// Its bytes, shared: all of them, or those of the range; none of a body in parts.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Whole(bytes) | Self::Range { data: bytes, .. } => bytes,
            Self::Parts { .. } => Bytes::new(),
        }
    }

    /// How many bytes are here.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether no bytes are here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it comes or goes part by part.
    pub const fn is_in_parts(&self) -> bool {
        matches!(self, Self::Parts { .. })
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
    pub(crate) hops: Option<u8>,
    pub(crate) pacing: Pacing,
    pub(crate) progress: Progress,
    pub(crate) blocks: Blocks,
    pub(crate) reregistration: Reregistration,
    pub(crate) heed: Heed,
}

/// How the bodies of one request travel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    /// Instead of `Config::block_size`.
    pub(crate) size: Option<BlockSize>,
    /// Instead of `Config::max_body`: the longest response body that is put together.
    pub(crate) max_body: Option<usize>,
    /// The response body comes in parts.
    pub(crate) in_parts: bool,
    /// The response body is wanted from here on, if it still has this tag.
    pub(crate) resume: Option<(u64, ETag)>,
    /// Each block is an event.
    pub(crate) report: bool,
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

/// What a request waits for beside its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heed {
    /// Servers that want such requests later.
    BackOffs,
    Nothing,
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
            hops: None,
            pacing: Pacing::Paced,
            progress: Progress::Quiet,
            blocks: Blocks { size: None, max_body: None, in_parts: false, resume: None, report: false },
            reregistration: Reregistration::DEFAULT,
            heed: Heed::BackOffs,
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

    /// Whether it uses a token of the caller's.
    pub const fn has_token(&self) -> bool {
        self.token.is_some()
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

    /// Sends it on the network interface of this index, where its destination leaves that open: a group, or a link-local
    /// address without a zone, which is then the one in the zone of that interface. What [`from`](Self::from) says of the
    /// interface is replaced.
    pub const fn interface(mut self, index: u32) -> Self {
        self.from.interface = index;
        self
    }

    /// Lets a request to a group take so many hops, in place of what the socket says: [`Transmit::hops`](crate::Transmit::hops).
    /// To a single peer it says nothing.
    pub const fn hops(mut self, hops: u8) -> Self {
        self.hops = Some(hops);
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

    /// Transfers the bodies in blocks of at most this size, and says so in the first request (early negotiation: RFC 7959
    /// §2.4), instead of what `Config::block_size` says.
    pub const fn block_size(mut self, size: BlockSize) -> Self {
        self.blocks.size = Some(size);
        self
    }

    /// Accepts a response body of up to so many bytes, instead of `Config::max_body`. A longer one ends the request with
    /// `Failure::Blockwise`.
    pub const fn max_body(mut self, bytes: usize) -> Self {
        self.blocks.max_body = Some(bytes);
        self
    }

    /// Takes a response body that is longer than a block part by part: the response has `Body::Parts`, and
    /// `Event::BodyPart` the bytes. The next block is asked for when a part has been consumed (`Endpoint::consumed`).
    pub const fn in_parts(mut self) -> Self {
        self.blocks.in_parts = true;
        self
    }

    /// Takes a response body part by part from the byte `offset` on, which is rounded down to a block, if its ETag is
    /// still `etag`; from its start if it has another. The offset of the first part says which.
    pub fn resume(mut self, offset: u64, etag: ETag) -> Self {
        self.blocks.in_parts = true;
        self.blocks.resume = Some((offset, etag));
        self
    }

    /// Raises `Event::Progress` for each block of a body.
    pub const fn report_progress(mut self) -> Self {
        self.blocks.report = true;
        self
    }

    /// Sends it even if the server has asked not to be sent such a request for a while, with a 4.29 or a 5.03 (RFC 8516 §4):
    /// for an application that knows that it is another matter, or that cannot wait. It may be answered the same again.
    pub const fn ignore_back_off(mut self) -> Self {
        self.heed = Heed::Nothing;
        self
    }

    /// How an observation is kept alive, for `Endpoint::observe`.
    pub const fn reregistration(mut self, how: Reregistration) -> Self {
        self.reregistration = how;
        self
    }
}

/// The largest block of a body in one datagram: a power of two from 16 to 1024 bytes (RFC 7959 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSize(u8);

impl BlockSize {
    /// 16 bytes.
    pub const MIN: Self = Self(0);
    /// 1024 bytes.
    pub const MAX: Self = Self(Block::MAX_SZX);

    /// A block size in bytes; `None` unless it is 16, 32, 64, 128, 256, 512 or 1024.
    ///
    /// ```
    /// # use coap_core::BlockSize;
    /// assert_eq!(BlockSize::new(64).map(BlockSize::bytes), Some(64));
    /// assert_eq!(BlockSize::new(100), None);
    /// ```
    pub const fn new(bytes: usize) -> Option<Self> {
        match Block::largest_szx(bytes) {
            Some(szx) if bytes == 16 << szx => Some(Self(szx)),
            _ => None,
        }
    }

    /// The size with this exponent, 0 to 6 (SZX: RFC 7959 §2.2).
    pub const fn from_szx(szx: u8) -> Option<Self> {
        if szx <= Block::MAX_SZX { Some(Self(szx)) } else { None }
    }

    /// Its exponent, 0 to 6.
    pub const fn szx(self) -> u8 {
        self.0
    }

    /// Its bytes, 16 to 1024.
    pub const fn bytes(self) -> usize {
        16 << self.0
    }
}

impl TryFrom<usize> for BlockSize {
    type Error = ConfigError;

    /// As [`BlockSize::new`], with an error that says what a block size is.
    fn try_from(bytes: usize) -> Result<Self, ConfigError> {
        Self::new(bytes).ok_or(ConfigError::BlockSize { bytes })
    }
}

/// How an observation is kept alive when nothing has been heard for longer than Max-Age (RFC 7641 §3.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reregistration {
    pub(crate) attempts: u8,
    pub(crate) pause: Duration,
}

impl Reregistration {
    /// Up to 4 attempts in a row, each sent as often as a Confirmable message is; the first a random 5 to 15 s after
    /// Max-Age, the next 30 s after the failure of the one before, then 60 s and 120 s.
    pub const DEFAULT: Self = Self { attempts: 4, pause: Duration::from_secs(30) };

    /// None: the observation goes stale and waits for the next notification.
    pub const OFF: Self = Self { attempts: 0, pause: Duration::ZERO };

    /// Up to so many attempts in a row, with a pause after the first failure that doubles after each further one. The
    /// failure of the last ends the observation.
    pub const fn new(attempts: u8, pause: Duration) -> Self {
        Self { attempts, pause }
    }
}

impl Default for Reregistration {
    fn default() -> Self {
        Self::DEFAULT
    }
}
