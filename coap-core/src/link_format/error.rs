//! What can be wrong with a link document.

use core::fmt;

/// What is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFormatError {
    /// The first byte of what is wrong, from the start of the text; its length if something is missing at its end.
    pub offset: usize,
    /// What is wrong there.
    pub what: Problem,
}

/// The rule of RFC 6690 §2 that a text breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Problem {
    /// It is not UTF-8.
    NotUtf8,
    /// A link must begin here, with `<`. That is so behind each comma too.
    ExpectedLink,
    /// The `<` here has no `>`.
    UnterminatedTarget,
    /// A character that no URI can hold: it must be percent-encoded (RFC 3986 §2).
    TargetCharacter,
    /// A `%` that two hexadecimal digits do not follow (RFC 3986 §2.1).
    TargetEscape,
    /// A segment of a path is `.` or `..`, and would not be there any more after the path was resolved.
    DotSegment,
    /// The name of an attribute must be here, and it is missing or has a character that it cannot have.
    AttributeName,
    /// A token must be here, behind the `=`, and it is missing or begins with a character that it cannot have.
    EmptyToken,
    /// A name with an asterisk must have a value of the form `charset'language'text` (RFC 8187 §3.2).
    ExtendedValue,
    /// The quotation mark here has no counterpart.
    UnterminatedString,
    /// The backslash here is the last character.
    DanglingEscape,
    /// A control character inside of quotation marks, without a backslash.
    ControlCharacter,
    /// Here only a `,` or a `;` can follow.
    ExpectedSeparator,
}

impl Problem {
    /// Some words for programs: they stay as they are from version to version.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not UTF-8",
            Self::ExpectedLink => "expected <",
            Self::UnterminatedTarget => "expected >",
            Self::TargetCharacter => "target character",
            Self::TargetEscape => "target escape",
            Self::DotSegment => "dot segment",
            Self::AttributeName => "attribute name",
            Self::EmptyToken => "empty token value",
            Self::ExtendedValue => "extended value",
            Self::UnterminatedString => "unterminated quoted-string",
            Self::DanglingEscape => "dangling escape",
            Self::ControlCharacter => "control character",
            Self::ExpectedSeparator => "expected , or ;",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "this is not UTF-8",
            Self::ExpectedLink => "a link must begin here, with <",
            Self::UnterminatedTarget => "a < is never closed",
            Self::TargetCharacter => "the target has a character that must be percent-encoded",
            Self::TargetEscape => "the target has a % that two hexadecimal digits do not follow",
            Self::DotSegment => "the path has a dot segment",
            Self::AttributeName => "the name of an attribute must be here",
            Self::EmptyToken => "a value must be here",
            Self::ExtendedValue => "a name with an asterisk needs a value of the form charset'language'text",
            Self::UnterminatedString => "a quotation mark is never closed",
            Self::DanglingEscape => "nothing follows a backslash",
            Self::ControlCharacter => "a control character stands in quotation marks",
            Self::ExpectedSeparator => "only , or ; can follow here",
        })
    }
}

impl fmt::Display for LinkFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {} of the links: {}", self.offset, self.what)
    }
}

impl core::error::Error for LinkFormatError {}
