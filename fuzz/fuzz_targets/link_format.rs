//! Links: no text makes us panic, what was read once is written and read again without a difference, and what was built
//! is read as it was built.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use coap_core::link_format::{self, Filter, Link, Problem};
use coap_core::{ContentFormat, Uri};
use libfuzzer_sys::fuzz_target;

/// What a link is built of, and a query for it.
#[derive(Arbitrary, Debug)]
struct Built<'a> {
    query: Vec<&'a [u8]>,
    target: &'a str,
    path: Vec<&'a str>,
    parts: Vec<Part<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Part<'a> {
    ResourceType(&'a str),
    Interface(&'a str),
    Relation(&'a str),
    ReverseRelation(&'a str),
    ContentFormat(u16),
    Size(u64),
    Title(&'a str),
    Anchor(&'a str),
    Observable,
    Attribute(&'a str, &'a str),
    Flag(&'a str),
    Extended(&'a str, &'a str, &'a str),
}

fuzz_target!(|data: &[u8]| {
    read(data);
    if let Ok(built) = Built::arbitrary(&mut Unstructured::new(data)) {
        build(&built);
    }
});

fn read(document: &[u8]) {
    match link_format::parse(document) {
        // A query that some of them may fit.
        Ok(links) => survive(&links, &[b"rt=a*", b"href=/*"]),
        Err(error) => {
            assert!(error.offset <= document.len());
            assert!(!error.to_string().contains(char::is_control));
            let Ok(text) = core::str::from_utf8(document) else { return assert_eq!(error.what, Problem::NotUtf8) };
            // Each link before has two bytes at least.
            assert!(2 * link_format::links(text).flatten().count() <= error.offset);
            assert_eq!(link_format::links(text).last(), Some(Err(error)));
        }
    }
}

fn build(built: &Built<'_>) {
    let mut link = Link::new(built.target).or_else(|_| Link::to_path(&built.path)).unwrap_or_else(|_| root());
    for part in &built.parts {
        link = add(link, part);
    }
    survive(&[link, root()], &built.query);
}

fn root() -> Link<'static> {
    Link::new("/").expect("it is a reference")
}

fn add<'a>(link: Link<'a>, part: &Part<'a>) -> Link<'a> {
    let before = link.clone();
    match *part {
        Part::ResourceType(name) => link.with_resource_type(name),
        Part::Interface(name) => link.with_interface(name),
        Part::Relation(name) => link.with_relation(name),
        Part::ReverseRelation(name) => link.with_reverse_relation(name),
        Part::ContentFormat(number) => link.with_content_format(ContentFormat::new(number)),
        Part::Size(size) => link.with_size(size),
        Part::Title(title) => link.with_title(title),
        Part::Anchor(anchor) => link.with_anchor(anchor),
        Part::Observable => link.observable(),
        Part::Attribute(name, value) => link.with_attribute(name, value).unwrap_or(before),
        Part::Flag(name) => link.with_flag(name).unwrap_or(before),
        Part::Extended(name, language, text) => link.with_extended(name, language, text).unwrap_or(before),
    }
}

fn survive(links: &[Link<'_>], query: &[&[u8]]) {
    let text = link_format::document(links);
    let again = link_format::parse(&text).expect("what we write, we read");
    assert_eq!(again, links);
    assert_eq!(link_format::document(&again), text);
    let owned: Vec<_> = again.into_iter().map(Link::into_owned).collect();
    assert_eq!(owned, links);

    let base = Uri::parse("coaps://[fe80::1%25eth0]:9/a/b?c").expect("it is well-formed");
    let filter = Filter::new(query.iter().copied());
    for link in links {
        let _ = (link.target_uri(&base), link.context_uri(&base));
        let _ = (link.title(), link.size(), link.is_observable(), link.content_formats().count());
        let names =
            link.resource_types().chain(link.interfaces()).chain(link.relations()).chain(link.reverse_relations());
        assert!(names.into_iter().all(|name| !name.is_empty() && !name.contains(' ')));
        if let Ok(filter) = &filter {
            let _ = filter.matches(link);
        }
        let own = [format!("href={}", link.target())];
        if !link.target().ends_with('*') {
            assert!(Filter::new(&own).is_ok_and(|filter| filter.matches(link)));
        }
    }
}
