//! What the deciders need from the world, batch first. Adapters implement these traits; they never import each other.

mod connectors;
mod groups;
mod links;
mod rest;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

pub use self::connectors::{Connectors, Listed};
pub use self::groups::{GroupDescription, GroupMember};
pub use self::links::{ClusterLinks, FoundLink};
pub use self::rest::{RestEndpoint, RestError};
use crate::domain::acl::{AclEntry, ResourceType};
pub use crate::domain::evidence::ProbeOutcome;
use crate::domain::secret::Secret;

/// How to reach and enter one Kafka cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaEndpoint {
    /// `host:port` of the brokers to dial first; the others are learnt from them.
    pub bootstrap_servers: Vec<String>,
    /// Transport security; `None` is plaintext.
    pub tls: Option<KafkaTls>,
    /// How to authenticate on top of the transport; `None` with mTLS or on an open listener.
    pub sasl: Option<KafkaSasl>,
}

/// Transport security towards the brokers. Host names are always verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaTls {
    /// The certificate authorities that the brokers' certificates must chain to, in PEM; `None` trusts the system's.
    pub ca_pem: Option<String>,
    /// The client's certificate chain and private key, both in PEM, for mTLS.
    pub client: Option<(String, Secret)>,
}

/// A SASL mechanism with its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaSasl {
    /// RFC 4616.
    Plain { username: String, password: Secret },
    /// RFC 5802 with SHA-256 (RFC 7677).
    ScramSha256 { username: String, password: Secret },
    /// RFC 5802 with SHA-512.
    ScramSha512 { username: String, password: Secret },
    /// RFC 7628 with a token of the OAuth 2.0 client credentials grant (RFC 6749, section 4.4).
    OauthBearer(OauthClient),
}

/// An OAuth 2.0 client that fetches its own tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthClient {
    /// The token endpoint, an `https://` URL.
    pub token_url: String,
    /// Its certificate authorities in PEM; `None` trusts the same as the brokers'.
    pub ca_pem: Option<String>,
    /// `client_id`.
    pub client_id: String,
    /// `client_secret`.
    pub client_secret: Secret,
    /// `scope`, where the issuer wants one.
    pub scope: Option<String>,
}

/// Why a call to Kafka, or one item of it, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KafkaError {
    /// Kafka's error code; `None` where no answer came.
    pub code: Option<i16>,
    /// The broker's own words if it gave any, else Kafka's name of the code, else what happened to the connection.
    pub message: String,
    /// What to do about it.
    pub disposition: Disposition,
}

/// What a failure means for whoever tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Nothing happened; the same request may succeed later.
    Retry,
    /// The same request fails again.
    Permanent,
    /// It may or may not have taken effect: read before writing again.
    UnknownOutcome,
}

/// One result an item, in the order of the input.
pub type PerItem<T> = Vec<Result<T, KafkaError>>;

/// A broker as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `node.id`.
    pub id: i32,
    /// The advertised host of the listener that was dialled.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Registered but not serving (KIP-1073; needs DescribeCluster v2, else always `false`).
    pub fenced: bool,
}

/// The cluster as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Kafka's cluster id.
    pub id: String,
    /// Every registered broker, by id.
    pub brokers: Vec<Broker>,
}

impl ClusterDescription {
    /// Ids of the brokers that serve: one that is fenced catches up before it serves again.
    pub fn serving(&self) -> BTreeSet<i32> {
        self.brokers.iter().filter(|b| !b.fenced).map(|b| b.id).collect()
    }
}

/// What the dialled brokers said of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFeatures {
    /// The finalized `metadata.version` (KIP-584) as Kafka names it, e.g. `4.3-IV0`, where the cluster has one.
    pub metadata_version: Option<String>,
    /// The session lifetime that the broker granted at authentication (KIP-368); `None` where it grants an
    /// unlimited one, and without SASL.
    pub session_lifetime: Option<Duration>,
    /// Whether clients can get delegation tokens (KIP-48), with which others log in as they do; `None` where the broker does not
    /// say.
    pub delegation_tokens: Option<bool>,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas each; -1 is the broker's default.
    pub replicas: i16,
    /// Its configuration beyond the defaults.
    pub config: BTreeMap<String, String>,
}

/// A topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id (KIP-516), as 16 bytes.
    pub id: [u8; 16],
    /// How many partitions.
    pub partitions: i32,
    /// The smallest number of replicas of any partition.
    pub replicas: i16,
}

/// What a configuration belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic.
    Topic(String),
    /// A broker by id.
    Broker(i32),
}

/// One key of a resource's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The value in force; `None` where the broker hides it as sensitive.
    pub value: Option<String>,
    /// Set on this resource itself (source `DYNAMIC_TOPIC_CONFIG` for topics, a dynamic broker one for brokers).
    pub dynamic: bool,
}

