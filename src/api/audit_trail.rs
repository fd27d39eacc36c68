//! AuditTrail: where the record of all SecurityEvents is kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{ClusterRef, SecretRef};

/// Where the record of all SecurityEvents is kept: a topic that Weir alone extends, each record chained to the one before.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "AuditTrail",
    status = "AuditTrailStatus",
    derive = "PartialEq",
    shortname = "trail",
    category = "weir",
    doc = "Where the record of all SecurityEvents is kept: a topic that Weir alone extends, each record chained to the one before.",
    validation = Rule::new("self.metadata.name == 'default'").message("metadata.name must be default: there is one trail"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "Topic", type_ = "string", json_path = ".spec.topic"),
    printcolumn(name = "Records", type_ = "integer", json_path = ".status.records"),
    printcolumn(name = "Signed", type_ = "integer", json_path = ".status.signedRecords"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AuditTrailSpec {
    /// The StreamCluster that the topic is on.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterRef is immutable: a chain does not move"))]
    pub cluster_ref: ClusterRef,
    /// The topic. Weir makes it, with one partition; nobody else may write to it. It has no dots: those are
    /// tenants'.
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9_-]+$"))]
    #[serde(default = "default_topic")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("topic is immutable: a chain does not move"))]
    pub topic: String,
    /// How long records are kept, e.g. `8760h`; without it for ever. The topic follows when it changes.
    #[schemars(with = "Option<String>", regex(pattern = r"^([0-9]{1,6}(h|m|s))+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
    /// How the head of the chain is signed.
    pub checkpoints: Checkpoints,
    /// Where each record is sent, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

fn default_topic() -> String {
    "weir-audit".into()
}

/// How the head of the chain is signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoints {
    /// Secret in the operator's namespace with an Ed25519 key (PKCS #8, PEM) in key `signing.key`.
    pub signing_key_ref: SecretRef,
    /// How often at most, e.g. `1m`; as long as nothing happens there is none.
    #[schemars(with = "String", regex(pattern = r"^([0-9]{1,5}(h|m|s))+$"))]
    #[serde(default = "default_every")]
    pub every: Duration,
}

fn default_every() -> Duration {
    Duration::from(std::time::Duration::from_secs(60))
}

/// A receiver of CloudEvents over HTTPS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Where they are posted, as batches of CloudEvents 1.0 (`application/cloudevents-batch+json`), in order and at least once. What
    /// it answers with 400, 413, 415 or 422 goes to the topic of dead letters; everything else but 2xx is tried again.
    #[schemars(length(max = 2048), regex(pattern = r"^https://"))]
    pub url: String,
    /// Secret in the operator's namespace: `token` is sent as a bearer token; `ca.crt` is the authority of the receiver's
    /// certificate, without which the system's are trusted.
    pub secret_ref: SecretRef,
}

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditTrailStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, ...
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Which chain it is: made up when the topic is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// How many records the chain had when the last checkpoint was made known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<i64>,
    /// How many of them the last checkpoint covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_records: Option<i64>,
    /// The last checkpoint: a JWS in compact form (RFC 7515), signed with Ed25519 (RFC 8037).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_time: Option<Time>,
    /// The key that it verifies with: Ed25519, 32 bytes in base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}
