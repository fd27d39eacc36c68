//! Follows a topic of one partition on behalf of a consumer group: what was done with is remembered by the brokers. librdkafka's calls
//! block; they run on the blocking pool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::audit_log::{Stored, stored};
use super::librdkafka::{Context, client_config};
use crate::ports::{KafkaEndpoint, TopicError};

/// How long the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// See the module.
pub struct Follower {
    consumer: Arc<BaseConsumer<Context>>,
    topic: String,
}

impl Follower {
    /// Follows `topic` from where `group` has come, or from its first record. Must be called inside of the runtime. The principal
    /// needs Read and Describe on the topic, and Read on the group.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn open(endpoint: &KafkaEndpoint, topic: &str, group: &str) -> Result<Self, TopicError> {
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
            let mut partition = TopicPartitionList::new();
            partition.add_partition(&name, 0);
            let committed = consumer.committed_offsets(partition, TIMEOUT).map_err(unavailable)?;
            let from = match committed.elements().first().map(|e| e.offset()) {
                Some(Offset::Offset(at)) => Offset::Offset(at),
                _ => Offset::Beginning,
            };
            let mut assignment = TopicPartitionList::new();
            assignment.add_partition_offset(&name, 0, from).map_err(unavailable)?;
            consumer.assign(&assignment).map_err(unavailable)?;
            Ok(consumer)
        });
        Ok(Self { consumer: Arc::new(consumer.await?), topic: topic.to_owned() })
    }

    /// The next records, `most` at most: what came within `wait`.
    ///
    /// # Errors
    /// What was read cannot be gone on with.
    pub async fn next(&self, most: usize, wait: Duration) -> Result<Vec<Stored>, TopicError> {
        let consumer = self.consumer.clone();
        blocking(move || {
            let (deadline, mut records) = (Instant::now() + wait, Vec::new());
            while records.len() < most {
                let left = deadline.saturating_duration_since(Instant::now());
                match consumer.poll(left) {
                    Some(Ok(message)) => records.push(stored(&message)),
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
            Ok(records)
        })
        .await
    }

    /// Remembers that everything up to `offset` is done with, itself included.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn done(&self, offset: i64) -> Result<(), TopicError> {
        let (consumer, topic) = (self.consumer.clone(), self.topic.clone());
        blocking(move || {
            let mut at = TopicPartitionList::new();
            at.add_partition_offset(&topic, 0, Offset::Offset(offset + 1)).map_err(unavailable)?;
            consumer.commit(&at, CommitMode::Sync).map_err(unavailable)
        })
        .await
    }
}

fn unavailable(error: rdkafka::error::KafkaError) -> TopicError {
    TopicError::Unavailable(error.to_string())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TopicError> + Send + 'static,
) -> Result<T, TopicError> {
    let gone = |_| TopicError::Unavailable("the runtime is shutting down".into());
    tokio::task::spawn_blocking(work).await.map_err(gone)?
}
