//! Values as content, through serde: [`Json`] behind the feature `json`, [`Cbor`] behind `cbor`.

use core::fmt;

use coap_core::{Code, ContentFormat, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::reply::Reply;
use crate::request::RequestBuilder;
use crate::router::{Answer, FromRequest, Incoming, IntoResponse};
use crate::runtime::Runtime;

/// The longest explanation that a peer gets, in characters: its own text may be in it.
const LONGEST_DIAGNOSTIC: usize = 200;

/// Why a value cannot be made from content, or content from a value.
#[derive(Debug)]
#[non_exhaustive]
pub enum PayloadError {
    /// The content is in another format.
    Format {
        /// What it should be in.
        wanted: ContentFormat,
        /// What it is in.
        found: ContentFormat,
    },
    /// The content is none of its format, or of another value.
    Read {
        /// The format.
        format: ContentFormat,
        /// What is wrong.
        source: Box<dyn core::error::Error + Send + Sync>,
    },
    /// The value cannot be written in this format.
    Write {
        /// The format.
        format: ContentFormat,
        /// Why not.
        source: Box<dyn core::error::Error + Send + Sync>,
    },
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format { wanted, found } => write!(f, "the content is {found}, not {wanted}"),
            Self::Read { format, source } => write!(f, "the content is not the {format} that is wanted: {source}"),
            Self::Write { format, source } => write!(f, "this cannot be written as {format}: {source}"),
        }
    }
}

impl core::error::Error for PayloadError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Format { .. } => None,
            Self::Read { source, .. } | Self::Write { source, .. } => Some(&**source),
        }
    }
}

/// 4.15, 4.00 with a line that says what is wrong, or 5.00.
impl IntoResponse for PayloadError {
    fn into_response(self, _method: Code) -> Answer {
        Response::from(self).into()
    }
}

impl From<PayloadError> for Response {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Format { .. } => Self::new(Code::UNSUPPORTED_CONTENT_FORMAT),
            PayloadError::Read { .. } => {
                let text: String = error.to_string().chars().take(LONGEST_DIAGNOSTIC).collect();
                Self::diagnostic(Code::BAD_REQUEST, text)
            }
            PayloadError::Write { .. } => Self::new(Code::INTERNAL_SERVER_ERROR),
        }
    }
}

macro_rules! typed {
    ($feature:literal $name:ident $format:ident $read:ident $write:ident $reply:ident $request:ident $example:literal) => {
        #[doc = concat!("A value as ", $example, ": an argument of a handler, and what it returns.")]
        ///
        /// As an argument: a request whose Content-Format is another one is answered 4.15, one without is let through, and
        /// content that does not read is answered 4.00 with a line that says why. As an answer: success with the
        /// Content-Format.
        ///
        /// ```
        /// # use coap_driver::router::{Router, post};
        #[doc = concat!("# use coap_driver::", stringify!($name), ";")]
        /// #[derive(serde::Serialize, serde::Deserialize)]
        /// struct Lamp {
        ///     on: bool,
        /// }
        ///
        #[doc = concat!("async fn switch(", stringify!($name), "(lamp): ", stringify!($name), "<Lamp>) -> ", stringify!($name), "<Lamp> {")]
        #[doc = concat!("    ", stringify!($name), "(Lamp { on: !lamp.on })")]
        /// }
        /// let router: Router = Router::new().route("/lamp", post(switch));
        /// ```
        #[cfg(feature = $feature)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name<T>(pub T);

        #[cfg(feature = $feature)]
        impl<S, T: DeserializeOwned> FromRequest<S> for $name<T> {
            fn from_request(incoming: &Incoming<'_>, _state: &S) -> Result<Self, Response> {
                let read = $read(incoming.options().content_format(), incoming.payload());
                read.map(Self).map_err(Response::from)
            }
        }

        #[cfg(feature = $feature)]
        impl<T: Serialize> IntoResponse for $name<T> {
            fn into_response(self, method: Code) -> Answer {
                match $write(&self.0) {
                    Ok(content) => (ContentFormat::$format, content).into_response(method),
                    Err(error) => error.into_response(method),
                }
            }
        }

        #[cfg(feature = $feature)]
        impl Reply {
            #[doc = concat!("The content, read as ", $example, ". A reply that names no format is taken for it; of an error the")]
            /// content is read too: see [`error_for_status`](Self::error_for_status).
            ///
            /// # Errors
            /// It is in another format, or does not read.
            pub fn $reply<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
                $read(self.content_format(), &self.payload)
            }
        }

        #[cfg(feature = $feature)]
        impl<R: Runtime> RequestBuilder<R> {
            #[doc = concat!("The value as content, in ", $example, " and with that Content-Format.")]
            ///
            /// # Errors
            /// It cannot be written so.
            pub fn $request<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, PayloadError> {
                $write(value).map(|content| self.payload(content).content_format(ContentFormat::$format))
            }
        }
    };
}

