//! SecurityEvent: who did what, when, to what, with which outcome.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
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
    printcolumn(name = "Who", type_ = "string", json_path = ".spec.actor.name"),
    printcolumn(name = "What", type_ = "string", json_path = ".spec.action"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.object.kind"),
    printcolumn(name = "Object", type_ = "string", json_path = ".spec.object.name"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".spec.outcome"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason"),
    printcolumn(name = "Count", type_ = "integer", json_path = ".spec.count"),
    printcolumn(name = "Age", type_ = "date", json_path = ".spec.time"),
    printcolumn(name = "Severity", type_ = "string", json_path = ".spec.severity", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".spec.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct SecurityEventSpec {
    /// Which happening it is: the same in each copy, and in the audit topic.
    #[serde(default)]
    pub uid: String,
    /// When it happened; of several, the last time.
    pub time: MicroTime,
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
    /// Where Weir has it from.
    #[serde(default)]
    pub source: EventSource,
    /// The Kafka cluster that it is about, as the StreamCluster's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The principals concerned, without `User:`; in a SecurityEvent the first twenty, on record all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
    /// How many principals there are, where not all are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_count: Option<i64>,
    /// The entries concerned, as Kafka has them: those that were given, or taken. In a SecurityEvent the first twenty, on record all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<String>,
    /// How many entries there are, where not all are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_count: Option<i64>,
    /// Who made the request that it is about, and who changed it, as the API server knows them, the first fifty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requested_by: Vec<String>,
    /// UID of the request, share or client that ties events together, from the first wish to the last refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// What a client asked a broker for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientRequest>,
    /// How often it happened within the window.
    #[serde(default = "once")]
    #[schemars(range(min = 1), extend("format" = "int64"))]
    pub count: i64,
    /// The closed window in which equal ones were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<EventWindow>,
    /// Namespaces that it concerns beside the object's own: they have it, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concerns: Vec<String>,
}

fn once() -> i64 {
    1
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// Their name: of a user as the API server knows it, of a principal without `User:`; `weir` for what Weir carried out itself.
    pub name: String,
    /// What kind of actor that is.
    #[serde(default, rename = "type")]
    pub type_: ActorType,
}

/// Kinds of actors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ActorType {
    /// Weir itself: who changed what it carried out is in `requestedBy`, and in the API server's audit log.
    #[default]
    Weir,
    /// Somebody with access to this Kubernetes.
    User,
    /// A partner, by the partner API.
    Partner,
    /// A client of Kafka.
    Principal,
}

/// Where Weir has an event from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventSource {
    /// Weir did or saw it itself.
    #[default]
    Weir,
    /// A log of Apache Kafka's brokers.
    BrokerLog,
    /// Confluent Server's audit log.
    ConfluentAuditLog,
    /// Weir's own endpoints, the intake and the partner API: whom they turned away.
    Endpoint,
    /// What consumer groups commit, who is in them, and where topics end: Weir asks the brokers.
    ConsumerGroups,
    /// The rates that brokers' quotas go by, as exporters of their metrics tell them.
    QuotaMetrics,
}

/// What a client asked a broker for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientRequest {
    /// Kafka's operation, as `Read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The kind of resource, as `Topic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// The resource's name, as far as it is fit to print.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
    /// The request of Kafka's protocol, as `Fetch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// The address that it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A closed window of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventWindow {
    /// When the first came.
    pub start: MicroTime,
    /// When the last came.
    pub end: MicroTime,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Weir is about to give principals of a cluster more than they have: on record before the cluster is asked.
    AccessWidening,
    /// A binding's access began or widened.
    AccessGranted,
    /// A binding's access narrowed and did not end.
    AccessNarrowed,
    /// A binding's access ended.
    AccessRevoked,
    /// A binding's time was over, and its access ended.
    AccessExpired,
    /// A binding, share, product, client, role or cluster was refused.
    RequestRefused,
    /// Somebody asked for access that waits for an approval.
    AccessRequested,
    /// A request was taken back before it was decided.
    RequestWithdrawn,
    /// Somebody approved what a binding, or a share, asks for.
    RequestApproved,
    /// Somebody denied it.
    RequestDenied,
    /// Somebody took it back.
    RequestRevoked,
    /// A partner was invited to a share.
    ShareInvited,
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
    /// Something keeps putting entries back that Weir removes: it stopped.
    DriftGivenUp,
    /// Removals were held for a person.
    RevocationsHeld,
    /// A person let held removals go on.
    RevocationsConfirmed,
    /// Access was left behind on a cluster that is gone.
    AccessOrphaned,
    /// A product is governed: its topics are there.
    ProductCreated,
    /// A product's effective classification changed.
    ProductReclassified,
    /// A product is gone.
    ProductDeleted,
    /// A broker refused what a client asked for.
    AccessDenied,
    /// A client failed to prove who it is.
    AuthenticationFailed,
    /// A principal was refused so often that somebody should look.
    DenialBurst,
    /// A credential that was retired is still being tried.
    RetiredCredentialUsed,
    /// Another instance of Weir leads.
    LeaderChanged,
    /// The audit topic's chain begins.
    AuditTrailBegun,
    /// The audit topic cannot be written.
    AuditTrailLost,
    /// It can be written again.
    AuditTrailRestored,
    /// The audit topic is not what Weir wrote.
    AuditTrailBroken,
    /// The AuditTrail was deleted.
    AuditTrailEnded,
    /// The head of the chain, signed.
    AuditCheckpoint,
    /// More happened than SecurityEvents are kept of.
    EventsSummarised,
    /// A binding's access was used, in an hour of the clock.
    AccessUsed,
    /// A binding's access was used from an address that it was not used from before.
    NewAddressSeen,
    /// Nobody uses a binding's access.
    GrantUnused,
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
