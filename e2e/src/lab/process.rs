//! Processes that outlive the command that started them: known by process id
//! and start time, so that a reused id is never taken for one of ours.

use std::env;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::command::create_dir;

/// A process as it was when it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The process id.
    pub pid: i32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`, proc(5)).
    pub started: u64,
}

impl Process {
    /// The living process of this id.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        (state != 'Z' && state != 'X').then_some(Self { pid, started })
    }

    /// Whether this very process still runs (a zombie does not).
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Sends `signal` if this very process still runs.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("failed to signal {}", self.pid)),
        }
    }
}

/// The state and start time in a line of `/proc/PID/stat`, whose second field,
/// the command, may itself hold blanks and parentheses.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let state = fields.first()?.chars().next()?;
    Some((state, fields.get(19)?.parse().ok()?))
}

/// Starts this program again as `lab ARGS`, detached, with its output appended
/// to `log`. `args` are the hidden commands `hold` and `enter`, which make the
/// process a session of its own and then become what they start.
pub fn spawn_self(args: &[String], log: &Path) -> Result<Process> {
    if let Some(parent) = log.parent() {
        create_dir(parent)?;
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("failed to open {}", log.display()))?;
    let program = env::current_exe().context("failed to find this program")?;
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("failed to start {}", args.join(" ")))?;
    let pid = i32::try_from(child.id()).context("failed to read a process id")?;
    Process::of(pid).ok_or_else(|| anyhow!("{} ended at once; see {}", args.join(" "), log.display()))
}

#[cfg(test)]
mod tests {
    use super::{Process, parse_stat};

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) (b) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse_stat(stat), Some(('S', 4242)));
    }

    #[test]
    fn this_test_is_alive_and_a_reused_id_is_not() {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let mut this = Process::of(pid).unwrap_or(Process { pid: 0, started: 0 });
        assert!(this.is_alive());
        this.started += 1;
        assert!(!this.is_alive());
    }
}