typed!("json" Json JSON read_json write_json json json "JSON (RFC 8259)");
typed!("cbor" Cbor CBOR read_cbor write_cbor cbor cbor "CBOR (RFC 8949)");

fn check(wanted: ContentFormat, found: Option<ContentFormat>) -> Result<(), PayloadError> {
    match found {
        Some(found) if found != wanted => Err(PayloadError::Format { wanted, found }),
        _ => Ok(()),
    }
}

#[cfg(feature = "json")]
fn read_json<T: DeserializeOwned>(format: Option<ContentFormat>, content: &[u8]) -> Result<T, PayloadError> {
    check(ContentFormat::JSON, format)?;
    serde_json::from_slice(content)
        .map_err(|error| PayloadError::Read { format: ContentFormat::JSON, source: error.into() })
}

#[cfg(feature = "json")]
fn write_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, PayloadError> {
    serde_json::to_vec(value).map_err(|error| PayloadError::Write { format: ContentFormat::JSON, source: error.into() })
}

#[cfg(feature = "cbor")]
fn read_cbor<T: DeserializeOwned>(format: Option<ContentFormat>, content: &[u8]) -> Result<T, PayloadError> {
    check(ContentFormat::CBOR, format)?;
    let failed = |source| PayloadError::Read { format: ContentFormat::CBOR, source };
    let mut rest = content;
    let value = ciborium::from_reader(&mut rest).map_err(|error| failed(error.into()))?;
    // RFC 8742 is another format: application/cbor is one item.
    if rest.is_empty() { Ok(value) } else { Err(failed("something follows the item".into())) }
}

#[cfg(feature = "cbor")]
fn write_cbor<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, PayloadError> {
    let mut content = Vec::new();
    ciborium::into_writer(value, &mut content)
        .map_err(|error| PayloadError::Write { format: ContentFormat::CBOR, source: error.into() })?;
    Ok(content)
}

#[cfg(test)]
#[cfg(all(feature = "json", feature = "cbor"))]
mod tests {
    use core::net::SocketAddr;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use coap_core::{Options, Peer, Request, Timing};
    use serde::Deserialize;

    use super::*;
    use crate::router::{Router, get, post, put};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Lamp {
        name: String,
        on: bool,
    }

    fn lamp() -> Lamp {
        Lamp { name: "hall".to_owned(), on: true }
    }

    fn peer() -> Peer {
        "192.0.2.1:5683".parse::<SocketAddr>().unwrap().into()
    }

    fn ask(method: Code, path: &str, format: Option<ContentFormat>, content: &[u8]) -> Response {
        async fn switch_json(Json(lamp): Json<Lamp>) -> Json<Lamp> {
            Json(Lamp { on: !lamp.on, ..lamp })
        }
        async fn switch_cbor(Cbor(lamp): Cbor<Lamp>) -> (Code, Cbor<Lamp>) {
            (Code::CREATED, Cbor(Lamp { on: !lamp.on, ..lamp }))
        }
        async fn wrong() -> Json<BTreeMap<(u8, u8), u8>> {
            Json(BTreeMap::from([((1, 2), 3)]))
        }
        let router = Router::new().route("/json", post(switch_json).get(async || Json(lamp())));
        let router = router.route("/cbor", put(switch_cbor)).route("/wrong", get(wrong));
        let mut request = Request::new(method).with_body(content.to_vec());
        request.options.push_uri_path(path).unwrap();
        if let Some(format) = format {
            request.options.set_content_format(format);
        }
        match pin!(router.answer(peer(), &request)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(response) => response,
            Poll::Pending => panic!("the handler waits"),
        }
    }

