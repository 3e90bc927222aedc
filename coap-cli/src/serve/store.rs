//! `/store`: values by name, in memory, for as long as the server runs.
//!
//! Bounded: whoever comes when it is full is told so, and what is there stays.

use core::hash::BuildHasher;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use coap_core::{Code, ContentFormat, ETag, Response};
use coap_driver::router::{
    Created, IntoResponse, KnownETags, Path, Payload, Preconditions, Resource, Router, State, get,
};

use super::link;

const MOST_VALUES: usize = 1_000;

/// Of one value.
const MOST_CONTENT: usize = 64 << 10;

/// Of all values together. With names of 255 bytes and what a map needs besides, 5 MiB at most.
const MOST_BYTES: usize = 4 << 20;

type Refusal = (Code, String);

/// GET, PUT, POST and DELETE of values, and the list of them. All can be observed.
pub(super) fn router() -> Router {
    let shelf = Arc::new(Shelf::default());
    let values = get(read).put(write).post(append).delete(remove);
    Router::new()
        .route("/", get(list).post(create).max_body(MOST_CONTENT).observable(&shelf.changes))
        .route("/{name}", values.max_body(MOST_CONTENT).observable(&shelf.changes))
        .with_state(shelf)
}

/// The values, and those who want to know when they change.
#[derive(Default)]
struct Shelf {
    store: Mutex<Store>,
    changes: Resource,
}

impl Shelf {
    /// A handler that panicked left a value whole: each change is a single insertion.
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who observe the value, and those who observe the list.
    fn announce(&self, name: &str) {
        self.changes.changed_if(|request| {
            let observed = request.options.uri_path().nth(1).unwrap_or_default();
            observed.is_empty() || observed == name.as_bytes()
        });
    }
}

type Shared = State<Arc<Shelf>>;

async fn list(State(shelf): Shared) -> impl IntoResponse {
    (ContentFormat::LINK_FORMAT, shelf.lock().list())
}

async fn create(
    State(shelf): Shared,
    format: Option<ContentFormat>,
    Payload(content): Payload,
) -> Result<impl IntoResponse, Refusal> {
    let name = shelf.lock().create(Value { format, content })?;
    shelf.announce(&name);
    Ok(Created::at(["store", &name]))
}

async fn read(State(shelf): Shared, Path(name): Path<String>, known: KnownETags) -> Option<Response> {
    shelf.lock().read(&name, |etag| known.contains(etag))
}

async fn write(
    State(shelf): Shared,
    Path(name): Path<String>,
    conditions: Preconditions,
    format: Option<ContentFormat>,
    Payload(content): Payload,
) -> Result<Code, Refusal> {
    let value = Value { format, content };
    change(&shelf, &conditions, name, |store, name| store.put(name, value))
}

async fn append(
    State(shelf): Shared,
    Path(name): Path<String>,
    conditions: Preconditions,
    format: Option<ContentFormat>,
    Payload(content): Payload,
) -> Result<Code, Refusal> {
    change(&shelf, &conditions, name, |store, name| store.append(name, format, &content))
}

async fn remove(State(shelf): Shared, Path(name): Path<String>, conditions: Preconditions) -> Result<Code, Refusal> {
    change(&shelf, &conditions, name, |store, name| {
        store.remove(&name);
        // RFC 7252 §5.8.4: what was not there is gone too.
        Ok(Code::DELETED)
    })
}

fn change(
    shelf: &Shelf,
    conditions: &Preconditions,
    name: String,
    act: impl FnOnce(&mut Store, String) -> Result<Code, Refusal>,
) -> Result<Code, Refusal> {
    let mut store = shelf.lock();
    conditions.check(store.etag(&name).as_ref()).map_err(unmet)?;
    let code = act(&mut store, name.clone())?;
    // A handler that runs for its observers takes the lock again.
    drop(store);
    shelf.announce(&name);
    Ok(code)
}

