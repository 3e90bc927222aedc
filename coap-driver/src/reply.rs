//! What a client gets back.

use bytes::Bytes;
use coap_core::{Code, ContentFormat, Options, Peer, Response, Timing};

use crate::error::Error;

/// The response to a request, of any code: a 4.04 is a response too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The response code.
    pub code: Code,
    /// The options.
    pub options: Options,
    /// The content.
    pub payload: Bytes,
    /// Who answered.
    pub from: Peer,
    /// How often the request was sent, and how long the response took.
    pub timing: Timing,
    /// Who that is to a person: of a session the address, as the session may be over when an error is read.
    pub(crate) told: Peer,
}

impl Reply {
    /// With copies of what shares the datagram's bytes: a reply may be kept for ever.
    pub(crate) fn new(from: Peer, told: Peer, response: Response, timing: Timing) -> Self {
        let payload = owned(&response.body.into_bytes());
        Self { code: response.code, options: response.options.into_owned(), payload, from, timing, told }
    }

    /// True for 2.xx.
    pub fn is_success(&self) -> bool {
        self.code.is_success()
    }

    /// Makes a 4.xx or 5.xx an error, for `?`.
    ///
    /// # Errors
    /// [`Error::Status`], with the reply inside.
    pub fn error_for_status(self) -> Result<Self, Error> {
        if self.is_success() { Ok(self) } else { Err(Error::Status(Box::new(self))) }
    }

    /// The content as text, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        core::str::from_utf8(&self.payload).ok()
    }

    /// The format of the content, if the peer said.
    pub fn content_format(&self) -> Option<ContentFormat> {
        self.options.content_format()
    }
}

/// Bodies above this length were put together from blocks, and share nothing; or they are most of a very long datagram.
const SHARED_UP_TO: usize = 4 << 10;

/// The bytes without the datagram that they may be a small part of.
pub(crate) fn owned(bytes: &Bytes) -> Bytes {
    if bytes.len() > SHARED_UP_TO { bytes.clone() } else { Bytes::copy_from_slice(bytes) }
}
