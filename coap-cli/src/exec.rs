//! `--exec`: a command of the shell for each state of a resource.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::exit::{Failure, is_gone, reason};

/// Runs `line` with `input` as its standard input. What it prints goes where ours goes. Dropped, it ends the command.
///
/// # Errors
///
/// It cannot be run, or did not end well: in a line.
pub(crate) async fn run(line: &str, environment: &[(&str, String)], input: &[u8]) -> Result<(), Failure> {
    let mut command = shell(line);
    command.envs(environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::piped()).kill_on_drop(true);
    let ended = async {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command need not read its input.
            stdin.write_all(input).await.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) })?;
        }
        child.wait().await
    };
    match ended.await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::local(format_args!("the command ended with {status}"))),
        Err(error) => Err(Failure::local(format_args!("the command cannot be run: {}", reason(&error)))),
    }
}

#[cfg(not(windows))]
fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

#[cfg(windows)]
fn shell(line: &str) -> Command {
    let mut command = Command::new("cmd");
    command.args(["/C", line]);
    command
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_state_is_the_input_of_the_command() {
        assert!(run("test \"$(cat)\" = 22.5 && test \"$A\" = b", &[("A", "b".to_owned())], b"22.5").await.is_ok());
    }

    #[tokio::test]
    async fn a_command_need_not_read_its_input() {
        assert!(run("exec true", &[], &vec![0; 1 << 20]).await.is_ok());
    }

    #[tokio::test]
    async fn a_command_that_fails_is_said() {
        let failure = run("cat > /dev/null; exit 3", &[], b"").await.unwrap_err();
        assert!(failure.to_string().contains('3'), "{failure}");
    }
}
