//! Conditions on links, from the query of a request for them (RFC 6690 §4.1).

use alloc::vec::Vec;
use core::fmt;

use super::{Attribute, Link, syntax, values};
use crate::uri::syntax::unescape;

/// Selects links by what a query asks for: `rt=light`, `href=/sensors/*`, `ct=40`, `sz=*`.
///
/// A condition names an attribute, or `href` for the target, and a value; with an asterisk at its end it is the start of
/// a value. Of the lists `rt`, `if`, `rel`, `rev` and `ct` one value must fit, of the others the whole; an attribute
/// without a value has the empty one. Values are compared byte by byte, and case matters; that of names does not. Of
/// attributes that count once only the first is looked at. A target fits as it is written, and as it is decoded too: the
/// query was.
///
/// RFC 6690 has one condition in a query. Of several each must hold.
///
/// ```
/// use coap_core::Uri;
/// use coap_core::link_format::{Filter, parse};
///
/// let uri = Uri::parse("coap://h/.well-known/core?rt=light-%6Cux&href=/sensors*").unwrap();
/// let filter = Filter::new(uri.query()).unwrap();
/// let links = parse(r#"</sensors/1>;rt="light-lux core.s",</sensors/2>;rt="light",</t>;rt="light-lux""#).unwrap();
/// let found: Vec<_> = links.iter().filter(|link| filter.matches(link)).map(|link| link.target()).collect();
/// assert_eq!(found, ["/sensors/1"]);
/// ```
#[derive(Clone, Debug)]
pub struct Filter<'a> {
    conditions: Vec<Condition<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Condition<'a> {
    name: &'a str,
    pattern: Pattern<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Pattern<'a> {
    Exactly(&'a str),
    StartsWith(&'a str),
}

/// Why a query is no filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterError {
    /// The argument of this index is not UTF-8.
    NotUtf8 {
        /// From 0 on.
        argument: usize,
    },
    /// The argument of this index is not of the form `name=value`, with the name of an attribute or `href`.
    NoCondition {
        /// From 0 on.
        argument: usize,
    },
    /// There are more than [`Filter::MAX_CONDITIONS`].
    TooMany,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 { argument } => write!(f, "argument {argument} of the query is not UTF-8"),
            Self::NoCondition { argument } => {
                write!(f, "argument {argument} of the query is not of the form name=value")
            }
            Self::TooMany => write!(f, "the query has more than {} conditions", Filter::MAX_CONDITIONS),
        }
    }
}

impl core::error::Error for FilterError {}

impl<'a> Filter<'a> {
    /// How many conditions a filter can have. Each is work for each link, and a datagram has room for hundreds.
    pub const MAX_CONDITIONS: usize = 16;

    /// From the arguments of a query, decoded: those of [`Uri::query`](crate::Uri::query), or the values of the Uri-Query
    /// options of a request. Empty ones are passed over; without any the filter lets every link pass.
    ///
    /// # Errors
    ///
    /// An argument that is no condition. A server may answer it with 4.00, or ignore the query (RFC 6690 §4.1).
    pub fn new<S: AsRef<[u8]> + ?Sized + 'a>(arguments: impl IntoIterator<Item = &'a S>) -> Result<Self, FilterError> {
        let mut conditions = Vec::new();
        for (argument, bytes) in arguments.into_iter().enumerate() {
            let bytes = bytes.as_ref();
            if bytes.is_empty() {
                continue;
            }
            if conditions.len() == Self::MAX_CONDITIONS {
                return Err(FilterError::TooMany);
            }
            let text = core::str::from_utf8(bytes).map_err(|_| FilterError::NotUtf8 { argument })?;
            conditions.push(Condition::parse(text).ok_or(FilterError::NoCondition { argument })?);
        }
        Ok(Self { conditions })
    }

    /// Whether the link fulfils every condition.
    pub fn matches(&self, link: &Link<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds_for(link))
    }
}

impl<'a> Condition<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (name, value) = text.split_once('=')?;
        let plain = name.strip_suffix('*').unwrap_or(name);
        if plain.is_empty() || !plain.bytes().all(syntax::attr_char) {
            return None;
        }
        let pattern = value.strip_suffix('*').map_or(Pattern::Exactly(value), Pattern::StartsWith);
        Some(Self { name, pattern })
    }

    fn holds_for(&self, link: &Link<'_>) -> bool {
        if self.name.eq_ignore_ascii_case("href") {
            return self.pattern.fits(link.target().bytes()) || self.pattern.fits(decoded(link.target()));
        }
        let mut named = link.attributes().iter().filter(|attribute| attribute.is(self.name));
        match named.next() {
            None => false,
            Some(first) if self.is_met_by(first) => true,
            Some(first) => !counts_once(first) && named.any(|attribute| self.is_met_by(attribute)),
        }
    }

    fn is_met_by(&self, attribute: &Attribute<'_>) -> bool {
        let value = attribute.value().unwrap_or_default();
        // An empty list has no values, but is there: it fits what the empty value fits.
        if is_list(attribute) && !value.is_empty() {
            return values(value).any(|value| self.pattern.fits(value.bytes()));
        }
        self.pattern.fits(value.bytes())
    }
}

