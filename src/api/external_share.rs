//! ExternalShare: products for other organisations, from when to when, for what.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access_approval::{ApprovedStream, Side};
use super::replication::{Destination, History, ReplicationStatus, TargetTopicPolicy};
use super::role_binding::EntriesStatus;
use super::shared::{Pattern, Quotas};
use super::stream_client::{CredentialStatus, CredentialType, Rotation};

/// Products of this namespace for other organisations.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "ExternalShare",
    namespaced,
    status = "ExternalShareStatus",
    derive = "PartialEq",
    shortname = "xs",
    category = "weir",
    doc = "Products of this namespace for other organisations.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63").message("metadata.name must be a DNS label (no dots): it is part of names that the partner sees"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Partners", type_ = "string", json_path = ".spec.partnerRefs[*].name"),
    printcolumn(name = "Pattern", type_ = "string", json_path = ".spec.pattern"),
    printcolumn(name = "Until", type_ = "string", json_path = ".spec.validity.notAfter"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.pattern == 'Copy') == has(self.destination)").message("destination goes with pattern Copy, and only with it").field_path(".destination"))]
#[x_kube(validation = Rule::new("(self.pattern == 'Copy') == has(self.engine)").message("engine goes with pattern Copy, and only with it").field_path(".engine"))]
#[x_kube(validation = Rule::new("self.pattern == 'Copy' || self.targetTopicPolicy == 'Retain'").message("targetTopicPolicy goes with pattern Copy: with Direct there are no other topics").field_path(".targetTopicPolicy"))]
#[x_kube(validation = Rule::new("self.pattern == 'Copy' || self.history.from == 'FromNow'").message("history goes with pattern Copy: with Direct, the partner reads what is there").field_path(".history"))]
#[x_kube(validation = Rule::new("!has(oldSelf.revoke) || has(self.revoke)").message("a revoked share stays revoked: make another one"))]
pub struct ExternalShareSpec {
    /// What is shared: products of this namespace, all on one cluster.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub products: Vec<SharedProduct>,
    /// With whom: each partner has its own principal, credentials and evidence.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub partner_refs: Vec<PartnerRef>,
    /// How.
    #[x_kube(validation = Rule::new("self == oldSelf").message("pattern is immutable: make another share"))]
    pub pattern: Pattern,
    /// Where a copy goes, with pattern Copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("destination is immutable: make another share"))]
    pub destination: Option<Destination>,
    /// What carries the copy: one of the destination's `replicationEngines`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("engine is immutable: make another share"))]
    pub engine: Option<String>,
    /// Which of the records that were there before are copied; by default none.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("history is immutable: make another share"))]
    pub history: History,
    /// What becomes of the copies when the share is over.
    #[serde(default)]
    pub target_topic_policy: TargetTopicPolicy,
    /// What for. Products that name purposes want one of theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub purpose: Option<String>,
    /// From when to when. It ends by itself.
    pub validity: Validity,
    /// Who has to approve, beside the partner, who has to accept. Nobody approves what they ask for themselves.
    #[schemars(length(max = 3))]
    #[serde(default = "owner_alone")]
    pub approvals: Vec<Side>,
    /// The most that each partner may use, within the tenancy's limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
    /// What partners authenticate with.
    #[serde(default)]
    pub credentials: ShareCredentials,
    /// Stops it for the time being; what was approved and issued stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// Ends it for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoke: Option<Revoke>,
}

/// A product, or some streams of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SharedProduct {
    /// The DataProduct of this namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Which streams; all of them where none is named, also those that come later, once they are approved.
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
}

/// A Partner by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PartnerRef {
    /// Name of the Partner.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// When a share holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.notBefore) || timestamp(self.notBefore) < timestamp(self.notAfter)").message("notAfter must lie after notBefore"))]
pub struct Validity {
    /// From then on; at once where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// Until then.
    pub not_after: Time,
}

/// What partners authenticate with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct ShareCredentials {
    /// Which kind.
    #[serde(rename = "type", default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("credentials.type is immutable: make another share"))]
    pub type_: CredentialType,
    /// When the next version is issued, beside when the partner asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

/// The end of a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revoke {
    /// Why, for people; the partner sees it.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
}

