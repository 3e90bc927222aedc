//! The strict reader: RFC 6690 §2. Each byte is looked at a fixed number of times.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Attribute, Link, LinkFormatError, Problem, extended, syntax};
use crate::uri::syntax::unescape;

/// Reads a whole document, such as a payload of the content-format [`LINK_FORMAT`](crate::ContentFormat::LINK_FORMAT).
/// The empty one has no links.
///
/// The links share the text, but for values with escapes. Yet if it is made of attributes of one letter they take up to
/// 28 times as much memory as it has bytes, and twice that while a list grows; [`links`] keeps one link at a time.
///
/// # Errors
///
/// The first thing that is wrong. A caller that wants the links before it uses [`links`].
pub fn parse<T: AsRef<[u8]> + ?Sized>(document: &T) -> Result<Vec<Link<'_>>, LinkFormatError> {
    let text = core::str::from_utf8(document.as_ref())
        .map_err(|error| LinkFormatError { offset: error.valid_up_to(), what: Problem::NotUtf8 })?;
    links(text).collect()
}

/// Reads a document link by link. Nothing follows an error.
///
/// ```
/// use coap_core::link_format::links;
///
/// let mut links = links("</a>,</b>,");
/// assert_eq!(links.next().unwrap().unwrap().target(), "/a");
/// assert_eq!(links.next().unwrap().unwrap().target(), "/b");
/// assert_eq!(links.next().unwrap().unwrap_err().offset, 10);
/// assert!(links.next().is_none());
/// ```
pub const fn links(document: &str) -> Links<'_> {
    Links { text: document, at: 0, ended: document.is_empty() }
}

/// The links of a document, see [`links`].
#[derive(Clone, Debug)]
pub struct Links<'a> {
    text: &'a str,
    /// Where the next link begins; always between two characters.
    at: usize,
    ended: bool,
}

impl<'a> Iterator for Links<'a> {
    type Item = Result<Link<'a>, LinkFormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let link = self.link();
        // What can follow a link is its end or a comma, and then there must be another.
        self.ended = link.is_err() || !self.skip(b',');
        Some(link)
    }
}

impl core::iter::FusedIterator for Links<'_> {}

impl<'a> Links<'a> {
    fn link(&mut self) -> Result<Link<'a>, LinkFormatError> {
        let target = Cow::Borrowed(self.target()?);
        let mut attributes = Vec::new();
        loop {
            match self.peek() {
                None | Some(b',') => return Ok(Link { target, attributes }),
                Some(b';') => {
                    self.at += 1;
                    attributes.push(self.attribute()?);
                }
                Some(_) => return self.refuse(self.at, Problem::ExpectedSeparator),
            }
        }
    }

    fn target(&mut self) -> Result<&'a str, LinkFormatError> {
        let open = self.at;
        if !self.skip(b'<') {
            return self.refuse(open, Problem::ExpectedLink);
        }
        let start = self.at;
        match target_len(self.rest()) {
            Ok(len) => self.at += len,
            Err((len, what)) => return self.refuse(start + len, what),
        }
        let target = self.since(start);
        if !self.skip(b'>') {
            return match self.peek() {
                None => self.refuse(open, Problem::UnterminatedTarget),
                Some(_) => self.refuse(self.at, Problem::TargetCharacter),
            };
        }
        Ok(target)
    }

    /// `link-param`, of whatever name.
    fn attribute(&mut self) -> Result<Attribute<'a>, LinkFormatError> {
        let start = self.at;
        self.skip_while(syntax::attr_char);
        if self.at == start {
            return self.refuse(start, Problem::AttributeName);
        }
        let is_extended = self.skip(b'*');
        let name = Cow::Borrowed(self.since(start));
        let value = self.at;
        if !self.skip(b'=') {
            return if is_extended {
                self.refuse(value, Problem::ExtendedValue)
            } else {
                Ok(Attribute::without_value(name))
            };
        }
        if self.peek() == Some(b'"') && !is_extended {
            return Ok(Attribute::quoted(name, self.quoted()?));
        }
        let start = self.at;
        self.skip_while(syntax::token);
        match self.since(start) {
            text if is_extended && extended::split(text).is_none() => self.refuse(start, Problem::ExtendedValue),
            "" => self.refuse(start, Problem::EmptyToken),
            text => Ok(Attribute::token(name, Cow::Borrowed(text))),
        }
    }

    /// `quoted-string`, from its first quotation mark on. Memory is needed only for one with escapes.
    fn quoted(&mut self) -> Result<Cow<'a, str>, LinkFormatError> {
        let open = self.at;
        self.at += 1;
        let mut unescaped: Option<String> = None;
        loop {
            let start = self.at;
            self.skip_while(|byte| !matches!(byte, b'"' | b'\\') && !syntax::control(byte));
            let plain = self.since(start);
            if let Some(text) = &mut unescaped {
                text.push_str(plain);
            }
            match self.peek() {
                None => return self.refuse(open, Problem::UnterminatedString),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(unescaped.map_or(Cow::Borrowed(plain), Cow::Owned));
                }
                Some(b'\\') => {
                    let Some(escaped) = self.text.get(self.at + 1..).and_then(|rest| rest.chars().next()) else {
                        return self.refuse(self.at, Problem::DanglingEscape);
                    };
                    unescaped.get_or_insert_with(|| plain.into()).push(escaped);
                    self.at += 1 + escaped.len_utf8();
                }
                Some(_) => return self.refuse(self.at, Problem::ControlCharacter),
            }
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_while(&mut self, plain: impl Fn(u8) -> bool) {
        self.at += self.rest().iter().take_while(|byte| plain(**byte)).count();
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn refuse<T>(&self, offset: usize, what: Problem) -> Result<T, LinkFormatError> {
        Err(LinkFormatError { offset, what })
    }
}

