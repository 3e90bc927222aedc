//! Content-formats: numbers for media types (RFC 7252 §12.3 and the registry that it founded).

use core::fmt;
use core::str::FromStr;

/// What a payload is, by its number in IANA's registry of CoAP Content-Formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentFormat(u16);

impl ContentFormat {
    /// `text/plain; charset=utf-8`
    pub const TEXT_PLAIN: Self = Self(0);
    /// `application/link-format` (RFC 6690)
    pub const LINK_FORMAT: Self = Self(40);
    /// `application/xml`
    pub const XML: Self = Self(41);
    /// `application/octet-stream`
    pub const OCTET_STREAM: Self = Self(42);
    /// `application/exi`
    pub const EXI: Self = Self(47);
    /// `application/json`
    pub const JSON: Self = Self(50);
    /// `application/json-patch+json` (RFC 6902)
    pub const JSON_PATCH: Self = Self(51);
    /// `application/merge-patch+json` (RFC 7396)
    pub const MERGE_PATCH: Self = Self(52);
    /// `application/cbor`
    pub const CBOR: Self = Self(60);
    /// `application/cwt` (RFC 8392)
    pub const CWT: Self = Self(61);
    /// `application/multipart-core` (RFC 8710)
    pub const MULTIPART_CORE: Self = Self(62);
    /// `application/cbor-seq` (RFC 8742)
    pub const CBOR_SEQ: Self = Self(63);
    /// `application/senml+json` (RFC 8428)
    pub const SENML_JSON: Self = Self(110);
    /// `application/senml+cbor` (RFC 8428)
    pub const SENML_CBOR: Self = Self(112);
    /// `application/concise-problem-details+cbor` (RFC 9290)
    pub const CONCISE_PROBLEM_DETAILS: Self = Self(257);

    /// The format of this number, registered or not.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The media type, such as `application/json`; `None` if this crate does not know the number.
    pub fn name(self) -> Option<&'static str> {
        let at = NAMES.binary_search_by_key(&self.0, |(number, _)| *number).ok()?;
        NAMES.get(at).map(|(_, name)| *name)
    }
}

/// The media type, or the number if it has no name here.
impl fmt::Display for ContentFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

/// A text names no content-format that this crate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseContentFormatError;

impl fmt::Display for ParseContentFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither a content-format number (0 to 65535) nor a known media type")
    }
}

impl core::error::Error for ParseContentFormatError {}

/// A number, a media type with or without the blank after the semicolon, or a short alias; in any case.
///
/// ```
/// # use coap_core::ContentFormat;
/// assert_eq!("application/cbor".parse(), Ok(ContentFormat::CBOR));
/// assert_eq!("json".parse(), Ok(ContentFormat::JSON));
/// assert_eq!("11542".parse(), Ok(ContentFormat::new(11_542)));
/// ```
impl FromStr for ContentFormat {
    type Err = ParseContentFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self).map_err(|_| ParseContentFormatError);
        }
        let names = ALIASES.iter().chain(&NAMES);
        let found = names.into_iter().find(|(_, name)| same_media_type(name, text));
        found.map(|(number, _)| Self(*number)).ok_or(ParseContentFormatError)
    }
}

/// Blanks around a parameter mean nothing (RFC 9110 §8.3.1), and neither does case.
fn same_media_type(one: &str, other: &str) -> bool {
    let visible = |byte: &u8| *byte != b' ';
    let (one, other) = (one.bytes().filter(visible), other.bytes().filter(visible));
    one.map(|byte| byte.to_ascii_lowercase()).eq(other.map(|byte| byte.to_ascii_lowercase()))
}

/// What people type. `text/plain` has no entry of its own in the registry: the number always says UTF-8.
const ALIASES: [(u16, &str); 12] = [
    (0, "text/plain"),
    (0, "text"),
    (0, "plain"),
    (40, "link"),
    (40, "link-format"),
    (41, "xml"),
    (42, "binary"),
    (42, "octet-stream"),
    (47, "exi"),
    (50, "json"),
    (60, "cbor"),
    (62, "multipart"),
];

