//! The writer. What it writes, the parser reads to the same links.

use alloc::string::String;
use core::borrow::Borrow;
use core::fmt::{self, Display, Formatter, Write};

use super::{Attribute, Link, syntax};

impl Display for Attribute<'_> {
    /// As in a document, without the semicolon.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self.value() {
            None => Ok(()),
            Some(value) if self.is_quoted() => write_quoted(f, value),
            Some(value) => write!(f, "={value}"),
        }
    }
}

fn write_quoted(f: &mut Formatter<'_>, value: &str) -> fmt::Result {
    let is_special = |char: char| matches!(char, '"' | '\\') || u8::try_from(char).is_ok_and(syntax::control);
    f.write_str("=\"")?;
    for part in value.split_inclusive(is_special) {
        match part.chars().next_back().filter(|last| is_special(*last)) {
            // What is special is ASCII.
            Some(last) => write!(f, "{}\\{last}", part.get(..part.len() - 1).unwrap_or_default())?,
            None => f.write_str(part)?,
        }
    }
    f.write_char('"')
}

impl Display for Link<'_> {
    /// As in a document.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.target())?;
        self.attributes().iter().try_for_each(|attribute| write!(f, ";{attribute}"))
    }
}

/// Writes a document of these links.
///
/// # Errors
///
/// Those of `out`; a `String` has none.
pub fn write_into<'a, L: Borrow<Link<'a>>>(out: &mut impl Write, links: impl IntoIterator<Item = L>) -> fmt::Result {
    for (index, link) in links.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(out, "{comma}{}", link.borrow())?;
    }
    Ok(())
}

/// The document of these links: empty if there are none.
pub fn document<'a, L: Borrow<Link<'a>>>(links: impl IntoIterator<Item = L>) -> String {
    let mut text = String::new();
    // A String takes everything.
    let _ = write_into(&mut text, links);
    text
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::super::parse;
    use super::*;

    #[test]
    fn what_has_one_form_is_written_as_it_was_read() {
        for text in [
            "",
            "<>",
            r#"</sensors>;ct=40;title="Sensor Index",</t>;anchor="/sensors/temp";rel="alternate""#,
            r#"</a>;RT=x;rt="y";obs;obs="";k="\"\\,;";title*=UTF-8'de'gr%C3%B6%C3%9Fe"#,
            "</a>;k=\"\\\u{1}\\\r\\\n\t\\\u{7f}ö\"",
        ] {
            assert_eq!(document(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn escapes_that_were_not_needed_go_away() {
        let links = parse(r#"</a>;t="\a\b\"""#).unwrap();
        assert_eq!(links[0].to_string(), r#"</a>;t="ab\"""#);
        assert_eq!(parse(&document(&links)).unwrap(), links);
    }
}
