//! `lab status`: what is up.

use super::cgroup;
use super::paths::Paths;
use super::process::Process;
use super::state::State;

/// Prints one line for each process that `up` has started, and whether all of
/// them live.
pub fn status(paths: &Paths) -> bool {
    let state = State::load(paths);
    let Some(holder) = state.holder else {
        println!("the lab of {} is down", paths.root.display());
        return false;
    };
    let mut all = true;
    let named = state.components.iter().map(|(name, process)| (name.as_str(), process));
    for (name, process) in std::iter::once(("holder", &holder)).chain(named) {
        let alive = process.is_alive();
        all &= alive;
        println!("{name:<24} {:<8} {}", process.pid, word(alive));
    }
    let known: Vec<i32> = state.components.values().chain([&holder]).map(|p| p.pid).collect();
    let others = cgroup::members(paths)
        .into_iter()
        .filter(|pid| !known.contains(pid) && Process::of(*pid).is_some())
        .count();
    println!("{others} more processes (containers and their shims)");
    println!("state {}  cgroup {}", paths.state.display(), paths.cgroup());
    all
}

fn word(alive: bool) -> &'static str {
    if alive { "running" } else { "dead: `e2e/lab up` heals it" }
}
