//! A command line that is wrong: one line that names the part and the rule.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::exit::{Exit, Failure};

/// Help that was asked for, or a command line that is wrong.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What was to be done, if that could be read.
    pub(super) command: Option<String>,
    pub(super) why: Why,
}

#[derive(Debug)]
pub(super) enum Why {
    Grammar(clap::Error),
    /// What the grammar does not know.
    Rule(String),
}

impl Refusal {
    /// Prints help; what is wrong is a failure of one line.
    pub(crate) fn settle(&self) -> Result<Exit, Failure> {
        let line = match &self.why {
            Why::Rule(rule) => rule.clone(),
            Why::Grammar(error) => match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    // Whoever closed standard output does not want to read it.
                    let _ = error.print();
                    return Ok(Exit::Success);
                }
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                    let _ = error.print();
                    return Ok(Exit::Usage);
                }
                _ => self.line(error),
            },
        };
        let command = self.command.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
        Err(Failure::usage(format_args!("{line}; see coap {command}--help")))
    }

    fn line(&self, error: &clap::Error) -> String {
        let command = self.command.as_deref().unwrap_or("coap");
        let word = |kind| word(error, kind).unwrap_or_default();
        match error.kind() {
            ErrorKind::InvalidSubcommand => {
                let like = like(error, ContextKind::SuggestedSubcommand);
                format!("there is no sub-command '{}'{like}", word(ContextKind::InvalidSubcommand))
            }
            ErrorKind::UnknownArgument => match word(ContextKind::InvalidArg) {
                flag if flag.starts_with('-') => {
                    format!("{command} has no flag {flag}{}", like(error, ContextKind::SuggestedArg))
                }
                more => format!("'{more}' is one argument too many for {command}"),
            },
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
                let arg = word(ContextKind::InvalidArg);
                let value = public(flag(&arg), word(ContextKind::InvalidValue));
                match core::error::Error::source(error) {
                    Some(rule) => format!("bad {} '{value}': {rule}", flag(&arg)),
                    None => format!("{} needs a value: {}", flag(&arg), value_name(&arg)),
                }
            }
            ErrorKind::MissingRequiredArgument => format!("{command} needs {}", word(ContextKind::InvalidArg)),
            ErrorKind::ArgumentConflict => {
                let (one, other) = (word(ContextKind::InvalidArg), word(ContextKind::PriorArg));
                format!("{} and {} do not go together", flag(&other), flag(&one))
            }
            ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
            _ => rendered(error),
        }
    }
}

fn word(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(word) => Some(word.clone()),
        ContextValue::Strings(words) => Some(words.join(" and ")),
        _ => None,
    }
}

fn like(error: &clap::Error, kind: ContextKind) -> String {
    word(error, kind).map(|like| format!(": did you mean {like}?")).unwrap_or_default()
}

/// A value without the keys in it.
fn public(flag: &str, value: String) -> String {
    match value.split_once(',') {
        Some((addr, _)) if flag == "--coaps" => format!("{addr},…"),
        _ => value,
    }
}

/// `--block` of `--block <[NUM,]SIZE>`, `URI` of `[URI]`. What `arrange` makes of `-v LEVEL` nobody has written.
fn flag(arg: &str) -> &str {
    match arg.split(' ').next().unwrap_or(arg).trim_end_matches('.') {
        "--verbosity" => "--verbose",
        name => name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name),
    }
}

/// `[NUM,]SIZE` of `--block <[NUM,]SIZE>`.
fn value_name(arg: &str) -> &str {
    let value = arg.split_once(' ').map_or(arg, |(_, value)| value);
    value.strip_prefix('<').and_then(|value| value.strip_suffix('>')).unwrap_or(value)
}

/// What is left of an explanation when it is one line.
fn rendered(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let lines: Vec<_> = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
    let line = lines.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}
