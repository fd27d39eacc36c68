//! StreamRole: a named set of privileges on products of its own namespace.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access_approval::{RequestRef, Scope};
use super::role_binding::RoleRef;
use super::shared::{Access, Quotas, Usage};

/// A named set of privileges on products of its own namespace.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "StreamRole",
    namespaced,
    status = "StreamRoleStatus",
    derive = "PartialEq",
    shortname = "srole",
    category = "weir",
    doc = "A named set of privileges on products of its own namespace.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Bindable-From", type_ = "string", json_path = ".spec.bindableFrom.mode"),
    printcolumn(name = "Bindings", type_ = "integer", json_path = ".status.bindings"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.privileges) && size(self.privileges) > 0) || (has(self.inherits) && size(self.inherits) > 0)").message("a role needs privileges or inherits"))]
#[x_kube(validation = Rule::new("!has(self.preApproved) || self.approval == 'Owner'").message("preApproved goes with approval Owner, and only with it"))]
pub struct StreamRoleSpec {
    /// What it gives.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub privileges: Vec<Privilege>,
    /// Roles whose privileges it also gives. Each of those keeps the conditions of the role that it comes from.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inherits: Vec<RoleRef>,
    /// Whether readers may use consumer groups under their prefix.
    #[serde(default = "prefixed")]
    pub consumer_groups: Usage,
    /// Whether writers may use transactional ids under their prefix.
    #[serde(default)]
    pub transactional_ids: Usage,
    /// Whether the subject may create, delete, read and write topics under `<namespace>._<subject>.`, as Kafka Streams and
    /// Flink jobs do.
    #[serde(default)]
    pub internal_topics: Usage,
    /// Quotas of who is bound. A principal with several roles has the largest of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
    /// From which namespaces it may be bound.
    #[serde(default)]
    pub bindable_from: BindableFrom,
    /// Whether its owner has to approve each binding from another namespace.
    #[serde(default)]
    pub approval: Approval,
    /// Bindings that need no approval.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_approved: Vec<PreApproved>,
    /// The longest that a binding may last; each binding must then have an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", regex(pattern = r"^([0-9]{1,6}(h|m|s))+$"))]
    pub max_duration: Option<Duration>,
}

fn prefixed() -> Usage {
    Usage::Prefixed
}

/// Access to streams of products.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Privilege {
    /// Which products of this namespace.
    pub products: ProductSelection,
    /// Which of their streams; all of them where absent.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
    /// What may be done.
    #[schemars(length(min = 1, max = 3))]
    pub access: Vec<Access>,
}

/// Which products.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.names) != has(self.selector)").message("name either products or a selector"))]
pub struct ProductSelection {
    /// By name.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// By label: a product that matches later is covered from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// From which namespaces a role may be bound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.mode == 'Selector') == has(self.namespaceSelector)").message("namespaceSelector goes with mode Selector, and only with it"))]
pub struct BindableFrom {
    /// How wide.
    #[serde(default)]
    pub mode: BindableFromMode,
    /// Which namespaces, with mode Selector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
}

/// How wide a role may be bound. Its own namespace always may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BindableFromMode {
    /// Its own namespace.
    #[default]
    Same,
    /// Also the namespaces that a selector matches.
    Selector,
    /// Every namespace.
    All,
}

/// Who has to approve a binding from another namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// Nobody: `bindableFrom` decides.
    #[default]
    None,
    /// Somebody who has the verb `approve` on the role; see AccessApproval.
    Owner,
}

/// Bindings that need no approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreApproved {
    /// From which namespaces.
    pub namespace_selector: LabelSelector,
}

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamRoleStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, ...
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What it gives now, with what it inherits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effective_privileges: Vec<EffectivePrivilege>,
    /// Bindings that wait for an approval, the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<PendingRequest>,
    /// How many bindings refer to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bindings: Option<i64>,
    /// Which ones, the first hundred: what a decision that takes a binding's access back names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bound_by: Vec<RequestRef>,
}

/// A binding that waits for an approval: what an AccessApproval would have to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PendingRequest {
    /// The binding.
    #[serde(flatten)]
    pub request: RequestRef,
    /// Who made it, and who changed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requesters: Vec<String>,
    /// What waits.
    #[serde(flatten)]
    pub scope: Scope,
}

/// One topic that a role gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectivePrivilege {
    /// The role that it comes from, as `namespace/name`.
    pub role: String,
    /// The topic.
    pub topic: String,
    /// What may be done.
    pub access: Vec<Access>,
}
