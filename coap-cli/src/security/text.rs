//! Secrets as they are written on a command line.

use std::path::Path;

use crate::exit::{Failure, reason};
use crate::hex;

/// The most that is read of a file of keys.
const MOST: u64 = 4 << 20;

/// A key: text as it is, `0x` and hexadecimal, or `@` and a file that holds it, whose last newline is not part of it.
///
/// # Errors
/// It is no hexadecimal, or the file cannot be read.
pub(super) fn key(text: &str) -> Result<Vec<u8>, Failure> {
    if let Some(digits) = text.strip_prefix("0x") {
        return hex::decode(digits.as_bytes())
            .ok_or_else(|| Failure::usage("a key that begins with 0x is pairs of hexadecimal digits"));
    }
    let Some(file) = text.strip_prefix('@') else { return Ok(text.as_bytes().to_vec()) };
    let mut content = read(Path::new(file))?;
    if content.last() == Some(&b'\n') {
        content.pop();
        content.pop_if(|last| *last == b'\r');
    }
    Ok(content)
}

/// The lines of a file.
///
/// # Errors
/// It cannot be read, or is no text.
pub(super) fn lines(path: &Path) -> Result<Vec<String>, Failure> {
    let text = String::from_utf8(read(path)?)
        .map_err(|_| Failure::usage(format_args!("{} is no text: its keys can be written in 0xHEX", path.display())))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let cannot =
        |error: &std::io::Error| Failure::usage(format_args!("cannot read {}: {}", path.display(), reason(error)));
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| cannot(&error))?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, MOST + 1), &mut content)
        .map_err(|error| cannot(&error))?;
    if content.len() as u64 > MOST {
        return Err(Failure::usage(format_args!(
            "{} is longer than {MOST} bytes: that is no file of keys",
            path.display()
        )));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_text_or_hexadecimal_or_a_file() {
        assert_eq!(key("secretPSK").unwrap(), b"secretPSK");
        assert_eq!(key("0x00ff").unwrap(), [0, 0xff]);
        let file = std::env::temp_dir().join(format!("coap-key-{}", std::process::id()));
        for (content, expected) in [("abc\n", "abc"), ("abc\r\n", "abc"), ("abc", "abc"), ("a\n\n", "a\n")] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(key(&format!("@{}", file.display())).unwrap(), expected.as_bytes());
        }
        std::fs::remove_file(&file).unwrap();
        assert!(key(&format!("@{}", file.display())).unwrap_err().to_string().contains("cannot read"));
        assert!(key("0x0g").is_err());
    }
}
