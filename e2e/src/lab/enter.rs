//! Entering the lab: its network and mount namespace.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use nix::unistd::setsid;

use super::paths::Paths;
use super::process::Process;
use super::state::State;
use super::{cgroup, holder};

/// Moves this process into the lab's namespaces; what it starts is there too.
/// The process must have one thread only, which the kernel demands of a
/// process that changes its mount namespace (setns(2)).
pub fn enter(holder: Process) -> Result<()> {
    let (net, mnt) = holder::namespaces(holder)?;
    let here = env::current_dir().context("failed to read the current directory")?;
    setns(net, CloneFlags::CLONE_NEWNET).context("failed to enter the lab's network")?;
    setns(mnt, CloneFlags::CLONE_NEWNS).context("failed to enter the lab's mounts")?;
    env::set_current_dir(&here).with_context(|| format!("failed to return to {}", here.display()))
}

/// Enters the lab that is up.
pub fn enter_running(paths: &Paths) -> Result<()> {
    let holder =
        State::load(paths).living_holder().ok_or_else(|| anyhow!("the lab is not up: run `e2e/lab up` first"))?;
    enter(holder)
}

/// Becomes `argv`, a component of the lab: a session of its own, among the
/// lab's processes. Called in a process that is in the namespaces already.
pub fn become_component(paths: &Paths, argv: &[String]) -> Result<()> {
    let (program, arguments) = argv.split_first().ok_or_else(|| anyhow!("no program to start was named"))?;
    setsid().context("failed to start a session")?;
    cgroup::join(paths)?;
    env::set_current_dir("/").context("failed to change to /")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("failed to start {program}"))
}
