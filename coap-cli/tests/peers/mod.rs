//! What the tests with real peers have in common: our program at either end, and processes that end with their test.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// A process that ends with the test.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn coap(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_coap")).args(arguments).output().expect("our program runs")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn all(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// `coap serve`, and the first `count` ports that it says it listens at for `scheme`.
pub(crate) fn our_server(flags: &[&str], scheme: &str, count: usize) -> (Running, Vec<u16>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_coap"))
        .arg("serve")
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("our server starts");
    let stderr = child.stderr.take().expect("it has a standard error");
    let (says, heard) = mpsc::channel();
    // Reads on to the end, so that the server never waits for a full pipe.
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = says.send(line);
        }
    });
    let server = Running(child);
    let start = format!("coap: listening on {scheme}://");
    let mut ports = Vec::new();
    while ports.len() < count {
        let line = heard.recv_timeout(Duration::from_secs(10)).expect("our server says where it listens");
        if let Some(addr) = line.strip_prefix(&start) {
            ports.push(addr.parse::<SocketAddr>().expect("an address").port());
        }
    }
    (server, ports)
}

/// Starts somebody's server, and waits until it answers our `ping`.
pub(crate) fn their_server(command: &mut Command, ping: &[&str]) -> Running {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("their server starts");
    let server = Running(child);
    let start = Instant::now();
    while !coap(&[&["ping", "--timeout", "1"], ping].concat()).status.success() {
        assert!(start.elapsed() < Duration::from_secs(20), "their server does not answer");
        thread::sleep(Duration::from_millis(100));
    }
    server
}
