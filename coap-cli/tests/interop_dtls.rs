//! Secure sessions with real peers, over loopback: libcoap's clients and servers with OpenSSL and with GnuTLS, each against our
//! program; and a capture of a session, read by tshark.
//!
//! `cargo test -p coap-cli --test interop_dtls -- --ignored` with `coap-client-openssl` and the like (Debian: libcoap3-bin), and
//! tshark, in the path. The gate installs them.
#![allow(clippy::unwrap_used)] // A test's helpers are tests too, which the lint cannot see.

mod peers;

use core::time::Duration;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;

use peers::{Running, all, coap, stdout, their_server};

/// The builds of libcoap.
const BUILDS: [&str; 2] = ["openssl", "gnutls"];
/// Our libraries.
const LIBRARIES: [&str; 2] = ["dimpl", "webrtc-dtls"];
const KEY: [&str; 4] = ["-u", "clientID", "-k", "secretPSK"];

/// A folder that ends with its test, with two sets of certificates: ours in `k`, and those of strangers in `other`.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Self(std::env::temp_dir().join(format!("coap-interop-dtls-{}-{name}", std::process::id())));
        fs::create_dir_all(&folder.0).expect("a folder");
        for set in ["k", "other"] {
            let made = coap(&["keygen", "-q", &folder.path(set)]);
            assert!(made.status.success(), "{}", all(&made));
        }
        let content: String = (0..4_000_u32).map(|line| format!("{line:04}\n")).collect();
        fs::write(folder.path("in"), content).expect("a file");
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a name").to_owned()
    }

    /// The flags of a client with the certificate of one set that trusts another: for our program, and for libcoap's, which
    /// understands `-C` and `-R` in another way.
    fn flags(&self, own: &str, trusted: &str, of_authority: &'static str) -> Vec<String> {
        let file = |name: &str| self.path(name);
        let (cert, key) = (file(&format!("{own}/client.pem")), file(&format!("{own}/client.key")));
        ["-c", &cert, "-j", &key, of_authority, &file(&format!("{trusted}/ca.pem"))].map(str::to_owned).to_vec()
    }

    fn has_moved(&self, from: &str, to: &str) -> bool {
        let (from, to) = (fs::read(self.path(from)), fs::read(self.path(to)));
        let moved = from.is_ok_and(|from| to.is_ok_and(|to| from == to));
        let _ = fs::remove_file(self.path("out"));
        moved
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn libcoap(build: &str, arguments: &[&str]) -> Output {
    let program = format!("coap-client-{build}");
    Command::new(program).args(["-B", "10"]).args(arguments).output().expect("libcoap's client runs")
}

fn words<'a>(parts: &[&'a [String]]) -> Vec<&'a str> {
    parts.iter().copied().flatten().map(String::as_str).collect()
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().copied().map(str::to_owned).collect()
}

/// `coap serve`, and the ports of its secure listeners.
fn our_server(flags: &[&str]) -> (Running, Vec<u16>) {
    let wanted = flags.iter().filter(|flag| **flag == "--coaps").count();
    peers::our_server(&[&["--bind", "127.0.0.1:0"], flags].concat(), "coaps", wanted)
}

