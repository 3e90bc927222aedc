use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};

use coap_core::{ETag, Local, Request, Token, Type};

use super::super::tests::{ask, finish, request};
use super::super::{FIRST_BLOCK, Path, Resource, Router, get, post, put};
use super::*;

async fn hello() -> &'static str {
    "hello"
}

async fn number(Path(id): Path<u8>) -> String {
    id.to_string()
}

fn asking(query: &[&str]) -> Request {
    let mut wanted = request(Code::GET, &[".well-known", "core"]);
    for argument in query {
        wanted.options.push_uri_query(argument).unwrap();
    }
    wanted
}

#[track_caller]
fn listed(router: &Router, query: &[&str]) -> String {
    let response = ask(router, &asking(query));
    assert_eq!((response.code, response.options.content_format()), (Code::CONTENT, Some(ContentFormat::LINK_FORMAT)));
    String::from_utf8(response.body.as_bytes().to_vec()).unwrap()
}

/// What a group is told, if anything.
fn to_group(router: &Router, request: &Request) -> Option<Code> {
    let incoming = Incoming {
        peer: "192.0.2.1:5683".parse::<SocketAddr>().unwrap().into(),
        local: Local::arrived(0, Some("ff02::fd".parse().unwrap()), 1),
        kind: Type::NonConfirmable,
        message_id: 0,
        token: &Token::EMPTY,
        request,
        wanted: FIRST_BLOCK,
        echo_age: None,
        upload: None,
        captures: &[],
    };
    let answer = match router.find(incoming).and_then(|call| call.begin(None).map_err(Answer::from)) {
        Err(answer) => answer,
        Ok(handler) => {
            let mut silent = false;
            let code = finish(async {
                let answer = handler.await;
                silent = matches!(answer.content, super::super::Content::Silence);
                Response::new(answer.code)
            })
            .code;
            return (!silent).then_some(code);
        }
    };
    answer.into_parts().0.map(|response| response.code)
}

#[test]
fn the_list_says_of_each_route_what_the_router_was_told() {
    let clock = Resource::new();
    let router = Router::new()
        .route("/temp", get(hello).rt("temperature-c").rt("core.s").if_("sensor").sz(5).title("Räume, \"links\""))
        .route("/time", get(hello).observable(&clock))
        .route("/formats", get(hello).produces([ContentFormat::TEXT_PLAIN, ContentFormat::JSON]).put(hello))
        .route(
            "/told",
            get(hello).produces([ContentFormat::TEXT_PLAIN]).ct([ContentFormat::CBOR]).attribute("foo", "bar"),
        )
        .route("/räume/1%2F2", put(hello))
        .route("/", get(hello));
    assert_eq!(
        listed(&router, &[]),
        [
            "</temp>;rt=\"temperature-c core.s\";if=\"sensor\";sz=5;title=\"Räume, \\\"links\\\"\"",
            "</time>;obs",
            "</formats>;ct=\"0 50\"",
            "</told>;ct=60;foo=\"bar\"",
            "</r%C3%A4ume/1%2F2>",
            "</>",
        ]
        .join(",")
    );
}

#[test]
fn open_parts_the_fallback_and_what_is_hidden_are_not_listed_unless_told() {
    let exists = Arc::new(AtomicBool::new(false));
    let there = exists.clone();
    let lamps =
        || ["/lamps/1", "/lamps/2"].map(|target| Link::new(target).unwrap().with_size(target.len() as u64)).to_vec();
    let router = Router::new()
        .route("/lamps/{lamp}", get(number).rt("lamp").sz(9).listed_as(lamps))
        .route("/rooms/{room}", get(number))
        .route("/files/{*path}", get(hello))
        .route("/shutdown", post(hello).hidden())
        .route("/create1", put(hello).listed_if(move || there.load(Ordering::Relaxed)))
        .route("/%FF", get(hello))
        .route("/a/..", get(hello))
        .fallback(hello)
        .link(Link::new("coap://other.example/x").unwrap());
    assert_eq!(
        listed(&router, &[]),
        "</lamps/1>;sz=8;rt=\"lamp\",</lamps/2>;sz=8;rt=\"lamp\",<coap://other.example/x>"
    );
    exists.store(true, Ordering::Relaxed);
    assert_eq!(listed(&router, &["href=/c*"]), "</create1>");
}

