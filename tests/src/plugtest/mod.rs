//! The resources of a plugtest server: what the ETSI and OMA tests for CoAP ask for, and what the scenario scripts run
//! against. No I/O and no clock: a request goes in, and out comes what to do about it.

mod server;
mod table;

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;
use coap_core::link_format::{self, Filter};
use coap_core::{Code, ContentFormat, ETag, Local, Options, Request, Response};

use self::table::{Entry, Listing, TABLE};
use crate::app::Reply;

pub use self::server::PlugtestServer;

/// How long `/separate` and `/large-separate` take.
const SLOW: Duration = Duration::from_secs(2);

/// How many bytes the large resources have.
const LARGE: usize = 1_280;

/// How many resources `/large-create` makes before it refuses: what strangers can make must end somewhere.
const MOST_CREATED: usize = 64;

/// The largest body that is stored, in bytes.
const MOST_STORED: usize = 65_536;

/// What a resource holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// What it is.
    pub format: ContentFormat,
    /// Its bytes.
    pub body: Bytes,
}

/// The resources and what has become of them.
///
/// Resources change by requests and by [`set`](Self::set) and [`remove`](Self::remove), never by themselves.
///
/// ```
/// # use coap_sim::{Reply, plugtest::Plugtest};
/// # use coap_core::{Code, Local, Request};
/// let mut plugtest = Plugtest::new();
/// let mut request = Request::get();
/// request.options.push_uri_path("test")?;
/// let Reply::Now(response) = plugtest.handle(&Local::default(), &request) else { panic!() };
/// assert_eq!(response.code, Code::CONTENT);
/// # Ok::<(), coap_core::OptionError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plugtest {
    /// What the resources of the table hold; one that is not here does not exist at the moment.
    contents: BTreeMap<String, Held>,
    /// How many versions of anything there have been: no two have the same ETag.
    versions: u32,
    created: usize,
    runs: BTreeMap<(Code, String), u32>,
}

#[derive(Clone, Debug)]
struct Held {
    content: Content,
    version: u32,
}

impl Default for Plugtest {
    fn default() -> Self {
        Self::new()
    }
}

