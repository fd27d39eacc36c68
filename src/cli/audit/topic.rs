//! The audit topic, as somebody enters it who may read the Secrets of Weir's namespace.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kube::{Api, Client};

use crate::api::{AuditTrail, StreamCluster};
use crate::domain::audit::checkpoint::{Checkpoint, Signer, key_id, thumbprint, verify};
use crate::k8s::credentials::Secrets;
use crate::kafka::AuditLog;

/// Where Weir is.
#[derive(Args, Debug)]
pub struct Where {
    /// Namespace that Weir runs in, where the Secrets are that the StreamCluster and the AuditTrail name
    #[arg(long, default_value = "weir-system")]
    weir_namespace: String,
}

/// The audit topic, and what is known of it elsewhere.
pub struct Topic {
    /// Its name.
    pub name: String,
    /// It.
    pub log: AuditLog,
    /// The keys that checkpoints verify with, Ed25519 in base64url: the Secret's, and the one that the AuditTrail names, which is
    /// another one until the first checkpoint after the Secret has changed.
    pub public_keys: Vec<String>,
    /// The last checkpoint that the AuditTrail has.
    pub known: Option<Checkpoint>,
    /// How long records are kept; without, for ever.
    pub retention: Option<Duration>,
}

/// Finds it by the AuditTrail, or the topic that is called `other` on the same cluster.
///
/// # Errors
/// There is none; what it names is missing; the cluster cannot be reached.
pub async fn find(client: &Client, at: &Where, other: Option<String>) -> anyhow::Result<Topic> {
    let trails: Api<AuditTrail> = Api::all(client.clone());
    let trail = trails.get_opt("default").await.context("failed to read AuditTrail default")?;
    let trail = trail.context("there is no AuditTrail default, hence no audit topic: see docs/security-events.md")?;
    let cluster = &trail.spec.cluster_ref.name;
    let clusters: Api<StreamCluster> = Api::all(client.clone());
    let object = clusters.get(cluster).await.with_context(|| format!("failed to read StreamCluster {cluster}"))?;
    let secrets = Secrets::new(client.clone(), &at.weir_namespace);
    let access = secrets.admin(&object.spec).await?;
    let key = &trail.spec.checkpoints.signing_key_ref.name;
    let signer = Signer::from_pem(&secrets.signing_key(key).await?)
        .map_err(|why| anyhow::anyhow!("Secret {key}, key signing.key: {why}"))?;
    let status = trail.status.unwrap_or_default();
    let mut public_keys = vec![signer.public_key()];
    public_keys.extend(status.public_key.filter(|key| *key != public_keys[0]));
    let known = match status.checkpoint {
        Some(text) => Some(verified(&text, &public_keys).context("AuditTrail default")?),
        None => None,
    };
    let retention = trail.spec.retention.map(Duration::from);
    let name = other.unwrap_or(trail.spec.topic);
    let log = AuditLog::connect(&access.endpoint, "weir-audit-reader", &name, retention).await;
    let log = log.with_context(|| format!("failed to enter StreamCluster {cluster}"))?;
    Ok(Topic { name, log, public_keys, known, retention })
}

/// What a checkpoint says that was signed with one of these keys.
///
/// # Errors
/// It was not.
pub fn verified(text: &str, public_keys: &[String]) -> anyhow::Result<Checkpoint> {
    let kid = key_id(text);
    let key = public_keys.iter().find(|key| kid.as_ref() == Some(&thumbprint(key)));
    let key = key.context("the checkpoint was signed with a key that is not known: give it by --public-key")?;
    verify(text, key).map_err(anyhow::Error::msg)
}
