//! StreamClient: an application's identity, issued by Weir.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::ClusterRef;

/// An application's identity on one cluster, with credentials that Weir issues and rotates.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "StreamClient",
    namespaced,
    status = "StreamClientStatus",
    derive = "PartialEq",
    shortname = "sclient",
    category = "weir",
    doc = "An application's identity on one cluster, with credentials that Weir issues and rotates.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63").message("metadata.name must be a DNS label (no dots): it is part of principals and group names"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Principal", type_ = "string", json_path = ".status.principal"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName"),
    printcolumn(name = "Rotates", type_ = "string", json_path = ".status.nextRotation", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct StreamClientSpec {
    /// The cluster that it is known on.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterRef is immutable: make a new client on the other cluster"))]
    pub cluster_ref: ClusterRef,
    /// What it authenticates with.
    #[serde(default)]
    pub credentials: Credentials,
}

/// What a client authenticates with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Which kind.
    #[serde(rename = "type", default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("credentials.type is immutable: make a new client"))]
    pub type_: CredentialType,
    /// When the next version is issued. Without it, when someone asks by changing the annotation `weir.dev/rotate`, and a
    /// certificate also when two thirds of its time are over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// Name of the Secret; by default the client's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub secret_name: Option<String>,
}

/// Kinds of credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum CredentialType {
    /// A user name and a password for SASL SCRAM-SHA-512.
    #[default]
    ScramSha512,
    /// A certificate and its key.
    Mtls,
}

/// When credentials change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.every) > duration(self.overlap)").message("overlap must be shorter than every"))]
pub struct Rotation {
    /// How long a version is current, e.g. `720h`; at least `1m`.
    #[schemars(with = "String", regex(pattern = r"^([0-9]{1,6}(h|m|s))+$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("every must be at least 1m"))]
    pub every: Duration,
    /// How long the version before stays valid beside it.
    #[schemars(with = "String", regex(pattern = r"^([0-9]{1,6}(h|m|s))+$"))]
    #[serde(default = "default_overlap")]
    pub overlap: Duration,
}

/// How long an old version stays valid where the spec does not say.
pub(crate) fn default_overlap() -> Duration {
    Duration::from(std::time::Duration::from_secs(3600))
}

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamClientStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, ...
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The current principal, without `User:`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The Secret that holds the current version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Every version that the cluster still knows, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialStatus>,
    /// When the next version is due. If the authority lasts no longer than the certificate, it waits for another authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Time>,
}

/// One version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// Its principal, without `User:`.
    pub principal: String,
    /// How far it is.
    pub state: CredentialState,
    /// When it was issued.
    pub issued_at: Time,
    /// When it stops working, where that is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retires_at: Option<Time>,
    /// When a certificate ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

/// How far a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CredentialState {
    /// On its way to the brokers; not in the Secret yet.
    Issuing,
    /// In the Secret.
    Current,
    /// Replaced, and still valid until it retires.
    Overlapping,
}
