use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use coap_core::ContentFormat;

use super::*;

/// Runs a handler that never waits.
pub(super) fn finish(future: impl Future<Output = Response>) -> Response {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => response,
        Poll::Pending => panic!("the handler waits"),
    }
}

pub(super) fn ask(router: &Router, request: &Request) -> Response {
    let peer = "192.0.2.1:5683".parse::<core::net::SocketAddr>().unwrap().into();
    finish(router.answer(peer, request))
}

pub(super) fn request(method: Code, path: &[&str]) -> Request {
    let mut request = Request::new(method);
    for segment in path {
        request.options.push(OptionNumber::URI_PATH, segment.as_bytes()).unwrap();
    }
    request
}

fn get_path(router: &Router, path: &[&str]) -> (Code, String) {
    let response = ask(router, &request(Code::GET, path));
    (response.code, String::from_utf8(response.body.as_bytes().to_vec()).unwrap())
}

async fn hello() -> &'static str {
    "hello"
}

async fn number(Path(id): Path<u8>) -> String {
    format!("number {id}")
}

async fn two(Path((room, id)): Path<(String, u8)>) -> String {
    format!("{id} in {room}")
}

async fn rest(Path(path): Path<Vec<String>>) -> String {
    path.join("|")
}

async fn joined(Path(path): Path<String>) -> String {
    path
}

#[test]
fn path_parameters_reach_the_handler() {
    let router = Router::new()
        .route("/n/{id}", get(number))
        .route("/{room}/lamps/{id}", get(two))
        .route("/rest/{*path}", get(rest))
        .route("/joined/{*path}", get(joined));
    assert_eq!(get_path(&router, &["n", "7"]), (Code::CONTENT, "number 7".into()));
    assert_eq!(get_path(&router, &["hall/1", "lamps", "3"]), (Code::CONTENT, "3 in hall/1".into()));
    assert_eq!(get_path(&router, &["rest", "a", "", "b/c"]), (Code::CONTENT, "a||b/c".into()));
    assert_eq!(get_path(&router, &["joined", "a", "b"]), (Code::CONTENT, "a/b".into()));
    assert_eq!(get_path(&router, &["joined", "a/b"]).0, Code::BAD_REQUEST);
}

#[test]
fn a_parameter_that_does_not_parse_is_4_00_and_says_which() {
    let router = Router::new().route("/n/{id}", get(number));
    let (code, text) = get_path(&router, &["n", "256"]);
    assert_eq!(
        (code, text.as_str()),
        (Code::BAD_REQUEST, "the path parameter \"id\" is not an unsigned integer of its range")
    );
}

#[test]
fn a_handler_with_the_wrong_number_of_parameters_is_5_00() {
    let router = Router::new().route("/n/{id}", get(two));
    assert_eq!(get_path(&router, &["n", "1"]).0, Code::INTERNAL_SERVER_ERROR);
}

#[test]
fn no_path_is_4_04_and_no_method_is_4_05() {
    let router = Router::new().route("/hello", get(hello));
    assert_eq!(get_path(&router, &["hello"]), (Code::CONTENT, "hello".into()));
    assert_eq!(get_path(&router, &["hallo"]).0, Code::NOT_FOUND);
    assert_eq!(get_path(&router, &["hello", ""]).0, Code::NOT_FOUND);
    assert_eq!(ask(&router, &request(Code::PUT, &["hello"])).code, Code::METHOD_NOT_ALLOWED);
    let unknown = Code::new(0, 31).unwrap();
    assert_eq!(ask(&router, &request(unknown, &["nowhere"])).code, Code::METHOD_NOT_ALLOWED);
}

#[test]
fn the_fallback_answers_what_no_route_does() {
    async fn lost(options: Options) -> (Code, String) {
        (Code::NOT_FOUND, options.to_string())
    }
    let router = Router::new().route("/hello", get(hello)).fallback(lost);
    let (code, text) = get_path(&router, &["elsewhere"]);
    assert_eq!(code, Code::NOT_FOUND);
    assert!(text.contains("elsewhere"), "{text}");
    assert_eq!(ask(&router, &request(Code::PUT, &["hello"])).code, Code::METHOD_NOT_ALLOWED);
}

