//! Resources that hold what was put there.

use core::future::ready;
use core::hash::BuildHasher;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use coap_core::link_format::{self, Link};
use coap_core::{Code, ContentFormat, ETag};
use coap_driver::router::{
    Answer, Created, IntoResponse, KnownETags, MethodRouter, Path, Payload, Preconditions, State, get,
};

use super::{MAX_AGE, Plugtest, Shared, answer, format_or_bytes, push_location, text};

/// How many resources `/large-create` keeps: 4 MiB with the longest content that the server takes. The oldest goes then, so
/// that a server that runs for years goes on creating.
const MOST_CREATED: usize = 64;

/// What a resource holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held {
    format: ContentFormat,
    content: Bytes,
    /// Somebody put it: it is described.
    is_put: bool,
}

#[derive(Debug)]
pub(super) struct Stored {
    inner: Mutex<Inner>,
    /// Entity-tags are hashes of the content, with keys of this run.
    hash: RandomState,
}

#[derive(Debug, Default)]
struct Inner {
    held: BTreeMap<&'static str, Held>,
    created: BTreeMap<u64, Held>,
    numbers: u64,
}

impl Stored {
    pub(super) fn new() -> Self {
        let held = ["large-update", "validate"].into_iter().filter_map(|name| Some((name, start(name)?)));
        let inner = Inner { held: held.collect(), ..Inner::default() };
        Self { inner: Mutex::new(inner), hash: RandomState::new() }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.lock().held.contains_key(name)
    }

    /// The link with the format and the size of what was put, if it is to one of these.
    pub(super) fn describe(&self, link: Link<'static>) -> Link<'static> {
        let inner = self.lock();
        let held = link.target().strip_prefix('/').and_then(|name| inner.held.get(name));
        match held.filter(|held| held.is_put) {
            Some(held) => described(link, held),
            None => link,
        }
    }

    /// Nothing that could panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tag(&self, held: &Held) -> Option<ETag> {
        ETag::new(&self.hash.hash_one((held.format, &held.content)).to_be_bytes())
    }

    fn read(&self, name: &str, known: &KnownETags) -> Option<Answer> {
        let held = self.lock().held.get(name).cloned()?;
        let etag = self.tag(&held)?;
        let code = if known.contains(&etag) { Code::VALID } else { Code::CONTENT };
        let answer = answer(code, |options| {
            options.push_etag(&etag);
            if name == "validate" {
                options.set_max_age(MAX_AGE);
            }
        });
        Some(if code == Code::VALID { answer } else { answer.with_content(held.format, held.content) })
    }

    fn write(&self, name: &'static str, conditions: &Preconditions, held: Held) -> Result<Answer, Code> {
        let mut inner = self.lock();
        let old = inner.held.get(name);
        conditions.check(old.and_then(|old| self.tag(old)).as_ref())?;
        let code = if old.is_some() { Code::CHANGED } else { Code::CREATED };
        let etag = self.tag(&held).filter(|_| matches!(name, "validate" | "create3"));
        inner.held.insert(name, held);
        Ok(answer(code, |options| {
            if let Some(etag) = etag {
                options.push_etag(&etag);
            }
            if name == "create2" {
                push_location(options);
            }
        }))
    }

    /// What was there at the start is there again.
    fn remove(&self, name: &'static str, conditions: &Preconditions) -> Result<(), Code> {
        let mut inner = self.lock();
        conditions.check(inner.held.get(name).and_then(|old| self.tag(old)).as_ref())?;
        match start(name) {
            Some(held) => inner.held.insert(name, held),
            None => inner.held.remove(name),
        };
        Ok(())
    }
}

fn start(name: &str) -> Option<Held> {
    let text = match name {
        "large-update" => text::large(),
        "validate" => "It has an entity-tag, and changes when it is put.".to_owned(),
        _ => return None,
    };
    Some(Held { format: ContentFormat::TEXT_PLAIN, content: text.into(), is_put: false })
}

fn described(link: Link<'static>, held: &Held) -> Link<'static> {
    link.with_content_format(held.format).with_size(held.content.len() as u64)
}

// ----- Handlers ------------------------------------------------------------------------------------------------------

type Route = MethodRouter<Arc<Plugtest>>;

/// GET, PUT and DELETE.
pub(super) fn stored(name: &'static str) -> Route {
    with_delete(name, with_put(name, readable(name)))
}

/// GET and PUT.
pub(super) fn replaceable(name: &'static str) -> Route {
    with_put(name, readable(name))
}

/// PUT and DELETE.
pub(super) fn creatable(name: &'static str) -> Route {
    with_delete(name, with_put(name, Route::new()))
}

fn readable(name: &'static str) -> Route {
    get(move |State(plugtest): Shared, known: KnownETags| ready(plugtest.stored.read(name, &known)))
}

fn with_put(name: &'static str, route: Route) -> Route {
    let write = move |State(plugtest): Shared, conditions, format, Payload(content)| {
        let conditions: Preconditions = conditions;
        ready(plugtest.stored.write(name, &conditions, held(format, content)))
    };
    route.put(write)
}

fn with_delete(name: &'static str, route: Route) -> Route {
    route.delete(move |State(plugtest): Shared, conditions: Preconditions| {
        ready(plugtest.stored.remove(name, &conditions))
    })
}

fn held(format: Option<ContentFormat>, content: Bytes) -> Held {
    Held { format: format_or_bytes(format), content, is_put: true }
}

pub(super) async fn create(
    State(plugtest): Shared,
    format: Option<ContentFormat>,
    Payload(content): Payload,
) -> impl IntoResponse {
    let mut inner = plugtest.stored.lock();
    if inner.created.len() >= MOST_CREATED {
        inner.created.pop_first();
    }
    inner.numbers += 1;
    let number = inner.numbers;
    inner.created.insert(number, held(format, content));
    Created::at(["large-create", &number.to_string()])
}

pub(super) async fn list_created(State(plugtest): Shared) -> impl IntoResponse {
    let inner = plugtest.stored.lock();
    let links = inner.created.iter().filter_map(|(number, held)| {
        let link = Link::to_path(["large-create", &number.to_string()]).ok()?;
        Some(described(link, held))
    });
    (ContentFormat::LINK_FORMAT, link_format::document(links))
}

pub(super) async fn read_created(State(plugtest): Shared, Path(number): Path<String>) -> Option<Answer> {
    let inner = plugtest.stored.lock();
    let held = inner.created.get(&parse(&number)?)?;
    Some(Answer::new(Code::CONTENT).with_content(held.format, held.content.clone()))
}

pub(super) async fn delete_created(State(plugtest): Shared, Path(number): Path<String>) {
    if let Some(number) = parse(&number) {
        plugtest.stored.lock().created.remove(&number);
    }
}

/// A name that was given out: `01` was not.
fn parse(name: &str) -> Option<u64> {
    name.parse().ok().filter(|number: &u64| number.to_string() == name)
}
