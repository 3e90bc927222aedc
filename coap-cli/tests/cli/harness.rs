//! Running `coap`, and a server that ends with its test.

use core::sync::atomic::{AtomicU32, Ordering};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn text(&self) -> &str {
        core::str::from_utf8(&self.out).unwrap()
    }

    /// It failed with this code, and said so in one line that has `part` in it.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, part: &str) {
        assert_eq!(self.code, code, "{}", self.err);
        assert!(self.out.is_empty(), "{}", self.text());
        assert!(self.err.starts_with("coap: "), "{}", self.err);
        assert_eq!(self.err.trim_end().lines().count(), 1, "{}", self.err);
        assert!(self.err.contains(part), "{part} is not in {}", self.err);
    }

    /// A response with this code came.
    #[track_caller]
    pub(crate) fn answered(&self, code: &str) {
        assert!(self.err.starts_with(code), "{code} expected: {}", self.err);
        let exit = match &code[..1] {
            "2" => 0,
            class => class.parse().unwrap(),
        };
        assert_eq!(self.code, exit, "{}", self.err);
    }
}

pub(crate) fn coap(args: &[&str]) -> Ran {
    coap_with(args, b"")
}

pub(crate) fn coap_with(args: &[&str], input: &[u8]) -> Ran {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that does not read its input closes it.
    let _ = stdin.write_all(input);
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let err = String::from_utf8(stderr).unwrap();
    assert!(!err.contains("panicked"), "{err}");
    Ran { code: status.code().expect("it was ended by a signal"), out: stdout, err }
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coap"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `coap serve` on a free port of 127.0.0.1.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: String,
    /// All that it listens on, `addr` among them; the secure ones come last.
    pub(crate) addrs: Vec<String>,
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::bound(&[&["--bind", "127.0.0.1:0"], args].concat())
    }

    pub(crate) fn bound(args: &[&str]) -> Self {
        let mut child = command(&[&["serve"], args].concat()).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let sockets = args.iter().filter(|arg| matches!(**arg, "--bind" | "--coaps")).count();
        let mut addrs = Vec::new();
        for line in lines.by_ref().take(sockets).map(Result::unwrap) {
            let addr = line.strip_prefix("coap: listening on ").and_then(|uri| uri.split_once("://"));
            addrs.push(addr.unwrap_or_else(|| panic!("{line}")).1.to_owned());
        }
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, addr: addrs[0].clone(), addrs }
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("coap://{}{path}", self.addr)
    }

    pub(crate) fn get(&self, path: &str) -> Ran {
        coap(&["get", &self.uri(path)])
    }

    pub(crate) fn delete(&self, path: &str) -> Ran {
        coap(&["delete", &self.uri(path)])
    }

    pub(crate) fn put(&self, path: &str, payload: &str) -> Ran {
        coap(&["put", "-e", payload, &self.uri(path)])
    }

    /// Tells it to end as Ctrl-C does.
    #[cfg(unix)]
    pub(crate) fn press_ctrl_c(&self) {
        interrupt(&self.child);
    }

    /// Ends it as Ctrl-C does.
    #[cfg(unix)]
    pub(crate) fn interrupt(mut self) -> i32 {
        self.press_ctrl_c();
        self.child.wait().unwrap().code().expect("it was ended by the signal itself")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What Ctrl-C does to a program.
#[cfg(unix)]
pub(crate) fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
}

/// A socket that takes everything and says nothing.
pub(crate) fn silence() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("coap://{}/", socket.local_addr().unwrap());
    (socket, uri)
}

/// An empty folder that ends with its test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("coap-cli-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is in it, or in a folder of it, in order.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Reads until the program has no more to say.
pub(crate) fn rest(mut of: impl Read) -> String {
    let mut text = String::new();
    of.read_to_string(&mut text).unwrap();
    text
}

/// A terminal, and what has been seen on it.
#[cfg(target_os = "linux")]
pub(crate) struct Terminal {
    us: fs::File,
    side: Option<fs::File>,
    seen: Vec<u8>,
}

#[cfg(target_os = "linux")]
impl Terminal {
    pub(crate) fn open() -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

        let us = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&us).unwrap();
        unlockpt(&us).unwrap();
        let name = ptsname(&us, Vec::new()).unwrap().into_string().unwrap();
        let side = fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
        Self { us: us.into(), side: Some(side), seen: Vec::new() }
    }

    /// What a program takes for its terminal.
    pub(crate) fn side(&self) -> Stdio {
        self.side.as_ref().unwrap().try_clone().unwrap().into()
    }

    /// Waits until the program has written `word`.
    pub(crate) fn wait_for(&mut self, word: &str) {
        while !String::from_utf8_lossy(&self.seen).contains(word) {
            let mut buffer = [0; 1_024];
            let length = self.us.read(&mut buffer).unwrap();
            self.seen.extend_from_slice(&buffer[..length]);
        }
    }

    /// All that was seen, when the program has ended.
    pub(crate) fn rest(mut self) -> String {
        self.side = None;
        // The end is an error here.
        let _ = self.us.read_to_end(&mut self.seen);
        String::from_utf8(self.seen).unwrap()
    }
}
