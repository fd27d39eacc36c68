//! Follows a topic on behalf of a consumer group: what was done with is remembered by the brokers. librdkafka's calls block; they run on
//! the blocking pool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::audit_log::{Stored, stored};
use super::librdkafka::{Context, blocking, client_config};
use crate::domain::audit::chain::Record;
use crate::ports::{KafkaEndpoint, TopicError};

/// How long the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How many bytes a batch has, and as many wait to be one: beyond, it ends with the record that it has.
const BYTES: usize = 4 * 1024 * 1024;
/// How often it is looked for new partitions.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How often it is told anew what is done: brokers forget what they were not told for `offsets.retention.minutes`.
const TELL_EVERY: Duration = Duration::from_secs(3600);

/// See the module.
pub struct Follower {
    at: Arc<Mutex<Followed>>,
}

/// The consumer, and how far it is.
struct Followed {
    consumer: BaseConsumer<Context>,
    topic: String,
    /// By partition, where reading goes on.
    next: BTreeMap<i32, Offset>,
    /// By partition, up to where everything is done with.
    done: BTreeMap<i32, i64>,
    looked: Instant,
    told: Instant,
}

/// Where a follower begins that has no position in any partition yet. A partition without one beside others that have is new: it is
/// followed from its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the first record.
    First,
    /// With the next one. That is remembered at once.
    Next,
}

/// What came.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order of their partitions.
    pub records: Vec<Stored>,
    /// The partition of each.
    partitions: Vec<i32>,
}

impl Follower {
    /// Follows all partitions of `topic` from where `group` has come, also those that it gets later. Must be called inside of the
    /// runtime. The principal needs Read and Describe on the topic, and Read on the group.
    ///
    /// # Errors
    /// The cluster does not answer, or has no such topic.
    pub async fn open(endpoint: &KafkaEndpoint, topic: &str, group: &str, begin: Begin) -> Result<Self, TopicError> {
        let config = config(endpoint, group);
        let context = Context::new(endpoint).map_err(|e| TopicError::Unavailable(e.message))?;
        let topic = topic.to_owned();
        let followed = blocking(move || {
            let consumer: BaseConsumer<Context> = config.create_with_context(context).map_err(unavailable)?;
            let (looked, told) = (Instant::now(), Instant::now());
            let mut followed = Followed { consumer, topic, next: BTreeMap::new(), done: BTreeMap::new(), looked, told };
            followed.begin(begin)?;
            Ok(followed)
        });
        Ok(Self { at: Arc::new(Mutex::new(followed.await?)) })
    }

    /// The next records, `most` at most, and some MiB: what came within `wait`.
    ///
    /// # Errors
    /// What was read cannot be gone on with.
    pub async fn next(&self, most: usize, wait: Duration) -> Result<Batch, TopicError> {
        self.with(move |followed| {
            followed.look()?;
            followed.read(most, wait)
        })
        .await
    }

