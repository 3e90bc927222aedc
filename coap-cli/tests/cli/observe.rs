//! `coap observe`: states as they come, and every way for it to end.

use core::time::Duration;
use std::io::{BufRead, BufReader, Lines};
use std::net::UdpSocket;
use std::process::{Child, ChildStdout};
use std::time::Instant;

use crate::harness::{Server, coap, command, rest};

/// `coap observe` at work.
struct Observer {
    child: Child,
    states: Lines<BufReader<ChildStdout>>,
}

impl Observer {
    fn start(args: &[&str]) -> Self {
        let mut child = command(&[&["observe"], args].concat()).spawn().unwrap();
        let states = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, states }
    }

    fn state(&mut self) -> String {
        self.states.next().unwrap().unwrap()
    }

    /// Its exit code, and what it said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let told = rest(self.child.stderr.take().unwrap());
        (self.child.wait().unwrap().code(), told)
    }
}

#[test]
fn each_state_is_a_line_with_its_time_and_freshness() {
    let server = Server::start(&[]);
    let ran = coap(&["observe", "--count", "3", &server.uri("/time")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let states: Vec<_> = ran.text().lines().collect();
    assert!(states.len() == 3 && states.is_sorted() && states[0] != states[2], "{states:?}");
    let lines: Vec<_> = ran.err.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ran.err);
    for line in lines {
        let (time, about) = line.split_once(' ').unwrap();
        assert_eq!((time.len(), time.as_bytes()[8]), (12, b'.'), "{line}");
        assert!(
            about.starts_with("2.05 Content, 20 bytes, text/plain") && about.ends_with(", fresh for 1 s"),
            "{line}"
        );
    }
}

#[test]
fn an_observation_ends_after_its_time() {
    let server = Server::start(&[]);
    let start = Instant::now();
    let ran = coap(&["observe", "-q", "--seconds", "2.5", &server.uri("/time")]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.text().lines().count() >= 2, "{}", ran.text());
    assert!(start.elapsed() >= Duration::from_millis(2_500) && start.elapsed() < Duration::from_secs(6));
}

#[test]
fn a_change_is_seen_and_the_end_of_a_resource_is_the_end() {
    let server = Server::start(&[]);
    server.put("/store/a", "1").answered("2.01");
    let mut observer = Observer::start(&["--plot", &server.uri("/store/a")]);
    assert_eq!(observer.state(), "1");
    server.put("/store/b", "not this one").answered("2.01");
    server.put("/store/a", "3").answered("2.04");
    assert_eq!(observer.state(), "3");
    coap(&["post", "-e", "0", &server.uri("/store/a")]).answered("2.04");
    assert_eq!(observer.state(), "30");
    server.delete("/store/a").answered("2.02");
    let (code, told) = observer.end();
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("coap: the server has ended the observation: 4.04 Not Found"), "{told}");
    // No terminal: the line of numbers comes at the end.
    assert!(told.ends_with("▁▁█ 30, from 1 to 30\n"), "{told}");
    assert!(!told.contains('\r'), "{told:?}");
}

#[test]
fn a_long_state_comes_in_blocks() {
    let server = Server::start(&[]);
    let long = |letter: &str| letter.repeat(5_000);
    server.put("/store/a", &long("a")).answered("2.01");
    let mut observer = Observer::start(&["--count", "2", "-b", "256", &server.uri("/store/a")]);
    assert_eq!(observer.state(), long("a"));
    server.put("/store/a", &long("b")).answered("2.04");
    assert_eq!(observer.state(), long("b"));
    assert_eq!(observer.end().0, Some(0));
}

#[cfg(unix)]
#[test]
fn a_command_gets_each_state() {
    let server = Server::start(&[]);
    let show = "printf '%s|%s|%s|%s\\n' \"$(cat)\" \"$COAP_CODE\" \"$COAP_FORMAT\" \"$COAP_URI\"; exit 3";
    let uri = server.uri("/time");
    let ran = coap(&["observe", "--count", "2", "--exec", show, &uri]);
    assert_eq!(ran.code, 0);
    let lines: Vec<_> = ran.text().lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.ends_with(&format!("Z|2.05|0|{uri}"))), "{lines:?}");
    assert_eq!(ran.err.matches("coap: the command ended with exit status: 3").count(), 2, "{}", ran.err);
}

#[test]
fn each_event_can_be_an_object() {
    let server = Server::start(&[]);
    let ran = coap(&["observe", "--json", "--count", "2", &server.uri("/time")]);
    let lines: Vec<serde_json::Value> = ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), ran.err.as_str()), (2, ""));
    assert!(lines.iter().all(|line| line["event"] == "notification" && line["code"] == "2.05"), "{lines:?}");
    assert!(lines[0]["time"].as_f64() < lines[1]["time"].as_f64());
}

