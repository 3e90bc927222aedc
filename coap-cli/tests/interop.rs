//! With real peers, over loopback: libcoap's client and server, aiocoap's client and server, each against our program.
//!
//! `cargo test -p coap-cli --test interop -- --ignored` with `coap-client-notls` and `coap-server-notls` (Debian:
//! libcoap3-bin) and a Python that has aiocoap (PyPI) in the path. The gate installs them.

mod peers;

use core::time::Duration;
use std::fs;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use peers::{Running, all, coap, stdout, their_server};

/// Both families; a server on `[::]` has both.
const HOSTS: [&str; 2] = ["127.0.0.1", "[::1]"];

/// `coap serve` on a free port of all addresses.
fn our_server() -> (Running, u16) {
    our_server_with(&[])
}

fn our_server_with(flags: &[&str]) -> (Running, u16) {
    let (server, ports) = peers::our_server(&[&["--port", "0"], flags].concat(), "coap", 1);
    (server, ports[0])
}

/// A port that nobody has at this moment, for servers that cannot choose one.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("[::]:0").expect("a free port");
    socket.local_addr().expect("its number").port()
}

fn libcoap_server(host: &str) -> (Running, u16) {
    let port = free_port();
    let address = host.trim_matches(['[', ']']);
    let mut command = Command::new("coap-server-notls");
    command.args(["-A", address, "-p", &port.to_string(), "-d", "10", "-v", "3"]);
    (their_server(&mut command, &[&format!("coap://{host}:{port}")]), port)
}

const AIOCOAP_SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aiocoap_server.py");
const AIOCOAP_OBSERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aiocoap_observer.py");

fn aiocoap_server(host: &str) -> (Running, u16) {
    let port = free_port();
    let address = host.trim_matches(['[', ']']);
    let mut command = Command::new("python3");
    command.args([AIOCOAP_SERVER, address, &port.to_string()]);
    (their_server(&mut command, &[&format!("coap://{host}:{port}")]), port)
}

fn libcoap(arguments: &[&str]) -> Output {
    Command::new("coap-client-notls").args(["-B", "10"]).args(arguments).output().expect("libcoap's client runs")
}

fn aiocoap(arguments: &[&str]) -> Output {
    Command::new("aiocoap-client").arg("--no-color").args(arguments).output().expect("aiocoap's client runs")
}

