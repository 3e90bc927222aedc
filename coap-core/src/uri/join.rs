//! Relative references, as in links: RFC 3986 §5.2.

use alloc::format;
use alloc::string::{String, ToString};

use super::error::Fault;
use super::syntax::split_scheme;
use super::{Part, Reason, Uri, UriError, parse};

impl Uri {
    /// The URI that `reference` means in a document found at this one (RFC 3986 §5.2).
    ///
    /// ```
    /// # use coap_core::Uri;
    /// let base = Uri::parse("coap://h/sensors/index?all").unwrap();
    /// assert_eq!(base.join("temp").unwrap().to_string(), "coap://h/sensors/temp");
    /// assert_eq!(base.join("/time?utc").unwrap().to_string(), "coap://h/time?utc");
    /// assert_eq!(base.join("//other:9").unwrap().to_string(), "coap://other:9/");
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Uri::parse`]: the reference is as strictly read as an absolute URI, and must not have a fragment either.
    pub fn join(&self, reference: &str) -> Result<Self, UriError> {
        self.resolve(reference).and_then(|text| parse::absolute(&text)).map_err(|fault| fault.in_uri(reference))
    }

    /// The text of the target, dot segments and all.
    fn resolve(&self, reference: &str) -> Result<String, Fault> {
        if split_scheme(reference).is_some() {
            return Ok(reference.to_string());
        }
        if reference.starts_with("//") {
            return Ok(format!("{}:{reference}", self.scheme()));
        }
        let base = self.to_string();
        // Both are in every composed URI: the path is at least a slash, and a slash in a query comes after it.
        let query = base.find('?').unwrap_or(base.len());
        let path =
            base.find("://").and_then(|colon| Some(colon + 3 + base.get(colon + 3..)?.find('/')?)).unwrap_or(query);
        let until = |end: usize| base.get(..end).unwrap_or_default();
        Ok(match reference.chars().next() {
            None => base,
            Some('#') => return Err(Fault(Part::Fragment, Reason::Fragment)),
            Some('/') => format!("{}{reference}", until(path)),
            Some('?') => format!("{}{reference}", until(query)),
            // RFC 3986 §4.2: a colon in the first segment would make it a scheme, and this is none.
            Some(_) if reference.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':')) => {
                return Err(Fault(Part::Scheme, Reason::Scheme));
            }
            Some(_) => {
                let folder = until(query).rfind('/').map_or(path, |slash| slash + 1);
                format!("{}{reference}", until(folder))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::super::Uri;

    #[test]
    fn references_resolve_as_in_rfc_3986_section_5_4() {
        let base = Uri::parse("coap://a/b/c/d;p?q").unwrap();
        for (reference, target) in [
            ("g", "coap://a/b/c/g"),
            ("./g", "coap://a/b/c/g"),
            ("g/", "coap://a/b/c/g/"),
            ("/g", "coap://a/g"),
            ("//g", "coap://g/"),
            ("?y", "coap://a/b/c/d;p?y"),
            ("g?y", "coap://a/b/c/g?y"),
            (";x", "coap://a/b/c/;x"),
            ("g;x?y", "coap://a/b/c/g;x?y"),
            ("", "coap://a/b/c/d;p?q"),
            (".", "coap://a/b/c/"),
            ("./", "coap://a/b/c/"),
            ("..", "coap://a/b/"),
            ("../g", "coap://a/b/g"),
            ("../..", "coap://a/"),
            ("../../../g", "coap://a/g"),
            ("/../g", "coap://a/g"),
            ("g.", "coap://a/b/c/g."),
            ("..g", "coap://a/b/c/..g"),
            ("./g/.", "coap://a/b/c/g/"),
            ("g;x=1/../y", "coap://a/b/c/y"),
            ("g?y/../x", "coap://a/b/c/g?y/../x"),
            ("coaps://h", "coaps://h/"),
        ] {
            assert_eq!(base.join(reference).unwrap().to_string(), target, "{reference}");
        }
    }

    #[test]
    fn a_base_without_path_or_with_slashes_in_its_query_works() {
        let root = Uri::parse("coap://[fe80::1%25e%2Fh]:9?a/b").unwrap();
        assert_eq!(root.join("g").unwrap().to_string(), "coap://[fe80::1%25e%2Fh]:9/g");
        assert_eq!(root.join("").unwrap(), root);
    }

    #[test]
    fn a_reference_is_read_strictly() {
        let base = Uri::parse("coap://h/").unwrap();
        for (reference, name) in [
            ("g:h", "scheme"),
            ("1:h", "scheme"),
            ("#s", "fragment"),
            ("g#s", "fragment"),
            ("a b", "illegal_char"),
            ("%2e", "encoded_dot_segment"),
            ("///g", "empty_host"),
        ] {
            assert_eq!(base.join(reference).unwrap_err().name(), name, "{reference}");
        }
    }
}
