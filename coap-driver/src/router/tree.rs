//! Which route a path belongs to: a tree of path segments (RFC 7252 §5.10.1, §6.4).
//!
//! A segment is the value of one Uri-Path option, any bytes; it is compared byte for byte, so that a slash inside of a
//! segment is no separator, and `/a` and `/a/` (whose last segment is empty) are two resources.

use core::fmt;

use coap_core::{Code, LinkFormatError};

/// Why a pattern was refused. [`Router::route`](super::Router::route) keeps the first one; serving reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// A pattern starts with a slash.
    NoSlash {
        /// The pattern.
        pattern: String,
    },
    /// A segment with a brace in it is not `{name}` or `{*name}`. Write `%7B` and `%7D` where a path has braces.
    Braces {
        /// The pattern.
        pattern: String,
    },
    /// `%` is not followed by two hexadecimal digits.
    Percent {
        /// The pattern.
        pattern: String,
    },
    /// `{*rest}` takes all that is left, so that nothing can follow it.
    AfterRest {
        /// The pattern.
        pattern: String,
    },
    /// No Uri-Path option is longer than 255 bytes (RFC 7252 §5.10).
    LongSegment {
        /// The pattern.
        pattern: String,
    },
    /// Another route has the same segments already, whatever the names of its parameters.
    Taken {
        /// The pattern.
        pattern: String,
        /// The route that was there first.
        by: String,
    },
    /// One method of a route was given two handlers.
    MethodTwice {
        /// The pattern.
        pattern: String,
        /// The method.
        method: Code,
    },
    /// A router that is mounted into another one has virtual hosts of its own.
    HostInside {
        /// The host.
        host: String,
    },
    /// No link can have an attribute of this name: see [`MethodRouter::attribute`](super::MethodRouter::attribute).
    Attribute {
        /// The pattern.
        pattern: String,
        /// What is wrong; its offset is in the name.
        error: LinkFormatError,
    },
    /// Something is around the router: nothing can be added to it, and it cannot be mounted
    /// ([`Router::wrap`](super::Router::wrap)).
    Wrapped,
    /// Two routers for one host.
    HostTaken {
        /// The host.
        host: String,
    },
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlash { pattern } => write!(f, "route {pattern:?} does not start with a slash"),
            Self::Braces { pattern } => {
                write!(f, "route {pattern:?} has braces that are not a whole segment {{name}} or {{*name}}")
            }
            Self::Percent { pattern } => write!(f, "route {pattern:?} has a percent sign without two hex digits"),
            Self::AfterRest { pattern } => write!(f, "route {pattern:?} goes on after {{*rest}}"),
            Self::LongSegment { pattern } => write!(f, "route {pattern:?} has a segment of more than 255 bytes"),
            Self::Taken { pattern, by } => write!(f, "route {pattern:?} matches the same paths as route {by:?}"),
            Self::MethodTwice { pattern, method } => write!(f, "route {pattern:?} has two handlers for {method}"),
            Self::Attribute { pattern, error } => {
                write!(f, "route {pattern:?} has a link attribute that cannot be: {}", error.what)
            }
            Self::Wrapped => f.write_str(
                "a router that has a middleware takes no further routes and cannot be mounted: wrap it last",
            ),
            Self::HostInside { host } => write!(f, "a router with the virtual host {host:?} cannot be mounted"),
            Self::HostTaken { host } => write!(f, "two routers for the virtual host {host:?}"),
        }
    }
}

impl core::error::Error for RouteError {}

/// A part of a path that a route leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Capture {
    /// As it stands between the braces.
    pub(crate) name: String,
    /// The position of its (first) segment in the path.
    pub(crate) at: usize,
    /// All segments from there to the end.
    pub(crate) rest: bool,
}

/// A pattern, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Exact(Box<[u8]>),
    One(String),
    Rest(String),
}

impl Pattern {
    /// `/`, `/a/b`, `/a/`, `/a/{id}`, `/a/{*rest}`; `%2F` is a slash inside of a segment.
    pub(crate) fn parse(text: &str) -> Result<Self, RouteError> {
        let pattern = || text.to_owned();
        let Some(path) = text.strip_prefix('/') else { return Err(RouteError::NoSlash { pattern: pattern() }) };
        let mut segments = Vec::new();
        // RFC 7252 §6.4: the path `/` has no segment at all, not one that is empty.
        if !path.is_empty() {
            for part in path.split('/') {
                if matches!(segments.last(), Some(Segment::Rest(_))) {
                    return Err(RouteError::AfterRest { pattern: pattern() });
                }
                segments.push(Segment::parse(part, text)?);
            }
        }
        Ok(Self { text: pattern(), segments })
    }

    /// This pattern below `prefix`. A trailing slash of the prefix counts for nothing.
    pub(crate) fn below(&self, prefix: &str) -> Result<Self, RouteError> {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        // Mounted at `/a`, the root of the inner router is `/a` itself.
        let path = if self.segments.is_empty() && !prefix.is_empty() { "" } else { self.text.as_str() };
        Self::parse(&format!("{prefix}{path}"))
    }

