//! Resources that peers observe.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use coap_core::{Block, Code, ContentFormat, ETag, Message, OptionNumber, Type};
use coap_driver::router::{BodyReader, KnownETags, Path, Resource, Router, State, fetch, get};
use coap_sim::Host;

use crate::peer::{Peer, Stage, empty, ms, secs};

/// A value that handlers read and tests change, and how often it was read.
#[derive(Clone, Default)]
struct Value {
    text: Arc<Mutex<String>>,
    reads: Arc<AtomicUsize>,
    resource: Resource,
}

impl Value {
    fn new(text: &str) -> Self {
        let value = Self::default();
        value.text.lock().unwrap().push_str(text);
        value
    }

    fn set(&self, text: &str) {
        *self.text.lock().unwrap() = text.to_owned();
        self.resource.changed();
    }

    fn reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }

    fn router(&self) -> Router {
        Router::new().route("/value", get(read).observable(&self.resource)).with_state(self.clone())
    }
}

async fn read(State(value): State<Value>) -> Result<String, Code> {
    value.reads.fetch_add(1, Ordering::Relaxed);
    let text = value.text.lock().unwrap().clone();
    if text.is_empty() { Err(Code::NOT_FOUND) } else { Ok(text) }
}

/// A peer that observes `/value`, and its registration.
fn observed(value: &Value) -> (Stage, Message) {
    let mut stage = Stage::new(|_| value.router());
    let registration = stage.peer.observe("value");
    let first = stage.ask(registration.clone());
    assert!(first.options.observe().is_some() && first.code == Code::CONTENT);
    value.reads();
    (stage, registration)
}

fn told(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).collect()
}

#[test]
fn a_change_is_told() {
    let value = Value::new("one");
    let (mut stage, registration) = observed(&value);
    assert_eq!(value.resource.observers(), 1);
    value.set("two");
    let notification = stage.response_to(&registration.token);
    assert_eq!(
        (notification.kind, notification.code, &notification.payload[..]),
        (Type::Confirmable, Code::CONTENT, &b"two"[..])
    );
    assert!(notification.options.observe().is_some());
    assert_eq!(notification.options.content_format(), Some(ContentFormat::TEXT_PLAIN));
    assert_eq!(value.reads(), 1);
    // And no more.
    assert!(stage.heard_within(secs(60)).is_empty());
}

#[test]
fn several_changes_at_once_are_one_notification_of_the_last() {
    let value = Value::new("one");
    let (mut stage, _) = observed(&value);
    for number in 0..1_000 {
        value.set(&number.to_string());
    }
    assert_eq!(told(&stage.heard_within(secs(10))), ["999"]);
    assert_eq!(value.reads(), 1);
}

#[test]
fn all_observers_of_one_request_are_told_of_one_call() {
    let value = Value::new("one");
    let (mut stage, _) = observed(&value);
    let others: Vec<_> = (0..5).map(|_| stage.peer.observe("value")).collect();
    for other in others {
        stage.ask(other);
    }
    assert_eq!((value.resource.observers(), value.reads()), (6, 5));
    value.set("two");
    assert_eq!(told(&stage.heard_within(secs(10))), ["two"; 6]);
    assert_eq!(value.reads(), 1);
}

#[test]
fn what_is_not_observable_is_answered_and_no_more() {
    let value = Value::new("one");
    let mut stage = Stage::new(|_| Router::new().route("/value", get(read)).with_state(value.clone()));
    let registration = stage.peer.observe("value");
    let reply = stage.ask(registration);
    assert_eq!((reply.code, reply.options.observe()), (Code::CONTENT, None));
    assert_eq!(value.resource.observers(), 0);
}

#[test]
fn an_error_is_not_observed() {
    let value = Value::new("");
    let mut stage = Stage::new(|_| value.router());
    let registration = stage.peer.observe("value");
    let reply = stage.ask(registration);
    assert_eq!((reply.code, reply.options.observe()), (Code::NOT_FOUND, None));
    assert_eq!(value.resource.observers(), 0);
    value.set("there");
    assert!(stage.heard_within(secs(5)).is_empty());
}