    fn text(response: &Response) -> &str {
        core::str::from_utf8(response.body.as_bytes()).unwrap()
    }

    #[test]
    fn json_is_read_and_written() {
        let on = br#"{"name":"hall","on":true}"#;
        let switched = ask(Code::POST, "json", Some(ContentFormat::JSON), on);
        assert_eq!((switched.code, switched.options.content_format()), (Code::CHANGED, Some(ContentFormat::JSON)));
        assert_eq!(text(&switched), r#"{"name":"hall","on":false}"#);
        assert_eq!(ask(Code::POST, "json", None, on).code, Code::CHANGED);
        assert_eq!(ask(Code::GET, "json", None, b"").code, Code::CONTENT);
    }

    #[test]
    fn cbor_is_read_and_written() {
        let on = hex("a2 64 6e616d65 64 68616c6c 62 6f6e f5");
        let switched = ask(Code::PUT, "cbor", Some(ContentFormat::CBOR), &on);
        assert_eq!((switched.code, switched.options.content_format()), (Code::CREATED, Some(ContentFormat::CBOR)));
        assert_eq!(switched.body.as_bytes(), hex("a2 64 6e616d65 64 68616c6c 62 6f6e f4"));
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn another_format_is_4_15_and_what_does_not_read_is_4_00_and_says_why() {
        assert_eq!(ask(Code::POST, "json", Some(ContentFormat::CBOR), b"{}").code, Code::UNSUPPORTED_CONTENT_FORMAT);
        let refused = ask(Code::POST, "json", Some(ContentFormat::JSON), br#"{"name":"hall"}"#);
        assert_eq!(refused.code, Code::BAD_REQUEST);
        assert!(text(&refused).contains("missing field `on`"), "{}", text(&refused));
        let mut twice = hex("a2 64 6e616d65 64 68616c6c 62 6f6e f5");
        twice.push(0);
        for content in [&twice[..], &twice[..9], b"", &[0x9f; 5_000], &[0x5b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]] {
            assert_eq!(ask(Code::PUT, "cbor", None, content).code, Code::BAD_REQUEST);
        }
        let long = format!(r#"{{"name":"hall","on":"{}"}}"#, "é".repeat(9_000));
        let refused = ask(Code::POST, "json", None, long.as_bytes());
        assert_eq!((refused.code, text(&refused).chars().count()), (Code::BAD_REQUEST, LONGEST_DIAGNOSTIC));
    }

    #[test]
    fn what_cannot_be_written_is_5_00() {
        assert_eq!(ask(Code::GET, "wrong", None, b"").code, Code::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn a_reply_is_read_as_what_it_says_it_is() {
        let reply = |format: Option<ContentFormat>, content: Vec<u8>| {
            let mut options = Options::new();
            if let Some(format) = format {
                options.set_content_format(format);
            }
            Reply {
                code: Code::CONTENT,
                options,
                payload: Bytes::from(content),
                from: peer(),
                timing: Timing::default(),
                told: peer(),
            }
        };
        let json = reply(Some(ContentFormat::JSON), write_json(&lamp()).unwrap());
        assert_eq!(json.json::<Lamp>().unwrap(), lamp());
        let error = json.cbor::<Lamp>().unwrap_err();
        assert_eq!(error.to_string(), "the content is application/json, not application/cbor");
        assert_eq!(reply(None, write_cbor(&lamp()).unwrap()).cbor::<Lamp>().unwrap(), lamp());
        assert!(matches!(reply(None, Vec::new()).json::<Lamp>(), Err(PayloadError::Read { .. })));
    }
}
