//! Bodies that go block by block: both ways, byte for byte, and what is left when they do not come to their end.

use core::time::Duration;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use crate::harness::{Folder, Server, coap, coap_with, command, interrupt, rest, text};

fn serve(folder: &Folder, more: &[&str]) -> Server {
    let root = folder.path("root");
    fs::create_dir_all(&root).unwrap();
    Server::start(&[&["--files", text(&root)], more].concat())
}

/// Bytes in which no two blocks are alike.
fn content(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    core::iter::repeat_with(next).take(length).collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}: not after 30 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |found| found.len())
}

#[test]
fn ten_megabytes_go_up_and_come_down_byte_for_byte() {
    let folder = Folder::new();
    let server = serve(&folder, &["--write"]);
    let bytes = content(10 << 20);
    folder.write("ten", &bytes);
    let (source, target, uri) = (folder.path("ten"), folder.path("back"), server.uri("/files/ten.bin"));
    let ran = coap(&["put", "-f", text(&source), &uri]);
    ran.answered("2.01 Created");
    assert!(fs::read(folder.path("root/ten.bin")).unwrap() == bytes, "the file is another on the server");
    let ran = coap(&["get", "-o", text(&target), &uri]);
    ran.answered("2.05 Content, 10485760 bytes");
    assert!(ran.out.is_empty());
    assert!(fs::read(&target).unwrap() == bytes, "the file is another here");
    assert!(ran.err.lines().nth(1).unwrap().starts_with("10485760 bytes in "), "{}", ran.err);
    // Nothing half-written stays behind, here or there.
    assert_eq!(
        (folder.names("."), folder.names("root")),
        (vec!["back".into(), "root".into(), "ten".into()], vec!["ten.bin".into()])
    );
}

#[test]
fn every_block_size_carries_the_same_bytes() {
    let folder = Folder::new();
    let server = serve(&folder, &["--write"]);
    for (length, size) in [(1_000, "16"), (1_024, "32"), (1_025, "64"), (5_000, "128"), (70_000, "512"), (70_000, "0")]
    {
        let bytes = content(length);
        folder.write("in", &bytes);
        let uri = server.uri(&format!("/files/{size}"));
        coap(&["put", "-b", size, "-f", text(&folder.path("in")), &uri]).answered("2.01");
        let ran = coap(&["get", "-b", size, &uri]);
        ran.answered("2.05");
        assert!(ran.out == bytes, "{length} {size}");
    }
}

#[test]
fn standard_input_and_output_are_streams_too() {
    let folder = Folder::new();
    let server = serve(&folder, &["--write"]);
    let bytes = content(300_000);
    coap_with(&["put", "-f", "-", &server.uri("/files/a")], &bytes).answered("2.01");
    assert!(server.get("/files/a").out == bytes);
    // Both ways in one exchange, and as one object.
    let ran = coap_with(&["post", "-e", "@-", "--json", &server.uri("/echo")], &bytes[..60_000]);
    let reply: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    assert_eq!(reply["payload"].as_str().unwrap().len(), 120_000);
}

#[test]
fn a_large_text_has_the_length_that_is_asked_for() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/large").out.len(), 1_280);
    let ran = server.get("/large?size=100001");
    assert_eq!(ran.out.len(), 100_001);
    assert!(ran.text().lines().enumerate().all(|(number, line)| line.starts_with(&format!("{number:010}"))));
    assert_eq!(server.get("/large?size=0").out.len(), 0);
    server.get("/large?size=1073741825").answered("4.00");
    server.get("/large?size=x").answered("4.00");
    // One block alone, with its line number.
    let ran = coap(&["get", "-b", "3,64", &server.uri("/large")]);
    assert!(ran.out.len() == 64 && ran.text().starts_with("0000000003 "), "{}", ran.text());
    coap(&["put", "-b", "3,64", "-e", "x", &server.uri("/large")]).failed(2, "one block");
}

