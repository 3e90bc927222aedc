//! Making links, in a form that every reader takes.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::parse::target_len;
use super::{Attribute, Link, LinkFormatError, Problem, extended, syntax};
use crate::ContentFormat;
use crate::uri::syntax::{Encoded, pchar};

impl<'a> Link<'a> {
    /// A link without attributes to `target`, a URI or a relative reference such as `/sensors/temp`.
    ///
    /// # Errors
    ///
    /// What no URI can hold must be percent-encoded; [`to_path`](Self::to_path) does that.
    pub fn new(target: impl Into<Cow<'a, str>>) -> Result<Self, LinkFormatError> {
        let target = target.into();
        match target_len(target.as_bytes()) {
            Ok(len) if len == target.len() => Ok(Self { target, attributes: Vec::new() }),
            Ok(offset) => Err(LinkFormatError { offset, what: Problem::TargetCharacter }),
            Err((offset, what)) => Err(LinkFormatError { offset, what }),
        }
    }

    /// A link to the resource whose Uri-Path options these are; none of them is the root.
    ///
    /// ```
    /// # use coap_core::link_format::Link;
    /// assert_eq!(Link::to_path(["räume", "1/2"]).unwrap().target(), "/r%C3%A4ume/1%2F2");
    /// ```
    ///
    /// # Errors
    ///
    /// [`Problem::DotSegment`] at the index of a segment that is `.` or `..`, which no option may hold.
    pub fn to_path<S: AsRef<str>>(segments: impl IntoIterator<Item = S>) -> Result<Self, LinkFormatError> {
        let mut target = String::new();
        for (offset, segment) in segments.into_iter().enumerate() {
            let text = segment.as_ref();
            if matches!(text, "." | "..") {
                return Err(LinkFormatError { offset, what: Problem::DotSegment });
            }
            // Two slashes in front would make a host of what follows (RFC 3986 §4.2).
            if target == "/" {
                target.insert_str(0, "/.");
            }
            target.push_str(&format!("/{}", Encoded { text, plain: pchar }));
        }
        if target.is_empty() {
            target.push('/');
        }
        Ok(Self { target: Cow::Owned(target), attributes: Vec::new() })
    }

    /// Adds to `rt`, which is a list: one name, or several with spaces between them.
    #[must_use]
    pub fn with_resource_type(self, name: impl Into<Cow<'a, str>>) -> Self {
        self.listed("rt", name.into())
    }

    /// Adds to `if`, which is a list.
    #[must_use]
    pub fn with_interface(self, name: impl Into<Cow<'a, str>>) -> Self {
        self.listed("if", name.into())
    }

    /// Adds to `rel`, which is a list.
    #[must_use]
    pub fn with_relation(self, name: impl Into<Cow<'a, str>>) -> Self {
        self.listed("rel", name.into())
    }

    /// Adds to `rev`, which is a list.
    #[must_use]
    pub fn with_reverse_relation(self, name: impl Into<Cow<'a, str>>) -> Self {
        self.listed("rev", name.into())
    }

    /// Adds to `ct`, which is a list.
    #[must_use]
    pub fn with_content_format(self, format: ContentFormat) -> Self {
        self.listed("ct", format.number().to_string().into())
    }

    /// Sets `sz`, in bytes.
    #[must_use]
    pub fn with_size(self, size: u64) -> Self {
        self.set(attribute("sz".into(), size.to_string().into()))
    }

    /// Sets `title`.
    #[must_use]
    pub fn with_title(self, title: impl Into<Cow<'a, str>>) -> Self {
        self.set(attribute("title".into(), title.into()))
    }

    /// Sets `anchor`, a URI or a relative reference. It is not looked at, as it is not when links are read.
    #[must_use]
    pub fn with_anchor(self, anchor: impl Into<Cow<'a, str>>) -> Self {
        self.set(attribute("anchor".into(), anchor.into()))
    }

    /// Sets `obs`: the resource is worth observing (RFC 7641 §6).
    #[must_use]
    pub fn observable(self) -> Self {
        self.set(Attribute::without_value("obs".into()))
    }