    /// The segments, if none is open and all are UTF-8, as the paths of URIs are.
    pub(crate) fn literal(&self) -> Option<Vec<&str>> {
        let texts = self.segments.iter().map(|segment| match segment {
            Segment::Exact(bytes) => core::str::from_utf8(bytes).ok(),
            Segment::One(_) | Segment::Rest(_) => None,
        });
        texts.collect()
    }

    /// Whether it stands for this one path.
    pub(crate) fn is(&self, path: [&[u8]; 2]) -> bool {
        let exact =
            |(segment, wanted): (&Segment, &[u8])| matches!(segment, Segment::Exact(bytes) if **bytes == *wanted);
        self.segments.len() == path.len() && self.segments.iter().zip(path).all(exact)
    }

    /// Where the open parts are.
    pub(crate) fn captures(&self) -> Vec<Capture> {
        let open = |(at, segment): (usize, &Segment)| match segment {
            Segment::Exact(_) => None,
            Segment::One(name) => Some(Capture { name: name.clone(), at, rest: false }),
            Segment::Rest(name) => Some(Capture { name: name.clone(), at, rest: true }),
        };
        self.segments.iter().enumerate().filter_map(open).collect()
    }
}

impl Segment {
    fn parse(part: &str, pattern: &str) -> Result<Self, RouteError> {
        let whole = || pattern.to_owned();
        if let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            let (name, rest) = name.strip_prefix('*').map_or((name, false), |name| (name, true));
            if name.is_empty() || name.contains(['{', '}', '*']) {
                return Err(RouteError::Braces { pattern: whole() });
            }
            return Ok(if rest { Self::Rest(name.to_owned()) } else { Self::One(name.to_owned()) });
        }
        if part.contains(['{', '}']) {
            return Err(RouteError::Braces { pattern: whole() });
        }
        let bytes = percent_decode(part).ok_or_else(|| RouteError::Percent { pattern: whole() })?;
        if bytes.len() > 255 {
            return Err(RouteError::LongSegment { pattern: whole() });
        }
        Ok(Self::Exact(bytes.into()))
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)? } else { byte });
    }
    Some(bytes)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The index of a route in the list of whoever owns the tree.
pub(crate) type RouteIndex = usize;

/// The tree. Node 0 is the root of the paths.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Sorted by segment.
    exact: Vec<(Box<[u8]>, usize)>,
    one: Option<usize>,
    rest: Option<RouteIndex>,
    here: Option<RouteIndex>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Tree {
    /// Adds `route`; `Err` has the route that matches the same paths already.
    pub(crate) fn insert(&mut self, pattern: &Pattern, route: RouteIndex) -> Result<(), RouteIndex> {
        let mut at = 0;
        for segment in &pattern.segments {
            at = match segment {
                Segment::Exact(bytes) => self.exact_child(at, bytes),
                Segment::One(_) => self.one_child(at),
                Segment::Rest(_) => return occupy(&mut self.nodes[at].rest, route),
            };
        }
        occupy(&mut self.nodes[at].here, route)
    }

    /// The route for a path. Literal segments win over `{name}`, and `{name}` over `{*name}`, from left to right; where
    /// the better branch leads nowhere the next one is tried. Each node is looked at once at most, and nothing is
    /// allocated.
    pub(crate) fn find<'a>(&self, path: impl Iterator<Item = &'a [u8]> + Clone) -> Option<RouteIndex> {
        // RFC 7252 §6.5: one empty segment makes the same URI as none at all.
        let mut probe = path.clone();
        if probe.next().is_some_and(<[u8]>::is_empty) && probe.next().is_none() {
            return self.nodes[0].here;
        }
        self.find_below(0, path)
    }

    fn find_below<'a>(&self, at: usize, mut path: impl Iterator<Item = &'a [u8]> + Clone) -> Option<RouteIndex> {
        let node = &self.nodes[at];
        let Some(segment) = path.next() else { return node.here };
        let exact = node.exact.binary_search_by(|(bytes, _)| (**bytes).cmp(segment)).ok();
        exact
            .and_then(|place| self.find_below(node.exact[place].1, path.clone()))
            .or_else(|| node.one.and_then(|child| self.find_below(child, path)))
            .or(node.rest)
    }

    fn exact_child(&mut self, at: usize, segment: &[u8]) -> usize {
        match self.nodes[at].exact.binary_search_by(|(bytes, _)| (**bytes).cmp(segment)) {
            Ok(place) => self.nodes[at].exact[place].1,
            Err(place) => {
                let child = self.add_node();
                self.nodes[at].exact.insert(place, (segment.into(), child));
                child
            }
        }
    }

    fn one_child(&mut self, at: usize) -> usize {
        if let Some(child) = self.nodes[at].one {
            return child;
        }
        let child = self.add_node();
        self.nodes[at].one = Some(child);
        child
    }

    fn add_node(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }
}

