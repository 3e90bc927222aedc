use super::*;

fn request(code: Code, path: &str) -> Request {
    let mut request = Request::new(code);
    for segment in path.split('/').skip(1) {
        request.options.push_uri_path(segment).unwrap();
    }
    request
}

impl Plugtest {
    #[track_caller]
    fn now(&mut self, request: &Request) -> Response {
        match self.handle(&Local::default(), request) {
            Reply::Now(response) => response,
            other => panic!("{other:?}"),
        }
    }

    fn code(&mut self, code: Code, path: &str) -> Code {
        self.now(&request(code, path)).code
    }
}

#[test]
fn each_method_of_test_has_its_code() {
    let mut plugtest = Plugtest::new();
    let codes = [Code::GET, Code::PUT, Code::POST, Code::DELETE, Code::GET].map(|code| plugtest.code(code, "/test"));
    assert_eq!(codes, [Code::CONTENT, Code::CHANGED, Code::CREATED, Code::DELETED, Code::CONTENT]);
    assert_eq!((plugtest.runs(Code::GET, "/test"), plugtest.runs(Code::GET, "/query")), (2, 0));
}

#[test]
fn what_is_not_there_and_what_is_not_allowed_have_their_codes() {
    let mut plugtest = Plugtest::new();
    assert_eq!(plugtest.code(Code::GET, "/nope"), Code::NOT_FOUND);
    assert_eq!(plugtest.code(Code::GET, "/test/"), Code::NOT_FOUND);
    assert_eq!(plugtest.code(Code::DELETE, "/query"), Code::METHOD_NOT_ALLOWED);
    assert_eq!(plugtest.code(Code::GET, "/secure"), Code::UNAUTHORIZED);
    let mut slash = Request::get();
    slash.options.push_uri_path("path/sub1").unwrap();
    assert_eq!(plugtest.now(&slash).code, Code::NOT_FOUND);
}

#[test]
fn a_slow_resource_says_how_slow() {
    let reply = Plugtest::new().handle(&Local::default(), &request(Code::GET, "/separate"));
    assert!(matches!(reply, Reply::After(SLOW, response) if response.code == Code::CONTENT));
}

#[test]
fn a_query_comes_back() {
    let mut get = request(Code::GET, "/query");
    get.options.push_uri_query("first=1").unwrap();
    get.options.push_uri_query("second=2").unwrap();
    assert_eq!(Plugtest::new().now(&get).body.as_bytes(), b"first=1&second=2");
}

#[test]
fn accept_chooses_and_refuses() {
    let mut plugtest = Plugtest::new();
    let mut get = request(Code::GET, "/multi-format");
    for (accept, code) in [(0, Code::CONTENT), (41, Code::CONTENT), (47, Code::NOT_ACCEPTABLE)] {
        get.options.set_accept(ContentFormat::new(accept));
        let response = plugtest.now(&get);
        assert_eq!(response.code, code);
        let format = response.options.content_format().map(ContentFormat::number);
        assert_eq!(format, (code == Code::CONTENT).then_some(accept));
    }
}

#[test]
fn an_etag_validates_until_the_content_changes() {
    let mut plugtest = Plugtest::new();
    let mut get = request(Code::GET, "/validate");
    let first = plugtest.now(&get).options.etag().unwrap();
    get.options.push_etag(&first);
    let valid = plugtest.now(&get);
    assert_eq!((valid.code, valid.body.len(), valid.options.etag().as_ref()), (Code::VALID, 0, Some(&first)));
    plugtest.set("/validate", None, Bytes::from_static(b"second"));
    let changed = plugtest.now(&get);
    assert_eq!((changed.code, changed.body.as_bytes()), (Code::CONTENT, &b"second"[..]));
    assert_ne!(changed.options.etag().unwrap(), first);
}