#[test]
fn an_error_of_the_handler_is_told_and_ends_the_observation() {
    let value = Value::new("one");
    let (mut stage, registration) = observed(&value);
    value.set("");
    let last = stage.response_to(&registration.token);
    assert_eq!((last.code, last.options.observe()), (Code::NOT_FOUND, None));
    assert_eq!(value.resource.observers(), 0);
    value.set("again");
    assert!(stage.heard_within(secs(5)).is_empty());
    // Whoever asks again is told again.
    let anew = stage.peer.observe("value");
    stage.ask(anew.clone());
    value.set("more");
    assert_eq!(stage.response_to(&anew.token).payload, &b"more"[..]);
}

#[test]
fn a_resource_that_is_removed_is_4_04_for_its_observers() {
    let value = Value::new("one");
    let (mut stage, registration) = observed(&value);
    value.resource.removed();
    let last = stage.response_to(&registration.token);
    assert_eq!((last.code, last.options.observe()), (Code::NOT_FOUND, None));
    assert_eq!((value.resource.observers(), value.reads()), (0, 0));
}

#[test]
fn observers_that_are_forgotten_hear_nothing_until_they_ask_again() {
    let value = Value::new("one");
    let (mut stage, registration) = observed(&value);
    value.resource.forget_observers();
    value.set("two");
    assert!(stage.heard_within(secs(5)).is_empty());
    assert_eq!(value.resource.observers(), 0);
    let anew = stage.peer.observe("value");
    assert_eq!(stage.ask(anew.clone()).payload, &b"two"[..]);
    value.set("three");
    assert_eq!(stage.response_to(&anew.token).payload, &b"three"[..]);
    assert_ne!(anew.token, registration.token);
}

#[test]
fn a_handler_that_panics_is_5_00_for_its_observers() {
    let resource = Resource::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls;
    let handler = move || {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if call > 0 {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
            "well"
        }
    };
    let mut stage = Stage::new(|_| Router::new().route("/value", get(handler).observable(&resource)));
    let registration = stage.peer.observe("value");
    stage.ask(registration.clone());
    resource.changed();
    assert_eq!(stage.response_to(&registration.token).code, Code::INTERNAL_SERVER_ERROR);
    assert_eq!(resource.observers(), 0);
}

#[test]
fn an_observer_that_says_so_is_none_any_more() {
    let value = Value::new("one");
    // Observe 1.
    let (mut stage, registration) = observed(&value);
    let mut deregistration = stage.peer.request(Code::GET, "value");
    deregistration.token = registration.token;
    deregistration.options.set_observe(1);
    let reply = stage.ask(deregistration);
    assert_eq!((reply.code, reply.options.observe()), (Code::CONTENT, None));
    assert_eq!(value.resource.observers(), 0);
    value.set("two");
    assert!(stage.heard_within(secs(5)).is_empty());
    // Reset.
    let (mut stage, _) = observed(&value);
    value.set("three");
    stage.sim.run_for(ms(100));
    let notification = stage.sim.block_on(stage.peer.receive());
    stage.send(&empty(Type::Reset, notification.message_id));
    stage.sim.run_for(ms(100));
    assert_eq!(value.resource.observers(), 0);
    value.reads();
    value.set("four");
    assert!(stage.heard_within(secs(5)).is_empty());
    assert_eq!(value.reads(), 0);
}

#[test]
fn an_observer_that_comes_to_another_resource_with_its_token_has_left_the_first() {
    let (one, two) = (Value::new("one"), Value::new("two"));
    let router = Router::new().nest("/1", one.router()).nest("/2", two.router());
    let mut stage = Stage::new(|_| router);
    let first = stage.peer.observe("1/value");
    stage.ask(first.clone());
    let mut second = stage.peer.observe("2/value");
    second.token = first.token;
    stage.ask(second);
    assert_eq!((one.resource.observers(), two.resource.observers()), (0, 1));
    one.set("uno");
    two.set("due");
    assert_eq!(told(&stage.heard_within(secs(5))), ["due"]);
}

#[test]
fn a_change_while_the_handler_is_at_work_is_not_lost() {
    // The handler reads, and then takes a second.
    let text = Arc::new(Mutex::new("one".to_owned()));
    let resource = Resource::new();
    let slow = |host: &Host| {
        let (host, text) = (host.clone(), text.clone());
        let handler = move || {
            let (host, text) = (host.clone(), text.clone());
            async move {
                let read = text.lock().unwrap().clone();
                host.sleep(secs(1)).await;
                read
            }
        };
        Router::new().route("/value", get(handler).observable(&resource))
    };
    let mut stage = Stage::new(slow);
    let set = |to: &str| {
        *text.lock().unwrap() = to.to_owned();
        resource.changed();
    };
    // While the first answer is made: it is out of date when it is sent.
    let registration = stage.peer.observe("value");
    stage.send(&registration);
    stage.sim.run_for(ms(500));
    set("two");
    assert_eq!(stage.response_to(&registration.token).payload, &b"one"[..]);
    assert_eq!(stage.response_to(&registration.token).payload, &b"two"[..]);
    // While a later one is.
    set("three");
    stage.sim.run_for(ms(500));
    set("four");
    set("five");
    assert_eq!(told(&stage.heard_within(secs(10))), ["three", "five"]);
}

