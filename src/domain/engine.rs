//! What the workers of a replication engine are on the cluster that they copy to: an identity of their own, for what Kafka
//! Connect keeps there. What they copy, they read and write as the shares' own principals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;

use super::acl::{AclEntry, Operation, PatternType, ResourceType};
use super::binding::Resolution;
use super::index::Index;
use super::names::{EngineKey, guest_uid, worker_key, worker_prefix};
use super::share::copy::own_client;
use super::share::own_grants;
use crate::api::{ClusterLink, KafkaConnect, MirrorMaker2, ReplicationEngine, Rotation, StreamClient, Strimzi};

/// How often the workers' credential is renewed; they are replaced one by one for it.
const EVERY: Duration = Duration::from_secs(30 * 86_400);
/// How long the one before stays valid.
const OVERLAP: Duration = Duration::from_secs(86_400);

/// The workers of an engine, as the cluster that they copy to knows them.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// Of the cluster and the engine.
    pub uid: String,
    /// Their identity.
    pub client: Arc<StreamClient>,
    /// Their access.
    pub resolution: Arc<Resolution>,
}

/// The engine as its cluster offers it.
pub fn offered<'a>(index: &'a Index, engine: &EngineKey) -> Option<&'a ReplicationEngine> {
    index.cluster_spec(&engine.cluster)?.replication_engines.iter().find(|e| e.name == engine.name)
}

/// What an engine is.
#[derive(Clone, Debug, PartialEq)]
pub enum Carrier {
    /// MirrorMaker 2 on a Kafka Connect that Weir runs.
    Own(MirrorMaker2),
    /// MirrorMaker 2 on a Kafka Connect of somebody else's.
    Existing(KafkaConnect),
    /// MirrorMaker 2 as resources of Strimzi's.
    Strimzi(Strimzi),
    /// Cluster links of Confluent's.
    Links(ClusterLink),
}

/// What the engine is, as its cluster offers it.
pub fn carrier(index: &Index, engine: &EngineKey) -> Option<Carrier> {
    let ReplicationEngine { mirror_maker2, kafka_connect, strimzi, cluster_link, name: _ } = offered(index, engine)?;
    let own = mirror_maker2.clone().map(Carrier::Own);
    let any = own.or_else(|| kafka_connect.clone().map(Carrier::Existing));
    any.or_else(|| strimzi.clone().map(Carrier::Strimzi)).or_else(|| cluster_link.clone().map(Carrier::Links))
}

/// The UID of an engine, and of its workers where Weir runs them.
pub fn worker_uid(index: &Index, engine: &EngineKey) -> Option<String> {
    let cluster = index.cluster(&engine.cluster)?.uid()?;
    Some(guest_uid(&cluster, &format!("engine/{}", engine.name)))
}

/// The workers that Weir should run for `engine`; `is_wanted` says whether anything is, or may be, copied by it.
pub fn worker(index: &Index, engine: &EngineKey, is_wanted: bool) -> Option<Worker> {
    offered(index, engine)?.mirror_maker2.as_ref().filter(|_| is_wanted)?;
    let uid = worker_uid(index, engine)?;
    let key = worker_key(engine);
    let rotation = Rotation { every: EVERY.into(), overlap: OVERLAP.into() };
    let client = own_client(index, &key, uid.clone(), &engine.cluster, Some(rotation));
    let mut resolution = Resolution::default();
    resolution.clusters.insert(engine.cluster.clone());
    resolution.grants =
        own_grants(index, &client, &BTreeMap::new(), |principal| entries(principal, &worker_prefix(&uid)));
    Some(Worker { uid, client: Arc::new(client), resolution: Arc::new(resolution) })
}

/// What Kafka Connect needs of its own topics and its own group. It makes the topics, looks at how they are cleaned up, and never
/// deletes any.
fn entries(principal: &str, prefix: &str) -> BTreeSet<AclEntry> {
    use Operation::{Create, DescribeConfigs, Read, Write};
    let entry =
        |resource_type, operation| AclEntry::allow(principal, operation, resource_type, PatternType::Prefixed, prefix);
    let topics = [Create, DescribeConfigs, Read, Write].map(|operation| entry(ResourceType::Topic, operation));
    topics.into_iter().chain([entry(ResourceType::Group, Read)]).collect()
}
