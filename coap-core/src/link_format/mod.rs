//! The CoRE link format: what a server says of its resources (RFC 6690), with what RFC 8288 says of links in general.
//!
//! A document is a list of links, as `/.well-known/core` answers with. [`parse()`] and [`links`] read one, strictly;
//! [`document`] and [`write_into`] write one; a [`Filter`] is the condition of a query on links (RFC 6690 §4.1).
//!
//! ```
//! use coap_core::link_format::{self, Filter, Link};
//! use coap_core::{ContentFormat, Uri};
//!
//! let text = r#"</temp>;rt="temperature-c celsius";ct="0 50";title="indoors, upstairs";obs,</t>;anchor="/temp";rel=alternate"#;
//! let links = link_format::parse(text)?;
//! assert_eq!(links[0].resource_types().collect::<Vec<_>>(), ["temperature-c", "celsius"]);
//! assert_eq!(links[0].content_formats().last(), Some(ContentFormat::JSON));
//! assert_eq!(links[0].title().as_deref(), Some("indoors, upstairs"));
//! assert!(links[0].is_observable());
//!
//! let base = Uri::parse("coap://[2001:db8::1]/.well-known/core").unwrap();
//! assert_eq!(links[1].target_uri(&base).unwrap().to_string(), "coap://[2001:db8::1]/t");
//! assert_eq!(links[1].context_uri(&base).unwrap().to_string(), "coap://[2001:db8::1]/temp");
//!
//! let filter = Filter::new(["rt=temp*"]).unwrap();
//! assert_eq!(links.iter().filter(|link| filter.matches(link)).count(), 1);
//!
//! assert_eq!(link_format::document(&links[..1]), text.split_once(",</t").unwrap().0);
//! let link = Link::new("/large")?.with_resource_type("block").with_size(1_280);
//! assert_eq!(link.to_string(), r#"</large>;rt="block";sz=1280"#);
//!
//! let error = link_format::parse(r#"</a>;title="no end"#).unwrap_err();
//! assert_eq!(error.to_string(), "at byte 11 of the links: a quotation mark is never closed");
//! # Ok::<(), coap_core::LinkFormatError>(())
//! ```
//!
//! # What is read
//!
//! The grammar of RFC 6690 §2, without blanks between the parts, and nothing beside it. An attribute whose value is not
//! what its own definition asks for does not make the document wrong (any name may have any value there, by the rule
//! `link-extension`): it is kept, and the method that would read it has nothing.
//!
//! Names of attributes are compared without regard to case (RFC 8288 §3). Of an attribute that may be there once the
//! first counts (RFC 6690 §2 and §3, RFC 7641 §6, RFC 8288 §3); all are kept.
//!
//! A string in quotation marks is UTF-8 without control characters other than the tab; after a backslash any character
//! stands for itself.

mod attribute;
mod build;
mod error;
mod extended;
mod filter;
mod parse;
mod syntax;
mod write;

use alloc::borrow::Cow;
use alloc::vec::Vec;

pub use attribute::Attribute;
pub use error::{LinkFormatError, Problem};
pub use extended::Extended;
pub use filter::{Filter, FilterError};
pub use parse::{Links, links, parse};
pub use write::{document, write_into};

use crate::uri::syntax::split_scheme;
use crate::{ContentFormat, Uri, UriError};

/// A link: a target, and what is said about it.
///
/// It borrows from the document it was read from; [`into_owned`](Self::into_owned) makes it stand alone.
///
/// Methods are of three kinds: those that make a link (`new`, `to_path`, `with_…`), those that read it, and
/// [`target_uri`](Self::target_uri) and [`context_uri`](Self::context_uri), which need to know where it was found.
///
/// Two are equal if they have the same target and the same attributes in the same order and form, so `</a>;ct=0` is not
/// equal to `</a>;ct="0"`. What was parsed and written is equal to what was parsed.
///
/// The default is `<>`: a link to where it is found, of which nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Link<'a> {
    /// What may stand between the angle brackets.
    target: Cow<'a, str>,
    attributes: Vec<Attribute<'a>>,
}

