//! Copying into another cluster: who may, by which engine, from which record on, and how it goes.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{ClusterRef, Limits, SecretRef};

/// Namespaces that may copy into a cluster: shares of theirs may name it as their destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationPolicy {
    /// The entry's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Which namespaces; an empty selector is all of them.
    pub namespace_selector: LabelSelector,
    /// Upper bounds of what is made for them here: of the copies' topics, and of partners' quotas.
    #[serde(default)]
    pub limits: Limits,
}

/// What carries copies into a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.mirrorMaker2), has(self.kafkaConnect), has(self.strimzi), has(self.clusterLink)].exists_one(is, is)").message("name one of mirrorMaker2, kafkaConnect, strimzi and clusterLink"),
    validation = Rule::new("has(self.mirrorMaker2) == has(oldSelf.mirrorMaker2) && has(self.strimzi) == has(oldSelf.strimzi) && has(self.clusterLink) == has(oldSelf.clusterLink)").message("what an engine is is immutable, for it knows how far copies are: offer another one"),
)]
pub struct ReplicationEngine {
    /// Its name, by which shares choose it.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// MirrorMaker 2 (KIP-382) on a Kafka Connect that Weir runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror_maker2: Option<MirrorMaker2>,
    /// MirrorMaker 2 on a Kafka Connect that is there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka_connect: Option<KafkaConnect>,
    /// MirrorMaker 2 as resources of Strimzi's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strimzi: Option<Strimzi>,
    /// Cluster links of Confluent's, where the destination is Confluent Server or Confluent Cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_link: Option<ClusterLink>,
}

/// MirrorMaker 2 on a Kafka Connect that Weir runs in its own namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MirrorMaker2 {
    /// The image of the workers: Apache Kafka with Connect and MirrorMaker 2. Tested with 4.3.1; nothing older than 4.0 is meant.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// When the image is pulled; by default as Kubernetes does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,
    /// What starts a worker; the path of its properties is added. By default `/opt/kafka/bin/connect-distributed.sh`.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// How many workers share the copies.
    #[schemars(range(min = 1, max = 32), extend("format" = "int32"))]
    #[serde(default = "one")]
    pub replicas: i32,
    /// What a worker asks for, and its bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "resources")]
    pub resources: Option<ResourceRequirements>,
    /// How copies are tuned.
    #[serde(flatten)]
    pub tuning: CopyTuning,
}

/// A Kafka Connect in distributed mode that somebody else runs, with MirrorMaker 2 among its plugins: Apache Kafka 3.7 or later
/// (KIP-875, KIP-980).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaConnect {
    /// Where its REST interface is: `https://HOST:PORT`, by a host's name.
    #[schemars(
        length(min = 1, max = 512),
        regex(pattern = r"^https://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("url is immutable, for the Kafka Connect there knows how far copies are: offer another engine"))]
    pub url: String,
    /// How Weir is known there: a Secret of the namespace that Weir runs in, with `tls.crt` and `tls.key`, or `username` and
    /// `password`, or all of them; and `ca.crt`, where the system does not trust its authority.
    pub secret_ref: SecretRef,
    /// Where its workers find the credentials of those who copy.
    pub credentials: ConnectCredentials,
    /// How copies are tuned.
    #[serde(flatten)]
    pub tuning: CopyTuning,
}

/// The Secret that Weir writes for the workers of a Kafka Connect, and where they have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.__namespace__ == oldSelf.__namespace__ && self.secretName == oldSelf.secretName").message("the Secret of an engine is immutable, for credentials are in it: offer another engine"))]
pub struct ConnectCredentials {
    /// The namespace of the workers. It enrols: it binds the ClusterRole `weir-credentials` to Weir.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,
    /// Name of the Secret, which Weir makes there, and which the workers mount: as `optional`, for it comes with the first share.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub secret_name: String,
    /// The directory at which they have it.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$"))]
    pub directory: String,
    /// The name of their configuration provider that reads it: one of the class `FileConfigProvider` (KIP-297).
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    #[serde(default = "file")]
    pub provider: String,
}

/// MirrorMaker 2 by the Strimzi operator: Weir makes one KafkaMirrorMaker2 (`kafka.strimzi.io/v1`) a share, and Strimzi runs it.
/// Strimzi 1.0 or later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Strimzi {
    /// The namespace of the resources, which Strimzi watches. It enrols: it binds the ClusterRole `weir-strimzi` to Weir.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("namespace is immutable, for what is there knows how far copies are: offer another engine"))]
    pub namespace: String,
    /// The version of Kafka Connect (`spec.version`); by default Strimzi's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[0-9]+\.[0-9]+\.[0-9]+$"))]
    pub version: Option<String>,
    /// The image of the workers (`spec.image`); by default Strimzi's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// How many workers each share has.
    #[schemars(range(min = 1, max = 32), extend("format" = "int32"))]
    #[serde(default = "one")]
    pub replicas: i32,
    /// What a worker asks for, and its bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "resources")]
    pub resources: Option<ResourceRequirements>,
    /// How copies are tuned.
    #[serde(flatten)]
    pub tuning: CopyTuning,
}