#[test]
fn a_change_may_concern_some_of_the_observers() {
    async fn lamp(Path(lamp): Path<String>) -> String {
        format!("lamp {lamp}")
    }
    let lamps = Resource::new();
    let mut stage = Stage::new(|_| Router::new().route("/lamps/{lamp}", get(lamp).observable(&lamps)));
    for path in ["lamps/1", "lamps/2", "lamps/3"] {
        let registration = stage.peer.observe(path);
        stage.ask(registration);
    }
    assert_eq!(lamps.observers(), 3);
    lamps.changed_if(|request| request.options.uri_path().nth(1) == Some(b"2"));
    assert_eq!(told(&stage.heard_within(secs(5))), ["lamp 2"]);
    lamps.changed();
    let mut all = told(&stage.heard_within(secs(5)));
    all.sort();
    assert_eq!(all, ["lamp 1", "lamp 2", "lamp 3"]);
}

#[test]
fn a_fetch_is_observed_by_what_it_asks_for() {
    async fn echo(asked: String) -> String {
        asked
    }
    let resource = Resource::new();
    let mut stage = Stage::new(|_| Router::new().route("/value", fetch(echo).observable(&resource)));
    for asked in ["a", "b"] {
        let mut registration = stage.peer.observe("value");
        registration.code = Code::FETCH;
        registration.payload = Bytes::from_static(asked.as_bytes());
        assert!(stage.ask(registration).options.observe().is_some());
    }
    resource.changed_if(|request| request.body.as_bytes() == b"b");
    assert_eq!(told(&stage.heard_within(secs(5))), ["b"]);
    // Each is kept for as long as it is observed, and so there is a limit.
    let mut long = stage.peer.observe("value");
    long.code = Code::FETCH;
    long.payload = vec![b'x'; 1_025].into();
    assert_eq!(stage.ask(long).options.observe(), None);
}

#[test]
fn a_fetch_whose_content_is_read_as_it_comes_is_not_observed() {
    async fn echo(mut asked: BodyReader) -> Vec<u8> {
        let mut all = Vec::new();
        while let Ok(Some(part)) = asked.chunk().await {
            all.extend_from_slice(&part);
        }
        all
    }
    let resource = Resource::new();
    let mut stage = Stage::new(|_| Router::new().route("/value", fetch(echo).observable(&resource)));
    // Nobody has all of it, to ask again: what would be told is the answer to another question.
    for asked in ["a", "b"] {
        let blocks = [(0, true, asked.repeat(16)), (1, false, asked.repeat(3))];
        let [more, last] = blocks.map(|(num, more, content)| {
            let mut block = stage.peer.observe("value");
            block.code = Code::FETCH;
            block.options.set_block1(Block::new(num, more, 0).unwrap());
            block.payload = content.into();
            block
        });
        assert_eq!(stage.ask(more).code, Code::CONTINUE);
        let reply = stage.ask(last);
        assert_eq!((&reply.payload[..], reply.options.observe()), (asked.repeat(19).as_bytes(), None));
    }
    resource.changed();
    assert!(stage.heard_within(secs(5)).is_empty());
    // In one datagram it is all there.
    let mut short = stage.peer.observe("value");
    short.code = Code::FETCH;
    short.payload = Bytes::from_static(b"c");
    assert!(stage.ask(short).options.observe().is_some());
    resource.changed();
    assert_eq!(told(&stage.heard_within(secs(5))), ["c"]);
}

#[test]
fn another_format_than_at_first_is_4_06() {
    let formats = Arc::new(AtomicUsize::new(0));
    let next = formats;
    let handler = move || {
        let format = ContentFormat::new(next.fetch_add(60, Ordering::Relaxed) as u16);
        async move { (format, Bytes::from_static(b"x")) }
    };
    let resource = Resource::new();
    let mut stage = Stage::new(|_| Router::new().route("/value", get(handler).observable(&resource)));
    let registration = stage.peer.observe("value");
    stage.ask(registration.clone());
    resource.changed();
    assert_eq!(stage.response_to(&registration.token).code, Code::NOT_ACCEPTABLE);
}

