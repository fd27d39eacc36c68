//! What a share with pattern Copy has beside its guests: who reads at the source and who writes at the destination, each with an
//! identity like a guest's, and the topics that the copies are, as a product like those that people make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::core::ObjectMeta;

use super::offer::{Offer, Shared};
use super::{Guests, identity, own_grants};
use crate::api::{
    Access, Classification, ClusterRef, CredentialType, DataProduct, DataProductSpec, DeletionPolicy, ExternalShare,
    History, ListenerAuthentication, Reason, ReplicationEngine, Rotation, Stream, StreamClient, TargetTopicPolicy,
};
use crate::domain::acl::{AclEntry, Operation, PatternType, ResourceType};
use crate::domain::binding::{ANYWHERE, ClusterAccess, Resolution, bounded, entries, quota_map};
use crate::domain::connection::listener;
use crate::domain::index::Index;
use crate::domain::names::{
    EngineKey, KEPT, MIRROR, ObjectKey, SOURCE, TARGET, guest_key, guest_uid, kept_name, kept_topic, link_prefix,
    mirror_prefix, share_of_guest,
};
use crate::domain::problem::Problem;
use crate::domain::product::Maker;
use crate::domain::topics::ACKNOWLEDGE_RETENTION;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// The cluster of the products; empty where none of them exists.
    pub source_cluster: String,
    /// The destination.
    pub cluster: String,
    /// What carries it; `None` where the destination does not offer it.
    pub engine: Option<EngineKey>,
    /// Who reads.
    pub source: Copier,
    /// Who writes.
    pub target: Copier,
    /// The product that the copies are.
    pub mirror: Arc<DataProduct>,
    /// The product of what the engine keeps at the destination for this share alone, where it does.
    pub kept: Option<Arc<DataProduct>>,
    /// Topics that flow now, each to its copy.
    pub flows: BTreeMap<String, String>,
    /// Which records of before are copied.
    pub history: History,
    /// The destination's brokers fetch by themselves: nobody writes there as a principal of the share's.
    pub is_linked: bool,
    /// The share is over: nothing of the copy stays but what the policy on its topics says.
    pub is_over: bool,
}

/// One end of a copy.
#[derive(Clone, Debug, PartialEq)]
pub struct Copier {
    /// Its UID, of the share and of the end.
    pub uid: String,
    /// Its identity, from when the first partner is agreed with until the share is over.
    pub client: Option<Arc<StreamClient>>,
    /// Its access.
    pub resolution: Arc<Resolution>,
}

impl Copy {
    /// Its ends, by the keys under which the index has them.
    pub fn copiers(&self, share: &ObjectKey) -> [(ObjectKey, &Copier); 2] {
        [(guest_key(share, SOURCE), &self.source), (guest_key(share, TARGET), &self.target)]
    }

    /// Its products at the destination.
    pub fn products(&self) -> impl Iterator<Item = &Arc<DataProduct>> {
        [&self.mirror].into_iter().chain(&self.kept)
    }

    /// Whether what the engine is to keep has a place.
    pub fn is_prepared(&self, index: &Index) -> bool {
        let is_made = |product: &DataProduct| {
            let uid = product.uid().unwrap_or_default();
            let mut topics = product.spec.streams.iter().filter_map(|s| s.topic.as_ref());
            topics.all(|topic| index.is_governed_by(&self.cluster, topic, &uid))
        };
        self.kept.as_deref().is_none_or(is_made)
    }
}

/// The cluster that a share copies to, if it does.
pub fn destination(share: &ExternalShare) -> Option<&String> {
    share.spec.destination.as_ref().map(|to| &to.cluster_ref.name)
}

