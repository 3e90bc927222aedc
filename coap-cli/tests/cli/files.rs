//! `coap serve --files`: what is served, and that nothing else is.

use std::fs;

use crate::harness::{Folder, Server, coap, text};

fn serve(folder: &Folder, more: &[&str]) -> Server {
    let root = folder.path("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    folder.write("secret", "not yours");
    folder.write("root/a.txt", "hello");
    folder.write("root/.hidden", "not yours");
    folder.write("root/sub/b c.json", "{}");
    Server::start(&[&["--files", text(&root)], more].concat())
}

#[test]
fn files_are_read_and_folders_listed() {
    let folder = Folder::new();
    let server = serve(&folder, &[]);
    let ran = server.get("/files/a.txt");
    ran.answered("2.05");
    assert_eq!(ran.text(), "hello");
    assert!(ran.err.contains("text/plain"), "{}", ran.err);
    assert_eq!(server.get("/files/").text(), "</files/a.txt>;ct=0;sz=5,</files/sub/>;ct=40");
    assert_eq!(server.get("/files").text(), server.get("/files/").text());
    assert_eq!(server.get("/files/sub").text(), "</files/sub/b%20c.json>;ct=50;sz=2");
    assert_eq!(server.get("/files/sub/b%20c.json").text(), "{}");
    server.get("/files/a.txt/").answered("4.04");
    server.get("/files/nothing").answered("4.04");
    assert!(server.get("/.well-known/core").text().contains("</files/>"));
}

#[test]
fn there_is_no_way_out_of_the_folder() {
    let folder = Folder::new();
    let server = serve(&folder, &["--write"]);
    // Uri-Path options by hand: no URI has such segments.
    let ask = |method: &str, segments: &[&str]| {
        let mut args = vec![method.to_owned(), server.uri("/files")];
        for segment in segments {
            args.extend(["-O".to_owned(), format!("11={segment}")]);
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        coap(&args)
    };
    let secret = folder.path("secret");
    for segments in [
        &["..", "secret"][..],
        &["sub", "..", "..", "secret"],
        &["../secret"],
        &["..\\secret"],
        &[text(&secret)],
        &["", text(&secret)],
        &[".hidden"],
        &["a.txt:stream"],
        &["0x00"],
        &["0x6100"],
        &["0xff"],
    ] {
        for method in ["get", "put", "delete"] {
            let ran = ask(method, segments);
            assert_eq!(ran.code, 4, "{method} {segments:?}: {}", ran.err);
            assert!(ran.out.is_empty());
        }
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "not yours");
    assert_eq!(fs::read_to_string(folder.path("root/.hidden")).unwrap(), "not yours");
}

#[cfg(unix)]
#[test]
fn links_lead_nowhere_outside() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    let server = serve(&folder, &["--write"]);
    symlink(folder.path("secret"), folder.path("root/absolute")).unwrap();
    symlink("../secret", folder.path("root/relative")).unwrap();
    symlink("..", folder.path("root/up")).unwrap();
    symlink("a.txt", folder.path("root/inside.txt")).unwrap();
    symlink("loop", folder.path("root/loop")).unwrap();
    for path in ["/files/absolute", "/files/relative", "/files/up/secret", "/files/up/"] {
        let ran = server.get(path);
        assert_eq!(ran.code, 4, "{path}: {}", ran.err);
        assert_eq!(server.put(path, "x").code, 4, "{path}");
        assert_eq!(server.delete(path).code, 4, "{path}");
    }
    assert_ne!(server.get("/files/loop").code, 0);
    assert_eq!(server.get("/files/inside.txt").text(), "hello");
    let list = server.get("/files/");
    assert!(!list.text().contains("absolute") && !list.text().contains("up"), "{}", list.text());
    assert_eq!(fs::read_to_string(folder.path("secret")).unwrap(), "not yours");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_not_waited_for() {
    let folder = Folder::new();
    let server = serve(&folder, &[]);
    let pipe = folder.path("root/pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    server.get("/files/pipe").answered("4.04");
}

#[test]
fn what_is_known_is_not_sent_again() {
    let folder = Folder::new();
    let server = serve(&folder, &[]);
    let uri = server.uri("/files/a.txt");
    let ran = coap(&["get", "--json", &uri]);
    let reply: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    let etag = reply["options"].as_array().unwrap().iter().find(|option| option[0] == 4).unwrap();
    let etag = etag[1].as_str().unwrap();
    assert_eq!(etag.len(), 16);
    let known = format!("ETag=0x{etag}");
    let ran = coap(&["get", "-O", &known, &uri]);
    ran.answered("2.03");
    assert!(ran.out.is_empty());
    folder.write("root/a.txt", "changed");
    assert_eq!(coap(&["get", "-O", &known, &uri]).text(), "changed");
}

#[test]
fn only_a_writable_folder_is_written() {
    let folder = Folder::new();
    let server = serve(&folder, &[]);
    server.put("/files/new.txt", "x").answered("4.05");
    server.delete("/files/a.txt").answered("4.05");
    assert_eq!(fs::read_to_string(folder.path("root/a.txt")).unwrap(), "hello");
    assert!(!folder.path("root/new.txt").exists());

    let folder = Folder::new();
    let server = serve(&folder, &["--write"]);
    server.put("/files/new.txt", "x").answered("2.01");
    server.put("/files/new.txt", "y").answered("2.04");
    assert_eq!(server.get("/files/new.txt").text(), "y");
    server.put("/files/nowhere/new.txt", "x").answered("4.04");
    server.put("/files/sub", "x").answered("4.05");
    server.put("/files/", "x").answered("4.05");
    server.delete("/files/sub").answered("4.05");
    coap(&["put", "-O", "If-None-Match", "-e", "z", &server.uri("/files/new.txt")]).answered("4.12");
    coap(&["put", "-O", "If-Match", "-e", "z", &server.uri("/files/other.txt")]).answered("4.12");
    server.delete("/files/new.txt").answered("2.02");
    server.delete("/files/new.txt").answered("2.02");
    // Nothing half-written stays behind.
    let mut left: Vec<_> = fs::read_dir(folder.path("root"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort_unstable();
    assert_eq!(left, [".hidden", "a.txt", "sub"]);
}

#[test]
fn a_folder_that_is_not_there_is_said() {
    coap(&["serve", "--bind", "127.0.0.1:0", "--files", "/nowhere/at/all"]).failed(2, "/nowhere/at/all");
    coap(&["serve", "--bind", "127.0.0.1:0", "--files", "/etc/hostname"]).failed(2, "/etc/hostname");
}
