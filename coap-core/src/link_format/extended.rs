//! Values in a charset and a language: RFC 8187, and RFC 5987 before it.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use super::syntax::attr_char;
use crate::uri::syntax::unescape;

/// An extended value, such as that of `title*`, decoded (RFC 8187 §3.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Extended {
    /// The language tag, such as `de` or `en-GB`; empty if there is none.
    pub language: String,
    /// The text.
    pub text: String,
}

impl Extended {
    /// `None` if the charset is neither of the two that RFC 5987 names, or the text is not in it.
    pub(super) fn decode(value: &str) -> Option<Self> {
        let (charset, language, text) = split(value)?;
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if byte == b'%' {
                bytes.push(unescape(rest)?);
                rest = rest.get(2..).unwrap_or_default();
            } else {
                bytes.push(byte);
            }
        }
        let text = if charset.eq_ignore_ascii_case("utf-8") {
            String::from_utf8(bytes).ok()?
        } else if charset.eq_ignore_ascii_case("iso-8859-1") {
            // Its 256 characters are the first 256 of Unicode.
            bytes.into_iter().map(char::from).collect()
        } else {
            return None;
        };
        Some(Self { language: language.to_owned(), text })
    }
}

/// Charset, language and text; `None` if this is no `ext-value`.
pub(super) fn split(value: &str) -> Option<(&str, &str, &str)> {
    let (charset, rest) = value.split_once('\'')?;
    let (language, text) = rest.split_once('\'')?;
    let charset_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&+-^_`{}~".contains(&byte);
    let sound = !charset.is_empty()
        && charset.bytes().all(charset_char)
        && is_language(language)
        && is_encoded(text.as_bytes());
    sound.then_some((charset, language, text))
}

/// Of a language tag (RFC 5646 §2.1) only what it is made of: words of 1 to 8 letters and digits. It may be missing.
pub(super) fn is_language(tag: &str) -> bool {
    let is_word = |word: &str| matches!(word.len(), 1..=8) && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    tag.is_empty() || tag.split('-').all(is_word)
}

fn is_encoded(mut text: &[u8]) -> bool {
    while let Some((&byte, rest)) = text.split_first() {
        text = match byte {
            b'%' if unescape(rest).is_some() => rest.get(2..).unwrap_or_default(),
            _ if attr_char(byte) => rest,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(value: &str) -> Option<(String, String)> {
        Extended::decode(value).map(|extended| (extended.language, extended.text))
    }

    #[test]
    fn values_decode_as_in_rfc_8187_section_3_2_3() {
        for (value, language, text) in [
            ("UTF-8''%e2%82%ac%20rates", "", "€ rates"),
            ("utf-8'en-GB'%c2%a3%20rates", "en-GB", "£ rates"),
            ("iso-8859-1'en'%A3%20rates", "en", "£ rates"),
            ("UTF-8''", "", ""),
        ] {
            assert_eq!(decoded(value), Some((language.into(), text.into())), "{value}");
        }
    }

    #[test]
    fn what_is_in_no_known_charset_or_not_in_its_own_is_not_decoded() {
        for value in ["koi8-r''%C4", "UTF-8''%ff", "UTF-8''%e2%82"] {
            assert!(split(value).is_some(), "{value}");
            assert_eq!(decoded(value), None, "{value}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for value in
            ["", "x", "UTF-8'x", "''x", "UTF-8''%", "UTF-8''%4", "UTF-8''%g0", "UTF-8''a'b", "UTF-8'd_e'a", "UTF-8'-'"]
        {
            assert_eq!(split(value), None, "{value}");
        }
    }
}
