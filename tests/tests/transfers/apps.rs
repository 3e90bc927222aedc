//! What the two ends of a transfer do.

use core::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use coap_core::{
    Body, BodyId, Code, Endpoint, Event, Failure, IncomingId, IncomingRequest, Instant, Request, Response,
};
use coap_sim::App;

/// Bytes of which no eight are the same in any place of any version: a body that was put together wrongly shows.
pub(crate) fn content(version: u32, len: usize) -> Bytes {
    stretch(version, 0, len)
}

/// The bytes from `offset` on, which is a multiple of eight.
pub(crate) fn stretch(version: u32, offset: u64, len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len + 8);
    let words = (offset / 8..).map(|word| u64::from(version) << 32 | word);
    words.take(len.div_ceil(8)).for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
    bytes.truncate(len);
    bytes.into()
}

pub(crate) fn request(code: Code, path: &str) -> Request {
    let mut request = Request::new(code);
    request.options.push_uri_path(path).unwrap();
    request
}

/// What a server keeps, by path; shared with the test, and safe from reboots.
pub(crate) type Shelf = Rc<RefCell<BTreeMap<String, Bytes>>>;

/// GET brings what PUT has stored, and POST brings back what it was sent. Bodies are whole.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) shelf: Shelf,
    pub(crate) limit: usize,
    uploads: BTreeMap<BodyId, IncomingRequest>,
}

impl Store {
    pub(crate) fn new(shelf: &Shelf) -> Self {
        Self { shelf: Rc::clone(shelf), limit: 1 << 20, uploads: BTreeMap::new() }
    }

    fn serve(&self, endpoint: &mut Endpoint, now: Instant, request: &IncomingRequest, body: Bytes) {
        let path = request.request.options.uri_path().map(String::from_utf8_lossy).collect::<Vec<_>>().join("/");
        let mut shelf = self.shelf.borrow_mut();
        let response = match request.request.code {
            Code::GET => match shelf.get(&path) {
                Some(body) => Response::new(Code::CONTENT).with_body(body.clone()),
                None => Response::new(Code::NOT_FOUND),
            },
            Code::PUT => {
                shelf.insert(path, body);
                Response::new(Code::CHANGED)
            }
            _ => Response::new(Code::CHANGED).with_body(body),
        };
        // It may have been closed meanwhile, and there may be no Message ID for it.
        let _ = endpoint.respond(now, request.id, response);
    }
}

impl App for Store {
    fn on_event(&mut self, endpoint: &mut Endpoint, now: Instant, event: Event) {
        match event {
            Event::Request(request) if request.request.body.is_in_parts() => {
                let body = request.id.request_body();
                if endpoint.collect(now, body, self.limit) {
                    self.uploads.insert(body, request);
                }
            }
            Event::Request(request) => {
                // Its datagram should not be kept.
                let body = Bytes::copy_from_slice(request.request.body.as_bytes());
                self.serve(endpoint, now, &request, body);
            }
            Event::BodyPart { id, data, .. } => {
                if let Some(request) = self.uploads.remove(&id) {
                    self.serve(endpoint, now, &request, data);
                }
            }
            Event::IncomingClosed { id, .. } => {
                self.uploads.remove(&id.request_body());
            }
            _ => {}
        }
    }

    fn on_reboot(&mut self) {
        self.uploads.clear();
    }
}

/// A file of any length that nobody keeps: made as it is asked for, and compared as it comes.
pub(crate) struct Stream {
    pub(crate) len: u64,
    /// How much of an upload has come.
    uploads: BTreeMap<BodyId, (IncomingId, u64)>,
    pub(crate) uploaded: Rc<RefCell<u64>>,
}

impl Stream {
    pub(crate) fn new(len: u64) -> Self {
        Self { len, uploads: BTreeMap::new(), uploaded: Rc::default() }
    }
}

/// Whether these are the bytes of the file from there on.
pub(crate) fn is_of_file(offset: u64, data: &[u8]) -> bool {
    let start = offset / 8 * 8;
    stretch(1, start, (offset - start) as usize + data.len())[(offset - start) as usize..] == *data
}

impl App for Stream {
    fn on_event(&mut self, endpoint: &mut Endpoint, now: Instant, event: Event) {
        match event {
            Event::Request(request) if request.request.body.is_in_parts() => {
                let body = request.id.request_body();
                self.uploads.insert(body, (request.id, 0));
                endpoint.consumed(now, body);
            }
            Event::Request(request) => {
                let wanted = request.wanted;
                let len = self.len.saturating_sub(wanted.offset).min(wanted.max as u64) as usize;
                let (data, size) = (stretch(1, wanted.offset, len), Some(self.len));
                let mut response = Response::new(Code::CONTENT);
                response.options.push_etag(&coap_core::ETag::new(b"file").unwrap());
                let response = response.with_body(Body::Range { offset: wanted.offset, data, size });
                let _ = endpoint.respond(now, request.id, response);
            }
            Event::BodyPart { id, offset, data, last } => {
                let Some((incoming, received)) = self.uploads.get_mut(&id) else { return };
                assert_eq!(*received, offset);
                assert!(is_of_file(offset, &data), "other bytes at {offset}");
                *received += data.len() as u64;
                if last {
                    *self.uploaded.borrow_mut() = *received;
                    let _ = endpoint.respond(now, *incoming, Response::new(Code::CHANGED));
                    self.uploads.remove(&id);
                } else {
                    endpoint.consumed(now, id);
                }
            }
            Event::IncomingClosed { id, .. } => {
                self.uploads.remove(&id.request_body());
            }
            _ => {}
        }
    }

    fn on_reboot(&mut self) {
        self.uploads.clear();
    }
}

/// How a stream of the client's ended.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// From where on the response came, and how far.
    pub(crate) received: Option<(u64, u64)>,
    pub(crate) complete: bool,
    pub(crate) code: Option<Code>,
    pub(crate) failure: Option<Failure>,
}

/// The client's side of the file: takes it part by part, and gives it as it is wanted.
pub(crate) struct Reader {
    pub(crate) len: u64,
    pub(crate) ends: Rc<RefCell<Ends>>,
}

impl App for Reader {
    fn on_event(&mut self, endpoint: &mut Endpoint, now: Instant, event: Event) {
        let mut ends = self.ends.borrow_mut();
        match event {
            Event::Response { response, .. } => {
                ends.code = Some(response.code);
                ends.complete = !response.body.is_in_parts();
            }
            Event::BodyPart { id, offset, data, last } => {
                let (start, end) = ends.received.unwrap_or((offset, offset));
                assert_eq!(offset, end);
                assert!(is_of_file(offset, &data), "other bytes at {offset}");
                ends.received = Some((start, end + data.len() as u64));
                ends.complete = last;
                endpoint.consumed(now, id);
            }
            Event::BodyWanted { id, offset, max } => {
                let len = (self.len - offset).min(max as u64) as usize;
                let start = offset / 8 * 8;
                let skipped = (offset - start) as usize;
                let data = stretch(1, start, skipped + len).slice(skipped..);
                endpoint.supply(now, id, data, offset + len as u64 == self.len).unwrap();
            }
            Event::Failed { reason, .. } | Event::BodyFailed { reason, .. } => ends.failure = Some(reason),
            _ => {}
        }
    }
}