/// Two ports in a row that nobody has at this moment: libcoap's server takes the second one for sessions.
fn free_ports() -> u16 {
    loop {
        let first = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let port = first.local_addr().expect("its number").port();
        if port < u16::MAX && UdpSocket::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

/// Libcoap's server with a key and with certificates, and its secure port.
fn libcoap_server(build: &str, folder: &Folder) -> (Running, u16) {
    let port = free_ports();
    let mut command = Command::new(format!("coap-server-{build}"));
    command.args(["-A", "127.0.0.1", "-p", &port.to_string(), "-d", "10", "-v", "3", "-k", "secretPSK"]).args([
        "-c",
        &folder.path("k/server.pem"),
        "-j",
        &folder.path("k/server.key"),
        "-C",
        &folder.path("k/ca.pem"),
    ]);
    (their_server(&mut command, &[&format!("coap://127.0.0.1:{port}")]), port + 1)
}

#[test]
#[ignore = "needs libcoap's servers (Debian: libcoap3-bin)"]
fn our_program_uses_libcoaps_servers() {
    let folder = Folder::new("our-client");
    for build in BUILDS {
        let (_server, port) = libcoap_server(build, &folder);
        let at = |path: &str| format!("coaps://127.0.0.1:{port}{path}");
        let certificates = folder.flags("k", "k", "-R");
        for (name, credentials) in [("psk", owned(&KEY)), ("certificates", certificates.clone())] {
            for library in LIBRARIES {
                let ask = |arguments: &[&str]| {
                    let output = coap(&[&["--dtls", library], &words(&[&credentials])[..], arguments].concat());
                    (output.status.code(), all(&output))
                };
                let told = format!("{build} {name} {library}");
                for non in [&["get"][..], &["get", "-N"]] {
                    let (code, text) = ask(&[non, &[&at("/")]].concat());
                    assert!(code == Some(0) && text.contains("libcoap"), "{told}: {text}");
                }
                let (code, text) = ask(&["put", "-q", "-f", &folder.path("in"), &at("/large")]);
                assert_eq!(code, Some(0), "{told}: {text}");
                let (code, text) = ask(&["get", "-q", "-o", &folder.path("out"), &at("/large")]);
                assert!(code == Some(0) && folder.has_moved("in", "out"), "{told}: {text}");
                let (code, text) = ask(&["observe", "-q", "--count", "2", &at("/time")]);
                assert!(code == Some(0) && text.trim().lines().count() == 2, "{told}: {text}");
            }
        }
        let refused = |flags: &[&str], part: &str| {
            let output = coap(&[&["get"], flags, &[&at("/")]].concat());
            let text = all(&output);
            assert!(output.status.code() == Some(8) && text.contains(part), "{build} {flags:?}: {text}");
        };
        // It does not say that the key is wrong.
        refused(&["-B", "4", "-u", "clientID", "-k", "wrong"], "check the identity and the key");
        refused(&words(&[&folder.flags("k", "other", "-R")]), "unknown authority");
        refused(&words(&[&folder.flags("other", "k", "-R")]), "show a certificate of an authority that it trusts");
        refused(&["-R", &folder.path("k/ca.pem")], "show a certificate");
    }
}

#[test]
#[ignore = "needs libcoap's clients (Debian: libcoap3-bin)"]
fn libcoaps_clients_use_our_server() {
    let folder = Folder::new("our-server");
    let file = |name: &str| folder.path(name);
    let certificates = format!(
        "127.0.0.1:0,cert={},key={},ca={},require-client-cert",
        file("k/server.pem"),
        file("k/server.key"),
        file("k/ca.pem")
    );
    for library in LIBRARIES {
        let flags =
            ["--dtls", library, "--coaps", "127.0.0.1:0", "--psk", "clientID:secretPSK", "--coaps", &certificates];
        let (_server, ports) = our_server(&flags);
        for build in BUILDS {
            let kinds = [("psk", ports[0], owned(&KEY)), ("certificates", ports[1], folder.flags("k", "k", "-C"))];
            for (name, port, credentials) in kinds {
                let at = |path: &str| format!("coaps://127.0.0.1:{port}{path}");
                let ask = |arguments: &[&str]| libcoap(build, &[&words(&[&credentials])[..], arguments].concat());
                let told = format!("{build} {name} {library}");
                for non in [&["-m", "get"][..], &["-N", "-m", "get"]] {
                    let output = ask(&[non, &[&at("/hello")]].concat());
                    assert_eq!(stdout(&output), "Hello from coap-cli!", "{told}: {}", all(&output));
                }
                ask(&["-m", "put", "-b", "1024", "-f", &file("in"), &at("/store/large")]);
                let output = ask(&["-m", "get", "-o", &file("out"), &at("/store/large")]);
                assert!(folder.has_moved("in", "out"), "{told}: {}", all(&output));
                let output = ask(&["-s", "2", "-m", "get", &at("/time")]);
                assert!(stdout(&output).matches('Z').count() >= 2, "{told}: {}", all(&output));
            }
            let refused = |port: u16, flags: &[&str]| {
                let uri = format!("coaps://127.0.0.1:{port}/hello");
                let output = libcoap(build, &[&["-B", "2"], flags, &["-m", "get", &uri]].concat());
                let text = all(&output);
                assert!(text.contains("DTLS: ") && !text.contains("Hello"), "{build} {library} {flags:?}: {text}");
            };
            refused(ports[0], &["-u", "clientID", "-k", "wrong"]);
            refused(ports[0], &["-u", "nobody", "-k", "secretPSK"]);
            refused(ports[1], &words(&[&folder.flags("k", "other", "-C")]));
            refused(ports[1], &words(&[&folder.flags("other", "k", "-C")]));
        }
    }
}

// ----- What an analyser sees -----------------------------------------------------------------------------------------

/// Passes datagrams on between one client and a server, and writes them down (https://wiki.wireshark.org/Development/LibpcapFileFormat).
struct Relay {
    port: u16,
    stop: mpsc::Sender<()>,
    done: thread::JoinHandle<()>,
}

impl Relay {
    fn new(server: u16, file: &Path) -> Self {
        let (near, far) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        far.connect(("127.0.0.1", server)).unwrap();
        let port = near.local_addr().unwrap().port();
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        }
        let mut capture = Capture::new(file);
        let (stop, stopped) = mpsc::channel();
        let done = thread::spawn(move || {
            let (mut buf, mut client) = ([0; 2_048], None);
            while stopped.try_recv().is_err() {
                if let Ok((length, from)) = near.recv_from(&mut buf) {
                    client = Some(from);
                    capture.add(from.port(), server, &buf[..length]);
                    let _ = far.send(&buf[..length]);
                }
                if let (Ok(length), Some(client)) = (far.recv(&mut buf), client) {
                    capture.add(server, client.port(), &buf[..length]);
                    let _ = near.send_to(&buf[..length], client);
                }
            }
        });
        Self { port, stop, done }
    }

    fn finish(self) {
        let _ = self.stop.send(());
        self.done.join().unwrap();
    }
}

/// A file of packets: IPv4 without a layer below it.
struct Capture {
    file: fs::File,
    count: u32,
}

impl Capture {
    fn new(path: &Path) -> Self {
        const RAW_IP: u32 = 101;
        let mut file = fs::File::create(path).unwrap();
        let header = [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65_535, RAW_IP];
        file.write_all(&header.map(u32::to_be_bytes).concat()).unwrap();
        Self { file, count: 0 }
    }

    fn add(&mut self, from: u16, to: u16, payload: &[u8]) {
        let length = u16::try_from(payload.len()).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend((20 + 8 + length).to_be_bytes());
        // Neither in pieces nor with a sum that is looked at.
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        packet.extend([from, to, 8 + length, 0].map(u16::to_be_bytes).concat());
        packet.extend(payload);
        let captured = u32::try_from(packet.len()).unwrap();
        self.count += 1;
        self.file.write_all(&[self.count, 0, captured, captured].map(u32::to_be_bytes).concat()).unwrap();
        self.file.write_all(&packet).unwrap();
        self.file.flush().unwrap();
    }
}

#[test]
#[ignore = "needs tshark"]
fn an_analyser_reads_a_session_with_the_key_log_and_not_without() {
    let folder = Folder::new("capture");
    let file = |name: &str| folder.path(name);
    let certificates = format!("127.0.0.1:0,cert={},key={}", file("k/server.pem"), file("k/server.key"));
    let (_server, ports) =
        our_server(&["--coaps", "127.0.0.1:0", "--psk", "clientID:secretPSK", "--coaps", &certificates]);
    let trusted = file("k/ca.pem");
    for (name, port, flags) in [("psk", ports[0], &KEY[..]), ("certificates", ports[1], &["-R", &trusted])] {
        let (capture, log) = (file(&format!("{name}.pcap")), file(&format!("{name}.keys")));
        let relay = Relay::new(port, Path::new(&capture));
        let uri = format!("coaps://127.0.0.1:{}/hello", relay.port);
        let output = coap(&[&["get", "--keylog", &log], flags, &[&uri]].concat());
        assert_eq!(stdout(&output), "Hello from coap-cli!", "{}", all(&output));
        relay.finish();
        let shown = |more: &[&str]| {
            // On the port for coaps it knows both by itself.
            let (records, messages) = (format!("udp.port=={port},dtls"), format!("dtls.port=={port},coap"));
            let args = ["-r", &capture, "-d", &records, "-d", &messages, "-O", "coap,data-text-lines"];
            let output = Command::new("tshark").args(args).args(more).output().expect("tshark runs");
            assert!(output.status.success(), "{}", all(&output));
            stdout(&output)
        };
        let with = shown(&["-o", &format!("tls.keylog_file:{log}")]);
        assert!(
            with.contains("Constrained Application Protocol") && with.contains("Hello from coap-cli!"),
            "{name}: {with}"
        );
        let without = shown(&[]);
        assert!(without.contains("Datagram Transport Layer Security"), "{name}: {without}");
        assert!(!without.contains("Hello from coap-cli!"), "{name}: {without}");
    }
}