/// Where copies of the share may go, and by what.
///
/// # Errors
/// Why they may not.
pub(super) fn place(index: &Index, share: &ExternalShare, source: &str) -> Result<EngineKey, Problem> {
    let key = index.key_of(share);
    let Some(cluster) = destination(share) else {
        return Err(Problem::invalid(Reason::DestinationNotAllowed, "spec.destination is missing"));
    };
    if cluster == source {
        let message = format!("spec.destination: StreamCluster {cluster} is that of the products; name another one");
        return Err(Problem::invalid(Reason::DestinationNotAllowed, message));
    }
    index.destination(cluster, &key)?;
    engine(index, share).ok_or_else(|| {
        let (named, offered) = (share.spec.engine.as_deref(), index.cluster_spec(cluster));
        let offered: Vec<_> = offered.iter().flat_map(|s| &s.replication_engines).map(|e| e.name.as_str()).collect();
        let message = match named {
            Some(name) if !offered.is_empty() => {
                format!("spec.engine: StreamCluster {cluster} offers no engine {name}, but {}", offered.join(", "))
            }
            _ => format!("StreamCluster {cluster} offers no engine that copies: ask the platform team for one"),
        };
        Problem::waiting(Reason::EngineNotFound, message)
    })
}

/// How long workers that somebody else runs may take to see a file: a kubelet looks about once a minute.
const SEEN: Duration = Duration::from_secs(300);

/// How the credentials of who copies are rotated: as the partner's, but that the one before lasts until workers have seen the next.
fn rotation(index: &Index, share: &ExternalShare) -> Option<Rotation> {
    let rotation = share.spec.credentials.rotation.clone()?;
    let is_theirs = offered(index, share).is_some_and(|engine| engine.mirror_maker2.is_none());
    let overlap = if is_theirs { Duration::from(rotation.overlap).max(SEEN).into() } else { rotation.overlap };
    Some(Rotation { overlap, ..rotation })
}

fn engine(index: &Index, share: &ExternalShare) -> Option<EngineKey> {
    let name = offered(index, share)?.name.clone();
    Some(EngineKey { cluster: destination(share)?.clone(), name })
}

fn offered<'a>(index: &'a Index, share: &ExternalShare) -> Option<&'a ReplicationEngine> {
    let (cluster, name) = (destination(share)?, share.spec.engine.as_ref()?);
    index.cluster_spec(cluster)?.replication_engines.iter().find(|e| e.name == *name)
}

/// Why MirrorMaker 2 would pass over a topic without a word: it takes such names for its own, or for Kafka Connect's
/// (`ReplicationPolicy.isInternalTopic`).
pub(super) fn not_copied(index: &Index, share: &ExternalShare, topic: &str) -> Option<String> {
    if is_linked(index, share) {
        return None;
    }
    let internal = topic.starts_with("__") || topic.ends_with("-internal") || topic.ends_with(".internal");
    internal.then(|| {
        format!(
            "topic {topic} cannot be copied: names that begin with __, or end in -internal or .internal, are left out"
        )
    })
}

/// Whether the copies of a share are made by a cluster link. Of an engine that is not offered any more, its topics tell.
fn is_linked(index: &Index, share: &ExternalShare) -> bool {
    if let Some(engine) = offered(index, share) {
        return engine.cluster_link.is_some();
    }
    let (prefix, mirror) = (link_prefix(&share.uid().unwrap_or_default()), copier_uid(share, MIRROR));
    destination(share).is_some_and(|cluster| index.recorded_for(cluster, &mirror).any(|t| t.starts_with(&prefix)))
}

/// Before the names of the share's copies.
pub fn prefix(index: &Index, share: &ExternalShare) -> String {
    if is_linked(index, share) {
        link_prefix(&share.uid().unwrap_or_default())
    } else {
        mirror_prefix(&index.key_of(share))
    }
}

/// Who makes a topic of the product `key`.
pub fn maker(index: &Index, key: &ObjectKey, topic: &str) -> Maker {
    let Some((share, MIRROR)) = share_of_guest(key) else { return Maker::Weir };
    match index.share(&share) {
        Some(spec) if is_linked(index, spec) => Maker::Link(index.mirrored(&share, topic)),
        _ => Maker::Weir,
    }
}