/// A change of one resource's configuration (KIP-339): `Some` sets, `None` goes back to the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigDelta {
    /// Whose.
    pub resource: ConfigResource,
    /// Key to new value.
    pub changes: BTreeMap<String, Option<String>>,
}

/// Which entries [`KafkaAdmin::describe_acls`] reads and [`KafkaAdmin::delete_acls`] removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclFilter {
    /// Exactly this tuple.
    Exact(AclEntry),
    /// Every entry of one principal (as `User:name`), on any resource and pattern.
    Principal(String),
    /// Every entry whose resource is of this type.
    ResourceType(ResourceType),
    /// Every entry.
    All,
}

/// A SCRAM mechanism, with its code in KIP-554.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScramMechanism {
    /// SCRAM-SHA-256 (1).
    Sha256,
    /// SCRAM-SHA-512 (2).
    Sha512,
}

/// A credential that the broker holds: what it tells of it (KIP-554).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScramInfo {
    /// Which mechanism.
    pub mechanism: ScramMechanism,
    /// PBKDF2 iterations.
    pub iterations: i32,
}

/// A change of one user's SCRAM credential. At most one a user and request.
#[derive(Clone, Debug)]
pub enum ScramChange {
    /// Set it. The adapter makes the salt and derives the salted password; the password itself is never sent.
    Upsert { user: String, mechanism: ScramMechanism, iterations: i32, password: Secret },
    /// Remove it.
    Delete { user: String, mechanism: ScramMechanism },
}

/// Client quotas of one user principal by Kafka's key (`producer_byte_rate`, ...; KIP-13, KIP-124, KIP-546).
pub type Quotas = BTreeMap<String, f64>;

/// A change of one user's quotas: `Some` sets, `None` removes.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaDelta {
    /// The principal's name without `User:`.
    pub user: String,
    /// Key to new value.
    pub changes: BTreeMap<String, Option<f64>>,
}

/// A consumer group as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// `group.id`, or the beginning of one that is longer than anybody reads.
    pub id: String,
    /// Whether that is only the beginning.
    pub is_cut: bool,
    /// Its state in Kafka's word, e.g. `Stable` or `Empty`.
    pub state: String,
    /// `consumer`, `classic`, `share`, ... in Kafka's word.
    pub group_type: String,
}

/// Committed offsets of one group by topic and partition.
pub type GroupOffsets = BTreeMap<(String, i32), i64>;

/// Where in a partition an offset is asked for (KIP-79, KIP-734).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first one.
    Earliest,
    /// One past the last (the high watermark).
    Latest,
    /// The first at or after this time, in milliseconds since the epoch; -1 is answered where there is none.
    Timestamp(i64),
}

/// How much of a partition replica lies on a broker's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSize {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Bytes.
    pub bytes: i64,
}

/// Administration of one Kafka cluster. Every call is one batch, cut into as few requests as the broker's limits
/// allow; a failure of the whole call is the outer error, of an item the inner one.
#[async_trait]
pub trait KafkaAdmin: Send + Sync {
    /// The cluster id and every registered broker.
    async fn describe_cluster(&self) -> Result<ClusterDescription, KafkaError>;
    /// What the brokers said when the connection was made.
    async fn features(&self) -> Result<ClusterFeatures, KafkaError>;

    /// Every topic, or those named (a name that does not exist is absent from the answer).
    async fn describe_topics(&self, names: Option<&[String]>) -> Result<Vec<TopicDescription>, KafkaError>;
    /// Creates topics; with `dry_run` the broker only validates.
    async fn create_topics(&self, topics: &[NewTopic], dry_run: bool) -> Result<PerItem<()>, KafkaError>;
    /// Deletes topics by name.
    async fn delete_topics(&self, names: &[String]) -> Result<PerItem<()>, KafkaError>;
    /// Grows topics to a total number of partitions.
    async fn create_partitions(&self, totals: &[(String, i32)], dry_run: bool) -> Result<PerItem<()>, KafkaError>;
    /// Configurations by key.
    async fn describe_configs(
        &self,
        resources: &[ConfigResource],
    ) -> Result<PerItem<BTreeMap<String, ConfigEntry>>, KafkaError>;
    /// Changes configurations; with `dry_run` the broker only validates.
    async fn alter_configs(&self, deltas: &[ConfigDelta], dry_run: bool) -> Result<PerItem<()>, KafkaError>;

