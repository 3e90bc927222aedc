use std::sync::{Arc, Mutex};

use coap_core::{ContentFormat, ETag};

use super::super::tests::{ask, request};
use super::super::{Accept, MaxAge, Path, RouteError, Router, State, get, put};
use super::*;

/// A text that may be there.
type Store = Arc<Mutex<Option<String>>>;

async fn read(State(store): State<Store>) -> Option<String> {
    store.lock().unwrap().clone()
}

async fn write(State(store): State<Store>, text: String) -> Code {
    let created = store.lock().unwrap().replace(text).is_none();
    if created { Code::CREATED } else { Code::CHANGED }
}

async fn delete(State(store): State<Store>) {
    store.lock().unwrap().take();
}

fn router(store: &Store) -> Router {
    Router::new().route("/a", get(read).etags().put(write).delete(delete)).with_state(store.clone())
}

fn with(method: Code, options: &[(OptionNumber, &[u8])]) -> Request {
    let mut wanted = request(method, &["a"]);
    for (number, value) in options {
        wanted.options.push(*number, value).unwrap();
    }
    wanted.with_body("new")
}

#[test]
fn a_get_that_names_the_current_tag_is_told_that_it_is_valid() {
    async fn given() -> (MaxAge, (ETag, &'static str)) {
        (MaxAge(9), (ETag::new(b"v2").unwrap(), "state"))
    }
    let router: Router = Router::new().route("/a", get(given));
    let asked = |tags: &[&[u8]]| {
        let tags: Vec<_> = tags.iter().map(|tag| (OptionNumber::ETAG, *tag)).collect();
        ask(&router, &with(Code::GET, &tags))
    };
    let valid = asked(&[b"v1", b"v2"]);
    assert_eq!((valid.code, valid.options.etag(), valid.body.len()), (Code::VALID, ETag::new(b"v2"), 0));
    assert_eq!((valid.options.max_age(), valid.options.content_format()), (Some(9), None));
    assert_eq!(asked(&[b"v1"]).code, Code::CONTENT);
    assert_eq!(asked(&[]).body.as_bytes(), b"state");
}

#[test]
fn a_route_makes_tags_from_its_content() {
    let store = Store::default();
    let router = router(&store);
    assert_eq!(ask(&router, &with(Code::GET, &[])).code, Code::NOT_FOUND);
    *store.lock().unwrap() = Some("one".to_owned());
    let tag = ask(&router, &with(Code::GET, &[])).options.etag().unwrap();
    assert_eq!(ask(&router, &with(Code::GET, &[(OptionNumber::ETAG, tag.as_bytes())])).code, Code::VALID);
    *store.lock().unwrap() = Some("two".to_owned());
    let changed = ask(&router, &with(Code::GET, &[(OptionNumber::ETAG, tag.as_bytes())]));
    assert_eq!((changed.code, changed.body.as_bytes()), (Code::CONTENT, &b"two"[..]));
    assert_ne!(changed.options.etag(), Some(tag));
}

#[test]
fn if_none_match_creates_and_does_not_replace() {
    let store = Store::default();
    let router = router(&store);
    let create = with(Code::PUT, &[(OptionNumber::IF_NONE_MATCH, b"")]);
    assert_eq!(ask(&router, &create).code, Code::CREATED);
    *store.lock().unwrap() = Some("old".to_owned());
    assert_eq!(ask(&router, &create).code, Code::PRECONDITION_FAILED);
    assert_eq!(store.lock().unwrap().as_deref(), Some("old"));
}

#[test]
fn if_match_replaces_what_the_peer_knows_and_nothing_else() {
    let store = Store::default();
    let router = router(&store);
    let any = [(OptionNumber::IF_MATCH, &b""[..])];
    assert_eq!(ask(&router, &with(Code::PUT, &any)).code, Code::PRECONDITION_FAILED);
    assert_eq!(*store.lock().unwrap(), None);
    *store.lock().unwrap() = Some("old".to_owned());
    let tag = ask(&router, &with(Code::GET, &[])).options.etag().unwrap();
    let wrong = [(OptionNumber::IF_MATCH, &b"x"[..])];
    assert_eq!(ask(&router, &with(Code::DELETE, &wrong)).code, Code::PRECONDITION_FAILED);
    assert_eq!(store.lock().unwrap().as_deref(), Some("old"));
    let right = [wrong[0], (OptionNumber::IF_MATCH, tag.as_bytes())];
    assert_eq!(ask(&router, &with(Code::PUT, &right)).code, Code::CHANGED);
    assert_eq!(store.lock().unwrap().as_deref(), Some("new"));
    assert_eq!(ask(&router, &with(Code::PUT, &right)).code, Code::PRECONDITION_FAILED);
    assert_eq!(ask(&router, &with(Code::DELETE, &any)).code, Code::DELETED);
}

/// RFC 7252 §5.10.8.1: the tag may be that of any of the representations.
#[test]
fn if_match_knows_the_tags_of_all_representations() {
    async fn text(State(store): State<Store>) -> Option<String> {
        store.lock().unwrap().clone()
    }
    async fn others(State(store): State<Store>, Accept(format): Accept) -> Option<(ContentFormat, String)> {
        let format = format.unwrap_or(ContentFormat::JSON);
        store.lock().unwrap().as_ref().map(|text| (format, format!("{text} in {format}")))
    }
    let formats = [ContentFormat::TEXT_PLAIN, ContentFormat::JSON, ContentFormat::XML];
    let reads = get(text).produces([formats[0]]).get(others).produces([formats[1], formats[2]]).etags();
    let store = Store::default();
    let router: Router = Router::new().route("/a", reads.put(write)).with_state(store.clone());
    let put = |tag: &[u8]| ask(&router, &with(Code::PUT, &[(OptionNumber::IF_MATCH, tag)])).code;
    for format in formats {
        *store.lock().unwrap() = Some("old".to_owned());
        let mut read = with(Code::GET, &[]);
        read.options.set_accept(format);
        let tag = ask(&router, &read).options.etag().unwrap();
        assert_eq!(put(tag.as_bytes()), Code::CHANGED, "{format}");
        assert_eq!(put(tag.as_bytes()), Code::PRECONDITION_FAILED, "{format}");
    }
    store.lock().unwrap().take();
    assert_eq!(put(b""), Code::PRECONDITION_FAILED);
}

#[test]
fn conditions_keep_the_open_parts_of_a_path() {
    async fn none() -> Code {
        Code::NOT_FOUND
    }
    async fn echo(Path((room, lamp)): Path<(String, u8)>, content: String) -> String {
        format!("{room} {lamp} {content}")
    }
    let router: Router = Router::new().nest("/at", Router::new().route("/{room}/{lamp}", get(none).put(echo)));
    let mut create = request(Code::PUT, &["at", "hall", "3"]).with_body("on");
    create.options.push(OptionNumber::IF_NONE_MATCH, &[]).unwrap();
    assert_eq!(ask(&router, &create).body.as_bytes(), b"hall 3 on");
    let mut wrong = request(Code::PUT, &["at", "hall", "x"]).with_body("on");
    wrong.options.push(OptionNumber::IF_NONE_MATCH, &[]).unwrap();
    assert_eq!(ask(&router, &wrong).code, Code::BAD_REQUEST);
}

/// Also of a handler that acts when it is called, and not when its future is awaited.
#[test]
fn nothing_is_done_before_the_conditions_are_seen_to() {
    let store = Arc::new(Mutex::new(Some("old".to_owned())));
    let at_once = |State(store): State<Store>, text: String| {
        *store.lock().unwrap() = Some(text);
        core::future::ready(Code::CHANGED)
    };
    let router: Router = Router::new().route("/a", get(read).put(at_once)).with_state(store.clone());
    let create = with(Code::PUT, &[(OptionNumber::IF_NONE_MATCH, b"")]);
    assert_eq!(ask(&router, &create).code, Code::PRECONDITION_FAILED);
    assert_eq!(store.lock().unwrap().as_deref(), Some("old"));
}

#[test]
fn representations_of_the_same_bytes_in_two_formats_have_two_tags() {
    async fn number(Accept(format): Accept) -> (ContentFormat, &'static str) {
        (format.unwrap_or(ContentFormat::TEXT_PLAIN), "5")
    }
    let router: Router = Router::new().route("/a", get(number).etags());
    let tag = ask(&router, &with(Code::GET, &[])).options.etag().unwrap();
    let mut json = with(Code::GET, &[(OptionNumber::ETAG, tag.as_bytes())]);
    json.options.set_accept(ContentFormat::JSON);
    let answer = ask(&router, &json);
    assert_eq!((answer.code, answer.options.content_format()), (Code::CONTENT, Some(ContentFormat::JSON)));
}

#[test]
fn conditions_on_what_may_not_be_seen_or_has_no_tag() {
    async fn secret() -> Code {
        Code::FORBIDDEN
    }
    async fn untagged() -> &'static str {
        "x"
    }
    let ask = |read: super::super::MethodRouter, options: &[(OptionNumber, &[u8])]| {
        ask(&Router::new().route("/a", read.put(untagged)), &with(Code::PUT, options)).code
    };
    assert_eq!(ask(get(secret), &[(OptionNumber::IF_NONE_MATCH, b"")]), Code::FORBIDDEN);
    assert_eq!(ask(get(untagged), &[(OptionNumber::IF_MATCH, b"")]), Code::CHANGED);
    assert_eq!(ask(get(untagged), &[(OptionNumber::IF_MATCH, b"v1")]), Code::PRECONDITION_FAILED);
    assert_eq!(ask(get(untagged), &[(OptionNumber::IF_NONE_MATCH, b"")]), Code::PRECONDITION_FAILED);
}