#[test]
fn if_match_protects_what_somebody_else_has_changed() {
    let mut plugtest = Plugtest::new();
    let etag = plugtest.now(&request(Code::GET, "/validate")).options.etag().unwrap();
    let mut put = request(Code::PUT, "/validate").with_body("mine");
    put.options.push_if_match(&etag);
    assert_eq!(plugtest.now(&put).code, Code::CHANGED);
    assert_eq!(plugtest.now(&put).code, Code::PRECONDITION_FAILED);
    assert_eq!(plugtest.content("/validate").unwrap().body, "mine");
}

#[test]
fn if_none_match_creates_once() {
    let mut plugtest = Plugtest::new();
    let mut put = request(Code::PUT, "/create1").with_body("a");
    put.options.set_if_none_match();
    assert_eq!(plugtest.now(&put).code, Code::CREATED);
    assert_eq!(plugtest.now(&put).code, Code::PRECONDITION_FAILED);
    assert_eq!(plugtest.code(Code::DELETE, "/create1"), Code::DELETED);
    assert_eq!(plugtest.code(Code::GET, "/create1"), Code::NOT_FOUND);
}

#[test]
fn an_unknown_format_is_refused_and_none_is_bytes() {
    let mut plugtest = Plugtest::new();
    let put = request(Code::PUT, "/test").with_content(ContentFormat::new(9_999), "x");
    assert_eq!(plugtest.now(&put).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(plugtest.now(&request(Code::PUT, "/test").with_body("x")).code, Code::CHANGED);
    assert_eq!(plugtest.content("/test").unwrap().format, ContentFormat::OCTET_STREAM);
}

#[test]
fn discovery_is_filtered_and_silent_to_a_group_that_finds_nothing() {
    let mut plugtest = Plugtest::new();
    let all = plugtest.now(&request(Code::GET, "/.well-known/core"));
    assert_eq!(all.options.content_format(), Some(ContentFormat::LINK_FORMAT));
    assert!(all.body.len() < 1_024, "it must fit into a datagram, and has {} bytes", all.body.len());

    let mut get = request(Code::GET, "/.well-known/core");
    get.options.push_uri_query("if=If*").unwrap();
    let some = plugtest.now(&get);
    assert_eq!(some.body.as_bytes(), br#"</link1>;rt="Type1 Type2";if="If1",</link2>;rt="Type2 Type3";if="If2""#);

    let mut nothing = request(Code::GET, "/.well-known/core");
    nothing.options.push_uri_query("rt=nothing").unwrap();
    let response = plugtest.now(&nothing);
    assert_eq!((response.code, response.body.len()), (Code::CONTENT, 0));
    let group = Local::arrived(0, Some("ff02::fd".parse().unwrap()), 0);
    assert_eq!(plugtest.handle(&group, &nothing), Reply::Never);
}

#[test]
fn what_was_created_is_found_and_listed_up_to_a_limit() {
    let mut plugtest = Plugtest::new();
    let post = request(Code::POST, "/large-create").with_body("body");
    let created = plugtest.now(&post);
    let location: Vec<_> = created.options.location_path().collect();
    assert_eq!((created.code, location), (Code::CREATED, vec![&b"large-create"[..], b"1"]));
    assert_eq!(plugtest.now(&request(Code::GET, "/large-create/1")).body.as_bytes(), b"body");
    assert_eq!(plugtest.now(&request(Code::GET, "/large-create")).body.as_bytes(), b"</large-create/1>");
    let last = (0..MOST_CREATED).map(|_| plugtest.now(&post).code).last();
    assert_eq!(last, Some(Code::FORBIDDEN));
}

mod with_observers {
    use core::net::SocketAddr;

    use coap_core::{Config, Datagram, Endpoint, Event, Instant, Message, Peer, Type};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::app::App;

    struct Rig {
        endpoint: Endpoint,
        server: PlugtestServer,
    }

    fn peer(n: u16) -> Peer {
        Peer::from(SocketAddr::from(([192, 0, 2, 1], 1_000 + n)))
    }

    impl Rig {
        fn new() -> Self {
            let endpoint = Endpoint::new(Config::default(), ChaCha8Rng::seed_from_u64(1));
            Self { endpoint, server: PlugtestServer::new() }
        }

        /// What is sent, to whomever.
        fn sent(&mut self) -> Vec<(Peer, Message)> {
            let mut all = Vec::new();
            let mut buf = [0; 1_152];
            loop {
                while let Some(transmit) = self.endpoint.poll_transmit(&mut buf) {
                    all.push((transmit.to, Message::decode(Bytes::copy_from_slice(&buf[..transmit.len])).unwrap()));
                }
                let Some(event) = self.endpoint.poll_event() else { return all };
                self.server.on_event(&mut self.endpoint, Instant::ZERO, event);
            }
        }

        fn ask(&mut self, from: Peer, message_id: u16, asked: Request) -> Vec<(Peer, Message)> {
            let mut message = Message::empty(Type::Confirmable, message_id);
            (message.code, message.options, message.payload) = (asked.code, asked.options, asked.body.into_bytes());
            let mut payload = vec![0; message.encoded_len()];
            message.encode(&mut payload).unwrap();
            let datagram = Datagram { from, to: Local::default(), payload: payload.into() };
            self.endpoint.handle_datagram(Instant::ZERO, datagram);
            self.sent()
        }

        fn observe(&mut self, path: &str) {
            let mut get = request(Code::GET, path);
            get.options.set_observe(0);
            let sent = self.ask(peer(1), 1, get);
            assert!(sent[0].1.options.observe().is_some());
            assert_eq!(self.server.observers(&self.endpoint, path), 1);
        }
    }

    #[test]
    fn who_observes_is_told_what_others_put() {
        let mut rig = Rig::new();
        rig.observe("/obs");
        let put = request(Code::PUT, "/obs").with_content(ContentFormat::TEXT_PLAIN, "new");
        let sent = rig.ask(peer(2), 2, put);
        let codes: Vec<_> = sent.iter().map(|(to, message)| (*to, message.kind, message.code)).collect();
        let told = (peer(1), Type::Confirmable, Code::CONTENT);
        assert_eq!(codes, [(peer(2), Type::Acknowledgement, Code::CHANGED), told]);
        assert_eq!(sent[1].1.payload, "new");
    }

    #[test]
    fn another_format_and_the_end_of_a_resource_end_what_observes_it() {
        let cases = [
            (request(Code::PUT, "/obs").with_content(ContentFormat::XML, "<new/>"), Code::NOT_ACCEPTABLE),
            (request(Code::DELETE, "/obs"), Code::NOT_FOUND),
        ];
        for (asked, code) in cases {
            let mut rig = Rig::new();
            rig.observe("/obs");
            let sent = rig.ask(peer(2), 2, asked);
            assert_eq!((sent.len(), sent[1].0, sent[1].1.code), (2, peer(1), code));
            assert_eq!((sent[1].1.options.observe(), rig.server.observers(&rig.endpoint, "/obs")), (None, 0));
        }
    }

    #[test]
    fn a_large_body_is_collected_unless_it_is_refused_anyway() {
        let mut rig = Rig::new();
        for (path, code) in [("/large-update", Code::CONTINUE), ("/nope", Code::NOT_FOUND)] {
            let mut put = request(Code::PUT, path).with_body(vec![b'x'; 16]);
            put.options.set_block1(coap_core::Block::new(0, true, 0).unwrap());
            let sent = rig.ask(peer(1), code.to_byte().into(), put);
            assert_eq!(sent[0].1.code, code);
        }
        let mut last = request(Code::PUT, "/large-update").with_body("end");
        last.options.set_block1(coap_core::Block::new(1, false, 0).unwrap());
        assert_eq!(rig.ask(peer(1), 3, last)[0].1.code, Code::CHANGED);
        assert_eq!(rig.server.plugtest().content("/large-update").unwrap().body, "xxxxxxxxxxxxxxxxend");
        assert!(!matches!(rig.endpoint.poll_event(), Some(Event::Request(_))));
    }
}