fn unmet(code: Code) -> Refusal {
    (code, String::from("the value is not in the state that the request asks for"))
}

#[derive(Default)]
struct Store {
    values: BTreeMap<String, Value>,
    /// Of all contents.
    bytes: usize,
    created: u64,
    /// Entity-tags are hashes of the content, with keys of this run: nobody can make two contents with one tag.
    hash: RandomState,
}

#[derive(Clone, Hash)]
struct Value {
    format: Option<ContentFormat>,
    content: Bytes,
}

impl Store {
    fn etag(&self, name: &str) -> Option<ETag> {
        self.values.get(name).and_then(|value| self.tag(value))
    }

    fn tag(&self, value: &Value) -> Option<ETag> {
        ETag::new(&self.hash.hash_one(value).to_be_bytes())
    }

    fn read(&self, name: &str, is_known: impl FnOnce(&ETag) -> bool) -> Option<Response> {
        let value = self.values.get(name)?;
        let etag = self.tag(value)?;
        let mut response = if is_known(&etag) {
            Response::new(Code::VALID)
        } else {
            let mut response = Response::new(Code::CONTENT).with_body(value.content.clone());
            if let Some(format) = value.format {
                response.options.set_content_format(format);
            }
            response
        };
        response.options.push_etag(&etag);
        Some(response)
    }

    fn put(&mut self, name: String, value: Value) -> Result<Code, Refusal> {
        if value.content.len() > MOST_CONTENT {
            return Err((Code::REQUEST_ENTITY_TOO_LARGE, format!("a value has {MOST_CONTENT} bytes at most")));
        }
        if name.is_empty() {
            return Err((Code::BAD_REQUEST, "the name is empty".to_owned()));
        }
        let old = self.values.get(&name);
        let bytes = self.bytes - old.map_or(0, |old| old.content.len()) + value.content.len();
        if bytes > MOST_BYTES || (old.is_none() && self.values.len() >= MOST_VALUES) {
            let text = format!("there is room for {MOST_VALUES} values of {MOST_BYTES} bytes in all: delete one");
            return Err((Code::SERVICE_UNAVAILABLE, text));
        }
        let code = if old.is_some() { Code::CHANGED } else { Code::CREATED };
        self.bytes = bytes;
        self.values.insert(name, value);
        Ok(code)
    }

    fn remove(&mut self, name: &str) {
        if let Some(old) = self.values.remove(name) {
            self.bytes -= old.content.len();
        }
    }

    fn append(&mut self, name: String, format: Option<ContentFormat>, more: &[u8]) -> Result<Code, Refusal> {
        let old = self.values.get(&name);
        let format = format.or_else(|| old.and_then(|value| value.format));
        let content = old.map_or(&[][..], |value| &value.content[..]);
        let content = Bytes::from([content, more].concat());
        self.put(name, Value { format, content })
    }

    /// Gives the value a name that is free.
    fn create(&mut self, value: Value) -> Result<String, Refusal> {
        loop {
            self.created += 1;
            let name = self.created.to_string();
            // Somebody may have put a number there: at most as often as there are values.
            if !self.values.contains_key(&name) {
                self.put(name.clone(), value)?;
                return Ok(name);
            }
        }
    }