impl Link<'_> {
    /// The target as it was written: a URI or a relative reference, not decoded.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// All attributes in their order, also repeated and unknown ones.
    pub fn attributes(&self) -> &[Attribute<'_>] {
        &self.attributes
    }

    /// The first attribute of this name, in whatever case. Names such as `title*` have their asterisk.
    pub fn attribute(&self, name: &str) -> Option<&Attribute<'_>> {
        self.attributes.iter().find(|attribute| attribute.is(name))
    }

    /// `anchor` as it was written: what the link is about, if that is not the origin (RFC 6690 §2.1).
    pub fn anchor(&self) -> Option<&str> {
        self.value("anchor")
    }

    /// `rt`: what kind of resource it is, one name or several (RFC 6690 §3.1).
    pub fn resource_types(&self) -> impl Iterator<Item = &str> {
        self.list("rt")
    }

    /// `if`: how one deals with it, one name or several (RFC 6690 §3.2).
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.list("if")
    }

    /// `rel`: what the target is to the context. Without any it is `hosts` (RFC 6690 §2.2), which is not added here.
    pub fn relations(&self) -> impl Iterator<Item = &str> {
        self.list("rel")
    }

    /// `rev`: what the context is to the target.
    pub fn reverse_relations(&self) -> impl Iterator<Item = &str> {
        self.list("rev")
    }

    /// `ct`: in which formats it can be had (RFC 7252 §7.2.1). What is no number up to 65535 is passed over.
    pub fn content_formats(&self) -> impl Iterator<Item = ContentFormat> {
        self.list("ct").filter_map(|number| u16::try_from(cardinal(number)?).ok()).map(ContentFormat::new)
    }

    /// `sz`: an estimate of the size of its representation in bytes (RFC 6690 §3.3). One over [`u64::MAX`] is
    /// [`u64::MAX`]: big, not wrong. `None` if there is none, or it is not a decimal number without zeros in front.
    pub fn size(&self) -> Option<u64> {
        self.value("sz").and_then(cardinal)
    }

    /// `title*` if it is there and can be decoded, else `title` (RFC 8288 §3.4.1).
    pub fn title(&self) -> Option<Cow<'_, str>> {
        let extended = self.extended("title").map(|title| Cow::Owned(title.text));
        extended.or_else(|| self.value("title").map(Cow::Borrowed))
    }

    /// The attribute of this name and an asterisk, decoded: `extended("title")` is `title*` (RFC 8187 §3.2). `None` if
    /// there is none, or it is in another charset than UTF-8 and ISO-8859-1, or not in the one that it names.
    pub fn extended(&self, name: &str) -> Option<Extended> {
        let starred = |attribute: &&Attribute<'_>| {
            attribute.name().strip_suffix('*').is_some_and(|it| it.eq_ignore_ascii_case(name))
        };
        self.attributes.iter().find(starred)?.value().and_then(Extended::decode)
    }

    /// `obs`: it is worth observing (RFC 7641 §6). A value, which it should not have, changes nothing.
    pub fn is_observable(&self) -> bool {
        self.attribute("obs").is_some()
    }

    /// The URI of the target, for a link that was found at `base`: a relative reference is resolved against the context
    /// (RFC 6690 §2.1), which is the anchor or else the origin of `base`. The path of `base` does not matter then.
    ///
    /// # Errors
    ///
    /// What is no `coap` or `coaps` URI has [`Reason::Scheme`](crate::uri::Reason::Scheme): it may well be right, see
    /// [`target`](Self::target). A fragment is refused as well, and what [`Uri::parse`] refuses.
    pub fn target_uri(&self, base: &Uri) -> Result<Uri, UriError> {
        if split_scheme(&self.target).is_some() {
            return Uri::parse(&self.target);
        }
        match self.anchor() {
            Some(anchor) => base.join(anchor)?.join(&self.target),
            None => base.join("/")?.join(&self.target),
        }
    }

    /// The URI that the link is about, for one that was found at `base` (RFC 6690 §2.1): its anchor, else the origin of
    /// its target, else the origin of `base`. A relative anchor is resolved against `base`.
    ///
    /// # Errors
    ///
    /// As [`target_uri`](Self::target_uri).
    pub fn context_uri(&self, base: &Uri) -> Result<Uri, UriError> {
        match self.anchor() {
            Some(anchor) => base.join(anchor),
            None => self.target_uri(base)?.join("/"),
        }
    }

    /// The same link, with all of its text in memory of its own.
    pub fn into_owned(self) -> Link<'static> {
        Link {
            target: Cow::Owned(self.target.into_owned()),
            attributes: self.attributes.into_iter().map(Attribute::into_owned).collect(),
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.attribute(name)?.value()
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        self.value(name).into_iter().flat_map(values)
    }
}

/// The values of a list: RFC 6690 §2 has one space or more between them.
fn values(list: &str) -> impl Iterator<Item = &str> {
    list.split(' ').filter(|value| !value.is_empty())
}