fn owner_alone() -> Vec<Side> {
    vec![Side::Owner]
}

/// What is so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalShareStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, OwnerApproved, ConsumerAccepted, PolicyCompliant, ...
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How far it is, in a word: that of the partner that is least far. For people; conditions say more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<SharePhase>,
    /// What is offered to every partner: what an approval of all of it would say. The first 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<ApprovedStream>,
    /// How copying goes, with pattern Copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<ReplicationStatus>,
    /// Each partner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub partners: Vec<SharedWith>,
}

/// How far a share is with one partner. The partner sees it, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedWith {
    /// The Partner.
    pub name: String,
    /// Its organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// How far it is.
    pub phase: SharePhase,
    /// Why, in a word.
    pub reason: String,
    /// Why, in a sentence, and who acts next.
    pub message: String,
    /// Its UID, which decisions name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Who has yet to agree to some of what is offered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub awaits: Vec<Side>,
    /// The principal of the current version, without `User:`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The prefix that its consumer groups must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_prefix: Option<String>,
    /// Where it connects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bootstrap_servers: Vec<String>,
    /// The topics that it may read now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// The entries that every broker was last seen to have for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<EntriesStatus>,
    /// Every version that the cluster still knows, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialStatus>,
    /// When the partner fetched the newest version of its credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetched_at: Option<String>,
    /// When its access ends by itself, as approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Time>,
    /// How much it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<ShareUsage>,
    /// How its end went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
}

/// How much a partner reads, by what its consumer groups commit, looked at twice a minute. How many bytes is not known: brokers say
/// that in their own metrics only. A consumer that never commits is not seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShareUsage {
    /// Since when it is counted: the beginning of an hour (UTC), or when this Weir first looked.
    pub since: Time,
    /// Records that all groups read since then; an upper bound: transactions' markers count, and a group that begins counts as if it
    /// had read from the first record on.
    pub records: i64,
    /// Records that they have yet to read, of partitions that they have begun.
    pub lag_records: i64,
    /// When any of them was last seen to have gone on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_read_at: Option<Time>,
    /// Each group. The first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupUsage>,
    /// The window before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<UsageWindow>,
}

/// How much a consumer group reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupUsage {
    /// `group.id`.
    pub name: String,
    /// Records that it read in the window.
    pub records: i64,
    /// Records that it has yet to read.
    pub lag_records: i64,
}

/// How much was read in a window that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageWindow {
    /// Its beginning.
    pub since: Time,
    /// Its end.
    pub until: Time,
    /// Records that all groups read.
    pub records: i64,
}

/// The end of a partner's access, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// When Weir saw that it has to end.
    pub begun_at: Time,
    /// When no broker that serves showed any of its entries any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_removed_at: Option<Time>,
    /// When every broker that serves had denied a fetch of each topic, tried by Weir as each of its principals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch_denied_at: Option<Time>,
    /// When no broker that serves knew any of its credentials any more; a certificate can log in until it ends, and do nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_removed_at: Option<Time>,
    /// When every broker that serves had refused logins that it accepted shortly before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_refused_at: Option<Time>,
    /// Until when a connection that was open may stay so, denied whatever it asks; absent where brokers set no bound (KIP-368).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_end_at: Option<Time>,
    /// What was proven.
    #[serde(default)]
    pub proven: Proven,
    /// The same in a sentence, with what was not proven, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// What was proven of an end, from least to most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Proven {
    /// No broker shows an entry; more could not be tried, or was not yet.
    #[default]
    AclOnly,
    /// Every broker denied what the principals had read.
    FetchDenied,
    /// Every broker refused their logins.
    LoginRefused,
}

/// How far a share is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SharePhase {
    /// Somebody on this side has to approve.
    PendingApproval,
    /// The partner has to accept.
    Invited,
    /// Nobody answered an invitation in time; make another.
    InvitationExpired,
    /// Accepted, and on its way, or before its time.
    Provisioning,
    /// The partner can read.
    Active,
    /// Stopped for the time being.
    Suspended,
    /// Being taken back.
    Revoking,
    /// Denied, or rejected by the partner.
    Rejected,
    /// Over, in time.
    Expired,
    /// Taken back, with evidence.
    Revoked,
}
