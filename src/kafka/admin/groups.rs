//! Consumer groups: listed on all brokers, everything else through each group's coordinator.

use std::collections::{BTreeMap, HashMap};

use futures::FutureExt as _;
use futures::future::try_join_all;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, FindCoordinatorRequest, GroupId, ListGroupsRequest, OffsetFetchRequest,
};

use super::in_order;
use crate::kafka::api::text;
use crate::kafka::batch::{Limit, chunks, in_chunks, reading};
use crate::kafka::cluster::{Cluster, To};
use crate::kafka::codes;
use crate::ports::{GroupListing, GroupOffsets, KafkaError, PerItem};

/// Groups in one request.
pub(super) const GROUPS: Limit = Limit { items: 500, weight: usize::MAX };
/// `FindCoordinatorRequest.CoordinatorType` of groups.
const GROUP_KEY: i8 = 0;
/// So many bytes of a group's name are kept: Kafka sets no bound, and whoever may use groups with a prefix gives names.
const LONGEST: usize = 512;

/// See [`crate::ports::KafkaAdmin::list_groups`]. Fails when one broker does not answer: half a list would read as
/// groups that are gone.
pub(in crate::kafka) async fn list(cluster: &Cluster) -> Result<Vec<GroupListing>, KafkaError> {
    let brokers = reading(|| cluster.broker_ids()).await?;
    let lists = try_join_all(brokers.into_iter().map(|id| reading(move || list_on(cluster, id)))).await?;
    // A coordinator that moves meanwhile may be listed twice.
    let by_id: BTreeMap<String, GroupListing> = lists.into_iter().flatten().map(|g| (g.id.clone(), g)).collect();
    Ok(by_id.into_values().collect())
}

async fn list_on(cluster: &Cluster, broker: i32) -> Result<Vec<GroupListing>, KafkaError> {
    let response = cluster.send(To::Broker(broker), &ListGroupsRequest::default()).await?;
    codes::check(response.error_code, None)?;
    let listing = response.groups.iter().map(|group| GroupListing {
        id: group.group_id[..group.group_id.floor_char_boundary(LONGEST)].to_owned(),
        is_cut: group.group_id.len() > LONGEST,
        state: group.group_state.to_string(),
        group_type: group.group_type.to_string(),
    });
    Ok(listing.collect())
}

/// See [`crate::ports::KafkaAdmin::group_offsets`].
pub(in crate::kafka) async fn offsets(cluster: &Cluster, groups: &[String]) -> PerItem<GroupOffsets> {
    let cut = chunks(groups, GROUPS, |_| 1);
    in_chunks(groups, cut, |batch| async move { fetch(cluster, &batch).await }.boxed()).await
}

async fn fetch(cluster: &Cluster, groups: &[&String]) -> Result<PerItem<GroupOffsets>, KafkaError> {
    let (by_broker, mut answers) = coordinators(cluster, groups).await?;
    for (broker, groups) in by_broker {
        match fetch_from(cluster, broker, &groups).await {
            Ok(some) => answers.extend(some),
            // Reading again harms nothing.
            Err(e) => answers.extend(groups.into_iter().map(|g| (g, Err(codes::retry(e.message.clone()))))),
        }
    }
    Ok(in_order(groups.iter().map(|g| (*g).clone()), answers.into_iter()))
}

async fn fetch_from(
    cluster: &Cluster,
    broker: i32,
    groups: &[String],
) -> Result<Vec<(String, Result<GroupOffsets, KafkaError>)>, KafkaError> {
    let group = |id: &String| OffsetFetchRequestGroup::default().with_group_id(GroupId(text(id))).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(groups.iter().map(group).collect());
    let response = cluster.send(To::Broker(broker), &request).await?;
    Ok(response.groups.iter().map(|group| (group.group_id.to_string(), committed(group))).collect())
}

fn committed(group: &OffsetFetchResponseGroup) -> Result<GroupOffsets, KafkaError> {
    codes::check(group.error_code, None)?;
    let mut offsets = GroupOffsets::new();
    for topic in &group.topics {
        for partition in &topic.partitions {
            codes::check(partition.error_code, None)?;
            // -1: nothing was committed.
            if partition.committed_offset >= 0 {
                offsets.insert((topic.name.to_string(), partition.partition_index), partition.committed_offset);
            }
        }
    }
    Ok(offsets)
}

/// See [`crate::ports::KafkaAdmin::delete_groups`]. A group that is not there is `GROUP_ID_NOT_FOUND`.
pub(in crate::kafka) async fn delete(cluster: &Cluster, groups: &[String]) -> PerItem<()> {
    let cut = chunks(groups, GROUPS, |_| 1);
    in_chunks(groups, cut, |batch| async move { send_delete(cluster, &batch).await }.boxed()).await
}

async fn send_delete(cluster: &Cluster, groups: &[&String]) -> Result<PerItem<()>, KafkaError> {
    let (by_broker, mut answers) = coordinators(cluster, groups).await?;
    for (broker, groups) in by_broker {
        let names = groups.iter().map(|id| GroupId(text(id))).collect();
        let request = DeleteGroupsRequest::default().with_groups_names(names);
        match cluster.send(To::Broker(broker), &request).await {
            Ok(response) => {
                answers.extend(
                    response.results.iter().map(|r| (r.group_id.to_string(), codes::check(r.error_code, None))),
                );
            }
            Err(e) => answers.extend(groups.into_iter().map(|g| (g, Err(e.clone())))),
        }
    }
    Ok(in_order(groups.iter().map(|g| (*g).clone()), answers.into_iter()))
}

type ByBroker = BTreeMap<i32, Vec<String>>;
type Failed<T> = HashMap<String, Result<T, KafkaError>>;

/// The groups by the broker that coordinates them (KIP-699), and those for which none is known.
pub(super) async fn coordinators<T>(
    cluster: &Cluster,
    groups: &[&String],
) -> Result<(ByBroker, Failed<T>), KafkaError> {
    let request = FindCoordinatorRequest::default()
        .with_key_type(GROUP_KEY)
        .with_coordinator_keys(groups.iter().map(|id| text(id)).collect());
    let response = reading(|| cluster.send(To::Any, &request)).await?;
    let (mut by_broker, mut failed) = (ByBroker::new(), Failed::new());
    for coordinator in &response.coordinators {
        let group = coordinator.key.to_string();
        match codes::check(coordinator.error_code, coordinator.error_message.as_deref()) {
            Ok(()) => by_broker.entry(coordinator.node_id.0).or_default().push(group),
            Err(e) => {
                failed.insert(group, Err(e));
            }
        }
    }
    Ok((by_broker, failed))
}
