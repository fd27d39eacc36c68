//! DataProduct: what an owner offers.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::ClusterRef;

/// Streams that a team offers to others.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "DataProduct",
    namespaced,
    status = "DataProductStatus",
    derive = "PartialEq",
    shortname = "dp",
    category = "weir",
    doc = "Streams that a team offers to others.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63").message("metadata.name must be a DNS label (no dots): it is part of topic names"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Classification", type_ = "string", json_path = ".status.classification"),
    printcolumn(name = "Bindings", type_ = "integer", json_path = ".status.bindings"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DataProductSpec {
    /// The cluster that its topics are on.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterRef is immutable: make a new product on the other cluster"))]
    pub cluster_ref: ClusterRef,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The business domain that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// What it is, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How sensitive it is. The effective one, in status, is the strictest of its own and its sources'.
    #[serde(default)]
    pub classification: Classification,
    /// If any are named, each binding must name one of them.
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<String>,
    /// Products that this one is made from.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derived_from: Vec<ProductRef>,
    /// Its streams.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub streams: Vec<Stream>,
    /// What happens to the topics when the product is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Who answers for a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    /// The team.
    pub team: String,
    /// How to reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

/// A product of any namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductRef {
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// How sensitive data is: Public, Private, Confidential, from the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Classification {
    /// Meant for anybody.
    Public,
    /// For those who were granted it.
    #[default]
    Private,
    /// With tagged fields that need protection.
    Confidential,
}

/// A topic of a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// Its name within the product.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The topic's name; by default the namespace's first prefix, then `<product>.<stream>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub topic: Option<String>,
    /// How many partitions; they can only grow.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(default = "default_partitions")]
    pub partitions: i32,
    /// How many replicas of each; the broker's default where absent. Read when the topic is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub replicas: Option<i32>,
    /// Topic configuration. Only the keys named here are managed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Take over a topic that exists already; the tenancy must allow it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
}

fn default_partitions() -> i32 {
    1
}

/// What happens to topics when their product is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They stay, with their records.
    #[default]
    Retain,
    /// They are deleted, once every grant on them is revoked.
    Delete,
}

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataProductStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, ...
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The strictest of its own classification and its sources'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// Roles of this namespace that give access to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offered_by: Vec<String>,
    /// How many bindings give access to it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bindings: Option<i64>,
    /// How many ExternalShares do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<i64>,
    /// Its topics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub streams: Vec<StreamStatus>,
}

/// One topic as the brokers have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamStatus {
    /// The stream's name.
    pub name: String,
    /// The topic's name.
    pub topic: String,
    /// Its partitions; absent while it does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
}
