//! The container runtime's configuration.

use std::path::Path;

use anyhow::Result;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};

use super::command::{render, write};
use super::kubernetes::{Component, POD_CIDR};
use super::paths::{INSIDE, Paths};

/// Writes the configuration of containerd and of the pods' network.
pub fn configure(paths: &Paths) -> Result<()> {
    let config = include_str!("../../manifests/containerd.toml");
    let config = render(config, &[("SNAPSHOTTER", snapshotter(&paths.state))]);
    write(&paths.state.join("config/containerd.toml"), config)?;
    let network = include_str!("../../manifests/cni.conflist");
    let network = render(network, &[("POD_CIDR", POD_CIDR)]);
    write(&paths.state.join("cni/10-weir-lab.conflist"), network)
}

/// An overlay cannot lie on an overlay (as in a CI container): copy there.
fn snapshotter(state: &Path) -> &'static str {
    match statfs(state) {
        Ok(found) if found.filesystem_type() == OVERLAYFS_SUPER_MAGIC => "native",
        _ => "overlayfs",
    }
}

/// containerd.
pub fn component() -> Component {
    Component::new("containerd", "/usr/bin/containerd", vec![format!("--config={INSIDE}/config/containerd.toml")])
}
