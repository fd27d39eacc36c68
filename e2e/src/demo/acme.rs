//! Another organisation: a directory with its keys, the program `weir`, and nothing of Kubernetes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::shell::{sh, try_sh};
use super::stage::Stage;
use crate::lab::holder::PARTNER;

/// Begins what is done in the network of another organisation, which has no kubeconfig.
fn elsewhere() -> String {
    format!("ip netns exec {PARTNER} env -u KUBECONFIG")
}

/// Where partners call.
pub const HOST: &str = "weir-partners.weir-system.svc.cluster.local";
/// What Olga of payments does.
pub const OLGA: &str = "kubectl weir --as olga@payments.example --namespace payments";

/// The partner's own machine: a directory, and a network of its own.
pub struct Acme {
    /// Its directory.
    pub home: PathBuf,
}

impl Acme {
    /// In a directory without anything in it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(stage: &Stage) -> Result<Self> {
        let home = Self::again(stage).home;
        if home.exists() {
            std::fs::remove_dir_all(&home).context("failed to clear Acme's directory")?;
        }
        std::fs::create_dir_all(&home).context("failed to make Acme's directory")?;
        Ok(Self { home })
    }

    /// With what it has from an earlier step.
    pub fn again(stage: &Stage) -> Self {
        Self { home: stage.paths.state.join("acme") }
    }

    fn command(&self, line: &str, invitation: &str) -> String {
        format!(
            "cd {} && {} WEIR_INVITATION={invitation} weir partner --server https://{HOST} --ca ca.crt {line}",
            self.home.display(),
            elsewhere()
        )
    }

    /// Tries `weir partner` until it succeeds: the partner API hears of things a moment later.
    ///
    /// # Errors
    /// It does not succeed in time.
    pub fn partner(&self, stage: &Stage, line: &str, invitation: &str) -> Result<String> {
        stage.doing(&format!("acme$ weir partner {line}"));
        stage.until(&format!("weir partner {line}"), Duration::from_secs(60), || {
            match try_sh(&self.command(line, invitation)) {
                (true, text) => Ok(text),
                (false, text) => Err(text),
            }
        })
    }

    /// Runs kcat with the credential in the directory `at`.
    pub fn kcat(&self, at: &str, arguments: &str) -> (bool, String) {
        let at = self.home.join(at);
        try_sh(&format!("cd {} && {} timeout 60 kcat -F librdkafka.conf {arguments}", at.display(), elsewhere()))
    }
}

/// Olga approves a share, invites Acme, and Acme accepts.
///
/// # Errors
/// One of it does not succeed.
pub fn agree(stage: &Stage, acme: &Acme, share: &str) -> Result<()> {
    let approve = format!("{OLGA} approve --share {share} --partner acme --reason 'contract 2026-17'");
    stage.doing(&approve);
    stage.seen(&sh(&approve)?);
    phase(stage, share, "Invited")?;
    let invite = format!("{OLGA} invite {share} --partner acme");
    stage.doing(&invite);
    let invitation = sh(&format!("{invite} 2>/dev/null"))?.trim().to_owned();
    stage.seen("an invitation, which is printed once, and not here; Acme gets it on a way of its own");
    stage.seen(&acme.partner(stage, "look", &invitation)?);
    stage.seen(acme.partner(stage, "accept --yes", &invitation)?.lines().last().unwrap_or_default());
    phase(stage, share, "Active")
}

/// Waits until a share of payments is in a phase.
///
/// # Errors
/// It is not in time.
pub fn phase(stage: &Stage, share: &str, wanted: &str) -> Result<()> {
    let ask = format!("kubectl -n payments get externalshare {share} -o jsonpath={{.status.phase}}");
    stage.until(&format!("{share} to be {wanted}"), Duration::from_secs(120), || match try_sh(&ask).1 {
        phase if phase == wanted => Ok(()),
        phase => Err(phase),
    })
}
