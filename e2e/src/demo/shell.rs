//! Running commands as a person would type them, and commands in pods.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::lab::command::tail;

/// How many bytes of a failed command's output an error shows.
const SHOWN: usize = 2000;

/// Runs a shell command: whether it exited with 0, and what it printed on both outputs.
pub fn try_sh(script: &str) -> (bool, String) {
    finish(Command::new("sh").args(["-c", script]))
}

/// Runs a shell command; what it printed.
///
/// # Errors
/// It did not exit with 0: the error holds the end of its output.
pub fn sh(script: &str) -> Result<String> {
    let (ok, text) = try_sh(script);
    if !ok {
        bail!("failed to run: {script}\n{}", tail(&text, SHOWN));
    }
    Ok(text)
}

/// Runs a shell command with `input` on its standard input, which appears nowhere else.
///
/// # Errors
/// It did not exit with 0.
pub fn sh_with(script: &str, input: &str) -> Result<String> {
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start: {script}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).with_context(|| format!("failed to write to: {script}"))?;
    }
    let output = child.wait_with_output().with_context(|| format!("failed to run: {script}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if !output.status.success() {
        bail!("failed to run: {script}\n{}", tail(&text, SHOWN));
    }
    Ok(text)
}

/// A pod in which commands are run.
#[derive(Clone, Copy, Debug)]
pub struct Pod {
    /// Its namespace.
    pub namespace: &'static str,
    /// Its name.
    pub name: &'static str,
}

impl Pod {
    /// Runs a shell command in the pod: whether it exited with 0, and what it printed.
    pub fn try_run(&self, script: &str) -> (bool, String) {
        finish(Command::new("kubectl").args(["-n", self.namespace, "exec", self.name, "--", "sh", "-c", script]))
    }

    /// Runs a shell command in the pod; what it printed.
    ///
    /// # Errors
    /// It did not exit with 0.
    pub fn run(&self, script: &str) -> Result<String> {
        let (ok, text) = self.try_run(script);
        if !ok {
            bail!("failed to run in pod {}/{}: {script}\n{}", self.namespace, self.name, tail(&text, SHOWN));
        }
        Ok(text)
    }
}

fn finish(command: &mut Command) -> (bool, String) {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&text).into_owned())
        }
        Err(error) => (false, format!("failed to start {}: {error}", command.get_program().to_string_lossy())),
    }
}