/// What the share needs beside `guests`; `None` where it copies nothing.
pub(super) fn copy(
    index: &Index,
    share: &ExternalShare,
    offer: &Offer<'_>,
    guests: &Guests,
    is_over: bool,
) -> Option<Copy> {
    let cluster = destination(share)?.clone();
    let key = index.key_of(share);
    let approved: BTreeSet<_> = guests.values().flat_map(|g| &g.approved).collect();
    let mirror = mirror(index, share, &key, &cluster, offer, &approved, is_over);
    let (is_linked, mirror_uid) = (is_linked(index, share), copier_uid(share, MIRROR));
    let flowing: BTreeSet<_> = guests.values().filter(|g| !g.is_withheld).flat_map(|g| &g.approved).collect();
    let flows = offer.streams.iter().filter(|_| !offer.is_withheld).filter_map(|shared| {
        let copy = shared.copy.as_ref()?;
        // As long as the destination's ledger is not read, nothing must be taken from who reads at the source. A link reads there before it
        // makes its topics.
        let promised = is_linked && index.is_promised_to(&cluster, copy, &mirror_uid);
        let made = promised || shared.is_there(index, share) || !index.is_ledger_read(&cluster);
        (made && flowing.contains(&shared.stream.topic)).then(|| (shared.stream.topic.clone(), copy.clone()))
    });
    let flows: BTreeMap<_, _> = flows.collect();
    let agreed = !is_over && !offer.source.is_empty() && guests.values().any(|g| g.client.is_some());
    let uids = [source_uid(share, &offer.source), copier_uid(share, TARGET)];
    // What stands in the way of all may pass: who copies keeps what it has for that long.
    let known = uids.iter().any(|uid| index.client_cluster(uid).is_some());
    let agreed = agreed && (known || !offer.is_withheld);
    // Where nothing flows, that is for what stands in the way of every partner.
    let problems = || guests.values().flat_map(|g| g.resolution.problems.iter().cloned()).collect();
    let problems: Vec<_> = if flows.is_empty() { problems() } else { Vec::new() };
    let [source_uid, target_uid] = uids;
    let rotation = rotation(index, share);
    let kept = kept(index, share, &key, &cluster, agreed, is_over);
    let copier = |end: &str, uid: String, cluster: &str, access: ClusterAccess| {
        let at = guest_key(&key, end);
        let client = (agreed && (end == SOURCE || !is_linked))
            .then(|| Arc::new(own_client(index, &at, uid.clone(), cluster, rotation.clone())));
        let keeps = kept.as_ref().filter(|_| end == TARGET);
        let more = |principal: &str| match keeps {
            Some(kept) => keeping(principal, share, kept),
            None if is_linked => mirroring(principal, flows.keys()),
            None => BTreeSet::new(),
        };
        let resolution = resolution(index, &at, cluster, client.as_deref(), access, more, &problems);
        Copier { uid, client, resolution: Arc::new(resolution) }
    };
    let access = |topics: Vec<&String>, access: Access| ClusterAccess {
        topics: topics.into_iter().map(|t| (t.clone(), BTreeSet::from([access]))).collect(),
        ..ClusterAccess::default()
    };
    Some(Copy {
        source: copier(SOURCE, source_uid, &offer.source, access(flows.keys().collect(), Access::Read)),
        target: copier(TARGET, target_uid, &cluster, access(flows.values().collect(), Access::Write)),
        source_cluster: offer.source.clone(),
        engine: engine(index, share),
        cluster,
        mirror: Arc::new(mirror),
        kept: kept.map(Arc::new),
        flows,
        history: share.spec.history.clone(),
        is_linked,
        is_over,
    })
}

/// The UID of who reads at the source, which is another one on another cluster.
pub fn source_uid(share: &ExternalShare, cluster: &str) -> String {
    copier_uid(share, &format!("{SOURCE}/{cluster}"))
}

/// The UID of who writes, or of the mirror.
pub fn copier_uid(share: &ExternalShare, end: &str) -> String {
    guest_uid(&share.uid().unwrap_or_default(), end)
}

