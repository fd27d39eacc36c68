//! Running a program to its end, with errors that say what failed and why; and
//! small file helpers that name the file.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// How many bytes of a failed program's output an error shows.
const SHOWN: usize = 4000;

/// Runs `command` to its end and returns what it printed on standard output.
/// Fails with the end of its output if it does not exit with 0.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!(
            "failed to run {}: {}\n{}{}",
            shown(command),
            output.status,
            tail(&String::from_utf8_lossy(&output.stdout), SHOWN),
            tail(&String::from_utf8_lossy(&output.stderr), SHOWN),
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `command` exits with 0. A program that cannot be started counts as no.
pub fn succeeds(command: &mut Command) -> bool {
    output(command).is_ok_and(|output| output.status.success())
}

fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("failed to start {}", shown(command)))
}

fn shown(command: &Command) -> String {
    let words: Vec<_> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// The last `limit` bytes of `text`, from the start of a line.
pub fn tail(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut start = text.len() - limit;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let end = &text[start..];
    end.split_once('\n').map_or(end, |(_, rest)| rest)
}

/// Writes a file and the directories above it. A file that holds `content`
/// already is left alone: kube-proxy ends when its configuration is written.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == content.as_ref()) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))
}

/// Reads a text file.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// Makes a directory and those above it.
pub fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("failed to create {}", path.display()))
}

/// Removes a directory and all in it, if it is there.
pub fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Fills the `${NAME}` places of a manifest.
pub fn render(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
}

#[cfg(test)]
mod tests {
    use super::{render, tail};

    #[test]
    fn a_tail_starts_at_the_start_of_a_line() {
        assert_eq!(tail("first\nsecond\n", 9), "second\n");
        assert_eq!(tail("short", 9), "short");
    }

    #[test]
    fn render_fills_named_places_only() {
        assert_eq!(render("a ${X} $Y ${Z}", &[("X", "1")]), "a 1 $Y ${Z}");
    }
}
