//! What a handler may return.

use core::convert::Infallible;
use core::future::poll_fn;

use bytes::Bytes;
use coap_core::{Body, Code, ContentFormat, ETag, OptionError, OptionNumber, Options, Response};

use super::streamed::{Source, Streamed};

/// The most that [`Answer::collect`] puts together, in bytes.
const MOST_COLLECTED: usize = 1 << 20;

/// What a handler answers: a response whose content may be a stream. Made from whatever implements [`IntoResponse`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The response code.
    pub code: Code,
    /// The options.
    pub options: Options,
    /// The content.
    pub content: Content,
}

/// The content of an [`Answer`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Content {
    /// It is here: all of it, or the stretch that was asked for.
    Here(Body),
    /// It is read while it is sent.
    Stream(Streamed),
    /// There is no answer at all: see [`Answer::silence`].
    Silence,
}

impl Answer {
    /// An answer without options and content.
    pub const fn new(code: Code) -> Self {
        Self { code, options: Options::new(), content: Content::Here(Body::EMPTY) }
    }

    /// No answer: what a request to a group gets from a server that has nothing to say to it (RFC 7252 §8.2). Of any other
    /// request no more than its receipt is acknowledged, and its peer waits in vain; an observer is told 5.00.
    pub const fn silence() -> Self {
        Self { code: Code::EMPTY, options: Options::new(), content: Content::Silence }
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
        self.content = Content::Here(body.into());
        self
    }

    /// With content in this format.
    #[must_use]
    pub fn with_content(mut self, format: ContentFormat, body: impl Into<Body>) -> Self {
        self.options.set_content_format(format);
        self.with_body(body)
    }

    /// The response to send, if any, and what its body is read from if that is a stream.
    pub(crate) fn into_parts(self) -> (Option<Response>, Option<Source>) {
        let Self { code, options, content } = self;
        let (body, source) = match content {
            // There is nothing that would give the parts.
            Content::Here(Body::Parts { .. }) => return (Some(Response::new(Code::INTERNAL_SERVER_ERROR)), None),
            Content::Silence => return (None, None),
            Content::Here(body) => (body, None),
            Content::Stream(Streamed { source, size }) => (Body::Parts { size }, Some(source)),
        };
        (Some(Response::new(code).with_options(options).with_body(body)), source)
    }

    /// The response with all of its content, read to the end; 5.00 if that fails or is more than 1 MiB.
    pub(super) async fn collect(self) -> Response {
        let (response, source) = self.into_parts();
        // What is sent in place of nothing, to those who cannot be sent nothing.
        let response = response.unwrap_or_else(|| Response::new(Code::INTERNAL_SERVER_ERROR));
        let Some(mut source) = source else { return response };
        let mut content = Vec::new();
        let mut buffer = [0; 1_024];
        loop {
            let read = poll_fn(|cx| source.as_mut().poll_read(cx, &mut buffer)).await;
            match read {
                Ok(0) => return response.with_body(content),
                Ok(read) if content.len() + read <= MOST_COLLECTED => {
                    content.extend(buffer.iter().take(read));
                }
                _ => return Response::new(Code::INTERNAL_SERVER_ERROR),
            }
        }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        let Response { code, options, body, .. } = response;
        Self { code, options, content: Content::Here(body) }
    }
}

/// Turns what a handler returned into the answer to a request with `method`.
///
/// The method is there because it decides which code success has: 2.05 Content for GET and FETCH, 2.02 Deleted for
/// DELETE, 2.04 Changed for the others (RFC 7252 §5.8, RFC 8132). A handler that wants another one says so:
/// `(Code::CREATED, "done")`, or `Err(Code::FORBIDDEN)`.
///
/// ```
/// # use coap_core::Code;
/// # use coap_driver::router::IntoResponse;
/// assert_eq!("22.5 °C".into_response(Code::GET).code, Code::CONTENT);
/// assert_eq!(().into_response(Code::PUT).code, Code::CHANGED);
/// assert_eq!((Code::CONFLICT, "somebody was faster").into_response(Code::PUT).code, Code::CONFLICT);
/// ```
pub trait IntoResponse {
    /// The answer.
    fn into_response(self, method: Code) -> Answer;
}

/// The code of an ordinary success.
pub(super) const fn success(method: Code) -> Code {
    match method {
        Code::GET | Code::FETCH => Code::CONTENT,
        Code::DELETE => Code::DELETED,
        _ => Code::CHANGED,
    }
}

