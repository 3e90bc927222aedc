//! Which resources there are.

use coap_core::{Code, ContentFormat};

/// A resource of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) path: &'static str,
    /// What is said about it, as it stands in the link format.
    pub(super) attributes: &'static str,
    pub(super) methods: &'static [Code],
    pub(super) start: Start,
    pub(super) listing: Listing,
}

/// What a resource is at the start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// It is not there before somebody puts it.
    Absent,
    /// Text.
    Text(&'static str),
    /// Links, in the link format.
    Links(&'static str),
    /// [`LARGE`](super::LARGE) bytes of text.
    Large,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    Listed,
    NamedOnly,
}

impl Start {
    pub(super) fn content(self) -> Option<super::Content> {
        let (format, body) = match self {
            Self::Absent => return None,
            Self::Text(text) => (ContentFormat::TEXT_PLAIN, text.into()),
            Self::Links(text) => (ContentFormat::LINK_FORMAT, text.into()),
            Self::Large => (ContentFormat::TEXT_PLAIN, super::large_text().into()),
        };
        Some(super::Content { format, body })
    }
}

const fn entry(path: &'static str, methods: &'static [Code], start: Start) -> Entry {
    Entry { path, attributes: "", methods, start, listing: Listing::Listed }
}

impl Entry {
    const fn with(mut self, attributes: &'static str) -> Self {
        self.attributes = attributes;
        self
    }

    const fn named_only(mut self) -> Self {
        self.listing = Listing::NamedOnly;
        self
    }
}

const GET: &[Code] = &[Code::GET];
const GET_POST: &[Code] = &[Code::GET, Code::POST];
const GET_PUT: &[Code] = &[Code::GET, Code::PUT];
const GET_PUT_DELETE: &[Code] = &[Code::GET, Code::PUT, Code::DELETE];
const GET_PUT_POST: &[Code] = &[Code::GET, Code::PUT, Code::POST];
const GET_PUT_POST_DELETE: &[Code] = &[Code::GET, Code::PUT, Code::POST, Code::DELETE];
const POST: &[Code] = &[Code::POST];
const PUT_DELETE: &[Code] = &[Code::PUT, Code::DELETE];

const SUBS: &str = "</path/sub1>,</path/sub2>,</path/sub3>";

pub(super) const TABLE: [Entry; 31] = [
    entry("/.well-known/core", GET, Start::Links("")).named_only(),
    entry("/test", GET_PUT_POST_DELETE, Start::Text("a test")),
    entry("/seg1/seg2/seg3", GET, Start::Text("three segments")),
    entry("/query", GET, Start::Text("")),
    entry("/separate", GET_PUT_POST, Start::Text("that took a while")),
    entry("/large", GET, Start::Large).with(r#";rt="block";sz=1280"#),
    entry("/large-separate", GET, Start::Large).with(r#";rt="block";sz=1280"#),
    entry("/large-update", GET_PUT, Start::Text("to be replaced")).with(r#";rt="block""#),
    entry("/large-create", GET_POST, Start::Links("")).with(r#";rt="block""#),
    entry("/large-post", POST, Start::Large).with(r#";rt="block""#),
    entry("/obs", GET_PUT_POST_DELETE, Start::Text("as it was")),
    entry("/obs-non", GET_PUT_POST_DELETE, Start::Text("as it was")),
    entry("/obs-large", GET, Start::Large),
    entry("/obs-pumping", GET, Start::Text("small")),
    entry("/obs-pumping-non", GET, Start::Text("small")),
    entry("/obs-reset", POST, Start::Text("")),
    entry("/location-query", POST, Start::Text("")),
    entry("/multi-format", GET, Start::Text("plain")).with(r#";ct="0 41""#),
    entry("/validate", GET_PUT_DELETE, Start::Text("first")),
    entry("/create1", GET_PUT_DELETE, Start::Absent),
    entry("/create2", PUT_DELETE, Start::Absent).named_only(),
    entry("/create3", PUT_DELETE, Start::Absent).named_only(),
    entry("/link1", GET, Start::Text("link 1")).with(r#";rt="Type1 Type2";if="If1""#),
    entry("/link2", GET, Start::Text("link 2")).with(r#";rt="Type2 Type3";if="If2""#),
    entry("/link3", GET, Start::Text("link 3")).with(r#";rt="Type1 Type3";if="foo""#),
    entry("/link4", GET, Start::Text("link 4")).with(r#";rt="""#).named_only(),
    entry("/path", GET, Start::Links(SUBS)).with(r#";ct=40"#),
    entry("/path/sub1", GET, Start::Text("sub 1")),
    entry("/path/sub2", GET, Start::Text("sub 2")),
    entry("/path/sub3", GET, Start::Text("sub 3")),
    entry("/secure", &[], Start::Absent).named_only(),
];