#[test]
fn one_resource_is_observed_on_two_servers() {
    let value = Value::new("one");
    let (mut stage, _) = observed(&value);
    let second = stage.sim.host("second");
    let bound = stage.sim.block_on(second.server("[::]:5683")).unwrap();
    let serving = stage.sim.spawn(bound.serve(value.router()));
    let host = stage.sim.host("other");
    let mut first = core::mem::replace(&mut stage.peer, Peer::new(&host, &second));
    let registration = stage.peer.observe("value");
    stage.ask(registration.clone());
    assert_eq!(value.resource.observers(), 2);
    value.set("two");
    assert_eq!(stage.response_to(&registration.token).payload, &b"two"[..]);
    assert_eq!(stage.sim.block_on(first.receive()).payload, &b"two"[..]);
    // A server that is gone has no observers.
    serving.abort();
    stage.sim.run_for(secs(1));
    assert_eq!(value.resource.observers(), 1);
}

#[test]
fn a_server_that_shuts_down_tells_its_observers() {
    let value = Value::new("one");
    let mut stage = Stage::new(|_| value.router());
    let bound = stage.sim.host("bound");
    let server = stage.sim.block_on(bound.server("[::]:5683")).unwrap();
    let shutdown = server.shutdown_handle();
    let serving = stage.sim.spawn(server.serve(value.router()));
    let host = stage.sim.host("other");
    stage.peer = Peer::new(&host, &bound);
    let registration = stage.peer.observe("value");
    stage.ask(registration.clone());
    shutdown.shutdown(secs(10));
    let last = stage.response_to(&registration.token);
    assert_eq!((last.code, last.options.observe()), (Code::SERVICE_UNAVAILABLE, None));
    assert!(stage.sim.block_on(serving).is_ok());
    assert_eq!(value.resource.observers(), 0);
}

#[test]
fn non_confirmable_notifications_are_confirmed_now_and_then() {
    let value = Value { resource: Resource::new().non_confirmable(3).min_interval(secs(1)), ..Value::new("one") };
    let (mut stage, _) = observed(&value);
    let mut kinds = Vec::new();
    for number in 0..9 {
        value.set(&number.to_string());
        kinds.extend(stage.heard_within(secs(5)).iter().map(|message| message.kind));
    }
    let confirmable = kinds.iter().filter(|kind| **kind == Type::Confirmable).count();
    assert!(kinds.len() == 9 && (3..=5).contains(&confirmable), "{kinds:?}");
}

#[test]
fn a_min_interval_leaves_out_what_is_between() {
    let value = Value { resource: Resource::new().min_interval(ms(9_700)), ..Value::new("one") };
    let (mut stage, _) = observed(&value);
    stage.sim.run_for(secs(20));
    let mut heard = Vec::new();
    for number in 0..25 {
        value.set(&number.to_string());
        heard.extend(stage.heard_within(secs(1)));
    }
    heard.extend(stage.heard_within(secs(20)));
    assert_eq!(told(&heard), ["0", "9", "19", "24"]);
}

#[test]
fn an_etag_that_the_peer_has_spares_it_the_first_state_alone() {
    let version = Arc::new(AtomicUsize::new(1));
    let current = version;
    let handler = move |known: KnownETags| {
        let version = current.load(Ordering::Relaxed);
        async move {
            let etag = ETag::new(&[version as u8]).unwrap();
            if known.contains(&etag) {
                Ok((Code::VALID, (etag, String::new())))
            } else {
                Err((etag, version.to_string()))
            }
        }
    };
    let resource = Resource::new();
    let mut stage = Stage::new(|_| Router::new().route("/value", get(handler).observable(&resource)));
    let mut registration = stage.peer.observe("value");
    registration.options.push(OptionNumber::ETAG, &[1]).unwrap();
    assert_eq!(stage.ask(registration.clone()).code, Code::VALID);
    // The next one with the same ETag is for peers who do not have it, too.
    resource.changed();
    let notification = stage.response_to(&registration.token);
    assert_eq!((notification.code, &notification.payload[..]), (Code::CONTENT, &b"1"[..]));
}