/// A folder that ends with its test: `root` is empty, and `in` has so many bytes, no two blocks alike.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, length: u32) -> Self {
        let folder = Self(std::env::temp_dir().join(format!("coap-interop-{}-{name}", std::process::id())));
        fs::create_dir_all(folder.0.join("root")).expect("a folder");
        let content: Vec<u8> = (0..length).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(folder.0.join("in"), content).expect("a file");
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a name").to_owned()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Our program's exit code, and its standard output.
#[track_caller]
fn expect(arguments: &[&str], code: i32, content: &str) {
    let output = coap(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", all(&output));
    assert_eq!(stdout(&output), content, "{arguments:?}: {}", all(&output));
}

#[test]
#[ignore = "needs libcoap's client (Debian: libcoap3-bin)"]
fn libcoaps_client_uses_our_server() {
    let (_server, port) = our_server();
    for host in HOSTS {
        let at = |path: &str| format!("coap://{host}:{port}{path}");
        for non in [&[][..], &["-N"]] {
            let ask = |arguments: &[&str]| libcoap(&[non, arguments].concat());
            assert_eq!(stdout(&ask(&["-m", "get", &at("/hello")])).len(), 20, "{host} {non:?}");
            let put = ask(&["-m", "put", "-t", "text", "-e", "one", &at("/store/note")]);
            assert_eq!(stdout(&put), "", "{}", all(&put));
            assert_eq!(stdout(&ask(&["-m", "get", &at("/store/note")])), "one");
            let post = ask(&["-m", "post", "-e", "two", &at("/store/note")]);
            assert!(!all(&post).contains("4.05"), "{}", all(&post));
            ask(&["-m", "delete", &at("/store/note")]);
            let gone = ask(&["-m", "get", &at("/store/note")]);
            assert!(all(&gone).contains("4.04"), "{}", all(&gone));
            // A separate response, and a token of eight bytes.
            let slow = ask(&["-m", "get", "-T", "12345678", &at("/slow?ms=700")]);
            assert!(!stdout(&slow).is_empty(), "{}", all(&slow));
            assert!(!all(&slow).contains("5.0"), "{}", all(&slow));
        }
        let bad = libcoap(&["-v", "7", "-O", "65001,x", "-m", "get", &at("/hello")]);
        assert!(all(&bad).contains("c:4.02"), "{}", all(&bad));
    }
}

#[test]
#[ignore = "needs libcoap's client (Debian: libcoap3-bin)"]
fn libcoaps_client_runs_the_plugtests() {
    let (_server, port) = our_server_with(&["--plugtest"]);
    for host in HOSTS {
        let at = |path: &str| format!("coap://{host}:{port}{path}");
        let core = stdout(&libcoap(&["-m", "get", &at("/.well-known/core")]));
        assert_eq!(core.matches('<').count(), 29, "{core}");
        let links = stdout(&libcoap(&["-m", "get", &at("/.well-known/core?rt=Type2")]));
        assert!(links.contains("</link1>") && links.contains("</link2>") && !links.contains("</link3>"), "{links}");
        let test = stdout(&libcoap(&["-m", "get", "-T", "token", &at("/test")]));
        assert!(test.starts_with("Type: 0 (CON)\nCode: 1 (GET)\nMID: ") && test.contains("\nToken: "), "{test}");
        let posted = all(&libcoap(&["-v", "7", "-m", "post", "-t", "text", "-e", "x", &at("/test")]));
        assert!(posted.contains("c:2.01") && posted.contains("Location-Path:location3"), "{posted}");
        assert!(!stdout(&libcoap(&["-m", "get", &at("/separate")])).is_empty());
        for size in ["16", "64", "1024"] {
            let large = stdout(&libcoap(&["-m", "get", "-b", size, &at("/large")]));
            assert!(large.contains("RESOURCE BLOCK NO. 5 OF 5") && large.len() > 1_270, "{size}: {large}");
        }
        let query = stdout(&libcoap(&["-m", "get", &at("/query?first=1&second=2")]));
        assert!(query.ends_with("?first=1&second=2"), "{query}");
        assert!(stdout(&libcoap(&["-m", "get", "-A", "xml", &at("/multi-format")])).starts_with("<msg "));
        let body = "in blocks ".repeat(50);
        libcoap(&["-m", "put", "-b", "64", "-t", "text", "-e", &body, &at("/large-update")]);
        assert_eq!(stdout(&libcoap(&["-m", "get", &at("/large-update")])), body.trim());
        let upper = stdout(&libcoap(&["-m", "post", "-b", "64", "-t", "text", "-e", &body, &at("/large-post")]));
        assert_eq!(upper, body.to_uppercase().trim());
        // The first state, and one or two later ones.
        let states = stdout(&libcoap(&["-s", "7", "-m", "get", &at("/obs")]));
        assert!(states.matches(':').count() >= 4, "{states}");
    }
}

#[test]
#[ignore = "needs libcoap's client (Debian: libcoap3-bin)"]
fn libcoaps_client_is_served_before_it_has_proven_its_address() {
    let (_server, port) = our_server_with(&["--plugtest", "--limit-unproven", "all"]);
    for host in HOSTS {
        let at = |path: &str| format!("coap://{host}:{port}{path}");
        let large = all(&libcoap(&["-v", "7", "-m", "get", &at("/large")]));
        assert!(large.contains("RESOURCE BLOCK NO. 5 OF 5"), "{large}");
        // Once from us, and once back with the request for the second block.
        assert_eq!(large.matches("Echo:0x").count(), 2, "{large}");
        let core = stdout(&libcoap(&["-m", "get", &at("/.well-known/core")]));
        assert_eq!(core.matches('<').count(), 29, "{core}");
        let states = stdout(&libcoap(&["-s", "7", "-m", "get", &at("/obs")]));
        assert!(states.matches(':').count() >= 4, "{states}");
    }
}

#[test]
#[ignore = "needs aiocoap's client (PyPI: aiocoap)"]
fn aiocoaps_client_is_served_before_it_has_proven_its_address() {
    let (_server, port) = our_server_with(&["--plugtest", "--limit-unproven", "all"]);
    for host in HOSTS {
        let at = |path: &str| format!("coap://{host}:{port}{path}");
        let large = stdout(&aiocoap(&[&at("/large")]));
        assert!(large.contains("RESOURCE BLOCK NO. 5 OF 5") && large.len() > 1_270, "{large}");
        let separate = stdout(&aiocoap(&[&at("/large-separate")]));
        assert!(separate.contains("RESOURCE BLOCK NO. 5 OF 5"), "{separate}");
    }
}

#[test]
#[ignore = "needs libcoap's client (Debian: libcoap3-bin)"]
fn libcoaps_client_pings_our_server() {
    let (_server, port) = our_server();
    // It pings every second while it waits for the response.
    let output = libcoap(&["-v", "7", "-K", "1", "-m", "get", &format!("coap://127.0.0.1:{port}/slow?ms=2500")]);
    assert!(all(&output).contains("t:CON c:0.00"), "{}", all(&output));
    assert!(all(&output).contains("t:RST c:0.00"), "{}", all(&output));
    assert!(!stdout(&output).is_empty());
}

#[test]
#[ignore = "needs libcoap's server (Debian: libcoap3-bin)"]
fn our_program_uses_libcoaps_server() {
    for host in HOSTS {
        let (_server, port) = libcoap_server(host);
        let at = |path: &str| format!("coap://{host}:{port}{path}");
        for non in [&[][..], &["--non"]] {
            let with = |arguments: &[&str]| -> Vec<String> {
                let method = arguments.first().into_iter();
                method.chain(non).chain(arguments.iter().skip(1)).map(|text| (*text).to_owned()).collect()
            };
            let expect = |arguments: &[&str], code, content: &str| {
                let arguments = with(arguments);
                let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
                expect(&arguments, code, content);
            };
            expect(&["put", "-e", "one", &at("/note")], 0, "");
            expect(&["get", &at("/note")], 0, "one");
            expect(&["post", "-e", "two", &at("/note")], 0, "");
            expect(&["delete", &at("/note")], 0, "");
            expect(&["get", &at("/note")], 4, "");
            // An Empty acknowledgement, and one second later the response.
            expect(&["get", "-T", "0x0102030405060708", &at("/async?1")], 0, "done");
        }
        expect(&["get", "-O", "65001=x", &at("/time")], 4, "");
        expect(&["ping", &at("/")], 0, "");
    }
}

#[test]
#[ignore = "needs aiocoap's client (PyPI: aiocoap)"]
fn aiocoaps_client_uses_our_server() {
    let (_server, port) = our_server();
    for host in HOSTS {
        let at = |path: &str| format!("coap://{host}:{port}{path}");
        for non in [&[][..], &["--non"]] {
            let ask = |arguments: &[&str]| aiocoap(&[non, arguments].concat());
            let hello = ask(&[&at("/hello")]);
            assert_eq!(stdout(&hello).len(), 20, "{}", all(&hello));
            let put = ask(&["-m", "PUT", "--payload", "one", &at("/store/note")]);
            assert!(put.status.success(), "{}", all(&put));
            assert_eq!(stdout(&ask(&[&at("/store/note")])), "one");
            let post = ask(&["-m", "POST", "--payload", "two", &at("/store/note")]);
            assert!(post.status.success(), "{}", all(&post));
            let delete = ask(&["-m", "DELETE", &at("/store/note")]);
            assert!(delete.status.success(), "{}", all(&delete));
            let gone = ask(&[&at("/store/note")]);
            assert!(!gone.status.success() && all(&gone).contains("4.04"), "{}", all(&gone));
            let slow = ask(&[&at("/slow?ms=700")]);
            assert!(slow.status.success() && !stdout(&slow).is_empty(), "{}", all(&slow));
        }
    }
}

#[test]
#[ignore = "needs aiocoap's server (PyPI: aiocoap)"]
fn our_program_uses_aiocoaps_server() {
    for host in HOSTS {
        let (_server, port) = aiocoap_server(host);
        let at = |path: &str| format!("coap://{host}:{port}{path}");
        for non in [&["-v"][..], &["--non"]] {
            let get = |path: &str| -> Vec<String> {
                ["get"].iter().chain(non).map(|text| (*text).to_owned()).chain([at(path)]).collect()
            };
            let expect = |arguments: Vec<String>, code, content: &str| {
                let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
                expect(&arguments, code, content);
            };
            expect(get("/note"), 0, "empty");
            expect(get("/slow"), 0, "at last");
            expect(get("/nothing"), 4, "");
        }
        expect(&["put", "-e", "one", &at("/note")], 0, "");
        expect(&["get", &at("/note")], 0, "one");
        expect(&["post", "-e", "two", &at("/note")], 0, "TWO");
        expect(&["delete", &at("/note")], 0, "");
        expect(&["get", &at("/note")], 0, "empty");
        expect(&["get", "-T", "0x0102030405060708", &at("/whoami")], 0, "0102030405060708");
        expect(&["ping", &at("/")], 0, "");
    }
}

#[test]
#[ignore = "needs aiocoap's server (PyPI: aiocoap)"]
fn our_checks_find_no_fault_in_aiocoaps_server() {
    let port = free_port();
    let mut command = Command::new("python3");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aiocoap_plugtest.py");
    command.args([script, "127.0.0.1", &port.to_string()]);
    let _server = their_server(&mut command, &[&format!("coap://127.0.0.1:{port}")]);
    let output = coap(&["check", "-t", "CORE,LINK_01,BLOCK", &format!("coap://127.0.0.1:{port}")]);
    // What it does not have is inconclusive.
    assert_eq!(output.status.code(), Some(3), "{}", all(&output));
    assert!(stdout(&output).ends_with("25 PASS, 0 FAIL, 6 INCONCLUSIVE"), "{}", all(&output));
}

#[test]
#[ignore = "needs libcoap's server (Debian: libcoap3-bin)"]
fn a_peer_that_went_away_is_reported_at_once() {
    let (server, port) = libcoap_server("127.0.0.1");
    drop(server);
    let start = Instant::now();
    let output = coap(&["get", &format!("coap://127.0.0.1:{port}/time")]);
    assert_eq!(output.status.code(), Some(7), "{}", all(&output));
    assert!(start.elapsed() < Duration::from_secs(2), "the network said at once that nobody listens");
}

/// A payload from standard input goes through both stacks byte for byte.
#[test]
#[ignore = "needs libcoap's server (Debian: libcoap3-bin)"]
fn bytes_stay_as_they_are() {
    let (_server, port) = libcoap_server("127.0.0.1");
    let uri = format!("coap://127.0.0.1:{port}/bytes");
    let payload: Vec<u8> = (0..=255).collect();
    let mut put = Command::new(env!("CARGO_BIN_EXE_coap"))
        .args(["put", "-f", "-", "-t", "42", &uri])
        .stdin(Stdio::piped())
        .spawn()
        .expect("our program runs");
    put.stdin.take().expect("its input").write_all(&payload).expect("it reads");
    assert!(put.wait().expect("it ends").success());
    let mut get = Command::new(env!("CARGO_BIN_EXE_coap"))
        .args(["get", &uri])
        .stdout(Stdio::piped())
        .spawn()
        .expect("our program runs");
    let mut back = Vec::new();
    get.stdout.take().expect("its output").read_to_end(&mut back).expect("it writes");
    assert!(get.wait().expect("it ends").success());
    assert_eq!(back, payload);
}

/// Longer than any datagram, and its last block is not full.
const LARGE: u32 = 200_123;

#[test]
#[ignore = "needs libcoap's client (Debian: libcoap3-bin)"]
fn libcoaps_client_moves_large_bodies_to_and_from_our_server() {
    let folder = Folder::new("libcoap-client", LARGE);
    let (_server, port) = our_server_with(&["--files", &folder.path("root"), "--write"]);
    for host in HOSTS {
        for (number, blocks) in [&[][..], &["-b", "64"], &["-N"]].into_iter().enumerate() {
            let uri = format!("coap://{host}:{port}/files/{number}");
            let ask = |arguments: &[&str]| libcoap(&[blocks, arguments, &[&uri]].concat());
            let put = ask(&["-B", "60", "-m", "put", "-f", &folder.path("in")]);
            assert!(folder.read(&format!("root/{number}")) == folder.read("in"), "{host} {blocks:?}: {}", all(&put));
            let get = ask(&["-B", "60", "-m", "get", "-o", &folder.path("out")]);
            assert!(folder.read("out") == folder.read("in"), "{host} {blocks:?}: {}", all(&get));
        }
        let large = libcoap(&["-m", "get", &format!("coap://{host}:{port}/large")]);
        assert_eq!(large.stdout.len(), 1_280 + 1, "{}", all(&large));
    }
}

#[test]
#[ignore = "needs libcoap's client (Debian: libcoap3-bin)"]
fn libcoaps_client_observes_our_server() {
    let (_server, port) = our_server();
    for host in HOSTS {
        let output = libcoap(&["-s", "4", "-m", "get", &format!("coap://{host}:{port}/time")]);
        // Without newlines in between: the first, and one a second.
        let states = stdout(&output).matches('Z').count();
        assert!((4..=7).contains(&states), "{host}: {states}: {}", all(&output));
    }
}

#[test]
#[ignore = "needs libcoap's server (Debian: libcoap3-bin)"]
fn our_program_moves_large_bodies_to_and_from_libcoaps_server() {
    let folder = Folder::new("libcoap-server", LARGE);
    for host in HOSTS {
        let (_server, port) = libcoap_server(host);
        let uri = format!("coap://{host}:{port}/large");
        for size in ["0", "64", "1024"] {
            let put = coap(&["put", "-b", size, "-t", "42", "-f", &folder.path("in"), &uri]);
            assert!(put.status.success(), "{host} {size}: {}", all(&put));
            let get = coap(&["get", "-b", size, "-o", &folder.path("out"), &uri]);
            assert!(folder.read("out") == folder.read("in"), "{host} {size}: {}", all(&get));
        }
    }
}

/// Three states of a clock, each another; then the server hears that nobody observes any more.
#[track_caller]
fn follow(uri: &str) {
    let output = coap(&["observe", "-v", "--count", "3", "--seconds", "20", uri]);
    assert_eq!(output.status.code(), Some(0), "{uri}: {}", all(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut states: Vec<_> = told.lines().collect();
    states.dedup();
    assert_eq!(states.len(), 3, "{uri}: {}", all(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().filter(|line| line.contains(", fresh for ")).count(), 3, "{uri}: {said}");
    let last = said.lines().rfind(|line| line.contains("-> ") && line.contains(" GET ")).unwrap_or_default();
    assert!(last.contains("Observe: 1"), "{uri}: {said}");
}

#[test]
#[ignore = "needs libcoap's server (Debian: libcoap3-bin)"]
fn our_program_observes_libcoaps_clock() {
    for host in HOSTS {
        let (_server, port) = libcoap_server(host);
        follow(&format!("coap://{host}:{port}/time"));
    }
}

#[test]
#[ignore = "needs aiocoap's server (PyPI: aiocoap)"]
fn our_program_observes_aiocoaps_clock() {
    for host in HOSTS {
        let (_server, port) = aiocoap_server(host);
        follow(&format!("coap://{host}:{port}/time"));
    }
}

#[test]
#[ignore = "needs aiocoap's server (PyPI: aiocoap)"]
fn our_program_moves_large_bodies_to_and_from_aiocoaps_server() {
    let folder = Folder::new("aiocoap-server", LARGE);
    let (_server, port) = aiocoap_server("127.0.0.1");
    let uri = format!("coap://127.0.0.1:{port}/note");
    for size in ["0", "256"] {
        let put = coap(&["put", "-b", size, "-f", &folder.path("in"), &uri]);
        assert!(put.status.success(), "{size}: {}", all(&put));
        let get = coap(&["get", "-b", size, "-o", &folder.path("out"), &uri]);
        assert!(folder.read("out") == folder.read("in"), "{size}: {}", all(&get));
    }
}

#[test]
#[ignore = "needs aiocoap's client (PyPI: aiocoap)"]
fn aiocoaps_client_moves_large_bodies_to_and_from_our_server() {
    let folder = Folder::new("aiocoap-client", LARGE);
    let (_server, port) = our_server_with(&["--files", &folder.path("root"), "--write"]);
    for host in HOSTS {
        let uri = format!("coap://{host}:{port}/files/a");
        let put = aiocoap(&["-m", "PUT", "--payload", &format!("@{}", folder.path("in")), &uri]);
        assert!(put.status.success(), "{host}: {}", all(&put));
        assert!(folder.read("root/a") == folder.read("in"), "{host}: {}", all(&put));
        let get = aiocoap(&["--no-pretty-print", &uri]);
        assert!(get.stdout == folder.read("in"), "{host}: {} bytes", get.stdout.len());
    }
}

#[test]
#[ignore = "needs aiocoap (PyPI: aiocoap)"]
fn aiocoap_observes_our_server() {
    let (_server, port) = our_server();
    for host in HOSTS {
        let uri = format!("coap://{host}:{port}/time");
        let output = Command::new("python3").args([AIOCOAP_OBSERVER, &uri]).output().expect("aiocoap runs");
        let told = stdout(&output);
        let states: Vec<_> = told.lines().collect();
        assert!(states.len() == 3 && states.is_sorted() && states[0] != states[2], "{}", all(&output));
    }
}