/// `cardinal` of RFC 6690 §2.
fn cardinal(text: &str) -> Option<u64> {
    if text.is_empty() || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.bytes().try_fold(0, |number: u64, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    fn link(text: &str) -> Link<'_> {
        parse(text).unwrap().remove(0)
    }

    #[test]
    fn lists_are_split_at_any_number_of_spaces() {
        let link = link(r#"</a>;rt="a  b ";if=x;rel="";rev="r s";ct="0 x 65536 41 007""#);
        assert_eq!(link.resource_types().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(link.interfaces().collect::<Vec<_>>(), ["x"]);
        assert_eq!(link.relations().count(), 0);
        assert_eq!(link.reverse_relations().collect::<Vec<_>>(), ["r", "s"]);
        assert_eq!(link.content_formats().collect::<Vec<_>>(), [ContentFormat::TEXT_PLAIN, ContentFormat::XML]);
    }

    #[test]
    fn of_repeated_attributes_the_first_counts_and_all_are_kept() {
        let link = link("</a>;rt=x;rt=y;sz=1;SZ=2;obs;obs=0;title=one;title=two");
        assert_eq!(link.resource_types().collect::<Vec<_>>(), ["x"]);
        assert_eq!((link.size(), link.title().as_deref(), link.is_observable()), (Some(1), Some("one"), true));
        assert_eq!(link.attributes().len(), 8);
        assert_eq!(link.attributes()[3].name(), "SZ");
    }

    #[test]
    fn a_size_is_a_decimal_number_of_any_length() {
        for (value, size) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("99999999999999999999999999999999", Some(u64::MAX)),
            ("01", None),
            ("-1", None),
            ("1k", None),
            ("99999999999999999999999999999999k", None),
        ] {
            assert_eq!(link(&alloc::format!("</a>;sz={value}")).size(), size, "{value}");
        }
        assert_eq!(link(r#"</a>;sz="12""#).size(), Some(12));
        assert_eq!((link("</a>;sz").size(), link("</a>").size()), (None, None));
    }

    #[test]
    fn the_extended_title_goes_before_the_plain_one() {
        let both = link("</a>;title=\"grosse\";title*=UTF-8'de'gr%C3%B6%C3%9Fe");
        assert_eq!(both.title().as_deref(), Some("größe"));
        assert_eq!(both.extended("title").unwrap().language, "de");
        assert_eq!(both.extended("Title"), both.extended("title"));
        assert_eq!(both.attribute("title").unwrap().value(), Some("grosse"));
        let undecodable = link("</a>;title*=koi8-r''%C4;title=x");
        assert_eq!(undecodable.extended("title"), None);
        assert_eq!(undecodable.title().as_deref(), Some("x"));
    }

    #[test]
    fn targets_resolve_against_the_anchor_or_the_origin() {
        let base = Uri::parse("coap://h:9/dir/core?rt=x").unwrap();
        for (text, target, context) in [
            ("</a>", "coap://h:9/a", "coap://h:9/"),
            ("<a/../b>", "coap://h:9/b", "coap://h:9/"),
            ("<>", "coap://h:9/", "coap://h:9/"),
            ("<?q>", "coap://h:9/?q", "coap://h:9/"),
            ("<//other/b>", "coap://other/b", "coap://other/"),
            ("<coaps://other/b>", "coaps://other/b", "coaps://other/"),
            ("</b>;anchor=\"/x/y\"", "coap://h:9/b", "coap://h:9/x/y"),
            ("<b>;anchor=\"/x/y\"", "coap://h:9/x/b", "coap://h:9/x/y"),
            ("</b>;anchor=\"coap://other/x\"", "coap://other/b", "coap://other/x"),
            ("<coap://third/b>;anchor=\"coap://other/x\"", "coap://third/b", "coap://other/x"),
            ("</b>;anchor=\"y\"", "coap://h:9/b", "coap://h:9/dir/y"),
            ("<b>;anchor=\"\"", "coap://h:9/dir/b", "coap://h:9/dir/core?rt=x"),
        ] {
            let link = link(text);
            assert_eq!(link.target_uri(&base).unwrap().to_string(), target, "{text}");
            assert_eq!(link.context_uri(&base).unwrap().to_string(), context, "{text}");
        }
    }

    #[test]
    fn what_no_coap_uri_can_be_is_an_error_with_its_reason() {
        let base = Uri::parse("coap://h/").unwrap();
        let elsewhere = link("<http://www.example.com/t>;anchor=\"/temp\"");
        assert_eq!(elsewhere.target_uri(&base).unwrap_err().name(), "scheme");
        assert_eq!(elsewhere.context_uri(&base).unwrap().to_string(), "coap://h/temp");
        let about = link("<coap://h/t>;anchor=\"http://www.example.com/\"");
        assert_eq!(about.target_uri(&base).unwrap().to_string(), "coap://h/t");
        assert_eq!(about.context_uri(&base).unwrap_err().name(), "scheme");
        // A path is one of the server that the anchor names.
        assert_eq!(link("</t>;anchor=\"http://x/\"").target_uri(&base).unwrap_err().name(), "scheme");
        assert_eq!(link("</t#f>").target_uri(&base).unwrap_err().name(), "fragment");
    }

    #[test]
    fn an_owned_link_is_equal_to_the_borrowed_one() {
        let text = String::from(r#"</a>;rt="x\"y";obs;n=1"#);
        let owned = parse(&text).unwrap().into_iter().map(Link::into_owned).collect::<Vec<Link<'static>>>();
        assert_eq!(owned, vec![link(&text)]);
    }
}
