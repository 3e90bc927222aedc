//! How the program ends: its exit codes, and the one line that says why.

use core::fmt;
use std::io;
use std::process::ExitCode;

use coap_core::{BlockFailure, Code};
use coap_driver::Error;

/// The exit codes, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 2.xx, or whatever else was asked for.
    Success = 0,
    /// This machine did not do its part: a file or standard output could not be written. Or a check has found a fault.
    Local = 1,
    /// The command line, a URI, an option or a payload is wrong. Nothing was sent.
    Usage = 2,
    /// A check could not be carried out, and none has found a fault.
    Inconclusive = 3,
    /// The server answered 4.xx.
    ClientError = 4,
    /// The server answered 5.xx.
    ServerError = 5,
    /// Nothing came in time.
    Timeout = 6,
    /// The network, a name, an address or a peer that takes no messages.
    Network = 7,
    /// Security was asked for and cannot be had.
    Security = 8,
    /// Ctrl-C before the end, as shells count it.
    Interrupted = 130,
}

impl Exit {
    /// For a response with this code.
    pub(crate) const fn for_code(code: Code) -> Self {
        match code.class() {
            2 => Self::Success,
            4 => Self::ClientError,
            5 => Self::ServerError,
            // The endpoint takes no other class for a response.
            _ => Self::Network,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why there is no result: a line for people, and a code for scripts.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    text: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl fmt::Display) -> Self {
        Self { exit, text: text.to_string() }
    }

    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// This machine did not do its part.
    pub(crate) fn local(text: impl fmt::Display) -> Self {
        Self::new(Exit::Local, text)
    }

    /// Somebody pressed Ctrl-C.
    pub(crate) fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }

    /// The same, with more to say about it.
    pub(crate) fn and(mut self, more: impl fmt::Display) -> Self {
        self.text = format!("{}; {more}", self.text);
        self
    }

    /// Standard output cannot be written. A reader that has seen enough and left is nobody's fault: see [`is_gone`].
    pub(crate) fn output(error: &io::Error) -> Self {
        Self::new(Exit::Local, format_args!("cannot write to standard output: {}", reason(error)))
    }
}

/// One line, whatever the peer or the system put into it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::show::one_line(&self.text))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Uri(_) | Error::Option(_) | Error::Request(_) | Error::Config(_) | Error::Route(_) => Exit::Usage,
            Error::NotGroup { .. } => Exit::Usage,
            Error::Security => Exit::Security,
            // Our bounds, and our file.
            Error::Blockwise { reason: BlockFailure::TooLarge { .. } | BlockFailure::NoRoom, .. } | Error::Body(_) => {
                Exit::Local
            }
            Error::Status(reply) => Exit::for_code(reply.code),
            Error::BackOff { .. } => Exit::ServerError,
            error if error.is_timeout() => Exit::Timeout,
            _ => Exit::Network,
        };
        Self::new(exit, error)
    }
}

/// What the system says, without the number of the error.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    // In the middle of a sentence.
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => error.kind().to_string(),
    }
}

/// True if whoever read our output has left: `coap get … | head -1` is no failure.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_a_response_is_the_exit_code() {
        assert_eq!(Exit::for_code(Code::CONTENT), Exit::Success);
        assert_eq!(Exit::for_code(Code::NOT_FOUND), Exit::ClientError);
        assert_eq!(Exit::for_code(Code::BAD_GATEWAY), Exit::ServerError);
    }

    #[test]
    fn what_the_system_says_fits_into_a_sentence() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(reason(&io::Error::other("Broken")), "broken");
    }

    #[test]
    fn a_failure_is_one_line() {
        assert_eq!(Failure::usage("a\nb\u{1b}[31m").to_string(), "a\\nb\\u{1b}[31m");
    }
}
