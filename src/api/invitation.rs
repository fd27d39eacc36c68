//! Invitation: lets a partner look at a share and answer, once.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lets a partner look at a share and accept or reject it, once. Whoever holds its secret, which only `kubectl weir invite` ever
/// prints, is the partner. The newest one of a partner counts.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "Invitation",
    namespaced,
    derive = "PartialEq",
    shortname = "inv",
    category = "weir",
    doc = "Lets a partner look at a share and accept or reject it, once. Whoever holds its secret, which only `kubectl weir invite` ever prints, is the partner. The newest one of a partner counts.",
    validation = Rule::new("self.spec == oldSelf.spec").message("an Invitation never changes: make another one"),
    printcolumn(name = "Share", type_ = "string", json_path = ".spec.shareRef.name"),
    printcolumn(name = "Partner", type_ = "string", json_path = ".spec.partnerRef.name"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt"),
    printcolumn(name = "By", type_ = "string", json_path = ".spec.inviter"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct InvitationSpec {
    /// The ExternalShare of this namespace.
    pub share_ref: UidRef,
    /// The Partner.
    pub partner_ref: UidRef,
    /// SHA-256 of the secret, in hexadecimal.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub secret_hash: String,
    /// Until when it can be answered.
    pub expires_at: Time,
    /// Who invites: the name that the API server authenticated.
    #[schemars(length(min = 1, max = 253))]
    pub inviter: String,
}

/// One object, and not the next of its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct UidRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its UID.
    #[schemars(length(min = 1, max = 63))]
    pub uid: String,
}