#[test]
fn what_cannot_be_observed_is_answered_once_and_said() {
    let server = Server::start(&[]);
    let ran = coap(&["observe", &server.uri("/hello")]);
    assert_eq!((ran.code, ran.text()), (0, "Hello from coap-cli!\n"));
    assert!(ran.err.starts_with("coap: the server does not let this be observed"), "{}", ran.err);
    coap(&["observe", &server.uri("/nothing")]).failed(4, "4.04 Not Found");
    coap(&["observe", "-e", "x", &server.uri("/time")]).failed(2, "fetch");
    coap(&["observe", "-b", "1,64", &server.uri("/time")]).failed(2, "one block");
}

#[test]
fn silence_at_the_start_is_a_timeout() {
    let (_socket, uri) = crate::harness::silence();
    coap(&["observe", "-B", "0.3", &uri]).failed(6, "127.0.0.1");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it_well_and_tells_the_server() {
    let server = Server::start(&[]);
    let mut observer = Observer::start(&["-v", &server.uri("/time")]);
    observer.state();
    crate::harness::interrupt(&observer.child);
    let (code, told) = observer.end();
    assert_eq!(code, Some(0), "{told}");
    let last = told.lines().rfind(|line| line.contains("-> ") && line.contains(" GET ")).unwrap();
    assert!(last.contains("Observe: 1"), "{told}");
}

/// A server that answers once, with one second of freshness, and then nothing until it is asked again.
#[test]
fn an_observation_ends_when_nobody_reads_it() {
    let server = Server::start(&[]);
    for json in [&["--json"][..], &[]] {
        let mut child = command(&[&["observe", "-q", &server.uri("/time")], json].concat()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().is_ok());
        drop(lines);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(rest(child.stderr.take().unwrap()), "");
    }
}

#[test]
fn an_observation_that_goes_stale_says_so_and_registers_again() {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("coap://{}/", peer.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let mut datagram = [0; 100];
        let mut answer = |code: u8, options_and_payload: &[u8]| {
            let (length, from) = peer.recv_from(&mut datagram).unwrap();
            let token = &datagram[4..4 + usize::from(datagram[0] & 15)];
            assert!(length >= 4 + token.len());
            let head = [0x60 | datagram[0] & 15, code, datagram[2], datagram[3]];
            peer.send_to(&[&head, token, options_and_payload].concat(), from).unwrap();
            token.to_vec()
        };
        // 2.05, Observe 1, Max-Age 1.
        let first = answer(0x45, b"\x61\x01\x81\x01\xffone");
        // 4.04: it is gone.
        let second = answer(0x84, b"\xffgone");
        assert_eq!(first, second, "the token is another");
    });
    let start = Instant::now();
    let (code, told) = Observer::start(&[&uri]).end();
    serving.join().unwrap();
    assert_eq!(code, Some(4), "{told}");
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].ends_with("2.05 Content, 3 bytes, fresh for 1 s"), "{told}");
    assert!(lines[1].contains(" stale: ") && lines[2].contains(" registering again, attempt 1"), "{told}");
    assert!(lines[3].ends_with("the server has ended the observation: 4.04 Not Found: gone"), "{told}");
    assert!(start.elapsed() > Duration::from_secs(6));
}

#[test]
fn an_observation_whose_server_goes_away_is_lost() {
    let server = Server::start(&[]);
    let start = |flags: &[&str]| {
        let mut observer = Observer::start(&[flags, &["--reregister", "1", &server.uri("/time")]].concat());
        observer.state();
        observer
    };
    let (told_in_text, mut told_in_json) = (start(&[]), start(&["--json"]));
    drop(server);
    let (code, told) = told_in_text.end();
    // Nobody listens at the port any more.
    assert_eq!(code, Some(7), "{told}");
    let lines: Vec<_> = told.lines().collect();
    let [.., stale, again, last] = &lines[..] else { panic!("{told}") };
    assert!(stale.contains(" stale: ") && again.ends_with(" registering again, attempt 1"), "{told}");
    assert!(
        last.starts_with("coap: the observation is lost: 127.0.0.1:") && last.contains(" is unreachable"),
        "{told}"
    );
    let events: Vec<_> = told_in_json.states.by_ref().map(|line| line.unwrap()).collect();
    let events: Vec<serde_json::Value> = events.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert!(names.ends_with(&["stale", "reregistering", "lost"]), "{names:?}");
    assert_eq!(told_in_json.end().0, Some(7));
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_sees_the_numbers_move() {
    use crate::harness::Terminal;

    let server = Server::start(&[]);
    server.put("/store/a", "1").answered("2.01");
    let mut terminal = Terminal::open();
    let mut command = command(&["observe", "--plot", "--count", "2", &server.uri("/store/a")]);
    let mut child = command.stdout(terminal.side()).stderr(terminal.side()).spawn().unwrap();
    drop(command);
    terminal.wait_for("from 1 to 1");
    server.put("/store/a", "5").answered("2.04");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let seen = terminal.rest();
    assert!(seen.contains(" 1 (fresh for 60 s)") && seen.contains(" 5 (fresh for 60 s)"), "{seen:?}");
    assert!(seen.contains("▅ 1, from 1 to 1\r\u{1b}[2K") && seen.ends_with("▁█ 5, from 1 to 5\r\n"), "{seen:?}");
}
