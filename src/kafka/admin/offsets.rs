//! Offsets of partitions (KIP-79), asked of their leaders.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::FutureExt as _;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};

use super::in_order;
use crate::kafka::api::{BROKER_TIMEOUT_MS, text};
use crate::kafka::batch::{Limit, chunks, in_chunks, reading};
use crate::kafka::cluster::{Cluster, To, leaders};
use crate::kafka::codes;
use crate::ports::{KafkaError, OffsetSpec, PerItem};

/// Partitions in one round.
const LIST: Limit = Limit { items: 5000, weight: usize::MAX };

type Asked = (String, i32, OffsetSpec);
type Key = (String, i32, i64);

/// See [`crate::ports::KafkaAdmin::list_offsets`].
pub(in crate::kafka) async fn list(cluster: &Cluster, of: &[Asked]) -> PerItem<i64> {
    let cut = chunks(of, LIST, |_| 1);
    in_chunks(of, cut, |batch| async move { ask(cluster, &batch).await }.boxed()).await
}

/// The wire's timestamp of where an offset is asked for.
const fn timestamp(spec: OffsetSpec) -> i64 {
    match spec {
        OffsetSpec::Latest => -1,
        OffsetSpec::Earliest => -2,
        OffsetSpec::Timestamp(ms) => ms,
    }
}

async fn ask(cluster: &Cluster, of: &[&Asked]) -> Result<PerItem<i64>, KafkaError> {
    let topics: BTreeSet<&String> = of.iter().map(|(topic, ..)| topic).collect();
    let topics: Vec<String> = topics.into_iter().cloned().collect();
    let metadata = reading(|| cluster.metadata(To::Any, Some(&topics))).await?;
    let leaders = leaders(&metadata);
    let absent = Err(codes::error(codes::UNKNOWN_TOPIC_OR_PARTITION, None));
    let mut answers: HashMap<Key, Result<i64, KafkaError>> = HashMap::new();
    // A request takes a partition once: another spec of the same partition goes into another one.
    let mut requests: BTreeMap<(i32, i64), Vec<(String, i32)>> = BTreeMap::new();
    for (topic, partition, spec) in of {
        match leaders.get(&(topic.clone(), *partition)).unwrap_or(&absent) {
            Ok(leader) => requests.entry((*leader, timestamp(*spec))).or_default().push((topic.clone(), *partition)),
            Err(e) => {
                answers.insert((topic.clone(), *partition, timestamp(*spec)), Err(e.clone()));
            }
        }
    }
    for ((leader, timestamp), partitions) in requests {
        match ask_leader(cluster, leader, timestamp, &partitions).await {
            Ok(some) => answers.extend(some),
            // Reading again harms nothing.
            Err(e) => {
                let e = codes::retry(e.message);
                answers.extend(partitions.into_iter().map(|(t, p)| ((t, p, timestamp), Err(e.clone()))));
            }
        }
    }
    let keys = of.iter().map(|(topic, partition, spec)| (topic.clone(), *partition, timestamp(*spec)));
    Ok(in_order(keys, answers.into_iter()))
}

async fn ask_leader(
    cluster: &Cluster,
    leader: i32,
    timestamp: i64,
    partitions: &[(String, i32)],
) -> Result<Vec<(Key, Result<i64, KafkaError>)>, KafkaError> {
    let mut topics: BTreeMap<&String, BTreeSet<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().insert(*partition);
    }
    let partition = |index| ListOffsetsPartition::default().with_partition_index(index).with_timestamp(timestamp);
    let topic = |(name, of): (&String, BTreeSet<i32>)| {
        let partitions = of.into_iter().map(partition).collect();
        ListOffsetsTopic::default().with_name(TopicName(text(name))).with_partitions(partitions)
    };
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_timeout_ms(BROKER_TIMEOUT_MS)
        .with_topics(topics.into_iter().map(topic).collect());
    let response = cluster.send(To::Broker(leader), &request).await?;
    let mut answers = Vec::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            let key = (topic.name.to_string(), partition.partition_index, timestamp);
            answers.push((key, codes::check(partition.error_code, None).map(|()| partition.offset)));
        }
    }
    Ok(answers)
}