/// How many of the bytes a URI reference can be made of, or at which of them an escape is broken.
pub(super) fn target_len(text: &[u8]) -> Result<usize, (usize, Problem)> {
    let mut at = 0;
    while let Some((&byte, after)) = text.get(at..).and_then(<[u8]>::split_first) {
        at += match byte {
            b'%' if unescape(after).is_some() => 3,
            b'%' => return Err((at, Problem::TargetEscape)),
            _ if syntax::uri_char(byte) => 1,
            _ => break,
        };
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    type Named<'a> = (&'a str, Option<&'a str>);

    /// Targets, and attributes by name and value.
    #[track_caller]
    fn read(text: &str, expected: &[(&str, &[Named<'_>])]) {
        let links = parse(text).unwrap();
        assert_eq!(links.len(), expected.len(), "{text}");
        for (link, (target, attributes)) in links.iter().zip(expected) {
            let found: Vec<Named<'_>> = link.attributes().iter().map(|it| (it.name(), it.value())).collect();
            assert_eq!((link.target(), &found[..]), (*target, *attributes), "{text}");
        }
    }

    #[track_caller]
    fn refused(text: impl AsRef<[u8]>, offset: usize, what: Problem) {
        assert_eq!(parse(&text), Err(LinkFormatError { offset, what }), "{:?}", text.as_ref());
    }

    #[test]
    fn the_empty_document_has_no_links_and_the_empty_reference_is_one() {
        read("", &[]);
        read("<>", &[("", &[])]);
    }

    #[test]
    fn what_separates_does_not_do_so_in_targets_and_quotation_marks() {
        read("</a,b;c>,<d=>", &[("/a,b;c", &[]), ("d=", &[])]);
        read(r#"</a>;t="x,y;z<>=";u"#, &[("/a", &[("t", Some("x,y;z<>=")), ("u", None)])]);
        read("</a>;t=x=<y>'(z)", &[("/a", &[("t", Some("x=<y>'(z)"))])]);
    }

    #[test]
    fn a_backslash_makes_any_character_stand_for_itself() {
        read(r#"</a>;t="\"\\ \n\ö\,""#, &[("/a", &[("t", Some("\"\\ nö,"))])]);
        read("</a>;t=\"\\\r\\\n\\\u{7f}\t\"", &[("/a", &[("t", Some("\r\n\u{7f}\t"))])]);
    }

    #[test]
    fn attributes_take_the_memory_that_parse_says() {
        assert!(size_of::<Attribute<'_>>() <= 28 * ";a".len());
        assert!(size_of::<Link<'_>>() <= 28 * "<>,".len());
    }

    #[test]
    fn text_is_shared_but_for_values_with_escapes() {
        let text = r#"</a>;t="plain";u="a\b""#;
        let links = parse(text).unwrap();
        let shares = |part: &str| text.as_bytes().as_ptr_range().contains(&part.as_ptr());
        assert!(shares(links[0].target()));
        let attributes = links[0].attributes();
        assert!(attributes.iter().all(|attribute| shares(attribute.name())));
        assert!(attributes[0].value().is_some_and(shares));
        assert!(!attributes[1].value().is_some_and(shares));
    }

    #[test]
    fn an_attribute_has_a_value_an_empty_one_or_none() {
        read(r#"</a>;x;y="";z=1"#, &[("/a", &[("x", None), ("y", Some("")), ("z", Some("1"))])]);
        read("</a>;!#$&+-.^_`|~=1", &[("/a", &[("!#$&+-.^_`|~", Some("1"))])]);
    }

    #[test]
    fn an_error_says_where() {
        refused("/link", 0, Problem::ExpectedLink);
        refused(" </a>", 0, Problem::ExpectedLink);
        refused("</a>, </b>", 5, Problem::ExpectedLink);
        refused("</a>,", 5, Problem::ExpectedLink);
        refused("</a>,,</b>", 5, Problem::ExpectedLink);
        refused("</a>,</b", 5, Problem::UnterminatedTarget);
        refused("<", 0, Problem::UnterminatedTarget);
        refused("</a b>", 3, Problem::TargetCharacter);
        refused("</ä>", 2, Problem::TargetCharacter);
        refused("<<>", 1, Problem::TargetCharacter);
        refused("</a%2>", 3, Problem::TargetEscape);
        refused("</a>x", 4, Problem::ExpectedSeparator);
        refused("</a></b>", 4, Problem::ExpectedSeparator);
        refused("</a>;", 5, Problem::AttributeName);
        refused("</a>;;b", 5, Problem::AttributeName);
        refused("</a>; b", 5, Problem::AttributeName);
        refused("</a>;=b", 5, Problem::AttributeName);
        refused("</a>;ö=b", 5, Problem::AttributeName);
        refused("</a>;*=UTF-8''b", 5, Problem::AttributeName);
        refused("</a>;b =c", 6, Problem::ExpectedSeparator);
        refused("</a>;b=", 7, Problem::EmptyToken);
        refused("</a>;b= \"c\"", 7, Problem::EmptyToken);
        refused("</a>;b=ö", 7, Problem::EmptyToken);
        refused("</a>;b=c d", 8, Problem::ExpectedSeparator);
        refused("</a>;b=\"c\"d", 10, Problem::ExpectedSeparator);
        refused("</a>;b=\"c", 7, Problem::UnterminatedString);
        refused("</a>;b=\"c\\\"", 7, Problem::UnterminatedString);
        refused("</a>;b=\"c\\", 9, Problem::DanglingEscape);
        refused("</a>;b=\"c\r\n d\"", 9, Problem::ControlCharacter);
        refused("</a>;b*", 7, Problem::ExtendedValue);
        refused("</a>;b*=", 8, Problem::ExtendedValue);
        refused("</a>;b*=\"UTF-8''x\"", 8, Problem::ExtendedValue);
        refused("</a>;b*=x", 8, Problem::ExtendedValue);
        refused(b"</a>;b=\"\xff\"", 8, Problem::NotUtf8);
    }

    #[test]
    fn an_error_is_one_line() {
        let error = parse("</a>;b=\"c\r\n d\"").unwrap_err();
        assert_eq!(error.to_string(), "at byte 9 of the links: a control character stands in quotation marks");
    }

    #[test]
    fn texts_cut_short_or_changed_are_read_or_refused() {
        let text = r#"</a%41>;ct=40;t="x\"ö,y";u*=UTF-8'de'%C3%B6;obs,<>;b="#;
        let bytes = text.as_bytes();
        for end in 0..=bytes.len() {
            let _ = parse(&bytes[..end]);
            for byte in 0..=255 {
                let mut changed = vec![0; end];
                changed.copy_from_slice(&bytes[..end]);
                if let Some(last) = changed.last_mut() {
                    *last = byte;
                }
                if let Err(error) = parse(&changed) {
                    assert!(error.offset <= end, "{error}");
                }
            }
        }
    }

    #[test]
    fn nothing_follows_an_error() {
        let mut links = links("</a>,x,</b>");
        assert!(links.next().is_some_and(|link| link.is_ok()));
        assert!(links.next().is_some_and(|link| link.is_err()));
        assert!(links.next().is_none());
        assert!(parse(&format!("{}x", "</a>,".repeat(1_000))).is_err());
    }
}
