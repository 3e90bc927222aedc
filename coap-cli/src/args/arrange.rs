//! The command line as other programs know it, made to fit the grammar here.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;

use super::Cli;

/// Makes what other programs accept fit the grammar here: `-v LEVEL`, and a request without a sub-command.
pub(super) fn arrange(args: Vec<OsString>) -> Vec<OsString> {
    let mut arranged = Vec::with_capacity(args.len() + 1);
    let mut args = args.into_iter().peekable();
    arranged.extend(args.next());
    // `coap -v get URI`: the sub-command must come first here.
    let mut noise: Vec<_> = core::iter::from_fn(|| args.next_if(|arg| is_noise(arg))).collect();
    if args.peek().is_some_and(|next| is_command(next)) {
        arranged.extend(args.next());
    } else if noise.first().or_else(|| args.peek()).is_some_and(|first| is_bare_request(first)) {
        arranged.push("request".into());
    }
    arranged.append(&mut noise);
    while let Some(arg) = args.next() {
        if arg == "--" {
            arranged.push(arg);
            break;
        }
        let text = arg.to_str().unwrap_or_default();
        if matches!(text, "-e" | "--payload") {
            // Whatever follows is content, even if it looks like a flag.
            arranged.push(arg);
            arranged.extend(args.next());
            continue;
        }
        let attached = text.strip_prefix("--verbose=").or_else(|| {
            let level = text.strip_prefix("-v").filter(|level| level.starts_with(|first: char| first.is_ascii_digit()));
            level.filter(|_| !text.starts_with("--"))
        });
        let follows =
            matches!(text, "-v" | "--verbose") && args.peek().and_then(|next| next.to_str()).is_some_and(is_level);
        if let Some(level) = attached {
            arranged.push(format!("--verbosity={level}").into());
        } else if follows {
            arranged.push("--verbosity".into());
            arranged.extend(args.next());
        } else {
            arranged.push(arg);
        }
    }
    arranged.extend(args);
    arranged
}

fn is_level(text: &str) -> bool {
    matches!(text.as_bytes(), [b'0'..=b'9'])
}

fn is_noise(arg: &OsStr) -> bool {
    matches!(arg.to_str(), Some("-v" | "-vv" | "-vvv" | "--verbose" | "-q" | "--quiet"))
}

pub(super) fn is_command(arg: &OsStr) -> bool {
    Cli::command().get_subcommands().any(|command| arg == command.get_name())
}

/// The first argument is an option of a request, or a URI. A word alone is left to be a sub-command, so that a
/// mistyped one is called so.
fn is_bare_request(first: &OsStr) -> bool {
    let Some(first) = first.to_str() else { return false };
    if matches!(first, "-h" | "--help" | "-V" | "--version") {
        return false;
    }
    first.contains(['-', ':', '/', '.'])
}