impl Plugtest {
    /// The paths of all resources that there are or can be.
    pub fn paths() -> impl ExactSizeIterator<Item = &'static str> {
        TABLE.iter().map(|entry| entry.path)
    }

    /// All resources as they are at the start.
    pub fn new() -> Self {
        let mut new = Self { contents: BTreeMap::new(), versions: 0, created: 0, runs: BTreeMap::new() };
        for entry in &TABLE {
            if let Some(content) = entry.start.content() {
                new.store(entry.path, content);
            }
        }
        new
    }

    /// What to do about a request that came to `local`.
    pub fn handle(&mut self, local: &Local, request: &Request) -> Reply {
        let (path, entry) = match self.route(request) {
            Ok(found) => found,
            Err(code) => return answer(code),
        };
        *self.runs.entry((request.code, path.clone())).or_default() += 1;
        let reply = self.check(&path, request).and_then(|()| match request.code {
            Code::GET => self.on_get(local, &path, request),
            Code::PUT => Ok(self.on_put(&path, request)),
            Code::POST => self.on_post(&path, request),
            _ => Ok(self.on_delete(&path, entry)),
        });
        reply.unwrap_or_else(answer)
    }

    /// With which code a request is refused whatever its content is: then there is no need to wait for it.
    pub fn refusal(&self, request: &Request) -> Option<Code> {
        self.route(request).and_then(|(path, _)| self.check(&path, request)).err()
    }

    /// What a resource holds; `None`: it is not there.
    pub fn content(&self, path: &str) -> Option<&Content> {
        self.contents.get(path).map(|held| &held.content)
    }

    /// Changes a resource, as its own application would. Without a format it keeps the one that it has.
    pub fn set(&mut self, path: &str, format: Option<ContentFormat>, body: Bytes) {
        let had = self.content(path).map(|content| content.format);
        let format = format.or(had).unwrap_or(ContentFormat::TEXT_PLAIN);
        self.store(path, Content { format, body });
    }

    /// Takes a resource away. False: it was not there.
    pub fn remove(&mut self, path: &str) -> bool {
        self.contents.remove(path).is_some()
    }

    /// How often a method of a resource was called: requests that it does not know are not counted.
    pub fn runs(&self, method: Code, path: &str) -> u32 {
        self.runs.get(&(method, path.to_owned())).copied().unwrap_or(0)
    }

    /// The version and format of a resource; `None`: it is not there.
    fn mark(&self, path: &str) -> Option<(u32, ContentFormat)> {
        self.contents.get(path).map(|held| (held.version, held.content.format))
    }

    /// What the observers of a resource are told.
    fn state(&self, path: &str) -> Option<Response> {
        self.contents.get(path).map(|held| held.response(path, &Options::new()))
    }

    /// Which resource is asked for, and that it has the method.
    fn route(&self, request: &Request) -> Result<(String, Option<&'static Entry>), Code> {
        let path = path_of(&request.options).ok_or(Code::NOT_FOUND)?;
        let entry = TABLE.iter().find(|entry| entry.path == path);
        let created = path.starts_with("/large-create/") && self.contents.contains_key(&path);
        let methods = match entry {
            Some(entry) => entry.methods,
            None if created => &[Code::GET],
            None => return Err(Code::NOT_FOUND),
        };
        match () {
            // A resource without any method is one of another scheme.
            () if methods.is_empty() => Err(Code::UNAUTHORIZED),
            () if !methods.contains(&request.code) => Err(Code::METHOD_NOT_ALLOWED),
            () => Ok((path, entry)),
        }
    }

    // ----- Methods -------------------------------------------------------------------------------------------------

    /// What is the same for all methods: the format of what was sent, and the conditions (RFC 7252 §5.10.8).
    fn check(&self, path: &str, request: &Request) -> Result<(), Code> {
        let held = self.contents.get(path);
        let options = &request.options;
        let stores = matches!(request.code, Code::PUT | Code::POST);
        if stores && !is_stored(format_of(options)) {
            return Err(Code::UNSUPPORTED_CONTENT_FORMAT);
        }
        if stores && request.body.len() > MOST_STORED {
            return Err(Code::REQUEST_ENTITY_TOO_LARGE);
        }
        let mut wanted = options.if_match().peekable();
        let fits = |tag: &[u8]| held.is_some_and(|held| tag.is_empty() || tag == held.etag().as_bytes());
        if wanted.peek().is_some() && !wanted.any(fits) {
            return Err(Code::PRECONDITION_FAILED);
        }
        if options.if_none_match() && held.is_some() {
            return Err(Code::PRECONDITION_FAILED);
        }
        Ok(())
    }

    fn on_get(&self, local: &Local, path: &str, request: &Request) -> Result<Reply, Code> {
        let options = &request.options;
        let response = match path {
            "/.well-known/core" => return self.discover(local, options),
            "/query" => Response::content(ContentFormat::TEXT_PLAIN, query_of(options)),
            "/multi-format" if options.accept() == Some(ContentFormat::XML) => {
                return Ok(Response::content(ContentFormat::XML, "<plain/>").into());
            }
            "/large-create" => Response::content(ContentFormat::LINK_FORMAT, self.created()),
            _ => self.contents.get(path).ok_or(Code::NOT_FOUND)?.response(path, options),
        };
        let format = response.options.content_format();
        if options.accept().is_some_and(|wanted| format.is_some() && format != Some(wanted)) {
            return Err(Code::NOT_ACCEPTABLE);
        }
        Ok(at_its_pace(path, response))
    }

    fn on_put(&mut self, path: &str, request: &Request) -> Reply {
        let code = if self.contents.contains_key(path) { Code::CHANGED } else { Code::CREATED };
        let etag = self.store(path, Content { format: format_of(&request.options), body: body_of(request) });
        let mut response = Response::new(code);
        match path {
            "/validate" | "/create3" => response.options.push_etag(&etag),
            "/create2" => push_location(&mut response.options, &["location1", "location2", "location3"]),
            _ => {}
        }
        at_its_pace(path, response)
    }

    fn on_post(&mut self, path: &str, request: &Request) -> Result<Reply, Code> {
        let content = Content { format: format_of(&request.options), body: body_of(request) };
        let mut response = Response::new(Code::CREATED);
        match path {
            "/test" => {
                self.store(path, content);
                push_location(&mut response.options, &["location1", "location2", "location3"]);
            }
            // One of the tests changes it so, and another with PUT.
            "/obs" | "/obs-non" => {
                self.store(path, content);
                response = Response::new(Code::CHANGED);
            }
            "/location-query" => {
                for argument in ["first=1", "second=2"] {
                    // Both are short enough for any option.
                    let _ = response.options.push_location_query(argument);
                }
            }
            "/large-create" => {
                if self.created >= MOST_CREATED {
                    return Err(Code::FORBIDDEN);
                }
                self.created += 1;
                let name = self.created.to_string();
                self.store(&format!("/large-create/{name}"), content);
                push_location(&mut response.options, &["large-create", &name]);
            }
            "/large-post" => {
                response = Response::new(Code::CHANGED).with_content(ContentFormat::TEXT_PLAIN, large_text());
            }
            _ => response = Response::new(Code::CHANGED),
        }
        Ok(at_its_pace(path, response))
    }

    fn on_delete(&mut self, path: &str, entry: Option<&Entry>) -> Reply {
        self.remove(path);
        // The tests come in any order, and all of them want this one.
        if let Some(content) = entry.filter(|_| path == "/test").and_then(|entry| entry.start.content()) {
            self.store(path, content);
        }
        Response::new(Code::DELETED).into()
    }

    /// RFC 6690 §4: all links, or those that the filters let through.
    fn discover(&self, local: &Local, options: &Options) -> Result<Reply, Code> {
        if options.accept().is_some_and(|wanted| wanted != ContentFormat::LINK_FORMAT) {
            return Err(Code::NOT_ACCEPTABLE);
        }
        let filter = Filter::new(options.uri_query()).map_err(|_| Code::BAD_REQUEST)?;
        let listed = TABLE.iter().filter(|entry| entry.listing == Listing::Listed);
        let listed: Vec<_> = listed.map(|entry| format!("<{}>{}", entry.path, entry.attributes)).collect();
        let links = listed.iter().flat_map(|link| link_format::links(link).flatten());
        let text = link_format::document(links.filter(|link| filter.matches(link)));
        if text.is_empty() && local.group.is_some() {
            return Ok(Reply::Never);
        }
        Ok(Response::content(ContentFormat::LINK_FORMAT, text).into())
    }

    // ----- Contents ------------------------------------------------------------------------------------------------

    fn store(&mut self, path: &str, content: Content) -> ETag {
        self.versions += 1;
        let held = Held { content, version: self.versions };
        let etag = held.etag();
        self.contents.insert(path.to_owned(), held);
        etag
    }

    fn created(&self) -> String {
        let paths = self.contents.keys().filter(|path| path.starts_with("/large-create/"));
        paths.map(|path| format!("<{path}>")).collect::<Vec<_>>().join(",")
    }
}