impl IntoResponse for Answer {
    fn into_response(self, _method: Code) -> Answer {
        self
    }
}

impl IntoResponse for Response {
    fn into_response(self, _method: Code) -> Answer {
        self.into()
    }
}

impl IntoResponse for Infallible {
    fn into_response(self, _method: Code) -> Answer {
        match self {}
    }
}

/// Success without content.
impl IntoResponse for () {
    fn into_response(self, method: Code) -> Answer {
        Answer::new(success(method))
    }
}

/// This code, without content.
impl IntoResponse for Code {
    fn into_response(self, _method: Code) -> Answer {
        Answer::new(self)
    }
}

/// Success with a text, Content-Format 0.
impl IntoResponse for &'static str {
    fn into_response(self, method: Code) -> Answer {
        Answer::new(success(method)).with_content(ContentFormat::TEXT_PLAIN, self)
    }
}

/// Success with a text, Content-Format 0.
impl IntoResponse for String {
    fn into_response(self, method: Code) -> Answer {
        Answer::new(success(method)).with_content(ContentFormat::TEXT_PLAIN, self)
    }
}

/// Success with bytes, and without a Content-Format: put them into a pair with one.
impl IntoResponse for Bytes {
    fn into_response(self, method: Code) -> Answer {
        Answer::new(success(method)).with_body(self)
    }
}

/// Success with bytes, and without a Content-Format: put them into a pair with one.
impl IntoResponse for Vec<u8> {
    fn into_response(self, method: Code) -> Answer {
        Answer::new(success(method)).with_body(self)
    }
}

/// What the second has, with this code. With an error code a text is a diagnostic payload, which has no
/// Content-Format (RFC 7252 §5.5.2).
impl<T: IntoResponse> IntoResponse for (Code, T) {
    fn into_response(self, method: Code) -> Answer {
        let (code, content) = self;
        let mut response = content.into_response(method);
        response.code = code;
        if code.is_error() && response.options.content_format() == Some(ContentFormat::TEXT_PLAIN) {
            response.options.remove(OptionNumber::CONTENT_FORMAT);
        }
        response
    }
}

/// What the second has, in this format.
impl<T: IntoResponse> IntoResponse for (ContentFormat, T) {
    fn into_response(self, method: Code) -> Answer {
        let (format, content) = self;
        let mut response = content.into_response(method);
        response.options.set_content_format(format);
        response
    }
}

/// What the second has, with this entity-tag (RFC 7252 §5.10.6).
impl<T: IntoResponse> IntoResponse for (ETag, T) {
    fn into_response(self, method: Code) -> Answer {
        let (etag, content) = self;
        let mut response = content.into_response(method);
        response.options.push_etag(&etag);
        response
    }
}

/// How long an answer may be kept by a cache, in seconds; without it, it is 60 (RFC 7252 §5.10.5). Goes into a pair with
/// the content: `(MaxAge(5), "22.5")`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAge(pub u32);

/// What the second has, for so long.
impl<T: IntoResponse> IntoResponse for (MaxAge, T) {
    fn into_response(self, method: Code) -> Answer {
        let (MaxAge(seconds), content) = self;
        let mut response = content.into_response(method);
        response.options.set_max_age(seconds);
        response
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self, method: Code) -> Answer {
        match self {
            Ok(content) => content.into_response(method),
            Err(error) => error.into_response(method),
        }
    }
}

/// The content, or 4.04.
impl<T: IntoResponse> IntoResponse for Option<T> {
    fn into_response(self, method: Code) -> Answer {
        self.map_or_else(|| Answer::new(Code::NOT_FOUND), |content| content.into_response(method))
    }
}

/// 2.01 Created, and where the new resource is: its segments as Location-Path options (RFC 7252 §5.10.7).
///
/// ```
/// # use coap_driver::router::Created;
/// let created = Created::at(["store", "a name with a / in it"])?;
/// # Ok::<(), coap_core::OptionError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Created {
    options: Options,
}

impl Created {
    /// With the segments of the path, each as it is: nothing is percent-encoded, and no slash separates.
    ///
    /// # Errors
    /// A segment of more than 255 bytes, or one that is `.` or `..`: it would lead elsewhere (RFC 7252 §5.10.7).
    pub fn at<T: AsRef<[u8]>>(segments: impl IntoIterator<Item = T>) -> Result<Self, OptionError> {
        let mut options = Options::new();
        let number = OptionNumber::LOCATION_PATH;
        for segment in segments {
            if matches!(segment.as_ref(), b"." | b"..") {
                return Err(OptionError::DotSegment { number });
            }
            options.push(number, segment.as_ref())?;
        }
        Ok(Self { options })
    }