#[test]
fn a_critical_option_needs_an_argument_that_stands_for_it() {
    async fn careful(conditions: Preconditions) -> Result<(), Code> {
        conditions.check(None)
    }
    let router = Router::new().route("/a", put(hello)).route("/b", put(careful));
    let mut to_a = request(Code::PUT, &["a"]);
    to_a.options.push(OptionNumber::IF_MATCH, b"x").unwrap();
    assert_eq!(ask(&router, &to_a).code, Code::BAD_OPTION);
    let mut to_b = request(Code::PUT, &["b"]);
    to_b.options.push(OptionNumber::IF_MATCH, b"x").unwrap();
    assert_eq!(ask(&router, &to_b).code, Code::PRECONDITION_FAILED);
    // 65,001 is critical, and 65,002 is not.
    let mut strange = request(Code::PUT, &["a"]);
    strange.options.push(OptionNumber::new(65_002), b"x").unwrap();
    assert_eq!(ask(&router, &strange).code, Code::CHANGED);
    strange.options.push(OptionNumber::new(65_001), b"x").unwrap();
    assert_eq!(ask(&router, &strange).code, Code::BAD_OPTION);
}

#[test]
fn an_accept_of_another_format_is_4_06_after_4_04() {
    let router = Router::new()
        .route("/declared", get(hello).produces([ContentFormat::TEXT_PLAIN]).put(hello))
        .route("/undeclared", get(hello).put(hello));
    let accepting = |method, path: &str, format| {
        let mut wanted = request(method, &[path]);
        wanted.options.set_accept(format);
        ask(&router, &wanted)
    };
    assert_eq!(accepting(Code::GET, "declared", ContentFormat::TEXT_PLAIN).code, Code::CONTENT);
    let refused = accepting(Code::GET, "declared", ContentFormat::JSON);
    assert_eq!(refused.code, Code::NOT_ACCEPTABLE);
    assert!(core::str::from_utf8(refused.body.as_bytes()).unwrap().contains("text/plain"));
    assert_eq!(accepting(Code::GET, "undeclared", ContentFormat::JSON).code, Code::NOT_ACCEPTABLE);
    assert_eq!(accepting(Code::GET, "nowhere", ContentFormat::JSON).code, Code::NOT_FOUND);
    // What has been carried out is not turned into an error.
    assert_eq!(accepting(Code::PUT, "undeclared", ContentFormat::JSON).code, Code::CHANGED);
    assert_eq!(accepting(Code::PUT, "declared", ContentFormat::JSON).code, Code::CHANGED);
}

