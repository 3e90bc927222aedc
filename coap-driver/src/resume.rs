//! What is kept of a download that was interrupted, to go on with it later.

use core::fmt;
use core::str::FromStr;

use coap_core::ETag;

/// How far a download has come, and of which state of the resource: made by
/// [`Download::resume`](crate::Download::resume), used by [`RequestBuilder::resume`](crate::RequestBuilder::resume).
///
/// As text it is one line, to be kept beside the incomplete file.
///
/// ```
/// # use coap_driver::Resume;
/// let kept = "65536 0a1b2c";
/// let resume: Resume = kept.parse().unwrap();
/// assert_eq!(resume.offset(), 65_536);
/// assert_eq!(resume.to_string(), kept);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    offset: u64,
    etag: ETag,
}

impl Resume {
    /// From the byte `offset` on, of the state that has this tag.
    pub const fn new(offset: u64, etag: ETag) -> Self {
        Self { offset, etag }
    }

    /// How many bytes are there already.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The tag of the state that they belong to.
    pub const fn etag(&self) -> &ETag {
        &self.etag
    }
}

/// The offset, a space, and the tag in hexadecimal digits.
impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.offset)?;
        self.etag.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Resume {
    type Err = ResumeError;

    fn from_str(text: &str) -> Result<Self, ResumeError> {
        let (offset, tag) = text.trim().split_once(' ').ok_or(ResumeError)?;
        let tag = tag.trim_start().as_bytes();
        if !tag.len().is_multiple_of(2) {
            return Err(ResumeError);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes: Option<Vec<u8>> = tag
            .chunks_exact(2)
            .map(|pair| match *pair {
                [high, low] => Some(digit(high)? << 4 | digit(low)?),
                _ => None,
            })
            .collect();
        let etag = bytes.and_then(|bytes| ETag::new(&bytes)).ok_or(ResumeError)?;
        Ok(Self { offset: offset.parse().map_err(|_| ResumeError)?, etag })
    }
}

/// The text is none of a [`Resume`]: begin the download anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeError;

impl fmt::Display for ResumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the state of a download: it is an offset and an ETag, such as \"65536 0a1b2c\"")
    }
}

impl core::error::Error for ResumeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_as_text() {
        for (offset, etag) in [(0, &b"\x00"[..]), (1, b"12345678"), (u64::MAX, b"\xff\x0f")] {
            let resume = Resume::new(offset, ETag::new(etag).unwrap());
            assert_eq!(resume.to_string().parse(), Ok(resume.clone()));
            assert_eq!(format!("{resume}\n").parse(), Ok(resume));
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "1", "1 ", " 0a", "x 0a", "-1 0a", "1 0", "1 0g", "1 000000000000000000", "1 0a 0b", "1 é"] {
            assert_eq!(text.parse::<Resume>(), Err(ResumeError), "{text:?}");
        }
    }
}