fn resolution(
    index: &Index,
    key: &ObjectKey,
    cluster: &str,
    client: Option<&StreamClient>,
    mut access: ClusterAccess,
    more: impl Fn(&str) -> BTreeSet<AclEntry>,
    problems: &[Problem],
) -> Resolution {
    let mut resolution = Resolution { problems: problems.to_vec(), ..Resolution::default() };
    resolution.clusters.extend((!cluster.is_empty()).then(|| cluster.to_owned()));
    let Some(client) = client else { return resolution };
    let tenant = match index.tenant_of(cluster, key) {
        Ok(tenant) => tenant,
        Err(problem) => {
            resolution.problems.push(problem);
            return resolution;
        }
    };
    access.quotas = bounded(&BTreeMap::new(), &quota_map(tenant.limits.quotas.as_ref()));
    let of = |principal: &str| {
        let copies = entries(principal, &access, &BTreeSet::new(), None, &ANYWHERE);
        copies.into_iter().chain(more(principal)).collect()
    };
    resolution.grants = own_grants(index, client, &access.quotas, of);
    resolution.grants.retain(|grant| !grant.entries.is_empty());
    resolution.topics.extend(access.topics.into_keys());
    resolution
}

/// What Kafka Connect needs of topics of its own that are there, and of its group.
fn keeping(principal: &str, share: &ExternalShare, kept: &DataProduct) -> BTreeSet<AclEntry> {
    let entry = |resource_type, resource: &str, operation| {
        AclEntry::allow(principal, operation, resource_type, PatternType::Literal, resource)
    };
    let topics = kept.spec.streams.iter().filter_map(|stream| stream.topic.as_deref()).flat_map(|topic| {
        let operations = [Operation::DescribeConfigs, Operation::Read, Operation::Write];
        operations.map(|operation| entry(ResourceType::Topic, topic, operation))
    });
    let group = entry(ResourceType::Group, &kept_by(share), Operation::Read);
    topics.chain([group]).collect()
}

/// What a cluster link needs of topics that it mirrors, beside to read them: their configuration goes with them.
fn mirroring<'a>(principal: &str, topics: impl Iterator<Item = &'a String>) -> BTreeSet<AclEntry> {
    let entry = |topic: &String| {
        AclEntry::allow(principal, Operation::DescribeConfigs, ResourceType::Topic, PatternType::Literal, topic)
    };
    topics.map(entry).collect()
}

/// A client of Weir's own on `cluster`.
pub fn own_client(
    index: &Index,
    key: &ObjectKey,
    uid: String,
    cluster: &str,
    rotation: Option<Rotation>,
) -> StreamClient {
    let recorded = index.client_record(&uid).map(|record| record.kind);
    identity(key, uid, cluster, recorded.unwrap_or_else(|| kind(index, cluster)), rotation)
}

/// What Weir's own clients log in with: SCRAM where the cluster has a listener for it, else a certificate.
fn kind(index: &Index, cluster: &str) -> CredentialType {
    let scram = index.cluster_spec(cluster).and_then(|spec| listener(spec, ListenerAuthentication::ScramSha512));
    if scram.is_some() { CredentialType::ScramSha512 } else { CredentialType::Mtls }
}

/// Configuration that is about the brokers that a topic lies on, and not about its records.
const OF_BROKERS: [&str; 4] = [
    "min.insync.replicas",
    "leader.replication.throttled.replicas",
    "follower.replication.throttled.replicas",
    "remote.storage.enable",
];

