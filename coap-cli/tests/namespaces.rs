//! Groups on network interfaces that are not loopback: servers and a client, each in a network namespace of its own, on one bridge.
//!
//! `cargo test -p coap-cli --test namespaces -- --ignored --nocapture`, on Linux with `unshare`, `nsenter` (util-linux) and `ip`
//! (iproute2), where a user may make namespaces. Where that cannot be, a line says so.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

use core::time::Duration;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// The test that runs inside of what the other has made.
const INSIDE: &str = "COAP_IN_NAMESPACES";

const SERVERS: usize = 3;

#[test]
#[ignore = "needs the right to make network namespaces"]
fn servers_on_several_machines_hear_each_group() {
    let probe = "ip link add bridge0 type bridge && ip link add port0 type veth peer name port1";
    let made = Command::new("unshare").args(["-rn", "sh", "-c", probe]).output();
    let reason = match made {
        Ok(Output { status, .. }) if status.success() => None,
        Ok(Output { stderr, .. }) => Some(String::from_utf8_lossy(&stderr).into_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    };
    if let Some(reason) = reason {
        return println!("skipped: no network namespace can be made here: {}", reason.trim());
    }
    let us = std::env::current_exe().unwrap();
    let inside = Command::new("unshare")
        .args(["-rn".as_ref(), us.as_os_str()])
        .args(["--ignored", "--exact", "inside", "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(inside.unwrap().success());
}

#[test]
#[ignore = "is run by the other test, in a namespace of its own"]
fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let network = Network::new();
    let joins = ["--join", "ff02::fd%eth0", "--join", "224.0.1.187%eth0"];
    let mut servers = Vec::new();
    for number in 1..=SERVERS {
        // One has a list of several blocks, the rest of which is asked of it alone; the last is not in all groups.
        let kind: &[&str] = if number == 1 { &["--plugtest"] } else { &[] };
        let site_local: &[&str] = if number < SERVERS { &["--join", "ff05::fd%eth0"] } else { &[] };
        servers.push(network.serve(number, &[&joins[..], site_local, kind].concat()));
    }
    for (group, flags, members, begins) in [
        ("[ff02::fd%25eth0]", &[][..], SERVERS, "[fe80::"),
        ("[ff02::fd]", &["--interface", "eth0"], SERVERS, "[fe80::"),
        ("[ff05::fd]", &["--interface", "eth0", "--hops", "3"], SERVERS - 1, "[fd07::"),
        ("224.0.1.187", &["--interface", "eth0"], SERVERS, "10.7.0."),
    ] {
        let ran = network.coap(0, &[&["discover", "--json", "--multicast", group], flags].concat()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{group}: {err}");
        let answers: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let from: BTreeSet<&str> = answers.iter().map(|answer| answer["from"].as_str().unwrap()).collect();
        println!("{group} {flags:?}: {from:?}");
        assert_eq!((from.len(), answers.len()), (members, members), "{group}: {out}{err}");
        assert!(from.iter().all(|from| from.starts_with(begins)), "{group}: {from:?}");
        let longest = answers.iter().map(|answer| answer["links"].as_array().unwrap().len()).max();
        assert_eq!(longest, Some(29), "{group}: the list of several blocks comes whole");
    }
    // A group that nobody has joined.
    let nobody = network.coap(0, &["discover", "-B", "6", "--interface", "eth0", "--multicast", "[ff05::fe]"]).output();
    assert_eq!(nobody.unwrap().status.code(), Some(6));
}

/// Machines 0 to `SERVERS`: each has an `eth0`, and all of them are on one bridge.
struct Network {
    machines: Vec<Running>,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Network {
    fn new() -> Self {
        run("ip", &["link", "add", "name", "bridge0", "type", "bridge", "mcast_snooping", "0"]);
        run("ip", &["link", "set", "bridge0", "up"]);
        let mut network = Self { machines: Vec::new() };
        for number in 0..=SERVERS {
            // What keeps a namespace open is a process in it.
            let holder = Command::new("unshare").args(["-n", "sleep", "600"]).spawn().unwrap();
            let pid = holder.id().to_string();
            network.machines.push(Running(holder));
            network.wait_for_machine(number);
            let port = format!("port{number}");
            run("ip", &["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &pid]);
            run("ip", &["link", "set", &port, "master", "bridge0", "up"]);
            for line in [
                "ip link set lo up".to_owned(),
                format!("ip addr add 10.7.0.{}/24 dev eth0", number + 1),
                format!("ip addr add fd07::{}/64 dev eth0 nodad", number + 1),
                "ip link set eth0 up".to_owned(),
            ] {
                assert!(network.on(number, &["sh", "-c", &line]).status().unwrap().success(), "{line}");
            }
        }
        for number in 0..=SERVERS {
            network.wait_for_addresses(number);
        }
        network
    }

    /// A command on a machine.
    fn on(&self, number: usize, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.machines[number].0.id().to_string(), "-n", "--"]).args(args);
        command
    }

    fn coap(&self, number: usize, args: &[&str]) -> Command {
        self.on(number, &[&[env!("CARGO_BIN_EXE_coap")], args].concat())
    }

    fn serve(&self, number: usize, flags: &[&str]) -> Running {
        let mut child = self.coap(number, &[&["serve"], flags].concat()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let running = Running(child);
        let serving = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("coap: serving"));
        assert!(serving.is_some(), "machine {number} serves nothing");
        std::thread::spawn(move || lines.for_each(drop));
        running
    }

    /// The process has left our namespace for its own.
    fn wait_for_machine(&self, number: usize) {
        let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
        let pid = self.machines[number].0.id().to_string();
        wait_until("a namespace of its own", || namespace(&pid) != namespace("self"));
    }

    /// No address is still looked for among the neighbours.
    fn wait_for_addresses(&self, number: usize) {
        wait_until("addresses", || {
            let shown = self.on(number, &["ip", "-6", "addr", "show", "dev", "eth0"]).output().unwrap();
            let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
            shown.contains("fe80::") && !shown.contains("tentative")
        });
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "no {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn run(program: &str, args: &[&str]) {
    assert!(Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
}
