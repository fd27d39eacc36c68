//! StreamCluster: a Kafka cluster that Weir governs. All that a tenant must not choose stands here.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::replication::{DestinationPolicy, ReplicationEngine};
use super::shared::{Limits, SecretRef};

/// A Kafka cluster that Weir governs.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "StreamCluster",
    status = "StreamClusterStatus",
    derive = "PartialEq",
    shortname = "scl",
    category = "weir",
    doc = "A Kafka cluster that Weir governs. All that a tenant must not choose stands here.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Brokers", type_ = "integer", json_path = ".status.brokers"),
    printcolumn(name = "Kafka", type_ = "string", json_path = ".status.kafkaVersion"),
    printcolumn(name = "Principals", type_ = "integer", json_path = ".status.principals"),
    printcolumn(name = "Cluster-ID", type_ = "string", json_path = ".status.clusterId", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.adminCredentials.type != 'Mtls' || has(self.tls)").message("adminCredentials of type Mtls need tls").field_path(".adminCredentials.type"))]
#[x_kube(validation = Rule::new("!self.adminCredentials.type.startsWith('Scram') || has(self.tls)").message("adminCredentials of a Scram type need tls: Weir sends salted passwords, which are as good as passwords").field_path(".adminCredentials.type"))]
pub struct StreamClusterSpec {
    /// `host:port` of the brokers that Weir dials first.
    #[schemars(length(min = 1, max = 32))]
    pub bootstrap_servers: Vec<String>,
    /// Transport security towards the brokers; without it, connections are plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How Weir itself enters: a principal that may alter and describe the cluster, its topics and ACLs.
    pub admin_credentials: AdminCredentials,
    /// What clients are told to dial.
    #[schemars(length(max = 16))]
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub listeners: Vec<Listener>,
    /// Who clients may be on this cluster.
    #[serde(default)]
    pub identity: Identity,
    /// Which namespaces may use this cluster, and how. A namespace that no entry selects gets nothing.
    #[schemars(length(max = 256))]
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub tenancy: Vec<Tenancy>,
    /// Which namespaces may copy into this cluster by ExternalShares; none by default. Copies lie under
    /// `<namespace>.<share>.`.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub destinations: Vec<DestinationPolicy>,
    /// What carries copies into this cluster; without one there are none.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub replication_engines: Vec<ReplicationEngine>,
    /// Where logs of this cluster's brokers come from. Of them, refusals of clients become SecurityEvents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_logs: Option<BrokerLogs>,
    /// Who tells how much principals fetch and produce. It says of access that it is used where groups do not: who reads without one,
    /// or writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_metrics: Option<QuotaMetrics>,
    /// What to do about entries on governed topics that no resource asks for.
    #[serde(default)]
    pub drift: Drift,
    /// Principals, as `User:name`, whose entries are never reported and never repaired.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt_principals: Vec<String>,
    /// A change that takes access from more principals than this, although nobody deleted them or their bindings, waits
    /// for a person.
    #[schemars(range(min = 0, max = 100_000), extend("format" = "int32"))]
    #[serde(default = "default_max_revocations")]
    pub max_revocations: u32,
    /// How often the whole cluster is compared with what it should have, e.g. `10m`.
    #[schemars(with = "String", regex(pattern = r"^([0-9]{1,5}(h|m|s))+$"))]
    #[serde(default = "default_resync_interval")]
    pub resync_interval: Duration,
    /// How long the access of a RoleBinding goes without any use that is seen before a SecurityEvent says so, e.g. `720h`.
    #[schemars(with = "String", regex(pattern = r"^([0-9]{1,7}(h|m|s))+$"))]
    #[serde(default = "default_unused_after")]
    pub unused_after: Duration,
}

fn default_max_revocations() -> u32 {
    20
}

fn default_resync_interval() -> Duration {
    Duration::from(std::time::Duration::from_secs(600))
}

/// Thirty days.
fn default_unused_after() -> Duration {
    Duration::from(std::time::Duration::from_secs(720 * 3600))
}

/// Logs of brokers, which somebody posts, or writes into topics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.tokenSecretRef) || (has(self.topics) && size(self.topics) > 0)").message("brokerLogs names a tokenSecretRef, or topics"))]
pub struct BrokerLogs {
    /// Secret in the operator's namespace: the value of each of its keys is a bearer token with which logs may be posted to the
    /// intake, so that one can be replaced by the next. Whoever has one can tell of refusals on this cluster, and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretRef>,
    /// Topics of this cluster that logs are written into, as `confluent-audit-log-events`. Whoever may write there can tell of
    /// refusals on this cluster.
    #[schemars(length(max = 8), inner(length(min = 1, max = 249)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
}

/// Exporters of brokers' metrics, which tell the rates that quotas go by: `kafka_server_fetch_byte_rate` and
/// `kafka_server_produce_byte_rate` with a label `user`, in the text format of Prometheus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaMetrics {
    /// Of every broker, each once, e.g. `http://my-kafka-brokers.kafka.svc:9404/metrics`, by the name of a headless Service: each address that
    /// a host's name has is asked. `https` trusts whom `tls` trusts.
    #[schemars(length(min = 1, max = 256), inner(length(max = 2048), regex(pattern = r"^https?://[^@]+$")))]
    pub endpoints: Vec<String>,
}

