//! `coap serve --plugtest`: the resources, as the test suites of others ask for them.

use core::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{Ran, Server, coap, command};

fn start() -> Server {
    Server::start(&["--plugtest"])
}

/// A response: `code`, its content as text, and the values of its options with a number.
struct Reply(Value);

impl Reply {
    fn code(&self) -> &str {
        self.0["code"].as_str().unwrap()
    }

    fn text(&self) -> &str {
        self.0["text"].as_str().unwrap_or_default()
    }

    fn format(&self) -> Option<u64> {
        self.option(12).first().map(|value| u64::from_str_radix(&format!("0{value}"), 16).unwrap())
    }

    /// Those with this number, in hexadecimal.
    fn option(&self, number: u64) -> Vec<String> {
        let options = self.0["options"].as_array().unwrap().iter();
        options.filter(|option| option[0] == number).map(|option| option[1].as_str().unwrap().to_owned()).collect()
    }

    /// The same as text.
    fn words(&self, number: u64) -> Vec<String> {
        let bytes =
            |hex: &str| (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        self.option(number).iter().map(|hex| String::from_utf8(bytes(hex)).unwrap()).collect()
    }

    fn links(&self) -> Vec<String> {
        self.text().split(",<").map(|link| link.trim_start_matches('<').split('>').next().unwrap().to_owned()).collect()
    }
}

fn ask(server: &Server, method: &str, path: &str, flags: &[&str]) -> Reply {
    let ran = coap(&[&["request", "-m", method, "--json"], flags, &[&server.uri(path)]].concat());
    Reply(serde_json::from_slice(&ran.out).unwrap_or_else(|_| panic!("{method} {path}: {}", ran.err)))
}

fn get(server: &Server, path: &str) -> Reply {
    ask(server, "get", path, &[])
}

/// The codes of requests, one after the other.
#[track_caller]
fn codes(server: &Server, asked: &[(&str, &str, &[&str])], expected: &[&str]) {
    let codes: Vec<_> =
        asked.iter().map(|(method, path, flags)| ask(server, method, path, flags).code().to_owned()).collect();
    assert_eq!(codes, expected);
}

/// What is listed, and nothing else.
const LISTED: [&str; 29] = [
    "/.well-known/core",
    "/test",
    "/separate",
    "/large",
    "/large-separate",
    "/large-update",
    "/large-create",
    "/large-post",
    "/seg1",
    "/seg1/seg2",
    "/seg1/seg2/seg3",
    "/query",
    "/location-query",
    "/multi-format",
    "/validate",
    "/link1",
    "/link2",
    "/link3",
    "/path",
    "/path/sub1",
    "/path/sub2",
    "/path/sub3",
    "/obs",
    "/obs-non",
    "/obs-large",
    "/obs-pumping",
    "/obs-pumping-non",
    "/obs-reset",
    "/shutdown",
];

#[test]
fn a_fresh_server_lists_29_resources_and_each_is_there() {
    let server = start();
    let core = get(&server, "/.well-known/core");
    assert_eq!((core.code(), core.format()), ("2.05", Some(40)));
    assert_eq!(core.links(), LISTED);
    for path in core.links() {
        let code = get(&server, &path).code().to_owned();
        let is_post = ["/large-post", "/location-query", "/obs-reset", "/shutdown"].contains(&&path[..]);
        assert_eq!(code, if is_post { "4.05" } else { "2.05" }, "{path}");
    }
    assert_eq!(get(&server, "/hello").code(), "4.04");
}

#[test]
fn links_are_filtered() {
    let server = start();
    for (query, paths) in [
        ("rt=Type1", &["/link1", "/link3"][..]),
        ("rt=Type2", &["/link1", "/link2"]),
        ("if=If*", &["/link1", "/link2"]),
        ("sz=*", &["/large", "/large-separate", "/large-update"]),
        ("href=/link1", &["/link1"]),
        ("href=/link*", &["/link1", "/link2", "/link3"]),
        ("ct=60", &["/multi-format"]),
        ("obs=", &["/obs", "/obs-non", "/obs-large", "/obs-pumping", "/obs-pumping-non"]),
    ] {
        assert_eq!(get(&server, &format!("/.well-known/core?{query}")).links(), paths, "{query}");
    }
    let none = get(&server, "/.well-known/core?rt=none");
    assert_eq!((none.code(), none.text()), ("2.05", ""));
    assert_eq!(get(&server, "/.well-known/core?rt").code(), "4.00");
    assert_eq!(get(&server, "/path").links(), ["/path/sub1", "/path/sub2", "/path/sub3"]);
}

#[test]
fn test_tells_what_was_asked_and_takes_every_method() {
    let server = start();
    let reply = ask(&server, "get", "/test", &["-T", "0x0AFF"]);
    let lines: Vec<_> = reply.text().split('\n').collect();
    assert_eq!((lines[0], lines[1], lines[3]), ("Type: 0 (CON)", "Code: 1 (GET)", "Token: 0aff"));
    assert!(lines[2].strip_prefix("MID: ").unwrap().parse::<u16>().is_ok());
    assert_eq!((lines.len(), reply.format(), reply.option(14)), (4, Some(0), vec!["1e".to_owned()]));
    assert!(ask(&server, "get", "/test", &["-N", "-T", ""]).text().starts_with("Type: 1 (NON)\nCode: 1 (GET)\nMID: "));

    let posted = ask(&server, "post", "/test", &["-e", "x"]);
    assert_eq!((posted.code(), posted.text()), ("2.01", ""));
    assert_eq!(posted.words(8), ["location1", "location2", "location3"]);
    let none_match = ["-O", "If-None-Match="];
    codes(
        &server,
        &[
            ("put", "/test", &["-e", "x"]),
            ("put", "/test", &none_match),
            ("delete", "/test", &[]),
            ("get", "/test", &[]),
        ],
        &["2.04", "4.12", "2.02", "2.05"],
    );
}

#[test]
fn paths_and_queries_come_back() {
    let server = start();
    for path in ["/seg1", "/seg1/seg2", "/seg1/seg2/seg3"] {
        assert!(get(&server, path).text().starts_with("Long path resource\nType: 0 (CON)\n"));
    }
    let query = get(&server, "/query?first=1&second=2");
    assert!(query.text().ends_with("\n?first=1&second=2"), "{}", query.text());
    let location = ask(&server, "post", "/location-query", &[]);
    assert_eq!((location.code(), location.words(20)), ("2.01", vec!["first=1".to_owned(), "second=2".to_owned()]));
    codes(&server, &[("post", "/query", &[]), ("get", "/seg1/", &[])], &["4.05", "4.04"]);
}

#[test]
fn there_are_four_formats_and_no_other() {
    let server = start();
    for accept in ["0", "41", "50", "60"] {
        let reply = ask(&server, "get", "/multi-format", &["-A", accept]);
        assert_eq!((reply.code(), reply.format()), ("2.05", accept.parse().ok()));
    }
    let json = ask(&server, "get", "/multi-format", &["-A", "50"]);
    let object: Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!((&object["type"], &object["code"], &object["accept"]), (&"CON".into(), &"GET".into(), &50.into()));
    assert_eq!(get(&server, "/multi-format").format(), Some(0));
    assert_eq!(ask(&server, "get", "/multi-format", &["-A", "47"]).code(), "4.06");
}

#[test]
fn separate_is_acknowledged_before_it_is_answered() {
    let server = start();
    for path in ["/separate", "/large-separate"] {
        let started = Instant::now();
        let ran = coap(&["get", "-v", &server.uri(path)]);
        assert!(started.elapsed() >= Duration::from_secs(1));
        let received: Vec<_> = ran.err.lines().filter(|line| line.contains("<- ")).collect();
        assert!(received[0].contains(" ACK ") && received[1].contains(" CON "), "{}", ran.err);
    }
    codes(&server, &[("put", "/separate", &[]), ("post", "/separate", &[])], &["2.04", "2.04"]);
}

#[test]
fn large_is_five_framed_blocks() {
    let server = start();
    let reply = get(&server, "/large");
    let lines: Vec<_> = reply.text().split_inclusive('\n').collect();
    assert!(reply.text().len() == 1_280 && lines.len() == 20 && lines.iter().all(|line| line.len() == 64));
    for number in 0..5 {
        assert!(lines[4 * number].starts_with("/---"));
        assert!(lines[4 * number + 1].contains(&format!(" RESOURCE BLOCK NO. {} OF 5 ", number + 1)));
    }
    assert_eq!(ask(&server, "get", "/large", &["-b", "16"]).text(), reply.text());
}

#[test]
fn large_content_is_stored_created_and_upper_cased() {
    let server = start();
    let content = "abc ".repeat(500);
    assert_eq!(get(&server, "/large-update").text().len(), 1_280);
    codes(&server, &[("put", "/large-update", &["-t", "50", "-e", &content])], &["2.04"]);
    let stored = get(&server, "/large-update");
    assert_eq!((stored.text(), stored.format()), (&content[..], Some(50)));
    let link = get(&server, "/.well-known/core?href=/large-update");
    assert!(link.text().contains(";ct=50") && link.text().contains(";sz=2000"), "{}", link.text());

    let created = ask(&server, "post", "/large-create", &["-e", &content]);
    assert_eq!((created.code(), created.words(8)), ("2.01", vec!["large-create".to_owned(), "1".to_owned()]));
    let child = get(&server, "/large-create/1");
    assert_eq!((child.text(), child.format()), (&content[..], Some(42)));
    assert_eq!(get(&server, "/large-create").text(), "</large-create/1>;ct=42;sz=2000");
    codes(&server, &[("delete", "/large-create/1", &[]), ("get", "/large-create/1", &[])], &["2.02", "4.04"]);

    let posted = ask(&server, "post", "/large-post", &["-t", "0", "-e", &content]);
    assert_eq!((posted.code(), posted.format()), ("2.04", Some(0)));
    assert_eq!(posted.text(), content.to_uppercase());
    assert_eq!(get(&server, "/.well-known/core").links().len(), 29);
}

#[test]
fn validate_has_a_tag_that_changes_with_it() {
    let server = start();
    let first = get(&server, "/validate");
    let known = format!("ETag=0x{}", first.option(4)[0]);
    assert_eq!(first.option(14), ["1e"]);
    let valid = ask(&server, "get", "/validate", &["-O", &known]);
    assert_eq!((valid.code(), valid.text(), valid.option(4)), ("2.03", "", first.option(4)));
    let matches = format!("If-Match=0x{}", first.option(4)[0]);
    let put = &["-O", &matches[..], "-t", "0", "-e", "new"][..];
    codes(
        &server,
        &[("put", "/validate", put), ("put", "/validate", put), ("get", "/validate", &["-O", &known])],
        &["2.04", "4.12", "2.05"],
    );
    assert_eq!(get(&server, "/validate").text(), "new");
    codes(&server, &[("put", "/validate", &["-e", "x"]), ("delete", "/validate", &[])], &["2.04", "2.02"]);
    assert_eq!(get(&server, "/validate").text(), first.text());
}

#[test]
fn create1_is_listed_while_it_is_there() {
    let server = start();
    let create: (&str, &str, &[&str]) = ("put", "/create1", &["-O", "If-None-Match=", "-e", "x"]);
    codes(&server, &[("get", "/create1", &[]), create, create], &["4.04", "2.01", "4.12"]);
    assert_eq!(get(&server, "/.well-known/core").links().len(), 30);
    assert!(get(&server, "/.well-known/core?href=/create1").text().contains(";ct=42;sz=1"));
    codes(&server, &[("put", "/create1", &[]), ("delete", "/create1", &[])], &["2.04", "2.02"]);
    codes(&server, &[("get", "/create1", &[]), create, ("delete", "/create1", &[])], &["4.04", "2.01", "2.02"]);
    assert_eq!(get(&server, "/.well-known/core").links().len(), 29);
}

#[test]
fn the_server_does_not_obey_shutdown_and_echoes_without_saying_so() {
    let server = start();
    codes(&server, &[("post", "/shutdown", &["-e", "sesame"]), ("get", "/test", &[])], &["4.03", "2.05"]);
    assert_eq!(ask(&server, "post", "/echo", &["-e", "hi"]).text(), "hi");
}

#[test]
fn what_else_there_is_must_be_named_and_is_never_listed() {
    let server = start();
    for path in ["/create2", "/create3", "/link4", "/secure"] {
        codes(&server, &[("put", path, &[])], &["4.04"]);
    }
    drop(server);
    let server = Server::start(&["--plugtest", "--with", "create2,create3", "--with", "/link4", "--with", "secure"]);
    let created = ask(&server, "put", "/create2", &["-O", "If-None-Match=", "-e", "x"]);
    assert_eq!((created.code(), created.words(8).len()), ("2.01", 3));
    let created = ask(&server, "put", "/create3", &["-e", "x"]);
    assert_eq!((created.code(), created.option(4).len()), ("2.01", 1));
    codes(
        &server,
        &[("get", "/secure", &[]), ("get", "/link4", &[]), ("get", "/create2", &[]), ("delete", "/create2", &[])],
        &["4.01", "2.05", "4.05", "2.02"],
    );
    assert_eq!(get(&server, "/.well-known/core").links().len(), 29);
}

fn observe(server: &Server, path: &str, flags: &[&str]) -> Ran {
    coap(&[&["observe", "--json"], flags, &[&server.uri(path)]].concat())
}

fn states(ran: &Ran) -> Vec<Value> {
    ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is_time(text: &str) -> bool {
    let parts: Vec<_> = text.split(':').collect();
    parts.len() == 3 && parts.iter().all(|part| part.len() == 2 && part.parse::<u8>().is_ok())
}

#[test]
fn observables_tell_the_time_every_five_seconds() {
    let server = start();
    let ran = observe(&server, "/obs", &["--count", "3"]);
    let states = states(&ran);
    let texts: Vec<_> = states.iter().map(|state| state["text"].as_str().unwrap_or_default()).collect();
    assert!(texts.len() == 3 && texts.iter().all(|text| is_time(text)), "{}", ran.text());
    assert!(texts[0] != texts[1] && texts[1] != texts[2]);
    assert!(get(&server, "/obs-large").text().contains('\n'));
}

#[test]
fn what_is_put_is_told_at_once_and_another_format_or_a_delete_end_it() {
    let server = start();
    for (method, flags, code) in
        [("put", &["-t", "50", "-e", "{}"][..], "4.06"), ("delete", &[], "4.04"), ("put", &["-e", "bytes"], "4.06")]
    {
        // What was put before is over.
        let deadline = Instant::now() + Duration::from_secs(15);
        while !is_time(get(&server, "/obs").text()) {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(200));
        }
        let child = command(&["observe", "-v", "-s", "8", &server.uri("/obs")]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        codes(
            &server,
            &[("put", "/obs", &["-t", "0", "-e", "new"]), (method, "/obs", flags)],
            &["2.04", if method == "put" { "2.04" } else { "2.02" }],
        );
        let output = child.wait_with_output().unwrap();
        let seen = String::from_utf8_lossy(&output.stderr);
        assert!(seen.contains(code), "{method}: {seen}");
    }
}

#[test]
fn a_reset_forgets_observers_without_a_word() {
    let server = start();
    let child = command(&["observe", "-v", "-s", "7", &server.uri("/obs")]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    codes(&server, &[("post", "/obs-reset", &["-e", "sesame"])], &["2.04"]);
    let output = child.wait_with_output().unwrap();
    let seen = String::from_utf8_lossy(&output.stderr);
    // The first, and no notification: the answer to the farewell has no Observe.
    assert_eq!(seen.lines().filter(|line| line.contains("<- ") && line.contains("Observe:")).count(), 1, "{seen}");
}

#[test]
fn the_server_says_what_it_serves() {
    for (args, part) in [
        (&["--plugtest", "--with", "secure"][..], "the 29 resources of the ETSI plugtests, and /echo /secure"),
        (&[], "/hello /time"),
        (&["--files", "."], "under /files/ to read"),
    ] {
        let mut child = command(&[&["serve", "--bind", "127.0.0.1", "--port", "0"], args].concat()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
        let listening = lines.next().unwrap().unwrap();
        assert!(listening.starts_with("coap: listening on coap://127.0.0.1:"), "{listening}");
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with("coap: serving ") && line.contains(part), "{line}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    coap(&["serve", "--bind", "127.0.0.1:1", "--port", "7"]).failed(2, "--port 7");
}