fn occupy(place: &mut Option<RouteIndex>, route: RouteIndex) -> Result<(), RouteIndex> {
    match *place {
        Some(first) => Err(first),
        None => {
            *place = Some(route);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(patterns: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for (index, pattern) in patterns.iter().enumerate() {
            tree.insert(&Pattern::parse(pattern).unwrap(), index).unwrap();
        }
        tree
    }

    fn find(tree: &Tree, path: &[&str]) -> Option<usize> {
        tree.find(path.iter().map(|segment| segment.as_bytes()))
    }

    #[test]
    fn the_root_has_no_segments() {
        let tree = tree(&["/", "/a"]);
        assert_eq!(find(&tree, &[]), Some(0));
        assert_eq!(find(&tree, &[""]), Some(0));
        assert_eq!(find(&tree, &["", ""]), None);
        assert_eq!(find(&tree, &["a"]), Some(1));
    }

    #[test]
    fn a_trailing_slash_is_another_resource() {
        let tree = tree(&["/a", "/b/"]);
        assert_eq!(find(&tree, &["a", ""]), None);
        assert_eq!(find(&tree, &["b"]), None);
        assert_eq!(find(&tree, &["b", ""]), Some(1));
    }

    #[test]
    fn a_slash_inside_of_a_segment_separates_nothing() {
        let tree = tree(&["/a/b", "/a%2Fb", "/%7Bid%7d"]);
        assert_eq!(find(&tree, &["a", "b"]), Some(0));
        assert_eq!(find(&tree, &["a/b"]), Some(1));
        assert_eq!(find(&tree, &["{id}"]), Some(2));
        assert_eq!(find(&tree, &["a%2Fb"]), None);
    }

    #[test]
    fn literal_beats_parameter_beats_rest_and_a_dead_end_is_left_again() {
        let tree = tree(&["/a/b/c", "/a/{x}", "/{x}/b/d", "/{*rest}"]);
        assert_eq!(find(&tree, &["a", "b", "c"]), Some(0));
        assert_eq!(find(&tree, &["a", "b"]), Some(1));
        assert_eq!(find(&tree, &["a", "b", "d"]), Some(2));
        assert_eq!(find(&tree, &["a", "x", "y"]), Some(3));
        assert_eq!(find(&tree, &[]), None);
    }

    #[test]
    fn rest_takes_one_segment_or_more() {
        let tree = tree(&["/a/{*rest}"]);
        assert_eq!(find(&tree, &["a"]), None);
        assert_eq!(find(&tree, &["a", ""]), Some(0));
        assert_eq!(find(&tree, &["a", "b", "c"]), Some(0));
    }

    #[test]
    fn segments_are_bytes_and_case_counts() {
        let tree = tree(&["/A", "/%FF"]);
        assert_eq!(find(&tree, &["a"]), None);
        assert_eq!(tree.find([&[0xff][..]].into_iter()), Some(1));
    }

    #[test]
    fn a_bad_pattern_is_refused_by_name() {
        let refused = |text: &str| Pattern::parse(text).unwrap_err();
        let pattern = |text: &str| text.to_owned();
        assert_eq!(refused("a"), RouteError::NoSlash { pattern: pattern("a") });
        assert_eq!(refused("/x{id}"), RouteError::Braces { pattern: pattern("/x{id}") });
        assert_eq!(refused("/{}"), RouteError::Braces { pattern: pattern("/{}") });
        assert_eq!(refused("/%2"), RouteError::Percent { pattern: pattern("/%2") });
        assert_eq!(refused("/{*a}/b"), RouteError::AfterRest { pattern: pattern("/{*a}/b") });
        assert!(matches!(refused(&format!("/{}", "x".repeat(256))), RouteError::LongSegment { .. }));
    }

    #[test]
    fn the_same_paths_twice_are_refused() {
        let mut tree = tree(&["/a/{x}", "/b/{*x}"]);
        assert_eq!(tree.insert(&Pattern::parse("/a/{y}").unwrap(), 9), Err(0));
        assert_eq!(tree.insert(&Pattern::parse("/b/{*y}").unwrap(), 9), Err(1));
    }

    #[test]
    fn captures_know_their_places() {
        let captures = Pattern::parse("/a/{id}/b/{*rest}").unwrap().captures();
        let capture = |name: &str, at, rest| Capture { name: name.to_owned(), at, rest };
        assert_eq!(captures, [capture("id", 1, false), capture("rest", 3, true)]);
    }

    #[test]
    fn a_pattern_moves_below_a_prefix() {
        let below = |pattern: &str, prefix: &str| Pattern::parse(pattern).unwrap().below(prefix).unwrap().text;
        assert_eq!(below("/x", "/a"), "/a/x");
        assert_eq!(below("/x", "/a/"), "/a/x");
        assert_eq!(below("/", "/a"), "/a");
        assert_eq!(below("/x", "/"), "/x");
        assert_eq!(below("/", "/"), "/");
    }
}
