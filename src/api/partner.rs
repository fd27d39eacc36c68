//! Partner: another organisation, which has no access to this Kubernetes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Another organisation that data products are shared with.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "Partner",
    status = "PartnerStatus",
    derive = "PartialEq",
    shortname = "ptn",
    category = "weir",
    doc = "Another organisation that data products are shared with.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63").message("metadata.name must be a DNS label (no dots): it is part of names that the partner sees"),
    printcolumn(name = "Organisation", type_ = "string", json_path = ".spec.organisation"),
    printcolumn(name = "Standing", type_ = "string", json_path = ".spec.standing"),
    printcolumn(name = "Shares", type_ = "integer", json_path = ".status.shares"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct PartnerSpec {
    /// The organisation's name, for people.
    #[schemars(length(min = 1, max = 253))]
    pub organisation: String,
    /// Whom to reach there.
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    /// Where its clients come from, as CIDRs. Where all are single addresses (`/32`, `/128`), brokers let its principals in from
    /// these only; Kafka's entries know no ranges.
    #[schemars(length(max = 32), inner(length(min = 3, max = 43)))]
    #[x_kube(validation = Rule::new("self.all(n, isCIDR(n))").message("each network is a CIDR, as 192.0.2.7/32 or 2001:db8::/48"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Contracts. Where there are any, shares end with the last of them.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agreements: Vec<Agreement>,
    /// Quarantined stops all its shares at once.
    #[serde(default)]
    pub standing: PartnerStanding,
}

/// A contract with a partner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agreement {
    /// What it is called.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// When it ends.
    pub not_after: Time,
}

/// How a partner stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PartnerStanding {
    /// Its shares work.
    #[default]
    Active,
    /// None of its shares does.
    Quarantined,
}

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartnerStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, ...
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How many ExternalShares name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<i64>,
}