    /// Adds an attribute, behind those that there are, even of the same name. Its value stands in quotation marks unless
    /// it is a number or has to stand without.
    ///
    /// # Errors
    ///
    /// [`Problem::AttributeName`] for a name that no attribute can have, or that ends with an asterisk: see
    /// [`with_extended`](Self::with_extended). The offset is in the name.
    pub fn with_attribute(
        mut self,
        name: impl Into<Cow<'a, str>>,
        value: impl Into<Cow<'a, str>>,
    ) -> Result<Self, LinkFormatError> {
        let name = checked(name.into())?;
        self.attributes.push(attribute(name, value.into()));
        Ok(self)
    }

    /// Adds an attribute without a value.
    ///
    /// # Errors
    ///
    /// As [`with_attribute`](Self::with_attribute).
    pub fn with_flag(mut self, name: impl Into<Cow<'a, str>>) -> Result<Self, LinkFormatError> {
        self.attributes.push(Attribute::without_value(checked(name.into())?));
        Ok(self)
    }

    /// Adds an attribute of this name and an asterisk, whose text is in a language, such as `title*` (RFC 8187 §3.2).
    /// The language is a tag such as `de` or `en-GB`, or empty.
    ///
    /// # Errors
    ///
    /// As [`with_attribute`](Self::with_attribute), and [`Problem::ExtendedValue`] for what is no language tag.
    pub fn with_extended(mut self, name: &str, language: &str, text: &str) -> Result<Self, LinkFormatError> {
        let name = format!("{}*", checked(name.into())?);
        if !extended::is_language(language) {
            return Err(LinkFormatError { offset: 0, what: Problem::ExtendedValue });
        }
        let value = format!("UTF-8'{language}'{}", Encoded { text, plain: syntax::attr_char });
        self.attributes.push(Attribute::token(name.into(), value.into()));
        Ok(self)
    }

    /// Adds the attributes of another link, as they are, but for those of a name that this one has.
    ///
    /// ```
    /// # use coap_core::link_format::Link;
    /// let model = Link::default().with_resource_type("lamp").with_title("a lamp").observable();
    /// let lamp = Link::new("/lamps/3")?.with_title("in the hall").with_attributes_of(&model);
    /// assert_eq!(lamp.to_string(), r#"</lamps/3>;title="in the hall";rt="lamp";obs"#);
    /// # Ok::<(), coap_core::LinkFormatError>(())
    /// ```
    #[must_use]
    pub fn with_attributes_of(mut self, model: &Self) -> Self {
        let more: Vec<_> = model.attributes.iter().filter(|it| self.attribute(it.name()).is_none()).cloned().collect();
        self.attributes.extend(more);
        self
    }

    fn listed(self, name: &'static str, more: Cow<'a, str>) -> Self {
        let value = match self.value(name) {
            Some(list) if !list.is_empty() => format!("{list} {more}").into(),
            _ => more,
        };
        self.set(attribute(name.into(), value))
    }

    /// In the place of the first of its name, which is the one that counts, or at the end.
    fn set(mut self, attribute: Attribute<'a>) -> Self {
        match self.attributes.iter_mut().find(|other| other.is(attribute.name())) {
            Some(other) => *other = attribute,
            None => self.attributes.push(attribute),
        }
        self
    }
}

/// In the form that RFC 6690 §2 gives the attribute. Where it leaves the choice numbers stand bare, and nothing else.
fn attribute<'a>(name: Cow<'a, str>, value: Cow<'a, str>) -> Attribute<'a> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    if is("hreflang") || (is_number && !is("title") && !is("anchor")) {
        Attribute::token(name, value)
    } else {
        Attribute::quoted(name, value)
    }
}