    /// And with these arguments of a query (Location-Query), each as it is: nothing is percent-encoded.
    ///
    /// ```
    /// # use coap_driver::router::Created;
    /// let created = Created::at(["store"])?.query(["id=7", "all"])?;
    /// # Ok::<(), coap_core::OptionError>(())
    /// ```
    ///
    /// # Errors
    /// An argument of more than 255 bytes.
    pub fn query<T: AsRef<[u8]>>(mut self, arguments: impl IntoIterator<Item = T>) -> Result<Self, OptionError> {
        for argument in arguments {
            self.options.push(OptionNumber::LOCATION_QUERY, argument.as_ref())?;
        }
        Ok(self)
    }
}

/// 2.01 Created where the first says, with the content of the second.
impl<T: IntoResponse> IntoResponse for (Created, T) {
    fn into_response(self, method: Code) -> Answer {
        let (created, content) = self;
        let mut response = content.into_response(method);
        for (number, value) in &created.options {
            // Each value was an option already.
            let _ = response.options.push(number, value);
        }
        if response.code.is_success() {
            response.code = Code::CREATED;
        }
        response
    }
}

impl IntoResponse for Created {
    fn into_response(self, _method: Code) -> Answer {
        Answer::new(Code::CREATED).with_options(self.options)
    }
}

/// 5.00: what the handler wanted to send does not fit into an option.
impl IntoResponse for OptionError {
    fn into_response(self, _method: Code) -> Answer {
        Answer::new(Code::INTERNAL_SERVER_ERROR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_method_decides_what_success_is_called() {
        for (method, code) in [
            (Code::GET, Code::CONTENT),
            (Code::FETCH, Code::CONTENT),
            (Code::PUT, Code::CHANGED),
            (Code::POST, Code::CHANGED),
            (Code::PATCH, Code::CHANGED),
            (Code::DELETE, Code::DELETED),
        ] {
            assert_eq!("x".into_response(method).code, code);
        }
    }

    #[test]
    fn a_diagnostic_payload_has_no_format_and_other_content_has() {
        let response = (Code::BAD_REQUEST, "no").into_response(Code::GET);
        assert_eq!((response.code, response.options.content_format()), (Code::BAD_REQUEST, None));
        let response = (Code::CREATED, "yes").into_response(Code::POST);
        assert_eq!(response.options.content_format(), Some(ContentFormat::TEXT_PLAIN));
        let problem = (Code::BAD_REQUEST, (ContentFormat::JSON, "{}")).into_response(Code::GET);
        assert_eq!(problem.options.content_format(), Some(ContentFormat::JSON));
    }

    #[test]
    fn a_location_is_segments_and_a_long_one_is_refused() {
        let created = Created::at(["a/b", ""]).unwrap().into_response(Code::POST);
        assert_eq!(created.code, Code::CREATED);
        assert!(created.options.get_all(OptionNumber::LOCATION_PATH).eq([&b"a/b"[..], b""]));
        assert!(Created::at(["x".repeat(256)]).is_err());
    }

    /// A name that a peer has chosen, perhaps.
    #[test]
    fn a_location_has_no_dot_segments() {
        for dots in [".", ".."] {
            let error = Created::at(["store", dots]).unwrap_err();
            assert_eq!(error, OptionError::DotSegment { number: OptionNumber::LOCATION_PATH });
            assert_eq!(error.to_string(), "a value of Location-Path is not . or ..");
        }
        assert!(Created::at(["...", "", ".a"]).is_ok());
    }

    #[test]
    fn a_location_can_have_a_query_and_come_with_content_and_an_age() {
        let created = Created::at(["a"]).unwrap().query(["b=1", "c"]).unwrap();
        let answer = (MaxAge(7), (created, "done")).into_response(Code::POST);
        assert_eq!((answer.code, answer.options.max_age()), (Code::CREATED, Some(7)));
        assert!(answer.options.location_path().eq([b"a"]));
        assert!(answer.options.location_query().eq([&b"b=1"[..], b"c"]));
        assert_eq!(answer.options.content_format(), Some(ContentFormat::TEXT_PLAIN));
        assert!(Created::at(["a"]).unwrap().query(["x".repeat(256)]).is_err());
    }

    #[test]
    fn nothing_is_not_found() {
        assert_eq!(None::<String>.into_response(Code::GET).code, Code::NOT_FOUND);
    }
}
