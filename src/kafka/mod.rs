//! Kafka, behind the ports of [`crate::ports`]: administration, the ledger and the access probe. Does I/O.
//!
//! Administration speaks Kafka's protocol itself, because no client offers ACLs, SCRAM credentials and quotas in
//! batches with a result for each item; records are produced and consumed by librdkafka.

mod admin;
mod api;
mod audit_log;
mod batch;
mod cluster;
mod codes;
mod connection;
mod dial;
mod follower;
mod frame;
mod journal;
mod ledger;
mod librdkafka;
mod probe;
mod sasl;
mod tls;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use kafka_protocol::messages::DescribeClusterRequest;

use self::admin::{acls, configs, groups, log_dirs, members, offsets, quotas, scram, tokens, topics};
pub use self::audit_log::{AuditLog, Stored};
use self::batch::reading;
use self::cluster::{Cluster, To};
pub use self::codes::{ERROR_NAMES, METADATA_VERSIONS, disposition, error_name};
use self::connection::lock;
pub use self::follower::{Begin, Follower};
pub use self::ledger::KafkaLedger;
pub use self::probe::KafkaProbe;
use crate::domain::acl::AclEntry;
use crate::ports::{
    AclFilter, Broker, ClusterDescription, ClusterFeatures, ConfigDelta, ConfigEntry, ConfigResource, GroupDescription,
    GroupListing, GroupOffsets, KafkaAdmin, KafkaEndpoint, KafkaError, NewTopic, OffsetSpec, PerItem, QuotaDelta,
    Quotas, ReplicaSize, ScramChange, ScramInfo, ScramMechanism, TopicDescription,
};

/// The code of a SCRAM mechanism on the wire (KIP-554).
pub const fn scram_code(mechanism: ScramMechanism) -> i8 {
    scram::code(mechanism)
}

/// An administrator's client of one cluster: at most one connection a broker, shared by all callers.
pub struct KafkaAdminClient {
    cluster: Cluster,
}

impl KafkaAdminClient {
    /// Connects to any broker of the cluster and logs in. Fails on addresses, certificates or a credential that do not
    /// hold; once connected, lost connections are made anew as calls need them.
    pub async fn connect(endpoint: &KafkaEndpoint, client_id: &str) -> Result<Self, KafkaError> {
        let cluster = Cluster::new(endpoint, client_id)?;
        cluster.connection(To::Any).await.map_err(|e| e.error)?;
        Ok(Self { cluster })
    }
}

fn broker_or_any(broker: Option<i32>) -> To {
    broker.map_or(To::Any, To::Broker)
}

#[async_trait]
impl KafkaAdmin for KafkaAdminClient {
    async fn describe_cluster(&self) -> Result<ClusterDescription, KafkaError> {
        reading(|| describe_cluster(&self.cluster)).await
    }

    async fn features(&self) -> Result<ClusterFeatures, KafkaError> {
        let connection = self.cluster.connection(To::Any).await.map_err(|e| e.error)?;
        let features = connection.versions().map(|v| v.finalized_features.as_slice()).unwrap_or_default();
        let level = features.iter().find(|f| f.name.as_str() == "metadata.version").map(|f| f.max_version_level);
        Ok(ClusterFeatures {
            metadata_version: level.map(codes::metadata_version),
            session_lifetime: connection.session_lifetime(),
            delegation_tokens: tokens::offered(&self.cluster).await?,
        })
    }

    async fn describe_topics(&self, names: Option<&[String]>) -> Result<Vec<TopicDescription>, KafkaError> {
        topics::describe(&self.cluster, names).await
    }

    async fn create_topics(&self, new: &[NewTopic], dry_run: bool) -> Result<PerItem<()>, KafkaError> {
        Ok(topics::create(&self.cluster, new, dry_run).await)
    }

    async fn delete_topics(&self, names: &[String]) -> Result<PerItem<()>, KafkaError> {
        Ok(topics::delete(&self.cluster, names).await)
    }

    async fn create_partitions(&self, totals: &[(String, i32)], dry_run: bool) -> Result<PerItem<()>, KafkaError> {
        Ok(topics::grow(&self.cluster, totals, dry_run).await)
    }