    /// Remembers that the first `n` records of a batch, and everything before it, are done with.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn done(&self, batch: &Batch, n: usize) -> Result<(), TopicError> {
        let places = batch.partitions.iter().zip(&batch.records);
        let done: BTreeMap<_, _> = places.take(n).map(|(partition, s)| (*partition, s.offset + 1)).collect();
        self.with(move |followed| {
            followed.tell(&done)?;
            followed.done.extend(done);
            Ok(())
        })
        .await
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Followed) -> Result<T, TopicError> + Send + 'static,
    ) -> Result<T, TopicError> {
        let at = self.at.clone();
        blocking(move || work(&mut at.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

impl Followed {
    fn begin(&mut self, begin: Begin) -> Result<(), TopicError> {
        let partitions = self.partitions()?;
        self.done = self.committed(&partitions)?;
        if self.done.is_empty() && begin == Begin::Next {
            let mut ends = BTreeMap::new();
            for &partition in &partitions {
                let (_, end) = self.consumer.fetch_watermarks(&self.topic, partition, TIMEOUT).map_err(unavailable)?;
                ends.insert(partition, end);
            }
            // Whoever goes on where this one ends, before anything came, goes on from here.
            self.tell(&ends)?;
            self.done = ends;
        }
        self.next = self.done.iter().map(|(partition, at)| (*partition, Offset::Offset(*at))).collect();
        self.follow(partitions)
    }

    /// Partitions that there are.
    fn partitions(&self) -> Result<BTreeSet<i32>, TopicError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), TIMEOUT).map_err(unavailable)?;
        let all: BTreeSet<_> = metadata.topics().iter().flat_map(|t| t.partitions()).map(|p| p.id()).collect();
        if all.is_empty() {
            return Err(TopicError::Unavailable(format!("there is no topic {:?}", self.topic)));
        }
        Ok(all)
    }

    /// Up to where the group is done, of those of which it is known.
    fn committed(&self, partitions: &BTreeSet<i32>) -> Result<BTreeMap<i32, i64>, TopicError> {
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            asked.add_partition(&self.topic, *partition);
        }
        let committed = self.consumer.committed_offsets(asked, TIMEOUT).map_err(unavailable)?;
        let each = committed.elements().into_iter().map(|e| match (e.error(), e.offset()) {
            // Whoever takes what is not known for what is not there begins anew.
            (Err(error), _) => Err(unavailable(error)),
            (Ok(()), Offset::Offset(at)) => Ok(Some((e.partition(), at))),
            (Ok(()), _) => Ok(None),
        });
        each.filter_map(Result::transpose).collect()
    }

    /// Follows these, too, from where they are known to be done, or from their first record.
    fn follow(&mut self, partitions: BTreeSet<i32>) -> Result<(), TopicError> {
        for partition in partitions {
            self.next.entry(partition).or_insert(Offset::Beginning);
        }
        let mut assignment = TopicPartitionList::new();
        for (partition, from) in &self.next {
            assignment.add_partition_offset(&self.topic, *partition, *from).map_err(unavailable)?;
        }
        self.consumer.assign(&assignment).map_err(unavailable)
    }

    /// Now and then looks for new partitions, and tells what is done.
    fn look(&mut self) -> Result<(), TopicError> {
        if self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        let partitions = self.partitions()?;
        if partitions.iter().any(|partition| !self.next.contains_key(partition)) {
            tracing::info!(
                topic = self.topic,
                partitions = partitions.len(),
                "a topic that is followed has new partitions"
            );
            self.follow(partitions)?;
        }
        if self.told.elapsed() >= TELL_EVERY {
            self.tell(&self.done)?;
            self.told = Instant::now();
        }
        Ok(())
    }

    fn read(&mut self, most: usize, wait: Duration) -> Result<Batch, TopicError> {
        let (deadline, mut batch, mut bytes) = (Instant::now() + wait, Batch::default(), 0);
        while batch.records.len() < most && bytes < BYTES {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.consumer.poll(left) {
                Some(Ok(message)) => {
                    let stored = stored(&message);
                    bytes += size(&stored.record);
                    self.next.insert(message.partition(), Offset::Offset(message.offset() + 1));
                    batch.partitions.push(message.partition());
                    batch.records.push(stored);
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
    }

    fn tell(&self, done: &BTreeMap<i32, i64>) -> Result<(), TopicError> {
        let mut at = TopicPartitionList::new();
        for (partition, offset) in done {
            at.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset)).map_err(unavailable)?;
        }
        if at.count() == 0 { Ok(()) } else { self.consumer.commit(&at, CommitMode::Sync).map_err(unavailable) }
    }
}

fn config(endpoint: &KafkaEndpoint, group: &str) -> ClientConfig {
    let mut config = client_config(endpoint, group);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        // What librdkafka gathers by itself would be 64 MiB.
        .set("queued.max.messages.kbytes", (BYTES / 1024).to_string())
        .set("fetch.message.max.bytes", (BYTES / 4).to_string())
        .set("fetch.max.bytes", BYTES.to_string());
    config
}

/// What a record takes up, in bytes.
fn size(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.key.len() + record.value.len() + headers
}

fn unavailable(error: rdkafka::error::KafkaError) -> TopicError {
    TopicError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;

    use super::{config, size};
    use crate::domain::audit::chain::Record;
    use crate::ports::KafkaEndpoint;

    #[test]
    fn librdkafka_takes_the_bounds() {
        let endpoint = KafkaEndpoint { bootstrap_servers: vec!["localhost:1".into()], tls: None, sasl: None };
        config(&endpoint, "g").create::<BaseConsumer>().unwrap();
    }

    #[test]
    fn all_of_a_record_counts() {
        let headers = vec![("ab".to_owned(), "c".to_owned())];
        assert_eq!(size(&Record { key: "k".into(), value: vec![0; 5], headers }), 9);
    }
}