/// Transport security towards the brokers. Host names are always verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Secret with the brokers' certificate authorities in key `ca.crt`; without it the system's are trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretRef>,
}

/// How Weir itself enters the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.type == 'OauthBearer') == has(self.oauth)").message("oauth goes with type OauthBearer, and only with it"))]
pub struct AdminCredentials {
    /// Which kind.
    #[serde(rename = "type")]
    pub type_: AdminCredentialType,
    /// Secret in the operator's namespace. Keys: `username` and `password` (Scram, Plain), `tls.crt` and `tls.key`
    /// (Mtls), `client-id` and `client-secret` (OauthBearer).
    pub secret_ref: SecretRef,
    /// Where tokens come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OauthAdmin>,
}

/// Kinds of admin credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdminCredentialType {
    /// SASL SCRAM-SHA-512 (RFC 5802).
    ScramSha512,
    /// SASL SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SASL PLAIN (RFC 4616).
    Plain,
    /// A client certificate.
    Mtls,
    /// SASL OAUTHBEARER (RFC 7628) with the client credentials grant (RFC 6749, section 4.4).
    OauthBearer,
}

/// Where Weir's own tokens come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OauthAdmin {
    /// The issuer's token endpoint.
    #[schemars(regex(pattern = r"^https://"))]
    pub token_url: String,
    /// Scope to ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// A listener as clients are told to dial it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.brokerPods) || self.audience == 'External'").message("brokerPods goes with audience External, and only with it"))]
pub struct Listener {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// `host:port` pairs.
    #[schemars(length(min = 1, max = 32))]
    pub bootstrap_servers: Vec<String>,
    /// How clients authenticate there.
    pub authentication: ListenerAuthentication,
    /// Who reaches it.
    #[serde(default)]
    pub audience: Audience,
    /// Where its brokers run in this Kubernetes. Weir then keeps a NetworkPolicy there, which opens the listener's port to the networks
    /// of the partners that read by it, and to nobody where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_pods: Option<BrokerPods>,
}

/// The pods of brokers, and their port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerPods {
    /// Their namespace. It enrols: it binds the ClusterRole `weir-network` to Weir.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,
    /// Which pods there; an empty selector is all of them.
    pub selector: LabelSelector,
    /// The listener's port on the pods.
    #[schemars(range(min = 1, max = 65535), extend("format" = "int32"))]
    pub port: i32,
}

/// Who reaches a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Audience {
    /// Applications of this organisation.
    #[default]
    Internal,
    /// Partners, too: what they are told to dial.
    External,
}

/// How clients authenticate on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ListenerAuthentication {
    /// SASL SCRAM-SHA-512: StreamClients of that type.
    ScramSha512,
    /// SASL OAUTHBEARER with the pod's projected token: ServiceAccounts.
    OauthBearer,
    /// A client certificate: StreamClients of type Mtls.
    Mtls,
}