impl Held {
    fn etag(&self) -> ETag {
        // unwrap: four bytes are a length that an ETag may have.
        ETag::new(&self.version.to_be_bytes()).unwrap_or_else(|| unreachable!("an ETag has 1 to 8 bytes"))
    }

    fn response(&self, path: &str, asked: &Options) -> Response {
        let mut response = Response::content(self.content.format, self.content.body.clone());
        match path {
            "/validate" => {
                let etag = self.etag();
                if asked.etags().any(|known| known == etag) {
                    response = Response::new(Code::VALID);
                }
                response.options.push_etag(&etag);
                response.options.set_max_age(30);
            }
            "/obs" | "/obs-non" => response.options.set_max_age(5),
            _ => {}
        }
        response
    }
}

/// `None`: no path that anything here could have.
fn path_of(options: &Options) -> Option<String> {
    let mut path = String::new();
    for segment in options.uri_path() {
        let segment = core::str::from_utf8(segment).ok().filter(|segment| !segment.contains('/'))?;
        path.push('/');
        path.push_str(segment);
    }
    Some(path)
}

fn query_of(options: &Options) -> String {
    options.uri_query().map(String::from_utf8_lossy).collect::<Vec<_>>().join("&")
}

/// What has no Content-Format is taken for bytes without meaning.
fn format_of(options: &Options) -> ContentFormat {
    options.content_format().unwrap_or(ContentFormat::OCTET_STREAM)
}

fn is_stored(format: ContentFormat) -> bool {
    [
        ContentFormat::TEXT_PLAIN,
        ContentFormat::LINK_FORMAT,
        ContentFormat::XML,
        ContentFormat::OCTET_STREAM,
        ContentFormat::JSON,
        ContentFormat::CBOR,
    ]
    .contains(&format)
}

/// Copied, because the body shares the datagram, and a resource lives long.
fn body_of(request: &Request) -> Bytes {
    Bytes::copy_from_slice(request.body.as_bytes())
}

fn push_location(options: &mut Options, segments: &[&str]) {
    for segment in segments {
        // They are ours, and short enough for any option.
        let _ = options.push_location_path(segment);
    }
}

fn large_text() -> String {
    "0123456789abcdef".repeat(LARGE / 16)
}

fn at_its_pace(path: &str, response: Response) -> Reply {
    match path {
        "/separate" | "/large-separate" => Reply::After(SLOW, response),
        _ => Reply::Now(response),
    }
}

fn answer(code: Code) -> Reply {
    Response::new(code).into()
}

#[cfg(test)]
mod tests;
