//! Any request to any router: it does not panic, and answers as a naive list of the same routes would, which is
//! searched from front to end.
#![no_main]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use coap_core::{Code, ContentFormat, OptionNumber, Options, Request, Response};
use coap_driver::router::{Captured, FromCapture, Handler, MethodRouter, Path, Preconditions, Router};
use libfuzzer_sys::fuzz_target;

const METHODS: [Code; 7] = [Code::GET, Code::POST, Code::PUT, Code::DELETE, Code::FETCH, Code::PATCH, Code::IPATCH];

/// Few, so that routes meet: names of segments, and of hosts.
const NAMES: [&[u8]; 6] = [b"a", b"b", b"", b"a/b", b"{x}", b"\xff"];
const HOSTS: [&str; 3] = ["one.example", "TWO.example", "three"];

#[derive(Arbitrary, Clone, Debug)]
enum Part {
    Exact(u8),
    One,
    Rest,
}

#[derive(Arbitrary, Clone, Debug)]
struct Route {
    parts: Vec<Part>,
    /// One bit for each method.
    methods: u8,
    produces: Option<u8>,
    consumes: Option<u8>,
}

#[derive(Arbitrary, Debug)]
struct Site {
    routes: Vec<Route>,
    fallback: bool,
}

#[derive(Arbitrary, Debug)]
struct Asked {
    code: u8,
    path: Vec<Segment>,
    host: Option<u8>,
    accept: Option<u8>,
    format: Option<u8>,
    other: Option<(u16, Vec<u8>)>,
    payload: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Segment {
    Known(u8),
    Any(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Script {
    main: Site,
    hosts: Vec<Site>,
    /// Added below a prefix of the main site.
    nested: Option<Route>,
    asked: Vec<Asked>,
}

/// A part of the path, as bytes: nothing about it can be wrong.
struct Bytes(Vec<Vec<u8>>);

impl FromCapture for Bytes {
    fn from_capture(captured: Captured<'_>) -> Result<Self, &'static str> {
        Ok(Self(captured.segments().map(<[u8]>::to_vec).collect()))
    }
}

/// What a handler answers: which route it belongs to, and what its open parts stood for.
fn answer(route: usize, captured: &[Bytes]) -> Vec<u8> {
    format!("{route} {:?}", captured.iter().map(|part| &part.0).collect::<Vec<_>>()).into_bytes()
}

fn methods<T: 'static>(route: &Route, handler: impl Handler<T, ()> + Clone) -> MethodRouter {
    let mut methods = MethodRouter::new();
    for (slot, method) in METHODS.into_iter().enumerate() {
        if route.methods & 1 << slot == 0 {
            continue;
        }
        let handler = handler.clone();
        methods = match method {
            Code::GET => methods.get(handler),
            Code::POST => methods.post(handler),
            Code::PUT => methods.put(handler),
            Code::DELETE => methods.delete(handler),
            Code::FETCH => methods.fetch(handler),
            Code::PATCH => methods.patch(handler),
            _ => methods.ipatch(handler),
        };
    }
    let format = |number: u8| [ContentFormat::new(u16::from(number % 4))];
    if let Some(number) = route.produces {
        methods = methods.produces(format(number));
    }
    if let Some(number) = route.consumes {
        methods = methods.consumes(format(number));
    }
    methods
}

/// Handlers without open parts stand for preconditions, all others do not.
fn handlers(route: &Route, number: usize) -> MethodRouter {
    match opens(route) {
        0 => methods(route, move |_: Preconditions| async move { answer(number, &[]) }),
        1 => methods(route, move |Path(a): Path<Bytes>| async move { answer(number, &[a]) }),
        2 => methods(route, move |Path((a, b)): Path<(Bytes, Bytes)>| async move { answer(number, &[a, b]) }),
        _ => methods(
            route,
            move |Path((a, b, c)): Path<(Bytes, Bytes, Bytes)>| async move { answer(number, &[a, b, c]) },
        ),
    }
}

fn opens(route: &Route) -> usize {
    route.parts.iter().filter(|part| !matches!(part, Part::Exact(_))).count()
}

fn name(number: u8) -> &'static [u8] {
    NAMES[usize::from(number) % NAMES.len()]
}

fn pattern(parts: &[Part]) -> String {
    let mut text = String::new();
    for (at, part) in parts.iter().enumerate() {
        text.push('/');
        match part {
            Part::Exact(number) => name(*number).iter().for_each(|byte| text += &format!("%{byte:02x}")),
            Part::One => text += &format!("{{p{at}}}"),
            Part::Rest => text += &format!("{{*p{at}}}"),
        }
    }
    if text.is_empty() { "/".into() } else { text }
}

/// A route that can be: at most three open parts, and nothing after the rest. `/` is the route without segments.
fn sound(mut route: Route) -> Route {
    if let Some(rest) = route.parts.iter().position(|part| matches!(part, Part::Rest)) {
        route.parts.truncate(rest + 1);
    }
    let mut open = 0;
    route.parts.retain(|part| {
        open += usize::from(!matches!(part, Part::Exact(_)));
        open <= 3
    });
    if let [Part::Exact(number)] = route.parts[..]
        && name(number).is_empty()
    {
        route.parts.clear();
    }
    route
}

/// Literal before open before rest; a longer route has lost already where it matters.
fn rank(part: &Part) -> u8 {
    match part {
        Part::Exact(_) => 0,
        Part::One => 1,
        Part::Rest => 2,
    }
}

/// What the open parts of the route stand for in `path`, if it matches.
fn matches(parts: &[Part], path: &[Vec<u8>]) -> Option<Vec<Bytes>> {
    // One empty segment is the same URI as none.
    let path = if path == [Vec::new()] { &[] } else { path };
    let mut captured = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Exact(number) if path.get(at)? == name(*number) => {}
            Part::Exact(_) => return None,
            Part::One => captured.push(Bytes(vec![path.get(at)?.clone()])),
            Part::Rest => {
                path.get(at)?;
                captured.push(Bytes(path[at..].to_vec()));
                return Some(captured);
            }
        }
    }
    (parts.len() == path.len()).then_some(captured)
}