/// Who clients may be. Principals are flat across listeners: what one authenticator can name, another must not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// PBKDF2 iterations of SCRAM credentials that Weir issues.
    #[schemars(range(min = 4096, max = 16384))]
    #[serde(default = "default_scram_iterations")]
    pub scram_iterations: i32,
    /// ServiceAccounts as clients; without it none can be bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OauthIdentity>,
    /// Certificates for StreamClients; without it none are issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<MtlsIdentity>,
    /// Super users of the cluster, as the name without `User:`; nobody may bind them.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub super_users: Vec<String>,
    /// Which externally authenticated principals a namespace may name as `User`; none by default.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_claims: Vec<UserClaim>,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            scram_iterations: default_scram_iterations(),
            oauth: None,
            mtls: None,
            super_users: Vec::new(),
            user_claims: Vec::new(),
        }
    }
}

fn default_scram_iterations() -> i32 {
    4096
}

/// How the brokers validate ServiceAccount tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OauthIdentity {
    /// The audience that the brokers expect (`sasl.oauthbearer.expected.audience`), which pods ask for in their
    /// projected token. The brokers must take the principal from the claim `sub`.
    #[schemars(length(min = 1))]
    pub audience: String,
}

/// The certificate authority that signs client certificates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MtlsIdentity {
    /// Secret in the operator's namespace with `tls.crt` and `tls.key` of an authority that the brokers trust for
    /// clients. The brokers must use the whole distinguished name as the principal (their default).
    pub signer_secret_ref: SecretRef,
}

/// Principals that namespaces may name as `User`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserClaim {
    /// Which namespaces.
    pub namespace_selector: LabelSelector,
    /// The principal's name without `User:`; a trailing `*` stands for any ending, `{namespace}` for the namespace.
    #[schemars(length(min = 1, max = 253))]
    pub pattern: String,
}

/// What namespaces may do on this cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tenancy {
    /// The entry's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Which namespaces; an empty selector is all of them.
    pub namespace_selector: LabelSelector,
    /// The prefixes that topics, groups and transactional ids of such a namespace have. Each ends in `.` and
    /// `{namespace}` stands for the namespace's name. Those of different namespaces must not overlap.
    #[schemars(length(min = 1, max = 16), inner(regex(pattern = r"^[a-zA-Z0-9._{}-]*\.$")))]
    pub topic_prefixes: Vec<String>,
    /// Upper bounds.
    #[serde(default)]
    pub limits: Limits,
    /// Whether products may take over topics that exist already.
    #[serde(default)]
    pub allow_adopt: bool,
}

/// What to do about entries on governed topics that no resource asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Drift {
    /// Say so in status and as a SecurityEvent.
    #[default]
    Report,
    /// Also remove those that allow, on a literal topic name. Never a denial, a prefixed or a wildcard entry.
    Repair,
}

/// What is so on the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamClusterStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Drifted, RevocationsHeld, ...
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Kafka's cluster id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Brokers that serve; fenced ones do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brokers: Option<i32>,
    /// The finalized `metadata.version` (KIP-584) as Kafka names it, e.g. `4.3-IV0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka_version: Option<String>,
    /// Whether clients can get delegation tokens (KIP-48), with which others log in as they do; absent where the brokers do not
    /// say. Such a token has its owner's entries and no more, so it is worth nothing while that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegation_tokens: Option<bool>,
    /// The longest that a session outlives its credential on the listener that Weir dials, in seconds
    /// (`connections.max.reauth.ms`); absent where the brokers set no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_lifetime_seconds: Option<i64>,
    /// Principals that have access through Weir.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principals: Option<i64>,
    /// Access control entries that Weir keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<i64>,
    /// Entries on governed topics that no resource asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign_entries: Option<i64>,
    /// The first twenty of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_sample: Vec<String>,
    /// When the whole cluster was last compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_resync: Option<Time>,
    /// Removals that wait for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_revocations: Option<HeldRevocations>,
}

/// Removals that wait for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldRevocations {
    /// How many principals would lose access.
    pub principals: i64,
    /// The first twenty of them.
    pub sample: Vec<String>,
    /// The value of the annotation `weir.dev/confirm` that lets exactly these go on.
    pub confirm: String,
}