#[test]
fn values_have_a_limit_that_is_said_before_they_are_sent() {
    let folder = Folder::new();
    let server = Server::start(&[]);
    folder.write("most", content(64 << 10));
    folder.write("more", content((64 << 10) + 1));
    coap(&["put", "-f", text(&folder.path("most")), &server.uri("/store/a")]).answered("2.01");
    assert!(server.get("/store/a").out == content(64 << 10));
    let ran = coap(&["put", "-v", "-f", text(&folder.path("more")), &server.uri("/store/b")]);
    assert_eq!(ran.code, 4);
    assert_eq!(ran.err.lines().filter(|line| line.contains("-> ")).count(), 1, "{}", ran.err);
    assert!(ran.err.contains("4.13"), "{}", ran.err);
}

#[test]
fn what_is_refused_costs_no_upload() {
    let folder = Folder::new();
    let server = serve(&folder, &[]);
    folder.write("large", content(1 << 20));
    let source = folder.path("large");
    for (path, code) in [("/files/a", "4.05"), ("/nothing", "4.04"), ("/hello", "4.05")] {
        let ran = coap(&["put", "-v", "-f", text(&source), &server.uri(path)]);
        assert!(ran.err.contains(code), "{}", ran.err);
        assert!(ran.err.lines().filter(|line| line.contains("-> ")).count() <= 2, "{}", ran.err);
    }
}

#[test]
fn an_upload_that_ends_early_is_never_seen() {
    let folder = Folder::new();
    let server = serve(&folder, &["--write"]);
    let uri = server.uri("/files/a");
    coap(&["put", "-e", "old", &uri]).answered("2.01");
    let mut child = command(&["put", "-f", "-", &uri]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &content(200_000)).unwrap();
    wait_until("a part is there", || folder.names("root").len() == 2);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(server.get("/files/a").text(), "old");
    assert_eq!(server.get("/files/").text(), "</files/a>;ct=42;sz=3");
    // And whoever begins anew does not have to wait for the end of the first.
    folder.write("new", content(100_000));
    coap(&["put", "-f", text(&folder.path("new")), &uri]).answered("2.04");
    assert!(server.get("/files/a").out == content(100_000));
}

#[test]
fn a_download_that_is_killed_goes_on_where_it_was() {
    let folder = Folder::new();
    let server = serve(&folder, &[]);
    let bytes = content(12 << 20);
    folder.write("root/a", &bytes);
    let (target, part, note) = (folder.path("a"), folder.path("a.part"), folder.path("note"));
    let uri = server.uri("/files/a");
    let args = ["get", "-o", text(&target), "--resume", text(&note), &uri];
    let mut child = command(&args).spawn().unwrap();
    // Beyond what the first note says.
    wait_until("the note is renewed", || {
        let noted = fs::read_to_string(&note).unwrap_or_default();
        let offset = noted.lines().nth(2).and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
        offset.is_some_and(|offset| offset > 50_000)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!target.exists() && length(&part) < bytes.len() as u64);

    let ran = coap(&args);
    ran.answered("2.05");
    assert!(fs::read(&target).unwrap() == bytes, "the file is another here");
    let came = ran.err.lines().nth(1).unwrap();
    let new: u64 = came.split(' ').next().unwrap().parse().unwrap();
    assert!(new < bytes.len() as u64 - 50_000 && came.contains(", after "), "{came}");
    assert!(!part.exists() && !note.exists());
}

#[cfg(unix)]
#[test]
fn a_download_is_never_put_together_from_two_states() {
    let folder = Folder::new();
    let server = serve(&folder, &[]);
    folder.write("root/a", content(12 << 20));
    let (target, part, note) = (folder.path("a"), folder.path("a.part"), folder.path("note"));
    let uri = server.uri("/files/a");
    let args = ["get", "-o", text(&target), "--resume", text(&note), &uri];
    let mut child = command(&args).spawn().unwrap();
    wait_until("a part is there", || length(&part) > 100_000);
    // Ctrl-C, this time: told, noted, and not complete.
    interrupt(&child);
    let told = rest(child.stderr.take().unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(130), "{told}");
    assert!(told.contains("coap: interrupted; ") && told.contains("run it again"), "{told}");
    assert!(!target.exists() && length(&part) >= 100_000 && note.exists());

    let new: Vec<u8> = content(300_000).into_iter().rev().collect();
    folder.write("root/a", &new);
    // What the server has read ahead is out of date by then.
    std::thread::sleep(Duration::from_millis(100));
    let ran = coap(&args);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("from its start"), "{}", ran.err);
    assert!(fs::read(&target).unwrap() == new, "the file is another here");
    assert!(!part.exists() && !note.exists());
}

