//! `coap discover`: what a server says that it has, as a tree.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use coap_core::link_format::Attribute;
use coap_driver::{DiscoverError, DiscoveredLink, Discovery, Error};
use serde_json::{Value, json};

use crate::args::DiscoverArgs;
use crate::client::{connect, parse, print, transmission};
use crate::exit::{Exit, Failure};
use crate::show::one_line;

/// The links of the largest server that somebody may want to look at.
const MOST_BYTES: usize = 1 << 20;

pub(crate) async fn run(args: DiscoverArgs) -> Result<Exit, Failure> {
    let uri = parse(&args.uri)?;
    let transmission = transmission(args.patience)?;
    let client = connect(args.noise, []).await?;
    let asked = client.discover(&uri).request(|request| {
        let request = request.max_body(MOST_BYTES);
        let request = transmission.into_iter().fold(request, coap_tokio::RequestBuilder::transmission);
        args.patience.timeout.into_iter().fold(request, coap_tokio::RequestBuilder::timeout)
    });
    let found = asked.await.map_err(failure)?;
    let text = if args.json { format!("{}\n", as_json(&found)) } else { as_tree(&found) };
    print(text.as_bytes())?;
    Ok(Exit::Success)
}

fn failure(error: DiscoverError) -> Failure {
    match error {
        DiscoverError::Request(Error::Status(reply)) => {
            Failure::new(Exit::for_code(reply.code), format_args!("the server answered {}", reply.code))
        }
        DiscoverError::Request(error) => error.into(),
        // It answered, but not as it should.
        error => Failure::new(Exit::Network, error),
    }
}

// ----- The tree ------------------------------------------------------------------------------------------------------

/// A place in the tree: what is said about it, and what is below.
#[derive(Debug, Default)]
struct Node {
    /// Those of the links that lead there; none: it is only on the way.
    said: Vec<String>,
    below: BTreeMap<String, Self>,
}

impl Node {
    fn insert(&mut self, path: impl Iterator<Item = String>, said: String) {
        let mut node = self;
        for segment in path {
            node = node.below.entry(segment).or_default();
        }
        node.said.push(said);
    }

    fn write(&self, out: &mut String, indent: &str) {
        let last = self.below.len().saturating_sub(1);
        for (index, (name, node)) in self.below.iter().enumerate() {
            let (branch, more) = if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let first = node.said.first().map(String::as_str).unwrap_or_default();
            // Writing to a String does not fail.
            let _ = writeln!(out, "{}", format!("{indent}{branch}{name}{first}").trim_end());
            for further in node.said.iter().skip(1) {
                let _ = writeln!(out, "{indent}{more}and{further}");
            }
            node.write(out, &format!("{indent}{more}"));
        }
    }
}

/// One tree for each server that the links lead to, in the order in which they are named, and the segments in theirs.
fn as_tree(found: &Discovery) -> String {
    let mut roots: Vec<(String, Node)> = Vec::new();
    for link in &found.links {
        let (origin, path) = place(link);
        let index = roots.iter().position(|(name, _)| *name == origin);
        let index = index.unwrap_or_else(|| {
            roots.push((origin, Node::default()));
            roots.len() - 1
        });
        if let Some((_, root)) = roots.get_mut(index) {
            root.insert(path.into_iter(), attributes(link));
        }
    }
    let mut out = String::new();
    for (origin, root) in &roots {
        let said = root.said.join("");
        let _ = writeln!(out, "{}{said}", one_line(origin));
        root.write(&mut out, "");
    }
    out
}

/// The server and the segments of a target. What is no CoAP URI stands for itself.
fn place(link: &DiscoveredLink) -> (String, Vec<String>) {
    let Some(uri) = link.uri().ok() else { return (link.target().to_owned(), Vec::new()) };
    let origin = uri.join("/").map_or_else(|_| uri.to_string(), |root| root.to_string());
    let mut path: Vec<_> = uri.path().iter().map(|segment| one_line(segment)).collect();
    if !uri.query().is_empty() {
        let query = one_line(&format!("?{}", uri.query().join("&")));
        match path.last_mut() {
            Some(last) => last.push_str(&query),
            None => path.push(query),
        }
    }
    (origin, path)
}

/// ` rt="a b" ct=40 obs`
fn attributes(link: &DiscoveredLink) -> String {
    link.attributes().iter().map(|attribute| format!("  {}", one_line(&attribute_text(attribute)))).collect()
}

fn attribute_text(attribute: &Attribute<'_>) -> String {
    let name = attribute.name();
    match attribute.value() {
        None => name.to_owned(),
        Some(value) if attribute.is_quoted() => format!("{name}={value:?}"),
        Some(value) => format!("{name}={value}"),
    }
}

// ----- JSON ----------------------------------------------------------------------------------------------------------

fn as_json(found: &Discovery) -> Value {
    let links: Vec<_> = found.links.iter().map(link_json).collect();
    json!({ "from": found.from.to_string(), "links": links })
}

fn link_json(link: &DiscoveredLink) -> Value {
    let all: Vec<_> = link.attributes().iter().map(|attribute| json!([attribute.name(), attribute.value()])).collect();
    json!({
        "uri": link.uri().ok().map(|uri| uri.to_string()),
        "target": link.target(),
        "anchor": link.anchor(),
        "rt": link.resource_types().collect::<Vec<_>>(),
        "if": link.interfaces().collect::<Vec<_>>(),
        "rel": link.relations().collect::<Vec<_>>(),
        "ct": link.content_formats().map(|format| format.number()).collect::<Vec<_>>(),
        "sz": link.size(),
        "obs": link.is_observable(),
        "title": link.title(),
        "attributes": all,
    })
}