fn checked(name: Cow<'_, str>) -> Result<Cow<'_, str>, LinkFormatError> {
    let len = name.bytes().take_while(|byte| syntax::attr_char(*byte)).count();
    if len == 0 || len < name.len() {
        return Err(LinkFormatError { offset: len, what: Problem::AttributeName });
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::Uri;

    fn root() -> Link<'static> {
        Link::new("/").unwrap()
    }

    /// The link is written so, and read again it is the same.
    #[track_caller]
    fn written(link: &Link<'_>, text: &str) {
        assert_eq!(link.to_string(), text);
        assert_eq!(parse(text).unwrap(), core::slice::from_ref(link));
    }

    #[test]
    fn values_stand_in_quotation_marks_but_for_numbers() {
        let link = Link::new("/a")
            .unwrap()
            .with_resource_type("core.s")
            .with_content_format(ContentFormat::LINK_FORMAT)
            .with_size(u64::MAX)
            .with_title("1")
            .with_anchor("/b")
            .observable();
        written(&link, r#"</a>;rt="core.s";ct=40;sz=18446744073709551615;title="1";anchor="/b";obs"#);
        let link = root().with_attribute("hreflang", "de").unwrap().with_attribute("n", "7").unwrap();
        written(&link.with_attribute("s", "x").unwrap().with_flag("f").unwrap(), r#"</>;hreflang=de;n=7;s="x";f"#);
        written(&root().with_attribute("e", "").unwrap(), r#"</>;e="""#);
    }

    #[test]
    fn any_text_can_be_a_value() {
        let link = root().with_title("\"a\\,;\r\n\0ö\u{2028}").with_extended("title", "de-CH", "größe 100%*'").unwrap();
        written(
            &link,
            "</>;title=\"\\\"a\\\\,;\\\r\\\n\\\0ö\u{2028}\";title*=UTF-8'de-CH'gr%C3%B6%C3%9Fe%20100%25%2A%27",
        );
        assert_eq!(link.title().as_deref(), Some("größe 100%*'"));
    }

    #[test]
    fn lists_grow_and_single_values_are_replaced() {
        let link = root()
            .with_resource_type("a")
            .with_size(1)
            .with_resource_type("b c")
            .with_content_format(ContentFormat::TEXT_PLAIN)
            .with_content_format(ContentFormat::JSON)
            .with_size(2);
        written(&link, r#"</>;rt="a b c";sz=2;ct="0 50""#);
        written(
            &root().with_interface("x").with_relation("y").with_reverse_relation("z"),
            r#"</>;if="x";rel="y";rev="z""#,
        );
    }

    #[test]
    fn a_path_leads_back_to_its_segments() {
        let base = Uri::parse("coap://h/.well-known/core").unwrap();
        for (segments, target) in [
            (&[][..], "/"),
            (&["a", ""], "/a/"),
            (&["", "a"], "/.//a"),
            (&["", "", "a"], "/.///a"),
            (&["a:b", "c?d#e%", "ö>,;"], "/a:b/c%3Fd%23e%25/%C3%B6%3E,;"),
            (&["..."], "/..."),
        ] {
            let link = Link::to_path(segments).unwrap();
            assert_eq!(link.target(), target);
            assert_eq!(link.target_uri(&base).unwrap().path(), segments, "{target}");
            written(&link, &format!("<{target}>"));
        }
        assert_eq!(Link::to_path(["a", ".."]), Err(LinkFormatError { offset: 1, what: Problem::DotSegment }));
    }

    #[test]
    fn what_no_document_can_hold_is_refused() {
        let refused =
            |result: Result<Link<'static>, LinkFormatError>| result.map_err(|error| (error.offset, error.what));
        assert_eq!(refused(Link::new("/a b")), Err((2, Problem::TargetCharacter)));
        assert_eq!(refused(Link::new("/>")), Err((1, Problem::TargetCharacter)));
        assert_eq!(refused(Link::new("/a%")), Err((2, Problem::TargetEscape)));
        for (name, offset) in [("", 0), ("a b", 1), ("a*", 1), ("ö", 0), ("a=", 1)] {
            assert_eq!(refused(root().with_attribute(name, "x")), Err((offset, Problem::AttributeName)), "{name}");
            assert_eq!(refused(root().with_flag(name)), Err((offset, Problem::AttributeName)), "{name}");
        }
        assert_eq!(refused(root().with_extended("t", "d'e", "x")), Err((0, Problem::ExtendedValue)));
    }
}
