//! Secure sessions with tinydtls, over loopback: aiocoap's client and server over it, each against our program.
//!
//! `cargo test -p coap-cli --test interop_tinydtls -- --ignored` with a Python in the path that has `aiocoap` and `DTLSSocket` (PyPI).
//! The gate installs them.

mod peers;

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Output};

use peers::{Running, all, coap, our_server, stdout, their_server};

const KEY: [&str; 4] = ["-u", "clientID", "-k", "secretPSK"];
const OBSERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aiocoap_observer.py");
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aiocoap_server.py");

/// A folder that ends with its test: `in` has 20,000 bytes, and three files the credentials of aiocoap's client.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Self(std::env::temp_dir().join(format!("coap-interop-tinydtls-{}-{name}", std::process::id())));
        fs::create_dir_all(&folder.0).expect("a folder");
        let content: String = (0..4_000_u32).map(|line| format!("{line:04}\n")).collect();
        fs::write(folder.path("in"), content).expect("a file");
        for (name, identity, key) in [
            ("key.json", "clientID", "secretPSK"),
            ("wrong.json", "clientID", "wrong"),
            ("unknown.json", "nobody", "secretPSK"),
        ] {
            let dtls = format!(r#"{{"client-identity": {{"ascii": "{identity}"}}, "psk": {{"ascii": "{key}"}}}}"#);
            fs::write(folder.path(name), format!(r#"{{"coaps://*": {{"dtls": {dtls}}}}}"#)).expect("a file");
        }
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

fn aiocoap(arguments: &[&str]) -> Output {
    Command::new("aiocoap-client").arg("--no-color").args(arguments).output().expect("aiocoap's client runs")
}

/// Aiocoap's server with the one key, and its port.
fn aiocoap_server() -> (Running, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = socket.local_addr().expect("its number").port();
    drop(socket);
    let mut command = Command::new("python3");
    command.args([SERVER, "127.0.0.1", &port.to_string(), "clientID", "secretPSK"]);
    let uri = format!("coaps://127.0.0.1:{port}");
    let ping = [&["--dtls", "webrtc-dtls"], &KEY[..], &[&uri]].concat();
    (their_server(&mut command, &ping), port)
}

#[test]
#[ignore = "needs aiocoap's client over tinydtls (PyPI: aiocoap, DTLSSocket)"]
fn aiocoaps_client_uses_our_server_over_tinydtls() {
    let folder = Folder::new("our-server");
    for library in ["dimpl", "webrtc-dtls"] {
        let flags = ["--bind", "127.0.0.1:0", "--coaps", "127.0.0.1:0", "--psk", "clientID:secretPSK"];
        let (_server, ports) = our_server(&[&flags[..], &["--dtls", library]].concat(), "coaps", 1);
        let at = |path: &str| format!("coaps://127.0.0.1:{}{path}", ports[0]);
        let ask = |credentials: &str, arguments: &[&str]| {
            aiocoap(&[&["--credentials", &folder.path(&format!("{credentials}.json"))], arguments].concat())
        };
        for non in [&[][..], &["--non"]] {
            let output = ask("key", &[non, &[&at("/hello")]].concat());
            assert_eq!(stdout(&output), "Hello from coap-cli!", "{library}: {}", all(&output));
        }
        let content = format!("@{}", folder.path("in"));
        let put = ask("key", &["-m", "PUT", "--payload", &content, &at("/store/large")]);
        let get = ask("key", &["--no-pretty-print", &at("/store/large")]);
        assert!(get.stdout == folder.read("in"), "{library}: {} {} bytes", all(&put), get.stdout.len());
        let observer = Command::new("python3").args([OBSERVER, &at("/time"), &folder.path("key.json")]).output();
        let output = observer.expect("aiocoap runs");
        let told = stdout(&output);
        let states: Vec<_> = told.lines().collect();
        assert!(states.len() == 3 && states.is_sorted() && states[0] != states[2], "{library}: {}", all(&output));
        // It says no more, and it says it at once: our server sends an alert, the same one for both.
        for credentials in ["wrong", "unknown"] {
            let output = ask(credentials, &[&at("/hello")]);
            assert!(!output.status.success(), "{library} {credentials}: {}", all(&output));
            assert!(all(&output).contains("Network error: NetworkError"), "{library} {credentials}: {}", all(&output));
        }
        assert_eq!(stdout(&ask("key", &[&at("/hello")])), "Hello from coap-cli!", "{library}");
    }
}

#[test]
#[ignore = "needs aiocoap's server over tinydtls (PyPI: aiocoap, DTLSSocket)"]
fn our_program_uses_aiocoaps_server_over_tinydtls() {
    let folder = Folder::new("our-client");
    let (_server, port) = aiocoap_server();
    let at = |path: &str| format!("coaps://127.0.0.1:{port}{path}");
    let ask = |arguments: &[&str]| {
        let output = coap(&[&[arguments[0], "--dtls", "webrtc-dtls"], &arguments[1..]].concat());
        (output.status.code(), all(&output))
    };
    let with_key = |arguments: &[&str]| {
        let (code, text) = ask(&[&arguments[..1], &KEY, &arguments[1..]].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
        text
    };
    for non in [&["get"][..], &["get", "-N"]] {
        assert!(with_key(&[non, &[&at("/note")]].concat()).contains("empty"));
    }
    with_key(&["put", "-f", &folder.path("in"), &at("/note")]);
    with_key(&["get", "-o", &folder.path("out"), &at("/note")]);
    assert!(folder.read("in") == folder.read("out"));
    assert_eq!(with_key(&["observe", "-q", "--count", "3", &at("/time")]).trim().lines().count(), 3);
    // It drops what it cannot open, and says nothing.
    let (code, text) = ask(&["get", "-B", "4", "-u", "clientID", "-k", "wrong", &at("/note")]);
    assert!(code == Some(8) && text.contains("in time; check the identity and the key"), "{text}");
    let (code, text) = ask(&["get", "-u", "nobody", "-k", "secretPSK", &at("/note")]);
    assert!(code == Some(8) && text.contains("alert 80 (internal_error); check the identity and the key"), "{text}");
    with_key(&["get", "-o", &folder.path("out"), &at("/note")]);
}

/// It wants `renegotiation_info` or its signalling suite in the hello (RFC 5746 §3.4), which dimpl 0.9.0 does not send.
#[test]
#[ignore = "needs aiocoap's server over tinydtls (PyPI: aiocoap, DTLSSocket)"]
fn tinydtls_refuses_the_hello_of_dimpl_and_our_program_says_what_helps() {
    let (_server, port) = aiocoap_server();
    let uri = format!("coaps://127.0.0.1:{port}/note");
    let output = coap(&[&["get", "--dtls", "dimpl"], &KEY[..], &[&uri]].concat());
    let text = all(&output);
    assert!(output.status.code() == Some(8) && text.contains("alert 40 (handshake_failure)"), "{text}");
    assert!(text.contains("try --dtls webrtc-dtls"), "{text}");
    // It is not the one that is used if none is named.
    assert_eq!(coap(&[&["get"], &KEY[..], &[&uri]].concat()).status.code(), Some(0));
}
