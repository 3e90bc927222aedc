//! `/.well-known/core`: links in the link format, and its filters (RFC 6690 §4.1).

use core::fmt::Write;

/// A resource as others may find it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Where it is.
    pub(super) path: &'static str,
    /// What is said about it: names, and values as they stand between the quotation marks.
    pub(super) attributes: &'static [(&'static str, &'static str)],
}

/// A condition on links, from one argument of the query: `rt=Type1`, `href=/link*`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter<'a> {
    name: &'a str,
    pattern: Pattern<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Pattern<'a> {
    Exactly(&'a str),
    StartsWith(&'a str),
}

impl<'a> Filter<'a> {
    /// `None`: this is no filter, as RFC 6690 §4.1 has it.
    pub(super) fn parse(argument: &'a [u8]) -> Option<Self> {
        let (name, value) = core::str::from_utf8(argument).ok()?.split_once('=')?;
        let pattern = value.strip_suffix('*').map_or(Pattern::Exactly(value), Pattern::StartsWith);
        Some(Self { name, pattern })
    }

    pub(super) fn matches(&self, link: &Link) -> bool {
        if self.name == "href" {
            return self.fits(link.path);
        }
        let mut values = link.attributes.iter().filter(|(name, _)| *name == self.name).map(|(_, value)| *value);
        match self.name {
            // These are lists, and each of their values is compared by itself; an empty list has the empty value.
            "rt" | "if" | "rel" | "rev" | "ct" => values.any(|list| list.split(' ').any(|value| self.fits(value))),
            _ => values.any(|value| self.fits(value)),
        }
    }

    fn fits(&self, value: &str) -> bool {
        match self.pattern {
            Pattern::Exactly(text) => value == text,
            Pattern::StartsWith(text) => value.starts_with(text),
        }
    }
}

/// The links in the link format (RFC 6690 §2). Numbers stand without quotation marks.
pub(super) fn document(links: impl Iterator<Item = Link>) -> String {
    let mut text = String::new();
    for link in links {
        // Writing to a String cannot fail.
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}<{}>", link.path);
        for (name, value) in link.attributes {
            let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let _ = if is_number { write!(text, ";{name}={value}") } else { write!(text, ";{name}=\"{value}\"") };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: [Link; 6] = [
        Link { path: "/test", attributes: &[] },
        Link { path: "/large", attributes: &[("rt", "block"), ("sz", "1280")] },
        Link { path: "/link1", attributes: &[("rt", "Type1 Type2"), ("if", "If1")] },
        Link { path: "/link2", attributes: &[("rt", "Type2 Type3"), ("if", "If2")] },
        Link { path: "/link3", attributes: &[("rt", "Type1 Type3"), ("if", "foo")] },
        Link { path: "/multi", attributes: &[("ct", "0 41"), ("rt", "")] },
    ];

    #[track_caller]
    fn found(query: &str, expected: &[&str]) {
        let filter = Filter::parse(query.as_bytes()).unwrap();
        let paths: Vec<_> = LINKS.iter().filter(|link| filter.matches(link)).map(|link| link.path).collect();
        assert_eq!(paths, expected, "{query}");
    }

    #[test]
    fn values_of_lists_are_compared_one_by_one() {
        found("rt=Type2", &["/link1", "/link2"]);
        found("rt=Type1 Type2", &[]);
        found("rt=Type", &[]);
        found("ct=41", &["/multi"]);
        found("sz=1280", &["/large"]);
        found("sz=128", &[]);
    }

    #[test]
    fn an_asterisk_stands_for_any_end() {
        found("rt=*", &["/large", "/link1", "/link2", "/link3", "/multi"]);
        found("if=If*", &["/link1", "/link2"]);
        found("sz=*", &["/large"]);
        found("href=/link*", &["/link1", "/link2", "/link3"]);
        found("href=*", &["/test", "/large", "/link1", "/link2", "/link3", "/multi"]);
    }

    #[test]
    fn a_path_is_compared_whole() {
        found("href=/link1", &["/link1"]);
        found("href=/link", &[]);
        found("title=*", &[]);
    }

    #[test]
    fn what_has_no_value_is_no_filter() {
        assert!(Filter::parse(b"rt").is_none());
        assert!(Filter::parse(b"rt=\xff").is_none());
    }

    #[test]
    fn numbers_stand_bare() {
        let text = document(LINKS[1..3].iter().copied());
        assert_eq!(text, r#"</large>;rt="block";sz=1280,</link1>;rt="Type1 Type2";if="If1""#);
    }
}