#[test]
fn a_query_selects_links_and_may_select_none() {
    let router = Router::new()
        .route("/a", get(hello).rt("one two").if_("x").ct([ContentFormat::TEXT_PLAIN, ContentFormat::JSON]))
        .route("/ab", get(hello).rt("two").sz(1_280));
    let targets = |query: &[&str]| {
        listed(&router, query).split(',').map(|link| link.split('>').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(targets(&["rt=two"]), ["</a", "</ab"]);
    assert_eq!(targets(&["rt=on*"]), ["</a"]);
    assert_eq!(targets(&["if=x"]), ["</a"]);
    assert_eq!(targets(&["ct=50"]), ["</a"]);
    assert_eq!(targets(&["sz=1280"]), ["</ab"]);
    assert_eq!(targets(&["href=/a"]), ["</a"]);
    assert_eq!(targets(&["href=/a*", "rt=two", "sz=*"]), ["</ab"]);
    assert_eq!(listed(&router, &["rt=three"]), "");
    assert_eq!(ask(&router, &asking(&["rt"])).code, Code::BAD_REQUEST);
    assert_eq!(listed(&Router::new(), &[]), "");
}

#[test]
fn the_list_is_read_alone_in_its_format_and_with_no_other_critical_option() {
    let router: Router = Router::new().route("/a", get(hello));
    let mut wanted = asking(&[]);
    wanted.options.set_accept(ContentFormat::LINK_FORMAT);
    assert_eq!(ask(&router, &wanted).code, Code::CONTENT);
    wanted.options.set_accept(ContentFormat::JSON);
    assert_eq!(ask(&router, &wanted).code, Code::NOT_ACCEPTABLE);
    let mut strange = asking(&[]);
    strange.options.push(OptionNumber::IF_MATCH, b"x").unwrap();
    assert_eq!(ask(&router, &strange).code, Code::BAD_OPTION);
    assert_eq!(ask(&router, &request(Code::PUT, &[".well-known", "core"])).code, Code::METHOD_NOT_ALLOWED);
    assert_eq!(ask(&router, &request(Code::GET, &[".well-known"])).code, Code::NOT_FOUND);
}

#[test]
fn whoever_has_the_list_is_told_so() {
    let router: Router = Router::new().route("/a", get(hello)).route("/b", get(hello).rt("b"));
    let first = ask(&router, &asking(&[]));
    let tag = first.options.etag().unwrap();
    let again = |query: &[&str], tag: &ETag| {
        let mut wanted = asking(query);
        wanted.options.push_etag(tag);
        ask(&router, &wanted)
    };
    let valid = again(&[], &tag);
    assert_eq!((valid.code, valid.options.etag(), valid.body.len()), (Code::VALID, Some(tag.clone()), 0));
    assert_eq!(valid.options.content_format(), None);
    assert_eq!(again(&["rt=b"], &tag).code, Code::CONTENT);
}

#[test]
fn a_route_for_the_path_wins_and_one_with_open_parts_does_not() {
    let own: Router = Router::new().route("/.well-known/core", get(hello)).route("/a", get(hello));
    assert_eq!(ask(&own, &asking(&[])).body.as_bytes(), b"hello");
    let wild: Router = Router::new().route("/{*path}", get(hello)).fallback(hello);
    assert_eq!(listed(&wild, &[]), "");
    assert_eq!(ask(&wild.without_discovery(), &asking(&[])).body.as_bytes(), b"hello");
    assert_eq!(ask(&Router::new().without_discovery(), &asking(&[])).code, Code::NOT_FOUND);
}

#[test]
fn nested_routes_are_listed_where_they_are_and_hosts_by_themselves() {
    let inner =
        Router::new().route("/", get(hello).rt("root")).route("/x", get(hello)).link(Link::new("/more").unwrap());
    let lab = Router::new().route("/lab", get(hello)).with_state(());
    let router: Router = Router::new().route("/a", get(hello)).nest("/in", inner).host("lab.example", lab);
    assert_eq!(listed(&router, &[]), "</a>,</in>;rt=\"root\",</in/x>,</more>");
    let mut at_lab = asking(&[]);
    at_lab.options.set_uri_host("lab.example").unwrap();
    assert_eq!(ask(&router, &at_lab).body.as_bytes(), b"</lab>");
}

#[test]
fn a_group_is_told_of_links_and_of_what_was_made_for_it_and_nothing_else() {
    async fn quiet() -> Answer {
        Answer::silence()
    }
    let router: Router = Router::new()
        .route("/plain", get(hello))
        .route("/all", get(hello).rt("all").multicast())
        .route("/quiet", get(quiet).multicast())
        .fallback(hello);
    assert_eq!(to_group(&router, &asking(&[])), Some(Code::CONTENT));
    assert_eq!(to_group(&router, &asking(&["rt=all"])), Some(Code::CONTENT));
    assert_eq!(to_group(&router, &asking(&["rt=none"])), None);
    assert_eq!(to_group(&router, &request(Code::GET, &["plain"])), None);
    assert_eq!(to_group(&router, &request(Code::GET, &["all"])), Some(Code::CONTENT));
    assert_eq!(to_group(&router, &request(Code::GET, &["quiet"])), None);
    assert_eq!(to_group(&router, &request(Code::GET, &["nowhere"])), None);
    assert_eq!(to_group(&router, &request(Code::new(0, 31).unwrap(), &["plain"])), None);
    // The others are not told less for it.
    assert_eq!(listed(&router, &["rt=none"]), "");
}

#[test]
fn an_attribute_that_no_link_can_have_makes_the_router_wrong() {
    let router: Router = Router::new().route("/a", get(hello).attribute("a b", "x").attribute("c", "d"));
    let error = router.check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "route \"/a\" has a link attribute that cannot be: the name of an attribute must be here"
    );
}