/// Confluent's Cluster Linking: the destination's own brokers fetch from the source, byte for byte, what is aborted of transactions
/// included. Weir makes one link a share, by version 3 of Confluent's REST API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterLink {
    /// Where the destination's REST interface is: `https://HOST:PORT`.
    #[schemars(
        length(min = 1, max = 512),
        regex(pattern = r"^https://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?$")
    )]
    pub url: String,
    /// What stands before `/v3` there: `/kafka` on Confluent Server and Confluent Cloud, nothing on a REST Proxy of its own.
    #[schemars(length(max = 256), regex(pattern = r"^(/[A-Za-z0-9._-]+)*$"))]
    #[serde(default = "kafka")]
    pub path: String,
    /// How Weir is known there: a Secret of the namespace that Weir runs in, with `tls.crt` and `tls.key`, or `username` and
    /// `password`, or all of them; and `ca.crt`, where the system does not trust its authority.
    pub secret_ref: SecretRef,
}

/// What may be tuned of copies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CopyTuning {
    /// The most tasks of one share (`tasks.max`); each copies some of its partitions.
    #[schemars(range(min = 1, max = 256), extend("format" = "int32"))]
    #[serde(default = "one")]
    pub tasks_max: i32,
    /// Properties of the consumers at the source.
    #[serde(default)]
    pub consumer: ConsumerTuning,
    /// Properties of the producers at the destination.
    #[serde(default)]
    pub producer: ProducerTuning,
}

/// What may be tuned of the consumers at the source: Kafka's consumer properties of these names, each with its dots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerTuning {
    /// Bytes that the broker waits for (`fetch.min.bytes`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("format" = "int32"))]
    pub fetch_min_bytes: Option<i32>,
    /// The most bytes of an answer (`fetch.max.bytes`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("format" = "int32"))]
    pub fetch_max_bytes: Option<i32>,
    /// The longest that the broker waits, in milliseconds (`fetch.max.wait.ms`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("format" = "int32"))]
    pub fetch_max_wait_ms: Option<i32>,
    /// The most bytes of one partition in an answer (`max.partition.fetch.bytes`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("format" = "int32"))]
    pub max_partition_fetch_bytes: Option<i32>,
    /// The most records at once (`max.poll.records`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("format" = "int32"))]
    pub max_poll_records: Option<i32>,
}

/// What may be tuned of the producers at the destination: Kafka's producer properties of these names, each with its dots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProducerTuning {
    /// The most bytes of a batch (`batch.size`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("format" = "int32"))]
    pub batch_size: Option<i32>,
    /// How long a batch is waited for, in milliseconds (`linger.ms`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("format" = "int64"))]
    pub linger_ms: Option<i64>,
    /// The most bytes that wait to be sent (`buffer.memory`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("format" = "int64"))]
    pub buffer_memory: Option<i64>,
    /// The most bytes of a request (`max.request.size`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("format" = "int32"))]
    pub max_request_size: Option<i32>,
    /// How batches are compressed (`compression.type`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(none|gzip|snappy|lz4|zstd)$"))]
    pub compression_type: Option<String>,
}

fn one() -> i32 {
    1
}

fn kafka() -> String {
    "/kafka".into()
}

fn file() -> String {
    "file".into()
}

/// The whole of Kubernetes' own type, whose schema is longer than all the rest here.
fn resources(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "properties": {
            "requests": {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": true}},
            "limits": {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": true}}
        }
    })
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Each time.
    Always,
    /// Where the node does not have it.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// Where a share copies to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// The StreamCluster, which offers itself to this namespace in `destinations`.
    pub cluster_ref: ClusterRef,
}

/// Which of the records that were there before are copied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("(self.from == 'Since') == has(self.since)").message("since goes with from: Since, and only with it"))]
pub struct History {
    /// From where on.
    #[serde(default)]
    pub from: HistoryStart,
    /// With `Since`: the records with this timestamp and later ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// From where on a stream is copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HistoryStart {
    /// What is written from the moment on at which copying of the stream begins.
    #[default]
    FromNow,
    /// From a time on.
    Since,
    /// Everything that the source still has.
    All,
}

/// What becomes of the copies when a share is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetTopicPolicy {
    /// The topics stay with their records; nobody has access to them by Weir.
    #[default]
    Retain,
    /// The topics are deleted with their records.
    Delete,
}

/// How copying goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationStatus {
    /// The StreamCluster that it copies to.
    pub destination: String,
    /// The engine.
    pub engine: String,
    /// Its connector there, or its cluster link.
    pub connector: String,
    /// The state of that in Kafka Connect's word: `RUNNING`, `STOPPED`, `FAILED`; absent where there is none. A link is `RUNNING` where all
    /// its mirror topics are active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Each topic of the source with its copy, as `source -> copy`. The first 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// Records at the source that are not copied yet; an upper bound: transactions' markers and what was aborted count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_records: Option<i64>,
    /// For how long records have been waiting, in seconds; 0 where none wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<i64>,
    /// Records a second, over the last minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records_per_second: Option<i64>,
    /// When a record was last seen to be copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_copied_at: Option<Time>,
    /// When the connector and what it had noted of its positions were seen to be gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Time>,
    /// When neither cluster knew the principals of the copy any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principals_removed_at: Option<Time>,
    /// When every broker of both had refused their logins, which it accepted shortly before; see `partners[].revocation`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logins_refused_at: Option<Time>,
    /// When the copies were deleted, or let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics_released_at: Option<Time>,
}
