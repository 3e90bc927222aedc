//! MTH: methods and what is answered to them (RFC 7252 §5.8, §5.9; RFC 8132, 8516).

use std::sync::{Arc, Mutex};

use coap_core::{Code, Config, ContentFormat, Message, Request, RequestError, RequestOptions, Type};
use coap_driver::router::{Payload, Router, State, fetch, ipatch};
use hex_literal::hex;

use crate::rig::{Rig, answer_of, con, encode, ms, path, peer, secs, to_test};

#[test]
fn mth_01_an_unknown_method_is_4_05_on_the_acknowledgement() {
    for method in 8..=31 {
        let mut rig = Rig::serving();
        let reply = rig.ask(&to_test(Code::from_byte(method), 0x1234, &[]));
        assert_eq!((reply.kind, reply.message_id), (Type::Acknowledgement, 0x1234));
        assert_eq!(reply.code, Code::METHOD_NOT_ALLOWED, "0.{method:02}");
        // And so says a router, whatever the path.
        let request = Request::new(Code::from_byte(method)).with_options(path(&["nowhere"]));
        assert_eq!(answer_of(&Router::new(), &request).code, Code::METHOD_NOT_ALLOWED);
    }
}

#[test]
fn mth_03_a_method_that_a_resource_does_not_have_is_4_05() {
    let mut rig = Rig::serving();
    // DELETE and PUT /query, which has GET alone.
    assert_eq!(rig.ask(&hex!("41 04 1234 0b b5 7175657279")).code, Code::METHOD_NOT_ALLOWED);
    assert_eq!(rig.ask(&hex!("41 03 1235 0b b5 7175657279 ff 78")).code, Code::METHOD_NOT_ALLOWED);
    assert_eq!((rig.runs(Code::DELETE, "/query"), rig.runs(Code::PUT, "/query")), (0, 0));
}

#[test]
fn mth_05_the_payload_of_a_get_is_ignored() {
    let mut rig = Rig::serving();
    let before = rig.content("/test");
    let plain = rig.ask(&hex!("41 01 1234 0b b4 74657374"));
    let loaded = rig.ask(&hex!("41 01 1235 0b b4 74657374 ff 78"));
    assert_eq!((loaded.code, &loaded.payload), (Code::CONTENT, &plain.payload));
    assert_eq!(rig.content("/test"), before);
}

#[test]
fn mth_07_a_post_that_creates_says_where() {
    let mut rig = Rig::serving();
    let created = rig.ask(&hex!("41 02 1234 0b b4 74657374 ff 78"));
    let location: Vec<_> = created.options.location_path().collect();
    assert_eq!((created.code, &location[..]), (Code::CREATED, &[&b"location1"[..], b"location2", b"location3"][..]));
    assert!(location.iter().all(|segment| *segment != b"." && *segment != b".."));
    // POST /location-query
    let created = rig.ask(&hex!("41 02 1235 0b bd 01 6c6f636174696f6e2d7175657279"));
    let location: Vec<_> = created.options.location_query().collect();
    assert_eq!((created.code, &location[..]), (Code::CREATED, &[&b"first=1"[..], b"second=2"][..]));
}