fn same_paths(a: &[Part], b: &[Part]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| match (a, b) {
            (Part::Exact(a), Part::Exact(b)) => name(*a) == name(*b),
            (a, b) => rank(a) == rank(b),
        })
}

/// The routes of a site as they were added, for the model.
#[derive(Default)]
struct Model {
    routes: Vec<Route>,
    fallback: bool,
}

fn build(site: Site, nested: Option<Route>) -> (Router, Model) {
    let (mut router, mut model) = (Router::new(), Model { routes: Vec::new(), fallback: site.fallback });
    for route in site.routes.into_iter().take(12).map(sound) {
        // A path twice is an error of the router, which other tests are about.
        if model.routes.iter().any(|other| same_paths(&other.parts, &route.parts)) {
            continue;
        }
        router = router.route(&pattern(&route.parts), handlers(&route, model.routes.len()));
        model.routes.push(route);
    }
    if let Some(mut route) = nested.map(sound) {
        let inner = Router::new().route(&pattern(&route.parts), handlers(&route, model.routes.len()));
        route.parts.insert(0, Part::Exact(0));
        if !model.routes.iter().any(|other| same_paths(&other.parts, &route.parts)) {
            router = router.nest("/a", inner);
            model.routes.push(route);
        }
    }
    if model.fallback {
        router = router.fallback(async || b"fallback".to_vec());
    }
    assert!(router.check().is_ok(), "{:?}", router.check());
    (router, model)
}

