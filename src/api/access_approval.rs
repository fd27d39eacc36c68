//! AccessApproval: one decision about a request for access, by someone who may decide about what it asks for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::role_binding::Subject;
use super::stream_role::Access;

/// The ClusterRole verb that an approval takes on its target.
pub const APPROVE_VERB: &str = "approve";
/// On a RoleBinding: who made it and who changed its spec, as the API server authenticated them, one a line. Stamped at admission.
pub const REQUESTERS_ANNOTATION: &str = "weir.dev/requesters";

/// One decision about a request for access. It never changes; a decision is taken back by another one, or by deleting it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "AccessApproval",
    namespaced,
    derive = "PartialEq",
    shortname = "aa",
    category = "weir",
    doc = "One decision about a request for access. It never changes; a decision is taken back by another one, or by deleting it.",
    validation = Rule::new("self.spec == oldSelf.spec").message("an AccessApproval never changes: make another one"),
    printcolumn(name = "Decision", type_ = "string", json_path = ".spec.decision"),
    printcolumn(name = "From", type_ = "string", json_path = ".spec.requestRef.namespace"),
    printcolumn(name = "Request", type_ = "string", json_path = ".spec.requestRef.name"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.targetRef.name"),
    printcolumn(name = "Reviewer", type_ = "string", json_path = ".spec.reviewer"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.decision == 'Approved') == has(self.scope)").message("scope goes with decision Approved, and only with it"))]
pub struct AccessApprovalSpec {
    /// The request. One that was deleted and made anew is another one.
    pub request_ref: RequestRef,
    /// What the decision is about, in this namespace.
    pub target_ref: TargetRef,
    /// The decision. Denied and Revoked beat every Approved.
    pub decision: Decision,
    /// The most that is approved: what the request asks for beyond it waits for another approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Who decides: the name that the API server authenticated. Whoever made or changed the request is never its reviewer.
    #[schemars(length(min = 1, max = 253))]
    pub reviewer: String,
}

/// A request for access.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct RequestRef {
    /// What it is.
    pub kind: RequestKind,
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its UID.
    #[schemars(length(min = 1, max = 63))]
    pub uid: String,
}

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum RequestKind {
    /// A RoleBinding.
    RoleBinding,
}

/// What is asked for, in the approval's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct TargetRef {
    /// What it is.
    pub kind: TargetKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Kinds of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    /// A StreamRole.
    StreamRole,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Decision {
    /// The request may have what the scope says.
    Approved,
    /// It may not have anything of the target.
    Denied,
    /// It may not have anything of the target any more.
    Revoked,
}

/// The most that is approved. Granted is what the request resolves to at each moment, as far as it lies within.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Whom it is for, as the request names them.
    #[schemars(length(min = 1, max = 64), transform = without_rules)]
    pub subjects: Vec<Subject>,
    /// What it is for, as the request says; a request that says otherwise is not approved by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub purpose: Option<String>,
    /// Which streams.
    #[schemars(length(min = 1, max = 1024))]
    pub streams: Vec<ApprovedStream>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}

/// A stream of a product of the approval's namespace, and what may be done with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ApprovedStream {
    /// The DataProduct.
    #[schemars(length(min = 1, max = 253))]
    pub product: String,
    /// The stream's name.
    #[schemars(length(min = 1, max = 253))]
    pub stream: String,
    /// What may be done.
    #[schemars(length(min = 1, max = 3))]
    pub access: Vec<Access>,
}

/// The request's own definition holds its subjects to their rules; to ask again here would cost more than an API server allows.
fn without_rules(subjects: &mut Schema) {
    if let Some(subject) = subjects.get_mut("items").and_then(|i| i.as_object_mut()) {
        subject.remove("x-kubernetes-validations");
    }
}
