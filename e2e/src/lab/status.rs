//! `lab status`: what is up.

use std::fmt::Write;

use super::cgroup;
use super::paths::Paths;
use super::process::Process;
use super::state::State;

/// One line for each process that `up` has started, and whether all of them
/// live.
pub fn status(paths: &Paths) -> (String, bool) {
    let state = State::load(paths);
    let Some(holder) = state.holder else {
        return (format!("the lab of {} is down\n", paths.root.display()), false);
    };
    let mut all = true;
    // Writing to a String never fails.
    let mut text = String::new();
    let named = state.components.iter().map(|(name, process)| (name.as_str(), process));
    for (name, process) in std::iter::once(("holder", &holder)).chain(named) {
        let alive = process.is_alive();
        all &= alive;
        let _ = writeln!(text, "{name:<24} {:<8} {}", process.pid, word(alive));
    }
    let known: Vec<i32> = state.components.values().chain([&holder]).map(|p| p.pid).collect();
    let others =
        cgroup::members(paths).into_iter().filter(|pid| !known.contains(pid) && Process::of(*pid).is_some()).count();
    let _ = writeln!(text, "{others} more processes (containers and their shims)");
    let _ = writeln!(text, "state {}  cgroup {}", paths.state.display(), paths.cgroup());
    (text, all)
}

fn word(alive: bool) -> &'static str {
    if alive { "running" } else { "dead: `e2e/lab up` heals it" }
}
