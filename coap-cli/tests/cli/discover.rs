//! `coap discover`: links as a tree and as JSON.

use serde_json::Value;

use crate::harness::{Folder, Ran, Server, coap, silence, text};

/// What is said of a server that has these links.
fn discovered(links: &str) -> Ran {
    let folder = Folder::new();
    folder.write("links.wlnk", links);
    let server = Server::start(&["--files", text(&folder.0)]);
    coap(&["discover", &server.uri("/files/links.wlnk")])
}

#[test]
fn resources_are_shown_as_a_tree_with_what_is_said_about_them() {
    let server = Server::start(&["--plugtest"]);
    let ran = coap(&["discover", &server.uri("")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<_> = ran.text().lines().collect();
    assert_eq!(lines[0], server.uri("/"));
    let core = lines.iter().position(|line| *line == "├─ .well-known").unwrap();
    assert_eq!(lines[core + 1], "│  └─ core");
    for line in [
        "├─ link1  rt=\"Type1 Type2\"  if=\"If1\"  title=\"For filters\"",
        "├─ large  rt=\"block\"  sz=1280  title=\"Five blocks of text\"",
        "├─ obs  obs  rt=\"observe\"  title=\"Changes every 5 seconds\"",
        "│     └─ seg3  title=\"A path of three segments\"",
        "└─ validate  title=\"Has an entity-tag\"",
    ] {
        assert!(lines.contains(&line), "{line} is not in {}", ran.text());
    }
}

#[test]
fn a_query_selects_and_json_has_everything() {
    let server = Server::start(&["--plugtest"]);
    let ran = coap(&["discover", "--json", &server.uri("?href=/multi-format")]);
    let found: Value = serde_json::from_slice(&ran.out).unwrap();
    assert_eq!(found["from"], server.addr);
    let links = found["links"].as_array().unwrap();
    assert_eq!(links.len(), 1);
    assert_eq!(links[0]["uri"], server.uri("/multi-format"));
    assert_eq!(links[0]["ct"], serde_json::json!([0, 41, 50, 60]));
    assert_eq!(links[0]["attributes"][0], serde_json::json!(["ct", "0 41 50 60"]));
    assert_eq!((&links[0]["obs"], &links[0]["sz"]), (&Value::Bool(false), &Value::Null));
    let ran = coap(&["discover", &server.uri("/path")]);
    assert_eq!(ran.text(), format!("{}\n└─ path\n   ├─ sub1\n   ├─ sub2\n   └─ sub3\n", server.uri("/")));
    let nothing = coap(&["discover", &server.uri("?rt=nothing")]);
    assert_eq!((nothing.code, nothing.text()), (0, ""));
}

#[test]
fn what_is_no_list_of_links_is_said() {
    let server = Server::start(&["--plugtest"]);
    coap(&["discover", &server.uri("/test")]).failed(7, "text/plain");
    coap(&["discover", &server.uri("/nothing")]).failed(4, "4.04");
    coap(&["discover", &server.uri("?rt")]).failed(4, "4.00");
    let (_socket, uri) = silence();
    coap(&["discover", "-B", "0.2", &uri]).failed(6, "");
    coap(&["discover", "coaps://localhost"]).failed(8, "");
}

#[test]
fn what_stands_before_a_mistake_is_shown() {
    let ran = discovered("</a>;rt=\"x\",</b>, </c>");
    assert_eq!(ran.code, 7);
    assert!(ran.text().ends_with("├─ a  rt=\"x\"\n└─ b\n"), "{}", ran.text());
    assert!(ran.err.contains("at byte 17 of the links: a link must begin here") && ran.err.contains("2 could be read"));
    discovered(" </a>").failed(7, "at byte 0 of the links");
}

#[test]
fn a_path_without_end_is_cut_into_a_tree_of_some_levels() {
    let ran = discovered(&format!("<{}>", "/a".repeat(100_000)));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<_> = ran.text().lines().collect();
    assert_eq!(lines.len(), 33);
    let (_, last) = lines[32].split_once("└─ ").unwrap();
    assert!(last.starts_with("a/a/") && last.len() == 2 * (100_000 - 31) - 1, "{}", last.len());
}