    /// The entries that match any of `filters`, as `broker` sees them, or as any one broker does.
    async fn describe_acls(&self, broker: Option<i32>, filters: &[AclFilter])
    -> Result<BTreeSet<AclEntry>, KafkaError>;
    /// Creates entries; one that exists already is a success.
    async fn create_acls(&self, entries: &[AclEntry]) -> Result<PerItem<()>, KafkaError>;
    /// Removes what the filters match, and says what that was.
    async fn delete_acls(&self, filters: &[AclFilter]) -> Result<PerItem<Vec<AclEntry>>, KafkaError>;

    /// SCRAM credentials of the users named, or of all, as `broker` sees them, or as any one broker does.
    async fn describe_scram(
        &self,
        broker: Option<i32>,
        users: Option<&[String]>,
    ) -> Result<BTreeMap<String, Vec<ScramInfo>>, KafkaError>;
    /// Changes SCRAM credentials; deleting one that is not there is a success.
    async fn alter_scram(&self, changes: &[ScramChange]) -> Result<PerItem<()>, KafkaError>;

    /// Quotas of every entity that is exactly one named user (no client id, no default), as `broker` sees them.
    async fn describe_user_quotas(&self, broker: Option<i32>) -> Result<BTreeMap<String, Quotas>, KafkaError>;
    /// Changes quotas of users.
    async fn alter_user_quotas(&self, deltas: &[QuotaDelta]) -> Result<PerItem<()>, KafkaError>;

    /// Groups of every kind on every broker.
    async fn list_groups(&self) -> Result<Vec<GroupListing>, KafkaError>;
    /// Committed offsets.
    async fn group_offsets(&self, groups: &[String]) -> Result<PerItem<GroupOffsets>, KafkaError>;
    /// Who is in each of these groups, which [`Self::list_groups`] told of: classic ones and those of KIP-848. One of another type is an
    /// error.
    async fn describe_groups(&self, groups: &[GroupListing]) -> Result<PerItem<GroupDescription>, KafkaError>;
    /// Deletes groups with their offsets.
    async fn delete_groups(&self, groups: &[String]) -> Result<PerItem<()>, KafkaError>;
    /// Offsets of partitions.
    async fn list_offsets(&self, of: &[(String, i32, OffsetSpec)]) -> Result<PerItem<i64>, KafkaError>;
    /// Bytes on one broker's disks by replica.
    async fn log_dirs(&self, broker: i32) -> Result<Vec<ReplicaSize>, KafkaError>;

    /// Requests sent so far, by API name (`CreateAcls`, ...), for metrics and benchmarks.
    fn requests_sent(&self) -> BTreeMap<&'static str, u64>;
}

/// What brokers let a principal do: a canary that must be denied, and evidence that a revocation holds.
#[async_trait]
pub trait AccessProbe: Send + Sync {
    /// Tries, with the credential of `endpoint`, to fetch from partition 0 of each of `topics` on each of `brokers`, or on every
    /// broker that serves, and says what each made of it; no record is read. The topics need not exist: brokers
    /// authorize by name first (error 29 against 3). Where entries for a topic exist, a cluster that is open by
    /// default denies all the same, so a canary asks for a name that nothing is about.
    async fn probe_fetch(
        &self,
        endpoint: &KafkaEndpoint,
        topics: &[String],
        brokers: Option<&[i32]>,
    ) -> Result<BTreeMap<i32, ProbeOutcome>, KafkaError>;

    /// Where each broker that serves is, as `host:port`, on the listener that `endpoint` enters by. Without a login brokers cannot be
    /// learnt: who wants to see each of them refuse one has to know before.
    async fn addresses(&self, endpoint: &KafkaEndpoint) -> Result<BTreeMap<i32, String>, KafkaError>;
}

/// A durable map on the governed cluster: a compacted topic that only one writer at a time may extend.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Reads the newest value of every key, as far as it is committed. Changes nothing on the cluster: no writer is fenced, and a
    /// topic that is missing has no keys.
    async fn read(&self) -> Result<BTreeMap<String, String>, TopicError>;
    /// Fences every earlier writer (KIP-98: the transactional id is fixed), creates the topic where it is missing, and
    /// reads the newest value of every key.
    async fn open(&self) -> Result<BTreeMap<String, String>, TopicError>;
    /// Writes all of `changes` in one transaction, or none; `None` removes the key. Returns once the brokers have it.
    async fn commit(&self, changes: &[(String, Option<String>)]) -> Result<(), TopicError>;
}

/// Why a topic that one process at a time extends could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Another writer has taken over: this process must stop writing to the cluster.
    #[error("another writer has taken over")]
    Fenced,
    /// Anything else; nothing was written, or it is unknown: open it again before going on.
    #[error("{0}")]
    Unavailable(String),
}

impl fmt::Display for ScramMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        })
    }
}
