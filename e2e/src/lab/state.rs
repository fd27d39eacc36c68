//! What `up` has started, kept in `state.json` so that the next `up`, `down`
//! or `status` knows it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::command;
use super::paths::Paths;
use super::process::Process;

/// The processes and images of a lab.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The process that owns the namespaces.
    pub holder: Option<Process>,
    /// Components by name.
    pub components: BTreeMap<String, Process>,
    /// Images in containerd: the name, and the archive it came from.
    pub images: BTreeMap<String, String>,
    /// Whether Kafka has answered its administrator since it was made.
    pub kafka_answered: bool,
}

impl State {
    /// Reads the state; none yet, or one that cannot be read (a run killed
    /// while it wrote), is an empty one, and leftovers are found by cgroup.
    pub fn load(paths: &Paths) -> Self {
        command::read(&paths.state.join("state.json"))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    /// Writes the state.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("failed to write the lab's state")?;
        command::write(&paths.state.join("state.json"), text)
    }

    /// The owner of the namespaces, if it lives.
    pub fn living_holder(&self) -> Option<Process> {
        self.holder.filter(Process::is_alive)
    }
}