#[test]
fn content_in_a_format_that_is_not_read_is_4_15() {
    let router = Router::new().route("/a", put(hello).consumes([ContentFormat::CBOR]));
    let mut json = request(Code::PUT, &["a"]);
    json.options.set_content_format(ContentFormat::JSON);
    assert_eq!(ask(&router, &json).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(ask(&router, &request(Code::PUT, &["a"])).code, Code::CHANGED);
}

#[test]
fn a_fetch_that_names_no_format_is_not_read_where_formats_are_declared() {
    let router =
        Router::new().route("/declared", fetch(hello).consumes([ContentFormat::CBOR])).route("/any", fetch(hello));
    assert_eq!(ask(&router, &request(Code::FETCH, &["declared"])).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(ask(&router, &request(Code::FETCH, &["any"])).code, Code::CONTENT);
}

#[test]
fn virtual_hosts_do_not_see_each_other() {
    async fn other() -> &'static str {
        "other"
    }
    let router =
        Router::new().route("/hello", get(hello)).host("lab.example", Router::new().route("/other", get(other)));
    let at = |host: &str, path: &str| {
        let mut wanted = request(Code::GET, &[path]);
        wanted.options.push(OptionNumber::URI_HOST, host.as_bytes()).unwrap();
        ask(&router, &wanted).code
    };
    assert_eq!(at("lab.example", "other"), Code::CONTENT);
    assert_eq!(at("LAB.example", "other"), Code::CONTENT);
    assert_eq!(at("lab.example", "hello"), Code::NOT_FOUND);
    assert_eq!(at("elsewhere.example", "hello"), Code::CONTENT);
    assert_eq!(at("elsewhere.example", "other"), Code::NOT_FOUND);
    assert_eq!(get_path(&router, &["hello"]).0, Code::CONTENT);
}

#[test]
fn state_is_put_in_by_each_router_for_its_own_handlers() {
    async fn name(State(name): State<&'static str>) -> &'static str {
        name
    }
    let inner = Router::new().route("/name", get(name)).with_state("inner");
    let router: Router = Router::new().route("/name", get(name)).with_state("outer").nest("/a", inner);
    assert_eq!(get_path(&router, &["name"]).1, "outer");
    assert_eq!(get_path(&router, &["a", "name"]).1, "inner");
}

#[test]
fn a_wrong_route_is_reported_and_the_others_stay() {
    let router = Router::<()>::new().route("/a", get(hello)).route("/a", put(hello)).route("b", get(hello));
    assert_eq!(router.check(), Err(&RouteError::Taken { pattern: "/a".into(), by: "/a".into() }));
    assert_eq!(get_path(&router, &["a"]).0, Code::CONTENT);
    let twice = Router::<()>::new().route("/a", get(hello).get(hello));
    assert_eq!(twice.check(), Err(&RouteError::MethodTwice { pattern: "/a".into(), method: Code::GET }));
    let hosts = Router::<()>::new().nest("/x", Router::new().host("h", Router::new()));
    assert_eq!(hosts.check(), Err(&RouteError::HostInside { host: "h".into() }));
}

#[test]
fn a_handler_takes_eight_arguments() {
    #[allow(clippy::too_many_arguments)]
    async fn all(
        method: Code,
        kind: Type,
        peer: Peer,
        _local: Local,
        query: Query,
        Accept(accept): Accept,
        format: Option<ContentFormat>,
        Payload(payload): Payload,
    ) -> String {
        format!("{method} {kind} {peer} {accept:?} {format:?} {} {}", query.args().count(), payload.len())
    }
    let router = Router::new().route("/", post(all));
    let response = ask(&router, &request(Code::POST, &[]).with_body("abc"));
    assert_eq!(response.body.as_bytes(), b"POST CON 192.0.2.1:5683 None None 0 3");
}

// ----- Bodies ------------------------------------------------------------------------------------------------------------

#[test]
fn a_reader_is_tested_without_a_network_too() {
    async fn read(mut body: BodyReader) -> Result<String, BodyError> {
        let (mut text, size) = (String::new(), body.size());
        while let Some(part) = body.chunk().await? {
            text += core::str::from_utf8(&part).unwrap();
        }
        assert_eq!((size, body.size()), (Some(text.len() as u64), size));
        Ok(text)
    }
    let router = Router::new().route("/", post(read));
    assert_eq!(ask(&router, &request(Code::POST, &[]).with_body("abc")).body.as_bytes(), b"abc");
    assert_eq!(ask(&router, &request(Code::POST, &[])).body.as_bytes(), b"");
}

#[test]
fn a_stream_is_read_to_its_end_without_a_network() {
    let content = vec![7; 5_000];
    let kept = content.clone();
    let stream = move || {
        let reader = std::io::Cursor::new(kept.clone());
        async move { (ContentFormat::CBOR, Streamed::new(FromStd(reader)).size(5_000)) }
    };
    let router = Router::new().route("/", get(stream));
    let response = ask(&router, &request(Code::GET, &[]));
    assert_eq!((response.code, response.options.content_format()), (Code::CONTENT, Some(ContentFormat::CBOR)));
    assert_eq!(response.body.as_bytes(), content);
}

/// A reader that never waits.
struct FromStd<R>(R);

impl<R: std::io::Read + Unpin> futures_io::AsyncRead for FromStd<R> {
    fn poll_read(
        mut self: core::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(self.0.read(buf))
    }
}

#[test]
fn a_stream_of_another_format_than_accepted_is_4_06() {
    let router = Router::new().route("/", get(async || (ContentFormat::CBOR, Streamed::new(&b"x"[..]))));
    let mut wanted = request(Code::GET, &[]);
    wanted.options.set_accept(ContentFormat::JSON);
    assert_eq!(ask(&router, &wanted).code, Code::NOT_ACCEPTABLE);
}

#[test]
fn content_over_the_limit_of_its_route_is_4_13_and_says_the_limit() {
    let router = Router::new().route("/", put(hello).max_body(3).post(hello));
    assert_eq!(ask(&router, &request(Code::PUT, &[]).with_body("abc")).code, Code::CHANGED);
    let refused = ask(&router, &request(Code::PUT, &[]).with_body("abcd"));
    assert_eq!((refused.code, refused.options.size1()), (Code::REQUEST_ENTITY_TOO_LARGE, Some(3)));
    // Handlers that came later have no limit of this kind.
    assert_eq!(ask(&router, &request(Code::POST, &[]).with_body("abcd")).code, Code::CHANGED);
}

#[test]
fn a_handler_without_a_network_is_asked_for_a_first_block() {
    async fn range(wanted: Wanted) -> Ranged {
        Ranged { offset: wanted.offset, data: vec![7; wanted.max].into(), size: None }
    }
    let router = Router::new().route("/", get(range));
    let response = ask(&router, &request(Code::GET, &[]));
    assert!(matches!(response.body, Body::Range { offset: 0, ref data, .. } if data.len() == 1_024));
}

#[test]
fn a_nested_router_keeps_limits_and_resources() {
    let resource = Resource::new();
    let inner = Router::new().route("/x", get(number_of).put(hello).max_body(1).observable(&resource)).with_state(7_u8);
    async fn number_of(State(number): State<u8>) -> String {
        number.to_string()
    }
    let router: Router = Router::new().nest("/a", inner);
    assert_eq!(ask(&router, &request(Code::PUT, &["a", "x"]).with_body("ab")).code, Code::REQUEST_ENTITY_TOO_LARGE);
    let mut observing = request(Code::GET, &["a", "x"]);
    observing.options.set_observe(0);
    let peer = "192.0.2.1:5683".parse::<core::net::SocketAddr>().unwrap().into();
    let incoming = Incoming {
        peer,
        local: Local::default(),
        kind: Type::Confirmable,
        message_id: 0,
        token: &Token::EMPTY,
        request: &observing,
        wanted: FIRST_BLOCK,
        echo_age: None,
        upload: None,
        captures: &[],
    };
    assert!(router.find(incoming).is_ok_and(|call| call.observed().is_some()));
    let plain = request(Code::GET, &["a", "x"]);
    assert!(router.find(Incoming { request: &plain, ..incoming }).is_ok_and(|call| call.observed().is_none()));
}

#[test]
fn a_route_that_must_be_fresh_calls_nobody_for_a_request_that_may_be_old() {
    const FIVE: Duration = Duration::from_secs(5);
    let calls = Arc::new(AtomicU32::new(0));
    let count = calls.clone();
    let unlock = move || {
        count.fetch_add(1, Ordering::Relaxed);
        ready(())
    };
    let lock = put(unlock).fresh(FIVE).get(async || "locked");
    async fn decides(freshness: Freshness) -> Result<Code, Response> {
        freshness.check(FIVE).map(|()| Code::CHANGED)
    }
    let router: Router = Router::new().route("/lock", lock).route("/decides", post(decides));
    let ask = |request: &Request, echo_age| {
        let incoming = Incoming {
            peer: "192.0.2.1:5683".parse::<core::net::SocketAddr>().unwrap().into(),
            local: Local::default(),
            kind: Type::Confirmable,
            message_id: 0,
            token: &Token::EMPTY,
            request,
            wanted: FIRST_BLOCK,
            echo_age,
            upload: None,
            captures: &[],
        };
        match router.find(incoming).and_then(|call| call.begin(None).map_err(Answer::from)) {
            Ok(handler) => finish(async { handler.await.collect().await }),
            Err(answer) => finish(answer.collect()),
        }
    };
    for (method, path) in [(Code::PUT, "lock"), (Code::POST, "decides")] {
        let request = request(method, &[path]);
        let before = calls.load(Ordering::Relaxed);
        for age in [None, Some(FIVE + Duration::from_micros(1))] {
            let refused = ask(&request, age);
            assert_eq!((refused.code, refused.options.contains(OptionNumber::ECHO)), (Code::UNAUTHORIZED, true));
        }
        assert_eq!(calls.load(Ordering::Relaxed), before);
        assert_eq!(ask(&request, Some(FIVE)).code, Code::CHANGED);
    }
    assert_eq!(calls.swap(0, Ordering::Relaxed), 1);
    // What cannot be carried out anyway is told so first, and the GET of the same route is free.
    assert_eq!(ask(&request(Code::POST, &["lock"]), None).code, Code::METHOD_NOT_ALLOWED);
    assert_eq!(ask(&request(Code::GET, &["lock"]), None).code, Code::CONTENT);
}