fn mirror(
    index: &Index,
    share: &ExternalShare,
    key: &ObjectKey,
    cluster: &str,
    offer: &Offer<'_>,
    approved: &BTreeSet<&String>,
    is_over: bool,
) -> DataProduct {
    let name_of = |shared: &Shared<'_>| format!("{}.{}", shared.product.name_any(), shared.stream.name);
    // While nothing may be copied, nothing is made.
    let may_be = |s: &Shared<'_>| !offer.is_withheld || s.is_there(index, share);
    let shared = || offer.streams.iter().filter(|s| approved.contains(&s.stream.topic) && may_be(s));
    let stream = |shared: &Shared<'_>| {
        let config = shared.stream.config.iter().filter(|(key, _)| !OF_BROKERS.contains(&key.as_str()));
        Stream {
            name: name_of(shared),
            topic: shared.copy.clone(),
            partitions: shared.stream.partitions,
            replicas: None,
            config: config.map(|(k, v)| (k.clone(), v.clone())).collect(),
            adopt: false,
        }
    };
    // What the owner said about losing records of a stream holds for its copy, too.
    let acknowledged = shared().flat_map(|shared| {
        let said = shared.product.annotations().get(ACKNOWLEDGE_RETENTION).map(String::as_str).unwrap_or_default();
        let of_it = said.split(',').filter_map(|a| a.trim().strip_prefix(&format!("{}:", shared.stream.name)));
        of_it.map(|rest| format!("{}:{rest}", name_of(shared))).collect::<Vec<_>>()
    });
    let acknowledged: Vec<_> = acknowledged.collect();
    let policy = match share.spec.target_topic_policy {
        TargetTopicPolicy::Retain => DeletionPolicy::Retain,
        TargetTopicPolicy::Delete => DeletionPolicy::Delete,
    };
    let mut mirror = own_product(share, key, MIRROR, cluster, shared().map(stream).collect(), policy, is_over);
    mirror.metadata.annotations = (!acknowledged.is_empty())
        .then(|| BTreeMap::from([(ACKNOWLEDGE_RETENTION.to_owned(), acknowledged.join(","))]));
    mirror
}

/// The topics of Kafka Connect's that an engine keeps for this share alone: from when everybody agreed until the share is over.
fn kept(
    index: &Index,
    share: &ExternalShare,
    key: &ObjectKey,
    cluster: &str,
    agreed: bool,
    is_over: bool,
) -> Option<DataProduct> {
    let uid = copier_uid(share, KEPT);
    let keeps = offered(index, share).is_some_and(|engine| engine.strimzi.is_some());
    let is_there = || index.recorded_for(cluster, &uid).next().is_some();
    if !((agreed && keeps) || is_there()) {
        return None;
    }
    let name = kept_by(share);
    let stream = |what: &str| Stream {
        name: what.to_owned(),
        topic: Some(kept_topic(&name, what)),
        partitions: 1,
        replicas: None,
        config: BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]),
        adopt: false,
    };
    let streams = KEPT_TOPICS.map(stream).into();
    Some(own_product(share, key, KEPT, cluster, streams, DeletionPolicy::Delete, is_over))
}

/// What Kafka Connect keeps in topics.
pub const KEPT_TOPICS: [&str; 3] = ["configs", "offsets", "status"];

/// See [`kept_name`].
pub fn kept_by(share: &ExternalShare) -> String {
    let key = ObjectKey::new(share.namespace().unwrap_or_default(), share.name_any());
    kept_name(&key, &share.uid().unwrap_or_default())
}

/// A product that nobody made.
fn own_product(
    share: &ExternalShare,
    key: &ObjectKey,
    who: &str,
    cluster: &str,
    streams: Vec<Stream>,
    deletion_policy: DeletionPolicy,
    is_over: bool,
) -> DataProduct {
    DataProduct {
        metadata: ObjectMeta {
            namespace: Some(key.namespace.clone()),
            name: Some(guest_key(key, who).name),
            uid: Some(copier_uid(share, who)),
            creation_timestamp: share.creation_timestamp(),
            // What matters is that there is one.
            deletion_timestamp: is_over.then(|| share.creation_timestamp()).flatten(),
            ..ObjectMeta::default()
        },
        spec: DataProductSpec {
            cluster_ref: ClusterRef { name: cluster.to_owned() },
            streams,
            deletion_policy,
            owner: None,
            domain: None,
            description: None,
            classification: Classification::default(),
            purposes: Vec::new(),
            derived_from: Vec::new(),
        },
        status: None,
    }
}

/// MirrorMaker 2's alias of a share's source: what stands before the share's name in those of the copies.
pub fn source_alias(share: &ObjectKey) -> &str {
    &share.namespace
}