    async fn describe_configs(
        &self,
        resources: &[ConfigResource],
    ) -> Result<PerItem<BTreeMap<String, ConfigEntry>>, KafkaError> {
        Ok(configs::describe(&self.cluster, resources).await)
    }

    async fn alter_configs(&self, deltas: &[ConfigDelta], dry_run: bool) -> Result<PerItem<()>, KafkaError> {
        Ok(configs::alter(&self.cluster, deltas, dry_run).await)
    }

    async fn describe_acls(
        &self,
        broker: Option<i32>,
        filters: &[AclFilter],
    ) -> Result<BTreeSet<AclEntry>, KafkaError> {
        acls::describe(&self.cluster, broker_or_any(broker), filters).await
    }

    async fn create_acls(&self, entries: &[AclEntry]) -> Result<PerItem<()>, KafkaError> {
        Ok(acls::create(&self.cluster, entries).await)
    }

    async fn delete_acls(&self, filters: &[AclFilter]) -> Result<PerItem<Vec<AclEntry>>, KafkaError> {
        Ok(acls::delete(&self.cluster, filters).await)
    }

    async fn describe_scram(
        &self,
        broker: Option<i32>,
        users: Option<&[String]>,
    ) -> Result<BTreeMap<String, Vec<ScramInfo>>, KafkaError> {
        scram::describe(&self.cluster, broker_or_any(broker), users).await
    }

    async fn alter_scram(&self, changes: &[ScramChange]) -> Result<PerItem<()>, KafkaError> {
        Ok(scram::alter(&self.cluster, changes).await)
    }

    async fn describe_user_quotas(&self, broker: Option<i32>) -> Result<BTreeMap<String, Quotas>, KafkaError> {
        quotas::describe(&self.cluster, broker_or_any(broker)).await
    }

    async fn alter_user_quotas(&self, deltas: &[QuotaDelta]) -> Result<PerItem<()>, KafkaError> {
        Ok(quotas::alter(&self.cluster, deltas).await)
    }

    async fn list_groups(&self) -> Result<Vec<GroupListing>, KafkaError> {
        groups::list(&self.cluster).await
    }

    async fn group_offsets(&self, groups: &[String]) -> Result<PerItem<GroupOffsets>, KafkaError> {
        Ok(groups::offsets(&self.cluster, groups).await)
    }

    async fn describe_groups(&self, groups: &[GroupListing]) -> Result<PerItem<GroupDescription>, KafkaError> {
        Ok(members::describe(&self.cluster, groups).await)
    }

    async fn delete_groups(&self, groups: &[String]) -> Result<PerItem<()>, KafkaError> {
        Ok(groups::delete(&self.cluster, groups).await)
    }

    async fn list_offsets(&self, of: &[(String, i32, OffsetSpec)]) -> Result<PerItem<i64>, KafkaError> {
        Ok(offsets::list(&self.cluster, of).await)
    }

    async fn log_dirs(&self, broker: i32) -> Result<Vec<ReplicaSize>, KafkaError> {
        log_dirs::describe(&self.cluster, broker).await
    }

    fn requests_sent(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.cluster.dialer.counts).clone()
    }
}

/// The cluster as a broker describes it, fenced brokers included where it can name them (KIP-1073).
async fn describe_cluster(cluster: &Cluster) -> Result<ClusterDescription, KafkaError> {
    let connection = cluster.connection(To::Any).await.map_err(|e| e.error)?;
    let names_fenced = connection.version::<DescribeClusterRequest>()? >= 2;
    let request = DescribeClusterRequest::default().with_include_fenced_brokers(names_fenced);
    let response = connection.send(&request).await?;
    codes::check(response.error_code, response.error_message.as_deref())?;
    let broker = |b: &kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker| Broker {
        id: b.broker_id.0,
        host: b.host.to_string(),
        port: u16::try_from(b.port).unwrap_or_default(),
        fenced: b.is_fenced,
    };
    let mut brokers: Vec<Broker> = response.brokers.iter().map(broker).collect();
    brokers.sort_by_key(|b| b.id);
    Ok(ClusterDescription { id: response.cluster_id.to_string(), brokers })
}