impl Model {
    /// The code, and the content of a success.
    fn answer(&self, request: &Request, path: &[Vec<u8>]) -> (Code, Option<Vec<u8>>) {
        let (code, options) = (request.code, &request.options);
        if !METHODS.contains(&code) {
            return (Code::METHOD_NOT_ALLOWED, None);
        }
        let success = match code {
            Code::GET | Code::FETCH => Code::CONTENT,
            Code::DELETE => Code::DELETED,
            _ => Code::CHANGED,
        };
        let bad = |conditions: bool| {
            let understood = |number: OptionNumber| match number {
                OptionNumber::IF_MATCH | OptionNumber::IF_NONE_MATCH => conditions,
                OptionNumber::URI_HOST
                | OptionNumber::URI_PORT
                | OptionNumber::URI_PATH
                | OptionNumber::URI_QUERY
                | OptionNumber::ACCEPT
                | OptionNumber::BLOCK1
                | OptionNumber::BLOCK2 => true,
                other => !other.is_critical(),
            };
            options.iter().any(|(number, _)| !understood(number))
        };
        let found = self.routes.iter().enumerate().filter_map(|(at, route)| {
            let captured = matches(&route.parts, path)?;
            Some((route.parts.iter().map(rank).collect::<Vec<_>>(), at, captured))
        });
        let Some((_, at, captured)) = found.min_by(|(a, ..), (b, ..)| a.cmp(b)) else {
            return match self.fallback {
                false => (Code::NOT_FOUND, None),
                true if bad(false) => (Code::BAD_OPTION, None),
                true => (success, Some(b"fallback".to_vec())),
            };
        };
        let route = &self.routes[at];
        let slot = METHODS.iter().position(|method| *method == code).unwrap_or_default();
        let excludes = |declared: Option<u8>, named: Option<ContentFormat>| {
            declared.zip(named).is_some_and(|(declared, named)| named.number() != u16::from(declared % 4))
        };
        match () {
            () if route.methods & 1 << slot == 0 => (Code::METHOD_NOT_ALLOWED, None),
            // Conditions are seen to with the GET of the route, if the handler does not look at them.
            () if bad(opens(route) == 0 || route.methods & 1 != 0) => (Code::BAD_OPTION, None),
            () if excludes(route.consumes, options.content_format()) => (Code::UNSUPPORTED_CONTENT_FORMAT, None),
            // RFC 8132 §2.3.1: a FETCH has to say what its content is.
            () if code == Code::FETCH && route.consumes.is_some() && options.content_format().is_none() => {
                (Code::UNSUPPORTED_CONTENT_FORMAT, None)
            }
            () if excludes(route.produces, options.accept()) => (Code::NOT_ACCEPTABLE, None),
            () => (success, Some(answer(at, &captured))),
        }
    }
}

fn finish(future: impl Future<Output = Response>) -> Response {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => response,
        Poll::Pending => panic!("the handler waits"),
    }
}

fuzz_target!(|script: Script| {
    let (mut router, main) = build(script.main, script.nested);
    let mut hosts = Vec::new();
    for (name, site) in HOSTS.into_iter().zip(script.hosts) {
        let (inner, model) = build(site, None);
        router = router.host(name, inner);
        hosts.push((name, model));
    }
    let peer = SocketAddr::from(([192, 0, 2, 1], 5_683)).into();
    for asked in script.asked {
        let mut options = Options::new();
        if let Some(number) = asked.host {
            let name = HOSTS[usize::from(number) % HOSTS.len()];
            let name = if number & 0x80 == 0 { name.to_ascii_lowercase() } else { name.to_ascii_uppercase() };
            options.push(OptionNumber::URI_HOST, name.as_bytes()).expect("a short name");
        }
        for segment in &asked.path {
            let segment = match segment {
                Segment::Known(number) => name(*number),
                Segment::Any(bytes) => bytes,
            };
            let _ = options.push(OptionNumber::URI_PATH, &segment[..segment.len().min(255)]);
        }
        if let Some(number) = asked.accept {
            options.set_accept(ContentFormat::new(u16::from(number % 5)));
        }
        if let Some(number) = asked.format {
            options.set_content_format(ContentFormat::new(u16::from(number % 5)));
        }
        if let Some((number, value)) = &asked.other {
            // As a peer may send it: the endpoint has looked at lengths, the router has to stand anything.
            let _ = options.push_raw(OptionNumber::new(*number), &value[..value.len().min(300)]);
        }
        let host = options.get(OptionNumber::URI_HOST).map(<[u8]>::to_vec).unwrap_or_default();
        let path: Vec<_> = options.get_all(OptionNumber::URI_PATH).map(<[u8]>::to_vec).collect();
        let request = Request::new(Code::from_byte(asked.code)).with_options(options).with_body(asked.payload);
        let named = hosts.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(&host));
        let model = named.map_or(&main, |(_, model)| model);
        let response = finish(router.answer(peer, &request));
        let (code, content) = model.answer(&request, &path);
        let conditions = [OptionNumber::IF_MATCH, OptionNumber::IF_NONE_MATCH];
        let conditional = conditions.into_iter().any(|number| request.options.contains(number));
        if conditional && content.is_some() && response.code == Code::PRECONDITION_FAILED {
            continue;
        }
        assert_eq!(response.code, code, "{request:?}");
        if let Some(content) = content {
            assert_eq!(response.body.as_bytes(), content, "{request:?}");
        }
    }
});
