//! The lab's cgroups: by them every process of the lab is found, also those
//! that no record names (a pod's, or those of a run that was killed).
//!
//! Below `weir-lab-ID` the kubelet keeps its pods (`kubepods`), and `lab`
//! keeps the components (`components`, in one hierarchy only).

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command;
use super::paths::Paths;

const MOUNTPOINT: &str = "/sys/fs/cgroup";

/// How long killed processes may take to go.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// The lab's cgroup in each hierarchy of this machine: one for version 2, one
/// for every controller for version 1.
fn roots(paths: &Paths) -> Vec<PathBuf> {
    let top = Path::new(MOUNTPOINT);
    if top.join("cgroup.controllers").exists() {
        return vec![top.join(paths.cgroup())];
    }
    let mut roots: Vec<_> = fs::read_dir(top)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("cgroup.procs").exists() && !path.is_symlink())
        .map(|path| path.join(paths.cgroup()))
        .collect();
    roots.sort();
    roots
}

/// The cgroup of the components: of the `pids` controller in version 1.
fn components(paths: &Paths) -> PathBuf {
    let root = Path::new(MOUNTPOINT);
    let top = if root.join("cgroup.controllers").exists() { root.to_owned() } else { root.join("pids") };
    top.join(paths.cgroup()).join("components")
}

/// Makes the lab's cgroups; the kubelet wants its root in every hierarchy.
pub fn create(paths: &Paths) -> Result<()> {
    for root in roots(paths) {
        command::create_dir(&root)?;
        inherit_cpuset(&root);
    }
    command::create_dir(&components(paths))
}

/// A new cpuset of version 1 is empty and accepts no process until it is told
/// which cores and memory it has (cpuset(7)).
fn inherit_cpuset(root: &Path) {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let above = root.parent().map(|parent| parent.join(name));
        if let Some(value) = above.and_then(|path| fs::read_to_string(path).ok()) {
            // Fails where the value is already there, which is what is wanted.
            let _ = fs::write(root.join(name), value.trim());
        }
    }
}

/// Moves this process, and so all that it starts, among the components.
pub fn join(paths: &Paths) -> Result<()> {
    let file = components(paths).join("cgroup.procs");
    fs::write(&file, std::process::id().to_string())
        .with_context(|| format!("failed to join the cgroup {}", file.display()))
}

/// All processes of the lab.
pub fn members(paths: &Paths) -> Vec<i32> {
    let mut pids = Vec::new();
    for root in roots(paths) {
        for group in below(&root) {
            let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            pids.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Whether any cgroup of the lab is there.
pub fn exists(paths: &Paths) -> bool {
    roots(paths).iter().any(|root| root.exists())
}

/// Kills every process of the lab and removes its cgroups.
pub fn kill_and_remove(paths: &Paths) -> Result<()> {
    let start = Instant::now();
    loop {
        let pids = members(paths);
        if pids.is_empty() {
            break;
        }
        if start.elapsed() > KILL_LIMIT {
            bail!("processes {pids:?} of the lab are still there after they were killed");
        }
        for pid in pids {
            // A process that has just gone is what is wanted.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        sleep(Duration::from_millis(20));
    }
    for root in roots(paths) {
        for group in below(&root).into_iter().rev() {
            remove(&group, start)?;
        }
    }
    Ok(())
}

/// Removes one empty cgroup; a killed process may hold it for a moment yet.
fn remove(group: &Path, start: Instant) -> Result<()> {
    while let Err(error) = fs::remove_dir(group) {
        if error.kind() == std::io::ErrorKind::NotFound {
            break;
        }
        if start.elapsed() > KILL_LIMIT {
            return Err(error).with_context(|| format!("failed to remove {}", group.display()));
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// `root` and all cgroups in it, each before those inside it.
fn below(root: &Path) -> Vec<PathBuf> {
    if !root.exists() {
        return Vec::new();
    }
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(group) = found.get(next).cloned() {
        next += 1;
        let inner = fs::read_dir(&group).into_iter().flatten().flatten();
        found.extend(inner.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    found
}
