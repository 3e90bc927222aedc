//! One attribute of a link: a name, and a value or none.

use alloc::borrow::Cow;

use super::syntax;

/// A target attribute, or one of the link itself such as `rel` (RFC 8288 §2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attribute<'a> {
    /// `parmname`, perhaps with an asterisk behind it, which only a token follows that is an `ext-value`.
    name: Cow<'a, str>,
    value: Value<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Value<'a> {
    None,
    /// `ptoken`, as it is.
    Token(Cow<'a, str>),
    /// `quoted-string`, without its quotation marks and escapes.
    Quoted(Cow<'a, str>),
}

impl<'a> Attribute<'a> {
    pub(super) const fn without_value(name: Cow<'a, str>) -> Self {
        Self { name, value: Value::None }
    }

    pub(super) const fn quoted(name: Cow<'a, str>, value: Cow<'a, str>) -> Self {
        Self { name, value: Value::Quoted(value) }
    }

    /// Quoted, if the value cannot stand bare.
    pub(super) fn token(name: Cow<'a, str>, value: Cow<'a, str>) -> Self {
        let bare = !value.is_empty() && value.bytes().all(syntax::token);
        Self { name, value: if bare { Value::Token(value) } else { Value::Quoted(value) } }
    }

    /// The name as it was written, with its asterisk if it has one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value, without the quotation marks and escapes that it may have been written with; `None` if there is none,
    /// not even an empty one.
    pub fn value(&self) -> Option<&str> {
        match &self.value {
            Value::None => None,
            Value::Token(value) | Value::Quoted(value) => Some(value),
        }
    }

    /// Whether the value stands in quotation marks. That says nothing about what it is.
    pub const fn is_quoted(&self) -> bool {
        matches!(self.value, Value::Quoted(_))
    }

    /// Whether this is its name, in whatever case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The same attribute, with all of its text in memory of its own.
    pub fn into_owned(self) -> Attribute<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Attribute {
            name: own(self.name),
            value: match self.value {
                Value::None => Value::None,
                Value::Token(value) => Value::Token(own(value)),
                Value::Quoted(value) => Value::Quoted(own(value)),
            },
        }
    }
}
