//! SecurityEvent: who did what, when, to what, with which outcome.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who did what, when, to what, with which outcome. Written by Weir only, never changed.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "SecurityEvent",
    namespaced,
    derive = "PartialEq",
    shortname = "se",
    category = "weir",
    doc = "Who did what, when, to what, with which outcome. Written by Weir only, never changed.",
    validation = Rule::new("self.spec == oldSelf.spec").message("a SecurityEvent never changes"),
    printcolumn(name = "Time", type_ = "date", json_path = ".spec.time"),
    printcolumn(name = "Actor", type_ = "string", json_path = ".spec.actor.name"),
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.action"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.object.kind"),
    printcolumn(name = "Object", type_ = "string", json_path = ".spec.object.name"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".spec.outcome"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason"),
    printcolumn(name = "Message", type_ = "string", json_path = ".spec.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct SecurityEventSpec {
    /// When it happened.
    pub time: Time,
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// To what.
    pub object: ObjectRef,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in a word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// How grave it is.
    pub severity: Severity,
    /// The Kafka cluster that it is about, as the StreamCluster's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The principals concerned, without `User:`, the first twenty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// Who decided, where somebody did; else `weir`: who changed what Weir carried out is in the API server's audit log.
    pub name: String,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// A binding's access began or widened.
    AccessGranted,
    /// A binding's access narrowed and did not end.
    AccessNarrowed,
    /// A binding's access ended.
    AccessRevoked,
    /// A binding, product or client was refused.
    RequestRefused,
    /// Somebody approved what a binding, or a share, asks for.
    RequestApproved,
    /// Somebody denied it.
    RequestDenied,
    /// Somebody took it back.
    RequestRevoked,
    /// A partner accepted what is shared with it.
    ShareAccepted,
    /// A partner did not accept it.
    ShareRejected,
    /// A partner took its acceptance back.
    ShareWithdrawn,
    /// A partner can read what is shared with it.
    ShareStarted,
    /// A share with a partner was stopped for the time being.
    ShareSuspended,
    /// It goes on.
    ShareResumed,
    /// A share with a partner is over, and no broker shows anything of it.
    ShareEnded,
    /// What a share copied with is gone: its connector with the positions, or what Weir had on record of its topics.
    CopyRemoved,
    /// A partner fetched its credential.
    CredentialFetched,
    /// A first credential was issued.
    CredentialIssued,
    /// A credential was replaced by the next version.
    CredentialRotated,
    /// A credential was removed.
    CredentialRevoked,
    /// Weir tried, as somebody whose access had ended, what that principal could do before.
    RevocationProbed,
    /// The cluster had what it should not, or lacked what it should have.
    DriftFound,
    /// Drift was mended.
    DriftRepaired,
    /// Removals were held for a person.
    RevocationsHeld,
    /// A person let held removals go on.
    RevocationsConfirmed,
    /// Access was left behind on a cluster that is gone.
    AccessOrphaned,
}

/// To what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: String,
    /// Its namespace; absent for a kind that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was not done.
    Failure,
    /// It waits.
    Pending,
}

/// How grave it is (OCSF 1.8.0 `severity_id` 1 to 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Severity {
    /// Nothing to do.
    Informational,
    /// Worth knowing.
    Low,
    /// Worth a look.
    Medium,
    /// Needs attention.
    High,
    /// Needs attention now.
    Critical,
}
