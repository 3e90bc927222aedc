//! Secure sessions: keys and certificates in every form, and what is said when there is no session.

use core::time::Duration;
use std::fs;
use std::net::UdpSocket;
use std::process::Output;
use std::thread;
use std::time::{Instant, SystemTime};

use coap_dtls::keygen::{Authority, Issued, Validity};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::harness::{Folder, Ran, Server, coap, command, text};

const HELLO: &str = "Hello from coap-cli!";

/// A server with keys, whose secure listener is the last.
fn with_keys(flags: &[&str]) -> Server {
    Server::start(&[&["--coaps", "127.0.0.1:0"], flags].concat())
}

/// Where its listener is that was named so many places after the plain one.
fn at(server: &Server, listener: usize, path: &str) -> String {
    format!("coaps://{}{path}", server.addrs[listener])
}

#[track_caller]
fn greets(ran: &Ran) {
    ran.answered("2.05");
    assert_eq!(ran.text(), HELLO);
}

/// Runs with these in the environment.
fn with_environment(variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = command(args).envs(variables.iter().copied()).output().unwrap();
    Ran { code: status.code().unwrap(), out: stdout, err: String::from_utf8(stderr).unwrap() }
}

/// A folder with what `coap keygen` makes.
fn keys() -> Folder {
    let folder = Folder::new();
    let ran = coap(&["keygen", text(&folder.path("k"))]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    folder
}

/// `name` in the folder of the keys.
fn file(folder: &Folder, name: &str) -> String {
    text(&folder.path("k").join(name)).to_owned()
}

// ----- Pre-shared keys -----------------------------------------------------------------------------------------------

#[test]
fn a_key_is_text_or_hexadecimal_or_a_file_or_in_the_environment() {
    let folder = Folder::new();
    folder.write("key", "secret\n");
    folder.write("keys", "# of the others\r\ncarol:from a file\r\n\ndave:0x0102\n");
    let server =
        with_keys(&["--psk", "alice:secret", "--psk", "bob:0x00ff10", "--psk-file", text(&folder.path("keys"))]);
    let uri = at(&server, 1, "/hello");
    let from_file = format!("@{}", text(&folder.path("key")));
    for (identity, key) in [
        ("alice", "secret"),
        ("alice", "0x736563726574"),
        ("alice", &from_file),
        ("bob", "0x00FF10"),
        ("carol", "from a file"),
        ("dave", "0x0102"),
    ] {
        greets(&coap(&["get", "-u", identity, "-k", key, &uri]));
    }
    let environment = [("COAP_PSK_IDENTITY", "alice"), ("COAP_PSK_KEY", "0x736563726574")];
    greets(&with_environment(&environment, &["get", &uri]));
    greets(&with_environment(&environment[..1], &["get", "-k", "secret", &uri]));
    // What is on the command line counts.
    greets(&with_environment(&environment, &["get", "-u", "bob", "-k", "0x00ff10", &uri]));
    // The same server in the clear.
    greets(&server.get("/hello"));
}

#[test]
fn either_library_does_it() {
    let server = with_keys(&["--psk", "alice:secret", "--dtls", "webrtc-dtls"]);
    for library in ["dimpl", "webrtc-dtls"] {
        greets(&coap(&["get", "--dtls", library, "-u", "alice", "-k", "secret", &at(&server, 1, "/hello")]));
    }
}

#[test]
fn the_cipher_suite_can_be_chosen_at_either_end() {
    let with_gcm = with_keys(&["--psk", "alice:secret", "--suite", "TLS_PSK_WITH_AES_128_GCM_SHA256"]);
    let ask = |server: &Server, suites: &[&str]| {
        let suites = suites.iter().flat_map(|suite| ["--suite", suite]).collect::<Vec<_>>();
        coap(&[&["get"], &suites[..], &["-u", "alice", "-k", "secret", &at(server, 1, "/hello")]].concat())
    };
    greets(&ask(&with_gcm, &["tls_psk_with_aes_128_gcm_sha256"]));
    greets(&ask(&with_gcm, &["TLS_PSK_WITH_AES_128_CCM_8", "TLS_PSK_WITH_AES_128_GCM_SHA256"]));
    // handshake_failure.
    ask(&with_gcm, &[]).failed(8, "check that the server takes pre-shared keys");
    let with_default = with_keys(&["--psk", "alice:secret"]);
    greets(&ask(&with_default, &["TLS_PSK_WITH_AES_128_CCM_8"]));
    ask(&with_default, &["TLS_PSK_WITH_AES_128_CCM"]).failed(8, "and the cipher suites of --suite");
}

#[test]
fn a_suite_of_dtls_1_3_has_that_spoken() {
    let folder = keys();
    let (cert, key, ca) = (file(&folder, "server.pem"), file(&folder, "server.key"), file(&folder, "ca.pem"));
    let suites = ["--suite", "TLS_AES_256_GCM_SHA384"];
    let server = with_keys(&[&["--cert", &cert, "--key", &key], &suites[..]].concat());
    greets(&coap(&[&["get", "-R", &ca], &suites[..], &[&at(&server, 1, "/hello")]].concat()));
    let of_12 = ["--suite", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"];
    coap(&[&["get", "-R", &ca], &of_12[..], &[&at(&server, 1, "/hello")]].concat())
        .failed(8, "what the other end supports");
}

#[test]
fn all_that_is_asked_can_be_asked_in_a_session() {
    let server = with_keys(&["--psk", "alice:secret"]);
    let ask =
        |args: &[&str], path: &str| coap(&[args, &["-u", "alice", "-k", "secret", &at(&server, 1, path)]].concat());
    let long = "0123456789".repeat(2_000);
    ask(&["put", "-e", &long], "/store/long").answered("2.01");
    for non in [&["get"][..], &["get", "-N"]] {
        assert_eq!(ask(non, "/store/long").text(), long);
    }
    let created = ask(&["post", "-e", "x"], "/store");
    assert!(created.err.contains(&format!("Location: {}", at(&server, 1, "/store/1"))), "{}", created.err);
    let seen = ask(&["observe", "--count", "2"], "/time");
    assert_eq!((seen.code, seen.text().lines().count()), (0, 2), "{}", seen.err);
    assert!(ask(&["ping"], "").err.starts_with("pong from coaps://"));
    assert!(ask(&["discover"], "").text().contains("hello"));
    let object: Value = serde_json::from_slice(&ask(&["get", "--json"], "/hello").out).unwrap();
    assert_eq!(object["from"], server.addrs[1].as_str());
    let object: Value = serde_json::from_slice(&ask(&["observe", "--count", "1", "--json"], "/time").out).unwrap();
    assert_eq!(object["from"], server.addrs[1].as_str());
}

#[test]
fn the_messages_are_shown_and_not_what_they_are_wrapped_in() {
    let server = with_keys(&["--psk", "alice:secret"]);
    let ran = coap(&["get", "-v", "-u", "alice", "-k", "secret", &at(&server, 1, "/hello")]);
    let lines: Vec<_> = ran.err.lines().map(|line| line.split_at(10).1).collect();
    let addr = &server.addrs[1];
    let sent = format!("-> coaps {addr} CON GET ");
    let received = format!("<- coaps {addr} ACK 2.05 Content ");
    assert_eq!(lines.iter().filter(|line| line.starts_with(&sent)).count(), 1, "{}", ran.err);
    assert_eq!(lines.iter().filter(|line| line.starts_with(&received)).count(), 1, "{}", ran.err);
    assert!(lines[0].starts_with(&format!("-> {addr} a DTLS record of ")), "{}", ran.err);
    assert!(!ran.err.contains("no message"), "{}", ran.err);
    // Those of the handshake come first, and nothing of the session besides the two.
    let first = lines.iter().position(|line| line.starts_with(&sent)).unwrap();
    assert!(lines[first..].iter().all(|line| !line.contains("record")), "{}", ran.err);
}

#[test]
fn the_plugtests_have_their_own_key() {
    let server = Server::start(&["--plugtest", "--coaps", "127.0.0.1:0"]);
    let ask = |key: &str, path: &str| coap(&["get", "-u", "password", "-k", key, &at(&server, 1, path)]);
    ask("sesame", "/secure").answered("2.05");
    ask("sesame", "/test").answered("2.05");
    ask("open", "/secure").failed(8, "check the identity and the key");
    // Nobody gets it in the clear.
    assert_ne!(server.get("/secure").code, 0);
}

// ----- Certificates --------------------------------------------------------------------------------------------------

#[test]
fn certificates_are_shown_by_the_server_and_by_clients_that_have_some() {
    let folder = keys();
    let of = |name: &str| file(&folder, name);
    let own = format!("cert={},key={},ca={}", of("server.pem"), of("server.key"), of("ca.pem"));
    let (optional, required) = (format!("127.0.0.1:0,{own}"), format!("127.0.0.1:0,{own},require-client-cert"));
    let server = Server::start(&["--coaps", &optional, "--coaps", &required]);
    let both = [fs::read(of("client.pem")).unwrap(), fs::read(of("client.key")).unwrap()].concat();
    folder.write("both.pem", both);
    let together = text(&folder.path("both.pem")).to_owned();
    let (cert, key, ca) = (of("client.pem"), of("client.key"), of("ca.pem"));
    let get = |listener: usize, flags: &[&str]| coap(&[&["get"], flags, &[&at(&server, listener, "/hello")]].concat());
    for flags in [&["-R", &ca][..], &["-C", &ca], &["-R", &ca, "-C", &ca], &["-c", &cert, "-j", &key, "-R", &ca]] {
        greets(&get(1, flags));
    }
    greets(&get(2, &["-c", &cert, "-j", &key, "-R", &ca]));
    greets(&get(2, &["-c", &together, "-R", &ca]));
    // One library at one end, and another at the other.
    greets(&get(2, &["--dtls", "dimpl", "-c", &cert, "-j", &key, "-R", &ca]));
    get(2, &["-R", &ca]).failed(8, "show a certificate");
    let insecure = get(1, &["-n"]);
    assert_eq!((insecure.code, insecure.text()), (0, HELLO));
    assert!(insecure.err.starts_with("coap: WARNING: --insecure takes any certificate"), "{}", insecure.err);
}

#[test]
fn flags_for_all_listeners_make_the_same() {
    let folder = keys();
    let of = |name: &str| file(&folder, name);
    let (cert, key, ca) = (of("server.pem"), of("server.key"), of("ca.pem"));
    let flags = ["--cert", &cert, "--key", &key, "--ca", &ca, "--require-client-cert", "--psk", "alice:secret"];
    let server = with_keys(&flags);
    let uri = at(&server, 1, "/hello");
    greets(&coap(&["get", "-c", &of("client.pem"), "-j", &of("client.key"), "-R", &ca, &uri]));
    coap(&["get", "-R", &ca, &uri]).failed(8, "show a certificate");
    // Keys and certificates at one address.
    greets(&coap(&["get", "-u", "alice", "-k", "secret", &uri]));
}

#[test]
fn listeners_have_credentials_of_their_own() {
    let folder = keys();
    let of = |name: &str| file(&folder, name);
    let certificate = format!("127.0.0.1:0,cert={},key={}", of("server.pem"), of("server.key"));
    let server = Server::start(&[
        "--coaps",
        "127.0.0.1:0",
        "--psk",
        "alice:secret",
        "--coaps",
        "127.0.0.1:0,psk=bob:builder",
        "--coaps",
        &certificate,
    ]);
    let get = |listener: usize, identity: &str, key: &str| {
        coap(&["get", "-u", identity, "-k", key, &at(&server, listener, "/hello")])
    };
    greets(&get(1, "alice", "secret"));
    greets(&get(2, "bob", "builder"));
    get(1, "bob", "builder").failed(8, "check the identity and the key");
    get(2, "alice", "secret").failed(8, "check the identity and the key");
    get(3, "alice", "secret").failed(8, "check that the server takes pre-shared keys");
    greets(&coap(&["get", "-R", &of("ca.pem"), &at(&server, 3, "/hello")]));
    // One content behind all of them.
    coap(&["put", "-e", "x", "-u", "bob", "-k", "builder", &at(&server, 2, "/store/x")]).answered("2.01");
    assert_eq!(server.get("/store/x").text(), "x");
}

// ----- No session ----------------------------------------------------------------------------------------------------

#[test]
fn who_has_no_credentials_is_told_which_flags_they_are() {
    for command in ["get", "ping", "observe", "discover"] {
        coap(&[command, "coaps://127.0.0.1:9/"]).failed(8, "-u IDENTITY -k KEY");
    }
    coap(&["get", "-u", "a", "-k", "b", "coap://127.0.0.1:9/"]).failed(2, "coaps://127.0.0.1");
}

#[test]
fn a_wrong_key_and_an_unknown_identity_are_not_told_apart() {
    for library in ["dimpl", "webrtc-dtls"] {
        let server = with_keys(&["--psk", "alice:secret", "--dtls", library]);
        let start = Instant::now();
        let wrong = coap(&["get", "-u", "alice", "-k", "another", &at(&server, 1, "/hello")]);
        wrong.failed(8, "check the identity and the key");
        let unknown = coap(&["get", "-u", "mallory", "-k", "secret", &at(&server, 1, "/hello")]);
        assert_eq!((unknown.code, unknown.err), (wrong.code, wrong.err));
        assert!(start.elapsed() < Duration::from_secs(32), "nobody waits for long");
        greets(&coap(&["get", "-u", "alice", "-k", "secret", &at(&server, 1, "/hello")]));
    }
}

/// Writes a certificate and its key.
fn write(folder: &Folder, name: &str, issued: &Issued) -> (String, String) {
    let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
    folder.write(&cert, &issued.certificates);
    folder.write(&key, issued.key.as_bytes());
    (text(&folder.path(&cert)).to_owned(), text(&folder.path(&key)).to_owned())
}

#[test]
fn a_certificate_that_is_not_the_right_one_is_refused_by_what_is_wrong_with_it() {
    let (folder, rng) = (Folder::new(), &mut StdRng::seed_from_u64(1));
    let day = Duration::from_secs(86_400);
    let (now, past) = (Validity::days_from(SystemTime::now(), 2), Validity::days_from(SystemTime::now() - day * 9, 5));
    let ours = Authority::new("ours", Validity::days_from(SystemTime::now() - day * 10, 20), rng).unwrap();
    let theirs = Authority::new("theirs", now, rng).unwrap();
    folder.write("ours.pem", ours.certificate().unwrap());
    folder.write("theirs.pem", theirs.certificate().unwrap());
    let (ca, stranger) = (text(&folder.path("ours.pem")).to_owned(), text(&folder.path("theirs.pem")).to_owned());
    let good = write(&folder, "good", &ours.server(&["127.0.0.1"], now, rng).unwrap());
    let elsewhere = write(&folder, "elsewhere", &ours.server(&["elsewhere.example"], now, rng).unwrap());
    let expired = write(&folder, "expired", &ours.server(&["127.0.0.1"], past, rng).unwrap());
    let client = write(&folder, "client", &theirs.client("client", now, rng).unwrap());
    let listener = |(cert, key): &(String, String), more: &str| format!("127.0.0.1:0,cert={cert},key={key}{more}");
    let server = Server::start(&[
        "--coaps",
        &listener(&good, &format!(",ca={ca},require-client-cert")),
        "--coaps",
        &listener(&elsewhere, ""),
        "--coaps",
        &listener(&expired, ""),
        "--coaps",
        &listener(&good, ""),
    ]);
    let get = |listener: usize, flags: &[&str]| coap(&[&["get"], flags, &[&at(&server, listener, "/hello")]].concat());
    get(4, &["-R", &stranger]).failed(8, "unknown authority; trust the authority");
    get(2, &["-R", &ca]).failed(8, "for another name; ask for it by the name");
    get(3, &["-R", &ca]).failed(8, "not valid now; check the clock");
    get(1, &["-R", &ca]).failed(8, "show a certificate");
    get(1, &["-R", &ca, "-c", &client.0, "-j", &client.1])
        .failed(8, "show a certificate of an authority that it trusts");
    greets(&get(4, &["-R", &ca]));
}

#[test]
fn nobody_who_answers_is_a_timeout_and_a_closed_port_is_a_matter_of_the_network() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("coaps://{}/", silent.local_addr().unwrap());
    let start = Instant::now();
    coap(&["get", "-u", "a", "-k", "b", "-B", "2", &uri]).failed(6, "nobody answers");
    assert!(start.elapsed() < Duration::from_secs(6));
    drop(silent);
    coap(&["get", "-u", "a", "-k", "b", &uri]).failed(7, "unreachable");
}

/// Passes on what one client sends to `server`, and the first answer alone: the handshake begins, and does not end.
fn first_answer_of(server: &str) -> String {
    let (near, far) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    far.connect(server).unwrap();
    far.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let addr = near.local_addr().unwrap().to_string();
    // Ends with the test's process.
    thread::spawn(move || {
        let mut buf = [0; 2_048];
        let (length, client) = near.recv_from(&mut buf).unwrap();
        far.send(&buf[..length]).unwrap();
        let length = far.recv(&mut buf).unwrap();
        near.send_to(&buf[..length], client).unwrap();
        while let Ok((length, _)) = near.recv_from(&mut buf) {
            far.send(&buf[..length]).unwrap();
        }
    });
    addr
}

#[test]
fn the_advice_after_a_timeout_is_about_the_credentials_in_use() {
    let folder = keys();
    let of = |name: &str| file(&folder, name);
    let certificate = format!("127.0.0.1:0,cert={},key={}", of("server.pem"), of("server.key"));
    let server = Server::start(&["--coaps", "127.0.0.1:0,psk=alice:secret", "--coaps", &certificate]);
    let (cert, key, ca) = (of("client.pem"), of("client.key"), of("ca.pem"));
    let ended = |command: &str, listener: usize, flags: &[&str], part: &str, not: &str| {
        let uri = format!("coaps://{}/hello", first_answer_of(&server.addrs[listener]));
        let ran = coap(&[&[command, "-B", "2"], flags, &[&uri]].concat());
        ran.failed(8, "did not end the handshake in time; ");
        assert!(ran.err.contains(part) && !ran.err.contains(not), "{command} {flags:?}: {}", ran.err);
    };
    for command in ["get", "observe", "ping", "discover"] {
        ended(command, 1, &["-u", "alice", "-k", "secret"], "check the identity and the key", "certificate");
        ended(command, 2, &["-R", &ca], "show one (-c FILE -j FILE) if it wants one", "identity");
    }
    ended("get", 2, &["-c", &cert, "-j", &key, "-R", &ca], "trusts the authority of ours", "identity");
}

#[test]
fn who_has_a_key_and_is_refused_can_try_the_other_library() {
    let folder = keys();
    let of = |name: &str| file(&folder, name);
    let certificate = format!("127.0.0.1:0,cert={},key={}", of("server.pem"), of("server.key"));
    let server = Server::start(&["--coaps", &certificate]);
    let get =
        |flags: &[&str]| coap(&[&["get", "-u", "alice", "-k", "secret"], flags, &[&at(&server, 1, "/")]].concat());
    get(&["--dtls", "dimpl"]).failed(8, "that the server takes pre-shared keys, or try --dtls webrtc-dtls");
    for library in [&[][..], &["--dtls", "webrtc-dtls"]] {
        let refused = get(library);
        refused.failed(8, "that the server takes pre-shared keys");
        assert!(!refused.err.contains("--dtls"), "{}", refused.err);
    }
}

#[test]
fn a_secure_listener_answers_nothing_in_the_clear() {
    let server = with_keys(&["--psk", "alice:secret"]);
    let uri = format!("coap://{}/hello", server.addrs[1]);
    coap(&["get", "-B", "1", &uri]).failed(6, "");
    // And no plain one takes a session.
    let uri = format!("coaps://{}/hello", server.addrs[0]);
    coap(&["get", "-u", "alice", "-k", "secret", "-B", "1", &uri]).failed(6, "nobody answers");
}

// ----- Tools ---------------------------------------------------------------------------------------------------------

#[test]
fn the_secrets_of_sessions_can_be_written_down() {
    let folder = Folder::new();
    let (ours, theirs) = (folder.path("ours"), folder.path("theirs"));
    let server = with_keys(&["--psk", "alice:secret", "--keylog", text(&theirs)]);
    for _ in 0..2 {
        let args = ["get", "--keylog", text(&ours), "-u", "alice", "-k", "secret", &at(&server, 1, "/hello")];
        greets(&coap(&args));
    }
    let (ours, theirs) = (fs::read_to_string(ours).unwrap(), fs::read_to_string(theirs).unwrap());
    assert_eq!(ours, theirs, "both ends have the same");
    for line in ours.lines() {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!((words[0], words[1].len(), words[2].len()), ("CLIENT_RANDOM", 64, 96), "{line}");
    }
    assert_eq!(ours.lines().count(), 2);
}

#[test]
fn the_build_says_what_it_can_do() {
    let table = coap(&["tls-info"]);
    assert_eq!((table.code, table.err.as_str()), (0, ""));
    for part in
        ["dimpl  webrtc-dtls", "TLS_PSK_WITH_AES_128_CCM_8 ", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8 ", "a key log "]
    {
        assert!(table.text().contains(part), "{part}: {}", table.text());
    }
    let json: Value = serde_json::from_slice(&coap(&["tls-info", "--json"]).out).unwrap();
    assert_eq!(json["default"]["client"]["psk"], "webrtc-dtls");
    assert_eq!(json["default"]["client"]["certificates"], "webrtc-dtls");
    assert_eq!(json["default"]["server"]["psk"], "dimpl");
    assert_eq!(json["default"]["server"]["certificates"], "webrtc-dtls");
    assert_eq!(json["libraries"]["dimpl"]["TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"], false);
    assert_eq!(json["libraries"]["webrtc-dtls"]["TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"], true);
    assert_eq!(json["suites"]["dimpl"]["default"][0], "TLS_PSK_WITH_AES_128_CCM_8");
    assert_eq!(json["suites"]["webrtc-dtls"]["all"].as_array().unwrap().len(), 6);
}

#[test]
fn keys_that_are_made_are_not_made_over() {
    let folder = keys();
    assert_eq!(folder.names("k"), ["ca.key", "ca.pem", "client.key", "client.pem", "server.key", "server.pem"]);
    let before = fs::read(file(&folder, "ca.key")).unwrap();
    coap(&["keygen", text(&folder.path("k"))]).failed(2, "not overwritten");
    assert_eq!(fs::read(file(&folder, "ca.key")).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn private_keys_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = keys();
    for (name, mode) in [("ca.key", 0o600), ("server.key", 0o600), ("client.key", 0o600), ("ca.pem", 0o644)] {
        let permissions = fs::metadata(file(&folder, name)).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777 & !0o022, mode & !0o022, "{name}");
    }
}

#[test]
fn the_demonstration_of_sessions_is_what_it_should_be() {
    let ran = coap(&["demo", "--secure"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.text());
    assert!(ran.text().ends_with("All 16 exchanges were what they should be.\n"), "{}", ran.text());
}