#[cfg(unix)]
#[test]
fn a_download_that_ends_early_leaves_nothing_without_resume() {
    let folder = Folder::new();
    let server = serve(&folder, &[]);
    folder.write("root/a", content(12 << 20));
    folder.write("a", "old");
    let (target, part) = (folder.path("a"), folder.path("a.part"));
    let get = || command(&["get", "-q", "-o", text(&target), &server.uri("/files/a")]).spawn().unwrap();

    let mut child = get();
    wait_until("a part is there", || length(&part) > 0);
    interrupt(&child);
    assert_eq!(rest(child.stderr.take().unwrap()), "coap: interrupted\n");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!((fs::read_to_string(&target).unwrap().as_str(), part.exists()), ("old", false));

    // The server goes.
    let mut child = get();
    wait_until("a part is there", || length(&part) > 0);
    drop(server);
    let told = rest(child.stderr.take().unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(7), "{told}");
    assert!(told.starts_with("coap: ") && told.lines().count() == 1, "{told}");
    assert_eq!((fs::read_to_string(&target).unwrap().as_str(), part.exists()), ("old", false));
}

#[test]
fn a_note_is_for_one_download_and_no_other_file_is_taken_for_it() {
    let folder = Folder::new();
    let server = serve(&folder, &[]);
    folder.write("thesis", "Once upon a time");
    let (target, thesis) = (folder.path("a"), folder.path("thesis"));
    coap(&["get", "-o", text(&target), "--resume", text(&thesis), &server.uri("/large")]).failed(2, "thesis");
    assert_eq!(fs::read_to_string(&thesis).unwrap(), "Once upon a time");
    coap(&["put", "-o", text(&target), "--resume", text(&thesis), &server.uri("/large")]).failed(2, "--resume");
    // What comes at once needs no note, and leaves none.
    let note = folder.path("note");
    coap(&["get", "-o", text(&target), "--resume", text(&note), &server.uri("/hello")]).answered("2.05");
    assert_eq!(fs::read(&target).unwrap().len(), 20);
    assert!(!note.exists());
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_download() {
    let server = Server::start(&[]);
    let mut child = command(&["get", &server.uri("/large?size=1073741824")]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 5_000]).unwrap();
    drop(stdout);
    let start = Instant::now();
    let told = rest(child.stderr.take().unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(0), "{told}");
    assert!(start.elapsed() < Duration::from_secs(10) && told.starts_with("2.05"), "{told}");
}

