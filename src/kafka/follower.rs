//! Follows a topic on behalf of a consumer group: what was done with is remembered by the brokers. librdkafka's calls block; they run on
//! the blocking pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::audit_log::{Stored, stored};
use super::librdkafka::{Context, blocking, client_config};
use crate::ports::{KafkaEndpoint, TopicError};

/// How long the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// See the module.
pub struct Follower {
    consumer: Arc<BaseConsumer<Context>>,
    topic: String,
}

/// Where a follower begins that has no position yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the first record.
    First,
    /// With the next one.
    Next,
}

/// What came.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order of their partitions.
    pub records: Vec<Stored>,
    /// By partition, the last offset among them.
    last: BTreeMap<i32, i64>,
}

impl Follower {
    /// Follows all partitions of `topic` from where `group` has come. Must be called inside of the runtime. The principal needs Read
    /// and Describe on the topic, and Read on the group.
    ///
    /// # Errors
    /// The cluster does not answer, or has no such topic.
    pub async fn open(endpoint: &KafkaEndpoint, topic: &str, group: &str, begin: Begin) -> Result<Self, TopicError> {
        let mut config = client_config(endpoint, group);
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest");
        let context = Context::new(endpoint).map_err(|e| TopicError::Unavailable(e.message))?;
        let name = topic.to_owned();
        let consumer = blocking(move || {
            let consumer: BaseConsumer<Context> = config.create_with_context(context).map_err(unavailable)?;
            let metadata = consumer.fetch_metadata(Some(&name), TIMEOUT).map_err(unavailable)?;
            let mut partitions = TopicPartitionList::new();
            for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
                partitions.add_partition(&name, partition.id());
            }
            if partitions.count() == 0 {
                return Err(TopicError::Unavailable(format!("there is no topic {name:?}")));
            }
            let committed = consumer.committed_offsets(partitions, TIMEOUT).map_err(unavailable)?;
            let mut assignment = TopicPartitionList::new();
            for element in committed.elements() {
                let from = match (element.offset(), begin) {
                    (Offset::Offset(at), _) => Offset::Offset(at),
                    (_, Begin::First) => Offset::Beginning,
                    (_, Begin::Next) => Offset::End,
                };
                assignment.add_partition_offset(&name, element.partition(), from).map_err(unavailable)?;
            }
            consumer.assign(&assignment).map_err(unavailable)?;
            Ok(consumer)
        });
        Ok(Self { consumer: Arc::new(consumer.await?), topic: topic.to_owned() })
    }

    /// The next records, `most` at most: what came within `wait`.
    ///
    /// # Errors
    /// What was read cannot be gone on with.
    pub async fn next(&self, most: usize, wait: Duration) -> Result<Batch, TopicError> {
        let consumer = self.consumer.clone();
        blocking(move || {
            let (deadline, mut batch) = (Instant::now() + wait, Batch::default());
            while batch.records.len() < most {
                let left = deadline.saturating_duration_since(Instant::now());
                match consumer.poll(left) {
                    Some(Ok(message)) => {
                        batch.last.insert(message.partition(), message.offset());
                        batch.records.push(stored(&message));
                    }
                    Some(Err(e @ rdkafka::error::KafkaError::MessageConsumptionFatal(_))) => {
                        return Err(unavailable(e));
                    }
                    Some(Err(e)) => tracing::debug!(error = %e, "following a topic"),
                    None => break,
                }
                if left.is_zero() {
                    break;
                }
            }
            Ok(batch)
        })
        .await
    }

    /// Remembers that everything up to a batch is done with, itself included.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn done(&self, batch: &Batch) -> Result<(), TopicError> {
        let (consumer, topic, last) = (self.consumer.clone(), self.topic.clone(), batch.last.clone());
        blocking(move || {
            let mut at = TopicPartitionList::new();
            for (partition, offset) in last {
                at.add_partition_offset(&topic, partition, Offset::Offset(offset + 1)).map_err(unavailable)?;
            }
            if at.count() == 0 { Ok(()) } else { consumer.commit(&at, CommitMode::Sync).map_err(unavailable) }
        })
        .await
    }
}

fn unavailable(error: rdkafka::error::KafkaError) -> TopicError {
    TopicError::Unavailable(error.to_string())
}
