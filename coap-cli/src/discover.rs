//! `coap discover`: what a server, or each of a group, says that it has, as a tree.

use core::fmt::Write as _;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::Poll;
use std::collections::{BTreeMap, HashMap};

use coap_core::link_format::Attribute;
use coap_core::{Scheme, Uri};
use coap_driver::{DiscoverError, DiscoveredLink, Discovery, Error};
use coap_tokio::DiscoverBuilder;
use futures_core::Stream;
use serde_json::{Value, json};

use crate::args::DiscoverArgs;
use crate::client::{connect_for, parse, print, transmission};
use crate::exit::{Exit, Failure};
use crate::show::{address, json_line, one_line};
use crate::{group, say, security, stop};

/// The links of the largest server that somebody may want to look at.
const MOST_BYTES: usize = 1 << 20;

/// How deep a tree becomes. A path of a hostile server can have half a million segments: what is further down stands in one
/// line, so that neither the stack nor the indentation grows with what a peer sends.
const MOST_LEVELS: usize = 32;

/// Where servers that want to be found are, as far as no router is needed (RFC 7252 §12.8).
const ALL_SERVERS: [&str; 2] = ["224.0.1.187", "[ff02::fd]"];

pub(crate) async fn run(args: DiscoverArgs) -> Result<Exit, Failure> {
    let transmission = transmission(args.patience)?;
    let targets: Vec<&str> = match (&args.uri, &args.multicast) {
        (Some(uri), _) | (None, Some(Some(uri))) => vec![uri],
        _ => ALL_SERVERS.to_vec(),
    };
    let uris = targets.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    uris.iter().try_for_each(|uri| group::check_unused(uri, &args.group))?;
    // One URI, or groups, which cannot be secure.
    let secure = uris.iter().find(|uri| uri.scheme() == Scheme::Coaps).or_else(|| uris.first());
    let for_uri = |uri| security::for_uri(&args.security, uri, args.noise.quiet, args.patience.timeout);
    let security = secure.map(for_uri).transpose()?.flatten();
    let client = connect_for(args.noise, [], &args.group, security).await?;
    let asked = |uri: &Uri| {
        client.discover(uri).request(|request| {
            let request = request.max_body(MOST_BYTES);
            let request = transmission.into_iter().fold(request, coap_tokio::RequestBuilder::transmission);
            args.patience.timeout.into_iter().fold(request, coap_tokio::RequestBuilder::timeout)
        })
    };
    if args.multicast.is_some() || uris.iter().any(group::is_group) {
        return of_groups(uris.iter().map(asked).collect(), &args).await;
    }
    for uri in &uris {
        match asked(uri).await {
            Ok(mut found) => {
                found.from = address(&client, found.from);
                show(&found, args.json)?;
            }
            Err(error) => return Err(told(error, &args)?),
        }
    }
    Ok(Exit::Success)
}

fn show(found: &Discovery, json: bool) -> Result<(), Failure> {
    let text = if json { json_line(&as_json(found)) } else { as_tree(found) };
    print(text.as_bytes())
}

/// Shows who answers, and what each of them has, as it comes.
async fn of_groups(asked: Vec<DiscoverBuilder>, args: &DiscoverArgs) -> Result<Exit, Failure> {
    let span = args.patience.timeout.unwrap_or(group::PATIENCE);
    let (mut open, mut why) = (Vec::new(), None);
    for asked in asked {
        match asked.request(|request| request.timeout(span)).multicast().await {
            Ok(group) => open.push(group),
            Err(error) => why = Some(Failure::from(error)),
        }
    }
    let mut stop = pin!(stop::told_to());
    let mut any = false;
    while !open.is_empty() {
        let next = poll_fn(|cx| {
            for index in 0..open.len() {
                if let Some(group) = open.get_mut(index)
                    && let Poll::Ready(next) = Pin::new(group).poll_next(cx)
                {
                    return Poll::Ready((index, next));
                }
            }
            Poll::Pending
        });
        let (index, next) = tokio::select! {
            next = next => next,
            () = stop.as_mut() => return Err(Failure::interrupted()),
        };
        match next {
            None => drop(open.swap_remove(index)),
            Some((from, Ok(found))) => {
                any = true;
                if !args.json && !args.noise.quiet {
                    say(format_args!("{from} answered:"));
                }
                show(&found, args.json)?;
            }
            // It could not be sent to one of the groups: the other may do.
            Some((from, Err(error))) if from.is_multicast() => why = Some(failure(error, args)),
            Some((from, Err(error))) => say(format_args!("coap: {from}: {}", told(error, args)?)),
        }
    }
    if any { Ok(Exit::Success) } else { Err(why.unwrap_or_else(|| group::nobody(span))) }
}

/// Shows what could be read before the error: one character that is wrong should not hide all that a server has.
fn told(error: DiscoverError, args: &DiscoverArgs) -> Result<Failure, Failure> {
    if let DiscoverError::Malformed { read, .. } = &error
        && !read.links.is_empty()
    {
        show(read, args.json)?;
    }
    Ok(failure(error, args))
}

fn failure(error: DiscoverError, args: &DiscoverArgs) -> Failure {
    match error {
        DiscoverError::Request(Error::Status(reply)) => {
            Failure::new(Exit::for_code(reply.code), format_args!("the server answered {}", reply.code))
        }
        DiscoverError::Request(error) => security::failure(&args.security, error),
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
    let mut known: HashMap<String, usize> = HashMap::new();
    for link in &found.links {
        let (origin, path) = place(link);
        let index = *known.entry(origin).or_insert_with_key(|origin| {
            roots.push((origin.clone(), Node::default()));
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
    let segments = uri.path();
    let (shown, deeper) = segments.split_at(segments.len().min(MOST_LEVELS - 1));
    let mut path: Vec<_> = shown.iter().map(|segment| one_line(segment)).collect();
    if !deeper.is_empty() {
        path.push(one_line(&deeper.join("/")));
    }
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
