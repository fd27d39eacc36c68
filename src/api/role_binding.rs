//! RoleBinding: subjects get a role.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Subjects get a StreamRole.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "RoleBinding",
    namespaced,
    status = "RoleBindingStatus",
    derive = "PartialEq",
    shortname = "srb",
    category = "weir",
    doc = "Subjects get a StreamRole.",
    printcolumn(name = "Role", type_ = "string", json_path = ".status.role"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt"),
    printcolumn(name = "Entries", type_ = "integer", json_path = ".status.entries.count", priority = 1),
    printcolumn(name = "Last-Used", type_ = "date", json_path = ".status.usage.lastUsedAt", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.expiresAt) && has(self.duration))").message("give either expiresAt or duration"))]
pub struct RoleBindingSpec {
    /// The role.
    #[x_kube(validation = Rule::new("self == oldSelf").message("roleRef is immutable: delete the binding and make a new one"))]
    pub role_ref: RoleRef,
    /// What the access is for; products may demand one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub purpose: Option<String>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// How long it lasts from its creation, e.g. `720h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", regex(pattern = r"^([0-9]{1,6}(h|m|s))+$"))]
    pub duration: Option<Duration>,
    /// Who gets it.
    #[schemars(length(min = 1, max = 64))]
    pub subjects: Vec<Subject>,
    /// Further prefixes of consumer groups and transactional ids that the subjects use, beside
    /// `<namespace>.<subject>.`; each must lie in this namespace's prefixes.
    #[schemars(length(max = 16), inner(length(min = 1, max = 249)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
}

/// A StreamRole of any namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct RoleRef {
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Who gets a role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.kind == 'ServiceAccount' || !has(self.namespace)").message("namespace goes with kind ServiceAccount only"))]
#[x_kube(validation = Rule::new("self.kind == 'User' || self.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("the name of a StreamClient or ServiceAccount that is bound must be a DNS label (no dots): it is part of group names"))]
#[x_kube(validation = Rule::new("self.kind != 'User' || (self.name != '*' && self.name != 'ANONYMOUS' && !self.name.startsWith('system:') && !self.name.contains('~'))").message("this User can never be bound: *, ANONYMOUS, system: names and principals that Weir issues are reserved"))]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// Its name; for a User the principal's name without `User:`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of a ServiceAccount; the binding's own where absent. Another one is allowed in the role's own namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// Kinds of subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SubjectKind {
    /// A StreamClient of the binding's namespace.
    StreamClient,
    /// A ServiceAccount: the pod's projected token is the credential, and there is no secret at all.
    ServiceAccount,
    /// A principal that is authenticated elsewhere and that the platform gave this namespace.
    User,
}

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleBindingStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, ...
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The role as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The principals that have the access now, without `User:`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
    /// The topics, the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// The prefixes that consumer groups and transactional ids must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// The access control entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<EntriesStatus>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// How the access is used, once Weir has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<BindingUsage>,
}

/// How a binding's access is used, as far as consumer groups and the ends of topics tell. What is new is written about once an hour;
/// an address, at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BindingUsage {
    /// Since when Weir looks.
    pub since: Time,
    /// The beginning of the hour in which it was last used; absent where no use was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Time>,
    /// Since when it is not used, once that is longer than the cluster's `unusedAfter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_since: Option<Time>,
    /// Addresses that its principals were seen at, twenty at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// By StreamCluster, SHA-256 over the offsets that were last seen, the first 16 hex digits: what moves while nobody looks is use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub positions: BTreeMap<String, String>,
}

/// Access control entries in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntriesStatus {
    /// How many.
    pub count: i64,
    /// SHA-256 over all of them, the first 16 hex digits.
    pub hash: String,
    /// The first twenty.
    pub sample: Vec<String>,
}