/// Ascending, for the search by number.
const NAMES: [(u16, &str); 62] = [
    (0, "text/plain; charset=utf-8"),
    (16, "application/cose; cose-type=\"cose-encrypt0\""),
    (17, "application/cose; cose-type=\"cose-mac0\""),
    (18, "application/cose; cose-type=\"cose-sign1\""),
    (19, "application/ace+cbor"),
    (21, "image/gif"),
    (22, "image/jpeg"),
    (23, "image/png"),
    (40, "application/link-format"),
    (41, "application/xml"),
    (42, "application/octet-stream"),
    (47, "application/exi"),
    (50, "application/json"),
    (51, "application/json-patch+json"),
    (52, "application/merge-patch+json"),
    (60, "application/cbor"),
    (61, "application/cwt"),
    (62, "application/multipart-core"),
    (63, "application/cbor-seq"),
    (64, "application/edhoc+cbor-seq"),
    (65, "application/cid-edhoc+cbor-seq"),
    (96, "application/cose; cose-type=\"cose-encrypt\""),
    (97, "application/cose; cose-type=\"cose-mac\""),
    (98, "application/cose; cose-type=\"cose-sign\""),
    (101, "application/cose-key"),
    (102, "application/cose-key-set"),
    (110, "application/senml+json"),
    (111, "application/sensml+json"),
    (112, "application/senml+cbor"),
    (113, "application/sensml+cbor"),
    (114, "application/senml-exi"),
    (115, "application/sensml-exi"),
    (140, "application/yang-data+cbor; id=sid"),
    (256, "application/coap-group+json"),
    (257, "application/concise-problem-details+cbor"),
    (258, "application/swid+cbor"),
    (271, "application/dots+cbor"),
    (272, "application/missing-blocks+cbor-seq"),
    (280, "application/pkcs7-mime; smime-type=server-generated-key"),
    (281, "application/pkcs7-mime; smime-type=certs-only"),
    (284, "application/pkcs8"),
    (285, "application/csrattrs"),
    (286, "application/pkcs10"),
    (287, "application/pkix-cert"),
    (290, "application/aif+cbor"),
    (291, "application/aif+json"),
    (310, "application/senml+xml"),
    (311, "application/sensml+xml"),
    (320, "application/senml-etch+json"),
    (322, "application/senml-etch+cbor"),
    (340, "application/yang-data+cbor"),
    (341, "application/yang-data+cbor; id=name"),
    (432, "application/td+json"),
    (433, "application/tm+json"),
    (10000, "application/vnd.ocf+cbor"),
    (10001, "application/oscore"),
    (10002, "application/javascript"),
    (11542, "application/vnd.oma.lwm2m+tlv"),
    (11543, "application/vnd.oma.lwm2m+json"),
    (11544, "application/vnd.oma.lwm2m+cbor"),
    (20000, "text/css"),
    (30000, "image/svg+xml"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_ascends() {
        assert!(NAMES.is_sorted_by(|one, next| one.0 < next.0));
    }

    #[test]
    fn every_name_reads_back() {
        for (number, name) in NAMES {
            assert_eq!(ContentFormat::new(number).name(), Some(name));
            assert_eq!(name.parse(), Ok(ContentFormat::new(number)));
        }
    }

    #[test]
    fn blanks_and_case_mean_nothing() {
        assert_eq!("TEXT/plain;charset=UTF-8".parse(), Ok(ContentFormat::TEXT_PLAIN));
        assert_eq!("text/plain".parse(), Ok(ContentFormat::TEXT_PLAIN));
    }

    #[test]
    fn an_unknown_number_is_kept_and_an_unknown_name_is_not() {
        assert_eq!(ContentFormat::new(4711).to_string(), "4711");
        for wrong in ["", "65536", "-1", "+1", "text/html"] {
            assert_eq!(wrong.parse::<ContentFormat>(), Err(ParseContentFormatError), "{wrong}");
        }
    }
}