#[test]
fn a_pipe_sees_no_progress() {
    let server = Server::start(&[]);
    // Long enough that a terminal would.
    let ran = coap(&["get", "-b", "16", "-o", "/dev/null", &server.uri("/large?size=60000")]);
    ran.answered("2.05");
    assert_eq!(ran.err.lines().count(), 2, "{}", ran.err);
    assert!(!ran.err.contains(['\r', '\u{1b}', '%']), "{}", ran.err);
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_sees_progress() {
    use crate::harness::Terminal;

    let server = Server::start(&[]);
    for (args, word) in [
        (vec!["get", "-b", "16", "-o", "/dev/null"], Some("receiving ")),
        (vec!["get", "-b", "16", "-q", "-o", "/dev/null"], None),
    ] {
        let uri = server.uri("/large?size=10000000");
        let mut terminal = Terminal::open();
        let mut command = command(&[&args[..], &[&uri]].concat());
        let mut child = command.stderr(terminal.side()).spawn().unwrap();
        drop(command);
        match word {
            Some(word) => terminal.wait_for(word),
            None => std::thread::sleep(Duration::from_millis(1_500)),
        }
        interrupt(&child);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let seen = terminal.rest();
        assert_eq!(seen.contains(" % "), word.is_some(), "{seen:?}");
        // The last word has a line of its own.
        let last = seen.trim_end().rsplit(['\r', '\n']).next().unwrap();
        assert!(last.ends_with("coap: interrupted"), "{seen:?}");
    }
}

#[test]
fn what_has_not_changed_is_left_as_it_is() {
    let folder = Folder::new();
    let server = serve(&folder, &[]);
    folder.write("root/a", content(5_000));
    let (target, uri) = (folder.path("a"), server.uri("/files/a"));
    let seen = coap(&["get", "-v", "-o", text(&target), &uri]).err;
    let tag = seen.split("ETag: ").nth(1).unwrap().split([',', '\n', ' ']).next().unwrap();
    let ran = coap(&["get", "-o", text(&target), "-O", &format!("ETag={tag}"), &uri]);
    ran.answered("2.03");
    assert!(ran.err.contains("left as it is"), "{}", ran.err);
    assert!(fs::read(&target).unwrap() == content(5_000));
}

#[test]
fn a_dash_is_standard_output() {
    let folder = Folder::new();
    let server = serve(&folder, &[]);
    folder.write("root/a", content(5_000));
    let ran = coap(&["get", "-o", "-", &server.uri("/files/a")]);
    ran.answered("2.05");
    assert!(ran.out == content(5_000));
    let note = folder.path("note");
    coap(&["get", "-o", "-", "--resume", text(&note), &server.uri("/files/a")]).failed(2, "leave out --resume");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_the_system_makes_up_is_sent_to_its_end() {
    let made_up = Path::new("/proc/kallsyms");
    let Ok(bytes) = fs::read(made_up) else { return };
    let folder = Folder::new();
    let server = serve(&folder, &["--write"]);
    coap(&["put", "-f", text(made_up), &server.uri("/files/a")]).answered("2.01");
    assert_eq!(length(&folder.path("root/a")), bytes.len() as u64);
}

#[cfg(unix)]
#[test]
fn two_downloads_do_not_write_one_file() {
    // It answers with the first of many blocks, and then nothing.
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = format!("coap://{}/", peer.local_addr().unwrap());
    let folder = Folder::new();
    let file = folder.path("file");
    let mut first = command(&["get", "-q", "-o", text(&file), &silent]).spawn().unwrap();
    let mut datagram = [0; 100];
    let (_, from) = peer.recv_from(&mut datagram).unwrap();
    let token = &datagram[4..4 + usize::from(datagram[0] & 15)];
    // 2.05, Block2 0/1/1024.
    let head = [0x60 | datagram[0] & 15, 0x45, datagram[2], datagram[3]];
    peer.send_to(&[&head[..], token, b"\xd1\x0a\x0e\xff", &[b'x'; 1_024]].concat(), from).unwrap();
    wait_until("the first is under way", || folder.path("file.part").exists());
    let server = Server::start(&["--plugtest"]);
    let second = coap(&["get", "-q", "-o", text(&file), &server.uri("/large")]);
    second.failed(1, "another download writes ");
    first.kill().unwrap();
    first.wait().unwrap();
    // What the first has left is in nobody's way.
    assert_eq!(coap(&["get", "-q", "-o", text(&file), &server.uri("/large")]).code, 0);
    assert_eq!(length(&file), 1_280);
    assert_eq!(folder.names(""), ["file"]);
}