#[test]
fn of_several_handlers_the_formats_decide() {
    async fn text() -> &'static str {
        "text"
    }
    async fn json() -> (ContentFormat, &'static str) {
        (ContentFormat::JSON, "json")
    }
    async fn from_cbor() -> (Code, &'static str) {
        (Code::CHANGED, "cbor")
    }
    let (plain, cbor) = ([ContentFormat::TEXT_PLAIN], [ContentFormat::CBOR]);
    let methods = get(text).produces(plain).get(json).produces([ContentFormat::JSON]);
    let methods = methods.put(text).consumes(plain).put(from_cbor).consumes(cbor);
    let router: Router = Router::new().route("/a", methods);
    router.check().unwrap();
    let get = |accept: Option<ContentFormat>| {
        let mut wanted = request(Code::GET, &["a"]);
        if let Some(accept) = accept {
            wanted.options.set_accept(accept);
        }
        ask(&router, &wanted)
    };
    assert_eq!(get(None).body.as_bytes(), b"text");
    assert_eq!(get(Some(ContentFormat::TEXT_PLAIN)).body.as_bytes(), b"text");
    assert_eq!(get(Some(ContentFormat::JSON)).body.as_bytes(), b"json");
    let refused = get(Some(ContentFormat::CBOR));
    assert_eq!(refused.code, Code::NOT_ACCEPTABLE);
    let names = core::str::from_utf8(refused.body.as_bytes()).unwrap();
    assert!(names.contains("text/plain") && names.contains("application/json"), "{names}");
    let put_in = |format| {
        let mut wanted = request(Code::PUT, &["a"]);
        wanted.options.set_content_format(format);
        ask(&router, &wanted)
    };
    assert_eq!(put_in(ContentFormat::CBOR).body.as_bytes(), b"cbor");
    assert_eq!(put_in(ContentFormat::JSON).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    // Which of these should answer?
    for unclear in [
        put(text).put(text),
        put(text).consumes(plain).put(text),
        put(text).consumes(plain).put(text).consumes([ContentFormat::JSON, ContentFormat::TEXT_PLAIN]),
    ] {
        let router: Router = Router::new().route("/a", unclear);
        assert_eq!(router.check(), Err(&RouteError::MethodTwice { pattern: "/a".into(), method: Code::PUT }));
    }
}