#[test]
fn mth_08_a_put_changes_creates_or_is_an_error() {
    let mut rig = Rig::serving();
    assert_eq!(rig.ask(&to_test(Code::PUT, 0x1234, &[])).code, Code::CHANGED);
    // /create1 is not there at first.
    assert_eq!(rig.ask(&hex!("41 03 1235 0b b7 63726561746531 ff 78")).code, Code::CREATED);
    assert_eq!(rig.ask(&hex!("41 03 1236 0b b7 63726561746531 ff 79")).code, Code::CHANGED);
    assert_eq!(rig.content("/create1").unwrap(), "y");
    // In a format that nobody reads; and where nothing can be put.
    assert_eq!(rig.ask(&hex!("41 03 1237 0b b4 74657374 12 270f ff 78")).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(rig.ask(&hex!("41 03 1238 0b b3 6e6f6e ff 78")).code, Code::NOT_FOUND);
}

#[test]
fn mth_09_a_delete_of_what_is_not_there_is_2_02() {
    let mut rig = Rig::serving();
    assert_eq!(rig.content("/create1"), None);
    assert_eq!(rig.ask(&hex!("41 04 1234 0b b7 63726561746531")).code, Code::DELETED);
}

#[test]
fn mth_12_the_payload_of_an_error_is_text_without_a_format_or_nothing() {
    let errors = |datagrams: &[&[u8]]| -> Vec<Message> {
        let mut rig = Rig::serving();
        datagrams.iter().map(|datagram| rig.ask(datagram)).collect()
    };
    let all = errors(&[
        // An unknown critical option, a proxy, nothing there, no such method, an unknown format.
        &hex!("41 01 1234 0b b4 74657374 e2 fcd1 7a7a"),
        &hex!("41 01 1235 0b dd 16 07 636f61703a2f2f6578616d706c652e6e65742f78"),
        &hex!("41 01 1236 0b b3 6e6f6e"),
        &hex!("41 04 1237 0b b5 7175657279"),
        &hex!("41 03 1238 0b b4 74657374 12 270f ff 78"),
    ]);
    let codes: Vec<_> = all.iter().map(|reply| reply.code.dotted().to_string()).collect();
    assert_eq!(codes, ["4.02", "5.05", "4.04", "4.05", "4.15"]);
    for reply in &all {
        assert!(core::str::from_utf8(&reply.payload).is_ok());
        assert_eq!(reply.options.content_format(), None, "{reply}");
    }
    let lengths: Vec<_> = all.iter().map(|reply| reply.payload.is_empty()).collect();
    assert_eq!(lengths, [false, false, true, true, true]);
}

#[test]
fn mth_13_a_fetch_without_a_content_format_is_not_processed() {
    let router = Router::new().route("/a", fetch(async || "fetched").consumes([ContentFormat::CBOR]));
    let bare = Request::new(Code::FETCH).with_options(path(&["a"])).with_body("x");
    let refused = answer_of(&router, &bare).code;
    assert!([Code::BAD_REQUEST, Code::UNSUPPORTED_CONTENT_FORMAT].contains(&refused), "{refused}");
    let named = Request::new(Code::FETCH).with_options(path(&["a"])).with_content(ContentFormat::CBOR, "x");
    assert_eq!(answer_of(&router, &named).code, Code::CONTENT);
}

#[test]
fn mth_15_an_ipatch_applied_twice_leaves_the_same_state() {
    async fn set(State(lamp): State<Arc<Mutex<Vec<u8>>>>, Payload(value): Payload) {
        *lamp.lock().unwrap() = value.to_vec();
    }
    let lamp = Arc::new(Mutex::new(b"off".to_vec()));
    let router: Router = Router::new().route("/lamp", ipatch(set)).with_state(Arc::clone(&lamp));
    for _ in 0..2 {
        let request = Request::new(Code::IPATCH).with_options(path(&["lamp"])).with_body("on");
        assert_eq!(answer_of(&router, &request).code, Code::CHANGED);
        assert_eq!(*lamp.lock().unwrap(), b"on");
    }
    // So the message layer may ask for it again, as it does for a PUT.
    assert!(Code::IPATCH.is_idempotent() && !Code::PATCH.is_idempotent());
}

#[test]
fn mth_16_overload_is_4_29_with_max_age_and_itself_limited() {
    let mut rig = Rig::new();
    // The application answers nothing, and this client goes on and on.
    for id in 0..16 {
        rig.receive(peer(1), &encode(&con(Code::POST, id, &["a"])));
    }
    rig.sent_nothing();
    for id in 16..40 {
        rig.receive(peer(1), &encode(&con(Code::POST, id, &["a"])));
    }
    assert_eq!((rig.events.len(), rig.sent.len()), (16, 10));
    for id in 16..26 {
        let (to, refusal) = rig.sent();
        assert_eq!((to, refusal.kind, refusal.message_id), (peer(1), Type::Acknowledgement, id));
        assert_eq!((refusal.code, refusal.options.max_age()), (Code::TOO_MANY_REQUESTS, Some(4)));
        assert_eq!(refusal.token.as_bytes(), [id as u8]);
    }
    // It is not this client's fault that others have no room: they are told 5.03 (RFC 8516 §3).
    let mut rig = Rig::with(Config::builder().max_incoming(1).build().unwrap());
    rig.receive(peer(1), &encode(&con(Code::POST, 1, &["a"])));
    rig.receive(peer(2), &encode(&con(Code::POST, 1, &["a"])));
    let (to, refusal) = rig.sent();
    assert_eq!((to, refusal.code, refusal.options.max_age()), (peer(2), Code::SERVICE_UNAVAILABLE, Some(4)));
}

#[test]
fn mth_17_after_a_4_29_nothing_similar_is_sent_before_its_max_age() {
    for (max_age, span) in [(Some(10), 10), (None, 60)] {
        let mut rig = Rig::new();
        rig.get(peer(1));
        let (_, request) = rig.sent();
        let mut refusal = Message::empty(Type::Acknowledgement, request.message_id);
        (refusal.code, refusal.token) = (Code::TOO_MANY_REQUESTS, request.token);
        if let Some(seconds) = max_age {
            refusal.options.set_max_age(seconds);
        }
        rig.receive(peer(1), &encode(&refusal));
        assert_eq!(rig.response().1.code, Code::TOO_MANY_REQUESTS);
        let until = rig.now + secs(span);
        let similar = || Request::get().with_options(path(&["a"]));
        let how = RequestOptions::new();
        rig.now += secs(span) - ms(1);
        let asked = rig.endpoint.request(rig.now, peer(1), similar(), &how);
        assert_eq!(asked, Err(RequestError::BackOff { until }));
        let observed = rig.endpoint.observe(rig.now, peer(1), similar(), &how);
        assert_eq!(observed, Err(RequestError::BackOff { until }));
        rig.drain();
        rig.sent_nothing();
        // Another method, and after that time the same one (RFC 8516 §1).
        rig.endpoint.request(rig.now, peer(1), Request::new(Code::PUT).with_options(path(&["a"])), &how).unwrap();
        rig.now = until;
        rig.endpoint.request(rig.now, peer(1), similar(), &how).unwrap();
    }
}
