//! Topics and partitions (KIP-4).

use futures::FutureExt as _;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, MetadataResponse, TopicName,
};

use super::in_order;
use crate::kafka::api::{BROKER_TIMEOUT_MS, text};
use crate::kafka::batch::{Limit, chunks, in_chunks, reading};
use crate::kafka::cluster::{Cluster, To};
use crate::kafka::codes;
use crate::ports::{KafkaError, NewTopic, PerItem, TopicDescription};

/// Topics, partitions and configuration keys are records, and the controller takes 10,000 records at once.
const CREATE: Limit = Limit { items: 200, weight: 2000 };
/// Deletions are small; the topics behind them are not.
const DELETE: Limit = Limit { items: 200, weight: usize::MAX };
/// The new partitions of a topic are not known here, so its total stands for them.
const GROW: Limit = Limit { items: 200, weight: 2000 };
/// Names asked for in one request.
const DESCRIBE: usize = 1000;

/// See [`crate::ports::KafkaAdmin::describe_topics`].
pub(in crate::kafka) async fn describe(
    cluster: &Cluster,
    names: Option<&[String]>,
) -> Result<Vec<TopicDescription>, KafkaError> {
    let ask = |names: Option<Vec<String>>| async move {
        reading(|| async { descriptions(&cluster.metadata(To::Any, names.as_deref()).await?) }).await
    };
    let mut found = Vec::new();
    match names {
        None => found = ask(None).await?,
        Some(names) => {
            for some in names.chunks(DESCRIBE) {
                found.extend(ask(Some(some.to_vec())).await?);
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup();
    Ok(found)
}

fn descriptions(response: &MetadataResponse) -> Result<Vec<TopicDescription>, KafkaError> {
    let mut found = Vec::new();
    for topic in &response.topics {
        let Some(name) = &topic.name else { continue };
        // A name that cannot be is one that is not.
        if matches!(topic.error_code, codes::UNKNOWN_TOPIC_OR_PARTITION | codes::INVALID_TOPIC_EXCEPTION) {
            continue;
        }
        codes::check(topic.error_code, None).map_err(|e| KafkaError {
            message: format!("failed to describe the topic {:?}: {}", name.as_str(), e.message),
            ..e
        })?;
        let replicas = topic.partitions.iter().map(|p| p.replica_nodes.len()).min().unwrap_or_default();
        found.push(TopicDescription {
            name: name.to_string(),
            id: *topic.topic_id.as_bytes(),
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            replicas: i16::try_from(replicas).unwrap_or(i16::MAX),
        });
    }
    Ok(found)
}

/// See [`crate::ports::KafkaAdmin::create_topics`].
pub(in crate::kafka) async fn create(cluster: &Cluster, topics: &[NewTopic], dry_run: bool) -> PerItem<()> {
    let partitions = |topic: &NewTopic| usize::try_from(topic.partitions.max(1)).unwrap_or(usize::MAX);
    let cut = chunks(topics, CREATE, |t| partitions(t).saturating_add(t.config.len() + 1));
    in_chunks(topics, cut, |batch| async move { send_create(cluster, &batch, dry_run).await }.boxed()).await
}

async fn send_create(cluster: &Cluster, topics: &[&NewTopic], dry_run: bool) -> Result<PerItem<()>, KafkaError> {
    let config = |(key, value): (&String, &String)| {
        CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
    };
    let topic = |topic: &&NewTopic| {
        CreatableTopic::default()
            .with_name(TopicName(text(&topic.name)))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replicas)
            .with_configs(topic.config.iter().map(config).collect())
    };
    let request = CreateTopicsRequest::default()
        .with_topics(topics.iter().map(topic).collect())
        .with_timeout_ms(BROKER_TIMEOUT_MS)
        .with_validate_only(dry_run);
    let response = cluster.send(To::Any, &request).await?;
    let answers =
        response.topics.iter().map(|t| (t.name.as_str(), codes::check(t.error_code, t.error_message.as_deref())));
    Ok(in_order(topics.iter().map(|t| t.name.as_str()), answers))
}

/// See [`crate::ports::KafkaAdmin::delete_topics`]. A topic that is not there is `UNKNOWN_TOPIC_OR_PARTITION`.
pub(in crate::kafka) async fn delete(cluster: &Cluster, names: &[String]) -> PerItem<()> {
    let cut = chunks(names, DELETE, |_| 1);
    in_chunks(names, cut, |batch| async move { send_delete(cluster, &batch).await }.boxed()).await
}

async fn send_delete(cluster: &Cluster, names: &[&String]) -> Result<PerItem<()>, KafkaError> {
    // Version 6 moved the names; the encoder takes those of the version that goes out.
    let version = cluster.connection(To::Any).await.map_err(|e| e.error)?.version::<DeleteTopicsRequest>()?;
    let name = |name: &&String| TopicName(text(name));
    let request = DeleteTopicsRequest::default().with_timeout_ms(BROKER_TIMEOUT_MS);
    let request = if version >= 6 {
        let state = |n: &&String| DeleteTopicState::default().with_name(Some(name(n)));
        request.with_topics(names.iter().map(state).collect())
    } else {
        request.with_topic_names(names.iter().map(name).collect())
    };
    let response = cluster.send(To::Any, &request).await?;
    let answers = response.responses.iter().map(|r| {
        let name = r.name.as_ref().map(|n| n.as_str()).unwrap_or_default();
        (name, codes::check(r.error_code, r.error_message.as_deref()))
    });
    Ok(in_order(names.iter().map(|n| n.as_str()), answers))
}

/// See [`crate::ports::KafkaAdmin::create_partitions`].
pub(in crate::kafka) async fn grow(cluster: &Cluster, totals: &[(String, i32)], dry_run: bool) -> PerItem<()> {
    let cut = chunks(totals, GROW, |(_, total)| usize::try_from(*total).unwrap_or_default());
    in_chunks(totals, cut, |batch| async move { send_grow(cluster, &batch, dry_run).await }.boxed()).await
}

async fn send_grow(cluster: &Cluster, totals: &[&(String, i32)], dry_run: bool) -> Result<PerItem<()>, KafkaError> {
    let topic = |(name, total): &&(String, i32)| {
        CreatePartitionsTopic::default().with_name(TopicName(text(name))).with_count(*total).with_assignments(None)
    };
    let request = CreatePartitionsRequest::default()
        .with_topics(totals.iter().map(topic).collect())
        .with_timeout_ms(BROKER_TIMEOUT_MS)
        .with_validate_only(dry_run);
    let response = cluster.send(To::Any, &request).await?;
    let answers =
        response.results.iter().map(|r| (r.name.as_str(), codes::check(r.error_code, r.error_message.as_deref())));
    Ok(in_order(totals.iter().map(|(name, _)| name.as_str()), answers))
}
