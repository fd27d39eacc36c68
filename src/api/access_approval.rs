//! AccessApproval: one decision about a request for access, by someone who may decide about what it asks for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::invitation::UidRef;
use super::role_binding::Subject;
use super::shared::{Access, Pattern};

/// Before the name of a Partner: the reviewer of what it decides.
pub const PARTNER_REVIEWER: &str = "partner:";
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
#[x_kube(validation = Rule::new("self.requestRef.kind == 'RoleBinding' ? self.targetRef.kind == 'StreamRole' : self.targetRef.kind == 'ExternalShare' && self.targetRef.name == self.requestRef.name").message("a RoleBinding is decided about for a StreamRole, an ExternalShare for itself"))]
#[x_kube(validation = Rule::new("(self.requestRef.kind == 'ExternalShare') == has(self.partnerRef)").message("partnerRef goes with an ExternalShare, and only with one"))]
#[x_kube(validation = Rule::new("!has(self.scope) || (self.requestRef.kind == 'RoleBinding' ? has(self.scope.subjects) && size(self.scope.subjects) > 0 && !has(self.scope.pattern) : has(self.scope.pattern) && !has(self.scope.subjects))").message("the scope of a RoleBinding names subjects, that of an ExternalShare its pattern"))]
#[x_kube(validation = Rule::new("(self.side == 'Consumer' && self.decision == 'Approved') == has(self.acceptance)").message("acceptance goes with side Consumer and decision Approved, and only with them"))]
#[x_kube(validation = Rule::new("(self.side == 'Owner') || self.requestRef.kind == 'ExternalShare'").message("of a RoleBinding only side Owner decides"))]
#[x_kube(validation = Rule::new("(self.side == 'Consumer') == self.reviewer.startsWith('partner:')").message("partners decide for side Consumer, and nobody else does"))]
#[x_kube(validation = Rule::new("(self.decision == 'Approved') == has(self.scope)").message("scope goes with decision Approved, and only with it"))]
pub struct AccessApprovalSpec {
    /// The request. One that was deleted and made anew is another one.
    pub request_ref: RequestRef,
    /// What the decision is about, in this namespace.
    pub target_ref: TargetRef,
    /// Of a share: which of its partners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partner_ref: Option<UidRef>,
    /// Whose decision it is.
    #[serde(default)]
    pub side: Side,
    /// The decision. Denied and Revoked beat every Approved.
    pub decision: Decision,
    /// The most that is approved: what the request asks for beyond it waits for another approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// How the partner that accepts a share is known from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<Acceptance>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Who decides: the name that the API server authenticated, or `partner:` and the name of a Partner. Whoever made or changed
    /// the request is never its reviewer.
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
    /// An ExternalShare, with one of its partners.
    ExternalShare,
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
    /// The ExternalShare that is the request.
    ExternalShare,
}

/// Whose decision it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Side {
    /// Somebody who has the verb `approve` on the target.
    #[default]
    Owner,
    /// Somebody who has the verb `approve-security` on it.
    Security,
    /// The partner, by Weir's partner API alone.
    Consumer,
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.pattern) && self.pattern == 'Copy') == has(self.destination)").message("destination goes with pattern Copy, and only with it"))]
pub struct Scope {
    /// Whom it is for, as the request names them; none for a share.
    #[schemars(length(max = 64), transform = without_rules)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<Subject>,
    /// Of a share: how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
    /// Of a share with pattern Copy: the StreamCluster that it copies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub destination: Option<String>,
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

/// How a partner that accepted a share is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Acceptance {
    /// UID of the Invitation that was answered.
    #[schemars(length(min = 1, max = 63))]
    pub invitation: String,
    /// SHA-256 of the public key (DER, SubjectPublicKeyInfo) of the certificate that its calls are made with, in hexadecimal.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub public_key_hash: String,
    /// The age recipient (`age1...`, X25519) that its credentials are encrypted for.
    #[schemars(length(max = 128), regex(pattern = r"^age1[02-9ac-hj-np-z]+$"))]
    pub recipient: String,
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