impl Pattern<'_> {
    fn fits(&self, mut value: impl Iterator<Item = u8>) -> bool {
        let mut begins_with = |text: &str| text.bytes().all(|byte| value.next() == Some(byte));
        match self {
            Self::StartsWith(text) => begins_with(text),
            Self::Exactly(text) => begins_with(text) && value.next().is_none(),
        }
    }
}

fn is_list(attribute: &Attribute<'_>) -> bool {
    ["rt", "if", "rel", "rev", "ct"].into_iter().any(|name| attribute.is(name))
}

/// RFC 6690 §2 and §3, RFC 7641 §6, RFC 8288 §3.
fn counts_once(attribute: &Attribute<'_>) -> bool {
    let single = ["sz", "obs", "anchor", "title", "title*", "type", "media"];
    is_list(attribute) || single.into_iter().any(|name| attribute.is(name))
}

/// What a target says without its escapes.
fn decoded(target: &str) -> impl Iterator<Item = u8> {
    let mut rest = target.as_bytes();
    core::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        let escaped = unescape(after).filter(|_| byte == b'%');
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
        Some(escaped.unwrap_or(byte))
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::super::parse;
    use super::*;

    const LINKS: &str = r#"</test>,</large>;rt="block";sz=1280,</link1>;rt="Type1  Type2";if="If1",</link2>;rt="Type2 Type3";if="If2",</none>;rt="",</obs>;obs;title="A b",</%C3%B6%20x>;ct="0 41";k=1;k=2;rt=a;rt=b"#;

    #[track_caller]
    fn found(query: &[&str], expected: &[&str]) {
        let (links, filter) = (parse(LINKS).unwrap(), Filter::new(query.iter().copied()).unwrap());
        let found: Vec<_> = links.iter().filter(|link| filter.matches(link)).map(Link::target).collect();
        assert_eq!(found, expected, "{query:?}");
    }

    #[test]
    fn values_of_lists_are_compared_one_by_one() {
        found(&["rt=Type2"], &["/link1", "/link2"]);
        found(&["rt=Type1  Type2"], &[]);
        found(&["rt=Type"], &[]);
        found(&["ct=41"], &["/%C3%B6%20x"]);
        found(&["rt="], &["/none"]);
    }

    #[test]
    fn values_of_others_are_compared_whole() {
        found(&["sz=1280"], &["/large"]);
        found(&["sz=128"], &[]);
        found(&["title=A b"], &["/obs"]);
        found(&["title=A"], &[]);
        found(&["href=/link"], &[]);
    }

    #[test]
    fn an_asterisk_at_the_end_stands_for_anything() {
        found(&["if=If*"], &["/link1", "/link2"]);
        found(&["sz=*"], &["/large"]);
        found(&["rt=*"], &["/large", "/link1", "/link2", "/none", "/%C3%B6%20x"]);
        found(&["href=/link*"], &["/link1", "/link2"]);
        found(&["if=*1"], &[]);
        found(&["obs=*"], &["/obs"]);
        found(&["obs="], &["/obs"]);
        found(&["none=*"], &[]);
    }

    #[test]
    fn case_matters_in_values_and_not_in_names() {
        found(&["RT=Type1"], &["/link1"]);
        found(&["rt=type1"], &[]);
    }

    #[test]
    fn a_target_fits_encoded_and_decoded() {
        for query in ["href=/%C3%B6%20x", "href=/ö x", "href=/ö*"] {
            found(&[query], &["/%C3%B6%20x"]);
        }
        found(&["href=/ö%20x"], &[]);
    }

    #[test]
    fn of_what_may_be_repeated_one_must_fit_and_else_the_first() {
        found(&["k=2"], &["/%C3%B6%20x"]);
        found(&["rt=b"], &[]);
    }

    #[test]
    fn of_several_conditions_each_must_hold() {
        found(&["rt=Type2", "if=If1"], &["/link1"]);
        found(&["", "rt=block", ""], &["/large"]);
        assert_eq!(
            parse(LINKS).unwrap().iter().filter(|link| Filter::new::<str>([]).unwrap().matches(link)).count(),
            7
        );
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let error = |query: &[&[u8]]| Filter::new(query.iter().copied()).unwrap_err();
        assert_eq!(error(&[b"rt=a", b"rt"]), FilterError::NoCondition { argument: 1 });
        assert_eq!(error(&[b"=a"]), FilterError::NoCondition { argument: 0 });
        assert_eq!(error(&[b"r t=a"]), FilterError::NoCondition { argument: 0 });
        assert_eq!(error(&[b"rt=\xff"]), FilterError::NotUtf8 { argument: 0 });
        assert_eq!(error(&vec![&b"rt=a"[..]; 17]), FilterError::TooMany);
        assert!(Filter::new(vec!["rt=a"; 16]).is_ok());
    }
}
