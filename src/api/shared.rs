//! What several kinds share.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A StreamCluster by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ClusterRef {
    /// Name of the StreamCluster.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A Secret in the operator's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Kafka's client quotas (KIP-13, KIP-124, KIP-599). Each broker enforces them for itself: a client that talks to three
/// brokers may reach three times a byte rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.producerByteRate) || has(self.consumerByteRate) || has(self.requestPercentage) || has(self.controllerMutationRate)").message("name at least one quota"))]
pub struct Quotas {
    /// Bytes a second that a producer may write, on each broker (`producer_byte_rate`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub producer_byte_rate: Option<i64>,
    /// Bytes a second that a consumer may fetch, on each broker (`consumer_byte_rate`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub consumer_byte_rate: Option<i64>,
    /// Percent of one network and I/O thread's time, on each broker (`request_percentage`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub request_percentage: Option<i64>,
    /// Topic and partition creations and deletions a second (`controller_mutation_rate`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub controller_mutation_rate: Option<i64>,
}

/// Upper bounds of what a namespace may have on a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Partitions of one topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub partitions: Option<i32>,
    /// Replicas of one topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub replicas: Option<i32>,
    /// Topic configuration keys that products may set; without it, any that the broker takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub config_keys: Option<Vec<String>>,
    /// The largest quotas that roles may give. What is bounded here and not set by a role is given at this bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
}

/// Whether a role gives the use of something that lies in the subject's own prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Usage {
    /// Not at all.
    #[default]
    None,
    /// Under the subject's prefix, `<namespace>.<subject>.`.
    Prefixed,
}

/// What may be done with a stream. Nothing here alters a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    /// Fetch records.
    Read,
    /// Produce records.
    Write,
    /// See the topic and its partitions.
    Describe,
}

/// How a share works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Pattern {
    /// The partner reads from the cluster itself, by its external listener. For Public products.
    Direct,
    /// The streams are copied to another cluster, and the partner reads there; it never reaches the source. For Public and
    /// Private products.
    Copy,
}
