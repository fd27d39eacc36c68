//! `lab down`: ends what `up` started and removes all but the caches.

use std::fs;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::paths::Paths;
use super::progress::Progress;
use super::state::State;
use super::{cgroup, holder};

/// Takes the lab down, whatever state it is in.
pub fn down(paths: &Paths) -> Result<()> {
    let progress = Progress::start();
    let state = State::load(paths);
    let visitors = state.living_holder().map(|holder| visitors(paths, holder.pid)).unwrap_or_default();
    remove(paths, &state)?;
    if !visitors.is_empty() {
        progress.say(format!(
            "still running, started by `lab exec`, and in a network that leads nowhere now: {visitors:?}"
        ));
    }
    progress.say("the lab is down");
    Ok(())
}

/// Ends all processes of the lab, then removes its cgroups and its state. The
/// namespaces, and with them mounts and interfaces, go with their last process.
pub fn remove(paths: &Paths, state: &State) -> Result<()> {
    // The kubelet first, which would start pods again, and all others by the record.
    let kubelet = state.components.get("kubelet").into_iter();
    for process in kubelet.chain(state.components.values()) {
        process.signal(Signal::SIGKILL)?;
    }
    // Then those that no record names: pods, shims, and the holder.
    cgroup::kill_and_remove(paths)?;
    holder::clean(paths)
}

/// Processes in the lab's network that are not the lab's own.
fn visitors(paths: &Paths, holder: i32) -> Vec<i32> {
    let network = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let Some(ours) = network(holder) else {
        return Vec::new();
    };
    let members = cgroup::members(paths);
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| !members.contains(pid) && network(*pid).as_ref() == Some(&ours))
        .collect()
}