    fn list(&self) -> String {
        let mut links = String::new();
        for (name, value) in &self.values {
            let format = value.format.map_or_else(String::new, |format| format!(";ct={}", format.number()));
            let comma = if links.is_empty() { "" } else { "," };
            let parameters = format!("{format};sz={};obs", value.content.len());
            links.push_str(&format!("{comma}{}", link(&["store", name], &parameters)));
        }
        links
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(content: &'static str) -> Value {
        Value { format: Some(ContentFormat::TEXT_PLAIN), content: content.into() }
    }

    fn put(store: &mut Store, name: &str, content: &'static str) -> Result<Code, Code> {
        store.put(name.to_owned(), value(content)).map_err(|(code, _)| code)
    }

    #[test]
    fn a_value_is_created_then_changed() {
        let mut store = Store::default();
        assert_eq!(put(&mut store, "a", "1"), Ok(Code::CREATED));
        let first = store.etag("a").unwrap();
        assert_eq!(put(&mut store, "a", "2"), Ok(Code::CHANGED));
        assert_ne!(store.etag("a").unwrap(), first);
        let response = store.read("a", |_| false).unwrap();
        assert_eq!((response.code, response.body.as_bytes()), (Code::CONTENT, &b"2"[..]));
        assert_eq!(response.options.content_format(), Some(ContentFormat::TEXT_PLAIN));
        let valid = store.read("a", |etag| response.options.etag().as_ref() == Some(etag)).unwrap();
        assert_eq!((valid.code, valid.body.is_empty()), (Code::VALID, true));
    }

    #[test]
    fn what_is_posted_is_appended_and_keeps_its_format() {
        let mut store = Store::default();
        assert!(store.append("a".to_owned(), Some(ContentFormat::JSON), b"1").is_ok());
        assert!(store.append("a".to_owned(), None, b"2").is_ok());
        assert_eq!(store.values["a"].content, "12");
        assert_eq!(store.values["a"].format, Some(ContentFormat::JSON));
        assert!(store.append("a".to_owned(), None, &[0; MOST_CONTENT]).is_err());
        assert_eq!(store.values["a"].content, "12");
    }

    #[test]
    fn a_full_store_takes_changes_and_nothing_new() {
        let mut store = Store::default();
        for index in 0..MOST_VALUES {
            assert_eq!(put(&mut store, &index.to_string(), "x"), Ok(Code::CREATED));
        }
        assert_eq!(put(&mut store, "new", "x"), Err(Code::SERVICE_UNAVAILABLE));
        assert_eq!(put(&mut store, "0", "y"), Ok(Code::CHANGED));
        assert!(store.create(value("x")).is_err());
        assert_eq!(store.values.len(), MOST_VALUES);
        store.remove("0");
        store.remove("0");
        assert_eq!(put(&mut store, "new", "x"), Ok(Code::CREATED));
        assert_eq!(store.bytes, MOST_VALUES);
    }

    #[test]
    fn all_values_together_have_a_limit() {
        let mut store = Store::default();
        let large = || Value { format: None, content: vec![0; MOST_CONTENT].into() };
        let fit = MOST_BYTES / MOST_CONTENT;
        for index in 0..fit {
            assert_eq!(store.put(index.to_string(), large()), Ok(Code::CREATED));
        }
        assert_eq!(put(&mut store, "new", "x"), Err(Code::SERVICE_UNAVAILABLE));
        assert_eq!(store.put("0".to_owned(), large()), Ok(Code::CHANGED));
        assert_eq!(put(&mut store, "0", "x"), Ok(Code::CHANGED));
        assert_eq!(put(&mut store, "new", "x"), Ok(Code::CREATED));
        assert_eq!(store.bytes, MOST_BYTES - MOST_CONTENT + 2);
    }

    #[test]
    fn a_created_value_has_a_name_that_was_free() {
        let mut store = Store::default();
        put(&mut store, "1", "x").unwrap();
        assert_eq!(store.create(value("y")).unwrap(), "2");
        assert_eq!(store.list(), "</store/1>;ct=0;sz=1;obs,</store/2>;ct=0;sz=1;obs");
    }

    #[test]
    fn a_value_has_a_name_and_a_limit() {
        let mut store = Store::default();
        assert_eq!(put(&mut store, "", "x"), Err(Code::BAD_REQUEST));
        let large = Value { format: None, content: vec![0; MOST_CONTENT + 1].into() };
        assert_eq!(store.put("a".to_owned(), large).unwrap_err().0, Code::REQUEST_ENTITY_TOO_LARGE);
        assert!(store.values.is_empty());
    }
}
