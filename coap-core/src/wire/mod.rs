//! The wire format of RFC 7252 §3: messages, codes, options and tokens as bytes, and as types that cannot be wrong.
//!
//! [`Message::decode`] alone doubts bytes. What it returns can be walked, displayed and encoded without any further
//! error: an option list that exists is well-formed. Whether it makes *sense* (an unknown critical option, a value of
//! illegal length, a repeated option) is another question, and [`Options::check`] answers it.

mod block;
mod check;
mod code;
mod content_format;
mod head;
mod message;
mod option;
mod options;
mod text;
mod token;
mod typed;
mod uint;

pub use block::Block;
pub use check::{BadOption, OptionProblem};
pub use code::{Code, ParseCodeError};
pub use content_format::{ContentFormat, ParseContentFormatError};
pub use message::{DecodeError, EncodeError, Header, Malformed, Message, Type};
pub use option::{Format, OptionDefinition, OptionNumber, ParseOptionNumberError, option_definitions};
pub use options::{MAX_OPTION_LEN, OptionError, Options, OptionsIter};
pub use token::{ETag, Token};
pub use uint::{decode_uint, encode_uint};
