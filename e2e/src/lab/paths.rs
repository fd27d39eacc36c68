//! Where the lab of one checkout keeps its things. No I/O but the look-up of
//! the checkout's own path.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The state directory as processes inside the lab see it: short, because the
/// path of a unix socket may have 107 bytes and a checkout may lie deep.
pub const INSIDE: &str = "/run/weir-lab";

/// The places of one checkout's lab.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The root of the checkout.
    pub root: PathBuf,
    /// What `down` removes: configuration, data, logs and sockets.
    pub state: PathBuf,
    /// What `down` keeps: built programs and images, named by what they are built from.
    pub cache: PathBuf,
    /// Tells the labs of two checkouts apart on one machine.
    pub id: String,
}

impl Paths {
    /// The lab of the checkout that `WEIR_LAB_ROOT` names (the wrapper script
    /// sets it), or else of the one that this program was compiled from.
    ///
    /// `WEIR_LAB_CACHE` moves the cache, for checkouts that share one.
    pub fn find() -> Result<Self> {
        let root = env::var_os("WEIR_LAB_ROOT")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), PathBuf::from);
        let root =
            fs::canonicalize(&root).with_context(|| format!("failed to find the checkout {}", root.display()))?;
        let target = root.join("target");
        let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
        Ok(Self {
            state: target.join("lab"),
            cache: env::var_os("WEIR_LAB_CACHE").map_or_else(|| target.join("lab-cache"), PathBuf::from),
            id: hex::encode(&digest[..4]),
            root,
        })
    }

    /// A file of the crate `e2e`, as checked out.
    pub fn e2e(&self, name: &str) -> PathBuf {
        self.root.join("e2e").join(name)
    }

    /// The log of a component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.state.join("logs").join(format!("{component}.log"))
    }

    /// Where Cargo builds.
    pub fn target(&self) -> PathBuf {
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    /// The programs that `exec` puts on PATH.
    pub fn bin(&self) -> PathBuf {
        self.state.join("bin")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("admin.kubeconfig")
    }

    /// The lock that makes `up`, `down` and `build` take turns. Beside the
    /// state and not in it, so that it outlives `down`.
    pub fn lock(&self) -> PathBuf {
        self.root.join("target").join("lab.lock")
    }

    /// The cgroup, relative to each hierarchy, under which all of the lab runs.
    pub fn cgroup(&self) -> String {
        format!("weir-lab-{}", self.id)
    }
}
