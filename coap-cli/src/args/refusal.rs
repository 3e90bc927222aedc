//! A command line that is wrong, in one line.

use clap::error::ErrorKind;

use crate::exit::{Exit, Failure};

/// Help that was asked for, or a command line that is wrong.
#[derive(Debug)]
pub(crate) struct Refusal(pub(super) clap::Error);

impl Refusal {
    /// Prints help; what is wrong is a failure of one line.
    pub(crate) fn settle(&self) -> Result<Exit, Failure> {
        match self.0.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                // Whoever closed standard output does not want to read it.
                let _ = self.0.print();
                Ok(Exit::Success)
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                let _ = self.0.print();
                Ok(Exit::Usage)
            }
            _ => Err(Failure::usage(format_args!("{}; see coap --help", self.line()))),
        }
    }

    fn line(&self) -> String {
        let text = self.0.to_string();
        let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
        let lines: Vec<_> =
            lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
        let line = lines.join(" ");
        line.strip_prefix("error: ").unwrap_or(&line).to_owned()
    }
}
